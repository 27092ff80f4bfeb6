// SPDX-License-Identifier: MIT
/* Messages of any size one way, from one process' memory to another's: how many bytes a second? */
#include <errno.h>

#include "bench.h"
#include "payload.h"

#define RING_MIN (1ULL << 20)

static void open_stream(struct stage *stage, struct evr_bytes *stream)
{
	struct evr_bytes_options options = { .struct_sz = sizeof(options), .capacity = RING_MIN };
	bool is_near = stage->side == STAGE_NEAR;
	int err = 0;

	stage_attach(stage);
	while (options.capacity < 4 * stage->size)
		options.capacity *= 2;
	options.frame_max = stage->size;
	if (is_near)
		err = evr_bytes_create(stage->peer, "one way", &options);
	if (err)
		stage_fail(stage, "stream", err);
	stage_meet(stage);
	err = evr_bytes_open(stream, stage->peer, "one way", is_near ? EVR_PRODUCER : EVR_CONSUMER);
	if (err)
		stage_fail(stage, "stream", err);
	stage_meet(stage);
}

static void close_stream(struct stage *stage, struct evr_bytes *stream)
{
	stage_meet(stage);
	evr_bytes_close(stream);
	stage_detach(stage);
}

static void produce(struct stage *stage, struct evr_bytes *stream, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		void *frame;
		int err = evr_bytes_reserve_wait(stream, &stage->waiter, stage->size,
						 EVR_NO_DEADLINE, &frame);

		if (err)
			stage_fail(stage, "reserve", err);
		payload_stream(frame, stage->size, i);
		evr_bytes_commit(stream, stage->size);
	}
}

static uint64_t consume(struct stage *stage, struct evr_bytes *stream, uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		const void *frame;
		uint64_t size;
		int err =
			evr_bytes_peek_wait(stream, &stage->waiter, EVR_NO_DEADLINE, &frame, &size);

		if (err)
			stage_fail(stage, "peek", err);
		sum += payload_read(frame, size);
		evr_bytes_release(stream);
	}
	return sum;
}

static void stream_near(struct stage *stage)
{
	struct evr_bytes stream;

	open_stream(stage, &stream);
	produce(stage, &stream, stage->warmup);
	stage_begin(stage);
	produce(stage, &stream, stage->count);
	stage_end(stage);
	close_stream(stage, &stream);
}

static void stream_far(struct stage *stage)
{
	struct evr_bytes stream;

	open_stream(stage, &stream);
	consume(stage, &stream, stage->warmup);
	stage_begin(stage);
	stage->shared->halves[1].check = consume(stage, &stream, stage->count);
	stage_end(stage);
	close_stream(stage, &stream);
}

const struct rival bytes_spinning = { "evering", RIVAL_SPINS, stage_prepare_segment, stream_near,
				      stream_far };
const struct rival bytes_adaptive = { "evering", RIVAL_ADAPTS, stage_prepare_segment, stream_near,
				      stream_far };
const struct rival bytes_sleeping = { "evering", RIVAL_SLEEPS, stage_prepare_segment, stream_near,
				      stream_far };

const struct bench bytes_bench = {
	.name = "bytes",
	.summary = "messages of any size one way, written and read whole, memory to memory",
	.unit = BENCH_BYTES,
	.sizes = { 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576 },
	.batch = 1,
	.rivals = { &bytes_spinning, &bytes_adaptive, &bytes_sleeping, &spsc_pipe, &spsc_socket },
	.ratios = { { &bytes_sleeping, &spsc_pipe }, { &bytes_sleeping, &spsc_socket } },
};
