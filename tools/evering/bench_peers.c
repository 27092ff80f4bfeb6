// SPDX-License-Identifier: MIT
/*
 * Does a message cost more when there are more peers? One sends into an inbox, one receives,
 * and 0, 14, 62 or 253 others are attached, have sent something, and sleep: processes of
 * their own. Counted are the bytes of the segment that each sender takes.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <evering/inbox.h>

#include "bench.h"
#include "payload.h"

#define PEERS_MAX 255
#define CAPACITY 64

/* The stage's page has how many of the others have sent. */
static struct evr_a32 *joined(const struct stage *stage)
{
	return stage->page;
}

static uint32_t others_nr(const struct stage *stage)
{
	return *(const uint32_t *)stage->rival->with - 2;
}

static int prepare(struct stage *stage)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = (8 << 20) +
							    PEERS_MAX * 2 * CAPACITY * stage->size,
					       .peers_max = PEERS_MAX };
	int err = evr_segment_create(
		&stage->segment,
		stage->backend == EVR_BACKEND_DEVICE ? "device:" : "local:", &options);

	return err ? err : stage_prepare_page(stage);
}

static void send_one(struct stage *stage, struct evr_inbox_sender *sender, uint64_t nr)
{
	uint32_t one = 1;
	uint8_t *slot;

	while (!(slot = evr_inbox_reserve(sender, &one))) {
		one = 1;
		evr_pause();
	}
	payload_write(slot, stage->size, nr);
	evr_inbox_commit(sender, 1);
}

static void join(struct stage *stage, struct evr_inbox_sender *sender)
{
	int err;

	stage_attach(stage);
	err = evr_inbox_join(sender, stage->peer, "in", 0);
	if (err)
		stage_fail(stage, "join", err);
}

static _Noreturn void another(struct stage *stage)
{
	struct evr_inbox_sender sender;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	join(stage, &sender);
	send_one(stage, &sender, 1);
	evr_a32_fetch_add(joined(stage), 1);
	for (;;)
		pause();
}

/* One after the other, so that none waits for the CPU with all the others. */
static void start_others(struct stage *stage, pid_t *others)
{
	struct timespec pause = { .tv_nsec = 100000 };

	for (uint32_t i = 0; i < others_nr(stage); i++) {
		others[i] = fork();
		if (others[i] < 0)
			stage_fail(stage, "fork", -errno);
		if (!others[i])
			another(stage);
		while (evr_a32_load_acquire(joined(stage)) <= i) {
			if (waitpid(others[i], NULL, WNOHANG))
				_exit(1);
			nanosleep(&pause, NULL);
		}
	}
}

static void end_others(struct stage *stage, const pid_t *others)
{
	for (uint32_t i = 0; i < others_nr(stage); i++)
		kill(others[i], SIGKILL);
	for (uint32_t i = 0; i < others_nr(stage); i++)
		waitpid(others[i], NULL, 0);
}

static void near(struct stage *stage)
{
	static pid_t others[PEERS_MAX];
	struct evr_inbox_sender sender;

	stage_meet(stage);
	start_others(stage, others);
	join(stage, &sender);
	for (uint64_t left = stage->warmup; left; left--)
		send_one(stage, &sender, left);
	stage_begin(stage);
	for (uint64_t left = stage->count; left; left--)
		send_one(stage, &sender, left);
	stage_end(stage);
	stage_meet(stage);
	evr_inbox_leave(&sender);
	stage_detach(stage);
	end_others(stage, others);
}

static uint64_t bytes_used(struct stage *stage)
{
	struct evr_dir_info info;
	int err = evr_dir_info(stage->peer, &info);

	if (err)
		stage_fail(stage, "directory", err);
	return info.bytes;
}

static uint64_t receive(struct stage *stage, struct evr_inbox *box, uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t left = count; left;) {
		uint32_t nr = (uint32_t)(left < CAPACITY ? left : CAPACITY);
		const void *slots = evr_inbox_peek(box, &nr, NULL);

		if (!slots) {
			evr_pause();
			continue;
		}
		sum += payload_read(slots, stage->size * nr);
		left -= evr_inbox_release(box, nr);
	}
	return sum;
}

static void far(struct stage *stage)
{
	struct evr_inbox_options options = { .struct_sz = sizeof(options),
					     .capacity = CAPACITY,
					     .elem_sz = (uint32_t)stage->size };
	struct evr_inbox box;
	uint64_t before;
	int err;

	stage_attach(stage);
	before = bytes_used(stage);
	err = evr_inbox_create(stage->peer, "in", &options);
	if (!err)
		err = evr_inbox_open(&box, stage->peer, "in", 0);
	if (err)
		stage_fail(stage, "inbox", err);
	stage_meet(stage);
	receive(stage, &box, others_nr(stage) + stage->warmup);
	stage->shared->counted =
		(double)(bytes_used(stage) - before) / (double)(others_nr(stage) + 1);
	stage_begin(stage);
	stage->shared->halves[STAGE_FAR].check = receive(stage, &box, stage->count);
	stage_end(stage);
	stage_meet(stage);
	evr_inbox_close(&box);
	stage_detach(stage);
}

static const uint32_t two = 2, sixteen = 16, sixty_four = 64, all = PEERS_MAX;

#define PEERS_RIVAL(id, text, nr) \
	static const struct rival id = { "evering, " text, RIVAL_SPINS, prepare, near, far, &(nr) }

PEERS_RIVAL(among_2, "2 peers", two);
PEERS_RIVAL(among_16, "16 peers", sixteen);
PEERS_RIVAL(among_64, "64 peers", sixty_four);
PEERS_RIVAL(among_255, "255 peers", all);

const struct bench peers_bench = {
	.name = "peers",
	.summary = "messages into an inbox, one by one, among 2 to 255 peers",
	.unit = BENCH_MESSAGES,
	.sizes = { 8 },
	.batch = 1,
	.counted = "BYTES/SENDER",
	.rivals = { &among_2, &among_16, &among_64, &among_255 },
	.ratios = { { &among_16, &among_2 }, { &among_64, &among_2 }, { &among_255, &among_2 } },
};
