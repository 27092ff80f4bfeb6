/* SPDX-License-Identifier: MIT */
/*
 * Blocks on loan, in an isolated segment. A block stays in its sender's region and heap;
 * its control word says that it is on its way to the receiver, and only the sender writes
 * it. The receiver reads the block where it is and gives it back by writing its handle in
 * its own half; the sender frees it when it finds that there.
 *
 * model      the sender knows what it has lent (lent[], private, and a copy in its half for
 *            who holds the endpoint next); the receiver knows what it has borrowed. At most
 *            EVR_CHANNEL_LENT are on loan, so there is always a word to return one in.
 * trust      sender: what is returned must be lent, else the receiver is corrupt. Receiver:
 *            where a handle lies is computed from the heap's words as they are read once,
 *            within the object that the directory names; it is never written.
 * edges      CHAN-LOAN  who returns has done with the block, writes its handle, then
 *            `returned` with release; who collects loads that with acquire, then handles.
 * progress   wait-free.
 */
#include <errno.h>
#include <string.h>

#include "channel_far.h"
#include "dir.h"
#include "heap_own.h"
#include "internal.h"

#define LENT_NONE -1

/* @handle: 0 for a free place. */
static int loan_find(const uint64_t *loans, uint64_t handle)
{
	int i;

	for (i = 0; i < EVR_CHANNEL_LENT; i++)
		if (loans[i] == handle)
			return i;
	return LENT_NONE;
}

static void lent_set(struct evr_channel_far *far, int i, uint64_t handle)
{
	far->lent[i] = handle;
	/* Relaxed: only a successor in our role reads it. */
	evr_a64_store_relaxed(&far->loans->lent[i], handle);
}

void evr_channel_lend(struct evr_channel *ch, uint64_t handle)
{
	lent_set(ch->far, loan_find(ch->far->lent, 0), handle);
}

int evr_channel_unlend(struct evr_channel *ch, uint64_t handle)
{
	int i = handle ? loan_find(ch->far->lent, handle) : LENT_NONE;
	int err;

	if (i < 0)
		return -ESTALE;
	err = ch->send_heap ? evr_heap_reclaim(ch->send_heap, handle) : -ESTALE;
	if (ch->send_heap)
		lent_set(ch->far, i, 0);
	return err;
}

/* Without a heap they stay noted, for the next bind. */
void evr_channel_unlend_all(struct evr_channel *ch)
{
	int i;

	for (i = 0; i < EVR_CHANNEL_LENT; i++)
		if (ch->far->lent[i])
			evr_channel_unlend(ch, ch->far->lent[i]);
}

void evr_channel_unlend_past(struct evr_channel *ch)
{
	struct evr_channel_far *far = ch->far;
	uint64_t handle;
	int i;

	for (i = 0; ch->send_heap && i < EVR_CHANNEL_LENT; i++) {
		handle = evr_a64_load_relaxed(&far->loans->lent[i]);
		if (!handle || far->lent[i])
			continue;
		evr_heap_reclaim(ch->send_heap, handle);
		lent_set(far, i, 0);
	}
}

/* Of what was returned, one. False: it was not on loan. */
static bool loan_collect(struct evr_channel *ch)
{
	struct evr_channel_far *far = ch->far;
	uint64_t u_handle =
		evr_a64_load_relaxed(&far->half.loans->returned[far->collected % EVR_CHANNEL_LENT]);

	if (!u_handle || loan_find(far->lent, u_handle) < 0)
		return false;
	/* -ESTALE: freed already by who reaped the receiver. */
	evr_channel_unlend(ch, u_handle);
	far->collected++;
	return true;
}

int evr_channel_collect(struct evr_channel *ch)
{
	struct evr_channel_far *far = ch->far;
	struct evr_lane *l = &ch->tx[CHANNEL_NORMAL].lane;
	uint64_t u_returned, from;

	if (!ch->mine)
		return evr_fail(-EPIPE, "this end of the channel is closed");
	if (!far || !l->met || l->corrupt)
		return l->corrupt ? -EBADMSG : 0;
	from = far->collected;
	u_returned = evr_a64_load_acquire(&ch->other->returned); /* CHAN-LOAN */
	while (far->collected != u_returned) {
		if (u_returned - far->collected <= EVR_CHANNEL_LENT && loan_collect(ch))
			continue;
		/* Of a dead one's successor in the region nothing counts. */
		if (evr_channel_far_state(ch, ch->tx) != EVR_RING_OK)
			break;
		evr_lane_corrupt(l, "the number of blocks given back, or one of them,", u_returned);
		evr_a32_store_relaxed(&ch->corrupt, 1);
		return -EBADMSG;
	}
	return (int)(far->collected - from);
}

int evr_channel_may_lend(struct evr_channel *ch)
{
	int err = evr_channel_collect(ch);

	if (err < 0)
		return err;
	return loan_find(ch->far->lent, 0) < 0 ? -ENOBUFS : 0;
}

/* The other end's heap, as it is when the first block comes. */
static bool loan_heap(struct evr_channel *ch)
{
	struct evr_channel_far *far = ch->far;
	struct evr_object object;

	if (far->has_heap)
		return true;
	if (!*ch->geometry.heap ||
	    !evr_dir_find_in(ch->peer, far->half.far.id, ch->geometry.heap, &object) ||
	    object.kind != EVR_KIND_HEAP || evr_heap_map(&far->heap, ch->peer, &object))
		return false;
	far->has_heap = true;
	return true;
}

void *evr_channel_loan_resolve(struct evr_channel *ch, uint64_t handle, uint64_t *sz)
{
	struct heap_map *map = &ch->far->heap;
	struct heap_block b;
	uint64_t u_ctl;

	if (!loan_heap(ch) || heap_block_load(map, heap_handle_off(handle), true, &b, &u_ctl))
		return NULL;
	if (u_ctl != heap_ctl(handle, map->me, heap_stamp(ch->far->half.far.id), TAG_INFLIGHT))
		return NULL;
	*sz = b.sz;
	return evr_peer_at(ch->peer, b.off, b.sz);
}

int evr_channel_borrow(struct evr_channel *ch, uint64_t handle)
{
	int i = loan_find(ch->far->borrowed, 0);

	if (i >= 0)
		ch->far->borrowed[i] = handle;
	return i;
}

bool evr_channel_has_borrowed(const struct evr_channel *ch, uint64_t loan, uint64_t handle)
{
	return handle && loan < EVR_CHANNEL_LENT && ch->far->borrowed[loan] == handle;
}

void evr_channel_return(struct evr_channel *ch, uint64_t loan)
{
	struct evr_channel_far *far = ch->far;

	evr_a64_store_relaxed(&far->loans->returned[far->returned % EVR_CHANNEL_LENT],
			      far->borrowed[loan]);
	far->borrowed[loan] = 0;
	far->returned++;
	evr_a64_store_release(&ch->mine->returned, far->returned); /* CHAN-LOAN */
}

int evr_channel_give_back(struct evr_channel *ch, uint64_t handle)
{
	int i;

	if (!ch->mine)
		return evr_fail(-EPIPE, "this end of the channel is closed");
	if (!ch->far && !ch->recv_heap)
		return evr_fail(-EINVAL, "this end of the channel has no heap to receive with");
	if (!ch->far)
		return evr_heap_free(ch->recv_heap, handle);
	i = handle ? loan_find(ch->far->borrowed, handle) : LENT_NONE;
	if (i < 0)
		return -ESTALE;
	evr_channel_return(ch, (uint64_t)i);
	/* The sender may wait for a loan, or for the memory. */
	evr_lane_ring(&ch->rx[CHANNEL_NORMAL].lane);
	return 0;
}
