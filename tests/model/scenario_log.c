/* SPDX-License-Identifier: MIT */
/*
 * Logs: each record whole, once, those of one producer in order, whoever dies where; what
 * a consumer has not released comes again to its successor, and nothing else does.
 */
#include <errno.h>

#include "explore.h"

#include "log.h"

#define CAPACITY 256 /* four units */
#define RECORD_MAX 100 /* of two */

struct state {
	struct evr_log logs[MODEL_PROCS_MAX];
	uint64_t written[MODEL_PROCS_MAX]; /* by calls that came back */
	uint64_t last[MODEL_PROCS_MAX]; /* released, of whom */
	uint64_t peeked[MODEL_PROCS_MAX]; /* seen, and perhaps not released */
	struct evr_a64 *noted; /* the consumer's position for its successor */
};

static void setup(void *state)
{
	struct evr_log_options options = { .struct_sz = sizeof(options),
					   .capacity = CAPACITY,
					   .record_max = RECORD_MAX };
	struct state *s = state;
	uint32_t i;

	MODEL_CHECK(!evr_log_create(model_peer(0), "l", &options));
	for (i = 0; i < 2; i++)
		MODEL_CHECK(!evr_log_open(&s->logs[i], model_peer(i), "l", EVR_PRODUCER));
	MODEL_CHECK(!evr_log_open(&s->logs[2], model_peer(2), "l", EVR_CONSUMER));
	model_name(s->logs[0].cells.shared->ledgers, 16, "ledgers");
	model_name(s->logs[0].cells.cells, CAPACITY / 64 * 8, "cells");
	model_name(s->logs[0].data, CAPACITY + 2 * 64, "data");
	model_name(&s->logs[2].lane.mine->pos, 8, "consumer");
}

/* A record of {who, number} at its start and at its end. */
static void write_one(struct state *s, uint64_t sz)
{
	uint32_t self = model_self();
	uint64_t mark = (uint64_t)self << 8 | (s->written[self] + 1);
	uint8_t *to = evr_log_reserve(&s->logs[self], sz);

	if (!to)
		return;
	evr_copy_in(to, &mark, 8);
	evr_copy_in(to + sz - 8, &mark, 8);
	MODEL_CHECK(!evr_log_commit(&s->logs[self], sz));
	s->written[self]++;
}

static bool read_one(struct state *s, struct evr_log *log)
{
	uint64_t sz, first, last;
	const uint8_t *from = evr_log_peek(log, &sz);
	uint32_t who;

	if (!from)
		return false;
	MODEL_CHECK(sz == 16 || sz == RECORD_MAX);
	evr_copy_out(&first, from, 8);
	evr_copy_out(&last, from + sz - 8, 8);
	MODEL_CHECK(first == last);
	who = (uint32_t)(first >> 8);
	MODEL_CHECK(who < 2 && (first & 0xff) == s->last[who] + 1);
	s->peeked[who] = first & 0xff;
	evr_log_release(log);
	s->last[who] = first & 0xff;
	return true;
}

static void write_short(struct evr_peer *peer, void *state)
{
	write_one(state, 16);
	write_one(state, RECORD_MAX);
}

static void write_long(struct evr_peer *peer, void *state)
{
	write_one(state, RECORD_MAX);
	write_one(state, RECORD_MAX);
}

static void read_some(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	int i;

	for (i = 0; i < 3; i++)
		read_one(s, &s->logs[2]);
}

/* The dead consumer's last record comes again, unless its release was done: then never. */
static struct evr_log *succeed(struct state *s, struct evr_log *out)
{
	const uint8_t *from;
	uint64_t sz, mark = 0;
	uint32_t i;

	MODEL_CHECK(!evr_log_open(out, model_auditor(), "l", EVR_CONSUMER));
	from = evr_log_peek(out, &sz);
	if (from)
		evr_copy_out(&mark, from, 8);
	for (i = 0; i < 2; i++)
		if (mark != ((uint64_t)i << 8 | s->peeked[i]))
			s->last[i] = s->peeked[i];
	return out;
}

/* Reap, read the rest, add up, and use it. */
static void all_adds_up(void *state)
{
	struct state *s = state;
	struct evr_log_counts c;
	struct evr_log in, out, *reader = &s->logs[2];
	uint32_t i;

	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	MODEL_CHECK(!evr_log_open(&in, model_auditor(), "l", EVR_PRODUCER));
	if (model_died(2))
		reader = succeed(s, &out);
	while (read_one(s, reader))
		;
	MODEL_CHECK(evr_log_state(reader) == EVR_RING_OK);
	for (i = 0; i < 2; i++)
		MODEL_CHECK(s->last[i] >= s->written[i] &&
			    s->last[i] - s->written[i] <= model_died(i));
	evr_log_counts(&in, &c);
	MODEL_CHECK(c.in == c.out && !c.corrupt);
	if (!model_crashes())
		MODEL_CHECK(!c.holes);
	for (i = 0; i < CAPACITY / 64; i++)
		MODEL_CHECK(!evr_log_write(&in, &c, 16));
	MODEL_CHECK(evr_log_write(&in, &c, 0) == -EAGAIN);
	for (i = 0; i < CAPACITY / 64; i++)
		MODEL_CHECK(evr_log_read(reader, &c, 16) == 16);
	evr_log_close(&in);
	if (model_died(2))
		evr_log_close(&out);
}

SCENARIO(log_write_read) = {
	.name = "log-write-read",
	.state_sz = sizeof(struct state),
	.procs = { { "short", write_short }, { "long", write_long }, { "reads", read_some } },
	.setup = setup,
	.end = all_adds_up,
	.check = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 1, 0, 2 } },
	.longer = { { MODEL_SC, 4, 0, 0, .sample = 2 },
		    { MODEL_SC, 3, 1, 0 },
		    { MODEL_SC, 2, 2, 0, .sample = 9 },
		    { MODEL_TSO, 3, 0, 2, .sample = 6 },
		    { MODEL_WEAK, 3, 0, 2, .sample = 14 } },
};

static void write_one_short(struct evr_peer *peer, void *state)
{
	write_one(state, 16);
}

static void write_one_long(struct evr_peer *peer, void *state)
{
	write_one(state, RECORD_MAX);
}

static void read_two(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	read_one(s, &s->logs[2]);
	read_one(s, &s->logs[2]);
}

SCENARIO(log_dies) = {
	.name = "log-dies",
	.state_sz = sizeof(struct state),
	.procs = { { "short", write_one_short }, { "long", write_one_long }, { "reads", read_two } },
	.setup = setup,
	.end = all_adds_up,
	.check = { { MODEL_SC, 2, 1, 0 }, { MODEL_SC, 1, 2, 0 } },
	.longer = { { MODEL_SC, 3, 1, 0 },
		    { MODEL_SC, 2, 2, 0, .sample = 4 },
		    { MODEL_WEAK, 2, 1, 2 } },
};

/*
 * Cells, ledgers and a record's length are anybody's to write: those who keep to the rules
 * come to an end, and no record is longer than what is there for it.
 */
static void scribble(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_log *log = &s->logs[0];
	struct evr_a64 *words[] = {
		(struct evr_a64 *)log->cells.cells,
		(struct evr_a64 *)(log->cells.cells + 8),
		(struct evr_a64 *)log->data,
		&log->cells.shared->ledgers[0],
		s->noted,
	};

	model_scribble(words, 5, 1);
}

static void write_and_close(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	write_one(s, RECORD_MAX);
	write_one(s, 16);
	evr_log_close(&s->logs[1]);
}

static void read_in_bounds(struct evr_peer *peer, void *state)
{
	struct evr_log *log = &((struct state *)state)->logs[2];
	uint8_t buffer[CAPACITY];
	const uint8_t *from;
	uint64_t sz;
	int i;

	for (i = 0; i < 3; i++) {
		from = evr_log_peek(log, &sz);
		if (!from)
			continue;
		MODEL_CHECK(sz <= log->record_max);
		evr_copy_out(buffer, from, sz);
		evr_log_release(log);
	}
	evr_log_close(log);
}

static void setup_written(void *state)
{
	struct state *s = state;

	setup(s);
	s->noted = &s->logs[2].lane.mine->pos;
	MODEL_CHECK(!evr_log_write(&s->logs[0], &(uint64_t){ 1 }, 8));
}

/* The next one begins somewhere, and comes to an end too. */
static void next_ends(void *state)
{
	struct evr_log next;
	uint64_t value, nr = 0;

	MODEL_CHECK(evr_reap_dead(model_auditor(), NULL) >= 0);
	MODEL_CHECK(!evr_log_open(&next, model_auditor(), "l", EVR_CONSUMER));
	while (nr <= CAPACITY / 64 && evr_log_read(&next, &value, sizeof(value)) >= 0)
		nr++;
	MODEL_CHECK(nr <= CAPACITY / 64);
	evr_log_close(&next);
}

SCENARIO(log_hostile) = {
	.name = "log-hostile",
	.state_sz = sizeof(struct state),
	.steps_max = 50000,
	.procs = { { "hostile", scribble },
		   { "writer", write_and_close },
		   { "reader", read_in_bounds } },
	.setup = setup_written,
	.end = next_ends,
	.check = { { MODEL_SC, 1, 0, 0 } },
	.longer = { { MODEL_SC, 2, 0, 0 }, { MODEL_SC, 1, 1, 0 } },
};
