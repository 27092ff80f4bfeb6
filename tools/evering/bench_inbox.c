// SPDX-License-Identifier: MIT
/* Messages into an inbox, from one sender: what the way through it costs above a ring. */
#include <errno.h>
#include <stdlib.h>

#include <evering/inbox.h>

#include "bench.h"
#include "payload.h"

static uint32_t power_of_two(uint64_t least)
{
	uint32_t power = 1;

	while (power < least && power < 1U << 30)
		power *= 2;
	return power;
}

static void make_inbox(struct stage *stage)
{
	struct evr_inbox_options options = { .struct_sz = sizeof(options),
					     .capacity = power_of_two(4 * stage->batch),
					     .elem_sz = (uint32_t)stage->size };
	int err = evr_inbox_create(stage->peer, "in", &options);

	if (err)
		stage_fail(stage, "inbox", err);
}

static void inbox_send(struct stage *stage, struct evr_inbox_sender *sender, uint64_t count)
{
	for (uint64_t left = count; left;) {
		uint32_t nr = (uint32_t)(left < stage->batch ? left : stage->batch);
		uint8_t *slots = evr_inbox_reserve(sender, &nr);
		int err;

		if (!slots) {
			if (stage->policy == EVR_WAIT_BUSY) {
				evr_pause();
				continue;
			}
			err = evr_lane_wait(&sender->ring.lane, &stage->waiter, 1, EVR_NO_DEADLINE);
			if (err)
				stage_fail(stage, "send", err);
			continue;
		}
		for (uint32_t i = 0; i < nr; i++)
			payload_write(slots + i * stage->size, stage->size, left - i);
		evr_inbox_commit(sender, nr);
		left -= nr;
	}
}

static uint64_t inbox_receive(struct stage *stage, struct evr_inbox *box, uint8_t *buffer,
			      uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t left = count; left;) {
		uint32_t want = (uint32_t)(left < stage->batch ? left : stage->batch);
		int got;

		if (stage->policy == EVR_WAIT_BUSY) {
			got = (int)evr_inbox_pop(box, buffer, want, NULL);
			if (!got)
				evr_pause();
		} else {
			got = evr_inbox_pop_wait(box, &stage->waiter, buffer, want, NULL,
						 EVR_NO_DEADLINE);
		}
		if (got < 0)
			stage_fail(stage, "receive", got);
		sum += payload_read(buffer, stage->size * (uint64_t)got);
		left -= (uint64_t)got;
	}
	return sum;
}

static void inbox_near(struct stage *stage)
{
	struct evr_inbox_sender sender;
	int err;

	stage_attach(stage);
	stage_meet(stage);
	err = evr_inbox_join(&sender, stage->peer, "in", 0);
	if (err)
		stage_fail(stage, "join", err);
	stage_meet(stage);
	inbox_send(stage, &sender, stage->warmup);
	stage_begin(stage);
	inbox_send(stage, &sender, stage->count);
	stage_end(stage);
	stage_meet(stage);
	evr_inbox_leave(&sender);
	stage_detach(stage);
}

static void inbox_far(struct stage *stage)
{
	uint8_t *buffer = malloc(stage->size * stage->batch);
	struct evr_inbox box;
	int err;

	if (!buffer)
		stage_fail(stage, "buffer", -ENOMEM);
	stage_attach(stage);
	make_inbox(stage);
	stage_meet(stage);
	err = evr_inbox_open(&box, stage->peer, "in", 0);
	if (err)
		stage_fail(stage, "open", err);
	stage_meet(stage);
	inbox_receive(stage, &box, buffer, stage->warmup);
	stage_begin(stage);
	stage->shared->halves[1].check = inbox_receive(stage, &box, buffer, stage->count);
	stage_end(stage);
	stage_meet(stage);
	evr_inbox_close(&box);
	stage_detach(stage);
	free(buffer);
}

static const struct rival spinning = { "evering inbox", RIVAL_SPINS, stage_prepare_segment, inbox_near,
				       inbox_far };
static const struct rival adaptive = { "evering inbox", RIVAL_ADAPTS, stage_prepare_segment, inbox_near,
				       inbox_far };
static const struct rival sleeping = { "evering inbox", RIVAL_SLEEPS, stage_prepare_segment, inbox_near,
				       inbox_far };

const struct bench inbox_bench = {
	.name = "inbox",
	.summary = "messages of a fixed size one way through an inbox, in batches",
	.unit = BENCH_MESSAGES,
	.sizes = { 8 },
	.batch = 32,
	.rivals = { &spinning, &spsc_spinning, &adaptive, &sleeping, &spsc_pipe, &spsc_socket },
	.ratios = { { &spinning, &spsc_spinning },
		    { &sleeping, &spsc_pipe },
		    { &sleeping, &spsc_socket } },
};
