/* SPDX-License-Identifier: MIT */
/*
 * What programs do with memory, whoever gives it to them: the loops that all allocators
 * are measured with. A block is written into once it is there. The calls are inlined where they can be.
 */
#ifndef EVERING_PIECES_H
#define EVERING_PIECES_H

#include <errno.h>

#include "stage.h"

#define PIECES_MANY 100
#define PIECES_LIVE 1024
#define PIECES_SMALLEST 16

typedef struct evr_block piece_make(void *from, uint64_t size);
typedef void piece_drop(void *from, struct evr_block block);

static STAGE_INLINE struct evr_block piece_get(struct stage *stage, void *from, uint64_t size,
					       piece_make *make)
{
	struct evr_block block = make(from, size);

	if (__builtin_expect(!block.ptr, 0))
		stage_fail(stage, "memory", -12);
	*(volatile uint64_t *)block.ptr = size;
	return block;
}

static STAGE_INLINE void pieces_pairs(struct stage *stage, uint64_t count, void *from,
				      piece_make *make, piece_drop *drop)
{
	for (uint64_t i = 0; i < count; i++)
		drop(from, piece_get(stage, from, stage->size, make));
}

/* A hundred are got, and then given back in the same order; each is an operation. */
static STAGE_INLINE void pieces_many(struct stage *stage, uint64_t count, void *from,
				     piece_make *make, piece_drop *drop)
{
	struct evr_block blocks[PIECES_MANY];

	for (uint64_t left = count; left;) {
		uint64_t nr = left < PIECES_MANY ? left : PIECES_MANY;

		for (uint64_t i = 0; i < nr; i++)
			blocks[i] = piece_get(stage, from, stage->size, make);
		for (uint64_t i = 0; i < nr; i++)
			drop(from, blocks[i]);
		left -= nr;
	}
}

static inline uint64_t pieces_random_next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Of many that live, one is given back and another got, both at random. */
static STAGE_INLINE void pieces_random(struct stage *stage, uint64_t count, void *from,
				       piece_make *make, piece_drop *drop)
{
	struct evr_block blocks[PIECES_LIVE];
	uint64_t sizes_nr = stage->size - PIECES_SMALLEST + 1;
	uint64_t seed = 88172645463325252ULL;

	for (uint64_t i = 0; i < PIECES_LIVE; i++)
		blocks[i] = piece_get(stage, from, PIECES_SMALLEST, make);
	for (uint64_t i = 0; i < count; i++) {
		uint64_t draw = pieces_random_next(&seed);
		struct evr_block *block = &blocks[draw % PIECES_LIVE];

		drop(from, *block);
		*block = piece_get(stage, from, PIECES_SMALLEST + (draw >> 32) % sizes_nr, make);
	}
	for (uint64_t i = 0; i < PIECES_LIVE; i++)
		drop(from, blocks[i]);
}

typedef void pieces_loop(struct stage *stage, uint64_t count, void *from, piece_make *make,
			 piece_drop *drop);

/* The near side alone; the other looks on. */
static STAGE_INLINE void pieces_run(struct stage *stage, void *from, pieces_loop *loop,
				    piece_make *make, piece_drop *drop)
{
	loop(stage, stage->warmup, from, make, drop);
	stage_begin(stage);
	loop(stage, stage->count, from, make, drop);
	stage_end(stage);
}

/* Handles of blocks through a ring, to be freed at its other end. */
#define PIECES_BATCH 32

typedef uint64_t piece_see(void *from, uint64_t handle);
/* Names the receiver in blocks that are about to be published. */
typedef bool piece_send(void *from, const uint64_t *handles, uint32_t nr);

/* What gives out blocks; send: NULL where whoever has the address may free. */
struct piece_source {
	void *from;
	piece_make *make;
	piece_send *send;
};

static STAGE_INLINE void pieces_out(struct stage *stage, struct evr_spsc *ring, uint64_t count,
				    struct piece_source source)
{
	uint64_t handles[PIECES_BATCH];

	for (uint64_t left = count; left;) {
		uint32_t nr = (uint32_t)(left < PIECES_BATCH ? left : PIECES_BATCH);

		for (uint32_t i = 0; i < nr; i++)
			handles[i] = piece_get(stage, source.from, stage->size, source.make).handle;
		if (source.send && !source.send(source.from, handles, nr))
			stage_fail(stage, "receiver", -ESTALE);
		for (uint32_t done = 0; done < nr;) {
			uint32_t put = evr_spsc_push(ring, handles + done, nr - done);

			if (!put)
				evr_pause();
			done += put;
		}
		left -= nr;
	}
}

/* @see: reads the block, and frees it. */
static STAGE_INLINE uint64_t pieces_in(struct stage *stage, struct evr_spsc *ring, uint64_t count,
				       void *from, piece_see *see)
{
	uint64_t handles[PIECES_BATCH];
	uint64_t sum = 0;

	(void)stage;
	for (uint64_t left = count; left;) {
		uint32_t nr = (uint32_t)(left < PIECES_BATCH ? left : PIECES_BATCH);

		nr = evr_spsc_pop(ring, handles, nr);
		if (!nr)
			evr_pause();
		for (uint32_t i = 0; i < nr; i++)
			sum += see(from, handles[i]);
		left -= nr;
	}
	return sum;
}

#endif
