// SPDX-License-Identifier: MIT
/* Records of any size from one of many writers to the reader of a log: how many bytes a second? */
#include <errno.h>

#include "bench.h"
#include "payload.h"

#define LOG_MIN (1ULL << 20)

static void open_log(struct stage *stage, struct evr_log *log)
{
	struct evr_log_options options = { .struct_sz = sizeof(options), .capacity = LOG_MIN };
	bool is_near = stage->side == STAGE_NEAR;
	int err = 0;

	stage_attach(stage);
	while (options.capacity < 4 * stage->size)
		options.capacity *= 2;
	options.record_max = stage->size;
	if (is_near)
		err = evr_log_create(stage->peer, "log", &options);
	if (err)
		stage_fail(stage, "log", err);
	stage_meet(stage);
	err = evr_log_open(log, stage->peer, "log", is_near ? EVR_PRODUCER : EVR_CONSUMER);
	if (err)
		stage_fail(stage, "log", err);
	stage_meet(stage);
}

static void close_log(struct stage *stage, struct evr_log *log)
{
	stage_meet(stage);
	evr_log_close(log);
	stage_detach(stage);
}

static void produce(struct stage *stage, struct evr_log *log, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		void *record;
		int err = evr_log_reserve_wait(log, &stage->waiter, stage->size, EVR_NO_DEADLINE,
					       &record);

		if (err)
			stage_fail(stage, "reserve", err);
		payload_stream(record, stage->size, i);
		evr_log_commit(log, stage->size);
	}
}

static uint64_t consume(struct stage *stage, struct evr_log *log, uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		const void *record;
		uint64_t size;
		int err = evr_log_peek_wait(log, &stage->waiter, EVR_NO_DEADLINE, &record, &size);

		if (err)
			stage_fail(stage, "peek", err);
		sum += payload_read(record, size);
		evr_log_release(log);
	}
	return sum;
}

static void log_near(struct stage *stage)
{
	struct evr_log log;

	open_log(stage, &log);
	produce(stage, &log, stage->warmup);
	stage_begin(stage);
	produce(stage, &log, stage->count);
	stage_end(stage);
	close_log(stage, &log);
}

static void log_far(struct stage *stage)
{
	struct evr_log log;

	open_log(stage, &log);
	consume(stage, &log, stage->warmup);
	stage_begin(stage);
	stage->shared->halves[1].check = consume(stage, &log, stage->count);
	stage_end(stage);
	close_log(stage, &log);
}

static const struct rival spinning = { "evering", RIVAL_SPINS, stage_prepare_segment, log_near,
				       log_far };
static const struct rival adaptive = { "evering", RIVAL_ADAPTS, stage_prepare_segment, log_near,
				       log_far };
static const struct rival sleeping = { "evering", RIVAL_SLEEPS, stage_prepare_segment, log_near,
				       log_far };

const struct bench log_bench = {
	.name = "log",
	.summary = "records of any size through a log, written and read whole in place",
	.unit = BENCH_BYTES,
	.sizes = { 64, 256, 1024, 4096, 16384, 65536 },
	.batch = 1,
	.rivals = { &spinning, &adaptive, &sleeping, &spsc_pipe, &spsc_socket },
	.ratios = { { &sleeping, &spsc_pipe }, { &sleeping, &spsc_socket } },
};
