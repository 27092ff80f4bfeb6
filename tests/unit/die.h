/* SPDX-License-Identifier: MIT */
/*
 * Death at a chosen access to shared memory, in a real process: step() is what steps.h
 * calls before each. To be included before anything of the library.
 */
#ifndef EVERING_TEST_DIE_H
#define EVERING_TEST_DIE_H

#include "steps.h"

#include "pair.h"

/* 0: count only. */
static uint64_t steps, steps_to_live;
/* What happens then, instead of death: another's turn, in between; and when it began. */
static void (*steps_turn)(void *arg);
static void *steps_arg;
static uint64_t steps_turn_ns;

void step(void)
{
	if (++steps != steps_to_live)
		return;
	if (!steps_turn)
		raise(SIGKILL);
	steps_turn_ns = evr_now_ns();
	steps_turn(steps_arg);
}

/* More would mean that a call does not end. */
#define STEPS_MAX 100000

/* A child that dies before its n-th access; false when it came to the end alive. */
static inline bool die_among(struct pair *pair, uint64_t n, void (*fn)(struct evr_peer *, void *),
			     void *arg)
{
	struct evr_peer *peer;
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		alarm(60);
		steps = 0;
		steps_to_live = n;
		steps_turn = NULL;
		CHECK(!evr_peer_attach(&peer, pair->segment, NULL));
		fn(peer, arg);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status)) {
		assert_int_equal(WTERMSIG(status), SIGKILL);
		return true;
	}
	assert_int_equal(status, 0);
	printf("# died before each of %llu accesses\n", (unsigned long long)n - 1);
	return false;
}

/* The same, and wait until nobody else is left. */
static inline bool die_at(struct pair *pair, uint64_t n, void (*fn)(struct evr_peer *, void *),
			  void *arg)
{
	bool died = die_among(pair, n, fn, arg);

	pair_settle(pair);
	return died;
}

#endif
