// SPDX-License-Identifier: MIT
/* A request by a channel, and its answer in the blocks that the file was read into. */
#include <errno.h>
#include <string.h>

#include "session.h"
#include "stream.h"

static bool is_over(const struct session *session)
{
	return session->state == SESSION_OVER;
}

/* The path ends with a newline, or with what the client sends at all. */
static void path_end(struct session *session)
{
	if (session->path)
		return;
	session->request[session->request_sz] = '\0';
	session->request[strcspn(session->request, "\n")] = '\0';
	session->path = session->request;
	session->state = SESSION_OPENING;
}

static void path_add(struct session *session, const struct evr_message *m)
{
	uint32_t room = SESSION_REQUEST_SZ - 1 - session->request_sz;

	if (session->path)
		return;
	if (m->sz > room) {
		session->path = "";
		session->error = ENAMETOOLONG;
		session->state = SESSION_OPENED;
		return;
	}
	memcpy(session->request + session->request_sz, m->data, m->sz);
	session->request_sz += (uint32_t)m->sz;
	if (memchr(session->request, '\n', session->request_sz))
		path_end(session);
}

static void take(struct session *session, struct evr_message *m)
{
	switch (m->tag) {
	case STREAM_DATA:
		path_add(session, m);
		break;
	case STREAM_END:
		session->owes_done = true;
		if (stream_read_end(&session->ch, m))
			session_stop(session, SESSION_STOPPED);
		else
			path_end(session);
		return;
	case STREAM_DONE:
		session->is_confirmed = session->has_ended;
		break;
	}
	evr_channel_release(&session->ch, m);
}

static void stop_for(struct session *session, int err)
{
	session_stop(session, err == -EOWNERDEAD ? SESSION_PEER_DIED : SESSION_STOPPED);
}

static bool is_not_now(int err)
{
	return err == -EAGAIN || err == -ENOBUFS || err == -ENOTCONN || err == -ENOMEM ||
	       err == -EOPNOTSUPP || err == -EBUSY;
}

/* It has all that there is for it. */
static bool is_served(const struct session *session)
{
	/* Of what failed nobody says that it was written. */
	return session->has_ended && (session->is_confirmed || session->error);
}

/* In every state: what the client says. */
static bool hear(struct session *session)
{
	struct evr_message m;
	int err;

	if (session->owes_done && !evr_channel_send(&session->ch, NULL, 0, STREAM_DONE))
		session->owes_done = false;
	err = evr_channel_recv(&session->ch, &m);
	if (!err)
		take(session, &m);
	else if (err == -EPIPE && is_served(session))
		session->state = SESSION_OVER;
	else if (!is_not_now(err))
		stop_for(session, err);
	return !is_not_now(err);
}

static bool ask(struct session *session)
{
	return hear(session);
}

/* Was it sent, or has it ended us? Else it is to be sent again. */
static bool is_sent(struct session *session, int err)
{
	/* What it said before it went comes first. */
	if (err && !is_not_now(err) && evr_channel_state(&session->ch) == EVR_RING_OK)
		stop_for(session, err);
	return !err;
}

static bool answer(struct session *session)
{
	if (hear(session))
		return true;
	if (session->error) {
		session->outcome = SESSION_REFUSED;
		session->state = SESSION_ENDING;
		return true;
	}
	if (!is_sent(session, evr_channel_send(&session->ch, &session->reader.sz,
					       sizeof(session->reader.sz), STREAM_SIZE)))
		return is_over(session);
	session->state = SESSION_SENDING;
	return true;
}

/* The block itself is the message: from here on it is the client's. */
static bool send_piece(struct session *session, struct reader_piece *piece)
{
	struct evr_message m = { .data = piece->block.ptr,
				 .sz = piece->got,
				 .tag = STREAM_DATA,
				 .handle = piece->block.handle,
				 .kind = EVR_FRAME_BLOCK };

	if (hear(session))
		return true;
	if (!is_sent(session, evr_channel_send_message(&session->ch, &m)))
		return is_over(session);
	session->bytes += m.sz;
	session->moved(m.sz);
	piece->block.ptr = NULL;
	reader_pop(&session->reader);
	return true;
}

static bool end(struct session *session)
{
	if (is_served(session) && !session->owes_done) {
		session->state = SESSION_OVER;
		return true;
	}
	if (hear(session))
		return true;
	if (session->has_ended)
		return is_served(session) && !session->owes_done;
	session->has_ended = is_sent(session, stream_send_end(&session->ch, session->error));
	return session->has_ended || is_over(session);
}

static void cancel(struct session *session)
{
	if (!session->has_ended)
		stream_send_end(&session->ch, ECANCELED);
}

static void channel_close(struct session *session)
{
	evr_channel_close(&session->ch);
}

const struct session_kind session_channel = { ask, answer, send_piece, end, cancel, channel_close };
