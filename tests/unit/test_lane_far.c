/* SPDX-License-Identifier: MIT */
/*
 * Lanes of two halves: each end in a peer of its own, whose region the other may only
 * read. Coming in any order, slots that go on to others, hostile halves; two processes that
 * stream. Each access of the one at which the other comes or dies: test_lane_far_steps.c.
 *
 * Mutants seen to fail here: data not vouched for (far_successor_*), geometry not compared
 * (far_other_*), an owner word that may name anybody, a position not checked (far_hostile_*),
 * nothing told at open (far_close_*), a close from before taken for one of now (far_close_*),
 * a consumer that always begins at base (far_producer_gone_*), a partner that is kept
 * (far_next_*), turns summed up as they are (far_turns_*).
 */
#include "far_lanes.h"
#include "hide.h"

#define SPAN_OF_WORDS(type) (sizeof(type) / 8)

static struct evr_lane_object *half_of(struct evr_peer *peer, const char *name)
{
	struct evr_object object;

	assert_true(evr_dir_find_in(peer, evr_peer_self(peer), name, &object));
	return evr_peer_at(peer, object.off, object.sz);
}

static void far_sides_lie_where_their_owners_write(void **state)
{
	uint32_t n;

	make(a, "r");
	assert_int_equal(evr_spsc_open(&out, b, "r", EVR_CONSUMER, 0), 0);
	assert_int_equal(evr_spsc_state(&out), EVR_RING_NO_PEER);
	assert_int_equal(evr_spsc_open(&in, a, "r", EVR_PRODUCER, 0), 0);
	assert_true(evr_peer_is_writable(a, (uint64_t)evr_peer_off(a, in.lane.mine), 128));
	assert_true(evr_peer_is_writable(b, (uint64_t)evr_peer_off(b, out.lane.mine), 128));
	assert_false(evr_peer_is_writable(b, (uint64_t)evr_peer_off(a, in.lane.mine), 128));
	for (n = 0; n < 5 * CAPACITY; n++) {
		push(&in, n);
		pop(&out, n);
	}
	assert_true(out.lane.other == half_of(a, "r")->sides + EVR_PRODUCER ||
		    evr_peer_off(b, out.lane.other) == evr_peer_off(a, in.lane.mine));
	assert_false(evr_peer_is_writable(b, (uint64_t)evr_peer_off(b, out.lane.other), 128));
	assert_false(evr_peer_is_writable(a, (uint64_t)evr_peer_off(a, in.lane.other), 128));
	assert_int_equal(evr_spsc_state(&in), EVR_RING_OK);
	assert_int_equal(evr_spsc_state(&out), EVR_RING_OK);
	assert_int_equal(evr_spsc_other(&in).slot, evr_peer_self(b).slot);
	assert_int_equal(evr_spsc_other(&out).slot, evr_peer_self(a).slot);
	/* Full is what the other side has not taken. */
	for (n = 0; n < CAPACITY; n++)
		push(&in, n);
	assert_int_equal(evr_spsc_push(&in, &(uint64_t){ 0 }, 1), 0);
	pop(&out, 0);
	push(&in, CAPACITY);
	evr_spsc_close(&in);
	for (n = 1; n <= CAPACITY; n++)
		pop(&out, n);
	assert_int_equal(evr_spsc_state(&out), EVR_RING_CLOSED);
	evr_spsc_close(&out);
}

static void far_producer_gone_before_the_consumer_came_is_read(void **state)
{
	uint64_t got;

	make(a, "r");
	assert_int_equal(evr_spsc_open(&in, a, "r", EVR_PRODUCER, 0), 0);
	push(&in, 1);
	push(&in, 2);
	evr_spsc_close(&in);
	assert_int_equal(evr_spsc_open(&out, b, "r", EVR_CONSUMER, 0), 0);
	pop(&out, 1);
	evr_spsc_close(&out);
	/* The same consumer goes on where it stopped. */
	assert_int_equal(evr_spsc_open(&out, b, "r", EVR_CONSUMER, 0), 0);
	assert_int_equal(evr_spsc_pop_wait(&out, &wb, &got, 1, 0), 1);
	assert_true(got == 2);
	assert_int_equal(evr_spsc_pop_wait(&out, &wb, &got, 1, 0), -EPIPE);
	evr_spsc_forget(&out);
	assert_int_equal(evr_spsc_pop_wait(&out, &wb, &got, 1, 0), -ETIMEDOUT);
	assert_int_equal(evr_spsc_open(&in, a, "r", EVR_PRODUCER, 0), 0);
	push(&in, 3);
	pop(&out, 3);
	assert_true(is_empty(&out));
	evr_spsc_close(&out);
	assert_int_equal(evr_spsc_push_wait(&in, &wa, &got, 1, 0), -EPIPE);
	evr_spsc_forget(&in);
	assert_int_equal(evr_spsc_state(&in), EVR_RING_NO_PEER);
	evr_spsc_close(&in);
}

static void far_close_of_either_is_told_to_who_was_there(void **state)
{
	uint64_t got;

	make(a, "r");
	assert_int_equal(evr_spsc_open(&in, a, "r", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_state(&in), EVR_RING_NO_PEER);
	/* Each learns of the other without a word from it. */
	assert_int_equal(evr_spsc_open(&out, b, "r", EVR_CONSUMER, 0), 0);
	assert_int_equal(evr_spsc_state(&in), EVR_RING_OK);
	assert_int_equal(evr_spsc_state(&out), EVR_RING_OK);
	evr_spsc_close(&in);
	assert_int_equal(evr_spsc_pop_wait(&out, &wb, &got, 1, 0), -EPIPE);
	evr_spsc_close(&out);
	/* Who waits meets one that comes and says nothing, but none that had gone before. */
	assert_int_equal(evr_spsc_open(&out, b, "r", EVR_CONSUMER, 0), 0);
	assert_int_equal(evr_spsc_pop_wait(&out, &wb, &got, 1, 0), -ETIMEDOUT);
	assert_int_equal(evr_spsc_open(&in, a, "r", EVR_PRODUCER, 0), 0);
	evr_spsc_close(&in);
	assert_int_equal(evr_spsc_pop_wait(&out, &wb, &got, 1, 0), -EPIPE);
	evr_spsc_close(&out);
	assert_int_equal(evr_spsc_open(&in, a, "r", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_state(&in), EVR_RING_NO_PEER);
	assert_int_equal(evr_spsc_open(&out, b, "r", EVR_CONSUMER, 0), 0);
	assert_true(is_empty(&out));
	evr_spsc_close(&out);
	assert_int_equal(evr_spsc_state(&in), EVR_RING_CLOSED);
	evr_spsc_close(&in);
}

static void far_next_consumer_gets_what_the_last_left(void **state)
{
	struct evr_peer *c;
	struct evr_spsc next;
	uint64_t n;

	assert_int_equal(evr_peer_attach(&c, pair->segment, NULL), 0);
	make(a, "r");
	assert_int_equal(evr_spsc_open(&in, a, "r", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_open(&out, b, "r", EVR_CONSUMER, 0), 0);
	for (n = 1; n <= 5; n++)
		push(&in, n);
	pop(&out, 1);
	assert_int_equal(evr_spsc_open(&next, c, "r", EVR_CONSUMER, 0), 0);
	/* The producer has chosen, and it is not this one. */
	assert_int_equal(evr_spsc_state(&in), EVR_RING_OK);
	assert_true(is_empty(&next));
	assert_int_equal(evr_spsc_state(&next), EVR_RING_NO_PEER);
	pop(&out, 2);
	evr_spsc_close(&out);
	assert_int_equal(evr_spsc_state(&in), EVR_RING_CLOSED);
	evr_spsc_forget(&in);
	for (n = 3; n <= 5; n++)
		pop(&next, n);
	assert_true(is_empty(&next));
	assert_int_equal(evr_spsc_state(&in), EVR_RING_OK);
	assert_int_equal(evr_spsc_other(&in).slot, evr_peer_self(c).slot);
	assert_int_equal(evr_spsc_avail(&in), CAPACITY);
	evr_spsc_close(&in);
	evr_spsc_close(&next);
	evr_peer_detach(c);
}

static void far_other_geometry_is_another_lane(void **state)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options), .capacity = 16 };

	make(a, "r");
	assert_int_equal(evr_spsc_create(b, "r", &options), 0);
	assert_int_equal(evr_spsc_open(&in, a, "r", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_open(&out, b, "r", EVR_CONSUMER, 0), 0);
	push(&in, 1);
	assert_true(is_empty(&out));
	assert_int_equal(evr_spsc_state(&in), EVR_RING_NO_PEER);
	assert_int_equal(evr_spsc_state(&out), EVR_RING_NO_PEER);
	evr_spsc_close(&in);
	evr_spsc_close(&out);
}

static void far_expected_peer_alone_is_met(void **state)
{
	struct evr_spsc squatter;
	struct evr_peer *c;

	make(a, "r");
	make(b, "r");
	assert_int_equal(evr_peer_attach(&c, pair->segment, NULL), 0);
	make(c, "r");
	/* In the lower slots sits who should not be met. */
	assert_int_equal(evr_spsc_open(&squatter, a, "r", EVR_PRODUCER, 0), 0);
	push(&squatter, 66);
	assert_int_equal(evr_spsc_open(&out, b, "r", EVR_CONSUMER, 0), 0);
	evr_spsc_expect(&out, evr_peer_self(c));
	assert_true(is_empty(&out));
	assert_int_equal(evr_spsc_open(&in, c, "r", EVR_PRODUCER, 0), 0);
	evr_spsc_expect(&in, evr_peer_self(b));
	push(&in, 1);
	pop(&out, 1);
	assert_int_equal(evr_spsc_other(&out).slot, evr_peer_self(c).slot);
	/* Another incarnation than the expected one is another peer. */
	evr_spsc_close(&out);
	assert_int_equal(evr_spsc_open(&out, b, "r", EVR_CONSUMER, 0), 0);
	evr_spsc_expect(&out, (struct evr_peer_id){ evr_peer_self(c).slot,
						    evr_peer_self(c).incarnation + 1 });
	push(&in, 2);
	assert_true(is_empty(&out));
	evr_spsc_close(&in);
	evr_spsc_close(&out);
	evr_spsc_close(&squatter);
	evr_peer_detach(c);
}

/* Mutant: no vouching; then what the successor has written is delivered. */
static void far_successor_in_the_region_is_not_read(void **state)
{
	struct evr_ring_counts counts;
	struct evr_peer *c;
	uint32_t nr = 2;
	uint64_t got[2];
	uint8_t *region;
	uint64_t off;

	make(b, "r");
	assert_int_equal(evr_peer_attach(&c, pair->segment, NULL), 0);
	assert_int_equal(evr_spsc_open(&out, b, "r", EVR_CONSUMER, 0), 0);
	assert_int_equal(evr_spsc_open(&in, c, "r", EVR_PRODUCER, 0), 0);
	for (got[0] = 1; got[0] <= 5; got[0]++)
		push(&in, got[0]);
	pop(&out, 1);
	evr_peer_detach(c);
	pair_settle_dead(b);
	/* Nobody has the slot yet: all is as it was left. */
	pop(&out, 2);
	assert_non_null(evr_spsc_peek(&out, &nr));
	assert_int_equal(nr, 2);
	assert_int_equal(evr_peer_attach(&c, pair->segment, NULL), 0);
	off = evr_layout_region(&pair->segment->layout, evr_peer_self(c).slot);
	region = evr_peer_at(c, off, 64 << 10);
	memset(region + 8192, 0x77, (64 << 10) - 8192);
	assert_int_equal(evr_spsc_release(&out, nr), 0);
	assert_int_equal(evr_spsc_pop(&out, got, 1), 0);
	assert_int_equal(evr_spsc_state(&out), EVR_RING_PEER_DEAD);
	evr_spsc_counts(&out, EVR_CONSUMER, &counts);
	assert_int_equal(counts.lost, 3);
	evr_spsc_forget(&out);
	assert_int_equal(evr_spsc_state(&out), EVR_RING_NO_PEER);
	evr_spsc_close(&out);
	evr_peer_detach(c);
}

/* Who may write the turns of its own region takes nobody out of the sum. */
static void far_turns_of_a_liar_hide_nobody(void **state)
{
	struct evr_peer *liar;
	uint64_t before;

	assert_int_equal(evr_peer_attach(&liar, pair->segment, NULL), 0);
	make(b, "r");
	assert_int_equal(evr_spsc_open(&out, b, "r", EVR_CONSUMER, 0), 0);
	assert_true(is_empty(&out));
	assert_true(is_empty(&out));
	before = hide_sum(liar, EVR_SLOT_ANY);
	assert_int_equal(evr_spsc_open(&in, a, "r", EVR_PRODUCER, 0), 0);
	push(&in, 1);
	assert_true(hide_sum(liar, EVR_SLOT_ANY) != before);
	hide(liar, EVR_SLOT_ANY, before);
	assert_true(hide_sum(liar, EVR_SLOT_ANY) == before);
	pop(&out, 1);
	evr_spsc_close(&in);
	evr_spsc_close(&out);
	evr_peer_detach(liar);
}

/* Real processes, each in its region; what the parent sends comes back changed. */
#define ROUNDS 20000

static void echo(struct evr_peer *peer, void *arg)
{
	struct evr_waiter waiter;
	struct evr_spsc from, to;
	uint64_t values[7], i;
	int nr;

	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE));
	CHECK(!evr_spsc_open(&from, peer, "forth", EVR_CONSUMER, 0));
	CHECK(!evr_spsc_open(&to, peer, "back", EVR_PRODUCER, 0));
	for (;;) {
		nr = TIMELY(evr_spsc_pop_wait(&from, &waiter, values, 7, until_ns));
		if (nr == -EPIPE)
			break;
		CHECK(nr > 0);
		for (i = 0; i < (uint64_t)nr; i++)
			values[i] = ~values[i];
		CHECK(TIMELY(evr_spsc_push_wait(&to, &waiter, values, (uint32_t)nr, until_ns)) ==
		      nr);
	}
	evr_spsc_close(&to);
	evr_spsc_close(&from);
	evr_waiter_fini(&waiter);
}

static void far_two_processes_echo_in_order(void **state)
{
	uint64_t sent = 0, got = 0, values[5], i;
	uint32_t nr;
	pid_t pid;
	int ret;

	make(a, "forth");
	make(a, "back");
	assert_int_equal(evr_spsc_open(&in, a, "forth", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_open(&out, a, "back", EVR_CONSUMER, 0), 0);
	/* Sent before anybody is there, and then nothing until the answer has come. */
	push(&in, sent++);
	pid = pair_fork(pair, echo, NULL);
	while (got < ROUNDS) {
		ret = TIMELY(evr_spsc_pop_wait(&out, &wa, values, 5, until_ns));
		assert_true(ret > 0);
		for (i = 0; i < (uint64_t)ret; i++)
			assert_true(values[i] == ~got++);
		for (nr = 0; nr < 5 && sent < ROUNDS; nr++)
			values[nr] = sent++;
		sent -= nr - evr_spsc_push(&in, values, nr);
	}
	evr_spsc_close(&in);
	ret = TIMELY(evr_spsc_pop_wait(&out, &wa, values, 5, until_ns));
	assert_int_equal(ret, -EPIPE);
	pair_join(pid);
	evr_spsc_close(&out);
}

static void stream(struct evr_peer *peer, void *arg)
{
	struct evr_waiter waiter;
	struct evr_bytes to;
	uint64_t seed = 9, i, sz;
	uint8_t data[300];

	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE));
	CHECK(!evr_bytes_open(&to, peer, "s", EVR_PRODUCER));
	for (i = 0; i < 5000; i++) {
		sz = pair_random(&seed) % sizeof(data);
		memset(data, (int)i, sz);
		CHECK(!TIMELY(evr_bytes_write_wait(&to, &waiter, data, sz, until_ns)));
	}
	evr_bytes_close(&to);
	/* The half and its data last as long as this peer: until all has been read. */
	CHECK(!evr_bell_wait(peer, PAIR_BELL, pair_deadline(), NULL));
	evr_waiter_fini(&waiter);
}

static void far_frames_arrive_whole(void **state)
{
	struct evr_bytes_options options = { .struct_sz = sizeof(options), .capacity = 1024 };
	uint64_t seed = 9, i, k;
	struct evr_bytes from;
	uint8_t data[300];
	int64_t sz;
	pid_t pid;

	assert_int_equal(evr_bytes_create(a, "s", &options), 0);
	assert_int_equal(evr_bytes_open(&from, a, "s", EVR_CONSUMER), 0);
	pid = pair_fork(pair, stream, NULL);
	for (i = 0; i < 5000; i++) {
		sz = TIMELY(evr_bytes_read_wait(&from, &wa, data, sizeof(data), until_ns));
		assert_int_equal(sz, pair_random(&seed) % sizeof(data));
		for (k = 0; k < (uint64_t)sz; k++)
			assert_int_equal(data[k], (uint8_t)i);
	}
	assert_int_equal(TIMELY(evr_bytes_read_wait(&from, &wa, data, sizeof(data), until_ns)),
			 -EPIPE);
	assert_int_equal(evr_bell_ring(a,
				       evr_bytes_other(&from).slot == EVR_SLOT_ANY ?
					       from.lane.other_id :
					       evr_bytes_other(&from),
				       PAIR_BELL),
			 0);
	pair_join(pid);
	evr_bytes_close(&from);
}

static const uint64_t nonsense[] = { 0,		 1,	     7,		 CAPACITY + 1,
				     1ULL << 31, 1ULL << 32, 1ULL << 63, UINT64_MAX - 1,
				     UINT64_MAX };
#define NONSENSE_NR (sizeof(nonsense) / sizeof(nonsense[0]))

static void use(struct evr_spsc *ring, int role)
{
	uint64_t values[2 * CAPACITY] = { 0 };

	if (role == EVR_PRODUCER)
		evr_spsc_push_wait(ring, &wa, values, 2 * CAPACITY, 1);
	else
		evr_spsc_pop_wait(ring, &wa, values, 2 * CAPACITY, 1);
}

/* The other peer scribbles one word of its own region at a time. */
static void far_hostile_half_harms_nobody_else(void **state)
{
	uint64_t *region, saved[8192], k, i, used;
	uint64_t off = evr_layout_region(&pair->segment->layout, evr_peer_self(b).slot);
	enum evr_ring_state end;
	struct evr_object fence;
	uint8_t *guard;
	int role;

	region = evr_peer_at(b, off, sizeof(saved));
	assert_int_equal(evr_dir_create(a, "guard", EVR_KIND_USER, 4096, &fence), 0);
	guard = evr_peer_at(a, fence.off, fence.sz);
	memset(guard, 0x5a, fence.sz);
	make(a, "r");
	make(b, "r");
	/* The directory's header and first entries, and the half. */
	used = (uint64_t)((uint8_t *)(half_of(b, "r") + 1) - (uint8_t *)region) / 8;
	assert_true(used < 8192);
	for (role = 0; role < 2; role++) {
		for (k = 0; k < used; k++) {
			if (k >= 256 && k < used - SPAN_OF_WORDS(struct evr_lane_object))
				continue;
			for (i = 0; i < NONSENSE_NR; i++) {
				assert_int_equal(evr_spsc_open(&in, a, "r", role, 0), 0);
				assert_int_equal(evr_spsc_open(&out, b, "r", !role, 0), 0);
				evr_spsc_state(&in);
				evr_spsc_state(&out);
				memcpy(saved, region, used * 8);
				region[k] = nonsense[i];
				use(&in, role);
				end = evr_spsc_state(&in);
				assert_true(end <= EVR_RING_CORRUPT && end != EVR_RING_REVOKED);
				evr_spsc_forget(&in);
				use(&in, role);
				memcpy(region, saved, used * 8);
				evr_spsc_close(&in);
				evr_spsc_close(&out);
			}
		}
	}
	for (i = 0; i < fence.sz; i++)
		assert_int_equal(guard[i], 0x5a);
	assert_true(evr_peer_is_live(a, evr_peer_self(a)));
}

static void far_hostile_position_closes_the_end(void **state)
{
	uint64_t values[2 * CAPACITY] = { 0 };
	struct evr_lane_object *half;
	struct evr_ring_counts counts;

	make(a, "r");
	make(b, "r");
	half = half_of(b, "r");
	assert_int_equal(evr_spsc_open(&in, b, "r", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_open(&out, a, "r", EVR_CONSUMER, 0), 0);
	push(&in, 1);
	pop(&out, 1);
	half->sides[EVR_PRODUCER].pos.v = 1 + CAPACITY + 1;
	assert_int_equal(evr_spsc_pop_wait(&out, &wa, values, 1, 0), -EBADMSG);
	assert_int_equal(evr_spsc_state(&out), EVR_RING_CORRUPT);
	evr_spsc_counts(&out, EVR_CONSUMER, &counts);
	assert_int_equal(counts.corrupt, 1);
	evr_spsc_close(&out);
	evr_spsc_close(&in);
	/* Nor does an owner word speak for another peer than the one whose half it is in. */
	half->sides[EVR_PRODUCER].pos.v = 1;
	assert_int_equal(evr_spsc_open(&in, b, "r", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_open(&out, a, "r", EVR_CONSUMER, 0), 0);
	push(&in, 2);
	pop(&out, 2);
	*(uint64_t *)in.lane.owner += 1ULL << OWNER_INCARNATION_SHIFT;
	assert_int_equal(evr_spsc_state(&out), EVR_RING_CORRUPT);
	evr_spsc_close(&out);
	evr_spsc_close(&in);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_isolated, close_isolated)
	const struct CMUnitTest tests[] = {
		CASE(far_sides_lie_where_their_owners_write),
		CASE(far_producer_gone_before_the_consumer_came_is_read),
		CASE(far_close_of_either_is_told_to_who_was_there),
		CASE(far_next_consumer_gets_what_the_last_left),
		CASE(far_other_geometry_is_another_lane),
		CASE(far_expected_peer_alone_is_met),
		CASE(far_successor_in_the_region_is_not_read),
		CASE(far_turns_of_a_liar_hide_nobody),
		CASE(far_two_processes_echo_in_order),
		CASE(far_frames_arrive_whole),
		CASE(far_hostile_half_harms_nobody_else),
		CASE(far_hostile_position_closes_the_end),
	};

	return cmocka_run_group_tests_name("lane_far", tests, NULL, NULL);
}
