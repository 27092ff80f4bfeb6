// SPDX-License-Identifier: MIT
/* What peers, rings, blocks and operations take in bytes, by the books of the library. */
#include "bench_memory.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include <evering/bcast.h>
#include <evering/hub.h>
#include <evering/log.h>
#include <evering/mpmc.h>
#include <evering/slots.h>

#include "command.h"
#include "message.h"
#include "table.h"

#define ROWS_MAX 32
#define HEAP_SZ (4ULL << 20)
#define SHARED_SZ (32ULL << 20)
#define PEERS 16

struct memory {
	struct memory_row rows[ROWS_MAX];
	int nr;
	const char *uri;
	struct evr_segment *segment;
	struct evr_peer *peer;
};

double bytes_used(void)
{
	struct mallinfo2 info = mallinfo2();

	return (double)info.uordblks + (double)info.hblkhd;
}

static void add(struct memory *m, const char *what, double bytes, double data)
{
	m->rows[m->nr++] = (struct memory_row){ what, bytes, data };
}

static int open_segment(struct memory *m)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = SHARED_SZ,
					       .peers_max = EVR_PEERS_MAX };
	int err = evr_segment_create(&m->segment, m->uri, &options);

	return err ? err : evr_peer_attach(&m->peer, m->segment, NULL);
}

static void close_segment(struct memory *m)
{
	evr_peer_detach(m->peer);
	evr_segment_close(m->segment);
}

static int64_t bytes_held(const struct memory *m)
{
	struct evr_dir_info info;
	int err = evr_dir_info(m->peer, &info);

	return err ? err : (int64_t)info.bytes;
}

static int of_segment(struct memory *m)
{
	struct evr_segment_info info;
	int err = evr_segment_info(m->segment, &info);

	if (err)
		return err;
	add(m, "segment of 32 MiB for 256 peers", (double)info.bytes, (double)SHARED_SZ);
	return 0;
}

/* What a process keeps of each attachment; its part of the segment is in the segment's row. */
static int of_peers(struct memory *m)
{
	double before = bytes_used();
	struct evr_peer *peers[PEERS];
	int nr = 0, err = 0;

	while (nr < PEERS && !err) {
		err = evr_peer_attach(&peers[nr], m->segment, NULL);
		nr += !err;
	}
	if (!err)
		add(m, "peer, in its process", (bytes_used() - before) / PEERS, 0);
	while (nr)
		evr_peer_detach(peers[--nr]);
	return err;
}

/* One object of each kind; each is made by a call of its own. */
static int make_spsc(struct evr_peer *peer)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options),
					    .capacity = 1024,
					    .elem_sz = 8 };

	return evr_spsc_create(peer, "spsc", &options);
}

static int make_slots(struct evr_peer *peer)
{
	struct evr_slots_options options = { .struct_sz = sizeof(options),
					     .capacity = 64,
					     .msg_max = 56 };

	return evr_slots_create(peer, "slots", &options);
}

static int make_bytes(struct evr_peer *peer)
{
	struct evr_bytes_options options = { .struct_sz = sizeof(options), .capacity = 64 << 10 };

	return evr_bytes_create(peer, "bytes", &options);
}

static int make_mpmc(struct evr_peer *peer)
{
	struct evr_mpmc_options options = { .struct_sz = sizeof(options),
					    .capacity = 1024,
					    .elem_sz = 8 };

	return evr_mpmc_create(peer, "mpmc", &options);
}

static int make_log(struct evr_peer *peer)
{
	struct evr_log_options options = { .struct_sz = sizeof(options), .capacity = 64 << 10 };

	return evr_log_create(peer, "log", &options);
}

static int make_bcast(struct evr_peer *peer)
{
	struct evr_bcast_options options = { .struct_sz = sizeof(options),
					     .capacity = 1024,
					     .elem_sz = 8 };

	return evr_bcast_create(peer, "bcast", &options);
}

static int make_bcast_8(struct evr_peer *peer)
{
	struct evr_bcast_options options = {
		.struct_sz = sizeof(options), .capacity = 1024, .elem_sz = 8, .seats = 8
	};

	return evr_bcast_create(peer, "bcast of 8", &options);
}

static int make_inbox(struct evr_peer *peer)
{
	struct evr_inbox_options options = { .struct_sz = sizeof(options),
					     .capacity = 64,
					     .elem_sz = 8 };

	return evr_inbox_create(peer, "inbox", &options);
}

static int make_channel(struct evr_peer *peer)
{
	struct evr_channel_options options = { .struct_sz = sizeof(options) };

	return evr_channel_create(peer, "channel", &options);
}

static int make_port(struct evr_peer *peer)
{
	struct evr_port port;

	return evr_port_make(&port, peer, "channel", EVR_CHANNEL_A);
}

static int make_hub(struct evr_peer *peer)
{
	return evr_hub_create(peer, "hub", NULL);
}

static const struct {
	const char *what;
	int (*make)(struct evr_peer *peer);
	double data;
} kinds[] = {
	{ "spsc, 1024 x 8 B", make_spsc, 8192 },
	{ "slots, 64 x 56 B", make_slots, 64 * 56 },
	{ "bytes, 64 KiB", make_bytes, 65536 },
	{ "mpmc, 1024 x 8 B", make_mpmc, 8192 },
	{ "log, 64 KiB", make_log, 65536 },
	{ "bcast, 1024 x 8 B, observed", make_bcast, 8192 },
	{ "bcast, 1024 x 8 B, 8 seats", make_bcast_8, 8192 },
	{ "channel, 64 KiB each way", make_channel, 2 * 65536 },
	{ "port", make_port, 0 },
	{ "hub for 256 peers", make_hub, 0 },
	{ "inbox for 256 peers, no sender", make_inbox, 0 },
};

static int of_objects(struct memory *m)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		int64_t before = bytes_held(m);
		int err = kinds[i].make(m->peer);

		if (err || before < 0)
			return err ? err : (int)before;
		add(m, kinds[i].what, (double)(bytes_held(m) - before), kinds[i].data);
	}
	return 0;
}

static int of_lane(struct memory *m)
{
	struct evr_inbox_sender sender;
	int64_t before = bytes_held(m);
	int err = evr_inbox_join(&sender, m->peer, "inbox", 0);

	if (err || before < 0)
		return err ? err : (int)before;
	add(m, "inbox, each sender of 64 x 8 B", (double)(bytes_held(m) - before), 64 * 8);
	evr_inbox_leave(&sender);
	return 0;
}

/* As many as fit: what each takes of the whole heap. */
static int of_blocks(struct memory *m, const char *what, uint64_t sz)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options), .sz = HEAP_SZ };
	struct evr_heap heap;
	uint64_t nr = 0;
	int err = evr_heap_create(m->peer, what, &options);

	if (!err)
		err = evr_heap_open(&heap, m->peer, what);
	if (err)
		return err;
	while (evr_heap_alloc(&heap, sz).ptr)
		nr++;
	evr_heap_close(&heap);
	if (!nr)
		return -ENOMEM;
	add(m, what, (double)HEAP_SZ / (double)nr, (double)sz);
	return 0;
}

static int count_all(struct memory *m)
{
	int err = open_segment(m);

	if (err)
		return err;
	err = of_segment(m);
	if (!err)
		err = of_peers(m);
	if (!err)
		err = of_objects(m);
	if (!err)
		err = of_lane(m);
	if (!err)
		err = of_blocks(m, "heap, each block of 64 B", 64);
	if (!err)
		err = of_blocks(m, "heap, each block of 1 KiB", 1024);
	if (!err)
		err = of_blocks(m, "heap, each block of 64 KiB", 64 << 10);
	close_segment(m);
#ifdef HAVE_DRIVER
	if (!err) {
		err = memory_of_driver(m->rows + m->nr);
		m->nr += err > 0 ? err : 0;
		err = err > 0 ? 0 : err;
	}
#endif
	return err;
}

static void print_rows(const struct memory *m)
{
	static const char *const heads[] = { "", "BYTES", "DATA", "BESIDE", NULL };
	struct table table;

	printf("memory: bytes that things take, and the part that is data; %s backend\n\n",
	       m->uri[0] == 'd' ? "device" : "local");
	table_init(&table, "lrrr", heads);
	for (int i = 0; i < m->nr; i++) {
		char bytes[32], data[32], beside[32];
		const char *cells[] = { m->rows[i].what, bytes, data, beside };

		snprintf(bytes, sizeof(bytes), "%.1f", m->rows[i].bytes);
		snprintf(data, sizeof(data), "%.0f", m->rows[i].data);
		snprintf(beside, sizeof(beside), "%.1f", m->rows[i].bytes - m->rows[i].data);
		table_add(&table, cells);
	}
	table_print(&table, stdout, "  ");
	table_fini(&table);
}

static struct json_object *rows_to_json(const struct memory *m)
{
	struct json_object *object = json_object_new_object();
	struct json_object *list = json_object_new_array();

	json_add_text(object, "bench", "memory");
	json_add_text(object, "unit", "bytes each");
	for (int i = 0; i < m->nr; i++) {
		struct json_object *row = json_object_new_object();

		json_add_text(row, "what", m->rows[i].what);
		json_add_double(row, "bytes", m->rows[i].bytes);
		json_add_double(row, "data_bytes", m->rows[i].data);
		json_object_array_add(list, row);
	}
	json_object_object_add(object, "results", list);
	return object;
}

int bench_memory(enum evr_backend backend, struct json_object *list)
{
	static struct memory memory;
	int err;

	memory.uri = backend == EVR_BACKEND_DEVICE ? "device:" : "local:";
	err = count_all(&memory);
	if (err)
		return message_failed("memory", err);
	if (list)
		json_object_array_add(list, rows_to_json(&memory));
	else
		print_rows(&memory);
	return EXIT_OK;
}
