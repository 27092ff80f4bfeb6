/* SPDX-License-Identifier: MIT */
/*
 * The explorer: depth first through all lists of choices. An execution takes the
 * choices of its prefix, then always option 0, which is to go on as if nothing
 * happened; the last choice that has another option left makes the next prefix.
 *
 * The scheduler runs on the stack of whoever has the turn. Where that process could
 * go on, giving the turn to another costs one of the preemptions; where it cannot,
 * who is next is free. That the kernel makes a death known is a turn like another,
 * so it comes at once, late, or after all others have ended.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "world.h"

/* Of end(). */
#define END_STEPS_MAX 100000
/* Executions between two looks at the clock. */
#define GO_ON_EVERY 4096
/* The coroutines: one for each process, one for setup() and end(), the loop itself. */
#define EXTRA MODEL_PROCS_MAX
#define MAIN (MODEL_PROCS_MAX + 1)
/* A turn of the kernel for a process, told from a turn of that process. */
#define NOTICE 0x80

struct world world;
struct engine engine;
struct proc procs[MODEL_PROCS_MAX];

static struct world snapshot;
static struct coroutine coroutines[MODEL_PROCS_MAX + 2];
static uint8_t stacks[MODEL_PROCS_MAX + 1][STACK_SZ] __attribute__((aligned(64)));
static uint32_t running = MAIN;
static void (*extra)(void *state);

bool is_private(const void *p)
{
	return (uintptr_t)p - (uintptr_t)stacks < sizeof(stacks) ||
	       (uintptr_t)p - (uintptr_t)&world < offsetof(struct world, segment);
}

static void switch_to(uint32_t next)
{
	uint32_t from = running;

	running = next;
	coroutine_switch(&coroutines[from], &coroutines[next]);
}

void model_fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(engine.failure, sizeof(engine.failure), fmt, args);
	va_end(args);
	engine.failed = true;
	for (;;)
		switch_to(MAIN);
}

/* How often an execution may go another way than option 0, where that costs something. */
static uint32_t bounds_sum(void)
{
	return engine.bounds.preemptions + engine.bounds.crashes + engine.bounds.delays;
}

/*
 * Mostly on, so that what the bounds allow lasts for the whole execution: as often another
 * way as they allow, in as many choices as the longest one so far had.
 */
static uint8_t choose_at_random(uint32_t options)
{
	uint64_t every = engine.depth_max / (bounds_sum() + 1);

	engine.seed ^= engine.seed << 13;
	engine.seed ^= engine.seed >> 7;
	engine.seed ^= engine.seed << 17;
	if (every < 4)
		every = 4;
	if ((engine.seed >> 40) % every)
		return 0;
	return (uint8_t)((engine.seed >> 20) % options);
}

/* "TICK:CHOICE,...": is the next one of now? */
static uint8_t choose_by_list(uint32_t options)
{
	unsigned int tick, choice;
	int n = 0;

	if (sscanf(engine.replay, "%u:%u%n", &tick, &choice, &n) != 2 || tick != engine.tick)
		return 0;
	engine.replay += n;
	engine.replay += *engine.replay == ',';
	if (choice >= options)
		model_fail("at tick %u there are %u options, not %u", tick, options, choice);
	return (uint8_t)choice;
}

uint32_t choose(uint32_t options)
{
	uint32_t i = engine.choices_nr;

	engine.tick++;
	if (options < 2 || engine.quiet)
		return 0;
	if (i == CHOICES_MAX)
		model_fail("more than %d choices in one execution", CHOICES_MAX);
	engine.choices_nr++;
	engine.ticks[i] = engine.tick;
	if (engine.replay)
		engine.choices[i] = choose_by_list(options);
	else if (i >= engine.prefix_nr)
		engine.choices[i] = engine.is_random ? choose_at_random(options) : 0;
	else if (engine.choices[i] >= options)
		model_fail("choice %u is %u of %u: an execution is not its choices alone", i,
			   engine.choices[i], options);
	engine.options[i] = (uint8_t)options;
	return engine.choices[i];
}

uint32_t model_pick(uint32_t nr)
{
	uint32_t picked = choose(nr);

	TRACE(NULL, "picks %u of %u", picked, nr);
	return picked;
}

static bool can_run(uint32_t i)
{
	const struct proc *p = &procs[i];

	return p->state == PROC_READY || (p->state == PROC_ASLEEP && kernel_is_rung(i)) ||
	       (p->state == PROC_WAITS && p->until(p->until_arg));
}

/* Whose turn it could be, the running process aside. */
static uint32_t find_turns(uint8_t *turns, bool also_yielded)
{
	uint32_t i, nr = 0;

	for (i = 0; i < engine.procs_nr; i++)
		if (i != world.current && (also_yielded || !procs[i].has_yielded) && can_run(i))
			turns[nr++] = (uint8_t)i;
	for (i = 0; i < engine.procs_nr; i++)
		if (procs[i].notice_due)
			turns[nr++] = (uint8_t)(NOTICE | i);
	return nr;
}

/* All that could run have yielded: a new round. */
static bool clear_yields(void)
{
	bool cleared = false;
	uint32_t i;

	for (i = 0; i < engine.procs_nr; i++) {
		cleared |= procs[i].has_yielded;
		procs[i].has_yielded = false;
	}
	return cleared;
}

static void take_turn(uint8_t turn)
{
	if (turn & NOTICE) {
		kernel_notice(turn & ~NOTICE);
		return;
	}
	world.current = turn;
	switch_to(turn);
}

/* Nobody can go on: the first deadline comes. By then every store has been seen. */
static bool let_time_pass(void)
{
	struct proc *first = NULL;
	uint32_t i;

	for (i = 0; i < engine.procs_nr; i++) {
		buffer_drain(i);
		if (procs[i].state == PROC_ASLEEP && procs[i].deadline_ns != EVR_NO_DEADLINE &&
		    (!first || procs[i].deadline_ns < first->deadline_ns))
			first = &procs[i];
	}
	if (!first)
		return false;
	if (first->deadline_ns > world.now_ns)
		world.now_ns = first->deadline_ns;
	first->timed_out = true;
	first->state = PROC_READY;
	return true;
}

/*
 * The running process cannot go on, or not now. It returns when it has the turn again.
 * Who has yielded waits until all others have had a turn: nobody spins for ever
 * because another is never chosen.
 */
static void give_turn(void)
{
	uint32_t self = world.current, nr;
	uint8_t turns[2 * MODEL_PROCS_MAX + 1], turn;

	for (;;) {
		nr = find_turns(turns, false);
		if (!procs[self].has_yielded && can_run(self))
			turns[nr++] = (uint8_t)self;
		if (!nr && (clear_yields() || let_time_pass()))
			continue;
		if (!nr) {
			world.current = MODEL_PROCS_MAX;
			switch_to(MAIN);
		}
		turn = turns[choose(nr)];
		if (turn == self)
			return;
		take_turn(turn);
		if (!(turn & NOTICE))
			return;
	}
}

static void die(void)
{
	struct proc *p = &procs[world.current];

	TRACE(NULL, "DIES");
	p->state = PROC_DIED;
	p->notice_due = true;
	world.crashes++;
	give_turn();
}

bool touch(uint32_t place, bool is_write, uint32_t who)
{
	struct place *p = &engine.places[place];
	bool had_conflict = p->writers && p->users & (p->users - 1);

	p->users |= 1U << who;
	if (is_write)
		p->writers |= 1U << who;
	if (had_conflict || !(p->writers && p->users & (p->users - 1)))
		return had_conflict;
	engine.restart = !engine.is_random && !engine.replay;
	return true;
}

static void spend_step(void)
{
	struct proc *p = &procs[world.current];

	if (engine.quiet) {
		if (++engine.end_steps > END_STEPS_MAX)
			model_fail("livelock: end() has made %u accesses", engine.end_steps);
		return;
	}
	engine.steps++;
	if (++p->steps > engine.scenario->steps_max)
		model_fail("livelock: %s has made %u accesses",
			   engine.scenario->procs[world.current].name, p->steps);
	if (engine.scenario->always)
		engine.scenario->always(world.state);
}

static void step_choose(void)
{
	uint8_t turns[2 * MODEL_PROCS_MAX + 1];
	uint32_t nr = 0, picked;
	bool may_die = world.crashes < engine.bounds.crashes &&
		       !engine.scenario->procs[world.current].immortal;

	if (world.preemptions < engine.bounds.preemptions)
		nr = find_turns(turns, true);
	picked = choose(1 + nr + may_die);
	if (!picked)
		return;
	if (picked > nr) {
		die();
		return;
	}
	world.preemptions++;
	take_turn(turns[picked - 1]);
}

/* The turns of those that ran before the conflict was known would be missing. */
static void begin_again(void)
{
	for (;;)
		switch_to(MAIN);
}

void step(const void *at, uint32_t sz, bool is_write)
{
	uint32_t off = (uint32_t)((uintptr_t)at - (uintptr_t)world.segment), i;
	uint32_t who = engine.quiet ? AUDITOR : world.current;
	bool is_seen = !at || !in_segment(at);

	if (engine.quiet && !engine.ending)
		return;
	if (engine.restart)
		begin_again();
	spend_step();
	for (i = off / 8; !is_seen && i <= (off + sz - 1) / 8 && i < PLACES; i++)
		is_seen |= touch(i, is_write, who);
	if (engine.restart)
		begin_again();
	if (engine.quiet)
		return;
	if (is_seen || engine.replay)
		step_choose();
	else
		engine.tick++;
}

void step_slot(uint32_t slot, bool is_write)
{
	bool is_seen;

	if (engine.quiet && !engine.ending)
		return;
	if (engine.restart)
		begin_again();
	spend_step();
	is_seen = touch(SEGMENT_MAX / 8 + slot, is_write, engine.quiet ? AUDITOR : world.current);
	if (engine.restart)
		begin_again();
	if (engine.quiet)
		return;
	if (is_seen || engine.replay)
		step_choose();
	else
		engine.tick++;
}

void yield_turn(void)
{
	if (engine.quiet && !engine.ending)
		return;
	spend_step();
	if (engine.quiet)
		return;
	procs[world.current].has_yielded = true;
	give_turn();
}

void model_until(bool (*is_so)(void *arg), void *arg)
{
	struct proc *p = &procs[world.current];

	p->until = is_so;
	p->until_arg = arg;
	p->state = PROC_WAITS;
	give_turn();
	p->state = PROC_READY;
}

void sleep_turn(uint32_t as, uint64_t mask, uint64_t deadline_ns)
{
	struct proc *p = &procs[world.current];

	p->sleeps_as = as;
	p->mask = mask;
	p->deadline_ns = deadline_ns;
	p->timed_out = false;
	p->state = PROC_ASLEEP;
	TRACE(NULL, "sleeps");
	give_turn();
	p->state = PROC_READY;
}

static void proc_entry(void)
{
	uint32_t i = world.current;

	engine.scenario->procs[i].run(&world.peers[i], world.state);
	TRACE(NULL, "is done");
	procs[i].state = PROC_DONE;
	give_turn();
}

static void extra_entry(void)
{
	extra(world.state);
	extra = NULL;
	switch_to(MAIN);
}

/* setup() or end(), so that a failure in it has a place to go from. */
static bool run_extra(void (*fn)(void *state))
{
	if (!fn)
		return true;
	extra = fn;
	engine.quiet = true;
	engine.end_steps = 0;
	engine.ending = fn == engine.scenario->end;
	world.current = MODEL_PROCS_MAX;
	coroutine_init(&coroutines[EXTRA], stacks[EXTRA], STACK_SZ, extra_entry);
	switch_to(EXTRA);
	engine.quiet = false;
	engine.ending = false;
	return !engine.failed;
}

static void restore(struct world *to, const struct world *from)
{
	memcpy(to, from, offsetof(struct world, state));
	memcpy(to->state, from->state, engine.scenario->state_sz);
	memcpy(to->segment, from->segment, engine.segment_sz);
	to->private_sz = from->private_sz;
	memcpy(to->private, from->private, from->private_sz);
}

static void check_sleepers(void)
{
	uint32_t i;

	if (engine.failed || engine.scenario->flags & MODEL_MAY_SLEEP)
		return;
	for (i = 0; i < engine.procs_nr && !engine.failed; i++) {
		if (procs[i].state != PROC_ASLEEP && procs[i].state != PROC_WAITS)
			continue;
		snprintf(engine.failure, sizeof(engine.failure), "%s %s for ever",
			 engine.scenario->procs[i].name,
			 procs[i].state == PROC_WAITS ?
				 "waits" :
				 "sleeps, and a wake-up was lost or there is none,");
		engine.failed = true;
	}
}

static void run_once(void)
{
	uint32_t i;

	restore(&world, &snapshot);
	engine.choices_nr = 0;
	engine.tick = 0;
	for (i = 0; i < engine.procs_nr; i++) {
		procs[i].state = PROC_READY;
		procs[i].notice_due = false;
		procs[i].registered = engine.registered;
		procs[i].futex = NULL;
		procs[i].has_yielded = false;
		procs[i].steps = 0;
		procs[i].stale_nr = 0;
		procs[i].buffer.nr = 0;
		procs[i].buffer.bytes_nr = 0;
		coroutine_init(&coroutines[i], stacks[i], STACK_SZ, proc_entry);
	}
	world.current = choose(engine.procs_nr);
	switch_to(world.current);
	if (!engine.restart)
		check_sleepers();
	if (!engine.restart && !engine.failed)
		run_extra(engine.scenario->end);
	if (engine.restart)
		return;
	engine.executions++;
	if (engine.choices_nr > engine.depth_max)
		engine.depth_max = engine.choices_nr;
}

/* The next prefix; false when all is explored. */
static bool advance(void)
{
	uint32_t nr = engine.choices_nr;

	while (nr && engine.choices[nr - 1] + 1 >= engine.options[nr - 1])
		nr--;
	if (!nr)
		return false;
	engine.choices[nr - 1]++;
	engine.prefix_nr = nr;
	return true;
}

bool model_prepare(const struct scenario *scenario, const struct model_bounds *bounds)
{
	struct engine fresh = { .scenario = scenario, .bounds = *bounds };

	engine = fresh;
	while (engine.procs_nr < MODEL_PROCS_MAX && scenario->procs[engine.procs_nr].run)
		engine.procs_nr++;
	memset(&world, 0, sizeof(world));
	memset(procs, 0, sizeof(procs));
	kernel_boot();
	if (!run_extra(scenario->setup))
		return false;
	memcpy(&snapshot, &world, sizeof(world));
	return true;
}

/* How many executions of so many have so few places left for their first choice, of a few. */
static double part_behind(uint32_t behind, uint32_t of, uint32_t budget)
{
	double part = 1;

	while (budget--)
		part *= (double)behind / of;
	return part;
}

/*
 * What of all has been explored, about: the choices that differ from option 0 wander from
 * the end to the beginning, and with a few of them left in n places there are n^few lists.
 * The first choice is who begins, which is free.
 */
double model_progress(void)
{
	uint32_t few = bounds_sum(), from = 1, i;
	double width = 1.0 / engine.options[0], part = width * engine.choices[0], least;

	for (i = 1; i < engine.prefix_nr; i++) {
		if (!engine.choices[i])
			continue;
		least = part_behind(engine.choices_nr - 1 - i, engine.choices_nr - from, few);
		part += width * least;
		width *= part_behind(engine.choices_nr - i, engine.choices_nr - from, few) - least;
		width /= engine.options[i] - 1;
		part += width * (engine.choices[i] - 1);
		from = i + 1;
		few -= few > 1;
	}
	return part;
}

bool model_explore(uint64_t executions_max, bool (*go_on)(void))
{
	for (;;) {
		run_once();
		if (engine.restart) {
			engine.restart = false;
			engine.restarts++;
			engine.prefix_nr = 0;
			engine.choices_nr = 0;
			engine.executions = 0;
			engine.steps = 0;
			continue;
		}
		if (engine.failed)
			return false;
		if (!engine.is_random && !advance())
			return true;
		engine.is_cut = engine.executions == executions_max ||
				(engine.executions % GO_ON_EVERY == 0 && !go_on());
		if (engine.is_cut)
			return true;
	}
}

void model_replay(const char *list)
{
	engine.failed = false;
	engine.is_random = false;
	engine.tracing = true;
	engine.replay = list;
	run_once();
	engine.tracing = false;
	engine.replay = NULL;
}
