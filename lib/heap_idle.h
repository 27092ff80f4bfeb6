/* SPDX-License-Identifier: MIT */
/* Runs that a handle has freed, and whose memory the system has not got back. */
#ifndef EVERING_LIB_HEAP_IDLE_H
#define EVERING_LIB_HEAP_IDLE_H

#include "heap_table.h"

#ifdef EVR_ATOMIC_MODEL
#define HEAP_IDLE_RUN_MIN 8192ULL
#define HEAP_IDLE_MAX 8192ULL
#else
/* Bytes of a run that is worth a system call. */
#define HEAP_IDLE_RUN_MIN (1ULL << 20)
/* Bytes that each handle leaves in its heap, to be allocated again. */
#define HEAP_IDLE_MAX (32ULL << 20)
#endif

struct heap_idle_run {
	struct heap_arena *arena;
	uint32_t head, nr; /* granules */
	uint64_t left; /* the head's own word, when it was freed */
};

/* Private to a handle. */
struct heap_idle {
	struct heap_idle_run runs[HEAP_IDLE_MAX / HEAP_IDLE_RUN_MIN];
	uint32_t nr;
	uint64_t sz; /* of all of them, bytes */
};

/*
 * A run is about to be freed, and nobody else frees it: may its memory stay? If not, it goes
 * back to the system now. Return: tell evr_heap_idle_add() when it is free.
 */
bool evr_heap_idle_keeps(struct heap_map *map, const struct heap_block *b);
void evr_heap_idle_add(struct heap_map *map, const struct heap_block *b);

/* All that is still free goes back. */
void evr_heap_idle_flush(struct heap_map *map);

#endif
