// SPDX-License-Identifier: MIT
/* A message there and an answer back, one at a time: how long does it take? */
#include <errno.h>
#include <stdlib.h>

#include "bench.h"
#include "machine.h"
#include "payload.h"

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
static inline void spin_send(struct ends *ends, uint64_t size, uint64_t seed)
{
	uint32_t nr = 1;
	void *slot;

	while (!(slot = evr_spsc_reserve(&ends->out, &nr))) {
		nr = 1;
		evr_pause();
	}
	payload_write(slot, size, seed);
	evr_spsc_commit(&ends->out, 1);
}

static inline uint64_t spin_receive(struct ends *ends, uint64_t size)
{
	const void *slot;
	uint32_t nr = 1;
	uint64_t sum;

	while (!(slot = evr_spsc_peek(&ends->in, &nr))) {
		nr = 1;
		evr_pause();
	}
	sum = payload_read(slot, size);
	evr_spsc_release(&ends->in, 1);
	return sum;
}

static __attribute__((noinline)) uint64_t spin_ping(struct ends *ends, uint64_t size,
						    uint64_t count, struct histogram *ticks)
{
	uint64_t before = machine_ticks();
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		uint64_t now;

		spin_send(ends, size, i);
		sum += spin_receive(ends, size);
		now = machine_ticks();
		histogram_add(ticks, now - before);
		before = now;
	}
	return sum;
}

static __attribute__((noinline)) uint64_t spin_pong(struct ends *ends, uint64_t size,
						    uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		sum += spin_receive(ends, size);
		spin_send(ends, size, i);
	}
	return sum;
}

static void spin_near(struct stage *stage)
{
	struct histogram *ticks = &stage->shared->ticks;
	struct ends ends;

	open_rings(stage, &ends);
	spin_ping(&ends, stage->size, stage->warmup, ticks);
	histogram_clear(ticks);
	stage_begin(stage);
	stage->shared->halves[0].check = spin_ping(&ends, stage->size, stage->count, ticks);
	stage_end(stage);
	close_rings(stage, &ends);
}

static void spin_far(struct stage *stage)
{
	struct ends ends;

	open_rings(stage, &ends);
	spin_pong(&ends, stage->size, stage->warmup);
	stage_begin(stage);
	stage->shared->halves[1].check = spin_pong(&ends, stage->size, stage->count);
	stage_end(stage);
	close_rings(stage, &ends);
}

/* One end of any rival that sends and receives by copying from and to a buffer. */
struct copier {
	struct ends ends;
	uint8_t *buffer;
	void (*send)(struct stage *stage, struct copier *copier);
	void (*receive)(struct stage *stage, struct copier *copier);
};

static void wait_send(struct stage *stage, struct copier *copier)
{
	int sent = evr_spsc_push_wait(&copier->ends.out, &stage->waiter, copier->buffer, 1,
				      EVR_NO_DEADLINE);

	if (sent < 0)
		stage_fail(stage, "push", sent);
}

static void wait_receive(struct stage *stage, struct copier *copier)
{
	int got = evr_spsc_pop_wait(&copier->ends.in, &stage->waiter, copier->buffer, 1,
				    EVR_NO_DEADLINE);

	if (got < 0)
		stage_fail(stage, "pop", got);
}

static void file_send(struct stage *stage, struct copier *copier)
{
	stage_write_all(stage, copier->buffer, stage->size);
}

static void file_receive(struct stage *stage, struct copier *copier)
{
	stage_read_all(stage, copier->buffer, stage->size);
}

static uint64_t copy_ping(struct stage *stage, struct copier *copier, uint64_t count)
{
	uint64_t before = machine_ticks();
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		uint64_t now;

		payload_write(copier->buffer, stage->size, i);
		copier->send(stage, copier);
		copier->receive(stage, copier);
		sum += payload_read(copier->buffer, stage->size);
		now = machine_ticks();
		histogram_add(&stage->shared->ticks, now - before);
		before = now;
	}
	return sum;
}

static uint64_t copy_pong(struct stage *stage, struct copier *copier, uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < count; i++) {
		copier->receive(stage, copier);
		sum += payload_read(copier->buffer, stage->size);
		payload_write(copier->buffer, stage->size, i);
		copier->send(stage, copier);
	}
	return sum;
}

static void run_copier(struct stage *stage, struct copier *copier)
{
	struct stage_half *half = &stage->shared->halves[stage->side];

	copier->buffer = malloc(stage->size);
	if (!copier->buffer)
		stage_fail(stage, "buffer", -ENOMEM);
	if (stage->side == STAGE_NEAR) {
		copy_ping(stage, copier, stage->warmup);
		histogram_clear(&stage->shared->ticks);
		stage_begin(stage);
		half->check = copy_ping(stage, copier, stage->count);
	} else {
		copy_pong(stage, copier, stage->warmup);
		stage_begin(stage);
		half->check = copy_pong(stage, copier, stage->count);
	}
	stage_end(stage);
	free(copier->buffer);
}

static void wait_side(struct stage *stage)
{
	struct copier copier = { .send = wait_send, .receive = wait_receive };

	open_rings(stage, &copier.ends);
	run_copier(stage, &copier);
	close_rings(stage, &copier.ends);
}

static void file_side(struct stage *stage)
{
	struct copier copier = { .send = file_send, .receive = file_receive };

	run_copier(stage, &copier);
}

/* One word in one line that two processors take from each other: no message can be faster. */
static __attribute__((noinline)) void line_ping(struct evr_a64 *word, uint64_t first,
						uint64_t count, struct histogram *ticks)
{
	uint64_t before = machine_ticks();

	for (uint64_t i = first; i < first + 2 * count; i += 2) {
		uint64_t now;

		evr_a64_store_release(word, i + 1);
		while (evr_a64_load_acquire(word) != i + 2)
			evr_pause();
		now = machine_ticks();
		histogram_add(ticks, now - before);
		before = now;
	}
}

static __attribute__((noinline)) void line_pong(struct evr_a64 *word, uint64_t first,
						uint64_t count)
{
	for (uint64_t i = first; i < first + 2 * count; i += 2) {
		while (evr_a64_load_acquire(word) != i + 1)
			evr_pause();
		evr_a64_store_release(word, i + 2);
	}
}

static void line_near(struct stage *stage)
{
	struct histogram *ticks = &stage->shared->ticks;

	line_ping(stage->page, 0, stage->warmup, ticks);
	histogram_clear(ticks);
	stage_begin(stage);
	line_ping(stage->page, 2 * stage->warmup, stage->count, ticks);
	stage_end(stage);
}

static void line_far(struct stage *stage)
{
	line_pong(stage->page, 0, stage->warmup);
	stage_begin(stage);
	line_pong(stage->page, 2 * stage->warmup, stage->count);
	stage_end(stage);
}

/* The same with a message beside the word, on lines of its own: what a ring cannot do without. */
static inline uint8_t *lines_of(const struct stage *stage, enum stage_side to)
{
	return (uint8_t *)stage->page + (to == STAGE_NEAR ? 0 : stage_lines_sz(stage));
}

static inline void lines_send(struct stage *stage, uint64_t turn)
{
	uint8_t *lines = lines_of(stage, !stage->side);

	payload_write(lines + EVR_LINE_SZ, stage->size, turn);
	evr_a64_store_release((struct evr_a64 *)lines, turn);
}

static inline uint64_t lines_receive(struct stage *stage, uint64_t turn)
{
	uint8_t *lines = lines_of(stage, stage->side);

	while (evr_a64_load_acquire((struct evr_a64 *)lines) != turn)
		evr_pause();
	return payload_read(lines + EVR_LINE_SZ, stage->size);
}

static __attribute__((noinline)) uint64_t lines_ping(struct stage *stage, uint64_t first,
						     uint64_t count)
{
	struct histogram *ticks = &stage->shared->ticks;
	uint64_t before = machine_ticks();
	uint64_t sum = 0;

	for (uint64_t turn = first + 1; turn <= first + count; turn++) {
		uint64_t now;

		lines_send(stage, turn);
		sum += lines_receive(stage, turn);
		now = machine_ticks();
		histogram_add(ticks, now - before);
		before = now;
	}
	return sum;
}

static __attribute__((noinline)) uint64_t lines_pong(struct stage *stage, uint64_t first,
						     uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t turn = first + 1; turn <= first + count; turn++) {
		sum += lines_receive(stage, turn);
		lines_send(stage, turn);
	}
	return sum;
}

static void lines_side(struct stage *stage)
{
	uint64_t (*play)(struct stage *, uint64_t, uint64_t) =
		stage->side == STAGE_NEAR ? lines_ping : lines_pong;

	play(stage, 0, stage->warmup);
	if (stage->side == STAGE_NEAR)
		histogram_clear(&stage->shared->ticks);
	stage_begin(stage);
	stage->shared->halves[stage->side].check = play(stage, stage->warmup, stage->count);
	stage_end(stage);
}

const struct rival ringtrip_line = { "bare cache line", RIVAL_SPINS, stage_prepare_page, line_near,
				     line_far };
static const struct rival ringtrip_lines = { "line and message", RIVAL_SPINS, stage_prepare_lines,
					     lines_side, lines_side };
const struct rival ringtrip_spinning = { "evering", RIVAL_SPINS, stage_prepare_segment, spin_near,
					 spin_far };
const struct rival ringtrip_adaptive = { "evering", RIVAL_ADAPTS, stage_prepare_segment, wait_side,
					 wait_side };
const struct rival ringtrip_sleeping = { "evering", RIVAL_SLEEPS, stage_prepare_segment, wait_side,
					 wait_side };
const struct rival ringtrip_pipe = { "pipe", RIVAL_SLEEPS, stage_prepare_pipes, file_side,
				     file_side };
const struct rival ringtrip_socket = { "UNIX socket", RIVAL_SLEEPS, stage_prepare_sockets,
				       file_side, file_side };

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
