/* SPDX-License-Identifier: MIT */
/*
 * Channels and death: a real process is killed before its n-th access to shared memory,
 * for each n, in all that an endpoint does; the other end then receives what was sent,
 * gets back what was not received, and each message is accounted for. And words that
 * a broken peer has written.
 *
 * Mutants seen to fail here: nothing recovered at the end of a session
 * (channel_receiver_*); an endpoint that counts as there before it has skipped what is
 * old (channel_message_at_each_step_*); the end told without another look for what was
 * sent before it, or released (channel_end_at_each_step_*); a role that is taken before the look
 * whether it may be (channel_taker_*).
 */
#include "turns.h"

static int open_small(void **state)
{
	/* 16 entries, so that a look through the table is a few steps. */
	return open_log() || pair_open_sized(state, 128 << 10) ? -1 : 0;
}

static int close_small(void **state)
{
	return close_log() || pair_close(state) ? -1 : 0;
}

static void make_channel(struct pair *pair)
{
	struct evr_channel_options options = { .struct_sz = sizeof(options),
					       .capacity = 2048,
					       .urgent_capacity = 1024,
					       .inline_max = 64 };

	assert_int_equal(evr_channel_create(pair->peer, "c", &options), 0);
}

static int send_value(struct evr_channel *ch, uint64_t value)
{
	return evr_channel_send(ch, &value, sizeof(value), value);
}

static int64_t recv_value(struct evr_channel *ch)
{
	struct evr_message m;
	int err = evr_channel_recv(ch, &m);

	if (err)
		return err;
	assert_true(m.sz == 8 && !memcmp(m.data, &m.tag, 8));
	evr_channel_release(ch, &m);
	return (int64_t)m.tag;
}

/* A takes part in a session with the given other end, and both leave. */
static void assert_usable(struct pair *pair, struct evr_channel *b)
{
	struct evr_channel a;

	assert_int_equal(evr_channel_open(&a, pair->peer, "c", EVR_CHANNEL_A, 0), 0);
	assert_int_equal(send_value(&a, 99), 0);
	assert_int_equal(recv_value(b), 99);
	assert_int_equal(send_value(b, 98), 0);
	assert_int_equal(recv_value(&a), 98);
	assert_int_equal(recv_value(&a), -EAGAIN);
	evr_channel_close(&a);
	assert_int_equal(recv_value(b), -EPIPE);
	assert_int_equal(evr_channel_forget(b), 0);
}

static void send_some(struct evr_peer *peer)
{
	uint64_t values[2] = { 2, 3 };
	struct evr_message ms[2] = { { .data = &values[0], .sz = 8, .tag = 2 },
				     { .data = &values[1], .sz = 8, .tag = 3 } };
	struct evr_channel a;
	void *to;

	CHECK(!evr_channel_open(&a, peer, "c", EVR_CHANNEL_A, 0));
	CHECK(!send_value(&a, 1));
	log_->sent = 1;
	CHECK(evr_channel_send_many(&a, ms, 2) == 2);
	log_->sent = 3;
	CHECK(!evr_channel_reserve(&a, 64, &to));
	memcpy(to, &(uint64_t){ 4 }, 8);
	CHECK(!evr_channel_commit(&a, 8, 4));
	log_->sent = 4;
	CHECK(!evr_channel_reserve(&a, 64, &to));
	CHECK(!evr_channel_shutdown(&a, EVR_SHUT_SEND));
	evr_channel_close(&a);
}

static void channel_sender_killed_at_each_step(void **state)
{
	struct pair *pair = *state;
	bool died = true, seen[5] = { false };
	struct evr_channel_counts c;
	uint64_t n, got, sum = 0;
	struct evr_channel b;
	int64_t err;

	make_channel(pair);
	assert_int_equal(evr_channel_open(&b, pair->peer, "c", EVR_CHANNEL_B, 0), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		died = finish(pair, start_at(pair, n, send_some));
		for (got = 0; (err = recv_value(&b)) > 0; got++)
			assert_int_equal(err, got + 1);
		assert_true(got == 0 || got == 1 || got == 3 || got == 4);
		seen[got] = true;
		sum += got;
		/* What it had sent is here, and at most the one that it was about to say so of. */
		assert_true(got == log_->sent || (died && got > log_->sent));
		assert_true(err == -EPIPE || (died && (err == -EOWNERDEAD || err == -ENOTCONN)));
		assert_int_equal(evr_channel_forget(&b), 0);
		assert_usable(pair, &b);
		sum++;
		evr_channel_counts(&b, &c);
		assert_true(c.ends[EVR_CHANNEL_B].received == sum);
		assert_true(c.ends[EVR_CHANNEL_B].dropped == 0);
	}
	assert_true(seen[0] && seen[1] && seen[3] && seen[4]);
	printf("# died before each of %llu accesses\n", (unsigned long long)n - 2);
	evr_channel_close(&b);
}

static void receive_some(struct evr_peer *peer)
{
	struct evr_message ms[3];
	struct evr_channel a;
	int i;

	CHECK(!evr_channel_open(&a, peer, "c", EVR_CHANNEL_A, 0));
	child_turn();
	CHECK(evr_channel_recv_many(&a, ms, 3) == 3);
	CHECK(ms[0].tag == 7 && ms[1].tag == 1 && ms[2].tag == 2);
	for (i = 0; i < 3; i++) {
		evr_channel_release(&a, &ms[i]);
		log_->received++;
	}
	CHECK(!evr_channel_recv(&a, &ms[0]) && ms[0].tag == 3);
	evr_channel_close(&a);
}

static void channel_receiver_killed_at_each_step(void **state)
{
	struct pair *pair = *state;
	struct evr_message urgent = {
		.data = &(uint64_t){ 7 }, .sz = 8, .tag = 7, .flags = EVR_MESSAGE_URGENT
	};
	struct evr_channel_counts c, before = { 0 };
	uint64_t n, i, sent, received, recovered;
	bool died = true, seen[7] = { false };
	struct evr_channel b;
	pid_t pid;

	make_channel(pair);
	assert_int_equal(evr_channel_open(&b, pair->peer, "c", EVR_CHANNEL_B, 0), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		evr_channel_counts(&b, &before);
		pid = start_at(pair, n, receive_some);
		sent = 0;
		if (parent_turn()) {
			for (i = 1; i <= 5; i++)
				assert_int_equal(send_value(&b, i), 0);
			assert_int_equal(evr_channel_send_message(&b, &urgent), 0);
			sent = 6;
			parent_done();
		}
		died = finish(pair, pid);
		if (sent)
			assert_true(send_value(&b, 8) == (died ? -EOWNERDEAD : -EPIPE) ||
				    evr_channel_state(&b) == EVR_RING_CLOSED);
		assert_int_equal(evr_channel_forget(&b), 0);
		evr_channel_counts(&b, &c);
		recovered = c.ends[EVR_CHANNEL_B].recovered - before.ends[EVR_CHANNEL_B].recovered;
		received = c.ends[EVR_CHANNEL_A].received - before.ends[EVR_CHANNEL_A].received;
		assert_true(recovered <= sent);
		/* By position: sent = received + recovered, and no other. */
		seen[sent - recovered] = true;
		assert_true(sent - recovered >= log_->received);
		if (!died) /* it dropped what it did not receive */
			assert_true(recovered == 0 && received == 6);
		/* The dead one's own count may be behind by what it was giving back. */
		assert_true(received + recovered <= sent);
		assert_usable(pair, &b);
	}
	/* The last by close. */
	assert_true(seen[0] && seen[1] && seen[2] && seen[3] && seen[6]);
	printf("# died before each of %llu accesses\n", (unsigned long long)n - 2);
	evr_channel_close(&b);
}

static void forget_partner(struct evr_peer *peer)
{
	struct evr_channel a;

	CHECK(!evr_channel_open(&a, peer, "c", EVR_CHANNEL_A, 0));
	child_turn();
	CHECK(!send_value(&a, 1) && !send_value(&a, 2));
	child_turn();
	CHECK(evr_channel_state(&a) == EVR_RING_CLOSED);
	CHECK(!evr_channel_forget(&a));
	evr_channel_close(&a);
}

static void channel_forgetter_killed_at_each_step(void **state)
{
	struct pair *pair = *state;
	struct evr_channel_counts c;
	uint64_t n, missing, missed = 0;
	struct evr_channel b;
	bool died = true;
	pid_t pid;

	make_channel(pair);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		pid = start_at(pair, n, forget_partner);
		if (parent_turn()) {
			assert_int_equal(evr_channel_open(&b, pair->peer, "c", EVR_CHANNEL_B, 0),
					 0);
			assert_int_equal(send_value(&b, 5), 0);
			parent_done();
			if (parent_turn()) {
				/* It has left 2 of its own and 1 for it. */
				assert_int_equal(recv_value(&b), 1);
				b.rx[0].lane.pos = b.rx[0].published;
				evr_channel_close(&b);
				parent_done();
			} else {
				evr_channel_close(&b);
			}
		}
		died = finish(pair, pid);
		/* Whatever it left is of the past. */
		assert_int_equal(evr_channel_open(&b, pair->peer, "c", EVR_CHANNEL_B, 0), 0);
		assert_usable(pair, &b);
		assert_int_equal(recv_value(&b), -ENOTCONN);
		evr_channel_counts(&b, &c);
		missing = c.ends[EVR_CHANNEL_B].sent - c.ends[EVR_CHANNEL_A].received -
			  c.ends[EVR_CHANNEL_B].recovered;
		/* As above: one, of each that has died. */
		assert_true(missing - missed <= (died ? 1 : 0));
		missed = missing;
		evr_channel_close(&b);
	}
	printf("# died before each of %llu accesses\n", (unsigned long long)n - 2);
}

static void take_role(struct evr_peer *peer)
{
	struct evr_channel b;

	log_->received = (uint64_t)-evr_channel_open(&b, peer, "c", EVR_CHANNEL_B, 0);
	evr_channel_close(&b);
}

/* The last holder has sent, and gone; nobody has heard it yet when the next one dies. */
static void channel_taker_killed_at_each_step_hides_no_message(void **state)
{
	struct pair *pair = *state;
	struct evr_channel a, b;
	struct evr_peer *other;
	bool died = true;
	uint64_t n;

	make_channel(pair);
	assert_int_equal(evr_channel_open(&a, pair->peer, "c", EVR_CHANNEL_A, 0), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		assert_int_equal(evr_peer_attach(&other, pair->segment, NULL), 0);
		assert_int_equal(evr_channel_open(&b, other, "c", EVR_CHANNEL_B, 0), 0);
		assert_int_equal(send_value(&b, 1), 0);
		evr_channel_close(&b);
		evr_peer_detach(other);
		died = finish(pair, start_at(pair, n, take_role));
		assert_true(died || log_->received == EBUSY);
		assert_int_equal(evr_channel_open(&b, pair->peer, "c", EVR_CHANNEL_B, 0), -EBUSY);
		assert_int_equal(recv_value(&a), 1);
		assert_int_equal(recv_value(&a), -EPIPE);
		assert_int_equal(evr_channel_forget(&a), 0);
	}
	assert_true(n > 20);
	assert_int_equal(evr_channel_open(&b, pair->peer, "c", EVR_CHANNEL_B, 0), 0);
	evr_channel_close(&b);
	evr_channel_close(&a);
	printf("# died before each of %llu accesses\n", (unsigned long long)n - 2);
}

static struct evr_channel act_end;
static int act_result;

static void act_send(void)
{
	act_result = send_value(&act_end, 5);
}

static void channel_message_at_each_step_of_an_open_arrives(void **state)
{
	struct pair *pair = *state;
	bool seen_sent = false;
	struct evr_channel a;
	uint64_t n;

	make_channel(pair);
	assert_int_equal(evr_channel_open(&act_end, pair->peer, "c", EVR_CHANNEL_B, 0), 0);
	for (n = 1;; n++) {
		act_result = 1;
		steps = 0;
		act = act_send;
		steps_to_live = n;
		assert_int_equal(evr_channel_open(&a, pair->peer, "c", EVR_CHANNEL_A, 0), 0);
		steps_to_live = 0;
		act = NULL;
		if (act_result == 1)
			break;
		/* Sent before it was there, it would be skipped. */
		assert_true(act_result == 0 || act_result == -ENOTCONN);
		seen_sent |= !act_result;
		assert_int_equal(recv_value(&a), act_result ? -EAGAIN : 5);
		evr_channel_close(&a);
		assert_int_equal(recv_value(&act_end), -EPIPE);
		assert_int_equal(evr_channel_forget(&act_end), 0);
	}
	assert_true(seen_sent && n > 50);
	evr_channel_close(&a);
	evr_channel_close(&act_end);
}

static bool act_closes;

static void act_send_and_end(void)
{
	act_result = send_value(&act_end, 5);
	if (act_closes)
		evr_channel_close(&act_end);
	else
		evr_channel_shutdown(&act_end, EVR_SHUT_SEND);
}

static void channel_end_at_each_step_of_a_receive_comes_last(void **state)
{
	struct pair *pair = *state;
	struct evr_channel a;
	int64_t got;
	uint64_t n;

	make_channel(pair);
	for (n = 1, act_result = 0; act_result != 1; n++) {
		act_closes = n % 2;
		assert_int_equal(evr_channel_open(&act_end, pair->peer, "c", EVR_CHANNEL_B, 0), 0);
		assert_int_equal(evr_channel_open(&a, pair->peer, "c", EVR_CHANNEL_A, 0), 0);
		assert_int_equal(evr_channel_state(&a), EVR_RING_OK);
		act_result = 1;
		steps = 0;
		act = act_send_and_end;
		steps_to_live = (n + 1) / 2;
		got = recv_value(&a);
		steps_to_live = 0;
		act = NULL;
		if (act_result != 1) {
			assert_int_equal(act_result, 0);
			/* It saw nothing yet, or the message: never the end before it. */
			assert_true(got == 5 || (got == -EAGAIN && recv_value(&a) == 5));
			assert_int_equal(recv_value(&a), -EPIPE);
		}
		evr_channel_close(&act_end);
		evr_channel_close(&a);
	}
	assert_true(n > 10);
}

static void act_release_and_end(void)
{
	act_result = recv_value(&act_end) != 5;
	if (act_closes)
		evr_channel_close(&act_end);
	else
		evr_channel_shutdown(&act_end, EVR_SHUT_RECV);
}

static void channel_end_at_each_step_of_a_drain_comes_after_what_was_released(void **state)
{
	struct pair *pair = *state;
	struct evr_waiter w;
	struct evr_channel a;
	uint64_t n;
	int err;

	make_channel(pair);
	assert_int_equal(evr_waiter_init(&w, pair->peer, EVR_WAIT_SLEEP), 0);
	for (n = 2, act_result = 0; act_result != -1; n++) {
		act_closes = n % 2;
		assert_int_equal(evr_channel_open(&act_end, pair->peer, "c", EVR_CHANNEL_B, 0), 0);
		assert_int_equal(evr_channel_open(&a, pair->peer, "c", EVR_CHANNEL_A, 0), 0);
		assert_int_equal(evr_channel_state(&act_end), EVR_RING_OK);
		assert_int_equal(send_value(&a, 5), 0);
		act_result = -1;
		steps = 0;
		act = act_release_and_end;
		steps_to_live = n / 2;
		err = evr_channel_drain_wait(&a, &w, 0);
		steps_to_live = 0;
		act = NULL;
		assert_int_equal(act_result, act_result == -1 ? -1 : 0);
		/* It was too early for the last step; never is it the end. */
		assert_true(!err || err == -ETIMEDOUT);
		assert_true(act_result == -1 || !evr_channel_drain_wait(&a, &w, 0));
		evr_channel_close(&act_end);
		evr_channel_close(&a);
	}
	assert_true(n > 10);
	evr_waiter_fini(&w);
}

static void stop_and_send(struct evr_peer *peer)
{
	struct evr_channel a;

	CHECK(!evr_channel_open(&a, peer, "c", EVR_CHANNEL_A, 0));
	CHECK(!send_value(&a, 1));
	raise(SIGSTOP);
	CHECK(!send_value(&a, 2));
	evr_channel_close(&a);
}

static void channel_stopped_peer_is_not_dead(void **state)
{
	struct pair *pair = *state;
	struct evr_channel b, next;
	int status = -1;
	uint64_t until;
	pid_t pid;

	make_channel(pair);
	assert_int_equal(evr_channel_open(&b, pair->peer, "c", EVR_CHANNEL_B, 0), 0);
	pid = start_at(pair, 0, stop_and_send);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	/* Longer than anybody waits between two looks for evidence. */
	for (until = evr_now_ns() + 150000000; evr_now_ns() < until; pair_sleep_us(1000))
		evr_peer_check(pair->peer);
	assert_int_equal(recv_value(&b), 1);
	assert_int_equal(recv_value(&b), -EAGAIN);
	assert_int_equal(evr_channel_state(&b), EVR_RING_OK);
	assert_int_equal(evr_channel_forget(&b), -EBUSY);
	assert_int_equal(evr_channel_open(&next, pair->peer, "c", EVR_CHANNEL_A, 0), -EBUSY);
	kill(pid, SIGCONT);
	assert_false(finish(pair, pid));
	assert_int_equal(recv_value(&b), 2);
	assert_int_equal(recv_value(&b), -EPIPE);
	evr_channel_close(&b);
}

/* All that an endpoint can do; with whatever result, but in the end it is over. */
static void do_everything(struct evr_channel *ch)
{
	struct evr_message m, more[4];
	void *to;
	int i;

	for (i = 0; i < 200; i++) {
		if (!evr_channel_peek(ch, &m) && !evr_channel_recv(ch, &m)) {
			assert_true(m.sz <= 64);
			memcpy(&(char[64]){ 0 }, m.data, m.sz);
			evr_channel_release(ch, &m);
		}
		send_value(ch, 1);
		m = (struct evr_message){ .flags = EVR_MESSAGE_URGENT };
		evr_channel_send_message(ch, &m);
		if (!evr_channel_reserve(ch, 64, &to))
			memset(to, 1, 64);
		evr_channel_commit(ch, 64, 3);
		if (evr_channel_recv_many(ch, more, 4) > 0)
			evr_channel_release(ch, &more[0]);
	}
	evr_channel_state(ch);
	evr_channel_forget(ch);
	evr_channel_close(ch);
}

static void scribble(struct pair *pair, uint64_t off, uint64_t how)
{
	struct evr_channel a, b;
	struct evr_object object;
	struct evr_a64 *word;
	uint64_t value;
	int err;

	make_channel(pair);
	assert_int_equal(evr_dir_find(pair->peer, "c", &object), 0);
	assert_true(off < object.sz);
	word = evr_peer_at(pair->peer, object.off + off, 8);
	assert_int_equal(evr_channel_open(&a, pair->peer, "c", EVR_CHANNEL_A, 0), 0);
	assert_int_equal(evr_channel_open(&b, pair->peer, "c", EVR_CHANNEL_B, 0), 0);
	assert_int_equal(send_value(&a, 1), 0);
	assert_int_equal(send_value(&b, 1), 0);
	value = evr_a64_load_relaxed(word);
	evr_a64_store_relaxed(word, how == 0 ? 0 :
				    how == 1 ? UINT64_MAX :
				    how == 2 ? value + 16 :
				    how == 3 ? value - 1 :
					       value ^ 1ULL << 63);
	do_everything(&a);
	do_everything(&b);
	err = evr_channel_open(&a, pair->peer, "c", EVR_CHANNEL_A, 0);
	assert_true(err == 0 || err == -EBADMSG);
	if (!err)
		do_everything(&a);
	assert_int_equal(evr_dir_remove(pair->peer, &object), 0);
}

static void channel_hostile_words_do_no_harm(void **state)
{
	/* 7 lines and 2 frames' worth of data of a lane, and where the next one starts. */
	static const uint64_t lanes[] = {
		0,
		896 + 2048 + 112 + 16,
	};
	struct pair *pair = *state;
	struct evr_object object;
	uint64_t off, how, sz;
	size_t i;

	make_channel(pair);
	assert_int_equal(evr_dir_find(pair->peer, "c", &object), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &object), 0);
	sz = object.sz;
	for (how = 0; how < 5; how++) {
		for (i = 0; i < 2; i++)
			for (off = 0; off < 896 + 128; off += 8)
				scribble(pair, lanes[i] + off, how);
		for (off = sz - sizeof(struct evr_channel_tail); off < sz; off += 8)
			scribble(pair, off, how);
	}
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_small, close_small)
	const struct CMUnitTest tests[] = {
		CASE(channel_sender_killed_at_each_step),
		CASE(channel_receiver_killed_at_each_step),
		CASE(channel_forgetter_killed_at_each_step),
		CASE(channel_taker_killed_at_each_step_hides_no_message),
		CASE(channel_message_at_each_step_of_an_open_arrives),
		CASE(channel_end_at_each_step_of_a_receive_comes_last),
		CASE(channel_end_at_each_step_of_a_drain_comes_after_what_was_released),
		CASE(channel_stopped_peer_is_not_dead),
		CASE(channel_hostile_words_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
