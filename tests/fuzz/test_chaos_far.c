/* SPDX-License-Identifier: MIT */
/*
 * The hostile peer of an isolated segment: before accesses of the library it makes any word of
 * its own region another, of its objects and of its directory, while two honest peers use what
 * they have with it and with each other. It may get from them nothing, cost them what they have
 * with it, and keep them as long as patience lasts; what they say to each other arrives, once, in
 * order, and nobody writes into its region. Also under ASan and UBSan.
 *
 * Mutants seen to fail here: a subscriber that stands still and is not put out
 * (chaos_far_subscriber), a place in a broadcast that is not cut to its memory (chaos_far_writer),
 * a position that is not compared with the span (chaos_far_sender), a block on loan whose size is
 * believed (chaos_far_end).
 */
#include "steps.h"

#include "liar.h"

#include "pair.h"

#include "backend.h"
#include "dir.h"

#define PEER_SZ (64U << 10)
#define PEERS 4
#define CAPACITY 8
#define ACTS 24
#define WORDS 128 /* of an object that are made lies of by themselves: its words of state */
#define ROUNDS (8 * WORDS)
/* Against hangs; whoever is in the way is put out long before. */
#define PATIENCE_NS 20000000000ULL

/* Ours are the writer, the receiver, end A; a friend's the other ends that are honest. */
static struct scene {
	struct pair *pair;
	struct evr_peer *us, *friend, *other;
	struct tour tour; /* ours */
	uint64_t copy[PEER_SZ / 8];
} scene;

static int scene_open(void **state)
{
	if (pair_open_isolated(state, PEER_SZ, PEERS))
		return -1;
	scene.pair = *state;
	scene.us = scene.pair->peer;
	scene.tour.peer = scene.us;
	liar = (struct liar){ 0 };
	alarm(600);
	return evr_peer_attach(&scene.friend, scene.pair->segment, NULL) ||
	       evr_waiter_init(&scene.tour.waiter, scene.us, EVR_WAIT_SLEEP);
}

static int scene_close(void **state)
{
	evr_waiter_fini(&scene.tour.waiter);
	evr_peer_detach(scene.friend);
	return pair_close(state);
}

static uint64_t *region_of(struct evr_peer *peer)
{
	return evr_peer_at(peer,
			   evr_layout_region(&scene.pair->segment->layout,
					     evr_peer_self(peer).slot),
			   PEER_SZ);
}

/* Another peer, which tells the truth until it begins. */
static void liar_comes(uint64_t seed)
{
	liar.seed = scene.tour.seed = seed * 0x9e3779b97f4a7c15ULL + 1;
	liar.steps = 0;
	assert_int_equal(evr_peer_attach(&scene.other, scene.pair->segment, NULL), 0);
}

/* Of the words of an object one after the other; each second time of those that begin a line, as positions do. */
static uint32_t still_at(uint64_t seed)
{
	uint32_t nr = (uint32_t)(seed / 4);

	return seed / 2 % 2 ? nr % WORDS : nr * EVR_LINE_SZ / 8 % WORDS;
}

/* Half of the time they have met before it lies, whichever word it is. */
static bool have_met(uint64_t seed)
{
	return seed / (4 * WORDS) % 2;
}

/*
 * From here on it lies: in this object of its own, or anywhere from its directory to the end of
 * that; at some pace, or once, of one word after the other, and then it stands still.
 */
static void liar_begins(uint64_t seed, const char *name)
{
	static const uint32_t paces[] = { 300, 40, 5, 1 };
	uint64_t *region = region_of(scene.other), first = 0;
	struct evr_object object;

	assert_true(evr_dir_find_in(scene.other, evr_peer_self(scene.other), name, &object));
	memcpy(scene.copy, region, PEER_SZ);
	object.off -= (uint64_t)evr_peer_off(scene.other, region);
	if (seed % 2 || seed / 8 % 2)
		first = object.off / 8;
	liar.words = region + first;
	liar.copy = scene.copy + first;
	liar.nr = (uint32_t)((object.off + object.sz) / 8 - first);
	liar.every = seed % 2 ? 0 : paces[seed / 2 % 4];
	if (!liar.every)
		liar_lies(still_at(seed) % liar.nr);
}

/* It is silent, and nobody else has written where it may write alone. */
static void liar_ends(void)
{
	liar.every = 0;
	assert_memory_equal(region_of(scene.other), scene.copy, PEER_SZ);
	liar.steps = 0;
}

static void liar_leaves(void)
{
	evr_peer_detach(scene.other);
	pair_settle_dead(scene.us);
}

/* --- a broadcast of ours; it is one of two subscribers --- */

static struct {
	struct evr_bcast out, in;
	uint64_t sent, got;
} cast;

static void cast_read(void)
{
	uint64_t elems[CAPACITY];
	uint32_t i, nr;

	while ((nr = evr_bcast_pop(&cast.in, elems, CAPACITY)) > 0)
		for (i = 0; i < nr; i++)
			assert_true(elems[i] == cast.got++);
	assert_true(evr_bcast_lost(&cast.in) == 0);
}

/* What is pushed goes in, whatever the liar says of where it is. */
static void cast_write(uint32_t nr)
{
	uint64_t elems[CAPACITY];
	uint32_t i;

	for (i = 0; i < nr; i++)
		elems[i] = cast.sent + i;
	cast_read();
	assert_int_equal(evr_bcast_push_wait(&cast.out, &scene.tour.waiter, elems, nr,
					     evr_now_ns() + PATIENCE_NS),
			 nr);
	cast.sent += nr;
}

static void chaos_far_subscriber(void **state)
{
	struct evr_bcast_options options = { .struct_sz = sizeof(options),
					     .capacity = CAPACITY,
					     .elem_sz = 8,
					     .seats = 2 };
	struct evr_peer_id self = evr_peer_self(scene.us);
	struct evr_bcast_counts counts;
	struct evr_bcast seat;
	uint64_t seed, i;
	char name[16];

	(void)state;
	memset(&cast, 0, sizeof(cast));
	snprintf(name, sizeof(name), "b.%u", self.slot);
	assert_int_equal(evr_bcast_create(scene.us, "b", &options), 0);
	assert_int_equal(evr_bcast_open_sized(&cast.out, scene.us, "b", EVR_PRODUCER, 0, 8), 0);
	assert_int_equal(evr_bcast_subscribe(&cast.in, scene.friend, "b", &self, 0, 8), 0);
	for (seed = 1; seed <= rounds(ROUNDS); seed++) {
		liar_comes(seed);
		assert_int_equal(evr_bcast_subscribe(&seat, scene.other, "b", &self, 0, 8), 0);
		evr_bcast_patience(&cast.out, EVR_NO_DEADLINE);
		/* Half of the time it was seen there, and has begun. */
		for (i = 0; i < PEERS * have_met(seed); i++)
			cast_write(1);
		evr_bcast_patience(&cast.out, 1);
		liar_begins(seed, name);
		for (i = 0; i < ACTS; i++) {
			cast_write(1 + (uint32_t)(tour_random(&scene.tour.seed) >> 16) % CAPACITY);
			evr_bcast_counts(&cast.out, &counts);
		}
		cast_read();
		assert_true(cast.got == cast.sent);
		assert_true(evr_bcast_state(&cast.in) == EVR_RING_OK);
		liar_ends();
		liar_leaves();
	}
	evr_bcast_close(&cast.in);
	evr_bcast_close(&cast.out);
}

/* --- a broadcast of its own; we subscribe, and look --- */

static void chaos_far_writer(void **state)
{
	struct evr_bcast_options options = { .struct_sz = sizeof(options),
					     .capacity = CAPACITY,
					     .elem_sz = 8,
					     .seats = 2 };
	uint64_t elems[4] = { 1, 2, 3, 4 }, seed, i;
	struct evr_bcast out, in, eye;
	struct evr_bcast_counts counts;
	struct evr_peer_id id;

	(void)state;
	for (seed = 1; seed <= rounds(ROUNDS); seed++) {
		liar_comes(seed);
		id = evr_peer_self(scene.other);
		assert_int_equal(evr_bcast_create(scene.other, "b", &options), 0);
		assert_int_equal(evr_bcast_open_sized(&out, scene.other, "b", EVR_PRODUCER, 0, 8), 0);
		if (have_met(seed))
			evr_bcast_push(&out, elems, 4);
		assert_int_equal(evr_bcast_subscribe(&in, scene.us, "b", &id, 0, 8), 0);
		assert_int_equal(evr_bcast_observe_sized(&eye, scene.us, "b", &id, 0, 8), 0);
		evr_bcast_push(&out, elems, 3);
		liar_begins(seed, "b");
		for (i = 0; i < ACTS; i++) {
			tour_bcast_reader(&scene.tour, &in);
			tour_bcast_reader(&scene.tour, &eye);
			evr_bcast_stat(scene.us, "b", &counts);
		}
		evr_bcast_close(&eye);
		evr_bcast_close(&in);
		/* As it is by now. */
		if (!evr_bcast_subscribe(&in, scene.us, "b", &id, 0, 8)) {
			tour_bcast_reader(&scene.tour, &in);
			evr_bcast_close(&in);
		}
		liar_ends();
		evr_bcast_close(&out);
		liar_leaves();
	}
}

/* --- an inbox of ours; it is one of two senders --- */

static void take_all(struct evr_inbox *box, uint64_t *got)
{
	struct evr_peer_id from, friend = evr_peer_self(scene.friend);
	uint64_t value;

	while (evr_inbox_pop(box, &value, 1, &from) == 1)
		if (from.slot == friend.slot && from.incarnation == friend.incarnation)
			assert_true(value == (*got)++);
		else
			assert_int_equal(from.slot, evr_peer_self(scene.other).slot);
}

static void chaos_far_sender(void **state)
{
	struct evr_inbox_options options = { .struct_sz = sizeof(options), .capacity = CAPACITY };
	struct evr_inbox_sender good, bad;
	uint64_t seed, i, sent = 0, got = 0, value;
	struct evr_inbox box;
	char name[16];

	(void)state;
	assert_int_equal(evr_inbox_create(scene.us, "box", &options), 0);
	assert_int_equal(evr_inbox_open(&box, scene.us, "box", 0), 0);
	assert_int_equal(evr_inbox_join(&good, scene.friend, "box", 0), 0);
	for (seed = 1; seed <= rounds(ROUNDS); seed++) {
		liar_comes(seed);
		assert_int_equal(evr_inbox_join(&bad, scene.other, "box", 0), 0);
		value = 7;
		evr_inbox_push(&bad, &value, 1);
		if (have_met(seed))
			take_all(&box, &got);
		snprintf(name, sizeof(name), "box.%u", evr_peer_self(scene.other).slot);
		liar_begins(seed, name);
		for (i = 0; i < ACTS; i++) {
			sent += evr_inbox_push(&good, &sent, 1);
			if (tour_random(&scene.tour.seed) >> 40 & 1)
				take_all(&box, &got);
		}
		take_all(&box, &got);
		assert_true(got == sent);
		liar_ends();
		evr_inbox_leave(&bad);
		liar_leaves();
	}
	evr_inbox_leave(&good);
	evr_inbox_close(&box);
}

/* --- a channel with it, and one beside it --- */

static void send_beside(struct evr_channel *a, struct evr_channel *b, uint64_t *value)
{
	struct evr_message m;

	evr_channel_state(a);
	evr_channel_state(b);
	assert_int_equal(evr_channel_send(a, value, 8, *value), 0);
	assert_int_equal(evr_channel_recv(b, &m), 0);
	assert_true(m.tag == *value && m.sz == 8);
	evr_channel_release(b, &m);
	(*value)++;
}

static void chaos_far_end(void **state)
{
	struct evr_channel_options options = { .struct_sz = sizeof(options),
					       .capacity = 1024,
					       .urgent_capacity = 1024,
					       .inline_max = 64,
					       .heap = "h" };
	struct evr_heap_options heap = { .struct_sz = sizeof(heap), .sz = 16 << 10 };
	struct evr_channel good[2], a, b;
	struct evr_heap ours, its;
	uint64_t seed, i, value = 0;

	(void)state;
	assert_int_equal(evr_heap_create(scene.us, "h", &heap), 0);
	assert_int_equal(evr_heap_open(&ours, scene.us, "h"), 0);
	assert_int_equal(evr_channel_create(scene.us, "c", &options), 0);
	options.heap = NULL;
	assert_int_equal(evr_channel_create(scene.us, "beside", &options), 0);
	assert_int_equal(evr_channel_create(scene.friend, "beside", &options), 0);
	assert_int_equal(evr_channel_open(&good[0], scene.us, "beside", EVR_CHANNEL_A, 0), 0);
	assert_int_equal(evr_channel_open(&good[1], scene.friend, "beside", EVR_CHANNEL_B, 0), 0);
	evr_channel_expect(&good[0], evr_peer_self(scene.friend));
	evr_channel_expect(&good[1], evr_peer_self(scene.us));
	evr_channel_state(&good[0]);
	for (seed = 1; seed <= rounds(ROUNDS); seed++) {
		liar_comes(seed);
		assert_int_equal(evr_heap_create(scene.other, "h", &heap), 0);
		assert_int_equal(evr_heap_open(&its, scene.other, "h"), 0);
		assert_int_equal(evr_channel_open(&b, scene.other, "c", EVR_CHANNEL_B, 0), 0);
		assert_int_equal(evr_channel_bind(&b, &its, NULL), 0);
		assert_int_equal(evr_channel_open(&a, scene.us, "c", EVR_CHANNEL_A, 0), 0);
		assert_int_equal(evr_channel_bind(&a, &ours, NULL), 0);
		for (i = 0; i < 2; i++) {
			evr_channel_state(&a);
			evr_channel_state(&b);
		}
		tour_channel_end(&scene.tour, &b);
		tour_channel_end(&scene.tour, &b);
		liar_begins(seed, "c");
		for (i = 0; i < ACTS; i++) {
			tour_channel_end(&scene.tour, &a);
			if (!((tour_random(&scene.tour.seed) >> 40) % 8))
				evr_channel_forget(&a);
			send_beside(&good[i % 2], &good[!(i % 2)], &value);
		}
		evr_channel_close(&a);
		liar_ends();
		evr_channel_close(&b);
		evr_heap_close(&its);
		liar_leaves();
	}
	evr_channel_close(&good[0]);
	evr_channel_close(&good[1]);
	evr_heap_close(&ours);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, scene_open, scene_close)
	const struct CMUnitTest tests[] = {
		CASE(chaos_far_subscriber),
		CASE(chaos_far_writer),
		CASE(chaos_far_sender),
		CASE(chaos_far_end),
	};

	return cmocka_run_group_tests_name("chaos_far", tests, NULL, NULL);
}
