/* SPDX-License-Identifier: MIT */
/* What rings and the reaper need of the directory. */
#ifndef EVERING_LIB_DIR_H
#define EVERING_LIB_DIR_H

#include <evering/atomic.h>
#include <evering/dir.h>
#include <evering/reap.h>

/* The two owner words of an object's entry, see owner.h; NULL when there is no such entry. */
struct evr_a64 *evr_dir_owners(struct evr_peer *peer, const struct evr_object *obj);

/*
 * Settle what dead peers have left in the directories that this peer may write.
 * Idempotent. 0, or -errno when a directory is not one.
 */
int evr_dir_settle(struct evr_peer *peer, struct evr_reap_report *report);

#endif
