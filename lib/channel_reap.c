/* SPDX-License-Identifier: MIT */
/*
 * Channels: blocks that a dead sender had sent to an endpoint that was closed.
 *
 * A living receiver frees what a dead sender has left for it, a living sender takes back
 * what a closed receiver has left. When the receiver has closed, and then the sender dies
 * before it takes back, nobody of the two is there for it: the receiver's process may live
 * for long, and the blocks are its own. Nobody will accept them, so anybody may end them, by
 * CAS from exactly what the sender wrote.
 */
#include <string.h>

#include "channel.h"
#include "dir.h"
#include "heap_table.h"
#include "lane.h"

/* Has it died, whoever has noticed? */
static bool sender_is_dead(struct evr_peer *peer, uint64_t u_owner)
{
	return owner_state(u_owner) == OWNER_DEAD ||
	       (owner_state(u_owner) == OWNER_HELD && owner_is_dead(peer, u_owner));
}

bool evr_channel_bury(struct evr_peer *peer, const char *heap, const struct evr_frame_view *view,
		      struct evr_peer_id from, struct evr_peer_id to)
{
	struct channel_block block;
	struct evr_object object;
	struct heap_block b;
	struct heap_map map;
	uint64_t u_ctl;

	if ((view->kind & CHANNEL_KIND_MASK) != EVR_FRAME_BLOCK || !*heap ||
	    !channel_block_read(view->data, view->sz, &block))
		return false;
	if (evr_dir_find(peer, heap, &object) || object.kind != EVR_KIND_HEAP ||
	    evr_heap_map(&map, peer, &object))
		return false;
	if (heap_block_load(&map, heap_handle_off(block.handle), true, &b, &u_ctl))
		return false;
	return u_ctl == heap_ctl(block.handle, heap_stamp(to), heap_stamp(from), TAG_INFLIGHT) &&
	       evr_heap_end(&map, &b, u_ctl);
}

bool evr_channel_view(struct evr_peer *peer, const struct evr_object *obj,
		      struct evr_bytes *streams, struct evr_channel_geometry *u_g)
{
	const struct evr_channel_tail *tail;
	uint64_t off = 0;
	int k;

	for (k = 0; k < 2 * CHANNEL_STREAMS; k++) {
		if (evr_lane_view(&streams[k].lane, peer, obj, off) || evr_bytes_view(&streams[k]))
			return false;
		off = evr_lane_end(&streams[k].lane, off);
	}
	if (obj->sz < sizeof(*tail) || off > obj->sz - sizeof(*tail))
		return false;
	tail = evr_peer_at(peer, obj->off + off, sizeof(*tail));
	if (!tail)
		return false;
	evr_copy_out(u_g, &tail->geometry, sizeof(*u_g));
	return !u_g->heap[EVR_OBJECT_NAME_SZ - 1];
}

void evr_channel_reap(struct evr_peer *peer, const struct evr_object *obj,
		      struct evr_reap_report *report)
{
	struct evr_bytes streams[2 * CHANNEL_STREAMS] = { 0 };
	struct evr_a64 *owners = evr_dir_owners(peer, obj);
	struct evr_channel_geometry u_g;
	struct evr_frame_view view;
	uint64_t sender, receiver, pos, done;
	int k;

	if (!owners || !evr_channel_view(peer, obj, streams, &u_g))
		return;
	/* Only the normal streams carry blocks; A sends on the even one. */
	for (k = 0; k < 2; k++) {
		sender = evr_a64_load_acquire(&owners[k]); /* LANE-ROLE */
		receiver = evr_a64_load_acquire(&owners[!k]); /* LANE-ROLE */
		if (!sender_is_dead(peer, sender) || owner_state(receiver) != OWNER_CLOSED)
			continue;
		/* What it was about to send as well: such frames follow at once. */
		pos = evr_a64_load_acquire(&streams[k].lane.mine->pos); /* LANE-DATA */
		for (done = 0; done < streams[k].lane.span; done += view.span) {
			if (!evr_bytes_look(&streams[k], pos + done, streams[k].lane.span - done,
					    &view))
				break;
			report->blocks += evr_channel_bury(peer, u_g.heap, &view, owner_id(sender),
							   owner_id(receiver));
		}
	}
}
