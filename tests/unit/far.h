/* SPDX-License-Identifier: MIT */
/*
 * An isolated segment with two peers of this process, a and b, each with a heap "h" in
 * its own region and an end of the channel "c". To be included after step() and pair.h.
 */
#ifndef EVERING_TEST_FAR_H
#define EVERING_TEST_FAR_H

#include "backend.h"
#include "channel_far.h"
#include "dir.h"

#define FAR_PEER_SZ (128U << 10)
#define FAR_PEERS 4

static struct pair *pair;
static struct evr_peer *a, *b;
static struct evr_channel ca, cb;
static struct evr_heap ha, hb;
static struct evr_waiter wa;

static const struct evr_channel_options small_channel = { .struct_sz = sizeof(small_channel),
							  .capacity = 4096,
							  .urgent_capacity = 1024,
							  .inline_max = 64,
							  .heap = "h" };

static inline int open_far(void **state)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .flags = EVR_SEGMENT_ISOLATED,
					       .peer_sz = FAR_PEER_SZ,
					       .peers_max = FAR_PEERS };

	pair = calloc(1, sizeof(*pair));
	b = NULL;
	memset(&ca, 0, sizeof(ca));
	memset(&cb, 0, sizeof(cb));
	memset(&ha, 0, sizeof(ha));
	memset(&hb, 0, sizeof(hb));
	if (!pair || evr_segment_create(&pair->segment, pair_uri(), &options) ||
	    evr_peer_attach(&pair->peer, pair->segment, NULL) ||
	    evr_waiter_init(&wa, pair->peer, EVR_WAIT_SLEEP)) {
		fprintf(stderr, "# %s\n", evr_error_detail());
		return -1;
	}
	a = pair->peer;
	*state = pair;
	return 0;
}

static inline void leave(struct evr_peer **peer, struct evr_channel *ch, struct evr_heap *heap)
{
	evr_channel_close(ch);
	evr_heap_close(heap);
	if (peer == &b && b) {
		evr_peer_detach(b);
		b = NULL;
	}
}

static inline int close_far(void **state)
{
	leave(&b, &cb, &hb);
	leave(&a, &ca, &ha);
	evr_waiter_fini(&wa);
	return pair_close(state);
}

static inline void make_heap(struct evr_peer *peer, struct evr_heap *heap)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options), .sz = 48 << 10 };

	assert_int_equal(evr_heap_create(peer, "h", &options), 0);
	assert_int_equal(evr_heap_open(heap, peer, "h"), 0);
}

static inline void make_end(struct evr_peer *peer, struct evr_channel *ch, struct evr_heap *heap,
			    enum evr_channel_role role)
{
	assert_int_equal(evr_channel_create(peer, "c", &small_channel), 0);
	make_heap(peer, heap);
	assert_int_equal(evr_channel_open(ch, peer, "c", role, 0), 0);
	assert_int_equal(evr_channel_bind(ch, heap, NULL), 0);
}

/* Each end has to look once: A proposes, B accepts, A sees it. */
static inline void meet(struct evr_channel *x, struct evr_channel *y)
{
	evr_channel_state(x);
	evr_channel_state(y);
	assert_int_equal(evr_channel_state(x), EVR_RING_OK);
	assert_int_equal(evr_channel_state(y), EVR_RING_OK);
}

static inline void make_both(void)
{
	assert_int_equal(evr_peer_attach(&b, pair->segment, NULL), 0);
	make_end(a, &ca, &ha, EVR_CHANNEL_A);
	make_end(b, &cb, &hb, EVR_CHANNEL_B);
	meet(&ca, &cb);
}

static inline int send_value(struct evr_channel *ch, uint64_t value)
{
	return evr_channel_send(ch, &value, sizeof(value), value);
}

/* The tag, that is its content too; or why there is none. */
static inline int64_t recv_value(struct evr_channel *ch)
{
	struct evr_message m;
	int err = evr_channel_recv(ch, &m);

	if (err)
		return err;
	assert_true(m.sz >= 8 && !memcmp(m.data, &m.tag, 8));
	evr_channel_release(ch, &m);
	return (int64_t)m.tag;
}

static inline int send_block(struct evr_channel *ch, uint64_t tag)
{
	struct evr_message m;
	int err = evr_channel_alloc(ch, 500, &m);

	if (err)
		return err;
	memcpy(m.data, &tag, sizeof(tag));
	m.tag = tag;
	err = evr_channel_send_message(ch, &m);
	if (err)
		assert_int_equal(evr_heap_free(ch->send_heap, m.handle), 0);
	return err;
}

static inline uint64_t blocks_of(struct evr_heap *heap)
{
	static struct evr_heap_usage usage;

	evr_heap_usage(heap, &usage);
	return usage.blocks;
}

/* Where an address lies: in whose region? */
static inline bool is_in_region_of(struct evr_peer *reader, struct evr_peer *owner, const void *at,
				   uint64_t sz)
{
	uint64_t start = evr_layout_region(&pair->segment->layout, evr_peer_self(owner).slot);
	int64_t off = evr_peer_off(reader, at);

	return off >= 0 && (uint64_t)off >= start && sz <= FAR_PEER_SZ &&
	       (uint64_t)off - start <= FAR_PEER_SZ - sz;
}

#endif
