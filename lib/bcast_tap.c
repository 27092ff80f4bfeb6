/* SPDX-License-Identifier: MIT */
/*
 * A broadcast's part of a tap: a reader without a seat, as an observer is one. BCAST-WINDOW
 * says what of a copy was overwritten. That the memory is still the broadcast's tap.c looks.
 */
#include <errno.h>

#include "bcast.h"
#include "internal.h"
#include "tap.h"

int evr_bcast_tap_open(struct evr_tap_own *own, enum evr_tap_from from)
{
	struct evr_bcast *b = &own->bcast;
	int err;

	b->lane.peer = own->peer;
	err = evr_bcast_view(b, &own->object);
	if (err)
		return err;
	own->span = b->lane.span;
	own->unit_sz = b->elem_sz;
	if (from == EVR_TAP_OLDEST)
		evr_bcast_rewind(b);
	return 0;
}

/* Has each subscriber done with the element at pos? Of a lossy broadcast nobody is waited for. */
static bool is_released(const struct evr_bcast *b, uint64_t pos)
{
	struct evr_bcast_counts c;

	if (!b->seats_nr && !b->verdicts)
		return false;
	evr_bcast_counts(b, &c);
	return c.slowest.slot == EVR_SLOT_ANY || (int64_t)(c.pos - c.lag - pos) > 0;
}

int evr_bcast_tap_next(struct evr_tap_own *own, void *data, uint64_t max, struct evr_tap_message *m)
{
	struct evr_bcast *b = &own->bcast;
	uint64_t lost, pos, nr = b->elem_sz < max ? b->elem_sz : max;
	uint32_t tries, one;
	const void *at;

	for (tries = 0; tries < TAP_TRIES_MAX; tries++) {
		lost = b->lost;
		one = 1;
		at = evr_bcast_peek(b, &one);
		if (at && nr)
			evr_copy_out(data, at, nr);
		pos = b->lane.pos;
		one = evr_bcast_release(b, 1);
		own->skipped += b->lost - lost;
		if (one) {
			m->pos = pos;
			m->sz = b->elem_sz;
			m->released = is_released(b, pos);
			return 1;
		}
		if (!at)
			return b->lane.corrupt ? -EBADMSG : 0;
	}
	return 0;
}
