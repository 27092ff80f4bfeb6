/* SPDX-License-Identifier: MIT */
/*
 * A driver where the machine refuses: io_uring by a filter or by sysctl, locked memory by
 * a limit, threads. What was refused is told by the caps, and everything works.
 *
 * A case is a child, since what refuses it stays: so it uses CHECK().
 *
 * Mutants seen to fail here: a filter, or a ring that only can be set up, that fails the create; a
 * region that memlock fails; a pool whose thread cannot be had, and which waits for it.
 */
#include "loop.h"

#include <grp.h>
#include <netinet/in.h>
#include <sys/resource.h>

#include "refuse.h"

/* Where it cannot be tried: the child's exit status, and why. */
#define CHILD_SKIPS 77

/* Run a case; false: it was skipped, and has said why. */
static bool in_child(void (*fn)(int arg), int arg)
{
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		alarm(60);
		fn(arg);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_SKIPS)
		return false;
	assert_int_equal(status, 0);
	return true;
}

static void child_skips(const char *why)
{
	printf("# skipped: %s\n", why);
	fflush(NULL);
	_exit(CHILD_SKIPS);
}

static struct evr_driver *make(enum evr_driver_mode mode, uint32_t flags, int expected)
{
	struct evr_driver_options options = {
		.struct_sz = sizeof(options), .mode = mode, .flags = flags, .entries = 8
	};
	struct evr_driver *d;

	CHECK(evr_driver_create(&d, &options) == expected);
	CHECK(!d == !!expected);
	return d;
}

static void start(struct evr_driver *d, struct evr_op op, struct seen *seen)
{
	memset(seen, 0, sizeof(*seen));
	op = evr_op_then(op, seen_done, seen);
	CHECK(evr_driver_submit(d, &op, NULL) == 0);
}

static int finish(struct evr_driver *d, struct seen *seen)
{
	uint64_t deadline = pair_deadline();

	while (!seen->terminal) {
		CHECK(evr_driver_run(d, 1, deadline) >= 0);
		CHECK(evr_now_ns() < deadline);
	}
	return seen->res;
}

static int settle(struct evr_driver *d, struct evr_op op)
{
	struct seen seen;

	start(d, op, &seen);
	return finish(d, &seen);
}

/* Files, sockets, both kinds of wait, time: of each kind one, and its result. */
static void works(struct evr_driver *d)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	struct seen accepted, connected, received;
	struct evr_a32 word = { 0 };
	char bytes[8] = "written", back[8] = "";
	int file = memfd_create("works", MFD_CLOEXEC), listener, client;

	CHECK(settle(d, evr_op_write(file, bytes, 8, 0)) == 8);
	CHECK(settle(d, evr_op_fsync(file)) == 0);
	CHECK(settle(d, evr_op_read(file, back, 8, 0)) == 8);
	CHECK(!memcmp(bytes, back, 8));
	listener = settle(d, evr_op_socket(AF_INET, SOCK_STREAM, 0));
	client = settle(d, evr_op_socket(AF_INET, SOCK_STREAM, 0));
	CHECK(listener >= 0 && client >= 0);
	CHECK(!bind(listener, (struct sockaddr *)&address, len) && !listen(listener, 4));
	CHECK(!getsockname(listener, (struct sockaddr *)&address, &len));
	start(d, evr_op_accept(listener, NULL, NULL, 0), &accepted);
	start(d, evr_op_connect(client, (struct sockaddr *)&address, len), &connected);
	CHECK(finish(d, &connected) == 0 && finish(d, &accepted) >= 0);
	memset(back, 0, 8);
	start(d, evr_op_recv(accepted.res, back, 8, 0), &received);
	CHECK(settle(d, evr_op_send(client, bytes, 8, 0)) == 8);
	CHECK(finish(d, &received) == 8 && !memcmp(bytes, back, 8));
	CHECK(settle(d, evr_op_timer(evr_now_ns() + 100000, 0)) == 0);
	CHECK(settle(d, evr_op_futex_wait(&word, 1)) == -EAGAIN);
	CHECK(settle(d, evr_op_until(evr_op_recv(client, back, 8, 0), evr_now_ns() + 1000000)) ==
	      -ETIME);
	close(file);
	close(listener);
	close(client);
	close(accepted.res);
}

/* --- io_uring --- */

static void without_setup(int err)
{
	int asked = err == ENOMEM || err == EMFILE ? -err : -EOPNOTSUPP;
	struct evr_driver_caps caps;
	struct evr_driver *d;

	unsetenv("EVERING_DRIVER_MODE");
	if (refuse_uring(err))
		child_skips("the kernel has no system call filters");
	make(EVR_DRIVER_AUTO, EVR_DRIVER_REQUIRE_URING, asked);
	make(EVR_DRIVER_DEFER, 0, asked);
	make(EVR_DRIVER_PLAIN, 0, asked);
	make(EVR_DRIVER_AUTO, EVR_DRIVER_SQPOLL, asked);
	CHECK(strstr(evr_error_detail(), "io_uring_setup"));
	d = make(EVR_DRIVER_AUTO, 0, 0);
	evr_driver_caps(d, &caps);
	CHECK(caps.mode == EVR_DRIVER_NONE && caps.uring_error == -err);
	CHECK(!caps.fixed_buffers && !caps.fixed_files && !caps.buffer_rings && !caps.ring_fd);
	CHECK(caps.support[EVR_OP_RECV] == EVR_SUPPORT_READY);
	works(d);
	CHECK(evr_driver_close(d, pair_deadline()) == 0);
}

static void uring_refused_by_a_filter(void **state)
{
	static const int errs[] = { ENOSYS, EPERM, EACCES, EOPNOTSUPP, ENOMEM, EMFILE };
	size_t i;

	for (i = 0; i < sizeof(errs) / sizeof(errs[0]); i++)
		if (!in_child(without_setup, errs[i]))
			skip();
}

/* A filter that knows setup and not the others: a ring that can be made and not used. */
static void without_the_rest(int nr)
{
	const struct refusal list[] = { { (uint32_t)nr, EPERM, -1 } };
	struct evr_driver_caps caps;
	struct evr_driver *d;

	unsetenv("EVERING_DRIVER_MODE");
	d = make(EVR_DRIVER_AUTO, 0, 0);
	evr_driver_caps(d, &caps);
	CHECK(evr_driver_close(d, pair_deadline()) == 0);
	if (caps.mode == EVR_DRIVER_NONE || refuse(list, 1))
		child_skips("no io_uring here, or no system call filters");
	make(EVR_DRIVER_AUTO, EVR_DRIVER_REQUIRE_URING, -EOPNOTSUPP);
	d = make(EVR_DRIVER_AUTO, 0, 0);
	evr_driver_caps(d, &caps);
	CHECK(caps.mode == EVR_DRIVER_NONE && caps.uring_error == -EPERM);
	works(d);
	CHECK(evr_driver_close(d, pair_deadline()) == 0);
}

static void uring_that_can_only_be_set_up(void **state)
{
	if (!in_child(without_the_rest, SYS_io_uring_enter) ||
	    !in_child(without_the_rest, SYS_io_uring_register))
		skip();
}

/* The machine's own switch: only where the machine is ours. */
static void without_by_sysctl(int value)
{
	const char *path = "/proc/sys/kernel/io_uring_disabled";
	struct evr_driver_caps caps;
	struct evr_driver *d;
	FILE *file;

	if (!getenv("EVERING_VM"))
		child_skips("the switch is the whole machine's: in a virtual machine only");
	file = fopen(path, "w");
	if (!file)
		child_skips("no kernel.io_uring_disabled (Linux 6.6)");
	CHECK(fprintf(file, "%d", value) > 0 && !fclose(file));
	/* 1 is for those without CAP_SYS_ADMIN. */
	CHECK(value == 2 || (!setgroups(0, NULL) && !setresgid(1001, 1001, 1001) &&
			     !setresuid(1001, 1001, 1001)));
	unsetenv("EVERING_DRIVER_MODE");
	make(EVR_DRIVER_AUTO, EVR_DRIVER_REQUIRE_URING, -EOPNOTSUPP);
	d = make(EVR_DRIVER_AUTO, 0, 0);
	evr_driver_caps(d, &caps);
	CHECK(caps.mode == EVR_DRIVER_NONE && caps.uring_error == -EPERM);
	works(d);
	CHECK(evr_driver_close(d, pair_deadline()) == 0);
}

static void uring_refused_by_sysctl(void **state)
{
	bool tried = in_child(without_by_sysctl, 2) && in_child(without_by_sysctl, 1);
	FILE *file = getenv("EVERING_VM") ? fopen("/proc/sys/kernel/io_uring_disabled", "w") : NULL;

	if (file) {
		fprintf(file, "0");
		fclose(file);
	}
	if (!tried)
		skip();
}

/* --- memory, threads --- */

/* Locked memory is counted for each user: this one has none, and a limit. */
static void without_memlock(int limit_kib)
{
	struct rlimit limit = { (rlim_t)limit_kib << 10, (rlim_t)limit_kib << 10 };
	uint64_t sz = 2 * limit.rlim_cur;
	struct evr_driver_caps caps;
	struct evr_driver *d;
	uint16_t region;
	char *base;
	int file;

	if (getuid())
		child_skips("only root can become another user");
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	CHECK(!setgroups(0, NULL) && !setresgid(54321, 54321, 54321) &&
	      !setresuid(54321, 54321, 54321));
	d = make(EVR_DRIVER_AUTO, 0, 0);
	base = mmap(NULL, sz, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	file = memfd_create("locked", MFD_CLOEXEC);
	CHECK(base != MAP_FAILED && file >= 0);
	CHECK(evr_region_add(d, base, sz, &region) == 0);
	CHECK(evr_region_is_fixed(d, region) == 0);
	evr_driver_caps(d, &caps);
	CHECK(!caps.fixed_buffers);
	if (caps.mode == EVR_DRIVER_NONE)
		CHECK(caps.uring_error == -ENOMEM || getenv("EVERING_DRIVER_MODE"));
	else
		CHECK(caps.buffers_error == -ENOMEM);
	/* Refused is not broken: the region is plain memory. */
	CHECK(settle(d, evr_op_write(file, "in the region", 14, 0)) == 14);
	CHECK(settle(d, evr_op_in(evr_op_read(file, NULL, 14, 0), region, sz - 14)) == 14);
	CHECK(!strcmp(base + sz - 14, "in the region"));
	CHECK(evr_region_remove(d, region) == 0);
	CHECK(evr_driver_close(d, pair_deadline()) == 0);
}

static void memlock_refused_falls_back(void **state)
{
	/* So little that no ring fits either on some kernels; the usual limit. */
	if (!in_child(without_memlock, 64) || !in_child(without_memlock, 8192))
		skip();
}

/* Not one thread can be had: the op says so, and those behind it go on. */
static void without_threads(int unused)
{
	const struct refusal list[] = { { SYS_clone3, ENOSYS, -1 }, { SYS_clone, EAGAIN, -1 } };
	struct evr_driver *d = make(EVR_DRIVER_NONE, 0, 0);
	int file = memfd_create("synced", MFD_CLOEXEC), i;
	struct seen seen[6];
	char byte;

	if (refuse(list, 2))
		child_skips("the kernel has no system call filters");
	start(d, evr_op_fsync(file), &seen[0]);
	start(d, evr_op_nop(), &seen[1]);
	/* A file without poll: epoll first, then the pool. */
	start(d, evr_op_read(file, &byte, 1, 0), &seen[2]);
	start(d, evr_op_flagged(evr_op_read(file, &byte, 1, 0), EVR_OP_EXACT), &seen[3]);
	start(d, evr_op_ftruncate(file, 4), &seen[4]);
	start(d, evr_op_timer(1, 0), &seen[5]);
	for (i = 0; i < 6; i++)
		CHECK(finish(d, &seen[i]) == (i == 1 || i == 5 ? 0 : -EAGAIN));
	CHECK(evr_driver_close(d, pair_deadline()) == 0);
}

static void threads_refused_end_the_op(void **state)
{
	if (!in_child(without_threads, 0))
		skip();
}

/* Interrupted, a close has closed: a second one would be of somebody else's file. */
static void close_interrupted(int unused)
{
	struct evr_driver *d = make(EVR_DRIVER_NONE, 0, 0);
	int file = memfd_create("closed", MFD_CLOEXEC);
	const struct refusal list[] = { { SYS_close, EINTR, file } };
	struct evr_driver_stats stats;

	if (refuse(list, 1))
		child_skips("the kernel has no system call filters");
	CHECK(settle(d, evr_op_close(file)) == -EINTR);
	CHECK(evr_driver_stats(d, &stats) == 0);
	CHECK(!stats.retries && !stats.slots_used);
	CHECK(evr_driver_close(d, pair_deadline()) == 0);
}

static void close_is_never_tried_again(void **state)
{
	if (!in_child(close_interrupted, 0))
		skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(uring_refused_by_a_filter),
		cmocka_unit_test(uring_that_can_only_be_set_up),
		cmocka_unit_test(uring_refused_by_sysctl),
		cmocka_unit_test(memlock_refused_falls_back),
		cmocka_unit_test(threads_refused_end_the_op),
		cmocka_unit_test(close_is_never_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
