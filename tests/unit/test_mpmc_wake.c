/* SPDX-License-Identifier: MIT */
/*
 * Queues of many, and those who sleep on them: each publication wakes one, and whoever is
 * killed before an access of its own, the waiter or the waker, leaves no seat taken and
 * nobody asleep beside an element.
 */
#include "queues.h"

/* For the seats of a crowd. */
#include "backend.h"
#include "crowd.c"
#include "mpmc.h"

static void wait_in_vain(struct evr_peer *peer, void *arg)
{
	struct evr_waiter waiter;
	struct evr_mpmc queue;
	uint64_t got;

	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_SLEEP));
	CHECK(!evr_mpmc_open(&queue, peer, "q", 0));
	CHECK(evr_mpmc_pop_wait(&queue, &waiter, &got, 1, evr_now_ns() + 1000000) == -ETIMEDOUT);
	evr_mpmc_close(&queue);
	evr_waiter_fini(&waiter);
}

static void mpmc_waiter_killed_at_each_step_leaves_no_seat(void **state)
{
	struct pair *pair = *state;
	struct evr_mpmc_counts c;
	struct evr_mpmc queue;
	uint64_t n, value = 1, got;
	bool died = true;

	make_queue(pair, 8);
	assert_int_equal(evr_mpmc_open(&queue, pair->peer, "q", 0), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		died = die_at(pair, n, wait_in_vain, NULL);
		assert_true(crowd_is_empty(queue.ends[EVR_CONSUMER].waiting));
		assert_int_equal(evr_mpmc_push(&queue, &value, 1), 1);
		assert_int_equal(evr_mpmc_pop(&queue, &got, 1), 1);
	}
	evr_mpmc_counts(&queue, &c);
	assert_true(c.rings[EVR_PRODUCER] == 0 && c.parks[EVR_CONSUMER] > 0);
	evr_mpmc_close(&queue);
}

/* Sleeps for elements until it is killed; counts what it got. */
static void serve(struct evr_peer *peer, void *arg)
{
	volatile uint64_t *count = arg;
	struct evr_waiter waiter;
	struct evr_mpmc queue;
	uint64_t got;

	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_SLEEP));
	CHECK(!evr_mpmc_open(&queue, peer, "q", 0));
	for (;;) {
		CHECK(evr_mpmc_pop_wait(&queue, &waiter, &got, 1, EVR_NO_DEADLINE) == 1);
		++*count;
	}
}

static uint64_t served(uint32_t nr)
{
	uint64_t sum = 0;
	uint32_t i;

	for (i = 0; i < nr; i++)
		sum += record->counts[i];
	return sum;
}

static void wait_until_seated(struct evr_mpmc *queue, uint32_t nr)
{
	struct evr_crowd *crowd = queue->ends[EVR_CONSUMER].waiting;
	struct evr_peer_id id;
	uint32_t slot, seated;

	do {
		pair_sleep_us(200);
		for (slot = 0, seated = 0; slot < 16; slot++)
			seated += !!seats_taken(queue->peer, crowd, slot, &id);
	} while (seated != nr);
}

static void push_two(struct evr_peer *peer, void *arg)
{
	uint64_t value = 1;
	struct evr_mpmc queue;

	CHECK(!evr_mpmc_open(&queue, peer, "q", 0));
	CHECK(evr_mpmc_push(&queue, &value, 1) == 1);
	CHECK(evr_mpmc_push(&queue, &value, 1) == 1);
	evr_mpmc_close(&queue);
}

/* Whatever was published is served, though its publisher may have died before it rang. */
static void mpmc_waker_killed_at_each_step_wakes_all_the_same(void **state)
{
	struct pair *pair = *state;
	struct evr_mpmc_counts c;
	struct evr_mpmc queue;
	bool died = true;
	uint64_t n, until;
	pid_t pids[2];
	int i;

	make_queue(pair, 8);
	assert_int_equal(evr_mpmc_open(&queue, pair->peer, "q", 0), 0);
	for (i = 0; i < 2; i++)
		pids[i] = pair_fork(pair, serve, (void *)&record->counts[i]);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		wait_until_seated(&queue, 2);
		died = die_among(pair, n, push_two, NULL);
		for (until = pair_deadline();; pair_sleep_us(200)) {
			evr_peer_check(pair->peer);
			evr_reap_dead(pair->peer, NULL);
			evr_mpmc_counts(&queue, &c);
			if (c.in == c.out && served(2) == c.in - c.holes)
				break;
			assert_true(evr_now_ns() < until);
		}
		assert_true(c.lost == 0);
	}
	assert_true(served(2) > 2);
	for (i = 0; i < 2; i++)
		pair_kill(pids[i]);
	pair_settle(pair);
	evr_mpmc_close(&queue);
}

/* One publication, one sleeper. */
static void mpmc_each_publication_wakes_one(void **state)
{
	struct pair *pair = *state;
	struct evr_mpmc_counts c;
	struct evr_mpmc queue;
	uint64_t n, value = 1;
	pid_t pids[4];
	int i;

	make_queue(pair, 8);
	assert_int_equal(evr_mpmc_open(&queue, pair->peer, "q", 0), 0);
	for (i = 0; i < 4; i++)
		pids[i] = pair_fork(pair, serve, (void *)&record->counts[i]);
	for (n = 1; n <= 100; n++) {
		wait_until_seated(&queue, 4);
		assert_int_equal(evr_mpmc_push(&queue, &value, 1), 1);
		while (served(4) != n)
			pair_sleep_us(200);
	}
	wait_until_seated(&queue, 4);
	evr_mpmc_counts(&queue, &c);
	assert_true(c.rings[EVR_PRODUCER] == 100);
	/* In turn, so that none of them starves. */
	for (i = 0; i < 4; i++)
		assert_true(record->counts[i] >= 20);
	for (i = 0; i < 4; i++)
		pair_kill(pids[i]);
	pair_settle(pair);
	evr_mpmc_close(&queue);
}

/* It was rung, and dies before it takes: the other one serves. */
static void mpmc_waiter_that_dies_when_rung_is_replaced(void **state)
{
	struct pair *pair = *state;
	struct evr_mpmc queue;
	uint64_t n, value = 1;
	int status = -1;
	pid_t pids[2];

	make_queue(pair, 8);
	assert_int_equal(evr_mpmc_open(&queue, pair->peer, "q", 0), 0);
	pids[1] = pair_fork(pair, serve, (void *)&record->counts[1]);
	for (n = 1; n <= 10; n++) {
		pids[0] = pair_fork(pair, serve, (void *)&record->counts[0]);
		wait_until_seated(&queue, 2);
		kill(pids[0], SIGSTOP);
		assert_int_equal(waitpid(pids[0], &status, WUNTRACED), pids[0]);
		/* Two, and each of them is rung for one. */
		assert_int_equal(evr_mpmc_push(&queue, &value, 1), 1);
		assert_int_equal(evr_mpmc_push(&queue, &value, 1), 1);
		pair_kill(pids[0]);
		while (served(2) != 2 * n) {
			evr_peer_check(pair->peer);
			evr_reap_dead(pair->peer, NULL);
			pair_sleep_us(200);
		}
	}
	assert_true(record->counts[0] == 0);
	pair_kill(pids[1]);
	pair_settle(pair);
	evr_mpmc_close(&queue);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_record, close_record)
	const struct CMUnitTest tests[] = {
		CASE(mpmc_waiter_killed_at_each_step_leaves_no_seat),
		CASE(mpmc_waker_killed_at_each_step_wakes_all_the_same),
		CASE(mpmc_each_publication_wakes_one),
		CASE(mpmc_waiter_that_dies_when_rung_is_replaced),
	};

	return cmocka_run_group_tests_name("mpmc_wake", tests, NULL, NULL);
}
