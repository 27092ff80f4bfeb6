/* SPDX-License-Identifier: MIT */
/*
 * call_pair SIZE NR: NR requests of SIZE bytes with answers of as many over a channel, one at a
 * time, both ends in one process. check_call_cost.sh counts its instructions.
 */
#include <evering/evering.h>
#include <stdio.h>
#include <stdlib.h>

#define SIZE_MAX_BYTES 1024
#define OPS 8

struct ends {
	struct evr_channel a, b;
	struct evr_call call;
	struct evr_call_server server;
};

static void check(int err)
{
	if (!err)
		return;
	fprintf(stderr, "call_pair: %d: %s\n", err, evr_error_detail());
	exit(77);
}

static void open_ends(struct ends *ends)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = 4 << 20,
					       .peers_max = 8 };
	struct evr_channel_options channel = { .struct_sz = sizeof(channel),
					       .inline_max = SIZE_MAX_BYTES,
					       .window_bytes = 1 << 20 };
	struct evr_segment *segment;
	struct evr_peer *client, *server;

	check(evr_segment_create(&segment, "local:", &options));
	check(evr_peer_attach(&client, segment, NULL));
	check(evr_peer_attach(&server, segment, NULL));
	check(evr_channel_create(client, "channel", &channel));
	check(evr_channel_open(&ends->a, client, "channel", EVR_CHANNEL_A, 0));
	check(evr_channel_open(&ends->b, server, "channel", EVR_CHANNEL_B, 0));
	check(evr_call_init(&ends->call, &ends->a, OPS));
	check(evr_call_server_init(&ends->server, &ends->b, OPS));
}

/* Return: bytes of the answer. */
static uint64_t call_once(struct ends *ends, const struct evr_message *m)
{
	struct evr_call_request request = { .deadline_ns = EVR_NO_DEADLINE, .message = *m };
	struct evr_call_completion done;
	struct evr_message taken;
	uint64_t id, sz;

	check(evr_call_submit(&ends->call, &request, &id));
	check(evr_call_take(&ends->server, &taken));
	check(evr_call_answer(&ends->server, taken.id, m));
	check(evr_call_complete(&ends->call, &done));
	sz = done.id == id ? done.message.sz : 0;
	evr_channel_release(&ends->a, &done.message);
	return sz;
}

int main(int argc, char **argv)
{
	static uint8_t data[SIZE_MAX_BYTES];
	static struct ends ends;
	unsigned long size = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
	unsigned long nr = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	struct evr_message m = { .data = data, .sz = size };
	uint64_t got = 0;

	if (!nr || !size || size > SIZE_MAX_BYTES)
		return 2;
	open_ends(&ends);
	for (unsigned long i = 0; i < nr; i++)
		got += call_once(&ends, &m);
	return got != (uint64_t)nr * size;
}
