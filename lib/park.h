/* SPDX-License-Identifier: MIT */
/* The barrier that a parking thread has instead of its wakers, and sleeping in a crowd. */
#ifndef EVERING_LIB_PARK_H
#define EVERING_LIB_PARK_H

#include <stdbool.h>

#include <evering/park.h>

/* A full barrier on each processor that runs a registered process. False: there was none. */
bool evr_fence_all(void);

struct evr_crowd;

/* evr_waiter_wait() of one among many, see crowd.h. The waiter's bell is its seat. */
int evr_waiter_wait_crowd(struct evr_waiter *w, struct evr_crowd *crowd, bool (*ready)(void *),
			  void *arg, uint64_t deadline_ns);

#endif
