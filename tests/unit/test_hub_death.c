/* SPDX-License-Identifier: MIT */
/*
 * Hubs whose listener, client or maker is killed before its n-th access to shared memory,
 * for each n.
 *
 * Mutants seen to fail here: a request that is released before its endpoint is held.
 */
#include "die.h"

#include "hubs_shared.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(hub_listener_killed_at_each_step_is_followed, open_tiny,
						pair_close),
		cmocka_unit_test_setup_teardown(hub_client_killed_at_each_step_leaves_room, open_tiny,
						pair_close),
		cmocka_unit_test_setup_teardown(hub_maker_killed_at_each_step_leaves_no_ruin, open_tiny,
						pair_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
