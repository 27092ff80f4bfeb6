// SPDX-License-Identifier: MIT
/* Reading and writing: files, and whatever else has read and write. */
#include "driver.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
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

static ssize_t rw_once(int fd, const struct iovec *iov, int nr, off_t off, int flags, bool writes)
{
	return writes ? pwritev2(fd, iov, nr, off, flags) : preadv2(fd, iov, nr, off, flags);
}

/* A pipe through a file of our own, which does not block; -1: it is none, or may not be opened. */
static int pipe_open_again(int fd)
{
	struct stat file;
	char path[64];
	int flags, own;

	if (fstat(fd, &file) || !S_ISFIFO(file.st_mode))
		return -1;
	flags = fcntl(fd, F_GETFL);
	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", fd);
	own = open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC);
	/* Packets stay packets. */
	if (own >= 0 && flags & O_DIRECT)
		fcntl(own, F_SETFL, O_NONBLOCK | O_DIRECT);
	return own;
}

/*
 * It was ready, and takes no RWF_NOWAIT: pipes before 6.4, terminals, inotify. Another op, or
 * another process, may have been first, and a call that blocks would stop the loop. What all
 * share the file must not see more of it than needs be: a pipe is opened again, and only of
 * what cannot be is the flag of the file changed, for the one call.
 */
static int rw_unblocked(int fd, const struct iovec *iov, int nr, int flags, bool writes)
{
	struct pollfd p = { .fd = fd, .events = writes ? POLLOUT : POLLIN };
	int own = pipe_open_again(fd), res;
	bool changed;

	if (own >= 0) {
		res = result(rw_once(own, iov, nr, -1, flags, writes));
		close(own);
		return res;
	}
	if (!poll(&p, 1, 0))
		return -EAGAIN;
	changed = evr_unblock(fd);
	res = result(rw_once(fd, iov, nr, -1, flags, writes));
	evr_reblock(fd, changed);
	return res;
}

/*
 * What a call without io_uring does: at an offset, or at the position of what has none.
 * A file that epoll waits for is not to block in spite of that.
 */
static int rw(const struct extra *extra, int fd, const struct iovec *iov, int nr, bool writes)
{
	int flags = (int)extra->op.opflags;
	ssize_t ret;

	if (!extra->waits)
		return result(rw_once(fd, iov, nr, (off_t)extra->op.off, flags, writes));
	ret = rw_once(fd, iov, nr, -1, flags | RWF_NOWAIT, writes);
	if (ret >= 0 || errno != EOPNOTSUPP)
		return result(ret);
	return rw_unblocked(fd, iov, nr, flags, writes);
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
