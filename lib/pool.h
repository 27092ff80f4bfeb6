/* SPDX-License-Identifier: MIT */
/* A pool's words, and what the reaper needs of them. pool.c has the protocol. */
#ifndef EVERING_LIB_POOL_H
#define EVERING_LIB_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include <evering/pool.h>
#include <evering/reap.h>

/* Shared; written by who creates the pool, then by nobody. */
struct pool_geometry {
	EVR_ALIGNAS(EVR_LINE_SZ) uint64_t layout;
	uint64_t classes_nr;
	struct evr_pool_class classes[EVR_POOL_CLASSES_MAX];
};

/* Shared. */
struct pool_seat {
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 owner; /* {incarnation:56 | slot:8}; 0: free */
	struct evr_need need;
};

/* Shared, at the start of the object; the control words follow, then the blocks. */
struct pool_header {
	struct pool_geometry geometry;
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 waiting; /* bit i: whoever has seat i */
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 spilled[EVR_POOL_CLASSES_MAX];
	struct evr_a64 exhausted[EVR_POOL_CLASSES_MAX];
	struct pool_seat seats[EVR_POOL_SEATS_MAX];
};

EVR_STATIC_ASSERT(sizeof(struct pool_geometry) == 2 * EVR_LINE_SZ, "part of the shared layout");
EVR_STATIC_ASSERT(sizeof(struct pool_seat) == 2 * EVR_LINE_SZ, "part of the shared layout");

struct pool_class {
	struct evr_a64 *ctl;
	uint64_t off; /* of block 0, in the segment */
	uint32_t sz, nr;
	uint32_t next; /* where to look first */
};

/* All of a pool as this process sees it; private. */
struct pool_map {
	struct evr_peer *peer;
	struct pool_header *header;
	struct evr_object object;
	struct pool_class classes[EVR_POOL_CLASSES_MAX];
	uint32_t classes_nr;
	uint16_t me;
	bool writable;
	uint64_t last_epoch[EVR_POOL_SEATS_MAX];
};

struct evr_pool_own {
	struct pool_map map;
	struct evr_peer_id self;
	int seat; /* -1: none was free */
	bool registered, joined;
};

/* Fill a map of an object. 0; -EINVAL, -EBADMSG, -EPROTO. */
int evr_pool_map(struct pool_map *map, struct evr_peer *peer, const struct evr_object *obj);

void evr_pool_reap(struct evr_peer *peer, const struct evr_object *obj,
		   struct evr_reap_report *report);

#endif
