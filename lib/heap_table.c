/* SPDX-License-Identifier: MIT */
/* A heap's geometry, and finding a block's words by it. heap.c has the protocol. */
#include "heap_table.h"

#include <errno.h>
#include <string.h>

#include "backend.h"
#include "dir_table.h"
#include "internal.h"

#define SMALL_SHIFT 12
#define LARGE_SHIFT 15
#define ALIGN_MAX 4096

uint32_t evr_heap_class_of(uint64_t sz)
{
	uint32_t msb;

	if (sz <= 128)
		return sz ? (uint32_t)(sz - 1) / 16 : 0;
	/* Eight classes for each doubling. */
	msb = 63U - (uint32_t)__builtin_clzll(sz - 1);
	return 8 + (msb - 7) * 8 + (uint32_t)((sz - 1) >> (msb - 3) & 7);
}

static uint32_t class_sz(uint32_t idx)
{
	if (idx < 8)
		return (idx + 1) * 16;
	return (9 + idx % 8) << (idx / 8 - 1) << 4;
}

/* A small slab has its control words in front, a large one in its granules' side words. */
static void class_plan(struct evr_heap_class *c, uint32_t sz, uint32_t granule_shift)
{
	uint32_t granule = 1U << granule_shift;
	uint32_t align = sz & -sz;

	if (align > ALIGN_MAX)
		align = ALIGN_MAX;
	*c = (struct evr_heap_class){ .sz = sz, .span = 1, .is_side = sz >= granule / SIDE_WORDS };
	c->recip = (uint32_t)((1ULL << 32) / sz + !!((1ULL << 32) % sz));
	c->words_shift = (uint16_t)(c->is_side ? SIDE_SHIFT : granule_shift);
	if (c->is_side) {
		if (sz > granule / SIDE_WORDS)
			c->span = sz > granule / 2 ? 8 : 4;
		c->blocks = c->span * granule / sz;
		return;
	}
	c->blocks = granule / (sz + 8) + 1;
	do {
		c->blocks--;
		c->first = EVR_ROUND_UP(c->blocks * 8, align);
	} while (c->first + c->blocks * sz > granule);
}

void evr_heap_classes(struct heap_map *map, uint32_t granule_shift)
{
	uint32_t i, nr = evr_heap_class_of(1ULL << granule_shift) + 1;

	for (i = 0; i < nr; i++)
		class_plan(&map->classes[i], class_sz(i), granule_shift);
	map->classes_nr = nr;
	map->granule_shift = granule_shift;
}

/* Bytes of an arena's words in front of its granules. */
static uint64_t arena_words_sz(const struct heap_map *map, struct heap_arena *a, uint64_t granules)
{
	a->granules = (uint32_t)granules;
	a->chunks = (uint32_t)EVR_ROUND_UP(granules, CHUNK) / CHUNK;
	a->touch_words = EVR_ROUND_UP(a->chunks, TOUCH_BITS) / TOUCH_BITS;
	return 8 * ((uint64_t)map->slots * a->touch_words + 2ULL * a->chunks +
		    granules * (1 + SIDE_WORDS));
}

/* a->off is set: so many granules, and where. False: no room for a single one. */
static bool arena_fit(const struct heap_map *map, struct heap_arena *a, uint64_t sz,
		      uint64_t front_sz)
{
	uint64_t granule = heap_granule_sz(map), granules, words;

	granules = sz / (granule + 8 * (1 + SIDE_WORDS));
	if (granules > OWN_ARG_MAX)
		granules = OWN_ARG_MAX;
	for (; granules; granules--) {
		words = arena_words_sz(map, a, granules);
		a->data_off = EVR_ROUND_UP(a->off + front_sz + words, granule);
		if (a->data_off + granules * granule <= a->off + sz)
			break;
	}
	a->data_sz = granules * granule;
	return granules;
}

uint64_t evr_heap_arena_holds(const struct heap_map *map, uint64_t sz)
{
	struct heap_arena a = { .off = 0 };

	return arena_fit(map, &a, sz, 0) ? a.data_sz : 0;
}

/* a->off is set; place everything. -EINVAL: no room for a single granule. */
int evr_heap_arena_plan(const struct heap_map *map, struct heap_arena *a, uint64_t sz,
			uint64_t front_sz)
{
	if (!arena_fit(map, a, sz, front_sz))
		return evr_fail(-EINVAL, "heap: %llu bytes have no room for a granule of %llu",
				(unsigned long long)sz, (unsigned long long)heap_granule_sz(map));
	a->touched = evr_peer_at(map->peer, a->off, sz);
	if (!a->touched)
		return evr_fail(-EBADMSG, "heap: its %llu bytes at %llu are not mapped",
				(unsigned long long)sz, (unsigned long long)a->off);
	a->data = (unsigned char *)a->touched + (a->data_off - a->off);
	a->touched += front_sz / 8;
	a->used = a->touched + (uint64_t)map->slots * a->touch_words;
	a->dirty = a->used + a->chunks;
	a->own = a->dirty + a->chunks;
	a->side = a->own + a->granules;
	return 0;
}

/* Nobody knows of this memory yet, and it may have served for anything. */
void evr_heap_arena_clear(const struct heap_map *map, struct heap_arena *a)
{
	struct heap_arena sizes;

	memset(a->touched, 0, arena_words_sz(map, &sizes, a->granules));
}

static int geometry_check(struct heap_map *map)
{
	const struct heap_geometry *g = &map->geometry;
	const char *name = map->object.name;

	if (g->layout != HEAP_LAYOUT)
		return evr_fail((g->layout ^ HEAP_LAYOUT) & HEAP_LAYOUT_NAME ? -EBADMSG : -EPROTO,
				"heap '%s': layout is %#llx, not %#llx", name,
				(unsigned long long)g->layout, (unsigned long long)HEAP_LAYOUT);
	if (g->granule_shift != SMALL_SHIFT && g->granule_shift != LARGE_SHIFT)
		return evr_fail(-EBADMSG, "heap '%s': granule_shift is %u", name, g->granule_shift);
	if (g->slots != map->peer->segment->layout.peers_max)
		return evr_fail(-EBADMSG, "heap '%s': slots is %u, the segment has %u", name,
				g->slots, map->peer->segment->layout.peers_max);
	if (g->sz > map->object.sz)
		return evr_fail(-EBADMSG, "heap '%s': sz is %llu, its object has %llu", name,
				(unsigned long long)g->sz, (unsigned long long)map->object.sz);
	return 0;
}

int evr_heap_map(struct heap_map *map, struct evr_peer *peer, const struct evr_object *obj)
{
	struct heap_arena *first = &map->arenas[0];
	uint64_t front;
	int err;

	memset(map, 0, sizeof(*map));
	map->peer = peer;
	map->object = *obj;
	if (obj->kind != EVR_KIND_HEAP)
		return evr_fail(-EINVAL, "object '%s' is of kind %u, not a heap", obj->name,
				obj->kind);
	map->slots = peer->segment->layout.peers_max;
	front = sizeof(*map->header) + map->slots * sizeof(*map->counts);
	map->header = obj->sz < front ? NULL : evr_peer_at(peer, obj->off, obj->sz);
	if (!map->header)
		return evr_fail(-EBADMSG, "heap '%s': its %llu bytes at %llu are none", obj->name,
				(unsigned long long)obj->sz, (unsigned long long)obj->off);
	evr_copy_out(&map->geometry, &map->header->geometry, sizeof(map->geometry));
	err = geometry_check(map);
	if (err)
		return err;
	map->counts = (struct heap_counts *)(map->header + 1);
	map->me = heap_stamp(evr_peer_self(peer));
	map->writable = evr_peer_is_writable(peer, obj->off, obj->sz);
	evr_heap_classes(map, map->geometry.granule_shift);
	first->off = obj->off;
	err = evr_heap_arena_plan(map, first, map->geometry.sz, front);
	if (err)
		return err == -EINVAL ? -EBADMSG : err;
	map->arenas_nr = 1;
	evr_heap_map_refresh(map);
	return 0;
}

/* Memory that was appended to the segment, and is no part of this heap yet? */
static bool arena_is_new(const struct heap_map *map, uint64_t off, uint64_t sz)
{
	const struct heap_arena *a;
	uint32_t i;

	if (!sz || off < map->peer->segment->layout.grown_off || off % EVR_LINE_SZ ||
	    !evr_peer_at(map->peer, off, sz))
		return false;
	for (i = 1; i < map->arenas_nr; i++) {
		a = &map->arenas[i];
		if (off < a->data_off + a->data_sz && a->off < off + sz)
			return false;
	}
	return true;
}

uint32_t evr_heap_map_refresh(struct heap_map *map)
{
	uint32_t before = map->arenas_nr;
	uint64_t u_word, off, sz;
	struct heap_arena *a;

	while (map->arenas_nr < EVR_HEAP_ARENAS_MAX) {
		u_word =
			evr_a64_load_acquire(&map->header->arenas[map->arenas_nr]); /* HEAP-ARENA */
		if (!u_word)
			break;
		off = (u_word >> HEAP_ARENA_SZ_BITS) * HEAP_ARENA_UNIT;
		sz = (u_word & ((1ULL << HEAP_ARENA_SZ_BITS) - 1)) * HEAP_ARENA_UNIT;
		a = &map->arenas[map->arenas_nr];
		*a = (struct heap_arena){ .off = off };
		if (!arena_is_new(map, off, sz) || evr_heap_arena_plan(map, a, sz, 0)) {
			evr_heap_count_corrupt(map);
			break;
		}
		map->arenas_nr++;
	}
	return map->arenas_nr - before;
}

struct heap_arena *evr_heap_arena_of(struct heap_map *map, uint64_t off)
{
	struct heap_arena *a;
	uint32_t i = 0;

	do {
		for (; i < map->arenas_nr; i++) {
			a = &map->arenas[i];
			if (off - a->data_off < a->data_sz)
				return a;
		}
	} while (evr_heap_map_refresh(map));
	return NULL;
}

/* The own word that says what this granule is part of, and of which granule it is. */
static inline uint64_t head_of(const struct heap_arena *a, uint32_t granule, uint32_t *head)
{
	uint64_t u_own = evr_a64_load_acquire(&a->own[granule]); /* HEAP-SLAB */

	*head = granule;
	if (heap_own_kind(u_own) != OWN_CONT || heap_own_arg(u_own) > granule)
		return u_own;
	*head = granule - heap_own_arg(u_own);
	return evr_a64_load_acquire(&a->own[*head]); /* HEAP-SLAB */
}

/* Fill in all but off and ctl. */
static inline int head_read(const struct heap_map *map, struct heap_block *b, uint32_t granule)
{
	uint32_t arg = heap_own_arg(b->u_own), span;
	uint64_t kind = heap_own_kind(b->u_own);

	if (__builtin_expect(kind == OWN_SLAB || kind == OWN_ORPHAN, 1)) {
		if (arg >= map->classes_nr)
			return -EBADMSG;
		b->class_idx = arg;
		b->sz = map->classes[arg].sz;
		span = map->classes[arg].span;
	} else if (kind == OWN_RUN) {
		b->class_idx = map->classes_nr;
		b->sz = (uint64_t)arg << map->granule_shift;
		span = arg;
	} else {
		return kind == OWN_FREE || kind == OWN_CLAIM ? -ESTALE : -EBADMSG;
	}
	if (!span || span > b->arena->granules - b->head)
		return -EBADMSG;
	return granule - b->head < span ? 0 : -ESTALE;
}

/* @idx: of the block in its slab; 0 of a run. */
static inline void block_at(const struct heap_map *map, struct heap_block *b, uint32_t idx)
{
	const struct evr_heap_class *c = &map->classes[b->class_idx];
	uint64_t start = (uint64_t)b->head << map->granule_shift;

	b->off = b->arena->data_off + start;
	b->ctl = b->arena->side + (uint64_t)b->head * SIDE_WORDS + idx;
	if (heap_block_is_run(map, b))
		return;
	b->off += c->first + (uint64_t)idx * c->sz;
	if (!c->is_side)
		b->ctl = (struct evr_a64 *)(b->arena->data + start) + idx;
}

/* The block of a slab that has the byte at @in. Return: its index; blocks: none has it. */
static inline uint32_t block_idx(const struct evr_heap_class *c, uint64_t in)
{
	uint64_t idx;

	in -= c->first;
	/* Below the first block it has wrapped around. */
	if (in >= (uint64_t)c->blocks * c->sz)
		return c->blocks;
	/* At a block's start exact; within one perhaps one too many, recip being rounded up. */
	idx = in * c->recip >> 32;
	return (uint32_t)(idx - (idx * c->sz > in));
}

int evr_heap_locate(struct heap_map *map, uint64_t off, bool exact, struct heap_block *b)
{
	const struct evr_heap_class *c;
	uint32_t granule, idx = 0;
	uint64_t in;
	int err;

	b->arena = &map->arenas[0];
	if (__builtin_expect(off - b->arena->data_off >= b->arena->data_sz, 0))
		b->arena = evr_heap_arena_of(map, off);
	if (!b->arena)
		return -ESTALE;
	in = off - b->arena->data_off;
	granule = (uint32_t)(in >> map->granule_shift);
	b->u_own = head_of(b->arena, granule, &b->head);
	err = head_read(map, b, granule);
	if (err)
		return err;
	if (!heap_block_is_run(map, b)) {
		c = &map->classes[b->class_idx];
		idx = block_idx(c, in - ((uint64_t)b->head << map->granule_shift));
		if (idx == c->blocks)
			return -ESTALE;
	}
	block_at(map, b, idx);
	return !exact || b->off == off ? 0 : -ESTALE;
}

int evr_heap_blocks(struct heap_map *map, struct heap_arena *arena, uint32_t granule,
		    int (*each)(struct heap_map *map, struct heap_block *b, void *arg), void *arg)
{
	struct heap_block b = { .arena = arena, .head = granule };
	uint32_t i, nr = 1;
	int ret;

	b.u_own = evr_a64_load_acquire(&arena->own[granule]); /* HEAP-SLAB */
	if (heap_own_kind(b.u_own) == OWN_CONT)
		return 0;
	ret = head_read(map, &b, granule);
	if (ret == -EBADMSG)
		evr_heap_count_corrupt(map);
	if (ret)
		return 0;
	if (!heap_block_is_run(map, &b))
		nr = map->classes[b.class_idx].blocks;
	for (i = 0; i < nr && !ret; i++) {
		block_at(map, &b, i);
		ret = each(map, &b, arg);
	}
	return ret;
}

/* Has the slot gone on to another peer? */
static bool is_past(struct evr_peer *peer, struct evr_peer_id id)
{
	uint64_t now;

	peer->ops->state(peer, id.slot, &now);
	return now > id.incarnation;
}

bool evr_heap_touch(struct heap_map *map, struct heap_arena *arena, uint32_t granule,
		    struct evr_peer_id id)
{
	uint32_t chunk = granule / CHUNK, tries;
	uint64_t bit = 1ULL << chunk % TOUCH_BITS;
	uint64_t tag = (id.incarnation & 0xffff) << TOUCH_BITS;
	uint64_t u_word, next;
	struct evr_a64 *word;

	if (id.slot >= map->slots)
		return false;
	word = &arena->touched[id.slot * arena->touch_words + chunk / TOUCH_BITS];
	u_word = evr_a64_load_acquire(word); /* HEAP-TOUCH */
	for (tries = 0; tries < HEAP_TRIES_MAX; tries++) {
		next = tag | bit;
		if (!((u_word ^ tag) >> TOUCH_BITS))
			next |= u_word;
		else if (is_past(map->peer, id))
			return false; /* the word may be the successor's */
		if (next == u_word || evr_a64_cas(word, &u_word, next)) /* HEAP-TOUCH */
			return true;
	}
	return false;
}

bool evr_heap_names_living(struct heap_map *map, const struct heap_block *b, uint32_t slot)
{
	uint32_t chunk = b->head / CHUNK, state;
	uint64_t incarnation, u_touched;

	if (slot >= map->slots)
		return false;
	state = map->peer->ops->state(map->peer, slot, &incarnation);
	if (state != EVR_PEER_LIVE && state != EVR_PEER_DYING)
		return false;
	u_touched = evr_a64_load_acquire(/* HEAP-TOUCH */
					 &b->arena->touched[slot * b->arena->touch_words +
							    chunk / TOUCH_BITS]);
	return (incarnation & 0xffff) == u_touched >> TOUCH_BITS &&
	       (u_touched >> chunk % TOUCH_BITS & 1);
}

bool evr_heap_stamp_is_dead(struct evr_peer *peer, uint16_t stamp)
{
	return evr_dir_short_stamp_is_dead(peer, stamp, 0xff);
}

bool evr_heap_stamp_has_returned(struct evr_peer *peer, struct evr_peer_id id)
{
	struct evr_peer_id now = { .slot = id.slot };

	if (id.slot >= peer->segment->layout.peers_max)
		return false;
	peer->ops->state(peer, now.slot, &now.incarnation);
	return now.incarnation != id.incarnation && heap_stamp(now) == heap_stamp(id);
}

void evr_heap_count_corrupt(struct heap_map *map)
{
	if (map->writable)
		evr_a64_fetch_add(&map->header->corrupt, 1);
}

void evr_heap_mark_dirty(struct heap_arena *arena, uint32_t head)
{
	struct evr_a64 *word = &arena->dirty[head / CHUNK];
	uint64_t bit = 1ULL << head % CHUNK;

	/* Relaxed: when it is set already, who clears it will look at the block. See HEAP-DIRTY. */
	if (!(evr_a64_load_relaxed(word) & bit))
		evr_a64_fetch_or(word, bit);
}
