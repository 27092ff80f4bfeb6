// SPDX-License-Identifier: GPL-2.0
/*
 * Runs: stretches of an ascending array of frame numbers in which each is exactly
 * one step above the one before. Pure arithmetic.
 */
#include <linux/kernel.h>
#include <linux/sched.h>
#include <linux/sort.h>
#include <linux/string.h>

#include "evering.h"

#define RUNS_KEPT_MAX 64

static int compare(const void *a, const void *b)
{
	const unsigned long *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

void evering_runs_sort(unsigned long *pfn, u32 nr)
{
	sort(pfn, nr, sizeof(*pfn), compare, NULL);
}

/* The run of an ascending array that begins at this index. */
struct evering_run evering_runs_next(const unsigned long *pfn, u32 nr, u32 first,
				     unsigned long step)
{
	u32 end = first + 1;

	while (end < nr && pfn[end] - pfn[end - 1] == step)
		end++;
	return (struct evering_run){ first, end - first };
}

/* The longest run of an ascending array, the first of equals; nr 0 for none. */
struct evering_run evering_runs_longest(const unsigned long *pfn, u32 nr, unsigned long step)
{
	struct evering_run run, best = {};
	u32 first;

	for (first = 0; first < nr; first += run.nr) {
		run = evering_runs_next(pfn, nr, first, step);
		if (run.nr > best.nr)
			best = run;
	}
	return best;
}

static void reverse(unsigned long *pfn, u32 nr)
{
	u32 i;

	for (i = 0; i < nr / 2; i++)
		swap(pfn[i], pfn[nr - 1 - i]);
}

/* pfn[0, nr): moves the part [first, nr) to the front, both keep their order. */
static void rotate(unsigned long *pfn, u32 first, u32 nr)
{
	reverse(pfn, first);
	reverse(pfn + first, nr - first);
	reverse(pfn, nr);
}

/*
 * Reorders an ascending array so that its first want elements are the longest runs,
 * longest first (of very many, only the first of them); the rest stays ascending. Few and long extents come of it.
 */
void evering_runs_keep(unsigned long *pfn, u32 nr, unsigned long step, u32 want)
{
	struct evering_run run;
	u32 done = 0, runs;

	for (runs = 0; runs < RUNS_KEPT_MAX && done < want && done < nr; runs++) {
		run = evering_runs_longest(pfn + done, nr - done, step);
		rotate(pfn + done, run.first, run.first + run.nr);
		if (run.nr == 1)
			return; /* so are all the others */
		done += run.nr;
		cond_resched();
	}
}
