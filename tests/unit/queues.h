/* SPDX-License-Identifier: MIT */
/* What the tests of queues of many and of death share: a queue, and what a child says of what it did. */
#ifndef EVERING_TEST_QUEUES_H
#define EVERING_TEST_QUEUES_H

#include "die.h"

#include <sys/mman.h>

#define CAPACITY 8

/* What a child leaves behind of what it did; not accesses of the kind that step() sees. */
struct record {
	volatile uint64_t done; /* elements whose call came back, or the last value taken */
	volatile uint64_t counts[4];
};

static struct record *record;

static inline int open_record(void **state)
{
	record = mmap(NULL, sizeof(*record), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	/* 16 entries, so that a look through the table is a few steps. */
	return record == MAP_FAILED ? -1 : pair_open_sized(state, 64 << 10);
}

static inline int close_record(void **state)
{
	munmap(record, sizeof(*record));
	return pair_close(state);
}

static inline void make_queue(struct pair *pair, uint32_t elem_sz)
{
	struct evr_mpmc_options options = { .struct_sz = sizeof(options),
					    .capacity = CAPACITY,
					    .elem_sz = elem_sz };

	assert_int_equal(evr_mpmc_create(pair->peer, "q", &options), 0);
}

/* accepted = delivered + lost, of an empty queue; @taken: by whoever is still alive. */
static inline void assert_conserved(struct evr_mpmc *queue, uint64_t taken, uint64_t by_others_max)
{
	struct evr_mpmc_counts c;
	uint64_t delivered;

	evr_mpmc_counts(queue, &c);
	assert_true(c.in == c.out);
	delivered = c.in - c.holes - c.lost;
	assert_true(delivered >= taken && delivered - taken <= by_others_max);
}

/* One goes in and comes out again, and the queue takes its capacity. */
static inline void assert_usable(struct evr_mpmc *queue)
{
	uint64_t values[CAPACITY + 1] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 }, got[CAPACITY + 1];
	uint32_t sz = queue->elem_sz;

	assert_int_equal(evr_mpmc_push(queue, values, CAPACITY + 1), CAPACITY);
	assert_int_equal(evr_mpmc_pop(queue, got, CAPACITY + 1), CAPACITY);
	assert_memory_equal(got, values, CAPACITY * sz);
}

#endif
