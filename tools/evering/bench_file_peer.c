// SPDX-License-Identifier: MIT
/*
 * From a file to another process, which reads every byte: the driver reads into blocks of the
 * segment, several at once, and hands them over by a channel; read() and write() through a
 * pipe; splice() into a pipe. The file lies in memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "carrier.h"
#include "channel_end.h"
#include "payload.h"
#include "uring.h"

#define FILE_SZ (16ULL << 20)
#define READS 8 /* at once */
/* As direct I/O wants it, too. */
#define BLOCK_ALIGN 4096

static int open_file(struct stage *stage)
{
	/* The last of the four: pipes need no more than the first three here. */
	stage->fds[3] = memfd_create("evering bench", MFD_CLOEXEC);
	if (stage->fds[3] < 0)
		return -errno;
	return fallocate(stage->fds[3], 0, 0, FILE_SZ) ? -errno : 0;
}

static int prepare_driver(struct stage *stage)
{
	int err = uring_prepare(stage);

	if (!err)
		err = channel_prepare(stage);
	return err ? err : open_file(stage);
}

/* The near side writes where the far one reads; the way back is not needed. */
static int prepare_pipe(struct stage *stage)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
	stage->fds[2] = ends[0];
	stage->fds[1] = ends[1];
	return open_file(stage);
}

static off_t place_of(const struct stage *stage, uint64_t turn)
{
	return (off_t)(turn % (FILE_SZ / stage->size) * stage->size);
}

/* One block on its way from the file. */
struct piece {
	struct stage *stage;
	struct evr_block block;
	int32_t res;
};

struct reader {
	struct channel_end end;
	struct evr_driver *driver;
	uint16_t region;
	struct piece pieces[READS];
};

static struct reader reader;

static void read_done(struct evr_driver *driver, const struct evr_completion *completion)
{
	struct piece *piece = completion->arg;

	(void)driver;
	piece->res = completion->res;
}

static void start_read(struct stage *stage, struct piece *piece, uint64_t turn)
{
	struct evr_block_info info;
	struct evr_op op;
	int err;

	piece->block = evr_heap_alloc_aligned(&reader.end.heap, stage->size, BLOCK_ALIGN);
	err = piece->block.ptr ? evr_heap_info(&reader.end.heap, piece->block.handle, &info) :
				 evr_heap_error(&reader.end.heap);
	if (err)
		stage_fail(stage, "block", err);
	op = evr_op_read(stage->fds[3], NULL, (uint32_t)stage->size,
			 (uint64_t)place_of(stage, turn));
	op = evr_op_then(evr_op_in(op, reader.region, info.off), read_done, piece);
	err = evr_driver_submit(reader.driver, &op, NULL);
	if (err)
		stage_fail(stage, "submit", err);
}

static void hand_over(struct stage *stage, const struct piece *piece)
{
	struct evr_message m = { .data = piece->block.ptr,
				 .sz = stage->size,
				 .handle = piece->block.handle,
				 .kind = EVR_FRAME_BLOCK };
	int err;

	if (piece->res != (int32_t)stage->size)
		stage_fail(stage, "read", piece->res < 0 ? piece->res : -EIO);
	err = evr_channel_send_wait(&reader.end.ch, &stage->waiter, &m, EVR_NO_DEADLINE);
	if (err)
		stage_fail(stage, "send", err);
}

static void read_and_send(struct stage *stage, uint64_t count)
{
	for (uint64_t turn = 0; turn < count;) {
		uint32_t nr = (uint32_t)(count - turn < READS ? count - turn : READS);

		for (uint32_t i = 0; i < nr; i++)
			start_read(stage, &reader.pieces[i], turn++);
		uring_run(stage, reader.driver, nr);
		for (uint32_t i = 0; i < nr; i++)
			hand_over(stage, &reader.pieces[i]);
	}
}

static void driver_near(struct stage *stage)
{
	int err;

	channel_end_open(stage, &reader.end);
	reader.driver = uring_driver(stage, READS);
	err = evr_region_add_peer(reader.driver, stage->peer, &reader.region);
	if (err)
		stage_fail(stage, "region", err);
	read_and_send(stage, stage->warmup);
	stage_begin(stage);
	read_and_send(stage, stage->count);
	stage_end(stage);
	uring_driver_end(stage, reader.driver);
	channel_end_close(stage, &reader.end);
}

static uint64_t receive(struct stage *stage, struct channel_end *end, uint64_t count)
{
	struct evr_message m;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		int err = evr_channel_recv_wait(&end->ch, &stage->waiter, &m, EVR_NO_DEADLINE);

		if (err)
			stage_fail(stage, "receive", err);
		sum += payload_read(m.data, m.sz);
		evr_channel_release(&end->ch, &m);
	}
	return sum;
}

static void driver_far(struct stage *stage)
{
	struct channel_end end;

	channel_end_open(stage, &end);
	receive(stage, &end, stage->warmup);
	stage_begin(stage);
	stage->shared->halves[STAGE_FAR].check = receive(stage, &end, stage->count);
	stage_end(stage);
	channel_end_close(stage, &end);
}

typedef void move_piece(struct stage *stage, uint8_t *buffer, off_t off);

static void copy_piece(struct stage *stage, uint8_t *buffer, off_t off)
{
	uint64_t put = 0;

	if (pread(stage->fds[3], buffer, stage->size, off) != (ssize_t)stage->size)
		stage_fail(stage, "read", -errno);
	while (put < stage->size) {
		ssize_t got = write(stage->fds[1], buffer + put, stage->size - put);

		if (got < 0 && errno != EINTR)
			stage_fail(stage, "write", -errno);
		put += got > 0 ? (uint64_t)got : 0;
	}
}

static void splice_piece(struct stage *stage, uint8_t *buffer, off_t off)
{
	(void)buffer;
	for (uint64_t left = stage->size; left;) {
		ssize_t got = splice(stage->fds[3], &off, stage->fds[1], NULL, left, SPLICE_F_MOVE);

		if (got <= 0 && errno != EINTR)
			stage_fail(stage, "splice", got ? -errno : -EPIPE);
		left -= got > 0 ? (uint64_t)got : 0;
	}
}

static void pipe_near(struct stage *stage, move_piece *move)
{
	uint8_t *buffer = malloc(stage->size);

	if (!buffer)
		stage_fail(stage, "buffer", -ENOMEM);
	for (uint64_t i = 0; i < stage->warmup; i++)
		move(stage, buffer, place_of(stage, i));
	stage_begin(stage);
	for (uint64_t i = 0; i < stage->count; i++)
		move(stage, buffer, place_of(stage, i));
	stage_end(stage);
	/* Nobody leaves before the other has all. */
	stage_meet(stage);
	free(buffer);
}

static void copy_near(struct stage *stage)
{
	pipe_near(stage, copy_piece);
}

static void splice_near(struct stage *stage)
{
	pipe_near(stage, splice_piece);
}

static uint64_t read_all(struct stage *stage, uint8_t *buffer, uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		stage_read_all(stage, buffer, stage->size);
		sum += payload_read(buffer, stage->size);
	}
	return sum;
}

static void pipe_far(struct stage *stage)
{
	uint8_t *buffer = malloc(stage->size);

	if (!buffer)
		stage_fail(stage, "buffer", -ENOMEM);
	read_all(stage, buffer, stage->warmup);
	stage_begin(stage);
	stage->shared->halves[STAGE_FAR].check = read_all(stage, buffer, stage->count);
	stage_end(stage);
	stage_meet(stage);
	free(buffer);
}

static const struct rival adaptive = { "evering driver", RIVAL_ADAPTS, prepare_driver, driver_near,
				       driver_far };
static const struct rival sleeping = { "evering driver", RIVAL_SLEEPS, prepare_driver, driver_near,
				       driver_far };
static const struct rival copies = { "read, write, pipe", RIVAL_SLEEPS, prepare_pipe, copy_near,
				     pipe_far };
static const struct rival splices = { "splice, pipe", RIVAL_SLEEPS, prepare_pipe, splice_near,
				      pipe_far };

const struct bench file_peer_bench = {
	.name = "file-peer",
	.summary = "from a file in memory to another process, which reads all",
	.unit = BENCH_BYTES,
	.sizes = { 4096, 64 << 10, 1 << 20 },
	.batch = 1,
	.rivals = { &adaptive, &sleeping, &copies, &splices },
	.ratios = { { &sleeping, &copies }, { &sleeping, &splices } },
};
