/* SPDX-License-Identifier: MIT */
/* A segment as it is seen from outside, at one moment: its peers, and its objects with their numbers. */
#ifndef EVERING_TOOL_SNAPSHOT_H
#define EVERING_TOOL_SNAPSHOT_H

#include <evering/evering.h>
#include <evering/lane.h>

#include "json.h"
#include "segment.h"

/* Who looks: an observer, that writes nothing there and takes no lock. */
struct observer {
	const char *name;
	struct evr_segment *segment;
	struct evr_peer *peer;
};

/* EXIT_OK; else the reason is on stderr, and there is nothing to close. */
int observer_open(struct observer *observer, const char *name);
void observer_close(struct observer *observer);

/* Open, @look, which returns 0 or negative errno, and close. EXIT_OK; else the reason is on stderr. */
int observer_run(const char *name, int (*look)(const struct observer *observer, void *arg),
		 void *arg);

struct object_view {
	struct evr_object object;
	struct evr_object_stat stat; /* in an isolated segment, of both halves of a lane */
	int err; /* the stat's; then the rest of it is zeros */
	char why[SEGMENT_TEXT_SZ];
};

struct peer_view {
	struct evr_peer_info info;
	char process; /* its state as in /proc/PID/stat; 0: not known */
};

struct snapshot {
	uint64_t taken_ns; /* CLOCK_MONOTONIC */
	struct peer_view *peers; /* but the observer */
	uint32_t peers_nr;
	struct object_view *objects; /* in the order of the directory */
	uint32_t objects_nr;
};

/* 0, or negative errno. To be freed in both cases. */
int snapshot_take(const struct observer *observer, struct snapshot *snapshot);
void snapshot_free(struct snapshot *snapshot);

/* A name as others have written it: what is no text becomes '?'. */
void name_clean(char *name);

/* The same object in another snapshot, or NULL. */
const struct object_view *snapshot_find(const struct snapshot *snapshot,
					const struct evr_object *object);

/* NULL: nobody is known by that. */
const struct peer_view *snapshot_peer(const struct snapshot *snapshot, struct evr_peer_id id);

/* "live", "stopped", "dead" ...: how a peer is, for people. */
const char *peer_view_state(const struct peer_view *peer);

/* Units in a flow; UINT64_MAX when its positions say nothing sensible, as before two halves have met. */
uint64_t flow_fill(const struct evr_flow *flow);

/* What has gone through an end: messages, or units of a log, whose records nobody counts. */
uint64_t flow_count(const struct object_view *view, uint32_t flow, enum evr_role role);

/* "", or "a>b" and "b>a" of a channel. */
const char *flow_direction(const struct object_view *view, uint32_t flow);

/* "1", "1 stopped", "0 asleep", "dead", "closed", "-": who is at an end, in @text[SEGMENT_TEXT_SZ]. */
const char *end_text(char *text, const struct snapshot *snapshot, const struct evr_flow_end *end);

struct json_object *object_view_to_json(const struct snapshot *snapshot,
					const struct object_view *view);

/* "SLOT" or "SLOT:INCARNATION"; incarnation 0 is whoever is there. 0, or EXIT_USAGE with a message. */
int peer_parse(const char *text, struct evr_peer_id *id);

#endif
