/* SPDX-License-Identifier: MIT */
/*
 * Queues of many: each element once, those of one producer in order, whoever dies where;
 * then accepted = delivered + lost, exactly, and the queue takes its capacity again. And
 * none sleeps beside what there is for it.
 */
#include "explore.h"

#include "crowd.h"
#include "mpmc.h"

#define CAPACITY 2
#define ITEMS_MAX 4

struct state {
	struct evr_mpmc queues[MODEL_PROCS_MAX];
	struct evr_waiter waiters[MODEL_PROCS_MAX];
	uint32_t elem_sz;
	uint64_t pushed[MODEL_PROCS_MAX]; /* by calls that came back */
	uint64_t last[MODEL_PROCS_MAX][MODEL_PROCS_MAX]; /* that who took of whom */
	uint8_t seen[MODEL_PROCS_MAX][ITEMS_MAX + 1];
	uint64_t taken; /* by calls that came back */
};

static void open_all(struct state *s, uint32_t elem_sz, uint32_t procs)
{
	struct evr_mpmc_options options = { .struct_sz = sizeof(options),
					    .capacity = CAPACITY,
					    .elem_sz = elem_sz };
	uint32_t i;

	s->elem_sz = elem_sz;
	MODEL_CHECK(!evr_mpmc_create(model_peer(0), "q", &options));
	for (i = 0; i < procs; i++)
		MODEL_CHECK(!evr_mpmc_open(&s->queues[i], model_peer(i), "q", 0));
	model_name(s->queues[0].shared->ledgers, 16, "ledgers");
	model_name(s->queues[0].ends[0].waiting, evr_crowd_sz(4), "pushers");
	model_name(s->queues[0].ends[1].waiting, evr_crowd_sz(4), "poppers");
	model_name(s->queues[0].cells, CAPACITY * s->queues[0].stride, "cells");
}

static void setup(void *state)
{
	open_all(state, 8, 3);
}

static void setup_words(void *state)
{
	open_all(state, 4, 3);
}

static void setup_two(void *state)
{
	open_all(state, 8, 2);
}

/* The next @nr elements of the calling process, of {who:8 | number:8}. */
static uint32_t push_some(struct state *s, uint32_t nr)
{
	uint32_t self = model_self(), i, done;
	uint8_t elems[CAPACITY * 8] = { 0 };

	for (i = 0; i < nr; i++) {
		elems[i * s->elem_sz] = (uint8_t)(s->pushed[self] + i + 1);
		elems[i * s->elem_sz + 1] = (uint8_t)self;
	}
	done = evr_mpmc_push(&s->queues[self], elems, nr);
	s->pushed[self] += done;
	return done;
}

static void take(struct state *s, uint32_t self, const uint8_t *elems, uint32_t nr)
{
	uint32_t i, number, who;

	for (i = 0; i < nr; i++) {
		number = elems[i * s->elem_sz];
		who = elems[i * s->elem_sz + 1];
		model_note("takes %u of %u", number, who);
		MODEL_CHECK(who < MODEL_PROCS_MAX && number && number <= ITEMS_MAX);
		MODEL_CHECK(!s->seen[who][number]++);
		MODEL_CHECK(number > s->last[self][who]);
		s->last[self][who] = number;
		s->taken++;
	}
}

static uint32_t pop_some(struct state *s, uint32_t nr)
{
	uint32_t self = model_self();
	uint8_t elems[CAPACITY * 8];

	nr = evr_mpmc_pop(&s->queues[self], elems, nr);
	take(s, self, elems, nr);
	return nr;
}

static void push_singly(struct evr_peer *peer, void *state)
{
	push_some(state, 1);
	push_some(state, 1);
}

static void push_runs(struct evr_peer *peer, void *state)
{
	push_some(state, 2);
	push_some(state, 2);
}

static void pop_singly(struct evr_peer *peer, void *state)
{
	pop_some(state, 1);
	pop_some(state, 1);
	pop_some(state, 1);
}

static void pop_runs(struct evr_peer *peer, void *state)
{
	pop_some(state, 2);
	pop_some(state, 2);
}

static void grants(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_mpmc *q = &s->queues[model_self()];
	const uint64_t *from;
	uint64_t *to, value;

	to = evr_mpmc_reserve(q);
	from = evr_mpmc_peek(q);
	if (to) {
		value = (uint64_t)model_self() << 8 | 1;
		evr_copy_in(to, &value, 8);
		evr_mpmc_commit(q);
		s->pushed[model_self()]++;
	}
	if (from) {
		evr_copy_out(&value, from, 8);
		evr_mpmc_release(q);
		take(s, model_self(), (uint8_t *)&value, 1);
	}
}

/* Reap, drain, add up, and use it. */
static void all_adds_up(void *state)
{
	struct state *s = state;
	struct evr_mpmc_counts c;
	struct evr_mpmc q;
	uint8_t elems[CAPACITY * 8] = { 0 };
	uint64_t before, came_back = 0;
	uint32_t i, nr;

	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	MODEL_CHECK(!evr_mpmc_open(&q, model_auditor(), "q", 0));
	while ((nr = evr_mpmc_pop(&q, elems, CAPACITY)))
		take(s, MODEL_PROCS_MAX - 1, elems, nr);
	MODEL_CHECK(evr_mpmc_state(&q) == EVR_RING_OK);
	evr_mpmc_counts(&q, &c);
	MODEL_CHECK(c.in == c.out && !c.corrupt);
	for (i = 0; i < MODEL_PROCS_MAX; i++)
		came_back += s->pushed[i];
	before = c.in - c.holes - c.lost;
	/* A call that never came back may have done its work all the same. */
	MODEL_CHECK(c.in - c.holes >= came_back && before >= s->taken);
	if (!model_crashes())
		MODEL_CHECK(c.in == came_back && before == s->taken && !c.holes && !c.lost);
	MODEL_CHECK(before - s->taken <= CAPACITY * model_crashes());
	MODEL_CHECK(evr_mpmc_push(&q, elems, CAPACITY) == CAPACITY);
	MODEL_CHECK(!evr_mpmc_push(&q, elems, 1));
	MODEL_CHECK(evr_mpmc_pop(&q, elems, CAPACITY) == CAPACITY);
	MODEL_CHECK(!evr_mpmc_pop(&q, elems, 1));
	evr_mpmc_close(&q);
}

SCENARIO(mpmc_push_pop) = {
	.name = "mpmc-push-pop",
	.state_sz = sizeof(struct state),
	.procs = { { "singles", push_singly }, { "runs", push_runs }, { "pops", pop_singly } },
	.setup = setup,
	.end = all_adds_up,
	.check = { { MODEL_SC, 3, 0, 0 },
		   { MODEL_SC, 2, 1, 0 },
		   { MODEL_TSO, 2, 0, 2 },
		   { MODEL_WEAK, 2, 0, 2 } },
	.longer = { { MODEL_SC, 4, 0, 0 },
		    { MODEL_SC, 3, 1, 0 },
		    { MODEL_SC, 2, 2, 0 },
		    { MODEL_TSO, 3, 0, 2 },
		    { MODEL_WEAK, 2, 1, 2, .sample = 5 },
		    { MODEL_WEAK, 3, 0, 2 } },
};

SCENARIO(mpmc_runs) = {
	.name = "mpmc-runs",
	.state_sz = sizeof(struct state),
	.procs = { { "runs", push_runs }, { "pops", pop_runs }, { "pops-too", pop_runs } },
	.setup = setup,
	.end = all_adds_up,
	.check = { { MODEL_SC, 3, 0, 0 },
		   { MODEL_SC, 2, 1, 0 },
		   { MODEL_TSO, 2, 0, 2 },
		   { MODEL_WEAK, 2, 0, 2 } },
	.longer = { { MODEL_SC, 4, 0, 0 },
		    { MODEL_SC, 3, 1, 0 },
		    { MODEL_SC, 2, 2, 0 },
		    { MODEL_TSO, 3, 0, 2 },
		    { MODEL_WEAK, 2, 1, 2 },
		    { MODEL_WEAK, 3, 0, 2 } },
};

SCENARIO(mpmc_words) = {
	.name = "mpmc-words",
	.state_sz = sizeof(struct state),
	.procs = { { "singles", push_singly }, { "runs", push_runs }, { "pops", pop_singly } },
	.setup = setup_words,
	.end = all_adds_up,
	.check = { { MODEL_SC, 3, 1, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
	.longer = { { MODEL_SC, 4, 2, 0 }, { MODEL_TSO, 3, 1, 2 }, { MODEL_WEAK, 3, 1, 2 } },
};

SCENARIO(mpmc_grants) = {
	.name = "mpmc-grants",
	.state_sz = sizeof(struct state),
	.procs = { { "grants", grants }, { "grants-too", grants }, { "pops", pop_singly } },
	.setup = setup,
	.end = all_adds_up,
	.check = { { MODEL_SC, 2, 1, 0 }, { MODEL_SC, 1, 2, 0 } },
	.longer = { { MODEL_SC, 3, 1, 0 }, { MODEL_SC, 2, 2, 0 }, { MODEL_WEAK, 2, 1, 1 } },
};

/* Two sleep, each for one element; two are pushed, together or one by one. */
static void open_and_wait(struct state *s, uint32_t procs)
{
	uint32_t i;

	open_all(s, 8, procs);
	for (i = 0; i < procs; i++)
		MODEL_CHECK(!evr_waiter_init(&s->waiters[i], model_peer(i), EVR_WAIT_SLEEP));
}

static void setup_sleep(void *state)
{
	open_and_wait(state, 3);
}

static void setup_sleep_four(void *state)
{
	open_and_wait(state, 4);
}

static void sleep_for_one(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t self = model_self();
	uint8_t elem[8];
	int nr;

	nr = evr_mpmc_pop_wait(&s->queues[self], &s->waiters[self], elem, 1, EVR_NO_DEADLINE);
	MODEL_CHECK(nr == 1);
	take(s, self, elem, 1);
}

static void push_one(struct evr_peer *peer, void *state)
{
	push_some(state, 1);
}

static void push_two(struct evr_peer *peer, void *state)
{
	push_some(state, 2);
}

/* Who still sleeps has nothing to sleep beside. */
static void nobody_overslept(void *state)
{
	struct state *s = state;
	uint32_t i, waiting = 0;
	struct evr_mpmc_counts c;

	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	for (i = 0; i < 2; i++)
		waiting += !model_finished(i) && !model_died(i);
	evr_mpmc_counts(&s->queues[0], &c);
	MODEL_CHECK(!waiting || c.in == c.out);
}

SCENARIO(mpmc_sleep) = {
	.name = "mpmc-sleep",
	.state_sz = sizeof(struct state),
	.procs = { { "sleeper", sleep_for_one },
		   { "sleeper-too", sleep_for_one },
		   { "pusher", push_one },
		   { "pusher-too", push_one } },
	.setup = setup_sleep_four,
	.end = nobody_overslept,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 2 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 },
		    { MODEL_TSO, 2, 0, 2 },
		    { MODEL_WEAK, 2, 0, 2, .sample = 13 } },
};

SCENARIO(mpmc_sleep_dies) = {
	.name = "mpmc-sleep-dies",
	.flags = MODEL_MAY_SLEEP,
	.state_sz = sizeof(struct state),
	.procs = { { "sleeper", sleep_for_one },
		   { "sleeper-too", sleep_for_one },
		   { "pusher", push_two } },
	.setup = setup_sleep,
	.end = nobody_overslept,
	.check = { { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 2, 1, 0 }, { MODEL_SC, 1, 2, 0 }, { MODEL_TSO, 1, 1, 2 } },
};

/* Two threads of one peer: they share a slot's bit. */
static void setup_threads(void *state)
{
	struct state *s = state;

	open_and_wait(s, 3);
	evr_mpmc_close(&s->queues[1]);
	evr_waiter_fini(&s->waiters[1]);
	MODEL_CHECK(!evr_mpmc_open(&s->queues[1], model_peer(0), "q", 0));
	MODEL_CHECK(!evr_waiter_init(&s->waiters[1], model_peer(0), EVR_WAIT_SLEEP));
}

static void push_two_singly(struct evr_peer *peer, void *state)
{
	push_some(state, 1);
	push_some(state, 1);
}

SCENARIO(mpmc_sleep_threads) = {
	.name = "mpmc-sleep-threads",
	.flags = MODEL_THREADS,
	.state_sz = sizeof(struct state),
	.procs = { { "thread", sleep_for_one },
		   { "thread-too", sleep_for_one },
		   { "pusher", push_two_singly } },
	.setup = setup_threads,
	.end = nobody_overslept,
	.check = { { MODEL_SC, 2, 0, 0 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 2 } },
};

/* Room is waited for as elements are. */
static void sleep_for_room(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t self = model_self();
	uint8_t elem[8] = { (uint8_t)(s->pushed[self] + 1), (uint8_t)self };

	MODEL_CHECK(evr_mpmc_push_wait(&s->queues[self], &s->waiters[self], elem, 1,
				       EVR_NO_DEADLINE) == 1);
	s->pushed[self]++;
}

static void setup_full(void *state)
{
	uint64_t elems[CAPACITY] = { 2 << 8 | 1, 2 << 8 | 2 };
	struct state *s = state;

	setup_sleep(s);
	MODEL_CHECK(evr_mpmc_push(&s->queues[2], elems, CAPACITY) == CAPACITY);
	s->pushed[2] = CAPACITY;
}

static void pop_two(struct evr_peer *peer, void *state)
{
	pop_some(state, 1);
	pop_some(state, 1);
}

SCENARIO(mpmc_sleep_full) = {
	.name = "mpmc-sleep-full",
	.state_sz = sizeof(struct state),
	.procs = { { "sleeper", sleep_for_room },
		   { "sleeper-too", sleep_for_room },
		   { "popper", pop_two } },
	.setup = setup_full,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 2, 0, 2 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 3 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* Cells and ledgers are anybody's to write: those who keep to the rules must come to an end. */
static void scribble(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_mpmc *q = &s->queues[model_self()];
	struct evr_a64 *words[] = {
		(struct evr_a64 *)q->cells, (struct evr_a64 *)(q->cells + q->stride),
		&q->shared->ledgers[0],	    &q->shared->ledgers[1],
		&q->ends[1].waiting->state, &q->ends[1].waiting->slots[0]
	};

	model_scribble(words, 6, 1);
}

static void use_it(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_mpmc *q = &s->queues[model_self()];
	uint64_t elems[CAPACITY] = { 0 };

	evr_mpmc_push(q, elems, 2);
	evr_mpmc_pop(q, elems, 2);
	evr_mpmc_peek(q);
	evr_mpmc_close(q);
}

static void ends(void *state)
{
	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
}

SCENARIO(mpmc_hostile) = {
	.name = "mpmc-hostile",
	.state_sz = sizeof(struct state),
	.steps_max = 50000,
	.procs = { { "user", use_it }, { "hostile", scribble } },
	.setup = setup_two,
	.end = ends,
	.check = { { MODEL_SC, 2, 0, 0 } },
	.longer = { { MODEL_SC, 3, 0, 0 } },
};
