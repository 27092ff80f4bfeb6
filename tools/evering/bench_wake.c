// SPDX-License-Identifier: MIT
/* Both sides sleep and wake each other; and how soon a death is known. */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "trips.h"

#define BELL 1ULL

static void run_pulse(struct stage *stage, trip_send *wake, trip_receive *sleep)
{
	stage_meet(stage);
	trips_run(stage, NULL, wake, sleep);
	stage_meet(stage);
}

static void bell_wake(struct stage *stage, void *ends, uint64_t turn)
{
	int err = evr_bell_ring(stage->peer, stage->shared->ids[!stage->side], BELL);

	if (err)
		stage_fail(stage, "ring", err);
}

static uint64_t bell_sleep(struct stage *stage, void *ends, uint64_t turn)
{
	int err = evr_bell_wait(stage->peer, BELL, EVR_NO_DEADLINE, NULL);

	if (err)
		stage_fail(stage, "wait", err);
	return 0;
}

static void bell_side(struct stage *stage)
{
	stage_attach(stage);
	run_pulse(stage, bell_wake, bell_sleep);
	stage_detach(stage);
}

static long futex(struct evr_a32 *word, int operation, uint32_t value)
{
	return syscall(SYS_futex, &word->v, operation, value, NULL, NULL, 0);
}

/* Word 0 wakes the near side, word 32 (another line) the far one; each counts its turns. */
static struct evr_a32 *futex_word(const struct stage *stage, enum stage_side side)
{
	return (struct evr_a32 *)stage->page + (side == STAGE_NEAR ? 0 : 32);
}

static void futex_wake(struct stage *stage, void *ends, uint64_t turn)
{
	struct evr_a32 *word = futex_word(stage, !stage->side);

	evr_a32_store_release(word, (uint32_t)turn + 1);
	futex(word, FUTEX_WAKE, 1);
}

static uint64_t futex_sleep(struct stage *stage, void *ends, uint64_t turn)
{
	struct evr_a32 *word = futex_word(stage, stage->side);

	while (evr_a32_load_acquire(word) != (uint32_t)turn + 1)
		futex(word, FUTEX_WAIT, (uint32_t)turn);
	return 0;
}

static void futex_side(struct stage *stage)
{
	run_pulse(stage, futex_wake, futex_sleep);
}

static void eventfd_wake(struct stage *stage, void *ends, uint64_t turn)
{
	uint64_t one = 1;

	stage_write_all(stage, &one, sizeof(one));
}

static uint64_t eventfd_sleep(struct stage *stage, void *ends, uint64_t turn)
{
	struct pollfd polled = { .fd = stage_read_fd(stage), .events = POLLIN };
	uint64_t got;

	poll(&polled, 1, -1);
	stage_read_all(stage, &got, sizeof(got));
	return 0;
}

static void eventfd_side(struct stage *stage)
{
	run_pulse(stage, eventfd_wake, eventfd_sleep);
}

static const struct rival bells = { "evering bells", RIVAL_SLEEPS, stage_prepare_segment, bell_side,
				    bell_side };
static const struct rival futexes = { "futex", RIVAL_SLEEPS, stage_prepare_page, futex_side,
				      futex_side };
static const struct rival eventfds = { "eventfd+poll", RIVAL_SLEEPS, stage_prepare_eventfds,
				       eventfd_side, eventfd_side };

const struct bench wake_bench = {
	.name = "wake",
	.summary = "round trips between two that sleep, and from a death to its notice",
	.unit = BENCH_ROUND_TRIPS,
	.sizes = { 8 },
	.batch = 1,
	.rivals = { &bells, &futexes, &eventfds },
	.ratios = { { &bells, &futexes }, { &bells, &eventfds } },
};

/* A child that becomes a peer, tells that it is ready, and waits to be killed. */
static pid_t start_victim(struct stage *stage)
{
	int ready[2];
	pid_t victim;
	char byte;

	if (pipe(ready))
		stage_fail(stage, "pipe", -errno);
	victim = fork();
	if (victim < 0)
		stage_fail(stage, "fork", -errno);
	if (!victim) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		stage->side = STAGE_FAR;
		stage_attach(stage);
		while (write(ready[1], "", 1) < 0 && errno == EINTR)
			;
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		stage_fail(stage, "victim", -EPIPE);
	close(ready[0]);
	return victim;
}

/* How long it took to know that @victim is dead, in ticks. */
static void time_death(struct stage *stage, pid_t victim,
		       void (*notice)(struct stage *stage, pid_t victim))
{
	uint64_t before = machine_ticks();

	kill(victim, SIGKILL);
	notice(stage, victim);
	histogram_add(&stage->shared->ticks, machine_ticks() - before);
	waitpid(victim, NULL, 0);
	evr_peer_check(stage->peer);
	evr_reap_dead(stage->peer, NULL);
}

static void run_deaths(struct stage *stage, void (*notice)(struct stage *stage, pid_t victim))
{
	stage_attach(stage);
	stage_begin(stage);
	for (uint64_t i = 0; i < stage->count; i++)
		time_death(stage, start_victim(stage), notice);
	stage_end(stage);
	stage_detach(stage);
}

static void notice_by_bell(struct stage *stage, pid_t victim)
{
	(void)victim;
	while (evr_peer_is_live(stage->peer, stage->shared->ids[STAGE_FAR])) {
		int err = evr_bell_wait(stage->peer, 1ULL << EVR_BELL_PEER_EVENT, EVR_NO_DEADLINE,
					NULL);

		if (err && err != -EINTR)
			stage_fail(stage, "wait", err);
	}
}

/* As a program with a loop of its own does. */
static void notice_by_fd(struct stage *stage, pid_t victim)
{
	struct pollfd polled = { .fd = evr_bell_fd(stage->peer), .events = POLLIN };

	(void)victim;
	if (polled.fd < 0)
		stage_fail(stage, "bell fd", polled.fd);
	while (evr_peer_is_live(stage->peer, stage->shared->ids[STAGE_FAR])) {
		poll(&polled, 1, -1);
		evr_bell_read(stage->peer, NULL);
	}
}

/* Of the same victim, which is a peer: only how its end is waited for differs. */
static void notice_by_pidfd(struct stage *stage, pid_t victim)
{
	struct pollfd polled = { .fd = (int)syscall(SYS_pidfd_open, victim, 0), .events = POLLIN };

	if (polled.fd < 0)
		stage_fail(stage, "pidfd_open", -errno);
	poll(&polled, 1, -1);
	close(polled.fd);
}

static void bell_near(struct stage *stage)
{
	run_deaths(stage, notice_by_bell);
}

static void fd_near(struct stage *stage)
{
	run_deaths(stage, notice_by_fd);
}

static void pidfd_near(struct stage *stage)
{
	run_deaths(stage, notice_by_pidfd);
}

static const struct rival bell_deaths = { "evering bell 63", RIVAL_SLEEPS, stage_prepare_segment,
					  bell_near, stage_look_on };
static const struct rival fd_deaths = { "evering fd+poll", RIVAL_SLEEPS, stage_prepare_segment,
					fd_near, stage_look_on };
static const struct rival pidfd_deaths = { "pidfd+poll", RIVAL_SLEEPS, stage_prepare_segment,
					   pidfd_near, stage_look_on };

const struct bench death_bench = {
	.name = "death",
	.summary = "from SIGKILL to the notice of it, the victim a peer in each case",
	.unit = BENCH_ROUND_TRIPS,
	.sizes = { 8 },
	.batch = 1,
	.rivals = { &bell_deaths, &fd_deaths, &pidfd_deaths },
	.ratios = { { &bell_deaths, &pidfd_deaths }, { &fd_deaths, &pidfd_deaths } },
};
