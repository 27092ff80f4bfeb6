// SPDX-License-Identifier: GPL-2.0
/*
 * Names of segments, in the user namespace of the segment's creator.
 *
 * A name holds nothing: it goes when the segment does. With KEEP the kernel holds the
 * segment (and with it the module) until UNPUBLISH.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/ctype.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/user_namespace.h>

#include "evering.h"

static DEFINE_MUTEX(names_mutex);
/* Published segments by id. Protected by names_mutex. */
static DEFINE_XARRAY(names);

/* 1 to 63 of [A-Za-z0-9._-], the first neither '.' nor '-', then NUL. */
bool evering_name_valid(const char name[EVERING_NAME_SIZE])
{
	size_t i, length = strnlen(name, EVERING_NAME_SIZE);

	if (!length || length == EVERING_NAME_SIZE || name[0] == '.' || name[0] == '-')
		return false;
	for (i = 0; i < length; i++)
		if (!isascii(name[i]) || (!isalnum(name[i]) && !strchr("._-", name[i])))
			return false;
	return true;
}

/* Rights that the rw bits of one class (0 .. 7) stand for. */
u32 evering_mode_rights(u32 bits)
{
	u32 rights = 0;

	if (bits & 4)
		rights |= EVERING_RIGHT_OBSERVE;
	if (bits & 2)
		rights |= EVERING_RIGHT_WRITE | EVERING_RIGHT_OBSERVE | EVERING_RIGHT_INVITE;
	return rights;
}

static struct evering_segment *find_name(const struct user_namespace *ns, const char *name)
{
	struct evering_segment *segment;
	unsigned long id;

	lockdep_assert_held(&names_mutex);
	xa_for_each(&names, id, segment)
		if (segment->user_ns == ns && !strcmp(segment->name, name))
			return segment;
	return NULL;
}

/* The segment is being evicted. */
void evering_names_forget(struct evering_segment *segment)
{
	mutex_lock(&names_mutex);
	if (segment->name[0])
		xa_erase(&names, segment->id);
	mutex_unlock(&names_mutex);
}

void evering_names_info(struct evering_segment *segment, struct evering_segment_info *info)
{
	mutex_lock(&names_mutex);
	if (segment->name[0]) {
		info->published = 1;
		info->publish_flags = segment->publish_flags;
		info->mode = segment->mode;
		info->owner_uid = from_kuid_munged(current_user_ns(), segment->owner);
		info->owner_gid = from_kgid_munged(current_user_ns(), segment->group);
		memcpy(info->name, segment->name, sizeof(info->name));
	}
	mutex_unlock(&names_mutex);
}

/* Whom the name shall belong to; giving it away needs CAP_CHOWN. */
static int resolve_owner(const struct evering_segment *segment,
			 const struct evering_segment_publish *arg, kuid_t *owner, kgid_t *group)
{
	*owner = current_fsuid();
	*group = current_fsgid();
	if (arg->uid != ~0U)
		*owner = make_kuid(current_user_ns(), arg->uid);
	if (arg->gid != ~0U)
		*group = make_kgid(current_user_ns(), arg->gid);
	if (!uid_valid(*owner) || !gid_valid(*group))
		return -EINVAL;
	if (uid_eq(*owner, current_fsuid()) && in_group_p(*group))
		return 0;
	return ns_capable(segment->user_ns, CAP_CHOWN) ? 0 : -EPERM;
}

static int set_name(struct evering_segment *segment, const struct evering_segment_publish *arg)
{
	lockdep_assert_held(&names_mutex);
	if (segment->name[0])
		return -EBUSY;
	if (find_name(segment->user_ns, arg->name))
		return -EEXIST;
	return xa_err(xa_store(&names, segment->id, segment, GFP_KERNEL_ACCOUNT));
}

long evering_call_publish(struct evering_call *call)
{
	struct evering_segment *segment = evering_file_segment(call->file);
	struct evering_segment_publish *arg = call->arg;
	kuid_t owner;
	kgid_t group;
	int rc;

	if (arg->flags & ~EVERING_PUBLISH_F_KEEP || arg->mode & ~0666 || arg->__resv ||
	    !evering_name_valid(arg->name))
		return -EINVAL;
	rc = resolve_owner(segment, arg, &owner, &group);
	if (rc)
		return rc;
	mutex_lock(&names_mutex);
	rc = set_name(segment, arg);
	if (!rc) {
		strscpy_pad(segment->name, arg->name, sizeof(segment->name));
		segment->publish_flags = arg->flags;
		segment->mode = arg->mode;
		segment->name_rights = evering_file_rights(call->file);
		segment->owner = owner;
		segment->group = group;
		if (arg->flags & EVERING_PUBLISH_F_KEEP) {
			ihold(segment->node.inode);
			segment->keep_mnt = mntget(call->file->f_path.mnt);
		}
	}
	mutex_unlock(&names_mutex);
	return rc;
}

long evering_call_unpublish(struct evering_call *call)
{
	struct evering_segment *segment = evering_file_segment(call->file);
	struct evering_segment_unpublish *arg = call->arg;
	struct vfsmount *keep_mnt = NULL;
	int rc = -ENOENT;

	if (arg->flags)
		return -EINVAL;
	mutex_lock(&names_mutex);
	if (segment->name[0]) {
		xa_erase(&names, segment->id);
		memset(segment->name, 0, sizeof(segment->name));
		swap(keep_mnt, segment->keep_mnt);
		rc = 0;
	}
	mutex_unlock(&names_mutex);
	if (keep_mnt) {
		/* The fd we were called on still holds both. */
		iput(segment->node.inode);
		mntput(keep_mnt);
	}
	return rc;
}

/*
 * What the name gives the calling process: never more than the fd had that published
 * it, or publishing would widen rights.
 */
static u32 allowed_rights(const struct evering_segment *segment)
{
	bool owns = uid_eq(segment->owner, current_fsuid());
	u32 bits = segment->mode;

	if (owns && segment->name_rights == EVERING_RIGHTS_ALL)
		return EVERING_RIGHTS_ALL;
	if (ns_capable(segment->user_ns, CAP_SYS_ADMIN))
		return EVERING_RIGHTS_ALL;
	if (owns)
		return segment->name_rights;
	if (in_group_p(segment->group))
		bits >>= 3;
	return evering_mode_rights(bits & 7) & segment->name_rights;
}

/* On success the caller owns a reference to the segment's inode. */
static struct evering_segment *open_name(const char *name, u32 *rights)
{
	struct evering_segment *segment;
	u32 allowed;

	lockdep_assert_held(&names_mutex);
	segment = find_name(current_user_ns(), name);
	if (!segment)
		return ERR_PTR(-ENOENT);
	allowed = allowed_rights(segment);
	if (!*rights)
		*rights = allowed;
	if (!allowed || *rights & ~allowed)
		return ERR_PTR(-EACCES);
	/* It may be just being evicted. */
	return igrab(segment->node.inode) ? segment : ERR_PTR(-ENOENT);
}

long evering_call_open(struct evering_call *call)
{
	struct evering_segment_open *arg = call->arg;
	struct evering_segment *segment;
	struct file *file;

	if (arg->rights & ~EVERING_RIGHTS_ALL || arg->__resv || !evering_name_valid(arg->name))
		return -EINVAL;
	mutex_lock(&names_mutex);
	segment = open_name(arg->name, &arg->rights);
	mutex_unlock(&names_mutex);
	if (IS_ERR(segment))
		return PTR_ERR(segment);
	file = evering_grant_file(segment, evering_fs_mount(), arg->rights);
	if (IS_ERR(file)) {
		iput(segment->node.inode);
		return PTR_ERR(file);
	}
	arg->fd = evering_call_fd(call, file);
	return arg->fd < 0 ? arg->fd : 0;
}

static void fill_entry(struct evering_segment *segment, struct evering_segment_entry *entry)
{
	struct evering_geometry geometry;

	spin_lock(&segment->lock);
	geometry = segment->geometry;
	entry->peers = segment->slots->live;
	spin_unlock(&segment->lock);
	entry->segment_id = segment->id;
	entry->segment_size = geometry.size;
	entry->bytes = evering_segment_bytes(&geometry);
	entry->created_ns = segment->created_ns;
	entry->flags = segment->flags;
	entry->publish_flags = segment->publish_flags;
	entry->mode = segment->mode;
	entry->uid = from_kuid_munged(current_user_ns(), segment->owner);
	entry->gid = from_kgid_munged(current_user_ns(), segment->group);
	entry->peers_max = geometry.peers_max;
	entry->extents = evering_segment_extents(segment);
	memcpy(entry->name, segment->name, sizeof(entry->name));
}

/* The next name after *cursor in the caller's namespace; false: there is none. */
static bool next_entry(u64 *cursor, struct evering_segment_entry *entry)
{
	struct evering_segment *segment;
	unsigned long id = *cursor;
	bool found = false;

	memset(entry, 0, sizeof(*entry));
	mutex_lock(&names_mutex);
	xa_for_each_start(&names, id, segment, *cursor + 1) {
		if (segment->user_ns != current_user_ns())
			continue;
		fill_entry(segment, entry);
		*cursor = segment->id;
		found = true;
		break;
	}
	mutex_unlock(&names_mutex);
	return found;
}

long evering_call_segment_list(struct evering_call *call)
{
	struct evering_segment_list *arg = call->arg;
	struct evering_segment_entry __user *to = u64_to_user_ptr(arg->entries);
	struct evering_segment_entry entry;
	u64 cursor = arg->cursor;
	u32 done = 0;

	if (cursor > ULONG_MAX - 1)
		cursor = ~0ULL;
	while (cursor != ~0ULL && done < arg->nr) {
		if (!next_entry(&cursor, &entry)) {
			cursor = ~0ULL;
			break;
		}
		if (copy_to_user(to + done, &entry, sizeof(entry)))
			return -EFAULT;
		done++;
		cond_resched();
	}
	arg->nr = done;
	arg->cursor = cursor;
	return 0;
}
