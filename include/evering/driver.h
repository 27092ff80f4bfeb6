/* SPDX-License-Identifier: MIT */
/*
 * The driver: files, sockets, timers, bells and other threads on one completion
 * loop, on io_uring where that is allowed and on a thread pool and epoll where not.
 *
 * model      A driver belongs to one thread, which submits and runs. Others reach it
 *            through its injector (evering/driver_inject.h), or take completions
 *            (evr_driver_take()); nothing else may be called from there.
 * calls      each says which thread. Callbacks run inside evr_driver_run() and
 *            evr_driver_close() alone, never inside a submission.
 * ownership  What an op points to as data (buffers, a socket's address that is filled
 *            in, a statx struct) stays with the driver until the terminal completion.
 *            All else (paths, addresses, iovec arrays, the op itself) is copied.
 * progress   an op has exactly one terminal completion: the one without
 *            EVR_DONE_MORE. After it the kernel touches no buffer of the op.
 * limits     16 M slots; a chain has at most as many ops as the ring entries.
 *
 * docs/driver.md has lifetimes, cancellation and what each kernel gives.
 */
#ifndef EVERING_DRIVER_H
#define EVERING_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <evering/version.h>

#ifdef __cplusplus
extern "C" {
#endif

struct evr_driver;
struct io_uring_sqe;

#define EVR_DRIVER_NO_DEADLINE UINT64_MAX

enum evr_driver_mode {
	EVR_DRIVER_AUTO, /* as good as the machine allows; EVERING_DRIVER_MODE may say less */
	EVR_DRIVER_DEFER, /* io_uring, task work deferred to the loop (6.1) */
	EVR_DRIVER_PLAIN, /* io_uring without setup flags */
	EVR_DRIVER_NONE, /* no io_uring: thread pool and epoll */
};

/* evr_driver_mode_name() - "auto", "defer", "plain", "none"; "unknown" otherwise. */
EVR_API const char *evr_driver_mode_name(enum evr_driver_mode mode);

enum {
	EVR_DRIVER_REQUIRE_URING = 1, /* fail where there is no io_uring */
	EVR_DRIVER_FAIL_FAST = 2, /* no backlog: what the ring cannot take is -EAGAIN */
	EVR_DRIVER_SQPOLL = 4, /* a kernel thread submits; on, or create fails */
	EVR_DRIVER_DETACHED = 8, /* bound to no thread until evr_driver_attach() */
	EVR_DRIVER_BELL_COMMAND =
		16, /* wait for bells by the device's io_uring command, if it can */
};

/* Zeros are the defaults. */
struct evr_driver_options {
	size_t struct_sz; /* sizeof(struct evr_driver_options) */
	enum evr_driver_mode mode;
	uint32_t flags; /* EVR_DRIVER_* */
	uint32_t entries; /* of the submission ring, rounded up to a power of 2; 0 = 256 */
	uint32_t completions; /* of the completion ring; 0 = 4 * entries */
	uint32_t ops_max; /* slots, timers included; 0 = 65536 */
	uint32_t backlog_max; /* ops that wait for room; 0 = entries */
	uint32_t inject_max; /* entries of the injector; 0 = 1024 */
	uint32_t pool_threads; /* at most; 0 = 4 */
	uint32_t files_max; /* slots of the table of fixed files; 0 = 64 */
	uint32_t regions_max; /* fixed buffers, of at most 1 GiB each; 0 = 64 */
	uint32_t sqpoll_idle_ms; /* 0 = 1000 */
	uint32_t __resv;
	/* After an -EAGAIN, once, when the largest of what was refused finds room. */
	void (*on_writable)(struct evr_driver *driver, void *user);
	void (*on_message)(struct evr_driver *driver, void *user, uint64_t data, uint32_t kind);
	void *user;
};

/*
 * evr_driver_create() - make a driver, bound to the calling thread unless DETACHED.
 * On success it is the caller's, to be closed; on failure *out is NULL.
 * Return: 0; -EINVAL, -E2BIG; -ENOMEM; -EMFILE; -EOPNOTSUPP no io_uring, or not in the
 * mode that was asked for (the detail says what the kernel said).
 */
EVR_API int evr_driver_create(struct evr_driver **out, const struct evr_driver_options *options);

/*
 * evr_driver_attach() - bind a driver that was created DETACHED to the calling thread.
 * Context: any thread, once.
 * Return: 0; -EBUSY it is bound; -ECHILD it was made before a fork.
 */
EVR_API int evr_driver_attach(struct evr_driver *driver);

/*
 * evr_driver_close() - cancel everything, wait until all is over, free.
 * Callbacks run, with -ECANCELED or the op's own result. A BACKGROUND close() of a file is not
 * cancelled, for nobody would be told (as a later member of a chain it ends with that). Completions that wait to be
 * taken are lost with the driver; those of ops that end now are given back (see abandon).
 * @deadline_ns: absolute CLOCK_MONOTONIC. Past it nothing is freed: the kernel, or a
 *	thread of the pool, still uses slots and buffers. The handle stays valid for
 *	another close and for evr_driver_leak(), and for nothing else.
 * Context: the driver's thread, or any for one that was never attached; no callback.
 * Return: 0; -EBUSY ops are in flight at the deadline, or called from a callback;
 * -EXDEV; -ECHILD in a child of fork: its copies of the fds are closed, and no more.
 */
EVR_API int evr_driver_close(struct evr_driver *driver, uint64_t deadline_ns);

/*
 * evr_driver_leak() - give the handle up after close said -EBUSY. Slots, the ring and
 * buffers stay where they are for as long as the process lives.
 */
EVR_API void evr_driver_leak(struct evr_driver *driver);

/* What a completion says. */
enum {
	EVR_DONE_MORE = 1, /* not the last of this op */
	EVR_DONE_BUFFER = 2, /* bgid, bid and buf name a provided buffer, now the caller's */
	EVR_DONE_NOTIF = 4, /* zero-copy send: the buffer is free again */
	EVR_DONE_NONEMPTY = 8, /* the socket has more to read */
	EVR_DONE_COPIED = 16, /* with NOTIF: the kernel copied after all */
	EVR_DONE_CANCELED = 32, /* a cancel or a deadline was on its way */
	EVR_DONE_EMULATED = 64, /* not done by io_uring */
};

struct evr_completion {
	uint64_t id; /* of the op */
	void *arg; /* of the op */
	/* As of the system call: >= 0, or a negative errno; -EAGAIN, -ENOMEM no thread was to be had. */
	int32_t res;
	uint32_t flags; /* EVR_DONE_* */
	uint64_t value; /* timers: expirations; bells: the bits; a block received into: its handle */
	void *buf; /* with EVR_DONE_BUFFER */
	uint16_t bgid, bid;
	uint32_t __resv;
};

typedef void evr_done_fn(struct evr_driver *driver, const struct evr_completion *done);

enum evr_op_code {
	EVR_OP_NOP,
	EVR_OP_READ,
	EVR_OP_WRITE,
	EVR_OP_READV,
	EVR_OP_WRITEV,
	EVR_OP_FSYNC,
	EVR_OP_SYNC_RANGE,
	EVR_OP_FALLOCATE,
	EVR_OP_FTRUNCATE,
	EVR_OP_OPEN,
	EVR_OP_CLOSE,
	EVR_OP_STATX,
	EVR_OP_UNLINK,
	EVR_OP_RENAME,
	EVR_OP_MKDIR,
	EVR_OP_ACCEPT,
	EVR_OP_CONNECT,
	EVR_OP_SHUTDOWN,
	EVR_OP_SOCKET,
	EVR_OP_SEND,
	EVR_OP_RECV,
	EVR_OP_SENDMSG,
	EVR_OP_RECVMSG,
	EVR_OP_SEND_ZC,
	EVR_OP_SENDMSG_ZC,
	EVR_OP_POLL,
	EVR_OP_SPLICE,
	EVR_OP_TEE,
	EVR_OP_TIMER,
	EVR_OP_FUTEX_WAIT,
	EVR_OP_FUTEX_WAKE,
	EVR_OP_MESSAGE,
	EVR_OP_BELL_WAIT,
	EVR_OP_BELL_RING,
	EVR_OP_RAW, /* evr_driver_sqe() */
	EVR_OPS_NR,
};

/* evr_op_name() - "read", "accept" ...; "unknown" otherwise. */
EVR_API const char *evr_op_name(unsigned int code);

enum {
	EVR_OP_FIXED_FD = 1, /* fd is a slot of the table of fixed files */
	EVR_OP_REGION = 2, /* addr is an offset in the region, not an address */
	EVR_OP_ASYNC = 4, /* let a worker of the kernel do it from the start */
	EVR_OP_EXACT = 8, /* go on after a short read or write until all, an end or an error */
	EVR_OP_MULTISHOT = 16, /* accept, recv, recvmsg, poll, bell wait: until cancelled */
	EVR_OP_BUFFER = 32, /* recv, recvmsg: into a buffer of the group bgid */
	EVR_OP_BACKGROUND = 64, /* no completion; errors are counted */
	EVR_OP_FIXED_RESULT = 128, /* accept, open, socket: into the table, slot file */
};

#define EVR_FILE_ANY UINT32_MAX /* file: the kernel picks a slot and says it as res */

/*
 * An operation, of evering/driver_op.h's constructors. It may go away once it is
 * submitted. fn == NULL parks the completions for evr_driver_take().
 */
struct evr_op {
	uint8_t code; /* enum evr_op_code */
	uint8_t __resv;
	uint16_t flags; /* EVR_OP_* */
	int32_t fd;
	uint64_t off;
	uint64_t addr;
	uint32_t len;
	uint32_t opflags; /* of the system call */
	uint64_t x[3];
	uint32_t file; /* with FIXED_RESULT */
	uint16_t region; /* with REGION */
	uint16_t bgid; /* with BUFFER */
	uint64_t deadline_ns; /* absolute CLOCK_MONOTONIC: cancelled then, -ETIME; 0 = none */
	evr_done_fn *fn;
	void *arg;
};

/*
 * evr_driver_submit() - start an op. It reaches the kernel with the next
 * evr_driver_flush() or run, together with all others.
 * @id: out, names this op for ever; may be NULL.
 * Context: the driver's thread, callbacks too.
 * Return: 0, then there will be a terminal completion (none for BACKGROUND); or
 * -EAGAIN no room, on_writable() will be called; -EOPNOTSUPP, as
 * evr_driver_supports() says beforehand; -EINVAL; -EFAULT outside the region; -EBADF no
 * such region; -ENOMEM; -ESHUTDOWN closing; -EXDEV another thread's; -ECHILD after a fork.
 */
EVR_API int evr_driver_submit(struct evr_driver *driver, const struct evr_op *op, uint64_t *id);

/*
 * evr_driver_submit_chain() - ops that run one after the other. All of them start or
 * none. One that fails, or reads or writes less than asked for, ends the chain: those
 * behind it complete with -ECANCELED. No member may be MULTISHOT, EXACT, a
 * zero-copy send, or TIMER.
 * @ids: out, @nr of them; may be NULL.
 * Return: as evr_driver_submit(); -EINVAL nr is 0 or more than the entries.
 */
EVR_API int evr_driver_submit_chain(struct evr_driver *driver, const struct evr_op *ops,
				    uint32_t nr, uint64_t *ids);

/*
 * evr_driver_sqe() - an op that this library has no row for: the caller fills in the
 * SQE before any other call, all but user_data.
 * @completions_nr: CQEs it may have outstanding, 1..64.
 * Return: the SQE; NULL where evr_driver_submit() would fail, or without io_uring.
 */
EVR_API struct io_uring_sqe *evr_driver_sqe(struct evr_driver *driver, evr_done_fn *fn, void *arg,
					    uint32_t completions_nr, uint64_t *id);

/*
 * evr_driver_cancel() - ask an op to end. Its terminal completion tells how it did.
 * Context: the driver's thread, callbacks too.
 * Return: 0 asked; -ENOENT it is over; -EALREADY it was asked before; -EXDEV, -ECHILD.
 */
EVR_API int evr_driver_cancel(struct evr_driver *driver, uint64_t id);

/*
 * evr_driver_cancel_fd() - the same for all ops on this fd number.
 * Return: how many were asked; -EXDEV, -ECHILD.
 */
EVR_API int evr_driver_cancel_fd(struct evr_driver *driver, int fd);

/*
 * evr_driver_abandon() - cancel, and never call back: what the op still brings (an
 * accepted connection, an opened file, a provided buffer) is given back.
 * Its buffers are the driver's until evr_driver_stats() counts it as completed.
 * Return: as evr_driver_cancel(); 0 also when it was cancelled before.
 */
EVR_API int evr_driver_abandon(struct evr_driver *driver, uint64_t id);

/*
 * evr_driver_update_timer() - move a timer.
 * @deadline_ns: absolute CLOCK_MONOTONIC.
 * @period_ns: of what follows; 0 = once.
 * Return: 0; -ENOENT no such timer; -EXDEV, -ECHILD.
 */
EVR_API int evr_driver_update_timer(struct evr_driver *driver, uint64_t id, uint64_t deadline_ns,
				    uint64_t period_ns);

/*
 * evr_driver_run() - submit what waits, deliver completions.
 * @min: wait for so many; 0 delivers what is there.
 * @deadline_ns: absolute CLOCK_MONOTONIC; 0: do not sleep.
 * Return: how many were delivered, fewer than min at the deadline, after a signal, or
 * when nothing is under way and no injector, fd or pool could bring something;
 * -EINTR a signal was handled before the first; -EBUSY from a callback; -ENOBUFS the
 * queue for evr_driver_take() is full; -EXDEV; -ECHILD.
 */
EVR_API int evr_driver_run(struct evr_driver *driver, uint32_t min, uint64_t deadline_ns);

/* evr_driver_flush() - hand what was submitted to the kernel, without waiting. */
EVR_API int evr_driver_flush(struct evr_driver *driver);

/*
 * evr_driver_take() - completions of ops without a callback.
 * Context: one thread at a time, any: who submits and who completes may differ.
 * Return: how many of at most @nr were written to @done.
 */
EVR_API uint32_t evr_driver_take(struct evr_driver *driver, struct evr_completion *done,
				 uint32_t nr);

/*
 * evr_driver_take_wait() - the same, asleep while there is none.
 * Context: not the driver's thread, which would wait for itself.
 * Return: how many, at least 1; -ETIMEDOUT; -EINTR; -ESHUTDOWN after take_stop, when the
 * queue is empty; -EINVAL nr is 0.
 */
EVR_API int evr_driver_take_wait(struct evr_driver *driver, struct evr_completion *done,
				 uint32_t nr, uint64_t deadline_ns);

/*
 * evr_driver_take_stop() - end the sleeps of evr_driver_take_wait(), for good. The thread
 * that takes has to be gone before evr_driver_close().
 * Context: the driver's thread. Return: 0; -EXDEV, -ECHILD.
 */
EVR_API int evr_driver_take_stop(struct evr_driver *driver);

/*
 * evr_driver_fd() - for a foreign loop: readable when evr_driver_run(driver, 0, 0) has
 * something to do. Before it polls, the loop calls that once more, and wakes by
 * itself at evr_driver_next_ns(). Owned by the driver.
 */
EVR_API int evr_driver_fd(struct evr_driver *driver);

/*
 * evr_driver_next_ns() - when to run at the latest.
 * @at_ns: out; absolute CLOCK_MONOTONIC, 0 now, or EVR_DRIVER_NO_DEADLINE.
 * Return: 0; -EXDEV, -ECHILD.
 */
EVR_API int evr_driver_next_ns(struct evr_driver *driver, uint64_t *at_ns);

enum {
	EVR_SUPPORT_NONE, /* -EOPNOTSUPP */
	EVR_SUPPORT_NATIVE, /* by io_uring */
	EVR_SUPPORT_POOL, /* by a thread of the pool */
	EVR_SUPPORT_READY, /* by epoll and a call that does not block */
	EVR_SUPPORT_INLINE, /* by the driver itself */
};

/* evr_driver_supports() - EVR_SUPPORT_* of this op here. Context: any. */
EVR_API int evr_driver_supports(const struct evr_driver *driver, unsigned int code);

struct evr_driver_caps {
	enum evr_driver_mode mode; /* what it came to */
	int32_t uring_error; /* what io_uring said, when mode is NONE and was not asked for */
	int32_t buffers_error; /* what the last registration of buffers that was refused said */
	uint32_t setup_flags; /* IORING_SETUP_* */
	uint32_t features; /* IORING_FEAT_* */
	uint32_t entries, completions;
	bool fixed_files; /* in the kernel; else the driver's own table */
	bool fixed_buffers; /* registration of buffers has not been refused so far */
	bool buffer_rings; /* provided buffers in the kernel; else the driver's own */
	bool ring_fd; /* the ring's fd is registered */
	bool bell_command; /* BELL_COMMAND was asked for, and the device has it (6.7); else a poll */
	uint8_t support[EVR_OPS_NR]; /* EVR_SUPPORT_* */
};

/* evr_driver_caps() - what creation came to, and what was refused since. Context: the driver's thread. */
EVR_API void evr_driver_caps(const struct evr_driver *driver, struct evr_driver_caps *caps);

struct evr_driver_stats {
	uint64_t submitted; /* ops that were accepted */
	uint64_t completed; /* terminal completions, abandoned and background ones too */
	uint64_t events; /* completions with EVR_DONE_MORE */
	uint64_t abandoned;
	uint64_t cancels; /* asked of the kernel */
	uint64_t stale; /* completions of nothing that lives: counted, never matched */
	uint64_t overflows; /* times the completion ring overflowed */
	uint64_t enters; /* system calls of the loop */
	uint64_t again; /* submissions refused with -EAGAIN */
	uint64_t backlogged;
	uint64_t retries; /* ops started again after -EINTR or -EAGAIN, or short */
	uint64_t background_errors;
	uint64_t injected;
	uint64_t wakes; /* times an injector had to wake the driver */
	uint32_t in_flight; /* ops of the kernel, the pool and epoll */
	uint32_t slots_used, slots; /* ops alive; slots made so far */
	uint32_t backlog;
	uint32_t timers;
	uint32_t pool_threads;
};

/*
 * evr_driver_stats() - what happened so far. Context: the driver's thread.
 * Return: 0; -EXDEV, -ECHILD.
 */
EVR_API int evr_driver_stats(const struct evr_driver *driver, struct evr_driver_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
