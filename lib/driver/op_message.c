// SPDX-License-Identifier: MIT
/*
 * sendmsg, also without a copy, and recvmsg, also into provided buffers: then each buffer has
 * a header, room for the sender's name and for control data, and the data, as the kernel
 * does it (struct io_uring_recvmsg_out).
 */
#include "driver.h"

#include <limits.h>
#include <poll.h>

#define MSG_FLAGS (EVR_OP_FIXED_FD | EVR_OP_ASYNC | EVR_OP_BACKGROUND)
#define CONTROL_MAX (1u << 20)

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

/* Control data that follows is aligned as it has to be, whatever the name's room. */
static uint32_t name_room(const struct msghdr *room)
{
	return EVR_ROUND_UP(room->msg_namelen, 8u);
}

static uint32_t head_sz(const struct msghdr *room)
{
	return (uint32_t)sizeof(struct io_uring_recvmsg_out) + name_room(room) +
	       (uint32_t)room->msg_controllen;
}

static int room_check(const struct msghdr *room)
{
	if (!room)
		return evr_fail(-EFAULT, "op recvmsg: the header is NULL");
	if (room->msg_namelen > sizeof(struct sockaddr_storage) ||
	    room->msg_controllen > CONTROL_MAX)
		return evr_fail(-EINVAL, "op recvmsg: room for %u bytes of name, %zu of control",
				room->msg_namelen, room->msg_controllen);
	return 0;
}

/* Of the header a multishot one needs how much room there is to be: that becomes ours. */
static int recvmsg_keep(struct evr_driver *d, struct extra *extra)
{
	const struct msghdr *room = (const struct msghdr *)(uintptr_t)extra->op.addr;
	uint16_t flags = extra->op.flags & (EVR_OP_BUFFER | EVR_OP_MULTISHOT);
	int err = evr_multishot_check(&extra->op);

	if (err || !flags)
		return err;
	if (flags == EVR_OP_BUFFER)
		return evr_fail(-EINVAL, "op recvmsg: BUFFER needs MULTISHOT");
	err = room_check(room);
	if (err)
		return err;
	extra->msg = (struct msghdr){ .msg_namelen = name_room(room),
				      .msg_controllen = room->msg_controllen };
	extra->op.addr = (uintptr_t)&extra->msg;
	return 0;
}

static void recvmsg_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->addr = op->addr;
	sqe->len = 1;
	sqe->msg_flags = op->opflags;
	if (op->flags & EVR_OP_MULTISHOT)
		sqe->ioprio |= IORING_RECV_MULTISHOT;
}

/* Nothing but the header in the buffer: it was the last. */
bool evr_recvmsg_is_over(const struct extra *extra, int res)
{
	return res <= (int)head_sz(&extra->msg);
}

static int recvmsg_buffered(struct evr_driver *d, struct extra *extra, int fd)
{
	struct io_uring_recvmsg_out head;
	struct msghdr msg = extra->msg;
	struct iovec buffer;
	uint32_t sz = head_sz(&extra->msg);
	char *at;
	ssize_t ret;

	if (evr_group_pick(d, extra, &buffer)) {
		ret = evr_no_buffer(fd);
		/* The end takes one too. */
		return ret ? (int)ret : -ENOBUFS;
	}
	if (buffer.iov_len < sz)
		return -EFAULT;
	at = buffer.iov_base;
	msg.msg_name = msg.msg_namelen ? at + sizeof(head) : NULL;
	msg.msg_control = msg.msg_controllen ? at + sizeof(head) + msg.msg_namelen : NULL;
	buffer.iov_base = at + sz;
	buffer.iov_len -= sz;
	msg.msg_iov = &buffer;
	msg.msg_iovlen = 1;
	ret = recvmsg(fd, &msg, (int)extra->op.opflags | MSG_DONTWAIT);
	if (ret < 0)
		return -errno;
	head = (struct io_uring_recvmsg_out){ .namelen = msg.msg_namelen,
					      .controllen = (uint32_t)msg.msg_controllen,
					      .payloadlen = (uint32_t)ret,
					      .flags = (uint32_t)msg.msg_flags };
	memcpy(at, &head, sizeof(head));
	return (int)(sz + ((size_t)ret < buffer.iov_len ? (size_t)ret : buffer.iov_len));
}

/* The buffer may be a block that a peer writes to: its header is read once, and not believed. */
int evr_op_received(const struct evr_completion *done, const struct msghdr *room,
		    struct msghdr *msg, void **data)
{
	struct io_uring_recvmsg_out head;
	char *at = done->buf;
	uint32_t sz;
	int err = room_check(room);

	if (err)
		return err;
	sz = head_sz(room);
	if (!(done->flags & EVR_DONE_BUFFER) || done->res < 0)
		return evr_fail(-EINVAL, "evr_op_received: a completion without a message");
	if ((uint32_t)done->res < sz)
		return evr_fail(-EBADMSG, "evr_op_received: %d bytes, of which the header is %u",
				done->res, sz);
	evr_copy_out(&head, at, sizeof(head));
	memset(msg, 0, sizeof(*msg));
	msg->msg_namelen = head.namelen < room->msg_namelen ? head.namelen : room->msg_namelen;
	msg->msg_name = msg->msg_namelen ? at + sizeof(head) : NULL;
	msg->msg_controllen = head.controllen < room->msg_controllen ? head.controllen :
								       room->msg_controllen;
	msg->msg_control = msg->msg_controllen ? at + sizeof(head) + name_room(room) : NULL;
	msg->msg_flags = (int)head.flags;
	*data = at + sz;
	return (int)((uint32_t)done->res - sz);
}

static int recvmsg_call(struct evr_driver *d, struct extra *extra, int fd)
{
	ssize_t ret;

	if (extra->op.flags & EVR_OP_BUFFER)
		return recvmsg_buffered(d, extra, fd);
	ret = recvmsg(fd, (struct msghdr *)(uintptr_t)extra->op.addr,
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
	.flags = ROW_FD | ROW_KEEP_FLAGGED,
	.allowed = MSG_FLAGS | EVR_OP_BUFFER | EVR_OP_MULTISHOT,
	.keep = recvmsg_keep,
	.prep = recvmsg_prep,
	.call = recvmsg_call,
	.events = in,
};
