/* SPDX-License-Identifier: MIT */
/* Channels as they are seen from outside; channel.h has the layout. */
#include <errno.h>
#include <string.h>

#include "channel.h"
#include "internal.h"
#include "object.h"

/* What one direction has moved: the ends count messages of both its streams. */
static void flow_look(struct evr_flow *flow, const struct evr_channel_end_counts *from,
		      const struct evr_channel_end_counts *to)
{
	struct evr_flow_end *in = &flow->ends[EVR_PRODUCER], *out = &flow->ends[EVR_CONSUMER];

	flow->unit_sz = 1;
	/* Relaxed: each for itself; what was taken first. */
	out->messages = evr_a64_load_relaxed(&to->received);
	in->messages = evr_a64_load_relaxed(&from->sent);
	in->blocked = evr_a64_load_relaxed(&from->full) + evr_a64_load_relaxed(&from->no_credit) +
		      evr_a64_load_relaxed(&from->no_memory);
	in->lost = evr_a64_load_relaxed(&from->lost);
	out->lost = evr_a64_load_relaxed(&to->dropped) + evr_a64_load_relaxed(&to->stale);
}

int evr_channel_object_stat(struct evr_peer *peer, const struct evr_object *obj,
			    struct evr_object_stat *out)
{
	const struct evr_channel_tail *tail = NULL;
	struct evr_channel_geometry u_g;
	struct evr_lane_geometry g;
	uint64_t off = 0;
	int err, k;

	for (k = 0; k < 2 * CHANNEL_STREAMS; k++) {
		if (!evr_lane_at(peer, obj, off, &g) || g.data_sz > obj->sz)
			return -EBADMSG;
		/* The word A holds is the producer's of lane 0: B sends on the other, so it is turned round. */
		err = k < 2 ? evr_lane_flow(peer, obj, off, k == 1, &out->flows[k]) : 0;
		if (err)
			return err;
		off += sizeof(struct evr_lane_object) + EVR_ROUND_UP(g.data_sz, EVR_LINE_SZ);
	}
	if (obj->sz >= sizeof(*tail) && off <= obj->sz - sizeof(*tail))
		tail = evr_peer_at(peer, obj->off + off, sizeof(*tail));
	if (!tail)
		return evr_fail(-EBADMSG, "channel '%s': size %llu has no room for a tail at %llu",
				obj->name, (unsigned long long)obj->sz, (unsigned long long)off);
	evr_copy_out(&u_g, &tail->geometry, sizeof(u_g));
	out->flows_nr = 2;
	for (k = 0; k < 2; k++) {
		out->flows[k].type_tag = u_g.type_tag;
		flow_look(&out->flows[k], &tail->ends[k].counts, &tail->ends[!k].counts);
	}
	return 0;
}
