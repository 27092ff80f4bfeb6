/* SPDX-License-Identifier: MIT */
/*
 * The files above the backends once more, with a call of step() before each access
 * to shared memory. To be included after step() is defined.
 */
#ifndef EVERING_TEST_STEPS_H
#define EVERING_TEST_STEPS_H

#define EVR_ATOMIC_STEP(addr) ((void)(addr), step())

#include "crowd.c"
#include "dir.c"
#include "dir_create.c"
#include "dir_members.c"
#include "dir_table.c"
#include "heap.c"
#undef SZ_DEFAULT
#undef SZ_MIN
#undef SZ_MAX
#undef ALIGN_MAX
#include "heap_grow.c"
#undef ARENA_UNIT
#undef ARENA_SZ_BITS
#include "heap_reap.c"
#include "heap_runs.c"
#undef ALIGN_MAX
#include "heap_share.c"
#include "heap_slabs.c"
#include "heap_table.c"
#undef ALIGN_MAX
#include "heap_transfer.c"
#include "kinds.c"
#include "lane.c"
#include "lane_far.c"
#include "log.c"
#include "mpmc.c"
#include "mpmc_cells.c"
#include "mpmc_ledger.c"
#include "park.c"
#include "pool.c"
#include "reap.c"
#include "spsc.c"
#undef CAPACITY_DEFAULT
#undef CAPACITY_MAX
#include "bytes.c"
#include "slots.c"
#include "inbox.c"

#endif
