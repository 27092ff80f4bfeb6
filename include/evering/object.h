/* SPDX-License-Identifier: MIT */
/*
 * Objects as they are seen from outside: what went through them, who holds what of them.
 * For monitors and for whoever looks into an application that hangs.
 *
 * model      any peer looks at any object, an observer too. Nothing is written, claimed or
 *            waited for, so it does not matter whether those who use it run, are stopped,
 *            or died in the middle of anything.
 * calls      all together with all.
 * edges      none of its own. Each number is one load: of an object that is in use,
 *            the numbers of one answer are of slightly different moments; of one whose
 *            users do not run they are exact.
 * progress   wait-free. Queues, logs, heaps and pools are walked: a load for each element.
 * limits     peers are asked for their state as evr_peer_state() tells it; a death that
 *            nobody has settled yet is seen by evr_peer_info() earlier, see there.
 */
#ifndef EVERING_OBJECT_H
#define EVERING_OBJECT_H

#include <evering/dir.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Who is at an end of a flow. */
enum evr_end_state {
	EVR_END_NONE, /* nobody has been (in an isolated segment: not in this half) */
	EVR_END_HELD,
	EVR_END_CLOSED, /* its last holder gave it back */
	EVR_END_DEAD, /* its last holder died in it */
	EVR_END_MANY, /* no role: whoever has opened the object */
};

/* evr_end_state_name() - "held", "dead" ...; never NULL. Static. */
EVR_API const char *evr_end_state_name(enum evr_end_state state);

/* One end of a flow; counts are since the creation. */
struct evr_flow_end {
	uint64_t pos; /* in units: put in, or taken out */
	uint64_t messages; /* 0 where nobody counts them: into a log */
	uint64_t opens; /* times the role was taken; of MANY: handles opened, at both ends */
	uint64_t blocked, parks,
		rings; /* waits; of these with a sleep; bells rung for the other end */
	uint64_t corrupt; /* times that the other end was found corrupt */
	uint64_t lost; /* messages that a death has cost */
	struct evr_peer_id holder; /* of HELD and DEAD; else slot EVR_SLOT_ANY */
	uint32_t state; /* enum evr_end_state */
	uint32_t sleeping; /* threads that wait here in their sleep */
};

/* Messages in one direction. What is in it: ends[0].pos - ends[1].pos units. */
struct evr_flow {
	uint64_t capacity; /* units */
	uint64_t unit_sz; /* bytes of a unit: of an element, 1 of a stream, of a log's unit */
	uint64_t type_tag;
	struct evr_flow_end ends[2]; /* by enum evr_role */
};

struct evr_object_stat {
	uint32_t flows_nr; /* 2 of a channel (from A, from B), 0 of heaps and pools, else 1 */
	uint32_t members; /* living peers that have opened it, for kinds without roles */
	struct evr_flow flows[2];
	/* heaps and pools */
	uint64_t blocks, bytes; /* that are somebody's */
	uint64_t bytes_max;
};

/* evr_kind_name() - "spsc", "heap"; "user" from EVR_KIND_USER on, else "unknown". */
EVR_API const char *evr_kind_name(uint32_t kind);

/**
 * evr_object_stat() - what an object says of itself
 * @peer: own attachment, also an observer's
 * @obj: from evr_dir_find() or evr_dir_walk()
 * @out: filled in; zeros on failure
 *
 * In an isolated segment an object is one peer's half of a lane: the end that is not
 * held there is NONE.
 *
 * Return: 0; -EOPNOTSUPP not a kind of the library's; -EBADMSG its words are nonsense, the
 * detail names them; -EPROTO another version; -ENOMEM.
 */
EVR_API int evr_object_stat(struct evr_peer *peer, const struct evr_object *obj,
			    struct evr_object_stat *out);

enum evr_hold {
	EVR_HOLD_ROLE, /* of a ring or channel */
	EVR_HOLD_CLAIM, /* elements or units that it is writing or reading */
	EVR_HOLD_BLOCK, /* of a heap or pool */
	EVR_HOLD_USE, /* it has opened an object that has no roles */
};

/* "role", "claim", "block", "use"; "unknown". */
EVR_API const char *evr_hold_name(enum evr_hold what);

/* Something that one peer has of an object. */
struct evr_holding {
	uint32_t what; /* enum evr_hold */
	uint32_t slot; /* whose */
	uint64_t incarnation; /* as far as known: @incarnation_bits of it */
	uint32_t incarnation_bits;
	uint32_t role; /* ROLE: enum evr_role, or enum evr_channel_role; CLAIM: enum evr_role */
	uint64_t id; /* CLAIM: first position; BLOCK: handle */
	uint64_t nr; /* units of a CLAIM */
	uint64_t bytes; /* of a CLAIM or BLOCK */
	uint32_t state; /* BLOCK: EVR_BLOCK_* */
	uint32_t source; /* BLOCK in flight: slot of its sender; else EVR_SLOT_ANY */
};

/* Is this what that peer holds, as far as is known? */
static inline bool evr_holding_is_of(const struct evr_holding *holding, struct evr_peer_id id)
{
	uint64_t mask = holding->incarnation_bits < 64 ? (1ULL << holding->incarnation_bits) - 1 :
							 UINT64_MAX;

	return holding->slot == id.slot && !((holding->incarnation ^ id.incarnation) & mask);
}

/**
 * evr_object_held() - call each() for all that peers, living or dead, hold of an object
 *
 * Ends when each() returns not 0. Blocks that several share (evr_heap_share()) are
 * told as those of the peer that shared them.
 *
 * Return: 0, or what each() gave; as evr_object_stat(), but 0 for other kinds.
 */
EVR_API int evr_object_held(struct evr_peer *peer, const struct evr_object *obj,
			    int (*each)(const struct evr_holding *holding, void *arg), void *arg);

#ifdef __cplusplus
}
#endif

#endif
