/* SPDX-License-Identifier: MIT */
/* What the tests of hubs share, in segments of either kind: clients and what they say. */
#ifndef EVERING_TEST_HUBS_H
#define EVERING_TEST_HUBS_H

#include "pair.h"

static const struct evr_channel_options small = { .struct_sz = sizeof(small),
						  .capacity = 2048,
						  .urgent_capacity = 1024,
						  .inline_max = 64,
						  .type_tag = 7 };

/* In the default suite each sweep takes every 13th step. */
static inline uint64_t stride(void)
{
	return getenv("EVERING_TEST_LONG") ? 1 : 13;
}

static inline struct evr_peer *another(struct pair *pair)
{
	struct evr_peer *peer;

	assert_int_equal(evr_peer_attach(&peer, pair->segment, NULL), 0);
	return peer;
}

static inline int say(struct evr_channel *ch, uint64_t value)
{
	return evr_channel_send(ch, &value, sizeof(value), value);
}

static inline int64_t hear(struct evr_channel *ch)
{
	struct evr_message m;
	int err = evr_channel_recv(ch, &m);

	if (err)
		return err;
	evr_channel_release(ch, &m);
	return (int64_t)m.tag;
}

static inline void connect_one(struct evr_peer *peer, void *arg)
{
	struct evr_channel ch;

	CHECK(!evr_hub_connect(&ch, peer, "h", 7));
	CHECK(say(&ch, 1) == -ENOTCONN);
	evr_channel_close(&ch);
}

#endif
