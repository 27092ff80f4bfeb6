/* SPDX-License-Identifier: MIT */
/*
 * The heap; include/evering/heap.h has the model.
 *
 * An arena is memory with its words in front of it: the object in the directory is
 * the first, what evr_heap_grow() appends are the others. Its granules are 32 KiB (4 KiB in a
 * heap of less than 16 MiB), and each has an own word that is the truth about it:
 *
 *   {gen:20 | stamp:16 | arg:24 | kind:4}
 *
 *   FREE -> CLAIM(me)           by CAS, see heap_runs.c
 *   CLAIM(me) -> SLAB(me)       arg: its class of sizes; blocks side by side
 *             -> RUN            arg: its length; one block
 *             -> CONT           arg: how far behind the head of one of these
 *   SLAB(me) -> ORPHAN          its handle was closed; SLAB(p) -> ORPHAN: p is dead
 *   ORPHAN -> SLAB(me)          adopted, by CAS
 *   SLAB(me), ORPHAN -> CLAIM(me) -> FREE   when no block of it is in use
 *
 * gen changes with each claim and adoption, so whoever comes late with a CAS fails.
 *
 * Each block has a control word: in front of its slab (blocks of less than an eighth of a
 * granule), or among the eight side words of each granule.
 *
 *   {gen:28 | owner:16 | state:16 | tag:4}    INFLIGHT, SHARED: the sender for the state
 *
 *   FREE -> CACHED(me)          only the slab's handle: into its store
 *   CACHED(me) -> LIVE(me)      only me: evr_heap_alloc(), gen + 1
 *   LIVE(me) -> CACHED(me)      only me: freed, a slab of my own
 *   LIVE(me) -> FREE            by CAS: freed, another's slab
 *   LIVE(me) -> INFLIGHT(q from me)   only me: evr_heap_transfer()
 *   INFLIGHT(me) -> LIVE(me), FREE    by CAS: evr_heap_accept(), evr_heap_free()
 *   INFLIGHT(q from me) -> LIVE(me)   by CAS: recalled; never published, or q is dead
 *   LIVE(me) -> SHARED(from me) -> FREE   see heap_share.c
 *   RUN only: what is LIVE or INFLIGHT -> RELEASING(me) -> FREE, by CAS
 *   whatever names a dead owner -> FREE    anybody, by CAS
 *
 * "only me" is a plain store: while I live nobody else changes that word. A user state
 * stands in the state of LIVE.
 *
 * INFLIGHT has a receiver, who owns it, and a sender. When the receiver dies the block is
 * freed. When the sender dies it may or may not have published the handle, and the
 * receiver alone can tell: once it has received all that there is, what still says
 * "to me from that one" was not published (evr_heap_settle()). Whose slab the block lies in does
 * not matter, so what others have forwarded stays.
 *
 * slots      A stamp {incarnation:8 | slot:8} could be mistaken when 256 incarnations
 *            of a slot came and went while it stood there. It cannot stand so long: a
 *            slot is used again only after a walk over all words that may name its
 *            peer (touched), and who names a peer looks at its state afterwards by its
 *            full incarnation (REAP). Who dies before that look, and stood still while 256
 *            came, leaves the word to its own reap, which does not go by the stamp alone: what is
 *            in flight in a chunk that has no bit for the peer that lives in the slot is on its
 *            way to a predecessor, and freed (heap_reap.c). Where that peer has its bit because
 *            of other blocks, this one stays until it ends, and no longer.
 *            Of a block in flight also the sender's stamp may stand so long, for that one may be
 *            dead: for the receiver evr_heap_settle() tells, by the slot's incarnation of now;
 *            for others it says nothing (channel_reap.c).
 * touched    For each slot and chunk of 64 granules a bit: words in this chunk may name
 *            that slot's peer. It is set before the first of them is written, for no
 *            peer whose slot has gone on to another (evr_heap_touch()). The bits
 *            count for the incarnation that stands in their word, so nobody needs to
 *            clear them in time. A reaper visits these chunks only, and empties the word
 *            by CAS from what it found: to take another peer's for it, it would have to stand
 *            still there while 65536 come, the last of them with the very same bits.
 * payload    What a block holds is never followed. Who comes late with an old
 *            handle and finds payload where there was a control word notices by the head's
 *            own word, which is loaded again after it.
 * limits     Who scribbles over control words can make blocks disappear, or this
 *            process hand one out twice, as it could scribble over the blocks; not
 *            make it access anything outside of the heap, or loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <evering/park.h>
#include <evering/reap.h>

#include "backend.h"
#include "dir.h"
#include "heap_own.h"
#include "internal.h"
#include "reap.h"

#define SZ_DEFAULT (16ULL << 20)
#define SZ_MIN (16ULL << 10)
#define SZ_MAX (1ULL << 40)
#define LARGE_MIN (16ULL << 20)
#define ALIGN_MAX (2ULL << 20)

int evr_heap_create(struct evr_peer *peer, const char *name, const struct evr_heap_options *options)
{
	uint64_t front = sizeof(struct heap_header);
	struct heap_map map = { .peer = peer };
	struct evr_heap_options o;
	struct heap_geometry g = { .layout = HEAP_LAYOUT };
	struct evr_object object;
	int err;

	err = evr_options_read(&o, sizeof(o), options, "evr_heap_options");
	if (err)
		return err;
	g.sz = EVR_ROUND_UP(o.sz ? o.sz : SZ_DEFAULT, EVR_LINE_SZ);
	if (o.sz > SZ_MAX || g.sz < SZ_MIN)
		return evr_fail(-EINVAL, "heap '%s': sz is %llu, %llu to %llu are possible", name,
				(unsigned long long)o.sz, SZ_MIN, SZ_MAX);
	if (o.grow_sz > HEAP_ARENA_SZ_MAX)
		return evr_fail(-EINVAL, "heap '%s': grow_sz is %llu, up to %llu are possible",
				name, (unsigned long long)o.grow_sz, HEAP_ARENA_SZ_MAX);
	g.grow_sz = o.grow_sz;
	g.granule_shift = g.sz < LARGE_MIN ? 12 : 15;
	g.slots = map.slots = peer->segment->layout.peers_max;
	front += map.slots * sizeof(struct heap_counts);
	evr_heap_classes(&map, g.granule_shift);
	err = evr_dir_create_own(peer, name, EVR_KIND_HEAP, g.sz, &object);
	if (err)
		return err;
	map.arenas[0].off = object.off;
	err = evr_heap_arena_plan(&map, &map.arenas[0], g.sz, front);
	if (err) {
		evr_dir_remove(peer, &object);
		return err;
	}
	/* Nobody finds it yet, and the memory may have served another object. */
	map.header = evr_peer_at(peer, object.off, front);
	memset(map.header, 0, front);
	evr_copy_in(&map.header->geometry, &g, sizeof(g));
	evr_heap_arena_clear(&map, &map.arenas[0]);
	return evr_dir_publish(peer, &object);
}

/* What a handle knows of the arenas that its map has. */
int evr_heap_prepare(struct evr_heap *heap)
{
	struct heap_map *map = &heap->own->map;
	struct heap_arena *a;
	uint32_t i;

	for (i = 0; i < map->arenas_nr && map->writable; i++) {
		a = &map->arenas[i];
		if (!a->mine)
			a->mine = calloc(a->granules, sizeof(*a->mine));
		if (!a->pos)
			a->pos = calloc(a->granules, sizeof(*a->pos));
		if (!a->mine || !a->pos)
			return evr_fail(-ENOMEM, "heap '%s': no private memory for %u granules",
					map->object.name, a->granules);
	}
	return 0;
}

static void heap_free_private(struct evr_heap *heap)
{
	struct evr_heap_own *own = heap->own;
	uint32_t i;

	for (i = 0; i < EVR_HEAP_ARENAS_MAX; i++) {
		free(own->map.arenas[i].mine);
		free(own->map.arenas[i].pos);
	}
	for (i = 0; i < EVR_HEAP_CLASSES_MAX; i++) {
		free(own->slabs[i].slabs);
		free(heap->stores[i].entries);
	}
	free(own);
	memset(heap, 0, sizeof(*heap));
}

/* The part that the inline calls use. */
static void heap_fill(struct evr_heap *heap)
{
	struct heap_map *map = &heap->own->map;
	uint32_t i;

	heap->base = map->peer->base;
	heap->granule_shift = map->granule_shift;
	memcpy(heap->classes, map->classes, sizeof(heap->classes));
	if (!map->writable)
		return;
	heap->live = heap_ctl(0, map->me, EVR_BLOCK_LIVE, TAG_LIVE);
	heap->data_off = map->arenas[0].data_off;
	heap->data_sz = map->arenas[0].data_sz;
	heap->mine = map->arenas[0].mine;
	heap->words[0] = map->arenas[0].data;
	heap->words[1] = (unsigned char *)map->arenas[0].side;
	for (i = 0; i <= EVR_HEAP_LOOKUP_MAX / EVR_HEAP_UNIT; i++)
		heap->lookup[i] = (uint8_t)evr_heap_class_of(i * EVR_HEAP_UNIT);
}

static int heap_open(struct evr_heap *heap, struct evr_peer *peer, const struct evr_object *object)
{
	int err = 0;

	heap->own = calloc(1, sizeof(*heap->own));
	if (!heap->own)
		return evr_fail(-ENOMEM, "heap '%s': no private memory", object->name);
	heap->own->self = evr_peer_self(peer);
	if (evr_peer_rights(peer) & EVR_RIGHT_WRITE)
		err = evr_dir_join(peer, object);
	heap->own->joined = !err && evr_peer_rights(peer) & EVR_RIGHT_WRITE;
	if (!err)
		err = evr_heap_map(&heap->own->map, peer, object);
	if (!err) {
		evr_heap_adopt(&heap->own->map);
		err = evr_heap_prepare(heap);
	}
	if (err) {
		if (heap->own->joined)
			evr_dir_leave(peer, object);
		heap_free_private(heap);
		return err;
	}
	if (heap->own->map.writable)
		heap->own->map.idle = &heap->own->idle;
	heap->own->registered = evr_park_register();
	heap_fill(heap);
	return 0;
}

int evr_heap_open(struct evr_heap *heap, struct evr_peer *peer, const char *name)
{
	struct evr_object object;
	int err;

	memset(heap, 0, sizeof(*heap));
	/* Where everybody may use the name, the own one is meant. */
	if (!evr_dir_is_isolated(peer) || !name ||
	    !evr_dir_find_in(peer, evr_peer_self(peer), name, &object)) {
		err = evr_dir_find(peer, name, &object);
		if (err)
			return err;
	}
	return heap_open(heap, peer, &object);
}

int evr_heap_open_of(struct evr_heap *heap, struct evr_peer *peer, struct evr_peer_id owner,
		     const char *name)
{
	struct evr_object object;

	memset(heap, 0, sizeof(*heap));
	if (!evr_dir_is_isolated(peer))
		return evr_heap_open(heap, peer, name);
	if (!evr_peer_is_live(peer, owner) || !evr_dir_find_in(peer, owner, name, &object))
		return evr_fail(-ENOENT, "peer %u.%llu has no object '%s'", owner.slot,
				(unsigned long long)owner.incarnation, name);
	return heap_open(heap, peer, &object);
}

void evr_heap_close(struct evr_heap *heap)
{
	struct evr_heap_own *own = heap->own;

	if (!own)
		return;
	if (own->map.writable) {
		heap_count(&heap_own_counts(own)->remote_frees, own->remote_frees);
		evr_heap_trim(heap);
		evr_heap_slabs_leave(heap);
	}
	if (own->joined)
		evr_dir_leave(own->map.peer, &own->map.object);
	heap_free_private(heap);
}

int evr_heap_check_writable(const struct evr_heap *heap)
{
	if (!heap->own)
		return evr_fail(-EINVAL, "heap: the handle is closed");
	if (heap->own->map.writable)
		return 0;
	return evr_fail(-EROFS, "heap '%s': this peer may only read it",
			heap->own->map.object.name);
}

int evr_heap_error(const struct evr_heap *heap)
{
	return heap->own ? heap->own->err : -EINVAL;
}

/* Appended by others, or by us when the heap's maker wished so, and it is of use. */
static bool heap_has_grown(struct evr_heap *heap, uint64_t sz, uint64_t align)
{
	struct heap_map *map = &heap->own->map;
	uint64_t grow_sz = EVR_ROUND_UP(map->geometry.grow_sz, ALIGN_MAX), holds;

	if (evr_heap_adopt(map))
		return !evr_heap_prepare(heap);
	holds = evr_heap_arena_holds(map, grow_sz);
	/* Granules are aligned as such; wherever the first of them is, there is room. */
	if (align > heap_granule_sz(map))
		sz += align - heap_granule_sz(map);
	return holds >= sz && !evr_heap_grow(heap, map->geometry.grow_sz);
}

static struct evr_block alloc_once(struct evr_heap *heap, uint64_t sz, uint64_t align)
{
	struct heap_map *map = &heap->own->map;
	uint32_t class_idx = evr_heap_class_of(sz);
	struct evr_block block = { NULL, EVR_HANDLE_NONE };
	struct evr_heap_entry entry;

	/* Slabs start at granules, and the first block's offset is as aligned as its size. */
	while (class_idx < map->classes_nr &&
	       (map->classes[class_idx].sz % align || align > heap_granule_sz(map) ||
		(map->classes[class_idx].first % align)))
		class_idx++;
	if (class_idx < map->classes_nr &&
	    (heap->stores[class_idx].nr || !evr_heap_refill(heap, class_idx))) {
		entry = heap->stores[class_idx].entries[--heap->stores[class_idx].nr];
		evr_a64_store_release(entry.ctl, (entry.handle & EVR_CTL_GEN_MASK) |
							 heap->live); /* HEAP-BLOCK */
		block.ptr = heap->base + heap_handle_off(entry.handle);
		block.handle = entry.handle;
		return block;
	}
	/* Rather a granule too large than no block. */
	block = evr_heap_run_alloc(map, sz, align);
	if (block.ptr)
		heap_count(&heap_own_counts(heap->own)->runs, 1);
	return block;
}

static struct evr_block heap_alloc(struct evr_heap *heap, uint64_t sz, uint64_t align)
{
	struct evr_block block = { NULL, EVR_HANDLE_NONE };
	struct heap_map *map;
	int err;

	err = evr_heap_check_writable(heap);
	if (!err && sz > SZ_MAX)
		err = evr_fail(-EINVAL, "heap: %llu bytes, at most %llu are possible",
			       (unsigned long long)sz, SZ_MAX);
	if (err)
		goto out;
	sz += !sz;
	map = &heap->own->map;
	block = alloc_once(heap, sz, align);
	if (!block.ptr && evr_heap_slabs_trim(heap))
		block = alloc_once(heap, sz, align);
	if (!block.ptr && evr_reap_is_auto(map->peer) && evr_reap_dead(map->peer, NULL) > 0)
		block = alloc_once(heap, sz, align);
	if (!block.ptr && heap_has_grown(heap, sz, align))
		block = alloc_once(heap, sz, align);
	if (!block.ptr) {
		heap_count(&heap_own_counts(heap->own)->failures, 1);
		err = evr_fail(-ENOMEM,
			       "heap '%s': %llu bytes wanted, its largest free run has %llu",
			       map->object.name, (unsigned long long)sz,
			       (unsigned long long)evr_heap_run_max(map));
	}
out:
	if (heap->own)
		heap->own->err = err;
	return block;
}

struct evr_block evr_heap_alloc_slow(struct evr_heap *heap, uint64_t sz)
{
	return heap_alloc(heap, sz, 1);
}

struct evr_block evr_heap_alloc_aligned(struct evr_heap *heap, uint64_t sz, uint64_t align)
{
	struct evr_block block = { NULL, EVR_HANDLE_NONE };

	if (align && !(align & (align - 1)) && align <= ALIGN_MAX)
		return heap_alloc(heap, sz, align);
	if (heap->own)
		heap->own->err = evr_fail(-EINVAL,
					  "heap: align is %llu, no power of two up to %llu",
					  (unsigned long long)align, ALIGN_MAX);
	return block;
}

uint32_t evr_heap_alloc_many(struct evr_heap *heap, uint64_t sz, uint32_t nr,
			     struct evr_block *blocks)
{
	uint32_t i;

	for (i = 0; i < nr; i++) {
		blocks[i] = evr_heap_alloc(heap, sz);
		if (!blocks[i].ptr)
			break;
	}
	return i;
}

int evr_heap_find(struct evr_heap *heap, uint64_t handle, struct heap_block *b, uint64_t *u_ctl)
{
	int err;

	if (!heap->own)
		return evr_fail(-EINVAL, "heap: the handle is closed");
	err = heap_block_load(&heap->own->map, heap_handle_off(handle), true, b, u_ctl);
	if (err == -EBADMSG)
		evr_heap_count_corrupt(&heap->own->map);
	if (err)
		return err;
	if (!heap_ctl_same_life(*u_ctl, handle) || heap_ctl_tag(*u_ctl) == TAG_FREE ||
	    heap_ctl_tag(*u_ctl) == TAG_CACHED)
		return -ESTALE;
	if (heap_ctl_tag(*u_ctl) <= TAG_RELEASING &&
	    (!heap_ctl_has_masks(*u_ctl) || heap_masks_fit(&heap->own->map, b)))
		return 0;
	evr_heap_count_corrupt(&heap->own->map);
	return -EBADMSG;
}

int evr_heap_find_writable(struct evr_heap *heap, uint64_t handle, struct heap_block *b,
			   uint64_t *u_ctl)
{
	int err = evr_heap_check_writable(heap);

	return err ? err : evr_heap_find(heap, handle, b, u_ctl);
}

int evr_heap_free_slow(struct evr_heap *heap, uint64_t handle)
{
	struct evr_heap_own *own = heap->own;
	struct heap_block b;
	uint64_t u_ctl, tag;
	int err;

	err = evr_heap_find_writable(heap, handle, &b, &u_ctl);
	if (err)
		return err;
	tag = heap_ctl_tag(u_ctl);
	if (tag == TAG_SHARED)
		return evr_heap_share_drop(&own->map, &b, u_ctl, own->self.slot, false);
	if ((tag != TAG_LIVE && tag != TAG_INFLIGHT) || heap_ctl_owner(u_ctl) != own->map.me)
		return -ESTALE;
	if (tag == TAG_LIVE && !heap_block_is_run(&own->map, &b) && b.arena->pos &&
	    b.arena->pos[b.head]) {
		evr_heap_store_put(heap, &b, u_ctl);
		return 0;
	}
	if (!evr_heap_end(&own->map, &b, u_ctl))
		return -ESTALE;
	own->remote_frees += !heap_block_is_run(&own->map, &b);
	return 0;
}

uint32_t evr_heap_free_many(struct evr_heap *heap, const uint64_t *handles, uint32_t nr)
{
	uint32_t i, freed = 0;

	for (i = 0; i < nr; i++)
		freed += !evr_heap_free(heap, handles[i]);
	return freed;
}

/* To another block; @block becomes that. */
static int realloc_move(struct evr_heap *heap, struct evr_block *block, uint64_t sz,
			const struct heap_block *old, uint64_t u_ctl)
{
	uint64_t keep = heap_usable_sz(&heap->own->map, old, u_ctl);
	struct evr_block next;

	if (heap_ctl_state(u_ctl) == EVR_BLOCK_SHAREABLE)
		next = evr_heap_alloc_shared(heap, sz);
	else
		next = evr_heap_alloc(heap, sz);
	if (!next.ptr)
		return heap->own->err;
	memcpy(next.ptr, heap->base + old->off, keep < sz ? keep : sz);
	if (heap_ctl_state(u_ctl) >= EVR_BLOCK_USER)
		evr_heap_transition(heap, next.handle, EVR_BLOCK_LIVE, heap_ctl_state(u_ctl));
	evr_heap_free(heap, block->handle);
	*block = next;
	return 1;
}

int evr_heap_realloc(struct evr_heap *heap, struct evr_block *block, uint64_t sz)
{
	struct heap_block b;
	struct heap_map *map;
	uint64_t u_ctl, all;
	int err;

	err = evr_heap_check_writable(heap);
	if (!err && sz > SZ_MAX)
		err = evr_fail(-EINVAL, "heap: %llu bytes, at most %llu are possible",
			       (unsigned long long)sz, SZ_MAX);
	if (!err)
		err = evr_heap_find(heap, block->handle, &b, &u_ctl);
	if (err)
		return err;
	map = &heap->own->map;
	if (heap_ctl_tag(u_ctl) != TAG_LIVE || heap_ctl_owner(u_ctl) != map->me)
		return -ESTALE;
	block->ptr = heap->base + b.off;
	all = sz + !sz + (b.sz - heap_usable_sz(map, &b, u_ctl));
	if (heap_block_is_run(map, &b)) {
		if (all > heap_granule_sz(map) && !evr_heap_run_resize(map, &b, all))
			return 0;
	} else if (all <= b.sz && evr_heap_class_of(all) == b.class_idx) {
		return 0;
	}
	err = realloc_move(heap, block, sz, &b, u_ctl);
	/* Smaller is no reason to fail. */
	return err < 0 && all <= b.sz ? 0 : err;
}

void *evr_heap_resolve(struct evr_heap *heap, uint64_t handle, uint64_t *sz)
{
	struct heap_block b;
	uint64_t u_ctl;

	if (evr_heap_find(heap, handle, &b, &u_ctl) || heap_ctl_tag(u_ctl) == TAG_RELEASING) {
		if (sz)
			*sz = 0;
		return NULL;
	}
	if (sz)
		*sz = heap_usable_sz(&heap->own->map, &b, u_ctl);
	return heap->base + b.off;
}

bool evr_heap_contains(struct evr_heap *heap, const void *ptr)
{
	uint64_t off = (uint64_t)((uintptr_t)ptr - (uintptr_t)heap->base);

	return heap->own && evr_heap_arena_of(&heap->own->map, off);
}

uint64_t evr_heap_handle(struct evr_heap *heap, const void *ptr)
{
	uint64_t off = (uint64_t)((uintptr_t)ptr - (uintptr_t)heap->base), u_ctl;
	struct heap_block b;

	if (!heap->own || heap_block_load(&heap->own->map, off, false, &b, &u_ctl) ||
	    heap_ctl_tag(u_ctl) == TAG_FREE || heap_ctl_tag(u_ctl) == TAG_CACHED)
		return EVR_HANDLE_NONE;
	return heap_block_handle(&b, u_ctl);
}

static bool state_is_live(uint32_t state)
{
	return state == EVR_BLOCK_LIVE || (state >= EVR_BLOCK_USER && state <= EVR_BLOCK_STATE_MAX);
}

int evr_heap_transition(struct evr_heap *heap, uint64_t handle, uint32_t from, uint32_t to)
{
	struct heap_block b;
	uint64_t u_ctl;
	int err;

	err = evr_heap_check_writable(heap);
	if (!err && (!state_is_live(from) || !state_is_live(to)))
		err = evr_fail(-EINVAL, "heap: states %u and %u: 1 and %d to %d are possible", from,
			       to, EVR_BLOCK_USER, EVR_BLOCK_STATE_MAX);
	if (!err)
		err = evr_heap_find(heap, handle, &b, &u_ctl);
	if (err)
		return err;
	if (heap_ctl_tag(u_ctl) != TAG_LIVE || heap_ctl_owner(u_ctl) != heap->own->map.me)
		return -ESTALE;
	if (heap_ctl_state(u_ctl) != from ||
	    !evr_a64_cas(b.ctl, &u_ctl,
			 heap_ctl(u_ctl, heap->own->map.me, to, TAG_LIVE))) /* HEAP-BLOCK */
		return -EAGAIN;
	return 0;
}
