/* SPDX-License-Identifier: MIT */
/*
 * Reliable broadcasts in an isolated segment, where each peer writes its own region alone and
 * none trusts another; bcast.c has the object, include/evering/bcast.h the model.
 *
 * The broadcast is the writer's, in its region. A subscriber has an object of its own, a seat,
 * NAME.SLOT by the writer's slot: its owner word in the entry, and the consumer's side of a lane.
 *
 *   subscriber                              writer, at the end of its room
 *     owner: HELD, by CAS                     has published pos
 *     side: whose seat it is (home, origin)   full barrier
 *     turns + 1                               turns of each slot: a seat where they changed?
 *     full barrier                            none found: goes to pos + capacity at most
 *     p = the writer's pos                    partner not the owner word: goes no further
 *     side: pos = p, then partner = owner     the same: goes to the side's pos + capacity
 *     is the writer asleep? ring
 *
 * model      Whom the writer waits for it keeps in private memory, and says in its region by a
 *            word for each slot, the verdict: the turn of who is seated, or that turn EXPELLED.
 *            So one who says that it has left and comes again comes with another turn.
 * trust      A seat is a peer's whose region it is in, by the status page, and at most one of
 *            each peer's counts: nobody can take the seats of others, but for what seats there
 *            are. Turns are compared slot by slot, to look where they have changed alone. A position
 *            is at most the writer's, and at least what it was; else its owner is expelled.
 *            What lies there counts only while the entry and the incarnation are the same.
 * edges      BCAST-SEAT, LANE-MEET as above; LANE-DATA; PARK: a seated subscriber is rung for. One
 *            that no verdict names does not sleep, but looks again.
 * progress   a look at a slot, whose turns changed, reads its directory; all else is wait-free.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <evering/bell.h>

#include "backend.h"
#include "bcast.h"
#include "dir.h"
#include "internal.h"
#include "lane.h"

/* A subscriber, as the writer knows it; all of it private. */
struct bcast_guest {
	struct evr_peer_id id; /* by the status page */
	uint64_t turn; /* its owner word, HELD; 0: nobody of this slot is waited for */
	uint64_t pos; /* begun: how far it has read, as far as we have seen */
	const struct evr_lane_side *side;
	const struct evr_a64 *owner, *ctl;
	uint32_t gen; /* of its entry */
	bool begun;
	bool stood; /* this peer was in the way, and has read nothing since, whatever its turns */
	uint64_t rung_epoch;
	uint64_t turns; /* evr_dir_turns() of the slot when we last looked */
};

struct evr_bcast_far {
	uint32_t slots;
	uint32_t next; /* slot that the next publication looks at */
	uint32_t seated_nr;
	uint8_t seated[EVR_PEERS_MAX]; /* slots */
	struct bcast_guest guests[];
};

uint64_t evr_bcast_far_sz(uint32_t peers_max)
{
	return EVR_ROUND_UP(peers_max * sizeof(struct evr_a64), EVR_LINE_SZ);
}

/* Whose broadcast it is. */
static struct evr_peer_id writer_of(const struct evr_bcast *b)
{
	struct evr_peer *peer = b->lane.peer;
	struct evr_peer_id id = { .slot = b->lane.object.slot };

	if (b->home.slot != EVR_SLOT_ANY)
		return b->home;
	peer->ops->state(peer, id.slot, &id.incarnation);
	return id;
}

static void seat_name(const struct evr_bcast *b, char *name)
{
	snprintf(name, EVR_OBJECT_NAME_SZ, "%.*s.%u", EVR_OBJECT_NAME_SZ - 5, b->lane.object.name,
		 writer_of(b).slot & 0xff);
}

static uint64_t origin_word(const struct evr_object *object)
{
	return (uint64_t)object->gen << 32 | object->idx;
}

/* The seat that the peer in this slot has at this broadcast. No detail text: it is nobody's error. */
static bool guest_find(const struct evr_bcast *b, uint32_t slot, struct bcast_guest *g)
{
	struct evr_peer *peer = b->lane.peer;
	const struct evr_lane_object *shared;
	const struct evr_a64 *owners;
	char name[EVR_OBJECT_NAME_SZ];
	struct evr_object object;

	*g = (struct bcast_guest){ .id = { .slot = slot } };
	seat_name(b, name);
	if (peer->ops->state(peer, slot, &g->id.incarnation) != EVR_PEER_LIVE ||
	    !evr_dir_find_in(peer, g->id, name, &object) || object.kind != EVR_KIND_SEAT ||
	    object.sz < sizeof(*shared))
		return false;
	shared = evr_peer_at(peer, object.off, sizeof(*shared));
	g->ctl = evr_dir_ctl(peer, &object);
	owners = evr_dir_owners(peer, &object);
	if (!shared || !g->ctl || !owners)
		return false;
	g->gen = object.gen;
	g->owner = &owners[EVR_CONSUMER];
	g->side = &shared->sides[EVR_CONSUMER];
	g->turn = evr_a64_load_acquire(g->owner); /* LANE-ROLE */
	return owner_state(g->turn) == OWNER_HELD && owner_id(g->turn).slot == slot &&
	       owner_id(g->turn).incarnation == g->id.incarnation &&
	       evr_a64_load_acquire(&g->side->base) == writer_of(b).incarnation &&
	       evr_a64_load_acquire(&g->side->origin) == origin_word(&b->lane.object);
}

/* After the loads of what lies there: was it this guest's, and does it hold that turn? */
static bool guest_is_there(const struct evr_bcast *b, const struct bcast_guest *g)
{
	struct evr_peer *peer = b->lane.peer;
	uint64_t u_owner, incarnation;
	uint32_t state;

	evr_fence_acquire();
	u_owner = evr_a64_load_acquire(g->owner); /* LANE-ROLE */
	state = peer->ops->state(peer, g->id.slot, &incarnation); /* LANE-VOUCH */
	return u_owner == g->turn && incarnation == g->id.incarnation &&
	       (state == EVR_PEER_LIVE || state == EVR_PEER_DYING) &&
	       evr_dir_ctl_is_of(g->ctl, g->gen); /* DIR-REMOVE */
}

static void verdict_say(struct evr_bcast *b, uint32_t slot, uint64_t verdict)
{
	evr_a64_store_release(&b->verdicts[slot], verdict); /* BCAST-VERDICT */
}

/* The writer waits for it no more. */
static void guest_drop(struct evr_bcast *b, struct bcast_guest *g, uint64_t verdict)
{
	struct evr_bcast_far *far = b->far;
	uint32_t i;

	for (i = 0; i < far->seated_nr; i++)
		if (far->seated[i] == g->id.slot)
			far->seated[i] = far->seated[--far->seated_nr];
	verdict_say(b, g->id.slot, verdict);
	g->turn = 0;
}

/* It may sleep: for an element, or to be told. */
static void guest_wake(struct evr_bcast *b, struct bcast_guest *g)
{
	int bell = evr_need_look(&g->side->need, &g->rung_epoch);

	if (bell < 0)
		return;
	evr_lane_count(&b->lane.mine->counts.rings, 1);
	/* -ESTALE: it died in its sleep. Its bells alone: what it says of its need is its own harm. */
	evr_bell_ring(b->lane.peer, g->id, 1ULL << bell);
}

static void guest_expel(struct evr_bcast *b, struct bcast_guest *g)
{
	guest_drop(b, g, owner_with(g->turn, OWNER_EXPELLED));
	evr_lane_count(&b->lane.mine->counts.expelled, 1);
	guest_wake(b, g);
}

/* It has left, or died, or another has its slot. Perhaps it has come again, and no look saw it. */
static void guest_is_over(struct evr_bcast *b, struct bcast_guest *g)
{
	guest_drop(b, g, 0);
	g->turns = UINT64_MAX;
}

/* A seat is free when its guest has left it, whether we have noticed or not. */
static bool has_seat(struct evr_bcast *b)
{
	struct evr_bcast_far *far = b->far;
	uint32_t i;

	/* From the last one: who is dropped is replaced by it. */
	for (i = far->seated_nr; far->seated_nr >= b->lane.geometry.seats_nr && i-- > 0;)
		if (!guest_is_there(b, &far->guests[far->seated[i]]))
			guest_is_over(b, &far->guests[far->seated[i]]);
	return far->seated_nr < b->lane.geometry.seats_nr;
}

/* Who has come in this slot is seated, if there is room. */
static void guest_look(struct evr_bcast *b, uint32_t slot)
{
	struct evr_bcast_far *far = b->far;
	struct bcast_guest *g = &far->guests[slot], now;

	if (g->turn && guest_is_there(b, g))
		return;
	if (g->turn)
		guest_drop(b, g, 0);
	if (!guest_find(b, slot, &now))
		return;
	/* Expelled by us, or by who was the writer before: that is for the whole turn. */
	if (evr_a64_load_relaxed(&b->verdicts[slot]) == owner_with(now.turn, OWNER_EXPELLED))
		return;
	now.turns = g->turns;
	now.stood = g->stood && g->id.incarnation == now.id.incarnation;
	*g = now;
	if (!has_seat(b)) {
		guest_expel(b, g);
		return;
	}
	far->seated[far->seated_nr++] = (uint8_t)slot;
	verdict_say(b, slot, g->turn);
}

static void slot_look(struct evr_bcast *b, uint32_t slot)
{
	uint64_t turns = evr_dir_turns(b->lane.peer, slot); /* LANE-MEET */

	if (turns == b->far->guests[slot].turns)
		return;
	/* Whatever comes while we look is looked at the next time. */
	b->far->guests[slot].turns = turns;
	guest_look(b, slot);
}

static void look_at_all(struct evr_bcast *b)
{
	uint32_t slot;

	for (slot = 0; slot < b->far->slots; slot++)
		slot_look(b, slot);
}

int evr_bcast_far_begin(struct evr_bcast *b)
{
	uint32_t slot, slots = b->lane.peer->segment->layout.peers_max;
	struct evr_bcast_far *far = calloc(1, sizeof(*far) + slots * sizeof(far->guests[0]));

	if (!far)
		return evr_fail(-ENOMEM, "broadcast '%s': no private memory", b->lane.object.name);
	b->far = far;
	b->patience_ns = EVR_BCAST_PATIENCE_NS;
	far->slots = slots;
	for (slot = 0; slot < slots; slot++)
		far->guests[slot].turns = UINT64_MAX;
	/* Who sleeps, as the last writer said that it would be woken, is known before we publish. */
	look_at_all(b);
	return 0;
}

void evr_bcast_far_end(struct evr_bcast *b)
{
	free(b->far);
	b->far = NULL;
}

/* How far may the writer go for this guest? False: it is not in the way. */
static bool guest_limit(struct evr_bcast *b, struct bcast_guest *g, uint64_t *limit)
{
	struct evr_lane *l = &b->lane;
	bool begun = evr_a64_load_acquire(&g->side->partner) == g->turn; /* BCAST-SEAT */
	uint64_t u_pos = evr_a64_load_acquire(&g->side->pos); /* LANE-DATA */
	uint64_t least = g->begun ? g->pos : l->pos - l->span + g->stood;

	if (!guest_is_there(b, g)) {
		guest_is_over(b, g);
		return false;
	}
	*limit = l->limit;
	/* Not before we know where it begins, but for one that stood in the way so already. */
	if (!begun)
		return !g->stood;
	if (u_pos - least > l->pos - least) {
		evr_lane_count(&l->mine->counts.corrupt, 1);
		evr_error_set("broadcast '%s': the position of subscriber %u.%llu is %llu at the "
			      "writer's %llu, and was at least %llu",
			      l->object.name, g->id.slot, (unsigned long long)g->id.incarnation,
			      (unsigned long long)u_pos, (unsigned long long)l->pos,
			      (unsigned long long)least);
		guest_expel(b, g);
		return false;
	}
	g->stood = g->stood && (!g->begun || u_pos == g->pos);
	g->begun = true;
	g->pos = u_pos;
	*limit = u_pos + l->span;
	return true;
}

void evr_bcast_far_gate(struct evr_bcast *b)
{
	struct evr_lane *l = &b->lane;
	uint64_t limit = l->pos + l->span, at;
	uint32_t i;

	look_at_all(b);
	/* From the last one: who is dropped is replaced by it. */
	for (i = b->far->seated_nr; i-- > 0;)
		if (guest_limit(b, &b->far->guests[b->far->seated[i]], &at) &&
		    at - l->pos < limit - l->pos)
			limit = at;
	l->limit = limit;
}

/*
 * A peer that stands still in the way is expelled at the end of patience. Who is there only at
 * the end has been seen so: it is not waited for again before it has read something, nor are
 * its next turns. So all peers together hold up one element no longer than each once.
 */
void evr_bcast_far_watch(struct evr_bcast *b, bool late)
{
	struct bcast_guest *g;
	uint64_t at;
	uint32_t i;

	for (i = b->far->seated_nr; i-- > 0;) {
		g = &b->far->guests[b->far->seated[i]];
		if (!guest_limit(b, g, &at) || at != b->lane.pos)
			continue;
		if (late && g->stood)
			guest_expel(b, g);
		g->stood = g->stood || late || g->begun;
	}
}

void evr_bcast_far_wake(struct evr_bcast *b)
{
	struct evr_bcast_far *far = b->far;
	struct bcast_guest *g;
	uint32_t i;

	for (i = 0; i < far->seated_nr; i++) {
		g = &far->guests[far->seated[i]];
		if (evr_need_is_alert(&g->side->need, b->waker.registered))
			guest_wake(b, g);
	}
	/* Who comes while there is room enough is found, one slot after the other. */
	far->next = (far->next + 1) % far->slots;
	slot_look(b, far->next);
}

bool evr_bcast_far_unseat(struct evr_bcast *b, uint32_t slot, uint64_t turn)
{
	struct bcast_guest *g = &b->far->guests[slot];

	if (g->turn != turn)
		return false;
	guest_expel(b, g);
	return true;
}

int evr_bcast_far_expel(struct evr_bcast *b, struct evr_peer_id subscriber)
{
	struct bcast_guest *g;

	if (subscriber.slot >= b->far->slots)
		return 0;
	look_at_all(b);
	g = &b->far->guests[subscriber.slot];
	if (!g->turn || g->id.incarnation != subscriber.incarnation)
		return 0;
	guest_expel(b, g);
	return 1;
}

void evr_bcast_far_count(const struct evr_bcast *b, struct evr_bcast_counts *out)
{
	uint32_t slot, slots = b->lane.peer->segment->layout.peers_max;
	uint64_t u_verdict, lag;
	struct bcast_guest g;

	out->seats = (uint32_t)b->lane.geometry.seats_nr;
	for (slot = 0; slot < slots; slot++) {
		u_verdict = evr_a64_load_acquire(&b->verdicts[slot]); /* BCAST-VERDICT */
		if (owner_state(u_verdict) != OWNER_HELD || !guest_find(b, slot, &g) ||
		    g.turn != u_verdict)
			continue;
		out->seated++;
		lag = out->pos - evr_a64_load_relaxed(&g.side->pos);
		if (evr_a64_load_relaxed(&g.side->partner) != g.turn || lag > b->lane.span ||
		    (lag <= out->lag && out->slowest.slot != EVR_SLOT_ANY))
			continue;
		out->lag = lag;
		out->slowest = g.id;
	}
}

/* The own seat's role, as a turn of which the writer has not said yet that it is expelled. */
static int seat_open(const struct evr_bcast *b, struct evr_lane *own)
{
	struct evr_lane_geometry g = b->lane.geometry;
	struct evr_peer *peer = b->lane.peer;
	char name[EVR_OBJECT_NAME_SZ];
	int tries, err;

	seat_name(b, name);
	g.data_sz = 0;
	err = evr_lane_make(peer, name, EVR_KIND_SEAT, &g, 0);
	if (err && err != -EEXIST)
		return err;
	for (tries = 0; tries < 2; tries++) {
		err = evr_lane_open(own, peer, name, EVR_KIND_SEAT, EVR_CONSUMER);
		if (err || evr_a64_load_acquire(&b->verdicts[evr_peer_self(peer).slot]) !=
				   owner_with(own->held, OWNER_EXPELLED))
			break;
		/* As it was 256 turns ago: the next one is another. */
		if (!tries)
			evr_a64_store_release(own->owner, owner_with(own->held, OWNER_CLOSED));
	}
	return err;
}

int evr_bcast_far_sit(struct evr_bcast *b)
{
	struct evr_lane *l = &b->lane, own;
	int err = seat_open(b, &own);

	if (err)
		return err;
	evr_lane_begin(&own);
	l->owner = own.owner;
	l->held = own.held;
	l->mine = own.mine;
	l->registered = own.registered;
	l->far = true;
	l->met = true;
	l->other_id = b->home;
	b->is_seated = true;
	evr_a64_store_relaxed(&l->mine->base, b->home.incarnation);
	evr_a64_store_relaxed(&l->mine->origin, origin_word(&l->object));
	evr_dir_turn(l->peer); /* LANE-MEET */
	evr_bcast_begin(b);
	return 0;
}

void evr_bcast_far_stand(struct evr_bcast *b)
{
	struct evr_lane *l = &b->lane;
	uint64_t held = l->held;

	/* It fails only when this peer was reaped as dead. */
	evr_a64_cas(l->owner, &held, owner_with(held, OWNER_CLOSED)); /* LANE-ROLE */
	evr_lane_wake(l);
	l->far = false;
	/* Open, and not to be written to any more. */
	l->mine = (struct evr_lane_side *)(uintptr_t)l->other;
}

bool evr_bcast_far_is_expelled(const struct evr_bcast *b)
{
	uint32_t slot = evr_peer_self(b->lane.peer).slot;

	return evr_a64_load_acquire(&b->verdicts[slot]) == /* BCAST-VERDICT */
	       owner_with(b->lane.held, OWNER_EXPELLED);
}

bool evr_bcast_far_is_noted(const struct evr_bcast *b)
{
	uint32_t slot = evr_peer_self(b->lane.peer).slot;

	return evr_a64_load_acquire(&b->verdicts[slot]) == b->lane.held; /* BCAST-VERDICT */
}
