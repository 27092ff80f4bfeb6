/* SPDX-License-Identifier: MIT */
/*
 * A heap after a death, and looking at all of it. heap.c has the protocol.
 *
 * Only chunks are visited whose touched words say that they may name a dead peer;
 * afterwards these words are emptied, by CAS from what was found.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "dir_table.h"
#include "heap_own.h"
#include "internal.h"
#include "object.h"

struct reaping {
	struct evr_reap_report *report;
	uint16_t live; /* a stamp that was found to name a living peer */
	uint32_t orphans;
};

static bool is_dead(struct heap_map *map, struct reaping *r, uint16_t stamp)
{
	if (stamp == r->live)
		return false;
	if (evr_heap_stamp_is_dead(map->peer, stamp))
		return true;
	r->live = stamp;
	return false;
}

/*
 * A sender that died before its look may have named a predecessor with the same stamp: see
 * "slots" in heap.c.
 */
static bool owner_has_ended(struct heap_map *map, struct reaping *r, const struct heap_block *b,
			    uint64_t u_ctl)
{
	uint16_t owner = heap_ctl_owner(u_ctl);

	return is_dead(map, r, owner) || (heap_ctl_tag(u_ctl) == TAG_INFLIGHT &&
					  !evr_heap_names_living(map, b, owner & 0xff));
}

/* A control word. What it says was loaded before its owner's state is looked at. */
static int reap_block(struct heap_map *map, struct heap_block *b, void *arg)
{
	struct reaping *r = arg;
	bool freed = false;
	uint64_t u_ctl;

	if (!heap_ctl_load(b, &u_ctl))
		return HEAP_CHANGED;
	switch (heap_ctl_tag(u_ctl)) {
	case TAG_FREE:
		/* Of a run only the granules are left to free. */
		if (heap_block_is_run(map, b))
			evr_heap_release(map, b->arena, b->head, b->u_own);
		return 0;
	case TAG_SHARED:
		freed = evr_heap_share_settle(map, b, u_ctl);
		break;
	case TAG_LIVE:
	case TAG_INFLIGHT: /* of the receiver; the sender's is settled by the receiver */
	case TAG_RELEASING:
		freed = owner_has_ended(map, r, b, u_ctl) && evr_heap_end(map, b, u_ctl);
		break;
	case TAG_CACHED:
		if (is_dead(map, r, heap_ctl_owner(u_ctl)))
			evr_heap_end(map, b, u_ctl);
		return 0;
	default:
		evr_heap_count_corrupt(map);
	}
	r->report->blocks += freed;
	r->report->block_bytes += freed ? b->sz : 0;
	return 0;
}

/* Return: HEAP_CHANGED, others are at work here too. */
static int reap_granule(struct heap_map *map, struct heap_arena *a, uint32_t granule,
			struct reaping *r)
{
	uint64_t u_own = evr_a64_load_acquire(&a->own[granule]); /* HEAP-SLAB */
	uint64_t kind = heap_own_kind(u_own);

	if (kind == OWN_FREE || kind == OWN_CONT)
		return 0;
	if (kind == OWN_CLAIM && is_dead(map, r, heap_own_stamp(u_own)))
		evr_heap_release(map, a, granule, u_own);
	if (kind == OWN_SLAB && is_dead(map, r, heap_own_stamp(u_own)))
		r->orphans += evr_a64_cas(&a->own[granule], &u_own, /* HEAP-SLAB */
					  heap_own_word(u_own, 0, heap_own_arg(u_own), OWN_ORPHAN));
	if (evr_heap_blocks(map, a, granule, reap_block, r))
		return HEAP_CHANGED;
	u_own = evr_a64_load_acquire(&a->own[granule]);
	if (heap_own_kind(u_own) == OWN_ORPHAN)
		evr_heap_slab_release(map, a, granule, u_own);
	return 0;
}

static void reap_chunk(struct heap_map *map, struct heap_arena *a, uint32_t chunk,
		       struct reaping *r)
{
	uint32_t granule = chunk * CHUNK, tries;
	uint32_t end = granule + CHUNK < a->granules ? granule + CHUNK : a->granules;

	for (; granule < end; granule++)
		for (tries = 0; reap_granule(map, a, granule, r); tries++)
			if (tries == HEAP_TRIES_MAX) {
				evr_heap_count_corrupt(map);
				break;
			}
}

/* What a touched word says, if that is of a dead peer; else 0. */
static uint64_t touched_by_dead(struct heap_map *map, struct heap_arena *a, uint32_t slot,
				uint32_t idx)
{
	uint64_t u_word =
		evr_a64_load_acquire(&a->touched[slot * a->touch_words + idx]); /* HEAP-TOUCH */

	if (!u_word || !evr_dir_stamp_is_dead(map->peer, u_word >> TOUCH_BITS << 8 | slot))
		return 0;
	return u_word;
}

/* The chunks of one column of touched words. */
static void reap_column(struct heap_map *map, struct heap_arena *a, uint32_t idx, struct reaping *r)
{
	uint64_t found[EVR_PEERS_MAX], chunks = 0;
	uint32_t slot, chunk;

	for (slot = 0; slot < map->slots; slot++) {
		found[slot] = touched_by_dead(map, a, slot, idx);
		chunks |= found[slot] & ((1ULL << TOUCH_BITS) - 1);
	}
	for (; chunks; chunks &= chunks - 1) {
		chunk = idx * TOUCH_BITS + (uint32_t)__builtin_ctzll(chunks);
		if (chunk < a->chunks)
			reap_chunk(map, a, chunk, r);
	}
	for (slot = 0; slot < map->slots; slot++)
		if (found[slot])
			evr_a64_cas(&a->touched[slot * a->touch_words + idx], &found[slot], 0);
}

void evr_heap_reap(struct evr_peer *peer, const struct evr_object *obj,
		   struct evr_reap_report *report)
{
	struct reaping r = { .report = report };
	struct heap_map map;
	uint32_t i, idx;

	if (evr_heap_map(&map, peer, obj) || !map.writable)
		return;
	evr_heap_adopt(&map);
	r.live = map.me;
	for (i = 0; i < map.arenas_nr; i++)
		for (idx = 0; idx < map.arenas[i].touch_words; idx++)
			reap_column(&map, &map.arenas[i], idx, &r);
	if (r.orphans)
		evr_a64_fetch_add(&map.header->orphaned, r.orphans); /* HEAP-ORPHAN */
}

void evr_heap_touched(struct heap_map *map, struct evr_peer_id id,
		      int (*each)(struct heap_map *map, struct heap_block *b, void *arg), void *arg)
{
	uint32_t i, chunk, granule, tries;
	struct heap_arena *a;
	uint64_t u_word;

	evr_heap_map_refresh(map);
	for (i = 0; i < map->arenas_nr; i++) {
		a = &map->arenas[i];
		for (granule = 0; granule < a->granules; granule++) {
			chunk = granule / CHUNK;
			u_word = evr_a64_load_acquire(/* HEAP-TOUCH */
						      &a->touched[id.slot * a->touch_words +
								  chunk / TOUCH_BITS]);
			if (u_word >> TOUCH_BITS != (id.incarnation & 0xffff) ||
			    !(u_word >> chunk % TOUCH_BITS & 1)) {
				granule |= CHUNK - 1;
				continue;
			}
			for (tries = 0; tries < HEAP_TRIES_MAX; tries++)
				if (evr_heap_blocks(map, a, granule, each, arg) != HEAP_CHANGED)
					break;
		}
	}
}

/* What a control word says. False: the block is free. */
static bool info_read(struct heap_map *map, const struct heap_block *b, uint64_t u_ctl,
		      struct evr_block_info *info)
{
	static const uint32_t states[] = { EVR_BLOCK_FREE,   EVR_BLOCK_LIVE,   EVR_BLOCK_INFLIGHT,
					   EVR_BLOCK_CACHED, EVR_BLOCK_SHARED, EVR_BLOCK_RELEASING };
	uint64_t tag = heap_ctl_tag(u_ctl);

	if (tag == TAG_FREE || tag > TAG_RELEASING)
		return false;
	info->handle = heap_block_handle(b, u_ctl);
	info->off = b->off;
	info->sz = heap_usable_sz(map, b, u_ctl);
	info->state = tag == TAG_LIVE ? heap_ctl_state(u_ctl) : states[tag];
	info->owner = tag == TAG_SHARED ? EVR_SLOT_ANY : heap_ctl_owner(u_ctl) & 0xff;
	info->source = tag == TAG_SHARED || tag == TAG_INFLIGHT ? heap_ctl_state(u_ctl) & 0xff :
								  EVR_SLOT_ANY;
	return true;
}

int evr_heap_info(struct evr_heap *heap, uint64_t handle, struct evr_block_info *info)
{
	struct heap_block b;
	uint64_t u_ctl;
	int err;

	memset(info, 0, sizeof(*info));
	info->owner = info->source = EVR_SLOT_ANY;
	err = evr_heap_find(heap, handle, &b, &u_ctl);
	if (!err)
		info_read(&heap->own->map, &b, u_ctl, info);
	return err;
}

struct heap_walk {
	int (*each)(const struct evr_block_info *info, void *arg);
	void *arg;
};

static int walk_block(struct heap_map *map, struct heap_block *b, void *arg)
{
	struct evr_block_info info;
	struct heap_walk *w = arg;
	uint64_t u_ctl;

	if (!heap_ctl_load(b, &u_ctl) || heap_ctl_tag(u_ctl) == TAG_CACHED ||
	    !info_read(map, b, u_ctl, &info))
		return 0;
	return w->each(&info, w->arg);
}

static int blocks_all(struct heap_map *map,
		      int (*each)(struct heap_map *map, struct heap_block *b, void *arg), void *arg)
{
	uint32_t i, granule;
	int ret = 0;

	evr_heap_map_refresh(map);
	for (i = 0; i < map->arenas_nr; i++)
		for (granule = 0; granule < map->arenas[i].granules && !ret; granule++)
			ret = evr_heap_blocks(map, &map->arenas[i], granule, each, arg);
	return ret;
}

int evr_heap_walk(struct evr_heap *heap, int (*each)(const struct evr_block_info *info, void *arg),
		  void *arg)
{
	struct heap_walk walk = { .each = each, .arg = arg };

	if (!heap->own)
		return evr_fail(-EINVAL, "heap: the handle is closed");
	return blocks_all(&heap->own->map, walk_block, &walk);
}

static int usage_block(struct heap_map *map, struct heap_block *b, void *arg)
{
	struct evr_heap_usage *u = arg;
	struct evr_block_info info;
	uint64_t u_ctl;

	if (!heap_ctl_load(b, &u_ctl) || !info_read(map, b, u_ctl, &info))
		return 0;
	if (info.state == EVR_BLOCK_CACHED) {
		u->cached++;
		return 0;
	}
	u->blocks++;
	u->bytes += b->sz;
	u->inflight += info.state == EVR_BLOCK_INFLIGHT;
	u->shared += info.state == EVR_BLOCK_SHARED;
	if (!heap_block_is_run(map, b))
		u->class_[b->class_idx].blocks++;
	if (info.owner < EVR_PEERS_MAX) {
		u->peer[info.owner].blocks++;
		u->peer[info.owner].bytes += b->sz;
	}
	return 0;
}

static void usage_granules(struct heap_map *map, const struct heap_arena *a,
			   struct evr_heap_usage *u)
{
	uint32_t granule, class_idx;
	uint64_t u_own, kind;

	u->bytes_max += a->data_sz;
	for (granule = 0; granule < a->granules; granule++) {
		/* Relaxed: counted, and nothing else. */
		u_own = evr_a64_load_relaxed(&a->own[granule]);
		kind = heap_own_kind(u_own);
		class_idx = heap_own_arg(u_own);
		u->bytes_free += kind == OWN_FREE ? u->granule_sz : 0;
		u->runs += kind == OWN_RUN;
		u->orphans += kind == OWN_ORPHAN;
		if ((kind != OWN_SLAB && kind != OWN_ORPHAN) || class_idx >= map->classes_nr)
			continue;
		u->slabs++;
		u->class_[class_idx].slabs++;
		u->class_[class_idx].blocks_max += map->classes[class_idx].blocks;
	}
}

void evr_heap_usage(struct evr_heap *heap, struct evr_heap_usage *out)
{
	struct heap_map *map;
	uint32_t i;

	memset(out, 0, sizeof(*out));
	if (!heap->own)
		return;
	map = &heap->own->map;
	blocks_all(map, usage_block, out);
	out->granule_sz = heap_granule_sz(map);
	out->arenas = map->arenas_nr;
	out->classes = map->classes_nr;
	out->corrupt = evr_a64_load_relaxed(&map->header->corrupt);
	out->run_max = evr_heap_run_max(map);
	for (i = 0; i < map->classes_nr; i++)
		out->class_[i].sz = map->classes[i].sz;
	for (i = 0; i < map->arenas_nr; i++)
		usage_granules(map, &map->arenas[i], out);
}

int evr_heap_counts(struct evr_heap *heap, uint32_t slot, struct evr_heap_counts *out)
{
	const struct heap_counts *c;

	memset(out, 0, sizeof(*out));
	if (!heap->own || slot >= heap->own->map.slots)
		return evr_fail(-EINVAL, "heap: no slot %u", slot);
	c = &heap->own->map.counts[slot];
	/* Relaxed: each for itself. */
	out->refills = evr_a64_load_relaxed(&c->refills);
	out->spills = evr_a64_load_relaxed(&c->spills);
	out->slabs = evr_a64_load_relaxed(&c->slabs);
	out->adopted = evr_a64_load_relaxed(&c->adopted);
	out->runs = evr_a64_load_relaxed(&c->runs);
	out->remote_frees = evr_a64_load_relaxed(&c->remote_frees);
	out->failures = evr_a64_load_relaxed(&c->failures);
	return 0;
}

/* A handle that can only look, in memory of its own: to be freed. */
static struct evr_heap_own *heap_view(struct evr_peer *peer, const struct evr_object *obj, int *err)
{
	struct evr_heap_own *own = calloc(1, sizeof(*own));

	*err = own ? evr_heap_map(&own->map, peer, obj) : -ENOMEM;
	if (!*err)
		return own;
	free(own);
	return NULL;
}

int evr_heap_object_stat(struct evr_peer *peer, const struct evr_object *obj,
			 struct evr_object_stat *out)
{
	struct evr_heap_usage *usage = malloc(sizeof(*usage));
	struct evr_heap heap = { 0 };
	int err = -ENOMEM;

	if (usage)
		heap.own = heap_view(peer, obj, &err);
	if (heap.own) {
		evr_heap_usage(&heap, usage);
		out->blocks = usage->blocks;
		out->bytes = usage->bytes;
		out->bytes_max = usage->bytes_max;
	}
	free(heap.own);
	free(usage);
	return err;
}

static int held_block(struct heap_map *map, struct heap_block *b, void *arg)
{
	struct evr_holding h = { .what = EVR_HOLD_BLOCK, .incarnation_bits = 8 };
	struct evr_block_info info;
	uint64_t u_ctl;

	if (!heap_ctl_load(b, &u_ctl) || heap_ctl_tag(u_ctl) == TAG_CACHED ||
	    !info_read(map, b, u_ctl, &info))
		return 0;
	/* Of a shared one the word names who shared it. */
	h.slot = info.owner == EVR_SLOT_ANY ? info.source : info.owner;
	h.incarnation =
		(info.owner == EVR_SLOT_ANY ? heap_ctl_state(u_ctl) : heap_ctl_owner(u_ctl)) >> 8;
	h.id = info.handle;
	h.bytes = info.sz;
	h.state = info.state;
	h.source = info.owner == EVR_SLOT_ANY ? EVR_SLOT_ANY : info.source;
	return evr_held_tell(arg, &h);
}

int evr_heap_object_held(const struct evr_held_walk *walk, const struct evr_object *obj)
{
	struct evr_held_walk each = *walk;
	struct evr_heap_own *own;
	int ret;

	own = heap_view(walk->peer, obj, &ret);
	if (own)
		ret = blocks_all(&own->map, held_block, &each);
	free(own);
	return ret;
}
