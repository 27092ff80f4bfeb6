// SPDX-License-Identifier: MIT
/* sendmsg, also without a copy, and recvmsg. */
#include "driver.h"

#include <limits.h>
#include <poll.h>

#define MSG_FLAGS (EVR_OP_FIXED_FD | EVR_OP_ASYNC | EVR_OP_BACKGROUND)

static uint32_t in(const struct extra *extra)
{
	return POLLIN;
}

static uint32_t out(const struct extra *extra)
{
	return POLLOUT;
}

/* Header, address and array of buffers become ours, in one piece of memory. */
static int sendmsg_keep(struct evr_driver *d, struct extra *extra)
{
	const struct msghdr *from = (const struct msghdr *)(uintptr_t)extra->op.addr;
	size_t iov_sz, name_sz;
	char *mem;

	if (!from)
		return evr_fail(-EFAULT, "op sendmsg: the header is NULL");
	if (from->msg_iovlen > IOV_MAX || from->msg_namelen > sizeof(struct sockaddr_storage))
		return evr_fail(-EINVAL, "op sendmsg: %zu buffers, an address of %u bytes",
				from->msg_iovlen, from->msg_namelen);
	iov_sz = from->msg_iovlen * sizeof(struct iovec);
	name_sz = from->msg_name ? from->msg_namelen : 0;
	extra->msg = *from;
	if (iov_sz + name_sz) {
		mem = malloc(iov_sz + name_sz);
		if (!mem)
			return -ENOMEM;
		if (iov_sz)
			memcpy(mem, from->msg_iov, iov_sz);
		if (name_sz)
			memcpy(mem + iov_sz, from->msg_name, name_sz);
		extra->mem = mem;
		extra->msg.msg_iov = (struct iovec *)mem;
		extra->msg.msg_name = name_sz ? mem + iov_sz : NULL;
	}
	extra->op.addr = (uintptr_t)&extra->msg;
	return 0;
}

static void sendmsg_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->addr = op->addr;
	sqe->len = 1;
	sqe->msg_flags = op->opflags | MSG_NOSIGNAL;
}

static int sendmsg_zc_keep(struct evr_driver *d, struct extra *extra)
{
	evr_zc_ask(d, extra);
	return sendmsg_keep(d, extra);
}

static void sendmsg_zc_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sendmsg_prep(op, extra, sqe);
	evr_zc_prep(extra, sqe);
}

static int sendmsg_call(struct evr_driver *d, struct extra *extra, int fd)
{
	ssize_t ret =
		sendmsg(fd, &extra->msg,
			(int)extra->op.opflags | MSG_NOSIGNAL | (extra->waits ? MSG_DONTWAIT : 0));

	return ret < 0 ? -errno : (int)ret;
}

static void recvmsg_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->addr = op->addr;
	sqe->len = 1;
	sqe->msg_flags = op->opflags;
}

static int recvmsg_call(struct evr_driver *d, struct extra *extra, int fd)
{
	ssize_t ret = recvmsg(fd, (struct msghdr *)(uintptr_t)extra->op.addr,
			      (int)extra->op.opflags | (extra->waits ? MSG_DONTWAIT : 0));

	return ret < 0 ? -errno : (int)ret;
}

const struct row evr_row_sendmsg = {
	.name = "sendmsg",
	.opcode = IORING_OP_SENDMSG,
	.flags = ROW_FD,
	.allowed = MSG_FLAGS,
	.keep = sendmsg_keep,
	.prep = sendmsg_prep,
	.call = sendmsg_call,
	.events = out,
};

const struct row evr_row_sendmsg_zc = {
	.name = "sendmsg_zc",
	.opcode = IORING_OP_SENDMSG_ZC,
	.flags = ROW_FD | ROW_NOTIFIES | ROW_UNCHAINED,
	.allowed = MSG_FLAGS,
	.keep = sendmsg_zc_keep,
	.prep = sendmsg_zc_prep,
	.call = sendmsg_call,
	.events = out,
	.done = evr_zc_done,
};

const struct row evr_row_recvmsg = {
	.name = "recvmsg",
	.opcode = IORING_OP_RECVMSG,
	.flags = ROW_FD,
	.allowed = MSG_FLAGS,
	.prep = recvmsg_prep,
	.call = recvmsg_call,
	.events = in,
};
