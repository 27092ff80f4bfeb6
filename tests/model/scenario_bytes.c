/* SPDX-License-Identifier: MIT */
/*
 * Streams: frames arrive whole, once, in order, also the one that sticks out behind the
 * capacity, and when an end closes or dies. A word of frame f is f + 1.
 */
#include <errno.h>
#include <string.h>

#include "explore.h"

#define CAPACITY 1024
/* Frames before these were written and read: the stream stands at 960 of 1024. */
#define BEFORE 464
#define FRAMES 4
#define WORDS_MAX (BEFORE / 8)

/* The first goes across the end; there is room for three. The last lies where the first was. */
static const uint32_t sizes[FRAMES] = { 56, 448, 448, 40 };

struct state {
	struct evr_bytes in, out, heir_in, heir_out;
	struct evr_waiter waiters[2];
	uint32_t sent, taken; /* frames after BEFORE */
	bool in_over, out_over;
	int end;
};

/* Which frame starts there; FRAMES: none any more. */
static uint32_t frame_of(uint64_t pos)
{
	uint64_t at = 960;
	uint32_t i;

	for (i = 0; i < FRAMES; i++) {
		if (pos == at)
			return i;
		at += 16 + (sizes[i] + 15) / 16 * 16;
	}
	MODEL_CHECK(pos == at);
	return FRAMES;
}

static void fill(uint64_t *words, uint64_t value, uint32_t sz)
{
	uint32_t i;

	for (i = 0; i < sz / 8; i++)
		words[i] = value;
}

static void check(const uint64_t *words, uint64_t value, uint64_t sz)
{
	uint32_t i;

	for (i = 0; i < sz / 8; i++)
		MODEL_CHECK(words[i] == value);
}

static void setup(void *state)
{
	struct evr_bytes_options options = { .struct_sz = sizeof(options),
					     .capacity = CAPACITY,
					     .frame_max = BEFORE };
	uint64_t words[WORDS_MAX];
	struct state *s = state;
	int i;

	MODEL_CHECK(!evr_bytes_create(model_peer(0), "n", &options));
	MODEL_CHECK(!evr_bytes_open(&s->in, model_peer(0), "n", EVR_PRODUCER));
	MODEL_CHECK(!evr_bytes_open(&s->out, model_peer(1), "n", EVR_CONSUMER));
	model_name_lane(&s->in.lane);
	fill(words, 99, BEFORE);
	for (i = 0; i < 2; i++) {
		MODEL_CHECK(!evr_bytes_write(&s->in, words, BEFORE));
		MODEL_CHECK(evr_bytes_read(&s->out, words, BEFORE) == BEFORE);
	}
	MODEL_CHECK(!evr_waiter_init(&s->waiters[0], model_peer(0), EVR_WAIT_SLEEP));
	MODEL_CHECK(!evr_waiter_init(&s->waiters[1], model_peer(1), EVR_WAIT_SLEEP));
}

static void positions_are_ordered(void *state)
{
	struct state *s = state;

	if (s->in.lane.mine)
		MODEL_CHECK(model_peek(&s->in.lane.mine->pos) -
				    model_peek(&s->in.lane.other->pos) <=
			    CAPACITY);
}

/* The next frame by its position; false when there is none left, or no room. */
static bool write_next(struct state *s, struct evr_bytes *in)
{
	uint32_t f = frame_of(in->lane.pos);
	uint64_t words[WORDS_MAX];

	if (f == FRAMES)
		return false;
	fill(words, f + 1, sizes[f]);
	if (evr_bytes_write(in, words, sizes[f]))
		evr_pause();
	return true;
}

static bool read_next(struct state *s, struct evr_bytes *out)
{
	uint32_t f = frame_of(out->lane.pos);
	uint64_t words[WORDS_MAX];
	int64_t sz;

	if (f == FRAMES)
		return false;
	sz = evr_bytes_read(out, words, sizeof(words));
	if (sz < 0) {
		evr_pause();
		return true;
	}
	MODEL_CHECK(sz == sizes[f]);
	check(words, f + 1, sizes[f]);
	s->taken = f + 1;
	return true;
}

static void write_all(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (write_next(s, &s->in))
		;
	s->in_over = true;
}

static void read_all(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	while (read_next(s, &s->out))
		;
	s->out_over = true;
}

static void all_arrived(void *state)
{
	struct state *s = state;

	MODEL_CHECK(s->taken == FRAMES);
	MODEL_CHECK(s->in.lane.pos == s->out.lane.pos);
}

SCENARIO(stream) = {
	.name = "bytes-frames-across-the-end",
	.state_sz = sizeof(struct state),
	.procs = { { "producer", write_all }, { "consumer", read_all } },
	.setup = setup,
	.always = positions_are_ordered,
	.end = all_arrived,
	.check = { { MODEL_SC, 3, 0, 0 }, { MODEL_TSO, 2, 0, 2 }, { MODEL_WEAK, 2, 0, 1 } },
	.longer = { { MODEL_SC, 4, 0, 0 }, { MODEL_WEAK, 2, 0, 2 } },
};

/* In place, several frames told of together, and the end: all comes before it. */
static void commit_and_close(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t words[WORDS_MAX];
	uint32_t f;
	void *at;

	for (f = 0; f < 2; f++) {
		at = evr_bytes_reserve(&s->in, BEFORE);
		MODEL_CHECK(at);
		fill(words, f + 1, sizes[f]);
		evr_copy_in(at, words, sizes[f]);
		MODEL_CHECK(!evr_bytes_commit_more(&s->in, sizes[f], EVR_FRAME_INLINE));
	}
	evr_bytes_close(&s->in);
	s->in_over = true;
}

static void read_to_the_end(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t words[WORDS_MAX];
	int64_t sz;

	for (;;) {
		sz = evr_bytes_read(&s->out, words, sizeof(words));
		if (sz == -EAGAIN) {
			evr_pause();
			continue;
		}
		if (sz < 0)
			break;
		MODEL_CHECK(s->taken < FRAMES && sz == sizes[s->taken]);
		s->taken++;
		check(words, s->taken, (uint64_t)sz);
	}
	s->end = (int)sz;
	s->out_over = true;
}

static void end_came_last(void *state)
{
	struct state *s = state;

	if (model_died(1))
		return;
	MODEL_CHECK(s->end == (model_died(0) ? -EOWNERDEAD : -EPIPE) || s->end == -EPIPE);
	if (s->end == -EPIPE)
		MODEL_CHECK(s->taken == 2);
	else
		MODEL_CHECK(s->taken == 0 || s->taken == 2);
}

SCENARIO(closed) = {
	.name = "bytes-close-comes-last",
	.state_sz = sizeof(struct state),
	.procs = { { "producer", commit_and_close }, { "consumer", read_to_the_end } },
	.setup = setup,
	.end = end_came_last,
	.check = { { MODEL_SC, 3, 1, 0 }, { MODEL_WEAK, 2, 0, 1 } },
	.longer = { { MODEL_SC, 4, 2, 0 }, { MODEL_WEAK, 3, 1, 2 } },
};

/* Peeked at and not released: it comes again to the next consumer. */
static void peek_and_release(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t words[WORDS_MAX], sz;
	const void *at;
	uint32_t f;

	while ((f = frame_of(s->out.lane.pos)) < FRAMES) {
		at = evr_bytes_peek(&s->out, &sz);
		if (!at) {
			evr_pause();
			continue;
		}
		MODEL_CHECK(sz == sizes[f]);
		evr_copy_out(words, at, sz);
		check(words, f + 1, sz);
		evr_bytes_release(&s->out);
		s->taken = f + 1;
	}
	s->out_over = true;
}

static bool is_heirs_turn(void *state)
{
	struct state *s = state;

	return (s->in_over && s->out_over) || model_ended(0) || model_ended(1);
}

static void take_over(struct evr_peer *peer, void *state)
{
	struct state *s = state;

	model_until(is_heirs_turn, s);
	if (!s->in_over && model_ended(0)) {
		MODEL_CHECK(!evr_bytes_open(&s->heir_in, peer, "n", EVR_PRODUCER));
		/* As long as somebody reads. */
		while (!model_ended(1) && write_next(s, &s->heir_in))
			;
		s->in_over = true;
	}
	if (!s->out_over && model_ended(1)) {
		MODEL_CHECK(!evr_bytes_open(&s->heir_out, peer, "n", EVR_CONSUMER));
		MODEL_CHECK(frame_of(s->heir_out.lane.pos) >= s->taken);
		while (!model_ended(0) && read_next(s, &s->heir_out))
			;
	}
}

static void settled(void *state)
{
	struct evr_peer *peer = model_auditor();
	struct evr_dir_info info;
	struct state *s = state;

	MODEL_CHECK(evr_reap_dead(peer, NULL) >= 0);
	MODEL_CHECK(!evr_dir_info(peer, &info) && info.entries == 1 && !info.claimed);
	MODEL_CHECK(evr_reap_dead(peer, NULL) == 0);
	if (!model_crashes())
		MODEL_CHECK(s->taken == FRAMES);
}

SCENARIO(takeover) = {
	.name = "bytes-takeover-after-death",
	.state_sz = sizeof(struct state),
	.procs = { { "producer", write_all },
		   { "consumer", peek_and_release },
		   { "heir", take_over, .immortal = true } },
	.setup = setup,
	.end = settled,
	.check = { { MODEL_SC, 1, 1, 0 } },
	.longer = { { MODEL_SC, 2, 1, 0, .sample = 15 },
		    { MODEL_SC, 1, 2, 0 },
		    { MODEL_WEAK, 1, 1, 1, .sample = 4 } },
};

/* A producer that lies in headers and position: the consumer stays in the stream. */
static void scribble(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	struct evr_frame *frame = (struct evr_frame *)(s->out.lane.data + 960);
	struct evr_lane_side *side = (struct evr_lane_side *)s->out.lane.other;
	struct evr_a64 *words[] = { &side->pos, &frame->len_kind, &frame->stamp };

	model_scribble(words, 3, 2);
}

static void read_or_stop(struct evr_peer *peer, void *state)
{
	struct state *s = state;
	uint64_t words[CAPACITY / 8], sz, pos;
	const void *at;
	int i;

	for (i = 0; i < 3; i++) {
		pos = s->out.lane.pos;
		at = evr_bytes_peek(&s->out, &sz);
		if (at) {
			MODEL_CHECK(sz <= BEFORE);
			evr_copy_out(words, at, sz);
			evr_bytes_release(&s->out);
			MODEL_CHECK(s->out.lane.pos > pos && s->out.lane.pos - pos <= CAPACITY);
		}
		MODEL_CHECK(evr_lane_avail(&s->out.lane) <= CAPACITY);
		if (!at && evr_bytes_state(&s->out) != EVR_RING_OK)
			break;
	}
	evr_bytes_close(&s->out);
}

static void setup_hostile(void *state)
{
	struct state *s = state;
	uint64_t words[WORDS_MAX];

	setup(s);
	fill(words, 1, BEFORE);
	MODEL_CHECK(!evr_bytes_write(&s->in, words, sizes[0]));
}

SCENARIO(hostile) = {
	.name = "bytes-hostile-producer",
	.state_sz = sizeof(struct state),
	.procs = { { "hostile", scribble }, { "consumer", read_or_stop } },
	.setup = setup_hostile,
	.check = { { MODEL_SC, 2, 0, 0 } },
	.longer = { { MODEL_SC, 4, 0, 0 } },
};
