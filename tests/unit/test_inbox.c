/* SPDX-License-Identifier: MIT */
/*
 * Inboxes: order and attribution with real senders, fairness, missing hints, senders and
 * receivers killed before each access, words scribbled over; over lanes of one object and
 * of two halves.
 *
 * Mutants seen to fail here: no quota (inbox_flood_*), a receiver that believes the hints
 * alone (inbox_missing_hint_*), messages of the dead taken for their successor's
 * (inbox_messages_are_*), a join that wakes nobody (inbox_sender_that_comes_*).
 */
#include "die.h"
#include "hide.h"

#define CAPACITY 8
/* A sweep's last turn takes as long; the others wait so long only for a lost wake-up. */
#define PATIENCE_NS 4000000000ULL

static struct pair *pair;

static int open_shared(void **state)
{
	steps_to_live = 0;
	if (pair_open_sized(state, 256 << 10))
		return -1;
	pair = *state;
	return 0;
}

static int open_isolated(void **state)
{
	steps_to_live = 0;
	if (pair_open_isolated(state, 64 << 10, 8))
		return -1;
	pair = *state;
	return 0;
}

static void make(const char *name)
{
	struct evr_inbox_options options = { .struct_sz = sizeof(options), .capacity = CAPACITY };

	assert_int_equal(evr_inbox_create(pair->peer, name, &options), 0);
}

static struct evr_peer *attach(void)
{
	struct evr_peer *peer;

	assert_int_equal(evr_peer_attach(&peer, pair->segment, NULL), 0);
	return peer;
}

static void send_one(struct evr_inbox_sender *sender, uint64_t value)
{
	assert_int_equal(evr_inbox_push(sender, &value, 1), 1);
}

/* The next message, and that it is of @from. */
static void take(struct evr_inbox *box, uint64_t value, struct evr_peer *from)
{
	struct evr_peer_id id = { EVR_SLOT_ANY, 99 };
	uint64_t got = 0;

	assert_int_equal(evr_inbox_pop(box, &got, 1, &id), 1);
	assert_true(got == value);
	if (!from)
		return;
	assert_int_equal(id.slot, evr_peer_self(from).slot);
	assert_true(id.incarnation == evr_peer_self(from).incarnation);
}

static void assert_empty(struct evr_inbox *box)
{
	uint64_t got;

	assert_int_equal(evr_inbox_pop(box, &got, 1, NULL), 0);
}

static void inbox_options_at_their_limits(void **state)
{
	struct evr_inbox_options o = { .struct_sz = sizeof(o), .capacity = 3 };
	struct evr_inbox_sender sender;
	struct evr_inbox box, again;

	assert_int_equal(evr_inbox_create(pair->peer, "b", &o), -EINVAL);
	o.capacity = 4;
	o.elem_sz = (1U << 30) + 1;
	assert_int_equal(evr_inbox_create(pair->peer, "b", &o), -EINVAL);
	o.elem_sz = 8;
	o.type_tag = 5;
	assert_int_equal(evr_inbox_create(pair->peer, "", &o), -EINVAL);
	assert_int_equal(evr_inbox_create(pair->peer, "123456789012345678901234567890123456", &o),
			 -EINVAL);
	assert_int_equal(evr_inbox_create(pair->peer, "12345678901234567890123456789012345", &o),
			 0);
	assert_int_equal(evr_inbox_create(pair->peer, "b", &o), 0);
	assert_int_equal(evr_inbox_open(&box, pair->peer, "b", 6), -EINVAL);
	assert_int_equal(evr_inbox_open(&box, pair->peer, "b", 5), 0);
	assert_int_equal(evr_inbox_open(&again, pair->peer, "b", 5), -EBUSY);
	assert_int_equal(evr_inbox_join(&sender, pair->peer, "c", 0), -ENOENT);
	assert_int_equal(evr_inbox_join(&sender, pair->peer, "b", 6), -EINVAL);
	assert_int_equal(evr_inbox_join(&sender, pair->peer, "b", 5), 0);
	assert_int_equal(evr_inbox_join(&(struct evr_inbox_sender){ 0 }, pair->peer, "b", 0),
			 -EBUSY);
	send_one(&sender, 4);
	take(&box, 4, pair->peer);
	assert_int_equal(evr_inbox_remove(pair->peer, "b"), -EBUSY);
	evr_inbox_leave(&sender);
	evr_inbox_leave(&sender);
	evr_inbox_close(&box);
	evr_inbox_close(&box);
	assert_int_equal(evr_inbox_remove(pair->peer, "b"), 0);
	assert_int_equal(evr_inbox_remove(pair->peer, "b"), -ENOENT);
}

/* One that never rests, and one that sends once. */
struct flood {
	struct evr_peer *a, *b;
	struct evr_inbox_sender loud, quiet;
	struct evr_inbox box;
	uint64_t sent, got;
};

static void flood_begin(struct flood *flood)
{
	flood->a = attach();
	flood->b = attach();
	flood->sent = flood->got = 0;
	make("b");
	assert_int_equal(evr_inbox_open(&flood->box, pair->peer, "b", 0), 0);
	evr_inbox_quota(&flood->box, 3);
	assert_int_equal(evr_inbox_join(&flood->loud, flood->a, "b", 0), 0);
	assert_int_equal(evr_inbox_join(&flood->quiet, flood->b, "b", 0), 0);
	assert_int_equal(evr_inbox_senders(&flood->box), 2);
}

static void flood_end(struct flood *flood)
{
	evr_inbox_leave(&flood->loud);
	evr_inbox_leave(&flood->quiet);
	evr_inbox_close(&flood->box);
	evr_peer_detach(flood->a);
	evr_peer_detach(flood->b);
}

static void flood_fill(struct flood *flood)
{
	while (evr_inbox_push(&flood->loud, &flood->sent, 1))
		flood->sent++;
}

/* Messages of the flood that come before the one of the other, of at most @most. */
static uint64_t flood_before(struct flood *flood, uint64_t most)
{
	struct evr_peer_id from;
	uint64_t n, got;

	for (n = 0; n <= most; n++) {
		flood_fill(flood);
		assert_int_equal(evr_inbox_pop(&flood->box, &got, 1, &from), 1);
		if (from.slot == evr_peer_self(flood->b).slot) {
			assert_true(got == 1000);
			break;
		}
		assert_true(got == flood->got++);
	}
	return n;
}

/* Also when the other has been found empty before, and nobody comes or goes. */
static void inbox_flood_delays_others_by_a_quota(void **state)
{
	struct flood flood;
	int again;

	flood_begin(&flood);
	for (again = 0; again < 3; again++) {
		flood_fill(&flood);
		send_one(&flood.quiet, 1000);
		assert_true(flood_before(&flood, 3) <= 3);
		while (flood.got < flood.sent)
			take(&flood.box, flood.got++, flood.a);
		assert_empty(&flood.box);
	}
	flood_end(&flood);
}

/* Its sender sends no other, and the flood leaves no moment with nothing to do. */
static void inbox_missing_hint_is_made_good_in_a_flood(void **state)
{
	struct flood flood;

	flood_begin(&flood);
	flood_fill(&flood);
	assert_true(flood_before(&flood, 10) == 11);
	send_one(&flood.quiet, 1000);
	if (flood.box.ready)
		flood.box.ready[0].word.v = 0;
	assert_true(flood_before(&flood, 100) <= 100);
	flood_end(&flood);
}

EVR_INBOX_DEFINE(narrow, uint32_t)

/* Its maker says how large a message is, and neither end's memory is of that size. */
static void inbox_of_another_size_is_refused(void **state)
{
	struct evr_inbox_options options = { .struct_sz = sizeof(options), .elem_sz = 64 };
	struct evr_inbox_sender sender;
	struct evr_peer *peer = ((struct pair *)*state)->peer;
	struct evr_inbox box;

	assert_int_equal(evr_inbox_create(peer, "wide", &options), 0);
	assert_int_equal(narrow_open(&box, peer, "wide"), -EINVAL);
	assert_int_equal(narrow_join(&sender, peer, "wide"), -EINVAL);
	assert_int_equal(evr_inbox_open_sized(&box, peer, "wide", 0, 63), -EINVAL);
	assert_int_equal(evr_inbox_open_sized(&box, peer, "wide", 0, 64), 0);
	assert_int_equal(evr_inbox_join_sized(&sender, peer, "wide", 0, 65), -EINVAL);
	assert_int_equal(evr_inbox_join_sized(&sender, peer, "wide", 0, 64), 0);
	evr_inbox_leave(&sender);
	evr_inbox_close(&box);
}

static void inbox_missing_hint_loses_nothing(void **state)
{
	struct evr_inbox_sender sender;
	struct evr_peer *a = attach();
	struct evr_inbox box;
	struct evr_waiter waiter;
	uint64_t n, got;

	make("b");
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	assert_int_equal(evr_inbox_open(&box, pair->peer, "b", 0), 0);
	assert_int_equal(evr_inbox_join(&sender, a, "b", 0), 0);
	assert_empty(&box);
	for (n = 0; n < 20; n++) {
		send_one(&sender, n);
		if (box.ready)
			box.ready[0].word.v = 0;
		if (n % 2)
			take(&box, n, a);
		else
			assert_int_equal(evr_inbox_pop_wait(&box, &waiter, &got, 1, NULL, 0), 1);
	}
	assert_empty(&box);
	assert_int_equal(evr_inbox_pop_wait(&box, &waiter, &got, 1, NULL, 0), -ETIMEDOUT);
	evr_inbox_leave(&sender);
	evr_inbox_close(&box);
	evr_waiter_fini(&waiter);
	evr_peer_detach(a);
}

/* One that came and went between two that the receiver has met is neither of them. */
static void inbox_message_of_one_not_met_is_no_others(void **state)
{
	struct evr_inbox_sender sender;
	struct evr_peer_id first, second, from;
	struct evr_inbox box;
	struct evr_peer *a;
	uint64_t got;
	uint64_t n;

	make("b");
	assert_int_equal(evr_inbox_open(&box, pair->peer, "b", 0), 0);
	for (n = 1; n <= 3; n++) {
		a = attach();
		if (n == 1)
			first = evr_peer_self(a);
		if (n == 2)
			second = evr_peer_self(a);
		assert_int_equal(evr_inbox_join(&sender, a, "b", 0), 0);
		send_one(&sender, n);
		if (n == 2) {
			evr_inbox_leave(&sender);
			evr_peer_detach(a);
			pair_settle(pair);
			continue;
		}
		if (n == 3) {
			assert_int_equal(evr_inbox_pop(&box, &got, 1, &from), 1);
			assert_true(got == 2);
			assert_int_equal(from.slot, second.slot);
			assert_true(from.incarnation != first.incarnation);
			assert_true(from.incarnation != evr_peer_self(a).incarnation);
		}
		take(&box, n, a);
		evr_inbox_leave(&sender);
		if (n == 1)
			assert_empty(&box);
		evr_peer_detach(a);
		pair_settle(pair);
	}
	evr_inbox_close(&box);
}

/* Who comes next into the slot of a sender is not taken for the one that was there. */
static void inbox_messages_are_of_who_sent_them(void **state)
{
	struct evr_inbox_sender sender;
	struct evr_peer_id first, second, from;
	struct evr_inbox box;
	struct evr_peer *a;
	uint32_t nr = CAPACITY;

	make("b");
	assert_int_equal(evr_inbox_open(&box, pair->peer, "b", 0), 0);
	a = attach();
	first = evr_peer_self(a);
	assert_int_equal(evr_inbox_join(&sender, a, "b", 0), 0);
	send_one(&sender, 1);
	take(&box, 1, a);
	send_one(&sender, 2);
	send_one(&sender, 3);
	if (box.control.far) {
		/* Its memory goes with it. */
		take(&box, 2, a);
		take(&box, 3, a);
	}
	evr_inbox_leave(&sender);
	evr_peer_detach(a);
	pair_settle(pair);
	a = attach();
	second = evr_peer_self(a);
	assert_int_equal(second.slot, first.slot);
	assert_true(second.incarnation != first.incarnation);
	assert_int_equal(evr_inbox_join(&sender, a, "b", 0), 0);
	send_one(&sender, 4);
	if (!box.control.far) {
		assert_non_null(evr_inbox_peek(&box, &nr, &from));
		assert_int_equal(nr, 2);
		assert_true(from.incarnation == first.incarnation);
		assert_int_equal(evr_inbox_release(&box, 2), 2);
	}
	take(&box, 4, a);
	assert_empty(&box);
	evr_inbox_leave(&sender);
	evr_inbox_close(&box);
	evr_peer_detach(a);
}

/* Real senders that come, send and leave; one of them floods, one is killed. */
#define SENDERS 4
#define MESSAGES 5000

struct errand {
	uint64_t id;
	bool stays; /* until it is killed */
};

static void send_many(struct evr_peer *peer, void *arg)
{
	struct errand *errand = arg;
	struct evr_inbox_sender sender;
	struct evr_waiter waiter;
	uint64_t n, message;

	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE));
	CHECK(!evr_inbox_join(&sender, peer, "b", 0));
	for (n = 0; n < MESSAGES; n++) {
		message = errand->id << 32 | n;
		CHECK(TIMELY(evr_inbox_push_wait(&sender, &waiter, &message, 1, until_ns)) == 1);
		if (errand->stays && n == MESSAGES / 2)
			raise(SIGKILL);
		if (n % 512 == 500)
			pair_sleep_us(1000);
	}
	evr_inbox_leave(&sender);
	/* Until the receiver says that it has all: over two halves they lie here. */
	CHECK(!evr_bell_wait(peer, PAIR_BELL, pair_deadline(), NULL));
	evr_waiter_fini(&waiter);
}

static void inbox_senders_keep_their_order(void **state)
{
	struct errand errands[SENDERS];
	uint64_t next[SENDERS] = { 0 }, batch[5], total = 0, id;
	struct evr_peer_id from, ids[SENDERS];
	struct evr_waiter waiter;
	struct evr_inbox box;
	pid_t pids[SENDERS];
	int i, nr, status;

	make("b");
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_ADAPTIVE), 0);
	assert_int_equal(evr_inbox_open(&box, pair->peer, "b", 0), 0);
	for (i = 0; i < SENDERS; i++) {
		errands[i] = (struct errand){ .id = (uint64_t)i, .stays = i == 0 };
		pids[i] = pair_fork(pair, send_many, &errands[i]);
	}
	while (total < (SENDERS - 1) * MESSAGES + MESSAGES / 2 + 1) {
		nr = TIMELY(evr_inbox_pop_wait(&box, &waiter, batch, 5, &from, until_ns));
		assert_true(nr > 0);
		for (i = 0; i < nr; i++) {
			id = batch[i] >> 32;
			assert_true(id < SENDERS);
			assert_true((uint32_t)batch[i] == next[id]++);
			if (next[id] == 1)
				ids[id] = from;
			assert_true(ids[id].slot == from.slot &&
				    ids[id].incarnation == from.incarnation);
		}
		total += (uint64_t)nr;
	}
	assert_true(next[0] == MESSAGES / 2 + 1);
	assert_empty(&box);
	for (i = 1; i < SENDERS; i++) {
		assert_true(next[i] == MESSAGES);
		assert_int_equal(evr_bell_ring(pair->peer, ids[i], PAIR_BELL), 0);
		pair_join(pids[i]);
	}
	assert_int_equal(waitpid(pids[0], &status, 0), pids[0]);
	assert_true(WIFSIGNALED(status));
	pair_settle(pair);
	assert_empty(&box);
	assert_int_equal(evr_inbox_senders(&box), 0);
	evr_inbox_close(&box);
	evr_waiter_fini(&waiter);
}

/* A sender's whole visit before each access of a receiver that goes to sleep. */
static struct evr_peer *visitor;
static struct evr_inbox_sender visit;

static void come_and_send(void *arg)
{
	steps_to_live = 0;
	assert_int_equal(evr_inbox_join(&visit, visitor, "b", 0), 0);
	send_one(&visit, 7);
}

static void inbox_sender_that_comes_at_each_step_is_heard(void **state)
{
	struct evr_waiter waiter;
	struct evr_bells bells;
	struct evr_inbox box;
	uint64_t patience = PATIENCE_NS, n, got, until;
	int ret;

	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	for (n = 1;; n++) {
		assert_true(n < STEPS_MAX);
		make("b");
		assert_int_equal(evr_inbox_open(&box, pair->peer, "b", 0), 0);
		visitor = attach();
		/* That somebody has come to the segment must not be what wakes us. */
		evr_bell_read(pair->peer, &bells);
		got = 0;
		steps_turn = come_and_send;
		steps = 0;
		steps_to_live = n;
		until = evr_now_ns() + patience;
		ret = evr_inbox_pop_wait(&box, &waiter, &got, 1, NULL, until);
		if (steps_to_live || steps_turn_ns >= until)
			break;
		pair_again_if_late(until, PATIENCE_NS, &patience, &n);
		assert_int_equal(ret, 1);
		assert_true(got == 7);
		evr_inbox_leave(&visit);
		evr_peer_detach(visitor);
		pair_settle(pair);
		evr_inbox_close(&box);
		assert_int_equal(evr_inbox_remove(pair->peer, "b"), 0);
	}
	assert_true(n > 20);
	steps_to_live = 0;
	evr_peer_detach(visitor);
	evr_inbox_close(&box);
	evr_waiter_fini(&waiter);
}

static void send_three(struct evr_peer *peer, void *arg)
{
	uint64_t values[] = { 1, 2, 3 };
	struct evr_inbox_sender sender;

	CHECK(!evr_inbox_join(&sender, peer, "b", 0));
	CHECK(evr_inbox_push(&sender, values, 2) == 2);
	CHECK(evr_inbox_push(&sender, values + 2, 1) == 1);
	evr_inbox_leave(&sender);
}

static void inbox_sender_killed_at_each_step_harms_no_other(void **state)
{
	struct evr_inbox_sender other;
	struct evr_peer *a = attach();
	struct evr_inbox box;
	bool died = true, seen[4] = { false };
	struct evr_peer_id from;
	uint64_t n, got, next;

	make("b");
	assert_int_equal(evr_inbox_open(&box, pair->peer, "b", 0), 0);
	assert_int_equal(evr_inbox_join(&other, a, "b", 0), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		died = die_among(pair, n, send_three, NULL);
		pair_settle_dead(pair->peer);
		send_one(&other, n << 8);
		for (next = 1; evr_inbox_pop(&box, &got, 1, &from);) {
			if (got == n << 8)
				assert_int_equal(from.slot, evr_peer_self(a).slot);
			else
				assert_true(got == next++);
		}
		assert_true(next == 1 || next == 3 || next == 4);
		assert_true(died || next == 4);
		seen[next - 1] = true;
		assert_int_equal(evr_inbox_senders(&box), 1);
	}
	assert_true(seen[0] && seen[2] && seen[3]);
	evr_inbox_leave(&other);
	evr_inbox_close(&box);
	evr_peer_detach(a);
}

static void take_two(struct evr_peer *peer, void *arg)
{
	struct evr_inbox box;
	uint64_t got;

	CHECK(!evr_inbox_open(&box, peer, "b", 0));
	CHECK(evr_inbox_pop(&box, &got, 1, NULL) == 1 && got == 1);
	CHECK(evr_inbox_pop(&box, &got, 1, NULL) == 1 && got == 2);
	evr_inbox_close(&box);
}

static void inbox_receiver_killed_at_each_step_leaves_the_rest(void **state)
{
	struct evr_inbox_sender sender;
	struct evr_peer *a = attach();
	struct evr_inbox box;
	bool died = true;
	uint64_t n, got, first;

	make("b");
	assert_int_equal(evr_inbox_join(&sender, a, "b", 0), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		for (got = 1; got <= 3; got++)
			send_one(&sender, got);
		died = die_among(pair, n, take_two, NULL);
		pair_settle_dead(pair->peer);
		assert_int_equal(evr_inbox_open(&box, pair->peer, "b", 0), 0);
		assert_int_equal(evr_inbox_pop(&box, &first, 1, NULL), 1);
		assert_true(first >= 1 && first <= 3);
		for (got = first + 1; got <= 3; got++)
			take(&box, got, a);
		assert_empty(&box);
		evr_inbox_close(&box);
	}
	evr_inbox_leave(&sender);
	evr_peer_detach(a);
}

static void send_and_die(struct evr_peer *peer, void *arg)
{
	struct evr_inbox_sender sender;

	CHECK(!evr_inbox_join(&sender, peer, "b", 0));
	CHECK(evr_inbox_push(&sender, &(uint64_t){ 5 }, 1) == 1);
	raise(SIGKILL);
}

/* Its messages come first; then its lane is nobody's, though nothing has come that would say so. */
static void inbox_lane_of_the_dead_is_nobodys_once_it_is_empty(void **state)
{
	struct evr_inbox_sender other;
	struct evr_peer *a = attach();
	struct evr_inbox box;
	struct evr_peer_id from;
	uint64_t got;
	int status;
	pid_t pid;

	make("b");
	assert_int_equal(evr_inbox_open(&box, pair->peer, "b", 0), 0);
	assert_int_equal(evr_inbox_join(&other, a, "b", 0), 0);
	pid = pair_fork(pair, send_and_die, NULL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(evr_inbox_pop(&box, &got, 1, &from), 1);
	assert_true(got == 5);
	assert_empty(&box);
	send_one(&other, 6);
	take(&box, 6, a);
	pair_settle_dead(pair->peer);
	assert_empty(&box);
	assert_int_equal(evr_inbox_state(&box, from.slot), EVR_RING_NO_PEER);
	evr_inbox_leave(&other);
	evr_inbox_close(&box);
	evr_peer_detach(a);
}

static const uint64_t nonsense[] = { 0, 1, CAPACITY + 1, 1ULL << 32, 1ULL << 63, UINT64_MAX };
#define NONSENSE_NR (sizeof(nonsense) / sizeof(nonsense[0]))

static uint64_t *words_of(const char *name, uint64_t *nr)
{
	struct evr_object object;

	assert_int_equal(evr_dir_find(pair->peer, name, &object), 0);
	*nr = object.sz / 8;
	return evr_peer_at(pair->peer, object.off, object.sz);
}

/* Whatever stands in the inbox and in one lane, the other lane goes on. */
static void inbox_hostile_words_harm_one_lane(void **state)
{
	struct evr_peer *a = attach(), *b = attach();
	struct evr_inbox_sender liar, honest;
	const char *const names[] = { "b", "b.1" };
	uint64_t *words, nr, k, i, got, tries, which, good;
	struct evr_inbox box;

	make("b");
	assert_int_equal(evr_inbox_join(&liar, a, "b", 0), 0);
	assert_int_equal(evr_inbox_join(&honest, b, "b", 0), 0);
	assert_int_equal(evr_peer_self(a).slot, 1);
	for (which = 0; which < 2; which++) {
		words = words_of(names[which], &nr);
		for (k = 0; k < nr * NONSENSE_NR; k++) {
			i = k / NONSENSE_NR;
			assert_int_equal(evr_inbox_open(&box, pair->peer, "b", 0), 0);
			good = words[i];
			words[i] = nonsense[k % NONSENSE_NR];
			send_one(&honest, k << 20);
			for (tries = 0, got = 1; tries < 1000 && got != k << 20; tries++)
				evr_inbox_pop(&box, &got, 1, NULL);
			assert_true(got == k << 20);
			words[i] = good;
			evr_inbox_close(&box);
		}
	}
	evr_inbox_leave(&liar);
	evr_inbox_leave(&honest);
	evr_peer_detach(a);
	evr_peer_detach(b);
}

/* In an isolated segment others may have one of the same name, also in a lower slot. */
static void inbox_of_two_peers_is_removed_by_its_own(void **state)
{
	struct evr_segment_options isolated = { .struct_sz = sizeof(isolated),
						.flags = EVR_SEGMENT_ISOLATED,
						.peer_sz = 128 << 10,
						.peers_max = 2 };
	struct evr_segment *segment;
	struct evr_peer *peers[2];
	struct evr_object object;

	(void)state;
	assert_int_equal(evr_segment_create(&segment, pair_uri(), &isolated), 0);
	assert_int_equal(evr_peer_attach(&peers[0], segment, NULL), 0);
	assert_int_equal(evr_peer_attach(&peers[1], segment, NULL), 0);
	assert_int_equal(evr_inbox_create(peers[0], "box", NULL), 0);
	assert_int_equal(evr_inbox_remove(peers[1], "box"), -ENOENT);
	assert_int_equal(evr_inbox_create(peers[1], "box", NULL), 0);
	assert_int_equal(evr_inbox_remove(peers[1], "box"), 0);
	assert_int_equal(evr_dir_find(peers[0], "box", &object), 0);
	assert_int_equal(object.slot, 0);
	evr_peer_detach(peers[0]);
	evr_peer_detach(peers[1]);
	evr_segment_close(segment);
}

/* Who may write the turns of its own region takes nobody out of the sum. */
static void inbox_turns_of_a_liar_hide_no_sender(void **state)
{
	struct evr_peer *liar = attach(), *honest = attach();
	struct evr_inbox_sender sender;
	struct evr_inbox box;
	uint64_t before;

	(void)state;
	make("box");
	assert_int_equal(evr_inbox_open(&box, pair->peer, "box", 0), 0);
	assert_empty(&box);
	before = hide_sum(liar, EVR_SLOT_ANY);
	assert_int_equal(evr_inbox_join(&sender, honest, "box", 0), 0);
	send_one(&sender, 7);
	assert_true(hide_sum(liar, EVR_SLOT_ANY) != before);
	hide(liar, EVR_SLOT_ANY, before);
	assert_true(hide_sum(liar, EVR_SLOT_ANY) == before);
	take(&box, 7, honest);
	evr_inbox_leave(&sender);
	evr_inbox_close(&box);
	evr_peer_detach(honest);
	evr_peer_detach(liar);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_shared, pair_close)
#define FAR(fn)                                                             \
	{                                                                   \
#fn "_over_two_halves", fn, open_isolated, pair_close, NULL \
	}
	const struct CMUnitTest tests[] = {
		CASE(inbox_options_at_their_limits),
		CASE(inbox_flood_delays_others_by_a_quota),
		CASE(inbox_missing_hint_is_made_good_in_a_flood),
		CASE(inbox_of_another_size_is_refused),
		CASE(inbox_missing_hint_loses_nothing),
		CASE(inbox_messages_are_of_who_sent_them),
		CASE(inbox_message_of_one_not_met_is_no_others),
		CASE(inbox_senders_keep_their_order),
		CASE(inbox_sender_that_comes_at_each_step_is_heard),
		CASE(inbox_sender_killed_at_each_step_harms_no_other),
		CASE(inbox_receiver_killed_at_each_step_leaves_the_rest),
		CASE(inbox_lane_of_the_dead_is_nobodys_once_it_is_empty),
		CASE(inbox_hostile_words_harm_one_lane),
		FAR(inbox_options_at_their_limits),
		FAR(inbox_flood_delays_others_by_a_quota),
		FAR(inbox_missing_hint_is_made_good_in_a_flood),
		FAR(inbox_missing_hint_loses_nothing),
		FAR(inbox_messages_are_of_who_sent_them),
		FAR(inbox_senders_keep_their_order),
		FAR(inbox_sender_that_comes_at_each_step_is_heard),
		FAR(inbox_sender_killed_at_each_step_harms_no_other),
		FAR(inbox_turns_of_a_liar_hide_no_sender),
		cmocka_unit_test(inbox_of_two_peers_is_removed_by_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
