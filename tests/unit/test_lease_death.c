/* SPDX-License-Identifier: MIT */
/*
 * Leases, and each side killed before its n-th access to shared memory, for each n: what was
 * given has come back, the heap is empty, and no fd is left. And whose process a lender's
 * is: one that has died just now, one of another user.
 *
 * Mutants seen to fail here: a lender that keeps its fds; no end of the block at the release.
 */
#include "leases.h"

#include <sys/prctl.h>
#include <sys/socket.h>

struct sweep {
	int fd, told[2];
};

static uint64_t sweep_at;

/* From here on steps count: how many an opening takes depends on how the last one died. */
static void sweep_begin(void)
{
	steps = 0;
	steps_to_live = sweep_at;
}

static void take_and_release(struct evr_peer *peer, void *arg)
{
	struct sweep *s = arg;
	struct evr_lease lease;
	struct end end;
	void *ptr;
	char c;

	CHECK(!end_open(&end, peer, EVR_CHANNEL_B));
	CHECK(evr_channel_state(&end.ch) == EVR_RING_OK);
	CHECK(write(s->told[1], "r", 1) == 1);
	CHECK(read(s->told[1], &c, 1) == 1);
	sweep_begin();
	CHECK(!take(&lease, &end));
	CHECK(!evr_lease_map(&lease, NULL, &ptr));
	CHECK(*(uint8_t *)ptr == OFF % 251);
	evr_lease_release(&lease);
	CHECK(!take(&lease, &end));
	evr_lease_release(&lease);
	end_close(&end);
}

static pid_t sweep_start(struct pair *pair, struct sweep *s, uint64_t n,
			 void (*fn)(struct evr_peer *, void *))
{
	struct evr_peer *peer;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s->told), 0);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid) {
		close(s->told[1]);
		return pid;
	}
	alarm(60);
	close(s->told[0]);
	CHECK(!evr_peer_attach(&peer, pair->segment, NULL));
	steps_to_live = 0;
	sweep_at = n;
	fn(peer, s);
	steps_to_live = 0;
	evr_peer_detach(peer);
	_exit(0);
}

static bool sweep_end(struct pair *pair, struct sweep *s, pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(s->told[0]);
	assert_true(!status || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
	pair_settle(pair);
	return status;
}

static void lease_taker_killed_at_each_step_gives_all_back(void **state)
{
	struct pair *pair = *state;
	bool died = true, lent = false;
	struct sweep s;
	struct end end;
	uint8_t *map;
	uint64_t n;
	int before;
	pid_t pid;
	char c;

	make_channel(pair);
	s.fd = memfd_filled(&map);
	assert_int_equal(end_open(&end, pair->peer, EVR_CHANNEL_A), 0);
	before = fds_open();
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		pid = sweep_start(pair, &s, n, take_and_release);
		lent = read(s.told[0], &c, 1) == 1;
		if (lent) {
			assert_int_equal(lend(&end, s.fd, OFF, SZ, 0), 0);
			assert_int_equal(lend(&end, s.fd, OFF, SZ, EVR_LEASE_READ_ONLY), 0);
			assert_int_equal(write(s.told[0], "g", 1), 1);
		}
		died = sweep_end(pair, &s, pid);
		evr_channel_state(&end.ch); /* it may have met us, and we not it */
		assert_int_equal(evr_channel_forget(&end.ch), 0);
		assert_true(lent);
		assert_int_equal(evr_lender_collect(&end.lender), 2);
		assert_int_equal(end.lender.out, 0);
		assert_true(end.lender.given == end.lender.returned);
		assert_int_equal(blocks(&end.heap), 0);
		/* Of the local backend's own a peer's pidfd can be left until it is looked at. */
		assert_in_range(fds_open(), before - 1, before + 1);
	}
	printf("# died before each of %llu accesses\n", (unsigned long long)n - 1);
	memfd_end(s.fd, map);
	end_close(&end);
}

static void lend_two(struct evr_peer *peer, void *arg)
{
	struct sweep *s = arg;
	struct end end;
	char c;

	CHECK(!end_open(&end, peer, EVR_CHANNEL_A));
	/* Nor of what the heap does to find room: that has its own sweep. */
	CHECK(!evr_heap_free(&end.heap,
			     evr_heap_alloc(&end.heap, sizeof(struct evr_lease_record)).handle));
	sweep_begin();
	CHECK(!lend(&end, s->fd, OFF, SZ, 0));
	CHECK(!lend(&end, s->fd, OFF, SZ, 0));
	CHECK(write(s->told[1], "r", 1) == 1);
	CHECK(read(s->told[1], &c, 1) == 1);
	evr_lender_collect(&end.lender);
	end_close(&end);
}

/* What has arrived can be released, mapped or not; nothing of it is left. */
static void lease_lender_killed_at_each_step_leaves_nothing(void **state)
{
	struct pair *pair = *state;
	bool died = true, seen[3] = { false };
	struct evr_lease leases[2];
	struct sweep s;
	struct end end;
	uint8_t *map;
	uint64_t n;
	void *ptr;
	pid_t pid;
	char c;
	int nr;

	make_channel(pair);
	s.fd = memfd_filled(&map);
	assert_int_equal(end_open(&end, pair->peer, EVR_CHANNEL_B), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		pid = sweep_start(pair, &s, n, lend_two);
		nr = 0;
		if (read(s.told[0], &c, 1) == 1) {
			/* Both are here, and its lender lives: one is mapped. */
			assert_int_equal(take(&leases[nr++], &end), 0);
			assert_int_equal(evr_lease_map(&leases[0], NULL, &ptr), 0);
			assert_int_equal(write(s.told[0], "g", 1), 1);
		}
		died = sweep_end(pair, &s, pid);
		while (nr < 2 && !take(&leases[nr], &end))
			nr++;
		seen[nr] = true;
		/* It is there whatever has become of its lender; the other cannot be had. */
		if (nr && leases[0].ptr)
			assert_int_equal(*(uint8_t *)ptr, OFF % 251);
		if (nr == 2)
			assert_int_equal(evr_lease_map(&leases[1], NULL, &ptr), -EOWNERDEAD);
		evr_channel_state(&end.ch);
		assert_int_equal(evr_channel_forget(&end.ch), 0);
		while (nr)
			evr_lease_release(&leases[--nr]);
		assert_int_equal(blocks(&end.heap), 0);
	}
	assert_true(seen[0] && seen[2] && seen[1]);
	printf("# died before each of %llu accesses\n", (unsigned long long)n - 1);
	memfd_end(s.fd, map);
	end_close(&end);
}

/* A user without privilege, as after an exec: root is left, and not missed. */
static void become(uint32_t uid)
{
	if (getuid())
		return;
	CHECK(!setresgid(uid, uid, uid) && !setresuid(uid, uid, uid));
	CHECK(!prctl(PR_SET_DUMPABLE, 1));
}

static void taker_of(struct evr_peer *peer, void *arg)
{
	struct sweep *s = arg;
	struct evr_lease lease;
	struct end end;
	uint8_t *bytes;
	void *ptr;
	char c;
	int err;

	CHECK(!end_open(&end, peer, EVR_CHANNEL_B));
	CHECK(evr_channel_state(&end.ch) == EVR_RING_OK);
	CHECK(write(s->told[1], "r", 1) == 1);
	CHECK(read(s->told[1], &c, 1) == 1);
	CHECK(!take(&lease, &end));
	err = evr_lease_map(&lease, NULL, &ptr);
	bytes = ptr;
	CHECK(c == 'y' ? !err && bytes[0] == OFF % 251 : err == -EACCES);
	evr_lease_release(&lease);
	end_close(&end);
}

struct users {
	struct pair *pair;
	uint32_t lender, taker;
};

/* Lender and taker in processes of their own, which stay without privilege. */
static void lend_between(struct evr_peer *peer, void *arg)
{
	struct users *users = arg;
	uint8_t *map = NULL;
	struct evr_peer *own;
	struct sweep s;
	struct end end;
	int status;
	pid_t pid;
	char c;

	CHECK(!end_open(&end, peer, EVR_CHANNEL_A));
	s.fd = memfd_filled(&map);
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, s.told));
	pid = fork();
	if (!pid) {
		alarm(60);
		CHECK(!evr_peer_attach(&own, users->pair->segment, NULL));
		become(users->taker);
		taker_of(own, &s);
		evr_peer_detach(own);
		_exit(0);
	}
	become(users->lender);
	CHECK(read(s.told[0], &c, 1) == 1);
	CHECK(!lend(&end, s.fd, OFF, SZ, 0));
	CHECK(write(s.told[0], users->lender == users->taker ? "y" : "n", 1) == 1);
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	CHECK(evr_lender_collect(&end.lender) == 1);
	CHECK(!blocks(&end.heap));
	end_close(&end);
}

/*
 * A death that nobody has looked for yet is seen before the lender's pid is used, which may
 * be another's by then.
 */
static void lease_of_one_that_died_just_now_is_its_death(void **state)
{
	struct pair *pair = *state;
	struct evr_lease lease;
	struct sweep s;
	struct end end;
	uint8_t *map;
	void *ptr;
	pid_t pid;
	char c;

	make_channel(pair);
	s.fd = memfd_filled(&map);
	assert_int_equal(end_open(&end, pair->peer, EVR_CHANNEL_B), 0);
	evr_reap_auto(pair->peer, false);
	pid = sweep_start(pair, &s, 0, lend_two);
	assert_int_equal(read(s.told[0], &c, 1), 1);
	assert_int_equal(take(&lease, &end), 0);
	pair_kill(pid);
	ptr = &lease;
	assert_int_equal(evr_lease_map(&lease, NULL, &ptr), -EOWNERDEAD);
	assert_null(ptr);
	evr_lease_release(&lease);
	close(s.told[0]);
	memfd_end(s.fd, map);
	end_close(&end);
}

static void lease_needs_no_privilege_but_the_same_user(void **state)
{
	struct users users = { .pair = *state, .lender = 65534, .taker = 65534 };

	make_channel(users.pair);
	pair_join(pair_fork(users.pair, lend_between, &users));
	pair_settle(users.pair);
	users.taker = 65533;
	if (getuid())
		printf("# not root: no other user to be\n");
	else
		pair_join(pair_fork(users.pair, lend_between, &users));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_small, pair_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(lease_taker_killed_at_each_step_gives_all_back),
		TEST(lease_lender_killed_at_each_step_leaves_nothing),
		TEST(lease_of_one_that_died_just_now_is_its_death),
		TEST(lease_needs_no_privilege_but_the_same_user),
	};

	return cmocka_run_group_tests_name("lease_death", tests, NULL, NULL);
}
