/* SPDX-License-Identifier: MIT */
/*
 * Descriptor rings: what was pushed is popped, once, in order, whole; also when either
 * end dies anywhere and another takes its role. The value at position p is p + 1, so
 * that a position lost, repeated or taken too early shows.
 */
#include <errno.h>
#include <string.h>

#include "explore.h"

#define ITEMS_MAX 8

struct state {
	struct evr_spsc in, out, heir_in, heir_out;
	struct evr_waiter waiters[3];
	uint32_t capacity, items, words; /* of an element: 8 bytes each */
	uint64_t popped; /* position up to which a consumer has taken and released */
	bool in_over, out_over;
	int in_end, out_end; /* what the last call of each end returned */
};

static void make(struct state *s, uint32_t capacity, uint32_t items, uint32_t words)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options),
					    .capacity = capacity,
					    .elem_sz = words * 8 };

	s->capacity = capacity;
	s->items = items;
	s->words = words;
	MODEL_CHECK(!evr_spsc_create(model_peer(0), "n", &options));
	MODEL_CHECK(!evr_spsc_open(&s->in, model_peer(0), "n", EVR_PRODUCER, 0));
	MODEL_CHECK(!evr_spsc_open(&s->out, model_peer(1), "n", EVR_CONSUMER, 0));
	model_name_lane(&s->in.lane);
}

/* 0 <= t - h <= span, at every step. */
static void positions_are_ordered(void *state)
{
	struct state *s = state;
	const struct evr_lane_side *side =
		s->in.lane.role == EVR_PRODUCER && s->in.lane.mine ? s->in.lane.mine : NULL;

	if (side)
		MODEL_CHECK(model_peek(&side->pos) - model_peek(&side[1].pos) <= s->capacity);
}

/* Elements for the positions from @pos on, and the look whether these are they. */
static void fill(const struct state *s, uint64_t *elems, uint64_t pos, uint32_t nr)
{
	uint32_t i;

	for (i = 0; i < nr * s->words; i++)
		elems[i] = pos + i / s->words + 1;
}

static void take(struct state *s, const uint64_t *elems, uint64_t pos, uint32_t nr)
{
	uint32_t i;

	for (i = 0; i < nr * s->words; i++)
		MODEL_CHECK(elems[i] == pos + i / s->words + 1);
}

/* @nr at most at once. */
static void push_some(struct state *s, struct evr_spsc *in, uint32_t nr)
{
	uint64_t elems[ITEMS_MAX];
	uint64_t left = s->items - in->lane.pos;

	if (nr > left)
		nr = (uint32_t)left;
	fill(s, elems, in->lane.pos, nr);
	if (!evr_spsc_push(in, elems, nr))
		evr_pause();
}

static void pop_some(struct state *s, struct evr_spsc *out, uint32_t nr)
{
	uint64_t elems[ITEMS_MAX], pos = out->lane.pos;

	nr = evr_spsc_pop(out, elems, nr);
	take(s, elems, pos, nr);
	s->popped = pos + nr;
	if (!nr)
		evr_pause();
}

static void push_singly(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (s->in.lane.pos < s->items)
		push_some(s, &s->in, 1);
	s->in_over = true;
}

static void pop_singly(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (s->out.lane.pos < s->items)
		pop_some(s, &s->out, 1);
	s->out_over = true;
}

static void all_arrived(void *state)
{
	struct state *s = state;

	MODEL_CHECK(s->in.lane.pos == s->items && s->popped == s->items);
}

static void setup_single(void *state)
{
	make(state, 2, 3, 1);
}

SCENARIO(push_pop) = {
	.name = "spsc-push-pop",
	.state_sz = sizeof(struct state),
	.procs = { { "producer", push_singly }, { "consumer", pop_singly } },
	.setup = setup_single,
	.always = positions_are_ordered,
	.end = all_arrived,
	.check = { { MODEL_SC, 4, 0, 0 }, { MODEL_TSO, 3, 0, 2 }, { MODEL_WEAK, 3, 0, 2 } },
	.longer = { { MODEL_SC, 7, 0, 0 }, { MODEL_TSO, 4, 0, 3 }, { MODEL_WEAK, 4, 0, 3 } },
};

/* Batches of elements of two words that go round the end: torn, they would differ. */
static void push_batches(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (s->in.lane.pos < s->items)
		push_some(s, &s->in, 3);
}

static void pop_batches(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (s->out.lane.pos < s->items)
		pop_some(s, &s->out, 2);
}

static void setup_batch(void *state)
{
	uint64_t elems[ITEMS_MAX];
	struct state *s = state;

	make(s, 4, 7, 1);
	s->words = 1;
	/* Two places before the end. */
	push_some(s, &s->in, 2);
	MODEL_CHECK(evr_spsc_pop(&s->out, elems, 2) == 2);
}

SCENARIO(batch) = {
	.name = "spsc-batch-wrap",
	.state_sz = sizeof(struct state),
	.procs = { { "producer", push_batches }, { "consumer", pop_batches } },
	.setup = setup_batch,
	.always = positions_are_ordered,
	.end = all_arrived,
	.check = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
	.longer = { { MODEL_SC, 5, 0, 0 }, { MODEL_WEAK, 3, 0, 3 } },
};

/* In place: written after the reserve, before the commit; read before the release. */
static void commit_all(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t elems[ITEMS_MAX];
	uint32_t nr, wanted;
	void *at;

	while (s->in.lane.pos < s->items) {
		wanted = nr = s->items - s->in.lane.pos < 2 ? 1 : 2;
		at = evr_spsc_reserve(&s->in, &nr);
		MODEL_CHECK(nr <= wanted && !!at == !!nr);
		if (!at) {
			evr_pause();
			continue;
		}
		fill(s, elems, s->in.lane.pos, nr);
		evr_copy_in(at, elems, nr * s->words * 8);
		evr_spsc_commit(&s->in, nr);
	}
}

static void release_all(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t elems[ITEMS_MAX], pos;
	const void *at;
	uint32_t nr;

	while (s->out.lane.pos < s->items) {
		pos = s->out.lane.pos;
		nr = 2;
		at = evr_spsc_peek(&s->out, &nr);
		if (!at) {
			evr_pause();
			continue;
		}
		evr_copy_out(elems, at, nr * s->words * 8);
		take(s, elems, pos, nr);
		evr_spsc_release(&s->out, nr);
		s->popped = pos + nr;
	}
}

static void setup_in_place(void *state)
{
	make(state, 2, 3, 2);
}

SCENARIO(in_place) = {
	.name = "spsc-reserve-commit-peek-release",
	.state_sz = sizeof(struct state),
	.procs = { { "producer", commit_all }, { "consumer", release_all } },
	.setup = setup_in_place,
	.always = positions_are_ordered,
	.end = all_arrived,
	.check = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
	.longer = { { MODEL_SC, 5, 0, 0 }, { MODEL_WEAK, 3, 0, 3 } },
};

static bool is_heirs_turn(void *state)
{
	struct state *s = state;

	return (s->in_over && s->out_over) || model_ended(0) || model_ended(1);
}

/*
 * Who takes over: reaps who died in a role, goes on from its position, and gives the
 * role back. What a dead consumer took and did not release comes again.
 */
static void take_over(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	model_until(is_heirs_turn, s);
	if (!s->in_over && model_ended(0)) {
		MODEL_CHECK(!evr_spsc_open(&s->heir_in, peer, "n", EVR_PRODUCER, 0));
		MODEL_CHECK(s->heir_in.lane.pos <= s->items);
		while (s->heir_in.lane.pos < s->items)
			push_some(s, &s->heir_in, 1);
		evr_spsc_close(&s->heir_in);
		s->in_over = true;
	}
	if (!s->out_over && model_ended(1)) {
		MODEL_CHECK(!evr_spsc_open(&s->heir_out, peer, "n", EVR_CONSUMER, 0));
		MODEL_CHECK(s->heir_out.lane.pos <= s->items);
		MODEL_CHECK(s->heir_out.lane.pos >= s->popped);
		while (s->heir_out.lane.pos < s->items && !model_ended(0))
			pop_some(s, &s->heir_out, 1);
		s->out_over = s->heir_out.lane.pos == s->items;
		evr_spsc_close(&s->heir_out);
	}
}

/* All died are reaped; then both roles can be had, and the rest goes through. */
static void settled_and_usable(void *state)
{
	struct evr_peer *peer = model_auditor();
	struct evr_reap_report report = { 0 };
	struct evr_dir_info info;
	struct state *s = state;
	bool in_is_free;

	MODEL_CHECK(evr_reap_dead(peer, &report) >= 0);
	MODEL_CHECK(report.sides <= 2 * model_crashes());
	MODEL_CHECK(!evr_dir_info(peer, &info) && info.entries == 1 && !info.claimed);
	in_is_free = !s->in_over || !s->in.lane.mine;
	if (in_is_free) {
		MODEL_CHECK(!evr_spsc_open(&s->heir_in, peer, "n", EVR_PRODUCER, 0));
		MODEL_CHECK(s->heir_in.lane.pos <= s->items);
	}
	if (!s->out_over || !s->out.lane.mine) {
		MODEL_CHECK(!evr_spsc_open(&s->heir_out, peer, "n", EVR_CONSUMER, 0));
		MODEL_CHECK(s->heir_out.lane.pos >= s->popped);
		while (s->heir_out.lane.pos < s->items) {
			if (in_is_free && s->heir_in.lane.pos < s->items)
				push_some(s, &s->heir_in, 1);
			pop_some(s, &s->heir_out, 1);
		}
	}
	MODEL_CHECK(evr_reap_dead(peer, NULL) == 0);
}

/* Until all is there, or nobody is left who would send it: then the auditor has the rest. */
static void pop_as_long_as_it_comes(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (s->out.lane.pos < s->items && !(model_ended(0) && model_ended(2)))
		pop_some(s, &s->out, 1);
	s->out_over = s->out.lane.pos == s->items;
	if (!s->out_over)
		evr_spsc_close(&s->out);
}

static void setup_takeover(void *state)
{
	make(state, 2, 2, 1);
}

SCENARIO(takeover) = {
	.name = "spsc-takeover-after-death",
	.state_sz = sizeof(struct state),
	.procs = { { "producer", push_singly },
		   { "consumer", pop_as_long_as_it_comes },
		   { "heir", take_over } },
	.setup = setup_takeover,
	.end = settled_and_usable,
	.check = { { MODEL_SC, 1, 1, 0 }, { MODEL_WEAK, 1, 1, 1 } },
	.longer = { { MODEL_SC, 2, 2, 0 }, { MODEL_SC, 1, 3, 0 }, { MODEL_WEAK, 2, 1, 1 } },
};

/* The waiting forms: a full and an empty ring, sleep, close, and what each end is told. */
static void push_wait(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t elem;

	s->in_end = 1;
	while (s->in_end == 1 && s->in.lane.pos < s->items) {
		fill(s, &elem, s->in.lane.pos, 1);
		s->in_end = evr_spsc_push_wait(&s->in, &s->waiters[0], &elem, 1, EVR_NO_DEADLINE);
	}
	evr_spsc_close(&s->in);
	s->in_over = true;
}

static void pop_wait(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t elem, pos;

	for (;;) {
		pos = s->out.lane.pos;
		s->out_end = evr_spsc_pop_wait(&s->out, &s->waiters[1], &elem, 1, EVR_NO_DEADLINE);
		if (s->out_end != 1)
			break;
		take(s, &elem, pos, 1);
		s->popped = pos + 1;
	}
	evr_spsc_close(&s->out);
	s->out_over = true;
}

static void make_waiters(struct state *s)
{
	uint32_t i;

	for (i = 0; i < 2; i++)
		MODEL_CHECK(!evr_waiter_init(&s->waiters[i], model_peer(i), EVR_WAIT_SLEEP));
}

static void setup_wait(void *state)
{
	make(state, 1, 2, 1);
	make_waiters(state);
}

/* Says AWAKE with each look at the other side, so that parks use the barrier on all. */
static void setup_wait_awake(void *state)
{
	struct state *s = state;

	setup_wait(s);
	s->in.lane.calm_step = 0;
	s->out.lane.calm_step = 0;
}

/* The living are told the truth, and all that was published came first. */
static void ends_are_told(void *state)
{
	struct state *s = state;

	if (!model_died(0) && !model_died(1)) {
		MODEL_CHECK(s->in_end == 1 && s->out_end == -EPIPE && s->popped == s->items);
		return;
	}
	if (!model_died(1))
		MODEL_CHECK(s->out_end == -EPIPE || s->out_end == -EOWNERDEAD);
	if (!model_died(1) && s->out_end == -EPIPE)
		MODEL_CHECK(s->popped == s->items);
	if (!model_died(0))
		MODEL_CHECK(s->in_end == 1 || s->in_end == -EOWNERDEAD || s->in_end == -EPIPE);
	settled_and_usable(s);
}

SCENARIO(wait) = {
	.name = "spsc-wait-and-close",
	.state_sz = sizeof(struct state),
	.procs = { { "producer", push_wait }, { "consumer", pop_wait } },
	.setup = setup_wait,
	.end = ends_are_told,
	.check = { { MODEL_SC, 2, 1, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
	.longer = { { MODEL_SC, 3, 1, 0 },
		    { MODEL_SC, 2, 2, 0 },
		    { MODEL_TSO, 3, 0, 3 },
		    { MODEL_WEAK, 2, 1, 2 } },
};

SCENARIO(wait_awake) = {
	.name = "spsc-wait-awake",
	.state_sz = sizeof(struct state),
	.procs = { { "producer", push_wait }, { "consumer", pop_wait } },
	.setup = setup_wait_awake,
	.end = ends_are_told,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
	.longer = { { MODEL_SC, 3, 1, 0 }, { MODEL_TSO, 3, 0, 3 }, { MODEL_WEAK, 3, 0, 2 } },
};

/* Two that want one role: never do both have it. */
static void claim_and_push(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_spsc *in = model_self() ? &s->heir_in : &s->in;
	int err = evr_spsc_open(in, peer, "n", EVR_PRODUCER, 0);

	if (err) {
		MODEL_CHECK(err == -EBUSY);
		return;
	}
	MODEL_CHECK(!s->in_over);
	s->in_over = true;
	push_some(s, in, 1);
	s->in_over = false;
	evr_spsc_close(in);
}

static void setup_claimers(void *state)
{
	struct state *s = state;

	make(s, 4, 4, 1);
	evr_spsc_close(&s->in);
	evr_spsc_close(&s->out);
}

static void claims_arrived(void *state)
{
	struct state *s = state;
	uint64_t elems[ITEMS_MAX];
	uint32_t nr;

	MODEL_CHECK(!evr_spsc_open(&s->heir_out, model_auditor(), "n", EVR_CONSUMER, 0));
	nr = evr_spsc_pop(&s->heir_out, elems, ITEMS_MAX);
	take(s, elems, 0, nr);
	MODEL_CHECK(nr == 1 || nr == 2);
}

SCENARIO(two_claimers) = {
	.name = "spsc-two-claimers",
	.state_sz = sizeof(struct state),
	.procs = { { "first", claim_and_push }, { "second", claim_and_push } },
	.setup = setup_claimers,
	.end = claims_arrived,
	.check = { { MODEL_SC, 3, 0, 0 }, { MODEL_WEAK, 2, 0, 2 } },
	.longer = { { MODEL_SC, 4, 0, 0 }, { MODEL_WEAK, 3, 0, 3 } },
};

/* A consumer leaves and another sleeps in the role: the bell goes to who sleeps. */
static void pop_one_and_leave(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t elem;

	MODEL_CHECK(evr_spsc_pop_wait(&s->out, &s->waiters[1], &elem, 1, EVR_NO_DEADLINE) == 1);
	MODEL_CHECK(elem == 1);
	evr_spsc_close(&s->out);
	s->out_over = true;
}

static bool consumer_has_left(void *state)
{
	return ((struct state *)state)->out_over;
}

static void pop_rest(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t elem;

	model_until(consumer_has_left, s);
	MODEL_CHECK(!evr_spsc_open(&s->heir_out, peer, "n", EVR_CONSUMER, 0));
	while (s->heir_out.lane.pos < s->items) {
		MODEL_CHECK(evr_spsc_pop_wait(&s->heir_out, &s->waiters[2], &elem, 1,
					      EVR_NO_DEADLINE) == 1);
		MODEL_CHECK(elem == s->heir_out.lane.pos);
	}
}

static void push_two(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (s->in.lane.pos < s->items)
		push_some(s, &s->in, 1);
}

static void setup_wait_takeover(void *state)
{
	struct state *s = state;

	make(s, 2, 2, 1);
	make_waiters(s);
	MODEL_CHECK(!evr_waiter_init(&s->waiters[2], model_peer(2), EVR_WAIT_SLEEP));
}

SCENARIO(wait_takeover) = {
	.name = "spsc-wait-takeover",
	.state_sz = sizeof(struct state),
	.procs = { { "producer", push_two },
		   { "consumer", pop_one_and_leave },
		   { "heir", pop_rest } },
	.setup = setup_wait_takeover,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* A hostile other side: whatever its words say, this end stays in the ring and comes to an end. */
static void scribble(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_lane_side *side = (struct evr_lane_side *)s->in.lane.other;
	struct evr_a64 *words[] = { &side->pos, &side->need.word };

	model_scribble(words, 2, 2);
}

static void push_or_stop(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t elems[ITEMS_MAX];
	uint32_t i, nr;

	for (i = 0; i < 4; i++) {
		fill(s, elems, s->in.lane.pos, 2);
		nr = evr_spsc_push(&s->in, elems, 2);
		MODEL_CHECK(nr <= 2 && evr_lane_avail(&s->in.lane) <= s->capacity);
		if (!nr && evr_spsc_state(&s->in) != EVR_RING_OK)
			break;
	}
	evr_spsc_close(&s->in);
}

static void setup_hostile(void *state)
{
	struct state *s = state;

	make(s, 2, 8, 1);
}

SCENARIO(hostile_consumer) = {
	.name = "spsc-hostile-consumer",
	.state_sz = sizeof(struct state),
	.procs = { { "producer", push_or_stop }, { "hostile", scribble } },
	.setup = setup_hostile,
	.check = { { MODEL_SC, 3, 0, 0 } },
	.longer = { { MODEL_SC, 5, 0, 0 } },
};

static void scribble_producer(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_lane_side *side = (struct evr_lane_side *)s->out.lane.other;
	struct evr_a64 *words[] = { &side->pos, &side->need.word };

	model_scribble(words, 2, 2);
}

static void pop_or_stop(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t elems[ITEMS_MAX];
	uint32_t i, nr;

	for (i = 0; i < 4; i++) {
		nr = evr_spsc_pop(&s->out, elems, 2);
		MODEL_CHECK(nr <= 2 && evr_lane_avail(&s->out.lane) <= s->capacity);
		if (!nr && evr_spsc_state(&s->out) != EVR_RING_OK)
			break;
	}
	evr_spsc_close(&s->out);
}

SCENARIO(hostile_producer) = {
	.name = "spsc-hostile-producer",
	.state_sz = sizeof(struct state),
	.procs = { { "hostile", scribble_producer }, { "consumer", pop_or_stop } },
	.setup = setup_hostile,
	.check = { { MODEL_SC, 3, 0, 0 } },
	.longer = { { MODEL_SC, 5, 0, 0 } },
};
