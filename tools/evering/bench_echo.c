// SPDX-License-Identifier: MIT
/*
 * Messages over TCP to a server on the same machine and back: the client sends one on each of
 * its connections, then receives from each. The client is the same for all; the server is the
 * driver, liburing, or epoll and system calls.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "payload.h"
#include "uring.h"

struct connection {
	struct stage *stage;
	uint8_t *buffer; /* of the stage's size */
	uint64_t got, put; /* bytes of what is received and sent back now */
	int fd;
	bool sends;
};

struct server {
	struct connection *all; /* stage->batch of them */
	struct evr_driver *driver;
	struct io_uring ring;
	int epoll_fd;
	uint64_t echoed; /* bytes */
};

static struct server server;

static int prepare(struct stage *stage)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	stage->fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (stage->fds[0] < 0)
		return -errno;
	if (bind(stage->fds[0], (struct sockaddr *)&address, sizeof(address)) ||
	    listen(stage->fds[0], (int)stage->batch))
		return -errno;
	return 0;
}

static int prepare_uring(struct stage *stage)
{
	int err = uring_prepare(stage);

	return err ? err : prepare(stage);
}

static void send_at_once(struct stage *stage, int fd)
{
	int one = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		stage_fail(stage, "TCP_NODELAY", -errno);
}

static int connect_to(struct stage *stage)
{
	struct sockaddr_in address;
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || getsockname(stage->fds[0], (struct sockaddr *)&address, &len) ||
	    connect(fd, (struct sockaddr *)&address, len))
		stage_fail(stage, "connect", -errno);
	send_at_once(stage, fd);
	return fd;
}

static uint64_t ask_all(struct stage *stage, const int *fds, uint8_t *buffer, uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t left = count; left;) {
		uint64_t nr = left < stage->batch ? left : stage->batch;

		for (uint64_t i = 0; i < nr; i++) {
			payload_write(buffer, stage->size, left - i);
			if (send(fds[i], buffer, stage->size, MSG_NOSIGNAL) != (ssize_t)stage->size)
				stage_fail(stage, "send", -errno);
		}
		for (uint64_t i = 0; i < nr; i++) {
			if (recv(fds[i], buffer, stage->size, MSG_WAITALL) != (ssize_t)stage->size)
				stage_fail(stage, "receive", -errno);
			sum += payload_read(buffer, stage->size);
		}
		left -= nr;
	}
	return sum;
}

static void client(struct stage *stage)
{
	int *fds = calloc(stage->batch, sizeof(*fds));
	uint8_t *buffer = malloc(stage->size);

	if (!fds || !buffer)
		stage_fail(stage, "client", -ENOMEM);
	for (uint64_t i = 0; i < stage->batch; i++)
		fds[i] = connect_to(stage);
	stage_meet(stage);
	ask_all(stage, fds, buffer, stage->warmup);
	stage_begin(stage);
	stage->shared->halves[STAGE_NEAR].check = ask_all(stage, fds, buffer, stage->count);
	stage_end(stage);
	free(buffer);
	free(fds);
}

static void accept_all(struct stage *stage)
{
	server = (struct server){ .all = calloc(stage->batch, sizeof(*server.all)) };
	if (!server.all)
		stage_fail(stage, "server", -ENOMEM);
	for (uint64_t i = 0; i < stage->batch; i++) {
		struct connection *c = &server.all[i];

		c->stage = stage;
		c->buffer = malloc(stage->size);
		c->fd = accept4(stage->fds[0], NULL, NULL, SOCK_CLOEXEC);
		if (!c->buffer || c->fd < 0)
			stage_fail(stage, "accept", c->buffer ? -errno : -ENOMEM);
		send_at_once(stage, c->fd);
	}
	stage_meet(stage);
}

/* What a receive or a send came to; then the other is next, when all of that is done. */
static void step(struct connection *c, int64_t res)
{
	if (res <= 0)
		stage_fail(c->stage, c->sends ? "send" : "receive", res ? (int)res : -EPIPE);
	if (!c->sends) {
		c->got = (uint64_t)res;
		c->put = 0;
		c->sends = true;
		return;
	}
	c->put += (uint64_t)res;
	server.echoed += (uint64_t)res;
	c->sends = c->put < c->got;
}

static void driver_next(struct evr_driver *driver, const struct evr_completion *completion);

static void driver_start(struct connection *c)
{
	struct evr_op op =
		c->sends ? evr_op_send(c->fd, c->buffer + c->put, (uint32_t)(c->got - c->put), 0) :
			   evr_op_recv(c->fd, c->buffer, (uint32_t)c->stage->size, 0);
	int err;

	op = evr_op_then(op, driver_next, c);
	err = evr_driver_submit(server.driver, &op, NULL);
	if (err)
		stage_fail(c->stage, "submit", err);
}

static void driver_next(struct evr_driver *driver, const struct evr_completion *completion)
{
	struct connection *c = completion->arg;

	(void)driver;
	if (completion->flags & EVR_DONE_CANCELED || completion->res == -ECANCELED)
		return;
	step(c, completion->res);
	driver_start(c);
}

static void driver_open(struct stage *stage)
{
	server.driver = uring_driver(stage, 2 * stage->batch);
	for (uint64_t i = 0; i < stage->batch; i++)
		driver_start(&server.all[i]);
}

static void driver_turn(struct stage *stage)
{
	uring_run(stage, server.driver, 1);
}

static void raw_start(struct connection *c)
{
	struct io_uring_sqe *sqe = uring_sqe(c->stage, &server.ring);

	if (c->sends)
		io_uring_prep_send(sqe, c->fd, c->buffer + c->put, c->got - c->put, MSG_NOSIGNAL);
	else
		io_uring_prep_recv(sqe, c->fd, c->buffer, c->stage->size, 0);
	io_uring_sqe_set_data(sqe, c);
}

static void raw_open(struct stage *stage)
{
	uring_raw(stage, &server.ring, 2 * stage->batch, 0);
	for (uint64_t i = 0; i < stage->batch; i++)
		raw_start(&server.all[i]);
}

static void raw_turn(struct stage *stage)
{
	struct io_uring_cqe *cqe;
	unsigned int head, seen = 0;
	int err = io_uring_submit_and_wait(&server.ring, 1);

	if (err < 0 && err != -EINTR)
		stage_fail(stage, "submit", err);
	io_uring_for_each_cqe(&server.ring, head, cqe)
	{
		struct connection *c = io_uring_cqe_get_data(cqe);

		step(c, cqe->res);
		raw_start(c);
		seen++;
	}
	io_uring_cq_advance(&server.ring, seen);
}

static void epoll_open(struct stage *stage)
{
	server.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	for (uint64_t i = 0; i < stage->batch; i++) {
		struct epoll_event event = { EPOLLIN, { .ptr = &server.all[i] } };

		if (epoll_ctl(server.epoll_fd, EPOLL_CTL_ADD, server.all[i].fd, &event))
			stage_fail(stage, "epoll", -errno);
	}
}

static int64_t result(int64_t res)
{
	return res < 0 ? -errno : res;
}

static void epoll_turn(struct stage *stage)
{
	struct epoll_event events[64];
	int nr = epoll_wait(server.epoll_fd, events, 64, -1);

	if (nr < 0 && errno != EINTR)
		stage_fail(stage, "epoll", -errno);
	for (int i = 0; i < nr; i++) {
		struct connection *c = events[i].data.ptr;

		step(c, result(recv(c->fd, c->buffer, stage->size, 0)));
		while (c->sends)
			step(c, result(send(c->fd, c->buffer + c->put, c->got - c->put,
					    MSG_NOSIGNAL)));
	}
}

static STAGE_INLINE void serve(struct stage *stage, void (*open)(struct stage *stage),
			       void (*turn)(struct stage *stage))
{
	accept_all(stage);
	open(stage);
	while (server.echoed < stage->warmup * stage->size)
		turn(stage);
	stage_begin(stage);
	while (server.echoed < (stage->warmup + stage->count) * stage->size)
		turn(stage);
	stage_end(stage);
	stage->shared->halves[STAGE_FAR].check = server.echoed;
}

static void driver_far(struct stage *stage)
{
	serve(stage, driver_open, driver_turn);
}

static void raw_far(struct stage *stage)
{
	serve(stage, raw_open, raw_turn);
}

static void epoll_far(struct stage *stage)
{
	serve(stage, epoll_open, epoll_turn);
}

static const struct rival by_driver = { "evering driver", RIVAL_SLEEPS, prepare_uring, client,
					driver_far };
static const struct rival by_raw = { "liburing", RIVAL_SLEEPS, prepare_uring, client, raw_far };
static const struct rival by_epoll = { "epoll", RIVAL_SLEEPS, prepare, client, epoll_far };

const struct bench echo_bench = {
	.name = "echo",
	.summary = "messages over TCP to a server and back, one on each of many connections",
	.unit = BENCH_MESSAGES,
	.sizes = { 64, 4096 },
	.batch = 16,
	.rivals = { &by_driver, &by_raw, &by_epoll },
	.ratios = { { &by_driver, &by_raw }, { &by_driver, &by_epoll } },
};
