/* SPDX-License-Identifier: MIT */
/*
 * Memory as the modes have it.
 *
 * A store goes into its process' buffer, and comes out when somebody looks: whoever
 * loads a place for which another has a store pending chooses whether it, and which
 * of those before it, had come out by then. So a delay is explored where it can be
 * seen, and nowhere else. TSO: stores come out in their order. PSO: a store needs
 * only those before it of the same place and before a release fence, a release store all
 * before it. A barrier,
 * a read-modify-write and a system call empty the caller's own buffer.
 *
 * WEAK adds what a load may do: answer with what was there when the process last
 * acquired. A fresh answer of an acquire, a barrier and a read-modify-write end that.
 * The store of a read-modify-write waits in the buffer too, so that a later load may
 * pass it; only another read-modify-write of the same word must see it. So WEAK has the
 * reorderings of ARMv8 save one: a store before an earlier load.
 */
#include <string.h>

#include "park.h"
#include "world.h"

/* The linker's: the end of the code, and of what is initialized. */
extern const char etext[], edata[];

static void range_check(uint64_t off, size_t sz)
{
	uint32_t i;

	if (off > engine.segment_sz || sz > engine.segment_sz - off)
		model_fail("%zu bytes at offset %llu end behind the segment", sz,
			   (unsigned long long)off);
	for (i = 0; i < engine.guards_nr; i++)
		if (off < engine.guards[i].off + engine.guards[i].sz &&
		    off + sz > engine.guards[i].off)
			model_fail("offset %llu is written, and nobody may",
				   (unsigned long long)off);
}

/* Others may still see what was there. */
static void keep_stale(uint32_t writer, uint32_t off, uint32_t sz)
{
	uint32_t i, j, at;

	for (i = 0; i < engine.procs_nr; i++) {
		struct proc *p = &procs[i];

		if (i == writer)
			continue;
		for (at = off & ~7U; at < off + sz && p->stale_nr < STALE_MAX; at += 8) {
			for (j = 0; j < p->stale_nr && p->stale[j].off != at; j++)
				;
			if (j < p->stale_nr)
				continue;
			p->stale[j].off = at;
			memcpy(&p->stale[j].was, world.segment + at, 8);
			p->stale_nr++;
		}
	}
}

/* All see it from here on. */
static void memory_write(uint32_t writer, uint32_t off, uint32_t sz, const void *from)
{
	if (engine.bounds.mode == MODEL_WEAK && !engine.quiet)
		keep_stale(writer, off, sz);
	memcpy(world.segment + off, from, sz);
}

static bool overlaps(const struct pending *s, uint32_t off, uint32_t sz)
{
	return !s->done && s->off < off + sz && off < s->off + s->sz;
}

static void store_out(uint32_t proc, struct pending *s)
{
	if (s->done)
		return;
	s->done = true;
	memory_write(proc, s->off, s->sz, procs[proc].buffer.bytes + s->data);
}

static void buffer_trim(struct buffer *b)
{
	while (b->nr && b->stores[b->nr - 1].done)
		b->nr--;
	if (!b->nr)
		b->bytes_nr = 0;
	if (b->fenced > b->nr)
		b->fenced = b->nr;
}

/* In order, up to and with the one at @last. */
static void drain_to(uint32_t proc, uint32_t last)
{
	struct buffer *b = &procs[proc].buffer;
	uint32_t i;

	for (i = 0; i <= last; i++)
		store_out(proc, &b->stores[i]);
	buffer_trim(b);
}

/* No more than must: what the one at @i needs before it. */
static void drain_least(uint32_t proc, uint32_t i)
{
	struct buffer *b = &procs[proc].buffer;
	struct pending *s = &b->stores[i];
	uint32_t j;

	for (j = 0; j < i; j++)
		if (s->release || j < s->after ? !b->stores[j].done :
						 overlaps(&b->stores[j], s->off, s->sz))
			drain_least(proc, j);
	store_out(proc, s);
}

void buffer_drain(uint32_t proc)
{
	if (procs[proc].buffer.nr)
		drain_to(proc, procs[proc].buffer.nr - 1);
}

void memory_sync(uint32_t proc)
{
	buffer_drain(proc);
	procs[proc].stale_nr = 0;
}

/* Of one other's pending stores to this place: which had come out? */
static void observe_one(uint32_t proc, uint32_t off, uint32_t sz, bool for_rmw)
{
	struct buffer *b = &procs[proc].buffer;
	uint32_t found[BUFFER_MAX], i, nr = 0, picked, early;
	bool can_overtake = false;

	for (i = b->nr; for_rmw && i-- > 0;) {
		if (overlaps(&b->stores[i], off, sz) && b->stores[i].rmw) {
			drain_to(proc, i);
			break;
		}
	}

	for (i = 0; i < b->nr; i++)
		if (overlaps(&b->stores[i], off, sz))
			found[nr++] = i;
	if (!nr)
		return;
	early = found[nr - 1];
	if (engine.bounds.mode >= MODEL_PSO)
		for (i = b->stores[early].after; i < early && !b->stores[early].release; i++)
			can_overtake |=
				!b->stores[i].done &&
				!overlaps(&b->stores[i], b->stores[early].off, b->stores[early].sz);
	picked = 0;
	if (world.delays < engine.bounds.delays)
		picked = choose(1 + nr + can_overtake);
	world.delays += picked > 0;
	if (!picked) {
		drain_to(proc, early);
	} else if (picked > nr) {
		TRACE(NULL, "sees a store of %s overtake those before it",
		      engine.scenario->procs[proc].name);
		drain_least(proc, early);
		buffer_trim(b);
	} else {
		TRACE(NULL, "does not see %u of the stores of %s yet", nr - picked + 1,
		      engine.scenario->procs[proc].name);
		if (picked > 1)
			drain_to(proc, found[picked - 2]);
	}
}

static void observe(uint32_t off, uint32_t sz, bool for_rmw)
{
	uint32_t i;

	if (engine.bounds.mode == MODEL_SC || engine.quiet)
		return;
	for (i = 0; i < engine.procs_nr; i++)
		if (i != world.current && procs[i].buffer.nr)
			observe_one(i, off, sz, for_rmw);
}

/* The past instead, if there is one and the bound allows it. */
static bool read_stale(uint8_t *to, uint32_t off, uint32_t sz)
{
	struct proc *p = &procs[world.current];
	uint32_t i, j, nr = 0, picked;
	uint32_t found[STALE_MAX];

	for (i = 0; i < p->stale_nr; i++)
		if (p->stale[i].off < off + sz && off < p->stale[i].off + 8)
			found[nr++] = i;
	if (!nr)
		return false;
	picked = world.delays < engine.bounds.delays ? choose(2) : 0;
	if (picked) {
		world.delays++;
		TRACE(NULL, "sees the past");
		for (i = 0; i < nr; i++)
			for (j = 0; j < 8; j++)
				if (p->stale[found[i]].off + j >= off &&
				    p->stale[found[i]].off + j < off + sz)
					to[p->stale[found[i]].off + j - off] =
						((uint8_t *)&p->stale[found[i]].was)[j];
		return true;
	}
	while (nr--)
		p->stale[found[nr]] = p->stale[--p->stale_nr];
	return false;
}

static void read_range(void *to, uint32_t off, uint32_t sz, bool acquire)
{
	const struct buffer *b;
	bool is_past = false;
	uint32_t i, j;

	observe(off, sz, false);
	memcpy(to, world.segment + off, sz);
	if (engine.bounds.mode == MODEL_SC || engine.quiet)
		return;
	b = &procs[world.current].buffer;
	if (procs[world.current].stale_nr)
		is_past = read_stale(to, off, sz);
	for (i = 0; i < b->nr; i++) {
		if (!overlaps(&b->stores[i], off, sz))
			continue;
		for (j = 0; j < b->stores[i].sz; j++)
			if (b->stores[i].off + j >= off && b->stores[i].off + j < off + sz)
				((uint8_t *)to)[b->stores[i].off + j - off] =
					b->bytes[b->stores[i].data + j];
	}
	if (acquire && !is_past)
		procs[world.current].stale_nr = 0;
}

static void write_range(uint32_t off, uint32_t sz, const void *from, bool release, bool rmw)
{
	struct buffer *b;
	struct pending *s;

	range_check(off, sz);
	if (engine.bounds.mode == MODEL_SC || engine.quiet || sz > BUFFER_BYTES) {
		memory_write(world.current, off, sz, from);
		return;
	}
	b = &procs[world.current].buffer;
	if (b->nr == BUFFER_MAX || b->bytes_nr + sz > BUFFER_BYTES)
		buffer_drain(world.current);
	s = &b->stores[b->nr++];
	*s = (struct pending){
		.off = off,
		.sz = sz,
		.data = b->bytes_nr,
		.after = b->fenced,
		.release = release,
		.rmw = rmw,
	};
	memcpy(b->bytes + s->data, from, sz);
	b->bytes_nr += sz;
}

static uint32_t offset_of(const void *p)
{
	return (uint32_t)((uintptr_t)p - (uintptr_t)world.segment);
}

/* Private memory, but it must be ours: else a position or an offset was believed. */
static bool is_shared(const void *p)
{
	if (in_segment(p))
		return true;
	if (!is_private(p))
		model_fail("an access to memory that is neither the segment's nor the process'");
	return false;
}

/* What the library has instead of a side that it does not know; nobody writes there. */
static bool is_constant(const void *p)
{
	return (const char *)p >= etext && (const char *)p < edata;
}

/* A word of a struct evr_peer is one of this process' threads only. */
static bool is_of_threads(const void *p)
{
	return engine.scenario->flags & MODEL_THREADS && (uintptr_t)p >= (uintptr_t)world.peers &&
	       (uintptr_t)p < (uintptr_t)world.state;
}

static uint64_t read_word(const void *p, uint32_t sz)
{
	return sz == 4 ? *(const uint32_t *)p : *(const uint64_t *)p;
}

static void write_word(void *p, uint32_t sz, uint64_t v)
{
	if (sz == 4)
		*(uint32_t *)p = (uint32_t)v;
	else
		*(uint64_t *)p = v;
}

uint64_t model_load(const void *p, uint32_t sz, bool acquire)
{
	uint64_t v = 0;

	if (is_constant(p))
		return read_word(p, sz);
	if (!is_shared(p)) {
		if (is_of_threads(p))
			step(p, sz, false);
		return read_word(p, sz);
	}
	step(p, sz, false);
	if (engine.bounds.mode == MODEL_SC)
		v = read_word(p, sz);
	else
		read_range(&v, offset_of(p), sz, acquire);
	TRACE(p, "load%s %#llx", acquire ? ".acquire" : "", (unsigned long long)v);
	return v;
}

void model_store(void *p, uint32_t sz, uint64_t v, bool release)
{
	if (!is_shared(p)) {
		if (is_of_threads(p))
			step(p, sz, true);
		write_word(p, sz, v);
		return;
	}
	step(p, sz, true);
	TRACE(p, "store%s %#llx", release ? ".release" : "", (unsigned long long)v);
	write_range(offset_of(p), sz, &v, release, false);
}

static uint64_t rmw_result(enum model_rmw op, uint64_t was, uint64_t v, uint64_t expected)
{
	switch (op) {
	case MODEL_CAS:
		return was == expected ? v : was;
	case MODEL_ADD:
		return was + v;
	case MODEL_OR:
		return was | v;
	case MODEL_AND:
		return was & v;
	default:
		return v;
	}
}

uint64_t model_rmw(void *p, uint32_t sz, enum model_rmw op, uint64_t v, uint64_t expected)
{
	static const char *const names[] = { "xchg", "cas", "fetch_add", "fetch_or", "fetch_and" };
	uint64_t was, now;

	if (!is_shared(p)) {
		if (is_of_threads(p))
			step(p, sz, true);
		was = read_word(p, sz);
		write_word(p, sz, rmw_result(op, was, v, expected));
		return was;
	}
	step(p, sz, true);
	range_check(offset_of(p), sz);
	if (engine.bounds.mode != MODEL_SC && !engine.quiet) {
		buffer_drain(world.current);
		observe(offset_of(p), sz, true);
		procs[world.current].stale_nr = 0;
	}
	was = read_word(p, sz);
	now = rmw_result(op, was, v, expected);
	TRACE(p, "%s %#llx -> %#llx%s", names[op], (unsigned long long)was, (unsigned long long)now,
	      op == MODEL_CAS && was != expected ? " FAILED" : "");
	if (op == MODEL_CAS && was != expected)
		return was;
	if (engine.bounds.mode == MODEL_WEAK)
		write_range(offset_of(p), sz, &now, true, true);
	else
		memory_write(world.current, offset_of(p), sz, &now);
	return was;
}

/* More than a word is copied in two steps: what lies between them can be seen. */
void model_copy_in(void *shared, const void *from, size_t sz)
{
	size_t first = sz > 8 ? (sz / 2 + 7) & ~(size_t)7 : sz;

	if (!is_shared(shared))
		model_fail("a copy to memory that is not the segment's");
	step(shared, (uint32_t)first, true);
	TRACE(shared, "copy_in %zu bytes, %#llx", sz,
	      sz >= 8 ? *(const unsigned long long *)from : 0ULL);
	write_range(offset_of(shared), (uint32_t)first, from, false, false);
	if (first == sz)
		return;
	step((uint8_t *)shared + first, (uint32_t)(sz - first), true);
	TRACE((uint8_t *)shared + first, "copy_in, second half");
	write_range(offset_of(shared) + (uint32_t)first, (uint32_t)(sz - first),
		    (const uint8_t *)from + first, false, false);
}

void model_copy_out(void *to, const void *shared, size_t sz)
{
	size_t first = sz > 8 ? (sz / 2 + 7) & ~(size_t)7 : sz;

	if (!is_shared(shared) || sz > engine.segment_sz - offset_of(shared))
		model_fail("a copy from memory that is not the segment's");
	step(shared, (uint32_t)first, false);
	read_range(to, offset_of(shared), (uint32_t)first, false);
	TRACE(shared, "copy_out %zu bytes, %#llx", sz, sz >= 8 ? *(unsigned long long *)to : 0ULL);
	if (first == sz)
		return;
	step((const uint8_t *)shared + first, (uint32_t)(sz - first), false);
	read_range((uint8_t *)to + first, offset_of(shared) + (uint32_t)first,
		   (uint32_t)(sz - first), false);
	TRACE((const uint8_t *)shared + first, "copy_out, second half");
}

void evr_fence(void)
{
	if (engine.quiet)
		return;
	TRACE(NULL, "full barrier");
	memory_sync(world.current);
}

/* Later loads do not answer with what was there before it. */
void evr_fence_acquire(void)
{
	if (engine.quiet)
		return;
	TRACE(NULL, "acquire fence");
	procs[world.current].stale_nr = 0;
}

/* Later stores do not overtake those that are pending. */
void evr_fence_release(void)
{
	if (engine.quiet)
		return;
	TRACE(NULL, "release fence");
	procs[world.current].buffer.fenced = procs[world.current].buffer.nr;
}

bool evr_fence_all(void)
{
	uint32_t i;

	if (engine.quiet || engine.scenario->flags & MODEL_NO_MEMBARRIER)
		return engine.quiet;
	step(NULL, 0, false);
	TRACE(NULL, "full barrier on all processors");
	buffer_drain(world.current);
	for (i = 0; i < engine.procs_nr; i++)
		if (procs[i].registered)
			buffer_drain(i);
	/* None of them looks at the past of before. */
	for (i = 0; i < engine.procs_nr; i++)
		if (procs[i].registered || i == world.current)
			procs[i].stale_nr = 0;
	return true;
}

bool evr_park_register(void)
{
	if (engine.scenario->flags & MODEL_UNREGISTERED)
		return false;
	if (engine.quiet)
		engine.registered = true;
	else
		procs[world.current].registered = true;
	return true;
}

/* Whoever spins lets others go on: else it would spin for ever. */
void evr_pause(void)
{
	world.now_ns += 1000;
	yield_turn();
}
