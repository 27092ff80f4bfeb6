/* SPDX-License-Identifier: MIT */
/*
 * Allocators under measurement: what a rival that is a malloc() of somebody says of
 * itself (struct rival, with), and the sides that measure it. They use threads where
 * evering uses processes.
 */
#ifndef EVERING_ALLOCATOR_H
#define EVERING_ALLOCATOR_H

#include "stage.h"

struct allocator {
	const char *library; /* as dlopen(3) finds it; NULL: the C library */
	const char *alloc, *free; /* names of its functions */
};

int allocator_prepare(struct stage *stage);
int allocator_prepare_remote(struct stage *stage);

/* The near side: one block at a time; a hundred; of random sizes; freed by another thread. */
void allocator_pairs(struct stage *stage);
void allocator_many(struct stage *stage);
void allocator_random(struct stage *stage);
void allocator_remote(struct stage *stage);

#endif
