/* SPDX-License-Identifier: MIT */
/*
 * Channels of two halves, in an isolated segment: who comes is met, whoever comes first; what
 * was sent is received once, in order; a block on loan is back with its owner once it was
 * given back, or when the session is over, whoever dies; and what the other half says harms
 * nobody. Message n, and block n, hold n + 1.
 */
#include <errno.h>

#include "sends.h"

#include "channel_far.h"
#include "heap_own.h"

#define BLOCK_SZ 500
#define CAPACITY 1024
#define INLINE_MAX 32
#define HEAP_SZ (16U << 10)
#define REGION_SZ (32U << 10) /* a directory, a half, a heap */
#define BLOCKS 2

struct state {
	struct evr_channel a, b, next;
	struct evr_heap heap; /* of A */
	struct evr_waiter waiters[2];
	struct evr_message blocks[BLOCKS];
	uint32_t items, sent, received;
	int a_end, b_end; /* what the last call of each said */
	bool a_over, b_over;
};

static void make_half(struct evr_peer *peer, const char *heap)
{
	struct evr_channel_options c = { .struct_sz = sizeof(c),
					 .capacity = CAPACITY,
					 .urgent_capacity = CAPACITY,
					 .inline_max = INLINE_MAX,
					 .heap = heap };

	MODEL_CHECK(!evr_channel_create(peer, "c", &c));
}

static void make(struct state *s, uint32_t items)
{
	struct evr_heap_options h = { .struct_sz = sizeof(h), .sz = HEAP_SZ };
	uint32_t i;

	s->items = items;
	MODEL_CHECK(!evr_heap_create(model_peer(0), "h", &h));
	MODEL_CHECK(!evr_heap_open(&s->heap, model_peer(0), "h"));
	for (i = 0; i < 2; i++) {
		make_half(model_peer(i), "h");
		MODEL_CHECK(!evr_waiter_init(&s->waiters[i], model_peer(i), EVR_WAIT_SLEEP));
	}
}

static void name_half(const struct evr_channel *ch, bool is_a)
{
	model_name(ch->mine, EVR_LINE_SZ, is_a ? "a.link" : "b.link");
	model_name(&ch->mine->credit_messages, EVR_LINE_SZ, is_a ? "a.credit" : "b.credit");
	model_name(ch->far->loans, 512, is_a ? "a.returned" : "b.returned");
	model_name(ch->far->loans->lent, 512, is_a ? "a.lent" : "b.lent");
	model_name(ch->rx[0].lane.owner, 8, is_a ? "a.owner" : "b.owner");
}

static void setup_met(void *state)
{
	struct state *s = state;
	uint64_t i, value;

	make(s, BLOCKS);
	MODEL_CHECK(!evr_channel_open(&s->a, model_peer(0), "c", EVR_CHANNEL_A, 0));
	MODEL_CHECK(!evr_channel_bind(&s->a, &s->heap, NULL));
	MODEL_CHECK(!evr_channel_open(&s->b, model_peer(1), "c", EVR_CHANNEL_B, 0));
	name_half(&s->a, true);
	name_half(&s->b, false);
	evr_channel_state(&s->a);
	MODEL_CHECK(evr_channel_state(&s->b) == EVR_RING_OK);
	MODEL_CHECK(evr_channel_state(&s->a) == EVR_RING_OK);
	for (i = 0; i < s->items; i++) {
		value = i + 1;
		MODEL_CHECK(!evr_channel_alloc(&s->a, BLOCK_SZ, &s->blocks[i]));
		evr_copy_in(s->blocks[i].data, &value, 8);
	}
}

static void setup_met_one(void *state)
{
	struct state *s = state;

	setup_met(s);
	s->items = 1;
	MODEL_CHECK(!evr_heap_free(&s->heap, s->blocks[1].handle));
}

static uint64_t blocks_of_a(struct state *s)
{
	struct evr_heap_usage usage;

	evr_heap_usage(&s->heap, &usage);
	MODEL_CHECK(!usage.corrupt);
	return usage.blocks;
}

static uint32_t lent_by_a(const struct state *s)
{
	uint32_t i, nr = 0;

	for (i = 0; i < EVR_CHANNEL_LENT; i++)
		nr += s->a.far->lent[i] != 0;
	return nr;
}

/* Until all that was lent is back. */
static void lend_all(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (s->sent < s->items) {
		MODEL_CHECK(!evr_channel_send_message(&s->a, &s->blocks[s->sent]));
		s->sent++;
	}
	while (lent_by_a(s)) {
		MODEL_CHECK(evr_channel_collect(&s->a) >= 0);
		evr_pause();
	}
	MODEL_CHECK(!blocks_of_a(s));
}

static void read_block(struct state *s, struct evr_message *m)
{
	uint64_t value;

	MODEL_CHECK(m->kind == EVR_FRAME_BLOCK && m->sz == BLOCK_SZ);
	evr_copy_out(&value, m->data, 8);
	MODEL_CHECK(value == s->received + 1);
	s->received++;
}

static void borrow_all(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t kept = 0;
	struct evr_message m;

	while (s->received < s->items) {
		if (evr_channel_recv(&s->b, &m)) {
			evr_pause();
			continue;
		}
		read_block(s, &m);
		if (!kept && model_pick(2)) {
			kept = m.handle;
			MODEL_CHECK(!evr_channel_keep(&s->b, &m));
		} else {
			evr_channel_release(&s->b, &m);
		}
	}
	if (kept)
		MODEL_CHECK(!evr_channel_give_back(&s->b, kept));
	MODEL_CHECK(!kept || evr_channel_give_back(&s->b, kept) == -ESTALE);
}

SCENARIO(halves_loan) = {
	.name = "halves-loan",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "lender", lend_all }, { "borrower", borrow_all } },
	.setup = setup_met,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 2 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* Either dies: what is on loan of a borrower that died is its owner's again. */
static void lend_to_end(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	s->a_end = send_rest(&s->a, &s->waiters[0], s->blocks, s->items, &s->sent);
	MODEL_CHECK(!s->a_end || s->a_end == -EPIPE || s->a_end == -EOWNERDEAD);
	while (lent_by_a(s) && evr_channel_state(&s->a) == EVR_RING_OK) {
		MODEL_CHECK(evr_channel_collect(&s->a) >= 0);
		evr_pause();
	}
	if (evr_channel_state(&s->a) != EVR_RING_OK)
		MODEL_CHECK(!evr_channel_forget(&s->a));
	evr_channel_close(&s->a);
	for (; s->sent < s->items; s->sent++)
		MODEL_CHECK(!evr_heap_free(&s->heap, s->blocks[s->sent].handle));
	s->a_over = true;
}

/* With one block it keeps it until the end. */
static void borrow_to_end(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_message m;

	s->b_end = evr_channel_recv_wait(&s->b, &s->waiters[1], &m, EVR_NO_DEADLINE);
	if (!s->b_end) {
		read_block(s, &m);
		if (model_pick(2))
			evr_channel_release(&s->b, &m);
	}
	MODEL_CHECK(!s->b_end || s->b_end == -EPIPE || s->b_end == -EOWNERDEAD);
	evr_channel_close(&s->b);
	s->b_over = true;
}

static void all_is_back(void *state)
{
	struct state *s = state;

	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) == 0);
	MODEL_CHECK(model_died(0) || s->a_over);
	MODEL_CHECK(model_died(1) || s->b_over);
	if (!model_died(0))
		MODEL_CHECK(!blocks_of_a(s));
	if (!model_crashes())
		MODEL_CHECK(s->received == 1);
}

SCENARIO(halves_dies) = {
	.name = "halves-dies",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "lender", lend_to_end }, { "borrower", borrow_to_end } },
	.setup = setup_met_one,
	.end = all_is_back,
	.check = { { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 2, 1, 0 },
		    { MODEL_SC, 1, 2, 0, .sample = 2 },
		    { MODEL_WEAK, 1, 1, 1 } },
};

/* Who has given all back ends at once: it is drained all the same. */
static void lend_and_drain(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	s->a_end = evr_channel_send_message(&s->a, &s->blocks[0]);
	if (!s->a_end)
		s->a_end = evr_channel_drain_wait(&s->a, &s->waiters[0], EVR_NO_DEADLINE);
	s->a_over = true;
}

static void borrow_and_end(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_message m;

	while (evr_channel_recv(&s->b, &m))
		evr_pause();
	read_block(s, &m);
	evr_channel_release(&s->b, &m);
	s->b_over = true;
	if (model_pick(2))
		evr_channel_close(&s->b);
	else
		MODEL_CHECK(!evr_channel_shutdown(&s->b, EVR_SHUT_RECV));
}

static void was_drained(void *state)
{
	struct state *s = state;

	MODEL_CHECK(s->a_over);
	MODEL_CHECK(s->b_over ? !s->a_end : !s->a_end || s->a_end == -EOWNERDEAD);
}

SCENARIO(halves_drain) = {
	.name = "halves-drain",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "lender", lend_and_drain, .immortal = true }, { "borrower", borrow_and_end } },
	.setup = setup_met_one,
	.end = was_drained,
	.check = { { MODEL_SC, 1, 1, 0 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 2, 1, 0 }, { MODEL_TSO, 2, 0, 1 }, { MODEL_WEAK, 1, 1, 1 } },
};

/* Nobody has met: each comes, sends or sleeps, and goes. */
static void come_and_send(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_message m = { .sz = 8 };
	uint64_t value;

	MODEL_CHECK(!evr_channel_open(&s->a, peer, "c", EVR_CHANNEL_A, 0));
	while (!s->a_end && s->sent < s->items) {
		value = s->sent + 1;
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
	uint64_t value;

	MODEL_CHECK(!evr_channel_open(&s->b, peer, "c", EVR_CHANNEL_B, 0));
	for (;;) {
		s->b_end = evr_channel_recv_wait(&s->b, &s->waiters[1], &m, EVR_NO_DEADLINE);
		if (s->b_end)
			break;
		evr_copy_out(&value, m.data, 8);
		MODEL_CHECK(m.sz == 8 && value == s->received + 1);
		s->received++;
		evr_channel_release(&s->b, &m);
	}
	evr_channel_close(&s->b);
	s->b_over = true;
}

static void setup_apart(void *state)
{
	make(state, 1);
}

static void both_were_told(void *state)
{
	struct state *s = state;

	MODEL_CHECK(!s->a_end && s->b_end == -EPIPE && s->received == s->items);
}

SCENARIO(halves_meet) = {
	.name = "halves-meet",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "sender", come_and_send }, { "receiver", come_and_recv } },
	.setup = setup_apart,
	.end = both_were_told,
	.check = { { MODEL_SC, 1, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 2, 0, 1 }, { MODEL_WEAK, 2, 0, 1 } },
};

/* Who is left has met nobody, or is told. */
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
	}
	if (model_died(1) && !model_died(0))
		MODEL_CHECK(s->a_over || !model_peek(&s->a.partner));
}

SCENARIO(halves_meet_dies) = {
	.name = "halves-meet-dies",
	.flags = MODEL_ISOLATED | MODEL_MAY_SLEEP,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "sender", come_and_send }, { "receiver", come_and_recv } },
	.setup = setup_apart,
	.end = left_one_knows,
	.longer = { { MODEL_SC, 1, 1, 0 },
		    { MODEL_SC, 2, 1, 0, .sample = 4 },
		    { MODEL_WEAK, 1, 1, 1, .sample = 3 } },
};

/* Whatever a borrower says: the lender comes to an end, and has its blocks when the session is over. */
static void scribble_borrower(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_channel_end *end = s->b.mine;
	struct evr_a64 *words[] = { &end->link,
				    &end->shut,
				    &end->credit_messages,
				    &end->returned,
				    &s->b.far->loans->returned[0],
				    &s->b.far->loans->returned[1],
				    &s->b.rx[0].lane.mine->pos,
				    s->b.rx[0].lane.owner };

	model_scribble(words, 8, 1);
}

static void lend_or_stop(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t i;
	int err;

	for (i = 0; i < 3; i++) {
		err = s->sent < s->items ? evr_channel_send_message(&s->a, &s->blocks[s->sent]) :
					   -EAGAIN;
		s->sent += !err;
		evr_channel_collect(&s->a);
		MODEL_CHECK(lent_by_a(s) <= s->sent);
		if (evr_channel_state(&s->a) != EVR_RING_OK)
			evr_channel_forget(&s->a);
	}
	evr_channel_close(&s->a);
}

/* A borrower that lives and lets nobody follow still has what it has. */
static void lender_has_all(void *state)
{
	struct state *s = state;
	int err = evr_channel_open(&s->next, model_peer(0), "c", EVR_CHANNEL_A, 0);

	MODEL_CHECK(!err || err == -EBUSY);
	MODEL_CHECK(blocks_of_a(s) <= s->items);
	if (err)
		return;
	MODEL_CHECK(!evr_channel_bind(&s->next, &s->heap, NULL));
	MODEL_CHECK(blocks_of_a(s) == s->items - s->sent);
	for (; s->sent < s->items; s->sent++)
		MODEL_CHECK(!evr_heap_free(&s->heap, s->blocks[s->sent].handle));
}

SCENARIO(halves_hostile_borrower) = {
	.name = "halves-hostile-borrower",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "lender", lend_or_stop }, { "hostile", scribble_borrower } },
	.setup = setup_met_one,
	.end = lender_has_all,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 } },
};

/* Whatever a lender says, of its frame, its block or its heap: the borrower reads in bounds, and ends. */
static void scribble_lender(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint8_t *data = s->a.tx[0].lane.data;
	struct heap_arena *arena = &s->heap.own->map.arenas[0];
	struct evr_a64 *words[] = { (struct evr_a64 *)data,
				    (struct evr_a64 *)(data + 8),
				    (struct evr_a64 *)(data + 32),
				    (struct evr_a64 *)(data + 40),
				    arena->own,
				    &s->a.tx[0].lane.mine->pos,
				    &s->a.mine->link,
				    s->a.rx[0].lane.owner };

	model_scribble(words, 8, 1);
}

static void borrow_or_stop(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_message m;
	uint64_t value;
	uint32_t i;

	for (i = 0; i < 3; i++) {
		if (!evr_channel_recv(&s->b, &m)) {
			MODEL_CHECK(m.data);
			if (m.sz >= 8) {
				evr_copy_out(&value, m.data, 8);
				evr_copy_out(&value, (uint8_t *)m.data + m.sz - 8, 8);
			}
			evr_channel_release(&s->b, &m);
		}
		if (evr_channel_state(&s->b) != EVR_RING_OK)
			evr_channel_forget(&s->b);
	}
	evr_channel_close(&s->b);
}

static void setup_lent(void *state)
{
	struct state *s = state;

	setup_met_one(s);
	MODEL_CHECK(!evr_channel_send_message(&s->a, &s->blocks[0]));
}

SCENARIO(halves_hostile_lender) = {
	.name = "halves-hostile-lender",
	.flags = MODEL_ISOLATED,
	.state_sz = sizeof(struct state),
	.peer_sz = REGION_SZ,
	.procs = { { "hostile", scribble_lender }, { "borrower", borrow_or_stop } },
	.setup = setup_lent,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 } },
};
