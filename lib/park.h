/* SPDX-License-Identifier: MIT */
/* The barrier that a parking thread has instead of its wakers. */
#ifndef EVERING_LIB_PARK_H
#define EVERING_LIB_PARK_H

#include <stdbool.h>

#include <evering/park.h>

/* A full barrier on each processor that runs a registered process. False: there was none. */
bool evr_fence_all(void);

#endif
