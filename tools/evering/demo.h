/* SPDX-License-Identifier: MIT */
/* The parts of the demo. */
#ifndef EVERING_DEMO_H
#define EVERING_DEMO_H

#include <evering/evering.h>

/*
 * A producer is killed in the middle of its work, and its consumer goes on: when
 * it knew, what had been sent and what came, what was settled. Returns EXIT_*.
 */
int demo_death(enum evr_backend backend, bool isolated);

/*
 * A process writes into another peer's region of an isolated segment, by accident and on
 * purpose; fails when that does not end as the backend guarantees. Returns EXIT_*.
 */
int demo_intruder(enum evr_backend backend);

#endif
