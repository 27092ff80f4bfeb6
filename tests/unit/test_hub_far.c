/* SPDX-License-Identifier: MIT */
/*
 * Hubs in an isolated segment: any peer with any other, and up to 255 at one listener. What
 * is hostile is in test_hub_far_hostile.c, who dies in test_hub_far_death.c.
 *
 * Mutants seen to fail here: a listener's endpoint for whoever comes (hub_far_refused_*);
 * no look whether the other can still come (hub_far_refused_*, hub_far_sleepers_*).
 */
#include "hubs_far.h"

#include <sys/eventfd.h>

static void hub_far_connection_is_a_channel_of_two_halves(void **state)
{
	struct pair *pair = *state;
	struct evr_peer *peer = another(pair);
	struct evr_peer_id from = { 99, 99 };
	struct evr_channel a, b, none;
	struct evr_hub hub;
	uint32_t nr, i;

	listen_as(pair->peer, &hub, "h");
	assert_int_equal(evr_hub_accept(&hub, &none, NULL), -EAGAIN);
	assert_int_equal(evr_hub_connect(&a, peer, "h", 7), 0);
	assert_int_equal(say(&a, 1), -ENOTCONN);
	assert_int_equal(evr_hub_accept(&hub, &b, &from), 0);
	assert_true(is_same(from, peer));
	assert_int_equal(evr_hub_accept(&hub, &none, NULL), -EAGAIN);
	/* Neither has looked yet. */
	assert_int_equal(say(&b, 1), -ENOTCONN);
	meet(&a, &b);
	assert_true(is_same(evr_channel_other(&b), peer));
	talk(&a, &b);
	assert_int_equal(hub.accepted, 1);
	assert_int_equal(hub.stale, 0);
	/* A connection outlives its hub. */
	evr_hub_close(&hub);
	assert_int_equal(evr_hub_remove(pair->peer, "h"), 0);
	talk(&a, &b);
	evr_channel_close(&a);
	assert_int_equal(hear(&b), -EPIPE);
	evr_channel_close(&b);
	/* The next ones use what this one has left. */
	listen_as(pair->peer, &hub, "h");
	connection_works(&hub, pair->peer, peer);
	nr = objects_of(pair->peer) + objects_of(peer);
	for (i = 0; i < 20; i++)
		connection_works(&hub, pair->peer, peer);
	assert_int_equal(objects_of(pair->peer) + objects_of(peer), nr);
	evr_hub_close(&hub);
	evr_peer_detach(peer);
}

static void hub_far_is_its_makers(void **state)
{
	struct pair *pair = *state;
	struct evr_peer *peer = another(pair), *client = another(pair);
	struct evr_peer_id first = evr_peer_self(pair->peer), second = evr_peer_self(peer);
	struct evr_channel a[2], b[2], none;
	struct evr_hub hub[2];

	listen_as(pair->peer, &hub[0], "h");
	assert_int_equal(evr_hub_create(pair->peer, "h", &small), -EEXIST);
	assert_int_equal(evr_hub_listen(&hub[1], peer, "h", 7), -ENOENT);
	assert_int_equal(evr_hub_remove(peer, "h"), -ENOENT);
	assert_int_equal(evr_hub_connect_to(&none, client, "h", 7, &second), -ENOENT);
	/* Another of the same name, that takes nothing from the first. */
	listen_as(peer, &hub[1], "h");
	assert_int_equal(evr_hub_connect_to(&a[0], client, "h", 7, &first), 0);
	assert_int_equal(evr_hub_connect_to(&a[1], client, "h", 7, &second), 0);
	/* Each reads the requests for itself. */
	assert_int_equal(evr_hub_accept(&hub[1], &b[1], NULL), 0);
	assert_int_equal(evr_hub_accept(&hub[1], &none, NULL), -EAGAIN);
	assert_int_equal(hub[1].stale, 0);
	meet(&a[1], &b[1]);
	talk(&a[1], &b[1]);
	assert_int_equal(evr_channel_state(&a[0]), EVR_RING_NO_PEER);
	evr_channel_close(&a[0]);
	evr_channel_close(&a[1]);
	evr_channel_close(&b[1]);
	connection_works(&hub[0], pair->peer, client);
	assert_int_equal(evr_hub_remove(peer, "h"), -EBUSY);
	evr_hub_close(&hub[1]);
	assert_int_equal(evr_hub_remove(peer, "h"), 0);
	assert_int_equal(evr_hub_connect_to(&none, client, "h", 7, &second), -ENOENT);
	connection_works(&hub[0], pair->peer, client);
	evr_hub_close(&hub[0]);
	evr_peer_detach(client);
	evr_peer_detach(peer);
}

static void hub_far_refused_or_given_up_is_known(void **state)
{
	struct pair *pair = *state;
	struct evr_peer *peer = another(pair);
	struct evr_channel a, b;
	struct evr_hub hub;

	listen_as(pair->peer, &hub, "h");
	assert_int_equal(evr_hub_connect(&a, peer, "h", 7), 0);
	assert_int_equal(evr_hub_accept(&hub, &b, NULL), 0);
	evr_channel_close(&b);
	assert_int_equal(hear(&a), -EPIPE);
	assert_int_equal(say(&a, 1), -EPIPE);
	evr_channel_close(&a);
	connection_works(&hub, pair->peer, peer);
	/* Accepted, and then the client is gone before either has looked. */
	assert_int_equal(evr_hub_connect(&a, peer, "h", 7), 0);
	assert_int_equal(evr_hub_accept(&hub, &b, NULL), 0);
	evr_channel_close(&a);
	assert_int_equal(hear(&b), -EPIPE);
	assert_int_equal(say(&b, 1), -EPIPE);
	/* What another turn of it asks for is another connection. */
	assert_int_equal(evr_hub_connect(&a, peer, "h", 7), 0);
	assert_int_equal(hear(&b), -EPIPE);
	evr_channel_close(&b);
	assert_int_equal(evr_hub_accept(&hub, &b, NULL), 0);
	meet(&a, &b);
	evr_channel_close(&a);
	evr_channel_close(&b);
	/* Given up before it was accepted: nothing. */
	assert_int_equal(evr_hub_connect(&a, peer, "h", 7), 0);
	evr_channel_close(&a);
	assert_int_equal(evr_hub_accept(&hub, &b, NULL), -EAGAIN);
	assert_int_equal(hub.stale, 1);
	evr_hub_close(&hub);
	evr_peer_detach(peer);
}

/* One that sleeps is woken: accepted, refused, or told of the listener's death. */
static void hub_far_sleepers_wake_each_other(void **state)
{
	static int want[2] = { 0, -EPIPE };
	struct pair *pair = *state;
	struct evr_waiter waiter;
	struct evr_channel b, *chs[1] = { &b };
	struct evr_hub hub;
	pid_t pid;
	int i;

	listen_as(pair->peer, &hub, "h");
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	for (i = 0; i < 16; i++) {
		pid = pair_fork(pair, connect_and_wait, &want[i % 2]);
		assert_int_equal(evr_hub_wait(&hub, chs, 0, 0, &waiter, pair_deadline()), 0);
		assert_int_equal(evr_hub_accept(&hub, &b, NULL), 0);
		if (i % 4 == 3)
			pair_sleep_us(2000);
		if (!want[i % 2]) {
			assert_int_equal(evr_hub_wait(&hub, chs, 1, 0, &waiter, pair_deadline()),
					 0);
			assert_int_equal(hear(&b), 5);
		}
		evr_channel_close(&b);
		pair_join(pid);
	}
	evr_waiter_fini(&waiter);
	evr_hub_close(&hub);
}

#define MESH 5

struct mesh {
	uint64_t me;
	int ready[2], go[2];
};

/* Listens, is connected to by all the others, and connects to them. */
static void mesh_peer(struct evr_peer *peer, void *arg)
{
	struct mesh *mesh = arg;
	uint64_t me = mesh->me, deadline = pair_deadline(), i, sum = 0;
	struct evr_channel to[MESH], from[MESH];
	uint32_t accepted = 0;
	struct evr_hub hub;
	char name[8], c;
	int64_t heard;

	snprintf(name, sizeof(name), "p%llu", (unsigned long long)me);
	CHECK(!evr_hub_create(peer, name, &small));
	CHECK(!evr_hub_listen(&hub, peer, name, 7));
	CHECK(write(mesh->ready[1], "r", 1) == 1);
	CHECK(read(mesh->go[0], &c, 1) == 1);
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
			for (accepted = 0; accepted < MESH - 1; accepted++)
				evr_channel_state(&from[accepted]);
			CHECK(evr_now_ns() < deadline);
			pair_sleep_us(200);
		}
	for (i = 0; i < MESH - 1; i++) {
		while ((heard = hear(&from[i])) == -EAGAIN || heard == -ENOTCONN) {
			CHECK(evr_now_ns() < deadline);
			pair_sleep_us(200);
		}
		CHECK(heard > 0);
		sum += (uint64_t)heard;
	}
	CHECK(sum == MESH * (MESH + 1) / 2 - (me + 1));
	/* Nobody goes before all have heard. */
	CHECK(write(mesh->ready[1], "h", 1) == 1);
	CHECK(read(mesh->go[0], &c, 1) == 1);
	for (i = 0; i < MESH; i++)
		if (i != me)
			evr_channel_close(&to[i]);
	for (i = 0; i < MESH - 1; i++)
		evr_channel_close(&from[i]);
	evr_hub_close(&hub);
}

static void mesh_all(struct mesh *mesh)
{
	char c;
	int i;

	for (i = 0; i < MESH; i++)
		assert_int_equal(read(mesh->ready[0], &c, 1), 1);
	assert_int_equal(write(mesh->go[1], "goooo", MESH), MESH);
}

static void hub_far_any_peer_to_any_peer(void **state)
{
	struct pair *pair = *state;
	struct mesh mesh[MESH];
	pid_t pids[MESH];
	int i;

	assert_int_equal(pipe(mesh[0].ready) | pipe(mesh[0].go), 0);
	for (i = 0; i < MESH; i++) {
		mesh[i] = mesh[0];
		mesh[i].me = (uint64_t)i;
		pids[i] = pair_fork(pair, mesh_peer, &mesh[i]);
	}
	mesh_all(&mesh[0]);
	mesh_all(&mesh[0]);
	for (i = 0; i < MESH; i++)
		pair_join(pids[i]);
	close(mesh[0].ready[0]);
	close(mesh[0].ready[1]);
	close(mesh[0].go[0]);
	close(mesh[0].go[1]);
}

/* As many clients as there are slots, each in a region of its own. */

#define CLIENTS 255
/* Memory of the device is there from the beginning; a half and an entry for each client. */
static bool is_device(void)
{
	return !strcmp(pair_uri(), "device:");
}

static uint32_t clients_nr(void)
{
	return is_device() ? 31 : CLIENTS;
}

static int open_crowd(void **state)
{
	return open_with(state, clients_nr() + 1, is_device() ? 2 << 20 : 16 << 20);
}

#define ROUNDS 3

struct crowd {
	int asked[2]; /* a client's slot: it has done what is its turn */
	int gate[2];
	int told[EVR_PEERS_MAX]; /* eventfds by slot: it is this client's turn */
	pid_t pids[CLIENTS];
	struct evr_channel chs[CLIENTS];
	struct evr_channel *of[EVR_PEERS_MAX]; /* by slot */
	struct evr_channel *open[CLIENTS];
	uint32_t clients, nr;
	uint64_t heard;
};

static void crowd_wait(struct crowd *crowd, uint8_t me)
{
	uint64_t told;

	CHECK(read(crowd->told[me], &told, sizeof(told)) == sizeof(told) && told == 1);
	pair_alive();
}

/* It sleeps outside of the library, and looks when it is told, for what the crowd of test_hub.c does. */
static void crowd_client(struct evr_peer *peer, void *arg)
{
	uint8_t me = (uint8_t)evr_peer_self(peer).slot, c;
	struct crowd *crowd = arg;
	struct evr_channel ch;
	uint64_t round;

	close(crowd->gate[1]);
	CHECK(!evr_hub_connect(&ch, peer, "h", 7));
	CHECK(read(crowd->gate[0], &c, 1) == 0);
	pair_alive();
	/* Its first look proposes, the listener's accepts. */
	CHECK(say(&ch, me) == -ENOTCONN);
	CHECK(write(crowd->asked[1], &me, 1) == 1);
	crowd_wait(crowd, me);
	for (round = 0; round < ROUNDS; round++) {
		CHECK(!say(&ch, me));
		crowd_wait(crowd, me);
		CHECK(hear(&ch) == 1000 + me);
	}
	evr_channel_close(&ch);
}

static void crowd_start(struct crowd *crowd, struct pair *pair)
{
	uint32_t i;

	memset(crowd, 0, sizeof(*crowd));
	crowd->clients = clients_nr();
	assert_int_equal(pipe(crowd->asked) | pipe(crowd->gate), 0);
	for (i = 0; i < EVR_PEERS_MAX; i++) {
		crowd->told[i] = eventfd(0, 0);
		assert_true(crowd->told[i] >= 0);
	}
	for (i = 0; i < crowd->clients; i++)
		crowd->pids[i] = pair_fork(pair, crowd_client, crowd);
	close(crowd->gate[0]);
	close(crowd->asked[1]); /* when all have died, reading ends */
}

static void crowd_accept(struct crowd *crowd, struct evr_hub *hub, struct evr_waiter *waiter)
{
	struct evr_channel *ch = crowd->chs;
	struct evr_peer_id from;
	int err;

	while (crowd->nr < crowd->clients) {
		err = evr_hub_accept(hub, ch, &from);
		if (err == -EAGAIN) {
			assert_int_equal(evr_hub_wait(hub, NULL, 0, 0, waiter, pair_deadline()), 0);
			continue;
		}
		assert_int_equal(err, 0);
		crowd->of[from.slot] = ch;
		crowd->open[crowd->nr++] = ch++;
	}
}

static void crowd_meet(struct crowd *crowd)
{
	uint32_t i;
	uint8_t slot;

	for (i = 0; i < crowd->clients; i++) {
		assert_int_equal(read(crowd->asked[0], &slot, 1), 1);
		assert_int_equal(evr_channel_state(crowd->of[slot]), EVR_RING_OK);
		assert_int_equal(eventfd_write(crowd->told[slot], 1), 0);
	}
}

/* Answer whatever comes, until the last connection has ended. */
static void crowd_serve(struct crowd *crowd, struct evr_hub *hub, struct evr_waiter *waiter)
{
	struct evr_channel *ch;
	uint32_t at = 0;
	int64_t heard;
	int ret;

	while (crowd->nr) {
		ret = evr_hub_wait(hub, crowd->open, crowd->nr, at, waiter, pair_deadline());
		assert_in_range(ret, 0, (int)crowd->nr - 1);
		at = (uint32_t)ret;
		ch = crowd->open[at];
		heard = hear(ch);
		if (heard > 0) {
			assert_in_range(heard, 1, EVR_PEERS_MAX - 1);
			assert_ptr_equal(ch, crowd->of[heard]);
			assert_int_equal(say(ch, 1000 + (uint64_t)heard), 0);
			assert_int_equal(eventfd_write(crowd->told[heard], 1), 0);
			crowd->heard++;
			continue;
		}
		assert_int_equal(heard, -EPIPE);
		evr_channel_close(ch);
		crowd->open[at] = crowd->open[--crowd->nr];
	}
}

static void hub_far_255_clients_talk(void **state)
{
	static struct crowd crowd;
	struct pair *pair = *state;
	struct evr_waiter waiter;
	struct evr_hub hub;
	uint32_t i;

	listen_as(pair->peer, &hub, "h");
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	crowd_start(&crowd, pair);
	crowd_accept(&crowd, &hub, &waiter);
	assert_int_equal(hub.accepted, crowd.clients);
	assert_int_equal(hub.stale, 0);
	close(crowd.gate[1]); /* go on, all */
	crowd_meet(&crowd);
	crowd_serve(&crowd, &hub, &waiter);
	assert_int_equal(crowd.heard, (uint64_t)ROUNDS * crowd.clients);
	for (i = 0; i < crowd.clients; i++)
		pair_join(crowd.pids[i]);
	for (i = 0; i < EVR_PEERS_MAX; i++)
		close(crowd.told[i]);
	close(crowd.asked[0]);
	evr_waiter_fini(&waiter);
	evr_hub_close(&hub);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_far, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(hub_far_connection_is_a_channel_of_two_halves),
		CASE(hub_far_is_its_makers),
		CASE(hub_far_refused_or_given_up_is_known),
		CASE(hub_far_sleepers_wake_each_other),
		CASE(hub_far_any_peer_to_any_peer),
		cmocka_unit_test_setup_teardown(hub_far_255_clients_talk, open_crowd, pair_close),
	};

	return cmocka_run_group_tests_name("hub_far", tests, NULL, NULL);
}
