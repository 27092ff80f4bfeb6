// SPDX-License-Identifier: MIT
/* evering serve: the files of a directory for the peers of a segment, and for sockets. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include <evering/driver_resource.h>

#include "acceptor.h"
#include "command.h"
#include "message.h"
#include "progress.h"
#include "session.h"
#include "transfer.h"

#define HUB_NAME "files" /* what 'evering fetch' connects to */

static const char *listen_text;
static uint64_t clients_max = 32, count;
static bool keep, shows_progress, json;

static const struct option_row options[] = {
	{ "listen", 'l', OPTION_TEXT, &listen_text, "ADDR",
	  "serve there too, as HTTP: unix:PATH or tcp:HOST:PORT", 0, 0, NULL },
	{ "clients", 'm', OPTION_NUMBER, &clients_max, "N", "at once at most; the others wait (32)",
	  1, MEETING_GUESTS_MAX, NULL },
	{ "count", 'n', OPTION_NUMBER, &count, "N", "end after N requests", 1, 0, NULL },
	{ "keep", 'k', OPTION_FLAG, &keep, NULL, "leave the segment there at the end", 0, 0, NULL },
	{ "progress", 'p', OPTION_FLAG, &shows_progress, NULL, "show bytes and rate on stderr", 0,
	  0, NULL },
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write a JSON summary to stderr at the end", 0, 0,
	  NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

struct server {
	struct loop loop;
	struct seat seat;
	struct address address;
	struct acceptor acceptor;
	struct progress progress;
	struct session *sessions;
	struct session *spare; /* for the next guest */
	uint64_t now, begun; /* sessions: there are, there were */
	uint64_t outcomes[SESSION_OUTCOMES];
	uint64_t bytes;
	uint16_t region;
	int dir_fd;
	bool failed; /* not a client: the server itself */
};

static struct server server;

static void count_bytes(uint64_t bytes)
{
	progress_add(&server.progress, bytes);
}

static bool may_begin(void)
{
	return server.now < clients_max && (!count || server.begun < count);
}

static struct session *session_make(const struct session_kind *kind)
{
	struct session *session = session_new();

	if (!session)
		return NULL;
	session->kind = kind;
	session->loop = session->reader.loop = &server.loop;
	session->seat = session->reader.seat = &server.seat;
	session->reader.region = server.region;
	session->dir_fd = server.dir_fd;
	session->moved = count_bytes;
	return session;
}

static void session_begin(struct session *session)
{
	server.begun++;
	server.now++;
	session->next = server.sessions;
	server.sessions = session;
}

static void session_end(struct session *session)
{
	server.outcomes[session->outcome]++;
	server.bytes += session->bytes;
	session_free(session);
	server.now--;
}

static uint32_t needs(struct sleeper *sleeper, struct evr_need **words)
{
	uint32_t nr = evr_hub_needs(&server.seat.hub, words);

	(void)sleeper;
	for (struct session *session = server.sessions; session; session = session->next) {
		if (session->kind == &session_channel)
			nr += evr_channel_needs(&session->ch, words + nr);
	}
	return nr;
}

static bool welcome(void)
{
	struct session *session;

	if (!may_begin())
		return false;
	if (!server.spare)
		server.spare = session_make(&session_channel);
	session = server.spare;
	if (!session || evr_hub_accept(&server.seat.hub, &session->ch, NULL))
		return false;
	server.spare = NULL;
	session_begin(session);
	/* A hub that somebody else has made may be for blocks of other memory. */
	if (evr_channel_bind(&session->ch, &server.seat.heap, &server.seat.heap))
		session_stop(session, SESSION_STOPPED);
	return true;
}

static void client_came(int fd)
{
	struct session *session = session_make(&session_http);

	if (!session) {
		close(fd);
		return;
	}
	session->fd = fd;
	session_begin(session);
}

static bool turn(void *arg)
{
	struct session **at = &server.sessions, *session;
	bool did = may_begin() && acceptor_turn(&server.acceptor);

	(void)arg;
	did |= welcome();
	while ((session = *at)) {
		did |= session_turn(session);
		if (!session_is_over(session)) {
			at = &session->next;
			continue;
		}
		*at = session->next;
		session_end(session);
		did = true;
	}
	if (count && server.begun == count && !server.now)
		server.loop.stop = true;
	if (server.seat.sleeper.ended) {
		message("%s: this peer was revoked", server.seat.name);
		server.failed = server.loop.stop = true;
	}
	return did;
}

/* Return: 0; EXIT_FAILED with the message written. */
static int open_sides(const char *dir)
{
	int err;

	server.acceptor = (struct acceptor){ &server.loop, &server.address, client_came, .fd = -1 };
	server.dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (server.dir_fd < 0)
		return message_system(dir, errno);
	err = meeting_host(&server.seat, clients_max, keep);
	if (err)
		return err;
	if (listen_text)
		err = acceptor_open(&server.acceptor);
	if (err)
		return err;
	server.seat.sleeper = (struct sleeper){ .peer = server.seat.peer,
						.needs = needs,
						.max = EVR_HUB_NEEDS +
						       EVR_CHANNEL_NEEDS * (uint32_t)clients_max };
	err = loop_add(&server.loop, &server.seat.sleeper);
	if (!err)
		err = evr_region_add_peer(server.loop.driver, server.seat.peer, &server.region);
	return err ? message_failed(server.seat.name, err) : 0;
}

/* Those under way are told that they end here. */
static void close_sides(void)
{
	struct session *session;

	for (session = server.sessions; session; session = session->next)
		session_stop(session, SESSION_STOPPED);
	loop_close(&server.loop);
	while ((session = server.sessions)) {
		server.sessions = session->next;
		session_end(session);
	}
	if (server.spare)
		session_free(server.spare);
	acceptor_close(&server.acceptor);
	loop_remove(&server.loop, &server.seat.sleeper);
	if (server.seat.peer)
		meeting_leave(&server.seat);
	if (server.dir_fd >= 0)
		close(server.dir_fd);
}

static void write_json(const char *mode)
{
	struct json_object *object = json_object_new_object();

	json_add_text(object, "name", server.seat.name);
	json_add_text(object, "backend", evr_backend_name(server.seat.info.backend));
	json_add_text(object, "driver", mode);
	json_add_u64(object, "requests", server.begun);
	for (int i = 0; i < SESSION_OUTCOMES; i++)
		json_add_u64(object, session_outcome_name((enum session_outcome)i),
			     server.outcomes[i]);
	json_add_u64(object, "bytes", server.bytes);
	json_add_double(object, "seconds", progress_seconds(&server.progress));
	json_write(stderr, object, false);
}

static int run(int operands_nr, char **operands)
{
	const char *mode;
	struct evr_uri uri;
	int status, err;

	(void)operands_nr;
	if (evr_uri_parse(operands[0], &uri))
		return message_usage("%s: %s", operands[0], evr_error_detail());
	status = listen_text ? address_parse(&server.address, listen_text) : 0;
	if (!status && server.address.is_stdio)
		status = message_usage("--listen: standard input is no place to listen at");
	if (status)
		return status;
	server.seat.name = operands[0];
	server.seat.hub_name = HUB_NAME;
	transfer_catch_signals();
	err = loop_open(&server.loop, turn, NULL);
	if (err)
		return message_failed("driver", err);
	mode = loop_mode(&server.loop);
	progress_begin(&server.progress, shows_progress, 0);
	status = open_sides(operands[1]);
	err = status ? 0 : loop_run(&server.loop);
	if (err)
		status = message_failed("driver", err);
	progress_end(&server.progress);
	close_sides();
	if (json)
		write_json(mode);
	if (server.failed || server.acceptor.failed)
		return EXIT_FAILED;
	return status;
}

const struct command serve_command = {
	.name = "serve",
	.operands = "NAME DIR",
	.summary = "Serve the files of a directory to 'evering fetch', and as HTTP",
	.details =
		"Makes the segment, unless it is there, and runs until a signal. Files are read straight\n"
		"into the segment. What lies outside of DIR, also by a link, is refused.\n",
	.options = options,
	.operands_min = 2,
	.operands_max = 2,
	.run = run,
};
