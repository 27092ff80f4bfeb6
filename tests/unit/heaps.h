/* SPDX-License-Identifier: MIT */
/* What the tests of heaps share: a segment with the heap "heap", and what is in it. */
#ifndef EVERING_TEST_HEAPS_H
#define EVERING_TEST_HEAPS_H

#include "pair.h"

#define HEAP_SZ (2U << 20)

static inline int open_heap(void **state)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options), .sz = HEAP_SZ };
	int err = pair_open(state);
	struct pair *pair = *state;

	return err ? err : evr_heap_create(pair->peer, "heap", &options);
}

static inline void get_heap(struct pair *pair, struct evr_heap *heap)
{
	assert_int_equal(evr_heap_open(heap, pair->peer, "heap"), 0);
}

/* Nothing is allocated, and nothing has got lost. */
static inline void assert_empty(struct evr_heap *heap)
{
	struct evr_heap_usage usage;

	evr_heap_trim(heap);
	evr_heap_usage(heap, &usage);
	assert_int_equal(usage.blocks, 0);
	assert_int_equal(usage.cached, 0);
	assert_int_equal(usage.slabs, 0);
	assert_int_equal(usage.runs, 0);
	assert_int_equal(usage.corrupt, 0);
	assert_true(usage.bytes_free == usage.bytes_max);
	assert_true(usage.run_max == usage.bytes_max);
}

static inline int count_block(const struct evr_block_info *info, void *arg)
{
	uint64_t *counts = arg;

	counts[0]++;
	counts[1] += info->sz;
	return counts[0] == 100;
}

#endif
