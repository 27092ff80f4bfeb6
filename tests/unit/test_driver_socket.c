/* SPDX-License-Identifier: MIT */
/*
 * Sockets: each op, multishot ones, provided buffers, zero copy; TCP over loopback.
 *
 * Mutants seen to fail here: sockets that exec inherits; an accept that takes one; a zero-copy send
 * that is none, ends with its first completion, or is a member of a chain; a buffer that an abandoned
 * receive does not give back.
 */
#include "loop.h"

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <sys/utsname.h>

struct ends {
	int listener, client, server;
	struct sockaddr_in address;
};

static void ends_listen(struct ends *e)
{
	socklen_t len = sizeof(e->address);

	memset(e, 0, sizeof(*e));
	e->address = (struct sockaddr_in){ .sin_family = AF_INET,
					   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	e->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(e->listener, (struct sockaddr *)&e->address, len), 0);
	assert_int_equal(listen(e->listener, 128), 0);
	assert_int_equal(getsockname(e->listener, (struct sockaddr *)&e->address, &len), 0);
}

static void ends_close(struct ends *e)
{
	close(e->listener);
	close(e->client);
	close(e->server);
}

/* All by the driver: socket, accept, connect. */
static void ends_open(struct loop *loop, struct ends *e)
{
	struct seen accepted, connected;
	struct sockaddr_in from = { 0 };
	uint32_t len = sizeof(from);

	ends_listen(e);
	loop_submit(loop, evr_op_accept(e->listener, (struct sockaddr *)&from, &len, 0), &accepted);
	loop_rounds(loop, 1);
	e->client = loop_do(loop, evr_op_socket(AF_INET, SOCK_STREAM, 0));
	assert_true(e->client >= 0);
	assert_int_equal(fcntl(e->client, F_GETFD), FD_CLOEXEC);
	loop_submit(loop,
		    evr_op_connect(e->client, (struct sockaddr *)&e->address, sizeof(e->address)),
		    &connected);
	assert_int_equal(loop_finish(loop, &connected), 0);
	e->server = loop_finish(loop, &accepted);
	assert_true(e->server >= 0);
	assert_int_equal(fcntl(e->server, F_GETFD), FD_CLOEXEC);
	assert_int_equal(len, sizeof(from));
	assert_int_equal(from.sin_family, AF_INET);
	/* The files are as blocking as they were. */
	assert_int_equal(fcntl(e->client, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(fcntl(e->listener, F_GETFL) & O_NONBLOCK, 0);
}

static void socket_stream_carries_bytes_and_ends(void **state)
{
	struct loop *loop = *state;
	struct ends e;
	struct seen seen;
	char in[16] = { 0 };

	ends_open(loop, &e);
	loop_submit(loop, evr_op_recv(e.server, in, sizeof(in), 0), &seen);
	loop_rounds(loop, 2);
	assert_int_equal(seen.all, 0);
	assert_int_equal(loop_do(loop, evr_op_send(e.client, "hello", 5, 0)), 5);
	assert_int_equal(loop_finish(loop, &seen), 5);
	assert_string_equal(in, "hello");
	/* All of it, in pieces. */
	loop_submit(loop, evr_op_recv(e.server, in, 6, MSG_WAITALL), &seen);
	assert_int_equal(loop_do(loop, evr_op_send(e.client, "abc", 3, 0)), 3);
	loop_rounds(loop, 2);
	assert_int_equal(seen.all, 0);
	assert_int_equal(loop_do(loop, evr_op_send(e.client, "def", 3, 0)), 3);
	assert_int_equal(loop_finish(loop, &seen), 6);
	assert_memory_equal(in, "abcdef", 6);
	assert_int_equal(loop_do(loop, evr_op_shutdown(e.client, SHUT_WR)), 0);
	assert_int_equal(loop_do(loop, evr_op_recv(e.server, in, 6, 0)), 0);
	/* No signal of a broken pipe. */
	close(e.server);
	e.server = -1;
	loop_do(loop, evr_op_send(e.client, "x", 1, 0));
	assert_int_equal(loop_do(loop, evr_op_send(e.client, "x", 1, 0)), -EPIPE);
	ends_close(&e);
}

static void socket_send_waits_for_room(void **state)
{
	struct loop *loop = *state;
	static char out[4 << 20], in[1 << 16];
	struct seen seen;
	struct ends e;
	size_t got = 0;
	int i, ret, small = 65536;

	ends_open(loop, &e);
	/* Else the kernel grows them until it all fits, if it is given the time. */
	assert_int_equal(setsockopt(e.client, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	assert_int_equal(setsockopt(e.server, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	for (i = 0; i < (int)sizeof(out); i++)
		out[i] = (char)(i * 31 >> 3);
	loop_submit(loop, evr_op_flagged(evr_op_send(e.client, out, sizeof(out), 0), EVR_OP_EXACT),
		    &seen);
	loop_rounds(loop, 3);
	assert_int_equal(seen.all, 0);
	while (got < sizeof(out)) {
		ret = loop_do(loop, evr_op_recv(e.server, in, sizeof(in), 0));
		assert_true(ret > 0);
		assert_memory_equal(in, out + got, ret);
		got += (size_t)ret;
	}
	assert_int_equal(loop_finish(loop, &seen), sizeof(out));
	ends_close(&e);
}

static void socket_connect_refused_says_so(void **state)
{
	struct loop *loop = *state;
	char big[200];
	struct evr_op op;
	struct ends e;
	int fd;

	ends_listen(&e);
	close(e.listener);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(
		loop_do(loop, evr_op_connect(fd, (struct sockaddr *)&e.address, sizeof(e.address))),
		-ECONNREFUSED);
	op = evr_op_connect(fd, (struct sockaddr *)big, sizeof(big));
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EINVAL);
	close(fd);
}

static struct {
	int nr;
	int fds[512];
} arrived;

static void on_accept(struct evr_driver *d, const struct evr_completion *done)
{
	struct seen *seen = done->arg;

	seen_done(d, done);
	if (done->res >= 0)
		arrived.fds[arrived.nr++] = done->res;
	CHECK(seen->terminal || done->flags & EVR_DONE_MORE);
}

static void socket_accept_multishot_takes_all(void **state)
{
	struct loop *loop = *state;
	struct seen seen = { 0 };
	int clients[300], i;
	struct evr_op op;
	struct ends e;
	uint64_t id;

	arrived.nr = 0;
	ends_listen(&e);
	op = evr_op_flagged(evr_op_accept(e.listener, NULL, NULL, 0), EVR_OP_MULTISHOT);
	op = evr_op_then(op, on_accept, &seen);
	assert_int_equal(evr_driver_submit(loop->d, &op, &id), 0);
	for (i = 0; i < 300; i++) {
		clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(
			connect(clients[i], (struct sockaddr *)&e.address, sizeof(e.address)), 0);
		if (i % 50 == 49)
			LOOP_UNTIL(loop, arrived.nr == i + 1);
	}
	assert_false(seen.terminal);
	assert_int_equal(evr_driver_cancel(loop->d, id), 0);
	assert_int_equal(loop_finish(loop, &seen), -ECANCELED);
	assert_int_equal(arrived.nr, 300);
	for (i = 0; i < 300; i++) {
		close(clients[i]);
		close(arrived.fds[i]);
	}
	close(e.listener);
}

#define CROWD_MAX 10000

static struct {
	int nr, want, received, cancelled;
	char bytes[CROWD_MAX];
	int fds[CROWD_MAX];
} crowd;

static void crowd_received(struct evr_driver *d, const struct evr_completion *done)
{
	crowd.received += done->res == 1;
	crowd.cancelled += done->res == -ECANCELED;
}

static void crowd_accepted(struct evr_driver *d, const struct evr_completion *done)
{
	struct evr_op op;

	if (done->res == -ECANCELED)
		return;
	CHECK(done->res >= 0 && crowd.nr < crowd.want);
	crowd.fds[crowd.nr] = done->res;
	op = evr_op_then(evr_op_recv(done->res, &crowd.bytes[crowd.nr], 1, 0), crowd_received,
			 NULL);
	CHECK(evr_driver_submit(d, &op, NULL) == 0);
	crowd.nr++;
}

/* Every other one says something; all stay until the other end of the pipe is closed. */
static void crowd_of_clients(const struct sockaddr_in *to, int stay)
{
	int i, fd;
	char byte;

	for (i = 0; i < crowd.want; i++) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK(fd >= 0 && !connect(fd, (const struct sockaddr *)to, sizeof(*to)));
		CHECK(i % 2 || send(fd, "x", 1, 0) == 1);
	}
	CHECK(read(stay, &byte, 1) == 0);
	_exit(0);
}

/* All are there at once, each with an op in flight; a close cancels those that said nothing. */
static void socket_crowd_is_served_and_let_go(void **state)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .entries = 1024,
					      .completions = 32768,
					      .backlog_max = CROWD_MAX };
	struct rlimit limit;
	struct loop *loop;
	struct evr_op op;
	struct ends e;
	int stay[2], i;
	pid_t pid;

	memset(&crowd, 0, sizeof(crowd));
	crowd.want = getenv("EVERING_TEST_LONG") ? CROWD_MAX : 500;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	/* The emulation has a duplicate of each. */
	if (limit.rlim_cur < 2u * (unsigned int)crowd.want + 100)
		crowd.want = (int)limit.rlim_cur / 2 - 100;
	assert_int_equal(loop_open_with(state, &options), 0);
	loop = *state;
	ends_listen(&e);
	assert_int_equal(listen(e.listener, 4096), 0);
	assert_int_equal(pipe2(stay, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		close(stay[1]);
		crowd_of_clients(&e.address, stay[0]);
	}
	op = evr_op_flagged(evr_op_accept(e.listener, NULL, NULL, 0), EVR_OP_MULTISHOT);
	op = evr_op_then(op, crowd_accepted, NULL);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), 0);
	LOOP_UNTIL(loop, crowd.nr == crowd.want && crowd.received == (crowd.want + 1) / 2);
	assert_int_equal(loop_busy(loop), crowd.want / 2 + 1);
	assert_int_equal(evr_driver_close(loop->d, pair_deadline()), 0);
	loop->d = NULL;
	assert_int_equal(crowd.cancelled, crowd.want / 2);
	close(stay[1]);
	close(stay[0]);
	pair_join(pid);
	for (i = 0; i < crowd.nr; i++)
		close(crowd.fds[i]);
	close(e.listener);
	assert_int_equal(loop_close(state), 0);
}

static void socket_receives_into_provided_buffers(void **state)
{
	struct loop *loop = *state;
	static char buffers[4][64];
	struct evr_op op;
	struct seen seen;
	uint64_t id, again;
	int i, fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	op = evr_op_buffered(evr_op_recv(fds[0], NULL, 0, 0), 3);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -ENOENT);
	assert_int_equal(evr_buffers_create(loop->d, 3, 0), -EINVAL);
	assert_int_equal(evr_buffers_create(loop->d, 3, 32769), -EINVAL);
	assert_int_equal(evr_buffers_create(loop->d, 3, 4), 0);
	assert_int_equal(evr_buffers_create(loop->d, 3, 4), -EEXIST);
	assert_int_equal(evr_buffers_provide(loop->d, 3, 4, buffers[0], 64), -EINVAL);
	assert_int_equal(evr_buffers_provide(loop->d, 2, 0, buffers[0], 64), -ENOENT);
	for (i = 0; i < 4; i++)
		assert_int_equal(evr_buffers_provide(loop->d, 3, (uint16_t)i, buffers[i], 64), 0);
	assert_int_equal(evr_buffers_provide(loop->d, 3, 0, buffers[0], 64), -EBUSY);
	op = evr_op_flagged(evr_op_recv(fds[0], NULL, 0, 0), EVR_OP_MULTISHOT);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EINVAL);
	op = evr_op_buffered(op, 3);
	id = loop_submit(loop, op, &seen);
	assert_int_equal(evr_buffers_destroy(loop->d, 3), -EBUSY);
	for (i = 0; i < 4; i++) {
		assert_int_equal(write(fds[1], "0123456789", (size_t)(i + 1)), i + 1);
		/* The last buffer: some kernels say at once that there is none any more. */
		LOOP_UNTIL(loop, seen.all > i);
		loop_rounds(loop, 1);
		if (seen.terminal)
			break;
		assert_int_equal(seen.res, i + 1);
		assert_true(seen.last_flags & EVR_DONE_BUFFER);
		assert_ptr_equal(seen.buf, buffers[seen.bid]);
		assert_memory_equal(seen.buf, "0123456789", i + 1);
		assert_int_equal(evr_buffers_nr(loop->d, 3), 3 - i);
	}
	assert_int_equal(write(fds[1], "more", 4), 4);
	assert_int_equal(loop_finish(loop, &seen), -ENOBUFS);
	assert_int_equal(evr_driver_cancel(loop->d, id), -ENOENT);
	assert_int_equal(evr_buffers_return(loop->d, 3, 2), 0);
	assert_int_equal(evr_buffers_return(loop->d, 3, 2), -EBUSY);
	again = loop_submit(loop, op, &seen);
	LOOP_UNTIL(loop, seen.all);
	loop_rounds(loop, 1);
	assert_int_equal(seen.bid, 2);
	assert_memory_equal(seen.buf, "more", 4);
	/* Another buffer in the same place. */
	assert_int_equal(evr_buffers_provide(loop->d, 3, 2, buffers[0], 64), 0);
	if (seen.terminal) {
		assert_int_equal(seen.res, -ENOBUFS);
		again = loop_submit(loop, op, &seen);
	}
	assert_int_equal(write(fds[1], "last", 4), 4);
	LOOP_UNTIL(loop, seen.buf == buffers[0]);
	loop_rounds(loop, 1);
	assert_int_equal(evr_buffers_return(loop->d, 3, 2), 0);
	if (seen.terminal)
		again = loop_submit(loop, op, &seen);
	close(fds[1]);
	assert_int_equal(loop_finish(loop, &seen), 0);
	assert_false(seen.last_flags & EVR_DONE_BUFFER);
	assert_int_equal(evr_driver_cancel(loop->d, again), -ENOENT);
	assert_int_equal(evr_buffers_nr(loop->d, 3), 1);
	assert_int_equal(evr_buffers_destroy(loop->d, 3), 0);
	assert_int_equal(evr_buffers_destroy(loop->d, 3), -ENOENT);
	close(fds[0]);
}

static void socket_abandoned_receive_gives_its_buffer_back(void **state)
{
	struct loop *loop = *state;
	struct evr_driver_stats stats;
	char buffer[64];
	struct seen seen;
	uint64_t id;
	int fds[2], i;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(evr_buffers_create(loop->d, 0, 1), 0);
	assert_int_equal(evr_buffers_provide(loop->d, 0, 0, buffer, sizeof(buffer)), 0);
	for (i = 0; i < 20; i++) {
		id = loop_submit(loop, evr_op_buffered(evr_op_recv(fds[0], NULL, 0, 0), 0), &seen);
		evr_driver_flush(loop->d);
		assert_int_equal(write(fds[1], "x", 1), 1);
		assert_int_equal(evr_driver_abandon(loop->d, id), 0);
		do {
			evr_driver_run(loop->d, 0, 0);
			evr_driver_stats(loop->d, &stats);
		} while (stats.slots_used);
		assert_int_equal(seen.all, 0);
		assert_int_equal(evr_buffers_nr(loop->d, 0), 1);
	}
	assert_int_equal(evr_buffers_destroy(loop->d, 0), 0);
	close(fds[0]);
	close(fds[1]);
}

static bool kernel_is_at_least(int major, int minor)
{
	struct utsname name;
	int is_major, is_minor;

	assert_int_equal(uname(&name), 0);
	assert_int_equal(sscanf(name.release, "%d.%d", &is_major, &is_minor), 2);
	return is_major > major || (is_major == major && is_minor >= minor);
}

/* Of two buffers; the header and its array are nobody's after the submission. */
static void sendmsg_zero_copy(struct loop *loop, struct ends *e, struct seen *seen)
{
	static char first[20000], second[20000], in[40000];
	struct iovec iov[2] = { { first, sizeof(first) }, { second, sizeof(second) } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	int sent;

	memset(first, 'f', sizeof(first));
	memset(second, 's', sizeof(second));
	loop_submit(loop, evr_op_sendmsg_zc(e->client, &msg, 0), seen);
	memset(iov, 0xff, sizeof(iov));
	memset(&msg, 0xff, sizeof(msg));
	sent = loop_finish(loop, seen);
	assert_true(sent > 20000);
	assert_int_equal(seen->all, 2);
	assert_true(seen->last_flags & EVR_DONE_NOTIF);
	assert_int_equal(loop_do(loop, evr_op_flagged(evr_op_recv(e->server, in, (uint32_t)sent, 0),
						      EVR_OP_EXACT)),
			 sent);
	assert_memory_equal(in, first, 20000);
	assert_memory_equal(in + 20000, second, (size_t)sent - 20000);
}

static void socket_zero_copy_tells_when_the_buffer_is_free(void **state)
{
	struct loop *loop = *state;
	static char out[65536], in[65536];
	struct iovec iov = { out, 10 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct evr_op ops[2];
	struct seen seen;
	struct ends e;
	int fds[2], sent;

	memset(out, 'z', sizeof(out));
	ends_open(loop, &e);
	loop_submit(loop, evr_op_send_zc(e.client, out, sizeof(out), 0), &seen);
	sent = loop_finish(loop, &seen);
	assert_true(sent > 0);
	assert_int_equal(seen.all, 2);
	assert_true(seen.last_flags & EVR_DONE_NOTIF);
	/* Over loopback it is copied all the same, which a kernel says from 6.2 on. */
	if (loop->mode == EVR_DRIVER_NONE || kernel_is_at_least(6, 2))
		assert_true(seen.last_flags & EVR_DONE_COPIED);
	assert_int_equal(loop_do(loop, evr_op_flagged(evr_op_recv(e.server, in, (uint32_t)sent, 0),
						      EVR_OP_EXACT)),
			 sent);
	assert_memory_equal(in, out, (size_t)sent);
	sendmsg_zero_copy(loop, &e, &seen);
	ends_close(&e);
	/* Where there is no zero copy: an error, and the buffer is still only free at the end. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	loop_submit(loop, evr_op_send_zc(fds[0], out, 10, 0), &seen);
	loop_finish(loop, &seen);
	assert_true(seen.res == -EOPNOTSUPP || seen.res == 10);
	loop_submit(loop, evr_op_sendmsg_zc(fds[0], &msg, 0), &seen);
	loop_finish(loop, &seen);
	assert_true(seen.res == -EOPNOTSUPP || seen.res == 10);
	ops[0] = evr_op_sendmsg_zc(fds[0], &msg, 0);
	ops[1] = evr_op_nop();
	assert_int_equal(evr_driver_submit_chain(loop->d, ops, 2, NULL), -EINVAL);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_MODE_TEST(socket_stream_carries_bytes_and_ends),
		EACH_MODE_TEST(socket_send_waits_for_room),
		EACH_MODE_TEST(socket_connect_refused_says_so),
		EACH_MODE_TEST(socket_accept_multishot_takes_all),
		cmocka_unit_test(socket_crowd_is_served_and_let_go),
		EACH_MODE_TEST(socket_receives_into_provided_buffers),
		EACH_MODE_TEST(socket_abandoned_receive_gives_its_buffer_back),
		EACH_MODE_TEST(socket_zero_copy_tells_when_the_buffer_is_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
