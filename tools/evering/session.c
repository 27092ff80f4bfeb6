// SPDX-License-Identifier: MIT
/* One request for a file, and its answer. */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *session_outcome_name(enum session_outcome outcome)
{
	static const char *const names[] = { "sent", "refused", "peer-died", "stopped" };

	return outcome < SESSION_OUTCOMES ? names[outcome] : "unknown";
}

struct session *session_new(void)
{
	const size_t line = EVR_LINE_SZ;
	struct session *session = aligned_alloc(line, (sizeof(*session) + line - 1) & ~(line - 1));

	if (session) {
		memset(session, 0, sizeof(*session));
		session->reader.fd = session->fd = -1;
	}
	return session;
}

static void opened(struct evr_driver *driver, const struct evr_completion *done);

static bool open_begin(struct session *session)
{
	uint64_t flags = O_RDONLY | O_NOCTTY | O_NONBLOCK | (session->is_plain ? 0 : O_DIRECT);
	struct evr_op op;

	if (session->is_opening)
		return false;
	/* Whatever the path is made of: what is opened lies below the directory. */
	op = evr_op_open(session->dir_fd, session->path, flags, 0,
			 RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
	op = evr_op_then(op, opened, session);
	session->is_opening = true;
	if (!loop_submit(session->loop, &op, &session->open_op))
		session->is_opening = false;
	return session->is_opening;
}

static int judge(const struct stat *file)
{
	if (S_ISDIR(file->st_mode))
		return EISDIR;
	return S_ISREG(file->st_mode) ? 0 : ENOTSUP;
}

static void opened(struct evr_driver *driver, const struct evr_completion *done)
{
	struct session *session = done->arg;
	struct stat file;

	(void)driver;
	session->is_opening = false;
	/* A file system without O_DIRECT says so here. */
	if (done->res == -EINVAL && !session->is_plain) {
		session->is_plain = true;
		return;
	}
	if (session->state == SESSION_OPENING)
		session->state = SESSION_OPENED;
	if (done->res < 0) {
		session->error = -done->res;
		return;
	}
	session->error = fstat(done->res, &file) ? errno : judge(&file);
	if (session->error)
		close(done->res);
	else
		reader_begin(&session->reader, done->res, (uint64_t)file.st_size);
}

static bool send_turn(struct session *session)
{
	struct reader_piece *piece;
	bool did = reader_turn(&session->reader);

	piece = reader_front(&session->reader);
	if (piece && piece->error) {
		session->error = piece->error;
		session->outcome = SESSION_STOPPED;
		session->state = SESSION_ENDING;
		reader_cancel(&session->reader);
		return true;
	}
	if (piece)
		did |= session->kind->send(session, piece);
	if (session->state == SESSION_SENDING && reader_is_through(&session->reader))
		session->state = SESSION_ENDING;
	return did;
}

bool session_turn(struct session *session)
{
	switch (session->state) {
	case SESSION_ASKED:
		return session->kind->ask(session);
	case SESSION_OPENING:
		return open_begin(session);
	case SESSION_OPENED:
		return session->kind->answer(session);
	case SESSION_SENDING:
		return send_turn(session);
	case SESSION_ENDING:
		return session->kind->end(session);
	case SESSION_OVER:
		break;
	}
	return false;
}

bool session_is_over(const struct session *session)
{
	return session->state == SESSION_OVER && !session->is_busy && !session->is_opening &&
	       reader_is_idle(&session->reader);
}

void session_stop(struct session *session, enum session_outcome outcome)
{
	if (session->state == SESSION_OVER)
		return;
	session->state = SESSION_OVER;
	session->outcome = outcome;
	if (session->is_opening)
		evr_driver_cancel(session->loop->driver, session->open_op);
	reader_cancel(&session->reader);
	session->kind->cancel(session);
}

void session_free(struct session *session)
{
	reader_end(&session->reader);
	session->kind->close(session);
	free(session);
}
