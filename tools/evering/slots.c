// SPDX-License-Identifier: MIT
/* evering slots: what each peer holds, of rings, queues, heaps and pools. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <evering/evering.h>

#include "command.h"
#include "format.h"
#include "message.h"
#include "snapshot.h"
#include "table.h"

static const char *held_by;
static bool json;

static const struct option_row options[] = {
	{ "held-by", 'p', OPTION_TEXT, &held_by, "PEER", "only what this SLOT[:INCARNATION] holds",
	  0, 0, NULL },
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write JSON", 0, 0, NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

/* A walk over all that is held, and where it is told. */
struct listing {
	const struct observer *observer;
	const struct snapshot *snapshot;
	const struct evr_object *object;
	struct evr_peer_id wanted; /* slot EVR_SLOT_ANY: all; incarnation 0: any */
	struct json_object *list; /* NULL: into the table */
	struct table table;
	int status;
};

static const char *role_text(const struct listing *listing, const struct evr_holding *holding)
{
	if (listing->object->kind == EVR_KIND_CHANNEL)
		return holding->role ? "b" : "a";
	return holding->role == EVR_PRODUCER ? "producer" : "consumer";
}

static const char *block_text(char *text, uint32_t state)
{
	static const char *const names[] = { "free",   "live",	    "in flight", "cached",
					     "shared", "releasing", "shareable" };

	if (state < sizeof(names) / sizeof(names[0]))
		return names[state];
	snprintf(text, FORMAT_SZ, "state %u", state);
	return text;
}

/* What it is: "producer", "writes", "live", "in flight from 3", "open". */
static const char *holding_text(char *text, const struct listing *listing,
				const struct evr_holding *holding)
{
	char block[FORMAT_SZ];

	switch (holding->what) {
	case EVR_HOLD_ROLE:
		return role_text(listing, holding);
	case EVR_HOLD_CLAIM:
		return holding->role == EVR_PRODUCER ? "writes" : "reads";
	case EVR_HOLD_BLOCK:
		snprintf(text, SEGMENT_TEXT_SZ, "%s", block_text(block, holding->state));
		if (holding->source != EVR_SLOT_ANY)
			snprintf(text, SEGMENT_TEXT_SZ, "%s from %u",
				 block_text(block, holding->state), holding->source);
		return text;
	default:
		return "has it open";
	}
}

/* The peer that holds it: of the words that name it, some have its incarnation in part only. */
static const struct peer_view *holder_of(const struct snapshot *snapshot,
					 const struct evr_holding *holding)
{
	for (uint32_t i = 0; i < snapshot->peers_nr; i++) {
		if (evr_holding_is_of(holding, snapshot->peers[i].info.id))
			return &snapshot->peers[i];
	}
	return NULL;
}

static void add_json(struct listing *listing, const struct evr_holding *holding,
		     const struct peer_view *peer)
{
	struct json_object *object = json_object_new_object();
	char text[SEGMENT_TEXT_SZ], handle[FORMAT_SZ];

	json_add_text(object, "object", listing->object->name);
	json_add_text(object, "kind", evr_kind_name(listing->object->kind));
	json_add_text(object, "what", evr_hold_name((enum evr_hold)holding->what));
	json_add_text(object, "as", holding_text(text, listing, holding));
	json_add_u64(object, "slot", holding->slot);
	if (peer)
		json_add_u64(object, "incarnation", peer->info.id.incarnation);
	json_add_text(object, "state", peer ? peer_view_state(peer) : "dead");
	if (holding->what == EVR_HOLD_CLAIM) {
		json_add_u64(object, "position", holding->id);
		json_add_u64(object, "units", holding->nr);
	}
	if (holding->what == EVR_HOLD_BLOCK) {
		snprintf(handle, sizeof(handle), "%#" PRIx64, holding->id);
		json_add_text(object, "handle", handle);
	}
	if (holding->bytes)
		json_add_u64(object, "bytes", holding->bytes);
	json_object_array_add(listing->list, object);
}

static void add_row(struct listing *listing, const struct evr_holding *holding,
		    const struct peer_view *peer)
{
	char slot[FORMAT_SZ], as[SEGMENT_TEXT_SZ], where[SEGMENT_TEXT_SZ] = "",
		bytes[FORMAT_SZ] = "";
	const char *cells[] = { slot,
				peer ? peer_view_state(peer) : "dead",
				listing->object->name,
				evr_kind_name(listing->object->kind),
				as,
				where,
				bytes };
	const char *text = holding_text(as, listing, holding);

	if (text != as)
		snprintf(as, sizeof(as), "%s", text);
	snprintf(slot, sizeof(slot), "%u", holding->slot);
	if (holding->what == EVR_HOLD_CLAIM)
		snprintf(where, sizeof(where), "%" PRIu64 "+%" PRIu64, holding->id, holding->nr);
	if (holding->what == EVR_HOLD_BLOCK)
		snprintf(where, sizeof(where), "%#" PRIx64, holding->id);
	if (holding->bytes)
		snprintf(bytes, sizeof(bytes), "%" PRIu64, holding->bytes);
	table_add(&listing->table, cells);
}

static int add_holding(const struct evr_holding *holding, void *arg)
{
	struct listing *listing = arg;
	struct evr_peer_id wanted = listing->wanted;
	const struct peer_view *peer = holder_of(listing->snapshot, holding);

	if (wanted.slot != EVR_SLOT_ANY && wanted.slot != holding->slot)
		return 0;
	if (wanted.slot != EVR_SLOT_ANY && wanted.incarnation && !evr_holding_is_of(holding, wanted))
		return 0;
	if (listing->list)
		add_json(listing, holding, peer);
	else
		add_row(listing, holding, peer);
	return 0;
}

static int list_object(const struct evr_object *object, void *arg)
{
	struct listing *listing = arg;
	struct evr_object named = *object;
	int err;

	name_clean(named.name);
	listing->object = &named;
	err = evr_object_held(listing->observer->peer, object, add_holding, listing);
	/* One that is nonsense hides none of the others. */
	if (err)
		listing->status = message_failed(named.name, err);
	return 0;
}

static int list_all(struct listing *listing)
{
	static const char *const heads[] = { "SLOT", "STATE", "OBJECT", "KIND",
					     "HOLDS", "WHERE", "BYTES",	NULL };
	int err;

	if (json)
		listing->list = json_object_new_array();
	table_init(&listing->table, "rllllrr", heads);
	err = evr_dir_walk(listing->observer->peer, list_object, listing);
	if (listing->table.rows_nr > 1)
		table_print(&listing->table, stdout, "");
	table_fini(&listing->table);
	if (json)
		json_write(stdout, listing->list, true);
	/* A segment too small for a directory has no objects. */
	return err == -ENOSPC ? 0 : err;
}

static int list_snapshot(const struct observer *observer, void *arg)
{
	struct listing *listing = arg;
	struct snapshot snapshot;
	int err = snapshot_take(observer, &snapshot);

	listing->observer = observer;
	listing->snapshot = &snapshot;
	if (!err)
		err = list_all(listing);
	snapshot_free(&snapshot);
	return err;
}

static int run(int operands_nr, char **operands)
{
	struct listing listing = { .wanted.slot = EVR_SLOT_ANY };
	int status;

	(void)operands_nr;
	if (held_by && peer_parse(held_by, &listing.wanted))
		return EXIT_USAGE;
	status = observer_run(operands[0], list_snapshot, &listing);
	return status ? status : listing.status;
}

const struct command slots_command = {
	.name = "slots",
	.operands = "NAME",
	.summary = "List what each peer holds",
	.details =
		"Roles of rings, elements of queues that it is writing or reading, blocks of heaps\n"
		"and pools, and what it has open. Of the dead: what 'evering gc' would settle.\n"
		"Looks from outside, and disturbs nothing.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run,
};
