/* SPDX-License-Identifier: MIT */
/* A handle's private part. */
#ifndef EVERING_HEAP_OWN_H
#define EVERING_HEAP_OWN_H

#include "heap_idle.h"
#include "heap_table.h"

struct heap_slab {
	uint32_t arena, head;
};

/* The slabs of one class that this handle alone allocates from. */
struct heap_slabs {
	struct heap_slab *slabs;
	uint32_t nr, max;
	uint32_t next; /* where to look for free blocks */
	uint64_t orphaned; /* header's, when there was no orphan of this class */
};

struct evr_heap_own {
	struct heap_map map;
	struct heap_idle idle;
	struct heap_slabs slabs[EVR_HEAP_CLASSES_MAX];
	struct evr_peer_id self;
	uint64_t remote_frees; /* not yet in the shared counts */
	bool registered; /* answer of evr_park_register() */
	bool joined;
	int err; /* of the last allocation */
};

/* heap.c: private parts of the arenas that were found. 0; -ENOMEM */
int evr_heap_prepare(struct evr_heap *heap);
/* 0; -EROFS */
int evr_heap_check_writable(const struct evr_heap *heap);

/* heap_slabs.c: at least one block of this class into its store. 0; -ENOMEM */
int evr_heap_refill(struct evr_heap *heap, uint32_t class_idx);
/* Give the store's blocks back but for the @keep last. */
void evr_heap_store_spill(struct evr_heap *heap, uint32_t class_idx, uint32_t keep);
/* Put a block, LIVE by us and out of a slab of ours, into its store. */
void evr_heap_store_put(struct evr_heap *heap, const struct heap_block *b, uint64_t u_ctl);
/* evr_heap_trim(), but for what the system can have back. */
uint64_t evr_heap_slabs_trim(struct evr_heap *heap);
/* All slabs become orphans, or free. */
void evr_heap_slabs_leave(struct evr_heap *heap);

/* Locate a block that was alive when its control word was loaded. 0; -ESTALE, -EBADMSG */
int evr_heap_find(struct evr_heap *heap, uint64_t handle, struct heap_block *b, uint64_t *u_ctl);
/* The same, to change it. Also -EROFS */
int evr_heap_find_writable(struct evr_heap *heap, uint64_t handle, struct heap_block *b,
			   uint64_t *u_ctl);

static inline struct heap_counts *heap_own_counts(struct evr_heap_own *own)
{
	return &own->map.counts[own->self.slot];
}

static inline bool heap_peer_has_ended(struct heap_map *map, struct evr_peer_id id)
{
	uint32_t state = evr_peer_state(map->peer, id);

	return state == EVR_PEER_DEAD || state == EVR_PEER_RETIRED;
}

/*
 * REAP: between the store of another peer's name and the look whether it lives; the
 * reaper bars all processors.
 */
static inline void heap_bar(const struct evr_heap *heap)
{
	if (heap->own->registered)
		evr_compiler_fence();
	else
		evr_fence();
}

/* Two handles of one peer may count at once; nothing is decided by it. */
static inline void heap_count(struct evr_a64 *counter, uint64_t nr)
{
	evr_a64_fetch_add(counter, nr);
}

#endif
