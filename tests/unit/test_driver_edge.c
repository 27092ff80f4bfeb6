/* SPDX-License-Identifier: MIT */
/*
 * The edges of the driver: the smallest rings, a queue that nobody takes from, ops that
 * change their way, and cancels that come before their op has begun.
 *
 * Each case was seen to fail (or to hang) before what it tests was mended; no case of the
 * other programs did.
 */
#include "loop.h"

#include <liburing.h>
#include <sys/resource.h>
#include <termios.h>

static struct loop *small_loop(void **state, uint32_t entries)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options), .entries = entries };

	assert_int_equal(loop_open_with(state, &options), 0);
	return *state;
}

/* Their eighth for cancels is nothing, and a multishot wants more credits than there are. */
static void smallest_rings_cancel_and_multishot(void **state)
{
	uint32_t entries;
	struct loop *loop;
	struct seen seen;
	int fds[2];
	char byte;
	uint64_t id;

	for (entries = 1; entries <= 4; entries *= 2) {
		assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
		loop = small_loop(state, entries);
		id = loop_submit(loop, evr_op_read(fds[0], &byte, 1, 0), &seen);
		loop_rounds(loop, 1);
		assert_int_equal(evr_driver_cancel(loop->d, id), 0);
		assert_int_equal(loop_finish(loop, &seen), -ECANCELED);

		id = loop_submit(
			loop, evr_op_flagged(evr_op_poll(fds[0], POLLIN), EVR_OP_MULTISHOT), &seen);
		assert_int_equal(write(fds[1], "x", 1), 1);
		LOOP_UNTIL(loop, seen.all);
		assert_int_equal(evr_driver_cancel(loop->d, id), 0);
		loop_finish(loop, &seen);
		close(fds[0]);
		close(fds[1]);
		/* The pipe is younger than the count of the fds. */
		loop->fds -= 2;
		assert_int_equal(loop_close(state), 0);
	}
}

static uint32_t take_all(struct loop *loop)
{
	struct evr_completion done[64];
	uint32_t got, all = 0;

	while ((got = evr_driver_take(loop->d, done, 64)))
		all += got;
	return all;
}

/* Run without a wait, and nobody takes: what finds no place is kept, and comes later. */
static void queue_that_nobody_takes_from(void **state)
{
	struct loop *loop = small_loop(state, 8);
	uint32_t submitted = 0, taken = 0;
	struct evr_op op;
	int fds[2], i;
	char byte;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	op = evr_op_recv(fds[0], &byte, 1, MSG_PEEK);
	assert_int_equal(write(fds[1], "x", 1), 1);
	for (i = 0; i < 2000; i++) {
		submitted += !evr_driver_submit(loop->d, &op, NULL);
		assert_true(evr_driver_run(loop->d, 0, 0) >= 0);
	}
	assert_true(submitted < 2000);
	while (taken < submitted) {
		taken += take_all(loop);
		evr_driver_run(loop->d, 0, 0);
	}
	loop_rounds(loop, 2);
	assert_int_equal(taken + take_all(loop), submitted);

	/* Full again: a close does not wait for somebody to take. */
	for (i = 0; i < 2000; i++) {
		evr_driver_submit(loop->d, &op, NULL);
		evr_driver_run(loop->d, 0, 0);
	}
	assert_int_equal(evr_driver_close(loop->d, pair_deadline()), 0);
	loop->d = NULL;
	close(fds[0]);
	close(fds[1]);
	loop->fds = loop_fds();
	assert_int_equal(loop_close(state), 0);
}

/* A file system that lacks the call: the pool must not take the slot for an fd. */
static void fixed_file_is_no_fd_of_the_pool(void **state)
{
	struct loop *loop = *state;
	int victim = memfd_create("victim", MFD_CLOEXEC);
	int comm = open("/proc/self/comm", O_RDWR | O_CLOEXEC);
	uint32_t slot = (uint32_t)victim;
	struct evr_op op;

	assert_true(victim >= 0 && comm >= 0);
	assert_int_equal(evr_file_install(loop->d, comm, &slot), 0);
	op = evr_op_flagged(evr_op_fallocate(victim, 0, 0, 4096), EVR_OP_FIXED_FD);
	assert_int_equal(loop_do(loop, op), -EOPNOTSUPP);
	assert_int_equal(lseek(victim, 0, SEEK_END), 0);
	assert_int_equal(evr_file_remove(loop->d, slot), 0);
	close(comm);
	close(victim);
}

/* The number of a slot, or of a family of sockets, is not that of an fd. */
static void cancel_by_fd_leaves_slots_alone(void **state)
{
	struct loop *loop = *state;
	struct seen seen;
	uint32_t slot;
	int fds[2];
	char byte;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	slot = (uint32_t)fds[1];
	assert_int_equal(evr_file_install(loop->d, fds[0], &slot), 0);
	loop_submit(loop,
		    evr_op_flagged(evr_op_read((int)slot, &byte, 1, UINT64_MAX), EVR_OP_FIXED_FD),
		    &seen);
	loop_rounds(loop, 1);
	assert_int_equal(evr_driver_cancel_fd(loop->d, fds[1]), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(loop_finish(loop, &seen), 1);
	assert_int_equal(evr_file_remove(loop->d, slot), 0);
	close(fds[0]);
	close(fds[1]);
}

/* The bytes that came before a cancel are in the buffer, and so in the result. */
static void exact_tells_of_its_bytes_when_cancelled(void **state)
{
	struct loop *loop = *state;
	struct seen seen;
	char buf[64];
	uint64_t id;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	id = loop_submit(loop,
			 evr_op_flagged(evr_op_recv(fds[0], buf, sizeof(buf), 0), EVR_OP_EXACT),
			 &seen);
	assert_int_equal(write(fds[1], "four", 4), 4);
	loop_rounds(loop, 3);
	assert_int_equal(seen.all, 0);
	assert_int_equal(evr_driver_cancel(loop->d, id), 0);
	assert_int_equal(loop_finish(loop, &seen), 4);
	assert_true(seen.flags & EVR_DONE_CANCELED);
	close(fds[0]);
	close(fds[1]);
}

/* All came, if in two pieces: the chain goes on. */
static void chain_goes_on_after_a_recv_in_pieces(void **state)
{
	struct loop *loop = *state;
	struct seen seen[2];
	struct evr_op ops[2];
	char buf[8];
	int fds[2];

	memset(seen, 0, sizeof(seen));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	ops[0] = evr_op_then(evr_op_recv(fds[0], buf, 8, MSG_WAITALL), seen_done, &seen[0]);
	ops[1] = evr_op_then(evr_op_nop(), seen_done, &seen[1]);
	assert_int_equal(evr_driver_submit_chain(loop->d, ops, 2, NULL), 0);
	assert_int_equal(write(fds[1], "thr", 3), 3);
	loop_rounds(loop, 3);
	assert_int_equal(seen[0].all, 0);
	assert_int_equal(write(fds[1], "five!", 5), 5);
	assert_int_equal(loop_finish(loop, &seen[0]), 8);
	assert_int_equal(loop_finish(loop, &seen[1]), 0);
	close(fds[0]);
	close(fds[1]);
}

/* The kernel does not find a member that has not begun: the cancel is asked again. */
static void cancel_of_a_member_before_its_turn(void **state)
{
	struct loop *loop = *state;
	struct seen seen[3];
	struct evr_op ops[3];
	int first[2], second[2], round;
	char byte[2];
	uint64_t ids[3];

	for (round = 0; round < 2; round++) {
		memset(seen, 0, sizeof(seen));
		assert_int_equal(pipe2(first, O_CLOEXEC), 0);
		assert_int_equal(pipe2(second, O_CLOEXEC), 0);
		ops[0] = evr_op_then(evr_op_read(first[0], &byte[0], 1, 0), seen_done, &seen[0]);
		ops[1] = evr_op_then(evr_op_read(second[0], &byte[1], 1, 0), seen_done, &seen[1]);
		ops[2] = evr_op_then(evr_op_nop(), seen_done, &seen[2]);
		/* Once by a call, once by a deadline that passes before its turn. */
		if (round)
			ops[1] = evr_op_until(ops[1], evr_now_ns() + 1000000);
		assert_int_equal(evr_driver_submit_chain(loop->d, ops, 3, ids), 0);
		loop_rounds(loop, 3);
		if (!round)
			assert_int_equal(evr_driver_cancel(loop->d, ids[1]), 0);
		loop_rounds(loop, 5);
		assert_int_equal(seen[0].all, 0);
		assert_int_equal(write(first[1], "x", 1), 1);
		assert_int_equal(loop_finish(loop, &seen[0]), 1);
		assert_int_equal(loop_finish(loop, &seen[1]), round ? -ETIME : -ECANCELED);
		assert_int_equal(loop_finish(loop, &seen[2]), -ECANCELED);
		close(first[0]);
		close(first[1]);
		close(second[0]);
		close(second[1]);
	}
}

/* A thread that is idle has one job at a time: what is queued behind it gets its own. */
static void pool_counts_what_is_queued(void **state)
{
	struct loop *loop = *state;
	struct evr_a32 *words;
	struct seen waits[3], last;
	int fd, i;

	fd = memfd_create("synced", MFD_CLOEXEC);
	words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	/* Done, so there is a thread, and it is idle. */
	assert_int_equal(loop_do(loop, evr_op_fsync(fd)), 0);
	for (i = 0; i < 3; i++)
		loop_submit(loop, evr_op_futex_wait(&words[i], 0), &waits[i]);
	loop_submit(loop, evr_op_fsync(fd), &last);
	assert_int_equal(loop_finish(loop, &last), 0);
	for (i = 0; i < 3; i++) {
		evr_a32_store_release(&words[i], 1);
		assert_true(loop_do(loop, evr_op_futex_wake(&words[i], 1)) >= 0);
		loop_finish(loop, &waits[i]);
		/* By a thread that has not come to it before: the word is another by then. */
		assert_true(!waits[i].res || waits[i].res == -EAGAIN);
	}
	close(fd);
	munmap(words, 4096);
}

/* Refused, or cancelled before it began, it closes nothing: the file is in its slot. */
static void close_of_a_slot_that_does_not_begin(void **state)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .mode = EVR_DRIVER_NONE,
					      .flags = EVR_DRIVER_FAIL_FAST,
					      .entries = 1,
					      .completions = 1 };
	struct seen reads, closes;
	uint32_t slot = 3;
	struct loop *loop;
	struct evr_op op;
	uint64_t id;
	char byte;
	int fds[2];

	assert_int_equal(loop_open_with(state, &options), 0);
	loop = *state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(evr_file_install(loop->d, fds[1], &slot), 0);
	id = loop_submit(loop, evr_op_read(fds[0], &byte, 1, 0), &reads);
	op = evr_op_flagged(evr_op_close((int)slot), EVR_OP_FIXED_FD);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EAGAIN);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EAGAIN);
	assert_int_equal(evr_driver_cancel(loop->d, id), 0);
	loop_finish(loop, &reads);
	loop_submit(loop, op, &closes);
	loop_finish(loop, &closes);
	assert_int_equal(closes.res, 0);
	assert_int_equal(evr_file_remove(loop->d, slot), -EBADF);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(loop_close(state), 0);
}

/*
 * Many more closes than the submission queue holds, which nobody waits for, none of which
 * may fail for that: they go out as it empties, also when the driver is closed first.
 */
static void close_of_more_than_the_queue_holds(void **state)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .entries = 2,
					      .backlog_max = 60 };
	struct evr_driver_stats stats;
	struct loop *loop;
	struct evr_op op;
	int i, fds[60], first, at_end;

	for (at_end = 0; at_end < 2; at_end++) {
		assert_int_equal(loop_open_with(state, &options), 0);
		loop = *state;
		first = loop_fds();
		for (i = 0; i < 60; i++) {
			fds[i] = dup(0);
			assert_true(fds[i] >= 0);
		}
		for (i = 0; i < 60; i++) {
			op = evr_op_flagged(evr_op_close(fds[i]), EVR_OP_BACKGROUND);
			assert_int_equal(evr_driver_submit(loop->d, &op, NULL), 0);
		}
		if (at_end)
			assert_int_equal(evr_driver_close(loop->d, pair_deadline()), 0);
		else
			LOOP_UNTIL(loop, !loop_busy(loop));
		for (i = 0; i < 60; i++)
			assert_int_equal(fcntl(fds[i], F_GETFD), -1);
		if (at_end) {
			loop->d = NULL;
		} else {
			assert_int_equal(loop_fds(), first);
			assert_int_equal(evr_driver_stats(loop->d, &stats), 0);
			assert_int_equal(stats.background_errors, 0);
			assert_true(loop->mode == EVR_DRIVER_NONE || stats.backlogged > 0);
		}
		assert_int_equal(loop_close(state), 0);
	}
}

/* Fewer fds than the table wants: the kernel refuses it, and the driver has its own. */
static void own_table_beside_a_ring(void **state)
{
	struct rlimit limit, small = { 48, 48 };
	struct loop *loop;
	uint32_t slot;
	int ret;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	small.rlim_max = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
	ret = loop_open_with(state, NULL);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(ret, 0);
	loop = *state;
	ret = loop_do(loop, evr_op_into(evr_op_socket(AF_UNIX, SOCK_STREAM, 0), EVR_FILE_ANY));
	assert_true(ret >= 0);
	slot = (uint32_t)ret;
	ret = loop_do(loop, evr_op_flagged(evr_op_shutdown((int)slot, SHUT_RD), EVR_OP_FIXED_FD));
	assert_int_equal(ret, 0);
	assert_int_equal(evr_file_remove(loop->d, slot), 0);
	assert_int_equal(loop_close(state), 0);
}

/*
 * Short, and before that is known the number, or the slot, has become another file's: what
 * follows is of the file that the op began with, or nothing.
 */
static void exact_goes_on_with_the_file_it_began_with(void **state)
{
	struct loop *loop = *state;
	int own[2], other[2], fixed, fd;
	struct seen seen;
	uint32_t slot;
	char buf[8];

	for (fixed = 0; fixed < 2; fixed++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, own), 0);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, other), 0);
		assert_int_equal(write(other[1], "EVIL", 4), 4);
		slot = EVR_FILE_ANY;
		fd = own[0];
		if (fixed) {
			assert_int_equal(evr_file_install(loop->d, own[0], &slot), 0);
			fd = (int)slot;
		}
		loop_submit(loop,
			    evr_op_flagged(evr_op_recv(fd, buf, sizeof(buf), 0),
					   EVR_OP_EXACT | (fixed ? EVR_OP_FIXED_FD : 0)),
			    &seen);
		loop_rounds(loop, 1);
		assert_int_equal(write(own[1], "four", 4), 4);
		if (fixed) {
			assert_int_equal(evr_file_remove(loop->d, slot), 0);
			assert_int_equal(evr_file_install(loop->d, other[0], &slot), 0);
		} else {
			assert_int_equal(dup3(other[0], own[0], O_CLOEXEC), own[0]);
		}
		loop_rounds(loop, 2);
		if (!seen.all)
			assert_int_equal(write(own[1], "more", 4), 4);
		loop_finish(loop, &seen);
		assert_true(seen.res == 8 || (fixed && seen.res == 4));
		assert_memory_equal(buf, "fourmore", (size_t)seen.res);
		if (fixed)
			assert_int_equal(evr_file_remove(loop->d, slot), 0);
		close(own[0]);
		close(own[1]);
		close(other[0]);
		close(other[1]);
	}
}

static void *writes_later(void *arg)
{
	pair_sleep_us(2000);
	CHECK(write(*(int *)arg, "more", 4) == 4);
	return NULL;
}

/* Half of it ends the kernel's sleep, and delivers nothing: that is no signal. */
static void exact_in_pieces_is_no_interruption(void **state)
{
	struct loop *loop = *state;
	pthread_t thread;
	struct seen seen;
	char buf[8];
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(write(fds[1], "four", 4), 4);
	loop_submit(loop, evr_op_flagged(evr_op_recv(fds[0], buf, 8, 0), EVR_OP_EXACT), &seen);
	assert_int_equal(pthread_create(&thread, NULL, writes_later, &fds[1]), 0);
	assert_int_equal(evr_driver_run(loop->d, 1, EVR_DRIVER_NO_DEADLINE), 1);
	pthread_join(thread, NULL);
	assert_int_equal(seen.res, 8);
	close(fds[0]);
	close(fds[1]);
}

/* Written a part at a time, to a terminal: the chain counts against all that was asked for. */
static void chain_ends_at_a_writev_that_is_short(void **state)
{
	struct loop *loop = *state;
	static char bytes[8192], back[8192];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct seen seen[2] = { 0 };
	struct evr_op ops[2];
	struct termios raw;
	int pty, tty;

	pty = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(pty >= 0 && !grantpt(pty) && !unlockpt(pty));
	tty = open(ptsname(pty), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(tty >= 0 && !tcgetattr(tty, &raw));
	cfmakeraw(&raw);
	assert_int_equal(tcsetattr(tty, TCSANOW, &raw), 0);
	ops[0] = evr_op_then(evr_op_writev(tty, &iov, 1, UINT64_MAX), seen_done, &seen[0]);
	ops[1] = evr_op_then(evr_op_nop(), seen_done, &seen[1]);
	assert_int_equal(evr_driver_submit_chain(loop->d, ops, 2, NULL), 0);
	while (!seen[0].terminal || !seen[1].terminal) {
		assert_true(evr_driver_run(loop->d, 1, evr_now_ns() + 1000000) >= 0);
		while (poll(&(struct pollfd){ .fd = pty, .events = POLLIN }, 1, 0) == 1)
			assert_true(read(pty, back, sizeof(back)) > 0);
	}
	assert_true(seen[0].res > 0);
	assert_int_equal(seen[1].res, seen[0].res == 8192 ? 0 : -ECANCELED);
	close(tty);
	close(pty);
}

/* Rings that this thread had go down late, and end calls that sleep; no signal is handled. */
static void ring_that_was_closed_ends_no_sleep(void **state)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .mode = EVR_DRIVER_NONE };
	struct evr_injector *injector;
	struct io_uring ring;
	struct loop *loop;
	int i, ret;

	if (loop_open(state) || (*(struct loop **)state)->mode == EVR_DRIVER_NONE) {
		loop_close(state);
		skip();
	}
	loop_close(state);
	assert_int_equal(loop_open_with(state, &options), 0);
	loop = *state;
	injector = evr_driver_injector(loop->d);
	for (i = 0; i < 100; i++) {
		assert_int_equal(io_uring_queue_init(4, &ring, 0), 0);
		io_uring_queue_exit(&ring);
		ret = evr_driver_run(loop->d, 1, evr_now_ns() + 2000000);
		assert_int_equal(ret, 0);
	}
	evr_injector_put(injector);
	assert_int_equal(loop_close(state), 0);
}

struct refused {
	struct evr_op op;
	int calls, err;
};

static void try_again(struct evr_driver *d, void *user)
{
	struct refused *refused = user;

	refused->calls++;
	refused->err = evr_driver_submit(d, &refused->op, NULL);
}

/* Told when there is room for what was refused, and not for less. */
static void writable_when_all_of_it_finds_room(void **state)
{
	struct refused refused = { .calls = 0 };
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .flags = EVR_DRIVER_FAIL_FAST,
					      .entries = 16,
					      .completions = 16,
					      .on_writable = try_again,
					      .user = &refused };
	struct seen reads[16], poll;
	struct loop *loop;
	int fds[2], nr;
	char bytes[16];

	assert_int_equal(loop_open_with(state, &options), 0);
	loop = *state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	for (nr = 0; nr < 16; nr++) {
		struct evr_op op = evr_op_then(evr_op_read(fds[0], &bytes[nr], 1, UINT64_MAX),
					       seen_done, &reads[nr]);

		memset(&reads[nr], 0, sizeof(reads[nr]));
		if (evr_driver_submit(loop->d, &op, NULL))
			break;
	}
	assert_true(nr > 8 && nr < 16);
	memset(&poll, 0, sizeof(poll));
	refused.op = evr_op_then(evr_op_flagged(evr_op_poll(fds[1], POLLOUT), EVR_OP_MULTISHOT),
				 seen_done, &poll);
	loop_rounds(loop, 2);
	/* That of the reads finds none now; its refusal is over before the next counts. */
	refused.calls = 0;
	assert_int_equal(evr_driver_submit(loop->d, &refused.op, NULL), -EAGAIN);
	for (; !refused.calls; nr--) {
		assert_true(nr > 0);
		assert_int_equal(write(fds[1], "x", 1), 1);
		LOOP_UNTIL(loop, loop_busy(loop) < nr || refused.calls);
		loop_rounds(loop, 2);
	}
	assert_int_equal(refused.calls, 1);
	assert_int_equal(refused.err, 0);
	assert_int_equal(evr_driver_cancel_fd(loop->d, fds[0]), nr);
	assert_int_equal(evr_driver_cancel_fd(loop->d, fds[1]), 1);
	loop_finish(loop, &poll);
	LOOP_UNTIL(loop, !loop_busy(loop));
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(loop_close(state), 0);
}

/* Refused for want of a slot: credits, of which there are many, say nothing about that. */
static void writable_when_there_is_a_slot(void **state)
{
	struct refused refused = { .op = evr_op_timer(1, 0) };
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .ops_max = 256,
					      .on_writable = try_again,
					      .user = &refused };
	static struct seen seen[256], last;
	struct loop *loop;
	uint64_t id = 0;
	int i;

	assert_int_equal(loop_open_with(state, &options), 0);
	loop = *state;
	memset(&last, 0, sizeof(last));
	refused.op = evr_op_then(refused.op, seen_done, &last);
	for (i = 0; i < 256; i++)
		id = loop_submit(loop, evr_op_timer(UINT64_MAX - 1, 0), &seen[i]);
	assert_int_equal(evr_driver_submit(loop->d, &refused.op, NULL), -EAGAIN);
	loop_rounds(loop, 2);
	assert_int_equal(refused.calls, 0);
	assert_int_equal(evr_driver_cancel(loop->d, id), 0);
	loop_finish(loop, &last);
	assert_int_equal(refused.calls, 1);
	assert_int_equal(refused.err, 0);
	/* The others end with the driver. */
	assert_int_equal(evr_driver_close(loop->d, pair_deadline()), 0);
	for (i = 0; i < 256; i++)
		assert_int_equal(seen[i].terminal, 1);
	loop->d = NULL;
	assert_int_equal(loop_close(state), 0);
}

/* Less than asked for of a file: by its end, over a hole, by a limit; with EXACT the sum. */
static void file_io_is_short_at_ends_and_limits(void **state)
{
	struct loop *loop = *state;
	int file = memfd_create("short", MFD_CLOEXEC), exact;
	static char page[8192], back[8192];
	struct rlimit old, limit;
	struct evr_op op;

	memset(page, 'p', sizeof(page));
	for (exact = 0; exact < 2; exact++) {
		assert_int_equal(ftruncate(file, 0), 0);
		assert_int_equal(ftruncate(file, 10000), 0);
		op = evr_op_flagged(evr_op_read(file, back, 8192, 6000), exact ? EVR_OP_EXACT : 0);
		memset(back, 'b', sizeof(back));
		assert_int_equal(loop_do(loop, op), 4000);
		assert_int_equal(back[0] | back[3999], 0);
		assert_int_equal(back[4000], 'b');
		op.off = 10000;
		assert_int_equal(loop_do(loop, op), 0);
		assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
		limit = old;
		limit.rlim_cur = 6000;
		signal(SIGXFSZ, SIG_IGN);
		assert_int_equal(ftruncate(file, 0), 0);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
		op = evr_op_flagged(evr_op_write(file, page, 8192, 0), exact ? EVR_OP_EXACT : 0);
		assert_int_equal(loop_do(loop, op), 6000);
		op.off = 6000;
		assert_int_equal(loop_do(loop, op), -EFBIG);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		signal(SIGXFSZ, SIG_DFL);
		assert_int_equal(lseek(file, 0, SEEK_END), 6000);
	}
	close(file);
}

/* Memory that the kernel does not pin for us is plain, and can be used. */
static void region_that_may_only_be_read_is_plain(void **state)
{
	struct loop *loop = *state;
	char *page = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int file = memfd_create("plain", MFD_CLOEXEC);
	struct evr_driver_caps caps;
	uint16_t region;

	assert_int_equal(evr_region_add(loop->d, page, 8192, &region), 0);
	assert_int_equal(evr_region_is_fixed(loop->d, region), 0);
	evr_driver_caps(loop->d, &caps);
	assert_int_equal(caps.buffers_error, loop->mode == EVR_DRIVER_NONE ? 0 : -EFAULT);
	assert_int_equal(loop_do(loop, evr_op_in(evr_op_write(file, NULL, 8192, 0), region, 0)),
			 8192);
	assert_int_equal(loop_do(loop, evr_op_in(evr_op_read(file, NULL, 1, 0), region, 0)),
			 -EFAULT);
	assert_int_equal(evr_region_remove(loop->d, region), 0);
	munmap(page, 8192);
	close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_MODE_TEST(file_io_is_short_at_ends_and_limits),
		EACH_MODE_TEST(region_that_may_only_be_read_is_plain),
		cmocka_unit_test(smallest_rings_cancel_and_multishot),
		cmocka_unit_test(queue_that_nobody_takes_from),
		EACH_MODE_TEST(fixed_file_is_no_fd_of_the_pool),
		EACH_MODE_TEST(cancel_by_fd_leaves_slots_alone),
		EACH_MODE_TEST(exact_tells_of_its_bytes_when_cancelled),
		EACH_MODE_TEST(chain_goes_on_after_a_recv_in_pieces),
		EACH_MODE_TEST(cancel_of_a_member_before_its_turn),
		cmocka_unit_test(close_of_a_slot_that_does_not_begin),
		cmocka_unit_test(close_of_more_than_the_queue_holds),
		cmocka_unit_test(own_table_beside_a_ring),
		EACH_MODE_TEST(pool_counts_what_is_queued),
		EACH_MODE_TEST(exact_goes_on_with_the_file_it_began_with),
		EACH_MODE_TEST(chain_ends_at_a_writev_that_is_short),
		EACH_MODE_TEST(exact_in_pieces_is_no_interruption),
		cmocka_unit_test(ring_that_was_closed_ends_no_sleep),
		cmocka_unit_test(writable_when_all_of_it_finds_room),
		cmocka_unit_test(writable_when_there_is_a_slot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
