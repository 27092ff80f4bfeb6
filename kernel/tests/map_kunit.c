// SPDX-License-Identifier: GPL-2.0
/*
 * Rights by range: 1 read and write, 0 read, -EINVAL not there.
 *
 * Seen to fail: tests/module/controls/kunit-map-*: slot 0's region writable for all; no gap
 * before grown memory.
 */
#include <kunit/test.h>

#include "../map.c"

#define PAGE ((u64)PAGE_SIZE)
#define DATA EVERING_DATA_OFFSET

static const u32 writer = EVERING_RIGHT_OBSERVE | EVERING_RIGHT_WRITE;

/* Shared: 2 pages; 4 peers with a page each; 2 pages that are nobody's. */
static struct evering_geometry geometry_small(void)
{
	return (struct evering_geometry){
		.status_size = PAGE,
		.shared_offset = DATA,
		.shared_size = 2 * PAGE,
		.peers_offset = DATA + 2 * PAGE,
		.peer_size = PAGE,
		.data_end = DATA + 8 * PAGE,
		.grown_offset = 2 * DATA,
		.size = DATA + 8 * PAGE,
		.peers_max = 4,
	};
}

struct range_case {
	u64 offset;
	u64 length;
	u32 slot;
	u32 rights;
	int access;
};

static void check(struct kunit *test, const struct evering_geometry *geometry,
		  const struct range_case *cases, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++)
		KUNIT_EXPECT_EQ_MSG(test, cases[i].access,
				    evering_range_access(geometry, cases[i].slot,
							 cases[i].rights, cases[i].offset,
							 cases[i].length),
				    "case %zu", i);
}

static void map_rights_of_a_writer(struct kunit *test)
{
	const struct evering_geometry geometry = geometry_small();
	static const struct range_case cases[] = {
		{ 0, PAGE, 0, writer, 0 },
		{ DATA, PAGE, 0, writer, 1 },
		{ DATA, 2 * PAGE, 3, writer, 1 },
		/* Shared and own region touch for slot 0 only. */
		{ DATA, 3 * PAGE, 0, writer, 1 },
		{ DATA, 3 * PAGE, 1, writer, 0 },
		{ DATA + 2 * PAGE, PAGE, 0, writer, 1 },
		{ DATA + 2 * PAGE, PAGE, 1, writer, 0 },
		{ DATA + 3 * PAGE, PAGE, 1, writer, 1 },
		{ DATA + 3 * PAGE, 2 * PAGE, 1, writer, 0 },
		{ DATA + 5 * PAGE, PAGE, 3, writer, 1 },
		/* Behind the last region: readable, nobody's to write. */
		{ DATA + 6 * PAGE, 2 * PAGE, 3, writer, 0 },
		{ DATA, 8 * PAGE, 0, writer, 0 },
	};

	check(test, &geometry, cases, ARRAY_SIZE(cases));
}

static void map_rights_of_an_observer(struct kunit *test)
{
	const struct evering_geometry geometry = geometry_small();
	static const struct range_case cases[] = {
		{ 0, PAGE, 0, EVERING_RIGHT_OBSERVE, 0 },
		{ DATA, PAGE, 0, EVERING_RIGHT_OBSERVE, 0 },
		{ DATA + 2 * PAGE, PAGE, 0, EVERING_RIGHT_OBSERVE, 0 },
	};

	check(test, &geometry, cases, ARRAY_SIZE(cases));
}

static void map_range_that_is_not_there_is_refused(struct kunit *test)
{
	const struct evering_geometry geometry = geometry_small();
	static const struct range_case cases[] = {
		{ 0, 2 * PAGE, 0, writer, -EINVAL },
		{ PAGE, PAGE, 0, writer, -EINVAL },
		{ DATA - PAGE, PAGE, 0, writer, -EINVAL },
		{ DATA - PAGE, 2 * PAGE, 0, writer, -EINVAL },
		{ DATA + 7 * PAGE, 2 * PAGE, 0, writer, -EINVAL },
		{ DATA + 8 * PAGE, PAGE, 0, writer, -EINVAL },
		{ U64_MAX - PAGE + 1, PAGE, 0, writer, -EINVAL },
		{ U64_MAX - PAGE + 1, 2 * PAGE, 0, writer, -EINVAL },
		{ DATA, U64_MAX, 0, writer, -EINVAL },
	};

	check(test, &geometry, cases, ARRAY_SIZE(cases));
}

static void map_rights_of_grown_memory(struct kunit *test)
{
	struct evering_geometry geometry = geometry_small();
	static const struct range_case cases[] = {
		{ 2 * DATA, DATA, 3, writer, 1 },
		{ 2 * DATA, DATA, 3, EVERING_RIGHT_OBSERVE, 0 },
		{ 2 * DATA + PAGE, DATA, 3, writer, -EINVAL },
		{ DATA + 7 * PAGE, DATA, 3, writer, -EINVAL },
		{ 2 * DATA - PAGE, PAGE, 3, writer, -EINVAL },
	};

	geometry.size = 3 * DATA;
	check(test, &geometry, cases, ARRAY_SIZE(cases));
}

static struct kunit_case map_cases[] = {
	KUNIT_CASE(map_rights_of_a_writer),
	KUNIT_CASE(map_rights_of_an_observer),
	KUNIT_CASE(map_range_that_is_not_there_is_refused),
	KUNIT_CASE(map_rights_of_grown_memory),
	{}
};

static struct kunit_suite map_suite = {
	.name = "evering_map",
	.test_cases = map_cases,
};

kunit_test_suite(map_suite);
