/* SPDX-License-Identifier: MIT */
/* What the tests of taps share: an object of each kind, and a tap of it. */
#ifndef EVERING_TEST_TAPS_H
#define EVERING_TEST_TAPS_H

#include "die.h"

#define SPAN 16

static inline void make_all(struct evr_peer *peer)
{
	struct evr_spsc_options spsc = { .struct_sz = sizeof(spsc), .capacity = SPAN };
	struct evr_slots_options slots = { .struct_sz = sizeof(slots), .capacity = SPAN };
	struct evr_bytes_options bytes = { .struct_sz = sizeof(bytes), .capacity = 1024 };
	struct evr_log_options log = { .struct_sz = sizeof(log),
				       .capacity = SPAN * 64,
				       .record_max = 300 };
	struct evr_bcast_options bcast = { .struct_sz = sizeof(bcast), .capacity = SPAN };

	assert_int_equal(evr_bcast_create(peer, "lossy", &bcast), 0);
	bcast.seats = 2;
	assert_int_equal(evr_bcast_create(peer, "reliable", &bcast), 0);
	assert_int_equal(evr_spsc_create(peer, "spsc", &spsc), 0);
	assert_int_equal(evr_slots_create(peer, "slots", &slots), 0);
	assert_int_equal(evr_bytes_create(peer, "bytes", &bytes), 0);
	assert_int_equal(evr_log_create(peer, "log", &log), 0);
}

static inline struct evr_object find(struct evr_peer *peer, const char *name)
{
	struct evr_object object;

	assert_int_equal(evr_dir_find(peer, name, &object), 0);
	return object;
}

static inline struct evr_tap tap_of(struct evr_peer *peer, const char *name, enum evr_tap_from from)
{
	struct evr_object object = find(peer, name);
	struct evr_tap tap;

	assert_int_equal(evr_tap_open(&tap, peer, &object, from), 0);
	return tap;
}

#endif
