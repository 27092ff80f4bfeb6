// SPDX-License-Identifier: MIT
/* evering rm: take the names of segments away. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include <evering/evering.h>

#include "command.h"
#include "json.h"
#include "message.h"

static bool force, json;

static const struct option_row options[] = {
	{ "force", 'f', OPTION_FLAG, &force, NULL, "a segment that is not there is no failure", 0,
	  0, NULL },
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write JSON", 0, 0, NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

static int remove_one(const char *name, struct json_object *removed)
{
	struct evr_uri uri;
	int err;

	if (evr_uri_parse(name, &uri))
		return message_usage("%s: %s", name, evr_error_detail());
	err = evr_segment_remove(name);
	if (err == -ENOENT && force)
		return EXIT_OK;
	if (err)
		return message_failed(name, err);
	json_object_array_add(removed, json_object_new_string(name));
	return EXIT_OK;
}

static int run(int operands_nr, char **operands)
{
	struct json_object *removed = json_object_new_array();
	int status = EXIT_OK;

	for (int i = 0; i < operands_nr; i++) {
		int one = remove_one(operands[i], removed);

		status = one > status ? one : status;
	}
	if (json) {
		struct json_object *object = json_object_new_object();

		json_object_object_add(object, "removed", removed);
		json_write(stdout, object, true);
	} else {
		json_object_put(removed);
	}
	return status;
}

const struct command rm_command = {
	.name = "rm",
	.operands = "NAME...",
	.summary = "Remove segments",
	.details = "The name goes at once. The memory goes with the last process that uses it.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = INT_MAX,
	.run = run,
};
