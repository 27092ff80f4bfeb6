/* SPDX-License-Identifier: MIT */
/* Kinds of objects: one row for each noun that lives in the directory. */
#include "kinds.h"

#include "bcast.h"
#include "channel.h"
#include "heap_table.h"
#include "log.h"
#include "mpmc.h"
#include "object.h"
#include "pool.h"

static const struct evr_kind kinds[] = {
	{ EVR_KIND_SPSC, "spsc", NULL, evr_lane_object_stat, NULL },
	{ EVR_KIND_BYTES, "bytes", NULL, evr_lane_object_stat, NULL },
	{ EVR_KIND_SLOTS, "slots", NULL, evr_lane_object_stat, NULL },
	{ EVR_KIND_INBOX, "inbox", NULL, evr_lane_object_stat, NULL },
	{ EVR_KIND_MPMC, "mpmc", evr_mpmc_settle, evr_mpmc_object_stat, evr_mpmc_object_held },
	{ EVR_KIND_CHANNEL, "channel", evr_channel_reap, evr_channel_object_stat, NULL },
	{ EVR_KIND_HEAP, "heap", evr_heap_reap, evr_heap_object_stat, evr_heap_object_held },
	{ EVR_KIND_POOL, "pool", evr_pool_reap, evr_pool_object_stat, evr_pool_object_held },
	{ EVR_KIND_LOG, "log", evr_log_settle, evr_log_object_stat, evr_log_object_held },
	{ EVR_KIND_BCAST, "bcast", evr_bcast_settle, evr_bcast_object_stat, evr_bcast_object_held },
	{ EVR_KIND_PORT, "port", .ends_with_creator = true },
	{ EVR_KIND_HUB, "hub" },
	{ EVR_KIND_SEAT, "seat" },
};

const struct evr_kind *evr_kind_find(uint32_t kind)
{
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i].kind == kind)
			return &kinds[i];
	return NULL;
}
