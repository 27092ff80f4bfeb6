/* SPDX-License-Identifier: MIT */
/*
 * Channels of two processes and more, whose ends wait: for messages, for room, for credit,
 * and for the death of the other.
 */
#include "channels.h"

#define ROUNDS 3000

/* Echoes until the other end has shut, checking the order; then says how many. */
static void echo(struct evr_peer *peer, void *arg)
{
	struct evr_channel ch;
	struct evr_message m;
	struct evr_waiter w;
	uint64_t nr = 0;
	int err;

	CHECK(!evr_waiter_init(&w, peer, *(enum evr_wait_policy *)arg));
	CHECK(!evr_channel_open(&ch, peer, "c", EVR_CHANNEL_B, 0));
	for (;;) {
		err = TIMELY(evr_channel_recv_wait(&ch, &w, &m, until_ns));
		if (err == -EPIPE)
			break;
		CHECK(!err && m.tag == nr++);
		CHECK(!TIMELY(evr_channel_send_wait(&ch, &w, &m, until_ns)));
		evr_channel_release(&ch, &m);
	}
	m = (struct evr_message){ .data = &nr, .sz = sizeof(nr), .tag = UINT64_MAX };
	CHECK(!TIMELY(evr_channel_send_wait(&ch, &w, &m, until_ns)));
	CHECK(!TIMELY(evr_channel_drain_wait(&ch, &w, until_ns)));
	evr_channel_close(&ch);
	evr_waiter_fini(&w);
}

static void two_processes(struct pair *pair, enum evr_wait_policy policy, uint64_t ahead)
{
	uint64_t sent = 0, got = 0;
	struct evr_channel ch;
	struct evr_message m;
	struct evr_waiter w;
	uint8_t data[INLINE_MAX];
	pid_t pid;

	make_channel(pair, 0, 0);
	pid = pair_fork(pair, echo, &policy);
	CHECK(!evr_waiter_init(&w, pair->peer, policy));
	open_end(pair, &ch, EVR_CHANNEL_A);
	while (got < ROUNDS) {
		if (sent < ROUNDS && sent - got < ahead) {
			memset(data, (int)sent, sizeof(data));
			m = (struct evr_message){ .data = data,
						  .sz = sent % (INLINE_MAX + 1),
						  .tag = sent };
			sent++;
			CHECK(!TIMELY(evr_channel_send_wait(&ch, &w, &m, until_ns)));
			continue;
		}
		CHECK(!TIMELY(evr_channel_recv_wait(&ch, &w, &m, until_ns)));
		assert_true(m.tag == got && m.sz == got % (INLINE_MAX + 1));
		memset(data, (int)got++, sizeof(data));
		assert_memory_equal(m.data, data, m.sz);
		evr_channel_release(&ch, &m);
	}
	assert_int_equal(evr_channel_shutdown(&ch, EVR_SHUT_SEND), 0);
	CHECK(!TIMELY(evr_channel_recv_wait(&ch, &w, &m, until_ns)));
	assert_true(m.tag == UINT64_MAX && !memcmp(m.data, &got, sizeof(got)));
	evr_channel_release(&ch, &m);
	assert_int_equal(evr_channel_recv_wait(&ch, &w, &m, pair_deadline()), -EPIPE);
	pair_join(pid);
	evr_channel_close(&ch);
	evr_waiter_fini(&w);
}

static void channel_two_processes_ping_pong(void **state)
{
	two_processes(*state, EVR_WAIT_ADAPTIVE, 1);
}

static void channel_two_processes_asleep(void **state)
{
	two_processes(*state, EVR_WAIT_SLEEP, 1);
}

static void channel_two_processes_many_ahead(void **state)
{
	two_processes(*state, EVR_WAIT_ADAPTIVE, 8);
}

#define CHANNELS 3

/* Sends on one channel of three, in turn, each time it is asked on it. */
static void serve_any(struct evr_peer *peer, void *arg)
{
	struct evr_channel chs[CHANNELS], *ptrs[CHANNELS];
	bool over[CHANNELS] = { false };
	struct evr_message m;
	struct evr_waiter w;
	int i, at = 0, left = CHANNELS, err;
	char name[] = "0";

	CHECK(!evr_waiter_init(&w, peer, EVR_WAIT_SLEEP));
	for (i = 0; i < CHANNELS; i++) {
		name[0] = (char)('0' + i);
		CHECK(!evr_channel_open(&chs[i], peer, name, EVR_CHANNEL_B, 0));
	}
	while (left) {
		int nr = 0, which[CHANNELS];

		for (i = 0; i < CHANNELS; i++)
			if (!over[i]) {
				which[nr] = i;
				ptrs[nr++] = &chs[i];
			}
		at = TIMELY(evr_channel_wait_any(ptrs, (uint32_t)nr, (uint32_t)at, &w, until_ns));
		CHECK(at >= 0 && at < nr);
		err = evr_channel_recv(ptrs[at], &m);
		if (err == -EPIPE) {
			over[which[at]] = true;
			left--;
			continue;
		}
		CHECK(!err && m.tag == (uint64_t)which[at]);
		CHECK(!evr_channel_send(ptrs[at], m.data, m.sz, m.tag));
		evr_channel_release(ptrs[at], &m);
	}
	for (i = 0; i < CHANNELS; i++)
		evr_channel_close(&chs[i]);
	evr_waiter_fini(&w);
}

static void channel_one_waiter_serves_many(void **state)
{
	struct pair *pair = *state;
	struct evr_channel chs[CHANNELS];
	uint64_t seed = 5, which, i;
	struct evr_message m;
	struct evr_waiter w;
	char name[] = "0";
	pid_t pid;

	CHECK(!evr_waiter_init(&w, pair->peer, EVR_WAIT_SLEEP));
	assert_int_equal(evr_channel_wait_any(NULL, 0, 0, &w, 0), -EINVAL);
	for (i = 0; i < CHANNELS; i++) {
		name[0] = (char)('0' + i);
		assert_int_equal(evr_channel_create(pair->peer, name, NULL), 0);
		assert_int_equal(evr_channel_open(&chs[i], pair->peer, name, EVR_CHANNEL_A, 0), 0);
	}
	pid = pair_fork(pair, serve_any, NULL);
	for (i = 0; i < 600; i++) {
		which = pair_random(&seed) % CHANNELS;
		m = (struct evr_message){ .data = &i, .sz = sizeof(i), .tag = which };
		CHECK(!TIMELY(evr_channel_send_wait(&chs[which], &w, &m, until_ns)));
		CHECK(!TIMELY(evr_channel_recv_wait(&chs[which], &w, &m, until_ns)));
		assert_true(m.tag == which && !memcmp(m.data, &i, sizeof(i)));
		evr_channel_release(&chs[which], &m);
	}
	for (i = 0; i < CHANNELS; i++)
		evr_channel_close(&chs[i]);
	pair_join(pid);
	evr_waiter_fini(&w);
}

/* Grants one message at a time. */
static void take_slowly(struct evr_peer *peer, void *arg)
{
	struct evr_channel ch;
	struct evr_message m;
	struct evr_waiter w;
	uint64_t nr;

	CHECK(!evr_waiter_init(&w, peer, EVR_WAIT_SLEEP));
	CHECK(!evr_channel_open(&ch, peer, "c", EVR_CHANNEL_B, 0));
	for (nr = 0; nr < 500; nr++) {
		CHECK(!TIMELY(evr_channel_recv_wait(&ch, &w, &m, until_ns)));
		CHECK(m.tag == nr);
		evr_channel_release(&ch, &m);
	}
	/* Until it is killed. */
	for (;;)
		pause();
}

static void channel_sleeper_is_woken_by_credit_and_by_death(void **state)
{
	struct pair *pair = *state;
	struct evr_channel ch;
	struct evr_message m;
	struct evr_waiter w;
	uint64_t i;
	pid_t pid;

	make_channel(pair, 1, 0);
	CHECK(!evr_waiter_init(&w, pair->peer, EVR_WAIT_SLEEP));
	open_end(pair, &ch, EVR_CHANNEL_A);
	pid = pair_fork(pair, take_slowly, NULL);
	for (i = 0; i < 501; i++) {
		m = (struct evr_message){ .tag = i };
		CHECK(!TIMELY(evr_channel_send_wait(&ch, &w, &m, until_ns)));
	}
	assert_int_equal(evr_channel_send_wait(&ch, &w, &m, evr_now_ns() + 10000000), -ETIMEDOUT);
	pair_kill(pid);
	assert_int_equal(TIMELY(evr_channel_send_wait(&ch, &w, &m, until_ns)), -EOWNERDEAD);
	assert_int_equal(evr_channel_state(&ch), EVR_RING_PEER_DEAD);
	assert_int_equal(TIMELY(evr_channel_recv_wait(&ch, &w, &m, until_ns)), -EOWNERDEAD);
	assert_int_equal(TIMELY(evr_channel_drain_wait(&ch, &w, until_ns)), -EOWNERDEAD);
	assert_int_equal(evr_channel_forget(&ch), 0);
	assert_conserved(&ch, 501, 500, 1);
	evr_channel_close(&ch);
	evr_waiter_fini(&w);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, pair_open, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(channel_two_processes_ping_pong),
		CASE(channel_two_processes_asleep),
		CASE(channel_two_processes_many_ahead),
		CASE(channel_one_waiter_serves_many),
		CASE(channel_sleeper_is_woken_by_credit_and_by_death),
	};

	return cmocka_run_group_tests_name("channel_wait", tests, NULL, NULL);
}
