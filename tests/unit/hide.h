/* SPDX-License-Identifier: MIT */
/*
 * A liar in an isolated segment: it writes the turns of its own region, so that all that was told
 * adds up to what it did before. To be included after pair.h.
 */
#ifndef EVERING_TEST_HIDE_H
#define EVERING_TEST_HIDE_H

#include "backend.h"
#include "dir_table.h"

/* The turns in the region of a slot. */
static inline struct evr_a64 *hide_word(struct evr_peer *peer, uint32_t slot)
{
	const struct evr_layout *layout = &peer->segment->layout;
	struct dir_header *header =
		evr_peer_at(peer, evr_layout_region(layout, slot), sizeof(*header));

	return &header->turns;
}

/* @slot: EVR_SLOT_ANY is all of them. */
static inline uint64_t hide_sum(struct evr_peer *peer, uint32_t slot)
{
	uint64_t sum = peer->ops->generation(peer);
	uint32_t i;

	for (i = 0; i < peer->segment->layout.peers_max; i++)
		if (slot == EVR_SLOT_ANY || slot == i)
			sum += evr_a64_load_relaxed(hide_word(peer, i));
	return sum;
}

static inline void hide(struct evr_peer *liar, uint32_t slot, uint64_t before)
{
	struct evr_a64 *own = hide_word(liar, evr_peer_self(liar).slot);

	evr_a64_store_release(own, evr_a64_load_relaxed(own) + before - hide_sum(liar, slot));
}

#endif
