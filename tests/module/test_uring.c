// SPDX-License-Identifier: MIT
/*
 * The commands of a peer fd in io_uring, in rings that run task work in different
 * ways: RING inline, WAIT parked until a bell, a cancel, the peer's end or the end of
 * the ring; and the refusal of WAIT where the kernel could not cancel it (before 6.7).
 *
 * Seen to fail: controls/cookie-ignored, controls/cancel-misses-picked (the cancel found
 * none, and the wait was parked for ever), controls/waits-unbounded.
 */

#include <poll.h>
#include <sys/wait.h>

#include "scene.h"
#include "uring_cmd.h"
#include "victim.h"

/* A closed ring lets go of its files later: what a test finds may be another's. */
static struct evering_info at_start;

static bool can_wait(void)
{
	return ev_has(EVERING_FEAT_URING_WAIT);
}

static void need_wait(void)
{
	if (can_wait())
		return;
	print_message("# this kernel cannot cancel a parked uring_cmd\n");
	skip();
}

/*
 * Close a ring that may have parked waits. A DEFER_TASKRUN ring that is closed with
 * some makes io_uring itself complain on a lockdep kernel (6.12), so cancel first.
 */
static void finish(struct io_uring *ring, const struct uring_kind *kind, int fd, uint64_t cookie)
{
	if (kind->flags == uring_kinds[1].flags && fd >= 0) {
		uring_put_cancel(ring, fd, cookie, 9999);
		EV_CHECK(uring_result(ring, 9999) >= 0);
	}
	io_uring_queue_exit(ring);
}

/* Run body in a ring of each kind. */
static void each_kind(struct scene *s,
		      void (*body)(struct scene *, struct io_uring *, const struct uring_kind *))
{
	struct io_uring ring;
	unsigned int i, done = 0;

	for (i = 0; i < uring_kinds_nr; i++) {
		if (!uring_start(&ring, &uring_kinds[i]))
			continue;
		body(s, &ring, &uring_kinds[i]);
		done++;
	}
	EV_CHECK(done > 0);
}

static void ring_inline(struct scene *s, struct io_uring *ring, const struct uring_kind *kind)
{
	struct ev_peer *to = &s->peer[RUNG];
	struct evering_bell bell[] = {
		{ .slot = to->slot, .incarnation = to->incarnation, .bits = 1 },
		{ .slot = to->slot, .incarnation = to->incarnation + 7, .bits = 2 },
		{ .slot = to->slot, .incarnation = to->incarnation, .bits = 1ULL << 63 },
		{ .slot = to->slot, .incarnation = to->incarnation, .bits = 8 },
	};
	int i;

	for (i = 0; i < 4; i++)
		poison(&bell[i].result, sizeof(bell[i].result));
	uring_put_ring(ring, s->peer[RINGS].fd, bell, 4, 77);
	EV_EQ(uring_result(ring, 77), 2);
	EV_EQ(bell[0].result, 0);
	EV_EQ(bell[1].result, -ESTALE);
	EV_EQ(bell[2].result, -EINVAL);
	EV_EQ(bell[3].result, 0);
	EV_EQ(take_bells(to->fd).bits, 9);
	uring_put_ring(ring, s->peer[RINGS].fd, NULL, 0, 78);
	EV_EQ(uring_result(ring, 78), 0);
	finish(ring, kind, -1, 0);
}

static void uring_ring_is_done_at_once(void **state)
{
	each_kind(*state, ring_inline);
}

static void refuse(struct scene *s, struct io_uring *ring, const struct uring_kind *kind)
{
	struct evering_uring_ring cmd = { .bells = 16, .nr = 1 };
	struct evering_uring_cancel cancel = { .flags = 1 };
	static struct evering_bell bell[EVERING_RING_MAX + 1];
	int fd = s->peer[RINGS].fd;

	uring_put(ring, fd, EVERING_URING_BELL_RING, &cmd, 1);
	EV_EQ(uring_result(ring, 1), -EFAULT);
	uring_put_ring(ring, fd, bell, EVERING_RING_MAX + 1, 2);
	EV_EQ(uring_result(ring, 2), -EINVAL);
	cmd.nr = 0;
	cmd.flags = 1;
	uring_put(ring, fd, EVERING_URING_BELL_RING, &cmd, 3);
	EV_EQ(uring_result(ring, 3), -EINVAL);
	uring_put(ring, fd, EVERING_URING_CANCEL, &cancel, 4);
	EV_EQ(uring_result(ring, 4), can_wait() ? -EINVAL : -EOPNOTSUPP);
	uring_put(ring, fd, EVERING_IOC_BELL_RING, &cmd, 5);
	EV_EQ(uring_result(ring, 5), -ENOTTY);
	uring_put(ring, fd, 0, &cmd, 6);
	EV_EQ(uring_result(ring, 6), -ENOTTY);
	finish(ring, kind, -1, 0);
}

static void uring_commands_refuse_what_they_do_not_know(void **state)
{
	each_kind(*state, refuse);
}

static void refuse_dead(struct scene *s, struct io_uring *ring, const struct uring_kind *kind)
{
	struct ev_peer gone = ev_attach(s->seg);
	struct evering_bell_wait wait;
	struct evering_bell bell = { .slot = 0 };

	EV_EQ(ev_detach(gone.fd), 0);
	uring_put_ring(ring, gone.fd, &bell, 1, 1);
	EV_EQ(uring_result(ring, 1), -EOWNERDEAD);
	if (can_wait()) {
		uring_put_wait(ring, gone.fd, &wait, 1, 2);
		EV_EQ(uring_result(ring, 2), -EOWNERDEAD);
		EV_CHECK(is_poisoned(&wait.bells, sizeof(wait.bells)));
	}
	close(gone.fd);
	EV_EQ(ev_reaped(s->peer[RINGS].fd, gone.slot, gone.incarnation), 0);
	finish(ring, kind, -1, 0);
}

static void uring_commands_on_dead_peer_are_refused(void **state)
{
	each_kind(*state, refuse_dead);
}

static void uring_wait_is_refused_where_not_cancelable(void **state)
{
	struct scene *s = *state;
	struct evering_bell_wait wait;
	struct io_uring ring;

	if (can_wait())
		skip();
	EV_EQ(scene_ring(s, 1), 0);
	EV_CHECK(uring_start(&ring, &uring_kinds[0]));
	uring_put_wait(&ring, s->peer[RUNG].fd, &wait, 1, 1);
	EV_EQ(uring_result(&ring, 1), -EOPNOTSUPP);
	EV_EQ(take_bells(s->peer[RUNG].fd).bits, 1);
	io_uring_queue_exit(&ring);
}

static void wait_bad(struct scene *s, struct io_uring *ring, const struct uring_kind *kind)
{
	struct evering_uring_wait cmd = { .wait = 16, .cookie = 1 };
	struct evering_bell_wait wait;
	int fd = s->peer[RUNG].fd;

	uring_put(ring, fd, EVERING_URING_BELL_WAIT, &cmd, 1);
	EV_EQ(uring_result(ring, 1), -EFAULT);
	uring_put_wait(ring, fd, &wait, 0, 2);
	EV_EQ(uring_result(ring, 2), -EINVAL);
	uring_put_wait(ring, fd, &wait, 1, 3);
	wait.deadline_ns = 1;
	EV_EQ(uring_result(ring, 3), -EINVAL);
	uring_put_wait(ring, fd, &wait, 1, 4);
	wait.flags = 1;
	EV_EQ(uring_result(ring, 4), -EINVAL);
	finish(ring, kind, -1, 0);
}

static void uring_wait_with_bad_argument_is_refused(void **state)
{
	need_wait();
	each_kind(*state, wait_bad);
}

static void wait_parked(struct scene *s, struct io_uring *ring, const struct uring_kind *kind)
{
	struct evering_bell_wait wait[3];
	int fd = s->peer[RUNG].fd;
	int i;

	EV_EQ(scene_ring(s, 16), 0);
	for (i = 0; i < 3; i++)
		uring_put_wait(ring, fd, &wait[i], 1ULL << i, (uint64_t)i);
	EV_EQ(uring_is_done(ring), false);
	EV_EQ(scene_ring(s, 4), 0);
	EV_EQ(uring_result(ring, 2), 0);
	EV_EQ(wait[2].bells.bits, 4);
	EV_EQ(wait[2].bells.rang[0], 1ULL << s->peer[RINGS].slot);
	usleep(10000);
	EV_EQ(uring_is_done(ring), false);
	EV_EQ(scene_ring(s, 3), 0);
	EV_EQ(uring_result(ring, 0), 0);
	EV_EQ(uring_result(ring, 1), 0);
	EV_EQ(wait[0].bells.bits, 1);
	EV_EQ(wait[1].bells.bits, 2);
	EV_EQ(take_bells(fd).bits, 16);
	finish(ring, kind, fd, 0);
}

static void uring_wait_parked_ends_by_its_bell(void **state)
{
	need_wait();
	each_kind(*state, wait_parked);
}

static void wait_pending(struct scene *s, struct io_uring *ring, const struct uring_kind *kind)
{
	struct evering_bell_wait wait;

	EV_EQ(scene_ring(s, 6), 0);
	uring_put_wait(ring, s->peer[RUNG].fd, &wait, 3, 1);
	EV_EQ(uring_result(ring, 1), 0);
	EV_EQ(wait.bells.bits, 2);
	EV_EQ(take_bells(s->peer[RUNG].fd).bits, 4);
	finish(ring, kind, -1, 0);
}

static void uring_wait_takes_what_is_pending(void **state)
{
	need_wait();
	each_kind(*state, wait_pending);
}

static void cancel(struct scene *s, struct io_uring *ring, const struct uring_kind *kind)
{
	struct evering_bell_wait wait[4];
	int fd = s->peer[RUNG].fd;

	uring_put_cancel(ring, fd, 5, 100);
	EV_EQ(uring_result(ring, 100), 0);
	uring_put_wait(ring, fd, &wait[0], 1, 5);
	uring_put_wait(ring, fd, &wait[1], 1, 5);
	uring_put_wait(ring, fd, &wait[2], 1, 6);
	uring_put_wait(ring, s->peer[THIRD].fd, &wait[3], 1, 5);
	EV_EQ(uring_is_done(ring), false);
	uring_put_cancel(ring, fd, 5, 101);
	EV_EQ(uring_result(ring, 101), 2);
	EV_EQ(uring_result(ring, 5), -ECANCELED);
	EV_EQ(uring_result(ring, 5), -ECANCELED);
	EV_CHECK(is_poisoned(&wait[0].bells, sizeof(wait[0].bells)));
	EV_EQ(uring_is_done(ring), false);
	EV_EQ(scene_ring(s, 1), 0);
	EV_EQ(uring_result(ring, 6), 0);
	uring_put_cancel(ring, s->peer[THIRD].fd, 5, 102);
	EV_EQ(uring_result(ring, 102), 1);
	EV_EQ(uring_result(ring, 5), -ECANCELED);
	finish(ring, kind, fd, 5);
}

static void uring_cancel_ends_the_waits_with_its_cookie(void **state)
{
	need_wait();
	each_kind(*state, cancel);
}

/*
 * A ring of DEFER_TASKRUN does not run its task work until it is asked. So the wait has
 * been picked by a ring and is on its way when its bell is read away: it will find none,
 * and would park again. A cancel, by another ring, must meet it there.
 */
static void uring_cancel_meets_a_wait_on_its_way(void **state)
{
	struct scene *s = *state;
	struct evering_bell_wait wait;
	struct io_uring own, other;
	int fd = s->peer[RUNG].fd;

	need_wait();
	if (!uring_start(&own, &uring_kinds[1]))
		skip();
	EV_CHECK(uring_start(&other, &uring_kinds[0]));
	uring_put_wait(&own, fd, &wait, 1, 5);
	EV_EQ(uring_is_done(&own), false);
	EV_EQ(scene_ring(s, 1), 0);
	EV_EQ(take_bells(fd).bits, 1);
	uring_put_cancel(&other, fd, 5, 100);
	EV_EQ(uring_result(&other, 100), 1);
	EV_EQ(uring_result(&own, 5), -ECANCELED);
	EV_CHECK(is_poisoned(&wait.bells, sizeof(wait.bells)));
	/* It is gone for good. */
	uring_put_cancel(&other, fd, 5, 101);
	EV_EQ(uring_result(&other, 101), 0);
	EV_EQ(scene_ring(s, 1), 0);
	EV_EQ(uring_is_done(&own), false);
	EV_EQ(take_bells(fd).bits, 1);
	io_uring_queue_exit(&other);
	io_uring_queue_exit(&own);
}

#define WAITS_MAX 1024 /* as docs/abi.md says */

/* Parks this many more; the result of the last one if it completes, or 1 while it is parked. */
static int park_waits(struct io_uring *ring, int fd, struct evering_bell_wait *wait,
		      unsigned int nr)
{
	struct io_uring_cqe *cqe;
	int res = 1;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (!io_uring_sq_space_left(ring))
			EV_CHECK(io_uring_submit(ring) > 0);
		uring_put_wait(ring, fd, &wait[i], EVERING_BELLS_USER, 5);
	}
	if (!uring_is_done(ring))
		return 1;
	EV_EQ(io_uring_peek_cqe(ring, &cqe), 0);
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

static void uring_waits_of_a_peer_are_bounded(void **state)
{
	static struct evering_bell_wait wait[WAITS_MAX];
	struct io_uring_params params = { .flags = IORING_SETUP_CQSIZE, .cq_entries = 4096 };
	struct scene *s = *state;
	struct evering_bell_wait late, others;
	struct io_uring ring;
	int fd = s->peer[RUNG].fd;
	unsigned int i;

	need_wait();
	EV_EQ(io_uring_queue_init_params(64, &ring, &params), 0);
	EV_EQ(park_waits(&ring, fd, wait, WAITS_MAX - 1), 1);
	EV_EQ(park_waits(&ring, fd, &wait[WAITS_MAX - 1], 1), 1);
	EV_EQ(park_waits(&ring, fd, &late, 1), -EBUSY);
	EV_CHECK(is_poisoned(&late.bells, sizeof(late.bells)));
	/* The bound is each peer's own, and one that ends makes room. */
	EV_EQ(park_waits(&ring, s->peer[THIRD].fd, &others, 1), 1);
	EV_EQ(scene_ring(s, 1), 0);
	EV_EQ(uring_result(&ring, 5), 0);
	EV_EQ(park_waits(&ring, fd, &late, 1), 1);
	EV_EQ(park_waits(&ring, fd, &wait[0], 1), -EBUSY);
	uring_put_cancel(&ring, fd, 5, 100);
	EV_EQ(uring_result(&ring, 100), WAITS_MAX);
	for (i = 0; i < WAITS_MAX; i++)
		EV_EQ(uring_result(&ring, 5), -ECANCELED);
	uring_put_cancel(&ring, s->peer[THIRD].fd, 5, 101);
	EV_EQ(uring_result(&ring, 101), 1);
	io_uring_queue_exit(&ring);
}

static void wait_detached(struct scene *s, struct io_uring *ring, const struct uring_kind *kind)
{
	struct ev_peer gone = ev_attach(s->seg);
	struct evering_bell_wait wait[2];

	take_bells(s->peer[RUNG].fd);
	uring_put_wait(ring, gone.fd, &wait[0], EVERING_BELLS_USER, 1);
	uring_put_wait(ring, gone.fd, &wait[1], EVERING_BELLS_USER, 2);
	EV_EQ(uring_is_done(ring), false);
	EV_EQ(ev_detach(gone.fd), 0);
	EV_EQ(uring_result(ring, 1), -EOWNERDEAD);
	EV_EQ(uring_result(ring, 2), -EOWNERDEAD);
	EV_CHECK(is_poisoned(&wait[0].bells, sizeof(wait[0].bells)));
	close(gone.fd);
	EV_EQ(ev_reaped(s->peer[RINGS].fd, gone.slot, gone.incarnation), 0);
	finish(ring, kind, -1, 0);
}

static void uring_wait_parked_ends_by_detach(void **state)
{
	need_wait();
	each_kind(*state, wait_detached);
}

/* A parked wait holds the file: close of the fd is not the end of the peer. */
static void exit_parked(struct scene *s, struct io_uring *ring, const struct uring_kind *kind)
{
	struct ev_peer peer = ev_attach(s->seg);
	struct evering_bell_wait wait[3];
	struct watch w;
	int i;

	if (kind->flags == uring_kinds[1].flags && ev_debug_kernel()) {
		io_uring_queue_exit(ring);
		close(peer.fd);
		return;
	}
	watch_start(&w, s->seg);
	for (i = 0; i < 3; i++)
		uring_put_wait(ring, peer.fd, &wait[i], EVERING_BELLS_USER, 1);
	EV_EQ(uring_is_done(ring), false);
	watch_settle(&w);
	close(peer.fd);
	watch_expect_alive(&w, &peer);
	io_uring_queue_exit(ring);
	watch_expect_death(&w, &peer, EVERING_EXIT_CLOSE, 0);
	watch_stop(&w);
}

static void uring_exit_with_parked_waits_closes_the_peer(void **state)
{
	struct uring_kind const *kind = uring_kinds;
	struct io_uring ring;
	unsigned int i;

	(void)state;
	need_wait();
	for (i = 0; i < uring_kinds_nr; i++, kind++) {
		struct scene s = { .seg = ev_create_plain() };

		if (uring_start(&ring, kind))
			exit_parked(&s, &ring, kind);
		close(s.seg);
	}
	await_totals(&at_start);
}

/* --- the process dies with its ring ---------------------------------------------------- */

static struct evering_bell_wait victims_wait[4];

static void park(struct ev_link *link, struct role *role)
{
	static struct io_uring ring;
	int i;

	(void)link;
	EV_CHECK(uring_start(&ring, &uring_kinds[role->arg]));
	for (i = 0; i < 4; i++)
		uring_put_wait(&ring, role->peer.fd, &victims_wait[i], EVERING_BELLS_USER, 1);
	EV_EQ(uring_is_done(&ring), false);
}

static void park_poll(struct ev_link *link, struct role *role)
{
	static struct io_uring ring;
	struct io_uring_sqe *sqe;

	(void)link;
	EV_CHECK(uring_start(&ring, &uring_kinds[role->arg]));
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_poll_multishot(sqe, role->peer.fd, POLLIN);
	EV_EQ(io_uring_submit(&ring), 1);
	EV_EQ(io_uring_register_files(&ring, &role->peer.fd, 1), 0);
}

static void expect_death_with_ring(void (*prepare)(struct ev_link *, struct role *))
{
	struct watch w;
	unsigned int i;

	for (i = 0; i < uring_kinds_nr * 2; i++) {
		struct role role = { .prepare = prepare, .arg = i / 2, .unmapped = i & 1 };
		struct victim v;

		watch_start(&w, ev_create_plain());
		role.seg = w.seg;
		victim_start(&v, &role);
		watch_settle(&w);
		victim_kill(&v);
		watch_expect_death(&w, &v.peer, EVERING_EXIT_EXIT, SIGKILL);
		victim_bury(&v);
		usleep(50000);
		watch_expect_quiet(&w);
		watch_reap(&w, &v.peer);
		watch_stop(&w);
		close(w.seg);
	}
}

static void uring_death_with_parked_waits_is_seen_once(void **state)
{
	(void)state;
	need_wait();
	expect_death_with_ring(park);
	await_totals(&at_start);
}

static void uring_death_with_multishot_poll_and_registered_file(void **state)
{
	(void)state;
	expect_death_with_ring(park_poll);
	await_totals(&at_start);
}

static void exec_with_parked(struct ev_link *link, struct role *role)
{
	ev_hear(link);
	(void)role;
	execl("/proc/self/exe", "/proc/self/exe", "after-exec", NULL);
	_exit(98);
}

static void uring_execve_with_parked_waits_is_one_death(void **state)
{
	struct role role = { .prepare = park, .act = exec_with_parked };
	struct victim v;
	struct watch w;

	(void)state;
	need_wait();
	watch_start(&w, ev_create_plain());
	role.seg = w.seg;
	victim_start(&v, &role);
	watch_settle(&w);
	ev_say(&v.link, 0);
	watch_expect_death(&w, &v.peer, EVERING_EXIT_EXEC, 0);
	victim_expect_end(&v, 7 << 8);
	victim_bury(&v);
	watch_expect_quiet(&w);
	watch_stop(&w);
	close(w.seg);
}

/* POLL_ADD is how one waits in a ring on every kernel. */
static void poll_multishot(struct scene *s, struct io_uring *ring, const struct uring_kind *kind)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	int fd = s->peer[RUNG].fd;
	int i;

	io_uring_prep_poll_multishot(sqe, fd, POLLIN);
	io_uring_sqe_set_data64(sqe, 1);
	EV_EQ(uring_is_done(ring), false);
	for (i = 0; i < 5; i++) {
		EV_EQ(scene_ring(s, 1ULL << i), 0);
		EV_EQ(uring_result(ring, 1), POLLIN);
		EV_EQ(take_bells(fd).bits, 1ULL << i);
	}
	finish(ring, kind, -1, 0);
}

static void uring_poll_multishot_hears_every_bell(void **state)
{
	each_kind(*state, poll_multishot);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(uring_ring_is_done_at_once, scene_start,
						scene_stop),
		cmocka_unit_test_setup_teardown(uring_commands_refuse_what_they_do_not_know,
						scene_start, scene_stop),
		cmocka_unit_test_setup_teardown(uring_commands_on_dead_peer_are_refused,
						scene_start, scene_stop),
		cmocka_unit_test_setup_teardown(uring_wait_is_refused_where_not_cancelable,
						scene_start, scene_stop),
		cmocka_unit_test_setup_teardown(uring_wait_with_bad_argument_is_refused,
						scene_start, scene_stop),
		cmocka_unit_test_setup_teardown(uring_wait_parked_ends_by_its_bell, scene_start,
						scene_stop),
		cmocka_unit_test_setup_teardown(uring_wait_takes_what_is_pending, scene_start,
						scene_stop),
		cmocka_unit_test_setup_teardown(uring_cancel_ends_the_waits_with_its_cookie,
						scene_start, scene_stop),
		cmocka_unit_test_setup_teardown(uring_cancel_meets_a_wait_on_its_way, scene_start,
						scene_stop),
		cmocka_unit_test_setup_teardown(uring_waits_of_a_peer_are_bounded, scene_start,
						scene_stop),
		cmocka_unit_test_setup_teardown(uring_wait_parked_ends_by_detach, scene_start,
						scene_stop),
		cmocka_unit_test(uring_exit_with_parked_waits_closes_the_peer),
		cmocka_unit_test(uring_death_with_parked_waits_is_seen_once),
		cmocka_unit_test(uring_death_with_multishot_poll_and_registered_file),
		cmocka_unit_test(uring_execve_with_parked_waits_is_one_death),
		cmocka_unit_test_setup_teardown(uring_poll_multishot_hears_every_bell, scene_start,
						scene_stop),
	};

	if (argc > 1 && strcmp(argv[1], "after-exec") == 0)
		return 7;
	at_start = ev_info();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
