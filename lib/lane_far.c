/* SPDX-License-Identifier: MIT */
/*
 * Lanes of two halves, in an isolated segment: who holds a role writes only its own
 * region, so each has an object of its own for the lane, found by name, kind and
 * geometry. What lane.c does with one object it does with the producer's side and
 * data in the one half and the consumer's side in the other.
 *
 * model      the producer's half says where the lane begins (base), so that a consumer
 *            begins without waiting for it: the producer may be busy elsewhere. Which
 *            consumer's position counts, when several come, the producer alone says
 *            (partner); until it has looked, two may read the same. A consumer says in
 *            whose half its position counts (partner, origin); until it has, a producer
 *            goes no further than base + span.
 * trust      of a half that lies elsewhere, nothing: who its owner is the status page
 *            says, and the owner word in there can only say of that peer whether it
 *            has the role. When the peer has died its memory stays as it was until the
 *            slot has another incarnation. Hence LANE-VOUCH: data are read first, then
 *            the incarnation; has that gone on, they were perhaps a successor's.
 * edges      LANE-MEET   who comes or parts writes its half, then its turns; who looks for
 *                        a half reads the turns, then the halves. With a full barrier
 *                        between the own store and the look on each side, of a producer
 *                        that publishes and a consumer that comes one sees the other.
 *            LANE-HALF   a position, or a base, is written before the partner for whom
 *                        it counts, with release, and read after it, with acquire.
 *            LANE-VOUCH  see above: the load of the incarnation comes after those of the
 *                        data; a successor's stores come after its incarnation.
 * led        the lanes of a channel (channel_far.c) have halves in two objects, and one word
 *            in each object, the bond, says for all of them with whom they are. Such a lane
 *            looks for nobody, and begins at 0 with each bond.
 * progress   wait-free; a look for the other half reads all directories, and happens
 *            only when somebody's turns have changed.
 */
#include "lane.h"

#include <errno.h>
#include <string.h>

#include <evering/reap.h>

#include "backend.h"
#include "dir.h"
#include "internal.h"
#include "owner.h"

/* What an end that has met nobody has for the other side: each publication takes a look. */
static const struct evr_lane_side nobody = { .need = { .word = { EVR_NEED_ALERT } } };
static const struct evr_a64 nobodys_owner = { OWNER_FREE };

/* Another peer's half, and what it said when we looked; all of it private. */
struct half {
	struct evr_object object;
	struct evr_peer_id id; /* whose, by the status page */
	bool is_live;
	struct evr_lane_object *shared;
	const struct evr_lane_side *side;
	const struct evr_a64 *owner;
	uint64_t u_owner;
};

/* Does an owner word, or a partner word, name this peer? */
static bool names(uint64_t u_word, struct evr_peer_id id)
{
	struct evr_peer_id named = owner_id(u_word);

	return named.slot == id.slot && named.incarnation == id.incarnation;
}

/* The turn of its holder that we know. */
static uint64_t partner_word(uint64_t u_owner)
{
	return owner_with(u_owner, OWNER_HELD);
}

static uint64_t origin_word(const struct evr_object *object)
{
	return (uint64_t)object->gen << 32 | object->idx;
}

/*
 * Look at a peer's half of this name; no detail text, as it is nobody's error. The dead
 * have theirs until the slot has another incarnation.
 */
static bool half_find(struct evr_peer *peer, uint32_t slot, const char *name, uint32_t kind,
		      struct half *h)
{
	uint64_t incarnation;

	h->id.slot = slot;
	peer->ops->state(peer, slot, &h->id.incarnation);
	if (!evr_dir_find_in(peer, h->id, name, &h->object))
		return false;
	/* What was found is of this incarnation. */
	h->is_live = peer->ops->state(peer, slot, &incarnation) == EVR_PEER_LIVE;
	if (incarnation != h->id.incarnation)
		return false;
	if (h->object.kind != kind || h->object.sz < sizeof(*h->shared))
		return false;
	h->shared = evr_peer_at(peer, h->object.off, h->object.sz);
	return h->shared;
}

int evr_lane_far_open(struct evr_lane *l, const char *name, uint32_t kind)
{
	struct evr_peer_id self = evr_peer_self(l->peer);
	struct evr_lane_geometry u_g;
	uint32_t slot;
	struct half h;
	int err;

	l->far = true;
	l->expected.slot = EVR_SLOT_ANY;
	if (evr_dir_find_in(l->peer, self, name, &l->object))
		return 0;
	err = evr_dir_find(l->peer, name, &h.object);
	if (err)
		return err;
	for (slot = 0; slot < l->peer->segment->layout.peers_max; slot++)
		if (half_find(l->peer, slot, name, kind, &h) && h.is_live)
			break;
	if (slot == l->peer->segment->layout.peers_max)
		return evr_fail(-EINVAL, "'%s' is an object of kind %u, not %u", name,
				h.object.kind, kind);
	evr_copy_out(&u_g, &h.shared->geometry, sizeof(u_g));
	/* Our own region will not hold more, so that nonsense fails here or is found by who checks. */
	err = evr_lane_make(l->peer, name, kind, &u_g, l->role == EVR_PRODUCER ? u_g.data_sz : 0);
	if (err)
		return err;
	if (evr_dir_find_in(l->peer, self, name, &l->object))
		return 0;
	return evr_fail(-ENOENT, "ring '%s' was removed just now", name);
}

void evr_lane_far_taken(struct evr_lane *l, uint64_t pos)
{
	l->limit = pos + l->span;
	/* Relaxed: a consumer that finds an older one begins earlier. */
	evr_a64_store_relaxed(&l->mine->base, pos);
}

void evr_lane_far_unmeet(struct evr_lane *l)
{
	l->met = false;
	l->other = &nobody;
	l->other_owner = &nobodys_owner;
	l->other_ctl = NULL;
	l->turns = UINT64_MAX;
	l->bond = NULL;
}

/* Does the other side's position count in our half? */
static bool far_has_joined(const struct evr_lane *l, const struct evr_lane_side *consumer)
{
	/* The bond says it for all lanes. */
	if (l->led)
		return true;
	return names(evr_a64_load_acquire(&consumer->partner), /* LANE-HALF */
		     evr_peer_self(l->peer)) &&
	       evr_a64_load_acquire(&consumer->origin) == origin_word(&l->object);
}

/* What this consumer has taken need not be kept for another. */
static void producer_recalls(struct evr_lane *l, const struct evr_lane_side *consumer)
{
	uint64_t u_pos;

	if (!far_has_joined(l, consumer))
		return;
	u_pos = evr_a64_load_acquire(&consumer->pos); /* LANE-DATA */
	if (far_has_joined(l, consumer) && l->pos - u_pos <= l->pos - (l->limit - l->span))
		evr_lane_far_taken(l, u_pos);
}

/* The one that we knew may have gone on, or gone, while nobody held our role. */
static void producer_resumes(struct evr_lane *l)
{
	uint64_t partner = evr_a64_load_relaxed(&l->mine->partner);
	uint32_t slot = owner_id(partner).slot;
	const struct evr_a64 *owners;
	struct half h;

	if (partner && slot < l->peer->segment->layout.peers_max &&
	    half_find(l->peer, slot, l->object.name, l->object.kind, &h) && names(partner, h.id)) {
		producer_recalls(l, &h.shared->sides[EVR_CONSUMER]);
		owners = evr_dir_owners(l->peer, &h.object);
		if (h.is_live && owners &&
		    owner_state(evr_a64_load_acquire(&owners[EVR_CONSUMER])) == OWNER_HELD)
			return;
	}
	evr_a64_store_release(&l->mine->partner, 0); /* LANE-HALF */
}

int evr_lane_far_start(struct evr_lane *l)
{
	uint64_t base;

	if (l->led)
		return 0;
	if (l->role == EVR_PRODUCER) {
		base = evr_a64_load_relaxed(&l->mine->base); /* it came with the role */
		if (l->pos - base > l->span) {
			evr_lane_corrupt(l, "the own base", base);
			return -EBADMSG;
		}
		l->limit = base + l->span;
		producer_resumes(l);
	}
	evr_dir_turn(l->peer); /* LANE-MEET */
	evr_fence(); /* LANE-MEET */
	return 0;
}

/* Is the other half's memory still its owner's, and the same object? */
static bool far_is_there(const struct evr_lane *l)
{
	uint64_t incarnation;

	l->peer->ops->state(l->peer, l->other_id.slot, &incarnation); /* LANE-VOUCH */
	return incarnation == l->other_id.incarnation &&
	       evr_dir_ctl_is_of(l->other_ctl, (uint32_t)(l->other_half >> 32)) &&
	       (!l->led || evr_a64_load_acquire(l->bond) == l->bond_word); /* LANE-VOUCH */
}

/* May we read from this producer's half? Not when it has chosen another consumer. */
static bool far_may_read(const struct evr_lane *l, const struct evr_lane_side *producer)
{
	uint64_t u_partner;

	if (l->led)
		return true;
	u_partner = evr_a64_load_acquire(&producer->partner); /* LANE-HALF */
	return !u_partner || names(u_partner, evr_peer_self(l->peer));
}

/* Its holder has closed or died; what it left may be ours. */
static bool half_is_over(const struct half *h)
{
	return owner_state(h->u_owner) == OWNER_CLOSED ||
	       (owner_state(h->u_owner) == OWNER_HELD && !h->is_live);
}

/* Is this the other half of our lane, as far as it concerns both roles? */
static bool half_fits(const struct evr_lane *l, struct half *h)
{
	struct evr_lane_geometry u_g;
	const struct evr_a64 *owners;

	if (l->expected.slot != EVR_SLOT_ANY && h->id.incarnation != l->expected.incarnation)
		return false;
	if (l->role == EVR_CONSUMER &&
	    h->object.sz - sizeof(struct evr_lane_object) < l->geometry.data_sz)
		return false;
	evr_copy_out(&u_g, &h->shared->geometry, sizeof(u_g));
	if (memcmp(&u_g, &l->geometry, sizeof(u_g)))
		return false;
	owners = evr_dir_owners(l->peer, &h->object);
	if (!owners)
		return false;
	h->side = &h->shared->sides[!l->role];
	h->owner = &owners[!l->role];
	h->u_owner = evr_a64_load_acquire(h->owner); /* LANE-ROLE */
	if (!names(h->u_owner, h->id))
		return false;
	if (half_is_over(h))
		return (h->is_live || l->role == EVR_CONSUMER) &&
		       (origin_word(&h->object) != l->other_half ||
			!owner_same_turn(h->u_owner, l->past));
	return owner_state(h->u_owner) == OWNER_HELD;
}

static void far_adopt(struct evr_lane *l, const struct half *h)
{
	l->other = h->side;
	l->other_owner = h->owner;
	l->other_ctl = evr_dir_ctl(l->peer, &h->object);
	l->other_id = h->id;
	l->other_half = origin_word(&h->object);
	l->rung_epoch = 0;
	l->seen = 0;
	l->met = l->other_ctl;
	if (!l->met)
		evr_lane_far_unmeet(l);
}

/* A consumer's position in the half that it has counted in before, or where that begins. */
static bool far_begin(const struct evr_lane *l, const struct half *h, uint64_t *begin)
{
	uint64_t u_base = evr_a64_load_acquire(&h->side->base);
	uint64_t u_pos = evr_a64_load_acquire(&h->side->pos); /* LANE-DATA */
	uint64_t pos = l->pos;

	if (!names(evr_a64_load_relaxed(&l->mine->partner), h->id) ||
	    evr_a64_load_relaxed(&l->mine->origin) != origin_word(&h->object) ||
	    pos - u_base > u_pos - u_base)
		pos = u_base;
	*begin = pos;
	return u_pos - pos <= l->span;
}

static bool consumer_meets(struct evr_lane *l, const struct half *h)
{
	uint64_t begin;

	if (!far_may_read(l, h->side) || !far_begin(l, h, &begin))
		return false;
	/* One who was over before we came has left something, or is none of ours. */
	if (half_is_over(h) && evr_a64_load_acquire(&h->side->partner) != l->held &&
	    evr_a64_load_acquire(&h->side->pos) == begin)
		return false;
	/* While it changes our position counts nowhere. */
	evr_a64_store_relaxed(&l->mine->partner, 0);
	evr_a64_store_release(&l->mine->pos, begin);
	evr_a64_store_release(&l->mine->origin, origin_word(&h->object));
	evr_a64_store_release(&l->mine->partner, partner_word(h->u_owner)); /* LANE-HALF */
	l->pos = begin;
	l->limit = begin;
	l->calm_pos = begin;
	l->data = (uint8_t *)(h->shared + 1);
	far_adopt(l, h);
	evr_dir_turn(l->peer); /* LANE-MEET */
	return l->met;
}

/* Is this consumer at another living producer's half? */
static bool far_is_elsewhere(const struct evr_lane *l, const struct evr_lane_side *consumer)
{
	uint64_t u_partner = evr_a64_load_acquire(&consumer->partner);

	return u_partner && !names(u_partner, evr_peer_self(l->peer)) &&
	       evr_peer_is_live(l->peer, owner_id(u_partner));
}

/* @joined: only one that counts in our half already. */
static bool producer_meets(struct evr_lane *l, const struct half *h, bool joined)
{
	if (joined && !far_has_joined(l, h->side))
		return false;
	/* One who closed before we came is none of ours. */
	if (owner_state(h->u_owner) == OWNER_CLOSED &&
	    evr_a64_load_acquire(&h->side->partner) != l->held) {
		if (!evr_a64_load_relaxed(&l->mine->partner))
			producer_recalls(l, h->side);
		return false;
	}
	if (far_is_elsewhere(l, h->side))
		return false;
	evr_a64_store_release(&l->mine->partner, partner_word(h->u_owner)); /* LANE-HALF */
	far_adopt(l, h);
	evr_dir_turn(l->peer); /* LANE-MEET */
	return l->met;
}

static bool far_search(struct evr_lane *l, bool joined)
{
	uint32_t slot;
	struct half h;

	for (slot = 0; slot < l->peer->segment->layout.peers_max; slot++) {
		if (l->expected.slot != EVR_SLOT_ANY && slot != l->expected.slot)
			continue;
		if (!half_find(l->peer, slot, l->object.name, l->object.kind, &h) ||
		    !half_fits(l, &h))
			continue;
		if (l->role == EVR_PRODUCER ? producer_meets(l, &h, joined) : consumer_meets(l, &h))
			return true;
	}
	return false;
}

bool evr_lane_far_meet(struct evr_lane *l)
{
	uint64_t turns;

	if (l->met || l->corrupt || !l->mine || l->led)
		return l->met;
	turns = evr_dir_turns(l->peer, l->expected.slot); /* LANE-MEET */
	if (turns == l->turns)
		return false;
	/* Whatever comes while we look is looked at the next time. */
	l->turns = turns;
	return (l->role == EVR_PRODUCER && far_search(l, true)) || far_search(l, false);
}

/* The memory of the dead is another's by now: what we knew to be in it cannot be had. */
static void far_lose(struct evr_lane *l)
{
	evr_lane_count(&l->mine->counts.lost, l->limit - l->pos);
	l->limit = l->pos;
}

bool evr_lane_vouch(struct evr_lane *l)
{
	if (l->role == EVR_PRODUCER || !l->far)
		return true;
	if (!l->met)
		return false;
	/* Loads of data before the loads that follow. */
	evr_fence(); /* LANE-VOUCH */
	if (far_is_there(l) && far_may_read(l, l->other))
		return true;
	far_lose(l);
	return false;
}

/* The same peer has taken the role again: it learns that it is not new to us. */
static void far_follow(struct evr_lane *l)
{
	uint64_t u_owner = evr_a64_load_acquire(l->other_owner); /* LANE-ROLE */

	if (owner_state(u_owner) == OWNER_HELD && names(u_owner, l->other_id) &&
	    u_owner != evr_a64_load_relaxed(&l->mine->partner))
		evr_a64_store_release(&l->mine->partner, u_owner); /* LANE-HALF */
}

static bool consumer_pos(struct evr_lane *l, uint64_t *u_pos)
{
	*u_pos = evr_a64_load_acquire(&l->other->pos); /* LANE-DATA */
	if (!far_is_there(l)) {
		far_lose(l);
		return false;
	}
	if (far_may_read(l, l->other))
		return true;
	/* It has chosen another consumer: nothing here is ours. */
	l->limit = l->pos;
	evr_lane_far_unmeet(l);
	return false;
}

static bool producer_pos(struct evr_lane *l, uint64_t *u_pos)
{
	if (!far_has_joined(l, l->other))
		return false;
	*u_pos = evr_a64_load_acquire(&l->other->pos); /* LANE-DATA */
	/* Neither has it gone on to another's half meanwhile, nor another into its region. */
	return far_has_joined(l, l->other) && far_is_there(l);
}

bool evr_lane_far_pos(struct evr_lane *l, uint64_t *u_pos)
{
	if (!evr_lane_far_meet(l))
		return false;
	if (!l->led)
		far_follow(l);
	return l->role == EVR_PRODUCER ? producer_pos(l, u_pos) : consumer_pos(l, u_pos);
}

void evr_lane_far_part(struct evr_lane *l)
{
	l->past = evr_a64_load_acquire(l->other_owner);
	if (l->role == EVR_PRODUCER) {
		evr_lane_refresh(l);
		if (l->corrupt)
			return;
		evr_a64_store_release(&l->mine->partner, 0); /* LANE-HALF */
		evr_dir_turn(l->peer); /* LANE-MEET */
	} else {
		/* What it was said to have published and could not be read to the end. */
		far_lose(l);
	}
	evr_lane_far_unmeet(l);
}

enum evr_ring_state evr_lane_far_state(struct evr_lane *l, uint64_t *u_owner)
{
	uint64_t incarnation;

	if (!evr_lane_far_meet(l))
		return EVR_RING_NO_PEER;
	*u_owner = evr_a64_load_acquire(l->other_owner); /* LANE-ROLE */
	l->peer->ops->state(l->peer, l->other_id.slot, &incarnation);
	if (incarnation != l->other_id.incarnation)
		return EVR_RING_PEER_DEAD;
	if (!evr_dir_ctl_is_of(l->other_ctl, (uint32_t)(l->other_half >> 32)))
		return evr_peer_is_live(l->peer, l->other_id) ? EVR_RING_CLOSED :
								EVR_RING_PEER_DEAD;
	if (!names(*u_owner, l->other_id)) {
		evr_lane_corrupt(l, "the owner word of the other side", *u_owner);
		return EVR_RING_CORRUPT;
	}
	if (l->role == EVR_CONSUMER && !far_may_read(l, l->other))
		return EVR_RING_NO_PEER;
	return EVR_RING_OK;
}

void evr_lane_expect(struct evr_lane *l, struct evr_peer_id other)
{
	l->expected = other;
	l->turns = UINT64_MAX;
}

void evr_lane_far_join(struct evr_lane *l, const struct evr_lane_far *far,
		       const struct evr_lane_side *other, uint8_t *data)
{
	l->other = other;
	l->other_owner = far->owner;
	l->other_ctl = far->ctl;
	l->other_id = far->id;
	l->other_half = origin_word(&far->object);
	l->bond = far->bond;
	l->bond_word = far->bond_word;
	l->rung_epoch = 0;
	l->seen = 0;
	if (l->role == EVR_CONSUMER)
		l->data = data;
	else
		l->limit = l->pos + l->span; /* both begin at 0 */
	l->met = true;
}

void evr_lane_far_restart(struct evr_lane *l)
{
	evr_lane_far_unmeet(l);
	l->corrupt = false;
	l->pos = 0;
	l->limit = 0;
	l->calm_pos = 0;
	evr_a64_store_release(&l->mine->pos, 0); /* LANE-DATA */
}
