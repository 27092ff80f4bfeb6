/* SPDX-License-Identifier: MIT */
/*
 * A heap that grows, while its grower may die or be slow, others find it full or grow it as
 * well, and somebody reaps. What the segment has grown by is the heap's, once.
 */
#include <string.h>

#include "explore.h"
#include "heaps.h"

#define GROWTH_SZ (8U << 10) /* an arena of one granule */

/* Reaps as soon as anybody has died, while the others are at work. */
static bool anybody_ended(void *state)
{
	return model_ended(0) || model_ended(1) || (model_finished(0) && model_finished(1));
}

static void reap_early(struct evr_peer *peer, void *state)
{
	model_until(anybody_ended, state);
	MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
}

static void grow(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	MODEL_CHECK(!evr_heap_grow(&s->heaps[0], GROWTH_SZ));
}

static void grow_or_find_full(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	if (model_pick(2))
		MODEL_CHECK(!evr_heap_grow(&s->heaps[1], GROWTH_SZ));
	s->kept[1] = evr_heap_alloc(&s->heaps[1], BLOCK_SZ).handle;
}

static void setup_grow(void *state)
{
	struct state *s = state;

	make(s, 16 << 10, 3);
	evr_reap_auto(model_peer(1), false);
	/* All that there is. */
	evr_reap_auto(model_auditor(), false);
	while (evr_heap_alloc(&s->audit, 4096).ptr)
		;
	model_name(s->audit.own->map.header->arenas, 8 * 4, "arenas");
}

static int free_of_audit(const struct evr_block_info *info, void *arg)
{
	struct state *s = arg;

	if (info->owner == evr_peer_self(model_auditor()).slot)
		MODEL_CHECK(!evr_heap_free(&s->audit, info->handle));
	return 0;
}

static void end_grow(void *state)
{
	struct heap_map *map;
	struct state *s = state;
	uint32_t i, k;

	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	map = &s->audit.own->map;
	evr_heap_walk(&s->audit, free_of_audit, s);
	for (i = 1; i < map->arenas_nr; i++)
		for (k = 1; k < i; k++)
			MODEL_CHECK(map->arenas[i].off != map->arenas[k].off);
	MODEL_CHECK((map->arenas_nr - 1) * GROWTH_SZ == model_grown_sz());
	MODEL_CHECK(model_grown_sz() || model_died(0));
	books_are_right(s, 2);
}

SCENARIO(grow_heap) = {
	.name = "grow-heap",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.grow_sz = 2 * GROWTH_SZ,
	.procs = { { "grower", grow }, { "user", grow_or_find_full }, { "reaper", reap_early } },
	.setup = setup_grow,
	.end = end_grow,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 1 } },
	.longer = { { MODEL_SC, 1, 1, 0 }, { MODEL_SC, 3, 0, 0 }, { MODEL_WEAK, 1, 0, 1 } },
};

/* The grower may die, and one alone finds the heap full. */
static void find_full(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	s->kept[1] = evr_heap_alloc(&s->heaps[1], BLOCK_SZ).handle;
}

SCENARIO(grow_heap_death) = {
	.name = "grow-heap-death",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.grow_sz = GROWTH_SZ,
	.procs = { { "grower", grow }, { "user", find_full, .immortal = true } },
	.setup = setup_grow,
	.end = end_grow,
	.check = { { MODEL_SC, 2, 1, 0 } },
	.longer = { { MODEL_SC, 3, 1, 0 }, { MODEL_WEAK, 2, 1, 1 } },
};
