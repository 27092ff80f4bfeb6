/* SPDX-License-Identifier: MIT */
/*
 * What stands for the rest of the driver around the files that are explored: inject.c,
 * remote.c, take.c, run.c, and ready.c, which sleeps. There is no ring, and no op of the
 * driver's own ever starts; scenario_inject.c has those of the remote ones.
 */
#include <stdlib.h>

#include "driver/driver.h"

_Thread_local char evr_thread_token;
const struct row *const evr_rows[ROWS_NR];

int evr_life_bad(const struct evr_driver *d)
{
	return -EXDEV;
}

void evr_workers_reap(struct evr_driver *d)
{
}

/* None of these is reached: nothing of what leads there is ever so. */
bool evr_recvmsg_is_over(const struct extra *extra, int res)
{
	abort();
}

void evr_workers_start(struct evr_driver *d, uint32_t index)
{
	abort();
}

void evr_ring_arm_wake(struct evr_driver *d)
{
	abort();
}

void evr_ring_cancel(struct evr_driver *d)
{
	abort();
}

int evr_ring_enter(struct evr_driver *d, bool wait, uint64_t until_ns)
{
	abort();
}

void evr_ring_reap(struct evr_driver *d)
{
	abort();
}

int evr_ring_turn(struct evr_driver *d, uint32_t min)
{
	abort();
}

void evr_backlog_flush(struct evr_driver *d)
{
	abort();
}

void evr_heap_fire(struct evr_driver *d)
{
	abort();
}

void evr_hubs_tell(struct evr_driver *d)
{
	abort();
}

void evr_done_flush(struct evr_driver *d)
{
	abort();
}

void evr_event(struct evr_driver *d, struct slot *s, uint32_t index, int res, uint32_t cflags)
{
	abort();
}

void evr_op_finish(struct evr_driver *d, struct slot *s, uint32_t index, int res, uint32_t cflags)
{
	abort();
}
