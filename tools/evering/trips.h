/* SPDX-License-Identifier: MIT */
/*
 * Round trips, whatever carries them: the near side sends and receives, the far one
 * receives and sends, and each trip is stamped. What sends and receives is inlined
 * where it is known, so that a loop holds nothing but the system that is measured.
 */
#ifndef EVERING_TRIPS_H
#define EVERING_TRIPS_H

#include "machine.h"
#include "stage.h"

/* @turn counts from 0, the warm-up included. @ends: whatever the two have between them. */
typedef void trip_send(struct stage *stage, void *ends, uint64_t turn);
/* Returns what the message added up to. */
typedef uint64_t trip_receive(struct stage *stage, void *ends, uint64_t turn);

static STAGE_INLINE uint64_t trips_near(struct stage *stage, void *ends, trip_send *send,
					trip_receive *receive, uint64_t first)
{
	struct histogram *ticks = &stage->shared->ticks;
	uint64_t last = first + (first ? stage->count : stage->warmup);
	uint64_t before = machine_ticks();
	uint64_t sum = 0;

	for (uint64_t turn = first; turn < last; turn++) {
		uint64_t now;

		send(stage, ends, turn);
		sum += receive(stage, ends, turn);
		now = machine_ticks();
		histogram_add(ticks, now - before);
		before = now;
	}
	return sum;
}

static STAGE_INLINE uint64_t trips_far(struct stage *stage, void *ends, trip_send *send,
				       trip_receive *receive, uint64_t first)
{
	uint64_t last = first + (first ? stage->count : stage->warmup);
	uint64_t sum = 0;

	for (uint64_t turn = first; turn < last; turn++) {
		sum += receive(stage, ends, turn);
		send(stage, ends, turn);
	}
	return sum;
}

/* Warm-up, and what is measured; a warm-up has at least one trip. */
static STAGE_INLINE void trips_run(struct stage *stage, void *ends, trip_send *send,
				   trip_receive *receive)
{
	uint64_t sum;

	if (stage->side == STAGE_NEAR) {
		trips_near(stage, ends, send, receive, 0);
		histogram_clear(&stage->shared->ticks);
		stage_begin(stage);
		sum = trips_near(stage, ends, send, receive, stage->warmup);
	} else {
		trips_far(stage, ends, send, receive, 0);
		stage_begin(stage);
		sum = trips_far(stage, ends, send, receive, stage->warmup);
	}
	stage_end(stage);
	stage->shared->halves[stage->side].check = sum;
}

#endif
