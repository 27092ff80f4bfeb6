/* SPDX-License-Identifier: MIT */
/*
 * A tour: whatever a directory names is opened and used in all its roles, without any
 * belief in what it says. Each call may fail; what it gives must lie where it says.
 * For segments whose words are somebody else's (test_chaos.c, fuzz_image.c).
 */
#ifndef EVERING_TESTS_TOUR_H
#define EVERING_TESTS_TOUR_H

#include <stdint.h>

#include <evering/evering.h>

struct tour {
	struct evr_peer *peer; /* read-write */
	struct evr_waiter waiter; /* of this peer, not yet used elsewhere */
	uint64_t seed; /* what is tried, and how much of it; not 0 */
	struct evr_reap_report *report; /* what it has settled is added; or NULL */
};

/* One object, as its kind has it; of kinds that are nobody's its bytes. */
void tour_object(struct tour *tour, const struct evr_object *object);
/* One end of a channel: all that it may send and receive, at random. */
void tour_channel_end(struct tour *tour, struct evr_channel *ch);
/* A handle of a broadcast, as its role has it; whatever it gives is touched. */
void tour_bcast_writer(struct tour *tour, struct evr_bcast *b);
void tour_bcast_reader(struct tour *tour, struct evr_bcast *b);
/* Make, find and remove objects; settle the dead. */
void tour_directory(struct tour *tour);
/* tour_hub.c: the hub, ports of a channel, and what is told to who only looks at an object. */
void tour_hub(struct tour *tour, const char *name);
void tour_ports(struct tour *tour, const char *channel);
void tour_look(struct tour *tour, const struct evr_object *object);
/* All of it. */
void tour_all(struct tour *tour);

/* xorshift: the same numbers for the same seed. */
static inline uint64_t tour_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

#endif
