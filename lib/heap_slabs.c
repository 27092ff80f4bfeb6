/* SPDX-License-Identifier: MIT */
/*
 * A handle's slabs, and the stores it allocates from. heap.c has the protocol.
 *
 * A slab's handle alone changes its FREE words: it makes them CACHED when it puts the
 * blocks into its store, and FREE again when the store overflows. What others free
 * they announce by a dirty bit; so does the handle itself with what it leaves in a
 * slab. A bit is cleared before the slab is looked through, so no block is forgotten.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "heap_own.h"
#include "internal.h"

#define STORE_BYTES (128U << 10)
#define STORE_MAX 512
#define STORE_MIN 4
/* Slabs that one refill looks at. */
#define LOOKS_MAX 32

static struct heap_arena *slab_arena(struct evr_heap *heap, const struct heap_slab *slab)
{
	return &heap->own->map.arenas[slab->arena];
}

static struct evr_a64 *slab_words(const struct evr_heap *heap, const struct heap_arena *a,
				  uint32_t head, uint32_t class_idx)
{
	if (heap->classes[class_idx].is_side)
		return a->side + (uint64_t)head * SIDE_WORDS;
	return (struct evr_a64 *)(a->data + ((uint64_t)head << heap->granule_shift));
}

static int store_prepare(struct evr_heap *heap, uint32_t class_idx)
{
	struct evr_heap_store *store = &heap->stores[class_idx];
	uint32_t max = STORE_BYTES / heap->classes[class_idx].sz;

	if (store->entries)
		return 0;
	max = max > STORE_MAX ? STORE_MAX : max < STORE_MIN ? STORE_MIN : max;
	store->entries = calloc(max, sizeof(*store->entries));
	if (!store->entries)
		return evr_fail(-ENOMEM, "heap: no private memory for a store of %u blocks", max);
	store->max = max;
	return 0;
}

static int slab_list_add(struct evr_heap *heap, uint32_t class_idx, struct heap_slab slab)
{
	struct heap_slabs *list = &heap->own->slabs[class_idx];
	struct heap_arena *a = slab_arena(heap, &slab);
	struct heap_slab *slabs;
	uint32_t max, i;

	if (list->nr == list->max) {
		max = list->max ? 2 * list->max : 16;
		slabs = realloc(list->slabs, max * sizeof(*slabs));
		if (!slabs)
			return evr_fail(-ENOMEM, "heap: no private memory for %u slabs", max);
		list->slabs = slabs;
		list->max = max;
	}
	list->slabs[list->nr++] = slab;
	a->pos[slab.head] = list->nr;
	for (i = 0; i < heap->classes[class_idx].span; i++)
		a->mine[slab.head + i] = (uint16_t)(i << 8 | (class_idx + 1));
	return 0;
}

static void slab_list_remove(struct evr_heap *heap, uint32_t class_idx, uint32_t pos)
{
	struct heap_slabs *list = &heap->own->slabs[class_idx];
	struct heap_slab *slab = &list->slabs[pos], *last = &list->slabs[list->nr - 1];
	uint32_t i;

	slab_arena(heap, slab)->pos[slab->head] = 0;
	for (i = 0; i < heap->classes[class_idx].span; i++)
		slab_arena(heap, slab)->mine[slab->head + i] = 0;
	if (slab != last) {
		*slab = *last;
		slab_arena(heap, slab)->pos[slab->head] = pos + 1;
	}
	list->nr--;
}

/* Put the slab's free blocks into the store until it has @want. */
static void slab_take(struct evr_heap *heap, uint32_t class_idx, const struct heap_slab *slab,
		      uint32_t want)
{
	const struct evr_heap_class *c = &heap->classes[class_idx];
	struct evr_heap_store *store = &heap->stores[class_idx];
	struct heap_arena *a = slab_arena(heap, slab);
	struct evr_a64 *ctl = slab_words(heap, a, slab->head, class_idx);
	uint64_t off = a->data_off + ((uint64_t)slab->head << heap->granule_shift) + c->first;
	uint64_t u_ctl;
	uint32_t i;

	/* HEAP-DIRTY: what is freed from here on sets it again. */
	evr_a64_fetch_and(&a->dirty[slab->head / CHUNK], ~(1ULL << slab->head % CHUNK));
	for (i = 0; i < c->blocks; i++, ctl++, off += c->sz) {
		u_ctl = evr_a64_load_acquire(ctl); /* HEAP-BLOCK */
		if (heap_ctl_tag(u_ctl) != TAG_FREE)
			continue;
		if (store->nr >= want) {
			evr_heap_mark_dirty(a, slab->head);
			return;
		}
		evr_a64_store_relaxed(ctl, heap_ctl(u_ctl, heap->own->map.me, 0, TAG_CACHED));
		store->entries[store->nr].ctl = ctl;
		store->entries[store->nr++].handle =
			((u_ctl & EVR_CTL_GEN_MASK) + EVR_CTL_GEN_ONE) | off / EVR_HEAP_UNIT;
	}
}

static bool slab_is_dirty(const struct heap_arena *a, uint32_t head)
{
	/* Relaxed: the words of the slab are looked at after an RMW of this one. */
	return evr_a64_load_relaxed(&a->dirty[head / CHUNK]) >> head % CHUNK & 1;
}

/* From the slabs that we have. @all: also those that nobody has marked. */
static void take_own(struct evr_heap *heap, uint32_t class_idx, uint32_t want, bool all)
{
	struct heap_slabs *list = &heap->own->slabs[class_idx];
	struct evr_heap_store *store = &heap->stores[class_idx];
	uint32_t looks = all || list->nr < LOOKS_MAX ? list->nr : LOOKS_MAX;
	struct heap_slab *slab;

	while (looks-- && store->nr < want) {
		if (list->next >= list->nr)
			list->next = 0;
		slab = &list->slabs[list->next];
		if (all || slab_is_dirty(slab_arena(heap, slab), slab->head))
			slab_take(heap, class_idx, slab, want);
		/* When it filled the store there may be more where that came from. */
		if (store->nr < want)
			list->next++;
	}
}

/*
 * Where the granules' next use looks for the generations of this one, see
 * evr_heap_gen_base(): the first side word of each granule that has none yet says FREE.
 */
static void gen_keep(struct heap_arena *a, uint32_t head, uint32_t span, uint64_t gen)
{
	struct evr_a64 *side = &a->side[(uint64_t)head * SIDE_WORDS];
	uint64_t u_ctl;
	uint32_t i;

	for (i = 0; i < span; i++, side += SIDE_WORDS) {
		u_ctl = evr_a64_load_acquire(side);
		/* Another has raised it, or uses it: then the claim that follows fails. */
		if (heap_ctl_tag(u_ctl) == TAG_FREE && (int64_t)(gen - u_ctl) > 0)
			evr_a64_cas(side, &u_ctl, gen);
	}
}

/* The words of a new slab. */
static void slab_init(struct evr_heap *heap, struct heap_arena *a, uint32_t head,
		      uint32_t class_idx)
{
	const struct evr_heap_class *c = &heap->classes[class_idx];
	struct evr_a64 *ctl = slab_words(heap, a, head, class_idx);
	uint64_t gen = evr_heap_gen_base(a, head, c->span);
	uint32_t i;

	/* Relaxed: HEAP-SLAB publishes them. The side words also of a slab that has others. */
	for (i = 0; i < c->span; i++)
		evr_a64_store_relaxed(&a->side[(uint64_t)(head + i) * SIDE_WORDS], gen);
	for (i = 0; i < c->blocks; i++)
		evr_a64_store_relaxed(&ctl[i], gen);
}

static int take_new(struct evr_heap *heap, uint32_t class_idx, uint32_t want)
{
	const struct evr_heap_class *c = &heap->classes[class_idx];
	struct heap_map *map = &heap->own->map;
	struct heap_slab slab;
	struct heap_arena *a;
	int err;

	err = evr_heap_claim(map, c->span, 1, &a, &slab.head);
	if (err)
		return err;
	slab.arena = (uint32_t)(a - map->arenas);
	slab_init(heap, a, slab.head, class_idx);
	evr_heap_claim_finish(map, a, slab.head, c->span,
			      heap_own_word(0, map->me, class_idx, OWN_SLAB));
	heap_count(&heap_own_counts(heap->own)->slabs, 1);
	err = slab_list_add(heap, class_idx, slab);
	if (!err)
		slab_take(heap, class_idx, &slab, want);
	else
		evr_heap_slab_release(map, a, slab.head, evr_a64_load_acquire(&a->own[slab.head]));
	return err;
}

/* Become the owner of a slab whose own has ended. False: another was faster. */
static bool slab_adopt(struct evr_heap *heap, uint32_t class_idx, struct heap_slab slab)
{
	struct heap_map *map = &heap->own->map;
	struct heap_arena *a = slab_arena(heap, &slab);
	uint64_t u_own = evr_a64_load_acquire(&a->own[slab.head]); /* HEAP-SLAB */

	if (heap_own_kind(u_own) != OWN_ORPHAN || heap_own_arg(u_own) != class_idx ||
	    heap->classes[class_idx].span > a->granules - slab.head ||
	    !evr_heap_touch(map, a, slab.head, heap->own->self))
		return false;
	if (!evr_a64_cas(&a->own[slab.head], &u_own, /* HEAP-SLAB */
			 heap_own_word(u_own + OWN_GEN_ONE, map->me, class_idx, OWN_SLAB)))
		return false;
	if (!slab_list_add(heap, class_idx, slab))
		return true;
	u_own = evr_a64_load_acquire(&a->own[slab.head]);
	evr_a64_cas(&a->own[slab.head], &u_own, heap_own_word(u_own, 0, class_idx, OWN_ORPHAN));
	return false;
}

/* @all: also when none is known to have become an orphan since the last look. */
static void take_orphan(struct evr_heap *heap, uint32_t class_idx, uint32_t want, bool all)
{
	struct heap_slabs *list = &heap->own->slabs[class_idx];
	struct heap_map *map = &heap->own->map;
	uint64_t orphaned = evr_a64_load_acquire(&map->header->orphaned); /* HEAP-ORPHAN */
	struct heap_slab slab;
	struct heap_arena *a;

	if (!all && orphaned == list->orphaned)
		return;
	for (slab.arena = 0; slab.arena < map->arenas_nr; slab.arena++) {
		a = &map->arenas[slab.arena];
		for (slab.head = 0; slab.head < a->granules; slab.head++) {
			/* Relaxed: adopted by CAS, or not. */
			if (heap_own_kind(evr_a64_load_relaxed(&a->own[slab.head])) != OWN_ORPHAN ||
			    !slab_adopt(heap, class_idx, slab))
				continue;
			heap_count(&heap_own_counts(heap->own)->adopted, 1);
			slab_take(heap, class_idx, &slab, want);
			if (heap->stores[class_idx].nr)
				return;
		}
	}
	list->orphaned = orphaned;
}

int evr_heap_refill(struct evr_heap *heap, uint32_t class_idx)
{
	struct evr_heap_store *store = &heap->stores[class_idx];
	uint32_t want;
	int err;

	err = evr_heap_prepare(heap);
	if (!err)
		err = store_prepare(heap, class_idx);
	if (err)
		return err;
	heap_count(&heap_own_counts(heap->own)->refills, 1);
	want = store->max / 2;
	take_own(heap, class_idx, want, false);
	if (!store->nr)
		take_orphan(heap, class_idx, want, false);
	if (!store->nr)
		err = take_new(heap, class_idx, want);
	if (store->nr)
		return 0;
	take_own(heap, class_idx, want, true);
	if (!store->nr)
		take_orphan(heap, class_idx, want, true);
	return store->nr ? 0 : err;
}

uint64_t evr_heap_slab_release(struct heap_map *map, struct heap_arena *a, uint32_t head,
			       uint64_t u_own)
{
	const struct evr_heap_class *c;
	uint64_t u_ctl, gen = 0, claim;
	struct evr_a64 *ctl;
	uint32_t i;

	if (heap_own_arg(u_own) >= map->classes_nr)
		return 0;
	c = &map->classes[heap_own_arg(u_own)];
	if (c->span > a->granules - head)
		return 0;
	ctl = c->is_side ? a->side + (uint64_t)head * SIDE_WORDS :
			   (struct evr_a64 *)(a->data + ((uint64_t)head << map->granule_shift));
	for (i = 0; i < c->blocks; i++) {
		u_ctl = evr_a64_load_acquire(&ctl[i]); /* HEAP-BLOCK */
		if (heap_ctl_tag(u_ctl) != TAG_FREE)
			return 0;
		if (!i || (int64_t)(u_ctl - gen) > 0)
			gen = u_ctl & EVR_CTL_GEN_MASK;
	}
	claim = heap_own_word(u_own + OWN_GEN_ONE, map->me, c->span, OWN_CLAIM);
	/* Before the claim: of who dies in it the granules are all that the reaper finds. */
	gen_keep(a, head, c->span, gen);
	if (!evr_heap_touch(map, a, head, evr_peer_self(map->peer)) ||
	    !evr_a64_cas(&a->own[head], &u_own, claim)) /* HEAP-SLAB */
		return 0;
	return evr_heap_release(map, a, head, claim);
}

/* Give a slab of ours back if nobody uses a block of it. */
static uint64_t slab_try_release(struct evr_heap *heap, uint32_t class_idx, uint32_t pos)
{
	struct heap_slab *slab = &heap->own->slabs[class_idx].slabs[pos];
	struct heap_arena *a = slab_arena(heap, slab);
	uint64_t u_own = evr_a64_load_acquire(&a->own[slab->head]);
	uint64_t freed;

	if (heap_own_kind(u_own) != OWN_SLAB || heap_own_stamp(u_own) != heap->own->map.me ||
	    heap_own_arg(u_own) != class_idx) {
		/* Somebody has scribbled over it: never use it again. */
		evr_heap_count_corrupt(&heap->own->map);
		slab_list_remove(heap, class_idx, pos);
		return 0;
	}
	freed = evr_heap_slab_release(&heap->own->map, a, slab->head, u_own);
	if (freed)
		slab_list_remove(heap, class_idx, pos);
	return freed;
}

/* Is it ours, and of this class? What the shared words say of it may be nonsense. */
static bool slab_is_listed(struct evr_heap *heap, uint32_t class_idx, const struct heap_block *b)
{
	const struct heap_slabs *list = &heap->own->slabs[class_idx];
	uint32_t pos = b->arena->pos ? b->arena->pos[b->head] : 0;

	return pos && pos <= list->nr && list->slabs[pos - 1].head == b->head &&
	       slab_arena(heap, &list->slabs[pos - 1]) == b->arena;
}

/* Give back what became empty among the slabs of these blocks; the last one stays. */
static void spill_release(struct evr_heap *heap, uint32_t class_idx, uint32_t nr)
{
	struct heap_slabs *list = &heap->own->slabs[class_idx];
	struct evr_heap_store *store = &heap->stores[class_idx];
	struct heap_block b, before = { 0 };
	uint32_t i;

	for (i = 0; i < nr && list->nr > 1; i++) {
		/* A block may lie in any granule of its slab; only the head is in the list. */
		if (evr_heap_locate(&heap->own->map, heap_handle_off(store->entries[i].handle),
				    true, &b) ||
		    (b.arena == before.arena && b.head == before.head) ||
		    !slab_is_listed(heap, class_idx, &b))
			continue;
		before = b;
		slab_try_release(heap, class_idx, b.arena->pos[b.head] - 1);
	}
}

void evr_heap_store_spill(struct evr_heap *heap, uint32_t class_idx, uint32_t keep)
{
	struct evr_heap_store *store = &heap->stores[class_idx];
	uint32_t i, nr = store->nr > keep ? store->nr - keep : 0;
	struct heap_block b;

	for (i = 0; i < nr; i++) {
		evr_a64_store_release(store->entries[i].ctl, /* HEAP-BLOCK */
				      (store->entries[i].handle - EVR_CTL_GEN_ONE) &
					      EVR_CTL_GEN_MASK);
		if (!evr_heap_locate(&heap->own->map, heap_handle_off(store->entries[i].handle),
				     true, &b))
			evr_heap_mark_dirty(b.arena, b.head);
	}
	if (!nr)
		return;
	spill_release(heap, class_idx, nr);
	store->nr -= nr;
	memmove(store->entries, store->entries + nr, store->nr * sizeof(*store->entries));
}

bool evr_heap_spill(struct evr_heap *heap, uint32_t class_idx)
{
	if (store_prepare(heap, class_idx))
		return false;
	if (heap->stores[class_idx].nr >= heap->stores[class_idx].max) {
		heap_count(&heap_own_counts(heap->own)->spills, 1);
		evr_heap_store_spill(heap, class_idx, heap->stores[class_idx].max / 2);
	}
	return true;
}

void evr_heap_store_put(struct evr_heap *heap, const struct heap_block *b, uint64_t u_ctl)
{
	struct evr_heap_store *store = &heap->stores[b->class_idx];

	if (!evr_heap_spill(heap, b->class_idx)) {
		evr_a64_store_release(b->ctl, u_ctl & EVR_CTL_GEN_MASK); /* HEAP-BLOCK */
		evr_heap_mark_dirty(b->arena, b->head);
		return;
	}
	evr_a64_store_release(b->ctl,
			      heap_ctl(u_ctl, heap->own->map.me, 0, TAG_CACHED)); /* HEAP-BLOCK */
	store->entries[store->nr].ctl = b->ctl;
	store->entries[store->nr++].handle = heap_block_handle(b, u_ctl) + EVR_CTL_GEN_ONE;
}

/* Slabs that nobody has adopted, and that have become empty. */
static uint64_t orphans_release(struct heap_map *map)
{
	uint32_t i, granule;
	struct heap_arena *a;
	uint64_t u_own, freed = 0;

	for (i = 0; i < map->arenas_nr; i++) {
		a = &map->arenas[i];
		for (granule = 0; granule < a->granules; granule++) {
			u_own = evr_a64_load_acquire(&a->own[granule]); /* HEAP-SLAB */
			if (heap_own_kind(u_own) == OWN_ORPHAN)
				freed += evr_heap_slab_release(map, a, granule, u_own);
		}
	}
	return freed;
}

uint64_t evr_heap_slabs_trim(struct evr_heap *heap)
{
	struct heap_slabs *list;
	uint64_t freed = 0;
	uint32_t i, pos;

	for (i = 0; i < heap->own->map.classes_nr; i++) {
		list = &heap->own->slabs[i];
		evr_heap_store_spill(heap, i, 0);
		for (pos = list->nr; pos--;)
			freed += slab_try_release(heap, i, pos);
	}
	return freed + orphans_release(&heap->own->map);
}

uint64_t evr_heap_trim(struct evr_heap *heap)
{
	uint64_t freed;

	if (evr_heap_check_writable(heap))
		return 0;
	freed = evr_heap_slabs_trim(heap);
	evr_heap_idle_flush(&heap->own->map);
	return freed;
}

void evr_heap_slabs_leave(struct evr_heap *heap)
{
	struct heap_map *map = &heap->own->map;
	struct heap_slabs *list;
	struct heap_slab *slab;
	uint64_t u_own;
	uint32_t i, nr = 0;

	for (i = 0; i < map->classes_nr; i++) {
		list = &heap->own->slabs[i];
		for (; list->nr; nr++) {
			slab = &list->slabs[list->nr - 1];
			u_own = evr_a64_load_acquire(&slab_arena(heap, slab)->own[slab->head]);
			if (heap_own_kind(u_own) == OWN_SLAB && heap_own_stamp(u_own) == map->me)
				evr_a64_cas(&slab_arena(heap, slab)->own[slab->head], &u_own,
					    heap_own_word(u_own, 0, i, OWN_ORPHAN)); /* HEAP-SLAB */
			slab_list_remove(heap, i, list->nr - 1);
		}
	}
	if (nr)
		evr_a64_fetch_add(&map->header->orphaned, nr); /* HEAP-ORPHAN */
}
