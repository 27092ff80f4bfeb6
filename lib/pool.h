/* SPDX-License-Identifier: MIT */
/* What the reaper needs of pools. */
#ifndef EVERING_LIB_POOL_H
#define EVERING_LIB_POOL_H

#include <evering/pool.h>
#include <evering/reap.h>

void evr_pool_reap(struct evr_peer *peer, const struct evr_object *obj,
		   struct evr_reap_report *report);

#endif
