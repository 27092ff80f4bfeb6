// SPDX-License-Identifier: MIT
/*
 * Futexes: words that may lie in a segment, so that a peer without any bell can end a
 * wait. By io_uring from Linux 6.7 on; before, a wait takes a thread of the pool.
 */
#include "driver.h"

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FUTEX_FLAGS EVR_OP_BACKGROUND
/* How long an emulated wait goes without a look at whether it was cancelled, ns. */
#define LOOK_NS 20000000

static int word_keep(struct evr_driver *d, struct extra *extra)
{
	if (extra->op.addr && !(extra->op.addr % 4))
		return 0;
	return evr_fail(-EINVAL, "op futex: the word is at %#llx, no multiple of 4",
			(unsigned long long)extra->op.addr);
}

static void futex_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	sqe->fd = ABI_FUTEX2_SIZE_U32; /* shared between processes */
	sqe->addr = op->addr;
	sqe->off = op->off;
	sqe->addr3 = FUTEX_BITSET_MATCH_ANY;
}

static int wait_call(struct evr_driver *d, struct extra *extra, int fd)
{
	struct timespec look = { .tv_nsec = LOOK_NS };
	uint32_t *word = (uint32_t *)(uintptr_t)extra->op.addr;
	bool slept = false;

	for (;; slept = true) {
		if (!syscall(SYS_futex, word, FUTEX_WAIT, (uint32_t)extra->op.off, &look))
			return 0;
		/* It had the value when we began; who has changed it since has woken us. */
		if (errno == EAGAIN && slept)
			return 0;
		if (errno != ETIMEDOUT && errno != EINTR)
			return -errno;
		/* Relaxed: it will be seen. */
		if (evr_a32_load_relaxed(&extra->cancelled))
			return -ECANCELED;
	}
}

static int wake_call(struct evr_driver *d, struct extra *extra, int fd)
{
	long ret = syscall(SYS_futex, (uint32_t *)(uintptr_t)extra->op.addr, FUTEX_WAKE,
			   extra->op.off > INT_MAX ? INT_MAX : (int)extra->op.off);

	return ret < 0 ? -errno : (int)ret;
}

/* -EAGAIN is the answer, not a reason to try again. */
const struct row evr_row_futex_wait = {
	.name = "futex_wait",
	.opcode = ABI_OP_FUTEX_WAIT,
	.allowed = FUTEX_FLAGS,
	.keep = word_keep,
	.prep = futex_prep,
	.call = wait_call,
};

const struct row evr_row_futex_wake = {
	.name = "futex_wake",
	.opcode = ABI_OP_FUTEX_WAKE,
	.flags = ROW_INLINE,
	.allowed = FUTEX_FLAGS,
	.keep = word_keep,
	.prep = futex_prep,
	.call = wake_call,
};
