// SPDX-License-Identifier: MIT
/*
 * A connection each time: the client connects by name and sends a message, the listener
 * accepts and answers, both close. Over a hub, and over a UNIX socket.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <evering/hub.h>

#include "bench.h"
#include "fdpass.h"
#include "payload.h"
#include "trips.h"

#define NAME "bench"
#define SEGMENT_SZ (8ULL << 20)

struct line {
	struct evr_hub hub;
	struct evr_channel ch;
	uint8_t *buffer;
	int fd;
};

static int prepare_hub(struct stage *stage)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = SEGMENT_SZ + 64 * stage->size,
					       .peers_max = 8 };

	return evr_segment_create(
		&stage->segment,
		stage->backend == EVR_BACKEND_DEVICE ? "device:" : "local:", &options);
}

static void open_line(struct stage *stage, struct line *line)
{
	*line = (struct line){ .buffer = malloc(stage->size), .fd = -1 };
	if (!line->buffer)
		stage_fail(stage, "buffer", -ENOMEM);
}

static void say(struct stage *stage, struct line *line, uint64_t turn)
{
	struct evr_message m = { .data = line->buffer, .sz = stage->size };
	int err;

	payload_write(line->buffer, stage->size, turn);
	err = evr_channel_send_wait(&line->ch, &stage->waiter, &m, EVR_NO_DEADLINE);
	if (err)
		stage_fail(stage, "send", err);
}

static uint64_t hear(struct stage *stage, struct line *line)
{
	struct evr_message m;
	uint64_t sum;
	int err = evr_channel_recv_wait(&line->ch, &stage->waiter, &m, EVR_NO_DEADLINE);

	if (err)
		stage_fail(stage, "receive", err);
	sum = payload_read(m.data, m.sz);
	evr_channel_release(&line->ch, &m);
	return sum;
}

static void hub_send(struct stage *stage, void *ends, uint64_t turn)
{
	struct line *line = ends;
	int err = 0;

	if (stage->side == STAGE_NEAR) {
		/* The listener may not have closed the former ones yet. */
		while ((err = evr_hub_connect_wait(&line->ch, stage->peer, NAME, 0, &stage->waiter,
						   EVR_NO_DEADLINE)) == -EBUSY)
			sched_yield();
		if (err)
			stage_fail(stage, "connect", err);
	}
	say(stage, line, turn);
	if (stage->side == STAGE_FAR)
		evr_channel_close(&line->ch);
}

static uint64_t hub_receive(struct stage *stage, void *ends, uint64_t turn)
{
	struct line *line = ends;
	uint64_t sum;
	int err = 0;

	(void)turn;
	if (stage->side == STAGE_FAR) {
		err = evr_hub_wait(&line->hub, NULL, 0, 0, &stage->waiter, EVR_NO_DEADLINE);
		if (!err)
			err = evr_hub_accept(&line->hub, &line->ch, NULL);
		if (err)
			stage_fail(stage, "accept", err);
	}
	sum = hear(stage, line);
	if (stage->side == STAGE_NEAR)
		evr_channel_close(&line->ch);
	return sum;
}

static void hub_side(struct stage *stage)
{
	struct evr_channel_options options = { .struct_sz = sizeof(options),
					       .capacity = 4096,
					       .urgent_capacity = 1024,
					       .inline_max = stage->size };
	struct line line;
	int err = 0;

	open_line(stage, &line);
	stage_attach(stage);
	if (stage->side == STAGE_FAR)
		err = evr_hub_create(stage->peer, NAME, &options);
	if (stage->side == STAGE_FAR && !err)
		err = evr_hub_listen(&line.hub, stage->peer, NAME, 0);
	if (err)
		stage_fail(stage, "hub", err);
	stage_meet(stage);
	trips_run(stage, &line, hub_send, hub_receive);
	stage_meet(stage);
	evr_hub_close(&line.hub);
	stage_detach(stage);
	free(line.buffer);
}

/* A name that the kernel makes up, in no directory. */
static int prepare_socket(struct stage *stage)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	stage->fds[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (stage->fds[0] < 0 ||
	    bind(stage->fds[0], (struct sockaddr *)&address, sizeof(sa_family_t)) ||
	    listen(stage->fds[0], 64))
		return -errno;
	return 0;
}

static void socket_send(struct stage *stage, void *ends, uint64_t turn)
{
	struct line *line = ends;
	struct sockaddr_un address;
	socklen_t len = sizeof(address);

	if (stage->side == STAGE_NEAR) {
		line->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (line->fd < 0 || getsockname(stage->fds[0], (struct sockaddr *)&address, &len) ||
		    connect(line->fd, (struct sockaddr *)&address, len))
			stage_fail(stage, "connect", -errno);
	}
	payload_write(line->buffer, stage->size, turn);
	fdpass_write(stage, line->fd, line->buffer, stage->size);
	if (stage->side == STAGE_FAR)
		close(line->fd);
}

static uint64_t socket_receive(struct stage *stage, void *ends, uint64_t turn)
{
	struct line *line = ends;

	(void)turn;
	if (stage->side == STAGE_FAR) {
		line->fd = accept4(stage->fds[0], NULL, NULL, SOCK_CLOEXEC);
		if (line->fd < 0)
			stage_fail(stage, "accept", -errno);
	}
	fdpass_read(stage, line->fd, line->buffer, stage->size);
	if (stage->side == STAGE_NEAR)
		close(line->fd);
	return payload_read(line->buffer, stage->size);
}

static void socket_side(struct stage *stage)
{
	struct line line;

	open_line(stage, &line);
	trips_run(stage, &line, socket_send, socket_receive);
	stage_meet(stage);
	free(line.buffer);
}

static const struct rival spinning = { "evering hub", RIVAL_SPINS, prepare_hub, hub_side,
				       hub_side };
static const struct rival adaptive = { "evering hub", RIVAL_ADAPTS, prepare_hub, hub_side,
				       hub_side };
static const struct rival sleeping = { "evering hub", RIVAL_SLEEPS, prepare_hub, hub_side,
				       hub_side };
static const struct rival by_socket = { "UNIX socket", RIVAL_SLEEPS, prepare_socket, socket_side,
					socket_side };

const struct bench hub_bench = {
	.name = "hub",
	.summary = "connect by name, a message there and one back, close",
	.unit = BENCH_ROUND_TRIPS,
	.sizes = { 64 },
	.batch = 1,
	.rivals = { &spinning, &adaptive, &sleeping, &by_socket },
	.ratios = { { &sleeping, &by_socket } },
};
