// SPDX-License-Identifier: MIT
/* evering ls: the segments that have a name. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <evering/evering.h>

#include "command.h"
#include "format.h"
#include "message.h"
#include "segment.h"
#include "table.h"

static bool json;
static const char *backend_text;

static const struct option_row options[] = {
	{ "backend", 'b', OPTION_TEXT, &backend_text, "NAME", "only device or only local (both)", 0,
	  0, NULL },
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write JSON", 0, 0, NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

static int add_json(const struct evr_segment_info *info, void *list)
{
	json_object_array_add(list, segment_to_json(info));
	return 0;
}

static int add_row(const struct evr_segment_info *info, void *table)
{
	char uri[SEGMENT_TEXT_SZ], bytes[FORMAT_SZ], peers[FORMAT_SZ], mode[FORMAT_SZ],
		owner[FORMAT_SZ];
	char kind[SEGMENT_TEXT_SZ], age[FORMAT_SZ], extents[FORMAT_SZ];
	const char *cells[] = { uri, bytes, peers, extents, mode, owner, age, kind };

	segment_uri_text(uri, info);
	format_size(bytes, info->bytes);
	snprintf(peers, sizeof(peers), "%u/%u", info->peers, info->peers_max);
	snprintf(extents, sizeof(extents), "%u", info->extents);
	snprintf(mode, sizeof(mode), "%04o", info->mode);
	snprintf(owner, sizeof(owner), "%u:%u", info->owner_uid, info->owner_gid);
	if (info->created_ns)
		format_age(age, segment_age_ns(info->created_ns));
	else
		strcpy(age, "-");
	segment_kind_text(kind, info);
	table_add(table, cells);
	return 0;
}

static int list_backends(int (*each)(const struct evr_segment_info *, void *), void *arg)
{
	static const enum evr_backend backends[] = { EVR_BACKEND_DEVICE, EVR_BACKEND_LOCAL };
	int status = EXIT_OK;

	for (int i = 0; i < 2; i++) {
		const char *name = evr_backend_name(backends[i]);
		int err;

		if (backend_text && strcmp(backend_text, name))
			continue;
		/* Unasked, a backend that is not there has no segments. */
		if (!backend_text && !evr_backend_available(backends[i]))
			continue;
		err = evr_segment_list(backends[i], each, arg);
		if (err < 0)
			status = message_failed(name, err);
	}
	return status;
}

static int run(int operands_nr, char **operands)
{
	static const char *const heads[] = { "NAME",  "SIZE", "PEERS", "EXTENTS", "MODE",
					     "OWNER", "AGE",  "KIND",  NULL };
	struct table table;
	int status;

	(void)operands_nr;
	(void)operands;
	if (backend_text && strcmp(backend_text, "device") && strcmp(backend_text, "local"))
		return message_usage("--backend: '%s' is not device or local", backend_text);
	if (json) {
		struct json_object *list = json_object_new_array();

		status = list_backends(add_json, list);
		json_write(stdout, list, true);
		return status;
	}
	table_init(&table, "lrrrlrrl", heads);
	status = list_backends(add_row, &table);
	if (table.rows_nr > 1)
		table_print(&table, stdout, "");
	table_fini(&table);
	return status;
}

const struct command ls_command = {
	.name = "ls",
	.operands = "",
	.summary = "List the segments",
	.options = options,
	.run = run,
};
