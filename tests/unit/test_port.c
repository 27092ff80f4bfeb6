/* SPDX-License-Identifier: MIT */
/*
 * Ports: an endpoint as bytes, used once. Real processes that race for one, and one that
 * is killed before its n-th access to shared memory, for each n.
 *
 * Mutants seen to fail here: no removal at the use; no look whether the maker lives; no
 * comparison of the channel's life; the removal before the endpoint is held; a reaper
 * that leaves the ports of the dead.
 */
#include "die.h"

static int open_small(void **state)
{
	return pair_open_sized(state, 128 << 10);
}

static void make_channel(struct evr_peer *peer, const char *name)
{
	struct evr_channel_options options = { .struct_sz = sizeof(options),
					       .capacity = 2048,
					       .urgent_capacity = 1024,
					       .inline_max = 64,
					       .type_tag = 7 };

	assert_int_equal(evr_channel_create(peer, name, &options), 0);
}

static uint32_t objects(struct pair *pair)
{
	struct evr_dir_info info;

	assert_int_equal(evr_dir_info(pair->peer, &info), 0);
	assert_int_equal(info.claimed, 0);
	return info.entries;
}

static void remove_object(struct pair *pair, const char *name)
{
	struct evr_object object;

	assert_int_equal(evr_dir_find(pair->peer, name, &object), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &object), 0);
}

static void port_hands_an_endpoint_over_once(void **state)
{
	struct pair *pair = *state;
	struct evr_channel a, b, again;
	struct evr_port port, other;
	struct evr_message m;

	make_channel(pair->peer, "c");
	assert_int_equal(evr_channel_open(&a, pair->peer, "c", EVR_CHANNEL_A, 7), 0);
	assert_int_equal(evr_port_make(&port, pair->peer, "c", EVR_CHANNEL_B), 0);
	assert_int_equal(evr_port_make(&other, pair->peer, "c", EVR_CHANNEL_B), 0);
	assert_memory_not_equal(&port, &other, sizeof(port));
	assert_int_equal(evr_port_open(&b, pair->peer, &port, 7), 0);
	assert_int_equal(evr_channel_send(&b, "hello", 5, 1), 0);
	assert_int_equal(evr_channel_recv(&a, &m), 0);
	assert_memory_equal(m.data, "hello", 5);
	evr_channel_release(&a, &m);
	/* Replayed while it is in use, and when the endpoint is free again. */
	assert_int_equal(evr_port_open(&again, pair->peer, &port, 7), -ESTALE);
	assert_int_equal(evr_port_open(&again, pair->peer, &other, 7), -EBUSY);
	evr_channel_close(&b);
	assert_int_equal(evr_channel_forget(&a), 0);
	assert_int_equal(evr_port_open(&again, pair->peer, &port, 7), -ESTALE);
	assert_non_null(strstr(evr_error_detail(), "used or revoked"));
	assert_int_equal(evr_port_revoke(pair->peer, &port), -ESTALE);
	/* The second is for a use of its own; it was good all the time. */
	assert_int_equal(evr_port_open(&again, pair->peer, &other, 8), -EINVAL);
	assert_int_equal(evr_port_open(&again, pair->peer, &other, 0), 0);
	evr_channel_close(&again);
	evr_channel_close(&a);
	assert_int_equal(objects(pair), 1);
}

static void port_revoked_is_refused(void **state)
{
	struct pair *pair = *state;
	struct evr_channel ch;
	struct evr_port port;

	make_channel(pair->peer, "c");
	assert_int_equal(evr_port_make(&port, pair->peer, "c", EVR_CHANNEL_A), 0);
	assert_int_equal(evr_port_revoke(pair->peer, &port), 0);
	assert_int_equal(evr_port_revoke(pair->peer, &port), -ESTALE);
	memset(&ch, 0xee, sizeof(ch));
	assert_int_equal(evr_port_open(&ch, pair->peer, &port, 7), -ESTALE);
	assert_int_equal(evr_channel_state(&ch), EVR_RING_CLOSED);
	assert_int_equal(objects(pair), 1);
}

/* Every single bit counts: no changed port opens anything. */
static void port_forged_is_refused(void **state)
{
	struct pair *pair = *state;
	struct evr_port port, forged;
	struct evr_channel ch;
	int err, bit, seen[3] = { 0 };

	make_channel(pair->peer, "c");
	assert_int_equal(evr_port_make(&port, pair->peer, "c", EVR_CHANNEL_A), 0);
	for (bit = 0; bit < 8 * (int)sizeof(port); bit++) {
		forged = port;
		forged.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		err = evr_port_open(&ch, pair->peer, &forged, 7);
		seen[0] += err == -EINVAL;
		seen[1] += err == -EXDEV;
		seen[2] += err == -ESTALE;
	}
	assert_true(seen[0] == 64 && seen[1] == 64 && seen[2] == 128);
	memset(&forged, 0, sizeof(forged));
	assert_int_equal(evr_port_open(&ch, pair->peer, &forged, 7), -EINVAL);
	assert_int_equal(evr_port_revoke(pair->peer, &forged), -EINVAL);
	/* None of it has used it up. */
	assert_int_equal(evr_port_open(&ch, pair->peer, &port, 7), 0);
	evr_channel_close(&ch);
}

static void port_make_checks_what_it_is_of(void **state)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .flags = EVR_SEGMENT_ISOLATED,
					       .peers_max = 2 };
	struct evr_peer_options watch = { .struct_sz = sizeof(watch), .flags = EVR_PEER_OBSERVER };
	struct pair *pair = *state;
	struct evr_port port, zeros = { { 0 } };
	struct evr_segment *segment;
	struct evr_peer *peer;
	struct evr_channel ch;

	memset(&port, 0xee, sizeof(port));
	assert_int_equal(evr_port_make(&port, pair->peer, "c", EVR_CHANNEL_A), -ENOENT);
	assert_memory_equal(&port, &zeros, sizeof(port));
	make_channel(pair->peer, "c");
	assert_int_equal(evr_port_make(&port, pair->peer, "c", 2), -EINVAL);
	assert_int_equal(evr_inbox_create(pair->peer, "i", NULL), 0);
	assert_int_equal(evr_port_make(&port, pair->peer, "i", EVR_CHANNEL_A), -EINVAL);
	assert_int_equal(evr_port_make(&port, pair->peer, "c", EVR_CHANNEL_A), 0);
	assert_int_equal(evr_peer_attach(&peer, pair->segment, &watch), 0);
	assert_int_equal(evr_port_make(&zeros, peer, "c", EVR_CHANNEL_A), -EROFS);
	assert_int_equal(evr_port_open(&ch, peer, &port, 0), -EROFS);
	assert_int_equal(evr_port_revoke(peer, &port), -EROFS);
	evr_peer_detach(peer);
	assert_int_equal(evr_segment_create(&segment, pair_uri(), &options), 0);
	assert_int_equal(evr_peer_attach(&peer, segment, NULL), 0);
	assert_int_equal(evr_port_make(&zeros, peer, "c", EVR_CHANNEL_A), -ENOENT);
	/* Of one segment, in another. */
	assert_int_equal(evr_port_open(&ch, peer, &port, 0), -EXDEV);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void port_of_a_removed_channel_is_stale(void **state)
{
	struct pair *pair = *state;
	struct evr_channel ch;
	struct evr_port port;

	make_channel(pair->peer, "c");
	assert_int_equal(evr_port_make(&port, pair->peer, "c", EVR_CHANNEL_A), 0);
	remove_object(pair, "c");
	assert_int_equal(evr_port_open(&ch, pair->peer, &port, 0), -ESTALE);
	/* Another of the same name, in the same place. */
	make_channel(pair->peer, "c");
	assert_int_equal(evr_port_open(&ch, pair->peer, &port, 0), -ESTALE);
	assert_non_null(strstr(evr_error_detail(), "channel is gone"));
	assert_int_equal(evr_port_revoke(pair->peer, &port), 0);
	assert_int_equal(objects(pair), 1);
}

/* A broken peer has written into the port's object. */
static void port_hostile_object_is_refused(void **state)
{
	struct pair *pair = *state;
	struct evr_object object, channel;
	struct evr_channel ch;
	struct evr_port port;
	char name[EVR_OBJECT_NAME_SZ] = "port.";
	uint64_t nonce[2], *words, before, i;

	make_channel(pair->peer, "c");
	assert_int_equal(evr_port_make(&port, pair->peer, "c", EVR_CHANNEL_A), 0);
	memcpy(nonce, port.bytes + 16, 16);
	snprintf(name, sizeof(name), "port.%016llx%016llx", (unsigned long long)nonce[0],
		 (unsigned long long)nonce[1]);
	assert_int_equal(evr_dir_find(pair->peer, name, &object), 0);
	words = evr_peer_at(pair->peer, object.off, object.sz);
	for (i = 0; i < 8; i++) {
		before = words[i];
		words[i] = UINT64_MAX;
		/* What does not matter are the bytes behind the name's end. */
		if (i < 4)
			assert_true(evr_port_open(&ch, pair->peer, &port, 0) < 0);
		words[i] = before;
	}
	memset(words + 3, 'x', EVR_OBJECT_NAME_SZ);
	assert_int_equal(evr_port_open(&ch, pair->peer, &port, 0), -EBADMSG);
	/* Nothing is held of all that. */
	assert_int_equal(evr_dir_find(pair->peer, "c", &channel), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &channel), 0);
}

struct race {
	struct evr_port port;
	int gate[2], won[2];
};

static void race_open(struct evr_peer *peer, void *arg)
{
	struct race *race = arg;
	struct evr_channel ch;
	char c;
	int err;

	CHECK(read(race->gate[0], &c, 1) == 0);
	err = evr_port_open(&ch, peer, &race->port, 0);
	CHECK(!err || err == -ESTALE || err == -EBUSY);
	if (!err)
		CHECK(write(race->won[1], "w", 1) == 1);
	evr_channel_close(&ch);
}

/* Who closes at once makes room for the others, whose port is used up. */
static void port_one_of_many_has_it(void **state)
{
	struct pair *pair = *state;
	struct race race;
	pid_t pids[4];
	char won[8];
	int round, i;

	make_channel(pair->peer, "c");
	for (round = 0; round < 20; round++) {
		assert_int_equal(evr_port_make(&race.port, pair->peer, "c", EVR_CHANNEL_B), 0);
		assert_int_equal(pipe(race.gate) | pipe(race.won), 0);
		for (i = 0; i < 4; i++) {
			pids[i] = fork();
			if (!pids[i]) {
				struct evr_peer *peer;

				alarm(60);
				close(race.gate[1]);
				CHECK(!evr_peer_attach(&peer, pair->segment, NULL));
				race_open(peer, &race);
				evr_peer_detach(peer);
				_exit(0);
			}
		}
		close(race.gate[0]);
		close(race.gate[1]);
		for (i = 0; i < 4; i++)
			pair_join(pids[i]);
		close(race.won[1]);
		assert_int_equal(read(race.won[0], won, sizeof(won)), 1);
		close(race.won[0]);
		pair_settle(pair);
		assert_int_equal(objects(pair), 1);
	}
}

static void make_one(struct evr_peer *peer, void *arg)
{
	int *to = arg;
	struct evr_port port;

	CHECK(!evr_port_make(&port, peer, "c", EVR_CHANNEL_B));
	CHECK(write(to[1], &port, sizeof(port)) == sizeof(port));
}

/* At each step of its making, and when it has told it to somebody. */
static void port_maker_killed_at_each_step_leaves_none(void **state)
{
	struct pair *pair = *state;
	struct evr_channel ch;
	bool died = true, told = false;
	struct evr_port port;
	int to[2];
	uint64_t n;

	make_channel(pair->peer, "c");
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		assert_int_equal(pipe(to), 0);
		died = die_among(pair, n, make_one, to);
		close(to[1]);
		told = read(to[0], &port, sizeof(port)) == sizeof(port);
		close(to[0]);
		/* Void as soon as its maker is known to be dead, reaped or not. */
		pair_settle(pair);
		if (told)
			assert_int_equal(evr_port_open(&ch, pair->peer, &port, 0), -ESTALE);
		assert_int_equal(objects(pair), 1);
	}
	assert_true(told);
}

static void port_of_an_unreaped_maker_is_void(void **state)
{
	struct pair *pair = *state;
	struct evr_peer_info info;
	struct evr_channel ch;
	struct evr_port port;
	uint64_t deadline = pair_deadline();
	uint32_t slot;
	int to[2];
	pid_t pid;

	make_channel(pair->peer, "c");
	evr_reap_auto(pair->peer, false);
	assert_int_equal(pipe(to), 0);
	pid = pair_fork(pair, make_one, to);
	pair_join(pid);
	assert_int_equal(read(to[0], &port, sizeof(port)), sizeof(port));
	slot = evr_peer_self(pair->peer).slot ? 0 : 1;
	do {
		assert_true(evr_now_ns() < deadline);
		evr_peer_check(pair->peer);
		assert_int_equal(evr_peer_info(pair->peer, slot, &info), 0);
	} while (info.state == EVR_PEER_LIVE || info.state == EVR_PEER_DYING);
	assert_int_equal(objects(pair), 2);
	assert_int_equal(evr_port_open(&ch, pair->peer, &port, 0), -ESTALE);
	assert_non_null(strstr(evr_error_detail(), "has ended"));
	assert_true(evr_reap_dead(pair->peer, NULL) >= 0);
	assert_int_equal(objects(pair), 1);
	close(to[0]);
	close(to[1]);
}

static void use_one(struct evr_peer *peer, void *arg)
{
	struct evr_channel ch;

	CHECK(!evr_port_open(&ch, peer, arg, 0));
	evr_channel_close(&ch);
}

/* Who dies in it has used it or not; the endpoint is free in any case. */
static void port_user_killed_at_each_step_uses_it_or_not(void **state)
{
	struct pair *pair = *state;
	bool died = true, seen[2] = { false };
	struct evr_channel ch;
	struct evr_port port;
	uint64_t n;
	int err;

	make_channel(pair->peer, "c");
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		assert_int_equal(evr_port_make(&port, pair->peer, "c", EVR_CHANNEL_B), 0);
		died = die_at(pair, n, use_one, &port);
		err = evr_port_open(&ch, pair->peer, &port, 0);
		assert_true(!err || err == -ESTALE);
		seen[!err] = true;
		if (!err)
			evr_channel_close(&ch);
		assert_int_equal(evr_port_open(&ch, pair->peer, &port, 0), -ESTALE);
		assert_int_equal(objects(pair), 1);
		assert_int_equal(evr_channel_open(&ch, pair->peer, "c", EVR_CHANNEL_B, 0), 0);
		evr_channel_close(&ch);
	}
	assert_true(seen[0] && seen[1]);
}

struct meddler {
	struct pair *pair;
	struct evr_port port;
	int result;
};

/* Uses the port, whole, in between, and lets go of the endpoint. */
static void meddle(void *arg)
{
	struct meddler *m = arg;
	struct evr_channel ch;

	m->result = evr_port_open(&ch, m->pair->peer, &m->port, 0);
	evr_channel_close(&ch);
}

static void port_used_by_another_at_each_step_is_used_once(void **state)
{
	struct meddler m = { .pair = *state };
	int err, seen[2] = { 0 };
	struct evr_channel ch;
	struct evr_peer *peer;
	uint64_t n, base;

	make_channel(m.pair->peer, "c");
	assert_int_equal(evr_peer_attach(&peer, m.pair->segment, NULL), 0);
	steps_turn = meddle;
	steps_arg = &m;
	for (n = 1; n < STEPS_MAX; n++) {
		assert_int_equal(evr_port_make(&m.port, m.pair->peer, "c", EVR_CHANNEL_A), 0);
		m.result = 1;
		steps = 0;
		steps_to_live = n;
		err = evr_port_open(&ch, peer, &m.port, 0);
		base = steps;
		steps_to_live = 0;
		if (m.result == 1 && base < n)
			break; /* it had no turn */
		assert_true(!err + !m.result == 1);
		assert_true(!err || err == -ESTALE || err == -EBUSY);
		assert_true(!m.result || m.result == -ESTALE || m.result == -EBUSY);
		seen[!err]++;
		evr_channel_close(&ch);
		assert_int_equal(objects(m.pair), 1);
	}
	steps_turn = NULL;
	assert_true(seen[0] && seen[1]);
	evr_channel_close(&ch);
	evr_peer_detach(peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(port_hands_an_endpoint_over_once, open_small,
						pair_close),
		cmocka_unit_test_setup_teardown(port_revoked_is_refused, open_small, pair_close),
		cmocka_unit_test_setup_teardown(port_forged_is_refused, open_small, pair_close),
		cmocka_unit_test_setup_teardown(port_make_checks_what_it_is_of, open_small,
						pair_close),
		cmocka_unit_test_setup_teardown(port_of_a_removed_channel_is_stale, open_small,
						pair_close),
		cmocka_unit_test_setup_teardown(port_hostile_object_is_refused, open_small,
						pair_close),
		cmocka_unit_test_setup_teardown(port_one_of_many_has_it, open_small, pair_close),
		cmocka_unit_test_setup_teardown(port_maker_killed_at_each_step_leaves_none,
						open_small, pair_close),
		cmocka_unit_test_setup_teardown(port_of_an_unreaped_maker_is_void, open_small,
						pair_close),
		cmocka_unit_test_setup_teardown(port_user_killed_at_each_step_uses_it_or_not,
						open_small, pair_close),
		cmocka_unit_test_setup_teardown(port_used_by_another_at_each_step_is_used_once,
						open_small, pair_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
