/* SPDX-License-Identifier: MIT */
/* What the files that lanes are made of share, and the rings over them need. */
#ifndef EVERING_LIB_LANE_H
#define EVERING_LIB_LANE_H

#include <stdbool.h>
#include <stdint.h>

#include <evering/lane.h>

/* lane.c: make the object of a lane with so many bytes of data. As evr_dir_create(). */
int evr_lane_make(struct evr_peer *peer, const char *name, uint32_t kind,
		  const struct evr_lane_geometry *geometry, uint64_t data_sz);

/* lane.c: add to a counter of the own side. */
void evr_lane_count(struct evr_a64 *counter, uint64_t nr);

/* lane.c: as evr_lane_wait(), with what @look says to be available in place of evr_lane_refresh(). */
int evr_lane_wait_look(struct evr_lane *l, struct evr_waiter *w,
		       uint64_t (*look)(struct evr_lane *l), uint64_t want, uint64_t deadline_ns);

/*
 * lane.c: lanes as parts of a larger object. The first stands at its start and takes the
 * role, the others go by the same two owner words. Make memory that nobody can find yet a
 * lane: no position, no owner.
 */
void evr_lane_format(struct evr_lane_object *o, const struct evr_lane_geometry *geometry);

/*
 * Another lane of the object whose first one has been opened, at @off bytes in it; copies
 * its properties, as evr_lane_open(). @role is this lane's own. -EBADMSG
 */
int evr_lane_beside(struct evr_lane *l, const struct evr_lane *first, uint64_t off,
		    enum evr_role role);

/* A lane of an object only to be looked at, as its consumer would. -EBADMSG */
int evr_lane_view(struct evr_lane *l, struct evr_peer *peer, const struct evr_object *obj,
		  uint64_t off);

/*
 * lane.c: as evr_lane_open(), but only if this says 0 of the last holder, whose owner word
 * l->before is, and who is over: the role is taken from that very word. What it looks at may
 * be of another object by then, if this one was removed: then it does not matter what it says.
 */
int evr_lane_open_if(struct evr_lane *l, struct evr_peer *peer, const char *name, uint32_t kind,
		     enum evr_role role, int (*may)(const struct evr_lane *l));

/* Where the next lane of the object starts, if this one is at @off. */
uint64_t evr_lane_end(const struct evr_lane *l, uint64_t off);

/* lane.c: the first half of evr_lane_start(): the own position, and a need word that wants nothing. */
void evr_lane_begin(struct evr_lane *l);

/* lane.c: a side that has not parked for calm_step positions says AWAKE again. */
void evr_lane_calm(struct evr_lane *l);

/* lane.c: what the other side's owner word says of it. */
enum evr_ring_state evr_lane_judge(const struct evr_lane *l, uint64_t u_owner);

/* lane_far.c, which has the protocol. Find the own half, or make it as another's is. Sets l->object. */
int evr_lane_far_open(struct evr_lane *l, const char *name, uint32_t kind);

/* No other half is known; the role may not be held yet. */
void evr_lane_far_unmeet(struct evr_lane *l);

/* The role is held: tell those who look for us. -EBADMSG */
int evr_lane_far_start(struct evr_lane *l);

/* Look for the other half if it is not known. Return: it is known now. */
bool evr_lane_far_meet(struct evr_lane *l);

/* The other side's position, unless there is none that counts. */
bool evr_lane_far_pos(struct evr_lane *l, uint64_t *u_pos);

/* The holder of the other half is over, and that is known: be ready for another. */
void evr_lane_far_part(struct evr_lane *l);

/* A producer has learned how far all is taken, and it was checked: so far it may go, and there the next begins. */
void evr_lane_far_taken(struct evr_lane *l, uint64_t pos);

/*
 * How things stand with the other half. EVR_RING_OK: it is there, and *u_owner is its
 * holder's word of itself.
 */
enum evr_ring_state evr_lane_far_state(struct evr_lane *l, uint64_t *u_owner);

/* Another peer's half of a larger object, whose lanes are led. */
struct evr_lane_far {
	struct evr_object object;
	struct evr_peer_id id; /* whose it is, by the status page */
	const struct evr_a64 *ctl; /* its entry's control word */
	const struct evr_a64 *owner; /* its owner's word of itself */
	const struct evr_a64 *bond; /* see struct evr_lane */
	uint64_t bond_word;
};

/* A led lane has its other side. @data: the producer's, for a consumer. */
void evr_lane_far_join(struct evr_lane *l, const struct evr_lane_far *far,
		       const struct evr_lane_side *other, uint8_t *data);

/* A led lane without another side begins at 0; whoever knew us has been told before. */
void evr_lane_far_restart(struct evr_lane *l);

#endif
