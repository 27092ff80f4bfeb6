// SPDX-License-Identifier: MIT
/* evering peers: who is attached to a segment, and who died in it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <evering/evering.h>

#include "command.h"
#include "format.h"
#include "message.h"
#include "segment.h"
#include "table.h"

static bool json;

static const struct option_row options[] = {
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write JSON", 0, 0, NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

static void add_row(struct table *table, const struct evr_peer_info *peer, enum evr_backend backend)
{
	char slot[FORMAT_SZ], incarnation[FORMAT_SZ], pid[FORMAT_SZ], uid[FORMAT_SZ],
		age[FORMAT_SZ], rung[FORMAT_SZ];
	char ended[SEGMENT_TEXT_SZ] = "";
	const char *may = peer->rights & EVR_RIGHT_WRITE ? "write" : "observe";
	const char *cells[] = { slot, incarnation, peer_state_text(peer->state), pid, uid, may, age,
				rung, ended };

	snprintf(slot, sizeof(slot), "%u", peer->id.slot);
	snprintf(incarnation, sizeof(incarnation), "%" PRIu64, peer->id.incarnation);
	snprintf(pid, sizeof(pid), "%d", peer->pid);
	if (!peer->pid)
		strcpy(pid, "-");
	snprintf(uid, sizeof(uid), "%u", peer->uid);
	strcpy(age, "-");
	if (peer->attached_ns)
		format_age(age, segment_age_ns(peer->attached_ns));
	snprintf(rung, sizeof(rung), "%" PRIu64, peer->rung);
	if (peer->exit_reason)
		peer_exit_text(ended, peer, backend);
	table_add(table, cells);
}

static void print_peers(const struct evr_peer_info *peers, int nr, enum evr_backend backend)
{
	static const char *const heads[] = { "SLOT", "INCARNATION", "STATE", "PID",   "UID",
					     "MAY",  "AGE",	    "BELLS", "ENDED", NULL };
	struct table table;

	table_init(&table, "rrlrrlrrl", heads);
	for (int i = 0; i < nr; i++)
		add_row(&table, &peers[i], backend);
	if (nr)
		table_print(&table, stdout, "");
	table_fini(&table);
}

static int run(int operands_nr, char **operands)
{
	struct evr_peer_info *peers;
	struct evr_segment *segment;
	struct evr_uri uri;
	int nr;

	(void)operands_nr;
	if (evr_uri_parse(operands[0], &uri))
		return message_usage("%s: %s", operands[0], evr_error_detail());
	nr = evr_segment_open(&segment, operands[0]);
	if (nr)
		return message_failed(operands[0], nr);
	nr = segment_peers_get(segment, &peers);
	evr_segment_close(segment);
	if (nr < 0)
		return message_failed(operands[0], nr);
	if (json) {
		struct json_object *list = json_object_new_array();

		for (int i = 0; i < nr; i++)
			json_object_array_add(list, peer_to_json(&peers[i]));
		json_write(stdout, list, true);
	} else {
		print_peers(peers, nr, uri.backend);
	}
	free(peers);
	return EXIT_OK;
}

const struct command peers_command = {
	.name = "peers",
	.operands = "NAME",
	.summary = "List the peers of a segment",
	.details = "A dead peer stays in the list until a living peer has settled what it owned.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run,
};
