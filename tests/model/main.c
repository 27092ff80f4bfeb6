/* SPDX-License-Identifier: MIT */
/*
 * explore: run scenarios within their bounds, or within those given; prints TAP.
 *
 *   explore [--long] [--list] [--scenario PREFIX]... [--mode sc|tso|pso|weak]
 *           [--preemptions N] [--crashes N] [--delays N] [--executions N] [--seconds N]
 *           [--random SEED] [--replay TICK:CHOICE,...] [--first]
 *
 * --first ends with the first failure, without a trace: for mutants. --seconds, of CPU, and
 * --executions cut each row; a row that was cut says so. Of one that takes long a comment
 * tells every half minute how far it is, about.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "world.h"

#define PREFIXES_MAX 32
/* Of CPU, between two words about how far it is. */
#define TELL_EVERY_S 30
#define SAMPLE_UNIT 100000ULL
#define SAMPLE_SEED 4711

static struct scenario *scenarios;

static struct options {
	bool is_long, list, first, has_bounds, has_mode;
	struct model_bounds bounds;
	int preemptions, crashes, delays; /* -1: the scenario's own */
	uint64_t executions, seed;
	double seconds; /* 0: no limit */
	const char *replay;
	const char *prefixes[PREFIXES_MAX];
	uint32_t prefixes_nr;
} options = { .preemptions = -1, .crashes = -1, .delays = -1 };

static uint32_t passed, failed;
static uint64_t executions, steps;
static double seconds;

static uint64_t segment_max(const struct scenario *scenario)
{
	uint32_t peers = 1;

	while (peers <= MODEL_PROCS_MAX && scenario->procs[peers - 1].run)
		peers++;
	return scenario->shared_sz + peers * scenario->peer_sz + scenario->grow_sz +
	       scenario->threads_sz;
}

/* In the order of their names, so that the order of linking does not matter. */
void model_register(struct scenario *scenario)
{
	struct scenario **at = &scenarios;

	while (*at && strcmp((*at)->name, scenario->name) < 0)
		at = &(*at)->next;
	scenario->next = *at;
	*at = scenario;
	if (!scenario->shared_sz)
		scenario->shared_sz = 8192;
	if (!scenario->steps_max)
		scenario->steps_max = 4000;
	if (scenario->state_sz > STATE_MAX || segment_max(scenario) > SEGMENT_MAX) {
		fprintf(stderr, "scenario %s is too large\n", scenario->name);
		abort();
	}
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* When the row of now began, and when it was last heard of. */
static double started, told;

static void print_row(void)
{
	printf("%s %s preemptions %u crashes %u delays %u%s: %llu executions",
	       engine.scenario->name, mode_name(engine.bounds.mode), engine.bounds.preemptions,
	       engine.bounds.crashes, engine.bounds.delays, engine.is_random ? " at random" : "",
	       (unsigned long long)engine.executions);
	if (engine.is_cut && !engine.is_random)
		printf(", cut at about %.0f %%", 100 * model_progress());
}

static void print_result(bool ok, double took)
{
	printf("%s - ", ok ? "ok" : "not ok");
	print_row();
	printf(", %.2f M/s, %llu steps, depth %llu (%.1f s)\n",
	       took > 0 ? (double)engine.executions / took / 1e6 : 0.0,
	       (unsigned long long)engine.steps, (unsigned long long)engine.depth_max, took);
	fflush(stdout);
}

static bool go_on(void)
{
	double at = now();

	if (at - told >= TELL_EVERY_S) {
		told = at;
		printf("# ");
		print_row();
		if (!engine.is_random)
			printf(", about %.0f %%", 100 * model_progress());
		printf(" (%.0f s)\n", at - started);
		fflush(stdout);
	}
	return !options.seconds || at - started < options.seconds;
}

static bool run(const struct scenario *scenario, struct model_bounds bounds)
{
	uint64_t max = options.executions;
	bool ok, is_set_up;
	double took;

	if (options.preemptions >= 0)
		bounds.preemptions = (uint8_t)options.preemptions;
	if (options.crashes >= 0)
		bounds.crashes = (uint8_t)options.crashes;
	if (options.delays >= 0)
		bounds.delays = (uint8_t)options.delays;
	started = told = now();
	ok = is_set_up = model_prepare(scenario, &bounds);
	if (!ok) {
		printf("# %s: setup: %s\n", scenario->name, engine.failure);
	} else if (options.replay) {
		model_replay(options.replay);
		ok = !engine.failed;
		if (!ok)
			printf("# %s\n", engine.failure);
	} else {
		engine.is_random = options.seed || bounds.sample;
		engine.seed = options.seed ? options.seed : SAMPLE_SEED;
		if (bounds.sample && !max)
			max = bounds.sample * SAMPLE_UNIT;
		ok = model_explore(max, go_on);
	}
	took = now() - started;
	seconds += took;
	executions += engine.executions;
	steps += engine.steps;
	if (!ok && is_set_up && !options.replay && !options.first)
		report_failure();
	print_result(ok, took);
	passed += ok;
	failed += !ok;
	return ok;
}

static bool is_wanted(const struct scenario *scenario)
{
	uint32_t i;

	for (i = 0; i < options.prefixes_nr; i++)
		if (!strncmp(scenario->name, options.prefixes[i], strlen(options.prefixes[i])))
			return true;
	return !options.prefixes_nr;
}

/* The scenario's rows, of the mode that is wanted; or one row made of the options. */
static bool run_rows(const struct scenario *scenario)
{
	const struct model_bounds *row = options.is_long ? scenario->longer : scenario->check;
	struct model_bounds one = options.bounds;
	uint32_t i;

	if (options.has_mode && options.preemptions >= 0) {
		one.preemptions = 1;
		return run(scenario, one) || !options.first;
	}
	for (i = 0; i < MODEL_RUNS_MAX && row[i].preemptions; i++) {
		if (options.has_mode && row[i].mode != options.bounds.mode)
			continue;
		if (!run(scenario, row[i]) && options.first)
			return false;
	}
	return true;
}

static void read_mode(const char *name)
{
	enum model_mode mode;

	for (mode = MODEL_SC; mode <= MODEL_WEAK; mode++) {
		if (strcmp(name, mode_name(mode)))
			continue;
		options.bounds.mode = mode;
		options.has_mode = true;
		return;
	}
	fprintf(stderr, "explore: mode '%s' is none of sc, tso, pso, weak\n", name);
	exit(2);
}

static void read_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "long", no_argument, NULL, 'l' },
		{ "list", no_argument, NULL, 'L' },
		{ "first", no_argument, NULL, 'f' },
		{ "scenario", required_argument, NULL, 's' },
		{ "mode", required_argument, NULL, 'm' },
		{ "preemptions", required_argument, NULL, 'p' },
		{ "crashes", required_argument, NULL, 'c' },
		{ "delays", required_argument, NULL, 'd' },
		{ "executions", required_argument, NULL, 'e' },
		{ "seconds", required_argument, NULL, 'S' },
		{ "random", required_argument, NULL, 'r' },
		{ "replay", required_argument, NULL, 'R' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
		switch (c) {
		case 'l':
			options.is_long = true;
			break;
		case 'L':
			options.list = true;
			break;
		case 'f':
			options.first = true;
			break;
		case 's':
			if (options.prefixes_nr < PREFIXES_MAX)
				options.prefixes[options.prefixes_nr++] = optarg;
			break;
		case 'm':
			read_mode(optarg);
			break;
		case 'p':
			options.preemptions = atoi(optarg);
			break;
		case 'c':
			options.crashes = atoi(optarg);
			break;
		case 'd':
			options.delays = atoi(optarg);
			break;
		case 'e':
			options.executions = strtoull(optarg, NULL, 0);
			break;
		case 'S':
			options.seconds = atof(optarg);
			break;
		case 'r':
			options.seed = strtoull(optarg, NULL, 0);
			break;
		case 'R':
			options.replay = optarg;
			break;
		default:
			exit(2);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "explore: '%s' is not an option\n", argv[optind]);
		exit(2);
	}
	if (options.seed && !options.executions)
		options.executions = 100000;
}

int main(int argc, char **argv)
{
	const struct scenario *s;

	read_options(argc, argv);
	for (s = scenarios; s; s = s->next) {
		if (!is_wanted(s))
			continue;
		if (options.list)
			puts(s->name);
		else if (!run_rows(s))
			break;
	}
	if (options.list)
		return 0;
	printf("1..%u\n", passed + failed);
	printf("# %llu executions, %llu steps, %.1f s, %.2f M executions/s\n",
	       (unsigned long long)executions, (unsigned long long)steps, seconds,
	       seconds > 0 ? (double)executions / seconds / 1e6 : 0.0);
	return failed || !passed;
}
