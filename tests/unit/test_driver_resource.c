/* SPDX-License-Identifier: MIT */
/*
 * Regions, fixed files, and bells: the segment on the loop. Disk and socket to a block of
 * the segment that another process reads; peers that ring and die.
 *
 * Mutants seen to fail here: offsets that are not checked; buffers of more than 1 GiB, ops across
 * two of them, a second one at the address of the first; a growth that is not registered; a region
 * that goes while an op uses it; a file that stays in its slot; bells for a peer that came
 * after (tests/unit/controls has some).
 */
#include "loop.h"

struct stage {
	struct loop *loop;
	struct pair *pair;
	uint16_t region;
	uint64_t shared_off;
	int fds;
};

static int stage_open(void **state)
{
	struct stage *stage = calloc(1, sizeof(*stage));
	struct evr_segment_info info;
	void *loop, *pair;

	stage->fds = loop_fds();
	if (pair_open(&pair) || loop_open(&loop))
		return -1;
	stage->loop = loop;
	stage->pair = pair;
	if (evr_segment_info(stage->pair->segment, &info) ||
	    evr_region_add_peer(stage->loop->d, stage->pair->peer, &stage->region))
		return -1;
	stage->shared_off = info.shared_off + (1 << 20);
	*state = stage;
	return 0;
}

static int stage_close(void **state)
{
	struct stage *stage = *state;
	void *loop = stage->loop, *pair = stage->pair;
	int bad = 0;

	LOOP_HOLDS(evr_region_remove(stage->loop->d, stage->region) == 0);
	/* The doorbell's fds belong to the peer, and were made after the driver. */
	pair_close(&pair);
	stage->loop->fds = stage->fds;
	bad |= loop_close(&loop);
	free(stage);
	return bad;
}

/* Ops that the driver has for itself: the poll of the bells. */
static bool stage_busy(struct stage *stage)
{
	struct evr_driver_stats stats;

	evr_driver_stats(stage->loop->d, &stats);
	return stats.slots_used;
}

#define STAGE_TEST(name) cmocka_unit_test_setup_teardown(name, stage_open, stage_close)

static int file_of(const char *bytes, size_t sz)
{
	int fd = memfd_create("driver", MFD_CLOEXEC);

	assert_int_equal(write(fd, bytes, sz), sz);
	return fd;
}

static void sums_up(struct evr_peer *peer, void *arg)
{
	uint64_t off = *(uint64_t *)arg, sum = 0;
	unsigned char *at = evr_peer_at(peer, off, 65536);
	int i;

	CHECK(at);
	for (i = 0; i < 65536; i++)
		sum += at[i];
	CHECK(sum == 65536 / 256 * 255 * 128);
}

static void region_file_to_segment_is_there_for_a_peer(void **state)
{
	struct stage *stage = *state;
	static char bytes[65536];
	struct evr_driver_caps caps;
	struct evr_op op;
	int i, fd;

	for (i = 0; i < (int)sizeof(bytes); i++)
		bytes[i] = (char)i;
	fd = file_of(bytes, sizeof(bytes));
	op = evr_op_in(evr_op_read(fd, NULL, sizeof(bytes), 0), stage->region, stage->shared_off);
	assert_int_equal(loop_do(stage->loop, op), sizeof(bytes));
	pair_join(pair_fork(stage->pair, sums_up, &stage->shared_off));
	evr_driver_caps(stage->loop->d, &caps);
	print_message("# region is %s, fixed buffers %s\n",
		      evr_region_is_fixed(stage->loop->d, stage->region) ? "fixed" : "plain",
		      caps.fixed_buffers ? "taken" : "refused");
	if (stage->loop->mode == EVR_DRIVER_NONE)
		assert_int_equal(evr_region_is_fixed(stage->loop->d, stage->region), 0);
	else
		assert_int_equal(evr_region_is_fixed(stage->loop->d, stage->region),
				 caps.fixed_buffers);
	/* And out of it. */
	op = evr_op_in(evr_op_write(fd, NULL, 1000, 0), stage->region, stage->shared_off + 77);
	assert_int_equal(loop_do(stage->loop, op), 1000);
	assert_int_equal(pread(fd, bytes, 1, 0), 1);
	assert_int_equal(bytes[0], 77);
	close(fd);
}

static void region_socket_to_segment(void **state)
{
	struct stage *stage = *state;
	struct evr_op op;
	struct seen seen;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	op = evr_op_in(evr_op_recv(fds[0], NULL, 100, 0), stage->region, stage->shared_off);
	loop_submit(stage->loop, op, &seen);
	loop_rounds(stage->loop, 1);
	assert_int_equal(evr_region_remove(stage->loop->d, stage->region), -EBUSY);
	assert_int_equal(write(fds[1], "message", 7), 7);
	assert_int_equal(loop_finish(stage->loop, &seen), 7);
	assert_memory_equal(evr_peer_at(stage->pair->peer, stage->shared_off, 7), "message", 7);
	/* Provided buffers in the segment: what arrives is in a block already. */
	assert_int_equal(evr_buffers_create(stage->loop->d, 1, 1), 0);
	assert_int_equal(evr_buffers_provide(stage->loop->d, 1, 0,
					     evr_peer_at(stage->pair->peer, stage->shared_off, 64),
					     64),
			 0);
	loop_submit(stage->loop, evr_op_buffered(evr_op_recv(fds[0], NULL, 0, 0), 1), &seen);
	assert_int_equal(write(fds[1], "block", 5), 5);
	assert_int_equal(loop_finish(stage->loop, &seen), 5);
	assert_int_equal(evr_peer_off(stage->pair->peer, seen.buf), stage->shared_off);
	assert_memory_equal(seen.buf, "block", 5);
	assert_int_equal(evr_buffers_destroy(stage->loop->d, 1), 0);
	close(fds[0]);
	close(fds[1]);
}

static void region_bounds_checked(void **state)
{
	struct stage *stage = *state;
	struct evr_driver *d = stage->loop->d;
	static char memory[8192];
	struct evr_segment_info info;
	uint16_t region;
	struct evr_op op;
	int fd = file_of(memory, sizeof(memory));

	evr_segment_info(stage->pair->segment, &info);
	op = evr_op_in(evr_op_read(fd, NULL, 2, 0), stage->region, info.size - 1);
	assert_int_equal(evr_driver_submit(d, &op, NULL), -EFAULT);
	op = evr_op_in(op, stage->region, UINT64_MAX);
	assert_int_equal(evr_driver_submit(d, &op, NULL), -EFAULT);
	op = evr_op_in(op, 99, 0);
	assert_int_equal(evr_driver_submit(d, &op, NULL), -EBADF);
	assert_int_equal(evr_region_add(d, NULL, 1, &region), -EINVAL);
	assert_int_equal(evr_region_add(d, memory, 0, &region), -EINVAL);
	assert_int_equal(evr_region_add(d, memory, sizeof(memory), &region), 0);
	assert_true(region != stage->region);
	op = evr_op_in(evr_op_read(fd, NULL, 4096, 0), region, 4096);
	assert_int_equal(loop_do(stage->loop, op), 4096);
	op = evr_op_in(evr_op_read(fd, NULL, 4096, 0), region, 4097);
	assert_int_equal(evr_driver_submit(d, &op, NULL), -EFAULT);
	assert_int_equal(evr_region_grow(d, region), -EINVAL);
	assert_int_equal(evr_region_remove(d, region), 0);
	assert_int_equal(evr_region_remove(d, region), -EBADF);
	assert_int_equal(evr_region_is_fixed(d, region), -EBADF);
	close(fd);
}

static void region_grown_segment_can_be_used(void **state)
{
	struct stage *stage = *state;
	struct evr_op op;
	uint64_t off;
	int fd = file_of("grown", 5);
	bool is_fixed = evr_region_is_fixed(stage->loop->d, stage->region);
	void *page;

	assert_int_equal(evr_region_grow(stage->loop->d, stage->region), 0);
	assert_int_equal(evr_segment_grow(stage->pair->segment, 2 << 20, &off), 0);
	/* Before it is told of, plainly; afterwards, fixed. */
	op = evr_op_in(evr_op_read(fd, NULL, 5, 0), stage->region, off);
	assert_int_equal(loop_do(stage->loop, op), 5);
	assert_memory_equal(evr_peer_at(stage->pair->peer, off, 5), "grown", 5);
	assert_int_equal(evr_region_grow(stage->loop->d, stage->region), 2 << 20);
	assert_int_equal(evr_region_is_fixed(stage->loop->d, stage->region), is_fixed);
	op = evr_op_in(evr_op_read(fd, NULL, 5, 0), stage->region, off + 100);
	/* With nothing but the kernel's own hold on the page. */
	page = evr_peer_at(stage->pair->peer, off, 4096);
	assert_int_equal(mprotect(page, 4096, PROT_NONE), 0);
	assert_int_equal(loop_do(stage->loop, op), is_fixed ? 5 : -EFAULT);
	assert_int_equal(mprotect(page, 4096, PROT_READ | PROT_WRITE), 0);
	if (!is_fixed)
		assert_int_equal(loop_do(stage->loop, op), 5);
	assert_memory_equal(evr_peer_at(stage->pair->peer, off + 100, 5), "grown", 5);
	close(fd);
}

/* --- fixed files --- */

static void files_fixed_table_keeps_files(void **state)
{
	struct stage *stage = *state;
	struct loop *loop = stage->loop;
	struct evr_driver *d = loop->d;
	uint32_t slot = EVR_FILE_ANY, other = 5, taken = 5, i;
	struct evr_op op;
	char in[8] = { 0 };
	int fd = file_of("fixed", 5), fds[2];

	assert_int_equal(evr_file_install(d, fd, &slot), 0);
	close(fd);
	op = evr_op_flagged(evr_op_read((int)slot, in, 5, 0), EVR_OP_FIXED_FD);
	assert_int_equal(loop_do(loop, op), 5);
	assert_string_equal(in, "fixed");
	op.fd = 64;
	assert_int_equal(evr_driver_submit(d, &op, NULL), -EBADF);
	op.fd = (int)slot + 1;
	if (evr_driver_submit(d, &op, NULL) == 0)
		fail_msg("a free slot was read from");
	assert_int_equal(evr_file_install(d, 0, &other), 0);
	assert_int_equal(evr_file_install(d, 0, &taken), -EBUSY);
	taken = 64;
	assert_int_equal(evr_file_install(d, 0, &taken), -EINVAL);
	taken = EVR_FILE_ANY;
	assert_int_equal(evr_file_install(d, 1 << 20, &taken), -EBADF);
	assert_int_equal(evr_file_remove(d, other), 0);
	assert_int_equal(evr_file_remove(d, other), -EBADF);
	/* Opened into the table, closed there. */
	op = evr_op_into(evr_op_open(AT_FDCWD, "/dev/zero", O_RDONLY, 0, 0), EVR_FILE_ANY);
	taken = (uint32_t)loop_do(loop, op);
	assert_true(taken < 64 && taken != slot);
	assert_int_equal(
		loop_do(loop, evr_op_flagged(evr_op_read((int)taken, in, 8, 0), EVR_OP_FIXED_FD)),
		8);
	assert_int_equal(in[0], 0);
	assert_int_equal(loop_do(loop, evr_op_flagged(evr_op_close((int)taken), EVR_OP_FIXED_FD)),
			 0);
	assert_int_equal(evr_file_remove(d, taken), -EBADF);
	/* A failure leaves the slot free; a socket goes into it. */
	op = evr_op_into(evr_op_open(AT_FDCWD, "/none", O_RDONLY, 0, 0), 7);
	assert_int_equal(loop_do(loop, op), -ENOENT);
	assert_int_equal(loop_do(loop, evr_op_into(evr_op_socket(AF_UNIX, SOCK_STREAM, 0), 7)), 7);
	op = evr_op_into(evr_op_socket(AF_UNIX, SOCK_STREAM, 0), 7);
	assert_int_equal(evr_driver_submit(d, &op, NULL), -EBUSY);
	assert_int_equal(evr_file_remove(d, 7), 0);
	/* Full. */
	for (i = 1; i < 64; i++) {
		taken = EVR_FILE_ANY;
		assert_int_equal(evr_file_install(d, 0, &taken), 0);
	}
	taken = EVR_FILE_ANY;
	assert_int_equal(evr_file_install(d, 0, &taken), -ENFILE);
	for (i = 0; i < 64; i++)
		assert_int_equal(evr_file_remove(d, i), 0);
	/* The table holds a socket open; out of it, the other side sees its end. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	slot = EVR_FILE_ANY;
	assert_int_equal(evr_file_install(d, fds[0], &slot), 0);
	close(fds[0]);
	assert_int_equal(recv(fds[1], in, 1, MSG_DONTWAIT), -1);
	assert_int_equal(evr_file_remove(d, slot), 0);
	assert_int_equal(loop_do(loop, evr_op_recv(fds[1], in, 1, 0)), 0);
	close(fds[1]);
}

/* It holds its region until it is over, and its slot is no number of a file. */
static void files_fixed_read_waits_in_a_region(void **state)
{
	static char memory[4096] __attribute__((aligned(4096)));
	struct stage *stage = *state;
	struct evr_driver *d = stage->loop->d;
	uint32_t slot = 9;
	struct seen seen;
	uint16_t region;
	struct evr_op op;
	int fds[2], way;
	uint64_t id;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(evr_file_install(d, fds[0], &slot), 0);
	for (way = 0; way < 4; way++) {
		assert_int_equal(evr_region_add(d, memory, sizeof(memory), &region), 0);
		op = evr_op_in(evr_op_read(9, NULL, 4, EVR_OFF_CURRENT), region, 100);
		op = evr_op_flagged(op, EVR_OP_FIXED_FD);
		id = loop_submit(stage->loop, op, &seen);
		loop_rounds(stage->loop, 1);
		assert_int_equal(seen.all, 0);
		assert_int_equal(evr_region_remove(d, region), -EBUSY);
		assert_int_equal(evr_driver_cancel_fd(d, 9), 0);
		if (way % 2) {
			assert_int_equal(evr_driver_cancel(d, id), 0);
			assert_int_equal(loop_finish(stage->loop, &seen), -ECANCELED);
		} else {
			assert_int_equal(write(fds[1], "four", 4), 4);
			assert_int_equal(loop_finish(stage->loop, &seen), 4);
			assert_memory_equal(memory + 100, "four", 4);
		}
		assert_int_equal(evr_region_remove(d, region), 0);
	}
	assert_int_equal(evr_file_remove(d, slot), 0);
	close(fds[0]);
	close(fds[1]);
}

/* The table holds the file, whatever becomes of its number; what is taken out is closed, and heard of. */
static void files_taken_out_are_closed(void **state)
{
	struct stage *stage = *state;
	struct loop *loop = stage->loop;
	uint32_t slot = EVR_FILE_ANY;
	int fds[2];
	char byte;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(evr_file_install(loop->d, fds[0], &slot), 0);
	close(fds[0]);
	assert_int_equal(recv(fds[1], &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(
		loop_do(loop, evr_op_flagged(evr_op_send((int)slot, "x", 1, 0), EVR_OP_FIXED_FD)),
		1);
	assert_int_equal(recv(fds[1], &byte, 1, 0), 1);
	assert_int_equal(evr_file_remove(loop->d, slot), 0);
	/* The end of the stream; the kernel may close it a little later. */
	assert_int_equal(loop_do(loop, evr_op_recv(fds[1], &byte, 1, 0)), 0);
	close(fds[1]);
}

/* Memory that the kernel may refuse to pin: pages of a file on a disk, huge pages. Ops do the same on all. */
static void region_of_any_memory_works(void **state)
{
	struct stage *stage = *state;
	struct loop *loop = stage->loop;
	const int huge = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
	char path[] = "/tmp/evering-region-XXXXXX";
	int disk = mkstemp(path), file = file_of("of a file", 9), i;
	char *memory[2];
	uint16_t region;

	assert_true(disk >= 0);
	unlink(path);
	assert_int_equal(ftruncate(disk, 8192), 0);
	memory[0] = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, disk, 0);
	memory[1] = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, huge, -1, 0);
	for (i = 0; i < 2; i++) {
		if (memory[i] == MAP_FAILED)
			continue;
		assert_int_equal(evr_region_add(loop->d, memory[i], 8192, &region), 0);
		print_message("# pages of %s: %s\n", i ? "2 MiB" : "a disk's file",
			      evr_region_is_fixed(loop->d, region) == 1 ? "fixed" : "plain");
		assert_int_equal(
			loop_do(loop, evr_op_in(evr_op_read(file, NULL, 9, 0), region, 4096)), 9);
		assert_memory_equal(memory[i] + 4096, "of a file", 9);
		assert_int_equal(evr_region_remove(loop->d, region), 0);
	}
	munmap(memory[0], 8192);
	if (memory[1] != MAP_FAILED)
		munmap(memory[1], 2 << 20);
	close(disk);
	close(file);
}

/* --- bells --- */

struct ringing {
	struct evr_peer_id to;
	uint64_t bits;
	uint32_t times;
};

static void rings(struct evr_peer *peer, void *arg)
{
	struct ringing *r = arg;
	uint32_t i;

	for (i = 0; i < r->times; i++) {
		pair_sleep_us(300);
		CHECK(evr_bell_ring(peer, r->to, r->bits) == 0);
	}
}

static void bell_of_another_process_completes_a_wait(void **state)
{
	struct stage *stage = *state;
	struct ringing r = { evr_peer_self(stage->pair->peer), 1ULL << 5 | 1ULL << 7, 1 };
	struct evr_peer *peer = stage->pair->peer;
	struct evr_driver *d = stage->loop->d;
	struct seen five, seven, none;
	struct evr_op op;
	uint64_t id;
	pid_t pid;

	loop_submit(stage->loop, evr_op_bell_wait(peer, 1ULL << 5), &five);
	id = loop_submit(stage->loop, evr_op_bell_wait(peer, 1ULL << 6), &none);
	loop_rounds(stage->loop, 1);
	assert_int_equal(five.all, 0);
	pid = pair_fork(stage->pair, rings, &r);
	assert_int_equal(loop_finish(stage->loop, &five), 0);
	assert_int_equal(five.value, 1ULL << 5);
	/* The other bell was kept for who waits for it next. */
	loop_submit(stage->loop, evr_op_bell_wait(peer, 1ULL << 7), &seven);
	assert_int_equal(loop_finish(stage->loop, &seven), 0);
	assert_int_equal(seven.value, 1ULL << 7);
	pair_join(pid);
	assert_int_equal(none.all, 0);
	assert_int_equal(evr_driver_cancel(d, id), 0);
	assert_int_equal(loop_finish(stage->loop, &none), -ECANCELED);
	/* One that was rung before. */
	assert_int_equal(evr_bell_ring(peer, evr_peer_self(peer), 2), 0);
	loop_submit(stage->loop, evr_op_bell_wait(peer, 2), &five);
	assert_int_equal(loop_finish(stage->loop, &five), 0);
	op = evr_op_bell_wait(peer, 0);
	assert_int_equal(evr_driver_submit(d, &op, NULL), -EINVAL);
	LOOP_UNTIL(stage->loop, !stage_busy(stage));
}

static void bell_multishot_hears_every_ring(void **state)
{
	struct stage *stage = *state;
	struct ringing r = { evr_peer_self(stage->pair->peer), 1, 50 };
	struct evr_peer *peer = stage->pair->peer;
	struct seen seen, self;
	uint64_t id;
	pid_t pid;
	int i;

	id = loop_submit(stage->loop, evr_op_flagged(evr_op_bell_wait(peer, 3), EVR_OP_MULTISHOT),
			 &seen);
	pid = pair_fork(stage->pair, rings, &r);
	pair_join(pid);
	LOOP_UNTIL(stage->loop, seen.value & 1);
	/* Each of our own is heard before the next, also through the loop. */
	for (i = 0; i < 20; i++) {
		int before = seen.all;

		loop_submit(stage->loop, evr_op_bell_ring(peer, evr_peer_self(peer), 2), &self);
		assert_int_equal(loop_finish(stage->loop, &self), 0);
		LOOP_UNTIL(stage->loop, seen.all > before);
	}
	assert_true(seen.value & 2);
	assert_int_equal(evr_driver_cancel(stage->loop->d, id), 0);
	assert_int_equal(loop_finish(stage->loop, &seen), -ECANCELED);
	LOOP_UNTIL(stage->loop, !stage_busy(stage));
}

static void waits_to_die(struct evr_peer *peer, void *arg)
{
	evr_bell_ring(peer, *(struct evr_peer_id *)arg, 1);
	pause();
}

static void bell_of_a_killed_peer_is_an_event(void **state)
{
	struct stage *stage = *state;
	struct evr_peer *peer = stage->pair->peer;
	struct evr_peer_id self = evr_peer_self(peer);
	struct seen up, event;
	pid_t pid;

	loop_submit(stage->loop, evr_op_bell_wait(peer, 1), &up);
	pid = pair_fork(stage->pair, waits_to_die, &self);
	assert_int_equal(loop_finish(stage->loop, &up), 0);
	/* Its coming was an event too. */
	loop_submit(stage->loop, evr_op_bell_wait(peer, 1ULL << EVR_BELL_PEER_EVENT), &event);
	loop_finish(stage->loop, &event);
	loop_submit(stage->loop, evr_op_bell_wait(peer, 1ULL << EVR_BELL_PEER_EVENT), &event);
	loop_rounds(stage->loop, 2);
	pair_kill(pid);
	assert_int_equal(loop_finish(stage->loop, &event), 0);
	assert_int_equal(event.value, 1ULL << EVR_BELL_PEER_EVENT);
	LOOP_UNTIL(stage->loop, !stage_busy(stage));
	pair_settle(stage->pair);
}

/* Handed over or not, once or for ever, alone or beside another: each ends once, and no bell is lost. */
static void bell_wait_cancelled_ends_once(void **state)
{
	struct stage *stage = *state;
	struct evr_peer *peer = stage->pair->peer;
	struct seen seen, other;
	uint64_t id, second;
	int when;

	for (when = 0; when < 8; when++) {
		second = when & 4 ? loop_submit(stage->loop, evr_op_bell_wait(peer, 4), &other) : 0;
		id = loop_submit(stage->loop,
				 evr_op_flagged(evr_op_bell_wait(peer, 1),
						when & 1 ? EVR_OP_MULTISHOT : 0),
				 &seen);
		if (when & 2)
			loop_rounds(stage->loop, 2);
		assert_int_equal(seen.all, 0);
		assert_int_equal(evr_driver_cancel(stage->loop->d, id), 0);
		assert_int_equal(loop_finish(stage->loop, &seen), -ECANCELED);
		assert_int_equal(evr_driver_cancel(stage->loop->d, id), -ENOENT);
		assert_int_equal(evr_bell_ring(peer, evr_peer_self(peer), 1 | 4), 0);
		loop_submit(stage->loop, evr_op_bell_wait(peer, 1), &seen);
		assert_int_equal(loop_finish(stage->loop, &seen), 0);
		if (!second)
			loop_submit(stage->loop, evr_op_bell_wait(peer, 4), &other);
		assert_int_equal(loop_finish(stage->loop, &other), 0);
	}
	LOOP_UNTIL(stage->loop, !stage_busy(stage));
}

/* What one peer left untaken is not for the next, though it lies at the same address. */
static void bell_of_a_peer_that_left_is_not_for_the_next(void **state)
{
	struct stage *stage = *state;
	struct evr_peer *peer, *before;
	struct seen one, two;
	uint64_t id;
	int i;

	assert_int_equal(evr_peer_attach(&peer, stage->pair->segment, NULL), 0);
	/* Most allocators give the same address at once; none is asked more than a few times. */
	for (i = 0, before = NULL; i < 32 && peer != before; i++) {
		loop_submit(stage->loop, evr_op_bell_wait(peer, 1), &one);
		assert_int_equal(evr_bell_ring(peer, evr_peer_self(peer), 1 | 2), 0);
		assert_int_equal(loop_finish(stage->loop, &one), 0);
		before = peer;
		/* The poll for it may still be on its way out. */
		evr_peer_detach(peer);
		assert_int_equal(evr_peer_attach(&peer, stage->pair->segment, NULL), 0);
	}
	id = loop_submit(stage->loop, evr_op_bell_wait(peer, 2), &two);
	loop_rounds(stage->loop, 3);
	assert_int_equal(two.all, 0);
	assert_int_equal(evr_driver_cancel(stage->loop->d, id), 0);
	assert_int_equal(loop_finish(stage->loop, &two), -ECANCELED);
	evr_peer_detach(peer);
	LOOP_UNTIL(stage->loop, !stage_busy(stage));
	pair_settle(stage->pair);
}

#define GIBIBYTE (1ULL << 30)
#define ALIAS_SZ (2ULL << 20)

/* One page after the other is there for each address, though there are only 2 MiB of them. */
static char *far_memory(int memory)
{
	char *base = mmap(NULL, GIBIBYTE + ALIAS_SZ, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t at;

	assert_true(base != MAP_FAILED);
	for (at = 0; at <= GIBIBYTE; at += ALIAS_SZ)
		assert_true(mmap(base + at, ALIAS_SZ, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_FIXED, memory, 0) == base + at);
	return base;
}

/* A fixed buffer has at most 1 GiB: the region is two, and what lies in both is done without. */
static void region_across_a_gibibyte_is_two_buffers(void **state)
{
	static const struct {
		uint64_t off;
		bool is_across;
	} pieces[] = { { GIBIBYTE - 4096, false }, { GIBIBYTE, false }, { GIBIBYTE - 2048, true } };
	int memory = memfd_create("far", MFD_CLOEXEC), file = memfd_create("file", MFD_CLOEXEC);
	static char bytes[4096], back[4096];
	struct loop *loop = *state;
	struct evr_driver_caps caps;
	struct evr_op op;
	bool is_fixed;
	uint16_t region;
	char *base;
	uint32_t i;

	assert_int_equal(ftruncate(memory, ALIAS_SZ), 0);
	base = far_memory(memory);
	assert_int_equal(evr_region_add(loop->d, base, GIBIBYTE + ALIAS_SZ, &region), 0);
	is_fixed = evr_region_is_fixed(loop->d, region);
	evr_driver_caps(loop->d, &caps);
	assert_int_equal(is_fixed, loop->mode != EVR_DRIVER_NONE && caps.buffers_error != -ENOMEM);
	for (i = 0; i < 3; i++) {
		memset(bytes, 'a' + (int)i, sizeof(bytes));
		assert_int_equal(pwrite(file, bytes, sizeof(bytes), 0), sizeof(bytes));
		op = evr_op_in(evr_op_read(file, NULL, sizeof(bytes), 0), region, pieces[i].off);
		/* Only the kernel's own hold on the pages leads to them now. */
		assert_int_equal(mprotect(base, GIBIBYTE + ALIAS_SZ, PROT_NONE), 0);
		assert_int_equal(loop_do(loop, op),
				 is_fixed && !pieces[i].is_across ? (int)sizeof(bytes) : -EFAULT);
		assert_int_equal(mprotect(base, GIBIBYTE + ALIAS_SZ, PROT_READ | PROT_WRITE), 0);
		if (!is_fixed || pieces[i].is_across)
			assert_int_equal(loop_do(loop, op), sizeof(bytes));
		memcpy(back, base + pieces[i].off, sizeof(back));
		assert_memory_equal(back, bytes, sizeof(bytes));
	}
	op = evr_op_in(evr_op_read(file, NULL, 2, 0), region, GIBIBYTE + ALIAS_SZ - 1);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EFAULT);
	assert_int_equal(evr_region_remove(loop->d, region), 0);
	munmap(base, GIBIBYTE + ALIAS_SZ);
	close(memory);
	close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_MODE_TEST(region_across_a_gibibyte_is_two_buffers),
		STAGE_TEST(region_file_to_segment_is_there_for_a_peer),
		STAGE_TEST(region_socket_to_segment),
		STAGE_TEST(region_bounds_checked),
		STAGE_TEST(region_grown_segment_can_be_used),
		STAGE_TEST(files_fixed_table_keeps_files),
		STAGE_TEST(files_fixed_read_waits_in_a_region),
		STAGE_TEST(files_taken_out_are_closed),
		STAGE_TEST(region_of_any_memory_works),
		STAGE_TEST(bell_of_another_process_completes_a_wait),
		STAGE_TEST(bell_multishot_hears_every_ring),
		STAGE_TEST(bell_of_a_killed_peer_is_an_event),
		STAGE_TEST(bell_of_a_peer_that_left_is_not_for_the_next),
		STAGE_TEST(bell_wait_cancelled_ends_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
