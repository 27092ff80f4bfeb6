/* SPDX-License-Identifier: MIT */
/* What happens between two looks at a segment. */
#ifndef EVERING_TOOL_RATES_H
#define EVERING_TOOL_RATES_H

#include "snapshot.h"
#include "table.h"

/* One direction of a ring, in messages (of a log, units) a second. */
struct flow_rate {
	const struct object_view *view;
	uint32_t flow;
	double in, out;
};

/* What a peer does at the ends that it holds, and bells rung to it; all a second. */
struct peer_rate {
	const struct peer_view *view;
	double sends, takes, bells;
};

/* Points into the later snapshot. */
struct rates {
	const struct snapshot *snapshot;
	double seconds;
	struct flow_rate *flows;
	uint32_t flows_nr;
	struct peer_rate *peers;
	uint32_t peers_nr;
};

/* Of objects and peers that @after has. 0; -ENOMEM. To be freed in both cases. */
int rates_take(struct rates *rates, const struct snapshot *before, const struct snapshot *after);
void rates_free(struct rates *rates);

/* Heads and rows for people; @table is filled in, and printed and freed by the caller. */
void rates_flow_table(struct table *table, const struct rates *rates);
void rates_peer_table(struct table *table, const struct rates *rates);

struct json_object *rates_to_json(const struct rates *rates);

#endif
