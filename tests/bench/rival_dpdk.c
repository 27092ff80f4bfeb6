// SPDX-License-Identifier: MIT
/* DPDK's rte_ring without the rest of DPDK: one of each, many of each, and many by head/tail sync. */
#define ALLOW_EXPERIMENTAL_API
#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <rte_ring_hts.h>

#include "rivals.h"
#include "spin.h"

/* One element less than the capacity fits unless it is asked for exactly. */
static int prepare(struct stage *stage, uint32_t capacity, uint32_t size, unsigned int flags)
{
	ssize_t sz = rte_ring_get_memsize_elem(size, 2 * capacity);
	int err;

	if (sz < 0)
		return (int)sz;
	err = stage_prepare_memory(stage, 2 * RIVAL_WHOLE_LINES((uint64_t)sz));
	for (int i = 0; !err && i < 2; i++)
		err = rte_ring_init(spin_queue(stage, i), "bench", capacity,
				    flags | RING_F_EXACT_SZ);
	return err;
}

#define SINGLE (RING_F_SP_ENQ | RING_F_SC_DEQ)
#define HEAD_TAIL (RING_F_MP_HTS_ENQ | RING_F_MC_HTS_DEQ)

static int prepare_spsc(struct stage *stage)
{
	return prepare(stage, RIVAL_SPSC_CAPACITY, 8, SINGLE);
}

static int prepare_stamped(struct stage *stage)
{
	return prepare(stage, RIVAL_STAMPED_CAPACITY, 56, SINGLE);
}

static int prepare_trips(struct stage *stage)
{
	return prepare(stage, RIVAL_TRIP_CAPACITY, 64, SINGLE);
}

static int prepare_mpmc(struct stage *stage)
{
	return prepare(stage, RIVAL_MPMC_CAPACITY, 8, 0);
}

static int prepare_hts(struct stage *stage)
{
	return prepare(stage, RIVAL_MPMC_CAPACITY, 8, HEAD_TAIL);
}

/* Both moves of one kind of ring and size of element. */
#define DPDK_MOVES(id, size, enqueue, dequeue)                                             \
	static STAGE_INLINE uint32_t id##_push(void *queue, void *elems, uint32_t nr)      \
	{                                                                                  \
		return enqueue(queue, elems, size, nr, NULL);                              \
	}                                                                                  \
	static STAGE_INLINE uint32_t id##_pop(void *queue, void *elems, uint32_t nr)       \
	{                                                                                  \
		return dequeue(queue, elems, size, nr, NULL);                              \
	}                                                                                  \
	SPIN_RIVAL(id, size, id##_push, id##_pop)

DPDK_MOVES(spsc, 8, rte_ring_sp_enqueue_burst_elem, rte_ring_sc_dequeue_burst_elem)
DPDK_MOVES(stamped, 56, rte_ring_sp_enqueue_burst_elem, rte_ring_sc_dequeue_burst_elem)
DPDK_MOVES(large, 64, rte_ring_sp_enqueue_burst_elem, rte_ring_sc_dequeue_burst_elem)
DPDK_MOVES(mpmc, 8, rte_ring_mp_enqueue_burst_elem, rte_ring_mc_dequeue_burst_elem)
DPDK_MOVES(hts, 8, rte_ring_mp_hts_enqueue_burst_elem, rte_ring_mc_hts_dequeue_burst_elem)

const struct rival dpdk_spsc = { "rte_ring SP/SC", RIVAL_SPINS, prepare_spsc, spsc_one_way,
				 spsc_one_way };
const struct rival dpdk_stamped = { "rte_ring SP/SC", RIVAL_SPINS, prepare_stamped, stamped_one_way,
				    stamped_one_way };
const struct rival dpdk_trips = { "rte_ring SP/SC", RIVAL_SPINS, prepare_trips, large_trips,
				  large_trips };
const struct rival dpdk_mpmc = { "rte_ring MP/MC", RIVAL_SPINS, prepare_mpmc, mpmc_one_way,
				 mpmc_one_way };
const struct rival dpdk_pairs = { "rte_ring MP/MC", RIVAL_SPINS, prepare_mpmc, mpmc_pairs,
				  mpmc_pairs };
const struct rival dpdk_hts = { "rte_ring HTS", RIVAL_SPINS, prepare_hts, hts_one_way,
				hts_one_way };
const struct rival dpdk_hts_pairs = { "rte_ring HTS", RIVAL_SPINS, prepare_hts, hts_pairs,
				      hts_pairs };
