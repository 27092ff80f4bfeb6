/* SPDX-License-Identifier: MIT */
/*
 * A deterministic world in which the library's own code runs: simulated processes,
 * each a coroutine with a peer of one segment, that take turns at every access to
 * shared memory. The explorer runs a scenario again and again, with every choice
 * that the bounds allow: who goes on, who dies, which store is seen late.
 *
 * All of it is one thread, and an execution is a function of its list of choices;
 * so a failure is a list of numbers, and `explore --replay` shows it again.
 * README.md has the recipe for a scenario, and what each mode of memory means.
 */
#ifndef EVERING_MODEL_EXPLORE_H
#define EVERING_MODEL_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <evering/evering.h>

#define MODEL_PROCS_MAX 6
#define MODEL_RUNS_MAX 8

enum model_mode {
	MODEL_SC, /* each store is seen by all at once */
	MODEL_TSO, /* x86: stores wait in a FIFO of their process */
	MODEL_PSO, /* also overtake each other, but for release and the same place */
	MODEL_WEAK, /* also loads see what was there before, until an acquire */
};

/* How far one exploration goes; without a sample all of it is explored. A row of zeros ends a list. */
struct model_bounds {
	enum model_mode mode;
	uint8_t preemptions; /* switches away from a process that could go on; 0 ends the list */
	uint8_t crashes; /* processes that die */
	uint8_t delays; /* stores seen late or out of order, loads answered with the past */
	uint8_t sample; /* not all: so many hundred thousand executions at random */
};

struct model_proc {
	const char *name;
	void (*run)(struct evr_peer *peer, void *state);
	bool immortal; /* it cannot be chosen to die */
	bool absent; /* no peer at first, see model_attach() */
};

enum {
	MODEL_ISOLATED = 1, /* an isolated segment; regions of peer_sz */
	MODEL_THREADS = 2, /* words of the struct evr_peer are accesses too */
	MODEL_NO_MEMBARRIER = 4, /* a kernel without it: evr_fence_all() fails */
	MODEL_UNREGISTERED = 32, /* evr_park_register() fails */
	MODEL_MAY_SLEEP = 8, /* a process asleep at the end is no failure */
	MODEL_PEERS_CHANGE = 16, /* some come or go without a crash */
};

struct scenario {
	const char *name; /* noun-situation */
	uint32_t flags; /* MODEL_* */
	size_t state_sz; /* of what setup() and the processes share as test code: zeros at first */
	uint64_t shared_sz; /* bytes of the shared region; 0 = 8 KiB */
	uint64_t peer_sz; /* isolated: bytes of each peer's region */
	uint64_t grow_sz; /* bytes that may be appended, by evr_heap_grow() and such */
	uint64_t threads_sz; /* bytes for model_alloc() and all that the library allocates */
	uint32_t steps_max; /* accesses of one process in one execution; 0 = 4000. More is a livelock */
	struct model_proc procs[MODEL_PROCS_MAX];
	/* Once, before all executions, without choices: make rings, open ends, name words. */
	void (*setup)(void *state);
	/* Before every access of anybody: an invariant; looks at memory with model_peek(). */
	void (*always)(void *state);
	/* After each execution, without choices; deaths are known by then, nobody has reaped. */
	void (*end)(void *state);
	struct model_bounds check[MODEL_RUNS_MAX], longer[MODEL_RUNS_MAX];
	struct scenario *next;
};

/* Scenarios announce themselves: SCENARIO(name) = { ... }; at file scope. */
#define SCENARIO(id)                                                       \
	static struct scenario id;                                         \
	static void __attribute__((constructor)) model_register_##id(void) \
	{                                                                  \
		model_register(&id);                                       \
	}                                                                  \
	static struct scenario id

void model_register(struct scenario *scenario);

/* Fails the execution with its choices and its trace. */
#define MODEL_CHECK(cond)                                                        \
	do {                                                                     \
		if (!(cond))                                                     \
			model_fail("%s:%d: %s", __FILE_NAME__, __LINE__, #cond); \
	} while (0)

#ifndef __FILE_NAME__
#define __FILE_NAME__ (__builtin_strrchr("/" __FILE__, '/') + 1)
#endif

void model_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
/* A line in the trace of a failure; costs nothing before. */
void model_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The peer of process @i, and of one more that lives always and does nothing but end(). */
struct evr_peer *model_peer(uint32_t i);
struct evr_peer *model_auditor(void);

/*
 * Zeroed memory that the threads of one process share, out of threads_sz: its words are
 * accesses as those of the segment are. In setup(); at multiples of EVR_LINE_SZ.
 */
void *model_alloc(size_t sz);

/* A choice of the scenario itself: each of 0 .. nr - 1 is explored. */
uint32_t model_pick(uint32_t nr);
/* Wait, in test code, until something is so; looks at plain memory only. */
void model_until(bool (*is_so)(void *arg), void *arg);
/* It has died, or detached, and all know. */
bool model_ended(uint32_t i);
bool model_died(uint32_t i);
bool model_finished(uint32_t i);
uint32_t model_crashes(void);
uint32_t model_slot_state(uint32_t slot); /* EVR_PEER_* */
/* The running process' number; MODEL_PROCS_MAX in setup() and end(). */
uint32_t model_self(void);

/* Bytes by which the segment has grown. */
uint64_t model_grown_sz(void);

/* A clean end of the calling process' peer; it is DEAD with the next notice. */
void model_detach(void);
/* Become a peer again, in @slot, when it is FREE. False when it is not. */
bool model_attach(uint32_t slot);
/* So many peers more have had this slot, and are forgotten. Nobody may have it now. */
void model_age(uint32_t slot, uint64_t nr);
/* What evr_segment_revoke() does: that peer is DEAD, its process goes on. */
void model_revoke(uint32_t i);

/* Memory as it is, without an access. */
static inline uint64_t model_peek(const struct evr_a64 *word)
{
	return *(const volatile uint64_t *)&word->v;
}

static inline uint32_t model_peek32(const struct evr_a32 *word)
{
	return *(const volatile uint32_t *)&word->v;
}

/* For traces: what lies there. The name must outlive the run. */
void model_name(const void *at, size_t sz, const char *name);
struct evr_lane;
void model_name_lane(const struct evr_lane *lane);

/*
 * A hostile process: @times it writes one of the words, of 64 bits each, with 0, all
 * ones, what was there at first, one more or less than is there, or another's value.
 */
void model_scribble(struct evr_a64 *const *words, uint32_t nr, uint32_t times);
/* Nobody may write to these bytes. */
void model_guard(const void *at, size_t sz);

#endif
