/* SPDX-License-Identifier: MIT */
/* The io_uring commands of a peer fd, for liburing 2.3, which has no call for them. */
#ifndef EVERING_TESTS_URING_CMD_H
#define EVERING_TESTS_URING_CMD_H

#include <liburing.h>

#include "device.h"

/* Rings of the kinds that run task work differently. */
struct uring_kind {
	const char *name;
	unsigned int flags;
};
extern const struct uring_kind uring_kinds[];
extern const unsigned int uring_kinds_nr;

/* A ring; false and a message when this kernel has no such kind. */
bool uring_start(struct io_uring *ring, const struct uring_kind *kind);

/* Queue a command; user_data is given back with its completion. */
void uring_put(struct io_uring *ring, int fd, uint32_t op, const void *cmd, uint64_t user_data);
void uring_put_ring(struct io_uring *ring, int fd, struct evering_bell *bells, uint32_t nr,
		    uint64_t user_data);
/* wait is filled in for the mask; it must live until the completion. */
void uring_put_wait(struct io_uring *ring, int fd, struct evering_bell_wait *wait, uint64_t mask,
		    uint64_t cookie);
void uring_put_cancel(struct io_uring *ring, int fd, uint64_t cookie, uint64_t user_data);
/* Submit and wait for the completion with this user_data; others stay where they are. */
int uring_result(struct io_uring *ring, uint64_t user_data);
/* Submit the one that is queued, and wait for it: its result. */
int uring_one(struct io_uring *ring);
/* Is there a completion now? Runs task work. */
bool uring_is_done(struct io_uring *ring);

#endif
