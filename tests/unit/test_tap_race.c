/* SPDX-License-Identifier: MIT */
/*
 * Taps beside a producer and a consumer that are faster: before each access of the tap, and
 * in processes of their own. What it shows is whole, and what it misses is counted.
 *
 * Mutants seen to fail here: a copy that always counts, the claims of a log not looked at
 * (tap_flood_*).
 */
#include "taps.h"

#define WORDS 6

struct flood {
	uint64_t words[WORDS];
};

/* A message that can be told from one that is of two. */
static struct flood flood_of(uint64_t number)
{
	struct flood flood;
	int i;

	for (i = 0; i < WORDS; i++)
		flood.words[i] = number * WORDS + (uint64_t)i;
	return flood;
}

/* Both ends of one kind of ring, and how many messages have gone in. */
struct ends {
	struct evr_spsc spsc_in, spsc_out;
	struct evr_slots slots_in, slots_out;
	struct evr_bytes bytes_in, bytes_out;
	struct evr_log log_in, log_out;
	struct evr_bcast bcast_in, bcast_out;
	uint64_t put, taken;
	const struct flow *flow;
	uint64_t burst;
};

/* How to use one kind. */
struct flow {
	int (*open)(struct ends *ends, struct evr_peer *peer);
	void (*put)(struct ends *ends, const struct flood *flood);
	void (*take)(struct ends *ends, struct flood *flood);
	uint64_t units; /* that a message takes */
	bool keeps; /* what was released is there until it is overwritten */
};

static int spsc_open(struct ends *ends, struct evr_peer *peer)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options),
					    .capacity = SPAN,
					    .elem_sz = sizeof(struct flood) };

	return evr_spsc_create(peer, "f", &options) ||
	       evr_spsc_open(&ends->spsc_in, peer, "f", EVR_PRODUCER, 0) ||
	       evr_spsc_open(&ends->spsc_out, peer, "f", EVR_CONSUMER, 0);
}

static void spsc_put(struct ends *ends, const struct flood *flood)
{
	CHECK(evr_spsc_push(&ends->spsc_in, flood, 1) == 1);
}

static void spsc_take(struct ends *ends, struct flood *flood)
{
	CHECK(evr_spsc_pop(&ends->spsc_out, flood, 1) == 1);
}

static int slots_open(struct ends *ends, struct evr_peer *peer)
{
	struct evr_slots_options options = { .struct_sz = sizeof(options), .capacity = SPAN };

	return evr_slots_create(peer, "f", &options) ||
	       evr_slots_open(&ends->slots_in, peer, "f", EVR_PRODUCER, 0) ||
	       evr_slots_open(&ends->slots_out, peer, "f", EVR_CONSUMER, 0);
}

static void slots_put(struct ends *ends, const struct flood *flood)
{
	CHECK(evr_slots_push(&ends->slots_in, flood, sizeof(*flood)));
}

static void slots_take(struct ends *ends, struct flood *flood)
{
	uint32_t sz;
	const void *from = evr_slots_peek(&ends->slots_out, &sz);

	CHECK(from && sz == sizeof(*flood));
	memcpy(flood, from, sz);
	CHECK(evr_slots_release(&ends->slots_out));
	evr_slots_flush(&ends->slots_out);
}

static int bytes_open(struct ends *ends, struct evr_peer *peer)
{
	struct evr_bytes_options options = { .struct_sz = sizeof(options), .capacity = 1024 };

	return evr_bytes_create(peer, "f", &options) ||
	       evr_bytes_open(&ends->bytes_in, peer, "f", EVR_PRODUCER) ||
	       evr_bytes_open(&ends->bytes_out, peer, "f", EVR_CONSUMER);
}

static void bytes_put(struct ends *ends, const struct flood *flood)
{
	CHECK(!evr_bytes_write(&ends->bytes_in, flood, sizeof(*flood)));
}

static void bytes_take(struct ends *ends, struct flood *flood)
{
	CHECK(evr_bytes_read(&ends->bytes_out, flood, sizeof(*flood)) == sizeof(*flood));
}

static int log_open(struct ends *ends, struct evr_peer *peer)
{
	struct evr_log_options options = { .struct_sz = sizeof(options),
					   .capacity = 1024,
					   .record_max = 100 };

	return evr_log_create(peer, "f", &options) ||
	       evr_log_open(&ends->log_in, peer, "f", EVR_PRODUCER) ||
	       evr_log_open(&ends->log_out, peer, "f", EVR_CONSUMER);
}

static void log_put(struct ends *ends, const struct flood *flood)
{
	CHECK(!evr_log_write(&ends->log_in, flood, sizeof(*flood)));
}

static void log_take(struct ends *ends, struct flood *flood)
{
	CHECK(evr_log_read(&ends->log_out, flood, sizeof(*flood)) == sizeof(*flood));
}

static int bcast_open(struct ends *ends, struct evr_peer *peer, uint32_t seats)
{
	struct evr_bcast_options options = { .struct_sz = sizeof(options),
					     .capacity = SPAN,
					     .elem_sz = sizeof(struct flood),
					     .seats = seats };

	return evr_bcast_create(peer, "f", &options) ||
	       evr_bcast_open(&ends->bcast_in, peer, "f", EVR_PRODUCER, 0) ||
	       evr_bcast_open(&ends->bcast_out, peer, "f", EVR_CONSUMER, 0);
}

static int lossy_open(struct ends *ends, struct evr_peer *peer)
{
	return bcast_open(ends, peer, 0);
}

static int reliable_open(struct ends *ends, struct evr_peer *peer)
{
	return bcast_open(ends, peer, 2);
}

static void bcast_put(struct ends *ends, const struct flood *flood)
{
	CHECK(evr_bcast_push(&ends->bcast_in, flood, 1) == 1);
}

static void bcast_take(struct ends *ends, struct flood *flood)
{
	CHECK(evr_bcast_pop(&ends->bcast_out, flood, 1) == 1);
}

static const struct flow spsc_flow = { spsc_open, spsc_put, spsc_take, 1 };
static const struct flow slots_flow = { slots_open, slots_put, slots_take, 1 };
static const struct flow bytes_flow = { bytes_open, bytes_put, bytes_take,
					EVR_FRAME_HEADER_SZ + sizeof(struct flood) };
static const struct flow log_flow = { log_open, log_put, log_take, 1 };
static const struct flow lossy_flow = { lossy_open, bcast_put, bcast_take, 1, true };
static const struct flow reliable_flow = { reliable_open, bcast_put, bcast_take, 1, true };

static void put_one(struct ends *ends)
{
	struct flood flood = flood_of(ends->put++);

	ends->flow->put(ends, &flood);
}

static void take_one(struct ends *ends)
{
	struct flood flood, want = flood_of(ends->taken++);

	ends->flow->take(ends, &flood);
	CHECK(!memcmp(&flood, &want, sizeof(flood)));
}

/* Take all, and then put and take so many more; the last two stay. */
static void run_ahead(void *arg)
{
	struct ends *ends = arg;
	uint64_t i;

	while (ends->taken != ends->put)
		take_one(ends);
	for (i = 0; i < ends->burst; i++) {
		put_one(ends);
		if (ends->put - ends->taken > 2)
			take_one(ends);
	}
}

/* One message, if there is one: whole, and all before it counted. */
static bool look(struct evr_tap *tap, const struct flow *flow, uint64_t *next)
{
	struct evr_tap_message m;
	struct flood flood, want;
	int ret;

	memset(&flood, 0xee, sizeof(flood));
	ret = evr_tap_next(tap, &flood, sizeof(flood), &m);
	assert_true(ret == 0 || ret == 1);
	if (!ret)
		return false;
	assert_int_equal(m.sz, sizeof(flood));
	/* UINT64_MAX: wherever it begins. */
	if (*next != UINT64_MAX)
		assert_int_equal(m.pos, *next + m.skipped);
	want = flood_of(m.pos / flow->units);
	assert_memory_equal(&flood, &want, sizeof(flood));
	*next = m.pos + flow->units;
	return true;
}

/* Others run ahead by that much before the n-th access of the tap, for each n there is. */
static void race_at_each_access(struct pair *pair, const struct flow *flow)
{
	static const uint64_t bursts[] = { 1, 2, SPAN / 2 - 1, SPAN / 2, SPAN / 2 + 1, SPAN - 2,
					   SPAN - 1, SPAN, SPAN + 1, 2 * SPAN + 5 };
	struct ends ends = { .flow = flow };
	uint64_t n, next, seen = 0;
	struct evr_tap tap;
	size_t k;
	int i;

	steps_turn = NULL;
	steps_to_live = 0;
	assert_int_equal(flow->open(&ends, pair->peer), 0);
	for (k = 0; k < sizeof(bursts) / sizeof(bursts[0]); k++) {
		ends.burst = bursts[k];
		for (n = 1, steps = n; steps >= n; n++) {
			assert_true(n < STEPS_MAX);
			for (i = 0; i < 3; i++)
				put_one(&ends);
			next = flow->keeps ? UINT64_MAX : ends.taken * flow->units;
			tap = tap_of(pair->peer, "f", EVR_TAP_OLDEST);
			steps = 0;
			steps_to_live = n;
			steps_turn = run_ahead;
			steps_arg = &ends;
			seen += look(&tap, flow, &next);
			steps_turn = NULL;
			steps_to_live = 0;
			/* What is there in the end is seen to the end. */
			while (look(&tap, flow, &next))
				seen++;
			assert_int_equal(next, ends.put * flow->units);
			evr_tap_close(&tap);
			while (ends.taken != ends.put)
				take_one(&ends);
		}
	}
	assert_true(seen > 100);
}

static void tap_race_of_spsc_shows_whole_messages(void **state)
{
	race_at_each_access(*state, &spsc_flow);
}

static void tap_race_of_slots_shows_whole_messages(void **state)
{
	race_at_each_access(*state, &slots_flow);
}

static void tap_race_of_bytes_shows_whole_frames(void **state)
{
	race_at_each_access(*state, &bytes_flow);
}

static void tap_race_of_log_shows_whole_records(void **state)
{
	race_at_each_access(*state, &log_flow);
}

static void tap_race_of_lossy_broadcast_shows_whole_elements(void **state)
{
	race_at_each_access(*state, &lossy_flow);
}

static void tap_race_of_reliable_broadcast_shows_whole_elements(void **state)
{
	race_at_each_access(*state, &reliable_flow);
}

/* And in a process of its own, on a processor of its own where there is one. */
static void flood_on(struct evr_peer *peer, void *arg)
{
	struct ends ends = { .flow = arg };
	uint64_t i;

	CHECK(!ends.flow->open(&ends, peer));
	for (i = 0; i < 30000; i++) {
		put_one(&ends);
		if (ends.put - ends.taken > 2)
			take_one(&ends);
	}
}

static void tap_flood_is_seen_whole_and_counted(void **state)
{
	static const struct flow *const flows[] = { &spsc_flow, &slots_flow,  &bytes_flow,
						    &log_flow,	&lossy_flow, &reliable_flow };
	struct pair *pair = *state;
	struct evr_object object;
	struct evr_tap tap;
	uint64_t next;
	int status, k;
	pid_t pid;

	for (k = 0; k < 6; k++) {
		pid = pair_fork(pair, flood_on, (void *)flows[k]);
		while (evr_dir_find(pair->peer, "f", &object))
			;
		tap = tap_of(pair->peer, "f", EVR_TAP_OLDEST);
		next = UINT64_MAX;
		do {
			while (look(&tap, flows[k], &next))
				;
		} while (waitpid(pid, &status, WNOHANG) != pid);
		assert_int_equal(status, 0);
		while (look(&tap, flows[k], &next))
			;
		assert_int_equal(next, 30000 * flows[k]->units);
		evr_tap_close(&tap);
		pair_settle(pair);
		assert_int_equal(evr_dir_remove(pair->peer, &object), 0);
	}
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, pair_open, pair_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(tap_race_of_spsc_shows_whole_messages),
		CASE(tap_race_of_slots_shows_whole_messages),
		CASE(tap_race_of_bytes_shows_whole_frames),
		CASE(tap_race_of_log_shows_whole_records),
		CASE(tap_race_of_lossy_broadcast_shows_whole_elements),
		CASE(tap_race_of_reliable_broadcast_shows_whole_elements),
		CASE(tap_flood_is_seen_whole_and_counted),
	};

	return cmocka_run_group_tests_name("tap_race", tests, NULL, NULL);
}
