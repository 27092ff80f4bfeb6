// SPDX-License-Identifier: MIT
/* evering fetch: a file that 'evering serve' serves, to stdout. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "message.h"
#include "progress.h"
#include "stream.h"
#include "transfer.h"

#define HUB_NAME "files"
#define UNKNOWN UINT64_MAX

static bool shows_progress, json;

static const struct option_row options[] = {
	{ "progress", 'p', OPTION_FLAG, &shows_progress, NULL,
	  "show bytes, rate and time left on stderr", 0, 0, NULL },
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write a JSON summary to stderr at the end", 0, 0,
	  NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

struct fetching {
	struct seat seat;
	struct evr_channel ch;
	struct evr_waiter waiter;
	struct evr_peer_id server;
	int server_pid;
	struct progress progress;
	const char *file;
	uint64_t size; /* of the file, as the server said; UNKNOWN until then */
	int output_error; /* errno of write(2) */
	int server_error; /* errno that the server ended with; EBADMSG: it makes no sense */
	int channel_error; /* negative errno of the library */
	bool is_ended; /* by the server, in its own words */
};

static bool is_met(void *arg)
{
	struct fetching *fetching = arg;

	return evr_channel_state(&fetching->ch) != EVR_RING_NO_PEER ||
	       !meeting_has_host(&fetching->seat, NULL);
}

static int wait_for_server(struct fetching *fetching)
{
	struct evr_need *needs[EVR_CHANNEL_NEEDS];
	uint32_t nr = evr_channel_needs(&fetching->ch, needs);
	struct evr_peer_info info;
	int err;

	do {
		err = evr_waiter_wait(&fetching->waiter, needs, nr, is_met, fetching,
				      transfer_next_look());
	} while (transfer_shall_look(err) && !transfer_signal());
	if (!err && evr_channel_state(&fetching->ch) == EVR_RING_NO_PEER)
		err = -ECONNREFUSED;
	if (err)
		return err;
	fetching->server = evr_channel_other(&fetching->ch);
	if (!evr_peer_info(fetching->seat.peer, fetching->server.slot, &info))
		fetching->server_pid = info.pid;
	return 0;
}

static int say(struct fetching *fetching, const void *data, uint64_t sz, enum stream_tag tag)
{
	struct evr_message m = { .data = (void *)(uintptr_t)data, .sz = sz, .tag = tag };
	int err;

	do {
		err = evr_channel_send_wait(&fetching->ch, &fetching->waiter, &m,
					    transfer_next_look());
	} while (transfer_shall_look(err) && !transfer_signal());
	return err;
}

static int ask(struct fetching *fetching)
{
	static const int32_t well;
	int err = wait_for_server(fetching);

	if (!err)
		err = say(fetching, fetching->file, strlen(fetching->file), STREAM_DATA);
	if (!err)
		err = say(fetching, &well, sizeof(well), STREAM_END);
	return err;
}

static void write_piece(struct fetching *fetching, const struct evr_message *m)
{
	struct pollfd output = { .fd = STDOUT_FILENO, .events = POLLOUT };
	const char *at = m->data;
	uint64_t rest = m->sz;

	while (rest && !fetching->output_error) {
		ssize_t put = write(STDOUT_FILENO, at, rest);

		if (put < 0 && errno == EAGAIN)
			poll(&output, 1, -1);
		else if (put < 0 && (errno != EINTR || transfer_signal()))
			fetching->output_error = errno;
		if (put <= 0)
			continue;
		at += put;
		rest -= (uint64_t)put;
		progress_add(&fetching->progress, (uint64_t)put);
	}
}

/* Once, and before all bytes. */
static bool take_size(struct fetching *fetching, const struct evr_message *m)
{
	if (fetching->size != UNKNOWN || m->sz != sizeof(fetching->size))
		return false;
	memcpy(&fetching->size, m->data, sizeof(fetching->size));
	fetching->progress.total = fetching->size;
	return fetching->size != UNKNOWN;
}

/* Not more than there are. */
static bool take_data(struct fetching *fetching, const struct evr_message *m)
{
	if (fetching->size == UNKNOWN || m->sz > fetching->size - fetching->progress.bytes)
		return false;
	write_piece(fetching, m);
	return true;
}

static void end(struct fetching *fetching, int error)
{
	fetching->is_ended = true;
	fetching->server_error = error;
}

static void take(struct fetching *fetching, struct evr_message *m)
{
	bool makes_sense = true;

	switch (m->tag) {
	case STREAM_SIZE:
		makes_sense = take_size(fetching, m);
		break;
	case STREAM_DATA:
		makes_sense = take_data(fetching, m);
		break;
	case STREAM_END:
		end(fetching, stream_read_end(&fetching->ch, m));
		if (!fetching->server_error && fetching->progress.bytes != fetching->size)
			fetching->server_error = EBADMSG;
		return;
	}
	evr_channel_release(&fetching->ch, m);
	if (!makes_sense)
		end(fetching, EBADMSG);
}

/* Until the server has said that it is the end, or it is another one. */
static void pump(struct fetching *fetching)
{
	while (!fetching->is_ended && !fetching->output_error && !transfer_signal()) {
		struct evr_message m;
		int err = evr_channel_recv_wait(&fetching->ch, &fetching->waiter, &m,
						transfer_next_look());

		if (transfer_shall_look(err))
			continue;
		fetching->channel_error = err;
		if (err)
			return;
		take(fetching, &m);
	}
}

/* For people; what the server says by an errno. */
static const char *reason(int error)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
		return "there is no such file";
	case EXDEV:
		return "it lies outside of the directory that is served";
	case EACCES:
		return "the server may not read it";
	case EISDIR:
		return "it is a directory";
	case ENOTSUP:
		return "it is no regular file";
	case ELOOP:
		return "too many links lead to it";
	case ENAMETOOLONG:
		return "its name is too long";
	default:
		return strerror(error);
	}
}

static bool is_whole(const struct fetching *fetching)
{
	return fetching->is_ended && !fetching->server_error && !fetching->output_error &&
	       fetching->progress.bytes == fetching->size;
}

static enum stream_outcome judge(const struct fetching *fetching)
{
	char who[MEETING_TEXT_SZ];
	uint64_t bytes = fetching->progress.bytes;

	if (is_whole(fetching))
		return STREAM_CLEAN;
	if (transfer_signal())
		return STREAM_FAILED;
	if (fetching->output_error) {
		message_system("standard output", fetching->output_error);
		return STREAM_FAILED;
	}
	if (fetching->is_ended && fetching->size == UNKNOWN) {
		message("%.256s: %s", fetching->file, reason(fetching->server_error));
		return STREAM_FAILED;
	}
	if (fetching->channel_error == -EOWNERDEAD) {
		message("%s: the server died (%s): %" PRIu64
			" bytes delivered, the rest never came",
			fetching->seat.name,
			meeting_other_text(&fetching->seat, fetching->server, fetching->server_pid,
					   who),
			bytes);
		return STREAM_PEER_DIED;
	}
	if (fetching->is_ended || fetching->channel_error == -EPIPE) {
		message("%s: the server stopped after %" PRIu64 " bytes: %s", fetching->seat.name,
			bytes, strerror(fetching->server_error ? fetching->server_error : EPIPE));
		return STREAM_PEER_STOPPED;
	}
	message_failed(fetching->seat.name, fetching->channel_error);
	return STREAM_FAILED;
}

static void write_json(const struct fetching *fetching, enum stream_outcome outcome)
{
	struct json_object *object = json_object_new_object();

	json_add_text(object, "name", fetching->seat.name);
	json_add_text(object, "file", fetching->file);
	json_add_text(object, "backend", evr_backend_name(fetching->seat.info.backend));
	json_add_text(object, "end", stream_outcome_name(outcome));
	json_add_u64(object, "bytes", fetching->progress.bytes);
	json_add_double(object, "seconds", progress_seconds(&fetching->progress));
	json_write(stderr, object, false);
}

static int fetch(struct fetching *fetching)
{
	enum stream_outcome outcome;
	int err = ask(fetching);

	if (err == -ECONNREFUSED)
		return meeting_join_failed(&fetching->seat, err);
	fetching->channel_error = err;
	/* It may have refused before it had read all: what it says is what counts. */
	if (!err || err == -EPIPE)
		pump(fetching);
	progress_end(&fetching->progress);
	outcome = judge(fetching);
	/* Now it knows that all was written, or that it will not be. */
	if (outcome == STREAM_CLEAN)
		say(fetching, NULL, 0, STREAM_DONE);
	else
		stream_send_end(&fetching->ch,
				fetching->output_error ? fetching->output_error : ECANCELED);
	if (json)
		write_json(fetching, outcome);
	if (outcome == STREAM_PEER_DIED)
		return EXIT_PEER_DIED;
	return outcome == STREAM_CLEAN ? EXIT_OK : EXIT_FAILED;
}

static int run(int operands_nr, char **operands)
{
	static struct fetching fetching;
	struct evr_uri uri;
	int status, err;

	(void)operands_nr;
	if (evr_uri_parse(operands[0], &uri))
		return message_usage("%s: %s", operands[0], evr_error_detail());
	fetching.seat.name = operands[0];
	fetching.seat.hub_name = HUB_NAME;
	fetching.file = operands[1];
	fetching.size = UNKNOWN;
	transfer_catch_signals();
	err = meeting_join(&fetching.seat, &fetching.ch);
	if (err)
		return meeting_join_failed(&fetching.seat, err);
	err = evr_waiter_init(&fetching.waiter, fetching.seat.peer, EVR_WAIT_ADAPTIVE);
	progress_begin(&fetching.progress, shows_progress, 0);
	status = err ? message_failed(fetching.seat.name, err) : fetch(&fetching);
	evr_channel_close(&fetching.ch);
	evr_waiter_fini(&fetching.waiter);
	meeting_leave(&fetching.seat);
	if (status != EXIT_OK)
		transfer_die_of_signal();
	return status;
}

const struct command fetch_command = {
	.name = "fetch",
	.operands = "NAME FILE",
	.summary = "Write a file that 'evering serve NAME' serves to stdout",
	.details = "0 when all of it came, 3 when the server died, else 1 and the reason.\n",
	.options = options,
	.operands_min = 2,
	.operands_max = 2,
	.run = run,
};
