// SPDX-License-Identifier: MIT
/* What the driver takes of malloc(3)'s memory: for itself, for an operation, for nothing more. */
#include <evering/driver.h>
#include <evering/driver_op.h>

#include "bench_memory.h"

#define OUTSTANDING 4096
#define MORE 100000

static uint32_t slots_nr(struct evr_driver *driver)
{
	struct evr_driver_stats stats;

	evr_driver_stats(driver, &stats);
	return stats.slots;
}

static void done(struct evr_driver *driver, const struct evr_completion *completion)
{
	(void)driver;
	(void)completion;
}

/* @nr of them, outstanding; what one takes of the memory that came with new slots. */
static int take(struct evr_driver *driver, struct evr_op op, int nr, double *each)
{
	uint32_t slots = slots_nr(driver);
	double before = bytes_used();
	int err = 0;

	op = evr_op_then(op, done, NULL);
	for (int i = 0; i < nr && !err; i++)
		err = evr_driver_submit(driver, &op, NULL);
	*each = (bytes_used() - before) / (slots_nr(driver) - slots);
	return err;
}

/* Bytes that so many operations one after the other leave behind. */
static int run_nops(struct evr_driver *driver, int nr, double *left)
{
	struct evr_op op = evr_op_then(evr_op_nop(), done, NULL);
	double before = bytes_used();
	int err = 0;

	for (int i = 0; i < nr && err >= 0; i++) {
		err = evr_driver_submit(driver, &op, NULL);
		if (!err)
			err = evr_driver_run(driver, 1, EVR_DRIVER_NO_DEADLINE);
	}
	*left = bytes_used() - before;
	return err < 0 ? err : 0;
}

/* What a driver takes, what each of @nr operations outstanding does, and what is left of others. */
struct taken {
	double made, each, left;
};

static int look(struct taken *taken, uint32_t entries, struct evr_op op, int nr)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options), .entries = entries };
	double before = bytes_used();
	struct evr_driver *driver;
	int err = evr_driver_create(&driver, &options);

	if (err)
		return err;
	taken->made = bytes_used() - before;
	err = run_nops(driver, MORE, &taken->left);
	if (!err)
		err = take(driver, op, nr, &taken->each);
	evr_driver_close(driver, EVR_DRIVER_NO_DEADLINE);
	return err;
}

int memory_of_driver(struct memory_row *rows)
{
	struct taken plain = { 0 }, timers = { 0 };
	int err = look(&plain, OUTSTANDING, evr_op_nop(), OUTSTANDING);

	if (!err)
		err = look(&timers, 0, evr_op_timer(UINT64_MAX - 1, 0), OUTSTANDING);
	if (err)
		return err;
	rows[0] = (struct memory_row){ "driver, without its rings", timers.made, 0 };
	rows[1] = (struct memory_row){ "driver, each no-op outstanding", plain.each, 0 };
	rows[2] = (struct memory_row){ "driver, each timer outstanding", timers.each, 0 };
	rows[3] = (struct memory_row){ "driver, after 100,000 operations", timers.left, 0 };
	return 4;
}
