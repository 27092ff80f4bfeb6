// SPDX-License-Identifier: MIT
/* The size of files, and when their bytes are on the disk. */
#include "driver.h"

#include <fcntl.h>
#include <unistd.h>

#define SYNC_FLAGS (EVR_OP_FIXED_FD | EVR_OP_ASYNC | EVR_OP_BACKGROUND)

static int result(int ret)
{
	return ret < 0 ? -errno : ret;
}

static int check_zero(struct evr_driver *d, struct extra *extra)
{
	if (!(extra->op.opflags & ~(uint32_t)IORING_FSYNC_DATASYNC))
		return 0;
	return evr_fail(-EINVAL, "op fsync: opflags are %#x", extra->op.opflags);
}

static void fsync_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->fsync_flags = op->opflags;
}

static int fsync_call(struct evr_driver *d, struct extra *extra, int fd)
{
	return result(extra->op.opflags & IORING_FSYNC_DATASYNC ? fdatasync(fd) : fsync(fd));
}

static void range_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->off = op->off;
	sqe->len = op->len;
	sqe->sync_range_flags = op->opflags;
}

static int range_call(struct evr_driver *d, struct extra *extra, int fd)
{
	return result(sync_file_range(fd, (off_t)extra->op.off, extra->op.len, extra->op.opflags));
}

static void fallocate_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->off = op->off;
	sqe->addr = op->x[0];
	sqe->len = op->opflags;
}

static int fallocate_call(struct evr_driver *d, struct extra *extra, int fd)
{
	return result(
		fallocate(fd, (int)extra->op.opflags, (off_t)extra->op.off, (off_t)extra->op.x[0]));
}

static void ftruncate_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->off = op->off;
}

static int ftruncate_call(struct evr_driver *d, struct extra *extra, int fd)
{
	return result(ftruncate(fd, (off_t)extra->op.off));
}

const struct row evr_row_fsync = {
	.name = "fsync",
	.opcode = IORING_OP_FSYNC,
	.flags = ROW_FD,
	.allowed = SYNC_FLAGS,
	.keep = check_zero,
	.prep = fsync_prep,
	.call = fsync_call,
};

const struct row evr_row_sync_range = {
	.name = "sync_range",
	.opcode = IORING_OP_SYNC_FILE_RANGE,
	.flags = ROW_FD,
	.allowed = SYNC_FLAGS,
	.prep = range_prep,
	.call = range_call,
};

const struct row evr_row_fallocate = {
	.name = "fallocate",
	.opcode = IORING_OP_FALLOCATE,
	.flags = ROW_FD,
	.allowed = SYNC_FLAGS,
	.prep = fallocate_prep,
	.call = fallocate_call,
};

const struct row evr_row_ftruncate = {
	.name = "ftruncate",
	.opcode = ABI_OP_FTRUNCATE,
	.flags = ROW_FD,
	.allowed = SYNC_FLAGS,
	.prep = ftruncate_prep,
	.call = ftruncate_call,
};
