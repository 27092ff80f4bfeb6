/* SPDX-License-Identifier: MIT */
/*
 * The local backend: no module, no root. What is lost against the device: rights
 * within a segment (whoever may write the file may write all of it), an identity
 * that cannot be forged, revocation, and a death notice that costs nothing to get.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <evering/error.h>

#include "internal.h"
#include "local.h"

static bool available(void)
{
	return true;
}

/* --- segments --- */

static uint32_t count_live(const struct evr_segment *segment)
{
	struct evr_peer_info info;
	uint32_t slot, nr = 0;

	for (slot = 0; slot < segment->layout.peers_max; slot++) {
		local_snapshot(segment, slot, &info);
		nr += info.state == EVR_PEER_LIVE;
	}
	return nr;
}

static void describe_file(int fd, const char *name, struct evr_segment_info *info)
{
	struct stat file;

	if (fstat(fd, &file))
		return;
	info->backend = EVR_BACKEND_LOCAL;
	info->backing = EVR_BACKING_SHMEM;
	info->bytes = (uint64_t)file.st_blocks * 512;
	info->mode = file.st_mode & 0777;
	info->owner_uid = file.st_uid;
	info->owner_gid = file.st_gid;
	info->published = name[0] && file.st_nlink;
	if (info->published)
		strcpy(info->name, name);
}

static int segment_info(const struct evr_segment *segment, struct evr_segment_info *info)
{
	const struct evr_layout *layout = &segment->layout;
	const struct local_header *header =
		(const struct local_header *)(local_of(segment)->status + LOCAL_HEADER_OFF);
	int err;

	err = local_file_check(segment, &info->size);
	if (err)
		return err;
	local_sweep(segment, EVR_SLOT_ANY);
	describe_file(segment->fd, segment->name, info);
	info->segment_id = layout->segment_id;
	info->shared_off = layout->shared_off;
	info->shared_sz = layout->shared_sz;
	info->peers_off = layout->peers_off;
	info->peer_sz = layout->peer_sz;
	info->grown_off = layout->grown_off;
	info->peers_max = layout->peers_max;
	info->peers = count_live(segment);
	info->rights = segment->rights;
	info->created_ns = evr_a64_load_relaxed(&header->created_ns);
	info->uid = evr_a32_load_relaxed(&header->uid);
	info->keep = evr_a32_load_relaxed(&header->is_kept);
	if (layout->flags & EVERING_SEGMENT_F_ISOLATED)
		info->flags |= EVR_SEGMENT_ISOLATED;
	if (info->keep)
		info->flags |= EVR_SEGMENT_KEEP;
	return 0;
}

static int segment_extents(const struct evr_segment *segment, struct evr_extent *extents,
			   uint32_t nr)
{
	return evr_fail(-EOPNOTSUPP, "the local backend does not know where its pages are");
}

static int segment_peers(const struct evr_segment *segment, struct evr_peer_info *infos,
			 uint32_t nr)
{
	struct evr_peer_info info;
	uint32_t slot, total = 0;

	local_sweep(segment, EVR_SLOT_ANY);
	for (slot = 0; slot < segment->layout.peers_max; slot++) {
		local_snapshot(segment, slot, &info);
		if (info.state == EVR_PEER_FREE)
			continue;
		if (total < nr)
			infos[total] = info;
		total++;
	}
	return (int)total;
}

/* Only who has no other way to the file can be kept from writing by an fd. */
static int segment_invite(struct evr_segment *segment, uint32_t rights, uint32_t flags)
{
	struct stat file;

	if (flags & EVR_INVITE_RESERVE)
		return evr_fail(-EOPNOTSUPP, "the local backend cannot reserve a slot");
	if (rights == segment->rights) {
		int fd = fcntl(segment->fd, F_DUPFD_CLOEXEC, 0);

		return fd >= 0 ? fd : evr_fail(-errno, "cannot copy the fd: %s", strerror(errno));
	}
	if (rights != EVR_RIGHT_OBSERVE)
		return evr_fail(-EOPNOTSUPP,
				"the local backend has fds with all rights or to observe (%#x), "
				"not with rights %#x",
				EVR_RIGHT_OBSERVE, rights);
	if (fstat(segment->fd, &file))
		return evr_fail(-errno, "cannot stat the segment: %s", strerror(errno));
	if (file.st_mode & 0022)
		return evr_fail(-EOPNOTSUPP,
				"mode %#o lets others open the segment for writing; make it with "
				"mode 0600 or 0644",
				file.st_mode & 0777);
	return local_file_reopen(segment->fd, O_RDONLY);
}

static int segment_revoke(struct evr_segment *segment, struct evr_peer_id id)
{
	return evr_fail(-EOPNOTSUPP, "the local backend cannot take memory away from a process; "
				     "end the process, or use the device");
}

/* --- the system --- */

/* Calls each() for one file; what is no segment, or an abandoned one, is passed over. */
static int list_file(const char *name, int (*each)(const struct evr_segment_info *info, void *arg),
		     void *arg)
{
	struct evr_segment_info info = { 0 };
	struct evr_segment *segment;
	struct stat file;
	char uri[EVR_NAME_SIZE + 8] = "local:";
	char path[EVR_NAME_SIZE + sizeof(LOCAL_PREFIX)] = LOCAL_PREFIX;
	int err;

	if (strlen(name) >= EVR_NAME_SIZE)
		return 0;
	strcat(uri, name);
	strcat(path, name);
	err = evr_segment_open(&segment, uri);
	if (!err) {
		err = segment_info(segment, &info);
		info.rights = 0;
		evr_segment_close(segment);
		return err ? 0 : each(&info, arg);
	}
	if (err != -EACCES || lstat(path, &file) || !S_ISREG(file.st_mode))
		return 0;
	info.backend = EVR_BACKEND_LOCAL;
	info.size = (uint64_t)file.st_size;
	info.bytes = (uint64_t)file.st_blocks * 512;
	info.mode = file.st_mode & 0777;
	info.owner_uid = info.uid = file.st_uid;
	info.owner_gid = file.st_gid;
	info.published = true;
	strcpy(info.name, name);
	return each(&info, arg);
}

static int list(int (*each)(const struct evr_segment_info *info, void *arg), void *arg)
{
	const char *prefix = strrchr(LOCAL_PREFIX, '/') + 1;
	struct dirent *entry;
	DIR *dir;
	int result = 0;

	dir = opendir("/dev/shm");
	if (!dir)
		return evr_fail(-errno,
				"cannot read /dev/shm: %s; local segments that have a name "
				"live there",
				strerror(errno));
	while (!result && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, prefix, strlen(prefix)))
			result = list_file(entry->d_name + strlen(prefix), each, arg);
	closedir(dir);
	if (!result)
		evr_error_clear();
	return result;
}

static int add_up(const struct evr_segment_info *info, void *arg)
{
	struct evr_system_info *system = arg;

	system->segments++;
	system->total_bytes += info->bytes;
	if (info->owner_uid == geteuid())
		system->uid_bytes += info->bytes;
	return 0;
}

static int system_info(struct evr_system_info *info)
{
	struct statvfs fs;
	int err = list(add_up, info);

	if (err)
		return err;
	if (statvfs("/dev/shm", &fs))
		return evr_fail(-errno, "cannot stat /dev/shm: %s", strerror(errno));
	info->abi_version = LOCAL_VERSION;
	info->total_bytes_max = (uint64_t)fs.f_blocks * fs.f_frsize;
	info->segment_bytes_max = info->total_bytes_max;
	info->uid_bytes_max = UINT64_MAX;
	info->segments_max = UINT32_MAX;
	info->peers_max = EVERING_PEERS_MAX;
	info->page_size = (uint32_t)evr_layout_page_size();
	info->block_size = EVERING_BLOCK_SIZE;
	return 0;
}

/* --- peers --- */

static uint64_t generation(const struct evr_peer *peer)
{
	return evr_a64_load_acquire(local_generation(peer->segment));
}

static int peer_info(struct evr_peer *peer, uint32_t slot, struct evr_peer_info *info)
{
	local_check_now(peer);
	local_snapshot(peer->segment, slot, info);
	return 0;
}

static int segment_sz(struct evr_peer *peer, uint64_t *sz)
{
	return local_file_check(peer->segment, sz);
}

static int bind_eventfd(struct evr_peer *peer, int eventfd)
{
	return evr_fail(-EOPNOTSUPP, "the local backend cannot signal an eventfd of another "
				     "process; poll evr_bell_fd() instead");
}

const struct evr_backend_ops evr_local_ops = {
	.backend = EVR_BACKEND_LOCAL,
	.available = available,
	.system_info = system_info,
	.list = list,
	.remove = local_file_remove,
	.create = local_file_create,
	.open = local_file_open,
	.adopt = local_file_adopt,
	.close = local_file_close,
	.info = segment_info,
	.extents = segment_extents,
	.peers = segment_peers,
	.invite = segment_invite,
	.grow = local_grow,
	.revoke = segment_revoke,
	.attach = local_attach,
	.detach = local_detach,
	.state = local_state,
	.generation = generation,
	.check = local_check,
	.peer_info = peer_info,
	.reaped = local_reaped,
	.segment_sz = segment_sz,
	.growths = local_growths,
	.ring = local_ring,
	.wait = local_wait,
	.read = local_read,
	.bell_fd = local_bell_fd,
	.bind = bind_eventfd,
};
