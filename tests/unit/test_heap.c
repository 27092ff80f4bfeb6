/* SPDX-License-Identifier: MIT */
/*
 * The heap by one process: sizes, handles, what it says of itself, growing. What passes to
 * other peers is in test_heap_transfer.c, nonsense in shared memory in test_heap_hostile.c,
 * what a death leaves in test_heap_reap.c.
 *
 * Mutants seen to fail here: a double free taken (heap_freed_twice_*), the exact
 * multiple not checked (heap_forged_*), the dirty bit not set (heap_freed_by_another_*),
 * a size class too small (heap_every_size_*).
 */
#include <sys/mman.h>

#include "heaps.h"

/* Free runs that a handle leaves in the heap, see evr_heap(3). */
#define RUN_SZ (2ULL << 20)
#define RUNS_KEPT 16

static void heap_every_size_is_allocated_and_aligned(void **state)
{
	struct evr_heap heap;
	struct evr_block block, next;
	uint64_t sz, got, align;

	get_heap(*state, &heap);
	for (sz = 1; sz <= HEAP_SZ / 4; sz += sz < 9000 ? 1 : sz / 3) {
		block = evr_heap_alloc(&heap, sz);
		assert_non_null(block.ptr);
		next = evr_heap_alloc(&heap, sz);
		assert_non_null(next.ptr);
		assert_ptr_equal(evr_heap_resolve(&heap, block.handle, &got), block.ptr);
		assert_true(got >= sz);
		assert_true(got <= sz + 15 + sz / 8 || (sz > 4096 && got < sz + 4096));
		align = sz >= 4096 ? 16 : got & -got;
		assert_int_equal((uintptr_t)block.ptr % align, 0);
		memset(block.ptr, 0xaa, got);
		memset(next.ptr, 0x55, got);
		assert_int_equal(((unsigned char *)block.ptr)[0], 0xaa);
		assert_int_equal(((unsigned char *)block.ptr)[got - 1], 0xaa);
		assert_int_equal(evr_heap_free(&heap, block.handle), 0);
		assert_int_equal(evr_heap_free(&heap, next.handle), 0);
	}
	assert_empty(&heap);
	evr_heap_close(&heap);
}

static void heap_alignment_is_kept(void **state)
{
	struct evr_heap heap;
	struct evr_block block;
	uint64_t align, sz;

	get_heap(*state, &heap);
	for (align = 1; align <= 256 << 10; align *= 2)
		for (sz = 1; sz <= 40000; sz = sz * 3 + 1) {
			block = evr_heap_alloc_aligned(&heap, sz, align);
			assert_non_null(block.ptr);
			assert_int_equal((uintptr_t)block.ptr % align, 0);
			assert_int_equal(evr_heap_free(&heap, block.handle), 0);
		}
	assert_null(evr_heap_alloc_aligned(&heap, 1, 3).ptr);
	assert_int_equal(evr_heap_error(&heap), -EINVAL);
	assert_null(evr_heap_alloc_aligned(&heap, 1, 4U << 20).ptr);
	assert_int_equal(evr_heap_error(&heap), -EINVAL);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

static void heap_freed_twice_is_stale(void **state)
{
	static const uint64_t sizes[] = { 16, 600, 4000, 100000 };
	struct evr_block block, again;
	struct evr_heap heap;
	size_t i;

	get_heap(*state, &heap);
	for (i = 0; i < 4; i++) {
		block = evr_heap_alloc(&heap, sizes[i]);
		assert_int_equal(evr_heap_free(&heap, block.handle), 0);
		assert_int_equal(evr_heap_free(&heap, block.handle), -ESTALE);
		assert_null(evr_heap_resolve(&heap, block.handle, NULL));
		again = evr_heap_alloc(&heap, sizes[i]);
		assert_ptr_equal(again.ptr, block.ptr);
		assert_true(again.handle != block.handle);
		assert_int_equal(evr_heap_free(&heap, block.handle), -ESTALE);
		assert_int_equal(evr_heap_free(&heap, again.handle), 0);
		/* Nor after all its granules were free, and are used anew. */
		assert_empty(&heap);
		again = evr_heap_alloc(&heap, sizes[i]);
		assert_ptr_equal(again.ptr, block.ptr);
		assert_int_equal(evr_heap_free(&heap, block.handle), -ESTALE);
		assert_null(evr_heap_resolve(&heap, block.handle, NULL));
		assert_int_equal(evr_heap_free(&heap, again.handle), 0);
		assert_empty(&heap);
	}
	evr_heap_close(&heap);
}

static void heap_forged_handles_are_stale(void **state)
{
	struct evr_block small, large, run;
	struct evr_heap heap;
	uint64_t off, seed = 7, handle, sz;
	struct pair *pair = *state;
	int i;

	get_heap(pair, &heap);
	small = evr_heap_alloc(&heap, 48);
	large = evr_heap_alloc(&heap, 3000);
	run = evr_heap_alloc(&heap, 50000);
	for (off = 1; off < 3; off++) {
		assert_int_equal(evr_heap_free(&heap, small.handle + off), -ESTALE);
		assert_int_equal(evr_heap_free(&heap, large.handle + off), -ESTALE);
		assert_int_equal(evr_heap_free(&heap, run.handle + off), -ESTALE);
		assert_null(evr_heap_resolve(&heap, small.handle + off, NULL));
	}
	assert_int_equal(evr_heap_free(&heap, small.handle + EVR_CTL_GEN_ONE), -ESTALE);
	assert_int_equal(evr_heap_free(&heap, EVR_HANDLE_NONE), -ESTALE);
	assert_int_equal(evr_heap_free(&heap, ~0ULL), -ESTALE);
	for (i = 0; i < 200000; i++) {
		/* Near what exists, and anywhere. */
		handle = pair_random(&seed);
		if (i % 2)
			handle = small.handle + (handle % 4096) - 2048;
		if (handle == small.handle || handle == large.handle || handle == run.handle)
			continue;
		assert_null(evr_heap_resolve(&heap, handle, &sz));
		assert_int_equal(sz, 0);
		assert_int_equal(evr_heap_free(&heap, handle), -ESTALE);
		assert_int_equal(evr_heap_accept(&heap, handle), -ESTALE);
	}
	assert_int_equal(evr_heap_free(&heap, small.handle), 0);
	assert_int_equal(evr_heap_free(&heap, large.handle), 0);
	assert_int_equal(evr_heap_free(&heap, run.handle), 0);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

static void heap_addresses_find_their_handles(void **state)
{
	struct evr_block small, run;
	struct evr_heap heap;
	int here = 0;

	get_heap(*state, &heap);
	small = evr_heap_alloc(&heap, 100);
	run = evr_heap_alloc(&heap, 100000);
	assert_true(evr_heap_handle(&heap, (char *)small.ptr + 99) == small.handle);
	assert_true(evr_heap_handle(&heap, (char *)run.ptr + 99999) == run.handle);
	assert_true(evr_heap_contains(&heap, run.ptr));
	assert_false(evr_heap_contains(&heap, &here));
	assert_true(evr_heap_handle(&heap, &here) == EVR_HANDLE_NONE);
	evr_heap_free(&heap, small.handle);
	assert_true(evr_heap_handle(&heap, small.ptr) == EVR_HANDLE_NONE);
	evr_heap_free(&heap, run.handle);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

static void heap_full_is_told_and_usable_again(void **state)
{
	struct evr_block *blocks = calloc(HEAP_SZ / 64, sizeof(*blocks)), run;
	struct evr_heap_usage usage;
	struct evr_heap heap;
	uint32_t nr, i;

	get_heap(*state, &heap);
	nr = evr_heap_alloc_many(&heap, 64, HEAP_SZ / 64, blocks);
	assert_true(nr > HEAP_SZ / 64 * 3 / 4);
	assert_true(nr < HEAP_SZ / 64);
	assert_int_equal(evr_heap_error(&heap), -ENOMEM);
	assert_non_null(strstr(evr_error_detail(), "largest free run has 0"));
	evr_heap_usage(&heap, &usage);
	assert_int_equal(usage.blocks, nr);
	assert_int_equal(usage.peer[evr_peer_self(((struct pair *)*state)->peer).slot].blocks, nr);
	for (i = 0; i < nr; i++)
		assert_int_equal(evr_heap_free(&heap, blocks[i].handle), 0);
	/* Slabs of one class must not stand in the way of a run. */
	run = evr_heap_alloc(&heap, usage.bytes_max);
	assert_non_null(run.ptr);
	assert_null(evr_heap_alloc(&heap, 1).ptr);
	assert_int_equal(evr_heap_free(&heap, run.handle), 0);
	assert_null(evr_heap_alloc(&heap, usage.bytes_max + 1).ptr);
	assert_int_equal(evr_heap_error(&heap), -ENOMEM);
	assert_null(evr_heap_alloc(&heap, UINT64_MAX).ptr);
	assert_int_equal(evr_heap_error(&heap), -EINVAL);
	assert_empty(&heap);
	evr_heap_close(&heap);
	free(blocks);
}

static void heap_random_blocks_do_not_overlap(void **state)
{
	struct held {
		struct evr_block block;
		uint64_t sz;
		unsigned char mark;
	} held[300] = { 0 }, *h;
	uint64_t seed = 42, i;
	struct evr_heap heap;

	get_heap(*state, &heap);
	for (i = 0; i < 300000; i++) {
		h = &held[pair_random(&seed) % 300];
		if (h->block.ptr) {
			assert_int_equal(((unsigned char *)h->block.ptr)[0], h->mark);
			assert_int_equal(((unsigned char *)h->block.ptr)[h->sz - 1], h->mark);
			assert_int_equal(evr_heap_free(&heap, h->block.handle), 0);
			h->block.ptr = NULL;
			continue;
		}
		h->sz = 1 + pair_random(&seed) % (i % 16 ? 2000 : 20000);
		h->block = evr_heap_alloc(&heap, h->sz);
		if (!h->block.ptr)
			continue;
		h->mark = (unsigned char)i;
		memset(h->block.ptr, h->mark, h->sz);
	}
	for (h = held; h < held + 300; h++)
		if (h->block.ptr)
			assert_int_equal(evr_heap_free(&heap, h->block.handle), 0);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

static void heap_realloc_keeps_content_and_place_when_it_can(void **state)
{
	struct evr_block block, other;
	struct evr_heap heap;
	uint64_t sz = 0;
	void *before;

	get_heap(*state, &heap);
	block = evr_heap_alloc(&heap, 100);
	memset(block.ptr, 0x11, 100);
	assert_int_equal(evr_heap_transition(&heap, block.handle, EVR_BLOCK_LIVE, 77), 0);
	before = block.ptr;
	assert_int_equal(evr_heap_realloc(&heap, &block, 110), 0);
	assert_ptr_equal(block.ptr, before);
	assert_int_equal(evr_heap_realloc(&heap, &block, 5000), 1);
	assert_int_equal(((unsigned char *)block.ptr)[99], 0x11);
	assert_int_equal(evr_heap_transition(&heap, block.handle, 77, EVR_BLOCK_LIVE), 0);
	/* A run grows into what is free behind it, and shrinks. */
	assert_true(evr_heap_realloc(&heap, &block, 100000) >= 0);
	before = block.ptr;
	memset(block.ptr, 0x22, 100000);
	assert_int_equal(evr_heap_realloc(&heap, &block, 500000), 0);
	assert_ptr_equal(block.ptr, before);
	assert_int_equal(evr_heap_realloc(&heap, &block, 100000), 0);
	evr_heap_resolve(&heap, block.handle, &sz);
	assert_true(sz >= 100000);
	assert_true(sz < 105000);
	/* Not when something is in the way. */
	do {
		other = evr_heap_alloc(&heap, 8192);
		assert_non_null(other.ptr);
	} while (other.ptr < block.ptr);
	assert_int_equal(evr_heap_realloc(&heap, &block, 500000), 1);
	assert_int_equal(((unsigned char *)block.ptr)[99999], 0x22);
	sz = block.handle;
	assert_int_equal(evr_heap_realloc(&heap, &block, HEAP_SZ), -ENOMEM);
	assert_true(block.handle == sz);
	evr_heap_close(&heap);
}

static void heap_states_change_only_from_what_is_expected(void **state)
{
	struct evr_block_info info;
	struct evr_block block;
	struct evr_heap heap;

	get_heap(*state, &heap);
	block = evr_heap_alloc(&heap, 64);
	assert_int_equal(evr_heap_transition(&heap, block.handle, EVR_BLOCK_LIVE, 48), -EINVAL);
	assert_int_equal(evr_heap_transition(&heap, block.handle, EVR_BLOCK_LIVE, 0x10000), -EINVAL);
	assert_int_equal(evr_heap_transition(&heap, block.handle, 49, 50), -EAGAIN);
	assert_int_equal(evr_heap_transition(&heap, block.handle, EVR_BLOCK_LIVE, 49), 0);
	assert_int_equal(evr_heap_transition(&heap, block.handle, 49, 0xffff), 0);
	assert_int_equal(evr_heap_info(&heap, block.handle, &info), 0);
	assert_int_equal(info.state, 0xffff);
	assert_int_equal(info.owner, evr_peer_self(((struct pair *)*state)->peer).slot);
	assert_int_equal(info.source, EVR_SLOT_ANY);
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	assert_int_equal(evr_heap_transition(&heap, block.handle, 0xffff, 49), -ESTALE);
	assert_int_equal(evr_heap_info(&heap, block.handle, &info), -ESTALE);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

/* Two handles stand for two threads of this peer. */
static void heap_freed_by_another_handle_comes_back(void **state)
{
	struct evr_block *blocks = calloc(HEAP_SZ / 64, sizeof(*blocks));
	struct evr_heap mine, other;
	uint32_t nr, i, again;

	get_heap(*state, &mine);
	get_heap(*state, &other);
	nr = evr_heap_alloc_many(&mine, 64, HEAP_SZ / 64, blocks);
	assert_true(nr > 0);
	for (i = 0; i < nr; i++)
		assert_int_equal(evr_heap_free(&other, blocks[i].handle), 0);
	assert_int_equal(evr_heap_free(&other, blocks[0].handle), -ESTALE);
	again = evr_heap_alloc_many(&mine, 64, nr, blocks);
	assert_int_equal(again, nr);
	for (i = 0; i < nr; i++)
		assert_int_equal(evr_heap_free(&other, blocks[i].handle), 0);
	evr_heap_close(&mine);
	assert_empty(&other);
	evr_heap_close(&other);
	free(blocks);
}

static void heap_closed_leaves_its_blocks_to_its_peer(void **state)
{
	struct evr_block block, more;
	struct evr_heap_usage usage;
	struct evr_heap first, second;

	get_heap(*state, &first);
	block = evr_heap_alloc(&first, 64);
	evr_heap_close(&first);
	evr_heap_close(&first);
	assert_null(evr_heap_alloc(&first, 64).ptr);
	assert_int_equal(evr_heap_error(&first), -EINVAL);
	assert_int_equal(evr_heap_free(&first, block.handle), -EINVAL);
	get_heap(*state, &second);
	evr_heap_usage(&second, &usage);
	assert_int_equal(usage.orphans, 1);
	assert_int_equal(usage.blocks, 1);
	/* The orphan is adopted before a new slab is claimed. */
	more = evr_heap_alloc(&second, 64);
	evr_heap_usage(&second, &usage);
	assert_int_equal(usage.orphans, 0);
	assert_int_equal(usage.slabs, 1);
	assert_int_equal(evr_heap_free(&second, block.handle), 0);
	assert_int_equal(evr_heap_free(&second, more.handle), 0);
	assert_empty(&second);
	evr_heap_close(&second);
}

/* Of a slab of eight granules the blocks that come back last lie in any of them. */
static void heap_slab_of_many_granules_goes_when_its_last_blocks_overflow(void **state)
{
	struct pair *pair = *state;
	struct evr_heap_usage usage;
	struct evr_block blocks[64];
	struct evr_heap heap;
	uint64_t slabs;
	int i;

	get_heap(pair, &heap);
	for (i = 0; i < 64; i++) {
		blocks[i] = evr_heap_alloc(&heap, 4096);
		assert_non_null(blocks[i].ptr);
	}
	evr_heap_usage(&heap, &usage);
	slabs = usage.slabs;
	assert_int_equal(slabs, 8);
	/* The first of each slab goes first: when the others overflow, it is long out of the store. */
	for (i = 0; i < 64; i++)
		if ((evr_peer_off(pair->peer, blocks[i].ptr) - (int64_t)heap.data_off) / 4096 % 8 == 0)
			assert_int_equal(evr_heap_free(&heap, blocks[i].handle), 0);
	for (i = 0; i < 64; i++)
		if ((evr_peer_off(pair->peer, blocks[i].ptr) - (int64_t)heap.data_off) / 4096 % 8)
			assert_int_equal(evr_heap_free(&heap, blocks[i].handle), 0);
	evr_heap_usage(&heap, &usage);
	assert_true(usage.blocks == 0 && usage.slabs > 0);
	/* 32 are in the store, so four slabs at least have nothing there. */
	assert_true(usage.slabs <= slabs / 2 + 1);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

static void heap_walk_sees_every_block(void **state)
{
	uint64_t counts[2] = { 0, 0 };
	struct evr_block blocks[100];
	struct evr_heap heap;
	int i;

	get_heap(*state, &heap);
	for (i = 0; i < 99; i++)
		blocks[i] = evr_heap_alloc(&heap, (uint64_t)i * 100 + 1);
	assert_int_equal(evr_heap_walk(&heap, count_block, counts), 0);
	assert_int_equal(counts[0], 99);
	assert_true(counts[1] >= 99 * 98 / 2 * 100);
	blocks[99] = evr_heap_alloc(&heap, 1);
	counts[0] = 0;
	assert_int_equal(evr_heap_walk(&heap, count_block, counts), 1);
	for (i = 0; i < 100; i++)
		assert_int_equal(evr_heap_free(&heap, blocks[i].handle), 0);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

static void heap_grows_with_the_segment(void **state)
{
	struct pair *pair = *state;
	struct evr_heap heap, other;
	struct evr_block block, small;
	struct evr_heap_usage usage;

	get_heap(pair, &heap);
	get_heap(pair, &other);
	assert_null(evr_heap_alloc(&heap, 3U << 20).ptr);
	assert_int_equal(evr_heap_grow(&heap, 4U << 20), 0);
	block = evr_heap_alloc(&heap, 3U << 20);
	assert_non_null(block.ptr);
	memset(block.ptr, 1, 3U << 20);
	/* The other finds it without being told. */
	assert_ptr_equal(evr_heap_resolve(&other, block.handle, NULL), block.ptr);
	do {
		small = evr_heap_alloc(&heap, 64);
	} while (small.ptr && small.ptr < block.ptr);
	assert_non_null(small.ptr);
	assert_int_equal(evr_heap_free(&heap, small.handle), 0);
	assert_int_equal(evr_heap_free(&heap, small.handle), -ESTALE);
	assert_int_equal(evr_heap_free(&other, block.handle), 0);
	evr_heap_usage(&other, &usage);
	assert_int_equal(usage.arenas, 2);
	evr_heap_close(&heap);
	evr_heap_close(&other);
}

/* Pages of a block that the system has given. */
static uint64_t resident(const struct evr_block *block)
{
	unsigned char pages[RUN_SZ / 4096];
	uint64_t i, nr = 0;

	assert_int_equal(mincore(block->ptr, RUN_SZ, pages), 0);
	for (i = 0; i < RUN_SZ / 4096; i++)
		nr += pages[i] & 1;
	return nr;
}

/* All is free, in all arenas. */
static void assert_all_free(struct evr_heap *heap)
{
	struct evr_heap_usage usage;

	evr_heap_usage(heap, &usage);
	assert_int_equal(usage.runs, 0);
	assert_true(usage.bytes_free == usage.bytes_max);
}

/* The device's memory is the segment's for as long as that lives. */
static void open_heap_of_runs(struct pair *pair, struct evr_heap *heap)
{
	if (strcmp(pair_uri(), "local:"))
		skip();
	get_heap(pair, heap);
	assert_int_equal(evr_heap_grow(heap, (RUNS_KEPT + 2) * RUN_SZ), 0);
}

static struct evr_block written_run(struct evr_heap *heap)
{
	struct evr_block block = evr_heap_alloc(heap, RUN_SZ);

	assert_non_null(block.ptr);
	memset(block.ptr, 1, RUN_SZ);
	return block;
}

static void heap_freed_runs_stay_up_to_a_limit_and_go_with_trim(void **state)
{
	struct pair *pair = *state;
	struct evr_block runs[RUNS_KEPT + 1], again;
	struct evr_heap heap, other;
	int i;

	open_heap_of_runs(pair, &heap);
	get_heap(pair, &other);
	for (i = 0; i <= RUNS_KEPT; i++)
		runs[i] = written_run(&heap);
	for (i = 0; i <= RUNS_KEPT; i++)
		assert_int_equal(evr_heap_free(&heap, runs[i].handle), 0);
	for (i = 0; i < RUNS_KEPT; i++)
		assert_int_equal(resident(&runs[i]), RUN_SZ / 4096);
	assert_int_equal(resident(&runs[RUNS_KEPT]), 0);
	/* In use again, and written by another: it is not ours to give back. */
	again = written_run(&other);
	assert_ptr_equal(again.ptr, runs[0].ptr);
	evr_heap_trim(&heap);
	assert_int_equal(resident(&again), RUN_SZ / 4096);
	assert_int_equal(((unsigned char *)again.ptr)[RUN_SZ - 1], 1);
	for (i = 1; i < RUNS_KEPT; i++)
		assert_int_equal(resident(&runs[i]), 0);
	/* Who frees it remembers it, and forgets it with the handle. */
	assert_int_equal(evr_heap_free(&other, again.handle), 0);
	assert_int_equal(resident(&again), RUN_SZ / 4096);
	evr_heap_close(&other);
	assert_int_equal(resident(&again), 0);
	evr_heap_close(&heap);
}

static void heap_freed_runs_in_use_again_make_room_for_others(void **state)
{
	struct pair *pair = *state;
	struct evr_block runs[RUNS_KEPT], more;
	struct evr_heap heap;
	int i;

	open_heap_of_runs(pair, &heap);
	for (i = 0; i < RUNS_KEPT; i++)
		runs[i] = written_run(&heap);
	for (i = 0; i < RUNS_KEPT; i++)
		assert_int_equal(evr_heap_free(&heap, runs[i].handle), 0);
	for (i = 0; i < RUNS_KEPT; i++)
		runs[i] = evr_heap_alloc(&heap, RUN_SZ);
	more = written_run(&heap);
	assert_int_equal(evr_heap_free(&heap, more.handle), 0);
	assert_int_equal(resident(&more), RUN_SZ / 4096);
	evr_heap_trim(&heap);
	assert_int_equal(resident(&more), 0);
	for (i = 0; i < RUNS_KEPT; i++)
		assert_int_equal(evr_heap_free(&heap, runs[i].handle), 0);
	assert_all_free(&heap);
	evr_heap_close(&heap);
}

static void heap_freed_run_above_the_limit_goes_at_once(void **state)
{
	struct pair *pair = *state;
	struct evr_block run, head;
	struct evr_heap heap;

	open_heap_of_runs(pair, &heap);
	run = evr_heap_alloc(&heap, RUNS_KEPT * RUN_SZ + 1);
	assert_non_null(run.ptr);
	memset(run.ptr, 1, RUN_SZ);
	head = run;
	assert_int_equal(resident(&head), RUN_SZ / 4096);
	assert_int_equal(evr_heap_free(&heap, run.handle), 0);
	assert_int_equal(resident(&head), 0);
	assert_all_free(&heap);
	evr_heap_close(&heap);
}

static void heap_buffer_grows_where_it_is_sent_from(void **state)
{
	struct evr_heap_buffer buffer;
	struct evr_block block;
	struct evr_heap heap;
	uint32_t i, *words;
	uint64_t sz = 0;

	get_heap(*state, &heap);
	assert_int_equal(evr_heap_buffer_init(&buffer, &heap, 0), 0);
	for (i = 0; i < 50000; i++)
		assert_int_equal(evr_heap_buffer_append(&buffer, &i, 4), 0);
	assert_null(evr_heap_buffer_reserve(&buffer, HEAP_SZ));
	assert_null(evr_heap_buffer_reserve(&buffer, UINT64_MAX));
	assert_int_equal(buffer.sz, 200000);
	block = evr_heap_buffer_take(&buffer);
	words = block.ptr;
	for (i = 0; i < 50000; i++)
		assert_int_equal(words[i], i);
	assert_ptr_equal(evr_heap_resolve(&heap, block.handle, &sz), block.ptr);
	assert_true(sz >= 200000);
	assert_true(sz < 205000);
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	evr_heap_buffer_fini(&buffer);
	assert_int_equal(evr_heap_buffer_init(&buffer, &heap, 100), 0);
	evr_heap_buffer_fini(&buffer);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

static void heap_open_is_not_removed(void **state)
{
	struct pair *pair = *state;
	struct evr_object object;
	struct evr_heap heap;

	get_heap(pair, &heap);
	assert_int_equal(evr_dir_find(pair->peer, "heap", &object), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &object), -EBUSY);
	evr_heap_close(&heap);
	assert_int_equal(evr_dir_remove(pair->peer, &object), 0);
	assert_int_equal(evr_heap_open(&heap, pair->peer, "heap"), -ENOENT);
}

static void heap_size_limits_are_exact(void **state)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options), .sz = (16U << 10) - 128 };
	struct pair *pair = *state;
	struct evr_heap heap;

	assert_int_equal(evr_heap_create(pair->peer, "small", &options), -EINVAL);
	options.sz = 16U << 10;
	assert_int_equal(evr_heap_create(pair->peer, "small", &options), 0);
	assert_int_equal(evr_heap_open(&heap, pair->peer, "small"), 0);
	assert_non_null(evr_heap_alloc(&heap, 4096).ptr);
	evr_heap_close(&heap);
	options.sz = (1ULL << 40) + 1;
	assert_int_equal(evr_heap_create(pair->peer, "large", &options), -EINVAL);
	options.sz = 1ULL << 40;
	assert_int_equal(evr_heap_create(pair->peer, "large", &options), -ENOSPC);
	assert_int_equal(evr_spsc_create(pair->peer, "ring", NULL), 0);
	assert_int_equal(evr_heap_open(&heap, pair->peer, "ring"), -EINVAL);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_heap, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(heap_every_size_is_allocated_and_aligned),
		CASE(heap_alignment_is_kept),
		CASE(heap_freed_twice_is_stale),
		CASE(heap_forged_handles_are_stale),
		CASE(heap_addresses_find_their_handles),
		CASE(heap_full_is_told_and_usable_again),
		CASE(heap_random_blocks_do_not_overlap),
		CASE(heap_realloc_keeps_content_and_place_when_it_can),
		CASE(heap_states_change_only_from_what_is_expected),
		CASE(heap_freed_by_another_handle_comes_back),
		CASE(heap_closed_leaves_its_blocks_to_its_peer),
		CASE(heap_slab_of_many_granules_goes_when_its_last_blocks_overflow),
		CASE(heap_walk_sees_every_block),
		CASE(heap_grows_with_the_segment),
		CASE(heap_freed_runs_stay_up_to_a_limit_and_go_with_trim),
		CASE(heap_freed_runs_in_use_again_make_room_for_others),
		CASE(heap_freed_run_above_the_limit_goes_at_once),
		CASE(heap_buffer_grows_where_it_is_sent_from),
		CASE(heap_open_is_not_removed),
		CASE(heap_size_limits_are_exact),
	};

	return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
