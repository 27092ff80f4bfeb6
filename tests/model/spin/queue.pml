/* SPDX-License-Identifier: MIT */
/*
 * A queue of many with what the dead have claimed: two cells, claims of one or two elements,
 * producers and consumers that die between any two steps, and reapers that die too. Whoever
 * is left settles what is there, empties the queue and fills it once more.
 *
 *	here			lib/
 *	LOAD, CAS		the word of a cell in mpmc_cell.h
 *	front			evr_mpmc_front(), cell_judge(), passed_nr() in mpmc_cells.c
 *	pass			cell_pass() in mpmc_cells.c
 *	claim			cells_claim(), stretch_extent() in mpmc_cells.c
 *	push, pop		push_run(), pop_run(), stretch_settle() in mpmc_cells.c
 *	cell_drop		cell_drop() in mpmc_ledger.c
 *	finish			ledger_finish() in mpmc_ledger.c
 *	drop			evr_mpmc_drop(), claim_is_dead() in mpmc_ledger.c, mpmc_cell.h
 *	drop_dead		evr_mpmc_drop_dead() in mpmc_ledger.c
 *	reaper			evr_mpmc_settle_cells() in mpmc.c
 *
 * Left out: the search by halves (positions only grow here), the waits, wrapping numbers.
 * What the second look in drop is for takes two producers, a consumer and a reaper, and more
 * states than are gone through here: mpmc_claim_ended_* in tests/unit has it.
 * Held: an element is delivered once at most, those of one producer in order to each
 * consumer, never one that was not accepted; in the end accepted = delivered + lost to the
 * element, holes are what dead producers had claimed, and the queue takes its capacity again.
 * Variants, each must verify: PRODUCERS_TWO, CONSUMERS_TWO, REAPERS_TWO.
 * Mutants, each must be found: NO_LEDGER, LEDGER_LATE, LEDGER_LEFT_OPEN, FINISH_FIRST_FIRST,
 * FINISH_STORES, SETTLE_FIRST_FIRST, DROP_THE_LIVING, CLAIM_ANY_LAP, HOLE_IS_FREE,
 * LOST_IS_FULL, DROP_ONE_ONLY.
 */
#if defined(PRODUCERS_TWO)
#define PRODUCERS 2
#define CONSUMERS 1
#define REAPERS 0
#define DEATHS 2
#define PUSHES 1
#define POPS 2
#elif defined(CONSUMERS_TWO) || defined(CLAIM_ANY_LAP)
#define PRODUCERS 1
#define CONSUMERS 2
#define REAPERS 0
#define DEATHS 2
#define PUSHES 2
#define POPS 1
#elif defined(REAPERS_TWO)
#define PRODUCERS 1
#define CONSUMERS 0
#define REAPERS 2
#define DEATHS 3
#define PUSHES 3
#define POPS 0
#else
#define PRODUCERS 1
#define CONSUMERS 1
#define REAPERS 1
#define DEATHS 3
#define PUSHES 3
#define POPS 3
#endif
#define PROCS (PRODUCERS + CONSUMERS + REAPERS)
#define AUDITOR PROCS	/* lives */
#define CAP 2
#define ITEMS (2 * PUSHES)	/* of one producer at most */

#define EMPTY 0
#define WRITING 1
#define FULL 2
#define READING 3
#define HOLE 4

#define IN 0		/* EVR_PRODUCER */
#define OUT 1		/* EVR_CONSUMER */

#define READY 0
#define NONE 1
#define PASSED 2
#define CLAIMED 3
/* HOLE 4 */

typedef word { byte lap, state, who, nr };
typedef account { bool open; byte pos, nr, count };

/* What all see. */
byte cell_lap[CAP], cell_state[CAP], cell_who[CAP], cell_nr[CAP];
byte data[CAP];
bool ledger_open[2];
byte ledger_pos[2], ledger_nr[2], ledger_count[2];
bool dead[PROCS + 1];

/* The books of the test. */
byte accepted, taken, holes, deaths, ended, claimed[PROCS + 1];
bool is_accepted[PRODUCERS * ITEMS + CAP], is_taken[PRODUCERS * ITEMS + CAP];

/* One access to shared memory; or the end of who would make it. */
#define STEP(what) \
	if \
	:: d_step { what } \
	:: d_step { me != AUDITOR && deaths < DEATHS -> deaths++; dead[me] = true; bury() }; goto died \
	fi

/* What it has claimed and not ended: of a producer it must become a hole. */
#define bury() \
	holes = holes + (me < PRODUCERS -> claimed[me] : 0); claimed[me] = 0; ended++

#define LOAD(i) STEP(w.lap = cell_lap[i]; w.state = cell_state[i]; w.who = cell_who[i]; w.nr = cell_nr[i])

#define SET(i, l, s, o, r) \
	cell_lap[i] = l; cell_state[i] = s; cell_who[i] = o; cell_nr[i] = r

#define IS(i, l, s, o, r) \
	(cell_lap[i] == (l) && cell_state[i] == (s) && cell_who[i] == (o) && cell_nr[i] == (r))

#define STORE(i, l, s, o, r) STEP(SET(i, l, s, o, r))
/* From what was loaded. */
#define CAS(i, l, s, o, r) \
	STEP(ok = IS(i, w.lap, w.state, w.who, w.nr); \
	     if :: ok -> SET(i, l, s, o, r) :: else fi)

#define IS_CLAIM(role) (w.state == (role == IN -> WRITING : READING))

/* What was loaded is of no use any more. */
#define FORGET \
	skip; \
	d_step { \
		w.lap = 0; w.state = 0; w.who = 0; w.nr = 0; v.lap = 0; v.state = 0; v.who = 0; v.nr = 0; \
		named.open = false; named.pos = 0; named.nr = 0; named.count = 0; ok = false \
	}

/* --- what the dead have claimed --- */

inline cell_drop(role, place)
{
	LOAD((place) % CAP);
	if
	:: role == OUT && w.lap == (place) / CAP && w.state == FULL ->
		CAS((place) % CAP, (place) / CAP + 1, EMPTY, 0, 0)
	:: role == IN && w.lap == (place) / CAP && (w.state == FULL || w.state == EMPTY) ->
		CAS((place) % CAP, (place) / CAP, HOLE, 0, 0)
	:: else
	fi
}

#ifdef HOLE_IS_FREE
#define DROPPED_STATE(role) (role == IN -> EMPTY : EMPTY)
#define DROPPED_LAP(role) (role == IN -> v.lap : v.lap + 1)
#elif defined(LOST_IS_FULL)
#define DROPPED_STATE(role) (role == IN -> HOLE : FULL)
#define DROPPED_LAP(role) (v.lap)
#else
#define DROPPED_STATE(role) (role == IN -> HOLE : EMPTY)
#define DROPPED_LAP(role) (role == IN -> v.lap : v.lap + 1)
#endif

#define IS_NAMED (w.lap * CAP + named.pos % CAP == named.pos)

inline drop_first(role)
{
#ifndef FINISH_STORES
	STEP(if
	     :: IS(named.pos % CAP, v.lap, v.state, v.who, v.nr) ->
		SET(named.pos % CAP, DROPPED_LAP(role), DROPPED_STATE(role), 0, 0)
	     :: else
	     fi)
#else
	STORE(named.pos % CAP, DROPPED_LAP(role), DROPPED_STATE(role), 0, 0)
#endif
}

/* Do what the ledger said when it was loaded. */
inline finish(role)
{
	LOAD(named.pos % CAP);
	if
	:: IS_CLAIM(role) && w.nr == named.nr && IS_NAMED ->
		d_step { v.lap = w.lap; v.state = w.state; v.who = w.who; v.nr = w.nr };
#ifdef FINISH_FIRST_FIRST
		drop_first(role);
#endif
		if
#ifndef DROP_ONE_ONLY
		:: v.nr == 2 -> cell_drop(role, v.lap * CAP + named.pos % CAP + 1)
#endif
		:: else
		fi;
#ifndef FINISH_FIRST_FIRST
		drop_first(role)
#endif
	:: else
	fi;
	STEP(if
	     :: ledger_open[role] && ledger_pos[role] == named.pos && ledger_nr[role] == named.nr &&
		ledger_count[role] == named.count ->
		ledger_open[role] = false;
		ledger_pos[role] = 0;
		ledger_nr[role] = 0;
		ledger_count[role] = named.count + named.nr
	     :: else
	     fi)
}

inline load_ledger(role)
{
	STEP(named.open = ledger_open[role]; named.pos = ledger_pos[role];
	     named.nr = ledger_nr[role]; named.count = ledger_count[role])
}

#ifndef DROP_THE_LIVING
#define CLAIM_IS_DEAD (dead[w.who])
#else
#define CLAIM_IS_DEAD true
#endif

/* The claim at a cell, if it is of a dead one. */
inline drop(role, i)
{
	do
	:: load_ledger(role);
		LOAD(i);
		if
#ifndef LEDGER_LEFT_OPEN
		:: named.open -> finish(role)
#endif
		:: else ->
			if
			:: !IS_CLAIM(role) || !CLAIM_IS_DEAD -> break
			:: else
			fi;
			/* It may have ended the claim before it died. */
			STEP(ok = IS(i, w.lap, w.state, w.who, w.nr));
#ifdef LEDGER_LATE
			load_ledger(role);
#endif
#ifndef NO_LEDGER
			STEP(ok = ok && !ledger_open[role] && ledger_count[role] == named.count;
			     if
			     :: ok ->
				named.open = true;
				named.pos = w.lap * CAP + i;
				named.nr = w.nr;
				ledger_open[role] = true;
				ledger_pos[role] = named.pos;
				ledger_nr[role] = named.nr
			     :: else
			     fi);
			if
			:: ok -> finish(role); break
			:: else
#ifdef LEDGER_LEFT_OPEN
				-> break
#endif
			fi
#else
			d_step {
				named.pos = w.lap * CAP + i;
				v.lap = w.lap; v.state = w.state; v.who = w.who; v.nr = w.nr
			};
			if
			:: v.nr == 2 -> cell_drop(role, named.pos + 1)
			:: else
			fi;
			STEP(ok = IS(i, v.lap, v.state, v.who, v.nr);
			     if
			     :: ok -> SET(i, DROPPED_LAP(role), DROPPED_STATE(role), 0, 0)
			     :: else
			     fi);
			STEP(if
			     :: ok -> ledger_count[role] = ledger_count[role] + v.nr
			     :: else
			     fi);
			break
#endif
		fi
	od
}

inline drop_dead()
{
	load_ledger(IN);
	if
#ifndef LEDGER_LEFT_OPEN
	:: named.open -> finish(IN)
#endif
	:: else
	fi;
	load_ledger(OUT);
	if
#ifndef LEDGER_LEFT_OPEN
	:: named.open -> finish(OUT)
#endif
	:: else
	fi;
	k = 0;
	do
	:: k < CAP ->
		LOAD(k);
		if
		:: w.state == WRITING && CLAIM_IS_DEAD -> drop(IN, k)
		:: w.state == READING && CLAIM_IS_DEAD -> drop(OUT, k)
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0;
	FORGET
}

/* --- the ends --- */

/* The next lap's cell, over a hole. */
inline pass(i)
{
	CAS(i, w.lap + 1, EMPTY, 0, 0)
}

/* Load the word at an end's position and say what it is to it: READY, NONE, PASSED, HOLE, CLAIMED. */
inline judge(role)
{
	STEP(w.lap = cell_lap[pos % CAP];
	     w.state = cell_state[pos % CAP];
	     w.who = cell_who[pos % CAP];
	     w.nr = cell_nr[pos % CAP];
	     ahead = w.lap - pos / CAP;
	     if
	     :: ahead == 0 && w.state == (role == IN -> EMPTY : FULL) -> found = READY
	     :: role == OUT && ahead == 0 && w.state == EMPTY -> found = NONE
	     :: ahead > 0 || (ahead == 0 && (role == IN && w.state != EMPTY ||
					     role == OUT && w.state == READING)) ->
		pos = pos + (IS_CLAIM(role) && ahead == 0 -> w.nr : 1);
		found = PASSED
	     :: ahead == (role == IN -> -1 : 0) && w.state == HOLE -> found = HOLE
	     :: ahead == (role == IN -> -1 : 0) && (w.state == WRITING || w.state == READING) ->
		found = CLAIMED
	     :: ahead == -1 && w.state == (role == IN -> FULL : READING) ->
		found = NONE
	     :: else -> assert(false)	/* no word that an end may meet here */
	     fi;
	     ahead = 0)
}

/* To the front of an end. */
inline front(role)
{
	do
	:: judge(role);
		if
		:: found == PASSED
		:: found == HOLE -> pass(pos % CAP)
		:: found == CLAIMED && !CLAIM_IS_DEAD -> break
		:: found == CLAIMED && CLAIM_IS_DEAD ->
			if
			:: w.state == WRITING -> drop(IN, pos % CAP)
			:: else -> drop(OUT, pos % CAP)
			fi
		:: found == READY || found == NONE -> break
		fi
	od;
	FORGET
}

/* One or two cells from the front on; nr is 0 when there is none. */
inline claim(role, wanted)
{
	do
	:: front(role);
		if
		:: found != READY -> nr = 0; break
		:: else -> nr = 1
		fi;
		if
		:: wanted == 2 ->
			STEP(if
			     :: cell_lap[(pos + 1) % CAP] == (pos + 1) / CAP &&
				cell_state[(pos + 1) % CAP] == (role == IN -> EMPTY : FULL) -> nr = 2
			     :: else
			     fi)
		:: else
		fi;
#ifndef CLAIM_ANY_LAP
		STEP(ok = IS(pos % CAP, pos / CAP, (role == IN -> EMPTY : FULL), 0, 0);
#else
		STEP(ok = cell_state[pos % CAP] == (role == IN -> EMPTY : FULL);
#endif
		     if
		     :: ok ->
			SET(pos % CAP, pos / CAP, (role == IN -> WRITING : READING), me, nr);
			claimed[me] = nr;
			pos = pos + nr
		     :: else
		     fi);
		if
		:: ok -> break
		:: else
		fi
	od;
	ok = false;
	found = (nr -> 0 : found)
}

/* The last cell first: with the first one the claim is over. */
#ifndef SETTLE_FIRST_FIRST
#define TURN(i) (i)
#else
#define TURN(i) (nr - 1 - (i))
#endif

/* The end of a claim at one cell, counted from its first; with what is to be known of it then. */
#define SETTLE(i, lap_more, end_state, last) \
	STEP(SET((pos - nr + TURN(i)) % CAP, (pos - nr + TURN(i)) / CAP + lap_more, end_state, 0, 0); \
	     if :: (i) == 0 -> claimed[me] = 0; last :: else fi)

inline push(first, wanted)
{
	claim(IN, wanted);
	if
	:: nr ->
		if
		:: nr == 2 ->
			STEP(data[(pos - 1) % CAP] = first + 1);
			SETTLE(1, 0, FULL, skip)
		:: else
		fi;
		STEP(data[(pos - nr) % CAP] = first);
		SETTLE(0, 0, FULL,
		       accepted = accepted + nr;
		       is_accepted[first] = true;
		       if :: nr == 2 -> is_accepted[first + 1] = true :: else fi)
	:: else
	fi
}

inline got_one(elem)
{
	assert(is_accepted[elem]);
	assert(!is_taken[elem]);
	is_taken[elem] = true;
	if
	:: elem < PRODUCERS * ITEMS ->
		assert(last[elem / ITEMS] <= elem % ITEMS);
		last[elem / ITEMS] = elem % ITEMS + 1
	:: else
	fi
}

inline pop(wanted)
{
	claim(OUT, wanted);
	if
	:: nr ->
		if
		:: nr == 2 ->
			STEP(got[1] = data[(pos - 1) % CAP]);
			SETTLE(1, 1, EMPTY, skip)
		:: else
		fi;
		STEP(got[0] = data[(pos - nr) % CAP]);
		SETTLE(0, 1, EMPTY,
		       taken = taken + nr;
		       got_one(got[0]);
		       if :: nr == 2 -> got_one(got[1]) :: else fi;
		       got[0] = 0;
		       got[1] = 0)
	:: else
	fi
}

#define PRIVATE \
	word w, v; \
	account named; \
	byte pos, nr, k, found; \
	short ahead; \
	bool ok

proctype producer(byte me)
{
	PRIVATE;
	byte next = me * ITEMS, calls;

	do
	:: calls < PUSHES ->
		calls++;
		if
		:: push(next, 1)
		:: push(next, 2)
		fi;
		next = next + nr;
		nr = 0
	:: else -> break
	od;
	ended++;
died:	skip
}

proctype consumer(byte me)
{
	PRIVATE;
	byte got[2], last[PRODUCERS], calls;

	do
	:: calls < POPS ->
		calls++;
		if
		:: pop(1)
		:: pop(2)
		fi;
		nr = 0
	:: else -> break
	od;
	ended++;
died:	skip
}

proctype reaper(byte me)
{
	PRIVATE;

	drop_dead();
	ended++;
died:	skip
}

proctype auditor(byte me)
{
	PRIVATE;
	byte got[2], last[PRODUCERS], i;

	atomic {
		ended == PROCS ->
		drop_dead();
		assert(!ledger_open[IN] && !ledger_open[OUT]);
		do
		:: pop(1);
			if
			:: !nr -> assert(found == NONE); break
			:: else
			fi
		od;
		assert(ledger_count[IN] == holes);
		assert(accepted == taken + ledger_count[OUT]);
		/* It takes its capacity, and gives it back. */
		pos = 0;
		do
		:: i < CAP -> push(PRODUCERS * ITEMS + i, 1); assert(nr == 1); i++
		:: else -> break
		od;
		pos = 0;
		i = 0;
		do
		:: i < CAP -> pop(1); assert(nr == 1); i++
		:: else -> break
		od;
		ended++
	}
died:	assert(ended == PROCS + 1)
}

init
{
	byte i;

	atomic {
		do
		:: i < PRODUCERS -> run producer(i); i++
		:: i >= PRODUCERS && i < PRODUCERS + CONSUMERS -> run consumer(i); i++
		:: i >= PRODUCERS + CONSUMERS && i < PROCS -> run reaper(i); i++
		:: else -> break
		od;
		i = 0;
		run auditor(AUDITOR)
	}
}
