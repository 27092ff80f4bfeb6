/* SPDX-License-Identifier: MIT */
/*
 * Broadcasts: the object, who writes and who reads; include/evering/bcast.h has the model,
 * bcast_write.c and bcast_read.c move the elements.
 *
 * The object is a lane's (lane.c), of whose sides the producer's alone is used: its `pos`
 * is how far all is published, its `base` the first element that is still whole. The data
 * begin with the crowd of readers that sleep and with the seats; the elements follow.
 *
 * BCAST-SEAT. Who takes a seat needs a position that the writer will not overwrite, and the
 * writer looks at the seats only when it is at the end of what the last look allowed. So:
 *
 *   subscriber                             writer, at the end of its room
 *     owner: HELD, by CAS                    has published pos
 *     full barrier                           full barrier
 *     p = the writer's pos                   owner?
 *     side: pos = p, then partner = owner    not HELD: goes to pos + capacity at most
 *     is the writer asleep? ring             HELD, partner not the same: goes no further
 *                                            HELD, the same: goes to the side's pos + capacity
 *
 * A writer that has not seen HELD has published its pos before the barrier, so p is not
 * less. One that has seen it waits for the side's position, for no longer than the
 * subscriber lives, or has patience with.
 */
#include "bcast.h"

#include <errno.h>
#include <string.h>

#include "backend.h"
#include "dir.h"
#include "internal.h"
#include "lane.h"
#include "object.h"
#include "park.h"
#include "reap.h"

#define BCAST_CAPACITY_DEFAULT 1024
#define BCAST_CAPACITY_MAX (1U << 31)
#define BCAST_ELEM_DEFAULT 8
#define BCAST_ELEM_MAX (1U << 30)
#define BCAST_SEATS_MAX 255

/* ".255" and the NUL stay free for the names of seats. */
#define BCAST_FAR_NAME_MAX (EVR_OBJECT_NAME_SZ - 5)

/* Bytes in front of the elements. */
static uint64_t head_sz(struct evr_peer *peer, uint64_t seats)
{
	uint32_t peers_max = peer->segment->layout.peers_max;

	if (seats && evr_dir_is_isolated(peer))
		return evr_crowd_sz(peers_max) + evr_bcast_far_sz(peers_max);
	return evr_crowd_sz(peers_max) + seats * sizeof(struct evr_bcast_seat);
}

int evr_bcast_create(struct evr_peer *peer, const char *name,
		     const struct evr_bcast_options *options)
{
	struct evr_lane_geometry g = { 0 };
	struct evr_bcast_options o;
	int err;

	err = evr_options_read(&o, sizeof(o), options, "evr_bcast_options");
	if (err)
		return err;
	g.span = o.capacity ? o.capacity : BCAST_CAPACITY_DEFAULT;
	g.unit_sz = o.elem_sz ? o.elem_sz : BCAST_ELEM_DEFAULT;
	g.seats_nr = o.seats;
	g.type_tag = o.type_tag;
	if (!evr_lane_span_is_valid(g.span, 1, BCAST_CAPACITY_MAX))
		return evr_fail(-EINVAL,
				"broadcast '%s': capacity %u is no power of two up to 2^31", name,
				o.capacity);
	if (g.unit_sz > BCAST_ELEM_MAX || g.seats_nr > BCAST_SEATS_MAX)
		return evr_fail(-EINVAL,
				"broadcast '%s': elem_sz %u is more than 2^30, or seats %u than %u",
				name, o.elem_sz, o.seats, BCAST_SEATS_MAX);
	if (g.seats_nr && evr_dir_is_isolated(peer) && name &&
	    strnlen(name, EVR_OBJECT_NAME_SZ) > BCAST_FAR_NAME_MAX)
		return evr_fail(-EINVAL,
				"broadcast '%.50s': with seats its name has at most %d bytes", name,
				BCAST_FAR_NAME_MAX);
	g.data_sz = head_sz(peer, g.seats_nr) + g.span * g.unit_sz;
	return evr_lane_create(peer, name, EVR_KIND_BCAST, &g);
}

/* The geometry came from memory that others write. */
static int bcast_check(const struct evr_lane *l)
{
	const struct evr_lane_geometry *g = &l->geometry;
	const char *name = l->object.name;

	if (!evr_lane_span_is_valid(g->span, 1, BCAST_CAPACITY_MAX))
		return evr_fail(-EBADMSG, "broadcast '%s': span is %llu", name,
				(unsigned long long)g->span);
	if (!g->unit_sz || g->unit_sz > BCAST_ELEM_MAX)
		return evr_fail(-EBADMSG, "broadcast '%s': unit_sz is %llu", name,
				(unsigned long long)g->unit_sz);
	if (g->seats_nr > BCAST_SEATS_MAX)
		return evr_fail(-EBADMSG, "broadcast '%s': seats_nr is %llu", name,
				(unsigned long long)g->seats_nr);
	if (g->data_sz != head_sz(l->peer, g->seats_nr) + g->span * g->unit_sz)
		return evr_fail(
			-EBADMSG,
			"broadcast '%s': data_sz is %llu, span %llu, unit_sz %llu, seats_nr %llu",
			name, (unsigned long long)g->data_sz, (unsigned long long)g->span,
			(unsigned long long)g->unit_sz, (unsigned long long)g->seats_nr);
	return 0;
}

/* The lane is mapped: the rest of the handle follows. */
static int bcast_map(struct evr_bcast *b, uint64_t type_tag, uint32_t elem_sz)
{
	struct evr_lane *l = &b->lane;
	const struct evr_lane_geometry *g = &l->geometry;
	int err = bcast_check(l);
	uint8_t *seats;

	if (err)
		return err;
	if (type_tag && g->type_tag && type_tag != g->type_tag)
		return evr_fail(-EINVAL, "broadcast '%s': type_tag is %#llx, not %#llx",
				l->object.name, (unsigned long long)g->type_tag,
				(unsigned long long)type_tag);
	if (elem_sz && elem_sz != g->unit_sz)
		return evr_fail(-EINVAL, "broadcast '%s': elements have %llu bytes, not %u",
				l->object.name, (unsigned long long)g->unit_sz, elem_sz);
	b->mask = g->span - 1;
	b->elem_sz = (uint32_t)g->unit_sz;
	b->readers = (struct evr_crowd *)l->data;
	seats = l->data + evr_crowd_sz(l->peer->segment->layout.peers_max);
	if (!evr_dir_is_isolated(l->peer)) {
		b->seats_nr = (uint32_t)g->seats_nr;
		b->seats = (struct evr_bcast_seat *)seats;
	} else if (g->seats_nr) {
		b->verdicts = (struct evr_a64 *)seats;
	}
	l->data += head_sz(l->peer, g->seats_nr);
	b->patience_ns = EVR_NO_DEADLINE;
	return 0;
}

static int writer_open(struct evr_bcast *b, const char *name, uint64_t type_tag, uint32_t elem_sz)
{
	struct evr_lane *l = &b->lane;
	int err = evr_lane_open(l, l->peer, name, EVR_KIND_BCAST, EVR_PRODUCER);

	if (err)
		return err;
	err = bcast_map(b, type_tag, elem_sz);
	if (!err) {
		b->base = evr_a64_load_relaxed(&l->mine->base); /* it came with the role */
		l->pos = evr_a64_load_relaxed(&l->mine->pos);
		if (l->pos - b->base > l->span)
			err = evr_fail(-EBADMSG, "broadcast '%s': base is %llu, pos %llu", name,
				       (unsigned long long)b->base, (unsigned long long)l->pos);
	}
	if (err) {
		evr_lane_abandon(l);
		return err;
	}
	evr_lane_begin(l);
	b->waker.registered = l->registered;
	if (!l->far)
		return 0;
	/* Nobody else writes here, so nobody sleeps here. */
	b->readers = NULL;
	err = b->verdicts ? evr_bcast_far_begin(b) : 0;
	if (err)
		evr_lane_abandon(l);
	return err;
}

/* Look at an object as a reader; nothing is written. */
static int reader_look(struct evr_bcast *b, const struct evr_object *object, uint64_t type_tag,
		       uint32_t elem_sz)
{
	struct evr_lane *l = &b->lane;
	struct evr_peer *peer = l->peer;
	struct evr_a64 *owners;
	uint64_t u_owner;
	int err;

	if (object->kind != EVR_KIND_BCAST)
		return evr_fail(-EINVAL, "'%s' is an object of kind %u, not %u", object->name,
				object->kind, EVR_KIND_BCAST);
	err = evr_lane_view(l, peer, object, 0);
	if (!err)
		err = bcast_map(b, type_tag, elem_sz);
	owners = evr_dir_owners(peer, object);
	b->ctl = evr_dir_ctl(peer, object);
	if (!err && (!owners || !b->ctl))
		err = evr_fail(-ENOENT, "broadcast '%s' was removed just now", object->name);
	if (err)
		return err;
	l->other_owner = &owners[EVR_PRODUCER];
	/* Before the look at the position: what was published before the end is there. */
	u_owner = evr_a64_load_acquire(l->other_owner); /* LANE-ROLE */
	l->pos = evr_a64_load_acquire(&l->other->pos); /* LANE-DATA */
	l->limit = l->pos;
	b->first = l->pos;
	if (evr_lane_judge(l, u_owner) != EVR_RING_OK)
		l->past = u_owner;
	return 0;
}

int evr_bcast_view(struct evr_bcast *b, const struct evr_object *obj)
{
	b->home.slot = EVR_SLOT_ANY;
	return reader_look(b, obj, 0, 0);
}

/* A seat that nobody has, nor one who may still write there. */
static struct evr_bcast_seat *seat_claim(struct evr_bcast *b)
{
	struct evr_peer_id self = evr_peer_self(b->lane.peer);
	uint64_t owner;
	uint32_t i;

	for (i = 0; i < b->seats_nr; i++) {
		owner = evr_a64_load_acquire(&b->seats[i].owner);
		if (owner_state(owner) != OWNER_FREE && owner_state(owner) != OWNER_CLOSED &&
		    owner_state(owner) != OWNER_DEAD)
			continue;
		b->lane.held = owner_next(owner, self);
		if (evr_a64_cas(&b->seats[i].owner, &owner, b->lane.held)) /* BCAST-SEAT */
			return &b->seats[i];
	}
	return NULL;
}

/* See the top of the file. */
void evr_bcast_begin(struct evr_bcast *b)
{
	struct evr_lane *l = &b->lane;

	evr_fence(); /* BCAST-SEAT */
	l->pos = evr_a64_load_acquire(&l->other->pos); /* LANE-DATA */
	l->limit = l->pos;
	b->first = l->pos;
	evr_a64_store_relaxed(&l->mine->pos, l->pos);
	evr_a64_store_release(&l->mine->partner, l->held); /* BCAST-SEAT */
	/* It may have gone to sleep because it did not know where we begin. */
	evr_lane_ring(l);
}

static void seat_join(struct evr_bcast *b)
{
	struct evr_lane *l = &b->lane;

	b->is_seated = true;
	l->owner = &b->seat->owner;
	l->mine = &b->seat->side;
	l->registered = evr_park_register();
	evr_bcast_begin(b);
	evr_lane_count(&l->mine->counts.opens, 1);
}

static int seat_take(struct evr_bcast *b)
{
	struct evr_peer_id self = evr_peer_self(b->lane.peer);

	if (self.incarnation > OWNER_INCARNATION_MAX || self.slot > 0xff)
		return evr_fail(-EOVERFLOW,
				"broadcast '%s': peer %u.%llu does not fit an owner word",
				b->lane.object.name, self.slot,
				(unsigned long long)self.incarnation);
	b->seat = seat_claim(b);
	if (!b->seat && evr_reap_is_auto(b->lane.peer)) {
		evr_reap_dead(b->lane.peer, NULL);
		b->seat = seat_claim(b);
	}
	if (!b->seat)
		return evr_fail(-EUSERS, "broadcast '%s': all of its %u seats are taken",
				b->lane.object.name, b->seats_nr);
	seat_join(b);
	return 0;
}

static int consumer_open(struct evr_bcast *b, const char *name, uint64_t type_tag, uint32_t elem_sz)
{
	struct evr_peer *peer = b->lane.peer;
	struct evr_object object;
	int err;

	err = evr_dir_find(peer, name, &object);
	if (!err)
		err = evr_dir_join(peer, &object);
	if (err)
		return err;
	err = reader_look(b, &object, type_tag, elem_sz);
	b->is_member = !err;
	if (!err && b->seats_nr)
		err = seat_take(b);
	if (err)
		evr_dir_leave(peer, &object);
	return err;
}

int evr_bcast_open_sized(struct evr_bcast *b, struct evr_peer *peer, const char *name,
			 enum evr_role role, uint64_t type_tag, uint32_t elem_sz)
{
	int err;

	if (role == EVR_CONSUMER && evr_dir_is_isolated(peer))
		return evr_bcast_subscribe(b, peer, name, NULL, type_tag, elem_sz);

	memset(b, 0, sizeof(*b));
	b->lane.peer = peer;
	b->home.slot = EVR_SLOT_ANY;
	if (role != EVR_PRODUCER && role != EVR_CONSUMER)
		return evr_fail(-EINVAL, "broadcast '%s': role %d is none", name, (int)role);
	if (!(evr_peer_rights(peer) & EVR_RIGHT_WRITE))
		return evr_fail(-EROFS, "broadcast '%s': who may only read observes it", name);
	err = role == EVR_PRODUCER ? writer_open(b, name, type_tag, elem_sz) :
				     consumer_open(b, name, type_tag, elem_sz);
	if (err)
		b->lane.mine = NULL;
	return err;
}

int evr_bcast_open(struct evr_bcast *b, struct evr_peer *peer, const char *name, enum evr_role role,
		   uint64_t type_tag)
{
	return evr_bcast_open_sized(b, peer, name, role, type_tag, 0);
}

/* In an isolated segment: whose directory it is in, and that it is this one's. */
static int home_find(struct evr_bcast *b, const char *name, const struct evr_peer_id *writer,
		     struct evr_object *object)
{
	struct evr_peer *peer = b->lane.peer;
	int err;

	if (writer) {
		b->home = *writer;
	} else {
		err = evr_dir_find(peer, name, object);
		if (err)
			return err;
		b->home.slot = object->slot;
		peer->ops->state(peer, object->slot, &b->home.incarnation);
	}
	if (b->home.slot < peer->segment->layout.peers_max &&
	    evr_dir_find_in(peer, b->home, name, object))
		return 0;
	return evr_fail(-ENOENT, "broadcast '%s': peer %u.%llu has none of this name", name,
			b->home.slot, (unsigned long long)b->home.incarnation);
}

int evr_bcast_observe_sized(struct evr_bcast *b, struct evr_peer *peer, const char *name,
			    const struct evr_peer_id *writer, uint64_t type_tag, uint32_t elem_sz)
{
	struct evr_object object;
	int err;

	memset(b, 0, sizeof(*b));
	b->lane.peer = peer;
	b->is_observer = true;
	b->home.slot = EVR_SLOT_ANY;
	err = evr_dir_is_isolated(peer) ? home_find(b, name, writer, &object) :
					  evr_dir_find(peer, name, &object);
	if (!err)
		err = reader_look(b, &object, type_tag, elem_sz);
	/* What it says of itself was read while anybody could remove it. */
	evr_fence_acquire();
	if (!err && !evr_bcast_is_there(b))
		err = evr_fail(-ENOENT, "broadcast '%s' was removed just now", name);
	b->readers = NULL;
	if (err)
		b->lane.mine = NULL;
	return err;
}

int evr_bcast_observe(struct evr_bcast *b, struct evr_peer *peer, const char *name,
		      const struct evr_peer_id *writer, uint64_t type_tag)
{
	return evr_bcast_observe_sized(b, peer, name, writer, type_tag, 0);
}

int evr_bcast_subscribe(struct evr_bcast *b, struct evr_peer *peer, const char *name,
			const struct evr_peer_id *writer, uint64_t type_tag, uint32_t elem_sz)
{
	int err;

	if (!evr_dir_is_isolated(peer))
		return evr_bcast_open_sized(b, peer, name, EVR_CONSUMER, type_tag, elem_sz);
	if (evr_peer_rights(peer) & EVR_RIGHT_WRITE) {
		err = evr_bcast_observe_sized(b, peer, name, writer, type_tag, elem_sz);
		if (!err && !b->verdicts)
			err = evr_fail(-EOPNOTSUPP, "broadcast '%s' has no seats: observe it",
				       name);
		if (!err)
			err = evr_bcast_far_sit(b);
	} else {
		memset(b, 0, sizeof(*b));
		err = evr_fail(-EROFS, "broadcast '%s': who may only read observes it", name);
	}
	if (err)
		b->lane.mine = NULL;
	return err;
}

bool evr_bcast_is_there(struct evr_bcast *b)
{
	struct evr_peer *peer = b->lane.peer;
	uint64_t incarnation;

	if (!b->is_observer)
		return true;
	if (!b->gone && b->home.slot != EVR_SLOT_ANY) {
		peer->ops->state(peer, b->home.slot, &incarnation); /* LANE-VOUCH */
		b->gone = incarnation != b->home.incarnation;
	}
	b->gone = b->gone || !evr_dir_ctl_is_of(b->ctl, b->lane.object.gen); /* DIR-REMOVE */
	return !b->gone;
}

/* Give the seat back, also an expelled one's. Fails when this peer was reaped as dead. */
static void seat_leave(struct evr_bcast *b)
{
	struct evr_lane *l = &b->lane;
	uint64_t owner = l->held;

	b->is_seated = false;
	if (!b->seat) {
		evr_bcast_far_stand(b);
		return;
	}
	if (!evr_a64_cas(l->owner, &owner, owner_with(l->held, OWNER_CLOSED)) &&
	    owner == owner_with(l->held, OWNER_EXPELLED))
		evr_a64_cas(l->owner, &owner, owner_with(l->held, OWNER_CLOSED));
	evr_lane_wake(l);
	b->seat = NULL;
	l->mine = &b->seats[0].side; /* open, and not to be written to any more */
}

void evr_bcast_close(struct evr_bcast *b)
{
	struct evr_lane *l = &b->lane;
	uint64_t held = l->held;

	if (!l->mine)
		return;
	b->grant_nr = 0;
	if (l->role == EVR_PRODUCER) {
		/* It fails only when the word is corrupt, or this peer was reaped as dead. */
		evr_a64_cas(l->owner, &held, owner_with(held, OWNER_CLOSED)); /* LANE-ROLE */
		evr_bcast_wake(b);
		evr_bcast_far_end(b);
	}
	if (b->is_seated)
		seat_leave(b);
	if (b->is_member)
		evr_dir_leave(l->peer, &l->object);
	l->mine = NULL;
}

bool evr_bcast_unseat(struct evr_bcast *b, uint32_t at, uint64_t owner)
{
	if (b->verdicts)
		return evr_bcast_far_unseat(b, at, owner);
	if (!evr_a64_cas(&b->seats[at].owner, &owner, owner_with(owner, OWNER_EXPELLED)))
		return false;
	evr_lane_count(&b->lane.mine->counts.expelled, 1);
	/* It may sleep, and is to be told. */
	evr_bcast_wake(b);
	return true;
}

static bool is_expelled(const struct evr_bcast *b)
{
	if (!b->seat)
		return b->is_seated && evr_bcast_far_is_expelled(b);
	return evr_a64_load_acquire(&b->seat->owner) != b->lane.held;
}

enum evr_ring_state evr_bcast_state(struct evr_bcast *b)
{
	struct evr_lane *l = &b->lane;
	struct evr_peer_id self;

	if (!l->mine)
		return EVR_RING_CLOSED;
	if (l->corrupt)
		return EVR_RING_CORRUPT;
	self = evr_peer_self(l->peer);
	if (self.slot != EVR_SLOT_ANY && !evr_peer_is_live(l->peer, self))
		return EVR_RING_REVOKED;
	if (l->role == EVR_PRODUCER)
		return EVR_RING_OK;
	if (!evr_bcast_is_there(b))
		return b->home.slot == EVR_SLOT_ANY || evr_peer_is_live(l->peer, b->home) ?
			       EVR_RING_CLOSED :
			       EVR_RING_PEER_DEAD;
	if (is_expelled(b))
		return EVR_RING_EXPELLED;
	if (b->busy)
		return EVR_RING_BUSY;
	return evr_lane_judge(l, evr_a64_load_acquire(l->other_owner)); /* LANE-ROLE */
}

void evr_bcast_forget(struct evr_bcast *b)
{
	enum evr_ring_state state;
	uint64_t u_owner;

	if (!b->lane.mine || b->lane.role == EVR_PRODUCER)
		return;
	if (is_expelled(b))
		seat_leave(b);
	if (!evr_bcast_is_there(b))
		return;
	u_owner = evr_a64_load_acquire(b->lane.other_owner);
	state = evr_lane_judge(&b->lane, u_owner);
	if (state == EVR_RING_CLOSED || state == EVR_RING_PEER_DEAD)
		b->lane.past = u_owner;
}

void evr_bcast_tally(const struct evr_bcast *b, struct evr_bcast_tally *out)
{
	*out = (struct evr_bcast_tally){ .first = b->first,
					 .next = b->lane.pos,
					 .delivered = b->lane.pos - b->first - b->lost,
					 .lost = b->lost,
					 .lapses = b->lapses };
	if (b->lane.role == EVR_PRODUCER)
		*out = (struct evr_bcast_tally){ .next = b->lane.pos };
}

static void seats_count(const struct evr_bcast *b, struct evr_bcast_counts *out)
{
	uint64_t owner, lag;
	uint32_t i;

	if (b->verdicts) {
		evr_bcast_far_count(b, out);
		return;
	}
	out->seats = b->seats_nr;
	for (i = 0; i < b->seats_nr; i++) {
		owner = evr_a64_load_acquire(&b->seats[i].owner);
		if (owner_state(owner) != OWNER_HELD)
			continue;
		out->seated++;
		lag = out->pos - evr_a64_load_relaxed(&b->seats[i].side.pos);
		if (evr_a64_load_relaxed(&b->seats[i].side.partner) != owner ||
		    lag > b->lane.span || (lag <= out->lag && out->slowest.slot != EVR_SLOT_ANY))
			continue;
		out->lag = lag;
		out->slowest = owner_id(owner);
	}
}

void evr_bcast_counts(const struct evr_bcast *b, struct evr_bcast_counts *out)
{
	const struct evr_lane *l = &b->lane;
	bool is_writer = l->role == EVR_PRODUCER;
	const struct evr_lane_side *side = is_writer ? l->mine : l->other;
	uint64_t u_owner, begun;

	*out = (struct evr_bcast_counts){ .writer = { .slot = EVR_SLOT_ANY },
					  .slowest = { .slot = EVR_SLOT_ANY } };
	if (!l->mine)
		return;
	out->base = evr_a64_load_acquire(&side->base); /* BCAST-WINDOW */
	out->pos = evr_a64_load_relaxed(&side->pos);
	begun = out->base + l->span - out->pos;
	out->spoiled = out->base && begun <= l->span ? begun : 0;
	out->opens = evr_a64_load_relaxed(&side->counts.opens);
	out->blocked = evr_a64_load_relaxed(&side->counts.blocked);
	out->parks = evr_a64_load_relaxed(&side->counts.parks);
	out->rings = evr_a64_load_relaxed(&side->counts.rings);
	out->expelled = evr_a64_load_relaxed(&side->counts.expelled);
	out->corrupt = evr_a64_load_relaxed(&side->counts.corrupt);
	seats_count(b, out);
	u_owner = evr_a64_load_relaxed(is_writer ? l->owner : l->other_owner);
	if (owner_state(u_owner) == OWNER_HELD)
		out->writer = owner_id(u_owner);
}

int evr_bcast_stat(struct evr_peer *peer, const char *name, struct evr_bcast_counts *out)
{
	struct evr_bcast b;
	int err = evr_bcast_observe(&b, peer, name, NULL, 0);

	evr_bcast_counts(&b, out);
	evr_fence_acquire();
	if (!err && !evr_bcast_is_there(&b))
		err = evr_fail(-ENOENT, "broadcast '%s' was removed just now", name);
	return err;
}

void evr_bcast_settle(struct evr_peer *peer, const struct evr_object *obj,
		      struct evr_reap_report *report)
{
	struct evr_bcast b = { .lane.peer = peer, .home.slot = EVR_SLOT_ANY };
	uint64_t owner;
	uint32_t i;

	if (reader_look(&b, obj, 0, 0))
		return;
	for (i = 0; i < b.seats_nr; i++) {
		owner = evr_a64_load_acquire(&b.seats[i].owner);
		if ((owner_state(owner) == OWNER_HELD || owner_state(owner) == OWNER_EXPELLED) &&
		    owner_is_dead(peer, owner))
			report->sides += evr_a64_cas(&b.seats[i].owner, &owner, /* LANE-ROLE */
						     owner_with(owner, OWNER_DEAD));
	}
	evr_crowd_settle(peer, b.readers);
}

/* What is in it: all that can be read, or that the slowest subscriber has not read. */
int evr_bcast_object_stat(struct evr_peer *peer, const struct evr_object *obj,
			  struct evr_object_stat *out)
{
	struct evr_flow_end *end = &out->flows[0].ends[EVR_CONSUMER];
	struct evr_bcast b = { .lane.peer = peer, .home.slot = EVR_SLOT_ANY };
	struct evr_bcast_counts c;
	uint32_t i;
	int err = reader_look(&b, obj, 0, 0);

	if (!err)
		err = evr_lane_flow(peer, obj, 0, false, &out->flows[0]);
	if (err)
		return err;
	evr_bcast_counts(&b, &c);
	out->flows_nr = 1;
	out->flows[0].ends[EVR_PRODUCER].pos = c.pos;
	out->flows[0].ends[EVR_PRODUCER].messages = c.pos;
	*end = (struct evr_flow_end){ .holder = { .slot = EVR_SLOT_ANY }, .state = EVR_END_MANY };
	end->pos = c.slowest.slot == EVR_SLOT_ANY ? c.base : c.pos - c.lag;
	end->messages = end->pos;
	for (i = 0; i < b.seats_nr; i++)
		end->lost += evr_a64_load_relaxed(&b.seats[i].side.counts.lost);
	return 0;
}

int evr_bcast_object_held(const struct evr_held_walk *walk, const struct evr_object *obj)
{
	struct evr_bcast b = { .lane.peer = walk->peer, .home.slot = EVR_SLOT_ANY };
	struct evr_holding h = { .what = EVR_HOLD_ROLE,
				 .incarnation_bits = 40,
				 .role = EVR_CONSUMER,
				 .source = EVR_SLOT_ANY };
	uint64_t owner;
	uint32_t i;
	int err = reader_look(&b, obj, 0, 0);

	for (i = 0; !err && i < b.seats_nr; i++) {
		owner = evr_a64_load_acquire(&b.seats[i].owner);
		if (owner_state(owner) != OWNER_HELD && owner_state(owner) != OWNER_EXPELLED)
			continue;
		h.slot = owner_id(owner).slot;
		h.incarnation = owner_id(owner).incarnation;
		err = evr_held_tell(walk, &h);
	}
	return err;
}
