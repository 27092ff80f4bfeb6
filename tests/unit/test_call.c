/* SPDX-License-Identifier: MIT */
/*
 * Calls: completed once each, by an answer, a deadline, a cancellation or the end of the
 * server; ids that are late, doubled or forged; threads on both sides; a server that is
 * killed before each access to shared memory, and a caller that is.
 *
 * Mutants seen to fail here: an id whose generation stays (call_deadline_*), a request taken
 * twice (call_forged_*), an answer to the cancelled (call_cancelled_*), requests that the
 * end of the channel does not complete (call_end_*, call_server_killed_*).
 */
#include "turns.h"

#include <pthread.h>

#include "channel.h"

#define OPS 8

struct scene {
	struct evr_channel a, b;
	struct evr_call call;
	struct evr_call_server server;
	struct evr_waiter w;
};

static int open_channel(void **state)
{
	struct evr_channel_options options = { .struct_sz = sizeof(options),
					       .capacity = 4096,
					       .urgent_capacity = 1024,
					       .inline_max = 64 };

	if (open_log() || pair_open_sized(state, 128 << 10))
		return -1;
	return evr_channel_create(((struct pair *)*state)->peer, "c", &options);
}

static int close_channel(void **state)
{
	return close_log() || pair_close(state) ? -1 : 0;
}

static void open_scene(struct pair *pair, struct scene *s)
{
	assert_int_equal(evr_channel_open(&s->a, pair->peer, "c", EVR_CHANNEL_A, 0), 0);
	assert_int_equal(evr_channel_open(&s->b, pair->peer, "c", EVR_CHANNEL_B, 0), 0);
	assert_int_equal(evr_call_init(&s->call, &s->a, OPS), 0);
	assert_int_equal(evr_call_server_init(&s->server, &s->b, OPS), 0);
	assert_int_equal(evr_waiter_init(&s->w, pair->peer, EVR_WAIT_SLEEP), 0);
}

static void close_scene(struct scene *s)
{
	evr_call_fini(&s->call);
	evr_call_server_fini(&s->server);
	evr_channel_close(&s->a);
	evr_channel_close(&s->b);
	evr_waiter_fini(&s->w);
}

static int submit(struct evr_call *call, uint64_t user, uint64_t deadline_ns, uint64_t *id)
{
	struct evr_call_request r = { .message = { .data = &user, .sz = sizeof(user) },
				      .user = user,
				      .deadline_ns = deadline_ns };

	return evr_call_submit(call, &r, id);
}

static uint64_t take(struct scene *s, uint64_t value)
{
	struct evr_message m;

	assert_int_equal(evr_call_take(&s->server, &m), 0);
	assert_true(m.sz == sizeof(value) && !memcmp(m.data, &value, sizeof(value)));
	return m.id;
}

static int answer(struct scene *s, uint64_t id, uint64_t value)
{
	struct evr_message m = { .data = &value, .sz = sizeof(value) };

	return evr_call_answer(&s->server, id, &m);
}

static void assert_completed(struct scene *s, uint64_t id, uint64_t user, int result)
{
	struct evr_call_completion done;
	uint64_t value = user + 1;

	assert_int_equal(evr_call_complete(&s->call, &done), 0);
	assert_true(done.id == id && done.user == user);
	assert_int_equal(done.result, result);
	if (result) {
		assert_null(done.message.data);
		return;
	}
	assert_true(done.message.sz == sizeof(value));
	assert_memory_equal(done.message.data, &value, sizeof(value));
	evr_channel_release(&s->a, &done.message);
}

static void assert_nothing(struct scene *s)
{
	struct evr_call_completion done;

	assert_int_equal(evr_call_complete(&s->call, &done), -EAGAIN);
	assert_int_equal(evr_call_outstanding(&s->call), 0);
}

static void call_limits_are_refused(void **state)
{
	struct pair *pair = *state;
	struct evr_call_server server;
	struct evr_call_request r = { .message = { .flags = EVR_MESSAGE_ANSWER } };
	struct evr_message m;
	struct evr_call call;
	uint64_t id = 9;
	struct scene s;
	int i;

	assert_int_equal(evr_call_init(&call, &s.a, 0), -EINVAL);
	assert_int_equal(evr_call_init(&call, &s.a, EVR_CALL_OPS_MAX + 1), -EINVAL);
	assert_int_equal(evr_call_server_init(&server, &s.b, 0), -EINVAL);
	assert_int_equal(evr_call_server_init(&server, &s.b, EVR_CALL_OPS_MAX + 1), -EINVAL);
	open_scene(pair, &s);
	assert_int_equal(evr_call_submit(&s.call, &r, &id), -EINVAL);
	assert_true(id == 0);
	for (i = 0; i < OPS; i++)
		assert_int_equal(submit(&s.call, 1, 0, &id), 0);
	assert_int_equal(submit(&s.call, 1, 0, &id), -EBUSY);
	assert_int_equal(evr_call_outstanding(&s.call), OPS);
	for (i = 0; i < OPS; i++)
		id = take(&s, 1);
	assert_int_equal(evr_call_take(&s.server, &m), -EAGAIN);
	assert_int_equal(answer(&s, id, 2), 0);
	assert_completed(&s, id, 1, 0);
	assert_int_equal(submit(&s.call, 5, 0, &id), 0);
	take(&s, 5);
	close_scene(&s);
}

static void call_answers_come_in_any_order(void **state)
{
	struct pair *pair = *state;
	struct evr_call_counts counts;
	uint64_t ids[OPS], taken[OPS], round;
	struct scene s;
	int i;

	open_scene(pair, &s);
	for (round = 0; round < 100; round++) {
		for (i = 0; i < OPS; i++)
			assert_int_equal(submit(&s.call, (uint64_t)i, 0, &ids[i]), 0);
		for (i = 0; i < OPS; i++)
			taken[i] = take(&s, (uint64_t)i);
		for (i = OPS - 1; i >= 0; i--) {
			assert_true(taken[i] == ids[i]);
			assert_int_equal(answer(&s, taken[i], (uint64_t)i + 1), 0);
			assert_int_equal(answer(&s, taken[i], 9), -ENOENT);
			assert_completed(&s, ids[i], (uint64_t)i, 0);
		}
		assert_nothing(&s);
	}
	evr_call_counts(&s.call, &counts);
	assert_true(counts.submitted == 100 * OPS && counts.answered == 100 * OPS);
	close_scene(&s);
}

static void call_deadline_completes_once(void **state)
{
	struct evr_call_counts counts;
	struct evr_call_completion done;
	struct pair *pair = *state;
	uint64_t id, first, taken;
	struct scene s;

	open_scene(pair, &s);
	assert_int_equal(submit(&s.call, 1, 1, &first), 0);
	assert_int_equal(submit(&s.call, 2, evr_now_ns() + 50000000, &id), 0);
	taken = take(&s, 1);
	assert_completed(&s, first, 1, -ETIMEDOUT);
	/* It wakes from the other's deadline, not from its own. */
	assert_int_equal(evr_call_complete_wait(&s.call, &s.w, &done, pair_deadline()), 0);
	assert_true(done.id == id && done.user == 2 && done.result == -ETIMEDOUT);
	assert_nothing(&s);
	/* Too late, also for the next request, which has the same place in the table. */
	assert_int_equal(submit(&s.call, 3, 0, &id), 0);
	assert_true((uint32_t)id == (uint32_t)first && id != first);
	assert_int_equal(answer(&s, taken, 2), 0);
	assert_int_equal(evr_call_complete(&s.call, &done), -EAGAIN);
	take(&s, 2);
	assert_int_equal(answer(&s, take(&s, 3), 4), 0);
	assert_completed(&s, id, 3, 0);
	evr_call_counts(&s.call, &counts);
	assert_true(counts.expired == 2 && counts.late == 1 && counts.answered == 1);
	assert_int_equal(evr_call_complete_wait(&s.call, &s.w, &done, evr_now_ns() + 1000000),
			 -ETIMEDOUT);
	close_scene(&s);
}

static void call_cancelled_is_not_completed(void **state)
{
	struct evr_call_server_counts served;
	struct evr_call_counts counts;
	struct pair *pair = *state;
	uint64_t id[3], taken;
	struct evr_message m;
	struct scene s;
	int i;

	open_scene(pair, &s);
	for (i = 0; i < 3; i++)
		assert_int_equal(submit(&s.call, (uint64_t)i, 0, &id[i]), 0);
	taken = take(&s, 0);
	assert_int_equal(evr_call_cancel(&s.call, id[0]), 0);
	assert_int_equal(evr_call_cancel(&s.call, id[0]), -ENOENT);
	assert_int_equal(evr_call_cancel(&s.call, UINT64_MAX), -ENOENT);
	assert_int_equal(evr_call_cancel(&s.call, 0), -ENOENT);
	assert_false(evr_call_is_cancelled(&s.server, taken));
	/* The word of it overtakes the other requests. */
	take(&s, 1);
	assert_true(evr_call_is_cancelled(&s.server, taken));
	assert_int_equal(answer(&s, taken, 1), -ECANCELED);
	assert_int_equal(answer(&s, taken, 1), -ENOENT);
	assert_int_equal(answer(&s, id[1], 2), 0);
	assert_completed(&s, id[1], 1, 0);
	/* Answered in the same moment. */
	assert_int_equal(answer(&s, take(&s, 2), 3), 0);
	assert_int_equal(evr_call_cancel(&s.call, id[2]), 0);
	assert_nothing(&s);
	assert_int_equal(evr_call_take(&s.server, &m), -EAGAIN);
	evr_call_counts(&s.call, &counts);
	assert_true(counts.cancelled == 2 && counts.late == 1 && counts.answered == 1);
	evr_call_server_counts(&s.server, &served);
	assert_true(served.taken == 3 && served.answered == 2 && served.cancelled == 1 &&
		    served.strange == 0);
	close_scene(&s);
}

static int send_raw(struct evr_channel *ch, uint64_t id, uint32_t flags)
{
	struct evr_message m = { .id = id, .flags = flags };

	return evr_channel_send_message(ch, &m);
}

static void call_forged_ids_are_dropped(void **state)
{
	struct evr_call_server_counts served;
	struct evr_call_counts counts;
	struct pair *pair = *state;
	struct evr_message m;
	uint64_t id, taken;
	struct scene s;

	open_scene(pair, &s);
	assert_int_equal(submit(&s.call, 1, 0, &id), 0);
	assert_int_equal(evr_channel_state(&s.b), EVR_RING_OK);
	assert_int_equal(send_raw(&s.b, 0, EVR_MESSAGE_ANSWER), 0);
	assert_int_equal(send_raw(&s.b, UINT64_MAX, EVR_MESSAGE_ANSWER), 0);
	assert_int_equal(send_raw(&s.b, id + 1, EVR_MESSAGE_ANSWER), 0);
	assert_int_equal(send_raw(&s.b, id + (1ULL << 32), EVR_MESSAGE_ANSWER), 0);
	assert_int_equal(send_raw(&s.b, id, EVR_MESSAGE_REQUEST), 0);
	assert_int_equal(send_raw(&s.b, id, 0), 0);
	taken = take(&s, 1);
	assert_int_equal(answer(&s, taken, 2), 0);
	assert_int_equal(send_raw(&s.b, id, EVR_MESSAGE_ANSWER), 0);
	assert_completed(&s, id, 1, 0);
	assert_nothing(&s);
	evr_call_counts(&s.call, &counts);
	assert_true(counts.late == 5 && counts.strange == 2);
	/* And of a broken caller. */
	assert_int_equal(send_raw(&s.a, 0, EVR_MESSAGE_REQUEST), 0);
	assert_int_equal(send_raw(&s.a, 7, EVR_MESSAGE_ANSWER), 0);
	assert_int_equal(send_raw(&s.a, 7, EVR_MESSAGE_CANCEL), 0);
	assert_int_equal(send_raw(&s.a, 7, EVR_MESSAGE_REQUEST), 0);
	assert_int_equal(send_raw(&s.a, 7, EVR_MESSAGE_REQUEST), 0);
	assert_int_equal(evr_call_take(&s.server, &m), 0);
	assert_true(m.id == 7);
	assert_int_equal(evr_call_take(&s.server, &m), -EAGAIN);
	evr_call_server_counts(&s.server, &served);
	assert_true(served.taken == 2 && served.strange == 3);
	close_scene(&s);
}

static void call_end_of_the_server_completes_all(void **state)
{
	struct evr_call_completion done;
	struct pair *pair = *state;
	uint64_t id[3], i;
	struct scene s;

	open_scene(pair, &s);
	for (i = 0; i < 3; i++)
		assert_int_equal(submit(&s.call, i, 0, &id[i]), 0);
	assert_int_equal(answer(&s, take(&s, 0), 1), 0);
	take(&s, 1);
	evr_call_server_fini(&s.server);
	evr_channel_close(&s.b);
	assert_completed(&s, id[0], 0, 0);
	assert_completed(&s, id[1], 1, -EPIPE);
	assert_completed(&s, id[2], 2, -EPIPE);
	assert_int_equal(evr_call_complete(&s.call, &done), -EPIPE);
	assert_int_equal(submit(&s.call, 4, 0, &id[0]), -EPIPE);
	assert_int_equal(evr_call_outstanding(&s.call), 0);
	close_scene(&s);
}

#define REQUESTS 4000

static void *answer_thread(void *arg)
{
	struct evr_call_server *server = arg;
	struct evr_message m;
	struct evr_waiter w;
	uint64_t value, until_ns = pair_deadline();
	int err;

	CHECK(!evr_waiter_init(&w, server->ch->peer, EVR_WAIT_ADAPTIVE));
	for (;;) {
		err = evr_call_take(server, &m);
		if (err == -EPIPE)
			break;
		CHECK(evr_now_ns() < until_ns);
		if (err) {
			CHECK(err == -EAGAIN || err == -ENOTCONN || err == -EBUSY);
			sched_yield();
			continue;
		}
		memcpy(&value, m.data, sizeof(value));
		value++;
		CHECK(!evr_call_answer_wait(
			server, &w, m.id,
			&(struct evr_message){ .data = &value, .sz = sizeof(value) }, until_ns));
	}
	evr_waiter_fini(&w);
	return NULL;
}

static void serve_with_two_threads(struct evr_peer *peer, void *arg)
{
	struct evr_call_server server;
	struct evr_channel b;
	pthread_t threads[2];
	int i;

	CHECK(!evr_channel_open(&b, peer, "c", EVR_CHANNEL_B, 0));
	CHECK(!evr_call_server_init(&server, &b, OPS));
	for (i = 0; i < 2; i++)
		CHECK(!pthread_create(&threads[i], NULL, answer_thread, &server));
	for (i = 0; i < 2; i++)
		CHECK(!pthread_join(threads[i], NULL));
	CHECK(server.counts.answered == REQUESTS && server.counts.strange == 0);
	evr_call_server_fini(&server);
	evr_channel_close(&b);
}

static void *complete_thread(void *arg)
{
	static uint8_t seen[REQUESTS];
	struct evr_call *call = arg;
	struct evr_call_completion done;
	struct evr_waiter w;
	uint64_t value;
	int i;

	memset(seen, 0, sizeof(seen));
	CHECK(!evr_waiter_init(&w, call->ch->peer, EVR_WAIT_SLEEP));
	for (i = 0; i < REQUESTS; i++) {
		CHECK(!TIMELY(evr_call_complete_wait(call, &w, &done, until_ns)));
		CHECK(!done.result && done.user < REQUESTS && !seen[done.user]++);
		memcpy(&value, done.message.data, sizeof(value));
		CHECK(value == done.user + 1);
		evr_channel_release(call->ch, &done.message);
	}
	evr_waiter_fini(&w);
	return NULL;
}

static void call_threads_on_both_sides(void **state)
{
	struct pair *pair = *state;
	uint64_t i, id, until_ns;
	struct evr_channel a;
	struct evr_call call;
	struct evr_waiter w;
	pthread_t thread;
	pid_t pid;
	int err;

	pid = pair_fork(pair, serve_with_two_threads, NULL);
	assert_int_equal(evr_waiter_init(&w, pair->peer, EVR_WAIT_ADAPTIVE), 0);
	assert_int_equal(evr_channel_open(&a, pair->peer, "c", EVR_CHANNEL_A, 0), 0);
	assert_int_equal(evr_call_init(&call, &a, OPS), 0);
	assert_int_equal(pthread_create(&thread, NULL, complete_thread, &call), 0);
	until_ns = pair_deadline();
	for (i = 0; i < REQUESTS;) {
		struct evr_call_request r = { .message = { .data = &i, .sz = sizeof(i) },
					      .user = i,
					      .deadline_ns = until_ns };

		err = evr_call_submit_wait(&call, &w, &r, &id, until_ns);
		CHECK(evr_now_ns() < until_ns);
		if (err == -EBUSY)
			sched_yield();
		else
			CHECK(!err);
		i += !err;
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(evr_channel_shutdown(&a, EVR_SHUT_SEND), 0);
	pair_join(pid);
	evr_call_fini(&call);
	evr_channel_close(&a);
	evr_waiter_fini(&w);
}

static void call_sync_asks_one_at_a_time(void **state)
{
	struct evr_call_request r = { .message = { .data = &(uint64_t){ 3 }, .sz = 8 } };
	struct evr_call_completion done;
	struct pair *pair = *state;
	uint64_t id;
	struct scene s;

	open_scene(pair, &s);
	r.deadline_ns = evr_now_ns() + 1000000;
	assert_int_equal(evr_call_sync(&s.call, &s.w, &r, &done), -ETIMEDOUT);
	take(&s, 3);
	assert_int_equal(submit(&s.call, 4, 0, &id), 0);
	assert_int_equal(evr_call_sync(&s.call, &s.w, &r, &done), -EBUSY);
	evr_channel_close(&s.b);
	assert_completed(&s, id, 4, -EPIPE);
	assert_int_equal(evr_call_sync(&s.call, &s.w, &r, &done), -EPIPE);
	close_scene(&s);
}

static void serve_and_die(struct evr_peer *peer)
{
	struct evr_call_server server;
	struct evr_message m, back;
	struct evr_channel b;
	uint64_t first, value;

	CHECK(!evr_channel_open(&b, peer, "c", EVR_CHANNEL_B, 0));
	CHECK(!evr_call_server_init(&server, &b, OPS));
	child_turn();
	CHECK(!evr_call_take(&server, &m));
	first = m.id;
	CHECK(!evr_call_take(&server, &m));
	memcpy(&value, m.data, 8);
	value++;
	back = (struct evr_message){ .data = &value, .sz = 8 };
	CHECK(!evr_call_answer(&server, m.id, &back));
	log_->sent = 1;
	value--;
	CHECK(!evr_call_answer(&server, first, &back));
	log_->sent = 2;
	evr_call_server_fini(&server);
	evr_channel_close(&b);
}

static void call_server_killed_at_each_step(void **state)
{
	bool died = true, seen_answered[3] = { false }, seen[3];
	struct evr_call_completion done;
	struct pair *pair = *state;
	struct evr_channel a;
	struct evr_call call;
	uint64_t n, id, i, answered;
	int err, sent;
	pid_t pid;

	assert_int_equal(evr_channel_open(&a, pair->peer, "c", EVR_CHANNEL_A, 0), 0);
	assert_int_equal(evr_call_init(&call, &a, OPS), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		pid = start_at(pair, n, serve_and_die);
		sent = 0;
		if (parent_turn()) {
			for (i = 0; i < 3; i++)
				assert_int_equal(submit(&call, i, 0, &id), 0);
			sent = 3;
			parent_done();
		}
		died = finish(pair, pid);
		memset(seen, 0, sizeof(seen));
		answered = 0;
		while (!(err = evr_call_complete(&call, &done))) {
			assert_true(done.user < 3 && !seen[done.user]);
			seen[done.user] = true;
			if (done.result) {
				assert_true(done.result == -EPIPE ||
					    (died && done.result == -EOWNERDEAD));
				continue;
			}
			answered++;
			i = done.user + 1;
			assert_memory_equal(done.message.data, &i, 8);
			evr_channel_release(&a, &done.message);
		}
		/* Each of them once, and then the end. */
		assert_true(seen[0] == !!sent && seen[1] == !!sent && seen[2] == !!sent);
		assert_true(answered == log_->sent || (died && answered == log_->sent + 1));
		if (sent)
			seen_answered[answered] = true;
		assert_int_equal(evr_call_outstanding(&call), 0);
		if (sent)
			assert_true(err == -EPIPE || (died && err == -EOWNERDEAD));
		assert_int_equal(evr_channel_forget(&a), 0);
	}
	assert_true(seen_answered[0] && seen_answered[1] && seen_answered[2]);
	printf("# died before each of %llu accesses\n", (unsigned long long)n - 2);
	evr_call_fini(&call);
	evr_channel_close(&a);
}

/* Two requests, one of them answered in between; log_->received: completions that it has seen. */
static void call_and_die(struct evr_peer *peer)
{
	struct evr_call_completion done;
	struct evr_channel a;
	struct evr_call call;
	uint64_t id;

	CHECK(!evr_channel_open(&a, peer, "c", EVR_CHANNEL_A, 0));
	CHECK(!evr_call_init(&call, &a, OPS));
	CHECK(evr_channel_state(&a) == EVR_RING_OK);
	CHECK(!submit(&call, 7, 0, &id));
	log_->sent = 1;
	CHECK(!submit(&call, 8, 0, &id));
	log_->sent = 2;
	child_turn();
	CHECK(!evr_call_complete(&call, &done));
	CHECK(!done.result && done.user == 7);
	log_->received = 1;
	evr_channel_release(&a, &done.message);
	CHECK(!evr_call_cancel(&call, id));
	evr_call_fini(&call);
	evr_channel_close(&a);
}

/* A server has each request that was sent, once, can answer none of the dead, and serves the next. */
static void call_caller_killed_at_each_step(void **state)
{
	bool died = true, is_served, seen[3] = { false };
	struct evr_call_server server;
	struct pair *pair = *state;
	struct evr_message m, back;
	uint64_t n, value, taken;
	struct evr_channel b;
	pid_t pid;
	int err;

	assert_int_equal(evr_channel_open(&b, pair->peer, "c", EVR_CHANNEL_B, 0), 0);
	assert_int_equal(evr_call_server_init(&server, &b, OPS), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		taken = 0;
		pid = start_at(pair, n, call_and_die);
		is_served = parent_turn();
		while (is_served && !evr_call_take(&server, &m)) {
			memcpy(&value, m.data, 8);
			assert_true(m.sz == 8 && value == 7 + taken++);
			back = (struct evr_message){ .data = &value, .sz = 8 };
			if (value == 7)
				assert_int_equal(evr_call_answer(&server, m.id, &back), 0);
		}
		if (is_served) {
			assert_true(taken == 2);
			parent_done();
		}
		died = finish(pair, pid);
		while (!(err = evr_call_take(&server, &m))) {
			memcpy(&value, m.data, 8);
			assert_true(m.sz == 8 && value == 7 + taken++);
			back = (struct evr_message){ .data = &value, .sz = 8 };
			assert_true(evr_call_answer(&server, m.id, &back) < 0);
		}
		assert_true(err == -EPIPE || err == -ENOTCONN || (died && err == -EOWNERDEAD));
		assert_true(taken == log_->sent || (died && taken == log_->sent + 1));
		assert_true(log_->received == 0 || is_served);
		seen[taken] = true;
		/* What was taken of the dead, and not answered, is let go. */
		evr_call_server_fini(&server);
		err = evr_channel_forget(&b);
		assert_true(!err || err == -ENOTCONN);
		assert_int_equal(evr_call_server_init(&server, &b, OPS), 0);
	}
	assert_true(seen[0] && seen[1] && seen[2]);
	printf("# died before each of %llu accesses\n", (unsigned long long)n - 2);
	evr_call_server_fini(&server);
	evr_channel_close(&b);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_channel, close_channel)
	const struct CMUnitTest tests[] = {
		CASE(call_limits_are_refused),	       CASE(call_answers_come_in_any_order),
		CASE(call_deadline_completes_once),    CASE(call_cancelled_is_not_completed),
		CASE(call_forged_ids_are_dropped),     CASE(call_end_of_the_server_completes_all),
		CASE(call_threads_on_both_sides),      CASE(call_sync_asks_one_at_a_time),
		CASE(call_server_killed_at_each_step), CASE(call_caller_killed_at_each_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
