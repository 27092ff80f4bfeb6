/* SPDX-License-Identifier: MIT */
/*
 * Broadcasts: limits, loss to the element, grants, seats and who is expelled from them; and
 * another's whole call before each access of one's own. test_bcast_death.c has the rest.
 */
#include "broadcast.h"

static void bcast_limits_refused_beyond(void **state)
{
	struct evr_bcast_options options = { .struct_sz = sizeof(options) };
	struct pair *pair = *state;
	struct evr_bcast b, other;
	struct evr_spsc ring;

	options.capacity = 3;
	assert_int_equal(evr_bcast_create(pair->peer, "b", &options), -EINVAL);
	options.capacity = (1U << 31) + 1;
	assert_int_equal(evr_bcast_create(pair->peer, "b", &options), -EINVAL);
	options.capacity = 1U << 31;
	assert_int_equal(evr_bcast_create(pair->peer, "b", &options), -ENOSPC);
	options.capacity = 4;
	options.elem_sz = (1U << 30) + 1;
	assert_int_equal(evr_bcast_create(pair->peer, "b", &options), -EINVAL);
	options.elem_sz = 24;
	options.seats = 256;
	assert_int_equal(evr_bcast_create(pair->peer, "b", &options), -EINVAL);
	options.seats = 255;
	assert_int_equal(evr_bcast_create(pair->peer, "b", &options), -ENOSPC);
	options.seats = 1;
	options.type_tag = 7;
	assert_int_equal(evr_bcast_create(pair->peer, "b", &options), 0);
	assert_int_equal(evr_bcast_create(pair->peer, "b", &options), -EEXIST);
	assert_int_equal(evr_bcast_open(&b, pair->peer, "none", EVR_PRODUCER, 0), -ENOENT);
	assert_int_equal(evr_bcast_open(&b, pair->peer, "none", EVR_CONSUMER, 0), -ENOENT);
	assert_int_equal(evr_bcast_observe(&b, pair->peer, "none", NULL, 0), -ENOENT);
	assert_int_equal(evr_bcast_open(&b, pair->peer, "b", (enum evr_role)2, 0), -EINVAL);
	assert_int_equal(evr_bcast_open(&b, pair->peer, "b", EVR_PRODUCER, 8), -EINVAL);
	assert_int_equal(evr_bcast_open(&b, pair->peer, "b", EVR_CONSUMER, 8), -EINVAL);
	assert_int_equal(evr_bcast_open_sized(&b, pair->peer, "b", EVR_PRODUCER, 7, 8), -EINVAL);
	assert_int_equal(evr_bcast_observe_sized(&b, pair->peer, "b", NULL, 7, 8), -EINVAL);
	assert_int_equal(evr_spsc_open(&ring, pair->peer, "b", EVR_PRODUCER, 0), -EINVAL);
	assert_int_equal(evr_bcast_open_sized(&b, pair->peer, "b", EVR_PRODUCER, 7, 24), 0);
	assert_int_equal(evr_bcast_capacity(&b), 4);
	assert_int_equal(evr_bcast_open(&other, pair->peer, "b", EVR_PRODUCER, 0), -EBUSY);
	evr_bcast_close(&b);
	evr_bcast_close(&b);
	/* What failed left nothing taken. */
	assert_int_equal(evr_bcast_open(&b, pair->peer, "b", EVR_CONSUMER, 7), 0);
	assert_int_equal(evr_bcast_open(&other, pair->peer, "b", EVR_CONSUMER, 7), -EUSERS);
	evr_bcast_close(&b);
	assert_int_equal(evr_bcast_open(&other, pair->peer, "b", EVR_CONSUMER, 7), 0);
	evr_bcast_close(&other);
}

static void bcast_every_reader_gets_all_in_order(void **state)
{
	struct pair *pair = *state;
	struct typed in, out[3];
	struct evr_bcast_counts c;
	uint32_t nr, k, i;

	make(pair, CAPACITY, 0);
	open_as(&in, pair->peer, EVR_PRODUCER);
	open_as(&out[0], pair->peer, EVR_CONSUMER);
	open_as(&out[1], pair->peer, EVR_CONSUMER);
	observe(&out[2], pair->peer);
	for (nr = 0; nr <= CAPACITY; nr++)
		for (k = 0; k < CAPACITY + 1; k++) {
			assert_int_equal(push(&in, nr), nr);
			for (i = 0; i < 3; i++)
				assert_int_equal(pop(&out[i], 64), nr);
		}
	for (i = 0; i < 3; i++) {
		assert_int_equal(pop(&out[i], 1), 0);
		assert_int_equal(evr_bcast_state(&out[i].b), EVR_RING_OK);
		assert_int_equal(evr_bcast_lost(&out[i].b), 0);
	}
	evr_bcast_counts(&out[2].b, &c);
	assert_int_equal(c.pos, (CAPACITY + 1) * CAPACITY * (CAPACITY + 1) / 2);
	assert_true(c.pos - c.base == CAPACITY && !c.spoiled && !c.seats && c.opens == 1);
	assert_int_equal(c.writer.slot, evr_peer_self(pair->peer).slot);
	typed_close(&in);
	for (i = 0; i < 3; i++) {
		assert_int_equal(evr_bcast_state(&out[i].b), EVR_RING_CLOSED);
		evr_bcast_forget(&out[i].b);
		assert_int_equal(evr_bcast_state(&out[i].b), EVR_RING_NO_PEER);
	}
	/* The next goes on where the last stopped. */
	open_as(&in, pair->peer, EVR_PRODUCER);
	assert_int_equal(push(&in, 2), 2);
	for (i = 0; i < 3; i++) {
		assert_int_equal(evr_bcast_state(&out[i].b), EVR_RING_OK);
		assert_int_equal(drain(&out[i]), 2);
		typed_close(&out[i]);
		assert_int_equal(pop(&out[i], 1), 0);
		assert_int_equal(evr_bcast_state(&out[i].b), EVR_RING_CLOSED);
	}
	typed_close(&in);
	assert_int_equal(push(&in, 1), 0);
}

static void bcast_slow_reader_knows_how_many_it_lost(void **state)
{
	struct pair *pair = *state;
	struct evr_bcast_tally t;
	struct typed in, out;
	uint32_t nr, lost;

	make(pair, CAPACITY, 0);
	open_as(&in, pair->peer, EVR_PRODUCER);
	for (nr = 0; nr <= 5 * CAPACITY; nr++) {
		observe(&out, pair->peer);
		assert_int_equal(push(&in, nr), nr);
		lost = nr > CAPACITY ? nr - CAPACITY : 0;
		assert_int_equal(drain(&out), nr - lost);
		evr_bcast_tally(&out.b, &t);
		assert_true(t.lost == lost && t.delivered == nr - lost);
		assert_true(t.lapses == (lost > 0) && t.next - t.first == nr);
		typed_close(&out);
	}
	/* In pieces: what was known to be there is looked at again. */
	observe(&out, pair->peer);
	assert_int_equal(push(&in, CAPACITY), CAPACITY);
	assert_int_equal(pop(&out, 2), 2);
	assert_int_equal(push(&in, 3), 3);
	assert_int_equal(pop(&out, 4), 3);
	assert_int_equal(evr_bcast_lost(&out.b), 1);
	assert_int_equal(push(&in, 2 * CAPACITY), 2 * CAPACITY);
	assert_int_equal(drain(&out), CAPACITY);
	assert_int_equal(evr_bcast_lost(&out.b), 1 + 5 + CAPACITY);
	typed_close(&out);
	typed_close(&in);
}

static void bcast_late_joiner_begins_now_or_at_the_oldest(void **state)
{
	struct pair *pair = *state;
	struct typed in, out, seated;
	uint32_t nr;

	make(pair, CAPACITY, 1);
	open_as(&in, pair->peer, EVR_PRODUCER);
	for (nr = 0; nr <= 3 * CAPACITY; nr++) {
		observe(&out, pair->peer);
		assert_int_equal(pop(&out, 1), 0);
		assert_int_equal(evr_bcast_rewind(&out.b), nr < CAPACITY ? nr : CAPACITY);
		assert_int_equal(drain(&out), nr < CAPACITY ? nr : CAPACITY);
		assert_int_equal(evr_bcast_lost(&out.b), 0);
		assert_int_equal(evr_bcast_rewind(&out.b), nr ? -EINVAL : 0);
		typed_close(&out);
		assert_int_equal(push(&in, 1), 1);
	}
	open_as(&seated, pair->peer, EVR_CONSUMER);
	assert_int_equal(evr_bcast_rewind(&seated.b), -EINVAL);
	assert_int_equal(evr_bcast_rewind(&in.b), -EINVAL);
	assert_int_equal(pop(&seated, 1), 0);
	typed_close(&seated);
	typed_close(&in);
}

static void bcast_grant_is_published_or_never_was(void **state)
{
	struct pair *pair = *state;
	struct evr_bcast_counts c;
	struct typed in, out;
	struct elem *to;
	uint32_t nr = 64, i;

	make(pair, 2 * CAPACITY, 0);
	open_as(&in, pair->peer, EVR_PRODUCER);
	observe(&out, pair->peer);
	to = typed_reserve(&in, &nr);
	assert_true(to && nr == CAPACITY / 2 && (uintptr_t)to % 128 == 0);
	for (i = 0; i < nr; i++)
		to[i] = elem_of(i);
	assert_int_equal(pop(&out, 1), 0);
	typed_commit(&in, 64);
	typed_commit(&in, 1);
	assert_int_equal(drain(&out), CAPACITY / 2);
	assert_int_equal(push(&in, 3 * CAPACITY / 2), 3 * CAPACITY / 2);
	evr_bcast_counts(&in.b, &c);
	assert_true(!c.spoiled && c.base == 0 && c.pos == 2 * CAPACITY);
	/* The ring is full: what is reserved now costs the oldest, committed or not. */
	nr = 3;
	to = typed_reserve(&in, &nr);
	assert_int_equal(nr, 3);
	memset(to, 0xee, 3 * sizeof(*to));
	typed_commit(&in, 0);
	evr_bcast_counts(&out.b, &c);
	assert_true(c.spoiled == 3 && c.base == 3 && c.pos == 2 * CAPACITY);
	typed_close(&out);
	observe(&out, pair->peer);
	assert_int_equal(evr_bcast_rewind(&out.b), 2 * CAPACITY - 3);
	assert_int_equal(drain(&out), 2 * CAPACITY - 3);
	typed_close(&out);
	observe(&out, pair->peer);
	nr = 2;
	to = typed_reserve(&in, &nr);
	to[0] = elem_of(2 * CAPACITY);
	typed_commit(&in, 1);
	evr_bcast_counts(&in.b, &c);
	assert_true(c.spoiled == 2 && c.base == 3);
	assert_int_equal(drain(&out), 1);
	typed_close(&out);
	typed_close(&in);
}

static void bcast_release_says_what_was_overwritten(void **state)
{
	struct pair *pair = *state;
	struct evr_bcast_tally t;
	const struct elem *at;
	struct typed in, out;
	uint32_t nr, over, whole;

	make(pair, CAPACITY, 0);
	open_as(&in, pair->peer, EVR_PRODUCER);
	for (over = 0; over <= 2 * CAPACITY; over++) {
		observe(&out, pair->peer);
		while (in.b.lane.pos % CAPACITY)
			assert_int_equal(push(&in, 1) + pop(&out, 1), 2);
		assert_int_equal(push(&in, CAPACITY), CAPACITY);
		nr = 5;
		at = typed_peek(&out, &nr);
		assert_int_equal(nr, 5);
		assert_true(is_elem_of(at, in.b.lane.pos - CAPACITY));
		assert_int_equal(push(&in, over), over);
		whole = over < 5 ? 5 - over : 0;
		assert_int_equal(typed_release(&out, 64), whole);
		assert_int_equal(typed_release(&out, 1), 0);
		evr_bcast_tally(&out.b, &t);
		assert_int_equal(t.lost, 5 - whole);
		/* What is shown next is whole, however far the writer has gone. */
		nr = 1;
		at = typed_peek(&out, &nr);
		assert_true(is_elem_of(at, out.b.lane.pos));
		assert_int_equal(typed_release(&out, 1), 1);
		drain(&out);
		evr_bcast_tally(&out.b, &t);
		assert_true(t.next == in.b.lane.pos);
		typed_close(&out);
	}
	typed_close(&in);
}

static struct typed *turn_writer;
static uint32_t turn_nr;

static void push_in_between(void *arg)
{
	assert_int_equal(push(turn_writer, turn_nr), turn_nr);
}

/* The writer's whole call before each access of a reader's: no element is torn, all are counted. */
static void bcast_overtaken_at_each_access_delivers_whole_elements(void **state)
{
	struct pair *pair = *state;
	uint64_t n, seen = 0, missed = 0;
	struct evr_bcast_tally t;
	struct typed in, out;
	bool ran;

	make(pair, CAPACITY, 0);
	open_as(&in, pair->peer, EVR_PRODUCER);
	turn_writer = &in;
	for (turn_nr = 1; turn_nr <= 2 * CAPACITY; turn_nr++)
		for (n = 1, ran = true; ran; n++) {
			assert_true(n < STEPS_MAX);
			observe(&out, pair->peer);
			assert_int_equal(push(&in, CAPACITY), CAPACITY);
			steps = 0;
			steps_to_live = n;
			steps_turn = push_in_between;
			assert_true(pop(&out, 5) <= 5);
			ran = steps >= n;
			steps_to_live = 0;
			drain(&out);
			evr_bcast_tally(&out.b, &t);
			assert_true(t.next == in.b.lane.pos);
			seen += t.delivered;
			missed += t.lost;
			typed_close(&out);
		}
	assert_true(seen > 100 && missed > 100);
	typed_close(&in);
}

static void push_always(void *arg)
{
	/* Before each access of the reader's, but not of this call's own. */
	steps_to_live = 0;
	assert_int_equal(push(turn_writer, CAPACITY), CAPACITY);
	steps = 0;
	steps_to_live = 1;
}

/* A writer that laps the reader in each of its copies: the call comes to an end. */
static void bcast_overtaken_for_ever_gives_up_for_now(void **state)
{
	struct pair *pair = *state;
	struct evr_bcast_tally t;
	struct evr_waiter waiter;
	struct typed in, out;
	struct elem e;

	make(pair, CAPACITY, 0);
	open_as(&in, pair->peer, EVR_PRODUCER);
	open_as(&out, pair->peer, EVR_CONSUMER);
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_BUSY), 0);
	turn_writer = &in;
	assert_int_equal(push(&in, CAPACITY), CAPACITY);
	steps = 0;
	steps_to_live = 1;
	steps_turn = push_always;
	assert_int_equal(pop(&out, CAPACITY), 0);
	assert_int_equal(typed_pop_wait(&out, &waiter, &e, 1, 1), -ETIMEDOUT);
	steps_to_live = 0;
	assert_int_equal(evr_bcast_state(&out.b), EVR_RING_BUSY);
	drain(&out);
	evr_bcast_tally(&out.b, &t);
	assert_true(t.next == in.b.lane.pos && t.lost > CAPACITY);
	assert_int_equal(evr_bcast_state(&out.b), EVR_RING_OK);
	evr_waiter_fini(&waiter);
	typed_close(&out);
	typed_close(&in);
}

static int count_seats(const struct evr_holding *h, void *arg)
{
	uint32_t *seats = arg;

	*seats += h->what == EVR_HOLD_ROLE && h->role == EVR_CONSUMER && h->source == EVR_SLOT_ANY;
	return 0;
}

static void is_seen_from_outside(struct pair *pair, uint32_t seats, uint64_t pos, uint64_t read)
{
	struct evr_object_stat stat;
	struct evr_object object;
	uint32_t found = 0;

	assert_int_equal(evr_dir_find(pair->peer, "b", &object), 0);
	assert_int_equal(evr_object_stat(pair->peer, &object, &stat), 0);
	assert_true(stat.flows_nr == 1 && stat.flows[0].capacity == CAPACITY);
	assert_int_equal(stat.flows[0].unit_sz, sizeof(struct elem));
	assert_int_equal(stat.flows[0].ends[EVR_PRODUCER].pos, pos);
	assert_int_equal(stat.flows[0].ends[EVR_PRODUCER].state, EVR_END_HELD);
	assert_int_equal(stat.flows[0].ends[EVR_CONSUMER].pos, read);
	assert_int_equal(stat.flows[0].ends[EVR_CONSUMER].state, EVR_END_MANY);
	assert_int_equal(evr_object_held(pair->peer, &object, count_seats, &found), 0);
	assert_int_equal(found, seats);
}

static void bcast_slowest_subscriber_bounds_the_writer(void **state)
{
	struct pair *pair = *state;
	struct typed in, fast, slow, late;
	struct evr_bcast_counts c;
	struct evr_waiter waiter;
	struct elem e = elem_of(0);
	uint32_t nr;

	make(pair, CAPACITY, 2);
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	open_as(&in, pair->peer, EVR_PRODUCER);
	/* Nobody to wait for. */
	assert_int_equal(push(&in, 3 * CAPACITY), 3 * CAPACITY);
	open_as(&fast, pair->peer, EVR_CONSUMER);
	open_as(&slow, pair->peer, EVR_CONSUMER);
	assert_int_equal(typed_open(&late, pair->peer, "b", EVR_CONSUMER), -EUSERS);
	assert_int_equal(push(&in, CAPACITY + 1), CAPACITY);
	assert_int_equal(push(&in, 1), 0);
	assert_int_equal(evr_bcast_state(&in.b), EVR_RING_OK);
	nr = 1;
	assert_null(typed_reserve(&in, &nr));
	assert_int_equal(nr, 0);
	assert_int_equal(typed_push_wait(&in, &waiter, &e, 1, 1), -ETIMEDOUT);
	assert_int_equal(drain(&fast), CAPACITY);
	assert_int_equal(push(&in, 1), 0);
	evr_bcast_counts(&slow.b, &c);
	assert_true(c.lag == CAPACITY && c.seats == 2 && c.seated == 2 && c.blocked == 1);
	is_seen_from_outside(pair, 2, 4 * CAPACITY, 3 * CAPACITY);
	assert_int_equal(c.slowest.slot, evr_peer_self(pair->peer).slot);
	nr = 3;
	assert_true(is_elem_of(typed_peek(&slow, &nr), 3 * CAPACITY));
	assert_int_equal(typed_release(&slow, 3), 3);
	assert_int_equal(push(&in, 4), 3);
	typed_close(&slow);
	assert_int_equal(push(&in, CAPACITY), CAPACITY - 3);
	assert_int_equal(drain(&fast), CAPACITY);
	assert_int_equal(evr_bcast_lost(&fast.b), 0);
	/* It begins with what comes, and keeps that. */
	open_as(&late, pair->peer, EVR_CONSUMER);
	assert_int_equal(push(&in, CAPACITY + 1), CAPACITY);
	assert_int_equal(drain(&late), CAPACITY);
	typed_close(&late);
	typed_close(&fast);
	typed_close(&in);
	evr_waiter_fini(&waiter);
}

static void bcast_expelled_subscriber_becomes_a_listener(void **state)
{
	struct pair *pair = *state;
	struct typed in, out, other;
	struct evr_bcast_counts c;
	struct evr_bcast_tally t;
	struct evr_waiter waiter;
	struct elem e;

	make(pair, CAPACITY, 1);
	open_as(&in, pair->peer, EVR_PRODUCER);
	open_as(&out, pair->peer, EVR_CONSUMER);
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	assert_int_equal(push(&in, CAPACITY + 1), CAPACITY);
	assert_int_equal(evr_bcast_expel(&in.b, (struct evr_peer_id){ .slot = 15 }), 0);
	assert_int_equal(evr_bcast_expel(&out.b, evr_peer_self(pair->peer)), 0);
	assert_int_equal(evr_bcast_expel(&in.b, evr_peer_self(pair->peer)), 1);
	assert_int_equal(evr_bcast_expel(&in.b, evr_peer_self(pair->peer)), 0);
	assert_int_equal(push(&in, CAPACITY), CAPACITY);
	assert_int_equal(evr_bcast_state(&out.b), EVR_RING_EXPELLED);
	/* It goes on, and has lost exactly what it has lost. */
	assert_int_equal(push(&in, 3), 3);
	assert_int_equal(drain(&out), CAPACITY);
	evr_bcast_tally(&out.b, &t);
	assert_int_equal(t.lost, CAPACITY + 3);
	assert_int_equal(typed_pop_wait(&out, &waiter, &e, 1, EVR_NO_DEADLINE), -ENOBUFS);
	/* Its seat is nobody else's as long as it may still write there. */
	assert_int_equal(typed_open(&other, pair->peer, "b", EVR_CONSUMER), -EUSERS);
	evr_bcast_forget(&out.b);
	assert_int_equal(evr_bcast_state(&out.b), EVR_RING_OK);
	open_as(&other, pair->peer, EVR_CONSUMER);
	assert_int_equal(push(&in, CAPACITY + 1), CAPACITY);
	assert_int_equal(drain(&other), CAPACITY);
	assert_int_equal(drain(&out), CAPACITY);
	evr_bcast_counts(&in.b, &c);
	assert_true(c.expelled == 1 && c.seated == 1 && c.corrupt == 0);
	typed_close(&other);
	typed_close(&out);
	typed_close(&in);
	evr_waiter_fini(&waiter);
}

static void bcast_patience_expels_who_does_not_read(void **state)
{
	struct pair *pair = *state;
	struct elem elems[2 * CAPACITY];
	struct evr_bcast_counts c;
	struct evr_waiter waiter;
	struct typed in, out, good;
	uint32_t i;

	make(pair, CAPACITY, 2);
	open_as(&in, pair->peer, EVR_PRODUCER);
	open_as(&good, pair->peer, EVR_CONSUMER);
	open_as(&out, pair->peer, EVR_CONSUMER);
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	for (i = 0; i < 2 * CAPACITY; i++)
		elems[i] = elem_of(i);
	/* For ever is for ever: without a policy it is the deadline that ends the wait. */
	assert_int_equal(typed_push_wait(&in, &waiter, elems, CAPACITY + 1, 1), CAPACITY);
	evr_bcast_patience(&in.b, 1000000);
	assert_int_equal(drain(&good), CAPACITY);
	assert_int_equal(typed_push_wait(&in, &waiter, elems + CAPACITY, CAPACITY, pair_deadline()),
			 CAPACITY);
	assert_int_equal(evr_bcast_state(&out.b), EVR_RING_EXPELLED);
	assert_int_equal(evr_bcast_state(&good.b), EVR_RING_OK);
	assert_int_equal(drain(&good), CAPACITY);
	assert_int_equal(drain(&out), CAPACITY);
	assert_int_equal(evr_bcast_lost(&out.b), CAPACITY);
	evr_bcast_counts(&in.b, &c);
	assert_int_equal(c.expelled, 1);
	evr_waiter_fini(&waiter);
	typed_close(&good);
	typed_close(&out);
	typed_close(&in);
}

static void subscribe_and_end(struct evr_peer *peer, void *arg)
{
	struct typed out;

	CHECK(!typed_open(&out, peer, "b", EVR_CONSUMER));
	raise(*(int *)arg);
	CHECK(pop(&out, 1) == 1);
	typed_close(&out);
}

static void bcast_dead_subscriber_is_not_waited_for(void **state)
{
	struct pair *pair = *state;
	struct evr_bcast_counts c;
	struct evr_reap_report report = { 0 };
	struct typed in, out[3];
	uint64_t until;
	int sig = SIGSTOP, i;
	pid_t pids[2];

	make(pair, CAPACITY, 2);
	evr_reap_auto(pair->peer, false);
	open_as(&in, pair->peer, EVR_PRODUCER);
	for (i = 0; i < 2; i++) {
		pids[i] = pair_fork(pair, subscribe_and_end, &sig);
		assert_true(waitpid(pids[i], NULL, WUNTRACED) == pids[i]);
	}
	for (i = 0; i < 2; i++)
		pair_kill(pids[i]);
	/* Nobody has reaped them, and it does not matter. */
	for (until = pair_deadline(); push(&in, CAPACITY + 1) <= CAPACITY; pair_sleep_us(1000)) {
		assert_true(evr_now_ns() < until);
		evr_peer_check(pair->peer);
	}
	assert_int_equal(push(&in, 3 * CAPACITY), 3 * CAPACITY);
	evr_bcast_counts(&in.b, &c);
	assert_int_equal(c.seated, 2);
	assert_int_equal(typed_open(&out[0], pair->peer, "b", EVR_CONSUMER), -EUSERS);
	assert_int_equal(evr_reap_dead(pair->peer, &report), 2);
	assert_int_equal(report.sides, 2);
	evr_bcast_counts(&in.b, &c);
	assert_true(c.seated == 0 && c.expelled == 0);
	open_as(&out[0], pair->peer, EVR_CONSUMER);
	open_as(&out[1], pair->peer, EVR_CONSUMER);
	assert_int_equal(push(&in, CAPACITY + 1), CAPACITY);
	assert_int_equal(drain(&out[0]), CAPACITY);
	assert_int_equal(drain(&out[1]), CAPACITY);
	typed_close(&out[0]);
	typed_close(&out[1]);
	typed_close(&in);
}

static void bcast_stopped_subscriber_is_not_dead(void **state)
{
	struct pair *pair = *state;
	int status = -1, sig = SIGSTOP;
	struct typed in;
	uint64_t until;
	pid_t pid;

	make(pair, CAPACITY, 1);
	open_as(&in, pair->peer, EVR_PRODUCER);
	pid = pair_fork(pair, subscribe_and_end, &sig);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(push(&in, CAPACITY + 1), CAPACITY);
	/* Longer than anybody waits between two looks for evidence. */
	for (until = evr_now_ns() + 150000000; evr_now_ns() < until; pair_sleep_us(1000)) {
		evr_peer_check(pair->peer);
		assert_int_equal(push(&in, 1), 0);
	}
	kill(pid, SIGCONT);
	pair_join(pid);
	assert_int_equal(push(&in, CAPACITY), CAPACITY);
	typed_close(&in);
}

/* As many as the subscribers leave room for. */
static void fill(struct typed *t)
{
	uint32_t nr = 0;

	while (push(t, 1))
		assert_true(++nr <= CAPACITY);
}

static struct typed *turn_reader;
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
static void bcast_subscriber_that_comes_at_each_access_loses_nothing(void **state)
{
	struct pair *pair = *state;
	struct evr_bcast_tally t;
	struct typed in, out;
	uint64_t n;
	bool ran;

	make(pair, CAPACITY, 1);
	open_as(&in, pair->peer, EVR_PRODUCER);
	turn_reader = &out;
	turn_peer = pair->peer;
	for (n = 1, ran = true; ran; n++) {
		assert_true(n < STEPS_MAX);
		steps = 0;
		steps_to_live = n;
		steps_turn = join_in_between;
		push(&in, CAPACITY / 2);
		push(&in, CAPACITY);
		ran = steps >= n;
		steps_to_live = 0;
		if (!ran)
			join_in_between(NULL);
		fill(&in);
		drain(&out);
		evr_bcast_tally(&out.b, &t);
		assert_true(t.lost == 0 && t.next == in.b.lane.pos);
		typed_close(&out);
	}
	turn_writer = &in;
	for (n = 1, ran = true; ran; n++) {
		assert_true(n < STEPS_MAX);
		steps = 0;
		steps_to_live = n;
		steps_turn = push_what_fits;
		join_in_between(NULL);
		ran = steps >= n;
		steps_to_live = 0;
		fill(&in);
		drain(&out);
		evr_bcast_tally(&out.b, &t);
		assert_true(t.lost == 0 && t.next == in.b.lane.pos);
		typed_close(&out);
	}
	typed_close(&in);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_small, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(bcast_limits_refused_beyond),
		CASE(bcast_every_reader_gets_all_in_order),
		CASE(bcast_slow_reader_knows_how_many_it_lost),
		CASE(bcast_late_joiner_begins_now_or_at_the_oldest),
		CASE(bcast_grant_is_published_or_never_was),
		CASE(bcast_release_says_what_was_overwritten),
		CASE(bcast_overtaken_at_each_access_delivers_whole_elements),
		CASE(bcast_overtaken_for_ever_gives_up_for_now),
		CASE(bcast_slowest_subscriber_bounds_the_writer),
		CASE(bcast_expelled_subscriber_becomes_a_listener),
		CASE(bcast_patience_expels_who_does_not_read),
		CASE(bcast_dead_subscriber_is_not_waited_for),
		CASE(bcast_stopped_subscriber_is_not_dead),
		CASE(bcast_subscriber_that_comes_at_each_access_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
