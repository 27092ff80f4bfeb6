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

/* bcast.c: the seat is ours: where this subscriber begins. */
void evr_bcast_begin(struct evr_bcast *b);

/* bcast.c: the writer waits no more for the seat, or slot, @at, whose owner word was @owner. */
bool evr_bcast_unseat(struct evr_bcast *b, uint32_t at, uint64_t owner);

/* bcast_far.c, which has the protocol: bytes in front of the elements for seats. */
uint64_t evr_bcast_far_sz(uint32_t peers_max);
/* The writer's role was taken. 0; -ENOMEM; and its end. */
int evr_bcast_far_begin(struct evr_bcast *b);
void evr_bcast_far_end(struct evr_bcast *b);
/* As evr_bcast_gate(), _wake(), _unseat() and _expel(), of subscribers elsewhere. */
void evr_bcast_far_gate(struct evr_bcast *b);
void evr_bcast_far_wake(struct evr_bcast *b);
bool evr_bcast_far_unseat(struct evr_bcast *b, uint32_t slot, uint64_t turn);
int evr_bcast_far_expel(struct evr_bcast *b, struct evr_peer_id subscriber);
/* The writer begins to wait for room; @late: it has waited in vain, as long as it has patience. */
void evr_bcast_far_watch(struct evr_bcast *b, bool late);
/* seats, seated, lag, slowest; @out has pos. */
void evr_bcast_far_count(const struct evr_bcast *b, struct evr_bcast_counts *out);
/* An observer in an isolated segment becomes a subscriber; and is none any more. */
int evr_bcast_far_sit(struct evr_bcast *b);
void evr_bcast_far_stand(struct evr_bcast *b);
/* What the writer says of this subscriber: that it was expelled; that it will wake it. */
bool evr_bcast_far_is_expelled(const struct evr_bcast *b);
bool evr_bcast_far_is_noted(const struct evr_bcast *b);

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
