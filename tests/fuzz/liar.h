/* SPDX-License-Identifier: MIT */
/*
 * The liar of the chaos tests: at accesses of the library to shared memory it makes words that
 * it may write into others, so that a word changes between two loads of it too, and a seed says
 * all. A call that does not end is found by counting accesses. It is step() itself: to be included
 * before anything of the library, after steps.h.
 */
#ifndef EVERING_TESTS_LIAR_H
#define EVERING_TESTS_LIAR_H

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "tour.h"

/* Accesses of one tour; the longest that was seen has a hundredth of it. */
#define STEPS_MAX 20000000ULL

/* Where it writes, and how often. */
static struct liar {
	uint64_t *words;
	uint64_t *copy; /* what it knows to be in them; NULL: it does not mind */
	uint32_t nr; /* of these */
	uint32_t every; /* accesses between two lies, about; 0: it is silent */
	uint64_t seed;
	uint64_t steps;
} liar;

static uint64_t lie(uint64_t word, const uint64_t *words, uint32_t nr, uint64_t *seed)
{
	uint64_t random = tour_random(seed);

	switch (random >> 8 & 15) {
	case 0:
		return 0;
	case 1:
		return UINT64_MAX;
	case 2:
		return random;
	case 3:
		return word + 1;
	case 4:
		return word - 1;
	case 5:
		return word + (random >> 32 & 0xff) * 16;
	case 6:
		return 1ULL << (random >> 32) % 64;
	case 7:
		return word ^ (random & 0xffffffff00000000ULL);
	case 8:
		return (word & ~0xfULL) | (random >> 32 & 0xf);
	case 9:
		return UINT64_MAX >> (random >> 32) % 64;
	case 10:
	case 11:
		return words[(random >> 32) % nr]; /* what is true elsewhere, or was */
	default:
		return word ^ 1ULL << (random >> 32) % 64;
	}
}

static void liar_lies(uint32_t at)
{
	uint64_t word = lie(liar.words[at], liar.words, liar.nr, &liar.seed);

	*(volatile uint64_t *)&liar.words[at] = word;
	if (liar.copy)
		liar.copy[at] = word;
}

void step(void)
{
	if (++liar.steps > STEPS_MAX) {
		fprintf(stderr, "# a call does not end\n");
		abort();
	}
	if (liar.every && (tour_random(&liar.seed) >> 16) % liar.every == 0)
		liar_lies((uint32_t)((tour_random(&liar.seed) >> 20) % liar.nr));
}

static uint64_t rounds(uint64_t nr)
{
	return getenv("EVERING_TEST_LONG") ? 60 * nr : nr;
}

#endif
