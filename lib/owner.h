/* SPDX-License-Identifier: MIT */
/*
 * The owner word of a ring's side: who holds the role, and whether it still does.
 *
 *   {incarnation:40 | session:8 | slot:8 | state:8}
 *
 *   FREE, CLOSED(p), DEAD(p) -> HELD(me)    who wants the role, by CAS
 *   HELD(me) -> CLOSED(me)                  its owner
 *   HELD(p) -> DEAD(p)                      anybody with evidence that p is dead, by CAS
 *
 * A seat of a broadcast (bcast.h) has such a word too, and one state more:
 *
 *   HELD(p) -> EXPELLED(p)                  the writer: p counts no more, but may still write there
 *   EXPELLED(p) -> CLOSED(p), DEAD(p)       as from HELD
 *
 * It stands in the directory's entry of the ring, which is never anything else, so
 * that a late claimer of a ring that was removed cannot write into another object.
 */
#ifndef EVERING_OWNER_H
#define EVERING_OWNER_H

#include <stdbool.h>
#include <stdint.h>

#include <evering/peer.h>

#define OWNER_FREE 0
#define OWNER_HELD 1
#define OWNER_CLOSED 2
#define OWNER_DEAD 3
#define OWNER_EXPELLED 4
#define OWNER_STATE 0xffULL
#define OWNER_SLOT_SHIFT 8
#define OWNER_SESSION_SHIFT 16
#define OWNER_INCARNATION_SHIFT 24
#define OWNER_INCARNATION_MAX ((1ULL << 40) - 1)

static inline uint64_t owner_state(uint64_t owner)
{
	return owner & OWNER_STATE;
}

static inline uint64_t owner_with(uint64_t owner, uint64_t state)
{
	return (owner & ~OWNER_STATE) | state;
}

/* The same turn of the same peer in the role, whatever has become of it? */
static inline bool owner_same_turn(uint64_t a, uint64_t b)
{
	return a >> OWNER_SLOT_SHIFT == b >> OWNER_SLOT_SHIFT;
}

static inline struct evr_peer_id owner_id(uint64_t owner)
{
	return (struct evr_peer_id){ .slot = owner >> OWNER_SLOT_SHIFT & 0xff,
				     .incarnation = owner >> OWNER_INCARNATION_SHIFT };
}

/* The word of the next holder; the session tells two turns of one peer apart. */
static inline uint64_t owner_next(uint64_t owner, struct evr_peer_id id)
{
	uint64_t session = (owner >> OWNER_SESSION_SHIFT) + 1;

	return id.incarnation << OWNER_INCARNATION_SHIFT | (session & 0xff) << OWNER_SESSION_SHIFT |
	       (uint64_t)id.slot << OWNER_SLOT_SHIFT | OWNER_HELD;
}

/* Dead by the kernel's evidence; a peer that is only dying may still write. */
static inline bool owner_is_dead(struct evr_peer *peer, uint64_t owner)
{
	uint32_t state = evr_peer_state(peer, owner_id(owner));

	return state == EVR_PEER_DEAD || state == EVR_PEER_RETIRED;
}

#endif
