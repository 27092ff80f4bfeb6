/* SPDX-License-Identifier: MIT */
/*
 * Taps: what is there, what was released, what was overwritten, for each kind; hostile
 * words. Those who are faster than a tap are in test_tap_race.c.
 *
 * Mutants seen to fail here: a copy that always counts (tap_*_overwritten_*), the claims of a
 * log not looked at (tap_log_*), its stamp not compared (tap_log_hole_*), where the consumer
 * is not taken for the next position (tap_*_overwritten_*).
 */
#include "taps.h"

/* The next message is this number, and so many units were missed before it. */
static struct evr_tap_message next_is(struct evr_tap *tap, uint64_t number, uint64_t skipped)
{
	struct evr_tap_message m;
	uint64_t got = ~number;

	memset(&m, 0xee, sizeof(m));
	assert_int_equal(evr_tap_next(tap, &got, sizeof(got), &m), 1);
	assert_int_equal(got, number);
	assert_int_equal(m.skipped, skipped);
	assert_int_equal(m.sz, 8);
	return m;
}

static void none_next(struct evr_tap *tap)
{
	struct evr_tap_message m;

	assert_int_equal(evr_tap_next(tap, NULL, 0, &m), 0);
	assert_int_equal(m.sz, 0);
}

static void tap_spsc_shows_it_until_half_is_published(void **state)
{
	struct pair *pair = *state;
	struct evr_spsc in, out;
	struct evr_tap old, new;
	uint64_t i, got;

	make_all(pair->peer);
	assert_int_equal(evr_spsc_open(&in, pair->peer, "spsc", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_open(&out, pair->peer, "spsc", EVR_CONSUMER, 0), 0);
	for (i = 0; i < 4; i++)
		assert_int_equal(evr_spsc_push(&in, &i, 1), 1);
	assert_int_equal(evr_spsc_pop(&out, &got, 1), 1);
	old = tap_of(pair->peer, "spsc", EVR_TAP_OLDEST);
	new = tap_of(pair->peer, "spsc", EVR_TAP_NEW);
	none_next(&new);
	assert_false(next_is(&old, 1, 0).released);
	/* All taken: released, and less than half of the ring behind the end. */
	for (i = 1; i < 4; i++)
		assert_int_equal(evr_spsc_pop(&out, &got, 1), 1);
	for (; i < 2 + SPAN / 2; i++) {
		assert_int_equal(evr_spsc_push(&in, &i, 1), 1);
		assert_int_equal(evr_spsc_pop(&out, &got, 1), 1);
	}
	assert_true(next_is(&old, 2, 0).released);
	/* One more, and 3 is that far away that it may be written over. */
	for (; i < 4 + SPAN / 2; i++) {
		assert_int_equal(evr_spsc_push(&in, &i, 1), 1);
		assert_int_equal(evr_spsc_pop(&out, &got, 1), 1);
	}
	assert_int_equal(evr_spsc_push(&in, &i, 1), 1);
	next_is(&old, i, i - 3);
	none_next(&old);
	next_is(&new, i, i - 4);
	none_next(&new);
	evr_tap_close(&old);
	evr_tap_close(&old);
	evr_tap_close(&new);
	assert_int_equal(evr_tap_next(&new, &got, 8, &(struct evr_tap_message){ 0 }), -EINVAL);
	evr_spsc_close(&in);
	evr_spsc_close(&out);
}

static void tap_slots_overwritten_is_missed_and_counted(void **state)
{
	struct pair *pair = *state;
	struct evr_slots in, out;
	struct evr_tap tap;
	uint64_t i;
	uint32_t sz;

	make_all(pair->peer);
	assert_int_equal(evr_slots_open(&in, pair->peer, "slots", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_slots_open(&out, pair->peer, "slots", EVR_CONSUMER, 0), 0);
	tap = tap_of(pair->peer, "slots", EVR_TAP_OLDEST);
	none_next(&tap);
	for (i = 0; i < SPAN; i++) {
		assert_true(evr_slots_push(&in, &i, sizeof(i)));
		assert_non_null(evr_slots_peek(&out, &sz));
		assert_true(evr_slots_release(&out));
	}
	evr_slots_flush(&out);
	/* All are released, and none was written over. */
	for (i = 0; i < 3; i++)
		assert_true(next_is(&tap, i, 0).released);
	for (i = SPAN; i < SPAN + 4; i++)
		assert_true(evr_slots_push(&in, &i, sizeof(i)));
	/* 3 was: on with what the consumer is at. */
	assert_false(next_is(&tap, SPAN, SPAN - 3).released);
	for (i = SPAN + 1; i < SPAN + 4; i++)
		next_is(&tap, i, 0);
	none_next(&tap);
	evr_tap_close(&tap);
	evr_slots_close(&in);
	evr_slots_close(&out);
}

static void tap_bytes_shows_frames_of_all_sizes(void **state)
{
	uint8_t data[200], got[200];
	struct pair *pair = *state;
	struct evr_tap_message m;
	struct evr_bytes in, out;
	struct evr_tap tap;
	uint64_t sz;
	void *to;

	make_all(pair->peer);
	assert_int_equal(evr_bytes_open(&in, pair->peer, "bytes", EVR_PRODUCER), 0);
	assert_int_equal(evr_bytes_open(&out, pair->peer, "bytes", EVR_CONSUMER), 0);
	tap = tap_of(pair->peer, "bytes", EVR_TAP_OLDEST);
	for (sz = 0; sz < sizeof(data); sz++) {
		memset(data, (int)sz, sizeof(data));
		assert_int_equal(evr_bytes_write(&in, data, sz), 0);
		memset(got, 0xee, sizeof(got));
		assert_int_equal(evr_tap_next(&tap, got, sizeof(got), &m), 1);
		assert_true(m.sz == sz && !m.skipped && !m.released);
		assert_memory_equal(got, data, sz);
		assert_true(sz == sizeof(got) || got[sz] == 0xee);
		assert_int_equal(evr_bytes_read(&out, got, sizeof(got)), sz);
	}
	to = evr_bytes_reserve(&in, 100);
	assert_non_null(to);
	memset(to, 'a', 100);
	assert_int_equal(evr_bytes_commit_more(&in, 100, 77), 0);
	none_next(&tap);
	evr_bytes_flush(&in);
	memset(got, 0xee, sizeof(got));
	assert_int_equal(evr_tap_next(&tap, got, 3, &m), 1);
	assert_true(m.kind == 77 && m.sz == 100 && got[2] == 'a' && got[3] == 0xee);
	evr_tap_close(&tap);
	evr_bytes_close(&in);
	evr_bytes_close(&out);
}

static void write_number(struct evr_log *in, uint64_t number)
{
	assert_int_equal(evr_log_write(in, &number, sizeof(number)), 0);
}

static void tap_log_hole_and_overwritten_are_missed(void **state)
{
	struct pair *pair = *state;
	struct evr_log in, other, out;
	struct evr_tap tap;
	uint64_t i, got, *to;

	make_all(pair->peer);
	assert_int_equal(evr_log_open(&in, pair->peer, "log", EVR_PRODUCER), 0);
	assert_int_equal(evr_log_open(&other, pair->peer, "log", EVR_PRODUCER), 0);
	assert_int_equal(evr_log_open(&out, pair->peer, "log", EVR_CONSUMER), 0);
	tap = tap_of(pair->peer, "log", EVR_TAP_OLDEST);
	/* Once round, so that there are headers of a former lap everywhere. */
	for (i = 0; i < SPAN; i++) {
		write_number(&in, i);
		assert_int_equal(evr_log_read(&out, &got, sizeof(got)), 8);
	}
	for (i = 0; i < SPAN; i++)
		assert_true(next_is(&tap, i, 0).released);
	none_next(&tap);
	to = evr_log_reserve(&other, 100);
	assert_non_null(to);
	*to = 99;
	write_number(&in, 100);
	none_next(&tap);
	evr_log_cancel(&other);
	assert_int_equal(next_is(&tap, 100, 2).pos, SPAN + 2);
	/* The same, when the consumer has passed it already. */
	to = evr_log_reserve(&other, 100);
	assert_non_null(to);
	write_number(&in, 101);
	evr_log_cancel(&other);
	for (i = 100; i < 102; i++)
		assert_int_equal(evr_log_read(&out, &got, sizeof(got)), 8);
	assert_true(next_is(&tap, 101, 2).released);
	/* A lap and a half: what lies within the last lap, and is claimed again, is gone. */
	for (i = 200; i < 200 + SPAN + SPAN / 2; i++) {
		write_number(&in, i);
		assert_int_equal(evr_log_read(&out, &got, sizeof(got)), 8);
	}
	write_number(&in, i);
	next_is(&tap, i, SPAN + SPAN / 2);
	none_next(&tap);
	evr_tap_close(&tap);
	evr_log_close(&in);
	evr_log_close(&other);
	evr_log_close(&out);
}

static void tap_broadcast_shows_it_until_it_is_overwritten(void **state)
{
	struct pair *pair = *state;
	struct evr_bcast in, out[2];
	struct evr_tap old, new;
	uint64_t i, got;

	make_all(pair->peer);
	assert_int_equal(evr_bcast_open(&in, pair->peer, "lossy", EVR_PRODUCER, 0), 0);
	for (i = 0; i < SPAN; i++)
		assert_int_equal(evr_bcast_push(&in, &i, 1), 1);
	old = tap_of(pair->peer, "lossy", EVR_TAP_OLDEST);
	new = tap_of(pair->peer, "lossy", EVR_TAP_NEW);
	none_next(&new);
	assert_false(next_is(&old, 0, 0).released);
	for (; i < SPAN + 3; i++)
		assert_int_equal(evr_bcast_push(&in, &i, 1), 1);
	assert_int_equal(next_is(&old, 3, 2).pos, 3);
	next_is(&new, SPAN, 0);
	evr_tap_close(&old);
	evr_tap_close(&new);
	evr_bcast_close(&in);
	/* The slowest of those who have a seat says what is released; the tap has none. */
	assert_int_equal(evr_bcast_open(&in, pair->peer, "reliable", EVR_PRODUCER, 0), 0);
	old = tap_of(pair->peer, "reliable", EVR_TAP_OLDEST);
	none_next(&old);
	assert_int_equal(evr_bcast_open(&out[0], pair->peer, "reliable", EVR_CONSUMER, 0), 0);
	assert_int_equal(evr_bcast_open(&out[1], pair->peer, "reliable", EVR_CONSUMER, 0), 0);
	for (i = 0; i < SPAN; i++)
		assert_int_equal(evr_bcast_push(&in, &i, 1), 1);
	for (i = 0; i < 4; i++)
		assert_int_equal(evr_bcast_pop(&out[0], &got, 1), 1);
	for (i = 0; i < 2; i++)
		assert_int_equal(evr_bcast_pop(&out[1], &got, 1), 1);
	assert_true(next_is(&old, 0, 0).released);
	assert_true(next_is(&old, 1, 0).released);
	assert_false(next_is(&old, 2, 0).released);
	evr_bcast_close(&out[1]);
	assert_true(next_is(&old, 3, 0).released);
	evr_bcast_close(&out[0]);
	assert_true(next_is(&old, 4, 0).released);
	evr_tap_close(&old);
	evr_bcast_close(&in);
}

static void tap_of_the_wrong_thing_is_refused(void **state)
{
	struct pair *pair = *state;
	struct evr_tap tap = { .own = (void *)1 };
	struct evr_tap_message m;
	struct evr_object object;
	uint64_t got;

	make_all(pair->peer);
	assert_int_equal(evr_mpmc_create(pair->peer, "q", NULL), 0);
	object = find(pair->peer, "q");
	assert_int_equal(evr_tap_open(&tap, pair->peer, &object, EVR_TAP_NEW), -EOPNOTSUPP);
	assert_null(tap.own);
	object = find(pair->peer, "spsc");
	assert_int_equal(evr_tap_open(&tap, pair->peer, &object, (enum evr_tap_from)2), -EINVAL);
	assert_int_equal(evr_tap_open(&tap, pair->peer, &object, EVR_TAP_NEW), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &object), 0);
	assert_int_equal(evr_tap_next(&tap, &got, sizeof(got), &m), -ENOENT);
	evr_tap_close(&tap);
}

/* Each word of each ring turned into nonsense: answers and errors, and not for ever. */
static void tap_hostile_words_do_no_harm(void **state)
{
	static const uint64_t nonsense[] = { 0, UINT64_MAX, 1ULL << 63, 0x0101010101010101, 1 };
	static const char *const names[] = { "spsc", "slots", "bytes", "log", "lossy", "reliable" };
	struct pair *pair = *state;
	struct evr_tap_message m;
	struct evr_object object;
	struct evr_tap tap, fresh;
	uint64_t *words, was, i, k, got[64];

	make_all(pair->peer);
	for (k = 0; k < 6; k++) {
		object = find(pair->peer, names[k]);
		words = evr_peer_at(pair->peer, object.off, object.sz);
		for (i = 0; i < object.sz / 8 * 5; i++) {
			tap = tap_of(pair->peer, names[k], EVR_TAP_OLDEST);
			was = words[i / 5];
			words[i / 5] = nonsense[i % 5];
			evr_tap_next(&tap, got, sizeof(got), &m);
			evr_tap_next(&tap, got, sizeof(got), &m);
			if (!evr_tap_open(&fresh, pair->peer, &object, EVR_TAP_NEW))
				evr_tap_next(&fresh, got, sizeof(got), &m);
			evr_tap_close(&fresh);
			evr_tap_close(&tap);
			words[i / 5] = was;
		}
	}
}

static void tap_of_a_half_is_the_producers(void **state)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .flags = EVR_SEGMENT_ISOLATED,
					       .peer_sz = 256 << 10,
					       .peers_max = 4 };
	struct evr_spsc_options ring = { .struct_sz = sizeof(ring), .capacity = SPAN };
	struct evr_segment *segment;
	struct evr_peer *a, *b, *c;
	struct evr_spsc in, out;
	struct evr_tap tap;
	uint64_t i, got;

	(void)state;
	assert_int_equal(evr_segment_create(&segment, pair_uri(), &options), 0);
	assert_int_equal(evr_peer_attach(&a, segment, NULL), 0);
	assert_int_equal(evr_peer_attach(&b, segment, NULL), 0);
	assert_int_equal(evr_peer_attach(&c, segment, NULL), 0);
	assert_int_equal(evr_spsc_create(a, "r", &ring), 0);
	assert_int_equal(evr_spsc_open(&in, a, "r", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_open(&out, b, "r", EVR_CONSUMER, 0), 0);
	tap = tap_of(c, "r", EVR_TAP_OLDEST);
	for (i = 0; i < 3; i++)
		assert_int_equal(evr_spsc_push(&in, &i, 1), 1);
	assert_int_equal(evr_spsc_pop(&out, &got, 1), 1);
	for (i = 0; i < 3; i++)
		next_is(&tap, i, 0);
	none_next(&tap);
	evr_tap_close(&tap);
	evr_spsc_close(&in);
	evr_spsc_close(&out);
	evr_peer_detach(c);
	evr_peer_detach(b);
	evr_peer_detach(a);
	evr_segment_close(segment);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, pair_open, pair_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(tap_spsc_shows_it_until_half_is_published),
		CASE(tap_slots_overwritten_is_missed_and_counted),
		CASE(tap_bytes_shows_frames_of_all_sizes),
		CASE(tap_log_hole_and_overwritten_are_missed),
		CASE(tap_broadcast_shows_it_until_it_is_overwritten),
		CASE(tap_of_the_wrong_thing_is_refused),
		CASE(tap_hostile_words_do_no_harm),
		CASE(tap_of_a_half_is_the_producers),
	};

	return cmocka_run_group_tests_name("tap", tests, NULL, NULL);
}
