// SPDX-License-Identifier: MIT
/*
 * The loop: what other threads brought, what waits for room, what time has come for,
 * then one system call that submits, sleeps and fetches, then completions.
 */
#include "driver.h"

#include <sched.h>

/* Would the largest of what was refused be taken now? */
static bool finds_room(struct evr_driver *d)
{
	uint32_t slots = EVR_ROUND_UP(d->options.ops_max, PAGE_SLOTS) - d->slots_used;

	if (slots < d->starved_slots)
		return false;
	if (d->backlog.nr < d->options.backlog_max)
		return true;
	return !d->backlog.nr && d->credits >= d->starved_credits &&
	       (!d->ring.exists || ring_has_room(d, d->starved_slots));
}

static void tell_writable(struct evr_driver *d)
{
	if (!finds_room(d))
		return;
	d->starved = false;
	d->starved_credits = d->starved_slots = 0;
	if (d->options.on_writable)
		d->options.on_writable(d, d->options.user);
}

/* What other threads bring is to end a sleep, and nothing listens for it yet. */
static bool wake_is_due(const struct evr_driver *d)
{
	return d->wake_wanted && !d->wake_armed && d->ring.exists;
}

/* Everything but the kernel's news. Callbacks run. */
static void work(struct evr_driver *d)
{
	if (injector_has_news(d)) {
		evr_injector_drain(d);
		evr_workers_reap(d);
	}
	if (wake_is_due(d))
		evr_ring_arm_wake(d);
	if (d->cancels.nr)
		evr_ring_cancel(d);
	if (d->backlog.nr)
		evr_backlog_flush(d);
	if (d->heap_nr)
		evr_heap_fire(d);
	if (d->bells_due)
		evr_hubs_tell(d);
	if (d->done.nr)
		evr_done_flush(d);
	if (d->starved)
		tell_writable(d);
	d->due = d->heap_nr || d->done.nr || d->cancels.nr || d->backlog.nr || d->starved ||
		 d->bells_due || wake_is_due(d);
}

static inline bool is_due(const struct evr_driver *d)
{
	return d->due || injector_has_news(d);
}

/* Is there something that nobody has to wait for? */
static bool has_work(const struct evr_driver *d)
{
	/* A callback, or an op that went on to the pool, may be the first to want a wake. */
	return d->done.nr || d->bells_due || wake_is_due(d) || (d->cancels.nr && !d->cancels_out) ||
	       (d->backlog.nr && !d->in_flight);
}

/*
 * Deferred work waits for a call, and its flag is not to be relied on: a call leaves
 * what is beyond its share of it behind without one.
 */
static bool kernel_has_news(const struct evr_driver *d)
{
	const struct ring *r = &d->ring;

	if (r->setup_flags & IORING_SETUP_DEFER_TASKRUN &&
	    (d->in_flight || d->cancels_out || d->wake_armed))
		return true;
	return r->tail != r->sent ||
	       evr_a32_load_relaxed(r->sq_flags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

static bool cq_is_empty(const struct evr_driver *d)
{
	return evr_a32_load_acquire(d->ring.cq_tail) == evr_a32_load_relaxed(d->ring.cq_head);
}

/* The system call of one round, with a sleep if nothing else is to be done. */
static int enter(struct evr_driver *d, bool wait, uint64_t until_ns)
{
	bool submits;
	int err;

	if (!d->ring.exists)
		return evr_ready_wait(d, wait ? until_ns : 0);
	submits = d->ring.tail != d->ring.sent;
	err = evr_ring_enter(d, wait, until_ns);
	/* A call that has submitted says so, and not that a signal ended its sleep. */
	if (!err && wait && submits && cq_is_empty(d) &&
	    (until_ns == UINT64_MAX || evr_now_ns() < until_ns))
		err = -EINTR;
	return err;
}

static int sleep_until(struct evr_driver *d, uint64_t deadline_ns)
{
	uint64_t until_ns = heap_next_ns(d);
	bool wait;
	int err;

	if (until_ns > deadline_ns)
		until_ns = deadline_ns;
	wait = until_ns && !has_work(d) && evr_injector_sleep(d);
	err = enter(d, wait, until_ns);
	if (wait)
		injector_awake(d);
	return err;
}

/* Nothing that is under way, and nobody who could bring something. */
static bool is_idle(const struct evr_driver *d)
{
	return !d->slots_used && !d->wake_wanted;
}

/* What is there, without a sleep. */
static void look(struct evr_driver *d)
{
	if (d->ring.exists) {
		if (kernel_has_news(d))
			evr_ring_enter(d, false, 0);
		evr_ring_reap(d);
		return;
	}
	/* What one look may bring is less than the margin; without room there is none. */
	if ((d->in_flight || d->wake_wanted) && take_has_room(d))
		evr_ready_wait(d, 0);
	work(d);
}

static int run(struct evr_driver *d, uint32_t min, uint64_t deadline_ns, uint64_t start, int err)
{
	for (;;) {
		if (UNLIKELY(is_due(d)))
			work(d);
		if (d->ring.exists && !cq_is_empty(d))
			evr_ring_reap(d);
		if (d->delivered - start >= min || is_idle(d))
			break;
		if (UNLIKELY(!take_has_room(d)))
			return d->delivered != start ? (int)(d->delivered - start) : -ENOBUFS;
		if (err == -EINTR)
			return d->delivered != start ? (int)(d->delivered - start) : -EINTR;
		if (err == -ETIME && deadline_ns != UINT64_MAX && evr_now_ns() >= deadline_ns)
			break;
		if (!deadline_ns && err)
			break;
		err = sleep_until(d, deadline_ns);
		if (!deadline_ns)
			err = -ETIME;
	}
	if (!min || !d->ring.exists || d->ring.tail != d->ring.sent)
		look(d);
	return (int)(d->delivered - start);
}

int evr_run_on(struct evr_driver *d, uint32_t min, uint64_t deadline_ns, uint64_t start, int err)
{
	int ret;

	if (d->running)
		return evr_fail(-EBUSY, "driver: run from within a callback");
	d->running = true;
	ret = run(d, min, deadline_ns, start, err);
	d->running = false;
	/* A foreign loop sleeps for us. */
	if (d->foreign && !evr_injector_sleep(d))
		evr_injector_signal(d);
	return ret;
}

int evr_driver_run(struct evr_driver *d, uint32_t min, uint64_t deadline_ns)
{
	if (UNLIKELY(d->life->owner != &evr_thread_token))
		return evr_life_bad(d);
	if (LIKELY(deadline_ns == EVR_DRIVER_NO_DEADLINE && min && d->slots_used &&
		   !(d->due | d->running | d->unusual)))
		return evr_ring_turn(d, min);
	return evr_run_on(d, min, deadline_ns, d->delivered, 0);
}

/* Until nothing is left, for close. */
int evr_driver_drain(struct evr_driver *d, uint64_t deadline_ns)
{
	d->running = true;
	while (d->slots_used) {
		work(d);
		if (d->ring.exists)
			evr_ring_reap(d);
		if (!d->slots_used)
			break;
		if (!deadline_ns || (deadline_ns != UINT64_MAX && evr_now_ns() >= deadline_ns)) {
			look(d);
			work(d);
			break;
		}
		sleep_until(d, deadline_ns);
	}
	d->running = false;
	return d->slots_used ? -EBUSY : 0;
}

int evr_driver_flush(struct evr_driver *d)
{
	int err = driver_check(d);

	if (err || !d->ring.exists)
		return err;
	if (d->cancels.nr)
		evr_ring_cancel(d);
	if (d->backlog.nr)
		evr_backlog_flush(d);
	if (d->ring.tail == d->ring.sent)
		return 0;
	err = evr_ring_enter(d, false, 0);
	return err == -EINTR || err == -EAGAIN || err == -EBUSY ? 0 : err;
}

int evr_driver_fd(struct evr_driver *d)
{
	int err = driver_check(d);

	if (err)
		return err;
	d->foreign = true;
	d->unusual = true;
	d->wake_wanted = true;
	d->due = true;
	return d->ring.exists ? d->ring.uring.ring_fd : d->epoll_fd;
}

int evr_driver_next_ns(struct evr_driver *d, uint64_t *at_ns)
{
	int err = driver_check(d);

	if (err)
		return err;
	if (d->done.nr || d->cancels.nr || d->bells_due || injector_has_news(d) || wake_is_due(d) ||
	    (d->ring.exists && (d->ring.tail != d->ring.sent || !cq_is_empty(d))))
		*at_ns = 0;
	else
		*at_ns = heap_next_ns(d);
	return 0;
}
