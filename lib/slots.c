/* SPDX-License-Identifier: MIT */
/*
 * Low-latency rings: making, opening, waiting and what is rare; the rest is inline in
 * evering/slots.h.
 *
 * A producer stores its position before the stamps that it goes up to, so it says how far
 * a dead one may have come, and the stamps how far it has: its successor goes on at the
 * first slot that is not stamped.
 */
#include <errno.h>
#include <string.h>

#include <evering/slots.h>

#include "internal.h"
#include "lane.h"

#define SLOTS_CAPACITY_DEFAULT 64
#define SLOTS_CAPACITY_MAX (1U << 31)
#define SLOTS_MSG_DEFAULT (EVR_SLOTS_LINE - EVR_SLOTS_STAMP_SZ)
#define SLOTS_SLOT_MAX (1U << 20)

int evr_slots_create(struct evr_peer *peer, const char *name,
		     const struct evr_slots_options *options)
{
	struct evr_lane_geometry g = { 0 };
	struct evr_slots_options o;
	int err;

	err = evr_options_read(&o, sizeof(o), options, "evr_slots_options");
	if (err)
		return err;
	g.span = o.capacity ? o.capacity : SLOTS_CAPACITY_DEFAULT;
	if (!evr_lane_span_is_valid(g.span, 1, SLOTS_CAPACITY_MAX))
		return evr_fail(-EINVAL, "ring '%s': capacity %u is no power of two up to 2^31",
				name, o.capacity);
	if (o.msg_max > SLOTS_SLOT_MAX - EVR_SLOTS_STAMP_SZ)
		return evr_fail(-EINVAL, "ring '%s': msg_max %u is more than 2^20 - 8", name,
				o.msg_max);
	g.unit_sz = EVR_ROUND_UP((o.msg_max ? o.msg_max : SLOTS_MSG_DEFAULT) + EVR_SLOTS_STAMP_SZ,
				 EVR_SLOTS_LINE);
	g.type_tag = o.type_tag;
	g.data_sz = g.span * g.unit_sz;
	return evr_lane_create(peer, name, EVR_KIND_SLOTS, &g);
}

/* The geometry came from memory that others write. */
static int slots_check(const struct evr_lane *l, uint64_t type_tag, uint32_t msg_sz)
{
	const struct evr_lane_geometry *g = &l->geometry;
	const char *name = l->object.name;

	if (!evr_lane_span_is_valid(g->span, 1, SLOTS_CAPACITY_MAX))
		return evr_fail(-EBADMSG, "ring '%s': capacity is %llu", name,
				(unsigned long long)g->span);
	if (!g->unit_sz || g->unit_sz > SLOTS_SLOT_MAX || g->unit_sz % EVR_SLOTS_LINE ||
	    g->unit_sz * g->span > g->data_sz)
		return evr_fail(-EBADMSG, "ring '%s': slot_sz is %llu, capacity %llu, data_sz %llu",
				name, (unsigned long long)g->unit_sz, (unsigned long long)g->span,
				(unsigned long long)g->data_sz);
	if (type_tag && g->type_tag && type_tag != g->type_tag)
		return evr_fail(-EINVAL, "ring '%s': type_tag is %#llx, not %#llx", name,
				(unsigned long long)g->type_tag, (unsigned long long)type_tag);
	if (msg_sz > g->unit_sz - EVR_SLOTS_STAMP_SZ)
		return evr_fail(-EINVAL, "ring '%s': messages have at most %llu bytes, not %u",
				name, (unsigned long long)(g->unit_sz - EVR_SLOTS_STAMP_SZ),
				msg_sz);
	return 0;
}

/* We hold the producer's role: go on where the stamps end. */
static void slots_resume(struct evr_slots *slots)
{
	struct evr_lane *l = &slots->lane;
	uint64_t end = evr_a64_load_relaxed(&l->mine->pos); /* it came with the role */
	uint64_t u_pos = evr_a64_load_acquire(l->far ? &l->mine->base : &l->other->pos);

	/* Nonsense is found by evr_lane_start(). */
	if (end - u_pos > l->span)
		return;
	while (u_pos != end && (uint32_t)evr_a64_load_relaxed(evr_slots_stamp(slots, u_pos)) ==
				       (uint32_t)(u_pos + 1))
		u_pos++;
	evr_a64_store_relaxed(&l->mine->pos, u_pos);
}

int evr_slots_open_sized(struct evr_slots *slots, struct evr_peer *peer, const char *name,
			 enum evr_role role, uint64_t type_tag, uint32_t msg_sz)
{
	struct evr_lane *l = &slots->lane;
	int err;

	memset(slots, 0, sizeof(*slots));
	err = evr_lane_open(l, peer, name, EVR_KIND_SLOTS, role);
	if (err)
		return err;
	err = slots_check(l, type_tag, msg_sz);
	if (err) {
		evr_lane_abandon(l);
		return err;
	}
	slots->mask = l->span - 1;
	slots->slot_sz = (uint32_t)l->geometry.unit_sz;
	slots->msg_max = slots->slot_sz - EVR_SLOTS_STAMP_SZ;
	slots->tell_nr = (uint32_t)(l->span / 4);
	if (role == EVR_PRODUCER)
		slots_resume(slots);
	err = evr_lane_start(l);
	slots->told = l->pos;
	return err;
}

int evr_slots_open(struct evr_slots *slots, struct evr_peer *peer, const char *name,
		   enum evr_role role, uint64_t type_tag)
{
	return evr_slots_open_sized(slots, peer, name, role, type_tag, 0);
}

void evr_slots_close(struct evr_slots *slots)
{
	slots->granted = false;
	if (slots->lane.role == EVR_CONSUMER)
		evr_slots_flush(slots);
	evr_lane_close(&slots->lane);
}

bool evr_lane_slots_look(struct evr_slots *slots)
{
	struct evr_lane *l = &slots->lane;

	if (l->corrupt || !l->mine)
		return false;
	if (!l->far)
		return true;
	evr_lane_refresh(l);
	return l->met && !l->corrupt;
}

bool evr_lane_slots_accept(struct evr_slots *slots, uint64_t u_stamp)
{
	struct evr_lane *l = &slots->lane;

	/* Of two halves it may be a successor's word. */
	if (!evr_lane_vouch(l))
		return false;
	if (u_stamp >> 32 <= slots->msg_max)
		return true;
	evr_lane_corrupt(l, "a message's size", u_stamp >> 32);
	return false;
}

/* Available to a consumer: what is stamped, whatever the producer's position says. */
static uint64_t slots_stamped(struct evr_lane *l)
{
	struct evr_slots *slots = (struct evr_slots *)l; /* its first member */
	uint32_t sz;

	return evr_slots_peek(slots, &sz) ? 1 : 0;
}

EVR_STATIC_ASSERT(offsetof(struct evr_slots, lane) == 0, "slots_stamped() rests on it");

int evr_slots_push_wait(struct evr_slots *slots, struct evr_waiter *waiter, const void *msg,
			uint32_t sz, uint64_t deadline_ns)
{
	int err;

	if (sz > slots->msg_max)
		return evr_fail(-EMSGSIZE, "ring '%s': a message of %u bytes, at most %u fit",
				slots->lane.object.name, sz, slots->msg_max);
	/* Room says nothing of whether anybody will take what goes there. */
	err = evr_lane_check(&slots->lane);
	while (!err && !evr_slots_push(slots, msg, sz))
		err = evr_lane_wait(&slots->lane, waiter, 1, deadline_ns);
	return err;
}

int evr_slots_peek_wait(struct evr_slots *slots, struct evr_waiter *waiter, uint64_t deadline_ns,
			const void **out, uint32_t *sz)
{
	int err;

	for (;;) {
		*sz = 0;
		*out = evr_slots_peek(slots, sz);
		if (*out)
			return 0;
		err = evr_lane_wait_look(&slots->lane, waiter, slots_stamped, 1, deadline_ns);
		if (err)
			return err;
	}
}

int evr_slots_pop_wait(struct evr_slots *slots, struct evr_waiter *waiter, void *msg, uint32_t max,
		       uint64_t deadline_ns)
{
	const void *from;
	uint32_t sz;
	int err;

	do {
		err = evr_slots_peek_wait(slots, waiter, deadline_ns, &from, &sz);
		if (err)
			return err;
		if (sz > max)
			return evr_fail(-EMSGSIZE,
					"ring '%s': the message has %u bytes, room for %u",
					slots->lane.object.name, sz, max);
		evr_copy_out(msg, from, sz);
	} while (!evr_slots_release(slots));
	return (int)sz;
}
