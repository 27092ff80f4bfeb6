// SPDX-License-Identifier: GPL-2.0
/*
 * io_uring commands on a peer fd. BELL_RING completes at once. BELL_WAIT parks.
 *
 * A parked wait is on peer->parked, or it has been picked: taken off under the lock
 * and on its way to its task, where it takes its bells and completes. A picked wait
 * that finds no bell any more parks again. It completes exactly once, by the one that
 * took it off the list:
 *
 *	ring, end of the peer, URING_CANCEL	pick, then complete in the task
 *	cancellation by io_uring		at once
 *
 * A wait that was cancelled while picked does not park again.
 */
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "evering.h"

static int uring_ring(struct evering_peer *peer, struct io_uring_cmd *cmd)
{
	const struct evering_uring_ring *arg =
		evering_uring_payload(cmd, struct evering_uring_ring);

	if (READ_ONCE(arg->flags))
		return -EINVAL;
	if (!(peer->rights & EVERING_RIGHT_WRITE))
		return -EACCES;
	return evering_bells_ring(peer, u64_to_user_ptr(READ_ONCE(arg->bells)),
				  READ_ONCE(arg->nr));
}

#if EVERING_HAS_URING_WAIT

#define WAITS_MAX 1024 /* of one peer */

enum parked_state {
	SUBMITTED,	/* on no list yet */
	PARKED,		/* on peer->parked */
	PICKED,		/* one has taken it off and completes it */
};

struct evering_parked {
	struct list_head list;
	struct list_head all;		/* on peer->waits until it completes */
	enum parked_state state;	/* protected by peer->lock */
	struct io_uring_cmd *cmd;
	struct mm_struct *mm;		/* only compared */
	struct evering_bell_wait __user *wait;
	u64 mask;
	u64 cookie;
	bool cancelled;			/* protected by peer->lock */
};

static struct evering_parked **parked_of(struct io_uring_cmd *cmd)
{
	return (struct evering_parked **)cmd->pdu;
}

static int deliver(struct evering_peer *peer, struct evering_parked *parked,
		   const struct evering_bells *bells)
{
	/* The task may be gone, and this a worker that cleans up behind it. */
	if (current->mm == parked->mm &&
	    !copy_to_user(&parked->wait->bells, bells, sizeof(*bells)))
		return 0;
	evering_bells_give_back(peer, bells);
	return -EFAULT;
}

static void complete_wait(struct io_uring_cmd *cmd, struct evering_parked *parked, int result,
			  unsigned int issue_flags)
{
	/* In this order: until it is done, io_uring may still come to cancel it. */
	io_uring_cmd_done(cmd, result, 0, issue_flags);
	kfree(parked);
}

/* A ring walks all that are parked, so their number is bounded. Under peer->lock. */
static int enter(struct evering_peer *peer, struct evering_parked *parked)
{
	lockdep_assert_held(&peer->lock);
	if (peer->waits_nr == WAITS_MAX)
		return -EBUSY;
	list_add_tail(&parked->all, &peer->waits);
	peer->waits_nr++;
	return 0;
}

/* It completes now, and by us. Under peer->lock. */
static void leave(struct evering_peer *peer, struct evering_parked *parked)
{
	lockdep_assert_held(&peer->lock);
	list_del_init(&parked->all);
	peer->waits_nr--;
}

static void park(struct evering_peer *peer, struct evering_parked *parked)
{
	parked->state = PARKED;
	list_add_tail(&parked->list, &peer->parked);
}

static void pick(struct evering_parked *parked, struct list_head *picked)
{
	parked->state = PICKED;
	list_move_tail(&parked->list, picked);
}

/* Complete with the bells that are pending, or as cancelled; with neither, park. */
static void park_or_complete(struct evering_peer *peer, struct io_uring_cmd *cmd,
			     struct evering_parked *parked, unsigned int issue_flags)
{
	struct evering_bells bells = {};
	int rc;

	spin_lock(&peer->lock);
	rc = __evering_bells_take(peer, parked->mask, &bells, EVERING_RANG_WORDS);
	if (!rc && !parked->cancelled) {
		park(peer, parked);
		spin_unlock(&peer->lock);
		return;
	}
	leave(peer, parked);
	spin_unlock(&peer->lock);
	if (rc > 0)
		rc = deliver(peer, parked, &bells);
	else if (!rc)
		rc = -ECANCELED;
	complete_wait(cmd, parked, rc, issue_flags);
}

/* Context: the task that submitted it, or a worker after its end. */
static void finish_wait_in_task(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct evering_parked *parked = *parked_of(cmd);
	struct evering_peer *peer = evering_file_peer(cmd->file);

	park_or_complete(peer, cmd, parked, issue_flags);
}

/* Takes off the list those that a pending bell, or the end, is for. Under peer->lock. */
void evering_parked_pick(struct evering_peer *peer, struct list_head *picked)
{
	struct evering_parked *parked, *next;
	u64 left = peer->pending;

	lockdep_assert_held(&peer->lock);
	list_for_each_entry_safe(parked, next, &peer->parked, list) {
		if (!peer->ended && !(parked->mask & left))
			continue;
		left &= ~parked->mask;
		pick(parked, picked);
	}
}

/* Context: without peer->lock; the peer stays, since each wait holds its file. */
void evering_parked_complete(struct list_head *picked)
{
	struct evering_parked *parked, *next;

	/* Each may be freed, or park again, as soon as it is handed over. */
	list_for_each_entry_safe(parked, next, picked, list)
		io_uring_cmd_complete_in_task(parked->cmd, finish_wait_in_task);
}

static struct evering_parked *parked_create(struct io_uring_cmd *cmd)
{
	const struct evering_uring_wait *arg =
		evering_uring_payload(cmd, struct evering_uring_wait);
	struct evering_bell_wait __user *user = u64_to_user_ptr(READ_ONCE(arg->wait));
	struct evering_bell_wait wait;
	struct evering_parked *parked;
	u32 size;
	int rc;

	if (get_user(size, &user->size))
		return ERR_PTR(-EFAULT);
	rc = evering_size_check(size, sizeof(wait));
	if (!rc)
		rc = copy_struct_from_user(&wait, sizeof(wait), user, size);
	if (rc)
		return ERR_PTR(rc);
	if (wait.flags || !wait.mask || wait.deadline_ns != EVERING_NO_DEADLINE)
		return ERR_PTR(-EINVAL);
	parked = kzalloc(sizeof(*parked), GFP_KERNEL_ACCOUNT);
	if (!parked)
		return ERR_PTR(-ENOMEM);
	INIT_LIST_HEAD(&parked->list);
	parked->cmd = cmd;
	parked->mm = current->mm;
	parked->wait = user;
	parked->mask = wait.mask;
	parked->cookie = READ_ONCE(arg->cookie);
	return parked;
}

static int uring_wait(struct evering_peer *peer, struct io_uring_cmd *cmd,
		      unsigned int issue_flags)
{
	struct evering_parked *parked;
	struct evering_bells bells = {};
	int rc;

	parked = parked_create(cmd);
	if (IS_ERR(parked))
		return PTR_ERR(parked);
	spin_lock(&peer->lock);
	rc = __evering_bells_take(peer, parked->mask, &bells, EVERING_RANG_WORDS);
	if (!rc)
		rc = enter(peer, parked);
	spin_unlock(&peer->lock);
	if (rc) {
		if (rc > 0)
			rc = deliver(peer, parked, &bells);
		kfree(parked);
		return rc;
	}
	*parked_of(cmd) = parked;
	/* First: once it is on the list, it may complete and be freed at any time. */
	io_uring_cmd_mark_cancelable(cmd, issue_flags);
	park_or_complete(peer, cmd, parked, issue_flags);
	return -EIOCBQUEUED;
}

/* io_uring wants it back: its task or ring ends. May come more than once. */
static int uring_cancelled(struct evering_peer *peer, struct io_uring_cmd *cmd,
			   unsigned int issue_flags)
{
	struct evering_parked *parked = *parked_of(cmd);
	LIST_HEAD(own);
	bool ours;

	spin_lock(&peer->lock);
	parked->cancelled = true;
	ours = parked->state == PARKED;
	if (ours) {
		pick(parked, &own);
		leave(peer, parked);
	}
	spin_unlock(&peer->lock);
	if (ours)
		complete_wait(cmd, parked, -ECANCELED, issue_flags);
	return 0;
}

/* Return: how many waits end. */
static int uring_cancel(struct evering_peer *peer, struct io_uring_cmd *cmd)
{
	const struct evering_uring_cancel *arg =
		evering_uring_payload(cmd, struct evering_uring_cancel);
	struct evering_parked *parked;
	u64 cookie = READ_ONCE(arg->cookie);
	LIST_HEAD(picked);
	int nr = 0;

	if (READ_ONCE(arg->flags))
		return -EINVAL;
	spin_lock(&peer->lock);
	/* Also those that are picked: they may find no bell any more. */
	list_for_each_entry(parked, &peer->waits, all) {
		if (parked->cookie != cookie || parked->cancelled)
			continue;
		parked->cancelled = true;
		if (parked->state == PARKED)
			pick(parked, &picked);
		nr++;
	}
	spin_unlock(&peer->lock);
	evering_parked_complete(&picked);
	return nr;
}

#else

void evering_parked_pick(struct evering_peer *peer, struct list_head *picked)
{
}

void evering_parked_complete(struct list_head *picked)
{
}

static int uring_wait(struct evering_peer *peer, struct io_uring_cmd *cmd,
		      unsigned int issue_flags)
{
	return -EOPNOTSUPP;
}

static int uring_cancel(struct evering_peer *peer, struct io_uring_cmd *cmd)
{
	return -EOPNOTSUPP;
}

#endif

int evering_peer_uring(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct evering_peer *peer = evering_file_peer(cmd->file);

#if EVERING_HAS_URING_WAIT
	if (issue_flags & IO_URING_F_CANCEL)
		return uring_cancelled(peer, cmd, issue_flags);
#endif
	if (READ_ONCE(peer->ended))
		return -EOWNERDEAD;
	switch (cmd->cmd_op) {
	case EVERING_URING_BELL_RING:
		return uring_ring(peer, cmd);
	case EVERING_URING_BELL_WAIT:
		return uring_wait(peer, cmd, issue_flags);
	case EVERING_URING_CANCEL:
		return uring_cancel(peer, cmd);
	default:
		return -ENOTTY;
	}
}
