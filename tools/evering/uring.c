// SPDX-License-Identifier: MIT
/* What the benches of the driver share: a driver that is on io_uring, and io_uring without a driver. */
#include "uring.h"

#include <errno.h>

#define ENTRIES_MIN 64

/* As the driver makes its ring where the kernel can (6.1); else without flags, as it does. */
#define FLAGS (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)

static unsigned int entries_of(uint64_t nr)
{
	unsigned int entries = ENTRIES_MIN;

	while (entries < nr && entries < 1U << 14)
		entries *= 2;
	return entries;
}

static int raw_open(struct io_uring *ring, unsigned int entries, unsigned int completions)
{
	unsigned int sized = completions ? IORING_SETUP_CQSIZE : 0;
	struct io_uring_params params = { .flags = FLAGS | sized, .cq_entries = completions };
	struct io_uring_params plain = { .flags = sized, .cq_entries = completions };
	int err = io_uring_queue_init_params(entries, ring, &params);

	return err == -EINVAL ? io_uring_queue_init_params(entries, ring, &plain) : err;
}

int uring_prepare(struct stage *stage)
{
	struct io_uring ring;
	int err = raw_open(&ring, ENTRIES_MIN, 0);

	(void)stage;
	if (err)
		return -EOPNOTSUPP;
	io_uring_queue_exit(&ring);
	return 0;
}

struct evr_driver *uring_driver(struct stage *stage, uint64_t nr)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .flags = EVR_DRIVER_REQUIRE_URING,
					      .entries = entries_of(nr) };
	struct evr_driver *driver;
	int err = evr_driver_create(&driver, &options);

	if (err)
		stage_fail(stage, "driver", err);
	return driver;
}

void uring_raw(struct stage *stage, struct io_uring *ring, uint64_t nr, unsigned int completions)
{
	int err = raw_open(ring, entries_of(nr), completions);

	if (err)
		stage_fail(stage, "io_uring", err);
	/* It is as good without, on kernels before 5.18. */
	io_uring_register_ring_fd(ring);
}

void uring_run(struct stage *stage, struct evr_driver *driver, uint32_t nr)
{
	int err = evr_driver_run(driver, nr, EVR_DRIVER_NO_DEADLINE);

	if (err < 0 && err != -EINTR)
		stage_fail(stage, "run", err);
}

void uring_driver_end(struct stage *stage, struct evr_driver *driver)
{
	int err = evr_driver_close(driver, EVR_DRIVER_NO_DEADLINE);

	if (err)
		stage_fail(stage, "close", err);
}
