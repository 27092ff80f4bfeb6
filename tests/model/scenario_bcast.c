/* SPDX-License-Identifier: MIT */
/*
 * Broadcasts: what a reader gets is whole, in order and once, and what it does not get it
 * counts; a subscriber gets all, from where it has come, and never stands in the way once it
 * has died; nobody sleeps beside what there is for it.
 *
 * An element is its position twice, copied in two steps.
 */
#include <errno.h>

#include "explore.h"

#include "bcast.h"

struct elem {
	uint64_t first, second;
};

struct state {
	struct evr_bcast b[MODEL_PROCS_MAX];
	struct evr_waiter waiters[MODEL_PROCS_MAX];
	uint64_t published; /* by calls that came back */
	uint64_t got[MODEL_PROCS_MAX]; /* elements delivered to whom */
	uint32_t is_open[MODEL_PROCS_MAX];
};

static void make(uint32_t capacity, uint32_t seats)
{
	struct evr_bcast_options options = { .struct_sz = sizeof(options),
					     .capacity = capacity,
					     .elem_sz = sizeof(struct elem),
					     .seats = seats };

	MODEL_CHECK(!evr_bcast_create(model_peer(0), "b", &options));
}

static void open_as(struct state *s, uint32_t i, enum evr_role role)
{
	MODEL_CHECK(!evr_bcast_open(&s->b[i], model_peer(i), "b", role, 0));
	s->is_open[i] = 1;
}

static void name_all(const struct evr_bcast *b)
{
	const struct evr_lane_side *side = b->lane.role == EVR_PRODUCER ? b->lane.mine :
									  b->lane.other;
	static const char *const owners[] = { "seat 0 owner", "seat 1 owner" };
	static const char *const sides[] = { "seat 0 pos, partner", "seat 1 pos, partner" };
	uint32_t i;

	model_name(&side->pos, 8, "pos");
	model_name(&side->base, 8, "base");
	model_name(&side->need, 8, "writer's need");
	model_name(b->lane.data, b->lane.span * sizeof(struct elem), "elements");
	for (i = 0; i < b->seats_nr && i < 2; i++) {
		model_name(&b->seats[i].owner, 8, owners[i]);
		model_name(&b->seats[i].side, 16, sides[i]);
	}
}

static uint32_t push(struct evr_bcast *b, uint32_t nr)
{
	struct elem elems[4];
	uint32_t i;

	for (i = 0; i < nr; i++)
		elems[i] = (struct elem){ b->lane.pos + i, b->lane.pos + i };
	return evr_bcast_push(b, elems, nr);
}

/* Delivered to reader @i just now: each is the right one, and nothing is lost in silence. */
static void are_whole(struct state *s, uint32_t i, const struct elem *elems, uint32_t nr)
{
	struct evr_bcast_tally t;
	uint32_t k;

	evr_bcast_tally(&s->b[i], &t);
	s->got[i] += nr;
	MODEL_CHECK(t.next - t.first == s->got[i] + t.lost && t.delivered == s->got[i]);
	for (k = 0; k < nr; k++)
		MODEL_CHECK(elems[k].first == t.next - nr + k && elems[k].second == elems[k].first);
}

static uint32_t pop(struct state *s, uint32_t i, uint32_t nr)
{
	struct elem elems[4];
	uint32_t got = evr_bcast_pop(&s->b[i], elems, nr);

	MODEL_CHECK(got <= nr);
	are_whole(s, i, elems, got);
	return got;
}

static void peek(struct state *s, uint32_t i)
{
	struct elem elems[4];
	uint32_t nr = 2, whole;
	const void *at = evr_bcast_peek(&s->b[i], &nr);

	if (!at)
		return;
	evr_copy_out(elems, at, nr * sizeof(elems[0]));
	whole = evr_bcast_release(&s->b[i], nr);
	are_whole(s, i, elems + nr - whole, whole);
}

/* Lossy: a writer that waits for nobody, one observer that copies and one that reads in place. */
static void setup_lossy(void *state)
{
	struct state *s = state;

	make(2, 0);
	open_as(s, 0, EVR_PRODUCER);
	MODEL_CHECK(!evr_bcast_observe(&s->b[1], model_peer(1), "b", NULL, 0));
	MODEL_CHECK(!evr_bcast_observe(&s->b[2], model_peer(2), "b", NULL, 0));
	name_all(&s->b[0]);
}

static void push_four(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t nr = 1;

	MODEL_CHECK(push(&s->b[0], 1) == 1);
	MODEL_CHECK(push(&s->b[0], 2) == 2);
	MODEL_CHECK(evr_bcast_reserve(&s->b[0], &nr) && nr == 1);
	evr_bcast_commit(&s->b[0], 0);
	MODEL_CHECK(push(&s->b[0], 1) == 1);
}

static void pop_some(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	pop(s, 1, 2);
	pop(s, 1, 1);
}

static void peek_some(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	peek(s, 2);
	peek(s, 2);
}

static void drain(struct state *s, uint32_t i, uint64_t pos)
{
	while (pop(s, i, 2))
		;
	MODEL_CHECK(s->b[i].lane.pos == pos);
}

static void all_is_counted(void *state)
{
	struct state *s = state;
	struct evr_bcast_counts c;
	struct evr_bcast next;
	uint32_t i;

	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	evr_bcast_counts(&s->b[1], &c);
	MODEL_CHECK(c.pos <= 4 && (model_died(0) || c.pos == 4) && c.pos - c.base <= 2);
	for (i = 1; i < 3; i++)
		drain(s, i, c.pos);
	if (!model_died(0))
		return;
	MODEL_CHECK(!evr_bcast_open(&next, model_auditor(), "b", EVR_PRODUCER, 0));
	MODEL_CHECK(push(&next, 1) == 1);
	for (i = 1; i < 3; i++)
		MODEL_CHECK(pop(s, i, 2) == 1);
	evr_bcast_close(&next);
}

SCENARIO(bcast_lossy) = {
	.name = "bcast-lossy",
	.state_sz = sizeof(struct state),
	.procs = { { "writer", push_four }, { "pops", pop_some }, { "peeks", peek_some } },
	.setup = setup_lossy,
	.end = all_is_counted,
	.check = { { MODEL_SC, 3, 0, 0 },
		   { MODEL_SC, 2, 1, 0 },
		   { MODEL_TSO, 2, 0, 2 },
		   { MODEL_PSO, 2, 0, 2 },
		   { MODEL_WEAK, 2, 0, 1 } },
	.longer = { { MODEL_SC, 4, 0, 0 },
		    { MODEL_SC, 3, 1, 0 },
		    { MODEL_PSO, 3, 0, 2 },
		    { MODEL_WEAK, 3, 0, 2 } },
};

/* A writer dies, another takes over, and an observer reads all the while. */
static bool first_is_over(void *arg)
{
	return model_ended(0) || model_finished(0);
}

static void push_three(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	MODEL_CHECK(push(&s->b[0], 1) == 1);
	MODEL_CHECK(push(&s->b[0], 2) == 2);
	evr_bcast_close(&s->b[0]);
}

static void take_over(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	model_until(first_is_over, s);
	if (model_died(0))
		MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
	/* Busy: it may not have seen yet that the other has closed. */
	while (evr_bcast_open(&s->b[2], peer, "b", EVR_PRODUCER, 0) == -EBUSY)
		evr_pause();
	MODEL_CHECK(push(&s->b[2], 1) == 1);
}

static void setup_takeover(void *state)
{
	struct state *s = state;

	make(2, 0);
	open_as(s, 0, EVR_PRODUCER);
	MODEL_CHECK(!evr_bcast_observe(&s->b[1], model_peer(1), "b", NULL, 0));
	name_all(&s->b[0]);
}

static void taken_over(void *state)
{
	struct state *s = state;
	struct evr_bcast_counts c;

	evr_bcast_counts(&s->b[1], &c);
	MODEL_CHECK(c.pos <= 4 && (model_crashes() || c.pos == 4));
	drain(s, 1, c.pos);
}

SCENARIO(bcast_takeover) = {
	.name = "bcast-takeover",
	.state_sz = sizeof(struct state),
	.procs = { { "writer", push_three }, { "pops", pop_some }, { "successor", take_over } },
	.setup = setup_takeover,
	.end = taken_over,
	.check = { { MODEL_SC, 2, 1, 0 }, { MODEL_TSO, 1, 1, 1 }, { MODEL_WEAK, 1, 1, 1 } },
	.longer = { { MODEL_SC, 3, 1, 0 }, { MODEL_SC, 2, 2, 0 }, { MODEL_WEAK, 2, 1, 2 } },
};

/* Reliable: subscribers come while the writer writes; it waits for those that are there. */
static void setup_reliable(void *state)
{
	struct state *s = state;

	make(1, 2);
	open_as(s, 0, EVR_PRODUCER);
	open_as(s, 1, EVR_CONSUMER);
	name_all(&s->b[0]);
}

static void push_reliably(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (s->b[0].lane.pos < 4)
		if (!push(&s->b[0], 2)) {
			if (model_finished(1) || model_finished(2))
				break;
			evr_pause();
		}
	s->published = s->b[0].lane.pos;
}

static void read_two_and_close(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t nr;

	for (nr = 0; nr < 2; nr++)
		if (!pop(s, 1, 2))
			evr_pause();
	evr_bcast_close(&s->b[1]);
}

static void join_and_read(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	open_as(s, 2, EVR_CONSUMER);
	pop(s, 2, 2);
}

/* Nothing is lost, and who has died or closed is not waited for. */
static void nothing_is_lost(void *state)
{
	struct state *s = state;
	struct evr_bcast *in = &s->b[0], next;
	struct evr_bcast_counts c;
	uint32_t i;

	if (model_died(0)) {
		MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
		MODEL_CHECK(!evr_bcast_open(&next, model_auditor(), "b", EVR_PRODUCER, 0));
		in = &next;
	}
	for (i = 0; i < 3; i++) {
		push(in, 1);
		if (s->is_open[2] && !model_died(2))
			pop(s, 2, 2);
	}
	if (s->is_open[2] && !model_died(2)) {
		drain(s, 2, in->lane.pos);
		MODEL_CHECK(!evr_bcast_lost(&s->b[2]));
	}
	MODEL_CHECK(!evr_bcast_lost(&s->b[1]));
	MODEL_CHECK(push(in, 1) == 1);
	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	evr_bcast_counts(in, &c);
	MODEL_CHECK(!c.corrupt && !c.expelled);
	MODEL_CHECK(c.seated == (s->is_open[2] && !model_died(2)));
}

SCENARIO(bcast_reliable) = {
	.name = "bcast-reliable",
	.state_sz = sizeof(struct state),
	.procs = { { "writer", push_reliably },
		   { "reads", read_two_and_close },
		   { "joins", join_and_read } },
	.setup = setup_reliable,
	.end = nothing_is_lost,
	.check = { { MODEL_SC, 2, 0, 0 },
		   { MODEL_SC, 1, 1, 0 },
		   { MODEL_TSO, 1, 0, 2 },
		   { MODEL_WEAK, 1, 0, 2 } },
	.longer = { { MODEL_SC, 4, 0, 0 },
		    { MODEL_SC, 3, 1, 0 },
		    { MODEL_SC, 2, 2, 0 },
		    { MODEL_TSO, 3, 0, 2 },
		    { MODEL_WEAK, 2, 0, 2 } },
};

/* All sleep: the writer for room, the subscriber for elements, and for the writer's end. */
static void setup_sleep(void *state)
{
	struct state *s = state;
	uint32_t i;

	make(1, 1);
	for (i = 0; i < 2; i++)
		MODEL_CHECK(!evr_waiter_init(&s->waiters[i], model_peer(i), EVR_WAIT_SLEEP));
	open_as(s, 0, EVR_PRODUCER);
	name_all(&s->b[0]);
}

static void setup_sleep_seated(void *state)
{
	setup_sleep(state);
	open_as(state, 1, EVR_CONSUMER);
}

static void push_wait_and_close(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct elem elems[3] = { { 0, 0 }, { 1, 1 }, { 2, 2 } };

	MODEL_CHECK(evr_bcast_push_wait(&s->b[0], &s->waiters[0], elems, 3, EVR_NO_DEADLINE) == 3);
	s->published = 3;
	evr_bcast_close(&s->b[0]);
}

static void pop_wait_to_the_end(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct elem elems[4];
	int got;

	while ((got = evr_bcast_pop_wait(&s->b[1], &s->waiters[1], elems, 2, EVR_NO_DEADLINE)) > 0)
		are_whole(s, 1, elems, (uint32_t)got);
	MODEL_CHECK(got == -EPIPE || (model_died(0) && got == -EOWNERDEAD));
	MODEL_CHECK(!evr_bcast_lost(&s->b[1]) && s->b[1].lane.pos >= s->published);
	are_whole(s, 1, elems, 0);
}

SCENARIO(bcast_sleep) = {
	.name = "bcast-sleep",
	.state_sz = sizeof(struct state),
	.procs = { { "writer", push_wait_and_close }, { "reads", pop_wait_to_the_end } },
	.setup = setup_sleep_seated,
	.check = { { MODEL_SC, 2, 0, 0 },
		   { MODEL_SC, 1, 1, 0 },
		   { MODEL_TSO, 2, 0, 2 },
		   { MODEL_WEAK, 1, 0, 2 } },
	.longer = { { MODEL_SC, 4, 0, 0 },
		    { MODEL_SC, 2, 1, 0 },
		    { MODEL_SC, 3, 1, 0 },
		    { MODEL_TSO, 3, 0, 3 },
		    { MODEL_WEAK, 3, 0, 2 } },
};

/* A writer that met a subscriber which had not begun yet sleeps until it has, or has gone. */
static void join_and_sleep(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct elem elems[4];

	open_as(s, 1, EVR_CONSUMER);
	if (model_pick(2)) {
		pop(s, 1, 1);
		evr_bcast_close(&s->b[1]);
		return;
	}
	while (evr_bcast_pop_wait(&s->b[1], &s->waiters[1], elems, 2, EVR_NO_DEADLINE) > 0)
		;
}

/* One that has come after the end waits for another writer; the writer for nobody. */
static void writer_came_to_its_end(void *state)
{
	struct state *s = state;

	MODEL_CHECK(model_finished(0) || model_died(0));
	MODEL_CHECK(model_finished(1) || model_died(1) || s->b[1].lane.pos == 3 || model_died(0));
}

SCENARIO(bcast_sleep_joins) = {
	.name = "bcast-sleep-joins",
	.flags = MODEL_MAY_SLEEP,
	.state_sz = sizeof(struct state),
	.procs = { { "writer", push_wait_and_close }, { "joins", join_and_sleep } },
	.setup = setup_sleep,
	.end = writer_came_to_its_end,
	.check = { { MODEL_SC, 2, 0, 0 },
		   { MODEL_SC, 1, 1, 0 },
		   { MODEL_TSO, 2, 0, 2 },
		   { MODEL_WEAK, 1, 0, 2 } },
	.longer = { { MODEL_SC, 4, 0, 0 }, { MODEL_SC, 3, 1, 0 }, { MODEL_TSO, 3, 0, 2 } },
};

/* Expelled while it reads: it loses some, counts them, and gets no torn one. */
static void push_and_expel(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	push(&s->b[0], 1);
	evr_bcast_expel(&s->b[0], evr_peer_self(model_peer(1)));
	/* Who sits there next may be in the way, but not this one. */
	push(&s->b[0], 1);
	push(&s->b[0], 1);
	if (!s->is_open[2])
		MODEL_CHECK(s->b[0].lane.pos == 3);
}

static void pop_and_forget(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	pop(s, 1, 2);
	pop(s, 1, 2);
	evr_bcast_forget(&s->b[1]);
}

static void sit_down(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	int err;

	s->is_open[2] = 1; /* it may be seen before the call comes back */
	err = evr_bcast_open(&s->b[2], peer, "b", EVR_CONSUMER, 0);
	MODEL_CHECK(!err || err == -EUSERS);
	s->is_open[2] = !err;
}

static void setup_expel(void *state)
{
	struct state *s = state;

	make(1, 1);
	open_as(s, 0, EVR_PRODUCER);
	open_as(s, 1, EVR_CONSUMER);
	name_all(&s->b[0]);
}

static void expelled_is_no_more_in_the_way(void *state)
{
	struct state *s = state;
	uint32_t nr;

	if (model_crashes())
		return;
	for (nr = 0; nr < 2; nr++) {
		push(&s->b[0], 1);
		if (s->is_open[2])
			pop(s, 2, 1);
	}
	if (s->is_open[2]) {
		drain(s, 2, s->b[0].lane.pos);
		MODEL_CHECK(!evr_bcast_lost(&s->b[2]));
	}
	drain(s, 1, s->b[0].lane.pos);
}

SCENARIO(bcast_expel) = {
	.name = "bcast-expel",
	.state_sz = sizeof(struct state),
	.procs = { { "writer", push_and_expel },
		   { "expelled", pop_and_forget },
		   { "next", sit_down } },
	.setup = setup_expel,
	.end = expelled_is_no_more_in_the_way,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 2 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 4, 0, 0 }, { MODEL_SC, 2, 1, 0 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* A hostile writer: its readers come to an end, in bounds, and add up what they are told. */
static void setup_hostile(void *state)
{
	struct state *s = state;

	make(2, 1);
	open_as(s, 0, EVR_PRODUCER);
	open_as(s, 1, EVR_CONSUMER);
	MODEL_CHECK(!evr_bcast_observe(&s->b[2], model_peer(2), "b", NULL, 0));
	MODEL_CHECK(push(&s->b[0], 1) == 1);
	name_all(&s->b[0]);
}

static void scribble_writer(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_lane_side *side = s->b[0].lane.mine;
	struct evr_a64 *words[] = { &side->pos, &side->base, &side->need.word,
				    &s->b[1].seat->owner };

	model_scribble(words, 4, 2);
}

static void pop_anything(struct evr_bcast *b)
{
	struct elem elems[4];
	struct evr_bcast_tally t;
	uint32_t i;

	for (i = 0; i < 3; i++) {
		MODEL_CHECK(evr_bcast_pop(b, elems, 2) <= 2);
		evr_bcast_tally(b, &t);
		MODEL_CHECK(t.next - t.first == t.delivered + t.lost);
		/* Nothing that was not said to be there. */
		MODEL_CHECK(b->lane.limit - b->lane.pos <= INT64_MAX);
	}
	evr_bcast_state(b);
}

static void subscriber_meets_nonsense(struct evr_peer *peer, void *state)
{
	pop_anything(&((struct state *)state)->b[1]);
}

static void observer_meets_nonsense(struct evr_peer *peer, void *state)
{
	pop_anything(&((struct state *)state)->b[2]);
}

SCENARIO(bcast_hostile_writer) = {
	.name = "bcast-hostile-writer",
	.state_sz = sizeof(struct state),
	.procs = { { "hostile", scribble_writer },
		   { "subscriber", subscriber_meets_nonsense },
		   { "observer", observer_meets_nonsense } },
	.setup = setup_hostile,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 } },
};

/* A hostile subscriber: it holds the writer up, at most, and gets itself expelled. */
static void scribble_seat(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_bcast_seat *seat = s->b[1].seat;
	struct evr_a64 *words[] = { &seat->owner, &seat->side.pos, &seat->side.partner };

	model_scribble(words, 3, 2);
}

static void push_anyway(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t i;

	for (i = 0; i < 3; i++) {
		MODEL_CHECK(push(&s->b[0], 2) <= 2);
		MODEL_CHECK(s->b[0].lane.limit - s->b[0].lane.pos <= 2);
	}
	evr_bcast_expel(&s->b[0], evr_peer_self(model_peer(1)));
	push(&s->b[0], 1);
}

SCENARIO(bcast_hostile_subscriber) = {
	.name = "bcast-hostile-subscriber",
	.state_sz = sizeof(struct state),
	.procs = { { "writer", push_anyway }, { "hostile", scribble_seat } },
	.setup = setup_hostile,
	.check = { { MODEL_SC, 2, 0, 0 } },
	.longer = { { MODEL_SC, 4, 0, 0 } },
};
