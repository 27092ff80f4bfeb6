// SPDX-License-Identifier: MIT
/*
 * Memory outside of the segment is lent to the other process, which maps it, reads and
 * changes its first word, and gives it back: a lease, and a memfd by SCM_RIGHTS.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <evering/lease.h>

#include "bench.h"
#include "channel_end.h"
#include "fdpass.h"
#include "trips.h"

struct lending {
	struct channel_end end;
	struct evr_lender lender;
	struct evr_lease lease; /* far, this time */
	int memfd;
	struct evr_a64 *word; /* near: the first of the memory */
};

/* The heap holds no more than the records of what is lent. */
static int prepare(struct stage *stage)
{
	uint64_t size = stage->size;
	int err;

	stage->size = sizeof(struct evr_lease_record);
	err = channel_prepare(stage);
	stage->size = size;
	return err;
}

static void make_memory(struct stage *stage, struct lending *lending)
{
	lending->memfd = evr_lease_memfd(stage->size);
	if (lending->memfd < 0)
		stage_fail(stage, "memfd", lending->memfd);
	lending->word =
		mmap(NULL, stage->size, PROT_READ | PROT_WRITE, MAP_SHARED, lending->memfd, 0);
	if (lending->word == MAP_FAILED)
		stage_fail(stage, "memfd", -errno);
}

static void lend(struct stage *stage, struct lending *lending)
{
	struct evr_lease_options options = { .struct_sz = sizeof(options),
					     .fd = lending->memfd,
					     .sz = stage->size };
	int err = evr_lease_send(&lending->lender, &lending->end.ch, &options);

	if (err)
		stage_fail(stage, "lease", err);
}

static uint64_t borrow(struct stage *stage, struct lending *lending)
{
	struct evr_message m;
	uint64_t value = 0;
	void *at;
	int err = evr_channel_recv_wait(&lending->end.ch, &stage->waiter, &m, EVR_NO_DEADLINE);

	if (!err)
		err = evr_lease_take(&lending->lease, &lending->end.ch, &m);
	if (!err)
		err = evr_lease_map(&lending->lease, NULL, &at);
	if (err)
		stage_fail(stage, "lease", err);
	value = evr_a64_load_relaxed(at);
	evr_a64_store_relaxed(at, value + 1);
	evr_lease_release(&lending->lease);
	return value;
}

static void lease_send(struct stage *stage, void *ends, uint64_t turn)
{
	struct lending *lending = ends;
	struct evr_message m = { .data = &turn, .sz = sizeof(turn) };
	int err;

	if (stage->side == STAGE_NEAR) {
		lend(stage, lending);
		return;
	}
	err = evr_channel_send_wait(&lending->end.ch, &stage->waiter, &m, EVR_NO_DEADLINE);
	if (err)
		stage_fail(stage, "answer", err);
}

static uint64_t lease_receive(struct stage *stage, void *ends, uint64_t turn)
{
	struct lending *lending = ends;
	struct evr_message m;
	int err;

	(void)turn;
	if (stage->side == STAGE_FAR)
		return borrow(stage, lending);
	err = evr_channel_recv_wait(&lending->end.ch, &stage->waiter, &m, EVR_NO_DEADLINE);
	if (err)
		stage_fail(stage, "receive", err);
	evr_channel_release(&lending->end.ch, &m);
	if (evr_lender_collect(&lending->lender) != 1)
		stage_fail(stage, "what was lent", -EBUSY);
	return evr_a64_load_relaxed(lending->word);
}

static void lease_side(struct stage *stage)
{
	uint64_t size = stage->size;
	struct lending lending = { .memfd = -1 };

	stage->size = sizeof(struct evr_lease_record);
	channel_end_open(stage, &lending.end);
	stage->size = size;
	evr_lender_init(&lending.lender, &lending.end.heap);
	if (stage->side == STAGE_NEAR)
		make_memory(stage, &lending);
	trips_run(stage, &lending, lease_send, lease_receive);
	stage_meet(stage);
	evr_lender_fini(&lending.lender);
	channel_end_close(stage, &lending.end);
}

static void memfd_send(struct stage *stage, void *ends, uint64_t turn)
{
	struct lending *lending = ends;

	if (stage->side == STAGE_NEAR)
		fdpass_send(stage, lending->memfd);
	else
		stage_write_all(stage, &turn, sizeof(turn));
}

static uint64_t memfd_receive(struct stage *stage, void *ends, uint64_t turn)
{
	struct lending *lending = ends;
	struct evr_a64 *at;
	uint64_t value;
	int fd;

	if (stage->side == STAGE_NEAR) {
		stage_read_all(stage, &turn, sizeof(turn));
		return evr_a64_load_relaxed(lending->word);
	}
	fd = fdpass_receive(stage);
	at = mmap(NULL, stage->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		stage_fail(stage, "map", -errno);
	value = evr_a64_load_relaxed(at);
	evr_a64_store_relaxed(at, value + 1);
	munmap(at, stage->size);
	close(fd);
	return value;
}

static void memfd_side(struct stage *stage)
{
	struct lending lending = { .memfd = -1 };

	if (stage->side == STAGE_NEAR)
		make_memory(stage, &lending);
	trips_run(stage, &lending, memfd_send, memfd_receive);
	stage_meet(stage);
}

static const struct rival spinning = { "evering lease", RIVAL_SPINS, prepare, lease_side,
				       lease_side };
static const struct rival adaptive = { "evering lease", RIVAL_ADAPTS, prepare, lease_side,
				       lease_side };
static const struct rival sleeping = { "evering lease", RIVAL_SLEEPS, prepare, lease_side,
				       lease_side };
static const struct rival by_memfd = { "SCM_RIGHTS, a memfd", RIVAL_SLEEPS, stage_prepare_sockets,
				       memfd_side, memfd_side };

const struct bench lease_bench = {
	.name = "lease",
	.summary = "memory lent, mapped, its first word changed, and given back",
	.unit = BENCH_ROUND_TRIPS,
	.sizes = { 1 << 20, 64 << 20 },
	.batch = 1,
	.rivals = { &spinning, &adaptive, &sleeping, &by_memfd },
	.ratios = { { &sleeping, &by_memfd } },
};
