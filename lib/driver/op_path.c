// SPDX-License-Identifier: MIT
/* What works on names: the paths are copied, results that are files can be given back. */
#include "driver.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATH_FLAGS (EVR_OP_ASYNC | EVR_OP_BACKGROUND)

static const char *path_of(const struct evr_op *op)
{
	return (const char *)(uintptr_t)op->addr;
}

static int result(long ret)
{
	return ret < 0 ? -errno : (int)ret;
}

/* One or two paths into one piece of memory of ours. */
static int paths_keep(struct extra *extra, const char *one, const char *two)
{
	size_t one_sz, two_sz;
	char *mem;

	if (!one || !two)
		return evr_fail(-EFAULT, "op: the path is NULL");
	one_sz = strnlen(one, PATH_MAX) + 1;
	two_sz = strnlen(two, PATH_MAX) + 1;
	if (one_sz > PATH_MAX || two_sz > PATH_MAX)
		return evr_fail(-ENAMETOOLONG, "op: a path of more than %d bytes", PATH_MAX - 1);
	mem = malloc(one_sz + two_sz);
	if (!mem)
		return -ENOMEM;
	memcpy(mem, one, one_sz);
	memcpy(mem + one_sz, two, two_sz);
	extra->mem = mem;
	extra->op.addr = (uintptr_t)mem;
	return (int)one_sz;
}

static int path_keep(struct evr_driver *d, struct extra *extra)
{
	int ret = paths_keep(extra, path_of(&extra->op), "");

	return ret < 0 ? ret : 0;
}

static int open_keep(struct evr_driver *d, struct extra *extra)
{
	/* The table's files are not inherited; the kernel refuses the flag there. */
	uint64_t cloexec = extra->op.flags & EVR_OP_FIXED_RESULT ? 0 : O_CLOEXEC;

	extra->how = (struct open_how){ .flags = extra->op.x[0] | cloexec,
					.mode = extra->op.x[1],
					.resolve = extra->op.x[2] };
	return path_keep(d, extra);
}

static void open_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->addr = op->addr;
	sqe->len = sizeof(extra->how);
	sqe->off = (uintptr_t)&extra->how;
	if (op->flags & EVR_OP_FIXED_RESULT)
		sqe->file_index = op->file == EVR_FILE_ANY ? EVR_FILE_ANY : op->file + 1;
}

static int open_call(struct evr_driver *d, struct extra *extra, int fd)
{
	return result(
		syscall(SYS_openat2, fd, path_of(&extra->op), &extra->how, sizeof(extra->how)));
}

static void close_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	if (!(op->flags & EVR_OP_FIXED_FD))
		return;
	sqe->fd = 0;
	sqe->file_index = (uint32_t)op->fd + 1;
}

static int close_call(struct evr_driver *d, struct extra *extra, int fd)
{
	return result(close(fd));
}

static void statx_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->addr = op->addr;
	sqe->len = op->len;
	sqe->off = op->x[0];
	sqe->statx_flags = op->opflags;
}

static int statx_call(struct evr_driver *d, struct extra *extra, int fd)
{
	return result(statx(fd, path_of(&extra->op), (int)extra->op.opflags, extra->op.len,
			    (struct statx *)(uintptr_t)extra->op.x[0]));
}

static void unlink_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->addr = op->addr;
	sqe->unlink_flags = op->opflags;
}

static int unlink_call(struct evr_driver *d, struct extra *extra, int fd)
{
	return result(unlinkat(fd, path_of(&extra->op), (int)extra->op.opflags));
}

static int rename_keep(struct evr_driver *d, struct extra *extra)
{
	int ret = paths_keep(extra, path_of(&extra->op), (const char *)(uintptr_t)extra->op.x[0]);

	if (ret < 0)
		return ret;
	extra->op.x[0] = extra->op.addr + (uint32_t)ret;
	return 0;
}

static void rename_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->addr = op->addr;
	sqe->len = op->len;
	sqe->off = op->x[0];
	sqe->rename_flags = op->opflags;
}

static int rename_call(struct evr_driver *d, struct extra *extra, int fd)
{
	return result(renameat2(fd, path_of(&extra->op), (int)extra->op.len,
				(const char *)(uintptr_t)extra->op.x[0], extra->op.opflags));
}

static void mkdir_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->addr = op->addr;
	sqe->len = op->len;
}

static int mkdir_call(struct evr_driver *d, struct extra *extra, int fd)
{
	return result(mkdirat(fd, path_of(&extra->op), extra->op.len));
}

const struct row evr_row_open = {
	.name = "open",
	.opcode = IORING_OP_OPENAT2,
	.allowed = PATH_FLAGS | EVR_OP_FIXED_RESULT,
	.keep = open_keep,
	.prep = open_prep,
	.call = open_call,
	.done = evr_file_done,
	.cleanup = evr_file_cleanup,
};

const struct row evr_row_close = {
	.name = "close",
	.opcode = IORING_OP_CLOSE,
	/* Linux has given the number up, whatever it says. */
	.flags = ROW_ONCE,
	.allowed = PATH_FLAGS | EVR_OP_FIXED_FD,
	.prep = close_prep,
	.call = close_call,
	.done = evr_close_done,
};

const struct row evr_row_statx = {
	.name = "statx",
	.opcode = IORING_OP_STATX,
	.allowed = PATH_FLAGS,
	.keep = path_keep,
	.prep = statx_prep,
	.call = statx_call,
};

const struct row evr_row_unlink = {
	.name = "unlink",
	.opcode = IORING_OP_UNLINKAT,
	.allowed = PATH_FLAGS,
	.keep = path_keep,
	.prep = unlink_prep,
	.call = unlink_call,
};

const struct row evr_row_rename = {
	.name = "rename",
	.opcode = IORING_OP_RENAMEAT,
	.allowed = PATH_FLAGS,
	.keep = rename_keep,
	.prep = rename_prep,
	.call = rename_call,
};

const struct row evr_row_mkdir = {
	.name = "mkdir",
	.opcode = IORING_OP_MKDIRAT,
	.allowed = PATH_FLAGS,
	.keep = path_keep,
	.prep = mkdir_prep,
	.call = mkdir_call,
};
