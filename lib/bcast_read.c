/* SPDX-License-Identifier: MIT */
/*
 * The reading end of a broadcast; include/evering/bcast.h has the model.
 *
 *     base, pos, acquire each                 what is there: [base, pos)
 *     copy
 *     acquire fence: before the look          BCAST-WINDOW
 *     base again                              what of the copy is below it is nonsense
 *
 * An observer, and a subscriber in an isolated segment, also looks whether the memory is still
 * the broadcast's. A subscriber that is not expelled is never overtaken, but goes the same way:
 * so it makes no difference to the elements which of the two one is, or becomes.
 */
#include <errno.h>
#include <string.h>

#include <evering/bell.h>

#include "bcast.h"
#include "internal.h"
#include "lane.h"
#include "park.h"
#include "reap.h"

/* Overtaken so often in one call, a reader gives up for now: it could be for ever. */
#define LAPSES_MAX 8
/* An observer's sleeps between two looks. */
#define POLL_NS_MIN 50000
#define POLL_NS_MAX 1000000

static bool is_before(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b) < 0;
}

static bool is_reader(const struct evr_bcast *b)
{
	return b->lane.mine && b->lane.role == EVR_CONSUMER && !b->lane.corrupt && !b->gone;
}

/* The writer's words are nonsense: this end is of no use from now on. */
static void read_corrupt(struct evr_bcast *b, const char *what, uint64_t value)
{
	struct evr_lane *l = &b->lane;

	/* Unless they are another object's. */
	evr_fence_acquire();
	if (!evr_bcast_is_there(b))
		return;
	l->corrupt = true;
	if (b->is_seated)
		evr_lane_count(&l->mine->counts.corrupt, 1);
	evr_error_set(
		"broadcast '%s': the writer's %s is %llu at the reader's position %llu; close it",
		l->object.name, what, (unsigned long long)value, (unsigned long long)l->pos);
}

/* Elements that this reader will never see. */
static void read_lost(struct evr_bcast *b, uint64_t nr)
{
	b->lost += nr;
	b->lapses++;
	b->lane.pos += nr;
	if (b->is_seated)
		evr_lane_count(&b->lane.mine->counts.lost, nr);
}

/* Look at the writer again. Return: elements that can be read, as far as one knows. */
static uint64_t read_refresh(struct evr_bcast *b)
{
	struct evr_lane *l = &b->lane;
	uint64_t u_base, u_pos;

	if (!is_reader(b))
		return 0;
	u_base = evr_a64_load_acquire(&l->other->base); /* BCAST-WINDOW */
	u_pos = evr_a64_load_acquire(&l->other->pos); /* LANE-DATA */
	if (is_before(u_pos, l->limit) || is_before(u_pos, u_base)) {
		read_corrupt(b, "position", u_pos);
		return 0;
	}
	l->limit = u_pos;
	if (!is_before(l->pos, u_base))
		return l->limit - l->pos;
	/* A loss is for good: it must be the broadcast that says so. */
	evr_fence_acquire(); /* BCAST-WINDOW */
	if (!evr_bcast_is_there(b))
		return 0;
	read_lost(b, u_base - l->pos);
	return l->limit - l->pos;
}

/* Of the @nr elements just looked at, how many of the first are not what was published? */
static uint32_t read_torn(struct evr_bcast *b, uint32_t nr)
{
	struct evr_lane *l = &b->lane;
	uint64_t u_base;

	evr_fence_acquire(); /* BCAST-WINDOW */
	u_base = evr_a64_load_relaxed(&l->other->base);
	if (!evr_bcast_is_there(b))
		return nr;
	if (!is_before(l->pos, u_base))
		return 0;
	return u_base - l->pos < nr ? (uint32_t)(u_base - l->pos) : nr;
}

/* @torn of @nr are lost, the rest is delivered. */
static void read_done(struct evr_bcast *b, uint32_t nr, uint32_t torn)
{
	if (torn)
		read_lost(b, torn);
	b->lane.pos += nr - torn;
	if (b->is_seated)
		evr_lane_publish(&b->lane); /* LANE-DATA */
}

/* The writer is faster than one copy: begin in the middle of what there is. */
static void read_leap(struct evr_bcast *b)
{
	struct evr_lane *l = &b->lane;
	uint64_t avail = read_refresh(b);

	if (avail > l->span)
		avail = l->span;
	if (avail > 1)
		read_lost(b, l->limit - avail / 2 - l->pos);
}

/* @nr elements from the own position on, wherever the memory ends. */
static void read_copy(const struct evr_bcast *b, uint8_t *elems, uint32_t nr)
{
	uint64_t first = b->mask + 1 - (b->lane.pos & b->mask);

	if (first > nr)
		first = nr;
	evr_copy_out(elems, evr_bcast_at(b, b->lane.pos), first * b->elem_sz);
	if (first < nr)
		evr_copy_out(elems + first * b->elem_sz, b->lane.data, (nr - first) * b->elem_sz);
}

/* How many of @nr can be read; looks anew only when it must. */
static uint32_t read_clip(struct evr_bcast *b, uint32_t nr)
{
	uint64_t avail = evr_lane_avail(&b->lane);

	if (avail < nr || !is_reader(b))
		avail = read_refresh(b);
	/* The whole ring at most: nothing is read twice. */
	if (avail > b->lane.span)
		avail = b->lane.span;
	return avail < nr ? (uint32_t)avail : nr;
}

uint32_t evr_bcast_pop(struct evr_bcast *b, void *elems, uint32_t nr)
{
	uint32_t tries, n, torn;

	b->grant_nr = 0;
	b->busy = false;
	for (tries = 0; tries < LAPSES_MAX; tries++) {
		n = read_clip(b, nr);
		if (!n)
			return 0;
		read_copy(b, elems, n);
		torn = read_torn(b, n);
		if (b->gone)
			return 0;
		if (torn < n) {
			if (torn)
				memmove(elems, (uint8_t *)elems + (uint64_t)torn * b->elem_sz,
					(uint64_t)(n - torn) * b->elem_sz);
			read_done(b, n, torn);
			return n - torn;
		}
		/* Late, it loses no more than it must; slower than the writer, it leaps. */
		if (tries)
			read_leap(b);
		else
			read_refresh(b);
	}
	b->busy = true;
	return 0;
}

const void *evr_bcast_peek(struct evr_bcast *b, uint32_t *nr)
{
	uint64_t first;
	uint32_t n;

	b->busy = false;
	/* Nobody is to look at what is known to be overwritten. */
	read_refresh(b);
	n = read_clip(b, *nr);
	first = b->mask + 1 - (b->lane.pos & b->mask);
	b->grant_nr = n < first ? n : (uint32_t)first;
	*nr = b->grant_nr;
	return b->grant_nr ? evr_bcast_at(b, b->lane.pos) : NULL;
}

uint32_t evr_bcast_release(struct evr_bcast *b, uint32_t nr)
{
	uint32_t torn;

	if (nr > b->grant_nr)
		nr = b->grant_nr;
	b->grant_nr = 0;
	if (!nr || !is_reader(b))
		return 0;
	torn = read_torn(b, nr);
	if (b->gone)
		return 0;
	read_done(b, nr, torn);
	return nr - torn;
}

int64_t evr_bcast_rewind(struct evr_bcast *b)
{
	struct evr_lane *l = &b->lane;
	uint64_t u_base, back;

	if (!is_reader(b) || b->is_seated || l->pos != b->first)
		return evr_fail(
			-EINVAL,
			"broadcast '%s': only a reader that has not begun, and has no seat, rewinds",
			l->object.name);
	u_base = evr_a64_load_acquire(&l->other->base); /* BCAST-WINDOW */
	back = l->pos - u_base;
	/* The writer may have gone on: then there is nothing left of what was before us. */
	if (is_before(l->pos, u_base) || back > l->span)
		return 0;
	l->pos = u_base;
	b->first = u_base;
	return (int64_t)back;
}

struct read_wait {
	struct evr_bcast *b;
	enum evr_ring_state state;
};

static bool read_ready(void *arg)
{
	struct read_wait *wait = arg;

	if (read_refresh(wait->b))
		return true;
	wait->state = evr_bcast_state(wait->b);
	return evr_ring_state_error(wait->state) != 0;
}

/*
 * Nobody can wake who may not write that it sleeps, nor one that the writer has not found yet:
 * of a subscriber in an isolated segment it says that it has.
 */
static int read_poll(struct evr_waiter *w, struct read_wait *wait, uint64_t deadline_ns)
{
	uint64_t slice_ns, until_ns;
	struct evr_need *need = &wait->b->lane.mine->need;
	int err;

	for (slice_ns = POLL_NS_MIN;; slice_ns *= 2) {
		if (wait->b->is_seated && evr_bcast_far_is_noted(wait->b))
			return evr_waiter_wait(w, &need, 1, read_ready, wait, deadline_ns);
		if (slice_ns > POLL_NS_MAX)
			slice_ns = POLL_NS_MAX;
		until_ns = deadline_ns ? evr_now_ns() + slice_ns : 0;
		if (until_ns > deadline_ns)
			until_ns = deadline_ns;
		err = evr_waiter_wait(w, NULL, 0, read_ready, wait, until_ns);
		if (err != -ETIMEDOUT || until_ns == deadline_ns)
			return err;
	}
}

static int read_wait(struct evr_bcast *b, struct evr_waiter *w, uint64_t deadline_ns)
{
	struct evr_lane *l = &b->lane;
	struct read_wait wait = { .b = b };
	uint64_t parks = w->counts.parks;
	int err;

	if (b->is_seated)
		evr_lane_count(&l->mine->counts.blocked, 1);
	err = b->readers ? evr_waiter_wait_crowd(w, b->readers, read_ready, &wait, deadline_ns) :
			   read_poll(w, &wait, deadline_ns);
	if (b->is_seated && w->counts.parks != parks)
		evr_lane_count(&l->mine->counts.parks, 1);
	if (err)
		return err == -EOWNERDEAD ? -ESHUTDOWN : err;
	if (wait.state == EVR_RING_PEER_DEAD && (!b->is_observer || b->is_seated))
		evr_reap_learned(l->peer,
				 l->far ? b->home : owner_id(evr_a64_load_acquire(l->other_owner)));
	return evr_ring_state_error(l->corrupt ? EVR_RING_CORRUPT : wait.state);
}

int evr_bcast_pop_wait(struct evr_bcast *b, struct evr_waiter *waiter, void *elems, uint32_t nr,
		       uint64_t deadline_ns)
{
	uint32_t n;
	int err = 0;

	if (!b->lane.mine || b->lane.role != EVR_CONSUMER)
		return evr_fail(-EPIPE, "this handle of the broadcast is %s",
				b->lane.mine ? "the writer's" : "closed");
	for (;;) {
		/* The end was seen first, so this look sees all that was published before it. */
		n = evr_bcast_pop(b, elems, nr);
		if (n || err || !nr)
			return n ? (int)n : err;
		if (b->busy && evr_now_ns() >= deadline_ns)
			return -ETIMEDOUT;
		err = read_wait(b, waiter, deadline_ns);
	}
}
