/* SPDX-License-Identifier: MIT */
/*
 * Frames over a lane; include/evering/bytes.h has the model.
 *
 * A position counts bytes and runs freely; position p lies at p mod capacity, save
 * that a frame goes on from where it starts: data has capacity + the size of the
 * largest frame. Two frames never share a byte: what sticks out behind the capacity
 * belongs to the one frame across the boundary, and there is at most one, because
 * the next such frame ends at least a capacity later, when this one was released.
 */
#include <errno.h>
#include <string.h>

#include <evering/bytes.h>

#include "bytes.h"
#include "internal.h"

#define CAPACITY_DEFAULT (256U << 10)
#define CAPACITY_MIN 1024U
#define CAPACITY_MAX (1ULL << 46)
#define FRAME_ALIGN EVR_FRAME_HEADER_SZ
#define KIND_SHIFT 56
#define LEN_MAX ((1ULL << KIND_SHIFT) - 1)

/* Positions that a frame of @sz bytes of data takes; @sz is at most a capacity. */
static uint64_t frame_span(uint64_t sz)
{
	return EVR_FRAME_HEADER_SZ + EVR_ROUND_UP(sz, FRAME_ALIGN);
}

static struct evr_frame *frame_at(const struct evr_bytes *b, uint64_t pos)
{
	return (struct evr_frame *)(b->lane.data + (pos & b->mask));
}

int evr_bytes_geometry(const char *name, uint64_t capacity, uint64_t frame_max,
		       struct evr_lane_geometry *g)
{
	memset(g, 0, sizeof(*g));
	g->span = capacity ? capacity : CAPACITY_DEFAULT;
	if (!evr_lane_span_is_valid(g->span, CAPACITY_MIN, CAPACITY_MAX))
		return evr_fail(-EINVAL,
				"stream '%s': capacity %llu is no power of two from 1024 to 2^46",
				name, (unsigned long long)capacity);
	if (frame_max > g->span - EVR_FRAME_HEADER_SZ)
		return evr_fail(-EINVAL,
				"stream '%s': frame_max %llu is more than the capacity less %d",
				name, (unsigned long long)frame_max, EVR_FRAME_HEADER_SZ);
	g->unit_sz = frame_max ? frame_span(frame_max) : g->span;
	g->data_sz = g->span + g->unit_sz;
	return 0;
}

int evr_bytes_create(struct evr_peer *peer, const char *name,
		     const struct evr_bytes_options *options)
{
	struct evr_lane_geometry g;
	struct evr_bytes_options o;
	int err;

	err = evr_options_read(&o, sizeof(o), options, "evr_bytes_options");
	if (!err)
		err = evr_bytes_geometry(name, o.capacity, o.frame_max, &g);
	return err ? err : evr_lane_create(peer, name, EVR_KIND_BYTES, &g);
}

/* The geometry came from memory that others write. */
static int bytes_check(const struct evr_lane *l)
{
	const struct evr_lane_geometry *g = &l->geometry;

	if (!evr_lane_span_is_valid(g->span, CAPACITY_MIN, CAPACITY_MAX))
		return evr_fail(-EBADMSG, "stream '%s': capacity is %llu", l->object.name,
				(unsigned long long)g->span);
	if (g->unit_sz <= EVR_FRAME_HEADER_SZ || g->unit_sz > g->span || g->unit_sz % FRAME_ALIGN ||
	    g->data_sz < g->span + g->unit_sz)
		return evr_fail(-EBADMSG,
				"stream '%s': unit_sz is %llu, capacity %llu, data_sz %llu",
				l->object.name, (unsigned long long)g->unit_sz,
				(unsigned long long)g->span, (unsigned long long)g->data_sz);
	return 0;
}

int evr_bytes_view(struct evr_bytes *bytes)
{
	struct evr_lane *l = &bytes->lane;

	bytes->mask = l->span - 1;
	bytes->frame_max = l->geometry.unit_sz - EVR_FRAME_HEADER_SZ;
	return bytes_check(l);
}

int evr_bytes_begin(struct evr_bytes *bytes)
{
	struct evr_lane *l = &bytes->lane;
	int err;

	err = evr_bytes_view(bytes);
	if (err) {
		evr_lane_abandon(l);
		return err;
	}
	bytes->frames = evr_a64_load_relaxed(&l->mine->counts.messages);
	err = evr_lane_start(l);
	if (!err && l->pos % FRAME_ALIGN) {
		evr_lane_corrupt(l, "the own position", l->pos);
		evr_lane_abandon(l);
		err = -EBADMSG;
	}
	bytes->published = l->pos;
	return err;
}

int evr_bytes_open(struct evr_bytes *bytes, struct evr_peer *peer, const char *name,
		   enum evr_role role)
{
	int err;

	memset(bytes, 0, sizeof(*bytes));
	err = evr_lane_open(&bytes->lane, peer, name, EVR_KIND_BYTES, role);
	return err ? err : evr_bytes_begin(bytes);
}

void evr_bytes_flush_to(struct evr_bytes *bytes, uint64_t pos, uint64_t frames)
{
	struct evr_lane *l = &bytes->lane;

	/* A lane of two halves may begin anywhere when they meet. */
	if (bytes->published == pos || !l->mine)
		return;
	bytes->published = pos;
	evr_a64_store_relaxed(&l->mine->counts.messages, frames);
	evr_a64_store_release(&l->mine->pos, pos); /* LANE-DATA */
	evr_lane_ring(l);
}

void evr_bytes_flush(struct evr_bytes *bytes)
{
	evr_bytes_flush_to(bytes, bytes->lane.pos, bytes->frames);
}

void evr_bytes_close(struct evr_bytes *bytes)
{
	bytes->granted = false;
	evr_bytes_flush(bytes);
	evr_lane_close(&bytes->lane);
}

/* Available positions, with a look at the other side only when they are less than @span. */
static bool bytes_has(struct evr_bytes *b, uint64_t span)
{
	return evr_lane_avail(&b->lane) >= span || evr_lane_refresh(&b->lane) >= span;
}

void *evr_bytes_reserve(struct evr_bytes *bytes, uint64_t sz)
{
	bytes->granted = false;
	if (sz > bytes->frame_max || !bytes_has(bytes, frame_span(sz)))
		return NULL;
	bytes->granted = true;
	bytes->grant_sz = sz;
	return frame_at(bytes, bytes->lane.pos) + 1;
}

int evr_bytes_commit_more(struct evr_bytes *bytes, uint64_t used_sz, uint32_t kind)
{
	uint64_t pos = bytes->lane.pos;
	struct evr_frame *frame;

	if (!bytes->granted || bytes->lane.role != EVR_PRODUCER)
		return evr_fail(-EINVAL, "stream '%s': commit of a frame that was not reserved",
				bytes->lane.object.name);
	if (used_sz > bytes->grant_sz || kind > 0xff)
		return evr_fail(-EINVAL,
				"stream '%s': commit of %llu bytes, kind %u, reserved %llu",
				bytes->lane.object.name, (unsigned long long)used_sz, kind,
				(unsigned long long)bytes->grant_sz);
	if (frame_span(used_sz) > evr_lane_avail(&bytes->lane))
		return -EBADMSG; /* the other side was found corrupt since the reserve */
	frame = frame_at(bytes, pos);
	evr_a64_store_relaxed(&frame->len_kind, (uint64_t)kind << KIND_SHIFT | used_sz);
	evr_a64_store_relaxed(&frame->stamp, pos);
	bytes->granted = false;
	bytes->frames++;
	bytes->lane.pos = pos + frame_span(used_sz);
	return 0;
}

void *evr_bytes_granted(const struct evr_bytes *bytes)
{
	return frame_at(bytes, bytes->lane.pos) + 1;
}

void evr_bytes_uncommit(struct evr_bytes *bytes, uint64_t used_sz)
{
	bytes->frames--;
	bytes->lane.pos -= frame_span(used_sz);
	/* No position is like this. Relaxed: nobody looks there before we are dead. */
	evr_a64_store_relaxed(&frame_at(bytes, bytes->lane.pos)->stamp, ~bytes->lane.pos);
}

int evr_bytes_commit(struct evr_bytes *bytes, uint64_t used_sz)
{
	int err = evr_bytes_commit_more(bytes, used_sz, EVR_FRAME_INLINE);

	if (!err)
		evr_bytes_flush(bytes);
	return err;
}

/* NULL; or what is wrong, and then view->sz is its value. */
static const char *frame_read(const struct evr_bytes *b, uint64_t pos, uint64_t avail,
			      struct evr_frame_view *view)
{
	struct evr_frame *frame = frame_at(b, pos);
	uint64_t u_len_kind = evr_a64_load_relaxed(&frame->len_kind);
	uint64_t u_stamp = evr_a64_load_relaxed(&frame->stamp);

	view->sz = u_stamp;
	if (u_stamp != pos)
		return "a frame's stamp";
	view->sz = u_len_kind & LEN_MAX;
	if (view->sz > b->frame_max || frame_span(view->sz) > avail)
		return "a frame's length";
	view->span = frame_span(view->sz);
	view->kind = (uint32_t)(u_len_kind >> KIND_SHIFT);
	view->data = frame + 1;
	return NULL;
}

bool evr_bytes_look(const struct evr_bytes *bytes, uint64_t pos, uint64_t avail,
		    struct evr_frame_view *view)
{
	/* The position may be what another says. */
	return pos % FRAME_ALIGN == 0 && !frame_read(bytes, pos, avail, view);
}

/* Read the header at our position once, and check it against what we know. */
static bool frame_open(struct evr_bytes *b)
{
	struct evr_lane *l = &b->lane;
	struct evr_frame_view view;
	const char *wrong;

	/* Of two halves the producer's says where we begin. */
	if (l->pos % FRAME_ALIGN) {
		evr_lane_corrupt(l, "the first position", l->pos);
		return false;
	}
	wrong = frame_read(b, l->pos, evr_lane_avail(l), &view);
	if (l->far && !evr_lane_vouch(l))
		return false;
	if (wrong) {
		evr_lane_corrupt(l, wrong, view.sz);
		return false;
	}
	b->granted = true;
	b->grant_sz = view.sz;
	b->grant_kind = view.kind;
	return true;
}

const void *evr_bytes_peek(struct evr_bytes *bytes, uint64_t *sz)
{
	*sz = 0;
	if (bytes->lane.role != EVR_CONSUMER)
		return NULL;
	if (!bytes->granted && (!bytes_has(bytes, EVR_FRAME_HEADER_SZ) || !frame_open(bytes)))
		return NULL;
	*sz = bytes->grant_sz;
	return frame_at(bytes, bytes->lane.pos) + 1;
}

bool evr_bytes_release_more(struct evr_bytes *bytes)
{
	if (!bytes->granted || bytes->lane.role != EVR_CONSUMER)
		return false;
	bytes->granted = false;
	if (bytes->lane.far && !evr_lane_vouch(&bytes->lane))
		return false;
	if (frame_span(bytes->grant_sz) > evr_lane_avail(&bytes->lane))
		return false; /* the other side was found corrupt since the peek */
	bytes->frames++;
	bytes->lane.pos += frame_span(bytes->grant_sz);
	return true;
}

bool evr_bytes_release(struct evr_bytes *bytes)
{
	bool released = evr_bytes_release_more(bytes);

	evr_bytes_flush(bytes);
	return released;
}

int evr_bytes_reserve_wait(struct evr_bytes *bytes, struct evr_waiter *waiter, uint64_t sz,
			   uint64_t deadline_ns, void **out)
{
	int err;

	*out = NULL;
	if (sz > bytes->frame_max)
		return evr_fail(-EMSGSIZE, "stream '%s': a frame of %llu bytes, at most %llu fit",
				bytes->lane.object.name, (unsigned long long)sz,
				(unsigned long long)bytes->frame_max);
	/* Room says nothing of whether anybody will take what goes there. */
	err = evr_lane_check(&bytes->lane);
	while (!err) {
		*out = evr_bytes_reserve(bytes, sz);
		if (*out)
			return 0;
		evr_bytes_flush(bytes);
		err = evr_lane_wait(&bytes->lane, waiter, frame_span(sz), deadline_ns);
	}
	return err;
}

int evr_bytes_peek_wait(struct evr_bytes *bytes, struct evr_waiter *waiter, uint64_t deadline_ns,
			const void **out, uint64_t *sz)
{
	int err = 0;

	while (!err) {
		*out = evr_bytes_peek(bytes, sz);
		if (*out)
			return 0;
		evr_bytes_flush(bytes);
		err = evr_lane_wait(&bytes->lane, waiter, EVR_FRAME_HEADER_SZ, deadline_ns);
	}
	return err;
}

int evr_bytes_write_wait(struct evr_bytes *bytes, struct evr_waiter *waiter, const void *data,
			 uint64_t sz, uint64_t deadline_ns)
{
	void *to;
	int err = evr_bytes_reserve_wait(bytes, waiter, sz, deadline_ns, &to);

	if (err)
		return err;
	if (sz)
		evr_copy_in(to, data, sz);
	return evr_bytes_commit(bytes, sz);
}

int64_t evr_bytes_read_wait(struct evr_bytes *bytes, struct evr_waiter *waiter, void *data,
			    uint64_t max, uint64_t deadline_ns)
{
	const void *from;
	uint64_t sz;
	int err = evr_bytes_peek_wait(bytes, waiter, deadline_ns, &from, &sz);

	if (err)
		return err;
	return evr_bytes_read(bytes, data, max);
}

int evr_bytes_write(struct evr_bytes *bytes, const void *data, uint64_t sz)
{
	void *to = evr_bytes_reserve(bytes, sz);
	int err;

	if (to) {
		if (sz)
			evr_copy_in(to, data, sz);
		return evr_bytes_commit(bytes, sz);
	}
	if (sz > bytes->frame_max)
		return evr_fail(-EMSGSIZE, "stream '%s': a frame of %llu bytes, at most %llu fit",
				bytes->lane.object.name, (unsigned long long)sz,
				(unsigned long long)bytes->frame_max);
	err = evr_ring_state_error(evr_bytes_state(bytes));
	return err ? err : -EAGAIN;
}

int64_t evr_bytes_read(struct evr_bytes *bytes, void *data, uint64_t max)
{
	enum evr_ring_state state = evr_bytes_state(bytes);
	const void *from;
	uint64_t sz;
	int err;

	/* The state first: what was published before the end comes before it. */
	from = evr_bytes_peek(bytes, &sz);
	if (!from) {
		err = evr_ring_state_error(bytes->lane.corrupt ? EVR_RING_CORRUPT : state);
		return err ? err : -EAGAIN;
	}
	if (sz > max)
		return evr_fail(-EMSGSIZE, "stream '%s': the frame has %llu bytes, room for %llu",
				bytes->lane.object.name, (unsigned long long)sz,
				(unsigned long long)max);
	if (sz)
		evr_copy_out(data, from, sz);
	if (!evr_bytes_release(bytes))
		return bytes->lane.corrupt ? -EBADMSG : -EOWNERDEAD;
	return (int64_t)sz;
}
