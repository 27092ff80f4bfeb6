/* SPDX-License-Identifier: MIT */
/*
 * Hubs in an isolated segment, where nobody trusts another: any peer with any other, up to
 * 255 at one listener; a peer that is in neither's place, one that lies in all of its
 * region, and either side killed before its n-th access to shared memory.
 *
 * Mutants seen to fail here: a listener's endpoint for whoever comes (hub_far_refused_*); a
 * request that counts for another listener too (hub_far_request_*); no look whether the
 * other can still come (hub_far_refused_*, hub_far_sleepers_*); a half of other properties
 * that stays (hub_far_lying_*).
 */
#include "die.h"

#include "backend.h"
#include "channel.h"
#include "dir.h"
#include "dir_table.h"
#include "hubs.h"
#include "lane.h"

#define PEER_SZ (512U << 10)
#define PEERS 8

static int open_with(void **state, uint32_t peers, uint64_t peer_sz)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .flags = EVR_SEGMENT_ISOLATED,
					       .peer_sz = peer_sz,
					       .peers_max = peers };
	struct pair *pair = calloc(1, sizeof(*pair));

	if (!pair || evr_segment_create(&pair->segment, pair_uri(), &options) ||
	    evr_peer_attach(&pair->peer, pair->segment, NULL)) {
		fprintf(stderr, "# %s\n", evr_error_detail());
		return -1;
	}
	steps_to_live = 0;
	steps_turn = NULL;
	*state = pair;
	return 0;
}

static int open_far(void **state)
{
	return open_with(state, PEERS, PEER_SZ);
}

/* Few entries, so that a look at all of them is few steps. */
static int open_tiny(void **state)
{
	return open_with(state, 3, 128 << 10);
}

static void listen_as(struct evr_peer *peer, struct evr_hub *hub, const char *name)
{
	assert_int_equal(evr_hub_create(peer, name, &small), 0);
	assert_int_equal(evr_hub_listen(hub, peer, name, 7), 0);
}

static bool is_same(struct evr_peer_id id, const struct evr_peer *peer)
{
	struct evr_peer_id self = evr_peer_self(peer);

	return id.slot == self.slot && id.incarnation == self.incarnation;
}

/* Objects in this peer's own directory. */
static int count_own(const struct evr_object *object, void *arg)
{
	uint32_t *nr = arg;

	nr[1] += object->slot == nr[0];
	return 0;
}

static uint32_t objects_of(struct evr_peer *peer)
{
	uint32_t nr[2] = { evr_peer_self(peer).slot, 0 };

	assert_int_equal(evr_dir_walk(peer, count_own, nr), 0);
	return nr[1];
}

/* The client proposes, the listener's end accepts, the client sees it. */
static void meet(struct evr_channel *a, struct evr_channel *b)
{
	evr_channel_state(a);
	evr_channel_state(b);
	assert_int_equal(evr_channel_state(a), EVR_RING_OK);
	assert_int_equal(evr_channel_state(b), EVR_RING_OK);
}

static void talk(struct evr_channel *a, struct evr_channel *b)
{
	assert_int_equal(say(a, 1), 0);
	assert_int_equal(hear(b), 1);
	assert_int_equal(say(b, 2), 0);
	assert_int_equal(hear(a), 2);
}

/* A whole connection, made and ended. */
static void connection_works(struct evr_hub *hub, struct evr_peer *listener,
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

static void connect_and_wait(struct evr_peer *peer, void *arg)
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

struct doomed {
	int told[2], go[2];
};

static void listen_and_die(struct evr_peer *peer, void *arg)
{
	struct doomed *d = arg;
	struct evr_hub hub;
	char c;

	CHECK(!evr_hub_create(peer, "h", &small));
	CHECK(!evr_hub_listen(&hub, peer, "h", 7));
	CHECK(write(d->told[1], "l", 1) == 1);
	CHECK(read(d->go[0], &c, 1) == 1);
	raise(SIGKILL);
}

static void hub_far_listener_that_dies_is_known(void **state)
{
	static int want = -EOWNERDEAD;
	struct pair *pair = *state;
	struct evr_peer_id id;
	struct evr_object object;
	struct evr_channel a, none;
	struct doomed d;
	pid_t listener, client;
	char c;

	assert_int_equal(pipe(d.told) | pipe(d.go), 0);
	listener = pair_fork(pair, listen_and_die, &d);
	assert_int_equal(read(d.told[0], &c, 1), 1);
	assert_int_equal(evr_dir_find(pair->peer, "h", &object), 0);
	id = object.creator;
	assert_int_equal(evr_hub_connect(&a, pair->peer, "h", 7), 0);
	client = pair_fork(pair, connect_and_wait, &want);
	pair_sleep_us(20000);
	assert_int_equal(write(d.go[1], "g", 1), 1);
	pair_join(client);
	assert_int_equal(waitpid(listener, NULL, 0), listener);
	pair_settle(pair);
	assert_int_equal(hear(&a), -EOWNERDEAD);
	assert_int_equal(say(&a, 1), -EOWNERDEAD);
	evr_channel_close(&a);
	assert_int_equal(evr_hub_connect(&none, pair->peer, "h", 7), -ENOENT);
	assert_int_equal(evr_hub_connect_to(&none, pair->peer, "h", 7, &id), -ENOENT);
	close(d.told[0]);
	close(d.told[1]);
	close(d.go[0]);
	close(d.go[1]);
}

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

/* It is accepted or not; the next client of its slot is, and nothing has grown. */
static void hub_far_client_killed_at_each_step_leaves_room(void **state)
{
	struct pair *pair = *state;
	struct evr_peer *next;
	struct evr_channel b;
	bool died = true;
	struct evr_hub hub;
	uint32_t nr = 0;
	int64_t heard;
	uint64_t n;
	int err;

	listen_as(pair->peer, &hub, "h");
	for (n = 1; died; n += stride()) {
		assert_true(n < STEPS_MAX);
		died = die_among(pair, n, connect_one, NULL);
		/* Known to be dead or not. */
		err = evr_hub_accept(&hub, &b, NULL);
		assert_true(!err || err == -EAGAIN);
		pair_settle(pair);
		if (!err) {
			heard = hear(&b);
			assert_true(heard == -EOWNERDEAD || heard == -EPIPE);
			evr_channel_close(&b);
		}
		next = another(pair);
		assert_int_equal(evr_peer_self(next).slot, 1);
		connection_works(&hub, pair->peer, next);
		evr_peer_detach(next);
		pair_settle(pair);
		if (nr)
			assert_int_equal(objects_of(pair->peer), nr);
		nr = objects_of(pair->peer);
	}
	evr_hub_close(&hub);
	assert_int_equal(evr_hub_remove(pair->peer, "h"), 0);
	assert_int_equal(objects_of(pair->peer), 0);
}

struct listening {
	int told[2], go[2];
};

static void accept_one(struct evr_peer *peer, void *arg)
{
	struct listening *l = arg;
	uint64_t live = steps_to_live;
	struct evr_channel ch;
	struct evr_hub hub;
	char c;

	steps_to_live = 0;
	CHECK(!evr_hub_create(peer, "h", &small));
	CHECK(!evr_hub_listen(&hub, peer, "h", 7));
	CHECK(write(l->told[1], "l", 1) == 1);
	CHECK(read(l->go[0], &c, 1) == 1);
	steps = 0;
	steps_to_live = live;
	CHECK(!evr_hub_accept(&hub, &ch, NULL));
	evr_channel_state(&ch);
	evr_channel_close(&ch);
	evr_hub_close(&hub);
}

/* Whenever it dies, who has asked learns that; the next listener is another's affair. */
static void hub_far_listener_killed_at_each_step_is_known(void **state)
{
	struct pair *pair = *state;
	bool died = true;
	struct listening l;
	struct evr_channel a;
	int64_t heard;
	int status;
	uint64_t n;
	pid_t pid;
	char c;

	for (n = 1; died; n += stride()) {
		assert_true(n < STEPS_MAX);
		assert_int_equal(pipe(l.told) | pipe(l.go), 0);
		steps_to_live = n;
		steps = STEPS_MAX;
		pid = pair_fork(pair, accept_one, &l);
		steps_to_live = 0;
		assert_int_equal(read(l.told[0], &c, 1), 1);
		assert_int_equal(evr_hub_connect(&a, pair->peer, "h", 7), 0);
		assert_int_equal(write(l.go[1], "g", 1), 1);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		died = WIFSIGNALED(status);
		assert_true(died ? WTERMSIG(status) == SIGKILL : !status);
		pair_settle(pair);
		heard = hear(&a);
		assert_true(heard == -EOWNERDEAD || (!died && heard == -EPIPE));
		evr_channel_close(&a);
		close(l.told[0]);
		close(l.told[1]);
		close(l.go[0]);
		close(l.go[1]);
	}
	printf("# died before some or each of %llu accesses\n", (unsigned long long)n - 1);
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

struct crowd {
	int asked[2], gate[2];
};

/* It sleeps outside of the library, for what the crowd of test_hub.c does. */
static void crowd_client(struct evr_peer *peer, void *arg)
{
	uint64_t deadline = pair_deadline(), me = evr_peer_self(peer).slot;
	struct crowd *crowd = arg;
	struct evr_channel ch;
	int64_t heard;
	char c;

	close(crowd->gate[1]);
	CHECK(!evr_hub_connect(&ch, peer, "h", 7));
	CHECK(write(crowd->asked[1], "a", 1) == 1);
	CHECK(read(crowd->gate[0], &c, 1) == 0);
	while (say(&ch, me) == -ENOTCONN) {
		CHECK(evr_now_ns() < deadline);
		pair_sleep_us(20000);
	}
	while ((heard = hear(&ch)) == -EAGAIN) {
		CHECK(evr_now_ns() < deadline);
		pair_sleep_us(20000);
	}
	CHECK(heard == 1000 + (int64_t)me);
	evr_channel_close(&ch);
}

static void hub_far_255_clients_talk(void **state)
{
	static struct evr_channel b[CLIENTS];
	uint64_t deadline = pair_deadline();
	static struct evr_peer_id from[CLIENTS];
	struct pair *pair = *state;
	static pid_t pids[CLIENTS];
	struct crowd crowd;
	struct evr_hub hub;
	uint32_t i, heard = 0, clients = clients_nr();
	int64_t err;
	char c;

	listen_as(pair->peer, &hub, "h");
	assert_int_equal(pipe(crowd.asked) | pipe(crowd.gate), 0);
	for (i = 0; i < clients; i++)
		pids[i] = pair_fork(pair, crowd_client, &crowd);
	close(crowd.gate[0]);
	for (i = 0; i < clients; i++)
		assert_int_equal(read(crowd.asked[0], &c, 1), 1);
	for (i = 0; i < clients; i++)
		assert_int_equal(evr_hub_accept(&hub, &b[i], &from[i]), 0);
	assert_int_equal(hub.stale, 0);
	close(crowd.gate[1]);
	while (heard < clients) {
		assert_true(evr_now_ns() < deadline);
		for (i = 0; i < clients; i++) {
			if (from[i].slot == EVR_SLOT_ANY)
				continue;
			err = hear(&b[i]);
			assert_true(err == -EAGAIN || err == -ENOTCONN || err == from[i].slot);
			if (err <= 0)
				continue;
			assert_int_equal(say(&b[i], 1000 + from[i].slot), 0);
			from[i].slot = EVR_SLOT_ANY;
			heard++;
		}
		pair_sleep_us(5000);
	}
	for (i = 0; i < clients; i++)
		pair_join(pids[i]);
	for (i = 0; i < clients; i++)
		evr_channel_close(&b[i]);
	close(crowd.asked[0]);
	close(crowd.asked[1]);
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
		CASE(hub_far_listener_that_dies_is_known),
		CASE(hub_far_stranger_is_met_by_nobody),
		CASE(hub_far_request_of_a_liar_is_not_served),
		CASE(hub_far_lying_hub_spoils_no_other),
		CASE(hub_far_lying_inbox_spoils_no_other),
		CASE(hub_far_flood_fills_the_own_region_only),
		CASE(hub_far_hub_that_never_looks_is_in_nobodys_way),
		CASE(hub_far_hostile_word_harms_nobody_else),
		cmocka_unit_test_setup_teardown(hub_far_client_killed_at_each_step_leaves_room,
						open_tiny, pair_close),
		cmocka_unit_test_setup_teardown(hub_far_listener_killed_at_each_step_is_known,
						open_tiny, pair_close),
		CASE(hub_far_any_peer_to_any_peer),
		cmocka_unit_test_setup_teardown(hub_far_255_clients_talk, open_crowd, pair_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
