// SPDX-License-Identifier: MIT
/*
 * Messages over a channel one way, and requests with their answers, several outstanding:
 * small ones in frames, large ones in blocks that are filled and read in place.
 */
#include <errno.h>

#include "bench.h"
#include "carrier.h"
#include "channel_end.h"
#include "payload.h"

/* A message of the stage's size, where it is sent from without another copy. */
static void fill(struct stage *stage, struct channel_end *end, struct evr_message *m, uint64_t seed)
{
	int err = 0;

	*m = (struct evr_message){ .data = end->buffer, .sz = stage->size };
	if (stage->size > CHANNEL_INLINE_MAX)
		err = evr_channel_alloc(&end->ch, stage->size, m);
	if (err)
		stage_fail(stage, "block", err);
	payload_write(m->data, stage->size, seed);
}

static void send_all(struct stage *stage, struct channel_end *end, uint64_t count)
{
	struct evr_message m;

	for (uint64_t i = 0; i < count; i++) {
		int err;

		fill(stage, end, &m, i);
		err = evr_channel_send_wait(&end->ch, &stage->waiter, &m, EVR_NO_DEADLINE);
		if (err)
			stage_fail(stage, "send", err);
	}
}

static uint64_t receive_all(struct stage *stage, struct channel_end *end, uint64_t count)
{
	struct evr_message m;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		int err = evr_channel_recv_wait(&end->ch, &stage->waiter, &m, EVR_NO_DEADLINE);

		if (err)
			stage_fail(stage, "receive", err);
		sum += payload_read(m.data, m.sz);
		evr_channel_release(&end->ch, &m);
	}
	return sum;
}

/* Blocks that nobody looks into but at their beginning: what is carried is a handle. */
static uint64_t move_handles(struct stage *stage, struct channel_end *end, uint64_t count)
{
	struct evr_message m;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		int err = 0;

		if (stage->side == STAGE_FAR) {
			err = evr_channel_recv_wait(&end->ch, &stage->waiter, &m, EVR_NO_DEADLINE);
			if (!err)
				sum += payload_read(m.data, sizeof(i));
			if (!err)
				evr_channel_release(&end->ch, &m);
		} else {
			err = evr_channel_alloc(&end->ch, stage->size, &m);
			if (!err)
				payload_write(m.data, sizeof(i), i);
			if (!err)
				err = evr_channel_send_wait(&end->ch, &stage->waiter, &m,
							    EVR_NO_DEADLINE);
		}
		if (err)
			stage_fail(stage, "block", err);
	}
	return sum;
}

static void handles_side(struct stage *stage)
{
	struct channel_end end;
	uint64_t sum;

	channel_end_open(stage, &end);
	move_handles(stage, &end, stage->warmup);
	stage_begin(stage);
	sum = move_handles(stage, &end, stage->count);
	stage_end(stage);
	stage->shared->halves[stage->side].check = sum;
	channel_end_close(stage, &end);
}

static void channel_near(struct stage *stage)
{
	struct channel_end end;

	channel_end_open(stage, &end);
	send_all(stage, &end, stage->warmup);
	stage_begin(stage);
	send_all(stage, &end, stage->count);
	stage_end(stage);
	channel_end_close(stage, &end);
}

static void channel_far(struct stage *stage)
{
	struct channel_end end;

	channel_end_open(stage, &end);
	receive_all(stage, &end, stage->warmup);
	stage_begin(stage);
	stage->shared->halves[1].check = receive_all(stage, &end, stage->count);
	stage_end(stage);
	channel_end_close(stage, &end);
}

static uint64_t call_all(struct stage *stage, struct channel_end *end, struct evr_call *call,
			 uint64_t count)
{
	struct evr_call_request request = { .deadline_ns = EVR_NO_DEADLINE };
	struct evr_call_completion done;
	uint64_t sent = 0, got = 0, sum = 0, id;
	int err;

	while (got < count) {
		if (sent < count && sent - got < CARRIER_WINDOW) {
			fill(stage, end, &request.message, sent++);
			err = evr_call_submit_wait(call, &stage->waiter, &request, &id,
						   EVR_NO_DEADLINE);
			if (err)
				stage_fail(stage, "submit", err);
			continue;
		}
		err = evr_call_complete_wait(call, &stage->waiter, &done, EVR_NO_DEADLINE);
		if (err || done.result)
			stage_fail(stage, "complete", err ? err : done.result);
		sum += payload_read(done.message.data, done.message.sz);
		evr_channel_release(&end->ch, &done.message);
		got++;
	}
	return sum;
}

static uint64_t serve_all(struct stage *stage, struct channel_end *end,
			  struct evr_call_server *server, uint64_t count)
{
	struct evr_message request, answer;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		int err = evr_call_take_wait(server, &stage->waiter, &request, EVR_NO_DEADLINE);

		if (err)
			stage_fail(stage, "take", err);
		sum += payload_read(request.data, request.sz);
		fill(stage, end, &answer, i);
		err = evr_call_answer_wait(server, &stage->waiter, request.id, &answer,
					   EVR_NO_DEADLINE);
		if (err)
			stage_fail(stage, "answer", err);
	}
	return sum;
}

static void call_near(struct stage *stage)
{
	struct evr_call call;
	struct channel_end end;
	int err;

	channel_end_open(stage, &end);
	err = evr_call_init(&call, &end.ch, CARRIER_WINDOW);
	if (err)
		stage_fail(stage, "call", err);
	call_all(stage, &end, &call, stage->warmup);
	stage_begin(stage);
	stage->shared->halves[0].check = call_all(stage, &end, &call, stage->count);
	stage_end(stage);
	evr_call_fini(&call);
	channel_end_close(stage, &end);
}

static void call_far(struct stage *stage)
{
	struct evr_call_server server;
	struct channel_end end;
	int err;

	channel_end_open(stage, &end);
	err = evr_call_server_init(&server, &end.ch, CARRIER_WINDOW);
	if (err)
		stage_fail(stage, "server", err);
	serve_all(stage, &end, &server, stage->warmup);
	stage_begin(stage);
	stage->shared->halves[1].check = serve_all(stage, &end, &server, stage->count);
	stage_end(stage);
	evr_call_server_fini(&server);
	channel_end_close(stage, &end);
}

static const struct rival channel_adaptive = { "evering", RIVAL_ADAPTS, channel_prepare,
					       channel_near, channel_far };
static const struct rival channel_sleeping = { "evering", RIVAL_SLEEPS, channel_prepare,
					       channel_near, channel_far };
static const struct rival call_spinning = { "evering", RIVAL_SPINS, channel_prepare, call_near,
					    call_far };
static const struct rival call_adaptive = { "evering", RIVAL_ADAPTS, channel_prepare, call_near,
					    call_far };
static const struct rival call_sleeping = { "evering", RIVAL_SLEEPS, channel_prepare, call_near,
					    call_far };
static const struct rival call_socket = { "UNIX socket", RIVAL_SLEEPS,	stage_prepare_sockets,
					  carrier_calls, carrier_calls, &carrier_file };
static const struct rival call_polled = { "UNIX socket", RIVAL_SPINS,	stage_prepare_sockets,
					  carrier_calls, carrier_calls, &carrier_file_polled };

const struct bench channel_bench = {
	.name = "channel",
	.summary = "messages one way over a channel, from memory to memory",
	.unit = BENCH_BYTES,
	.sizes = { 1, 64, 1024, 64 << 10 },
	.batch = 1,
	.rivals = { &channel_adaptive, &channel_sleeping, &spsc_pipe, &spsc_socket },
	.ratios = { { &channel_sleeping, &spsc_pipe }, { &channel_sleeping, &spsc_socket } },
};

const struct bench call_bench = {
	.name = "call",
	.summary = "requests with answers of the same size, 8 outstanding",
	.unit = BENCH_MESSAGES,
	.sizes = { 1, 64, 1024, 64 << 10 },
	.batch = 1,
	.rivals = { &call_spinning, &call_polled, &call_adaptive, &call_sleeping, &call_socket },
	.ratios = { { &call_spinning, &call_polled }, { &call_sleeping, &call_socket } },
};

static const struct rival handles_spinning = { "evering", RIVAL_SPINS, channel_prepare,
					       handles_side, handles_side };
static const struct rival handles_adaptive = { "evering", RIVAL_ADAPTS, channel_prepare,
					       handles_side, handles_side };
static const struct rival handles_sleeping = { "evering", RIVAL_SLEEPS, channel_prepare,
					       handles_side, handles_side };
static const struct rival untouched_polled = { "UNIX socket",
					       RIVAL_SPINS,
					       stage_prepare_sockets,
					       carrier_stream_untouched,
					       carrier_stream_untouched,
					       &carrier_file_polled };
static const struct rival untouched_pipe = { "pipe",
					     RIVAL_SLEEPS,
					     stage_prepare_pipes,
					     carrier_stream_untouched,
					     carrier_stream_untouched,
					     &carrier_file };
static const struct rival untouched_socket = { "UNIX socket",
					       RIVAL_SLEEPS,
					       stage_prepare_sockets,
					       carrier_stream_untouched,
					       carrier_stream_untouched,
					       &carrier_file };

const struct bench handles_bench = {
	.name = "handles",
	.summary =
		"large messages one way, handed over by handle; all but their first bytes untouched",
	.unit = BENCH_BYTES,
	.sizes = { 64 << 10, 1 << 20 },
	.batch = 1,
	.rivals = { &handles_spinning, &untouched_polled, &handles_adaptive, &handles_sleeping,
		    &untouched_pipe, &untouched_socket },
	.ratios = { { &handles_spinning, &untouched_polled },
		    { &handles_sleeping, &untouched_pipe },
		    { &handles_sleeping, &untouched_socket } },
};
