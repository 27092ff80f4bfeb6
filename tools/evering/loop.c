// SPDX-License-Identifier: MIT
/* One loop for files, sockets and segments. */
#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "transfer.h"

/* How often deaths are looked for that nobody rings for, and a signal that came just before a sleep. */
#define TICK_NS 50000000ULL
#define CLOSE_NS 10000000000ULL

static void tick(struct evr_driver *driver, const struct evr_completion *done)
{
	struct loop *loop = done->arg;

	(void)driver;
	for (struct sleeper *sleeper = loop->sleepers; sleeper; sleeper = sleeper->next)
		evr_peer_check(sleeper->peer);
}

/* What the bells say is seen in the turn that follows. */
static void bells_rang(struct evr_driver *driver, const struct evr_completion *done)
{
	struct sleeper *sleeper = done->arg;

	(void)driver;
	if (!(done->flags & EVR_DONE_MORE))
		sleeper->ended = true;
}

int loop_open(struct loop *loop, bool (*turn)(void *arg), void *arg)
{
	struct evr_op op = evr_op_then(evr_op_timer(evr_now_ns() + TICK_NS, TICK_NS), tick, loop);
	int err;

	*loop = (struct loop){ .turn = turn, .arg = arg };
	err = evr_driver_create(&loop->driver, NULL);
	if (!err)
		err = evr_driver_submit(loop->driver, &op, NULL);
	return err;
}

void loop_close(struct loop *loop)
{
	if (!loop->driver)
		return;
	/* Past the deadline the kernel still has our buffers: they stay until the process goes. */
	if (evr_driver_close(loop->driver, evr_now_ns() + CLOSE_NS))
		evr_driver_leak(loop->driver);
	loop->driver = NULL;
}

int loop_add(struct loop *loop, struct sleeper *sleeper)
{
	struct evr_op op;
	int err = evr_waiter_init(&sleeper->waiter, sleeper->peer, EVR_WAIT_SLEEP);

	if (err)
		return err;
	sleeper->armed = calloc(2ULL * sleeper->max, sizeof(*sleeper->armed));
	sleeper->now = sleeper->armed + sleeper->max;
	op = evr_op_bell_wait(sleeper->peer, evr_waiter_bells(&sleeper->waiter));
	op = evr_op_then(evr_op_flagged(op, EVR_OP_MULTISHOT), bells_rang, sleeper);
	err = sleeper->armed ? evr_driver_submit(loop->driver, &op, &sleeper->bells_op) : -ENOMEM;
	if (err) {
		evr_waiter_fini(&sleeper->waiter);
		free(sleeper->armed);
		sleeper->armed = NULL;
		return err;
	}
	sleeper->next = loop->sleepers;
	loop->sleepers = sleeper;
	return 0;
}

void loop_remove(struct loop *loop, struct sleeper *sleeper)
{
	struct sleeper **at = &loop->sleepers;

	while (*at && *at != sleeper)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = sleeper->next;
	if (loop->driver)
		evr_driver_abandon(loop->driver, sleeper->bells_op);
	evr_waiter_fini(&sleeper->waiter);
	free(sleeper->armed);
	sleeper->armed = NULL;
}

bool loop_submit(struct loop *loop, const struct evr_op *op, uint64_t *id)
{
	int err = evr_driver_submit(loop->driver, op, id);
	struct evr_completion failed = { .arg = op->arg, .res = err };

	if (err == -EAGAIN)
		return false;
	/* As if it had been tried: there is one place for what goes wrong. */
	if (err)
		op->fn(loop->driver, &failed);
	return true;
}

/* After the turn, which has seen who died, and of what. */
static void settle_the_dead(struct loop *loop)
{
	for (struct sleeper *sleeper = loop->sleepers; sleeper; sleeper = sleeper->next) {
		uint64_t generation = evr_peer_generation(sleeper->peer);

		if (generation == sleeper->generation)
			continue;
		sleeper->generation = generation;
		evr_reap_dead(sleeper->peer, NULL);
	}
}

static uint64_t arm(struct loop *loop)
{
	uint64_t until_ns = EVR_DRIVER_NO_DEADLINE;

	for (struct sleeper *sleeper = loop->sleepers; sleeper; sleeper = sleeper->next) {
		uint64_t at_ns;

		sleeper->armed_nr = sleeper->needs(sleeper, sleeper->armed);
		at_ns = evr_waiter_arm(&sleeper->waiter, sleeper->armed, sleeper->armed_nr);
		until_ns = at_ns < until_ns ? at_ns : until_ns;
	}
	return until_ns;
}

static void disarm(struct loop *loop)
{
	for (struct sleeper *sleeper = loop->sleepers; sleeper; sleeper = sleeper->next)
		evr_waiter_disarm(&sleeper->waiter, sleeper->armed, sleeper->armed_nr);
}

/* Is there a word that was not there when they were armed? */
static bool has_new_needs(const struct loop *loop)
{
	for (struct sleeper *sleeper = loop->sleepers; sleeper; sleeper = sleeper->next) {
		uint32_t nr = sleeper->needs(sleeper, sleeper->now);

		if (nr != sleeper->armed_nr ||
		    memcmp(sleeper->now, sleeper->armed, nr * sizeof(*sleeper->now)))
			return true;
	}
	return false;
}

/* All that can be done without waiting. */
static bool work(struct loop *loop)
{
	bool did = evr_driver_run(loop->driver, 0, 0) > 0;

	did |= loop->turn(loop->arg);
	settle_the_dead(loop);
	return did;
}

int loop_run(struct loop *loop)
{
	int err = 0;

	while (!loop->stop && !transfer_signal() && err >= 0) {
		uint64_t until_ns;

		if (work(loop))
			continue;
		until_ns = arm(loop);
		/* Sleepers may come in a turn, not in this one: what is new is looked at again. */
		if (!loop->turn(loop->arg) && !has_new_needs(loop) && !loop->stop)
			err = evr_driver_run(loop->driver, 1, until_ns);
		disarm(loop);
		if (err == -EINTR)
			err = 0;
	}
	return err < 0 ? err : 0;
}

const char *loop_mode(const struct loop *loop)
{
	struct evr_driver_caps caps;

	evr_driver_caps(loop->driver, &caps);
	return evr_driver_mode_name(caps.mode);
}
