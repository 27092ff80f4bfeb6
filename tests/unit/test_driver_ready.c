/* SPDX-License-Identifier: MIT */
/*
 * Mode none: what was ready when epoll said so may not be any more when it is read, because
 * somebody else was first. The call that follows must not block the loop. The C library's calls
 * are replaced by ones in which that somebody comes at the worst moment, and in which
 * no file takes RWF_NOWAIT, as pipes before 6.4.
 *
 * Seen to hang: each case with calls that may block, as the driver once made them (the last one
 * when drivers do not wait for each other).
 */
#include "loop.h"

#include <semaphore.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>

static struct {
	bool refuses; /* RWF_NOWAIT */
	void (*before)(void); /* the call, once */
	int fds[2];
	int calls;
	bool was_unblocked; /* the file of fds[0] or [1], at the call */
	int watched;
} scene;

static bool is_unblocked(int fd)
{
	return fcntl(fd, F_GETFL) & O_NONBLOCK;
}

static bool step(int flags)
{
	void (*before)(void) = scene.before;

	if (flags & RWF_NOWAIT) {
		errno = EOPNOTSUPP;
		return !scene.refuses;
	}
	scene.calls++;
	scene.before = NULL;
	if (before)
		before();
	scene.was_unblocked |= is_unblocked(scene.watched);
	return true;
}

ssize_t preadv2(int fd, const struct iovec *iov, int nr, off_t off, int flags)
{
	return step(flags) ? syscall(SYS_preadv2, fd, iov, nr, off, 0, flags) : -1;
}

ssize_t pwritev2(int fd, const struct iovec *iov, int nr, off_t off, int flags)
{
	return step(flags) ? syscall(SYS_pwritev2, fd, iov, nr, off, 0, flags) : -1;
}

static struct loop *begin(void **state)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .mode = EVR_DRIVER_NONE };

	memset(&scene, 0, sizeof(scene));
	scene.refuses = true;
	alarm(100); /* against a hang: no case takes a second */
	if (loop_open_with(state, &options))
		fail();
	return *state;
}

static void finish(void **state)
{
	assert_int_equal(loop_close(state), 0);
	alarm(0);
}

static void steal(void)
{
	char bytes[4096];

	assert_true(read(scene.fds[0], bytes, sizeof(bytes)) > 0);
}

/* Another reader has taken the byte; the file that all share is as it was, also meanwhile. */
static void pipe_read_that_somebody_preceded(void **state)
{
	struct loop *loop = begin(state);
	struct seen seen;
	char byte = 0;

	assert_int_equal(pipe2(scene.fds, O_CLOEXEC), 0);
	scene.watched = scene.fds[0];
	scene.before = steal;
	loop_submit(loop, evr_op_read(scene.fds[0], &byte, 1, EVR_OFF_CURRENT), &seen);
	assert_int_equal(write(scene.fds[1], "x", 1), 1);
	loop_rounds(loop, 2);
	assert_int_equal(scene.calls, 1);
	assert_int_equal(seen.all, 0);
	assert_int_equal(write(scene.fds[1], "y", 1), 1);
	assert_int_equal(loop_finish(loop, &seen), 1);
	assert_int_equal(byte, 'y');
	assert_false(scene.was_unblocked);
	close(scene.fds[0]);
	close(scene.fds[1]);
	finish(state);
}

static void fill(void)
{
	static const char bytes[1 << 20];

	fcntl(scene.fds[1], F_SETFL, O_NONBLOCK);
	while (write(scene.fds[1], bytes, sizeof(bytes)) > 0)
		;
	while (write(scene.fds[1], bytes, 1) > 0)
		;
	fcntl(scene.fds[1], F_SETFL, 0);
}

static void pipe_write_that_somebody_preceded(void **state)
{
	struct loop *loop = begin(state);
	static char bytes[8192], back[1 << 20];
	struct iovec iov[2] = { { bytes, 0 }, { bytes, sizeof(bytes) } };
	struct seen seen;

	assert_int_equal(pipe2(scene.fds, O_CLOEXEC), 0);
	scene.watched = scene.fds[1];
	scene.before = fill;
	loop_submit(loop, evr_op_writev(scene.fds[1], iov, 2, EVR_OFF_CURRENT), &seen);
	loop_rounds(loop, 2);
	assert_int_equal(scene.calls, 1);
	assert_int_equal(seen.all, 0);
	assert_true(read(scene.fds[0], back, sizeof(back)) > 0);
	assert_int_equal(loop_finish(loop, &seen), sizeof(bytes));
	assert_false(scene.was_unblocked);
	close(scene.fds[0]);
	close(scene.fds[1]);
	finish(state);
}

/* Of a pipe that keeps packets: each write is one, through whichever file. */
static void pipe_of_packets_keeps_them(void **state)
{
	struct loop *loop = begin(state);
	char bytes[16];

	assert_int_equal(pipe2(scene.fds, O_CLOEXEC | O_DIRECT), 0);
	assert_int_equal(loop_do(loop, evr_op_write(scene.fds[1], "one", 3, EVR_OFF_CURRENT)), 3);
	assert_int_equal(loop_do(loop, evr_op_write(scene.fds[1], "two2", 4, EVR_OFF_CURRENT)), 4);
	assert_int_equal(loop_do(loop, evr_op_read(scene.fds[0], bytes, 16, EVR_OFF_CURRENT)), 3);
	assert_memory_equal(bytes, "one", 3);
	assert_int_equal(loop_do(loop, evr_op_read(scene.fds[0], bytes, 16, EVR_OFF_CURRENT)), 4);
	close(scene.fds[0]);
	close(scene.fds[1]);
	finish(state);
}

/* A file that knows RWF_NOWAIT on no kernel. One event; two ops and somebody else want it. */
static void one_event_that_three_wait_for(void **state)
{
	char dir[] = "/tmp/evr-ready-XXXXXX", path[64], events[2][512];
	struct loop *loop = begin(state);
	struct seen seen[2];
	int i;

	scene.refuses = false;
	assert_non_null(mkdtemp(dir));
	scene.fds[0] = scene.watched = inotify_init1(IN_CLOEXEC);
	assert_true(scene.fds[0] >= 0);
	assert_true(inotify_add_watch(scene.fds[0], dir, IN_CREATE | IN_DELETE) >= 0);
	for (i = 0; i < 2; i++)
		loop_submit(loop, evr_op_read(scene.fds[0], events[i], 512, EVR_OFF_CURRENT),
			    &seen[i]);
	scene.before = steal;
	snprintf(path, sizeof(path), "%s/file", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	loop_rounds(loop, 2);
	assert_int_equal(seen[0].all + seen[1].all, 0);
	assert_int_equal(scene.calls, 1);
	assert_int_equal(rmdir(path), 0);
	LOOP_UNTIL(loop, seen[0].all + seen[1].all);
	loop_rounds(loop, 2);
	assert_int_equal(seen[0].all + seen[1].all, 1);
	assert_false(is_unblocked(scene.fds[0]));
	assert_int_equal(evr_driver_cancel_fd(loop->d, scene.fds[0]), 1);
	LOOP_UNTIL(loop, seen[0].terminal && seen[1].terminal);
	close(scene.fds[0]);
	rmdir(dir);
	finish(state);
}

static struct {
	int fd;
	pthread_t first, late;
	sem_t late_is_in, late_goes_on;
	int late_res; /* what the late call said: -errno, or the fd */
} two;

static void *accepts_late(void *arg)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .mode = EVR_DRIVER_NONE };
	struct evr_op op = evr_op_accept(two.fd, NULL, NULL, 0);
	struct seen seen = { 0 };
	struct evr_driver *d;

	(void)arg;
	CHECK(!evr_driver_create(&d, &options));
	op = evr_op_then(op, seen_done, &seen);
	CHECK(!evr_driver_submit(d, &op, NULL));
	while (!two.late_res)
		CHECK(evr_driver_run(d, 1, evr_now_ns() + 1000000) >= 0);
	CHECK(!evr_driver_close(d, pair_deadline()));
	CHECK(seen.terminal == 1);
	return NULL;
}

static int accept_late(int fd, struct sockaddr *addr, socklen_t *sz, int flags)
{
	int ret;

	sem_post(&two.late_is_in);
	sem_wait(&two.late_goes_on);
	ret = (int)syscall(SYS_accept4, fd, addr, sz, flags);
	two.late_res = ret < 0 ? -errno : ret;
	return ret;
}

int accept4(int fd, struct sockaddr *addr, socklen_t *sz, int flags)
{
	struct timespec until;

	if (!pthread_equal(pthread_self(), two.first))
		return accept_late(fd, addr, sz, flags);
	CHECK(!pthread_create(&two.late, NULL, accepts_late, NULL));
	/* In time only if the drivers do not wait for each other. */
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	sem_timedwait(&two.late_is_in, &until);
	return (int)syscall(SYS_accept4, fd, addr, sz, flags);
}

/* The second of two that share a listener does not wait in accept for the next connection. */
static void listener_of_two_blocks_neither(void **state)
{
	struct loop *loop = begin(state);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t sz = sizeof(address);
	int guest, host;

	two.first = pthread_self();
	assert_int_equal(sem_init(&two.late_is_in, 0, 0), 0);
	assert_int_equal(sem_init(&two.late_goes_on, 0, 0), 0);
	two.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* The kernel finds a name that is in no directory. */
	assert_int_equal(bind(two.fd, (struct sockaddr *)&address, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(two.fd, 8), 0);
	assert_int_equal(getsockname(two.fd, (struct sockaddr *)&address, &sz), 0);
	guest = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(guest, (struct sockaddr *)&address, sz), 0);
	host = loop_do(loop, evr_op_accept(two.fd, NULL, NULL, 0));
	assert_true(host >= 0);
	sem_post(&two.late_goes_on);
	pthread_join(two.late, NULL);
	assert_int_equal(two.late_res, -EAGAIN);
	close(host);
	close(guest);
	close(two.fd);
	finish(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pipe_read_that_somebody_preceded),
		cmocka_unit_test(pipe_write_that_somebody_preceded),
		cmocka_unit_test(pipe_of_packets_keeps_them),
		cmocka_unit_test(one_event_that_three_wait_for),
		cmocka_unit_test(listener_of_two_blocks_neither),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
