/* SPDX-License-Identifier: MIT */
/*
 * What a driver leaves behind when it is closed: nothing. Files, memory of malloc,
 * mapped and resident pages, pinned pages and what is charged to the user's limit of
 * locked memory are what they were, however much was in flight.
 * Seen to fail: tests/unit/controls, driver-leaks-*, driver-keeps-*, driver-fd-for-exec and
 * driver-refused-keeps-slot.
 */
#include "loop.h"

#include <grp.h>
#include <malloc.h>
#include <netinet/in.h>
#include <sys/resource.h>

/* Sanitizers keep what is freed, and for that they map. */
#if defined(__SANITIZE_ADDRESS__)
#define COUNTS_MEMORY 0
#else
#define COUNTS_MEMORY 1
#endif

#define REGION_SZ (1u << 20)

struct books {
	size_t malloced; /* bytes in use */
	long mapped, resident, pinned, locked; /* KiB */
	int fds;
};

/* KiB of this line of /proc/self/status. */
static long status_kib(const char *name)
{
	FILE *file = fopen("/proc/self/status", "r");
	size_t len = strlen(name);
	char line[256];
	long kib = -1;

	while (kib < 0 && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, len) && line[len] == ':')
			kib = strtol(line + len + 1, NULL, 10);
	fclose(file);
	CHECK(kib >= 0);
	return kib;
}

static struct books books_now(void)
{
	struct mallinfo2 info = mallinfo2();

	return (struct books){ .malloced = info.uordblks + info.hblkhd,
			       .mapped = status_kib("VmSize"),
			       .resident = status_kib("VmRSS"),
			       .pinned = status_kib("VmPin"),
			       .locked = status_kib("VmLck"),
			       .fds = loop_fds() };
}

/* Of each kind of op, resource and thread some: half of them still in flight at the end. */
static void live(struct evr_peer *peer, char *memory)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options), .entries = 64 };
	static char buffers[8][64], bytes[4096];
	struct seen seen[16], ended = { 0 };
	struct loop loop = { 0 };
	uint32_t slot = EVR_FILE_ANY;
	uint16_t region, own;
	int fds[2], file = memfd_create("remains", MFD_CLOEXEC), i;

	while (evr_driver_create(&loop.d, &options) == -ENOMEM)
		pair_sleep_us(1000);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(evr_region_add(loop.d, memory, REGION_SZ, &region), 0);
	assert_int_equal(evr_region_add_peer(loop.d, peer, &own), 0);
	assert_int_equal(evr_file_install(loop.d, file, &slot), 0);
	assert_int_equal(evr_buffers_create(loop.d, 1, 8), 0);
	for (i = 0; i < 8; i++)
		assert_int_equal(evr_buffers_provide(loop.d, 1, (uint16_t)i, buffers[i], 64), 0);
	assert_int_equal(loop_do(&loop, evr_op_write(file, bytes, 4096, 0)), 4096);
	assert_int_equal(loop_do(&loop, evr_op_fsync(file)), 0);
	assert_int_equal(loop_do(&loop, evr_op_in(evr_op_read(file, NULL, 4096, 0), region, 99)),
			 4096);
	loop_submit(&loop, evr_op_timer(UINT64_MAX - 1, 0), &seen[0]);
	loop_submit(&loop, evr_op_flagged(evr_op_poll(fds[0], POLLIN), EVR_OP_MULTISHOT), &seen[1]);
	loop_submit(&loop, evr_op_bell_wait(peer, 1), &seen[2]);
	loop_submit(&loop,
		    evr_op_flagged(evr_op_buffered(evr_op_recv(fds[1], NULL, 0, 0), 1),
				   EVR_OP_MULTISHOT),
		    &seen[3]);
	for (i = 4; i < 16; i++)
		loop_submit(&loop, evr_op_in(evr_op_read(fds[0], NULL, 64, 0), region, 64u * i),
			    &seen[i]);
	loop_submit(&loop, evr_op_open(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY, 0, 0), &ended);
	loop_rounds(&loop, 1);
	assert_int_equal(evr_driver_close(loop.d, pair_deadline()), 0);
	for (i = 0; i < 16; i++)
		assert_int_equal(seen[i].terminal, 1);
	assert_int_equal(ended.terminal, 1);
	if (ended.res >= 0)
		close(ended.res);
	close(file);
	close(fds[0]);
	close(fds[1]);
}

#define WARM 8
#define ROUNDS 60

/*
 * Less than the smallest piece of memory, or two pages, for each driver: the kernel counts
 * resident pages in batches of up to 64. The kernel gives some back a little later, by a worker.
 */
static bool balanced(const struct books *before)
{
	uint64_t deadline = pair_deadline();
	struct books now;

	for (;;) {
		now = books_now();
		if (now.fds == before->fds && now.pinned == before->pinned &&
		    now.locked == before->locked &&
		    (!COUNTS_MEMORY || (now.malloced < before->malloced + (size_t)16 * ROUNDS &&
					now.mapped == before->mapped &&
					now.resident < before->resident + 8 * ROUNDS)))
			return true;
		if (evr_now_ns() > deadline)
			break;
		pair_sleep_us(10000);
	}
	fprintf(stderr,
		"# fds %d, were %d; malloc %zu, was %zu; KiB mapped %ld, %ld; resident %ld, %ld; "
		"pinned %ld, %ld; locked %ld, %ld\n",
		now.fds, before->fds, now.malloced, before->malloced, now.mapped, before->mapped,
		now.resident, before->resident, now.pinned, before->pinned, now.locked,
		before->locked);
	return false;
}

static void closed_driver_leaves_no_fd_byte_or_page(void **state)
{
	char *memory =
		mmap(NULL, REGION_SZ, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct pair *pair = *state;
	struct books before;
	int i;

	assert_true(memory != MAP_FAILED);
	/* What is made once, and stays: stacks and arenas of threads that glibc keeps. */
	for (i = 0; i < WARM; i++)
		live(pair->peer, memory);
	before = books_now();
	assert_int_equal(before.pinned, 0);
	assert_int_equal(before.locked, 0);
	for (i = 0; i < ROUNDS; i++)
		live(pair->peer, memory);
	assert_true(balanced(&before));
	munmap(memory, REGION_SZ);
}

/* While it lives, what is registered is counted as pinned; without io_uring nothing is. */
static void region_is_pinned_while_it_is_there(void **state)
{
	char *memory =
		mmap(NULL, REGION_SZ, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t deadline = pair_deadline();
	struct loop *loop;
	uint16_t region;
	long before;

	assert_int_equal(loop_open(state), 0);
	loop = *state;
	before = status_kib("VmPin");
	assert_int_equal(evr_region_add(loop->d, memory, REGION_SZ, &region), 0);
	assert_int_equal(status_kib("VmPin") - before,
			 evr_region_is_fixed(loop->d, region) ? REGION_SZ / 1024 : 0);
	assert_int_equal(evr_region_is_fixed(loop->d, region), loop->mode != EVR_DRIVER_NONE);
	assert_int_equal(evr_region_remove(loop->d, region), 0);
	/* 6.1 takes it out of its table by a worker. */
	while (status_kib("VmPin") != before) {
		assert_true(evr_now_ns() < deadline);
		pair_sleep_us(1000);
	}
	munmap(memory, REGION_SZ);
	assert_int_equal(loop_close(state), 0);
}

#define LIMIT (8u << 20)
#define SHARE (5u << 20) /* twice is more than the limit */

/* Each of these finds no room if the one before it has not given its share back. */
static void child_registers_again_and_again(void)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options), .entries = 8 };
	struct rlimit limit = { LIMIT, LIMIT };
	struct evr_driver_caps caps;
	struct evr_driver *d;
	uint16_t region;
	char *memory;
	int i, asked = 0;

	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	CHECK(!setgroups(0, NULL) && !setresgid(54322, 54322, 54322) &&
	      !setresuid(54322, 54322, 54322));
	memory = mmap(NULL, SHARE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	for (i = 0; i < 40; i++) {
		CHECK(!evr_driver_create(&d, &options));
		evr_driver_caps(d, &caps);
		CHECK(!evr_region_add(d, memory, SHARE, &region));
		CHECK(evr_region_is_fixed(d, region) == (caps.mode != EVR_DRIVER_NONE));
		/* By hand, and by the close. */
		if (i % 2)
			CHECK(!evr_region_remove(d, region));
		asked += caps.mode != EVR_DRIVER_NONE;
		CHECK(!evr_driver_close(d, pair_deadline()));
	}
	CHECK(asked == 40 || asked == 0);
}

static void locked_memory_of_the_user_comes_back(void **state)
{
	int status = -1;
	pid_t pid;

	if (getuid())
		skip();
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		alarm(100);
		child_registers_again_and_again();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* A program that is started by exec finds nothing of it. */
static void every_fd_is_closed_by_exec(void **state)
{
	struct loop *loop;
	struct seen seen;
	uint64_t id;
	bool before[256];
	int fd, fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	for (fd = 0; fd < 256; fd++)
		before[fd] = fcntl(fd, F_GETFD) >= 0;
	assert_int_equal(loop_open(state), 0);
	loop = *state;
	id = loop_submit(loop, evr_op_flagged(evr_op_poll(fds[0], POLLIN), EVR_OP_MULTISHOT),
			 &seen);
	evr_injector_put(evr_driver_injector(loop->d));
	loop_rounds(loop, 1);
	for (fd = 0; fd < 256; fd++)
		if (!before[fd] && fcntl(fd, F_GETFD) >= 0 && !(fcntl(fd, F_GETFD) & FD_CLOEXEC))
			fail_msg("fd %d stays open", fd);
	assert_int_equal(evr_driver_cancel(loop->d, id), 0);
	loop_finish(loop, &seen);
	assert_int_equal(loop_close(state), 0);
	close(fds[0]);
	close(fds[1]);
}

/* Refused submissions, a million: each says so, and none costs memory. */
static void refused_submissions_take_no_memory(void **state)
{
	struct evr_op op = evr_op_nop();
	uint32_t accepted = 0, i;
	struct evr_driver_stats stats;
	struct books before, now;
	struct loop *loop;

	assert_int_equal(loop_open(state), 0);
	loop = *state;
	/* In mode none a nop is over at once, and waits to be taken. */
	op = loop->mode == EVR_DRIVER_NONE ? evr_op_timer(UINT64_MAX - 1, 0) : op;
	op = evr_op_flagged(op, 0);
	while (!evr_driver_submit(loop->d, &op, NULL))
		accepted++;
	before = books_now();
	for (i = 0; i < 1000000; i++)
		assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EAGAIN);
	now = books_now();
	assert_int_equal(now.malloced, before.malloced);
	/* Less than a byte each; the kernel counts pages in batches of up to 64. */
	assert_true(!COUNTS_MEMORY || now.resident < before.resident + 1000000 / 1024);
	evr_driver_stats(loop->d, &stats);
	assert_int_equal(stats.again, 1000001);
	assert_int_equal(stats.submitted, accepted);
	assert_int_equal(evr_driver_close(loop->d, pair_deadline()), 0);
	loop->d = NULL;
	assert_int_equal(loop_close(state), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(closed_driver_leaves_no_fd_byte_or_page, pair_open,
						pair_close),
		cmocka_unit_test(region_is_pinned_while_it_is_there),
		cmocka_unit_test(locked_memory_of_the_user_comes_back),
		cmocka_unit_test(every_fd_is_closed_by_exec),
		cmocka_unit_test(refused_submissions_take_no_memory),
	};

	/* What a thread's cache of malloc keeps would count as in use. */
	if (!getenv("GLIBC_TUNABLES")) {
		setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0", 1);
		execv("/proc/self/exe", argv);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
