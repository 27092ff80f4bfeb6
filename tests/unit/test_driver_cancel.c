/* SPDX-License-Identifier: MIT */
/*
 * Cancellation: each op that waits, in each state; exactly one terminal completion, and
 * a buffer that nobody writes to after it. (seen_done() fails on a second one.)
 *
 * Mutants seen to fail here: a cancel that is not sent; cancels beyond their share of the
 * completion ring; a file that an abandoned op has made and that stays open; a cancel by fd of all;
 * an abandoned op that is heard of. Two of them are in tests/unit/controls.
 */
#include "waits.h"

/* loop_finish(), and if it does not come, of what. */
static int ends(struct loop *loop, struct seen *seen, const char *name, int when)
{
	uint64_t deadline = pair_deadline();

	while (!seen->terminal) {
		assert_true(evr_driver_run(loop->d, 1, deadline) >= 0);
		if (evr_now_ns() >= deadline) {
			fprintf(stderr, "# %s, state %d: does not end\n", name, when);
			fail();
		}
	}
	return seen->res;
}

static void cancel_of_each_op_in_each_state(void **state)
{
	struct loop *loop = *state;
	static char buffer[64];
	struct seen seen;
	struct waits w;
	uint64_t id;
	size_t i;
	int when;

	assert_int_equal(evr_buffers_create(loop->d, 1, 1), 0);
	assert_int_equal(evr_buffers_provide(loop->d, 1, 0, buffer, sizeof(buffer)), 0);
	for (i = 0; i < OPS_NR; i++) {
		for (when = 0; when < 4; when++) {
			waits_open(&w);
			id = loop_submit(loop, ops[i].op(&w), &seen);
			/* Same batch; handed over; in flight for a while; twice. */
			if (when == 1)
				assert_int_equal(evr_driver_flush(loop->d), 0);
			if (when >= 2)
				loop_rounds(loop, 2);
			assert_int_equal(seen.all, 0);
			assert_int_equal(evr_driver_cancel(loop->d, id), 0);
			if (when == 3 && loop->mode != EVR_DRIVER_NONE && ops[i].op != op_timer)
				assert_int_equal(evr_driver_cancel(loop->d, id), -EALREADY);
			if (ends(loop, &seen, ops[i].name, when) != -ECANCELED)
				fail_msg("%s, state %d: %d", ops[i].name, when, seen.res);
			assert_true(seen.flags & EVR_DONE_CANCELED);
			assert_int_equal(evr_driver_cancel(loop->d, id), -ENOENT);
			loop_rounds(loop, 1);
			assert_int_equal(seen.terminal, 1);
			waits_close(&w);
		}
	}
	assert_int_equal(evr_buffers_nr(loop->d, 1), 1);
	assert_int_equal(evr_buffers_destroy(loop->d, 1), 0);
}

static void cancel_in_the_backlog_makes_no_system_call(void **state)
{
	struct evr_driver_options options = {
		.struct_sz = sizeof(options), .entries = 4, .completions = 8, .backlog_max = 64
	};
	struct seen held[64], waiting;
	struct evr_driver_stats before, after;
	uint64_t ids[64], id;
	struct waits w, own;
	struct loop *loop;
	void *of = NULL;
	int nr = 0;
	size_t i;

	assert_int_equal(loop_open_with(&of, &options), 0);
	loop = of;
	assert_int_equal(evr_buffers_create(loop->d, 1, 1), 0);
	waits_open(&w);
	do {
		ids[nr] = loop_submit(loop, op_read(&w), &held[nr]);
		nr++;
		evr_driver_stats(loop->d, &before);
	} while (!before.backlog);
	for (i = 0; i < OPS_NR; i++) {
		waits_open(&own);
		id = loop_submit(loop, ops[i].op(&own), &waiting);
		evr_driver_flush(loop->d);
		evr_driver_stats(loop->d, &before);
		assert_int_equal(evr_driver_cancel(loop->d, id), 0);
		evr_driver_stats(loop->d, &after);
		assert_int_equal(after.enters, before.enters);
		assert_int_equal(after.cancels, before.cancels);
		assert_int_equal(loop_finish(loop, &waiting), -ECANCELED);
		waits_close(&own);
	}
	while (nr--) {
		assert_int_equal(evr_driver_cancel(loop->d, ids[nr]), 0);
		assert_int_equal(loop_finish(loop, &held[nr]), -ECANCELED);
	}
	assert_int_equal(evr_buffers_destroy(loop->d, 1), 0);
	waits_close(&w);
	assert_int_equal(loop_close(&of), 0);
}

/* More cancels at once than either ring has room for: none gets lost. */
static void cancel_of_very_many_loses_none(void **state)
{
	struct evr_driver_options options = {
		.struct_sz = sizeof(options), .entries = 8, .completions = 2048, .backlog_max = 4096
	};
	static struct seen seen[2000];
	static uint64_t ids[2000];
	struct evr_driver_stats stats;
	struct loop *loop;
	void *own = NULL;
	struct waits w;
	int i, nr = 2000;

	assert_int_equal(loop_open_with(&own, &options), 0);
	loop = own;
	/* Emulated, each holds an fd. */
	if (loop->mode == EVR_DRIVER_NONE)
		nr = 400;
	waits_open(&w);
	for (i = 0; i < nr; i++)
		ids[i] = loop_submit(loop, op_poll(&w), &seen[i]);
	loop_rounds(loop, 2);
	for (i = 0; i < nr; i++)
		assert_int_equal(evr_driver_cancel(loop->d, ids[i]), 0);
	for (i = 0; i < nr; i++)
		assert_int_equal(loop_finish(loop, &seen[i]), -ECANCELED);
	/* They have room of their own among the completions. */
	assert_int_equal(evr_driver_stats(loop->d, &stats), 0);
	assert_int_equal(stats.overflows, 0);
	waits_close(&w);
	assert_int_equal(loop_close(&own), 0);
}

static void cancel_by_fd_takes_those_of_that_fd(void **state)
{
	struct loop *loop = *state;
	struct seen a[3], b;
	struct waits w, other;
	int i;

	waits_open(&w);
	waits_open(&other);
	loop_submit(loop, op_read(&w), &a[0]);
	loop_submit(loop, op_poll(&w), &a[1]);
	loop_submit(loop, op_recv(&w), &a[2]);
	loop_submit(loop, op_read(&other), &b);
	loop_rounds(loop, 1);
	assert_int_equal(evr_driver_cancel_fd(loop->d, w.fds[0]), 3);
	assert_int_equal(evr_driver_cancel_fd(loop->d, -1), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(loop_finish(loop, &a[i]), -ECANCELED);
	loop_rounds(loop, 1);
	assert_int_equal(b.all, 0);
	assert_int_equal(evr_driver_cancel_fd(loop->d, other.fds[0]), 1);
	loop_finish(loop, &b);
	waits_close(&w);
	waits_close(&other);
}

struct racer {
	int fd;
	struct evr_a32 round, started;
	uint64_t seed;
};

#define RACES 2000

static void *racer_thread(void *arg)
{
	struct racer *racer = arg;
	uint32_t round = 0;

	while (round < RACES) {
		while (evr_a32_load_acquire(&racer->round) == round)
			sched_yield();
		evr_a32_store_release(&racer->started, ++round);
		for (uint64_t spins = pair_random(&racer->seed) % 4000; spins; spins--)
			evr_pause();
		CHECK(write(racer->fd, "x", 1) == 1);
	}
	return NULL;
}

/* The byte is read, or the op is cancelled and the byte is still there: never both or neither. */
static void cancel_races_with_completion(void **state)
{
	struct loop *loop = *state;
	struct racer racer = { .seed = 99 };
	int i, read_nr = 0, cancelled = 0;
	uint64_t seed = 5, spins;
	pthread_t thread;
	struct seen seen;
	struct waits w;
	uint64_t id;
	char byte;

	waits_open(&w);
	racer.fd = w.fds[1];
	assert_int_equal(pthread_create(&thread, NULL, racer_thread, &racer), 0);
	for (i = 0; i < RACES; i++) {
		w.buf[0] = 0;
		id = loop_submit(loop, op_read(&w), &seen);
		evr_driver_flush(loop->d);
		evr_a32_fetch_add(&racer.round, 1);
		while (evr_a32_load_acquire(&racer.started) != (uint32_t)i + 1)
			sched_yield();
		for (spins = pair_random(&seed) % 4000; spins; spins--)
			evr_pause();
		if (i % 2)
			evr_driver_run(loop->d, 0, 0);
		evr_driver_cancel(loop->d, id);
		if (loop_finish(loop, &seen) == 1) {
			assert_int_equal(w.buf[0], 'x');
			read_nr++;
			continue;
		}
		assert_int_equal(seen.res, -ECANCELED);
		assert_int_equal(w.buf[0], 0);
		cancelled++;
		assert_int_equal(read(w.fds[0], &byte, 1), 1);
	}
	pthread_join(thread, NULL);
	print_message("# %d read, %d cancelled\n", read_nr, cancelled);
	waits_close(&w);
}

static uint64_t own_id;

static void cancels_itself(struct evr_driver *d, const struct evr_completion *done)
{
	seen_done(d, done);
	if (done->flags & EVR_DONE_MORE)
		CHECK(evr_driver_cancel(d, done->id) == 0);
	else
		CHECK(evr_driver_cancel(d, own_id) == -ENOENT);
}

static void cancel_within_its_own_callback(void **state)
{
	struct loop *loop = *state;
	struct seen seen = { 0 };
	struct evr_op op;
	struct waits w;

	waits_open(&w);
	op = evr_op_then(op_poll_multi(&w), cancels_itself, &seen);
	assert_int_equal(evr_driver_submit(loop->d, &op, &own_id), 0);
	loop_rounds(loop, 1);
	assert_int_equal(write(w.fds[1], "x", 1), 1);
	assert_int_equal(loop_finish(loop, &seen), -ECANCELED);
	assert_int_equal(seen.all, 2);
	waits_close(&w);
}

static void abandoned_is_never_heard_of(void **state)
{
	struct loop *loop = *state;
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	struct evr_driver_stats stats;
	struct seen seen;
	struct waits w;
	uint64_t id;
	int listener, client, i, fds;
	char byte;

	waits_open(&w);
	id = loop_submit(loop, op_read(&w), &seen);
	loop_rounds(loop, 1);
	assert_int_equal(evr_driver_abandon(loop->d, id), 0);
	do {
		evr_driver_run(loop->d, 0, 0);
		evr_driver_stats(loop->d, &stats);
	} while (stats.slots_used);
	assert_int_equal(seen.all, 0);
	assert_int_equal(stats.abandoned, 1);
	waits_close(&w);

	/* What an abandoned accept brings in spite of it is closed. */
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listener, 8), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	fds = loop_fds();
	for (i = 0; i < 50; i++) {
		id = loop_submit(loop, evr_op_accept(listener, NULL, NULL, 0), &seen);
		evr_driver_flush(loop->d);
		client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(client, (struct sockaddr *)&address, len), 0);
		if (i % 2)
			loop_rounds(loop, 0);
		assert_int_equal(evr_driver_abandon(loop->d, id), 0);
		do {
			evr_driver_run(loop->d, 0, 0);
			evr_driver_stats(loop->d, &stats);
		} while (stats.slots_used);
		assert_int_equal(seen.all, 0);
		/* Accepted and closed, or still in the queue of the listener. */
		fcntl(listener, F_SETFL, O_NONBLOCK);
		byte = 0;
		while ((id = (uint64_t)accept(listener, NULL, NULL)) != (uint64_t)-1)
			close((int)id);
		fcntl(listener, F_SETFL, 0);
		assert_true(read(client, &byte, 1) <= 0);
		close(client);
	}
	assert_int_equal(loop_fds(), fds);
	close(listener);
}

static void until_idle(struct loop *loop)
{
	while (loop_busy(loop))
		assert_true(evr_driver_run(loop->d, 0, 0) >= 0);
}

/* The kernel has made it already, or a thread: it is closed, or goes out of the table again. */
static void abandoned_file_is_closed(void **state)
{
	struct evr_op op = evr_op_open(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY, 0, 0);
	struct loop *loop = *state;
	struct evr_driver_stats stats;
	struct seen seen;
	int fds = loop_fds(), into;
	uint32_t slot = 5;
	uint64_t id;

	for (into = 0; into < 2; into++) {
		if (into)
			op = evr_op_into(op, slot);
		id = loop_submit(loop, op, &seen);
		assert_int_equal(evr_driver_flush(loop->d), 0);
		pair_sleep_us(5000);
		assert_int_equal(evr_driver_abandon(loop->d, id), 0);
		until_idle(loop);
		assert_int_equal(seen.all, 0);
		assert_int_equal(loop_fds(), fds);
		assert_int_equal(evr_file_remove(loop->d, slot), -EBADF);
		/* In the background: as if nobody wanted it. */
		op.flags |= EVR_OP_BACKGROUND;
		op.fn = NULL;
		assert_int_equal(evr_driver_submit(loop->d, &op, NULL), 0);
		until_idle(loop);
		assert_int_equal(loop_fds(), fds);
		assert_int_equal(evr_file_remove(loop->d, slot), -EBADF);
		op.flags = 0;
	}
	assert_int_equal(evr_driver_stats(loop->d, &stats), 0);
	assert_int_equal(stats.background_errors, 0);
	assert_int_equal(stats.abandoned, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_MODE_TEST(cancel_of_each_op_in_each_state),
		cmocka_unit_test(cancel_in_the_backlog_makes_no_system_call),
		cmocka_unit_test(cancel_of_very_many_loses_none),
		EACH_MODE_TEST(cancel_by_fd_takes_those_of_that_fd),
		EACH_MODE_TEST(cancel_races_with_completion),
		EACH_MODE_TEST(cancel_within_its_own_callback),
		EACH_MODE_TEST(abandoned_is_never_heard_of),
		EACH_MODE_TEST(abandoned_file_is_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
