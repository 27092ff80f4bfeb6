// SPDX-License-Identifier: GPL-2.0
/*
 * Contiguous runs in arrays of frame numbers.
 *
 * Seen to fail: tests/module/controls/kunit-runs-*: the last of the longest; rotate() without
 * its last reverse().
 */
#include <kunit/test.h>

#include "../runs.c"

#define STEP 512

static void runs_longest_is_found(struct kunit *test)
{
	static const unsigned long pfn[] = {
		1 * STEP, 2 * STEP, 4 * STEP, 5 * STEP, 6 * STEP, 9 * STEP, 10 * STEP, 11 * STEP,
	};
	struct evering_run run = evering_runs_longest(pfn, ARRAY_SIZE(pfn), STEP);

	KUNIT_EXPECT_EQ(test, run.first, 2);
	KUNIT_EXPECT_EQ(test, run.nr, 3);
	run = evering_runs_longest(pfn, 0, STEP);
	KUNIT_EXPECT_EQ(test, run.nr, 0);
	run = evering_runs_longest(pfn, 1, STEP);
	KUNIT_EXPECT_EQ(test, run.nr, 1);
	run = evering_runs_longest(pfn, ARRAY_SIZE(pfn), 2 * STEP);
	KUNIT_EXPECT_EQ(test, run.first, 1);
	KUNIT_EXPECT_EQ(test, run.nr, 2);
}

static void runs_next_ends_at_the_gap(struct kunit *test)
{
	static const unsigned long pfn[] = { 3, 4, 6 };

	KUNIT_EXPECT_EQ(test, evering_runs_next(pfn, 3, 0, 1).nr, 2);
	KUNIT_EXPECT_EQ(test, evering_runs_next(pfn, 3, 1, 1).nr, 1);
	KUNIT_EXPECT_EQ(test, evering_runs_next(pfn, 3, 2, 1).nr, 1);
}

static void runs_sort_ascends(struct kunit *test)
{
	unsigned long pfn[] = { ULONG_MAX, 0, 7, 7 - 1, 1UL << 40 };
	u32 i;

	evering_runs_sort(pfn, ARRAY_SIZE(pfn));
	for (i = 1; i < ARRAY_SIZE(pfn); i++)
		KUNIT_EXPECT_LT(test, pfn[i - 1], pfn[i]);
}

static void runs_keep_prefers_the_longest(struct kunit *test)
{
	unsigned long pfn[] = { 1, 3, 4, 8, 9, 10, 20 };
	static const unsigned long kept[] = { 8, 9, 10, 3, 4, 1, 20 };
	u32 i;

	evering_runs_keep(pfn, ARRAY_SIZE(pfn), 1, 5);
	for (i = 0; i < ARRAY_SIZE(pfn); i++)
		KUNIT_EXPECT_EQ(test, pfn[i], kept[i]);
}

/* Whatever the order, nothing gets lost or doubled. */
static void runs_keep_is_a_permutation(struct kunit *test)
{
	unsigned long pfn[64], sum = 0;
	u32 seed = 12345, i, round, want;

	for (round = 0; round < 100; round++) {
		pfn[0] = 1;
		sum = pfn[0];
		for (i = 1; i < ARRAY_SIZE(pfn); i++) {
			seed = seed * 1103515245 + 12345;
			pfn[i] = pfn[i - 1] + 1 + (seed >> 16) % 3;
			sum += pfn[i];
		}
		want = seed % (ARRAY_SIZE(pfn) + 1);
		evering_runs_keep(pfn, ARRAY_SIZE(pfn), 1, want);
		evering_runs_sort(pfn, ARRAY_SIZE(pfn));
		for (i = 0; i < ARRAY_SIZE(pfn); i++) {
			sum -= pfn[i];
			KUNIT_EXPECT_TRUE(test, !i || pfn[i - 1] < pfn[i]);
		}
		KUNIT_EXPECT_EQ(test, sum, 0);
	}
}

static struct kunit_case runs_cases[] = {
	KUNIT_CASE(runs_longest_is_found),
	KUNIT_CASE(runs_next_ends_at_the_gap),
	KUNIT_CASE(runs_sort_ascends),
	KUNIT_CASE(runs_keep_prefers_the_longest),
	KUNIT_CASE(runs_keep_is_a_permutation),
	{}
};

static struct kunit_suite runs_suite = {
	.name = "evering_runs",
	.test_cases = runs_cases,
};

kunit_test_suite(runs_suite);
