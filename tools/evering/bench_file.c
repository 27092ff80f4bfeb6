// SPDX-License-Identifier: MIT
/*
 * A file that lies in memory is read or written, several places at once: by the driver, by
 * liburing alone, and by system calls. Nobody looks at the bytes but the kernel, which copies
 * them. Fixed: the buffers and the file are registered.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "uring.h"

#define FILE_SZ (16ULL << 20)

/* How a rival does it. */
struct way {
	bool writes, is_fixed;
};

struct filer {
	const struct way *way;
	struct evr_driver *driver; /* or the ring */
	struct io_uring ring;
	uint8_t *buffers; /* as many as a batch */
	uint64_t off; /* in the file, of the next operation */
	uint64_t bytes; /* done so far */
	uint32_t slot; /* of the fixed file */
	uint16_t region;
};

static struct filer filer;

static int prepare(struct stage *stage)
{
	stage->fds[0] = memfd_create("evering bench", MFD_CLOEXEC);
	if (stage->fds[0] < 0)
		return -errno;
	/* With its pages: a hole is read without them. */
	return fallocate(stage->fds[0], 0, 0, FILE_SZ) ? -errno : 0;
}

static int prepare_uring(struct stage *stage)
{
	int err = uring_prepare(stage);

	return err ? err : prepare(stage);
}

static uint64_t buffers_sz(const struct stage *stage)
{
	return (stage->size * stage->batch + 4095) & ~4095ULL;
}

static void open_buffers(struct stage *stage)
{
	filer = (struct filer){ .way = stage->rival->with };
	filer.buffers = mmap(NULL, buffers_sz(stage), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (filer.buffers == MAP_FAILED)
		stage_fail(stage, "buffers", -errno);
}

/* Where the next operation is; the file is gone through from its beginning, again and again. */
static uint64_t next_off(const struct stage *stage)
{
	uint64_t off = filer.off;

	filer.off += stage->size;
	if (filer.off + stage->size > FILE_SZ)
		filer.off = 0;
	return off;
}

static void count_bytes(struct stage *stage, int64_t res)
{
	if (res != (int64_t)stage->size)
		stage_fail(stage, "file", res < 0 ? (int)res : -EIO);
	filer.bytes += (uint64_t)res;
}

static void done(struct evr_driver *driver, const struct evr_completion *completion)
{
	(void)driver;
	count_bytes(completion->arg, completion->res);
}

static void driver_submit(struct stage *stage, uint32_t place)
{
	uint8_t *buffer = filer.buffers + place * stage->size;
	int fd = filer.way->is_fixed ? (int)filer.slot : stage->fds[0];
	uint32_t len = (uint32_t)stage->size;
	struct evr_op op = filer.way->writes ? evr_op_write(fd, buffer, len, next_off(stage)) :
					       evr_op_read(fd, buffer, len, next_off(stage));
	int err;

	if (filer.way->is_fixed)
		op = evr_op_flagged(evr_op_in(op, filer.region, place * stage->size),
				    EVR_OP_FIXED_FD);
	op = evr_op_then(op, done, stage);
	err = evr_driver_submit(filer.driver, &op, NULL);
	if (err)
		stage_fail(stage, "submit", err);
}

static void driver_batch(struct stage *stage, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		driver_submit(stage, i);
	uring_run(stage, filer.driver, nr);
}

static void raw_submit(struct stage *stage, uint32_t place)
{
	uint8_t *buffer = filer.buffers + place * stage->size;
	struct io_uring_sqe *sqe = uring_sqe(stage, &filer.ring);
	unsigned int len = (unsigned int)stage->size;
	uint64_t off = next_off(stage);
	int fd = stage->fds[0];

	if (!filer.way->is_fixed && filer.way->writes)
		io_uring_prep_write(sqe, fd, buffer, len, off);
	else if (!filer.way->is_fixed)
		io_uring_prep_read(sqe, fd, buffer, len, off);
	else if (filer.way->writes)
		io_uring_prep_write_fixed(sqe, 0, buffer, len, off, 0);
	else
		io_uring_prep_read_fixed(sqe, 0, buffer, len, off, 0);
	if (filer.way->is_fixed)
		sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data64(sqe, place);
}

static void raw_batch(struct stage *stage, uint32_t nr)
{
	struct io_uring_cqe *cqe;
	unsigned int head, seen;

	for (uint32_t i = 0; i < nr; i++)
		raw_submit(stage, i);
	for (uint32_t left = nr; left; left -= seen) {
		int err = io_uring_submit_and_wait(&filer.ring, left);

		if (err < 0 && err != -EINTR)
			stage_fail(stage, "submit", err);
		seen = 0;
		io_uring_for_each_cqe(&filer.ring, head, cqe)
		{
			count_bytes(stage, cqe->res);
			seen++;
		}
		io_uring_cq_advance(&filer.ring, seen);
	}
}

static void call_batch(struct stage *stage, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++) {
		uint8_t *buffer = filer.buffers + i * stage->size;
		off_t off = (off_t)next_off(stage);

		count_bytes(stage, filer.way->writes ?
					   pwrite(stage->fds[0], buffer, stage->size, off) :
					   pread(stage->fds[0], buffer, stage->size, off));
	}
}

typedef void file_batch(struct stage *stage, uint32_t nr);

static STAGE_INLINE void move(struct stage *stage, uint64_t count, file_batch *batch)
{
	for (uint64_t left = count; left;) {
		uint32_t nr = (uint32_t)(left < stage->batch ? left : stage->batch);

		batch(stage, nr);
		left -= nr;
	}
}

static STAGE_INLINE void play(struct stage *stage, file_batch *batch)
{
	move(stage, stage->warmup, batch);
	stage_begin(stage);
	move(stage, stage->count, batch);
	stage_end(stage);
	stage->shared->halves[STAGE_NEAR].check = filer.bytes;
}

/* A driver that may not register memory reads into it all the same: that is not this rival. */
static void driver_fix(struct stage *stage)
{
	int err = evr_region_add(filer.driver, filer.buffers, buffers_sz(stage), &filer.region);

	if (!err && evr_region_is_fixed(filer.driver, filer.region) != 1)
		err = -EOPNOTSUPP;
	filer.slot = EVR_FILE_ANY;
	if (!err)
		err = evr_file_install(filer.driver, stage->fds[0], &filer.slot);
	if (err)
		stage_fail(stage, "registration", err);
}

static void driver_near(struct stage *stage)
{
	open_buffers(stage);
	filer.driver = uring_driver(stage, stage->batch);
	if (filer.way->is_fixed)
		driver_fix(stage);
	play(stage, driver_batch);
	uring_driver_end(stage, filer.driver);
}

static void raw_near(struct stage *stage)
{
	struct iovec all;
	int err = 0;

	open_buffers(stage);
	all = (struct iovec){ filer.buffers, buffers_sz(stage) };
	uring_raw(stage, &filer.ring, stage->batch, 0);
	if (filer.way->is_fixed)
		err = io_uring_register_buffers(&filer.ring, &all, 1);
	if (filer.way->is_fixed && !err)
		err = io_uring_register_files(&filer.ring, stage->fds, 1);
	/* Memory that may not be locked is no failure. */
	if (err)
		stage_fail(stage, "registration", err == -ENOMEM ? -EOPNOTSUPP : err);
	play(stage, raw_batch);
	io_uring_queue_exit(&filer.ring);
}

static void call_near(struct stage *stage)
{
	open_buffers(stage);
	play(stage, call_batch);
}

static const struct way reads = { false, false }, fixed_reads = { false, true };
static const struct way writes = { true, false }, fixed_writes = { true, true };

#define FILE_RIVAL(id, text, prepare, near, way) \
	static const struct rival id = { text, RIVAL_SLEEPS, prepare, near, stage_look_on, &(way) }

FILE_RIVAL(driver_reads, "evering driver", prepare_uring, driver_near, reads);
FILE_RIVAL(driver_reads_fixed, "evering driver, fixed", prepare_uring, driver_near, fixed_reads);
FILE_RIVAL(raw_reads, "liburing", prepare_uring, raw_near, reads);
FILE_RIVAL(raw_reads_fixed, "liburing, fixed", prepare_uring, raw_near, fixed_reads);
FILE_RIVAL(call_reads, "pread", prepare, call_near, reads);
FILE_RIVAL(driver_writes, "evering driver", prepare_uring, driver_near, writes);
FILE_RIVAL(driver_writes_fixed, "evering driver, fixed", prepare_uring, driver_near, fixed_writes);
FILE_RIVAL(raw_writes, "liburing", prepare_uring, raw_near, writes);
FILE_RIVAL(raw_writes_fixed, "liburing, fixed", prepare_uring, raw_near, fixed_writes);
FILE_RIVAL(call_writes, "pwrite", prepare, call_near, writes);

const struct bench file_read_bench = {
	.name = "file-read",
	.summary = "reads of a file in memory, many at once",
	.unit = BENCH_BYTES,
	.sizes = { 512, 4096, 64 << 10 },
	.batch = 32,
	.rivals = { &driver_reads, &driver_reads_fixed, &raw_reads, &raw_reads_fixed, &call_reads },
	.ratios = { { &driver_reads, &raw_reads },
		    { &driver_reads, &call_reads },
		    { &driver_reads_fixed, &raw_reads_fixed } },
};

const struct bench file_write_bench = {
	.name = "file-write",
	.summary = "writes to a file in memory, many at once",
	.unit = BENCH_BYTES,
	.sizes = { 512, 4096, 64 << 10 },
	.batch = 32,
	.rivals = { &driver_writes, &driver_writes_fixed, &raw_writes, &raw_writes_fixed,
		    &call_writes },
	.ratios = { { &driver_writes, &raw_writes },
		    { &driver_writes, &call_writes },
		    { &driver_writes_fixed, &raw_writes_fixed } },
};
