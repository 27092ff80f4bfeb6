/* SPDX-License-Identifier: MIT */
/*
 * Completions that are taken, a driver's end, and a loop of another's that waits for it. Runs in each mode.
 *
 * Mutants seen to fail here: the room of the queue of the taken loaded twice
 * (driver_take_by_another_thread); a poll of the driver's fd without a read of its wake
 * (driver_foreign_loop_wakes_for_all); and tests/unit/controls, driver-*.
 */
#include "loop.h"

#include <sys/resource.h>

static void driver_take_gives_each_once(void **state)
{
	struct loop *loop = *state;
	struct evr_completion done[64];
	struct evr_op op = evr_op_nop();
	static char arg[200];
	uint32_t got, i;
	int nr = 0;

	for (i = 0; i < 200; i++) {
		op.arg = &arg[i];
		assert_int_equal(evr_driver_submit(loop->d, &op, NULL), 0);
	}
	while (nr < 200) {
		assert_true(evr_driver_run(loop->d, 1, pair_deadline()) >= 0);
		got = evr_driver_take(loop->d, done, 64);
		for (i = 0; i < got; i++)
			assert_int_equal(++*(char *)done[i].arg, 1);
		nr += (int)got;
	}
	assert_int_equal(nr, 200);
	assert_int_equal(evr_driver_take(loop->d, done, 64), 0);
}

static void driver_take_full_stops_the_run_and_loses_none(void **state)
{
	struct loop *loop = *state;
	struct evr_completion done[64];
	struct evr_op op = evr_op_nop();
	uint32_t sent = 0, taken = 0, got;
	int ret = 0;

	while (sent < 100000) {
		if (evr_driver_submit(loop->d, &op, NULL) == 0) {
			sent++;
			continue;
		}
		ret = evr_driver_run(loop->d, 1, pair_deadline());
		if (ret == -ENOBUFS)
			break;
		assert_true(ret >= 0);
	}
	assert_int_equal(ret, -ENOBUFS);
	while (taken < sent) {
		got = evr_driver_take(loop->d, done, 64);
		taken += got;
		if (!got)
			assert_true(evr_driver_run(loop->d, 1, pair_deadline()) >= 0);
	}
	assert_int_equal(taken, sent);
}

#define TAKEN 200000

struct taker {
	struct evr_driver *d;
	uint64_t nr, sum;
};

static void *taker_thread(void *arg)
{
	struct taker *taker = arg;
	struct evr_completion done[32];
	int got, i;

	for (;;) {
		got = TIMELY(evr_driver_take_wait(taker->d, done, 32, until_ns));
		if (got == -ESHUTDOWN)
			return NULL;
		CHECK(got > 0);
		for (i = 0; i < got; i++)
			taker->sum += (uintptr_t)done[i].arg;
		taker->nr += (uint64_t)got;
	}
}

static void driver_take_by_another_thread(void **state)
{
	struct loop *loop = *state;
	struct taker taker = { .d = loop->d };
	struct evr_op op = evr_op_nop();
	struct evr_completion done;
	struct evr_driver_stats stats;
	uint64_t sent = 0, sum = 0;
	pthread_t thread;

	assert_int_equal(evr_driver_take_wait(loop->d, &done, 0, 0), -EINVAL);
	assert_int_equal(evr_driver_take_wait(loop->d, &done, 1, 0), -ETIMEDOUT);
	assert_int_equal(pthread_create(&thread, NULL, taker_thread, &taker), 0);
	while (sent < TAKEN) {
		op.arg = (void *)(uintptr_t)(sent + 1);
		if (evr_driver_submit(loop->d, &op, NULL) == 0) {
			sum += ++sent;
			/* Now and then it falls asleep. */
			if (sent % 4096)
				continue;
		}
		evr_driver_run(loop->d, 1, pair_deadline());
		if (sent % 4096 == 0)
			pair_sleep_us(100);
	}
	do {
		evr_driver_run(loop->d, 1, pair_deadline());
		evr_driver_stats(loop->d, &stats);
	} while (stats.completed < TAKEN);
	assert_int_equal(evr_driver_take_stop(loop->d), 0);
	pthread_join(thread, NULL);
	assert_int_equal(taker.nr, TAKEN);
	assert_int_equal(taker.sum, sum);
}

/* --- the end --- */

static void driver_close_ends_all_that_is_under_way(void **state)
{
	struct loop *loop = *state;
	static struct seen seen[96];
	struct evr_op op = evr_op_nop();
	char buf[16];
	int fds[2], i;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	for (i = 0; i < 32; i++) {
		loop_submit(loop, evr_op_read(fds[0], buf, sizeof(buf), 0), &seen[3 * i]);
		loop_submit(loop, evr_op_timer(UINT64_MAX - 1, 0), &seen[3 * i + 1]);
		loop_submit(loop, evr_op_flagged(evr_op_poll(fds[0], POLLIN), EVR_OP_MULTISHOT),
			    &seen[3 * i + 2]);
	}
	op = evr_op_read(fds[0], buf, sizeof(buf), 0);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), 0);
	evr_driver_run(loop->d, 0, 0);
	assert_int_equal(evr_driver_close(loop->d, pair_deadline()), 0);
	loop->d = NULL;
	for (i = 0; i < 96; i++) {
		assert_int_equal(seen[i].terminal, 1);
		assert_int_equal(seen[i].res, -ECANCELED);
		assert_true(seen[i].flags & EVR_DONE_CANCELED);
	}
	close(fds[0]);
	close(fds[1]);
}

static void submits_while_closing(struct evr_driver *d, const struct evr_completion *done)
{
	struct evr_op op = evr_op_nop();

	*(int *)done->arg = evr_driver_submit(d, &op, NULL);
}

static void driver_closing_takes_nothing_new(void **state)
{
	struct loop *loop = *state;
	int err = 0;
	struct evr_op op =
		evr_op_then(evr_op_timer(UINT64_MAX - 1, 0), submits_while_closing, &err);

	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), 0);
	assert_int_equal(evr_driver_close(loop->d, pair_deadline()), 0);
	loop->d = NULL;
	assert_int_equal(err, -ESHUTDOWN);
}

static void driver_made_and_closed_often_leaves_nothing(void **state)
{
	int fds = loop_fds(), i;
	struct evr_driver *d;
	struct evr_op op;
	int nr = 0;

	for (i = 0; i < 300; i++) {
		/* The kernel gives memlock back late. */
		while (evr_driver_create(&d, NULL) == -ENOMEM)
			pair_sleep_us(1000);
		op = evr_op_then(evr_op_nop(), loop_count, &nr);
		assert_int_equal(evr_driver_submit(d, &op, NULL), 0);
		while (nr <= i)
			assert_true(evr_driver_run(d, 1, pair_deadline()) >= 0);
		assert_int_equal(evr_driver_close(d, pair_deadline()), 0);
	}
	assert_int_equal(loop_fds(), fds);
}

static void driver_out_of_fds_says_so(void **state)
{
	struct rlimit old, none;
	struct evr_driver *d;
	int fd = dup(0);

	close(fd);
	getrlimit(RLIMIT_NOFILE, &old);
	none = old;
	none.rlim_cur = (rlim_t)fd;
	setrlimit(RLIMIT_NOFILE, &none);
	assert_int_equal(evr_driver_create(&d, NULL), -EMFILE);
	assert_null(d);
	setrlimit(RLIMIT_NOFILE, &old);
}

static void driver_foreign_loop_wakes_for_all(void **state)
{
	struct loop *loop = *state;
	struct evr_injector *injector = evr_driver_injector(loop->d);
	struct pollfd p = { .events = POLLIN };
	char byte;
	struct seen seen, timer;
	uint64_t at_ns;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	p.fd = evr_driver_fd(loop->d);
	assert_true(p.fd >= 0);
	loop_submit(loop, evr_op_read(fds[0], &byte, 1, 0), &seen);
	assert_true(evr_driver_run(loop->d, 0, 0) >= 0);
	while (poll(&p, 1, 0) == 1)
		assert_true(evr_driver_run(loop->d, 0, 0) >= 0);
	assert_int_equal(seen.all, 0);
	assert_int_equal(evr_driver_next_ns(loop->d, &at_ns), 0);
	assert_int_equal(at_ns, EVR_DRIVER_NO_DEADLINE);
	assert_int_equal(write(fds[1], "x", 1), 1);
	while (!seen.terminal) {
		assert_int_equal(poll(&p, 1, 40000), 1);
		assert_true(evr_driver_run(loop->d, 0, 0) >= 0);
	}
	assert_int_equal(seen.res, 1);
	/* A wake of another thread is seen too. */
	evr_driver_run(loop->d, 0, 0);
	while (poll(&p, 1, 0) == 1)
		assert_true(evr_driver_run(loop->d, 0, 0) >= 0);
	assert_int_equal(evr_inject_wake(injector), 0);
	assert_int_equal(poll(&p, 1, 40000), 1);
	while (poll(&p, 1, 0) == 1)
		assert_true(evr_driver_run(loop->d, 0, 0) >= 0);
	loop_submit(loop, evr_op_timer(12345, 0), &timer);
	assert_int_equal(evr_driver_next_ns(loop->d, &at_ns), 0);
	assert_int_equal(at_ns, 12345);
	loop_finish(loop, &timer);
	evr_injector_put(injector);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_MODE_TEST(driver_take_gives_each_once),
		EACH_MODE_TEST(driver_take_full_stops_the_run_and_loses_none),
		EACH_MODE_TEST(driver_take_by_another_thread),
		EACH_MODE_TEST(driver_close_ends_all_that_is_under_way),
		EACH_MODE_TEST(driver_closing_takes_nothing_new),
		cmocka_unit_test(driver_made_and_closed_often_leaves_nothing),
		cmocka_unit_test(driver_out_of_fds_says_so),
		EACH_MODE_TEST(driver_foreign_loop_wakes_for_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
