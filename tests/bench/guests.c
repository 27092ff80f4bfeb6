// SPDX-License-Identifier: MIT
/* Which rival of other people joins which bench, of those that this build has. */
#include "rivals.h"

const struct bench_guest bench_guests[] = {
#ifdef HAVE_CK
	{ &spsc_bench, &ck_spsc, 8 },
	{ &stamped_bench, &ck_stamped, 56 },
	{ &ringtrip_bench, &ck_trips, 64 },
	{ &mpmc_bench, &ck_mpmc, 8 },
	{ &pairs_bench, &ck_pairs, 8 },
#endif
#ifdef HAVE_DPDK
	{ &spsc_bench, &dpdk_spsc, 8 },
	{ &stamped_bench, &dpdk_stamped, 56 },
	{ &ringtrip_bench, &dpdk_trips, 64 },
	{ &mpmc_bench, &dpdk_mpmc, 8 },
	{ &mpmc_bench, &dpdk_hts, 8 },
	{ &pairs_bench, &dpdk_pairs, 8 },
	{ &pairs_bench, &dpdk_hts_pairs, 8 },
#endif
#ifdef HAVE_BOOST
	{ &spsc_bench, &boost_spsc, 8 },
	{ &stamped_bench, &boost_stamped, 56 },
	{ &ringtrip_bench, &boost_trips, 64 },
	{ &mpmc_bench, &boost_mpmc, 8 },
	{ &pairs_bench, &boost_pairs, 8 },
	{ &ringtrip_bench, &boost_queue_trips },
	{ &bytes_bench, &boost_queue_stream },
	{ &call_bench, &boost_queue_calls },
#endif
#ifdef HAVE_ZMQ
	{ &ringtrip_bench, &zmq_trips },
	{ &bytes_bench, &zmq_stream },
	{ &call_bench, &zmq_calls },
#endif
#ifdef HAVE_NNG
	{ &ringtrip_bench, &nng_pair_trips },
	{ &bytes_bench, &nng_pair_stream },
	{ &call_bench, &nng_pair_calls },
#endif
#ifdef HAVE_UCX
	{ &ringtrip_bench, &ucx_trips },
	{ &bytes_bench, &ucx_stream },
	{ &call_bench, &ucx_calls },
#endif
	{ &ringtrip_bench, &mq_trips },
	{ &bytes_bench, &mq_stream },
	{ &call_bench, &mq_calls },
	{ &heap_bench, &mimalloc_pairs },
	{ &heap_many_bench, &mimalloc_many },
	{ &heap_random_bench, &mimalloc_random },
	{ &heap_remote_bench, &mimalloc_remote },
	{ &heap_bench, &jemalloc_pairs },
	{ &heap_many_bench, &jemalloc_many },
	{ &heap_random_bench, &jemalloc_random },
	{ &heap_remote_bench, &jemalloc_remote },
	{ NULL },
};
