/* SPDX-License-Identifier: MIT */
/*
 * Interleavings, one preemption each, all of them: while one call is under way,
 * another side's whole call happens before the n-th access to shared memory, for
 * each n. Both are made by this process, the second from within the first.
 *
 * Mutants seen to fail here: no look at the position after the end was seen, no
 * look between needs_arm() and the sleep (lane_push_and_close_*), roles and
 * admissions taken by a store (lane_second_*), the last one admitted not marked
 * by the next (lane_second_creator_*), a claimer or a remover that does not look at the other (lane_removal_*).
 */
#include "die.h"

/* Against a lost wake-up only; also how long the last turn of each sweep takes. */
#define PATIENCE_NS 500000000ULL

static struct evr_peer *peer;
static struct evr_spsc in, out;
static struct evr_waiter waiter;
static struct evr_object object;
static int act_result;

/* From here on: before access n, once. 0: never. */
static void arrange(uint64_t n, void (*fn)(void *arg))
{
	steps_turn = fn;
	steps = 0;
	steps_to_live = n;
}

static bool act_happened(void)
{
	return steps >= steps_to_live;
}

static int open_lane(void **state)
{
	int err = pair_open_sized(state, 64 << 10);

	if (err)
		return err;
	peer = ((struct pair *)*state)->peer;
	steps_to_live = 0;
	return evr_waiter_init(&waiter, peer, EVR_WAIT_SLEEP);
}

static int close_lane(void **state)
{
	arrange(0, NULL);
	evr_waiter_fini(&waiter);
	return pair_close(state);
}

static void make_ring(uint32_t capacity)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options), .capacity = capacity };

	assert_int_equal(evr_spsc_create(peer, "n", &options), 0);
}

static void push_and_close(void *arg)
{
	act_result = (int)evr_spsc_push(&in, &(uint64_t){ 7 }, 1);
	evr_spsc_close(&in);
}

static void lane_push_and_close_at_each_step_arrives_first(void **state)
{
	uint64_t patience = PATIENCE_NS, n, got, until;
	int ret;

	make_ring(4);
	for (n = 1;; n++) {
		assert_true(n < STEPS_MAX);
		assert_int_equal(evr_spsc_open(&in, peer, "n", EVR_PRODUCER, 0), 0);
		assert_int_equal(evr_spsc_open(&out, peer, "n", EVR_CONSUMER, 0), 0);
		got = 0;
		arrange(n, push_and_close);
		until = evr_now_ns() + patience;
		ret = evr_spsc_pop_wait(&out, &waiter, &got, 1, until);
		if (!act_happened() || steps_turn_ns >= until)
			break;
		steps_to_live = 0;
		pair_again_if_late(until, PATIENCE_NS, &patience, &n);
		assert_int_equal(ret, 1);
		assert_true(got == 7);
		assert_int_equal(evr_spsc_pop_wait(&out, &waiter, &got, 1, 0), -EPIPE);
		evr_spsc_close(&out);
	}
	/* It slept before it came so far: nothing was left to be met. */
	assert_true(n > 10);
	evr_spsc_close(&in);
	evr_spsc_close(&out);
}

static void pop_one(void *arg)
{
	uint64_t got;

	act_result = (int)evr_spsc_pop(&out, &got, 1);
}

static void lane_pop_at_each_step_wakes_the_producer(void **state)
{
	uint64_t patience = PATIENCE_NS, n, value = 1, until;
	int ret;

	make_ring(2);
	assert_int_equal(evr_spsc_open(&in, peer, "n", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_open(&out, peer, "n", EVR_CONSUMER, 0), 0);
	for (n = 1;; n++) {
		assert_true(n < STEPS_MAX);
		steps_to_live = 0;
		while (evr_spsc_push(&in, &value, 1))
			;
		arrange(n, pop_one);
		until = evr_now_ns() + patience;
		ret = evr_spsc_push_wait(&in, &waiter, &value, 1, until);
		if (!act_happened() || steps_turn_ns >= until)
			break;
		pair_again_if_late(until, PATIENCE_NS, &patience, &n);
		assert_int_equal(ret, 1);
		assert_int_equal(act_result, 1);
	}
	/* It slept before it came so far: nothing was left to be met. */
	assert_true(n > 10);
	evr_spsc_close(&in);
	evr_spsc_close(&out);
}

static struct evr_spsc second;

static void open_second(void *arg)
{
	act_result = evr_spsc_open(&second, peer, "n", EVR_PRODUCER, 0);
}

static void lane_second_claimer_at_each_step_is_the_only_one(void **state)
{
	uint64_t n;
	int ret;

	make_ring(4);
	for (n = 1;; n++) {
		assert_true(n < STEPS_MAX);
		arrange(n, open_second);
		ret = evr_spsc_open(&in, peer, "n", EVR_PRODUCER, 0);
		if (!act_happened())
			break;
		steps_to_live = 0;
		assert_true((ret == 0 && act_result == -EBUSY) ||
			    (ret == -EBUSY && act_result == 0));
		evr_spsc_close(ret ? &second : &in);
	}
	assert_int_equal(ret, 0);
	evr_spsc_close(&in);
}

static const char *second_name;

static void create_second(void *arg)
{
	act_result = evr_dir_create(peer, second_name, EVR_KIND_USER, 300, &object);
}

static void sweep_creators(const char *name)
{
	struct evr_object first;
	uint64_t n;
	int ret;

	second_name = name;
	for (n = 1;; n++) {
		assert_true(n < STEPS_MAX);
		arrange(n, create_second);
		ret = evr_dir_create(peer, "x", EVR_KIND_USER, 300, &first);
		if (!act_happened())
			break;
		steps_to_live = 0;
		if (strcmp(name, "x")) {
			assert_int_equal(ret, 0);
			assert_int_equal(act_result, 0);
			assert_true(first.off >= object.off + object.sz ||
				    object.off >= first.off + first.sz);
		} else {
			assert_true((ret == 0 && act_result == -EEXIST) ||
				    (ret == -EEXIST && act_result == 0));
		}
		if (!ret)
			assert_int_equal(evr_dir_remove(peer, &first), 0);
		if (!act_result)
			assert_int_equal(evr_dir_remove(peer, &object), 0);
	}
	assert_int_equal(ret, 0);
	assert_int_equal(evr_dir_remove(peer, &first), 0);
}

static void lane_second_creator_of_a_name_is_refused(void **state)
{
	sweep_creators("x");
}

static void lane_second_creator_has_memory_of_its_own(void **state)
{
	sweep_creators("y");
}

static void remove_ring(void *arg)
{
	act_result = evr_dir_remove(peer, &object);
}

static void lane_removal_at_each_step_spares_who_is_in(void **state)
{
	uint64_t n;
	int ret;

	for (n = 1;; n++) {
		assert_true(n < STEPS_MAX);
		if (evr_dir_find(peer, "n", &object)) {
			make_ring(4);
			assert_int_equal(evr_dir_find(peer, "n", &object), 0);
		}
		arrange(n, remove_ring);
		ret = evr_spsc_open(&in, peer, "n", EVR_PRODUCER, 0);
		if (!act_happened())
			break;
		steps_to_live = 0;
		assert_true((ret == 0 && act_result == -EBUSY) ||
			    (ret == -ENOENT && act_result == 0));
		evr_spsc_close(&in);
	}
	assert_int_equal(ret, 0);
	evr_spsc_close(&in);
}

static void lane_claim_at_each_step_of_a_removal_is_safe(void **state)
{
	uint64_t n;
	int ret;

	for (n = 1;; n++) {
		assert_true(n < STEPS_MAX);
		if (evr_dir_find(peer, "n", &object)) {
			make_ring(4);
			assert_int_equal(evr_dir_find(peer, "n", &object), 0);
		}
		arrange(n, open_second);
		ret = evr_dir_remove(peer, &object);
		if (!act_happened())
			break;
		steps_to_live = 0;
		/* Both may give way, but never is a ring gone that is held. */
		assert_true(ret == 0 || ret == -EBUSY);
		assert_true(act_result == 0 || act_result == -ENOENT);
		assert_false(ret == 0 && act_result == 0);
		if (!act_result)
			evr_spsc_close(&second);
	}
	assert_int_equal(ret, 0);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_lane, close_lane)
	const struct CMUnitTest tests[] = {
		CASE(lane_push_and_close_at_each_step_arrives_first),
		CASE(lane_pop_at_each_step_wakes_the_producer),
		CASE(lane_second_claimer_at_each_step_is_the_only_one),
		CASE(lane_second_creator_of_a_name_is_refused),
		CASE(lane_second_creator_has_memory_of_its_own),
		CASE(lane_removal_at_each_step_spares_who_is_in),
		CASE(lane_claim_at_each_step_of_a_removal_is_safe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
