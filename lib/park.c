/* SPDX-License-Identifier: MIT */
/*
 * Park and wake; include/evering/park.h has the model.
 *
 * The sleeper                            The waker
 *   need = {epoch + 1, bell, ASLEEP}       publish
 *   full barrier             PARK          full barrier, omitted while need is AWAKE
 *   is there work?                         need ASLEEP, of an epoch not rung for?
 *   sleep on the bell                      ring the bell
 *   need = {epoch + 1, 0, ALERT}
 *
 * Of the two looks at least one sees what the other side wrote before. A bell
 * stays pending until it is taken, so one that comes before the sleep ends it.
 * Each sleep has an epoch of its own: a waker that has rung for the last one and
 * was not believed rings again.
 */
#include "park.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <evering/bell.h>
#include <evering/reap.h>

#include "backend.h"
#include "crowd.h"
#include "internal.h"
#include "reap.h"

/*
 * More than a park and the waking cost together: spinning longer never pays, and less
 * would not bridge the waking of the other side, so that both would fall asleep in turns.
 */
#define SPIN_NS_MAX 100000
#define SPIN_NS_MIN 1000
#define SPIN_NS_FIRST 20000
/* Sleeps without an attempt to spin for longer, after one in vain; each time twice as many. */
#define PATIENCE_FIRST 16
#define PATIENCE_MAX 1024
/* Looks between two looks at the clock, 20 ns each: it must not be what spinning is made of. */
#define SPINS_PER_CLOCK 16
/* The barrier on all processors has failed: sleep so long at most, ns, once. */
#define UNBARRED_SLEEP_NS 1000000

#define NEED(epoch, bell, state)                                                               \
	((uint64_t)(epoch) << EVR_NEED_EPOCH_SHIFT | (uint64_t)(bell) << EVR_NEED_BELL_SHIFT | \
	 (state))

#ifndef EVR_ATOMIC_MODEL
bool evr_park_register(void)
{
	return !syscall(__NR_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0);
}

bool evr_fence_all(void)
{
	return !syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
}
#endif

int evr_waiter_init(struct evr_waiter *w, struct evr_peer *peer, enum evr_wait_policy policy)
{
	*w = (struct evr_waiter){ .peer = peer, .policy = policy, .bell = -1 };
	if (policy != EVR_WAIT_ADAPTIVE && policy != EVR_WAIT_BUSY && policy != EVR_WAIT_SLEEP)
		return evr_fail(-EINVAL, "waiter: policy %d is none of enum evr_wait_policy",
				policy);
	w->bell = evr_bell_claim(peer);
	if (w->bell < 0)
		return w->bell;
	/*
	 * On one processor the other side cannot make progress while we spin. That this thread
	 * is bound to one says nothing of the other side.
	 */
	w->spin_ns = sysconf(_SC_NPROCESSORS_ONLN) == 1 ? 0 : SPIN_NS_FIRST;
	return 0;
}

void evr_waiter_fini(struct evr_waiter *w)
{
	if (w->bell >= 0)
		evr_bell_unclaim(w->peer, w->bell);
	w->bell = -1;
}

static bool waiter_may_spin(const struct evr_waiter *w)
{
	return w->policy == EVR_WAIT_BUSY || (w->policy == EVR_WAIT_ADAPTIVE && w->spin_ns);
}

/* Spinning as long as ever pays was in vain: the other side may have no processor but ours. */
static void waiter_give_up(struct evr_waiter *w)
{
	w->spin_ns = SPIN_NS_MIN;
	w->patience = w->patience ? 2 * w->patience : PATIENCE_FIRST;
	if (w->patience > PATIENCE_MAX)
		w->patience = PATIENCE_MAX;
	w->patient = w->patience;
}

/*
 * The next budget. Spinning that was answered has paid, and so would have a sleep that was
 * over soon: twice as much, for the next answer may have to wait until the other side has
 * woken up. It costs nothing as long as answers come. A wait too long to spin for halves
 * it. What even the longest budget did not get is tried again after ever more sleeps.
 */
static void waiter_learn(struct evr_waiter *w, uint64_t waited_ns, bool slept)
{
	if (w->policy != EVR_WAIT_ADAPTIVE)
		return;
	if (!slept)
		w->patience = w->patient = 0;
	if (slept && w->spin_ns == SPIN_NS_MAX)
		waiter_give_up(w);
	else if (slept && waited_ns > SPIN_NS_MAX)
		w->spin_ns = w->spin_ns / 2 > SPIN_NS_MIN ? w->spin_ns / 2 : SPIN_NS_MIN;
	else if (w->patient)
		w->patient--;
	else
		w->spin_ns = w->spin_ns < SPIN_NS_MAX / 2 ? 2 * w->spin_ns : SPIN_NS_MAX;
}

/* One call of evr_waiter_wait(), or of evr_waiter_wait_crowd(). */
struct wait {
	struct evr_need *const *needs;
	uint32_t nr;
	struct evr_crowd *crowd; /* NULL: needs alone */
	uint64_t crowd_state; /* as sitting down has left it */
	bool (*ready)(void *arg);
	void *arg;
	uint64_t deadline_ns;
};

/* An observer without a slot has nothing that could end. */
static bool waiter_has_ended(struct evr_waiter *w)
{
	struct evr_peer_id self = evr_peer_self(w->peer);

	return self.slot != EVR_SLOT_ANY && !evr_peer_is_live(w->peer, self);
}

/* Is it ready within a few looks? */
static bool waiter_looks(const struct wait *wait)
{
	int i;

	for (i = 0; i < SPINS_PER_CLOCK; i++) {
		evr_pause();
		if (wait->ready(wait->arg))
			return true;
	}
	return false;
}

/* 0 ready; -EAGAIN: sleep now; -ETIMEDOUT; -EOWNERDEAD. */
static int waiter_spin(struct evr_waiter *w, const struct wait *wait, uint64_t *start_ns)
{
	uint64_t now_ns;
	bool is_ready = waiter_looks(wait);

	/* Most answers come before a look at the clock would. */
	*start_ns = now_ns = is_ready ? 0 : evr_now_ns();
	while (!is_ready) {
		if (now_ns >= wait->deadline_ns)
			return -ETIMEDOUT;
		if (w->policy == EVR_WAIT_ADAPTIVE && now_ns - *start_ns >= w->spin_ns)
			return -EAGAIN;
		evr_peer_check(w->peer);
		if (waiter_has_ended(w))
			return evr_fail(-EOWNERDEAD, "wait: this peer has ended or was revoked");
		is_ready = waiter_looks(wait);
		now_ns = evr_now_ns();
	}
	w->counts.spins++;
	waiter_learn(w, now_ns - *start_ns, false);
	return 0;
}

/* Say in all of them that we sleep. True when a waker may have omitted its barrier. */
static bool needs_arm(struct evr_waiter *w, struct wait *wait)
{
	bool awake = wait->crowd &&
		     evr_crowd_sit(w->peer, wait->crowd, w->bell, &wait->crowd_state);
	uint64_t word;
	uint32_t i;

	for (i = 0; i < wait->nr; i++) {
		/* Relaxed: nobody but this side's owner writes it. */
		word = evr_a64_load_relaxed(&wait->needs[i]->word);
		awake |= (word & EVR_NEED_STATE) == EVR_NEED_AWAKE;
		word = NEED((word >> EVR_NEED_EPOCH_SHIFT) + 1, w->bell, EVR_NEED_ASLEEP);
		/* Release: who sees it also sees who owns this side, see evr_lane_wake(). */
		evr_a64_store_release(&wait->needs[i]->word, word); /* PARK */
	}
	return awake;
}

static void needs_disarm(struct evr_waiter *w, const struct wait *wait)
{
	uint64_t word;
	uint32_t i;

	if (wait->crowd)
		evr_crowd_stand(w->peer, wait->crowd, w->bell);
	for (i = 0; i < wait->nr; i++) {
		word = evr_a64_load_relaxed(&wait->needs[i]->word);
		word = NEED(word >> EVR_NEED_EPOCH_SHIFT, 0, EVR_NEED_ALERT);
		evr_a64_store_relaxed(&wait->needs[i]->word, word);
	}
}

/*
 * One sleep. 0: look again. Bell 63 is one for all threads of a peer, and the first
 * takes it: it is passed on, so that each asks its ready() again.
 */
static int waiter_park(struct evr_waiter *w, uint64_t deadline_ns)
{
	uint64_t own = 1ULL << w->bell;
	struct evr_bells bells = { 0 };
	int err;

	w->counts.parks++;
	err = w->peer->ops->wait(w->peer, own | 1ULL << EVR_BELL_PEER_EVENT, deadline_ns, &bells);
	if (err || !(bells.bits >> EVR_BELL_PEER_EVENT))
		return err;
	w->counts.events++;
	evr_bell_pass_on(w->peer, bells.bits, own);
	if (evr_reap_is_auto(w->peer))
		evr_reap_event(w->peer);
	return 0;
}

/*
 * Arm and bar. *@is_owed: wakers may have omitted their barrier, and ours on all
 * processors has not stood in for it yet. Return: until when we may sleep.
 */
static uint64_t waiter_arm(struct evr_waiter *w, struct wait *wait, bool *is_owed)
{
	*is_owed |= needs_arm(w, wait);
	if (!*is_owed) {
		evr_fence(); /* PARK */
		return wait->deadline_ns;
	}
	if (evr_fence_all()) { /* PARK */
		*is_owed = false;
		if (wait->crowd)
			evr_crowd_barred(wait->crowd, wait->crowd_state);
		return wait->deadline_ns;
	}
	/* Forbidden to us by now. No processor holds a store back for as long as this. */
	evr_fence();
	return evr_now_ns() + UNBARRED_SLEEP_NS;
}

static int waiter_sleep(struct evr_waiter *w, struct wait *wait)
{
	uint64_t own = 1ULL << w->bell;
	bool is_owed = false;
	uint64_t until_ns;
	int err;

	/* Before the look: who takes a bell of ours from now on passes it on. */
	evr_a64_fetch_or(&w->peer->asleep, own);
	for (;;) {
		err = 0;
		until_ns = waiter_arm(w, wait, &is_owed);
		if (wait->ready(wait->arg))
			break;
		if (until_ns > wait->deadline_ns)
			until_ns = wait->deadline_ns;
		err = waiter_park(w, until_ns);
		if (wait->ready(wait->arg)) {
			err = 0;
			break;
		}
		if (err == -ETIMEDOUT && until_ns < wait->deadline_ns) {
			is_owed = false;
			if (wait->crowd)
				evr_crowd_barred(wait->crowd, wait->crowd_state);
			continue;
		}
		if (err)
			break;
		w->counts.idle++;
	}
	needs_disarm(w, wait);
	evr_a64_fetch_and(&w->peer->asleep, ~own);
	return err;
}

static int waiter_wait(struct evr_waiter *w, struct wait *wait)
{
	uint64_t start_ns;
	int err;

	if (wait->ready(wait->arg))
		return 0;
	if (!wait->deadline_ns)
		return -ETIMEDOUT;
	w->counts.waits++;
	if (!waiter_may_spin(w))
		return waiter_sleep(w, wait);
	err = waiter_spin(w, wait, &start_ns);
	if (err != -EAGAIN)
		return err;
	err = waiter_sleep(w, wait);
	waiter_learn(w, evr_now_ns() - start_ns, true);
	return err;
}

int evr_waiter_wait(struct evr_waiter *w, struct evr_need *const *needs, uint32_t nr,
		    bool (*ready)(void *), void *arg, uint64_t deadline_ns)
{
	struct wait wait = {
		.needs = needs, .nr = nr, .ready = ready, .arg = arg, .deadline_ns = deadline_ns
	};

	return waiter_wait(w, &wait);
}

int evr_waiter_wait_crowd(struct evr_waiter *w, struct evr_crowd *crowd, bool (*ready)(void *),
			  void *arg, uint64_t deadline_ns)
{
	struct wait wait = {
		.crowd = crowd, .ready = ready, .arg = arg, .deadline_ns = deadline_ns
	};

	return waiter_wait(w, &wait);
}

uint64_t evr_waiter_bells(const struct evr_waiter *w)
{
	return 1ULL << w->bell | 1ULL << EVR_BELL_PEER_EVENT;
}

uint64_t evr_waiter_arm(struct evr_waiter *w, struct evr_need *const *needs, uint32_t nr)
{
	struct wait wait = { .needs = needs, .nr = nr, .deadline_ns = EVR_NO_DEADLINE };
	bool is_owed = false;
	uint64_t until_ns = waiter_arm(w, &wait, &is_owed);

	/* The words do not say AWAKE any more, but a waker may have seen them do so just now. */
	if (is_owed)
		w->unbarred_ns = until_ns;
	else if (w->unbarred_ns && evr_now_ns() >= w->unbarred_ns)
		w->unbarred_ns = 0;
	return w->unbarred_ns ? w->unbarred_ns : EVR_NO_DEADLINE;
}

void evr_waiter_disarm(struct evr_waiter *w, struct evr_need *const *needs, uint32_t nr)
{
	struct wait wait = { .needs = needs, .nr = nr };

	needs_disarm(w, &wait);
}

int evr_need_look(const struct evr_need *need, uint64_t *last_epoch)
{
	uint64_t u_word, bell;

	evr_fence(); /* PARK */
	u_word = evr_a64_load_acquire(&need->word);
	if ((u_word & EVR_NEED_STATE) != EVR_NEED_ASLEEP)
		return -1;
	if (u_word >> EVR_NEED_EPOCH_SHIFT == *last_epoch)
		return -1;
	bell = u_word >> EVR_NEED_BELL_SHIFT & 0xff;
	if (bell >= EVR_BELLS_CLAIM)
		return -1;
	*last_epoch = u_word >> EVR_NEED_EPOCH_SHIFT;
	return (int)bell;
}

void evr_wake(struct evr_peer *peer, const struct evr_need *need, struct evr_peer_id sleeper,
	      uint64_t *last_epoch)
{
	int bell = evr_need_look(need, last_epoch);

	/* -ESTALE: it died in its sleep. Nobody is there to be woken. */
	if (bell >= 0)
		evr_bell_ring(peer, sleeper, 1ULL << bell);
}
