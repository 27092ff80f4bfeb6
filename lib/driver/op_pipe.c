// SPDX-License-Identifier: MIT
/* splice, tee: bytes that stay in the kernel. */
#include "driver.h"

#include <fcntl.h>
#include <poll.h>

#define PIPE_FLAGS (EVR_OP_ASYNC | EVR_OP_BACKGROUND)
/* How long an emulated wait goes without a look at whether it was cancelled, ms. */
#define LOOK_MS 20

/* The number, of a member of a chain: that holds nothing. */
static int32_t in_of(const struct evr_op *op, const struct extra *extra)
{
	return extra->held_in >= 0 ? extra->held_in : (int32_t)op->x[1];
}

static void splice_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->off = op->off;
	sqe->splice_off_in = op->x[0];
	sqe->len = op->len;
	sqe->splice_flags = op->opflags;
	sqe->splice_fd_in = in_of(op, extra);
}

static void tee_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->len = op->len;
	sqe->splice_flags = op->opflags;
	sqe->splice_fd_in = in_of(op, extra);
}

/* Both ends are ready, or a look is due. */
static void wait_both(int in, int out)
{
	struct pollfd p[2] = { { .fd = in, .events = POLLIN }, { .fd = out, .events = POLLOUT } };

	if (poll(&p[0], 1, LOOK_MS) > 0)
		poll(&p[1], 1, LOOK_MS);
}

static int move(struct extra *extra, int out, bool copies)
{
	const struct evr_op *op = &extra->op;
	int in = extra->held_in;
	loff_t in_off = (loff_t)op->x[0], out_off = (loff_t)op->off;
	bool waits = !(op->opflags & SPLICE_F_NONBLOCK);
	unsigned int flags = op->opflags | SPLICE_F_NONBLOCK;
	ssize_t ret;

	for (;;) {
		if (waits)
			wait_both(in, out);
		if (copies)
			ret = tee(in, out, op->len, flags);
		else
			ret = splice(in, op->x[0] == UINT64_MAX ? NULL : &in_off, out,
				     op->off == UINT64_MAX ? NULL : &out_off, op->len, flags);
		if (ret >= 0 || errno != EAGAIN || !waits)
			return ret < 0 ? -errno : (int)ret;
		/* Relaxed: it will be seen. */
		if (evr_a32_load_relaxed(&extra->cancelled))
			return -ECANCELED;
	}
}

static int splice_call(struct evr_driver *d, struct extra *extra, int fd)
{
	return move(extra, fd, false);
}

static int tee_call(struct evr_driver *d, struct extra *extra, int fd)
{
	return move(extra, fd, true);
}

const struct row evr_row_splice = {
	.name = "splice",
	.opcode = IORING_OP_SPLICE,
	.flags = ROW_FD | ROW_IN | ROW_FULL,
	.allowed = PIPE_FLAGS,
	.prep = splice_prep,
	.call = splice_call,
};

const struct row evr_row_tee = {
	.name = "tee",
	.opcode = IORING_OP_TEE,
	.flags = ROW_FD | ROW_IN | ROW_FULL,
	.allowed = PIPE_FLAGS,
	.prep = tee_prep,
	.call = tee_call,
};
