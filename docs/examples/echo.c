/* SPDX-License-Identifier: MIT */
/*
 * An echo server on one loop: one multishot accept, one multishot receive for each
 * connection, buffers that all of them share and that go back when they were sent. It
 * serves 32 clients, each a process, and ends when the last has gone.
 *
 * cc echo.c $(pkg-config --cflags --libs evering evering-driver) && ./a.out
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <evering/driver_op.h>
#include <evering/driver_resource.h>
#include <evering/evering.h>

#define CLIENTS 32
#define ROUNDS 20
#define PLACES 64
#define BUFFER 512u
#define GROUP 1

static void check(int64_t err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "%s: %s (%s)\n", what, evr_strerror((int)err), evr_error_detail());
	exit(1);
}

struct server {
	unsigned char buffers[PLACES][BUFFER];
	int accepted, closed;
	uint64_t echoed;
};

static struct server server;

struct connection {
	int fd;
	bool starved, ended;
	unsigned int sends; /* under way */
};

/* A buffer on its way back to where it came from. */
struct answer {
	struct connection *to;
	uint16_t place;
};

static struct answer answers[PLACES]; /* by place: there is one of each */
static struct connection *connections[CLIENTS];

static void receive(struct evr_driver *driver, struct connection *c);

static void connection_rest(struct connection *c)
{
	if (!c->ended || c->sends)
		return;
	close(c->fd);
	c->fd = -1;
	server.closed++;
}

static void sent(struct evr_driver *driver, const struct evr_completion *done)
{
	struct answer *answer = done->arg;
	int i;

	check(done->res, "send");
	server.echoed += (uint64_t)done->res;
	check(evr_buffers_return(driver, GROUP, answer->place), "return");
	answer->to->sends--;
	connection_rest(answer->to);
	/* There is a buffer again for those who found none. */
	for (i = 0; i < server.accepted; i++) {
		if (!connections[i]->starved)
			continue;
		connections[i]->starved = false;
		receive(driver, connections[i]);
	}
}

static void received(struct evr_driver *driver, const struct evr_completion *done)
{
	struct connection *c = done->arg;
	struct answer *answer;
	struct evr_op op;

	if (done->flags & EVR_DONE_BUFFER) {
		answer = &answers[done->bid];
		*answer = (struct answer){ c, done->bid };
		c->sends++;
		op = evr_op_send(c->fd, done->buf, (uint32_t)done->res, MSG_WAITALL);
		op = evr_op_then(evr_op_flagged(op, EVR_OP_EXACT), sent, answer);
		check(evr_driver_submit(driver, &op, NULL), "send");
	}
	if (done->flags & EVR_DONE_MORE)
		return;
	if (done->res > 0) {
		receive(driver, c);
	} else if (done->res == -ENOBUFS) {
		c->starved = true;
	} else {
		c->ended = true;
		connection_rest(c);
	}
}

static void receive(struct evr_driver *driver, struct connection *c)
{
	struct evr_op op = evr_op_buffered(evr_op_recv(c->fd, NULL, 0, 0), GROUP);

	op = evr_op_then(evr_op_flagged(op, EVR_OP_MULTISHOT), received, c);
	check(evr_driver_submit(driver, &op, NULL), "receive");
}

static void accepted(struct evr_driver *driver, const struct evr_completion *done)
{
	struct connection *c;

	if (done->res == -ECANCELED)
		return;
	check(done->res, "accept");
	c = calloc(1, sizeof(*c));
	check(c ? 0 : -ENOMEM, "connection");
	c->fd = done->res;
	connections[server.accepted++] = c;
	receive(driver, c);
}

static int serve(int listener)
{
	struct evr_driver *driver;
	struct evr_op op;
	uint64_t id;
	uint16_t i;

	check(evr_driver_create(&driver, NULL), "driver");
	check(evr_buffers_create(driver, GROUP, PLACES), "group");
	for (i = 0; i < PLACES; i++)
		check(evr_buffers_provide(driver, GROUP, i, server.buffers[i], BUFFER), "provide");
	op = evr_op_flagged(evr_op_accept(listener, NULL, NULL, 0), EVR_OP_MULTISHOT);
	op = evr_op_then(op, accepted, NULL);
	check(evr_driver_submit(driver, &op, &id), "accept");
	while (server.closed < CLIENTS)
		check(evr_driver_run(driver, 1, EVR_DRIVER_NO_DEADLINE), "run");
	check(evr_driver_cancel(driver, id), "cancel");
	check(evr_driver_close(driver, EVR_DRIVER_NO_DEADLINE), "close");
	for (i = 0; i < CLIENTS; i++)
		free(connections[i]);
	printf("%d clients, %llu bytes echoed\n", server.closed, (unsigned long long)server.echoed);
	return server.accepted == CLIENTS ? 0 : 1;
}

static void client(const struct sockaddr_in *to, int number)
{
	unsigned char out[1000], back[1000];
	int fd = socket(AF_INET, SOCK_STREAM, 0), i;
	size_t sz = 1 + (size_t)number * 31 % sizeof(out);

	check(connect(fd, (const struct sockaddr *)to, sizeof(*to)) ? -errno : 0, "connect");
	for (i = 0; i < ROUNDS; i++) {
		memset(out, number + i, sz);
		check(send(fd, out, sz, 0) == (ssize_t)sz ? 0 : -EPIPE, "client's send");
		check(recv(fd, back, sz, MSG_WAITALL) == (ssize_t)sz ? 0 : -EPIPE, "echo");
		check(memcmp(out, back, sz) ? -EBADMSG : 0, "echo");
	}
	close(fd);
}

int main(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), i, status, failed;
	socklen_t len = sizeof(to);

	check(bind(listener, (struct sockaddr *)&to, len) || listen(listener, CLIENTS) ||
			      getsockname(listener, (struct sockaddr *)&to, &len) ?
		      -errno :
		      0,
	      "listen");
	for (i = 0; i < CLIENTS; i++) {
		if (fork())
			continue;
		client(&to, i);
		exit(0);
	}
	failed = serve(listener);
	for (i = 0; i < CLIENTS; i++) {
		wait(&status);
		failed |= status;
	}
	return failed ? 1 : 0;
}
