/* SPDX-License-Identifier: MIT */
/* Queues as they are seen from outside; mpmc.h has what the words of the cells mean. */
#include <string.h>

#include "crowd.h"
#include "mpmc_cell.h"
#include "object.h"

void evr_mpmc_flow(struct evr_mpmc *q, struct evr_flow *flow)
{
	struct evr_mpmc_counts c;
	struct evr_flow_end *end;
	int role;

	evr_mpmc_meet(q);
	evr_mpmc_count(q, &c);
	flow->capacity = q->mask + 1;
	flow->unit_sz = q->elem_sz;
	for (role = 0; role < 2; role++) {
		end = &flow->ends[role];
		end->pos = role == EVR_PRODUCER ? c.in : c.out;
		end->lost = role == EVR_PRODUCER ? c.holes : c.lost;
		end->messages = role == EVR_PRODUCER ? c.in - c.holes : 0;
		end->opens = c.opens;
		end->blocked = c.blocked[role];
		end->parks = c.parks[role];
		end->rings = c.rings[role];
		end->corrupt = c.corrupt;
		end->holder.slot = EVR_SLOT_ANY;
		end->state = EVR_END_MANY;
		end->sleeping = evr_crowd_sitting(q->peer, q->ends[role].waiting);
	}
}

int evr_mpmc_object_stat(struct evr_peer *peer, const struct evr_object *obj,
			 struct evr_object_stat *out)
{
	struct evr_mpmc q = { .peer = peer, .object = *obj };
	struct evr_flow *flow = &out->flows[0];
	int err = evr_mpmc_view(&q);

	if (err)
		return err;
	evr_mpmc_flow(&q, flow);
	evr_copy_out(&flow->type_tag, &q.shared->geometry.type_tag, sizeof(flow->type_tag));
	flow->ends[EVR_CONSUMER].messages =
		flow->ends[EVR_CONSUMER].pos - flow->ends[EVR_CONSUMER].lost;
	out->flows_nr = 1;
	return 0;
}

/* The position of this cell's word, from its lap. */
static uint64_t pos_of(const struct evr_mpmc *q, uint64_t idx, uint64_t u_word)
{
	return cell_lap(u_word) << q->shift | idx;
}

int evr_mpmc_claims(const struct evr_mpmc *q, const struct evr_held_walk *walk)
{
	struct evr_holding h = { .what = EVR_HOLD_CLAIM,
				 .incarnation_bits = 16,
				 .source = EVR_SLOT_ANY };
	uint64_t idx, u_word;
	int ret = 0;

	for (idx = 0; idx <= q->mask && !ret; idx++) {
		u_word = evr_a64_load_acquire(cell_at(q, idx)); /* MPMC-CELL */
		h.role = is_claim(EVR_PRODUCER, u_word) ? EVR_PRODUCER : EVR_CONSUMER;
		if (!is_claim((enum evr_role)h.role, u_word))
			continue;
		h.slot = cell_stamp(u_word) & 0xff;
		h.incarnation = cell_stamp(u_word) >> 8;
		h.id = pos_of(q, idx, u_word);
		h.nr = cell_run(u_word);
		h.bytes = h.nr * q->elem_sz;
		ret = evr_held_tell(walk, &h);
	}
	return ret;
}

int evr_mpmc_object_held(const struct evr_held_walk *walk, const struct evr_object *obj)
{
	struct evr_mpmc q = { .peer = walk->peer, .object = *obj };
	int err = evr_mpmc_view(&q);

	return err ? err : evr_mpmc_claims(&q, walk);
}
