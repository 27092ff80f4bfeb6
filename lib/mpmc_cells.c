/* SPDX-License-Identifier: MIT */
/*
 * The cells of a queue; mpmc.h has what their words mean.
 *
 * A dead peer's claim is settled through a ledger, one for holes and one for losses:
 *
 *   {count:23 | lap:8 | run:8 | idx:24 | 1}   the claim at idx is being settled
 *   {count:23 | 0 .......................}   all are that were begun
 *
 * Whoever begins has loaded the ledger, then found the claim; the CAS that names it
 * there fails if another one was settled in between. Whoever finds it named changes the
 * cells, each by a CAS from what the claim left, the one that was claimed last, and then moves
 * the ledger on by a CAS that adds the run. So each claim is counted once, wherever
 * those who settle it die.
 */
#include <string.h>

#include <evering/mpmc.h>

#include "crowd.h"
#include "dir_table.h"
#include "internal.h"
#include "mpmc.h"

enum { CELL_EMPTY, CELL_WRITING, CELL_FULL, CELL_READING, CELL_HOLE };

#define CELL_STATE 7ULL
#define CELL_VALUE_SHIFT 3
#define CELL_LAP_SHIFT 35
#define LAP_BITS 29
#define LAP_MASK ((1ULL << LAP_BITS) - 1)
#define RUN_MASK 0xffULL
#define STAMP_SHIFT 8

#define LEDGER_OPEN 1ULL
#define LEDGER_IDX_SHIFT 1
#define LEDGER_IDX ((1ULL << 24) - 1)
#define LEDGER_RUN_SHIFT 25
#define LEDGER_LAP_SHIFT 33
#define LEDGER_COUNT_SHIFT 41

/* Steps from one cell to the next after which a search by halves is sooner there. */
#define MPMC_WALK_MAX 16
/* So often passed by others, a call gives up: BUSY. */
#define MPMC_TRIES_MAX 10000
/* So often in one call a cell was of another lap than all around it say. */
#define MPMC_STRAYS_MAX 64

static const uint64_t wanted_states[] = { CELL_EMPTY, CELL_FULL };
static const uint64_t claim_states[] = { CELL_WRITING, CELL_READING };

static inline uint64_t cell_word(uint64_t lap, uint64_t value, uint64_t state)
{
	return lap << CELL_LAP_SHIFT | value << CELL_VALUE_SHIFT | state;
}

static inline uint64_t cell_state(uint64_t word)
{
	return word & CELL_STATE;
}

static inline uint64_t cell_lap(uint64_t word)
{
	return word >> CELL_LAP_SHIFT;
}

static inline uint32_t cell_value(uint64_t word)
{
	return (uint32_t)(word >> CELL_VALUE_SHIFT);
}

static inline uint64_t cell_stamp(uint64_t word)
{
	return cell_value(word) >> STAMP_SHIFT;
}

static inline uint64_t cell_run(uint64_t word)
{
	return cell_value(word) & RUN_MASK;
}

static inline struct evr_a64 *cell_at(const struct evr_mpmc *q, uint64_t pos)
{
	return (struct evr_a64 *)(q->cells + (pos & q->mask) * q->stride);
}

static inline void *data_at(const struct evr_mpmc *q, uint64_t pos)
{
	return q->cells + (pos & q->mask) * q->stride + q->data_off;
}

static inline uint64_t lap_of(const struct evr_mpmc *q, uint64_t pos)
{
	return pos >> q->shift & LAP_MASK;
}

/* a - b, of laps: -2^28 .. 2^28 - 1. */
static inline int32_t lap_diff(uint64_t a, uint64_t b)
{
	return (int32_t)((uint32_t)(a - b) << (32 - LAP_BITS)) >> (32 - LAP_BITS);
}

/* The lap in which this end comes to that cell next. */
static uint64_t cell_turn(enum evr_role role, uint64_t u_word)
{
	uint64_t state = cell_state(u_word);
	bool passed = role == EVR_PRODUCER ? state != CELL_EMPTY : state == CELL_READING;

	return (cell_lap(u_word) + passed) & LAP_MASK;
}

/* Of the last cell that this end has passed, in the order of positions. */
static uint64_t last_passed(const struct evr_mpmc *q, enum evr_role role)
{
	uint64_t lo = 0, hi = q->mask + 1, mid, turn;
	uint64_t first = cell_turn(role, evr_a64_load_acquire(cell_at(q, 0)));

	while (hi - lo > 1) {
		mid = (lo + hi) / 2;
		turn = cell_turn(role, evr_a64_load_acquire(cell_at(q, mid))); /* MPMC-CELL */
		if (lap_diff(turn, first) >= 0)
			lo = mid;
		else
			hi = mid;
	}
	return ((first - 1) & LAP_MASK) << q->shift | lo;
}

void evr_mpmc_search(struct evr_mpmc *q, enum evr_role role)
{
	q->ends[role].pos = last_passed(q, role);
}

static inline bool is_claim(enum evr_role role, uint64_t u_word)
{
	return cell_state(u_word) == claim_states[role];
}

/* How far the claim, or whatever passed it, reaches that this end finds at a position. */
static uint64_t passed_nr(enum evr_role role, uint64_t u_word, uint64_t lap)
{
	return is_claim(role, u_word) && cell_lap(u_word) == lap ? cell_run(u_word) : 1;
}

uint64_t evr_mpmc_front_pos(const struct evr_mpmc *q, enum evr_role role)
{
	uint64_t pos = last_passed(q, role);
	uint64_t u_word = evr_a64_load_acquire(cell_at(q, pos));

	return (pos + passed_nr(role, u_word, lap_of(q, pos))) & ((LAP_MASK << q->shift) | q->mask);
}

enum verdict {
	CELL_IS_READY,
	CELL_IS_NOT,
	CELL_IS_PASSED,
	CELL_IS_CLAIMED,
	CELL_IS_HOLE,
	CELL_IS_ASTRAY,
	CELL_IS_NONSENSE
};

/* What this word says to an end that comes to its cell in @lap. */
static inline enum verdict cell_judge(const struct evr_mpmc *q, enum evr_role role, uint64_t u_word,
				      uint64_t lap)
{
	uint64_t state = cell_state(u_word);
	int32_t ahead = lap_diff(cell_lap(u_word), lap);
	bool is_behind = ahead == (role == EVR_PRODUCER ? -1 : 0);

	if (__builtin_expect(u_word == cell_word(lap, 0, CELL_EMPTY), 1))
		return role == EVR_PRODUCER ? CELL_IS_READY : CELL_IS_NOT;
	if (role == EVR_CONSUMER && !ahead && state == CELL_FULL)
		return CELL_IS_READY;
	if (state > CELL_HOLE || (!q->data_off && state != CELL_EMPTY && state != CELL_FULL))
		return CELL_IS_NONSENSE;
	if ((state == CELL_WRITING || state == CELL_READING) &&
	    cell_run(u_word) - 1 > (q->mask < MPMC_RUN_MAX - 1 ? q->mask : MPMC_RUN_MAX - 1))
		return CELL_IS_NONSENSE;
	if (ahead == 1 || (!ahead && (role == EVR_PRODUCER || state == CELL_READING)))
		return CELL_IS_PASSED;
	if (is_behind && state == CELL_HOLE)
		return CELL_IS_HOLE;
	if (is_behind && (state == CELL_WRITING || state == CELL_READING))
		return CELL_IS_CLAIMED;
	/* Full; or the cell is still read in the lap before. */
	if (ahead == -1 && state == (role == EVR_PRODUCER ? CELL_FULL : CELL_READING))
		return CELL_IS_NOT;
	return CELL_IS_ASTRAY;
}

/* The next lap's cell, over what was dropped there. */
static void cell_pass(struct evr_mpmc *q, uint64_t pos, uint64_t u_word)
{
	uint64_t next = cell_word((cell_lap(u_word) + 1) & LAP_MASK, 0, CELL_EMPTY);

	evr_a64_cas(cell_at(q, pos), &u_word, next); /* MPMC-CELL */
}

static bool claim_is_dead(const struct evr_mpmc *q, uint64_t u_word)
{
	return evr_dir_stamp_is_dead(q->peer, cell_stamp(u_word));
}

enum mpmc_front evr_mpmc_front(struct evr_mpmc *q, enum evr_role role, uint64_t *u_word)
{
	struct evr_mpmc_end *end = &q->ends[role];
	uint32_t tries, walked = 0, strays = 0;
	enum evr_role holder;
	uint64_t lap;

	for (tries = 0; tries < MPMC_TRIES_MAX; tries++) {
		lap = lap_of(q, end->pos);
		*u_word = evr_a64_load_acquire(cell_at(q, end->pos)); /* MPMC-CELL */
		switch (cell_judge(q, role, *u_word, lap)) {
		case CELL_IS_READY:
			return MPMC_READY;
		case CELL_IS_NOT:
			return MPMC_NONE;
		case CELL_IS_PASSED:
			end->pos += passed_nr(role, *u_word, lap);
			if (++walked % MPMC_WALK_MAX == 0)
				evr_mpmc_search(q, role);
			break;
		case CELL_IS_ASTRAY:
			if (++strays > MPMC_STRAYS_MAX)
				return MPMC_NONSENSE;
			evr_mpmc_search(q, role);
			break;
		case CELL_IS_HOLE:
			cell_pass(q, end->pos, *u_word);
			break;
		case CELL_IS_CLAIMED:
			if (!claim_is_dead(q, *u_word))
				return MPMC_BUSY;
			holder = is_claim(EVR_PRODUCER, *u_word) ? EVR_PRODUCER : EVR_CONSUMER;
			evr_mpmc_drop(q, holder, end->pos & q->mask, false);
			break;
		case CELL_IS_NONSENSE:
			return MPMC_NONSENSE;
		}
	}
	return MPMC_BUSY;
}

/* One cell of a claim that is being settled, but its first. */
static void cell_drop(struct evr_mpmc *q, enum evr_role role, uint64_t pos)
{
	uint64_t lap = lap_of(q, pos), full = cell_word(lap, 0, CELL_FULL);
	uint64_t u_word = evr_a64_load_acquire(cell_at(q, pos));

	if (role == EVR_CONSUMER) {
		if (u_word == full)
			evr_a64_cas(cell_at(q, pos), &u_word,
				    cell_word((lap + 1) & LAP_MASK, 0, CELL_EMPTY));
	} else if (u_word == full || u_word == cell_word(lap, 0, CELL_EMPTY)) {
		evr_a64_cas(cell_at(q, pos), &u_word, cell_word(lap, 0, CELL_HOLE));
	}
}

/* Do what the ledger says, unless it is done. */
static void ledger_finish(struct evr_mpmc *q, enum evr_role role, uint64_t u_ledger)
{
	uint64_t idx = u_ledger >> LEDGER_IDX_SHIFT & LEDGER_IDX & q->mask;
	uint64_t run = u_ledger >> LEDGER_RUN_SHIFT & RUN_MASK;
	uint64_t u_word = evr_a64_load_acquire(cell_at(q, idx)); /* MPMC-CELL */
	uint64_t lap = cell_lap(u_word), pos = lap << q->shift | idx, dropped, i;

	if (is_claim(role, u_word) && cell_run(u_word) == run && run && run - 1 <= q->mask &&
	    (lap & 0xff) == (u_ledger >> LEDGER_LAP_SHIFT & 0xff)) {
		for (i = run; --i;)
			cell_drop(q, role, pos + i);
		dropped = role == EVR_PRODUCER ? cell_word(lap, 0, CELL_HOLE) :
						 cell_word((lap + 1) & LAP_MASK, 0, CELL_EMPTY);
		evr_a64_cas(cell_at(q, idx), &u_word, dropped); /* MPMC-CELL */
	}
	evr_a64_cas(&q->shared->ledgers[role], &u_ledger,
		    ((u_ledger >> LEDGER_COUNT_SHIFT) + run) << LEDGER_COUNT_SHIFT);
}

uint32_t evr_mpmc_drop(struct evr_mpmc *q, enum evr_role role, uint64_t idx, bool is_ours)
{
	struct evr_a64 *ledger = &q->shared->ledgers[role];
	uint64_t u_ledger, u_word, next;
	int tries;

	for (tries = 0; tries < MPMC_TRIES_MAX; tries++) {
		u_ledger = evr_a64_load_acquire(ledger); /* MPMC-LEDGER */
		if (u_ledger & LEDGER_OPEN) {
			ledger_finish(q, role, u_ledger);
			continue;
		}
		u_word = evr_a64_load_acquire(cell_at(q, idx)); /* MPMC-LEDGER */
		if (!is_claim(role, u_word))
			return 0;
		if (is_ours ? cell_stamp(u_word) != q->stamp : !claim_is_dead(q, u_word))
			return 0;
		next = u_ledger | (cell_lap(u_word) & 0xff) << LEDGER_LAP_SHIFT |
		       cell_run(u_word) << LEDGER_RUN_SHIFT | idx << LEDGER_IDX_SHIFT | LEDGER_OPEN;
		if (!evr_a64_cas(ledger, &u_ledger, next)) /* MPMC-LEDGER */
			continue;
		ledger_finish(q, role, next);
		return (uint32_t)cell_run(u_word);
	}
	return 0;
}

uint32_t evr_mpmc_drop_dead(struct evr_mpmc *q)
{
	uint64_t idx, u_word;
	uint32_t nr = 0;
	int role;

	for (role = 0; role < 2; role++) {
		u_word = evr_a64_load_acquire(&q->shared->ledgers[role]);
		if (u_word & LEDGER_OPEN)
			ledger_finish(q, (enum evr_role)role, u_word);
	}
	if (!q->data_off)
		return 0;
	for (idx = 0; idx <= q->mask; idx++) {
		u_word = evr_a64_load_acquire(cell_at(q, idx));
		for (role = 0; role < 2; role++)
			if (is_claim((enum evr_role)role, u_word) && claim_is_dead(q, u_word))
				nr += evr_mpmc_drop(q, (enum evr_role)role, idx, false);
	}
	return nr;
}

uint64_t evr_mpmc_dropped(const struct evr_mpmc *q, enum evr_role role)
{
	return evr_a64_load_acquire(&q->shared->ledgers[role]) >> LEDGER_COUNT_SHIFT;
}

static bool mpmc_is_shut(struct evr_mpmc *q)
{
	if (!q->shared || q->why == EVR_RING_CORRUPT)
		return true;
	q->why = EVR_RING_OK;
	return false;
}

/* Say why nothing can be claimed. */
static void mpmc_stop(struct evr_mpmc *q, enum evr_role role, enum mpmc_front front,
		      uint64_t u_word)
{
	if (front == MPMC_BUSY)
		q->why = EVR_RING_BUSY;
	if (front != MPMC_NONSENSE)
		return;
	q->why = EVR_RING_CORRUPT;
	evr_a64_fetch_add(&q->shared->tallies.corrupt, 1);
	evr_error_set("queue '%s': cell %llu is %#llx; close the handle", q->object.name,
		      (unsigned long long)(q->ends[role].pos & q->mask),
		      (unsigned long long)u_word);
}

/* How many cells from the front on are free, or full; the first is. */
static uint32_t cells_extent(const struct evr_mpmc *q, enum evr_role role, uint64_t pos,
			     uint32_t nr)
{
	uint32_t run;

	for (run = 1; run < nr; run++)
		if (evr_a64_load_acquire(cell_at(q, pos + run)) != /* MPMC-CELL */
		    cell_word(lap_of(q, pos + run), 0, wanted_states[role]))
			break;
	return run;
}

/* Claim up to @nr cells from *pos on. Return: how many. */
static inline uint32_t cells_claim(struct evr_mpmc *q, enum evr_role role, uint32_t nr,
				   uint64_t *pos)
{
	struct evr_mpmc_end *end = &q->ends[role];
	enum mpmc_front front = MPMC_BUSY;
	uint64_t u_word = 0, word;
	uint32_t run;
	int tries;

	if (nr > MPMC_RUN_MAX)
		nr = MPMC_RUN_MAX;
	if (nr > q->mask + 1)
		nr = (uint32_t)q->mask + 1;
	for (tries = 0; tries < MPMC_TRIES_MAX; tries++) {
		front = evr_mpmc_front(q, role, &u_word);
		if (front != MPMC_READY)
			break;
		run = cells_extent(q, role, end->pos, nr);
		word = cell_word(lap_of(q, end->pos), q->stamp << STAMP_SHIFT | run,
				 claim_states[role]);
		if (evr_a64_cas(cell_at(q, end->pos), &u_word, word)) { /* MPMC-CELL */
			*pos = end->pos;
			end->pos += run;
			return run;
		}
		front = MPMC_BUSY;
	}
	mpmc_stop(q, role, front, u_word);
	return 0;
}

/* End a claim: the last cell first, see mpmc.h. */
static inline void cells_settle(struct evr_mpmc *q, enum evr_role role, uint64_t pos, uint32_t run)
{
	uint64_t lap;

	while (run--) {
		lap = lap_of(q, pos + run);
		if (role == EVR_PRODUCER)
			evr_a64_store_release(cell_at(q, pos + run), /* MPMC-CELL */
					      cell_word(lap, 0, CELL_FULL));
		else
			evr_a64_store_release(cell_at(q, pos + run), /* MPMC-CELL */
					      cell_word((lap + 1) & LAP_MASK, 0, CELL_EMPTY));
	}
}

static void mpmc_wake(struct evr_mpmc *q, enum evr_role whom, uint32_t nr)
{
	struct evr_mpmc_end *end = &q->ends[whom];
	uint32_t rung = evr_crowd_wake(q->peer, end->waiting, &end->waker, nr);

	if (rung)
		evr_a64_fetch_add(&q->shared->tallies.rings[!whom], rung);
}

/*
 * After @nr cells went over to the other end: wake who waits for them. And wake the next
 * of this end, if there is more: it may have been rung while a cell before was at work.
 */
static inline void mpmc_moved(struct evr_mpmc *q, enum evr_role role, uint32_t nr)
{
	struct evr_mpmc_end *mine = &q->ends[role], *other = &q->ends[!role];
	uint64_t u_word;

	if (__builtin_expect(evr_crowd_is_alert(other->waiting, &other->waker), 0))
		mpmc_wake(q, (enum evr_role) !role, nr);
	if (__builtin_expect(evr_crowd_is_alert(mine->waiting, &mine->waker), 0) &&
	    evr_mpmc_front(q, role, &u_word) == MPMC_READY)
		mpmc_wake(q, role, 1);
}

/* One element of up to 4 bytes: it is there with the claim. */
static bool word_move(struct evr_mpmc *q, enum evr_role role, uint32_t *value)
{
	struct evr_mpmc_end *end = &q->ends[role];
	enum mpmc_front front = MPMC_BUSY;
	uint64_t u_word = 0, lap, next;
	int tries;

	for (tries = 0; tries < MPMC_TRIES_MAX; tries++) {
		front = evr_mpmc_front(q, role, &u_word);
		if (front != MPMC_READY)
			break;
		lap = lap_of(q, end->pos);
		next = role == EVR_PRODUCER ? cell_word(lap, *value, CELL_FULL) :
					      cell_word((lap + 1) & LAP_MASK, 0, CELL_EMPTY);
		if (evr_a64_cas(cell_at(q, end->pos), &u_word, next)) { /* MPMC-CELL */
			*value = cell_value(u_word);
			end->pos++;
			return true;
		}
		front = MPMC_BUSY;
	}
	mpmc_stop(q, role, front, u_word);
	return false;
}

static uint32_t push_words(struct evr_mpmc *q, const uint8_t *from, uint32_t nr)
{
	uint32_t done, value;

	for (done = 0; done < nr; done++, from += q->elem_sz) {
		value = 0;
		memcpy(&value, from, q->elem_sz);
		if (!word_move(q, EVR_PRODUCER, &value))
			break;
	}
	return done;
}

static uint32_t pop_words(struct evr_mpmc *q, uint8_t *to, uint32_t nr)
{
	uint32_t done, value;

	for (done = 0; done < nr; done++, to += q->elem_sz) {
		if (!word_move(q, EVR_CONSUMER, &value))
			break;
		memcpy(to, &value, q->elem_sz);
	}
	return done;
}

static uint32_t push_run(struct evr_mpmc *q, const uint8_t *from, uint32_t nr)
{
	uint64_t pos = 0;
	uint32_t run = cells_claim(q, EVR_PRODUCER, nr, &pos), i;

	/* With the size a constant a copy is a move. */
	if (q->elem_sz == 8)
		for (i = 0; i < run; i++)
			evr_copy_in(data_at(q, pos + i), from + (size_t)i * 8, 8);
	else
		for (i = 0; i < run; i++)
			evr_copy_in(data_at(q, pos + i), from + (size_t)i * q->elem_sz, q->elem_sz);
	cells_settle(q, EVR_PRODUCER, pos, run);
	return run;
}

static uint32_t pop_run(struct evr_mpmc *q, uint8_t *to, uint32_t nr)
{
	uint64_t pos = 0;
	uint32_t run = cells_claim(q, EVR_CONSUMER, nr, &pos), i;

	if (q->elem_sz == 8)
		for (i = 0; i < run; i++)
			evr_copy_out(to + (size_t)i * 8, data_at(q, pos + i), 8);
	else
		for (i = 0; i < run; i++)
			evr_copy_out(to + (size_t)i * q->elem_sz, data_at(q, pos + i), q->elem_sz);
	cells_settle(q, EVR_CONSUMER, pos, run);
	return run;
}

uint32_t evr_mpmc_push(struct evr_mpmc *queue, const void *elems, uint32_t nr)
{
	const uint8_t *from = elems;
	uint32_t done = 0, run;

	if (mpmc_is_shut(queue))
		return 0;
	while (done < nr) {
		run = queue->data_off ? push_run(queue, from, nr - done) :
					push_words(queue, from, nr - done);
		if (!run)
			break;
		done += run;
		from += (size_t)run * queue->elem_sz;
		mpmc_moved(queue, EVR_PRODUCER, run);
	}
	return done;
}

uint32_t evr_mpmc_pop(struct evr_mpmc *queue, void *elems, uint32_t nr)
{
	uint32_t done = 0, run;
	uint8_t *to = elems;

	if (mpmc_is_shut(queue))
		return 0;
	while (done < nr) {
		run = queue->data_off ? pop_run(queue, to, nr - done) :
					pop_words(queue, to, nr - done);
		if (!run)
			break;
		done += run;
		to += (size_t)run * queue->elem_sz;
		mpmc_moved(queue, EVR_CONSUMER, run);
	}
	return done;
}

static void *grant_get(struct evr_mpmc *q, enum evr_role role)
{
	struct evr_mpmc_end *end = &q->ends[role];

	if (mpmc_is_shut(q) || !q->data_off)
		return NULL;
	if (!end->granted)
		end->granted = cells_claim(q, role, 1, &end->grant) == 1;
	return end->granted ? data_at(q, end->grant) : NULL;
}

static void grant_settle(struct evr_mpmc *q, enum evr_role role)
{
	struct evr_mpmc_end *end = &q->ends[role];

	if (!q->shared || !end->granted)
		return;
	end->granted = false;
	cells_settle(q, role, end->grant, 1);
	mpmc_moved(q, role, 1);
}

void *evr_mpmc_reserve(struct evr_mpmc *queue)
{
	return grant_get(queue, EVR_PRODUCER);
}

void evr_mpmc_commit(struct evr_mpmc *queue)
{
	grant_settle(queue, EVR_PRODUCER);
}

void evr_mpmc_cancel(struct evr_mpmc *queue)
{
	struct evr_mpmc_end *end = &queue->ends[EVR_PRODUCER];

	if (!queue->shared || !end->granted)
		return;
	end->granted = false;
	evr_mpmc_drop(queue, EVR_PRODUCER, end->grant & queue->mask, true);
	mpmc_moved(queue, EVR_PRODUCER, 1);
}

const void *evr_mpmc_peek(struct evr_mpmc *queue)
{
	return grant_get(queue, EVR_CONSUMER);
}

void evr_mpmc_release(struct evr_mpmc *queue)
{
	grant_settle(queue, EVR_CONSUMER);
}
