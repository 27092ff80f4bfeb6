/* SPDX-License-Identifier: MIT */
/* Segments and peers as the subcommands tell of them. */
#ifndef EVERING_TOOL_SEGMENT_H
#define EVERING_TOOL_SEGMENT_H

#include <evering/evering.h>

#include "format.h"
#include "json.h"

#define SEGMENT_TEXT_SZ 128

/* "shared, contiguous, grown": what kind of segment it is. */
const char *segment_kind_text(char *text, const struct evr_segment_info *info);

/* "observe write invite grow admin", or "none". */
const char *segment_rights_text(char *text, uint32_t rights);

/* "device:NAME", "local:NAME". */
const char *segment_uri_text(char *text, const struct evr_segment_info *info);

/* Says on stderr when @name means a local segment although the device is there: it may not be opened. */
void segment_tell_fallback(const char *name);

struct json_object *segment_to_json(const struct evr_segment_info *info);

/* Nanoseconds since @boottime_ns (CLOCK_BOOTTIME), 0 when that is not known. */
uint64_t segment_age_ns(uint64_t boottime_ns);

const char *peer_state_text(uint32_t state);

/*
 * "detached", "killed by SIGKILL", "exited with status 3", "revoked" ... Only the
 * device knows the status of a process.
 */
const char *peer_exit_text(char *text, const struct evr_peer_info *info, enum evr_backend backend);

/* "detach", "exit", "exec", "close", "revoke", "none": as in JSON. */
const char *peer_exit_reason(uint32_t reason);

struct json_object *peer_to_json(const struct evr_peer_info *info);

/*
 * All slots of @segment that are not free, in @peers, which the caller frees.
 * Returns how many, or negative errno.
 */
int segment_peers_get(const struct evr_segment *segment, struct evr_peer_info **peers);

/*
 * The lock of @segment, which whoever joins what all its users share, or leaves, holds
 * meanwhile; the kernel takes it from the dead. Waits. 0; -EINTR on a signal; -errno.
 */
int segment_lock(const struct evr_segment *segment);
void segment_unlock(const struct evr_segment *segment);

/*
 * Does @name still mean the segment @segment_id? Under its lock the answer stays true: who
 * removes a name holds the lock, and while it is there nobody can give it to another.
 */
bool segment_is_named(const char *name, uint64_t segment_id);

#endif
