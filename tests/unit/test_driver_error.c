/* SPDX-License-Identifier: MIT */
/*
 * What goes wrong around an op: every error as its result, signals without end, a completion
 * ring that overflows, ends that cannot come, and memory after the end.
 *
 * Mutants seen to fail here: a raw SQE with one credit; EAGAIN tried again more often; a close that
 * says 0 of what is not over; a kernel's thread that nobody wakes; a signal that ends no run.
 */
#include "loop.h"

#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "driver.h"

#define ABI_NOP_INJECT 1u /* IORING_NOP_INJECT_RESULT, Linux 6.10 */

static struct loop *open_small(void **state, uint32_t entries, uint32_t flags)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .entries = entries,
					      .completions = 2 * entries,
					      .flags = flags };

	assert_int_equal(loop_open_with(state, &options), 0);
	return *state;
}

/* --- every result --- */

struct files {
	int pair[2], file;
	char buf[16];
	struct iovec iov;
};

/* Ops that complete by themselves, were they to begin. */
static struct evr_op op_of(struct files *f, int kind)
{
	switch (kind) {
	case 0:
		return evr_op_nop();
	case 1:
		return evr_op_read(f->file, f->buf, 4, 0);
	case 2:
		return evr_op_flagged(evr_op_read(f->file, f->buf, 4, 0), EVR_OP_EXACT);
	case 3:
		return evr_op_writev(f->file, &f->iov, 1, 0);
	case 4:
		return evr_op_send(f->pair[0], f->buf, 4, 0);
	case 5:
		return evr_op_flagged(evr_op_send(f->pair[0], f->buf, 4, 0), EVR_OP_ASYNC);
	case 6:
		return evr_op_fsync(f->file);
	case 7:
		return evr_op_poll(f->pair[0], POLLOUT);
	case 8:
		return evr_op_open(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY, 0, 0);
	default:
		return evr_op_fallocate(f->file, 0, 0, 4096);
	}
}

#define KINDS 10

/* In place of the op that was just submitted, and not handed over, the kernel only says this. */
static void replace_by(struct loop *loop, int res)
{
	struct ring *r = &loop->d->ring;
	struct io_uring_sqe *sqe = &r->sqes[(r->tail - 1) & r->sq_mask];
	uint64_t id = sqe->user_data;

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_NOP;
	sqe->fd = -1;
	sqe->rw_flags = ABI_NOP_INJECT;
	sqe->len = (uint32_t)res;
	sqe->user_data = id;
}

static bool kernel_injects(struct loop *loop)
{
	struct seen seen;

	if (loop->mode == EVR_DRIVER_NONE)
		return false;
	loop_submit(loop, evr_op_nop(), &seen);
	replace_by(loop, -ENOTTY);
	return loop_finish(loop, &seen) == -ENOTTY;
}

/* Does it hold its file, or need none, so that it starts again after an interruption? */
static bool starts_again(int kind, int err)
{
	bool holds = kind == 2 || kind == 5 || kind == 6 || kind >= 8;

	switch (err) {
	case EINTR:
	case ECANCELED: /* by nobody: it was interrupted */
		return holds;
	case EAGAIN:
		return kind == 2; /* a read */
	case EOPNOTSUPP:
		return holds && kind >= 6; /* the pool can do it */
	default:
		return false;
	}
}

/* Each errno of each op ends it once, as it is; or, if it may start again, by its own result. */
static void every_error_ends_each_op_once(void **state)
{
	struct loop *loop = *state;
	struct files f = { .file = memfd_create("errors", MFD_CLOEXEC) };
	struct seen seen;
	int kind, nr, err;
	char drained[16];

	if (!kernel_injects(loop)) {
		close(f.file);
		skip();
	}
	f.iov = (struct iovec){ (char[]){ "four" }, 4 };
	assert_int_equal(pwrite(f.file, "four", 4, 0), 4);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f.pair), 0);
	for (kind = 0; kind < KINDS; kind++) {
		for (nr = 1; nr < 134; nr++) {
			err = nr == ECANCELED ? EINTR : nr;
			loop_submit(loop, op_of(&f, kind), &seen);
			replace_by(loop, -nr);
			loop_finish(loop, &seen);
			if (starts_again(kind, nr) ? seen.res < 0 : seen.res != -err)
				fail_msg("op %d, error %d: %d", kind, nr, seen.res);
			if (kind == 8 && seen.res >= 0)
				close(seen.res);
			while (recv(f.pair[1], drained, 16, MSG_DONTWAIT) > 0)
				;
		}
		assert_int_equal(loop_busy(loop), 0);
	}
	close(f.file);
	close(f.pair[0]);
	close(f.pair[1]);
}

/* EAGAIN of a file: tried four times more, and then told. */
static void again_is_tried_a_few_times_and_then_told(void **state)
{
	struct loop *loop = *state;
	struct files f = { .file = memfd_create("again", MFD_CLOEXEC), .pair = { -1, -1 } };
	struct evr_driver_stats stats;
	struct seen seen;
	int tries;

	if (!kernel_injects(loop)) {
		close(f.file);
		skip();
	}
	loop_submit(loop, op_of(&f, 2), &seen);
	for (tries = 1; tries <= 5; tries++) {
		assert_int_equal(seen.all, 0);
		assert_true(loop->d->ring.tail != loop->d->ring.sent);
		replace_by(loop, -EAGAIN);
		/* One turn: what starts again is in the ring, and not handed over. */
		assert_true(evr_driver_run(loop->d, 0, 0) >= 0);
	}
	assert_int_equal(seen.terminal, 1);
	assert_int_equal(seen.res, -EAGAIN);
	assert_int_equal(evr_driver_stats(loop->d, &stats), 0);
	assert_int_equal(stats.retries, 4);
	close(f.file);
}

/* --- signals --- */

static void ticked(int sig)
{
}

static void storm(long every_us)
{
	struct itimerval each = { { 0, every_us }, { 0, every_us } };
	struct sigaction action = { .sa_handler = every_us ? ticked : SIG_DFL };

	if (every_us)
		assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &each, NULL), 0);
	if (!every_us)
		signal(SIGALRM, SIG_IGN);
}

static void *late_writer(void *arg)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	pair_sleep_us(3000);
	CHECK(write(*(int *)arg, "x", 1) == 1);
	return NULL;
}

static int finish_in_storm(struct loop *loop, struct seen *seen, int *interrupted)
{
	uint64_t deadline = pair_deadline();
	int ret;

	while (!seen->terminal) {
		ret = evr_driver_run(loop->d, 1, deadline);
		CHECK(ret >= 0 || ret == -EINTR);
		*interrupted += ret == -EINTR;
		CHECK(evr_now_ns() < deadline);
	}
	return seen->res;
}

static void ends_in_storm(struct loop *loop, struct seen *seen, int *interrupted, int wanted)
{
	int res = finish_in_storm(loop, seen, interrupted);

	if (res == wanted)
		return;
	storm(0);
	fail_msg("%d in place of %d, flags %#x", res, wanted, seen->flags);
}

/* An op that holds no file of its own may be told that it was interrupted; then it did nothing. */
static void done_in_storm(struct loop *loop, struct evr_op op, int *interrupted, int wanted)
{
	uint64_t deadline = pair_deadline();
	struct seen seen;

	do {
		CHECK(evr_now_ns() < deadline);
		loop_submit(loop, op, &seen);
	} while (finish_in_storm(loop, &seen, interrupted) == -EINTR);
	if (seen.res == wanted)
		return;
	storm(0);
	fail_msg("%d in place of %d, flags %#x", seen.res, wanted, seen.flags);
}

/* A handler every 50 us: sleeps end, ops do not, and none is done twice. */
static void signals_without_end_end_no_op(void **state)
{
	struct loop *loop = *state;
	int fds[2], file = memfd_create("storm", MFD_CLOEXEC), i, interrupted = 0;
	static char page[65536], back[65536];
	pthread_t thread;
	struct seen seen;
	char byte;

	memset(page, 'p', sizeof(page));
	storm(50);
	for (i = 0; i < 10; i++) {
		CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
		loop_submit(loop, evr_op_recv(fds[0], &byte, 1, 0), &seen);
		CHECK(!pthread_create(&thread, NULL, late_writer, &fds[1]));
		ends_in_storm(loop, &seen, &interrupted, 1);
		pthread_join(thread, NULL);
		loop_submit(loop, evr_op_timer(evr_now_ns() + 1000000, 0), &seen);
		ends_in_storm(loop, &seen, &interrupted, 0);
		done_in_storm(loop, evr_op_write(file, page, sizeof(page), 0), &interrupted,
			      (int)sizeof(page));
		/* One that goes on by itself has its file, and is never interrupted. */
		loop_submit(loop,
			    evr_op_flagged(evr_op_write(file, page, sizeof(page), 0), EVR_OP_EXACT),
			    &seen);
		ends_in_storm(loop, &seen, &interrupted, (int)sizeof(page));
		loop_submit(loop, evr_op_fsync(file), &seen);
		ends_in_storm(loop, &seen, &interrupted, 0);
		loop_submit(loop,
			    evr_op_flagged(evr_op_read(file, back, sizeof(back), 0), EVR_OP_EXACT),
			    &seen);
		ends_in_storm(loop, &seen, &interrupted, (int)sizeof(page));
		loop_submit(loop,
			    evr_op_until(evr_op_recv(fds[0], &byte, 1, 0), evr_now_ns() + 1000000),
			    &seen);
		ends_in_storm(loop, &seen, &interrupted, -ETIME);
		close(fds[0]);
		close(fds[1]);
	}
	storm(0);
	assert_memory_equal(page, back, sizeof(page));
	assert_true(interrupted > 0);
	close(file);
}

/* --- a completion ring that is full --- */

/* Two turns of 16 messages from another ring into one of 16, and nobody fetches. */
static void overflow_loses_nothing(void **state)
{
	struct loop *loop = open_small(state, 8, 0);
	struct evr_driver_stats stats;
	struct io_uring_sqe *sqe;
	struct io_uring other;
	struct seen reads, done;
	uint64_t id;
	int fds[2], i;
	char byte;

	if (loop->mode == EVR_DRIVER_NONE) {
		assert_int_equal(loop_close(state), 0);
		skip();
	}
	loop->may_be_stale = true;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	id = loop_submit(loop, evr_op_read(fds[0], &byte, 1, 0), &reads);
	loop_rounds(loop, 1);
	assert_int_equal(io_uring_queue_init(64, &other, 0), 0);
	for (i = 0; i < 64; i++) {
		sqe = io_uring_get_sqe(&other);
		io_uring_prep_msg_ring(sqe, loop->d->ring.uring.ring_fd, 7, 0x1234567, 0);
	}
	assert_int_equal(io_uring_submit(&other), 64);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(loop_finish(loop, &reads), 1);
	loop_submit(loop, evr_op_nop(), &done);
	loop_finish(loop, &done);
	do {
		loop_rounds(loop, 1);
		assert_int_equal(evr_driver_stats(loop->d, &stats), 0);
	} while (stats.stale < 64);
	assert_int_equal(stats.stale, 64);
	assert_true(stats.overflows > 0);
	assert_int_equal(evr_driver_cancel(loop->d, id), -ENOENT);
	io_uring_queue_exit(&other);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(loop_close(state), 0);
}

struct accepting {
	int nr, terminal;
};

static void accepted(struct evr_driver *d, const struct evr_completion *done)
{
	struct accepting *a = done->arg;

	if (done->res >= 0) {
		a->nr++;
		close(done->res);
	}
	a->terminal += !(done->flags & EVR_DONE_MORE);
}

/* More connections at once than there are completions: a multishot may end, none is lost. */
static void overflow_of_a_multishot_loses_no_connection(void **state)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct loop *loop = open_small(state, 8, 0);
	socklen_t len = sizeof(address);
	struct accepting a = { 0 };
	int listener, clients[64], i;
	struct evr_op op;
	uint64_t id;

	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listener, 128), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	for (i = 0; i < 64; i++) {
		clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(clients[i], (struct sockaddr *)&address, len), 0);
	}
	op = evr_op_then(evr_op_flagged(evr_op_accept(listener, NULL, NULL, 0), EVR_OP_MULTISHOT),
			 accepted, &a);
	assert_int_equal(evr_driver_submit(loop->d, &op, &id), 0);
	while (a.nr < 64) {
		assert_true(evr_driver_run(loop->d, 1, pair_deadline()) >= 0);
		if (!a.terminal)
			continue;
		a.terminal = 0;
		assert_int_equal(evr_driver_submit(loop->d, &op, &id), 0);
	}
	assert_int_equal(a.nr, 64);
	evr_driver_cancel(loop->d, id);
	LOOP_UNTIL(loop, a.terminal);
	for (i = 0; i < 64; i++)
		close(clients[i]);
	close(listener);
	assert_int_equal(loop_close(state), 0);
}

/* --- the end --- */

#define BIG_SZ (8u << 20)

/* A close that returned 0: no byte of a read that was under way comes afterwards. */
static void nothing_is_written_after_close(void **state)
{
	/* On a disk, if there is one: memory would be read at once. */
	char path[] = "/var/tmp/evering-driver-XXXXXX";
	int file = mkostemp(path, O_CLOEXEC), direct, round;
	struct evr_driver_options options = { .struct_sz = sizeof(options), .entries = 32 };
	struct evr_driver *d;
	struct evr_op op;
	size_t i;
	char *buf;

	if (file < 0) {
		strcpy(path, "/tmp/evering-driver-XXXXXX");
		file = mkostemp(path, O_CLOEXEC);
	}
	assert_true(file >= 0);
	/* A ring that is being taken down interrupts it now and then. */
	while ((round = posix_fallocate(file, 0, BIG_SZ)) == EINTR)
		;
	assert_int_equal(round, 0);
	direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (direct < 0)
		direct = open(path, O_RDONLY | O_CLOEXEC);
	unlink(path);
	buf = mmap(NULL, BIG_SZ, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(buf != MAP_FAILED);
	for (round = 0; round < 4; round++) {
		assert_int_equal(evr_driver_create(&d, &options), 0);
		for (i = 0; i < 8; i++) {
			op = evr_op_flagged(evr_op_read(direct, buf + i * (BIG_SZ / 8), BIG_SZ / 8,
							i * (BIG_SZ / 8)),
					    EVR_OP_ASYNC);
			assert_int_equal(evr_driver_submit(d, &op, NULL), 0);
		}
		assert_int_equal(evr_driver_flush(d), 0);
		assert_int_equal(evr_driver_close(d, pair_deadline()), 0);
		memset(buf, 0xa5, BIG_SZ);
		pair_sleep_us(20000);
		for (i = 0; i < BIG_SZ; i++)
			if ((unsigned char)buf[i] != 0xa5)
				fail_msg("byte %zu was written after the end", i);
	}
	munmap(buf, BIG_SZ);
	close(direct);
	close(file);
}

static bool pool_has(struct evr_driver *d, bool queued)
{
	bool has;

	pthread_mutex_lock(&d->pool.lock);
	has = queued ? d->pool.queued : d->pool.done != NULL;
	pthread_mutex_unlock(&d->pool.lock);
	return has;
}

/* A thread of the pool in a call that no cancel ends: close says so, and then leak, or wait. */
static void close_of_what_cannot_end_says_busy(void **state)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .mode = EVR_DRIVER_NONE };
	char dir[] = "/tmp/evering-fifo-XXXXXX", path[64];
	int leaks, fd, fds = loop_fds();
	struct evr_driver *d;
	struct seen seen;
	struct evr_op op;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	for (leaks = 0; leaks < 2; leaks++) {
		assert_int_equal(evr_driver_create(&d, &options), 0);
		memset(&seen, 0, sizeof(seen));
		op = evr_op_then(evr_op_open(AT_FDCWD, path, O_RDONLY, 0, 0), seen_done, &seen);
		assert_int_equal(evr_driver_submit(d, &op, NULL), 0);
		/* Until its thread has it; a cancel would end it before. */
		while (pool_has(d, true))
			pair_sleep_us(100);
		assert_int_equal(evr_driver_close(d, evr_now_ns() + 5000000), -EBUSY);
		assert_int_equal(evr_driver_close(d, 0), -EBUSY);
		assert_int_equal(evr_driver_submit(d, &op, NULL), -ESHUTDOWN);
		assert_int_equal(seen.all, 0);
		if (leaks)
			evr_driver_leak(d);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		assert_true(fd >= 0);
		if (!leaks) {
			assert_int_equal(evr_driver_close(d, pair_deadline()), 0);
			assert_int_equal(seen.terminal, 1);
			if (seen.res >= 0)
				close(seen.res);
			close(fd);
			assert_int_equal(loop_fds(), fds);
			continue;
		}
		/* Given up, it is whole: its thread finds slot, extra and queue where they were. */
		while (!pool_has(d, false))
			pair_sleep_us(100);
		assert_int_equal(seen.all, 0);
		close(fd);
	}
	unlink(path);
	rmdir(dir);
}

/* How many ops are taken at once; all are over when it returns. */
static int room(struct loop *loop)
{
	struct evr_op op = evr_op_nop();
	int nr = 0, busy = loop_busy(loop);

	while (!evr_driver_submit(loop->d, &op, NULL))
		nr++;
	LOOP_UNTIL(loop, loop_busy(loop) == busy);
	return nr;
}

/* What is to complete several times may fill as much of the completion ring. */
static void raw_sqe_holds_a_credit_for_each_completion(void **state)
{
	struct loop *loop = open_small(state, 8, EVR_DRIVER_FAIL_FAST);
	struct io_uring_sqe *sqe;
	struct seen seen = { 0 };
	int fds[2], all;
	uint64_t id;

	if (loop->mode == EVR_DRIVER_NONE) {
		assert_int_equal(loop_close(state), 0);
		skip();
	}
	all = room(loop);
	assert_true(all > 6 && all <= 16);
	assert_null(evr_driver_sqe(loop->d, seen_done, &seen, (uint32_t)all + 1, &id));
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	sqe = evr_driver_sqe(loop->d, seen_done, &seen, 5, &id);
	assert_non_null(sqe);
	io_uring_prep_poll_multishot(sqe, fds[0], POLLIN);
	sqe->user_data = id;
	assert_int_equal(room(loop), all - 5);
	assert_int_equal(evr_driver_cancel(loop->d, id), 0);
	assert_int_equal(loop_finish(loop, &seen), -ECANCELED);
	assert_int_equal(room(loop), all);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(loop_close(state), 0);
}

/* --- a thread of the kernel that submits --- */

static void sqpoll_is_on_and_works_asleep(void **state)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .flags = EVR_DRIVER_SQPOLL,
					      .sqpoll_idle_ms = 1 };
	struct evr_driver_caps caps;
	struct loop *loop;
	struct seen seen;
	int fds[2], i;
	uint64_t id;
	char byte;

	if (loop_open_with(state, &options))
		skip();
	loop = *state;
	evr_driver_caps(loop->d, &caps);
	assert_true(caps.setup_flags & IORING_SETUP_SQPOLL);
	assert_int_equal(caps.mode, EVR_DRIVER_PLAIN);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	for (i = 0; i < 20; i++) {
		assert_int_equal(loop_do(loop, evr_op_nop()), 0);
		/* Long enough for it to fall asleep, now and then. */
		pair_sleep_us(i % 4 * 1000);
		id = loop_submit(loop, evr_op_read(fds[0], &byte, 1, 0), &seen);
		loop_rounds(loop, i % 3);
		if (i % 2) {
			assert_int_equal(evr_driver_cancel(loop->d, id), 0);
			assert_int_equal(loop_finish(loop, &seen), -ECANCELED);
		} else {
			assert_int_equal(write(fds[1], "x", 1), 1);
			assert_int_equal(loop_finish(loop, &seen), 1);
		}
	}
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(loop_close(state), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_MODE_TEST(every_error_ends_each_op_once),
		EACH_MODE_TEST(again_is_tried_a_few_times_and_then_told),
		EACH_MODE_TEST(signals_without_end_end_no_op),
		cmocka_unit_test(overflow_loses_nothing),
		cmocka_unit_test(overflow_of_a_multishot_loses_no_connection),
		cmocka_unit_test(raw_sqe_holds_a_credit_for_each_completion),
		cmocka_unit_test(nothing_is_written_after_close),
		cmocka_unit_test(close_of_what_cannot_end_says_busy),
		cmocka_unit_test(sqpoll_is_on_and_works_asleep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
