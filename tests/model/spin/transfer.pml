/* SPDX-License-Identifier: MIT */
/*
 * A block that is handed over: the frame that names it, its word, the position; over a
 * channel, whose sender takes back what was not received, or by the heap's calls alone. The
 * sender's stores wait in a FIFO (TSO). Sender, receiver and reaper die between any two
 * steps, and the receiver's slot goes to another peer. An auditor reaps last.
 *
 *	here			lib/
 *	sender			tx_block() in channel_send.c, evr_heap_transfer()
 *	touch, the ctl store	evr_heap_touch(), transfer_one() in heap_transfer.c
 *	the look		receiver_is_live(), heap_bar(): REAP
 *	recall			evr_heap_recall(); blotted: evr_bytes_uncommit()
 *	is_channel		evr_channel_recover(), tx_recall() in channel_send.c
 *	receiver		rx_take() in channel_recv.c, evr_heap_accept()
 *	staged			evr_channel_drop_staged() in channel_recv.c
 *	reaper			evr_reap_dead(), reap_bar() in reap.c: REAP
 *	walk			reap_column(), reap_block() in heap_reap.c, evr_heap_end()
 *	kernel			evering_peer_end() in death.c: evidence comes after all stores
 *
 * The reaper walks once, after the barrier. That is enough: a store that names a dead peer
 * either was made before the barrier, and the walk finds it, or its maker looks at the peer
 * after the barrier, and so sees it dead and takes it back; or has died before that, and its own
 * reap finds the word, by the stamp.
 * Left out: deaths in between when the stamp of the slot's next peer is equal (EQUAL_STAMPS,
 * 256 peers later), where such a word stays until that one ends: see "slots" in heap.c.
 * Held: the block is received or freed, once, whoever dies; what was published to a living
 * receiver it gets; nothing is left that names the dead.
 * Variants, each must verify: FENCED, REAPERS_TWO, EQUAL_STAMPS.
 * Mutants, each must be found: NO_BARRIER, WALK_FIRST, SLOT_FREE_FIRST, NO_LOOK, LOOK_FIRST,
 * LOOK_BY_SLOT, TOUCH_LATE, RECALL_STORES, WALK_STORES, EMPTIED_FIRST, STAGED_FORGOTTEN,
 * FRAME_LATE, PUBLISHED_FIRST, DEAD_EARLY.
 */
#if defined(SLOT_FREE_FIRST) || defined(LOOK_BY_SLOT)
#define EQUAL_STAMPS
#endif
#define DEATHS 3

#define S 0
#define R 1
#ifdef REAPERS_TWO
#define REAPERS 2
#else
#define REAPERS 1
#endif
#define PROCS (2 + REAPERS)

/* Tags of the block's word. */
#define FREE 0
#define OWNED 1		/* LIVE */
#define INFLIGHT 2
/* States of a slot. */
#define EMPTY 0
#define LIVE 1
#define DYING 2
#define DEAD 3

/* The sender's stores, in the order in which it issues them. */
#if defined(FRAME_LATE)
#define CTL_AT 1
#define FRAME_AT 2
#define POS_AT 3
#elif defined(PUBLISHED_FIRST)
#define FRAME_AT 1
#define POS_AT 2
#define CTL_AT 3
#else
#define FRAME_AT 1
#define CTL_AT 2
#define POS_AT 3
#endif

/* What all see. */
byte tag = OWNED, owner = S, life = 1;	/* life: the owner's incarnation */
byte seen, issued;	/* of the sender's stores */
bool blotted, taken;
byte state[2] = LIVE, incarnation[2] = 1;
/* Of each slot: 0, or the incarnation for which the block's chunk is to be visited. */
byte touched[2];

/* Of processes, and the books. */
bool died_[PROCS], ended[PROCS];
byte deaths, frees, got;
bool published;

/* One access to shared memory; or the end of who would make it. */
#define STEP(what) \
	if \
	:: d_step { what } \
	:: d_step { deaths < DEATHS -> deaths++; died_[me] = true; ok = false }; goto died \
	fi

/* Who waits dies, too. */
#define WAIT(until) \
	if \
	:: until \
	:: d_step { deaths < DEATHS -> deaths++; died_[me] = true; ok = false }; goto died \
	fi

#define SEE \
	seen++; \
	if \
	:: seen == CTL_AT -> tag = INFLIGHT; owner = R; life = 1 \
	:: else \
	fi

#define SEE_ALL \
	do \
	:: seen < issued -> SEE \
	:: else -> break \
	od

/* What the first tenants of the slots know of each other is of their life, 1. */
#define CAS(t, o, l, t2, o2) \
	ok = tag == (t) && owner == (o) && life == (l); \
	if \
	:: ok -> tag = t2; owner = o2; life = (t2 == FREE -> 0 : 1) \
	:: else \
	fi

#define END_LIFE(t, o, l) \
	CAS(t, o, l, FREE, 0); \
	frees = frees + (ok -> 1 : 0)

#define OVER(p) (ended[p] || died_[p])
#define LIVES(slot) (state[slot] == LIVE || state[slot] == DYING)
#ifdef EQUAL_STAMPS
#define STAMP_LIVES(slot, l) LIVES(slot)
/* See "left out". */
#define BETWEEN(what) d_step { what }
#else
#define STAMP_LIVES(slot, l) (LIVES(slot) && incarnation[slot] == (l))
#define BETWEEN(what) STEP(what)
#endif

/* By the full incarnation. */
#ifdef LOOK_BY_SLOT
#define RECEIVER_LIVES LIVES(R)
#else
#define RECEIVER_LIVES (LIVES(R) && incarnation[R] == 1)
#endif

/* A CAS comes after all that was stored. */
inline recall()
{
	seen == issued;
#ifdef RECALL_STORES
	BETWEEN(ok = true; tag = OWNED; owner = S; life = 1);
#else
	BETWEEN(CAS(INFLIGHT, R, 1, OWNED, S));
#endif
}

/* A CAS, and so after the stores before it. Not when the slot's words are of the next one. */
inline touch()
{
	seen == issued;
	STEP(lives = touched[R] != 2;
	     if
	     :: lives -> touched[R] = 1
	     :: else
	     fi)
}

proctype sender(byte me)
{
	bool ok, lives = true, is_channel;

	if
	:: is_channel = true
	:: skip
	fi;
#ifndef FRAME_LATE
	STEP(issued = 1);
#endif
#ifndef TOUCH_LATE
	touch();
	if
	:: !lives -> STEP(END_LIFE(OWNED, S, 1)); goto over
	:: else
	fi;
#endif
#ifdef LOOK_FIRST
	STEP(lives = RECEIVER_LIVES);
#endif
#ifdef FRAME_LATE
	STEP(issued = 1);
#endif
#ifdef PUBLISHED_FIRST
	STEP(issued = 2; published = true);
	STEP(issued = 3);
#else
	STEP(issued = 2);
#endif
#ifdef TOUCH_LATE
	touch();
#endif
#ifdef FENCED
	seen == issued;
#endif
#if !defined(NO_LOOK) && !defined(LOOK_FIRST)
	BETWEEN(lives = RECEIVER_LIVES);
#endif
	if
	:: !lives ->
		recall();
		if
		:: ok ->
			STEP(blotted = true);
			STEP(END_LIFE(OWNED, S, 1))
		:: else
		fi;
		goto over
	:: else
	fi;
#ifndef PUBLISHED_FIRST
	STEP(issued = 3; published = true);
#endif
	/* The end of the session: the receiver can move no position any more. */
	if
	:: is_channel ->
		WAIT(taken || !LIVES(R) || incarnation[R] != 1);
		STEP(ok = taken);
		if
		:: !ok ->
			recall();
			if
			:: ok -> STEP(END_LIFE(OWNED, S, 1))
			:: else
			fi
		:: else
		fi
	:: else
	fi;
over:	ok = false;
	lives = false;
	ended[me] = true;
died:	skip
}

proctype receiver(byte me)
{
	bool ok, is_there;

	WAIT(seen >= POS_AT || !LIVES(S));
	/* After the look at the sender. */
	STEP(is_there = seen >= POS_AT);
	if
	:: is_there ->
		STEP(CAS(INFLIGHT, R, 1, OWNED, R); got = got + (ok -> 1 : 0));
		STEP(taken = true);
		if
		:: got -> STEP(END_LIFE(OWNED, R, 1))
		:: else
		fi
	:: else ->
#ifndef STAGED_FORGOTTEN
		STEP(ok = seen >= FRAME_AT && !blotted);
		if
		:: ok ->
			STEP(CAS(INFLIGHT, R, 1, OWNED, R));
			if
			:: ok -> STEP(END_LIFE(OWNED, R, 1))
			:: else
			fi
		:: else
		fi
#endif
	fi;
	ok = false;
	is_there = false;
	ended[me] = true;
died:	skip
}

#define EMPTY_TOUCHED \
	STEP(touched[S] = (found_s && touched[S] == 1 -> 0 : touched[S])); \
	STEP(touched[R] = (found_r && touched[R] == 1 -> 0 : touched[R]))

/* Once. Which words name the dead, the touched words tell; these are emptied afterwards. */
inline walk()
{
	STEP(found_s = touched[S] == 1 && !(LIVES(S) && incarnation[S] == 1));
	STEP(found_r = touched[R] == 1 && !(LIVES(R) && incarnation[R] == 1));
	if
	:: found_s || found_r ->
#ifdef EMPTIED_FIRST
		EMPTY_TOUCHED;
#endif
		STEP(w_tag = tag; w_owner = owner; w_life = life);
		if
		:: w_tag != FREE ->
			STEP(ok = !STAMP_LIVES(w_owner, w_life));
			if
			:: ok ->
#ifdef WALK_STORES
				STEP(tag = FREE; owner = 0; life = 0; frees++)
#else
				STEP(END_LIFE(w_tag, w_owner, w_life))
#endif
			:: else
			fi
		:: else
		fi;
#ifndef EMPTIED_FIRST
		EMPTY_TOUCHED
#endif
	:: else
	fi;
	d_step { w_tag = 0; w_owner = 0; w_life = 0; ok = false; found_s = false; found_r = false }
}

inline slot_free(slot, was_dead)
{
	STEP(if
	     :: was_dead && state[slot] == DEAD && incarnation[slot] == 1 -> state[slot] = EMPTY
	     :: else
	     fi)
}

proctype reaper(byte me)
{
	bool ok, s_dead, r_dead, found_s, found_r;
	byte w_tag, w_owner, w_life;

	if
	:: state[S] == DEAD || state[R] == DEAD
	:: OVER(S) && OVER(R) -> goto over
	fi;
	STEP(s_dead = state[S] == DEAD; r_dead = state[R] == DEAD);
#ifdef SLOT_FREE_FIRST
	slot_free(R, r_dead);
#endif
#ifdef WALK_FIRST
	walk();
#endif
#if !defined(NO_BARRIER) && !defined(FENCED)
	STEP(SEE_ALL);
#endif
#ifndef WALK_FIRST
	walk();
#endif
	slot_free(S, s_dead);
	slot_free(R, r_dead);
over:	s_dead = false;
	r_dead = false;
	ended[me] = true;
died:	skip
}

/* The evidence comes after all stores of the dead. */
proctype kernel(byte slot)
{
	if
	:: ended[slot]
	:: died_[slot] ->
		state[slot] = DYING;
#ifndef DEAD_EARLY
		slot == R || seen == issued;
#endif
		state[slot] = DEAD
	fi
}

/* A store becomes visible, at any time. */
proctype buffer()
{
end:	do
	:: d_step { seen < issued -> SEE }
	od
}

/* Another comes to the receiver's slot, when that is free, and may use the heap. */
proctype successor()
{
end:	atomic { state[R] == EMPTY -> incarnation[R] = 2; state[R] = LIVE };
	if
	:: touched[R] = 2
	:: skip
	fi
}

/* When nothing more happens: the last reap, and the books. */
proctype auditor()
{
	atomic {
		OVER(S) && OVER(R) && OVER(2) && OVER(PROCS - 1) && seen == issued &&
		(ended[S] || state[S] != LIVE && state[S] != DYING) &&
		(ended[R] || incarnation[R] == 2 || state[R] != LIVE && state[R] != DYING) ->
		if
		:: (touched[S] == 1 && !(LIVES(S) && incarnation[S] == 1) ||
		    touched[R] == 1 && !(LIVES(R) && incarnation[R] == 1)) &&
		   tag != FREE && !STAMP_LIVES(owner, life) -> tag = FREE; frees++
		:: else
		fi;
		assert(tag == FREE);
		assert(frees == 1);
		assert(got <= 1);
		assert(!published || !ended[R] || got == 1)
	}
}

init
{
	atomic {
		touched[S] = 1;
		run sender(S);
		run receiver(R);
		run reaper(2);
#ifdef REAPERS_TWO
		run reaper(3);
#endif
		run kernel(S);
		run kernel(R);
		run buffer();
		run successor();
		run auditor()
	}
}
