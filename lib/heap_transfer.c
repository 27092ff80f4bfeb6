/* SPDX-License-Identifier: MIT */
/* Blocks change hands. heap.c has the protocol. */
#include <errno.h>

#include "backend.h"
#include "heap_own.h"
#include "internal.h"

bool evr_heap_end(struct heap_map *map, struct heap_block *b, uint64_t u_ctl)
{
	uint64_t next = u_ctl & EVR_CTL_GEN_MASK;

	if (!heap_block_is_run(map, b)) {
		if (!evr_a64_cas(b->ctl, &u_ctl, next)) /* HEAP-BLOCK */
			return false;
		evr_heap_mark_dirty(b->arena, b->head);
		return true;
	}
	/* One that lives takes it apart: whoever it was, its name goes in by the CAS. */
	next = heap_ctl(u_ctl, map->me, 0, TAG_RELEASING);
	if (!evr_heap_touch(map, b->arena, b->head, evr_peer_self(map->peer)) ||
	    !evr_a64_cas(b->ctl, &u_ctl, next))
		return false;
	evr_heap_run_release(map, b, next);
	return true;
}

/* Name the receiver in the block's word. Whether it lives is to be seen afterwards. */
static int transfer_one(struct evr_heap *heap, uint64_t handle, struct evr_peer_id to)
{
	struct heap_map *map = &heap->own->map;
	struct heap_block b;
	uint64_t u_ctl;
	int err;

	err = evr_heap_find(heap, handle, &b, &u_ctl);
	if (err)
		return err;
	if (heap_ctl_tag(u_ctl) != TAG_LIVE || heap_ctl_owner(u_ctl) != map->me)
		return -ESTALE;
	if (!evr_heap_touch(map, b.arena, b.head, to))
		return -EOWNERDEAD;
	/* Only the owner writes a word that says LIVE. */
	evr_a64_store_release(b.ctl, heap_ctl(u_ctl, heap_stamp(to), map->me,
					      TAG_INFLIGHT)); /* HEAP-BLOCK */
	return 0;
}

/* REAP: does the receiver live, now that the words that name it are written? */
static bool receiver_is_live(struct evr_heap *heap, struct evr_peer_id to)
{
	heap_bar(heap); /* REAP */
	return !heap_peer_has_ended(&heap->own->map, to);
}

int evr_heap_recall(struct evr_heap *heap, uint64_t handle, struct evr_peer_id to)
{
	struct heap_block b;
	struct heap_map *map;
	uint64_t u_ctl, expected;
	int err;

	err = evr_heap_find_writable(heap, handle, &b, &u_ctl);
	if (err)
		return err;
	map = &heap->own->map;
	expected = heap_ctl(u_ctl, heap_stamp(to), map->me, TAG_INFLIGHT);
	if (!evr_a64_cas(b.ctl, &expected,
			 heap_ctl(u_ctl, map->me, EVR_BLOCK_LIVE, TAG_LIVE))) /* HEAP-BLOCK */
		return -ESTALE;
	return 0;
}

int evr_heap_transfer(struct evr_heap *heap, uint64_t handle, struct evr_peer_id to)
{
	int err;

	err = evr_heap_check_writable(heap);
	if (!err)
		err = transfer_one(heap, handle, to);
	if (err)
		return err;
	if (receiver_is_live(heap, to))
		return 0;
	err = evr_heap_recall(heap, handle, to);
	return err ? err : -EOWNERDEAD;
}

int evr_heap_transfer_many(struct evr_heap *heap, const uint64_t *handles, uint32_t nr,
			   struct evr_peer_id to)
{
	uint32_t i;
	int err;

	err = evr_heap_check_writable(heap);
	for (i = 0; i < nr && !err; i += !err)
		err = transfer_one(heap, handles[i], to);
	if (!i)
		return err;
	if (err != -EOWNERDEAD && receiver_is_live(heap, to))
		return (int)i;
	while (i--)
		evr_heap_recall(heap, handles[i], to);
	return -EOWNERDEAD;
}

int evr_heap_accept(struct evr_heap *heap, uint64_t handle)
{
	struct heap_block b;
	struct heap_map *map;
	uint64_t u_ctl;
	int err;

	err = evr_heap_find_writable(heap, handle, &b, &u_ctl);
	if (err)
		return err;
	map = &heap->own->map;
	if (heap_ctl_tag(u_ctl) != TAG_INFLIGHT || heap_ctl_owner(u_ctl) != map->me ||
	    !evr_a64_cas(b.ctl, &u_ctl,
			 heap_ctl(u_ctl, map->me, EVR_BLOCK_LIVE, TAG_LIVE))) /* HEAP-BLOCK */
		return -ESTALE;
	return 0;
}

int evr_heap_take_back(struct evr_heap *heap, uint64_t handle, struct evr_peer_id from)
{
	struct heap_block b;
	struct heap_map *map;
	uint64_t u_ctl;
	int err;

	err = evr_heap_find_writable(heap, handle, &b, &u_ctl);
	if (err)
		return err;
	map = &heap->own->map;
	if (heap_ctl_tag(u_ctl) == TAG_SHARED && heap_ctl_state(u_ctl) == map->me)
		return evr_heap_share_drop(map, &b, u_ctl, from.slot, false);
	if (u_ctl != heap_ctl(u_ctl, heap_stamp(from), map->me, TAG_INFLIGHT) ||
	    !evr_heap_end(map, &b, u_ctl))
		return -ESTALE;
	return 0;
}

int evr_heap_reclaim(struct evr_heap *heap, uint64_t handle)
{
	struct heap_block b;
	struct heap_map *map;
	uint64_t u_ctl;
	int err;

	err = evr_heap_find_writable(heap, handle, &b, &u_ctl);
	if (err)
		return err;
	map = &heap->own->map;
	if (heap_ctl_tag(u_ctl) != TAG_INFLIGHT || heap_ctl_state(u_ctl) != map->me ||
	    !evr_heap_end(map, &b, u_ctl))
		return -ESTALE;
	return 0;
}

struct settling {
	uint16_t from;
	uint32_t slot;
	int nr;
};

static int settle_one(struct heap_map *map, struct heap_block *b, void *arg)
{
	struct settling *s = arg;
	uint64_t u_ctl;

	if (!heap_ctl_load(b, &u_ctl))
		return HEAP_CHANGED;
	if (heap_ctl_state(u_ctl) != s->from)
		return 0;
	if (heap_ctl_tag(u_ctl) == TAG_INFLIGHT && heap_ctl_owner(u_ctl) == map->me)
		s->nr += evr_heap_end(map, b, u_ctl);
	else if (heap_ctl_tag(u_ctl) == TAG_SHARED)
		s->nr += !evr_heap_share_drop(map, b, u_ctl, s->slot, true);
	return 0;
}

int evr_heap_settle(struct evr_heap *heap, struct evr_peer_id from)
{
	struct settling s = { .from = heap_stamp(from) };
	int err;

	err = evr_heap_check_writable(heap);
	if (err)
		return err;
	if (!heap_peer_has_ended(&heap->own->map, from))
		return evr_fail(-EBUSY, "heap: peer %u.%llu has not ended", from.slot,
				(unsigned long long)from.incarnation);
	if (evr_heap_stamp_has_returned(heap->own->map.peer, from))
		return evr_fail(-EBUSY,
				"heap: what peer %u.%llu has sent is not told from its successor's",
				from.slot, (unsigned long long)from.incarnation);
	s.slot = heap->own->self.slot;
	evr_heap_touched(&heap->own->map, heap->own->self, settle_one, &s);
	return s.nr;
}
