// SPDX-License-Identifier: MIT
/* Messages of any size one way, from one process' memory to another's: how many bytes a second? */
#include <errno.h>

#include "bench.h"
#include "payload.h"

#define RING_MIN (1ULL << 20)

static uint64_t ring_sz(const struct stage *stage)
{
	uint64_t sz = RING_MIN;

	while (sz < 4 * stage->size)
		sz *= 2;
	return sz;
}

static void open_stream(struct stage *stage, struct evr_bytes *stream)
{
	struct evr_bytes_options options = { .struct_sz = sizeof(options),
					     .capacity = ring_sz(stage),
					     .frame_max = stage->size };
	bool is_near = stage->side == STAGE_NEAR;
	int err = 0;

	stage_attach(stage);
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

/*
 * As many messages in memory of the same size, and how many were written and read: what
 * is left when all that a ring does is taken away.
 */
struct bare {
	struct evr_a64 written;
	uint8_t pad[EVR_LINE_SZ - sizeof(struct evr_a64)];
	struct evr_a64 read;
};

static int prepare_bare(struct stage *stage)
{
	return stage_prepare_memory(stage, STAGE_PAGE_SZ + ring_sz(stage));
}

static uint8_t *bare_place(struct stage *stage, uint64_t turn)
{
	return (uint8_t *)stage->page + STAGE_PAGE_SZ +
	       turn * stage->size % (ring_sz(stage) / stage->size * stage->size);
}

static void bare_produce(struct stage *stage, uint64_t from, uint64_t to)
{
	struct bare *bare = stage->page;
	uint64_t places = ring_sz(stage) / stage->size;
	uint64_t read = 0;

	for (uint64_t i = from; i < to; i++) {
		while (i >= read + places) {
			read = evr_a64_load_acquire(&bare->read);
			evr_pause();
		}
		payload_stream(bare_place(stage, i), stage->size, i);
		evr_a64_store_release(&bare->written, i + 1);
	}
}

static uint64_t bare_consume(struct stage *stage, uint64_t from, uint64_t to)
{
	struct bare *bare = stage->page;
	uint64_t written = 0;
	uint64_t sum = 0;

	for (uint64_t i = from; i < to; i++) {
		while (i >= written) {
			written = evr_a64_load_acquire(&bare->written);
			evr_pause();
		}
		sum += payload_read(bare_place(stage, i), stage->size);
		evr_a64_store_release(&bare->read, i + 1);
	}
	return sum;
}

static void bare_near(struct stage *stage)
{
	stage_meet(stage);
	bare_produce(stage, 0, stage->warmup);
	stage_begin(stage);
	bare_produce(stage, stage->warmup, stage->warmup + stage->count);
	stage_end(stage);
	stage_meet(stage);
}

static void bare_far(struct stage *stage)
{
	stage_meet(stage);
	bare_consume(stage, 0, stage->warmup);
	stage_begin(stage);
	stage->shared->halves[1].check =
		bare_consume(stage, stage->warmup, stage->warmup + stage->count);
	stage_end(stage);
	stage_meet(stage);
}

static const struct rival bytes_bare = { "bare memory", RIVAL_SPINS, prepare_bare, bare_near,
					 bare_far };
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
	.rivals = { &bytes_bare, &bytes_spinning, &bytes_adaptive, &bytes_sleeping, &spsc_pipe,
		    &spsc_socket },
	.ratios = { { &bytes_spinning, &bytes_bare },
		    { &bytes_sleeping, &spsc_pipe },
		    { &bytes_sleeping, &spsc_socket } },
};
