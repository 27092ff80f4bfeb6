// SPDX-License-Identifier: GPL-2.0
/*
 * The end of a peer, exactly once, whatever says first that it is due:
 *
 *	PEER_DETACH, PEER_REVOKE	a command
 *	vm_ops->close, mm_users == 0	the mm of the peer is torn down: exit or execve
 *	the pid hook			the thread group is gone, although its mm or fd
 *					lives on (a reader in /proc, a leaked fd)
 *	release				the last reference to the peer fd is gone
 *	a look once a second		the mm is gone although it had no mapping whose
 *					close would have said so (execve with an
 *					inherited fd)
 *
 * (The blocks of a peer with an alias are mapped by shmem, see shmem.c: there the
 * release of a mapping's file stands for vm_ops->close.)
 *
 * In this order: state DYING; the peer's waits end and its bells are dropped; its
 * mappings are taken away; state DEAD; the others get a bell. So who sees DEAD knows
 * that the peer can touch nothing any more (but for I/O in flight). With an alias, to
 * be sure of that may take a lock that the peer's process has: it is DYING until then.
 */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/nospec.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>

#include "evering.h"
#include "trace.h"

/* Its mappings are gone: it is dead, and the others learn of it. */
static void complete_end(struct evering_peer *peer)
{
	struct evering_segment *segment = peer->segment;

	spin_lock(&segment->lock);
	evering_slot_dead(segment->slots, peer->slot, peer->end_reason, peer->end_status);
	spin_unlock(&segment->lock);
	set_bit(EVERING_PEER_BIT_DEAD, &peer->flags);
	trace_evering_death(peer, peer->end_reason, peer->end_status);
	evering_peer_event(segment, peer);
}

/*
 * With an alias: tries once a tick until it gets every lock that it needs, and never waits
 * for one of somebody's process. A try looks at all mappings of the peer, of which there may
 * be very many: it may take half a processor, not more.
 */
#define END_PAUSE_MAX max(HZ / 10, 1)	/* jiffies */

static void end_work(struct work_struct *work)
{
	struct evering_peer *peer = container_of(work, struct evering_peer, end_work.work);
	u64 pause, start = ktime_get_ns();

	if (!evering_peer_unmap(peer, false)) {
		complete_end(peer);
		return;
	}
	pause = nsecs_to_jiffies(ktime_get_ns() - start);
	schedule_delayed_work(&peer->end_work, clamp_t(u64, pause, 1, END_PAUSE_MAX));
}

/**
 * evering_peer_end() - end a peer.
 * @peer: the caller sees to it that it stays
 * @reason: EVERING_EXIT_*
 * @status: as from wait(2), or 0
 * @unmap: what to do about its mappings; after EVERING_UNMAP_WAIT it is dead, or the
 *         caller has a fatal signal
 *
 * Context: may sleep and is without mmap_lock, unless @unmap is EVERING_UNMAP_LATER.
 * Return: false if somebody else has ended it, or it never lived.
 */
bool evering_peer_end(struct evering_peer *peer, u32 reason, u32 status,
		      enum evering_unmap unmap)
{
	struct evering_segment *segment = peer->segment;
	struct evering_slots *slots = segment->slots;
	bool later = unmap == EVERING_UNMAP_LATER && peer->alias;

	if (!test_bit(EVERING_PEER_BIT_LIVE, &peer->flags) ||
	    test_and_set_bit(EVERING_PEER_BIT_ENDING, &peer->flags))
		return false;
	peer->end_reason = reason;
	peer->end_status = status;
	spin_lock(&segment->lock);
	RCU_INIT_POINTER(slots->slot[peer->slot].peer, NULL);
	evering_slot_dying(slots, peer->slot);
	spin_unlock(&segment->lock);

	evering_bells_end(peer);
	if (unmap != EVERING_UNMAP_LATER)
		later = evering_peer_unmap(peer, unmap == EVERING_UNMAP_WAIT);
	if (later)
		schedule_delayed_work(&peer->end_work, 0);
	else
		complete_end(peer);
	return true;
}

/* The thread group is on its way out: no thread of it will return to user space. */
static bool group_exits(const struct task_struct *leader)
{
	return READ_ONCE(leader->signal->flags) & SIGNAL_GROUP_EXIT ||
	       !atomic_read(&leader->signal->live);
}

/* What wait(2) says or will say. */
static u32 group_status(const struct task_struct *leader)
{
	if (READ_ONCE(leader->signal->flags) & SIGNAL_GROUP_EXIT)
		return READ_ONCE(leader->signal->group_exit_code);
	return READ_ONCE(leader->exit_code);
}

/* Has the last thread of the group exited? *status is set if it is known. */
static bool group_gone(struct evering_peer *peer, u32 *status, bool *known)
{
	struct task_struct *leader;
	bool gone;

	rcu_read_lock();
	leader = pid_task(peer->pid, PIDTYPE_TGID);
	gone = !leader || (READ_ONCE(leader->exit_state) && thread_group_empty(leader));
	*known = gone && leader;
	if (*known)
		*status = group_status(leader);
	rcu_read_unlock();
	return gone;
}

static u32 kept_status(struct evering_peer *peer)
{
	if (!test_bit(EVERING_PEER_BIT_STATUS, &peer->flags))
		return 0;
	/* EXIT: the hook stored it before it set the bit. */
	smp_rmb();
	return READ_ONCE(peer->exit_status);
}

/*
 * Living peers without a mapping. When their mm goes, nothing tells (execve with an
 * inherited fd): one pass a second over all of them looks.
 */
static DEFINE_MUTEX(unmapped_mutex);
static LIST_HEAD(unmapped);
static void look_at_unmapped(struct work_struct *work);
static DECLARE_DELAYED_WORK(unmapped_work, look_at_unmapped);

static bool mm_is_gone(const struct evering_peer *peer)
{
	return !atomic_read(&peer->mm->mm_users);
}

/* Will a mapping tell when the mm goes? A child may have the file of an alias, too. */
static bool mapping_tells(const struct evering_peer *peer)
{
	return atomic_read(&peer->mappings) && !peer->alias;
}

static void look_at_unmapped(struct work_struct *work)
{
	struct evering_peer *peer, *next;

	mutex_lock(&unmapped_mutex);
	list_for_each_entry_safe(peer, next, &unmapped, unmapped) {
		if (mm_is_gone(peer))
			schedule_work(&peer->death_work);
		if (mm_is_gone(peer) || READ_ONCE(peer->ended) || mapping_tells(peer))
			list_del_init(&peer->unmapped);
		cond_resched();
	}
	if (!list_empty(&unmapped))
		schedule_delayed_work(&unmapped_work, HZ);
	mutex_unlock(&unmapped_mutex);
}

/* The peer has no mapping, or not any more. Its last unmap comes here after its count. */
void evering_death_unmapped(struct evering_peer *peer)
{
	if (READ_ONCE(peer->ended))
		return;
	mutex_lock(&unmapped_mutex);
	if (list_empty(&peer->unmapped))
		list_add_tail(&peer->unmapped, &unmapped);
	schedule_delayed_work(&unmapped_work, HZ);
	mutex_unlock(&unmapped_mutex);
}

/* At unload: no peer is left. */
void evering_death_exit(void)
{
	cancel_delayed_work_sync(&unmapped_work);
}

/*
 * Context: the wait queue of the pid, interrupts off. It may be woken for other
 * reasons (an execve by another thread), so the work looks again.
 */
static int pid_hook(wait_queue_entry_t *entry, unsigned int mode, int sync, void *key)
{
	struct evering_peer *peer = container_of(entry, struct evering_peer, pid_wait);
	u32 status;
	bool known;

	if (group_gone(peer, &status, &known) && known &&
	    !test_bit(EVERING_PEER_BIT_STATUS, &peer->flags)) {
		/* The parent may reap it before the work runs. */
		WRITE_ONCE(peer->exit_status, status);
		/* EXIT: pairs with kept_status(). */
		smp_mb__before_atomic();
		set_bit(EVERING_PEER_BIT_STATUS, &peer->flags);
	}
	schedule_work(&peer->death_work);
	return 0;
}

static void death_work(struct work_struct *work)
{
	struct evering_peer *peer = container_of(work, struct evering_peer, death_work);
	u32 status = 0;
	bool known;

	if (group_gone(peer, &status, &known)) {
		/* A process that shares the mm may live on: it is not this peer. */
		evering_peer_end(peer, EVERING_EXIT_EXIT, known ? status : kept_status(peer),
				 EVERING_UNMAP_TRY);
		return;
	}
	if (mm_is_gone(peer))
		evering_peer_lost(peer, true);
}

/* Before anybody else knows the peer. */
void evering_death_init(struct evering_peer *peer)
{
	INIT_LIST_HEAD(&peer->unmapped);
	INIT_WORK(&peer->death_work, death_work);
	INIT_DELAYED_WORK(&peer->end_work, end_work);
}

/* Context: a thread of the peer's process, so it cannot be gone yet. */
void evering_death_watch(struct evering_peer *peer)
{
	init_waitqueue_func_entry(&peer->pid_wait, pid_hook);
	add_wait_queue(&peer->pid->wait_pidfd, &peer->pid_wait);
	evering_death_unmapped(peer);
}

/* Context: nobody else has the peer; may sleep. */
void evering_death_unwatch(struct evering_peer *peer)
{
	if (!test_bit(EVERING_PEER_BIT_LIVE, &peer->flags))
		return;
	remove_wait_queue(&peer->pid->wait_pidfd, &peer->pid_wait);
	mutex_lock(&unmapped_mutex);
	list_del_init(&peer->unmapped);
	mutex_unlock(&unmapped_mutex);
	cancel_work_sync(&peer->death_work);
	cancel_delayed_work_sync(&peer->end_work);
	/* Its inode's end came first: no mapping is left to wait for. */
	if (test_bit(EVERING_PEER_BIT_ENDING, &peer->flags) &&
	    !test_bit(EVERING_PEER_BIT_DEAD, &peer->flags))
		complete_end(peer);
}

static u32 classify(struct evering_peer *peer, bool mm_gone, u32 *status)
{
	struct task_struct *leader;
	u32 reason = EVERING_EXIT_EXIT;

	*status = kept_status(peer);
	rcu_read_lock();
	leader = pid_task(peer->pid, PIDTYPE_TGID);
	if (!leader)
		goto out;
	if (group_exits(leader))
		*status = group_status(leader);
	else if (mm_gone)
		reason = EVERING_EXIT_EXEC;
	else if (task_tgid(current) == peer->pid && current->mm && current->mm != peer->mm)
		reason = EVERING_EXIT_EXEC;
	else
		reason = EVERING_EXIT_CLOSE;
out:
	rcu_read_unlock();
	return reason;
}

/**
 * evering_peer_lost() - its mm is torn down, or its fd has no reference left.
 * @peer: which
 * @mm_gone: the former; no thread can run in it
 *
 * Context: with @mm_gone under mmap_lock of a dead mm, in any process. Does not sleep.
 */
void evering_peer_lost(struct evering_peer *peer, bool mm_gone)
{
	u32 status, reason;

	if (!test_bit(EVERING_PEER_BIT_LIVE, &peer->flags) ||
	    test_bit(EVERING_PEER_BIT_ENDING, &peer->flags))
		return;
	reason = classify(peer, mm_gone, &status);
	evering_peer_end(peer, reason, status, EVERING_UNMAP_LATER);
}

long evering_call_detach(struct evering_call *call)
{
	struct evering_peer *peer = evering_file_peer(call->file);
	struct evering_peer_detach *arg = call->arg;

	if (arg->flags)
		return -EINVAL;
	trace_evering_detach(peer);
	if (!evering_peer_end(peer, EVERING_EXIT_DETACH, 0, EVERING_UNMAP_WAIT))
		return -EOWNERDEAD;
	return 0;
}

/* A live peer, its inode counted. Return: NULL if it has ended. */
static struct evering_peer *grab_peer(struct evering_slot *slot, u64 incarnation)
{
	struct evering_peer *peer;

	rcu_read_lock();
	peer = rcu_dereference(slot->peer);
	/* The memory of an inode, too, is freed after a grace period only. */
	if (peer && (peer->incarnation != incarnation || !igrab(peer->node.inode)))
		peer = NULL;
	rcu_read_unlock();
	return peer;
}

long evering_call_revoke(struct evering_call *call)
{
	struct evering_segment *segment = evering_file_segment(call->file);
	struct evering_peer_revoke *arg = call->arg;
	struct evering_slot *slot;
	struct evering_peer *peer;
	u64 incarnation;
	bool ended;

	if (!(evering_file_rights(call->file) & EVERING_RIGHT_ADMIN) &&
	    !ns_capable(segment->user_ns, CAP_SYS_ADMIN))
		return -EACCES;
	if (arg->slot >= segment->slots->nr)
		return -EINVAL;
	slot = &segment->slots->slot[array_index_nospec(arg->slot, segment->slots->nr)];
	spin_lock(&segment->lock);
	incarnation = slot->incarnation;
	spin_unlock(&segment->lock);
	if (incarnation != arg->incarnation)
		return -ESTALE;
	peer = grab_peer(slot, incarnation);
	if (!peer)
		return -ESTALE;
	trace_evering_revoke(peer);
	ended = evering_peer_end(peer, EVERING_EXIT_REVOKE, 0, EVERING_UNMAP_WAIT);
	iput(peer->node.inode);
	return ended ? 0 : -ESTALE;
}

long evering_call_reaped(struct evering_call *call)
{
	struct evering_peer *peer = evering_file_peer(call->file);
	struct evering_segment *segment = peer->segment;
	struct evering_peer_reaped *arg = call->arg;
	int rc;

	if (arg->slot >= segment->slots->nr)
		return -EINVAL;
	spin_lock(&segment->lock);
	rc = evering_slot_reap(segment->slots,
			       array_index_nospec(arg->slot, segment->slots->nr),
			       arg->incarnation);
	spin_unlock(&segment->lock);
	if (!rc)
		evering_peer_event(segment, NULL);
	return rc;
}
