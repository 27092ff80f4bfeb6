/* SPDX-License-Identifier: MIT */
/*
 * What the files of channels share.
 *
 * The object: four lanes (stream k is urgent when k > 1, and A sends on the even ones),
 * and the tail. All go by the two owner words of the object's entry; the word A holds
 * is the producer's of lane 0.
 *
 * A session, and why nothing of one is mistaken for the next:
 *
 *   An endpoint is there once its link has its own turn's session number; before, it
 *   has put its receiving positions to where nothing is left of former sessions.
 *   An endpoint sends only when its link names the other's turn.
 *   A role is not taken as long as the living holder of the other one has a link to
 *   its last holder, or was linked by that and has not said that it is past.
 *
 * edges
 *   CHAN-MEET    who takes a role writes the owner word and then looks at the other's
 *                link; who links writes its link and then looks at the owner word. With
 *                a full barrier between the two steps on each side, one sees the other.
 *                A link also publishes that its owner's credit and positions are set.
 *   CHAN-SHUT    who shuts has published all that it sent.
 *   CHAN-CREDIT  who grants has done with what it gives back.
 */
#ifndef EVERING_LIB_CHANNEL_H
#define EVERING_LIB_CHANNEL_H

#include <evering/channel.h>
#include <evering/reap.h>

#include "bytes.h"
#include "owner.h"

enum { CHANNEL_NORMAL, CHANNEL_URGENT, CHANNEL_STREAMS };

/* The data of a frame begin with it. */
struct channel_header {
	uint64_t tag;
	uint64_t id;
};

EVR_STATIC_ASSERT(sizeof(struct channel_header) == 16, "part of the shared layout");

/* What follows the header of a frame that stands for a block. */
struct channel_block {
	uint64_t handle;
	uint64_t sz;
};

/* A frame's kind is {flags but EVR_MESSAGE_URGENT:4 | enum evr_frame_kind:4}. */
#define CHANNEL_KIND_MASK 0xfU
#define CHANNEL_FLAGS_SHIFT 3
#define CHANNEL_FLAGS \
	(EVR_MESSAGE_REQUEST | EVR_MESSAGE_ANSWER | EVR_MESSAGE_CANCEL | EVR_MESSAGE_LEASE)

/* Relaxed, and no RMW: one thread writes each, and nothing is decided by it. */
static inline void channel_count(struct evr_a64 *counter, uint64_t nr)
{
	evr_a64_store_relaxed(counter, evr_a64_load_relaxed(counter) + nr);
}

/* How things stand, for the thread that uses these two streams. */
enum evr_ring_state evr_channel_look(struct evr_channel *ch, const struct evr_bytes *streams);

/* Enter the session with who is there now. Return: its owner word, HELD; 0 for nobody. */
uint64_t evr_channel_meet(struct evr_channel *ch);

/* The error of a state, with nobody there an error too. */
int evr_channel_error(enum evr_ring_state state);

/* Wake whatever thread sleeps at the other end. */
void evr_channel_wake(struct evr_channel *ch);

/* The other end can move no position any more: count what it has left of ours. */
void evr_channel_recover(struct evr_channel *ch);

/* Take and release all that has arrived. */
void evr_channel_drop(struct evr_channel *ch);

/*
 * The other end can send nothing any more, and all that it had was received: free what it
 * was about to send when it died. Its frames are written before a block is transferred.
 */
void evr_channel_drop_staged(struct evr_channel *ch);

/*
 * Free the block of a frame that went from one past holder to another and was not
 * received. Is it freed now?
 */
bool evr_channel_bury(struct evr_peer *peer, const char *heap, const struct evr_frame_view *view,
		      struct evr_peer_id from, struct evr_peer_id to);

/* For kinds.c. */
void evr_channel_reap(struct evr_peer *peer, const struct evr_object *obj,
		      struct evr_reap_report *report);

/* The handle and size in a frame that stands for a block. False: it is too short. */
static inline bool channel_block_read(const void *data, uint64_t sz, struct channel_block *block)
{
	if (sz < sizeof(struct channel_header) + sizeof(*block))
		return false;
	evr_copy_out(block, (const struct channel_header *)data + 1, sizeof(*block));
	return true;
}

/* Would evr_channel_recv() say something else than "not now"? Looks anew. */
bool evr_channel_is_ready(struct evr_channel *ch);

/* A wait has ended with this: as evr_waiter_wait() says it, in terms of rings. */
int evr_channel_waited(struct evr_channel *ch, int err);

#endif
