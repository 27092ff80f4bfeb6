// SPDX-License-Identifier: MIT
/*
 * Cancellation. What the driver still holds (backlog, timers, waits on epoll, jobs no
 * thread has begun) ends here and now. What the kernel holds goes on a list, and
 * from there into the ring as soon as there is room: a cancel is never dropped, and
 * never more than a request. A job that a thread runs goes on to its own end.
 */
#include "driver.h"

/* How long the kernel is left alone with what it cannot cancel yet. */
#define AGAIN_NS 20000000

void evr_cancel_slot(struct evr_driver *d, struct slot *s, uint32_t index)
{
	bool ended = false;

	s->flags |= S_CANCEL;
	s->plain = 0;
	if (s->state == BACKLOG) {
		evr_list_remove(d, &d->backlog, index);
		if (s->flags & S_LINKED)
			evr_chain_drop(d, index);
		evr_op_finish(d, s, index, -ECANCELED, 0);
		return;
	}
	/* A member whose turn has not come: it ends when that comes. */
	if (s->state == HELD)
		return;
	switch (s->way) {
	case EVR_SUPPORT_NATIVE:
		evr_list_push(d, &d->cancels, index);
		s->flags |= S_LISTED;
		return;
	case EVR_SUPPORT_POOL:
		ended = evr_workers_unqueue(d, index);
		break;
	case EVR_SUPPORT_READY:
		evr_ready_stop(d, index);
		ended = true;
		break;
	default:
		if (s->op == EVR_OP_BELL_WAIT)
			evr_hub_leave(d, extra_at(d, index));
		evr_op_finish(d, s, index, -ECANCELED, 0);
		return;
	}
	if (!ended)
		return;
	d->in_flight--;
	evr_op_finish(d, s, index, -ECANCELED, 0);
}

/*
 * A thread of the kernel is at it, or has just left it. A disk read will end; but one that
 * finds that it would block goes to wait for its file, and knows of no cancel.
 */
void evr_cancel_later(struct evr_driver *d, struct slot *s, uint32_t index)
{
	if (!(s->flags & S_EXTRA))
		return;
	if (s->heap)
		evr_heap_remove(d, s);
	evr_heap_add(d, index, evr_now_ns() + AGAIN_NS);
}

/* Its time has come, and it is still there. */
void evr_cancel_again(struct evr_driver *d, struct slot *s, uint32_t index)
{
	if (s->state != ACTIVE || s->way != EVR_SUPPORT_NATIVE || s->flags & S_LISTED)
		return;
	s->flags |= S_LISTED;
	evr_list_push(d, &d->cancels, index);
}

int evr_driver_cancel(struct evr_driver *d, uint64_t id)
{
	int err = driver_check(d);
	uint32_t index;
	struct slot *s;

	if (err)
		return err;
	s = slot_of(d, id, &index);
	if (!s || s->state == FREE || s->state == DONE)
		return -ENOENT;
	if (s->flags & S_CANCEL)
		return -EALREADY;
	evr_cancel_slot(d, s, index);
	return 0;
}

int evr_driver_abandon(struct evr_driver *d, uint64_t id)
{
	int err = driver_check(d);
	uint32_t index;
	struct slot *s;

	if (err)
		return err;
	s = slot_of(d, id, &index);
	if (!s || s->state == FREE)
		return -ENOENT;
	if (!(s->flags & S_ABANDONED))
		d->stats.abandoned++;
	s->flags |= S_ABANDONED;
	s->plain = 0;
	if (s->state != DONE && !(s->flags & S_CANCEL))
		evr_cancel_slot(d, s, index);
	return 0;
}

static int cancel_matching(struct evr_driver *d, bool any, int fd)
{
	uint32_t index;
	struct slot *s;
	int nr = 0;

	for (index = 0; index < d->slots_nr; index++) {
		s = slot_at(d, index);
		if (s->state == FREE || s->state == DONE || s->flags & S_CANCEL)
			continue;
		if (!any && (s->fd != fd || !(evr_rows[s->op]->flags & ROW_FD)))
			continue;
		/* Nobody would be told that the file is still open. */
		if (any && s->op == EVR_OP_CLOSE && s->flags & S_BACKGROUND)
			continue;
		evr_cancel_slot(d, s, index);
		nr++;
	}
	return nr;
}

int evr_driver_cancel_fd(struct evr_driver *d, int fd)
{
	int err = driver_check(d);

	if (err)
		return err;
	return fd < 0 ? 0 : cancel_matching(d, false, fd);
}

void evr_cancel_all(struct evr_driver *d)
{
	cancel_matching(d, true, -1);
}
