/* SPDX-License-Identifier: MIT */
/*
 * What the scenarios of broadcasts share. An element is its position twice, copied in two
 * steps: what a reader gets is whole, in order and once, and what it does not get it counts.
 */
#ifndef EVERING_MODEL_BROADCAST_H
#define EVERING_MODEL_BROADCAST_H

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

static inline void make(uint32_t capacity, uint32_t seats)
{
	struct evr_bcast_options options = { .struct_sz = sizeof(options),
					     .capacity = capacity,
					     .elem_sz = sizeof(struct elem),
					     .seats = seats };

	MODEL_CHECK(!evr_bcast_create(model_peer(0), "b", &options));
}

static inline void open_as(struct state *s, uint32_t i, enum evr_role role)
{
	MODEL_CHECK(!evr_bcast_open(&s->b[i], model_peer(i), "b", role, 0));
	s->is_open[i] = 1;
}

static inline void name_all(const struct evr_bcast *b)
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

static inline uint32_t push(struct evr_bcast *b, uint32_t nr)
{
	struct elem elems[4];
	uint32_t i;

	for (i = 0; i < nr; i++)
		elems[i] = (struct elem){ b->lane.pos + i, b->lane.pos + i };
	return evr_bcast_push(b, elems, nr);
}

/* Delivered to reader @i just now: each is the right one, and nothing is lost in silence. */
static inline void are_whole(struct state *s, uint32_t i, const struct elem *elems, uint32_t nr)
{
	struct evr_bcast_tally t;
	uint32_t k;

	evr_bcast_tally(&s->b[i], &t);
	s->got[i] += nr;
	MODEL_CHECK(t.next - t.first == s->got[i] + t.lost && t.delivered == s->got[i]);
	for (k = 0; k < nr; k++)
		MODEL_CHECK(elems[k].first == t.next - nr + k && elems[k].second == elems[k].first);
}

static inline uint32_t pop(struct state *s, uint32_t i, uint32_t nr)
{
	struct elem elems[4];
	uint32_t got = evr_bcast_pop(&s->b[i], elems, nr);

	MODEL_CHECK(got <= nr);
	are_whole(s, i, elems, got);
	return got;
}

static inline void peek(struct state *s, uint32_t i)
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

static inline void drain(struct state *s, uint32_t i, uint64_t pos)
{
	while (pop(s, i, 2))
		;
	MODEL_CHECK(s->b[i].lane.pos == pos);
}

/* A writer and a subscriber of their own that sleep, as processes 0 and 1. */
static inline void push_wait_and_close(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct elem elems[3] = { { 0, 0 }, { 1, 1 }, { 2, 2 } };

	MODEL_CHECK(evr_bcast_push_wait(&s->b[0], &s->waiters[0], elems, 3, EVR_NO_DEADLINE) == 3);
	s->published = 3;
	evr_bcast_close(&s->b[0]);
}

static inline void pop_wait_to_the_end(struct evr_peer *peer, void *state)
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

#endif
