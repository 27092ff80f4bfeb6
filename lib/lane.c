/* SPDX-License-Identifier: MIT */
/*
 * Lanes; include/evering/lane.h has the model, owner.h who holds a role.
 *
 * While the owner word says HELD(p) only p writes the side's words, so a successor
 * goes on from a position that nobody moves any more.
 */
#include <errno.h>
#include <string.h>

#include <evering/bell.h>
#include <evering/lane.h>
#include <evering/reap.h>

#include "dir.h"
#include "internal.h"
#include "lane.h"
#include "owner.h"
#include "reap.h"

/* A park after so many elements or bytes costs less than the barriers that AWAKE has saved. */
#define CALM_ELEMENTS (1ULL << 16)
#define CALM_BYTES (1ULL << 22)
/* Who takes a role that others take and leave so often has met nonsense. */
#define TAKES_MAX 1000

static const struct evr_lane_side unused_sides[2];
static const char *const role_names[] = { "producer", "consumer" };

void evr_lane_count(struct evr_a64 *counter, uint64_t nr)
{
	/* Relaxed, and no RMW: only the side's owner writes it, and it decides nothing. */
	evr_a64_store_relaxed(counter, evr_a64_load_relaxed(counter) + nr);
}

static void count(struct evr_a64 *counter)
{
	evr_lane_count(counter, 1);
}

const char *evr_ring_state_name(enum evr_ring_state state)
{
	static const char *const names[] = { "ok",	"no peer", "closed", "peer dead",
					     "revoked", "corrupt", "busy",   "expelled" };

	return (unsigned int)state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

int evr_ring_state_error(enum evr_ring_state state)
{
	switch (state) {
	case EVR_RING_OK:
	case EVR_RING_NO_PEER:
	case EVR_RING_BUSY:
		return 0;
	case EVR_RING_CLOSED:
		return -EPIPE;
	case EVR_RING_PEER_DEAD:
		return -EOWNERDEAD;
	case EVR_RING_REVOKED:
		return -ESHUTDOWN;
	case EVR_RING_EXPELLED:
		return -ENOBUFS;
	default:
		return -EBADMSG;
	}
}

/* Has this holder of the other role ended, in whatever way? */
static bool lane_is_over(const struct evr_lane *l, uint64_t u_owner)
{
	return owner_state(u_owner) != OWNER_HELD || owner_is_dead(l->peer, u_owner);
}

static void lane_clear(uint8_t *data, uint64_t sz)
{
	static const uint8_t zeros[64];
	uint64_t off;

	for (off = 0; off < sz; off += sizeof(zeros))
		evr_copy_in(data + off, zeros, sizeof(zeros));
}

void evr_lane_format(struct evr_lane_object *o, const struct evr_lane_geometry *geometry)
{
	struct evr_lane_geometry g = *geometry;

	/* The memory may have served another object. */
	evr_copy_in(o->sides, unused_sides, sizeof(unused_sides));
	g.layout = EVR_LANE_LAYOUT;
	evr_copy_in(&o->geometry, &g, sizeof(g));
}

int evr_lane_make(struct evr_peer *peer, const char *name, uint32_t kind,
		  const struct evr_lane_geometry *geometry, uint64_t data_sz)
{
	struct evr_lane_object *o;
	struct evr_object object;
	int err;

	if (data_sz > UINT64_MAX - sizeof(*o))
		return evr_fail(-EBADMSG, "ring '%s': data_sz is %llu", name,
				(unsigned long long)data_sz);
	err = evr_dir_create_own(peer, name, kind, sizeof(*o) + data_sz, &object);
	if (err)
		return err;
	o = evr_peer_at(peer, object.off, object.sz);
	if (!o) {
		evr_dir_remove(peer, &object);
		return evr_fail(-EBADMSG, "ring '%s': its %llu bytes at %llu are not mapped", name,
				(unsigned long long)object.sz, (unsigned long long)object.off);
	}
	/* Stamps, ready words, seats. */
	if (kind == EVR_KIND_SLOTS || kind == EVR_KIND_INBOX || kind == EVR_KIND_BCAST)
		lane_clear((uint8_t *)(o + 1), data_sz);
	evr_lane_format(o, geometry);
	return evr_dir_publish(peer, &object);
}

int evr_lane_create(struct evr_peer *peer, const char *name, uint32_t kind,
		    const struct evr_lane_geometry *geometry)
{
	return evr_lane_make(peer, name, kind, geometry, geometry->data_sz);
}

/* May the role be taken from its holder? 0: look at the word again; -EBUSY. */
static int lane_evict(struct evr_lane *l, uint64_t owner)
{
	struct evr_peer_id id = owner_id(owner);

	if (!owner_is_dead(l->peer, owner))
		return evr_fail(-EBUSY, "ring '%s': peer %u.%llu is its %s", l->object.name,
				id.slot, (unsigned long long)id.incarnation, role_names[l->role]);
	/* -ESTALE: its slot has gone on; what it held here is settled all the same. */
	if (evr_reap_is_auto(l->peer))
		evr_reap(l->peer, id, NULL);
	if (evr_a64_load_acquire(l->owner) != owner)
		return 0;
	return evr_fail(-EBUSY, "ring '%s': peer %u.%llu died as its %s; evr_reap() it",
			l->object.name, id.slot, (unsigned long long)id.incarnation,
			role_names[l->role]);
}

static int lane_removed(const struct evr_lane *l)
{
	return evr_fail(-ENOENT, "ring '%s' was removed just now", l->object.name);
}

/* Win the owner word. @may: NULL, or as of evr_lane_open_if(). */
static int lane_take(struct evr_lane *l, int (*may)(const struct evr_lane *l))
{
	struct evr_peer_id self = evr_peer_self(l->peer);
	uint64_t owner = evr_a64_load_acquire(l->owner);
	int tries, err;

	if (self.incarnation > OWNER_INCARNATION_MAX || self.slot > 0xff)
		return evr_fail(-EOVERFLOW, "ring '%s': peer %u.%llu does not fit an owner word",
				l->object.name, self.slot, (unsigned long long)self.incarnation);
	for (tries = 0;; tries++) {
		if (tries == TAKES_MAX)
			return evr_fail(-EBUSY, "ring '%s': its %s changes all the time",
					l->object.name, role_names[l->role]);
		if (owner_state(owner) != OWNER_HELD) {
			l->before = owner;
			l->held = owner_next(owner, self);
			err = may ? may(l) : 0;
			if (err)
				return evr_dir_is_current(l->peer, &l->object) ? err :
										 lane_removed(l);
			if (evr_a64_cas(l->owner, &owner, l->held)) /* LANE-ROLE */
				break;
			continue;
		}
		err = lane_evict(l, owner);
		if (err)
			return err;
		owner = evr_a64_load_acquire(l->owner);
	}
	/* Against evr_dir_remove(), which marks the entry and then looks at the owners. */
	evr_fence(); /* DIR-REMOVE */
	if (evr_dir_is_current(l->peer, &l->object))
		return 0;
	evr_lane_abandon(l);
	return lane_removed(l);
}

/* Nobody else gives this memory away while we hold a role. Copy what it says of itself. */
static int lane_map(struct evr_lane *l, uint64_t off)
{
	const struct evr_object *o = &l->object;
	struct evr_lane_object *shared;

	if (o->sz < sizeof(*shared) || off > o->sz - sizeof(*shared))
		return evr_fail(-EBADMSG, "ring '%s': size %llu has no room for a header at %llu",
				o->name, (unsigned long long)o->sz, (unsigned long long)off);
	shared = evr_peer_at(l->peer, o->off + off, o->sz - off);
	if (!shared)
		return evr_fail(-EBADMSG, "ring '%s': offset %llu is not mapped", o->name,
				(unsigned long long)o->off);
	evr_copy_out(&l->geometry, &shared->geometry, sizeof(l->geometry));
	if (l->geometry.layout != EVR_LANE_LAYOUT)
		return evr_fail(-EBADMSG, "ring '%s': layout is %#llx, not %#llx", o->name,
				(unsigned long long)l->geometry.layout, EVR_LANE_LAYOUT);
	l->span = l->geometry.span;
	l->mine = &shared->sides[l->role];
	l->other = &shared->sides[!l->role];
	if (l->far)
		evr_lane_far_unmeet(l);
	/* A consumer reads those of the producer's half. */
	if (l->far && l->role == EVR_CONSUMER)
		return 0;
	if (l->geometry.data_sz > o->sz - off - sizeof(*shared))
		return evr_fail(-EBADMSG, "ring '%s': data_sz %llu is more than the object's %llu",
				o->name, (unsigned long long)l->geometry.data_sz,
				(unsigned long long)o->sz);
	l->data = (uint8_t *)(shared + 1);
	return 0;
}

int evr_lane_open(struct evr_lane *l, struct evr_peer *peer, const char *name, uint32_t kind,
		  enum evr_role role)
{
	return evr_lane_open_if(l, peer, name, kind, role, NULL);
}

int evr_lane_open_if(struct evr_lane *l, struct evr_peer *peer, const char *name, uint32_t kind,
		     enum evr_role role, int (*may)(const struct evr_lane *l))
{
	struct evr_a64 *owners;
	int err;

	memset(l, 0, sizeof(*l));
	l->peer = peer;
	if (role != EVR_PRODUCER && role != EVR_CONSUMER)
		return evr_fail(-EINVAL, "ring '%s': role %d is none", name, (int)role);
	if (!(evr_peer_rights(peer) & EVR_RIGHT_WRITE))
		return evr_fail(-EROFS, "ring '%s': an observer cannot take a role", name);
	l->role = (uint8_t)role;
	if (evr_dir_is_isolated(peer))
		err = evr_lane_far_open(l, name, kind);
	else
		err = evr_dir_find(peer, name, &l->object);
	if (err)
		return err;
	if (l->object.kind != kind)
		return evr_fail(-EINVAL, "'%s' is an object of kind %u, not %u", name,
				l->object.kind, kind);
	owners = evr_dir_owners(peer, &l->object);
	if (!owners || !evr_peer_is_writable(peer, l->object.off, l->object.sz))
		return evr_fail(-EBADMSG, "ring '%s': %llu bytes at %llu cannot be written to",
				name, (unsigned long long)l->object.sz,
				(unsigned long long)l->object.off);
	l->owner = &owners[role];
	l->other_owner = &owners[!role];
	l->calm_step = kind == EVR_KIND_BYTES || kind == EVR_KIND_CHANNEL ? CALM_BYTES :
									    CALM_ELEMENTS;
	err = lane_take(l, may);
	if (!err) {
		err = lane_map(l, 0);
		if (err)
			evr_lane_abandon(l);
	}
	return err;
}

int evr_lane_beside(struct evr_lane *l, const struct evr_lane *first, uint64_t off,
		    enum evr_role role)
{
	memset(l, 0, sizeof(*l));
	l->peer = first->peer;
	l->object = first->object;
	l->owner = first->owner;
	l->other_owner = first->other_owner;
	l->before = first->before;
	l->held = first->held;
	l->calm_step = first->calm_step;
	l->role = (uint8_t)role;
	l->far = first->far;
	l->led = first->led;
	return lane_map(l, off);
}

int evr_lane_view(struct evr_lane *l, struct evr_peer *peer, const struct evr_object *obj,
		  uint64_t off)
{
	memset(l, 0, sizeof(*l));
	l->peer = peer;
	l->object = *obj;
	l->role = EVR_CONSUMER;
	return lane_map(l, off);
}

uint64_t evr_lane_end(const struct evr_lane *l, uint64_t off)
{
	return off + sizeof(struct evr_lane_object) +
	       EVR_ROUND_UP(l->geometry.data_sz, EVR_LINE_SZ);
}

void evr_lane_abandon(struct evr_lane *l)
{
	uint64_t held = l->held;

	evr_a64_cas(l->owner, &held, l->before); /* LANE-ROLE */
	l->mine = NULL;
}

void evr_lane_begin(struct evr_lane *l)
{
	uint64_t word;

	l->pos = evr_a64_load_relaxed(&l->mine->pos); /* it came with the role */
	l->limit = l->pos;
	l->calm_pos = l->pos;
	l->registered = evr_park_register();
	word = evr_a64_load_relaxed(&l->mine->need.word);
	if ((word & EVR_NEED_STATE) == EVR_NEED_ASLEEP)
		evr_a64_store_relaxed(&l->mine->need.word,
				      word >> EVR_NEED_EPOCH_SHIFT << EVR_NEED_EPOCH_SHIFT |
					      EVR_NEED_ALERT);
	count(&l->mine->counts.opens);
}

int evr_lane_start(struct evr_lane *l)
{
	uint64_t word;

	evr_lane_begin(l);
	if (l->far) {
		int err = evr_lane_far_start(l);

		if (err)
			evr_lane_abandon(l);
		return err;
	}
	/* Before the look at the position: what was published before the end is there. */
	word = evr_a64_load_acquire(l->other_owner); /* LANE-ROLE */
	evr_lane_refresh(l);
	if (l->corrupt) {
		evr_lane_abandon(l);
		return -EBADMSG;
	}
	/* What a consumer finds of a former producer comes to an end of its own. */
	if (lane_is_over(l, word) && (l->role == EVR_PRODUCER || !evr_lane_avail(l)))
		l->past = word;
	return 0;
}

void evr_lane_close(struct evr_lane *l)
{
	uint64_t held = l->held;

	if (!l->mine)
		return;
	if (l->far)
		evr_lane_refresh(l);
	/* It fails only when the word is corrupt, or this peer was reaped as dead. */
	evr_a64_cas(l->owner, &held, owner_with(held, OWNER_CLOSED)); /* LANE-ROLE */
	evr_lane_wake(l);
	l->mine = NULL;
	l->limit = l->pos;
}

void evr_lane_forget(struct evr_lane *l)
{
	uint64_t u_owner;

	if (!l->mine)
		return;
	if (l->far) {
		enum evr_ring_state state = evr_lane_state(l);

		if (state == EVR_RING_CLOSED || state == EVR_RING_PEER_DEAD)
			evr_lane_far_part(l);
		return;
	}
	u_owner = evr_a64_load_acquire(l->other_owner);
	if (lane_is_over(l, u_owner))
		l->past = u_owner;
}

void evr_lane_corrupt(struct evr_lane *l, const char *what, uint64_t value)
{
	l->corrupt = true;
	l->limit = l->pos;
	count(&l->mine->counts.corrupt);
	evr_error_set("ring '%s': %s is %llu at the %s's position %llu of span %llu; close it",
		      l->object.name, what, (unsigned long long)value, role_names[l->role],
		      (unsigned long long)l->pos, (unsigned long long)l->span);
}

/*
 * A side that has not parked for long says so: its wakers then omit their barrier,
 * and its next park, that far away, issues the dear one instead.
 */
void evr_lane_calm(struct evr_lane *l)
{
	uint64_t word = evr_a64_load_relaxed(&l->mine->need.word);
	uint64_t epoch = word >> EVR_NEED_EPOCH_SHIFT;

	if (l->registered && epoch == l->calm_epoch && (word & EVR_NEED_STATE) == EVR_NEED_ALERT)
		evr_a64_store_relaxed(&l->mine->need.word,
				      epoch << EVR_NEED_EPOCH_SHIFT | EVR_NEED_AWAKE);
	l->calm_epoch = epoch;
	l->calm_pos = l->pos;
}

uint64_t evr_lane_refresh(struct evr_lane *l)
{
	uint64_t u_pos, distance;

	if (l->corrupt || !l->mine)
		return 0;
	if (!l->far)
		u_pos = evr_a64_load_acquire(&l->other->pos); /* LANE-DATA */
	else if (!evr_lane_far_pos(l, &u_pos))
		return l->limit - l->pos;
	distance = l->role == EVR_PRODUCER ? l->pos - u_pos : u_pos - l->pos;
	if (distance > l->span) {
		evr_lane_corrupt(l, "the other side's position", u_pos);
		return 0;
	}
	l->limit = l->role == EVR_PRODUCER ? u_pos + l->span : u_pos;
	if (l->far && !l->led && l->role == EVR_PRODUCER)
		evr_lane_far_taken(l, u_pos);
	if (l->pos - l->calm_pos >= l->calm_step)
		evr_lane_calm(l);
	return l->limit - l->pos;
}

void evr_lane_wake(struct evr_lane *l)
{
	uint64_t u_owner;
	int bell;

	if (l->far && !l->met) {
		evr_fence(); /* LANE-MEET */
		if (!evr_lane_far_meet(l))
			return;
	}
	bell = evr_need_look(&l->other->need, &l->rung_epoch);
	if (bell < 0)
		return;
	/* After the need word: a new owner has taken the side before it sleeps there. */
	u_owner = evr_a64_load_acquire(l->other_owner);
	if (owner_state(u_owner) != OWNER_HELD)
		return;
	count(&l->mine->counts.rings);
	/* -ESTALE: it died in its sleep. Nobody is there to be woken. */
	evr_bell_ring(l->peer, l->far ? l->other_id : owner_id(u_owner), 1ULL << bell);
}

enum evr_ring_state evr_lane_judge(const struct evr_lane *l, uint64_t u_owner)
{
	if (owner_state(u_owner) == OWNER_FREE)
		return EVR_RING_NO_PEER;
	if (owner_state(u_owner) > OWNER_DEAD)
		return EVR_RING_CORRUPT;
	if (!lane_is_over(l, u_owner))
		return EVR_RING_OK;
	if (owner_same_turn(u_owner, l->past))
		return EVR_RING_NO_PEER;
	return owner_state(u_owner) == OWNER_CLOSED ? EVR_RING_CLOSED : EVR_RING_PEER_DEAD;
}

enum evr_ring_state evr_lane_state(struct evr_lane *l)
{
	enum evr_ring_state state;
	uint64_t u_owner;

	if (l->corrupt)
		return EVR_RING_CORRUPT;
	if (!l->mine)
		return EVR_RING_CLOSED;
	if (!evr_peer_is_live(l->peer, evr_peer_self(l->peer)))
		return EVR_RING_REVOKED;
	if (l->far) {
		state = evr_lane_far_state(l, &u_owner);
		if (state != EVR_RING_OK)
			return state;
	} else {
		u_owner = evr_a64_load_acquire(l->other_owner); /* LANE-ROLE */
	}
	return evr_lane_judge(l, u_owner);
}

/* What a wait is going to tell. */
static void lane_learned(struct evr_lane *l, enum evr_ring_state state)
{
	if (state == EVR_RING_PEER_DEAD)
		evr_reap_learned(l->peer, l->far ? l->other_id :
						   owner_id(evr_a64_load_acquire(l->other_owner)));
}

int evr_lane_check(struct evr_lane *l)
{
	enum evr_ring_state state;
	uint64_t u_owner;

	if (!l->mine)
		return -EPIPE;
	u_owner = evr_a64_load_acquire(l->other_owner);
	if (u_owner == l->seen && !l->corrupt && !l->far)
		return 0;
	state = evr_lane_state(l);
	if (state == EVR_RING_OK)
		l->seen = u_owner;
	lane_learned(l, state);
	return evr_ring_state_error(state);
}

struct evr_peer_id evr_lane_other(const struct evr_lane *l)
{
	uint64_t u_owner = l->mine ? evr_a64_load_acquire(l->other_owner) : OWNER_FREE;

	if (owner_state(u_owner) != OWNER_HELD)
		return (struct evr_peer_id){ .slot = EVR_SLOT_ANY };
	return l->far ? l->other_id : owner_id(u_owner);
}

struct lane_wait {
	struct evr_lane *lane;
	uint64_t (*look)(struct evr_lane *l);
	uint64_t want;
	enum evr_ring_state state;
};

static bool lane_ready(void *arg)
{
	struct lane_wait *wait = arg;

	if (wait->look(wait->lane) >= wait->want)
		return true;
	wait->state = evr_lane_state(wait->lane);
	return evr_ring_state_error(wait->state) != 0;
}

int evr_lane_wait(struct evr_lane *l, struct evr_waiter *w, uint64_t want, uint64_t deadline_ns)
{
	return evr_lane_wait_look(l, w, evr_lane_refresh, want, deadline_ns);
}

int evr_lane_wait_look(struct evr_lane *l, struct evr_waiter *w,
		       uint64_t (*look)(struct evr_lane *l), uint64_t want, uint64_t deadline_ns)
{
	struct lane_wait wait = { .lane = l, .look = look, .want = want };
	uint64_t parks = w->counts.parks;
	struct evr_need *need;
	int err;

	if (!l->mine)
		return evr_fail(-EPIPE, "this end of the ring is closed");
	if (want > l->span)
		return evr_fail(-EMSGSIZE, "ring '%s': %llu wanted, it holds %llu", l->object.name,
				(unsigned long long)want, (unsigned long long)l->span);
	need = &l->mine->need;
	count(&l->mine->counts.blocked);
	err = evr_waiter_wait(w, &need, 1, lane_ready, &wait, deadline_ns);
	if (w->counts.parks != parks)
		count(&l->mine->counts.parks);
	if (err == -EOWNERDEAD)
		return -ESHUTDOWN;
	if (err)
		return err;
	/* The end was seen first, so this look sees all that was published before it. */
	if (look(l) >= want)
		return 0;
	lane_learned(l, wait.state);
	return evr_ring_state_error(evr_lane_state(l) == EVR_RING_CORRUPT ? EVR_RING_CORRUPT :
									    wait.state);
}

void evr_lane_counts(const struct evr_lane *l, enum evr_role role, struct evr_ring_counts *out)
{
	const struct evr_lane_side *side = l->role == role ? l->mine : l->other;
	const struct evr_lane_counts *c;
	uint64_t u_owner;

	*out = (struct evr_ring_counts){ .owner = { .slot = EVR_SLOT_ANY } };
	if (!l->mine)
		return;
	c = &side->counts;
	out->pos = evr_a64_load_relaxed(&side->pos);
	out->opens = evr_a64_load_relaxed(&c->opens);
	out->messages = evr_a64_load_relaxed(&c->messages);
	out->blocked = evr_a64_load_relaxed(&c->blocked);
	out->parks = evr_a64_load_relaxed(&c->parks);
	out->rings = evr_a64_load_relaxed(&c->rings);
	out->corrupt = evr_a64_load_relaxed(&c->corrupt);
	out->lost = evr_a64_load_relaxed(&c->lost);
	u_owner = evr_a64_load_relaxed(l->role == role ? l->owner : l->other_owner);
	if (owner_state(u_owner) == OWNER_HELD)
		out->owner = owner_id(u_owner);
}
