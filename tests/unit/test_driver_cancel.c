/* SPDX-License-Identifier: MIT */
/*
 * Cancellation: each op that waits, in each state; exactly one terminal completion, and
 * a buffer that nobody writes to after it. (seen_done() fails on a second one.)
 *
 * Mutants seen to fail here: a cancel that is not sent; cancels beyond their share of the
 * completion ring; a file that an abandoned op has made and that stays open; a cancel by fd of all;
 * an abandoned op that is heard of. Two of them are in tests/unit/controls.
 */
#include "loop.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>

#define BUF_SZ 4096

/* One op that waits for ever, and how to let it go. */
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

static struct evr_op op_read(struct waits *w)
{
	return evr_op_read(w->fds[0], w->buf, BUF_SZ, 0);
}

static struct evr_op op_read_async(struct waits *w)
{
	return evr_op_flagged(op_read(w), EVR_OP_ASYNC);
}

static struct evr_op op_poll(struct waits *w)
{
	return evr_op_poll(w->fds[0], POLLIN);
}

static struct evr_op op_poll_multi(struct waits *w)
{
	return evr_op_flagged(op_poll(w), EVR_OP_MULTISHOT);
}

static struct evr_op op_recv(struct waits *w)
{
	return evr_op_recv(w->fds[0], w->buf, BUF_SZ, 0);
}

/* Of group 1, which the case makes. */
static struct evr_op op_recv_multi(struct waits *w)
{
	return evr_op_flagged(evr_op_buffered(evr_op_recv(w->fds[0], NULL, 0, 0), 1),
			      EVR_OP_MULTISHOT);
}

static struct evr_op op_recvmsg_multi(struct waits *w)
{
	return evr_op_flagged(evr_op_buffered(evr_op_recvmsg(w->fds[0], &w->msg, 0), 1),
			      EVR_OP_MULTISHOT);
}

static struct evr_op op_exact(struct waits *w)
{
	return evr_op_flagged(op_read(w), EVR_OP_EXACT);
}

static struct evr_op op_timer(struct waits *w)
{
	return evr_op_timer(UINT64_MAX - 1, 0);
}

static struct evr_op op_futex(struct waits *w)
{
	return evr_op_futex_wait(w->word, 0);
}

/* A listener that has all the connections it takes: another waits for as long as it likes. */
static int full_listener(struct waits *w)
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

static struct evr_op op_connect(struct waits *w)
{
	full_listener(w);
	w->more[3] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return evr_op_connect(w->more[3], (struct sockaddr *)&w->address, sizeof(w->address));
}

static struct evr_op op_accept(struct waits *w)
{
	socklen_t len = sizeof(w->address);

	w->address = (struct sockaddr_in){ .sin_family = AF_INET,
					   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	w->more[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(w->more[0], (struct sockaddr *)&w->address, len), 0);
	assert_int_equal(listen(w->more[0], 1), 0);
	return evr_op_accept(w->more[0], NULL, NULL, 0);
}

static struct evr_op op_accept_multi(struct waits *w)
{
	return evr_op_flagged(op_accept(w), EVR_OP_MULTISHOT);
}

static struct evr_op op_send(struct waits *w)
{
	while (send(w->fds[0], w->buf, BUF_SZ, MSG_DONTWAIT) > 0)
		;
	return evr_op_send(w->fds[0], w->buf, BUF_SZ, 0);
}

/* Of what was sent all is acknowledged: nothing makes room any more but a reader. */
static bool is_settled(int fd)
{
	int queued, unsent;

	assert_int_equal(ioctl(fd, SIOCOUTQ, &queued), 0);
	assert_int_equal(ioctl(fd, SIOCOUTQNSD, &unsent), 0);
	return queued == unsent;
}

/* A connection by TCP that takes no more. */
static int full_connection(struct waits *w)
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

static struct evr_op op_send_zc(struct waits *w)
{
	return evr_op_send_zc(full_connection(w), w->buf, BUF_SZ, 0);
}

static struct evr_op op_sendmsg_zc(struct waits *w)
{
	w->iov = (struct iovec){ w->buf, BUF_SZ };
	w->msg = (struct msghdr){ .msg_iov = &w->iov, .msg_iovlen = 1 };
	return evr_op_sendmsg_zc(full_connection(w), &w->msg, 0);
}

/* By the pool where there is no io_uring, in a thread of the kernel where there is. */
static struct evr_op op_splice(struct waits *w)
{
	assert_int_equal(pipe2(w->more, O_CLOEXEC), 0);
	assert_int_equal(pipe2(w->more + 2, O_CLOEXEC), 0);
	return evr_op_splice(w->more[0], UINT64_MAX, w->more[3], UINT64_MAX, 1, 0);
}

static const struct {
	const char *name;
	struct evr_op (*op)(struct waits *w);
} ops[] = {
	{ "read", op_read },
	{ "read async", op_read_async },
	{ "poll", op_poll },
	{ "poll multi", op_poll_multi },
	{ "recv", op_recv },
	{ "exact", op_exact },
	{ "timer", op_timer },
	{ "futex", op_futex },
	{ "accept", op_accept },
	{ "accept multi", op_accept_multi },
	{ "connect", op_connect },
	{ "send", op_send },
	{ "splice", op_splice },
	{ "recv multi", op_recv_multi },
	{ "send_zc", op_send_zc },
	{ "sendmsg_zc", op_sendmsg_zc },
	{ "recvmsg multi", op_recvmsg_multi },
};

static void waits_open(struct waits *w)
{
	memset(w, 0, sizeof(*w));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, w->fds), 0);
	memset(w->more, -1, sizeof(w->more));
	w->buf = mmap(NULL, BUF_SZ, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	w->word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* After the terminal completion nobody touches the buffer: a write would be -EFAULT or worse. */
static void waits_close(struct waits *w)
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

/* loop_finish(), and if it does not come, of what. */
static int ends(struct loop *loop, struct seen *seen, const char *name, int when)
{
	uint64_t deadline = pair_deadline();

	while (!seen->terminal) {
		assert_true(evr_driver_run(loop->d, 1, deadline) >= 0);
		if (evr_now_ns() >= deadline) {
			fprintf(stderr, "# %s, state %d: does not end\n", name, when);
			fail();
		}
	}
	return seen->res;
}

static void cancel_of_each_op_in_each_state(void **state)
{
	struct loop *loop = *state;
	static char buffer[64];
	struct seen seen;
	struct waits w;
	uint64_t id;
	size_t i;
	int when;

	assert_int_equal(evr_buffers_create(loop->d, 1, 1), 0);
	assert_int_equal(evr_buffers_provide(loop->d, 1, 0, buffer, sizeof(buffer)), 0);
	for (i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		for (when = 0; when < 4; when++) {
			waits_open(&w);
			id = loop_submit(loop, ops[i].op(&w), &seen);
			/* Same batch; handed over; in flight for a while; twice. */
			if (when == 1)
				assert_int_equal(evr_driver_flush(loop->d), 0);
			if (when >= 2)
				loop_rounds(loop, 2);
			assert_int_equal(seen.all, 0);
			assert_int_equal(evr_driver_cancel(loop->d, id), 0);
			if (when == 3 && loop->mode != EVR_DRIVER_NONE && ops[i].op != op_timer)
				assert_int_equal(evr_driver_cancel(loop->d, id), -EALREADY);
			if (ends(loop, &seen, ops[i].name, when) != -ECANCELED)
				fail_msg("%s, state %d: %d", ops[i].name, when, seen.res);
			assert_true(seen.flags & EVR_DONE_CANCELED);
			assert_int_equal(evr_driver_cancel(loop->d, id), -ENOENT);
			loop_rounds(loop, 1);
			assert_int_equal(seen.terminal, 1);
			waits_close(&w);
		}
	}
	assert_int_equal(evr_buffers_nr(loop->d, 1), 1);
	assert_int_equal(evr_buffers_destroy(loop->d, 1), 0);
}

static void cancel_in_the_backlog_makes_no_system_call(void **state)
{
	struct evr_driver_options options = {
		.struct_sz = sizeof(options), .entries = 4, .completions = 8, .backlog_max = 64
	};
	struct seen held[64], waiting;
	struct evr_driver_stats before, after;
	uint64_t ids[64], id;
	struct loop *loop;
	void *own = NULL;
	struct waits w;
	int nr = 0;

	assert_int_equal(loop_open_with(&own, &options), 0);
	loop = own;
	waits_open(&w);
	do {
		ids[nr] = loop_submit(loop, op_read(&w), &held[nr]);
		nr++;
		evr_driver_stats(loop->d, &before);
	} while (!before.backlog);
	id = loop_submit(loop, op_read(&w), &waiting);
	evr_driver_flush(loop->d);
	evr_driver_stats(loop->d, &before);
	assert_int_equal(evr_driver_cancel(loop->d, id), 0);
	evr_driver_stats(loop->d, &after);
	assert_int_equal(after.enters, before.enters);
	assert_int_equal(after.cancels, before.cancels);
	assert_int_equal(loop_finish(loop, &waiting), -ECANCELED);
	while (nr--) {
		assert_int_equal(evr_driver_cancel(loop->d, ids[nr]), 0);
		assert_int_equal(loop_finish(loop, &held[nr]), -ECANCELED);
	}
	waits_close(&w);
	assert_int_equal(loop_close(&own), 0);
}

/* More cancels at once than either ring has room for: none gets lost. */
static void cancel_of_very_many_loses_none(void **state)
{
	struct evr_driver_options options = {
		.struct_sz = sizeof(options), .entries = 8, .completions = 2048, .backlog_max = 4096
	};
	static struct seen seen[2000];
	static uint64_t ids[2000];
	struct evr_driver_stats stats;
	struct loop *loop;
	void *own = NULL;
	struct waits w;
	int i, nr = 2000;

	assert_int_equal(loop_open_with(&own, &options), 0);
	loop = own;
	/* Emulated, each holds an fd. */
	if (loop->mode == EVR_DRIVER_NONE)
		nr = 400;
	waits_open(&w);
	for (i = 0; i < nr; i++)
		ids[i] = loop_submit(loop, op_poll(&w), &seen[i]);
	loop_rounds(loop, 2);
	for (i = 0; i < nr; i++)
		assert_int_equal(evr_driver_cancel(loop->d, ids[i]), 0);
	for (i = 0; i < nr; i++)
		assert_int_equal(loop_finish(loop, &seen[i]), -ECANCELED);
	/* They have room of their own among the completions. */
	assert_int_equal(evr_driver_stats(loop->d, &stats), 0);
	assert_int_equal(stats.overflows, 0);
	waits_close(&w);
	assert_int_equal(loop_close(&own), 0);
}

static void cancel_by_fd_takes_those_of_that_fd(void **state)
{
	struct loop *loop = *state;
	struct seen a[3], b;
	struct waits w, other;
	int i;

	waits_open(&w);
	waits_open(&other);
	loop_submit(loop, op_read(&w), &a[0]);
	loop_submit(loop, op_poll(&w), &a[1]);
	loop_submit(loop, op_recv(&w), &a[2]);
	loop_submit(loop, op_read(&other), &b);
	loop_rounds(loop, 1);
	assert_int_equal(evr_driver_cancel_fd(loop->d, w.fds[0]), 3);
	assert_int_equal(evr_driver_cancel_fd(loop->d, -1), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(loop_finish(loop, &a[i]), -ECANCELED);
	loop_rounds(loop, 1);
	assert_int_equal(b.all, 0);
	assert_int_equal(evr_driver_cancel_fd(loop->d, other.fds[0]), 1);
	loop_finish(loop, &b);
	waits_close(&w);
	waits_close(&other);
}

struct racer {
	int fd;
	struct evr_a32 round, started;
	uint64_t seed;
};

#define RACES 2000

static void *racer_thread(void *arg)
{
	struct racer *racer = arg;
	uint32_t round = 0;

	while (round < RACES) {
		while (evr_a32_load_acquire(&racer->round) == round)
			sched_yield();
		evr_a32_store_release(&racer->started, ++round);
		for (uint64_t spins = pair_random(&racer->seed) % 4000; spins; spins--)
			evr_pause();
		CHECK(write(racer->fd, "x", 1) == 1);
	}
	return NULL;
}

/* The byte is read, or the op is cancelled and the byte is still there: never both or neither. */
static void cancel_races_with_completion(void **state)
{
	struct loop *loop = *state;
	struct racer racer = { .seed = 99 };
	int i, read_nr = 0, cancelled = 0;
	uint64_t seed = 5, spins;
	pthread_t thread;
	struct seen seen;
	struct waits w;
	uint64_t id;
	char byte;

	waits_open(&w);
	racer.fd = w.fds[1];
	assert_int_equal(pthread_create(&thread, NULL, racer_thread, &racer), 0);
	for (i = 0; i < RACES; i++) {
		w.buf[0] = 0;
		id = loop_submit(loop, op_read(&w), &seen);
		evr_driver_flush(loop->d);
		evr_a32_fetch_add(&racer.round, 1);
		while (evr_a32_load_acquire(&racer.started) != (uint32_t)i + 1)
			sched_yield();
		for (spins = pair_random(&seed) % 4000; spins; spins--)
			evr_pause();
		if (i % 2)
			evr_driver_run(loop->d, 0, 0);
		evr_driver_cancel(loop->d, id);
		if (loop_finish(loop, &seen) == 1) {
			assert_int_equal(w.buf[0], 'x');
			read_nr++;
			continue;
		}
		assert_int_equal(seen.res, -ECANCELED);
		assert_int_equal(w.buf[0], 0);
		cancelled++;
		assert_int_equal(read(w.fds[0], &byte, 1), 1);
	}
	pthread_join(thread, NULL);
	print_message("# %d read, %d cancelled\n", read_nr, cancelled);
	waits_close(&w);
}

static uint64_t own_id;

static void cancels_itself(struct evr_driver *d, const struct evr_completion *done)
{
	seen_done(d, done);
	if (done->flags & EVR_DONE_MORE)
		CHECK(evr_driver_cancel(d, done->id) == 0);
	else
		CHECK(evr_driver_cancel(d, own_id) == -ENOENT);
}

static void cancel_within_its_own_callback(void **state)
{
	struct loop *loop = *state;
	struct seen seen = { 0 };
	struct evr_op op;
	struct waits w;

	waits_open(&w);
	op = evr_op_then(op_poll_multi(&w), cancels_itself, &seen);
	assert_int_equal(evr_driver_submit(loop->d, &op, &own_id), 0);
	loop_rounds(loop, 1);
	assert_int_equal(write(w.fds[1], "x", 1), 1);
	assert_int_equal(loop_finish(loop, &seen), -ECANCELED);
	assert_int_equal(seen.all, 2);
	waits_close(&w);
}

static void abandoned_is_never_heard_of(void **state)
{
	struct loop *loop = *state;
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	struct evr_driver_stats stats;
	struct seen seen;
	struct waits w;
	uint64_t id;
	int listener, client, i, fds;
	char byte;

	waits_open(&w);
	id = loop_submit(loop, op_read(&w), &seen);
	loop_rounds(loop, 1);
	assert_int_equal(evr_driver_abandon(loop->d, id), 0);
	do {
		evr_driver_run(loop->d, 0, 0);
		evr_driver_stats(loop->d, &stats);
	} while (stats.slots_used);
	assert_int_equal(seen.all, 0);
	assert_int_equal(stats.abandoned, 1);
	waits_close(&w);

	/* What an abandoned accept brings in spite of it is closed. */
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listener, 8), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	fds = loop_fds();
	for (i = 0; i < 50; i++) {
		id = loop_submit(loop, evr_op_accept(listener, NULL, NULL, 0), &seen);
		evr_driver_flush(loop->d);
		client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(client, (struct sockaddr *)&address, len), 0);
		if (i % 2)
			loop_rounds(loop, 0);
		assert_int_equal(evr_driver_abandon(loop->d, id), 0);
		do {
			evr_driver_run(loop->d, 0, 0);
			evr_driver_stats(loop->d, &stats);
		} while (stats.slots_used);
		assert_int_equal(seen.all, 0);
		/* Accepted and closed, or still in the queue of the listener. */
		fcntl(listener, F_SETFL, O_NONBLOCK);
		byte = 0;
		while ((id = (uint64_t)accept(listener, NULL, NULL)) != (uint64_t)-1)
			close((int)id);
		fcntl(listener, F_SETFL, 0);
		assert_true(read(client, &byte, 1) <= 0);
		close(client);
	}
	assert_int_equal(loop_fds(), fds);
	close(listener);
}

static void until_idle(struct loop *loop)
{
	while (loop_busy(loop))
		assert_true(evr_driver_run(loop->d, 0, 0) >= 0);
}

/* The kernel has made it already, or a thread: it is closed, or goes out of the table again. */
static void abandoned_file_is_closed(void **state)
{
	struct evr_op op = evr_op_open(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY, 0, 0);
	struct loop *loop = *state;
	struct evr_driver_stats stats;
	struct seen seen;
	int fds = loop_fds(), into;
	uint32_t slot = 5;
	uint64_t id;

	for (into = 0; into < 2; into++) {
		if (into)
			op = evr_op_into(op, slot);
		id = loop_submit(loop, op, &seen);
		assert_int_equal(evr_driver_flush(loop->d), 0);
		pair_sleep_us(5000);
		assert_int_equal(evr_driver_abandon(loop->d, id), 0);
		until_idle(loop);
		assert_int_equal(seen.all, 0);
		assert_int_equal(loop_fds(), fds);
		assert_int_equal(evr_file_remove(loop->d, slot), -EBADF);
		/* In the background: as if nobody wanted it. */
		op.flags |= EVR_OP_BACKGROUND;
		op.fn = NULL;
		assert_int_equal(evr_driver_submit(loop->d, &op, NULL), 0);
		until_idle(loop);
		assert_int_equal(loop_fds(), fds);
		assert_int_equal(evr_file_remove(loop->d, slot), -EBADF);
		op.flags = 0;
	}
	assert_int_equal(evr_driver_stats(loop->d, &stats), 0);
	assert_int_equal(stats.background_errors, 0);
	assert_int_equal(stats.abandoned, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_MODE_TEST(cancel_of_each_op_in_each_state),
		cmocka_unit_test(cancel_in_the_backlog_makes_no_system_call),
		cmocka_unit_test(cancel_of_very_many_loses_none),
		EACH_MODE_TEST(cancel_by_fd_takes_those_of_that_fd),
		EACH_MODE_TEST(cancel_races_with_completion),
		EACH_MODE_TEST(cancel_within_its_own_callback),
		EACH_MODE_TEST(abandoned_is_never_heard_of),
		EACH_MODE_TEST(abandoned_file_is_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
