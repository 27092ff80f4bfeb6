/* SPDX-License-Identifier: MIT */
/*
 * Bells on either backend: rung, waited for, read, polled, bound.
 *
 * Seen to fail: tests/unit/controls, bell-any-life.
 */
#include "scene.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/time.h>

#define SOON (evr_now_ns() + HANG_MS * 1000000ull)

static bool is_readable(struct evr_peer *peer)
{
	struct pollfd ready = { .fd = (int)OK(evr_bell_fd(peer)), .events = POLLIN };

	return poll(&ready, 1, 0) == 1 && ready.revents & POLLIN;
}

static void bell_wait_takes_the_bits_of_its_mask_and_leaves_the_others(void **state)
{
	struct pair pair = make_pair();
	struct evr_bells bells;

	EQ(evr_bell_ring(pair.b, pair.a_id, 0x7), 0);
	memset(&bells, 0x5a, sizeof(bells));
	EQ(evr_bell_wait(pair.a, 0x2, SOON, &bells), 0);
	EQ(bells.bits, 0x2);
	EQ(bells.rang[0], 1u << pair.b_id.slot);
	EQ(bells.rang[1] | bells.rang[2] | bells.rang[3], 0);
	EQ(evr_bell_read(pair.a, &bells), 0);
	EQ(bells.bits, 0x5);
	EQ(evr_bell_read(pair.a, &bells), -EAGAIN);
	drop_pair(&pair);
}

static void bell_bits_coalesce_and_are_counted(void **state)
{
	struct pair pair = make_pair();
	struct evr_peer_info before, after;
	struct evr_bells bells;

	OK(evr_peer_info(pair.a, pair.a_id.slot, &before));
	EQ(evr_bell_ring(pair.b, pair.a_id, 1), 0);
	EQ(evr_bell_ring(pair.b, pair.a_id, 1), 0);
	EQ(evr_bell_ring(pair.b, pair.a_id, 3), 0);
	OK(evr_peer_info(pair.a, pair.a_id.slot, &after));
	EQ(after.rung - before.rung, 3);
	EQ(after.suppressed - before.suppressed, 1);
	EQ(evr_bell_read(pair.a, &bells), 0);
	EQ(bells.bits, 3);
	drop_pair(&pair);
}

static void bell_outside_of_the_rules_is_refused(void **state)
{
	struct pair pair = make_pair();
	struct evr_peer_id gone = pair.a_id, none = { .slot = 4, .incarnation = 1 };

	EQ(evr_bell_ring(pair.b, pair.a_id, 0), -EINVAL);
	EQ(evr_bell_ring(pair.b, pair.a_id, 1ull << 63), -EINVAL);
	EQ(evr_bell_ring(pair.b, pair.a_id, ~0ull), -EINVAL);
	EQ(evr_bell_ring(pair.b, none, 1), -EINVAL);
	gone.incarnation++;
	EQ(evr_bell_ring(pair.b, gone, 1), -ESTALE);
	gone.slot = 2;
	gone.incarnation = 0;
	EQ(evr_bell_ring(pair.b, gone, 1), -ESTALE);
	EQ(evr_bell_read(pair.a, NULL), -EAGAIN);
	EQ(evr_bell_ring(pair.b, pair.a_id, EVR_BELLS_USER), 0);
	EQ(evr_bell_read(pair.a, NULL), 0);
	drop_pair(&pair);
}

static void bell_to_a_peer_that_has_left_is_stale(void **state)
{
	struct pair pair = make_pair();

	evr_peer_detach(pair.a);
	EQ(evr_bell_ring(pair.b, pair.a_id, 1), -ESTALE);
	EQ(reaped(pair.b, pair.a_id), 0);
	EQ(evr_bell_ring(pair.b, pair.a_id, 1), -ESTALE);
	pair.a = attach(pair.segment);
	EQ(evr_bell_ring(pair.b, pair.a_id, 1), -ESTALE);
	drop_bells(pair.a);
	EQ(evr_bell_read(pair.a, NULL), -EAGAIN);
	drop_pair(&pair);
}

static void bell_many_are_rung_around_the_one_that_is_stale(void **state)
{
	struct pair pair = make_pair();
	struct evr_bell bells[300];
	struct evr_bells got;
	int i;

	for (i = 0; i < 300; i++)
		bells[i] = (struct evr_bell){
			.to = pair.a_id,
			.bits = 1ull << i % 63,
			.result = 0x5a,
		};
	bells[17].to.incarnation += 5;
	bells[299].bits = 0;
	EQ(evr_bell_ring_many(pair.b, bells, 300), 298);
	for (i = 0; i < 300; i++)
		EQ(bells[i].result, i == 17 ? -ESTALE : i == 299 ? -EINVAL : 0);
	EQ(evr_bell_read(pair.a, &got), 0);
	EQ(got.bits, EVR_BELLS_USER);
	EQ(evr_bell_ring_many(pair.b, NULL, 0), 0);
	drop_pair(&pair);
}

static void bell_rung_to_oneself_arrives(void **state)
{
	struct pair pair = make_pair();
	struct evr_bells bells;

	EQ(evr_bell_ring(pair.a, pair.a_id, 4), 0);
	EQ(evr_bell_wait(pair.a, 4, SOON, &bells), 0);
	EQ(bells.rang[0], 1u << pair.a_id.slot);
	drop_pair(&pair);
}

static void bell_wait_ends_at_its_deadline(void **state)
{
	struct pair pair = make_pair();
	uint64_t deadline = evr_now_ns() + 20000000;

	EQ(evr_bell_wait(pair.a, 1, 0, NULL), -ETIMEDOUT);
	EQ(evr_bell_wait(pair.a, 1, 1, NULL), -ETIMEDOUT);
	EQ(evr_bell_wait(pair.a, 1, deadline, NULL), -ETIMEDOUT);
	CHECK(evr_now_ns() >= deadline);
	EQ(evr_bell_wait(pair.a, 0, deadline, NULL), -EINVAL);
	EQ(evr_bell_ring(pair.b, pair.a_id, 1), 0);
	EQ(evr_bell_wait(pair.a, 1, 0, NULL), 0);
	drop_pair(&pair);
}

static void ring_when_told(struct child *child, void *arg)
{
	struct evr_segment *segment = arg;
	struct evr_peer *peer = attach(segment);
	struct evr_peer_id to = { .slot = (uint32_t)child_hear(child), .incarnation = 1 };
	uint64_t bit;

	child_say(child, 0);
	while ((bit = child_hear(child)) < 64) {
		*(uint64_t *)evr_peer_at(peer, BLOCK, 8) = bit;
		EQ(evr_bell_ring(peer, to, 1ull << bit), 0);
	}
	evr_peer_detach(peer);
}

static void bell_of_another_process_wakes_and_publishes(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment);
	struct evr_bells bells;
	struct child child;
	uint64_t bit;

	EQ(evr_peer_self(peer).incarnation, 1);
	child_start(&child, ring_when_told, segment);
	child_say(&child, evr_peer_self(peer).slot);
	child_hear(&child);
	for (bit = 0; bit < 63; bit++) {
		child_say(&child, bit);
		EQ(evr_bell_wait(peer, EVR_BELLS_USER, SOON, &bells), 0);
		EQ(bells.bits, 1ull << bit);
		EQ(bells.rang[0], 2);
		EQ(*(uint64_t *)evr_peer_at(peer, BLOCK, 8), bit);
	}
	child_say(&child, 64);
	child_join(&child);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void caught(int sig)
{
}

static void bell_wait_is_interrupted_by_a_signal(void **state)
{
	struct pair pair = make_pair();
	struct sigaction action = { .sa_handler = caught }, old;
	struct itimerval each = { { 0, 20000 }, { 0, 20000 } }, none = { { 0, 0 }, { 0, 0 } };

	sigaction(SIGALRM, &action, &old);
	setitimer(ITIMER_REAL, &each, NULL);
	EQ(evr_bell_wait(pair.a, 1, SOON, NULL), -EINTR);
	setitimer(ITIMER_REAL, &none, NULL);
	sigaction(SIGALRM, &old, NULL);
	drop_pair(&pair);
}

static void bell_fd_is_readable_while_a_bell_is_pending(void **state)
{
	struct pair pair = make_pair();
	struct evr_bells bells;
	int fd = evr_bell_fd(pair.a);

	EQ(evr_bell_fd(pair.a), fd);
	EQ(is_readable(pair.a), false);
	EQ(evr_bell_ring(pair.b, pair.a_id, 1), 0);
	EQ(is_readable(pair.a), true);
	EQ(is_readable(pair.a), true);
	EQ(evr_bell_ring(pair.b, pair.a_id, 2), 0);
	EQ(evr_bell_wait(pair.a, 1, SOON, &bells), 0);
	EQ(is_readable(pair.a), true);
	EQ(evr_bell_wait(pair.a, 2, SOON, &bells), 0);
	EQ(is_readable(pair.a), false);
	EQ(evr_bell_ring(pair.b, pair.a_id, 4), 0);
	EQ(evr_bell_read(pair.a, &bells), 0);
	EQ(is_readable(pair.a), false);
	drop_pair(&pair);
}

static void bell_fd_made_late_shows_what_is_pending(void **state)
{
	struct pair pair = make_pair();

	EQ(evr_bell_ring(pair.b, pair.a_id, 1), 0);
	EQ(is_readable(pair.a), true);
	EQ(evr_bell_read(pair.a, NULL), 0);
	EQ(is_readable(pair.a), false);
	drop_pair(&pair);
}

static void bell_fd_wakes_a_poller(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment);
	struct pollfd ready = { .fd = evr_bell_fd(peer), .events = POLLIN };
	struct evr_bells bells = { 0 };
	struct child child;
	uint64_t bit;

	child_start(&child, ring_when_told, segment);
	child_say(&child, evr_peer_self(peer).slot);
	child_hear(&child);
	drop_bells(peer);
	for (bit = 0; bit < 40; bit++) {
		child_say(&child, bit);
		bells.bits = 0;
		while (!bells.bits) {
			EQ(poll(&ready, 1, HANG_MS), 1);
			evr_bell_read(peer, &bells);
		}
		EQ(bells.bits, 1ull << bit);
	}
	child_say(&child, 64);
	child_join(&child);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void bell_bound_eventfd_is_signalled_or_refused(void **state)
{
	struct pair pair = make_pair();
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	uint64_t count = 0;

	if (!on_device()) {
		EQ(evr_bell_bind(pair.a, fd), -EOPNOTSUPP);
		DETAIL("evr_bell_fd");
		goto out;
	}
	EQ(evr_bell_bind(pair.a, fd), 0);
	EQ(evr_bell_ring(pair.b, pair.a_id, 1), 0);
	EQ(evr_bell_ring(pair.b, pair.a_id, 1), 0);
	EQ(read(fd, &count, sizeof(count)), sizeof(count));
	EQ(count, 1);
	EQ(evr_bell_bind(pair.a, -1), 0);
	EQ(evr_bell_read(pair.a, NULL), 0);
	EQ(evr_bell_ring(pair.b, pair.a_id, 1), 0);
	EQ(read(fd, &count, sizeof(count)), -1);
out:
	EQ(evr_bell_bind(pair.a, -2), -EBADF);
	close(fd);
	drop_pair(&pair);
}

static void bell_claims_are_62_different_ones(void **state)
{
	struct pair pair = make_pair();
	uint64_t seen = 0;
	int i, bell;

	for (i = 0; i < EVR_BELLS_CLAIM; i++) {
		bell = (int)OK(evr_bell_claim(pair.a));
		CHECK(bell < EVR_BELLS_CLAIM && !(seen >> bell & 1));
		seen |= 1ull << bell;
	}
	EQ(evr_bell_claim(pair.a), -ENOSPC);
	EQ(evr_bell_claim(pair.b), 0);
	evr_bell_unclaim(pair.a, 17);
	evr_bell_unclaim(pair.a, -1);
	evr_bell_unclaim(pair.a, 62);
	EQ(evr_bell_claim(pair.a), 17);
	EQ(evr_bell_claim(pair.a), -ENOSPC);
	drop_pair(&pair);
}

struct waiting {
	struct evr_peer *peer;
	uint64_t mask;
	uint32_t rounds;
	struct evr_a32 got;
};

static void *wait_often(void *arg)
{
	struct waiting *waiting = arg;
	struct evr_bells bells;
	uint32_t i;

	for (i = 0; i < waiting->rounds; i++) {
		if (evr_bell_wait(waiting->peer, waiting->mask, SOON, &bells) ||
		    bells.bits != waiting->mask)
			return arg;
		evr_a32_store_release(&waiting->got, i + 1);
	}
	return NULL;
}

static void bell_waiters_of_one_peer_do_not_take_each_others(void **state)
{
	struct pair pair = make_pair();
	struct waiting waiting[3];
	pthread_t threads[3];
	void *failed;
	uint32_t i, round;

	for (i = 0; i < 3; i++) {
		waiting[i] = (struct waiting){
			.peer = pair.a,
			.mask = 1ull << (i * 31), /* 0 and 62 share a futex bit with others */
			.rounds = 2000,
		};
		CHECK(!pthread_create(&threads[i], NULL, wait_often, &waiting[i]));
	}
	for (round = 0; round < 2000; round++)
		for (i = 0; i < 3; i++) {
			EQ(evr_bell_ring(pair.b, pair.a_id, waiting[i].mask), 0);
			while (evr_a32_load_acquire(&waiting[i].got) != round + 1)
				sched_yield();
		}
	for (i = 0; i < 3; i++) {
		pthread_join(threads[i], &failed);
		CHECK(!failed);
	}
	drop_pair(&pair);
}

int main(void)
{
	static const struct CMUnitTest bell_tests[] = {
		cmocka_unit_test(bell_wait_takes_the_bits_of_its_mask_and_leaves_the_others),
		cmocka_unit_test(bell_bits_coalesce_and_are_counted),
		cmocka_unit_test(bell_outside_of_the_rules_is_refused),
		cmocka_unit_test(bell_to_a_peer_that_has_left_is_stale),
		cmocka_unit_test(bell_many_are_rung_around_the_one_that_is_stale),
		cmocka_unit_test(bell_rung_to_oneself_arrives),
		cmocka_unit_test(bell_wait_ends_at_its_deadline),
		cmocka_unit_test(bell_of_another_process_wakes_and_publishes),
		cmocka_unit_test(bell_wait_is_interrupted_by_a_signal),
		cmocka_unit_test(bell_fd_is_readable_while_a_bell_is_pending),
		cmocka_unit_test(bell_fd_made_late_shows_what_is_pending),
		cmocka_unit_test(bell_fd_wakes_a_poller),
		cmocka_unit_test(bell_bound_eventfd_is_signalled_or_refused),
		cmocka_unit_test(bell_claims_are_62_different_ones),
		cmocka_unit_test(bell_waiters_of_one_peer_do_not_take_each_others),
	};

	return run_suite(bell_tests);
}
