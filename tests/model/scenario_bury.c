/* SPDX-License-Identifier: MIT */
/*
 * Blocks that were sent over a channel and not received when both ends are past: they are
 * freed, by whoever comes, and no other is, though its sender, its receiver or its place in
 * the stream cannot be told from theirs.
 */
#include <errno.h>

#include "explore.h"

#include "channel.h"
#include "heap_own.h"

#define BLOCK_SZ 500
#define CAPACITY 1024
#define INLINE_MAX 32
#define HEAPS 3

struct state {
	struct evr_channel a, b, next;
	struct evr_heap heaps[HEAPS], audit;
	struct evr_message block, second; /* of the sender; of who comes next */
	uint64_t kept; /* a handle */
	uint64_t pin; /* a block of the auditor in the sender's slab, that keeps that one */
	bool is_open, is_reaped, is_sent;
};

static void make(struct state *s)
{
	struct evr_heap_options h = { .struct_sz = sizeof(h), .sz = 16 << 10 };
	struct evr_channel_options c = { .struct_sz = sizeof(c),
					 .capacity = CAPACITY,
					 .urgent_capacity = CAPACITY,
					 .inline_max = INLINE_MAX,
					 .heap = "h" };
	uint32_t i;

	MODEL_CHECK(!evr_heap_create(model_auditor(), "h", &h));
	MODEL_CHECK(!evr_heap_open(&s->audit, model_auditor(), "h"));
	MODEL_CHECK(!evr_channel_create(model_auditor(), "c", &c));
	model_name(s->audit.own->map.arenas[0].own, 8 * 4, "own");
	model_name(s->audit.own->map.arenas[0].side, 8 * 32, "side");
	for (i = 0; i < HEAPS; i++)
		if (model_slot_state(i) == EVR_PEER_LIVE)
			MODEL_CHECK(!evr_heap_open(&s->heaps[i], model_peer(i), "h"));
}

static void open_end(struct evr_channel *ch, struct state *s, uint32_t proc,
		     enum evr_channel_role role)
{
	int err;

	while ((err = evr_channel_open(ch, model_peer(proc), "c", role, 0)) == -EBUSY)
		evr_pause();
	MODEL_CHECK(!err);
	MODEL_CHECK(!evr_channel_bind(ch, &s->heaps[proc], &s->heaps[proc]));
}

static void setup(void *state)
{
	struct state *s = state;

	make(s);
	open_end(&s->a, s, 0, EVR_CHANNEL_A);
	open_end(&s->b, s, 1, EVR_CHANNEL_B);
	MODEL_CHECK(evr_channel_state(&s->a) == EVR_RING_OK);
	MODEL_CHECK(evr_channel_state(&s->b) == EVR_RING_OK);
	model_name(s->a.mine, EVR_LINE_SZ, "a.link");
	model_name(s->a.other, EVR_LINE_SZ, "b.link");
	model_name_lane(&s->a.tx[0].lane);
	MODEL_CHECK(!evr_channel_alloc(&s->a, BLOCK_SZ, &s->block));
}

/* What others have written before may be seen late. */
static void meet(struct evr_channel *ch)
{
	while (evr_channel_state(ch) != EVR_RING_OK)
		evr_pause();
}

/* The receiver has closed, just before the sender was to publish the block that it has given to it. */
static void setup_staged(void *state)
{
	struct state *s = state;
	struct channel_header header = { 0 }, *to;
	struct channel_block body = { .sz = BLOCK_SZ };

	setup(s);
	evr_channel_close(&s->b);
	body.handle = s->block.handle;
	to = evr_bytes_reserve(&s->a.tx[CHANNEL_NORMAL], sizeof(header) + sizeof(body));
	evr_copy_in(to, &header, sizeof(header));
	evr_copy_in(to + 1, &body, sizeof(body));
	MODEL_CHECK(!evr_bytes_commit_more(&s->a.tx[CHANNEL_NORMAL], sizeof(header) + sizeof(body),
					   EVR_FRAME_BLOCK));
	MODEL_CHECK(!evr_heap_transfer(&s->heaps[0], body.handle, evr_peer_self(model_peer(1))));
}

/* Of all blocks only what a living one has kept is left. */
static void only_kept_is_left(void *state)
{
	struct evr_heap_usage usage;
	struct state *s = state;

	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	MODEL_CHECK(!s->pin || !evr_heap_free(&s->audit, s->pin));
	evr_heap_usage(&s->audit, &usage);
	MODEL_CHECK(!usage.corrupt);
	MODEL_CHECK(usage.blocks == (s->kept != 0));
	MODEL_CHECK(!s->kept || evr_heap_resolve(&s->audit, s->kept, NULL));
}

static void send_block(struct state *s)
{
	int err = evr_channel_send_message(&s->a, &s->block);

	MODEL_CHECK(!err || err == -EOWNERDEAD || err == -EPIPE ||
		    (err == -ESTALE && model_died(1)));
	if (err && err != -ESTALE)
		MODEL_CHECK(!evr_heap_free(&s->heaps[0], s->block.handle));
}

/* Both close at once. */
static void send_and_close(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	send_block(s);
	evr_channel_close(&s->a);
}

static void close_unread(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	evr_channel_close(&s->b);
}

SCENARIO(bury_both_close) = {
	.name = "bury-both-close",
	.state_sz = sizeof(struct state),
	.shared_sz = 40 << 10,
	.procs = { { "sender", send_and_close }, { "receiver", close_unread } },
	.setup = setup,
	.end = only_kept_is_left,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_SC, 1, 1, 0 }, { MODEL_TSO, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_SC, 2, 1, 0 }, { MODEL_WEAK, 2, 0, 1 } },
};

/*
 * One has closed, the other dies, and the next one takes its endpoint while that is being
 * reaped: whoever of the two is late finds nothing any more, or all of it.
 */
static void end_at_once(struct evr_peer *peer, void *state)
{
	model_detach();
}

static bool sender_ended(void *state)
{
	return model_ended(0);
}

static void come_and_go(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	model_until(sender_ended, s);
	open_end(&s->next, s, 2, EVR_CHANNEL_A);
	evr_channel_close(&s->next);
}

static void reap(struct evr_peer *peer, void *state)
{
	model_until(sender_ended, state);
	MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
}

static void live(struct evr_peer *peer, void *state)
{
}

SCENARIO(bury_next_sender) = {
	.name = "bury-next-sender",
	.flags = MODEL_PEERS_CHANGE,
	.state_sz = sizeof(struct state),
	.shared_sz = 40 << 10,
	.procs = { { "sender", end_at_once, .immortal = true },
		   { "receiver", live, .immortal = true },
		   { "next", come_and_go },
		   { "reaper", reap } },
	.setup = setup_staged,
	.end = only_kept_is_left,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 1, 1, 0 }, { MODEL_WEAK, 1, 0, 1 } },
};

/*
 * A reaper is late: the receiver, who had closed, has come again, and with the next
 * sender; what that sends it gets.
 */
static bool next_is_open(void *state)
{
	return ((struct state *)state)->is_open;
}

static bool is_sent(void *state)
{
	return ((struct state *)state)->is_sent;
}

static void come_again_and_recv(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_message m;

	model_until(sender_ended, s);
	open_end(&s->b, s, 1, EVR_CHANNEL_B);
	s->is_open = true;
	model_until(is_sent, s);
	while (evr_channel_recv(&s->b, &m))
		evr_pause();
	MODEL_CHECK(m.handle == s->second.handle);
	MODEL_CHECK(!evr_channel_keep(&s->b, &m));
	s->kept = m.handle;
}

static void send_next(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	model_until(next_is_open, s);
	open_end(&s->next, s, 2, EVR_CHANNEL_A);
	meet(&s->next);
	MODEL_CHECK(!evr_channel_send_message(&s->next, &s->second));
	s->is_sent = true;
}

static void setup_late(void *state)
{
	struct state *s = state;
	struct evr_block block;

	setup_staged(s);
	block = evr_heap_alloc(&s->heaps[2], BLOCK_SZ);
	MODEL_CHECK(block.ptr);
	s->second = (struct evr_message){ .handle = block.handle,
					  .sz = BLOCK_SZ,
					  .kind = EVR_FRAME_BLOCK };
}

SCENARIO(bury_late_reaper) = {
	.name = "bury-late-reaper",
	.flags = MODEL_PEERS_CHANGE,
	.state_sz = sizeof(struct state),
	.shared_sz = 40 << 10,
	.procs = { { "sender", end_at_once, .immortal = true },
		   { "receiver", come_again_and_recv, .immortal = true },
		   { "next", send_next, .immortal = true },
		   { "reaper", reap } },
	.setup = setup_late,
	.end = only_kept_is_left,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_WEAK, 1, 0, 1 } },
};

/* A block that a dead receiver was refused goes to the next one in another way, before its sender dies. */
static bool first_ended(void *state)
{
	return model_ended(1);
}

static void refuse_and_hand_over(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	model_until(first_ended, s);
	MODEL_CHECK(evr_channel_send_message(&s->a, &s->block) == -EOWNERDEAD);
	MODEL_CHECK(!evr_channel_forget(&s->a));
	s->is_sent = true;
	model_until(next_is_open, s);
	meet(&s->a);
	MODEL_CHECK(
		!evr_heap_transfer(&s->heaps[0], s->block.handle, evr_peer_self(model_peer(2))));
	model_detach();
}

static void let_go_and_accept(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	model_until(is_sent, s);
	open_end(&s->next, s, 2, EVR_CHANNEL_B);
	s->is_open = true;
	model_until(sender_ended, s);
	if (model_pick(2))
		MODEL_CHECK(!evr_channel_forget(&s->next));
	evr_channel_close(&s->next);
	MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
	MODEL_CHECK(!evr_heap_accept(&s->heaps[2], s->block.handle));
	s->kept = s->block.handle;
}

SCENARIO(bury_refused) = {
	.name = "bury-refused",
	.flags = MODEL_PEERS_CHANGE,
	.state_sz = sizeof(struct state),
	.shared_sz = 40 << 10,
	.procs = { { "sender", refuse_and_hand_over, .immortal = true },
		   { "receiver", end_at_once, .immortal = true },
		   { "next", let_go_and_accept, .immortal = true } },
	.setup = setup,
	.end = only_kept_is_left,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_WEAK, 1, 0, 1 } },
};

/*
 * The receiver's stamp has come again, 256 peers later, and so has the block's
 * generation: what is on its way to that one stays.
 */
static bool is_reaped(void *state)
{
	return ((struct state *)state)->is_reaped;
}

static void send_and_die(struct evr_peer *peer, void *state)
{
	send_block(state);
	model_detach();
}

static void close_and_end(struct evr_peer *peer, void *state)
{
	close_unread(peer, state);
	model_detach();
}

static void come_again(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct heap_map *map = &s->audit.own->map;
	struct evr_peer_id id;
	struct heap_block b;
	uint64_t u_ctl;

	model_until(is_reaped, s);
	model_age(1, 255);
	MODEL_CHECK(model_attach(1));
	id = evr_peer_self(peer);
	MODEL_CHECK(!heap_block_load(map, heap_handle_off(s->block.handle), true, &b, &u_ctl));
	MODEL_CHECK(heap_stamp(id) == heap_stamp(owner_id(s->b.rx[0].lane.held)));
	MODEL_CHECK(evr_heap_touch(map, b.arena, b.head, id));
	evr_a64_store_release(b.ctl,
			      heap_ctl(s->block.handle, heap_stamp(id), map->me, TAG_INFLIGHT));
	s->is_sent = true;
}

static void reap_twice(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	model_until(sender_ended, s);
	model_until(first_ended, s);
	MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
	s->is_reaped = true;
	model_until(is_sent, s);
	MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
	s->kept = s->block.handle;
}

static void setup_pinned(void *state)
{
	struct state *s = state;
	struct evr_block block;

	setup(s);
	block = evr_heap_alloc(&s->heaps[0], BLOCK_SZ);
	MODEL_CHECK(block.ptr);
	s->pin = block.handle;
	MODEL_CHECK(!evr_heap_transfer(&s->heaps[0], s->pin, evr_peer_self(model_auditor())));
	MODEL_CHECK(!evr_heap_accept(&s->audit, s->pin));
}

SCENARIO(bury_stamp_again) = {
	.name = "bury-stamp-again",
	.flags = MODEL_PEERS_CHANGE,
	.state_sz = sizeof(struct state),
	.shared_sz = 40 << 10,
	.procs = { { "sender", send_and_die, .immortal = true },
		   { "receiver", close_and_end, .immortal = true },
		   { "again", come_again, .immortal = true, .absent = true },
		   { "reaper", reap_twice, .immortal = true } },
	.setup = setup_pinned,
	.end = only_kept_is_left,
	.check = { { MODEL_SC, 1, 0, 0 } },
};
