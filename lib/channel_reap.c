/* SPDX-License-Identifier: MIT */
/*
 * Channels: blocks that were sent, and not received, when both ends are past.
 *
 * A living receiver frees what a past sender has left for it, a living sender takes back
 * what a past receiver has left, and what a dead receiver had is freed as its own. When the
 * receiver has closed, and then the sender dies before it takes back, or both close at once,
 * nobody of the two is there for it: the receiver's process may live for long, and the blocks
 * are its own. Nobody will accept them, so anybody may end them, by CAS from exactly what the
 * sender wrote: who reaps, who takes an endpoint next, and the second of two that close.
 *
 * That a block is the one that a frame has sent, and still is:
 *
 *   The frame names one life of it, by the 28 bits of its handle's generation. That life ends
 *   no later than the frame is passed, save when the transfer failed, and then there is no
 *   frame (evr_bytes_uncommit()); or the receiver has accepted it, and then it is not to that
 *   one (INFLIGHT) any more when that one has let go of the channel. So a word that says
 *   that this life is on its way to the receiver was written for this frame.
 *   From whom it is does not matter, and is not compared. To whom, says the link of the sender by
 *   its full incarnation; the stamp in the word says the same as long as that slot has not
 *   gone on to one whose stamp is equal (evr_heap_stamp_has_returned()). When it has gone on, all
 *   that was on its way to the dead one was freed, before (reap.c).
 *   The frame is of the past session if the sender's role is, after the block's word was
 *   loaded, still of the same turn and not held by a living peer: who sends another block
 *   has taken the role before, and releases that with the block's word (HEAP-BLOCK). Of a
 *   dead sender this turn never comes again. Of one that has closed, it comes after 256 turns of
 *   its peer; who buries would have to stand still so long between two loads, and the
 *   last of them to be closed with as much left.
 *   A life is mistaken for another after 2^28 of the same block, as everywhere (heap.h);
 *   here, only if nobody took an endpoint of this channel all the while, and the block is
 *   on its way to that very peer.
 *
 * edges      CHAN-CLOSE  who closes writes its owner word, and then looks at the other's. With
 *                        a full barrier between the two steps on each side, the second
 *                        of two that close at once sees the first.
 */
#include <string.h>

#include "channel.h"
#include "dir.h"
#include "heap_table.h"
#include "lane.h"

/* Has nobody begun to send since, to be seen after the word of a block that is freed for it? */
static bool sender_is_past(const struct channel_burial *b)
{
	uint64_t u_owner;

	if (!b->sender)
		return true;
	u_owner = evr_a64_load_acquire(b->sender); /* LANE-ROLE */
	return owner_same_turn(u_owner, b->turn) &&
	       (owner_state(u_owner) != OWNER_HELD || owner_is_dead(b->peer, u_owner));
}

bool evr_channel_bury(const struct channel_burial *b, const struct evr_frame_view *view)
{
	struct evr_peer_id to = owner_id(b->u_link);
	struct channel_block body;
	struct evr_object object;
	struct heap_block block;
	struct heap_map map;
	uint64_t u_ctl;

	if ((view->kind & CHANNEL_KIND_MASK) != EVR_FRAME_BLOCK || !*b->heap ||
	    !channel_block_read(view->data, view->sz, &body))
		return false;
	if (evr_dir_find(b->peer, b->heap, &object) || object.kind != EVR_KIND_HEAP ||
	    evr_heap_map(&map, b->peer, &object))
		return false;
	if (heap_block_load(&map, heap_handle_off(body.handle), true, &block, &u_ctl))
		return false;
	if (u_ctl != heap_ctl(body.handle, heap_stamp(to), heap_ctl_state(u_ctl), TAG_INFLIGHT))
		return false;
	return sender_is_past(b) && !evr_heap_stamp_has_returned(b->peer, to) &&
	       evr_heap_end(&map, &block, u_ctl);
}

/* From the receiver's position on, also of what was not published. Return: how many are freed. */
static uint64_t bury_from(const struct channel_burial *b, const struct evr_bytes *stream,
			  uint64_t pos)
{
	uint64_t done, span = stream->lane.span, nr = 0;
	struct evr_frame_view view;

	/* A receiver that holds its role still has to receive them, or they are freed as its own. */
	if (channel_link_is_free(b->u_link) ||
	    (owner_state(b->receiver) == OWNER_HELD && owner_same_turn(b->receiver, b->u_link)))
		return 0;
	for (done = 0; done < span; done += view.span) {
		/* What is no frame of this very position was not written since. */
		if (!evr_bytes_look(stream, pos + done, span - done, &view))
			break;
		nr += evr_channel_bury(b, &view);
	}
	return nr;
}

void evr_channel_bury_past(struct evr_channel *ch)
{
	struct evr_bytes *tx = &ch->tx[CHANNEL_NORMAL];
	const struct channel_burial b = {
		.peer = ch->peer,
		.heap = ch->geometry.heap,
		.u_link = evr_a64_load_relaxed(&ch->mine->link), /* it came with the role */
		.receiver = evr_a64_load_acquire(tx->lane.other_owner), /* LANE-ROLE */
	};

	bury_from(&b, tx, evr_a64_load_acquire(&tx->lane.other->pos)); /* LANE-DATA */
}

void evr_channel_bury_closed(struct evr_channel *ch, uint64_t link)
{
	struct evr_bytes *tx = &ch->tx[CHANNEL_NORMAL], *rx = &ch->rx[CHANNEL_NORMAL];
	uint64_t closed = owner_with(channel_self(ch), OWNER_CLOSED), u_owner;
	struct channel_burial b = { .peer = ch->peer, .heap = ch->geometry.heap };

	evr_fence(); /* CHAN-CLOSE */
	u_owner = evr_a64_load_acquire(rx->lane.other_owner); /* LANE-ROLE */
	if (owner_state(u_owner) == OWNER_HELD && !owner_is_dead(ch->peer, u_owner))
		return;
	b.sender = tx->lane.owner;
	b.turn = closed;
	b.u_link = link;
	b.receiver = u_owner;
	bury_from(&b, tx, evr_a64_load_acquire(&tx->lane.other->pos)); /* LANE-DATA */
	b.sender = rx->lane.other_owner;
	b.turn = u_owner;
	b.u_link = evr_a64_load_acquire(&ch->other->link); /* CHAN-MEET */
	b.receiver = closed;
	bury_from(&b, rx, rx->lane.pos);
}

const struct evr_channel_tail *evr_channel_view(struct evr_peer *peer, const struct evr_object *obj,
						struct evr_bytes *streams,
						struct evr_channel_geometry *u_g)
{
	const struct evr_channel_tail *tail;
	uint64_t off = 0;
	int k;

	for (k = 0; k < 2 * CHANNEL_STREAMS; k++) {
		if (evr_lane_view(&streams[k].lane, peer, obj, off) || evr_bytes_view(&streams[k]))
			return NULL;
		off = evr_lane_end(&streams[k].lane, off);
	}
	if (obj->sz < sizeof(*tail) || off > obj->sz - sizeof(*tail))
		return NULL;
	tail = evr_peer_at(peer, obj->off + off, sizeof(*tail));
	if (!tail)
		return NULL;
	evr_copy_out(u_g, &tail->geometry, sizeof(*u_g));
	return u_g->heap[EVR_OBJECT_NAME_SZ - 1] ? NULL : tail;
}

void evr_channel_reap(struct evr_peer *peer, const struct evr_object *obj,
		      struct evr_reap_report *report)
{
	struct evr_bytes streams[2 * CHANNEL_STREAMS] = { 0 };
	struct evr_a64 *owners = evr_dir_owners(peer, obj);
	const struct evr_channel_tail *tail;
	struct evr_channel_geometry u_g;
	struct channel_burial b = { .peer = peer, .heap = u_g.heap };
	uint64_t pos;
	int k;

	tail = owners ? evr_channel_view(peer, obj, streams, &u_g) : NULL;
	/* Only the normal streams carry blocks; A sends on the even one. */
	for (k = 0; tail && k < 2; k++) {
		b.sender = &owners[k];
		b.turn = evr_a64_load_acquire(b.sender); /* LANE-ROLE */
		/* Also one that has closed: it may have died before it looked. */
		if (owner_state(b.turn) != OWNER_DEAD && !owner_is_dead(peer, b.turn))
			continue;
		b.u_link = evr_a64_load_acquire(&tail->ends[k].link); /* CHAN-MEET */
		b.receiver = evr_a64_load_acquire(&owners[!k]); /* LANE-ROLE */
		pos = evr_a64_load_acquire(&streams[k].lane.mine->pos); /* LANE-DATA */
		report->blocks += bury_from(&b, &streams[k], pos);
	}
}
