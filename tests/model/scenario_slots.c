/* SPDX-License-Identifier: MIT */
/*
 * Rings whose messages lie beside their stamps: each message whole, once, in order; what
 * was stamped before a producer died is received and goes on from there, and what a dead
 * consumer had not told of comes again, nothing else. The message at position p is
 * p + 1 in all its words, and has p % 2 + 1 of them.
 */
#include <errno.h>

#include "explore.h"

#define WORDS_MAX 2

struct state {
	struct evr_slots in, out, heir_in, heir_out;
	struct evr_waiter waiters[2];
	uint32_t items;
	uint64_t pushed; /* by calls that came back */
	uint64_t released, told; /* by a consumer, and what it has told of */
	bool in_over, out_over;
	int in_end, out_end; /* what the last call of each end returned */
};

static void make(struct state *s, uint32_t capacity, uint32_t items)
{
	struct evr_slots_options options = { .struct_sz = sizeof(options), .capacity = capacity };

	s->items = items;
	MODEL_CHECK(!evr_slots_create(model_peer(0), "n", &options));
	MODEL_CHECK(!evr_slots_open(&s->in, model_peer(0), "n", EVR_PRODUCER, 0));
	MODEL_CHECK(!evr_slots_open(&s->out, model_peer(1), "n", EVR_CONSUMER, 0));
	model_name_lane(&s->in.lane);
}

static uint32_t message_sz(uint64_t pos)
{
	return (uint32_t)(pos % WORDS_MAX + 1) * 8;
}

static bool push_one(struct state *s, struct evr_slots *in)
{
	uint64_t pos = in->lane.pos, words[WORDS_MAX] = { pos + 1, pos + 1 };

	if (!evr_slots_push(in, words, message_sz(pos)))
		return false;
	s->pushed = pos + 1;
	return true;
}

static void check_message(const void *at, uint32_t sz, uint64_t pos)
{
	uint64_t words[WORDS_MAX] = { 0 };

	MODEL_CHECK(sz == message_sz(pos));
	evr_copy_out(words, at, sz);
	MODEL_CHECK(words[0] == pos + 1 && (sz == 8 || words[1] == pos + 1));
}

static bool pop_one(struct state *s, struct evr_slots *out)
{
	uint64_t pos = out->lane.pos;
	const void *at;
	uint32_t sz;

	at = evr_slots_peek(out, &sz);
	if (at) {
		check_message(at, sz, pos);
		evr_slots_release(out);
		s->released = pos + 1;
	} else {
		/* Who finds nothing tells of all that it has taken. */
		MODEL_CHECK(out->told == pos);
	}
	s->told = out->told;
	return at;
}

static void push_singly(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (s->in.lane.pos < s->items)
		if (!push_one(s, &s->in))
			evr_pause();
	s->in_over = true;
}

static void pop_singly(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (s->out.lane.pos < s->items)
		if (!pop_one(s, &s->out))
			evr_pause();
	s->out_over = true;
}

static void all_arrived(void *state)
{
	struct state *s = state;

	MODEL_CHECK(s->pushed == s->items && s->released == s->items);
}

static void setup_two(void *state)
{
	make(state, 2, 3);
}

SCENARIO(slots_push_pop) = {
	.name = "slots-push-pop",
	.state_sz = sizeof(struct state),
	.procs = { { "producer", push_singly }, { "consumer", pop_singly } },
	.setup = setup_two,
	.end = all_arrived,
	.check = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
	.longer = { { MODEL_SC, 5, 0, 0 }, { MODEL_TSO, 4, 0, 3 }, { MODEL_WEAK, 4, 0, 3 } },
};

/* Several at once, round the end; the consumer tells of every second one. */
static void push_batches(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t values[3];
	uint32_t i, nr;

	while (s->in.lane.pos < s->items) {
		nr = s->items - s->in.lane.pos < 3 ? (uint32_t)(s->items - s->in.lane.pos) : 3;
		for (i = 0; i < nr; i++)
			values[i] = s->in.lane.pos + i + 1;
		if (!evr_slots_push_batch(&s->in, values, 8, nr))
			evr_pause();
	}
	s->pushed = s->in.lane.pos;
}

static void pop_batches(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t values[2];
	uint32_t i, nr;

	while (s->out.lane.pos < s->items) {
		nr = evr_slots_pop_batch(&s->out, values, 8, 2);
		for (i = 0; i < nr; i++)
			MODEL_CHECK(values[i] == ++s->released);
		if (!nr)
			evr_pause();
	}
}

static void setup_batch(void *state)
{
	struct state *s = state;

	make(s, 8, 12);
	while (s->in.lane.pos < 7) {
		MODEL_CHECK(evr_slots_push(&s->in, &(uint64_t){ s->in.lane.pos + 1 }, 8));
		MODEL_CHECK(evr_slots_pop_batch(&s->out, &(uint64_t){ 0 }, 8, 1) == 1);
	}
	evr_slots_flush(&s->out);
	s->released = 7;
}

SCENARIO(slots_batch) = {
	.name = "slots-batch-wrap",
	.state_sz = sizeof(struct state),
	.procs = { { "producer", push_batches }, { "consumer", pop_batches } },
	.setup = setup_batch,
	.end = all_arrived,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 2 } },
	.longer = { { MODEL_SC, 4, 0, 0 }, { MODEL_TSO, 3, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* Who dies in a role is followed by another, which goes on exactly where that one was. */
static bool is_heirs_turn(void *state)
{
	struct state *s = state;

	return (s->in_over && s->out_over) || model_ended(0) || model_ended(1);
}

/* Whoever comes next begins behind all that was taken. */
static void close_consumer(struct state *s, struct evr_slots *out)
{
	uint64_t pos = out->lane.pos;

	evr_slots_close(out);
	s->told = pos;
}

/* Until all is there, or nobody is left who would send it. */
static void pop_as_long_as_it_comes(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (s->out.lane.pos < s->items && !(model_ended(0) && model_ended(2)))
		if (!pop_one(s, &s->out))
			evr_pause();
	s->out_over = s->out.lane.pos == s->items;
	close_consumer(s, &s->out);
}

/* All that came back was stamped, and one more may be. */
static void succeed_producer(struct state *s, struct evr_peer *peer)
{
	MODEL_CHECK(!evr_slots_open(&s->heir_in, peer, "n", EVR_PRODUCER, 0));
	MODEL_CHECK(s->heir_in.lane.pos == s->pushed || s->heir_in.lane.pos == s->pushed + 1);
}

/* The last call may have told, and not have come back. */
static void succeed_consumer(struct state *s, struct evr_peer *peer)
{
	MODEL_CHECK(!evr_slots_open(&s->heir_out, peer, "n", EVR_CONSUMER, 0));
	MODEL_CHECK(s->heir_out.lane.pos >= s->told && s->heir_out.lane.pos <= s->released + 1);
}

static void take_over(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	model_until(is_heirs_turn, s);
	if (!s->in_over && model_ended(0)) {
		succeed_producer(s, peer);
		while (s->heir_in.lane.pos < s->items && !model_ended(1))
			if (!push_one(s, &s->heir_in))
				evr_pause();
		s->in_over = s->heir_in.lane.pos == s->items;
		evr_slots_close(&s->heir_in);
	}
	if (!s->out_over && model_ended(1)) {
		succeed_consumer(s, peer);
		while (s->heir_out.lane.pos < s->items && !model_ended(0))
			if (!pop_one(s, &s->heir_out))
				evr_pause();
		s->out_over = s->heir_out.lane.pos == s->items;
		close_consumer(s, &s->heir_out);
	}
}

static void push_until_over(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (s->in.lane.pos < s->items && !(model_ended(1) && model_ended(2)))
		if (!push_one(s, &s->in))
			evr_pause();
	s->in_over = s->in.lane.pos == s->items;
	evr_slots_close(&s->in);
}

/* All died are reaped; then both roles can be had, and the rest goes through. */
static void settled_and_usable(void *state)
{
	struct evr_peer *peer = model_auditor();
	struct evr_reap_report report = { 0 };
	struct state *s = state;

	MODEL_CHECK(evr_reap_dead(peer, &report) >= 0);
	MODEL_CHECK(report.sides <= 2 * model_crashes());
	succeed_producer(s, peer);
	succeed_consumer(s, peer);
	while (s->heir_out.lane.pos < s->items) {
		if (s->heir_in.lane.pos < s->items)
			push_one(s, &s->heir_in);
		MODEL_CHECK(pop_one(s, &s->heir_out));
	}
	MODEL_CHECK(!pop_one(s, &s->heir_out));
	MODEL_CHECK(evr_reap_dead(peer, NULL) == 0);
}

/* Two before the end; a consumer tells of every second message. */
static void setup_takeover(void *state)
{
	struct state *s = state;

	make(s, 8, 9);
	while (s->in.lane.pos < 6)
		MODEL_CHECK(push_one(s, &s->in) && pop_one(s, &s->out));
}

SCENARIO(slots_takeover) = {
	.name = "slots-takeover-after-death",
	.state_sz = sizeof(struct state),
	.procs = { { "producer", push_until_over },
		   { "consumer", pop_as_long_as_it_comes },
		   { "heir", take_over } },
	.setup = setup_takeover,
	.end = settled_and_usable,
	.check = { { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 2, 1, 0 }, { MODEL_SC, 1, 2, 0 }, { MODEL_WEAK, 1, 1, 1 } },
};

/* The waiting forms: a full and an empty ring, sleep, close, and what each end is told. */
static void push_wait(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t words[WORDS_MAX], pos;

	while (!s->in_end && s->in.lane.pos < s->items) {
		pos = s->in.lane.pos;
		words[0] = words[1] = pos + 1;
		s->in_end = evr_slots_push_wait(&s->in, &s->waiters[0], words, message_sz(pos),
						EVR_NO_DEADLINE);
		s->pushed += !s->in_end;
	}
	evr_slots_close(&s->in);
	s->in_over = true;
}

static void pop_wait(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t words[WORDS_MAX], pos;

	for (;;) {
		pos = s->out.lane.pos;
		s->out_end = evr_slots_pop_wait(&s->out, &s->waiters[1], words, sizeof(words),
						EVR_NO_DEADLINE);
		if (s->out_end < 0)
			break;
		MODEL_CHECK((uint32_t)s->out_end == message_sz(pos) && words[0] == pos + 1);
		s->released = pos + 1;
		s->told = s->out.told;
	}
	close_consumer(s, &s->out);
	s->out_over = true;
}

static void setup_wait(void *state)
{
	struct state *s = state;
	uint32_t i;

	make(s, 1, 2);
	for (i = 0; i < 2; i++)
		MODEL_CHECK(!evr_waiter_init(&s->waiters[i], model_peer(i), EVR_WAIT_SLEEP));
}

/* Says AWAKE with each look at the other side, so that parks use the barrier on all. */
static void setup_wait_awake(void *state)
{
	struct state *s = state;

	setup_wait(s);
	s->in.lane.calm_step = 0;
	s->out.lane.calm_step = 0;
}

/* The living are told the truth, and all that was stamped came first. */
static void ends_are_told(void *state)
{
	struct state *s = state;

	if (!model_crashes())
		MODEL_CHECK(!s->in_end && s->out_end == -EPIPE && s->released == s->items);
	if (!model_died(1)) {
		MODEL_CHECK(s->out_end == (s->in_over ? -EPIPE : -EOWNERDEAD) ||
			    (model_died(0) && s->out_end == -EPIPE));
		MODEL_CHECK(s->released >= s->pushed && s->released <= s->pushed + 1);
	}
	if (!model_died(0))
		MODEL_CHECK(!s->in_end || s->in_end == -EOWNERDEAD || s->in_end == -EPIPE);
	settled_and_usable(s);
}

SCENARIO(slots_wait) = {
	.name = "slots-wait-and-close",
	.state_sz = sizeof(struct state),
	.procs = { { "producer", push_wait }, { "consumer", pop_wait } },
	.setup = setup_wait,
	.end = ends_are_told,
	.check = { { MODEL_SC, 1, 1, 0 }, { MODEL_TSO, 2, 0, 1 }, { MODEL_WEAK, 1, 0, 2 } },
	.longer = { { MODEL_SC, 3, 1, 0 }, { MODEL_TSO, 3, 0, 2 }, { MODEL_WEAK, 2, 1, 2 } },
};

SCENARIO(slots_wait_awake) = {
	.name = "slots-wait-awake",
	.state_sz = sizeof(struct state),
	.procs = { { "producer", push_wait }, { "consumer", pop_wait } },
	.setup = setup_wait_awake,
	.end = ends_are_told,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 2, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 3, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* A hostile producer: whatever its stamps and positions say, a consumer reads no more than a slot. */
static void scribble(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_a64 *words[] = { evr_slots_stamp(&s->in, 0), evr_slots_stamp(&s->in, 1),
				    &s->in.lane.mine->pos, &s->in.lane.mine->need.word };

	model_scribble(words, 4, 2);
}

static void pop_or_stop(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t i, sz;

	for (i = 0; i < 4 && evr_slots_state(&s->out) == EVR_RING_OK; i++) {
		if (!evr_slots_peek(&s->out, &sz))
			continue;
		MODEL_CHECK(sz <= s->out.msg_max);
		evr_slots_release(&s->out);
	}
	evr_slots_close(&s->out);
}

static void setup_hostile(void *state)
{
	struct state *s = state;

	make(s, 2, 2);
	push_one(s, &s->in);
}

/* Who follows it: begins somewhere in the ring, or says that it is corrupt. */
static void successor_is_safe(void *state)
{
	struct state *s = state;
	int err;

	evr_slots_close(&s->in);
	err = evr_slots_open(&s->heir_in, model_auditor(), "n", EVR_PRODUCER, 0);
	MODEL_CHECK(!err || err == -EBADMSG);
	if (!err)
		MODEL_CHECK(evr_lane_avail(&s->heir_in.lane) <= 2);
}

SCENARIO(slots_hostile_producer) = {
	.name = "slots-hostile-producer",
	.state_sz = sizeof(struct state),
	.procs = { { "hostile", scribble }, { "consumer", pop_or_stop } },
	.setup = setup_hostile,
	.end = successor_is_safe,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 3, 0, 0 } },
};

/* The other way round: a producer believes no position that would let it overwrite. */
static void scribble_consumer(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_a64 *words[] = { &s->out.lane.mine->pos, &s->out.lane.mine->need.word };

	model_scribble(words, 2, 2);
}

static void push_or_stop(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t i;

	for (i = 0; i < 4 && evr_slots_state(&s->in) == EVR_RING_OK; i++) {
		push_one(s, &s->in);
		MODEL_CHECK(evr_lane_avail(&s->in.lane) <= 2);
	}
	evr_slots_close(&s->in);
}

SCENARIO(slots_hostile_consumer) = {
	.name = "slots-hostile-consumer",
	.state_sz = sizeof(struct state),
	.procs = { { "producer", push_or_stop }, { "hostile", scribble_consumer } },
	.setup = setup_two,
	.check = { { MODEL_SC, 2, 0, 0 } },
	.longer = { { MODEL_SC, 4, 0, 0 } },
};
