/* SPDX-License-Identifier: MIT */
/*
 * Queues of many: limits, laps across 2^29, several processes, hostile words. What becomes
 * of claims whose owner dies is test_mpmc_death.c's.
 *
 * Mutant seen to fail here: a state that is none is let pass (mpmc_nonsense_*). Those
 * of the edges are in tests/model/mutants/mpmc.mutants, and fail in the explorer.
 */
#include <sys/mman.h>

#include "pair.h"

#include "mpmc_cells.c"

#define CAPACITY 8

static void make_queue(struct pair *pair, const char *name, uint32_t capacity, uint32_t elem_sz)
{
	struct evr_mpmc_options options = { .struct_sz = sizeof(options),
					    .capacity = capacity,
					    .elem_sz = elem_sz };

	assert_int_equal(evr_mpmc_create(pair->peer, name, &options), 0);
}

static struct evr_mpmc_object *queue_memory(struct pair *pair, const char *name)
{
	struct evr_object object;

	assert_int_equal(evr_dir_find(pair->peer, name, &object), 0);
	return evr_peer_at(pair->peer, object.off, object.sz);
}

static void open_queue(struct pair *pair, const char *name, struct evr_mpmc *queue)
{
	assert_int_equal(evr_mpmc_open(queue, pair->peer, name, 0), 0);
}

static void mpmc_limits_refused_beyond(void **state)
{
	struct evr_mpmc_options options = { .struct_sz = sizeof(options) };
	static const uint32_t wrong[] = { 1, 3, 7, 9, (1U << 24) - 1, (1U << 24) + 1, 1U << 25 };
	struct pair *pair = *state;
	struct evr_object object;
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		options.capacity = wrong[i];
		assert_int_equal(evr_mpmc_create(pair->peer, "q", &options), -EINVAL);
	}
	options.capacity = 2;
	options.elem_sz = (1U << 20) + 1;
	assert_int_equal(evr_mpmc_create(pair->peer, "q", &options), -EINVAL);
	options.elem_sz = 1U << 20;
	assert_int_equal(evr_mpmc_create(pair->peer, "q", &options), 0);
	assert_int_equal(evr_dir_find(pair->peer, "q", &object), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &object), 0);
}

static void mpmc_filled_to_capacity_takes_no_more(void **state)
{
	static const uint32_t sizes[] = { 1, 4, 5, 8, 16, 24 };
	uint8_t values[(CAPACITY + 1) * 24], got[(CAPACITY + 1) * 24];
	struct pair *pair = *state;
	struct evr_mpmc in, out;
	uint32_t nr, fits, sz;
	char name[8];
	size_t i;

	for (i = 0; i < sizeof(values); i++)
		values[i] = (uint8_t)(i + 1);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		sz = sizes[i];
		snprintf(name, sizeof(name), "q%zu", i);
		make_queue(pair, name, CAPACITY, sz);
		open_queue(pair, name, &in);
		open_queue(pair, name, &out);
		for (nr = CAPACITY - 1; nr <= CAPACITY + 1; nr++) {
			fits = nr < CAPACITY ? nr : CAPACITY;
			assert_int_equal(evr_mpmc_push(&in, values, nr), fits);
			assert_int_equal(evr_mpmc_push(&in, values, 1), CAPACITY - fits);
			assert_int_equal(evr_mpmc_state(&in), EVR_RING_OK);
			memset(got, 0xee, sizeof(got));
			assert_int_equal(evr_mpmc_pop(&out, got, CAPACITY + 1), CAPACITY);
			assert_memory_equal(got, values, fits * sz);
			assert_int_equal(got[CAPACITY * sz], 0xee);
			assert_int_equal(evr_mpmc_pop(&out, got, 1), 0);
			assert_int_equal(evr_mpmc_state(&out), EVR_RING_OK);
		}
		assert_int_equal(evr_mpmc_push(&in, values, CAPACITY), CAPACITY);
		assert_int_equal(evr_mpmc_pop(&out, got, 1), 1);
		assert_int_equal(evr_mpmc_push(&in, values, 2), 1);
		evr_mpmc_close(&in);
		evr_mpmc_close(&out);
	}
}

/* Random batches against a plain counter: element n has value n, in 4 bytes and the rest. */
static void run_model(struct evr_mpmc *in, struct evr_mpmc *out, uint32_t elem_sz)
{
	uint32_t pushed = 0, popped = 0, i, nr, moved, value;
	uint8_t batch[16 * 24] = { 0 };
	uint64_t seed = 7;

	while (popped < 20000) {
		nr = (uint32_t)(pair_random(&seed) % 12);
		for (i = 0; i < nr; i++) {
			value = pushed + i;
			memset(batch + i * elem_sz, (int)value, elem_sz);
			memcpy(batch + i * elem_sz, &value, 4);
		}
		moved = evr_mpmc_push(in, batch, nr);
		assert_int_equal(moved, nr < CAPACITY - (pushed - popped) ?
						nr :
						CAPACITY - (pushed - popped));
		pushed += moved;
		nr = (uint32_t)(pair_random(&seed) % 12);
		moved = evr_mpmc_pop(out, batch, nr);
		assert_int_equal(moved, nr < pushed - popped ? nr : pushed - popped);
		for (i = 0; i < moved; i++, popped++) {
			memcpy(&value, batch + i * elem_sz, 4);
			assert_int_equal(value, popped);
			if (elem_sz > 4)
				assert_int_equal(batch[(i + 1) * elem_sz - 1], (uint8_t)value);
		}
	}
}

static void start_at_lap(struct pair *pair, const char *name, uint64_t lap)
{
	struct evr_mpmc queue;
	uint64_t i;

	open_queue(pair, name, &queue);
	for (i = 0; i <= queue.mask; i++)
		cell_at(&queue, i)->v = cell_word(lap, 0, CELL_EMPTY);
	evr_mpmc_close(&queue);
}

static void mpmc_laps_pass_their_end_in_order(void **state)
{
	static const uint32_t sizes[] = { 4, 8, 24 };
	struct pair *pair = *state;
	struct evr_mpmc in, out;
	struct evr_mpmc_counts counts;
	char name[8];
	size_t i;

	for (i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "q%zu", i);
		make_queue(pair, name, CAPACITY, sizes[i]);
		start_at_lap(pair, name, LAP_MASK - 100);
		open_queue(pair, name, &in);
		open_queue(pair, name, &out);
		run_model(&in, &out, sizes[i]);
		assert_true(cell_lap(cell_at(&in, 0)->v) < LAP_MASK / 2);
		evr_mpmc_counts(&in, &counts);
		assert_true(counts.holes == 0 && counts.lost == 0 && counts.in - counts.out <= 8);
		evr_mpmc_close(&in);
		evr_mpmc_close(&out);
	}
}

/* A handle that was not used for any number of laps finds its place again. */
static void mpmc_handle_fallen_behind_catches_up(void **state)
{
	struct pair *pair = *state;
	struct evr_mpmc busy, lazy;
	uint64_t value, got, round, n;

	make_queue(pair, "q", 64, 8);
	open_queue(pair, "q", &busy);
	open_queue(pair, "q", &lazy);
	for (round = 1; round < 400; round++) {
		for (n = 0; n < round; n++) {
			value = n;
			assert_int_equal(evr_mpmc_push(&busy, &value, 1), 1);
			assert_int_equal(evr_mpmc_pop(&busy, &got, 1), 1);
			assert_true(got == n);
		}
		value = round;
		assert_int_equal(evr_mpmc_push(&lazy, &value, 1), 1);
		assert_int_equal(evr_mpmc_pop(round % 2 ? &lazy : &busy, &got, 1), 1);
		assert_true(got == round);
		assert_int_equal(evr_mpmc_pop(&lazy, &got, 1), 0);
	}
	evr_mpmc_close(&busy);
	evr_mpmc_close(&lazy);
}

static void mpmc_grants_are_one_element_each(void **state)
{
	struct pair *pair = *state;
	struct evr_mpmc_counts counts;
	struct evr_mpmc a, b, words;
	uint64_t *to, value = 7;
	const uint64_t *from;

	make_queue(pair, "q", CAPACITY, 16);
	open_queue(pair, "q", &a);
	open_queue(pair, "q", &b);
	to = evr_mpmc_reserve(&a);
	assert_non_null(to);
	assert_ptr_equal(evr_mpmc_reserve(&a), to);
	assert_true((uintptr_t)to % 16 == 0);
	to[0] = 1;
	/* The next is written, and still nobody gets past the first. */
	assert_int_equal(evr_mpmc_push(&b, (uint64_t[2]){ 2, 2 }, 1), 1);
	assert_null(evr_mpmc_peek(&b));
	assert_int_equal(evr_mpmc_state(&b), EVR_RING_BUSY);
	assert_string_equal(evr_ring_state_name(EVR_RING_BUSY), "busy");
	evr_mpmc_commit(&a);
	evr_mpmc_commit(&a);
	from = evr_mpmc_peek(&b);
	assert_non_null(from);
	assert_true(from[0] == 1);
	assert_ptr_equal(evr_mpmc_peek(&b), from);
	from = evr_mpmc_peek(&a);
	assert_true(from[0] == 2);
	evr_mpmc_release(&a);
	evr_mpmc_release(&b);
	evr_mpmc_release(&b);
	/* What is given up is a hole, what is abandoned is lost. */
	assert_non_null(evr_mpmc_reserve(&a));
	evr_mpmc_cancel(&a);
	assert_int_equal(evr_mpmc_push(&b, (uint64_t[2]){ 3, 3 }, 1), 1);
	assert_non_null(evr_mpmc_reserve(&a));
	from = evr_mpmc_peek(&a);
	assert_true(from[0] == 3);
	evr_mpmc_close(&a);
	assert_null(evr_mpmc_peek(&b));
	assert_int_equal(evr_mpmc_state(&b), EVR_RING_OK);
	evr_mpmc_counts(&b, &counts);
	assert_true(counts.in == 5 && counts.out == 5 && counts.holes == 2 && counts.lost == 1);
	evr_mpmc_close(&b);
	make_queue(pair, "w", CAPACITY, 4);
	open_queue(pair, "w", &words);
	assert_null(evr_mpmc_reserve(&words));
	assert_null(evr_mpmc_peek(&words));
	assert_int_equal(evr_mpmc_push(&words, &value, 1), 1);
	evr_mpmc_close(&words);
}

struct point {
	double x, y;
};

EVR_MPMC_DEFINE(points, struct point)
EVR_MPMC_DEFINE_TAGGED(tens, int64_t, 10)
EVR_MPMC_DEFINE_TAGGED(elevens, int64_t, 11)

static void mpmc_other_type_refused(void **state)
{
	struct point p = { 1, 2 }, q = { 0, 0 };
	struct pair *pair = *state;
	struct points a;
	struct tens ten;
	struct elevens eleven;
	struct evr_mpmc plain;
	struct evr_bytes stream;
	struct evr_object object;

	assert_int_equal(points_create(pair->peer, "p", 4), 0);
	assert_int_equal(tens_create(pair->peer, "t", 4), 0);
	assert_int_equal(tens_open(&ten, pair->peer, "p"), -EINVAL);
	assert_int_equal(elevens_open(&eleven, pair->peer, "t"), -EINVAL);
	assert_non_null(strstr(evr_error_detail(), "type_tag"));
	assert_int_equal(evr_bytes_open(&stream, pair->peer, "t", EVR_PRODUCER), -EINVAL);
	assert_int_equal(evr_mpmc_open_sized(&plain, pair->peer, "t", 0, 4), -EINVAL);
	assert_int_equal(evr_mpmc_open(&plain, pair->peer, "none", 0), -ENOENT);
	assert_int_equal(points_open(&a, pair->peer, "p"), 0);
	assert_int_equal(points_push(&a, &p, 1), 1);
	assert_int_equal(points_pop(&a, &q, 1), 1);
	assert_true(q.x == 1 && q.y == 2);
	assert_int_equal(evr_dir_find(pair->peer, "p", &object), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &object), -EBUSY);
	points_close(&a);
	points_close(&a);
	assert_int_equal(evr_mpmc_state(&a.queue), EVR_RING_CLOSED);
	assert_int_equal(points_push(&a, &p, 1), 0);
	assert_int_equal(points_push_wait(&a, NULL, &p, 1, 0), -EPIPE);
	assert_int_equal(evr_dir_remove(pair->peer, &object), 0);
}

static void mpmc_corrupt_geometry_refused(void **state)
{
	struct pair *pair = *state;
	struct evr_mpmc_geometry good, *g;
	struct evr_mpmc_counts counts;
	struct evr_mpmc queue;

	make_queue(pair, "q", CAPACITY, 8);
	g = &queue_memory(pair, "q")->geometry;
	good = *g;
#define WITH(field, value)                                                             \
	do {                                                                           \
		g->field = (value);                                                    \
		assert_int_equal(evr_mpmc_open(&queue, pair->peer, "q", 0), -EBADMSG); \
		assert_non_null(strstr(evr_error_detail(), #field));                   \
		assert_int_equal(evr_mpmc_stat(pair->peer, "q", &counts), -EBADMSG);   \
		*g = good;                                                             \
	} while (0)
	WITH(layout, 1);
	WITH(capacity, 0);
	WITH(capacity, 1);
	WITH(capacity, CAPACITY + 1);
	WITH(capacity, CAPACITY * 2);
	WITH(capacity, 1ULL << 32);
	WITH(elem_sz, 0);
	WITH(elem_sz, 1ULL << 61);
	WITH(cells_off, 0);
	WITH(cells_off, UINT64_MAX);
	WITH(cells_sz, 0);
	WITH(cells_sz, UINT64_MAX);
#undef WITH
	open_queue(pair, "q", &queue);
	/* Once open, it is not looked at again. */
	memset(g, 0xff, sizeof(*g));
	assert_int_equal(evr_mpmc_push(&queue, &(uint64_t){ 3 }, 1), 1);
	evr_mpmc_close(&queue);
}

/* Each word of the object, scribbled over with a handle open: no harm outside, no endless loop. */
static void scribble_over(struct pair *pair, const char *name, const uint64_t *words, size_t nr)
{
	uint8_t values[2 * CAPACITY * 8] = { 0 };
	struct evr_mpmc_counts counts;
	struct evr_object object;
	struct evr_waiter waiter;
	struct evr_mpmc queue;
	uint64_t *at, good;
	size_t i, k;

	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	assert_int_equal(evr_dir_find(pair->peer, name, &object), 0);
	at = evr_peer_at(pair->peer, object.off, object.sz);
	for (k = 16; k < object.sz / 8; k++) {
		for (i = 0; i < nr; i++) {
			open_queue(pair, name, &queue);
			good = at[k];
			at[k] = words[i];
			evr_mpmc_push_wait(&queue, &waiter, values, 2, 1);
			evr_mpmc_pop_wait(&queue, &waiter, values, 2 * CAPACITY, 1);
			evr_mpmc_peek(&queue);
			evr_mpmc_counts(&queue, &counts);
			assert_true(evr_reap_dead(pair->peer, NULL) >= 0);
			evr_mpmc_close(&queue);
			at[k] = good;
			memset(at + 16, 0, object.sz - 16 * 8);
		}
	}
	evr_waiter_fini(&waiter);
}

static void mpmc_hostile_words_do_no_harm(void **state)
{
	uint64_t words[] = { 1, 2, 4, 5, 7, UINT64_MAX, 1ULL << 63, 1ULL << 35, 0 /* own claim */ };
	struct pair *pair = *state;
	struct evr_object fence;
	uint8_t *guard;
	size_t i;

	make_queue(pair, "q", CAPACITY, 8);
	make_queue(pair, "w", CAPACITY, 4);
	words[8] = cell_word(0, stamp_of(evr_peer_self(pair->peer)) << STAMP_SHIFT | 200,
			     CELL_WRITING);
	assert_int_equal(evr_dir_create(pair->peer, "guard", EVR_KIND_USER, 4096, &fence), 0);
	guard = evr_peer_at(pair->peer, fence.off, fence.sz);
	memset(guard, 0x5a, fence.sz);
	scribble_over(pair, "q", words, 9);
	scribble_over(pair, "w", words, 9);
	for (i = 0; i < fence.sz; i++)
		assert_int_equal(guard[i], 0x5a);
}

static void mpmc_nonsense_in_a_cell_closes_the_handle(void **state)
{
	struct pair *pair = *state;
	struct evr_mpmc_counts counts;
	struct evr_waiter waiter;
	struct evr_mpmc queue;
	uint64_t value = 1;

	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	make_queue(pair, "q", CAPACITY, 8);
	open_queue(pair, "q", &queue);
	cell_at(&queue, 0)->v = cell_word(0, 0, 6);
	assert_int_equal(evr_mpmc_push(&queue, &value, 1), 0);
	assert_int_equal(evr_mpmc_state(&queue), EVR_RING_CORRUPT);
	assert_non_null(strstr(evr_error_detail(), "cell 0 is 0x6"));
	cell_at(&queue, 0)->v = 0;
	assert_int_equal(evr_mpmc_push_wait(&queue, &waiter, &value, 1, 0), -EBADMSG);
	evr_mpmc_counts(&queue, &counts);
	assert_true(counts.corrupt == 1);
	evr_mpmc_close(&queue);
	open_queue(pair, "q", &queue);
	assert_int_equal(evr_mpmc_push(&queue, &value, 1), 1);
	evr_mpmc_close(&queue);
	evr_waiter_fini(&waiter);
}

#define PRODUCERS_MAX 4

/* What the processes of one run share with their parent. */
struct traffic {
	enum evr_wait_policy policy;
	uint32_t elem_sz, batch;
	uint32_t nr; /* elements of each producer */
	struct evr_a64 taken; /* by all consumers */
	struct evr_a64 last[PRODUCERS_MAX]; /* of each producer's, by a lone consumer */
	bool is_alone;
	uint8_t seen[PRODUCERS_MAX][1 << 17];
};

struct member {
	struct traffic *traffic;
	uint32_t producer;
};

/* An element's first 4 bytes: {producer:8 | number:24}. */
static void produce(struct evr_peer *peer, void *arg)
{
	struct member *m = arg;
	struct traffic *t = m->traffic;
	uint64_t seed = 99 + m->producer;
	uint8_t elems[64 * 24] = { 0 };
	struct evr_waiter waiter;
	struct evr_mpmc queue;
	uint32_t next, i, nr, word;

	CHECK(!evr_waiter_init(&waiter, peer, t->policy));
	CHECK(!evr_mpmc_open(&queue, peer, "q", 0));
	for (next = 0; next < t->nr; next += nr) {
		nr = 1 + (uint32_t)(pair_random(&seed) % t->batch);
		if (nr > t->nr - next)
			nr = t->nr - next;
		for (i = 0; i < nr; i++) {
			word = m->producer << 24 | (next + i);
			memcpy(elems + i * t->elem_sz, &word, 4);
		}
		CHECK(TIMELY(evr_mpmc_push_wait(&queue, &waiter, elems, nr, until_ns)) == (int)nr);
	}
	evr_mpmc_close(&queue);
	evr_waiter_fini(&waiter);
}

/* Each number of each producer, in its order here, and once among all. */
static void take(struct traffic *t, const uint8_t *elems, int nr, uint32_t *next)
{
	uint32_t word, producer;
	int i;

	for (i = 0; i < nr; i++) {
		memcpy(&word, elems + (uint32_t)i * t->elem_sz, 4);
		producer = word >> 24;
		CHECK(producer < PRODUCERS_MAX && (word & 0xffffff) >= next[producer]);
		next[producer] = (word & 0xffffff) + 1;
		CHECK(!__atomic_fetch_add(&t->seen[producer][word & 0xffffff], 1,
					  __ATOMIC_RELAXED));
	}
	evr_a64_fetch_add(&t->taken, (uint64_t)nr);
}

static void consume(struct evr_peer *peer, void *arg)
{
	struct traffic *t = ((struct member *)arg)->traffic;
	uint64_t total = (uint64_t)t->nr * ((struct member *)arg)->producer;
	uint32_t next[PRODUCERS_MAX] = { 0 };
	struct evr_waiter waiter;
	uint8_t elems[64 * 24];
	struct evr_mpmc queue;
	int nr;

	CHECK(!evr_waiter_init(&waiter, peer, t->policy));
	CHECK(!evr_mpmc_open(&queue, peer, "q", 0));
	while (evr_a64_load_acquire(&t->taken) < total) {
		/* Another may take the last one: short waits, whose end means nothing. */
		nr = evr_mpmc_pop_wait(&queue, &waiter, elems, t->batch, evr_now_ns() + 20000000);
		CHECK(nr > 0 || nr == -ETIMEDOUT);
		if (nr > 0)
			take(t, elems, nr, next);
	}
	evr_mpmc_close(&queue);
	evr_waiter_fini(&waiter);
}

static void run_traffic(struct pair *pair, struct traffic setup, uint32_t producers,
			uint32_t consumers)
{
	struct member members[8];
	struct evr_mpmc_counts counts;
	struct traffic *t;
	uint32_t i, n;
	pid_t pids[8];

	t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(t != MAP_FAILED);
	*t = setup;
	make_queue(pair, "q", 64, t->elem_sz);
	for (i = 0; i < producers + consumers; i++) {
		members[i] = (struct member){ t, i < producers ? i : producers };
		pids[i] = pair_fork(pair, i < producers ? produce : consume, &members[i]);
	}
	for (i = 0; i < producers + consumers; i++)
		pair_join(pids[i]);
	for (i = 0; i < producers; i++)
		for (n = 0; n < t->nr; n++)
			assert_int_equal(t->seen[i][n], 1);
	pair_settle(pair);
	assert_int_equal(evr_mpmc_stat(pair->peer, "q", &counts), 0);
	assert_true(counts.in == (uint64_t)t->nr * producers && counts.out == counts.in);
	assert_true(counts.holes == 0 && counts.lost == 0);
	assert_true(counts.opens == producers + consumers);
	munmap(t, sizeof(*t));
}

static void mpmc_two_processes_words_once_in_order(void **state)
{
	run_traffic(*state, (struct traffic){ EVR_WAIT_ADAPTIVE, 4, 32, 100000 }, 1, 1);
}

static void mpmc_two_processes_runs_once_in_order(void **state)
{
	run_traffic(*state, (struct traffic){ EVR_WAIT_ADAPTIVE, 8, 32, 100000 }, 1, 1);
}

static void mpmc_four_processes_words_once_in_order(void **state)
{
	run_traffic(*state, (struct traffic){ EVR_WAIT_ADAPTIVE, 4, 7, 40000 }, 2, 2);
}

static void mpmc_four_processes_runs_once_in_order(void **state)
{
	run_traffic(*state, (struct traffic){ EVR_WAIT_ADAPTIVE, 24, 7, 40000 }, 2, 2);
}

static void mpmc_six_processes_sleeping_once_in_order(void **state)
{
	run_traffic(*state, (struct traffic){ EVR_WAIT_SLEEP, 8, 3, 4000 }, 3, 3);
}

static void mpmc_observer_reads_the_counts(void **state)
{
	struct evr_peer_options options = { .struct_sz = sizeof(options),
					    .flags = EVR_PEER_OBSERVER };
	struct pair *pair = *state;
	struct evr_mpmc_counts counts;
	struct evr_peer *observer;
	struct evr_mpmc queue, none;
	uint64_t values[3] = { 1, 2, 3 };

	make_queue(pair, "q", CAPACITY, 8);
	open_queue(pair, "q", &queue);
	assert_int_equal(evr_mpmc_push(&queue, values, 3), 3);
	assert_int_equal(evr_mpmc_pop(&queue, values, 1), 1);
	assert_int_equal(evr_peer_attach(&observer, pair->segment, &options), 0);
	assert_int_equal(evr_mpmc_open(&none, observer, "q", 0), -EROFS);
	memset(&counts, 0xee, sizeof(counts));
	assert_int_equal(evr_mpmc_stat(observer, "q", &counts), 0);
	assert_true(counts.in == 3 && counts.out == 1 && counts.opens == 1 && counts.lost == 0);
	assert_int_equal(evr_mpmc_stat(observer, "none", &counts), -ENOENT);
	evr_peer_detach(observer);
	evr_mpmc_close(&queue);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, pair_open, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(mpmc_limits_refused_beyond),
		CASE(mpmc_filled_to_capacity_takes_no_more),
		CASE(mpmc_laps_pass_their_end_in_order),
		CASE(mpmc_handle_fallen_behind_catches_up),
		CASE(mpmc_grants_are_one_element_each),
		CASE(mpmc_other_type_refused),
		CASE(mpmc_corrupt_geometry_refused),
		CASE(mpmc_hostile_words_do_no_harm),
		CASE(mpmc_nonsense_in_a_cell_closes_the_handle),
		CASE(mpmc_two_processes_words_once_in_order),
		CASE(mpmc_two_processes_runs_once_in_order),
		CASE(mpmc_four_processes_words_once_in_order),
		CASE(mpmc_four_processes_runs_once_in_order),
		CASE(mpmc_six_processes_sleeping_once_in_order),
		CASE(mpmc_observer_reads_the_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
