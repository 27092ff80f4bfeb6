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
 * Say that this peer uses an object's memory, so that nobody removes it meanwhile; for
 * objects that many use and that have no roles. Calls nest: each join has its leave.
 * An object in another peer's region is that peer's to remove, whoever uses it.
 * Return: 0; -ENOENT it was removed just now; -ENOMEM; -EINVAL; as evr_dir_find().
 */
int evr_dir_join(struct evr_peer *peer, const struct evr_object *obj);
void evr_dir_leave(struct evr_peer *peer, const struct evr_object *obj);

/* At attach: what the slot's last peer has joined this one has not. */
void evr_dir_members_reset(struct evr_peer *peer);

/*
 * Settle what dead peers have left in the directories that this peer may write.
 * Idempotent. 0, or -errno when a directory is not one.
 */
int evr_dir_settle(struct evr_peer *peer, struct evr_reap_report *report);

#endif
