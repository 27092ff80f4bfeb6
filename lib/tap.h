/* SPDX-License-Identifier: MIT */
/* What each kind does for a tap; tap.c has the table. */
#ifndef EVERING_LIB_TAP_H
#define EVERING_LIB_TAP_H

#include <evering/bcast.h>
#include <evering/bytes.h>
#include <evering/log.h>
#include <evering/slots.h>
#include <evering/tap.h>

/* More than one that is skipped in a call has met nonsense, or somebody much faster. */
#define TAP_TRIES_MAX 1000

struct tap_kind {
	uint32_t kind;
	/* Check the geometry and set pos. 0; -EBADMSG */
	int (*open)(struct evr_tap_own *own, enum evr_tap_from from);
	/* As evr_tap_next(), but for skipped. */
	int (*next)(struct evr_tap_own *own, void *data, uint64_t max,
		    struct evr_tap_message *message);
};

struct evr_tap_own {
	struct evr_peer *peer;
	struct evr_object object;
	const struct tap_kind *kind;
	uint64_t pos; /* of the next message */
	uint64_t skipped; /* since the last one */
	const struct evr_lane_object *shared; /* of lanes */
	struct evr_lane_geometry geometry;
	uint64_t span, unit_sz;
	union {
		struct evr_bytes bytes;
		struct evr_slots slots;
		struct evr_log log;
		struct evr_bcast bcast;
	};
};

/* log_tap.c */
int evr_log_tap_open(struct evr_tap_own *own, enum evr_tap_from from);
int evr_log_tap_next(struct evr_tap_own *own, void *data, uint64_t max,
		     struct evr_tap_message *message);

/* bcast_tap.c */
int evr_bcast_tap_open(struct evr_tap_own *own, enum evr_tap_from from);
int evr_bcast_tap_next(struct evr_tap_own *own, void *data, uint64_t max,
		       struct evr_tap_message *message);

#endif
