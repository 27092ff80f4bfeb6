// SPDX-License-Identifier: MIT
/* Concurrency Kit's ck_ring: one producer and one consumer, and many of both. It has no batches. */
#include <ck_ring.h>

#include "rivals.h"
#include "spin.h"

struct elem8 {
	uint8_t bytes[8];
};

struct elem56 {
	uint8_t bytes[56];
};

struct elem64 {
	uint8_t bytes[64];
};

CK_RING_PROTOTYPE(elem8, elem8)
CK_RING_PROTOTYPE(elem56, elem56)
CK_RING_PROTOTYPE(elem64, elem64)

/* The ring and its elements, side by side. */
struct ck_queue {
	EVR_ALIGNAS(EVR_LINE_SZ) struct ck_ring ring;
	EVR_ALIGNAS(EVR_LINE_SZ) uint8_t elems[];
};

static int prepare(struct stage *stage, uint64_t capacity, uint64_t size)
{
	uint64_t sz = RIVAL_WHOLE_LINES(sizeof(struct ck_queue) + capacity * size);
	int err = stage_prepare_memory(stage, 2 * sz);

	for (int i = 0; !err && i < 2; i++)
		ck_ring_init(&((struct ck_queue *)spin_queue(stage, i))->ring,
			     (unsigned int)capacity);
	return err;
}

static int prepare_spsc(struct stage *stage)
{
	return prepare(stage, RIVAL_SPSC_CAPACITY, 8);
}

static int prepare_stamped(struct stage *stage)
{
	return prepare(stage, RIVAL_STAMPED_CAPACITY, 56);
}

static int prepare_trips(struct stage *stage)
{
	return prepare(stage, RIVAL_TRIP_CAPACITY, 64);
}

static int prepare_mpmc(struct stage *stage)
{
	return prepare(stage, RIVAL_MPMC_CAPACITY, 8);
}

/* Both moves of one kind of ring and element. */
#define CK_MOVES(kind, type)                                                                      \
	static STAGE_INLINE uint32_t kind##_##type##_push(void *queue, void *elems, uint32_t nr)  \
	{                                                                                         \
		struct ck_queue *q = queue;                                                       \
		struct type *at = elems;                                                          \
		uint32_t done = 0;                                                                \
		while (done < nr && ck_ring_enqueue_##kind##_##type(                              \
					    &q->ring, (struct type *)q->elems, at + done))        \
			done++;                                                                   \
		return done;                                                                      \
	}                                                                                         \
	static STAGE_INLINE uint32_t kind##_##type##_pop(void *queue, void *elems, uint32_t nr)   \
	{                                                                                         \
		struct ck_queue *q = queue;                                                       \
		struct type *at = elems;                                                          \
		uint32_t done = 0;                                                                \
		while (done < nr && ck_ring_dequeue_##kind##_##type(                              \
					    &q->ring, (struct type *)q->elems, at + done))        \
			done++;                                                                   \
		return done;                                                                      \
	}

CK_MOVES(spsc, elem8)
CK_MOVES(spsc, elem56)
CK_MOVES(spsc, elem64)
CK_MOVES(mpmc, elem8)

SPIN_RIVAL(spsc, 8, spsc_elem8_push, spsc_elem8_pop)
SPIN_RIVAL(stamped, 56, spsc_elem56_push, spsc_elem56_pop)
SPIN_RIVAL(large, 64, spsc_elem64_push, spsc_elem64_pop)
SPIN_RIVAL(mpmc, 8, mpmc_elem8_push, mpmc_elem8_pop)

const struct rival ck_spsc = { "ck_ring spsc", RIVAL_SPINS, prepare_spsc, spsc_one_way,
			       spsc_one_way };
const struct rival ck_stamped = { "ck_ring spsc", RIVAL_SPINS, prepare_stamped, stamped_one_way,
				  stamped_one_way };
const struct rival ck_trips = { "ck_ring spsc", RIVAL_SPINS, prepare_trips, large_trips,
				large_trips };
const struct rival ck_mpmc = { "ck_ring mpmc", RIVAL_SPINS, prepare_mpmc, mpmc_one_way,
			       mpmc_one_way };
const struct rival ck_pairs = { "ck_ring mpmc", RIVAL_SPINS, prepare_mpmc, mpmc_pairs, mpmc_pairs };
