/* SPDX-License-Identifier: MIT */
/*
 * Shared blocks: read by several holders, freed by the last. heap.c has the protocol.
 *
 * Two masks at the end of the block have a bit for each slot: pending, the handle is
 * on its way; held, the holder has taken hold of it. A holder sets held and then clears
 * pending, so who looks at pending first and at held afterwards finds it in one of
 * them. A word of a mask carries 16 bits of the block's generation: what is cleared by
 * CAS from what was found is of that life of the block. Neither count nor log: to
 * clear a bit twice does no harm.
 *
 * A bit names a slot and no incarnation. Of a holder that lives the touched word says
 * that this chunk may name it; a bit without that is one of a predecessor.
 */
#include <errno.h>

#include "backend.h"
#include "heap_own.h"
#include "internal.h"

#define MASK_BITS 48
#define MASK_TAG (~0ULL << MASK_BITS)

static uint32_t mask_words(const struct heap_map *map)
{
	return (map->slots + MASK_BITS - 1) / MASK_BITS;
}

uint64_t evr_heap_share_sz(const struct heap_map *map)
{
	return 2ULL * mask_words(map) * sizeof(struct evr_a64);
}

/* The masks of a block: pending, then held. */
static struct evr_a64 *masks(const struct heap_map *map, const struct heap_block *b)
{
	uint64_t in = b->off - b->arena->data_off;

	return (struct evr_a64 *)(b->arena->data + in + b->sz - evr_heap_share_sz(map));
}

static uint64_t mask_tag(uint64_t ctl)
{
	return ctl >> EVR_HANDLE_OFF_BITS << MASK_BITS;
}

static uint64_t mask_bit(uint32_t slot)
{
	return 1ULL << slot % MASK_BITS;
}

/* Change the bit in this life of the block. False: it was so, or it is another life. */
static bool mask_change(const struct heap_block *b, struct evr_a64 *word, uint64_t u_ctl,
			uint64_t bit, bool set)
{
	uint64_t u_word = evr_a64_load_acquire(word);
	uint32_t tries;

	for (tries = 0; tries < HEAP_TRIES_MAX; tries++) {
		if ((u_word ^ mask_tag(u_ctl)) & MASK_TAG || !!(u_word & bit) == set)
			return false;
		/* A mask it was when we loaded it, and no payload, if the block is shared now. */
		if (evr_a64_load_acquire(b->ctl) != u_ctl)
			return false;
		if (evr_a64_cas(word, &u_word, u_word ^ bit)) /* HEAP-SHARE */
			return true;
	}
	return false;
}

/* Has this life of the block no holder any more? */
static bool masks_are_empty(struct heap_map *map, const struct heap_block *b, uint64_t u_ctl)
{
	const struct evr_a64 *word = masks(map, b);
	uint32_t i;

	/* Of two that leave at once, each from another mask, one sees that both are empty. */
	evr_fence(); /* HEAP-SHARE */
	for (i = 0; i < 2 * mask_words(map); i++) /* HEAP-SHARE: pending first */
		if (evr_a64_load_acquire(&word[i]) != mask_tag(u_ctl))
			return false;
	return true;
}

int evr_heap_share_drop(struct heap_map *map, struct heap_block *b, uint64_t u_ctl, uint32_t slot,
			bool only_pending)
{
	struct evr_a64 *word, *held;
	bool was;

	if (slot >= map->slots || !heap_masks_fit(map, b))
		return -ESTALE;
	word = masks(map, b) + slot / MASK_BITS;
	held = word + mask_words(map);
	was = mask_change(b, word, u_ctl, mask_bit(slot), false);
	if (!only_pending)
		was |= mask_change(b, held, u_ctl, mask_bit(slot), false);
	if (!was)
		return -ESTALE;
	if (masks_are_empty(map, b, u_ctl))
		evr_heap_end(map, b, u_ctl);
	return 0;
}

bool evr_heap_share_settle(struct heap_map *map, struct heap_block *b, uint64_t u_ctl)
{
	uint32_t i, nr = mask_words(map), slot;
	struct evr_a64 *word;
	uint64_t u_word;

	if (!heap_masks_fit(map, b)) {
		evr_heap_count_corrupt(map);
		return false;
	}
	word = masks(map, b);
	for (i = 0; i < 2 * nr; i++) {
		u_word = evr_a64_load_acquire(&word[i]);
		if ((u_word ^ mask_tag(u_ctl)) & MASK_TAG)
			return false;
		for (u_word &= ~MASK_TAG; u_word; u_word &= u_word - 1) {
			slot = i % nr * MASK_BITS + (uint32_t)__builtin_ctzll(u_word);
			if (!evr_heap_names_living(map, b, slot))
				mask_change(b, &word[i], u_ctl, mask_bit(slot), false);
		}
	}
	return masks_are_empty(map, b, u_ctl) && evr_heap_end(map, b, u_ctl);
}

struct evr_block evr_heap_alloc_shared(struct evr_heap *heap, uint64_t sz)
{
	struct evr_block block = { NULL, EVR_HANDLE_NONE };
	struct heap_block b;
	uint64_t u_ctl;

	if (evr_heap_check_writable(heap) || sz > OWN_ARG_MAX * heap_granule_sz(&heap->own->map))
		return evr_heap_alloc_slow(heap, UINT64_MAX);
	block = evr_heap_alloc(heap, EVR_ROUND_UP(sz, 8) + evr_heap_share_sz(&heap->own->map));
	if (block.ptr && !evr_heap_find(heap, block.handle, &b, &u_ctl))
		/* Only the owner writes a word that says LIVE. */
		evr_a64_store_release(b.ctl, heap_ctl(u_ctl, heap->own->map.me, EVR_BLOCK_SHAREABLE,
						      TAG_LIVE)); /* HEAP-BLOCK */
	return block;
}

/*
 * Write the masks, and say in whose chunks they are. @holds: out, a bit for each of @to
 * that is a holder now. Who has ended already is none: his bit would be his successor's,
 * who may be one of the others. Return: how many.
 */
static uint32_t share_prepare(struct heap_map *map, struct heap_block *b, uint64_t u_ctl,
			      const struct evr_peer_id *to, uint32_t nr, uint64_t *holds)
{
	struct evr_a64 *word = masks(map, b);
	uint32_t i, holders = 0;

	/* Relaxed: until the block says SHARED nobody else looks at them. */
	for (i = 0; i < 2 * mask_words(map); i++)
		evr_a64_store_relaxed(&word[i], mask_tag(u_ctl));
	for (i = 0; i < nr; i++) {
		if (heap_peer_has_ended(map, to[i]) ||
		    !evr_heap_touch(map, b->arena, b->head, to[i]) ||
		    !mask_change(b, &word[to[i].slot / MASK_BITS], u_ctl, mask_bit(to[i].slot),
				 true))
			continue;
		holds[i / 64] |= 1ULL << i % 64;
		holders++;
	}
	return holders;
}

int evr_heap_share(struct evr_heap *heap, uint64_t handle, const struct evr_peer_id *to,
		   uint32_t nr)
{
	uint64_t u_ctl, holds[EVR_PEERS_MAX / 64] = { 0 };
	uint32_t i, holders;
	struct heap_block b;
	struct heap_map *map;
	int err;

	err = evr_heap_check_writable(heap);
	if (!err && (!nr || nr > EVR_PEERS_MAX))
		err = evr_fail(-EINVAL, "heap: %u holders, 1 to %d are possible", nr,
			       EVR_PEERS_MAX);
	if (!err)
		err = evr_heap_find(heap, handle, &b, &u_ctl);
	if (err)
		return err;
	map = &heap->own->map;
	if (u_ctl != heap_ctl(u_ctl, map->me, EVR_BLOCK_SHAREABLE, TAG_LIVE))
		return -ESTALE;
	holders = share_prepare(map, &b, u_ctl, to, nr, holds);
	if (!holders) {
		evr_heap_free(heap, handle);
		return -EOWNERDEAD;
	}
	u_ctl = heap_ctl(u_ctl, 0, map->me, TAG_SHARED);
	evr_a64_store_release(b.ctl, u_ctl); /* HEAP-BLOCK */
	heap_bar(heap); /* REAP */
	for (i = 0; i < nr; i++)
		if (holds[i / 64] >> i % 64 & 1 && heap_peer_has_ended(map, to[i]) &&
		    !evr_heap_share_drop(map, &b, u_ctl, to[i].slot, false))
			holders--;
	return holders ? (int)holders : -EOWNERDEAD;
}

int evr_heap_hold(struct evr_heap *heap, uint64_t handle)
{
	struct heap_block b;
	struct heap_map *map;
	struct evr_a64 *word;
	uint64_t u_ctl, bit;
	int err;

	err = evr_heap_find_writable(heap, handle, &b, &u_ctl);
	if (err)
		return err;
	map = &heap->own->map;
	if (heap_ctl_tag(u_ctl) != TAG_SHARED)
		return -ESTALE;
	word = masks(map, &b) + heap->own->self.slot / MASK_BITS;
	bit = mask_bit(heap->own->self.slot);
	/* Held first: in no moment it is in neither. */
	if (!(evr_a64_load_acquire(word) & bit) ||
	    !mask_change(&b, word + mask_words(map), u_ctl, bit, true))
		return -ESTALE;
	mask_change(&b, word, u_ctl, bit, false);
	return 0;
}

int evr_heap_drop(struct evr_heap *heap, uint64_t handle)
{
	struct heap_block b;
	uint64_t u_ctl;
	int err;

	err = evr_heap_find_writable(heap, handle, &b, &u_ctl);
	if (err)
		return err;
	if (heap_ctl_tag(u_ctl) != TAG_SHARED)
		return -ESTALE;
	return evr_heap_share_drop(&heap->own->map, &b, u_ctl, heap->own->self.slot, false);
}
