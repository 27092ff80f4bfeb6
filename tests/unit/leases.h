/* SPDX-License-Identifier: MIT */
/* What the tests of leases share: both ends of a channel with a lender each, and a file that tells its places. */
#ifndef EVERING_TEST_LEASES_H
#define EVERING_TEST_LEASES_H

#include "die.h"

#include <dirent.h>
#include <sys/mman.h>

#define SZ 20000
#define OFF 5000

static inline int open_small(void **state)
{
	return pair_open_sized(state, 512 << 10);
}

/* Both ends of a channel, each with a handle of its heap. */
struct end {
	struct evr_channel ch;
	struct evr_heap heap;
	struct evr_lender lender;
};

static inline void make_channel(struct pair *pair)
{
	struct evr_heap_options heap = { .struct_sz = sizeof(heap), .sz = 128 << 10 };
	struct evr_channel_options options = { .struct_sz = sizeof(options),
					       .capacity = 2048,
					       .urgent_capacity = 1024,
					       .inline_max = 64,
					       .window_messages = 4,
					       .heap = "heap" };

	assert_int_equal(evr_heap_create(pair->peer, "heap", &heap), 0);
	assert_int_equal(evr_channel_create(pair->peer, "c", &options), 0);
}

static inline int end_open(struct end *end, struct evr_peer *peer, enum evr_channel_role role)
{
	int err = evr_heap_open(&end->heap, peer, "heap");

	if (!err)
		err = evr_channel_open(&end->ch, peer, "c", role, 0);
	if (!err)
		err = evr_channel_bind(&end->ch, &end->heap, &end->heap);
	evr_lender_init(&end->lender, &end->heap);
	return err;
}

static inline void end_close(struct end *end)
{
	evr_channel_close(&end->ch);
	evr_lender_fini(&end->lender);
	evr_heap_close(&end->heap);
}

static inline int fds_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int nr = 0;

	while (dir && readdir(dir))
		nr++;
	closedir(dir);
	return nr;
}

/* Blocks of the heap that are anybody's. */
static inline uint64_t blocks(struct evr_heap *heap)
{
	struct evr_heap_usage usage;

	evr_heap_usage(heap, &usage);
	return usage.blocks;
}

static inline int lend(struct end *end, int fd, uint64_t off, uint64_t sz, uint32_t flags)
{
	struct evr_lease_options o = {
		.struct_sz = sizeof(o), .fd = fd, .off = off, .sz = sz, .flags = flags, .tag = 5
	};

	return evr_lease_send(&end->lender, &end->ch, &o);
}

/* 0 or why there is no lease. */
static inline int take(struct evr_lease *lease, struct end *end)
{
	struct evr_message m;
	int err = evr_channel_recv(&end->ch, &m);

	return err ? err : evr_lease_take(lease, &end->ch, &m);
}

/* A memfd whose bytes tell their place. */
static inline int memfd_filled(uint8_t **map)
{
	int fd = evr_lease_memfd(OFF + SZ), i;

	assert_true(fd >= 0);
	*map = mmap(NULL, OFF + SZ, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(*map != MAP_FAILED);
	for (i = 0; i < OFF + SZ; i++)
		(*map)[i] = (uint8_t)(i % 251);
	return fd;
}

static inline void memfd_end(int fd, uint8_t *map)
{
	munmap(map, OFF + SZ);
	close(fd);
}

/* Two peers in this process. */
struct two {
	struct pair *pair;
	struct evr_peer *peer;
	struct end a, b;
};

static inline void two_open(struct two *two, struct pair *pair)
{
	two->pair = pair;
	make_channel(pair);
	assert_int_equal(evr_peer_attach(&two->peer, pair->segment, NULL), 0);
	assert_int_equal(end_open(&two->a, pair->peer, EVR_CHANNEL_A), 0);
	assert_int_equal(end_open(&two->b, two->peer, EVR_CHANNEL_B), 0);
}

/* All is back: given = returned, and the heap is empty. */
static inline void two_close(struct two *two)
{
	evr_lender_collect(&two->a.lender);
	assert_int_equal(two->a.lender.out, 0);
	assert_true(two->a.lender.given == two->a.lender.returned);
	assert_int_equal(blocks(&two->a.heap), 0);
	end_close(&two->b);
	end_close(&two->a);
	evr_peer_detach(two->peer);
}

#endif
