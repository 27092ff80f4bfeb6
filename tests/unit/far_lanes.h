/* SPDX-License-Identifier: MIT */
/*
 * What the tests of lanes of two halves share: an isolated segment with two peers of this
 * process, and what happens before a chosen access of one of them.
 */
#ifndef EVERING_TEST_FAR_LANES_H
#define EVERING_TEST_FAR_LANES_H

#include "steps.h"

#include <stdint.h>

#include <evering/bell.h>

static uint64_t steps, step_to_act;
static void (*act)(void);
static uint64_t act_ns; /* when it happened */

/* A sweep's last turn takes as long; the others wait so long only for a lost wake-up. */
#define PATIENCE_NS 4000000000ULL

void step(void)
{
	if (++steps != step_to_act)
		return;
	act_ns = evr_now_ns();
	act();
}

#include "pair.h"

#include "backend.h"
#include "dir.h"
#include "owner.h"

#define CAPACITY 8
#define STEPS_MAX 100000

static struct pair *pair;
static struct evr_peer *a, *b; /* the producer's and the consumer's */
static struct evr_waiter wa, wb;
static struct evr_spsc in, out;

static inline void arrange(uint64_t n, void (*fn)(void))
{
	act = fn;
	steps = 0;
	step_to_act = n;
}

static inline int open_isolated(void **state)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .flags = EVR_SEGMENT_ISOLATED,
					       .peer_sz = 64 << 10,
					       .peers_max = 4 };

	step_to_act = 0;
	pair = calloc(1, sizeof(*pair));
	if (!pair || evr_segment_create(&pair->segment, pair_uri(), &options) ||
	    evr_peer_attach(&pair->peer, pair->segment, NULL) ||
	    evr_peer_attach(&b, pair->segment, NULL) ||
	    evr_waiter_init(&wa, pair->peer, EVR_WAIT_SLEEP) ||
	    evr_waiter_init(&wb, b, EVR_WAIT_SLEEP)) {
		fprintf(stderr, "# %s\n", evr_error_detail());
		return -1;
	}
	a = pair->peer;
	*state = pair;
	return 0;
}

static inline int close_isolated(void **state)
{
	arrange(0, NULL);
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

/* Until no dead peer has a slot. */
static inline void settle(struct evr_peer *peer)
{
	uint64_t deadline = pair_deadline();
	struct evr_peer_info infos[4];
	int i, nr, dead;

	do {
		assert_true(evr_now_ns() < deadline);
		evr_peer_check(peer);
		assert_true(evr_reap_dead(peer, NULL) >= 0);
		nr = evr_peer_list(peer, infos, 4);
		for (i = 0, dead = 0; i < nr && i < 4; i++)
			dead += infos[i].state != EVR_PEER_LIVE;
		if (dead)
			pair_sleep_us(1000);
	} while (dead);
}

#endif
