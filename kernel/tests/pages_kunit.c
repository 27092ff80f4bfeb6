// SPDX-License-Identifier: GPL-2.0
/*
 * The memory of a segment: zeroed, found by offset, reported in extents, kept while
 * somebody else holds it. Each case with both backings.
 *
 * Seen to fail: tests/module/controls/kunit-pages-*: blocks that are not cleared; pinned ones
 * freed; extents beyond the end.
 */
#include <kunit/test.h>

#include "../pages.c"

struct owner {
	struct evering_node node;
	struct evering_user *user;
	u32 backing;
};

static void evict_owner(struct evering_node *node)
{
}

static const struct evering_node_ops owner_ops = { .evict = evict_owner };

static int init_backing(struct kunit *test, u32 backing)
{
	struct owner *owner = kunit_kzalloc(test, sizeof(*owner), GFP_KERNEL);
	int rc;

	if (!owner)
		return -ENOMEM;
	rc = evering_fs_pin();
	if (rc)
		return rc;
	test->priv = owner;
	owner->backing = backing;
	return evering_node_init(&owner->node, &owner_ops, evering_fs_mount());
}

static int init_pages(struct kunit *test)
{
	return init_backing(test, EVERING_BACKING_PAGES);
}

static int init_shmem(struct kunit *test)
{
	return init_backing(test, EVERING_BACKING_SHMEM);
}

static void exit_case(struct kunit *test)
{
	struct owner *owner = test->priv;

	iput(owner->node.inode);
	evering_fs_unpin();
}

/* Charged memory of so many bytes; destroying it takes the charge back. */
static struct evering_memory *make(struct kunit *test, u64 bytes)
{
	struct owner *owner = test->priv;
	struct evering_request request = { .bytes = bytes, .node = NUMA_NO_NODE };
	struct evering_memory *memory;

	owner->user = evering_user_get();
	KUNIT_ASSERT_NOT_NULL(test, owner->user);
	memory = evering_memory_create(owner->user, owner->backing);
	KUNIT_ASSERT_FALSE(test, IS_ERR(memory));
	KUNIT_ASSERT_EQ(test, evering_charge(owner->user, bytes, 0), 0);
	KUNIT_ASSERT_EQ(test, evering_memory_add(memory, owner->node.inode, &request), 0);
	return memory;
}

static u64 charged(void)
{
	struct evering_limits limits;

	evering_limits_get(&limits);
	return limits.total_bytes;
}

/* What is free now has been written to. */
static void soil(struct kunit *test, u64 bytes)
{
	struct evering_memory *memory = make(test, bytes);
	u64 offset;

	for (offset = 0; offset < bytes; offset += EVERING_BLOCK_SIZE)
		memset(folio_address(evering_memory_folio(memory, EVERING_DATA_OFFSET + offset)),
		       0xa5, EVERING_BLOCK_SIZE);
	evering_memory_destroy(memory);
}

static void pages_are_zeroed_and_found(struct kunit *test)
{
	const u64 bytes = 2 * EVERING_BLOCK_SIZE;
	struct evering_memory *memory;
	struct owner *owner = test->priv;
	struct address_space *mapping = owner->node.inode->i_mapping;
	struct folio *folio;
	u64 offset;

	soil(test, 8 * EVERING_BLOCK_SIZE);
	memory = make(test, bytes);
	if (owner->backing == EVERING_BACKING_SHMEM)
		mapping = memory->shmem->f_mapping;
	KUNIT_EXPECT_NULL(test, evering_memory_folio(memory, EVERING_DATA_OFFSET - 1));
	for (offset = 0; offset < bytes; offset += EVERING_BLOCK_SIZE) {
		folio = evering_memory_folio(memory, EVERING_DATA_OFFSET + offset);
		KUNIT_ASSERT_NOT_NULL(test, folio);
		KUNIT_EXPECT_PTR_EQ(test, folio->mapping, mapping);
		KUNIT_EXPECT_EQ(test, folio->index, (EVERING_DATA_OFFSET + offset) >> PAGE_SHIFT);
		KUNIT_EXPECT_NULL(test, memchr_inv(folio_address(folio), 0, EVERING_BLOCK_SIZE));
	}
	KUNIT_EXPECT_NULL(test, evering_memory_folio(memory, EVERING_DATA_OFFSET + bytes));
	evering_memory_destroy(memory);
	KUNIT_EXPECT_EQ(test, charged(), 0);
}

static void pages_extents_cover_all(struct kunit *test)
{
	const u64 bytes = 4 * EVERING_BLOCK_SIZE;
	const u64 end = EVERING_DATA_OFFSET + bytes;
	struct evering_memory *memory = make(test, bytes);
	struct evering_extent extents[4];
	u32 nr = evering_memory_extents(memory, end, 0, ARRAY_SIZE(extents), extents);
	u64 next = EVERING_DATA_OFFSET;
	u32 i;

	KUNIT_ASSERT_LE(test, nr, ARRAY_SIZE(extents));
	KUNIT_ASSERT_GE(test, nr, 1);
	for (i = 0; i < nr; i++) {
		KUNIT_EXPECT_EQ(test, extents[i].offset, next);
		KUNIT_EXPECT_NE(test, extents[i].phys, 0);
		next += extents[i].length;
	}
	KUNIT_EXPECT_EQ(test, next, end);
	KUNIT_EXPECT_EQ(test, evering_memory_extents(memory, EVERING_DATA_OFFSET, 0, 0, NULL), 0);
	evering_memory_destroy(memory);
}

static void pages_of_small_segments_are_one_folio(struct kunit *test)
{
	struct evering_memory *memory = make(test, 4 * PAGE_SIZE);
	struct folio *folio = evering_memory_folio(memory, EVERING_DATA_OFFSET);

	KUNIT_ASSERT_NOT_NULL(test, folio);
	KUNIT_EXPECT_EQ(test, folio_size(folio), 4 * PAGE_SIZE);
	evering_memory_destroy(memory);
	KUNIT_EXPECT_EQ(test, charged(), 0);
}

static void pages_that_are_held_stay_charged(struct kunit *test)
{
	struct evering_memory *memory = make(test, 2 * EVERING_BLOCK_SIZE);
	struct folio *folio = evering_memory_folio(memory, EVERING_DATA_OFFSET);

	folio_get(folio);
	evering_memory_destroy(memory);
	KUNIT_EXPECT_EQ(test, charged(), EVERING_BLOCK_SIZE);
	KUNIT_EXPECT_NULL(test, folio->mapping);
	KUNIT_EXPECT_EQ(test, evering_limbo_sweep(), EVERING_BLOCK_SIZE);
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, evering_limbo_sweep(), 0);
	KUNIT_EXPECT_EQ(test, charged(), 0);
	cancel_delayed_work_sync(&limbo_work);
}

static struct kunit_case pages_cases[] = {
	KUNIT_CASE(pages_are_zeroed_and_found),
	KUNIT_CASE(pages_extents_cover_all),
	KUNIT_CASE(pages_of_small_segments_are_one_folio),
	KUNIT_CASE(pages_that_are_held_stay_charged),
	{}
};

static struct kunit_suite pages_suite = {
	.name = "evering_pages",
	.init = init_pages,
	.exit = exit_case,
	.test_cases = pages_cases,
};

static struct kunit_suite shmem_suite = {
	.name = "evering_pages_shmem",
	.init = init_shmem,
	.exit = exit_case,
	.test_cases = pages_cases,
};

kunit_test_suites(&pages_suite, &shmem_suite);
