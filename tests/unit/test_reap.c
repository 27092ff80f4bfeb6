/* SPDX-License-Identifier: MIT */
/*
 * Reaping: a real process is killed before its n-th access to shared memory, for
 * each n, in each thing that it can be doing; then somebody reaps, and nothing may
 * be left of it. The library's files are compiled in here once more, with a counter
 * in the door to shared memory.
 *
 * Mutants seen to fail here: a claim that does not name its owner, a removal that
 * is not undone (reap_remover_*), an owner word that is left (reap_producer_* and
 * others).
 */
#include "die.h"

static int open_small(void **state)
{
	/* 16 entries, so that a look through the table is a few steps. */
	return pair_open_sized(state, 64 << 10);
}

/* Nobody is at work on any entry, and all memory is that of what is published. */
static void assert_settled(struct pair *pair, uint32_t entries)
{
	struct evr_dir_info info;

	assert_int_equal(evr_dir_info(pair->peer, &info), 0);
	assert_int_equal(info.claimed, 0);
	assert_int_equal(info.entries, entries);
	if (!entries)
		assert_true(info.bytes == 0);
}

static void remove_named(struct pair *pair, const char *name)
{
	struct evr_object object;

	assert_int_equal(evr_dir_find(pair->peer, name, &object), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &object), 0);
}

/* The ring works from end to end, whatever has happened to it. */
static void assert_usable(struct pair *pair, const char *name)
{
	uint64_t value = 42, got = 0;
	struct evr_spsc in, out;

	assert_int_equal(evr_spsc_open(&in, pair->peer, name, EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_open(&out, pair->peer, name, EVR_CONSUMER, 0), 0);
	while (evr_spsc_pop(&out, &got, 1))
		;
	assert_int_equal(evr_spsc_push(&in, &value, 1), 1);
	assert_int_equal(evr_spsc_pop(&out, &got, 1), 1);
	assert_true(got == 42);
	evr_spsc_close(&in);
	evr_spsc_close(&out);
}

static void make_ring(struct evr_peer *peer, void *arg)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options), .capacity = 4 };

	CHECK(!evr_spsc_create(peer, "n", &options));
}

static void reap_creator_killed_at_each_step(void **state)
{
	struct pair *pair = *state;
	struct evr_object object;
	bool died = true, seen_without = false;
	uint64_t n;

	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		died = die_at(pair, n, make_ring, NULL);
		if (evr_dir_find(pair->peer, "n", &object)) {
			assert_true(died);
			seen_without = true;
			assert_settled(pair, 0);
			make_ring(pair->peer, NULL);
		}
		assert_settled(pair, 1);
		assert_usable(pair, "n");
		remove_named(pair, "n");
		assert_settled(pair, 0);
	}
	assert_true(seen_without);
}

static void remove_ring(struct evr_peer *peer, void *arg)
{
	struct evr_object object;

	CHECK(!evr_dir_find(peer, "n", &object));
	CHECK(!evr_dir_remove(peer, &object));
}

static void reap_remover_killed_at_each_step(void **state)
{
	struct pair *pair = *state;
	struct evr_object object;
	bool died = true;
	uint64_t n;

	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		if (evr_dir_find(pair->peer, "n", &object))
			make_ring(pair->peer, NULL);
		died = die_at(pair, n, remove_ring, NULL);
		assert_settled(pair, evr_dir_find(pair->peer, "n", &object) ? 0 : 1);
		assert_true(died || evr_dir_find(pair->peer, "n", &object));
	}
}

static void push_three(struct evr_peer *peer, void *arg)
{
	uint64_t values[] = { 1, 2, 3 }, *to;
	struct evr_spsc in;
	uint32_t nr = 1;

	CHECK(!evr_spsc_open(&in, peer, "n", EVR_PRODUCER, 0));
	CHECK(evr_spsc_push(&in, values, 2) == 2);
	to = evr_spsc_reserve(&in, &nr);
	CHECK(to && nr == 1);
	*to = 3;
	evr_spsc_commit(&in, 1);
	evr_spsc_close(&in);
}

static void reap_producer_killed_at_each_step(void **state)
{
	struct pair *pair = *state;
	enum evr_ring_state end;
	struct evr_spsc out, in;
	bool died = true, seen[4] = { false };
	uint64_t n, value, got;

	make_ring(pair->peer, NULL);
	assert_int_equal(evr_spsc_open(&out, pair->peer, "n", EVR_CONSUMER, 0), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		died = die_at(pair, n, push_three, NULL);
		end = evr_spsc_state(&out);
		for (value = 0, got = 0; evr_spsc_pop(&out, &got, 1); value++)
			assert_true(got == value + 1);
		/* Published were none, the two, or all of them. */
		assert_true(value == 0 || value == 2 || value == 3);
		seen[value] = true;
		if (died)
			assert_true(end == EVR_RING_NO_PEER || end == EVR_RING_PEER_DEAD ||
				    end == EVR_RING_CLOSED);
		else
			assert_true(end == EVR_RING_CLOSED && value == 3);
		assert_int_equal(evr_spsc_open(&in, pair->peer, "n", EVR_PRODUCER, 0), 0);
		assert_int_equal(evr_spsc_push(&in, &n, 1), 1);
		assert_int_equal(evr_spsc_pop(&out, &got, 1), 1);
		assert_true(got == n);
		evr_spsc_close(&in);
		evr_spsc_forget(&out);
	}
	assert_true(seen[0] && seen[2] && seen[3]);
	evr_spsc_close(&out);
	assert_settled(pair, 1);
}

static void pop_two(struct evr_peer *peer, void *arg)
{
	struct evr_spsc out;
	uint64_t got;
	uint32_t nr = 1;

	CHECK(!evr_spsc_open(&out, peer, "n", EVR_CONSUMER, 0));
	CHECK(evr_spsc_pop(&out, &got, 1) == 1);
	CHECK(evr_spsc_peek(&out, &nr) && nr == 1);
	evr_spsc_release(&out, 1);
	evr_spsc_close(&out);
}

static void reap_consumer_killed_at_each_step(void **state)
{
	struct pair *pair = *state;
	struct evr_spsc out, in;
	bool died = true;
	uint64_t n, value = 0, got;

	make_ring(pair->peer, NULL);
	assert_int_equal(evr_spsc_open(&in, pair->peer, "n", EVR_PRODUCER, 0), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		while (evr_spsc_push(&in, &value, 1))
			value++;
		died = die_at(pair, n, pop_two, NULL);
		assert_true(evr_spsc_state(&in) != EVR_RING_OK);
		evr_spsc_forget(&in);
		/* What it did not release is there for its successor; two at most are gone. */
		assert_int_equal(evr_spsc_open(&out, pair->peer, "n", EVR_CONSUMER, 0), 0);
		assert_int_equal(evr_spsc_pop(&out, &got, 1), 1);
		assert_true(got == out.lane.pos - 1 && value - got >= 2 && value - got <= 4);
		evr_spsc_close(&out);
	}
	evr_spsc_close(&in);
	assert_settled(pair, 1);
}

static void write_frames(struct evr_peer *peer, void *arg)
{
	struct evr_bytes in;
	void *to;

	CHECK(!evr_bytes_open(&in, peer, "b", EVR_PRODUCER));
	CHECK(!evr_bytes_write(&in, "one", 3));
	to = evr_bytes_reserve(&in, 900);
	CHECK(to);
	memcpy(to, "twofold", 7);
	CHECK(!evr_bytes_commit_more(&in, 7, EVR_FRAME_BLOCK));
	to = evr_bytes_reserve(&in, 100);
	CHECK(to);
	memcpy(to, "three", 5);
	CHECK(!evr_bytes_commit(&in, 5));
	CHECK(evr_bytes_reserve(&in, 10));
	evr_bytes_close(&in);
}

static void reap_writer_killed_at_each_step(void **state)
{
	struct evr_bytes_options options = { .struct_sz = sizeof(options), .capacity = 1024 };
	static const char *const frames[] = { "one", "twofold", "three" };
	struct pair *pair = *state;
	struct evr_bytes out;
	bool died = true;
	char got[1024];
	int64_t sz;
	uint64_t n;
	int nr;

	assert_int_equal(evr_bytes_create(pair->peer, "b", &options), 0);
	assert_int_equal(evr_bytes_open(&out, pair->peer, "b", EVR_CONSUMER), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		died = die_at(pair, n, write_frames, NULL);
		for (nr = 0;; nr++) {
			sz = evr_bytes_read(&out, got, sizeof(got));
			if (sz < 0)
				break;
			assert_true(nr < 3);
			assert_int_equal(sz, strlen(frames[nr]));
			assert_memory_equal(got, frames[nr], (size_t)sz);
		}
		/* The second is published with the third. */
		assert_true(nr == 0 || nr == 1 || nr == 3);
		assert_true(sz == -EPIPE || (died && (sz == -EAGAIN || sz == -EOWNERDEAD)));
		evr_bytes_forget(&out);
	}
	evr_bytes_close(&out);
	assert_settled(pair, 1);
}

static void read_frames(struct evr_peer *peer, void *arg)
{
	struct evr_bytes out;
	uint64_t got, sz;
	const void *at;

	(void)arg;
	CHECK(!evr_bytes_open(&out, peer, "b", EVR_CONSUMER));
	CHECK(evr_bytes_read(&out, &got, sizeof(got)) == sizeof(got));
	at = evr_bytes_peek(&out, &sz);
	CHECK(at && sz == sizeof(got) && *(const uint64_t *)at == got + 1);
	CHECK(evr_bytes_release(&out));
	evr_bytes_close(&out);
}

static void reap_reader_killed_at_each_step(void **state)
{
	struct evr_bytes_options options = { .struct_sz = sizeof(options), .capacity = 1024 };
	struct pair *pair = *state;
	uint64_t n, value = 0, next = 0, got;
	struct evr_bytes in, out;
	bool died = true, seen[3] = { false };

	assert_int_equal(evr_bytes_create(pair->peer, "b", &options), 0);
	assert_int_equal(evr_bytes_open(&in, pair->peer, "b", EVR_PRODUCER), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		while (!evr_bytes_write(&in, &value, sizeof(value)))
			value++;
		died = die_at(pair, n, read_frames, NULL);
		assert_true(evr_bytes_state(&in) != EVR_RING_OK);
		evr_bytes_forget(&in);
		/* What it did not release is there for its successor; two at most are gone. */
		assert_int_equal(evr_bytes_open(&out, pair->peer, "b", EVR_CONSUMER), 0);
		assert_int_equal(evr_bytes_read(&out, &got, sizeof(got)), sizeof(got));
		assert_true(got >= next && got - next <= 2);
		seen[got - next] = true;
		next = got + 1;
		evr_bytes_close(&out);
	}
	assert_true(seen[0] && seen[1] && seen[2]);
	evr_bytes_close(&in);
	assert_settled(pair, 1);
}

/* Dies, or is killed, with one of everything in its hands. */
static void hold_everything(struct evr_peer *peer, void *arg)
{
	struct evr_object object;
	struct evr_spsc end;

	make_ring(peer, NULL);
	CHECK(!evr_spsc_open(&end, peer, "n", EVR_PRODUCER, 0));
	CHECK(!evr_spsc_open(&end, peer, "n", EVR_CONSUMER, 0));
	CHECK(!evr_dir_create(peer, "claimed", 1, 1000, &object));
	raise(SIGKILL);
}

static void do_nothing(struct evr_peer *peer, void *arg)
{
}

static void reap_reaper_killed_at_each_step(void **state)
{
	struct pair *pair = *state;
	bool died = true;
	uint64_t n;
	pid_t pid;

	evr_reap_auto(pair->peer, false);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		pid = pair_fork(pair, hold_everything, NULL);
		assert_true(waitpid(pid, NULL, 0) == pid);
		/* Attaching reaps. */
		died = die_at(pair, n, do_nothing, NULL);
		assert_settled(pair, 1);
		assert_usable(pair, "n");
		remove_named(pair, "n");
		assert_settled(pair, 0);
	}
}

static void reap_reports_what_it_found(void **state)
{
	struct evr_reap_report report = { 0 };
	struct pair *pair = *state;
	pid_t pid;

	assert_int_equal(evr_reap_dead(pair->peer, &report), 0);
	assert_int_equal(evr_reap(pair->peer, evr_peer_self(pair->peer), &report), -EBUSY);
	pid = pair_fork(pair, hold_everything, NULL);
	assert_true(waitpid(pid, NULL, 0) == pid);
	while (!report.peers) {
		evr_peer_check(pair->peer);
		assert_true(evr_reap_dead(pair->peer, &report) >= 0);
	}
	assert_int_equal(report.peers, 1);
	assert_int_equal(report.objects, 1);
	assert_int_equal(report.sides, 2);
	assert_int_equal(report.bytes, 1024);
	assert_int_equal(evr_reap_dead(pair->peer, &report), 0);
	assert_int_equal(report.objects, 1);
}

static void stop_with_everything(struct evr_peer *peer, void *arg)
{
	struct evr_spsc end;

	make_ring(peer, NULL);
	CHECK(!evr_spsc_open(&end, peer, "n", EVR_PRODUCER, 0));
	raise(SIGSTOP);
	CHECK(evr_spsc_push(&end, &(uint64_t){ 9 }, 1) == 1);
	evr_spsc_close(&end);
}

static void reap_stopped_peer_is_not_dead(void **state)
{
	struct pair *pair = *state;
	struct evr_spsc out, in;
	uint64_t value = 0, until;
	int status = -1;
	pid_t pid;

	pid = pair_fork(pair, stop_with_everything, NULL);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	/* Longer than anybody waits between two looks for evidence. */
	for (until = evr_now_ns() + 150000000; evr_now_ns() < until; pair_sleep_us(1000))
		evr_peer_check(pair->peer);
	assert_int_equal(evr_reap_dead(pair->peer, NULL), 0);
	assert_int_equal(evr_spsc_open(&out, pair->peer, "n", EVR_CONSUMER, 0), 0);
	assert_int_equal(evr_spsc_state(&out), EVR_RING_OK);
	assert_int_equal(evr_reap(pair->peer, evr_spsc_other(&out), NULL), -EBUSY);
	assert_int_equal(evr_spsc_open(&in, pair->peer, "n", EVR_PRODUCER, 0), -EBUSY);
	kill(pid, SIGCONT);
	pair_join(pid);
	assert_int_equal(evr_spsc_pop(&out, &value, 1), 1);
	assert_true(value == 9);
	assert_int_equal(evr_spsc_state(&out), EVR_RING_CLOSED);
	evr_spsc_close(&out);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_small, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(reap_creator_killed_at_each_step),	 CASE(reap_remover_killed_at_each_step),
		CASE(reap_producer_killed_at_each_step), CASE(reap_consumer_killed_at_each_step),
		CASE(reap_writer_killed_at_each_step),	 CASE(reap_reader_killed_at_each_step),
		CASE(reap_reaper_killed_at_each_step),
		CASE(reap_reports_what_it_found),	 CASE(reap_stopped_peer_is_not_dead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
