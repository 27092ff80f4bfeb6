/* SPDX-License-Identifier: MIT */
/* More memory for a heap in use, and buffers that grow in it. */
#include <errno.h>
#include <string.h>

#include "backend.h"
#include "heap_own.h"
#include "internal.h"

#define CAP_MIN 64
#define ARENA_UNIT 4096ULL
#define ARENA_SZ_BITS 28

/*
 * Known limit: who dies between the segment's growth and the CAS leaves memory that no heap
 * has, until the segment goes. An intent in the heap would not tell a reaper whose it is:
 * anybody may grow the segment, before the death or after it. That takes a tag that comes
 * with the growth itself: on the device stored by the kernel before the new size is
 * published, on the local backend in a log of growths whose entry is the commit.
 */
int evr_heap_grow(struct evr_heap *heap, uint64_t bytes)
{
	struct heap_map *map;
	struct heap_arena arena = { 0 };
	uint64_t word, none;
	uint32_t i;
	int err;

	err = evr_heap_check_writable(heap);
	if (err)
		return err;
	map = &heap->own->map;
	if (bytes > (1ULL << ARENA_SZ_BITS) * ARENA_UNIT / 2)
		return evr_fail(-EINVAL, "heap '%s': %llu bytes are more than an arena has",
				map->object.name, (unsigned long long)bytes);
	evr_heap_map_refresh(map);
	if (map->arenas_nr == EVR_HEAP_ARENAS_MAX)
		return evr_fail(-ENOSPC, "heap '%s': it has %d arenas already", map->object.name,
				EVR_HEAP_ARENAS_MAX);
	err = evr_segment_grow(map->peer->segment, bytes, &arena.off);
	if (err)
		return err;
	bytes = EVR_ROUND_UP(bytes, 2ULL << 20);
	err = evr_heap_arena_plan(map, &arena, bytes, 0);
	if (err)
		return err;
	evr_heap_arena_clear(map, &arena);
	word = arena.off / ARENA_UNIT << ARENA_SZ_BITS | bytes / ARENA_UNIT;
	for (i = 1; i < EVR_HEAP_ARENAS_MAX; i++) {
		none = 0;
		if (evr_a64_cas(&map->header->arenas[i], &none, word)) /* HEAP-ARENA */
			break;
	}
	evr_heap_map_refresh(map);
	err = evr_heap_prepare(heap);
	if (!err && i == EVR_HEAP_ARENAS_MAX)
		err = evr_fail(-ENOSPC, "heap '%s': it has %d arenas already", map->object.name,
			       EVR_HEAP_ARENAS_MAX);
	return err;
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

	if (sz > buffer->cap - buffer->sz) {
		want = buffer->sz + sz;
		if (want < sz || !buffer->block.ptr)
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
