/* SPDX-License-Identifier: MIT */
/* One op of each kind that waits for ever, what it waits on, and how to let it go. */
#ifndef EVERING_TEST_WAITS_H
#define EVERING_TEST_WAITS_H

#include "loop.h"

#include <linux/futex.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define BUF_SZ 4096

struct waits {
	const char *name;
	int fds[2];
	char *buf;
	struct evr_a32 *word;
	int more[4]; /* closed at the end, or -1 */
	struct sockaddr_in address;
	struct iovec iov;
	struct msghdr msg;
};

static inline struct evr_op op_read(struct waits *w)
{
	return evr_op_read(w->fds[0], w->buf, BUF_SZ, 0);
}

static inline struct evr_op op_read_async(struct waits *w)
{
	return evr_op_flagged(op_read(w), EVR_OP_ASYNC);
}

static inline struct evr_op op_poll(struct waits *w)
{
	return evr_op_poll(w->fds[0], POLLIN);
}

static inline struct evr_op op_poll_multi(struct waits *w)
{
	return evr_op_flagged(op_poll(w), EVR_OP_MULTISHOT);
}

static inline struct evr_op op_recv(struct waits *w)
{
	return evr_op_recv(w->fds[0], w->buf, BUF_SZ, 0);
}

/* Of group 1, which the case makes. */
static inline struct evr_op op_recv_multi(struct waits *w)
{
	return evr_op_flagged(evr_op_buffered(evr_op_recv(w->fds[0], NULL, 0, 0), 1),
			      EVR_OP_MULTISHOT);
}

static inline struct evr_op op_recvmsg_multi(struct waits *w)
{
	return evr_op_flagged(evr_op_buffered(evr_op_recvmsg(w->fds[0], &w->msg, 0), 1),
			      EVR_OP_MULTISHOT);
}

static inline struct evr_op op_exact(struct waits *w)
{
	return evr_op_flagged(op_read(w), EVR_OP_EXACT);
}

static inline struct evr_op op_timer(struct waits *w)
{
	return evr_op_timer(UINT64_MAX - 1, 0);
}

static inline struct evr_op op_futex(struct waits *w)
{
	return evr_op_futex_wait(w->word, 0);
}

/* A listener that has all the connections it takes: another waits for as long as it likes. */
static inline int full_listener(struct waits *w)
{
	socklen_t len = sizeof(w->address);
	int i, flags = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;

	w->address = (struct sockaddr_in){ .sin_family = AF_INET,
					   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	w->more[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(w->more[0], (struct sockaddr *)&w->address, len), 0);
	assert_int_equal(listen(w->more[0], 0), 0);
	assert_int_equal(getsockname(w->more[0], (struct sockaddr *)&w->address, &len), 0);
	for (i = 1; i < 3; i++) {
		w->more[i] = socket(AF_INET, flags, 0);
		connect(w->more[i], (struct sockaddr *)&w->address, len);
	}
	return w->more[0];
}

static inline struct evr_op op_connect(struct waits *w)
{
	full_listener(w);
	w->more[3] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return evr_op_connect(w->more[3], (struct sockaddr *)&w->address, sizeof(w->address));
}

static inline struct evr_op op_accept(struct waits *w)
{
	socklen_t len = sizeof(w->address);

	w->address = (struct sockaddr_in){ .sin_family = AF_INET,
					   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	w->more[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(w->more[0], (struct sockaddr *)&w->address, len), 0);
	assert_int_equal(listen(w->more[0], 1), 0);
	return evr_op_accept(w->more[0], NULL, NULL, 0);
}

static inline struct evr_op op_accept_multi(struct waits *w)
{
	return evr_op_flagged(op_accept(w), EVR_OP_MULTISHOT);
}

static inline struct evr_op op_send(struct waits *w)
{
	while (send(w->fds[0], w->buf, BUF_SZ, MSG_DONTWAIT) > 0)
		;
	return evr_op_send(w->fds[0], w->buf, BUF_SZ, 0);
}

/* Of what was sent all is acknowledged: nothing makes room any more but a reader. */
static inline bool is_settled(int fd)
{
	int queued, unsent;

	assert_int_equal(ioctl(fd, SIOCOUTQ, &queued), 0);
	assert_int_equal(ioctl(fd, SIOCOUTQNSD, &unsent), 0);
	return queued == unsent;
}

/* A connection by TCP that takes no more. */
static inline int full_connection(struct waits *w)
{
	socklen_t len = sizeof(w->address);
	int from = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), little = 4096;

	op_accept(w);
	setsockopt(w->more[0], SOL_SOCKET, SO_RCVBUF, &little, sizeof(little));
	setsockopt(from, SOL_SOCKET, SO_SNDBUF, &little, sizeof(little));
	assert_int_equal(getsockname(w->more[0], (struct sockaddr *)&w->address, &len), 0);
	assert_int_equal(connect(from, (struct sockaddr *)&w->address, len), 0);
	w->more[1] = accept(w->more[0], NULL, NULL);
	w->more[2] = from;
	while (send(from, w->buf, BUF_SZ, MSG_DONTWAIT) > 0)
		while (!is_settled(from))
			pair_sleep_us(1000);
	return from;
}

static inline struct evr_op op_send_zc(struct waits *w)
{
	return evr_op_send_zc(full_connection(w), w->buf, BUF_SZ, 0);
}

static inline struct evr_op op_sendmsg_zc(struct waits *w)
{
	w->iov = (struct iovec){ w->buf, BUF_SZ };
	w->msg = (struct msghdr){ .msg_iov = &w->iov, .msg_iovlen = 1 };
	return evr_op_sendmsg_zc(full_connection(w), &w->msg, 0);
}

/* By the pool where there is no io_uring, in a thread of the kernel where there is. */
static inline struct evr_op op_splice(struct waits *w)
{
	assert_int_equal(pipe2(w->more, O_CLOEXEC), 0);
	assert_int_equal(pipe2(w->more + 2, O_CLOEXEC), 0);
	return evr_op_splice(w->more[0], UINT64_MAX, w->more[3], UINT64_MAX, 1, 0);
}

/* --- what ends them --- */

static inline void let_write(struct waits *w)
{
	CHECK(write(w->fds[1], "x", 1) == 1);
}

static inline void let_write_all(struct waits *w)
{
	char all[BUF_SZ] = { 'x' };

	CHECK(write(w->fds[1], all, sizeof(all)) == sizeof(all));
}

static inline void let_wake(struct waits *w)
{
	evr_a32_store_release(w->word, 1);
	CHECK(syscall(SYS_futex, w->word, FUTEX_WAKE, 1) >= 0);
}

static inline void let_connect(struct waits *w)
{
	socklen_t len = sizeof(w->address);

	CHECK(getsockname(w->more[0], (struct sockaddr *)&w->address, &len) == 0);
	w->more[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(connect(w->more[1], (struct sockaddr *)&w->address, len) == 0);
}

static inline void let_read(struct waits *w)
{
	char some[BUF_SZ];

	while (recv(w->fds[1], some, sizeof(some), MSG_DONTWAIT) > 0)
		;
}

static inline void let_fill_pipe(struct waits *w)
{
	CHECK(write(w->more[1], "x", 1) == 1);
}

/* NULL: only a cancel ends it, in the time of a test. */
static const struct {
	const char *name;
	struct evr_op (*op)(struct waits *w);
	void (*let)(struct waits *w);
} ops[] = {
	{ "read", op_read, let_write },
	{ "read async", op_read_async, let_write },
	{ "poll", op_poll, let_write },
	{ "poll multi", op_poll_multi, let_write },
	{ "recv", op_recv, let_write },
	{ "exact", op_exact, let_write_all },
	{ "timer", op_timer, NULL },
	{ "futex", op_futex, let_wake },
	{ "accept", op_accept, let_connect },
	{ "accept multi", op_accept_multi, let_connect },
	{ "connect", op_connect, NULL },
	{ "send", op_send, let_read },
	{ "splice", op_splice, let_fill_pipe },
	{ "recv multi", op_recv_multi, let_write },
	{ "recvmsg multi", op_recvmsg_multi, let_write },
	{ "send_zc", op_send_zc, NULL },
	{ "sendmsg_zc", op_sendmsg_zc, NULL },
};

#define OPS_NR (sizeof(ops) / sizeof(ops[0]))

static inline void waits_open(struct waits *w)
{
	memset(w, 0, sizeof(*w));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, w->fds), 0);
	memset(w->more, -1, sizeof(w->more));
	w->buf = mmap(NULL, BUF_SZ, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	w->word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* After the terminal completion nobody touches the buffer: a write would be -EFAULT or worse. */
static inline void waits_close(struct waits *w)
{
	int i;

	assert_int_equal(mprotect(w->buf, BUF_SZ, PROT_NONE), 0);
	if (write(w->fds[1], "late", 4) < 0)
		fail_msg("write: %s", strerror(errno));
	for (i = 0; i < 4; i++)
		if (w->more[i] >= 0)
			close(w->more[i]);
	munmap(w->buf, BUF_SZ);
	munmap(w->word, 4096);
	close(w->fds[0]);
	close(w->fds[1]);
}

#endif
