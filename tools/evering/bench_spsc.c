// SPDX-License-Identifier: MIT
/* Small messages one way, many together: how many a second? */
#include <errno.h>
#include <stdlib.h>

#include "bench.h"
#include "carrier.h"
#include "payload.h"

#define RING_BYTES (64U << 10)

/* As if so many messages had gone through it already, less half of those that are measured. */
static void start_at(struct stage *stage, uint64_t pos)
{
	struct evr_lane_object *shared;
	struct evr_object object;
	int err = evr_dir_find(stage->peer, "one way", &object);

	if (err)
		stage_fail(stage, "ring", err);
	shared = evr_peer_at(stage->peer, object.off, object.sz);
	for (int role = 0; role < 2 && pos; role++)
		evr_a64_store_relaxed(&shared->sides[role].pos, pos - stage->count / 2);
}

static void open_ring(struct stage *stage, struct evr_spsc *ring)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options),
					    .elem_sz = (uint32_t)stage->size };
	bool is_near = stage->side == STAGE_NEAR;
	int err = 0;

	stage_attach(stage);
	options.capacity = 2;
	while (options.capacity < 4 * stage->batch ||
	       (uint64_t)options.capacity * stage->size < RING_BYTES)
		options.capacity *= 2;
	if (is_near)
		err = evr_spsc_create(stage->peer, "one way", &options);
	if (err)
		stage_fail(stage, "ring", err);
	if (is_near && stage->rival->with)
		start_at(stage, *(const uint64_t *)stage->rival->with);
	stage_meet(stage);
	err = evr_spsc_open(ring, stage->peer, "one way", is_near ? EVR_PRODUCER : EVR_CONSUMER, 0);
	if (err)
		stage_fail(stage, "ring", err);
	stage_meet(stage);
}

static void close_ring(struct stage *stage, struct evr_spsc *ring)
{
	stage_meet(stage);
	evr_spsc_close(ring);
	stage_detach(stage);
}

static __attribute__((noinline)) void spin_produce(struct evr_spsc *ring, uint64_t size,
						   uint64_t batch, uint64_t count)
{
	uint64_t left = count;

	while (left) {
		uint32_t nr = (uint32_t)(left < batch ? left : batch);
		void *slots = evr_spsc_reserve(ring, &nr);

		if (!slots) {
			evr_pause();
			continue;
		}
		payload_fill(slots, size, nr, left);
		evr_spsc_commit(ring, nr);
		left -= nr;
	}
}

static __attribute__((noinline)) uint64_t spin_consume(struct evr_spsc *ring, uint64_t size,
						       uint64_t batch, uint64_t count)
{
	uint64_t left = count;
	uint64_t sum = 0;

	while (left) {
		uint32_t nr = (uint32_t)(left < batch ? left : batch);
		const void *slots = evr_spsc_peek(ring, &nr);

		if (!slots) {
			evr_pause();
			continue;
		}
		sum += payload_read(slots, size * nr);
		evr_spsc_release(ring, nr);
		left -= nr;
	}
	return sum;
}

static void spin_near(struct stage *stage)
{
	struct evr_spsc ring;

	open_ring(stage, &ring);
	spin_produce(&ring, stage->size, stage->batch, stage->warmup);
	stage_begin(stage);
	spin_produce(&ring, stage->size, stage->batch, stage->count);
	stage_end(stage);
	close_ring(stage, &ring);
}

static void spin_far(struct stage *stage)
{
	struct evr_spsc ring;

	open_ring(stage, &ring);
	spin_consume(&ring, stage->size, stage->batch, stage->warmup);
	stage_begin(stage);
	stage->shared->halves[1].check =
		spin_consume(&ring, stage->size, stage->batch, stage->count);
	stage_end(stage);
	close_ring(stage, &ring);
}

static uint8_t *make_buffer(struct stage *stage)
{
	uint8_t *buffer = malloc(stage->size * stage->batch);

	if (!buffer)
		stage_fail(stage, "buffer", -ENOMEM);
	return buffer;
}

static void wait_produce(struct stage *stage, struct evr_spsc *ring, uint8_t *buffer,
			 uint64_t count)
{
	for (uint64_t left = count; left;) {
		uint32_t nr = (uint32_t)(left < stage->batch ? left : stage->batch);
		int put;

		payload_fill(buffer, stage->size, nr, left);
		put = evr_spsc_push_wait(ring, &stage->waiter, buffer, nr, EVR_NO_DEADLINE);
		if (put < 0)
			stage_fail(stage, "push", put);
		left -= (uint64_t)put;
	}
}

static uint64_t wait_consume(struct stage *stage, struct evr_spsc *ring, uint8_t *buffer,
			     uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t left = count; left;) {
		uint32_t nr = (uint32_t)(left < stage->batch ? left : stage->batch);
		int got = evr_spsc_pop_wait(ring, &stage->waiter, buffer, nr, EVR_NO_DEADLINE);

		if (got < 0)
			stage_fail(stage, "pop", got);
		sum += payload_read(buffer, stage->size * (uint64_t)got);
		left -= (uint64_t)got;
	}
	return sum;
}

static void wait_near(struct stage *stage)
{
	uint8_t *buffer = make_buffer(stage);
	struct evr_spsc ring;

	open_ring(stage, &ring);
	wait_produce(stage, &ring, buffer, stage->warmup);
	stage_begin(stage);
	wait_produce(stage, &ring, buffer, stage->count);
	stage_end(stage);
	close_ring(stage, &ring);
	free(buffer);
}

static void wait_far(struct stage *stage)
{
	uint8_t *buffer = make_buffer(stage);
	struct evr_spsc ring;

	open_ring(stage, &ring);
	wait_consume(stage, &ring, buffer, stage->warmup);
	stage_begin(stage);
	stage->shared->halves[1].check = wait_consume(stage, &ring, buffer, stage->count);
	stage_end(stage);
	close_ring(stage, &ring);
	free(buffer);
}

const struct rival spsc_spinning = { "evering", RIVAL_SPINS, stage_prepare_segment, spin_near,
				     spin_far };
static const struct rival adaptive = { "evering", RIVAL_ADAPTS, stage_prepare_segment, wait_near,
				       wait_far };
static const struct rival sleeping = { "evering", RIVAL_SLEEPS, stage_prepare_segment, wait_near,
				       wait_far };
const struct rival spsc_pipe = { "pipe",	 RIVAL_SLEEPS,	 stage_prepare_pipes,
				 carrier_stream, carrier_stream, &carrier_file };
const struct rival spsc_socket = { "UNIX socket",  RIVAL_SLEEPS,   stage_prepare_sockets,
				   carrier_stream, carrier_stream, &carrier_file };

const struct bench spsc_bench = {
	.name = "spsc",
	.summary = "messages of a fixed size one way, in batches",
	.unit = BENCH_MESSAGES,
	.sizes = { 8 },
	.batch = 32,
	.rivals = { &spsc_spinning, &adaptive, &sleeping, &spsc_pipe, &spsc_socket },
	.ratios = { { &sleeping, &spsc_pipe }, { &sleeping, &spsc_socket } },
};

static const uint64_t first = 0, million = 1000000, billion = 1000000000;
static const uint64_t past_32 = 1ULL << 32, past_63 = 1ULL << 63, past_64 = UINT64_MAX;

#define POSITION_RIVAL(id, text, pos)                                                          \
	static const struct rival id = { "evering, " text, RIVAL_SPINS, stage_prepare_segment, \
					 spin_near,	   spin_far,	&(pos) }

POSITION_RIVAL(at_first, "from 0", first);
POSITION_RIVAL(at_million, "at 10^6", million);
POSITION_RIVAL(at_billion, "at 10^9", billion);
POSITION_RIVAL(at_32, "over 2^32", past_32);
POSITION_RIVAL(at_63, "over 2^63", past_63);
POSITION_RIVAL(at_64, "over 2^64", past_64);

const struct bench positions_bench = {
	.name = "positions",
	.summary = "messages one way through rings that have carried so many before",
	.unit = BENCH_MESSAGES,
	.sizes = { 8 },
	.batch = 32,
	.rivals = { &at_first, &at_million, &at_billion, &at_32, &at_63, &at_64 },
	.ratios = { { &at_million, &at_first },
		    { &at_billion, &at_first },
		    { &at_32, &at_first },
		    { &at_63, &at_first },
		    { &at_64, &at_first } },
};
