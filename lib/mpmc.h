/* SPDX-License-Identifier: MIT */
/*
 * The cells of a queue, for mpmc.c (making, opening, waiting) and mpmc_cells.c.
 *
 * A cell's word is {lap:29 | value:32 | state:3}, and says all there is to say:
 *
 *   {lap, 0, EMPTY}                    position lap * capacity + i is free to be written
 *   {lap, {stamp:24 | run:8}, WRITING} its producer writes it and the next run - 1
 *   {lap, element or 0, FULL}          to be read
 *   {lap, {stamp:24 | run:8}, READING} its consumer reads it and the next run - 1
 *   {lap, 0, HOLE}                     its producer died: to be passed over
 *
 *   EMPTY -> WRITING -> FULL -> READING -> EMPTY of lap + 1; WRITING -> HOLE -> EMPTY of
 *   lap + 1. Elements of up to 4 bytes lie in the word: EMPTY -> FULL -> EMPTY of lap + 1.
 *
 * Positions are claimed in turn, on each side: below() says of a position that all
 * before it are, and stays true for ever. Whoever claims position p has seen below(p), and
 * its CAS fails if p itself was claimed meanwhile. The other cells of a run keep
 * their words until their owner publishes the last of them first and the one that was
 * claimed last; so who finds one of a run already written finds those behind it too,
 * and who looks for the front finds either the run's head, which says how far it goes,
 * or what comes after it.
 */
#ifndef EVERING_LIB_MPMC_H
#define EVERING_LIB_MPMC_H

#include <evering/mpmc.h>
#include <evering/object.h>
#include <evering/reap.h>

struct evr_held_walk;

#define MPMC_RUN_MAX 255

enum mpmc_front {
	MPMC_READY, /* the cell at pos can be claimed */
	MPMC_NONE, /* full, or empty */
	MPMC_BUSY, /* a living peer is at work there */
	MPMC_NONSENSE,
};

/*
 * Walk an end to its front, settling what dead peers hold there. @u_word: the cell's word.
 */
enum mpmc_front evr_mpmc_front(struct evr_mpmc *q, enum evr_role role, uint64_t *u_word);

/* Where the front of an end is, as far as can be seen; changes nothing. */
uint64_t evr_mpmc_front_pos(const struct evr_mpmc *q, enum evr_role role);

/* Find the front anew. */
void evr_mpmc_search(struct evr_mpmc *q, enum evr_role role);

/* Settle the claim at a cell: of a dead peer, or with @is_ours of this one. Return: its run, or 0. */
uint32_t evr_mpmc_drop(struct evr_mpmc *q, enum evr_role role, uint64_t idx, bool is_ours);

/* All that dead peers have claimed. Return: how many elements. */
uint32_t evr_mpmc_drop_dead(struct evr_mpmc *q);

/* A producer's own claim becomes a hole. */
void evr_mpmc_cancel_claim(struct evr_mpmc *q, uint64_t pos);

/* This handle is of no use any more: a cell, or what it stands for, is nonsense. */
void evr_mpmc_corrupt(struct evr_mpmc *q, enum evr_role role, uint64_t u_word);

/* Elements that claims of the dead have cost, from a ledger. */
uint64_t evr_mpmc_dropped(const struct evr_mpmc *q, enum evr_role role);

/*
 * For log.c: the run of one record. Its first cell's word says how long it is; one
 * consumer reads in place, so it claims nothing, and takes what it has read.
 */
uint32_t evr_mpmc_claim_all(struct evr_mpmc *q, uint32_t nr, uint64_t *pos);
bool evr_mpmc_has_room(struct evr_mpmc *q, uint32_t nr);
void evr_mpmc_publish(struct evr_mpmc *q, uint64_t pos, uint32_t run);
/* The run at the consumer's front, which is then at its position; 0: none. */
uint32_t evr_mpmc_oldest(struct evr_mpmc *q);
void evr_mpmc_take(struct evr_mpmc *q, uint32_t run);
/* Wait for an end's front, or for room for a run. 0; negative errno: look once more, and end. */
int evr_mpmc_wait(struct evr_mpmc *q, struct evr_waiter *w, enum evr_role role, uint32_t want,
		  uint64_t deadline_ns);
/* Bytes of two crowds, and put them to use. */
uint64_t evr_mpmc_crowds_sz(const struct evr_peer *peer);
void evr_mpmc_join(struct evr_mpmc *q);
/* What the dead have left, and what all have done. */
void evr_mpmc_settle_cells(struct evr_mpmc *q, struct evr_reap_report *report);
void evr_mpmc_count(const struct evr_mpmc *q, struct evr_mpmc_counts *out);

/* mpmc_look.c: a queue's numbers, and its cells that are claimed; for log.c too. */
void evr_mpmc_flow(struct evr_mpmc *q, struct evr_flow *flow);
int evr_mpmc_claims(const struct evr_mpmc *q, const struct evr_held_walk *walk);
/* mpmc.c: the crowds of a queue that is mapped. */
void evr_mpmc_meet(struct evr_mpmc *q);
/* A queue to be looked at, by the object in it. */
int evr_mpmc_view(struct evr_mpmc *q);

/* The kind's settle(). */
void evr_mpmc_settle(struct evr_peer *peer, const struct evr_object *obj,
		     struct evr_reap_report *report);

#endif
