/* SPDX-License-Identifier: MIT */
/* What the explorer's own files share. */
#ifndef EVERING_MODEL_WORLD_H
#define EVERING_MODEL_WORLD_H

#include "backend.h"
#include "coroutine.h"
#include "explore.h"

#define SEGMENT_MAX (128U << 10)
#define STATE_MAX (32U << 10)
#define PRIVATE_MAX (128U << 10)
#define BUFFER_MAX 64
#define BUFFER_BYTES 4096
#define STALE_MAX 160
#define NAMES_MAX 64
/* Entries of the directory of a segment this small. */
#define USES_MAX 16
#define GROWTHS_MAX 4
#define GROW_UNIT 4096U
#define CHOICES_MAX 16384
#define STACK_SZ (64U << 10)
/* The segment's first offset; nothing lies at offset 0, as in a real one. */
#define SHARED_OFF 4096U

enum proc_state { PROC_READY, PROC_ASLEEP, PROC_WAITS, PROC_DONE, PROC_DIED };

/* A store that nobody else has seen yet. */
struct pending {
	uint32_t off, sz;
	uint32_t data; /* in the buffer's bytes */
	uint32_t after; /* so many of the buffer's first stores come before it */
	bool release, done;
	bool rmw; /* of a read-modify-write */
};

struct buffer {
	uint32_t nr, bytes_nr;
	uint32_t fenced; /* stores when their process last had a release fence */
	struct pending stores[BUFFER_MAX];
	uint8_t bytes[BUFFER_BYTES];
};

/* A word as a process that has not acquired since may still see it. */
struct stale {
	uint32_t off;
	uint64_t was;
};

struct proc {
	enum proc_state state;
	bool notice_due; /* its end is to be made known */
	bool registered; /* for the barrier on all processors */
	bool timed_out;
	const void *futex; /* the word that it sleeps on */
	bool has_yielded; /* since the others had a turn */
	uint32_t steps;
	uint32_t sleeps_as; /* whose bells it waits for: a thread has its peer's */
	uint64_t mask, deadline_ns; /* what it sleeps for */
	bool (*until)(void *arg); /* what it waits for, outside the library */
	void *until_arg;
	uint32_t stale_nr;
	struct stale stale[STALE_MAX];
	struct buffer buffer;
};

/* A slot as the kernel keeps it. */
struct slot {
	uint64_t incarnation;
	uint64_t pending; /* bells */
	uint32_t state; /* EVR_PEER_* */
	uint32_t proc;
};

/*
 * All that an execution changes. It is copied from a snapshot before each; what lies
 * behind state and segment as far as the scenario uses it.
 */
struct world {
	uint64_t now_ns;
	uint64_t generation;
	uint64_t eventfd; /* count of the one there is: system.c */
	uint32_t current; /* MODEL_PROCS_MAX: none */
	uint32_t preemptions, crashes, delays;
	uint64_t grown_sz;
	struct evr_growth growths[GROWTHS_MAX];
	uint64_t tags[GROWTHS_MAX]; /* of these */
	uint32_t growths_nr;
	struct slot slots[MODEL_PROCS_MAX + 1];
	struct evr_peer peers[MODEL_PROCS_MAX + 1];
	uint16_t uses[MODEL_PROCS_MAX + 1][USES_MAX]; /* of each peer, see evr_dir_join() */
	uint8_t state[STATE_MAX] __attribute__((aligned(128)));
	uint8_t segment[SEGMENT_MAX] __attribute__((aligned(4096)));
	/* What calloc() has given out, here or in the scenario's threads_sz; nothing is freed. */
	uint32_t private_sz;
	uint8_t private[PRIVATE_MAX] __attribute__((aligned(16)));
};

/*
 * A word of the segment, or the state of a slot. Only at words with a conflict do
 * turns change: steps on any other commute with all that others do.
 */
struct place {
	uint8_t writers, users; /* a bit for each process, KERNEL, AUDITOR */
};

#define PLACES (SEGMENT_MAX / 8 + MODEL_PROCS_MAX + 1)
#define AUDITOR MODEL_PROCS_MAX
#define KERNEL (MODEL_PROCS_MAX + 1)

/* The rest: not of one execution, or reset by hand. */
struct engine {
	const struct scenario *scenario;
	struct model_bounds bounds;
	uint32_t procs_nr;
	uint64_t segment_sz;
	bool quiet; /* no choices, no accesses: setup and end */
	bool ending; /* quiet, in end() */
	uint32_t end_steps;
	bool registered; /* rings opened in setup() have called evr_park_register() */
	bool tracing;
	bool is_random;
	uint64_t seed;
	/* choices of this execution; those below prefix are given */
	uint32_t choices_nr, prefix_nr;
	uint8_t choices[CHOICES_MAX], options[CHOICES_MAX];
	uint32_t ticks[CHOICES_MAX]; /* when it came, in steps and choices from the start */
	uint32_t tick;
	/* instead: all choices are 0 but those at these ticks */
	const char *replay;
	/* Which words two processes use and one of them writes, as found so far. */
	struct place places[PLACES];
	bool restart; /* another was found: begin again */
	bool is_cut; /* ended before all was explored */
	uint32_t restarts;
	/* totals */
	uint64_t executions, steps, depth_max;
	bool failed;
	char failure[512];
	struct evr_segment evr_segment;
	struct {
		uint32_t off, sz;
		const char *name;
	} names[NAMES_MAX], guards[8];
	uint32_t names_nr, guards_nr;
};

extern struct world world;
extern struct engine engine;
extern struct proc procs[MODEL_PROCS_MAX];

/* explore.c */
uint32_t choose(uint32_t options);
/* Before each access: others may go on, this one may die. NULL is no word, but seen by all. */
void step(const void *at, uint32_t sz, bool is_write);
/* The same of the state of a slot. */
void step_slot(uint32_t slot, bool is_write);
/* Somebody uses it; true when another one is affected. */
bool touch(uint32_t place, bool is_write, uint32_t who);
/* On a stack, or in the world and not in the segment? */
bool is_private(const void *p);
/* The running process lets others go on, or sleeps. */
void yield_turn(void);
void sleep_turn(uint32_t as, uint64_t mask, uint64_t deadline_ns);
bool model_prepare(const struct scenario *scenario, const struct model_bounds *bounds);
/* All within the bounds, or so many, or until @go_on, asked now and then, says no. False: failed. */
bool model_explore(uint64_t executions_max, bool (*go_on)(void));
/* In between: about what part of all is explored, 0 to 1. */
double model_progress(void);
/* One execution, traced; @list as report_failure() prints it. */
void model_replay(const char *list);

/* memory.c */
void buffer_drain(uint32_t proc);
void memory_sync(uint32_t proc);
void memory_reset(void);
static inline bool in_segment(const void *p)
{
	return (uintptr_t)p - (uintptr_t)world.segment < engine.segment_sz;
}

/* kernel.c */
extern const struct evr_backend_ops model_ops;
void kernel_boot(void);
/* A process has ended: now all know. */
void kernel_notice(uint32_t proc);
bool kernel_is_rung(uint32_t proc);

/* report.c */
void trace(const void *site, const void *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void report_failure(void);
const char *mode_name(enum model_mode mode);

#define TRACE(at, ...)                                                       \
	do {                                                                 \
		if (__builtin_expect(engine.tracing, 0))                     \
			trace(__builtin_return_address(0), at, __VA_ARGS__); \
	} while (0)

#endif
