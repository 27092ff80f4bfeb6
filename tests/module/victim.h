/* SPDX-License-Identifier: MIT */
/*
 * A process that attaches to a segment and dies as told. What it may leave behind (a
 * process of its own, an fd) is on a leash: it ends when the test lets go or ends.
 */
#ifndef EVERING_TESTS_VICTIM_H
#define EVERING_TESTS_VICTIM_H

#include "device.h"

struct role {
	int seg;
	uint32_t flags; /* EVERING_ATTACH_F_* */
	bool unmapped; /* attach only; else status and own region are mapped */
	/* In the victim before its peer is announced; may set orphan. NULL: nothing. */
	void (*prepare)(struct ev_link *link, struct role *role);
	/* In the victim afterwards. NULL: sleeps until it is killed. */
	void (*act)(struct ev_link *link, struct role *role);
	uint64_t arg;

	/* Filled in in the victim. */
	struct ev_peer peer;
	char *memory; /* its own region */
	int leash; /* end of file here: the test lets go */
	int test_end; /* of the leash; closed before anything else */
	pid_t orphan;
};

struct victim {
	struct ev_link link;
	struct ev_peer peer; /* without its fd */
	pid_t orphan;
	int leash;
};

/* Returns when the victim has attached and prepared. */
void victim_start(struct victim *v, const struct role *role);
/* SIGKILL and wait. */
void victim_kill(struct victim *v);
/* It has left; forget it. The wait status must be this. */
void victim_expect_end(struct victim *v, int wait_status);
/* Let go of what it has left behind; its orphan, if any, must end with exit 0. */
void victim_bury(struct victim *v);

/* In an orphan: sleep until the test lets go. */
void leash_wait(int leash);
/* fork(2) in the victim; the child runs body if any, then waits for the leash. */
void role_fork_orphan(struct role *role, void (*body)(struct role *));

#endif
