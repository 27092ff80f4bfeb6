// SPDX-License-Identifier: MIT
/* jemalloc. Opened when it is used: a program that links it has no other malloc. */
#include "allocator.h"
#include "rivals.h"

static const struct allocator allocator = { "libjemalloc.so.2", "malloc", "free" };

const struct rival jemalloc_pairs = { "jemalloc", RIVAL_SPINS, allocator_prepare, allocator_pairs,
				  stage_look_on, &allocator };
const struct rival jemalloc_many = { "jemalloc", RIVAL_SPINS, allocator_prepare, allocator_many,
				 stage_look_on, &allocator };
const struct rival jemalloc_random = { "jemalloc", RIVAL_SPINS, allocator_prepare, allocator_random,
				   stage_look_on, &allocator };
const struct rival jemalloc_remote = { "jemalloc",		   RIVAL_SPINS,	   allocator_prepare_remote,
					 allocator_remote, stage_look_on, &allocator };
