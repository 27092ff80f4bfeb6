/* SPDX-License-Identifier: MIT */
/*
 * A keyed function of four words whose value nobody can tell who has not the key, however
 * many other values were seen: SipHash-2-4 (Aumasson, Bernstein, "SipHash: a fast
 * short-input PRF", 2012).
 */
#ifndef EVERING_LIB_PRF_H
#define EVERING_LIB_PRF_H

#include <stdint.h>

/* @words: @nr little-endian words, the message. */
uint64_t evr_prf(const uint64_t key[2], const uint64_t *words, uint32_t nr);

#endif
