/* SPDX-License-Identifier: MIT */
/*
 * Bells of the local backend, from inside: ringers that die on their way, the socket.
 *
 * Seen to fail: tests/unit/controls, bell-kept.
 */
#include "scene.h"

#include <poll.h>
#include <pthread.h>

#include "local.h"

#define SOON (evr_now_ns() + HANG_MS * 1000000ull)

static struct local_entry *entry_of(struct evr_peer *peer)
{
	return local_entry(peer->segment, peer->self.slot);
}

struct sleeper {
	struct evr_peer *peer;
	int result;
};

static void *sleep_for_bell_5(void *arg)
{
	struct sleeper *sleeper = arg;

	sleeper->result = evr_bell_wait(sleeper->peer, 1 << 5, SOON, NULL);
	return NULL;
}

static bool is_asleep(void *arg)
{
	return evr_a32_load_acquire(&entry_of(arg)->sleepers) == 1;
}

/* The bit is set and nobody wakes: the sleeper finds it at its next look. */
static void bell_whose_ringer_died_before_the_wake_is_found(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct sleeper sleeper = { .peer = attach(segment), .result = 1 };
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, sleep_for_bell_5, &sleeper));
	await(is_asleep, sleeper.peer);
	evr_a64_fetch_or(&entry_of(sleeper.peer)->pending, 1 << 5);
	pthread_join(thread, NULL);
	EQ(sleeper.result, 0);
	EQ(evr_a32_load_relaxed(&entry_of(sleeper.peer)->sleepers), 0);
	evr_peer_detach(sleeper.peer);
	evr_segment_close(segment);
}

/* The same between is_signaled and the datagram, for who polls. */
static void bell_whose_ringer_died_before_the_datagram_is_found(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment);
	struct pollfd ready = { .fd = (int)OK(evr_bell_fd(peer)), .events = POLLIN };
	struct evr_bells bells = { 0 };

	evr_a64_fetch_or(&entry_of(peer)->pending, 1 << 5);
	evr_a32_xchg(&entry_of(peer)->is_signaled, 1);
	while (!bells.bits) {
		EQ(poll(&ready, 1, HANG_MS), 1);
		evr_bell_read(peer, &bells);
	}
	EQ(bells.bits, 1 << 5);
	/* And the next one signals again. */
	EQ(evr_a32_load_relaxed(&entry_of(peer)->is_signaled), 0);
	EQ(evr_bell_ring(peer, evr_peer_self(peer), 1), 0);
	EQ(evr_a32_load_relaxed(&entry_of(peer)->is_signaled), 1);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

/* The bell was taken between the ringer's bits and its datagram. */
static void bell_datagram_that_comes_late_is_cleared_by_the_next_look(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment);
	struct pollfd ready = { .fd = (int)OK(evr_bell_fd(peer)), .events = POLLIN };

	EQ(evr_bell_ring(peer, evr_peer_self(peer), 1), 0);
	EQ(evr_a64_xchg(&entry_of(peer)->pending, 0), 1);
	EQ(poll(&ready, 1, 0), 1);
	EQ(evr_bell_wait(peer, 1, 0, NULL), -ETIMEDOUT);
	EQ(poll(&ready, 1, 0), 0);
	EQ(evr_bell_ring(peer, evr_peer_self(peer), 1), 0);
	EQ(poll(&ready, 1, 0), 1);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void bell_to_who_is_awake_touches_neither_futex_nor_socket(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment);

	EQ(evr_bell_ring(peer, evr_peer_self(peer), 1), 0);
	EQ(evr_a32_load_relaxed(&entry_of(peer)->futex), 0);
	EQ(evr_a32_load_relaxed(&entry_of(peer)->is_signaled), 0);
	EQ(evr_a32_load_relaxed(&local_of(segment)->send_fd), 0);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void bell_of_the_life_before_is_dropped_at_attach(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment), *other = attach(segment);
	struct evr_peer_id id = evr_peer_self(other);

	EQ(evr_bell_ring(peer, id, 0xff), 0);
	evr_peer_detach(other);
	EQ(reaped(peer, id), 0);
	other = attach(segment);
	EQ(evr_peer_self(other).slot, id.slot);
	EQ(evr_bell_wait(other, EVR_BELLS_USER, 0, NULL), -ETIMEDOUT);
	evr_peer_detach(other);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void bell_socket_name_that_is_taken_is_told(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment), *second;
	struct local_peer *own;

	OK(evr_bell_fd(peer));
	/* A second handle that claims the same identity: what a squatter does. */
	second = attach(segment);
	own = second->own;
	second->self = evr_peer_self(peer);
	EQ(evr_bell_fd(second), -EADDRINUSE);
	DETAIL("doorbell of slot 0");
	EQ(own->bell_sock, -1);
	second->self = (struct evr_peer_id){ .slot = 1, .incarnation = 1 };
	OK(evr_bell_fd(second));
	evr_peer_detach(second);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void bell_rang_has_the_slot_of_each_ringer(void **state)
{
	static const uint32_t slots[] = { 0, 63, 64, 127, 128, 255 };
	struct evr_segment_options options = plain_options();
	struct evr_segment *segment;
	struct evr_peer *target, *ringer;
	struct evr_bells bells;
	size_t i;

	options.peers_max = 256;
	segment = segment_of(&options);
	target = attach_slot(segment, 1);
	for (i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
		ringer = attach_slot(segment, slots[i]);
		drop_bells(target);
		EQ(evr_bell_ring(ringer, evr_peer_self(target), 1), 0);
		EQ(evr_bell_read(target, &bells), 0);
		EQ(bells.rang[slots[i] / 64], 1ull << slots[i] % 64);
		evr_peer_detach(ringer);
	}
	evr_peer_detach(target);
	evr_segment_close(segment);
}

int main(void)
{
	static const struct CMUnitTest bell_tests[] = {
		cmocka_unit_test(bell_whose_ringer_died_before_the_wake_is_found),
		cmocka_unit_test(bell_whose_ringer_died_before_the_datagram_is_found),
		cmocka_unit_test(bell_datagram_that_comes_late_is_cleared_by_the_next_look),
		cmocka_unit_test(bell_to_who_is_awake_touches_neither_futex_nor_socket),
		cmocka_unit_test(bell_of_the_life_before_is_dropped_at_attach),
		cmocka_unit_test(bell_socket_name_that_is_taken_is_told),
		cmocka_unit_test(bell_rang_has_the_slot_of_each_ringer),
	};

	return cmocka_run_group_tests(bell_tests, NULL, NULL);
}
