/* SPDX-License-Identifier: MIT */
/* A small segment with an object of each kind in it, and something in each of them. */
#ifndef EVERING_TESTS_WORLD_H
#define EVERING_TESTS_WORLD_H

#include <evering/evering.h>

#define WORLD_SHARED_SZ (256U << 10)
#define WORLD_PEERS 64 /* so that masks of peers have more words than one */

/* Of a segment of these sizes. 0, or what failed. */
int world_make(struct evr_peer *peer);

#endif
