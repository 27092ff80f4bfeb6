/* SPDX-License-Identifier: MIT */
/*
 * A byte stream both ways between a file descriptor and a channel, on a loop.
 *
 * In the channel bytes are messages with tag STREAM_DATA, in frames or in blocks: read straight
 * into these, and written straight out of them. Each direction ends with one message
 * STREAM_END, whose 4 bytes are 0, or the errno that ended it early; the other end answers it
 * with STREAM_DONE once all has been written. A side that gives up afterwards says so
 * with a STREAM_END of its errno. So a clean end is told from one that stopped or died, and who
 * has met a clean one knows that every byte was written.
 *
 * An end that has ended its direction and got its DONE may close: it wants nothing more.
 */
#ifndef EVERING_TOOL_STREAM_H
#define EVERING_TOOL_STREAM_H

#include "meeting.h"

enum stream_tag {
	STREAM_DATA,
	STREAM_END,
	STREAM_DONE, /* no bytes */
	STREAM_SIZE, /* 8 bytes: how many bytes will come; for who wants to know */
};

enum stream_outcome {
	STREAM_CLEAN,
	STREAM_PEER_DIED, /* the other end of the channel */
	STREAM_PEER_STOPPED, /* it ended early, and said so, or left */
	STREAM_FAILED, /* our own file descriptor */
	STREAM_OUTCOMES,
};

/* "clean", "peer-died", "peer-stopped", "failed". */
const char *stream_outcome_name(enum stream_outcome outcome);

/* What a STREAM_END message says: 0, or errno; it is released. */
int stream_read_end(struct evr_channel *ch, struct evr_message *m);
/* Sends one. As evr_channel_send(). */
int stream_send_end(struct evr_channel *ch, int error);

struct stream {
	struct loop *loop;
	struct seat *seat;
	struct evr_channel ch;
	struct evr_peer_id other;
	int other_pid; /* as long as it lived; 0 = not seen */
	int in_fd, out_fd; /* equal for a socket; -1: not there yet */
	enum stream_outcome outcome;
	bool is_stopped; /* ended early */
	int error; /* errno of STREAM_FAILED and STREAM_PEER_STOPPED; negative: of the library */

	/* from the file descriptor into the channel */
	struct evr_block block;
	int32_t got; /* bytes in it, or as read(2) ended */
	bool is_reading, has_read;
	bool in_over, is_confirmed; /* END sent; DONE received */
	uint64_t read_op;

	/* from the channel to the file descriptor */
	struct evr_message message;
	uint64_t written; /* of it */
	bool is_writing, has_message;
	bool out_over, has_confirmed; /* END received; DONE sent */
	uint64_t write_op;

	uint64_t sent, delivered; /* bytes into the channel; out of it, written */
	void (*moved)(uint64_t bytes); /* called for both; may be NULL */
};

/* ch, loop and seat are set, all else is 0. */
void stream_begin(struct stream *stream, int in_fd, int out_fd);

/* What can be done without waiting; false: nothing. */
bool stream_turn(struct stream *stream);

/* Nothing more will come, and nothing is under way. */
bool stream_is_over(const struct stream *stream);

/* Ends both directions early, and tells the other end why. The first reason counts. */
void stream_stop(struct stream *stream, enum stream_outcome outcome, int error);

/* Closes all. The stream is over, or its loop is closed. */
void stream_end(struct stream *stream);

#endif
