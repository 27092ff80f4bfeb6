// SPDX-License-Identifier: MIT
/* evering revoke: end a peer and take its mappings away. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <evering/evering.h>

#include "command.h"
#include "message.h"
#include "snapshot.h"

static bool json;

static const struct option_row options[] = {
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write JSON", 0, 0, NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

/* Fills in the incarnation of the living peer in @id->slot. */
static int find_incarnation(const struct evr_segment *segment, struct evr_peer_id *id)
{
	struct evr_peer_info *peers;
	int nr = segment_peers_get(segment, &peers);
	int err = -ESRCH;

	if (nr < 0)
		return nr;
	for (int i = 0; i < nr; i++) {
		if (peers[i].id.slot != id->slot || peers[i].state != EVR_PEER_LIVE)
			continue;
		id->incarnation = peers[i].id.incarnation;
		err = 0;
	}
	free(peers);
	return err;
}

static int revoke(const char *name, struct evr_segment *segment, struct evr_peer_id id)
{
	int err = id.incarnation ? 0 : find_incarnation(segment, &id);

	if (err == -ESRCH) {
		message("%s: no living peer in slot %u; 'evering peers %s' shows them", name,
			id.slot, name);
		return EXIT_FAILED;
	}
	if (!err)
		err = evr_segment_revoke(segment, id);
	if (err == -ESTALE) {
		message("%s: peer %u:%" PRIu64
			" is not alive any more; 'evering peers %s' shows who is",
			name, id.slot, id.incarnation, name);
		return EXIT_FAILED;
	}
	if (err)
		return message_failed(name, err);
	if (json) {
		struct json_object *object = json_object_new_object();

		json_add_u64(object, "slot", id.slot);
		json_add_u64(object, "incarnation", id.incarnation);
		json_write(stdout, object, true);
	} else {
		printf("%s: peer %u:%" PRIu64 " revoked\n", name, id.slot, id.incarnation);
	}
	return EXIT_OK;
}

static int run(int operands_nr, char **operands)
{
	struct evr_segment *segment;
	struct evr_peer_id id;
	struct evr_uri uri;
	int err;

	(void)operands_nr;
	if (evr_uri_parse(operands[0], &uri))
		return message_usage("%s: %s", operands[0], evr_error_detail());
	if (peer_parse(operands[1], &id))
		return EXIT_USAGE;
	err = evr_segment_open(&segment, operands[0]);
	if (err)
		return message_failed(operands[0], err);
	err = revoke(operands[0], segment, id);
	evr_segment_close(segment);
	return err;
}

const struct command revoke_command = {
	.name = "revoke",
	.operands = "NAME SLOT[:INCARNATION]",
	.summary = "End a peer by force",
	.details =
		"Its next touch of the segment is SIGBUS; the others see it die, reason 'revoked'.\n"
		"Only the device can do this, and only for the segment's owner.\n",
	.options = options,
	.operands_min = 2,
	.operands_max = 2,
	.run = run,
};
