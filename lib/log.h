/* SPDX-License-Identifier: MIT */
#ifndef EVERING_LIB_LOG_H
#define EVERING_LIB_LOG_H

#include <evering/log.h>
#include <evering/reap.h>

/* The kind's settle(). */
void evr_log_settle(struct evr_peer *peer, const struct evr_object *obj,
		    struct evr_reap_report *report);

#endif
