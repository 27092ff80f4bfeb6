// SPDX-License-Identifier: MIT
/*
 * Many peers die: all at once, again and again, while others attach, ring and reap.
 * Every death is counted once, every incarnation follows the one before, and nothing
 * is left. Also prints how fast a death is seen, compared with poll of its pidfd.
 *
 * Seen to fail: controls/dead-slot-free, controls/mapping-kept.
 */

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "victim.h"
#include "watch.h"

#define CROWD 12
#define STORM_ROUNDS 60

static int create_crowded(void)
{
	struct ev_shape shape = {
		.shared_size = EV_BLOCK,
		.peer_size = EV_PAGE,
		.peers_max = CROWD + 2,
	};

	return ev_create(&shape);
}

/* Wait until all of them are dead, for the bell may come once for several deaths. */
static void await_dead(struct watch *w, const struct victim *v, int nr)
{
	int i;

	for (i = 0; i < nr; i++) {
		while (ev_state(w->status, v[i].peer.slot) != EVERING_PEER_DEAD) {
			EV_CHECK(ev_state(w->status, v[i].peer.slot) != EVERING_PEER_FREE);
			EV_CHECK(await_events(w->peer.fd, POLLPRI) & POLLPRI);
			take_bells(w->peer.fd);
		}
		EV_EQ(ev_status_entry(w->status, v[i].peer.slot)->exit_reason, EVERING_EXIT_EXIT);
		EV_EQ(ev_status_entry(w->status, v[i].peer.slot)->exit_status, SIGKILL);
	}
}

static void storm_of_all_at_once_counts_each_death(void **state)
{
	struct evering_info before = ev_info();
	struct victim v[CROWD];
	struct role role = { .unmapped = false };
	struct watch w;
	int i;

	(void)state;
	watch_start(&w, create_crowded());
	role.seg = w.seg;
	for (i = 0; i < CROWD; i++) {
		role.unmapped = i % 3 == 0;
		victim_start(&v[i], &role);
	}
	watch_settle(&w);
	for (i = 0; i < CROWD; i++)
		EV_EQ(kill(v[i].link.pid, SIGKILL), 0);
	await_dead(&w, v, CROWD);
	for (i = 0; i < CROWD; i++)
		victim_expect_end(&v[i], SIGKILL);
	EV_EQ(watch_generation(&w) - w.generation, CROWD * WATCH_DEATH_CHANGES);
	watch_settle(&w);
	for (i = 0; i < CROWD; i++) {
		victim_bury(&v[i]);
		watch_reap(&w, &v[i].peer);
	}
	watch_stop(&w);
	close(w.seg);
	await_totals(&before);
}

/* All die in one instant, with nobody left to reap; the next comer does it. */
static void storm_without_survivor_leaves_nothing(void **state)
{
	struct evering_info before = ev_info();
	struct role role = { .seg = create_crowded() };
	struct victim v[CROWD];
	struct ev_peer next;
	int i, round;

	(void)state;
	for (round = 0; round < 5; round++) {
		for (i = 0; i < CROWD; i++)
			victim_start(&v[i], &role);
		for (i = 0; i < CROWD; i++)
			EV_EQ(kill(v[i].link.pid, SIGKILL), 0);
		for (i = 0; i < CROWD; i++) {
			victim_expect_end(&v[i], SIGKILL);
			victim_bury(&v[i]);
		}
		EV_EQ(ev_segment_info(role.seg).peers, 0);
		next = ev_attach(role.seg);
		for (i = 0; i < CROWD + 2; i++) {
			struct evering_peer_entry e = peer_entry(next.fd, (uint32_t)i);

			if (e.state == EVERING_PEER_DEAD)
				EV_EQ(ev_reaped(next.fd, e.slot, e.incarnation), 0);
			if (i < CROWD)
				EV_EQ(e.incarnation, round + 1);
		}
		EV_EQ(ev_detach(next.fd), 0);
		close(next.fd);
	}
	close(role.seg);
	await_totals(&before);
}

static void wait_for_bells(struct ev_link *link, struct role *role)
{
	struct evering_bells bells;

	(void)link;
	while (read(role->peer.fd, &bells, sizeof(bells)) > 0)
		;
	_exit(1);
}

/* Start one, ring everybody, kill one, reap one: the numbers stay exact. */
static void storm_of_attach_ring_kill_reap_is_exact(void **state)
{
	struct evering_info before = ev_info();
	struct victim v[CROWD];
	struct role role = { .act = wait_for_bells };
	uint64_t incarnation[CROWD + 2] = { 0 };
	struct watch w;
	int i, round;

	(void)state;
	watch_start(&w, create_crowded());
	role.seg = w.seg;
	for (i = 0; i < CROWD / 2; i++)
		victim_start(&v[i], &role);
	for (round = 0; round < STORM_ROUNDS; round++) {
		struct victim *one = &v[round % (CROWD / 2)];

		for (i = 0; i < CROWD / 2; i++)
			EV_EQ(ev_ring(w.peer.fd, v[i].peer.slot, v[i].peer.incarnation,
				      1ULL << (round % 63)),
			      0);
		watch_settle(&w);
		victim_kill(one);
		watch_expect_death(&w, &one->peer, EVERING_EXIT_EXIT, SIGKILL);
		victim_bury(one);
		EV_EQ(ev_reaped(w.peer.fd, one->peer.slot, one->peer.incarnation), 0);
		incarnation[one->peer.slot] = one->peer.incarnation;
		role.unmapped = round & 1;
		victim_start(one, &role);
		if (incarnation[one->peer.slot])
			EV_EQ(one->peer.incarnation, incarnation[one->peer.slot] + 1);
	}
	for (i = 0; i < CROWD / 2; i++) {
		victim_kill(&v[i]);
		victim_bury(&v[i]);
	}
	watch_stop(&w);
	close(w.seg);
	await_totals(&before);
}

/* --- how fast ----------------------------------------------------------------------- */

struct pidfd_poller {
	int pidfd;
	uint64_t seen_ns;
};

static void *poll_pidfd(void *arg)
{
	struct pidfd_poller *p = arg;
	struct pollfd pfd = { .fd = p->pidfd, .events = POLLIN };

	poll(&pfd, 1, EV_HANG_MS);
	p->seen_ns = ev_now_ns();
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

#define NOTICES 21

/* Prints only: a busy machine makes any time possible. */
static void storm_notice_is_compared_with_pidfd(void **state)
{
	struct role role = { .unmapped = false };
	double ratio[NOTICES], notice[NOTICES];
	struct watch w;
	int i;

	(void)state;
	watch_start(&w, ev_create_plain());
	role.seg = w.seg;
	for (i = 0; i < NOTICES; i++) {
		struct pidfd_poller p;
		struct victim v;
		pthread_t thread;
		uint64_t killed_ns, seen_ns;

		victim_start(&v, &role);
		watch_settle(&w);
		p.pidfd = (int)syscall(SYS_pidfd_open, v.link.pid, 0);
		EV_CHECK(p.pidfd >= 0);
		EV_EQ(pthread_create(&thread, NULL, poll_pidfd, &p), 0);
		usleep(5000);
		killed_ns = ev_now_ns();
		EV_EQ(kill(v.link.pid, SIGKILL), 0);
		await_events(w.peer.fd, POLLPRI);
		seen_ns = ev_now_ns();
		EV_EQ(pthread_join(thread, NULL), 0);
		close(p.pidfd);
		victim_expect_end(&v, SIGKILL);
		victim_bury(&v);
		watch_expect_death(&w, &v.peer, EVERING_EXIT_EXIT, SIGKILL);
		EV_EQ(ev_reaped(w.peer.fd, v.peer.slot, v.peer.incarnation), 0);
		notice[i] = (double)(seen_ns - killed_ns) / 1e6;
		ratio[i] = (double)(seen_ns - killed_ns) / (double)(p.seen_ns - killed_ns);
	}
	qsort(ratio, NOTICES, sizeof(ratio[0]), by_value);
	qsort(notice, NOTICES, sizeof(notice[0]), by_value);
	print_message("# kill to bell: median %.2f ms (%.2f .. %.2f); bell/pidfd: median %.2f "
		      "(%.2f .. %.2f), %d kills\n",
		      notice[NOTICES / 2], notice[0], notice[NOTICES - 1], ratio[NOTICES / 2],
		      ratio[0], ratio[NOTICES - 1], NOTICES);
	watch_stop(&w);
	close(w.seg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(storm_of_all_at_once_counts_each_death),
		cmocka_unit_test(storm_without_survivor_leaves_nothing),
		cmocka_unit_test(storm_of_attach_ring_kill_reap_is_exact),
		cmocka_unit_test(storm_notice_is_compared_with_pidfd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
