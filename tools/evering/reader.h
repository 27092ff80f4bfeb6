/* SPDX-License-Identifier: MIT */
/*
 * A file on its way from the disk into blocks of a seat's heap: several pieces at once,
 * past the page cache where the file system can, handed out in order.
 */
#ifndef EVERING_TOOL_READER_H
#define EVERING_TOOL_READER_H

#include "meeting.h"

#define READER_PIECES 4

struct reader_piece {
	struct evr_block block;
	uint64_t off;
	uint32_t wanted; /* bytes of the file */
	uint32_t got; /* of these, by now */
	int error; /* errno that it failed with, or 0 */
	bool is_reading, is_due; /* the next read could not be started yet */
	uint64_t op;
	struct reader *reader;
};

struct reader {
	struct loop *loop;
	struct seat *seat;
	uint16_t region; /* of the seat's segment */
	int fd;
	uint64_t sz; /* what there was when it was opened */
	uint64_t next; /* offset of the next read */
	uint32_t first, nr; /* pieces under way, oldest first */
	struct reader_piece pieces[READER_PIECES];
};

/* @fd becomes the reader's. loop, seat and region are set, all else is 0. */
void reader_begin(struct reader *reader, int fd, uint64_t sz);

/* Starts what reads there is room for. Returns whether there were any. */
bool reader_turn(struct reader *reader);

/* The oldest piece when it has been read, or has failed; else NULL. */
struct reader_piece *reader_front(struct reader *reader);

/* The front has been used. Its block is freed, unless its ptr is NULL by now. */
void reader_pop(struct reader *reader);

static inline bool reader_is_through(const struct reader *reader)
{
	return !reader->nr && reader->next == reader->sz;
}

/* Gives up what is under way. */
void reader_cancel(struct reader *reader);
bool reader_is_idle(const struct reader *reader);

/* Idle, or its loop is closed. Closes the file. */
void reader_end(struct reader *reader);

#endif
