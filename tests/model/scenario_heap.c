/* SPDX-License-Identifier: MIT */
/*
 * Heaps: a block is delivered or freed, once, whoever dies; granules come back; nobody
 * is given what another still has. The heap has a few granules, and the handles were
 * opened before, so that what is explored are the steps that matter.
 */
#include <errno.h>
#include <string.h>

#include "explore.h"
#include "heaps.h"

static bool somebody_ended(void *state)
{
	uint32_t i;

	for (i = 0; i < 2; i++)
		if (!model_ended(i) && !model_finished(i))
			return false;
	return true;
}

static void reap(struct evr_peer *peer, void *state)
{
	model_until(somebody_ended, state);
	MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
}

/* Reaps as soon as anybody has died, while the others are at work. */
static bool anybody_ended(void *state)
{
	return model_ended(0) || model_ended(1) || (model_finished(0) && model_finished(1));
}

static void reap_early(struct evr_peer *peer, void *state)
{
	model_until(anybody_ended, state);
	MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
}

/* A sender publishes a block; the receiver frees it, or takes it and keeps it. */
static void send(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	int err;

	err = evr_heap_transfer(&s->heaps[0], s->handle, evr_peer_self(model_peer(1)));
	if (!err) {
		evr_a64_store_release(s->sent, s->handle);
		return;
	}
	MODEL_CHECK(err == -EOWNERDEAD || err == -ESTALE);
	MODEL_CHECK(model_died(1));
	if (err == -EOWNERDEAD)
		MODEL_CHECK(!evr_heap_free(&s->heaps[0], s->handle));
}

static void receive(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t handle;

	do {
		handle = evr_a64_load_acquire(s->sent);
		if (!handle)
			evr_pause();
	} while (!handle && evr_peer_is_live(peer, evr_peer_self(model_peer(0))));
	if (!handle)
		handle = evr_a64_load_acquire(s->sent);
	if (!handle) {
		if (model_ended(0))
			MODEL_CHECK(evr_heap_settle(&s->heaps[1], evr_peer_self(model_peer(0))) >= 0);
		return;
	}
	MODEL_CHECK(evr_heap_resolve(&s->heaps[1], handle, NULL));
	s->got++;
	if (model_pick(2)) {
		MODEL_CHECK(!evr_heap_free(&s->heaps[1], handle));
		return;
	}
	MODEL_CHECK(!evr_heap_accept(&s->heaps[1], handle));
	s->kept[1] = handle;
}

static void setup_transfer(void *state)
{
	struct state *s = state;

	make(s, 20 << 10, 3);
	s->handle = block_of(s, 0, BLOCK_SZ);
}

static void setup_transfer_run(void *state)
{
	struct state *s = state;

	make(s, 20 << 10, 3);
	s->handle = block_of(s, 0, RUN_SZ);
}

static void end_three(void *state)
{
	books_are_right(state, 3);
}

SCENARIO(transfer) = {
	.name = "heap-transfer",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.procs = { { "sender", send }, { "receiver", receive }, { "reaper", reap_early } },
	.setup = setup_transfer,
	.end = end_three,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_SC, 1, 1, 0 }, { MODEL_TSO, 1, 1, 1 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 2, 1, 0 }, { MODEL_SC, 1, 2, 0 }, { MODEL_WEAK, 1, 1, 1 } },
};

SCENARIO(transfer_run) = {
	.name = "heap-transfer-run",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.procs = { { "sender", send }, { "receiver", receive }, { "reaper", reap_early } },
	.setup = setup_transfer_run,
	.end = end_three,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_SC, 1, 1, 0 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 2, 1, 0 }, { MODEL_SC, 1, 2, 0 }, { MODEL_WEAK, 1, 1, 1 } },
};

/* Two want the granules that are there for one of them. */
static void take_run(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t self = model_self();
	struct evr_block block;

	evr_reap_auto(peer, false);
	block = evr_heap_alloc(&s->heaps[self], RUN_SZ);
	if (!block.ptr)
		return;
	s->kept[self] = block.handle;
	if (model_pick(2)) {
		s->kept[self] = 0;
		MODEL_CHECK(!evr_heap_free(&s->heaps[self], block.handle));
	}
}

static void setup_runs(void *state)
{
	make(state, 20 << 10, 3);
}

static void end_runs(void *state)
{
	struct state *s = state;

	MODEL_CHECK(!s->kept[0] || !s->kept[1] || s->kept[0] != s->kept[1]);
	books_are_right(state, 3);
}

SCENARIO(runs) = {
	.name = "heap-runs",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.procs = { { "first", take_run }, { "second", take_run }, { "reaper", reap_early } },
	.setup = setup_runs,
	.end = end_runs,
	.check = { { MODEL_SC, 1, 1, 0 }, { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 2, 1, 0 }, { MODEL_SC, 1, 2, 0 }, { MODEL_WEAK, 2, 0, 1 } },
};

/* What one has freed it gives back to the system, while another may allocate it. */
static void give_back(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	evr_heap_trim(&s->heaps[0]);
	MODEL_CHECK(!s->heaps[0].own->idle.nr && !s->heaps[0].own->idle.sz);
}

static void take_and_write(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t words[2] = { 1, 2 }, found[2];
	struct evr_block block;

	evr_reap_auto(peer, false);
	block = evr_heap_alloc(&s->heaps[1], RUN_SZ);
	if (!block.ptr)
		return;
	s->kept[1] = block.handle;
	evr_copy_in(block.ptr, words, sizeof(words));
	evr_copy_out(found, block.ptr, sizeof(found));
	MODEL_CHECK(found[0] == 1 && found[1] == 2);
}

static void setup_idle(void *state)
{
	struct state *s = state;

	make(s, 20 << 10, 3);
	MODEL_CHECK(!evr_heap_free(&s->heaps[0], block_of(s, 0, RUN_SZ)));
	MODEL_CHECK(s->heaps[0].own->idle.nr == 1);
}

SCENARIO(heap_idle) = {
	.name = "heap-idle",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.procs = { { "giver", give_back }, { "taker", take_and_write }, { "reaper", reap_early } },
	.setup = setup_idle,
	.end = end_three,
	.check = { { MODEL_SC, 1, 1, 0 }, { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 2, 1, 0 },
		    { MODEL_SC, 1, 2, 0, .sample = 2 },
		    { MODEL_WEAK, 2, 0, 1 } },
};

/* One frees another's blocks, while that one takes them into its store again. */
static void free_remotely(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	MODEL_CHECK(!evr_heap_free(&s->heaps[1], s->handle));
	MODEL_CHECK(evr_heap_free(&s->heaps[1], s->handle) == -ESTALE);
}

static void use_again(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_block block;
	int i;

	/* There is no other granule: what is freed is found, or there is none. */
	for (i = 0; i < 3; i++) {
		block = evr_heap_alloc(&s->heaps[0], BLOCK_SZ);
		if (!block.ptr)
			continue;
		/* No handle comes twice. */
		MODEL_CHECK(block.handle != s->handle);
		MODEL_CHECK(!s->kept[0] || block.handle != s->kept[0]);
		s->kept[0] = block.handle;
		return;
	}
}

static void setup_remote(void *state)
{
	struct state *s = state;
	struct evr_block block;

	make(s, 16 << 10, 3);
	evr_reap_auto(model_peer(0), false);
	s->handle = block_of(s, 0, BLOCK_SZ);
	MODEL_CHECK(!evr_heap_transfer(&s->heaps[0], s->handle, evr_peer_self(model_peer(1))));
	/* The rest of its slab goes to the auditor, and all else is one run of the receiver. */
	while (s->heaps[0].stores[evr_heap_class_of(BLOCK_SZ)].nr) {
		block = evr_heap_alloc(&s->heaps[0], BLOCK_SZ);
		MODEL_CHECK(!evr_heap_transfer(&s->heaps[0], block.handle,
					       evr_peer_self(model_auditor())));
	}
}

static void end_remote(void *state)
{
	struct state *s = state;
	struct evr_block_info info;
	struct heap_block b;
	uint32_t i;

	/* What the auditor was given is still so, and is freed now. */
	for (i = 0; i < s->audit.own->map.arenas[0].granules * SIDE_WORDS; i++) {
		b.off = model_peek(&s->audit.own->map.arenas[0].side[i]);
		if (heap_ctl_tag(b.off) == TAG_INFLIGHT &&
		    heap_ctl_owner(b.off) == s->audit.own->map.me)
			evr_a64_store_relaxed(&s->audit.own->map.arenas[0].side[i],
					      b.off & EVR_CTL_GEN_MASK);
	}
	if (s->kept[0] && !model_ended(0))
		MODEL_CHECK(!evr_heap_info(&s->heaps[0], s->kept[0], &info));
	books_are_right(state, 3);
}

SCENARIO(remote_free) = {
	.name = "heap-remote-free",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.procs = { { "owner", use_again }, { "freer", free_remotely }, { "reaper", reap } },
	.setup = setup_remote,
	.end = end_remote,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_SC, 1, 1, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0, .sample = 2 },
		    { MODEL_SC, 1, 2, 0, .sample = 7 },
		    { MODEL_WEAK, 2, 0, 1 } },
};

/* A dead one's slab, with a block of a living one in it, between two who want to adopt it. */
static void adopt(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t self = model_self();

	MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
	s->kept[self] = evr_heap_alloc(&s->heaps[self], BLOCK_SZ).handle;
}

static void end_at_once(struct evr_peer *peer, void *state)
{
	model_detach();
}

static bool first_ended(void *state)
{
	return model_ended(0);
}

static void adopt_late(struct evr_peer *peer, void *state)
{
	model_until(first_ended, state);
	adopt(peer, state);
}

static void reap_late(struct evr_peer *peer, void *state)
{
	model_until(first_ended, state);
	MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
}

static void setup_adopt(void *state)
{
	struct state *s = state;

	make(s, 16 << 10, 3);
	evr_reap_auto(model_peer(1), false);
	evr_reap_auto(model_peer(2), false);
	s->handle = block_of(s, 0, BLOCK_SZ);
	MODEL_CHECK(!evr_heap_transfer(&s->heaps[0], s->handle, evr_peer_self(model_peer(1))));
	MODEL_CHECK(!evr_heap_accept(&s->heaps[1], s->handle));
	block_of(s, 0, BLOCK_SZ);
}

/* Whatever this process can have, it is given once. */
static void nothing_comes_twice(struct state *s, uint32_t proc)
{
	uint64_t handles[32];
	uint32_t i, nr;

	for (nr = 0; nr < 32; nr++) {
		handles[nr] = evr_heap_alloc(&s->heaps[proc], BLOCK_SZ).handle;
		if (!handles[nr])
			break;
		for (i = 0; i < nr; i++)
			MODEL_CHECK(heap_handle_off(handles[i]) != heap_handle_off(handles[nr]));
		MODEL_CHECK(!s->kept[proc] ||
			    heap_handle_off(s->kept[proc]) != heap_handle_off(handles[nr]));
	}
	while (nr--)
		MODEL_CHECK(!evr_heap_free(&s->heaps[proc], handles[nr]));
}

static void end_adopt(void *state)
{
	struct state *s = state;

	if (!model_ended(1))
		nothing_comes_twice(s, 1);
	MODEL_CHECK(!s->kept[1] || s->kept[1] != s->kept[2]);
	MODEL_CHECK(s->kept[1] != s->handle && s->kept[2] != s->handle);
	if (!model_ended(1))
		MODEL_CHECK(!evr_heap_free(&s->heaps[1], s->handle));
	books_are_right(state, 3);
}

SCENARIO(heap_adopt) = {
	.name = "heap-adopt",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.flags = MODEL_PEERS_CHANGE,
	.procs = { { "gone", end_at_once, .immortal = true },
		   { "adopter", adopt_late },
		   { "reaper", reap_late } },
	.setup = setup_adopt,
	.end = end_adopt,
	.check = { { MODEL_SC, 1, 0, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 1, 1, 0 },
		    { MODEL_SC, 1, 2, 0 },
		    { MODEL_WEAK, 2, 0, 1, .sample = 2 },
		    { MODEL_SC, 2, 0, 0 } },
};

SCENARIO(heap_adopt_two) = {
	.name = "heap-adopt-two",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.flags = MODEL_PEERS_CHANGE,
	.procs = { { "gone", end_at_once, .immortal = true },
		   { "first", adopt_late },
		   { "second", adopt_late } },
	.setup = setup_adopt,
	.end = end_adopt,
	.check = { { MODEL_SC, 1, 0, 0 }, { MODEL_TSO, 1, 0, 1 } },
	.longer = { { MODEL_SC, 1, 1, 0 }, { MODEL_SC, 2, 0, 0 } },
};

/* The slab of a block that lives becomes another's: its owner finds it, whenever that is. */
static void use_and_free(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	MODEL_CHECK(evr_heap_resolve(&s->heaps[1], s->handle, NULL));
	MODEL_CHECK(!evr_heap_free(&s->heaps[1], s->handle));
	s->handle = 0;
}

static void end_used(void *state)
{
	struct state *s = state;

	MODEL_CHECK(!s->handle);
	books_are_right(s, 3);
}

SCENARIO(heap_orphan) = {
	.name = "heap-orphan-used",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.flags = MODEL_PEERS_CHANGE,
	.procs = { { "gone", end_at_once, .immortal = true },
		   { "user", use_and_free },
		   { "adopter", adopt_late } },
	.setup = setup_adopt,
	.end = end_used,
	.check = { { MODEL_SC, 2, 0, 0 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_WEAK, 2, 0, 1 } },
};

/*
 * A sender that stands still between any two steps of a transfer, for 256 peers of the receiver's
 * slot, and may die then: the last of them, whose stamp is the receiver's, keeps nothing.
 */
static void send_slowly(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	int err = evr_heap_transfer(&s->heaps[0], s->handle, s->to);

	MODEL_CHECK(!err || err == -EOWNERDEAD || err == -ESTALE);
	if (err == -EOWNERDEAD)
		MODEL_CHECK(!evr_heap_free(&s->heaps[0], s->handle));
}

static bool receiver_is_reaped(void *state)
{
	return model_slot_state(1) == EVR_PEER_FREE;
}

static void leave_and_return(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	model_detach();
	model_until(receiver_is_reaped, s);
	model_age(1, 255);
	MODEL_CHECK(model_attach(1));
	MODEL_CHECK(heap_stamp(evr_peer_self(peer)) == heap_stamp(s->to));
	s->has_returned = true;
}

static bool receiver_ended(void *state)
{
	return model_ended(1);
}

static bool has_returned(void *state)
{
	struct state *s = state;

	return s->has_returned;
}

static void reap_receiver(struct evr_peer *peer, void *state)
{
	model_until(receiver_ended, state);
	MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
	/* Only then may the sender's end be settled, or all of it were too easy. */
	model_until(has_returned, state);
}

static void setup_aged(void *state)
{
	struct state *s = state;

	make(s, 20 << 10, 2);
	s->handle = block_of(s, 0, BLOCK_SZ);
	s->to = evr_peer_self(model_peer(1));
}

static void end_aged(void *state)
{
	struct evr_heap_usage usage;
	struct state *s = state;

	MODEL_CHECK(s->has_returned);
	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	evr_heap_usage(&s->audit, &usage);
	MODEL_CHECK(!usage.blocks);
	MODEL_CHECK(!usage.corrupt);
}

SCENARIO(heap_aged) = {
	.name = "heap-aged",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.flags = MODEL_PEERS_CHANGE,
	.procs = { { "sender", send_slowly },
		   { "receiver", leave_and_return, .immortal = true },
		   { "reaper", reap_receiver, .immortal = true } },
	.setup = setup_aged,
	.end = end_aged,
	.check = { { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 2, 1, 0 }, { MODEL_WEAK, 1, 1, 1 } },
};

/*
 * Who gives a block to a peer of long ago gives it to nobody, and takes nothing from who has that
 * slot now: what was on its way to that one is freed when it ends.
 */
static void send_to_the_past(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t second = block_of(s, 0, BLOCK_SZ);

	model_until(has_returned, s);
	MODEL_CHECK(!evr_heap_transfer(&s->heaps[0], s->handle, evr_peer_self(model_peer(1))));
	MODEL_CHECK(evr_heap_transfer(&s->heaps[0], second, s->to) == -EOWNERDEAD);
	MODEL_CHECK(!evr_heap_free(&s->heaps[0], second));
}

static bool sender_finished(void *state)
{
	return model_finished(0);
}

static void leave_for_long(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_block_info info;

	model_detach();
	model_until(receiver_is_reaped, s);
	model_age(1, 40000);
	MODEL_CHECK(model_attach(1));
	s->has_returned = true;
	model_until(sender_finished, s);
	/* Nobody has died, and it is still on its way to us. */
	MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
	MODEL_CHECK(!evr_heap_info(&s->audit, s->handle, &info));
	MODEL_CHECK(info.state == EVR_BLOCK_INFLIGHT);
	model_detach();
}

SCENARIO(heap_past) = {
	.name = "heap-past",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.flags = MODEL_PEERS_CHANGE,
	.procs = { { "sender", send_to_the_past, .immortal = true },
		   { "receiver", leave_for_long, .immortal = true },
		   { "reaper", reap_receiver, .immortal = true } },
	.setup = setup_aged,
	.end = end_aged,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_WEAK, 1, 0, 1 } },
};

/* Two holders of one block: one takes hold of it first, both drop it. */
static void hold_and_drop(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	MODEL_CHECK(!evr_heap_hold(&s->heaps[0], s->handle));
	MODEL_CHECK(evr_heap_resolve(&s->heaps[0], s->handle, NULL));
	MODEL_CHECK(!evr_heap_drop(&s->heaps[0], s->handle));
}

static void drop(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	MODEL_CHECK(evr_heap_resolve(&s->heaps[1], s->handle, NULL));
	MODEL_CHECK(!evr_heap_drop(&s->heaps[1], s->handle));
}

static void setup_share(void *state)
{
	struct state *s = state;
	struct evr_peer_id to[2];
	struct evr_block block;

	make(s, 16 << 10, 3);
	to[0] = evr_peer_self(model_peer(0));
	to[1] = evr_peer_self(model_peer(1));
	block = evr_heap_alloc_shared(&s->audit, BLOCK_SZ - 20);
	MODEL_CHECK(evr_heap_share(&s->audit, block.handle, to, 2) == 2);
	s->handle = block.handle;
}

SCENARIO(heap_share) = {
	.name = "heap-share",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.procs = { { "holder", hold_and_drop }, { "dropper", drop }, { "reaper", reap_early } },
	.setup = setup_share,
	.end = end_three,
	.check = { { MODEL_SC, 3, 0, 0 }, { MODEL_SC, 1, 1, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 2, 0, 1 } },
	.longer = { { MODEL_SC, 1, 2, 0 }, { MODEL_SC, 2, 1, 0 }, { MODEL_WEAK, 2, 1, 1 } },
};
