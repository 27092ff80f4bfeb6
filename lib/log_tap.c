/* SPDX-License-Identifier: MIT */
/*
 * A log's part of a tap. Whoever writes has claimed first, and a claim is seen in the
 * producers' front: what lies less than a capacity behind it is as it was. A record that
 * was released is told from a hole by its stamp.
 */
#include <errno.h>

#include "internal.h"
#include "log.h"
#include "mpmc_cell.h"
#include "tap.h"

static uint64_t consumer_pos(const struct evr_log *log)
{
	const struct evr_log_object *o =
		(const struct evr_log_object *)((const uint8_t *)log->cells.shared -
						sizeof(struct evr_lane_object));

	return pos_in_laps(&log->cells, evr_a64_load_acquire(&o->lane.sides[EVR_CONSUMER].pos));
}

int evr_log_tap_open(struct evr_tap_own *own, enum evr_tap_from from)
{
	struct evr_log *log = &own->log;
	int err;

	log->cells.peer = own->peer;
	log->cells.object = own->object;
	err = evr_log_view(log);
	if (err)
		return err;
	own->span = log->cells.mask + 1;
	own->pos = from == EVR_TAP_NEW ? evr_mpmc_front_pos(&log->cells, EVR_PRODUCER) :
					 consumer_pos(log);
	return 0;
}

/* Claimed from pos on; more than the span: also where pos lies. */
static uint64_t claimed(const struct evr_tap_own *own)
{
	const struct evr_mpmc *q = &own->log.cells;

	return pos_in_laps(q, evr_mpmc_front_pos(q, EVR_PRODUCER) - own->pos);
}

static void advance(struct evr_tap_own *own, uint64_t units, bool missed)
{
	own->pos = pos_in_laps(&own->log.cells, own->pos + units);
	own->skipped += missed ? units : 0;
}

/* What is here was claimed again: on with what the consumer is at. */
static bool catch_up(struct evr_tap_own *own)
{
	const struct evr_mpmc *q = &own->log.cells;
	uint64_t behind = pos_in_laps(q, consumer_pos(&own->log) - own->pos);

	if (!behind || behind > pos_in_laps(q, UINT64_MAX) / 2)
		return false;
	advance(own, behind, true);
	return true;
}

/* Is there a record of this position, published, whether it was released since or not? */
static bool record_find(struct evr_tap_own *own, uint64_t u_word, struct record_header *header)
{
	const struct evr_log *log = &own->log;
	int32_t ahead = lap_diff(cell_lap(u_word), lap_of(&log->cells, own->pos));

	if (ahead < 0 || (!ahead && cell_state(u_word) != CELL_FULL))
		return false;
	evr_copy_out(header, evr_log_unit(log, own->pos), sizeof(*header));
	return header->stamp == own->pos && header->sz <= log->record_max;
}

static bool is_pending(const struct evr_tap_own *own, uint64_t u_word)
{
	int32_t ahead = lap_diff(cell_lap(u_word), lap_of(&own->log.cells, own->pos));

	return ahead < 0 ||
	       (!ahead && (cell_state(u_word) == CELL_EMPTY || cell_state(u_word) == CELL_WRITING));
}

int evr_log_tap_next(struct evr_tap_own *own, void *data, uint64_t max, struct evr_tap_message *m)
{
	const struct evr_log *log = &own->log;
	struct record_header header;
	uint64_t u_word, nr, steps;
	bool is_record;

	for (steps = 0; steps <= own->span; steps++) {
		if (!claimed(own))
			return 0;
		u_word = evr_a64_load_acquire(cell_at(&log->cells, own->pos)); /* MPMC-CELL */
		is_record = record_find(own, u_word, &header);
		nr = header.sz < max ? header.sz : max;
		if (is_record && nr)
			evr_copy_out(data, evr_log_unit(log, own->pos) + EVR_RECORD_HEADER_SZ, nr);
		evr_fence(); /* the copy, then the claims */
		if (claimed(own) > own->span) {
			if (!catch_up(own))
				return 0;
			continue;
		}
		if (is_record) {
			m->pos = own->pos;
			m->sz = header.sz;
			m->released = lap_diff(cell_lap(u_word), lap_of(&log->cells, own->pos)) > 0;
			advance(own, evr_log_units(log, header.sz), false);
			return 1;
		}
		if (is_pending(own, u_word))
			return 0;
		advance(own, 1, true); /* a hole */
	}
	return 0;
}
