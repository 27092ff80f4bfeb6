/* SPDX-License-Identifier: MIT */
/*
 * driver_parts slot|inject NR: NR times a slot is taken and freed; or a call is injected by the
 * driver's own thread, which is awake, and made, 32 together. check_driver_cost.sh counts the
 * instructions. Exit status 3: an injection made a system call to wake somebody.
 * driver_parts enters NR: NR no-ops in batches of 32; exit status 3 unless the loop has
 * entered the kernel once for each batch, and never more.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <evering/driver_inject.h>
#include <evering/driver_op.h>

#include "driver.h"

#define BATCH 32

static uint64_t done_nr;

static void done(struct evr_driver *d, const struct evr_completion *completion)
{
	done_nr++;
}

static void called(struct evr_driver *d, void *arg)
{
	done_nr++;
}

static struct evr_driver_stats stats_of(struct evr_driver *d)
{
	struct evr_driver_stats stats;

	if (evr_driver_stats(d, &stats))
		exit(1);
	return stats;
}

static int take_slots(struct evr_driver *d, unsigned long nr)
{
	const struct evr_op op = evr_op_then(evr_op_nop(), done, NULL);
	uint32_t index;

	while (nr--) {
		if (evr_slot_take(d, &op, &index))
			return 1;
		slot_free(d, slot_at(d, index));
	}
	return stats_of(d).slots_used != 0;
}

static int inject_calls(struct evr_driver *d, unsigned long nr)
{
	struct evr_injector *injector = evr_driver_injector(d);
	unsigned long left;

	for (left = nr; left; left -= BATCH) {
		for (int i = 0; i < BATCH; i++)
			if (evr_inject(injector, called, NULL))
				return 1;
		if (evr_driver_run(d, 0, 0) < 0)
			return 1;
	}
	evr_injector_put(injector);
	printf("%llu calls, %llu wakes, %llu enters\n", (unsigned long long)done_nr,
	       (unsigned long long)stats_of(d).wakes, (unsigned long long)stats_of(d).enters);
	if (done_nr != nr)
		return 1;
	return stats_of(d).wakes ? 3 : 0;
}

static int count_enters(struct evr_driver *d, unsigned long nr)
{
	const struct evr_op op = evr_op_then(evr_op_nop(), done, NULL);
	uint64_t before = stats_of(d).enters;

	while (done_nr < nr) {
		for (int i = 0; i < BATCH; i++)
			if (evr_driver_submit(d, &op, NULL))
				return 1;
		if (evr_driver_run(d, BATCH, EVR_DRIVER_NO_DEADLINE) != BATCH)
			return 1;
	}
	printf("%lu no-ops in batches of %d: %llu enters\n", nr, BATCH,
	       (unsigned long long)(stats_of(d).enters - before));
	return stats_of(d).enters - before == nr / BATCH ? 0 : 3;
}

int main(int argc, char **argv)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .flags = EVR_DRIVER_REQUIRE_URING };
	unsigned long nr = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	struct evr_driver *d;
	int ret;

	if (!nr || nr % BATCH)
		return 2;
	if (evr_driver_create(&d, &options))
		return 77;
	ret = !strcmp(argv[1], "slot")	 ? take_slots(d, nr) :
	      !strcmp(argv[1], "inject") ? inject_calls(d, nr) :
					   count_enters(d, nr);
	evr_driver_close(d, EVR_DRIVER_NO_DEADLINE);
	return ret;
}
