// SPDX-License-Identifier: MIT
/*
 * A peer's process dies while something of it lives on: forked children that hold its
 * fd, map it or inherited its mapping, its fd in flight between two processes, somebody
 * who looks into its mm. None of them may hide the death, and none of them is the peer.
 *
 * Seen to fail: controls/child-maps.
 */

#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/userfaultfd.h>

#include "victim.h"
#include "watch.h"

static const char *core_handler = "/proc/self/exe";

/*
 * Kill the victim: its death is seen while the orphan lives, and the orphan's end
 * later is no second one. The orphan checks what it may do and says so by exit 0.
 */
static void expect_death_before_orphan(struct watch *w, struct role *role)
{
	struct victim v;

	role->seg = w->seg;
	victim_start(&v, role);
	watch_settle(w);
	watch_expect_alive(w, &v.peer);
	victim_kill(&v);
	watch_expect_death(w, &v.peer, EVERING_EXIT_EXIT, SIGKILL);
	if (v.orphan)
		EV_EQ(waitpid(v.orphan, NULL, WNOHANG), 0);
	victim_bury(&v);
	watch_expect_quiet(w);
	watch_reap(w, &v.peer);
}

/* --- forked children -------------------------------------------------------------- */

static void leave_child(struct ev_link *link, struct role *role)
{
	(void)link;
	role_fork_orphan(role, NULL);
}

static void orphan_holding_the_fd_hides_no_death(void **state)
{
	expect_death_before_orphan(*state, &(struct role){ .prepare = leave_child });
}

static void orphan_holding_the_fd_of_unmapped_peer_hides_no_death(void **state)
{
	struct role role = { .prepare = leave_child, .unmapped = true };

	expect_death_before_orphan(*state, &role);
}

static void leave_family(struct ev_link *link, struct role *role)
{
	int i;

	(void)link;
	for (i = 0; i < 4; i++) {
		pid_t pid = fork();

		EV_CHECK(pid >= 0);
		if (pid == 0) {
			leash_wait(role->leash);
			_exit(0);
		}
	}
	role_fork_orphan(role, NULL);
}

static void orphans_of_a_family_hide_no_death(void **state)
{
	expect_death_before_orphan(*state, &(struct role){ .prepare = leave_family });
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static void map_as_child(struct role *role)
{
	EV_EQ(ev_map_errno(role->peer.fd, 0, EV_PAGE, PROT_READ, MAP_SHARED), -EPERM);
	leash_wait(role->leash);
	EV_EQ(ev_map_errno(role->peer.fd, 0, EV_PAGE, PROT_READ, MAP_SHARED), -EOWNERDEAD);
}

static void leave_mapping_child(struct ev_link *link, struct role *role)
{
	(void)link;
	role_fork_orphan(role, map_as_child);
	await_asleep(role->orphan);
}

static void orphan_may_not_map_the_fd_of_its_parent(void **state)
{
	expect_death_before_orphan(*state, &(struct role){ .prepare = leave_mapping_child });
}

static void orphan_may_not_map_the_fd_of_unmapped_parent(void **state)
{
	struct role role = { .prepare = leave_mapping_child, .unmapped = true };

	expect_death_before_orphan(*state, &role);
}

static void touch_as_child(struct role *role)
{
	/* shmem does not tell it from its parent, until that one ends. */
	int sig = ev_on_shmem() ? 0 : SIGBUS;

	EV_EQ(ev_touch_read(role->memory), sig);
	EV_EQ(ev_touch_write(role->memory), sig);
	leash_wait(role->leash);
	EV_EQ(ev_touch_read(role->memory), SIGBUS);
}

static void leave_dofork_child(struct ev_link *link, struct role *role)
{
	(void)link;
	EV_EQ(madvise(role->memory, EV_BLOCK, MADV_DOFORK), 0);
	role_fork_orphan(role, touch_as_child);
	await_asleep(role->orphan);
}

static void orphan_with_dofork_mapping_hides_no_death(void **state)
{
	expect_death_before_orphan(*state, &(struct role){ .prepare = leave_dofork_child });
}

/* The inherited mapping goes away first: the parent is still a peer. */
static void split_dofork_child(struct role *role)
{
	EV_EQ(munmap(role->memory + EV_PAGE, EV_PAGE), 0);
	EV_EQ(munmap(role->memory, EV_PAGE), 0);
	_exit(0);
}

static void outlive_dofork_child(struct ev_link *link, struct role *role)
{
	int status;

	leave_dofork_child(link, role);
	EV_EQ(kill(role->orphan, SIGKILL), 0);
	EV_EQ(waitpid(role->orphan, &status, 0), role->orphan);
	role_fork_orphan(role, split_dofork_child);
	EV_EQ(waitpid(role->orphan, &status, 0), role->orphan);
	EV_EQ(status, 0);
	role->orphan = 0;
}

static void orphan_dying_first_does_not_end_its_parent(void **state)
{
	expect_death_before_orphan(*state, &(struct role){ .prepare = outlive_dofork_child });
}

/* --- waits of others on the dead peer's fd ---------------------------------------- */

#define WAY_IOCTL 0
#define WAY_READ 1
#define WAY_POLL 2

static int block(int fd, uint64_t way)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	struct evering_bell_wait wait;
	struct evering_bells bells;

	ev_arg(&wait);
	wait.mask = EVERING_BELLS_USER;
	wait.deadline_ns = EVERING_NO_DEADLINE;
	switch (way) {
	case WAY_IOCTL:
		return ev_ioctl(fd, EVERING_IOC_BELL_WAIT, &wait);
	case WAY_READ:
		return read(fd, &bells, sizeof(bells)) < 0 ? -errno : 0;
	default:
		EV_EQ(poll(&pfd, 1, EV_HANG_MS), 1);
		EV_CHECK(pfd.revents & POLLHUP);
		EV_CHECK(pfd.revents & POLLERR);
		return -EOWNERDEAD;
	}
}

/* Waits end before the peer is dead to others; here: at dying or later. */
static void block_as_child(struct role *role)
{
	EV_EQ(block(role->peer.fd, role->arg), -EOWNERDEAD);
	EV_CHECK(peer_entry(role->seg, role->peer.slot).state != EVERING_PEER_LIVE);
}

static void leave_blocked_child(struct ev_link *link, struct role *role)
{
	(void)link;
	/* Bells of the attachment itself must not end the wait. */
	take_bells(role->peer.fd);
	role_fork_orphan(role, block_as_child);
	await_asleep(role->orphan);
}

static void orphan_blocked_on_the_fd_is_woken(void **state)
{
	uint64_t way;

	for (way = WAY_IOCTL; way <= WAY_POLL; way++) {
		struct role role = { .prepare = leave_blocked_child,
				     .arg = way,
				     .unmapped = way & 1 };

		expect_death_before_orphan(*state, &role);
	}
}

static void block_at_death(struct ev_link *link, struct role *role)
{
	(void)link;
	take_bells(role->peer.fd);
	block(role->peer.fd, role->arg);
	_exit(1);
}

static void death_of_sleeper_is_seen_once(void **state)
{
	struct watch *w = *state;
	struct victim v;
	uint64_t way;

	for (way = WAY_IOCTL; way <= WAY_POLL; way++) {
		struct role role = { .seg = w->seg, .act = block_at_death, .arg = way };

		victim_start(&v, &role);
		watch_settle(w);
		await_asleep(v.link.pid);
		victim_kill(&v);
		watch_expect_death(w, &v.peer, EVERING_EXIT_EXIT, SIGKILL);
		victim_bury(&v);
		watch_reap(w, &v.peer);
	}
}

/* --- its fd in flight -------------------------------------------------------------- */

static void send_fd_away(struct ev_link *link, struct role *role)
{
	ev_hear(link);
	ev_pass(link, role->peer.fd);
}

static void orphan_fd_in_flight_hides_no_death(void **state)
{
	struct watch *w = *state;
	struct ev_link link;
	struct role role = { .seg = w->seg };
	struct evering_bells bells;
	struct victim v;
	int i, fd;

	role.act = send_fd_away;
	for (i = 0; i < 2; i++) {
		role.unmapped = i;
		victim_start(&v, &role);
		watch_settle(w);
		ev_say(&v.link, 0);
		/* It exits after the send; nobody has received the fd yet. */
		watch_expect_death(w, &v.peer, EVERING_EXIT_EXIT, 0);
		link = v.link;
		fd = ev_take(&link);
		EV_EQ(read(fd, &bells, sizeof(bells)), -1);
		EV_EQ(errno, EOWNERDEAD);
		EV_EQ(ev_detach(fd), -EOWNERDEAD);
		close(fd);
		victim_expect_end(&v, 0);
		victim_bury(&v);
		watch_expect_quiet(w);
		watch_reap(w, &v.peer);
	}
}

/* --- others who hold the mm --------------------------------------------------------- */

static volatile bool readers_stop;

static void *read_maps(void *arg)
{
	const pid_t *pid = arg;
	char path[64], text[4096];

	snprintf(path, sizeof(path), "/proc/%d/maps", *pid);
	while (!readers_stop) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			break;
		while (read(fd, text, sizeof(text)) > 0)
			;
		close(fd);
	}
	return NULL;
}

/* With luck the reader is the last user of the mm and closes the mappings itself. */
static void orphan_mm_of_maps_readers_hides_no_death(void **state)
{
	struct watch *w = *state;
	struct role role = { .seg = w->seg };
	pthread_t reader[3];
	struct victim v;
	int i, round;

	for (round = 0; round < 30; round++) {
		role.unmapped = round & 1;
		victim_start(&v, &role);
		watch_settle(w);
		readers_stop = false;
		for (i = 0; i < 3; i++)
			EV_EQ(pthread_create(&reader[i], NULL, read_maps, &v.link.pid), 0);
		usleep(2000);
		kill(v.link.pid, SIGKILL);
		watch_expect_death(w, &v.peer, EVERING_EXIT_EXIT, SIGKILL);
		readers_stop = true;
		for (i = 0; i < 3; i++)
			EV_EQ(pthread_join(reader[i], NULL), 0);
		victim_expect_end(&v, SIGKILL);
		victim_bury(&v);
		watch_expect_quiet(w);
		watch_reap(w, &v.peer);
	}
}

/* A page whose first touch sleeps until somebody fills it. */
static int make_sticky_page(void **page)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		return -errno;
	EV_EQ(ioctl(fd, UFFDIO_API, &api), 0);
	*page = mmap(NULL, EV_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EV_CHECK(*page != MAP_FAILED);
	range.range.start = (uintptr_t)*page;
	range.range.len = EV_PAGE;
	EV_EQ(ioctl(fd, UFFDIO_REGISTER, &range), 0);
	return fd;
}

struct mm_holder {
	pid_t pid;
	uint64_t at; /* an address in the victim */
	void *page;
	ssize_t got;
};

/* pread of /proc/PID/mem holds the mm while the copy to our own page sleeps. */
static void *hold_mm(void *arg)
{
	struct mm_holder *h = arg;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", h->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	h->got = pread(fd, h->page, 64, (off_t)h->at);
	close(fd);
	return NULL;
}

static void say_address(struct ev_link *link, struct role *role)
{
	ev_say(link, (uintptr_t)&role->arg);
	pause();
}

static void expect_death_before_holder(struct watch *w, bool unmapped)
{
	struct role role = { .seg = w->seg, .act = say_address, .unmapped = unmapped };
	struct uffdio_zeropage fill = { 0 };
	struct mm_holder h = { .got = -2 };
	struct uffd_msg msg;
	pthread_t thread;
	struct victim v;
	int uffd = make_sticky_page(&h.page);

	if (uffd < 0) {
		print_message("# no userfaultfd here: %s\n", strerror(-uffd));
		skip();
	}
	victim_start(&v, &role);
	watch_settle(w);
	h.pid = v.link.pid;
	h.at = ev_hear(&v.link);
	EV_EQ(pthread_create(&thread, NULL, hold_mm, &h), 0);
	await_events(uffd, POLLIN);
	EV_EQ(read(uffd, &msg, sizeof(msg)), sizeof(msg));
	victim_kill(&v);
	watch_expect_death(w, &v.peer, EVERING_EXIT_EXIT, SIGKILL);
	EV_EQ(h.got, -2);
	fill.range.start = (uintptr_t)h.page;
	fill.range.len = EV_PAGE;
	EV_EQ(ioctl(uffd, UFFDIO_ZEROPAGE, &fill), 0);
	EV_EQ(pthread_join(thread, NULL), 0);
	victim_bury(&v);
	watch_expect_quiet(w);
	watch_reap(w, &v.peer);
	munmap(h.page, EV_PAGE);
	close(uffd);
}

static void orphan_mm_of_mem_reader_hides_no_death(void **state)
{
	expect_death_before_holder(*state, false);
	expect_death_before_holder(*state, true);
}

/* --- core dumps ---------------------------------------------------------------------- */

#define CORE_PATTERN "/proc/sys/kernel/core_pattern"

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	EV_CHECK(fd >= 0);
	EV_EQ(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void crash_as_told(struct ev_link *link, struct role *role)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	(void)role;
	EV_EQ(setrlimit(RLIMIT_CORE, &all), 0);
	EV_EQ(chdir("/tmp"), 0);
	signal(SIGSEGV, SIG_DFL);
	ev_hear(link);
	*(volatile int *)NULL = 1;
}

static void expect_core(struct watch *w, const char *pattern, bool unmapped)
{
	struct role role = { .seg = w->seg, .act = crash_as_told, .unmapped = unmapped };
	char old[256] = "";
	struct victim v;
	int fd = open(CORE_PATTERN, O_RDONLY | O_CLOEXEC);

	EV_CHECK(fd >= 0 && read(fd, old, sizeof(old) - 1) > 0);
	close(fd);
	write_text(CORE_PATTERN, pattern);
	victim_start(&v, &role);
	watch_settle(w);
	ev_say(&v.link, 0);
	watch_expect_death(w, &v.peer, EVERING_EXIT_EXIT, SIGSEGV | 0x80);
	victim_expect_end(&v, SIGSEGV | 0x80);
	write_text(CORE_PATTERN, old);
	victim_bury(&v);
	watch_expect_quiet(w);
	watch_reap(w, &v.peer);
}

static void orphan_core_in_a_file_hides_no_death(void **state)
{
	expect_core(*state, "/tmp/evering-test-core", false);
	EV_EQ(unlink("/tmp/evering-test-core"), 0);
	expect_core(*state, "/tmp/evering-test-core", true);
	EV_EQ(unlink("/tmp/evering-test-core"), 0);
}

static void orphan_core_in_a_pipe_hides_no_death(void **state)
{
	char pattern[256];

	snprintf(pattern, sizeof(pattern), "|%s core-handler", core_handler);
	expect_core(*state, pattern, false);
	expect_core(*state, pattern, true);
}

/* The reader of the dump: not the fastest. */
static int handle_core(void)
{
	char text[65536];

	usleep(100000);
	while (read(STDIN_FILENO, text, sizeof(text)) > 0)
		;
	return 0;
}

int main(int argc, char **argv)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, watch_setup_plain, watch_teardown)
	const struct CMUnitTest tests[] = {
		CASE(orphan_holding_the_fd_hides_no_death),
		CASE(orphan_holding_the_fd_of_unmapped_peer_hides_no_death),
		CASE(orphans_of_a_family_hide_no_death),
		CASE(orphan_may_not_map_the_fd_of_its_parent),
		CASE(orphan_may_not_map_the_fd_of_unmapped_parent),
		CASE(orphan_with_dofork_mapping_hides_no_death),
		CASE(orphan_dying_first_does_not_end_its_parent),
		CASE(orphan_blocked_on_the_fd_is_woken),
		CASE(death_of_sleeper_is_seen_once),
		CASE(orphan_fd_in_flight_hides_no_death),
		CASE(orphan_mm_of_maps_readers_hides_no_death),
		CASE(orphan_mm_of_mem_reader_hides_no_death),
		CASE(orphan_core_in_a_file_hides_no_death),
		CASE(orphan_core_in_a_pipe_hides_no_death),
	};
	static char path[200];

	if (argc > 1 && strcmp(argv[1], "core-handler") == 0)
		return handle_core();
	EV_CHECK(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
	core_handler = path;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
