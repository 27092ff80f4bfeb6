/* SPDX-License-Identifier: MIT */
/*
 * Park and wake by itself: one sleeper, one waker, a need word and a word of work. A
 * wake-up that is lost leaves the sleeper asleep for ever.
 */
#include "explore.h"

#define ROUNDS 2

struct shared {
	struct evr_need need;
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 work;
};

struct state {
	struct shared *shared;
	struct evr_waiter waiters[2];
	uint64_t wanted; /* by the sleeper */
	uint64_t rung_epoch; /* the waker's */
	bool registered, unregistered_waker, says_awake;
};

static void setup(void *state)
{
	struct evr_object object;
	struct state *s = state;

	MODEL_CHECK(
		!evr_dir_create(model_peer(0), "p", EVR_KIND_USER, sizeof(*s->shared), &object));
	s->shared = evr_peer_at(model_peer(0), object.off, object.sz);
	MODEL_CHECK(s->shared);
	model_name(&s->shared->need, sizeof(s->shared->need), "need");
	model_name(&s->shared->work, 8, "work");
	MODEL_CHECK(!evr_waiter_init(&s->waiters[0], model_peer(0), EVR_WAIT_SLEEP));
	s->registered = evr_park_register();
	evr_a64_store_relaxed(&s->shared->need.word, EVR_NEED_ALERT);
}

static void setup_awake(void *state)
{
	struct state *s = state;

	setup(s);
	s->says_awake = true;
	evr_a64_store_relaxed(&s->shared->need.word, EVR_NEED_AWAKE);
}

static void setup_unregistered(void *state)
{
	struct state *s = state;

	setup_awake(s);
	s->registered = false;
}

static bool has_work(void *state)
{
	struct state *s = state;

	return evr_a64_load_acquire(&s->shared->work) >= s->wanted;
}

static void sleeper(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_need *need = &s->shared->need;
	uint64_t word;

	for (s->wanted = 1; s->wanted <= ROUNDS; s->wanted++) {
		MODEL_CHECK(
			!evr_waiter_wait(&s->waiters[0], &need, 1, has_work, s, EVR_NO_DEADLINE));
		if (!s->says_awake)
			continue;
		word = evr_a64_load_relaxed(&need->word) >> EVR_NEED_EPOCH_SHIFT;
		evr_a64_store_relaxed(&need->word, word << EVR_NEED_EPOCH_SHIFT | EVR_NEED_AWAKE);
	}
}

static void waker(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t i;

	for (i = 1; i <= ROUNDS; i++) {
		evr_a64_store_release(&s->shared->work, i);
		if (evr_need_is_alert(&s->shared->need, s->registered))
			evr_wake(peer, &s->shared->need, evr_peer_self(model_peer(0)),
				 &s->rung_epoch);
	}
}

SCENARIO(alert) = {
	.name = "park-alert",
	.state_sz = sizeof(struct state),
	.procs = { { "sleeper", sleeper }, { "waker", waker } },
	.setup = setup,
	.check = { { MODEL_SC, 4, 0, 0 }, { MODEL_TSO, 3, 0, 3 }, { MODEL_WEAK, 3, 0, 3 } },
	.longer = { { MODEL_SC, 8, 0, 0 }, { MODEL_TSO, 5, 0, 5 }, { MODEL_WEAK, 5, 0, 5 } },
};

SCENARIO(awake) = {
	.name = "park-awake",
	.state_sz = sizeof(struct state),
	.procs = { { "sleeper", sleeper }, { "waker", waker } },
	.setup = setup_awake,
	.check = { { MODEL_SC, 4, 0, 0 }, { MODEL_TSO, 3, 0, 3 }, { MODEL_WEAK, 3, 0, 3 } },
	.longer = { { MODEL_SC, 8, 0, 0 }, { MODEL_TSO, 5, 0, 5 }, { MODEL_WEAK, 5, 0, 5 } },
};

/* A kernel without the barrier on all processors: nobody omits one of his own. */
SCENARIO(unregistered) = {
	.name = "park-unregistered",
	.flags = MODEL_UNREGISTERED,
	.state_sz = sizeof(struct state),
	.procs = { { "sleeper", sleeper }, { "waker", waker } },
	.setup = setup_unregistered,
	.check = { { MODEL_TSO, 3, 0, 3 }, { MODEL_WEAK, 3, 0, 3 } },
	.longer = { { MODEL_TSO, 5, 0, 5 }, { MODEL_WEAK, 5, 0, 5 } },
};

/* membarrier() fails: the sleep is short, and what it missed is there afterwards. */
SCENARIO(without) = {
	.name = "park-without-membarrier",
	.flags = MODEL_NO_MEMBARRIER,
	.state_sz = sizeof(struct state),
	.procs = { { "sleeper", sleeper }, { "waker", waker } },
	.setup = setup_awake,
	.check = { { MODEL_TSO, 3, 0, 3 }, { MODEL_WEAK, 3, 0, 3 } },
	.longer = { { MODEL_TSO, 5, 0, 5 }, { MODEL_WEAK, 5, 0, 5 } },
};

/*
 * Two threads of one peer sleep; bell 63 is one for both, and the first takes it. Both
 * must learn of a death.
 */
static bool has_ended(void *state)
{
	return !evr_peer_is_live(model_peer(0), evr_peer_self(model_peer(2)));
}

static void thread(struct evr_peer *peer, void *state)
{
	struct evr_waiter *waiter = &((struct state *)state)->waiters[model_self()];

	MODEL_CHECK(!evr_waiter_wait(waiter, NULL, 0, has_ended, state, EVR_NO_DEADLINE));
}

static void leave(struct evr_peer *peer, void *state)
{
	model_detach();
}

static void setup_threads(void *state)
{
	struct state *s = state;
	uint32_t i;

	/* Each reap is a peer event of its own, and would wake who was forgotten. */
	evr_reap_auto(model_peer(0), false);
	for (i = 0; i < 2; i++)
		MODEL_CHECK(!evr_waiter_init(&s->waiters[i], model_peer(0), EVR_WAIT_SLEEP));
}

SCENARIO(threads) = {
	.name = "park-threads",
	.flags = MODEL_THREADS | MODEL_PEERS_CHANGE,
	.state_sz = sizeof(struct state),
	.procs = { { "thread-1", thread }, { "thread-2", thread }, { "leaver", leave } },
	.setup = setup_threads,
	.check = { { MODEL_SC, 2, 0, 0 } },
	.longer = { { MODEL_SC, 3, 0, 0 } },
};

/* In a loop of one's own: arm, look, sleep on the bells, disarm; by whatever it was woken. */
static void arming_sleeper(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_waiter *w = &s->waiters[0];
	struct evr_need *need = &s->shared->need;
	uint64_t until, word;

	for (s->wanted = 1; s->wanted <= ROUNDS; s->wanted++) {
		while (!has_work(s)) {
			until = evr_waiter_arm(w, &need, 1);
			if (!has_work(s))
				evr_bell_wait(peer, evr_waiter_bells(w), until, NULL);
			evr_waiter_disarm(w, &need, 1);
		}
		if (!s->says_awake)
			continue;
		word = evr_a64_load_relaxed(&need->word) >> EVR_NEED_EPOCH_SHIFT;
		evr_a64_store_relaxed(&need->word, word << EVR_NEED_EPOCH_SHIFT | EVR_NEED_AWAKE);
	}
}

SCENARIO(arm) = {
	.name = "park-arm",
	.state_sz = sizeof(struct state),
	.procs = { { "sleeper", arming_sleeper }, { "waker", waker } },
	.setup = setup,
	.check = { { MODEL_SC, 4, 0, 0 }, { MODEL_TSO, 3, 0, 3 }, { MODEL_WEAK, 3, 0, 3 } },
	.longer = { { MODEL_SC, 6, 0, 0 }, { MODEL_TSO, 4, 0, 4 }, { MODEL_WEAK, 4, 0, 4 } },
};

SCENARIO(arm_awake) = {
	.name = "park-arm-awake",
	.state_sz = sizeof(struct state),
	.procs = { { "sleeper", arming_sleeper }, { "waker", waker } },
	.setup = setup_awake,
	.check = { { MODEL_SC, 4, 0, 0 }, { MODEL_TSO, 3, 0, 3 }, { MODEL_WEAK, 3, 0, 3 } },
	.longer = { { MODEL_SC, 6, 0, 0 }, { MODEL_TSO, 4, 0, 4 }, { MODEL_WEAK, 4, 0, 4 } },
};

/* membarrier() fails: arm says how long the sleep may be. */
SCENARIO(arm_without) = {
	.name = "park-arm-without-membarrier",
	.flags = MODEL_NO_MEMBARRIER,
	.state_sz = sizeof(struct state),
	.procs = { { "sleeper", arming_sleeper }, { "waker", waker } },
	.setup = setup_awake,
	.check = { { MODEL_TSO, 3, 0, 3 }, { MODEL_WEAK, 3, 0, 3 } },
	.longer = { { MODEL_TSO, 4, 0, 4 }, { MODEL_WEAK, 4, 0, 4 } },
};
