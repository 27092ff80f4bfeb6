/* SPDX-License-Identifier: MIT */
/* Lanes as they are seen from outside: their words are copied, and nothing is decided by them. */
#include <errno.h>
#include <string.h>

#include <evering/slots.h>

#include "dir.h"
#include "internal.h"
#include "object.h"

struct evr_lane_object *evr_lane_at(struct evr_peer *peer, const struct evr_object *obj,
				    uint64_t off, struct evr_lane_geometry *g)
{
	struct evr_lane_object *shared = NULL;

	if (obj->sz >= sizeof(*shared) && off <= obj->sz - sizeof(*shared))
		shared = evr_peer_at(peer, obj->off + off, obj->sz - off);
	if (!shared) {
		evr_error_set("ring '%s': %llu bytes have no room for a header at %llu", obj->name,
			      (unsigned long long)obj->sz, (unsigned long long)off);
		return NULL;
	}
	evr_copy_out(g, &shared->geometry, sizeof(*g));
	if (g->layout == EVR_LANE_LAYOUT)
		return shared;
	evr_error_set("ring '%s': layout is %#llx, not %#llx", obj->name,
		      (unsigned long long)g->layout, EVR_LANE_LAYOUT);
	return NULL;
}

static void end_look(const struct evr_lane_side *side, struct evr_flow_end *end)
{
	const struct evr_lane_counts *c = &side->counts;

	end->pos = evr_a64_load_acquire(&side->pos); /* LANE-DATA */
	end->messages = evr_a64_load_relaxed(&c->messages);
	end->opens = evr_a64_load_relaxed(&c->opens);
	end->blocked = evr_a64_load_relaxed(&c->blocked);
	end->parks = evr_a64_load_relaxed(&c->parks);
	end->rings = evr_a64_load_relaxed(&c->rings);
	end->corrupt = evr_a64_load_relaxed(&c->corrupt);
	end->lost = evr_a64_load_relaxed(&c->lost);
	end->sleeping = (evr_a64_load_relaxed(&side->need.word) & EVR_NEED_STATE) ==
			EVR_NEED_ASLEEP;
}

int evr_lane_flow(struct evr_peer *peer, const struct evr_object *obj, uint64_t off, bool swapped,
		  struct evr_flow *flow)
{
	const struct evr_a64 *owners = evr_dir_owners(peer, obj);
	struct evr_lane_object *shared;
	struct evr_lane_geometry g;
	int role;

	shared = evr_lane_at(peer, obj, off, &g);
	if (!shared || !owners)
		return -EBADMSG;
	flow->capacity = g.span;
	flow->type_tag = g.type_tag;
	flow->unit_sz = g.unit_sz;
	/* The consumer first: what is in the lane is never less than nothing. */
	for (role = EVR_CONSUMER; role >= EVR_PRODUCER; role--) {
		evr_end_owner(peer, evr_a64_load_acquire(&owners[role ^ swapped]), /* LANE-ROLE */
			      &flow->ends[role]);
		end_look(&shared->sides[role], &flow->ends[role]);
	}
	return 0;
}

/* A producer's position says how far it may be; how far it is say the stamps. */
static void slots_look(struct evr_peer *peer, const struct evr_object *obj, struct evr_flow *flow)
{
	uint64_t pos = flow->ends[EVR_CONSUMER].pos, end = flow->ends[EVR_PRODUCER].pos;
	struct evr_slots slots = { .slot_sz = (uint32_t)flow->unit_sz, .mask = flow->capacity - 1 };
	uint64_t room = obj->sz - sizeof(struct evr_lane_object);

	slots.lane.data = evr_peer_at(peer, obj->off + sizeof(struct evr_lane_object), room);
	if (!evr_lane_span_is_valid(flow->capacity, 1, room) || flow->unit_sz < EVR_SLOTS_LINE ||
	    flow->unit_sz % EVR_SLOTS_LINE || flow->unit_sz > room / flow->capacity ||
	    end - pos > flow->capacity)
		return;
	while (pos != end && (uint32_t)evr_a64_load_acquire(evr_slots_stamp(&slots, pos)) ==
				     (uint32_t)(pos + 1)) /* SLOT-STAMP */
		pos++;
	flow->ends[EVR_PRODUCER].pos = pos;
}

int evr_lane_object_stat(struct evr_peer *peer, const struct evr_object *obj,
			 struct evr_object_stat *out)
{
	struct evr_flow *flow = &out->flows[0];
	int err = evr_lane_flow(peer, obj, 0, false, flow);
	int role;

	if (err)
		return err;
	out->flows_nr = 1;
	if (obj->kind == EVR_KIND_SLOTS && obj->slot == EVR_SLOT_ANY)
		slots_look(peer, obj, flow);
	if (obj->kind == EVR_KIND_BYTES)
		flow->unit_sz = 1;
	for (role = 0; role < 2 && obj->kind != EVR_KIND_BYTES; role++)
		flow->ends[role].messages = flow->ends[role].pos;
	return 0;
}
