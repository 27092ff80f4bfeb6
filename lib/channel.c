/* SPDX-License-Identifier: MIT */
/* Channels: making, holding and leaving an endpoint. channel.h has the protocol. */
#include <errno.h>
#include <string.h>

#include <evering/channel.h>
#include <evering/reap.h>

#include "channel.h"
#include "dir.h"
#include "heap_own.h"
#include "internal.h"
#include "lane.h"
#include "reap.h"

#define CHANNEL_CAPACITY (64U << 10)
#define CHANNEL_URGENT_CAPACITY 4096
#define CHANNEL_INLINE_MAX 1024
/* A frame has room for a header and a handle with its size at least. */
#define INLINE_MIN 32

static const struct evr_channel_end unused_ends[2];

static const struct evr_a64 *other_owner(const struct evr_channel *ch)
{
	return ch->rx[CHANNEL_NORMAL].lane.other_owner;
}

/* Has this holder of the other role ended, in whatever way? */
static bool is_over(struct evr_peer *peer, uint64_t u_owner)
{
	return owner_state(u_owner) != OWNER_HELD || owner_is_dead(peer, u_owner);
}

int evr_channel_error(enum evr_ring_state state)
{
	return state == EVR_RING_NO_PEER ? -ENOTCONN : evr_ring_state_error(state);
}

struct plan {
	struct evr_lane_geometry lanes[2]; /* normal, urgent */
	struct evr_channel_geometry geometry;
};

static int plan_fill(struct plan *c, const char *name, const struct evr_channel_options *o)
{
	uint64_t inline_max = o->inline_max ? o->inline_max : CHANNEL_INLINE_MAX;
	uint64_t capacity = o->capacity ? o->capacity : CHANNEL_CAPACITY;
	uint64_t urgent = o->urgent_capacity ? o->urgent_capacity : CHANNEL_URGENT_CAPACITY;
	uint64_t frame_max =
		sizeof(struct channel_header) + (inline_max < INLINE_MIN ? INLINE_MIN : inline_max);
	int err;

	memset(c, 0, sizeof(*c));
	if (inline_max > UINT64_MAX / 2)
		return evr_fail(-EINVAL, "channel '%s': inline_max %llu", name,
				(unsigned long long)inline_max);
	err = evr_bytes_geometry(name, capacity, frame_max, &c->lanes[CHANNEL_NORMAL]);
	if (!err)
		err = evr_bytes_geometry(name, urgent, frame_max, &c->lanes[CHANNEL_URGENT]);
	if (err)
		return err;
	c->geometry.layout = EVR_CHANNEL_LAYOUT;
	c->geometry.inline_max = inline_max;
	c->geometry.window_messages = o->window_messages ? o->window_messages : UINT64_MAX;
	c->geometry.window_bytes = o->window_bytes ? o->window_bytes : UINT64_MAX;
	c->geometry.type_tag = o->type_tag;
	if (!o->heap)
		return 0;
	if (!*o->heap || strlen(o->heap) >= sizeof(c->geometry.heap))
		return evr_fail(-EINVAL, "channel '%s': '%s' is no name of a heap", name, o->heap);
	memcpy(c->geometry.heap, o->heap, strlen(o->heap));
	return 0;
}

static uint64_t lane_room(const struct evr_lane_geometry *g)
{
	return sizeof(struct evr_lane_object) + EVR_ROUND_UP(g->data_sz, EVR_LINE_SZ);
}

int evr_channel_create(struct evr_peer *peer, const char *name,
		       const struct evr_channel_options *options)
{
	struct evr_channel_options o;
	bool isolated = evr_dir_is_isolated(peer);
	struct evr_channel_tail *tail;
	struct evr_object object;
	struct plan c;
	uint8_t *at;
	uint64_t sz;
	int err, k;

	err = evr_options_read(&o, sizeof(o), options, "evr_channel_options");
	if (!err)
		err = plan_fill(&c, name, &o);
	if (err)
		return err;
	sz = 2 * (lane_room(&c.lanes[0]) + lane_room(&c.lanes[1])) + sizeof(*tail);
	if (isolated)
		sz += evr_channel_far_sz();
	err = evr_dir_create_own(peer, name, EVR_KIND_CHANNEL, sz, &object);
	if (err)
		return err;
	at = evr_peer_at(peer, object.off, object.sz);
	if (!at) {
		evr_dir_remove(peer, &object);
		return evr_fail(-EBADMSG, "channel '%s': its %llu bytes at %llu are not mapped",
				name, (unsigned long long)object.sz,
				(unsigned long long)object.off);
	}
	for (k = 0; k < 2 * CHANNEL_STREAMS; k++) {
		evr_lane_format((struct evr_lane_object *)at, &c.lanes[k / 2]);
		at += lane_room(&c.lanes[k / 2]);
	}
	tail = (struct evr_channel_tail *)at;
	evr_copy_in(tail->ends, unused_ends, sizeof(unused_ends));
	evr_copy_in(&tail->geometry, &c.geometry, sizeof(c.geometry));
	if (isolated)
		evr_channel_far_format((uint8_t *)(tail + 1));
	return evr_dir_publish(peer, &object);
}

/* Is this what the plan would make? */
static bool plan_fits(const struct plan *c, struct evr_peer *peer, const struct evr_object *object)
{
	struct evr_bytes streams[2 * CHANNEL_STREAMS] = { 0 };
	struct evr_channel_geometry g;
	struct evr_lane_geometry lane;
	int k;

	if (!evr_channel_view(peer, object, streams, &g) || memcmp(&g, &c->geometry, sizeof(g)))
		return false;
	for (k = 0; k < 2 * CHANNEL_STREAMS; k++) {
		lane = c->lanes[k / 2];
		lane.layout = EVR_LANE_LAYOUT;
		if (memcmp(&lane, &streams[k].lane.geometry, sizeof(lane)))
			return false;
	}
	return true;
}

/* A name's turns go on when its half is made anew: none of the old half is one of the new. */
static void turns_go_on(struct evr_peer *peer, const char *name, const uint64_t *last)
{
	struct evr_object object;
	struct evr_a64 *owners;
	int role;

	if (!evr_dir_find_in(peer, evr_peer_self(peer), name, &object))
		return;
	owners = evr_dir_owners(peer, &object);
	for (role = 0; owners && role < 2; role++)
		if (owner_state(last[role]) != OWNER_FREE)
			evr_a64_store_release(&owners[role], owner_with(last[role], OWNER_CLOSED));
}

int evr_channel_have_half(struct evr_peer *peer, const char *name,
			  const struct evr_channel_options *options, bool replace)
{
	uint64_t last[2] = { OWNER_FREE, OWNER_FREE };
	struct evr_channel_options o;
	const struct evr_a64 *owners;
	struct evr_object object;
	struct plan c;
	int err;

	err = evr_options_read(&o, sizeof(o), options, "evr_channel_options");
	if (!err)
		err = plan_fill(&c, name, &o);
	if (err)
		return err;
	if (evr_dir_find_in(peer, evr_peer_self(peer), name, &object)) {
		if (object.kind != EVR_KIND_CHANNEL)
			return evr_fail(-EEXIST, "this peer has an object '%s' that is no channel",
					name);
		if (plan_fits(&c, peer, &object))
			return 0;
		if (!replace)
			return evr_fail(-EINVAL, "this peer has another channel '%s'", name);
		owners = evr_dir_owners(peer, &object);
		last[0] = owners ? evr_a64_load_acquire(&owners[0]) : OWNER_FREE;
		last[1] = owners ? evr_a64_load_acquire(&owners[1]) : OWNER_FREE;
		err = evr_dir_remove(peer, &object);
	}
	if (!err)
		err = evr_channel_create(peer, name, options);
	if (!err)
		turns_go_on(peer, name, last);
	return err;
}

/* The tail came from memory that others write. */
static int tail_map(struct evr_channel *ch, enum evr_channel_role role, uint64_t off,
		    uint64_t type_tag)
{
	const struct evr_object *o = &ch->rx[0].lane.object;
	struct evr_channel_geometry *g = &ch->geometry;
	struct evr_channel_tail *tail;
	int k;

	if (o->sz < sizeof(*tail) || off > o->sz - sizeof(*tail))
		return evr_fail(-EBADMSG, "channel '%s': size %llu has no room for a tail at %llu",
				o->name, (unsigned long long)o->sz, (unsigned long long)off);
	tail = evr_peer_at(ch->peer, o->off + off, sizeof(*tail));
	if (!tail)
		return evr_fail(-EBADMSG, "channel '%s': its tail at %llu is not mapped", o->name,
				(unsigned long long)(o->off + off));
	evr_copy_out(g, &tail->geometry, sizeof(*g));
	if (g->layout != EVR_CHANNEL_LAYOUT)
		return evr_fail(-EBADMSG, "channel '%s': layout is %#llx, not %#llx", o->name,
				(unsigned long long)g->layout, EVR_CHANNEL_LAYOUT);
	for (k = 0; k < CHANNEL_STREAMS; k++)
		if (g->inline_max > ch->tx[k].frame_max - sizeof(struct channel_header))
			return evr_fail(-EBADMSG,
					"channel '%s': inline_max is %llu, a frame has %llu",
					o->name, (unsigned long long)g->inline_max,
					(unsigned long long)ch->tx[k].frame_max);
	if (type_tag && g->type_tag && type_tag != g->type_tag)
		return evr_fail(-EINVAL, "channel '%s': type_tag is %#llx, not %#llx", o->name,
				(unsigned long long)g->type_tag, (unsigned long long)type_tag);
	if (g->heap[sizeof(g->heap) - 1])
		return evr_fail(-EBADMSG, "channel '%s': the name of its heap has no end", o->name);
	ch->mine = &tail->ends[role];
	ch->other = &tail->ends[!role];
	return evr_dir_is_isolated(ch->peer) ? evr_channel_far_begin(ch, off) : 0;
}

/* All lanes after the one that took the role, and the tail. */
static int channel_map(struct evr_channel *ch, enum evr_channel_role role, uint64_t type_tag)
{
	const struct evr_lane *first = &channel_stream(ch, role, 0)->lane;
	struct evr_bytes *stream;
	uint64_t off = 0;
	int err = 0, k;

	for (k = 0; k < 2 * CHANNEL_STREAMS; k++) {
		stream = channel_stream(ch, role, k);
		if (k)
			err = evr_lane_beside(&stream->lane, first, off,
					      k % 2 == (int)role ? EVR_PRODUCER : EVR_CONSUMER);
		if (!err)
			err = evr_bytes_begin(stream);
		if (err)
			return err;
		if (stream->frame_max < sizeof(struct channel_header) + INLINE_MIN)
			return evr_fail(-EBADMSG, "channel '%s': frame_max of lane %d is %llu",
					first->object.name, k,
					(unsigned long long)stream->frame_max);
		off = evr_lane_end(&stream->lane, off);
	}
	return tail_map(ch, role, off, type_tag);
}

/* May we come after the last holder of our role, as the other end sees it? */
static int may_follow(const struct evr_lane *first, const struct evr_channel_end *mine,
		      const struct evr_channel_end *other)
{
	uint64_t u_owner = evr_a64_load_acquire(first->other_owner);
	uint64_t before = first->before;
	uint64_t u_link = evr_a64_load_acquire(&other->link); /* CHAN-MEET */
	uint64_t u_past = evr_a64_load_relaxed(&other->past);
	uint64_t last = evr_a64_load_relaxed(&mine->link); /* of the last holder */

	if (is_over(first->peer, u_owner))
		return 0;
	if (!(channel_link_is_of(u_link, u_owner) && !channel_link_is_free(u_link)) &&
	    !(channel_link_is_of(last, before) && owner_same_turn(last, u_owner) &&
	      !(channel_link_is_of(u_past, u_owner) && owner_same_turn(u_past, before))))
		return 0;
	return evr_fail(-EBUSY, "channel '%s': peer %u at the other end has not let go of the last",
			first->object.name, owner_id(u_owner).slot);
}

/*
 * Before the role is taken, too: who dies with it, and has not begun, hides the last holder from
 * the other end, and from the next. What the last one has sent must have been heard by then.
 */
static int channel_may_take(const struct evr_lane *first)
{
	struct evr_bytes streams[2 * CHANNEL_STREAMS] = { 0 };
	const struct evr_channel_tail *tail;
	struct evr_channel_geometry u_g;
	int role = first->role == EVR_PRODUCER ? EVR_CHANNEL_A : EVR_CHANNEL_B;

	tail = evr_channel_view(first->peer, &first->object, streams, &u_g);
	/* What is wrong with it is said once it is ours. */
	return tail ? may_follow(first, &tail->ends[role], &tail->ends[!role]) : 0;
}

/* What is still there of former sessions nobody has recovered. -EBADMSG */
static int stream_skip(struct evr_channel *ch, struct evr_bytes *stream)
{
	/* Nobody can send to us before our link says that we are there. */
	const struct channel_burial b = {
		.peer = ch->peer,
		.heap = ch->geometry.heap,
		.u_link = evr_a64_load_acquire(&ch->other->link), /* CHAN-MEET */
	};
	struct evr_lane *l = &stream->lane;
	struct evr_frame_view view;
	uint64_t nr = 0;

	evr_lane_refresh(l);
	while (evr_lane_avail(l) && evr_bytes_look(stream, l->pos, evr_lane_avail(l), &view)) {
		evr_channel_bury(&b, &view);
		l->pos += view.span;
		nr++;
	}
	if (evr_lane_avail(l))
		evr_lane_corrupt(l, "a frame of a former session", l->pos);
	if (l->corrupt)
		return -EBADMSG;
	stream->frames += nr;
	evr_bytes_flush(stream);
	channel_count(&ch->mine->counts.received, nr);
	channel_count(&ch->mine->counts.dropped, nr);
	return 0;
}

/* Blocks of another peer are read without a handle of its heap. */
static bool takes_blocks(const struct evr_channel *ch)
{
	return ch->far ? *ch->geometry.heap : !!ch->recv_heap;
}

/* Nothing is sent, received, granted or shut in this session. */
static void session_reset(struct evr_channel *ch)
{
	if (ch->far)
		evr_channel_far_reset(ch);
	ch->sent_messages = 0;
	ch->sent_bytes = 0;
	ch->credit_until = 0;
	ch->released_messages = 0;
	ch->released_bytes = 0;
	ch->shut_send = false;
	ch->shut_recv = false;
	evr_a64_store_relaxed(&ch->mine->shut, takes_blocks(ch) ? EVR_CHANNEL_BLOCKS : 0);
	evr_a64_store_relaxed(&ch->mine->released, 0);
	evr_a64_store_relaxed(&ch->mine->credit_messages, ch->window_messages);
	evr_a64_store_relaxed(&ch->mine->credit_bytes, ch->window_bytes);
	/* Whoever comes sees all of it, and that we are there for anybody. */
	evr_a64_store_release(&ch->mine->link, channel_link(0, channel_self(ch))); /* CHAN-MEET */
	if (ch->far)
		evr_channel_far_announce(ch);
}

static int channel_begin(struct evr_channel *ch)
{
	uint64_t u_owner;
	int err;

	ch->window_messages = ch->geometry.window_messages;
	ch->window_bytes = ch->geometry.window_bytes;
	if (ch->far) {
		session_reset(ch);
		return 0;
	}
	err = may_follow(&ch->rx[0].lane, ch->mine, ch->other);
	if (!err)
		err = stream_skip(ch, &ch->rx[CHANNEL_NORMAL]);
	if (!err)
		err = stream_skip(ch, &ch->rx[CHANNEL_URGENT]);
	if (err)
		return err;
	evr_channel_bury_past(ch);
	u_owner = evr_a64_load_acquire(other_owner(ch)); /* LANE-ROLE */
	if (is_over(ch->peer, u_owner))
		ch->past = u_owner;
	session_reset(ch);
	evr_channel_wake(ch);
	return 0;
}

int evr_channel_open_on(struct evr_channel *ch, struct evr_peer *peer, const char *name,
			const struct channel_terms *terms)
{
	enum evr_channel_role role = terms->role;
	struct evr_lane *first;
	int err;

	memset(ch, 0, sizeof(*ch));
	if (role != EVR_CHANNEL_A && role != EVR_CHANNEL_B)
		return evr_fail(-EINVAL, "channel '%s': role %d is none", name, (int)role);
	ch->peer = peer;
	ch->role = (uint8_t)role;
	if (evr_dir_is_isolated(peer)) {
		err = evr_channel_far_prepare(peer, name);
		if (err)
			return err;
	}
	first = &channel_stream(ch, role, 0)->lane;
	err = evr_lane_open_if(first, peer, name, EVR_KIND_CHANNEL,
			       role == EVR_CHANNEL_A ? EVR_PRODUCER : EVR_CONSUMER,
			       evr_dir_is_isolated(peer) ? NULL : channel_may_take);
	if (err)
		return err;
	first->led = first->far;
	err = channel_map(ch, role, terms->type_tag);
	if (!err && ch->far)
		evr_channel_far_terms(ch, terms);
	if (!err)
		err = channel_begin(ch);
	if (err) {
		evr_lane_abandon(first);
		evr_channel_far_fini(ch);
		ch->mine = NULL;
	}
	return err;
}

int evr_channel_open(struct evr_channel *ch, struct evr_peer *peer, const char *name,
		     enum evr_channel_role role, uint64_t type_tag)
{
	const struct channel_terms terms = { .role = role,
					     .type_tag = type_tag,
					     .other = { .slot = EVR_SLOT_ANY } };

	return evr_channel_open_on(ch, peer, name, &terms);
}

/* Is it a handle of the heap that the channel was made with? */
static int heap_check(const struct evr_channel *ch, const struct evr_heap *heap)
{
	const char *name = ch->geometry.heap;

	if (!heap || (*name && heap->own && !strcmp(name, heap->own->map.object.name) &&
		      (!ch->far || heap->own->map.writable)))
		return 0;
	return evr_fail(-EINVAL, "channel '%s': its heap is '%s', not '%s'",
			ch->rx[0].lane.object.name, name,
			heap->own ? heap->own->map.object.name : "a closed one");
}

int evr_channel_bind(struct evr_channel *ch, struct evr_heap *send, struct evr_heap *recv)
{
	int err;

	if (!ch->mine)
		return evr_fail(-EPIPE, "this end of the channel is closed");
	err = heap_check(ch, send);
	if (!err)
		err = heap_check(ch, recv);
	if (err)
		return err;
	ch->send_heap = send;
	if (ch->far) {
		evr_channel_unlend_past(ch);
		return 0;
	}
	ch->recv_heap = recv;
	if (recv)
		evr_a64_fetch_or(&ch->mine->shut, EVR_CHANNEL_BLOCKS);
	else
		evr_a64_fetch_and(&ch->mine->shut, ~(uint64_t)EVR_CHANNEL_BLOCKS);
	evr_channel_wake(ch);
	return 0;
}

uint64_t evr_channel_meet(struct evr_channel *ch)
{
	uint64_t partner = evr_a64_load_relaxed(&ch->partner);
	uint64_t self = channel_self(ch);
	uint64_t u_owner, u_link;

	if (partner)
		return partner;
	u_owner = evr_a64_load_acquire(other_owner(ch)); /* LANE-ROLE */
	if (owner_state(u_owner) == OWNER_FREE || owner_state(u_owner) > OWNER_DEAD ||
	    owner_same_turn(u_owner, ch->past))
		return 0;
	u_link = evr_a64_load_acquire(&ch->other->link); /* CHAN-MEET */
	if (!channel_link_is_of(u_link, u_owner) ||
	    (!channel_link_is_free(u_link) && !owner_same_turn(u_link, self)))
		return 0;
	if (!evr_a64_cas(&ch->partner, &partner, owner_with(u_owner, OWNER_HELD)))
		return partner; /* our other thread was faster */
	partner = owner_with(u_owner, OWNER_HELD);
	evr_a64_store_release(&ch->mine->link, channel_link(partner, self));
	evr_fence(); /* CHAN-MEET */
	if (owner_same_turn(evr_a64_load_acquire(other_owner(ch)), partner))
		return partner;
	/* It has gone, and the next has come without having seen our link. */
	evr_a64_store_release(&ch->mine->link, channel_link(0, self));
	evr_a64_store_relaxed(&ch->partner, 0);
	return 0;
}

enum evr_ring_state evr_channel_look(struct evr_channel *ch, struct evr_bytes *streams)
{
	uint64_t partner, u_owner;

	if (!ch->mine)
		return EVR_RING_CLOSED;
	if (streams && (streams[0].lane.corrupt || streams[1].lane.corrupt))
		evr_a32_store_relaxed(&ch->corrupt, 1);
	if (evr_a32_load_relaxed(&ch->corrupt))
		return EVR_RING_CORRUPT;
	if (!evr_peer_is_live(ch->peer, evr_peer_self(ch->peer)))
		return EVR_RING_REVOKED;
	if (ch->far)
		return evr_channel_far_state(ch, streams);
	partner = evr_channel_meet(ch);
	u_owner = evr_a64_load_acquire(other_owner(ch)); /* LANE-ROLE */
	if (owner_state(u_owner) > OWNER_DEAD)
		return EVR_RING_CORRUPT;
	if (!partner)
		return EVR_RING_NO_PEER;
	/* It came and went, and another has come: of whom we know nothing yet. */
	if (!owner_same_turn(u_owner, partner))
		return EVR_RING_CLOSED;
	if (!is_over(ch->peer, u_owner))
		return EVR_RING_OK;
	return owner_state(u_owner) == OWNER_CLOSED ? EVR_RING_CLOSED : EVR_RING_PEER_DEAD;
}

enum evr_ring_state evr_channel_state(struct evr_channel *ch)
{
	return evr_channel_look(ch, NULL);
}

static struct evr_peer_id owner_id_or_none(uint64_t u_owner)
{
	if (owner_state(u_owner) != OWNER_HELD)
		return (struct evr_peer_id){ .slot = EVR_SLOT_ANY };
	return owner_id(u_owner);
}

struct evr_peer_id evr_channel_other(const struct evr_channel *ch)
{
	uint64_t u_owner;

	if (ch->far)
		return owner_id_or_none(evr_a64_load_acquire(&ch->partner));
	u_owner = ch->mine ? evr_a64_load_acquire(other_owner(ch)) : OWNER_FREE;
	return owner_id_or_none(u_owner);
}

void evr_channel_wake(struct evr_channel *ch)
{
	int k;

	for (k = 0; k < CHANNEL_STREAMS; k++) {
		evr_lane_wake(&ch->tx[k].lane);
		evr_lane_wake(&ch->rx[k].lane);
	}
}

/* The session is over. Does nothing when there is none. */
static void session_end(struct evr_channel *ch)
{
	uint64_t partner = evr_a64_load_relaxed(&ch->partner);

	if (!partner)
		return;
	evr_channel_recover(ch);
	evr_channel_drop(ch);
	if (ch->far)
		evr_channel_unlend_all(ch);
	else
		evr_channel_drop_staged(ch);
	ch->past = partner;
	evr_a64_store_relaxed(&ch->mine->past, channel_link(partner, channel_self(ch)));
	evr_a64_store_relaxed(&ch->partner, 0);
}

/* For who runs alone. */
static enum evr_ring_state look_both(struct evr_channel *ch)
{
	evr_channel_look(ch, ch->rx);
	return evr_channel_look(ch, ch->tx);
}

/* Does the other end live, and may it still do something in this session? */
static bool session_lasts(struct evr_channel *ch, uint64_t partner)
{
	uint64_t u_owner;

	/* Whom nobody trusts anyway does not keep us by nonsense. */
	if (ch->far)
		return look_both(ch) == EVR_RING_OK;
	u_owner = evr_a64_load_acquire(other_owner(ch)); /* LANE-ROLE */
	return owner_same_turn(u_owner, partner) && !is_over(ch->peer, u_owner);
}

int evr_channel_forget(struct evr_channel *ch)
{
	uint64_t partner;

	if (!ch->mine)
		return evr_fail(-EPIPE, "this end of the channel is closed");
	/* Enters a session that the other end has begun with us: what it has sent may have been received. */
	look_both(ch);
	partner = evr_a64_load_relaxed(&ch->partner);
	if (!partner)
		return 0;
	if (session_lasts(ch, partner))
		return evr_fail(-EBUSY, "channel '%s': peer %u is at the other end",
				ch->rx[0].lane.object.name, owner_id(partner).slot);
	session_end(ch);
	evr_a32_store_relaxed(&ch->corrupt, ch->far ? 0 : evr_a32_load_relaxed(&ch->corrupt));
	session_reset(ch);
	return 0;
}

void evr_channel_close(struct evr_channel *ch)
{
	enum evr_ring_state state;
	uint64_t link;
	int k;

	if (!ch->mine)
		return;
	evr_channel_cancel(ch);
	/* Enters a session that somebody else has begun with us. */
	state = look_both(ch);
	if (state == EVR_RING_CLOSED || state == EVR_RING_PEER_DEAD ||
	    (ch->far && state == EVR_RING_CORRUPT))
		session_end(ch);
	else
		evr_channel_drop(ch);
	if (ch->far) {
		evr_channel_collect(ch);
		evr_channel_far_refuse(ch);
	}
	link = evr_a64_load_relaxed(&ch->mine->link);
	for (k = 0; k < CHANNEL_STREAMS; k++) {
		evr_lane_close(&ch->tx[k].lane);
		evr_lane_close(&ch->rx[k].lane);
	}
	if (ch->far)
		evr_dir_turn(ch->peer); /* CHAN-MEET */
	else
		evr_channel_bury_closed(ch, link);
	evr_channel_far_fini(ch);
	ch->mine = NULL;
}

uint32_t evr_channel_needs(struct evr_channel *ch, struct evr_need **needs)
{
	int k;

	if (!ch->mine)
		return 0;
	for (k = 0; k < CHANNEL_STREAMS; k++) {
		needs[2 * k] = &ch->rx[k].lane.mine->need;
		needs[2 * k + 1] = &ch->tx[k].lane.mine->need;
	}
	return EVR_CHANNEL_NEEDS;
}

void evr_channel_learned(struct evr_channel *ch)
{
	uint64_t partner = evr_a64_load_relaxed(&ch->partner);

	if (ch->mine && partner && owner_is_dead(ch->peer, partner))
		evr_reap_learned(ch->peer, owner_id(partner));
}

int evr_channel_waited(struct evr_channel *ch, int err)
{
	if (err == -EOWNERDEAD)
		return -ESHUTDOWN;
	if (!err)
		evr_channel_learned(ch);
	return err;
}

void evr_channel_counts(const struct evr_channel *ch, struct evr_channel_counts *out)
{
	const struct evr_channel_end_counts *c;
	int i;

	memset(out, 0, sizeof(*out));
	if (!ch->mine)
		return;
	for (i = 0; i < 2; i++) {
		c = i == ch->role ? &ch->mine->counts : &channel_other_end(ch)->counts;
		out->ends[i].sent = evr_a64_load_relaxed(&c->sent);
		out->ends[i].sent_bytes = evr_a64_load_relaxed(&c->sent_bytes);
		out->ends[i].urgent = evr_a64_load_relaxed(&c->urgent);
		out->ends[i].full = evr_a64_load_relaxed(&c->full);
		out->ends[i].blocks = evr_a64_load_relaxed(&c->blocks);
		out->ends[i].no_credit = evr_a64_load_relaxed(&c->no_credit);
		out->ends[i].no_memory = evr_a64_load_relaxed(&c->no_memory);
		out->ends[i].recovered = evr_a64_load_relaxed(&c->recovered);
		out->ends[i].lost = evr_a64_load_relaxed(&c->lost);
		out->ends[i].received = evr_a64_load_relaxed(&c->received);
		out->ends[i].received_bytes = evr_a64_load_relaxed(&c->received_bytes);
		out->ends[i].dropped = evr_a64_load_relaxed(&c->dropped);
		out->ends[i].stale = evr_a64_load_relaxed(&c->stale);
	}
}
