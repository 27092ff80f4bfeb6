/* SPDX-License-Identifier: MIT */
/*
 * What the tests of lanes of two halves share: an isolated segment with two peers of this
 * process, and what happens before a chosen access of one of them.
 */
#ifndef EVERING_TEST_FAR_LANES_H
#define EVERING_TEST_FAR_LANES_H

#include "die.h"

#include "backend.h"
#include "dir.h"
#include "owner.h"

#define CAPACITY 8
/* A sweep's last turn takes as long; the others wait so long only for a lost wake-up. */
#define PATIENCE_NS 4000000000ULL

static struct pair *pair;
static struct evr_peer *a, *b; /* the producer's and the consumer's */
static struct evr_waiter wa, wb;
static struct evr_spsc in, out;

static inline int open_isolated(void **state)
{
	steps_to_live = 0;
	if (pair_open_isolated(state, 64 << 10, 4))
		return -1;
	pair = *state;
	a = pair->peer;
	if (evr_peer_attach(&b, pair->segment, NULL) || evr_waiter_init(&wa, a, EVR_WAIT_SLEEP) ||
	    evr_waiter_init(&wb, b, EVR_WAIT_SLEEP)) {
		fprintf(stderr, "# %s\n", evr_error_detail());
		return -1;
	}
	return 0;
}

static inline int close_isolated(void **state)
{
	steps_to_live = 0;
	evr_waiter_fini(&wa);
	if (b) {
		evr_waiter_fini(&wb);
		evr_peer_detach(b);
	}
	return pair_close(state);
}

static inline void make(struct evr_peer *peer, const char *name)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options), .capacity = CAPACITY };

	assert_int_equal(evr_spsc_create(peer, name, &options), 0);
}

static inline void push(struct evr_spsc *ring, uint64_t value)
{
	assert_int_equal(evr_spsc_push(ring, &value, 1), 1);
}

static inline void pop(struct evr_spsc *ring, uint64_t value)
{
	uint64_t got = 0;

	assert_int_equal(evr_spsc_pop(ring, &got, 1), 1);

	assert_true(got == value);
}

static inline bool is_empty(struct evr_spsc *ring)
{
	uint64_t got = 0;

	return !evr_spsc_pop(ring, &got, 1);
}

#endif
