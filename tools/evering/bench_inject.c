// SPDX-License-Identifier: MIT
/*
 * Other threads have the driver's thread call a function: by its injector, and by what a
 * program does without, a list under a mutex and an eventfd that is written when the list was
 * empty. Both carry a function and its argument. The driver's thread is on one CPU, the others
 * on another. Counted are the wakes.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <evering/driver_inject.h>

#include "bench.h"
#include "machine.h"
#include "uring.h"

#define THREADS_MAX 8
#define QUEUE 1024 /* places, as the injector has */

typedef void inject_one(void);

struct injection {
	struct stage *stage;
	inject_one *inject;
	uint64_t count; /* of this thread */
	pthread_t thread;
};

static struct injection injections[THREADS_MAX];
static uint64_t called, wanted; /* by the driver's thread alone */

static void nothing(struct evr_driver *driver, const struct evr_completion *completion)
{
	(void)driver;
	(void)completion;
}

/* What a run waits for are completions: one of its own ends it. */
static void call(struct evr_driver *driver, void *arg)
{
	struct evr_op op = evr_op_then(evr_op_nop(), nothing, NULL);

	(void)arg;
	if (++called == wanted && driver && evr_driver_submit(driver, &op, NULL))
		abort();
}

static void *inject_all(void *arg)
{
	struct injection *injection = arg;

	machine_pin(injection->stage->cpus[STAGE_FAR]);
	for (uint64_t i = 0; i < injection->count; i++)
		injection->inject();
	return NULL;
}

/* The near side is all of it: @turn delivers what there is, and sleeps while there is nothing. */
static void play(struct stage *stage, uint64_t count, inject_one *inject,
		 void (*turn)(struct stage *stage))
{
	uint64_t threads_nr = *(const uint64_t *)stage->rival->with;

	wanted = called + count;
	for (uint64_t i = 0; i < threads_nr; i++) {
		injections[i] = (struct injection){ stage, inject, count / threads_nr };
		injections[i].count += i < count % threads_nr;
		if (pthread_create(&injections[i].thread, NULL, inject_all, &injections[i]))
			stage_fail(stage, "thread", -EAGAIN);
	}
	while (called < wanted)
		turn(stage);
	for (uint64_t i = 0; i < threads_nr; i++)
		pthread_join(injections[i].thread, NULL);
}

static void tell(struct stage *stage, uint64_t wakes)
{
	stage->shared->counted = (double)wakes * 1000 / (double)stage->count;
	stage->shared->halves[STAGE_NEAR].check = called;
}

static struct evr_driver *driver;
static struct evr_injector *injector;

static void driver_inject(void)
{
	while (evr_inject(injector, call, NULL) == -EAGAIN)
		sched_yield();
}

static void driver_turn(struct stage *stage)
{
	int err = evr_driver_run(driver, 1, EVR_DRIVER_NO_DEADLINE);

	if (err < 0 && err != -EINTR)
		stage_fail(stage, "run", err);
}

static uint64_t driver_wakes(void)
{
	struct evr_driver_stats stats;

	evr_driver_stats(driver, &stats);
	return stats.wakes;
}

static void driver_near(struct stage *stage)
{
	uint64_t before;

	driver = uring_driver(stage, 1);
	injector = evr_driver_injector(driver);
	play(stage, stage->warmup, driver_inject, driver_turn);
	before = driver_wakes();
	stage_begin(stage);
	play(stage, stage->count, driver_inject, driver_turn);
	stage_end(stage);
	tell(stage, driver_wakes() - before);
	evr_injector_put(injector);
	uring_driver_end(stage, driver);
}

struct queued {
	evr_inject_fn *fn;
	void *arg;
};

static struct {
	pthread_mutex_t lock;
	struct queued calls[QUEUE];
	uint32_t nr;
	uint64_t wakes;
	int fd;
} queue = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void queue_inject(void)
{
	uint64_t one = 1;
	bool is_first, is_in;

	do {
		pthread_mutex_lock(&queue.lock);
		is_in = queue.nr < QUEUE;
		is_first = is_in && !queue.nr;
		if (is_in)
			queue.calls[queue.nr++] = (struct queued){ call, NULL };
		queue.wakes += is_first;
		pthread_mutex_unlock(&queue.lock);
		if (!is_in)
			sched_yield();
	} while (!is_in);
	while (is_first && write(queue.fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void queue_turn(struct stage *stage)
{
	static struct queued calls[QUEUE];
	uint64_t wakes;
	uint32_t nr;

	if (read(queue.fd, &wakes, sizeof(wakes)) < 0 && errno != EINTR)
		stage_fail(stage, "eventfd", -errno);
	pthread_mutex_lock(&queue.lock);
	nr = queue.nr;
	memcpy(calls, queue.calls, nr * sizeof(*calls));
	queue.nr = 0;
	pthread_mutex_unlock(&queue.lock);
	for (uint32_t i = 0; i < nr; i++)
		calls[i].fn(NULL, calls[i].arg);
}

static void queue_near(struct stage *stage)
{
	uint64_t before;

	queue.fd = eventfd(0, EFD_CLOEXEC);
	if (queue.fd < 0)
		stage_fail(stage, "eventfd", -errno);
	play(stage, stage->warmup, queue_inject, queue_turn);
	before = queue.wakes;
	stage_begin(stage);
	play(stage, stage->count, queue_inject, queue_turn);
	stage_end(stage);
	tell(stage, queue.wakes - before);
	close(queue.fd);
}

static const uint64_t one = 1, two = 2, eight = 8;

#define INJECT_RIVAL(id, text, prepare, near, nr) \
	static const struct rival id = { text, RIVAL_SLEEPS, prepare, near, stage_look_on, &(nr) }

INJECT_RIVAL(driver_1, "evering driver, 1 thread", uring_prepare, driver_near, one);
INJECT_RIVAL(driver_2, "evering driver, 2 threads", uring_prepare, driver_near, two);
INJECT_RIVAL(driver_8, "evering driver, 8 threads", uring_prepare, driver_near, eight);
INJECT_RIVAL(queue_1, "mutex and eventfd, 1 thread", stage_prepare_nothing, queue_near, one);
INJECT_RIVAL(queue_2, "mutex and eventfd, 2 threads", stage_prepare_nothing, queue_near, two);
INJECT_RIVAL(queue_8, "mutex and eventfd, 8 threads", stage_prepare_nothing, queue_near, eight);

const struct bench inject_bench = {
	.name = "inject",
	.summary = "calls that other threads have a driver's thread make",
	.unit = BENCH_MESSAGES,
	.sizes = { 8 },
	.batch = 1,
	.counted = "WAKES/1000",
	.rivals = { &driver_1, &queue_1, &driver_2, &queue_2, &driver_8, &queue_8 },
	.ratios = { { &driver_1, &queue_1 }, { &driver_2, &queue_2 }, { &driver_8, &queue_8 } },
};
