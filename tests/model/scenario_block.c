/* SPDX-License-Identifier: MIT */
/*
 * Blocks over a channel: each that was sent is received once, recovered once or freed by
 * who is left, whoever dies at any access, closes, or follows; none is freed twice, and at
 * the end every granule is free but for those whose blocks the living have kept.
 * The sender has allocated the blocks before; block n begins with n + 1.
 */
#include <errno.h>

#include "sends.h"

#include "channel.h"
#include "heap_own.h"

#define BLOCK_SZ 500
#define CAPACITY 1024
#define INLINE_MAX 32
#define BLOCKS 2

struct state {
	struct evr_channel a, b, next;
	struct evr_heap heaps[3], audit;
	struct evr_waiter waiters[3];
	struct evr_message blocks[BLOCKS]; /* to be sent */
	uint32_t items;
	uint32_t sent; /* by calls that came back */
	uint32_t got[BLOCKS]; /* times that it was received */
	uint32_t got_by[BLOCKS]; /* the process that has received it last */
	uint32_t session, session_of[BLOCKS]; /* of the sender's, in which it was sent */
	uint64_t kept[3][BLOCKS]; /* handles, by process */
	int a_end, b_end; /* what the last call of each said */
	bool b_over, next_over; /* that receiver has closed */
};

static void make(struct state *s, uint32_t items)
{
	struct evr_heap_options h = { .struct_sz = sizeof(h), .sz = 16 << 10 };
	struct evr_channel_options c = { .struct_sz = sizeof(c),
					 .capacity = CAPACITY,
					 .urgent_capacity = CAPACITY,
					 .inline_max = INLINE_MAX,
					 .heap = "h" };
	uint32_t i;

	s->items = items;
	MODEL_CHECK(!evr_heap_create(model_auditor(), "h", &h));
	MODEL_CHECK(!evr_heap_open(&s->audit, model_auditor(), "h"));
	MODEL_CHECK(!evr_channel_create(model_auditor(), "c", &c));
	for (i = 0; i < 3; i++) {
		MODEL_CHECK(!evr_heap_open(&s->heaps[i], model_peer(i), "h"));
		MODEL_CHECK(!evr_waiter_init(&s->waiters[i], model_peer(i), EVR_WAIT_SLEEP));
	}
	model_name(s->audit.own->map.arenas[0].own, 8 * 4, "own");
	model_name(s->audit.own->map.arenas[0].side, 8 * 32, "side");
	model_name(s->audit.own->map.arenas[0].touched, 8 * 5, "touched");
}

static void open_end(struct evr_channel *ch, struct state *s, uint32_t proc,
		     enum evr_channel_role role)
{
	MODEL_CHECK(!evr_channel_open(ch, model_peer(proc), "c", role, 0));
	MODEL_CHECK(!evr_channel_bind(ch, &s->heaps[proc], &s->heaps[proc]));
}

static void open_both(struct state *s)
{
	open_end(&s->a, s, 0, EVR_CHANNEL_A);
	open_end(&s->b, s, 1, EVR_CHANNEL_B);
	MODEL_CHECK(evr_channel_state(&s->a) == EVR_RING_OK);
	MODEL_CHECK(evr_channel_state(&s->b) == EVR_RING_OK);
	model_name(s->a.mine, EVR_LINE_SZ, "a.link");
	model_name(s->a.other, EVR_LINE_SZ, "b.link");
	model_name_lane(&s->a.tx[0].lane);
}

static void fill(struct state *s)
{
	uint64_t i, value;

	for (i = 0; i < s->items; i++) {
		value = i + 1;
		MODEL_CHECK(!evr_channel_alloc(&s->a, BLOCK_SZ, &s->blocks[i]));
		evr_copy_in(s->blocks[i].data, &value, 8);
	}
}

static uint32_t kept_by(const struct state *s, uint32_t proc)
{
	uint32_t i, nr = 0;

	for (i = 0; i < BLOCKS; i++)
		nr += s->kept[proc][i] != 0;
	return nr;
}

/* It has arrived, and is no longer on its way; it goes with its message, or is kept. */
static void take(struct state *s, uint32_t proc, struct evr_channel *ch, struct evr_message *m)
{
	struct evr_block_info info;
	uint64_t value;

	MODEL_CHECK(m->kind == EVR_FRAME_BLOCK && m->sz == BLOCK_SZ);
	evr_copy_out(&value, m->data, 8);
	MODEL_CHECK(value >= 1 && value <= s->items);
	MODEL_CHECK(m->handle == s->blocks[value - 1].handle);
	MODEL_CHECK(!s->got[value - 1]++);
	s->got_by[value - 1] = proc;
	MODEL_CHECK(!evr_heap_info(&s->heaps[proc], m->handle, &info));
	MODEL_CHECK(info.state == EVR_BLOCK_LIVE && info.owner == proc);
	if (model_pick(2)) {
		evr_channel_release(ch, m);
		return;
	}
	MODEL_CHECK(!evr_channel_keep(ch, m));
	s->kept[proc][value - 1] = m->handle;
}

/* -ESTALE: the receiver was reaped while the block was given to it. */
static bool is_over(int err)
{
	return err == -EOWNERDEAD || err == -EPIPE || (err == -ESTALE && model_died(1));
}

/* What was not sent is still the sender's, save the one that went with the receiver. */
static void free_unsent(struct state *s)
{
	uint32_t i;
	int err;

	for (i = s->sent; i < s->items; i++) {
		err = evr_heap_free(&s->heaps[0], s->blocks[i].handle);
		MODEL_CHECK(err == (i == s->sent && s->a_end == -ESTALE ? -ESTALE : 0));
	}
}

/* What was sent was received, or comes back. */
static void send_all(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	s->a_end = send_rest(&s->a, &s->waiters[0], s->blocks, s->items, &s->sent);
	MODEL_CHECK(!s->a_end || is_over(s->a_end));
	evr_channel_close(&s->a);
	free_unsent(s);
}

static void recv_to_end(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_message m;

	for (;;) {
		s->b_end = evr_channel_recv_wait(&s->b, &s->waiters[1], &m, EVR_NO_DEADLINE);
		if (s->b_end)
			break;
		take(s, 1, &s->b, &m);
	}
	MODEL_CHECK(s->b_end == -EOWNERDEAD || s->b_end == -EPIPE);
	/* Who stays for the next one has nothing left of this one. */
	if (model_pick(2))
		evr_channel_close(&s->b);
	else
		MODEL_CHECK(!evr_channel_forget(&s->b));
}

/* All is settled, twice; who lives has what it has kept, and when that is freed nothing is left. */
static void books_are_right(void *state)
{
	struct state *s = state;
	struct evr_reap_report again = { 0 };
	struct evr_heap_usage usage;
	uint32_t i, j, kept = 0;

	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	MODEL_CHECK(evr_reap_dead(model_auditor(), &again) == 0);
	MODEL_CHECK(!again.blocks);
	for (i = 0; i < 3; i++)
		kept += model_ended(i) ? 0 : kept_by(s, i);
	/* Nobody has to call evr_heap_settle(): the channel has done it. */
	evr_heap_usage(&s->audit, &usage);
	MODEL_CHECK(usage.blocks == kept);
	MODEL_CHECK(!usage.corrupt);
	for (i = 0; i < 3; i++) {
		for (j = 0; j < BLOCKS && !model_ended(i); j++)
			if (s->kept[i][j])
				MODEL_CHECK(!evr_heap_free(&s->heaps[i], s->kept[i][j]));
		if (!model_ended(i))
			evr_heap_close(&s->heaps[i]);
	}
	evr_heap_trim(&s->audit);
	evr_heap_usage(&s->audit, &usage);
	MODEL_CHECK(!usage.blocks && !usage.orphans && usage.bytes_free == usage.bytes_max);
}

static void all_arrived(void *state)
{
	struct state *s = state;
	uint32_t i;

	for (i = 0; i < s->items && !model_crashes(); i++)
		MODEL_CHECK(s->got[i] == 1);
	/* What was sent is delivered, however the sender ended. */
	for (i = 0; i < s->sent && !model_died(1); i++)
		MODEL_CHECK(s->got[i] == 1);
	books_are_right(s);
}

static void setup_two(void *state)
{
	make(state, 2);
	open_both(state);
	fill(state);
}

static void setup_one(void *state)
{
	make(state, 1);
	open_both(state);
	fill(state);
}

SCENARIO(block_send_recv) = {
	.name = "block-send-recv",
	.state_sz = sizeof(struct state),
	.shared_sz = 40 << 10,
	.procs = { { "sender", send_all }, { "receiver", recv_to_end } },
	.setup = setup_two,
	.end = all_arrived,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 },
		    { MODEL_TSO, 2, 0, 2 },
		    { MODEL_WEAK, 2, 0, 2, .sample = 4 } },
};

SCENARIO(block_dies) = {
	.name = "block-dies",
	.state_sz = sizeof(struct state),
	.shared_sz = 40 << 10,
	.procs = { { "sender", send_all }, { "receiver", recv_to_end } },
	.setup = setup_one,
	.end = all_arrived,
	.check = { { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 2, 1, 0 },
		    { MODEL_SC, 1, 2, 0, .sample = 2 },
		    { MODEL_WEAK, 1, 1, 1 } },
};

/* A receiver that goes before all has come: the rest comes back, or is freed by who reaps the sender. */
static void recv_once_and_close(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_message m;
	int err;

	err = evr_channel_recv(&s->b, &m);
	if (!err)
		take(s, 1, &s->b, &m);
	evr_channel_close(&s->b);
	s->b_over = true;
}

static void send_and_let_go(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_channel_counts counts;
	uint64_t over;

	s->a_end = send_rest(&s->a, &s->waiters[0], s->blocks, s->items, &s->sent);
	MODEL_CHECK(!s->a_end || is_over(s->a_end));
	if (s->a_end) {
		MODEL_CHECK(!evr_channel_forget(&s->a));
		evr_channel_counts(&s->a, &counts);
		MODEL_CHECK(counts.ends[0].sent == s->sent);
		over = counts.ends[1].received + counts.ends[0].recovered + counts.ends[0].lost;
		MODEL_CHECK(over == s->sent || (model_crashes() && over < s->sent));
	}
	evr_channel_close(&s->a);
	free_unsent(s);
}

SCENARIO(block_closes) = {
	.name = "block-closes",
	.state_sz = sizeof(struct state),
	.shared_sz = 40 << 10,
	.procs = { { "sender", send_and_let_go }, { "receiver", recv_once_and_close } },
	.setup = setup_one,
	.end = books_are_right,
	.check = { { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_SC, 2, 1, 0 }, { MODEL_WEAK, 1, 1, 1 } },
};

/* A third one reaps while those who are left recover. */
static bool somebody_ended(void *state)
{
	return model_ended(0) || model_ended(1) || (model_finished(0) && model_finished(1));
}

static void reap(struct evr_peer *peer, void *state)
{
	model_until(somebody_ended, state);
	MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
}

SCENARIO(block_reaped) = {
	.name = "block-reaped",
	.state_sz = sizeof(struct state),
	.shared_sz = 40 << 10,
	.procs = { { "sender", send_and_let_go },
		   { "receiver", recv_once_and_close },
		   { "reaper", reap, .immortal = true } },
	.setup = setup_one,
	.end = books_are_right,
	.longer = { { MODEL_SC, 1, 1, 0, .sample = 2 },
		    { MODEL_SC, 2, 1, 0, .sample = 5 },
		    { MODEL_SC, 1, 2, 0, .sample = 6 },
		    { MODEL_WEAK, 1, 1, 1, .sample = 2 } },
};

/* What does not fit in a frame is copied into a block by the send itself. */
static void send_copy(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint8_t data[BLOCK_SZ] = { 1 };
	struct evr_message m = { .data = data, .sz = sizeof(data) };

	s->a_end = evr_channel_send_wait(&s->a, &s->waiters[0], &m, EVR_NO_DEADLINE);
	MODEL_CHECK(!s->a_end || s->a_end == -EOWNERDEAD || s->a_end == -EPIPE);
	s->sent += !s->a_end;
	evr_channel_close(&s->a);
}

static void recv_copy(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_message m;

	s->b_end = evr_channel_recv_wait(&s->b, &s->waiters[1], &m, EVR_NO_DEADLINE);
	if (!s->b_end) {
		s->blocks[0].handle = m.handle;
		take(s, 1, &s->b, &m);
	}
	evr_channel_close(&s->b);
}

static void setup_copy(void *state)
{
	make(state, 1);
	open_both(state);
}

SCENARIO(block_copy) = {
	.name = "block-copy-dies",
	.state_sz = sizeof(struct state),
	.shared_sz = 40 << 10,
	.procs = { { "sender", send_copy }, { "receiver", recv_copy } },
	.setup = setup_copy,
	.end = all_arrived,
	.check = { { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 2, 1, 0 },
		    { MODEL_SC, 1, 2, 0, .sample = 3 },
		    { MODEL_WEAK, 1, 1, 1 } },
};

SCENARIO(block_copy_reaped) = {
	.name = "block-copy-reaped",
	.state_sz = sizeof(struct state),
	.shared_sz = 40 << 10,
	.procs = { { "sender", send_copy, .immortal = true },
		   { "receiver", recv_copy },
		   { "reaper", reap, .immortal = true } },
	.setup = setup_copy,
	.end = all_arrived,
	.longer = { { MODEL_SC, 1, 1, 0 }, { MODEL_SC, 2, 1, 0, .sample = 6 } },
};

/* The next receiver comes as soon as it may: what was sent to the last one it does not receive. */
static bool next_is_over(const struct state *s)
{
	return s->next_over || model_ended(2);
}

static void send_to_each(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	int err;

	while (!next_is_over(s)) {
		err = s->sent < s->items ? evr_channel_send_message(&s->a, &s->blocks[s->sent]) :
					   evr_channel_error(evr_channel_state(&s->a));
		MODEL_CHECK(!err || err == -EPIPE || err == -EOWNERDEAD || err == -ENOTCONN ||
			    err == -EOPNOTSUPP);
		if (!err && s->sent < s->items) {
			s->session_of[s->sent++] = s->session;
			continue;
		}
		if ((err == -EPIPE || err == -EOWNERDEAD) && !evr_channel_forget(&s->a))
			s->session++;
		evr_pause();
	}
	evr_channel_close(&s->a);
	for (; s->sent < s->items; s->sent++)
		MODEL_CHECK(!evr_heap_free(&s->heaps[0], s->blocks[s->sent].handle));
}

static bool first_is_over(void *state)
{
	return ((struct state *)state)->b_over || model_ended(1);
}

static void recv_next(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_message m;
	int err;

	model_until(first_is_over, s);
	while ((err = evr_channel_open(&s->next, peer, "c", EVR_CHANNEL_B, 0))) {
		MODEL_CHECK(err == -EBUSY);
		evr_pause();
	}
	MODEL_CHECK(!evr_channel_bind(&s->next, NULL, &s->heaps[2]));
	err = evr_channel_recv(&s->next, &m);
	if (!err)
		take(s, 2, &s->next, &m);
	evr_channel_close(&s->next);
	s->next_over = true;
}

/* Each received what was sent to it. */
static void none_went_astray(void *state)
{
	struct state *s = state;
	uint32_t i;

	for (i = 0; i < s->items; i++)
		if (s->got[i] && i < s->sent)
			MODEL_CHECK((s->got_by[i] == 2) == (s->session_of[i] > 0));
	books_are_right(s);
}

SCENARIO(block_next) = {
	.name = "block-next-receiver",
	.state_sz = sizeof(struct state),
	.shared_sz = 40 << 10,
	.procs = { { "sender", send_to_each },
		   { "receiver", recv_once_and_close },
		   { "next", recv_next } },
	.setup = setup_two,
	.end = none_went_astray,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_SC, 1, 1, 0 }, { MODEL_WEAK, 1, 0, 1 } },
};
