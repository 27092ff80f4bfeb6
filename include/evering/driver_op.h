/* SPDX-License-Identifier: MIT */
/*
 * Constructors of operations, one for each. All take what the system call of the same
 * name takes; what they point to as data stays with the driver until the terminal
 * completion, all else is copied at submission. Flags, the callback and a deadline are
 * set in what they return:
 *
 *	struct evr_op op = evr_op_then(evr_op_read(fd, buf, sizeof(buf), 0), done, arg);
 *	err = evr_driver_submit(driver, &op, &id);
 */
#ifndef EVERING_DRIVER_OP_H
#define EVERING_DRIVER_OP_H

#include <string.h>

#include <evering/driver.h>
#include <evering/peer.h>

#ifdef __cplusplus
extern "C" {
#endif

struct iovec;
struct msghdr;
struct sockaddr;
struct statx;
struct open_how;
struct evr_injector;
struct evr_a32;

#define EVR_OFF_CURRENT UINT64_MAX /* off: the file's own position, which moves */

/* evr_op_make() - an op of any code, all else 0; the calls below say what @addr, @len and @off are for it. */
static inline struct evr_op evr_op_make(unsigned int code, int fd, const void *addr, uint32_t len,
					uint64_t off)
{
	struct evr_op op;

	memset(&op, 0, sizeof(op));
	op.code = (uint8_t)code;
	op.fd = fd;
	op.addr = (uint64_t)(uintptr_t)addr;
	op.len = len;
	op.off = off;
	return op;
}

/* evr_op_then() - with a callback. */
static inline struct evr_op evr_op_then(struct evr_op op, evr_done_fn *fn, void *arg)
{
	op.fn = fn;
	op.arg = arg;
	return op;
}

/* evr_op_flagged() - with EVR_OP_* more. */
static inline struct evr_op evr_op_flagged(struct evr_op op, unsigned int flags)
{
	op.flags = (uint16_t)(op.flags | flags);
	return op;
}

/* evr_op_until() - with a deadline, absolute CLOCK_MONOTONIC. */
static inline struct evr_op evr_op_until(struct evr_op op, uint64_t deadline_ns)
{
	op.deadline_ns = deadline_ns;
	return op;
}

/* evr_op_in() - addr is an offset in this region. */
static inline struct evr_op evr_op_in(struct evr_op op, unsigned int region, uint64_t off)
{
	op.flags = (uint16_t)(op.flags | EVR_OP_REGION);
	op.region = (uint16_t)region;
	op.addr = off;
	return op;
}

/* evr_op_buffered() - into a buffer of this group; the op's own buffer is not used. */
static inline struct evr_op evr_op_buffered(struct evr_op op, unsigned int bgid)
{
	op.flags = (uint16_t)(op.flags | EVR_OP_BUFFER);
	op.bgid = (uint16_t)bgid;
	return op;
}

/* evr_op_into() - the resulting file goes into this slot of the table, or EVR_FILE_ANY. */
static inline struct evr_op evr_op_into(struct evr_op op, uint32_t slot)
{
	op.flags = (uint16_t)(op.flags | EVR_OP_FIXED_RESULT);
	op.file = slot;
	return op;
}

/* Completes with 0. */
static inline struct evr_op evr_op_nop(void)
{
	return evr_op_make(EVR_OP_NOP, -1, NULL, 0, 0);
}

/*
 * pread(2), pwrite(2), preadv(2), pwritev(2): @off in bytes, or EVR_OFF_CURRENT. The result is bytes; short as theirs,
 * unless EVR_OP_EXACT.
 */
static inline struct evr_op evr_op_read(int fd, void *buf, uint32_t len, uint64_t off)
{
	return evr_op_make(EVR_OP_READ, fd, buf, len, off);
}

/* See evr_op_read(). */
static inline struct evr_op evr_op_write(int fd, const void *buf, uint32_t len, uint64_t off)
{
	return evr_op_make(EVR_OP_WRITE, fd, buf, len, off);
}

/* See evr_op_read(). The iovecs are copied at submission, what they point to is not. */
static inline struct evr_op evr_op_readv(int fd, const struct iovec *iov, uint32_t nr, uint64_t off)
{
	return evr_op_make(EVR_OP_READV, fd, iov, nr, off);
}

/* See evr_op_readv(). */
static inline struct evr_op evr_op_writev(int fd, const struct iovec *iov, uint32_t nr,
					  uint64_t off)
{
	return evr_op_make(EVR_OP_WRITEV, fd, iov, nr, off);
}

/* fsync(2) */
static inline struct evr_op evr_op_fsync(int fd)
{
	return evr_op_make(EVR_OP_FSYNC, fd, NULL, 0, 0);
}

/* fdatasync(2) */
static inline struct evr_op evr_op_fdatasync(int fd)
{
	struct evr_op op = evr_op_make(EVR_OP_FSYNC, fd, NULL, 0, 0);

	op.opflags = 1; /* IORING_FSYNC_DATASYNC */
	return op;
}

/* @flags: SYNC_FILE_RANGE_* */
static inline struct evr_op evr_op_sync_range(int fd, uint64_t off, uint32_t len, uint32_t flags)
{
	struct evr_op op = evr_op_make(EVR_OP_SYNC_RANGE, fd, NULL, len, off);

	op.opflags = flags;
	return op;
}

/* @mode: FALLOC_FL_* */
static inline struct evr_op evr_op_fallocate(int fd, uint32_t mode, uint64_t off, uint64_t len)
{
	struct evr_op op = evr_op_make(EVR_OP_FALLOCATE, fd, NULL, 0, off);

	op.opflags = mode;
	op.x[0] = len;
	return op;
}

/* @len: bytes */
static inline struct evr_op evr_op_ftruncate(int fd, uint64_t len)
{
	return evr_op_make(EVR_OP_FTRUNCATE, fd, NULL, 0, len);
}

/* openat2(2): @resolve is RESOLVE_*; O_CLOEXEC is added. */
static inline struct evr_op evr_op_open(int dirfd, const char *path, uint64_t flags, uint64_t mode,
					uint64_t resolve)
{
	struct evr_op op = evr_op_make(EVR_OP_OPEN, dirfd, path, 0, 0);

	op.x[0] = flags;
	op.x[1] = mode;
	op.x[2] = resolve;
	return op;
}

/* With EVR_OP_FIXED_FD: takes the file out of the table. */
static inline struct evr_op evr_op_close(int fd)
{
	return evr_op_make(EVR_OP_CLOSE, fd, NULL, 0, 0);
}

/* @flags: AT_*; @mask: STATX_*; @out is the driver's until the completion. */
static inline struct evr_op evr_op_statx(int dirfd, const char *path, uint32_t flags, uint32_t mask,
					 struct statx *out)
{
	struct evr_op op = evr_op_make(EVR_OP_STATX, dirfd, path, mask, 0);

	op.opflags = flags;
	op.x[0] = (uint64_t)(uintptr_t)out;
	return op;
}

/* @flags: AT_REMOVEDIR or 0 */
static inline struct evr_op evr_op_unlink(int dirfd, const char *path, uint32_t flags)
{
	struct evr_op op = evr_op_make(EVR_OP_UNLINK, dirfd, path, 0, 0);

	op.opflags = flags;
	return op;
}

/* @flags: RENAME_* */
static inline struct evr_op evr_op_rename(int dirfd, const char *path, int to_dirfd,
					  const char *to_path, uint32_t flags)
{
	struct evr_op op = evr_op_make(EVR_OP_RENAME, dirfd, path, (uint32_t)to_dirfd, 0);

	op.opflags = flags;
	op.x[0] = (uint64_t)(uintptr_t)to_path;
	return op;
}

/* mkdirat(2) */
static inline struct evr_op evr_op_mkdir(int dirfd, const char *path, uint32_t mode)
{
	return evr_op_make(EVR_OP_MKDIR, dirfd, path, mode, 0);
}

/* @address, @len: filled in; may be NULL. @flags: SOCK_*; SOCK_CLOEXEC is added. */
static inline struct evr_op evr_op_accept(int fd, struct sockaddr *address, uint32_t *len,
					  uint32_t flags)
{
	struct evr_op op = evr_op_make(EVR_OP_ACCEPT, fd, address, 0, 0);

	op.opflags = flags;
	op.x[0] = (uint64_t)(uintptr_t)len;
	return op;
}

/* @address is copied at submission; @len in bytes. */
static inline struct evr_op evr_op_connect(int fd, const struct sockaddr *address, uint32_t len)
{
	return evr_op_make(EVR_OP_CONNECT, fd, address, len, 0);
}

/* @how: SHUT_* */
static inline struct evr_op evr_op_shutdown(int fd, uint32_t how)
{
	return evr_op_make(EVR_OP_SHUTDOWN, fd, NULL, how, 0);
}

/* SOCK_CLOEXEC is added. */
static inline struct evr_op evr_op_socket(int domain, int type, int protocol)
{
	return evr_op_make(EVR_OP_SOCKET, domain, NULL, (uint32_t)protocol, (uint64_t)type);
}

/* MSG_NOSIGNAL is added. */
static inline struct evr_op evr_op_send(int fd, const void *buf, uint32_t len, uint32_t flags)
{
	struct evr_op op = evr_op_make(EVR_OP_SEND, fd, buf, len, 0);

	op.opflags = flags;
	return op;
}

/* @flags: MSG_*. The result is bytes, 0 at the end of the stream. */
static inline struct evr_op evr_op_recv(int fd, void *buf, uint32_t len, uint32_t flags)
{
	struct evr_op op = evr_op_make(EVR_OP_RECV, fd, buf, len, 0);

	op.opflags = flags;
	return op;
}

/* The control data stays the driver's, as the buffers. */
static inline struct evr_op evr_op_sendmsg(int fd, const struct msghdr *msg, uint32_t flags)
{
	struct evr_op op = evr_op_make(EVR_OP_SENDMSG, fd, msg, 1, 0);

	op.opflags = flags;
	return op;
}

/*
 * The header itself is filled in too, and stays the driver's with all it points to. With MULTISHOT and
 * a group of buffers only its msg_namelen and msg_controllen count, how much room a buffer is to have
 * for both, and it is copied: each completion brings a message, see evr_op_received(). The end of the stream, or a
 * message without data, ends the op. A buffer that has no room for all this: -EFAULT,
 * and on some kernels (6.1) it is the caller's then, as the completion says.
 * Nobody closes the fds that came with a message of an op that is abandoned.
 */
static inline struct evr_op evr_op_recvmsg(int fd, struct msghdr *msg, uint32_t flags)
{
	struct evr_op op = evr_op_make(EVR_OP_RECVMSG, fd, msg, 1, 0);

	op.opflags = flags;
	return op;
}

/*
 * evr_op_received() - the message in the buffer of a completion of a multishot recvmsg.
 * @done: with EVR_DONE_BUFFER. @room: msg_namelen and msg_controllen as they were submitted.
 * @msg: out: name, control data, both in the buffer, and msg_flags; no iovec.
 * @data: out: in the buffer, for as long as that is the caller's.
 * Context: any thread.
 * Return: bytes of data, fewer than were sent with MSG_TRUNC in msg_flags; -EINVAL @done is no such
 * completion; -EFAULT @room is NULL; -EBADMSG it is shorter than @room.
 */
EVR_API int evr_op_received(const struct evr_completion *done, const struct msghdr *room,
			    struct msghdr *msg, void **data);

/*
 * Zero-copy send: a completion with the result, then the terminal one with
 * EVR_DONE_NOTIF, when the buffer is free; pays from some 16 KiB on.
 */
static inline struct evr_op evr_op_send_zc(int fd, const void *buf, uint32_t len, uint32_t flags)
{
	struct evr_op op = evr_op_make(EVR_OP_SEND_ZC, fd, buf, len, 0);

	op.opflags = flags;
	return op;
}

/* The same of a header, whose buffers and control data are the driver's until then. */
static inline struct evr_op evr_op_sendmsg_zc(int fd, const struct msghdr *msg, uint32_t flags)
{
	struct evr_op op = evr_op_make(EVR_OP_SENDMSG_ZC, fd, msg, 1, 0);

	op.opflags = flags;
	return op;
}

/* @events: POLL*; the result has those that are there. MULTISHOT reports every edge. */
static inline struct evr_op evr_op_poll(int fd, uint32_t events)
{
	struct evr_op op = evr_op_make(EVR_OP_POLL, fd, NULL, 0, 0);

	op.opflags = events;
	return op;
}

/* Offsets are EVR_OFF_CURRENT for a pipe. @flags: SPLICE_F_* */
static inline struct evr_op evr_op_splice(int in, uint64_t in_off, int out, uint64_t out_off,
					  uint32_t len, uint32_t flags)
{
	struct evr_op op = evr_op_make(EVR_OP_SPLICE, out, NULL, len, out_off);

	op.opflags = flags;
	op.x[0] = in_off;
	op.x[1] = (uint64_t)(int64_t)in;
	return op;
}

/* From pipe to pipe, and @in keeps it. @flags: SPLICE_F_* */
static inline struct evr_op evr_op_tee(int in, int out, uint32_t len, uint32_t flags)
{
	struct evr_op op = evr_op_make(EVR_OP_TEE, out, NULL, len, 0);

	op.opflags = flags;
	op.x[1] = (uint64_t)(int64_t)in;
	return op;
}

/* At a time, absolute CLOCK_MONOTONIC; then every period_ns, if that is not 0. */
static inline struct evr_op evr_op_timer(uint64_t at_ns, uint64_t period_ns)
{
	struct evr_op op = evr_op_make(EVR_OP_TIMER, -1, NULL, 0, at_ns);

	op.x[0] = period_ns;
	return op;
}

/*
 * Wait for a wake of a word that is expected to have this value; else -EAGAIN. By io_uring from Linux 6.7 on;
 * before, and without io_uring, each wait takes a thread of the pool, and a cancel takes up to 20 ms.
 */
static inline struct evr_op evr_op_futex_wait(struct evr_a32 *word, uint32_t expected)
{
	return evr_op_make(EVR_OP_FUTEX_WAIT, -1, word, 0, expected);
}

/* Wake @nr waiters of a word at most; the result is how many there were. */
static inline struct evr_op evr_op_futex_wake(struct evr_a32 *word, uint32_t nr)
{
	return evr_op_make(EVR_OP_FUTEX_WAKE, -1, word, 0, nr);
}

/* A message to another driver's on_message(); -EAGAIN, -ESHUTDOWN as of its injector. */
static inline struct evr_op evr_op_message(struct evr_injector *to, uint64_t data, uint32_t kind)
{
	return evr_op_make(EVR_OP_MESSAGE, -1, to, kind, data);
}

/*
 * Wait for bells of a peer, which stays attached until then; value has the bits. While
 * a driver waits for some bells of a peer, it takes all that nobody sleeps for, and
 * keeps the others for the next of these ops. -EOWNERDEAD: the peer itself has ended.
 */
static inline struct evr_op evr_op_bell_wait(struct evr_peer *peer, uint64_t mask)
{
	return evr_op_make(EVR_OP_BELL_WAIT, -1, peer, 0, mask);
}

/* evr_bell_ring() in its place among other ops; -ESTALE as that. */
static inline struct evr_op evr_op_bell_ring(struct evr_peer *peer, struct evr_peer_id to,
					     uint64_t bits)
{
	struct evr_op op = evr_op_make(EVR_OP_BELL_RING, -1, peer, to.slot, bits);

	op.x[0] = to.incarnation;
	return op;
}

#ifdef __cplusplus
}
#endif

#endif
