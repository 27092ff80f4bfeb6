/* SPDX-License-Identifier: MIT */
/*
 * Timers, deadlines of ops, and chains. No case depends on how late a timer is.
 *
 * Mutants seen to fail here: members of a chain that are not linked; a chain that is begun without
 * room for all; a timer that is early, that never comes to its new time, whose period wraps around;
 * deadlines that say ECANCELED; a run that sleeps past its own.
 */
#include "loop.h"

#define MS 1000000ULL

static void timer_fires_once_and_not_early(void **state)
{
	struct loop *loop = *state;
	uint64_t at = evr_now_ns() + 20 * MS;
	struct seen seen;

	loop_submit(loop, evr_op_timer(at, 0), &seen);
	assert_int_equal(loop_finish(loop, &seen), 0);
	assert_true(evr_now_ns() >= at);
	assert_int_equal(seen.value, 1);
	/* One of the past fires too. */
	loop_submit(loop, evr_op_timer(0, 0), &seen);
	assert_int_equal(loop_finish(loop, &seen), 0);
}

static struct {
	int nr;
	uint64_t last;
} fired;

static void in_order(struct evr_driver *d, const struct evr_completion *done)
{
	uint64_t at = (uintptr_t)done->arg;

	CHECK(at >= fired.last);
	fired.last = at;
	fired.nr++;
}

static void timer_many_fire_by_their_time(void **state)
{
	struct loop *loop = *state;
	uint64_t base = evr_now_ns(), seed = 7, ids[2000];
	struct evr_op op;
	int i, cancelled = 0;

	memset(&fired, 0, sizeof(fired));
	for (i = 0; i < 2000; i++) {
		uint64_t at = base + pair_random(&seed) % (20 * MS);

		op = evr_op_then(evr_op_timer(at, 0), in_order, (void *)(uintptr_t)at);
		assert_int_equal(evr_driver_submit(loop->d, &op, &ids[i]), 0);
	}
	/* Out of the middle of the heap, whatever its order then. */
	pair_sleep_us(25000);
	for (i = 0; i < 2000; i += 3)
		cancelled += evr_driver_abandon(loop->d, ids[i]) == 0;
	assert_int_equal(cancelled, 667);
	LOOP_UNTIL(loop, fired.nr == 2000 - cancelled);
	loop_rounds(loop, 2);
	assert_int_equal(fired.nr, 2000 - cancelled);
}

static void timer_periodic_counts_what_it_missed(void **state)
{
	struct loop *loop = *state;
	uint64_t start = evr_now_ns(), id, total = 0;
	struct seen seen;

	id = loop_submit(loop, evr_op_timer(start + MS, MS), &seen);
	LOOP_UNTIL(loop, seen.all == 3);
	assert_true(seen.last_flags & EVR_DONE_MORE);
	assert_true(evr_now_ns() >= start + 3 * MS);
	/* Nobody runs for some periods: one completion for all of them. */
	seen.value = 0;
	pair_sleep_us(10000);
	evr_driver_run(loop->d, 0, 0);
	total = seen.value;
	assert_int_equal(seen.all, 4);
	assert_true(total >= 6);
	assert_int_equal(evr_driver_cancel(loop->d, id), 0);
	assert_int_equal(loop_finish(loop, &seen), -ECANCELED);
}

static void timer_updated_fires_at_its_new_time(void **state)
{
	struct loop *loop = *state;
	struct seen seen, other;
	uint64_t id, at, nop;

	id = loop_submit(loop, evr_op_timer(UINT64_MAX - 1, 0), &seen);
	nop = loop_submit(loop, evr_op_nop(), &other);
	assert_int_equal(evr_driver_update_timer(loop->d, nop, 1, 0), -ENOENT);
	loop_finish(loop, &other);
	at = evr_now_ns() + 5 * MS;
	assert_int_equal(evr_driver_update_timer(loop->d, id, at, MS), 0);
	LOOP_UNTIL(loop, seen.all == 2);
	assert_true(evr_now_ns() >= at + MS);
	assert_int_equal(evr_driver_update_timer(loop->d, id, 0, 0), 0);
	assert_int_equal(loop_finish(loop, &seen), 0);
	assert_int_equal(seen.all, 3);
	assert_int_equal(evr_driver_update_timer(loop->d, id, 1, 0), -ENOENT);
}

/* After one period there is no more time: it does not begin again in the past. */
static void timer_period_past_the_end_of_time_never_comes(void **state)
{
	struct loop *loop = *state;
	struct seen seen;
	uint64_t id;

	id = loop_submit(loop, evr_op_timer(evr_now_ns(), UINT64_MAX - 1), &seen);
	LOOP_UNTIL(loop, seen.all);
	loop_rounds(loop, 3);
	assert_int_equal(seen.all, 1);
	assert_int_equal(evr_driver_cancel(loop->d, id), 0);
	assert_int_equal(loop_finish(loop, &seen), -ECANCELED);
}

static void timer_with_a_deadline_refused(void **state)
{
	struct loop *loop = *state;
	struct evr_op op = evr_op_until(evr_op_timer(1, 0), 1);

	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EINVAL);
}

static void run_ends_at_its_deadline(void **state)
{
	struct loop *loop = *state;
	struct seen seen;
	uint64_t until, id;

	id = loop_submit(loop, evr_op_timer(UINT64_MAX - 1, 0), &seen);
	assert_int_equal(evr_driver_run(loop->d, 1, 0), 0);
	assert_int_equal(evr_driver_run(loop->d, 1, 1), 0);
	until = evr_now_ns() + 10 * MS;
	assert_int_equal(evr_driver_run(loop->d, 1, until), 0);
	assert_true(evr_now_ns() >= until);
	evr_driver_cancel(loop->d, id);
	loop_finish(loop, &seen);
}

static void deadline_ends_an_op_that_waits(void **state)
{
	struct loop *loop = *state;
	uint64_t until = evr_now_ns() + 10 * MS;
	struct seen seen, in_time;
	char byte = 0;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	loop_submit(loop, evr_op_until(evr_op_read(fds[0], &byte, 1, 0), until), &seen);
	assert_int_equal(loop_finish(loop, &seen), -ETIME);
	assert_true(evr_now_ns() >= until);
	assert_true(seen.flags & EVR_DONE_CANCELED);
	/* The op first: its result, and no timer left (loop_close() looks). */
	loop_submit(loop, evr_op_until(evr_op_read(fds[0], &byte, 1, 0), UINT64_MAX - 1), &in_time);
	loop_rounds(loop, 1);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(loop_finish(loop, &in_time), 1);
	assert_false(in_time.flags & EVR_DONE_CANCELED);
	/* A past one, before it began. */
	loop_submit(loop, evr_op_until(evr_op_read(fds[0], &byte, 1, 0), 1), &seen);
	assert_int_equal(loop_finish(loop, &seen), -ETIME);
	close(fds[0]);
	close(fds[1]);
}

/* --- chains --- */

static int order[64], order_nr;

static void note(struct evr_driver *d, const struct evr_completion *done)
{
	order[order_nr++] = done->res;
}

static void chain_of(struct loop *loop, struct evr_op *ops, uint32_t nr)
{
	uint64_t ids[8] = { 0 };
	uint32_t i;

	order_nr = 0;
	for (i = 0; i < nr; i++)
		ops[i].fn = note;
	if (evr_driver_submit_chain(loop->d, ops, nr, ids))
		fail_msg("chain: %s", evr_error_detail());
	for (i = 0; i < nr; i++)
		assert_true(ids[i] != 0);
}

static void chain_runs_in_order(void **state)
{
	struct loop *loop = *state;
	char in[4] = { 0 };
	int fds[2];
	struct evr_op ops[4];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	/* The read waits; what follows must not overtake it. */
	ops[0] = evr_op_read(fds[0], in, 3, 0);
	ops[1] = evr_op_nop();
	ops[2] = evr_op_write(fds[1], "end", 3, 0);
	ops[3] = evr_op_nop();
	chain_of(loop, ops, 4);
	loop_rounds(loop, 3);
	assert_int_equal(order_nr, 0);
	assert_int_equal(write(fds[1], "abc", 3), 3);
	LOOP_UNTIL(loop, order_nr == 4);
	assert_int_equal(order[0], 3);
	assert_int_equal(order[2], 3);
	assert_int_equal(read(fds[0], in, 4), 3);
	assert_memory_equal(in, "end", 3);
	close(fds[0]);
	close(fds[1]);
}

static void chain_broken_ends_the_rest(void **state)
{
	struct loop *loop = *state;
	char in[8];
	int fds[2];
	struct evr_op ops[3];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	/* By an error. */
	ops[0] = evr_op_read(1 << 20, in, 3, 0);
	ops[1] = evr_op_nop();
	ops[2] = evr_op_nop();
	chain_of(loop, ops, 3);
	LOOP_UNTIL(loop, order_nr == 3);
	assert_int_equal(order[0], -EBADF);
	assert_int_equal(order[1], -ECANCELED);
	assert_int_equal(order[2], -ECANCELED);
	/* By less than was asked for. */
	ops[0] = evr_op_read(fds[0], in, 8, 0);
	ops[1] = evr_op_nop();
	chain_of(loop, ops, 2);
	assert_int_equal(write(fds[1], "abc", 3), 3);
	LOOP_UNTIL(loop, order_nr == 2);
	assert_int_equal(order[0], 3);
	assert_int_equal(order[1], -ECANCELED);
	close(fds[0]);
	close(fds[1]);
}

static void chain_cancelled_ends_the_rest(void **state)
{
	struct loop *loop = *state;
	struct evr_op ops[3];
	uint64_t ids[3];
	char in[8];
	int fds[2], i;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	order_nr = 0;
	ops[0] = evr_op_then(evr_op_read(fds[0], in, 3, 0), note, NULL);
	ops[1] = ops[2] = evr_op_then(evr_op_nop(), note, NULL);
	assert_int_equal(evr_driver_submit_chain(loop->d, ops, 3, ids), 0);
	loop_rounds(loop, 1);
	assert_int_equal(evr_driver_cancel(loop->d, ids[0]), 0);
	LOOP_UNTIL(loop, order_nr == 3);
	for (i = 0; i < 3; i++)
		assert_int_equal(order[i], -ECANCELED);
	close(fds[0]);
	close(fds[1]);
}

static void chain_goes_as_a_whole_or_not_at_all(void **state)
{
	struct evr_driver_options options = {
		.struct_sz = sizeof(options), .entries = 4, .completions = 8, .backlog_max = 2
	};
	struct evr_op nop = evr_op_then(evr_op_nop(), note, NULL), ops[5];
	struct evr_driver_stats stats;
	struct loop *loop;
	void *own = NULL;
	int i, sent;

	for (i = 0; i < 5; i++)
		ops[i] = nop;
	assert_int_equal(loop_open_with(&own, &options), 0);
	loop = own;
	order_nr = 0;
	assert_int_equal(evr_driver_submit_chain(loop->d, ops, 0, NULL), -EINVAL);
	assert_int_equal(evr_driver_submit_chain(loop->d, ops, 5, NULL), -EINVAL);
	ops[1] = evr_op_timer(1, 0);
	assert_int_equal(evr_driver_submit_chain(loop->d, ops, 2, NULL), -EINVAL);
	ops[1] = nop;
	/* At every fill of the ring. */
	for (sent = 0; sent < 3; sent++) {
		for (i = 0; i < sent; i++)
			assert_int_equal(evr_driver_submit(loop->d, &nop, NULL), 0);
		assert_int_equal(evr_driver_submit_chain(loop->d, ops, 3, NULL), 0);
		order_nr = 0;
		LOOP_UNTIL(loop, order_nr == sent + 3);
	}
	/* No room: refused, and nothing of it is left. */
	while (!evr_driver_submit(loop->d, &nop, NULL))
		sent++;
	evr_driver_stats(loop->d, &stats);
	sent = (int)stats.slots_used;
	assert_int_equal(evr_driver_submit_chain(loop->d, ops, 3, NULL), -EAGAIN);
	evr_driver_stats(loop->d, &stats);
	assert_int_equal(stats.slots_used, sent);
	while (stats.slots_used) {
		order_nr = 0;
		evr_driver_run(loop->d, 1, pair_deadline());
		evr_driver_stats(loop->d, &stats);
	}
	assert_int_equal(loop_close(&own), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_MODE_TEST(timer_fires_once_and_not_early),
		EACH_MODE_TEST(timer_many_fire_by_their_time),
		EACH_MODE_TEST(timer_periodic_counts_what_it_missed),
		EACH_MODE_TEST(timer_updated_fires_at_its_new_time),
		EACH_MODE_TEST(timer_period_past_the_end_of_time_never_comes),
		EACH_MODE_TEST(timer_with_a_deadline_refused),
		EACH_MODE_TEST(run_ends_at_its_deadline),
		EACH_MODE_TEST(deadline_ends_an_op_that_waits),
		EACH_MODE_TEST(chain_runs_in_order),
		EACH_MODE_TEST(chain_broken_ends_the_rest),
		EACH_MODE_TEST(chain_cancelled_ends_the_rest),
		cmocka_unit_test(chain_goes_as_a_whole_or_not_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
