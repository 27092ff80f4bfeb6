/* SPDX-License-Identifier: MIT */
/*
 * Broadcasts with subscribers in an isolated segment: each gets all from where it has come; one
 * that is dead, gone or hostile takes nothing from another; nobody that was noted sleeps beside what
 * there is for it.
 */
#include "broadcast.h"

#include "dir.h"
#include "dir_table.h"

#define REGION_SZ 6144 /* its directory's page, and a broadcast or a seat */

static void name_seat(const struct evr_bcast *b, const char *side, const char *owner)
{
	model_name(b->lane.mine, 32, side);
	model_name(b->lane.owner, 8, owner);
}

static void setup_writer(void *state)
{
	struct state *s = state;

	make(1, 2);
	open_as(s, 0, EVR_PRODUCER);
	evr_bcast_patience(&s->b[0], EVR_NO_DEADLINE);
	name_all(&s->b[0]);
	model_name(s->b[0].verdicts, 64, "verdicts");
}

/* A subscriber comes while the writer is at work. */
static void push_three(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (s->b[0].lane.pos < 3)
		if (!push(&s->b[0], 2)) {
			if (model_finished(1) || model_ended(1))
				break;
			evr_pause();
		}
}

static void come_and_read(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	open_as(s, 1, EVR_CONSUMER);
	pop(s, 1, 2);
	if (model_pick(2)) {
		evr_bcast_close(&s->b[1]);
		s->is_open[1] = 0;
	}
}

static void comer_has_all(void *state)
{
	struct state *s = state;
	uint32_t nr;

	for (nr = 0; nr < 2; nr++) {
		push(&s->b[0], 1);
		if (s->is_open[1] && !model_died(1))
			pop(s, 1, 2);
	}
	if (s->is_open[1] && !model_died(1)) {
		drain(s, 1, s->b[0].lane.pos);
		MODEL_CHECK(!evr_bcast_lost(&s->b[1]));
	} else {
		MODEL_CHECK(push(&s->b[0], 1) == 1);
	}
}

SCENARIO(bcast_far_joins) = {
	.name = "bcast-far-joins",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "writer", push_three, .immortal = true }, { "joins", come_and_read } },
	.setup = setup_writer,
	.end = comer_has_all,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_SC, 1, 1, 0 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* Both sleep: for room, for elements, and for the writer's end. */
static void setup_sleep(void *state)
{
	struct state *s = state;
	uint32_t i;

	setup_writer(s);
	for (i = 0; i < 2; i++)
		MODEL_CHECK(!evr_waiter_init(&s->waiters[i], model_peer(i), EVR_WAIT_SLEEP));
	open_as(s, 1, EVR_CONSUMER);
	name_seat(&s->b[1], "seat pos, partner", "seat owner");
	/* It is known from the first publication on: from here it sleeps as one that is rung for. */
	evr_bcast_gate(&s->b[0], 1);
	MODEL_CHECK(evr_bcast_far_is_noted(&s->b[1]));
}

SCENARIO(bcast_far_sleep) = {
	.name = "bcast-far-sleep",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "writer", push_wait_and_close }, { "reads", pop_wait_to_the_end } },
	.setup = setup_sleep,
	.check = { { MODEL_SC, 2, 0, 0 },
		   { MODEL_SC, 1, 1, 0 },
		   { MODEL_TSO, 1, 0, 2 },
		   { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* A writer that has met one which had not begun sleeps until it has, or has gone. */
static void come_and_sleep(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct elem elems[4];
	int got;

	open_as(s, 1, EVR_CONSUMER);
	if (model_pick(2)) {
		pop(s, 1, 1);
		evr_bcast_close(&s->b[1]);
		return;
	}
	do {
		got = evr_bcast_pop_wait(&s->b[1], &s->waiters[1], elems, 2,
					 evr_now_ns() + 1000000);
	} while (got > 0);
	/* The time is over when nobody else can go on: the writer has come to its end. */
	MODEL_CHECK(got != -ETIMEDOUT || s->b[0].lane.pos == 3);
}

static void setup_sleep_alone(void *state)
{
	struct state *s = state;
	uint32_t i;

	setup_writer(s);
	for (i = 0; i < 2; i++)
		MODEL_CHECK(!evr_waiter_init(&s->waiters[i], model_peer(i), EVR_WAIT_SLEEP));
}

static void writer_came_to_its_end(void *state)
{
	struct state *s = state;

	MODEL_CHECK(model_finished(0));
	MODEL_CHECK(model_finished(1) || model_died(1) || s->b[1].lane.pos == 3);
}

SCENARIO(bcast_far_sleep_joins) = {
	.name = "bcast-far-sleep-joins",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "writer", push_wait_and_close, .immortal = true },
		   { "joins", come_and_sleep } },
	.setup = setup_sleep_alone,
	.end = writer_came_to_its_end,
	.check = { { MODEL_SC, 1, 0, 0 }, { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_WEAK, 1, 0, 1 } },
};

/* One says what it pleases of itself: the other loses nothing, and all calls come to an end. */
static void scribble_seat(struct evr_peer *peer, void *state)
{
	struct evr_lane *l = &((struct state *)state)->b[1].lane;
	struct evr_a64 *words[] = { &l->mine->pos, &l->mine->partner, &l->mine->base,
				    &l->mine->origin, l->owner };

	model_scribble(words, 5, 1);
}

static void push_few(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t i;

	for (i = 0; i < 4; i++) {
		MODEL_CHECK(push(&s->b[0], 2) <= 2);
		MODEL_CHECK(evr_lane_avail(&s->b[0].lane) <= 1);
	}
}

static void read_honestly(struct evr_peer *peer, void *state)
{
	pop(state, 2, 1);
	pop(state, 2, 1);
}

static void setup_hostile(void *state)
{
	struct state *s = state;

	setup_writer(s);
	open_as(s, 1, EVR_CONSUMER);
	open_as(s, 2, EVR_CONSUMER);
	name_seat(&s->b[1], "hostile pos, partner", "hostile owner");
	name_seat(&s->b[2], "honest pos, partner", "honest owner");
	push(&s->b[0], 1);
}

static void honest_has_all(void *state)
{
	struct state *s = state;
	uint32_t nr;

	for (nr = 0; nr < 3; nr++) {
		pop(s, 2, 1);
		push(&s->b[0], 1);
	}
	drain(s, 2, s->b[0].lane.pos);
	MODEL_CHECK(!evr_bcast_lost(&s->b[2]));
}

SCENARIO(bcast_far_hostile) = {
	.name = "bcast-far-hostile-subscriber",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "writer", push_few },
		   { "hostile", scribble_seat },
		   { "honest", read_honestly } },
	.setup = setup_hostile,
	.end = honest_has_all,
	.check = { { MODEL_SC, 2, 0, 0 } },
	.longer = { { MODEL_SC, 3, 0, 0, .sample = 26 } },
};

/* A subscriber is gone, and its slot another's, who says that all of it is as it was. */
static void go(struct evr_peer *peer, void *state)
{
	model_detach();
}

static bool reader_is_gone(void *state)
{
	return model_ended(1);
}

/* The control word of the entry that the seat's owner word is in. */
static struct evr_a64 *seat_ctl(struct state *s)
{
	struct dir_entry *e = (struct dir_entry *)((uint8_t *)s->b[1].lane.owner -
						   offsetof(struct dir_entry, owners[1]));

	return &e->ctl;
}

static void follow_and_lie(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_lane *l = &s->b[1].lane;

	model_until(reader_is_gone, state);
	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	if (!model_attach(1))
		return;
	evr_a64_store_release(&l->mine->pos, 77);
	evr_a64_store_release(&l->mine->partner, l->held);
	evr_a64_store_release(l->owner, l->held);
	/* As if its directory had that entry still. */
	evr_a64_store_release(seat_ctl(s), s->published);
}

static void push_to_the_gone(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t nr = 0;

	while (nr < 3)
		if (push(&s->b[0], 1))
			nr++;
		else
			evr_pause();
}

static void setup_gone(void *state)
{
	struct state *s = state;

	setup_writer(s);
	open_as(s, 1, EVR_CONSUMER);
	push(&s->b[0], 1);
	s->published = model_peek(seat_ctl(s));
}

static void nobody_is_blamed(void *state)
{
	struct evr_bcast_counts c;

	evr_bcast_counts(&((struct state *)state)->b[0], &c);
	MODEL_CHECK(!c.corrupt && !c.expelled && !c.seated);
}

SCENARIO(bcast_far_successor) = {
	.name = "bcast-far-successor-in-region",
	.flags = MODEL_ISOLATED | MODEL_PEERS_CHANGE,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "writer", push_to_the_gone },
		   { "gone", go },
		   { "successor", follow_and_lie, .absent = true } },
	.setup = setup_gone,
	.end = nobody_is_blamed,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_WEAK, 2, 0, 2 } },
};
