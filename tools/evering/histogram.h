/* SPDX-License-Identifier: MIT */
/* Counts of times in buckets that are never wider than 1/32 of their value. */
#ifndef EVERING_HISTOGRAM_H
#define EVERING_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HISTOGRAM_SUB_BITS 5
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

/* Lives in shared memory too: no pointers. */
struct histogram {
	uint64_t nr;
	uint64_t max;
	uint64_t counts[HISTOGRAM_BUCKETS];
};

static inline unsigned int histogram_bucket(uint64_t value)
{
	unsigned int shift;

	if (value < (2U << HISTOGRAM_SUB_BITS))
		return (unsigned int)value;
	shift = 63 - HISTOGRAM_SUB_BITS - (unsigned int)__builtin_clzll(value);
	return (shift << HISTOGRAM_SUB_BITS) + (unsigned int)(value >> shift);
}

static inline void histogram_add(struct histogram *histogram, uint64_t value)
{
	histogram->nr++;
	if (value > histogram->max)
		histogram->max = value;
	histogram->counts[histogram_bucket(value)]++;
}

void histogram_clear(struct histogram *histogram);
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The value that @fraction (0 to 1) of all are at or below; 0 when there are none. */
double histogram_at(const struct histogram *histogram, double fraction);

/*
 * Bars over a logarithmic scale of times, at most @rows lines of @columns
 * characters, each value multiplied by @ns_per_unit.
 */
void histogram_draw(const struct histogram *histogram, FILE *to, int rows, int columns,
		    double ns_per_unit);

#ifdef __cplusplus
}
#endif

#endif
