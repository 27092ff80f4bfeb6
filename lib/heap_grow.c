/* SPDX-License-Identifier: MIT */
/* More memory for a heap in use, and buffers that grow in it. */
#include <errno.h>
#include <string.h>

#include "backend.h"
#include "dir.h"
#include "heap_own.h"
#include "internal.h"

#define CAP_MIN 64
#define TAG_IDX_BITS 13 /* of an entry in the directory, + 1 */

/*
 * model      a heap grows in two steps: the segment, by memory that carries the heap's
 *            tag from the moment it is there; and the heap, by the arena's word. In between
 *            it may be its caller who dies, or who is slow. So whoever opens the heap,
 *            grows it, finds it full or reaps makes arenas of all that has its tag
 *            and is none. Whether the caller lives does not matter: words fill up in
 *            order and never change, so who looks for its word before it takes
 *            the first free one enters a growth once, however many try.
 * edges      GROW, GROW-LOG, HEAP-ARENA
 * limits     A module without EVERING_FEAT_GROW_TAG forgets the tag: there, who dies in
 *            between leaves memory that no heap has until the segment goes. So do two
 *            who grow a heap at once that has room for one arena.
 */

/* Of this life of the directory's entry: nobody else's, and never 0. */
static uint64_t heap_tag(const struct heap_map *map)
{
	return (uint64_t)map->object.gen << TAG_IDX_BITS | (map->object.idx + 1);
}

/*
 * Its words are zero, as all memory is that was just appended; they must not be cleared:
 * another one may have entered it, and others use it. False: no word is free.
 */
static bool arena_enter(struct heap_map *map, const struct evr_growth *growth)
{
	uint64_t word = growth->off / HEAP_ARENA_UNIT << HEAP_ARENA_SZ_BITS |
			growth->sz / HEAP_ARENA_UNIT;
	uint64_t u_word;
	uint32_t i;

	for (i = 1; i < EVR_HEAP_ARENAS_MAX; i++) {
		u_word = evr_a64_load_acquire(&map->header->arenas[i]);
		if (!u_word && evr_a64_cas(&map->header->arenas[i], &u_word, word)) /* HEAP-ARENA */
			return true;
		if (u_word == word)
			return true;
	}
	return false;
}

static int adopt_growth(const struct evr_growth *growth, void *arg)
{
	/* Who can tag memory as ours may have made it larger than we do. */
	if (growth->sz <= HEAP_ARENA_SZ_MAX &&
	    !(growth->off / HEAP_ARENA_UNIT >> HEAP_ARENA_OFF_BITS))
		arena_enter(arg, growth);
	return 0;
}

uint32_t evr_heap_adopt(struct heap_map *map)
{
	struct evr_peer *peer = map->peer;

	/* What it cannot tell now the next one adopts. */
	if (map->writable && !evr_dir_is_isolated(peer))
		peer->ops->growths(peer, heap_tag(map), adopt_growth, map);
	return evr_heap_map_refresh(map);
}

/* Before the segment grows: what we could not map, or enter, would be of no use. */
static int grow_check(struct heap_map *map, uint64_t bytes)
{
	struct evr_peer *peer = map->peer;
	uint64_t sz;
	int err;

	if (bytes > HEAP_ARENA_SZ_MAX)
		return evr_fail(-EINVAL, "heap '%s': %llu bytes are more than an arena has",
				map->object.name, (unsigned long long)bytes);
	if (evr_a64_load_relaxed(&map->header->arenas[EVR_HEAP_ARENAS_MAX - 1]))
		return evr_fail(-ENOSPC, "heap '%s': it has %d arenas already", map->object.name,
				EVR_HEAP_ARENAS_MAX);
	err = peer->ops->segment_sz(peer, &sz);
	if (err)
		return err;
	if (sz < peer->segment->layout.grown_off)
		sz = peer->segment->layout.grown_off;
	if (sz > peer->reserved_sz || bytes > peer->reserved_sz - sz)
		return evr_fail(
			-ERANGE,
			"heap '%s': this peer has reserved %llu bytes of addresses, the segment "
			"has %llu and %llu more are wanted; attach with a larger reserve_sz",
			map->object.name, (unsigned long long)peer->reserved_sz,
			(unsigned long long)sz, (unsigned long long)bytes);
	return 0;
}

int evr_heap_grow(struct evr_heap *heap, uint64_t bytes)
{
	struct evr_growth growth = { .sz = bytes };
	struct heap_map *map;
	int err;

	err = evr_heap_check_writable(heap);
	if (err)
		return err;
	map = &heap->own->map;
	evr_heap_adopt(map);
	err = grow_check(map, bytes);
	if (!err)
		err = evr_segment_grow_for(map->peer->segment, heap_tag(map), &growth);
	if (!err && !arena_enter(map, &growth))
		err = evr_fail(-ENOSPC, "heap '%s': others have taken its last arena",
			       map->object.name);
	evr_heap_map_refresh(map);
	return err ? err : evr_heap_prepare(heap);
}

int evr_heap_buffer_init(struct evr_heap_buffer *buffer, struct evr_heap *heap, uint64_t cap)
{
	memset(buffer, 0, sizeof(*buffer));
	buffer->heap = heap;
	buffer->block = evr_heap_alloc(heap, cap ? cap : CAP_MIN);
	if (!buffer->block.ptr)
		return evr_heap_error(heap);
	evr_heap_resolve(heap, buffer->block.handle, &buffer->cap);
	return 0;
}

void *evr_heap_buffer_reserve(struct evr_heap_buffer *buffer, uint64_t sz)
{
	uint64_t want;

	/* Before the first, and after evr_heap_buffer_take(). */
	if (!buffer->block.ptr && (!buffer->heap || evr_heap_buffer_init(buffer, buffer->heap, sz)))
		return NULL;
	if (sz > buffer->cap - buffer->sz) {
		want = buffer->sz + sz;
		if (want < sz)
			return NULL;
		/* Half as much again, so that each byte is copied three times at most. */
		if (want < buffer->cap + buffer->cap / 2)
			want = buffer->cap + buffer->cap / 2;
		if (evr_heap_realloc(buffer->heap, &buffer->block, want) < 0 &&
		    evr_heap_realloc(buffer->heap, &buffer->block, buffer->sz + sz) < 0)
			return NULL;
		evr_heap_resolve(buffer->heap, buffer->block.handle, &buffer->cap);
		if (sz > buffer->cap - buffer->sz)
			return NULL;
	}
	return (unsigned char *)buffer->block.ptr + buffer->sz;
}

int evr_heap_buffer_append(struct evr_heap_buffer *buffer, const void *data, uint64_t sz)
{
	void *at = evr_heap_buffer_reserve(buffer, sz);

	if (!at)
		return -ENOMEM;
	memcpy(at, data, sz);
	buffer->sz += sz;
	return 0;
}

struct evr_block evr_heap_buffer_take(struct evr_heap_buffer *buffer)
{
	struct evr_block block;

	if (buffer->block.ptr)
		evr_heap_realloc(buffer->heap, &buffer->block, buffer->sz);
	block = buffer->block;
	buffer->block = (struct evr_block){ NULL, EVR_HANDLE_NONE };
	buffer->sz = buffer->cap = 0;
	return block;
}

void evr_heap_buffer_fini(struct evr_heap_buffer *buffer)
{
	if (buffer->block.ptr)
		evr_heap_free(buffer->heap, buffer->block.handle);
	memset(buffer, 0, sizeof(*buffer));
}
