// SPDX-License-Identifier: MIT
/* A byte stream both ways between a file descriptor and a channel. */
#include "stream.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "address.h"

#define WRITE_MAX (1ULL << 30) /* what one op can say that it has written */

const char *stream_outcome_name(enum stream_outcome outcome)
{
	static const char *const names[] = { "clean", "peer-died", "peer-stopped", "failed" };

	return outcome < STREAM_OUTCOMES ? names[outcome] : "unknown";
}

int stream_read_end(struct evr_channel *ch, struct evr_message *m)
{
	int32_t error = EBADMSG;

	if (m->sz == sizeof(error))
		memcpy(&error, m->data, sizeof(error));
	evr_channel_release(ch, m);
	return error >= 0 && error < 4096 ? error : EBADMSG;
}

int stream_send_end(struct evr_channel *ch, int error)
{
	int32_t said = error;

	return evr_channel_send(ch, &said, sizeof(said), STREAM_END);
}

static bool is_not_now(int err)
{
	return err == -EAGAIN || err == -ENOBUFS || err == -ENOTCONN || err == -ENOMEM ||
	       err == -EOPNOTSUPP || err == -EBUSY;
}

void stream_begin(struct stream *stream, int in_fd, int out_fd)
{
	stream->in_fd = in_fd;
	stream->out_fd = out_fd;
}

static bool is_complete(const struct stream *stream)
{
	return stream->is_stopped || (stream->in_over && stream->is_confirmed && stream->out_over &&
				      stream->has_confirmed);
}

bool stream_is_over(const struct stream *stream)
{
	return is_complete(stream) && !stream->is_reading && !stream->is_writing;
}

static void cancel_all(struct stream *stream)
{
	if (stream->is_reading)
		evr_driver_cancel(stream->loop->driver, stream->read_op);
	if (stream->is_writing)
		evr_driver_cancel(stream->loop->driver, stream->write_op);
}

void stream_stop(struct stream *stream, enum stream_outcome outcome, int error)
{
	if (is_complete(stream))
		return;
	stream->is_stopped = true;
	stream->outcome = outcome;
	stream->error = error;
	cancel_all(stream);
	/* If there is no room for it, the end without it says that we stopped. */
	stream_send_end(&stream->ch, error > 0 ? error : ECANCELED);
	if (stream->in_fd >= 0)
		address_cut(stream->in_fd);
}

/* The other end has got all that it wanted, and has closed. */
static void hang_up(struct stream *stream)
{
	if (stream->in_over || (stream->has_read && stream->got > 0)) {
		stream_stop(stream, STREAM_PEER_STOPPED, EPIPE);
		return;
	}
	stream->is_stopped = true;
	cancel_all(stream);
}

static void moved(const struct stream *stream, uint64_t bytes)
{
	if (stream->moved)
		stream->moved(bytes);
}

/* The library says that the other end is not there any more. */
static void stop_for(struct stream *stream, int err)
{
	if (err == -EOWNERDEAD)
		stream_stop(stream, STREAM_PEER_DIED, EOWNERDEAD);
	else if (err == -EPIPE)
		stream_stop(stream, STREAM_PEER_STOPPED, EPIPE);
	else
		stream_stop(stream, STREAM_FAILED, err);
}

static void read_done(struct evr_driver *driver, const struct evr_completion *done)
{
	struct stream *stream = done->arg;

	(void)driver;
	stream->is_reading = false;
	stream->has_read = true;
	stream->got = done->res;
}

static bool read_begin(struct stream *stream)
{
	struct evr_op op;

	if (stream->in_fd < 0)
		return false;
	if (!stream->block.ptr)
		stream->block = meeting_block(stream->seat);
	if (!stream->block.ptr)
		return false;
	op = evr_op_read(stream->in_fd, stream->block.ptr, MEETING_PIECE_SZ, EVR_OFF_CURRENT);
	op = evr_op_then(op, read_done, stream);
	stream->is_reading = true;
	if (loop_submit(stream->loop, &op, &stream->read_op))
		return true;
	stream->is_reading = false;
	return false;
}

/* A little is copied, and the block serves again; else the block itself goes. */
static int send_read(struct stream *stream)
{
	struct evr_message m = { .data = stream->block.ptr,
				 .sz = (uint64_t)stream->got,
				 .handle = stream->block.handle,
				 .kind = EVR_FRAME_BLOCK };
	int err;

	if (m.sz <= evr_channel_inline_max(&stream->ch))
		return evr_channel_send(&stream->ch, m.data, m.sz, STREAM_DATA);
	err = evr_channel_send_message(&stream->ch, &m);
	if (!err)
		stream->block = (struct evr_block){ 0 };
	return err;
}

static bool turn_in(struct stream *stream)
{
	int err;

	if (stream->in_over || stream->is_reading)
		return false;
	if (!stream->has_read)
		return read_begin(stream);
	if (stream->got < 0) {
		stream_stop(stream, STREAM_FAILED, -stream->got);
		return true;
	}
	err = stream->got ? send_read(stream) : stream_send_end(&stream->ch, 0);
	if (is_not_now(err))
		return false;
	if (err) {
		/* What it said before it went is what counts: the other direction comes to it. */
		if (evr_channel_state(&stream->ch) != EVR_RING_OK)
			return false;
		stop_for(stream, err);
		return true;
	}
	stream->in_over = !stream->got;
	stream->sent += (uint64_t)stream->got;
	moved(stream, (uint64_t)stream->got);
	stream->has_read = false;
	return true;
}

static void write_done(struct evr_driver *driver, const struct evr_completion *done)
{
	struct stream *stream = done->arg;

	(void)driver;
	stream->is_writing = false;
	if (done->res <= 0) {
		stream_stop(stream, STREAM_FAILED, done->res ? -done->res : EIO);
		return;
	}
	stream->written += (uint64_t)done->res;
	stream->delivered += (uint64_t)done->res;
	moved(stream, (uint64_t)done->res);
}

static bool write_begin(struct stream *stream)
{
	const struct evr_message *m = &stream->message;
	uint64_t rest = m->sz - stream->written;
	struct evr_op op;

	if (stream->out_fd < 0)
		return false;
	op = evr_op_write(stream->out_fd, (const char *)m->data + stream->written,
			  (uint32_t)(rest < WRITE_MAX ? rest : WRITE_MAX), EVR_OFF_CURRENT);
	op = evr_op_then(op, write_done, stream);
	stream->is_writing = true;
	if (loop_submit(stream->loop, &op, &stream->write_op))
		return true;
	stream->is_writing = false;
	return false;
}

/* The other end sends no more, and has said so: nor do we to our side. */
static void end_out(struct stream *stream)
{
	stream->out_over = true;
	if (stream->out_fd == stream->in_fd) {
		shutdown(stream->out_fd, SHUT_WR);
		return;
	}
	close(stream->out_fd);
	stream->out_fd = -1;
}

static void take(struct stream *stream)
{
	struct evr_message *m = &stream->message;
	int error;

	switch (m->tag) {
	case STREAM_DATA:
		/* Behind its own end: what to do with it nobody knows. */
		if (stream->out_over) {
			stream_stop(stream, STREAM_PEER_STOPPED, EBADMSG);
			break;
		}
		stream->has_message = true;
		stream->written = 0;
		return;
	case STREAM_END:
		error = stream_read_end(&stream->ch, m);
		if (error)
			stream_stop(stream, STREAM_PEER_STOPPED, error);
		else if (!stream->out_over)
			end_out(stream);
		return;
	case STREAM_DONE:
		stream->is_confirmed = stream->in_over;
		break;
	}
	evr_channel_release(&stream->ch, m);
}

static bool confirm(struct stream *stream)
{
	int err = evr_channel_send(&stream->ch, NULL, 0, STREAM_DONE);

	stream->has_confirmed = !err;
	return !err;
}

static bool turn_out(struct stream *stream)
{
	int err;

	if (stream->is_writing)
		return false;
	if (stream->has_message) {
		if (stream->written < stream->message.sz)
			return write_begin(stream);
		evr_channel_release(&stream->ch, &stream->message);
		stream->has_message = false;
		return true;
	}
	if (stream->out_over && !stream->has_confirmed && confirm(stream))
		return true;
	/* Nothing is taken before there is where to write it to. */
	err = stream->out_fd < 0 && !stream->out_over ?
		      -EAGAIN :
		      evr_channel_recv(&stream->ch, &stream->message);
	if (is_not_now(err))
		return false;
	if (!err)
		take(stream);
	else if (err == -EPIPE && stream->out_over)
		hang_up(stream);
	else
		stop_for(stream, err);
	return true;
}

/* Whoever settles a death first takes the pid away with it: ask while it lives. */
static void look_at_other(struct stream *stream)
{
	enum evr_ring_state state = evr_channel_state(&stream->ch);
	struct evr_peer_info info;

	if (state == EVR_RING_NO_PEER) {
		if (!meeting_has_host(stream->seat, NULL))
			stream_stop(stream, STREAM_PEER_STOPPED, ECONNREFUSED);
		return;
	}
	if (stream->other_pid || state != EVR_RING_OK)
		return;
	stream->other = evr_channel_other(&stream->ch);
	if (!evr_peer_info(stream->seat->peer, stream->other.slot, &info))
		stream->other_pid = info.pid;
}

bool stream_turn(struct stream *stream)
{
	bool did;

	if (is_complete(stream))
		return false;
	look_at_other(stream);
	did = !is_complete(stream) && turn_out(stream);
	did |= !is_complete(stream) && turn_in(stream);
	return did || is_complete(stream);
}

void stream_end(struct stream *stream)
{
	if (stream->block.ptr)
		evr_heap_free(&stream->seat->heap, stream->block.handle);
	if (stream->has_message)
		evr_channel_release(&stream->ch, &stream->message);
	evr_channel_close(&stream->ch);
	if (stream->in_fd >= 0)
		close(stream->in_fd);
	if (stream->out_fd >= 0 && stream->out_fd != stream->in_fd)
		close(stream->out_fd);
}
