/* SPDX-License-Identifier: MIT */
/* Whether this peer settles deaths by itself, see evr_reap_auto(). */
#ifndef EVERING_LIB_REAP_H
#define EVERING_LIB_REAP_H

#include <stdbool.h>

#include <evering/peer.h>

bool evr_reap_is_auto(struct evr_peer *peer);

/*
 * A wait has learned that this peer is dead: settle it, unless the application wants to do
 * that, or somebody has done it.
 */
void evr_reap_learned(struct evr_peer *peer, struct evr_peer_id dead);

/* Some peer's state has changed: evr_reap_dead(), if any is dead. */
void evr_reap_event(struct evr_peer *peer);

#endif
