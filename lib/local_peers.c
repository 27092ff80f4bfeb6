/* SPDX-License-Identifier: MIT */
/*
 * Slots of a local segment: who lives in them, and how an end becomes known.
 *
 * model      any process with the file attaches, looks, settles, and may die at any
 *            instruction. Evidence of a death comes from the kernel: the write lock
 *            on the slot's byte, held through a file description that the peer alone
 *            opened, or a pidfd. A stopped process keeps both and is alive.
 * calls      all may run together.
 * edges      LIFE  attach: CAS life to LIVE -> snapshot: load-acquire life   [the
 *                  slot's declared fields]; they change only while the slot is FREE
 *                  and its lock is held.
 * progress   lock-free: a CAS fails only when another one has done the work.
 * limits     2^48 - 1 incarnations a slot, then it is RETIRED. A forked child that
 *            keeps the parent's fds open keeps the slot from being used again, but
 *            does not hide the death (pidfd) where pids can be seen.
 */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <evering/error.h>

#include "internal.h"

static uint64_t load_life(const struct evr_segment *segment, uint32_t slot)
{
	/* LIFE: pairs with the CAS in claim_slot(). */
	return evr_a64_load_acquire(&local_entry(segment, slot)->life);
}

/*
 * Ring bell 63 of all who live, but the slot that it is about. Then say so: the
 * next to come need not do it again. Who dies in here leaves that to them.
 */
static void tell(const struct evr_segment *segment, uint32_t slot)
{
	uint64_t life = load_life(segment, slot);
	uint32_t i;

	if (life & LIFE_TOLD)
		return;
	evr_a64_fetch_add(local_generation(segment), 1);
	for (i = 0; i < segment->layout.peers_max; i++)
		if (i != slot && life_state(load_life(segment, i)) == EVR_PEER_LIVE)
			local_ring_slot(segment, EVR_SLOT_ANY, i,
					(uint64_t)1 << EVR_BELL_PEER_EVENT);
	evr_a64_cas(&local_entry(segment, slot)->life, &life, life | LIFE_TOLD);
}

/* From exactly this life to another state. False: somebody else was first. */
static bool change(const struct evr_segment *segment, uint32_t slot, uint64_t life, uint64_t next)
{
	struct evr_a64 *word = &local_entry(segment, slot)->life;
	uint64_t expected = life;

	/* Being told about a life is not another life. */
	while (!evr_a64_cas(word, &expected, next))
		if ((expected & ~LIFE_TOLD) != (life & ~LIFE_TOLD))
			return false;
	tell(segment, slot);
	return true;
}

static bool settle(const struct evr_segment *segment, uint32_t slot, uint64_t life, uint32_t reason)
{
	if (local_of(segment)->is_readonly)
		return false;
	return change(segment, slot, life,
		      life_make(life_incarnation(life), reason, EVR_PEER_DEAD));
}

/*
 * The lock was taken before LIVE was written, so when it is free after LIVE was
 * read, that life has ended.
 */
static bool is_dead_by_lock(const struct evr_segment *segment, uint32_t slot, uint64_t life)
{
	return life_state(life) == EVR_PEER_LIVE &&
	       !local_file_is_locked(segment->fd, LOCAL_LOCK_SLOT + slot);
}

void local_sweep(const struct evr_segment *segment, uint32_t self)
{
	uint32_t slot;
	uint64_t life;

	for (slot = 0; slot < segment->layout.peers_max; slot++) {
		life = load_life(segment, slot);
		if (slot == self || local_of(segment)->is_readonly)
			continue;
		if (is_dead_by_lock(segment, slot, life) ||
		    (self == EVR_SLOT_ANY && life_state(life) == EVR_PEER_LIVE &&
		     local_process_is_gone(local_entry(segment, slot))))
			settle(segment, slot, life, EVR_EXIT_EXIT);
		else if (!(life & LIFE_TOLD) && life)
			tell(segment, slot);
	}
}

static void check_locked(struct evr_peer *peer)
{
	uint64_t life;
	uint32_t slot;

	while ((slot = local_watch_next_dead(peer, &life)) != EVR_SLOT_ANY)
		settle(peer->segment, slot, life, EVR_EXIT_EXIT);
	local_sweep(peer->segment, peer->self.slot);
	for (slot = 0; slot < peer->segment->layout.peers_max; slot++) {
		life = load_life(peer->segment, slot);
		if (!local_watch_slot(peer, slot, life))
			settle(peer->segment, slot, life, EVR_EXIT_EXIT);
	}
}

void local_check_now(struct evr_peer *peer)
{
	struct local_peer *own = peer->own;

	/* Another thread does it at this moment: that is as good. */
	if (pthread_mutex_trylock(&own->lock))
		return;
	/* relaxed: two threads that both find it too old do no harm. */
	evr_a64_store_relaxed(&own->next_check_ns, evr_now_ns() + LOCAL_CHECK_NS);
	check_locked(peer);
	pthread_mutex_unlock(&own->lock);
}

void local_check(struct evr_peer *peer)
{
	struct local_peer *own = peer->own;

	if (evr_now_ns() >= evr_a64_load_relaxed(&own->next_check_ns))
		local_check_now(peer);
}

static uint32_t count_state(const struct evr_segment *segment, uint32_t state)
{
	uint32_t slot, nr = 0;

	for (slot = 0; slot < segment->layout.peers_max; slot++)
		nr += life_state(load_life(segment, slot)) == state;
	return nr;
}

static uint64_t freed(uint64_t life)
{
	bool is_worn = life_incarnation(life) == LIFE_INCARNATION_MAX;

	return life_make(life_incarnation(life), 0, is_worn ? EVR_PEER_RETIRED : EVR_PEER_FREE);
}

/* Nobody is left who could reap, and nothing that would be found half-settled. */
static void free_dead(const struct evr_segment *segment)
{
	uint32_t slot;
	uint64_t life;

	for (slot = 0; slot < segment->layout.peers_max; slot++) {
		life = load_life(segment, slot);
		if (life_state(life) == EVR_PEER_DEAD)
			change(segment, slot, life, freed(life));
	}
}

int local_reaped(struct evr_peer *peer, struct evr_peer_id dead)
{
	uint64_t life = load_life(peer->segment, dead.slot);

	if (life_incarnation(life) != dead.incarnation || life_state(life) == EVR_PEER_FREE ||
	    life_state(life) == EVR_PEER_RETIRED)
		return -ESTALE;
	if (life_state(life) != EVR_PEER_DEAD)
		return -EBUSY;
	return change(peer->segment, dead.slot, life, freed(life)) ? 0 : -ESTALE;
}

/* --- attach --- */

static void declare(struct evr_peer *peer, struct local_entry *entry, uint64_t cookie)
{
	struct timespec now;
	int i;

	clock_gettime(CLOCK_BOOTTIME, &now);
	evr_a64_store_relaxed(&entry->cookie, cookie);
	evr_a64_store_relaxed(&entry->attached_ns,
			      (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
	evr_a64_store_relaxed(&entry->start_time, local_start_time(peer->pid));
	evr_a64_store_relaxed(&entry->pid_ns, local_pid_ns());
	evr_a64_store_relaxed(&entry->time_ns, local_time_ns());
	evr_a32_store_relaxed(&entry->pid, (uint32_t)peer->pid);
	evr_a32_store_relaxed(&entry->uid, geteuid());
	evr_a32_store_relaxed(&entry->rights, peer->rights);
	evr_a64_store_relaxed(&entry->pending, 0);
	for (i = 0; i < EVERING_PEERS_MAX / 64; i++)
		evr_a64_store_relaxed(&entry->rang[i], 0);
	evr_a64_store_relaxed(&entry->rung, 0);
	evr_a64_store_relaxed(&entry->suppressed, 0);
	evr_a32_store_relaxed(&entry->is_signaled, 0);
	evr_a32_store_relaxed(&entry->sleepers, 0);
	evr_a32_store_relaxed(&entry->is_listening, 0);
}

/* 0; -EAGAIN the slot is not free, or its lock is not. */
static int claim_slot(struct evr_peer *peer, uint32_t slot, uint64_t cookie)
{
	struct local_entry *entry = local_entry(peer->segment, slot);
	uint64_t life, next;
	int err;

	if (life_state(load_life(peer->segment, slot)) != EVR_PEER_FREE)
		return -EAGAIN;
	err = local_file_lock(peer->fd, F_WRLCK, LOCAL_LOCK_SLOT + slot);
	if (err == -EACCES || err == -EAGAIN)
		return -EAGAIN;
	if (err)
		return evr_fail(err, "cannot lock slot %u: %s", slot, evr_strerror(err));
	life = load_life(peer->segment, slot);
	if (life_state(life) != EVR_PEER_FREE)
		goto err_unlock;
	peer->self.slot = slot;
	peer->self.incarnation = life_incarnation(life) + 1;
	declare(peer, entry, cookie);
	/* LIFE: publishes what was declared; pairs with load_life(). */
	next = life_make(peer->self.incarnation, EVR_EXIT_NONE, EVR_PEER_LIVE);
	if (change(peer->segment, slot, life, next))
		return 0;
err_unlock:
	peer->self.slot = EVR_SLOT_ANY;
	local_file_lock(peer->fd, F_UNLCK, LOCAL_LOCK_SLOT + slot);
	return -EAGAIN;
}

static int claim_any(struct evr_peer *peer, uint64_t cookie)
{
	uint32_t slot;
	int err;

	for (slot = 0; slot < peer->segment->layout.peers_max; slot++) {
		err = claim_slot(peer, slot, cookie);
		if (err != -EAGAIN)
			return err;
	}
	return -EAGAIN;
}

static int claim(struct evr_peer *peer, const struct evr_peer_options *options)
{
	const struct evr_segment *segment = peer->segment;
	uint32_t dead;
	int err, round;

	for (round = 0; round < 2; round++) {
		err = options->slot_set ? claim_slot(peer, options->slot, options->cookie) :
					  claim_any(peer, options->cookie);
		if (err != -EAGAIN)
			return err;
		local_sweep(segment, EVR_SLOT_ANY);
		if (!count_state(segment, EVR_PEER_LIVE))
			free_dead(segment);
	}
	if (options->slot_set)
		return evr_fail(-EBUSY, "slot %u is not free", options->slot);
	dead = count_state(segment, EVR_PEER_DEAD);
	return evr_fail(-EUSERS, "none of %u slots is free: %u live, %u dead and not reaped yet%s",
			segment->layout.peers_max, count_state(segment, EVR_PEER_LIVE), dead,
			dead ? "; a living peer must call evr_reap_dead()" : "");
}

int local_attach(struct evr_peer *peer, const struct evr_peer_options *options)
{
	struct evr_segment *segment = peer->segment;
	bool is_readonly = local_of(segment)->is_readonly;
	uint64_t sz;
	int err;

	err = local_file_check(segment, &sz);
	if (!err)
		err = local_peer_init(peer);
	if (err)
		return err;
	peer->rights = EVR_RIGHT_OBSERVE;
	if (!(options->flags & EVR_PEER_OBSERVER))
		peer->rights |= EVR_RIGHT_WRITE;
	peer->fd = local_file_reopen(segment->fd, is_readonly ? O_RDONLY : O_RDWR);
	if (peer->fd < 0)
		return peer->fd;
	if (!is_readonly)
		err = claim(peer, options);
	else
		peer->self.slot = EVR_SLOT_ANY;
	if (!err)
		local_check_now(peer);
	return err;
}

void local_detach(struct evr_peer *peer)
{
	struct evr_segment *segment = peer->segment;
	uint64_t life;

	if (peer->self.slot != EVR_SLOT_ANY) {
		life = life_make(peer->self.incarnation, EVR_EXIT_NONE, EVR_PEER_LIVE);
		settle(segment, peer->self.slot, life, EVR_EXIT_DETACH);
		/* Closing alone would leave it to a forked child. */
		local_file_lock(peer->fd, F_UNLCK, LOCAL_LOCK_SLOT + peer->self.slot);
	}
	if (peer->fd >= 0)
		close(peer->fd);
	peer->fd = -1;
	if (peer->self.slot != EVR_SLOT_ANY) {
		local_sweep(segment, EVR_SLOT_ANY);
		if (!count_state(segment, EVR_PEER_LIVE))
			free_dead(segment);
	}
	local_peer_fini(peer);
}

uint32_t local_state(const struct evr_peer *peer, uint32_t slot, uint64_t *incarnation)
{
	uint64_t life = load_life(peer->segment, slot);

	*incarnation = life_incarnation(life);
	return life_state(life);
}

/* --- look --- */

static void copy_entry(const struct local_entry *entry, uint64_t life, struct evr_peer_info *info)
{
	info->id.incarnation = life_incarnation(life);
	info->state = life_state(life);
	info->exit_reason = life_reason(life);
	info->rights = evr_a32_load_relaxed(&entry->rights);
	info->uid = evr_a32_load_relaxed(&entry->uid);
	info->pid = (int32_t)evr_a32_load_relaxed(&entry->pid);
	if (evr_a64_load_relaxed(&entry->pid_ns) != local_pid_ns())
		info->pid = 0;
	info->cookie = evr_a64_load_relaxed(&entry->cookie);
	info->rung = evr_a64_load_relaxed(&entry->rung);
	info->suppressed = evr_a64_load_relaxed(&entry->suppressed);
	info->attached_ns = evr_a64_load_relaxed(&entry->attached_ns);
}

uint64_t local_snapshot(const struct evr_segment *segment, uint32_t slot,
			struct evr_peer_info *info)
{
	const struct local_entry *entry = local_entry(segment, slot);
	uint64_t life = load_life(segment, slot), again;
	int tries;

	/* Bounded: who flips lives faster than this gets a mixed answer of both. */
	for (tries = 0; tries < 16; tries++) {
		memset(info, 0, sizeof(*info));
		info->id.slot = slot;
		if (life_state(life) == EVR_PEER_FREE || life_state(life) == EVR_PEER_RETIRED) {
			info->id.incarnation = life_incarnation(life);
			info->state = life_state(life);
			return life;
		}
		copy_entry(entry, life, info);
		evr_fence();
		again = load_life(segment, slot);
		if (!((again ^ life) & ~LIFE_TOLD))
			break;
		life = again;
	}
	/* Who may not write cannot settle a death, but sees it. */
	if (local_of(segment)->is_readonly && is_dead_by_lock(segment, slot, life)) {
		info->state = EVR_PEER_DEAD;
		info->exit_reason = EVR_EXIT_EXIT;
	}
	return life;
}
