/* SPDX-License-Identifier: MIT */
/*
 * A peer that watches others die, and counts: each death is two changes of the status
 * page's generation (dying, dead; for an observer dying, free), not one more, and one
 * bell 63. Reads what every peer may read.
 */
#ifndef EVERING_TESTS_WATCH_H
#define EVERING_TESTS_WATCH_H

#include "device.h"

#define WATCH_DEATH_CHANGES 2

struct watch {
	int seg;
	struct ev_peer peer;
	const struct evering_status_header *status;
	uint64_t generation; /* changes up to here are accounted for */
};

void watch_start(struct watch *w, int seg);
void watch_stop(struct watch *w);

/* A case's own segment, watched: *state is the struct watch. */
int watch_setup(void **state, int seg);
int watch_setup_plain(void **state);
int watch_teardown(void **state);

uint64_t watch_generation(const struct watch *w);

/* Take what has rung and happened so far as known. */
void watch_settle(struct watch *w);

/* Take the pending bells without sleeping; all zero when there are none. */
struct evering_bells take_bells(int peer_fd);
/* Sleep until poll(2) reports one of the events; the revents. A hang fails the test. */
short await_events(int fd, short events);
/* The revents at this moment. */
short events_now(int fd, short events);

/* What PEER_LIST says of a slot; state is EVERING_PEER_FREE when it is not listed. */
struct evering_peer_entry peer_entry(int fd, uint32_t slot);

/*
 * The next event is the death of exactly this peer, for this reason: the bell comes
 * after the state, the state page and PEER_LIST agree, and it is counted once.
 */
void watch_expect_death(struct watch *w, const struct ev_peer *victim, uint32_t reason,
			int exit_status);
/* No change since the last settled one, and the peer is alive. */
void watch_expect_alive(struct watch *w, const struct ev_peer *peer);
/* No change since the last one that was expected. */
void watch_expect_quiet(struct watch *w);

/*
 * The dead peer's slot is not given away before PEER_REAPED, is afterwards, and with
 * the next incarnation. The new peer is ended and reaped again.
 */
void watch_reap(struct watch *w, const struct ev_peer *victim);

/* Segments and bytes in use come down to what they were; a hang fails the test. */
void await_totals(const struct evering_info *before);

/* The task sleeps (state S in /proc): it has come to its blocking call. */
void await_asleep(pid_t pid);

#endif
