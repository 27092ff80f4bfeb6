// SPDX-License-Identifier: GPL-2.0
/*
 * Sums and quotas at their limits.
 *
 * Seen to fail: tests/module/controls/kunit-limits-*: a sum that wraps; a charge that is
 * given back but for the uid.
 */
#include <kunit/test.h>

#include "../limits.c"

static void limits_sum_at_its_limit(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, evering_sum_check(0, 0, 0), 0);
	KUNIT_EXPECT_EQ(test, evering_sum_check(0, 1, 0), -EDQUOT);
	KUNIT_EXPECT_EQ(test, evering_sum_check(7, 2, 10), 0);
	KUNIT_EXPECT_EQ(test, evering_sum_check(7, 3, 10), 0);
	KUNIT_EXPECT_EQ(test, evering_sum_check(7, 4, 10), -EDQUOT);
	/* The limit was lowered below what is in use. */
	KUNIT_EXPECT_EQ(test, evering_sum_check(11, 0, 10), -EDQUOT);
	KUNIT_EXPECT_EQ(test, evering_sum_check(2, U64_MAX, U64_MAX), -EDQUOT);
	KUNIT_EXPECT_EQ(test, evering_sum_check(0, U64_MAX, U64_MAX), 0);
}

static void limits_charge_and_uncharge_balance(struct kunit *test)
{
	struct evering_user *user = evering_user_get();
	struct evering_limits limits;

	KUNIT_ASSERT_NOT_NULL(test, user);
	total_bytes_max = 10 * PAGE_SIZE;
	segment_bytes_max = 8 * PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, evering_charge(user, 9 * PAGE_SIZE, 0), -EFBIG);
	KUNIT_EXPECT_EQ(test, evering_charge(user, PAGE_SIZE, 8 * PAGE_SIZE), -EFBIG);
	KUNIT_EXPECT_EQ(test, evering_charge(user, 8 * PAGE_SIZE, 0), 0);
	KUNIT_EXPECT_EQ(test, evering_charge(user, 3 * PAGE_SIZE, 0), -ENFILE);
	KUNIT_EXPECT_EQ(test, evering_charge(user, 2 * PAGE_SIZE, 0), 0);
	evering_limits_get(&limits);
	KUNIT_EXPECT_EQ(test, limits.total_bytes, 10 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, limits.uid_bytes, 10 * PAGE_SIZE);
	evering_uncharge(user, 10 * PAGE_SIZE);
	evering_limits_get(&limits);
	KUNIT_EXPECT_EQ(test, limits.total_bytes, 0);
	KUNIT_EXPECT_EQ(test, limits.uid_bytes, 0);
	total_bytes_max = 0;
	segment_bytes_max = 0;
	evering_user_put(user);
}

static void limits_user_is_shared_by_its_uid(struct kunit *test)
{
	struct evering_user *first = evering_user_get();
	struct evering_user *second = evering_user_get();

	KUNIT_ASSERT_NOT_NULL(test, first);
	KUNIT_EXPECT_PTR_EQ(test, first, second);
	evering_user_put(second);
	evering_user_put(first);
	KUNIT_EXPECT_TRUE(test, list_empty(&users));
}

static void limits_segments_are_counted(struct kunit *test)
{
	unsigned int before = segments_max;

	segments_max = 2;
	KUNIT_EXPECT_EQ(test, evering_segment_count(), 0);
	KUNIT_EXPECT_EQ(test, evering_segment_count(), 0);
	KUNIT_EXPECT_EQ(test, evering_segment_count(), -ENFILE);
	evering_segment_uncount();
	KUNIT_EXPECT_EQ(test, evering_segment_count(), 0);
	evering_segment_uncount();
	evering_segment_uncount();
	segments_max = before;
}

static void limits_parameters_are_checked(struct kunit *test)
{
	struct kernel_param kp = { .arg = &segments_max };
	unsigned int before = segments_max;

	KUNIT_EXPECT_EQ(test, set_nonzero("0", &kp), -EINVAL);
	KUNIT_EXPECT_EQ(test, set_nonzero("many", &kp), -EINVAL);
	KUNIT_EXPECT_EQ(test, segments_max, before);
	KUNIT_EXPECT_EQ(test, set_nonzero("7", &kp), 0);
	KUNIT_EXPECT_EQ(test, segments_max, 7);
	segments_max = before;
	kp.arg = &peers_max;
	KUNIT_EXPECT_EQ(test, set_peers("0", &kp), -EINVAL);
	KUNIT_EXPECT_EQ(test, set_peers("257", &kp), -EINVAL);
	KUNIT_EXPECT_EQ(test, set_peers("256", &kp), 0);
}

static struct kunit_case limits_cases[] = {
	KUNIT_CASE(limits_sum_at_its_limit),
	KUNIT_CASE(limits_charge_and_uncharge_balance),
	KUNIT_CASE(limits_user_is_shared_by_its_uid),
	KUNIT_CASE(limits_segments_are_counted),
	KUNIT_CASE(limits_parameters_are_checked),
	{}
};

static struct kunit_suite limits_suite = {
	.name = "evering_limits",
	.test_cases = limits_cases,
};

kunit_test_suite(limits_suite);
