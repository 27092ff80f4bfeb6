/* SPDX-License-Identifier: MIT */
/*
 * Taps; include/evering/tap.h has the model. Here those of lanes, and the table.
 *
 * Position p lies where p + span will: it is untouched as long as the producer may not
 * go there, which is while the consumer's position is p or less. Of slots the producer says in
 * its own position how far it may be, before it writes there.
 */
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "dir.h"
#include "internal.h"
#include "object.h"

/* Where both sides are, the producer's last: it is never behind. */
struct places {
	uint64_t taken, put;
};

static struct places look(const struct evr_tap_own *own)
{
	const struct evr_lane_side *in = &own->shared->sides[EVR_PRODUCER];
	const struct evr_lane_side *out = &own->shared->sides[EVR_CONSUMER];
	bool is_half = own->object.slot != EVR_SLOT_ANY;
	struct places at;

	/* In an isolated segment the producer's half says how far all is taken. */
	at.taken = evr_a64_load_acquire(is_half ? &in->base : &out->pos); /* LANE-DATA */
	at.put = evr_a64_load_acquire(&in->pos); /* LANE-DATA */
	return at;
}

/* Was the copy of what begins at pos made before anybody could write there again? */
static bool is_whole(const struct evr_tap_own *own, bool *released)
{
	bool is_exact = own->kind->kind == EVR_KIND_SLOTS;
	struct places at;

	evr_fence(); /* the copy, then the positions */
	at = look(own);
	*released = (int64_t)(at.taken - own->pos) > 0;
	return !*released || at.put - own->pos <= (is_exact ? own->span : own->span / 2);
}

/* On with what the consumer is at, a message's beginning. False: nothing was missed. */
static bool skip(struct evr_tap_own *own)
{
	struct places at = look(own);

	if ((int64_t)(at.taken - own->pos) <= 0)
		return false;
	own->skipped += at.taken - own->pos;
	own->pos = at.taken;
	return true;
}

static int corrupt(const struct evr_tap_own *own, const char *what, uint64_t value)
{
	return evr_fail(-EBADMSG, "ring '%s': %s is %llu at position %llu of span %llu",
			own->object.name, what, (unsigned long long)value,
			(unsigned long long)own->pos, (unsigned long long)own->span);
}

static int lane_open(struct evr_tap_own *own, enum evr_tap_from from)
{
	struct evr_lane_geometry *g = &own->geometry;
	struct places at;

	own->shared = evr_lane_at(own->peer, &own->object, 0, g);
	if (!own->shared)
		return -EBADMSG;
	own->span = g->span;
	own->unit_sz = g->unit_sz;
	if (!evr_lane_span_is_valid(g->span, 1, own->object.sz) || !g->unit_sz ||
	    g->data_sz > own->object.sz - sizeof(*own->shared) ||
	    (own->kind->kind != EVR_KIND_BYTES && g->unit_sz > g->data_sz / g->span))
		return evr_fail(-EBADMSG, "ring '%s': span %llu of %llu bytes in %llu",
				own->object.name, (unsigned long long)g->span,
				(unsigned long long)g->unit_sz, (unsigned long long)g->data_sz);
	at = look(own);
	own->pos = from == EVR_TAP_NEW ? at.put : at.taken;
	return 0;
}

static void copy_some(void *to, const void *from, uint64_t sz, uint64_t max)
{
	if (sz > max)
		sz = max;
	if (sz)
		evr_copy_out(to, from, sz);
}

static int spsc_next(struct evr_tap_own *own, void *data, uint64_t max, struct evr_tap_message *m)
{
	const uint8_t *elems = (const uint8_t *)(own->shared + 1);
	struct places at;
	uint32_t tries;

	for (tries = 0; tries < TAP_TRIES_MAX; tries++) {
		at = look(own);
		if (at.put == own->pos)
			return 0;
		if (at.put - own->pos <= own->span) {
			copy_some(data, elems + (own->pos & (own->span - 1)) * own->unit_sz,
				  own->unit_sz, max);
			m->sz = own->unit_sz;
			m->pos = own->pos;
			if (is_whole(own, &m->released)) {
				own->pos++;
				return 1;
			}
		}
		if (!skip(own) && at.put - own->pos > own->span)
			return corrupt(own, "the producer's position", at.put);
	}
	return 0;
}

static int slots_open(struct evr_tap_own *own, enum evr_tap_from from)
{
	int err = lane_open(own, from);

	if (!err && (own->unit_sz % EVR_SLOTS_LINE || own->unit_sz > UINT32_MAX))
		err = corrupt(own, "the size of a slot", own->unit_sz);
	if (err)
		return err;
	own->slots.lane.data = (uint8_t *)(own->shared + 1);
	own->slots.mask = own->span - 1;
	own->slots.slot_sz = (uint32_t)own->unit_sz;
	return err;
}

static int slots_next(struct evr_tap_own *own, void *data, uint64_t max, struct evr_tap_message *m)
{
	uint64_t u_stamp;
	uint32_t tries;

	for (tries = 0; tries < TAP_TRIES_MAX; tries++) {
		u_stamp = evr_a64_load_acquire(
			evr_slots_stamp(&own->slots, own->pos)); /* SLOT-STAMP */
		if ((uint32_t)u_stamp == (uint32_t)(own->pos + 1)) {
			m->sz = u_stamp >> 32;
			m->pos = own->pos;
			if (m->sz > own->unit_sz - EVR_SLOTS_STAMP_SZ)
				return corrupt(own, "a message's size", m->sz);
			copy_some(data, evr_slots_at(&own->slots, own->pos), m->sz, max);
			if (is_whole(own, &m->released)) {
				own->pos++;
				return 1;
			}
		} else if (look(own).put - own->pos <= own->span) {
			return 0; /* the producer may be there, and has not stamped it */
		}
		if (!skip(own))
			return 0;
	}
	return 0;
}

static int bytes_open(struct evr_tap_own *own, enum evr_tap_from from)
{
	struct evr_lane *l = &own->bytes.lane;
	int err = lane_open(own, from);

	if (err)
		return err;
	l->object = own->object;
	l->geometry = own->geometry;
	l->span = own->span;
	l->data = (uint8_t *)(own->shared + 1);
	return evr_bytes_view(&own->bytes);
}

static int bytes_next(struct evr_tap_own *own, void *data, uint64_t max, struct evr_tap_message *m)
{
	struct evr_frame_view view, again;
	bool is_frame, is_kept;
	struct places at;
	uint32_t tries;

	for (tries = 0; tries < TAP_TRIES_MAX; tries++) {
		at = look(own);
		if (at.put == own->pos)
			return 0;
		is_frame = at.put - own->pos <= own->span &&
			   evr_bytes_look(&own->bytes, own->pos, at.put - own->pos, &view);
		if (is_frame)
			copy_some(data, view.data, view.sz, max);
		is_kept = is_whole(own, &m->released);
		if (is_kept && is_frame &&
		    evr_bytes_look(&own->bytes, own->pos, view.span, &again) &&
		    again.sz == view.sz) {
			m->pos = own->pos;
			m->sz = view.sz;
			m->kind = view.kind;
			own->pos += view.span;
			return 1;
		}
		if (!skip(own) && is_kept)
			return corrupt(own, "a frame", at.put);
	}
	return 0;
}

/* A kind that can be tapped is a row here. */
static const struct tap_kind kinds[] = {
	{ EVR_KIND_SPSC, lane_open, spsc_next },
	{ EVR_KIND_SLOTS, slots_open, slots_next },
	{ EVR_KIND_BYTES, bytes_open, bytes_next },
	{ EVR_KIND_LOG, evr_log_tap_open, evr_log_tap_next },
	{ EVR_KIND_BCAST, evr_bcast_tap_open, evr_bcast_tap_next },
};

static const struct tap_kind *kind_find(uint32_t kind)
{
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i].kind == kind)
			return &kinds[i];
	return NULL;
}

int evr_tap_open(struct evr_tap *tap, struct evr_peer *peer, const struct evr_object *obj,
		 enum evr_tap_from from)
{
	const struct tap_kind *kind = kind_find(obj->kind);
	struct evr_tap_own *own;
	int err;

	tap->own = NULL;
	if (from != EVR_TAP_OLDEST && from != EVR_TAP_NEW)
		return evr_fail(-EINVAL, "tap: from is %d", (int)from);
	if (!kind)
		return evr_fail(-EOPNOTSUPP, "'%s': a %s cannot be tapped", obj->name,
				evr_kind_name(obj->kind));
	own = calloc(1, sizeof(*own));
	if (!own)
		return evr_fail(-ENOMEM, "no memory for a tap");
	own->peer = peer;
	own->object = *obj;
	own->kind = kind;
	err = kind->open(own, from);
	if (err)
		free(own);
	else
		tap->own = own;
	return err;
}

void evr_tap_close(struct evr_tap *tap)
{
	free(tap->own);
	tap->own = NULL;
}

int evr_tap_next(struct evr_tap *tap, void *data, uint64_t max, struct evr_tap_message *message)
{
	struct evr_tap_own *own = tap->own;
	int ret;

	*message = (struct evr_tap_message){ 0 };
	if (!own)
		return evr_fail(-EINVAL, "the tap is closed");
	ret = own->kind->next(own, data, max, message);
	/* Its memory may serve another object by now. */
	if (!evr_dir_is_current(own->peer, &own->object))
		return evr_fail(-ENOENT, "ring '%s' was removed", own->object.name);
	if (ret == 1) {
		message->skipped = own->skipped;
		own->skipped = 0;
	}
	return ret;
}
