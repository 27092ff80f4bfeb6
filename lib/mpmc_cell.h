/* SPDX-License-Identifier: MIT */
/* The word of a queue's cell, see mpmc.h, and where it lies. */
#ifndef EVERING_LIB_MPMC_CELL_H
#define EVERING_LIB_MPMC_CELL_H

#include "dir_table.h"
#include "mpmc.h"

enum { CELL_EMPTY, CELL_WRITING, CELL_FULL, CELL_READING, CELL_HOLE };

#define CELL_STATE 7ULL
#define CELL_VALUE_SHIFT 3
#define CELL_LAP_SHIFT 35
#define LAP_BITS 29
#define LAP_MASK ((1ULL << LAP_BITS) - 1)
#define RUN_MASK 0xffULL
#define STAMP_SHIFT 8

/* What others make fail so often has met nonsense: a call gives up, BUSY. */
#define MPMC_TRIES_MAX 10000

static inline uint64_t cell_word(uint64_t lap, uint64_t value, uint64_t state)
{
	return lap << CELL_LAP_SHIFT | value << CELL_VALUE_SHIFT | state;
}

static inline uint64_t cell_state(uint64_t word)
{
	return word & CELL_STATE;
}

static inline uint64_t cell_lap(uint64_t word)
{
	return word >> CELL_LAP_SHIFT;
}

static inline uint32_t cell_value(uint64_t word)
{
	return (uint32_t)(word >> CELL_VALUE_SHIFT);
}

static inline uint64_t cell_stamp(uint64_t word)
{
	return cell_value(word) >> STAMP_SHIFT;
}

static inline uint64_t cell_run(uint64_t word)
{
	return cell_value(word) & RUN_MASK;
}

static inline struct evr_a64 *cell_at(const struct evr_mpmc *q, uint64_t pos)
{
	return (struct evr_a64 *)(q->cells + (pos & q->mask) * q->stride);
}

static inline void *data_at(const struct evr_mpmc *q, uint64_t pos)
{
	return q->cells + (pos & q->mask) * q->stride + q->data_off;
}

static inline uint64_t lap_of(const struct evr_mpmc *q, uint64_t pos)
{
	return pos >> q->shift & LAP_MASK;
}

/* Positions as cells know them. */
static inline uint64_t pos_in_laps(const struct evr_mpmc *q, uint64_t pos)
{
	return pos & ((LAP_MASK << q->shift) | q->mask);
}

/* a - b, of laps: -2^28 .. 2^28 - 1. */
static inline int32_t lap_diff(uint64_t a, uint64_t b)
{
	return (int32_t)((uint32_t)(a - b) << (32 - LAP_BITS)) >> (32 - LAP_BITS);
}

static inline bool is_claim(enum evr_role role, uint64_t u_word)
{
	return cell_state(u_word) == (role == EVR_PRODUCER ? CELL_WRITING : CELL_READING);
}

static inline bool claim_is_dead(const struct evr_mpmc *q, uint64_t u_word)
{
	return evr_dir_stamp_is_dead(q->peer, cell_stamp(u_word));
}

#endif
