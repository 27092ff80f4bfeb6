/* SPDX-License-Identifier: MIT */
/*
 * Other threads: nothing that was accepted is lost, nothing runs twice, and no wake-up is
 * missed (the runs have a deadline that only a lost one reaches). EVERING_TEST_LONG in the
 * environment: a million injections from eight threads.
 *
 * A driver without its look for news before the sleep was not caught here on a loaded
 * machine: the moment is short. The explorer catches it (tests/model, inject-sleep-unlooked).
 *
 * Mutants seen to fail here: a wake that nobody is sent; a full queue that is overwritten; a close
 * that serves nobody; a cancel of a remote op that is lost; a message without its kind.
 */
#include "loop.h"

#include <sched.h>

#include "driver.h"

#define THREADS 8
#define PHASE 500 /* injections of each thread, before the driver is let fall asleep */

struct counts {
	struct evr_injector *injector;
	uint64_t calls, sum; /* the driver's thread */
	uint64_t last; /* the call that ends the run */
	uint32_t each;
	struct evr_a32 refused;
	pthread_barrier_t phase;
};

static struct counts *counts_of;

static void add(struct evr_driver *d, void *arg)
{
	struct evr_op op = evr_op_flagged(evr_op_nop(), EVR_OP_BACKGROUND);

	counts_of->sum += (uintptr_t)arg;
	if (++counts_of->calls == counts_of->last)
		CHECK(!evr_driver_submit(d, &op, NULL));
}

/*
 * Until the driver sleeps, and nobody has brought it anything since: no other thread
 * injects meanwhile. In this order: once there is no news, asleep means asleep.
 */
static void let_it_sleep(const struct counts *c)
{
	uint64_t deadline = pair_deadline();

	while (evr_a32_load_acquire(&c->injector->news) ||
	       evr_a32_load_acquire(&c->injector->sleep) != SLEEPING) {
		CHECK(evr_now_ns() < deadline);
		sched_yield();
	}
}

static void phase_begin(struct counts *c)
{
	if (pthread_barrier_wait(&c->phase) == PTHREAD_BARRIER_SERIAL_THREAD)
		let_it_sleep(c);
	pthread_barrier_wait(&c->phase);
}

static void *producer_thread(void *arg)
{
	struct counts *c = arg;
	uint32_t i;
	int err;

	for (i = 0; i < c->each; i++) {
		if (i % PHASE == 0)
			phase_begin(c);
		while ((err = evr_inject(c->injector, add, (void *)(uintptr_t)(i + 1))) ==
		       -EAGAIN) {
			evr_a32_fetch_add(&c->refused, 1);
			pair_sleep_us(10);
		}
		CHECK(err == 0);
	}
	return NULL;
}

/* As many wakes as it was asleep, at least, and far fewer than injections. */
static void inject_from_many_threads_loses_none(void **state)
{
	struct loop *loop = *state;
	struct counts c = { .each = getenv("EVERING_TEST_LONG") ? 125000 : 12500 };
	uint64_t want = (uint64_t)THREADS * c.each;
	struct evr_driver_stats stats;
	pthread_t threads[THREADS];
	int i;

	c.injector = evr_driver_injector(loop->d);
	c.last = want;
	counts_of = &c;
	assert_int_equal(pthread_barrier_init(&c.phase, NULL, THREADS), 0);
	for (i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, producer_thread, &c), 0);
	while (c.calls < want)
		assert_true(TIMELY(evr_driver_run(loop->d, 1, EVR_DRIVER_NO_DEADLINE)) >= 0);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	loop_rounds(loop, 2);
	assert_int_equal(c.calls, want);
	assert_int_equal(c.sum, (uint64_t)THREADS * c.each * (c.each + 1) / 2);
	evr_driver_stats(loop->d, &stats);
	assert_int_equal(stats.injected, want);
	print_message("# %u injected, %u sleeps, %u wakes, %u saved, %u refused\n",
		      (unsigned int)want, c.each / PHASE, (unsigned int)stats.wakes,
		      (unsigned int)(want - stats.wakes), (unsigned int)c.refused.v);
	assert_true(stats.wakes >= c.each / PHASE);
	assert_true(stats.wakes < want);
	pthread_barrier_destroy(&c.phase);
	evr_injector_put(c.injector);
}

struct turns {
	struct evr_injector *injector;
	struct evr_a32 turn;
	uint32_t nr;
};

static void turn_done(struct evr_driver *d, const struct evr_completion *done)
{
	struct turns *turns = done->arg;

	evr_a32_fetch_add(&turns->turn, 1);
}

/* Something to complete, so that the run that was woken returns. */
static void next_turn(struct evr_driver *d, void *arg)
{
	struct evr_op op = evr_op_then(evr_op_nop(), turn_done, arg);

	CHECK(!evr_driver_submit(d, &op, NULL));
}

static void *turns_thread(void *arg)
{
	struct turns *turns = arg;
	uint64_t seed = 3;
	uint32_t i;

	for (i = 0; i < turns->nr; i++) {
		for (uint64_t spins = pair_random(&seed) % 100; spins; spins--)
			evr_pause();
		CHECK(evr_inject(turns->injector, next_turn, turns) == 0);
		/* Each alone: a lost one is waited for, by nobody but this. */
		uint64_t until = pair_deadline();
		while (evr_a32_load_acquire(&turns->turn) != i + 1) {
			CHECK(evr_now_ns() < until);
			evr_pause();
		}
	}
	return NULL;
}

/* One at a time, aimed at the moment of falling asleep: nothing else would wake the driver. */
static void inject_as_it_falls_asleep_wakes(void **state)
{
	struct loop *loop = *state;
	struct turns turns = { .nr = getenv("EVERING_TEST_LONG") ? 300000 : 20000 };
	struct seen seen;
	pthread_t thread;
	uint64_t id;
	uint32_t i;
	uint64_t seed = 17, spins;
	int fds[2];
	char byte;

	turns.injector = evr_driver_injector(loop->d);
	/* No timer: with one the loop would never take its short way. */
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	id = loop_submit(loop, evr_op_read(fds[0], &byte, 1, 0), &seen);
	assert_int_equal(pthread_create(&thread, NULL, turns_thread, &turns), 0);
	/* Every other one by the short way, which has no deadline: then the thread's fails. */
	for (i = 0; evr_a32_load_acquire(&turns.turn) < turns.nr; i++) {
		for (spins = pair_random(&seed) % 100; spins; spins--)
			evr_pause();
		if (i % 2)
			assert_true(TIMELY(evr_driver_run(loop->d, 1, until_ns)) >= 1);
		else
			assert_true(evr_driver_run(loop->d, 1, EVR_DRIVER_NO_DEADLINE) >= 1);
	}
	pthread_join(thread, NULL);
	evr_driver_cancel(loop->d, id);
	loop_finish(loop, &seen);
	evr_injector_put(turns.injector);
	close(fds[0]);
	close(fds[1]);
}

static void inject_full_says_again(void **state)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options), .inject_max = 8 };
	struct counts c = { 0 };
	struct loop *loop;
	void *own = NULL;
	int nr = 0;

	assert_int_equal(loop_open_with(&own, &options), 0);
	loop = own;
	counts_of = &c;
	c.injector = evr_driver_injector(loop->d);
	assert_int_equal(evr_inject(c.injector, NULL, NULL), -EINVAL);
	while (!evr_inject(c.injector, add, NULL))
		nr++;
	assert_int_equal(nr, 8);
	assert_int_equal(evr_inject(c.injector, add, NULL), -EAGAIN);
	evr_driver_run(loop->d, 0, 0);
	assert_int_equal(c.calls, 8);
	assert_int_equal(evr_inject(c.injector, add, NULL), 0);
	evr_driver_run(loop->d, 0, 0);
	assert_int_equal(c.calls, 9);
	evr_injector_put(c.injector);
	assert_int_equal(loop_close(&own), 0);
}

static void *until_shut(void *arg)
{
	struct counts *c = arg;
	uint64_t nr = 0;
	int err;

	for (;;) {
		err = evr_inject(c->injector, add, (void *)1);
		if (err == -ESHUTDOWN)
			break;
		nr += !err;
		if (err)
			pair_sleep_us(10);
	}
	return (void *)(uintptr_t)nr;
}

/* What was taken is called, what comes too late is refused: no third thing. */
static void inject_into_a_closing_driver_is_called_or_refused(void **state)
{
	int round, i;

	for (round = 0; round < 20; round++) {
		struct counts c = { 0 };
		pthread_t threads[4];
		uint64_t accepted = 0;
		struct evr_driver *d;
		void *nr;

		while (evr_driver_create(&d, NULL) == -ENOMEM)
			pair_sleep_us(1000);
		counts_of = &c;
		c.injector = evr_driver_injector(d);
		for (i = 0; i < 4; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, until_shut, &c), 0);
		for (i = 0; i < 10; i++) {
			evr_driver_run(d, 0, 0);
			pair_sleep_us(50);
		}
		assert_int_equal(evr_driver_close(d, pair_deadline()), 0);
		for (i = 0; i < 4; i++) {
			pthread_join(threads[i], &nr);
			accepted += (uintptr_t)nr;
		}
		assert_int_equal(c.calls, accepted);
		assert_int_equal(evr_inject_wake(c.injector), -ESHUTDOWN);
		assert_int_equal(evr_inject_message(c.injector, 1, 2), -ESHUTDOWN);
		evr_injector_put(c.injector);
	}
}

/* --- ops of other threads --- */

struct remote_case {
	struct evr_injector *injector;
	int fds[2];
	struct evr_a32 done;
};

static void *remote_thread(void *arg)
{
	struct remote_case *c = arg;
	struct evr_remote remote;
	char byte;
	int i;

	for (i = 0; i < 300; i++) {
		memset(&remote, 0, sizeof(remote));
		remote.op = evr_op_nop();
		CHECK(evr_remote_submit(c->injector, &remote) == 0);
		CHECK(TIMELY(evr_remote_wait(&remote, until_ns)) == 0);
		CHECK(remote.res == 0);
		CHECK(evr_remote_cancel(&remote) == -ENOENT);
		/* One that waits: time out, cancel, done. */
		memset(&remote, 0, sizeof(remote));
		remote.op = evr_op_read(c->fds[0], &byte, 1, 0);
		CHECK(evr_remote_submit(c->injector, &remote) == 0);
		CHECK(evr_remote_wait(&remote, evr_now_ns()) == -ETIMEDOUT);
		CHECK(evr_remote_cancel(&remote) == 0);
		CHECK(TIMELY(evr_remote_wait(&remote, until_ns)) == 0);
		CHECK(remote.res == -ECANCELED);
		/* What the driver refuses comes as the result. */
		memset(&remote, 0, sizeof(remote));
		remote.op = evr_op_flagged(evr_op_nop(), EVR_OP_EXACT);
		CHECK(evr_remote_submit(c->injector, &remote) == 0);
		CHECK(TIMELY(evr_remote_wait(&remote, until_ns)) == 0);
		CHECK(remote.res == -EINVAL);
	}
	remote.op = evr_op_flagged(evr_op_nop(), EVR_OP_MULTISHOT);
	CHECK(evr_remote_submit(c->injector, &remote) == -EINVAL);
	evr_a32_fetch_add(&c->done, 1);
	evr_inject_wake(c->injector);
	return NULL;
}

static void remote_ops_of_many_threads(void **state)
{
	struct loop *loop = *state;
	struct remote_case c = { 0 };
	pthread_t threads[3];
	int i;

	assert_int_equal(pipe2(c.fds, O_CLOEXEC), 0);
	c.injector = evr_driver_injector(loop->d);
	for (i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, remote_thread, &c), 0);
	while (evr_a32_load_acquire(&c.done) < 3)
		assert_true(evr_driver_run(loop->d, 1, evr_now_ns() + 5000000) >= 0);
	for (i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	evr_injector_put(c.injector);
	close(c.fds[0]);
	close(c.fds[1]);
}

/* --- messages --- */

static struct {
	uint64_t nr, sum;
	uint32_t kind;
} messages;

static void on_message(struct evr_driver *d, void *user, uint64_t data, uint32_t kind)
{
	messages.nr++;
	messages.sum += data;
	messages.kind = kind;
}

static void message_goes_to_another_driver(void **state)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .inject_max = 4,
					      .on_message = on_message };
	struct loop *loop = *state;
	struct evr_injector *injector;
	struct evr_driver *other;
	int i;

	memset(&messages, 0, sizeof(messages));
	assert_int_equal(evr_driver_create(&other, &options), 0);
	injector = evr_driver_injector(other);
	for (i = 0; i < 4; i++)
		assert_int_equal(loop_do(loop, evr_op_message(injector, 100 + (uint64_t)i, 9)), 0);
	assert_int_equal(loop_do(loop, evr_op_message(injector, 1, 9)), -EAGAIN);
	assert_int_equal(messages.nr, 0);
	evr_driver_run(other, 0, 0);
	assert_int_equal(messages.nr, 4);
	assert_int_equal(messages.sum, 406);
	assert_int_equal(messages.kind, 9);
	assert_int_equal(evr_driver_close(other, pair_deadline()), 0);
	assert_int_equal(loop_do(loop, evr_op_message(injector, 1, 9)), -ESHUTDOWN);
	evr_injector_put(injector);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_MODE_TEST(inject_from_many_threads_loses_none),
		EACH_MODE_TEST(inject_as_it_falls_asleep_wakes),
		cmocka_unit_test(inject_full_says_again),
		cmocka_unit_test(inject_into_a_closing_driver_is_called_or_refused),
		EACH_MODE_TEST(remote_ops_of_many_threads),
		EACH_MODE_TEST(message_goes_to_another_driver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
