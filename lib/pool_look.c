/* SPDX-License-Identifier: MIT */
/* Pools as they are seen from outside. */
#include <string.h>

#include "heap_own.h"
#include "object.h"
#include "pool.h"

void evr_pool_usage(struct evr_pool *pool, struct evr_pool_usage *out)
{
	struct pool_map *map;
	uint32_t i, idx;

	memset(out, 0, sizeof(*out));
	if (!pool->own)
		return;
	map = &pool->own->map;
	out->classes = map->classes_nr;
	/* Relaxed: counted, and nothing else. */
	out->waiting = (uint32_t)__builtin_popcountll(evr_a64_load_relaxed(&map->header->waiting));
	for (i = 0; i < map->classes_nr; i++) {
		out->class_[i].sz = map->classes[i].sz;
		out->class_[i].nr = map->classes[i].nr;
		out->class_[i].spilled = evr_a64_load_relaxed(&map->header->spilled[i]);
		out->class_[i].exhausted = evr_a64_load_relaxed(&map->header->exhausted[i]);
		for (idx = 0; idx < map->classes[i].nr; idx++)
			out->class_[i].used +=
				heap_ctl_tag(evr_a64_load_relaxed(&map->classes[i].ctl[idx])) !=
				TAG_FREE;
	}
}

int evr_pool_object_stat(struct evr_peer *peer, const struct evr_object *obj,
			 struct evr_object_stat *out)
{
	struct evr_pool_own own = { .seat = -1 };
	struct evr_pool pool = { .own = &own };
	struct evr_pool_usage usage;
	int err = evr_pool_map(&own.map, peer, obj);
	uint32_t i;

	if (err)
		return err;
	evr_pool_usage(&pool, &usage);
	for (i = 0; i < usage.classes; i++) {
		out->blocks += usage.class_[i].used;
		out->bytes += (uint64_t)usage.class_[i].used * usage.class_[i].sz;
		out->bytes_max += (uint64_t)usage.class_[i].nr * usage.class_[i].sz;
	}
	return 0;
}

/* What a control word says. False: the block is free. */
static bool block_read(const struct pool_class *c, uint32_t idx, struct evr_holding *h)
{
	uint64_t u_ctl = evr_a64_load_acquire(&c->ctl[idx]), tag = heap_ctl_tag(u_ctl);

	if (tag != TAG_LIVE && tag != TAG_INFLIGHT)
		return false;
	*h = (struct evr_holding){ .what = EVR_HOLD_BLOCK, .incarnation_bits = 8 };
	h->slot = heap_ctl_owner(u_ctl) & 0xff;
	h->incarnation = heap_ctl_owner(u_ctl) >> 8;
	h->id = (u_ctl & EVR_CTL_GEN_MASK) | (c->off + (uint64_t)idx * c->sz) / EVR_HEAP_UNIT;
	h->bytes = c->sz;
	h->state = tag == TAG_LIVE ? heap_ctl_state(u_ctl) : EVR_BLOCK_INFLIGHT;
	h->source = tag == TAG_LIVE ? EVR_SLOT_ANY : heap_ctl_state(u_ctl) & 0xff;
	return true;
}

int evr_pool_object_held(const struct evr_held_walk *walk, const struct evr_object *obj)
{
	struct evr_holding h;
	struct pool_map map;
	uint32_t i, idx;
	int ret = evr_pool_map(&map, walk->peer, obj);

	for (i = 0; !ret && i < map.classes_nr; i++)
		for (idx = 0; !ret && idx < map.classes[i].nr; idx++)
			if (block_read(&map.classes[i], idx, &h))
				ret = evr_held_tell(walk, &h);
	return ret;
}
