/* SPDX-License-Identifier: MIT */
/*
 * Loops around a queue in bare memory that two processes spin on: one way, between two
 * that both push and pop, and round trips through two of them. The moves are inlined,
 * and the size of an element is known to the compiler.
 *
 * The queues lie side by side in the stage's page: the first one way, or forth; the
 * second back.
 */
#ifndef EVERING_SPIN_H
#define EVERING_SPIN_H

#include "payload.h"
#include "trips.h"

#define SPIN_BATCH_MAX 4096

/* Moves up to @nr elements; returns how many. */
typedef uint32_t spin_move(void *queue, void *elems, uint32_t nr);

static STAGE_INLINE void *spin_queue(const struct stage *stage, int nr)
{
	return (char *)stage->page + (nr ? stage->page_sz / 2 : 0);
}

/* The least number of one call is nr elements: all of them, in as many calls as it takes. */
static STAGE_INLINE void spin_all(void *queue, uint8_t *elems, uint64_t size, uint32_t nr,
				  spin_move *move)
{
	for (uint32_t done = 0; done < nr;) {
		uint32_t moved = move(queue, elems + done * size, nr - done);

		if (!moved)
			evr_pause();
		done += moved;
	}
}

static STAGE_INLINE void spin_produce(struct stage *stage, uint8_t *elems, uint64_t size,
				      uint64_t count, spin_move *push)
{
	void *queue = spin_queue(stage, 0);

	for (uint64_t left = count; left;) {
		uint32_t nr = (uint32_t)(left < stage->batch ? left : stage->batch);

		payload_fill(elems, size, nr, left);
		spin_all(queue, elems, size, nr, push);
		left -= nr;
	}
}

static STAGE_INLINE uint64_t spin_consume(struct stage *stage, uint8_t *elems, uint64_t size,
					  uint64_t count, spin_move *pop)
{
	void *queue = spin_queue(stage, 0);
	uint64_t sum = 0;

	for (uint64_t left = count; left;) {
		uint32_t nr = (uint32_t)(left < stage->batch ? left : stage->batch);

		nr = pop(queue, elems, nr);
		if (!nr)
			evr_pause();
		sum += payload_read(elems, size * nr);
		left -= nr;
	}
	return sum;
}

/* What is popped is whose it happens to be. */
static STAGE_INLINE uint64_t spin_pairs(struct stage *stage, uint8_t *elems, uint64_t size,
					uint64_t count, spin_move *push, spin_move *pop)
{
	void *queue = spin_queue(stage, 0);
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		payload_write(elems, size, i);
		spin_all(queue, elems, size, 1, push);
		spin_all(queue, elems, size, 1, pop);
		sum += payload_read(elems, size);
	}
	return sum;
}

static STAGE_INLINE void spin_one_way(struct stage *stage, uint64_t size, spin_move *push,
				      spin_move *pop)
{
	static uint8_t elems[SPIN_BATCH_MAX * 64];
	bool is_near = stage->side == STAGE_NEAR;
	uint64_t sum = 0;

	if (is_near)
		spin_produce(stage, elems, size, stage->warmup, push);
	else
		spin_consume(stage, elems, size, stage->warmup, pop);
	stage_begin(stage);
	if (is_near)
		spin_produce(stage, elems, size, stage->count, push);
	else
		sum = spin_consume(stage, elems, size, stage->count, pop);
	stage_end(stage);
	stage->shared->halves[stage->side].check = sum;
}

static STAGE_INLINE void spin_both_ways(struct stage *stage, uint64_t size, spin_move *push,
					spin_move *pop)
{
	uint8_t elem[64];
	uint64_t sum;

	spin_pairs(stage, elem, size, stage->warmup, push, pop);
	stage_begin(stage);
	sum = spin_pairs(stage, elem, size, stage->count, push, pop);
	stage_end(stage);
	stage->shared->halves[stage->side].check = sum;
}

/*
 * SPIN_RIVAL() - the sides of a rival: @id_one_way, @id_pairs and @id_trips, each both sides'.
 * @size: bytes of an element, at most 64
 */
#define SPIN_RIVAL(id, size, push, pop)                                                           \
	static __attribute__((unused)) void id##_one_way(struct stage *stage)                     \
	{                                                                                         \
		spin_one_way(stage, size, push, pop);                                             \
	}                                                                                         \
	static __attribute__((unused)) void id##_pairs(struct stage *stage)                       \
	{                                                                                         \
		spin_both_ways(stage, size, push, pop);                                           \
	}                                                                                         \
	static STAGE_INLINE void id##_send(struct stage *stage, void *ends, uint64_t turn)        \
	{                                                                                         \
		uint8_t elem[size];                                                               \
		(void)ends;                                                                       \
		payload_write(elem, size, turn);                                                  \
		spin_all(spin_queue(stage, stage->side == STAGE_FAR), elem, size, 1, push);       \
	}                                                                                         \
	static STAGE_INLINE uint64_t id##_receive(struct stage *stage, void *ends, uint64_t turn) \
	{                                                                                         \
		uint8_t elem[size];                                                               \
		(void)ends;                                                                       \
		(void)turn;                                                                       \
		spin_all(spin_queue(stage, stage->side == STAGE_NEAR), elem, size, 1, pop);       \
		return payload_read(elem, size);                                                  \
	}                                                                                         \
	static __attribute__((unused)) void id##_trips(struct stage *stage)                       \
	{                                                                                         \
		trips_run(stage, NULL, id##_send, id##_receive);                                  \
	}

#endif
