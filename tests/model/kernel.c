/* SPDX-License-Identifier: MIT */
/*
 * What lies below the library: the backend, as the model's kernel. It keeps the
 * slots, their bells and who is dead; a call of it is one step, save that a ring of
 * many bells is one for each. What its words say is never late: the real ones are
 * read with acquire, and a death is told after all stores of the dead.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dir.h"
#include "internal.h"
#include "world.h"

static void change(struct slot *slot, uint32_t state)
{
	uint32_t i;

	touch(SEGMENT_MAX / 8 + (uint32_t)(slot - world.slots), true, KERNEL);
	slot->state = state;
	slot->pending = 0;
	world.generation++;
	for (i = 0; i <= engine.procs_nr; i++)
		if (world.slots[i].state == EVR_PEER_LIVE)
			world.slots[i].pending |= 1ULL << EVR_BELL_PEER_EVENT;
}

static struct slot *slot_of(uint32_t proc)
{
	uint32_t i;

	for (i = 0; i <= engine.procs_nr; i++)
		if (world.slots[i].proc == proc && world.slots[i].state == EVR_PEER_LIVE &&
		    world.peers[proc].self.incarnation == world.slots[i].incarnation)
			return &world.slots[i];
	return NULL;
}

void kernel_notice(uint32_t proc)
{
	struct slot *slot = slot_of(proc);

	TRACE(NULL, "(the kernel says that %s has ended)", engine.scenario->procs[proc].name);
	buffer_drain(proc);
	procs[proc].notice_due = false;
	if (slot)
		change(slot, EVR_PEER_DEAD);
}

bool kernel_is_rung(uint32_t proc)
{
	const struct slot *slot = slot_of(procs[proc].sleeps_as);

	/* Who is no peer any more is woken to learn it. */
	return !slot || slot->pending & procs[proc].mask;
}

static uint32_t model_state(const struct evr_peer *peer, uint32_t slot, uint64_t *incarnation)
{
	if (slot > engine.procs_nr) {
		*incarnation = 0;
		return EVR_PEER_FREE;
	}
	step_slot(slot, false);
	*incarnation = world.slots[slot].incarnation;
	TRACE(NULL, "state of peer %u.%llu is %u", slot, (unsigned long long)*incarnation,
	      world.slots[slot].state);
	/* An acquire (STATUS); that it lives tells nothing of what it did since it came. */
	if (!engine.quiet && world.slots[slot].state != EVR_PEER_LIVE)
		procs[world.current].stale_nr = 0;
	return world.slots[slot].state;
}

static uint64_t model_generation(const struct evr_peer *peer)
{
	step(NULL, 0, false);
	return world.generation;
}

static void model_check(struct evr_peer *peer)
{
}

static int model_reaped(struct evr_peer *peer, struct evr_peer_id dead)
{
	struct slot *slot = &world.slots[dead.slot];

	step(NULL, 0, false);
	if (dead.slot > engine.procs_nr || slot->incarnation != dead.incarnation ||
	    slot->state == EVR_PEER_FREE)
		return -ESTALE;
	if (slot->state != EVR_PEER_DEAD)
		return -EBUSY;
	TRACE(NULL, "peer %u.%llu is reaped", dead.slot, (unsigned long long)dead.incarnation);
	change(slot, EVR_PEER_FREE);
	return 0;
}

static int model_ring(struct evr_peer *peer, struct evr_bell *bells, uint32_t nr)
{
	uint32_t i, rung = 0;
	struct slot *slot;

	for (i = 0; i < nr; i++) {
		step(NULL, 0, false);
		if (!engine.quiet)
			buffer_drain(world.current);
		slot = &world.slots[bells[i].to.slot];
		bells[i].result = -ESTALE;
		if (bells[i].to.slot > engine.procs_nr || slot->state != EVR_PEER_LIVE ||
		    slot->incarnation != bells[i].to.incarnation)
			continue;
		TRACE(NULL, "rings bells %#llx of peer %u", (unsigned long long)bells[i].bits,
		      bells[i].to.slot);
		slot->pending |= bells[i].bits;
		bells[i].result = 0;
		rung++;
	}
	return (int)rung;
}

static int bells_take(struct slot *slot, uint64_t mask, struct evr_bells *bells)
{
	memset(bells, 0, sizeof(*bells));
	bells->bits = slot->pending & mask;
	slot->pending &= ~mask;
	TRACE(NULL, "takes bells %#llx", (unsigned long long)bells->bits);
	return bells->bits ? 0 : -EAGAIN;
}

static int model_wait(struct evr_peer *peer, uint64_t mask, uint64_t deadline_ns,
		      struct evr_bells *bells)
{
	uint32_t self = (uint32_t)(peer - world.peers);
	struct slot *slot;

	step(NULL, 0, false);
	if (!engine.quiet)
		memory_sync(world.current);
	slot = slot_of(self);
	if (slot && !(slot->pending & mask)) {
		if (!deadline_ns || engine.quiet)
			return -ETIMEDOUT;
		sleep_turn(self, mask, deadline_ns);
		slot = slot_of(self);
	}
	if (!slot)
		return -EOWNERDEAD;
	return bells_take(slot, mask, bells) ? -ETIMEDOUT : 0;
}

static int model_read(struct evr_peer *peer, struct evr_bells *bells)
{
	struct slot *slot;

	step(NULL, 0, false);
	if (!engine.quiet)
		memory_sync(world.current);
	slot = slot_of((uint32_t)(peer - world.peers));
	return slot ? bells_take(slot, ~0ULL, bells) : -EOWNERDEAD;
}

static uint64_t segment_end(void)
{
	return engine.evr_segment.layout.grown_off + world.grown_sz;
}

/* Up to the scenario's grow_sz, by pages. It and its tag are there in one step. */
int evr_segment_grow_for(struct evr_segment *segment, uint64_t tag, struct evr_growth *growth)
{
	step(NULL, 0, false);
	growth->sz = EVR_ROUND_UP(growth->sz, (uint64_t)GROW_UNIT);
	if (growth->sz > engine.scenario->grow_sz - world.grown_sz ||
	    world.growths_nr == GROWTHS_MAX)
		return evr_fail(-ENOSPC, "the model's segment cannot grow");
	growth->off = segment_end();
	world.growths[world.growths_nr] = *growth;
	world.tags[world.growths_nr++] = tag;
	world.grown_sz += growth->sz;
	TRACE(NULL, "the segment grows by %llu", (unsigned long long)growth->sz);
	return 0;
}

uint64_t model_grown_sz(void)
{
	return world.grown_sz;
}

static int model_segment_sz(struct evr_peer *peer, uint64_t *sz)
{
	step(NULL, 0, false);
	*sz = segment_end();
	return 0;
}

static int model_growths(struct evr_peer *peer, uint64_t tag, evr_growth_fn *each, void *arg)
{
	uint32_t i, nr;
	int ret = 0;

	/* Of a scenario in which nothing grows, it need not be explored. */
	if (!engine.scenario->grow_sz)
		return 0;
	step(NULL, 0, false);
	nr = world.growths_nr;
	for (i = 0; i < nr && !ret; i++)
		if (world.tags[i] == tag)
			ret = each(&world.growths[i], arg);
	return ret;
}

const struct evr_backend_ops model_ops = {
	.backend = EVR_BACKEND_LOCAL,
	.state = model_state,
	.generation = model_generation,
	.check = model_check,
	.reaped = model_reaped,
	.segment_sz = model_segment_sz,
	.growths = model_growths,
	.ring = model_ring,
	.wait = model_wait,
	.read = model_read,
};

static void peer_join(uint32_t proc, uint32_t slot)
{
	struct evr_peer *peer = &world.peers[proc];

	memset(peer, 0, sizeof(*peer));
	peer->ops = &model_ops;
	peer->segment = &engine.evr_segment;
	peer->rights = EVR_RIGHT_WRITE;
	peer->base = world.segment - SHARED_OFF;
	peer->uses = world.uses[proc];
	peer->turns_key = proc; /* nobody here guesses it */
	peer->reserved_sz = engine.evr_segment.layout.segment_sz + engine.scenario->grow_sz;
	peer->mapped_sz.v = segment_end();
	peer->self.slot = slot;
	peer->self.incarnation = ++world.slots[slot].incarnation;
	world.slots[slot].proc = proc;
	change(&world.slots[slot], EVR_PEER_LIVE);
}

void kernel_boot(void)
{
	const struct scenario *s = engine.scenario;
	struct evr_layout *layout = &engine.evr_segment.layout;
	uint32_t i;

	layout->shared_off = SHARED_OFF;
	layout->shared_sz = s->shared_sz;
	layout->peers_off = SHARED_OFF + s->shared_sz;
	layout->peer_sz = s->peer_sz;
	layout->peers_max = engine.procs_nr + 1;
	layout->flags = s->flags & MODEL_ISOLATED ? EVR_SEGMENT_ISOLATED : 0;
	layout->grown_off = evr_layout_region(layout, layout->peers_max);
	layout->segment_sz = layout->grown_off;
	/* Behind the segment lies what threads share, as if it were a part of it. */
	engine.segment_sz = layout->grown_off - SHARED_OFF + s->grow_sz + s->threads_sz;
	engine.evr_segment.ops = &model_ops;
	world.now_ns = 1000000000;
	for (i = 0; i <= engine.procs_nr; i++)
		if (i == engine.procs_nr || !s->procs[i].absent)
			peer_join(i, i);
	for (i = 0; i <= engine.procs_nr; i++)
		world.slots[i].pending = 0;
	memset(engine.places, 0, sizeof(engine.places));
	engine.restart = false;
}

struct evr_peer *model_peer(uint32_t i)
{
	return &world.peers[i];
}

struct evr_peer *model_auditor(void)
{
	return &world.peers[engine.procs_nr];
}

bool model_ended(uint32_t i)
{
	return !procs[i].notice_due && !slot_of(i);
}

bool model_died(uint32_t i)
{
	return procs[i].state == PROC_DIED;
}

bool model_finished(uint32_t i)
{
	return procs[i].state == PROC_DONE;
}

uint32_t model_slot_state(uint32_t slot)
{
	return world.slots[slot].state;
}

uint32_t model_crashes(void)
{
	return world.crashes;
}

uint32_t model_self(void)
{
	return world.current;
}

void model_detach(void)
{
	step(NULL, 0, false);
	TRACE(NULL, "detaches");
	procs[world.current].notice_due = true;
}

void model_age(uint32_t slot, uint64_t nr)
{
	MODEL_CHECK(world.slots[slot].state == EVR_PEER_FREE);
	world.slots[slot].incarnation += nr;
}

bool model_attach(uint32_t slot)
{
	step(NULL, 0, false);
	if (world.slots[slot].state != EVR_PEER_FREE)
		return false;
	TRACE(NULL, "attaches in slot %u", slot);
	peer_join(world.current, slot);
	evr_dir_members_reset(&world.peers[world.current]);
	return true;
}

void model_revoke(uint32_t i)
{
	step(NULL, 0, false);
	TRACE(NULL, "revokes %s", engine.scenario->procs[i].name);
	if (slot_of(i))
		change(slot_of(i), EVR_PEER_DEAD);
}

void model_scribble(struct evr_a64 *const *words, uint32_t nr, uint32_t times)
{
	uint64_t was, values[6];
	struct evr_a64 *word;

	while (times--) {
		word = words[model_pick(nr)];
		was = model_peek(word);
		values[0] = 0;
		values[1] = UINT64_MAX;
		values[2] = was + 1;
		values[3] = was - 1;
		values[4] = model_peek(words[model_pick(nr)]);
		values[5] = was ^ 1ULL << 63;
		evr_a64_store_release(word, values[model_pick(6)]);
	}
}

/* What the library calls of the system, by another name: see meson.build. */
int model_clock_gettime(clockid_t clock, struct timespec *now);
int model_nanosleep(const struct timespec *duration, struct timespec *left);
int model_pthread_mutex_lock(pthread_mutex_t *mutex);
int model_sched_getaffinity(pid_t pid, size_t sz, cpu_set_t *cpus);
void *model_calloc(size_t nr, size_t sz);
void *model_aligned_alloc(size_t align, size_t sz);
void *model_realloc(void *was, size_t sz);
void model_free(void *was);

/* Part of the world, so that it is restored too. The size stands in front. */
static void *take(size_t sz, size_t align)
{
	uint64_t threads_sz = engine.scenario->threads_sz,
		 max = threads_sz ? threads_sz : PRIVATE_MAX;
	uint8_t *from = threads_sz ? world.segment + engine.segment_sz - threads_sz : world.private;
	uint64_t off = EVR_ROUND_UP(world.private_sz + 16, align);

	sz = EVR_ROUND_UP(sz, (size_t)16);
	if (off > max || sz > max - off)
		return NULL;
	world.private_sz = (uint32_t)(off + sz);
	memset(from + off, 0, sz);
	memcpy(from + off - 16, &sz, sizeof(sz));
	return from + off;
}

void *model_calloc(size_t nr, size_t sz)
{
	return take(nr * sz, 16);
}

void *model_aligned_alloc(size_t align, size_t sz)
{
	return take(sz, align);
}

void *model_alloc(size_t sz)
{
	void *at = take(sz, EVR_LINE_SZ);

	if (!at || !engine.scenario->threads_sz)
		model_fail("threads_sz has no room for %zu bytes", sz);
	return at;
}

void *model_realloc(void *was, size_t sz)
{
	uint8_t *at = model_calloc(1, sz);
	size_t old = 0;

	if (at && was) {
		memcpy(&old, (uint8_t *)was - 16, sizeof(old));
		memcpy(at, was, old < sz ? old : sz);
	}
	return at;
}

void model_free(void *was)
{
}

int model_clock_gettime(clockid_t clock, struct timespec *now)
{
	now->tv_sec = (time_t)(world.now_ns / 1000000000);
	now->tv_nsec = (long)(world.now_ns % 1000000000);
	return 0;
}

/* No processor holds a store back for as long as anybody sleeps. */
int model_nanosleep(const struct timespec *duration, struct timespec *left)
{
	uint32_t i;

	world.now_ns += (uint64_t)duration->tv_sec * 1000000000 + (uint64_t)duration->tv_nsec;
	for (i = 0; i < engine.procs_nr; i++)
		buffer_drain(i);
	yield_turn();
	return 0;
}

int model_pthread_mutex_lock(pthread_mutex_t *mutex)
{
	while (pthread_mutex_trylock(mutex))
		yield_turn();
	return 0;
}

int model_sched_getaffinity(pid_t pid, size_t sz, cpu_set_t *cpus)
{
	CPU_ZERO_S(sz, cpus);
	CPU_SET_S(0, sz, cpus);
	CPU_SET_S(1, sz, cpus);
	return 0;
}

/* Attach and detach of real peers are not here: model_attach() and kernel_notice() are. */
int evr_mapping_init(struct evr_peer *peer, uint64_t reserve_sz, bool populate)
{
	abort();
}

void evr_mapping_fini(struct evr_peer *peer)
{
	abort();
}

int evr_mapping_grow(struct evr_peer *peer)
{
	peer->mapped_sz.v = segment_end();
	return 0;
}

void evr_segment_get(struct evr_segment *segment)
{
	abort();
}

void evr_segment_put(struct evr_segment *segment)
{
	abort();
}

/* error.c formats a text for each failure: too slow for here, where most are expected. */
static const char *detail = "";

void evr_error_set(const char *fmt, ...)
{
	detail = fmt;
}

int evr_fail(int err, const char *fmt, ...)
{
	detail = fmt;
	TRACE(NULL, "fails with %d: %s", err, fmt);
	return err;
}

void evr_error_clear(void)
{
	detail = "";
}

const char *evr_error_detail(void)
{
	return detail;
}
