// SPDX-License-Identifier: MIT
/*
 * Small messages through a broadcast to one reader: a subscriber, which the writer waits for;
 * and an observer, which it does not know of. Of the latter's messages some are lost, and
 * counted; the time is that of all.
 */
#include <errno.h>
#include <stdlib.h>

#include "bench.h"
#include "payload.h"

#define BCAST_CAPACITY 2048

/* What a side needs between its beginning and its end. */
struct player {
	struct evr_bcast b;
	uint8_t *buffer;
	bool is_lossy;
};

static void open_player(struct stage *stage, struct player *p, bool is_lossy)
{
	struct evr_bcast_options options = { .struct_sz = sizeof(options),
					     .capacity = BCAST_CAPACITY,
					     .elem_sz = (uint32_t)stage->size,
					     .seats = !is_lossy };
	bool is_near = stage->side == STAGE_NEAR;
	int err = 0;

	*p = (struct player){ .buffer = malloc(stage->size * stage->batch), .is_lossy = is_lossy };
	if (!p->buffer)
		stage_fail(stage, "buffer", -ENOMEM);
	stage_attach(stage);
	if (is_near)
		err = evr_bcast_create(stage->peer, "bcast", &options);
	if (err)
		stage_fail(stage, "broadcast", err);
	stage_meet(stage);
	if (is_lossy && !is_near)
		err = evr_bcast_observe(&p->b, stage->peer, "bcast", NULL, 0);
	else
		err = evr_bcast_open(&p->b, stage->peer, "bcast",
				     is_near ? EVR_PRODUCER : EVR_CONSUMER, 0);
	if (err)
		stage_fail(stage, "broadcast", err);
	stage_meet(stage);
}

static void close_player(struct stage *stage, struct player *p)
{
	stage_meet(stage);
	evr_bcast_close(&p->b);
	stage_detach(stage);
	free(p->buffer);
}

/* As many as can be at once; a spinning side never sleeps. */
static uint32_t move(struct stage *stage, struct player *p, uint8_t *buffer, uint32_t nr)
{
	bool is_near = stage->side == STAGE_NEAR;
	int moved;

	if (stage->policy == EVR_WAIT_BUSY) {
		uint32_t done = is_near ? evr_bcast_push(&p->b, buffer, nr) :
					  evr_bcast_pop(&p->b, buffer, nr);

		if (!done)
			evr_pause();
		return done;
	}
	moved = is_near ? evr_bcast_push_wait(&p->b, &stage->waiter, buffer, nr, EVR_NO_DEADLINE) :
			  evr_bcast_pop_wait(&p->b, &stage->waiter, buffer, nr, EVR_NO_DEADLINE);
	if (moved < 0)
		stage_fail(stage, is_near ? "push" : "pop", moved);
	return (uint32_t)moved;
}

static void produce(struct stage *stage, struct player *p, uint64_t count)
{
	for (uint64_t left = count; left;) {
		uint32_t nr = (uint32_t)(left < stage->batch ? left : stage->batch);

		payload_write(p->buffer, stage->size * nr, left);
		for (uint32_t done = 0; done < nr;)
			done += move(stage, p, p->buffer + done * stage->size, nr - done);
		left -= nr;
	}
}

/* Until the position has moved so far, with what was lost. */
static uint64_t consume(struct stage *stage, struct player *p, uint64_t count)
{
	struct evr_bcast_tally tally;
	uint64_t sum = 0, end;

	evr_bcast_tally(&p->b, &tally);
	end = tally.next + count;
	while (tally.next < end) {
		uint64_t left = end - tally.next;
		uint32_t nr = (uint32_t)(left < stage->batch ? left : stage->batch);

		nr = move(stage, p, p->buffer, nr);
		sum += payload_read(p->buffer, stage->size * nr);
		evr_bcast_tally(&p->b, &tally);
	}
	return sum;
}

static void play(struct stage *stage, bool is_lossy)
{
	struct player p;

	open_player(stage, &p, is_lossy);
	if (stage->side == STAGE_NEAR)
		produce(stage, &p, stage->warmup);
	else
		consume(stage, &p, stage->warmup);
	stage_begin(stage);
	if (stage->side == STAGE_NEAR)
		produce(stage, &p, stage->count);
	else
		stage->shared->halves[1].check = consume(stage, &p, stage->count);
	stage_end(stage);
	close_player(stage, &p);
}

static void play_reliable(struct stage *stage)
{
	play(stage, false);
}

static void play_lossy(struct stage *stage)
{
	play(stage, true);
}

static const struct rival spinning = { "subscriber", RIVAL_SPINS, stage_prepare_segment,
				       play_reliable, play_reliable };
static const struct rival adaptive = { "subscriber", RIVAL_ADAPTS, stage_prepare_segment,
				       play_reliable, play_reliable };
static const struct rival sleeping = { "subscriber", RIVAL_SLEEPS, stage_prepare_segment,
				       play_reliable, play_reliable };
static const struct rival observed = { "observer", RIVAL_SPINS, stage_prepare_segment, play_lossy,
				       play_lossy };

const struct bench bcast_bench = {
	.name = "bcast",
	.summary = "small messages through a broadcast to one subscriber, or one observer",
	.unit = BENCH_MESSAGES,
	.sizes = { 8 },
	.batch = 32,
	.rivals = { &spinning, &observed, &spsc_spinning, &adaptive, &sleeping, &spsc_pipe,
		    &spsc_socket },
	.ratios = { { &spinning, &spsc_spinning },
		    { &observed, &spsc_spinning },
		    { &sleeping, &spsc_pipe },
		    { &sleeping, &spsc_socket } },
};
