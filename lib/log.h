/* SPDX-License-Identifier: MIT */
/* What the files of logs share. */
#ifndef EVERING_LIB_LOG_H
#define EVERING_LIB_LOG_H

#include <evering/log.h>
#include <evering/reap.h>

/* In front of a record's data; written before its cells say that it is there. */
struct record_header {
	uint64_t sz;
	uint64_t stamp; /* its position: for who comes when its cells say nothing of it any more */
};

EVR_STATIC_ASSERT(sizeof(struct record_header) == EVR_RECORD_HEADER_SZ, "shared layout");

static inline uint8_t *evr_log_unit(const struct evr_log *log, uint64_t pos)
{
	return log->data + (pos & log->cells.mask) * log->unit_sz;
}

/* Units of a record; @sz is at most record_max. */
static inline uint32_t evr_log_units(const struct evr_log *log, uint64_t sz)
{
	return (uint32_t)((sz + EVR_RECORD_HEADER_SZ + log->unit_sz - 1) / log->unit_sz);
}

/* log.c: fill in a handle for the object that its cells name. -EINVAL, -EBADMSG */
int evr_log_view(struct evr_log *log);

/* The kind's settle(). */
void evr_log_settle(struct evr_peer *peer, const struct evr_object *obj,
		    struct evr_reap_report *report);

#endif
