// SPDX-License-Identifier: MIT
/* Microsoft's mimalloc. Opened when it is used: a program that links it has no other malloc. */
#include "allocator.h"
#include "rivals.h"

static const struct allocator allocator = { "libmimalloc.so.2", "mi_malloc", "mi_free" };

const struct rival mimalloc_pairs = { "mimalloc", RIVAL_SPINS, allocator_prepare, allocator_pairs,
				  stage_look_on, &allocator };
const struct rival mimalloc_many = { "mimalloc", RIVAL_SPINS, allocator_prepare, allocator_many,
				 stage_look_on, &allocator };
const struct rival mimalloc_random = { "mimalloc", RIVAL_SPINS, allocator_prepare, allocator_random,
				   stage_look_on, &allocator };
const struct rival mimalloc_remote = { "mimalloc",		   RIVAL_SPINS,	   allocator_prepare_remote,
					 allocator_remote, stage_look_on, &allocator };
