/* SPDX-License-Identifier: MIT */
/* What the kinds tell of themselves, for their rows in kinds.c. */
#ifndef EVERING_LIB_OBJECT_H
#define EVERING_LIB_OBJECT_H

#include <evering/object.h>
#include <evering/lane.h>

/* A walk over what is held; each() and arg are the caller's. */
struct evr_held_walk {
	struct evr_peer *peer;
	int (*each)(const struct evr_holding *holding, void *arg);
	void *arg;
};

static inline int evr_held_tell(const struct evr_held_walk *walk, const struct evr_holding *h)
{
	return walk->each(h, walk->arg);
}

/* Who an owner word says to be at an end. */
void evr_end_owner(struct evr_peer *peer, uint64_t u_owner, struct evr_flow_end *end);

/* lane_look.c: the lane at @off of an object, and a copy of what it says of itself; NULL: it is none. */
struct evr_lane_object *evr_lane_at(struct evr_peer *peer, const struct evr_object *obj,
				    uint64_t off, struct evr_lane_geometry *g);
/* Its numbers. @swapped: the entry's first owner word is the consumer's. -EBADMSG */
int evr_lane_flow(struct evr_peer *peer, const struct evr_object *obj, uint64_t off, bool swapped,
		  struct evr_flow *flow);
int evr_lane_object_stat(struct evr_peer *peer, const struct evr_object *obj,
			 struct evr_object_stat *out);

int evr_mpmc_object_stat(struct evr_peer *peer, const struct evr_object *obj,
			 struct evr_object_stat *out);
int evr_mpmc_object_held(const struct evr_held_walk *walk, const struct evr_object *obj);
int evr_log_object_stat(struct evr_peer *peer, const struct evr_object *obj,
			struct evr_object_stat *out);
int evr_log_object_held(const struct evr_held_walk *walk, const struct evr_object *obj);
int evr_bcast_object_stat(struct evr_peer *peer, const struct evr_object *obj,
			  struct evr_object_stat *out);
int evr_bcast_object_held(const struct evr_held_walk *walk, const struct evr_object *obj);
int evr_channel_object_stat(struct evr_peer *peer, const struct evr_object *obj,
			    struct evr_object_stat *out);
int evr_heap_object_stat(struct evr_peer *peer, const struct evr_object *obj,
			 struct evr_object_stat *out);
int evr_heap_object_held(const struct evr_held_walk *walk, const struct evr_object *obj);
int evr_pool_object_stat(struct evr_peer *peer, const struct evr_object *obj,
			 struct evr_object_stat *out);
int evr_pool_object_held(const struct evr_held_walk *walk, const struct evr_object *obj);

#endif
