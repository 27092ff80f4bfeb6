/* SPDX-License-Identifier: MIT */
/*
 * What the dead have claimed of a queue; mpmc.h has what the words mean.
 *
 * A dead peer's claim is settled through a ledger, one for holes and one for losses:
 *
 *   {count:23 | run:8 | pos:32 | 1}   the claim at that position is being settled
 *   {count:23 | 0 ...............}   all are that were begun
 *
 * Whoever begins has loaded the ledger, then found the claim; the CAS that names it
 * there fails if another one was settled in between. That it is a dead one's was seen
 * before the claim was looked at for the last time, so its owner has not ended it either.
 * Whoever finds it named changes the cells, each by a CAS from what the claim left, the one
 * that was claimed last, and then moves the ledger on by a CAS that adds the run. So each
 * claim is counted once, wherever those who settle it die. Who comes so late that the cell
 * has another claim by then sees another lap there: the position says as much of it as the
 * cell itself, or goes 2^32 elements far.
 */
#include "mpmc_cell.h"

#define LEDGER_OPEN 1ULL
#define LEDGER_POS_SHIFT 1
#define LEDGER_RUN_SHIFT 33
#define LEDGER_COUNT_SHIFT 41

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
	uint32_t named = (uint32_t)(u_ledger >> LEDGER_POS_SHIFT);
	uint64_t idx = named & q->mask, run = u_ledger >> LEDGER_RUN_SHIFT & RUN_MASK;
	uint64_t u_word = evr_a64_load_acquire(cell_at(q, idx)); /* MPMC-CELL */
	uint64_t lap = cell_lap(u_word), pos = lap << q->shift | idx, dropped, i;

	if (is_claim(role, u_word) && cell_run(u_word) == run && run && run - 1 <= q->mask &&
	    (uint32_t)pos == named) {
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
	uint64_t u_ledger, u_word, pos, next;
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
		/* It may have ended the claim after we saw it and before it died. */
		if (evr_a64_load_acquire(cell_at(q, idx)) != u_word) /* MPMC-LEDGER */
			continue;
		pos = cell_lap(u_word) << q->shift | idx;
		next = u_ledger | cell_run(u_word) << LEDGER_RUN_SHIFT |
		       (pos & UINT32_MAX) << LEDGER_POS_SHIFT | LEDGER_OPEN;
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
