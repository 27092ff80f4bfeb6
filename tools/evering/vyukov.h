/* SPDX-License-Identifier: MIT */
/*
 * D. Vyukov's bounded queue of many producers and consumers (1024cores.net, "Bounded MPMC
 * queue"): a cell's sequence says whose turn it is, and a position is taken by CAS before
 * the cell is written. A claim names nobody: who dies in one stops all the others for
 * ever. It is what a queue costs that does not survive the death of a member.
 */
#ifndef EVERING_VYUKOV_H
#define EVERING_VYUKOV_H

#include <evering/atomic.h>

#include "stage.h"

#define VYUKOV_CAPACITY 2048

struct vyukov_cell {
	struct evr_a64 seq;
	uint8_t elem[8];
};

struct vyukov {
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 tail;
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 head;
	EVR_ALIGNAS(EVR_LINE_SZ) struct vyukov_cell cells[VYUKOV_CAPACITY];
};

static inline void vyukov_init(struct vyukov *q)
{
	for (uint64_t i = 0; i < VYUKOV_CAPACITY; i++)
		evr_a64_store_relaxed(&q->cells[i].seq, i);
}

/* Takes the next position of a side whose turn is @ahead of it; NULL: full, or empty. */
static STAGE_INLINE struct vyukov_cell *vyukov_take(struct vyukov *q, struct evr_a64 *side,
						    uint64_t ahead, uint64_t *taken)
{
	uint64_t pos = evr_a64_load_relaxed(side);

	for (;;) {
		struct vyukov_cell *cell = &q->cells[pos % VYUKOV_CAPACITY];
		int64_t diff = (int64_t)(evr_a64_load_acquire(&cell->seq) - (pos + ahead));

		if (diff < 0)
			return NULL;
		if (diff > 0) {
			pos = evr_a64_load_relaxed(side);
		} else if (evr_a64_cas(side, &pos, pos + 1)) {
			*taken = pos;
			return cell;
		}
	}
}

/* One element, as the algorithm has it. */
static STAGE_INLINE uint32_t vyukov_push(void *queue, void *elems, uint32_t nr)
{
	struct vyukov *q = (struct vyukov *)queue;
	struct vyukov_cell *cell;
	uint64_t pos;

	(void)nr;
	cell = vyukov_take(q, &q->tail, 0, &pos);
	if (!cell)
		return 0;
	evr_copy_in(cell->elem, elems, sizeof(cell->elem));
	evr_a64_store_release(&cell->seq, pos + 1);
	return 1;
}

static STAGE_INLINE uint32_t vyukov_pop(void *queue, void *elems, uint32_t nr)
{
	struct vyukov *q = (struct vyukov *)queue;
	struct vyukov_cell *cell;
	uint64_t pos;

	(void)nr;
	cell = vyukov_take(q, &q->head, 1, &pos);
	if (!cell)
		return 0;
	evr_copy_out(elems, cell->elem, sizeof(cell->elem));
	evr_a64_store_release(&cell->seq, pos + VYUKOV_CAPACITY);
	return 1;
}

#endif
