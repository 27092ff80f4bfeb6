/* SPDX-License-Identifier: MIT */
/*
 * Reliable broadcasts in an isolated segment: each subscriber gets all; one that is dead,
 * frozen or hostile holds up the writer by no more than its patience, and no other loses anything;
 * either side killed before its n-th access, and words that say what they please.
 *
 * Mutants seen to fail here: a position that may go back; a verdict that is not looked at, also that
 * of an earlier writer; turns summed up; one that stood still forgotten with its turn, or never
 * expelled; a seat that is never full; a publication that looks for nobody; turns without weights
 * (bcast_far_turns_of_the_last_*).
 */
#include "broadcast.h"

#include <evering/bell.h>

#include "backend.h"
#include "bcast.h"
#include "dir.h"
#include "hide.h"

#define PEERS 6

static int open_isolated(void **state)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .flags = EVR_SEGMENT_ISOLATED,
					       .peer_sz = 64 << 10,
					       .peers_max = PEERS };
	struct pair *pair = calloc(1, sizeof(*pair));

	steps_to_live = 0;
	steps_turn = NULL;
	if (!pair || evr_segment_create(&pair->segment, pair_uri(), &options) ||
	    evr_peer_attach(&pair->peer, pair->segment, NULL)) {
		fprintf(stderr, "# %s\n", evr_error_detail());
		return -1;
	}
	*state = pair;
	return 0;
}

static struct evr_peer *another(struct pair *pair)
{
	struct evr_peer *peer;

	assert_int_equal(evr_peer_attach(&peer, pair->segment, NULL), 0);
	return peer;
}

/* The writer, and subscribers that are other peers. */
struct stage {
	struct pair *pair;
	struct evr_peer *peers[2];
	struct typed in, out[2];
};

static struct stage set(struct pair *pair, uint32_t seats)
{
	struct stage s = { .pair = pair };
	int i;

	make(pair, CAPACITY, seats);
	open_as(&s.in, pair->peer, EVR_PRODUCER);
	for (i = 0; i < 2; i++) {
		s.peers[i] = another(pair);
		open_as(&s.out[i], s.peers[i], EVR_CONSUMER);
	}
	return s;
}

static void strike(struct stage *s)
{
	int i;

	for (i = 0; i < 2; i++) {
		typed_close(&s->out[i]);
		evr_peer_detach(s->peers[i]);
	}
	typed_close(&s->in);
}

/* The dead are gone, and so many others are left. */
static void settle_to(struct pair *pair, int left)
{
	uint64_t until = pair_deadline();
	struct evr_peer_info infos[PEERS];

	while (evr_peer_list(pair->peer, infos, PEERS) != left + 1) {
		assert_true(evr_now_ns() < until);
		evr_peer_check(pair->peer);
		assert_true(evr_reap_dead(pair->peer, NULL) >= 0);
	}
}

static struct evr_bcast_counts counts(struct typed *t)
{
	struct evr_bcast_counts c;

	evr_bcast_counts(&t->b, &c);
	return c;
}

static void bcast_far_names_kinds_and_rights_are_checked(void **state)
{
	static const char longest[] = "12345678901234567890123456789012345",
			  longer[] = "123456789012345678901234567890123456";
	struct evr_peer_options observing = { .struct_sz = sizeof(observing),
					      .flags = EVR_PEER_OBSERVER };
	struct evr_peer_id none = { .slot = EVR_SLOT_ANY };
	struct pair *pair = *state;
	struct evr_peer *peer = another(pair), *observer;
	struct evr_object object;
	struct typed in, out, second;

	assert_int_equal(typed_create(pair->peer, longer, CAPACITY, 1), -EINVAL);
	assert_int_equal(typed_create(pair->peer, longest, CAPACITY, 255), 0);
	assert_int_equal(typed_open(&in, pair->peer, longest, EVR_PRODUCER), 0);
	assert_int_equal(typed_subscribe(&out, peer, longest, NULL), 0);
	assert_int_equal(typed_push(&in, &(struct elem){ { 0, 0, 0, 0 } }, 1), 1);
	assert_int_equal(pop(&out, 1), 1);
	typed_close(&out);
	typed_close(&in);
	make(pair, CAPACITY, 1);
	assert_int_equal(typed_create(pair->peer, "lossy", CAPACITY, 0), 0);
	assert_int_equal(typed_open(&out, peer, "lossy", EVR_CONSUMER), -EOPNOTSUPP);
	assert_int_equal(typed_open(&out, peer, "none", EVR_CONSUMER), -ENOENT);
	assert_int_equal(typed_subscribe(&out, peer, "b", &none), -ENOENT);
	assert_int_equal(evr_bcast_state(&out.b), EVR_RING_CLOSED);
	assert_int_equal(evr_bcast_subscribe(&out.b, peer, "b", NULL, 5, 0), -EINVAL);
	assert_int_equal(evr_bcast_subscribe(&out.b, peer, "b", NULL, 0, 7), -EINVAL);
	assert_int_equal(evr_peer_attach(&observer, pair->segment, &observing), 0);
	assert_int_equal(typed_open(&out, observer, "b", EVR_CONSUMER), -EROFS);
	evr_peer_detach(observer);
	/* One subscription of each peer; what it leaves is used again. */
	open_as(&out, peer, EVR_CONSUMER);
	assert_int_equal(typed_open(&second, peer, "b", EVR_CONSUMER), -EBUSY);
	assert_int_equal(evr_bcast_state(&second.b), EVR_RING_CLOSED);
	typed_close(&out);
	open_as(&out, peer, EVR_CONSUMER);
	typed_close(&out);
	assert_int_equal(evr_dir_find(peer, "b.0", &object), 0);
	assert_true(object.kind == EVR_KIND_SEAT && object.slot == evr_peer_self(peer).slot);
	assert_string_equal(evr_kind_name(object.kind), "seat");
	assert_int_equal(evr_dir_remove(peer, &object), 0);
	assert_int_equal(evr_dir_create(peer, "b.0", EVR_KIND_USER, 4096, &object), 0);
	assert_int_equal(evr_dir_publish(peer, &object), 0);
	assert_int_equal(typed_open(&out, peer, "b", EVR_CONSUMER), -EINVAL);
	evr_peer_detach(peer);
}

static void is_seen_from_outside(struct pair *pair, uint64_t pos, uint64_t read)
{
	struct evr_tap tap;
	struct evr_tap_message m;
	struct evr_object_stat stat;
	struct evr_object object;
	struct elem e;

	assert_int_equal(evr_dir_find(pair->peer, "b", &object), 0);
	assert_int_equal(evr_object_stat(pair->peer, &object, &stat), 0);
	assert_int_equal(stat.flows[0].ends[EVR_PRODUCER].pos, pos);
	assert_int_equal(stat.flows[0].ends[EVR_CONSUMER].pos, read);
	assert_int_equal(evr_tap_open(&tap, pair->peer, &object, EVR_TAP_OLDEST), 0);
	assert_int_equal(evr_tap_next(&tap, &e, sizeof(e), &m), 1);
	assert_true(is_elem_of(&e, m.pos) && m.released == (m.pos < read));
	evr_tap_close(&tap);
}

static void bcast_far_slowest_subscriber_bounds_the_writer(void **state)
{
	struct pair *pair = *state;
	struct stage s = set(pair, 2);
	struct typed *fast = &s.out[0], *slow = &s.out[1];
	struct evr_bcast_counts c;
	struct evr_waiter waiter;
	struct elem e = elem_of(CAPACITY);
	uint32_t nr = 1;

	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	assert_true(s.in.b.patience_ns == EVR_BCAST_PATIENCE_NS);
	assert_int_equal(push(&s.in, CAPACITY + 1), CAPACITY);
	assert_int_equal(push(&s.in, 1), 0);
	assert_int_equal(evr_bcast_state(&s.in.b), EVR_RING_OK);
	assert_null(typed_reserve(&s.in, &nr));
	assert_int_equal(typed_push_wait(&s.in, &waiter, &e, 1, 1), -ETIMEDOUT);
	assert_int_equal(drain(fast), CAPACITY);
	assert_int_equal(push(&s.in, 1), 0);
	c = counts(slow);
	assert_true(c.lag == CAPACITY && c.seats == 2 && c.seated == 2);
	assert_int_equal(c.slowest.slot, evr_peer_self(s.peers[1]).slot);
	is_seen_from_outside(pair, CAPACITY, 0);
	nr = 3;
	assert_true(is_elem_of(typed_peek(slow, &nr), 0));
	assert_int_equal(typed_release(slow, 3), 3);
	is_seen_from_outside(pair, CAPACITY, 3);
	assert_int_equal(push(&s.in, 4), 3);
	typed_close(slow);
	assert_int_equal(push(&s.in, CAPACITY), CAPACITY - 3);
	assert_int_equal(drain(fast), CAPACITY);
	/* It begins with what comes, and keeps that. */
	open_as(slow, s.peers[1], EVR_CONSUMER);
	assert_int_equal(push(&s.in, CAPACITY + 1), CAPACITY);
	assert_true(drain(slow) == CAPACITY && drain(fast) == CAPACITY);
	assert_true(!evr_bcast_lost(&fast->b) && !evr_bcast_lost(&slow->b));
	evr_waiter_fini(&waiter);
	strike(&s);
}

static void bcast_far_who_finds_no_seat_is_told(void **state)
{
	struct pair *pair = *state;
	struct stage s = set(pair, 1);
	struct evr_waiter waiter;
	struct typed *first, *late;
	struct elem e;
	int i;

	assert_int_equal(evr_waiter_init(&waiter, s.peers[1], EVR_WAIT_SLEEP), 0);
	assert_int_equal(push(&s.in, CAPACITY), CAPACITY);
	i = evr_bcast_state(&s.out[0].b) == EVR_RING_EXPELLED;
	first = &s.out[i];
	late = &s.out[!i];
	assert_int_equal(evr_bcast_state(&first->b), EVR_RING_OK);
	assert_int_equal(evr_bcast_state(&late->b), EVR_RING_EXPELLED);
	assert_int_equal(push(&s.in, 1), 0);
	assert_int_equal(drain(first), CAPACITY);
	assert_int_equal(push(&s.in, 3), 3);
	/* As a listener it has what is there. */
	assert_int_equal(drain(late), CAPACITY);
	assert_int_equal(evr_bcast_lost(&late->b), 3);
	assert_int_equal(typed_pop_wait(late, &waiter, &e, 1, EVR_NO_DEADLINE), -ENOBUFS);
	evr_bcast_forget(&late->b);
	assert_int_equal(evr_bcast_state(&late->b), EVR_RING_OK);
	assert_int_equal(drain(first), 3);
	/* There is a seat once the other has given its own back. */
	typed_close(first);
	typed_close(late);
	open_as(late, s.peers[!i], EVR_CONSUMER);
	assert_int_equal(push(&s.in, CAPACITY + 1), CAPACITY);
	assert_int_equal(evr_bcast_state(&late->b), EVR_RING_OK);
	assert_int_equal(drain(late), CAPACITY);
	/* To be expelled holds for the turn, also under the writer's successor. */
	assert_int_equal(evr_bcast_expel(&s.in.b, evr_peer_self(pair->peer)), 0);
	assert_int_equal(evr_bcast_expel(&s.in.b, evr_peer_self(s.peers[!i])), 1);
	assert_int_equal(evr_bcast_expel(&s.in.b, evr_peer_self(s.peers[!i])), 0);
	typed_close(&s.in);
	open_as(&s.in, pair->peer, EVR_PRODUCER);
	assert_int_equal(push(&s.in, 2 * CAPACITY), 2 * CAPACITY);
	assert_int_equal(evr_bcast_state(&late->b), EVR_RING_EXPELLED);
	assert_int_equal(counts(&s.in).seated, 0);
	evr_waiter_fini(&waiter);
	strike(&s);
}

#define MANY 20000

struct crowd {
	struct evr_peer_id writer;
	int ready[2], go[2];
};

static void write_many(struct evr_peer *peer, void *arg)
{
	struct evr_waiter waiter;
	struct typed in;
	struct elem e;
	uint64_t i;
	char c;

	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE));
	CHECK(!typed_open(&in, peer, "b", EVR_PRODUCER));
	/* A slow machine's reader may not run for longer than the patience that it begins with. */
	evr_bcast_patience(&in.b, EVR_NO_DEADLINE);
	CHECK(read(((struct crowd *)arg)->go[0], &c, 1) == 1);
	for (i = 0; i < MANY; i++) {
		e = elem_of(i);
		CHECK(TIMELY(typed_push_wait(&in, &waiter, &e, 1, until_ns)) == 1);
		if (i % 1000 == 0) {
			pair_alive();
			pair_sleep_us(2000);
		}
	}
	typed_close(&in);
	/* What lies here lasts as long as this peer. */
	CHECK(!evr_bell_wait(peer, PAIR_BELL, pair_deadline(), NULL));
	evr_waiter_fini(&waiter);
}

static void read_many(struct evr_peer *peer, void *arg)
{
	struct crowd *crowd = arg;
	struct evr_waiter waiter;
	struct typed out;
	struct elem e[3];
	uint64_t next = 0;
	int got, i;

	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_SLEEP));
	while (typed_subscribe(&out, peer, "b", &crowd->writer))
		pair_sleep_us(1000);
	CHECK(write(crowd->ready[1], "r", 1) == 1);
	while ((got = TIMELY(typed_pop_wait(&out, &waiter, e, 3, until_ns))) > 0) {
		for (i = 0; i < got; i++)
			CHECK(is_elem_of(&e[i], next++));
		pair_alive();
	}
	CHECK(got == -EPIPE && next == MANY && !evr_bcast_lost(&out.b));
	/* It has slept as one that is rung for, not as an observer. */
	CHECK(evr_a64_load_relaxed(&out.b.lane.mine->counts.parks) > 0);
	CHECK(evr_a64_load_relaxed(&out.b.lane.mine->need.word) >> EVR_NEED_EPOCH_SHIFT);
	typed_close(&out);
	evr_waiter_fini(&waiter);
}

static void bcast_far_processes_get_all_in_order(void **state)
{
	struct pair *pair = *state;
	struct evr_peer_info info;
	pid_t writer, readers[3];
	struct crowd crowd;
	char c;
	int i;

	assert_int_equal(pipe(crowd.ready) | pipe(crowd.go), 0);
	/* It makes its own, like this one that nobody writes. */
	make(pair, CAPACITY, 3);
	writer = pair_fork(pair, write_many, &crowd);
	while (evr_peer_info(pair->peer, 1, &info) || info.state != EVR_PEER_LIVE)
		pair_sleep_us(1000);
	crowd.writer = info.id;
	for (i = 0; i < 3; i++)
		readers[i] = pair_fork(pair, read_many, &crowd);
	for (i = 0; i < 3; i++)
		assert_int_equal(read(crowd.ready[0], &c, 1), 1);
	assert_int_equal(write(crowd.go[1], "g", 1), 1);
	for (i = 0; i < 3; i++)
		pair_join(readers[i]);
	assert_int_equal(evr_bell_ring(pair->peer, info.id, PAIR_BELL), 0);
	pair_join(writer);
	for (i = 0; i < 2; i++) {
		close(crowd.ready[i]);
		close(crowd.go[i]);
	}
}

/* Not only at the end of the room: whom the writer rings for must be known long before. */
static void bcast_far_who_comes_while_there_is_room_is_found(void **state)
{
	struct pair *pair = *state;
	struct evr_peer *peer = another(pair);
	struct typed in, out;
	int i;

	make(pair, 64, 1);
	open_as(&in, pair->peer, EVR_PRODUCER);
	assert_int_equal(push(&in, 1), 1);
	open_as(&out, peer, EVR_CONSUMER);
	assert_false(evr_bcast_far_is_noted(&out.b));
	for (i = 0; i < PEERS; i++)
		assert_int_equal(push(&in, 1), 1);
	assert_true(evr_bcast_far_is_noted(&out.b));
	/* The next writer knows it from the beginning. */
	typed_close(&in);
	open_as(&in, pair->peer, EVR_PRODUCER);
	assert_true(evr_bcast_far_is_noted(&out.b));
	assert_int_equal(counts(&in).seated, 1);
	assert_int_equal(drain(&out), PEERS);
	typed_close(&out);
	typed_close(&in);
	evr_peer_detach(peer);
}

/* It stands still, and comes again, and again: all of it holds the writer up once. */
static void bcast_far_frozen_subscriber_is_put_out(void **state)
{
	struct pair *pair = *state;
	struct stage s = set(pair, 2);
	struct typed *frozen = &s.out[0], *good = &s.out[1];
	struct elem elems[CAPACITY];
	struct evr_waiter waiter;
	uint64_t parks;
	int i;

	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	assert_int_equal(push(&s.in, CAPACITY), CAPACITY);
	assert_int_equal(drain(good), CAPACITY);
	evr_bcast_patience(&s.in.b, 1000000);
	for (i = 0; i < CAPACITY; i++)
		elems[i] = elem_of(CAPACITY + (uint64_t)i);
	assert_int_equal(typed_push_wait(&s.in, &waiter, elems, CAPACITY, pair_deadline()),
			 CAPACITY);
	assert_int_equal(evr_bcast_state(&frozen->b), EVR_RING_EXPELLED);
	assert_int_equal(evr_bcast_state(&good->b), EVR_RING_OK);
	assert_int_equal(drain(good), CAPACITY);
	/* A new turn that does not say where it begins was waited for before. */
	typed_close(frozen);
	open_as(frozen, s.peers[0], EVR_CONSUMER);
	evr_a64_store_release(&frozen->b.lane.mine->partner, 0);
	parks = waiter.counts.parks;
	assert_int_equal(push(&s.in, CAPACITY), CAPACITY);
	assert_int_equal(drain(good), CAPACITY);
	assert_int_equal(push(&s.in, CAPACITY), CAPACITY);
	/* Nor does one get its way that says so where nothing can be written. */
	typed_close(frozen);
	open_as(frozen, s.peers[0], EVR_CONSUMER);
	evr_a64_store_release(&frozen->b.lane.mine->pos, s.in.b.lane.pos - CAPACITY);
	assert_int_equal(drain(good), CAPACITY);
	assert_int_equal(push(&s.in, 1), 1);
	assert_int_equal(evr_bcast_state(&frozen->b), EVR_RING_EXPELLED);
	assert_true(parks == waiter.counts.parks && counts(&s.in).expelled == 2);
	/* Who comes and reads is one like any other. */
	typed_close(frozen);
	open_as(frozen, s.peers[0], EVR_CONSUMER);
	assert_int_equal(push(&s.in, 1) + drain(frozen) + (int)drain(good), 4);
	assert_int_equal(push(&s.in, CAPACITY + 1), CAPACITY);
	assert_int_equal(drain(frozen), CAPACITY);
	assert_int_equal(drain(good), CAPACITY);
	assert_true(!evr_bcast_lost(&frozen->b) && !evr_bcast_lost(&good->b));
	evr_waiter_fini(&waiter);
	strike(&s);
}

/* Two that take turns at being in the way: the writer goes on, after both were seen once. */
static void bcast_far_two_in_turns_hold_up_once_each(void **state)
{
	struct pair *pair = *state;
	struct stage s = set(pair, 2);
	struct evr_waiter waiter;
	struct elem e;
	int i;

	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	evr_bcast_patience(&s.in.b, 1000000);
	typed_close(&s.out[1]);
	assert_int_equal(push(&s.in, CAPACITY), CAPACITY);
	for (i = 0; i < 4; i++) {
		struct typed *now = &s.out[i % 2], *next = &s.out[!(i % 2)];

		/* One slice of a wait, in which the one leaves and the other comes. */
		evr_bcast_far_watch(&s.in.b, false);
		typed_close(now);
		open_as(next, s.peers[!(i % 2)], EVR_CONSUMER);
		evr_a64_store_release(&next->b.lane.mine->partner, 0);
		evr_bcast_gate(&s.in.b, 1);
		if (evr_lane_avail(&s.in.b.lane))
			break;
		evr_bcast_far_watch(&s.in.b, true);
	}
	assert_int_equal(i, 1);
	e = elem_of(CAPACITY);
	assert_int_equal(typed_push_wait(&s.in, &waiter, &e, 1, pair_deadline()), 1);
	evr_waiter_fini(&waiter);
	strike(&s);
}

static void subscribe_and_read(struct evr_peer *peer, void *arg)
{
	struct typed out;

	CHECK(!typed_open(&out, peer, "b", EVR_CONSUMER));
	CHECK(pop(&out, 2) <= 2);
	CHECK(pop(&out, 2) == 0);
	typed_close(&out);
	CHECK(!typed_open(&out, peer, "b", EVR_CONSUMER));
}

static void bcast_far_subscriber_killed_at_each_step_blocks_nobody(void **state)
{
	struct pair *pair = *state;
	struct stage s = set(pair, 2);
	uint64_t n, sum = 0;
	bool died = true;

	typed_close(&s.out[1]);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		died = die_among(pair, n, subscribe_and_read, NULL);
		settle_to(pair, 2);
		assert_int_equal(push(&s.in, CAPACITY + 1), CAPACITY);
		assert_int_equal(drain(&s.out[0]), CAPACITY);
		sum += CAPACITY;
	}
	assert_true(s.out[0].b.lane.pos == sum && !evr_bcast_lost(&s.out[0].b));
	assert_true(!counts(&s.in).corrupt && !counts(&s.in).expelled);
	strike(&s);
}

/* It dies before its n-th access since it was subscribed to. */
static void write_and_die(struct evr_peer *peer, uint64_t n, int to, int from)
{
	struct typed in;
	char c;

	CHECK(!typed_open(&in, peer, "b", EVR_PRODUCER));
	CHECK(write(to, "w", 1) == 1 && read(from, &c, 1) == 1);
	steps = 0;
	steps_to_live = n;
	CHECK(push(&in, 3) == 3);
	/* No more than there is room for, also when nothing was read meanwhile. */
	CHECK(push(&in, CAPACITY - 3) == CAPACITY - 3);
	typed_close(&in);
}

/* All that was published is read, and then what became of the writer is told. */
static void bcast_far_writer_killed_at_each_step_is_known(void **state)
{
	struct pair *pair = *state;
	struct evr_peer *peer = another(pair);
	uint64_t n, end = 0, seen = 0;
	struct evr_peer_options options = { .struct_sz = sizeof(options),
					    .slot_set = true,
					    .slot = 3 };
	int to[2], from[2], status, ret;
	struct evr_peer_info info;
	struct evr_waiter waiter;
	struct evr_peer *writer;
	struct typed out;
	struct elem e;
	pid_t pid;
	char c;

	make(pair, CAPACITY, 1);
	assert_int_equal(evr_waiter_init(&waiter, peer, EVR_WAIT_SLEEP), 0);
	for (n = 1; !end; n++) {
		assert_true(n < STEPS_MAX);
		assert_int_equal(pipe(to) | pipe(from), 0);
		fflush(NULL);
		pid = fork();
		assert_true(pid >= 0);
		if (!pid) {
			alarm(60);
			CHECK(!evr_peer_attach(&writer, pair->segment, &options));
			write_and_die(writer, n, from[1], to[0]);
			_exit(0);
		}
		assert_int_equal(read(from[0], &c, 1), 1);
		assert_int_equal(evr_peer_info(pair->peer, 3, &info), 0);
		assert_int_equal(typed_subscribe(&out, peer, "b", &info.id), 0);
		assert_int_equal(write(to[1], "s", 1), 1);
		while ((ret = TIMELY(typed_pop_wait(&out, &waiter, &e, 1, until_ns))) == 1)
			assert_true(is_elem_of(&e, out.b.lane.pos - 1));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		seen |= 1ULL << out.b.lane.pos;
		end = WIFEXITED(status);
		assert_int_equal(evr_bcast_lost(&out.b), 0);
		/* One that has said its end before it died is known for that. */
		assert_true(ret == (end ? -EPIPE : -EOWNERDEAD) ||
			    (ret == -EPIPE && out.b.lane.pos == CAPACITY));
		seen |= ret == -EOWNERDEAD ? 1ULL << (32 + out.b.lane.pos) : 0;
		typed_close(&out);
		for (ret = 0; ret < 2; ret++) {
			close(to[ret]);
			close(from[ret]);
		}
		settle_to(pair, 1);
	}
	assert_true(seen == (1ULL | 1 << 3 | 1 << CAPACITY) * (1ULL | 1ULL << 32));
	evr_waiter_fini(&waiter);
	evr_peer_detach(peer);
}

static struct typed *turn_reader, *turn_writer;
static struct evr_peer *turn_peer;

static void join_in_between(void *arg)
{
	assert_int_equal(typed_open(turn_reader, turn_peer, "b", EVR_CONSUMER), 0);
}

static void push_what_fits(void *arg)
{
	push(turn_writer, 3 * CAPACITY);
}

/* Wherever in the writer's calls a subscriber comes, and wherever in its coming the writer writes. */
static void bcast_far_who_comes_at_each_access_loses_nothing(void **state)
{
	struct pair *pair = *state;
	struct evr_peer *peer = another(pair);
	struct evr_bcast_tally t;
	struct typed in, out;
	uint64_t n;
	bool ran;
	int way;

	make(pair, CAPACITY, 1);
	open_as(&in, pair->peer, EVR_PRODUCER);
	turn_reader = &out;
	turn_writer = &in;
	turn_peer = peer;
	for (way = 0; way < 2; way++)
		for (n = 1, ran = true; ran; n++) {
			assert_true(n < STEPS_MAX);
			steps = 0;
			steps_to_live = n;
			steps_turn = way ? push_what_fits : join_in_between;
			if (way) {
				join_in_between(NULL);
			} else {
				push(&in, CAPACITY / 2);
				push(&in, CAPACITY);
			}
			ran = steps >= n;
			steps_to_live = 0;
			if (!ran && !way)
				join_in_between(NULL);
			while (push(&in, 1))
				;
			drain(&out);
			evr_bcast_tally(&out.b, &t);
			assert_true(t.lost == 0 && t.next == in.b.lane.pos);
			typed_close(&out);
		}
	assert_int_equal(counts(&in).expelled, 0);
	typed_close(&in);
	evr_peer_detach(peer);
}

/* Positions that cannot be: ahead of the writer, too far behind it, or behind what was read. */
static void bcast_far_position_is_never_ahead_nor_goes_back(void **state)
{
	struct pair *pair = *state;
	struct stage s = set(pair, 2);
	struct typed *bad = &s.out[0], *good = &s.out[1];
	uint64_t i, pos,
		wrong[] = { CAPACITY + 1,	 UINT64_MAX,  1ULL << 63, (uint64_t)-CAPACITY - 1,
			    (uint64_t)-CAPACITY, (uint64_t)-1 };

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		typed_close(bad);
		open_as(bad, s.peers[0], EVR_CONSUMER);
		assert_int_equal(push(&s.in, CAPACITY), CAPACITY);
		assert_true(drain(bad) == CAPACITY && drain(good) == CAPACITY);
		pos = s.in.b.lane.pos;
		/* It looks, and has seen it at pos. */
		evr_bcast_gate(&s.in.b, CAPACITY);
		evr_a64_store_release(&bad->b.lane.mine->pos, pos + wrong[i]);
		evr_bcast_gate(&s.in.b, CAPACITY);
		assert_int_equal(push(&s.in, CAPACITY), CAPACITY);
		assert_int_equal(push(&s.in, 1), 0);
		assert_int_equal(evr_bcast_state(&bad->b), EVR_RING_EXPELLED);
		assert_true(counts(&s.in).corrupt == i + 1 && counts(&s.in).expelled == i + 1);
		assert_int_equal(drain(good), CAPACITY);
	}
	assert_int_equal(evr_bcast_lost(&good->b), 0);
	strike(&s);
}

/* One peer cannot hide that another has come by turning its own count back. */
static void bcast_far_turns_of_a_liar_hide_nobody(void **state)
{
	struct pair *pair = *state;
	struct stage s = set(pair, 2);
	struct evr_a64 *liars;

	typed_close(&s.out[1]);
	assert_int_equal(push(&s.in, CAPACITY), CAPACITY);
	assert_int_equal(drain(&s.out[0]), CAPACITY);
	liars = hide_word(s.peers[0], evr_peer_self(s.peers[0]).slot);
	assert_true(evr_a64_load_relaxed(liars) > 0);
	open_as(&s.out[1], s.peers[1], EVR_CONSUMER);
	evr_a64_store_release(liars, evr_a64_load_relaxed(liars) - 1);
	assert_int_equal(push(&s.in, CAPACITY), CAPACITY);
	assert_int_equal(drain(&s.out[0]), CAPACITY);
	assert_int_equal(push(&s.in, CAPACITY), 0);
	assert_int_equal(drain(&s.out[1]), CAPACITY);
	strike(&s);
}

/* Nor does who had a slot hide the next in it, by what it has left for its turns. */
static void bcast_far_turns_of_the_last_hide_no_next(void **state)
{
	struct pair *pair = *state;
	struct stage s = set(pair, 2);
	uint32_t slot = evr_peer_self(s.peers[1]).slot;
	uint64_t before;

	typed_close(&s.out[1]);
	assert_int_equal(push(&s.in, CAPACITY), CAPACITY);
	assert_int_equal(push(&s.in, 1), 0);
	assert_int_equal(push(&s.in, 1), 0);
	before = hide_sum(pair->peer, slot);
	evr_peer_detach(s.peers[1]);
	pair_settle_dead(pair->peer);
	assert_int_equal(drain(&s.out[0]), CAPACITY);
	s.peers[1] = another(pair);
	assert_int_equal(evr_peer_self(s.peers[1]).slot, slot);
	open_as(&s.out[1], s.peers[1], EVR_CONSUMER);
	assert_true(hide_sum(pair->peer, slot) != before);
	/* As the last one might have counted it out. */
	hide(s.peers[1], slot, before);
	assert_true(hide_sum(pair->peer, slot) == before);
	assert_int_equal(push(&s.in, CAPACITY), CAPACITY);
	assert_int_equal(drain(&s.out[0]), CAPACITY);
	assert_int_equal(push(&s.in, CAPACITY), 0);
	assert_int_equal(drain(&s.out[1]), CAPACITY);
	strike(&s);
}

static struct evr_lane_object *object_in(struct evr_peer *peer, const char *name, uint64_t *sz)
{
	struct evr_object object;

	assert_true(evr_dir_find_in(peer, evr_peer_self(peer), name, &object));
	*sz = object.sz;
	return evr_peer_at(peer, object.off, object.sz);
}

static const uint64_t nonsense[] = {
	0, 1, 7, CAPACITY + 1, UINT64_MAX, 1ULL << 63, 0x0100000401, 0x0100000001
};

/* Any word of a subscriber's object, or its entry's owner: the other one gets all, in time. */
static void bcast_far_hostile_subscriber_harms_nobody_else(void **state)
{
	struct pair *pair = *state;
	struct stage s = set(pair, 2);
	struct typed *bad = &s.out[0], *good = &s.out[1];
	struct evr_waiter waiter;
	uint64_t *at, sz, k, i;
	struct elem elems[2];

	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	evr_bcast_patience(&s.in.b, 20000);
	at = (uint64_t *)object_in(s.peers[0], "b.0", &sz);
	for (k = 0; k <= sz / 8; k++)
		for (i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
			uint64_t *word = k < sz / 8 ? &at[k] : (uint64_t *)bad->b.lane.owner;
			uint64_t before = *word;

			*word = nonsense[i];
			elems[0] = elem_of(s.in.b.lane.pos);
			elems[1] = elem_of(s.in.b.lane.pos + 1);
			assert_int_equal(typed_push_wait(&s.in, &waiter, elems, 2, pair_deadline()),
					 2);
			assert_int_equal(drain(good), 2);
			typed_pop(bad, elems, 2);
			*word = before;
			if (i % 3 == 0) {
				typed_close(bad);
				*(uint64_t *)bad->b.lane.owner = 0;
				if (typed_open(bad, s.peers[0], "b", EVR_CONSUMER)) {
					memset(at, 0, sz);
					((struct evr_lane_object *)at)->geometry.layout =
						EVR_LANE_LAYOUT;
					open_as(bad, s.peers[0], EVR_CONSUMER);
				}
			}
		}
	assert_int_equal(evr_bcast_lost(&good->b), 0);
	evr_waiter_fini(&waiter);
	strike(&s);
}

/* Any word of the writer's object: its readers come to an end of each call, and write nothing. */
static void bcast_far_hostile_writer_harms_no_reader(void **state)
{
	struct pair *pair = *state;
	struct stage s = set(pair, 2);
	struct evr_bcast_tally t;
	struct evr_waiter waiter;
	struct elem elems[CAPACITY];
	uint64_t *at, sz, k, i, before;

	assert_int_equal(evr_waiter_init(&waiter, s.peers[0], EVR_WAIT_SLEEP), 0);
	at = (uint64_t *)object_in(pair->peer, "b", &sz);
	for (k = 16; k < sz / 8; k++)
		for (i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
			before = at[k];
			typed_push(&s.in, elems, 2);
			at[k] = nonsense[i];
			typed_pop(&s.out[0], elems, 1);
			typed_pop_wait(&s.out[0], &waiter, elems, CAPACITY, 1);
			typed_pop(&s.out[1], elems, CAPACITY);
			evr_bcast_forget(&s.out[0].b);
			counts(&s.out[0]);
			evr_bcast_tally(&s.out[0].b, &t);
			assert_true(t.delivered + t.lost == t.next - t.first);
			at[k] = before;
			if (evr_bcast_state(&s.out[0].b) != EVR_RING_OK || i == 3) {
				typed_close(&s.out[0]);
				open_as(&s.out[0], s.peers[0], EVR_CONSUMER);
			}
		}
	evr_waiter_fini(&waiter);
	strike(&s);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_isolated, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(bcast_far_names_kinds_and_rights_are_checked),
		CASE(bcast_far_slowest_subscriber_bounds_the_writer),
		CASE(bcast_far_who_finds_no_seat_is_told),
		CASE(bcast_far_processes_get_all_in_order),
		CASE(bcast_far_who_comes_while_there_is_room_is_found),
		CASE(bcast_far_frozen_subscriber_is_put_out),
		CASE(bcast_far_two_in_turns_hold_up_once_each),
		CASE(bcast_far_subscriber_killed_at_each_step_blocks_nobody),
		CASE(bcast_far_writer_killed_at_each_step_is_known),
		CASE(bcast_far_who_comes_at_each_access_loses_nothing),
		CASE(bcast_far_position_is_never_ahead_nor_goes_back),
		CASE(bcast_far_turns_of_a_liar_hide_nobody),
		CASE(bcast_far_turns_of_the_last_hide_no_next),
		CASE(bcast_far_hostile_subscriber_harms_nobody_else),
		CASE(bcast_far_hostile_writer_harms_no_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
