// SPDX-License-Identifier: GPL-2.0
/*
 * Peers: attaching to a segment, the peer fd, the list of peers.
 *
 * An attach takes its slot first and becomes visible last, when the fd number has
 * reached the caller: an attach that fails leaves no dead peer behind.
 */
#include <linux/cred.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pid_namespace.h>
#include <linux/proc_fs.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "evering.h"
#include "trace.h"

static int peer_name(const struct evering_node *node, char *buf, size_t size)
{
	const struct evering_peer *peer = container_of(node, struct evering_peer, node);

	return scnprintf(buf, size, "evering:[segment %llu peer %u.%llu]", peer->segment->id,
			 peer->slot, peer->incarnation);
}

static void peer_free(struct evering_peer *peer)
{
	/* It borrows from the segment. */
	evering_alias_destroy(peer);
	iput(peer->segment->node.inode);
	put_pid(peer->pid);
	mmdrop(peer->mm);
	/* A ringer may have found it just before its slot was cleared. */
	kfree_rcu(peer, rcu);
}

static void peer_evict(struct evering_node *node)
{
	struct evering_peer *peer = container_of(node, struct evering_peer, node);

	evering_death_unwatch(peer);
	peer_free(peer);
}

static const struct evering_node_ops peer_node_ops = {
	.evict = peer_evict,
	.name = peer_name,
};

static struct evering_peer *peer_alloc(struct evering_segment *segment, u32 rights, u64 cookie)
{
	struct evering_peer *peer = kzalloc(sizeof(*peer), GFP_KERNEL_ACCOUNT);

	if (!peer)
		return NULL;
	ihold(segment->node.inode);
	peer->segment = segment;
	mmgrab(current->mm);
	peer->mm = current->mm;
	peer->pid = get_task_pid(current, PIDTYPE_TGID);
	peer->uid = current_uid();
	peer->rights = rights;
	peer->cookie = cookie;
	spin_lock_init(&peer->lock);
	INIT_LIST_HEAD(&peer->parked);
	INIT_LIST_HEAD(&peer->waits);
	evering_death_init(peer);
	init_waitqueue_head(&peer->wq);
	return peer;
}

static int take_slot(struct evering_peer *peer, struct evering_grant *grant, u32 wanted)
{
	struct evering_segment *segment = peer->segment;
	int slot = -EACCES;

	spin_lock(&segment->lock);
	if (grant->attaches_left)
		slot = evering_slots_find(segment->slots, wanted, grant->reserved, peer->rights);
	if (slot >= 0) {
		evering_slot_take(segment->slots, slot);
		peer->slot = slot;
		peer->incarnation = segment->slots->slot[slot].incarnation;
		peer->entry = segment->slots->slot[slot].entry;
		peer->used_reservation = slot == grant->reserved;
		if (peer->used_reservation)
			grant->reserved = EVERING_SLOT_ANY;
		if (grant->attaches_left != EVERING_NO_LIMIT)
			grant->attaches_left--;
	}
	spin_unlock(&segment->lock);
	return slot < 0 ? slot : 0;
}

static void cancel_slot(struct evering_peer *peer, struct evering_grant *grant)
{
	struct evering_segment *segment = peer->segment;

	spin_lock(&segment->lock);
	evering_slot_cancel(segment->slots, peer->slot);
	if (peer->used_reservation)
		grant->reserved = peer->slot;
	if (grant->attaches_left != EVERING_NO_LIMIT)
		grant->attaches_left++;
	spin_unlock(&segment->lock);
}

static void undo_attach(struct evering_call *call)
{
	cancel_slot(call->made, call->file->private_data);
}

static void commit_attach(struct evering_call *call)
{
	struct evering_peer *peer = call->made;
	struct evering_segment *segment = peer->segment;
	struct evering_tenant tenant = {
		.pid = get_pid(peer->pid),
		.uid = peer->uid,
		.rights = peer->rights,
		.cookie = peer->cookie,
	};
	struct pid *old;

	/* First: as soon as it can be found in its slot, it can be revoked. */
	set_bit(EVERING_PEER_BIT_LIVE, &peer->flags);
	spin_lock(&segment->lock);
	old = evering_slot_live(segment->slots, peer->slot, &tenant);
	i_size_write(peer->node.inode, segment->geometry.size);
	evering_alias_resize(peer, segment->geometry.size);
	rcu_assign_pointer(segment->slots->slot[peer->slot].peer, peer);
	spin_unlock(&segment->lock);
	put_pid(old);
	evering_death_watch(peer);
	trace_evering_attach(peer);
	evering_peer_event(segment, peer);
}

/* On success the file owns the peer. */
static struct file *peer_file(struct evering_peer *peer, struct file *from)
{
	bool writer = peer->rights & EVERING_RIGHT_WRITE;
	struct file *file;

	file = evering_node_file(&peer->node, from->f_path.mnt, writer ? O_RDWR : O_RDONLY,
				 &evering_peer_fops);
	if (!IS_ERR(file))
		file->f_mode |= FMODE_NOWAIT;
	return file;
}

static long check_attach(const struct evering_peer_attach *arg, u32 granted, u32 *rights)
{
	const u32 both = EVERING_RIGHT_OBSERVE | EVERING_RIGHT_WRITE;

	if (arg->flags & ~EVERING_ATTACH_F_OBSERVER || arg->__resv)
		return -EINVAL;
	if (arg->flags & EVERING_ATTACH_F_OBSERVER) {
		*rights = EVERING_RIGHT_OBSERVE;
		return granted & both ? 0 : -EACCES;
	}
	*rights = both;
	return granted & EVERING_RIGHT_WRITE ? 0 : -EACCES;
}

long evering_call_attach(struct evering_call *call)
{
	struct evering_grant *grant = call->file->private_data;
	struct evering_peer_attach *arg = call->arg;
	struct evering_peer *peer;
	struct file *file;
	u32 rights;
	long rc;

	rc = check_attach(arg, grant->rights, &rights);
	if (rc)
		return rc;
	peer = peer_alloc(grant->segment, rights, arg->cookie);
	if (!peer)
		return -ENOMEM;
	rc = evering_node_init(&peer->node, &peer_node_ops, call->file->f_path.mnt);
	if (rc) {
		peer_free(peer);
		return rc;
	}
	rc = evering_alias_create(peer);
	if (!rc)
		rc = take_slot(peer, grant, arg->slot);
	if (rc)
		goto err_iput;
	file = peer_file(peer, call->file);
	if (IS_ERR(file)) {
		rc = PTR_ERR(file);
		cancel_slot(peer, grant);
		goto err_iput;
	}
	arg->slot = peer->slot;
	arg->rights = rights;
	arg->incarnation = peer->incarnation;
	arg->fd = get_unused_fd_flags(O_CLOEXEC);
	if (arg->fd < 0) {
		rc = arg->fd;
		cancel_slot(peer, grant);
		fput(file);
		return rc;
	}
	call->new_fd = arg->fd;
	call->new_file = file;
	call->made = peer;
	call->commit = commit_attach;
	call->undo = undo_attach;
	return 0;

err_iput:
	iput(peer->node.inode);
	return rc;
}

static int peer_release(struct inode *inode, struct file *file)
{
	evering_peer_lost(inode->i_private, false);
	return 0;
}

static void peer_fdinfo(struct seq_file *m, struct file *file)
{
	struct evering_peer *peer = evering_file_peer(file);
	struct pid_namespace *ns = proc_pid_ns(file_inode(m->file)->i_sb);
	u64 pending;
	bool ended;

	spin_lock(&peer->lock);
	pending = peer->pending;
	ended = peer->ended;
	spin_unlock(&peer->lock);
	seq_printf(m, "evering-segment:\t%llu\n", peer->segment->id);
	seq_printf(m, "evering-peer:\t%u.%llu\n", peer->slot, peer->incarnation);
	seq_printf(m, "evering-rights:\t%#x\n", peer->rights);
	seq_printf(m, "evering-cookie:\t%#llx\n", peer->cookie);
	seq_printf(m, "evering-pid:\t%d\n", pid_nr_ns(peer->pid, ns));
	seq_printf(m, "evering-ended:\t%d\n", ended);
	seq_printf(m, "evering-pending:\t%#llx\n", pending);
}

const struct file_operations evering_peer_fops = {
	.owner = THIS_MODULE,
	.release = peer_release,
	.unlocked_ioctl = evering_peer_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = evering_peer_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
	.read_iter = evering_peer_read,
	.write = evering_peer_write,
	.poll = evering_peer_poll,
	.uring_cmd = evering_peer_uring,
	.fsync = noop_fsync,
	.llseek = noop_llseek,
	.show_fdinfo = peer_fdinfo,
};

static void fill_entry(const struct evering_slot *slot, u32 index, struct evering_peer_entry *entry)
{
	*entry = (struct evering_peer_entry){ .slot = index, .state = slot->state };
	/* What else stands there is of the tenant before. */
	if (slot->state == EVERING_PEER_RESERVED)
		return;
	*entry = (struct evering_peer_entry){
		.slot = index,
		.state = slot->state,
		.incarnation = slot->incarnation,
		.cookie = slot->cookie,
		.rung = READ_ONCE(slot->entry->rung),
		.suppressed = READ_ONCE(slot->entry->suppressed),
		.attached_ns = slot->attached_ns,
		.rights = slot->rights,
		.exit_reason = slot->exit_reason,
		.exit_status = slot->exit_status,
		.pid = pid_vnr(slot->pid),
		.uid = from_kuid_munged(current_user_ns(), slot->uid),
	};
}

/* The next slot from *index on that is not free; false: there is none. */
static bool next_entry(struct evering_segment *segment, u32 *index,
		       struct evering_peer_entry *entry)
{
	struct evering_slots *slots = segment->slots;

	spin_lock(&segment->lock);
	while (*index < slots->nr && slots->slot[*index].state == EVERING_PEER_FREE)
		++*index;
	if (*index < slots->nr)
		fill_entry(&slots->slot[*index], *index, entry);
	spin_unlock(&segment->lock);
	return *index < slots->nr;
}

long evering_call_peer_list(struct evering_call *call)
{
	struct evering_segment *segment = evering_file_segment(call->file);
	struct evering_peer_list *arg = call->arg;
	struct evering_peer_entry __user *to = u64_to_user_ptr(arg->entries);
	struct evering_peer_entry entry;
	u32 done = 0, index = arg->first;

	if (arg->__resv)
		return -EINVAL;
	while (next_entry(segment, &index, &entry) && done < arg->nr) {
		if (copy_to_user(to + done, &entry, sizeof(entry)))
			return -EFAULT;
		done++;
		index++;
	}
	arg->nr = done;
	arg->first = index < segment->slots->nr ? index : EVERING_SLOT_ANY;
	return 0;
}
