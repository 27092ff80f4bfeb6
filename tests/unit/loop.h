/* SPDX-License-Identifier: MIT */
/*
 * A driver in the mode of EVERING_DRIVER_MODE, and callbacks that write down what came.
 * Every case ends by loop_close(), which asserts what holds of all of them: no op left, as
 * many terminal completions as submissions, nothing stale, no fd more than before.
 */
#ifndef EVERING_TEST_LOOP_H
#define EVERING_TEST_LOOP_H

#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <evering/driver.h>
#include <evering/driver_inject.h>
#include <evering/driver_op.h>
#include <evering/driver_resource.h>

#include "pair.h"

#define EACH_MODE_TEST(name) cmocka_unit_test_setup_teardown(name, loop_open, loop_close)

struct loop {
	struct evr_driver *d;
	enum evr_driver_mode mode;
	int fds;
	bool may_be_stale;
};

/* What came of one op. */
struct seen {
	int all, terminal; /* completions */
	int res; /* of the last that was no NOTIF */
	uint32_t flags; /* or'ed */
	uint32_t last_flags;
	uint64_t value; /* or'ed */
	uint64_t sum; /* of results that are >= 0 */
	void *buf;
	uint16_t bid;
};

static inline int loop_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int nr = 0;

	while (readdir(dir))
		nr++;
	closedir(dir);
	return nr;
}

static inline void seen_done(struct evr_driver *d, const struct evr_completion *done)
{
	struct seen *seen = done->arg;

	CHECK(!seen->terminal);
	seen->all++;
	seen->flags |= done->flags;
	seen->last_flags = done->flags;
	seen->value |= done->value;
	if (!(done->flags & EVR_DONE_NOTIF)) {
		seen->res = done->res;
		if (done->res > 0)
			seen->sum += (uint64_t)done->res;
	}
	if (done->flags & EVR_DONE_BUFFER) {
		seen->buf = done->buf;
		seen->bid = done->bid;
	}
	if (!(done->flags & EVR_DONE_MORE))
		seen->terminal++;
}

/* One more of those that end once, and well. */
static inline void loop_count(struct evr_driver *d, const struct evr_completion *done)
{
	CHECK(!done->res);
	CHECK(!(done->flags & EVR_DONE_MORE));
	++*(int *)done->arg;
}

static inline int loop_open_with(void **state, const struct evr_driver_options *options)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	struct evr_driver_caps caps;

	loop->fds = loop_fds();
	if (evr_driver_create(&loop->d, options)) {
		fprintf(stderr, "# %s\n", evr_error_detail());
		return -1;
	}
	evr_driver_caps(loop->d, &caps);
	loop->mode = caps.mode;
	*state = loop;
	return 0;
}

static inline int loop_open(void **state)
{
	return loop_open_with(state, NULL);
}

#define LOOP_HOLDS(cond)                                                          \
	do {                                                                      \
		if (!(cond)) {                                                    \
			fprintf(stderr, "# at the end of the case: %s\n", #cond); \
			bad = -1;                                                 \
		}                                                                 \
	} while (0)

static inline int loop_close(void **state)
{
	struct loop *loop = *state;
	struct evr_driver_stats stats;
	int bad = 0;

	if (loop->d) {
		LOOP_HOLDS(evr_driver_stats(loop->d, &stats) == 0);
		LOOP_HOLDS(!stats.in_flight);
		LOOP_HOLDS(!stats.slots_used);
		LOOP_HOLDS(!stats.backlog);
		LOOP_HOLDS(!stats.timers);
		LOOP_HOLDS(stats.submitted == stats.completed);
		LOOP_HOLDS(loop->may_be_stale || !stats.stale);
		LOOP_HOLDS(evr_driver_close(loop->d, pair_deadline()) == 0);
	}
	LOOP_HOLDS(loop_fds() == loop->fds);
	free(loop);
	return bad;
}

static inline uint64_t loop_submit(struct loop *loop, struct evr_op op, struct seen *seen)
{
	uint64_t id = 0;
	int err;

	memset(seen, 0, sizeof(*seen));
	op = evr_op_then(op, seen_done, seen);
	err = evr_driver_submit(loop->d, &op, &id);
	if (err)
		fail_msg("submit: %d %s", err, evr_error_detail());
	assert_true(id != 0);
	return id;
}

/* Run until the op is over. */
static inline int loop_finish(struct loop *loop, struct seen *seen)
{
	uint64_t deadline = pair_deadline();
	int ret;

	while (!seen->terminal) {
		ret = evr_driver_run(loop->d, 1, deadline);
		if (ret < 0)
			fail_msg("run: %d", ret);
		assert_true(evr_now_ns() < deadline);
	}
	return seen->res;
}

static inline int loop_do(struct loop *loop, struct evr_op op)
{
	struct seen seen;

	loop_submit(loop, op, &seen);
	return loop_finish(loop, &seen);
}

/* Ops alive. */
static inline int loop_busy(const struct loop *loop)
{
	struct evr_driver_stats stats;

	CHECK(evr_driver_stats(loop->d, &stats) == 0);
	return (int)stats.slots_used;
}

/* Run until a condition holds. */
#define LOOP_UNTIL(loop, cond)                                           \
	do {                                                             \
		uint64_t until_ = pair_deadline();                       \
		while (!(cond)) {                                        \
			int ret_ = evr_driver_run((loop)->d, 1, until_); \
			if (ret_ < 0)                                    \
				fail_msg("run: %d", ret_);               \
			assert_true(evr_now_ns() < until_);              \
		}                                                        \
	} while (0)

/* Some rounds without a sleep: what should not happen gets its chance. */
static inline void loop_rounds(struct loop *loop, int nr)
{
	while (nr--) {
		assert_true(evr_driver_run(loop->d, 0, 0) >= 0);
		pair_sleep_us(1000);
	}
}

#endif
