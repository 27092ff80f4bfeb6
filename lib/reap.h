/* SPDX-License-Identifier: MIT */
/* Whether this peer settles deaths by itself, see evr_reap_auto(). */
#ifndef EVERING_LIB_REAP_H
#define EVERING_LIB_REAP_H

#include <stdbool.h>

struct evr_peer;

bool evr_reap_is_auto(struct evr_peer *peer);

/* Some peer's state has changed: evr_reap_dead(), if any is dead. */
void evr_reap_event(struct evr_peer *peer);

#endif
