/* SPDX-License-Identifier: MIT */
/*
 * Low-latency rings: limits, positions across 2^32, roles handed on, processes killed
 * before each access, and words scribbled over; once more over two halves.
 *
 * Mutants seen to fail here: a stamp that is written before the message, a producer that
 * goes on at its position and not at the last stamp (slots_producer_killed_*), no flush when
 * idle (slots_consumer_killed_*), stamps left from another object
 * (slots_memory_of_another_*), a size that is not checked (slots_hostile_*).
 */
#include "die.h"

#define CAPACITY 8

static int open_small(void **state)
{
	return pair_open_sized(state, 64 << 10);
}

static int open_isolated(void **state)
{
	return pair_open_isolated(state, 64 << 10, 16);
}

static void make(struct evr_peer *peer, const char *name, uint32_t capacity, uint32_t msg_max)
{
	struct evr_slots_options options = { .struct_sz = sizeof(options),
					     .capacity = capacity,
					     .msg_max = msg_max };

	assert_int_equal(evr_slots_create(peer, name, &options), 0);
}

static void open_both(struct pair *pair, const char *name, struct evr_slots *in,
		      struct evr_slots *out)
{
	assert_int_equal(evr_slots_open(in, pair->peer, name, EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_slots_open(out, pair->peer, name, EVR_CONSUMER, 0), 0);
}

static struct evr_lane_object *memory_of(struct pair *pair, const char *name)
{
	struct evr_object object;

	assert_int_equal(evr_dir_find(pair->peer, name, &object), 0);
	return evr_peer_at(pair->peer, object.off, object.sz);
}

static void slots_options_at_their_limits(void **state)
{
	struct evr_slots_options o = { .struct_sz = sizeof(o), .capacity = 3 };
	struct pair *pair = *state;
	struct evr_slots in;

	assert_int_equal(evr_slots_create(pair->peer, "s", &o), -EINVAL);
	o.capacity = 1;
	o.msg_max = (1U << 20) - 7;
	assert_int_equal(evr_slots_create(pair->peer, "s", &o), -EINVAL);
	o.msg_max = 56;
	assert_int_equal(evr_slots_create(pair->peer, "s", &o), 0);
	assert_int_equal(evr_slots_open(&in, pair->peer, "s", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_slots_msg_max(&in), 56);
	assert_int_equal(evr_slots_capacity(&in), 1);
	evr_slots_close(&in);
	o.msg_max = 57;
	assert_int_equal(evr_slots_create(pair->peer, "t", &o), 0);
	assert_int_equal(evr_slots_open_sized(&in, pair->peer, "t", EVR_PRODUCER, 0, 121), -EINVAL);
	assert_int_equal(evr_slots_open_sized(&in, pair->peer, "t", EVR_PRODUCER, 0, 120), 0);
	evr_slots_close(&in);
}

static void slots_filled_to_capacity_takes_no_more(void **state)
{
	struct pair *pair = *state;
	uint8_t msg[121] = { 1 }, got[121];
	struct evr_slots in, out;
	uint32_t i, sz;

	make(pair->peer, "s", CAPACITY, 120);
	open_both(pair, "s", &in, &out);
	assert_false(evr_slots_push(&in, msg, 121));
	for (i = 0; i < CAPACITY; i++)
		assert_true(evr_slots_push(&in, msg, 120 - i));
	assert_false(evr_slots_push(&in, msg, 0));
	assert_null(evr_slots_reserve(&in));
	assert_int_equal(evr_slots_state(&in), EVR_RING_OK);
	/* Too large for the caller: it stays. */
	assert_false(evr_slots_pop(&out, got, 119, &sz));
	assert_int_equal(sz, 120);
	for (i = 0; i < CAPACITY; i++) {
		memset(got, 0xee, sizeof(got));
		assert_true(evr_slots_pop(&out, got, 120, &sz));
		assert_int_equal(sz, 120 - i);
		assert_memory_equal(got, msg, sz);
		assert_int_equal(got[sz], 0xee);
		/* The producer is told every quarter. */
		assert_int_equal(evr_slots_has_room(&in, i / 2 * 2 + 1), i % 2);
	}
	assert_false(evr_slots_pop(&out, got, 120, &sz));
	assert_int_equal(sz, 0);
	assert_true(evr_slots_has_room(&in, CAPACITY));
	/* A grant that is not committed never was; one commit, one message. */
	assert_non_null(evr_slots_reserve(&in));
	assert_null(evr_slots_peek(&out, &sz));
	assert_false(evr_slots_commit(&in, 121));
	assert_true(evr_slots_commit(&in, 0));
	assert_false(evr_slots_commit(&in, 0));
	assert_non_null(evr_slots_peek(&out, &sz));
	assert_int_equal(sz, 0);
	assert_true(evr_slots_release(&out));
	assert_false(evr_slots_release(&out));
	evr_slots_close(&in);
	evr_slots_close(&out);
}

static void slots_positions_pass_2_32_in_order(void **state)
{
	uint64_t seed = 5, pushed = 0, popped = 0, batch[CAPACITY + 2];
	struct pair *pair = *state;
	struct evr_slots in, out;
	struct evr_lane_object *o;
	uint32_t i, nr;

	make(pair->peer, "s", CAPACITY, 0);
	o = memory_of(pair, "s");
	o->sides[0].pos.v = o->sides[1].pos.v = UINT32_MAX - 500ULL;
	open_both(pair, "s", &in, &out);
	while (popped < 5000) {
		nr = (uint32_t)(pair_random(&seed) % (CAPACITY + 3));
		for (i = 0; i < nr; i++)
			batch[i] = pushed + i;
		pushed += evr_slots_push_batch(&in, batch, 8, nr);
		nr = (uint32_t)(pair_random(&seed) % (CAPACITY + 3));
		nr = evr_slots_pop_batch(&out, batch, 8, nr);
		for (i = 0; i < nr; i++)
			assert_true(batch[i] == popped++);
		assert_true(popped <= pushed && pushed - popped <= CAPACITY);
	}
	assert_true(o->sides[1].pos.v > UINT32_MAX);
	evr_slots_close(&in);
	evr_slots_close(&out);
}

static void slots_memory_of_another_object_is_empty(void **state)
{
	struct pair *pair = *state;
	struct evr_object object;
	struct evr_slots in, out;
	uint32_t sz, i;

	for (i = 0; i < 2; i++) {
		make(pair->peer, "s", CAPACITY, 0);
		open_both(pair, "s", &in, &out);
		assert_null(evr_slots_peek(&out, &sz));
		assert_true(evr_slots_push(&in, "a", 2));
		evr_slots_close(&in);
		evr_slots_close(&out);
		assert_int_equal(evr_dir_find(pair->peer, "s", &object), 0);
		assert_int_equal(evr_dir_remove(pair->peer, &object), 0);
	}
}

struct point {
	double x, y;
};

EVR_SLOTS_DEFINE(points, struct point)
EVR_SLOTS_DEFINE_TAGGED(tens, int64_t, 10)

static void slots_other_type_refused(void **state)
{
	struct point p = { 1, 2 }, q = { 0, 0 };
	struct pair *pair = *state;
	struct points a, b;
	struct evr_spsc spsc;
	struct tens ten;

	assert_int_equal(points_create(pair->peer, "p", 4), 0);
	assert_int_equal(tens_open(&ten, pair->peer, "p", EVR_PRODUCER), -EINVAL);
	assert_int_equal(evr_spsc_open(&spsc, pair->peer, "p", EVR_PRODUCER, 0), -EINVAL);
	assert_int_equal(points_open(&a, pair->peer, "p", EVR_PRODUCER), 0);
	assert_int_equal(points_open(&b, pair->peer, "p", EVR_CONSUMER), 0);
	assert_int_equal(points_push(&a, &p, 1), 1);
	assert_int_equal(points_pop(&b, &q, 1), 1);
	assert_true(q.x == 1 && q.y == 2);
	points_close(&a);
	points_close(&b);
}

#define ROUNDS 20000

static void echo(struct evr_peer *peer, void *arg)
{
	struct evr_slots from, to;
	struct evr_waiter waiter;
	uint64_t value;
	int ret;

	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE));
	CHECK(!evr_slots_open(&from, peer, "forth", EVR_CONSUMER, 0));
	CHECK(!evr_slots_open(&to, peer, "back", EVR_PRODUCER, 0));
	for (;;) {
		ret = TIMELY(evr_slots_pop_wait(&from, &waiter, &value, 8, until_ns));
		if (ret == -EPIPE)
			break;
		CHECK(ret == 8);
		value = ~value;
		CHECK(!TIMELY(evr_slots_push_wait(&to, &waiter, &value, 8, until_ns)));
	}
	evr_slots_close(&to);
	evr_slots_close(&from);
	/* Over two halves what we sent lies in our own. */
	if (from.lane.far)
		CHECK(!evr_bell_wait(peer, PAIR_BELL, pair_deadline(), NULL));
	evr_waiter_fini(&waiter);
}

static void slots_two_processes_echo_in_order(void **state)
{
	uint64_t sent = 0, got = 0, value;
	struct pair *pair = *state;
	struct evr_waiter waiter;
	struct evr_slots in, out;
	struct evr_peer_id other;
	pid_t pid;

	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_ADAPTIVE), 0);
	make(pair->peer, "forth", CAPACITY, 0);
	make(pair->peer, "back", CAPACITY, 0);
	assert_int_equal(evr_slots_open(&in, pair->peer, "forth", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_slots_open(&out, pair->peer, "back", EVR_CONSUMER, 0), 0);
	pid = pair_fork(pair, echo, NULL);
	while (got < ROUNDS) {
		/* One by one, then as many as fit. */
		while (sent < ROUNDS && sent - got < (got < ROUNDS / 2 ? 1 : 2 * CAPACITY) &&
		       evr_slots_push(&in, &sent, 8))
			sent++;
		assert_int_equal(TIMELY(evr_slots_pop_wait(&out, &waiter, &value, 8, until_ns)), 8);
		assert_true(value == ~got++);
	}
	other = evr_slots_other(&out);
	evr_slots_close(&in);
	assert_int_equal(TIMELY(evr_slots_pop_wait(&out, &waiter, &value, 8, until_ns)), -EPIPE);
	if (out.lane.far)
		assert_int_equal(evr_bell_ring(pair->peer, other, PAIR_BELL), 0);
	pair_join(pid);
	evr_slots_close(&out);
	evr_waiter_fini(&waiter);
}

static void push_three(struct evr_peer *peer, void *arg)
{
	uint64_t values[] = { 1, 2, 3 }, *to;
	struct evr_slots in;

	CHECK(!evr_slots_open(&in, peer, "s", EVR_PRODUCER, 0));
	CHECK(evr_slots_push_batch(&in, values, 8, 2) == 2);
	to = evr_slots_reserve(&in);
	CHECK(to);
	*to = 3;
	CHECK(evr_slots_commit(&in, 8));
	evr_slots_close(&in);
}

static void slots_producer_killed_at_each_step_leaves_whole_messages(void **state)
{
	struct pair *pair = *state;
	struct evr_slots in, out;
	bool died = true, seen[4] = { false };
	uint64_t n, count, got;
	uint32_t sz;

	make(pair->peer, "s", 4, 0);
	assert_int_equal(evr_slots_open(&out, pair->peer, "s", EVR_CONSUMER, 0), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		died = die_at(pair, n, push_three, NULL);
		evr_slots_state(&out);
		for (count = 0; evr_slots_pop(&out, &got, 8, &sz); count++)
			assert_true(sz == 8 && got == count + 1);
		assert_true(count <= 3 && (died || count == 3));
		seen[count] = true;
		/* Its successor leaves no gap, nor anything twice. */
		evr_slots_forget(&out);
		assert_int_equal(evr_slots_open(&in, pair->peer, "s", EVR_PRODUCER, 0), 0);
		assert_int_equal(evr_slots_push_batch(&in, (uint64_t[]){ 7, 8, 9, 10 }, 8, 4), 4);
		for (count = 7; count <= 10; count++) {
			assert_true(evr_slots_pop(&out, &got, 8, &sz));
			assert_true(got == count);
		}
		assert_false(evr_slots_pop(&out, &got, 8, &sz));
		evr_slots_close(&in);
		evr_slots_state(&out);
		evr_slots_forget(&out);
	}
	assert_true(seen[0] && seen[1] && seen[2] && seen[3]);
	evr_slots_close(&out);
}

static void pop_two(struct evr_peer *peer, void *arg)
{
	struct evr_slots out;
	uint64_t got;
	uint32_t sz;

	CHECK(!evr_slots_open(&out, peer, "s", EVR_CONSUMER, 0));
	CHECK(evr_slots_pop(&out, &got, 8, &sz) && got == 1);
	CHECK(evr_slots_pop(&out, &got, 8, &sz) && got == 2);
	evr_slots_close(&out);
}

static void slots_consumer_killed_at_each_step_leaves_the_rest(void **state)
{
	struct pair *pair = *state;
	struct evr_slots in, out;
	bool died = true, seen[4] = { false };
	uint64_t n, first, got;
	uint32_t sz;

	make(pair->peer, "s", CAPACITY, 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		assert_int_equal(evr_slots_open(&in, pair->peer, "s", EVR_PRODUCER, 0), 0);
		assert_int_equal(evr_slots_push_batch(&in, (uint64_t[]){ 1, 2, 3 }, 8, 3), 3);
		died = die_at(pair, n, pop_two, NULL);
		assert_int_equal(evr_slots_open(&out, pair->peer, "s", EVR_CONSUMER, 0), 0);
		assert_true(evr_slots_pop(&out, &first, 8, &sz));
		assert_true(first >= 1 && first <= 3);
		seen[first] = true;
		for (got = first; got < 3;) {
			uint64_t next = 0;

			assert_true(evr_slots_pop(&out, &next, 8, &sz));
			assert_true(next == ++got);
		}
		assert_false(evr_slots_pop(&out, &got, 8, &sz));
		assert_true(evr_slots_has_room(&in, CAPACITY));
		evr_slots_close(&in);
		evr_slots_close(&out);
	}
	assert_true(seen[1] && seen[3]);
}

static void stay_stopped(struct evr_peer *peer, void *arg)
{
	struct evr_slots in;

	CHECK(!evr_slots_open(&in, peer, "s", EVR_PRODUCER, 0));
	CHECK(!evr_bell_ring(peer, *(struct evr_peer_id *)arg, 1));
	raise(SIGSTOP);
	for (;;)
		pause();
}

static void slots_stopped_producer_is_alive(void **state)
{
	struct pair *pair = *state;
	struct evr_peer_id self = evr_peer_self(pair->peer);
	struct evr_waiter waiter;
	struct evr_slots out;
	int status, i;
	uint64_t got;
	pid_t pid;

	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	make(pair->peer, "s", 4, 0);
	assert_int_equal(evr_slots_open(&out, pair->peer, "s", EVR_CONSUMER, 0), 0);
	pid = pair_fork(pair, stay_stopped, &self);
	assert_int_equal(evr_bell_wait(pair->peer, 1, pair_deadline(), NULL), 0);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	for (i = 0; i < 3; i++)
		assert_int_equal(evr_slots_pop_wait(&out, &waiter, &got, 8,
						    evr_now_ns() + 60000000),
				 -ETIMEDOUT);
	assert_int_equal(evr_slots_state(&out), EVR_RING_OK);
	pair_kill(pid);
	assert_int_equal(TIMELY(evr_slots_pop_wait(&out, &waiter, &got, 8, until_ns)), -EOWNERDEAD);
	evr_slots_close(&out);
	evr_waiter_fini(&waiter);
}

static const uint64_t nonsense[] = { 0,		 1,	     7,		 CAPACITY + 1,
				     1ULL << 31, 1ULL << 32, 1ULL << 63, UINT64_MAX - 1,
				     UINT64_MAX };
#define NONSENSE_NR (sizeof(nonsense) / sizeof(nonsense[0]))

static void slots_hostile_words_do_no_harm(void **state)
{
	struct pair *pair = *state;
	struct evr_lane_object *o, *good;
	uint64_t *words, i, k, total;
	struct evr_object object, fence;
	struct evr_waiter waiter;
	struct evr_slots end;
	uint8_t got[56], *guard;
	int role;

	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	make(pair->peer, "s", CAPACITY, 0);
	assert_int_equal(evr_dir_find(pair->peer, "s", &object), 0);
	assert_int_equal(evr_dir_create(pair->peer, "guard", EVR_KIND_USER, 4096, &fence), 0);
	guard = evr_peer_at(pair->peer, fence.off, fence.sz);
	memset(guard, 0x5a, fence.sz);
	o = memory_of(pair, "s");
	words = (uint64_t *)o;
	total = object.sz / 8;
	good = malloc(object.sz);
	assert_non_null(good);
	for (role = 0; role < 2; role++) {
		for (k = 0; k < total * NONSENSE_NR; k++) {
			memcpy(good, o, object.sz);
			if (evr_slots_open(&end, pair->peer, "s", role, 0))
				fail();
			words[k / NONSENSE_NR] = nonsense[k % NONSENSE_NR];
			if (role == EVR_PRODUCER)
				evr_slots_push_wait(&end, &waiter, got, 56, 1);
			else
				evr_slots_pop_wait(&end, &waiter, got, 56, 1);
			evr_slots_state(&end);
			evr_slots_close(&end);
			memcpy(o, good, object.sz);
		}
	}
	/* A size beyond the slot: corrupt, not copied. */
	assert_int_equal(evr_slots_open(&end, pair->peer, "s", EVR_CONSUMER, 0), 0);
	evr_slots_stamp(&end, end.lane.pos)->v = evr_slots_stamp_of(end.lane.pos, 57);
	assert_int_equal(evr_slots_pop_wait(&end, &waiter, got, 56, 0), -EBADMSG);
	assert_int_equal(evr_slots_state(&end), EVR_RING_CORRUPT);
	evr_slots_close(&end);
	for (i = 0; i < fence.sz; i++)
		assert_int_equal(guard[i], 0x5a);
	free(good);
	evr_waiter_fini(&waiter);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_small, pair_close)
#define FAR(fn)                                                             \
	{                                                                   \
#fn "_over_two_halves", fn, open_isolated, pair_close, NULL \
	}
	const struct CMUnitTest tests[] = {
		CASE(slots_options_at_their_limits),
		CASE(slots_filled_to_capacity_takes_no_more),
		CASE(slots_positions_pass_2_32_in_order),
		CASE(slots_memory_of_another_object_is_empty),
		CASE(slots_other_type_refused),
		CASE(slots_two_processes_echo_in_order),
		CASE(slots_producer_killed_at_each_step_leaves_whole_messages),
		CASE(slots_consumer_killed_at_each_step_leaves_the_rest),
		CASE(slots_stopped_producer_is_alive),
		CASE(slots_hostile_words_do_no_harm),
		FAR(slots_filled_to_capacity_takes_no_more),
		FAR(slots_other_type_refused),
		FAR(slots_two_processes_echo_in_order),
		FAR(slots_stopped_producer_is_alive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
