/* SPDX-License-Identifier: MIT */
/*
 * Hubs: listen, connect, accept. test_hub_death.c has either side killed, test_hub_crowd.c
 * 255 clients.
 *
 * Mutants seen to fail here: a request that is looked at whatever its turn; one for an
 * endpoint that another holds which stays at the head; a connect that takes number 0 alone;
 * a wait without the inbox; needs without the lanes.
 */
#include "hubs_shared.h"

#include "dir.h"

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

/* Nobody reads or writes more than a request because an inbox says that it is longer, or shorter. */
static void hub_inbox_of_another_size_is_refused(void **state)
{
	static const uint64_t sizes[] = { 1, 16, 32, 4096, 1 << 30 };
	struct pair *pair = *state;
	struct evr_lane_object *inbox;
	struct evr_object object;
	struct evr_channel a;
	struct evr_hub hub;
	size_t i;

	assert_int_equal(evr_hub_create(pair->peer, "h", &small), 0);
	assert_int_equal(evr_dir_find(pair->peer, "h.in", &object), 0);
	inbox = evr_peer_at(pair->peer, object.off, object.sz);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		inbox->geometry.unit_sz = sizes[i];
		memset(&a, 0xee, sizeof(a));
		assert_int_equal(evr_hub_listen(&hub, pair->peer, "h", 7), -EINVAL);
		assert_int_equal(evr_hub_connect(&a, pair->peer, "h", 7), -EINVAL);
		assert_int_equal(evr_channel_state(&a), EVR_RING_CLOSED);
	}
	inbox->geometry.unit_sz = 24;
	assert_int_equal(evr_hub_listen(&hub, pair->peer, "h", 7), 0);
	assert_int_equal(evr_hub_connect(&a, pair->peer, "h", 7), 0);
	evr_channel_close(&a);
	evr_hub_close(&hub);
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
		cmocka_unit_test_setup_teardown(hub_request_that_was_given_up_is_not_served, open_small,
						pair_close),
		cmocka_unit_test_setup_teardown(hub_request_that_cannot_be_served_stops_nobody, open_small,
						pair_close),
		cmocka_unit_test_setup_teardown(hub_hostile_requests_are_not_served, open_small,
						pair_close),
		cmocka_unit_test_setup_teardown(hub_inbox_of_another_size_is_refused, open_small,
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
