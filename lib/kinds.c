/* SPDX-License-Identifier: MIT */
/* Kinds of objects: one row for each noun that lives in the directory. */
#include "kinds.h"

#include "bcast.h"
#include "channel.h"
#include "heap_table.h"
#include "log.h"
#include "mpmc.h"
#include "pool.h"

static const struct evr_kind kinds[] = {
	{ EVR_KIND_SPSC, "spsc", NULL },
	{ EVR_KIND_BYTES, "bytes", NULL },
	{ EVR_KIND_SLOTS, "slots", NULL },
	{ EVR_KIND_INBOX, "inbox", NULL },
	{ EVR_KIND_MPMC, "mpmc", evr_mpmc_settle },
	{ EVR_KIND_CHANNEL, "channel", evr_channel_reap },
	{ EVR_KIND_HEAP, "heap", evr_heap_reap },
	{ EVR_KIND_POOL, "pool", evr_pool_reap },
	{ EVR_KIND_LOG, "log", evr_log_settle },
	{ EVR_KIND_BCAST, "bcast", evr_bcast_settle },
};

const struct evr_kind *evr_kind_find(uint32_t kind)
{
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i].kind == kind)
			return &kinds[i];
	return NULL;
}
