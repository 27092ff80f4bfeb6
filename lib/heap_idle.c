/* SPDX-License-Identifier: MIT */
/*
 * Memory of freed runs: who allocates them again soon shall not pay for pages that the
 * system took and gives anew.
 *
 * A handle remembers what it frees, up to HEAP_IDLE_MAX bytes; what is freed beyond that
 * goes back at once, while its word still says RELEASING(me), so nobody else has it. What is
 * remembered is free to all: whoever claims it changes the own word of its head, and then it
 * is no idle run any more, but in use, or remembered by who freed it next. So for each
 * handle at most HEAP_IDLE_MAX bytes are free without being the system's, and nothing
 * shared has to say which. evr_heap_trim() and evr_heap_close() give them back: in pieces
 * that are claimed for as long as it takes, as for a block, and who dies in that has left a
 * claim, which a reaper frees.
 */
#ifndef EVR_ATOMIC_MODEL
#include <sys/mman.h>
#endif

#include "backend.h"
#include "heap_idle.h"
#include "internal.h"

/* Bytes that a claim takes from who wants to allocate, for as long as they are given back. */
#define PIECE_SZ HEAP_IDLE_RUN_MIN

/* The range is ours alone. */
static void give_back(struct heap_map *map, uint64_t off, uint64_t sz)
{
#ifdef EVR_ATOMIC_MODEL
	uint64_t zeros[2] = { 0 };

	(void)sz;
	evr_copy_in(map->peer->base + off, zeros, sizeof(zeros));
#else
	madvise(map->peer->base + off, sz, MADV_REMOVE);
#endif
}

static uint64_t run_sz(const struct heap_map *map, const struct heap_idle_run *run)
{
	return (uint64_t)run->nr << map->granule_shift;
}

/* Relaxed: who takes it for free claims it by CAS. */
static bool run_is_idle(const struct heap_idle_run *run)
{
	return evr_a64_load_relaxed(&run->arena->own[run->head]) == run->left;
}

/* Forget what is in use again. */
static void idle_look(struct heap_map *map)
{
	struct heap_idle *idle = map->idle;
	uint32_t i, nr = 0;

	idle->sz = 0;
	for (i = 0; i < idle->nr; i++) {
		if (!run_is_idle(&idle->runs[i]))
			continue;
		idle->sz += run_sz(map, &idle->runs[i]);
		idle->runs[nr++] = idle->runs[i];
	}
	idle->nr = nr;
}

bool evr_heap_idle_keeps(struct heap_map *map, const struct heap_block *b)
{
	struct heap_idle *idle = map->idle;

	if (b->sz < HEAP_IDLE_RUN_MIN || map->peer->segment->ops->backend != EVR_BACKEND_LOCAL)
		return false;
	if (idle && idle->sz + b->sz > HEAP_IDLE_MAX)
		idle_look(map);
	/* So many bytes are no more runs than there is room for. */
	if (idle && idle->sz + b->sz <= HEAP_IDLE_MAX)
		return true;
	give_back(map, b->off, b->sz);
	return false;
}

void evr_heap_idle_add(struct heap_map *map, const struct heap_block *b)
{
	struct heap_idle *idle = map->idle;

	idle->sz += b->sz;
	idle->runs[idle->nr++] = (struct heap_idle_run){
		.arena = b->arena,
		.head = b->head,
		.nr = heap_own_arg(b->u_own),
		.left = b->u_own & OWN_GEN_MASK,
	};
}

static void piece_give_back(struct heap_map *map, struct heap_arena *a, uint32_t head, uint32_t nr)
{
	if (!evr_heap_claim_at(map, a, head, nr))
		return;
	give_back(map, a->data_off + ((uint64_t)head << map->granule_shift),
		  (uint64_t)nr << map->granule_shift);
	/* Relaxed: only we write a word that says CLAIM by us. */
	evr_heap_release(map, a, head, evr_a64_load_relaxed(&a->own[head]));
}

void evr_heap_idle_flush(struct heap_map *map)
{
	uint32_t piece = (uint32_t)(PIECE_SZ >> map->granule_shift), at, nr;
	struct heap_idle *idle = map->idle;
	struct heap_idle_run *run;

	while (idle && idle->nr) {
		run = &idle->runs[--idle->nr];
		idle->sz -= run_sz(map, run);
		nr = run_is_idle(run) ? run->nr : 0;
		for (at = 0; at + piece <= nr; at += piece)
			piece_give_back(map, run->arena, run->head + at,
					nr - at < 2 * piece ? nr - at : piece);
	}
}
