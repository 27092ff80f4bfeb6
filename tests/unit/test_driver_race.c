/* SPDX-License-Identifier: MIT */
/*
 * Each op that waits is let go by another thread, at some moment, while it is cancelled: one
 * terminal completion, with its own result or as cancelled, and nobody touches its buffer
 * afterwards. Then the same without a race: it was let go, and the loop has not looked.
 *
 * Mutants seen to fail here: a result that a cancel replaces; an op that is over as soon as its cancel
 * is; a buffer that a cancelled receive has, and that nobody gives back.
 */
#include "waits.h"

/* Of all ops that can be let go there are 13: a hundred thousand races in check-long. */
#define LEAD_MAX 60000
#define RACES (getenv("EVERING_TEST_LONG") ? 8000 : 60)

struct racer {
	void (*let)(struct waits *w);
	struct waits *w;
	struct evr_a32 round, started, done;
	struct evr_a32 spins;
};

/* One round: until it is told to begin, then a while, then let it go. */
static void *racer_thread(void *arg)
{
	struct racer *r = arg;
	uint32_t round, spins;

	for (round = 1;; round++) {
		while (evr_a32_load_acquire(&r->round) != round)
			sched_yield();
		if (!r->let)
			return NULL;
		evr_a32_store_release(&r->started, round);
		for (spins = evr_a32_load_relaxed(&r->spins); spins; spins--)
			evr_pause();
		r->let(r->w);
		evr_a32_store_release(&r->done, round);
	}
}

/* What it brings is given back. */
static void raced_done(struct evr_driver *d, const struct evr_completion *done)
{
	struct seen *seen = done->arg;
	bool is_terminal_of_many = seen->all && !(done->flags & EVR_DONE_MORE);

	/* After a multishot's news its end is no result; on 6.1 it ends at once, without a second buffer. */
	seen_done(d, done);
	if (is_terminal_of_many && (done->res == -ECANCELED || done->res == -ENOBUFS))
		seen->res = 1;
	if (done->flags & EVR_DONE_BUFFER)
		CHECK(evr_buffers_return(d, done->bgid, done->bid) == 0);
}

static void accepted_done(struct evr_driver *d, const struct evr_completion *done)
{
	raced_done(d, done);
	if (done->res >= 0)
		close(done->res);
}

static bool makes_a_file(size_t i)
{
	return ops[i].let == let_connect;
}

static uint64_t start(struct loop *loop, size_t i, struct waits *w, struct seen *seen)
{
	struct evr_op op;
	uint64_t id;

	waits_open(w);
	memset(seen, 0, sizeof(*seen));
	op = evr_op_then(ops[i].op(w), makes_a_file(i) ? accepted_done : raced_done, seen);
	assert_int_equal(evr_driver_submit(loop->d, &op, &id), 0);
	assert_int_equal(evr_driver_flush(loop->d), 0);
	return id;
}

/* True: it was cancelled, and had done nothing. */
static bool end(struct loop *loop, size_t i, struct waits *w, struct seen *seen)
{
	bool was_cancelled;

	loop_finish(loop, seen);
	was_cancelled = seen->res == -ECANCELED;
	/* A thread of the pool may begin with a word that has changed. */
	if (!was_cancelled && seen->res < 0 && !(seen->res == -EAGAIN && ops[i].let == let_wake))
		fail_msg("%s: %d", ops[i].name, seen->res);
	if (was_cancelled && w->buf[0] == 'x' && ops[i].let != let_read)
		fail_msg("%s: cancelled, and it has read", ops[i].name);
	loop_rounds(loop, i % 8 == 0);
	assert_int_equal(seen->terminal, 1);
	assert_int_equal(evr_buffers_nr(loop->d, 1), 1);
	waits_close(w);
	return was_cancelled;
}

/* Which of both is first is a matter of some microseconds; they follow each other closely. */
static int race(struct loop *loop, size_t i, struct racer *r, uint64_t *seed)
{
	int cancelled = 0, all = 0, lead = 0, step = 100, races = RACES;
	uint32_t round = evr_a32_load_relaxed(&r->round);
	struct seen seen;
	struct waits w;
	uint64_t id, spins;
	bool was_cancelled, before = false;

	r->let = ops[i].let;
	r->w = &w;
	for (; all < races; all++) {
		id = start(loop, i, &w, &seen);
		spins = pair_random(seed) % 500;
		evr_a32_store_relaxed(&r->spins, (uint32_t)(lead > 0 ? lead : 0) + 100);
		evr_a32_store_release(&r->round, ++round);
		while (evr_a32_load_acquire(&r->started) != round)
			sched_yield();
		for (spins += (uint64_t)(lead < 0 ? -lead : 0); spins; spins--)
			evr_pause();
		if (all % 2)
			assert_true(evr_driver_run(loop->d, 0, 0) >= 0);
		/* Over already: it was first. */
		evr_driver_cancel(loop->d, id);
		assert_int_equal(evr_driver_flush(loop->d), 0);
		while (evr_a32_load_acquire(&r->done) != round)
			sched_yield();
		was_cancelled = end(loop, i, &w, &seen);
		cancelled += was_cancelled;
		/* Whoever was first starts later, and ever later while it is first. */
		step = was_cancelled == before && step < LEAD_MAX ? step * 2 : 100;
		lead += was_cancelled ? -step : step;
		if (lead > LEAD_MAX || lead < -LEAD_MAX)
			lead = 0;
		before = was_cancelled;
	}
	print_message("# %s: %d races, %d cancelled\n", ops[i].name, all, cancelled);
	return all;
}

static void race_of_each_op_with_its_cancel(void **state)
{
	struct loop *loop = *state;
	static char buffer[64];
	struct racer r = { 0 };
	uint64_t seed = 3;
	pthread_t thread;
	int all = 0;
	size_t i;

	assert_int_equal(evr_buffers_create(loop->d, 1, 1), 0);
	assert_int_equal(evr_buffers_provide(loop->d, 1, 0, buffer, sizeof(buffer)), 0);
	assert_int_equal(pthread_create(&thread, NULL, racer_thread, &r), 0);
	for (i = 0; i < OPS_NR; i++)
		if (ops[i].let)
			all += race(loop, i, &r, &seed);
	r.let = NULL;
	evr_a32_store_release(&r.round, evr_a32_load_relaxed(&r.round) + 1);
	pthread_join(thread, NULL);
	print_message("# %d cancel races in mode %s\n", all, evr_driver_mode_name(loop->mode));
	assert_int_equal(evr_buffers_destroy(loop->d, 1), 0);
}

/* It is over for the kernel, or for the pool, and not for the loop. */
static void cancel_of_what_is_over_and_was_not_looked_at(void **state)
{
	struct loop *loop = *state;
	static char buffer[64];
	struct seen seen;
	struct waits w;
	uint64_t id;
	size_t i;
	int when;

	assert_int_equal(evr_buffers_create(loop->d, 1, 1), 0);
	assert_int_equal(evr_buffers_provide(loop->d, 1, 0, buffer, sizeof(buffer)), 0);
	for (i = 0; i < OPS_NR; i++) {
		for (when = 0; ops[i].let && when < 2; when++) {
			id = start(loop, i, &w, &seen);
			if (when)
				loop_rounds(loop, 1);
			ops[i].let(&w);
			pair_sleep_us(2000);
			assert_int_equal(seen.all, 0);
			assert_int_equal(evr_driver_cancel(loop->d, id), 0);
			end(loop, i, &w, &seen);
			assert_true(seen.flags & EVR_DONE_CANCELED);
			assert_int_equal(evr_driver_cancel(loop->d, id), -ENOENT);
		}
	}
	assert_int_equal(evr_buffers_destroy(loop->d, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_MODE_TEST(race_of_each_op_with_its_cancel),
		EACH_MODE_TEST(cancel_of_what_is_over_and_was_not_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
