/* SPDX-License-Identifier: MIT */
/*
 * One request for a file, and its answer, of 'evering serve': by a channel of the hub
 * (session_channel.c), in the messages of stream.h, or by a socket, as HTTP/1.0
 * (session_http.c).
 *
 * By a channel: the path, as STREAM_DATA up to a newline or the end; then STREAM_SIZE, the
 * file's bytes, and STREAM_END, whose errno says why there is no file, or not all of it.
 */
#ifndef EVERING_TOOL_SESSION_H
#define EVERING_TOOL_SESSION_H

#include "reader.h"

#define SESSION_REQUEST_SZ 8192
#define SESSION_REQUEST_NS 30000000000ULL /* so long a request over a socket may take */

enum session_outcome {
	SESSION_SENT, /* all of it, and by a channel: and written there */
	SESSION_REFUSED, /* there is no such file, or no request */
	SESSION_PEER_DIED,
	SESSION_STOPPED, /* the other side, or a read */
	SESSION_OUTCOMES,
};

const char *session_outcome_name(enum session_outcome outcome);

enum session_state {
	SESSION_ASKED, /* its request is not whole yet */
	SESSION_OPENING,
	SESSION_OPENED, /* or error says why not */
	SESSION_SENDING,
	SESSION_ENDING,
	SESSION_OVER,
};

struct session;

/* What the two kinds do; each returns whether it could do something now, and sets the state. */
struct session_kind {
	bool (*ask)(struct session *session); /* fills in path: SESSION_OPENING */
	bool (*answer)(
		struct session *session); /* SESSION_SENDING, or with an error SESSION_ENDING */
	bool (*send)(struct session *session, struct reader_piece *piece); /* and pops it */
	bool (*end)(struct session *session); /* SESSION_OVER */
	void (*cancel)(struct session *session);
	void (*close)(struct session *session);
};

struct session {
	const struct session_kind *kind;
	struct loop *loop;
	struct seat *seat;
	int dir_fd;
	enum session_state state;
	enum session_outcome outcome;
	int error; /* errno of a file that could not be opened or read */
	struct reader reader;
	bool is_opening, is_plain; /* without O_DIRECT */
	uint64_t open_op;
	uint64_t bytes; /* sent */
	void (*moved)(uint64_t bytes);

	char request[SESSION_REQUEST_SZ];
	uint32_t request_sz;
	const char *path; /* in it */

	/* by a channel */
	struct evr_channel ch;
	bool has_ended, owes_done, is_confirmed;

	/* by a socket */
	int fd; /* -1: a channel's */
	char header[512];
	uint32_t header_sz;
	int status; /* of HTTP; 0: as error says */
	bool is_head, is_busy, is_closing;
	bool has_result; /* of the op that is_busy stood for */
	int32_t result;
	uint32_t done; /* bytes of a piece, or of the header, that are written */
	uint64_t op;
	uint64_t deadline_ns;

	struct session *next;
};

extern const struct session_kind session_channel, session_http;

/* A session with all fields 0 but kind, loop, seat, dir_fd, fd and reader.region; NULL: no memory. */
struct session *session_new(void);

bool session_turn(struct session *session);

/* Over, and nothing under way. */
bool session_is_over(const struct session *session);

/* Ends it early, with what it has met. */
void session_stop(struct session *session, enum session_outcome outcome);

/* Over, or its loop is closed. */
void session_free(struct session *session);

#endif
