/* SPDX-License-Identifier: MIT */
/* What the scenarios of heaps share: a small heap, its handles, and books that must be right at the end. */
#ifndef EVERING_MODEL_HEAPS_H
#define EVERING_MODEL_HEAPS_H

#include <string.h>

#include "explore.h"
#include "heap_own.h"

#define BLOCK_SZ 500 /* eight to a slab of one granule, side words */
#define RUN_SZ 5000 /* two granules */
#define PROCS 4

struct state {
	struct evr_heap heaps[PROCS]; /* of each process */
	struct evr_heap audit;
	struct evr_a64 *sent; /* in the segment: a handle that was published */
	uint64_t handle; /* a block that setup() has allocated, or shared */
	uint64_t kept[PROCS]; /* a block that this process has and keeps */
	uint32_t got; /* times that a block was delivered */
	struct evr_peer_id to; /* a receiver, in its first life */
	bool has_returned; /* its slot, to a peer with the same stamp */
};

static inline void make(struct state *s, uint64_t sz, uint32_t procs)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options), .sz = sz };
	struct evr_object object;
	uint32_t i;

	MODEL_CHECK(!evr_heap_create(model_auditor(), "heap", &options));
	MODEL_CHECK(!evr_dir_create(model_auditor(), "sent", EVR_KIND_USER, 128, &object));
	s->sent = evr_peer_at(model_auditor(), object.off, 128);
	memset(s->sent, 0, 128);
	model_name(s->sent, 8, "sent");
	for (i = 0; i < procs; i++)
		MODEL_CHECK(!evr_heap_open(&s->heaps[i], model_peer(i), "heap"));
	MODEL_CHECK(!evr_heap_open(&s->audit, model_auditor(), "heap"));
	model_name(s->audit.own->map.arenas[0].own, 8 * 4, "own");
	model_name(s->audit.own->map.arenas[0].side, 8 * 32, "side");
	model_name(s->audit.own->map.arenas[0].touched, 8 * 5, "touched");
}

/* A block of the process' own, and its store filled. */
static inline uint64_t block_of(struct state *s, uint32_t proc, uint64_t sz)
{
	struct evr_block block = evr_heap_alloc(&s->heaps[proc], sz);

	MODEL_CHECK(block.ptr);
	return block.handle;
}

/*
 * At the end all is settled, twice, and the only blocks are those that the living keep;
 * when these have let go of all, every granule is free.
 */
static inline void books_are_right(struct state *s, uint32_t procs)
{
	struct evr_heap_usage usage;
	struct evr_reap_report again = { 0 };
	uint64_t kept = 0;
	uint32_t i, j;

	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	MODEL_CHECK(evr_reap_dead(model_auditor(), &again) == 0);
	MODEL_CHECK(!again.blocks);
	for (i = 0; i < procs; i++) {
		if (model_ended(i))
			continue;
		for (j = 0; j < procs; j++)
			if (model_ended(j))
				evr_heap_settle(&s->heaps[i],
						evr_peer_self(model_peer(j)));
		if (s->kept[i]) {
			MODEL_CHECK(evr_heap_resolve(&s->heaps[i], s->kept[i], NULL));
			kept++;
		}
	}
	evr_heap_usage(&s->audit, &usage);
	MODEL_CHECK(usage.blocks == kept);
	MODEL_CHECK(!usage.corrupt);
	for (i = 0; i < procs; i++) {
		if (model_ended(i))
			continue;
		if (s->kept[i])
			MODEL_CHECK(!evr_heap_free(&s->heaps[i], s->kept[i]));
		evr_heap_close(&s->heaps[i]);
	}
	evr_heap_trim(&s->audit);
	evr_heap_usage(&s->audit, &usage);
	MODEL_CHECK(!usage.blocks && !usage.cached && !usage.orphans);
	MODEL_CHECK(usage.bytes_free == usage.bytes_max);
}

#endif
