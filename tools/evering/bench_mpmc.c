// SPDX-License-Identifier: MIT
/* Queues of many: small messages one way, and between two that both push and pop. */
#include <errno.h>
#include <stdlib.h>

#include "bench.h"
#include "payload.h"
#include "spin.h"
#include "vyukov.h"

#define QUEUE_CAPACITY 2048

static void open_queue(struct stage *stage, struct evr_mpmc *queue)
{
	struct evr_mpmc_options options = { .struct_sz = sizeof(options),
					    .capacity = QUEUE_CAPACITY,
					    .elem_sz = (uint32_t)stage->size };
	int err = 0;

	stage_attach(stage);
	if (stage->side == STAGE_NEAR)
		err = evr_mpmc_create(stage->peer, "queue", &options);
	if (err)
		stage_fail(stage, "queue", err);
	stage_meet(stage);
	err = evr_mpmc_open(queue, stage->peer, "queue", 0);
	if (err)
		stage_fail(stage, "queue", err);
	stage_meet(stage);
}

static void close_queue(struct stage *stage, struct evr_mpmc *queue)
{
	stage_meet(stage);
	evr_mpmc_close(queue);
	stage_detach(stage);
}

static uint8_t *make_buffer(struct stage *stage)
{
	uint8_t *buffer = malloc(stage->size * stage->batch);

	if (!buffer)
		stage_fail(stage, "buffer", -ENOMEM);
	return buffer;
}

/* As many as can be at once; a spinning side never sleeps. */
static uint32_t move(struct stage *stage, struct evr_mpmc *queue, enum evr_role role,
		     uint8_t *buffer, uint32_t nr)
{
	int moved;

	if (stage->policy == EVR_WAIT_BUSY) {
		uint32_t done = role == EVR_PRODUCER ? evr_mpmc_push(queue, buffer, nr) :
						       evr_mpmc_pop(queue, buffer, nr);

		if (!done)
			evr_pause();
		return done;
	}
	moved = role == EVR_PRODUCER ?
			evr_mpmc_push_wait(queue, &stage->waiter, buffer, nr, EVR_NO_DEADLINE) :
			evr_mpmc_pop_wait(queue, &stage->waiter, buffer, nr, EVR_NO_DEADLINE);
	if (moved < 0)
		stage_fail(stage, role == EVR_PRODUCER ? "push" : "pop", moved);
	return (uint32_t)moved;
}

static void produce(struct stage *stage, struct evr_mpmc *queue, uint8_t *buffer, uint64_t count)
{
	for (uint64_t left = count; left;) {
		uint32_t nr = (uint32_t)(left < stage->batch ? left : stage->batch);

		payload_write(buffer, stage->size * nr, left);
		for (uint32_t done = 0; done < nr;)
			done += move(stage, queue, EVR_PRODUCER, buffer + done * stage->size,
				     nr - done);
		left -= nr;
	}
}

static uint64_t consume(struct stage *stage, struct evr_mpmc *queue, uint8_t *buffer,
			uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t left = count; left;) {
		uint32_t nr = (uint32_t)(left < stage->batch ? left : stage->batch);

		nr = move(stage, queue, EVR_CONSUMER, buffer, nr);
		sum += payload_read(buffer, stage->size * nr);
		left -= nr;
	}
	return sum;
}

static void queue_near(struct stage *stage)
{
	uint8_t *buffer = make_buffer(stage);
	struct evr_mpmc queue;

	open_queue(stage, &queue);
	produce(stage, &queue, buffer, stage->warmup);
	stage_begin(stage);
	produce(stage, &queue, buffer, stage->count);
	stage_end(stage);
	close_queue(stage, &queue);
	free(buffer);
}

static void queue_far(struct stage *stage)
{
	uint8_t *buffer = make_buffer(stage);
	struct evr_mpmc queue;

	open_queue(stage, &queue);
	consume(stage, &queue, buffer, stage->warmup);
	stage_begin(stage);
	stage->shared->halves[1].check = consume(stage, &queue, buffer, stage->count);
	stage_end(stage);
	close_queue(stage, &queue);
	free(buffer);
}

/* Both sides do both, so what is popped is whose it happens to be. */
static uint64_t push_and_pop(struct stage *stage, struct evr_mpmc *queue, uint8_t *buffer,
			     uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		payload_write(buffer, stage->size, i);
		while (!move(stage, queue, EVR_PRODUCER, buffer, 1))
			;
		while (!move(stage, queue, EVR_CONSUMER, buffer, 1))
			;
		sum += payload_read(buffer, stage->size);
	}
	return sum;
}

static void queue_both(struct stage *stage)
{
	uint8_t *buffer = make_buffer(stage);
	struct evr_mpmc queue;

	open_queue(stage, &queue);
	push_and_pop(stage, &queue, buffer, stage->warmup);
	stage_begin(stage);
	stage->shared->halves[stage->side].check =
		push_and_pop(stage, &queue, buffer, stage->count);
	stage_end(stage);
	close_queue(stage, &queue);
	free(buffer);
}

static int prepare_bare(struct stage *stage)
{
	int err = stage->size == 8 ? stage_prepare_memory(stage, sizeof(struct vyukov)) :
				     -EOPNOTSUPP;

	if (!err)
		vyukov_init(stage->page);
	return err;
}

SPIN_RIVAL(bare, 8, vyukov_push, vyukov_pop)

static const struct rival spinning = { "evering", RIVAL_SPINS, stage_prepare_segment, queue_near,
				       queue_far };
static const struct rival adaptive = { "evering", RIVAL_ADAPTS, stage_prepare_segment, queue_near,
				       queue_far };
static const struct rival sleeping = { "evering", RIVAL_SLEEPS, stage_prepare_segment, queue_near,
				       queue_far };
static const struct rival bare = { "Vyukov, no repair", RIVAL_SPINS, prepare_bare, bare_one_way,
				   bare_one_way };
static const struct rival both = { "evering", RIVAL_SPINS, stage_prepare_segment, queue_both,
				   queue_both };
static const struct rival bare_both = { "Vyukov, no repair", RIVAL_SPINS, prepare_bare,
					 bare_pairs, bare_pairs };

const struct bench mpmc_bench = {
	.name = "mpmc",
	.summary = "messages of a fixed size through a queue of many, one way",
	.unit = BENCH_MESSAGES,
	.sizes = { 8 },
	.batch = 32,
	.rivals = { &spinning, &bare, &adaptive, &sleeping, &spsc_pipe, &spsc_socket },
	.ratios = { { &spinning, &bare }, { &sleeping, &spsc_pipe }, { &sleeping, &spsc_socket } },
};

const struct bench pairs_bench = {
	.name = "pairs",
	.summary =
		"a queue of many, both sides push and pop, one by one; a pair of each side is one",
	.unit = BENCH_MESSAGES,
	.sizes = { 8 },
	.batch = 1,
	.rivals = { &both, &bare_both },
	.ratios = { { &both, &bare_both } },
};
