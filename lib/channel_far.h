/* SPDX-License-Identifier: MIT */
/* The private part of an endpoint in an isolated segment; channel_far.c has the protocol. */
#ifndef EVERING_LIB_CHANNEL_FAR_H
#define EVERING_LIB_CHANNEL_FAR_H

#include <pthread.h>

#include "channel.h"
#include "heap_table.h"
#include "lane.h"

/*
 * Shared, behind the tail of a half, for each role: what its holder has done with blocks.
 * Block n of a session is returned in word n % EVR_CHANNEL_LENT, before the end's word
 * `returned` says so; no more than that can be on loan.
 */
struct channel_loans {
	EVR_ALIGNAS(EVR_LINE_SZ)
	struct evr_a64 returned[EVR_CHANNEL_LENT]; /* handles, by the receiving thread */
	struct evr_a64
		lent[EVR_CHANNEL_LENT]; /* handles, or 0; by the sending thread, for its successor */
};

EVR_STATIC_ASSERT(sizeof(struct channel_loans) == 1024, "part of the shared layout");

/* The other endpoint's half. */
struct channel_half {
	struct evr_lane_far far;
	uint8_t *at; /* of its object */
	const struct evr_channel_end *end;
	const struct channel_loans *loans;
	uint64_t u_owner; /* HELD, by that peer */
};

struct evr_channel_far {
	/* Both threads, one at a time, until the partner is known; from then on it stays. */
	pthread_mutex_t meeting;
	struct channel_half half; /* of the partner, or of who our link proposes to */
	bool proposed;
	struct evr_peer_id expected;
	bool once; /* see struct channel_terms */
	uint64_t turn; /* of expected, 0: any */
	const struct evr_a64 *ticket; /* see struct channel_terms */
	uint32_t ticket_gen;
	uint64_t turns; /* evr_dir_turns() when we last looked */
	/* Places in every half of this geometry, bytes. */
	uint64_t lane_off[2 * CHANNEL_STREAMS], tail_off, sz;
	struct channel_loans *loans; /* own */
	/* the sending thread */
	uint64_t lent[EVR_CHANNEL_LENT]; /* handles, or 0 */
	uint64_t collected;
	/* the receiving thread */
	uint64_t borrowed[EVR_CHANNEL_LENT]; /* handles, or 0 */
	uint64_t returned;
	struct heap_map heap; /* of the partner */
	bool has_heap;
};

#endif
