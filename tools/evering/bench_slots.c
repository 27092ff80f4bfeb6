// SPDX-License-Identifier: MIT
/* Round trips over the ring that is made for them, against those over evr_spsc. */
#include <evering/slots.h>

#include "bench.h"
#include "payload.h"
#include "trips.h"

#define RING_MESSAGES 64

struct ends {
	struct evr_slots out;
	struct evr_slots in;
};

static void create_ring(struct stage *stage, const char *name)
{
	struct evr_slots_options options = { .struct_sz = sizeof(options),
					     .capacity = RING_MESSAGES,
					     .msg_max = (uint32_t)stage->size };
	int err = evr_slots_create(stage->peer, name, &options);

	if (err)
		stage_fail(stage, name, err);
}

static void open_rings(struct stage *stage, struct ends *ends)
{
	bool is_near = stage->side == STAGE_NEAR;
	int err;

	stage_attach(stage);
	if (is_near) {
		create_ring(stage, "forth");
		create_ring(stage, "back");
	}
	stage_meet(stage);
	err = evr_slots_open(&ends->out, stage->peer, is_near ? "forth" : "back", EVR_PRODUCER, 0);
	if (!err)
		err = evr_slots_open(&ends->in, stage->peer, is_near ? "back" : "forth",
				     EVR_CONSUMER, 0);
	if (err)
		stage_fail(stage, "rings", err);
	stage_meet(stage);
}

static void close_rings(struct stage *stage, struct ends *ends)
{
	stage_meet(stage);
	evr_slots_close(&ends->out);
	evr_slots_close(&ends->in);
	stage_detach(stage);
}

static STAGE_INLINE void slots_send(struct stage *stage, void *arg, uint64_t turn)
{
	struct ends *ends = arg;
	void *slot;

	while (!(slot = evr_slots_reserve(&ends->out)))
		evr_pause();
	payload_write(slot, stage->size, turn);
	evr_slots_commit(&ends->out, (uint32_t)stage->size);
}

static STAGE_INLINE uint64_t slots_receive(struct stage *stage, void *arg, uint64_t turn)
{
	struct ends *ends = arg;
	const void *slot;
	uint64_t sum;
	uint32_t sz;
	int err;

	if (stage->policy == EVR_WAIT_BUSY) {
		while (!(slot = evr_slots_peek(&ends->in, &sz)))
			evr_pause();
	} else {
		err = evr_slots_peek_wait(&ends->in, &stage->waiter, EVR_NO_DEADLINE, &slot, &sz);
		if (err)
			stage_fail(stage, "peek", err);
	}
	sum = payload_read(slot, stage->size);
	evr_slots_release(&ends->in);
	return sum;
}

static void slots_side(struct stage *stage)
{
	struct ends ends;

	open_rings(stage, &ends);
	trips_run(stage, &ends, slots_send, slots_receive);
	close_rings(stage, &ends);
}

static const struct rival spinning = { "evering slots", RIVAL_SPINS, stage_prepare_segment, slots_side,
				       slots_side };
static const struct rival adaptive = { "evering slots", RIVAL_ADAPTS, stage_prepare_segment, slots_side,
				       slots_side };
static const struct rival sleeping = { "evering slots", RIVAL_SLEEPS, stage_prepare_segment, slots_side,
				       slots_side };

const struct bench slots_bench = {
	.name = "slots",
	.summary = "round trips of one message through the ring of low latency",
	.unit = BENCH_ROUND_TRIPS,
	.sizes = { 56 },
	.batch = 1,
	.rivals = { &ringtrip_line, &spinning, &ringtrip_spinning, &adaptive, &sleeping,
		    &ringtrip_pipe, &ringtrip_socket },
	.ratios = { { &spinning, &ringtrip_line },
		    { &spinning, &ringtrip_spinning },
		    { &sleeping, &ringtrip_pipe } },
};
