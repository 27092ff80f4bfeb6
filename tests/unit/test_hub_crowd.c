/* SPDX-License-Identifier: MIT */
/* Hubs of many: any peer with any other, and 255 processes at one listener. */
#include "hubs_shared.h"

#include <sys/eventfd.h>

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
		cmocka_unit_test_setup_teardown(hub_any_peer_to_any_peer, pair_open, pair_close),
		cmocka_unit_test_setup_teardown(hub_serves_255_clients_of_which_some_are_killed, open_crowd,
						pair_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
