/* SPDX-License-Identifier: MIT */
/* What is measured, and against what. */
#ifndef EVERING_BENCH_H
#define EVERING_BENCH_H

#include "stage.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BENCH_RIVALS_MAX 16
#define BENCH_SIZES_MAX 12

enum bench_unit {
	BENCH_ROUND_TRIPS, /* each operation is stamped */
	BENCH_MESSAGES,
	BENCH_BYTES,
};

struct bench {
	const char *name;
	const char *summary;
	enum bench_unit unit;
	uint64_t sizes[BENCH_SIZES_MAX]; /* bytes of a message unless asked otherwise; ended by 0 */
	uint64_t batch;
	const char *counted; /* what stage->shared->counted is, as a head; NULL: nothing */
	const struct rival *rivals[BENCH_RIVALS_MAX]; /* ended by NULL */
	/* The ratios that are told: the first over the second, both of one manner. */
	struct {
		const struct rival *ours, *theirs;
	} ratios[BENCH_RIVALS_MAX];
	/* Each does what the one before does, and more: what the time is made of. */
	const struct rival *account[BENCH_RIVALS_MAX];
};

/* A rival that not every build has. Ours of its manner is told as a ratio of it. */
struct bench_guest {
	const struct bench *bench;
	const struct rival *rival;
	uint64_t size; /* of the messages that it carries, bytes; 0 = any */
};

/* Ended by a row without a bench. The installed tool has none; tests/bench has a list. */
extern const struct bench_guest bench_guests[];

extern const struct bench ringtrip_bench;
extern const struct bench spsc_bench;
extern const struct bench slots_bench;
extern const struct bench inbox_bench;
extern const struct bench bytes_bench;
extern const struct bench channel_bench;
extern const struct bench call_bench;
extern const struct bench ring_bench;
extern const struct bench mpmc_bench;
extern const struct bench pairs_bench;
extern const struct bench log_bench;
extern const struct bench bcast_bench;
extern const struct bench wake_bench;
extern const struct bench death_bench;
extern const struct bench stamped_bench, handles_bench, reap_bench;
extern const struct bench dir_bench, hub_bench, port_bench, lease_bench, fanout_bench;
extern const struct bench peers_bench, positions_bench;
#ifdef HAVE_DRIVER
extern const struct bench nop_bench, file_read_bench, file_write_bench, echo_bench;
extern const struct bench file_peer_bench, inject_bench, timer_cancel_bench, timer_expire_bench;
#endif
extern const struct bench heap_bench, heap_many_bench, heap_random_bench, heap_remote_bench;

/* Rivals of several benches: one way, in batches. */
extern const struct rival spsc_spinning, spsc_pipe, spsc_socket;

/* Rivals that the demo shows too. */
extern const struct rival ringtrip_spinning, ringtrip_adaptive, ringtrip_sleeping, ringtrip_line;
extern const struct rival ringtrip_pipe, ringtrip_socket;
extern const struct rival bytes_sleeping, bytes_adaptive, bytes_spinning;

#ifdef __cplusplus
}
#endif

#endif
