// SPDX-License-Identifier: MIT
/*
 * How long it takes to settle a peer that died idle: it was attached, and had a heap open
 * as large as the segment. The rival is what settling cannot need: a look at each page.
 */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <evering/reap.h>

#include "bench.h"
#include "machine.h"

#define PAGE_SZ 4096

static int prepare(struct stage *stage)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = stage->size,
					       .peers_max = 8 };

	return evr_segment_create(
		&stage->segment,
		stage->backend == EVR_BACKEND_DEVICE ? "device:" : "local:", &options);
}

static int prepare_pages(struct stage *stage)
{
	return stage_prepare_memory(stage, stage->size);
}

static void open_heap(struct stage *stage, struct evr_heap *heap)
{
	int err = evr_heap_open(heap, stage->peer, "all of it");

	if (err)
		stage_fail(stage, "heap", err);
}

static _Noreturn void live_and_die(struct stage *stage)
{
	struct evr_heap heap;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	stage->side = STAGE_FAR;
	stage_attach(stage);
	open_heap(stage, &heap);
	/* Not by exit(): nothing of it is given back. */
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

static void time_reap(struct stage *stage)
{
	struct timespec pause = { .tv_nsec = 1000000 };
	pid_t victim = fork();
	uint64_t before;
	int status, settled;

	if (victim < 0)
		stage_fail(stage, "fork", -errno);
	if (!victim)
		live_and_die(stage);
	while (waitpid(victim, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFSIGNALED(status))
		stage_fail(stage, "victim", -ECHILD);
	/* On the local backend nobody tells of it: it is looked for now and then. */
	while (evr_peer_is_live(stage->peer, stage->shared->ids[STAGE_FAR])) {
		nanosleep(&pause, NULL);
		evr_peer_check(stage->peer);
	}
	before = machine_ticks();
	settled = evr_reap_dead(stage->peer, NULL);
	histogram_add(&stage->shared->ticks, machine_ticks() - before);
	if (settled != 1)
		stage_fail(stage, "reap", settled < 0 ? settled : -ESRCH);
}

static void reap_near(struct stage *stage)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options),
					    .sz = stage->size / 16 * 15 };
	struct evr_heap heap;
	int err;

	stage_attach(stage);
	evr_reap_auto(stage->peer, false);
	err = evr_heap_create(stage->peer, "all of it", &options);
	if (err)
		stage_fail(stage, "heap", err);
	open_heap(stage, &heap);
	stage_begin(stage);
	for (uint64_t i = 0; i < stage->count; i++)
		time_reap(stage);
	stage_end(stage);
	evr_heap_close(&heap);
	stage_detach(stage);
}

static void pages_near(struct stage *stage)
{
	const struct evr_a64 *words = stage->page;
	uint64_t sum = 0;

	for (uint64_t off = 0; off < stage->size; off += PAGE_SZ)
		((uint8_t *)stage->page)[off] = 1;
	stage_begin(stage);
	for (uint64_t i = 0; i < stage->count; i++) {
		uint64_t before = machine_ticks();

		for (uint64_t off = 0; off < stage->size; off += PAGE_SZ)
			sum += evr_a64_load_relaxed(words + off / sizeof(*words));
		histogram_add(&stage->shared->ticks, machine_ticks() - before);
	}
	stage_end(stage);
	stage->shared->halves[0].check = sum;
}

static const struct rival reaps = { "evering", RIVAL_SPINS, prepare, reap_near, stage_look_on };
static const struct rival pages = { "a look at each page", RIVAL_SPINS, prepare_pages, pages_near,
				    stage_look_on };

const struct bench reap_bench = {
	.name = "reap",
	.summary = "settling a peer that died idle; sizes are the segment's",
	.unit = BENCH_ROUND_TRIPS,
	.sizes = { 16 << 20, 64 << 20, 256 << 20 },
	.batch = 1,
	.rivals = { &reaps, &pages },
	.ratios = { { &reaps, &pages } },
};
