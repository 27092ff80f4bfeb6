/* SPDX-License-Identifier: MIT */
/*
 * What the heap promises, at its bounds: sizes, alignments, batches, states, counts, masks of many
 * slots, growth by itself, what another process sees of it, and how many accesses its
 * fast paths take.
 *
 * Mutants seen to fail here: growth in vain, or none (heap_full_grows_*); masks of one word only
 * (heap_shared_by_peers_*); a transition by a plain store (heap_transition_*); usage by class of
 * the wrong one, counts that miss one (heap_counts_*); a control word that is believed though its
 * head has changed (heap_old_handle_*).
 */
#include "die.h"

#include <sched.h>
#include <sys/mman.h>

#include "../../lib/heap_table.h"
#include "../../lib/internal.h"

#define HEAP_SZ (1U << 20)
#define ALIGN_MAX (2U << 20)
#define SZ_MAX (1ULL << 40)

static int open_sized(void **state, uint64_t grow_sz, uint32_t peers_max)
{
	struct evr_segment_options segment = { .struct_sz = sizeof(segment),
					       .shared_sz = 4 << 20,
					       .peers_max = peers_max };
	struct evr_heap_options options = { .struct_sz = sizeof(options),
					    .sz = HEAP_SZ,
					    .grow_sz = grow_sz };
	int err = pair_open_as(state, &segment);

	return err ? err : evr_heap_create(((struct pair *)*state)->peer, "heap", &options);
}

static int open_heap(void **state)
{
	return open_sized(state, 0, 16);
}

static int open_growing(void **state)
{
	return open_sized(state, 1, 16);
}

static int open_crowded(void **state)
{
	return open_sized(state, 0, EVR_PEERS_MAX);
}

static void get_heap(struct pair *pair, struct evr_heap *heap)
{
	assert_int_equal(evr_heap_open(heap, pair->peer, "heap"), 0);
}

static uint64_t segment_sz(struct pair *pair)
{
	struct evr_segment_info info;

	assert_int_equal(evr_segment_info(pair->segment, &info), 0);
	return info.size;
}

static void assert_empty(struct evr_heap *heap)
{
	struct evr_heap_usage usage;

	evr_heap_trim(heap);
	evr_heap_usage(heap, &usage);
	assert_int_equal(usage.blocks, 0);
	assert_int_equal(usage.cached, 0);
	assert_int_equal(usage.corrupt, 0);
	assert_true(usage.bytes_free == usage.bytes_max);
}

static void heap_sizes_are_exact(void **state)
{
	struct evr_block block;
	struct evr_heap heap;
	uint64_t sz;

	get_heap(*state, &heap);
	block = evr_heap_alloc(&heap, 0);
	assert_non_null(evr_heap_resolve(&heap, block.handle, &sz));
	assert_int_equal(sz, 16);
	assert_int_equal(evr_heap_realloc(&heap, &block, 0), 0);
	assert_int_equal(evr_heap_realloc(&heap, &block, SZ_MAX), -ENOMEM);
	assert_int_equal(evr_heap_realloc(&heap, &block, SZ_MAX + 1), -EINVAL);
	assert_int_equal(evr_heap_realloc(&heap, &block, UINT64_MAX), -EINVAL);
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	assert_null(evr_heap_alloc(&heap, SZ_MAX).ptr);
	assert_int_equal(evr_heap_error(&heap), -ENOMEM);
	assert_null(evr_heap_alloc(&heap, SZ_MAX + 1).ptr);
	assert_int_equal(evr_heap_error(&heap), -EINVAL);
	assert_null(evr_heap_alloc_shared(&heap, SZ_MAX).ptr);
	assert_null(evr_heap_alloc_shared(&heap, UINT64_MAX).ptr);
	assert_int_equal(evr_heap_error(&heap), -EINVAL);
	block = evr_heap_alloc_shared(&heap, 0);
	assert_non_null(block.ptr);
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

static void heap_alignments_are_exact(void **state)
{
	struct evr_block block;
	struct evr_heap heap;

	get_heap(*state, &heap);
	assert_null(evr_heap_alloc_aligned(&heap, 1, 0).ptr);
	assert_int_equal(evr_heap_error(&heap), -EINVAL);
	assert_null(evr_heap_alloc_aligned(&heap, 1, ALIGN_MAX * 2).ptr);
	assert_int_equal(evr_heap_error(&heap), -EINVAL);
	assert_null(evr_heap_alloc_aligned(&heap, 1, 1ULL << 63).ptr);
	assert_int_equal(evr_heap_error(&heap), -EINVAL);
	assert_null(evr_heap_alloc_aligned(&heap, UINT64_MAX, 64).ptr);
	assert_int_equal(evr_heap_error(&heap), -EINVAL);
	assert_null(evr_heap_alloc_aligned(&heap, SZ_MAX, ALIGN_MAX).ptr);
	assert_int_equal(evr_heap_error(&heap), -ENOMEM);
	/* No such address in a heap of one megabyte, but in one that has grown. */
	assert_null(evr_heap_alloc_aligned(&heap, HEAP_SZ / 2, ALIGN_MAX).ptr);
	assert_int_equal(evr_heap_grow(&heap, 3 * ALIGN_MAX), 0);
	block = evr_heap_alloc_aligned(&heap, HEAP_SZ / 2, ALIGN_MAX);
	assert_non_null(block.ptr);
	assert_int_equal((uintptr_t)block.ptr % ALIGN_MAX, 0);
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

static void heap_batches_stop_at_what_is_not_theirs(void **state)
{
	struct pair *pair = *state;
	struct evr_peer_id self = evr_peer_self(pair->peer);
	struct evr_block blocks[8], none = { &none, 1 };
	struct evr_heap heap;
	uint64_t handles[9];
	int i;

	get_heap(pair, &heap);
	assert_int_equal(evr_heap_alloc_many(&heap, 64, 0, &none), 0);
	assert_ptr_equal(none.ptr, &none);
	assert_int_equal(evr_heap_alloc_many(&heap, HEAP_SZ, 8, blocks), 0);
	assert_int_equal(evr_heap_error(&heap), -ENOMEM);
	assert_int_equal(evr_heap_alloc_many(&heap, 64, 8, blocks), 8);
	for (i = 0; i < 8; i++)
		handles[i] = blocks[i].handle;
	handles[8] = handles[0];
	assert_int_equal(evr_heap_transfer_many(&heap, handles, 0, self), 0);
	assert_int_equal(evr_heap_transfer_many(&heap, handles, 9, self), 8);
	assert_int_equal(evr_heap_transfer_many(&heap, handles, 9, self), -ESTALE);
	for (i = 0; i < 8; i++)
		assert_int_equal(evr_heap_accept(&heap, handles[i]), 0);
	assert_int_equal(evr_heap_free_many(&heap, handles, 0), 0);
	assert_int_equal(evr_heap_free_many(&heap, handles, 9), 8);
	assert_int_equal(evr_heap_free_many(&heap, handles, 9), 0);
	assert_empty(&heap);
	evr_heap_close(&heap);
	assert_int_equal(evr_heap_alloc_many(&heap, 64, 8, blocks), 0);
	assert_int_equal(evr_heap_free_many(&heap, handles, 9), 0);
	assert_int_equal(evr_heap_transfer_many(&heap, handles, 1, self), -EINVAL);
}

static void heap_states_of_the_library_are_not_the_applications(void **state)
{
	static const uint32_t wrong[] = {
		EVR_BLOCK_FREE,		 2,	    3, 4, 5, EVR_BLOCK_SHAREABLE, 7, 48,
		EVR_BLOCK_STATE_MAX + 1, UINT32_MAX
	};
	struct evr_block block;
	struct evr_heap heap;
	size_t i;

	get_heap(*state, &heap);
	block = evr_heap_alloc(&heap, 64);
	assert_int_equal(evr_heap_transition(&heap, block.handle, EVR_BLOCK_LIVE, EVR_BLOCK_USER),
			 0);
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(evr_heap_transition(&heap, block.handle, EVR_BLOCK_USER, wrong[i]),
				 -EINVAL);
		assert_int_equal(evr_heap_transition(&heap, block.handle, wrong[i], EVR_BLOCK_USER),
				 -EINVAL);
	}
	assert_int_equal(
		evr_heap_transition(&heap, block.handle, EVR_BLOCK_USER, EVR_BLOCK_STATE_MAX), 0);
	/* A block in a state of the application's is alive in all else. */
	assert_int_equal(evr_heap_transfer(&heap, block.handle,
					   evr_peer_self(((struct pair *)*state)->peer)),
			 0);
	assert_int_equal(evr_heap_transition(&heap, block.handle, EVR_BLOCK_STATE_MAX,
					     EVR_BLOCK_LIVE),
			 -ESTALE);
	assert_int_equal(evr_heap_accept(&heap, block.handle), 0);
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

struct rival {
	struct evr_heap heap;
	uint64_t handle;
	int result;
};

static void transition_too(void *arg)
{
	struct rival *r = arg;

	r->result = evr_heap_transition(&r->heap, r->handle, EVR_BLOCK_LIVE, 51);
}

/* Two threads of the owner: of two that expect the same one succeeds, wherever the other comes between. */
static void heap_transition_is_won_by_one(void **state)
{
	struct pair *pair = *state;
	struct evr_block_info info;
	struct evr_block block;
	struct evr_heap heap;
	struct rival rival;
	int result = 0;
	uint64_t n;

	get_heap(pair, &heap);
	get_heap(pair, &rival.heap);
	for (n = 1;; n++) {
		block = evr_heap_alloc(&heap, 64);
		rival.handle = block.handle;
		rival.result = 1;
		steps_turn = transition_too;
		steps_arg = &rival;
		steps = 0;
		steps_to_live = n;
		result = evr_heap_transition(&heap, block.handle, EVR_BLOCK_LIVE, 50);
		steps_to_live = 0;
		if (rival.result == 1)
			break;
		assert_int_equal(evr_heap_info(&heap, block.handle, &info), 0);
		assert_true((!result && rival.result == -EAGAIN && info.state == 50) ||
			    (result == -EAGAIN && !rival.result && info.state == 51));
		assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	}
	steps_turn = NULL;
	assert_true(n > 3);
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	evr_heap_close(&rival.heap);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

/* A block whose granule becomes part of a run. */
struct reuse {
	struct evr_heap heap;
	struct evr_block small, run;
	uint64_t *word; /* where its control word is, or was */
	uint64_t u_ctl; /* what it said: that it is alive */
};

static void reuse_as_payload(void *arg)
{
	struct reuse *r = arg;

	assert_int_equal(evr_heap_free(&r->heap, r->small.handle), 0);
	evr_heap_trim(&r->heap);
	r->run = evr_heap_alloc(&r->heap, 100000);
	assert_true((unsigned char *)r->word >= (unsigned char *)r->run.ptr &&
		    (unsigned char *)r->word < (unsigned char *)r->run.ptr + 100000);
	*r->word = r->u_ctl;
}

static void reuse_begin(struct pair *pair, struct reuse *r)
{
	struct evr_object object;
	struct heap_block found;
	struct heap_map map;

	assert_int_equal(evr_dir_find(pair->peer, "heap", &object), 0);
	assert_int_equal(evr_heap_map(&map, pair->peer, &object), 0);
	r->small = evr_heap_alloc(&r->heap, 16);
	r->run.ptr = NULL;
	assert_int_equal(heap_block_load(&map, heap_handle_off(r->small.handle), true, &found,
					 &r->u_ctl),
			 0);
	r->word = (uint64_t *)found.ctl;
	/* It lies in the granule, not beside it. */
	assert_true((unsigned char *)r->word >= map.arenas[0].data);
}

/*
 * The place of a control word holds payload, and that says what would be believed: before a
 * call with the old handle, and from each access of it on.
 */
static void heap_old_handle_does_not_follow_payload(void **state)
{
	struct pair *pair = *state;
	struct evr_peer_id self = evr_peer_self(pair->peer);
	struct evr_heap heap;
	struct reuse r;
	uint64_t n;
	void *at;

	get_heap(pair, &heap);
	get_heap(pair, &r.heap);
	steps_to_live = 0;
	reuse_begin(pair, &r);
	reuse_as_payload(&r);
	assert_null(evr_heap_resolve(&heap, r.small.handle, NULL));
	assert_int_equal(evr_heap_free(&heap, r.small.handle), -ESTALE);
	assert_int_equal(evr_heap_transfer(&heap, r.small.handle, self), -ESTALE);
	assert_int_equal(evr_heap_transition(&heap, r.small.handle, EVR_BLOCK_LIVE, 50), -ESTALE);
	assert_true(*r.word == r.u_ctl);
	assert_int_equal(evr_heap_free(&r.heap, r.run.handle), 0);
	for (n = 1;; n++) {
		reuse_begin(pair, &r);
		steps_turn = reuse_as_payload;
		steps_arg = &r;
		steps = 0;
		steps_to_live = n;
		at = evr_heap_resolve(&heap, r.small.handle, NULL);
		steps_to_live = 0;
		steps_turn = NULL;
		if (!r.run.ptr)
			break;
		assert_null(at);
		assert_int_equal(evr_heap_free(&r.heap, r.run.handle), 0);
	}
	assert_true(n > 3);
	assert_ptr_equal(at, r.small.ptr);
	assert_int_equal(evr_heap_free(&r.heap, r.small.handle), 0);
	evr_heap_close(&r.heap);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

static void heap_counts_and_usage_are_exact(void **state)
{
	struct pair *pair = *state;
	uint32_t slot = evr_peer_self(pair->peer).slot, i;
	struct evr_heap_counts counts;
	struct evr_heap_usage usage;
	struct evr_heap heap, other;
	struct evr_block blocks[3];

	get_heap(pair, &heap);
	get_heap(pair, &other);
	memset(&counts, 0xff, sizeof(counts));
	assert_int_equal(evr_heap_counts(&heap, 16, &counts), -EINVAL);
	assert_int_equal(counts.slabs, 0);
	assert_int_equal(evr_heap_counts(&heap, UINT32_MAX, &counts), -EINVAL);
	blocks[0] = evr_heap_alloc(&heap, 100);
	blocks[1] = evr_heap_alloc(&heap, 100);
	blocks[2] = evr_heap_alloc(&heap, 100000);
	assert_null(evr_heap_alloc(&heap, HEAP_SZ).ptr);
	evr_heap_usage(&other, &usage);
	assert_int_equal(usage.blocks, 3);
	assert_int_equal(usage.runs, 1);
	assert_int_equal(usage.slabs, 1);
	for (i = 0; i < usage.classes; i++) {
		assert_int_equal(usage.class_[i].blocks, usage.class_[i].sz == 112 ? 2 : 0);
		assert_int_equal(usage.class_[i].slabs, usage.class_[i].sz == 112);
	}
	for (i = 0; i < EVR_PEERS_MAX; i++)
		assert_int_equal(usage.peer[i].blocks, i == slot ? 3 : 0);
	assert_int_equal(usage.peer[slot].bytes, usage.bytes);
	assert_true(usage.bytes == 2 * 112 + EVR_ROUND_UP(100000, usage.granule_sz));
	for (i = 0; i < 2; i++)
		assert_int_equal(evr_heap_free(&other, blocks[i].handle), 0);
	assert_int_equal(evr_heap_free(&heap, blocks[2].handle), 0);
	evr_heap_close(&other);
	assert_int_equal(evr_heap_counts(&heap, slot, &counts), 0);
	assert_int_equal(counts.refills, 1);
	assert_int_equal(counts.slabs, 1);
	assert_int_equal(counts.runs, 1);
	assert_int_equal(counts.failures, 1);
	assert_int_equal(counts.remote_frees, 2);
	assert_int_equal(counts.adopted, 0);
	assert_int_equal(evr_heap_counts(&heap, slot + 1, &counts), 0);
	assert_int_equal(counts.refills + counts.slabs + counts.runs + counts.failures, 0);
	assert_empty(&heap);
	evr_heap_close(&heap);
	assert_int_equal(evr_heap_counts(&heap, slot, &counts), -EINVAL);
}

/* A mask has several words, and each slot its own bit. */
static void heap_shared_by_peers_of_every_word(void **state)
{
	static const uint32_t slots[] = { 1, 47, 48, 95, 96, 143, 144, 254, 255 };
	enum { NR = sizeof(slots) / sizeof(slots[0]) };
	struct pair *pair = *state;
	struct evr_peer *peers[NR];
	struct evr_heap heap, holders[NR];
	struct evr_peer_id to[NR];
	struct evr_block block;
	uint32_t i, k;

	get_heap(pair, &heap);
	for (i = 0; i < NR; i++) {
		struct evr_peer_options options = { .struct_sz = sizeof(options),
						    .slot = slots[i],
						    .slot_set = true };

		assert_int_equal(evr_peer_attach(&peers[i], pair->segment, &options), 0);
		to[i] = evr_peer_self(peers[i]);
		assert_int_equal(evr_heap_open(&holders[i], peers[i], "heap"), 0);
	}
	block = evr_heap_alloc_shared(&heap, 64);
	assert_int_equal(evr_heap_share(&heap, block.handle, to, EVR_PEERS_MAX + 1), -EINVAL);
	assert_int_equal(evr_heap_share(&heap, block.handle, to, NR), NR);
	/* Who shared it is none of them. */
	assert_int_equal(evr_heap_drop(&heap, block.handle), -ESTALE);
	for (i = 0; i < NR; i++) {
		assert_non_null(evr_heap_resolve(&heap, block.handle, NULL));
		if (i % 2)
			assert_int_equal(evr_heap_hold(&holders[i], block.handle), 0);
		assert_int_equal(evr_heap_drop(&holders[i], block.handle), 0);
		for (k = 0; k <= i; k++)
			assert_int_equal(evr_heap_drop(&holders[k], block.handle), -ESTALE);
	}
	assert_null(evr_heap_resolve(&heap, block.handle, NULL));
	/* Of those who die the bits go, too. */
	block = evr_heap_alloc_shared(&heap, 64);
	assert_int_equal(evr_heap_share(&heap, block.handle, to, NR), NR);
	for (i = 0; i < NR; i++) {
		evr_heap_close(&holders[i]);
		evr_peer_detach(peers[i]);
	}
	while (evr_heap_resolve(&heap, block.handle, NULL)) {
		evr_peer_check(pair->peer);
		assert_true(evr_reap_dead(pair->peer, NULL) >= 0);
	}
	assert_empty(&heap);
	evr_heap_close(&heap);
}

static void heap_full_grows_by_itself_when_it_helps(void **state)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options),
					    .sz = 16 << 10,
					    .grow_sz = (512ULL << 30) + 1 };
	struct pair *pair = *state;
	uint64_t before = segment_sz(pair);
	struct evr_heap_usage usage;
	struct evr_heap heap;
	struct evr_block block;
	uint32_t i;

	assert_int_equal(evr_heap_create(pair->peer, "greedy", &options), -EINVAL);
	options.grow_sz--;
	assert_int_equal(evr_heap_create(pair->peer, "greedy", &options), 0);
	get_heap(pair, &heap);
	/* What no growth would hold does not make it grow. */
	assert_null(evr_heap_alloc(&heap, 2U << 20).ptr);
	assert_null(evr_heap_alloc_aligned(&heap, 1536 << 10, ALIGN_MAX).ptr);
	assert_int_equal(evr_heap_error(&heap), -ENOMEM);
	assert_int_equal(segment_sz(pair), before);
	for (i = 1; i < EVR_HEAP_ARENAS_MAX; i++) {
		block = evr_heap_alloc(&heap, 1536 << 10);
		assert_non_null(block.ptr);
		memset(block.ptr, (int)i, 1536 << 10);
		assert_int_equal(segment_sz(pair), before + i * (2ULL << 20));
	}
	/* That were all that it can have. */
	assert_null(evr_heap_alloc(&heap, 1536 << 10).ptr);
	assert_int_equal(evr_heap_error(&heap), -ENOMEM);
	assert_int_equal(segment_sz(pair), before + 15 * (2ULL << 20));
	evr_heap_usage(&heap, &usage);
	assert_int_equal(usage.arenas, EVR_HEAP_ARENAS_MAX);
	assert_int_equal(usage.runs, 15);
	evr_heap_close(&heap);
}

static struct talk {
	_Atomic uint64_t handle;
	_Atomic uint32_t may_end;
} * talk;

static void fill_until_it_grows(struct evr_peer *peer, void *arg)
{
	struct evr_block block;
	struct evr_heap heap;

	CHECK(!evr_heap_open(&heap, peer, "heap"));
	block = evr_heap_alloc(&heap, 1536 << 10);
	CHECK(block.ptr);
	memset(block.ptr, 0x77, 1536 << 10);
	CHECK(!evr_heap_transfer(&heap, block.handle, *(struct evr_peer_id *)arg));
	talk->handle = block.handle;
	while (!talk->may_end)
		sched_yield();
	/* And the other way round: what the parent has appended meanwhile. */
	CHECK(evr_heap_resolve(&heap, talk->handle, NULL));
	CHECK(evr_heap_contains(&heap, evr_heap_resolve(&heap, talk->handle, NULL)));
	CHECK(!evr_heap_free(&heap, talk->handle));
	evr_heap_close(&heap);
}

/* The first call that meets memory of an arena that another process has added: each kind of call in turn. */
static void heap_growth_is_seen_by_another_process(void **state)
{
	struct pair *pair = *state;
	struct evr_peer_id self = evr_peer_self(pair->peer);
	struct evr_peer_info peers[2];
	struct evr_block_info info;
	struct evr_heap heaps[5];
	struct evr_block block;
	unsigned char *at;
	uint64_t sz;
	pid_t pid;
	int i;

	talk = mmap(NULL, sizeof(*talk), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < 5; i++)
		get_heap(pair, &heaps[i]);
	pid = pair_fork(pair, fill_until_it_grows, &self);
	while (!talk->handle)
		sched_yield();
	at = evr_heap_resolve(&heaps[0], talk->handle, &sz);
	assert_non_null(at);
	assert_int_equal(at[sz - 1] | at[0], 0x77);
	assert_true(evr_heap_contains(&heaps[1], at + sz - 1));
	assert_true(evr_peer_off(pair->peer, at) > 0);
	assert_true(evr_heap_handle(&heaps[2], at + sz - 1) == talk->handle);
	assert_int_equal(evr_heap_info(&heaps[3], talk->handle, &info), 0);
	assert_int_equal(info.state, EVR_BLOCK_INFLIGHT);
	assert_int_equal(evr_heap_free(&heaps[4], talk->handle), 0);
	assert_int_equal(evr_heap_grow(&heaps[0], 4U << 20), 0);
	block = evr_heap_alloc(&heaps[0], 3U << 20);
	assert_non_null(block.ptr);
	assert_int_equal(evr_peer_list(pair->peer, peers, 2), 2);
	i = peers[0].id.slot == self.slot;
	assert_int_equal(evr_heap_transfer(&heaps[0], block.handle, peers[i].id), 0);
	talk->handle = block.handle;
	talk->may_end = 1;
	pair_join(pid);
	pair_settle(pair);
	for (i = 1; i < 5; i++)
		evr_heap_close(&heaps[i]);
	assert_empty(&heaps[0]);
	evr_heap_close(&heaps[0]);
	munmap(talk, sizeof(*talk));
}

static uint64_t steps_of_alloc(struct evr_heap *heap, struct evr_block *block)
{
	steps = 0;
	*block = evr_heap_alloc(heap, 64);
	return steps;
}

#define STEPS_OF(call)                       \
	({                                   \
		steps = 0;                   \
		assert_int_equal((call), 0); \
		steps;                       \
	})

/* Accesses to shared memory, and no loop among them: whatever others do, it is no more. */
static void heap_fast_paths_take_so_many_accesses(void **state)
{
	struct pair *pair = *state;
	struct evr_peer_id self = evr_peer_self(pair->peer);
	struct evr_heap heap, other;
	struct evr_block block;

	steps_to_live = 0;
	get_heap(pair, &heap);
	get_heap(pair, &other);
	/* The store is empty at first. */
	steps_of_alloc(&heap, &block);
	assert_int_equal(STEPS_OF(evr_heap_free(&heap, block.handle)), 2);
	assert_int_equal(steps_of_alloc(&heap, &block), 1);
	/* Its word, and its head's before and after. */
	steps = 0;
	assert_non_null(evr_heap_resolve(&heap, block.handle, NULL));
	assert_int_equal(steps, 3);
	assert_int_equal(STEPS_OF(evr_heap_transfer(&heap, block.handle, self)), 5);
	assert_int_equal(STEPS_OF(evr_heap_accept(&heap, block.handle)), 4);
	/* One CAS, and that it can be found again. */
	assert_int_equal(STEPS_OF(evr_heap_free(&other, block.handle)), 6);
	steps_of_alloc(&heap, &block);
	assert_int_equal(STEPS_OF(evr_heap_free(&other, block.handle)), 5);
	evr_heap_close(&other);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_heap, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(heap_sizes_are_exact),
		CASE(heap_alignments_are_exact),
		CASE(heap_batches_stop_at_what_is_not_theirs),
		CASE(heap_states_of_the_library_are_not_the_applications),
		CASE(heap_transition_is_won_by_one),
		CASE(heap_old_handle_does_not_follow_payload),
		CASE(heap_counts_and_usage_are_exact),
		cmocka_unit_test_setup_teardown(heap_shared_by_peers_of_every_word, open_crowded,
						pair_close),
		cmocka_unit_test_setup_teardown(heap_full_grows_by_itself_when_it_helps,
						open_growing, pair_close),
		cmocka_unit_test_setup_teardown(heap_growth_is_seen_by_another_process,
						open_growing, pair_close),
		CASE(heap_fast_paths_take_so_many_accesses),
	};

	return cmocka_run_group_tests_name("heap_bounds", tests, NULL, NULL);
}
