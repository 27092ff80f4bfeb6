/* SPDX-License-Identifier: MIT */
/*
 * Lanes of two halves, in both sweeps: SIGKILL before each access, and the other side's
 * whole call before each access.
 *
 * Mutant seen to fail here: no look for the consumer at a publication
 * (far_producer_that_comes_*, hangs).
 */
#include "far_lanes.h"

/* What happens before the n-th access from here. */
static void arrange(uint64_t n, void (*fn)(void *arg))
{
	steps_turn = fn;
	steps = 0;
	steps_to_live = n;
}

static void come_and_push(void *arg)
{
	steps_to_live = 0;
	assert_int_equal(evr_spsc_open(&in, a, "r", EVR_PRODUCER, 0), 0);
	push(&in, 7);
}

static void far_producer_that_comes_at_each_step_is_met(void **state)
{
	uint64_t patience = PATIENCE_NS, n, got, until;
	int ret;

	make(a, "r");
	for (n = 1;; n++) {
		assert_true(n < STEPS_MAX);
		got = 0;
		arrange(n, come_and_push);
		until = evr_now_ns() + patience;
		assert_int_equal(evr_spsc_open(&out, b, "r", EVR_CONSUMER, 0), 0);
		ret = evr_spsc_pop_wait(&out, &wb, &got, 1, until);
		if (steps_to_live || steps_turn_ns >= until)
			break;
		pair_again_if_late(until, PATIENCE_NS, &patience, &n);
		assert_int_equal(ret, 1);
		assert_true(got == 7);
		evr_spsc_close(&in);
		assert_int_equal(evr_spsc_pop_wait(&out, &wb, &got, 1, 0), -EPIPE);
		evr_spsc_close(&out);
	}
	assert_true(n > 20);
	evr_spsc_close(&out);
}

static void come_and_pop(void *arg)
{
	steps_to_live = 0;
	assert_int_equal(evr_spsc_open(&out, b, "r", EVR_CONSUMER, 0), 0);
	pop(&out, 1);
	pop(&out, 2);
}

static void far_consumer_that_comes_at_each_step_makes_room(void **state)
{
	uint64_t patience = PATIENCE_NS, n, i, value = 9, until;
	int ret;

	make(b, "r");
	for (n = 1;; n++) {
		assert_true(n < STEPS_MAX);
		assert_int_equal(evr_spsc_open(&in, a, "r", EVR_PRODUCER, 0), 0);
		for (i = 1; i <= CAPACITY; i++)
			push(&in, i);
		arrange(n, come_and_pop);
		until = evr_now_ns() + patience;
		ret = evr_spsc_push_wait(&in, &wa, &value, 1, until);
		if (steps_to_live || steps_turn_ns >= until)
			break;
		pair_again_if_late(until, PATIENCE_NS, &patience, &n);
		assert_int_equal(ret, 1);
		for (i = 3; i <= CAPACITY; i++)
			pop(&out, i);
		pop(&out, 9);
		assert_true(is_empty(&out));
		evr_spsc_close(&out);
		evr_spsc_close(&in);
	}
	assert_true(n > 20);
	evr_spsc_close(&in);
	if (!steps_to_live)
		evr_spsc_close(&out);
}

static void push_three(struct evr_peer *peer, void *arg)
{
	uint64_t values[] = { 1, 2, 3 };
	struct evr_spsc ring;

	CHECK(!evr_spsc_open(&ring, peer, "r", EVR_PRODUCER, 0));
	CHECK(evr_spsc_push(&ring, values, 2) == 2);
	CHECK(evr_spsc_push(&ring, values + 2, 1) == 1);
	evr_spsc_close(&ring);
}

static void leave_b(void)
{
	evr_waiter_fini(&wb);
	evr_peer_detach(b);
	b = NULL;
	pair_settle_dead(a);
}

/* What was published is read out of the memory that the dead has left. */
static void far_producer_killed_at_each_step_delivers_what_it_published(void **state)
{
	bool died = true, seen[4] = { false };
	enum evr_ring_state end;
	uint64_t n, value, got;

	leave_b();
	make(a, "r");
	assert_int_equal(evr_spsc_open(&out, a, "r", EVR_CONSUMER, 0), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		died = die_among(pair, n, push_three, NULL);
		pair_settle_dead(a);
		end = evr_spsc_state(&out);
		for (value = 0, got = 0; evr_spsc_pop(&out, &got, 1); value++)
			assert_true(got == value + 1);
		assert_true(value == 0 || value == 2 || value == 3);
		seen[value] = true;
		assert_true(end == EVR_RING_NO_PEER || end == EVR_RING_PEER_DEAD ||
			    end == EVR_RING_CLOSED);
		evr_spsc_forget(&out);
	}
	assert_true(seen[0] && seen[2] && seen[3]);
	evr_spsc_close(&out);
}

static void pop_two(struct evr_peer *peer, void *arg)
{
	struct evr_spsc ring;
	uint64_t value = 0;

	CHECK(!evr_spsc_open(&ring, peer, "r", EVR_CONSUMER, 0));
	CHECK(evr_spsc_pop(&ring, &value, 1) == 1 && value == 1);
	CHECK(evr_spsc_pop(&ring, &value, 1) == 1 && value == 2);
	evr_spsc_close(&ring);
}

/* What the dead has released is gone, or delivered again; nothing is lost, nor out of order. */
static void far_consumer_killed_at_each_step_leaves_the_rest(void **state)
{
	uint64_t n, got, first;
	bool died = true;

	make(a, "r");
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		assert_int_equal(evr_spsc_open(&in, a, "r", EVR_PRODUCER, 0), 0);
		for (got = 1; got <= 3; got++)
			push(&in, got);
		died = die_among(pair, n, pop_two, NULL);
		pair_settle_dead(a);
		evr_spsc_state(&in);
		evr_spsc_forget(&in);
		assert_int_equal(evr_spsc_open(&out, b, "r", EVR_CONSUMER, 0), 0);
		assert_int_equal(evr_spsc_pop(&out, &first, 1), 1);
		assert_true(first >= 1 && first <= 3);
		for (got = first + 1; got <= 3; got++)
			pop(&out, got);
		assert_true(is_empty(&out));
		push(&in, 4);
		pop(&out, 4);
		assert_int_equal(evr_spsc_avail(&in), CAPACITY);
		evr_spsc_close(&in);
		evr_spsc_close(&out);
	}
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_isolated, close_isolated)
	const struct CMUnitTest tests[] = {
		CASE(far_producer_that_comes_at_each_step_is_met),
		CASE(far_consumer_that_comes_at_each_step_makes_room),
		CASE(far_producer_killed_at_each_step_delivers_what_it_published),
		CASE(far_consumer_killed_at_each_step_leaves_the_rest),
	};

	return cmocka_run_group_tests_name("lane_far_steps", tests, NULL, NULL);
}
