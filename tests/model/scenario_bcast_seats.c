/* SPDX-License-Identifier: MIT */
/*
 * Broadcasts with subscribers: each gets all from where it has come, and never stands in the
 * way once it has died, closed or been expelled; nobody sleeps beside what there is for it.
 */
#include "broadcast.h"

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
	.longer = { { MODEL_SC, 4, 0, 0, .sample = 17 },
		    { MODEL_SC, 3, 1, 0, .sample = 9 },
		    { MODEL_SC, 2, 2, 0, .sample = 8 },
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
		    { MODEL_SC, 3, 1, 0, .sample = 16 },
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
