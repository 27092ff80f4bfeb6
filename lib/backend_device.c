/* SPDX-License-Identifier: MIT */
/*
 * The device backend: each call is one ioctl of /dev/evering, and each errno gets
 * the sentence that says what to do about it. No policy.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <evering/error.h>
#include <evering/uapi.h>

#include "device.h"
#include "internal.h"

EVR_STATIC_ASSERT(EVR_NAME_SIZE == EVERING_NAME_SIZE, "one limit");
EVR_STATIC_ASSERT(EVR_PEERS_MAX == EVERING_PEERS_MAX, "one limit");
EVR_STATIC_ASSERT(EVR_SLOT_ANY == EVERING_SLOT_ANY, "passed on as it is");
EVR_STATIC_ASSERT(EVR_NO_DEADLINE == EVERING_NO_DEADLINE, "passed on as it is");
EVR_STATIC_ASSERT(EVR_SEGMENT_ISOLATED == EVERING_SEGMENT_F_ISOLATED, "passed on as it is");
EVR_STATIC_ASSERT(EVR_SEGMENT_CONTIGUOUS == EVERING_SEGMENT_F_CONTIGUOUS, "passed on as it is");
EVR_STATIC_ASSERT(EVR_RIGHTS_ALL == EVERING_RIGHTS_ALL, "passed on as they are");
EVR_STATIC_ASSERT(EVR_RIGHT_WRITE == EVERING_RIGHT_WRITE, "passed on as they are");
EVR_STATIC_ASSERT(EVR_RIGHT_ADMIN == EVERING_RIGHT_ADMIN, "passed on as they are");
EVR_STATIC_ASSERT(EVR_INVITE_RESERVE == EVERING_INVITE_F_RESERVE, "passed on as it is");
EVR_STATIC_ASSERT(EVR_PEER_OBSERVER == EVERING_ATTACH_F_OBSERVER, "passed on as it is");
EVR_STATIC_ASSERT(EVR_PEER_LIVE == EVERING_PEER_LIVE, "passed on as they are");
EVR_STATIC_ASSERT(EVR_PEER_RETIRED == EVERING_PEER_RETIRED, "passed on as they are");
EVR_STATIC_ASSERT(EVR_EXIT_REVOKE == EVERING_EXIT_REVOKE, "passed on as they are");
EVR_STATIC_ASSERT(EVR_BELL_PEER_EVENT == EVERING_BELL_PEER_EVENT, "passed on as it is");
EVR_STATIC_ASSERT(EVR_BELLS_USER == EVERING_BELLS_USER, "passed on as it is");
EVR_STATIC_ASSERT(sizeof(struct evr_bells) == sizeof(struct evering_bells), "copied as it is");

int device_call(int fd, unsigned long cmd, void *arg)
{
	int result = ioctl(fd, cmd, arg);

	return result < 0 ? -errno : result;
}

int device_explain(int err, const char *what, const struct device_advice *advice, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++)
		if (advice[i].err == -err)
			return evr_fail(err, "%s: %s", what, advice[i].text);
	if (err == -ENOTTY)
		return evr_fail(err,
				"%s: the module does not know this command; load the module "
				"of the library's version",
				what);
	return evr_fail(err, "%s: %s", what, evr_strerror(err));
}

/* --- the control fd --- */

/* The first Linux that the module is for, as kernel/compat.h has it. */
#define KERNEL_MAJOR 6
#define KERNEL_MINOR 1

static bool is_too_old(struct utsname *kernel)
{
	int major, minor;

	if (uname(kernel) || sscanf(kernel->release, "%d.%d", &major, &minor) != 2)
		return false;
	return major < KERNEL_MAJOR || (major == KERNEL_MAJOR && minor < KERNEL_MINOR);
}

static int open_control(void)
{
	static const struct device_advice advice[] = {
		{ ENODEV, "there is no device; load the module (modprobe evering), "
			  "or use the local backend (local:NAME)" },
		{ EACCES, "no permission; become a member of the device's group (evering), "
			  "or use the local backend (local:NAME)" },
	};
	struct utsname kernel;
	int fd = open(EVERING_DEVICE, O_RDWR | O_CLOEXEC), err;

	if (fd >= 0)
		return fd;
	err = -errno;
	if (err == -ENOENT || err == -ENXIO)
		err = -ENODEV;
	if (err == -ENODEV && is_too_old(&kernel))
		return evr_fail(err,
				EVERING_DEVICE ": there is no device, and Linux %s is too old for "
					       "its module; boot %d.%d or later, or use the local "
					       "backend (local:NAME)",
				kernel.release, KERNEL_MAJOR, KERNEL_MINOR);
	return DEVICE_EXPLAIN(err, EVERING_DEVICE, advice);
}

static bool available(void)
{
	int fd = open(EVERING_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/* A control fd of a module that we can talk to. */
static int open_checked(void)
{
	struct evering_info info = { .size = sizeof(info) };
	int fd = open_control(), err;

	if (fd < 0)
		return fd;
	err = device_call(fd, EVERING_IOC_INFO, &info);
	if (!err && info.abi_version != EVERING_ABI_VERSION)
		err = evr_fail(-EPROTO,
			       EVERING_DEVICE ": the module has kernel interface %u, this library "
					      "has %u; install both of the same version",
			       info.abi_version, EVERING_ABI_VERSION);
	else if (err == -ENOTTY)
		err = evr_fail(err,
			       EVERING_DEVICE ": this is something else than the module's device; "
					      "remove it and load the module (modprobe evering)");
	else if (err)
		err = device_explain(err, EVERING_DEVICE, NULL, 0);
	if (!err)
		return fd;
	close(fd);
	return err;
}

static int system_info(struct evr_system_info *out)
{
	struct evering_info info = { .size = sizeof(info) };
	int fd = open_checked(), err;

	if (fd < 0)
		return fd;
	err = device_call(fd, EVERING_IOC_INFO, &info);
	close(fd);
	if (err)
		return device_explain(err, EVERING_DEVICE, NULL, 0);
	out->abi_version = info.abi_version;
	out->features = info.features;
	out->segment_bytes_max = info.segment_bytes_max;
	out->total_bytes_max = info.total_bytes_max;
	out->total_bytes = info.total_bytes;
	out->uid_bytes_max = info.uid_bytes_max;
	out->uid_bytes = info.uid_bytes;
	out->segments_max = info.segments_max;
	out->segments = info.segments;
	out->peers_max = info.peers_max;
	out->page_size = info.page_size;
	out->block_size = info.block_size;
	return 0;
}

static void copy_listed(const struct evering_segment_entry *entry, struct evr_segment_info *info)
{
	memset(info, 0, sizeof(*info));
	info->backend = EVR_BACKEND_DEVICE;
	info->flags = entry->flags;
	info->segment_id = entry->segment_id;
	info->size = entry->segment_size;
	info->bytes = entry->bytes;
	info->created_ns = entry->created_ns;
	info->peers_max = entry->peers_max;
	info->peers = entry->peers;
	info->extents = entry->extents;
	info->mode = entry->mode;
	info->uid = info->owner_uid = entry->uid;
	info->owner_gid = entry->gid;
	info->published = true;
	info->keep = entry->publish_flags & EVERING_PUBLISH_F_KEEP;
	if (info->keep)
		info->flags |= EVR_SEGMENT_KEEP;
	memcpy(info->name, entry->name, sizeof(info->name));
}

static int list_on(int fd, int (*each)(const struct evr_segment_info *info, void *arg), void *arg)
{
	struct evering_segment_entry entries[16];
	struct evering_segment_list list = {
		.size = sizeof(list),
		.entries = (uintptr_t)entries,
	};
	struct evr_segment_info info;
	uint32_t i;
	int err;

	do {
		list.nr = 16;
		err = device_call(fd, EVERING_IOC_SEGMENT_LIST, &list);
		if (err)
			return device_explain(err, "list of segments", NULL, 0);
		for (i = 0; i < list.nr; i++) {
			copy_listed(&entries[i], &info);
			err = each(&info, arg);
			if (err)
				return err;
		}
	} while (list.cursor != UINT64_MAX && list.nr);
	return 0;
}

static int list(int (*each)(const struct evr_segment_info *info, void *arg), void *arg)
{
	int fd = open_checked(), err;

	if (fd < 0)
		return fd;
	err = list_on(fd, each, arg);
	close(fd);
	return err;
}

/* --- segments --- */

/* A segment fd with these rights (0 = what is allowed; out: what was given). */
static int open_name(const char *name, uint32_t *rights)
{
	static const struct device_advice advice[] = {
		{ ENOENT, "there is no such segment; 'evering ls' shows what is there" },
		{ EACCES, "its mode and owner do not let this user do that" },
	};
	struct evering_segment_open open = { .size = sizeof(open), .rights = *rights };
	int fd = open_checked(), err;

	if (fd < 0)
		return fd;
	strcpy(open.name, name);
	err = device_call(fd, EVERING_IOC_SEGMENT_OPEN, &open);
	close(fd);
	if (err)
		return DEVICE_EXPLAIN(err, name, advice);
	*rights = open.rights;
	return open.fd;
}

/* What SEGMENT_INFO says of the layout; the kernel has made it. */
static int read_info(struct evr_segment *segment)
{
	struct evering_segment_info info = { .size = sizeof(info) };
	struct evr_layout *layout = &segment->layout;
	int err = device_call(segment->fd, EVERING_IOC_SEGMENT_INFO, &info);

	if (err)
		return err;
	segment->rights = info.rights;
	layout->segment_id = info.segment_id;
	layout->segment_sz = info.segment_size;
	layout->status_sz = info.status_size;
	layout->shared_off = info.shared_offset;
	layout->shared_sz = info.shared_size;
	layout->peers_off = info.peers_offset;
	layout->peer_sz = info.peer_size;
	layout->grown_off = EVR_ROUND_UP(info.grown_offset, (uint64_t)EVERING_BLOCK_SIZE);
	layout->flags = info.flags;
	layout->peers_max = info.peers_max;
	layout->entries_off = EVERING_STATUS_ENTRIES_OFFSET;
	layout->entry_sz = sizeof(struct evering_status_entry);
	return 0;
}

/* A limit is reached: which, and how much of it is in use. */
static int explain_limit(int err, uint64_t asked, const struct evering_info *info)
{
	if (err == -EFBIG)
		return evr_fail(err,
				"create: %" PRIu64 " bytes are more than the module allows for one "
				"segment, %" PRIu64 " (parameter segment_bytes_max); ask for less",
				asked, (uint64_t)info->segment_bytes_max);
	if (err == -EDQUOT)
		return evr_fail(err,
				"create: over the quota of this user: %" PRIu64 " of %" PRIu64
				" bytes are in use, and %" PRIu64 " more were asked for "
				"(RLIMIT_MEMLOCK by default, see 'evering doctor'); raise it, "
				"ask for less, or remove segments",
				(uint64_t)info->uid_bytes, (uint64_t)info->uid_bytes_max, asked);
	return evr_fail(err,
			"create: the module's limit for all segments is reached: %" PRIu64
			" of %" PRIu64 " bytes and %u of %u segments are in use (parameters "
			"total_bytes_max, segments_max); ask for less, or remove segments",
			(uint64_t)info->total_bytes, (uint64_t)info->total_bytes_max,
			info->segments, info->segments_max);
}

static int explain_create(int err, int control, const struct evering_segment_create *create)
{
	static const struct device_advice advice[] = {
		{ ENOMEM, "the memory for it is not there" },
		{ EOPNOTSUPP, "this kernel has no shmem for it; take the backing 'pages'" },
		{ EINVAL, "the module refuses the sizes, the number of peers or the NUMA node; "
			  "see 'evering doctor' for its limits" },
	};
	struct evering_info info = { .size = sizeof(info) };

	if (err == -ENOSPC)
		return evr_fail(err,
				"create: the longest contiguous run that could be had is %" PRIu64
				" bytes; take that, leave CONTIGUOUS out, or try after a reboot",
				(uint64_t)create->best_run);
	if (err != -EFBIG && err != -EDQUOT && err != -ENFILE)
		return DEVICE_EXPLAIN(err, "create", advice);
	device_call(control, EVERING_IOC_INFO, &info);
	return explain_limit(err, create->shared_size + create->peers_max * create->peer_size,
			     &info);
}

static int publish(const struct evr_segment *segment, const struct evr_segment_options *options)
{
	static const struct device_advice advice[] = {
		{ EEXIST, "the name is taken; use another one or remove it ('evering rm')" },
		{ EPERM, "only a privileged user can give a segment to another user or group" },
		{ EINVAL, "the module refuses the name, the mode or the owner" },
	};
	struct evering_segment_publish arg = {
		.size = sizeof(arg),
		.mode = options->mode,
		.uid = options->uid,
		.gid = options->gid,
	};
	int err;

	if (options->flags & EVR_SEGMENT_KEEP)
		arg.flags |= EVERING_PUBLISH_F_KEEP;
	strcpy(arg.name, segment->name);
	err = device_call(segment->fd, EVERING_IOC_SEGMENT_PUBLISH, &arg);
	return err ? DEVICE_EXPLAIN(err, segment->name, advice) : 0;
}

static int segment_create(struct evr_segment *segment, const struct evr_segment_options *options)
{
	struct evering_segment_create create = {
		.size = sizeof(create),
		.flags = options->flags & EVERING_SEGMENT_F_ALL,
		.shared_size = options->shared_sz,
		.peer_size = options->peer_sz,
		.peers_max = options->peers_max,
		.node = options->node,
		.backing = options->backing,
	};
	int fd = open_checked(), err;

	if (fd < 0)
		return fd;
	err = device_call(fd, EVERING_IOC_SEGMENT_CREATE, &create);
	if (err)
		err = explain_create(err, fd, &create);
	close(fd);
	if (err)
		return err;
	segment->fd = create.fd;
	err = read_info(segment);
	if (err)
		return device_explain(err, "segment", NULL, 0);
	return segment->name[0] ? publish(segment, options) : 0;
}

static int segment_open(struct evr_segment *segment)
{
	uint32_t rights = segment->observes ? EVERING_RIGHT_OBSERVE : 0;
	int err;

	segment->fd = open_name(segment->name, &rights);
	if (segment->fd < 0)
		return segment->fd;
	err = read_info(segment);
	return err ? device_explain(err, segment->name, NULL, 0) : 0;
}

/* A peer fd answers SEGMENT_INFO too, but knows nothing of names. */
static bool is_peer_fd(int fd)
{
	struct evering_segment_unpublish nothing = { .size = sizeof(nothing), .flags = ~0U };

	return device_call(fd, EVERING_IOC_SEGMENT_UNPUBLISH, &nothing) == -ENOTTY;
}

static int segment_adopt(struct evr_segment *segment)
{
	int err = read_info(segment);

	if (err == -EBADF)
		return evr_fail(err, "fd %d is not open", segment->fd);
	/* Not an ioctl of that file, in the words of the kernel's file systems. */
	if (err == -ENOTTY || err == -EINVAL || err == -ENOSYS)
		return -ENOTTY;
	if (err)
		return device_explain(err, "segment fd", NULL, 0);
	if (is_peer_fd(segment->fd))
		return evr_fail(-EINVAL, "fd %d is a peer's, not a segment's", segment->fd);
	return 0;
}

static void segment_close(struct evr_segment *segment)
{
	if (segment->fd >= 0)
		close(segment->fd);
}

static int segment_info(const struct evr_segment *segment, struct evr_segment_info *out)
{
	struct evering_segment_info info = { .size = sizeof(info) };
	int err = device_call(segment->fd, EVERING_IOC_SEGMENT_INFO, &info);

	if (err)
		return device_explain(err, "segment", NULL, 0);
	out->backend = EVR_BACKEND_DEVICE;
	out->flags = info.flags;
	out->segment_id = info.segment_id;
	out->size = info.segment_size;
	out->shared_off = info.shared_offset;
	out->shared_sz = info.shared_size;
	out->peers_off = info.peers_offset;
	out->peer_sz = info.peer_size;
	out->grown_off = info.grown_offset;
	out->bytes = info.bytes;
	out->created_ns = info.created_ns;
	out->peers_max = info.peers_max;
	out->peers = info.peers;
	out->extents = info.extents;
	out->backing = info.backing;
	out->rights = info.rights;
	out->uid = info.uid;
	out->mode = info.mode;
	out->owner_uid = info.owner_uid;
	out->owner_gid = info.owner_gid;
	out->published = info.published;
	out->keep = info.publish_flags & EVERING_PUBLISH_F_KEEP;
	if (out->keep)
		out->flags |= EVR_SEGMENT_KEEP;
	memcpy(out->name, info.name, sizeof(out->name));
	return 0;
}

static int segment_extents(const struct evr_segment *segment, struct evr_extent *out, uint32_t nr)
{
	struct evering_extent entries[32];
	struct evering_segment_extents arg = {
		.size = sizeof(arg),
		.entries = (uintptr_t)entries,
	};
	uint32_t i;
	int err;

	do {
		arg.nr = nr - arg.first < 32 ? nr - arg.first : 32;
		err = device_call(segment->fd, EVERING_IOC_SEGMENT_EXTENTS, &arg);
		if (err)
			return device_explain(err, "extents", NULL, 0);
		for (i = 0; i < arg.nr; i++)
			out[arg.first + i] = (struct evr_extent){
				.off = entries[i].offset,
				.sz = entries[i].length,
				.phys = entries[i].phys,
				.node = entries[i].node,
			};
		arg.first += arg.nr;
	} while (arg.nr && arg.first < nr);
	return (int)arg.total;
}

static int segment_invite(struct evr_segment *segment, uint32_t rights, uint32_t flags)
{
	static const struct device_advice advice[] = {
		{ EUSERS, "there is no free slot to reserve" },
		{ EACCES, "this handle has not all of these rights, or not the one to invite" },
	};
	struct evering_peer_invite arg = {
		.size = sizeof(arg),
		.flags = flags,
		.rights = rights,
		.attaches_max = flags & EVERING_INVITE_F_RESERVE ? 1 : 0,
	};
	int err = device_call(segment->fd, EVERING_IOC_PEER_INVITE, &arg);

	return err ? DEVICE_EXPLAIN(err, "invite", advice) : arg.fd;
}

static int segment_grow(struct evr_segment *segment, uint64_t tag, struct evr_growth *growth)
{
	static const struct device_advice advice[] = {
		{ EDQUOT, "over the quota of this user (see 'evering doctor')" },
		{ EFBIG, "larger than the module allows for one segment" },
		{ EOPNOTSUPP, "an isolated segment has no memory for all to write, so it cannot "
			      "grow" },
	};
	struct evering_segment_grow arg = {
		.size = sizeof(arg),
		.flags = tag ? EVERING_GROW_F_TAG : 0,
		.bytes = growth->sz,
		.offset = tag,
	};
	int err = device_call(segment->fd, EVERING_IOC_SEGMENT_GROW, &arg);

	/* A module that knows no tags; it changed nothing. */
	if (err == -EINVAL && tag) {
		arg.flags = 0;
		err = device_call(segment->fd, EVERING_IOC_SEGMENT_GROW, &arg);
	}
	if (err)
		return DEVICE_EXPLAIN(err, "grow", advice);
	growth->off = arg.offset;
	return 0;
}

static int segment_revoke(struct evr_segment *segment, struct evr_peer_id id)
{
	static const struct device_advice advice[] = {
		{ EACCES, "this handle has not the right to revoke (ADMIN)" },
		{ ESTALE, "that peer has ended already" },
	};
	struct evering_peer_revoke arg = {
		.size = sizeof(arg),
		.slot = id.slot,
		.incarnation = id.incarnation,
	};
	int err = device_call(segment->fd, EVERING_IOC_PEER_REVOKE, &arg);

	return err ? DEVICE_EXPLAIN(err, "revoke", advice) : 0;
}

static int remove_name(const char *name)
{
	struct evering_segment_unpublish arg = { .size = sizeof(arg) };
	uint32_t rights = EVERING_RIGHT_ADMIN;
	int fd = open_name(name, &rights), err;

	if (fd < 0)
		return fd;
	err = device_call(fd, EVERING_IOC_SEGMENT_UNPUBLISH, &arg);
	close(fd);
	return err ? device_explain(err, name, NULL, 0) : 0;
}

const struct evr_backend_ops evr_device_ops = {
	.backend = EVR_BACKEND_DEVICE,
	.available = available,
	.system_info = system_info,
	.list = list,
	.remove = remove_name,
	.create = segment_create,
	.open = segment_open,
	.adopt = segment_adopt,
	.close = segment_close,
	.info = segment_info,
	.extents = segment_extents,
	.peers = device_peers,
	.invite = segment_invite,
	.grow = segment_grow,
	.revoke = segment_revoke,
	.attach = device_attach,
	.detach = device_detach,
	.state = device_state,
	.generation = device_generation,
	.check = device_check,
	.peer_info = device_peer_info,
	.reaped = device_reaped,
	.segment_sz = device_segment_sz,
	.growths = device_growths,
	.ring = device_ring,
	.wait = device_wait,
	.read = device_read,
	.bell_fd = device_bell_fd,
	.bind = device_bind,
};
