// SPDX-License-Identifier: GPL-2.0
/*
 * Doorbells: 64 pending bits for each peer, and who rang.
 *
 * Model      Any writer rings any peer; whoever holds the peer fd takes. The ended peer
 *            is rung no more.
 * Calls      All may run together: peer->lock orders them. A ring is seen by the next
 *            take: what the ringer stored before is visible to the taker.
 * Progress   A ring blocks for the length of another ring or take at most; it wakes
 *            only if it made a bit pending that was not.
 */
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/nospec.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "compat.h"
#include "evering.h"
#include "trace.h"

#define PEER_EVENT BIT_ULL(EVERING_BELL_PEER_EVENT)
#define BELLS_CHUNK 4U	/* copied from user space at a time */

static __poll_t bells_events(u64 pending)
{
	__poll_t events = 0;

	if (pending)
		events |= EPOLLIN | EPOLLRDNORM;
	if (pending & PEER_EVENT)
		events |= EPOLLPRI;
	return events;
}

static void count_ring(struct evering_status_entry *entry, bool suppressed)
{
	/* Only ringers write these, under the peer's lock; readers have no lock. */
	WRITE_ONCE(entry->rung, entry->rung + 1);
	if (suppressed)
		WRITE_ONCE(entry->suppressed, entry->suppressed + 1);
}

/* Context: rcu_read_lock or a reference. from is NULL for the kernel. */
static int push(struct evering_peer *peer, u64 bits, const struct evering_peer *from)
{
	LIST_HEAD(picked);
	u64 fresh;

	spin_lock(&peer->lock);
	if (peer->ended) {
		spin_unlock(&peer->lock);
		return -ESTALE;
	}
	fresh = bits & ~peer->pending;
	if (from) {
		count_ring(peer->entry, !fresh);
		peer->rang[from->slot / 64] |= BIT_ULL(from->slot % 64);
	}
	peer->pending |= bits;
	if (fresh) {
		evering_parked_pick(peer, &picked);
		if (peer->eventfd)
			evering_eventfd_signal(peer->eventfd);
	}
	spin_unlock(&peer->lock);
	if (fresh) {
		wake_up_interruptible_poll(&peer->wq, bells_events(fresh));
		evering_parked_complete(&picked);
	}
	return 0;
}

static int ring(struct evering_peer *from, const struct evering_bell *bell)
{
	struct evering_slots *slots = from->segment->slots;
	struct evering_peer *peer;
	u32 index = bell->slot;
	int rc = -ESTALE;

	if (index >= slots->nr || !bell->bits || bell->bits & ~EVERING_BELLS_USER)
		return -EINVAL;
	index = array_index_nospec(index, slots->nr);
	rcu_read_lock();
	peer = rcu_dereference(slots->slot[index].peer);
	if (peer && peer->incarnation == bell->incarnation)
		rc = push(peer, bell->bits, from);
	rcu_read_unlock();
	trace_evering_ring(from, bell, rc);
	return rc;
}

/**
 * evering_bells_ring() - ring many peers.
 * @from: who
 * @bells: their results are written back
 * @nr: at most EVERING_RING_MAX
 *
 * Return: how many were rung, -EINVAL, -EFAULT (some may have been rung) or
 * -EOWNERDEAD (none was, and the caller has ended).
 */
int evering_bells_ring(struct evering_peer *from, struct evering_bell __user *bells, u32 nr)
{
	struct evering_bell chunk[BELLS_CHUNK];
	u32 done, part, i;
	int rung = 0;

	if (nr > EVERING_RING_MAX)
		return -EINVAL;
	for (done = 0; done < nr; done += part) {
		part = min(nr - done, BELLS_CHUNK);
		if (copy_from_user(chunk, bells + done, part * sizeof(*chunk)))
			return -EFAULT;
		for (i = 0; i < part; i++) {
			chunk[i].result = ring(from, &chunk[i]);
			rung += !chunk[i].result;
		}
		if (copy_to_user(bells + done, chunk, part * sizeof(*chunk)))
			return -EFAULT;
	}
	if (!rung && test_bit(EVERING_PEER_BIT_ENDING, &from->flags))
		return -EOWNERDEAD;
	return rung;
}

/* The others learn that some peer's state, or the segment's size, has changed. */
void evering_peer_event(struct evering_segment *segment, const struct evering_peer *except)
{
	struct evering_slots *slots = segment->slots;
	struct evering_peer *peer;
	u32 i;

	rcu_read_lock();
	for (i = 0; i < slots->nr; i++) {
		peer = rcu_dereference(slots->slot[i].peer);
		if (peer && peer != except)
			push(peer, PEER_EVENT, NULL);
	}
	rcu_read_unlock();
}

/* evering_bells_take() with the peer's lock held. */
int __evering_bells_take(struct evering_peer *peer, u64 mask, struct evering_bells *bells,
			 u32 words)
{
	u32 i;

	lockdep_assert_held(&peer->lock);
	if (peer->ended)
		return -EOWNERDEAD;
	bells->bits = peer->pending & mask;
	if (!bells->bits)
		return 0;
	WRITE_ONCE(peer->pending, peer->pending & ~mask);
	for (i = 0; i < words; i++) {
		bells->rang[i] = peer->rang[i];
		peer->rang[i] = 0;
	}
	return 1;
}

/**
 * evering_bells_take() - take pending bells.
 * @peer: whose
 * @mask: which
 * @bells: out
 * @words: how many words of bells->rang to take
 *
 * Return: 1, 0 (none is pending) or -EOWNERDEAD.
 */
int evering_bells_take(struct evering_peer *peer, u64 mask, struct evering_bells *bells,
		       u32 words)
{
	int rc;

	spin_lock(&peer->lock);
	rc = __evering_bells_take(peer, mask, bells, words);
	spin_unlock(&peer->lock);
	return rc;
}

/* They could not be delivered: as if they had not been taken. */
void evering_bells_give_back(struct evering_peer *peer, const struct evering_bells *bells)
{
	LIST_HEAD(picked);
	u32 i;

	spin_lock(&peer->lock);
	if (!peer->ended) {
		peer->pending |= bells->bits;
		for (i = 0; i < EVERING_RANG_WORDS; i++)
			peer->rang[i] |= bells->rang[i];
		evering_parked_pick(peer, &picked);
	}
	spin_unlock(&peer->lock);
	wake_up_interruptible_poll(&peer->wq, bells_events(bells->bits));
	evering_parked_complete(&picked);
}

/* The peer has ended: nothing rings it any more, all its waits end. */
void evering_bells_end(struct evering_peer *peer)
{
	struct eventfd_ctx *eventfd;
	LIST_HEAD(picked);

	spin_lock(&peer->lock);
	WRITE_ONCE(peer->ended, true);
	peer->pending = 0;
	memset(peer->rang, 0, sizeof(peer->rang));
	eventfd = peer->eventfd;
	peer->eventfd = NULL;
	evering_parked_pick(peer, &picked);
	spin_unlock(&peer->lock);
	wake_up_poll(&peer->wq, EPOLLHUP | EPOLLERR | EPOLLIN);
	evering_parked_complete(&picked);
	if (eventfd) {
		evering_eventfd_signal(eventfd);
		eventfd_ctx_put(eventfd);
	}
}

/* deadline: CLOCK_MONOTONIC, NULL for none. Return: 0 or -errno. */
static int wait_for_bells(struct evering_peer *peer, u64 mask, ktime_t *deadline,
			  struct evering_bells *bells, u32 words)
{
	DEFINE_WAIT(wait);
	bool expired = false;
	int rc;

	for (;;) {
		prepare_to_wait(&peer->wq, &wait, TASK_INTERRUPTIBLE | TASK_FREEZABLE);
		rc = evering_bells_take(peer, mask, bells, words);
		if (!rc && signal_pending(current))
			rc = -ERESTARTSYS;
		if (!rc && expired)
			rc = -ETIMEDOUT;
		if (rc)
			break;
		expired = !schedule_hrtimeout(deadline, HRTIMER_MODE_ABS);
	}
	finish_wait(&peer->wq, &wait);
	trace_evering_wait(peer, mask, rc > 0 ? bells->bits : 0, min(rc, 0));
	return min(rc, 0);
}

/*
 * write(2): rings, in order, as many whole struct evering_bell as there are, to the first that
 * cannot be rung. One copy and no results: the way of those who ring one peer.
 */
ssize_t evering_peer_write(struct file *file, const char __user *bells, size_t len, loff_t *pos)
{
	struct evering_peer *peer = evering_file_peer(file);
	struct evering_bell bell;
	size_t done = 0;
	int rc = 0;

	if (READ_ONCE(peer->ended))
		return -EOWNERDEAD;
	if (len % sizeof(bell))
		return -EINVAL;
	len = min(len, EVERING_RING_MAX * sizeof(bell));
	while (!rc && done < len) {
		if (copy_from_user(&bell, bells + done, sizeof(bell)))
			rc = -EFAULT;
		else
			rc = bell.result ? -EINVAL : ring(peer, &bell);
		if (!rc)
			done += sizeof(bell);
	}
	if (rc && test_bit(EVERING_PEER_BIT_ENDING, &peer->flags))
		rc = -EOWNERDEAD;
	return done ?: rc;
}

long evering_call_ring(struct evering_call *call)
{
	struct evering_bell_ring *arg = call->arg;

	return evering_bells_ring(evering_file_peer(call->file), u64_to_user_ptr(arg->bells),
				  arg->nr);
}

static void undo_wait(struct evering_call *call)
{
	struct evering_bell_wait *arg = call->arg;

	evering_bells_give_back(evering_file_peer(call->file), &arg->bells);
}

long evering_call_wait(struct evering_call *call)
{
	struct evering_peer *peer = evering_file_peer(call->file);
	struct evering_bell_wait *arg = call->arg;
	ktime_t deadline = ns_to_ktime(arg->deadline_ns);
	bool forever = arg->deadline_ns >= KTIME_MAX;
	int rc;

	if (arg->flags || !arg->mask)
		return -EINVAL;
	rc = wait_for_bells(peer, arg->mask, forever ? NULL : &deadline, &arg->bells,
			    EVERING_RANG_WORDS);
	if (!rc)
		call->undo = undo_wait;
	return rc;
}

long evering_call_bind(struct evering_call *call)
{
	struct evering_peer *peer = evering_file_peer(call->file);
	struct evering_bell_bind *arg = call->arg;
	struct eventfd_ctx *eventfd = NULL;
	int rc = 0;

	if (arg->eventfd < -1)
		return -EINVAL;
	if (arg->eventfd >= 0) {
		eventfd = eventfd_ctx_fdget(arg->eventfd);
		if (IS_ERR(eventfd))
			return PTR_ERR(eventfd);
	}
	spin_lock(&peer->lock);
	if (peer->ended)
		rc = -EOWNERDEAD;
	else
		swap(peer->eventfd, eventfd);
	if (peer->eventfd && peer->pending)
		evering_eventfd_signal(peer->eventfd);
	spin_unlock(&peer->lock);
	if (eventfd)
		eventfd_ctx_put(eventfd);
	return rc;
}

/* read(2): as many whole words of struct evering_bells as there is room for. */
ssize_t evering_peer_read(struct kiocb *iocb, struct iov_iter *to)
{
	struct file *file = iocb->ki_filp;
	struct evering_peer *peer = evering_file_peer(file);
	struct evering_bells bells = {};
	size_t words = min(iov_iter_count(to), sizeof(bells)) / sizeof(u64);
	int rc;

	if (!words)
		return -EINVAL;
	if (file->f_flags & O_NONBLOCK || iocb->ki_flags & IOCB_NOWAIT) {
		rc = evering_bells_take(peer, ~0ULL, &bells, words - 1);
		if (rc <= 0)
			return rc ?: -EAGAIN;
	} else {
		rc = wait_for_bells(peer, ~0ULL, NULL, &bells, words - 1);
		if (rc)
			return rc;
	}
	if (copy_to_iter(&bells, words * sizeof(u64), to) == words * sizeof(u64))
		return words * sizeof(u64);
	evering_bells_give_back(peer, &bells);
	return -EFAULT;
}

__poll_t evering_peer_poll(struct file *file, struct poll_table_struct *table)
{
	struct evering_peer *peer = evering_file_peer(file);
	__poll_t events;

	poll_wait(file, &peer->wq, table);
	/* Either the ringer finds us on the queue or we find its bit: it wakes after this lock. */
	spin_lock(&peer->lock);
	events = peer->ended ? EPOLLHUP | EPOLLERR : bells_events(peer->pending);
	spin_unlock(&peer->lock);
	return events;
}
