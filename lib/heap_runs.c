/* SPDX-License-Identifier: MIT */
/*
 * Granules: claiming, and giving back; blocks of several granules. heap.c has the
 * protocol.
 *
 *   FREE -> CLAIM(me), ascending; the first says how many there will be
 *   the others -> CONT, with the distance to the first
 *   the first -> SLAB or RUN: now it is one thing
 *
 * and back: the others first, the first last. So whatever is left half-way has a head
 * that says so, and names who was at it. A CONT is under a head that covers it. Two
 * claims of one peer may stand in each other's way when it dies: a first that says
 * more than 1 is never taken for a part of the other, for its own parts would be left.
 */
#include <errno.h>

#include "backend.h"
#include "heap_idle.h"
#include "heap_table.h"
#include "internal.h"

#define ALIGN_MAX (2ULL << 20)
/* Two that claim the same granules may both have to give way; then they try elsewhere. */
#define PASSES_MAX 16

static void used_set(struct heap_arena *a, uint32_t granule, bool is_used)
{
	struct evr_a64 *word = &a->used[granule / CHUNK];
	uint64_t bit = 1ULL << granule % CHUNK;

	/* Relaxed: a hint. */
	if (!!(evr_a64_load_relaxed(word) & bit) == is_used)
		return;
	if (is_used)
		evr_a64_fetch_or(word, bit);
	else
		evr_a64_fetch_and(word, ~bit);
}

static bool is_taken(struct heap_arena *a, uint32_t granule, bool by_own)
{
	/* Relaxed: who finds it free claims it by CAS. */
	if (by_own)
		return heap_own_kind(evr_a64_load_relaxed(&a->own[granule])) != OWN_FREE;
	return evr_a64_load_relaxed(&a->used[granule / CHUNK]) >> granule % CHUNK & 1;
}

/* Return: @nr when all are ours now, else the first that is not free. */
static uint32_t claim_range(struct heap_map *map, struct heap_arena *a, uint32_t head, uint32_t nr)
{
	uint64_t u_own, own;
	uint32_t i;

	for (i = 0; i < nr; i++) {
		if ((!i || (head + i) % CHUNK == 0) &&
		    !evr_heap_touch(map, a, head + i, evr_peer_self(map->peer)))
			break;
		u_own = evr_a64_load_acquire(&a->own[head + i]); /* HEAP-SLAB */
		own = heap_own_word(u_own + OWN_GEN_ONE, map->me, i ? 1 : nr, OWN_CLAIM);
		if (heap_own_kind(u_own) != OWN_FREE ||
		    !evr_a64_cas(&a->own[head + i], &u_own, own)) /* HEAP-SLAB */
			break;
		used_set(a, head + i, true);
	}
	if (i == nr)
		return nr;
	used_set(a, head + i, true);
	for (nr = i; nr--;) {
		/* Only we write a word that says CLAIM by us. */
		own = evr_a64_load_relaxed(&a->own[head + nr]);
		evr_a64_store_release(&a->own[head + nr], own & OWN_GEN_MASK); /* HEAP-SLAB */
		used_set(a, head + nr, false);
	}
	return i;
}

bool evr_heap_claim_at(struct heap_map *map, struct heap_arena *a, uint32_t head, uint32_t nr)
{
	return claim_range(map, a, head, nr) == nr;
}

/* The next start for which alignment holds. */
static uint64_t align_up(const struct heap_map *map, const struct heap_arena *a, uint64_t granule,
			 uint64_t align)
{
	uint64_t off = a->data_off + (granule << map->granule_shift);

	return granule + ((EVR_ROUND_UP(off, align) - off) >> map->granule_shift);
}

/*
 * Look for a free stretch and claim it. @by_own: by the words that are the truth,
 * not by the hints. -EAGAIN: there was one, and another was faster.
 */
static int claim_in(struct heap_map *map, struct heap_arena *a, uint32_t nr, uint64_t align,
		    bool by_own, uint32_t *head)
{
	uint64_t start = align_up(map, a, 0, align), i = start, got;
	int err = -ENOMEM;

	while (start + nr <= a->granules) {
		/* Ascending, so that what is used lies together. */
		if (!by_own && i % CHUNK == 0 &&
		    evr_a64_load_relaxed(&a->used[i / CHUNK]) == ~0ULL) {
			i = start = align_up(map, a, i + CHUNK, align);
			continue;
		}
		if (is_taken(a, (uint32_t)i, by_own)) {
			i = start = align_up(map, a, i + 1, align);
			continue;
		}
		if (++i < start + nr)
			continue;
		got = claim_range(map, a, (uint32_t)start, nr);
		*head = (uint32_t)start;
		if (got == nr)
			return 0;
		if (by_own)
			err = -EAGAIN;
		i = start = align_up(map, a, start + got + 1, align);
	}
	return err;
}

int evr_heap_claim(struct heap_map *map, uint32_t nr, uint64_t align, struct heap_arena **arena,
		   uint32_t *head)
{
	uint32_t i, pass;
	int err = -ENOMEM;

	for (pass = 0; pass < PASSES_MAX; pass++) {
		err = -ENOMEM;
		for (i = 0; i < map->arenas_nr; i++) {
			*arena = &map->arenas[i];
			switch (claim_in(map, *arena, nr, align, pass > 0, head)) {
			case 0:
				return 0;
			case -EAGAIN:
				err = -EAGAIN;
			}
		}
		if (pass && err == -ENOMEM)
			break;
	}
	return -ENOMEM;
}

void evr_heap_claim_finish(struct heap_map *map, struct heap_arena *a, uint32_t head, uint32_t nr,
			   uint64_t own)
{
	uint64_t claim;
	uint32_t i;

	/* Relaxed: only we write words that say CLAIM by us. */
	for (i = 1; i < nr; i++) {
		claim = evr_a64_load_relaxed(&a->own[head + i]);
		evr_a64_store_relaxed(&a->own[head + i],
				      heap_own_word(claim, map->me, i, OWN_CONT));
	}
	claim = evr_a64_load_relaxed(&a->own[head]);
	evr_a64_store_release(&a->own[head], (claim & OWN_GEN_MASK) | own); /* HEAP-SLAB */
}

uint64_t evr_heap_release(struct heap_map *map, struct heap_arena *a, uint32_t head, uint64_t u_own)
{
	uint32_t i, nr = heap_own_arg(u_own);
	uint64_t u_part, kind;

	if (nr > a->granules - head)
		nr = a->granules - head;
	for (i = 1; i < nr; i++) {
		u_part = evr_a64_load_acquire(&a->own[head + i]);
		/* Of this head, as long as the head says so after we have seen it. */
		if (evr_a64_load_acquire(&a->own[head]) != u_own)
			return 0;
		kind = heap_own_kind(u_part);
		if (!(kind == OWN_CONT && heap_own_arg(u_part) == i) &&
		    !(kind == OWN_CLAIM && heap_own_stamp(u_part) == heap_own_stamp(u_own) &&
		      heap_own_arg(u_part) == 1 && heap_own_kind(u_own) == OWN_CLAIM))
			continue;
		if (evr_a64_cas(&a->own[head + i], &u_part, u_part & OWN_GEN_MASK)) /* HEAP-SLAB */
			used_set(a, head + i, false);
	}
	if (!evr_a64_cas(&a->own[head], &u_own, u_own & OWN_GEN_MASK)) /* HEAP-SLAB */
		return 0;
	used_set(a, head, false);
	return (uint64_t)nr << map->granule_shift;
}

uint64_t evr_heap_gen_base(const struct heap_arena *a, uint32_t head, uint32_t nr)
{
	const struct evr_a64 *side = &a->side[(uint64_t)head * SIDE_WORDS];
	uint64_t gen = 0, u_ctl;
	uint32_t i;

	/* Relaxed: the granules are ours, and so are their words. */
	for (i = 0; i < nr * SIDE_WORDS; i++) {
		u_ctl = evr_a64_load_relaxed(&side[i]) & EVR_CTL_GEN_MASK;
		if (!i || (int64_t)(u_ctl - gen) > 0)
			gen = u_ctl;
	}
	return gen;
}

struct evr_block evr_heap_run_alloc(struct heap_map *map, uint64_t sz, uint64_t align)
{
	uint64_t nr = EVR_ROUND_UP(sz, heap_granule_sz(map)) >> map->granule_shift;
	struct evr_block block = { NULL, EVR_HANDLE_NONE };
	struct heap_arena *a;
	uint32_t head;
	uint64_t ctl;

	if (nr > OWN_ARG_MAX || align > ALIGN_MAX ||
	    evr_heap_claim(map, (uint32_t)nr, align, &a, &head))
		return block;
	ctl = evr_heap_gen_base(a, head, 1) + EVR_CTL_GEN_ONE;
	evr_a64_store_release(&a->side[(uint64_t)head * SIDE_WORDS],
			      heap_ctl(ctl, map->me, EVR_BLOCK_LIVE, TAG_LIVE)); /* HEAP-BLOCK */
	evr_heap_claim_finish(map, a, head, (uint32_t)nr, heap_own_word(0, map->me, nr, OWN_RUN));
	block.ptr = a->data + ((uint64_t)head << map->granule_shift);
	block.handle = (ctl & EVR_CTL_GEN_MASK) |
		       (a->data_off + ((uint64_t)head << map->granule_shift)) / EVR_HEAP_UNIT;
	return block;
}

void evr_heap_run_release(struct heap_map *map, struct heap_block *b, uint64_t u_ctl)
{
	/* Of a dead peer's run others may be at work too, and done with it, before we are. */
	bool is_kept = heap_ctl_owner(u_ctl) == map->me && evr_heap_idle_keeps(map, b);

	evr_a64_cas(b->ctl, &u_ctl, u_ctl & EVR_CTL_GEN_MASK); /* HEAP-BLOCK */
	if (evr_heap_release(map, b->arena, b->head, b->u_own) && is_kept)
		evr_heap_idle_add(map, b);
}

/* The head says less first, or more first: what it does not cover would be nobody's. */
int evr_heap_run_resize(struct heap_map *map, struct heap_block *b, uint64_t sz)
{
	struct evr_a64 *own = b->arena->own + b->head;
	uint64_t want = EVR_ROUND_UP(sz, heap_granule_sz(map)) >> map->granule_shift;
	uint32_t i, nr = heap_own_arg(b->u_own);
	uint64_t next = heap_own_word(b->u_own, heap_own_stamp(b->u_own), want, OWN_RUN), u_part;

	if (want > nr) {
		if (want > b->arena->granules - b->head ||
		    claim_range(map, b->arena, b->head + nr, (uint32_t)want - nr) != want - nr)
			return -ENOMEM;
		/* Relaxed: as in evr_heap_claim_finish(). The head covers them first. */
		evr_a64_store_release(own, next); /* HEAP-SLAB */
		for (i = nr; i < want; i++) {
			u_part = evr_a64_load_relaxed(&b->arena->own[b->head + i]);
			evr_a64_store_relaxed(&b->arena->own[b->head + i],
					      heap_own_word(u_part, map->me, i, OWN_CONT));
		}
		return 0;
	}
	for (i = nr; i-- > want;) {
		u_part = evr_a64_load_relaxed(&b->arena->own[b->head + i]);
		if (heap_own_kind(u_part) == OWN_CONT && heap_own_arg(u_part) == i &&
		    evr_a64_cas(&b->arena->own[b->head + i], &u_part, u_part & OWN_GEN_MASK))
			used_set(b->arena, b->head + i, false);
	}
	if (want < nr)
		evr_a64_store_release(own, next); /* HEAP-SLAB */
	return 0;
}

uint64_t evr_heap_run_max(struct heap_map *map)
{
	uint32_t i, granule, run, max = 0;

	for (i = 0; i < map->arenas_nr; i++)
		for (granule = run = 0; granule < map->arenas[i].granules; granule++) {
			run = is_taken(&map->arenas[i], granule, true) ? 0 : run + 1;
			max = run > max ? run : max;
		}
	return (uint64_t)max << map->granule_shift;
}
