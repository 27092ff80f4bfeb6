/* SPDX-License-Identifier: MIT */
/*
 * Byte streams: frame sizes at their limits, frames of the whole capacity anywhere,
 * positions across 2^64, deaths, and headers scribbled over.
 *
 * Mutants seen to fail here: no room behind the capacity (bytes_whole_capacity_*),
 * stamp not checked (bytes_hostile_header_*), length compared with the capacity
 * and not with what is there (bytes_hostile_header_*), commit of what was reserved
 * instead of what was used (bytes_commit_of_less_*).
 */
#include "pair.h"

#include <evering/lane.h>

#define CAPACITY 1024
#define MAX (CAPACITY - EVR_FRAME_HEADER_SZ)

static void make_stream(struct pair *pair, uint64_t capacity, uint64_t frame_max)
{
	struct evr_bytes_options options = { .struct_sz = sizeof(options),
					     .capacity = capacity,
					     .frame_max = frame_max };

	assert_int_equal(evr_bytes_create(pair->peer, "s", &options), 0);
}

static struct evr_lane_object *stream_memory(struct pair *pair)
{
	struct evr_object object;

	assert_int_equal(evr_dir_find(pair->peer, "s", &object), 0);
	return evr_peer_at(pair->peer, object.off, object.sz);
}

static void open_both(struct pair *pair, struct evr_bytes *in, struct evr_bytes *out)
{
	assert_int_equal(evr_bytes_open(in, pair->peer, "s", EVR_PRODUCER), 0);
	assert_int_equal(evr_bytes_open(out, pair->peer, "s", EVR_CONSUMER), 0);
}

static void close_both(struct evr_bytes *in, struct evr_bytes *out)
{
	evr_bytes_close(in);
	evr_bytes_close(out);
}

static void bytes_wrong_options_refused(void **state)
{
	struct evr_bytes_options o = { .struct_sz = sizeof(o) };
	struct pair *pair = *state;

	o.capacity = 512;
	assert_int_equal(evr_bytes_create(pair->peer, "s", &o), -EINVAL);
	o.capacity = 1025;
	assert_int_equal(evr_bytes_create(pair->peer, "s", &o), -EINVAL);
	o.capacity = 1ULL << 47;
	assert_int_equal(evr_bytes_create(pair->peer, "s", &o), -EINVAL);
	o.capacity = 1ULL << 46;
	assert_int_equal(evr_bytes_create(pair->peer, "s", &o), -ENOSPC);
	o.capacity = CAPACITY;
	o.frame_max = MAX + 1;
	assert_int_equal(evr_bytes_create(pair->peer, "s", &o), -EINVAL);
	o.frame_max = MAX;
	assert_int_equal(evr_bytes_create(pair->peer, "s", &o), 0);
}

static void bytes_frame_of_each_size_arrives_whole(void **state)
{
	uint8_t data[CAPACITY], got[CAPACITY];
	struct pair *pair = *state;
	struct evr_bytes in, out;
	uint64_t sz;

	make_stream(pair, CAPACITY, 0);
	open_both(pair, &in, &out);
	assert_true(evr_bytes_frame_max(&in) == MAX);
	for (sz = 0; sz <= MAX; sz++) {
		memset(data, (int)sz, sizeof(data));
		memset(got, 0xee, sizeof(got));
		assert_int_equal(evr_bytes_read(&out, got, sizeof(got)), -EAGAIN);
		assert_int_equal(evr_bytes_write(&in, data, sz), 0);
		if (sz) {
			assert_int_equal(evr_bytes_read(&out, got, sz - 1), -EMSGSIZE);
			assert_int_equal(got[0], 0xee);
		}
		assert_int_equal(evr_bytes_read(&out, got, sz), sz);
		assert_memory_equal(got, data, sz);
		assert_int_equal(got[sz], 0xee);
	}
	assert_int_equal(evr_bytes_write(&in, data, MAX + 1), -EMSGSIZE);
	assert_null(evr_bytes_reserve(&in, MAX + 1));
	assert_null(evr_bytes_reserve(&in, UINT64_MAX));
	close_both(&in, &out);
}

static void bytes_whole_capacity_fits_at_any_position(void **state)
{
	uint8_t data[MAX], got[MAX];
	struct pair *pair = *state;
	struct evr_object object;
	struct evr_bytes in, out;
	uint8_t *guard;
	int start, i;

	make_stream(pair, CAPACITY, 0);
	assert_int_equal(evr_dir_create(pair->peer, "guard", EVR_KIND_USER, 128, &object), 0);
	guard = evr_peer_at(pair->peer, object.off, object.sz);
	memset(guard, 0x5a, 128);
	open_both(pair, &in, &out);
	for (start = 0; start < CAPACITY; start += 16) {
		for (i = 0; i < MAX; i++)
			data[i] = (uint8_t)(start + i * 7);
		assert_int_equal(evr_bytes_write(&in, data, MAX), 0);
		assert_int_equal(evr_bytes_write(&in, data, 0), -EAGAIN);
		assert_int_equal(evr_bytes_read(&out, got, MAX), MAX);
		assert_memory_equal(got, data, MAX);
		/* One header further. */
		assert_int_equal(evr_bytes_write(&in, NULL, 0), 0);
		assert_int_equal(evr_bytes_read(&out, NULL, 0), 0);
	}
	for (i = 0; i < 128; i++)
		assert_int_equal(guard[i], 0x5a);
	close_both(&in, &out);
}

static void bytes_commit_of_less_frees_the_rest(void **state)
{
	struct pair *pair = *state;
	struct evr_bytes in, out;
	const void *from;
	uint64_t sz = 99;
	char *to;

	make_stream(pair, CAPACITY, 0);
	open_both(pair, &in, &out);
	assert_int_equal(evr_bytes_commit(&in, 0), -EINVAL);
	to = evr_bytes_reserve(&in, MAX);
	assert_non_null(to);
	assert_int_equal((uintptr_t)to % 16, 0);
	memcpy(to, "hello", 5);
	assert_null(evr_bytes_peek(&out, &sz));
	assert_true(sz == 0);
	assert_int_equal(evr_bytes_commit(&in, MAX + 1), -EINVAL);
	assert_int_equal(evr_bytes_commit(&in, 5), 0);
	assert_int_equal(evr_bytes_commit(&in, 5), -EINVAL);
	/* The rest is free: of two frames more, of 16 + 16 and what is left. */
	assert_int_equal(evr_bytes_write(&in, "x", 1), 0);
	assert_non_null(evr_bytes_reserve(&in, MAX - 64));
	from = evr_bytes_peek(&out, &sz);
	assert_true(sz == 5 && !memcmp(from, "hello", 5));
	assert_ptr_equal(evr_bytes_peek(&out, &sz), from);
	evr_bytes_release(&out);
	evr_bytes_release(&out);
	from = evr_bytes_peek(&out, &sz);
	assert_true(sz == 1 && !memcmp(from, "x", 1));
	close_both(&in, &out);
}

static void bytes_kinds_and_batches_are_published_together(void **state)
{
	struct pair *pair = *state;
	struct evr_ring_counts counts;
	struct evr_bytes in, out;
	const void *from;
	uint64_t sz;
	int i;

	make_stream(pair, CAPACITY, 0);
	open_both(pair, &in, &out);
	for (i = 0; i < 3; i++) {
		memset(evr_bytes_reserve(&in, 8), i, 8);
		assert_int_equal(evr_bytes_commit_more(&in, 8, (uint32_t)i), 0);
		assert_null(evr_bytes_peek(&out, &sz));
	}
	assert_non_null(evr_bytes_reserve(&in, 8));
	assert_int_equal(evr_bytes_commit_more(&in, 8, 256), -EINVAL);
	evr_bytes_flush(&in);
	for (i = 0; i < 3; i++) {
		from = evr_bytes_peek(&out, &sz);
		assert_non_null(from);
		assert_int_equal(*(const char *)from, i);
		assert_int_equal(evr_bytes_kind(&out), i);
		evr_bytes_release_more(&out);
	}
	evr_bytes_counts(&out, EVR_CONSUMER, &counts);
	assert_true(counts.pos == 0 && counts.messages == 0);
	evr_bytes_flush(&out);
	evr_bytes_counts(&out, EVR_CONSUMER, &counts);
	assert_true(counts.pos == 96 && counts.messages == 3);
	close_both(&in, &out);
}

static void bytes_positions_pass_2_64_in_order(void **state)
{
	uint8_t data[MAX], got[MAX], expected[MAX];
	uint64_t seed = 3, written = 0, read = 0;
	struct pair *pair = *state;
	struct evr_lane_object *o;
	struct evr_bytes in, out;
	uint64_t sizes[64];

	make_stream(pair, CAPACITY, 0);
	o = stream_memory(pair);
	o->sides[0].pos.v = o->sides[1].pos.v = UINT64_MAX - 100015;
	open_both(pair, &in, &out);
	while (read < 5000) {
		uint64_t sz = pair_random(&seed) % (seed & 1 << 30 ? 64 : MAX);

		memset(data, (int)written, sz);
		if (evr_bytes_write(&in, data, sz) == 0)
			sizes[written++ % 64] = sz;
		else
			assert_true(written > read);
		if (pair_random(&seed) % 2 && read < written) {
			sz = sizes[read % 64];
			assert_int_equal(evr_bytes_read(&out, got, MAX), sz);
			memset(expected, (int)read++, sz);
			assert_memory_equal(got, expected, sz);
		}
		assert_true(written - read <= 64);
	}
	assert_true(o->sides[1].pos.v < UINT64_MAX / 2);
	close_both(&in, &out);
}

static const uint64_t nonsense[] = { 0,		 1,	     8,		 MAX,
				     MAX + 1,	 CAPACITY,   1ULL << 32, 1ULL << 55,
				     1ULL << 56, 1ULL << 63, UINT64_MAX, UINT64_MAX - 15 };
#define NONSENSE_NR (sizeof(nonsense) / sizeof(nonsense[0]))

static void bytes_hostile_header_closes_the_end(void **state)
{
	struct pair *pair = *state;
	struct evr_lane_object *o;
	struct evr_frame *frame;
	struct evr_bytes in, out;
	uint8_t got[MAX];
	int64_t ret;
	size_t i;

	make_stream(pair, CAPACITY, 0);
	o = stream_memory(pair);
	for (i = 0; i < 2 * NONSENSE_NR; i++) {
		bool stamp = i >= NONSENSE_NR;
		uint64_t value = nonsense[i % NONSENSE_NR];

		o->sides[0].pos.v = o->sides[1].pos.v = 512;
		open_both(pair, &in, &out);
		frame = (struct evr_frame *)((uint8_t *)(o + 1) + 512);
		assert_int_equal(evr_bytes_write(&in, "hello", 5), 0);
		*(stamp ? &frame->stamp.v : &frame->len_kind.v) = value;
		ret = evr_bytes_read(&out, got, MAX);
		/* Up to 16 bytes there are, and up to so many may be said to be. */
		if (!stamp && (value << 8 >> 8) <= 16) {
			assert_true(ret == (int64_t)(value << 8 >> 8));
		} else {
			assert_int_equal(ret, -EBADMSG);
			assert_int_equal(evr_bytes_state(&out), EVR_RING_CORRUPT);
			assert_int_equal(evr_bytes_read(&out, got, MAX), -EBADMSG);
		}
		close_both(&in, &out);
	}
}

static void bytes_hostile_position_closes_the_end(void **state)
{
	struct pair *pair = *state;
	struct evr_lane_object *o;
	struct evr_waiter waiter;
	struct evr_bytes end;
	uint8_t data[MAX] = { 0 };
	const void *from;
	size_t i;
	int role, k, err;
	uint64_t sz;
	void *to;

	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_ADAPTIVE), 0);
	make_stream(pair, CAPACITY, 0);
	o = stream_memory(pair);
	for (role = 0; role < 2; role++) {
		for (i = 0; i < NONSENSE_NR; i++) {
			o->sides[0].pos.v = o->sides[1].pos.v = 1 << 20;
			memset(o + 1, 0, 2 * CAPACITY);
			assert_int_equal(evr_bytes_open(&end, pair->peer, "s", role), 0);
			o->sides[!role].pos.v = nonsense[i] + (i < 6 ? 1 << 20 : 0);
			for (k = 0, err = 0; k < 8 && !err; k++) {
				if (role == EVR_PRODUCER) {
					err = evr_bytes_reserve_wait(&end, &waiter, 500, 0, &to);
					if (!err)
						memset(to, 0, 500);
					if (!err)
						err = evr_bytes_commit(&end, 500);
				} else {
					err = evr_bytes_peek_wait(&end, &waiter, 0, &from, &sz);
					if (!err)
						memcpy(data, from, sz);
					evr_bytes_release(&end);
				}
			}
			assert_true(err == -EBADMSG || err == -ETIMEDOUT);
			if (i >= 6)
				assert_int_equal(evr_bytes_state(&end), EVR_RING_CORRUPT);
			evr_bytes_close(&end);
		}
	}
	/* One's own position, left by a predecessor, where no frame can start. */
	o->sides[0].pos.v = o->sides[1].pos.v = 24;
	assert_int_equal(evr_bytes_open(&end, pair->peer, "s", EVR_PRODUCER), -EBADMSG);
	o->sides[0].pos.v = 4096;
	o->sides[1].pos.v = 16;
	assert_int_equal(evr_bytes_open(&end, pair->peer, "s", EVR_CONSUMER), -EBADMSG);
	evr_waiter_fini(&waiter);
}

static void bytes_corrupt_geometry_refused(void **state)
{
	struct pair *pair = *state;
	struct evr_lane_geometry good, *g;
	struct evr_bytes end;

	make_stream(pair, CAPACITY, 0);
	g = &stream_memory(pair)->geometry;
	good = *g;
#define WITH(field, value)                                                                       \
	do {                                                                                     \
		g->field = (value);                                                              \
		assert_int_equal(evr_bytes_open(&end, pair->peer, "s", EVR_PRODUCER), -EBADMSG); \
		*g = good;                                                                       \
	} while (0)
	WITH(span, 0);
	WITH(span, 512);
	WITH(span, CAPACITY * 2);
	WITH(span, 1ULL << 63);
	WITH(unit_sz, 0);
	WITH(unit_sz, 16);
	WITH(unit_sz, CAPACITY + 16);
	WITH(unit_sz, CAPACITY - 1);
	WITH(data_sz, 2 * CAPACITY - 1);
	WITH(data_sz, UINT64_MAX);
#undef WITH
	assert_int_equal(evr_bytes_open(&end, pair->peer, "s", EVR_PRODUCER), 0);
	evr_bytes_close(&end);
}

/* Frame n holds its number n and bytes that follow from it; n is counted by the ring. */
static uint64_t frame_sz(uint64_t n)
{
	return 8 + (n * 7919) % 3000;
}

static void send_frames(struct evr_peer *peer, void *arg)
{
	uint64_t nr = *(uint64_t *)arg, n;
	struct evr_bytes in;
	struct evr_waiter w;
	void *to;

	CHECK(!evr_waiter_init(&w, peer, EVR_WAIT_ADAPTIVE));
	CHECK(!evr_bytes_open(&in, peer, "s", EVR_PRODUCER));
	for (n = in.frames; n < nr; n++) {
		CHECK(!TIMELY(evr_bytes_reserve_wait(&in, &w, 4000, until_ns, &to)));
		memset(to, (int)n, frame_sz(n));
		memcpy(to, &n, 8);
		CHECK(!evr_bytes_commit_more(&in, frame_sz(n), EVR_FRAME_INLINE));
		if (n % 3 == 0)
			evr_bytes_flush(&in);
	}
	evr_bytes_close(&in);
	evr_waiter_fini(&w);
}

static int take_frame(struct evr_bytes *out, struct evr_waiter *w, uint64_t n)
{
	const uint8_t *from;
	uint64_t sz, value, i;
	int err = TIMELY(evr_bytes_peek_wait(out, w, until_ns, (const void **)&from, &sz));

	if (err)
		return err;
	assert_true(sz == frame_sz(n));
	memcpy(&value, from, 8);
	assert_true(value == n);
	for (i = 8; i < sz; i += 97)
		assert_int_equal(from[i], (uint8_t)n);
	evr_bytes_release(out);
	return 0;
}

static void bytes_two_processes_reach_the_end(void **state)
{
	uint64_t nr = 50000, n = 0;
	struct pair *pair = *state;
	struct evr_bytes out;
	struct evr_waiter w;
	int err = 0;
	pid_t pid;

	make_stream(pair, 16384, 4096);
	assert_int_equal(evr_waiter_init(&w, pair->peer, EVR_WAIT_ADAPTIVE), 0);
	assert_int_equal(evr_bytes_open(&out, pair->peer, "s", EVR_CONSUMER), 0);
	pid = pair_fork(pair, send_frames, &nr);
	while (!err) {
		err = take_frame(&out, &w, n);
		n += !err;
	}
	assert_int_equal(err, -EPIPE);
	assert_true(n == nr);
	pair_join(pid);
	evr_bytes_close(&out);
	evr_waiter_fini(&w);
	pair_settle(pair);
}

static void bytes_producer_killed_delivers_whole_frames(void **state)
{
	uint64_t nr = UINT64_MAX, n = 0, seed = 21;
	struct pair *pair = *state;
	struct evr_lane_object *o;
	struct evr_bytes out;
	struct evr_waiter w;
	int err, round;
	pid_t pid;

	make_stream(pair, 16384, 4096);
	o = stream_memory(pair);
	assert_int_equal(evr_waiter_init(&w, pair->peer, EVR_WAIT_ADAPTIVE), 0);
	assert_int_equal(evr_bytes_open(&out, pair->peer, "s", EVR_CONSUMER), 0);
	for (round = 0; round < 20; round++) {
		bool killed = false;

		pid = pair_fork(pair, send_frames, &nr);
		do {
			err = take_frame(&out, &w, n);
			n += !err;
			if (!killed && !err && pair_random(&seed) % 100 == 0) {
				pair_sleep_us(seed % 300);
				kill(pid, SIGKILL);
				killed = true;
			}
		} while (!err);
		assert_int_equal(err, -EOWNERDEAD);
		assert_true(out.lane.pos == o->sides[EVR_PRODUCER].pos.v);
		assert_true(waitpid(pid, NULL, 0) == pid);
		/* The count is written before the position: a death between leaves one too many. */
		o->sides[EVR_PRODUCER].counts.messages.v = n;
		evr_bytes_forget(&out);
	}
	evr_bytes_close(&out);
	evr_waiter_fini(&w);
	pair_settle(pair);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, pair_open, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(bytes_wrong_options_refused),
		CASE(bytes_frame_of_each_size_arrives_whole),
		CASE(bytes_whole_capacity_fits_at_any_position),
		CASE(bytes_commit_of_less_frees_the_rest),
		CASE(bytes_kinds_and_batches_are_published_together),
		CASE(bytes_positions_pass_2_64_in_order),
		CASE(bytes_hostile_header_closes_the_end),
		CASE(bytes_hostile_position_closes_the_end),
		CASE(bytes_corrupt_geometry_refused),
		CASE(bytes_two_processes_reach_the_end),
		CASE(bytes_producer_killed_delivers_whole_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
