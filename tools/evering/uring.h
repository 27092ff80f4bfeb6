/* SPDX-License-Identifier: MIT */
/* What the benches of the driver share: a driver that is on io_uring, and io_uring without a driver. */
#ifndef EVERING_URING_H
#define EVERING_URING_H

#include <errno.h>
#include <liburing.h>

#include <evering/driver.h>
#include <evering/driver_op.h>
#include <evering/driver_resource.h>

#include "stage.h"

/* 0; -EOPNOTSUPP io_uring is not to be had here. */
int uring_prepare(struct stage *stage);

/*
 * With room for @nr operations at once. What fails ends the side.
 * @completions: places for them, a power of two; 0 = twice the operations
 */
struct evr_driver *uring_driver(struct stage *stage, uint64_t nr);
void uring_raw(struct stage *stage, struct io_uring *ring, uint64_t nr, unsigned int completions);

/* Runs the driver until at least one completion was delivered. */
void uring_run(struct stage *stage, struct evr_driver *driver, uint32_t nr);

/* Cancels what is under way. */
void uring_driver_end(struct stage *stage, struct evr_driver *driver);

/* The next place of the submission ring; what is there already goes to the kernel first if it must. */
static inline struct io_uring_sqe *uring_sqe(struct stage *stage, struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (__builtin_expect(!!sqe, 1))
		return sqe;
	io_uring_submit(ring);
	sqe = io_uring_get_sqe(ring);
	if (!sqe)
		stage_fail(stage, "submission ring", -EBUSY);
	return sqe;
}

#endif
