/* SPDX-License-Identifier: MIT */
/*
 * Lanes of two halves, in an isolated segment: who comes is met, whoever comes first;
 * what was published is read once, in order, also by a next consumer; and of a region that
 * has gone on to another peer nothing is read as the dead one's. The value at position p is p + 1.
 */
#include <errno.h>

#include "explore.h"

#include "dir.h"
#include "lane.h"

#define CAPACITY 2
#define REGION_SZ 5120 /* its directory's page, and room for one half */

struct state {
	struct evr_spsc in, out, next;
	struct evr_waiter waiters[3];
	uint32_t items;
	uint64_t published; /* by calls that came back */
	uint64_t popped; /* the highest value; each is one more than the last */
	uint64_t ctl; /* of the entry of the producer's half */
	bool in_over, out_over;
	int in_end, out_end; /* what the last call of each end returned */
};

static void create(struct evr_peer *peer)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options), .capacity = CAPACITY };

	MODEL_CHECK(!evr_spsc_create(peer, "n", &options));
}

static void open_end(struct evr_spsc *ring, uint32_t proc, enum evr_role role)
{
	MODEL_CHECK(!evr_spsc_open(ring, model_peer(proc), "n", role, 0));
	model_name(&ring->lane.mine->pos, EVR_LINE_SZ, role ? "consumer.pos" : "producer.pos");
	model_name(&ring->lane.mine->need, EVR_LINE_SZ, role ? "consumer.need" : "producer.need");
	model_name(ring->lane.owner, 8, role ? "consumer.owner" : "producer.owner");
}

static void make_waiters(struct state *s, uint32_t nr)
{
	uint32_t i;

	for (i = 0; i < nr; i++)
		MODEL_CHECK(!evr_waiter_init(&s->waiters[i], model_peer(i), EVR_WAIT_SLEEP));
}

static bool push_one(struct state *s)
{
	uint64_t value = s->in.lane.pos + 1;

	if (!evr_spsc_push(&s->in, &value, 1))
		return false;
	s->published = value;
	return true;
}

static bool pop_one(struct state *s, struct evr_spsc *out)
{
	uint64_t value;

	if (!evr_spsc_pop(out, &value, 1))
		return false;
	model_note("pops %llu", (unsigned long long)value);
	MODEL_CHECK(value == s->popped + 1);
	s->popped = value;
	return true;
}

static void push_all(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (s->in.lane.pos < s->items)
		if (!push_one(s))
			evr_pause();
}

static void pop_all(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (s->popped < s->items)
		if (!pop_one(s, &s->out))
			evr_pause();
}

static void setup_pair(void *state)
{
	struct state *s = state;

	s->items = 3;
	create(model_peer(0));
	open_end(&s->in, 0, EVR_PRODUCER);
	open_end(&s->out, 1, EVR_CONSUMER);
}

static void setup_met(void *state)
{
	struct state *s = state;

	setup_pair(s);
	MODEL_CHECK(evr_spsc_state(&s->in) == EVR_RING_OK);
	MODEL_CHECK(evr_spsc_state(&s->out) == EVR_RING_OK);
}

SCENARIO(far_push_pop) = {
	.name = "far-push-pop",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "producer", push_all }, { "consumer", pop_all } },
	.setup = setup_met,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 2 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* Nobody has met: each comes, and sleeps until it has met the other. */
static void come_and_push(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t value;

	MODEL_CHECK(!evr_spsc_open(&s->in, peer, "n", EVR_PRODUCER, 0));
	while (!s->in_end && s->in.lane.pos < s->items) {
		value = s->in.lane.pos + 1;
		s->in_end = evr_spsc_push_wait(&s->in, &s->waiters[0], &value, 1, EVR_NO_DEADLINE);
		s->in_end = s->in_end == 1 ? 0 : s->in_end;
		s->published = s->in.lane.pos;
	}
	evr_spsc_close(&s->in);
	s->in_over = true;
}

static void come_and_pop(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t value;

	MODEL_CHECK(!evr_spsc_open(&s->out, peer, "n", EVR_CONSUMER, 0));
	for (;;) {
		s->out_end = evr_spsc_pop_wait(&s->out, &s->waiters[1], &value, 1, EVR_NO_DEADLINE);
		if (s->out_end != 1)
			break;
		MODEL_CHECK(value == s->popped + 1);
		s->popped = value;
	}
	evr_spsc_close(&s->out);
	s->out_over = true;
}

static void setup_apart(void *state)
{
	struct state *s = state;

	s->items = 3;
	create(model_peer(0));
	make_waiters(s, 2);
}

/* Three do not fit: the producer must have met the consumer to end. */
static void all_was_told(void *state)
{
	struct state *s = state;

	MODEL_CHECK(!s->in_end && s->out_end == -EPIPE && s->popped == s->items);
}

SCENARIO(far_meet) = {
	.name = "far-meet",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "producer", come_and_push }, { "consumer", come_and_pop } },
	.setup = setup_apart,
	.end = all_was_told,
	.check = { { MODEL_SC, 1, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 2, 0, 1 }, { MODEL_WEAK, 2, 0, 1 } },
};

/* One publishes and goes while the other comes: no look but those of these calls themselves. */
static void push_and_close(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	MODEL_CHECK(!evr_spsc_open(&s->in, peer, "n", EVR_PRODUCER, 0));
	push_one(s);
	if (model_pick(2))
		evr_spsc_close(&s->in);
}

static void come_and_pop_one(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t value;

	MODEL_CHECK(!evr_spsc_open(&s->out, peer, "n", EVR_CONSUMER, 0));
	MODEL_CHECK(evr_spsc_pop_wait(&s->out, &s->waiters[1], &value, 1, EVR_NO_DEADLINE) == 1);
	MODEL_CHECK(value == 1);
	if (!s->in.lane.mine)
		MODEL_CHECK(evr_spsc_pop_wait(&s->out, &s->waiters[1], &value, 1,
					      EVR_NO_DEADLINE) == -EPIPE);
}

/* Each has a half already: a ring whose only half is a dead one's cannot be opened. */
static void setup_halves(void *state)
{
	setup_apart(state);
	create(model_peer(1));
}

SCENARIO(far_come) = {
	.name = "far-come",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "producer", push_and_close }, { "consumer", come_and_pop_one } },
	.setup = setup_halves,
	.check = { { MODEL_SC, 1, 0, 0 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 2, 0, 1 }, { MODEL_WEAK, 2, 0, 1 } },
};

/* A producer that publishes and a consumer that opens: one of the two sees the other. */
static void push_once(struct evr_peer *peer, void *state)
{
	push_one(state);
}

static void come_and_look(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	MODEL_CHECK(!evr_spsc_open(&s->out, peer, "n", EVR_CONSUMER, 0));
	if (model_pick(2))
		pop_one(s, &s->out);
}

static void setup_producer(void *state)
{
	struct state *s = state;

	s->items = 1;
	create(model_peer(0));
	create(model_peer(1));
	open_end(&s->in, 0, EVR_PRODUCER);
	MODEL_CHECK(evr_spsc_state(&s->in) == EVR_RING_NO_PEER);
}

static void one_has_seen(void *state)
{
	struct state *s = state;

	MODEL_CHECK(s->in.lane.met || s->popped || !s->out.lane.met);
	/* The other does with its next look. */
	MODEL_CHECK(evr_spsc_state(&s->in) == EVR_RING_OK);
}

SCENARIO(far_one_sees) = {
	.name = "far-one-sees-the-other",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "producer", push_once }, { "consumer", come_and_look } },
	.setup = setup_producer,
	.end = one_has_seen,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_WEAK, 2, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 3, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* A death where it may hurt: who is left is told, or has met nobody whose end it could be told. */
static void left_one_knows(void *state)
{
	struct state *s = state;

	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) == 0);
	if (!model_crashes())
		all_was_told(s);
	if (model_died(0) && !model_died(1)) {
		MODEL_CHECK(s->popped >= s->published && s->popped <= s->published + 1);
		MODEL_CHECK(s->out_over || !s->popped);
	}
	if (model_died(1) && !model_died(0) && s->in_over)
		MODEL_CHECK(!s->in_end || s->in_end == -EPIPE || s->in_end == -EOWNERDEAD);
}

SCENARIO(far_meet_dies) = {
	.name = "far-dies",
	.flags = MODEL_ISOLATED | MODEL_MAY_SLEEP,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "producer", come_and_push }, { "consumer", come_and_pop } },
	.setup = setup_halves,
	.end = left_one_knows,
	.check = { { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 2, 1, 0 },
		    { MODEL_SC, 1, 2, 0, .sample = 9 },
		    { MODEL_WEAK, 1, 1, 1 } },
};

/*
 * A consumer takes one and goes, or dies; the next one has all that it left, though the
 * producer looks no more once it has parted from the first and pushed all.
 */
static void push_to_each(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	enum evr_ring_state now;

	while (s->in.lane.pos < s->items || !s->in_over) {
		now = evr_spsc_state(&s->in);
		MODEL_CHECK(now != EVR_RING_CORRUPT);
		if (now == EVR_RING_CLOSED || now == EVR_RING_PEER_DEAD) {
			evr_spsc_forget(&s->in);
			s->in_over = true;
		}
		if (s->in.lane.pos == s->items || !push_one(s))
			evr_pause();
	}
}

static void pop_one_and_leave(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (!pop_one(s, &s->out))
		evr_pause();
	evr_spsc_close(&s->out);
	s->out_over = true;
}

/* Of a consumer that died in a pop the last one may come again. */
static void pop_rest(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t value;

	MODEL_CHECK(!evr_spsc_open(&s->next, peer, "n", EVR_CONSUMER, 0));
	while (s->popped < s->items) {
		if (!evr_spsc_pop(&s->next, &value, 1)) {
			evr_pause();
			continue;
		}
		model_note("the next pops %llu", (unsigned long long)value);
		MODEL_CHECK(value == s->popped + 1 || value <= s->popped);
		if (value > s->popped)
			s->popped = value;
	}
	s->out_over = true;
}

static void setup_next(void *state)
{
	struct state *s = state;

	setup_met(s);
	s->items = 3;
}

/* The producer needs room from the next one. */
static void setup_next_full(void *state)
{
	struct state *s = state;

	setup_met(s);
	s->items = 4;
}

static bool first_is_over(void *state)
{
	struct state *s = state;

	return s->out_over || model_ended(1);
}

static void come_next(struct evr_peer *peer, void *state)
{
	model_until(first_is_over, state);
	pop_rest(peer, state);
}

static void all_was_read(void *state)
{
	struct state *s = state;

	MODEL_CHECK(s->popped == s->items);
}

SCENARIO(far_next) = {
	.name = "far-next-consumer",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "producer", push_to_each, .immortal = true },
		   { "consumer", pop_one_and_leave },
		   { "next", come_next, .immortal = true } },
	.setup = setup_next,
	.end = all_was_read,
	.check = { { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 1 } },
};

SCENARIO(far_next_full) = {
	.name = "far-next-when-full",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "producer", push_to_each },
		   { "consumer", pop_one_and_leave },
		   { "next", come_next } },
	.setup = setup_next_full,
	.end = all_was_read,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_WEAK, 1, 0, 1 } },
};

/*
 * A producer is gone, its slot is another's by now, who puts other things there: nothing
 * of these is read as the first one's, and all that is read was the first one's in order.
 */
static void push_and_go(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	push_one(s);
	push_one(s);
	model_detach();
}

static bool producer_is_gone(void *state)
{
	return model_ended(0);
}

static void setup_successor(void *state)
{
	struct state *s = state;

	setup_met(s);
	s->ctl = model_peek(s->out.lane.other_ctl);
}

static void reap_and_replace(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t i;

	model_until(producer_is_gone, s);
	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	if (!model_attach(0))
		return;
	for (i = 0; i < CAPACITY; i++)
		evr_copy_in(s->in.lane.data + 8ULL * i, &(uint64_t){ 77 }, 8);
	evr_a64_store_release(&s->in.lane.mine->pos, 77);
	/* As if its directory had the first one's entry still. */
	evr_a64_store_release((struct evr_a64 *)s->out.lane.other_ctl, s->ctl);
}

static void pop_what_there_is(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	enum evr_ring_state now;
	int i;

	for (i = 0; i < 6; i++) {
		now = evr_spsc_state(&s->out);
		if (pop_one(s, &s->out))
			continue;
		if (now == EVR_RING_PEER_DEAD || now == EVR_RING_CORRUPT)
			break;
		evr_pause();
	}
	MODEL_CHECK(evr_spsc_state(&s->out) != EVR_RING_CORRUPT);
}

SCENARIO(far_successor) = {
	.name = "far-successor-in-region",
	.flags = MODEL_ISOLATED | MODEL_PEERS_CHANGE,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "producer", push_and_go },
		   { "consumer", pop_what_there_is },
		   { "successor", reap_and_replace, .absent = true } },
	.setup = setup_successor,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* Whatever the other half says: no access outside it, and an end. */
static void scribble_half(struct evr_spsc *ring)
{
	struct evr_lane_side *mine = ring->lane.mine;
	struct evr_a64 *words[] = { &mine->pos, &mine->partner, &mine->base, &mine->origin,
				    ring->lane.owner };

	model_scribble(words, 5, 1);
}

static void scribble_producer(struct evr_peer *peer, void *state)
{
	scribble_half(&((struct state *)state)->in);
}

static void scribble_consumer(struct evr_peer *peer, void *state)
{
	scribble_half(&((struct state *)state)->out);
}

static void pop_or_stop(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t values[CAPACITY];
	uint32_t i;

	for (i = 0; i < 4; i++) {
		MODEL_CHECK(evr_spsc_pop(&s->out, values, CAPACITY) <= CAPACITY);
		MODEL_CHECK(evr_lane_avail(&s->out.lane) <= CAPACITY);
		if (evr_spsc_state(&s->out) == EVR_RING_CLOSED)
			evr_spsc_forget(&s->out);
	}
	evr_spsc_close(&s->out);
}

static void push_or_stop(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t values[CAPACITY] = { 0 };
	uint32_t i;

	for (i = 0; i < 4; i++) {
		MODEL_CHECK(evr_spsc_push(&s->in, values, CAPACITY) <= CAPACITY);
		MODEL_CHECK(evr_lane_avail(&s->in.lane) <= CAPACITY);
		if (evr_spsc_state(&s->in) == EVR_RING_CLOSED)
			evr_spsc_forget(&s->in);
	}
	evr_spsc_close(&s->in);
}

static void setup_filled(void *state)
{
	setup_met(state);
	push_one(state);
}

SCENARIO(far_hostile_producer) = {
	.name = "far-hostile-producer",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "hostile", scribble_producer }, { "consumer", pop_or_stop } },
	.setup = setup_filled,
	.check = { { MODEL_SC, 2, 0, 0 } },
	.longer = { { MODEL_SC, 3, 0, 0 } },
};

SCENARIO(far_hostile_consumer) = {
	.name = "far-hostile-consumer",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "producer", push_or_stop }, { "hostile", scribble_consumer } },
	.setup = setup_filled,
	.check = { { MODEL_SC, 2, 0, 0 } },
	.longer = { { MODEL_SC, 3, 0, 0 } },
};
