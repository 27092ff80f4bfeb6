// SPDX-License-Identifier: MIT
/*
 * Groups of provided buffers: places, each with a buffer of the caller's while the group
 * has it to give. In the kernel a group is a ring of descriptors, which lies in
 * private memory: no peer can change where the kernel writes. Without it, a stack.
 */
#include "driver.h"

#include <sys/mman.h>

#define PLACES_MAX 32768u

struct place {
	void *buf;
	uint32_t len;
	bool given; /* the group has it */
};

struct group {
	struct group *next;
	uint32_t nr, available;
	uint32_t ops; /* that receive into it */
	uint16_t bgid;
	struct io_uring_buf_ring *ring; /* NULL: the stack is used */
	struct place *places;
	uint16_t *stack;
};

static struct group *group_of(const struct evr_driver *d, uint16_t bgid)
{
	struct group *g;

	for (g = d->groups; g && g->bgid != bgid; g = g->next)
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

static void group_free(struct evr_driver *d, struct group *g)
{
	if (g->ring) {
		if (d->ring.exists)
			io_uring_unregister_buf_ring(&d->ring.uring, g->bgid);
		munmap(g->ring, ring_sz(g));
	}
	free(g->places);
	free(g->stack);
	free(g);
}

int evr_buffers_create(struct evr_driver *d, uint16_t bgid, uint32_t nr)
{
	struct group *g;
	int err;

	err = driver_check(d);
	if (err)
		return err;
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
	g->next = d->groups;
	d->groups = g;
	return 0;
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
	if (bid >= g->nr || !buf || !len)
		return evr_fail(-EINVAL, "buffers: %u bytes at %p for place %u of %u", len, buf,
				bid, g->nr);
	if (g->places[bid].given)
		return evr_fail(-EBUSY, "buffers: place %u has one", bid);
	g->places[bid] = (struct place){ buf, len, true };
	if (g->ring) {
		io_uring_buf_ring_add(g->ring, buf, len, bid, (int)g->nr - 1, 0);
		io_uring_buf_ring_advance(g->ring, 1);
	} else {
		g->stack[g->available] = bid;
	}
	g->available++;
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

	for (at = &d->groups; *at != g; at = &(*at)->next)
		;
	*at = g->next;
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
	group_of(d, bgid)->ops += (uint32_t)nr;
}

/* A completion names this place: its buffer is the caller's now. */
void *evr_group_buffer(struct evr_driver *d, uint16_t bgid, uint16_t bid)
{
	struct group *g = group_of(d, bgid);

	if (!g || bid >= g->nr || !g->places[bid].given)
		return NULL;
	g->places[bid].given = false;
	g->available--;
	return g->places[bid].buf;
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
