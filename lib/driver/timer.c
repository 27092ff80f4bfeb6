// SPDX-License-Identifier: MIT
/*
 * Timers, and the deadlines of all other ops: a 4-ary heap of slots by time. One place
 * for both, in every mode, so that a timer takes no SQE and no completion of the
 * kernel's, and a deadline also holds in the backlog and in the pool.
 */
#include "driver.h"

int evr_heap_reserve(struct evr_driver *d, uint32_t nr)
{
	uint32_t *heap;

	if (nr <= d->heap_max)
		return 0;
	heap = realloc(d->heap, nr * sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	d->heap = heap;
	d->heap_max = nr;
	return 0;
}

static uint64_t key(const struct evr_driver *d, uint32_t place)
{
	return extra_at(d, d->heap[place])->until_ns;
}

static void put(struct evr_driver *d, uint32_t place, uint32_t index)
{
	d->heap[place] = index;
	slot_at(d, index)->heap = place + 1;
}

static void rise(struct evr_driver *d, uint32_t place, uint32_t index)
{
	uint64_t until_ns = extra_at(d, index)->until_ns;

	while (place && key(d, (place - 1) / 4) > until_ns) {
		put(d, place, d->heap[(place - 1) / 4]);
		place = (place - 1) / 4;
	}
	put(d, place, index);
}

static void sink(struct evr_driver *d, uint32_t place, uint32_t index)
{
	uint64_t until_ns = extra_at(d, index)->until_ns;
	uint32_t child, least, last;

	for (;;) {
		child = 4 * place + 1;
		if (child >= d->heap_nr)
			break;
		last = child + 4 < d->heap_nr ? child + 4 : d->heap_nr;
		for (least = child++; child < last; child++)
			if (key(d, child) < key(d, least))
				least = child;
		if (key(d, least) >= until_ns)
			break;
		put(d, place, d->heap[least]);
		place = least;
	}
	put(d, place, index);
}

void evr_heap_add(struct evr_driver *d, uint32_t index, uint64_t until_ns)
{
	extra_at(d, index)->until_ns = until_ns;
	d->due = true;
	rise(d, d->heap_nr++, index);
}

void evr_heap_remove(struct evr_driver *d, struct slot *s)
{
	uint32_t place = s->heap - 1, last;

	s->heap = 0;
	last = d->heap[--d->heap_nr];
	if (place == d->heap_nr)
		return;
	if (place && key(d, (place - 1) / 4) > extra_at(d, last)->until_ns)
		rise(d, place, last);
	else
		sink(d, place, last);
}

static void timer_fire(struct evr_driver *d, struct slot *s, uint32_t index, uint64_t now_ns)
{
	struct extra *extra = extra_at(d, index);
	uint64_t period_ns = extra->op.x[0], until_ns = extra->until_ns;

	extra->value = 1;
	if (!period_ns) {
		evr_deliver(d, s, index, 0, 0);
		return;
	}
	/* Those that were missed are counted, not made up for. */
	extra->value += (now_ns - until_ns) / period_ns;
	until_ns += (extra->value - 1) * period_ns;
	/* Past the end of time it never comes. */
	evr_heap_add(d, index,
		     until_ns > UINT64_MAX - period_ns ? UINT64_MAX : until_ns + period_ns);
	evr_deliver(d, s, index, 0, IORING_CQE_F_MORE);
}

void evr_heap_fire(struct evr_driver *d)
{
	uint64_t now_ns = evr_now_ns();
	uint32_t nr = d->heap_nr, index;
	struct slot *s;

	/* What callbacks add waits for the next round, so that there is an end. */
	while (nr-- && heap_next_ns(d) <= now_ns && take_has_room(d)) {
		index = d->heap[0];
		s = slot_at(d, index);
		evr_heap_remove(d, s);
		if (s->op == EVR_OP_TIMER && s->state == ACTIVE) {
			timer_fire(d, s, index, now_ns);
			continue;
		}
		if (s->flags & S_CANCEL)
			evr_cancel_again(d, s, index);
		if (s->state == DONE || s->flags & S_CANCEL)
			continue;
		s->flags |= S_EXPIRED;
		evr_cancel_slot(d, s, index);
	}
}

int evr_driver_update_timer(struct evr_driver *d, uint64_t id, uint64_t deadline_ns,
			    uint64_t period_ns)
{
	int err = driver_check(d);
	uint32_t index;
	struct slot *s;

	if (err)
		return err;
	s = slot_of(d, id, &index);
	if (!s || s->op != EVR_OP_TIMER || s->state != ACTIVE)
		return -ENOENT;
	extra_at(d, index)->op.x[0] = period_ns;
	if (s->heap)
		evr_heap_remove(d, s);
	evr_heap_add(d, index, deadline_ns);
	return 0;
}

static int timer_call(struct evr_driver *d, struct extra *extra, int fd)
{
	evr_heap_add(d, extra->index, extra->op.off);
	return -EINPROGRESS;
}

static int timer_keep(struct evr_driver *d, struct extra *extra)
{
	if (!extra->op.deadline_ns)
		return 0;
	return evr_fail(-EINVAL, "op timer: deadline_ns is set, but off is when it fires");
}

const struct row evr_row_timer = {
	.name = "timer",
	.flags = ROW_INLINE | ROW_NO_RING | ROW_UNCHAINED,
	.allowed = EVR_OP_BACKGROUND,
	.keep = timer_keep,
	.call = timer_call,
};
