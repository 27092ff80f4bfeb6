/* SPDX-License-Identifier: MIT */
/* A small segment with an object of each kind in it, and something in each of them. */
#ifndef EVERING_TESTS_WORLD_H
#define EVERING_TESTS_WORLD_H

#include <evering/evering.h>

#define WORLD_SHARED_SZ (512U << 10)
#define WORLD_PEERS 64 /* so that masks of peers have more words than one */

/* Of the hub's channels. */
extern const struct evr_channel_options world_hub_channels;

/* Of a segment of these sizes. 0, or what failed. */
int world_make(struct evr_peer *peer);

/* This process' own, made at the first call, and as it was made at each: a peer of it. */
struct evr_peer *world_begin(void);

#endif
