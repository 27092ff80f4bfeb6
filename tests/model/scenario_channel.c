/* SPDX-License-Identifier: MIT */
/*
 * Channels: what one holder sends in a session the other of that session receives, once, in
 * order, before the end; nobody receives what was sent to another; no more is under way
 * than was granted; and nobody sleeps beside what is there for it.
 */
#include <errno.h>

#include "explore.h"

#include "channel.h"

#define CAPACITY 1024
#define INLINE_MAX 32

struct state {
	struct evr_channel a, b, next;
	struct evr_waiter waiters[3];
	uint32_t items;
	uint64_t window;
	uint64_t sent, released, received; /* in this session */
	uint64_t session; /* of A's, counted by A */
	bool a_over, b_over;
	int a_end, b_end; /* what the last call of each end returned */
};

static void make(struct state *s, uint32_t items, uint64_t window)
{
	struct evr_channel_options options = { .struct_sz = sizeof(options),
					       .capacity = CAPACITY,
					       .urgent_capacity = CAPACITY,
					       .inline_max = INLINE_MAX,
					       .window_messages = window };
	uint32_t i;

	s->items = items;
	s->window = window;
	MODEL_CHECK(!evr_channel_create(model_peer(0), "c", &options));
	for (i = 0; i < 2; i++)
		MODEL_CHECK(!evr_waiter_init(&s->waiters[i], model_peer(i), EVR_WAIT_SLEEP));
}

static void name_words(const struct state *s)
{
	model_name(s->a.mine, EVR_LINE_SZ, "a.link");
	model_name(&s->a.mine->credit_messages, EVR_LINE_SZ, "a.credit");
	model_name(s->a.other, EVR_LINE_SZ, "b.link");
	model_name(&s->a.other->credit_messages, EVR_LINE_SZ, "b.credit");
	model_name_lane(&s->a.tx[0].lane);
}

/* {session:8 | number:8} */
static uint64_t value_of(const struct state *s)
{
	return s->session << 8 | (s->sent + 1);
}

static int send_one(struct state *s, struct evr_channel *ch)
{
	uint64_t value = value_of(s);
	int err = evr_channel_send(ch, &value, 8, 0);

	if (!err) {
		s->sent++;
		if (s->window)
			MODEL_CHECK(s->sent - s->released <= s->window);
	}
	return err;
}

static void take(struct state *s, struct evr_channel *ch, struct evr_message *m)
{
	uint64_t value;

	MODEL_CHECK(m->sz == 8 && m->kind == EVR_FRAME_INLINE);
	evr_copy_out(&value, m->data, 8);
	model_note("receives %llu of session %llu", (unsigned long long)(value & 0xff),
		   (unsigned long long)(value >> 8));
	MODEL_CHECK((value & 0xff) == s->received + 1);
	s->received++;
	/* Before its release: the sender may see that at once. */
	s->released++;
	evr_channel_release(ch, m);
}

static int recv_one(struct state *s, struct evr_channel *ch)
{
	struct evr_message m;
	int err = evr_channel_recv(ch, &m);

	if (!err)
		take(s, ch, &m);
	return err;
}

/* All is sent as far as credit goes, then the direction is shut: its end comes last. */
static void send_and_shut(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	int err;

	while (s->sent < s->items) {
		err = send_one(s, &s->a);
		MODEL_CHECK(!err || err == -ENOBUFS || err == -EAGAIN);
		if (err)
			evr_pause();
	}
	MODEL_CHECK(!evr_channel_shutdown(&s->a, EVR_SHUT_SEND));
}

static void recv_to_end(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	int err;

	do {
		err = recv_one(s, &s->b);
		MODEL_CHECK(!err || err == -EAGAIN || err == -EPIPE);
		if (err == -EAGAIN)
			evr_pause();
	} while (err != -EPIPE);
	MODEL_CHECK(s->received == s->items);
}

static void setup_met(void *state)
{
	struct state *s = state;

	make(s, 2, 1);
	MODEL_CHECK(!evr_channel_open(&s->a, model_peer(0), "c", EVR_CHANNEL_A, 0));
	MODEL_CHECK(!evr_channel_open(&s->b, model_peer(1), "c", EVR_CHANNEL_B, 0));
	MODEL_CHECK(evr_channel_state(&s->a) == EVR_RING_OK);
	MODEL_CHECK(evr_channel_state(&s->b) == EVR_RING_OK);
	name_words(s);
}

SCENARIO(channel_send_recv) = {
	.name = "channel-send-recv",
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.procs = { { "sender", send_and_shut }, { "receiver", recv_to_end } },
	.setup = setup_met,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 2 }, { MODEL_WEAK, 1, 0, 2 } },
	.longer = { { MODEL_SC, 4, 0, 0 }, { MODEL_TSO, 3, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* A receiver that sleeps is told of the end by its coming alone. */
static void shut(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	MODEL_CHECK(!evr_channel_shutdown(&s->a, EVR_SHUT_SEND));
}

static void sleep_to_end(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_message m;

	MODEL_CHECK(evr_channel_recv_wait(&s->b, &s->waiters[1], &m, EVR_NO_DEADLINE) == -EPIPE);
}

SCENARIO(channel_shut) = {
	.name = "channel-shut-wakes",
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.procs = { { "sender", shut }, { "receiver", sleep_to_end } },
	.setup = setup_met,
	.check = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 1 }, { MODEL_WEAK, 2, 0, 1 } },
	.longer = { { MODEL_SC, 5, 0, 0 }, { MODEL_TSO, 4, 0, 2 }, { MODEL_WEAK, 4, 0, 2 } },
};

/* Both come, in any order, sleep for each other and for credit, and go. */
static void come_and_send(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_message m = { .sz = 8 };
	uint64_t value;

	MODEL_CHECK(!evr_channel_open(&s->a, peer, "c", EVR_CHANNEL_A, 0));
	while (!s->a_end && s->sent < s->items) {
		value = value_of(s);
		m.data = &value;
		s->a_end = evr_channel_send_wait(&s->a, &s->waiters[0], &m, EVR_NO_DEADLINE);
		s->sent += !s->a_end;
	}
	if (!s->a_end)
		s->a_end = evr_channel_drain_wait(&s->a, &s->waiters[0], EVR_NO_DEADLINE);
	evr_channel_close(&s->a);
	s->a_over = true;
}

static void come_and_recv(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_message m;

	MODEL_CHECK(!evr_channel_open(&s->b, peer, "c", EVR_CHANNEL_B, 0));
	for (;;) {
		s->b_end = evr_channel_recv_wait(&s->b, &s->waiters[1], &m, EVR_NO_DEADLINE);
		if (s->b_end)
			break;
		take(s, &s->b, &m);
	}
	evr_channel_close(&s->b);
	s->b_over = true;
}

static void setup_apart(void *state)
{
	make(state, 2, 1);
}

static void both_were_told(void *state)
{
	struct state *s = state;

	MODEL_CHECK(!s->a_end && s->b_end == -EPIPE && s->received == s->items);
}

SCENARIO(channel_meet) = {
	.name = "channel-meet",
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.procs = { { "sender", come_and_send }, { "receiver", come_and_recv } },
	.setup = setup_apart,
	.end = both_were_told,
	.check = { { MODEL_SC, 1, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 2, 0, 1 }, { MODEL_WEAK, 2, 0, 1 } },
};

/* Who is left in a session learns of its end; who has met nobody may wait for ever. */
static void left_one_knows(void *state)
{
	struct state *s = state;

	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) == 0);
	if (!model_crashes())
		both_were_told(s);
	if (model_died(0) && !model_died(1)) {
		MODEL_CHECK(s->received >= s->sent && s->received <= s->sent + 1);
		MODEL_CHECK(s->b_over || !model_peek(&s->b.partner));
		if (s->b_over)
			MODEL_CHECK(s->b_end == -EOWNERDEAD || s->b_end == -EPIPE);
	}
	if (model_died(1) && !model_died(0)) {
		MODEL_CHECK(s->a_over || !model_peek(&s->a.partner));
		if (s->a_over)
			MODEL_CHECK(!s->a_end || s->a_end == -EOWNERDEAD || s->a_end == -EPIPE);
	}
}

static void setup_dies(void *state)
{
	make(state, 1, 1);
}

SCENARIO(channel_dies) = {
	.name = "channel-dies",
	.flags = MODEL_MAY_SLEEP,
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.procs = { { "sender", come_and_send }, { "receiver", come_and_recv } },
	.setup = setup_dies,
	.end = left_one_knows,
	.check = { { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 2, 1, 0, .sample = 6 },
		    { MODEL_SC, 1, 2, 0, .sample = 6 },
		    { MODEL_WEAK, 1, 1, 1 } },
};

/* Who has released all ends at once, in each way: what was sent is drained all the same. */
static void send_and_drain(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	s->a_end = send_one(s, &s->a);
	if (!s->a_end)
		s->a_end = evr_channel_drain_wait(&s->a, &s->waiters[0], EVR_NO_DEADLINE);
	s->a_over = true;
}

static void release_and_end(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (recv_one(s, &s->b))
		evr_pause();
	s->b_over = true;
	switch (model_pick(3)) {
	case 0:
		evr_channel_close(&s->b);
		break;
	case 1:
		MODEL_CHECK(!evr_channel_shutdown(&s->b, EVR_SHUT_RECV));
		break;
	default:
		model_detach();
	}
}

static void was_drained(void *state)
{
	struct state *s = state;

	MODEL_CHECK(s->a_over);
	MODEL_CHECK(s->b_over ? !s->a_end : !s->a_end || s->a_end == -EOWNERDEAD);
}

SCENARIO(channel_drain) = {
	.name = "channel-drain",
	.flags = MODEL_PEERS_CHANGE,
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.procs = { { "sender", send_and_drain, .immortal = true },
		   { "receiver", release_and_end } },
	.setup = setup_met,
	.end = was_drained,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_SC, 1, 1, 0 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 1, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 1, 1 } },
};

/*
 * A receiver leaves, and the next wants its place: it gets it once the sender has let go of
 * the last one, and of what it receives all was sent to it.
 */
static void send_to_each(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	int err;

	while (!s->b_over) {
		err = send_one(s, &s->a);
		if (err == -EPIPE || err == -EOWNERDEAD) {
			MODEL_CHECK(!evr_channel_forget(&s->a));
			s->session++;
			s->sent = 0;
		}
		if (err)
			evr_pause();
	}
}

static void recv_and_leave(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	recv_one(s, &s->b);
	evr_channel_close(&s->b);
	s->a_over = true;
}

static bool first_has_left(void *state)
{
	return ((struct state *)state)->a_over;
}

static void recv_next(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_message m;
	uint64_t value;
	bool is_dead;
	int err;

	model_until(first_has_left, s);
	while ((err = evr_channel_open(&s->next, peer, "c", EVR_CHANNEL_B, 0))) {
		MODEL_CHECK(err == -EBUSY);
		evr_pause();
	}
	do {
		/* Who has died sends nothing more; what it has sent was not for us. */
		is_dead = model_died(0);
		err = evr_channel_recv(&s->next, &m);
		MODEL_CHECK(!err || err == -EAGAIN || err == -ENOTCONN ||
			    (err == -EOWNERDEAD && model_died(0)));
		evr_pause();
	} while (err && !is_dead);
	if (err)
		return;
	evr_copy_out(&value, m.data, 8);
	/* The first of a session that began after the last one's. */
	MODEL_CHECK((value & 0xff) == 1 && value >> 8);
	evr_channel_release(&s->next, &m);
	s->b_over = true;
}

static void setup_next(void *state)
{
	struct state *s = state;

	setup_met(s);
	s->window = 0;
}

SCENARIO(channel_next) = {
	.name = "channel-next-receiver",
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.procs = { { "sender", send_to_each },
		   { "receiver", recv_and_leave, .immortal = true },
		   { "next", recv_next, .immortal = true } },
	.setup = setup_next,
	.check = { { MODEL_SC, 1, 0, 0 }, { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 1 } },
};

/*
 * A sender that nobody has met dies, or goes after it has shut its direction, and the next
 * one comes: what that sends is received in its own session, as far as it was granted there.
 */
static void shut_and_leave(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	if (model_pick(2)) {
		MODEL_CHECK(!evr_channel_shutdown(&s->b, EVR_SHUT_SEND));
		evr_channel_close(&s->b);
		s->b_over = true;
	} else {
		/* Without a look at who is there, as a close has one. */
		model_detach();
	}
}

static bool last_has_left(void *state)
{
	return ((struct state *)state)->b_over || model_ended(1);
}

static void come_next_and_send(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	int err;

	model_until(last_has_left, s);
	while ((err = evr_channel_open(&s->next, peer, "c", EVR_CHANNEL_B, 0))) {
		MODEL_CHECK(err == -EBUSY);
		evr_pause();
	}
	while (s->sent < s->items) {
		err = send_one(s, &s->next);
		MODEL_CHECK(!err || err == -ENOBUFS || err == -ENOTCONN);
		if (err)
			evr_pause();
	}
}

static void recv_of_each(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	bool is_over;
	int err;

	while (s->received < s->items) {
		err = recv_one(s, &s->a);
		MODEL_CHECK(!err || err == -EAGAIN || err == -ENOTCONN || err == -EPIPE ||
			    err == -EOWNERDEAD);
		/* Who has shut its direction is still there. */
		is_over = last_has_left(s);
		if ((err == -EPIPE || err == -EOWNERDEAD) && evr_channel_forget(&s->a))
			MODEL_CHECK(!is_over);
		if (err)
			evr_pause();
	}
}

static void setup_unmet(void *state)
{
	struct state *s = state;

	make(s, 2, 1);
	MODEL_CHECK(!evr_channel_open(&s->a, model_peer(0), "c", EVR_CHANNEL_A, 0));
	MODEL_CHECK(!evr_channel_open(&s->b, model_peer(1), "c", EVR_CHANNEL_B, 0));
	name_words(s);
}

SCENARIO(channel_next_sender) = {
	.name = "channel-next-sender",
	.flags = MODEL_PEERS_CHANGE,
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.procs = { { "receiver", recv_of_each },
		   { "sender", shut_and_leave },
		   { "next", come_next_and_send } },
	.setup = setup_unmet,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 1 } },
};

/*
 * One comes after the other, each says one thing and goes: of each it is heard, and the end
 * of the one before is not taken for the end of the next.
 */
static bool may_come(void *arg)
{
	struct state *s = arg;

	return s->received == s->sent;
}

static void come_one_by_one(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t value;
	int err;

	while (s->sent < s->items) {
		model_until(may_come, s);
		value = value_of(s);
		/* That the last was forgotten may be seen late. */
		while ((err = evr_channel_open(&s->b, peer, "c", EVR_CHANNEL_B, 0)) == -EBUSY)
			evr_pause();
		MODEL_CHECK(!err);
		s->sent++;
		MODEL_CHECK(!evr_channel_send(&s->b, &value, 8, 0));
		evr_channel_close(&s->b);
	}
}

static void hear_each(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_message m;
	uint64_t value;
	int err;

	while (s->received < s->items) {
		while ((err = evr_channel_recv(&s->a, &m)) == -EAGAIN || err == -ENOTCONN)
			evr_pause();
		MODEL_CHECK(!err);
		evr_copy_out(&value, m.data, 8);
		MODEL_CHECK(value == s->received + 1);
		evr_channel_release(&s->a, &m);
		while ((err = evr_channel_forget(&s->a)) == -EBUSY)
			evr_pause();
		MODEL_CHECK(!err);
		s->received++;
	}
}

static void setup_alone(void *state)
{
	struct state *s = state;

	make(s, 2, 0);
	MODEL_CHECK(!evr_channel_open(&s->a, model_peer(0), "c", EVR_CHANNEL_A, 0));
}

SCENARIO(channel_one_by_one) = {
	.name = "channel-one-by-one",
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.procs = { { "hears", hear_each }, { "each", come_one_by_one } },
	.setup = setup_alone,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 1 }, { MODEL_WEAK, 2, 0, 1 } },
};

/*
 * A sender goes before anybody has looked at what it has sent; who wants its place meanwhile
 * may die with it, and the next comes. What each has sent is heard as its own.
 */
static uint64_t session_of(uint64_t owner)
{
	return owner >> OWNER_SESSION_SHIFT & 0xff;
}

static void say_session(struct evr_channel *ch)
{
	uint64_t value = session_of(channel_self(ch));

	MODEL_CHECK(!evr_channel_send(ch, &value, 8, 0));
}

static void take_between(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	int err = evr_channel_open(&s->next, peer, "c", EVR_CHANNEL_B, 0);

	MODEL_CHECK(!err || err == -EBUSY);
	evr_channel_close(&s->next);
}

static bool between_is_over(void *state)
{
	return model_finished(2) || model_died(2);
}

static void come_after(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	int err;

	model_until(between_is_over, s);
	while ((err = evr_channel_open(&s->b, peer, "c", EVR_CHANNEL_B, 0))) {
		MODEL_CHECK(err == -EBUSY);
		evr_pause();
	}
	say_session(&s->b);
}

static void hear_whose(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_message m;
	uint64_t value;
	int err;

	while (s->received < 2) {
		err = evr_channel_recv(&s->a, &m);
		if (err) {
			MODEL_CHECK(err == -EAGAIN || err == -ENOTCONN || err == -EPIPE ||
				    err == -EOWNERDEAD);
			if (err == -EPIPE || err == -EOWNERDEAD)
				MODEL_CHECK(!evr_channel_forget(&s->a));
			evr_pause();
			continue;
		}
		evr_copy_out(&value, m.data, 8);
		model_note("hears session %llu", (unsigned long long)value);
		/* It may have come between a look that found nobody and the second for messages. */
		evr_channel_state(&s->a);
		MODEL_CHECK(value == session_of(model_peek(&s->a.partner)));
		MODEL_CHECK((value == 1) == !s->received);
		s->received++;
		evr_channel_release(&s->a, &m);
	}
}

static void setup_unheard(void *state)
{
	struct state *s = state;

	setup_alone(s);
	MODEL_CHECK(!evr_channel_open(&s->b, model_peer(1), "c", EVR_CHANNEL_B, 0));
	say_session(&s->b);
	evr_channel_close(&s->b);
	name_words(s);
}

SCENARIO(channel_between) = {
	.name = "channel-dies-between",
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.procs = { { "hears", hear_whose, .immortal = true },
		   { "next", come_after, .immortal = true },
		   { "between", take_between } },
	.setup = setup_unheard,
	.check = { { MODEL_SC, 1, 0, 0 }, { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 2, 1, 0 }, { MODEL_WEAK, 1, 1, 1 } },
};

/* Whatever the other end says: who keeps to the rules reads in bounds, and comes to an end. */
static void scribble(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_a64 *words[] = { &s->b.mine->link,
				    &s->b.mine->past,
				    &s->b.mine->shut,
				    &s->b.mine->credit_messages,
				    (struct evr_a64 *)s->b.tx[0].lane.data,
				    &s->b.tx[0].lane.mine->pos,
				    &s->b.rx[0].lane.mine->pos,
				    s->b.rx[0].lane.owner };

	/* Or of a frame alone, that it is too short for what each begins with. */
	if (model_pick(2))
		model_scribble(words, 8, 1);
	else
		evr_a64_store_release(words[4],
				      model_peek(words[4]) - sizeof(struct channel_header));
}

static void use_or_stop(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_lane *in = &s->a.rx[0].lane;
	struct evr_message m;
	uint64_t value, at;
	uint32_t i;

	for (i = 0; i < 3; i++) {
		evr_channel_send(&s->a, &(uint64_t){ i }, 8, 0);
		if (!evr_channel_recv(&s->a, &m)) {
			at = (uint64_t)((const uint8_t *)m.data - in->data);
			MODEL_CHECK(m.sz <= INLINE_MAX);
			MODEL_CHECK(at < in->geometry.data_sz && m.sz <= in->geometry.data_sz - at);
			if (m.sz >= 8)
				evr_copy_out(&value, (const uint8_t *)m.data + m.sz - 8, 8);
			evr_channel_release(&s->a, &m);
		}
		if (evr_channel_state(&s->a) != EVR_RING_OK)
			evr_channel_forget(&s->a);
	}
	evr_channel_close(&s->a);
}

static void setup_lied_to(void *state)
{
	struct state *s = state;

	setup_met(s);
	MODEL_CHECK(!evr_channel_send(&s->b, &(uint64_t){ 1 }, 8, 0));
	MODEL_CHECK(!evr_channel_send(&s->b, &(uint64_t){ 2 }, 8, 0) || s->window == 1);
}

static void is_reapable(void *state)
{
	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
}

SCENARIO(channel_hostile) = {
	.name = "channel-hostile",
	.state_sz = sizeof(struct state),
	.shared_sz = 16 << 10,
	.procs = { { "user", use_or_stop }, { "hostile", scribble } },
	.setup = setup_lied_to,
	.end = is_reapable,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 } },
};
