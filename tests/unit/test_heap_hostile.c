/* SPDX-License-Identifier: MIT */
/*
 * A heap whose words in shared memory are nonsense: errors, no access outside of it, no
 * loop.
 */
#include "heaps.h"

#include "heap_table.h"

/* All words of the heap set to nonsense: no call may fault, loop, or hand out what is not in it. */
static void heap_hostile_words_do_no_harm(void **state)
{
	static const uint64_t nonsense[] = { 0, ~0ULL, 0x5555555555555555ULL, 4, 2, 0xfff2, 0x15 };
	struct pair *pair = *state;
	struct evr_block blocks[64], block;
	struct evr_heap_usage usage;
	struct evr_object object;
	struct evr_heap heap;
	uint64_t seed = 99, counts[2] = { 0, 0 };
	struct heap_map map;
	uint64_t *words;
	uint32_t round, i, nr;

	assert_int_equal(evr_dir_find(pair->peer, "heap", &object), 0);
	assert_int_equal(evr_heap_map(&map, pair->peer, &object), 0);
	for (round = 0; round < 300; round++) {
		get_heap(pair, &heap);
		for (i = 0; i < 64; i++)
			blocks[i] = evr_heap_alloc(&heap, 1 + pair_random(&seed) % 9000);
		words = (uint64_t *)map.arenas[0].touched;
		nr = (uint32_t)((uint64_t *)map.arenas[0].data - words);
		for (i = 0; i < 1 + round % 400; i++)
			words[pair_random(&seed) % nr] = pair_random(&seed) % 2 ?
								 nonsense[pair_random(&seed) % 7] :
								 pair_random(&seed);
		/* Also control words in front of slabs, and what is payload. */
		words = (uint64_t *)map.arenas[0].data;
		for (i = 0; i < 2000; i++)
			words[pair_random(&seed) % (map.arenas[0].data_sz / 8)] =
				nonsense[pair_random(&seed) % 7];
		for (i = 0; i < 64; i++) {
			block.ptr = evr_heap_resolve(&heap, blocks[i].handle, NULL);
			if (block.ptr)
				assert_true(evr_heap_contains(&heap, block.ptr));
			evr_heap_free(&heap, blocks[i].handle);
			evr_heap_transfer(&heap, blocks[i].handle, evr_peer_self(pair->peer));
			evr_heap_accept(&heap, blocks[i].handle);
			evr_heap_hold(&heap, blocks[i].handle);
			evr_heap_drop(&heap, blocks[i].handle);
		}
		for (i = 0; i < 64; i++) {
			block = evr_heap_alloc(&heap, 1 + pair_random(&seed) % 9000);
			if (block.ptr)
				assert_true(evr_heap_contains(&heap, block.ptr));
		}
		counts[0] = 0;
		evr_heap_walk(&heap, count_block, counts);
		evr_heap_usage(&heap, &usage);
		assert_true(evr_reap_dead(pair->peer, NULL) >= 0);
		evr_heap_close(&heap);
		memset((void *)map.arenas[0].touched, 0,
		       (size_t)(map.arenas[0].data - (unsigned char *)map.arenas[0].touched));
	}
	memset(map.header, 0xff, 8);
	assert_int_equal(evr_heap_open(&heap, pair->peer, "heap"), -EBADMSG);
	assert_non_null(strstr(evr_error_detail(), "layout"));
}

/* A word that speaks of holders, in front of a block that has no room for them. */
static void heap_small_block_said_to_be_shared_has_no_size(void **state)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options), .shared_sz = 1 << 20, .peers_max = 64 };
	struct evr_heap_options heap_options = { .struct_sz = sizeof(heap_options), .sz = 256 << 10 };
	struct evr_peer_id self;
	struct evr_block block;
	struct heap_block found;
	struct heap_map map;
	struct evr_object object;
	struct evr_heap heap;
	struct pair pair;
	uint64_t sz, i;

	assert_int_equal(evr_segment_create(&pair.segment, pair_uri(), &options), 0);
	assert_int_equal(evr_peer_attach(&pair.peer, pair.segment, NULL), 0);
	self = evr_peer_self(pair.peer);
	assert_int_equal(evr_heap_create(pair.peer, "heap", &heap_options), 0);
	assert_int_equal(evr_heap_open(&heap, pair.peer, "heap"), 0);
	assert_int_equal(evr_dir_find(pair.peer, "heap", &object), 0);
	assert_int_equal(evr_heap_map(&map, pair.peer, &object), 0);
	block = evr_heap_alloc(&heap, 16);
	assert_non_null(block.ptr);
	assert_int_equal(evr_heap_locate(&map, heap_handle_off(block.handle), true, &found), 0);
	assert_true(found.sz < evr_heap_share_sz(&map));
	for (i = 0; i < 2; i++) {
		evr_a64_store_release(found.ctl, i ? heap_ctl(block.handle, 0, map.me, TAG_SHARED) :
						     heap_ctl(block.handle, map.me, EVR_BLOCK_SHAREABLE,
							      TAG_LIVE));
		sz = 99;
		assert_null(evr_heap_resolve(&heap, block.handle, &sz));
		assert_int_equal(sz, 0);
		assert_int_equal(evr_heap_share(&heap, block.handle, &self, 1), -EBADMSG);
		assert_int_equal(evr_heap_hold(&heap, block.handle), -EBADMSG);
		assert_int_equal(evr_heap_drop(&heap, block.handle), -EBADMSG);
		assert_true(evr_reap_dead(pair.peer, NULL) >= 0);
	}
	evr_heap_close(&heap);
	evr_peer_detach(pair.peer);
	evr_segment_close(pair.segment);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_heap, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(heap_hostile_words_do_no_harm),
		CASE(heap_small_block_said_to_be_shared_has_no_size),
	};

	return cmocka_run_group_tests_name("heap_hostile", tests, NULL, NULL);
}
