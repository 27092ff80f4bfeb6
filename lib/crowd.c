/* SPDX-License-Identifier: MIT */
/*
 * Crowds; crowd.h has the model.
 *
 * Why no wake-up gets lost. To sit: seat, slot bit, state (an RMW each), barrier, look
 * for work. To wake: publish, barrier, slot bits, seats, ring. With both barriers one of
 * the two looks sees the other's store. A waker without one has seen AWAKE; then who
 * sits made state PENDING after that, and bars all processors before its look: the
 * waker's publication lies before that bar, or its look at state after it.
 *
 * ALERT, which spares the next to sit the dear barrier, is written only after such a bar
 * with state not AWAKE all the while. AWAKE is written by a waker that has seen
 * the state, then no slot bit, and by a CAS from that state: each who sits down changes it.
 *
 * A slot bit is taken away by who finds no seat taken there. It looks once more
 * afterwards, and puts the bit back: wakers that came between have missed it, so it rings.
 */
#include "crowd.h"

#include <evering/bell.h>

#include "backend.h"

#define HALF_BELLS 31
#define SEAT_BELLS ((1ULL << HALF_BELLS) - 1)
#define SEAT_LIFE_SHIFT 32
#define SLOT_WORDS (EVR_PEERS_MAX / 64)
/* Looks for nobody that cost as much as the barrier they would have been spared. */
#define CROWD_IDLE_MAX 65536
/* Only this peer's own threads and wakers write a seat: more has met nonsense. */
#define CROWD_TRIES_MAX 1000

static uint64_t seat_life(uint64_t incarnation)
{
	return incarnation << SEAT_LIFE_SHIFT;
}

static bool seat_is_of(uint64_t u_seat, uint64_t incarnation)
{
	return u_seat >> SEAT_LIFE_SHIFT << SEAT_LIFE_SHIFT == seat_life(incarnation);
}

static struct evr_a64 *seat_at(struct evr_crowd *crowd, uint32_t slot, uint32_t half)
{
	return &crowd->seats[slot].half[half];
}

static struct evr_a64 *slot_word(struct evr_crowd *crowd, uint32_t slot)
{
	return &crowd->slots[slot / 64];
}

/* The bells of those of a living peer that sit; nobody of the others. */
static uint64_t seats_taken(struct evr_peer *peer, struct evr_crowd *crowd, uint32_t slot,
			    struct evr_peer_id *id)
{
	uint64_t u_seat, bells = 0;
	uint32_t half;

	id->slot = slot;
	if (peer->ops->state(peer, slot, &id->incarnation) != EVR_PEER_LIVE)
		return 0;
	for (half = 0; half < 2; half++) {
		u_seat = evr_a64_load_acquire(seat_at(crowd, slot, half)); /* PARK */
		if (seat_is_of(u_seat, id->incarnation))
			bells |= (u_seat & SEAT_BELLS) << half * HALF_BELLS;
	}
	return bells;
}

uint32_t evr_crowd_sitting(struct evr_peer *peer, struct evr_crowd *crowd)
{
	uint32_t slot, nr = 0;
	struct evr_peer_id id;

	for (slot = 0; slot < peer->segment->layout.peers_max; slot++)
		nr += (uint32_t)__builtin_popcountll(seats_taken(peer, crowd, slot, &id));
	return nr;
}

/* Take up to @nr sitters of one half off their seats: no other waker rings them too. */
static uint64_t seat_call(struct evr_a64 *seat, uint64_t incarnation, uint32_t nr)
{
	uint64_t u_seat = evr_a64_load_acquire(seat), left, bells;
	uint32_t tries, i;

	for (tries = 0; tries < CROWD_TRIES_MAX; tries++) {
		if (!seat_is_of(u_seat, incarnation) || !(u_seat & SEAT_BELLS))
			return 0;
		left = u_seat & SEAT_BELLS;
		for (i = 0; left && i < nr; i++)
			left &= left - 1;
		bells = (u_seat & SEAT_BELLS) & ~left;
		if (evr_a64_cas(seat, &u_seat, u_seat & ~bells)) /* PARK */
			return bells;
	}
	return 0;
}

/* Return: how many were rung. */
static uint32_t slot_wake(struct evr_peer *peer, struct evr_crowd *crowd, uint32_t slot,
			  uint32_t nr)
{
	struct evr_peer_id id;
	uint64_t bells = 0;
	uint32_t half;

	if (!seats_taken(peer, crowd, slot, &id))
		return 0;
	for (half = 0; half < 2; half++)
		bells |= seat_call(seat_at(crowd, slot, half), id.incarnation,
				   nr - (uint32_t)__builtin_popcountll(bells))
			 << half * HALF_BELLS;
	/* -ESTALE: it died in its sleep; its death wakes the others. */
	if (!bells || evr_bell_ring(peer, id, bells))
		return 0;
	return (uint32_t)__builtin_popcountll(bells);
}

static bool crowd_is_empty(struct evr_crowd *crowd)
{
	uint64_t bits = 0;
	uint32_t i;

	for (i = 0; i < SLOT_WORDS; i++)
		bits |= evr_a64_load_acquire(&crowd->slots[i]); /* PARK */
	return !bits;
}

/* Nobody has slept for long: let wakers go by without a look, until somebody sits down. */
static void crowd_calm(struct evr_crowd *crowd, struct evr_crowd_waker *waker)
{
	uint64_t state;

	if (++waker->idle < CROWD_IDLE_MAX)
		return;
	waker->idle = 0;
	state = evr_a64_load_acquire(&crowd->state);
	if ((state & CROWD_MODE) == CROWD_ALERT && crowd_is_empty(crowd))
		evr_a64_cas(&crowd->state, &state, (state & ~CROWD_MODE) | CROWD_AWAKE);
}

uint32_t evr_crowd_wake(struct evr_peer *peer, struct evr_crowd *crowd,
			struct evr_crowd_waker *waker, uint32_t nr)
{
	uint32_t slots = peer->segment->layout.peers_max;
	uint32_t i, slot, rung = 0;

	evr_fence(); /* PARK */
	if (crowd_is_empty(crowd)) {
		crowd_calm(crowd, waker);
		return 0;
	}
	waker->idle = 0;
	for (i = 0; i < slots && rung < nr; i++) {
		slot = (waker->next + i) % slots;
		if (evr_a64_load_acquire(slot_word(crowd, slot)) >> slot % 64 & 1)
			rung += slot_wake(peer, crowd, slot, nr - rung);
	}
	waker->next = (waker->next + i) % slots;
	return rung;
}

bool evr_crowd_sit(struct evr_peer *peer, struct evr_crowd *crowd, int bell, uint64_t *state)
{
	struct evr_peer_id self = evr_peer_self(peer);
	struct evr_a64 *seat = seat_at(crowd, self.slot, (uint32_t)bell / HALF_BELLS);
	uint64_t bit = 1ULL << bell % HALF_BELLS, u_state, mode;
	uint64_t u_seat = evr_a64_load_acquire(seat);
	int tries;

	for (tries = 0; tries < CROWD_TRIES_MAX; tries++)
		if (evr_a64_cas(seat, &u_seat, /* PARK */
				seat_is_of(u_seat, self.incarnation) ?
					u_seat | bit :
					seat_life(self.incarnation) | bit))
			break;
	evr_a64_fetch_or(slot_word(crowd, self.slot), 1ULL << self.slot % 64);
	u_state = evr_a64_load_acquire(&crowd->state);
	for (tries = 0; tries < CROWD_TRIES_MAX; tries++) {
		mode = (u_state & CROWD_MODE) == CROWD_ALERT ? CROWD_ALERT : CROWD_PENDING;
		*state = ((u_state + CROWD_EPOCH) & ~CROWD_MODE) | mode;
		if (evr_a64_cas(&crowd->state, &u_state, *state)) /* PARK */
			return mode != CROWD_ALERT;
	}
	return true;
}

void evr_crowd_barred(struct evr_crowd *crowd, uint64_t state)
{
	/*
	 * From what it was before the barrier: what is PENDING now may be so since after it,
	 * with an AWAKE in between. A failure leaves it to who has sat down meanwhile.
	 */
	if ((state & CROWD_MODE) == CROWD_PENDING)
		evr_a64_cas(&crowd->state, &state, (state & ~CROWD_MODE) | CROWD_ALERT);
}

/* If nobody of that slot sits, take its bit away. */
static void slot_leave(struct evr_peer *peer, struct evr_crowd *crowd, uint32_t slot)
{
	uint64_t bit = 1ULL << slot % 64, bells;
	struct evr_peer_id id;

	if (seats_taken(peer, crowd, slot, &id))
		return;
	evr_a64_fetch_and(slot_word(crowd, slot), ~bit);
	evr_fence(); /* PARK */
	bells = seats_taken(peer, crowd, slot, &id);
	if (!bells)
		return;
	evr_a64_fetch_or(slot_word(crowd, slot), bit);
	evr_bell_ring(peer, id, bells);
}

void evr_crowd_stand(struct evr_peer *peer, struct evr_crowd *crowd, int bell)
{
	struct evr_peer_id self = evr_peer_self(peer);
	struct evr_a64 *seat = seat_at(crowd, self.slot, (uint32_t)bell / HALF_BELLS);
	uint64_t bit = 1ULL << bell % HALF_BELLS;
	uint64_t u_seat = evr_a64_load_acquire(seat);
	int tries;

	for (tries = 0; tries < CROWD_TRIES_MAX; tries++)
		if (!seat_is_of(u_seat, self.incarnation) || !(u_seat & bit) ||
		    evr_a64_cas(seat, &u_seat, u_seat & ~bit))
			break;
	slot_leave(peer, crowd, self.slot);
}

void evr_crowd_settle(struct evr_peer *peer, struct evr_crowd *crowd)
{
	uint32_t slot;

	for (slot = 0; slot < peer->segment->layout.peers_max; slot++)
		if (evr_a64_load_acquire(slot_word(crowd, slot)) >> slot % 64 & 1)
			slot_leave(peer, crowd, slot);
}
