// SPDX-License-Identifier: MIT
/* Blocks of the segment's heap and of a pool, against malloc(3): got and freed, here and elsewhere. */
#include <errno.h>
#include <string.h>

#include <evering/pool.h>

#include "allocator.h"
#include "bench.h"
#include "pieces.h"

#define SEGMENT_SZ (16ULL << 20)
#define HEAP_SZ (8ULL << 20)
#define RING_CAPACITY 8192
#define POOL_BLOCKS 64

static int prepare(struct stage *stage)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = SEGMENT_SZ,
					       .peers_max = 8 };

	return evr_segment_create(
		&stage->segment,
		stage->backend == EVR_BACKEND_DEVICE ? "device:" : "local:", &options);
}

static void make_heap(struct stage *stage)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options), .sz = HEAP_SZ };
	int err = evr_heap_create(stage->peer, "heap", &options);

	if (err)
		stage_fail(stage, "heap", err);
}

static void open_heap(struct stage *stage, struct evr_heap *heap)
{
	int err = evr_heap_open(heap, stage->peer, "heap");

	if (err)
		stage_fail(stage, "heap", err);
}

static STAGE_INLINE struct evr_block heap_make(void *from, uint64_t size)
{
	return evr_heap_alloc(from, size);
}

static STAGE_INLINE void heap_drop(void *from, struct evr_block block)
{
	if (evr_heap_free(from, block.handle))
		__builtin_trap();
}

static STAGE_INLINE void heap_near(struct stage *stage, pieces_loop *loop)
{
	struct evr_heap heap;

	stage_attach(stage);
	make_heap(stage);
	open_heap(stage, &heap);
	pieces_run(stage, &heap, loop, heap_make, heap_drop);
	evr_heap_close(&heap);
	stage_detach(stage);
}

static void pairs_near(struct stage *stage)
{
	heap_near(stage, pieces_pairs);
}

static void many_near(struct stage *stage)
{
	heap_near(stage, pieces_many);
}

static void random_near(struct stage *stage)
{
	heap_near(stage, pieces_random);
}

static struct evr_block pool_make(void *from, uint64_t size)
{
	struct evr_block block = { NULL, EVR_HANDLE_NONE };

	evr_pool_alloc(from, size, &block);
	return block;
}

static void pool_drop(void *from, struct evr_block block)
{
	if (evr_pool_free(from, block.handle))
		__builtin_trap();
}

static void pool_near(struct stage *stage)
{
	struct evr_pool_options options = { .struct_sz = sizeof(options) };
	struct evr_pool pool;
	int err;

	options.classes[0].sz = (uint32_t)stage->size;
	options.classes[0].nr = POOL_BLOCKS;
	stage_attach(stage);
	err = evr_pool_create(stage->peer, "pool", &options);
	if (!err)
		err = evr_pool_open(&pool, stage->peer, "pool");
	if (err)
		stage_fail(stage, "pool", err);
	pieces_run(stage, &pool, pieces_pairs, pool_make, pool_drop);
	evr_pool_close(&pool);
	stage_detach(stage);
}

/* What one side of a ring of handles needs. */
struct trade {
	struct evr_heap heap;
	struct evr_peer_id to;
	struct evr_spsc ring;
};

static void open_trade(struct stage *stage, struct trade *trade)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options),
					    .capacity = RING_CAPACITY };
	bool is_near = stage->side == STAGE_NEAR;
	int err = 0;

	stage_attach(stage);
	if (is_near) {
		make_heap(stage);
		err = evr_spsc_create(stage->peer, "handles", &options);
	}
	stage_meet(stage);
	open_heap(stage, &trade->heap);
	if (!err)
		err = evr_spsc_open(&trade->ring, stage->peer, "handles",
				    is_near ? EVR_PRODUCER : EVR_CONSUMER, 0);
	if (err)
		stage_fail(stage, "ring", err);
	trade->to = stage->shared->ids[!stage->side];
	stage_meet(stage);
}

static void close_trade(struct stage *stage, struct trade *trade)
{
	stage_meet(stage);
	evr_spsc_close(&trade->ring);
	evr_heap_close(&trade->heap);
	stage_detach(stage);
}

static STAGE_INLINE struct evr_block trade_make(void *from, uint64_t size)
{
	struct trade *trade = from;

	return evr_heap_alloc(&trade->heap, size);
}

static STAGE_INLINE bool trade_send(void *from, const uint64_t *handles, uint32_t nr)
{
	struct trade *trade = from;

	return evr_heap_transfer_many(&trade->heap, handles, nr, trade->to) == (int)nr;
}

static STAGE_INLINE uint64_t trade_see(void *from, uint64_t handle)
{
	struct trade *trade = from;
	uint64_t *ptr = evr_heap_resolve(&trade->heap, handle, NULL);
	uint64_t value = ptr ? *ptr : 0;

	if (evr_heap_free(&trade->heap, handle))
		__builtin_trap();
	return value;
}

/* What the ring alone takes: numbers that stand for no block. */
static STAGE_INLINE struct evr_block none_make(void *from, uint64_t size)
{
	static uint64_t place;

	(void)from;
	return (struct evr_block){ &place, size };
}

static STAGE_INLINE uint64_t none_see(void *from, uint64_t handle)
{
	(void)from;
	return handle;
}

static STAGE_INLINE void trade_run(struct stage *stage, piece_make *make, piece_send *send,
				   piece_see *see)
{
	struct trade trade;
	struct piece_source source = { &trade, make, send };
	uint64_t sum = 0;
	bool is_near = stage->side == STAGE_NEAR;

	open_trade(stage, &trade);
	if (is_near)
		pieces_out(stage, &trade.ring, stage->warmup, source);
	else
		pieces_in(stage, &trade.ring, stage->warmup, &trade, see);
	stage_begin(stage);
	if (is_near)
		pieces_out(stage, &trade.ring, stage->count, source);
	else
		sum = pieces_in(stage, &trade.ring, stage->count, &trade, see);
	stage_end(stage);
	stage->shared->halves[stage->side].check = sum;
	close_trade(stage, &trade);
}

static void trade_side(struct stage *stage)
{
	trade_run(stage, trade_make, trade_send, trade_see);
}

static void alone_side(struct stage *stage)
{
	trade_run(stage, none_make, NULL, none_see);
}

static const struct allocator libc = { NULL, "malloc", "free" };

static const struct rival heap_pairs = { "evering heap", RIVAL_SPINS, prepare, pairs_near,
					 stage_look_on };
static const struct rival pool_pairs = { "evering pool", RIVAL_SPINS, prepare, pool_near,
					 stage_look_on };
static const struct rival heap_many = { "evering heap", RIVAL_SPINS, prepare, many_near,
					stage_look_on };
static const struct rival heap_random = { "evering heap", RIVAL_SPINS, prepare, random_near,
					  stage_look_on };
static const struct rival heap_remote = { "evering heap", RIVAL_SPINS, prepare, trade_side,
					  trade_side };
static const struct rival alone = { "the ring alone", RIVAL_SPINS, prepare, alone_side,
				    alone_side };
static const struct rival libc_pairs = { "malloc",	  RIVAL_SPINS,	  allocator_prepare,
					 allocator_pairs, stage_look_on, &libc };
static const struct rival libc_many = { "malloc",	RIVAL_SPINS,	allocator_prepare,
					allocator_many, stage_look_on, &libc };
static const struct rival libc_random = { "malloc",	    RIVAL_SPINS,    allocator_prepare,
					  allocator_random, stage_look_on, &libc };
static const struct rival libc_remote = { "malloc",	    RIVAL_SPINS,    allocator_prepare_remote,
					  allocator_remote, stage_look_on, &libc };

const struct bench heap_bench = {
	.name = "heap",
	.summary = "a block is got, written into and freed, one at a time",
	.unit = BENCH_MESSAGES,
	.sizes = { 16, 64, 256, 1024, 4096, 65536 },
	.batch = 1,
	.rivals = { &heap_pairs, &pool_pairs, &libc_pairs },
	.ratios = { { &heap_pairs, &libc_pairs }, { &pool_pairs, &libc_pairs } },
};

const struct bench heap_many_bench = {
	.name = "heap-many",
	.summary = "a hundred blocks are got and then freed in the same order; each counts",
	.unit = BENCH_MESSAGES,
	.sizes = { 64 },
	.batch = 1,
	.rivals = { &heap_many, &libc_many },
	.ratios = { { &heap_many, &libc_many } },
};

const struct bench heap_random_bench = {
	.name = "heap-random",
	.summary = "one of 1024 blocks is freed and another got, of random sizes from 16 bytes up",
	.unit = BENCH_MESSAGES,
	.sizes = { 1039 },
	.batch = 1,
	.rivals = { &heap_random, &libc_random },
	.ratios = { { &heap_random, &libc_random } },
};

const struct bench heap_remote_bench = {
	.name = "heap-remote",
	.summary = "blocks got here, sent through a ring and freed there; by malloc between threads",
	.unit = BENCH_MESSAGES,
	.sizes = { 64 },
	.batch = 1,
	.rivals = { &heap_remote, &alone, &libc_remote },
	.ratios = { { &heap_remote, &libc_remote }, { &heap_remote, &alone } },
};
