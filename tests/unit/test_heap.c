/* SPDX-License-Identifier: MIT */
/*
 * The heap, by one process and by several. What a death leaves is in test_heap_reap.c.
 *
 * Mutants seen to fail here: a double free taken (heap_freed_twice_*), the exact
 * multiple not checked (heap_forged_*), the dirty bit not set (heap_freed_by_another_*),
 * a size class too small (heap_every_size_*), the look after a transfer left out
 * (heap_transfer_to_the_dead_*).
 */
#include <sched.h>
#include <sys/mman.h>

#include "pair.h"

#include "heap_table.h"

#define HEAP_SZ (2U << 20)

static int open_heap(void **state)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options), .sz = HEAP_SZ };
	int err = pair_open(state);
	struct pair *pair = *state;

	return err ? err : evr_heap_create(pair->peer, "heap", &options);
}

static void get_heap(struct pair *pair, struct evr_heap *heap)
{
	assert_int_equal(evr_heap_open(heap, pair->peer, "heap"), 0);
}

/* Nothing is allocated, and nothing has got lost. */
static void assert_empty(struct evr_heap *heap)
{
	struct evr_heap_usage usage;

	evr_heap_trim(heap);
	evr_heap_usage(heap, &usage);
	assert_int_equal(usage.blocks, 0);
	assert_int_equal(usage.cached, 0);
	assert_int_equal(usage.slabs, 0);
	assert_int_equal(usage.runs, 0);
	assert_int_equal(usage.corrupt, 0);
	assert_true(usage.bytes_free == usage.bytes_max);
	assert_true(usage.run_max == usage.bytes_max);
}

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

static void heap_transfer_to_self_is_accepted_once(void **state)
{
	struct pair *pair = *state;
	struct evr_peer_id self = evr_peer_self(pair->peer);
	struct evr_block_info info;
	struct evr_block block;
	struct evr_heap heap;

	get_heap(pair, &heap);
	block = evr_heap_alloc(&heap, 64);
	assert_int_equal(evr_heap_accept(&heap, block.handle), -ESTALE);
	assert_int_equal(evr_heap_transfer(&heap, block.handle, self), 0);
	assert_int_equal(evr_heap_transfer(&heap, block.handle, self), -ESTALE);
	assert_int_equal(evr_heap_info(&heap, block.handle, &info), 0);
	assert_int_equal(info.state, EVR_BLOCK_INFLIGHT);
	assert_int_equal(info.source, self.slot);
	assert_int_equal(evr_heap_accept(&heap, block.handle), 0);
	assert_int_equal(evr_heap_accept(&heap, block.handle), -ESTALE);
	assert_int_equal(evr_heap_transfer(&heap, block.handle, self), 0);
	assert_int_equal(evr_heap_recall(&heap, block.handle, self), 0);
	assert_int_equal(evr_heap_recall(&heap, block.handle, self), -ESTALE);
	assert_int_equal(evr_heap_transfer(&heap, block.handle, self), 0);
	/* Read and freed at once needs no accept. */
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	block = evr_heap_alloc(&heap, 64);
	assert_int_equal(evr_heap_transfer(&heap, block.handle, self), 0);
	assert_int_equal(evr_heap_take_back(&heap, block.handle, self), 0);
	assert_int_equal(evr_heap_take_back(&heap, block.handle, self), -ESTALE);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

static void end_at_once(struct evr_peer *peer, void *arg)
{
	*(struct evr_peer_id *)arg = evr_peer_self(peer);
}

static void heap_transfer_to_the_dead_stays_ours(void **state)
{
	struct evr_peer_id nobody = { .slot = 9, .incarnation = 12345 };
	struct evr_block block, run;
	struct pair *pair = *state;
	struct evr_heap heap;
	uint64_t handles[2];
	pid_t pid;

	get_heap(pair, &heap);
	pid = pair_fork(pair, end_at_once, &nobody);
	pair_join(pid);
	pair_settle(pair);
	nobody.slot = 1;
	nobody.incarnation = 1;
	block = evr_heap_alloc(&heap, 64);
	run = evr_heap_alloc(&heap, 100000);
	assert_int_equal(evr_heap_transfer(&heap, block.handle, nobody), -EOWNERDEAD);
	handles[0] = block.handle;
	handles[1] = run.handle;
	assert_int_equal(evr_heap_transfer_many(&heap, handles, 2, nobody), -EOWNERDEAD);
	nobody.slot = 300;
	assert_int_equal(evr_heap_transfer(&heap, block.handle, nobody), -EOWNERDEAD);
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	assert_int_equal(evr_heap_free(&heap, run.handle), 0);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

static void heap_shared_is_freed_by_the_last_holder(void **state)
{
	struct pair *pair = *state;
	struct evr_peer_id self = evr_peer_self(pair->peer);
	struct evr_peer_id nobody = { .slot = 3, .incarnation = 99 };
	struct evr_block block;
	struct evr_heap heap;
	uint64_t sz = 0;

	get_heap(pair, &heap);
	block = evr_heap_alloc(&heap, 64);
	assert_int_equal(evr_heap_share(&heap, block.handle, &self, 1), -ESTALE);
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	block = evr_heap_alloc_shared(&heap, 64);
	assert_non_null(evr_heap_resolve(&heap, block.handle, &sz));
	assert_true(sz >= 64);
	memset(block.ptr, 0xff, sz);
	assert_int_equal(evr_heap_share(&heap, block.handle, &self, 0), -EINVAL);
	assert_int_equal(evr_heap_share(&heap, block.handle, &self, 1), 1);
	assert_int_equal(evr_heap_hold(&heap, block.handle), 0);
	assert_int_equal(evr_heap_hold(&heap, block.handle), -ESTALE);
	assert_non_null(evr_heap_resolve(&heap, block.handle, NULL));
	assert_int_equal(evr_heap_drop(&heap, block.handle), 0);
	assert_int_equal(evr_heap_drop(&heap, block.handle), -ESTALE);
	block = evr_heap_alloc_shared(&heap, 50000);
	assert_int_equal(evr_heap_share(&heap, block.handle, &self, 1), 1);
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	block = evr_heap_alloc_shared(&heap, 64);
	assert_int_equal(evr_heap_share(&heap, block.handle, &nobody, 1), -EOWNERDEAD);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

/* One and the same slot, two peers: the first of them is dead. */
static void heap_shared_with_the_dead_and_its_successor_has_one_holder(void **state)
{
	struct pair *pair = *state;
	struct evr_peer_options options = { .struct_sz = sizeof(options), .slot = 5, .slot_set = true };
	struct evr_peer_id to[2];
	struct evr_peer *peer;
	struct evr_block block;
	struct evr_heap heap, holder;
	int order;

	get_heap(pair, &heap);
	for (order = 0; order < 2; order++) {
		assert_int_equal(evr_peer_attach(&peer, pair->segment, &options), 0);
		to[order] = evr_peer_self(peer);
		evr_peer_detach(peer);
		pair_settle(pair);
		assert_int_equal(evr_peer_attach(&peer, pair->segment, &options), 0);
		to[!order] = evr_peer_self(peer);
		assert_int_equal(evr_heap_open(&holder, peer, "heap"), 0);
		block = evr_heap_alloc_shared(&heap, 64);
		assert_int_equal(evr_heap_share(&heap, block.handle, to, 2), 1);
		assert_int_equal(evr_heap_hold(&holder, block.handle), 0);
		assert_int_equal(evr_heap_drop(&holder, block.handle), 0);
		evr_heap_close(&holder);
		evr_peer_detach(peer);
		pair_settle(pair);
	}
	assert_empty(&heap);
	evr_heap_close(&heap);
}

/* Stamps have eight bits of an incarnation: the slot's 256th next peer has the same. */
static void heap_settle_spares_the_blocks_of_a_successor_with_the_same_stamp(void **state)
{
	struct pair *pair = *state;
	struct evr_peer_options options = { .struct_sz = sizeof(options), .slot = 5, .slot_set = true };
	struct evr_peer_id dead, self = evr_peer_self(pair->peer);
	struct evr_block block;
	struct evr_heap heap, sender;
	struct evr_peer *peer;

	get_heap(pair, &heap);
	assert_int_equal(evr_peer_attach(&peer, pair->segment, &options), 0);
	dead = evr_peer_self(peer);
	do {
		evr_peer_detach(peer);
		pair_settle(pair);
		assert_int_equal(evr_peer_attach(&peer, pair->segment, &options), 0);
	} while (evr_peer_self(peer).incarnation - dead.incarnation < 256);
	assert_int_equal(evr_peer_self(peer).incarnation - dead.incarnation, 256);
	assert_int_equal(evr_heap_open(&sender, peer, "heap"), 0);
	block = evr_heap_alloc(&sender, 64);
	assert_int_equal(evr_heap_transfer(&sender, block.handle, self), 0);
	assert_int_equal(evr_heap_settle(&heap, dead), -EBUSY);
	assert_non_null(evr_heap_resolve(&heap, block.handle, NULL));
	dead.incarnation++;
	assert_int_equal(evr_heap_settle(&heap, dead), 0);
	assert_int_equal(evr_heap_accept(&heap, block.handle), 0);
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	evr_heap_close(&sender);
	evr_peer_detach(peer);
	pair_settle(pair);
	assert_empty(&heap);
	evr_heap_close(&heap);
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

static int count_block(const struct evr_block_info *info, void *arg)
{
	uint64_t *counts = arg;

	counts[0]++;
	counts[1] += info->sz;
	return counts[0] == 100;
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

static void heap_observer_reads_and_changes_nothing(void **state)
{
	struct evr_peer_options options = { .struct_sz = sizeof(options),
					    .flags = EVR_PEER_OBSERVER };
	struct pair *pair = *state;
	struct evr_peer *observer;
	struct evr_heap heap, seen;
	struct evr_block block;

	get_heap(pair, &heap);
	block = evr_heap_alloc(&heap, 64);
	strcpy(block.ptr, "hello");
	assert_int_equal(evr_peer_attach(&observer, pair->segment, &options), 0);
	assert_int_equal(evr_heap_open(&seen, observer, "heap"), 0);
	assert_string_equal(evr_heap_resolve(&seen, block.handle, NULL), "hello");
	assert_int_equal(evr_heap_free(&seen, block.handle), -EROFS);
	assert_null(evr_heap_alloc(&seen, 64).ptr);
	assert_int_equal(evr_heap_error(&seen), -EROFS);
	evr_heap_close(&seen);
	evr_peer_detach(observer);
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
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

/* All words of the heap set to nonsense: no call may fault, loop, or hand out what is not in it. */
static void heap_hostile_words_do_no_harm(void **state)
{
	static const uint64_t nonsense[] = { 0, ~0ULL, 0x5555555555555555ULL, 4, 2, 0xfff2, 0x15 };
	struct pair *pair = *state;
	struct evr_block blocks[64], block;
	struct evr_heap_usage usage;
	struct evr_object object;
	struct evr_heap heap;
	uint64_t seed = 99, counts[2] = { 0, 0 };
	struct heap_map map;
	uint64_t *words;
	uint32_t round, i, nr;

	assert_int_equal(evr_dir_find(pair->peer, "heap", &object), 0);
	assert_int_equal(evr_heap_map(&map, pair->peer, &object), 0);
	for (round = 0; round < 300; round++) {
		get_heap(pair, &heap);
		for (i = 0; i < 64; i++)
			blocks[i] = evr_heap_alloc(&heap, 1 + pair_random(&seed) % 9000);
		words = (uint64_t *)map.arenas[0].touched;
		nr = (uint32_t)((uint64_t *)map.arenas[0].data - words);
		for (i = 0; i < 1 + round % 400; i++)
			words[pair_random(&seed) % nr] = pair_random(&seed) % 2 ?
								 nonsense[pair_random(&seed) % 7] :
								 pair_random(&seed);
		/* Also control words in front of slabs, and what is payload. */
		words = (uint64_t *)map.arenas[0].data;
		for (i = 0; i < 2000; i++)
			words[pair_random(&seed) % (map.arenas[0].data_sz / 8)] =
				nonsense[pair_random(&seed) % 7];
		for (i = 0; i < 64; i++) {
			block.ptr = evr_heap_resolve(&heap, blocks[i].handle, NULL);
			if (block.ptr)
				assert_true(evr_heap_contains(&heap, block.ptr));
			evr_heap_free(&heap, blocks[i].handle);
			evr_heap_transfer(&heap, blocks[i].handle, evr_peer_self(pair->peer));
			evr_heap_accept(&heap, blocks[i].handle);
			evr_heap_hold(&heap, blocks[i].handle);
			evr_heap_drop(&heap, blocks[i].handle);
		}
		for (i = 0; i < 64; i++) {
			block = evr_heap_alloc(&heap, 1 + pair_random(&seed) % 9000);
			if (block.ptr)
				assert_true(evr_heap_contains(&heap, block.ptr));
		}
		counts[0] = 0;
		evr_heap_walk(&heap, count_block, counts);
		evr_heap_usage(&heap, &usage);
		assert_true(evr_reap_dead(pair->peer, NULL) >= 0);
		evr_heap_close(&heap);
		memset((void *)map.arenas[0].touched, 0,
		       (size_t)(map.arenas[0].data - (unsigned char *)map.arenas[0].touched));
	}
	memset(map.header, 0xff, 8);
	assert_int_equal(evr_heap_open(&heap, pair->peer, "heap"), -EBADMSG);
	assert_non_null(strstr(evr_error_detail(), "layout"));
}

/* A word that speaks of holders, in front of a block that has no room for them. */
static void heap_small_block_said_to_be_shared_has_no_size(void **state)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options), .shared_sz = 1 << 20, .peers_max = 64 };
	struct evr_heap_options heap_options = { .struct_sz = sizeof(heap_options), .sz = 256 << 10 };
	struct evr_peer_id self;
	struct evr_block block;
	struct heap_block found;
	struct heap_map map;
	struct evr_object object;
	struct evr_heap heap;
	struct pair pair;
	uint64_t sz, i;

	assert_int_equal(evr_segment_create(&pair.segment, pair_uri(), &options), 0);
	assert_int_equal(evr_peer_attach(&pair.peer, pair.segment, NULL), 0);
	self = evr_peer_self(pair.peer);
	assert_int_equal(evr_heap_create(pair.peer, "heap", &heap_options), 0);
	assert_int_equal(evr_heap_open(&heap, pair.peer, "heap"), 0);
	assert_int_equal(evr_dir_find(pair.peer, "heap", &object), 0);
	assert_int_equal(evr_heap_map(&map, pair.peer, &object), 0);
	block = evr_heap_alloc(&heap, 16);
	assert_non_null(block.ptr);
	assert_int_equal(evr_heap_locate(&map, heap_handle_off(block.handle), true, &found), 0);
	assert_true(found.sz < evr_heap_share_sz(&map));
	for (i = 0; i < 2; i++) {
		evr_a64_store_release(found.ctl, i ? heap_ctl(block.handle, 0, map.me, TAG_SHARED) :
						     heap_ctl(block.handle, map.me, EVR_BLOCK_SHAREABLE,
							      TAG_LIVE));
		sz = 99;
		assert_null(evr_heap_resolve(&heap, block.handle, &sz));
		assert_int_equal(sz, 0);
		assert_int_equal(evr_heap_share(&heap, block.handle, &self, 1), -EBADMSG);
		assert_int_equal(evr_heap_hold(&heap, block.handle), -EBADMSG);
		assert_int_equal(evr_heap_drop(&heap, block.handle), -EBADMSG);
		assert_true(evr_reap_dead(pair.peer, NULL) >= 0);
	}
	evr_heap_close(&heap);
	evr_peer_detach(pair.peer);
	evr_segment_close(pair.segment);
}

struct foreign {
	struct evr_peer_id id;
	_Atomic uint64_t handle;
	_Atomic uint32_t is_named, is_done;
};

/* In an isolated segment, a peer that the heap does not belong to. */
static void read_foreign(struct evr_peer *peer, void *arg)
{
	struct foreign *f = arg;
	struct evr_heap heap;
	uint64_t sz;
	char *at;

	f->id = evr_peer_self(peer);
	f->is_named = 1;
	while (!f->handle)
		sched_yield();
	CHECK(!evr_heap_open(&heap, peer, "heap"));
	at = evr_heap_resolve(&heap, f->handle, &sz);
	CHECK(at && !strcmp(at, "hello"));
	CHECK(!evr_peer_is_writable(peer, (uint64_t)evr_peer_off(peer, at), 1));
	CHECK(!evr_heap_resolve(&heap, f->handle + EVR_CTL_GEN_ONE, NULL));
	CHECK(evr_heap_accept(&heap, f->handle) == -EROFS);
	CHECK(evr_heap_free(&heap, f->handle) == -EROFS);
	CHECK(!evr_heap_alloc(&heap, 64).ptr);
	evr_heap_close(&heap);
	f->is_done = 1;
	for (;;)
		pause();
}

static void heap_isolated_is_read_by_others_and_freed_by_its_peer(void **state)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .flags = EVR_SEGMENT_ISOLATED };
	struct evr_heap_options heap_options = { .struct_sz = sizeof(heap_options),
						 .sz = 512 << 10 };
	struct evr_peer_id nobody = { .slot = 7, .incarnation = 1 };
	struct evr_reap_report report = { 0 };
	struct evr_block blocks[3];
	struct pair pair;
	struct foreign *f;
	struct evr_heap heap;
	pid_t pid;
	int i;

	f = mmap(NULL, sizeof(*f), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(evr_segment_create(&pair.segment, pair_uri(), &options), 0);
	assert_int_equal(evr_peer_attach(&pair.peer, pair.segment, NULL), 0);
	assert_int_equal(evr_heap_create(pair.peer, "heap", &heap_options), 0);
	get_heap(&pair, &heap);
	pid = pair_fork(&pair, read_foreign, f);
	while (!f->is_named)
		sched_yield();
	for (i = 0; i < 3; i++) {
		blocks[i] = evr_heap_alloc(&heap, 100);
		strcpy(blocks[i].ptr, "hello");
		assert_int_equal(evr_heap_transfer(&heap, blocks[i].handle, f->id), 0);
	}
	f->handle = blocks[0].handle;
	while (!f->is_done)
		sched_yield();
	/* What it says comes back is looked at. */
	assert_int_equal(evr_heap_take_back(&heap, blocks[0].handle, nobody), -ESTALE);
	assert_int_equal(evr_heap_take_back(&heap, blocks[0].handle + 1, f->id), -ESTALE);
	assert_int_equal(evr_heap_take_back(&heap, blocks[0].handle, f->id), 0);
	assert_int_equal(evr_heap_take_back(&heap, blocks[0].handle, f->id), -ESTALE);
	/* What it never gives back is ours again when it has died. */
	evr_reap_auto(pair.peer, false);
	pair_kill(pid);
	while (!report.peers) {
		evr_peer_check(pair.peer);
		assert_true(evr_reap_dead(pair.peer, &report) >= 0);
	}
	assert_int_equal(report.blocks, 2);
	assert_empty(&heap);
	evr_heap_close(&heap);
	evr_peer_detach(pair.peer);
	evr_segment_close(pair.segment);
	munmap(f, sizeof(*f));
}

struct traffic {
	uint64_t seed;
	uint32_t nr;
};

/* The other half of heap_two_processes_*: takes blocks, checks, frees or sends them back. */
static void echo(struct evr_peer *peer, void *arg)
{
	struct traffic *traffic = arg;
	struct evr_waiter waiter;
	struct evr_spsc in, out;
	struct evr_heap heap;
	uint64_t handle, sz;
	unsigned char *at;
	uint32_t i;

	CHECK(!evr_spsc_open(&in, peer, "there", EVR_CONSUMER, 0));
	CHECK(!evr_spsc_open(&out, peer, "back", EVR_PRODUCER, 0));
	CHECK(!evr_heap_open(&heap, peer, "heap"));
	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE));
	for (i = 0; i < traffic->nr; i++) {
		CHECK(evr_spsc_pop_wait(&in, &waiter, &handle, 1, pair_deadline()) == 1);
		at = evr_heap_resolve(&heap, handle, &sz);
		CHECK(at);
		CHECK(at[0] == (unsigned char)i && at[sz - 1] == (unsigned char)i);
		if (i % 3) {
			CHECK(!evr_heap_free(&heap, handle));
			continue;
		}
		if (i % 2) {
			CHECK(!evr_heap_accept(&heap, handle));
			CHECK(!evr_heap_transfer(&heap, handle, evr_spsc_other(&out)));
		} else {
			CHECK(!evr_heap_free(&heap, handle));
			handle = evr_heap_alloc(&heap, 1 + i % 3000).handle;
			CHECK(handle);
			CHECK(!evr_heap_transfer(&heap, handle, evr_spsc_other(&out)));
		}
		CHECK(evr_spsc_push_wait(&out, &waiter, &handle, 1, pair_deadline()) == 1);
	}
	evr_waiter_fini(&waiter);
	evr_heap_close(&heap);
	evr_spsc_close(&in);
	evr_spsc_close(&out);
}

static void heap_two_processes_exchange_blocks_without_loss(void **state)
{
	struct traffic traffic = { .seed = 5, .nr = 60000 };
	struct pair *pair = *state;
	struct evr_spsc_options options = { .struct_sz = sizeof(options), .capacity = 64 };
	struct evr_waiter waiter;
	struct evr_spsc out, in;
	struct evr_heap heap;
	struct evr_block block;
	uint64_t handle, sz;
	uint32_t i;
	pid_t pid;

	assert_int_equal(evr_spsc_create(pair->peer, "there", &options), 0);
	assert_int_equal(evr_spsc_create(pair->peer, "back", &options), 0);
	assert_int_equal(evr_spsc_open(&out, pair->peer, "there", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_open(&in, pair->peer, "back", EVR_CONSUMER, 0), 0);
	get_heap(pair, &heap);
	pid = pair_fork(pair, echo, &traffic);
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_ADAPTIVE), 0);
	while (evr_spsc_other(&out).slot == EVR_SLOT_ANY || evr_spsc_other(&in).slot == EVR_SLOT_ANY)
		pair_sleep_us(100);
	for (i = 0; i < traffic.nr; i++) {
		sz = 1 + pair_random(&traffic.seed) % (i % 50 ? 1500 : 40000);
		block = evr_heap_alloc(&heap, sz);
		assert_non_null(block.ptr);
		evr_heap_resolve(&heap, block.handle, &sz);
		memset(block.ptr, (int)(i & 0xff), sz);
		assert_int_equal(evr_heap_transfer(&heap, block.handle, evr_spsc_other(&out)), 0);
		assert_int_equal(evr_spsc_push_wait(&out, &waiter, &block.handle, 1, pair_deadline()), 1);
		while (evr_spsc_pop(&in, &handle, 1))
			assert_int_equal(evr_heap_free(&heap, handle), 0);
	}
	while (evr_spsc_pop_wait(&in, &waiter, &handle, 1, pair_deadline()) == 1)
		assert_int_equal(evr_heap_free(&heap, handle), 0);
	pair_join(pid);
	pair_settle(pair);
	evr_waiter_fini(&waiter);
	evr_spsc_close(&in);
	evr_spsc_close(&out);
	assert_empty(&heap);
	evr_heap_close(&heap);
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
		CASE(heap_transfer_to_self_is_accepted_once),
		CASE(heap_transfer_to_the_dead_stays_ours),
		CASE(heap_shared_is_freed_by_the_last_holder),
		CASE(heap_shared_with_the_dead_and_its_successor_has_one_holder),
		CASE(heap_settle_spares_the_blocks_of_a_successor_with_the_same_stamp),
		CASE(heap_slab_of_many_granules_goes_when_its_last_blocks_overflow),
		CASE(heap_walk_sees_every_block),
		CASE(heap_grows_with_the_segment),
		CASE(heap_buffer_grows_where_it_is_sent_from),
		CASE(heap_observer_reads_and_changes_nothing),
		CASE(heap_open_is_not_removed),
		CASE(heap_size_limits_are_exact),
		CASE(heap_hostile_words_do_no_harm),
		CASE(heap_small_block_said_to_be_shared_has_no_size),
		CASE(heap_isolated_is_read_by_others_and_freed_by_its_peer),
		CASE(heap_two_processes_exchange_blocks_without_loss),
	};

	return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
