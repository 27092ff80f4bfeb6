/* SPDX-License-Identifier: MIT */
/*
 * A heap's growth, and what is left of it when its caller dies or is slow: each byte that the
 * segment has grown by is the heap's, once. The log of a local segment is a short one here.
 *
 * Mutants seen to fail here: nobody adopts; only who reaps does (who opens, grows, or finds it
 * full); words entered without a look whether they are there (twice in the heap); an arena
 * cleared by a grower who comes late; tags of other heaps, or none, adopted; a growth that
 * is in the log and never published; a log entry taken from another.
 */
#include "die.h"

#include <fcntl.h>

#include "../../lib/backend.h"
#include "../../lib/heap_own.h"
#include "../../lib/internal.h"
#include "../../lib/local.h"

#define HEAP_SZ (192U << 10)
#define GROWTH ((uint64_t)EVERING_BLOCK_SIZE)
/* No other arena has room for it. */
#define LARGE_SZ (1500U << 10)

struct scene {
	struct pair *pair;
	struct evr_heap heap;
	uint64_t segment_sz; /* at first */
};

static uint64_t segment_sz(struct scene *scene)
{
	struct evr_segment_info info;

	assert_int_equal(evr_segment_info(scene->pair->segment, &info), 0);
	return info.size;
}

static void scene_open(struct scene *scene)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options), .sz = HEAP_SZ };
	void *pair = NULL;

	assert_int_equal(pair_open_sized(&pair, 1 << 20), 0);
	scene->pair = pair;
	assert_int_equal(evr_heap_create(scene->pair->peer, "heap", &options), 0);
	assert_int_equal(evr_heap_open(&scene->heap, scene->pair->peer, "heap"), 0);
	/* Growth begins at a whole block. */
	scene->segment_sz = EVR_ROUND_UP(segment_sz(scene), GROWTH);
}

static void scene_close(struct scene *scene)
{
	void *pair = scene->pair;

	evr_heap_close(&scene->heap);
	pair_close(&pair);
}

static uint64_t grown(struct scene *scene)
{
	uint64_t sz = segment_sz(scene);

	return sz > scene->segment_sz ? sz - scene->segment_sz : 0;
}

/* Words of arenas beyond the first, as they stand in the heap; nothing is adopted by this look. */
static uint32_t entered(struct evr_heap *heap)
{
	struct heap_header *header = heap->own->map.header;
	uint32_t i, nr = 0;

	for (i = 1; i < EVR_HEAP_ARENAS_MAX; i++)
		nr += !!evr_a64_load_relaxed(&header->arenas[i]);
	return nr;
}

/* All that the segment has grown by is the heap's, each byte once, and usable. */
static void assert_all_is_the_heaps(struct scene *scene, uint64_t n)
{
	struct evr_heap_usage usage;
	struct heap_map *map = &scene->heap.own->map;
	uint64_t sum = 0;
	uint32_t i;

	evr_heap_usage(&scene->heap, &usage);
	for (i = 1; i < map->arenas_nr; i++)
		sum += map->arenas[i].data_off + map->arenas[i].data_sz - map->arenas[i].off;
	if (usage.corrupt || usage.arenas != entered(&scene->heap) + 1 || sum != grown(scene))
		fail_msg("step %llu: %u arenas, %u entered, %llu bytes of %llu, %llu corrupt",
			 (unsigned long long)n, usage.arenas, entered(&scene->heap),
			 (unsigned long long)sum, (unsigned long long)grown(scene),
			 (unsigned long long)usage.corrupt);
}

/* A child that dies before the n-th access of its growth. False: it came to the end alive. */
static bool grower_dies(struct scene *scene, uint64_t n)
{
	struct evr_peer *peer;
	struct evr_heap heap;
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		alarm(60);
		CHECK(!evr_peer_attach(&peer, scene->pair->segment, NULL));
		CHECK(!evr_heap_open(&heap, peer, "heap"));
		steps = 0;
		steps_to_live = n;
		CHECK(!evr_heap_grow(&heap, 1));
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status))
		assert_int_equal(status, 0);
	else
		assert_int_equal(WTERMSIG(status), SIGKILL);
	return WIFSIGNALED(status);
}

/* Has the segment grown, and not the heap? On the local backend it may show only later. */
static bool is_in_between(struct scene *scene)
{
	return grown(scene) && !entered(&scene->heap);
}

static void grow_killed_at_each_step_loses_nothing(void **state)
{
	uint32_t in_between = 0, before = 0, after = 0;
	struct scene scene;
	bool died = true;
	uint64_t n;

	for (n = 1; died && n < STEPS_MAX; n++) {
		scene_open(&scene);
		died = grower_dies(&scene, n);
		in_between += is_in_between(&scene);
		before += !grown(&scene);
		after += !!entered(&scene.heap);
		pair_settle(scene.pair);
		assert_all_is_the_heaps(&scene, n);
		/* Growing does not stumble over what the dead one has left. */
		assert_int_equal(evr_heap_grow(&scene.heap, 1), 0);
		assert_all_is_the_heaps(&scene, n);
		assert_true(grown(&scene) >= GROWTH);
		scene_close(&scene);
	}
	printf("# died before %llu accesses: %u times nothing had grown, %u times only the segment, %u times both\n",
	       (unsigned long long)n - 2, before, in_between, after);
	assert_true(before && in_between && after && n < STEPS_MAX);
}

/* A scene whose grower died when the segment had grown and the heap had not; unreaped. */
static void scene_open_in_between(struct scene *scene)
{
	uint64_t n;

	for (n = 1; n < STEPS_MAX; n++) {
		scene_open(scene);
		evr_reap_auto(scene->pair->peer, false);
		if (!grower_dies(scene, n))
			break;
		if (is_in_between(scene))
			return;
		scene_close(scene);
	}
	fail_msg("no step between the two");
}

static void grow_unfinished_is_adopted_by_who_opens(void **state)
{
	struct evr_heap other;
	struct scene scene;

	scene_open_in_between(&scene);
	assert_int_equal(evr_heap_open(&other, scene.pair->peer, "heap"), 0);
	assert_int_equal(entered(&scene.heap), 1);
	assert_all_is_the_heaps(&scene, 0);
	evr_heap_close(&other);
	scene_close(&scene);
}

static void grow_unfinished_is_adopted_by_who_finds_it_full(void **state)
{
	struct evr_block block;
	struct scene scene;

	scene_open_in_between(&scene);
	block = evr_heap_alloc(&scene.heap, LARGE_SZ);
	assert_non_null(block.ptr);
	memset(block.ptr, 1, LARGE_SZ);
	assert_all_is_the_heaps(&scene, 0);
	assert_int_equal(grown(&scene), GROWTH);
	scene_close(&scene);
}

static void grow_unfinished_is_adopted_by_who_grows(void **state)
{
	struct scene scene;

	scene_open_in_between(&scene);
	assert_int_equal(evr_heap_grow(&scene.heap, GROWTH + 1), 0);
	assert_int_equal(entered(&scene.heap), 2);
	assert_all_is_the_heaps(&scene, 0);
	assert_int_equal(grown(&scene), 3 * GROWTH);
	scene_close(&scene);
}

/* Wherever it died: what comes next is behind it, and the segment has all of it. */
static void grow_killed_at_each_step_is_followed_by_another(void **state)
{
	struct scene scene;
	bool died = true;
	uint64_t n, off;

	for (n = 1; died && n < STEPS_MAX; n++) {
		scene_open(&scene);
		evr_reap_auto(scene.pair->peer, false);
		died = grower_dies(&scene, n);
		assert_int_equal(evr_segment_grow(scene.pair->segment, 1, &off), 0);
		assert_int_equal(segment_sz(&scene), off + GROWTH);
		assert_non_null(evr_peer_at(scene.pair->peer, off, GROWTH));
		pair_settle(scene.pair);
		assert_int_equal(grown(&scene), (entered(&scene.heap) + 1) * GROWTH);
		scene_close(&scene);
	}
}

/* Who only looks, and who may not write, changes nothing. */
static void grow_unfinished_is_left_by_observers_and_previews(void **state)
{
	struct evr_peer_options options = { .struct_sz = sizeof(options),
					    .flags = EVR_PEER_OBSERVER };
	struct evr_reap_report report;
	struct evr_peer *observer;
	struct evr_heap view;
	struct scene scene;

	scene_open_in_between(&scene);
	assert_int_equal(evr_peer_attach(&observer, scene.pair->segment, &options), 0);
	assert_int_equal(evr_heap_open(&view, observer, "heap"), 0);
	assert_int_equal(evr_heap_grow(&view, 1), -EROFS);
	evr_heap_close(&view);
	evr_peer_detach(observer);
	assert_true(evr_reap_preview(scene.pair->peer, &report) >= 0);
	assert_int_equal(entered(&scene.heap), 0);
	pair_settle(scene.pair);
	assert_int_equal(entered(&scene.heap), 1);
	scene_close(&scene);
}

/* What another does while a grower stands still. */
struct other {
	struct evr_peer *peer;
	struct evr_heap heap;
	struct evr_block block;
	bool grows;
};

static void other_turn(void *arg)
{
	struct other *other = arg;
	struct evr_heap again;

	if (other->grows) {
		assert_int_equal(evr_heap_grow(&other->heap, 1), 0);
	} else {
		/* Adopts, if there is anything, and uses it at once. */
		assert_int_equal(evr_heap_open(&again, other->peer, "heap"), 0);
		evr_heap_close(&again);
	}
	other->block = evr_heap_alloc(&other->heap, LARGE_SZ);
	if (other->block.ptr)
		memset(other->block.ptr, 0x5a, LARGE_SZ);
}

/* Return: did the other one have a turn? */
static bool grow_with_turn(uint64_t n, bool grows, uint32_t *blocks)
{
	struct other other = { .grows = grows };
	struct evr_block_info info;
	struct scene scene;
	uint64_t i;
	bool turned;

	scene_open(&scene);
	assert_int_equal(evr_peer_attach(&other.peer, scene.pair->segment, NULL), 0);
	assert_int_equal(evr_heap_open(&other.heap, other.peer, "heap"), 0);
	steps_turn = other_turn;
	steps_arg = &other;
	steps_to_live = n;
	steps = 0;
	assert_int_equal(evr_heap_grow(&scene.heap, 1), 0);
	turned = steps >= n;
	steps_to_live = 0;
	steps_turn = NULL;
	assert_all_is_the_heaps(&scene, n);
	assert_int_equal(entered(&scene.heap), 1 + (grows && turned));
	assert_int_equal(grown(&scene), entered(&scene.heap) * GROWTH);
	if (other.block.ptr) {
		++*blocks;
		assert_int_equal(evr_heap_info(&scene.heap, other.block.handle, &info), 0);
		assert_int_equal(info.state, EVR_BLOCK_LIVE);
		for (i = 0; i < LARGE_SZ; i++)
			assert_int_equal(((unsigned char *)other.block.ptr)[i], 0x5a);
		assert_int_equal(evr_heap_free(&other.heap, other.block.handle), 0);
	}
	evr_heap_close(&other.heap);
	evr_peer_detach(other.peer);
	scene_close(&scene);
	return turned;
}

static void grow_slow_is_overtaken_at_each_step_and_enters_once(void **state)
{
	uint32_t blocks = 0;
	uint64_t n = 1;

	while (grow_with_turn(n, false, &blocks))
		assert_true(++n < STEPS_MAX);
	printf("# overtaken before %llu accesses, used %u times\n", (unsigned long long)n - 1,
	       blocks);
	assert_true(blocks);
}

static void grow_two_at_once_each_get_theirs(void **state)
{
	uint32_t blocks = 0;
	uint64_t n = 1;

	while (grow_with_turn(n, true, &blocks))
		assert_true(++n < STEPS_MAX);
	/* Who has grown has room. */
	assert_int_equal(blocks, n - 1);
}

/* Memory that is for something else, or for nothing that is known. */
static void grow_of_others_is_not_adopted(void **state)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options), .sz = HEAP_SZ };
	struct evr_growth growth = { .sz = 1 };
	struct evr_segment *segment;
	struct evr_object object;
	struct evr_heap again;
	struct scene scene;
	uint64_t off, tag;

	scene_open(&scene);
	segment = scene.pair->segment;
	/* The entry has had another heap before. */
	evr_heap_close(&scene.heap);
	assert_int_equal(evr_dir_find(scene.pair->peer, "heap", &object), 0);
	assert_int_equal(evr_dir_remove(scene.pair->peer, &object), 0);
	assert_int_equal(evr_heap_create(scene.pair->peer, "heap", &options), 0);
	assert_int_equal(evr_heap_open(&scene.heap, scene.pair->peer, "heap"), 0);
	assert_int_equal(scene.heap.own->map.object.idx, object.idx);
	assert_int_equal(evr_segment_grow_for(
				 segment, (uint64_t)object.gen << 13 | (object.idx + 1), &growth),
			 0);
	tag = (uint64_t)scene.heap.own->map.object.gen << 13 | (scene.heap.own->map.object.idx + 1);
	assert_int_equal(evr_segment_grow(segment, 1, &off), 0);
	assert_int_equal(evr_segment_grow_for(segment, tag + 1, &growth), 0);
	assert_int_equal(evr_segment_grow_for(segment, tag + (1 << 13), &growth), 0);
	assert_int_equal(evr_heap_open(&again, scene.pair->peer, "heap"), 0);
	assert_int_equal(entered(&scene.heap), 0);
	evr_heap_close(&again);
	/* This one is. */
	assert_int_equal(evr_segment_grow_for(segment, tag, &growth), 0);
	assert_int_equal(evr_heap_open(&again, scene.pair->peer, "heap"), 0);
	assert_int_equal(entered(&scene.heap), 1);
	assert_int_equal(scene.heap.own->map.arenas_nr, 1);
	evr_heap_close(&again);
	assert_non_null(evr_heap_alloc(&scene.heap, LARGE_SZ).ptr);
	assert_int_equal(scene.heap.own->map.arenas[1].off, growth.off);
	scene_close(&scene);
}

static void grow_limits_are_exact(void **state)
{
	struct evr_peer_options options = { .struct_sz = sizeof(options),
					    .reserve_sz = 2 * GROWTH };
	struct evr_heap tight;
	struct evr_peer *peer;
	struct scene scene;
	uint32_t i;

	scene_open(&scene);
	assert_int_equal(evr_heap_grow(&scene.heap, 0), -EINVAL);
	assert_int_equal(evr_heap_grow(&scene.heap, (512ULL << 30) + 1), -EINVAL);
	assert_int_equal(evr_heap_grow(&scene.heap, UINT64_MAX), -EINVAL);
	assert_int_equal(grown(&scene), 0);
	assert_int_equal(evr_peer_attach(&peer, scene.pair->segment, &options), 0);
	assert_int_equal(evr_heap_open(&tight, peer, "heap"), 0);
	assert_int_equal(evr_heap_grow(&tight, 2 * GROWTH + 1), -ERANGE);
	assert_int_equal(grown(&scene), 0);
	assert_int_equal(evr_heap_grow(&tight, 2 * GROWTH), 0);
	assert_int_equal(evr_heap_grow(&tight, 1), -ERANGE);
	assert_int_equal(grown(&scene), 2 * GROWTH);
	for (i = 2; i < EVR_HEAP_ARENAS_MAX; i++)
		assert_int_equal(evr_heap_grow(&scene.heap, GROWTH), 0);
	assert_all_is_the_heaps(&scene, 0);
	assert_int_equal(grown(&scene), EVR_HEAP_ARENAS_MAX * GROWTH);
	assert_int_equal(evr_heap_grow(&scene.heap, 1), -ENOSPC);
	assert_int_equal(grown(&scene), EVR_HEAP_ARENAS_MAX * GROWTH);
	evr_heap_close(&tight);
	evr_peer_detach(peer);
	scene_close(&scene);
}

static void open_local(struct scene *scene)
{
	if (strcmp(pair_uri(), "local:"))
		skip();
	scene_open(scene);
}

/* Beyond its log a segment grows as before; only tags are not found any more. */
static void grow_beyond_the_log_is_without_gap(void **state)
{
	struct evr_growth growth = { .sz = 1 };
	struct evr_heap again;
	struct scene scene;
	uint64_t off, i;

	open_local(&scene);
	for (i = 0; i < LOCAL_GROWTHS_MAX + 2; i++) {
		assert_int_equal(evr_segment_grow(scene.pair->segment, 1, &off), 0);
		assert_int_equal(off, scene.segment_sz + i * GROWTH);
	}
	assert_int_equal(evr_segment_grow_for(scene.pair->segment,
					      scene.heap.own->map.object.idx + 1, &growth),
			 0);
	assert_int_equal(evr_heap_open(&again, scene.pair->peer, "heap"), 0);
	assert_int_equal(entered(&scene.heap), 0);
	assert_int_equal(evr_heap_grow(&again, 1), 0);
	assert_int_equal(entered(&scene.heap), 1);
	assert_int_equal(segment_sz(&scene), growth.off + 2 * GROWTH);
	evr_heap_close(&again);
	scene_close(&scene);
}

/* A log that is nonsense: refused, and not followed. */
static void grow_corrupt_log_is_refused(void **state)
{
	/* No blocks, and more than any file has. (Of a number that may be, nobody can tell.) */
	static const uint64_t words[] = { 1, (1ULL << 45) - 1, UINT64_MAX << 13, 1ULL << 63 };
	struct evr_heap again;
	struct scene scene;
	uint64_t off, sz;
	size_t i;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		open_local(&scene);
		sz = segment_sz(&scene);
		assert_int_equal(pwrite(evr_segment_fd(scene.pair->segment), &words[i], 8,
					LOCAL_GROWTHS_OFF),
				 8);
		assert_int_equal(evr_heap_open(&again, scene.pair->peer, "heap"), 0);
		assert_int_equal(entered(&scene.heap), 0);
		evr_heap_close(&again);
		assert_int_equal(evr_segment_grow(scene.pair->segment, 1, &off), -EBADMSG);
		assert_int_equal(off, 0);
		assert_int_equal(segment_sz(&scene), sz);
		scene_close(&scene);
	}
}

static void grow_tag_that_no_log_holds_is_refused(void **state)
{
	static const uint64_t tags[] = { 1 << 13, 1ULL << 45, 1ULL << 45 | 1, UINT64_MAX };
	struct evr_growth growth = { .sz = 1 };
	struct scene scene;
	size_t i;

	open_local(&scene);
	for (i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
		assert_int_equal(evr_segment_grow_for(scene.pair->segment, tags[i], &growth),
				 -EINVAL);
	assert_int_equal(evr_segment_grow_for(scene.pair->segment, (1ULL << 45) - 1, &growth), 0);
	growth.sz = GROWTH << 19;
	assert_int_equal(evr_segment_grow_for(scene.pair->segment, 1, &growth), -EINVAL);
	assert_int_equal(grown(&scene), GROWTH);
	scene_close(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grow_killed_at_each_step_loses_nothing),
		cmocka_unit_test(grow_unfinished_is_adopted_by_who_opens),
		cmocka_unit_test(grow_unfinished_is_adopted_by_who_finds_it_full),
		cmocka_unit_test(grow_unfinished_is_adopted_by_who_grows),
		cmocka_unit_test(grow_killed_at_each_step_is_followed_by_another),
		cmocka_unit_test(grow_unfinished_is_left_by_observers_and_previews),
		cmocka_unit_test(grow_slow_is_overtaken_at_each_step_and_enters_once),
		cmocka_unit_test(grow_two_at_once_each_get_theirs),
		cmocka_unit_test(grow_of_others_is_not_adopted),
		cmocka_unit_test(grow_limits_are_exact),
		cmocka_unit_test(grow_beyond_the_log_is_without_gap),
		cmocka_unit_test(grow_corrupt_log_is_refused),
		cmocka_unit_test(grow_tag_that_no_log_holds_is_refused),
	};

	return cmocka_run_group_tests_name("heap_grow", tests, NULL, NULL);
}
