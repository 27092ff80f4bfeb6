// SPDX-License-Identifier: GPL-2.0
/*
 * ioctls: one table for each kind of fd, one struct with its size first for each
 * command. A command is known by direction, magic and number; the size in the ioctl
 * number is ignored, so that a struct can grow. What a newer caller appends must be
 * zero.
 */
#include <linux/compat.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "evering.h"

/* The structs of ABI 1 never change; new fields are appended. */
static_assert(sizeof(struct evering_info) == 80);
static_assert(sizeof(struct evering_segment_create) == 64);
static_assert(sizeof(struct evering_segment_open) == 80);
static_assert(sizeof(struct evering_segment_publish) == 88);
static_assert(sizeof(struct evering_segment_unpublish) == 8);
static_assert(sizeof(struct evering_segment_info) == 200);
static_assert(sizeof(struct evering_segment_entry) == 128);
static_assert(sizeof(struct evering_segment_list) == 24);
static_assert(sizeof(struct evering_extent) == 32);
static_assert(sizeof(struct evering_segment_extents) == 24);
static_assert(sizeof(struct evering_segment_grow) == 32);
static_assert(sizeof(struct evering_growth) == 24);
static_assert(sizeof(struct evering_segment_growths) == 24);
static_assert(sizeof(struct evering_peer_attach) == 40);
static_assert(sizeof(struct evering_peer_invite) == 24);
static_assert(sizeof(struct evering_peer_detach) == 8);
static_assert(sizeof(struct evering_peer_revoke) == 16);
static_assert(sizeof(struct evering_peer_reaped) == 16);
static_assert(sizeof(struct evering_peer_entry) == 72);
static_assert(sizeof(struct evering_peer_list) == 24);
static_assert(sizeof(struct evering_bell) == 24);
static_assert(sizeof(struct evering_bell_ring) == 16);
static_assert(sizeof(struct evering_bells) == 40);
static_assert(sizeof(struct evering_bell_wait) == 64);
static_assert(sizeof(struct evering_bell_bind) == 8);
static_assert(sizeof(struct evering_uring_ring) == 16);
static_assert(sizeof(struct evering_uring_wait) == 16);
static_assert(sizeof(struct evering_uring_cancel) == 16);
static_assert(sizeof(struct evering_status_header) == EVERING_STATUS_ENTRIES_OFFSET);
static_assert(offsetof(struct evering_status_header, generation) == 128);
static_assert(sizeof(struct evering_status_entry) == 64);

/* Room for the largest of them. */
#define EVERING_ARG_MAX 256

static const struct evering_command control_commands[] = {
	EVERING_COMMAND(INFO, info, 0, evering_call_info),
	EVERING_COMMAND(SEGMENT_CREATE, segment_create, 0, evering_call_create),
	EVERING_COMMAND(SEGMENT_OPEN, segment_open, 0, evering_call_open),
	EVERING_COMMAND(SEGMENT_LIST, segment_list, 0, evering_call_segment_list),
	{}
};

static const struct evering_command segment_commands[] = {
	EVERING_COMMAND(INFO, info, 0, evering_call_info),
	EVERING_COMMAND(SEGMENT_INFO, segment_info, 0, evering_call_segment_info),
	EVERING_COMMAND(SEGMENT_EXTENTS, segment_extents, 0, evering_call_extents),
	EVERING_COMMAND(SEGMENT_GROWTHS, segment_growths, 0, evering_call_growths),
	EVERING_COMMAND(SEGMENT_PUBLISH, segment_publish, EVERING_RIGHT_ADMIN,
			evering_call_publish),
	EVERING_COMMAND(SEGMENT_UNPUBLISH, segment_unpublish, EVERING_RIGHT_ADMIN,
			evering_call_unpublish),
	EVERING_COMMAND(SEGMENT_GROW, segment_grow, EVERING_RIGHT_GROW, evering_call_grow),
	EVERING_COMMAND(PEER_ATTACH, peer_attach, 0, evering_call_attach),
	EVERING_COMMAND(PEER_INVITE, peer_invite, EVERING_RIGHT_INVITE, evering_call_invite),
	EVERING_COMMAND(PEER_LIST, peer_list, 0, evering_call_peer_list),
	/* Checks itself: ADMIN, or privilege. */
	EVERING_COMMAND(PEER_REVOKE, peer_revoke, 0, evering_call_revoke),
	{}
};

static const struct evering_command peer_commands[] = {
	EVERING_COMMAND(BELL_RING, bell_ring, EVERING_RIGHT_WRITE, evering_call_ring),
	EVERING_COMMAND(BELL_WAIT, bell_wait, 0, evering_call_wait),
	EVERING_COMMAND(INFO, info, 0, evering_call_info),
	EVERING_COMMAND(SEGMENT_INFO, segment_info, 0, evering_call_segment_info),
	EVERING_COMMAND(SEGMENT_EXTENTS, segment_extents, 0, evering_call_extents),
	EVERING_COMMAND(SEGMENT_GROWTHS, segment_growths, 0, evering_call_growths),
	EVERING_COMMAND(PEER_DETACH, peer_detach, 0, evering_call_detach),
	EVERING_COMMAND(PEER_LIST, peer_list, 0, evering_call_peer_list),
	EVERING_COMMAND(PEER_REAPED, peer_reaped, EVERING_RIGHT_WRITE, evering_call_reaped),
	EVERING_COMMAND(BELL_BIND, bell_bind, 0, evering_call_bind),
	{}
};

/* Return: the command, or NULL. Only the size in the ioctl number may differ. */
const struct evering_command *evering_command_find(const struct evering_command *table,
						   unsigned int cmd)
{
	const unsigned int ignored = _IOC_SIZEMASK << _IOC_SIZESHIFT;

	for (; table->run; table++)
		if (!((table->cmd ^ cmd) & ~ignored))
			return table;
	return NULL;
}

/* Return: whether a struct of usize bytes may stand for one of ksize, 0 or -errno. */
int evering_size_check(u32 usize, u32 ksize)
{
	if (usize < ksize)
		return -EINVAL;
	if (usize > PAGE_SIZE)
		return -E2BIG;
	return 0;
}

/**
 * evering_call_fd() - reserve an fd number for a file that the command makes.
 * @call: the command
 * @file: is taken over, also on failure
 *
 * Return: the number, to be put into the struct, or -errno.
 */
int evering_call_fd(struct evering_call *call, struct file *file)
{
	int fd = get_unused_fd_flags(O_CLOEXEC);

	if (fd < 0) {
		fput(file);
		return fd;
	}
	call->new_file = file;
	call->new_fd = fd;
	return fd;
}

static int copy_arg_in(void *arg, const struct evering_command *command, void __user *user,
		       u32 *usize)
{
	int rc;

	if (get_user(*usize, (u32 __user *)user))
		return -EFAULT;
	rc = evering_size_check(*usize, command->size);
	if (rc)
		return rc;
	rc = copy_struct_from_user(arg, command->size, user, *usize);
	/* Another thread may have changed it since. */
	*(u32 *)arg = *usize;
	return rc;
}

static long run_command(struct evering_call *call, const struct evering_command *command,
			void __user *user)
{
	long rc;

	rc = command->run(call);
	if ((rc >= 0 || call->write_back) && (_IOC_DIR(command->cmd) & _IOC_READ) &&
	    copy_to_user(user, call->arg, command->size)) {
		if (call->undo)
			call->undo(call);
		rc = -EFAULT;
	}
	if (!call->new_file)
		return rc;
	if (rc < 0) {
		put_unused_fd(call->new_fd);
		fput(call->new_file);
		return rc;
	}
	if (call->commit)
		call->commit(call);
	fd_install(call->new_fd, call->new_file);
	return rc;
}

static long control_check(struct file *file, const struct evering_command *command)
{
	return 0;
}

static long segment_check(struct file *file, const struct evering_command *command)
{
	const struct evering_grant *grant = file->private_data;

	return command->rights & ~grant->rights ? -EACCES : 0;
}

static long peer_check(struct file *file, const struct evering_command *command)
{
	const struct evering_peer *peer = evering_file_peer(file);

	if (command->cmd == EVERING_IOC_INFO)
		return 0;
	if (READ_ONCE(peer->ended))
		return -EOWNERDEAD;
	return command->rights & ~peer->rights ? -EACCES : 0;
}

static long dispatch(struct file *file, unsigned int cmd, void __user *user,
		     const struct evering_command *table,
		     long (*check)(struct file *file, const struct evering_command *command))
{
	const struct evering_command *command = evering_command_find(table, cmd);
	u64 arg[EVERING_ARG_MAX / sizeof(u64)];
	struct evering_call call = { .file = file, .arg = arg };
	u32 usize;
	long rc;

	if (!command)
		return -ENOTTY;
	if (WARN_ON_ONCE(command->size > sizeof(arg)))
		return -ENOTTY;
	rc = copy_arg_in(arg, command, user, &usize);
	if (!rc)
		rc = check(file, command);
	return rc ?: run_command(&call, command, user);
}

long evering_control_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return dispatch(file, cmd, (void __user *)arg, control_commands, control_check);
}

long evering_segment_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return dispatch(file, cmd, (void __user *)arg, segment_commands, segment_check);
}

long evering_peer_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return dispatch(file, cmd, (void __user *)arg, peer_commands, peer_check);
}

long evering_call_info(struct evering_call *call)
{
	struct evering_info *info = call->arg;
	struct evering_limits limits;

	if (info->__resv)
		return -EINVAL;
	evering_limbo_sweep();
	evering_limits_get(&limits);
	info->abi_version = EVERING_ABI_VERSION;
	info->features = EVERING_FEAT_GROW_TAG;
	if (IS_ENABLED(CONFIG_IO_URING)) {
		info->features |= EVERING_FEAT_URING_RING;
		if (EVERING_HAS_URING_WAIT)
			info->features |= EVERING_FEAT_URING_WAIT;
		if (EVERING_HAS_FIXED_BUFFERS)
			info->features |= EVERING_FEAT_FIXED_BUFFERS;
	}
	if (EVERING_HAS_CONTIG_FILL)
		info->features |= EVERING_FEAT_CONTIG_FILL;
	if (EVERING_HAS_SHMEM)
		info->features |= EVERING_FEAT_BACKING_SHMEM;
	if (IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		info->features |= EVERING_FEAT_HUGE_MAPPING;
	info->segment_bytes_max = limits.segment_bytes_max;
	info->total_bytes_max = limits.total_bytes_max;
	info->total_bytes = limits.total_bytes;
	info->uid_bytes_max = limits.uid_bytes_max;
	info->uid_bytes = limits.uid_bytes;
	info->segments_max = limits.segments_max;
	info->segments = limits.segments;
	info->peers_max = limits.peers_max;
	info->page_size = PAGE_SIZE;
	info->block_size = EVERING_BLOCK_SIZE;
	return 0;
}
