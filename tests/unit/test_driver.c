/* SPDX-License-Identifier: MIT */
/*
 * A driver's beginning, its slots, its back-pressure, and who may call it; its end and what
 * is taken from it are in test_driver_take.c. Runs in each mode.
 *
 * Mutants seen to fail here: a generation that does not change when a slot is freed, on
 * either way; a run that does not see that nothing is under way, or that a signal has come
 * (both hang); any thread's calls; a run within a callback; and tests/unit/controls, driver-*.
 */
#include "loop.h"

#include <sys/time.h>

#include "driver.h"

static void driver_options_checked(void **state)
{
	static const struct {
		struct evr_driver_options options;
		int err;
	} bad[] = {
		{ { .struct_sz = 3 }, -EINVAL },
		{ { .struct_sz = sizeof(struct evr_driver_options), .flags = 1u << 31 }, -EINVAL },
		{ { .struct_sz = sizeof(struct evr_driver_options), .mode = 4 }, -EINVAL },
		{ { .struct_sz = sizeof(struct evr_driver_options), .entries = 32769 }, -EINVAL },
		{ { .struct_sz = sizeof(struct evr_driver_options), .ops_max = 1 << 24 }, -EINVAL },
		{ { .struct_sz = sizeof(struct evr_driver_options),
		    .mode = EVR_DRIVER_NONE,
		    .flags = EVR_DRIVER_REQUIRE_URING },
		  -EINVAL },
		{ { .struct_sz = sizeof(struct evr_driver_options),
		    .mode = EVR_DRIVER_NONE,
		    .flags = EVR_DRIVER_SQPOLL },
		  -EINVAL },
	};
	struct evr_driver *d;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		d = (struct evr_driver *)1;
		assert_int_equal(evr_driver_create(&d, &bad[i].options), bad[i].err);
		assert_null(d);
	}
}

static void driver_mode_is_as_asked(void **state)
{
	struct loop *loop = *state;
	const char *mode = getenv("EVERING_DRIVER_MODE");
	struct evr_driver_caps caps;

	evr_driver_caps(loop->d, &caps);
	if (mode && *mode)
		assert_string_equal(evr_driver_mode_name(caps.mode), mode);
	assert_int_equal(caps.support[EVR_OP_NOP],
			 caps.mode == EVR_DRIVER_NONE ? EVR_SUPPORT_INLINE : EVR_SUPPORT_NATIVE);
	assert_int_equal(evr_driver_supports(loop->d, EVR_OPS_NR), EVR_SUPPORT_NONE);
	assert_int_equal(caps.mode == EVR_DRIVER_DEFER,
			 !!(caps.setup_flags & IORING_SETUP_DEFER_TASKRUN));
	assert_string_equal(evr_op_name(EVR_OP_SPLICE), "splice");
	assert_string_equal(evr_op_name(EVR_OPS_NR), "unknown");
}

static void driver_unknown_op_refused_as_caps_say(void **state)
{
	struct loop *loop = *state;
	struct evr_op op = evr_op_nop();
	uint64_t id = 77;
	int code;

	op.code = EVR_OPS_NR;
	assert_int_equal(evr_driver_submit(loop->d, &op, &id), -EOPNOTSUPP);
	op.code = EVR_OP_RAW;
	assert_int_equal(evr_driver_submit(loop->d, &op, &id), -EOPNOTSUPP);
	op = evr_op_flagged(evr_op_nop(), EVR_OP_MULTISHOT);
	assert_int_equal(evr_driver_submit(loop->d, &op, &id), -EINVAL);
	assert_int_equal(id, 77);
	/* Every op of the table is there in every mode. */
	for (code = 0; code < EVR_OP_RAW; code++)
		assert_true(evr_driver_supports(loop->d, (unsigned int)code) != EVR_SUPPORT_NONE);
}

static void driver_nops_of_each_batch_complete_once(void **state)
{
	static const int batches[] = { 1, 2, 31, 32, 33, 255, 256, 257, 880, 1000 };
	struct loop *loop = *state;
	int nr = 0, i, sent = 0, err;
	struct evr_op op = evr_op_then(evr_op_nop(), loop_count, &nr);
	uint64_t id, last = 0;
	size_t b;

	for (b = 0; b < sizeof(batches) / sizeof(batches[0]); b++) {
		for (i = 0; i < batches[b]; i++) {
			err = evr_driver_submit(loop->d, &op, &id);
			assert_int_equal(err, 0);
			assert_true(id != last);
			last = id;
			sent++;
		}
		LOOP_UNTIL(loop, nr == sent);
	}
	loop_rounds(loop, 2);
	assert_int_equal(nr, sent);
}

static void driver_full_says_again_and_then_writable(void **state)
{
	struct loop *loop = *state;
	struct evr_driver_stats before, after;
	int nr = 0, sent = 0, refused = 0, i;
	struct evr_op op = evr_op_then(evr_op_nop(), loop_count, &nr);

	evr_driver_stats(loop->d, &before);
	for (i = 0; i < 100000; i++) {
		int err = evr_driver_submit(loop->d, &op, NULL);

		assert_true(err == 0 || err == -EAGAIN);
		sent += !err;
		refused += !!err;
	}
	evr_driver_stats(loop->d, &after);
	assert_true(refused > 0);
	assert_int_equal(after.again, refused);
	/* Credits of the completion ring, and the backlog behind them. */
	assert_int_equal(sent, 1024 - 128 - 8 + 256);
	assert_int_equal(after.backlog, 256);
	assert_true(after.slots <= 1280);
	LOOP_UNTIL(loop, nr == sent);
	evr_driver_stats(loop->d, &after);
	assert_int_equal(after.overflows, 0);
}

static int writable;

static void on_writable(struct evr_driver *d, void *user)
{
	writable++;
	assert_ptr_equal(user, &writable);
}

static void driver_fail_fast_has_no_backlog(void **state)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .flags = EVR_DRIVER_FAIL_FAST,
					      .entries = 8,
					      .completions = 16,
					      .on_writable = on_writable,
					      .user = &writable };
	int nr = 0, sent = 0;
	struct evr_op op = evr_op_then(evr_op_nop(), loop_count, &nr);
	struct evr_driver_stats stats;
	struct loop *loop;
	void *own = NULL;

	writable = 0;
	assert_int_equal(loop_open_with(&own, &options), 0);
	loop = own;
	while (!evr_driver_submit(loop->d, &op, NULL))
		sent++;
	assert_int_equal(sent, 14);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EAGAIN);
	evr_driver_stats(loop->d, &stats);
	assert_int_equal(stats.backlog, 0);
	assert_int_equal(writable, 0);
	LOOP_UNTIL(loop, nr == sent);
	loop_rounds(loop, 3);
	assert_int_equal(writable, 1);
	assert_int_equal(loop_close(&own), 0);
}

static void order_done(struct evr_driver *d, const struct evr_completion *done)
{
	int *order = done->arg;

	order[1 + order[0]++] = (int)(done->id & 0xffffff);
}

static void driver_backlog_keeps_the_order(void **state)
{
	struct evr_driver_options options = {
		.struct_sz = sizeof(options), .entries = 4, .completions = 8, .backlog_max = 200
	};
	static int order[256];
	struct evr_op op = evr_op_then(evr_op_nop(), order_done, order);
	struct loop *loop;
	int ids[200], i;
	uint64_t id;
	void *own = NULL;

	assert_int_equal(loop_open_with(&own, &options), 0);
	loop = own;
	order[0] = 0;
	for (i = 0; i < 200; i++) {
		assert_int_equal(evr_driver_submit(loop->d, &op, &id), 0);
		ids[i] = (int)(id & 0xffffff);
	}
	LOOP_UNTIL(loop, order[0] == 200);
	assert_memory_equal(ids, order + 1, sizeof(ids));
	assert_int_equal(loop_close(&own), 0);
}

static void driver_slot_reused_has_another_id(void **state)
{
	struct loop *loop = *state;
	struct seen seen;
	uint64_t first, second;

	first = loop_submit(loop, evr_op_nop(), &seen);
	loop_finish(loop, &seen);
	second = loop_submit(loop, evr_op_nop(), &seen);
	assert_int_equal((uint32_t)first, (uint32_t)second);
	assert_true(first != second);
	assert_int_equal(evr_driver_cancel(loop->d, first), -ENOENT);
	assert_int_equal(evr_driver_abandon(loop->d, first), -ENOENT);
	loop_finish(loop, &seen);
	assert_int_equal(seen.res, 0);
	assert_int_equal(evr_driver_cancel(loop->d, second), -ENOENT);
	assert_int_equal(evr_driver_cancel(loop->d, 0), -ENOENT);
	assert_int_equal(evr_driver_cancel(loop->d, UINT64_MAX), -ENOENT);
}

static void driver_generation_wraps_past_zero(void **state)
{
	struct loop *loop = *state;
	struct seen seen;
	uint64_t id;

	id = loop_submit(loop, evr_op_nop(), &seen);
	loop_finish(loop, &seen);
	slot_at(loop->d, (uint32_t)id & INDEX_MASK)->gen = UINT32_MAX;
	id = loop_submit(loop, evr_op_nop(), &seen);
	assert_int_equal(id >> 32, UINT32_MAX);
	loop_finish(loop, &seen);
	id = loop_submit(loop, evr_op_nop(), &seen);
	assert_int_equal(id >> 32, 0);
	assert_true(id != 0);
	loop_finish(loop, &seen);
}

static void driver_slots_stay_where_they_are(void **state)
{
	struct loop *loop = *state;
	struct slot *first = slot_at(loop->d, 0);
	static struct seen seen[3000];
	struct evr_driver_stats stats;
	static uint64_t ids[3000];
	int i;

	for (i = 0; i < 3000; i++)
		ids[i] = loop_submit(loop, evr_op_timer(UINT64_MAX - 1, 0), &seen[i]);
	assert_ptr_equal(slot_at(loop->d, 0), first);
	evr_driver_stats(loop->d, &stats);
	assert_int_equal(stats.slots, 3072);
	assert_int_equal(stats.timers, 3000);
	for (i = 0; i < 3000; i++)
		assert_int_equal(evr_driver_cancel(loop->d, ids[i]), 0);
	for (i = 0; i < 3000; i++)
		assert_int_equal(loop_finish(loop, &seen[i]), -ECANCELED);
}

static void driver_slots_have_a_limit(void **state)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options), .ops_max = 256 };
	static struct seen seen[257];
	static uint64_t ids[257];
	struct evr_op op = evr_op_timer(UINT64_MAX - 1, 0);
	struct loop *loop;
	void *own = NULL;
	int i;

	assert_int_equal(loop_open_with(&own, &options), 0);
	loop = own;
	for (i = 0; i < 256; i++)
		ids[i] = loop_submit(loop, op, &seen[i]);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EAGAIN);
	evr_driver_cancel(loop->d, ids[7]);
	loop_finish(loop, &seen[7]);
	ids[7] = loop_submit(loop, op, &seen[7]);
	for (i = 0; i < 256; i++)
		evr_driver_cancel(loop->d, ids[i]);
	for (i = 0; i < 256; i++)
		loop_finish(loop, &seen[i]);
	assert_int_equal(loop_close(&own), 0);
}

/* Forged and stale completions, through a ring that sends whatever it likes. */
static void driver_foreign_completions_match_nothing(void **state)
{
	struct loop *loop = *state;
	struct evr_driver_stats stats;
	struct io_uring_sqe *sqe;
	uint64_t seed = 42, id, forged;
	struct seen seen, timer;
	struct seen sent[64];
	int i, nr = 0, arrived = 0;

	if (loop->mode == EVR_DRIVER_NONE) {
		assert_null(evr_driver_sqe(loop->d, seen_done, &seen, 1, &id));
		return;
	}
	loop->may_be_stale = true;
	id = loop_submit(loop, evr_op_timer(UINT64_MAX - 1, 0), &timer);
	for (i = 0; i < 2000; i++) {
		memset(&sent[nr], 0, sizeof(sent[nr]));
		sqe = evr_driver_sqe(loop->d, seen_done, &sent[nr], 1, NULL);
		assert_non_null(sqe);
		forged = sqe->user_data;
		io_uring_prep_msg_ring(sqe, loop->d->ring.uring.ring_fd, (unsigned int)i, 0, 0);
		sqe->user_data = forged;
		/* Also an id of a slot that lives in another way, and those of the past. */
		switch (i % 4) {
		case 0:
			/* Not of the kind that wakes, which is expected at any time. */
			sqe->off = pair_random(&seed) & ~(0xfeULL << INDEX_BITS);
			break;
		case 1:
			sqe->off = id;
			break;
		case 2:
			sqe->off = forged - (1ULL << 32);
			break;
		default:
			sqe->off = (uint64_t)KIND_OP << INDEX_BITS | pair_random(&seed) % 4096 |
				   pair_random(&seed) << 40;
		}
		if (++nr < 64)
			continue;
		for (nr = 0; nr < 64; nr++)
			arrived += !loop_finish(loop, &sent[nr]);
		nr = 0;
	}
	while (nr--)
		arrived += !loop_finish(loop, &sent[nr]);
	for (i = 0; i < 40000; i++) {
		evr_driver_stats(loop->d, &stats);
		if (stats.stale == (uint64_t)arrived)
			break;
		loop_rounds(loop, 1);
	}
	assert_int_equal(arrived, 2000);
	assert_int_equal(stats.stale, arrived);
	assert_int_equal(timer.all, 0);
	evr_driver_cancel(loop->d, id);
	assert_int_equal(loop_finish(loop, &timer), -ECANCELED);
}

static void driver_raw_sqe_completes(void **state)
{
	struct loop *loop = *state;
	struct io_uring_sqe *sqe;
	char path[] = "/proc/self/status";
	struct seen seen = { 0 };
	uint64_t id;

	if (loop->mode == EVR_DRIVER_NONE)
		return;
	assert_null(evr_driver_sqe(loop->d, seen_done, &seen, 0, &id));
	assert_null(evr_driver_sqe(loop->d, seen_done, &seen, 65, &id));
	sqe = evr_driver_sqe(loop->d, seen_done, &seen, 1, &id);
	assert_non_null(sqe);
	io_uring_prep_openat(sqe, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	assert_int_equal(sqe->user_data, id);
	assert_true(loop_finish(loop, &seen) >= 0);
	close(seen.res);
}

static void *other_thread(void *arg)
{
	struct evr_driver *d = arg;
	struct evr_op op = evr_op_nop();
	uint64_t id;

	CHECK(evr_driver_submit(d, &op, &id) == -EXDEV);
	CHECK(evr_driver_submit_chain(d, &op, 1, &id) == -EXDEV);
	CHECK(evr_driver_run(d, 0, 0) == -EXDEV);
	CHECK(evr_driver_flush(d) == -EXDEV);
	CHECK(evr_driver_cancel(d, 1) == -EXDEV);
	CHECK(evr_driver_cancel_fd(d, 1) == -EXDEV);
	CHECK(evr_driver_abandon(d, 1) == -EXDEV);
	CHECK(evr_driver_update_timer(d, 1, 1, 1) == -EXDEV);
	CHECK(evr_driver_fd(d) == -EXDEV);
	CHECK(evr_driver_close(d, 0) == -EXDEV);
	CHECK(evr_driver_attach(d) == -EBUSY);
	CHECK(evr_driver_take_stop(d) == -EXDEV);
	CHECK(evr_file_remove(d, 0) == -EXDEV);
	CHECK(evr_buffers_create(d, 0, 1) == -EXDEV);
	CHECK(evr_region_remove(d, 0) == -EXDEV);
	CHECK(!evr_driver_sqe(d, NULL, NULL, 1, &id));
	return NULL;
}

static void driver_other_thread_refused(void **state)
{
	struct loop *loop = *state;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, other_thread, loop->d), 0);
	pthread_join(thread, NULL);
}

static void *attached_thread(void *arg)
{
	struct evr_driver *d = arg;
	struct evr_op op;
	int nr = 0;

	op = evr_op_then(evr_op_nop(), loop_count, &nr);
	CHECK(evr_driver_submit(d, &op, NULL) == -EXDEV);
	CHECK(evr_driver_attach(d) == 0);
	CHECK(evr_driver_attach(d) == -EBUSY);
	CHECK(evr_driver_submit(d, &op, NULL) == 0);
	while (!nr)
		CHECK(evr_driver_run(d, 1, pair_deadline()) >= 0);
	CHECK(evr_driver_close(d, pair_deadline()) == 0);
	return NULL;
}

static void driver_detached_goes_to_who_attaches(void **state)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .flags = EVR_DRIVER_DETACHED };
	struct evr_driver *d;
	pthread_t thread;
	int fds = loop_fds();

	assert_int_equal(evr_driver_create(&d, &options), 0);
	assert_int_equal(pthread_create(&thread, NULL, attached_thread, d), 0);
	pthread_join(thread, NULL);
	/* Never attached: closed by anybody. */
	assert_int_equal(evr_driver_create(&d, &options), 0);
	assert_int_equal(evr_driver_run(d, 0, 0), -EXDEV);
	assert_int_equal(evr_driver_close(d, 0), 0);
	assert_int_equal(loop_fds(), fds);
}

static void driver_child_of_fork_refused(void **state)
{
	struct loop *loop = *state;
	struct evr_op op = evr_op_nop();
	struct evr_driver_stats stats;
	uint64_t at_ns = 77;
	struct seen seen;
	int fds = loop_fds();
	pid_t pid;

	loop_submit(loop, evr_op_nop(), &seen);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		CHECK(evr_driver_submit(loop->d, &op, NULL) == -ECHILD);
		CHECK(evr_driver_run(loop->d, 1, pair_deadline()) == -ECHILD);
		CHECK(evr_driver_attach(loop->d) == -ECHILD);
		CHECK(evr_driver_next_ns(loop->d, &at_ns) == -ECHILD && at_ns == 77);
		CHECK(evr_driver_stats(loop->d, &stats) == -ECHILD);
		CHECK(evr_driver_close(loop->d, pair_deadline()) == -ECHILD);
		CHECK(evr_driver_close(loop->d, pair_deadline()) == -ECHILD);
		CHECK(loop_fds() < fds);
		_exit(0);
	}
	pair_join(pid);
	assert_int_equal(loop_finish(loop, &seen), 0);
}

static void within(struct evr_driver *d, const struct evr_completion *done)
{
	struct evr_op op = evr_op_then(evr_op_nop(), loop_count, done->arg);

	CHECK(evr_driver_run(d, 0, 0) == -EBUSY);
	CHECK(evr_driver_close(d, 0) == -EBUSY);
	CHECK(evr_driver_submit(d, &op, NULL) == 0);
	CHECK(evr_driver_cancel(d, done->id) == -ENOENT);
}

static void driver_callback_may_submit_and_not_run(void **state)
{
	struct loop *loop = *state;
	int nr = 0;
	struct evr_op op = evr_op_then(evr_op_nop(), within, &nr);

	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), 0);
	LOOP_UNTIL(loop, nr == 1);
}

static void driver_run_with_nothing_under_way_returns(void **state)
{
	struct loop *loop = *state;

	assert_int_equal(evr_driver_run(loop->d, 1, EVR_DRIVER_NO_DEADLINE), 0);
	assert_int_equal(evr_driver_run(loop->d, 0, 0), 0);
	assert_int_equal(evr_driver_flush(loop->d), 0);
}

static void nothing(int sig)
{
}

static void driver_signal_ends_a_run(void **state)
{
	struct sigaction action = { .sa_handler = nothing };
	struct itimerval in = { .it_value.tv_usec = 20000, .it_interval.tv_usec = 20000 };
	struct loop *loop = *state;
	struct seen seen;
	uint64_t id;
	int i;

	sigaction(SIGALRM, &action, NULL);
	id = loop_submit(loop, evr_op_timer(UINT64_MAX - 1, 0), &seen);
	setitimer(ITIMER_REAL, &in, NULL);
	for (i = 0; i < 3; i++)
		assert_int_equal(TIMELY(evr_driver_run(loop->d, 1, until_ns)), -EINTR);
	memset(&in, 0, sizeof(in));
	setitimer(ITIMER_REAL, &in, NULL);
	evr_driver_cancel(loop->d, id);
	loop_finish(loop, &seen);
}

static void driver_background_has_no_completion(void **state)
{
	struct loop *loop = *state;
	struct evr_driver_stats stats;
	struct evr_completion done;
	struct evr_op op;
	int fd = dup(0);

	op = evr_op_flagged(evr_op_close(fd), EVR_OP_BACKGROUND);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), 0);
	op = evr_op_flagged(evr_op_close(1 << 20), EVR_OP_BACKGROUND);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), 0);
	op.fn = loop_count;
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EINVAL);
	do {
		assert_true(evr_driver_run(loop->d, 1, pair_deadline()) >= 0);
		evr_driver_stats(loop->d, &stats);
	} while (stats.completed < 2);
	assert_int_equal(stats.background_errors, 1);
	assert_int_equal(evr_driver_take(loop->d, &done, 1), 0);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(driver_options_checked),
		EACH_MODE_TEST(driver_mode_is_as_asked),
		EACH_MODE_TEST(driver_unknown_op_refused_as_caps_say),
		EACH_MODE_TEST(driver_nops_of_each_batch_complete_once),
		EACH_MODE_TEST(driver_full_says_again_and_then_writable),
		cmocka_unit_test(driver_fail_fast_has_no_backlog),
		cmocka_unit_test(driver_backlog_keeps_the_order),
		EACH_MODE_TEST(driver_slot_reused_has_another_id),
		EACH_MODE_TEST(driver_generation_wraps_past_zero),
		EACH_MODE_TEST(driver_slots_stay_where_they_are),
		cmocka_unit_test(driver_slots_have_a_limit),
		EACH_MODE_TEST(driver_foreign_completions_match_nothing),
		EACH_MODE_TEST(driver_raw_sqe_completes),
		EACH_MODE_TEST(driver_other_thread_refused),
		cmocka_unit_test(driver_detached_goes_to_who_attaches),
		EACH_MODE_TEST(driver_child_of_fork_refused),
		EACH_MODE_TEST(driver_callback_may_submit_and_not_run),
		EACH_MODE_TEST(driver_run_with_nothing_under_way_returns),
		EACH_MODE_TEST(driver_signal_ends_a_run),
		EACH_MODE_TEST(driver_background_has_no_completion),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
