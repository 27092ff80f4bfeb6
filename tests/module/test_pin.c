// SPDX-License-Identifier: MIT
/*
 * I/O straight into a segment: O_DIRECT, io_uring reads and writes, registered
 * buffers where the kernel takes them (INFO says so) and the documented refusal
 * where it does not. Data is checked through another peer in another process.
 * The disk is $EVERING_DISK (tools/vm/run --disk).
 *
 * Seen to fail: with VM_IO set, the feature bit turned round, and pinned blocks
 * freed by force.
 */

#include <sys/utsname.h>

#include "uring_cmd.h"

#define SHARED (4 * EV_BLOCK)
#define RW (PROT_READ | PROT_WRITE)

static int seg = -1, disk = -1;
static struct ev_peer peer;
static unsigned char *data;

static int begin(void **state)
{
	static const struct ev_shape shape = {
		.shared_size = SHARED,
		.peer_size = EV_BLOCK,
		.peers_max = 4,
	};
	const char *path = getenv("EVERING_DISK");

	(void)state;
	seg = ev_create(&shape);
	peer = ev_attach(seg);
	data = ev_map(peer.fd, EV_BLOCK, SHARED, RW);
	disk = path ? open(path, O_RDWR | O_DIRECT | O_CLOEXEC) : -1;
	if (path && disk < 0)
		ev_fail(__FILE__, __LINE__, "open %s: %s", path, strerror(errno));
	return 0;
}

static int end(void **state)
{
	(void)state;
	munmap(data, SHARED);
	close(peer.fd);
	close(seg);
	if (disk >= 0)
		close(disk);
	return 0;
}

static void need_disk(void)
{
	if (disk >= 0)
		return;
	print_message("# skip: EVERING_DISK is not set (run with --disk)\n");
	skip();
}

/* A pattern that tells the place and the round. */
static uint64_t word_at(size_t at, unsigned int round)
{
	return (at + 1) * 0x9e3779b97f4a7c15ULL ^ round;
}

static void fill(void *p, size_t sz, unsigned int round)
{
	uint64_t *word = p;
	size_t i;

	for (i = 0; i < sz / 8; i++)
		word[i] = word_at(i, round);
}

static void expect_fill(const void *p, size_t sz, unsigned int round)
{
	const uint64_t *word = p;
	size_t i;

	for (i = 0; i < sz / 8; i++)
		if (word[i] != word_at(i, round))
			ev_fail(__FILE__, __LINE__, "word %zu of round %u is wrong", i, round);
}

struct look {
	size_t offset, sz;
	unsigned int round;
};

static void look_as_other(struct ev_link *link, void *arg)
{
	const struct look *look = arg;
	struct ev_peer other = ev_attach_observer(seg);
	/* Another window, so another address for the same bytes. */
	char *p = ev_map(other.fd, EV_BLOCK, SHARED, PROT_READ);

	(void)link;
	expect_fill(p + look->offset, look->sz, look->round);
}

static void expect_seen_by_other(size_t offset, size_t sz, unsigned int round)
{
	struct look look = { offset, sz, round };
	struct ev_link child;

	ev_child_start(&child, look_as_other, &look);
	ev_child_join(&child);
}

/* Written from one place of the segment, read into another. */
static void pin_direct_io_reaches_segment(void **state)
{
	static const struct {
		size_t from, to, sz;
	} cases[] = {
		{ 0, EV_BLOCK, EV_PAGE }, /* one page */
		{ EV_PAGE, EV_BLOCK, 16 * EV_PAGE },
		{ 0, EV_BLOCK, EV_BLOCK }, /* one block */
		{ EV_BLOCK - EV_PAGE, 2 * EV_BLOCK, 2 * EV_PAGE }, /* two blocks */
		{ 0, 2 * EV_BLOCK - 2 * EV_PAGE, 4 * EV_PAGE },
		{ 0, 2 * EV_BLOCK, 2 * EV_BLOCK },
	};
	unsigned int i;

	(void)state;
	need_disk();
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(data, 0, SHARED);
		fill(data + cases[i].from, cases[i].sz, i);
		EV_EQ(pwrite(disk, data + cases[i].from, cases[i].sz, EV_BLOCK), cases[i].sz);
		EV_EQ(pread(disk, data + cases[i].to, cases[i].sz, EV_BLOCK), cases[i].sz);
		expect_fill(data + cases[i].to, cases[i].sz, i);
		expect_seen_by_other(cases[i].to, cases[i].sz, i);
	}
}

static void pin_direct_io_into_untouched(void **state)
{
	unsigned char *fresh;

	(void)state;
	need_disk();
	fill(data, SHARED, 77);
	EV_EQ(pwrite(disk, data, SHARED, 0), SHARED);
	memset(data, 0, SHARED);
	fresh = ev_map(peer.fd, EV_BLOCK, SHARED, RW);
	EV_EQ(pread(disk, fresh, SHARED, 0), SHARED);
	munmap(fresh, SHARED);
	expect_fill(data, SHARED, 77);
	expect_seen_by_other(0, SHARED, 77);
}

static void pin_direct_io_into_readonly_refused(void **state)
{
	unsigned char *ro;

	(void)state;
	need_disk();
	memset(data, 0x11, EV_BLOCK);
	ro = ev_map(peer.fd, EV_BLOCK, EV_BLOCK, PROT_READ);
	EV_EQ(pread(disk, ro, EV_PAGE, 0) < 0 ? errno : 0, EFAULT);
	/* Out of it is reading, which is allowed. */
	EV_EQ(pwrite(disk, ro, EV_PAGE, 0), EV_PAGE);
	munmap(ro, EV_BLOCK);
	EV_EQ(data[0], 0x11);
	EV_EQ(data[EV_PAGE - 1], 0x11);
}

static int register_buffer(struct io_uring *ring, void *p, size_t sz)
{
	struct iovec iov = { p, sz };

	return io_uring_register_buffers(ring, &iov, 1);
}

static bool takes_fixed_buffers(void)
{
	return ev_on_shmem() || ev_has(EVERING_FEAT_FIXED_BUFFERS);
}

/* INFO's bit, the kernel's version and what the kernel does say the same. */
static void pin_fixed_buffer_as_info_says(void **state)
{
	struct io_uring ring;
	struct utsname uts;
	unsigned int major, minor;
	int ret;

	(void)state;
	EV_EQ(io_uring_queue_init(8, &ring, 0), 0);
	ret = register_buffer(&ring, data, SHARED);
	EV_EQ(ret, takes_fixed_buffers() ? 0 : -EOPNOTSUPP);
	uname(&uts);
	EV_EQ(sscanf(uts.release, "%u.%u", &major, &minor), 2);
	EV_EQ(ev_has(EVERING_FEAT_FIXED_BUFFERS), major > 6 || (major == 6 && minor >= 5));
	io_uring_queue_exit(&ring);
}

static void pin_fixed_buffer_readonly_refused(void **state)
{
	unsigned char *ro = ev_map(peer.fd, EV_BLOCK, EV_BLOCK, PROT_READ);
	struct io_uring ring;

	(void)state;
	EV_EQ(io_uring_queue_init(8, &ring, 0), 0);
	EV_EQ(register_buffer(&ring, ro, EV_BLOCK), -EFAULT);
	io_uring_queue_exit(&ring);
	munmap(ro, EV_BLOCK);
}

static void uring_round(struct io_uring *ring, bool fixed, unsigned int round)
{
	struct io_uring_sqe *sqe;

	memset(data, 0, SHARED);
	fill(data, EV_BLOCK, round);
	sqe = io_uring_get_sqe(ring);
	if (fixed)
		io_uring_prep_write_fixed(sqe, disk, data, EV_BLOCK, 0, 0);
	else
		io_uring_prep_write(sqe, disk, data, EV_BLOCK, 0);
	EV_EQ(uring_one(ring), EV_BLOCK);
	sqe = io_uring_get_sqe(ring);
	if (fixed)
		io_uring_prep_read_fixed(sqe, disk, data + EV_BLOCK + EV_PAGE, EV_BLOCK, 0, 0);
	else
		io_uring_prep_read(sqe, disk, data + EV_BLOCK + EV_PAGE, EV_BLOCK, 0);
	EV_EQ(uring_one(ring), EV_BLOCK);
	expect_fill(data + EV_BLOCK + EV_PAGE, EV_BLOCK, round);
	expect_seen_by_other(EV_BLOCK + EV_PAGE, EV_BLOCK, round);
}

static void pin_uring_io_reaches_segment(void **state)
{
	struct io_uring ring;

	(void)state;
	need_disk();
	EV_EQ(io_uring_queue_init(8, &ring, 0), 0);
	uring_round(&ring, false, 100);
	if (takes_fixed_buffers()) {
		EV_EQ(register_buffer(&ring, data, SHARED), 0);
		uring_round(&ring, true, 101);
	} else {
		print_message("# no registered buffers on this kernel\n");
	}
	io_uring_queue_exit(&ring);
}

/* Memory that I/O can still reach is not given to anybody else. */
static void pin_outlives_everything(void **state)
{
	int pipes[2], own, i;
	struct ev_peer p;
	unsigned char *map;
	struct iovec iov;
	unsigned char back[EV_PAGE];

	(void)state;
	own = ev_create_plain();
	p = ev_attach(own);
	map = ev_map(p.fd, EV_BLOCK, EV_BLOCK, RW);
	fill(map, EV_BLOCK, 5);
	EV_EQ(pipe2(pipes, O_CLOEXEC), 0);
	iov.iov_base = map;
	iov.iov_len = 4 * EV_PAGE;
	EV_EQ(vmsplice(pipes[1], &iov, 1, 0), 4 * EV_PAGE);
	munmap(map, EV_BLOCK);
	close(p.fd);
	close(own);
	/* Others take memory now; had the block been freed, it would be theirs. */
	for (i = 0; i < 8; i++) {
		own = ev_create_plain();
		p = ev_attach(own);
		map = ev_map(p.fd, EV_BLOCK, EV_BLOCK, RW);
		memset(map, 0xee, EV_BLOCK);
		munmap(map, EV_BLOCK);
		close(p.fd);
		close(own);
	}
	for (i = 0; i < 4; i++) {
		uint64_t first;

		EV_EQ(read(pipes[0], back, EV_PAGE), EV_PAGE);
		memcpy(&first, back, sizeof(first));
		EV_EQ(first, word_at((size_t)i * EV_PAGE / 8, 5));
	}
	close(pipes[0]);
	close(pipes[1]);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		CASE(pin_direct_io_reaches_segment),
		CASE(pin_direct_io_into_untouched),
		CASE(pin_direct_io_into_readonly_refused),
		CASE(pin_fixed_buffer_as_info_says),
		CASE(pin_fixed_buffer_readonly_refused),
		CASE(pin_uring_io_reaches_segment),
		CASE(pin_outlives_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
