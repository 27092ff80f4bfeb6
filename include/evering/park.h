/* SPDX-License-Identifier: MIT */
/*
 * Park and wake: a thread with nothing to do sleeps, and whoever gives it work
 * rings its bell, with no system call while it is awake and none lost.
 *
 * model      A need word belongs to one side of a ring. The thread that uses the
 *            side writes it (the sleeper); the other side of the ring only reads
 *            it (the waker), so in an isolated segment both lie where they may.
 *            Either may die at any step.
 * calls      one waiter, one thread. Wakers run together with all.
 * edges      PARK: the sleeper writes its need and looks for work again; the
 *            waker publishes work and looks at the need. With a full barrier
 *            between the two steps on each side, one of them sees the other
 *            (Dekker). A sleeper that has not slept for long says AWAKE; then
 *            the waker omits its barrier, and the sleeper's next park issues one
 *            on all processors instead (membarrier).
 * progress   waking is wait-free but for the system call of a ring.
 * limits     at most 62 waiters per peer, one for each bell it may claim.
 */
#ifndef EVERING_PARK_H
#define EVERING_PARK_H

#include <evering/atomic.h>
#include <evering/peer.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The word: {epoch:48 | bell:8 | state:8}, alone on its line, so that it stays
 * shared in the waker's cache until somebody parks. The epoch grows with every
 * park, hence a waker rings once for each.
 */
struct evr_need {
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 word;
	uint8_t resv[EVR_LINE_SZ - sizeof(struct evr_a64)];
};

EVR_STATIC_ASSERT(sizeof(struct evr_need) == EVR_LINE_SZ, "evr_need is part of the shared layout");

#define EVR_NEED_STATE 0xffULL
#define EVR_NEED_AWAKE 0ULL /* will not sleep before a barrier on all processors */
#define EVR_NEED_ALERT 1ULL /* may sleep at any time: bar and look after each publication */
#define EVR_NEED_ASLEEP 2ULL /* ring the bell */
#define EVR_NEED_BELL_SHIFT 8
#define EVR_NEED_EPOCH_SHIFT 16

enum evr_wait_policy {
	EVR_WAIT_ADAPTIVE, /* spin as long as spinning has paid lately, then sleep */
	EVR_WAIT_BUSY, /* never sleep */
	EVR_WAIT_SLEEP, /* never spin */
};

struct evr_wait_counts {
	uint64_t waits; /* calls that had to wait at all */
	uint64_t spins; /* of these, answered while spinning */
	uint64_t parks; /* times it went to sleep */
	uint64_t events; /* wakes for a peer event */
	uint64_t idle; /* wakes with nothing to do */
};

/* Private to one thread; the fields are not for callers, but for counts. */
struct evr_waiter {
	struct evr_peer *peer;
	enum evr_wait_policy policy;
	int bell;
	uint64_t spin_ns; /* present budget of ADAPTIVE */
	uint64_t unbarred_ns; /* of evr_waiter_arm(): no sleep beyond it; 0: none is owed */
	uint32_t patience; /* sleeps before it grows again after spinning in vain, */
	uint32_t patient; /* and how many of them are left */
	struct evr_wait_counts counts;
};

/**
 * evr_waiter_init() - make a thread able to wait
 * @w: filled in; valid until evr_waiter_fini(), which must come before the detach
 * @peer: the attachment whose bells are used
 * @policy: what to do before sleeping
 *
 * Return: 0; -ENOSPC when all bells of the peer are claimed; -EINVAL.
 */
EVR_API int evr_waiter_init(struct evr_waiter *w, struct evr_peer *peer,
			    enum evr_wait_policy policy);
EVR_API void evr_waiter_fini(struct evr_waiter *w);

/**
 * evr_waiter_wait() - wait until there is something to do
 * @w: the calling thread's waiter
 * @needs: need words of the sides whose other side may bring work
 * @nr: how many; 0 waits for peer events alone
 * @ready: true when the wait is over. Called at every look, between the steps of
 *	the protocol too: it must load the shared words anew, and not block.
 * @arg: its argument
 * @deadline_ns: absolute CLOCK_MONOTONIC; 0 looks once; EVR_NO_DEADLINE
 *
 * Sleeps also end with a peer event, then ready() is asked again; so a ready()
 * that looks at a peer's state learns of its death.
 *
 * Return: 0 when ready() was true; -ETIMEDOUT; -EINTR after a signal handler;
 * -EOWNERDEAD when the own peer has ended.
 */
EVR_API int evr_waiter_wait(struct evr_waiter *w, struct evr_need *const *needs, uint32_t nr,
			    bool (*ready)(void *), void *arg, uint64_t deadline_ns);

/**
 * evr_waiter_arm() - say that the thread is about to sleep in a loop of its own
 * @w: the calling thread's waiter
 * @needs: as for evr_waiter_wait()
 * @nr: how many
 *
 * For who waits for files and sockets too, with poll(2) on evr_bell_fd() or with
 * evr_op_bell_wait(). From now on who brings work rings one of evr_waiter_bells(); for
 * what came before nobody does: look for it once more, between this call and the sleep.
 * evr_waiter_disarm() has to follow before the next arm, and before the needs go away.
 * Deaths are bell 63, and the caller's to settle; where nobody sleeps in the library, see
 * evr_peer_check().
 *
 * Return: until when the sleep may last, absolute CLOCK_MONOTONIC: EVR_NO_DEADLINE, or 1 ms from
 * now where the kernel has come to refuse a barrier on all processors.
 */
EVR_API uint64_t evr_waiter_arm(struct evr_waiter *w, struct evr_need *const *needs, uint32_t nr);
/* evr_waiter_disarm() - the thread is awake; @needs: those of the arm. */
EVR_API void evr_waiter_disarm(struct evr_waiter *w, struct evr_need *const *needs, uint32_t nr);

/* evr_waiter_bells() - the bells that end its sleeps: its own, and bell 63. */
EVR_API uint64_t evr_waiter_bells(const struct evr_waiter *w);

/**
 * evr_need_look() - bar, then see whether the sleeper wants a bell
 * @need: the sleeper's word
 * @last_epoch: private to this waker, 0 at first; the park it has rung for last
 *
 * Return: the bell to ring, once for each park, or -1.
 */
EVR_API int evr_need_look(const struct evr_need *need, uint64_t *last_epoch);

/**
 * evr_wake() - ring a sleeper's bell if it wants that
 * @peer: own attachment
 * @need: the sleeper's word
 * @sleeper: whose bell it is
 * @last_epoch: as for evr_need_look()
 *
 * To be called after each publication. A full barrier, one load; a system call
 * only for the first publication after the sleeper has parked.
 */
EVR_API void evr_wake(struct evr_peer *peer, const struct evr_need *need,
		      struct evr_peer_id sleeper, uint64_t *last_epoch);

/**
 * evr_park_register() - let sleepers bar this process' processors
 *
 * Return: true when a waker in this process may omit its barrier for a sleeper
 * that says AWAKE; false where the kernel has no membarrier. Costs a system
 * call, the first time in a threaded process some milliseconds.
 */
EVR_API bool evr_park_register(void);

/* What a thread that wakes one of many keeps for itself. The fields are not for callers. */
struct evr_crowd_waker {
	uint32_t next; /* slot to begin with, so that all get their turn */
	uint32_t idle; /* looks in a row that found nobody */
	bool registered; /* evr_park_register() */
};

/* Must a waker bar and look? @registered: the answer of evr_park_register(). */
static inline bool evr_need_is_alert(const struct evr_need *need, bool registered)
{
	evr_compiler_fence();
	return !registered ||
	       (evr_a64_load_relaxed(&need->word) & EVR_NEED_STATE) != EVR_NEED_AWAKE;
}

#ifdef __cplusplus
}
#endif

#endif
