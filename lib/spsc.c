/* SPDX-License-Identifier: MIT */
/* Descriptor rings: making, opening and waiting; the rest is inline in evering/spsc.h. */
#include <errno.h>
#include <string.h>

#include <evering/spsc.h>

#include "internal.h"

#define CAPACITY_DEFAULT 1024
#define CAPACITY_MAX (1U << 31)
#define ELEM_SZ_DEFAULT 8
#define ELEM_SZ_MAX (1U << 30)

int evr_spsc_create(struct evr_peer *peer, const char *name, const struct evr_spsc_options *options)
{
	struct evr_lane_geometry g = { 0 };
	struct evr_spsc_options o;
	int err;

	err = evr_options_read(&o, sizeof(o), options, "evr_spsc_options");
	if (err)
		return err;
	g.span = o.capacity ? o.capacity : CAPACITY_DEFAULT;
	g.unit_sz = o.elem_sz ? o.elem_sz : ELEM_SZ_DEFAULT;
	g.type_tag = o.type_tag;
	if (!evr_lane_span_is_valid(g.span, 1, CAPACITY_MAX))
		return evr_fail(-EINVAL, "ring '%s': capacity %u is no power of two up to 2^31",
				name, o.capacity);
	if (g.unit_sz > ELEM_SZ_MAX)
		return evr_fail(-EINVAL, "ring '%s': elem_sz %u is more than 2^30", name,
				o.elem_sz);
	g.data_sz = g.span * g.unit_sz;
	return evr_lane_create(peer, name, EVR_KIND_SPSC, &g);
}

/* The geometry came from memory that others write. */
static int spsc_check(const struct evr_lane *l, uint64_t type_tag, uint32_t elem_sz)
{
	const struct evr_lane_geometry *g = &l->geometry;
	const char *name = l->object.name;

	if (!evr_lane_span_is_valid(g->span, 1, CAPACITY_MAX))
		return evr_fail(-EBADMSG, "ring '%s': capacity is %llu", name,
				(unsigned long long)g->span);
	if (!g->unit_sz || g->unit_sz > ELEM_SZ_MAX || g->unit_sz * g->span > g->data_sz)
		return evr_fail(-EBADMSG, "ring '%s': elem_sz is %llu, capacity %llu, data_sz %llu",
				name, (unsigned long long)g->unit_sz, (unsigned long long)g->span,
				(unsigned long long)g->data_sz);
	if (type_tag && g->type_tag && type_tag != g->type_tag)
		return evr_fail(-EINVAL, "ring '%s': type_tag is %#llx, not %#llx", name,
				(unsigned long long)g->type_tag, (unsigned long long)type_tag);
	if (elem_sz && elem_sz != g->unit_sz)
		return evr_fail(-EINVAL, "ring '%s': elements have %llu bytes, not %u", name,
				(unsigned long long)g->unit_sz, elem_sz);
	return 0;
}

int evr_spsc_open_sized(struct evr_spsc *ring, struct evr_peer *peer, const char *name,
			enum evr_role role, uint64_t type_tag, uint32_t elem_sz)
{
	struct evr_lane *l = &ring->lane;
	int err;

	memset(ring, 0, sizeof(*ring));
	err = evr_lane_open(l, peer, name, EVR_KIND_SPSC, role);
	if (err)
		return err;
	err = spsc_check(l, type_tag, elem_sz);
	if (err) {
		evr_lane_abandon(l);
		return err;
	}
	ring->mask = l->span - 1;
	ring->elem_sz = (uint32_t)l->geometry.unit_sz;
	return evr_lane_start(l);
}

int evr_spsc_open(struct evr_spsc *ring, struct evr_peer *peer, const char *name,
		  enum evr_role role, uint64_t type_tag)
{
	return evr_spsc_open_sized(ring, peer, name, role, type_tag, 0);
}

void evr_spsc_close(struct evr_spsc *ring)
{
	ring->grant_nr = 0;
	evr_lane_close(&ring->lane);
}

int evr_spsc_push_wait(struct evr_spsc *ring, struct evr_waiter *waiter, const void *elems,
		       uint32_t nr, uint64_t deadline_ns)
{
	const uint8_t *from = elems;
	uint32_t done = 0;
	int err;

	if (nr > INT32_MAX)
		nr = INT32_MAX;
	/* Room says nothing of whether anybody will take what goes there. */
	err = evr_lane_check(&ring->lane);
	while (!err && done < nr) {
		done += evr_spsc_push(ring, from + (size_t)done * ring->elem_sz, nr - done);
		if (done < nr)
			err = evr_lane_wait(&ring->lane, waiter, 1, deadline_ns);
	}
	return done || !err ? (int)done : err;
}

int evr_spsc_pop_wait(struct evr_spsc *ring, struct evr_waiter *waiter, void *elems, uint32_t nr,
		      uint64_t deadline_ns)
{
	uint32_t done;
	int err;

	if (!nr)
		return 0;
	if (nr > INT32_MAX)
		nr = INT32_MAX;
	for (;;) {
		done = evr_spsc_pop(ring, elems, nr);
		if (done)
			return (int)done;
		err = evr_lane_wait(&ring->lane, waiter, 1, deadline_ns);
		if (err)
			return err;
	}
}
