/* SPDX-License-Identifier: MIT */
/*
 * Inboxes: of each sender every message once, in order, under its own name, whoever dies,
 * comes late, or follows in a slot; and a receiver does not sleep beside a message.
 */
#include <errno.h>

#include "explore.h"

#define CAPACITY 2
#define SENDERS 2

struct state {
	struct evr_inbox box, next;
	struct evr_inbox_sender senders[MODEL_PROCS_MAX];
	struct evr_waiter waiters[MODEL_PROCS_MAX];
	uint32_t items; /* of each sender */
	uint64_t sent[MODEL_PROCS_MAX]; /* by calls that came back, by who sent it */
	uint64_t got[MODEL_PROCS_MAX]; /* the highest that was popped */
	bool all_known; /* no sender has come and gone without having been met */
	bool may_skip; /* a receiver has died, and perhaps popped one more */
};

static void make(struct state *s, uint32_t items)
{
	struct evr_inbox_options options = { .struct_sz = sizeof(options), .capacity = CAPACITY };

	s->items = items;
	/* In an isolated segment it is its receiver's. */
	MODEL_CHECK(!evr_inbox_create(model_peer(SENDERS), "i", &options));
	MODEL_CHECK(!evr_inbox_open(&s->box, model_peer(SENDERS), "i", 0));
	model_name(&s->box.control.mine->need, 8, "receiver.need");
	if (s->box.ready)
		model_name(s->box.ready, 8, "ready");
}

static void join(struct state *s, uint32_t i)
{
	MODEL_CHECK(!evr_inbox_join(&s->senders[i], model_peer(i), "i", 0));
}

static void make_waiters(struct state *s)
{
	uint32_t i;

	for (i = 0; i <= SENDERS; i++)
		MODEL_CHECK(!evr_waiter_init(&s->waiters[i], model_peer(i), EVR_WAIT_SLEEP));
}

/* {process:8 | number:8}: a process that has another's slot is told from it. */
static bool push_one(struct state *s, struct evr_inbox_sender *sender)
{
	uint32_t self = model_self();
	uint64_t value = (uint64_t)self << 8 | (s->sent[self] + 1);

	if (!evr_inbox_push(sender, &value, 1))
		return false;
	s->sent[self]++;
	return true;
}

static void take(struct state *s, uint64_t value, struct evr_peer_id from)
{
	uint32_t who = (uint32_t)(value >> 8);

	model_note("takes %llu of %u", (unsigned long long)(value & 0xff), who);
	MODEL_CHECK(who < MODEL_PROCS_MAX);
	if (s->may_skip && (value & 0xff) == s->got[who] + 2) {
		s->may_skip = false;
		s->got[who]++;
	}
	MODEL_CHECK((value & 0xff) == s->got[who] + 1);
	s->got[who]++;
	/* The third sender has the slot of the first, who may have gone unmet. */
	MODEL_CHECK(from.slot == (who < SENDERS ? who : 0));
	if (from.incarnation || s->all_known || !model_ended(who))
		MODEL_CHECK(from.incarnation == (who < SENDERS ? 1 : 2));
}

static bool pop_one(struct state *s, struct evr_inbox *box)
{
	struct evr_peer_id from = { .slot = EVR_SLOT_ANY };
	uint64_t value;

	if (!evr_inbox_pop(box, &value, 1, &from))
		return false;
	take(s, value, from);
	return true;
}

static void push_all(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t self = model_self();

	while (s->sent[self] < s->items)
		if (!push_one(s, &s->senders[self]))
			evr_pause();
}

static void pop_all(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (s->got[0] + s->got[1] < SENDERS * s->items)
		if (!pop_one(s, &s->box))
			evr_pause();
}

static void setup_joined(void *state)
{
	make(state, 2);
	join(state, 0);
	join(state, 1);
}

SCENARIO(inbox_push_pop) = {
	.name = "inbox-push-pop",
	.state_sz = sizeof(struct state),
	.shared_sz = 12 << 10,
	.procs = { { "sender", push_all }, { "sender-too", push_all }, { "receiver", pop_all } },
	.setup = setup_joined,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* Senders come, send and go, while the receiver sleeps until it has all. */
static void join_and_send(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t self = model_self();
	uint64_t value;

	MODEL_CHECK(!evr_inbox_join(&s->senders[self], peer, "i", 0));
	while (s->sent[self] < s->items) {
		value = (uint64_t)self << 8 | (s->sent[self] + 1);
		MODEL_CHECK(evr_inbox_push_wait(&s->senders[self], &s->waiters[self], &value, 1,
						EVR_NO_DEADLINE) == 1);
		s->sent[self]++;
	}
	evr_inbox_leave(&s->senders[self]);
}

static void wait_for_all(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_peer_id from;
	uint64_t value;

	while (s->got[0] + s->got[1] < s->items) {
		MODEL_CHECK(evr_inbox_pop_wait(&s->box, &s->waiters[SENDERS], &value, 1, &from,
					       EVR_NO_DEADLINE) == 1);
		take(s, value, from);
	}
}

static void setup_apart(void *state)
{
	make(state, 2);
	make_waiters(state);
}

static void idle(struct evr_peer *peer, void *state)
{
}

SCENARIO(inbox_join) = {
	.name = "inbox-join",
	.state_sz = sizeof(struct state),
	.shared_sz = 12 << 10,
	.procs = { { "sender", join_and_send }, { "idle", idle }, { "receiver", wait_for_all } },
	.setup = setup_apart,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 2 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0, .sample = 12 },
		    { MODEL_TSO, 2, 0, 2 },
		    { MODEL_WEAK, 2, 0, 2 } },
};

/* Whoever dies: what the living have sent arrives, and the inbox serves the next receiver. */
static void join_and_push(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t self = model_self();

	MODEL_CHECK(!evr_inbox_join(&s->senders[self], peer, "i", 0));
	push_one(s, &s->senders[self]);
	push_one(s, &s->senders[self]);
}

static void pop_some(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t i;

	for (i = 0; i < 2; i++)
		pop_one(s, &s->box);
}

static void all_arrived(void *state)
{
	struct state *s = state;
	struct evr_inbox *box = &s->box;
	uint32_t i;

	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	if (model_died(SENDERS)) {
		MODEL_CHECK(!evr_inbox_open(&s->next, model_auditor(), "i", 0));
		s->may_skip = true;
		box = &s->next;
	}
	while (pop_one(s, box))
		;
	for (i = 0; i < SENDERS; i++)
		MODEL_CHECK(s->got[i] + s->may_skip >= s->sent[i] &&
			    s->got[i] <= s->sent[i] + model_died(i));
	MODEL_CHECK(evr_inbox_senders(box) == (uint32_t)(!model_died(0) + !model_died(1)));
	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) == 0);
}

static void setup_alone(void *state)
{
	make(state, 1);
	join(state, 1);
}

SCENARIO(inbox_dies) = {
	.name = "inbox-dies",
	.state_sz = sizeof(struct state),
	.shared_sz = 12 << 10,
	.procs = { { "sender", join_and_push },
		   { "sender-too", push_all },
		   { "receiver", pop_some } },
	.setup = setup_alone,
	.end = all_arrived,
	.check = { { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 2, 1, 0, .sample = 7 },
		    { MODEL_SC, 1, 2, 0, .sample = 6 },
		    { MODEL_WEAK, 1, 1, 1 } },
};

/* One sends and is gone; the next in its slot sends too: each under its own name. */
static void push_and_go(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	push_one(s, &s->senders[0]);
	model_detach();
}

static bool sender_is_gone(void *state)
{
	return model_ended(0);
}

static void follow(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	model_until(sender_is_gone, s);
	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	MODEL_CHECK(model_attach(0));
	MODEL_CHECK(!evr_inbox_join(&s->senders[3], peer, "i", 0));
	while (!push_one(s, &s->senders[3]))
		evr_pause();
}

/* What is popped at once is of one. */
static void pop_both(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_peer_id from;
	uint64_t values[2];
	uint32_t i, nr;

	while (s->got[0] + s->got[3] < 2) {
		nr = evr_inbox_pop(&s->box, values, 2, &from);
		for (i = 0; i < nr; i++)
			take(s, values[i], from);
		if (!nr)
			evr_pause();
	}
}

static void setup_followed(void *state)
{
	make(state, 1);
	join(state, 0);
}

SCENARIO(inbox_successor) = {
	.name = "inbox-successor-in-slot",
	.flags = MODEL_PEERS_CHANGE,
	.state_sz = sizeof(struct state),
	.shared_sz = 12 << 10,
	.procs = { { "sender", push_and_go },
		   { "idle", idle },
		   { "receiver", pop_both },
		   { "successor", follow, .absent = true } },
	.setup = setup_followed,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_WEAK, 1, 0, 1 } },
};

/* The first was met; what it has left is its own, whatever the next one says while we look. */
static void go(struct evr_peer *peer, void *state)
{
	model_detach();
}

static void follow_only(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	model_until(sender_is_gone, s);
	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	MODEL_CHECK(model_attach(0));
	MODEL_CHECK(!evr_inbox_join(&s->senders[3], peer, "i", 0));
}

static void pop_last(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (s->got[0] < 2)
		if (!pop_one(s, &s->box))
			evr_pause();
}

static void setup_met(void *state)
{
	struct state *s = state;
	struct evr_peer_id from;
	uint64_t value;

	make(s, 1);
	join(s, 0);
	for (value = 1; value <= 2; value++)
		MODEL_CHECK(evr_inbox_push(&s->senders[0], &value, 1) == 1);
	MODEL_CHECK(evr_inbox_pop(&s->box, &value, 1, &from) == 1);
	take(s, value, from);
	s->all_known = true;
}

SCENARIO(inbox_met) = {
	.name = "inbox-successor-of-known",
	.flags = MODEL_PEERS_CHANGE,
	.state_sz = sizeof(struct state),
	.shared_sz = 12 << 10,
	.procs = { { "sender", go },
		   { "idle", idle },
		   { "receiver", pop_last },
		   { "successor", follow_only, .absent = true } },
	.setup = setup_met,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_WEAK, 2, 0, 1 } },
};

/* One that lies about its lane: the other's messages arrive all the same. */
static void scribble(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_lane *l = &s->senders[0].ring.lane;
	struct evr_a64 *words[] = { &l->mine->pos, &l->mine->base, &l->mine->partner, l->owner,
				    s->senders[0].ready };

	model_scribble(words, 5, 1);
}

static void pop_others(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_peer_id from;
	uint64_t value;

	while (s->got[1] < s->items) {
		if (!evr_inbox_pop(&s->box, &value, 1, &from)) {
			evr_pause();
			continue;
		}
		MODEL_CHECK(from.slot <= 1 || from.slot == EVR_SLOT_ANY);
		if (from.slot == 1)
			take(s, value, from);
	}
	evr_inbox_close(&s->box);
}

/* The receiver has met both: whom it has not met, another could hide from it by the ready word. */
static void setup_hostile(void *state)
{
	struct state *s = state;

	setup_joined(s);
	MODEL_CHECK(evr_inbox_senders(&s->box) == SENDERS);
}

SCENARIO(inbox_hostile) = {
	.name = "inbox-hostile-sender",
	.state_sz = sizeof(struct state),
	.shared_sz = 12 << 10,
	.procs = { { "hostile", scribble }, { "sender", push_all }, { "receiver", pop_others } },
	.setup = setup_hostile,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 } },
};

/* Over two halves: the same promises, though no word is written by both. */
#define FAR_REGION_SZ 8192 /* its directory's page, the inbox, and a half for each sender */

static void setup_far_apart(void *state)
{
	make(state, 3);
	make_waiters(state);
}

SCENARIO(inbox_far_join) = {
	.name = "inbox-far-join",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = FAR_REGION_SZ,
	.procs = { { "sender", join_and_send }, { "idle", idle }, { "receiver", wait_for_all } },
	.setup = setup_far_apart,
	.check = { { MODEL_SC, 1, 0, 0 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 2, 0, 1 }, { MODEL_WEAK, 2, 0, 1 } },
};

/* Two that come, send and go, or die: of each every message, in order, that it has sent. */
static void come_send_and_leave(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t self = model_self();

	MODEL_CHECK(!evr_inbox_join(&s->senders[self], peer, "i", 0));
	push_one(s, &s->senders[self]);
	push_one(s, &s->senders[self]);
	evr_inbox_leave(&s->senders[self]);
}

static void send_more_than_fit(struct evr_peer *peer, void *state)
{
	push_all(peer, state);
	evr_inbox_leave(&((struct state *)state)->senders[model_self()]);
}

static void pop_until_both_ended(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	bool ended;

	do {
		ended = (model_finished(0) || model_ended(0)) &&
			(model_finished(1) || model_ended(1));
		if (!pop_one(s, &s->box) && !ended)
			evr_pause();
	} while (!ended || pop_one(s, &s->box));
}

static void all_arrived_in_order(void *state)
{
	struct state *s = state;
	uint32_t i;

	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	while (!model_died(SENDERS) && pop_one(s, &s->box))
		;
	for (i = 0; i < SENDERS && !model_died(SENDERS); i++)
		MODEL_CHECK(s->got[i] >= s->sent[i] && s->got[i] <= s->sent[i] + model_died(i));
}

static void setup_far_both(void *state)
{
	make(state, 3);
	join(state, 1);
}

SCENARIO(inbox_far_order) = {
	.name = "inbox-far-order",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = FAR_REGION_SZ,
	.procs = { { "sender", come_send_and_leave },
		   { "sender-too", send_more_than_fit },
		   { "receiver", pop_until_both_ended, .immortal = true } },
	.setup = setup_far_both,
	.end = all_arrived_in_order,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_WEAK, 1, 0, 1 } },
};
