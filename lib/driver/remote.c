// SPDX-License-Identifier: MIT
/*
 * Ops of other threads: carried to the driver by its injector, waited for on a word.
 *
 * model      One thread submits; any may cancel and wait; the driver's thread is the
 *            only one that says DONE.
 * edges      REMOTE  res, flags and value, then state by RMW -> acquire, the same.
 *            The driver's last access is that RMW, or the one that takes CANCEL away,
 *            whichever comes later: after both bits are as evr_remote_is_done() wants
 *            them the memory is the caller's, and only the wake of a futex that nobody
 *            may sleep on any more still names its address.
 */
#include "driver.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static void wake_all(struct evr_remote *remote, uint32_t old)
{
	if (old & EVR_REMOTE_WAITED)
		syscall(SYS_futex, &remote->state.v, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static void finish(struct evr_remote *remote, int res, uint32_t flags, uint64_t value)
{
	remote->res = res;
	remote->flags = flags;
	remote->value = value;
	if (remote->complete) {
		evr_a32_fetch_or(&remote->state, EVR_REMOTE_DONE); /* REMOTE */
		remote->complete(remote);
		return;
	}
	wake_all(remote, evr_a32_fetch_or(&remote->state, EVR_REMOTE_DONE)); /* REMOTE */
}

static void remote_done(struct evr_driver *d, const struct evr_completion *done)
{
	/* A zero-copy send is done when its buffer is free; res is of the first. */
	struct evr_remote *remote = done->arg;

	if (done->flags & EVR_DONE_MORE) {
		remote->res = done->res;
		return;
	}
	finish(remote, done->flags & EVR_DONE_NOTIF ? remote->res : done->res, done->flags,
	       done->value);
}

static void remote_begin(struct evr_driver *d, void *arg)
{
	struct evr_remote *remote = arg;
	int err;

	remote->op.fn = remote_done;
	remote->op.arg = remote;
	err = evr_driver_submit(d, &remote->op, &remote->id);
	if (err)
		finish(remote, err, 0, 0);
}

int evr_remote_submit(struct evr_injector *injector, struct evr_remote *remote)
{
	int err;

	if (remote->op.flags & (EVR_OP_MULTISHOT | EVR_OP_BACKGROUND))
		return -EINVAL;
	remote->injector = injector;
	remote->id = 0;
	/* Relaxed: the injector publishes it. */
	evr_a32_store_relaxed(&remote->state, EVR_REMOTE_ACTIVE);
	err = evr_inject(injector, remote_begin, remote);
	if (err)
		evr_a32_store_relaxed(&remote->state, EVR_REMOTE_IDLE);
	return err;
}

static void remote_end(struct evr_driver *d, void *arg)
{
	struct evr_remote *remote = arg;

	evr_driver_cancel(d, remote->id);
	wake_all(remote, evr_a32_fetch_and(&remote->state, ~(uint32_t)EVR_REMOTE_CANCEL));
}

int evr_remote_cancel(struct evr_remote *remote)
{
	uint32_t state = evr_a32_load_acquire(&remote->state);
	int err;

	do {
		if (!(state & EVR_REMOTE_ACTIVE) || state & EVR_REMOTE_DONE)
			return -ENOENT;
		if (state & EVR_REMOTE_CANCEL)
			return -EALREADY;
	} while (!evr_a32_cas(&remote->state, &state, state | EVR_REMOTE_CANCEL));
	err = evr_inject(remote->injector, remote_end, remote);
	if (err)
		wake_all(remote, evr_a32_fetch_and(&remote->state, ~(uint32_t)EVR_REMOTE_CANCEL));
	return err;
}

int evr_remote_wait(struct evr_remote *remote, uint64_t deadline_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(deadline_ns / 1000000000u),
			       .tv_nsec = (long)(deadline_ns % 1000000000u) };
	uint32_t state;

	for (;;) {
		state = evr_a32_load_acquire(&remote->state); /* REMOTE */
		if (state & EVR_REMOTE_DONE && !(state & EVR_REMOTE_CANCEL))
			return 0;
		if (!(state & EVR_REMOTE_WAITED)) {
			if (!evr_a32_cas(&remote->state, &state, state | EVR_REMOTE_WAITED))
				continue;
			state |= EVR_REMOTE_WAITED;
		}
		if (syscall(SYS_futex, &remote->state.v, FUTEX_WAIT_BITSET_PRIVATE, state,
			    deadline_ns == EVR_DRIVER_NO_DEADLINE ? NULL : &ts, NULL,
			    FUTEX_BITSET_MATCH_ANY) < 0 &&
		    errno != EAGAIN)
			return evr_remote_is_done(remote) ? 0 : -errno;
	}
}
