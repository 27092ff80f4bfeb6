/* SPDX-License-Identifier: MIT */
/*
 * Logs: records over the cells of mpmc_cells.c; include/evering/log.h has the model.
 *
 * A unit's memory lies at its index; a record that starts near the end uses what lies
 * behind the last unit in place of the first ones, which it has claimed as well: there
 * is at most one such record, for they are claimed in turn.
 *
 * The consumer's position stands in its side of the lane, written after the record's
 * cells are free, the last one first: who takes over finds the record still whole,
 * or its first cell free, and then all of it.
 */
#include "log.h"

#include <errno.h>
#include <string.h>

#include "dir.h"
#include "dir_table.h"
#include "internal.h"
#include "mpmc_cell.h"
#include "object.h"
#include "owner.h"

#define LOG_CAPACITY_DEFAULT (256ULL << 10)
#define LOG_RECORD_DEFAULT 4080
#define LOG_UNIT_SZ 64
#define LOG_UNIT_MAX (1ULL << 32)
#define LOG_UNITS_MIN 2
#define LOG_UNITS_MAX (1ULL << 24)
#define LOG_LAYOUT 0x31304c4c525645ULL /* "EVRLL01" */

/* Bytes of a unit, so that the largest record takes no more than a run has. */
static uint64_t unit_for(uint64_t record_max)
{
	uint64_t sz = record_max + EVR_RECORD_HEADER_SZ;

	return EVR_ROUND_UP((sz + MPMC_RUN_MAX - 1) / MPMC_RUN_MAX, LOG_UNIT_SZ);
}

static uint64_t words_off(const struct evr_peer *peer)
{
	return sizeof(struct evr_mpmc_object) + evr_mpmc_crowds_sz(peer);
}

/* Words, and memory for all units and what of the largest record sticks out. */
static uint64_t log_cells_sz(uint64_t units, uint64_t unit_sz)
{
	uint64_t words_sz = EVR_ROUND_UP(units * sizeof(struct evr_a64), EVR_LINE_SZ);

	return words_sz + (units + (units < MPMC_RUN_MAX ? units : MPMC_RUN_MAX)) * unit_sz;
}

static int log_plan(struct evr_peer *peer, const char *name, const struct evr_log_options *options,
		    struct evr_mpmc_geometry *g)
{
	uint64_t record_max, capacity, units;
	struct evr_log_options o;
	int err;

	err = evr_options_read(&o, sizeof(o), options, "evr_log_options");
	if (err)
		return err;
	record_max = o.record_max ? o.record_max : LOG_RECORD_DEFAULT;
	capacity = o.capacity ? o.capacity : LOG_CAPACITY_DEFAULT;
	if (record_max > capacity - EVR_RECORD_HEADER_SZ || capacity <= EVR_RECORD_HEADER_SZ)
		return evr_fail(-EINVAL,
				"log '%s': record_max %llu is more than the capacity %llu less %d",
				name, (unsigned long long)record_max, (unsigned long long)capacity,
				EVR_RECORD_HEADER_SZ);
	g->elem_sz = record_max < LOG_UNIT_MAX ? unit_for(record_max) : LOG_UNIT_MAX + 1;
	for (units = LOG_UNITS_MIN; units < LOG_UNITS_MAX && units * g->elem_sz < capacity;)
		units *= 2;
	if (g->elem_sz > LOG_UNIT_MAX || units * g->elem_sz < capacity)
		return evr_fail(-EINVAL, "log '%s': capacity %llu is more than 2^24 units of %llu",
				name, (unsigned long long)capacity, (unsigned long long)g->elem_sz);
	g->layout = LOG_LAYOUT;
	g->capacity = units;
	g->cells_off = words_off(peer);
	g->cells_sz = log_cells_sz(units, g->elem_sz);
	return 0;
}

int evr_log_create(struct evr_peer *peer, const char *name, const struct evr_log_options *options)
{
	struct evr_lane_geometry lane = { .layout = EVR_LANE_LAYOUT };
	struct evr_mpmc_geometry g = { 0 };
	struct evr_log_object *o;
	struct evr_object object;
	int err;

	err = log_plan(peer, name, options, &g);
	if (err)
		return err;
	err = evr_dir_create(peer, name, EVR_KIND_LOG, sizeof(o->lane) + g.cells_off + g.cells_sz,
			     &object);
	if (err)
		return err;
	o = evr_peer_at(peer, object.off, object.sz);
	if (!o) {
		evr_dir_remove(peer, &object);
		return evr_fail(-EBADMSG, "log '%s': its %llu bytes at %llu are not mapped", name,
				(unsigned long long)object.sz, (unsigned long long)object.off);
	}
	/* Nobody finds it yet, and the memory may have served another object. */
	memset(o, 0, sizeof(o->lane) + g.cells_off + g.capacity * sizeof(struct evr_a64));
	lane.span = g.capacity;
	lane.unit_sz = g.elem_sz;
	evr_copy_in(&o->lane.geometry, &lane, sizeof(lane));
	evr_copy_in(&o->cells.geometry, &g, sizeof(g));
	return evr_dir_publish(peer, &object);
}

/* What the log says of itself came from memory that others write. */
static int log_check(const struct evr_log *log, const struct evr_mpmc_geometry *g)
{
	const struct evr_object *o = &log->cells.object;

	if (g->layout != LOG_LAYOUT)
		return evr_fail(-EBADMSG, "log '%s': layout is %#llx, not %#llx", o->name,
				(unsigned long long)g->layout, LOG_LAYOUT);
	if (!evr_lane_span_is_valid(g->capacity, LOG_UNITS_MIN, LOG_UNITS_MAX))
		return evr_fail(-EBADMSG, "log '%s': capacity is %llu", o->name,
				(unsigned long long)g->capacity);
	if (!g->elem_sz || g->elem_sz > LOG_UNIT_MAX || g->elem_sz % LOG_UNIT_SZ)
		return evr_fail(-EBADMSG, "log '%s': elem_sz is %llu", o->name,
				(unsigned long long)g->elem_sz);
	if (g->cells_off != words_off(log->cells.peer) ||
	    g->cells_off > o->sz - sizeof(struct evr_lane_object))
		return evr_fail(-EBADMSG, "log '%s': cells_off is %llu", o->name,
				(unsigned long long)g->cells_off);
	if (g->cells_sz != log_cells_sz(g->capacity, g->elem_sz) ||
	    g->cells_sz > o->sz - sizeof(struct evr_lane_object) - g->cells_off)
		return evr_fail(-EBADMSG, "log '%s': cells_sz is %llu, capacity %llu, elem_sz %llu",
				o->name, (unsigned long long)g->cells_sz,
				(unsigned long long)g->capacity, (unsigned long long)g->elem_sz);
	return 0;
}

/* Fill in a handle for the object that its cells name. */
int evr_log_view(struct evr_log *log)
{
	struct evr_mpmc *q = &log->cells;
	const struct evr_object *o = &q->object;
	struct evr_mpmc_geometry g;
	struct evr_log_object *shared;
	uint64_t run_max;
	int err;

	if (o->kind != EVR_KIND_LOG)
		return evr_fail(-EINVAL, "'%s' is an object of kind %u, not %u", o->name, o->kind,
				EVR_KIND_LOG);
	shared = o->sz < sizeof(*shared) ? NULL : evr_peer_at(q->peer, o->off, o->sz);
	if (!shared)
		return evr_fail(-EBADMSG, "log '%s': its %llu bytes at %llu are not mapped",
				o->name, (unsigned long long)o->sz, (unsigned long long)o->off);
	evr_copy_out(&g, &shared->cells.geometry, sizeof(g));
	err = log_check(log, &g);
	if (err)
		return err;
	q->shared = &shared->cells;
	q->mask = g.capacity - 1;
	q->shift = (uint32_t)__builtin_ctzll(g.capacity);
	q->stride = sizeof(struct evr_a64);
	q->data_off = sizeof(struct evr_a64); /* beside the words */
	q->cells = (uint8_t *)q->shared + g.cells_off;
	log->unit_sz = (uint32_t)g.elem_sz;
	log->data = q->cells + EVR_ROUND_UP(g.capacity * sizeof(struct evr_a64), EVR_LINE_SZ);
	run_max = g.capacity < MPMC_RUN_MAX ? g.capacity : MPMC_RUN_MAX;
	log->record_max = run_max * g.elem_sz - EVR_RECORD_HEADER_SZ;
	return 0;
}

static int consumer_open(struct evr_log *log, const char *name)
{
	struct evr_mpmc *q = &log->cells;
	int err = evr_lane_open(&log->lane, q->peer, name, EVR_KIND_LOG, EVR_CONSUMER);

	if (err)
		return err;
	q->object = log->lane.object;
	err = evr_log_view(log);
	if (err) {
		evr_lane_abandon(&log->lane);
		return err;
	}
	/* It came with the role; nonsense is nothing that a search does not find. */
	q->ends[EVR_CONSUMER].pos = evr_a64_load_relaxed(&log->lane.mine->pos); /* LANE-ROLE */
	return 0;
}

static int producer_open(struct evr_log *log, const char *name)
{
	struct evr_mpmc *q = &log->cells;
	int err = evr_dir_find(q->peer, name, &q->object);

	if (!err)
		err = evr_dir_join(q->peer, &q->object);
	if (err)
		return err;
	err = evr_log_view(log);
	if (err)
		evr_dir_leave(q->peer, &q->object);
	else
		evr_mpmc_search(q, EVR_PRODUCER);
	return err;
}

int evr_log_open(struct evr_log *log, struct evr_peer *peer, const char *name, enum evr_role role)
{
	int err;

	memset(log, 0, sizeof(*log));
	log->cells.peer = peer;
	log->role = (uint8_t)role;
	if (role != EVR_PRODUCER && role != EVR_CONSUMER)
		return evr_fail(-EINVAL, "log '%s': role %d is none", name, (int)role);
	if (!(evr_peer_rights(peer) & EVR_RIGHT_WRITE))
		return evr_fail(-EROFS, "log '%s': an observer cannot change it", name);
	if (evr_dir_is_isolated(peer))
		return evr_fail(-EOPNOTSUPP, "log '%s': no memory here is written by all", name);
	err = role == EVR_PRODUCER ? producer_open(log, name) : consumer_open(log, name);
	if (!err)
		evr_mpmc_join(&log->cells);
	return err;
}

void evr_log_close(struct evr_log *log)
{
	if (!log->cells.shared)
		return;
	evr_log_cancel(log);
	log->cells.shared = NULL;
	log->grant_run = 0;
	if (log->role == EVR_CONSUMER)
		evr_lane_close(&log->lane);
	else
		evr_dir_leave(log->cells.peer, &log->cells.object);
}

void *evr_log_reserve(struct evr_log *log, uint64_t sz)
{
	if (log->role != EVR_PRODUCER || sz > log->record_max)
		return NULL;
	evr_log_cancel(log);
	log->grant_run = evr_mpmc_claim_all(&log->cells, evr_log_units(log, sz), &log->grant);
	log->grant_sz = sz;
	return log->grant_run ? evr_log_unit(log, log->grant) + EVR_RECORD_HEADER_SZ : NULL;
}

int evr_log_commit(struct evr_log *log, uint64_t used_sz)
{
	struct record_header header = { .sz = used_sz,
					.stamp = pos_in_laps(&log->cells, log->grant) };

	if (log->role != EVR_PRODUCER || !log->grant_run || used_sz > log->grant_sz)
		return evr_fail(-EINVAL, "log '%s': commit of %llu bytes, reserved %llu",
				log->cells.object.name, (unsigned long long)used_sz,
				(unsigned long long)(log->grant_run ? log->grant_sz : 0));
	evr_copy_in(evr_log_unit(log, log->grant), &header, sizeof(header));
	evr_mpmc_publish(&log->cells, log->grant, log->grant_run);
	log->grant_run = 0;
	return 0;
}

void evr_log_cancel(struct evr_log *log)
{
	if (log->role != EVR_PRODUCER || !log->grant_run)
		return;
	log->grant_run = 0;
	evr_mpmc_cancel_claim(&log->cells, log->grant);
}

/* Where the consumer is, for its successor and for observers. */
static void log_note(struct evr_log *log)
{
	evr_a64_store_release(&log->lane.mine->pos, /* LANE-ROLE */
			      log->cells.ends[EVR_CONSUMER].pos);
}

const void *evr_log_peek(struct evr_log *log, uint64_t *sz)
{
	struct evr_mpmc_end *end = &log->cells.ends[EVR_CONSUMER];
	struct record_header header;
	uint64_t before = end->pos;
	uint32_t run;

	*sz = 0;
	if (log->role != EVR_CONSUMER || !log->cells.shared)
		return NULL;
	if (!log->grant_run) {
		run = evr_mpmc_oldest(&log->cells);
		if (end->pos != before)
			log_note(log);
		if (!run)
			return NULL;
		evr_copy_out(&header, evr_log_unit(log, end->pos), sizeof(header));
		if (header.sz > (uint64_t)run * log->unit_sz - EVR_RECORD_HEADER_SZ) {
			evr_mpmc_corrupt(&log->cells, EVR_CONSUMER, header.sz);
			return NULL;
		}
		log->grant_run = run;
		log->grant_sz = header.sz;
	}
	*sz = log->grant_sz;
	return evr_log_unit(log, end->pos) + EVR_RECORD_HEADER_SZ;
}

void evr_log_release(struct evr_log *log)
{
	struct evr_a64 *records;

	if (log->role != EVR_CONSUMER || !log->grant_run)
		return;
	evr_mpmc_take(&log->cells, log->grant_run);
	log->grant_run = 0;
	log_note(log);
	/* Relaxed, and no RMW: only the consumer writes it, and it decides nothing. */
	records = &log->lane.mine->counts.messages;
	evr_a64_store_relaxed(records, evr_a64_load_relaxed(records) + 1);
}

static int log_too_large(const struct evr_log *log, uint64_t sz)
{
	return evr_fail(-EMSGSIZE, "log '%s': a record of %llu bytes, at most %llu fit",
			log->cells.object.name, (unsigned long long)sz,
			(unsigned long long)log->record_max);
}

/* Why nothing was there, now. */
static int log_error(const struct evr_log *log)
{
	int err = evr_ring_state_error(evr_log_state(log));

	return err ? err : -EAGAIN;
}

int evr_log_write(struct evr_log *log, const void *data, uint64_t sz)
{
	void *to = evr_log_reserve(log, sz);

	if (!to)
		return sz > log->record_max ? log_too_large(log, sz) : log_error(log);
	if (sz)
		evr_copy_in(to, data, sz);
	return evr_log_commit(log, sz);
}

int64_t evr_log_read(struct evr_log *log, void *data, uint64_t max)
{
	uint64_t sz;
	const void *from = evr_log_peek(log, &sz);

	if (!from)
		return log_error(log);
	if (sz > max)
		return evr_fail(-EMSGSIZE, "log '%s': the record has %llu bytes, room for %llu",
				log->cells.object.name, (unsigned long long)sz,
				(unsigned long long)max);
	if (sz)
		evr_copy_out(data, from, sz);
	evr_log_release(log);
	return (int64_t)sz;
}

/* The last look after a wait that failed: see evr_mpmc_push_wait(). */
int evr_log_reserve_wait(struct evr_log *log, struct evr_waiter *waiter, uint64_t sz,
			 uint64_t deadline_ns, void **out)
{
	int err = 0;

	*out = NULL;
	if (sz > log->record_max && log->cells.shared)
		return log_too_large(log, sz);
	for (;;) {
		*out = evr_log_reserve(log, sz);
		if (*out || err)
			return *out ? 0 : err;
		err = evr_mpmc_wait(&log->cells, waiter, EVR_PRODUCER,
				    log->unit_sz ? evr_log_units(log, sz) : 1, deadline_ns);
	}
}

int evr_log_peek_wait(struct evr_log *log, struct evr_waiter *waiter, uint64_t deadline_ns,
		      const void **out, uint64_t *sz)
{
	int err = 0;

	for (;;) {
		*out = evr_log_peek(log, sz);
		if (*out || err)
			return *out ? 0 : err;
		err = evr_mpmc_wait(&log->cells, waiter, EVR_CONSUMER, 1, deadline_ns);
	}
}

int evr_log_write_wait(struct evr_log *log, struct evr_waiter *waiter, const void *data,
		       uint64_t sz, uint64_t deadline_ns)
{
	void *to;
	int err = evr_log_reserve_wait(log, waiter, sz, deadline_ns, &to);

	if (err)
		return err;
	if (sz)
		evr_copy_in(to, data, sz);
	return evr_log_commit(log, sz);
}

int64_t evr_log_read_wait(struct evr_log *log, struct evr_waiter *waiter, void *data, uint64_t max,
			  uint64_t deadline_ns)
{
	const void *from;
	uint64_t sz;
	int err = evr_log_peek_wait(log, waiter, deadline_ns, &from, &sz);

	return err ? err : evr_log_read(log, data, max);
}

static void log_counts(const struct evr_log *log, struct evr_log_counts *out)
{
	const struct evr_log_object *o =
		(const struct evr_log_object *)((const uint8_t *)log->cells.shared -
						sizeof(struct evr_lane_object));
	const struct evr_lane_side *side = &o->lane.sides[EVR_CONSUMER];
	struct evr_a64 *owners = evr_dir_owners(log->cells.peer, &log->cells.object);
	struct evr_mpmc_counts c;
	uint64_t u_owner;

	evr_mpmc_count(&log->cells, &c);
	*out = (struct evr_log_counts){ .in = c.in,
					.holes = c.holes,
					.opens = c.opens,
					.corrupt = c.corrupt,
					.consumer = { .slot = EVR_SLOT_ANY } };
	memcpy(out->blocked, c.blocked, sizeof(out->blocked));
	memcpy(out->parks, c.parks, sizeof(out->parks));
	memcpy(out->rings, c.rings, sizeof(out->rings));
	out->out = evr_a64_load_relaxed(&side->pos);
	out->records = evr_a64_load_relaxed(&side->counts.messages);
	u_owner = owners ? evr_a64_load_relaxed(&owners[EVR_CONSUMER]) : OWNER_FREE;
	if (owner_state(u_owner) == OWNER_HELD)
		out->consumer = owner_id(u_owner);
}

void evr_log_counts(const struct evr_log *log, struct evr_log_counts *out)
{
	memset(out, 0, sizeof(*out));
	if (log->cells.shared)
		log_counts(log, out);
}

int evr_log_stat(struct evr_peer *peer, const char *name, struct evr_log_counts *out)
{
	struct evr_log log = { .cells.peer = peer };
	int err;

	memset(out, 0, sizeof(*out));
	err = evr_dir_find(peer, name, &log.cells.object);
	if (!err)
		err = evr_log_view(&log);
	if (!err)
		log_counts(&log, out);
	return err;
}

void evr_log_settle(struct evr_peer *peer, const struct evr_object *obj,
		    struct evr_reap_report *report)
{
	struct evr_log log = { .cells.peer = peer, .cells.object = *obj };

	if (!evr_log_view(&log))
		evr_mpmc_settle_cells(&log.cells, report);
}

int evr_log_object_stat(struct evr_peer *peer, const struct evr_object *obj,
			struct evr_object_stat *out)
{
	struct evr_log log = { .cells.peer = peer, .cells.object = *obj };
	struct evr_flow_end *end = &out->flows[0].ends[EVR_CONSUMER];
	const struct evr_a64 *owners = evr_dir_owners(peer, obj);
	struct evr_log_counts c;
	int err = evr_log_view(&log);

	if (err || !owners)
		return err ? err : -EBADMSG;
	log_counts(&log, &c);
	evr_mpmc_flow(&log.cells, &out->flows[0]);
	out->flows_nr = 1;
	out->flows[0].unit_sz = log.unit_sz;
	out->flows[0].ends[EVR_PRODUCER].messages = 0;
	end->pos = c.out;
	end->messages = c.records;
	evr_end_owner(peer, evr_a64_load_acquire(&owners[EVR_CONSUMER]), end); /* LANE-ROLE */
	return 0;
}

int evr_log_object_held(const struct evr_held_walk *walk, const struct evr_object *obj)
{
	struct evr_log log = { .cells.peer = walk->peer, .cells.object = *obj };
	int err = evr_log_view(&log);

	log.cells.elem_sz = log.unit_sz;
	return err ? err : evr_mpmc_claims(&log.cells, walk);
}
