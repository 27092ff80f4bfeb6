/* SPDX-License-Identifier: MIT */
/* Systems of other people that Debian packages; each in a file of its own, linked when it is there. */
#ifndef EVERING_RIVALS_H
#define EVERING_RIVALS_H

#include "bench.h"

#ifdef __cplusplus
extern "C" {
#endif

/* As many elements as evering's own rings have in the same bench. */
#define RIVAL_SPSC_CAPACITY 8192
#define RIVAL_STAMPED_CAPACITY 1024
#define RIVAL_MPMC_CAPACITY 2048
#define RIVAL_TRIP_CAPACITY 64

/* What lies side by side does not share lines. */
#define RIVAL_WHOLE_LINES(sz) (((sz) + EVR_LINE_SZ - 1) / EVR_LINE_SZ * EVR_LINE_SZ)

extern const struct rival ck_spsc, ck_stamped, ck_trips, ck_mpmc, ck_pairs;
extern const struct rival dpdk_spsc, dpdk_stamped, dpdk_trips, dpdk_mpmc, dpdk_pairs;
extern const struct rival dpdk_hts, dpdk_hts_pairs;
extern const struct rival boost_spsc, boost_stamped, boost_trips, boost_mpmc, boost_pairs;
extern const struct rival boost_queue_trips, boost_queue_stream, boost_queue_calls;
extern const struct rival zmq_trips, zmq_stream, zmq_calls;
extern const struct rival nng_pair_trips, nng_pair_stream, nng_pair_calls;
extern const struct rival ucx_trips, ucx_stream, ucx_calls;
extern const struct rival mq_trips, mq_stream, mq_calls;
extern const struct rival mimalloc_pairs, mimalloc_many, mimalloc_random, mimalloc_remote;
extern const struct rival jemalloc_pairs, jemalloc_many, jemalloc_random, jemalloc_remote;

#ifdef __cplusplus
}
#endif

#endif
