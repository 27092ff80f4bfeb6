/* SPDX-License-Identifier: MIT */
/*
 * Pools: a block has one owner, and none is lost with an owner that dies; whoever waits
 * while there is a block sleeps on no further.
 */
#include <errno.h>

#include "explore.h"

#include "heap_own.h"

#define BLOCK_SZ 16

struct state {
	struct evr_pool pools[MODEL_PROCS_MAX], audit;
	struct evr_waiter waiters[MODEL_PROCS_MAX];
	uint64_t handle; /* of the block that setup() took */
	uint64_t kept[MODEL_PROCS_MAX]; /* who has which at the end */
	struct evr_a64 *sent;
	const struct evr_a64 *ctl; /* its control word */
};

static void make(struct state *s, uint32_t blocks, uint32_t procs)
{
	struct evr_pool_options options = { .struct_sz = sizeof(options),
					    .classes = { { BLOCK_SZ, blocks } } };
	struct evr_object object;
	uint32_t i;

	MODEL_CHECK(!evr_dir_create(model_peer(0), "shared", EVR_KIND_USER, 128, &object));
	MODEL_CHECK(!evr_dir_publish(model_peer(0), &object));
	s->sent = evr_peer_at(model_peer(0), object.off, 8);
	model_name(s->sent, 8, "sent");
	MODEL_CHECK(!evr_pool_create(model_peer(0), "pool", &options));
	MODEL_CHECK(!evr_pool_open(&s->audit, model_auditor(), "pool"));
	for (i = 0; i < procs; i++) {
		MODEL_CHECK(!evr_pool_open(&s->pools[i], model_peer(i), "pool"));
		MODEL_CHECK(!evr_waiter_init(&s->waiters[i], model_peer(i), EVR_WAIT_SLEEP));
	}
}

static uint64_t take(struct state *s, uint32_t proc)
{
	struct evr_block block;

	MODEL_CHECK(!evr_pool_alloc(&s->pools[proc], BLOCK_SZ, &block));
	return block.handle;
}

/* All is settled; what the living keep is all that is used, and then nothing is. */
static void books_are_right(void *state)
{
	struct evr_pool_usage usage;
	struct state *s = state;
	uint32_t i, j, kept = 0;

	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) == 0);
	for (i = 0; i < MODEL_PROCS_MAX && s->pools[i].own; i++) {
		if (model_ended(i))
			continue;
		for (j = 0; j < MODEL_PROCS_MAX && s->pools[j].own; j++)
			if (model_ended(j))
				evr_pool_settle(&s->pools[i], evr_peer_self(model_peer(j)));
		if (!s->kept[i])
			continue;
		MODEL_CHECK(evr_pool_resolve(&s->pools[i], s->kept[i], NULL));
		kept++;
	}
	evr_pool_usage(&s->audit, &usage);
	MODEL_CHECK(usage.class_[0].used == kept);
	for (i = 0; i < MODEL_PROCS_MAX && s->pools[i].own; i++)
		if (!model_ended(i) && s->kept[i])
			MODEL_CHECK(!evr_pool_free(&s->pools[i], s->kept[i]));
	evr_pool_usage(&s->audit, &usage);
	MODEL_CHECK(!usage.class_[0].used);
}

/* Two at once, for one block more than there is; each gives back, or keeps. */
static void alloc_and_free(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t self = model_self(), i;
	struct evr_block block;
	uint64_t seen, old = 0;

	for (i = 0; i < 2; i++) {
		if (evr_pool_alloc(&s->pools[self], BLOCK_SZ, &block))
			continue;
		evr_copy_in(block.ptr, &(uint64_t){ self }, 8);
		MODEL_CHECK(!s->kept[self]);
		s->kept[self] = block.handle;
		MODEL_CHECK(evr_pool_free(&s->pools[self], s->kept[!self]) == -ESTALE);
		MODEL_CHECK(evr_pool_free(&s->pools[self], old) == -ESTALE);
		if (i)
			return;
		evr_copy_out(&seen, block.ptr, 8);
		MODEL_CHECK(seen == self);
		s->kept[self] = 0;
		MODEL_CHECK(!evr_pool_free(&s->pools[self], block.handle));
		MODEL_CHECK(evr_pool_free(&s->pools[self], block.handle) == -ESTALE);
		old = block.handle;
	}
}

static bool somebody_ended(void *state)
{
	return model_ended(0) || model_ended(1) || (model_finished(0) && model_finished(1));
}

static void reap(struct evr_peer *peer, void *state)
{
	model_until(somebody_ended, state);
	MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
}

static void setup_one(void *state)
{
	make(state, 1, 3);
}

SCENARIO(pool_alloc) = {
	.name = "pool-alloc-free",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.procs = { { "first", alloc_and_free }, { "second", alloc_and_free }, { "reaper", reap } },
	.setup = setup_one,
	.end = books_are_right,
	.check = { { MODEL_SC, 2, 0, 0 }, { MODEL_SC, 1, 1, 0 }, { MODEL_TSO, 1, 0, 1 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 0, 0 }, { MODEL_SC, 2, 1, 0 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* One waits for the only block, and has it once the other has freed it, or is dead and reaped. */
static void wait_for_one(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t self = model_self();
	struct evr_block block;

	MODEL_CHECK(!evr_pool_alloc_wait(&s->pools[self], &s->waiters[self], BLOCK_SZ, &block,
					 EVR_NO_DEADLINE));
	s->kept[self] = block.handle;
}

/* As it is before a second one sleeps beside it. */
static void wait_and_free(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint32_t self = model_self();

	MODEL_CHECK(evr_pool_free(&s->pools[self], s->handle) == -ESTALE);
	wait_for_one(peer, state);
	MODEL_CHECK(!evr_pool_free(&s->pools[self], s->kept[self]));
	s->kept[self] = 0;
}

static void free_it(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	MODEL_CHECK(!evr_pool_free(&s->pools[0], s->handle));
	s->kept[0] = 0;
}

static void setup_taken(void *state)
{
	struct state *s = state;

	make(s, 1, 3);
	s->handle = s->kept[0] = take(s, 0);
}

SCENARIO(pool_wait) = {
	.name = "pool-wait",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.procs = { { "holder", free_it },
		   { "waiter", wait_and_free },
		   { "another", wait_and_free } },
	.setup = setup_taken,
	.end = books_are_right,
	.check = { { MODEL_SC, 1, 0, 0 }, { MODEL_SC, 1, 1, 0 }, { MODEL_TSO, 1, 0, 1 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_SC, 1, 2, 0 }, { MODEL_WEAK, 1, 0, 2 } },
};

/* Alone, and twice: the first time its words say AWAKE, the second time they do not. */
static void free_both(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	MODEL_CHECK(!evr_pool_free(&s->pools[0], s->handle));
	MODEL_CHECK(!evr_pool_free(&s->pools[0], s->kept[0]));
	s->kept[0] = 0;
}

static void wait_for_both(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t first;

	wait_for_one(peer, state);
	first = s->kept[1];
	wait_for_one(peer, state);
	MODEL_CHECK(first != s->kept[1]);
	MODEL_CHECK(!evr_pool_free(&s->pools[1], first));
}

static void setup_both(void *state)
{
	struct state *s = state;

	make(s, 2, 2);
	s->handle = take(s, 0);
	s->kept[0] = take(s, 0);
}

SCENARIO(pool_wait_twice) = {
	.name = "pool-wait-twice",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.procs = { { "holder", free_both }, { "waiter", wait_for_both } },
	.setup = setup_both,
	.check = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 2 } },
	.longer = { { MODEL_SC, 4, 1, 0 }, { MODEL_TSO, 3, 0, 3 }, { MODEL_WEAK, 3, 0, 3 } },
};

/* A block goes to another, who frees it, keeps it, or is dead; or its sender is. */
static void send(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	bool was_gone = model_ended(1);
	int err;

	MODEL_CHECK(evr_pool_accept(&s->pools[0], s->handle) == -ESTALE);
	err = evr_pool_transfer(&s->pools[0], s->handle, evr_peer_self(model_peer(1)));
	if (!err) {
		MODEL_CHECK(!was_gone);
		s->kept[0] = 0;
		evr_a64_store_release(s->sent, s->handle);
		return;
	}
	MODEL_CHECK(err == -EOWNERDEAD || err == -ESTALE);
	MODEL_CHECK(model_ended(1));
	if (err == -EOWNERDEAD)
		MODEL_CHECK(!evr_pool_free(&s->pools[0], s->handle));
	s->kept[0] = 0;
}

static void receive(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	bool lives;
	uint64_t handle;

	do {
		lives = evr_peer_is_live(peer, evr_peer_self(model_peer(0)));
		handle = evr_a64_load_acquire(s->sent);
		if (!handle && lives)
			evr_pause();
	} while (!handle && lives);
	if (!handle)
		return;
	MODEL_CHECK(evr_pool_resolve(&s->pools[1], handle, NULL));
	if (model_pick(2)) {
		MODEL_CHECK(!evr_pool_free(&s->pools[1], handle));
		return;
	}
	MODEL_CHECK(!evr_pool_accept(&s->pools[1], handle));
	MODEL_CHECK(evr_pool_recall(&s->pools[0], handle, evr_peer_self(peer)) == -ESTALE);
	s->kept[1] = handle;
}

static void setup_transfer(void *state)
{
	struct state *s = state;

	make(s, 1, 3);
	s->handle = take(s, 0);
}

SCENARIO(pool_transfer) = {
	.name = "pool-transfer",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.procs = { { "sender", send }, { "receiver", receive }, { "reaper", reap } },
	.setup = setup_transfer,
	.end = books_are_right,
	.check = { { MODEL_SC, 2, 1, 0 }, { MODEL_TSO, 1, 1, 1 }, { MODEL_WEAK, 1, 0, 1 } },
	.longer = { { MODEL_SC, 3, 1, 0 }, { MODEL_SC, 2, 2, 0 }, { MODEL_WEAK, 2, 1, 1 } },
};

/*
 * A sender names a receiver that is dead and reaped, and has not looked yet: whoever reaps
 * next frees the block. Nobody dies by that, so there is no event, and who waits is woken by
 * the reaper or never.
 */
static void detach(struct evr_peer *peer, void *state)
{
	model_detach();
}

static bool receiver_ended(void *state)
{
	return model_ended(1);
}

static bool is_named(void *state)
{
	struct state *s = state;

	return heap_ctl_tag(model_peek(s->ctl)) == TAG_INFLIGHT || model_finished(0);
}

static void reap_twice(struct evr_peer *peer, void *state)
{
	model_until(receiver_ended, state);
	MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
	model_until(is_named, state);
	MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
}

/* The control word is the only one of its life. */
static const struct evr_a64 *ctl_of(struct state *s)
{
	const struct evr_a64 *word;
	struct evr_object object;
	uint64_t off;

	MODEL_CHECK(!evr_dir_find(model_auditor(), "pool", &object));
	for (off = 0; off < object.sz; off += 8) {
		word = evr_peer_at(model_auditor(), object.off + off, 8);
		if (heap_ctl_tag(model_peek(word)) == TAG_LIVE &&
		    heap_ctl_owner(model_peek(word)) == heap_stamp(evr_peer_self(model_peer(0))) &&
		    heap_ctl_same_life(model_peek(word), s->handle))
			return word;
	}
	model_fail("no control word says LIVE");
}

static void setup_named(void *state)
{
	struct state *s = state;

	make(s, 1, 4);
	s->handle = take(s, 0);
	s->ctl = ctl_of(s);
	evr_reap_auto(model_peer(2), false);
}

SCENARIO(pool_reap_wakes) = {
	.name = "pool-reaper-wakes",
	.flags = MODEL_PEERS_CHANGE,
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.procs = { { "sender", send },
		   { "receiver", detach },
		   { "waiter", wait_for_one },
		   { "reaper", reap_twice } },
	.setup = setup_named,
	.end = books_are_right,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_TSO, 1, 0, 1 } },
};

/* Control words are anybody's to write: those who keep to the rules come to an end, in bounds. */
static void scribble(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_a64 *words[] = { (struct evr_a64 *)s->ctl };

	model_scribble(words, 1, 2);
}

static void use_it(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_block block;
	uint32_t i;

	evr_pool_free(&s->pools[0], s->handle);
	for (i = 0; i < 2; i++) {
		if (evr_pool_alloc(&s->pools[0], BLOCK_SZ, &block))
			continue;
		evr_copy_in(block.ptr, &(uint64_t){ 1 }, 8);
		evr_pool_transfer(&s->pools[0], block.handle, evr_peer_self(model_peer(1)));
		evr_pool_free(&s->pools[0], block.handle);
	}
}

static void is_reapable(void *state)
{
	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
}

static void setup_hostile(void *state)
{
	struct state *s = state;

	make(s, 1, 2);
	s->handle = take(s, 0);
	s->ctl = ctl_of(s);
}

SCENARIO(pool_hostile) = {
	.name = "pool-hostile",
	.state_sz = sizeof(struct state),
	.shared_sz = 28 << 10,
	.procs = { { "user", use_it }, { "hostile", scribble } },
	.setup = setup_hostile,
	.end = is_reapable,
	.check = { { MODEL_SC, 2, 0, 0 } },
	.longer = { { MODEL_SC, 4, 0, 0 } },
};
