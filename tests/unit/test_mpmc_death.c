/* SPDX-License-Identifier: MIT */
/*
 * Queues of many, and death: a real process is killed before its n-th access to shared
 * memory, for each n, while it pushes, pops, settles the claims of others. Then the counts
 * must add up, exactly, and the queue must go on. Who sleeps: test_mpmc_wake.c.
 *
 * Mutants seen to fail here: of a dead peer's run only the first cell is settled
 * (mpmc_producer_*, mpmc_consumer_*), eight bits of the lap in the ledger
 * (mpmc_settler_that_comes_late_*), a claim is not looked at again when its owner is seen
 * dead (mpmc_claim_ended_*).
 */
#include "queues.h"

#include "backend.h"
#include "mpmc.h"

static void push_five(struct evr_peer *peer, void *arg)
{
	uint64_t values[4] = { 1, 2, 3, 4 }, *to;
	struct evr_mpmc queue;

	CHECK(!evr_mpmc_open(&queue, peer, "q", 0));
	CHECK(evr_mpmc_push(&queue, values, 1) == 1);
	CHECK(evr_mpmc_push(&queue, values + 1, 3) == 3);
	to = evr_mpmc_reserve(&queue);
	CHECK(to);
	*to = 5;
	evr_mpmc_commit(&queue);
	CHECK(evr_mpmc_reserve(&queue));
	evr_mpmc_cancel(&queue);
	evr_mpmc_close(&queue);
}

/* One handle is stopped between two accesses, while another one pushes and pops. */
struct turn {
	struct evr_mpmc *other;
	uint64_t sum, nr; /* of what it took */
	bool pushes;
};

static void take_turn(void *arg)
{
	uint64_t values[2] = { 100, 1000 }, got[2];
	struct turn *turn = arg;
	uint32_t i, nr;

	if (turn->pushes)
		assert_int_equal(evr_mpmc_push(turn->other, values, 2), 2);
	nr = evr_mpmc_pop(turn->other, got, 2);
	turn->nr += nr;
	for (i = 0; i < nr; i++)
		turn->sum += got[i];
}

static void mpmc_another_in_between_at_each_step(void **state)
{
	uint64_t values[3] = { 1, 2, 3 }, got[CAPACITY], n, sum, nr, i;
	struct pair *pair = *state;
	struct evr_mpmc queue, other;
	static struct turn turn;
	uint32_t mode;

	make_queue(pair, 8);
	assert_int_equal(evr_mpmc_open(&queue, pair->peer, "q", 0), 0);
	assert_int_equal(evr_mpmc_open(&other, pair->peer, "q", 0), 0);
	turn.other = &other;
	steps_turn = take_turn;
	steps_arg = &turn;
	for (mode = 0; mode < 4; mode++) {
		turn.pushes = mode & 1;
		steps_to_live = 0;
		for (n = 1; n == 1 || steps >= n - 1; n++) {
			turn.nr = turn.sum = 0;
			if (mode & 2)
				assert_int_equal(evr_mpmc_push(&queue, values, 3), 3);
			steps = 0;
			steps_to_live = n;
			if (!(mode & 2))
				assert_int_equal(evr_mpmc_push(&queue, values, 3), 3);
			nr = evr_mpmc_pop(&queue, got, 3);
			steps_to_live = 0;
			nr += evr_mpmc_pop(&queue, got + nr, CAPACITY - (uint32_t)nr);
			for (i = 0, sum = turn.sum; i < nr; i++)
				sum += got[i];
			assert_int_equal(evr_mpmc_pop(&queue, got, 1), 0);
			nr += turn.nr;
			if (nr == 3)
				assert_true(sum == 6);
			else
				assert_true(nr == 5 && turn.pushes && sum == 1106);
		}
		printf("# stopped before each of %llu accesses\n", (unsigned long long)n - 2);
	}
	steps_turn = NULL;
	evr_mpmc_close(&queue);
	evr_mpmc_close(&other);
}

static void mpmc_producer_killed_at_each_step_leaves_no_gap(void **state)
{
	bool died = true, seen[6] = { false };
	struct pair *pair = *state;
	struct evr_mpmc queue;
	uint64_t n, nr, got, taken = 0;

	make_queue(pair, 8);
	assert_int_equal(evr_mpmc_open(&queue, pair->peer, "q", 0), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		died = die_at(pair, n, push_five, NULL);
		for (nr = 0; evr_mpmc_pop(&queue, &got, 1); nr++)
			assert_true(got == nr + 1);
		/* A run is there wholly, or not at all. */
		assert_true(nr == 0 || nr == 1 || nr == 4 || nr == 5);
		assert_true(died || nr == 5);
		seen[nr] = true;
		taken += nr;
		assert_conserved(&queue, taken, 0);
		assert_usable(&queue);
		taken += CAPACITY;
	}
	assert_true(seen[0] && seen[1] && seen[4] && seen[5]);
	evr_mpmc_close(&queue);
}

static void push_three_words(struct evr_peer *peer, void *arg)
{
	uint32_t values[3] = { 1, 2, 3 };
	struct evr_mpmc queue;

	CHECK(!evr_mpmc_open(&queue, peer, "q", 0));
	CHECK(evr_mpmc_push(&queue, values, 3) == 3);
	evr_mpmc_close(&queue);
}

static void mpmc_words_killed_at_each_step_need_no_repair(void **state)
{
	bool died = true, seen[4] = { false };
	struct pair *pair = *state;
	struct evr_mpmc queue;
	uint64_t n, taken = 0;
	uint32_t got, nr;

	make_queue(pair, 4);
	assert_int_equal(evr_mpmc_open(&queue, pair->peer, "q", 0), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		died = die_at(pair, n, push_three_words, NULL);
		for (nr = 0; evr_mpmc_pop(&queue, &got, 1); nr++)
			assert_int_equal(got, nr + 1);
		assert_true(nr <= 3 && (died || nr == 3));
		seen[nr] = true;
		taken += nr;
		assert_conserved(&queue, taken, 0);
		assert_int_equal(evr_mpmc_dropped(&queue, EVR_PRODUCER), 0);
	}
	assert_true(seen[0] && seen[1] && seen[2] && seen[3]);
	evr_mpmc_close(&queue);
}

static void pop_five(struct evr_peer *peer, void *arg)
{
	struct evr_mpmc queue;
	const uint64_t *from;
	uint64_t got[3];

	CHECK(!evr_mpmc_open(&queue, peer, "q", 0));
	CHECK(evr_mpmc_pop(&queue, got, 1) == 1);
	record->done = got[0];
	CHECK(evr_mpmc_pop(&queue, got, 3) == 3);
	record->done = got[2];
	from = evr_mpmc_peek(&queue);
	CHECK(from);
	evr_mpmc_release(&queue);
	record->done++;
	evr_mpmc_close(&queue);
}

static void mpmc_consumer_killed_at_each_step_counts_its_loss(void **state)
{
	uint64_t n, next = 1, got, first, taken = 0;
	bool died = true, seen_loss = false;
	struct pair *pair = *state;
	struct evr_mpmc_counts counts;
	struct evr_mpmc queue;

	make_queue(pair, 8);
	assert_int_equal(evr_mpmc_open(&queue, pair->peer, "q", 0), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		while (evr_mpmc_push(&queue, &next, 1))
			next++;
		first = next - CAPACITY;
		record->done = first - 1;
		died = die_at(pair, n, pop_five, NULL);
		taken += record->done - (first - 1);
		/* What is left goes on in order, and nothing that it had comes again. */
		assert_int_equal(evr_mpmc_pop(&queue, &got, 1), 1);
		assert_true(got > record->done && got - record->done <= 4);
		for (taken++; evr_mpmc_pop(&queue, &first, 1); taken++)
			assert_true(first == ++got);
		assert_true(got == next - 1);
		evr_mpmc_counts(&queue, &counts);
		seen_loss |= counts.lost > 0;
		/* It may have died after a call's last store and before it came back. */
		assert_conserved(&queue, taken, 3);
		taken = counts.in - counts.holes - counts.lost;
	}
	assert_true(seen_loss && counts.holes == 0);
	assert_usable(&queue);
	evr_mpmc_close(&queue);
}

static void hold_claims(struct evr_peer *peer, void *arg)
{
	struct evr_mpmc queue, other;

	CHECK(!evr_mpmc_open(&queue, peer, "q", 0));
	CHECK(!evr_mpmc_open(&other, peer, "q", 0));
	CHECK(evr_mpmc_peek(&queue));
	CHECK(evr_mpmc_reserve(&queue));
	CHECK(evr_mpmc_reserve(&other));
	raise(SIGKILL);
}

static void settle_as(struct evr_peer *peer, void *arg)
{
	struct evr_mpmc queue;
	uint64_t got;

	/* Attaching has reaped, unless it is told not to: then whoever comes by does it. */
	CHECK(!evr_mpmc_open(&queue, peer, "q", 0));
	evr_mpmc_pop(&queue, &got, 1);
	evr_mpmc_close(&queue);
}

static void mpmc_settler_killed_at_each_step_counts_once(void **state)
{
	uint64_t n, value = 1, got, holes = 0, lost = 0;
	struct pair *pair = *state;
	struct evr_mpmc_counts c;
	struct evr_mpmc queue;
	bool died = true;
	pid_t pid;

	evr_reap_auto(pair->peer, false);
	make_queue(pair, 8);
	assert_int_equal(evr_mpmc_open(&queue, pair->peer, "q", 0), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		assert_int_equal(evr_mpmc_push(&queue, &value, 1), 1);
		pid = pair_fork(pair, hold_claims, NULL);
		assert_true(waitpid(pid, NULL, 0) == pid);
		died = die_at(pair, n, settle_as, NULL);
		holes += 2;
		lost += 1;
		assert_int_equal(evr_mpmc_pop(&queue, &got, 1), 0);
		evr_mpmc_counts(&queue, &c);
		assert_true(c.holes == holes && c.lost == lost);
		assert_true(c.in == c.out && c.in == 3 * n);
	}
	assert_usable(&queue);
	evr_mpmc_close(&queue);
}

static void mpmc_claims_of_the_dead_are_reported(void **state)
{
	struct evr_reap_report report = { 0 };
	struct pair *pair = *state;
	struct evr_mpmc queue;
	uint64_t value = 1;
	pid_t pid;

	evr_reap_auto(pair->peer, false);
	make_queue(pair, 8);
	assert_int_equal(evr_mpmc_open(&queue, pair->peer, "q", 0), 0);
	assert_int_equal(evr_mpmc_push(&queue, &value, 1), 1);
	pid = pair_fork(pair, hold_claims, NULL);
	assert_true(waitpid(pid, NULL, 0) == pid);
	while (!report.peers) {
		evr_peer_check(pair->peer);
		assert_true(evr_reap_dead(pair->peer, &report) >= 0);
	}
	assert_int_equal(report.claims, 3);
	assert_int_equal(evr_mpmc_pop(&queue, &value, 1), 0);
	assert_conserved(&queue, 0, 0);
	assert_usable(&queue);
	evr_mpmc_close(&queue);
}

static void stop_in_a_claim(struct evr_peer *peer, void *arg)
{
	struct evr_mpmc queue;
	uint64_t *to;

	CHECK(!evr_mpmc_open(&queue, peer, "q", 0));
	to = evr_mpmc_reserve(&queue);
	CHECK(to);
	raise(SIGSTOP);
	*to = 9;
	evr_mpmc_commit(&queue);
	evr_mpmc_close(&queue);
}

static void mpmc_stopped_claimer_is_not_dead(void **state)
{
	struct pair *pair = *state;
	struct evr_mpmc queue;
	uint64_t value = 1, until;
	int status = -1;
	pid_t pid;

	make_queue(pair, 8);
	assert_int_equal(evr_mpmc_open(&queue, pair->peer, "q", 0), 0);
	pid = pair_fork(pair, stop_in_a_claim, NULL);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(evr_mpmc_push(&queue, &value, 1), 1);
	/* Longer than anybody waits between two looks for evidence. */
	for (until = evr_now_ns() + 150000000; evr_now_ns() < until; pair_sleep_us(1000)) {
		evr_peer_check(pair->peer);
		assert_int_equal(evr_mpmc_pop(&queue, &value, 1), 0);
		assert_int_equal(evr_mpmc_state(&queue), EVR_RING_BUSY);
	}
	assert_int_equal(evr_reap_dead(pair->peer, NULL), 0);
	kill(pid, SIGCONT);
	pair_join(pid);
	assert_int_equal(evr_mpmc_pop(&queue, &value, 1), 1);
	assert_true(value == 9);
	assert_int_equal(evr_mpmc_pop(&queue, &value, 1), 1);
	assert_true(value == 1);
	assert_conserved(&queue, 2, 0);
	evr_mpmc_close(&queue);
}

/* Pushes runs until it is killed. */
static void flood(struct evr_peer *peer, void *arg)
{
	uint64_t values[3] = { 1, 2, 3 };
	struct evr_waiter waiter;
	struct evr_mpmc queue;

	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE));
	CHECK(!evr_mpmc_open(&queue, peer, "q", 0));
	for (;;)
		CHECK(evr_mpmc_push_wait(&queue, &waiter, values, 3, EVR_NO_DEADLINE) == 3);
}

/* Takes until it is killed. */
static void drain(struct evr_peer *peer, void *arg)
{
	struct evr_waiter waiter;
	struct evr_mpmc queue;
	uint64_t got[2];

	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE));
	CHECK(!evr_mpmc_open(&queue, peer, "q", 0));
	for (;;)
		CHECK(evr_mpmc_pop_wait(&queue, &waiter, got, 2, EVR_NO_DEADLINE) > 0);
}

static void mpmc_storm_of_kills_keeps_the_queue_going(void **state)
{
	struct pair *pair = *state;
	uint64_t seed = 3, before, until, got;
	struct evr_mpmc_counts c;
	struct evr_mpmc queue;
	pid_t pids[4];
	int i, round;

	make_queue(pair, 8);
	assert_int_equal(evr_mpmc_open(&queue, pair->peer, "q", 0), 0);
	for (i = 0; i < 4; i++)
		pids[i] = pair_fork(pair, i % 2 ? drain : flood, NULL);
	for (round = 0; round < 40; round++) {
		i = (int)(pair_random(&seed) % 4);
		pair_sleep_us(seed % 3000);
		pair_kill(pids[i]);
		pids[i] = pair_fork(pair, i % 2 ? drain : flood, NULL);
		evr_mpmc_counts(&queue, &c);
		before = c.out;
		/* It goes on, whatever the dead held. */
		for (until = pair_deadline(); c.out < before + 20; evr_mpmc_counts(&queue, &c)) {
			assert_true(evr_now_ns() < until);
			pair_sleep_us(200);
		}
	}
	for (i = 0; i < 4; i++)
		pair_kill(pids[i]);
	pair_settle(pair);
	for (got = 0; evr_mpmc_pop(&queue, &got, 1);)
		;
	evr_mpmc_counts(&queue, &c);
	assert_true(c.in == c.out && c.corrupt == 0);
	assert_usable(&queue);
	evr_mpmc_close(&queue);
}

/* Three handles of one queue, of which one is at its cancel when the others come by. */
struct late {
	struct evr_mpmc *held, *other;
	bool came, reached;
};

static void go_far_and_claim_there(void *arg)
{
	struct late *late = arg;
	uint64_t i, value = 1;

	late->came = true;
	/* To the same cell, with the last eight bits of the lap the same. */
	for (i = 1; i < 256 * CAPACITY; i++)
		if (evr_mpmc_push(late->held, &value, 1) != 1 ||
		    evr_mpmc_pop(late->other, &value, 1) != 1)
			return;
	late->reached = true;
	assert_non_null(evr_mpmc_reserve(late->held));
	assert_true((uint32_t)late->held->ends[EVR_PRODUCER].grant == 256 * CAPACITY);
	/* It finds the ledger as the one that we come between has left it. */
	assert_non_null(evr_mpmc_reserve(late->other));
	evr_mpmc_cancel(late->other);
}

static void mpmc_settler_that_comes_late_leaves_a_later_claim(void **state)
{
	struct evr_mpmc mine, held, other;
	struct late late = { &held, &other, false, false };
	struct pair *pair = *state;
	struct evr_object object;
	struct evr_mpmc_counts c;
	uint64_t n, value, reached = 0;
	bool came = true;

	for (n = 1; came; n++) {
		assert_true(n < STEPS_MAX);
		make_queue(pair, 8);
		assert_int_equal(evr_mpmc_open(&mine, pair->peer, "q", 0), 0);
		assert_int_equal(evr_mpmc_open(&held, pair->peer, "q", 0), 0);
		assert_int_equal(evr_mpmc_open(&other, pair->peer, "q", 0), 0);
		assert_non_null(evr_mpmc_reserve(&mine));
		late.reached = late.came = false;
		steps_turn = go_far_and_claim_there;
		steps_arg = &late;
		steps = 0;
		steps_to_live = n;
		evr_mpmc_cancel(&mine);
		steps_to_live = 0;
		came = late.came;
		if (late.reached) {
			reached++;
			assert_int_equal(evr_mpmc_pop(&other, &value, 1), 0);
			assert_int_equal(evr_mpmc_state(&other), EVR_RING_BUSY);
			*(uint64_t *)evr_mpmc_reserve(&held) = 77;
			evr_mpmc_commit(&held);
			assert_int_equal(evr_mpmc_pop(&other, &value, 1), 1);
			assert_int_equal(value, 77);
			assert_int_equal(evr_mpmc_pop(&other, &value, 1), 0);
			evr_mpmc_counts(&other, &c);
			assert_true(c.holes == 2 && c.in == c.out);
		}
		evr_mpmc_close(&mine);
		evr_mpmc_close(&held);
		evr_mpmc_close(&other);
		assert_int_equal(evr_dir_find(pair->peer, "q", &object), 0);
		assert_int_equal(evr_dir_remove(pair->peer, &object), 0);
	}
	steps_turn = NULL;
	assert_true(reached > 0);
}

/* What record->done says of the other process. */
enum { HOLDS = 1, MAY_END, ENDED };

/* Hold a claim, end it when told to, and wait to be killed. */
static void hold_and_end(struct evr_peer *peer, void *arg)
{
	struct evr_mpmc queue;
	uint64_t *to;

	CHECK(!evr_mpmc_open(&queue, peer, "q", 0));
	to = evr_mpmc_reserve(&queue);
	CHECK(to);
	*to = 42;
	record->counts[0] = evr_peer_self(peer).slot;
	record->counts[1] = evr_peer_self(peer).incarnation;
	record->done = HOLDS;
	while (record->done != MAY_END)
		pair_sleep_us(50);
	evr_mpmc_commit(&queue);
	record->done = ENDED;
	for (;;)
		pause();
}

static void await_record(uint64_t what)
{
	uint64_t until = pair_deadline();

	while (record->done != what) {
		assert_true(evr_now_ns() < until);
		pair_sleep_us(50);
	}
}

/* The peer's own view of states, but for what happens before the first look. */
struct ending {
	struct evr_backend_ops ops;
	const struct evr_backend_ops *real;
	struct evr_peer *peer;
	struct evr_peer_id id;
	pid_t pid;
};

static struct ending ending;

static void end_and_die(struct evr_peer *peer)
{
	uint64_t until = pair_deadline();

	record->done = MAY_END;
	await_record(ENDED);
	pair_kill(ending.pid);
	while (evr_peer_is_live(peer, ending.id)) {
		assert_true(evr_now_ns() < until);
		evr_peer_check(peer);
	}
}

static uint32_t state_after_the_end(const struct evr_peer *peer, uint32_t slot,
				    uint64_t *incarnation)
{
	ending.peer->ops = ending.real;
	end_and_die(ending.peer);
	return ending.real->state(peer, slot, incarnation);
}

/* Who looks at a claim sees it before its end, and its owner after its death. */
static void mpmc_claim_ended_before_the_death_is_no_loss(void **state)
{
	struct pair *pair = *state;
	struct evr_mpmc queue;
	uint64_t got = 0;

	make_queue(pair, 8);
	evr_reap_auto(pair->peer, false);
	assert_int_equal(evr_mpmc_open(&queue, pair->peer, "q", 0), 0);
	record->done = 0;
	ending.pid = pair_fork(pair, hold_and_end, NULL);
	await_record(HOLDS);
	ending.id.slot = (uint32_t)record->counts[0];
	ending.id.incarnation = record->counts[1];
	ending.peer = pair->peer;
	ending.real = pair->peer->ops;
	ending.ops = *ending.real;
	ending.ops.state = state_after_the_end;
	pair->peer->ops = &ending.ops;
	assert_int_equal(evr_mpmc_drop(&queue, EVR_PRODUCER, 0, false), 0);
	assert_ptr_equal(pair->peer->ops, ending.real);
	assert_false(evr_peer_is_live(pair->peer, ending.id));
	assert_int_equal(evr_mpmc_dropped(&queue, EVR_PRODUCER), 0);
	assert_int_equal(evr_mpmc_pop(&queue, &got, 1), 1);
	assert_int_equal(got, 42);
	pair_settle(pair);
	assert_conserved(&queue, 1, 0);
	evr_mpmc_close(&queue);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_record, close_record)
	const struct CMUnitTest tests[] = {
		CASE(mpmc_another_in_between_at_each_step),
		CASE(mpmc_producer_killed_at_each_step_leaves_no_gap),
		CASE(mpmc_words_killed_at_each_step_need_no_repair),
		CASE(mpmc_consumer_killed_at_each_step_counts_its_loss),
		CASE(mpmc_settler_killed_at_each_step_counts_once),
		CASE(mpmc_settler_that_comes_late_leaves_a_later_claim),
		CASE(mpmc_claim_ended_before_the_death_is_no_loss),
		CASE(mpmc_claims_of_the_dead_are_reported),
		CASE(mpmc_stopped_claimer_is_not_dead),
		CASE(mpmc_storm_of_kills_keeps_the_queue_going),
	};

	return cmocka_run_group_tests_name("mpmc_death", tests, NULL, NULL);
}
