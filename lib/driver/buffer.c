// SPDX-License-Identifier: MIT
/*
 * Groups of provided buffers: places, each with a buffer of the caller's while the group
 * has it to give. In the kernel a group is a ring of descriptors, which lies in
 * private memory: no peer can change where the kernel writes. Without it, a stack.
 *
 * A group of blocks fills its places by itself, when it is made, when a completion has taken
 * one, when an op that receives into it is submitted, and when it is asked to; where its
 * heap or pool has no block the place stays empty until then.
 */
#include "driver.h"

#include <evering/pool.h>

#include <sys/mman.h>

#define PLACES_MAX 32768u

struct place {
	void *buf;
	uint32_t len;
	bool given; /* the group has it */
	uint64_t handle; /* of a block */
};

struct group {
	struct group *link; /* the next one */
	uint32_t nr, available;
	uint32_t ops; /* that receive into it */
	uint16_t bgid;
	struct io_uring_buf_ring *ring; /* NULL: the stack is used */
	struct place *places;
	uint16_t *stack;
	struct evr_block_source source; /* sz 0: the caller provides */
	uint32_t next; /* place to look at first for one that is empty */
};

static struct group *group_of(const struct evr_driver *d, uint16_t bgid)
{
	struct group *g;

	for (g = d->groups; g && g->bgid != bgid; g = g->link)
		;
	return g;
}

static size_t ring_sz(const struct group *g)
{
	return g->nr * sizeof(struct io_uring_buf);
}

static void group_register(struct evr_driver *d, struct group *g)
{
	struct io_uring_buf_reg reg = { .ring_entries = g->nr, .bgid = g->bgid };
	void *ring;

	if (!d->ring.exists || d->groups_refused)
		return;
	ring = mmap(NULL, ring_sz(g), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ring == MAP_FAILED)
		return;
	reg.ring_addr = (uintptr_t)ring;
	if (io_uring_register_buf_ring(&d->ring.uring, &reg, 0)) {
		d->groups_refused = true;
		munmap(ring, ring_sz(g));
		return;
	}
	g->ring = ring;
	io_uring_buf_ring_init(g->ring);
}

static void block_free(const struct group *g, uint64_t handle)
{
	if (g->source.pool)
		evr_pool_free(g->source.pool, handle);
	else
		evr_heap_free(g->source.heap, handle);
}

/* What no completion has named is still ours. */
static void blocks_free(struct group *g)
{
	uint32_t bid;

	for (bid = 0; bid < g->nr; bid++)
		if (g->places[bid].given)
			block_free(g, g->places[bid].handle);
}

static void group_free(struct evr_driver *d, struct group *g)
{
	if (g->ring) {
		if (d->ring.exists)
			io_uring_unregister_buf_ring(&d->ring.uring, g->bgid);
		munmap(g->ring, ring_sz(g));
	}
	if (g->source.sz && g->places)
		blocks_free(g);
	free(g->places);
	free(g->stack);
	free(g);
}

static int group_create(struct evr_driver *d, uint16_t bgid, uint32_t nr, struct group **out)
{
	struct group *g;

	if (!nr || nr > PLACES_MAX)
		return evr_fail(-EINVAL, "buffers: %u places, 1 to %u", nr, PLACES_MAX);
	if (group_of(d, bgid))
		return -EEXIST;
	g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	for (g->nr = 1; g->nr < nr;)
		g->nr *= 2;
	g->bgid = bgid;
	g->places = calloc(g->nr, sizeof(*g->places));
	g->stack = calloc(g->nr, sizeof(*g->stack));
	if (!g->places || !g->stack) {
		group_free(d, g);
		return -ENOMEM;
	}
	group_register(d, g);
	/* Without the ring, an op of io_uring would not find the buffers. */
	if (d->ring.exists && !g->ring) {
		group_free(d, g);
		return evr_fail(-EOPNOTSUPP, "buffers: the kernel has no rings of buffers (5.19)");
	}
	*out = g;
	return 0;
}

static void group_add(struct evr_driver *d, struct group *g)
{
	g->link = d->groups;
	d->groups = g;
}

int evr_buffers_create(struct evr_driver *d, uint16_t bgid, uint32_t nr)
{
	struct group *g;
	int err;

	err = driver_check(d);
	if (!err)
		err = group_create(d, bgid, nr, &g);
	if (!err)
		group_add(d, g);
	return err;
}

static void place_give(struct group *g, uint16_t bid, void *buf, uint32_t len)
{
	g->places[bid].buf = buf;
	g->places[bid].len = len;
	g->places[bid].given = true;
	if (g->ring) {
		io_uring_buf_ring_add(g->ring, buf, len, bid, (int)g->nr - 1, 0);
		io_uring_buf_ring_advance(g->ring, 1);
	} else {
		g->stack[g->available] = bid;
	}
	g->available++;
}

static int block_alloc(const struct group *g, struct evr_block *block)
{
	const struct evr_block_source *from = &g->source;

	if (from->pool)
		return evr_pool_alloc(from->pool, from->sz, block);
	*block = from->shared ? evr_heap_alloc_shared(from->heap, from->sz) :
				evr_heap_alloc(from->heap, from->sz);
	return block->ptr ? 0 : evr_heap_error(from->heap);
}

/* A block into each place that has none. 0; why there was none for the first that stays empty. */
static int group_refill(struct group *g)
{
	struct evr_block block;
	int err;

	while (g->available < g->nr) {
		while (g->places[g->next].given)
			g->next = (g->next + 1) & (g->nr - 1);
		err = block_alloc(g, &block);
		if (err)
			return err;
		g->places[g->next].handle = block.handle;
		place_give(g, (uint16_t)g->next, block.ptr, g->source.sz);
	}
	return 0;
}

static int source_check(const struct evr_block_source *source)
{
	if (!source->heap == !source->pool)
		return evr_fail(-EINVAL, "evr_block_source: a heap or a pool, one of them");
	if (!source->sz)
		return evr_fail(-EINVAL, "evr_block_source: blocks of 0 bytes");
	if (source->shared && source->pool)
		return evr_fail(-EINVAL, "evr_block_source: the blocks of a pool are not shared");
	return 0;
}

int evr_buffers_create_blocks(struct evr_driver *d, uint16_t bgid, uint32_t nr,
			      const struct evr_block_source *source)
{
	struct evr_block_source from;
	struct group *g = NULL;
	int err;

	err = driver_check(d);
	if (!err)
		err = evr_options_read(&from, sizeof(from), source, "evr_block_source");
	if (!err)
		err = source_check(&from);
	if (!err)
		err = group_create(d, bgid, nr, &g);
	if (err)
		return err;
	g->source = from;
	err = group_refill(g);
	/* None now is not none for ever. */
	if (err && err != -ENOMEM && err != -ENOBUFS) {
		group_free(d, g);
		return err;
	}
	group_add(d, g);
	return 0;
}

int evr_buffers_refill(struct evr_driver *d, uint16_t bgid)
{
	struct group *g;
	int err;

	err = driver_check(d);
	if (err)
		return err;
	g = group_of(d, bgid);
	if (!g)
		return -ENOENT;
	if (!g->source.sz)
		return evr_fail(-EINVAL, "buffers: group %u is not one of blocks", bgid);
	group_refill(g);
	return (int)g->available;
}

int evr_buffers_provide(struct evr_driver *d, uint16_t bgid, uint16_t bid, void *buf, uint32_t len)
{
	struct group *g;
	int err;

	err = driver_check(d);
	if (err)
		return err;
	g = group_of(d, bgid);
	if (!g)
		return -ENOENT;
	if (g->source.sz)
		return evr_fail(-EINVAL, "buffers: group %u takes its blocks by itself", bgid);
	if (bid >= g->nr || !buf || !len)
		return evr_fail(-EINVAL, "buffers: %u bytes at %p for place %u of %u", len, buf,
				bid, g->nr);
	if (g->places[bid].given)
		return evr_fail(-EBUSY, "buffers: place %u has one", bid);
	place_give(g, bid, buf, len);
	return 0;
}

int evr_buffers_return(struct evr_driver *d, uint16_t bgid, uint16_t bid)
{
	struct group *g = group_of(d, bgid);

	if (!g)
		return -ENOENT;
	if (bid >= g->nr)
		return -EINVAL;
	return evr_buffers_provide(d, bgid, bid, g->places[bid].buf, g->places[bid].len);
}

int evr_buffers_nr(const struct evr_driver *d, uint16_t bgid)
{
	const struct group *g = group_of(d, bgid);

	return g ? (int)g->available : -ENOENT;
}

static int group_remove(struct evr_driver *d, struct group *g)
{
	struct group **at;

	for (at = &d->groups; *at != g; at = &(*at)->link)
		;
	*at = g->link;
	group_free(d, g);
	return 0;
}

int evr_buffers_destroy(struct evr_driver *d, uint16_t bgid)
{
	struct group *g;
	int err;

	err = driver_check(d);
	if (err)
		return err;
	g = group_of(d, bgid);
	if (!g)
		return -ENOENT;
	if (g->ops)
		return evr_fail(-EBUSY, "buffers: %u ops receive into group %u", g->ops, bgid);
	return group_remove(d, g);
}

void evr_groups_fini(struct evr_driver *d)
{
	while (d->groups)
		group_remove(d, d->groups);
}

bool evr_group_exists(const struct evr_driver *d, uint16_t bgid)
{
	return group_of(d, bgid);
}

void evr_group_hold(struct evr_driver *d, uint16_t bgid, int nr)
{
	struct group *g = group_of(d, bgid);

	g->ops += (uint32_t)nr;
	if (nr > 0 && g->source.sz)
		group_refill(g);
}

/* A completion names this place: its buffer is the caller's now. */
void evr_group_take(struct evr_driver *d, struct evr_completion *done)
{
	struct group *g = group_of(d, done->bgid);
	struct place *place;

	if (!g || done->bid >= g->nr || !g->places[done->bid].given)
		return;
	place = &g->places[done->bid];
	place->given = false;
	g->available--;
	done->buf = place->buf;
	if (!g->source.sz)
		return;
	done->value = place->handle;
	group_refill(g);
}

/* Nobody is to have what this completion brought. */
void evr_group_give_back(struct evr_driver *d, const struct evr_completion *done)
{
	struct group *g = group_of(d, done->bgid);

	if (!g || !done->buf)
		return;
	if (g->source.sz)
		block_free(g, done->value);
	else
		evr_buffers_return(d, done->bgid, done->bid);
}

/* Emulated: the buffer that a call may use; it is taken when a completion names it. */
int evr_group_pick(struct evr_driver *d, struct extra *extra, struct iovec *buffer)
{
	struct group *g = group_of(d, extra->op.bgid);

	if (!g->available)
		return -ENOBUFS;
	extra->bid = g->stack[g->available - 1];
	buffer->iov_base = g->places[extra->bid].buf;
	buffer->iov_len = g->places[extra->bid].len;
	return 0;
}
