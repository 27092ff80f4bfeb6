/* SPDX-License-Identifier: MIT */
/*
 * Hubs in an isolated segment, where nobody trusts another: a peer that is in neither's
 * place, and one that lies in all of its region.
 *
 * Mutants seen to fail here: a request that counts for another listener too
 * (hub_far_request_*); a half of other properties that stays (hub_far_lying_*).
 */
#include "hubs_far.h"

/* A third peer with a half of the same name, in either role: neither of the two meets it. */
static void hub_far_stranger_is_met_by_nobody(void **state)
{
	struct pair *pair = *state;
	struct evr_peer *stranger, *client;
	struct evr_channel a, b, sa, sb;
	char name[EVR_OBJECT_NAME_SZ];
	struct evr_hub hub;
	int i;

	/* It has the lower slot: a look at all finds it first. */
	stranger = another(pair);
	client = another(pair);
	listen_as(pair->peer, &hub, "h");
	snprintf(name, sizeof(name), "h.%u.0", evr_peer_self(client).slot);
	assert_int_equal(evr_channel_create(stranger, name, &small), 0);
	assert_int_equal(evr_channel_open(&sa, stranger, name, EVR_CHANNEL_A, 0), 0);
	for (i = 0; i < 2; i++) {
		assert_int_equal(evr_hub_connect(&a, client, "h", 7), 0);
		evr_channel_state(&sa);
		assert_int_equal(evr_hub_accept(&hub, &b, NULL), 0);
		evr_channel_state(&sa);
		evr_channel_state(&b);
		assert_int_equal(evr_channel_state(&sa), EVR_RING_NO_PEER);
		meet(&a, &b);
		talk(&a, &b);
		assert_true(is_same(evr_channel_other(&b), client));
		evr_channel_close(&a);
		evr_channel_close(&b);
	}
	evr_channel_close(&sa);
	/* In the listener's place. */
	assert_int_equal(evr_hub_connect(&a, client, "h", 7), 0);
	assert_int_equal(evr_channel_open(&sb, stranger, name, EVR_CHANNEL_B, 0), 0);
	for (i = 0; i < 3; i++) {
		assert_int_equal(evr_channel_state(&sb), EVR_RING_NO_PEER);
		assert_int_equal(evr_channel_state(&a), EVR_RING_NO_PEER);
	}
	assert_int_equal(evr_hub_accept(&hub, &b, NULL), 0);
	meet(&a, &b);
	assert_true(is_same(evr_channel_other(&a), pair->peer));
	evr_channel_close(&sb);
	evr_channel_close(&a);
	evr_channel_close(&b);
	evr_hub_close(&hub);
	evr_peer_detach(client);
	evr_peer_detach(stranger);
}

/* Requests that no evr_hub_connect() has made, also of somebody else's turn. */
static void hub_far_request_of_a_liar_is_not_served(void **state)
{
	struct {
		uint64_t turn, listener;
		uint32_t slot, number;
	} request;
	struct pair *pair = *state;
	struct evr_peer *liar = another(pair), *client = another(pair);
	struct evr_peer_id self = evr_peer_self(pair->peer);
	uint64_t turn, to = self.incarnation << 8 | self.slot;
	struct evr_inbox_sender sender;
	struct evr_channel a, b, la;
	struct evr_hub hub;
	uint32_t i;

	listen_as(pair->peer, &hub, "h");
	assert_int_equal(evr_hub_connect(&a, client, "h", 7), 0);
	assert_int_equal(evr_channel_create(liar, "h.1.0", &small), 0);
	assert_int_equal(evr_channel_open(&la, liar, "h.1.0", EVR_CHANNEL_A, 0), 0);
	turn = la.rx[0].lane.held;
	assert_int_equal(evr_inbox_join(&sender, liar, "h.in0", 0), 0);
	for (i = 0; i < 9; i++) {
		request.turn = i == 0 ? 0 : i == 1 ? UINT64_MAX : i == 2 ? a.rx[0].lane.held : turn;
		request.listener = i == 3 ? 0 : i == 4 ? to + 1 : i == 5 ? to + 256 : to;
		request.slot = i == 2 ? 2 : i == 6 ? 300 : 1;
		request.number = i == 7 ? EVR_HUB_EACH : i == 8 ? 256 : 0;
		assert_int_equal(evr_inbox_push(&sender, &request, 1), 1);
	}
	/* Its own is one like any other, and so is the client's. */
	request.turn = turn;
	request.listener = to;
	request.slot = 1;
	request.number = 0;
	assert_int_equal(evr_inbox_push(&sender, &request, 1), 1);
	evr_inbox_leave(&sender);
	for (i = 0; i < 2; i++) {
		struct evr_peer_id from;

		assert_int_equal(evr_hub_accept(&hub, &b, &from), 0);
		if (is_same(from, client))
			meet(&a, &b);
		else
			assert_true(is_same(from, liar));
		evr_channel_close(&b);
	}
	assert_int_equal(evr_hub_accept(&hub, &b, NULL), -EAGAIN);
	assert_int_equal(hub.accepted, 2);
	assert_int_equal(hub.stale, 9);
	evr_channel_close(&a);
	evr_channel_close(&la);
	evr_hub_close(&hub);
	evr_peer_detach(client);
	evr_peer_detach(liar);
}

/* A hub that says nonsense, or other things than the next: it costs who believed it nothing. */
static void hub_far_lying_hub_spoils_no_other(void **state)
{
	struct evr_channel_options other = small;
	struct pair *pair = *state;
	struct evr_peer *liar = another(pair), *client = another(pair);
	struct evr_peer_id to = evr_peer_self(liar);
	struct evr_hub hub, lie;
	struct evr_object object;
	struct evr_channel a;
	uint64_t *words, before, i;

	listen_as(pair->peer, &hub, "h");
	other.capacity = 4096;
	assert_int_equal(evr_hub_create(liar, "h", &other), 0);
	assert_int_equal(evr_hub_listen(&lie, liar, "h", 7), 0);
	connection_works(&lie, liar, client);
	connection_works(&hub, pair->peer, client);
	connection_works(&lie, liar, client);
	assert_true(evr_dir_find_in(liar, to, "h", &object));
	words = evr_peer_at(liar, object.off, object.sz);
	for (i = 0; i < 4; i++) {
		before = words[i];
		words[i] = UINT64_MAX;
		assert_int_equal(evr_hub_connect_to(&a, client, "h", 7, &to),
				 i ? -EINVAL : -EBADMSG);
		words[i] = before;
	}
	words[1] = 1ULL << 40;
	assert_int_equal(evr_hub_connect_to(&a, client, "h", 7, &to), -ENOSPC);
	memset(words + 8, 'x', EVR_OBJECT_NAME_SZ);
	assert_int_equal(evr_hub_connect_to(&a, client, "h", 7, &to), -EBADMSG);
	evr_hub_close(&lie);
	connection_works(&hub, pair->peer, client);
	evr_hub_close(&hub);
	evr_peer_detach(client);
	evr_peer_detach(liar);
}

/* An inbox of other properties makes the client's lane no other. */
static void hub_far_lying_inbox_spoils_no_other(void **state)
{
	struct pair *pair = *state;
	struct evr_peer *liar = another(pair), *client = another(pair);
	struct evr_peer_id to = evr_peer_self(liar);
	struct evr_lane_object *shared;
	struct evr_object object;
	struct evr_channel a;
	struct evr_hub hub;
	int err;

	assert_int_equal(evr_hub_create(liar, "h", &small), 0);
	assert_true(evr_dir_find_in(liar, to, "h.in1", &object));
	shared = evr_peer_at(liar, object.off, object.sz);
	shared->geometry.span = 1 << 10;
	err = evr_hub_connect_to(&a, client, "h", 7, &to);
	assert_true(!err || err == -EINVAL || err == -EBADMSG);
	evr_channel_close(&a);
	shared->geometry.unit_sz = 128;
	err = evr_hub_connect_to(&a, client, "h", 7, &to);
	assert_true(err == -EINVAL || err == -EBADMSG);
	listen_as(pair->peer, &hub, "h");
	connection_works(&hub, pair->peer, client);
	evr_hub_close(&hub);
	evr_peer_detach(client);
	evr_peer_detach(liar);
}

/* The directory of a region of this size has so many entries. */
#define ENTRIES (PEER_SZ >> 14)

/* Many that connect and never look: each costs the listener one half, and it says so when it has no more room. */
static void hub_far_flood_fills_the_own_region_only(void **state)
{
	struct evr_channel a[EVR_HUB_EACH], b[EVR_HUB_EACH];
	struct pair *pair = *state;
	struct evr_peer *client = another(pair), *other = another(pair);
	char name[EVR_OBJECT_NAME_SZ];
	struct evr_object fill;
	uint32_t i, nr;
	struct evr_hub hub;
	int err;

	listen_as(pair->peer, &hub, "h");
	connection_works(&hub, pair->peer, other);
	for (i = objects_of(pair->peer); i < ENTRIES - 4; i++) {
		snprintf(name, sizeof(name), "fill %u", i);
		assert_int_equal(evr_dir_create(pair->peer, name, EVR_KIND_USER, 64, &fill), 0);
		assert_int_equal(evr_dir_publish(pair->peer, &fill), 0);
	}
	for (i = 0, nr = 0; i < EVR_HUB_EACH; i++)
		assert_int_equal(evr_hub_connect(&a[i], client, "h", 7), 0);
	for (i = 0; i < EVR_HUB_EACH; i++) {
		err = evr_hub_accept(&hub, &b[nr], NULL);
		assert_int_equal(err, i < 3 ? 0 : -ENOSPC);
		nr += !err;
	}
	assert_int_equal(evr_hub_accept(&hub, &b[nr], NULL), -EAGAIN);
	assert_int_equal(hub.stale, EVR_HUB_EACH - 3);
	/* Whose halves are there already goes on. */
	connection_works(&hub, pair->peer, other);
	for (i = 0; i < EVR_HUB_EACH; i++)
		evr_channel_close(&a[i]);
	for (i = 0; i < nr; i++) {
		assert_int_equal(hear(&b[i]), -EPIPE);
		evr_channel_close(&b[i]);
	}
	evr_hub_close(&hub);
	evr_peer_detach(client);
	evr_peer_detach(other);
}

/* A hub that never looks keeps nobody from another of the same name, nor loses what stands. */
static void hub_far_hub_that_never_looks_is_in_nobodys_way(void **state)
{
	struct pair *pair = *state;
	struct evr_peer *idle = another(pair), *client = another(pair);
	struct evr_peer_id to_idle = evr_peer_self(idle), to = evr_peer_self(pair->peer);
	struct evr_channel a[2], b, none;
	struct evr_hub hub, late;
	int i;

	assert_int_equal(evr_hub_create(idle, "h", &small), 0);
	listen_as(pair->peer, &hub, "h");
	assert_int_equal(evr_hub_connect_to(&a[0], client, "h", 7, &to), 0);
	assert_int_equal(evr_hub_connect_to(&a[1], client, "h", 7, &to_idle), 0);
	for (i = 0; i < 5 * EVR_HUB_EACH; i++) {
		assert_int_equal(evr_hub_connect_to(&none, client, "h", 7, &to_idle), 0);
		evr_channel_close(&none);
	}
	assert_int_equal(evr_hub_accept(&hub, &b, NULL), 0);
	meet(&a[0], &b);
	talk(&a[0], &b);
	evr_channel_close(&b);
	evr_channel_close(&a[0]);
	for (i = 0; i < 3 * EVR_HUB_EACH; i++)
		connection_works(&hub, pair->peer, client);
	/* And when it looks at last, one waits. */
	assert_int_equal(evr_hub_listen(&late, idle, "h", 7), 0);
	assert_int_equal(evr_hub_accept(&late, &b, NULL), 0);
	meet(&a[1], &b);
	talk(&a[1], &b);
	assert_int_equal(evr_hub_accept(&late, &none, NULL), -EAGAIN);
	evr_channel_close(&b);
	evr_channel_close(&a[1]);
	evr_hub_close(&late);
	evr_hub_close(&hub);
	evr_peer_detach(client);
	evr_peer_detach(idle);
}

/* One word at a time is nonsense, in all that the liar has in its region. */

static const uint64_t nonsense[] = { 0, 1, 4097, 1ULL << 32, UINT64_MAX };
#define NONSENSE_NR (sizeof(nonsense) / sizeof(nonsense[0]))

static uint64_t saved[PEER_SZ / 8];

static void accept_whatever_comes(struct evr_hub *hub)
{
	struct evr_channel b;
	int64_t heard;
	int i, err;

	for (i = 0; i < 3; i++) {
		err = evr_hub_accept(hub, &b, NULL);
		assert_true(!err || err == -EAGAIN || err == -ENOSPC);
		if (err)
			continue;
		heard = hear(&b);
		assert_true(heard == 1 || heard == -EAGAIN || heard == -ENOTCONN ||
			    heard == -EPIPE || heard == -EBADMSG);
		say(&b, 2);
		evr_channel_close(&b);
	}
}

static void scribble(struct pair *pair, struct evr_hub *hub, struct evr_peer *liar,
		     const struct evr_object *object, uint64_t sz)
{
	uint64_t *region = evr_peer_at(
		liar, evr_layout_region(&pair->segment->layout, evr_peer_self(liar).slot), PEER_SZ);
	uint64_t *at = object ? evr_peer_at(liar, object->off, sz) : region;
	struct evr_channel a;
	size_t i, v;

	for (i = 0; i < sz / 8; i++)
		for (v = 0; v < NONSENSE_NR; v++) {
			assert_int_equal(evr_hub_connect(&a, liar, "h", 7), 0);
			memcpy(saved, region, 64 << 10);
			at[i] = nonsense[v];
			accept_whatever_comes(hub);
			memcpy(region, saved, 64 << 10);
			evr_channel_close(&a);
			accept_whatever_comes(hub);
		}
}

static void hub_far_hostile_word_harms_nobody_else(void **state)
{
	struct pair *pair = *state;
	struct evr_peer *liar = another(pair), *client = another(pair);
	struct evr_object object;
	struct evr_channel a, b;
	struct evr_hub hub;

	listen_as(pair->peer, &hub, "h");
	assert_int_equal(evr_hub_connect(&a, client, "h", 7), 0);
	assert_int_equal(evr_hub_accept(&hub, &b, NULL), 0);
	meet(&a, &b);
	connection_works(&hub, pair->peer, liar);
	scribble(pair, &hub, liar, NULL, sizeof(struct dir_header) + 3 * sizeof(struct dir_entry));
	assert_true(evr_dir_find_in(liar, evr_peer_self(liar), "h.in0.1", &object));
	scribble(pair, &hub, liar, &object, object.sz);
	assert_true(evr_dir_find_in(liar, evr_peer_self(liar), "h.1.0", &object));
	scribble(pair, &hub, liar, &object, object.sz / 8);
	talk(&a, &b);
	evr_channel_close(&a);
	evr_channel_close(&b);
	connection_works(&hub, pair->peer, client);
	evr_hub_close(&hub);
	evr_peer_detach(client);
	evr_peer_detach(liar);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_far, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(hub_far_stranger_is_met_by_nobody),
		CASE(hub_far_request_of_a_liar_is_not_served),
		CASE(hub_far_lying_hub_spoils_no_other),
		CASE(hub_far_lying_inbox_spoils_no_other),
		CASE(hub_far_flood_fills_the_own_region_only),
		CASE(hub_far_hub_that_never_looks_is_in_nobodys_way),
		CASE(hub_far_hostile_word_harms_nobody_else),
	};

	return cmocka_run_group_tests_name("hub_far_hostile", tests, NULL, NULL);
}
