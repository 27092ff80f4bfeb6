// SPDX-License-Identifier: MIT
/* Readiness itself: once, or every edge. */
#include "driver.h"

#include <endian.h>
#include <poll.h>

static void poll_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->poll32_events = op->opflags;
#if __BYTE_ORDER == __BIG_ENDIAN
	sqe->poll32_events = op->opflags << 16 | op->opflags >> 16;
#endif
	if (op->flags & EVR_OP_MULTISHOT)
		sqe->len = IORING_POLL_ADD_MULTI;
}

static uint32_t events(const struct extra *extra)
{
	return extra->op.opflags;
}

static int poll_call(struct evr_driver *d, struct extra *extra, int fd)
{
	struct pollfd p = { .fd = fd, .events = (short)extra->op.opflags };

	/* In the pool it is for a file without poll, which is always ready: no wait. */
	if (poll(&p, 1, 0) < 0)
		return -errno;
	return p.revents ? p.revents : -EAGAIN;
}

/* A kernel ends it when its completions overflow; the caller is not to notice. */
static bool poll_done(struct evr_driver *d, struct slot *s, uint32_t index, int *res,
		      uint32_t *cflags)
{
	if (!(s->flags & S_MULTI) || *cflags & IORING_CQE_F_MORE || *res < 0 ||
	    s->flags & S_CANCEL || *res & (POLLERR | POLLHUP))
		return false;
	evr_go_on(d, s, index, *res, *cflags);
	return true;
}

const struct row evr_row_poll = {
	.name = "poll",
	.opcode = IORING_OP_POLL_ADD,
	.flags = ROW_FD | ROW_EDGE,
	.allowed = EVR_OP_FIXED_FD | EVR_OP_MULTISHOT | EVR_OP_BACKGROUND,
	.prep = poll_prep,
	.call = poll_call,
	.events = events,
	.done = poll_done,
};
