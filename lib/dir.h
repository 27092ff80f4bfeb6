/* SPDX-License-Identifier: MIT */
/* What rings and the reaper need of the directory. */
#ifndef EVERING_LIB_DIR_H
#define EVERING_LIB_DIR_H

#include <stdbool.h>

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

/* At attach: what the slot's last peer has joined, or in an isolated segment made, this one has not. */
void evr_dir_members_reset(struct evr_peer *peer);

bool evr_dir_is_isolated(struct evr_peer *peer);

/* As evr_dir_create(), but a name counts as taken only in the directory that this peer creates in. */
int evr_dir_create_own(struct evr_peer *peer, const char *name, uint32_t kind, uint64_t sz,
		       struct evr_object *out);

/*
 * In an isolated segment: look in the directory of this peer alone, also when it has died
 * and its slot has not gone on to another. No detail text.
 */
bool evr_dir_find_in(struct evr_peer *peer, struct evr_peer_id id, const char *name,
		     struct evr_object *out);

/* The control word of an object's entry, and whether it still speaks of that object. */
const struct evr_a64 *evr_dir_ctl(struct evr_peer *peer, const struct evr_object *obj);
bool evr_dir_ctl_is_of(const struct evr_a64 *ctl, uint32_t gen);

/*
 * In an isolated segment: tell all others that there is something new to find in this
 * peer's halves of lanes. And the sum of what the peer in @slot has told, or all have
 * for EVR_SLOT_ANY, and of who has come or gone: while it stays there is nothing new. What one
 * has told is not made up for by another, nor by whoever had the slot before: each weighs what
 * nobody else knows.
 */
void evr_dir_turn(struct evr_peer *peer);
uint64_t evr_dir_turns(struct evr_peer *peer, uint32_t slot);

/*
 * Settle what dead peers have left in the directories that this peer may write.
 * Idempotent. 0, or -errno when a directory is not one.
 */
int evr_dir_settle(struct evr_peer *peer, struct evr_reap_report *report);

#endif
