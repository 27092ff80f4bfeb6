/* SPDX-License-Identifier: MIT */
/* A small segment with an object of each kind; world.h. */
#include "world.h"

#include <stdlib.h>
#include <string.h>

#define SIZED(type) .struct_sz = sizeof(struct type)

/* Between objects: nobody has business there. */
static int make_guard(struct evr_peer *peer, const char *name)
{
	struct evr_object object;
	int err = evr_dir_create(peer, name, EVR_KIND_USER, 1024, &object);

	if (err)
		return err;
	memset(evr_peer_at(peer, object.off, object.sz), 0xa5, object.sz);
	return evr_dir_publish(peer, &object);
}

static int make_rings(struct evr_peer *peer)
{
	struct evr_spsc_options spsc = { SIZED(evr_spsc_options), .capacity = 8, .elem_sz = 8 };
	struct evr_bytes_options bytes = { SIZED(evr_bytes_options), .capacity = 1024 };
	struct evr_slots_options slots = { SIZED(evr_slots_options), .capacity = 4 };
	struct evr_inbox_options inbox = { SIZED(evr_inbox_options), .capacity = 4 };
	int err = evr_spsc_create(peer, "spsc", &spsc);

	if (!err)
		err = make_guard(peer, "guard-1");
	if (!err)
		err = evr_bytes_create(peer, "bytes", &bytes);
	if (!err)
		err = make_guard(peer, "guard-2");
	if (!err)
		err = evr_slots_create(peer, "slots", &slots);
	if (!err)
		err = make_guard(peer, "guard-3");
	return err ? err : evr_inbox_create(peer, "inbox", &inbox);
}

static int make_queues(struct evr_peer *peer)
{
	struct evr_mpmc_options mpmc = { SIZED(evr_mpmc_options), .capacity = 8 };
	struct evr_log_options log = { SIZED(evr_log_options), .capacity = 1024, .record_max = 200 };
	struct evr_channel_options channel = { SIZED(evr_channel_options),
					       .capacity = 1024,
					       .urgent_capacity = 1024,
					       .inline_max = 64,
					       .heap = "heap" };
	int err = evr_mpmc_create(peer, "mpmc", &mpmc);

	if (!err)
		err = make_guard(peer, "guard-4");
	if (!err)
		err = evr_log_create(peer, "log", &log);
	if (!err)
		err = make_guard(peer, "guard-5");
	if (!err)
		err = evr_channel_create(peer, "channel", &channel);
	return err ? err : make_guard(peer, "guard-7");
}

/* One that overwrites, and one that waits. */
static int make_broadcasts(struct evr_peer *peer)
{
	struct evr_bcast_options lossy = { SIZED(evr_bcast_options), .capacity = 8, .elem_sz = 8 };
	struct evr_bcast_options kept = lossy;
	int err = evr_bcast_create(peer, "bcast", &lossy);

	kept.seats = 2;
	if (!err)
		err = make_guard(peer, "guard-8");
	return err ? err : evr_bcast_create(peer, "kept", &kept);
}

static int make_memory(struct evr_peer *peer)
{
	struct evr_heap_options heap = { SIZED(evr_heap_options), .sz = 80 << 10 };
	struct evr_pool_options pool = { SIZED(evr_pool_options),
					 .classes = { { 32, 8 }, { 200, 4 } } };
	int err = evr_heap_create(peer, "heap", &heap);

	if (!err)
		err = make_guard(peer, "guard-6");
	return err ? err : evr_pool_create(peer, "pool", &pool);
}

const struct evr_channel_options world_hub_channels = { SIZED(evr_channel_options),
							.capacity = 1024,
							.urgent_capacity = 1024,
							.inline_max = 64 };

/* The last one: what it makes when somebody connects lies behind all others. */
static int make_hub(struct evr_peer *peer)
{
	int err = make_guard(peer, "guard-9");

	return err ? err : evr_hub_create(peer, "hub", &world_hub_channels);
}

/* Something for a consumer to find. */
static int fill(struct evr_peer *peer)
{
	uint64_t elems[3] = { 1, 2, 3 };
	struct evr_spsc spsc;
	struct evr_bytes bytes;
	struct evr_slots slots;
	struct evr_mpmc mpmc;
	int err = evr_spsc_open(&spsc, peer, "spsc", EVR_PRODUCER, 0);

	if (err)
		return err;
	evr_spsc_push(&spsc, elems, 3);
	evr_spsc_close(&spsc);
	err = evr_bytes_open(&bytes, peer, "bytes", EVR_PRODUCER);
	if (err)
		return err;
	evr_bytes_write(&bytes, elems, sizeof(elems));
	evr_bytes_close(&bytes);
	err = evr_slots_open(&slots, peer, "slots", EVR_PRODUCER, 0);
	if (err)
		return err;
	evr_slots_push(&slots, elems, 8);
	evr_slots_close(&slots);
	err = evr_mpmc_open(&mpmc, peer, "mpmc", 0);
	if (err)
		return err;
	evr_mpmc_push(&mpmc, elems, 3);
	evr_mpmc_close(&mpmc);
	return 0;
}

int world_make(struct evr_peer *peer)
{
	int err = make_rings(peer);

	if (!err)
		err = make_memory(peer);
	if (!err)
		err = make_queues(peer);
	if (!err)
		err = make_broadcasts(peer);
	if (!err)
		err = make_hub(peer);
	return err ? err : fill(peer);
}

struct evr_peer *world_begin(void)
{
	struct evr_segment_options options = { SIZED(evr_segment_options),
					       .shared_sz = WORLD_SHARED_SZ,
					       .peers_max = WORLD_PEERS };
	static struct evr_peer *peer;
	static unsigned char *before;
	struct evr_segment *segment;
	struct evr_segment_info info;

	if (peer) {
		evr_segment_info(evr_peer_segment(peer), &info);
		memcpy(evr_peer_at(peer, info.shared_off, WORLD_SHARED_SZ), before, WORLD_SHARED_SZ);
		return peer;
	}
	before = malloc(WORLD_SHARED_SZ);
	if (!before || evr_segment_create(&segment, "local:", &options) ||
	    evr_peer_attach(&peer, segment, NULL) || world_make(peer) ||
	    evr_segment_info(segment, &info))
		abort();
	memcpy(before, evr_peer_at(peer, info.shared_off, WORLD_SHARED_SZ), WORLD_SHARED_SZ);
	return peer;
}
