// SPDX-License-Identifier: MIT
/* What the driver costs above liburing: operations that do nothing, in batches. */
#include "bench.h"
#include "uring.h"

static uint64_t done_nr;

static void done(struct evr_driver *driver, const struct evr_completion *completion)
{
	(void)driver;
	done_nr += !completion->res;
}

static uint32_t batch_of(const struct stage *stage, uint64_t left)
{
	return (uint32_t)(left < stage->batch ? left : stage->batch);
}

static void driver_nops(struct stage *stage, struct evr_driver *driver, uint64_t count)
{
	const struct evr_op op = evr_op_then(evr_op_nop(), done, NULL);

	done_nr = 0;
	while (done_nr < count) {
		uint32_t nr = batch_of(stage, count - done_nr);

		for (uint32_t i = 0; i < nr; i++) {
			int err = evr_driver_submit(driver, &op, NULL);

			if (err)
				stage_fail(stage, "submit", err);
		}
		uring_run(stage, driver, nr);
	}
}

static void driver_near(struct stage *stage)
{
	struct evr_driver *driver = uring_driver(stage, stage->batch);

	driver_nops(stage, driver, stage->warmup);
	stage_begin(stage);
	driver_nops(stage, driver, stage->count);
	stage_end(stage);
	stage->shared->halves[STAGE_NEAR].check = done_nr;
	uring_driver_end(stage, driver);
}

static void raw_nops(struct stage *stage, struct io_uring *ring, uint64_t count)
{
	struct io_uring_cqe *cqe;
	unsigned int head, seen;

	done_nr = 0;
	while (done_nr < count) {
		uint32_t nr = batch_of(stage, count - done_nr);

		for (uint32_t i = 0; i < nr; i++) {
			struct io_uring_sqe *sqe = uring_sqe(stage, ring);

			io_uring_prep_nop(sqe);
			io_uring_sqe_set_data64(sqe, i);
		}
		for (uint32_t left = nr; left; left -= seen) {
			int err = io_uring_submit_and_wait(ring, left);

			if (err < 0 && err != -EINTR)
				stage_fail(stage, "submit", err);
			seen = 0;
			io_uring_for_each_cqe(ring, head, cqe)
			{
				done_nr += !cqe->res;
				seen++;
			}
			io_uring_cq_advance(ring, seen);
		}
	}
}

static void raw_near(struct stage *stage)
{
	struct io_uring ring;

	uring_raw(stage, &ring, stage->batch, 0);
	raw_nops(stage, &ring, stage->warmup);
	stage_begin(stage);
	raw_nops(stage, &ring, stage->count);
	stage_end(stage);
	stage->shared->halves[STAGE_NEAR].check = done_nr;
	io_uring_queue_exit(&ring);
}

static const struct rival driver = { "evering driver", RIVAL_SLEEPS, uring_prepare, driver_near,
				     stage_look_on };
static const struct rival raw = { "liburing", RIVAL_SLEEPS, uring_prepare, raw_near,
				  stage_look_on };

const struct bench nop_bench = {
	.name = "nop",
	.summary = "operations of io_uring that do nothing, in batches",
	.unit = BENCH_MESSAGES,
	.sizes = { 8 },
	.batch = 32,
	.rivals = { &driver, &raw },
	.ratios = { { &driver, &raw } },
};
