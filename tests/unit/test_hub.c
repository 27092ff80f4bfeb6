/* SPDX-License-Identifier: MIT */
/*
 * Hubs: listen, connect, accept; 255 processes at one listener, any peer with any other,
 * and either side killed before its n-th access to shared memory, for each n.
 *
 * Mutants seen to fail here: a request that is released before its endpoint is held; a
 * request that is looked at whatever its turn; one for an endpoint that another holds
 * which stays at the head; a connect that takes number 0 alone; a wait without the inbox; needs without the lanes.
 */
#include "die.h"

#include <sys/eventfd.h>

#include "dir.h"
#include "hubs.h"

static int open_small(void **state)
{
	return pair_open_sized(state, 1 << 20);
}

/* Few slots and few entries, so that a look at all of them is few steps. */
static int open_tiny(void **state)
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
static void listen_as(struct pair *pair, struct evr_hub *hub, const char *name)
{
	assert_int_equal(evr_hub_create(pair->peer, name, &small), 0);
	assert_int_equal(evr_hub_listen(hub, pair->peer, name, 7), 0);
}

static uint32_t objects(struct evr_peer *peer)
{
	struct evr_dir_info info;

	assert_int_equal(evr_dir_info(peer, &info), 0);
	assert_int_equal(info.claimed, 0);
	return info.entries;
}

static void hub_connection_is_a_channel(void **state)
{
	struct pair *pair = *state;
	struct evr_peer *peer = another(pair);
	struct evr_peer_id from = { 99, 99 };
	struct evr_channel a, b, none;
	struct evr_hub hub;

	listen_as(pair, &hub, "h");
	memset(&none, 0xee, sizeof(none));
	assert_int_equal(evr_hub_accept(&hub, &none, &from), -EAGAIN);
	assert_int_equal(evr_channel_state(&none), EVR_RING_CLOSED);
	assert_int_equal(from.slot, EVR_SLOT_ANY);
	assert_int_equal(evr_hub_connect(&a, peer, "h", 7), 0);
	assert_int_equal(say(&a, 1), -ENOTCONN);
	assert_int_equal(evr_hub_accept(&hub, &b, &from), 0);
	assert_true(from.slot == evr_peer_self(peer).slot &&
		    from.incarnation == evr_peer_self(peer).incarnation);
	assert_int_equal(evr_hub_accept(&hub, &none, NULL), -EAGAIN);
	assert_int_equal(say(&a, 1), 0);
	assert_int_equal(hear(&b), 1);
	assert_int_equal(say(&b, 2), 0);
	assert_int_equal(hear(&a), 2);
	assert_int_equal(hub.accepted, 1);
	assert_int_equal(hub.stale, 0);
	/* A connection outlives its hub. */
	evr_hub_close(&hub);
	evr_hub_close(&hub);
	assert_int_equal(evr_hub_accept(&hub, &none, NULL), -EPIPE);
	assert_int_equal(evr_hub_remove(pair->peer, "h"), 0);
	assert_int_equal(say(&a, 3), 0);
	assert_int_equal(hear(&b), 3);
	evr_channel_close(&a);
	assert_int_equal(hear(&b), -EPIPE);
	evr_channel_close(&b);
	evr_peer_detach(peer);
}

static void hub_names_and_kinds_are_checked(void **state)
{
	static const char longest[] = "123456789012345678901234",
			  longer[] = "1234567890123456789012345";
	struct evr_channel_options bad = small;
	struct pair *pair = *state;
	struct evr_channel ch;
	struct evr_hub hub;

	assert_int_equal(sizeof(longest) - 1, EVR_HUB_NAME_MAX);
	assert_int_equal(evr_hub_create(pair->peer, "", &small), -EINVAL);
	assert_int_equal(evr_hub_create(pair->peer, NULL, &small), -EINVAL);
	assert_int_equal(evr_hub_create(pair->peer, longer, &small), -EINVAL);
	bad.capacity = 3000;
	assert_int_equal(evr_hub_create(pair->peer, "h", &bad), -EINVAL);
	bad.struct_sz = 1;
	assert_int_equal(evr_hub_create(pair->peer, "h", &bad), -EINVAL);
	assert_int_equal(objects(pair->peer), 0);
	assert_int_equal(evr_hub_listen(&hub, pair->peer, "h", 0), -ENOENT);
	assert_int_equal(evr_hub_connect(&ch, pair->peer, "h", 0), -ENOENT);
	assert_int_equal(evr_hub_remove(pair->peer, "h"), -ENOENT);
	assert_int_equal(evr_channel_create(pair->peer, "c", NULL), 0);
	assert_int_equal(evr_hub_create(pair->peer, "c", &small), -EEXIST);
	assert_int_equal(evr_hub_listen(&hub, pair->peer, "c", 0), -EINVAL);
	assert_int_equal(evr_hub_connect(&ch, pair->peer, "c", 0), -EINVAL);
	assert_int_equal(evr_hub_remove(pair->peer, "c"), -EINVAL);
	assert_int_equal(evr_hub_create(pair->peer, longest, &small), 0);
	assert_int_equal(evr_hub_create(pair->peer, longest, &small), -EEXIST);
	assert_int_equal(evr_hub_connect(&ch, pair->peer, longest, 8), -EINVAL);
	assert_int_equal(evr_hub_connect(&ch, pair->peer, longest, 7), 0);
	evr_channel_close(&ch);
	assert_int_equal(evr_hub_remove(pair->peer, longest), 0);
	assert_int_equal(objects(pair->peer), 1);
	/* All defaults, and any type. */
	assert_int_equal(evr_hub_create(pair->peer, "h", NULL), 0);
	assert_int_equal(evr_hub_connect(&ch, pair->peer, "h", 9), 0);
	evr_channel_close(&ch);
	assert_int_equal(evr_hub_remove(pair->peer, "h"), 0);
}

static void hub_one_listens_at_a_time(void **state)
{
	struct pair *pair = *state;
	struct evr_peer *peer = another(pair);
	struct evr_hub hub, second;

	listen_as(pair, &hub, "h");
	assert_int_equal(evr_hub_listen(&second, peer, "h", 7), -EBUSY);
	assert_int_equal(evr_hub_remove(peer, "h"), -EBUSY);
	evr_hub_close(&hub);
	assert_int_equal(evr_hub_listen(&second, peer, "h", 7), 0);
	evr_hub_close(&second);
	evr_peer_detach(peer);
}

static void hub_peer_has_so_many_connections(void **state)
{
	struct evr_channel a[EVR_HUB_EACH + 1], b[EVR_HUB_EACH + 1];
	struct pair *pair = *state;
	struct evr_peer *peer = another(pair);
	struct evr_hub hub;
	uint32_t nr, i;

	listen_as(pair, &hub, "h");
	for (i = 0; i < EVR_HUB_EACH; i++)
		assert_int_equal(evr_hub_connect(&a[i], peer, "h", 7), 0);
	assert_int_equal(evr_hub_connect(&a[i], peer, "h", 7), -EBUSY);
	for (i = 0; i < EVR_HUB_EACH; i++)
		assert_int_equal(evr_hub_accept(&hub, &b[i], NULL), 0);
	/* Each is its own. */
	for (i = 0; i < EVR_HUB_EACH; i++)
		assert_int_equal(say(&a[i], i + 1), 0);
	for (i = 0; i < EVR_HUB_EACH; i++)
		assert_int_equal(hear(&b[i]), i + 1);
	nr = objects(pair->peer);
	/* One that the listener has not let go of is none yet. */
	evr_channel_close(&a[3]);
	assert_int_equal(evr_hub_connect(&a[3], peer, "h", 7), -EBUSY);
	evr_channel_close(&b[3]);
	assert_int_equal(evr_hub_connect(&a[3], peer, "h", 7), 0);
	assert_int_equal(evr_hub_accept(&hub, &b[3], NULL), 0);
	assert_int_equal(say(&b[3], 9), 0);
	assert_int_equal(hear(&a[3]), 9);
	assert_int_equal(objects(pair->peer), nr);
	for (i = 0; i < EVR_HUB_EACH; i++) {
		evr_channel_close(&a[i]);
		evr_channel_close(&b[i]);
	}
	evr_hub_close(&hub);
	assert_int_equal(evr_hub_remove(pair->peer, "h"), 0);
	assert_int_equal(objects(pair->peer), 0);
	evr_peer_detach(peer);
}

static void hub_request_that_was_given_up_is_not_served(void **state)
{
	struct pair *pair = *state;
	struct evr_peer *peer = another(pair);
	struct evr_channel a, b, none;
	struct evr_object object;
	struct evr_hub hub;
	int i;

	listen_as(pair, &hub, "h");
	for (i = 0; i < 3; i++) {
		assert_int_equal(evr_hub_connect(&a, peer, "h", 7), 0);
		evr_channel_close(&a);
	}
	assert_int_equal(evr_hub_accept(&hub, &b, NULL), -EAGAIN);
	assert_int_equal(hub.stale, 3);
	/* Its endpoint was not even touched: a client that comes just then would meet it. */
	assert_int_equal(evr_dir_find(pair->peer, "h.1.0", &object), 0);
	assert_true(evr_a64_load_relaxed(&evr_dir_owners(pair->peer, &object)[1]) == 0);
	/* Of two requests for one channel the first is old, and the second is served once. */
	assert_int_equal(evr_hub_connect(&a, peer, "h", 7), 0);
	evr_channel_close(&a);
	assert_int_equal(evr_hub_connect(&a, peer, "h", 7), 0);
	assert_int_equal(evr_hub_accept(&hub, &b, NULL), 0);
	assert_int_equal(evr_hub_accept(&hub, &none, NULL), -EAGAIN);
	assert_int_equal(hub.accepted, 1);
	assert_int_equal(hub.stale, 4);
	assert_int_equal(say(&a, 5), 0);
	assert_int_equal(hear(&b), 5);
	evr_channel_close(&a);
	evr_channel_close(&b);
	/* As many requests as one client may have waiting. */
	for (i = 0; i < 2 * EVR_HUB_EACH; i++) {
		assert_int_equal(evr_hub_connect(&a, peer, "h", 7), 0);
		evr_channel_close(&a);
	}
	assert_int_equal(evr_hub_connect(&a, peer, "h", 7), -EAGAIN);
	assert_int_equal(evr_channel_state(&a), EVR_RING_CLOSED);
	assert_int_equal(evr_hub_accept(&hub, &b, NULL), -EAGAIN);
	assert_int_equal(evr_hub_connect(&a, peer, "h", 7), 0);
	evr_channel_close(&a);
	evr_hub_close(&hub);
	evr_peer_detach(peer);
}

/* Somebody else has taken the listener's endpoint: that stops no other client. */
static void hub_request_that_cannot_be_served_stops_nobody(void **state)
{
	struct pair *pair = *state;
	struct evr_peer *peer = another(pair);
	struct evr_channel a[2], b, thief;
	struct evr_hub hub;

	listen_as(pair, &hub, "h");
	assert_int_equal(evr_hub_connect(&a[0], peer, "h", 7), 0);
	assert_int_equal(evr_channel_open(&thief, peer, "h.1.0", EVR_CHANNEL_B, 0), 0);
	assert_int_equal(evr_hub_connect(&a[1], peer, "h", 7), 0);
	assert_int_equal(evr_hub_accept(&hub, &b, NULL), 0);
	assert_true(!say(&a[1], 4) && hear(&b) == 4);
	assert_int_equal(hub.stale, 1);
	evr_channel_close(&thief);
	evr_channel_close(&b);
	evr_channel_close(&a[0]);
	evr_channel_close(&a[1]);
	evr_hub_close(&hub);
	evr_peer_detach(peer);
}

/* Requests that no evr_hub_connect() has made. */
static void hub_hostile_requests_are_not_served(void **state)
{
	struct {
		uint64_t turn, listener;
		uint32_t slot, number;
	} request = { .listener = 0 };
	struct pair *pair = *state;
	struct evr_peer *peer = another(pair);
	struct evr_inbox_sender sender;
	struct evr_channel a, b;
	struct evr_hub hub;
	uint64_t turn, wrong[] = { 0, UINT64_MAX, 1, 2 };
	uint32_t i;

	listen_as(pair, &hub, "h");
	assert_int_equal(evr_hub_connect(&a, peer, "h", 7), 0);
	turn = a.rx[0].lane.held;
	assert_int_equal(evr_inbox_join(&sender, peer, "h.in", 0), 0);
	for (i = 0; i < 8; i++) {
		request.turn = i < 4 ? wrong[i] : turn;
		request.slot = i == 4 ? 300 : i == 5 ? UINT32_MAX : evr_peer_self(peer).slot;
		request.number = i == 6 ? EVR_HUB_EACH : i == 7 ? 256 : 0;
		assert_int_equal(evr_inbox_push(&sender, &request, 1), 1);
	}
	evr_inbox_leave(&sender);
	assert_int_equal(evr_hub_accept(&hub, &b, NULL), 0);
	evr_channel_close(&b);
	assert_int_equal(evr_hub_accept(&hub, &b, NULL), -EAGAIN);
	assert_int_equal(hub.stale, 8);
	evr_channel_close(&a);
	evr_hub_close(&hub);
	evr_peer_detach(peer);
}

static void hub_hostile_object_is_refused(void **state)
{
	struct pair *pair = *state;
	struct evr_object object;
	struct evr_channel ch;
	uint64_t *words, before, i;

	assert_int_equal(evr_hub_create(pair->peer, "h", &small), 0);
	assert_int_equal(evr_dir_find(pair->peer, "h.0.0", &object), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &object), 0);
	assert_int_equal(evr_dir_find(pair->peer, "h", &object), 0);
	words = evr_peer_at(pair->peer, object.off, object.sz);
	for (i = 0; i < 4; i++) {
		before = words[i];
		words[i] = UINT64_MAX;
		assert_int_equal(evr_hub_connect(&ch, pair->peer, "h", 7), i ? -EINVAL : -EBADMSG);
		words[i] = before;
	}
	memset(words + 8, 'x', EVR_OBJECT_NAME_SZ);
	assert_int_equal(evr_hub_connect(&ch, pair->peer, "h", 7), -EBADMSG);
}

static void hub_waits_for_both(void **state)
{
	struct pair *pair = *state;
	struct evr_channel a[2], b[2], *chs[2] = { &b[0], &b[1] };
	struct evr_peer *peer = another(pair);
	struct evr_waiter waiter;
	struct evr_hub hub;
	int at;

	listen_as(pair, &hub, "h");
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	assert_int_equal(evr_hub_wait(&hub, chs, 0, 0, &waiter, 0), -ETIMEDOUT);
	assert_int_equal(evr_hub_wait(&hub, chs, EVR_CHANNEL_ANY_MAX + 1, 0, &waiter, 0), -EINVAL);
	assert_int_equal(evr_hub_connect(&a[0], peer, "h", 7), 0);
	assert_int_equal(evr_hub_wait(&hub, chs, 0, 0, &waiter, pair_deadline()), 0);
	assert_int_equal(evr_hub_accept(&hub, &b[0], NULL), 0);
	assert_int_equal(evr_hub_wait(&hub, chs, 1, 0, &waiter, 0), -ETIMEDOUT);
	assert_int_equal(evr_hub_connect(&a[1], peer, "h", 7), 0);
	assert_int_equal(evr_hub_wait(&hub, chs, 1, 1, &waiter, 0), 1);
	assert_int_equal(evr_hub_accept(&hub, &b[1], NULL), 0);
	/* Nobody is left out: both channels and the hub have something. */
	assert_true(!say(&a[0], 1) && !say(&a[1], 2));
	assert_int_equal(evr_hub_connect(&a[0], peer, "h", 0), 0);
	for (at = 2; at < 8; at++)
		assert_int_equal(evr_hub_wait(&hub, chs, 2, (uint32_t)at % 3, &waiter, 0),
				 (at + 1) % 3);
	evr_waiter_fini(&waiter);
	evr_channel_close(&b[0]);
	evr_channel_close(&b[1]);
	evr_channel_close(&a[0]);
	evr_channel_close(&a[1]);
	evr_hub_close(&hub);
	evr_peer_detach(peer);
}

/* In a loop of one's own: the list of needs tells whether there is more to be armed. */
static void hub_needs_ring_for_clients_old_and_new(void **state)
{
	struct evr_need *needs[EVR_HUB_NEEDS], *now[EVR_HUB_NEEDS];
	struct pair *pair = *state;
	struct evr_peer *peer = another(pair);
	struct evr_channel a, b;
	struct evr_waiter waiter;
	struct evr_bells bells;
	struct evr_hub hub;
	uint32_t nr;
	int i;

	listen_as(pair, &hub, "h");
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	evr_bell_read(pair->peer, &bells);
	for (i = 0; i < 2; i++) {
		nr = evr_hub_needs(&hub, needs);
		assert_int_equal(nr, 1 + i);
		evr_waiter_arm(&waiter, needs, nr);
		assert_int_equal(evr_hub_accept(&hub, &b, NULL), -EAGAIN);
		assert_int_equal(evr_hub_needs(&hub, now), nr);
		assert_memory_equal(needs, now, nr * sizeof(*needs));
		assert_int_equal(evr_hub_connect(&a, peer, "h", 7), 0);
		assert_int_equal(evr_bell_wait(pair->peer, evr_waiter_bells(&waiter), 0, &bells),
				 0);
		assert_true(bells.bits == 1ULL << waiter.bell);
		evr_waiter_disarm(&waiter, needs, nr);
		assert_int_equal(evr_hub_accept(&hub, &b, NULL), 0);
		evr_channel_close(&a);
		evr_channel_close(&b);
	}
	evr_waiter_fini(&waiter);
	evr_hub_close(&hub);
	assert_int_equal(evr_hub_needs(&hub, needs), 0);
	evr_peer_detach(peer);
}

static void connect_and_talk(struct evr_peer *peer, void *arg)
{
	uint64_t *value = arg;
	struct evr_waiter waiter;
	struct evr_channel ch;
	struct evr_message m;

	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_SLEEP));
	CHECK(!TIMELY(evr_hub_connect_wait(&ch, peer, "h", 7, &waiter, until_ns)));
	CHECK(!say(&ch, *value));
	CHECK(!TIMELY(evr_channel_recv_wait(&ch, &waiter, &m, until_ns)));
	CHECK(m.tag == *value + 1);
	evr_channel_release(&ch, &m);
	evr_channel_close(&ch);
	evr_waiter_fini(&waiter);
}

/* One that sleeps until it is accepted, by a listener that sleeps until it comes. */
static void hub_sleepers_wake_each_other(void **state)
{
	struct pair *pair = *state;
	struct evr_waiter waiter;
	struct evr_channel b, *chs[1] = { &b };
	struct evr_hub hub;
	uint64_t value;
	pid_t pid;

	listen_as(pair, &hub, "h");
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	for (value = 1; value < 20; value++) {
		pid = pair_fork(pair, connect_and_talk, &value);
		assert_int_equal(evr_hub_wait(&hub, chs, 0, 0, &waiter, pair_deadline()), 0);
		assert_int_equal(evr_hub_accept(&hub, &b, NULL), 0);
		assert_int_equal(evr_hub_wait(&hub, chs, 1, 0, &waiter, pair_deadline()), 0);
		assert_int_equal(hear(&b), value);
		assert_int_equal(say(&b, value + 1), 0);
		pair_join(pid);
		evr_channel_close(&b);
	}
	evr_waiter_fini(&waiter);
	evr_hub_close(&hub);
}

static void hub_connect_gives_up_at_the_deadline(void **state)
{
	struct pair *pair = *state;
	struct evr_peer *peer = another(pair);
	struct evr_waiter waiter;
	struct evr_channel a, b;
	struct evr_hub hub;

	assert_int_equal(evr_hub_create(pair->peer, "h", &small), 0);
	assert_int_equal(evr_waiter_init(&waiter, peer, EVR_WAIT_SLEEP), 0);
	assert_int_equal(evr_hub_connect_wait(&a, peer, "h", 7, &waiter, evr_now_ns() + 1000000),
			 -ETIMEDOUT);
	assert_int_equal(evr_channel_state(&a), EVR_RING_CLOSED);
	assert_int_equal(evr_hub_listen(&hub, pair->peer, "h", 7), 0);
	assert_int_equal(evr_hub_accept(&hub, &b, NULL), -EAGAIN);
	assert_int_equal(hub.stale, 1);
	evr_waiter_fini(&waiter);
	evr_hub_close(&hub);
	evr_peer_detach(peer);
}

static void accept_one(struct evr_peer *peer, void *arg)
{
	struct evr_channel ch;
	struct evr_hub hub;
	int err;

	CHECK(!evr_hub_listen(&hub, peer, "h", 7));
	err = evr_hub_accept(&hub, &ch, NULL);
	CHECK(!err || err == -EAGAIN);
	if (!err)
		CHECK(!say(&ch, 1));
	evr_channel_close(&ch);
	evr_hub_close(&hub);
}

/* The client is accepted by the next, or learns that it was by one that died. */
static void hub_listener_killed_at_each_step_is_followed(void **state)
{
	struct pair *pair = *state;
	struct evr_peer *peer = pair->peer;
	bool died = true, seen[2] = { false };
	uint32_t nr = 0;
	struct evr_channel a, b;
	struct evr_hub hub;
	int64_t heard;
	uint64_t n;
	int err;

	assert_int_equal(evr_hub_create(peer, "h", &small), 0);
	for (n = 1; died; n += stride()) {
		assert_true(n < STEPS_MAX);
		assert_int_equal(evr_hub_connect(&a, peer, "h", 7), 0);
		died = die_among(pair, n, accept_one, NULL);
		do {
			assert_true(evr_reap_dead(peer, NULL) >= 0);
			evr_peer_check(peer);
			err = evr_hub_listen(&hub, peer, "h", 7);
		} while (err == -EBUSY);
		assert_int_equal(err, 0);
		assert_true(evr_reap_dead(peer, NULL) >= 0);
		err = evr_hub_accept(&hub, &b, NULL);
		assert_true(!err || err == -EAGAIN);
		seen[!err] = true;
		if (!err) {
			assert_int_equal(say(&b, 2), 0);
			assert_int_equal(hear(&a), 2);
		} else {
			heard = hear(&a);
			if (heard == 1)
				heard = hear(&a);
			assert_true(heard == -EPIPE || heard == -EOWNERDEAD);
		}
		evr_channel_close(&a);
		evr_channel_close(&b);
		/* Whatever has happened, the next connection is one, and nothing has grown. */
		assert_int_equal(evr_hub_connect(&a, peer, "h", 7), 0);
		assert_int_equal(evr_hub_accept(&hub, &b, NULL), 0);
		evr_channel_close(&a);
		evr_channel_close(&b);
		evr_hub_close(&hub);
		nr = nr ? nr : objects(peer);
		assert_int_equal(objects(peer), nr);
	}
	assert_true(seen[0] && seen[1]);
}

/* It is accepted or not; the next client of its slot is, and nothing has grown. */
static void hub_client_killed_at_each_step_leaves_room(void **state)
{
	struct pair *pair = *state;
	struct evr_channel a, b;
	bool died = true;
	struct evr_peer *next;
	struct evr_hub hub;
	uint32_t nr = 0;
	uint64_t n;
	int err;

	listen_as(pair, &hub, "h");
	for (n = 1; died; n += stride()) {
		assert_true(n < STEPS_MAX);
		died = die_among(pair, n, connect_one, NULL);
		/* Known to be dead or not. */
		err = evr_hub_accept(&hub, &b, NULL);
		assert_true(!err || err == -EAGAIN);
		pair_settle(pair);
		if (!err) {
			assert_int_equal(hear(&b), -EOWNERDEAD);
			evr_channel_close(&b);
		}
		next = another(pair);
		assert_int_equal(evr_peer_self(next).slot, 1);
		assert_int_equal(evr_hub_connect(&a, next, "h", 7), 0);
		assert_int_equal(evr_hub_accept(&hub, &b, NULL), 0);
		assert_true(!say(&a, 5) && hear(&b) == 5);
		evr_channel_close(&a);
		evr_channel_close(&b);
		evr_peer_detach(next);
		pair_settle(pair);
		if (n > 1 && nr)
			assert_true(objects(pair->peer) == nr);
		nr = objects(pair->peer);
	}
	evr_hub_close(&hub);
	assert_int_equal(evr_hub_remove(pair->peer, "h"), 0);
	assert_int_equal(objects(pair->peer), 0);
}

/* A peer that dies in the making of a hub: it can be made again. */
static void make_hub(struct evr_peer *peer, void *arg)
{
	CHECK(!evr_hub_create(peer, "h", &small));
	CHECK(!evr_hub_remove(peer, "h"));
}

static void hub_maker_killed_at_each_step_leaves_no_ruin(void **state)
{
	struct pair *pair = *state;
	bool died = true;
	uint64_t n;
	int err;

	for (n = 1; died; n += stride()) {
		assert_true(n < STEPS_MAX);
		died = die_at(pair, n, make_hub, NULL);
		err = evr_hub_create(pair->peer, "h", &small);
		assert_true(!err || err == -EEXIST);
		assert_int_equal(evr_hub_remove(pair->peer, "h"), 0);
		assert_int_equal(objects(pair->peer), 0);
	}
}

#define MESH 6

/* Listens under its own number, is connected to by all the others, and connects to them. */
static void mesh_peer(struct evr_peer *peer, void *arg)
{
	uint64_t me = *(uint64_t *)arg, deadline = pair_deadline(), i, sum = 0;
	struct evr_channel to[MESH], from[MESH];
	char name[8];
	struct evr_hub hub;
	uint32_t accepted = 0;
	int64_t heard;

	snprintf(name, sizeof(name), "p%llu", (unsigned long long)me);
	CHECK(!evr_hub_listen(&hub, peer, name, 7));
	for (i = 0; i < MESH; i++) {
		snprintf(name, sizeof(name), "p%llu", (unsigned long long)i);
		CHECK(i == me || !evr_hub_connect(&to[i], peer, name, 7));
	}
	while (accepted < MESH - 1) {
		CHECK(evr_now_ns() < deadline);
		if (!evr_hub_accept(&hub, &from[accepted], NULL))
			accepted++;
		else
			pair_sleep_us(200);
	}
	for (i = 0; i < MESH; i++)
		while (i != me && say(&to[i], 1 + me) == -ENOTCONN) {
			CHECK(evr_now_ns() < deadline);
			pair_sleep_us(200);
		}
	for (i = 0; i < MESH - 1; i++) {
		while ((heard = hear(&from[i])) == -EAGAIN) {
			CHECK(evr_now_ns() < deadline);
			pair_sleep_us(200);
		}
		CHECK(heard > 0);
		sum += (uint64_t)heard;
	}
	CHECK(sum == MESH * (MESH + 1) / 2 - (me + 1));
	for (i = 0; i < MESH; i++)
		if (i != me)
			evr_channel_close(&to[i]);
	for (i = 0; i < MESH - 1; i++)
		evr_channel_close(&from[i]);
	evr_hub_close(&hub);
}

static void hub_any_peer_to_any_peer(void **state)
{
	struct pair *pair = *state;
	uint64_t number[MESH];
	pid_t pids[MESH];
	char name[8];
	int i;

	for (i = 0; i < MESH; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		assert_int_equal(evr_hub_create(pair->peer, name, &small), 0);
	}
	for (i = 0; i < MESH; i++) {
		number[i] = (uint64_t)i;
		pids[i] = pair_fork(pair, mesh_peer, &number[i]);
	}
	for (i = 0; i < MESH; i++)
		pair_join(pids[i]);
}

#define CLIENTS 255
#define KILLED(i) ((i) % 5 == 2)
#define ROUNDS 3

struct crowd {
	struct pair pair;
	int gate[2];
	int told[CLIENTS]; /* eventfds: an answer to this client is in its channel */
	pid_t pids[CLIENTS];
	struct evr_channel chs[CLIENTS];
	struct evr_channel *open[CLIENTS];
	uint32_t nr;
	uint32_t closed, dead;
	uint64_t heard;
};

static int open_crowd(void **state)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = 16 << 20,
					       .peers_max = EVR_PEERS_MAX };
	struct crowd *crowd = calloc(1, sizeof(*crowd));

	if (!crowd || evr_segment_create(&crowd->pair.segment, pair_uri(), &options) ||
	    evr_peer_attach(&crowd->pair.peer, crowd->pair.segment, NULL))
		return -1;
	*state = crowd;
	return 0;
}

/*
 * It sleeps outside of the library: on the local backend 255 sleepers that each look after
 * 255 processes would be what this test is busy with; and who is told looks once, for 255 that
 * look again and again are more than a slow machine has time for besides the one that answers.
 */
static void crowd_client(struct crowd *crowd, uint64_t i)
{
	struct evr_channel ch;
	struct evr_peer *peer;
	uint64_t round, told;
	char c;

	pair_alive();
	close(crowd->gate[1]);
	CHECK(!evr_peer_attach(&peer, crowd->pair.segment, NULL));
	CHECK(!evr_hub_connect(&ch, peer, "h", 7));
	CHECK(read(crowd->gate[0], &c, 1) == 0);
	for (round = 0; round < ROUNDS; round++) {
		pair_alive();
		CHECK(!say(&ch, i + 1));
		CHECK(read(crowd->told[i], &told, sizeof(told)) == sizeof(told) && told == 1);
		CHECK(hear(&ch) == (int64_t)i + 1);
	}
	evr_channel_close(&ch);
	evr_peer_detach(peer);
	_exit(0);
}

static void crowd_start(struct crowd *crowd)
{
	int i;

	assert_int_equal(pipe(crowd->gate), 0);
	for (i = 0; i < CLIENTS; i++) {
		crowd->told[i] = eventfd(0, 0);
		assert_true(crowd->told[i] >= 0);
	}
	fflush(NULL);
	for (i = 0; i < CLIENTS; i++) {
		crowd->pids[i] = fork();
		assert_true(crowd->pids[i] >= 0);
		if (!crowd->pids[i])
			crowd_client(crowd, (uint64_t)i);
	}
	close(crowd->gate[0]);
}

static void crowd_accept(struct crowd *crowd, struct evr_hub *hub, struct evr_waiter *waiter)
{
	int err;

	while (crowd->nr < CLIENTS) {
		err = evr_hub_accept(hub, &crowd->chs[crowd->nr], NULL);
		if (err == -EAGAIN)
			assert_int_equal(evr_hub_wait(hub, NULL, 0, 0, waiter, pair_deadline()), 0);
		else
			assert_int_equal(err, 0);
		if (!err) {
			crowd->open[crowd->nr] = &crowd->chs[crowd->nr];
			crowd->nr++;
		}
	}
}

/* One whose client is dead takes no answer. */
static void crowd_answer(struct crowd *crowd, struct evr_channel *ch, uint64_t heard)
{
	int err = say(ch, heard);

	assert_true(!err || err == -EOWNERDEAD);
	assert_in_range(heard, 1, CLIENTS);
	assert_int_equal(eventfd_write(crowd->told[heard - 1], 1), 0);
	crowd->heard += heard;
}

/* Answer whatever comes, until the last connection has ended. */
static void crowd_serve(struct crowd *crowd, struct evr_hub *hub, struct evr_waiter *waiter)
{
	uint32_t at = 0;
	int64_t heard;
	int ret;

	while (crowd->nr) {
		ret = evr_hub_wait(hub, crowd->open, crowd->nr, at, waiter, pair_deadline());
		assert_in_range(ret, 0, (int)crowd->nr - 1);
		at = (uint32_t)ret;
		heard = hear(crowd->open[at]);
		if (heard > 0) {
			crowd_answer(crowd, crowd->open[at], (uint64_t)heard);
			continue;
		}
		assert_true(heard == -EPIPE || heard == -EOWNERDEAD);
		crowd->closed += heard == -EPIPE;
		crowd->dead += heard == -EOWNERDEAD;
		evr_channel_close(crowd->open[at]);
		crowd->open[at] = crowd->open[--crowd->nr];
	}
}

/* One after the other gets the slot of one that was killed, and is served as the first was. */
static void crowd_successors(struct crowd *crowd, struct evr_hub *hub)
{
	struct evr_channel a[3], b;
	struct evr_peer *peers[3];
	int i;

	for (i = 0; i < 3; i++) {
		peers[i] = another(&crowd->pair);
		assert_int_equal(evr_hub_connect(&a[i], peers[i], "h", 7), 0);
		assert_int_equal(evr_hub_accept(hub, &b, NULL), 0);
		assert_true(!say(&a[i], 3) && hear(&b) == 3);
		evr_channel_close(&b);
	}
	for (i = 0; i < 3; i++) {
		evr_channel_close(&a[i]);
		evr_peer_detach(peers[i]);
	}
}

static void hub_serves_255_clients_of_which_some_are_killed(void **state)
{
	struct crowd *crowd = *state;
	struct evr_waiter waiter;
	uint32_t dead = 0, nr;
	uint64_t sum = 0;
	struct evr_peer *none;
	struct evr_hub hub;
	int i, status;

	listen_as(&crowd->pair, &hub, "h");
	assert_int_equal(evr_waiter_init(&waiter, crowd->pair.peer, EVR_WAIT_SLEEP), 0);
	crowd_start(crowd);
	crowd_accept(crowd, &hub, &waiter);
	assert_int_equal(hub.accepted, CLIENTS);
	assert_int_equal(evr_peer_attach(&none, crowd->pair.segment, NULL), -EUSERS);
	nr = objects(crowd->pair.peer);
	for (i = 0; i < CLIENTS; i++) {
		if (KILLED(i)) {
			pair_kill(crowd->pids[i]);
			dead++;
		} else {
			sum += ROUNDS * (uint64_t)(i + 1);
		}
	}
	close(crowd->gate[1]); /* go on, all */
	crowd_serve(crowd, &hub, &waiter);
	assert_int_equal(crowd->dead, dead);
	assert_int_equal(crowd->closed, CLIENTS - dead);
	assert_int_equal(crowd->heard, sum);
	for (i = 0; i < CLIENTS; i++)
		if (!KILLED(i)) {
			assert_int_equal(waitpid(crowd->pids[i], &status, 0), crowd->pids[i]);
			assert_int_equal(status, 0);
		}
	for (i = 0; i < CLIENTS; i++)
		close(crowd->told[i]);
	crowd_successors(crowd, &hub);
	assert_int_equal(objects(crowd->pair.peer), nr);
	evr_waiter_fini(&waiter);
	evr_hub_close(&hub);
	assert_int_equal(evr_hub_remove(crowd->pair.peer, "h"), 0);
	assert_int_equal(objects(crowd->pair.peer), 0);
	printf("# %d clients, %u killed\n", CLIENTS, dead);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(hub_connection_is_a_channel, open_small,
						pair_close),
		cmocka_unit_test_setup_teardown(hub_names_and_kinds_are_checked, open_small,
						pair_close),
		cmocka_unit_test_setup_teardown(hub_one_listens_at_a_time, open_small, pair_close),
		cmocka_unit_test_setup_teardown(hub_peer_has_so_many_connections, open_small,
						pair_close),
		cmocka_unit_test_setup_teardown(hub_request_that_was_given_up_is_not_served,
						open_small, pair_close),
		cmocka_unit_test_setup_teardown(hub_request_that_cannot_be_served_stops_nobody,
						open_small, pair_close),
		cmocka_unit_test_setup_teardown(hub_hostile_requests_are_not_served, open_small,
						pair_close),
		cmocka_unit_test_setup_teardown(hub_hostile_object_is_refused, open_small,
						pair_close),
		cmocka_unit_test_setup_teardown(hub_waits_for_both, open_small, pair_close),
		cmocka_unit_test_setup_teardown(hub_needs_ring_for_clients_old_and_new, open_small,
						pair_close),
		cmocka_unit_test_setup_teardown(hub_sleepers_wake_each_other, open_small,
						pair_close),
		cmocka_unit_test_setup_teardown(hub_connect_gives_up_at_the_deadline, open_small,
						pair_close),
		cmocka_unit_test_setup_teardown(hub_listener_killed_at_each_step_is_followed,
						open_tiny, pair_close),
		cmocka_unit_test_setup_teardown(hub_client_killed_at_each_step_leaves_room,
						open_tiny, pair_close),
		cmocka_unit_test_setup_teardown(hub_maker_killed_at_each_step_leaves_no_ruin,
						open_tiny, pair_close),
		cmocka_unit_test_setup_teardown(hub_any_peer_to_any_peer, pair_open, pair_close),
		cmocka_unit_test_setup_teardown(hub_serves_255_clients_of_which_some_are_killed,
						open_crowd, pair_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
