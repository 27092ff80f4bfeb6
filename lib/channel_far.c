/* SPDX-License-Identifier: MIT */
/*
 * Channels of two halves, in an isolated segment: each endpoint lies wholly in its
 * holder's own region, an object of the same name and properties in each. What an
 * endpoint writes is in its own half, what it reads of the other is in the other's.
 *
 * model      A's link proposes: it names the turn of a B whose link is free. B's link
 *            accepts, of those who propose to it, one. Both links name each other then, and
 *            that is the session; B may send at once, A as soon as it sees it. A takes its
 *            proposal back only when B has gone, or is with another. A link changes
 *            otherwise only when its session is over; before the positions do.
 * trust      nothing that lies in the other half. Whose region it is, and that this peer
 *            lives, says the status page; the owner word in there can say of that peer
 *            only whether it holds the role. Places in it are computed from the own half,
 *            and only halves of equal properties are met. A position, a length, a handle
 *            is loaded once and checked against what is private; nonsense ends the session
 *            with that peer (-EBADMSG) and touches no other.
 * edges      CHAN-MEET   who comes, or is free again, writes its link, then its turns; who
 *                        looks reads the turns, then the halves; who sleeps sets its need
 *                        word, then looks. With a full barrier between the two steps on
 *                        each side one sees the other, and is woken (half_greet()).
 *            LANE-VOUCH  what was read of a half is its owner's, and of this session, if the
 *                        incarnation and the link (the bond) are still the same afterwards.
 * progress   wait-free towards other processes. Two threads of one endpoint share a lock
 *            until the other end is known. A look for it reads all directories, and
 *            happens only when somebody's turns have changed.
 */
#include "channel_far.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <evering/bell.h>

#include "backend.h"
#include "dir.h"
#include "internal.h"
#include "port.h"

/* Names nobody: no turn is like this. */
#define LINK_NONE UINT64_MAX

const struct evr_channel_end evr_channel_nobody = { .credit_messages = { 0 } };

uint64_t evr_channel_far_sz(void)
{
	return 2 * sizeof(struct channel_loans);
}

void evr_channel_far_format(uint8_t *at)
{
	static const struct channel_loans unused[2];

	evr_copy_in(at, unused, sizeof(unused));
}

/* The properties of another peer's half, to make an own one of. False: it is none. */
static bool options_of(struct evr_peer *peer, uint32_t slot, const char *name,
		       struct evr_channel_options *o, char *heap)
{
	struct evr_bytes streams[2 * CHANNEL_STREAMS] = { 0 };
	struct evr_channel_geometry u_g;
	struct evr_object object;
	struct evr_peer_id id = { .slot = slot };

	if (peer->ops->state(peer, slot, &id.incarnation) != EVR_PEER_LIVE ||
	    !evr_dir_find_in(peer, id, name, &object) || object.kind != EVR_KIND_CHANNEL ||
	    !evr_channel_view(peer, &object, streams, &u_g))
		return false;
	memcpy(heap, u_g.heap, sizeof(u_g.heap));
	*o = (struct evr_channel_options){
		.struct_sz = sizeof(*o),
		.capacity = streams[2 * CHANNEL_NORMAL].lane.geometry.span,
		.urgent_capacity = streams[2 * CHANNEL_URGENT].lane.geometry.span,
		.inline_max = u_g.inline_max,
		.window_messages = u_g.window_messages == UINT64_MAX ? 0 : u_g.window_messages,
		.window_bytes = u_g.window_bytes == UINT64_MAX ? 0 : u_g.window_bytes,
		.type_tag = u_g.type_tag,
		.heap = *heap ? heap : NULL,
	};
	return true;
}

int evr_channel_far_prepare(struct evr_peer *peer, const char *name)
{
	struct evr_channel_options options;
	char heap[EVR_OBJECT_NAME_SZ];
	struct evr_object object;
	uint32_t slot;
	int err;

	if (name && evr_dir_find_in(peer, evr_peer_self(peer), name, &object))
		return 0;
	err = evr_dir_find(peer, name, &object);
	for (slot = 0; !err && slot < peer->segment->layout.peers_max; slot++)
		if (options_of(peer, slot, name, &options, heap))
			return evr_channel_create(peer, name, &options);
	return err ? err :
		     evr_fail(-EINVAL, "'%s' is an object of kind %u, or no channel", name,
			      object.kind);
}

int evr_channel_far_like(struct evr_peer *peer, struct evr_peer_id id, const char *name)
{
	struct evr_channel_options options;
	char heap[EVR_OBJECT_NAME_SZ];

	if (!options_of(peer, id.slot, name, &options, heap))
		return evr_fail(-ESTALE, "peer %u has no channel '%s'", id.slot, name);
	return evr_channel_have_half(peer, name, &options, false);
}

/* Look at the half of the peer in a slot: the same channel, its other role held by that peer? */
static bool half_find(const struct evr_channel *ch, uint32_t slot, struct channel_half *h)
{
	const struct evr_channel_far *far = ch->far;
	const struct evr_object *own = &ch->rx[0].lane.object;
	const struct evr_a64 *owners;
	struct evr_peer_id id;

	h->far.id.slot = slot;
	if (ch->peer->ops->state(ch->peer, slot, &h->far.id.incarnation) != EVR_PEER_LIVE ||
	    !evr_dir_find_in(ch->peer, h->far.id, own->name, &h->far.object) ||
	    h->far.object.kind != EVR_KIND_CHANNEL || h->far.object.sz < far->sz)
		return false;
	h->at = evr_peer_at(ch->peer, h->far.object.off, far->sz);
	h->far.ctl = evr_dir_ctl(ch->peer, &h->far.object);
	owners = evr_dir_owners(ch->peer, &h->far.object);
	if (!h->at || !h->far.ctl || !owners)
		return false;
	h->far.owner = &owners[!ch->role];
	h->u_owner = evr_a64_load_acquire(h->far.owner); /* LANE-ROLE */
	id = owner_id(h->u_owner);
	if (owner_state(h->u_owner) != OWNER_HELD || id.slot != slot ||
	    id.incarnation != h->far.id.incarnation)
		return false;
	h->end = &((const struct evr_channel_tail *)(h->at + far->tail_off))->ends[!ch->role];
	h->loans = (const struct channel_loans *)(h->at + far->tail_off +
						  sizeof(struct evr_channel_tail)) +
		   !ch->role;
	h->far.bond = &h->end->link;
	h->far.bond_word = channel_link(channel_self(ch), h->u_owner);
	return true;
}

/* Does it say of itself what our half says? */
static bool half_fits(struct evr_channel *ch, const struct channel_half *h)
{
	const struct evr_channel_far *far = ch->far;
	struct evr_channel_geometry u_g;
	struct evr_lane_geometry u_l;
	const struct evr_lane *l;
	int k;

	for (k = 0; k < 2 * CHANNEL_STREAMS; k++) {
		l = &channel_stream(ch, ch->role, k)->lane;
		evr_copy_out(
			&u_l,
			&((const struct evr_lane_object *)(h->at + far->lane_off[k]))->geometry,
			sizeof(u_l));
		if (memcmp(&u_l, &l->geometry, sizeof(u_l)))
			return false;
	}
	evr_copy_out(&u_g, &((const struct evr_channel_tail *)(h->at + far->tail_off))->geometry,
		     sizeof(u_g));
	return !memcmp(&u_g, &ch->geometry, sizeof(u_g));
}

/* The other endpoint's side of lane k. */
static const struct evr_lane_side *half_side(const struct evr_channel *ch,
					     const struct channel_half *h, int k)
{
	const struct evr_lane_object *o =
		(const struct evr_lane_object *)(h->at + ch->far->lane_off[k]);

	return &o->sides[k % 2 == ch->role ? EVR_CONSUMER : EVR_PRODUCER];
}

/* Wake whatever sleeps there: there is something new for it. */
static void half_greet(struct evr_channel *ch, const struct channel_half *h)
{
	uint64_t bells = 0, epoch;
	int k, bell;

	for (k = 0; k < 2 * CHANNEL_STREAMS; k++) {
		epoch = 0;
		bell = evr_need_look(&half_side(ch, h, k)->need, &epoch); /* CHAN-MEET */
		if (bell >= 0)
			bells |= 1ULL << bell;
	}
	if (bells)
		evr_bell_ring(ch->peer, h->far.id, bells);
}

/* Is it the same turn of the same living peer, and the same object? */
static bool half_is_there(const struct evr_channel *ch, const struct channel_half *h)
{
	return evr_peer_is_live(ch->peer, h->far.id) &&
	       evr_a64_load_acquire(h->far.owner) == h->u_owner && /* LANE-ROLE */
	       evr_dir_ctl_is_of(h->far.ctl, h->far.object.gen);
}

/* Has this turn a port for what we are the other end of, if there is any? */
static bool half_is_admitted(const struct evr_channel *ch, const struct channel_half *h, bool use)
{
	/* After its link. */
	uint64_t u_pass = evr_a64_load_acquire(&h->end->pass); /* CHAN-MEET */

	return evr_port_admits(ch->peer, &ch->rx[0].lane.object, !ch->role, h->u_owner, u_pass,
			       use);
}

/* The links name each other: here begins the session. */
static uint64_t far_enter(struct evr_channel *ch)
{
	struct evr_channel_far *far = ch->far;

	far->proposed = false;
	ch->other = far->half.end;
	evr_a64_store_release(&ch->partner, far->half.u_owner); /* for our other thread */
	/* After the link: whoever finds the object gone looks at the link once more. */
	evr_port_used(ch->peer, &ch->rx[0].lane.object, !ch->role);
	half_greet(ch, &far->half);
	return far->half.u_owner;
}

static void far_link(struct evr_channel *ch, uint64_t owner)
{
	evr_a64_store_release(&ch->mine->link, channel_link(owner, channel_self(ch)));
	evr_dir_turn(ch->peer); /* CHAN-MEET */
	evr_fence(); /* CHAN-MEET */
}

/* A: what has become of our proposal? Return: the partner; 0. */
static uint64_t far_answer(struct evr_channel *ch)
{
	struct evr_channel_far *far = ch->far;
	uint64_t u_link = evr_a64_load_acquire(far->half.far.bond); /* CHAN-MEET */
	bool is_there = half_is_there(ch, &far->half);

	if (is_there && u_link == far->half.far.bond_word && half_is_admitted(ch, &far->half, true))
		return far_enter(ch);
	if (is_there && channel_link_is_free(u_link) &&
	    channel_link_is_of(u_link, far->half.u_owner))
		return 0;
	far->proposed = false;
	far->turns = UINT64_MAX;
	far_link(ch, 0);
	return 0;
}

/* One that comes into question. Return: the partner; 0. */
static uint64_t far_consider(struct evr_channel *ch, const struct channel_half *h)
{
	struct evr_channel_far *far = ch->far;
	uint64_t u_link = evr_a64_load_acquire(&h->end->link); /* CHAN-MEET */

	if (!channel_link_is_of(u_link, h->u_owner))
		return 0;
	if (!half_is_admitted(ch, h, false))
		return 0;
	if (ch->role == EVR_CHANNEL_B && u_link == h->far.bond_word) {
		if (!half_is_admitted(ch, h, true))
			return 0;
		far->half = *h;
		far_link(ch, h->u_owner);
		return far_enter(ch);
	}
	if (!channel_link_is_free(u_link))
		return 0;
	if (ch->role == EVR_CHANNEL_A) {
		far->half = *h;
		far->proposed = true;
		far_link(ch, h->u_owner);
	}
	half_greet(ch, h);
	return 0;
}

static uint64_t far_search(struct evr_channel *ch)
{
	struct evr_channel_far *far = ch->far;
	struct evr_peer_id expected = far->expected;
	uint64_t partner = 0;
	struct channel_half h;
	uint32_t slot;

	for (slot = 0; slot < ch->peer->segment->layout.peers_max; slot++) {
		if (expected.slot != EVR_SLOT_ANY && slot != expected.slot)
			continue;
		if (!half_find(ch, slot, &h) || owner_same_turn(h.u_owner, ch->past) ||
		    (far->turn && h.u_owner != far->turn) ||
		    (expected.slot != EVR_SLOT_ANY &&
		     h.far.id.incarnation != expected.incarnation) ||
		    !half_fits(ch, &h))
			continue;
		partner = far_consider(ch, &h);
		if (partner || far->proposed)
			break;
	}
	return partner;
}

/* Who is there: its owner word, HELD; 0 for nobody yet. */
static uint64_t far_meet(struct evr_channel *ch)
{
	uint64_t partner = evr_a64_load_acquire(&ch->partner);
	struct evr_channel_far *far = ch->far;
	uint64_t turns;

	if (partner)
		return partner;
	pthread_mutex_lock(&far->meeting);
	partner = evr_a64_load_acquire(&ch->partner);
	if (!partner && far->proposed)
		partner = far_answer(ch);
	if (!partner && !far->proposed) {
		turns = evr_dir_turns(ch->peer, far->expected.slot); /* CHAN-MEET */
		if (turns != far->turns) {
			/* Whatever comes while we look is looked at the next time. */
			far->turns = turns;
			partner = far_search(ch);
		}
	}
	pthread_mutex_unlock(&far->meeting);
	return partner;
}

/* The lanes of one thread. */
static void far_join(struct evr_channel *ch, struct evr_bytes *streams)
{
	const struct channel_half *h = &ch->far->half;
	struct evr_lane_object *o;
	struct evr_bytes *stream;
	int k;

	for (k = 0; k < 2 * CHANNEL_STREAMS; k++) {
		stream = channel_stream(ch, ch->role, k);
		if (stream != &streams[k / 2])
			continue;
		o = (struct evr_lane_object *)(h->at + ch->far->lane_off[k]);
		evr_lane_far_join(&stream->lane, &h->far, half_side(ch, h, k), (uint8_t *)(o + 1));
	}
}

/* Has the other end, whoever holds it by now, closed without having met us? */
static bool half_refuses(struct evr_channel *ch, struct evr_peer_id id)
{
	const struct evr_channel_far *far = ch->far;
	const struct evr_channel_tail *tail;
	struct evr_object object;

	if (!evr_dir_find_in(ch->peer, id, ch->rx[0].lane.object.name, &object) ||
	    object.kind != EVR_KIND_CHANNEL || object.sz < far->sz)
		return false;
	tail = evr_peer_at(ch->peer, object.off + far->tail_off, sizeof(*tail));
	return tail &&
	       owner_same_turn(evr_a64_load_acquire(&tail->ends[!ch->role].past), /* CHAN-MEET */
			       channel_self(ch));
}

/* Nobody is there. Can whom we wait for still come? */
static enum evr_ring_state far_prospect(struct evr_channel *ch)
{
	struct evr_channel_far *far = ch->far;
	struct evr_peer_id id;
	struct channel_half h;
	const struct evr_a64 *ticket;
	uint32_t state, ticket_gen;
	uint64_t turn;
	bool once;

	pthread_mutex_lock(&far->meeting);
	id = far->expected;
	ticket = far->ticket;
	ticket_gen = far->ticket_gen;
	turn = far->turn;
	once = far->once;
	pthread_mutex_unlock(&far->meeting);
	if (!once)
		return EVR_RING_NO_PEER;
	state = evr_peer_state(ch->peer, id);
	if (state == EVR_PEER_DEAD || state == EVR_PEER_RETIRED)
		return EVR_RING_PEER_DEAD;
	if (ticket && !evr_dir_ctl_is_of(ticket, ticket_gen))
		return EVR_RING_CLOSED;
	if (turn ? !half_find(ch, id.slot, &h) || h.u_owner != turn : half_refuses(ch, id))
		return EVR_RING_CLOSED;
	return EVR_RING_NO_PEER;
}

enum evr_ring_state evr_channel_far_state(struct evr_channel *ch, struct evr_bytes *streams)
{
	const struct channel_half *h = &ch->far->half;
	uint64_t u_owner, u_link, incarnation;
	uint32_t state;
	bool is_same;

	if (!far_meet(ch)) {
		enum evr_ring_state state_then = far_prospect(ch);

		/* What makes it hopeless for others may be that it was us who was met. */
		if (state_then == EVR_RING_NO_PEER || !far_meet(ch))
			return state_then;
	}
	if (streams && !streams[0].lane.met)
		far_join(ch, streams);
	u_link = evr_a64_load_acquire(h->far.bond);
	u_owner = evr_a64_load_acquire(h->far.owner); /* LANE-ROLE */
	is_same = u_owner == h->u_owner && u_link == h->far.bond_word &&
		  evr_dir_ctl_is_of(h->far.ctl, h->far.object.gen);
	/* After what lies in its region, which may be another's by now. */
	state = ch->peer->ops->state(ch->peer, h->far.id.slot, &incarnation);
	if (incarnation != h->far.id.incarnation)
		return EVR_RING_PEER_DEAD;
	if (state == EVR_PEER_LIVE || state == EVR_PEER_DYING)
		return is_same ? EVR_RING_OK : EVR_RING_CLOSED;
	return u_owner == owner_with(h->u_owner, OWNER_CLOSED) ? EVR_RING_CLOSED :
								 EVR_RING_PEER_DEAD;
}

/* May we come after the last holder of our role, as a living other end sees it? */
static int far_may_begin(struct evr_channel *ch)
{
	uint64_t before = ch->rx[0].lane.before;
	uint64_t last = evr_a64_load_relaxed(&ch->mine->link); /* of the last holder */
	uint64_t past = evr_a64_load_relaxed(&ch->mine->past);
	struct evr_peer_id id = owner_id(last);
	struct channel_half h;

	if (!before || !channel_link_is_of(last, before) || channel_link_is_free(last) ||
	    last == past || id.slot >= ch->peer->segment->layout.peers_max ||
	    !half_find(ch, id.slot, &h) || !owner_same_turn(h.u_owner, last) ||
	    evr_a64_load_acquire(&h.end->link) != channel_link(before, h.u_owner))
		return 0;
	return evr_fail(-EBUSY, "channel '%s': peer %u at the other end has not let go of the last",
			ch->rx[0].lane.object.name, id.slot);
}

int evr_channel_far_begin(struct evr_channel *ch, uint64_t tail_off)
{
	const struct evr_object *o = &ch->rx[0].lane.object;
	struct evr_channel_tail *tail;
	struct evr_channel_far *far;
	uint64_t off = 0;
	int k;

	if (o->sz - tail_off < sizeof(*tail) + evr_channel_far_sz())
		return evr_fail(-EBADMSG, "channel '%s': size %llu has no room for loans", o->name,
				(unsigned long long)o->sz);
	far = calloc(1, sizeof(*far));
	if (!far)
		return evr_fail(-ENOMEM, "channel '%s': no private memory", o->name);
	ch->far = far;
	pthread_mutex_init(&far->meeting, NULL);
	for (k = 0; k < 2 * CHANNEL_STREAMS; k++) {
		far->lane_off[k] = off;
		off = evr_lane_end(&channel_stream(ch, ch->role, k)->lane, off);
	}
	far->tail_off = tail_off;
	far->sz = tail_off + sizeof(*tail) + evr_channel_far_sz();
	far->expected.slot = EVR_SLOT_ANY;
	tail = evr_peer_at(ch->peer, o->off + tail_off, sizeof(*tail) + evr_channel_far_sz());
	far->loans = (struct channel_loans *)(tail + 1) + ch->role;
	return far_may_begin(ch);
}

void evr_channel_far_terms(struct evr_channel *ch, const struct channel_terms *terms)
{
	struct evr_channel_far *far = ch->far;

	far->expected = terms->other;
	far->once = terms->once;
	far->turn = terms->turn;
	far->ticket = terms->ticket;
	far->ticket_gen = terms->ticket_gen;
	/* Relaxed: the link is written after it, with release. */
	evr_a64_store_relaxed(&ch->mine->pass,
			      terms->nonce ? evr_port_pass(terms->nonce, channel_self(ch)) : 0);
}

void evr_channel_far_refuse(struct evr_channel *ch)
{
	struct evr_channel_far *far = ch->far;
	struct channel_half h;

	if (!far->turn)
		return;
	/* Also when we have met it: it may not know that yet, and will not from a closed half. */
	evr_a64_store_release(&ch->mine->past, /* CHAN-MEET */
			      channel_link(far->turn, channel_self(ch)));
	evr_fence(); /* CHAN-MEET */
	if (half_find(ch, far->expected.slot, &h) && h.u_owner == far->turn)
		half_greet(ch, &h);
}

void evr_channel_far_fini(struct evr_channel *ch)
{
	if (!ch->far)
		return;
	pthread_mutex_destroy(&ch->far->meeting);
	free(ch->far);
	ch->far = NULL;
}

void evr_channel_far_reset(struct evr_channel *ch)
{
	struct evr_channel_far *far = ch->far;
	struct evr_bytes *stream;
	int k;

	/* Who was in session with us is told before a position, or a byte, is of the next. */
	evr_a64_store_release(&ch->mine->link, LINK_NONE); /* LANE-VOUCH */
	evr_fence(); /* LANE-VOUCH */
	for (k = 0; k < 2 * CHANNEL_STREAMS; k++) {
		stream = channel_stream(ch, ch->role, k);
		evr_lane_far_restart(&stream->lane);
		stream->published = 0;
		stream->granted = false;
	}
	memset(ch->held, 0, sizeof(ch->held));
	/* What could not be taken back is noted in our half, for the next bind. */
	memset(far->lent, 0, sizeof(far->lent));
	memset(far->borrowed, 0, sizeof(far->borrowed));
	far->has_heap = false;
	far->collected = 0;
	far->returned = 0;
	evr_a64_store_relaxed(&ch->mine->returned, 0);
	far->proposed = false;
	far->turns = UINT64_MAX;
	ch->other = &evr_channel_nobody;
}

void evr_channel_far_announce(struct evr_channel *ch)
{
	evr_dir_turn(ch->peer); /* CHAN-MEET */
	evr_fence(); /* CHAN-MEET */
	far_meet(ch);
}

void evr_channel_expect(struct evr_channel *ch, struct evr_peer_id other)
{
	struct evr_channel_far *far = ch->far;

	if (!far || evr_a64_load_acquire(&ch->partner))
		return;
	pthread_mutex_lock(&far->meeting);
	far->expected = other;
	far->once = false;
	far->ticket = NULL;
	far->turn = 0;
	far->turns = UINT64_MAX;
	if (far->proposed)
		far_link(ch, 0);
	far->proposed = false;
	pthread_mutex_unlock(&far->meeting);
}

bool evr_channel_vouch(struct evr_channel *ch)
{
	return !ch->far || evr_lane_vouch(&ch->rx[0].lane);
}
