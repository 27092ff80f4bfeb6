/* SPDX-License-Identifier: MIT */
/* What the tests of hubs in an isolated segment share: the segment, a listener, and whether two can talk. */
#ifndef EVERING_TEST_HUBS_FAR_H
#define EVERING_TEST_HUBS_FAR_H

#include "die.h"

#include "backend.h"
#include "channel.h"
#include "dir.h"
#include "dir_table.h"
#include "hubs.h"
#include "lane.h"

#define PEER_SZ (512U << 10)
#define PEERS 8

static inline int open_with(void **state, uint32_t peers, uint64_t peer_sz)
{
	steps_to_live = 0;
	steps_turn = NULL;
	return pair_open_isolated(state, peer_sz, peers);
}

static inline int open_far(void **state)
{
	return open_with(state, PEERS, PEER_SZ);
}

/* Few entries, so that a look at all of them is few steps. */
static inline int open_tiny(void **state)
{
	return open_with(state, 3, 128 << 10);
}

static inline void listen_as(struct evr_peer *peer, struct evr_hub *hub, const char *name)
{
	assert_int_equal(evr_hub_create(peer, name, &small), 0);
	assert_int_equal(evr_hub_listen(hub, peer, name, 7), 0);
}

static inline bool is_same(struct evr_peer_id id, const struct evr_peer *peer)
{
	struct evr_peer_id self = evr_peer_self(peer);

	return id.slot == self.slot && id.incarnation == self.incarnation;
}

/* Objects in this peer's own directory. */
static inline int count_own(const struct evr_object *object, void *arg)
{
	uint32_t *nr = arg;

	nr[1] += object->slot == nr[0];
	return 0;
}

static inline uint32_t objects_of(struct evr_peer *peer)
{
	uint32_t nr[2] = { evr_peer_self(peer).slot, 0 };

	assert_int_equal(evr_dir_walk(peer, count_own, nr), 0);
	return nr[1];
}

/* The client proposes, the listener's end accepts, the client sees it. */
static inline void meet(struct evr_channel *a, struct evr_channel *b)
{
	evr_channel_state(a);
	evr_channel_state(b);
	assert_int_equal(evr_channel_state(a), EVR_RING_OK);
	assert_int_equal(evr_channel_state(b), EVR_RING_OK);
}

static inline void talk(struct evr_channel *a, struct evr_channel *b)
{
	assert_int_equal(say(a, 1), 0);
	assert_int_equal(hear(b), 1);
	assert_int_equal(say(b, 2), 0);
	assert_int_equal(hear(a), 2);
}

/* A whole connection, made and ended. */
static inline void connection_works(struct evr_hub *hub, struct evr_peer *listener,
				    struct evr_peer *client)
{
	struct evr_peer_id to = evr_peer_self(listener), from;
	struct evr_channel a, b;

	assert_int_equal(evr_hub_connect_to(&a, client, hub->name, 7, &to), 0);
	assert_int_equal(evr_hub_accept(hub, &b, &from), 0);
	assert_true(is_same(from, client));
	meet(&a, &b);
	talk(&a, &b);
	evr_channel_close(&a);
	assert_int_equal(hear(&b), -EPIPE);
	evr_channel_close(&b);
}

static inline void connect_and_wait(struct evr_peer *peer, void *arg)
{
	const int *want = arg;
	struct evr_waiter waiter;
	struct evr_channel ch;
	struct evr_message m;
	int err;

	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_SLEEP));
	err = TIMELY(evr_hub_connect_wait(&ch, peer, "h", 7, &waiter, until_ns));
	/* It may have been met before it was closed. */
	CHECK(err == *want || (!err && *want == -EPIPE));
	if (err != *want) {
		CHECK(TIMELY(evr_channel_recv_wait(&ch, &waiter, &m, until_ns)) == -EPIPE);
	} else if (err) {
		CHECK(evr_channel_state(&ch) == EVR_RING_CLOSED);
	} else {
		CHECK(!say(&ch, 5));
		/* The other end takes it, and closes. */
		err = TIMELY(evr_channel_drain_wait(&ch, &waiter, until_ns));
		CHECK(!err || err == -EPIPE);
	}
	evr_channel_close(&ch);
	evr_waiter_fini(&waiter);
}

#endif
