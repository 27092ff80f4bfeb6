/* SPDX-License-Identifier: MIT */
/*
 * Park and wake, with a store buffer on each side (x86-TSO), the barrier on all
 * processors, a side that says AWAKE as it likes, and a waker that may die anywhere.
 * A sleeper that sleeps for ever is an invalid end state.
 *
 *	here			lib/park.c, include/evering/park.h
 *	sleeper, ready		waiter_sleep(), its ready()
 *	arm			needs_arm(), waiter_arm()
 *	park			waiter_park(): model of evr_bell_wait()
 *	disarm			needs_disarm(), evr_lane_calm()
 *	waker, publish		evr_lane_publish(): LANE-DATA
 *	is_alert		evr_need_is_alert()
 *	look, ring		evr_need_look(), evr_lane_wake()
 *	death			the kernel's notice: bell 63
 *
 * Mutants, each must be found: NO_FENCE_SLEEPER, NO_FENCE_WAKER, NO_MEMBARRIER,
 * NO_SECOND_LOOK, NO_EPOCH, DEATH_UNRUNG.
 */
#ifndef ROUNDS
#define ROUNDS 3
#endif

#define AWAKE 0
#define ALERT 1
#define ASLEEP 2

/* What all see. */
byte work, need_state = AWAKE, need_epoch;
bool bell, dead;
/* What one side has stored and nobody else sees yet: at most one each, oldest first out. */
bool work_is_pending, need_is_pending;
byte work_pending, need_pending_state, need_pending_epoch;

/* The epoch and the state are one word. */
inline flush_need()
{
	d_step {
		if
		:: need_is_pending ->
			need_state = need_pending_state;
			need_epoch = need_pending_epoch;
			need_is_pending = false
		:: else
		fi
	}
}

inline flush_work()
{
	d_step {
		if
		:: work_is_pending -> work = work_pending; work_is_pending = false
		:: else
		fi
	}
}

/* A full buffer lets its store out before it takes another. */
inline store_need(state)
{
	flush_need();
	d_step {
		need_pending_state = state;
		need_pending_epoch = epoch;
		need_is_pending = true
	}
}

inline store_work(value)
{
	flush_work();
	d_step { work_pending = value; work_is_pending = true }
}

/* Both buffers come out when they like. */
active proctype buffers()
{
end:	do
	:: work_is_pending -> flush_work()
	:: need_is_pending -> flush_need()
	od
}

active proctype sleeper()
{
	byte wanted = 1, epoch = 0, mine = AWAKE;
	bool was_awake;

	do
	:: wanted > ROUNDS || dead -> break
	:: else ->
		if
		:: work >= wanted || dead -> goto next	/* ready */
		:: else
		fi;
again:		was_awake = (mine == AWAKE);		/* arm */
#ifndef NO_EPOCH
		epoch++;
#else
		epoch = 1;
#endif
		mine = ASLEEP;
		store_need(ASLEEP);
		if
		:: was_awake ->
#ifndef NO_MEMBARRIER
			d_step { flush_need(); flush_work() }
#else
			flush_need()
#endif
		:: else ->
#ifndef NO_FENCE_SLEEPER
			flush_need()
#else
			skip
#endif
		fi;
#ifndef NO_SECOND_LOOK
		if
		:: work >= wanted || dead -> goto disarm	/* ready */
		:: else
		fi;
#endif
		bell -> bell = false;			/* park */
		flush_need();
		if
		:: work >= wanted || dead		/* ready */
		:: else -> goto again
		fi;
disarm:		if
		:: mine = ALERT
		:: mine = AWAKE
		fi;
		store_need(mine);
next:		wanted++
	od
}

active proctype waker()
{
	byte i = 1, last = 0, seen_state, seen_epoch;

	do
	:: i > ROUNDS -> break
	:: goto died
	:: i <= ROUNDS ->
		store_work(i);				/* publish */
		if
		:: goto died
		:: need_state == AWAKE			/* is_alert */
		:: need_state != AWAKE ->
#ifndef NO_FENCE_WAKER
			flush_work();			/* look */
#endif
			d_step { seen_state = need_state; seen_epoch = need_epoch }
			if
			:: goto died
			:: seen_state == ASLEEP && seen_epoch != last ->
				last = seen_epoch;
				flush_work();		/* ring: a system call */
				bell = true
			:: seen_state != ASLEEP || seen_epoch == last
			fi
		fi;
		i++
	od;
	goto out;
died:	flush_work();					/* death */
	dead = true;
#ifndef DEATH_UNRUNG
	bell = true;
#endif
out:	skip
}
