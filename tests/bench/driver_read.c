/* SPDX-License-Identifier: MIT */
/*
 * driver_read driver|raw plain|fixed NR: NR reads of 512 B of a file in memory, 32 together, through
 * the driver or through liburing alone. Fixed: file and buffers are registered; to the driver they are a slot and
 * a region. check_driver_cost.sh counts the instructions. Exit status 77: no io_uring, or none that may register.
 */
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <evering/driver.h>
#include <evering/driver_op.h>
#include <evering/driver_resource.h>

#define BATCH 32
#define READ_SZ 512

static unsigned char *buffers;
static unsigned long done_nr;
static int fd;

static void done(struct evr_driver *d, const struct evr_completion *completion)
{
	done_nr += completion->res == READ_SZ;
}

static struct evr_op read_op(bool fixed, uint32_t slot, uint16_t region, unsigned int i)
{
	struct evr_op op;

	if (!fixed)
		return evr_op_read(fd, buffers + i * READ_SZ, READ_SZ, i * READ_SZ);
	op = evr_op_read((int)slot, NULL, READ_SZ, i * READ_SZ);
	return evr_op_flagged(evr_op_in(op, region, i * READ_SZ), EVR_OP_FIXED_FD);
}

static int run_driver(bool fixed, unsigned long nr)
{
	struct evr_driver_options options = { .struct_sz = sizeof(options),
					      .flags = EVR_DRIVER_REQUIRE_URING };
	uint32_t slot = EVR_FILE_ANY;
	struct evr_driver *d;
	struct evr_op op;
	uint16_t region;
	unsigned int i;

	if (evr_driver_create(&d, &options) ||
	    evr_region_add(d, buffers, BATCH * READ_SZ, &region) ||
	    evr_file_install(d, fd, &slot) || evr_region_is_fixed(d, region) != 1)
		return 77;
	while (done_nr < nr) {
		for (i = 0; i < BATCH; i++) {
			op = evr_op_then(read_op(fixed, slot, region, i), done, NULL);
			if (evr_driver_submit(d, &op, NULL))
				return 1;
		}
		if (evr_driver_run(d, BATCH, EVR_DRIVER_NO_DEADLINE) != BATCH)
			return 1;
	}
	return evr_driver_close(d, EVR_DRIVER_NO_DEADLINE) ? 1 : 0;
}

static void raw_sqe(struct io_uring *ring, bool fixed, unsigned int i)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (fixed)
		io_uring_prep_read_fixed(sqe, 0, buffers + i * READ_SZ, READ_SZ, i * READ_SZ, 0);
	else
		io_uring_prep_read(sqe, fd, buffers + i * READ_SZ, READ_SZ, i * READ_SZ);
	if (fixed)
		sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data64(sqe, i);
}

static int run_raw(bool fixed, unsigned long nr)
{
	struct iovec all = { buffers, BATCH * READ_SZ };
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	unsigned int i, head, seen;

	if (io_uring_queue_init(256, &ring,
				IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN))
		return 77;
	io_uring_register_ring_fd(&ring);
	if (io_uring_register_buffers(&ring, &all, 1) || io_uring_register_files(&ring, &fd, 1))
		return 77;
	while (done_nr < nr) {
		for (i = 0; i < BATCH; i++)
			raw_sqe(&ring, fixed, i);
		for (i = 0; i < BATCH; i += seen) {
			if (io_uring_submit_and_wait(&ring, BATCH - i) < 0)
				return 1;
			seen = 0;
			io_uring_for_each_cqe(&ring, head, cqe)
			{
				done_nr += cqe->res == READ_SZ;
				seen++;
			}
			io_uring_cq_advance(&ring, seen);
		}
	}
	io_uring_queue_exit(&ring);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long nr = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
	bool fixed = argc == 4 && !strcmp(argv[2], "fixed");

	if (!nr || nr % BATCH)
		return 2;
	buffers = mmap(NULL, BATCH * READ_SZ, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	fd = memfd_create("driver_read", MFD_CLOEXEC);
	if (buffers == MAP_FAILED || fd < 0 || fallocate(fd, 0, 0, BATCH * READ_SZ))
		return 1;
	return !strcmp(argv[1], "raw") ? run_raw(fixed, nr) : run_driver(fixed, nr);
}
