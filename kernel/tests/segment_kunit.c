// SPDX-License-Identifier: GPL-2.0
/*
 * Where things lie in a new segment.
 *
 * Seen to fail: tests/module/controls/kunit-segment-*: sums and products that wrap; sizes not
 * rounded up to blocks; a limit of attaches given together with ADMIN.
 */
#include <kunit/test.h>

#include "../segment.c"

#define BLOCK ((u64)EVERING_BLOCK_SIZE)

static void segment_small_is_a_power_of_two(struct kunit *test)
{
	struct evering_geometry g;

	KUNIT_ASSERT_EQ(test, evering_geometry_init(&g, PAGE_SIZE, PAGE_SIZE, 2), 0);
	KUNIT_EXPECT_EQ(test, g.status_size, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, g.shared_offset, EVERING_DATA_OFFSET);
	KUNIT_EXPECT_EQ(test, g.peers_offset, EVERING_DATA_OFFSET + PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, g.data_end, EVERING_DATA_OFFSET + 4 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, g.size, g.data_end);
	KUNIT_EXPECT_EQ(test, g.grown_offset, 2 * BLOCK);
	KUNIT_EXPECT_EQ(test, evering_segment_bytes(&g), 4 * PAGE_SIZE);
}

static void segment_large_is_whole_blocks(struct kunit *test)
{
	struct evering_geometry g;

	KUNIT_ASSERT_EQ(test, evering_geometry_init(&g, BLOCK - PAGE_SIZE, 0, 1), 0);
	KUNIT_EXPECT_EQ(test, g.size - EVERING_DATA_OFFSET, BLOCK);
	KUNIT_ASSERT_EQ(test, evering_geometry_init(&g, BLOCK, 0, 1), 0);
	KUNIT_EXPECT_EQ(test, g.size - EVERING_DATA_OFFSET, BLOCK);
	KUNIT_ASSERT_EQ(test, evering_geometry_init(&g, BLOCK, PAGE_SIZE, 256), 0);
	KUNIT_EXPECT_EQ(test, g.size - EVERING_DATA_OFFSET, 2 * BLOCK);
	KUNIT_EXPECT_EQ(test, g.grown_offset, g.size);
	KUNIT_EXPECT_EQ(test, g.status_size,
			PAGE_ALIGN(EVERING_STATUS_ENTRIES_OFFSET + 256 * 64));
}

static void segment_of_bad_sizes_is_refused(struct kunit *test)
{
	const u64 top = U64_MAX & PAGE_MASK;
	struct evering_geometry g;

	KUNIT_EXPECT_EQ(test, evering_geometry_init(&g, 0, 0, 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, evering_geometry_init(&g, 1, 0, 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, evering_geometry_init(&g, 0, PAGE_SIZE - 1, 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, evering_geometry_init(&g, top, 0, 1), -EFBIG);
	KUNIT_EXPECT_EQ(test, evering_geometry_init(&g, 0, top, 1), -EFBIG);
	KUNIT_EXPECT_EQ(test, evering_geometry_init(&g, 0, top, 256), -EFBIG);
	KUNIT_EXPECT_EQ(test, evering_geometry_init(&g, top, top, 1), -EFBIG);
	/* Sums and products that wrap to something small. */
	KUNIT_EXPECT_EQ(test, evering_geometry_init(&g, top, 2 * PAGE_SIZE, 1), -EFBIG);
	KUNIT_EXPECT_EQ(test, evering_geometry_init(&g, PAGE_SIZE, 1ULL << 63, 2), -EFBIG);
	KUNIT_EXPECT_EQ(test, evering_geometry_init(&g, PAGE_SIZE, 1ULL << 56, 256), -EFBIG);
	KUNIT_EXPECT_EQ(test, evering_geometry_init(&g, top / 2 & PAGE_MASK, top / 2 & PAGE_MASK,
						    2), -EFBIG);
}

static void segment_invitation_is_checked(struct kunit *test)
{
	const u32 w = EVERING_RIGHT_WRITE | EVERING_RIGHT_OBSERVE;
	struct evering_peer_invite arg = { .rights = w };

	KUNIT_EXPECT_EQ(test, check_invite(&arg, EVERING_RIGHTS_ALL), 0);
	KUNIT_EXPECT_EQ(test, check_invite(&arg, EVERING_RIGHT_OBSERVE), -EACCES);
	arg.rights = 0;
	KUNIT_EXPECT_EQ(test, check_invite(&arg, EVERING_RIGHTS_ALL), -EINVAL);
	arg.rights = EVERING_RIGHTS_ALL + 1;
	KUNIT_EXPECT_EQ(test, check_invite(&arg, EVERING_RIGHTS_ALL), -EINVAL);
	arg = (struct evering_peer_invite){ .rights = w, .flags = EVERING_INVITE_F_RESERVE };
	KUNIT_EXPECT_EQ(test, check_invite(&arg, EVERING_RIGHTS_ALL), -EINVAL);
	arg.attaches_max = 1;
	KUNIT_EXPECT_EQ(test, check_invite(&arg, EVERING_RIGHTS_ALL), 0);
	arg.attaches_max = 2;
	KUNIT_EXPECT_EQ(test, check_invite(&arg, EVERING_RIGHTS_ALL), -EINVAL);
	/* A limit that an invitation of one's own would go round. */
	arg = (struct evering_peer_invite){ .rights = w | EVERING_RIGHT_INVITE, .attaches_max = 1 };
	KUNIT_EXPECT_EQ(test, check_invite(&arg, EVERING_RIGHTS_ALL), -EINVAL);
	/* Or a name of one's own. */
	arg.rights = w | EVERING_RIGHT_ADMIN;
	KUNIT_EXPECT_EQ(test, check_invite(&arg, EVERING_RIGHTS_ALL), -EINVAL);
	arg.attaches_max = 0;
	KUNIT_EXPECT_EQ(test, check_invite(&arg, EVERING_RIGHTS_ALL), 0);
}

static struct kunit_case segment_cases[] = {
	KUNIT_CASE(segment_small_is_a_power_of_two),
	KUNIT_CASE(segment_large_is_whole_blocks),
	KUNIT_CASE(segment_of_bad_sizes_is_refused),
	KUNIT_CASE(segment_invitation_is_checked),
	{}
};

static struct kunit_suite segment_suite = {
	.name = "evering_segment",
	.test_cases = segment_cases,
};

kunit_test_suite(segment_suite);
