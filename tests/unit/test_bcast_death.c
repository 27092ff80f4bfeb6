/* SPDX-License-Identifier: MIT */
/*
 * Broadcasts: a real process killed before its n-th access to shared memory, for each n, as
 * the writer and as a subscriber; several processes; readers that may only read; isolated
 * segments; hostile words on either side.
 */
#include "broadcast.h"

#include <sys/mman.h>

#include <evering/bell.h>

#include "bcast.h"

static void write_some(struct evr_peer *peer, void *arg)
{
	struct elem *to;
	struct typed in;
	uint32_t nr = 2;

	CHECK(!typed_open(&in, peer, "b", EVR_PRODUCER));
	CHECK(push(&in, 3) == 3);
	to = typed_reserve(&in, &nr);
	CHECK(to);
	to[0] = elem_of(in.b.lane.pos);
	typed_commit(&in, 1);
	CHECK(push(&in, 5) == 5);
	typed_close(&in);
}

static void bcast_writer_killed_at_each_step_leaves_whole_elements(void **state)
{
	struct pair *pair = *state;
	uint64_t n, before, grown, seen = 0;
	struct typed in, out, late;
	struct evr_bcast_counts c;
	struct evr_bcast_tally t;
	bool died = true;

	make(pair, CAPACITY, 0);
	observe(&out, pair->peer);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		before = out.b.lane.pos;
		died = die_at(pair, n, write_some, NULL);
		evr_bcast_counts(&out.b, &c);
		grown = c.pos - before;
		assert_true(grown <= 9 && (died || grown == 9));
		seen |= 1ULL << grown;
		/* Of the old ones those are whole that it had not begun to overwrite. */
		observe(&late, pair->peer);
		assert_int_equal(evr_bcast_rewind(&late.b), c.pos - c.base);
		assert_int_equal(drain(&late), c.pos - c.base);
		assert_int_equal(evr_bcast_lost(&late.b), 0);
		typed_close(&late);
		drain(&out);
		assert_true(out.b.lane.pos == c.pos);
		/* A successor goes on behind what was published. */
		open_as(&in, pair->peer, EVR_PRODUCER);
		assert_true(in.b.lane.pos == c.pos);
		assert_int_equal(push(&in, CAPACITY), CAPACITY);
		evr_bcast_counts(&in.b, &c);
		assert_int_equal(c.spoiled, 0);
		assert_int_equal(drain(&out), CAPACITY);
		typed_close(&in);
	}
	/* Between any two publications: after 0, 3, 4 and all; the 5 came in steps of 2. */
	assert_int_equal(seen & 0x219, 0x219);
	evr_bcast_tally(&out.b, &t);
	assert_true(t.next == c.pos && t.delivered + t.lost == t.next - t.first);
	typed_close(&out);
}

static void write_and_read(struct evr_peer *peer, void *arg)
{
	struct typed in, out;

	CHECK(!typed_open(&in, peer, "b", EVR_PRODUCER));
	CHECK(!typed_open(&out, peer, "b", EVR_CONSUMER));
	CHECK(push(&in, 4) == 4);
	CHECK(pop(&out, 3) == 3);
	CHECK(push(&in, 1) == 1);
	CHECK(pop(&out, 4) == 2);
	typed_close(&out);
	typed_close(&in);
}

static void bcast_both_killed_at_each_step_block_and_lose_nothing(void **state)
{
	struct pair *pair = *state;
	struct typed in, out;
	struct evr_bcast_counts c;
	bool died = true;
	uint64_t n;

	make(pair, CAPACITY, 2);
	open_as(&out, pair->peer, EVR_CONSUMER);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		died = die_at(pair, n, write_and_read, NULL);
		assert_true(drain(&out) <= 5);
		open_as(&in, pair->peer, EVR_PRODUCER);
		assert_true(in.b.lane.pos == out.b.lane.pos);
		/* Its seat is free, whatever it has done in it, and ours counts. */
		assert_int_equal(push(&in, CAPACITY + 1), CAPACITY);
		assert_int_equal(drain(&out), CAPACITY);
		evr_bcast_counts(&in.b, &c);
		assert_true(c.seated == 1 && !c.expelled && !c.corrupt);
		typed_close(&in);
	}
	assert_int_equal(evr_bcast_lost(&out.b), 0);
	typed_close(&out);
}

static void do_nothing(struct evr_peer *peer, void *arg)
{
}

static void subscribe_and_die(struct evr_peer *peer, void *arg)
{
	struct typed out;

	CHECK(!typed_open(&out, peer, "b", EVR_CONSUMER));
	raise(SIGKILL);
}

static void bcast_settler_killed_at_each_step_frees_each_seat(void **state)
{
	struct pair *pair = *state;
	struct evr_bcast_counts c;
	bool died = true;
	uint64_t n;
	pid_t pid;

	make(pair, CAPACITY, 1);
	evr_reap_auto(pair->peer, false);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		pid = pair_fork(pair, subscribe_and_die, NULL);
		assert_true(waitpid(pid, NULL, 0) == pid);
		died = die_at(pair, n, do_nothing, NULL);
		assert_int_equal(evr_bcast_stat(pair->peer, "b", &c), 0);
		assert_int_equal(c.seated, 0);
	}
}

struct stream {
	enum evr_wait_policy policy;
	uint32_t nr, batch;
	bool may_lose;
	struct evr_a64 *come; /* readers that have begun */
};

static void read_stream(struct evr_peer *peer, void *arg)
{
	struct stream *s = arg;
	struct evr_bcast_tally t;
	struct evr_waiter waiter;
	struct elem elems[64];
	struct typed out;
	int got, i;

	CHECK(!evr_waiter_init(&waiter, peer, s->policy));
	CHECK(!typed_open(&out, peer, "b", EVR_CONSUMER));
	evr_a64_fetch_add(s->come, 1);
	for (;;) {
		got = TIMELY(typed_pop_wait(&out, &waiter, elems, 64, until_ns));
		if (got < 0)
			break;
		for (i = 0; i < got; i++)
			CHECK(is_elem_of(&elems[i], out.b.lane.pos - (uint64_t)(got - i)));
	}
	CHECK(got == -EPIPE);
	evr_bcast_tally(&out.b, &t);
	CHECK(t.delivered + t.lost == s->nr && t.next == s->nr);
	CHECK(s->may_lose || !t.lost);
	evr_waiter_fini(&waiter);
	typed_close(&out);
}

static void run_streams(struct pair *pair, struct stream *s, uint32_t capacity, uint32_t seats)
{
	struct elem elems[64];
	struct evr_waiter waiter;
	struct typed in;
	uint64_t until;
	uint32_t sent, i;
	pid_t pids[3];

	s->come = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(s->come != MAP_FAILED);
	make(pair, capacity, seats);
	open_as(&in, pair->peer, EVR_PRODUCER);
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, s->policy), 0);
	for (i = 0; i < 3; i++)
		pids[i] = pair_fork(pair, read_stream, s);
	/* All have come before the first is sent. */
	for (until = pair_deadline(); evr_a64_load_acquire(s->come) < 3; pair_sleep_us(1000))
		assert_true(evr_now_ns() < until);
	for (sent = 0; sent < s->nr; sent += s->batch) {
		for (i = 0; i < s->batch; i++)
			elems[i] = elem_of(sent + i);
		assert_int_equal(typed_push_wait(&in, &waiter, elems, s->batch, pair_deadline()),
				 s->batch);
	}
	typed_close(&in);
	for (i = 0; i < 3; i++)
		pair_join(pids[i]);
	evr_waiter_fini(&waiter);
	munmap(s->come, 4096);
	pair_settle(pair);
}

static void bcast_three_subscribers_get_all(void **state)
{
	run_streams(*state, &(struct stream){ EVR_WAIT_ADAPTIVE, 24000, 12, false }, 64, 3);
}

static void bcast_three_sleeping_subscribers_get_all(void **state)
{
	run_streams(*state, &(struct stream){ EVR_WAIT_SLEEP, 2000, 1, false }, CAPACITY, 4);
}

static void bcast_three_sleeping_listeners_count_all(void **state)
{
	run_streams(*state, &(struct stream){ EVR_WAIT_SLEEP, 24000, 8, true }, 64, 0);
}

static void write_stream(struct evr_peer *peer, void *arg)
{
	uint32_t nr = *(uint32_t *)arg;
	struct typed in;

	CHECK(!typed_open(&in, peer, "b", EVR_PRODUCER));
	while (in.b.lane.pos < nr)
		CHECK(push(&in, 5) == 5);
	typed_close(&in);
}

/* Whatever an observer did to the segment would be its death. */
static void bcast_observer_needs_no_right_to_write(void **state)
{
	struct evr_peer_options options = { .struct_sz = sizeof(options),
					    .flags = EVR_PEER_OBSERVER };
	struct pair *pair = *state;
	struct evr_bcast_counts c;
	struct evr_bcast_tally t;
	struct evr_waiter waiter;
	struct evr_peer *peer;
	struct elem elems[8];
	uint32_t nr = 20000, n;
	struct typed out;
	int got, i;
	pid_t pid;

	make(pair, CAPACITY, 1);
	assert_int_equal(evr_peer_attach(&peer, pair->segment, &options), 0);
	assert_int_equal(typed_open(&out, peer, "b", EVR_CONSUMER), -EROFS);
	assert_int_equal(typed_open(&out, peer, "b", EVR_PRODUCER), -EROFS);
	observe(&out, peer);
	assert_int_equal(evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE), 0);
	assert_int_equal(typed_pop_wait(&out, &waiter, elems, 8, 0), -ETIMEDOUT);
	assert_int_equal(evr_bcast_state(&out.b), EVR_RING_NO_PEER);
	pid = pair_fork(pair, write_stream, &nr);
	while ((got = typed_pop_wait(&out, &waiter, elems, 8, pair_deadline())) > 0)
		for (i = 0; i < got; i++)
			assert_true(is_elem_of(&elems[i], out.b.lane.pos - (uint64_t)(got - i)));
	assert_int_equal(got, -EPIPE);
	pair_join(pid);
	evr_bcast_tally(&out.b, &t);
	assert_true(t.next == nr && t.delivered + t.lost == nr);
	evr_bcast_forget(&out.b);
	assert_int_equal(evr_bcast_state(&out.b), EVR_RING_NO_PEER);
	typed_close(&out);
	observe(&out, peer);
	assert_int_equal(evr_bcast_rewind(&out.b), CAPACITY);
	n = 3;
	assert_true(is_elem_of(typed_peek(&out, &n), nr - CAPACITY));
	assert_int_equal(typed_release(&out, n), n);
	assert_int_equal(evr_bcast_stat(peer, "b", &c), 0);
	assert_true(c.pos == nr && c.writer.slot == EVR_SLOT_ANY);
	typed_close(&out);
	evr_waiter_fini(&waiter);
	evr_peer_detach(peer);
}

static void bcast_removed_under_an_observer_is_not_read(void **state)
{
	struct pair *pair = *state;
	struct typed in, out, peeks, member;
	struct evr_object object, next;
	struct evr_waiter waiter;
	struct elem e;
	uint32_t nr = 2;

	make(pair, CAPACITY, 0);
	open_as(&in, pair->peer, EVR_PRODUCER);
	observe(&out, pair->peer);
	observe(&peeks, pair->peer);
	open_as(&member, pair->peer, EVR_CONSUMER);
	assert_int_equal(push(&in, 4), 4);
	assert_non_null(typed_peek(&peeks, &nr));
	typed_close(&in);
	assert_int_equal(evr_dir_find(pair->peer, "b", &object), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &object), -EBUSY);
	assert_int_equal(drain(&member), 4);
	typed_close(&member);
	assert_int_equal(evr_dir_remove(pair->peer, &object), 0);
	assert_int_equal(evr_dir_create(pair->peer, "n", EVR_KIND_USER, object.sz, &next), 0);
	assert_int_equal(next.off, object.off);
	memset(evr_peer_at(pair->peer, next.off, next.sz), 0x33, next.sz);
	assert_int_equal(pop(&out, 1), 0);
	assert_int_equal(evr_bcast_state(&out.b), EVR_RING_CLOSED);
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	assert_int_equal(typed_pop_wait(&out, &waiter, &e, 1, EVR_NO_DEADLINE), -EPIPE);
	evr_waiter_fini(&waiter);
	assert_int_equal(typed_release(&peeks, 2), 0);
	assert_int_equal(evr_bcast_state(&peeks.b), EVR_RING_CLOSED);
	typed_close(&out);
	typed_close(&peeks);
}

static int open_isolated(void **state)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .flags = EVR_SEGMENT_ISOLATED,
					       .peer_sz = 64 << 10,
					       .peers_max = 3 };
	struct pair *pair = calloc(1, sizeof(*pair));

	steps_to_live = 0;
	if (!pair || evr_segment_create(&pair->segment, pair_uri(), &options) ||
	    evr_peer_attach(&pair->peer, pair->segment, NULL)) {
		fprintf(stderr, "# %s\n", evr_error_detail());
		return -1;
	}
	*state = pair;
	return 0;
}

static void write_isolated(struct evr_peer *peer, void *arg)
{
	struct typed in;

	/* Its own, like the one that it finds. */
	CHECK(!typed_open(&in, peer, "b", EVR_PRODUCER));
	CHECK(in.b.lane.pos == 0);
	CHECK(push(&in, CAPACITY + 3) == CAPACITY + 3);
	raise(SIGSTOP);
	raise(SIGKILL);
}

static void bcast_of_another_region_is_observed(void **state)
{
	struct evr_peer_options options = { .struct_sz = sizeof(options), .slot_set = true };
	struct pair *pair = *state;
	struct typed in, out, theirs, late;
	struct evr_peer_info info;
	struct evr_waiter waiter;
	struct evr_peer *next;
	struct elem e;
	uint64_t until, ctl;
	struct evr_a64 *at;
	int status;
	pid_t pid;

	make(pair, CAPACITY, 0);
	open_as(&in, pair->peer, EVR_PRODUCER);
	assert_int_equal(typed_open(&out, pair->peer, "b", EVR_CONSUMER), -EOPNOTSUPP);
	observe(&out, pair->peer);
	assert_int_equal(push(&in, 5), 5);
	pid = pair_fork(pair, write_isolated, NULL);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(evr_peer_info(pair->peer, 1, &info), 0);
	assert_int_equal(typed_observe(&theirs, pair->peer, "b", &info.id), 0);
	assert_int_equal(typed_observe(&late, pair->peer, "b", &info.id), 0);
	assert_int_equal(evr_bcast_rewind(&theirs.b), CAPACITY);
	assert_int_equal(evr_bcast_rewind(&late.b), CAPACITY);
	assert_int_equal(pop(&theirs, 3), 3);
	assert_int_equal(drain(&out), 5);
	kill(pid, SIGCONT);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	/* What it has left is read, then its death is told. */
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	assert_int_equal(drain(&theirs), CAPACITY - 3);
	assert_int_equal(typed_pop_wait(&theirs, &waiter, &e, 1, pair_deadline()), -EOWNERDEAD);
	assert_int_equal(evr_bcast_state(&out.b), EVR_RING_OK);
	/* And not from its successor's memory. */
	for (until = pair_deadline(); evr_peer_state(pair->peer, info.id) == EVR_PEER_LIVE;) {
		assert_true(evr_now_ns() < until);
		evr_peer_check(pair->peer);
	}
	ctl = evr_a64_load_relaxed(late.b.ctl);
	evr_reap_dead(pair->peer, NULL);
	options.slot = info.id.slot;
	assert_int_equal(evr_peer_attach(&next, pair->segment, &options), 0);
	/* Though that says that nothing has changed. */
	at = evr_peer_at(next, (uint64_t)evr_peer_off(pair->peer, late.b.ctl), 8);
	assert_true(at && evr_a64_load_relaxed(at) != ctl);
	evr_a64_store_relaxed(at, ctl);
	assert_int_equal(pop(&late, 1), 0);
	assert_int_equal(evr_bcast_state(&late.b), EVR_RING_PEER_DEAD);
	assert_int_equal(typed_observe(&late, pair->peer, "b", &info.id), -ENOENT);
	assert_int_equal(typed_observe(&late, pair->peer, "b",
				       &(struct evr_peer_id){ .slot = EVR_SLOT_ANY }),
			 -ENOENT);
	evr_a64_store_relaxed(at, 0);
	evr_peer_detach(next);
	evr_waiter_fini(&waiter);
	typed_close(&theirs);
	typed_close(&out);
	typed_close(&in);
}

static struct evr_lane_object *memory_of(struct pair *pair, struct evr_object *object)
{
	assert_int_equal(evr_dir_find(pair->peer, "b", object), 0);
	return evr_peer_at(pair->peer, object->off, object->sz);
}

static void bcast_corrupt_geometry_refused(void **state)
{
	struct pair *pair = *state;
	struct evr_lane_geometry good, *g;
	struct evr_object object;
	struct typed t;

	make(pair, CAPACITY, 2);
	g = &memory_of(pair, &object)->geometry;
	good = *g;
#define WITH(field, value)                                                                 \
	do {                                                                               \
		g->field = (value);                                                        \
		assert_int_equal(typed_open(&t, pair->peer, "b", EVR_PRODUCER), -EBADMSG); \
		assert_non_null(strstr(evr_error_detail(), #field));                       \
		assert_int_equal(typed_open(&t, pair->peer, "b", EVR_CONSUMER), -EBADMSG); \
		assert_int_equal(typed_observe(&t, pair->peer, "b", NULL), -EBADMSG);      \
		*g = good;                                                                 \
	} while (0)
	WITH(layout, 0);
	WITH(span, 0);
	WITH(span, 3);
	WITH(span, 2 * CAPACITY);
	WITH(span, 1ULL << 63);
	WITH(unit_sz, 0);
	WITH(unit_sz, UINT64_MAX);
	WITH(unit_sz, 2 * sizeof(struct elem));
	WITH(seats_nr, 256);
	WITH(seats_nr, 3);
	WITH(data_sz, 0);
	WITH(data_sz, UINT64_MAX);
#undef WITH
	memory_of(pair, &object)->sides[EVR_PRODUCER].base.v = 1;
	assert_int_equal(typed_open(&t, pair->peer, "b", EVR_PRODUCER), -EBADMSG);
	assert_non_null(strstr(evr_error_detail(), "base"));
	memory_of(pair, &object)->sides[EVR_PRODUCER].base.v = 0;
	open_as(&t, pair->peer, EVR_PRODUCER);
	typed_close(&t);
}

/* Nonsense in any word: calls come to an end, in bounds, and whatever is told adds up. */
static void bcast_hostile_words_do_no_harm(void **state)
{
	uint64_t nonsense[] = { 1, 7, 9, UINT64_MAX, 1ULL << 63, 1ULL << 35, 0x0100000401, 0x4 };
	struct pair *pair = *state;
	struct evr_object object, fence;
	struct evr_bcast_tally t;
	struct evr_waiter waiter;
	struct typed in, out, sees;
	struct elem elems[8] = { 0 };
	uint64_t *at, good;
	uint8_t *guard;
	size_t i, k;

	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	make(pair, CAPACITY, 1);
	assert_int_equal(evr_dir_create(pair->peer, "guard", EVR_KIND_USER, 4096, &fence), 0);
	guard = evr_peer_at(pair->peer, fence.off, fence.sz);
	memset(guard, 0x5a, fence.sz);
	at = (uint64_t *)memory_of(pair, &object);
	for (k = 16; k < object.sz / 8; k++)
		for (i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
			open_as(&in, pair->peer, EVR_PRODUCER);
			open_as(&out, pair->peer, EVR_CONSUMER);
			observe(&sees, pair->peer);
			typed_push(&in, elems, 3);
			good = at[k];
			at[k] = nonsense[i];
			typed_push_wait(&in, &waiter, elems, 8, 1);
			typed_pop_wait(&out, &waiter, elems, 2, 1);
			typed_pop_wait(&sees, &waiter, elems, 8, 1);
			typed_pop(&out, elems, 8);
			typed_push(&in, elems, 8);
			evr_bcast_tally(&sees.b, &t);
			assert_true(t.delivered <= 19 && t.delivered + t.lost == t.next - t.first);
			assert_true(evr_reap_dead(pair->peer, NULL) >= 0);
			typed_close(&sees);
			typed_close(&out);
			typed_close(&in);
			at[k] = good;
			memset(at + 16, 0, object.sz - 128);
		}
	for (i = 0; i < fence.sz; i++)
		assert_int_equal(guard[i], 0x5a);
	evr_waiter_fini(&waiter);
}

static void bcast_position_that_goes_back_closes_the_reader(void **state)
{
	struct pair *pair = *state;
	struct evr_lane_side *side;
	struct evr_object object;
	struct evr_waiter waiter;
	struct typed in, out;
	struct elem e;

	make(pair, CAPACITY, 0);
	open_as(&in, pair->peer, EVR_PRODUCER);
	side = &memory_of(pair, &object)->sides[EVR_PRODUCER];
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	observe(&out, pair->peer);
	assert_int_equal(push(&in, 3), 3);
	assert_int_equal(pop(&out, 8), 3);
	side->pos.v = 2;
	assert_int_equal(pop(&out, 8), 0);
	assert_int_equal(evr_bcast_state(&out.b), EVR_RING_CORRUPT);
	assert_int_equal(typed_pop_wait(&out, &waiter, &e, 1, EVR_NO_DEADLINE), -EBADMSG);
	side->pos.v = 4;
	assert_int_equal(pop(&out, 8), 0);
	typed_close(&out);
	observe(&out, pair->peer);
	side->base.v = 5;
	assert_int_equal(pop(&out, 8), 0);
	assert_int_equal(evr_bcast_state(&out.b), EVR_RING_CORRUPT);
	typed_close(&out);
	evr_waiter_fini(&waiter);
	typed_close(&in);
}

static void bcast_subscriber_with_nonsense_is_expelled(void **state)
{
	uint64_t nonsense[] = { 0, 100 - CAPACITY - 1, 101, UINT64_MAX };
	struct pair *pair = *state;
	struct evr_bcast_counts c;
	struct typed in, bad, good;
	size_t i;

	make(pair, CAPACITY, 2);
	open_as(&in, pair->peer, EVR_PRODUCER);
	open_as(&good, pair->peer, EVR_CONSUMER);
	for (i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		while (in.b.lane.pos < 100 + i * 100)
			assert_int_equal(push(&in, 1) + pop(&good, 1), 2);
		open_as(&bad, pair->peer, EVR_CONSUMER);
		bad.b.seat->side.pos.v = nonsense[i] + (nonsense[i] ? i * 100 : 0);
		assert_int_equal(push(&in, CAPACITY), CAPACITY);
		assert_int_equal(push(&in, 1), 0);
		evr_bcast_counts(&in.b, &c);
		assert_true(c.corrupt == i + 1 && c.expelled == i + 1);
		assert_int_equal(evr_bcast_state(&bad.b), EVR_RING_EXPELLED);
		typed_close(&bad);
		assert_int_equal(drain(&good), CAPACITY);
	}
	assert_int_equal(evr_bcast_lost(&good.b), 0);
	typed_close(&good);
	typed_close(&in);
}

int main(void)
{
#define SHARED(fn) cmocka_unit_test_setup_teardown(fn, open_small, pair_close)
#define ISOLATED(fn) cmocka_unit_test_setup_teardown(fn, open_isolated, pair_close)
	const struct CMUnitTest tests[] = {
		SHARED(bcast_writer_killed_at_each_step_leaves_whole_elements),
		SHARED(bcast_both_killed_at_each_step_block_and_lose_nothing),
		SHARED(bcast_settler_killed_at_each_step_frees_each_seat),
		SHARED(bcast_three_subscribers_get_all),
		SHARED(bcast_three_sleeping_subscribers_get_all),
		SHARED(bcast_three_sleeping_listeners_count_all),
		SHARED(bcast_observer_needs_no_right_to_write),
		SHARED(bcast_removed_under_an_observer_is_not_read),
		ISOLATED(bcast_of_another_region_is_observed),
		SHARED(bcast_corrupt_geometry_refused),
		SHARED(bcast_hostile_words_do_no_harm),
		SHARED(bcast_position_that_goes_back_closes_the_reader),
		SHARED(bcast_subscriber_with_nonsense_is_expelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
