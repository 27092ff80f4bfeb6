/* SPDX-License-Identifier: MIT */
/*
 * Blocks of one type, of heaps and pools, and a buffer that is used again.
 *
 * Mutants seen to fail here: a type's size, alignment or number not looked at; a buffer that is
 * not begun anew.
 */
#include "heaps.h"

struct odd {
	char bytes[24];
};

struct page {
	EVR_ALIGNAS(4096) char bytes[4096];
};

struct line {
	EVR_ALIGNAS(EVR_LINE_SZ) char bytes[EVR_LINE_SZ];
};

EVR_HEAP_DEFINE(odds, struct odd)
EVR_HEAP_DEFINE(lines, struct line)
EVR_HEAP_DEFINE(pages, struct page)
EVR_POOL_DEFINE(pool_odds, struct odd)

static void heap_typed_blocks_are_of_their_type(void **state)
{
	struct evr_block small;
	struct evr_heap heap;
	struct odd *odds;
	struct page *pages;
	uint64_t handle = 1, nr = 99;

	get_heap(*state, &heap);
	odds = odds_alloc(&heap, 3, &handle);
	assert_non_null(odds);
	memset(odds, 1, 3 * sizeof(*odds));
	assert_ptr_equal(odds_resolve(&heap, handle, &nr), odds);
	assert_int_equal(nr, 3);
	assert_int_equal(evr_heap_free(&heap, handle), 0);
	assert_null(odds_resolve(&heap, handle, &nr));
	assert_int_equal(nr, 0);
	assert_null(odds_alloc(&heap, 0, &handle));
	assert_int_equal(evr_heap_error(&heap), -EINVAL);
	assert_true(handle == EVR_HANDLE_NONE);
	/* As many as make 8 bytes more than 2^64. */
	assert_null(odds_alloc(&heap, UINT64_MAX / sizeof(struct odd) + 1, &handle));
	assert_int_equal(evr_heap_error(&heap), -EINVAL);
	small = evr_heap_alloc(&heap, 16);
	nr = 99;
	assert_null(odds_resolve(&heap, small.handle, &nr));
	assert_int_equal(nr, 0);
	pages = pages_alloc(&heap, 2, &handle);
	assert_non_null(pages);
	assert_int_equal((uintptr_t)pages % 4096, 0);
	assert_ptr_equal(pages_resolve(&heap, handle, &nr), pages);
	assert_true(nr >= 2);
	assert_int_equal(evr_heap_free(&heap, handle), 0);
	assert_int_equal(evr_heap_free(&heap, small.handle), 0);
	/* Large enough, and not where one may lie. */
	do {
		small = evr_heap_alloc(&heap, sizeof(struct line) + 16);
		assert_non_null(small.ptr);
	} while ((uintptr_t)small.ptr % EVR_LINE_SZ == 0);
	assert_null(lines_resolve(&heap, small.handle, &nr));
	assert_int_equal(nr, 0);
	evr_heap_close(&heap);
}

static void heap_typed_blocks_of_a_pool_are_of_their_type(void **state)
{
	struct evr_pool_options options = { .struct_sz = sizeof(options),
					    .classes = { { 16, 1 }, { 48, 1 } } };
	struct pair *pair = *state;
	struct evr_block small;
	struct evr_pool pool;
	uint64_t handle = 1, nr = 99;
	struct odd *odds;

	assert_int_equal(evr_pool_create(pair->peer, "pool", &options), 0);
	assert_int_equal(evr_pool_open(&pool, pair->peer, "pool"), 0);
	assert_int_equal(pool_odds_alloc(&pool, 3, &odds, &handle), -EMSGSIZE);
	assert_null(odds);
	assert_int_equal(pool_odds_alloc(&pool, 0, &odds, &handle), -EMSGSIZE);
	assert_int_equal(pool_odds_alloc(&pool, UINT64_MAX / sizeof(struct odd) + 1, &odds,
					 &handle),
			 -EMSGSIZE);
	assert_int_equal(pool_odds_alloc(&pool, 1, &odds, &handle), 0);
	assert_ptr_equal(pool_odds_resolve(&pool, handle, &nr), odds);
	assert_int_equal(nr, 2);
	assert_int_equal(pool_odds_alloc(&pool, 1, &odds, &handle), -ENOBUFS);
	assert_int_equal(evr_pool_alloc(&pool, 1, &small), 0);
	assert_null(pool_odds_resolve(&pool, small.handle, &nr));
	assert_int_equal(nr, 0);
	evr_pool_close(&pool);
}

static void heap_buffer_is_used_again_after_take(void **state)
{
	struct evr_heap_buffer buffer;
	struct evr_block first, second;
	struct evr_heap heap;

	get_heap(*state, &heap);
	assert_int_equal(evr_heap_buffer_init(&buffer, &heap, HEAP_SZ), -ENOMEM);
	/* It begins when there is room. */
	assert_int_equal(evr_heap_buffer_append(&buffer, "abc", 3), 0);
	first = evr_heap_buffer_take(&buffer);
	assert_int_equal(buffer.sz, 0);
	assert_int_equal(evr_heap_buffer_append(&buffer, "defg", 4), 0);
	assert_int_equal(buffer.sz, 4);
	second = evr_heap_buffer_take(&buffer);
	assert_true(first.handle != second.handle);
	assert_memory_equal(first.ptr, "abc", 3);
	assert_memory_equal(second.ptr, "defg", 4);
	assert_null(evr_heap_buffer_take(&buffer).ptr);
	assert_int_equal(evr_heap_free(&heap, first.handle), 0);
	assert_int_equal(evr_heap_free(&heap, second.handle), 0);
	evr_heap_buffer_fini(&buffer);
	assert_int_equal(evr_heap_buffer_append(&buffer, "x", 1), -ENOMEM);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_heap, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(heap_typed_blocks_are_of_their_type),
		CASE(heap_typed_blocks_of_a_pool_are_of_their_type),
		CASE(heap_buffer_is_used_again_after_take),
	};

	return cmocka_run_group_tests_name("heap_typed", tests, NULL, NULL);
}
