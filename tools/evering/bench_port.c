// SPDX-License-Identifier: MIT
/*
 * An end of a connection is handed to the other process, which answers over it, once each
 * time: a port through a ring, and a socket by SCM_RIGHTS.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <evering/port.h>

#include "bench.h"
#include "fdpass.h"
#include "payload.h"
#include "trips.h"

struct ends {
	struct evr_spsc ring; /* of ports */
	struct evr_channel ch; /* near: A, all the time; far: B, this time */
	uint8_t *buffer;
	int fd;
};

static void open_ring(struct stage *stage, struct ends *ends)
{
	struct evr_spsc_options ring = { .struct_sz = sizeof(ring),
					 .capacity = 8,
					 .elem_sz = sizeof(struct evr_port) };
	struct evr_channel_options channel = { .struct_sz = sizeof(channel),
					       .inline_max = stage->size };
	bool is_near = stage->side == STAGE_NEAR;
	int err = 0;

	stage_attach(stage);
	if (is_near)
		err = evr_spsc_create(stage->peer, "ports", &ring);
	if (is_near && !err)
		err = evr_channel_create(stage->peer, "handed", &channel);
	if (is_near && !err)
		err = evr_channel_open(&ends->ch, stage->peer, "handed", EVR_CHANNEL_A, 0);
	if (err)
		stage_fail(stage, "channel", err);
	stage_meet(stage);
	err = evr_spsc_open(&ends->ring, stage->peer, "ports",
			    is_near ? EVR_PRODUCER : EVR_CONSUMER, 0);
	if (err)
		stage_fail(stage, "ring", err);
	stage_meet(stage);
}

static void take_port(struct stage *stage, struct ends *ends)
{
	struct evr_port port;
	int err = evr_spsc_pop_wait(&ends->ring, &stage->waiter, &port, 1, EVR_NO_DEADLINE);

	if (err == 1)
		err = evr_port_open(&ends->ch, stage->peer, &port, 0);
	if (err)
		stage_fail(stage, "port", err);
}

static void make_port(struct stage *stage, struct ends *ends)
{
	struct evr_port port;
	int err = evr_port_make(&port, stage->peer, "handed", EVR_CHANNEL_B);

	if (!err)
		err = evr_spsc_push_wait(&ends->ring, &stage->waiter, &port, 1, EVR_NO_DEADLINE);
	if (err != 1)
		stage_fail(stage, "port", err);
}

static void port_send(struct stage *stage, void *of, uint64_t turn)
{
	struct ends *ends = of;
	struct evr_message m = { .data = ends->buffer, .sz = stage->size };
	int err;

	if (stage->side == STAGE_NEAR) {
		make_port(stage, ends);
		return;
	}
	payload_write(ends->buffer, stage->size, turn);
	err = evr_channel_send_wait(&ends->ch, &stage->waiter, &m, EVR_NO_DEADLINE);
	if (err)
		stage_fail(stage, "answer", err);
	evr_channel_close(&ends->ch);
}

static uint64_t port_receive(struct stage *stage, void *of, uint64_t turn)
{
	struct ends *ends = of;
	struct evr_message m;
	uint64_t sum;
	int err;

	(void)turn;
	if (stage->side == STAGE_FAR) {
		take_port(stage, ends);
		return 0;
	}
	err = evr_channel_recv_wait(&ends->ch, &stage->waiter, &m, EVR_NO_DEADLINE);
	if (err)
		stage_fail(stage, "receive", err);
	sum = payload_read(m.data, m.sz);
	evr_channel_release(&ends->ch, &m);
	/* The other end is free for the next once it was closed. */
	while ((err = evr_channel_forget(&ends->ch)) == -EBUSY)
		sched_yield();
	if (err)
		stage_fail(stage, "forget", err);
	return sum;
}

static void open_buffer(struct stage *stage, struct ends *ends)
{
	*ends = (struct ends){ .buffer = malloc(stage->size), .fd = -1 };
	if (!ends->buffer)
		stage_fail(stage, "buffer", -ENOMEM);
}

static void port_side(struct stage *stage)
{
	struct ends ends;

	open_buffer(stage, &ends);
	open_ring(stage, &ends);
	trips_run(stage, &ends, port_send, port_receive);
	stage_meet(stage);
	evr_spsc_close(&ends.ring);
	evr_channel_close(&ends.ch);
	stage_detach(stage);
	free(ends.buffer);
}

static void socket_send(struct stage *stage, void *of, uint64_t turn)
{
	struct ends *ends = of;
	int pair[2];

	if (stage->side == STAGE_FAR) {
		payload_write(ends->buffer, stage->size, turn);
		fdpass_write(stage, ends->fd, ends->buffer, stage->size);
		close(ends->fd);
		return;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		stage_fail(stage, "socketpair", -errno);
	fdpass_send(stage, pair[1]);
	close(pair[1]);
	ends->fd = pair[0];
}

static uint64_t socket_receive(struct stage *stage, void *of, uint64_t turn)
{
	struct ends *ends = of;

	(void)turn;
	if (stage->side == STAGE_FAR) {
		ends->fd = fdpass_receive(stage);
		return 0;
	}
	fdpass_read(stage, ends->fd, ends->buffer, stage->size);
	close(ends->fd);
	return payload_read(ends->buffer, stage->size);
}

static void socket_side(struct stage *stage)
{
	struct ends ends;

	open_buffer(stage, &ends);
	trips_run(stage, &ends, socket_send, socket_receive);
	stage_meet(stage);
	free(ends.buffer);
}

static const struct rival spinning = { "evering port", RIVAL_SPINS, stage_prepare_segment,
				       port_side, port_side };
static const struct rival adaptive = { "evering port", RIVAL_ADAPTS, stage_prepare_segment,
				       port_side, port_side };
static const struct rival sleeping = { "evering port", RIVAL_SLEEPS, stage_prepare_segment,
				       port_side, port_side };
static const struct rival by_socket = { "SCM_RIGHTS, a socket", RIVAL_SLEEPS, stage_prepare_sockets,
					socket_side, socket_side };

const struct bench port_bench = {
	.name = "port",
	.summary = "an end of a connection handed over, and an answer through it",
	.unit = BENCH_ROUND_TRIPS,
	.sizes = { 64 },
	.batch = 1,
	.rivals = { &spinning, &adaptive, &sleeping, &by_socket },
	.ratios = { { &sleeping, &by_socket } },
};
