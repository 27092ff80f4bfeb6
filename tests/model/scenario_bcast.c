/* SPDX-License-Identifier: MIT */
/*
 * Broadcasts that lose: to observers and listeners, over the death of a writer, over their
 * removal; and hostile words on either side.
 */
#include "broadcast.h"

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
		   { MODEL_SC, 1, 1, 0 },
		   { MODEL_TSO, 1, 0, 2 },
		   { MODEL_PSO, 2, 0, 2 },
		   { MODEL_WEAK, 2, 0, 1 } },
	.longer = { { MODEL_SC, 4, 0, 0 },
		    { MODEL_TSO, 3, 0, 2 },
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
	.check = { { MODEL_SC, 2, 1, 0 }, { MODEL_WEAK, 1, 1, 1 } },
	.longer = { { MODEL_SC, 3, 1, 0 },
		    { MODEL_SC, 2, 2, 0 },
		    { MODEL_TSO, 2, 1, 2 },
		    { MODEL_WEAK, 2, 1, 2 } },
};

/* Removed under an observer, and another object made of its memory, with words of its own. */
static void setup_removed(void *state)
{
	struct state *s = state;

	make(1, 0);
	open_as(s, 0, EVR_PRODUCER);
	MODEL_CHECK(!evr_bcast_observe(&s->b[1], model_peer(1), "b", NULL, 0));
	MODEL_CHECK(push(&s->b[0], 1) == 1);
	name_all(&s->b[0]);
}

static void remove_and_reuse(struct evr_peer *peer, void *state)
{
	const struct elem other = { 7, 9 };
	struct state *s = state;
	struct evr_lane_side *side = s->b[0].lane.mine;
	struct evr_object object, next;

	evr_bcast_close(&s->b[0]);
	MODEL_CHECK(!evr_dir_find(peer, "b", &object) && !evr_dir_remove(peer, &object));
	MODEL_CHECK(!evr_dir_create(peer, "n", EVR_KIND_USER, object.sz, &next));
	MODEL_CHECK(next.off == object.off);
	evr_copy_in(s->b[0].lane.data, &other, sizeof(other));
	evr_a64_store_relaxed(&side->pos, 8);
	evr_a64_store_relaxed(&side->base, 7);
}

static void pop_thrice(struct evr_peer *peer, void *state)
{
	uint32_t i;

	for (i = 0; i < 3; i++)
		pop(state, 1, 1);
}

static void nothing_of_the_other(void *state)
{
	struct state *s = state;

	MODEL_CHECK(!pop(s, 1, 1) && s->b[1].lane.pos <= 1);
	MODEL_CHECK(model_died(0) || evr_bcast_state(&s->b[1]) == EVR_RING_CLOSED);
}

SCENARIO(bcast_removed) = {
	.name = "bcast-removed",
	.state_sz = sizeof(struct state),
	.procs = { { "removes", remove_and_reuse, .immortal = true }, { "pops", pop_thrice } },
	.setup = setup_removed,
	.end = nothing_of_the_other,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_PSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
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

	for (i = 0; i < 2; i++) {
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
