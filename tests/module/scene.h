/* SPDX-License-Identifier: MIT */
/* Three peers of one segment in one process: one rings, one is rung, one looks on. */
#ifndef EVERING_TESTS_SCENE_H
#define EVERING_TESTS_SCENE_H

#include "watch.h"

enum { RINGS, RUNG, THIRD, SCENE_PEERS };

struct scene {
	int seg;
	struct ev_peer peer[SCENE_PEERS];
};

/* cmocka set-up and tear-down; nothing is pending at the start. */
int scene_start(void **state);
int scene_stop(void **state);

/* RINGS rings RUNG, or anybody anybody; the entry's result. */
int scene_ring(struct scene *s, uint64_t bits);
int scene_ring_from(struct scene *s, int from, int to, uint64_t bits);

#endif
