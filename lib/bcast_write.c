/* SPDX-License-Identifier: MIT */
/*
 * The writing end of a broadcast; include/evering/bcast.h has the model.
 *
 *     base = the first element that will still be whole, release      BCAST-WINDOW
 *     release fence: before the elements
 *     elements
 *     pos, release                                                     LANE-DATA
 *
 * A writer that dies in between leaves base ahead: what it had begun to overwrite is lost
 * to all readers, and nobody sees what it had not published. Its successor writes over it.
 */
#include <errno.h>
#include <string.h>

#include <evering/bell.h>

#include "bcast.h"
#include "internal.h"
#include "lane.h"

/* The part of a lossy ring that one step overwrites: readers keep the rest. */
#define STEPS_OF_RING 4

void evr_bcast_wake(struct evr_bcast *b)
{
	if (b->far)
		evr_bcast_far_wake(b);
	if (!b->readers || !evr_crowd_is_alert(b->readers, &b->waker))
		return;
	evr_lane_count(&b->lane.mine->counts.rings,
		       evr_crowd_wake(b->lane.peer, b->readers, &b->waker, UINT32_MAX));
}

/* How far the writer may go for this seat, whose owner word says HELD. */
static uint64_t seat_limit(struct evr_bcast *b, uint32_t i, uint64_t owner)
{
	struct evr_bcast_seat *seat = &b->seats[i];
	struct evr_lane *l = &b->lane;
	uint64_t u_pos;

	/* Not before we know where it begins. */
	if (evr_a64_load_acquire(&seat->side.partner) != owner) /* BCAST-SEAT */
		return l->limit;
	u_pos = evr_a64_load_acquire(&seat->side.pos); /* LANE-DATA */
	if (l->pos - u_pos <= l->span)
		return u_pos + l->span;
	/* One that died has been left behind. */
	if (owner_is_dead(l->peer, owner))
		return l->pos + l->span;
	evr_lane_count(&l->mine->counts.corrupt, 1);
	evr_error_set("broadcast '%s': a subscriber's position is %llu at the writer's %llu",
		      l->object.name, (unsigned long long)u_pos, (unsigned long long)l->pos);
	evr_bcast_unseat(b, i, owner);
	return l->pos + l->span;
}

void evr_bcast_gate(struct evr_bcast *b, uint64_t want)
{
	struct evr_lane *l = &b->lane;
	uint64_t limit = l->pos + l->span, at, owner;
	uint32_t i;

	if (l->pos - l->calm_pos >= l->calm_step)
		evr_lane_calm(l);
	evr_fence(); /* BCAST-SEAT */
	if (b->far) {
		evr_bcast_far_gate(b);
		return;
	}
	for (i = 0; i < b->seats_nr; i++) {
		owner = evr_a64_load_acquire(&b->seats[i].owner);
		if (owner_state(owner) != OWNER_HELD)
			continue;
		at = seat_limit(b, i, owner);
		/* Nobody asks for the death of one that is not in the way. */
		if (at - l->pos < limit - l->pos &&
		    (at - l->pos >= want || !owner_is_dead(l->peer, owner)))
			limit = at;
	}
	l->limit = limit;
}

/* How many of @nr can be written in one step. */
static uint32_t write_room(struct evr_bcast *b, uint32_t nr)
{
	struct evr_lane *l = &b->lane;
	uint64_t room = l->span > STEPS_OF_RING ? l->span / STEPS_OF_RING : 1;

	if (!l->mine || l->role != EVR_PRODUCER)
		return 0;
	if (b->seats_nr || b->far) {
		if (evr_lane_avail(l) < nr)
			evr_bcast_gate(b, nr);
		room = evr_lane_avail(l);
	}
	return nr < room ? nr : (uint32_t)room;
}

/* Say that what lies in the way of the next @nr elements is whole no more. */
static void write_begin(struct evr_bcast *b, uint32_t nr)
{
	struct evr_lane *l = &b->lane;

	if (l->pos + nr - b->base <= l->span)
		return;
	b->base = l->pos + nr - l->span;
	/* Release: who sees it also sees the positions before it, which are not less. */
	evr_a64_store_release(&l->mine->base, b->base); /* BCAST-WINDOW */
	evr_fence_release(); /* BCAST-WINDOW */
}

static void write_end(struct evr_bcast *b, uint32_t nr)
{
	b->lane.pos += nr;
	evr_a64_store_release(&b->lane.mine->pos, b->lane.pos); /* LANE-DATA */
}

static void write_step(struct evr_bcast *b, const uint8_t *elems, uint32_t nr)
{
	uint64_t pos = b->lane.pos;
	uint64_t first = b->mask + 1 - (pos & b->mask);

	write_begin(b, nr);
	if (first > nr)
		first = nr;
	evr_copy_in(evr_bcast_at(b, pos), elems, first * b->elem_sz);
	if (first < nr)
		evr_copy_in(b->lane.data, elems + first * b->elem_sz, (nr - first) * b->elem_sz);
	write_end(b, nr);
}

uint32_t evr_bcast_push(struct evr_bcast *b, const void *elems, uint32_t nr)
{
	uint32_t done, step;

	b->grant_nr = 0;
	for (done = 0; done < nr; done += step) {
		step = write_room(b, nr - done);
		if (!step)
			break;
		write_step(b, (const uint8_t *)elems + (uint64_t)done * b->elem_sz, step);
	}
	if (done)
		evr_bcast_wake(b);
	return done;
}

void *evr_bcast_reserve(struct evr_bcast *b, uint32_t *nr)
{
	uint32_t room = write_room(b, *nr);
	uint64_t first = b->mask + 1 - (b->lane.pos & b->mask);

	*nr = room < first ? room : (uint32_t)first;
	b->grant_nr = *nr;
	if (!*nr)
		return NULL;
	write_begin(b, *nr);
	return evr_bcast_at(b, b->lane.pos);
}

void evr_bcast_commit(struct evr_bcast *b, uint32_t nr)
{
	if (nr > b->grant_nr)
		nr = b->grant_nr;
	b->grant_nr = 0;
	if (!nr || !b->lane.mine || b->lane.role != EVR_PRODUCER)
		return;
	write_end(b, nr);
	evr_bcast_wake(b);
}

void evr_bcast_patience(struct evr_bcast *b, uint64_t ns)
{
	b->patience_ns = ns;
}

int evr_bcast_expel(struct evr_bcast *b, struct evr_peer_id subscriber)
{
	struct evr_peer_id id;
	uint64_t owner;
	uint32_t i;
	int nr = 0;

	if (!b->lane.mine || b->lane.role != EVR_PRODUCER)
		return 0;
	if (b->far)
		return evr_bcast_far_expel(b, subscriber);
	for (i = 0; i < b->seats_nr; i++) {
		owner = evr_a64_load_acquire(&b->seats[i].owner);
		id = owner_id(owner);
		if (owner_state(owner) == OWNER_HELD && id.slot == subscriber.slot &&
		    id.incarnation == subscriber.incarnation)
			nr += evr_bcast_unseat(b, i, owner);
	}
	return nr;
}

/* A seat that is in the way, and how far it lets us go. */
struct slow {
	uint32_t at; /* UINT32_MAX: none is */
	uint64_t owner, limit;
};

static struct slow slowest(struct evr_bcast *b)
{
	struct slow slow = { .at = UINT32_MAX, .limit = b->lane.pos + b->lane.span };
	uint64_t owner, at;
	uint32_t i;

	for (i = 0; i < b->seats_nr; i++) {
		owner = evr_a64_load_acquire(&b->seats[i].owner);
		if (owner_state(owner) != OWNER_HELD || owner_is_dead(b->lane.peer, owner))
			continue;
		at = seat_limit(b, i, owner);
		if (at - b->lane.pos < slow.limit - b->lane.pos)
			slow = (struct slow){ i, owner, at };
	}
	return slow;
}

static bool room_ready(void *arg)
{
	struct evr_bcast *b = arg;

	evr_bcast_gate(b, 1);
	return evr_lane_avail(&b->lane) || evr_ring_state_error(evr_bcast_state(b));
}

/* One wait, and the end of patience with who is in the way all the time. */
static int room_wait_slice(struct evr_bcast *b, struct evr_waiter *w, uint64_t deadline_ns)
{
	struct evr_need *need = &b->lane.mine->need;
	struct slow before = slowest(b), now;
	uint64_t until_ns = deadline_ns, now_ns = evr_now_ns();
	int err;

	if (b->patience_ns < EVR_NO_DEADLINE - now_ns && now_ns + b->patience_ns < until_ns)
		until_ns = now_ns + b->patience_ns;
	if (b->far)
		evr_bcast_far_watch(b, false);
	err = evr_waiter_wait(w, &need, 1, room_ready, b, until_ns);
	if (err != -ETIMEDOUT || until_ns == deadline_ns)
		return err;
	if (b->far) {
		evr_bcast_far_watch(b, true);
		return -EAGAIN;
	}
	now = slowest(b);
	if (now.at != UINT32_MAX && now.at == before.at && now.owner == before.owner &&
	    now.limit == before.limit)
		evr_bcast_unseat(b, now.at, now.owner);
	return -EAGAIN;
}

static int room_wait(struct evr_bcast *b, struct evr_waiter *w, uint64_t deadline_ns)
{
	struct evr_lane_counts *counts = &b->lane.mine->counts;
	uint64_t parks = w->counts.parks;
	int err;

	evr_lane_count(&counts->blocked, 1);
	do {
		err = room_wait_slice(b, w, deadline_ns);
	} while (err == -EAGAIN);
	if (w->counts.parks != parks)
		evr_lane_count(&counts->parks, 1);
	if (err == -EOWNERDEAD)
		return -ESHUTDOWN;
	return err ? err : evr_ring_state_error(evr_bcast_state(b));
}

/* The last look after a wait that failed: room that came with the deadline is taken. */
int evr_bcast_push_wait(struct evr_bcast *b, struct evr_waiter *waiter, const void *elems,
			uint32_t nr, uint64_t deadline_ns)
{
	uint32_t done = 0;
	int err = 0;

	if (!b->lane.mine || b->lane.role != EVR_PRODUCER)
		return evr_fail(-EPIPE, "this handle of the broadcast is %s",
				b->lane.mine ? "a reader's" : "closed");
	for (;;) {
		done += evr_bcast_push(b, (const uint8_t *)elems + (uint64_t)done * b->elem_sz,
				       nr - done);
		if (done == nr || err)
			return done ? (int)done : err;
		err = room_wait(b, waiter, deadline_ns);
	}
}
