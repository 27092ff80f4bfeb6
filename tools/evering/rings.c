// SPDX-License-Identifier: MIT
/* evering rings: the objects of a segment, what is in them and who is at their ends. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <evering/evering.h>

#include "command.h"
#include "format.h"
#include "snapshot.h"
#include "table.h"

static bool json;

static const struct option_row options[] = {
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write JSON", 0, 0, NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

static void number_text(char *text, uint64_t number)
{
	snprintf(text, FORMAT_SZ, "%" PRIu64, number);
}

static void add_flow(struct table *table, const struct snapshot *snapshot,
		     const struct object_view *view, uint32_t i)
{
	const struct evr_flow *flow = &view->stat.flows[i];
	const struct evr_flow_end *in = &flow->ends[EVR_PRODUCER], *out = &flow->ends[EVR_CONSUMER];
	char name[SEGMENT_TEXT_SZ], producer[SEGMENT_TEXT_SZ], consumer[SEGMENT_TEXT_SZ];
	char fill[FORMAT_SZ], capacity[FORMAT_SZ], put[FORMAT_SZ], taken[FORMAT_SZ],
		waits[2 * FORMAT_SZ];
	const char *cells[] = { name, evr_kind_name(view->object.kind),
				fill, capacity,
				put,  taken,
				waits, producer,
				consumer };

	snprintf(name, sizeof(name), "%s%s%s", view->object.name, view->stat.flows_nr > 1 ? " " : "",
		 flow_direction(view, i));
	snprintf(fill, sizeof(fill), "-");
	if (flow_fill(flow) != UINT64_MAX)
		number_text(fill, flow_fill(flow));
	number_text(capacity, flow->capacity);
	number_text(put, flow_count(view, i, EVR_PRODUCER));
	number_text(taken, flow_count(view, i, EVR_CONSUMER));
	snprintf(waits, sizeof(waits), "%" PRIu64 "/%" PRIu64, in->blocked, out->blocked);
	end_text(producer, snapshot, in);
	end_text(consumer, snapshot, out);
	table_add(table, cells);
}

static void add_row(struct table *table, const struct object_view *view)
{
	char fill[FORMAT_SZ] = "-", capacity[FORMAT_SZ], note[SEGMENT_TEXT_SZ] = "";
	const char *cells[] = { view->object.name, evr_kind_name(view->object.kind),
				fill, capacity, "", "", "", note, "" };

	format_size(capacity, view->object.sz);
	if (view->err && view->err != -EOPNOTSUPP) {
		snprintf(note, sizeof(note), "%s", view->why);
	} else if (!view->err) {
		format_size(fill, view->stat.bytes);
		format_size(capacity, view->stat.bytes_max);
		snprintf(note, sizeof(note), "%" PRIu64 " blocks, %u peers", view->stat.blocks,
			 view->stat.members);
	}
	table_add(table, cells);
}

static void print_objects(const struct snapshot *snapshot)
{
	static const char *const heads[] = { "NAME", "KIND",  "FILL",	  "OF",	      "IN",
					     "OUT",  "WAITS", "PRODUCER", "CONSUMER", NULL };
	struct table table;

	table_init(&table, "llrrrrrll", heads);
	for (uint32_t i = 0; i < snapshot->objects_nr; i++) {
		const struct object_view *view = &snapshot->objects[i];

		for (uint32_t k = 0; k < view->stat.flows_nr; k++)
			add_flow(&table, snapshot, view, k);
		if (!view->stat.flows_nr)
			add_row(&table, view);
	}
	if (snapshot->objects_nr)
		table_print(&table, stdout, "");
	table_fini(&table);
}

static void print_json(const struct snapshot *snapshot)
{
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; i < snapshot->objects_nr; i++)
		json_object_array_add(list, object_view_to_json(snapshot, &snapshot->objects[i]));
	json_write(stdout, list, true);
}

static int print_all(const struct observer *observer, void *arg)
{
	struct snapshot snapshot;
	int err = snapshot_take(observer, &snapshot);

	(void)arg;
	if (!err && json)
		print_json(&snapshot);
	else if (!err)
		print_objects(&snapshot);
	snapshot_free(&snapshot);
	return err;
}

static int run(int operands_nr, char **operands)
{
	(void)operands_nr;
	return observer_run(operands[0], print_all, NULL);
}

const struct command rings_command = {
	.name = "rings",
	.operands = "NAME",
	.summary = "List rings, heaps and who is at their ends",
	.details =
		"Looks from outside, and disturbs nothing: also what hangs can be looked at.\n"
		"FILL, OF: units in it, and at most. IN, OUT: messages (of a log, units). WAITS: by the\n"
		"producer, by the consumer. The ends: slot of the peer, and what it does.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run,
};
