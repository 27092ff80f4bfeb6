/* SPDX-License-Identifier: MIT */
/* Queues of many: making, opening, waiting, counting; mpmc_cells.c moves the elements. */
#include <errno.h>
#include <string.h>

#include <evering/mpmc.h>

#include "backend.h"
#include "crowd.h"
#include "dir.h"
#include "dir_table.h"
#include "internal.h"
#include "mpmc.h"
#include "park.h"

#define MPMC_CAPACITY_DEFAULT 1024
#define MPMC_CAPACITY_MIN 2
#define MPMC_CAPACITY_MAX (1U << 24)
#define MPMC_ELEM_SZ_DEFAULT 8
#define MPMC_ELEM_SZ_MAX (1U << 20)
/* Larger elements lie beside the word. */
#define WORD_ELEM_SZ 4

EVR_STATIC_ASSERT(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "elements in a word");

static uint32_t mpmc_data_off(uint64_t elem_sz)
{
	if (elem_sz <= WORD_ELEM_SZ)
		return 0;
	return elem_sz % 16 ? 8 : 16;
}

/* From one cell to the next. */
static uint32_t mpmc_stride(uint64_t elem_sz)
{
	uint32_t off = mpmc_data_off(elem_sz);

	return off ? (uint32_t)EVR_ROUND_UP(off + elem_sz, off) : 8;
}

uint64_t evr_mpmc_crowds_sz(const struct evr_peer *peer)
{
	return 2 * evr_crowd_sz(peer->segment->layout.peers_max);
}

static uint64_t mpmc_cells_off(const struct evr_peer *peer)
{
	return sizeof(struct evr_mpmc_object) + evr_mpmc_crowds_sz(peer);
}

static struct evr_crowd *mpmc_crowd_at(const struct evr_mpmc *q, enum evr_role role)
{
	uint64_t sz = evr_crowd_sz(q->peer->segment->layout.peers_max);

	return (struct evr_crowd *)((uint8_t *)(q->shared + 1) + (uint64_t)role * sz);
}

int evr_mpmc_create(struct evr_peer *peer, const char *name, const struct evr_mpmc_options *options)
{
	struct evr_mpmc_geometry g = { .layout = EVR_MPMC_LAYOUT };
	struct evr_mpmc_options o;
	struct evr_object object;
	uint8_t *memory;
	int err;

	err = evr_options_read(&o, sizeof(o), options, "evr_mpmc_options");
	if (err)
		return err;
	g.capacity = o.capacity ? o.capacity : MPMC_CAPACITY_DEFAULT;
	g.elem_sz = o.elem_sz ? o.elem_sz : MPMC_ELEM_SZ_DEFAULT;
	g.type_tag = o.type_tag;
	if (!evr_lane_span_is_valid(g.capacity, MPMC_CAPACITY_MIN, MPMC_CAPACITY_MAX))
		return evr_fail(-EINVAL,
				"queue '%s': capacity %u is no power of two from 2 to 2^24", name,
				o.capacity);
	if (g.elem_sz > MPMC_ELEM_SZ_MAX)
		return evr_fail(-EINVAL, "queue '%s': elem_sz %u is more than 2^20", name,
				o.elem_sz);
	g.cells_off = mpmc_cells_off(peer);
	g.cells_sz = g.capacity * mpmc_stride(g.elem_sz);
	err = evr_dir_create(peer, name, EVR_KIND_MPMC, g.cells_off + g.cells_sz, &object);
	if (err)
		return err;
	memory = evr_peer_at(peer, object.off, object.sz);
	if (!memory) {
		evr_dir_remove(peer, &object);
		return evr_fail(-EBADMSG, "queue '%s': its %llu bytes at %llu are not mapped", name,
				(unsigned long long)object.sz, (unsigned long long)object.off);
	}
	/* Nobody finds it yet, and the memory may have served another object. */
	memset(memory, 0, object.sz);
	evr_copy_in(memory, &g, sizeof(g));
	return evr_dir_publish(peer, &object);
}

/* What the queue says of itself came from memory that others write. */
static int mpmc_check(struct evr_mpmc *q, const struct evr_mpmc_geometry *g)
{
	const struct evr_object *o = &q->object;

	if (g->layout != EVR_MPMC_LAYOUT)
		return evr_fail(-EBADMSG, "queue '%s': layout is %#llx, not %#llx", o->name,
				(unsigned long long)g->layout, EVR_MPMC_LAYOUT);
	if (!evr_lane_span_is_valid(g->capacity, MPMC_CAPACITY_MIN, MPMC_CAPACITY_MAX))
		return evr_fail(-EBADMSG, "queue '%s': capacity is %llu", o->name,
				(unsigned long long)g->capacity);
	if (!g->elem_sz || g->elem_sz > MPMC_ELEM_SZ_MAX)
		return evr_fail(-EBADMSG, "queue '%s': elem_sz is %llu", o->name,
				(unsigned long long)g->elem_sz);
	if (g->cells_off != mpmc_cells_off(q->peer) || g->cells_off > o->sz)
		return evr_fail(-EBADMSG, "queue '%s': cells_off is %llu", o->name,
				(unsigned long long)g->cells_off);
	if (g->cells_sz != g->capacity * mpmc_stride(g->elem_sz) ||
	    g->cells_sz > o->sz - g->cells_off)
		return evr_fail(-EBADMSG, "queue '%s': cells_sz is %llu, capacity %llu", o->name,
				(unsigned long long)g->cells_sz, (unsigned long long)g->capacity);
	return 0;
}

/* Who we are, and where the others sleep. */
void evr_mpmc_meet(struct evr_mpmc *q)
{
	int role;

	q->stamp = stamp_of(evr_peer_self(q->peer));
	for (role = 0; role < 2; role++)
		q->ends[role].waiting = mpmc_crowd_at(q, (enum evr_role)role);
}

/* Fill in a handle for the object that it names. */
static int mpmc_map(struct evr_mpmc *q, struct evr_mpmc_geometry *g)
{
	const struct evr_object *o = &q->object;
	int err;

	if (o->kind != EVR_KIND_MPMC)
		return evr_fail(-EINVAL, "'%s' is an object of kind %u, not %u", o->name, o->kind,
				EVR_KIND_MPMC);
	q->shared = o->sz < sizeof(*q->shared) ? NULL : evr_peer_at(q->peer, o->off, o->sz);
	if (!q->shared)
		return evr_fail(-EBADMSG, "queue '%s': its %llu bytes at %llu are not mapped",
				o->name, (unsigned long long)o->sz, (unsigned long long)o->off);
	evr_copy_out(g, &q->shared->geometry, sizeof(*g));
	err = mpmc_check(q, g);
	if (err) {
		q->shared = NULL;
		return err;
	}
	q->elem_sz = (uint32_t)g->elem_sz;
	q->mask = g->capacity - 1;
	q->shift = (uint32_t)__builtin_ctzll(g->capacity);
	q->data_off = mpmc_data_off(g->elem_sz);
	q->stride = mpmc_stride(g->elem_sz);
	q->cells = (uint8_t *)q->shared + g->cells_off;
	evr_mpmc_meet(q);
	return 0;
}

void evr_mpmc_join(struct evr_mpmc *q)
{
	bool registered = evr_park_register();
	int role;

	evr_mpmc_meet(q);
	for (role = 0; role < 2; role++)
		q->ends[role].waker.registered = registered;
	evr_a64_fetch_add(&q->shared->tallies.opens, 1);
}

static int mpmc_begin(struct evr_mpmc *q, uint64_t type_tag, uint32_t elem_sz)
{
	struct evr_mpmc_geometry g;
	int err, role;

	err = mpmc_map(q, &g);
	if (err)
		return err;
	if (type_tag && g.type_tag && type_tag != g.type_tag)
		err = evr_fail(-EINVAL, "queue '%s': type_tag is %#llx, not %#llx", q->object.name,
			       (unsigned long long)g.type_tag, (unsigned long long)type_tag);
	else if (elem_sz && elem_sz != q->elem_sz)
		err = evr_fail(-EINVAL, "queue '%s': elements have %u bytes, not %u",
			       q->object.name, q->elem_sz, elem_sz);
	if (err) {
		q->shared = NULL;
		return err;
	}
	for (role = 0; role < 2; role++)
		evr_mpmc_search(q, (enum evr_role)role);
	evr_mpmc_join(q);
	return 0;
}

int evr_mpmc_open_sized(struct evr_mpmc *queue, struct evr_peer *peer, const char *name,
			uint64_t type_tag, uint32_t elem_sz)
{
	int err;

	memset(queue, 0, sizeof(*queue));
	queue->peer = peer;
	if (!(evr_peer_rights(peer) & EVR_RIGHT_WRITE))
		return evr_fail(-EROFS, "queue '%s': an observer cannot change it", name);
	err = evr_dir_find(peer, name, &queue->object);
	if (err)
		return err;
	if (evr_dir_is_isolated(peer))
		return evr_fail(-EOPNOTSUPP, "queue '%s' is in the region of peer %u alone", name,
				queue->object.slot);
	err = evr_dir_join(peer, &queue->object);
	if (err)
		return err;
	err = mpmc_begin(queue, type_tag, elem_sz);
	if (err)
		evr_dir_leave(peer, &queue->object);
	return err;
}

int evr_mpmc_open(struct evr_mpmc *queue, struct evr_peer *peer, const char *name,
		  uint64_t type_tag)
{
	return evr_mpmc_open_sized(queue, peer, name, type_tag, 0);
}

void evr_mpmc_close(struct evr_mpmc *queue)
{
	struct evr_mpmc_end *out = &queue->ends[EVR_CONSUMER];

	if (!queue->shared)
		return;
	evr_mpmc_cancel(queue);
	if (out->granted)
		evr_mpmc_drop(queue, EVR_CONSUMER, out->grant & queue->mask, true);
	out->granted = false;
	queue->shared = NULL;
	evr_dir_leave(queue->peer, &queue->object);
}

enum evr_ring_state evr_mpmc_state(const struct evr_mpmc *queue)
{
	if (queue->why == EVR_RING_CORRUPT)
		return EVR_RING_CORRUPT;
	if (!queue->shared)
		return EVR_RING_CLOSED;
	if (!evr_peer_is_live(queue->peer, evr_peer_self(queue->peer)))
		return EVR_RING_REVOKED;
	return (enum evr_ring_state)queue->why;
}

struct mpmc_wait {
	struct evr_mpmc *queue;
	enum evr_role role;
	uint32_t want;
};

static bool mpmc_ready(void *arg)
{
	struct mpmc_wait *wait = arg;
	uint64_t u_word;
	enum mpmc_front front = evr_mpmc_front(wait->queue, wait->role, &u_word);

	if (front == MPMC_READY && wait->want > 1)
		return evr_mpmc_has_room(wait->queue, wait->want);
	return front == MPMC_READY || front == MPMC_NONSENSE;
}

int evr_mpmc_wait(struct evr_mpmc *q, struct evr_waiter *w, enum evr_role role, uint32_t want,
		  uint64_t deadline_ns)
{
	struct mpmc_wait wait = { .queue = q, .role = role, .want = want };
	int err = evr_ring_state_error((enum evr_ring_state)q->why);
	uint64_t parks;

	if (!q->shared)
		return evr_fail(-EPIPE, "this handle of the queue is closed");
	if (err)
		return err;
	parks = w->counts.parks;
	evr_a64_fetch_add(&q->shared->tallies.blocked[role], 1);
	err = evr_waiter_wait_crowd(w, q->ends[role].waiting, mpmc_ready, &wait, deadline_ns);
	if (w->counts.parks != parks)
		evr_a64_fetch_add(&q->shared->tallies.parks[role], 1);
	return err == -EOWNERDEAD ? -ESHUTDOWN : err;
}

/*
 * Whoever leaves a wait has been rung perhaps, and then must not leave behind what it was
 * rung for: hence the last look.
 */
int evr_mpmc_push_wait(struct evr_mpmc *queue, struct evr_waiter *waiter, const void *elems,
		       uint32_t nr, uint64_t deadline_ns)
{
	const uint8_t *from = elems;
	uint32_t done = 0;
	int err = 0;

	if (nr > INT32_MAX)
		nr = INT32_MAX;
	for (;;) {
		done += evr_mpmc_push(queue, from + (size_t)done * queue->elem_sz, nr - done);
		if (done == nr || err)
			break;
		err = evr_mpmc_wait(queue, waiter, EVR_PRODUCER, 1, deadline_ns);
	}
	return done ? (int)done : err;
}

int evr_mpmc_pop_wait(struct evr_mpmc *queue, struct evr_waiter *waiter, void *elems, uint32_t nr,
		      uint64_t deadline_ns)
{
	uint32_t done;
	int err = 0;

	if (nr > INT32_MAX)
		nr = INT32_MAX;
	for (;;) {
		done = evr_mpmc_pop(queue, elems, nr);
		if (done || err || !nr)
			return done ? (int)done : err;
		err = evr_mpmc_wait(queue, waiter, EVR_CONSUMER, 1, deadline_ns);
	}
}

void evr_mpmc_count(const struct evr_mpmc *q, struct evr_mpmc_counts *out)
{
	const struct evr_mpmc_tallies *t = &q->shared->tallies;
	int role;

	/* Holes and losses first: so none is counted that is not yet in the positions. */
	out->holes = evr_mpmc_dropped(q, EVR_PRODUCER);
	out->lost = evr_mpmc_dropped(q, EVR_CONSUMER);
	out->out = evr_mpmc_front_pos(q, EVR_CONSUMER);
	out->in = evr_mpmc_front_pos(q, EVR_PRODUCER);
	out->opens = evr_a64_load_relaxed(&t->opens);
	out->corrupt = evr_a64_load_relaxed(&t->corrupt);
	for (role = 0; role < 2; role++) {
		out->blocked[role] = evr_a64_load_relaxed(&t->blocked[role]);
		out->parks[role] = evr_a64_load_relaxed(&t->parks[role]);
		out->rings[role] = evr_a64_load_relaxed(&t->rings[role]);
	}
}

void evr_mpmc_counts(const struct evr_mpmc *queue, struct evr_mpmc_counts *out)
{
	memset(out, 0, sizeof(*out));
	if (queue->shared)
		evr_mpmc_count(queue, out);
}

int evr_mpmc_view(struct evr_mpmc *q)
{
	struct evr_mpmc_geometry g;

	return mpmc_map(q, &g);
}

int evr_mpmc_stat(struct evr_peer *peer, const char *name, struct evr_mpmc_counts *out)
{
	struct evr_mpmc q = { .peer = peer };
	int err;

	memset(out, 0, sizeof(*out));
	err = evr_dir_find(peer, name, &q.object);
	if (!err)
		err = evr_mpmc_view(&q);
	if (!err)
		evr_mpmc_count(&q, out);
	return err;
}

void evr_mpmc_settle_cells(struct evr_mpmc *q, struct evr_reap_report *report)
{
	int role;

	evr_mpmc_meet(q);
	report->claims += evr_mpmc_drop_dead(q);
	for (role = 0; role < 2; role++)
		evr_crowd_settle(q->peer, q->ends[role].waiting);
}

void evr_mpmc_settle(struct evr_peer *peer, const struct evr_object *obj,
		     struct evr_reap_report *report)
{
	struct evr_mpmc q = { .peer = peer, .object = *obj };

	if (!evr_mpmc_view(&q))
		evr_mpmc_settle_cells(&q, report);
}
