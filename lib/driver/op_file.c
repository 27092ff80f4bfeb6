// SPDX-License-Identifier: MIT
/* Reading and writing: files, and whatever else has read and write. */
#include "driver.h"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#define RW_FLAGS (EVR_OP_FIXED_FD | EVR_OP_REGION | EVR_OP_ASYNC | EVR_OP_EXACT | EVR_OP_BACKGROUND)
#define RWV_FLAGS (EVR_OP_FIXED_FD | EVR_OP_ASYNC | EVR_OP_BACKGROUND)

static void rw_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->off = op->off;
	sqe->addr = op->addr;
	sqe->len = op->len;
	sqe->rw_flags = (int)op->opflags;
	/* The region's fixed buffer, if the range has one: region.c left it in file. */
	if (op->flags & EVR_OP_REGION && op->file) {
		sqe->opcode = sqe->opcode == IORING_OP_READ ? IORING_OP_READ_FIXED :
							      IORING_OP_WRITE_FIXED;
		sqe->buf_index = (uint16_t)(op->file - 1);
	}
}

static uint32_t in(const struct extra *extra)
{
	return POLLIN;
}

static uint32_t out(const struct extra *extra)
{
	return POLLOUT;
}

static int result(ssize_t ret)
{
	return ret < 0 ? -errno : (int)ret;
}

/*
 * What a call without io_uring does: at an offset, or at the position of what has none.
 * A file that epoll waits for is not to block in spite of that.
 */
static int rw(const struct extra *extra, int fd, const struct iovec *iov, int nr, bool writes)
{
	off_t off = extra->waits ? -1 : (off_t)extra->op.off;
	int flags = (int)extra->op.opflags | (extra->waits ? RWF_NOWAIT : 0);
	ssize_t ret;

	ret = writes ? pwritev2(fd, iov, nr, off, flags) : preadv2(fd, iov, nr, off, flags);
	if (ret >= 0 || errno != EOPNOTSUPP || !extra->waits)
		return result(ret);
	if (!writes)
		return result(readv(fd, iov, nr));
	/* It is ready. To a pipe that is, so much can be written without a wait. */
	return result(write(fd, iov->iov_base, iov->iov_len < PIPE_BUF ? iov->iov_len : PIPE_BUF));
}

static int read_call(struct evr_driver *d, struct extra *extra, int fd)
{
	struct iovec iov = { (void *)(uintptr_t)extra->op.addr, extra->op.len };

	return rw(extra, fd, &iov, 1, false);
}

static int write_call(struct evr_driver *d, struct extra *extra, int fd)
{
	struct iovec iov = { (void *)(uintptr_t)extra->op.addr, extra->op.len };

	return rw(extra, fd, &iov, 1, true);
}

/* The array becomes ours. */
static int iov_keep(struct evr_driver *d, struct extra *extra)
{
	const struct iovec *iov = (const struct iovec *)(uintptr_t)extra->op.addr;
	uint32_t nr = extra->op.len;
	struct iovec *copy = extra->iov;

	if (!nr || nr > IOV_MAX)
		return evr_fail(-EINVAL, "op: %u buffers, of at most %d", nr, IOV_MAX);
	if (nr > INLINE_IOVS) {
		copy = malloc(nr * sizeof(*copy));
		if (!copy)
			return -ENOMEM;
		extra->mem = copy;
	}
	memcpy(copy, iov, nr * sizeof(*copy));
	extra->op.addr = (uintptr_t)copy;
	return 0;
}

static int readv_call(struct evr_driver *d, struct extra *extra, int fd)
{
	return rw(extra, fd, (struct iovec *)(uintptr_t)extra->op.addr, (int)extra->op.len, false);
}

static int writev_call(struct evr_driver *d, struct extra *extra, int fd)
{
	return rw(extra, fd, (struct iovec *)(uintptr_t)extra->op.addr, (int)extra->op.len, true);
}

const struct row evr_row_read = {
	.name = "read",
	.opcode = IORING_OP_READ,
	.flags = ROW_FD | ROW_RETRY | ROW_FULL,
	.allowed = RW_FLAGS,
	.prep = rw_prep,
	.call = read_call,
	.events = in,
};

const struct row evr_row_write = {
	.name = "write",
	.opcode = IORING_OP_WRITE,
	.flags = ROW_FD | ROW_RETRY | ROW_FULL,
	.allowed = RW_FLAGS,
	.prep = rw_prep,
	.call = write_call,
	.events = out,
};

const struct row evr_row_readv = {
	.name = "readv",
	.opcode = IORING_OP_READV,
	.flags = ROW_FD | ROW_RETRY | ROW_FULL,
	.allowed = RWV_FLAGS,
	.keep = iov_keep,
	.prep = rw_prep,
	.call = readv_call,
	.events = in,
};

const struct row evr_row_writev = {
	.name = "writev",
	.opcode = IORING_OP_WRITEV,
	.flags = ROW_FD | ROW_RETRY | ROW_FULL,
	.allowed = RWV_FLAGS,
	.keep = iov_keep,
	.prep = rw_prep,
	.call = writev_call,
	.events = out,
};
