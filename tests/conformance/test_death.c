/* SPDX-License-Identifier: MIT */
/*
 * Deaths on either backend: what is one, who learns of it, and how often.
 *
 * Seen to fail: tests/unit/controls, death-as-detach.
 */
#include "scene.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

#define EVENT (1ull << EVR_BELL_PEER_EVENT)
#define SOON (evr_now_ns() + HANG_MS * 1000000ull)

struct scene {
	struct evr_segment *segment;
	struct evr_peer *peer;
	struct child child;
	struct evr_peer_id victim;
};

static void live_until_killed(struct child *child, void *arg)
{
	struct evr_peer *peer = attach(arg);

	child_say(child, evr_peer_self(peer).slot);
	child_say(child, evr_peer_self(peer).incarnation);
	pause();
}

static struct evr_peer_id hear_id(struct child *child)
{
	struct evr_peer_id id;

	id.slot = (uint32_t)child_hear(child);
	id.incarnation = child_hear(child);
	return id;
}

static struct scene make_scene(void (*body)(struct child *child, void *arg))
{
	struct scene scene = { .segment = plain_segment() };

	scene.peer = attach(scene.segment);
	child_start(&scene.child, body, scene.segment);
	scene.victim = hear_id(&scene.child);
	EQ(evr_peer_is_live(scene.peer, scene.victim), true);
	return scene;
}

static void drop_scene(struct scene *scene)
{
	evr_peer_detach(scene->peer);
	evr_segment_close(scene->segment);
}

static void death_by_sigkill_wakes_a_sleeper(void **state)
{
	struct scene scene = make_scene(live_until_killed);
	struct evr_peer_info info;

	drop_bells(scene.peer);
	child_kill(&scene.child);
	await_dead(scene.peer, scene.victim);
	OK(evr_peer_info(scene.peer, scene.victim.slot, &info));
	EQ(info.exit_reason, EVR_EXIT_EXIT);
	EQ(info.id.incarnation, scene.victim.incarnation);
	EQ(evr_bell_ring(scene.peer, scene.victim, 1), -ESTALE);
	EQ(reaped(scene.peer, scene.victim), 0);
	drop_scene(&scene);
}

static void death_by_sigkill_wakes_a_poller(void **state)
{
	struct scene scene = make_scene(live_until_killed);
	struct pollfd ready = { .fd = evr_bell_fd(scene.peer), .events = POLLIN | POLLPRI };
	struct evr_bells bells = { 0 };

	drop_bells(scene.peer);
	child_kill(&scene.child);
	while (evr_peer_state(scene.peer, scene.victim) != EVR_PEER_DEAD) {
		EQ(poll(&ready, 1, HANG_MS), 1);
		if (!evr_bell_read(scene.peer, &bells))
			CHECK(bells.bits & EVENT);
	}
	drop_scene(&scene);
}

static void death_is_seen_by_who_only_checks(void **state)
{
	struct scene scene = make_scene(live_until_killed);
	uint64_t until = SOON;

	child_kill(&scene.child);
	while (evr_peer_state(scene.peer, scene.victim) != EVR_PEER_DEAD) {
		CHECK(evr_now_ns() < until);
		evr_peer_check(scene.peer);
	}
	drop_scene(&scene);
}

static void death_is_seen_without_attaching(void **state)
{
	struct scene scene = make_scene(live_until_killed);
	struct evr_peer_info infos[4];
	uint64_t until = SOON;

	child_kill(&scene.child);
	do {
		CHECK(evr_now_ns() < until);
		EQ(evr_segment_peers(scene.segment, infos, 4), 2);
	} while (infos[1].state != EVR_PEER_DEAD);
	EQ(info_of(scene.segment).peers, 1);
	drop_scene(&scene);
}

/* Counts what it sees of the slot, as the only one that waits for it in this way. */
static void watch_death(struct child *child, void *arg)
{
	struct scene *scene = arg;
	struct evr_peer *peer = attach(scene->segment);
	struct evr_peer_info info;
	uint64_t deaths = 0;
	uint32_t before = EVR_PEER_LIVE, now;

	child_say(child, 0);
	while (!deaths) {
		OK(evr_bell_wait(peer, EVENT, SOON, NULL));
		now = evr_peer_state(peer, scene->victim);
		deaths += now == EVR_PEER_DEAD && before != EVR_PEER_DEAD;
		before = now;
	}
	/* Once dead, dead: in this incarnation there is no second life and no second reason. */
	while (evr_bell_wait(peer, EVENT, evr_now_ns() + 100000000, NULL) == 0) {
		OK(evr_peer_info(peer, scene->victim.slot, &info));
		EQ(info.exit_reason, EVR_EXIT_EXIT);
		EQ(evr_peer_state(peer, scene->victim), EVR_PEER_DEAD);
	}
	child_say(child, deaths);
	child_hear(child);
	evr_peer_detach(peer);
}

static void death_is_settled_once_for_all_who_watch(void **state)
{
	struct scene scene = make_scene(live_until_killed);
	struct child watchers[2];
	int i;

	for (i = 0; i < 2; i++) {
		child_start(&watchers[i], watch_death, &scene);
		child_hear(&watchers[i]);
	}
	child_kill(&scene.child);
	for (i = 0; i < 2; i++)
		EQ(child_hear(&watchers[i]), 1);
	/* One of them all may settle it, once. */
	await_dead(scene.peer, scene.victim);
	EQ(reaped(scene.peer, scene.victim), 0);
	EQ(reaped(scene.peer, scene.victim), -ESTALE);
	for (i = 0; i < 2; i++) {
		child_say(&watchers[i], 0);
		child_join(&watchers[i]);
	}
	drop_scene(&scene);
}

static void death_is_not_a_stopped_process(void **state)
{
	struct scene scene = make_scene(live_until_killed);
	uint64_t until;
	int status;

	kill(scene.child.pid, SIGSTOP);
	EQ(waitpid(scene.child.pid, &status, WUNTRACED), scene.child.pid);
	CHECK(WIFSTOPPED(status));
	until = evr_now_ns() + 700000000;
	while (evr_now_ns() < until) {
		evr_bell_wait(scene.peer, EVENT, until, NULL);
		EQ(evr_peer_state(scene.peer, scene.victim), EVR_PEER_LIVE);
		EQ(evr_bell_ring(scene.peer, scene.victim, 1), 0);
	}
	child_kill(&scene.child);
	await_dead(scene.peer, scene.victim);
	drop_scene(&scene);
}

static void leave_a_grandchild(struct child *child, void *arg)
{
	struct evr_peer *peer = attach(arg);
	pid_t pid = fork();

	if (!pid) {
		alarm(2 * HANG_MS / 1000);
		pause();
		_exit(0);
	}
	child_say(child, evr_peer_self(peer).slot);
	child_say(child, evr_peer_self(peer).incarnation);
	child_say(child, (uint64_t)pid);
	pause();
}

static void death_is_not_hidden_by_a_forked_child(void **state)
{
	struct scene scene = make_scene(leave_a_grandchild);
	pid_t grandchild = (pid_t)child_hear(&scene.child);

	child_kill(&scene.child);
	await_dead(scene.peer, scene.victim);
	EQ(kill(grandchild, 0), 0);
	kill(grandchild, SIGKILL);
	drop_scene(&scene);
}

static void sleep_in_another_image(struct child *child, void *arg)
{
	struct evr_peer *peer = attach(arg);

	child_say(child, evr_peer_self(peer).slot);
	child_say(child, evr_peer_self(peer).incarnation);
	child_hear(child);
	execl("/proc/self/exe", "sleep-for-ever", NULL);
	CHECK(!"execl");
}

static void death_is_an_execve_too(void **state)
{
	struct scene scene = make_scene(sleep_in_another_image);
	struct evr_peer_info info;

	child_say(&scene.child, 0);
	await_dead(scene.peer, scene.victim);
	EQ(kill(scene.child.pid, 0), 0);
	OK(evr_peer_info(scene.peer, scene.victim.slot, &info));
	EQ(info.exit_reason, on_device() ? EVR_EXIT_EXEC : EVR_EXIT_EXIT);
	child_kill(&scene.child);
	drop_scene(&scene);
}

static void end_by_returning(struct child *child, void *arg)
{
	struct evr_peer *peer = attach(arg);

	child_say(child, evr_peer_self(peer).slot);
	child_say(child, evr_peer_self(peer).incarnation);
	child_hear(child);
}

static void death_by_exit_without_detach_is_one(void **state)
{
	struct scene scene = make_scene(end_by_returning);
	struct evr_peer_info info;

	child_say(&scene.child, 0);
	child_join(&scene.child);
	await_dead(scene.peer, scene.victim);
	OK(evr_peer_info(scene.peer, scene.victim.slot, &info));
	EQ(info.exit_reason, EVR_EXIT_EXIT);
	drop_scene(&scene);
}

static void death_of_all_leaves_a_segment_to_attach_to(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct child children[4];
	struct evr_peer_id ids[4];
	struct evr_peer *peer;
	int i;

	for (i = 0; i < 4; i++) {
		child_start(&children[i], live_until_killed, segment);
		ids[i] = hear_id(&children[i]);
	}
	for (i = 0; i < 4; i++)
		child_kill(&children[i]);
	peer = attach(segment);
	for (i = 0; i < 4; i++)
		EQ(evr_peer_state(peer, ids[i]), EVR_PEER_DEAD);
	EQ(evr_peer_self(peer).incarnation, 2);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void death_of_many_in_turn_leaks_no_slot(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment);
	struct evr_peer_id id;
	struct child child;
	uint64_t round;

	for (round = 1; round <= 30; round++) {
		child_start(&child, live_until_killed, segment);
		id = hear_id(&child);
		EQ(id.slot, 1);
		EQ(id.incarnation, round);
		child_kill(&child);
		await_dead(peer, id);
		EQ(reaped(peer, id), 0);
	}
	EQ(info_of(segment).peers, 1);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void wait_for_death(struct child *child, void *arg)
{
	struct evr_peer *peer = attach(arg);
	struct evr_peer_id other;

	child_say(child, evr_peer_self(peer).slot);
	child_say(child, evr_peer_self(peer).incarnation);
	other = hear_id(child);
	await_dead(peer, other);
	EQ(reaped(peer, other), 0);
	evr_peer_detach(peer);
}

static void death_of_the_creator_leaves_the_segment_to_the_others(void **state)
{
	struct scene scene = make_scene(wait_for_death);
	struct evr_peer_id self = evr_peer_self(scene.peer);

	child_say(&scene.child, self.slot);
	child_say(&scene.child, self.incarnation);
	drop_scene(&scene);
	child_join(&scene.child);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest death_tests[] = {
		cmocka_unit_test(death_by_sigkill_wakes_a_sleeper),
		cmocka_unit_test(death_by_sigkill_wakes_a_poller),
		cmocka_unit_test(death_is_seen_by_who_only_checks),
		cmocka_unit_test(death_is_seen_without_attaching),
		cmocka_unit_test(death_is_settled_once_for_all_who_watch),
		cmocka_unit_test(death_is_not_a_stopped_process),
		cmocka_unit_test(death_is_not_hidden_by_a_forked_child),
		cmocka_unit_test(death_is_an_execve_too),
		cmocka_unit_test(death_by_exit_without_detach_is_one),
		cmocka_unit_test(death_of_all_leaves_a_segment_to_attach_to),
		cmocka_unit_test(death_of_many_in_turn_leaks_no_slot),
		cmocka_unit_test(death_of_the_creator_leaves_the_segment_to_the_others),
	};

	if (!strcmp(argv[0], "sleep-for-ever")) {
		pause();
		return 0;
	}
	return run_suite(death_tests);
}
