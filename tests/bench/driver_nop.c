/* SPDX-License-Identifier: MIT */
/*
 * driver_nop driver|raw BATCH NR: NR no-ops in batches, through the driver or through
 * liburing alone; prints ns for each. check_driver_cost.sh counts its instructions.
 * After the first thousand nothing may allocate: exit status 3.
 */
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <evering/bell.h>
#include <evering/driver.h>
#include <evering/driver_op.h>

static unsigned long allocations;

void *__real_malloc(size_t sz);
void *__real_calloc(size_t nr, size_t sz);
void *__real_realloc(void *mem, size_t sz);
void *__wrap_malloc(size_t sz);
void *__wrap_calloc(size_t nr, size_t sz);
void *__wrap_realloc(void *mem, size_t sz);

void *__wrap_malloc(size_t sz)
{
	allocations++;
	return __real_malloc(sz);
}

void *__wrap_calloc(size_t nr, size_t sz)
{
	allocations++;
	return __real_calloc(nr, sz);
}

void *__wrap_realloc(void *mem, size_t sz)
{
	allocations++;
	return __real_realloc(mem, sz);
}

static unsigned long done_nr;

static void done(struct evr_driver *d, const struct evr_completion *completion)
{
	done_nr++;
}

static int run_driver(struct evr_driver *d, unsigned int batch, unsigned long nr)
{
	const struct evr_op op = evr_op_then(evr_op_nop(), done, NULL);
	unsigned long start = done_nr;
	unsigned int i;

	while (done_nr - start < nr) {
		for (i = 0; i < batch; i++)
			if (evr_driver_submit(d, &op, NULL))
				return 1;
		if (evr_driver_run(d, batch, EVR_DRIVER_NO_DEADLINE) < (int)batch)
			return 1;
	}
	return 0;
}

static int run_raw(struct io_uring *ring, unsigned int batch, unsigned long nr)
{
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	unsigned int i, head, seen;
	unsigned long start = done_nr;

	while (done_nr - start < nr) {
		for (i = 0; i < batch; i++) {
			sqe = io_uring_get_sqe(ring);
			if (!sqe)
				return 1;
			io_uring_prep_nop(sqe);
			io_uring_sqe_set_data64(sqe, i);
		}
		for (i = 0; i < batch; i += seen) {
			if (io_uring_submit_and_wait(ring, batch - i) < 0)
				return 1;
			seen = 0;
			io_uring_for_each_cqe(ring, head, cqe)
			{
				done_nr += cqe->res == 0;
				seen++;
			}
			io_uring_cq_advance(ring, seen);
		}
	}
	return 0;
}

static int measure(struct evr_driver *d, struct io_uring *ring, unsigned int batch,
		   unsigned long nr)
{
	unsigned long before;
	uint64_t start;
	int bad;

	bad = d ? run_driver(d, batch, 1000) : run_raw(ring, batch, 1000);
	before = allocations;
	start = evr_now_ns();
	bad |= d ? run_driver(d, batch, nr) : run_raw(ring, batch, nr);
	printf("%.1f ns for each of %lu in batches of %u, %lu allocations\n",
	       (double)(evr_now_ns() - start) / (double)nr, nr, batch, allocations - before);
	if (allocations != before)
		return 3;
	return bad;
}

int main(int argc, char **argv)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .flags = EVR_DRIVER_REQUIRE_URING };
	struct evr_driver *d = NULL;
	struct io_uring ring;
	unsigned int batch;
	int ret;

	if (argc != 4)
		return 2;
	batch = (unsigned int)strtoul(argv[2], NULL, 10);
	if (!strcmp(argv[1], "driver")) {
		if (evr_driver_create(&d, &options))
			return 77;
		ret = measure(d, NULL, batch, strtoul(argv[3], NULL, 10));
		evr_driver_close(d, EVR_DRIVER_NO_DEADLINE);
		return ret;
	}
	if (io_uring_queue_init(256, &ring,
				IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN))
		return 77;
	io_uring_register_ring_fd(&ring);
	ret = measure(NULL, &ring, batch, strtoul(argv[3], NULL, 10));
	io_uring_queue_exit(&ring);
	return ret;
}
