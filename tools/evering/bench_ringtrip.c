// SPDX-License-Identifier: MIT
/* A message there and an answer back, one at a time: how long does it take? */
#include <errno.h>
#include <stdlib.h>

#include "bench.h"
#include "carrier.h"
#include "payload.h"
#include "trips.h"

#define RING_ELEMENTS 64

/* The rings of one side: what it sends on and what it gets back. */
struct ends {
	struct evr_spsc out;
	struct evr_spsc in;
};

static void create_ring(struct stage *stage, const char *name)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options),
					    .capacity = RING_ELEMENTS,
					    .elem_sz = (uint32_t)stage->size };
	int err = evr_spsc_create(stage->peer, name, &options);

	if (err)
		stage_fail(stage, name, err);
}

static void open_rings(struct stage *stage, struct ends *ends)
{
	bool is_near = stage->side == STAGE_NEAR;
	int err;

	stage_attach(stage);
	if (is_near) {
		create_ring(stage, "forth");
		create_ring(stage, "back");
	}
	stage_meet(stage);
	err = evr_spsc_open(&ends->out, stage->peer, is_near ? "forth" : "back", EVR_PRODUCER, 0);
	if (!err)
		err = evr_spsc_open(&ends->in, stage->peer, is_near ? "back" : "forth",
				    EVR_CONSUMER, 0);
	if (err)
		stage_fail(stage, "rings", err);
	stage_meet(stage);
}

static void close_rings(struct stage *stage, struct ends *ends)
{
	stage_meet(stage);
	evr_spsc_close(&ends->out);
	evr_spsc_close(&ends->in);
	stage_detach(stage);
}

/* In place and without sleep: the fastest the rings go. */
static STAGE_INLINE void spin_send(struct stage *stage, void *arg, uint64_t turn)
{
	struct ends *ends = arg;
	uint32_t nr = 1;
	void *slot;

	while (!(slot = evr_spsc_reserve(&ends->out, &nr))) {
		nr = 1;
		evr_pause();
	}
	payload_write(slot, stage->size, turn);
	evr_spsc_commit(&ends->out, 1);
}

static STAGE_INLINE uint64_t spin_receive(struct stage *stage, void *arg, uint64_t turn)
{
	struct ends *ends = arg;
	const void *slot;
	uint32_t nr = 1;
	uint64_t sum;

	while (!(slot = evr_spsc_peek(&ends->in, &nr))) {
		nr = 1;
		evr_pause();
	}
	sum = payload_read(slot, stage->size);
	evr_spsc_release(&ends->in, 1);
	return sum;
}

static void spin_side(struct stage *stage)
{
	struct ends ends;

	open_rings(stage, &ends);
	trips_run(stage, &ends, spin_send, spin_receive);
	close_rings(stage, &ends);
}

static void wait_open(struct stage *stage)
{
	struct ends *ends = malloc(sizeof(*ends));

	if (!ends)
		stage_fail(stage, "rings", -ENOMEM);
	stage->own = ends;
	open_rings(stage, ends);
}

static void wait_close(struct stage *stage)
{
	close_rings(stage, stage->own);
	free(stage->own);
}

static void wait_send(struct stage *stage, const void *data, uint64_t size)
{
	struct ends *ends = stage->own;
	int sent = evr_spsc_push_wait(&ends->out, &stage->waiter, data, 1, EVR_NO_DEADLINE);

	if (sent < 0)
		stage_fail(stage, "push", sent);
}

static void wait_receive(struct stage *stage, void *data, uint64_t size)
{
	struct ends *ends = stage->own;
	int got = evr_spsc_pop_wait(&ends->in, &stage->waiter, data, 1, EVR_NO_DEADLINE);

	if (got < 0)
		stage_fail(stage, "pop", got);
}

/* One word in one line that two processors take from each other: no message can be faster. */
static STAGE_INLINE void line_send(struct stage *stage, void *word, uint64_t turn)
{
	evr_a64_store_release(word, 2 * turn + 1 + stage->side);
}

static STAGE_INLINE uint64_t line_receive(struct stage *stage, void *word, uint64_t turn)
{
	while (evr_a64_load_acquire(word) != 2 * turn + 2 - stage->side)
		evr_pause();
	return 0;
}

static void line_side(struct stage *stage)
{
	trips_run(stage, stage->page, line_send, line_receive);
}

/* The same with a message beside the word, on lines of its own: what a ring cannot do without. */
static inline uint8_t *lines_of(const struct stage *stage, enum stage_side to)
{
	return (uint8_t *)stage->page + (to == STAGE_NEAR ? 0 : stage_lines_sz(stage));
}

static STAGE_INLINE void lines_send(struct stage *stage, void *ends, uint64_t turn)
{
	uint8_t *lines = lines_of(stage, !stage->side);

	payload_write(lines + EVR_LINE_SZ, stage->size, turn);
	evr_a64_store_release((struct evr_a64 *)lines, turn + 1);
}

static STAGE_INLINE uint64_t lines_receive(struct stage *stage, void *ends, uint64_t turn)
{
	uint8_t *lines = lines_of(stage, stage->side);

	while (evr_a64_load_acquire((struct evr_a64 *)lines) != turn + 1)
		evr_pause();
	return payload_read(lines + EVR_LINE_SZ, stage->size);
}

static void lines_side(struct stage *stage)
{
	trips_run(stage, NULL, lines_send, lines_receive);
}

static const struct carrier waiting_rings = { wait_open, wait_close, wait_send, wait_receive };

const struct rival ringtrip_line = { "bare cache line", RIVAL_SPINS, stage_prepare_page, line_side,
				     line_side };
static const struct rival ringtrip_lines = { "line and message", RIVAL_SPINS, stage_prepare_lines,
					     lines_side, lines_side };
const struct rival ringtrip_spinning = { "evering", RIVAL_SPINS, stage_prepare_segment, spin_side,
					 spin_side };
const struct rival ringtrip_adaptive = { "evering",	RIVAL_ADAPTS,  stage_prepare_segment,
					 carrier_trips, carrier_trips, &waiting_rings };
const struct rival ringtrip_sleeping = { "evering",	RIVAL_SLEEPS,  stage_prepare_segment,
					 carrier_trips, carrier_trips, &waiting_rings };
const struct rival ringtrip_pipe = { "pipe",	    RIVAL_SLEEPS,  stage_prepare_pipes,
				     carrier_trips, carrier_trips, &carrier_file };
const struct rival ringtrip_socket = { "UNIX socket", RIVAL_SLEEPS,  stage_prepare_sockets,
				       carrier_trips, carrier_trips, &carrier_file };

const struct bench ringtrip_bench = {
	.name = "ringtrip",
	.summary = "round trips of one message, written and read whole on both sides",
	.unit = BENCH_ROUND_TRIPS,
	.sizes = { 64 },
	.batch = 1,
	.rivals = { &ringtrip_line, &ringtrip_lines, &ringtrip_spinning, &ringtrip_adaptive,
		    &ringtrip_sleeping, &ringtrip_pipe, &ringtrip_socket },
	.ratios = { { &ringtrip_spinning, &ringtrip_line },
		    { &ringtrip_spinning, &ringtrip_lines },
		    { &ringtrip_sleeping, &ringtrip_pipe },
		    { &ringtrip_sleeping, &ringtrip_socket } },
	.account = { &ringtrip_line, &ringtrip_lines, &ringtrip_spinning },
};
