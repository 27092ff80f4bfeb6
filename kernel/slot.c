// SPDX-License-Identifier: GPL-2.0
/*
 * Slots and incarnations: who a peer number stands for, and its status entry.
 *
 *	FREE -> RESERVED -> LIVE -> DYING -> DEAD -> FREE or RETIRED
 *
 * A peer that could not write goes from DYING to FREE at once: it owns nothing that
 * would have to be settled. A slot whose incarnations are used up ends RETIRED. An
 * attach in progress holds its slot RESERVED and may still cancel.
 *
 * Calls      All with segment->lock held.
 * Edges      STATUS publish_state: store-release entry->state -> readers in other
 *            processes: load-acquire state   [the entry's fields]
 *            STATUS-GEN publish_state: store-release header->generation -> the same
 *            readers   [the states]
 */
#include <linux/kernel.h>
#include <linux/pid.h>
#include <linux/ktime.h>

#include "evering.h"

static void publish_state(struct evering_slots *slots, u32 index, u32 state)
{
	struct evering_slot *slot = &slots->slot[index];

	slot->state = state;
	/* STATUS: pairs with the reader's load-acquire; the fields were written above. */
	smp_store_release(&slot->entry->state, state);
	/* STATUS-GEN: who sees the new number sees the new state. */
	smp_store_release(&slots->header->generation, ++slots->generation);
}

static int find_state(const struct evering_slots *slots, u32 state)
{
	u32 index;

	for (index = 0; index < slots->nr; index++)
		if (slots->slot[index].state == state &&
		    slots->slot[index].incarnation < slots->incarnation_max)
			return index;
	return -1;
}

/**
 * evering_slots_find() - a slot for a new peer.
 * @slots: the table
 * @wanted: index or EVERING_SLOT_ANY
 * @reserved: index that the caller has reserved, or EVERING_SLOT_ANY
 * @rights: EVERING_RIGHT_* of the new peer
 *
 * When no slot is free and nobody who could settle the dead is alive, a writer may
 * take the slot of a dead peer over, and with it the duty to settle what that owned.
 *
 * Return: index, -EINVAL (no such slot), -EBUSY (wanted one is not free) or -EUSERS.
 */
int evering_slots_find(const struct evering_slots *slots, u32 wanted, u32 reserved, u32 rights)
{
	int index;

	if (wanted != EVERING_SLOT_ANY) {
		if (wanted >= slots->nr)
			return -EINVAL;
		if (wanted == reserved || slots->slot[wanted].state == EVERING_PEER_FREE)
			return wanted;
		return -EBUSY;
	}
	if (reserved != EVERING_SLOT_ANY)
		return reserved;
	index = find_state(slots, EVERING_PEER_FREE);
	if (index < 0 && !slots->writers && (rights & EVERING_RIGHT_WRITE))
		index = find_state(slots, EVERING_PEER_DEAD);
	return index < 0 ? -EUSERS : index;
}

void evering_slot_reserve(struct evering_slots *slots, u32 index)
{
	publish_state(slots, index, EVERING_PEER_RESERVED);
}

void evering_slot_unreserve(struct evering_slots *slots, u32 index)
{
	publish_state(slots, index, EVERING_PEER_FREE);
}

/* An attach begins: nobody sees it yet. */
void evering_slot_take(struct evering_slots *slots, u32 index)
{
	struct evering_slot *slot = &slots->slot[index];

	slot->before = slot->state;
	slot->state = EVERING_PEER_RESERVED;
	slot->incarnation++;
}

/* The attach has failed: as if it had never begun. */
void evering_slot_cancel(struct evering_slots *slots, u32 index)
{
	struct evering_slot *slot = &slots->slot[index];

	slot->state = slot->before;
	slot->incarnation--;
}

/**
 * evering_slot_live() - the attach has succeeded.
 * @slots: the table
 * @index: taken before
 * @tenant: who; its reference to the pid goes to the slot
 *
 * Return: the pid of the tenant before, to be put without the lock; may be NULL.
 */
struct pid *evering_slot_live(struct evering_slots *slots, u32 index,
			      const struct evering_tenant *tenant)
{
	struct evering_slot *slot = &slots->slot[index];
	struct evering_status_entry *entry = slot->entry;
	struct pid *old = slot->pid;

	slot->pid = tenant->pid;
	slot->uid = tenant->uid;
	slot->rights = tenant->rights;
	slot->cookie = tenant->cookie;
	slot->exit_reason = EVERING_EXIT_NONE;
	slot->exit_status = 0;
	slot->attached_ns = ktime_get_boottime_ns();
	slots->live++;
	if (slot->rights & EVERING_RIGHT_WRITE)
		slots->writers++;
	/* A dead peer's slot may be taken over without being free first. */
	WRITE_ONCE(entry->state, EVERING_PEER_RESERVED);
	/* STATUS-OLD: who reads a new field and then the state again sees no old state. */
	smp_wmb();
	WRITE_ONCE(entry->rights, slot->rights);
	WRITE_ONCE(entry->incarnation, slot->incarnation);
	WRITE_ONCE(entry->cookie, slot->cookie);
	WRITE_ONCE(entry->exit_reason, EVERING_EXIT_NONE);
	WRITE_ONCE(entry->exit_status, 0);
	WRITE_ONCE(entry->tgid, pid_nr(slot->pid));
	WRITE_ONCE(entry->uid, from_kuid_munged(&init_user_ns, slot->uid));
	WRITE_ONCE(entry->rung, 0);
	WRITE_ONCE(entry->suppressed, 0);
	WRITE_ONCE(entry->attached_ns, slot->attached_ns);
	publish_state(slots, index, EVERING_PEER_LIVE);
	return old;
}

void evering_slot_dying(struct evering_slots *slots, u32 index)
{
	struct evering_slot *slot = &slots->slot[index];

	slots->live--;
	if (slot->rights & EVERING_RIGHT_WRITE)
		slots->writers--;
	publish_state(slots, index, EVERING_PEER_DYING);
}

static u32 state_after(const struct evering_slots *slots, const struct evering_slot *slot)
{
	return slot->incarnation < slots->incarnation_max ? EVERING_PEER_FREE :
							    EVERING_PEER_RETIRED;
}

void evering_slot_dead(struct evering_slots *slots, u32 index, u32 reason, u32 status)
{
	struct evering_slot *slot = &slots->slot[index];

	slot->exit_reason = reason;
	slot->exit_status = status;
	WRITE_ONCE(slot->entry->exit_reason, reason);
	WRITE_ONCE(slot->entry->exit_status, status);
	publish_state(slots, index, slot->rights & EVERING_RIGHT_WRITE ? EVERING_PEER_DEAD :
									 state_after(slots, slot));
}

/**
 * evering_slot_reap() - all that a dead peer owned has been settled.
 * @slots: the table
 * @index: its slot
 * @incarnation: which one of that slot
 *
 * Return: 0, -EINVAL (no such slot), -ESTALE (another incarnation, or reaped
 * already) or -EBUSY (not dead).
 */
int evering_slot_reap(struct evering_slots *slots, u32 index, u64 incarnation)
{
	struct evering_slot *slot;

	if (index >= slots->nr)
		return -EINVAL;
	slot = &slots->slot[index];
	if (slot->incarnation != incarnation)
		return -ESTALE;
	switch (slot->state) {
	case EVERING_PEER_LIVE:
	case EVERING_PEER_DYING:
		return -EBUSY;
	case EVERING_PEER_DEAD:
		publish_state(slots, index, state_after(slots, slot));
		return 0;
	default:
		return -ESTALE;
	}
}
