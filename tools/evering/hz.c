// SPDX-License-Identifier: MIT
/* evering hz: messages a second, for each ring and each peer. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <evering/evering.h>

#include "command.h"
#include "rates.h"
#include "signals.h"

static double interval = 1;
static uint64_t count;
static bool json;

static const struct option_row options[] = {
	{ "interval", 'i', OPTION_SECONDS, &interval, "S", "seconds between two looks (1)", 0, 0,
	  NULL },
	{ "count", 'n', OPTION_NUMBER, &count, "N", "end after N reports (never)", 1, 0, NULL },
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write a JSON object a line", 0, 0, NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

static void print_text(const struct rates *rates)
{
	struct table flows, peers;

	rates_flow_table(&flows, rates);
	rates_peer_table(&peers, rates);
	if (rates->flows_nr)
		table_print(&flows, stdout, "");
	if (rates->peers_nr)
		table_print(&peers, stdout, "");
	printf("\n");
	fflush(stdout);
	table_fini(&flows);
	table_fini(&peers);
}

static int report(const struct snapshot *before, const struct snapshot *after)
{
	struct rates rates;
	int err = rates_take(&rates, before, after);

	if (!err && json)
		json_write(stdout, rates_to_json(&rates), false);
	else if (!err)
		print_text(&rates);
	rates_free(&rates);
	return err;
}

static int follow(const struct observer *observer, void *arg)
{
	struct snapshot before, after;
	uint64_t reports = 0;
	int err;

	(void)arg;
	signals_catch();
	err = snapshot_take(observer, &before);
	while (!err && !signals_came() && !(count && reports == count)) {
		signals_sleep(interval);
		if (signals_came())
			break;
		err = snapshot_take(observer, &after);
		if (!err)
			err = report(&before, &after);
		snapshot_free(&before);
		before = after;
		reports++;
	}
	snapshot_free(&before);
	return err;
}

static int run(int operands_nr, char **operands)
{
	(void)operands_nr;
	return observer_run(operands[0], follow, NULL);
}

const struct command hz_command = {
	.name = "hz",
	.operands = "NAME",
	.summary = "Show messages a second",
	.details = "For each ring what goes in and out, for each peer what it sends and takes at the ends\n"
		   "that it holds. Of a log, units. Looks from outside, and disturbs nothing.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run,
};
