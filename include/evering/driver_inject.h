/* SPDX-License-Identifier: MIT */
/*
 * How other threads reach a driver: an injector takes functions, ops and messages, and
 * wakes the driver only when it sleeps.
 *
 * model      any thread of the process injects, the driver's thread drains. An
 *            injector lives until its last reference goes, also after its driver.
 * calls      all may run together.
 * edges      INJECT       what was written before a call that returned 0 is seen by the
 *                         function, op or message.
 *            INJECT-WAKE  lib/driver/inject.c.
 *            REMOTE       what a completion wrote is seen by who finds it done.
 * progress   lock-free; nothing sleeps but evr_remote_wait().
 */
#ifndef EVERING_DRIVER_INJECT_H
#define EVERING_DRIVER_INJECT_H

#include <evering/atomic.h>
#include <evering/driver.h>

#ifdef __cplusplus
extern "C" {
#endif

struct evr_injector;

typedef void evr_inject_fn(struct evr_driver *driver, void *arg);

/*
 * evr_driver_injector() - a reference to the driver's injector, to be given back by
 * evr_injector_put(). Context: the driver's thread, or before the driver is attached.
 */
EVR_API struct evr_injector *evr_driver_injector(struct evr_driver *driver);
EVR_API struct evr_injector *evr_injector_get(struct evr_injector *injector);
EVR_API void evr_injector_put(struct evr_injector *injector);

/*
 * evr_inject() - have the driver's thread call fn(driver, arg), within a run or its close.
 * Return: 0, then it is called exactly once; -EAGAIN full; -ESHUTDOWN the driver is closed.
 */
EVR_API int evr_inject(struct evr_injector *injector, evr_inject_fn *fn, void *arg);

/*
 * evr_inject_message() - give two words to the driver's on_message().
 * Return: as evr_inject().
 */
EVR_API int evr_inject_message(struct evr_injector *injector, uint64_t data, uint32_t kind);

/* evr_inject_wake() - end a sleep of the driver: its run returns to its conditions. */
EVR_API int evr_inject_wake(struct evr_injector *injector);

/*
 * An op of another thread. The caller's, zeroed before its first use, and the driver's
 * from a submit that returned 0 until evr_remote_is_done().
 */
struct evr_remote {
	struct evr_a32 state; /* EVR_REMOTE_* */
	int32_t res; /* when done */
	uint32_t flags; /* EVR_DONE_*, when done */
	uint64_t value; /* when done */
	void (*complete)(struct evr_remote *remote); /* on the driver's thread; or NULL */
	struct evr_op op; /* fn and arg are the driver's */
	uint64_t id;
	struct evr_injector *injector;
};

enum {
	EVR_REMOTE_IDLE = 0,
	EVR_REMOTE_ACTIVE = 1,
	EVR_REMOTE_CANCEL = 2, /* or'ed: a cancel is on its way to the driver */
	EVR_REMOTE_DONE = 4,
	EVR_REMOTE_WAITED = 8, /* or'ed: somebody sleeps on it */
};

/*
 * evr_remote_submit() - submit remote->op from any thread. No MULTISHOT, BACKGROUND.
 * With complete set, that is called in place of everything below; it may free remote.
 * Return: as evr_inject(); -EINVAL. What evr_driver_submit() would have said comes as res.
 */
EVR_API int evr_remote_submit(struct evr_injector *injector, struct evr_remote *remote);

/*
 * evr_remote_cancel() - ask it to end. Not with complete set.
 * Return: 0; -ENOENT it is done; -EALREADY; -EAGAIN the injector is full.
 */
EVR_API int evr_remote_cancel(struct evr_remote *remote);

/*
 * evr_remote_wait() - sleep until it is done. Several threads may.
 * Return: 0 done, res and flags are valid; -ETIMEDOUT; -EINTR.
 */
EVR_API int evr_remote_wait(struct evr_remote *remote, uint64_t deadline_ns);

/* Done, and the driver does not touch it any more? */
static inline bool evr_remote_is_done(const struct evr_remote *remote)
{
	/* REMOTE */
	uint32_t state = evr_a32_load_acquire(&remote->state);

	return state & EVR_REMOTE_DONE && !(state & EVR_REMOTE_CANCEL);
}

#ifdef __cplusplus
}
#endif

#endif
