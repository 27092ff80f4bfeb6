// SPDX-License-Identifier: MIT
/* Sockets, from socket to shutdown. */
#include "driver.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#define MAKES_FILE (EVR_OP_ASYNC | EVR_OP_BACKGROUND | EVR_OP_FIXED_RESULT)
#define STREAM_FLAGS \
	(EVR_OP_FIXED_FD | EVR_OP_REGION | EVR_OP_ASYNC | EVR_OP_EXACT | EVR_OP_BACKGROUND)

static int result(ssize_t ret)
{
	return ret < 0 ? -errno : (int)ret;
}

static uint32_t in(const struct extra *extra)
{
	return POLLIN;
}

static uint32_t out(const struct extra *extra)
{
	return POLLOUT;
}

static void put_file_index(const struct evr_op *op, struct io_uring_sqe *sqe)
{
	if (op->flags & EVR_OP_FIXED_RESULT)
		sqe->file_index = op->file + 1;
}

static uint32_t cloexec(const struct evr_op *op)
{
	/* The table's files are not inherited; the kernel refuses the flag there. */
	return op->flags & EVR_OP_FIXED_RESULT ? 0 : SOCK_CLOEXEC;
}

/* --- socket, shutdown: never block --- */

static void socket_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->off = op->off | cloexec(op);
	sqe->len = op->len;
	put_file_index(op, sqe);
}

static int socket_call(struct evr_driver *d, struct extra *extra, int fd)
{
	return result(socket(fd, (int)extra->op.off | SOCK_CLOEXEC, (int)extra->op.len));
}

static void shutdown_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->len = op->len;
}

static int shutdown_call(struct evr_driver *d, struct extra *extra, int fd)
{
	return result(shutdown(fd, (int)extra->op.len));
}

/* --- accept, connect --- */

static void accept_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->addr = op->addr;
	sqe->addr2 = op->x[0];
	sqe->accept_flags = op->opflags | cloexec(op);
	if (op->flags & EVR_OP_MULTISHOT)
		sqe->ioprio |= IORING_ACCEPT_MULTISHOT;
	put_file_index(op, sqe);
}

static int accept_keep(struct evr_driver *d, struct extra *extra)
{
	if (!(extra->op.flags & EVR_OP_MULTISHOT) || !extra->op.addr)
		return 0;
	return evr_fail(-EINVAL, "op accept: MULTISHOT has one address for all, so none");
}

static int accept_call(struct evr_driver *d, struct extra *extra, int fd)
{
	bool changed = extra->waits && evr_unblock(fd);
	int res;

	res = result(accept4(fd, (struct sockaddr *)(uintptr_t)extra->op.addr,
			     (socklen_t *)(uintptr_t)extra->op.x[0],
			     (int)extra->op.opflags | SOCK_CLOEXEC));
	if (extra->waits)
		evr_reblock(fd, changed);
	return res;
}

static int connect_keep(struct evr_driver *d, struct extra *extra)
{
	if (extra->op.len > sizeof(extra->address))
		return evr_fail(-EINVAL, "op connect: an address of %u bytes", extra->op.len);
	memcpy(&extra->address, (const void *)(uintptr_t)extra->op.addr, extra->op.len);
	extra->op.addr = (uintptr_t)&extra->address;
	return 0;
}

static void connect_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->addr = op->addr;
	sqe->off = op->len;
}

/* Begins (-EINPROGRESS), and when the socket is ready says what came of it. */
static int connect_call(struct evr_driver *d, struct extra *extra, int fd)
{
	socklen_t sz = sizeof(int);
	bool changed;
	int res = 0;

	if (extra->moved) {
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &res, &sz))
			return -errno;
		return -res;
	}
	changed = extra->waits && evr_unblock(fd);
	res = result(connect(fd, (struct sockaddr *)&extra->address, extra->op.len));
	if (extra->waits)
		evr_reblock(fd, changed);
	extra->moved = res == -EINPROGRESS;
	return res;
}

/* --- send, recv --- */

/* Of a receive; the kernel says it when it is too late to say why. */
int evr_multishot_check(const struct evr_op *op)
{
	const char *name = evr_op_name(op->code);

	if (!(op->flags & EVR_OP_MULTISHOT))
		return 0;
	if (!(op->flags & EVR_OP_BUFFER))
		return evr_fail(-EINVAL, "op %s: MULTISHOT needs BUFFER, one for each completion",
				name);
	if (op->opflags & MSG_WAITALL)
		return evr_fail(-EINVAL, "op %s: MULTISHOT is not for MSG_WAITALL", name);
	return 0;
}

/* That there is none is an answer only to data that is there. */
int evr_no_buffer(int fd)
{
	char byte;
	int res = result(recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT));

	return res > 0 ? -ENOBUFS : res;
}

/* Without io_uring nobody else goes on until all is there. */
static int stream_keep(struct evr_driver *d, struct extra *extra)
{
	if (extra->op.opflags & MSG_WAITALL && d->way[extra->op.code] != EVR_SUPPORT_NATIVE &&
	    !(extra->op.flags & (EVR_OP_MULTISHOT | EVR_OP_BUFFER)))
		extra->op.flags |= EVR_OP_EXACT;
	if (extra->op.flags & EVR_OP_BUFFER && extra->op.flags & (EVR_OP_EXACT | EVR_OP_REGION))
		return evr_fail(-EINVAL, "op recv: BUFFER with EXACT or REGION");
	return evr_multishot_check(&extra->op);
}

static void send_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->addr = op->addr;
	sqe->len = op->len;
	sqe->msg_flags = op->opflags | MSG_NOSIGNAL;
}

static int send_call(struct evr_driver *d, struct extra *extra, int fd)
{
	return result(
		send(fd, (const void *)(uintptr_t)extra->op.addr, extra->op.len,
		     (int)extra->op.opflags | MSG_NOSIGNAL | (extra->waits ? MSG_DONTWAIT : 0)));
}

static void recv_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->msg_flags = op->opflags;
	if (op->flags & EVR_OP_MULTISHOT)
		sqe->ioprio |= IORING_RECV_MULTISHOT;
	if (op->flags & EVR_OP_BUFFER)
		return;
	sqe->addr = op->addr;
	sqe->len = op->len;
}

static int recv_call(struct evr_driver *d, struct extra *extra, int fd)
{
	struct iovec buffer = { (void *)(uintptr_t)extra->op.addr, extra->op.len };

	if (extra->op.flags & EVR_OP_BUFFER && evr_group_pick(d, extra, &buffer))
		return evr_no_buffer(fd);
	return result(recv(fd, buffer.iov_base, buffer.iov_len,
			   (int)(extra->op.opflags & ~(uint32_t)MSG_WAITALL) |
				   (extra->waits ? MSG_DONTWAIT : 0)));
}

/* --- zero-copy send --- */

/* Is the kernel to say whether it copied? moved: not. */
void evr_zc_ask(struct evr_driver *d, struct extra *extra)
{
	extra->moved = d->zc_silent;
}

void evr_zc_prep(const struct extra *extra, struct io_uring_sqe *sqe)
{
	if (!extra->moved)
		sqe->ioprio |= ABI_SEND_ZC_REPORT_USAGE;
}

static int send_zc_keep(struct evr_driver *d, struct extra *extra)
{
	evr_zc_ask(d, extra);
	return 0;
}

static void send_zc_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	send_prep(op, extra, sqe);
	evr_zc_prep(extra, sqe);
	if (op->flags & EVR_OP_REGION && op->file) {
		sqe->ioprio |= IORING_RECVSEND_FIXED_BUF;
		sqe->buf_index = (uint16_t)(op->file - 1);
	}
}

/* A kernel before 6.2 refuses to be asked whether it copied. */
static bool zc_again(struct evr_driver *d, struct slot *s, uint32_t index, int res, uint32_t cflags)
{
	struct extra *extra = extra_at(d, index);

	if (res != -EINVAL || cflags & (IORING_CQE_F_MORE | IORING_CQE_F_NOTIF) || extra->moved ||
	    s->flags & S_CANCEL)
		return false;
	extra->moved = 1;
	evr_op_restart(d, s, index);
	return true;
}

/* Emulated it copies, so that its second completion comes right behind the first. */
bool evr_zc_done(struct evr_driver *d, struct slot *s, uint32_t index, int *res, uint32_t *cflags)
{
	if (s->way == EVR_SUPPORT_NATIVE) {
		if (zc_again(d, s, index, *res, *cflags))
			return true;
		/* It took it without the question: so for all that follow. */
		if (*res >= 0 && extra_at(d, index)->moved)
			d->zc_silent = true;
		return false;
	}
	/* A cancel in the callback finds nothing to end. */
	s->state = HELD;
	evr_deliver(d, s, index, *res, IORING_CQE_F_MORE);
	*res = (int)ABI_NOTIF_ZC_COPIED;
	*cflags = IORING_CQE_F_NOTIF;
	return false;
}

const struct row evr_row_socket = {
	.name = "socket",
	.opcode = IORING_OP_SOCKET,
	.flags = ROW_INLINE,
	.allowed = MAKES_FILE,
	.prep = socket_prep,
	.call = socket_call,
	.done = evr_file_done,
	.cleanup = evr_file_cleanup,
};

const struct row evr_row_shutdown = {
	.name = "shutdown",
	.opcode = IORING_OP_SHUTDOWN,
	.flags = ROW_FD | ROW_INLINE,
	.allowed = EVR_OP_FIXED_FD | EVR_OP_ASYNC | EVR_OP_BACKGROUND,
	.prep = shutdown_prep,
	.call = shutdown_call,
};

const struct row evr_row_accept = {
	.name = "accept",
	.opcode = IORING_OP_ACCEPT,
	.flags = ROW_FD,
	.allowed = MAKES_FILE | EVR_OP_FIXED_FD | EVR_OP_MULTISHOT,
	.keep = accept_keep,
	.prep = accept_prep,
	.call = accept_call,
	.events = in,
	.done = evr_file_done,
	.cleanup = evr_file_cleanup,
};

const struct row evr_row_connect = {
	.name = "connect",
	.opcode = IORING_OP_CONNECT,
	.flags = ROW_FD | ROW_BEGINS,
	.allowed = EVR_OP_FIXED_FD | EVR_OP_ASYNC | EVR_OP_BACKGROUND,
	.keep = connect_keep,
	.prep = connect_prep,
	.call = connect_call,
	.events = out,
};

const struct row evr_row_send = {
	.name = "send",
	.opcode = IORING_OP_SEND,
	.flags = ROW_FD | ROW_KEEP_FLAGGED,
	.allowed = STREAM_FLAGS,
	.keep = stream_keep,
	.prep = send_prep,
	.call = send_call,
	.events = out,
};

const struct row evr_row_recv = {
	.name = "recv",
	.opcode = IORING_OP_RECV,
	.flags = ROW_FD | ROW_KEEP_FLAGGED,
	.allowed = STREAM_FLAGS | EVR_OP_BUFFER | EVR_OP_MULTISHOT,
	.keep = stream_keep,
	.prep = recv_prep,
	.call = recv_call,
	.events = in,
};

const struct row evr_row_send_zc = {
	.name = "send_zc",
	.opcode = IORING_OP_SEND_ZC,
	.flags = ROW_FD | ROW_NOTIFIES | ROW_UNCHAINED,
	.allowed = EVR_OP_FIXED_FD | EVR_OP_REGION | EVR_OP_ASYNC | EVR_OP_BACKGROUND,
	.keep = send_zc_keep,
	.prep = send_zc_prep,
	.call = send_call,
	.events = out,
	.done = evr_zc_done,
};
