/* SPDX-License-Identifier: MIT */
/*
 * Members: which peers use an object that has no roles (a heap, a queue of many).
 *
 * model      each directory entry has one bit for each slot, and the peer in that
 *            slot alone writes it, so a death needs no settling here: a bit of a
 *            slot without a living peer means nothing, and who takes the slot next
 *            clears what it finds.
 * calls      all together with all; the threads of one peer share a lock.
 * edges      DIR-REMOVE  a member sets its bit and then looks whether the object is
 *            still there; a remover marks the entry and then looks at the bits. With
 *            a full barrier between the two steps on each side, one sees the other.
 * progress   a system call at most for the lock; no other process is waited for.
 */
#include <errno.h>
#include <stdlib.h>

#include "backend.h"
#include "dir.h"
#include "dir_table.h"
#include "internal.h"

static struct evr_a64 *member_word(struct dir_entry *e, uint32_t slot)
{
	return &e->members[slot / 64];
}

static void member_set(struct dir_entry *e, uint32_t slot)
{
	evr_a64_fetch_or(member_word(e, slot), 1ULL << slot % 64);
}

static void member_clear(struct dir_entry *e, uint32_t slot)
{
	evr_a64_fetch_and(member_word(e, slot), ~(1ULL << slot % 64));
}

bool evr_dir_has_joined(const struct dir *d, const struct dir_entry *e, struct evr_peer_id *id)
{
	uint64_t u_word;
	uint32_t state;

	if (id->slot >= d->peer->segment->layout.peers_max)
		return false;
	u_word = evr_a64_load_acquire(&e->members[id->slot / 64]); /* DIR-REMOVE */
	if (!(u_word >> id->slot % 64 & 1))
		return false;
	state = d->peer->ops->state(d->peer, id->slot, &id->incarnation);
	return state == EVR_PEER_LIVE || state == EVR_PEER_DYING;
}

int evr_dir_member(const struct dir *d, const struct dir_entry *e)
{
	struct evr_peer_id id = { 0 };

	for (; id.slot < EVR_PEERS_MAX; id.slot++)
		if (evr_dir_has_joined(d, e, &id))
			return (int)id.slot;
	return -1;
}

/* Has this peer a bit in that directory? */
static bool has_bit(struct evr_peer *peer, const struct dir *d)
{
	return evr_peer_is_writable(peer, d->region_off, d->region_sz);
}

/* How often each entry is joined; under the lock. NULL: no memory. */
static uint16_t *member_uses(struct evr_peer *peer)
{
	if (!peer->uses)
		peer->uses = calloc(ENTRIES_MAX, sizeof(*peer->uses));
	return peer->uses;
}

static int member_join(struct evr_peer *peer, struct dir_entry *e, uint32_t idx)
{
	uint16_t *uses;
	int err = 0;

	pthread_mutex_lock(&peer->members_lock);
	uses = member_uses(peer);
	if (!uses)
		err = -ENOMEM;
	else if (uses[idx] == UINT16_MAX)
		err = -EOVERFLOW;
	else if (!uses[idx]++)
		member_set(e, peer->self.slot);
	pthread_mutex_unlock(&peer->members_lock);
	return err;
}

int evr_dir_join(struct evr_peer *peer, const struct evr_object *obj)
{
	struct dir_entry *e = NULL;
	struct dir d;
	int err;

	err = evr_dir_entry(&d, peer, obj, &e);
	if (err)
		return err;
	if (has_bit(peer, &d)) {
		err = member_join(peer, e, obj->idx);
		if (err)
			return evr_fail(err, "object '%s': cannot note that this peer uses it",
					obj->name);
		evr_fence(); /* DIR-REMOVE */
	}
	if (evr_dir_is_current(peer, obj))
		return 0;
	evr_dir_leave(peer, obj);
	return evr_fail(-ENOENT, "object '%s' was removed just now", obj->name);
}

void evr_dir_leave(struct evr_peer *peer, const struct evr_object *obj)
{
	struct dir_entry *e = NULL;
	struct dir d;

	if (evr_dir_entry(&d, peer, obj, &e) || !has_bit(peer, &d))
		return;
	pthread_mutex_lock(&peer->members_lock);
	if (peer->uses && peer->uses[obj->idx] && !--peer->uses[obj->idx])
		member_clear(e, peer->self.slot);
	pthread_mutex_unlock(&peer->members_lock);
}

void evr_dir_members_reset(struct evr_peer *peer)
{
	uint32_t i, slot = peer->self.slot;
	struct dir d;

	evr_dir_afresh(peer);
	if (evr_dir_open_own(&d, peer))
		return;
	for (i = 0; i < d.nr; i++)
		if (evr_a64_load_relaxed(member_word(&d.entries[i], slot)) >> slot % 64 & 1)
			member_clear(&d.entries[i], slot);
}
