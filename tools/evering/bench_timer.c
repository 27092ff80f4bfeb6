// SPDX-License-Identifier: MIT
/*
 * Timers, with ten thousand outstanding: one is started and cancelled while the others wait;
 * and all are started, due within half a millisecond, and expire. By the driver; by timeouts
 * of io_uring; by timerfds in an epoll set, which are made beforehand and only set.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "bench.h"
#include "pieces.h"
#include "uring.h"

#define TIMERS 10000
#define COMPLETIONS 16384 /* as many places as may come at once */
#define BATCH 32 /* started together, and then cancelled together */
#define FAR_NS 3600000000000ULL
#define NEAR_NS 500000ULL

static struct {
	uint64_t ids[BATCH];
	struct __kernel_timespec times[TIMERS];
	int fds[TIMERS + BATCH];
	struct evr_driver *driver;
	struct io_uring ring;
	int epoll_fd;
	uint64_t ended; /* expired or cancelled, as was wanted */
	uint64_t seed;
} t;

static uint64_t soon(void)
{
	return evr_now_ns() + pieces_random_next(&t.seed) % NEAR_NS;
}

static uint64_t later(void)
{
	return evr_now_ns() + FAR_NS + pieces_random_next(&t.seed) % FAR_NS;
}

/* How a system does it; @nr is at most BATCH of the first, TIMERS of the last two. */
struct clockwork {
	void (*open)(struct stage *stage);
	void (*start_and_cancel)(struct stage *stage, uint32_t nr);
	void (*outstand)(struct stage *stage, uint32_t nr); /* started, and not waited for */
	void (*start_and_expire)(struct stage *stage, uint32_t nr);
	void (*close)(struct stage *stage);
};

static void ended(struct evr_driver *driver, const struct evr_completion *completion)
{
	(void)driver;
	(void)completion;
	t.ended++;
}

static void driver_open(struct stage *stage)
{
	t.driver = uring_driver(stage, BATCH);
}

static void driver_start(struct stage *stage, uint64_t at_ns, uint64_t *id)
{
	struct evr_op op = evr_op_then(evr_op_timer(at_ns, 0), ended, NULL);
	int err = evr_driver_submit(t.driver, &op, id);

	if (err)
		stage_fail(stage, "timer", err);
}

static void driver_cancel(struct stage *stage, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		driver_start(stage, later(), &t.ids[i]);
	for (uint32_t i = 0; i < nr; i++) {
		int err = evr_driver_cancel(t.driver, t.ids[i]);

		if (err)
			stage_fail(stage, "cancel", err);
	}
	uring_run(stage, t.driver, nr);
}

static void driver_outstand(struct stage *stage, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		driver_start(stage, later(), NULL);
}

static void driver_expire(struct stage *stage, uint32_t nr)
{
	uint64_t last = t.ended + nr;

	for (uint32_t i = 0; i < nr; i++)
		driver_start(stage, soon(), NULL);
	while (t.ended < last)
		uring_run(stage, t.driver, 1);
}

static void driver_close(struct stage *stage)
{
	uring_driver_end(stage, t.driver);
}

static void raw_open(struct stage *stage)
{
	uring_raw(stage, &t.ring, 256, COMPLETIONS);
}

static void raw_start(struct stage *stage, uint64_t at_ns, uint32_t i, uint64_t name)
{
	struct io_uring_sqe *sqe = uring_sqe(stage, &t.ring);

	t.times[i].tv_sec = (long long)(at_ns / 1000000000);
	t.times[i].tv_nsec = (long long)(at_ns % 1000000000);
	io_uring_prep_timeout(sqe, &t.times[i], 0, IORING_TIMEOUT_ABS);
	io_uring_sqe_set_data64(sqe, name);
}

/* Until so many completions have come. */
static void raw_reap(struct stage *stage, uint32_t nr)
{
	struct io_uring_cqe *cqe;
	unsigned int head, seen;

	for (uint32_t done = 0; done < nr; done += seen) {
		int err = io_uring_submit_and_wait(&t.ring, 1);

		if (err < 0 && err != -EINTR)
			stage_fail(stage, "submit", err);
		seen = 0;
		io_uring_for_each_cqe(&t.ring, head, cqe)
		{
			t.ended += cqe->res == -ETIME || cqe->res == -ECANCELED;
			seen++;
		}
		io_uring_cq_advance(&t.ring, seen);
	}
}

static void raw_cancel(struct stage *stage, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		raw_start(stage, later(), i, i + 1);
	for (uint32_t i = 0; i < nr; i++) {
		struct io_uring_sqe *sqe = uring_sqe(stage, &t.ring);

		io_uring_prep_timeout_remove(sqe, i + 1, 0);
		io_uring_sqe_set_data64(sqe, 0);
	}
	raw_reap(stage, 2 * nr);
}

static void raw_outstand(struct stage *stage, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		raw_start(stage, later(), i, TIMERS + i);
	io_uring_submit(&t.ring);
}

static void raw_expire(struct stage *stage, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		raw_start(stage, soon(), i, i + 1);
	raw_reap(stage, nr);
}

static void raw_close(struct stage *stage)
{
	(void)stage;
	io_uring_queue_exit(&t.ring);
}

static int prepare_timerfd(struct stage *stage)
{
	struct rlimit limit;

	(void)stage;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return -errno;
	return limit.rlim_max < TIMERS + BATCH + 64 ? -EOPNOTSUPP : 0;
}

static void timerfd_open(struct stage *stage)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		stage_fail(stage, "limit", -errno);
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		stage_fail(stage, "limit", -errno);
	t.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < TIMERS + BATCH; i++) {
		struct epoll_event event = { EPOLLIN, { .u32 = (uint32_t)i } };

		t.fds[i] = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
		if (t.fds[i] < 0 || epoll_ctl(t.epoll_fd, EPOLL_CTL_ADD, t.fds[i], &event))
			stage_fail(stage, "timerfd", -errno);
	}
}

/* 0: no more. */
static void timerfd_set(struct stage *stage, uint32_t i, uint64_t at_ns)
{
	struct itimerspec when = { .it_value = { (time_t)(at_ns / 1000000000),
						 (long)(at_ns % 1000000000) } };

	if (timerfd_settime(t.fds[i], TFD_TIMER_ABSTIME, &when, NULL))
		stage_fail(stage, "timerfd", -errno);
}

static void timerfd_cancel(struct stage *stage, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		timerfd_set(stage, TIMERS + i, later());
	for (uint32_t i = 0; i < nr; i++)
		timerfd_set(stage, TIMERS + i, 0);
	t.ended += nr;
}

static void timerfd_outstand(struct stage *stage, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		timerfd_set(stage, i, later());
}

static void timerfd_expire(struct stage *stage, uint32_t nr)
{
	uint64_t last = t.ended + nr, expirations;
	struct epoll_event events[64];

	for (uint32_t i = 0; i < nr; i++)
		timerfd_set(stage, i, soon());
	while (t.ended < last) {
		int ready = epoll_wait(t.epoll_fd, events, 64, -1);

		if (ready < 0 && errno != EINTR)
			stage_fail(stage, "epoll", -errno);
		for (int i = 0; i < ready; i++)
			t.ended += read(t.fds[events[i].data.u32], &expirations,
					sizeof(expirations)) == sizeof(expirations);
	}
}

static void timerfd_close(struct stage *stage)
{
	(void)stage;
	close(t.epoll_fd);
	for (int i = 0; i < TIMERS + BATCH; i++)
		close(t.fds[i]);
}

static void in_parts(struct stage *stage, uint64_t count, uint32_t part,
		     void (*turn)(struct stage *stage, uint32_t nr))
{
	for (uint64_t left = count; left;) {
		uint32_t nr = (uint32_t)(left < part ? left : part);

		turn(stage, nr);
		left -= nr;
	}
}

static void cancel_near(struct stage *stage)
{
	const struct clockwork *clockwork = stage->rival->with;

	t.seed = 88172645463325252ULL;
	clockwork->open(stage);
	clockwork->outstand(stage, TIMERS);
	in_parts(stage, stage->warmup, BATCH, clockwork->start_and_cancel);
	stage_begin(stage);
	in_parts(stage, stage->count, BATCH, clockwork->start_and_cancel);
	stage_end(stage);
	stage->shared->halves[STAGE_NEAR].check = t.ended;
	clockwork->close(stage);
}

static void expire_near(struct stage *stage)
{
	const struct clockwork *clockwork = stage->rival->with;

	t.seed = 88172645463325252ULL;
	clockwork->open(stage);
	in_parts(stage, stage->warmup, TIMERS, clockwork->start_and_expire);
	stage_begin(stage);
	in_parts(stage, stage->count, TIMERS, clockwork->start_and_expire);
	stage_end(stage);
	stage->shared->halves[STAGE_NEAR].check = t.ended;
	clockwork->close(stage);
}

static const struct clockwork by_driver = { driver_open, driver_cancel, driver_outstand,
					    driver_expire, driver_close };
static const struct clockwork by_raw = { raw_open, raw_cancel, raw_outstand, raw_expire,
					 raw_close };
static const struct clockwork by_timerfd = { timerfd_open, timerfd_cancel, timerfd_outstand,
					     timerfd_expire, timerfd_close };

#define TIMER_RIVAL(id, text, prepare, near, with) \
	static const struct rival id = { text, RIVAL_SLEEPS, prepare, near, stage_look_on, &(with) }

TIMER_RIVAL(driver_cancels, "evering driver", uring_prepare, cancel_near, by_driver);
TIMER_RIVAL(raw_cancels, "liburing", uring_prepare, cancel_near, by_raw);
TIMER_RIVAL(timerfd_cancels, "timerfd", prepare_timerfd, cancel_near, by_timerfd);
TIMER_RIVAL(driver_expires, "evering driver", uring_prepare, expire_near, by_driver);
TIMER_RIVAL(raw_expires, "liburing", uring_prepare, expire_near, by_raw);
TIMER_RIVAL(timerfd_expires, "timerfd", prepare_timerfd, expire_near, by_timerfd);

const struct bench timer_cancel_bench = {
	.name = "timer-cancel",
	.summary = "timers started and cancelled, with 10,000 others outstanding",
	.unit = BENCH_MESSAGES,
	.sizes = { 8 },
	.batch = 1,
	.rivals = { &driver_cancels, &raw_cancels, &timerfd_cancels },
	.ratios = { { &driver_cancels, &raw_cancels }, { &driver_cancels, &timerfd_cancels } },
};

const struct bench timer_expire_bench = {
	.name = "timer-expire",
	.summary = "timers started, 10,000 at once, and expired",
	.unit = BENCH_MESSAGES,
	.sizes = { 8 },
	.batch = 1,
	.rivals = { &driver_expires, &raw_expires, &timerfd_expires },
	.ratios = { { &driver_expires, &raw_expires }, { &driver_expires, &timerfd_expires } },
};
