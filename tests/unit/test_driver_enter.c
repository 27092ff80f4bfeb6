/* SPDX-License-Identifier: MIT */
/*
 * What the kernel may say when rings are set up and entered, whichever kernel this is:
 * liburing's two calls for it are replaced by ones that refuse setup flags, take only
 * a part of what is submitted, or fail as the manual says they may.
 * Seen to fail: tests/unit/controls, driver-part-is-all and driver-ladder-stops; a ring that is not
 * tried, and one without SUBMIT_ALL (setup_goes_down_the_ladder).
 */
#include "loop.h"

#include <dlfcn.h>
#include <liburing.h>
#include <sys/syscall.h>

#include "driver.h"

static struct {
	uint32_t refused; /* setup flags of which each is EINVAL */
	uint32_t without; /* setup flags that are taken away, unseen */
	uint32_t most; /* SQEs that one call takes; 0: all */
	int each; /* one call in so many fails; 0: none */
	uint64_t seed;
	int failures, parts, setups;
} faults;

static const int enter_errors[] = { -EINTR, -EAGAIN, -EBUSY };

int io_uring_queue_init_params(unsigned int entries, struct io_uring *ring,
			       struct io_uring_params *p)
{
	int (*real)(unsigned int, struct io_uring *, struct io_uring_params *) =
		(__typeof__(real))dlsym(RTLD_NEXT, "io_uring_queue_init_params");

	faults.setups++;
	if (p->flags & faults.refused)
		return -EINVAL;
	p->flags &= ~faults.without;
	return real(entries, ring, p);
}

int io_uring_enter2(unsigned int fd, unsigned int nr, unsigned int min, unsigned int flags,
		    sigset_t *sig, size_t sz)
{
	long ret;

	if (faults.each && pair_random(&faults.seed) % (uint64_t)faults.each == 0) {
		faults.failures++;
		return enter_errors[pair_random(&faults.seed) % 3];
	}
	if (faults.most && nr > faults.most) {
		faults.parts++;
		nr = faults.most;
		/* As the kernel: who did not get all in does not wait. */
		min = 0;
	}
	ret = syscall(SYS_io_uring_enter, fd, nr, min, flags, sig, sz);
	return ret < 0 ? -errno : (int)ret;
}

static struct loop *begin(void **state)
{
	struct loop *loop;

	memset(&faults, 0, sizeof(faults));
	faults.seed = 11;
	if (loop_open(state))
		fail();
	loop = *state;
	if (loop->mode != EVR_DRIVER_NONE)
		return loop;
	assert_int_equal(loop_close(state), 0);
	skip();
	return NULL;
}

static void finish(void **state)
{
	faults.most = 0;
	faults.each = 0;
	assert_int_equal(loop_close(state), 0);
}

#define MANY 500

static void all_end(struct loop *loop, struct seen *seen, int nr)
{
	uint64_t deadline = pair_deadline();
	int i, ret;

	for (i = 0; i < nr; i++) {
		while (!seen[i].terminal) {
			ret = evr_driver_run(loop->d, 1, deadline);
			assert_true(ret >= 0 || ret == -EINTR);
			assert_true(evr_now_ns() < deadline);
		}
	}
}

/* Each call takes three of a batch: the rest stays, in order, and goes with the next. */
static void enter_takes_a_part_and_the_rest_follows(void **state)
{
	struct loop *loop = begin(state);
	static struct seen seen[MANY];
	int i, file = memfd_create("parts", MFD_CLOEXEC);
	static uint32_t numbers[MANY];

	faults.most = 3;
	for (i = 0; i < MANY; i++) {
		numbers[i] = (uint32_t)i;
		loop_submit(loop, evr_op_write(file, &numbers[i], 4, 4 * (uint64_t)i), &seen[i]);
	}
	all_end(loop, seen, MANY);
	for (i = 0; i < MANY; i++) {
		assert_int_equal(seen[i].res, 4);
		assert_int_equal(pread(file, &numbers[0], 4, 4 * i), 4);
		assert_int_equal(numbers[0], i);
	}
	assert_true(faults.parts > MANY / 4);
	close(file);
	finish(state);
}

/* EINTR, EAGAIN and EBUSY, half of the time: nothing is lost, nothing is done twice. */
static void enter_fails_and_nothing_is_lost(void **state)
{
	struct loop *loop = begin(state);
	static struct seen seen[MANY], waits[MANY];
	static uint64_t ids[MANY];
	int i, fds[2];
	char byte;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	faults.each = 2;
	faults.most = 5;
	for (i = 0; i < MANY; i++) {
		loop_submit(loop, evr_op_write(fds[1], "x", 1, 0), &seen[i]);
		if (i % 16 == 0)
			evr_driver_flush(loop->d);
	}
	all_end(loop, seen, MANY);
	for (i = 0; i < MANY; i++)
		assert_int_equal(seen[i].res, 1);
	/* So many bytes, and not one more. */
	for (i = 0; i < MANY; i++)
		assert_int_equal(read(fds[0], &byte, 1), 1);
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	assert_int_equal(read(fds[0], &byte, 1), -1);
	fcntl(fds[0], F_SETFL, 0);
	/* Cancels go the same way. */
	for (i = 0; i < MANY / 4; i++)
		ids[i] = loop_submit(loop, evr_op_read(fds[0], &byte, 1, 0), &waits[i]);
	for (i = 0; i < MANY / 4; i++)
		assert_int_equal(evr_driver_cancel(loop->d, ids[i]), 0);
	all_end(loop, waits, MANY / 4);
	for (i = 0; i < MANY / 4; i++)
		assert_int_equal(waits[i].res, -ECANCELED);
	assert_true(faults.failures > 0);
	close(fds[0]);
	close(fds[1]);
	finish(state);
}

static void one_bad_among(struct loop *loop)
{
	struct io_uring_sqe *sqe;
	struct seen seen[9];
	uint64_t id;
	int i;

	for (i = 0; i < 9; i++) {
		if (i != 4) {
			loop_submit(loop, evr_op_nop(), &seen[i]);
			continue;
		}
		memset(&seen[i], 0, sizeof(seen[i]));
		sqe = evr_driver_sqe(loop->d, seen_done, &seen[i], 1, &id);
		assert_non_null(sqe);
		id = sqe->user_data;
		memset(sqe, 0, sizeof(*sqe));
		sqe->opcode = 255;
		sqe->user_data = id;
	}
	all_end(loop, seen, 9);
	for (i = 0; i < 9; i++)
		assert_int_equal(seen[i].res, i == 4 ? -EINVAL : 0);
}

/* An SQE that the kernel refuses, in the middle of a batch: with SUBMIT_ALL, and as before 5.18. */
static void bad_sqe_stops_no_other(void **state)
{
	struct loop *loop = begin(state);

	one_bad_among(loop);
	finish(state);
	faults.without = IORING_SETUP_SUBMIT_ALL;
	assert_int_equal(loop_open(state), 0);
	loop = *state;
	assert_false(loop->d->ring.uring.flags & IORING_SETUP_SUBMIT_ALL);
	one_bad_among(loop);
	finish(state);
}

/* Flags that a kernel does not know: the next best, each that is left. */
static void setup_goes_down_the_ladder(void **state)
{
	static const struct {
		uint32_t refused, left;
		int setups;
	} steps[] = {
		{ 0, IORING_SETUP_DEFER_TASKRUN, 1 },
		{ IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN, 2 },
		{ IORING_SETUP_TASKRUN_FLAG, IORING_SETUP_SUBMIT_ALL, 3 },
		{ IORING_SETUP_SUBMIT_ALL, IORING_SETUP_CQSIZE, 4 },
	};
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .flags = EVR_DRIVER_REQUIRE_URING };
	struct evr_driver_caps caps;
	struct evr_driver *d;
	struct loop *loop;
	size_t i;

	begin(state);
	finish(state);
	for (i = 0; i < 4; i++) {
		faults.refused = steps[i].refused;
		faults.setups = 0;
		assert_int_equal(loop_open_with(state, &options), 0);
		loop = *state;
		evr_driver_caps(loop->d, &caps);
		assert_int_equal(faults.setups, steps[i].setups);
		assert_false(caps.setup_flags & steps[i].refused);
		assert_true(caps.setup_flags & steps[i].left);
		assert_int_equal(caps.mode, i ? EVR_DRIVER_PLAIN : EVR_DRIVER_DEFER);
		assert_int_equal(loop_do(loop, evr_op_nop()), 0);
		finish(state);
	}
	/* Nothing is left. */
	faults.refused = IORING_SETUP_CQSIZE;
	options.mode = EVR_DRIVER_PLAIN;
	assert_int_equal(evr_driver_create(&d, &options), -EOPNOTSUPP);
	assert_null(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(enter_takes_a_part_and_the_rest_follows),
		cmocka_unit_test(enter_fails_and_nothing_is_lost),
		cmocka_unit_test(bad_sqe_stops_no_other),
		cmocka_unit_test(setup_goes_down_the_ladder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
