/* SPDX-License-Identifier: MIT */
/* What the files of broadcasts share; lib/bcast.c has the layout and the seats. */
#ifndef EVERING_LIB_BCAST_H
#define EVERING_LIB_BCAST_H

#include <evering/bcast.h>
#include <evering/reap.h>

#include "crowd.h"
#include "owner.h"

/*
 * A subscriber's place; the writer waits for who sits there. While its owner word is HELD
 * and `partner` of the side is the same word, `pos` of the side says how far all is read.
 */
struct evr_bcast_seat {
	/* who sits down and stands up, expels, or settles; see owner.h */
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 owner;
	uint8_t resv[EVR_LINE_SZ - sizeof(struct evr_a64)];
	/* who sits there, as a lane's consumer: its counts say how much it has lost */
	struct evr_lane_side side;
};

EVR_STATIC_ASSERT(sizeof(struct evr_bcast_seat) == 4 * EVR_LINE_SZ, "part of the shared layout");

/* bcast_write.c: what is over the ring for all readers to look at. Wakes all that sleep. */
void evr_bcast_wake(struct evr_bcast *b);

/* bcast_write.c: how far the writer may go, by the seats; sets the lane's limit. */
void evr_bcast_gate(struct evr_bcast *b, uint64_t want);

/* bcast.c: is the object what it was? An observer keeps nobody from removing it. */
bool evr_bcast_is_there(struct evr_bcast *b);

/* bcast.c: the writer waits for this seat no more, whose owner word was @owner. */
bool evr_bcast_unseat(struct evr_bcast *b, struct evr_bcast_seat *seat, uint64_t owner);

/* bcast.c: look at an object as a reader without a seat; b->lane.peer is set, all else zero. 0; -EBADMSG; -ENOENT */
int evr_bcast_view(struct evr_bcast *b, const struct evr_object *obj);

/* The kind's settle(). */
void evr_bcast_settle(struct evr_peer *peer, const struct evr_object *obj,
		      struct evr_reap_report *report);

static inline uint8_t *evr_bcast_at(const struct evr_bcast *b, uint64_t pos)
{
	return b->lane.data + (pos & b->mask) * b->elem_sz;
}

#endif
