/* SPDX-License-Identifier: MIT */
/*
 * heap_pair SIZE|random|remote NR: NR blocks got from a heap and freed: of one size; of random sizes
 * while many live; or handed over and freed by another handle. check_heap_cost.sh counts its
 * instructions.
 */
#include <evering/evering.h>
#include <stdlib.h>
#include <string.h>

#define LIVE 1024
#define BATCH 32

static struct evr_peer *peer;
static struct evr_heap heap, other;

static void open_heaps(void)
{
	struct evr_segment_options segment_options = { .struct_sz = sizeof(segment_options),
						       .shared_sz = 16 << 20,
						       .peers_max = 8 };
	struct evr_heap_options options = { .struct_sz = sizeof(options), .sz = 8 << 20 };
	struct evr_segment *segment;

	if (evr_segment_create(&segment, "local:", &segment_options) ||
	    evr_peer_attach(&peer, segment, NULL) || evr_heap_create(peer, "heap", &options) ||
	    evr_heap_open(&heap, peer, "heap") || evr_heap_open(&other, peer, "heap"))
		exit(77);
}

static struct evr_block get(uint64_t sz)
{
	struct evr_block block = evr_heap_alloc(&heap, sz);

	if (!block.ptr)
		exit(1);
	return block;
}

static void drop(struct evr_heap *by, uint64_t handle)
{
	if (evr_heap_free(by, handle))
		exit(1);
}

static void run_pairs(uint64_t sz, unsigned long nr)
{
	while (nr--)
		drop(&heap, get(sz).handle);
}

static void run_random(unsigned long nr)
{
	static uint64_t handles[LIVE];
	uint64_t seed = 88172645463325252ULL, *handle;

	for (int i = 0; i < LIVE; i++)
		handles[i] = get(16).handle;
	while (nr--) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		handle = &handles[seed % LIVE];
		drop(&heap, *handle);
		*handle = get(16 + (seed >> 32) % 1024).handle;
	}
}

static void run_remote(unsigned long nr)
{
	uint64_t handles[BATCH];

	for (; nr; nr -= BATCH) {
		for (int i = 0; i < BATCH; i++)
			handles[i] = get(64).handle;
		if (evr_heap_transfer_many(&heap, handles, BATCH, evr_peer_self(peer)) != BATCH)
			exit(1);
		for (int i = 0; i < BATCH; i++) {
			if (!evr_heap_resolve(&other, handles[i], NULL))
				exit(1);
			drop(&other, handles[i]);
		}
	}
}

int main(int argc, char **argv)
{
	unsigned long nr = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;

	if (!nr || nr % BATCH)
		return 2;
	open_heaps();
	if (!strcmp(argv[1], "random"))
		run_random(nr);
	else if (!strcmp(argv[1], "remote"))
		run_remote(nr);
	else
		run_pairs(strtoul(argv[1], NULL, 10), nr);
	return 0;
}
