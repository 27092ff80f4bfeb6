// SPDX-License-Identifier: MIT
/*
 * Regions: memory that ops name by an offset, registered with the kernel as fixed
 * buffers where that is allowed. A region is a list of spans, each in one buffer of at
 * most 1 GiB; an op whose bytes do not lie within one span is done without.
 */
#include "driver.h"

#define SPAN_MAX (1ULL << 30)

struct span {
	uint64_t off, sz;
	uint32_t buffer; /* index in the kernel's table */
};

struct region {
	struct evr_peer *peer; /* NULL: of the caller's memory */
	unsigned char *base;
	uint64_t sz; /* bytes that were looked at so far */
	struct span *spans;
	uint32_t spans_nr;
	uint32_t refs;
	bool used;
	bool fixed;
};

static struct region *region_at(const struct evr_driver *d, uint16_t region)
{
	if (region >= d->regions_nr || !d->regions[region].used)
		return NULL;
	return &d->regions[region];
}

static void buffers_refuse(struct evr_driver *d, int err)
{
	d->buffers_refused = true;
	d->buffers_error = err;
}

/* The kernel's table, empty, at the first use. */
static bool table_exists(struct evr_driver *d)
{
	int err = -ENOMEM;

	if (d->buffers_nr || d->buffers_refused || !d->ring.exists)
		return d->buffers_nr;
	d->buffers_used = calloc(d->options.regions_max, 1);
	if (d->buffers_used)
		err = io_uring_register_buffers_sparse(&d->ring.uring, d->options.regions_max);
	if (!err)
		d->buffers_nr = d->options.regions_max;
	else
		buffers_refuse(d, err);
	return d->buffers_nr;
}

static int buffer_update(struct evr_driver *d, uint32_t buffer, void *base, uint64_t sz)
{
	struct iovec iov = { base, sz };
	__u64 tag = 0;
	int ret = io_uring_register_buffers_update_tag(&d->ring.uring, buffer, &iov, &tag, 1);

	return ret < 0 ? ret : 0;
}

/* One span into the kernel's table. False: it stays plain memory. */
static bool span_register(struct evr_driver *d, struct region *r, uint64_t off, uint64_t sz)
{
	struct span *spans;
	uint32_t buffer;
	int err;

	for (buffer = 0; buffer < d->buffers_nr && d->buffers_used[buffer]; buffer++)
		;
	if (buffer == d->buffers_nr)
		return false;
	spans = realloc(r->spans, (r->spans_nr + 1) * sizeof(*spans));
	if (!spans)
		return false;
	r->spans = spans;
	/* Memlock, memory that may not be pinned, a kernel before 6.5 and the device. */
	err = buffer_update(d, buffer, r->base + off, sz);
	if (err) {
		buffers_refuse(d, err);
		return false;
	}
	d->buffers_used[buffer] = 1;
	r->spans[r->spans_nr++] = (struct span){ off, sz, buffer };
	return true;
}

static bool range_register(struct evr_driver *d, struct region *r, uint64_t off, uint64_t sz)
{
	uint64_t part;

	if (!table_exists(d))
		return false;
	for (; sz; off += part, sz -= part) {
		part = sz < SPAN_MAX ? sz : SPAN_MAX;
		if (!span_register(d, r, off, part))
			return false;
	}
	return true;
}

/* Of a segment's range what this peer may write: registration takes no other memory. */
static bool peer_register(struct evr_driver *d, struct region *r, uint64_t off, uint64_t sz)
{
	if (!sz)
		return true;
	if (!evr_peer_at(r->peer, off, sz) || !evr_peer_is_writable(r->peer, off, sz))
		return false;
	return range_register(d, r, off, sz);
}

static int region_new(struct evr_driver *d, struct region **out, uint16_t *region)
{
	struct region *regions;
	uint32_t i;

	for (i = 0; i < d->regions_nr && d->regions[i].used; i++)
		;
	if (i == d->options.regions_max)
		return evr_fail(-ENOSPC, "driver: regions_max is %u", d->options.regions_max);
	if (i == d->regions_nr) {
		regions = realloc(d->regions, (i + 1) * sizeof(*regions));
		if (!regions)
			return -ENOMEM;
		d->regions = regions;
		d->regions_nr++;
	}
	memset(&d->regions[i], 0, sizeof(d->regions[i]));
	d->regions[i].used = true;
	*out = &d->regions[i];
	*region = (uint16_t)i;
	return 0;
}

int evr_region_add(struct evr_driver *d, void *base, uint64_t sz, uint16_t *region)
{
	struct region *r;
	int err;

	err = driver_check(d);
	if (err)
		return err;
	if (!base || !sz || (uintptr_t)base + sz < (uintptr_t)base)
		return evr_fail(-EINVAL, "region: %llu bytes at %p", (unsigned long long)sz, base);
	err = region_new(d, &r, region);
	if (err)
		return err;
	r->base = base;
	r->sz = sz;
	r->fixed = range_register(d, r, 0, sz);
	return 0;
}

int evr_region_add_peer(struct evr_driver *d, struct evr_peer *peer, uint16_t *region)
{
	struct evr_segment_info info;
	struct region *r;
	int err;

	err = driver_check(d);
	if (!err)
		err = evr_segment_info(evr_peer_segment(peer), &info);
	if (!err)
		err = region_new(d, &r, region);
	if (err)
		return err;
	r->peer = peer;
	r->base = evr_peer_at(peer, 0, 1);
	r->sz = info.size;
	r->fixed = peer_register(d, r, info.shared_off, info.shared_sz);
	if (r->fixed && info.peer_sz && evr_peer_self(peer).slot != EVR_SLOT_ANY)
		r->fixed = peer_register(d, r,
					 info.peers_off + evr_peer_self(peer).slot * info.peer_sz,
					 info.peer_sz);
	if (r->fixed)
		r->fixed = peer_register(d, r, info.grown_off, info.size - info.grown_off);
	return 0;
}

int64_t evr_region_grow(struct evr_driver *d, uint16_t region)
{
	struct evr_segment_info info;
	uint64_t more;
	struct region *r;
	int err;

	err = driver_check(d);
	if (err)
		return err;
	r = region_at(d, region);
	if (!r)
		return -EBADF;
	if (!r->peer)
		return -EINVAL;
	err = evr_segment_info(evr_peer_segment(r->peer), &info);
	if (err)
		return err;
	more = info.size - r->sz;
	if (more && !peer_register(d, r, r->sz, more))
		r->fixed = false;
	r->sz = info.size;
	return (int64_t)more;
}

static void region_drop(struct evr_driver *d, struct region *r)
{
	uint32_t i;

	for (i = 0; i < r->spans_nr; i++) {
		if (d->ring.exists)
			buffer_update(d, r->spans[i].buffer, NULL, 0);
		d->buffers_used[r->spans[i].buffer] = 0;
	}
	free(r->spans);
	memset(r, 0, sizeof(*r));
}

int evr_region_remove(struct evr_driver *d, uint16_t region)
{
	struct region *r;
	int err;

	err = driver_check(d);
	if (err)
		return err;
	r = region_at(d, region);
	if (!r)
		return -EBADF;
	if (r->refs)
		return evr_fail(-EBUSY, "region %u: %u ops use it", region, r->refs);
	region_drop(d, r);
	return 0;
}

int evr_region_is_fixed(const struct evr_driver *d, uint16_t region)
{
	const struct region *r = region_at(d, region);

	return r ? r->fixed : -EBADF;
}

/* The span that holds all of these bytes. */
static const struct span *span_of(const struct region *r, uint64_t off, uint64_t sz)
{
	uint32_t i;

	for (i = 0; i < r->spans_nr; i++)
		if (off >= r->spans[i].off && off - r->spans[i].off < r->spans[i].sz &&
		    sz <= r->spans[i].sz - (off - r->spans[i].off))
			return &r->spans[i];
	return NULL;
}

/* The op's offset becomes an address, and file the fixed buffer + 1 or 0. */
int evr_region_translate(struct evr_driver *d, struct evr_op *op)
{
	struct region *r = region_at(d, op->region);
	const struct span *span;
	unsigned char *at = NULL;
	uint64_t off = op->addr;

	if (!r)
		return evr_fail(-EBADF, "op %s: no region %u", evr_op_name(op->code), op->region);
	if (r->peer)
		at = evr_peer_at(r->peer, off, op->len);
	else if (off <= r->sz && op->len <= r->sz - off)
		at = r->base + off;
	if (!at)
		return evr_fail(-EFAULT, "op %s: %u bytes at %#llx are not in region %u",
				evr_op_name(op->code), op->len, (unsigned long long)off,
				op->region);
	span = span_of(r, off, op->len);
	op->addr = (uintptr_t)at;
	op->file = span ? span->buffer + 1 : 0;
	return 0;
}

void evr_region_hold(struct evr_driver *d, const struct evr_op *op, int nr)
{
	d->regions[op->region].refs += (uint32_t)nr;
}

/* By hand: what the ring's end gives back, comes back late. */
void evr_regions_fini(struct evr_driver *d)
{
	uint32_t i;

	for (i = 0; i < d->regions_nr; i++)
		if (d->regions[i].used)
			region_drop(d, &d->regions[i]);
	if (d->ring.exists && d->buffers_nr)
		io_uring_unregister_buffers(&d->ring.uring);
	free(d->regions);
	free(d->buffers_used);
}
