// SPDX-License-Identifier: MIT
/* evering bench: round trips, messages, bytes and wakes against what else there is. */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_contiguous.h"
#include "bench_memory.h"
#include "command.h"
#include "format.h"
#include "json.h"
#include "machine.h"
#include "message.h"
#include "series.h"
#include "table.h"

#ifdef HAVE_DRIVER
#define DRIVER_NAMES(line)                                                        \
	"nop, file-read, file-write, file-peer, echo," line                         \
	"inject, timer-cancel, timer-expire, "
#else
#define DRIVER_NAMES(line) ""
#endif

/* @line: what ends one. */
#define BENCH_NAMES(line)                                                         \
	"ringtrip, spsc, slots, stamped, inbox, bytes, mpmc, pairs, log, bcast," line \
	"fanout, channel, handles, call, dir, hub, port, lease, heap, heap-many," line \
	"heap-random, heap-remote, ring, wake, death, reap, peers, positions," line \
	DRIVER_NAMES(line) "memory and contiguous"

#define SECONDS_DEFAULT 10
#define REPEATS_DEFAULT 5
/* A death takes a process each, and up to 50 ms where nobody tells of it. */
#define DEATHS_DEFAULT 20

static uint64_t size, batch, count, repeats = REPEATS_DEFAULT;
static double seconds = SECONDS_DEFAULT;
static const char *backend_text;
static bool size_given, batch_given, json;

static const struct option_row options[] = {
	{ "size", 's', OPTION_SIZE, &size, "SIZE",
	  "bytes of a message, or block (as evering(1) says of each)", 1, 1ULL << 28, &size_given },
	{ "batch", 'B', OPTION_NUMBER, &batch, "N",
	  "messages, operations or connections at once, where evering(1) names a number", 1, 4096,
	  &batch_given },
	{ "backend", 'b', OPTION_TEXT, &backend_text, "NAME",
	  "device or local (device when it is there)", 0, 0, NULL },
	{ "seconds", 't', OPTION_SECONDS, &seconds, "S", "about how long in all (10)", 0, 0, NULL },
	{ "count", 'n', OPTION_NUMBER, &count, "N", "operations of one run, instead of --seconds",
	  1, 1ULL << 40, NULL },
	{ "repeats", 'r', OPTION_NUMBER, &repeats, "N", "runs of each, in turns (5)", 1,
	  SERIES_REPEATS_MAX, NULL },
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write JSON, every repeat of it", 0, 0, NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

static const struct bench *const benches[] = {
	&ringtrip_bench, &spsc_bench, &slots_bench, &stamped_bench,
	&inbox_bench, &bytes_bench, &mpmc_bench, &pairs_bench,
	&log_bench, &bcast_bench, &fanout_bench, &channel_bench, &handles_bench, &call_bench,
	&dir_bench, &hub_bench, &port_bench, &lease_bench,
	&heap_bench, &heap_many_bench, &heap_random_bench, &heap_remote_bench,
	&ring_bench, &wake_bench, &death_bench, &reap_bench, &peers_bench, &positions_bench,
#ifdef HAVE_DRIVER
	&nop_bench, &file_read_bench, &file_write_bench, &file_peer_bench, &echo_bench,
	&inject_bench, &timer_cancel_bench, &timer_expire_bench,
#endif
	NULL
};

static const char *manner_text(enum rival_manner manner)
{
	static const char *const texts[] = { "spinning", "adaptive", "sleeping" };

	return texts[manner];
}

/* All series of a bench: one for each size and rival. */
struct results {
	const struct bench *bench;
	struct series_plan plan;
	struct series *series;
	int nr;
};

static bool can_run(const struct rival *rival, const struct series_plan *plan)
{
	/* On one CPU a spinning pair waits for the scheduler, which measures nothing. */
	return rival->manner != RIVAL_SPINS || plan->cpus[0] != plan->cpus[1];
}

static bool is_ours(const struct rival *rival)
{
	return !strncmp(rival->name, "evering", strlen("evering"));
}

static void list_one(struct results *results, const struct rival *rival, uint64_t of_size)
{
	if (!can_run(rival, &results->plan))
		return;
	results->series[results->nr].rival = rival;
	results->series[results->nr++].size = of_size;
}

static void list_size(struct results *results, uint64_t of_size)
{
	const struct bench *bench = results->bench;

	for (int i = 0; bench->rivals[i]; i++)
		list_one(results, bench->rivals[i], of_size);
	for (const struct bench_guest *guest = bench_guests; guest->bench; guest++)
		if (guest->bench == bench && (!guest->size || guest->size == of_size))
			list_one(results, guest->rival, of_size);
}

static int list_series(struct results *results)
{
	size_t sizes_nr = 0, guests_nr = 0;

	while (bench_guests[guests_nr].bench)
		guests_nr++;
	results->series =
		calloc(BENCH_SIZES_MAX * (BENCH_RIVALS_MAX + guests_nr), sizeof(struct series));
	if (!results->series)
		return -ENOMEM;
	if (size_given)
		list_size(results, size);
	for (; !size_given && results->bench->sizes[sizes_nr]; sizes_nr++)
		list_size(results, results->bench->sizes[sizes_nr]);
	return 0;
}

static int measure(struct results *results)
{
	struct series_plan *plan = &results->plan;
	int err = list_series(results);

	if (err)
		return err;
	plan->run_seconds = seconds / (results->nr * plan->repeats);
	series_run(results->series, results->nr, plan);
	for (int i = 0; i < results->nr; i++) {
		if (results->series[i].error && results->series[i].error != -EOPNOTSUPP)
			err = results->series[i].error;
	}
	return err;
}

static const struct series *find_series(const struct results *results, const struct rival *rival,
					uint64_t of_size)
{
	for (int i = 0; i < results->nr; i++) {
		const struct series *series = &results->series[i];

		if (series->rival == rival && series->size == of_size && series->repeats)
			return series;
	}
	return NULL;
}

static void add_latency_row(struct table *table, const struct series *series)
{
	char times[5][FORMAT_SZ], rate[FORMAT_SZ], spread[FORMAT_SZ], cpu[FORMAT_SZ];
	static const double fractions[] = { 0.5, 0.9, 0.99, 0.999, 1 };
	const char *cells[] = { series->rival->name,
				times[0],
				times[1],
				times[2],
				times[3],
				times[4],
				rate,
				spread,
				cpu };

	for (int i = 0; i < 5; i++)
		format_time(times[i], series_percentile(series, fractions[i]));
	format_count(rate, series_median(series));
	snprintf(spread, sizeof(spread), "%.0f %%", series_spread(series));
	format_time(cpu, series->cpu_seconds * 1e9 / series->operations);
	table_add(table, cells);
}

static void add_rate_row(struct table *table, const struct series *series)
{
	char bytes[FORMAT_SZ], rate[FORMAT_SZ], volume[FORMAT_SZ], spread[FORMAT_SZ],
		cpu[FORMAT_SZ], each[FORMAT_SZ], counted[FORMAT_SZ];
	const char *cells[] = {
		series->rival->name, bytes, rate, volume, each, spread, cpu, counted
	};
	double median = series_median(series);

	format_size(bytes, series->size);
	format_count(rate, median);
	format_rate(volume, median * (double)series->size);
	format_time(each, 1e9 / median);
	snprintf(spread, sizeof(spread), "%.0f %%", series_spread(series));
	format_time(cpu, series->cpu_seconds * 1e9 / series->operations);
	snprintf(counted, sizeof(counted), "%.1f", series->counted);
	table_add(table, cells);
}

static void print_manner(const struct results *results, enum rival_manner manner)
{
	static const char *const latency_heads[] = { "",    "P50",   "P90",    "P99",	 "P99.9",
						     "MAX", "PER S", "SPREAD", "CPU/OP", NULL };
	const char *rate_heads[] = { "",     "SIZE",   "PER S",	 "BYTES",
				     "EACH", "SPREAD", "CPU/OP", results->bench->counted,
				     NULL };
	const char *rate_align = results->bench->counted ? "lrrrrrrr" : "lrrrrrr";
	bool has_times = results->bench->unit == BENCH_ROUND_TRIPS;
	struct table table;

	table_init(&table, has_times ? "lrrrrrrrr" : rate_align,
		   has_times ? latency_heads : rate_heads);
	for (int i = 0; i < results->nr; i++) {
		const struct series *series = &results->series[i];

		if (series->rival->manner != manner || !series->repeats)
			continue;
		if (has_times)
			add_latency_row(&table, series);
		else
			add_rate_row(&table, series);
	}
	if (table.rows_nr > 1) {
		printf("\n%s\n", manner_text(manner));
		table_print(&table, stdout, "  ");
	}
	table_fini(&table);
}

/* Ours over theirs: of times the lower is better, of rates the higher. */
static double ratio_of(const struct results *results, const struct series *ours,
		       const struct series *theirs)
{
	if (results->bench->unit == BENCH_ROUND_TRIPS)
		return series_percentile(ours, 0.5) / series_percentile(theirs, 0.5);
	return series_median(ours) / series_median(theirs);
}

static void print_ratio(const struct results *results, const struct series *ours,
			const struct rival *of)
{
	const struct series *theirs = find_series(results, of, ours->size);
	char bytes[FORMAT_SZ];

	if (!theirs || !ours->repeats)
		return;
	printf("  %9s  %s, %s: %.2fx the %s of %s\n", format_size(bytes, ours->size),
	       ours->rival->name, manner_text(ours->rival->manner), ratio_of(results, ours, theirs),
	       results->bench->unit == BENCH_ROUND_TRIPS ? "time (p50)" : "rate", of->name);
}

/* Ours of a manner: what guests are compared with. */
static const struct rival *ours_of(const struct bench *bench, enum rival_manner manner)
{
	for (int i = 0; bench->rivals[i]; i++)
		if (bench->rivals[i]->manner == manner && is_ours(bench->rivals[i]))
			return bench->rivals[i];
	return NULL;
}

static void print_ratios(const struct results *results)
{
	const struct bench *bench = results->bench;

	printf("\n");
	for (int i = 0; i < results->nr; i++) {
		const struct series *ours = &results->series[i];

		for (int r = 0; bench->ratios[r].ours; r++)
			if (bench->ratios[r].ours == ours->rival)
				print_ratio(results, ours, bench->ratios[r].theirs);
		if (ours->rival != ours_of(bench, ours->rival->manner))
			continue;
		for (const struct bench_guest *guest = bench_guests; guest->bench; guest++)
			if (guest->bench == bench && guest->rival->manner == ours->rival->manner)
				print_ratio(results, ours, guest->rival);
	}
}

/* What each of the account's rivals takes more than the one before, in nanoseconds. */
static double account_ns(const struct results *results, int nr, uint64_t of_size)
{
	const struct rival *const *account = results->bench->account;
	const struct series *series = find_series(results, account[nr], of_size);
	const struct series *before = nr ? find_series(results, account[nr - 1], of_size) : NULL;

	return series_percentile(series, 0.5) - (before ? series_percentile(before, 0.5) : 0);
}

static bool has_account(const struct results *results, uint64_t of_size)
{
	for (int i = 0; results->bench->account[i]; i++)
		if (!find_series(results, results->bench->account[i], of_size))
			return false;
	return results->bench->account[0];
}

static void print_account(const struct results *results)
{
	uint64_t of_size = results->nr ? results->series[0].size : 0;

	if (!has_account(results, of_size))
		return;
	printf("\n  what it is made of (p50):\n");
	for (int i = 0; results->bench->account[i]; i++) {
		char time[FORMAT_SZ];
		double ns = account_ns(results, i, of_size);

		format_time(time, ns < 0 ? -ns : ns);
		printf("  %12s  %s%s\n", time, i ? (ns < 0 ? "less by " : "more by ") : "",
		       results->bench->account[i]->name);
	}
}

static void print_results(const struct results *results)
{
	const struct series_plan *plan = &results->plan;
	struct machine machine;
	char text[256];

	machine_read(&machine);
	printf("%s: %s\n", results->bench->name, results->bench->summary);
	printf("%s\nCPUs %d and %d (%s), %s backend, %d repeats in turns",
	       machine_text(&machine, text, sizeof(text)), plan->cpus[0], plan->cpus[1],
	       machine_distance(plan->cpus), evr_backend_name(plan->backend), plan->repeats);
	if (results->bench->batch > 1)
		printf(", batches of %d", (int)plan->batch);
	printf("\n");
	if (plan->cpus[0] == plan->cpus[1])
		printf("One CPU: what spins is left out.\n");
	for (int manner = RIVAL_SPINS; manner <= RIVAL_SLEEPS; manner++)
		print_manner(results, (enum rival_manner)manner);
	print_ratios(results);
	print_account(results);
}

static struct json_object *series_to_json(const struct series *series, const struct bench *bench)
{
	static const struct {
		const char *key;
		double fraction;
	} percentiles[] = { { "p50_ns", 0.5 },
			    { "p90_ns", 0.9 },
			    { "p99_ns", 0.99 },
			    { "p999_ns", 0.999 },
			    { "max_ns", 1 } };
	struct json_object *object = json_object_new_object();
	struct json_object *runs = json_object_new_array();

	for (int i = 0; i < series->repeats; i++)
		json_object_array_add(runs, json_object_new_double(series->per_second[i]));
	json_add_text(object, "rival", series->rival->name);
	json_add_bool(object, "ours", is_ours(series->rival));
	json_add_text(object, "manner", manner_text(series->rival->manner));
	json_add_u64(object, "size", series->size);
	json_add_u64(object, "count", series->count);
	json_object_object_add(object, "per_second", runs);
	json_add_double(object, "per_second_median", series_median(series));
	json_add_double(object, "bytes_per_second_median",
			series_median(series) * (double)series->size);
	json_add_double(object, "spread_percent", series_spread(series));
	json_add_double(object, "cpu_ns_per_operation",
			series->operations > 0 ? series->cpu_seconds * 1e9 / series->operations :
						 0);
	if (bench->counted)
		json_add_double(object, "counted", series->counted);
	for (size_t i = 0;
	     bench->unit == BENCH_ROUND_TRIPS && i < sizeof(percentiles) / sizeof(percentiles[0]);
	     i++)
		json_add_double(object, percentiles[i].key,
				series_percentile(series, percentiles[i].fraction));
	return object;
}

static struct json_object *results_to_json(const struct results *results)
{
	static const char *const units[] = { "round trips", "messages", "bytes" };
	struct json_object *object = json_object_new_object();
	struct json_object *list = json_object_new_array();
	struct machine machine;

	machine_read(&machine);
	json_add_text(object, "bench", results->bench->name);
	json_add_text(object, "summary", results->bench->summary);
	json_add_text(object, "unit", units[results->bench->unit]);
	json_add_text(object, "counted", results->bench->counted);
	json_add_text(object, "backend", evr_backend_name(results->plan.backend));
	json_add_text(object, "version", evr_version());
	json_add_int(object, "cpus", machine.cpus_nr);
	json_add_text(object, "kernel", machine.kernel);
	json_add_text(object, "model", machine.model);
	json_add_int(object, "cpu_near", results->plan.cpus[0]);
	json_add_int(object, "cpu_far", results->plan.cpus[1]);
	json_add_text(object, "distance", machine_distance(results->plan.cpus));
	json_add_u64(object, "batch", results->plan.batch);
	json_add_int(object, "repeats", results->plan.repeats);
	for (int i = 0; i < results->nr; i++)
		json_object_array_add(list, series_to_json(&results->series[i], results->bench));
	json_object_object_add(object, "results", list);
	return object;
}

static enum evr_backend chosen_backend(void)
{
	if (backend_text)
		return strcmp(backend_text, "device") ? EVR_BACKEND_LOCAL : EVR_BACKEND_DEVICE;
	return evr_backend_available(EVR_BACKEND_DEVICE) ? EVR_BACKEND_DEVICE : EVR_BACKEND_LOCAL;
}

static int run_bench(const struct bench *bench, struct json_object *list)
{
	struct results results = { .bench = bench };
	int err;

	machine_two_cpus(results.plan.cpus);
	results.plan.batch = bench->batch > 1 && batch_given ? batch : bench->batch;
	results.plan.repeats = (int)repeats;
	results.plan.count = count;
	if (!count && (bench == &death_bench || bench == &reap_bench))
		results.plan.count = DEATHS_DEFAULT;
	results.plan.backend = chosen_backend();
	err = measure(&results);
	if (list)
		json_object_array_add(list, results_to_json(&results));
	else
		print_results(&results);
	free(results.series);
	return err ? EXIT_FAILED : EXIT_OK;
}

static int run(int operands_nr, char **operands)
{
	const struct bench *bench = NULL;
	struct json_object *list = NULL;
	int status;

	(void)operands_nr;
	for (int i = 0; benches[i]; i++) {
		if (!strcmp(benches[i]->name, operands[0]))
			bench = benches[i];
	}
	if (!bench && strcmp(operands[0], "contiguous") && strcmp(operands[0], "memory"))
		return message_usage("there is no bench '%s'; there are %s", operands[0],
				     BENCH_NAMES(" "));
	if (backend_text && strcmp(backend_text, "device") && strcmp(backend_text, "local"))
		return message_usage("--backend: '%s' is not device or local", backend_text);
	if (batch_given && (!bench || bench->batch == 1))
		return message_usage("--batch: '%s' has none", operands[0]);
	if (json)
		list = json_object_new_array();
	if (bench)
		status = run_bench(bench, list);
	else if (!strcmp(operands[0], "memory"))
		status = bench_memory(chosen_backend(), list);
	else
		status = bench_contiguous(chosen_backend(), list);
	if (bench == &wake_bench && !status) {
		if (!list)
			printf("\n");
		status = run_bench(&death_bench, list);
	}
	if (list)
		json_write(stdout, list, true);
	return status;
}

static void print_names(void)
{
	for (int i = 0; benches[i]; i++)
		printf("%s\n", benches[i]->name);
	printf("memory\n");
	printf("contiguous\n");
}

const struct command bench_command = {
	.name = "bench",
	.operands = "NAME",
	.summary = "Measure against pipes, sockets and bare memory",
	.details =
		"Two processes, on two CPUs where there are two; everything is written and read; the\n"
		"rivals take turns. What spins, what adapts and what sleeps stand in tables of their own.\n"
		"NAME is one of\n" BENCH_NAMES("\n") ".\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run,
	.print_words = print_names,
};
