/* SPDX-License-Identifier: MIT */
/*
 * Pools; include/evering/pool.h has the model, heap.c the control words.
 *
 *   FREE -> LIVE(me)            by CAS, gen + 1
 *   LIVE(me), INFLIGHT(me) -> FREE      by CAS; then wake
 *   LIVE(me) -> INFLIGHT(q from me) -> LIVE(q)     as in a heap
 *   whatever names a dead owner -> FREE    anybody, by CAS; then wake
 *
 * Who wants to wait has a seat: a need word, claimed by a CAS that names the peer. It
 * sets its seat's bit in waiting, looks again with its need word set (PARK), and sleeps. Who
 * frees bars, looks at waiting, and wakes them all: nobody can die with a wake-up that
 * was meant for another. A bit is written by its seat's owner alone, so that of a dead one stays,
 * and costs a look, until its seat is taken again.
 *
 * limits     A sender that stands still between two accesses of a transfer while its receiver
 *            ends and 256 peers follow in that slot, and dies then, leaves the block to the last of
 *            these until it ends: the stamp is the same, and the word has no room for more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <evering/bell.h>
#include <evering/pool.h>

#include "backend.h"
#include "dir.h"
#include "heap_own.h"
#include "internal.h"
#include "pool.h"

#define POOL_LAYOUT 0x31304c4f4f505645ULL /* "EVPOOL01"; the last two are the version */
#define BLOCKS_MAX (1U << 20)

/*
 * Place the classes; without a header only to see how large it is. Return: bytes of the
 * object; 0: they are not possible.
 */
static uint64_t pool_plan(struct pool_map *map, const struct evr_pool_class *classes, uint64_t nr)
{
	uint64_t ctl = sizeof(struct pool_header), off, blocks = 0;
	uint32_t i;

	if (!nr || nr > EVR_POOL_CLASSES_MAX)
		return 0;
	for (i = 0; i < nr; i++) {
		if (!classes[i].nr || !classes[i].sz || classes[i].sz > 1U << 30 ||
		    (i && classes[i].sz <= classes[i - 1].sz))
			return 0;
		blocks += classes[i].nr;
	}
	if (blocks > BLOCKS_MAX)
		return 0;
	off = ctl + EVR_ROUND_UP(blocks * 8, EVR_LINE_SZ);
	map->classes_nr = (uint32_t)nr;
	for (i = 0; i < nr; i++) {
		map->classes[i].sz = EVR_ROUND_UP(classes[i].sz, EVR_HEAP_UNIT);
		map->classes[i].nr = classes[i].nr;
		map->classes[i].off = map->object.off + off;
		if (map->header)
			map->classes[i].ctl =
				(struct evr_a64 *)((unsigned char *)map->header + ctl);
		ctl += 8ULL * classes[i].nr;
		off += (uint64_t)map->classes[i].sz * classes[i].nr;
		off = EVR_ROUND_UP(off, EVR_LINE_SZ);
	}
	return off;
}

int evr_pool_create(struct evr_peer *peer, const char *name, const struct evr_pool_options *options)
{
	struct pool_map map = { .peer = peer };
	struct pool_geometry g = { .layout = POOL_LAYOUT };
	struct evr_pool_options o;
	uint64_t sz;
	int err;

	err = evr_options_read(&o, sizeof(o), options, "evr_pool_options");
	if (err)
		return err;
	while (g.classes_nr < EVR_POOL_CLASSES_MAX && o.classes[g.classes_nr].sz)
		g.classes_nr++;
	memcpy(g.classes, o.classes, sizeof(g.classes));
	sz = pool_plan(&map, g.classes, g.classes_nr);
	if (!sz)
		return evr_fail(-EINVAL,
				"pool '%s': wanted are 1 to %d classes of ascending sizes up to "
				"2^30, %u blocks in all, each at least one",
				name, EVR_POOL_CLASSES_MAX, BLOCKS_MAX);
	err = evr_dir_create(peer, name, EVR_KIND_POOL, sz, &map.object);
	if (err)
		return err;
	map.header = evr_peer_at(peer, map.object.off, map.object.sz);
	if (!map.header) {
		evr_dir_remove(peer, &map.object);
		return evr_fail(-EBADMSG, "pool '%s': its memory is not mapped", name);
	}
	/* Nobody finds it yet, and the memory may have served another object. */
	pool_plan(&map, g.classes, g.classes_nr);
	memset(map.header, 0, map.classes[0].off - map.object.off);
	evr_copy_in(&map.header->geometry, &g, sizeof(g));
	return evr_dir_publish(peer, &map.object);
}

/* The geometry came from memory that others write. */
int evr_pool_map(struct pool_map *map, struct evr_peer *peer, const struct evr_object *obj)
{
	struct pool_geometry g;
	uint64_t sz;

	memset(map, 0, sizeof(*map));
	map->peer = peer;
	map->object = *obj;
	if (obj->kind != EVR_KIND_POOL)
		return evr_fail(-EINVAL, "object '%s' is of kind %u, not a pool", obj->name,
				obj->kind);
	if (obj->sz >= sizeof(*map->header))
		map->header = evr_peer_at(peer, obj->off, obj->sz);
	if (!map->header)
		return evr_fail(-EBADMSG, "pool '%s': its %llu bytes at %llu are none", obj->name,
				(unsigned long long)obj->sz, (unsigned long long)obj->off);
	evr_copy_out(&g, &map->header->geometry, sizeof(g));
	if (g.layout != POOL_LAYOUT)
		return evr_fail((g.layout ^ POOL_LAYOUT) << 16 ? -EBADMSG : -EPROTO,
				"pool '%s': layout is %#llx, not %#llx", obj->name,
				(unsigned long long)g.layout, (unsigned long long)POOL_LAYOUT);
	sz = pool_plan(map, g.classes, g.classes_nr);
	if (!sz || sz > obj->sz)
		return evr_fail(-EBADMSG, "pool '%s': its classes need %llu bytes of %llu",
				obj->name, (unsigned long long)sz, (unsigned long long)obj->sz);
	map->me = heap_stamp(evr_peer_self(peer));
	map->writable = evr_peer_is_writable(peer, obj->off, obj->sz);
	return 0;
}

static uint64_t seat_word(struct evr_peer_id id)
{
	return id.incarnation << 8 | (id.slot & 0xff);
}

static struct evr_peer_id seat_owner(uint64_t word)
{
	return (struct evr_peer_id){ .slot = word & 0xff, .incarnation = word >> 8 };
}

static int seat_claim(struct evr_pool_own *own)
{
	struct pool_header *h = own->map.header;
	uint64_t u_owner;
	int i;

	for (i = 0; i < EVR_POOL_SEATS_MAX; i++) {
		u_owner = evr_a64_load_acquire(&h->seats[i].owner);
		if (u_owner || !evr_a64_cas(&h->seats[i].owner, &u_owner, seat_word(own->self)))
			continue;
		/* What the last one in it has left. */
		evr_a64_fetch_and(&h->waiting, ~(1ULL << i));
		return i;
	}
	return -1;
}

int evr_pool_open(struct evr_pool *pool, struct evr_peer *peer, const char *name)
{
	struct evr_object object;
	struct evr_pool_own *own;
	int err;

	pool->own = NULL;
	err = evr_dir_find(peer, name, &object);
	if (err)
		return err;
	own = calloc(1, sizeof(*own));
	if (!own)
		return evr_fail(-ENOMEM, "pool '%s': no private memory", name);
	own->self = evr_peer_self(peer);
	own->seat = -1;
	if (evr_peer_rights(peer) & EVR_RIGHT_WRITE)
		err = evr_dir_join(peer, &object);
	own->joined = !err && evr_peer_rights(peer) & EVR_RIGHT_WRITE;
	if (!err)
		err = evr_pool_map(&own->map, peer, &object);
	if (err) {
		if (own->joined)
			evr_dir_leave(peer, &object);
		free(own);
		return err;
	}
	own->registered = evr_park_register();
	if (own->map.writable)
		own->seat = seat_claim(own);
	pool->own = own;
	return 0;
}

void evr_pool_close(struct evr_pool *pool)
{
	struct evr_pool_own *own = pool->own;
	uint64_t owner;

	if (!own)
		return;
	if (own->seat >= 0) {
		owner = seat_word(own->self);
		evr_a64_cas(&own->map.header->seats[own->seat].owner, &owner, 0);
	}
	if (own->joined)
		evr_dir_leave(own->map.peer, &own->map.object);
	free(own);
	pool->own = NULL;
}

/* After a block became free: whoever waits may have it. */
static void pool_wake(struct pool_map *map)
{
	struct pool_header *h = map->header;
	uint64_t u_waiting, u_owner;
	int i, bell;

	evr_fence(); /* PARK */
	u_waiting = evr_a64_load_relaxed(&h->waiting);
	for (; u_waiting; u_waiting &= u_waiting - 1) {
		i = __builtin_ctzll(u_waiting);
		bell = evr_need_look(&h->seats[i].need, &map->last_epoch[i]);
		if (bell < 0)
			continue;
		/* After the need word: a new owner has taken the seat before it sleeps there. */
		u_owner = evr_a64_load_acquire(&h->seats[i].owner);
		/* -ESTALE: it died in its sleep. Nobody is there to be woken. */
		if (u_owner)
			evr_bell_ring(map->peer, seat_owner(u_owner), 1ULL << bell);
	}
}

static int pool_check(const struct evr_pool *pool)
{
	if (!pool->own)
		return evr_fail(-EINVAL, "pool: the handle is closed");
	if (pool->own->map.writable)
		return 0;
	return evr_fail(-EROFS, "pool '%s': this peer may only read it",
			pool->own->map.object.name);
}

/* Take a block of this class. */
static bool class_take(struct pool_map *map, struct pool_class *c, struct evr_block *block)
{
	uint64_t u_ctl, next;
	uint32_t i, idx;

	for (i = 0; i < c->nr; i++) {
		idx = c->next + i < c->nr ? c->next + i : c->next + i - c->nr;
		u_ctl = evr_a64_load_acquire(&c->ctl[idx]); /* HEAP-BLOCK */
		next = heap_ctl(u_ctl + EVR_CTL_GEN_ONE, map->me, EVR_BLOCK_LIVE, TAG_LIVE);
		if (heap_ctl_tag(u_ctl) != TAG_FREE ||
		    !evr_a64_cas(&c->ctl[idx], &u_ctl, next)) /* HEAP-BLOCK */
			continue;
		c->next = idx + 1 < c->nr ? idx + 1 : 0;
		block->handle = (next & EVR_CTL_GEN_MASK) |
				(c->off + (uint64_t)idx * c->sz) / EVR_HEAP_UNIT;
		block->ptr = map->peer->base + c->off + (uint64_t)idx * c->sz;
		return true;
	}
	return false;
}

/* The first class of blocks large enough; classes_nr: none is. */
static uint32_t class_for(const struct pool_map *map, uint64_t sz)
{
	uint32_t i = 0;

	while (i < map->classes_nr && map->classes[i].sz < sz)
		i++;
	return i;
}

/* @counts: this is a new attempt, and no further look of one that waits. */
static bool pool_take(struct pool_map *map, uint64_t sz, struct evr_block *block, bool counts)
{
	uint32_t i, first = class_for(map, sz);

	for (i = first; i < map->classes_nr; i++) {
		if (!class_take(map, &map->classes[i], block)) {
			if (counts)
				evr_a64_fetch_add(&map->header->exhausted[i], 1);
			continue;
		}
		if (i > first)
			evr_a64_fetch_add(&map->header->spilled[i], 1);
		return true;
	}
	return false;
}

int evr_pool_alloc(struct evr_pool *pool, uint64_t sz, struct evr_block *block)
{
	struct pool_map *map;
	int err;

	*block = (struct evr_block){ NULL, EVR_HANDLE_NONE };
	err = pool_check(pool);
	if (err)
		return err;
	map = &pool->own->map;
	if (class_for(map, sz) == map->classes_nr)
		return evr_fail(-EMSGSIZE, "pool '%s': %llu bytes, its largest blocks have %u",
				map->object.name, (unsigned long long)sz,
				map->classes[map->classes_nr - 1].sz);
	return pool_take(map, sz, block, true) ? 0 : -ENOBUFS;
}

int evr_pool_alloc_many(struct evr_pool *pool, uint64_t sz, uint32_t nr, struct evr_block *blocks)
{
	uint32_t i;
	int err = 0;

	for (i = 0; i < nr && i < INT32_MAX; i++) {
		err = evr_pool_alloc(pool, sz, &blocks[i]);
		if (err)
			break;
	}
	return i ? (int)i : err;
}

struct pool_wait {
	struct evr_pool *pool;
	struct evr_block *block;
	uint64_t sz;
};

static bool pool_is_ready(void *arg)
{
	struct pool_wait *wait = arg;

	return pool_take(&wait->pool->own->map, wait->sz, wait->block, false);
}

int evr_pool_alloc_wait(struct evr_pool *pool, struct evr_waiter *waiter, uint64_t sz,
			struct evr_block *block, uint64_t deadline_ns)
{
	struct pool_wait wait = { .pool = pool, .block = block, .sz = sz };
	struct pool_header *h;
	struct evr_need *need;
	int err;

	err = evr_pool_alloc(pool, sz, block);
	if (err != -ENOBUFS)
		return err;
	h = pool->own->map.header;
	if (pool->own->seat < 0)
		return evr_fail(-EBUSY, "pool '%s': %d handles that can wait are open",
				pool->own->map.object.name, EVR_POOL_SEATS_MAX);
	need = &h->seats[pool->own->seat].need;
	evr_a64_fetch_or(&h->waiting, 1ULL << pool->own->seat);
	err = evr_waiter_wait(waiter, &need, 1, pool_is_ready, &wait, deadline_ns);
	evr_a64_fetch_and(&h->waiting, ~(1ULL << pool->own->seat));
	return err;
}

/* The control word of a handle's block, whatever it says. NULL: no block starts there. */
static struct evr_a64 *pool_locate(struct pool_map *map, uint64_t handle, struct pool_class **in)
{
	uint64_t off = heap_handle_off(handle);
	struct pool_class *c;
	uint32_t i;

	for (i = 0; i < map->classes_nr; i++) {
		c = &map->classes[i];
		if (off - c->off >= (uint64_t)c->sz * c->nr)
			continue;
		*in = c;
		return (off - c->off) % c->sz ? NULL : &c->ctl[(off - c->off) / c->sz];
	}
	return NULL;
}

/* 0; -ESTALE */
static int pool_find(struct evr_pool *pool, uint64_t handle, struct evr_a64 **ctl, uint64_t *u_ctl)
{
	struct pool_class *c;
	int err;

	err = pool_check(pool);
	if (err)
		return err;
	*ctl = pool_locate(&pool->own->map, handle, &c);
	if (!*ctl)
		return -ESTALE;
	*u_ctl = evr_a64_load_acquire(*ctl); /* HEAP-BLOCK */
	return heap_ctl_same_life(*u_ctl, handle) ? 0 : -ESTALE;
}

/* 0; -ESTALE. Nobody is woken yet. */
static int free_one(struct evr_pool *pool, uint64_t handle)
{
	struct evr_a64 *ctl;
	uint64_t u_ctl, tag;
	int err;

	err = pool_find(pool, handle, &ctl, &u_ctl);
	if (err)
		return err;
	tag = heap_ctl_tag(u_ctl);
	if ((tag != TAG_LIVE && tag != TAG_INFLIGHT) ||
	    heap_ctl_owner(u_ctl) != pool->own->map.me ||
	    !evr_a64_cas(ctl, &u_ctl, u_ctl & EVR_CTL_GEN_MASK)) /* HEAP-BLOCK */
		return -ESTALE;
	return 0;
}

int evr_pool_free(struct evr_pool *pool, uint64_t handle)
{
	int err = free_one(pool, handle);

	if (!err)
		pool_wake(&pool->own->map);
	return err;
}

uint32_t evr_pool_free_many(struct evr_pool *pool, const uint64_t *handles, uint32_t nr)
{
	uint32_t i, freed = 0;

	for (i = 0; i < nr; i++)
		freed += !free_one(pool, handles[i]);
	if (freed)
		pool_wake(&pool->own->map);
	return freed;
}

void *evr_pool_resolve(struct evr_pool *pool, uint64_t handle, uint64_t *sz)
{
	struct evr_a64 *ctl = NULL;
	struct pool_class *c;
	uint64_t u_ctl = 0;

	if (sz)
		*sz = 0;
	if (pool->own)
		ctl = pool_locate(&pool->own->map, handle, &c);
	if (ctl)
		u_ctl = evr_a64_load_acquire(ctl); /* HEAP-BLOCK */
	if (!ctl || !heap_ctl_same_life(u_ctl, handle) ||
	    (heap_ctl_tag(u_ctl) != TAG_LIVE && heap_ctl_tag(u_ctl) != TAG_INFLIGHT))
		return NULL;
	if (sz)
		*sz = c->sz;
	return pool->own->map.peer->base + heap_handle_off(handle);
}

static bool peer_is_gone(struct evr_peer *peer, struct evr_peer_id id)
{
	uint32_t state = evr_peer_state(peer, id);

	return state == EVR_PEER_DEAD || state == EVR_PEER_RETIRED;
}

int evr_pool_recall(struct evr_pool *pool, uint64_t handle, struct evr_peer_id to)
{
	struct evr_a64 *ctl;
	uint64_t u_ctl;
	int err;

	err = pool_find(pool, handle, &ctl, &u_ctl);
	if (err)
		return err;
	if (u_ctl != heap_ctl(u_ctl, heap_stamp(to), pool->own->map.me, TAG_INFLIGHT) ||
	    !evr_a64_cas(ctl, &u_ctl, /* HEAP-BLOCK */
			 heap_ctl(u_ctl, pool->own->map.me, EVR_BLOCK_LIVE, TAG_LIVE)))
		return -ESTALE;
	return 0;
}

/* Name the receiver in the block's word. Whether it lives is to be seen afterwards. */
static int transfer_one(struct evr_pool *pool, uint64_t handle, struct evr_peer_id to)
{
	struct evr_a64 *ctl;
	uint64_t u_ctl;
	int err;

	err = pool_find(pool, handle, &ctl, &u_ctl);
	if (err)
		return err;
	if (heap_ctl_tag(u_ctl) != TAG_LIVE || heap_ctl_owner(u_ctl) != pool->own->map.me)
		return -ESTALE;
	if (to.slot >= EVR_PEERS_MAX)
		return -EOWNERDEAD;
	/* Only the owner writes a word that says LIVE. */
	evr_a64_store_release(ctl,
			      heap_ctl(u_ctl, heap_stamp(to), pool->own->map.me, /* HEAP-BLOCK */
				       TAG_INFLIGHT));
	return 0;
}

/* REAP: does the receiver live, now that the words that name it are written? */
static bool receiver_is_live(const struct evr_pool *pool, struct evr_peer_id to)
{
	if (pool->own->registered)
		evr_compiler_fence(); /* REAP */
	else
		evr_fence();
	return !peer_is_gone(pool->own->map.peer, to);
}

int evr_pool_transfer(struct evr_pool *pool, uint64_t handle, struct evr_peer_id to)
{
	int err;

	err = transfer_one(pool, handle, to);
	if (err || receiver_is_live(pool, to))
		return err;
	err = evr_pool_recall(pool, handle, to);
	return err ? err : -EOWNERDEAD;
}

int evr_pool_transfer_many(struct evr_pool *pool, const uint64_t *handles, uint32_t nr,
			   struct evr_peer_id to)
{
	uint32_t i;
	int err = pool_check(pool);

	for (i = 0; i < nr && !err; i += !err)
		err = transfer_one(pool, handles[i], to);
	if (!i)
		return err;
	if (err != -EOWNERDEAD && receiver_is_live(pool, to))
		return (int)i;
	while (i--)
		evr_pool_recall(pool, handles[i], to);
	return -EOWNERDEAD;
}

int evr_pool_accept(struct evr_pool *pool, uint64_t handle)
{
	struct evr_a64 *ctl;
	uint64_t u_ctl;
	int err;

	err = pool_find(pool, handle, &ctl, &u_ctl);
	if (err)
		return err;
	if (heap_ctl_tag(u_ctl) != TAG_INFLIGHT || heap_ctl_owner(u_ctl) != pool->own->map.me ||
	    !evr_a64_cas(ctl, &u_ctl, /* HEAP-BLOCK */
			 heap_ctl(u_ctl, pool->own->map.me, EVR_BLOCK_LIVE, TAG_LIVE)))
		return -ESTALE;
	return 0;
}

int evr_pool_settle(struct evr_pool *pool, struct evr_peer_id from)
{
	struct pool_map *map;
	uint64_t u_ctl;
	uint32_t i, idx;
	int err, nr = 0;

	err = pool_check(pool);
	if (err)
		return err;
	map = &pool->own->map;
	if (!peer_is_gone(map->peer, from))
		return evr_fail(-EBUSY, "pool: peer %u.%llu has not ended", from.slot,
				(unsigned long long)from.incarnation);
	if (evr_heap_stamp_has_returned(map->peer, from))
		return evr_fail(-EBUSY,
				"pool: what peer %u.%llu has sent is not told from its successor's",
				from.slot, (unsigned long long)from.incarnation);
	for (i = 0; i < map->classes_nr; i++)
		for (idx = 0; idx < map->classes[i].nr; idx++) {
			u_ctl = evr_a64_load_acquire(&map->classes[i].ctl[idx]); /* HEAP-BLOCK */
			if (u_ctl == heap_ctl(u_ctl, map->me, heap_stamp(from), TAG_INFLIGHT))
				nr += evr_a64_cas(&map->classes[i].ctl[idx], &u_ctl,
						  u_ctl & EVR_CTL_GEN_MASK);
		}
	if (nr)
		pool_wake(map);
	return nr;
}

/* A word that names a dead owner. Return: freed? */
static bool reap_word(struct pool_map *map, struct evr_a64 *ctl)
{
	uint64_t u_ctl = evr_a64_load_acquire(ctl), tag = heap_ctl_tag(u_ctl); /* HEAP-BLOCK */

	return (tag == TAG_LIVE || tag == TAG_INFLIGHT) &&
	       evr_heap_stamp_is_dead(map->peer, heap_ctl_owner(u_ctl)) &&
	       evr_a64_cas(ctl, &u_ctl, u_ctl & EVR_CTL_GEN_MASK);
}

void evr_pool_reap(struct evr_peer *peer, const struct evr_object *obj,
		   struct evr_reap_report *report)
{
	struct pool_map map;
	uint64_t u_owner, freed = 0;
	uint32_t i, idx;

	if (evr_pool_map(&map, peer, obj) || !map.writable)
		return;
	for (i = 0; i < map.classes_nr; i++)
		for (idx = 0; idx < map.classes[i].nr; idx++)
			if (reap_word(&map, &map.classes[i].ctl[idx])) {
				freed++;
				report->block_bytes += map.classes[i].sz;
			}
	for (i = 0; i < EVR_POOL_SEATS_MAX; i++) {
		u_owner = evr_a64_load_acquire(&map.header->seats[i].owner);
		if (u_owner && peer_is_gone(peer, seat_owner(u_owner)))
			evr_a64_cas(&map.header->seats[i].owner, &u_owner, 0);
	}
	report->blocks += freed;
	/* Also when there is none: who freed them may have died before it could wake anybody. */
	pool_wake(&map);
}
