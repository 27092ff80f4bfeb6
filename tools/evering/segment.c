// SPDX-License-Identifier: MIT
/* Segments and peers as the subcommands tell of them. */
#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <evering/uapi.h>

#include "message.h"

const char *segment_kind_text(char *text, const struct evr_segment_info *info)
{
	/* Of one that may not be opened it is not known; slots it has. */
	if (!info->peers_max) {
		snprintf(text, SEGMENT_TEXT_SZ, "may not be opened");
		return text;
	}
	snprintf(text, SEGMENT_TEXT_SZ, "%s%s%s%s",
		 info->flags & EVR_SEGMENT_ISOLATED ? "isolated" : "shared",
		 info->flags & EVR_SEGMENT_CONTIGUOUS ? ", contiguous" : "",
		 info->backend == EVR_BACKEND_DEVICE && info->backing == EVR_BACKING_SHMEM ?
			 ", mapped by shmem" :
			 "",
		 info->grown_off < info->size ? ", grown" : "");
	return text;
}

static const char *const rights_names[] = { "observe", "write", "invite", "grow", "admin" };

const char *segment_rights_text(char *text, uint32_t rights)
{
	size_t used = 0;

	snprintf(text, SEGMENT_TEXT_SZ, "none");
	for (unsigned int i = 0; i < 5; i++) {
		if (rights & 1U << i)
			used += (size_t)snprintf(text + used, SEGMENT_TEXT_SZ - used, "%s%s",
						 used ? " " : "", rights_names[i]);
	}
	return text;
}

const char *segment_uri_text(char *text, const struct evr_segment_info *info)
{
	snprintf(text, SEGMENT_TEXT_SZ, "%s:%s", evr_backend_name(info->backend), info->name);
	return text;
}

void segment_tell_fallback(const char *name)
{
	int fd;

	if (strchr(name, ':'))
		return;
	fd = open(EVERING_DEVICE, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	else if (errno == EACCES || errno == EPERM)
		message("%s is taken as local:%s: " EVERING_DEVICE
			" may not be opened; become a member of its group (evering), or write local:%s",
			name, name, name);
}

uint64_t segment_age_ns(uint64_t boottime_ns)
{
	struct timespec now;
	uint64_t now_ns;

	clock_gettime(CLOCK_BOOTTIME, &now);
	now_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	return boottime_ns && now_ns > boottime_ns ? now_ns - boottime_ns : 0;
}

struct json_object *segment_to_json(const struct evr_segment_info *info)
{
	struct json_object *object = json_object_new_object();
	struct json_object *rights = json_object_new_array();
	char mode[8];

	for (unsigned int i = 0; i < 5; i++) {
		if (info->rights & 1U << i)
			json_object_array_add(rights, json_object_new_string(rights_names[i]));
	}
	snprintf(mode, sizeof(mode), "%04o", info->mode);
	json_add_text(object, "backend", evr_backend_name(info->backend));
	json_add_text(object, "name", info->name);
	json_add_text(object, "backing", evr_backing_name(info->backing));
	json_add_u64(object, "id", info->segment_id);
	json_add_u64(object, "size", info->size);
	json_add_u64(object, "bytes", info->bytes);
	json_add_bool(object, "isolated", info->flags & EVR_SEGMENT_ISOLATED);
	json_add_bool(object, "contiguous", info->flags & EVR_SEGMENT_CONTIGUOUS);
	json_add_u64(object, "shared_offset", info->shared_off);
	json_add_u64(object, "shared_size", info->shared_sz);
	json_add_u64(object, "peers_offset", info->peers_off);
	json_add_u64(object, "peer_size", info->peer_sz);
	json_add_u64(object, "grown_offset", info->grown_off);
	json_add_u64(object, "extents", info->extents);
	json_add_u64(object, "peers", info->peers);
	json_add_u64(object, "peers_max", info->peers_max);
	json_object_object_add(object, "rights", rights);
	json_add_text(object, "mode", mode);
	json_add_u64(object, "uid", info->uid);
	json_add_u64(object, "owner_uid", info->owner_uid);
	json_add_u64(object, "owner_gid", info->owner_gid);
	json_add_bool(object, "published", info->published);
	json_add_bool(object, "keep", info->keep);
	json_add_u64(object, "created_ns", info->created_ns);
	return object;
}

const char *peer_state_text(uint32_t state)
{
	static const char *const names[] = {
		"free", "reserved", "live", "dying", "dead", "retired"
	};

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

const char *peer_exit_reason(uint32_t reason)
{
	static const char *const names[] = { "none", "detach", "exit", "exec", "close", "revoke" };

	return reason < sizeof(names) / sizeof(names[0]) ? names[reason] : "unknown";
}

static const char *process_exit_text(char *text, uint32_t status)
{
	int number = (int)status;

	if (WIFSIGNALED(number)) {
		const char *name = sigabbrev_np(WTERMSIG(number));

		snprintf(text, SEGMENT_TEXT_SZ, "killed by %s%s", name ? "SIG" : "signal ",
			 name ? name : "");
		if (!name)
			snprintf(text, SEGMENT_TEXT_SZ, "killed by signal %d", WTERMSIG(number));
	} else {
		snprintf(text, SEGMENT_TEXT_SZ, "exited with status %d", WEXITSTATUS(number));
	}
	return text;
}

const char *peer_exit_text(char *text, const struct evr_peer_info *info, enum evr_backend backend)
{
	static const char *const texts[] = { "gone",	      "detached",	 "process ended",
					     "called execve", "closed its file", "revoked" };

	if (info->exit_reason == EVR_EXIT_EXIT && backend == EVR_BACKEND_DEVICE)
		return process_exit_text(text, info->exit_status);
	snprintf(text, SEGMENT_TEXT_SZ, "%s",
		 info->exit_reason < sizeof(texts) / sizeof(texts[0]) ? texts[info->exit_reason] :
									"gone");
	return text;
}

struct json_object *peer_to_json(const struct evr_peer_info *info)
{
	struct json_object *object = json_object_new_object();
	char text[SEGMENT_TEXT_SZ];

	json_add_u64(object, "slot", info->id.slot);
	json_add_u64(object, "incarnation", info->id.incarnation);
	json_add_text(object, "state", peer_state_text(info->state));
	json_add_int(object, "pid", info->pid);
	json_add_u64(object, "uid", info->uid);
	json_add_text(object, "rights", segment_rights_text(text, info->rights));
	json_add_u64(object, "cookie", info->cookie);
	json_add_u64(object, "rung", info->rung);
	json_add_u64(object, "suppressed", info->suppressed);
	json_add_u64(object, "attached_ns", info->attached_ns);
	json_add_text(object, "exit_reason", peer_exit_reason(info->exit_reason));
	json_add_u64(object, "exit_status", info->exit_status);
	return object;
}

int segment_peers_get(const struct evr_segment *segment, struct evr_peer_info **peers)
{
	uint32_t room = EVR_PEERS_MAX;
	int nr;

	*peers = calloc(room, sizeof(**peers));
	if (!*peers)
		return -ENOMEM;
	nr = evr_segment_peers(segment, *peers, room);
	if (nr < 0) {
		free(*peers);
		*peers = NULL;
	}
	return nr > (int)room ? (int)room : nr;
}

int segment_lock(const struct evr_segment *segment)
{
	return flock(evr_segment_fd(segment), LOCK_EX) ? -errno : 0;
}

void segment_unlock(const struct evr_segment *segment)
{
	flock(evr_segment_fd(segment), LOCK_UN);
}

bool segment_is_named(const char *name, uint64_t segment_id)
{
	struct evr_segment_info info;
	struct evr_segment *found;
	bool same;

	if (evr_segment_open(&found, name))
		return false;
	same = !evr_segment_info(found, &info) && info.segment_id == segment_id;
	evr_segment_close(found);
	return same;
}
