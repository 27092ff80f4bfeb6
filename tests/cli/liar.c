/* SPDX-License-Identifier: MIT */
/*
 * A peer that lies to 'evering relay', 'serve' and 'fetch', for their tests: it says in the words
 * of tools/evering/stream.h what it likes.
 *
 *   liar guest NAME HUB SAYS...   as a guest of who listens at HUB
 *   liar host NAME HUB SAYS...    listens there itself, for one guest; writes "listening"
 *   liar hub NAME HUB                makes a hub whose channels have no blocks
 *   liar scribble NAME SEED NR    NR words of the shared region become others, one every 100 us
 *
 * SAYS, one after the other: text:T, data:N (N bytes 'x'), tag:T:N (N bytes 0xff with that tag),
 * size:N, end:E, done, take (the next message is taken, and "TAG SZ" written), drain (until
 * the other end has gone). What is said afterwards is its end.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <evering/evering.h>

#define PATIENCE_NS 60000000000ULL /* against hangs */

enum { DATA, END, DONE, SIZE };

static struct evr_segment *segment;
static struct evr_peer *peer;
static struct evr_heap heap;
static struct evr_hub hub;
static struct evr_channel ch;
static uint64_t until_ns;

static void check(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "liar: %s: %s\n", what, evr_error_detail());
	exit(1);
}

/* Before the next try of a call that said @err. False: that it says is the end. */
static bool again(int err, const char *what)
{
	struct timespec pause = { .tv_nsec = 1000000 };

	if (err != -EAGAIN && err != -ENOTCONN && err != -ENOBUFS && err != -EBUSY)
		return false;
	check(evr_now_ns() < until_ns ? 0 : -ETIMEDOUT, what);
	evr_peer_check(peer);
	nanosleep(&pause, NULL);
	return true;
}

static void say(const void *data, uint64_t sz, uint64_t tag)
{
	int err;

	do {
		err = evr_channel_send(&ch, data, sz, tag);
	} while (again(err, "send"));
	/* Nobody has to listen to the end. */
	if (err && err != -EPIPE && err != -EOWNERDEAD)
		check(err, "send");
}

static void say_bytes(int byte, uint64_t sz, uint64_t tag)
{
	void *bytes = malloc(sz + 1);

	memset(bytes, byte, sz + 1);
	say(bytes, sz, tag);
	free(bytes);
}

static bool take(bool tells)
{
	struct evr_message m;
	int err;

	do {
		err = evr_channel_recv(&ch, &m);
	} while (again(err, "receive"));
	if (err)
		return false;
	if (tells)
		printf("%" PRIu64 " %" PRIu64 "\n", m.tag, m.sz);
	fflush(stdout);
	evr_channel_release(&ch, &m);
	return true;
}

static void tell(const char *what)
{
	uint64_t number = 0, bytes = 0;
	int32_t error;

	if (sscanf(what, "tag:%" SCNu64 ":%" SCNu64, &number, &bytes) == 2) {
		say_bytes(0xff, bytes, number);
	} else if (!strncmp(what, "text:", 5)) {
		say(what + 5, strlen(what + 5), DATA);
	} else if (sscanf(what, "data:%" SCNu64, &bytes) == 1) {
		say_bytes('x', bytes, DATA);
	} else if (sscanf(what, "size:%" SCNu64, &number) == 1) {
		say(&number, sizeof(number), SIZE);
	} else if (sscanf(what, "end:%" SCNd32, &error) == 1) {
		say(&error, sizeof(error), END);
	} else if (!strcmp(what, "done")) {
		say(NULL, 0, DONE);
	} else if (!strcmp(what, "take")) {
		take(true);
	} else if (!strcmp(what, "drain")) {
		while (take(false))
			;
	} else {
		exit(2);
	}
}

static void begin(const char *name)
{
	check(evr_segment_open(&segment, name), "segment");
	check(evr_peer_attach(&peer, segment, NULL), "attach");
}

static void be_guest(const char *hub_name, const char *blocks)
{
	check(evr_heap_open(&heap, peer, blocks), "heap");
	check(evr_hub_connect(&ch, peer, hub_name, 0), "connect");
}

static void be_host(const char *hub_name, const char *blocks)
{
	struct evr_channel_options options = { .struct_sz = sizeof(options),
					       .window_messages = 8,
					       .heap = blocks };
	struct evr_heap_options room = { .struct_sz = sizeof(room), .sz = 4 << 20 };
	int err;

	check(evr_heap_create(peer, blocks, &room), "heap");
	check(evr_hub_create(peer, hub_name, &options), "hub");
	check(evr_hub_listen(&hub, peer, hub_name, 0), "listen");
	check(evr_heap_open(&heap, peer, blocks), "heap");
	puts("listening");
	fflush(stdout);
	do {
		err = evr_hub_accept(&hub, &ch, NULL);
	} while (again(err, "accept"));
	check(err, "accept");
}

static void make_hub(const char *hub_name)
{
	struct evr_channel_options options = { .struct_sz = sizeof(options) };

	check(evr_hub_create(peer, hub_name, &options), "hub");
	evr_peer_detach(peer);
}

static uint64_t random_next(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return *seed >> 20;
}

static void scribble(uint64_t seed, uint64_t nr)
{
	struct timespec pause = { .tv_nsec = 100000 };
	struct evr_segment_info info;
	struct evr_a64 *words;
	uint64_t words_nr;

	check(evr_segment_info(segment, &info), "info");
	words = evr_peer_at(peer, info.shared_off, info.shared_sz);
	while (nr--) {
		/* Half of them where the objects are, which come first. */
		words_nr = (random_next(&seed) & 1 ? info.shared_sz : 1 << 18) / 8;
		evr_a64_store_relaxed(&words[random_next(&seed) % words_nr],
				      random_next(&seed) & 1 ? random_next(&seed) :
							       random_next(&seed) % 256);
		nanosleep(&pause, NULL);
	}
}

int main(int argc, char **argv)
{
	char blocks[64];

	until_ns = evr_now_ns() + PATIENCE_NS;
	if (argc < 4)
		return 2;
	begin(argv[2]);
	if (!strcmp(argv[1], "scribble") && argc == 5) {
		scribble(strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0));
		evr_peer_detach(peer);
		return 0;
	}
	if (!strcmp(argv[1], "hub")) {
		make_hub(argv[3]);
		return 0;
	}
	snprintf(blocks, sizeof(blocks), "%s.blocks", argv[3]);
	if (!strcmp(argv[1], "guest"))
		be_guest(argv[3], blocks);
	else
		be_host(argv[3], blocks);
	/* Of a hub without blocks there are none. */
	evr_channel_bind(&ch, &heap, &heap);
	for (int i = 4; i < argc; i++)
		tell(argv[i]);
	evr_channel_close(&ch);
	evr_hub_close(&hub);
	evr_heap_close(&heap);
	evr_peer_detach(peer);
	evr_segment_close(segment);
	return 0;
}
