// SPDX-License-Identifier: GPL-2.0
/*
 * Segments: creation, geometry, segment fds and what these may do. Growth is in grow.c.
 *
 * A segment fd is a grant: a file of its own on the segment's inode with rights that
 * are fixed when it is made. It cannot be reopened through /proc, so they cannot
 * widen.
 */
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/nodemask.h>
#include <linux/overflow.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/ktime.h>
#include <linux/uaccess.h>
#include <linux/user_namespace.h>

#include "compat.h"
#include "evering.h"
#include "trace.h"

static atomic64_t last_id = ATOMIC64_INIT(0);
static DEFINE_SPINLOCK(segments_lock);
static LIST_HEAD(segments); /* for debugfs; protected by segments_lock */

/**
 * evering_geometry_init() - where things are in a new segment.
 * @geometry: out
 * @shared_size: bytes, whole pages
 * @peer_size: bytes of each peer region, whole pages
 * @peers_max: slots, already checked
 *
 * Return: 0, -EINVAL (not whole pages, or nothing at all) or -EFBIG.
 */
int evering_geometry_init(struct evering_geometry *geometry, u64 shared_size, u64 peer_size,
			  u32 peers_max)
{
	const u64 offset_max = (u64)S64_MAX / 2;
	u64 regions, data;

	if (!PAGE_ALIGNED(shared_size) || !PAGE_ALIGNED(peer_size) || !(shared_size | peer_size))
		return -EINVAL;
	if (check_mul_overflow(peer_size, (u64)peers_max, &regions) ||
	    check_add_overflow(shared_size, regions, &data) || data > offset_max)
		return -EFBIG;
	if (data >= EVERING_BLOCK_SIZE)
		data = round_up(data, EVERING_BLOCK_SIZE);
	else
		data = PAGE_SIZE << get_order(data);
	*geometry = (struct evering_geometry){
		.status_size = PAGE_ALIGN(EVERING_STATUS_ENTRIES_OFFSET +
					  peers_max * sizeof(struct evering_status_entry)),
		.shared_offset = EVERING_DATA_OFFSET,
		.shared_size = shared_size,
		.peers_offset = EVERING_DATA_OFFSET + shared_size,
		.peer_size = peer_size,
		.data_end = EVERING_DATA_OFFSET + data,
		.grown_offset = round_up(EVERING_DATA_OFFSET + data, EVERING_BLOCK_SIZE),
		.size = EVERING_DATA_OFFSET + data,
		.peers_max = peers_max,
	};
	return 0;
}

static int segment_name(const struct evering_node *node, char *buf, size_t size)
{
	const struct evering_segment *segment = container_of(node, struct evering_segment, node);

	return scnprintf(buf, size, "evering:[segment %llu]", segment->id);
}

static void segment_free(struct evering_segment *segment)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(segment->status_page); i++)
		evering_status_page_free(segment->status_page[i]);
	if (segment->slots)
		for (i = 0; i < segment->slots->nr; i++)
			put_pid(segment->slots->slot[i].pid);
	kvfree(segment->slots);
	kvfree(segment->growths);
	evering_memory_destroy(segment->memory);
	put_user_ns(segment->user_ns);
	evering_segment_uncount();
	kfree(segment);
}

static void segment_evict(struct evering_node *node)
{
	struct evering_segment *segment = container_of(node, struct evering_segment, node);

	evering_names_forget(segment);
	spin_lock(&segments_lock);
	list_del(&segment->list);
	spin_unlock(&segments_lock);
	segment_free(segment);
}

static const struct evering_node_ops segment_node_ops = {
	.evict = segment_evict,
	.name = segment_name,
};

static int check_create(const struct evering_segment_create *arg)
{
	struct evering_limits limits;

	evering_limits_get(&limits);
	if (arg->flags & ~EVERING_SEGMENT_F_ALL || arg->__resv)
		return -EINVAL;
	if (arg->backing > EVERING_BACKING_SHMEM)
		return -EINVAL;
	if (arg->backing == EVERING_BACKING_SHMEM && !EVERING_HAS_SHMEM)
		return -EOPNOTSUPP;
	if (!arg->peers_max || arg->peers_max > limits.peers_max)
		return -EINVAL;
	if (arg->flags & EVERING_SEGMENT_F_ISOLATED && arg->shared_size)
		return -EINVAL;
	if (arg->node != EVERING_NODE_ANY &&
	    (arg->node < 0 || arg->node >= MAX_NUMNODES || !node_state(arg->node, N_MEMORY)))
		return -EINVAL;
	return 0;
}

static int make_status_pages(struct evering_segment *segment)
{
	u32 i, nr = segment->geometry.status_size >> PAGE_SHIFT;

	for (i = 0; i < nr; i++) {
		segment->status_page[i] = evering_status_page(segment->node.inode, i,
							      segment->numa_node);
		if (!segment->status_page[i])
			return -ENOMEM;
	}
	return 0;
}

static struct evering_status_entry *status_entry(struct evering_segment *segment, u32 index)
{
	size_t offset = EVERING_STATUS_ENTRIES_OFFSET +
			index * sizeof(struct evering_status_entry);

	return page_address(segment->status_page[offset / PAGE_SIZE]) + offset % PAGE_SIZE;
}

static int make_slots(struct evering_segment *segment)
{
	const struct evering_geometry *geometry = &segment->geometry;
	struct evering_status_header *header = page_address(segment->status_page[0]);
	struct evering_slots *slots;
	u32 i;

	slots = kvzalloc(struct_size(slots, slot, geometry->peers_max), GFP_KERNEL_ACCOUNT);
	if (!slots)
		return -ENOMEM;
	slots->header = header;
	slots->nr = geometry->peers_max;
	slots->incarnation_max = evering_incarnation_max();
	for (i = 0; i < slots->nr; i++)
		slots->slot[i].entry = status_entry(segment, i);
	segment->slots = slots;

	*header = (struct evering_status_header){
		.magic = EVERING_STATUS_MAGIC,
		.abi_version = EVERING_ABI_VERSION,
		.flags = segment->flags,
		.segment_id = segment->id,
		.segment_size = geometry->size,
		.shared_offset = geometry->shared_offset,
		.shared_size = geometry->shared_size,
		.peers_offset = geometry->peers_offset,
		.peer_size = geometry->peer_size,
		.grown_offset = geometry->size,
		.peers_max = geometry->peers_max,
		.entries_offset = EVERING_STATUS_ENTRIES_OFFSET,
		.entry_size = sizeof(struct evering_status_entry),
	};
	return 0;
}

/* Charged memory for [geometry.data_end - EVERING_DATA_OFFSET] bytes. */
static int make_memory(struct evering_segment *segment, struct evering_segment_create *arg)
{
	struct evering_request request = {
		.bytes = segment->geometry.data_end - EVERING_DATA_OFFSET,
		.node = segment->numa_node,
		.contiguous = segment->flags & EVERING_SEGMENT_F_CONTIGUOUS,
	};
	struct evering_memory *memory;
	struct evering_user *user;
	int rc;

	user = evering_user_get();
	if (!user)
		return -ENOMEM;
	memory = evering_memory_create(user, segment->backing);
	if (IS_ERR(memory)) {
		evering_user_put(user);
		return PTR_ERR(memory);
	}
	segment->memory = memory;
	rc = evering_charge(user, request.bytes, 0);
	if (rc)
		return rc;
	rc = evering_memory_add(segment->memory, segment->node.inode, &request);
	if (rc)
		evering_uncharge(user, request.bytes);
	arg->best_run = request.best_run;
	trace_evering_alloc(segment, request.bytes, request.best_run, rc);
	return rc;
}

static struct evering_segment *segment_alloc(const struct evering_segment_create *arg)
{
	struct evering_segment *segment = kzalloc(sizeof(*segment), GFP_KERNEL_ACCOUNT);

	if (!segment)
		return NULL;
	segment->id = atomic64_inc_return(&last_id);
	segment->created_ns = ktime_get_boottime_ns();
	segment->flags = arg->flags;
	segment->backing = arg->backing;
	segment->numa_node = arg->node == EVERING_NODE_ANY ? NUMA_NO_NODE : arg->node;
	segment->uid = current_uid();
	segment->user_ns = get_user_ns(current_user_ns());
	mutex_init(&segment->grow_mutex);
	spin_lock_init(&segment->lock);
	INIT_LIST_HEAD(&segment->list);
	return segment;
}

/* On success the caller owns the inode's only reference. */
static struct evering_segment *segment_create(struct evering_segment_create *arg,
					      const struct evering_geometry *geometry)
{
	struct evering_segment *segment;
	int rc;

	rc = evering_segment_count();
	if (rc)
		return ERR_PTR(rc);
	segment = segment_alloc(arg);
	if (!segment) {
		evering_segment_uncount();
		return ERR_PTR(-ENOMEM);
	}
	segment->geometry = *geometry;
	rc = evering_node_init(&segment->node, &segment_node_ops, evering_fs_mount());
	if (rc) {
		segment_free(segment);
		return ERR_PTR(rc);
	}
	i_size_write(segment->node.inode, geometry->size);
	rc = make_status_pages(segment);
	if (!rc)
		rc = make_slots(segment);
	if (!rc)
		rc = make_memory(segment, arg);
	if (rc) {
		iput(segment->node.inode);
		return ERR_PTR(rc);
	}
	spin_lock(&segments_lock);
	list_add_tail(&segment->list, &segments);
	spin_unlock(&segments_lock);
	return segment;
}

long evering_call_create(struct evering_call *call)
{
	struct evering_segment_create *arg = call->arg;
	struct evering_geometry geometry;
	struct evering_segment *segment;
	struct file *file;
	int rc;

	rc = check_create(arg);
	if (rc)
		return rc;
	rc = evering_geometry_init(&geometry, arg->shared_size, arg->peer_size, arg->peers_max);
	if (rc)
		return rc;
	evering_limbo_sweep();
	segment = segment_create(arg, &geometry);
	if (IS_ERR(segment)) {
		/* Then best_run is an answer. */
		arg->fd = -1;
		arg->segment_id = 0;
		arg->extents = 0;
		call->write_back = PTR_ERR(segment) == -ENOSPC;
		return PTR_ERR(segment);
	}
	arg->segment_id = segment->id;
	arg->extents = evering_segment_extents(segment);
	file = evering_grant_file(segment, evering_fs_mount(), EVERING_RIGHTS_ALL);
	if (IS_ERR(file)) {
		iput(segment->node.inode);
		return PTR_ERR(file);
	}
	arg->fd = evering_call_fd(call, file);
	return arg->fd < 0 ? arg->fd : 0;
}

/**
 * evering_grant_file() - a segment fd's file.
 * @segment: of which
 * @mnt: a mount that the caller holds
 * @rights: EVERING_RIGHT_*
 *
 * On success it owns the caller's reference to the segment's inode.
 */
struct file *evering_grant_file(struct evering_segment *segment, struct vfsmount *mnt, u32 rights)
{
	struct evering_grant *grant = kzalloc(sizeof(*grant), GFP_KERNEL_ACCOUNT);
	struct file *file;

	if (!grant)
		return ERR_PTR(-ENOMEM);
	grant->segment = segment;
	grant->rights = rights;
	grant->attaches_left = EVERING_NO_LIMIT;
	grant->reserved = EVERING_SLOT_ANY;
	file = evering_node_file(&segment->node, mnt, O_RDWR, &evering_segment_fops);
	if (IS_ERR(file))
		kfree(grant);
	else
		file->private_data = grant;
	return file;
}

static int grant_release(struct inode *inode, struct file *file)
{
	struct evering_grant *grant = file->private_data;
	struct evering_segment *segment = grant->segment;
	bool freed;

	spin_lock(&segment->lock);
	freed = grant->reserved != EVERING_SLOT_ANY;
	if (freed)
		evering_slot_unreserve(segment->slots, grant->reserved);
	spin_unlock(&segment->lock);
	if (freed)
		evering_peer_event(segment, NULL);
	kfree(grant);
	return 0;
}

static void grant_fdinfo(struct seq_file *m, struct file *file)
{
	struct evering_grant *grant = file->private_data;
	struct evering_segment *segment = grant->segment;
	u32 left, reserved, live;
	u64 size;

	spin_lock(&segment->lock);
	left = grant->attaches_left;
	reserved = grant->reserved;
	live = segment->slots->live;
	size = segment->geometry.size;
	spin_unlock(&segment->lock);
	seq_printf(m, "evering-segment:\t%llu\n", segment->id);
	seq_printf(m, "evering-size:\t%llu\n", size);
	seq_printf(m, "evering-rights:\t%#x\n", grant->rights);
	seq_printf(m, "evering-peers:\t%u\n", live);
	if (left != EVERING_NO_LIMIT)
		seq_printf(m, "evering-attaches-left:\t%u\n", left);
	if (reserved != EVERING_SLOT_ANY)
		seq_printf(m, "evering-reserved:\t%u\n", reserved);
}

const struct file_operations evering_segment_fops = {
	.owner = THIS_MODULE,
	.release = grant_release,
	.unlocked_ioctl = evering_segment_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
	.show_fdinfo = grant_fdinfo,
};

/* The segment of a segment or peer fd. */
struct evering_segment *evering_file_segment(struct file *file)
{
	if (file->f_op == &evering_peer_fops)
		return evering_file_peer(file)->segment;
	return ((struct evering_grant *)file->private_data)->segment;
}

u32 evering_file_rights(struct file *file)
{
	if (file->f_op == &evering_peer_fops)
		return evering_file_peer(file)->rights;
	return ((struct evering_grant *)file->private_data)->rights;
}

static int check_invite(const struct evering_peer_invite *arg, u32 rights)
{
	const u32 attach = EVERING_RIGHT_OBSERVE | EVERING_RIGHT_WRITE;

	if (arg->flags & ~EVERING_INVITE_F_RESERVE || arg->rights & ~EVERING_RIGHTS_ALL ||
	    !arg->rights)
		return -EINVAL;
	if (arg->flags & EVERING_INVITE_F_RESERVE &&
	    (arg->attaches_max != 1 || !(arg->rights & attach)))
		return -EINVAL;
	/* Who may invite, or publish and open, could go round a limit. */
	if (arg->attaches_max && arg->rights & (EVERING_RIGHT_INVITE | EVERING_RIGHT_ADMIN))
		return -EINVAL;
	return arg->rights & ~rights ? -EACCES : 0;
}

/* Return: the slot, or -EUSERS. */
static int reserve_slot(struct evering_segment *segment, struct evering_grant *grant)
{
	int slot;

	spin_lock(&segment->lock);
	slot = evering_slots_find(segment->slots, EVERING_SLOT_ANY, EVERING_SLOT_ANY, 0);
	if (slot >= 0) {
		evering_slot_reserve(segment->slots, slot);
		grant->reserved = slot;
	}
	spin_unlock(&segment->lock);
	if (slot >= 0)
		evering_peer_event(segment, NULL);
	return slot;
}

long evering_call_invite(struct evering_call *call)
{
	struct evering_segment *segment = evering_file_segment(call->file);
	struct evering_peer_invite *arg = call->arg;
	struct evering_grant *grant;
	struct file *file;
	int slot, rc;

	rc = check_invite(arg, evering_file_rights(call->file));
	if (rc)
		return rc;
	ihold(segment->node.inode);
	file = evering_grant_file(segment, call->file->f_path.mnt, arg->rights);
	if (IS_ERR(file)) {
		iput(segment->node.inode);
		return PTR_ERR(file);
	}
	grant = file->private_data;
	if (arg->attaches_max)
		grant->attaches_left = arg->attaches_max;
	arg->slot = EVERING_SLOT_ANY;
	if (arg->flags & EVERING_INVITE_F_RESERVE) {
		slot = reserve_slot(segment, grant);
		if (slot < 0) {
			fput(file);
			return slot;
		}
		arg->slot = slot;
	}
	arg->fd = evering_call_fd(call, file);
	return arg->fd < 0 ? arg->fd : 0;
}

long evering_call_segment_info(struct evering_call *call)
{
	struct evering_segment *segment = evering_file_segment(call->file);
	struct evering_segment_info *arg = call->arg;
	struct evering_geometry geometry;
	u32 size = arg->size;

	if (arg->__resv)
		return -EINVAL;
	memset(arg, 0, sizeof(*arg));
	arg->size = size;
	spin_lock(&segment->lock);
	geometry = segment->geometry;
	arg->peers = segment->slots->live;
	spin_unlock(&segment->lock);
	arg->flags = segment->flags;
	arg->segment_id = segment->id;
	arg->segment_size = geometry.size;
	arg->status_size = geometry.status_size;
	arg->shared_offset = geometry.shared_offset;
	arg->shared_size = geometry.shared_size;
	arg->peers_offset = geometry.peers_offset;
	arg->peer_size = geometry.peer_size;
	arg->grown_offset = min(geometry.grown_offset, geometry.size);
	arg->created_ns = segment->created_ns;
	arg->bytes = evering_segment_bytes(&geometry);
	arg->peers_max = geometry.peers_max;
	arg->extents = evering_segment_extents(segment);
	arg->backing = segment->backing;
	arg->rights = evering_file_rights(call->file);
	arg->uid = from_kuid_munged(current_user_ns(), segment->uid);
	evering_names_info(segment, arg);
	return 0;
}

/* Bytes of memory, status pages not counted. */
u64 evering_segment_bytes(const struct evering_geometry *geometry)
{
	u64 bytes = geometry->data_end - EVERING_DATA_OFFSET;

	if (geometry->size > geometry->grown_offset)
		bytes += geometry->size - geometry->grown_offset;
	return bytes;
}

u32 evering_segment_extents(struct evering_segment *segment)
{
	return evering_memory_extents(segment->memory, READ_ONCE(segment->geometry.size), 0, 0,
				      NULL);
}

/* Bounded memory for any number of extents. */
#define EXTENTS_CHUNK 64U

long evering_call_extents(struct evering_call *call)
{
	struct evering_segment *segment = evering_file_segment(call->file);
	struct evering_segment_extents *arg = call->arg;
	struct evering_extent __user *to = u64_to_user_ptr(arg->entries);
	const bool show_phys = capable(CAP_SYS_ADMIN);
	const u64 end = READ_ONCE(segment->geometry.size);
	struct evering_extent *extents;
	u32 done = 0, room, nr, i;

	extents = kmalloc_array(EXTENTS_CHUNK, sizeof(*extents), GFP_KERNEL);
	if (!extents)
		return -ENOMEM;
	do {
		room = min(arg->nr - done, EXTENTS_CHUNK);
		arg->total = evering_memory_extents(segment->memory, end, arg->first + done,
						    room, extents);
		nr = arg->total > arg->first + done ? arg->total - arg->first - done : 0;
		nr = min(nr, room);
		for (i = 0; i < nr && !show_phys; i++)
			extents[i].phys = 0;
		if (copy_to_user(to + done, extents, nr * sizeof(*extents))) {
			kfree(extents);
			return -EFAULT;
		}
		done += nr;
	} while (nr == EXTENTS_CHUNK && done < arg->nr && !fatal_signal_pending(current));
	arg->nr = done;
	kfree(extents);
	return 0;
}

/* For developers: one line for each segment. */
void evering_segments_show(struct seq_file *m)
{
	struct evering_segment *segment;

	seq_puts(m, "id size live/max flags uid\n");
	spin_lock(&segments_lock);
	list_for_each_entry(segment, &segments, list)
		seq_printf(m, "%llu %llu %u/%u %#x %u\n", segment->id,
			   READ_ONCE(segment->geometry.size), READ_ONCE(segment->slots->live),
			   segment->geometry.peers_max, segment->flags,
			   from_kuid_munged(&init_user_ns, segment->uid));
	spin_unlock(&segments_lock);
}
