// SPDX-License-Identifier: MIT
/*
 * How a peer ends: by exit or a signal, by execve, by detach or close, and by what
 * is not an end. Each end is seen by another peer exactly once, with reason and
 * status, and the slot waits for PEER_REAPED.
 *
 * Seen to fail: controls/death-twice, controls/generation-skips.
 */

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "victim.h"
#include "watch.h"

static const char *self;

/* Start the role, let it die of SIGKILL, expect one death and reap it. */
static void expect_killed(struct watch *w, struct role *role)
{
	struct victim v;

	role->seg = w->seg;
	victim_start(&v, role);
	watch_settle(w);
	watch_expect_alive(w, &v.peer);
	victim_kill(&v);
	watch_expect_death(w, &v.peer, EVERING_EXIT_EXIT, SIGKILL);
	victim_bury(&v);
	watch_expect_quiet(w);
	watch_reap(w, &v.peer);
}

/* Start the role, let it end by itself, expect one death with this reason. */
static void expect_end(struct watch *w, struct role *role, uint32_t reason, int status)
{
	struct victim v;

	role->seg = w->seg;
	victim_start(&v, role);
	watch_settle(w);
	ev_say(&v.link, 0);
	watch_expect_death(w, &v.peer, reason, reason == EVERING_EXIT_EXIT ? status : 0);
	victim_expect_end(&v, status);
	victim_bury(&v);
	watch_expect_quiet(w);
	watch_reap(w, &v.peer);
}

static void death_of_sigkill_while_mapped_is_seen_once(void **state)
{
	expect_killed(*state, &(struct role){ 0 });
}

static void death_of_sigkill_never_mapped_is_seen_once(void **state)
{
	expect_killed(*state, &(struct role){ .unmapped = true });
}

/* The fd is closed, the mapping alone is what is left. */
static void close_fd(struct ev_link *link, struct role *role)
{
	(void)link;
	close(role->peer.fd);
}

static void death_of_sigkill_mapped_without_fd_is_seen_once(void **state)
{
	expect_killed(*state, &(struct role){ .prepare = close_fd });
}

static void die_as_told(struct ev_link *link, struct role *role)
{
	ev_hear(link);
	if (role->arg < 256)
		_exit((int)role->arg);
	signal((int)(role->arg >> 8), SIG_DFL);
	raise((int)(role->arg >> 8));
	pause();
}

static void death_of_exit_has_status_of_wait(void **state)
{
	static const int codes[] = { 0, 1, 3, 254, 255 };
	unsigned int i;

	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct role role = { .act = die_as_told,
				     .arg = (uint64_t)codes[i],
				     .unmapped = i & 1 };

		expect_end(*state, &role, EVERING_EXIT_EXIT, codes[i] << 8);
	}
}

static void death_of_signal_has_status_of_wait(void **state)
{
	static const int sigs[] = { SIGHUP, SIGTERM, SIGSEGV, SIGABRT, SIGSYS };
	unsigned int i;

	for (i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++) {
		struct role role = { .act = die_as_told,
				     .arg = (uint64_t)sigs[i] << 8,
				     .unmapped = i & 1 };

		expect_end(*state, &role, EVERING_EXIT_EXIT, sigs[i]);
	}
}

/* --- execve --------------------------------------------------------------------- */

/* arg 1: the peer fd stays open in the new program, which checks it (see main). */
static void exec_as_told(struct ev_link *link, struct role *role)
{
	char fd[16];

	ev_hear(link);
	snprintf(fd, sizeof(fd), "%d", role->arg ? role->peer.fd : -1);
	if (role->arg)
		fcntl(role->peer.fd, F_SETFD, 0);
	execl(self, self, "after-exec", fd, NULL);
	_exit(98);
}

static void expect_exec(struct watch *w, struct role *role)
{
	role->act = exec_as_told;
	expect_end(w, role, EVERING_EXIT_EXEC, 7 << 8);
}

static void death_of_execve_closing_the_fd_is_seen_once(void **state)
{
	expect_exec(*state, &(struct role){ .arg = 0 });
}

static void death_of_execve_keeping_the_fd_is_seen_once(void **state)
{
	expect_exec(*state, &(struct role){ .arg = 1 });
}

static void death_of_execve_never_mapped_is_seen_once(void **state)
{
	expect_exec(*state, &(struct role){ .arg = 0, .unmapped = true });
}

static void death_of_execve_never_mapped_keeping_the_fd_is_seen_once(void **state)
{
	expect_exec(*state, &(struct role){ .arg = 1, .unmapped = true });
}

/* The new program: its inherited peer fd is dead, in every way. Exit status 7. */
static int after_exec(int fd)
{
	struct evering_bell_wait wait;
	struct evering_bells bells;

	if (fd < 0)
		return 7;
	ev_arg(&wait);
	wait.mask = 1;
	wait.deadline_ns = EVERING_NO_DEADLINE;
	if (ev_ioctl(fd, EVERING_IOC_BELL_WAIT, &wait) != -EOWNERDEAD)
		return 20;
	if (read(fd, &bells, sizeof(bells)) != -1 || errno != EOWNERDEAD)
		return 21;
	if (ev_map_errno(fd, 0, EV_PAGE, PROT_READ, MAP_SHARED) != -EOWNERDEAD)
		return 22;
	if (!(events_now(fd, POLLIN) & (POLLHUP | POLLERR)))
		return 23;
	return 7;
}

static void exec_nothing(struct ev_link *link, struct role *role)
{
	(void)role;
	ev_hear(link);
	execl("/nonexistent", "x", NULL);
	ev_say(link, (uint64_t)errno);
	pause();
}

static void death_not_of_failed_execve(void **state)
{
	struct watch *w = *state;
	struct role role = { .seg = w->seg, .act = exec_nothing };
	struct victim v;

	victim_start(&v, &role);
	watch_settle(w);
	ev_say(&v.link, 0);
	EV_EQ(ev_hear(&v.link), ENOENT);
	watch_expect_alive(w, &v.peer);
	victim_kill(&v);
	watch_expect_death(w, &v.peer, EVERING_EXIT_EXIT, SIGKILL);
	victim_bury(&v);
}

/* --- detach, close, munmap ------------------------------------------------------- */

static void detach_then_exit(struct ev_link *link, struct role *role)
{
	ev_hear(link);
	EV_EQ(ev_detach(role->peer.fd), 0);
	EV_EQ(ev_detach(role->peer.fd), -EOWNERDEAD);
	_exit(5);
}

static void death_of_detach_then_exit_is_seen_once(void **state)
{
	struct role role = { .act = detach_then_exit };

	expect_end(*state, &role, EVERING_EXIT_DETACH, 5 << 8);
}

static void death_of_detach_never_mapped_is_seen_once(void **state)
{
	struct role role = { .act = detach_then_exit, .unmapped = true };

	expect_end(*state, &role, EVERING_EXIT_DETACH, 5 << 8);
}

static void death_of_close_by_the_living_is_seen_once(void **state)
{
	struct watch *w = *state;
	struct ev_peer peer = ev_attach(w->seg);
	int other = dup(peer.fd);

	watch_settle(w);
	close(peer.fd);
	watch_expect_alive(w, &peer);
	close(other);
	watch_expect_death(w, &peer, EVERING_EXIT_CLOSE, 0);
	watch_reap(w, &peer);
}

/* A mapping holds the file: its fd may go first. */
static void death_of_close_waits_for_the_last_mapping(void **state)
{
	struct watch *w = *state;
	struct ev_peer peer = ev_attach(w->seg);
	void *p = ev_map(peer.fd, 0, EV_PAGE, PROT_READ);

	watch_settle(w);
	close(peer.fd);
	watch_expect_alive(w, &peer);
	EV_EQ(ev_touch_read(p), 0);
	munmap(p, EV_PAGE);
	watch_expect_death(w, &peer, EVERING_EXIT_CLOSE, 0);
	watch_reap(w, &peer);
}

static void death_not_of_munmap(void **state)
{
	struct watch *w = *state;
	struct ev_peer peer = ev_attach(w->seg);
	void *p = ev_map(peer.fd, 0, EV_PAGE, PROT_READ);

	watch_settle(w);
	munmap(p, EV_PAGE);
	watch_expect_alive(w, &peer);
	EV_EQ(ev_map_errno(peer.fd, 0, EV_PAGE, PROT_READ, MAP_SHARED), 0);
	watch_expect_alive(w, &peer);
	close(peer.fd);
	watch_expect_death(w, &peer, EVERING_EXIT_CLOSE, 0);
	watch_reap(w, &peer);
}

static void death_not_of_sigstop(void **state)
{
	struct watch *w = *state;
	struct role role = { .seg = w->seg };
	struct victim v;
	int status;

	victim_start(&v, &role);
	watch_settle(w);
	EV_EQ(kill(v.link.pid, SIGSTOP), 0);
	EV_EQ(waitpid(v.link.pid, &status, WUNTRACED), v.link.pid);
	EV_CHECK(WIFSTOPPED(status));
	usleep(200000);
	watch_expect_alive(w, &v.peer);
	EV_EQ(ev_ring(w->peer.fd, v.peer.slot, v.peer.incarnation, 1), 0);
	EV_EQ(kill(v.link.pid, SIGCONT), 0);
	watch_expect_alive(w, &v.peer);
	victim_kill(&v);
	watch_expect_death(w, &v.peer, EVERING_EXIT_EXIT, SIGKILL);
	victim_bury(&v);
}

/* --- threads and shared address spaces ------------------------------------------- */

static void *end_process(void *arg)
{
	struct ev_link *link = arg;

	ev_hear(link);
	usleep(100000); /* the leader has long left by then */
	ev_say(link, 1);
	ev_hear(link);
	_exit(9);
}

static void leader_leaves(struct ev_link *link, struct role *role)
{
	pthread_t thread;

	(void)role;
	EV_EQ(pthread_create(&thread, NULL, end_process, link), 0);
	syscall(SYS_exit, 0);
}

static void death_not_of_thread_group_leader(void **state)
{
	struct watch *w = *state;
	struct role role = { .seg = w->seg, .act = leader_leaves };
	struct victim v;
	int i;

	for (i = 0; i < 2; i++) {
		role.unmapped = i;
		victim_start(&v, &role);
		watch_settle(w);
		ev_say(&v.link, 0);
		EV_EQ(ev_hear(&v.link), 1);
		watch_expect_alive(w, &v.peer);
		ev_say(&v.link, 0);
		watch_expect_death(w, &v.peer, EVERING_EXIT_EXIT, 9 << 8);
		victim_expect_end(&v, 9 << 8);
		victim_bury(&v);
		watch_expect_quiet(w);
		watch_reap(w, &v.peer);
	}
}

static void *sleep_on(void *arg)
{
	pause();
	return arg;
}

static void start_threads(struct ev_link *link, struct role *role)
{
	pthread_t thread;
	int i;

	(void)link;
	(void)role;
	for (i = 0; i < 8; i++)
		EV_EQ(pthread_create(&thread, NULL, sleep_on, NULL), 0);
}

static void death_of_many_threads_is_seen_once(void **state)
{
	expect_killed(*state, &(struct role){ .prepare = start_threads });
	expect_killed(*state, &(struct role){ .prepare = start_threads, .unmapped = true });
}

static char vm_sharer_stack[65536];

static int vm_sharer(void *arg)
{
	struct role *role = arg;

	leash_wait(role->leash);
	syscall(SYS_exit_group, ev_touch_read(role->memory) == SIGBUS ? 0 : 1);
	return 0;
}

/* A process of its own that shares the mm, as vfork's child does before its execve. */
static void share_vm(struct ev_link *link, struct role *role)
{
	(void)link;
	role->orphan = clone(vm_sharer, vm_sharer_stack + sizeof(vm_sharer_stack),
			     CLONE_VM | SIGCHLD, role);
	EV_CHECK(role->orphan > 0);
}

/* The mm lives on in another process, which is not the peer: it loses the mapping. */
static void death_of_attacher_is_not_hidden_by_a_sharer_of_its_mm(void **state)
{
	expect_killed(*state, &(struct role){ .prepare = share_vm });
}

static void share_vm_for_a_while(struct ev_link *link, struct role *role)
{
	pid_t pid;
	int status;

	(void)link;
	pid = vfork();
	if (pid == 0) {
		execl(self, self, "after-exec", "-1", NULL);
		_exit(98);
	}
	EV_EQ(waitpid(pid, &status, 0), pid);
	EV_EQ(status, 7 << 8);
	(void)role;
}

static void death_not_of_vfork_child(void **state)
{
	struct watch *w = *state;
	struct role role = { .seg = w->seg, .prepare = share_vm_for_a_while };
	struct victim v;

	victim_start(&v, &role);
	watch_settle(w);
	watch_expect_alive(w, &v.peer);
	victim_kill(&v);
	watch_expect_death(w, &v.peer, EVERING_EXIT_EXIT, SIGKILL);
	victim_bury(&v);
	watch_reap(w, &v.peer);
}

/* --- who is left ------------------------------------------------------------------ */

static void death_of_observer_frees_the_slot_at_once(void **state)
{
	struct watch *w = *state;
	struct role role = { .seg = w->seg, .flags = EVERING_ATTACH_F_OBSERVER };
	struct ev_peer next;
	struct victim v;

	victim_start(&v, &role);
	watch_settle(w);
	victim_kill(&v);
	EV_CHECK(await_events(w->peer.fd, POLLPRI) & POLLPRI);
	EV_EQ(ev_state(w->status, v.peer.slot), EVERING_PEER_FREE);
	EV_EQ(watch_generation(w) - w->generation, WATCH_DEATH_CHANGES);
	EV_EQ(ev_try_attach(w->seg, 0, v.peer.slot, &next), 0);
	EV_EQ(next.incarnation, v.peer.incarnation + 1);
	close(next.fd);
	victim_bury(&v);
}

/* The next writer inherits the duty: it may even take the place of a dead peer. */
static void death_of_the_last_peer_leaves_slots_to_the_next(void **state)
{
	struct ev_shape shape = { .peer_size = EV_PAGE, .peers_max = 2 };
	struct role role = { .seg = ev_create(&shape) };
	struct ev_peer next, observer;
	struct victim v[2];
	int i;

	(void)state;
	for (i = 0; i < 2; i++)
		victim_start(&v[i], &role);
	for (i = 0; i < 2; i++) {
		victim_kill(&v[i]);
		victim_bury(&v[i]);
		EV_EQ(peer_entry(role.seg, v[i].peer.slot).state, EVERING_PEER_DEAD);
		EV_EQ(peer_entry(role.seg, v[i].peer.slot).exit_status, SIGKILL);
	}
	EV_EQ(ev_try_attach(role.seg, EVERING_ATTACH_F_OBSERVER, EVERING_SLOT_ANY, &observer),
	      -EUSERS);
	EV_EQ(ev_try_attach(role.seg, 0, EVERING_SLOT_ANY, &next), 0);
	EV_EQ(next.slot, 0);
	EV_EQ(next.incarnation, v[0].peer.incarnation + 1);
	EV_EQ(ev_try_attach(role.seg, 0, EVERING_SLOT_ANY, &observer), -EUSERS);
	EV_EQ(ev_reaped(next.fd, v[0].peer.slot, v[0].peer.incarnation), -ESTALE);
	EV_EQ(ev_reaped(next.fd, v[1].peer.slot, v[1].peer.incarnation), 0);
	EV_EQ(ev_segment_info(role.seg).peers, 1);
	close(next.fd);
	close(role.seg);
}

static void create_and_pass(struct ev_link *link, void *arg)
{
	int seg = ev_create_plain();
	struct ev_peer peer = ev_attach(seg);

	(void)arg;
	ev_pass(link, seg);
	ev_say(link, peer.slot);
	ev_say(link, peer.incarnation);
	pause();
}

static void death_of_creator_leaves_the_segment_whole(void **state)
{
	struct ev_link link;
	struct ev_peer dead;
	struct watch w;
	char *shared;

	(void)state;
	ev_child_start(&link, create_and_pass, NULL);
	watch_start(&w, ev_take(&link));
	dead.slot = (uint32_t)ev_hear(&link);
	dead.incarnation = ev_hear(&link);
	shared = ev_map(w.peer.fd, w.status->shared_offset, EV_BLOCK, PROT_READ | PROT_WRITE);
	memset(shared, 0x3c, EV_BLOCK);
	ev_child_kill(&link);
	watch_expect_death(&w, &dead, EVERING_EXIT_EXIT, SIGKILL);
	watch_reap(&w, &dead);
	EV_EQ(shared[0], 0x3c);
	EV_EQ(shared[EV_BLOCK - 1], 0x3c);
	munmap(shared, EV_BLOCK);
	watch_stop(&w);
	close(w.seg);
}

/* Nobody is left, and no name keeps it: segment, memory and name are gone. */
static void death_of_creator_and_all_peers_frees_the_segment(void **state)
{
	struct evering_info before = ev_info();
	struct role role = { .unmapped = false };
	struct ev_link creator;
	struct victim v[3];
	int i;

	(void)state;
	ev_child_start(&creator, create_and_pass, NULL);
	role.seg = ev_take(&creator);
	ev_hear(&creator);
	ev_hear(&creator);
	EV_EQ(ev_publish(role.seg, "orphaned", 0600, 0), 0);
	for (i = 0; i < 3; i++) {
		role.unmapped = i == 1;
		victim_start(&v[i], &role);
	}
	close(role.seg);
	EV_EQ(ev_info().segments, before.segments + 1);
	EV_EQ(kill(creator.pid, SIGKILL), 0);
	for (i = 0; i < 3; i++)
		EV_EQ(kill(v[i].link.pid, SIGKILL), 0);
	EV_EQ(ev_child_wait(&creator), SIGKILL);
	for (i = 0; i < 3; i++) {
		victim_expect_end(&v[i], SIGKILL);
		victim_bury(&v[i]);
	}
	await_totals(&before);
	EV_EQ(ev_open_name("orphaned", 0), -ENOENT);
}

int main(int argc, char **argv)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, watch_setup_plain, watch_teardown)
	const struct CMUnitTest tests[] = {
		CASE(death_of_sigkill_while_mapped_is_seen_once),
		CASE(death_of_sigkill_never_mapped_is_seen_once),
		CASE(death_of_sigkill_mapped_without_fd_is_seen_once),
		CASE(death_of_exit_has_status_of_wait),
		CASE(death_of_signal_has_status_of_wait),
		CASE(death_of_execve_closing_the_fd_is_seen_once),
		CASE(death_of_execve_keeping_the_fd_is_seen_once),
		CASE(death_of_execve_never_mapped_is_seen_once),
		CASE(death_of_execve_never_mapped_keeping_the_fd_is_seen_once),
		CASE(death_not_of_failed_execve),
		CASE(death_of_detach_then_exit_is_seen_once),
		CASE(death_of_detach_never_mapped_is_seen_once),
		CASE(death_of_close_by_the_living_is_seen_once),
		CASE(death_of_close_waits_for_the_last_mapping),
		CASE(death_not_of_munmap),
		CASE(death_not_of_sigstop),
		CASE(death_not_of_thread_group_leader),
		CASE(death_of_many_threads_is_seen_once),
		CASE(death_of_attacher_is_not_hidden_by_a_sharer_of_its_mm),
		CASE(death_not_of_vfork_child),
		CASE(death_of_observer_frees_the_slot_at_once),
		cmocka_unit_test(death_of_the_last_peer_leaves_slots_to_the_next),
		cmocka_unit_test(death_of_creator_leaves_the_segment_whole),
		cmocka_unit_test(death_of_creator_and_all_peers_frees_the_segment),
	};

	if (argc == 3 && strcmp(argv[1], "after-exec") == 0)
		return after_exec(atoi(argv[2]));
	self = "/proc/self/exe";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
