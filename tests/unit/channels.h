/* SPDX-License-Identifier: MIT */
/* What the tests of channels share: the channel "c" and its two ends. */
#ifndef EVERING_TEST_CHANNELS_H
#define EVERING_TEST_CHANNELS_H

#include "pair.h"

#define INLINE_MAX 200

static inline void make_channel(struct pair *pair, uint64_t messages, uint64_t bytes)
{
	struct evr_channel_options options = { .struct_sz = sizeof(options),
					       .capacity = 4096,
					       .urgent_capacity = 1024,
					       .inline_max = INLINE_MAX,
					       .window_messages = messages,
					       .window_bytes = bytes,
					       .type_tag = 77 };

	assert_int_equal(evr_channel_create(pair->peer, "c", &options), 0);
}

static inline void open_end(struct pair *pair, struct evr_channel *ch, enum evr_channel_role role)
{
	assert_int_equal(evr_channel_open(ch, pair->peer, "c", role, 77), 0);
}

static inline void open_both(struct pair *pair, struct evr_channel *a, struct evr_channel *b)
{
	open_end(pair, a, EVR_CHANNEL_A);
	open_end(pair, b, EVR_CHANNEL_B);
}

static inline void close_both(struct evr_channel *a, struct evr_channel *b)
{
	evr_channel_close(a);
	evr_channel_close(b);
}

static inline int send_value(struct evr_channel *ch, uint64_t value)
{
	return evr_channel_send(ch, &value, sizeof(value), value);
}

/* Receive and release one; its tag and value are the same. */
static inline int64_t recv_value(struct evr_channel *ch)
{
	struct evr_message m;
	int err = evr_channel_recv(ch, &m);
	uint64_t value;

	if (err)
		return err;
	assert_true(m.sz == sizeof(value));
	memcpy(&value, m.data, sizeof(value));
	assert_true(value == m.tag);
	evr_channel_release(ch, &m);
	return (int64_t)value;
}

/* What B counts of A's messages, and A itself. */
static inline void assert_conserved(const struct evr_channel *ch, uint64_t sent, uint64_t received,
			     uint64_t recovered)
{
	struct evr_channel_counts c;

	evr_channel_counts(ch, &c);
	assert_true(c.ends[EVR_CHANNEL_A].sent == sent);
	assert_true(c.ends[EVR_CHANNEL_B].received == received);
	assert_true(c.ends[EVR_CHANNEL_A].recovered == recovered);
	assert_true(c.ends[EVR_CHANNEL_A].lost == 0);
}

#endif
