/* SPDX-License-Identifier: MIT */
/*
 * Descriptor rings: limits, positions across 2^64, roles, death of either side, and
 * the other side's words scribbled over.
 *
 * Mutants seen to fail here: a position that is not published, a role claimed over
 * its holder (both hang), the limit check dropped in evr_lane_refresh()
 * (spsc_hostile_position_*), a wake that rings nobody (hang), a close that does not
 * wake (spsc_close_*). The order of the end
 * and the last elements is test_lane.c's.
 */
#include "pair.h"

#include <evering/lane.h>

#define CAPACITY 8

static void make_ring(struct pair *pair, const char *name, uint32_t capacity, uint32_t elem_sz)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options),
					    .capacity = capacity,
					    .elem_sz = elem_sz };

	assert_int_equal(evr_spsc_create(pair->peer, name, &options), 0);
}

static struct evr_lane_object *ring_memory(struct pair *pair, const char *name)
{
	struct evr_object object;

	assert_int_equal(evr_dir_find(pair->peer, name, &object), 0);
	return evr_peer_at(pair->peer, object.off, object.sz);
}

static void open_both(struct pair *pair, const char *name, struct evr_spsc *in,
		      struct evr_spsc *out)
{
	assert_int_equal(evr_spsc_open(in, pair->peer, name, EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_open(out, pair->peer, name, EVR_CONSUMER, 0), 0);
}

static void spsc_capacity_not_power_of_two_refused(void **state)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options) };
	static const uint32_t wrong[] = { 3, 7, 9, 1023, 1025, (1U << 31) + 1 };
	struct pair *pair = *state;
	struct evr_object object;
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		options.capacity = wrong[i];
		assert_int_equal(evr_spsc_create(pair->peer, "r", &options), -EINVAL);
	}
	options.capacity = 8;
	options.elem_sz = (1U << 30) + 1;
	assert_int_equal(evr_spsc_create(pair->peer, "r", &options), -EINVAL);
	assert_int_equal(evr_dir_find(pair->peer, "r", &object), -ENOENT);
}

static void spsc_filled_to_capacity_takes_no_more(void **state)
{
	uint64_t values[CAPACITY + 1] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 }, got[CAPACITY + 1];
	struct pair *pair = *state;
	struct evr_spsc in, out;
	uint32_t nr;

	make_ring(pair, "r", CAPACITY, 8);
	open_both(pair, "r", &in, &out);
	for (nr = CAPACITY - 1; nr <= CAPACITY + 1; nr++) {
		uint32_t fits = nr < CAPACITY ? nr : CAPACITY;

		assert_int_equal(evr_spsc_push(&in, values, nr), fits);
		assert_int_equal(evr_spsc_push(&in, values, 1), CAPACITY - fits);
		assert_int_equal(evr_spsc_avail(&out), CAPACITY);
		memset(got, 0xee, sizeof(got));
		assert_int_equal(evr_spsc_pop(&out, got, CAPACITY + 1), CAPACITY);
		assert_memory_equal(got, values, fits * 8);
		assert_true(got[CAPACITY] == 0xeeeeeeeeeeeeeeeeULL);
		assert_int_equal(evr_spsc_pop(&out, got, 1), 0);
	}
	/* One slot freed is one slot that can be filled, at once. */
	assert_int_equal(evr_spsc_push(&in, values, CAPACITY), CAPACITY);
	assert_int_equal(evr_spsc_pop(&out, got, 1), 1);
	assert_int_equal(evr_spsc_push(&in, values, 2), 1);
	evr_spsc_close(&in);
	evr_spsc_close(&out);
}

/* Random batches, copied and in place, against a plain counter: element n has value n. */
static void run_model(struct evr_spsc *in, struct evr_spsc *out, uint32_t elem_sz)
{
	uint64_t seed = 7, pushed = 0, popped = 0;
	uint8_t batch[16 * 24];
	uint32_t i, nr, moved;
	const uint8_t *from;
	uint8_t *to;

	while (popped < 20000) {
		nr = (uint32_t)(pair_random(&seed) % 12);
		to = batch;
		moved = nr;
		if (seed & 1 << 20) {
			to = evr_spsc_reserve(in, &moved);
			assert_true(moved <= nr && !to == !moved);
		}
		for (i = 0; to && i < moved; i++) {
			memset(to + i * elem_sz, (int)(pushed + i), elem_sz);
			memcpy(to + i * elem_sz, &(uint64_t){ pushed + i }, 8);
		}
		if (to == batch)
			moved = evr_spsc_push(in, batch, nr);
		else
			evr_spsc_commit(in, moved);
		pushed += moved;
		nr = moved = (uint32_t)(pair_random(&seed) % 12);
		if (seed & 1 << 20) {
			from = evr_spsc_peek(out, &moved);
		} else {
			moved = evr_spsc_pop(out, batch, nr);
			from = batch;
		}
		for (i = 0; i < moved; i++) {
			uint64_t value;

			memcpy(&value, from + i * elem_sz, 8);
			assert_true(value == popped + i);
			assert_int_equal(from[i * elem_sz + elem_sz - 1],
					 elem_sz > 8 ? (uint8_t)value : value >> 56);
		}
		if (from != batch)
			evr_spsc_release(out, moved);
		popped += moved;
		assert_true(popped <= pushed && pushed - popped <= CAPACITY);
	}
}

static void spsc_positions_pass_2_64_in_order(void **state)
{
	static const uint32_t sizes[] = { 8, 11, 24 };
	struct pair *pair = *state;
	struct evr_lane_object *o;
	struct evr_spsc in, out;
	char name[8];
	size_t i;

	for (i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "r%zu", i);
		make_ring(pair, name, CAPACITY, sizes[i]);
		o = ring_memory(pair, name);
		o->sides[EVR_PRODUCER].pos.v = UINT64_MAX - 1000;
		o->sides[EVR_CONSUMER].pos.v = UINT64_MAX - 1000;
		open_both(pair, name, &in, &out);
		run_model(&in, &out, sizes[i]);
		assert_true(o->sides[EVR_CONSUMER].pos.v > 1000);
		assert_true(o->sides[EVR_CONSUMER].pos.v < UINT64_MAX / 2);
		evr_spsc_close(&in);
		evr_spsc_close(&out);
	}
}

static void spsc_grant_not_committed_never_existed(void **state)
{
	struct pair *pair = *state;
	struct evr_spsc in, out;
	uint32_t nr = 3;
	uint64_t *to;

	make_ring(pair, "r", CAPACITY, 8);
	open_both(pair, "r", &in, &out);
	to = evr_spsc_reserve(&in, &nr);
	assert_non_null(to);
	to[0] = 1, to[1] = 2, to[2] = 3;
	assert_int_equal(evr_spsc_avail(&out), 0);
	nr = 2;
	to = evr_spsc_reserve(&in, &nr);
	evr_spsc_commit(&in, 1);
	assert_int_equal(evr_spsc_avail(&out), 1);
	/* More than granted, and twice: nothing. */
	evr_spsc_commit(&in, 1);
	assert_int_equal(evr_spsc_avail(&out), 1);
	nr = CAPACITY;
	assert_non_null(evr_spsc_peek(&out, &nr));
	assert_int_equal(nr, 1);
	evr_spsc_release(&out, 5);
	assert_int_equal(evr_spsc_avail(&out), 0);
	/* A grant ends where the memory does. */
	nr = CAPACITY;
	assert_non_null(evr_spsc_reserve(&in, &nr));
	assert_int_equal(nr, CAPACITY - 1);
	evr_spsc_close(&in);
	evr_spsc_close(&out);
}

static void spsc_role_taken_is_busy(void **state)
{
	struct pair *pair = *state;
	struct evr_spsc in, again, out;
	struct evr_ring_counts counts;
	struct evr_object object;

	make_ring(pair, "r", CAPACITY, 8);
	assert_int_equal(evr_spsc_open(&in, pair->peer, "none", EVR_PRODUCER, 0), -ENOENT);
	assert_int_equal(evr_spsc_open(&in, pair->peer, "r", (enum evr_role)2, 0), -EINVAL);
	assert_int_equal(evr_spsc_open(&in, pair->peer, "r", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_state(&in), EVR_RING_NO_PEER);
	assert_int_equal(evr_spsc_other(&in).slot, EVR_SLOT_ANY);
	assert_int_equal(evr_spsc_open(&again, pair->peer, "r", EVR_PRODUCER, 0), -EBUSY);
	assert_non_null(strstr(evr_error_detail(), "producer"));
	assert_int_equal(evr_dir_find(pair->peer, "r", &object), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &object), -EBUSY);
	assert_int_equal(evr_spsc_open(&out, pair->peer, "r", EVR_CONSUMER, 0), 0);
	assert_int_equal(evr_spsc_state(&in), EVR_RING_OK);
	assert_int_equal(evr_spsc_other(&in).slot, evr_peer_self(pair->peer).slot);
	evr_spsc_close(&in);
	evr_spsc_close(&in);
	assert_int_equal(evr_spsc_state(&out), EVR_RING_CLOSED);
	assert_int_equal(evr_spsc_open(&in, pair->peer, "r", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_state(&out), EVR_RING_OK);
	evr_spsc_counts(&in, EVR_PRODUCER, &counts);
	assert_int_equal(counts.opens, 2);
	evr_spsc_close(&in);
	evr_spsc_close(&out);
	assert_int_equal(evr_dir_remove(pair->peer, &object), 0);
	assert_int_equal(evr_spsc_open(&in, pair->peer, "r", EVR_PRODUCER, 0), -ENOENT);
}

static void spsc_closed_by_producer_drains_first(void **state)
{
	uint64_t values[3] = { 5, 6, 7 }, got[4];
	struct pair *pair = *state;
	struct evr_waiter waiter;
	struct evr_spsc in, out;

	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_ADAPTIVE), 0);
	make_ring(pair, "r", CAPACITY, 8);
	open_both(pair, "r", &in, &out);
	assert_int_equal(evr_spsc_push_wait(&in, &waiter, values, 3, 0), 3);
	evr_spsc_close(&in);
	assert_int_equal(evr_spsc_push(&in, values, 1), 0);
	assert_int_equal(evr_spsc_pop_wait(&out, &waiter, got, 2, 0), 2);
	assert_int_equal(evr_spsc_pop_wait(&out, &waiter, got, 4, 0), 1);
	assert_true(got[0] == 7);
	assert_int_equal(evr_spsc_pop_wait(&out, &waiter, got, 4, 0), -EPIPE);
	evr_spsc_forget(&out);
	assert_int_equal(evr_spsc_state(&out), EVR_RING_NO_PEER);
	assert_int_equal(evr_spsc_pop_wait(&out, &waiter, got, 4, 0), -ETIMEDOUT);
	assert_int_equal(evr_spsc_open(&in, pair->peer, "r", EVR_PRODUCER, 0), 0);
	evr_spsc_close(&out);
	assert_int_equal(evr_spsc_push_wait(&in, &waiter, values, 1, 0), -EPIPE);
	/* Who comes after the end waits for the next, and does not meet the old end. */
	assert_int_equal(evr_spsc_open(&out, pair->peer, "r", EVR_CONSUMER, 0), 0);
	evr_spsc_close(&in);
	assert_int_equal(evr_spsc_pop_wait(&out, &waiter, got, 4, 0), -EPIPE);
	evr_spsc_close(&out);
	assert_int_equal(evr_spsc_open(&out, pair->peer, "r", EVR_CONSUMER, 0), 0);
	assert_int_equal(evr_spsc_pop_wait(&out, &waiter, got, 4, 0), -ETIMEDOUT);
	evr_spsc_close(&out);
	evr_waiter_fini(&waiter);
}

struct point {
	double x, y;
};

EVR_SPSC_DEFINE(points, struct point)
EVR_SPSC_DEFINE_TAGGED(tens, int64_t, 10)
EVR_SPSC_DEFINE_TAGGED(elevens, int64_t, 11)

static void spsc_other_type_refused(void **state)
{
	struct point p = { 1, 2 }, q = { 0, 0 };
	struct pair *pair = *state;
	struct points a, b;
	struct tens ten;
	struct elevens eleven;
	struct evr_spsc plain;
	struct evr_bytes stream;

	assert_int_equal(points_create(pair->peer, "p", 4), 0);
	assert_int_equal(tens_create(pair->peer, "t", 4), 0);
	assert_int_equal(tens_open(&ten, pair->peer, "p", EVR_PRODUCER), -EINVAL);
	assert_int_equal(elevens_open(&eleven, pair->peer, "t", EVR_PRODUCER), -EINVAL);
	assert_non_null(strstr(evr_error_detail(), "type_tag"));
	assert_int_equal(evr_bytes_open(&stream, pair->peer, "t", EVR_PRODUCER), -EINVAL);
	assert_int_equal(evr_spsc_open_sized(&plain, pair->peer, "t", EVR_PRODUCER, 0, 4), -EINVAL);
	assert_int_equal(evr_spsc_open(&plain, pair->peer, "t", EVR_PRODUCER, 0), 0);
	evr_spsc_close(&plain);
	assert_int_equal(points_open(&a, pair->peer, "p", EVR_PRODUCER), 0);
	assert_int_equal(points_open(&b, pair->peer, "p", EVR_CONSUMER), 0);
	assert_int_equal(points_push(&a, &p, 1), 1);
	assert_int_equal(points_pop(&b, &q, 1), 1);
	assert_true(q.x == 1 && q.y == 2);
	points_close(&a);
	points_close(&b);
}

static void spsc_corrupt_geometry_refused(void **state)
{
	struct pair *pair = *state;
	struct evr_lane_geometry good, *g;
	struct evr_spsc ring;

	make_ring(pair, "r", CAPACITY, 8);
	g = &ring_memory(pair, "r")->geometry;
	good = *g;
#define WITH(field, value)                                                               \
	do {                                                                             \
		g->field = (value);                                                      \
		assert_int_equal(evr_spsc_open(&ring, pair->peer, "r", EVR_PRODUCER, 0), \
				 -EBADMSG);                                              \
		assert_non_null(strstr(evr_error_detail(), "is "));                      \
		*g = good;                                                               \
	} while (0)
	WITH(layout, 1);
	WITH(span, 0);
	WITH(span, 7);
	WITH(span, CAPACITY * 2);
	WITH(span, 1ULL << 32);
	WITH(span, 1ULL << 63);
	WITH(unit_sz, 0);
	WITH(unit_sz, 9);
	WITH(unit_sz, 1ULL << 61);
	WITH(data_sz, UINT64_MAX);
	WITH(data_sz, 8 * CAPACITY - 1);
#undef WITH
	assert_int_equal(evr_spsc_open(&ring, pair->peer, "r", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_state(&ring), EVR_RING_NO_PEER);
	/* Once open, it is not looked at again. */
	memset(g, 0xff, sizeof(*g));
	assert_int_equal(evr_spsc_push(&ring, &(uint64_t){ 3 }, 1), 1);
	evr_spsc_close(&ring);
}

static const uint64_t nonsense[] = {
	0,	    1,		CAPACITY - 1,	       CAPACITY,       CAPACITY + 1, 1ULL << 31,
	1ULL << 32, 1ULL << 63, UINT64_MAX - CAPACITY, UINT64_MAX - 1, UINT64_MAX
};
#define NONSENSE_NR (sizeof(nonsense) / sizeof(nonsense[0]))

static void spsc_hostile_position_closes_the_end(void **state)
{
	uint64_t values[2 * CAPACITY] = { 0 };
	struct pair *pair = *state;
	struct evr_lane_object *o;
	struct evr_ring_counts counts;
	struct evr_waiter waiter;
	struct evr_spsc end;
	int role, ret;
	size_t i;

	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_ADAPTIVE), 0);
	make_ring(pair, "r", CAPACITY, 8);
	o = ring_memory(pair, "r");
	for (role = 0; role < 2; role++) {
		for (i = 0; i < NONSENSE_NR; i++) {
			o->sides[0].pos.v = o->sides[1].pos.v = 5;
			assert_int_equal(evr_spsc_open(&end, pair->peer, "r", role, 0), 0);
			o->sides[!role].pos.v = nonsense[i];
			if (role == EVR_PRODUCER)
				ret = evr_spsc_push_wait(&end, &waiter, values, 2 * CAPACITY, 0);
			else
				ret = evr_spsc_pop_wait(&end, &waiter, values, 2 * CAPACITY, 0);
			if ((role == EVR_PRODUCER ? 5 - nonsense[i] : nonsense[i] - 5) <=
			    CAPACITY) {
				assert_true(ret <= CAPACITY && ret != -EBADMSG);
			} else if (role == EVR_PRODUCER && ret == CAPACITY) {
				/* What there was room for before went in first. */
				assert_int_equal(evr_spsc_state(&end), EVR_RING_CORRUPT);
			} else {
				assert_int_equal(ret, -EBADMSG);
				assert_int_equal(evr_spsc_state(&end), EVR_RING_CORRUPT);
				assert_int_equal(evr_spsc_push(&end, values, 1), 0);
				evr_spsc_counts(&end, role, &counts);
				assert_true(counts.corrupt > 0);
			}
			evr_spsc_close(&end);
		}
	}
	evr_waiter_fini(&waiter);
}

/* Every other word that the other side or anybody may write, with an end open. */
static void spsc_hostile_words_do_no_harm(void **state)
{
	uint64_t values[2 * CAPACITY] = { 0 }, *word;
	struct pair *pair = *state;
	struct evr_lane_object *o;
	struct evr_waiter waiter;
	struct evr_spsc end;
	struct evr_object fence;
	uint8_t *guard;
	size_t i, k, role;

	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	make_ring(pair, "r", CAPACITY, 8);
	o = ring_memory(pair, "r");
	assert_int_equal(evr_dir_create(pair->peer, "guard", EVR_KIND_USER, 4096, &fence), 0);
	guard = evr_peer_at(pair->peer, fence.off, fence.sz);
	memset(guard, 0x5a, fence.sz);
	for (role = 0; role < 2; role++) {
		for (k = 0; k < sizeof(*o) / 8; k++) {
			word = (uint64_t *)o + k;
			if (word == &o->sides[!role].pos.v || word == &o->sides[role].pos.v)
				continue;
			for (i = 0; i < NONSENSE_NR; i++) {
				struct evr_lane_object good = *o;

				assert_int_equal(evr_spsc_open(&end, pair->peer, "r", (int)role, 0),
						 0);
				*word = nonsense[i];
				evr_spsc_push_wait(&end, &waiter, values, 1, 1);
				evr_spsc_pop_wait(&end, &waiter, values, 1, 1);
				evr_spsc_state(&end);
				evr_spsc_close(&end);
				*o = good;
			}
		}
	}
	for (i = 0; i < fence.sz; i++)
		assert_int_equal(guard[i], 0x5a);
	evr_waiter_fini(&waiter);
}

struct stream {
	enum evr_wait_policy policy;
	uint64_t nr;
	uint32_t batch;
};

/* Element n has value n, whoever pushes it: so a successor knows how to go on. */
static void produce(struct evr_peer *peer, void *arg)
{
	struct stream *s = arg;
	uint64_t values[64], i, seed = 99, next;
	struct evr_waiter waiter;
	struct evr_spsc ring;
	int nr;

	CHECK(!evr_waiter_init(&waiter, peer, s->policy));
	CHECK(!evr_spsc_open(&ring, peer, "r", EVR_PRODUCER, 0));
	for (next = ring.lane.pos; next < s->nr; next += (uint64_t)nr) {
		nr = (int)(1 + pair_random(&seed) % s->batch);
		for (i = 0; i < (uint64_t)nr; i++)
			values[i] = next + i;
		CHECK(TIMELY(evr_spsc_push_wait(&ring, &waiter, values, (uint32_t)nr, until_ns)) ==
		      nr);
	}
	evr_spsc_close(&ring);
	evr_waiter_fini(&waiter);
}

static void consume(struct evr_peer *peer, void *arg)
{
	struct stream *s = arg;
	struct evr_waiter waiter;
	struct evr_spsc ring;
	uint64_t values[64], next;
	int i, nr;

	CHECK(!evr_waiter_init(&waiter, peer, s->policy));
	CHECK(!evr_spsc_open(&ring, peer, "r", EVR_CONSUMER, 0));
	for (next = ring.lane.pos; next < s->nr; next += (uint64_t)nr) {
		nr = TIMELY(evr_spsc_pop_wait(&ring, &waiter, values, s->batch, until_ns));
		CHECK(nr > 0);
		for (i = 0; i < nr; i++)
			CHECK(values[i] == next + (uint64_t)i);
	}
	evr_spsc_close(&ring);
	evr_waiter_fini(&waiter);
}

static void stream_across(struct pair *pair, struct stream *s)
{
	pid_t consumer;

	make_ring(pair, "r", 64, 8);
	consumer = pair_fork(pair, consume, s);
	produce(pair->peer, s);
	pair_join(consumer);
	pair_settle(pair);
}

static void spsc_two_processes_adaptive_in_order(void **state)
{
	stream_across(*state, &(struct stream){ EVR_WAIT_ADAPTIVE, 300000, 32 });
}

static void spsc_two_processes_sleeping_in_order(void **state)
{
	stream_across(*state, &(struct stream){ EVR_WAIT_SLEEP, 30000, 1 });
}

static void spsc_producer_killed_delivers_what_it_published(void **state)
{
	struct stream s = { EVR_WAIT_ADAPTIVE, UINT64_MAX, 32 };
	uint64_t values[64], next = 0, seed = 5, deadline = pair_deadline();
	struct pair *pair = *state;
	struct evr_lane_object *o;
	struct evr_waiter waiter;
	struct evr_spsc ring;
	int i, nr, round;
	pid_t pid;

	make_ring(pair, "r", 64, 8);
	o = ring_memory(pair, "r");
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_ADAPTIVE), 0);
	assert_int_equal(evr_spsc_open(&ring, pair->peer, "r", EVR_CONSUMER, 0), 0);
	for (round = 0; round < 20; round++) {
		bool killed = false;

		pid = pair_fork(pair, produce, &s);
		do {
			nr = evr_spsc_pop_wait(&ring, &waiter, values, 1 + seed % 64, deadline);
			for (i = 0; i < nr; i++)
				assert_true(values[i] == next++);
			if (!killed && nr > 0 && pair_random(&seed) % 200 == 0) {
				pair_sleep_us(seed % 300);
				kill(pid, SIGKILL);
				killed = true;
			}
		} while (nr > 0);
		assert_int_equal(nr, -EOWNERDEAD);
		/* All of it, and nothing that was not published. */
		assert_true(next == o->sides[EVR_PRODUCER].pos.v);
		assert_true(waitpid(pid, NULL, 0) == pid);
		evr_spsc_forget(&ring);
	}
	evr_spsc_close(&ring);
	evr_waiter_fini(&waiter);
	pair_settle(pair);
}

static void spsc_consumer_killed_leaves_the_rest(void **state)
{
	struct stream s = { EVR_WAIT_ADAPTIVE, UINT64_MAX, 7 };
	uint64_t seed = 11, deadline = pair_deadline(), value;
	struct pair *pair = *state;
	struct evr_waiter waiter;
	struct evr_spsc ring, rest;
	int ret, round;
	pid_t pid;

	make_ring(pair, "r", 64, 8);
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_ADAPTIVE), 0);
	assert_int_equal(evr_spsc_open(&ring, pair->peer, "r", EVR_PRODUCER, 0), 0);
	for (round = 0; round < 20; round++) {
		bool killed = false;

		pid = pair_fork(pair, consume, &s);
		while (evr_spsc_state(&ring) != EVR_RING_OK)
			pair_sleep_us(100);
		do {
			value = ring.lane.pos;
			ret = evr_spsc_push_wait(&ring, &waiter, &value, 1, deadline);
			if (!killed && pair_random(&seed) % 300 == 0) {
				pair_sleep_us(seed % 300);
				kill(pid, SIGKILL);
				killed = true;
			}
		} while (ret == 1);
		assert_int_equal(ret, -EOWNERDEAD);
		assert_true(waitpid(pid, NULL, 0) == pid);
		/* Its successor starts with the first that it did not release. */
		assert_int_equal(evr_spsc_open(&rest, pair->peer, "r", EVR_CONSUMER, 0), 0);
		while (evr_spsc_pop(&rest, &value, 1))
			assert_true(value == rest.lane.pos - 1);
		assert_true(rest.lane.pos == ring.lane.pos);
		evr_spsc_close(&rest);
		evr_spsc_forget(&ring);
	}
	evr_spsc_close(&ring);
	evr_waiter_fini(&waiter);
	pair_settle(pair);
}

static void hold_producer(struct evr_peer *peer, void *arg)
{
	struct evr_spsc ring;
	int *ready = arg;

	CHECK(!evr_spsc_open(&ring, peer, "r", EVR_PRODUCER, 0));
	CHECK(write(ready[1], "", 1) == 1);
	pause();
}

static void spsc_role_of_the_dead_needs_a_reap(void **state)
{
	struct evr_reap_report report = { 0 };
	struct pair *pair = *state;
	struct evr_peer_id dead;
	struct evr_spsc in, out;
	int ready[2];
	char byte;
	pid_t pid;

	make_ring(pair, "r", CAPACITY, 8);
	evr_reap_auto(pair->peer, false);
	assert_int_equal(pipe(ready), 0);
	pid = pair_fork(pair, hold_producer, ready);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(evr_spsc_open(&out, pair->peer, "r", EVR_CONSUMER, 0), 0);
	dead = evr_spsc_other(&out);
	assert_int_equal(evr_reap(pair->peer, dead, &report), -EBUSY);
	assert_int_equal(evr_spsc_open(&in, pair->peer, "r", EVR_PRODUCER, 0), -EBUSY);
	pair_kill(pid);
	while (evr_peer_state(pair->peer, dead) != EVR_PEER_DEAD)
		evr_peer_check(pair->peer);
	assert_int_equal(evr_spsc_state(&out), EVR_RING_PEER_DEAD);
	assert_int_equal(evr_spsc_open(&in, pair->peer, "r", EVR_PRODUCER, 0), -EBUSY);
	assert_non_null(strstr(evr_error_detail(), "evr_reap()"));
	assert_int_equal(evr_reap(pair->peer, dead, &report), 0);
	assert_int_equal(report.sides, 1);
	assert_int_equal(report.peers, 1);
	assert_int_equal(evr_spsc_state(&out), EVR_RING_PEER_DEAD);
	assert_int_equal(evr_reap(pair->peer, dead, &report), -ESTALE);
	assert_int_equal(report.sides, 1);
	assert_int_equal(evr_spsc_open(&in, pair->peer, "r", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_state(&out), EVR_RING_OK);
	evr_spsc_close(&in);
	evr_spsc_close(&out);
	close(ready[0]);
	close(ready[1]);
}

static void wait_for_the_end(struct evr_peer *peer, void *arg)
{
	struct evr_waiter waiter;
	struct evr_spsc ring;
	uint64_t value;

	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_SLEEP));
	CHECK(!evr_spsc_open(&ring, peer, "r", EVR_CONSUMER, 0));
	CHECK(write(((int *)arg)[1], "", 1) == 1);
	CHECK(TIMELY(evr_spsc_pop_wait(&ring, &waiter, &value, 1, until_ns)) == -EPIPE);
	evr_spsc_close(&ring);
	evr_waiter_fini(&waiter);
}

/* Nobody ends as a peer, so it is the close that wakes. */
static void spsc_close_wakes_a_sleeper(void **state)
{
	struct pair *pair = *state;
	struct evr_spsc ring;
	int ready[2];
	char byte;
	pid_t pid;

	make_ring(pair, "r", CAPACITY, 8);
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(evr_spsc_open(&ring, pair->peer, "r", EVR_PRODUCER, 0), 0);
	pid = pair_fork(pair, wait_for_the_end, ready);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	while ((ring.lane.other->need.word.v & EVR_NEED_STATE) != EVR_NEED_ASLEEP)
		pair_sleep_us(100);
	pair_sleep_us(10000);
	evr_spsc_close(&ring);
	pair_join(pid);
	close(ready[0]);
	close(ready[1]);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, pair_open, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(spsc_capacity_not_power_of_two_refused),
		CASE(spsc_filled_to_capacity_takes_no_more),
		CASE(spsc_positions_pass_2_64_in_order),
		CASE(spsc_grant_not_committed_never_existed),
		CASE(spsc_role_taken_is_busy),
		CASE(spsc_closed_by_producer_drains_first),
		CASE(spsc_other_type_refused),
		CASE(spsc_corrupt_geometry_refused),
		CASE(spsc_hostile_position_closes_the_end),
		CASE(spsc_hostile_words_do_no_harm),
		CASE(spsc_two_processes_adaptive_in_order),
		CASE(spsc_two_processes_sleeping_in_order),
		CASE(spsc_producer_killed_delivers_what_it_published),
		CASE(spsc_consumer_killed_leaves_the_rest),
		CASE(spsc_role_of_the_dead_needs_a_reap),
		CASE(spsc_close_wakes_a_sleeper),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
