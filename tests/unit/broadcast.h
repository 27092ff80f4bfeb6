/* SPDX-License-Identifier: MIT */
/*
 * Broadcasts under test. An element's value is its position, so that any element that is
 * delivered shows whether it is the right one, once, and whole.
 */
#ifndef EVERING_TEST_BROADCAST_H
#define EVERING_TEST_BROADCAST_H

#include "die.h"

#define CAPACITY 8
#define WORDS 4 /* of an element: more than is copied at once */

struct elem {
	uint64_t words[WORDS];
};

EVR_BCAST_DEFINE(typed, struct elem)

static inline int open_small(void **state)
{
	steps_to_live = 0;
	steps_turn = NULL;
	return pair_open_sized(state, 64 << 10);
}

static inline void make(struct pair *pair, uint32_t capacity, uint32_t seats)
{
	assert_int_equal(typed_create(pair->peer, "b", capacity, seats), 0);
}

static inline void open_as(struct typed *t, struct evr_peer *peer, enum evr_role role)
{
	assert_int_equal(typed_open(t, peer, "b", role), 0);
}

static inline void observe(struct typed *t, struct evr_peer *peer)
{
	assert_int_equal(typed_observe(t, peer, "b", NULL), 0);
}

static inline struct elem elem_of(uint64_t pos)
{
	return (struct elem){ { pos, pos, pos, pos } };
}

static inline bool is_elem_of(const struct elem *e, uint64_t pos)
{
	struct elem want = elem_of(pos);

	return !memcmp(e, &want, sizeof(want));
}

/* So many more, each its position. Return: how many went in. */
static inline uint32_t push(struct typed *t, uint32_t nr)
{
	struct elem elems[64];
	uint32_t i;

	for (i = 0; i < nr; i++)
		elems[i] = elem_of(t->b.lane.pos + i);
	return typed_push(t, elems, nr);
}

/* Up to so many out, each the right one. Return: how many, or UINT32_MAX. */
static inline uint32_t pop(struct typed *t, uint32_t nr)
{
	struct elem elems[64];
	struct evr_bcast_tally tally;
	uint32_t i, got = typed_pop(t, elems, nr);

	evr_bcast_tally(&t->b, &tally);
	if (tally.next - tally.first != tally.delivered + tally.lost)
		return UINT32_MAX;
	for (i = 0; i < got; i++)
		if (!is_elem_of(&elems[i], tally.next - got + i))
			return UINT32_MAX;
	return got;
}

/* All that is there. */
static inline uint64_t drain(struct typed *t)
{
	uint64_t sum = 0;
	uint32_t got;

	while ((got = pop(t, 3)) > 0) {
		assert_true(got <= 3);
		sum += got;
	}
	return sum;
}

#endif
