/* SPDX-License-Identifier: MIT */
/*
 * Heaps whose words others write: a peer that lies, once, at any moment, something that a
 * word never could say; who keeps to the rules gets what lies in the heap, or an error, and
 * comes to an end. And one that comes late with what it has found of the dead, when that is
 * another's by now.
 */
#include <string.h>

#include "explore.h"
#include "heap_own.h"

#define BLOCK_SZ 500 /* eight to a slab of one granule, side words */
#define RUN_SZ 5000 /* two granules */

struct state {
	struct evr_heap heap; /* of who keeps to the rules */
	struct evr_heap gone; /* of one that has ended */
	struct heap_map map; /* of the liar */
	uint64_t small, large; /* handles */
	uint32_t slab, run; /* their granules */
};

static void lie(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct heap_arena *a = &s->map.arenas[0];
	struct evr_a64 *slab = &a->own[s->slab], *run = &a->own[s->run];
	struct evr_a64 *ctl = (struct evr_a64 *)(a->data + s->slab * heap_granule_sz(&s->map));
	uint64_t me = heap_stamp(evr_peer_self(peer));
	uint64_t honest = heap_stamp(evr_peer_self(model_peer(0)));
	uint64_t u_slab = model_peek(slab), u_run = model_peek(run);
	const struct {
		struct evr_a64 *word;
		uint64_t says;
	} lies[] = {
		{ slab, 0 },
		{ slab, UINT64_MAX },
		{ slab, heap_own_word(u_slab, honest, OWN_ARG_MAX, OWN_RUN) },
		{ slab, heap_own_word(u_slab, honest, s->slab + 1, OWN_CONT) },
		{ slab, heap_own_word(u_slab, me, heap_own_arg(u_slab) + 1, OWN_SLAB) },
		{ slab, heap_own_word(u_slab, 0, heap_own_arg(u_slab), OWN_ORPHAN) },
		{ run, heap_own_word(u_run, honest, OWN_ARG_MAX, OWN_RUN) },
		{ run, heap_own_word(u_run, honest, heap_own_arg(u_slab), OWN_SLAB) },
		{ run, heap_own_word(u_run, honest, 2, OWN_CLAIM) },
		{ run + 1, heap_own_word(u_run, 0, s->run + 2, OWN_CONT) },
		{ run + 1, 0 },
		{ ctl, heap_ctl(model_peek(ctl), me, EVR_BLOCK_LIVE, TAG_LIVE) },
		{ ctl, heap_ctl(model_peek(ctl), honest, me, TAG_INFLIGHT) },
		{ ctl, heap_ctl(model_peek(ctl), honest, 0, TAG_SHARED) },
		{ ctl, heap_ctl(model_peek(ctl), me, 0, TAG_RELEASING) },
		{ ctl, model_peek(ctl) + EVR_CTL_GEN_ONE },
		{ a->side + (uint64_t)s->run * SIDE_WORDS, UINT64_MAX },
		{ a->touched, UINT64_MAX },
		{ a->used, UINT64_MAX },
		{ a->dirty, UINT64_MAX },
	};
	uint32_t which = model_pick(sizeof(lies) / sizeof(lies[0]));

	evr_a64_store_release(lies[which].word, lies[which].says);
}

static void is_in_heap(const struct state *s, const void *at, uint64_t sz)
{
	const struct heap_arena *a = &s->heap.own->map.arenas[0];
	uint64_t in = (uint64_t)((const unsigned char *)at - a->data);

	MODEL_CHECK(!at || (in <= a->data_sz && sz <= a->data_sz - in));
}

static int is_in_heap_too(const struct evr_block_info *info, void *state)
{
	struct state *s = state;
	uint64_t sz;
	void *at = evr_heap_resolve(&s->heap, info->handle, &sz);

	is_in_heap(s, at, sz);
	return 0;
}

/* What a block has been asked for is there, and can be written. */
static void fill(const struct state *s, const struct evr_block *block, uint64_t sz)
{
	is_in_heap(s, block->ptr, sz);
	if (!block->ptr)
		return;
	evr_copy_in(block->ptr, &(uint64_t){ 0 }, 8);
	evr_copy_in((uint8_t *)block->ptr + sz - 8, &(uint64_t){ 0 }, 8);
}

static void use_among_lies(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_heap *heap = &s->heap;
	struct evr_block small, large;
	uint64_t sz;
	void *at = evr_heap_resolve(heap, s->large, &sz);

	is_in_heap(s, at, sz);
	at = evr_heap_resolve(heap, s->small, &sz);
	is_in_heap(s, at, sz);
	evr_heap_free(heap, s->large);
	large = evr_heap_alloc(heap, RUN_SZ);
	fill(s, &large, RUN_SZ);
	evr_heap_transfer(heap, s->small, evr_peer_self(model_peer(1)));
	evr_heap_recall(heap, s->small, evr_peer_self(model_peer(1)));
	evr_heap_free(heap, s->small);
	small = evr_heap_alloc(heap, BLOCK_SZ);
	fill(s, &small, BLOCK_SZ);
	evr_heap_walk(heap, is_in_heap_too, s);
	evr_heap_free(heap, small.handle);
	evr_heap_free(heap, large.handle);
	evr_heap_close(heap);
}

static uint32_t granule_of(const struct state *s, uint64_t handle)
{
	return (uint32_t)((heap_handle_off(handle) - s->map.arenas[0].data_off) >>
			  s->map.granule_shift);
}

static void setup(void *state)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options), .sz = 20 << 10 };
	struct evr_peer *peer = model_peer(0);
	struct evr_object object, behind;
	struct state *s = state;

	MODEL_CHECK(!evr_heap_create(peer, "heap", &options));
	MODEL_CHECK(!evr_dir_find(peer, "heap", &object));
	MODEL_CHECK(!evr_dir_create(peer, "behind", EVR_KIND_USER, 128, &behind));
	model_guard(evr_peer_at(peer, behind.off, 128), 128);
	MODEL_CHECK(!evr_heap_open(&s->heap, peer, "heap"));
	MODEL_CHECK(!evr_heap_map(&s->map, model_peer(1), &object));
	s->small = evr_heap_alloc(&s->heap, BLOCK_SZ).handle;
	s->large = evr_heap_alloc(&s->heap, RUN_SZ).handle;
	s->slab = granule_of(s, s->small);
	s->run = granule_of(s, s->large);
	model_name(s->map.arenas[0].own, 8 * 4, "own");
	model_name(s->map.arenas[0].side, 8 * 32, "side");
}

static void is_reapable(void *state)
{
	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
}

SCENARIO(heap_hostile) = {
	.name = "heap-hostile",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.procs = { { "user", use_among_lies }, { "hostile", lie } },
	.setup = setup,
	.end = is_reapable,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_SC, 1, 1, 0 } },
};

/* A run of one that has ended: one reaps, and has the granules; the other still reaps. */
static void end_at_once(struct evr_peer *peer, void *state)
{
	model_detach();
}

static bool first_ended(void *state)
{
	return model_ended(0);
}

static void reap_and_take(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	model_until(first_ended, state);
	MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
	s->large = evr_heap_alloc(&s->heap, RUN_SZ).handle;
}

static void reap_late(struct evr_peer *peer, void *state)
{
	model_until(first_ended, state);
	MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
}

static void setup_ended(void *state)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options), .sz = 16 << 10 };
	struct evr_object object;
	struct state *s = state;

	MODEL_CHECK(!evr_heap_create(model_auditor(), "heap", &options));
	MODEL_CHECK(!evr_heap_open(&s->gone, model_peer(0), "heap"));
	MODEL_CHECK(!evr_heap_open(&s->heap, model_peer(1), "heap"));
	MODEL_CHECK(!evr_dir_find(model_auditor(), "heap", &object));
	MODEL_CHECK(!evr_heap_map(&s->map, model_auditor(), &object));
	evr_reap_auto(model_peer(1), false);
	MODEL_CHECK(evr_heap_alloc(&s->gone, RUN_SZ).ptr);
	/* There is none beside it. */
	MODEL_CHECK(!evr_heap_alloc(&s->heap, RUN_SZ).ptr);
	model_name(s->map.arenas[0].own, 8 * 4, "own");
	model_name(s->map.arenas[0].side, 8 * 32, "side");
}

/* What was taken is still there, and all is free when it is given back. */
static void is_its_own(void *state)
{
	struct evr_heap_usage usage;
	struct state *s = state;

	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	MODEL_CHECK(model_ended(1) || !s->large || evr_heap_resolve(&s->heap, s->large, NULL));
	if (model_ended(1))
		return;
	MODEL_CHECK(!s->large || !evr_heap_free(&s->heap, s->large));
	evr_heap_trim(&s->heap);
	evr_heap_usage(&s->heap, &usage);
	MODEL_CHECK(!usage.blocks && !usage.corrupt && usage.bytes_free == usage.bytes_max);
}

SCENARIO(heap_run_ended) = {
	.name = "heap-run-ended",
	.state_sz = sizeof(struct state),
	.shared_sz = 20 << 10,
	.flags = MODEL_PEERS_CHANGE,
	.procs = { { "gone", end_at_once, .immortal = true },
		   { "taker", reap_and_take },
		   { "late", reap_late } },
	.setup = setup_ended,
	.end = is_its_own,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_SC, 2, 1, 0 }, { MODEL_WEAK, 2, 0, 1 } },
};
