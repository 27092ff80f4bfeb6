/* SPDX-License-Identifier: MIT */
/*
 * Objects as they are seen from outside: numbers of each kind, what is held, hostile words;
 * and that a preview of a reap finds what the reap does, and changes nothing. The command
 * line's tests look at processes that are stopped.
 *
 * Mutants seen to fail here: owner words of a channel not swapped (object_channel_*), the
 * position of a claim without its lap (object_queue_*), the copy shared (object_preview_*).
 */
#include "pair.h"

#include <sys/mman.h>

static struct evr_object find(struct evr_peer *peer, const char *name)
{
	struct evr_object object;

	assert_int_equal(evr_dir_find(peer, name, &object), 0);
	return object;
}

static struct evr_object_stat stat_of(struct evr_peer *peer, const char *name)
{
	struct evr_object object = find(peer, name);
	struct evr_object_stat stat;

	memset(&stat, 0xee, sizeof(stat));
	assert_int_equal(evr_object_stat(peer, &object, &stat), 0);
	return stat;
}

/* All that is held of an object, up to a limit. */
struct held {
	struct evr_holding holdings[32];
	int nr, stop_at;
};

static int note(const struct evr_holding *holding, void *arg)
{
	struct held *held = arg;

	assert_true(held->nr < 32);
	held->holdings[held->nr++] = *holding;
	return held->nr == held->stop_at ? 77 : 0;
}

static struct held held_of(struct evr_peer *peer, const char *name)
{
	struct evr_object object = find(peer, name);
	struct held held = { .nr = 0 };

	assert_int_equal(evr_object_held(peer, &object, note, &held), 0);
	return held;
}

/* An observer, as a monitor has one: of the same segment, by its fd. */
static struct evr_peer *watch(struct pair *pair)
{
	struct evr_peer_options options = { .struct_sz = sizeof(options),
					    .flags = EVR_PEER_OBSERVER };
	struct evr_peer *peer;

	assert_int_equal(evr_peer_attach(&peer, pair->segment, &options), 0);
	return peer;
}

static void object_lane_tells_both_ends(void **state)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options), .capacity = 8 };
	struct pair *pair = *state;
	struct evr_peer *eye = watch(pair);
	struct evr_peer_id self = evr_peer_self(pair->peer);
	uint64_t numbers[8] = { 0 };
	struct evr_object_stat stat;
	struct evr_spsc in, out;

	assert_int_equal(evr_spsc_create(pair->peer, "r", &options), 0);
	stat = stat_of(eye, "r");
	assert_true(stat.flows_nr == 1 && stat.flows[0].capacity == 8 &&
		    stat.flows[0].unit_sz == 8);
	assert_int_equal(stat.flows[0].ends[EVR_PRODUCER].state, EVR_END_NONE);
	assert_int_equal(stat.flows[0].ends[EVR_PRODUCER].holder.slot, EVR_SLOT_ANY);
	assert_int_equal(evr_spsc_open(&in, pair->peer, "r", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_open(&out, pair->peer, "r", EVR_CONSUMER, 0), 0);
	assert_int_equal(evr_spsc_push(&in, numbers, 7), 7);
	assert_int_equal(evr_spsc_pop(&out, numbers, 3), 3);
	evr_spsc_close(&out);
	stat = stat_of(eye, "r");
	assert_int_equal(stat.flows[0].ends[EVR_PRODUCER].pos, 7);
	assert_int_equal(stat.flows[0].ends[EVR_PRODUCER].messages, 7);
	assert_int_equal(stat.flows[0].ends[EVR_PRODUCER].state, EVR_END_HELD);
	assert_int_equal(stat.flows[0].ends[EVR_PRODUCER].holder.slot, self.slot);
	assert_int_equal(stat.flows[0].ends[EVR_PRODUCER].holder.incarnation, self.incarnation);
	assert_int_equal(stat.flows[0].ends[EVR_CONSUMER].pos, 3);
	assert_int_equal(stat.flows[0].ends[EVR_CONSUMER].state, EVR_END_CLOSED);
	assert_int_equal(held_of(eye, "r").nr, 1);
	assert_true(evr_holding_is_of(&held_of(eye, "r").holdings[0], self));
	self.incarnation++;
	assert_false(evr_holding_is_of(&held_of(eye, "r").holdings[0], self));
	evr_spsc_close(&in);
	assert_int_equal(held_of(eye, "r").nr, 0);
	evr_peer_detach(eye);
}

static void object_slots_count_what_is_stamped(void **state)
{
	struct evr_slots_options options = { .struct_sz = sizeof(options), .capacity = 4 };
	struct pair *pair = *state;
	struct evr_slots in, out;
	struct evr_object_stat stat;
	uint32_t sz;
	int i;

	assert_int_equal(evr_slots_create(pair->peer, "s", &options), 0);
	assert_int_equal(evr_slots_open(&in, pair->peer, "s", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_slots_open(&out, pair->peer, "s", EVR_CONSUMER, 0), 0);
	/* Several laps: stamps of former ones are there too. */
	for (i = 0; i < 11; i++) {
		assert_true(evr_slots_push(&in, "x", 1));
		assert_non_null(evr_slots_peek(&out, &sz));
		assert_true(evr_slots_release(&out));
	}
	evr_slots_flush(&out);
	assert_true(evr_slots_push(&in, "x", 1) && evr_slots_push(&in, "y", 1));
	stat = stat_of(pair->peer, "s");
	assert_int_equal(stat.flows[0].ends[EVR_PRODUCER].pos, 13);
	assert_int_equal(stat.flows[0].ends[EVR_CONSUMER].pos, 11);
	evr_slots_close(&in);
	evr_slots_close(&out);
}

static void object_queue_tells_whose_claims_there_are(void **state)
{
	struct evr_mpmc_options options = { .struct_sz = sizeof(options),
					    .capacity = 4,
					    .elem_sz = 24 };
	struct pair *pair = *state;
	uint8_t elems[4 * 24] = { 0 };
	struct evr_object_stat stat;
	struct evr_mpmc queue;
	struct held held;
	int i;

	assert_int_equal(evr_mpmc_create(pair->peer, "q", &options), 0);
	assert_int_equal(evr_mpmc_open(&queue, pair->peer, "q", 0), 0);
	for (i = 0; i < 9; i++) {
		assert_int_equal(evr_mpmc_push(&queue, elems, 1), 1);
		assert_int_equal(evr_mpmc_pop(&queue, elems, 1), 1);
	}
	assert_int_equal(evr_mpmc_push(&queue, elems, 2), 2);
	assert_non_null(evr_mpmc_peek(&queue));
	assert_non_null(evr_mpmc_reserve(&queue));
	stat = stat_of(pair->peer, "q");
	assert_int_equal(stat.flows[0].ends[EVR_PRODUCER].pos, 12);
	assert_int_equal(stat.flows[0].ends[EVR_CONSUMER].pos, 10);
	assert_int_equal(stat.flows[0].ends[EVR_PRODUCER].state, EVR_END_MANY);
	assert_int_equal(stat.members, 1);
	held = held_of(pair->peer, "q");
	assert_int_equal(held.nr, 3);
	assert_int_equal(held.holdings[0].what, EVR_HOLD_USE);
	/* Position 9 is cell 1, position 11 cell 3. */
	assert_true(held.holdings[1].what == EVR_HOLD_CLAIM && held.holdings[1].id == 9 &&
		    held.holdings[1].role == EVR_CONSUMER);
	assert_true(held.holdings[2].what == EVR_HOLD_CLAIM && held.holdings[2].id == 11 &&
		    held.holdings[2].role == EVR_PRODUCER && held.holdings[2].bytes == 24);
	for (i = 0; i < 3; i++)
		assert_true(evr_holding_is_of(&held.holdings[i], evr_peer_self(pair->peer)));
	evr_mpmc_close(&queue);
}

static void object_channel_has_two_flows(void **state)
{
	struct pair *pair = *state;
	struct evr_channel a, b;
	struct evr_object_stat stat;
	struct evr_message m;
	int i;

	assert_int_equal(evr_channel_create(pair->peer, "c", NULL), 0);
	assert_int_equal(evr_channel_open(&b, pair->peer, "c", EVR_CHANNEL_B, 0), 0);
	stat = stat_of(pair->peer, "c");
	assert_int_equal(stat.flows[0].ends[EVR_PRODUCER].state, EVR_END_NONE);
	assert_int_equal(stat.flows[0].ends[EVR_CONSUMER].state, EVR_END_HELD);
	assert_int_equal(stat.flows[1].ends[EVR_PRODUCER].state, EVR_END_HELD);
	assert_int_equal(evr_channel_open(&a, pair->peer, "c", EVR_CHANNEL_A, 0), 0);
	/* Each enters the session when it sees the other in it. */
	for (i = 0; i < 3; i++) {
		evr_channel_state(&a);
		evr_channel_state(&b);
	}
	assert_int_equal(evr_channel_state(&a), EVR_RING_OK);
	assert_int_equal(evr_channel_send(&a, "x", 1, 0), 0);
	assert_int_equal(evr_channel_send(&b, "x", 1, 0), 0);
	assert_int_equal(evr_channel_send(&b, "x", 1, 0), 0);
	assert_int_equal(evr_channel_recv(&a, &m), 0);
	evr_channel_release(&a, &m);
	stat = stat_of(pair->peer, "c");
	assert_int_equal(stat.flows_nr, 2);
	assert_int_equal(stat.flows[0].ends[EVR_PRODUCER].messages, 1);
	assert_int_equal(stat.flows[0].ends[EVR_CONSUMER].messages, 0);
	assert_int_equal(stat.flows[1].ends[EVR_PRODUCER].messages, 2);
	assert_int_equal(stat.flows[1].ends[EVR_CONSUMER].messages, 1);
	assert_int_equal(held_of(pair->peer, "c").nr, 2);
	evr_channel_close(&a);
	evr_channel_close(&b);
}

static void object_of_own_kind_has_no_numbers(void **state)
{
	struct pair *pair = *state;
	struct evr_object object;
	struct evr_object_stat stat;

	assert_int_equal(evr_dir_create(pair->peer, "u", EVR_KIND_USER + 5, 100, &object), 0);
	assert_int_equal(evr_dir_publish(pair->peer, &object), 0);
	memset(&stat, 0xee, sizeof(stat));
	assert_int_equal(evr_object_stat(pair->peer, &object, &stat), -EOPNOTSUPP);
	assert_true(!stat.flows_nr && !stat.bytes);
	assert_int_equal(held_of(pair->peer, "u").nr, 0);
	assert_string_equal(evr_kind_name(object.kind), "user");
	assert_string_equal(evr_kind_name(EVR_KIND_HEAP), "heap");
	assert_string_equal(evr_kind_name(EVR_KIND_USER - 1), "unknown");
	assert_string_equal(evr_end_state_name(EVR_END_MANY + 1), "unknown");
	assert_string_equal(evr_hold_name(EVR_HOLD_USE), "use");
	object.slot = 3;
	assert_int_equal(evr_object_held(pair->peer, &object, note, NULL), -EINVAL);
}

static const char *const names[] = { "r", "s", "b", "q", "l", "c", "h", "p", "i" };

static void make_all(struct evr_peer *peer)
{
	struct evr_heap_options heap = { .struct_sz = sizeof(heap), .sz = 64 << 10 };
	struct evr_pool_options pool = { .struct_sz = sizeof(pool), .classes = { { 64, 4 } } };
	struct evr_bytes_options bytes = { .struct_sz = sizeof(bytes), .capacity = 1024 };
	struct evr_log_options log = { .struct_sz = sizeof(log),
				       .capacity = 1024,
				       .record_max = 100 };

	assert_int_equal(evr_spsc_create(peer, "r", NULL), 0);
	assert_int_equal(evr_slots_create(peer, "s", NULL), 0);
	assert_int_equal(evr_bytes_create(peer, "b", &bytes), 0);
	assert_int_equal(evr_mpmc_create(peer, "q", NULL), 0);
	assert_int_equal(evr_log_create(peer, "l", &log), 0);
	assert_int_equal(evr_channel_create(peer, "c", NULL), 0);
	assert_int_equal(evr_heap_create(peer, "h", &heap), 0);
	assert_int_equal(evr_pool_create(peer, "p", &pool), 0);
	assert_int_equal(evr_inbox_create(peer, "i", NULL), 0);
}

static int count_only(const struct evr_holding *holding, void *arg)
{
	(void)holding;
	++*(uint64_t *)arg;
	return 0;
}

/* Each word of each object turned into nonsense: an answer or an error, and never more than there can be. */
static void object_hostile_words_are_only_numbers(void **state)
{
	static const uint64_t nonsense[] = { 0, UINT64_MAX, 1ULL << 63, 0x0101010101010101 };
	struct pair *pair = *state;
	struct evr_object_stat stat;
	struct evr_object object;
	uint64_t *words, was, nr;
	uint64_t i, n;
	size_t k;

	make_all(pair->peer);
	for (k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
		object = find(pair->peer, names[k]);
		words = evr_peer_at(pair->peer, object.off, object.sz);
		n = object.sz / 8 < 600 ? object.sz / 8 : 600;
		for (i = 0; i < n * 4; i++) {
			was = words[i / 4];
			words[i / 4] = nonsense[i % 4];
			nr = 0;
			evr_object_stat(pair->peer, &object, &stat);
			assert_true(stat.flows_nr <= 2);
			evr_object_held(pair->peer, &object, count_only, &nr);
			assert_true(nr <= object.sz / 8);
			words[i / 4] = was;
		}
		assert_int_equal(evr_object_stat(pair->peer, &object, &stat), 0);
	}
}

static void object_walk_ends_when_told(void **state)
{
	struct pair *pair = *state;
	struct held held = { .stop_at = 2 };
	struct evr_object object;
	struct evr_block block;
	struct evr_heap heap;
	int i;

	make_all(pair->peer);
	assert_int_equal(evr_heap_open(&heap, pair->peer, "h"), 0);
	for (i = 0; i < 3; i++) {
		block = evr_heap_alloc(&heap, 100);
		assert_non_null(block.ptr);
	}
	object = find(pair->peer, "h");
	assert_int_equal(evr_object_held(pair->peer, &object, note, &held), 77);
	assert_int_equal(held.nr, 2);
	assert_int_equal(held_of(pair->peer, "h").nr, 4);
	evr_heap_close(&heap);
}

/* Something of everything, and then it dies. */
static void die_holding(struct evr_peer *peer, void *arg)
{
	struct evr_peer_id other = *(struct evr_peer_id *)arg;
	uint8_t elem[8] = { 0 };
	struct evr_object object;
	struct evr_block block;
	struct evr_mpmc queue;
	struct evr_spsc ring;
	struct evr_heap heap;
	struct evr_pool pool;
	struct evr_log log;

	CHECK(!evr_spsc_open(&ring, peer, "r", EVR_PRODUCER, 0));
	CHECK(!evr_mpmc_open(&queue, peer, "q", 0) && evr_mpmc_push(&queue, elem, 1) == 1);
	CHECK(evr_mpmc_reserve(&queue) && evr_mpmc_peek(&queue));
	CHECK(!evr_log_open(&log, peer, "l", EVR_PRODUCER) && evr_log_reserve(&log, 100));
	CHECK(!evr_heap_open(&heap, peer, "h") && evr_heap_alloc(&heap, 100).ptr);
	block = evr_heap_alloc(&heap, 100);
	CHECK(block.ptr && !evr_heap_transfer(&heap, block.handle, other));
	CHECK(!evr_pool_open(&pool, peer, "p") && !evr_pool_alloc(&pool, 64, &block));
	CHECK(!evr_dir_create(peer, "half", EVR_KIND_USER, 1000, &object));
	raise(SIGKILL);
}

static void object_preview_finds_what_the_reap_does(void **state)
{
	struct pair *pair = *state;
	struct evr_peer_id self = evr_peer_self(pair->peer);
	struct evr_reap_report before = { 0 }, again = { 0 }, after = { 0 };
	struct evr_segment_info info;
	struct evr_peer *eye;
	void *all, *copy;
	int status;
	pid_t pid;

	make_all(pair->peer);
	eye = watch(pair);
	evr_reap_auto(pair->peer, false);
	assert_int_equal(evr_reap_preview(eye, &before), 0);
	assert_int_equal(before.blocks + before.sides + before.claims + before.objects, 0);
	pid = pair_fork(pair, die_holding, &self);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	while (evr_reap_preview(eye, &before) == 0)
		evr_peer_check(pair->peer);
	assert_int_equal(evr_segment_info(pair->segment, &info), 0);
	all = evr_peer_at(pair->peer, info.shared_off, info.shared_sz);
	copy = malloc(info.shared_sz);
	assert_non_null(copy);
	memcpy(copy, all, info.shared_sz);
	assert_int_equal(evr_reap_preview(eye, &again), 1);
	assert_memory_equal(copy, all, info.shared_sz);
	free(copy);
	assert_memory_equal(&again, &before, sizeof(again));
	assert_int_equal(before.sides, 1);
	assert_int_equal(before.objects, 1);
	assert_int_equal(before.claims, 1 + 1 + 2);
	assert_int_equal(before.blocks, 1 + 1);
	assert_int_equal(evr_reap_dead(pair->peer, &after), 1);
	assert_memory_equal(&after, &before, sizeof(after));
	assert_int_equal(evr_reap_preview(eye, &before), 0);
	assert_int_equal(before.blocks + before.sides + before.claims + before.objects, 0);
	evr_peer_detach(eye);
}

/* A monitor attaches by its own way, and leaves the file as it was. */
static void object_observer_takes_no_slot_and_writes_nothing(void **state)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = 1 << 20,
					       .peers_max = 1 };
	struct evr_peer_options observe = { .struct_sz = sizeof(observe),
					    .flags = EVR_PEER_OBSERVER };
	struct evr_segment *segment, *seen;
	struct evr_peer *peer, *eye;
	struct evr_peer_info infos[4];
	struct evr_object object;
	char uri[64];

	(void)state;
	/* The device gives it a slot, and there is one only. */
	options.peers_max = strcmp(pair_uri(), "local:") ? 2 : 1;
	snprintf(uri, sizeof(uri), "%sobject-%d", pair_uri(), (int)getpid());
	assert_int_equal(evr_segment_create(&segment, uri, &options), 0);
	assert_int_equal(evr_peer_attach(&peer, segment, NULL), 0);
	assert_int_equal(evr_spsc_create(peer, "r", NULL), 0);
	assert_int_equal(evr_segment_open_observer(&seen, uri), 0);
	assert_int_equal(evr_peer_attach(&eye, seen, NULL), -EACCES);
	assert_int_equal(evr_peer_attach(&eye, seen, &observe), 0);
	assert_int_equal(evr_peer_rights(eye) & EVR_RIGHT_WRITE, 0);
	assert_int_equal(evr_dir_find(eye, "r", &object), 0);
	assert_int_equal(evr_peer_list(peer, infos, 4), options.peers_max);
	evr_peer_detach(eye);
	evr_segment_close(seen);
	evr_peer_detach(peer);
	evr_segment_close(segment);
	assert_int_equal(evr_segment_open_observer(&seen, uri), -ENOENT);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, pair_open, pair_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(object_lane_tells_both_ends),
		CASE(object_slots_count_what_is_stamped),
		CASE(object_queue_tells_whose_claims_there_are),
		CASE(object_channel_has_two_flows),
		CASE(object_of_own_kind_has_no_numbers),
		CASE(object_hostile_words_are_only_numbers),
		CASE(object_walk_ends_when_told),
		CASE(object_preview_finds_what_the_reap_does),
		CASE(object_observer_takes_no_slot_and_writes_nothing),
	};

	return cmocka_run_group_tests_name("object", tests, NULL, NULL);
}
