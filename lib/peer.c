/* SPDX-License-Identifier: MIT */
/*
 * Peers: attach and detach, addresses, and what is known of the others.
 *
 * edges      MAPPED  evr_mapping_grow(): store-release mapped_sz -> evr_peer_at():
 *                    load-acquire mapped_sz   [the mapping below it]
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <evering/error.h>
#include <evering/peer.h>
#include <evering/reap.h>

#include "backend.h"
#include "dir.h"
#include "internal.h"
#include "port.h"
#include "reap.h"

#define PEER_FLAGS (EVR_PEER_OBSERVER | EVR_PEER_REAP_MANUAL)

static struct evr_peer *peer_new(struct evr_segment *segment)
{
	struct evr_peer *peer = calloc(1, sizeof(*peer));

	if (!peer) {
		evr_error_set("no memory for a peer handle");
		return NULL;
	}
	evr_segment_get(segment);
	peer->segment = segment;
	peer->ops = segment->ops;
	peer->fd = -1;
	peer->pid = getpid();
	peer->self.slot = EVR_SLOT_ANY;
	pthread_mutex_init(&peer->grow_lock, NULL);
	pthread_mutex_init(&peer->members_lock, NULL);
	return peer;
}

static void peer_free(struct evr_peer *peer)
{
	evr_segment_put(peer->segment);
	pthread_mutex_destroy(&peer->grow_lock);
	pthread_mutex_destroy(&peer->members_lock);
	free(peer->uses);
	evr_port_forget_all(peer);
	free(peer);
}

static int check_options(const struct evr_peer_options *options, const struct evr_segment *segment)
{
	uint32_t wanted = EVR_RIGHT_WRITE;

	if (options->flags & ~(uint32_t)PEER_FLAGS)
		return evr_fail(-EINVAL, "flags %#x: only %#x are known", options->flags,
				PEER_FLAGS);
	if (options->slot_set && options->slot >= segment->layout.peers_max)
		return evr_fail(-EINVAL, "slot is %u, this segment has slots 0 to %u",
				options->slot, segment->layout.peers_max - 1);
	if (options->flags & EVR_PEER_OBSERVER)
		wanted = EVR_RIGHT_OBSERVE;
	if (!(segment->rights & wanted))
		return evr_fail(-EACCES, "this handle has not the right to %s (rights %#x)%s",
				wanted == EVR_RIGHT_WRITE ? "write" : "observe", segment->rights,
				wanted == EVR_RIGHT_WRITE ? "; attach as observer" : "");
	return 0;
}

/* In an isolated segment others may not know how this peer sums up what they write. */
static int draw_key(struct evr_peer *peer)
{
	if (!evr_dir_is_isolated(peer))
		return 0;
	if (getrandom(&peer->turns_key, sizeof(peer->turns_key), 0) == sizeof(peer->turns_key))
		return 0;
	return evr_fail(-errno, "no random bits for a peer of an isolated segment: %s",
			strerror(errno));
}

int evr_peer_attach(struct evr_peer **out, struct evr_segment *segment,
		    const struct evr_peer_options *options)
{
	struct evr_peer_options complete;
	struct evr_peer *peer;
	int err;

	*out = NULL;
	evr_error_clear();
	err = evr_options_read(&complete, sizeof(complete), options, "struct evr_peer_options");
	if (!err)
		err = check_options(&complete, segment);
	if (err)
		return err;
	if (!complete.slot_set)
		complete.slot = EVR_SLOT_ANY;
	if (!complete.reserve_sz)
		complete.reserve_sz = segment->reserve_sz;
	peer = peer_new(segment);
	if (!peer)
		return -ENOMEM;
	err = draw_key(peer);
	if (err) {
		peer_free(peer);
		return err;
	}
	err = peer->ops->attach(peer, &complete);
	if (!err)
		err = evr_mapping_init(peer, complete.reserve_sz, complete.populate);
	if (err) {
		peer->ops->detach(peer);
		peer_free(peer);
		return err;
	}
	evr_reap_auto(peer, !(complete.flags & EVR_PEER_REAP_MANUAL));
	if (peer->rights & EVR_RIGHT_WRITE)
		evr_dir_members_reset(peer);
	/* Who comes settles what those before have left. */
	if (peer->rights & EVR_RIGHT_WRITE && evr_reap_is_auto(peer))
		evr_reap_dead(peer, NULL);
	*out = peer;
	return 0;
}

void evr_peer_detach(struct evr_peer *peer)
{
	if (!peer)
		return;
	/* A forked child has the handle, and nothing of what it stands for. */
	if (peer->pid == getpid()) {
		evr_mapping_fini(peer);
		peer->ops->detach(peer);
	}
	peer_free(peer);
}

struct evr_peer_id evr_peer_self(const struct evr_peer *peer)
{
	return peer->self;
}

struct evr_segment *evr_peer_segment(const struct evr_peer *peer)
{
	return peer->segment;
}

uint32_t evr_peer_rights(const struct evr_peer *peer)
{
	return peer->rights;
}

static bool is_within(uint64_t off, uint64_t sz, uint64_t start, uint64_t end)
{
	return off >= start && off <= end && sz <= end - off;
}

/* Is the range in one kind of region? Between regions nothing is mapped. */
static bool is_in_regions(const struct evr_layout *layout, uint64_t off, uint64_t sz)
{
	return is_within(off, sz, layout->shared_off, layout->shared_off + layout->shared_sz) ||
	       is_within(off, sz, layout->peers_off,
			 evr_layout_region(layout, layout->peers_max)) ||
	       is_within(off, sz, 0, layout->status_sz);
}

void *evr_peer_at(struct evr_peer *peer, uint64_t off, uint64_t sz)
{
	const struct evr_layout *layout = &peer->segment->layout;

	sz += !sz;
	if (is_in_regions(layout, off, sz))
		return peer->base + off;
	if (off < layout->grown_off)
		goto err_outside;
	/* MAPPED: pairs with evr_mapping_grow(). */
	if (!is_within(off, sz, layout->grown_off, evr_a64_load_acquire(&peer->mapped_sz))) {
		if (evr_mapping_grow(peer))
			return NULL;
		if (!is_within(off, sz, layout->grown_off, evr_a64_load_acquire(&peer->mapped_sz)))
			goto err_outside;
	}
	return peer->base + off;

err_outside:
	evr_error_set("%" PRIu64 " bytes at offset %" PRIu64 " are not in a region of the segment",
		      sz, off);
	return NULL;
}

int64_t evr_peer_off(const struct evr_peer *peer, const void *ptr)
{
	uint64_t off = (uint64_t)((uintptr_t)ptr - (uintptr_t)peer->base);
	const struct evr_layout *layout = &peer->segment->layout;

	if ((uintptr_t)ptr < (uintptr_t)peer->base)
		return -1;
	if (is_in_regions(layout, off, 1) ||
	    is_within(off, 1, layout->grown_off, evr_a64_load_acquire(&peer->mapped_sz)))
		return (int64_t)off;
	return -1;
}

bool evr_peer_is_writable(const struct evr_peer *peer, uint64_t off, uint64_t sz)
{
	const struct evr_layout *layout = &peer->segment->layout;
	uint64_t own;

	if (!(peer->rights & EVR_RIGHT_WRITE))
		return false;
	sz += !sz;
	own = evr_layout_region(layout, peer->self.slot);
	return is_within(off, sz, layout->shared_off, layout->shared_off + layout->shared_sz) ||
	       is_within(off, sz, own, own + layout->peer_sz) ||
	       is_within(off, sz, layout->grown_off, evr_a64_load_acquire(&peer->mapped_sz));
}

uint32_t evr_peer_state(struct evr_peer *peer, struct evr_peer_id id)
{
	uint64_t incarnation;
	uint32_t state;

	if (id.slot >= peer->segment->layout.peers_max)
		return EVR_PEER_DEAD;
	state = peer->ops->state(peer, id.slot, &incarnation);
	if (incarnation != id.incarnation || state == EVR_PEER_FREE || state == EVR_PEER_RESERVED)
		return EVR_PEER_DEAD;
	return state;
}

bool evr_peer_is_live(struct evr_peer *peer, struct evr_peer_id id)
{
	return evr_peer_state(peer, id) == EVR_PEER_LIVE;
}

void evr_peer_check(struct evr_peer *peer)
{
	peer->ops->check(peer);
}

int evr_peer_info(struct evr_peer *peer, uint32_t slot, struct evr_peer_info *info)
{
	evr_error_clear();
	memset(info, 0, sizeof(*info));
	if (slot >= peer->segment->layout.peers_max)
		return evr_fail(-EINVAL, "slot is %u, this segment has slots 0 to %u", slot,
				peer->segment->layout.peers_max - 1);
	return peer->ops->peer_info(peer, slot, info);
}

int evr_peer_list(struct evr_peer *peer, struct evr_peer_info *infos, uint32_t nr)
{
	evr_error_clear();
	return peer->ops->peers(peer->segment, infos, nr);
}

uint64_t evr_peer_generation(struct evr_peer *peer)
{
	return peer->ops->generation(peer);
}

int evr_peer_reaped(struct evr_peer *peer, struct evr_peer_id dead)
{
	if (dead.slot >= peer->segment->layout.peers_max)
		return evr_fail(-EINVAL, "slot is %u, this segment has slots 0 to %u", dead.slot,
				peer->segment->layout.peers_max - 1);
	if (!(peer->rights & EVR_RIGHT_WRITE))
		return evr_fail(-EACCES, "an observer cannot settle the dead");
	return peer->ops->reaped(peer, dead);
}
