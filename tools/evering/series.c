// SPDX-License-Identifier: MIT
/* Repeats of several rivals, taken in turns (A B A B ...), so that what disturbs the machine disturbs all. */
#include "series.h"

#include <stdlib.h>
#include <string.h>

#include "machine.h"

/* The runs by which the speed is found out grow until one takes so long. */
#define TRIAL_SECONDS 0.01
#define TRIAL_COUNT 64
#define TRIAL_GROWTH 16
#define COUNT_MAX (1ULL << 40)

static struct stage make_stage(const struct series *series, const struct series_plan *plan)
{
	return (struct stage){ .size = series->size,
			       .batch = plan->batch,
			       .backend = plan->backend,
			       .isolated = plan->isolated,
			       .cpus = { plan->cpus[0], plan->cpus[1] } };
}

static int run_once(struct series *series, const struct series_plan *plan, uint64_t count,
		    struct outcome *outcome)
{
	struct stage stage = make_stage(series, plan);

	stage.count = count;
	stage.warmup = count / 10 + 1;
	return stage_run(&stage, series->rival, outcome);
}

static bool is_late(const struct series_plan *plan)
{
	return plan->end_ns && evr_now_ns() > plan->end_ns;
}

/* How many operations fill a run. */
static uint64_t find_count(struct series *series, const struct series_plan *plan)
{
	static struct outcome outcome;
	uint64_t count = TRIAL_COUNT;

	if (plan->count)
		return plan->count;
	for (;;) {
		series->error = run_once(series, plan, count, &outcome);
		if (series->error)
			return 0;
		if (outcome.seconds >= TRIAL_SECONDS || outcome.seconds >= plan->run_seconds ||
		    count > COUNT_MAX || is_late(plan))
			break;
		count *= TRIAL_GROWTH;
	}
	if (is_late(plan))
		return count;
	count = (uint64_t)((double)count / outcome.seconds * plan->run_seconds);
	return count ? count : 1;
}

static void repeat(struct series *series, const struct series_plan *plan)
{
	static struct outcome outcome;

	if (series->error)
		return;
	series->error = run_once(series, plan, series->count, &outcome);
	if (series->error)
		return;
	series->per_second[series->repeats++] = outcome.operations / outcome.seconds;
	series->cpu_seconds += outcome.cpu_seconds;
	series->operations += outcome.operations;
	series->counted = outcome.counted;
	histogram_merge(&series->ticks, &outcome.ticks);
	/* A machine that others use may be much slower than it was in the trial. */
	if (!plan->count && outcome.seconds > 2 * plan->run_seconds)
		series->count =
			(uint64_t)((double)series->count / outcome.seconds * plan->run_seconds) + 1;
}

void series_run(struct series *series, int nr, const struct series_plan *plan)
{
	for (int i = 0; i < nr; i++)
		series[i].count = find_count(&series[i], plan);
	for (int turn = 0; turn < plan->repeats && turn < SERIES_REPEATS_MAX; turn++) {
		if (turn && is_late(plan))
			break;
		for (int i = 0; i < nr; i++)
			repeat(&series[i], plan);
	}
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The value that @fraction of the repeats are below. */
static double rank(const struct series *series, double fraction)
{
	double sorted[SERIES_REPEATS_MAX];
	int nr = series->repeats;

	if (!nr)
		return 0;
	memcpy(sorted, series->per_second, (size_t)nr * sizeof(*sorted));
	qsort(sorted, (size_t)nr, sizeof(*sorted), compare_doubles);
	if (fraction == 0.5 && nr % 2 == 0)
		return (sorted[nr / 2 - 1] + sorted[nr / 2]) / 2;
	return sorted[(int)(fraction * (nr - 1))];
}

double series_median(const struct series *series)
{
	return rank(series, 0.5);
}

double series_least(const struct series *series)
{
	return rank(series, 0);
}

double series_most(const struct series *series)
{
	return rank(series, 1);
}

double series_spread(const struct series *series)
{
	double median = series_median(series);

	return median > 0 ? 100 * (series_most(series) - series_least(series)) / median : 0;
}

double series_percentile(const struct series *series, double fraction)
{
	if (fraction >= 1)
		return (double)series->ticks.max * machine_ns_per_tick();
	return histogram_at(&series->ticks, fraction) * machine_ns_per_tick();
}
