// SPDX-License-Identifier: MIT
/* evering relay: stream sockets on one side, the peers of a segment on the other. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acceptor.h"
#include "command.h"
#include "message.h"
#include "progress.h"
#include "stream.h"
#include "transfer.h"

#define GUESTS_DEFAULT 32

static const char *listen_text, *connect_text, *hub_name = "relay";
static uint64_t clients_max = GUESTS_DEFAULT, count;
static bool keep, shows_progress, json;

static const struct option_row options[] = {
	{ "listen", 'l', OPTION_TEXT, &listen_text, "ADDR",
	  "take clients there, each to who listens in the segment", 0, 0, NULL },
	{ "connect", 'c', OPTION_TEXT, &connect_text, "ADDR",
	  "listen in the segment, and connect each guest to there", 0, 0, NULL },
	{ "hub", 'H', OPTION_TEXT, &hub_name, "HUB", "name of the hub in the segment (relay)", 0, 0,
	  NULL },
	{ "clients", 'm', OPTION_NUMBER, &clients_max, "N", "at once at most; the others wait (32)",
	  1, MEETING_GUESTS_MAX, NULL },
	{ "count", 'n', OPTION_NUMBER, &count, "N", "end after N clients", 1, 0, NULL },
	{ "keep", 'k', OPTION_FLAG, &keep, NULL, "leave the segment there at the end", 0, 0, NULL },
	{ "progress", 'p', OPTION_FLAG, &shows_progress, NULL, "show bytes and rate on stderr", 0,
	  0, NULL },
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write a JSON summary to stderr at the end", 0, 0,
	  NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

/* A socket and a channel, of which one was there first. */
struct client {
	struct stream stream;
	struct seat own_seat; /* where we are the guest */
	uint64_t number;
	int connecting_fd; /* -1: none */
	int place; /* of the address, that is tried */
	bool is_connecting;
	uint64_t connect_op;
	struct client *next;
};

struct relay {
	struct loop loop;
	struct address address;
	struct acceptor acceptor;
	struct seat seat; /* where we are the host */
	struct progress progress;
	struct client *clients;
	struct client *spare; /* for the next guest */
	uint64_t now, begun; /* clients: there are, there were */
	uint64_t outcomes[STREAM_OUTCOMES];
	uint64_t in, out; /* bytes: into the segment, out of it */
	bool failed; /* not a client: the relay itself */
};

static struct relay relay;

static void count_bytes(uint64_t bytes)
{
	progress_add(&relay.progress, bytes);
}

static bool may_begin(void)
{
	return relay.now < clients_max && (!count || relay.begun < count);
}

static struct client *client_new(void)
{
	const size_t line = EVR_LINE_SZ;
	struct client *client = aligned_alloc(line, (sizeof(*client) + line - 1) & ~(line - 1));

	if (!client)
		return NULL;
	memset(client, 0, sizeof(*client));
	client->stream.loop = &relay.loop;
	client->stream.seat = &relay.seat;
	client->stream.moved = count_bytes;
	client->stream.in_fd = client->stream.out_fd = client->connecting_fd = -1;
	return client;
}

static void client_begin(struct client *client)
{
	client->number = ++relay.begun;
	client->next = relay.clients;
	relay.clients = client;
	relay.now++;
}

static void tell(const struct client *client)
{
	const struct stream *stream = &client->stream;
	char who[MEETING_TEXT_SZ];

	switch (stream->outcome) {
	case STREAM_PEER_DIED:
		message("client %" PRIu64 ": the other side died (%s): %" PRIu64
			" bytes sent, %" PRIu64 " delivered",
			client->number,
			meeting_other_text(stream->seat, stream->other, stream->other_pid, who),
			stream->sent, stream->delivered);
		break;
	case STREAM_PEER_STOPPED:
		message("client %" PRIu64 ": the other side stopped: %s: %" PRIu64
			" bytes sent, %" PRIu64 " delivered",
			client->number, strerror(stream->error), stream->sent, stream->delivered);
		break;
	case STREAM_FAILED:
		message("client %" PRIu64 ": %s: %s: %" PRIu64 " bytes sent, %" PRIu64 " delivered",
			client->number, relay.address.text,
			stream->error < 0 ? evr_strerror(stream->error) : strerror(stream->error),
			stream->sent, stream->delivered);
		break;
	default:
		break;
	}
}

static uint32_t guest_needs(struct sleeper *sleeper, struct evr_need **needs)
{
	struct client *client =
		(struct client *)((char *)sleeper - offsetof(struct client, own_seat.sleeper));

	return evr_channel_needs(&client->stream.ch, needs);
}

static uint32_t host_needs(struct sleeper *sleeper, struct evr_need **needs)
{
	uint32_t nr = evr_hub_needs(&relay.seat.hub, needs);

	(void)sleeper;
	for (struct client *client = relay.clients; client; client = client->next)
		nr += evr_channel_needs(&client->stream.ch, needs + nr);
	return nr;
}

static void client_end(struct client *client)
{
	struct seat *own = &client->own_seat;

	if (!transfer_signal())
		tell(client);
	relay.outcomes[client->stream.outcome]++;
	relay.in += client->stream.sent;
	relay.out += client->stream.delivered;
	stream_end(&client->stream);
	if (client->connecting_fd >= 0)
		close(client->connecting_fd);
	if (own->peer) {
		loop_remove(&relay.loop, &own->sleeper);
		meeting_leave(own);
	}
	free(client);
	relay.now--;
}

/* A client came to our socket: a guest more in the segment. */
static int client_join(struct client *client, int in_fd, int out_fd)
{
	struct seat *own = &client->own_seat;
	int err;

	own->name = relay.seat.name;
	own->hub_name = hub_name;
	own->sleeper = (struct sleeper){ .needs = guest_needs, .max = EVR_CHANNEL_NEEDS };
	client->stream.seat = own;
	stream_begin(&client->stream, in_fd, out_fd);
	err = meeting_join(own, &client->stream.ch);
	if (err) {
		meeting_join_failed(own, err);
	} else {
		own->sleeper.peer = own->peer;
		err = loop_add(&relay.loop, &own->sleeper);
	}
	if (!err)
		return 0;
	client->stream.is_stopped = true;
	client->stream.outcome = STREAM_FAILED;
	client->stream.error = err;
	address_cut(in_fd);
	return err;
}

static void client_came(int fd)
{
	struct client *client = client_new();

	if (!client) {
		close(fd);
		return;
	}
	client_begin(client);
	client_join(client, fd, fd);
}

static void connected(struct evr_driver *driver, const struct evr_completion *done)
{
	struct client *client = done->arg;

	(void)driver;
	client->is_connecting = false;
	if (!done->res) {
		stream_begin(&client->stream, client->connecting_fd, client->connecting_fd);
		client->connecting_fd = -1;
		return;
	}
	close(client->connecting_fd);
	client->connecting_fd = -1;
	if (done->res == -ECANCELED || ++client->place >= relay.address.places_nr)
		stream_stop(&client->stream, STREAM_FAILED, -done->res);
}

/* A guest came to our hub: to the socket with it. */
static bool connect_begin(struct client *client)
{
	const struct address *address = &relay.address;
	struct evr_op op;
	int fd;

	if (client->stream.in_fd >= 0 || client->is_connecting || client->stream.is_stopped ||
	    address->is_stdio || client->own_seat.peer)
		return false;
	fd = address_socket(address, client->place);
	if (fd < 0) {
		stream_stop(&client->stream, STREAM_FAILED, -fd);
		return true;
	}
	client->connecting_fd = fd;
	client->is_connecting = true;
	op = evr_op_connect(fd, (const struct sockaddr *)&address->places[client->place],
			    address->sizes[client->place]);
	op = evr_op_then(op, connected, client);
	if (loop_submit(&relay.loop, &op, &client->connect_op))
		return true;
	client->is_connecting = false;
	client->connecting_fd = -1;
	close(fd);
	return false;
}

static bool welcome(void)
{
	struct client *client;
	int in, out, err;

	if (!relay.seat.is_host || !may_begin())
		return false;
	if (!relay.spare)
		relay.spare = client_new();
	client = relay.spare;
	if (!client || evr_hub_accept(&relay.seat.hub, &client->stream.ch, NULL))
		return false;
	relay.spare = NULL;
	client_begin(client);
	/* A hub that somebody else has made may be for blocks of other memory. */
	err = evr_channel_bind(&client->stream.ch, &relay.seat.heap, &relay.seat.heap);
	if (err) {
		stream_stop(&client->stream, STREAM_FAILED, err);
		return true;
	}
	if (!relay.address.is_stdio)
		return true;
	err = address_take_stdio(&in, &out);
	if (err)
		stream_stop(&client->stream, STREAM_FAILED, -err);
	else
		stream_begin(&client->stream, in, out);
	return true;
}

static bool client_turn(struct client *client)
{
	bool did = connect_begin(client);

	/* Nobody is there any more for whom to connect. */
	if (client->is_connecting && client->stream.is_stopped)
		evr_driver_cancel(relay.loop.driver, client->connect_op);
	return stream_turn(&client->stream) || did;
}

static bool turn(void *arg)
{
	struct client **at = &relay.clients, *client;
	bool did = may_begin() && acceptor_turn(&relay.acceptor);

	(void)arg;
	did |= welcome();
	while ((client = *at)) {
		did |= client_turn(client);
		if (!stream_is_over(&client->stream) || client->is_connecting) {
			at = &client->next;
			continue;
		}
		*at = client->next;
		client_end(client);
		did = true;
	}
	if (count && relay.begun == count && !relay.now)
		relay.loop.stop = true;
	if (relay.seat.sleeper.ended) {
		message("%s: this peer was revoked", relay.seat.name);
		relay.failed = relay.loop.stop = true;
	}
	return did;
}

/* Host or listener, whichever it is to be. Return: 0; EXIT_FAILED with the message written. */
static int open_sides(void)
{
	struct client *client;
	int in, out, err;

	relay.acceptor = (struct acceptor){ &relay.loop, &relay.address, client_came, .fd = -1 };
	if (connect_text) {
		err = meeting_host(&relay.seat, clients_max, keep);
		if (err)
			return err;
		relay.seat.sleeper =
			(struct sleeper){ .peer = relay.seat.peer,
					  .needs = host_needs,
					  .max = EVR_HUB_NEEDS +
						 EVR_CHANNEL_NEEDS * (uint32_t)clients_max };
		err = loop_add(&relay.loop, &relay.seat.sleeper);
		return err ? message_failed(relay.seat.name, err) : 0;
	}
	if (!relay.address.is_stdio)
		return acceptor_open(&relay.acceptor);
	client = client_new();
	err = client ? address_take_stdio(&in, &out) : -ENOMEM;
	if (err)
		return message_system("standard input", err);
	client_begin(client);
	return client_join(client, in, out) ? EXIT_FAILED : 0;
}

/* Those under way are told that they end here. */
static void close_sides(void)
{
	struct client *client;

	for (client = relay.clients; client; client = client->next) {
		stream_stop(&client->stream, STREAM_FAILED, ECANCELED);
		if (client->is_connecting)
			evr_driver_cancel(relay.loop.driver, client->connect_op);
	}
	loop_close(&relay.loop);
	while ((client = relay.clients)) {
		relay.clients = client->next;
		client_end(client);
	}
	acceptor_close(&relay.acceptor);
	free(relay.spare);
	loop_remove(&relay.loop, &relay.seat.sleeper);
	if (relay.seat.peer)
		meeting_leave(&relay.seat);
}

static void write_json(const char *mode)
{
	struct json_object *object = json_object_new_object();
	double seconds = progress_seconds(&relay.progress);

	json_add_text(object, "name", relay.seat.name);
	json_add_text(object, "address", relay.address.text);
	json_add_text(object, "driver", mode);
	json_add_u64(object, "clients", relay.begun);
	for (int i = 0; i < STREAM_OUTCOMES; i++)
		json_add_u64(object, stream_outcome_name((enum stream_outcome)i),
			     relay.outcomes[i]);
	json_add_u64(object, "bytes_in", relay.in);
	json_add_u64(object, "bytes_out", relay.out);
	json_add_double(object, "seconds", seconds);
	json_write(stderr, object, false);
}

static int exit_status(void)
{
	if (relay.failed || relay.acceptor.failed)
		return EXIT_FAILED;
	if (!count)
		return EXIT_OK;
	if (relay.outcomes[STREAM_PEER_DIED])
		return EXIT_PEER_DIED;
	return relay.outcomes[STREAM_CLEAN] == count ? EXIT_OK : EXIT_FAILED;
}

static int run_loop(void)
{
	const char *mode;
	int err = loop_open(&relay.loop, turn, NULL), status;

	if (err)
		return message_failed("driver", err);
	mode = loop_mode(&relay.loop);
	progress_begin(&relay.progress, shows_progress, 0);
	status = open_sides();
	if (!status) {
		err = loop_run(&relay.loop);
		if (err)
			status = message_failed("driver", err);
	}
	progress_end(&relay.progress);
	close_sides();
	if (json)
		write_json(mode);
	return status ? status : exit_status();
}

static int run(int operands_nr, char **operands)
{
	struct evr_uri uri;
	int status;

	(void)operands_nr;
	if (evr_uri_parse(operands[0], &uri))
		return message_usage("%s: %s", operands[0], evr_error_detail());
	if (!listen_text == !connect_text)
		return message_usage("one of --listen and --connect is wanted");
	if (!*hub_name || strlen(hub_name) > EVR_HUB_NAME_MAX)
		return message_usage("--hub: a name has 1 to %d bytes", EVR_HUB_NAME_MAX);
	status = address_parse(&relay.address, listen_text ? listen_text : connect_text);
	if (status)
		return status;
	if (relay.address.is_stdio)
		count = clients_max = 1;
	relay.seat.name = operands[0];
	relay.seat.hub_name = hub_name;
	transfer_catch_signals();
	status = run_loop();
	if (relay.address.is_stdio)
		transfer_die_of_signal();
	return status;
}

const struct command relay_command = {
	.name = "relay",
	.operands = "NAME",
	.summary = "Join stream sockets with the peers of a segment",
	.details =
		"ADDR is unix:PATH, tcp:HOST:PORT, or - for standard input and output, which are one\n"
		"client. With --connect it makes the segment, unless it is there, and each guest gets a\n"
		"connection to ADDR; with --listen each client that comes to ADDR is a guest of it.\n"
		"Both directions, with their ends. With --count or -: 0 when all ended well, 3 when a peer\n"
		"died, else 1. Else it runs until a signal.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run,
};
