/* SPDX-License-Identifier: MIT */
/*
 * Sequences of calls on a heap and a pool by two peers, compared with a list of who has
 * which block: none is given twice, what is written stays, a life that is over answers
 * -ESTALE, and at the end all is free.
 *
 * input      {op:8 | block:8 | size:16} ...
 */
#include "fuzz.h"

#include <errno.h>

#include "world.h"

#define BLOCKS_MAX 64
#define PEERS 2

enum state { NONE, LIVE, INFLIGHT };

/* What the model knows of one. */
struct held {
	struct evr_block block;
	uint64_t sz; /* asked for, and filled */
	enum state state;
	int owner; /* peer; of one in flight: who will have it */
	bool is_pool;
};

static struct scene {
	struct evr_peer *peers[PEERS];
	struct evr_heap heaps[PEERS];
	struct evr_pool pools[PEERS];
	struct held held[BLOCKS_MAX];
} s;

static unsigned char pattern(const struct held *h)
{
	return (unsigned char)(h->block.handle * 31 + (h->block.handle >> 36));
}

static void fill(struct held *h)
{
	memset(h->block.ptr, pattern(h), h->sz);
}

static void check_content(const struct held *h, const struct held *as, uint64_t sz)
{
	const unsigned char *at = h->block.ptr;
	uint64_t i;

	for (i = 0; i < sz; i++)
		FUZZ_CHECK(at[i] == pattern(as));
}

static void *resolve(const struct held *h, int peer, uint64_t *sz)
{
	return h->is_pool ? evr_pool_resolve(&s.pools[peer], h->block.handle, sz) :
			    evr_heap_resolve(&s.heaps[peer], h->block.handle, sz);
}

static int free_by(const struct held *h, int peer)
{
	return h->is_pool ? evr_pool_free(&s.pools[peer], h->block.handle) :
			    evr_heap_free(&s.heaps[peer], h->block.handle);
}

static void op_alloc(struct held *h, int peer, uint64_t sz, uint32_t how)
{
	h->sz = 1 + sz % 9000;
	h->is_pool = how == 3;
	switch (how) {
	case 0:
		h->block = evr_heap_alloc(&s.heaps[peer], h->sz);
		break;
	case 1:
		h->block = evr_heap_alloc_aligned(&s.heaps[peer], h->sz, 1ULL << sz % 13);
		FUZZ_CHECK((uintptr_t)h->block.ptr % (1ULL << sz % 13) == 0);
		break;
	case 2:
		h->block = evr_heap_alloc_shared(&s.heaps[peer], h->sz);
		break;
	default:
		h->sz = 1 + sz % 200;
		if (evr_pool_alloc(&s.pools[peer], h->sz, &h->block))
			h->block.ptr = NULL;
	}
	if (!h->block.ptr)
		return;
	h->state = LIVE;
	h->owner = peer;
	fill(h);
}

/* It has another place or size now, and the content that it had. */
static void op_realloc(struct held *h, uint64_t sz)
{
	struct held before = *h;
	int err;

	if (h->is_pool || h->state != LIVE)
		return;
	sz = 1 + sz % 9000;
	err = evr_heap_realloc(&s.heaps[h->owner], &h->block, sz);
	FUZZ_CHECK(err >= 0 || err == -ENOMEM);
	if (err < 0)
		return;
	h->sz = sz;
	check_content(h, &before, sz < before.sz ? sz : before.sz);
	if (err == 1)
		FUZZ_CHECK(!resolve(&before, before.owner, NULL));
	fill(h);
}

static void op_transfer(struct held *h, int to)
{
	struct evr_peer_id id = evr_peer_self(s.peers[to]);
	int err;

	err = h->is_pool ? evr_pool_transfer(&s.pools[h->owner], h->block.handle, id) :
			   evr_heap_transfer(&s.heaps[h->owner], h->block.handle, id);
	FUZZ_CHECK(err == (h->state == LIVE ? 0 : -ESTALE));
	if (err)
		return;
	h->state = INFLIGHT;
	h->owner = to;
}

static void op_accept(struct held *h, int peer)
{
	int err = h->is_pool ? evr_pool_accept(&s.pools[peer], h->block.handle) :
			       evr_heap_accept(&s.heaps[peer], h->block.handle);

	FUZZ_CHECK(err == (h->state == INFLIGHT && h->owner == peer ? 0 : -ESTALE));
	if (!err)
		h->state = LIVE;
}

/* Both of them hold it, or one; each lets go once. */
static void op_share(struct held *h, uint64_t how)
{
	struct evr_peer_id to[PEERS] = { evr_peer_self(s.peers[0]), evr_peer_self(s.peers[1]) };
	int got, peer;

	if (h->is_pool || h->state != LIVE)
		return;
	got = evr_heap_share(&s.heaps[h->owner], h->block.handle, to, PEERS);
	FUZZ_CHECK(got == PEERS || got == -ESTALE);
	if (got < 0)
		return;
	check_content(h, h, h->sz);
	for (peer = 0; peer < PEERS; peer++) {
		FUZZ_CHECK(resolve(h, peer, NULL));
		if (how >> peer & 1)
			FUZZ_CHECK(!evr_heap_hold(&s.heaps[peer], h->block.handle));
		FUZZ_CHECK(!evr_heap_drop(&s.heaps[peer], h->block.handle));
		FUZZ_CHECK(evr_heap_drop(&s.heaps[peer], h->block.handle) == -ESTALE);
	}
	FUZZ_CHECK(!resolve(h, 0, NULL));
	h->state = NONE;
}

static void op_free(struct held *h)
{
	if (h->state == LIVE)
		check_content(h, h, h->sz);
	FUZZ_CHECK(free_by(h, !h->owner) == -ESTALE);
	FUZZ_CHECK(!free_by(h, h->owner));
	FUZZ_CHECK(free_by(h, h->owner) == -ESTALE);
	FUZZ_CHECK(!resolve(h, h->owner, NULL));
	h->state = NONE;
}

static void op_recall(struct held *h)
{
	struct evr_peer_id to = evr_peer_self(s.peers[h->owner]);
	int err, from = !h->owner;

	err = h->is_pool ? evr_pool_recall(&s.pools[from], h->block.handle, to) :
			   evr_heap_recall(&s.heaps[from], h->block.handle, to);
	/* It was sent by the other, or by the one who has it to itself. */
	FUZZ_CHECK(err == 0 || err == -ESTALE);
	if (err)
		return;
	FUZZ_CHECK(h->state == INFLIGHT);
	h->state = LIVE;
	h->owner = from;
}

static void op(struct fuzz_input *in)
{
	uint32_t what = (uint32_t)fuzz_take(in, 1), peer = what >> 7;
	struct held *h = &s.held[fuzz_take(in, 1) % BLOCKS_MAX];
	uint64_t sz = fuzz_take(in, 2);

	what &= 0x7f;
	if (h->state == NONE)
		op_alloc(h, (int)peer, what & 0x40 ? sz : sz % 600, what % 4);
	else if (what < 40)
		op_free(h);
	else if (what < 60)
		op_realloc(h, sz);
	else if (what < 85)
		op_transfer(h, (int)peer);
	else if (what < 110)
		op_accept(h, (int)peer);
	else if (what < 116)
		op_recall(h);
	else if (what < 122)
		op_share(h, sz);
	else
		evr_heap_trim(&s.heaps[peer]);
}

static void begin(void)
{
	static struct evr_peer *second;
	int i;

	s.peers[0] = world_begin();
	if (!second)
		FUZZ_CHECK(!evr_peer_attach(&second, evr_peer_segment(s.peers[0]), NULL));
	s.peers[1] = second;
	for (i = 0; i < PEERS; i++) {
		FUZZ_CHECK(!evr_heap_open(&s.heaps[i], s.peers[i], "heap"));
		FUZZ_CHECK(!evr_pool_open(&s.pools[i], s.peers[i], "pool"));
	}
	memset(s.held, 0, sizeof(s.held));
}

/* Nothing is left, and nothing has got lost. */
static void end(void)
{
	struct evr_pool_usage pool;
	struct evr_heap_usage heap;
	uint32_t i;

	for (i = 0; i < BLOCKS_MAX; i++)
		if (s.held[i].state != NONE)
			op_free(&s.held[i]);
	evr_pool_usage(&s.pools[0], &pool);
	for (i = 0; i < pool.classes; i++)
		FUZZ_CHECK(!pool.class_[i].used);
	/* What one has in its store, or in a slab of its own, the other cannot give back. */
	evr_heap_close(&s.heaps[1]);
	evr_heap_trim(&s.heaps[0]);
	evr_heap_usage(&s.heaps[0], &heap);
	FUZZ_CHECK(!heap.blocks && !heap.cached && !heap.corrupt);
	FUZZ_CHECK(heap.bytes_free == heap.bytes_max);
	evr_heap_close(&s.heaps[0]);
	for (i = 0; i < PEERS; i++)
		evr_pool_close(&s.pools[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz)
{
	struct fuzz_input in = { data, sz };
	uint32_t i;

	begin();
	while (in.left)
		op(&in);
	for (i = 0; i < BLOCKS_MAX; i++)
		if (s.held[i].state == LIVE)
			check_content(&s.held[i], &s.held[i], s.held[i].sz);
	end();
	return 0;
}
