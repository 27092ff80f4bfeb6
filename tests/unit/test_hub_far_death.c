/* SPDX-License-Identifier: MIT */
/*
 * Hubs in an isolated segment, and either side killed: while the other waits, and before
 * its n-th access to shared memory, for each n.
 */
#include "hubs_far.h"

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

/* It has asked before the listener may die. */
static void ask_and_wait(struct evr_peer *peer, void *arg)
{
	struct doomed *d = arg;
	struct evr_waiter waiter;
	struct evr_channel ch;

	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_SLEEP));
	CHECK(!evr_hub_connect(&ch, peer, "h", 7));
	CHECK(write(d->told[1], "a", 1) == 1);
	CHECK(TIMELY(evr_hub_await(&ch, &waiter, until_ns)) == -EOWNERDEAD);
	CHECK(evr_channel_state(&ch) == EVR_RING_CLOSED);
	evr_waiter_fini(&waiter);
}

static void hub_far_listener_that_dies_is_known(void **state)
{
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
	client = pair_fork(pair, ask_and_wait, &d);
	assert_int_equal(read(d.told[0], &c, 1), 1);
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

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_far, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(hub_far_listener_that_dies_is_known),
		cmocka_unit_test_setup_teardown(hub_far_client_killed_at_each_step_leaves_room,
						open_tiny, pair_close),
		cmocka_unit_test_setup_teardown(hub_far_listener_killed_at_each_step_is_known,
						open_tiny, pair_close),
	};

	return cmocka_run_group_tests_name("hub_far_death", tests, NULL, NULL);
}
