/* SPDX-License-Identifier: MIT */
/* What the tests of hubs in shared segments share. */
#ifndef EVERING_TEST_HUBS_SHARED_H
#define EVERING_TEST_HUBS_SHARED_H

#include "hubs.h"

static inline int open_small(void **state)
{
	return pair_open_sized(state, 1 << 20);
}

/* Few slots and few entries, so that a look at all of them is few steps. */
static inline int open_tiny(void **state)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = 128 << 10,
					       .peers_max = 3 };
	struct pair *pair = calloc(1, sizeof(*pair));

	if (!pair || evr_segment_create(&pair->segment, pair_uri(), &options) ||
	    evr_peer_attach(&pair->peer, pair->segment, NULL))
		return -1;
	*state = pair;
	return 0;
}

/* A hub of this name, and ourselves listening to it. */
static inline void listen_as(struct pair *pair, struct evr_hub *hub, const char *name)
{
	assert_int_equal(evr_hub_create(pair->peer, name, &small), 0);
	assert_int_equal(evr_hub_listen(hub, pair->peer, name, 7), 0);
}

static inline uint32_t objects(struct evr_peer *peer)
{
	struct evr_dir_info info;

	assert_int_equal(evr_dir_info(peer, &info), 0);
	assert_int_equal(info.claimed, 0);
	return info.entries;
}

#endif
