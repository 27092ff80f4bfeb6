/* SPDX-License-Identifier: MIT */
/*
 * Two processes that measure something together, and the parent that waits for them.
 *
 * Model      The parent prepares (a segment, pipes), forks the near and the far
 *            side, each on a CPU of its own, and collects what they wrote into the
 *            shared page. A side that fails says so there; the parent then kills
 *            the other.
 * Calls      stage_meet() of both sides goes together; the rest each for itself.
 */
#ifndef EVERING_STAGE_H
#define EVERING_STAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <evering/evering.h>

#include "histogram.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of what a measured loop is made of. */
#define STAGE_INLINE inline __attribute__((always_inline))

enum stage_side {
	STAGE_NEAR,
	STAGE_FAR,
};

/* Spinning and sleeping systems are never compared with each other. */
enum rival_manner {
	RIVAL_SPINS,
	RIVAL_ADAPTS, /* spins a while, then sleeps */
	RIVAL_SLEEPS,
};

/* Written by the two sides, each its own half; the parent reads when they have ended. */
struct stage_half {
	uint64_t begin_ns, end_ns;
	uint64_t cpu_ns;
	uint64_t check; /* what the payload added up to: it has been read */
	int error;
	char message[240];
};

struct stage_shared {
	struct evr_a32 arrived;
	uint8_t pad[EVR_LINE_SZ - sizeof(struct evr_a32)];
	struct stage_half halves[2];
	struct evr_peer_id ids[2]; /* written before a meeting, read after it */
	double counted; /* what the bench counts besides, of the whole run; one side writes it */
	struct histogram ticks;
};

#define STAGE_FDS_MAX 16

struct stage {
	/* what is asked for */
	uint64_t size; /* bytes of a message */
	uint64_t batch; /* messages of one publication */
	uint64_t count; /* operations that are measured */
	uint64_t warmup; /* operations before */
	enum evr_backend backend;
	bool isolated; /* the segment */
	int cpus[2];
	/* the parent's, inherited by both sides */
	struct stage_shared *shared;
	struct evr_segment *segment;
	int fds[STAGE_FDS_MAX];
	void *page; /* shared memory of a rival that needs no segment */
	uint64_t page_sz;
	/* each side's own */
	enum stage_side side;
	enum evr_wait_policy policy;
	uint32_t meetings;
	uint64_t cpu_begin_ns;
	struct evr_segment *own_segment;
	struct evr_peer *peer;
	struct evr_waiter waiter;
	const struct rival *rival;
	void *own; /* what the rival keeps between its calls */
};

/* One system under measurement. The names of ours begin with "evering". */
struct rival {
	const char *name;
	enum rival_manner manner;
	/* 0; -EOPNOTSUPP it cannot be had here, or not so: it is left out; negative errno */
	int (*prepare)(struct stage *stage);
	void (*near)(struct stage *stage);
	void (*far)(struct stage *stage);
	const void *with; /* what prepare, near and far are told besides, by stage->rival */
};

/* What one run gave. */
struct outcome {
	double seconds;
	double cpu_seconds; /* of both sides, user and system */
	double operations;
	double counted;
	struct histogram ticks;
};

/* Runs both sides of @rival once. Returns 0; or negative errno with the message written. */
int stage_run(struct stage *stage, const struct rival *rival, struct outcome *outcome);

/* Waits for the other side. */
void stage_meet(struct stage *stage);

/* Around what is measured; both meet at the beginning. */
void stage_begin(struct stage *stage);
void stage_end(struct stage *stage);

/* The far side of what one side does alone. */
void stage_look_on(struct stage *stage);

/* Ends the side with a message. */
void stage_fail(struct stage *stage, const char *what, int err) __attribute__((noreturn));

/* Becomes a peer of the stage's segment, with a waiter of the manner's policy. */
void stage_attach(struct stage *stage);
void stage_detach(struct stage *stage);

/* Preparations that rivals share. */
int stage_prepare_segment(struct stage *stage);
int stage_prepare_pipes(
	struct stage *stage); /* fds: near reads 0, far writes 1, far reads 2, near writes 3 */
int stage_prepare_sockets(struct stage *stage); /* fds as with pipes, of one socket pair */
int stage_prepare_eventfds(struct stage *stage);
#define STAGE_PAGE_SZ (64U << 10)
int stage_prepare_page(struct stage *stage);
int stage_prepare_memory(struct stage *stage, uint64_t sz); /* page: so many bytes, zero */
int stage_prepare_lines(struct stage *stage); /* page: room for a stamp and a message each way */
int stage_prepare_nothing(struct stage *stage);

/* Bytes of a stamp's line and a message on lines of its own. */
static inline uint64_t stage_lines_sz(const struct stage *stage)
{
	return EVR_LINE_SZ + (stage->size + EVR_LINE_SZ - 1) / EVR_LINE_SZ * EVR_LINE_SZ;
}

static inline int stage_read_fd(const struct stage *stage)
{
	return stage->fds[stage->side == STAGE_NEAR ? 0 : 2];
}

static inline int stage_write_fd(const struct stage *stage)
{
	return stage->fds[stage->side == STAGE_NEAR ? 3 : 1];
}

/* All of it, over short reads and writes. */
void stage_read_all(struct stage *stage, void *data, uint64_t size);
void stage_write_all(struct stage *stage, const void *data, uint64_t size);

#ifdef __cplusplus
}
#endif

#endif
