/* SPDX-License-Identifier: MIT */
/*
 * A crowd: all who sleep for one thing, of which each publication is for one of them.
 *
 * model      any thread of any peer joins, is rung, and leaves; any may die at any
 *            step, also between the bell and what it was rung for. Whoever publishes
 *            wakes as many as there is something for, and no two wakers the same one.
 * calls      all together with all.
 * edges      PARK, as in park.c: a sleeper takes its seat and looks for work; a waker
 *            publishes and looks at the seats; a full barrier between on each side.
 *            While mode is AWAKE nobody sits, wakers omit both, and the next to sit
 *            bars all processors instead.
 * progress   lock-free; a ring is a system call. No seat is waited for.
 * limits     a seat for each bell of each peer.
 *
 * A seat of a dead peer is nobody's: its incarnation says so, so there is nothing to
 * settle in it. Who was rung and dies took nothing, and its death wakes all the others
 * (bell 63), which look again. Who finds more than it takes wakes the next.
 */
#ifndef EVERING_LIB_CROWD_H
#define EVERING_LIB_CROWD_H

#include <evering/atomic.h>
#include <evering/park.h>

#define CROWD_AWAKE 0ULL /* nobody sits; who wants to bars all processors first */
#define CROWD_PENDING 1ULL /* somebody sits, and is about to bar all processors */
#define CROWD_ALERT 2ULL /* all wakers bar and look */
#define CROWD_MODE 3ULL
#define CROWD_EPOCH 4ULL /* + 1 each time that somebody sits down */

/* Bells of one peer, 31 in a half: {incarnation:32 | resv:1 | bells:31}. */
struct evr_crowd_seats {
	struct evr_a64 half[2];
};

/* Shared. Zeros are an empty crowd. */
struct evr_crowd {
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 state; /* {epoch:62 | mode:2} */
	struct evr_a64 slots[EVR_PEERS_MAX / 64]; /* somebody of that slot sits, or did */
	uint8_t resv[EVR_LINE_SZ - 8 * (1 + EVR_PEERS_MAX / 64)];
	struct evr_crowd_seats seats[]; /* for each slot of the segment */
};

EVR_STATIC_ASSERT(sizeof(struct evr_crowd) == EVR_LINE_SZ, "part of the shared layout");

static inline uint64_t evr_crowd_sz(uint32_t peers_max)
{
	uint64_t sz = sizeof(struct evr_crowd) + peers_max * sizeof(struct evr_crowd_seats);

	return (sz + EVR_LINE_SZ - 1) / EVR_LINE_SZ * EVR_LINE_SZ;
}

/* Must who has published look? */
static inline bool evr_crowd_is_alert(const struct evr_crowd *crowd,
				      const struct evr_crowd_waker *waker)
{
	evr_compiler_fence();
	/* Relaxed: who goes by AWAKE is barred by who ends it. */
	return !waker->registered ||
	       (evr_a64_load_relaxed(&crowd->state) & CROWD_MODE) != CROWD_AWAKE;
}

/* Bar, then wake up to @nr. Return: how many were rung. */
uint32_t evr_crowd_wake(struct evr_peer *peer, struct evr_crowd *crowd,
			struct evr_crowd_waker *waker, uint32_t nr);

/*
 * For park.c. Sit down, and say whether all processors must be barred before the look
 * for work; evr_crowd_barred() when they were, with the state that sitting down has left;
 * stand up.
 */
bool evr_crowd_sit(struct evr_peer *peer, struct evr_crowd *crowd, int bell, uint64_t *state);
void evr_crowd_barred(struct evr_crowd *crowd, uint64_t state);
void evr_crowd_stand(struct evr_peer *peer, struct evr_crowd *crowd, int bell);

/* Threads of living peers that sit now. */
uint32_t evr_crowd_sitting(struct evr_peer *peer, struct evr_crowd *crowd);

/* For settle() of a kind: forget whose slots are nobody's now. */
void evr_crowd_settle(struct evr_peer *peer, struct evr_crowd *crowd);

#endif
