// SPDX-License-Identifier: MIT
/* A segment as it is seen from outside, at one moment: its peers, and its objects with their numbers. */
#include "snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

#include "command.h"
#include "message.h"

int observer_open(struct observer *observer, const char *name)
{
	struct evr_peer_options attach = { .struct_sz = sizeof(attach),
					   .flags = EVR_PEER_OBSERVER };
	struct evr_uri uri;
	int err;

	*observer = (struct observer){ .name = name };
	if (evr_uri_parse(name, &uri))
		return message_usage("%s: %s", name, evr_error_detail());
	err = evr_segment_open_observer(&observer->segment, name);
	if (!err)
		err = evr_peer_attach(&observer->peer, observer->segment, &attach);
	if (!err)
		return EXIT_OK;
	err = message_failed(name, err);
	observer_close(observer);
	return err;
}

void observer_close(struct observer *observer)
{
	evr_peer_detach(observer->peer);
	evr_segment_close(observer->segment);
	*observer = (struct observer){ 0 };
}

int observer_run(const char *name, int (*look)(const struct observer *observer, void *arg),
		 void *arg)
{
	struct observer observer;
	int status, err;

	status = observer_open(&observer, name);
	if (status)
		return status;
	err = look(&observer, arg);
	if (err < 0)
		status = message_failed(name, err);
	observer_close(&observer);
	return status;
}

/* The letter behind the name in parentheses, which may itself have some. */
static char process_state(int32_t pid)
{
	char path[64], line[512], *end;
	size_t got = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = pid > 0 ? fopen(path, "re") : NULL;
	if (file) {
		got = fread(line, 1, sizeof(line) - 1, file);
		fclose(file);
	}
	line[got] = '\0';
	end = strrchr(line, ')');
	return end && end[1] == ' ' ? end[2] : 0;
}

static int take_peers(const struct observer *observer, struct snapshot *snapshot)
{
	struct evr_peer_id self = evr_peer_self(observer->peer);
	struct evr_peer_info *infos;
	int nr = segment_peers_get(observer->segment, &infos);

	if (nr < 0)
		return nr;
	snapshot->peers = calloc((size_t)nr + 1, sizeof(*snapshot->peers));
	for (int i = 0; i < nr && snapshot->peers; i++) {
		struct peer_view *peer = &snapshot->peers[snapshot->peers_nr];

		if (infos[i].id.slot == self.slot && infos[i].id.incarnation == self.incarnation)
			continue;
		peer->info = infos[i];
		if (infos[i].state == EVR_PEER_LIVE)
			peer->process = process_state(infos[i].pid);
		snapshot->peers_nr++;
	}
	free(infos);
	return snapshot->peers ? 0 : -ENOMEM;
}

static bool is_lane(uint32_t kind)
{
	return kind == EVR_KIND_SPSC || kind == EVR_KIND_BYTES || kind == EVR_KIND_SLOTS ||
	       kind == EVR_KIND_INBOX;
}

/* Of two peers' halves of a lane each shows the end that it has. Was it one? */
static bool join_half(struct snapshot *snapshot, const struct object_view *half)
{
	for (uint32_t i = 0; i < snapshot->objects_nr; i++) {
		struct object_view *view = &snapshot->objects[i];
		struct evr_flow_end *ends = view->stat.flows[0].ends;
		const struct evr_flow_end *others = half->stat.flows[0].ends;
		int role = ends[EVR_PRODUCER].state == EVR_END_NONE ? EVR_PRODUCER : EVR_CONSUMER;

		if (view->object.slot == EVR_SLOT_ANY || view->err || half->err ||
		    view->object.kind != half->object.kind || !is_lane(half->object.kind) ||
		    strcmp(view->object.name, half->object.name) ||
		    ends[role].state != EVR_END_NONE || others[role].state == EVR_END_NONE)
			continue;
		ends[role] = others[role];
		return true;
	}
	return false;
}

/* A peer could write into a name what a terminal obeys. */
void name_clean(char *name)
{
	mbstate_t state = { 0 };
	wchar_t letter;

	while (*name) {
		size_t length = mbrtowc(&letter, name, strlen(name), &state);

		if (length > MB_CUR_MAX || !iswprint((wint_t)letter)) {
			memset(&state, 0, sizeof(state));
			*name = '?';
			length = 1;
		}
		name += length;
	}
}

struct taking {
	const struct observer *observer;
	struct snapshot *snapshot;
};

static int take_object(const struct evr_object *object, void *arg)
{
	struct taking *taking = arg;
	struct snapshot *snapshot = taking->snapshot;
	struct object_view view = { .object = *object }, *more;

	name_clean(view.object.name);
	view.err = evr_object_stat(taking->observer->peer, object, &view.stat);
	if (view.err)
		snprintf(view.why, sizeof(view.why), "%s", evr_error_detail());
	if (join_half(snapshot, &view))
		return 0;
	more = realloc(snapshot->objects, (snapshot->objects_nr + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	snapshot->objects = more;
	snapshot->objects[snapshot->objects_nr++] = view;
	return 0;
}

int snapshot_take(const struct observer *observer, struct snapshot *snapshot)
{
	struct taking taking = { .observer = observer, .snapshot = snapshot };
	int err;

	*snapshot = (struct snapshot){ .taken_ns = evr_now_ns() };
	err = take_peers(observer, snapshot);
	if (!err)
		err = evr_dir_walk(observer->peer, take_object, &taking);
	/* A segment too small for a directory has no objects. */
	return err == -ENOSPC ? 0 : err;
}

void snapshot_free(struct snapshot *snapshot)
{
	free(snapshot->peers);
	free(snapshot->objects);
	*snapshot = (struct snapshot){ 0 };
}

const struct object_view *snapshot_find(const struct snapshot *snapshot,
					const struct evr_object *object)
{
	for (uint32_t i = 0; i < snapshot->objects_nr; i++) {
		const struct evr_object *other = &snapshot->objects[i].object;

		if (other->slot == object->slot && other->idx == object->idx &&
		    other->gen == object->gen)
			return &snapshot->objects[i];
	}
	return NULL;
}

const struct peer_view *snapshot_peer(const struct snapshot *snapshot, struct evr_peer_id id)
{
	for (uint32_t i = 0; i < snapshot->peers_nr; i++) {
		if (snapshot->peers[i].info.id.slot == id.slot &&
		    snapshot->peers[i].info.id.incarnation == id.incarnation)
			return &snapshot->peers[i];
	}
	return NULL;
}

const char *peer_view_state(const struct peer_view *peer)
{
	if (peer->info.state == EVR_PEER_LIVE && (peer->process == 'T' || peer->process == 't'))
		return "stopped";
	return peer_state_text(peer->info.state);
}

uint64_t flow_fill(const struct evr_flow *flow)
{
	uint64_t fill = flow->ends[EVR_PRODUCER].pos - flow->ends[EVR_CONSUMER].pos;

	return fill <= flow->capacity ? fill : UINT64_MAX;
}

uint64_t flow_count(const struct object_view *view, uint32_t flow, enum evr_role role)
{
	const struct evr_flow_end *end = &view->stat.flows[flow].ends[role];

	return view->object.kind == EVR_KIND_LOG ? end->pos : end->messages;
}

const char *flow_direction(const struct object_view *view, uint32_t flow)
{
	if (view->stat.flows_nr < 2)
		return "";
	return flow ? "b>a" : "a>b";
}

/* How the holder of a role is: what its process does says more than the role. */
static const char *end_state(const struct snapshot *snapshot, const struct evr_flow_end *end)
{
	const struct peer_view *peer;

	if (end->state != EVR_END_HELD)
		return evr_end_state_name((enum evr_end_state)end->state);
	/* A death that nobody has settled yet, too. */
	peer = snapshot_peer(snapshot, end->holder);
	if (!peer || peer->info.state != EVR_PEER_LIVE)
		return peer ? peer_view_state(peer) : "dead";
	return strcmp(peer_view_state(peer), "live") ? peer_view_state(peer) : "held";
}

const char *end_text(char *text, const struct snapshot *snapshot, const struct evr_flow_end *end)
{
	const char *state = end_state(snapshot, end);

	if (end->state == EVR_END_NONE)
		snprintf(text, SEGMENT_TEXT_SZ, "-");
	else if (end->state == EVR_END_MANY && end->sleeping)
		snprintf(text, SEGMENT_TEXT_SZ, "many, %u asleep", end->sleeping);
	else if (end->state == EVR_END_MANY || end->state == EVR_END_CLOSED)
		snprintf(text, SEGMENT_TEXT_SZ, "%s", state);
	else if (strcmp(state, "held"))
		snprintf(text, SEGMENT_TEXT_SZ, "%u %s", end->holder.slot, state);
	else
		snprintf(text, SEGMENT_TEXT_SZ, "%u%s", end->holder.slot,
			 end->sleeping ? " asleep" : "");
	return text;
}

static struct json_object *end_to_json(const struct snapshot *snapshot,
				       const struct evr_flow_end *end)
{
	struct json_object *object = json_object_new_object();

	json_add_text(object, "state", end_state(snapshot, end));
	if (end->holder.slot != EVR_SLOT_ANY) {
		json_add_u64(object, "slot", end->holder.slot);
		json_add_u64(object, "incarnation", end->holder.incarnation);
	}
	json_add_u64(object, "position", end->pos);
	json_add_u64(object, "messages", end->messages);
	json_add_u64(object, "opens", end->opens);
	json_add_u64(object, "sleeping", end->sleeping);
	json_add_u64(object, "blocked", end->blocked);
	json_add_u64(object, "parks", end->parks);
	json_add_u64(object, "rings", end->rings);
	json_add_u64(object, "corrupt", end->corrupt);
	json_add_u64(object, "lost", end->lost);
	return object;
}

static struct json_object *flows_to_json(const struct snapshot *snapshot,
					 const struct object_view *view)
{
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; i < view->stat.flows_nr; i++) {
		const struct evr_flow *flow = &view->stat.flows[i];
		struct json_object *object = json_object_new_object();

		if (view->stat.flows_nr > 1)
			json_add_text(object, "direction", flow_direction(view, i));
		json_add_u64(object, "capacity", flow->capacity);
		json_add_u64(object, "unit_size", flow->unit_sz);
		json_add_u64(object, "type_tag", flow->type_tag);
		if (flow_fill(flow) == UINT64_MAX)
			json_add_text(object, "fill", NULL);
		else
			json_add_u64(object, "fill", flow_fill(flow));
		json_object_object_add(object, "producer",
				       end_to_json(snapshot, &flow->ends[EVR_PRODUCER]));
		json_object_object_add(object, "consumer",
				       end_to_json(snapshot, &flow->ends[EVR_CONSUMER]));
		json_object_array_add(list, object);
	}
	return list;
}

struct json_object *object_view_to_json(const struct snapshot *snapshot,
					const struct object_view *view)
{
	struct json_object *object = json_object_new_object();

	json_add_text(object, "name", view->object.name);
	json_add_text(object, "kind", evr_kind_name(view->object.kind));
	json_add_u64(object, "kind_number", view->object.kind);
	json_add_u64(object, "offset", view->object.off);
	json_add_u64(object, "size", view->object.sz);
	json_add_u64(object, "creator_slot", view->object.creator.slot);
	json_add_u64(object, "creator_incarnation", view->object.creator.incarnation);
	if (view->err && view->err != -EOPNOTSUPP)
		json_add_text(object, "error", view->why);
	json_add_u64(object, "members", view->stat.members);
	json_object_object_add(object, "flows", flows_to_json(snapshot, view));
	if (view->object.kind == EVR_KIND_HEAP || view->object.kind == EVR_KIND_POOL) {
		json_add_u64(object, "blocks", view->stat.blocks);
		json_add_u64(object, "bytes", view->stat.bytes);
		json_add_u64(object, "bytes_max", view->stat.bytes_max);
	}
	return object;
}

int peer_parse(const char *text, struct evr_peer_id *id)
{
	const char *colon = strchr(text, ':');
	char slot_text[16];
	uint64_t slot;

	id->incarnation = 0;
	snprintf(slot_text, sizeof(slot_text), "%.*s", colon ? (int)(colon - text) : 15, text);
	if (format_parse_number(slot_text, &slot) || slot >= EVR_PEERS_MAX ||
	    (colon && format_parse_number(colon + 1, &id->incarnation)))
		return message_usage(
			"'%s' is not SLOT or SLOT:INCARNATION, as 'evering peers' shows them",
			text);
	id->slot = (uint32_t)slot;
	return 0;
}
