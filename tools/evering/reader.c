// SPDX-License-Identifier: MIT
/* A file on its way from the disk into blocks of a seat's heap. */
#include "reader.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

void reader_begin(struct reader *reader, int fd, uint64_t sz)
{
	reader->fd = fd;
	reader->sz = sz;
}

static void piece_read(struct evr_driver *driver, const struct evr_completion *done);

static bool piece_submit(struct reader_piece *piece)
{
	struct reader *reader = piece->reader;
	struct evr_block_info info;
	struct evr_op op;

	if (evr_heap_info(&reader->seat->heap, piece->block.handle, &info))
		info.off = UINT64_MAX; /* the read fails: the block is not ours any more */
	/* All of the block, so that O_DIRECT has nothing to say against the last piece. */
	op = evr_op_read(reader->fd, NULL, MEETING_PIECE_SZ - piece->got, piece->off + piece->got);
	op = evr_op_then(evr_op_in(op, reader->region, info.off + piece->got), piece_read, piece);
	piece->is_due = false;
	piece->is_reading = true;
	if (!loop_submit(reader->loop, &op, &piece->op))
		piece->is_reading = false;
	return piece->is_reading;
}

/* The file system wants other multiples than we have: by the page cache, then. */
static bool may_read_again(struct reader *reader, int err)
{
	int flags = fcntl(reader->fd, F_GETFL);

	return err == -EINVAL && flags >= 0 && flags & O_DIRECT &&
	       !fcntl(reader->fd, F_SETFL, flags & ~O_DIRECT);
}

static void piece_read(struct evr_driver *driver, const struct evr_completion *done)
{
	struct reader_piece *piece = done->arg;

	(void)driver;
	piece->is_reading = false;
	if (done->res > 0)
		piece->got += (uint32_t)done->res;
	else if (!may_read_again(piece->reader, done->res))
		/* Nothing where there was something: it has become shorter. */
		piece->error = done->res ? -done->res : EIO;
	piece->is_due = piece->got < piece->wanted && !piece->error;
	/* Longer than it was is none of our business. */
	if (piece->got > piece->wanted)
		piece->got = piece->wanted;
}

static bool piece_begin(struct reader *reader)
{
	struct reader_piece *piece;
	uint64_t rest = reader->sz - reader->next;

	if (!rest || reader->nr == READER_PIECES)
		return false;
	piece = &reader->pieces[(reader->first + reader->nr) % READER_PIECES];
	*piece = (struct reader_piece){
		.reader = reader,
		.block = meeting_block(reader->seat),
		.off = reader->next,
		.wanted = (uint32_t)(rest < MEETING_PIECE_SZ ? rest : MEETING_PIECE_SZ)
	};
	if (!piece->block.ptr)
		return false;
	if (!piece_submit(piece))
		piece->is_due = true;
	reader->next += piece->wanted;
	reader->nr++;
	return true;
}

bool reader_turn(struct reader *reader)
{
	bool did = false;

	for (int i = 0; i < READER_PIECES; i++) {
		if (reader->pieces[i].is_due)
			did |= piece_submit(&reader->pieces[i]);
	}
	while (piece_begin(reader))
		did = true;
	return did;
}

struct reader_piece *reader_front(struct reader *reader)
{
	struct reader_piece *piece = &reader->pieces[reader->first];

	return reader->nr && !piece->is_reading && !piece->is_due ? piece : NULL;
}

void reader_pop(struct reader *reader)
{
	struct reader_piece *piece = &reader->pieces[reader->first];

	if (piece->block.ptr)
		evr_heap_free(&reader->seat->heap, piece->block.handle);
	reader->first = (reader->first + 1) % READER_PIECES;
	reader->nr--;
	piece->is_due = false;
}

void reader_cancel(struct reader *reader)
{
	for (int i = 0; i < READER_PIECES; i++) {
		if (reader->pieces[i].is_reading)
			evr_driver_cancel(reader->loop->driver, reader->pieces[i].op);
		reader->pieces[i].is_due = false;
	}
	reader->sz = reader->next;
}

bool reader_is_idle(const struct reader *reader)
{
	for (int i = 0; i < READER_PIECES; i++) {
		if (reader->pieces[i].is_reading)
			return false;
	}
	return true;
}

void reader_end(struct reader *reader)
{
	while (reader->nr)
		reader_pop(reader);
	if (reader->fd >= 0)
		close(reader->fd);
	reader->fd = -1;
}
