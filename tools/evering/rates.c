// SPDX-License-Identifier: MIT
/* What happens between two looks at a segment. */
#include "rates.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "format.h"

/* Counts only grow; one that is less is of another life, or nonsense. */
static double rate_of(uint64_t before, uint64_t after, double seconds)
{
	uint64_t moved = after - before;

	return moved > UINT64_MAX / 2 ? 0 : (double)moved / seconds;
}

static void add_flow(struct rates *rates, const struct object_view *before,
		     const struct object_view *after, uint32_t flow)
{
	struct flow_rate *rate = &rates->flows[rates->flows_nr++];
	uint64_t were[2] = { 0 };

	for (int role = 0; role < 2 && before; role++)
		were[role] = flow_count(before, flow, (enum evr_role)role);
	*rate = (struct flow_rate){ .view = after, .flow = flow };
	rate->in = rate_of(were[EVR_PRODUCER], flow_count(after, flow, EVR_PRODUCER),
			   rates->seconds);
	rate->out = rate_of(were[EVR_CONSUMER], flow_count(after, flow, EVR_CONSUMER),
			    rates->seconds);
}

static bool is_held_by(const struct evr_flow_end *end, struct evr_peer_id id)
{
	return end->holder.slot == id.slot && end->holder.incarnation == id.incarnation;
}

static void add_peer(struct rates *rates, const struct snapshot *before,
		     const struct peer_view *after)
{
	struct peer_rate *rate = &rates->peers[rates->peers_nr++];
	const struct peer_view *was = snapshot_peer(before, after->info.id);

	*rate = (struct peer_rate){ .view = after };
	rate->bells = rate_of(was ? was->info.rung : 0, after->info.rung, rates->seconds);
	for (uint32_t i = 0; i < rates->flows_nr; i++) {
		const struct flow_rate *flow = &rates->flows[i];
		const struct evr_flow_end *ends = flow->view->stat.flows[flow->flow].ends;

		if (is_held_by(&ends[EVR_PRODUCER], after->info.id))
			rate->sends += flow->in;
		if (is_held_by(&ends[EVR_CONSUMER], after->info.id))
			rate->takes += flow->out;
	}
}

int rates_take(struct rates *rates, const struct snapshot *before, const struct snapshot *after)
{
	*rates = (struct rates){ .snapshot = after };
	rates->seconds = (double)(after->taken_ns - before->taken_ns) / 1e9;
	rates->flows = calloc(2 * (size_t)after->objects_nr + 1, sizeof(*rates->flows));
	rates->peers = calloc((size_t)after->peers_nr + 1, sizeof(*rates->peers));
	if (!rates->flows || !rates->peers || !(rates->seconds > 0))
		return -ENOMEM;
	for (uint32_t i = 0; i < after->objects_nr; i++) {
		const struct object_view *view = &after->objects[i];

		for (uint32_t flow = 0; flow < view->stat.flows_nr; flow++)
			add_flow(rates, snapshot_find(before, &view->object), view, flow);
	}
	for (uint32_t i = 0; i < after->peers_nr; i++)
		add_peer(rates, before, &after->peers[i]);
	return 0;
}

void rates_free(struct rates *rates)
{
	free(rates->flows);
	free(rates->peers);
	*rates = (struct rates){ 0 };
}

void rates_flow_table(struct table *table, const struct rates *rates)
{
	static const char *const heads[] = { "NAME", "KIND",	 "IN/s",     "OUT/s", "FILL",
					     "OF",   "PRODUCER", "CONSUMER", NULL };

	table_init(table, "llrrrrll", heads);
	for (uint32_t i = 0; i < rates->flows_nr; i++) {
		const struct flow_rate *rate = &rates->flows[i];
		const struct evr_flow *flow = &rate->view->stat.flows[rate->flow];
		char name[SEGMENT_TEXT_SZ], producer[SEGMENT_TEXT_SZ], consumer[SEGMENT_TEXT_SZ];
		char in[FORMAT_SZ], out[FORMAT_SZ], fill[FORMAT_SZ] = "-", capacity[FORMAT_SZ];
		const char *cells[] = { name, evr_kind_name(rate->view->object.kind),
					in,   out,
					fill, capacity,
					producer, consumer };

		snprintf(name, sizeof(name), "%s%s%s", rate->view->object.name,
			 rate->view->stat.flows_nr > 1 ? " " : "",
			 flow_direction(rate->view, rate->flow));
		format_count(in, rate->in);
		format_count(out, rate->out);
		if (flow_fill(flow) != UINT64_MAX)
			snprintf(fill, sizeof(fill), "%" PRIu64, flow_fill(flow));
		snprintf(capacity, sizeof(capacity), "%" PRIu64, flow->capacity);
		end_text(producer, rates->snapshot, &flow->ends[EVR_PRODUCER]);
		end_text(consumer, rates->snapshot, &flow->ends[EVR_CONSUMER]);
		table_add(table, cells);
	}
}

void rates_peer_table(struct table *table, const struct rates *rates)
{
	static const char *const heads[] = { "SLOT",   "STATE",	  "PID",    "AGE",
					     "SENDS/s", "TAKES/s", "BELLS/s", NULL };

	table_init(table, "rlrrrrr", heads);
	for (uint32_t i = 0; i < rates->peers_nr; i++) {
		const struct peer_rate *rate = &rates->peers[i];
		const struct evr_peer_info *info = &rate->view->info;
		char slot[FORMAT_SZ], pid[FORMAT_SZ], age[FORMAT_SZ], sends[FORMAT_SZ],
			takes[FORMAT_SZ], bells[FORMAT_SZ];
		const char *cells[] = { slot, peer_view_state(rate->view), pid, age, sends, takes,
					bells };

		snprintf(slot, sizeof(slot), "%u", info->id.slot);
		snprintf(pid, sizeof(pid), "%d", info->pid);
		format_age(age, segment_age_ns(info->attached_ns));
		format_count(sends, rate->sends);
		format_count(takes, rate->takes);
		format_count(bells, rate->bells);
		table_add(table, cells);
	}
}

static struct json_object *flow_to_json(const struct rates *rates, const struct flow_rate *rate)
{
	const struct evr_flow *flow = &rate->view->stat.flows[rate->flow];
	struct json_object *object = json_object_new_object();
	char text[SEGMENT_TEXT_SZ];

	json_add_text(object, "name", rate->view->object.name);
	json_add_text(object, "kind", evr_kind_name(rate->view->object.kind));
	if (rate->view->stat.flows_nr > 1)
		json_add_text(object, "direction", flow_direction(rate->view, rate->flow));
	json_add_double(object, "in_per_second", rate->in);
	json_add_double(object, "out_per_second", rate->out);
	json_add_u64(object, "in", flow_count(rate->view, rate->flow, EVR_PRODUCER));
	json_add_u64(object, "out", flow_count(rate->view, rate->flow, EVR_CONSUMER));
	if (flow_fill(flow) == UINT64_MAX)
		json_add_text(object, "fill", NULL);
	else
		json_add_u64(object, "fill", flow_fill(flow));
	json_add_u64(object, "capacity", flow->capacity);
	json_add_text(object, "producer",
		      end_text(text, rates->snapshot, &flow->ends[EVR_PRODUCER]));
	json_add_text(object, "consumer",
		      end_text(text, rates->snapshot, &flow->ends[EVR_CONSUMER]));
	return object;
}

static struct json_object *peer_rate_to_json(const struct peer_rate *rate)
{
	struct json_object *object = json_object_new_object();

	json_add_u64(object, "slot", rate->view->info.id.slot);
	json_add_u64(object, "incarnation", rate->view->info.id.incarnation);
	json_add_int(object, "pid", rate->view->info.pid);
	json_add_text(object, "state", peer_view_state(rate->view));
	json_add_double(object, "sends_per_second", rate->sends);
	json_add_double(object, "takes_per_second", rate->takes);
	json_add_double(object, "bells_per_second", rate->bells);
	return object;
}

struct json_object *rates_to_json(const struct rates *rates)
{
	struct json_object *object = json_object_new_object();
	struct json_object *rings = json_object_new_array(), *peers = json_object_new_array();
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	json_add_u64(object, "time_ns", (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
	json_add_double(object, "seconds", rates->seconds);
	for (uint32_t i = 0; i < rates->flows_nr; i++)
		json_object_array_add(rings, flow_to_json(rates, &rates->flows[i]));
	for (uint32_t i = 0; i < rates->peers_nr; i++)
		json_object_array_add(peers, peer_rate_to_json(&rates->peers[i]));
	json_object_object_add(object, "rings", rings);
	json_object_object_add(object, "peers", peers);
	return object;
}
