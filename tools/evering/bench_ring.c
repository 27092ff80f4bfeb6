// SPDX-License-Identifier: MIT
/* What it costs to ring somebody who does not sleep, and to take what was rung. */
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

#define BELL 1ULL

static void ring_far(struct stage *stage)
{
	int err = evr_bell_ring(stage->peer, stage->shared->ids[STAGE_FAR], BELL);

	if (err)
		stage_fail(stage, "ring", err);
}

/* Each bell is a new one: it is taken before the next. */
static void ring_and_take(struct stage *stage)
{
	int err = evr_bell_ring(stage->peer, stage->shared->ids[STAGE_NEAR], BELL);

	if (!err)
		err = evr_bell_wait(stage->peer, BELL, 0, NULL);
	if (err)
		stage_fail(stage, "ring and take", err);
}

static void write_eventfd(struct stage *stage)
{
	uint64_t one = 1;

	stage_write_all(stage, &one, sizeof(one));
}

/* Of one eventfd: what the near side writes, it reads. */
static void write_and_read(struct stage *stage)
{
	uint64_t value = 1;

	if (write(stage->fds[3], &value, sizeof(value)) != sizeof(value) ||
	    read(stage->fds[2], &value, sizeof(value)) != sizeof(value))
		stage_fail(stage, "eventfd", -errno);
}

static void wake_futex(struct stage *stage)
{
	struct evr_a32 *word = stage->page;

	evr_a32_fetch_add(word, 1);
	if (syscall(SYS_futex, &word->v, FUTEX_WAKE, 1, NULL, NULL, 0) < 0)
		stage_fail(stage, "futex", -errno);
}

static void repeat(struct stage *stage, void (*once)(struct stage *stage))
{
	stage_meet(stage);
	for (uint64_t i = 0; i < stage->warmup; i++)
		once(stage);
	stage_begin(stage);
	for (uint64_t i = 0; i < stage->count; i++)
		once(stage);
	stage_end(stage);
	stage_meet(stage);
}

/* The far side is there, and does nothing: the time is the near side's alone. */
static void stand_by(struct stage *stage)
{
	stage_meet(stage);
	stage_meet(stage);
	stage_meet(stage);
}

static void peer_far(struct stage *stage)
{
	stage_attach(stage);
	stand_by(stage);
	stage_detach(stage);
}

static void ring_near(struct stage *stage)
{
	stage_attach(stage);
	repeat(stage, ring_far);
	stage_detach(stage);
}

static void take_near(struct stage *stage)
{
	stage_attach(stage);
	repeat(stage, ring_and_take);
	stage_detach(stage);
}

static void write_near(struct stage *stage)
{
	repeat(stage, write_eventfd);
}

static void read_near(struct stage *stage)
{
	repeat(stage, write_and_read);
}

static void wake_near(struct stage *stage)
{
	repeat(stage, wake_futex);
}

static const struct rival rings = { "evering ring", RIVAL_SLEEPS, stage_prepare_segment, ring_near,
				    peer_far };
static const struct rival writes = { "eventfd write", RIVAL_SLEEPS, stage_prepare_eventfds,
				     write_near, stand_by };
static const struct rival wakes = { "futex wake", RIVAL_SLEEPS, stage_prepare_page, wake_near,
				    stand_by };
static const struct rival takes = { "evering ring, take", RIVAL_SLEEPS, stage_prepare_segment,
				    take_near, peer_far };
static const struct rival reads = { "eventfd write, read", RIVAL_SLEEPS, stage_prepare_eventfds,
				    read_near, stand_by };

const struct bench ring_bench = {
	.name = "ring",
	.summary = "what it costs to ring who does not sleep, and to take what was rung",
	.unit = BENCH_MESSAGES,
	.sizes = { 8 },
	.batch = 1,
	.rivals = { &rings, &writes, &wakes, &takes, &reads },
	.ratios = { { &rings, &writes }, { &rings, &wakes }, { &takes, &reads } },
};
