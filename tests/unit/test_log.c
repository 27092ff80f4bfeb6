/* SPDX-License-Identifier: MIT */
/*
 * Logs: limits, records across the end of the memory, several processes, hostile words;
 * and a real process killed before its n-th access to shared memory, for each n.
 *
 * Mutants seen to fail here: the consumer's position not noted (log_consumer_*,
 * log_producer_*, log_*_processes_* and others), a length that is not checked
 * (log_hostile_length_*), no wake when a consumer passes holes (log_holes_*); the cells of
 * a run left from its first on, and a wait for room that does not look at all of it
 * (both hang). Orders between processes are tests/model/mutants/log.mutants' to show.
 */
#include "die.h"

#include <sys/mman.h>

#include "crowd.h"

#define CAPACITY 1024
#define UNITS (CAPACITY / 64)

static void make_log(struct pair *pair, uint64_t capacity, uint64_t record_max)
{
	struct evr_log_options options = { .struct_sz = sizeof(options),
					   .capacity = capacity,
					   .record_max = record_max };

	assert_int_equal(evr_log_create(pair->peer, "l", &options), 0);
}

static void open_both(struct pair *pair, struct evr_log *in, struct evr_log *out)
{
	assert_int_equal(evr_log_open(in, pair->peer, "l", EVR_PRODUCER), 0);
	assert_int_equal(evr_log_open(out, pair->peer, "l", EVR_CONSUMER), 0);
}

static int open_small(void **state)
{
	return pair_open_sized(state, 64 << 10);
}

static void log_limits_refused_beyond(void **state)
{
	struct evr_log_options options = { .struct_sz = sizeof(options) };
	struct pair *pair = *state;
	struct evr_log in, out;
	struct evr_object object;

	options.capacity = 1024;
	options.record_max = 1024 - EVR_RECORD_HEADER_SZ + 1;
	assert_int_equal(evr_log_create(pair->peer, "l", &options), -EINVAL);
	options.capacity = 16;
	options.record_max = 1;
	assert_int_equal(evr_log_create(pair->peer, "l", &options), -EINVAL);
	options.capacity = (64ULL << 24) + 1;
	assert_int_equal(evr_log_create(pair->peer, "l", &options), -EINVAL);
	options.capacity = UINT64_MAX;
	options.record_max = UINT64_MAX - 64;
	assert_int_equal(evr_log_create(pair->peer, "l", &options), -EINVAL);
	make_log(pair, 1024, 1024 - EVR_RECORD_HEADER_SZ);
	open_both(pair, &in, &out);
	assert_true(evr_log_capacity(&in) == 1024 && evr_log_record_max(&in) == 1008);
	evr_log_close(&in);
	evr_log_close(&out);
	assert_int_equal(evr_dir_find(pair->peer, "l", &object), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &object), 0);
	/* What 255 units of 64 bytes cannot hold gets larger ones. */
	make_log(pair, 1 << 20, 100000);
	open_both(pair, &in, &out);
	assert_true(in.unit_sz == 448 && evr_log_record_max(&in) >= 100000);
	evr_log_close(&in);
	evr_log_close(&out);
}

static void log_record_of_any_size_fits_wherever(void **state)
{
	static uint8_t data[1100], got[1100];
	struct pair *pair = *state;
	struct evr_log_counts c;
	struct evr_log in, out;
	uint64_t sz, k;

	make_log(pair, CAPACITY, CAPACITY - EVR_RECORD_HEADER_SZ);
	open_both(pair, &in, &out);
	for (k = 0; k < sizeof(data); k++)
		data[k] = (uint8_t)(k * 7);
	for (sz = 0; sz <= 1008; sz++) {
		assert_int_equal(evr_log_write(&in, data, sz), 0);
		memset(got, 0xee, sizeof(got));
		assert_int_equal(evr_log_read(&out, got, sizeof(got)), sz);
		assert_memory_equal(got, data, sz);
		assert_int_equal(got[sz], 0xee);
	}
	assert_int_equal(evr_log_write(&in, data, 1009), -EMSGSIZE);
	assert_int_equal(evr_log_read(&out, got, 1), -EAGAIN);
	/* Full, to the last unit; and one that is too long for its reader stays. */
	for (k = 0; k < UNITS; k++)
		assert_int_equal(evr_log_write(&in, data, 48), 0);
	assert_int_equal(evr_log_write(&in, data, 0), -EAGAIN);
	assert_int_equal(evr_log_state(&in), EVR_RING_OK);
	assert_int_equal(evr_log_read(&out, got, 47), -EMSGSIZE);
	assert_int_equal(evr_log_read(&out, got, 48), 48);
	assert_int_equal(evr_log_write(&in, data, 49), -EAGAIN);
	assert_int_equal(evr_log_write(&in, data, 48), 0);
	for (k = 0; k < UNITS; k++)
		assert_int_equal(evr_log_read(&out, got, 48), 48);
	evr_log_counts(&out, &c);
	assert_true(c.in == c.out && c.holes == 0 && c.records == 1009 + UNITS + 1);
	evr_log_close(&in);
	evr_log_close(&out);
}

static void log_grants_are_settled_or_never_were(void **state)
{
	struct pair *pair = *state;
	struct evr_log a, b, out;
	struct evr_log_counts c;
	uint64_t sz;
	void *to;

	make_log(pair, CAPACITY, 500);
	open_both(pair, &a, &out);
	assert_int_equal(evr_log_open(&b, pair->peer, "l", EVR_PRODUCER), 0);
	to = evr_log_reserve(&a, 300);
	assert_true(to && (uintptr_t)to % 16 == 0);
	memcpy(to, "first", 5);
	assert_int_equal(evr_log_write(&b, "second", 6), 0);
	assert_null(evr_log_peek(&out, &sz));
	assert_int_equal(evr_log_state(&out), EVR_RING_BUSY);
	assert_int_equal(evr_log_commit(&a, 301), -EINVAL);
	assert_int_equal(evr_log_commit(&a, 5), 0);
	assert_int_equal(evr_log_commit(&a, 5), -EINVAL);
	assert_memory_equal(evr_log_peek(&out, &sz), "first", 5);
	assert_int_equal(sz, 5);
	assert_memory_equal(evr_log_peek(&out, &sz), "first", 5);
	evr_log_release(&out);
	evr_log_release(&out);
	assert_memory_equal(evr_log_peek(&out, &sz), "second", 6);
	evr_log_release(&out);
	assert_non_null(evr_log_reserve(&a, 100));
	assert_non_null(evr_log_reserve(&a, 200));
	evr_log_cancel(&a);
	assert_non_null(evr_log_reserve(&a, 10));
	evr_log_close(&a);
	assert_null(evr_log_peek(&out, &sz));
	assert_int_equal(evr_log_state(&out), EVR_RING_OK);
	evr_log_counts(&out, &c);
	assert_true(c.holes == 2 + 4 + 1 && c.in == c.out && c.in == 5 + 1 + 7);
	assert_int_equal(evr_log_write(&a, "x", 1), -EPIPE);
	assert_int_equal(evr_log_write_wait(&a, NULL, "x", 1, 0), -EPIPE);
	evr_log_close(&b);
	evr_log_close(&out);
}

static void log_second_consumer_is_busy(void **state)
{
	struct pair *pair = *state;
	struct evr_log in, out, again;
	struct evr_log_counts c;
	struct evr_object object;
	struct evr_mpmc queue;
	uint64_t sz;

	make_log(pair, CAPACITY, 500);
	assert_int_equal(evr_log_open(&in, pair->peer, "none", EVR_PRODUCER), -ENOENT);
	assert_int_equal(evr_log_open(&in, pair->peer, "l", (enum evr_role)2), -EINVAL);
	assert_int_equal(evr_mpmc_open(&queue, pair->peer, "l", 0), -EINVAL);
	open_both(pair, &in, &out);
	assert_int_equal(evr_log_open(&again, pair->peer, "l", EVR_CONSUMER), -EBUSY);
	assert_int_equal(evr_dir_find(pair->peer, "l", &object), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &object), -EBUSY);
	assert_int_equal(evr_log_write(&in, "one", 3), 0);
	assert_int_equal(evr_log_write(&in, "two", 3), 0);
	evr_log_release(&out);
	assert_non_null(evr_log_peek(&out, &sz));
	evr_log_release(&out);
	assert_non_null(evr_log_peek(&out, &sz));
	evr_log_counts(&in, &c);
	assert_int_equal(c.consumer.slot, evr_peer_self(pair->peer).slot);
	evr_log_close(&out);
	assert_int_equal(evr_dir_remove(pair->peer, &object), -EBUSY);
	/* What was not released is there for the next. */
	assert_int_equal(evr_log_open(&again, pair->peer, "l", EVR_CONSUMER), 0);
	assert_memory_equal(evr_log_peek(&again, &sz), "two", 3);
	assert_int_equal(evr_log_stat(pair->peer, "l", &c), 0);
	assert_true(c.in == 2 && c.out == 1 && c.records == 1 && c.opens == 3);
	evr_log_close(&again);
	evr_log_close(&in);
	assert_int_equal(evr_log_stat(pair->peer, "l", &c), 0);
	assert_int_equal(c.consumer.slot, EVR_SLOT_ANY);
	assert_int_equal(evr_dir_remove(pair->peer, &object), 0);
}

static struct evr_log_object *log_memory(struct pair *pair, struct evr_object *object)
{
	assert_int_equal(evr_dir_find(pair->peer, "l", object), 0);
	return evr_peer_at(pair->peer, object->off, object->sz);
}

static void log_corrupt_geometry_refused(void **state)
{
	struct pair *pair = *state;
	struct evr_mpmc_geometry good, *g;
	struct evr_object object;
	struct evr_log log;

	make_log(pair, CAPACITY, 500);
	g = &log_memory(pair, &object)->cells.geometry;
	good = *g;
#define WITH(field, value)                                                                     \
	do {                                                                                   \
		g->field = (value);                                                            \
		assert_int_equal(evr_log_open(&log, pair->peer, "l", EVR_PRODUCER), -EBADMSG); \
		assert_non_null(strstr(evr_error_detail(), #field));                           \
		assert_int_equal(evr_log_open(&log, pair->peer, "l", EVR_CONSUMER), -EBADMSG); \
		*g = good;                                                                     \
	} while (0)
	WITH(layout, EVR_MPMC_LAYOUT);
	WITH(capacity, 0);
	WITH(capacity, 1);
	WITH(capacity, UNITS * 2);
	WITH(capacity, 1ULL << 63);
	WITH(elem_sz, 0);
	WITH(elem_sz, 65);
	WITH(elem_sz, 128);
	WITH(elem_sz, UINT64_MAX);
	WITH(cells_off, 0);
	WITH(cells_sz, UINT64_MAX);
#undef WITH
	assert_int_equal(evr_log_open(&log, pair->peer, "l", EVR_CONSUMER), 0);
	evr_log_close(&log);
}

static void log_hostile_words_do_no_harm(void **state)
{
	uint64_t nonsense[] = { 1, 2, 3, UINT64_MAX, 1ULL << 63, 1ULL << 35, 2 | 0xff << 3, 65 };
	uint8_t data[2048] = { 0 };
	struct pair *pair = *state;
	struct evr_object object, fence;
	struct evr_waiter waiter;
	struct evr_log in, out;
	uint8_t *guard;
	uint64_t *at, good;
	size_t i, k;

	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	make_log(pair, CAPACITY, 500);
	assert_int_equal(evr_dir_create(pair->peer, "guard", EVR_KIND_USER, 4096, &fence), 0);
	guard = evr_peer_at(pair->peer, fence.off, fence.sz);
	memset(guard, 0x5a, fence.sz);
	at = (uint64_t *)log_memory(pair, &object);
	for (k = 0; k < object.sz / 8; k++) {
		if (k < 16 || (k >= 7 * 16 && k < 8 * 16))
			continue; /* geometry: the case above */
		for (i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
			open_both(pair, &in, &out);
			evr_log_write(&in, data, 100);
			good = at[k];
			at[k] = nonsense[i];
			evr_log_write_wait(&in, &waiter, data, 500, 1);
			evr_log_read_wait(&out, &waiter, data, sizeof(data), 1);
			evr_log_read(&out, data, sizeof(data));
			evr_log_reserve(&in, 64);
			assert_true(evr_reap_dead(pair->peer, NULL) >= 0);
			evr_log_close(&in);
			evr_log_close(&out);
			at[k] = good;
			memset(at + 16, 0, 6 * 128);
			memset(at + 8 * 16, 0, object.sz - 8 * 128);
		}
	}
	for (i = 0; i < fence.sz; i++)
		assert_int_equal(guard[i], 0x5a);
	evr_waiter_fini(&waiter);
}

/* A record of nonsense length is met with an error, and the handle closed. */
static void log_hostile_length_closes_the_handle(void **state)
{
	struct pair *pair = *state;
	struct evr_log in, out;
	struct evr_log_counts c;
	uint8_t data[2048];

	make_log(pair, CAPACITY, 500);
	open_both(pair, &in, &out);
	assert_int_equal(evr_log_write(&in, "abc", 3), 0);
	((uint64_t *)in.data)[0] = 64 - EVR_RECORD_HEADER_SZ + 1;
	assert_int_equal(evr_log_read(&out, data, sizeof(data)), -EBADMSG);
	assert_int_equal(evr_log_state(&out), EVR_RING_CORRUPT);
	evr_log_counts(&in, &c);
	assert_true(c.corrupt == 1);
	((uint64_t *)in.data)[0] = 64 - EVR_RECORD_HEADER_SZ;
	evr_log_close(&out);
	assert_int_equal(evr_log_open(&out, pair->peer, "l", EVR_CONSUMER), 0);
	assert_int_equal(evr_log_read(&out, data, sizeof(data)), 48);
	evr_log_close(&out);
	evr_log_close(&in);
}

struct stream {
	enum evr_wait_policy policy;
	uint32_t nr, who;
};

/* A record: who, its number, and bytes that follow from both, of a length of their own. */
static uint32_t fill(uint8_t *data, uint32_t who, uint32_t number)
{
	uint32_t sz = 8 + number * 37 % 700;

	memset(data, (int)(who * 31 + number), sz);
	memcpy(data, &who, 4);
	memcpy(data + 4, &number, 4);
	return sz;
}

static void produce(struct evr_peer *peer, void *arg)
{
	struct stream *s = arg;
	struct evr_waiter waiter;
	uint8_t data[1024];
	struct evr_log log;
	uint32_t i, sz;

	CHECK(!evr_waiter_init(&waiter, peer, s->policy));
	CHECK(!evr_log_open(&log, peer, "l", EVR_PRODUCER));
	for (i = 0; i < s->nr; i++) {
		sz = fill(data, s->who, i);
		CHECK(!TIMELY(evr_log_write_wait(&log, &waiter, data, sz, until_ns)));
	}
	evr_log_close(&log);
	evr_waiter_fini(&waiter);
}

static void run_streams(struct pair *pair, enum evr_wait_policy policy, uint32_t nr, uint32_t procs)
{
	uint8_t data[1024], want[1024];
	uint32_t next[3] = { 0 }, who, number, total;
	struct stream s[3];
	struct evr_waiter waiter;
	struct evr_log_counts c;
	struct evr_log out;
	pid_t pids[3];
	int64_t sz;

	make_log(pair, 4096, 1000);
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, policy), 0);
	assert_int_equal(evr_log_open(&out, pair->peer, "l", EVR_CONSUMER), 0);
	for (who = 0; who < procs; who++) {
		s[who] = (struct stream){ policy, nr, who };
		pids[who] = pair_fork(pair, produce, &s[who]);
	}
	for (total = 0; total < nr * procs; total++) {
		sz = evr_log_read_wait(&out, &waiter, data, sizeof(data), pair_deadline());
		assert_true(sz >= 8);
		memcpy(&who, data, 4);
		memcpy(&number, data + 4, 4);
		assert_true(who < procs);
		assert_int_equal(number, next[who]++);
		assert_int_equal(sz, fill(want, who, number));
		assert_memory_equal(data, want, (size_t)sz);
	}
	for (who = 0; who < procs; who++)
		pair_join(pids[who]);
	assert_int_equal(evr_log_read(&out, data, sizeof(data)), -EAGAIN);
	evr_log_counts(&out, &c);
	assert_true(c.in == c.out && c.holes == 0 && c.records == nr * procs);
	evr_log_close(&out);
	evr_waiter_fini(&waiter);
	pair_settle(pair);
}

static void log_one_process_arrives_whole_in_order(void **state)
{
	run_streams(*state, EVR_WAIT_ADAPTIVE, 30000, 1);
}

static void log_three_processes_arrive_whole_in_order(void **state)
{
	run_streams(*state, EVR_WAIT_ADAPTIVE, 15000, 3);
}

static void log_three_processes_sleeping_arrive_whole(void **state)
{
	run_streams(*state, EVR_WAIT_SLEEP, 1500, 3);
}

static const char *const texts[] = { "one", "twofold", "three" };

static void write_three(struct evr_peer *peer, void *arg)
{
	struct evr_log in;
	void *to;

	CHECK(!evr_log_open(&in, peer, "l", EVR_PRODUCER));
	CHECK(!evr_log_write(&in, "one", 3));
	to = evr_log_reserve(&in, 400);
	CHECK(to);
	memcpy(to, "twofold", 7);
	CHECK(!evr_log_commit(&in, 7));
	CHECK(!evr_log_write(&in, "three", 5));
	CHECK(evr_log_reserve(&in, 100));
	evr_log_close(&in);
}

static void log_producer_killed_at_each_step_leaves_whole_records(void **state)
{
	bool died = true, seen[4] = { false };
	struct pair *pair = *state;
	struct evr_log_counts c;
	struct evr_log in, out;
	uint64_t n;
	char got[512];
	int64_t sz;
	int nr;

	make_log(pair, CAPACITY, 500);
	open_both(pair, &in, &out);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		died = die_at(pair, n, write_three, NULL);
		for (nr = 0; (sz = evr_log_read(&out, got, sizeof(got))) >= 0; nr++) {
			assert_true(nr < 3);
			assert_int_equal(sz, strlen(texts[nr]));
			assert_memory_equal(got, texts[nr], (size_t)sz);
		}
		assert_int_equal(sz, -EAGAIN);
		assert_true(died || nr == 3);
		seen[nr] = true;
		evr_log_counts(&out, &c);
		assert_true(c.in == c.out);
		assert_int_equal(evr_log_write(&in, got, 500), 0);
		assert_int_equal(evr_log_read(&out, got, sizeof(got)), 500);
	}
	assert_true(seen[0] && seen[1] && seen[2] && seen[3] && c.holes > 0);
	evr_log_close(&in);
	evr_log_close(&out);
}

static void read_two(struct evr_peer *peer, void *arg)
{
	volatile uint32_t *last = arg;
	struct evr_log out;
	uint32_t number;
	const void *at;
	uint64_t sz;
	int i;

	CHECK(!evr_log_open(&out, peer, "l", EVR_CONSUMER));
	for (i = 0; i < 2; i++) {
		at = evr_log_peek(&out, &sz);
		CHECK(at && sz == 100);
		memcpy(&number, at, 4);
		*last = number;
		evr_log_release(&out);
	}
	evr_log_close(&out);
}

static void log_consumer_killed_at_each_step_redelivers_what_it_had(void **state)
{
	uint32_t next = 1, first, number = 0;
	uint8_t data[100] = { 0 };
	struct pair *pair = *state;
	struct evr_log in, out;
	struct evr_log_counts c;
	volatile uint32_t *last;
	bool died = true;
	uint64_t n;

	last = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(last != MAP_FAILED);
	make_log(pair, CAPACITY, 500);
	assert_int_equal(evr_log_open(&in, pair->peer, "l", EVR_PRODUCER), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		first = next;
		for (memcpy(data, &next, 4); !evr_log_write(&in, data, 100);)
			memcpy(data, &(uint32_t){ ++next }, 4);
		*last = first - 1;
		died = die_at(pair, n, read_two, (void *)last);
		/* The next has the last one that it saw, or the one after it; and all the others. */
		assert_int_equal(evr_log_open(&out, pair->peer, "l", EVR_CONSUMER), 0);
		assert_int_equal(evr_log_read(&out, data, sizeof(data)), 100);
		memcpy(&number, data, 4);
		assert_true(number == *last || number == *last + 1);
		while (evr_log_read(&out, data, sizeof(data)) == 100) {
			number++;
			assert_memory_equal(data, &number, 4);
		}
		assert_int_equal(number, next - 1);
		evr_log_close(&out);
	}
	evr_log_counts(&in, &c);
	assert_true(c.in == c.out && c.holes == 0);
	evr_log_close(&in);
	munmap((void *)last, 4096);
}

static void hold_a_claim(struct evr_peer *peer, void *arg)
{
	struct evr_log log;

	CHECK(!evr_log_open(&log, peer, "l", EVR_PRODUCER));
	CHECK(evr_log_reserve(&log, 200));
	raise(*(int *)arg);
	CHECK(!evr_log_commit(&log, 4));
	evr_log_close(&log);
}

static void do_nothing(struct evr_peer *peer, void *arg)
{
}

static void log_settler_killed_at_each_step_counts_once(void **state)
{
	struct pair *pair = *state;
	struct evr_log_counts c;
	struct evr_log out;
	bool died = true;
	uint64_t n, sz;
	int sig = SIGKILL;
	pid_t pid;

	evr_reap_auto(pair->peer, false);
	make_log(pair, CAPACITY, 500);
	assert_int_equal(evr_log_open(&out, pair->peer, "l", EVR_CONSUMER), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		pid = pair_fork(pair, hold_a_claim, &sig);
		assert_true(waitpid(pid, NULL, 0) == pid);
		died = die_at(pair, n, do_nothing, NULL);
		assert_null(evr_log_peek(&out, &sz));
		evr_log_counts(&out, &c);
		assert_true(c.holes == 4 * n && c.in == 4 * n && c.out == c.in);
	}
	evr_log_close(&out);
}

static void wait_for_half(struct evr_peer *peer, void *arg)
{
	struct evr_waiter waiter;
	uint8_t data[496] = { 0 };
	struct evr_log log;

	CHECK(!evr_log_open(&log, peer, "l", EVR_PRODUCER));
	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_SLEEP));
	CHECK(!TIMELY(evr_log_write_wait(&log, &waiter, data, sizeof(data), until_ns)));
	evr_waiter_fini(&waiter);
	evr_log_close(&log);
}

/* Until somebody has gone to sleep so often, and sleeps. */
static void await_sleeper(const struct evr_log *log, uint64_t times)
{
	struct evr_crowd *crowd = log->cells.ends[EVR_PRODUCER].waiting;
	uint64_t until = pair_deadline();

	while (evr_a64_load_acquire(&crowd->state) / CROWD_EPOCH < times) {
		assert_true(evr_now_ns() < until);
		pair_sleep_us(1000);
	}
	/* It looks once more; if that comes late, it finds what it should be woken for. */
	pair_sleep_us(20000);
}

/* All of the log becomes holes, and no record is there whose release would wake anybody. */
static void log_holes_passed_by_the_consumer_wake_who_waits_for_room(void **state)
{
	struct pair *pair = *state;
	struct evr_log in, out;
	uint64_t sz;
	pid_t pid;

	make_log(pair, CAPACITY, CAPACITY - EVR_RECORD_HEADER_SZ);
	open_both(pair, &in, &out);
	assert_non_null(evr_log_reserve(&in, CAPACITY - EVR_RECORD_HEADER_SZ));
	pid = pair_fork(pair, wait_for_half, NULL);
	await_sleeper(&in, 1);
	evr_log_cancel(&in);
	/* It was woken, and finds the first unit free, which is not enough. */
	await_sleeper(&in, 2);
	/* Passes the holes, and may find already what was written then. */
	evr_log_peek(&out, &sz);
	pair_join(pid);
	assert_non_null(evr_log_peek(&out, &sz));
	assert_int_equal(sz, 496);
	evr_log_close(&in);
	evr_log_close(&out);
}

static void log_stopped_claimer_is_not_dead(void **state)
{
	struct pair *pair = *state;
	int status = -1, sig = SIGSTOP;
	struct evr_log out, in;
	uint64_t until, sz;
	pid_t pid;

	make_log(pair, CAPACITY, 500);
	open_both(pair, &in, &out);
	pid = pair_fork(pair, hold_a_claim, &sig);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(evr_log_write(&in, "next", 4), 0);
	/* Longer than anybody waits between two looks for evidence. */
	for (until = evr_now_ns() + 150000000; evr_now_ns() < until; pair_sleep_us(1000)) {
		evr_peer_check(pair->peer);
		assert_null(evr_log_peek(&out, &sz));
		assert_int_equal(evr_log_state(&out), EVR_RING_BUSY);
	}
	assert_int_equal(evr_reap_dead(pair->peer, NULL), 0);
	kill(pid, SIGCONT);
	pair_join(pid);
	assert_non_null(evr_log_peek(&out, &sz));
	assert_int_equal(sz, 4);
	evr_log_release(&out);
	assert_memory_equal(evr_log_peek(&out, &sz), "next", 4);
	evr_log_close(&in);
	evr_log_close(&out);
}

int main(void)
{
#define SMALL(fn) cmocka_unit_test_setup_teardown(fn, open_small, pair_close)
#define LARGE(fn) cmocka_unit_test_setup_teardown(fn, pair_open, pair_close)
	const struct CMUnitTest tests[] = {
		LARGE(log_limits_refused_beyond),
		SMALL(log_record_of_any_size_fits_wherever),
		SMALL(log_grants_are_settled_or_never_were),
		SMALL(log_second_consumer_is_busy),
		SMALL(log_corrupt_geometry_refused),
		SMALL(log_hostile_words_do_no_harm),
		SMALL(log_hostile_length_closes_the_handle),
		SMALL(log_one_process_arrives_whole_in_order),
		SMALL(log_three_processes_arrive_whole_in_order),
		SMALL(log_three_processes_sleeping_arrive_whole),
		SMALL(log_producer_killed_at_each_step_leaves_whole_records),
		SMALL(log_consumer_killed_at_each_step_redelivers_what_it_had),
		SMALL(log_settler_killed_at_each_step_counts_once),
		SMALL(log_holes_passed_by_the_consumer_wake_who_waits_for_room),
		SMALL(log_stopped_claimer_is_not_dead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
