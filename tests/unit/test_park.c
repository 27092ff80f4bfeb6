/* SPDX-License-Identifier: MIT */
/*
 * Park and wake: deadlines, one ring for a park, and races in which a wake-up
 * could get lost. EVERING_TEST_LONG in the environment makes ten times as many.
 *
 * Mutants seen to fail here: no barrier in evr_need_look() or after needs_arm(), no
 * look between needs_arm() and the sleep (all park_races_*), an epoch that does not
 * grow (hang in park_races_*), a bell that is not checked (park_same_sleep_*), a
 * bell that is not passed on (park_bell_taken_*, park_peer_event_*); no
 * barrier on all processors after AWAKE (park_races_awake_*, with EVERING_TEST_LONG;
 * without, in one run of a few); an ALERT from what the state is after the barrier
 * (park_crowd_is_alert_*); a disarm, or an arm, that leaves the words as they are
 * (park_armed_*); a thread bound to one processor that does not spin
 * (park_adaptive_on_*); budgets that shrink when answers come, or grow after spinning
 * in vain (park_adaptive_spins_*).
 */
#include "pair.h"

#include <pthread.h>
#include <sched.h>

#include "crowd.h"

#define RACES 100000

static uint64_t races(void)
{
	if (getenv("EVERING_TEST_LONG"))
		return 10 * RACES;
	/* In a virtual machine without KVM a turn takes a millisecond. */
	return strcmp(pair_uri(), "device:") ? RACES : RACES / 10;
}

static bool never(void *arg)
{
	return false;
}

static bool always(void *arg)
{
	++*(int *)arg;
	return true;
}

static void park_more_waiters_than_bells_refused(void **state)
{
	static struct evr_waiter waiters[EVR_BELLS_CLAIM + 1];
	struct pair *pair = *state;
	int i;

	for (i = 0; i < EVR_BELLS_CLAIM; i++)
		assert_int_equal(evr_waiter_init(&waiters[i], pair->peer, EVR_WAIT_SLEEP), 0);
	assert_int_equal(evr_waiter_init(&waiters[i], pair->peer, EVR_WAIT_SLEEP), -ENOSPC);
	evr_waiter_fini(&waiters[7]);
	evr_waiter_fini(&waiters[7]);
	assert_int_equal(evr_waiter_init(&waiters[i], pair->peer, EVR_WAIT_SLEEP), 0);
	assert_int_equal(evr_waiter_init(&waiters[7], pair->peer, EVR_WAIT_SLEEP), -ENOSPC);
	for (i = 0; i <= EVR_BELLS_CLAIM; i++)
		evr_waiter_fini(&waiters[i]);
	assert_int_equal(evr_waiter_init(&waiters[0], pair->peer, (enum evr_wait_policy)3),
			 -EINVAL);
}

/* ALERT spares the next its barrier, so only a state that was barred may become it. */
static void park_crowd_is_alert_only_after_its_own_barrier(void **state)
{
	struct pair *pair = *state;
	const size_t sz = (evr_crowd_sz(16) + EVR_LINE_SZ - 1) & ~(size_t)(EVR_LINE_SZ - 1);
	struct evr_crowd *crowd = aligned_alloc(EVR_LINE_SZ, sz);
	uint64_t first, second;

	assert_non_null(crowd);
	memset(crowd, 0, sz);
	assert_true(evr_crowd_sit(pair->peer, crowd, 1, &first));
	/* What a waker does that has seen nobody for long. */
	evr_crowd_stand(pair->peer, crowd, 1);
	evr_a64_store_release(&crowd->state, (first & ~CROWD_MODE) | CROWD_AWAKE);
	assert_true(evr_crowd_sit(pair->peer, crowd, 2, &second));
	evr_crowd_barred(crowd, first);
	assert_int_equal(evr_a64_load_acquire(&crowd->state) & CROWD_MODE, CROWD_PENDING);
	evr_crowd_barred(crowd, second);
	assert_int_equal(evr_a64_load_acquire(&crowd->state) & CROWD_MODE, CROWD_ALERT);
	assert_false(evr_crowd_sit(pair->peer, crowd, 3, &first));
	free(crowd);
}

static void park_deadline_honoured_by_every_policy(void **state)
{
	static const enum evr_wait_policy policies[] = { EVR_WAIT_ADAPTIVE, EVR_WAIT_BUSY,
							 EVR_WAIT_SLEEP };
	struct evr_need *need = aligned_alloc(EVR_LINE_SZ, sizeof(*need));
	struct pair *pair = *state;
	struct evr_waiter w;
	uint64_t until;
	int i, looks;

	memset(need, 0, sizeof(*need));
	for (i = 0; i < 3; i++) {
		assert_int_equal(evr_waiter_init(&w, pair->peer, policies[i]), 0);
		assert_int_equal(evr_waiter_wait(&w, &need, 1, never, NULL, 0), -ETIMEDOUT);
		assert_int_equal(evr_waiter_wait(&w, &need, 1, never, NULL, 1), -ETIMEDOUT);
		until = evr_now_ns() + 20000000;
		assert_int_equal(evr_waiter_wait(&w, &need, 1, never, NULL, until), -ETIMEDOUT);
		assert_true(evr_now_ns() >= until);
		assert_int_equal(evr_waiter_wait(&w, NULL, 0, never, NULL, until), -ETIMEDOUT);
		looks = 0;
		assert_int_equal(evr_waiter_wait(&w, &need, 1, always, &looks, 0), 0);
		assert_int_equal(looks, 1);
		assert_true((need->word.v & EVR_NEED_STATE) != EVR_NEED_ASLEEP);
		assert_true((policies[i] == EVR_WAIT_BUSY) == (w.counts.parks == 0));
		evr_waiter_fini(&w);
	}
	free(need);
}

static bool after_one_look(void *arg)
{
	return (*(int *)arg)++ > 0;
}

/* Waits that are answered at the second look: only who spins takes it before it has parked. */
static void answer_soon(struct evr_waiter *w, struct evr_need *need, int nr)
{
	int looks;

	while (nr--) {
		looks = 0;
		assert_int_equal(
			evr_waiter_wait(w, &need, 1, after_one_look, &looks, pair_deadline()), 0);
	}
}

/* Waits that nothing answers: until one of them has slept. */
static void answer_never(struct evr_waiter *w, struct evr_need *need)
{
	uint64_t parks = w->counts.parks;

	/* One that is not run for so long finds its deadline past. */
	while (w->counts.parks == parks)
		assert_int_equal(evr_waiter_wait(w, &need, 1, never, NULL, evr_now_ns() + 2000000),
				 -ETIMEDOUT);
}

/* The other side may have another processor. */
static void park_adaptive_on_one_processor_of_many_spins(void **state)
{
	struct evr_need *need = aligned_alloc(EVR_LINE_SZ, sizeof(*need));
	bool can_spin = sysconf(_SC_NPROCESSORS_ONLN) > 1;
	struct pair *pair = *state;
	cpu_set_t before, one;
	struct evr_waiter w;

	memset(need, 0, sizeof(*need));
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_int_equal(evr_waiter_init(&w, pair->peer, EVR_WAIT_ADAPTIVE), 0);
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
	answer_soon(&w, need, 100);
	assert_int_equal(w.counts.spins, can_spin ? 100 : 0);
	assert_int_equal(w.counts.parks, 0);
	evr_waiter_fini(&w);
	free(need);
}

/* 1 us to 100 us; answers make it longer, sleeps shorter, and in vain it is not tried soon again. */
static void park_adaptive_spins_as_long_as_it_pays(void **state)
{
	struct evr_need *need = aligned_alloc(EVR_LINE_SZ, sizeof(*need));
	struct pair *pair = *state;
	struct evr_waiter w;

	memset(need, 0, sizeof(*need));
	assert_int_equal(evr_waiter_init(&w, pair->peer, EVR_WAIT_ADAPTIVE), 0);
	w.spin_ns = 20000; /* however many processors there are here */
	answer_never(&w, need);
	assert_int_equal(w.spin_ns, 10000);
	answer_soon(&w, need, 3);
	assert_int_equal(w.spin_ns, 80000);
	answer_soon(&w, need, 10);
	assert_int_equal(w.spin_ns, 100000);
	assert_int_equal(w.patient, 0);
	answer_never(&w, need);
	assert_int_equal(w.spin_ns, 1000);
	assert_int_equal(w.patient, 16);
	answer_never(&w, need);
	assert_int_equal(w.spin_ns, 1000);
	w.spin_ns = 100000;
	answer_never(&w, need);
	assert_int_equal(w.patient, 32);
	answer_soon(&w, need, 1);
	assert_int_equal(w.patient, 0);
	assert_int_equal(w.spin_ns, 2000);
	evr_waiter_fini(&w);
	free(need);
}

static bool on_alarm_set;

static void on_alarm(int sig)
{
	on_alarm_set = true;
}

static void park_signal_handled_interrupts(void **state)
{
	struct sigaction action = { .sa_handler = on_alarm }, before;
	struct pair *pair = *state;
	struct evr_waiter w;

	assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
	assert_int_equal(evr_waiter_init(&w, pair->peer, EVR_WAIT_SLEEP), 0);
	/* Again and again: the first may come before the sleep. */
	ualarm(20000, 20000);
	assert_int_equal(evr_waiter_wait(&w, NULL, 0, never, NULL, pair_deadline()), -EINTR);
	ualarm(0, 0);
	assert_true(on_alarm_set);
	evr_waiter_fini(&w);
	sigaction(SIGALRM, &before, NULL);
}

#define NEED(epoch, bell, state) ((uint64_t)(epoch) << 16 | (uint64_t)(bell) << 8 | (state))

static void park_same_sleep_rung_once(void **state)
{
	struct evr_need need = { 0 };
	uint64_t last = 0;

	assert_int_equal(evr_need_look(&need, &last), -1);
	need.word.v = NEED(1, 5, EVR_NEED_ALERT);
	assert_int_equal(evr_need_look(&need, &last), -1);
	need.word.v = NEED(1, 5, EVR_NEED_ASLEEP);
	assert_int_equal(evr_need_look(&need, &last), 5);
	assert_int_equal(evr_need_look(&need, &last), -1);
	need.word.v = NEED(2, 61, EVR_NEED_ASLEEP);
	assert_int_equal(evr_need_look(&need, &last), 61);
	assert_int_equal(evr_need_look(&need, &last), -1);
	/* Nonsense: no bell that is not a waiter's. */
	need.word.v = NEED(3, 62, EVR_NEED_ASLEEP);
	assert_int_equal(evr_need_look(&need, &last), -1);
	need.word.v = NEED(4, 255, EVR_NEED_ASLEEP);
	assert_int_equal(evr_need_look(&need, &last), -1);
	need.word.v = UINT64_MAX;
	assert_int_equal(evr_need_look(&need, &last), -1);
}

/*
 * One process parks, the other publishes just then: the parker says that it is about
 * to, both idle for a random moment of the length of a few line transfers, and go.
 */
#define CLUTTER_NR 6

struct court {
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 begun;
	struct evr_need need;
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 published;
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 slot;
	struct evr_a64 incarnation;
	/* Written by both all the time, so that a store waits behind them in its buffer. */
	struct {
		EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 word;
	} clutter[CLUTTER_NR];
};

struct match {
	struct evr_object object;
	uint64_t turns;
	enum evr_wait_policy policy;
	bool awake; /* say AWAKE again after each park */
	bool registered; /* the publisher may omit its barrier */
	struct court *court;
	uint64_t want;
};

/* So long that the parker parks before the publication about as often as not. */
#define IDLE_MAX 4000

static void idle(struct court *court, uint64_t *seed)
{
	uint64_t spins;
	int i;

	for (spins = pair_random(seed) % IDLE_MAX; spins; spins--)
		evr_compiler_fence();
	for (i = 0; i < CLUTTER_NR; i++)
		evr_a64_store_relaxed(&court->clutter[i].word, *seed);
}

static bool is_published(void *arg)
{
	struct match *m = arg;

	return evr_a64_load_acquire(&m->court->published) >= m->want;
}

static void park_each_turn(struct evr_peer *peer, void *arg)
{
	struct match *m = arg;
	struct court *court = evr_peer_at(peer, m->object.off, m->object.sz);
	struct evr_need *need = &court->need;
	bool registered = evr_park_register();
	uint64_t seed = 3, word;
	struct evr_waiter w;

	m->court = court;
	CHECK(!evr_waiter_init(&w, peer, m->policy));
	evr_a64_store_relaxed(&court->incarnation, evr_peer_self(peer).incarnation);
	evr_a64_store_release(&court->slot, evr_peer_self(peer).slot);
	for (m->want = 1; m->want <= m->turns; m->want++) {
		word = evr_a64_load_relaxed(&need->word);
		if (m->awake && registered && (word & EVR_NEED_STATE) == EVR_NEED_ALERT)
			evr_a64_store_relaxed(&need->word,
					      word >> EVR_NEED_EPOCH_SHIFT << EVR_NEED_EPOCH_SHIFT |
						      EVR_NEED_AWAKE);
		evr_a64_store_release(&court->begun, m->want);
		if (m->want % 64 == 1)
			pair_alive();
		idle(court, &seed);
		CHECK(!TIMELY(evr_waiter_wait(&w, &need, 1, is_published, m, until_ns)));
	}
	if (m->policy == EVR_WAIT_SLEEP)
		printf("# parked in %d of 100 turns\n", (int)(w.counts.parks * 100 / m->turns));
	fflush(stdout);
	evr_waiter_fini(&w);
}

/* Publish, then wake, as a ring does. */
static void publish(struct pair *pair, struct match *m, uint64_t turn, uint64_t *last)
{
	struct court *court = m->court;
	struct evr_peer_id other = { .slot = (uint32_t)evr_a64_load_relaxed(&court->slot),
				     .incarnation = evr_a64_load_relaxed(&court->incarnation) };
	int i;

	/* Its line is here, so the look below does not wait for it, as the store above may. */
	evr_a64_load_acquire(&court->need.word);
	for (i = 0; i < CLUTTER_NR; i++)
		evr_a64_store_relaxed(&court->clutter[i].word, turn);
	evr_a64_store_release(&court->published, turn);
	if (evr_need_is_alert(&court->need, m->registered))
		evr_wake(pair->peer, &court->need, other, last);
}

static void race(struct pair *pair, struct match *m)
{
	uint64_t last = 0, seed = 17, turn, deadline = 0;
	struct court *court;
	pid_t pid;

	assert_int_equal(
		evr_dir_create(pair->peer, "court", EVR_KIND_USER, sizeof(*court), &m->object), 0);
	court = evr_peer_at(pair->peer, m->object.off, m->object.sz);
	memset(court, 0, sizeof(*court));
	court->slot.v = EVR_SLOT_ANY;
	m->registered = evr_park_register() && m->awake;
	pid = pair_fork(pair, park_each_turn, m);
	m->court = court;
	while (evr_a64_load_acquire(&court->slot) == EVR_SLOT_ANY)
		pair_sleep_us(100);
	for (turn = 1; turn <= m->turns; turn++) {
		if (turn % 64 == 1)
			deadline = pair_deadline();
		while (evr_a64_load_acquire(&court->begun) < turn) {
			evr_pause();
			assert_true(evr_now_ns() < deadline);
		}
		idle(court, &seed);
		publish(pair, m, turn, &last);
	}
	pair_join(pid);
	pair_settle(pair);
}

static void park_races_adaptive_lose_no_wake(void **state)
{
	race(*state, &(struct match){ .turns = races(), .policy = EVR_WAIT_ADAPTIVE });
}

static void park_races_sleeping_lose_no_wake(void **state)
{
	race(*state, &(struct match){ .turns = races(), .policy = EVR_WAIT_SLEEP });
}

static void park_races_awake_lose_no_wake(void **state)
{
	race(*state, &(struct match){ .turns = races(), .policy = EVR_WAIT_SLEEP, .awake = true });
}

/* One waiter, two rings, each with a producer of its own. */
static void feed(struct evr_peer *peer, void *arg)
{
	struct evr_waiter w;
	struct evr_spsc ring;
	uint64_t i;

	CHECK(!evr_waiter_init(&w, peer, EVR_WAIT_ADAPTIVE));
	CHECK(!evr_spsc_open(&ring, peer, arg, EVR_PRODUCER, 0));
	for (i = 0; i < 5000; i++) {
		CHECK(TIMELY(evr_spsc_push_wait(&ring, &w, &i, 1, until_ns)) == 1);
		if (i % 64 == 0)
			pair_sleep_us(50);
	}
	evr_spsc_close(&ring);
	evr_waiter_fini(&w);
}

static bool any_has_work(void *arg)
{
	struct evr_spsc *rings = arg;

	return evr_spsc_avail(&rings[0]) || evr_spsc_avail(&rings[1]);
}

static void park_one_waiter_sleeps_on_many_needs(void **state)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options), .capacity = 16 };
	static char names[2][2] = { "a", "b" };
	struct pair *pair = *state;
	struct evr_need *needs[2];
	uint64_t value, next[2] = { 0, 0 };
	struct evr_spsc rings[2];
	struct evr_waiter w;
	pid_t pids[2];
	int i;

	assert_int_equal(evr_waiter_init(&w, pair->peer, EVR_WAIT_SLEEP), 0);
	for (i = 0; i < 2; i++) {
		assert_int_equal(evr_spsc_create(pair->peer, names[i], &options), 0);
		assert_int_equal(evr_spsc_open(&rings[i], pair->peer, names[i], EVR_CONSUMER, 0),
				 0);
		needs[i] = evr_spsc_need(&rings[i]);
	}
	for (i = 0; i < 2; i++)
		pids[i] = pair_fork(pair, feed, names[i]);
	while (next[0] < 5000 || next[1] < 5000) {
		assert_int_equal(
			TIMELY(evr_waiter_wait(&w, needs, 2, any_has_work, rings, until_ns)), 0);
		for (i = 0; i < 2; i++)
			while (evr_spsc_pop(&rings[i], &value, 1))
				assert_true(value == next[i]++);
	}
	for (i = 0; i < 2; i++) {
		pair_join(pids[i]);
		evr_spsc_close(&rings[i]);
	}
	evr_waiter_fini(&w);
}

/* A loop of one's own: rung once for each arm, and not at all when disarmed. */
static void park_armed_waiter_is_rung_once_for_each_arm(void **state)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options), .capacity = 16 };
	struct pair *pair = *state;
	struct evr_spsc in, out;
	struct evr_bells bells;
	struct evr_need *need;
	struct evr_waiter w;
	uint64_t value = 1;
	int i;

	assert_int_equal(evr_waiter_init(&w, pair->peer, EVR_WAIT_SLEEP), 0);
	assert_true(evr_waiter_bells(&w) == (1ULL << w.bell | 1ULL << EVR_BELL_PEER_EVENT));
	assert_int_equal(evr_spsc_create(pair->peer, "r", &options), 0);
	assert_int_equal(evr_spsc_open(&in, pair->peer, "r", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_open(&out, pair->peer, "r", EVR_CONSUMER, 0), 0);
	need = evr_spsc_need(&out);
	evr_bell_read(pair->peer, &bells);
	for (i = 0; i < 3; i++) {
		/* The last time its wakers may have omitted their barrier. */
		if (i == 2)
			need->word.v = need->word.v & ~EVR_NEED_STATE;
		assert_true(evr_waiter_arm(&w, &need, 1) == EVR_NO_DEADLINE);
		assert_int_equal(evr_bell_wait(pair->peer, evr_waiter_bells(&w), 0, NULL),
				 -ETIMEDOUT);
		assert_int_equal(evr_spsc_push(&in, &value, 1), 1);
		assert_int_equal(evr_bell_wait(pair->peer, evr_waiter_bells(&w), 0, &bells), 0);
		assert_true(bells.bits == 1ULL << w.bell);
		assert_int_equal(evr_spsc_push(&in, &value, 1), 1);
		assert_int_equal(evr_bell_read(pair->peer, &bells), -EAGAIN);
		evr_waiter_disarm(&w, &need, 1);
		/* Armed, and awake again before anybody came. */
		evr_waiter_arm(&w, &need, 1);
		evr_waiter_disarm(&w, &need, 1);
		assert_int_equal(evr_spsc_push(&in, &value, 1), 1);
		assert_int_equal(evr_bell_read(pair->peer, &bells), -EAGAIN);
	}
	evr_spsc_close(&in);
	evr_spsc_close(&out);
	evr_waiter_fini(&w);
}

struct watcher {
	struct evr_peer *peer;
	struct evr_peer_id child;
	int result;
};

static bool is_dead(void *arg)
{
	struct watcher *watcher = arg;

	return evr_peer_state(watcher->peer, watcher->child) == EVR_PEER_DEAD;
}

static void *watch(void *arg)
{
	struct watcher *watcher = arg;
	struct evr_waiter w;

	watcher->result = evr_waiter_init(&w, watcher->peer, EVR_WAIT_SLEEP);
	if (!watcher->result)
		watcher->result = TIMELY(evr_waiter_wait(&w, NULL, 0, is_dead, watcher, until_ns));
	evr_waiter_fini(&w);
	return NULL;
}

static void tell_id(struct evr_peer *peer, void *arg)
{
	struct evr_peer_id id = evr_peer_self(peer);

	CHECK(write(((int *)arg)[1], &id, sizeof(id)) == sizeof(id));
	pause();
}

static void park_peer_event_wakes_all(void **state)
{
	struct pair *pair = *state;
	struct watcher watchers[3];
	pthread_t threads[3];
	int pipe_fds[2], i;
	pid_t pid;

	/* A reap is an event too, and would hide that the death was told to one only. */
	evr_reap_auto(pair->peer, false);
	assert_int_equal(pipe(pipe_fds), 0);
	pid = pair_fork(pair, tell_id, pipe_fds);
	for (i = 0; i < 3; i++)
		watchers[i] = (struct watcher){ .peer = pair->peer, .result = -1 };
	assert_int_equal(read(pipe_fds[0], &watchers[0].child, sizeof(watchers[0].child)),
			 sizeof(watchers[0].child));
	for (i = 0; i < 3; i++) {
		watchers[i].child = watchers[0].child;
		assert_int_equal(pthread_create(&threads[i], NULL, watch, &watchers[i]), 0);
	}
	pair_sleep_us(20000);
	pair_kill(pid);
	for (i = 0; i < 3; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(watchers[i].result, 0);
	}
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

struct sleeper {
	struct evr_need need;
	struct evr_peer *peer;
	struct evr_a64 wanted, done;
	uint64_t turns;
	int result;
};

static bool is_wanted(void *arg)
{
	struct sleeper *s = arg;

	return evr_a64_load_acquire(&s->wanted) > evr_a64_load_relaxed(&s->done);
}

static void *sleep_each_turn(void *arg)
{
	struct sleeper *s = arg;
	struct evr_need *need = &s->need;
	struct evr_waiter w;
	uint64_t turn;

	s->result = evr_waiter_init(&w, s->peer, EVR_WAIT_SLEEP);
	for (turn = 1; turn <= s->turns && !s->result; turn++) {
		s->result = TIMELY(evr_waiter_wait(&w, &need, 1, is_wanted, s, until_ns));
		evr_a64_store_release(&s->done, turn);
	}
	evr_waiter_fini(&w);
	return NULL;
}

/* An event loop of the same process takes all bells that it finds. */
static void park_bell_taken_by_another_thread_wakes(void **state)
{
	struct sleeper *s = aligned_alloc(EVR_LINE_SZ, sizeof(*s));
	struct pair *pair = *state;
	uint64_t turn, last = 0;
	struct evr_bells bells;
	pthread_t thread;

	memset(s, 0, sizeof(*s));
	s->peer = pair->peer;
	s->turns = 2000;
	assert_int_equal(pthread_create(&thread, NULL, sleep_each_turn, s), 0);
	for (turn = 1; turn <= s->turns; turn++) {
		while ((evr_a64_load_acquire(&s->need.word) & EVR_NEED_STATE) != EVR_NEED_ASLEEP)
			evr_pause();
		evr_a64_store_release(&s->wanted, turn);
		evr_wake(pair->peer, &s->need, evr_peer_self(pair->peer), &last);
		evr_bell_read(pair->peer, &bells);
		while (evr_a64_load_acquire(&s->done) < turn && !s->result)
			evr_pause();
		assert_int_equal(s->result, 0);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	free(s);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, pair_open, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(park_more_waiters_than_bells_refused),
		CASE(park_crowd_is_alert_only_after_its_own_barrier),
		CASE(park_deadline_honoured_by_every_policy),
		CASE(park_adaptive_on_one_processor_of_many_spins),
		CASE(park_adaptive_spins_as_long_as_it_pays),
		CASE(park_signal_handled_interrupts),
		CASE(park_same_sleep_rung_once),
		CASE(park_races_adaptive_lose_no_wake),
		CASE(park_races_sleeping_lose_no_wake),
		CASE(park_races_awake_lose_no_wake),
		CASE(park_one_waiter_sleeps_on_many_needs),
		CASE(park_armed_waiter_is_rung_once_for_each_arm),
		CASE(park_peer_event_wakes_all),
		CASE(park_bell_taken_by_another_thread_wakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
