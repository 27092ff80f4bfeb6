/* SPDX-License-Identifier: MIT */
/*
 * One loop for files, sockets and segments: the driver's completions, and sleepers, each
 * the place from which one peer waits for its rings, channels and hubs.
 */
#ifndef EVERING_TOOL_LOOP_H
#define EVERING_TOOL_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include <evering/driver_op.h>
#include <evering/evering.h>

struct loop;

/* One peer's need words. What is not ours is filled in by loop_add(). */
struct sleeper {
	struct evr_peer *peer;
	/* Which words may wake it now: into @needs[max]. Returns how many. */
	uint32_t (*needs)(struct sleeper *sleeper, struct evr_need **needs);
	uint32_t max;
	struct evr_waiter waiter;
	struct evr_need **armed, **now;
	uint32_t armed_nr;
	uint64_t bells_op;
	uint64_t generation; /* of the peers' states, when the dead were last settled */
	bool ended; /* the peer itself: revoked */
	struct sleeper *next;
};

struct loop {
	struct evr_driver *driver;
	/* Does what can be done without waiting. Returns whether there was anything. */
	bool (*turn)(void *arg);
	void *arg;
	bool stop; /* set by a turn */
	struct sleeper *sleepers;
};

/* 0, or negative errno. */
int loop_open(struct loop *loop, bool (*turn)(void *arg), void *arg);

/* Cancels what is under way and waits for it: callbacks run. */
void loop_close(struct loop *loop);

/* peer, needs and max are set. 0, or negative errno. */
int loop_add(struct loop *loop, struct sleeper *sleeper);

/* Before the detach of its peer; of one that was not added: nothing. */
void loop_remove(struct loop *loop, struct sleeper *sleeper);

/* Until a turn sets stop, or a signal comes. 0, or negative errno. */
int loop_run(struct loop *loop);

/* Starts an op; false when it has to be tried again in a later turn. */
bool loop_submit(struct loop *loop, const struct evr_op *op, uint64_t *id);

const char *loop_mode(const struct loop *loop);

#endif
