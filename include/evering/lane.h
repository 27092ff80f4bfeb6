/* SPDX-License-Identifier: MIT */
/*
 * A lane: what every ring with one producer and one consumer is made of. Two
 * positions, who holds which role, whether the other is there, and how to wait
 * for it. evr_spsc and evr_bytes are two formats of data over a lane.
 *
 * model      one producer, one consumer, in two processes or one; either may die
 *            at any step and another may take over its role once it is reaped.
 * calls      one thread at a time on one struct evr_lane; the two ends together.
 * edges      LANE-DATA: the owner of a side writes data, then its position with
 *            release; the other loads the position with acquire, then the data.
 *            In the other direction it says that slots may be written again.
 *            LANE-ROLE: a side's owner word passes from one owner to the next,
 *            with release and acquire, and with it the side's position.
 *            LANE-MEET, LANE-VOUCH: of two halves, see lib/lane_far.c.
 * progress   wait-free, but for the system call that wakes a sleeper.
 * limits     a position is 64 bits and runs freely.
 *
 * With t the producer's position, h the consumer's: 0 <= t - h <= span, or the
 * other side is corrupt: then this end is closed for good, see evr_lane_state().
 */
#ifndef EVERING_LANE_H
#define EVERING_LANE_H

#include <evering/dir.h>
#include <evering/park.h>

#ifdef __cplusplus
extern "C" {
#endif

enum evr_role { EVR_PRODUCER, EVR_CONSUMER };

enum evr_ring_state {
	EVR_RING_OK,
	EVR_RING_NO_PEER, /* nobody holds the other role (yet) */
	EVR_RING_CLOSED, /* the other side said that it is done */
	EVR_RING_PEER_DEAD, /* the holder of the other role died in it */
	EVR_RING_REVOKED, /* this process is no peer any more */
	EVR_RING_CORRUPT, /* the other side's words are nonsense */
	EVR_RING_BUSY, /* rings of many: a living peer is at work on what would be next */
	EVR_RING_EXPELLED, /* broadcast: the writer waits for this subscriber no more */
};

/* evr_ring_state_name() - "ok", "peer dead" ...; "unknown" for what is no state. Static. */
EVR_API const char *evr_ring_state_name(enum evr_ring_state state);

/* Relaxed, for observers: nothing is decided by them. */
struct evr_lane_counts {
	struct evr_a64 opens; /* times the role was taken */
	struct evr_a64 messages; /* bytes: frames; spsc leaves it to the position */
	struct evr_a64 blocked; /* waits for the other side */
	struct evr_a64 parks; /* of these, with a sleep */
	struct evr_a64 rings; /* bells rung for the other side */
	struct evr_a64 corrupt; /* times the other side was found corrupt */
	struct evr_a64 lost; /* positions whose data a successor in their region has overwritten */
	struct evr_a64 expelled; /* broadcast: subscribers that the writer waits for no more */
	struct evr_a64 resv[8];
};

/*
 * What one role writes: wholly in memory that its owner may write. Who the owner is
 * stands in the entry of the directory. In an isolated segment each peer has a half
 * of the lane in its own region, an object of the same name, kind and geometry, and
 * the side of its own role in there counts; so do the data of the producer's half.
 */
struct evr_lane_side {
	/* the owner writes it with every publication */
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 pos;
	/* isolated, when it meets another other side */
	struct evr_a64 partner; /* the owner word of its holder; 0: there is none */
	struct evr_a64 origin; /* consumer: which half its position counts in, {gen:32 | idx:32} */
	/* producer: the first position that a new consumer gets; broadcast: that is whole */
	struct evr_a64 base;
	uint8_t resv0[EVR_LINE_SZ - 4 * sizeof(struct evr_a64)];
	/* the owner writes it when it parks */
	struct evr_need need;
	/* the owner writes it now and then */
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_lane_counts counts;
};

EVR_STATIC_ASSERT(sizeof(struct evr_lane_side) == 3 * EVR_LINE_SZ, "part of the shared layout");

/* Written once before the object is published; read once at open. */
struct evr_lane_geometry {
	uint64_t layout; /* EVR_LANE_LAYOUT */
	uint64_t span; /* positions the lane holds: elements, or bytes of a stream */
	uint64_t unit_sz; /* spsc: bytes of an element; bytes: largest frame with its header */
	uint64_t data_sz; /* bytes of data after the sides */
	uint64_t type_tag; /* what an element is; 0: anything */
	uint64_t seats_nr; /* broadcast: subscribers that its writer waits for */
	uint64_t resv[10];
};

#define EVR_LANE_LAYOUT 0x31304e4c525645ULL /* "EVRLN01" */

/* A lane's object in the directory; the data follow. */
struct evr_lane_object {
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_lane_geometry geometry;
	struct evr_lane_side sides[2]; /* by enum evr_role */
};

EVR_STATIC_ASSERT(sizeof(struct evr_lane_object) == 7 * EVR_LINE_SZ, "part of the shared layout");

/* One end, private to the thread that uses it. The fields are not for callers. */
struct evr_lane {
	uint64_t pos; /* own; the shared copy is written, never read back */
	uint64_t limit; /* pos may go so far without another look at the other side */
	uint64_t span;
	uint8_t *data;
	struct evr_lane_side *mine; /* NULL: closed */
	const struct evr_lane_side *other;
	bool registered; /* the barrier of a publication may be omitted */
	bool corrupt;
	uint8_t role;
	bool far; /* of two halves, in an isolated segment */
	bool met; /* the other half is known */
	bool led; /* far: a larger object finds the other half, and says so by evr_lane_far_join() */
	uint64_t rung_epoch; /* the other side's park that we have rung for */
	uint64_t calm_pos; /* where we last looked whether we still park, and */
	uint64_t calm_epoch; /* our last park then */
	uint64_t calm_step; /* positions without a park after which we say AWAKE */
	uint64_t past; /* owner word of a holder of the other role whose story is over */
	uint64_t before, held; /* what the owner word of our side was and is */
	uint64_t seen; /* owner word of the other side that we found alive */
	struct evr_a64 *owner; /* of our side */
	const struct evr_a64 *other_owner;
	struct evr_peer *peer;
	struct evr_lane_object *shared;
	struct evr_object object; /* far: the own half */
	struct evr_lane_geometry geometry;
	struct evr_peer_id
		expected; /* far: whose half the other may be; slot EVR_SLOT_ANY: anybody's */
	struct evr_peer_id other_id; /* met: whose it is, */
	const struct evr_a64 *other_ctl; /* its entry's control word, */
	uint64_t other_half; /* and which entry, {gen:32 | idx:32} */
	uint64_t turns; /* evr_dir_turns() when we last looked for it */
	const struct evr_a64 *bond; /* led: it is ours as long as this word of its owner's */
	uint64_t bond_word; /* says this */
};

/* A copy of one side's counts; see struct evr_lane_counts. */
struct evr_ring_counts {
	uint64_t pos, opens, messages, blocked, parks, rings, corrupt, lost;
	struct evr_peer_id owner; /* slot EVR_SLOT_ANY when nobody holds the role */
};

/*
 * For spsc.c and bytes.c: make an object of these properties; layout is filled in.
 * Return: as evr_dir_create().
 */
EVR_API int evr_lane_create(struct evr_peer *peer, const char *name, uint32_t kind,
			    const struct evr_lane_geometry *geometry);

/*
 * Take a role of a ring by name and copy its properties, to be checked before
 * evr_lane_start(). @l is filled in.
 * In an isolated segment it takes it in the own half, and makes that first, after
 * somebody else's, when there is none.
 * Return: 0; -ENOENT; -EINVAL another kind, no role; -EBUSY; -EBADMSG; -EROFS;
 * -EOVERFLOW; and as evr_dir_create().
 */
EVR_API int evr_lane_open(struct evr_lane *l, struct evr_peer *peer, const char *name,
			  uint32_t kind, enum evr_role role);

/* Go on from where the last holder stopped. -EBADMSG */
EVR_API int evr_lane_start(struct evr_lane *l);

/* Instead of evr_lane_start(): leave the role as it was found. */
EVR_API void evr_lane_abandon(struct evr_lane *l);

/*
 * In an isolated segment: no other peer than this is taken as the other side. A name
 * can be used by everybody there. To be called after evr_lane_open(), before any use.
 */
EVR_API void evr_lane_expect(struct evr_lane *l, struct evr_peer_id other);

/*
 * Are the data up to the limit, that were read by now, the producer's own? In an
 * isolated segment its region may serve another peer once it has died. True for a
 * producer.
 */
EVR_API bool evr_lane_vouch(struct evr_lane *l);

/* Give the role back and tell the other side. */
EVR_API void evr_lane_close(struct evr_lane *l);

/*
 * After the end of one holder of the other role, be ready for the next: states
 * CLOSED and PEER_DEAD become NO_PEER until somebody takes the role.
 */
EVR_API void evr_lane_forget(struct evr_lane *l);

/* Look at the other side again. Return: positions available to this end. */
EVR_API uint64_t evr_lane_refresh(struct evr_lane *l);

/* Give what the other side asked for: a ring of its bell, if it is asleep. */
EVR_API void evr_lane_wake(struct evr_lane *l);

/* Declare the other side corrupt: this end is of no use from now on. */
EVR_API void evr_lane_corrupt(struct evr_lane *l, const char *what, uint64_t value);

/* How things stand; several loads. Data that the other side published may still be there. */
EVR_API enum evr_ring_state evr_lane_state(struct evr_lane *l);

/* Who holds the other role; slot EVR_SLOT_ANY when nobody does. */
EVR_API struct evr_peer_id evr_lane_other(const struct evr_lane *l);

/*
 * Wait until @want positions are available. Return: 0; -EPIPE closed;
 * -EOWNERDEAD the other side died; -EBADMSG corrupt; -ESHUTDOWN own peer ended;
 * -EMSGSIZE more than the lane ever holds; -ETIMEDOUT; -EINTR. For a consumer
 * all that was published comes first.
 */
EVR_API int evr_lane_wait(struct evr_lane *l, struct evr_waiter *w, uint64_t want,
			  uint64_t deadline_ns);

/*
 * May anything still be sent: 0, or the error of the state. One load as long as the
 * other side stays who it was; a death is noticed by who waits.
 */
EVR_API int evr_lane_check(struct evr_lane *l);

/* The error that a state stands for; 0 for OK and NO_PEER. */
EVR_API int evr_ring_state_error(enum evr_ring_state state);

/* Of one role, by any holder of a handle; zeros when it is closed. The other side writes its own. */
EVR_API void evr_lane_counts(const struct evr_lane *l, enum evr_role role,
			     struct evr_ring_counts *out);

/* A span must be a power of two, so that a position's place is a mask away. */
static inline bool evr_lane_span_is_valid(uint64_t span, uint64_t min, uint64_t max)
{
	return span >= min && span <= max && !(span & (span - 1));
}

/* Units that can be published, or released, as far as was last seen; no load. */
static inline uint64_t evr_lane_avail(const struct evr_lane *l)
{
	return l->limit - l->pos;
}

/* After a publication, in whatever way it was made. */
static inline void evr_lane_ring(struct evr_lane *l)
{
	if (__builtin_expect(evr_need_is_alert(&l->other->need, l->registered), 0))
		evr_lane_wake(l);
}

/* Everything before our position is the other side's. */
static inline void evr_lane_publish(struct evr_lane *l)
{
	evr_a64_store_release(&l->mine->pos, l->pos); /* LANE-DATA */
	evr_lane_ring(l);
}

#ifdef __cplusplus
}
#endif

#endif
