/* SPDX-License-Identifier: MIT */
/*
 * The kernel's side of a peer's life: attach (also one that fails), the end by several
 * causes at once, revocation by incarnation, reaping, and a slot that is taken over
 * from the dead when no writer lives. One slot, TENANTS processes that want it.
 *
 *	here			kernel/
 *	take, cancel		evering_slot_take(), evering_slot_cancel() in slot.c
 *	live			commit_attach() in peer.c, evering_slot_live()
 *	peer_end		evering_peer_end() in death.c
 *	unmap			evering_peer_unmap() in map.c
 *	tenant			evering_call_attach(), evering_call_detach()
 *	hook			death_work(), evering_peer_lost(): exit, exec, close
 *	revoker			evering_call_revoke(), grab_peer()
 *	reaper			evr_reap_dead() in lib/reap.c, evering_slot_reap()
 *	reader			device_state() in lib/device_peers.c: STATUS, STATUS-OLD
 *
 * Held: each peer that lived ends exactly once; who sees DEAD knows that it can write
 * no more; what one settles is never a successor's; a reader believes nothing of another life.
 * Variants, each must verify: READER.
 * Mutants, each must be found: END_TWICE, DEAD_BEFORE_UNMAP, REAP_ANY_LIFE,
 * REVOKE_ANY_LIFE, NO_STATUS_OLD, READ_ONCE_ONLY, CANCEL_FREES.
 */
#ifndef TENANTS
#define TENANTS 2
#endif

#define FREE 0
#define RESERVED 1
#define LIVE 2
#define DYING 3
#define DEAD 4
#define NOBODY 255

/* segment->lock is d_step: what it covers does not sleep. */
byte state = FREE, before, incarnation, writers, slot_peer = NOBODY;
/* The status entry in the mapped page. */
byte entry_state = FREE, entry_incarnation;

/* Of each tenant's peer. */
bool is_live[TENANTS], is_ending[TENANTS], may_write[TENANTS];
byte life[TENANTS], ends[TENANTS];
/* Of each incarnation. */
bool lived[TENANTS + 2], ended[TENANTS + 2], settled[TENANTS + 2], reaped[TENANTS + 2];

inline publish(to)
{
	state = to;
	entry_state = to
}

inline peer_end(p)
{
	if
#ifndef END_TWICE
	:: d_step { is_live[p] && !is_ending[p] -> is_ending[p] = true };
#else
	:: is_live[p] && !is_ending[p] -> is_ending[p] = true;
#endif
		d_step {
			slot_peer = NOBODY;
			writers--;
			publish(DYING)
		}
#ifndef DEAD_BEFORE_UNMAP
		may_write[p] = false;		/* unmap */
#endif
		d_step {
			ends[p]++;
			assert(ends[p] == 1);
			assert(!may_write[p]);
			ended[life[p]] = true;
			publish(DEAD)
		}
#ifdef DEAD_BEFORE_UNMAP
		may_write[p] = false;
#endif
	:: else
	fi
}

proctype tenant(byte me)
{
	bool taken = false;

	d_step {				/* take */
		if
		:: state == FREE || (state == DEAD && writers == 0) ->
			/* A free slot owes nothing: its last life was settled. */
			assert(state != FREE || incarnation == 0 || reaped[incarnation]);
			before = state;
			state = RESERVED;
			incarnation++;
			life[me] = incarnation;
			taken = true
		:: else
		fi
	}
	if
	:: !taken -> goto out
	:: taken ->				/* cancel: the attach has failed */
		d_step {
#ifndef CANCEL_FREES
			state = before;
#else
			state = FREE;
#endif
			incarnation--;
			taken = false;
			assert(state != FREE || incarnation == 0 || reaped[incarnation])
		}
		goto out
	:: taken
	fi;
	may_write[me] = true;			/* live */
	is_live[me] = true;
	d_step {
		assert(!lived[life[me]]);
		assert(writers == 0);
		writers++;
		state = LIVE
	}
	/* The entry is read without the lock. */
#ifndef NO_STATUS_OLD
	entry_state = RESERVED;
#endif
	entry_incarnation = life[me];
	d_step {
		lived[life[me]] = true;
		slot_peer = me;
		entry_state = LIVE
	}
	peer_end(me);				/* by its own call, or by the hook first */
out:	skip
}

/* The process goes, its mm and its last fd with it: several say so, at any time. */
proctype hook(byte p)
{
end_wait: is_live[p] && slot_peer == p -> peer_end(p)
}

proctype revoker()
{
	byte wanted, found;

end_wait: slot_peer != NOBODY -> wanted = incarnation;
	d_step {				/* grab_peer() */
		found = slot_peer;
		if
#ifndef REVOKE_ANY_LIFE
		:: found != NOBODY && life[found] != wanted -> found = NOBODY
#endif
		:: else
		fi
	}
	if
	:: found != NOBODY ->
		assert(life[found] == wanted);
		peer_end(found)
	:: else
	fi
}

proctype reaper()
{
	byte s1, s2, inc;

end_wait: entry_state == DEAD -> s1 = DEAD;
	inc = entry_incarnation;
#ifndef READ_ONCE_ONLY
	s2 = entry_state;
#else
	s2 = s1;
#endif
	if
	:: s2 == DEAD ->
		/* STATUS: that very life has ended, and can write no more. */
		assert(ended[inc]);
		settled[inc] = true;
		d_step {
			if
#ifndef REAP_ANY_LIFE
			:: state == DEAD && incarnation == inc ->
#else
			:: state == DEAD ->
#endif
				assert(settled[incarnation]);
				assert(!reaped[incarnation]);
				reaped[incarnation] = true;
				publish(FREE)
			:: else
			fi
		}
	:: else
	fi
}

/* Any peer, at any time: is that one alive? */
proctype reader()
{
	byte s1, s2, inc;

	s1 = entry_state;
	inc = entry_incarnation;
#ifndef READ_ONCE_ONLY
	s2 = entry_state;
#else
	s2 = s1;
#endif
	if
	:: s1 == s2 && s1 == LIVE -> assert(lived[inc])
	:: s1 == s2 && s1 == DEAD -> assert(ended[inc])
	:: else
	fi
}

init
{
	byte i = 0;

	atomic {
		do
		:: i < TENANTS -> run tenant(i); i++
		:: else -> break
		od;
		run reaper();
#if defined(READER) || defined(NO_STATUS_OLD) || defined(READ_ONCE_ONLY)
		run reader()
#else
		run hook(0);
		run revoker();
		run reaper()
#endif
	}
}
