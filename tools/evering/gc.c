// SPDX-License-Identifier: MIT
/* evering gc: settle what dead peers have left, or tell what that would be. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <evering/evering.h>

#include "command.h"
#include "format.h"
#include "message.h"
#include "snapshot.h"

static bool dry_run, json;

static const struct option_row options[] = {
	{ "dry-run", 'n', OPTION_FLAG, &dry_run, NULL, "tell what there is, and change nothing", 0,
	  0, NULL },
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write JSON", 0, 0, NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

static void print_json(const struct evr_reap_report *report)
{
	struct json_object *object = json_object_new_object();

	json_add_bool(object, "dry_run", dry_run);
	json_add_u64(object, "peers", report->peers);
	json_add_u64(object, "objects", report->objects);
	json_add_u64(object, "object_bytes", report->bytes);
	json_add_u64(object, "roles", report->sides);
	json_add_u64(object, "claims", report->claims);
	json_add_u64(object, "blocks", report->blocks);
	json_add_u64(object, "block_bytes", report->block_bytes);
	json_write(stdout, object, true);
}

static void print_text(const struct evr_reap_report *report)
{
	char bytes[FORMAT_SZ], block_bytes[FORMAT_SZ];

	printf("%s\n", dry_run ? "would settle" : "settled");
	printf("  peers    %u\n", report->peers);
	printf("  objects  %u begun and not finished, %s\n", report->objects,
	       format_size(bytes, report->bytes));
	printf("  roles    %u\n", report->sides);
	printf("  claims   %u elements of queues\n", report->claims);
	printf("  blocks   %" PRIu64 ", %s\n", report->blocks,
	       format_size(block_bytes, report->block_bytes));
}

static int preview(const struct observer *observer, void *arg)
{
	return evr_reap_preview(observer->peer, arg);
}

static int collect(const char *name, struct evr_reap_report *report)
{
	struct evr_peer_options attach = { .struct_sz = sizeof(attach),
					   .flags = EVR_PEER_REAP_MANUAL };
	struct evr_segment *segment;
	struct evr_peer *peer = NULL;
	struct evr_uri uri;
	int err;

	if (evr_uri_parse(name, &uri))
		return message_usage("%s: %s", name, evr_error_detail());
	err = evr_segment_open(&segment, name);
	if (!err)
		err = evr_peer_attach(&peer, segment, &attach);
	if (!err)
		err = evr_reap_dead(peer, report);
	err = err < 0 ? message_failed(name, err) : EXIT_OK;
	evr_peer_detach(peer);
	evr_segment_close(segment);
	return err;
}

static int run(int operands_nr, char **operands)
{
	struct evr_reap_report report = { 0 };
	int status;

	(void)operands_nr;
	if (dry_run)
		status = observer_run(operands[0], preview, &report);
	else
		status = collect(operands[0], &report);
	if (status)
		return status;
	if (json)
		print_json(&report);
	else
		print_text(&report);
	return EXIT_OK;
}

const struct command gc_command = {
	.name = "gc",
	.operands = "NAME",
	.summary = "Settle what dead peers have left",
	.details = "Living peers do that themselves; this is for when none runs. With --dry-run it\n"
		   "looks from outside, and disturbs nothing.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run,
};
