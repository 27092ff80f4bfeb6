/* SPDX-License-Identifier: MIT */
/* What abi32 asks for and what it reports; same layout for 32 and 64 bits. */
#ifndef EVERING_TESTS_ABI32_H
#define EVERING_TESTS_ABI32_H

#include <evering/uapi.h>

#define ABI32_MAGIC 0x32334142U
#define ABI32_SHARED 4096
#define ABI32_PEER 8192
#define ABI32_PEERS 3
#define ABI32_COOKIE 0xfedcba9876543210ULL
#define ABI32_BITS 0x4000000100000001ULL

/* Results are of the calls, in their order: 0 or more, or -errno. */
struct abi32_report {
	struct evering_info info;
	struct evering_segment_create create;
	struct evering_peer_attach attach;
	struct evering_bell_ring ring;
	struct evering_bell_wait wait;
	struct evering_peer_list list;
	struct evering_peer_entry peer;
	__u32 magic;
	__s32 open, info_ret, create_ret, attach_ret, ring_ret, wait_ret, list_ret, read_ret;
	__u32 __pad;
};

#endif
