// SPDX-License-Identifier: MIT
/* evering demo: what it does, how fast, and what happens when one side is killed. */
#include "demo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <evering/uapi.h>

#include "bench.h"
#include "command.h"
#include "format.h"
#include "machine.h"
#include "message.h"
#include "series.h"
#include "table.h"
#include "terminal.h"

#define LATENCY_SHARE 0.35
#define RATE_SHARE 0.45
#define SECONDS_DEFAULT 10
/* Where starting two processes takes longer, there are fewer runs. */
#define START_SLOW_SECONDS 0.03
#define BARS 44
#define BAR_ROWS 12

static const char *backend_text;
static double seconds = SECONDS_DEFAULT;
static bool isolated;

static const struct option_row options[] = {
	{ "backend", 'b', OPTION_TEXT, &backend_text, "NAME",
	  "device or local (device when it is there)", 0, 0, NULL },
	{ "isolated", 'i', OPTION_FLAG, &isolated, NULL,
	  "in a segment of peers that do not trust each other", 0, 0, NULL },
	{ "seconds", 't', OPTION_SECONDS, &seconds, "S", "about how long to measure (10)", 0, 0,
	  NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

/* Of these a slow machine takes every third. */
static const uint64_t sizes[] = { 8, 64, 512, 4096, 32768, 262144, 1048576 };

#define SIZES_NR ((int)(sizeof(sizes) / sizeof(sizes[0])))
#define RATE_RIVALS 4

static void print_heading(const char *text)
{
	printf("\n%s%s%s\n", terminal_style(stdout, TERMINAL_BOLD), text,
	       terminal_style(stdout, TERMINAL_PLAIN));
	fflush(stdout);
}

static void print_guarantees(enum evr_backend backend)
{
	struct evr_system_info info;

	if (backend == EVR_BACKEND_LOCAL) {
		printf("  memory     pages of a memfd; not contiguous\n"
		       "  rights     by file mode; every peer may write all of a segment it may write\n"
		       "  deaths     noticed by file locks, within 50 ms; without the exit status\n"
		       "  identity   as each peer says\n");
		return;
	}
	evr_system_info(backend, &info);
	printf("  memory     physically contiguous runs%s\n",
	       info.features & EVERING_FEAT_HUGE_MAPPING ? ", mapped by 2 MiB" : "");
	printf("  rights     enforced by the kernel for each peer and region, and revocable\n"
	       "  deaths     told by the kernel at once, with reason and exit status\n"
	       "  identity   stamped by the kernel\n");
}

/* What an isolated segment adds, and what of it the backend cannot enforce. */
static void print_isolation(enum evr_backend backend)
{
	if (!isolated)
		return;
	printf("  segment    isolated: each peer writes its own region; what it reads of another\n"
	       "             it checks, and nonsense ends what it shares with that one\n");
	if (backend == EVR_BACKEND_LOCAL)
		printf("             against accidents: who wants to can map and write any region\n");
	else
		printf("             enforced by the kernel, also against who wants to\n");
}

/* The time of starting and ending a pair of processes. */
static double measure_start(struct series_plan *plan)
{
	static struct series pair = { .rival = &ringtrip_pipe, .size = 8 };
	uint64_t begin = evr_now_ns();

	plan->count = 1;
	plan->repeats = 1;
	series_run(&pair, 1, plan);
	plan->count = 0;
	return (double)(evr_now_ns() - begin) / 1e9;
}

static void make_plan(struct series_plan *plan, enum evr_backend backend)
{
	*plan = (struct series_plan){ .backend = backend, .isolated = isolated, .batch = 1 };
	machine_two_cpus(plan->cpus);
	plan->repeats = measure_start(plan) > START_SLOW_SECONDS ? 1 : 3;
	plan->end_ns = evr_now_ns() + (uint64_t)(seconds * 1e9);
}

static void add_latency_row(struct table *table, const struct series *series)
{
	static const char *const manners[] = { "spins", "adapts", "sleeps" };
	static const double fractions[] = { 0.5, 0.9, 0.99, 0.999, 1 };
	char times[5][FORMAT_SZ], rate[FORMAT_SZ];
	const char *cells[] = { series->rival->name,
				manners[series->rival->manner],
				times[0],
				times[1],
				times[2],
				times[3],
				times[4],
				rate };

	for (int i = 0; i < 5; i++)
		format_time(times[i], series_percentile(series, fractions[i]));
	format_count(rate, series_median(series));
	table_add(table, cells);
}

static void print_histogram(const struct series *series, const char *title)
{
	if (!series->repeats)
		return;
	printf("\n  %s\n", title);
	histogram_draw(&series->ticks, stdout, BAR_ROWS, BARS, machine_ns_per_tick());
}

static int show_latency(const struct series_plan *plan)
{
	static const char *const heads[] = { "",      "",    "P50",	   "P90", "P99",
					     "P99.9", "MAX", "PER SECOND", NULL };
	static struct series series[] = { { .rival = &ringtrip_spinning, .size = 64 },
					  { .rival = &ringtrip_adaptive, .size = 64 },
					  { .rival = &ringtrip_sleeping, .size = 64 },
					  { .rival = &ringtrip_pipe, .size = 64 },
					  { .rival = &ringtrip_socket, .size = 64 } };
	int first = plan->cpus[0] == plan->cpus[1] ? 1 : 0;
	struct series_plan timed = *plan;
	struct table table;

	timed.run_seconds = seconds * LATENCY_SHARE / ((5 - first) * plan->repeats);
	series_run(series + first, 5 - first, &timed);
	table_init(&table, "llrrrrrr", heads);
	for (int i = first; i < 5; i++) {
		if (series[i].error)
			return EXIT_FAILED;
		add_latency_row(&table, &series[i]);
	}
	table_print(&table, stdout, "  ");
	table_fini(&table);
	print_histogram(&series[first], first ? "evering, adapts" : "evering, spins");
	print_histogram(&series[4], "UNIX socket");
	return EXIT_OK;
}

static void print_rate_row(struct table *table, const struct series *row)
{
	char size[FORMAT_SZ], rates[RATE_RIVALS][FORMAT_SZ], gain[FORMAT_SZ];
	const char *cells[] = { size, rates[0], rates[1], rates[2], rates[3], gain };
	double pipe = series_median(&row[2]), socket = series_median(&row[3]);

	format_size(size, row[0].size);
	for (int i = 0; i < RATE_RIVALS; i++) {
		if (row[i].repeats)
			format_rate(rates[i], series_median(&row[i]) * (double)row[i].size);
		else
			strcpy(rates[i], "-");
	}
	snprintf(gain, sizeof(gain), "%.1fx",
		 series_median(&row[1]) / (pipe > socket ? pipe : socket));
	table_add(table, cells);
}

static int show_rates(const struct series_plan *plan)
{
	static const char *const heads[] = { "MESSAGE", "EVERING SPINS", "EVERING SLEEPS",
					     "PIPE",	"UNIX SOCKET",	 "SLEEPS/BEST",
					     NULL };
	static const struct rival *const rivals[RATE_RIVALS] = { &bytes_spinning, &bytes_sleeping,
								 &spsc_pipe, &spsc_socket };
	static struct series series[SIZES_NR * RATE_RIVALS];
	struct series_plan timed = *plan;
	struct table table;

	timed.run_seconds = seconds * RATE_SHARE / (SIZES_NR * RATE_RIVALS * plan->repeats);
	table_init(&table, "rrrrrr", heads);
	for (int s = 0; s < SIZES_NR; s += plan->repeats == 1 ? 3 : 1) {
		struct series *row = &series[s * RATE_RIVALS];
		int first = plan->cpus[0] == plan->cpus[1] ? 1 : 0;

		for (int r = 0; r < RATE_RIVALS; r++) {
			row[r].rival = rivals[r];
			row[r].size = sizes[s];
		}
		series_run(row + first, RATE_RIVALS - first, &timed);
		if (row[1].error || row[2].error || row[3].error)
			return EXIT_FAILED;
		print_rate_row(&table, row);
	}
	table_print(&table, stdout, "  ");
	table_fini(&table);
	return EXIT_OK;
}

static int show_all(enum evr_backend backend)
{
	struct series_plan plan;
	struct machine machine;
	char text[256];
	int status;

	machine_read(&machine);
	print_heading("evering demo");
	printf("  machine    %s\n", machine_text(&machine, text, sizeof(text)));
	printf("  backend    %s%s%s\n", terminal_style(stdout, TERMINAL_BOLD),
	       evr_backend_name(backend), terminal_style(stdout, TERMINAL_PLAIN));
	print_guarantees(backend);
	print_isolation(backend);
	make_plan(&plan, backend);
	printf("  CPUs       %d and %d: %s\n", plan.cpus[0], plan.cpus[1],
	       machine_distance(plan.cpus));
	print_heading("Round trips of 64 bytes between two processes");
	status = show_latency(&plan);
	if (status)
		return status;
	print_heading("Bytes a second, one way, written and read whole");
	status = show_rates(&plan);
	if (status)
		return status;
	print_heading("A producer is killed while it works");
	status = demo_death(backend, isolated);
	if (status || !isolated)
		return status;
	print_heading("A process writes into another's region");
	return demo_intruder(backend);
}

static int run(int operands_nr, char **operands)
{
	enum evr_backend backend = evr_backend_available(EVR_BACKEND_DEVICE) ? EVR_BACKEND_DEVICE :
									       EVR_BACKEND_LOCAL;

	(void)operands_nr;
	(void)operands;
	if (backend_text && strcmp(backend_text, "device") && strcmp(backend_text, "local"))
		return message_usage("--backend: '%s' is not device or local", backend_text);
	if (backend_text)
		backend = strcmp(backend_text, "device") ? EVR_BACKEND_LOCAL : EVR_BACKEND_DEVICE;
	return show_all(backend);
}

const struct command demo_command = {
	.name = "demo",
	.operands = "",
	.summary = "Show what it does, in twenty seconds",
	.details =
		"Round trips and rates of two processes against a pipe and a UNIX socket in the same\n"
		"run, then a process is killed and the other goes on. With --isolated all of it is between\n"
		"peers of which each writes its own region alone, and a third tries to write another's.\n",
	.options = options,
	.run = run,
};
