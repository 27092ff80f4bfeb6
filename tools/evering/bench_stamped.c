// SPDX-License-Identifier: MIT
/* Messages of a cache line one way, through the ring whose slots are stamped. */
#include <evering/slots.h>

#include "bench.h"
#include "payload.h"

#define RING_MESSAGES 1024

static void open_ring(struct stage *stage, struct evr_slots *ring)
{
	struct evr_slots_options options = { .struct_sz = sizeof(options),
					     .capacity = RING_MESSAGES,
					     .msg_max = (uint32_t)stage->size };
	bool is_near = stage->side == STAGE_NEAR;
	int err = 0;

	stage_attach(stage);
	if (is_near)
		err = evr_slots_create(stage->peer, "one way", &options);
	if (err)
		stage_fail(stage, "ring", err);
	stage_meet(stage);
	err = evr_slots_open(ring, stage->peer, "one way", is_near ? EVR_PRODUCER : EVR_CONSUMER,
			     0);
	if (err)
		stage_fail(stage, "ring", err);
	stage_meet(stage);
}

static void produce(struct stage *stage, struct evr_slots *ring, uint64_t count)
{
	for (uint64_t left = count; left; left--) {
		void *slot;

		while (!(slot = evr_slots_reserve(ring)))
			evr_pause();
		payload_write(slot, stage->size, left);
		evr_slots_commit(ring, (uint32_t)stage->size);
	}
}

static uint64_t consume(struct stage *stage, struct evr_slots *ring, uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t left = count; left; left--) {
		const void *slot;
		uint32_t sz;

		while (!(slot = evr_slots_peek(ring, &sz)))
			evr_pause();
		sum += payload_read(slot, stage->size);
		evr_slots_release(ring);
	}
	return sum;
}

static void stamped_side(struct stage *stage)
{
	bool is_near = stage->side == STAGE_NEAR;
	struct evr_slots ring;
	uint64_t sum = 0;

	open_ring(stage, &ring);
	if (is_near)
		produce(stage, &ring, stage->warmup);
	else
		consume(stage, &ring, stage->warmup);
	stage_begin(stage);
	if (is_near)
		produce(stage, &ring, stage->count);
	else
		sum = consume(stage, &ring, stage->count);
	stage_end(stage);
	stage->shared->halves[stage->side].check = sum;
	stage_meet(stage);
	evr_slots_close(&ring);
	stage_detach(stage);
}

static const struct rival slots = { "evering slots", RIVAL_SPINS, stage_prepare_segment,
				    stamped_side, stamped_side };

const struct bench stamped_bench = {
	.name = "stamped",
	.summary = "messages of a cache line one way, each with its stamp; batches are the others'",
	.unit = BENCH_MESSAGES,
	.sizes = { 56 },
	.batch = 32,
	.rivals = { &slots, &spsc_spinning },
	.ratios = { { &slots, &spsc_spinning } },
};
