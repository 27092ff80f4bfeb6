/* SPDX-License-Identifier: MIT */
/* Repeats of several rivals, taken in turns (A B A B ...), so that what disturbs the machine disturbs all. */
#ifndef EVERING_SERIES_H
#define EVERING_SERIES_H

#include "bench.h"

#define SERIES_REPEATS_MAX 25

/* All runs of one rival with one size of message. */
struct series {
	const struct rival *rival;
	uint64_t size;
	uint64_t count; /* operations of one run */
	int error; /* it could not be run; the rest is 0 */
	int repeats;
	double per_second[SERIES_REPEATS_MAX];
	double cpu_seconds; /* of all runs */
	double operations; /* of all runs */
	double counted; /* of the last run */
	struct histogram ticks;
};

/* What is asked of all of them. */
struct series_plan {
	enum evr_backend backend;
	bool isolated; /* segments of rivals that can do with one */
	int cpus[2];
	uint64_t batch;
	uint64_t count; /* operations of a run; 0 = as many as fit into the seconds */
	double run_seconds; /* of one run, about */
	uint64_t end_ns; /* CLOCK_MONOTONIC: from then on one short run of each; 0 = never */
	int repeats;
};

/* Fills in @series[@nr], whose rivals and sizes are set. */
void series_run(struct series *series, int nr, const struct series_plan *plan);

double series_median(const struct series *series);
double series_least(const struct series *series);
double series_most(const struct series *series);

/* (most - least) / median, in percent. */
double series_spread(const struct series *series);

/* Nanoseconds of the given fraction of operations; 0 when they were not stamped. */
double series_percentile(const struct series *series, double fraction);

#endif
