// SPDX-License-Identifier: MIT
/*
 * PEER_REVOKE: the mappings of one peer turn into SIGBUS, its fd and its waits answer
 * -EOWNERDEAD, the others notice a death and nothing else; who may do it; and that a
 * fault that runs at the same moment leaves no live mapping (the race that needs the
 * folio lock: seen 12 to 21 times in 150 rounds without it, on kernels without debug
 * options only).
 *
 * Seen to fail: controls/revoke-without-lock.
 */

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "smaps.h"
#include "uring_cmd.h"
#include "victim.h"
#include "watch.h"

#define RACE_ROUNDS 160

/* --- what is taken away ------------------------------------------------------------- */

static void touch_after_revoke(struct ev_link *link, struct role *role)
{
	struct evering_segment_info info = ev_segment_info(role->peer.fd);
	const char *status = (const char *)ev_status(role->peer.fd);
	char *shared =
		ev_map(role->peer.fd, info.shared_offset, info.shared_size, PROT_READ | PROT_WRITE);
	struct evering_bell bell = { .slot = 0 };
	struct evering_bell_ring ring;
	struct evering_bells bells;
	int fd = role->peer.fd;

	memset(shared, 0x11, info.shared_size);
	ev_say(link, 1);
	ev_hear(link);
	EV_EQ(ev_touch_read(status), SIGBUS);
	EV_EQ(ev_touch_read(shared), SIGBUS);
	EV_EQ(ev_touch_write(shared + info.shared_size - 1), SIGBUS);
	EV_EQ(ev_touch_write(role->memory), SIGBUS);
	EV_EQ(ev_touch_write(role->memory + info.peer_size - 1), SIGBUS);
	EV_EQ(smaps_bytes(role->memory, info.peer_size, "Rss"), 0);
	EV_EQ(smaps_bytes(shared, info.shared_size, "Rss"), 0);
	EV_EQ(ev_map_errno(fd, 0, EV_PAGE, PROT_READ, MAP_SHARED), -EOWNERDEAD);
	EV_EQ(read(fd, &bells, sizeof(bells)), -1);
	EV_EQ(errno, EOWNERDEAD);
	ev_arg(&ring);
	ring.nr = 1;
	ring.bells = (uintptr_t)&bell;
	EV_EQ(ev_ioctl(fd, EVERING_IOC_BELL_RING, &ring), -EOWNERDEAD);
	EV_EQ(ev_detach(fd), -EOWNERDEAD);
	/* Its memory is no argument for the kernel's own copies either. */
	EV_EQ(syscall(SYS_read, link->sock, role->memory, 8), -1);
	_exit(0);
}

static void revoke_takes_mappings_and_fd_away(void **state)
{
	struct watch *w = *state;
	struct role role = { .seg = w->seg, .act = touch_after_revoke };
	struct evering_segment_info info = ev_segment_info(w->seg);
	char *shared =
		ev_map(w->peer.fd, info.shared_offset, info.shared_size, PROT_READ | PROT_WRITE);
	struct victim v;

	victim_start(&v, &role);
	EV_EQ(ev_hear(&v.link), 1);
	watch_settle(w);
	EV_EQ(ev_revoke(w->seg, v.peer.slot, v.peer.incarnation), 0);
	watch_expect_death(w, &v.peer, EVERING_EXIT_REVOKE, 0);
	EV_EQ(ev_revoke(w->seg, v.peer.slot, v.peer.incarnation), -ESTALE);
	ev_say(&v.link, 1);
	/* What it was about to read, so that only its buffer is wrong. */
	ev_say(&v.link, 1);
	victim_expect_end(&v, 0);
	victim_bury(&v);
	watch_expect_quiet(w);
	EV_EQ(shared[0], 0x11);
	EV_EQ(shared[info.shared_size - 1], 0x11);
	EV_EQ(ev_touch_write(shared), 0);
	munmap(shared, info.shared_size);
	watch_reap(w, &v.peer);
}

static void revoke_of_observer_frees_its_slot(void **state)
{
	struct watch *w = *state;
	struct ev_peer observer = ev_attach_observer(w->seg);
	char *p = ev_map(observer.fd, 0, EV_PAGE, PROT_READ);

	watch_settle(w);
	EV_EQ(ev_touch_read(p), 0);
	EV_EQ(ev_revoke(w->seg, observer.slot, observer.incarnation), 0);
	EV_EQ(ev_touch_read(p), SIGBUS);
	EV_EQ(ev_state(w->status, observer.slot), EVERING_PEER_FREE);
	EV_EQ(watch_generation(w) - w->generation, WATCH_DEATH_CHANGES);
	munmap(p, EV_PAGE);
	close(observer.fd);
}

/* A process may revoke itself; what is left of it is what is left of others. */
static void revoke_of_self(void **state)
{
	struct watch *w = *state;
	struct ev_peer peer = ev_attach(w->seg);
	char *p = ev_map(peer.fd, 0, EV_PAGE, PROT_READ);

	watch_settle(w);
	EV_EQ(ev_revoke(w->seg, peer.slot, peer.incarnation), 0);
	EV_EQ(ev_touch_read(p), SIGBUS);
	watch_expect_death(w, &peer, EVERING_EXIT_REVOKE, 0);
	munmap(p, EV_PAGE);
	close(peer.fd);
	watch_expect_quiet(w);
	watch_reap(w, &peer);
}

/* --- waits ----------------------------------------------------------------------------- */

enum way { WAY_IOCTL, WAY_READ, WAY_POLL, WAY_EPOLL, WAYS };

struct waiter {
	pthread_t thread;
	int fd;
	enum way way;
	pid_t tid;
	int ret;
};

static int wait_in_epoll(int fd)
{
	struct epoll_event event = { .events = EPOLLIN };
	int ep = epoll_create1(EPOLL_CLOEXEC);
	int ret = -1;

	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) == 0)
		ret = epoll_wait(ep, &event, 1, EV_HANG_MS);
	close(ep);
	if (ret != 1)
		return -ETIMEDOUT;
	return event.events & EPOLLHUP && event.events & EPOLLERR ? -EOWNERDEAD : 0;
}

static void *wait_some_way(void *arg)
{
	struct waiter *t = arg;
	struct pollfd pfd = { .fd = t->fd, .events = POLLIN };
	struct evering_bell_wait wait;
	struct evering_bells bells;

	__atomic_store_n(&t->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	ev_arg(&wait);
	wait.mask = EVERING_BELLS_USER;
	wait.deadline_ns = EVERING_NO_DEADLINE;
	switch (t->way) {
	case WAY_IOCTL:
		t->ret = ev_ioctl(t->fd, EVERING_IOC_BELL_WAIT, &wait);
		break;
	case WAY_READ:
		t->ret = read(t->fd, &bells, sizeof(bells)) < 0 ? -errno : 0;
		break;
	case WAY_POLL:
		t->ret = poll(&pfd, 1, EV_HANG_MS) == 1 && pfd.revents & POLLHUP &&
					 pfd.revents & POLLERR ?
				 -EOWNERDEAD :
				 0;
		break;
	default:
		t->ret = wait_in_epoll(t->fd);
	}
	return NULL;
}

static void start_waiters(struct waiter *t, int fd)
{
	enum way way;

	for (way = 0; way < WAYS; way++) {
		t[way] = (struct waiter){ .fd = fd, .way = way, .ret = 1 };
		EV_EQ(pthread_create(&t[way].thread, NULL, wait_some_way, &t[way]), 0);
		while (!__atomic_load_n(&t[way].tid, __ATOMIC_ACQUIRE))
			usleep(100);
		await_asleep(t[way].tid);
	}
}

static void revoke_ends_every_kind_of_wait(void **state)
{
	struct watch *w = *state;
	struct ev_peer peer = ev_attach(w->seg);
	struct evering_bell_wait wait;
	struct waiter t[WAYS];
	struct io_uring ring;
	enum way way;

	take_bells(peer.fd);
	start_waiters(t, peer.fd);
	EV_CHECK(uring_start(&ring, &uring_kinds[0]));
	if (ev_has(EVERING_FEAT_URING_WAIT)) {
		uring_put_wait(&ring, peer.fd, &wait, EVERING_BELLS_USER, 1);
		EV_EQ(uring_is_done(&ring), false);
	}
	watch_settle(w);
	EV_EQ(ev_revoke(w->seg, peer.slot, peer.incarnation), 0);
	for (way = 0; way < WAYS; way++) {
		EV_EQ(pthread_join(t[way].thread, NULL), 0);
		EV_EQ(t[way].ret, -EOWNERDEAD);
	}
	if (ev_has(EVERING_FEAT_URING_WAIT))
		EV_EQ(uring_result(&ring, 1), -EOWNERDEAD);
	io_uring_queue_exit(&ring);
	watch_expect_death(w, &peer, EVERING_EXIT_REVOKE, 0);
	close(peer.fd);
	watch_expect_quiet(w);
	watch_reap(w, &peer);
}

/* --- who may ---------------------------------------------------------------------------- */

struct attempt {
	int fd;
	uint32_t slot;
	uint64_t incarnation;
	int wanted;
	bool root;
};

static void attempt_revoke(struct ev_link *link, void *arg)
{
	struct attempt *a = arg;

	(void)link;
	if (!a->root)
		ev_become(1000, 1000);
	EV_EQ(ev_revoke(a->fd, a->slot, a->incarnation), a->wanted);
}

static void expect_attempt(struct attempt a)
{
	struct ev_link link;

	ev_child_start(&link, attempt_revoke, &a);
	ev_child_join(&link);
}

static void revoke_is_for_admin_fd_or_cap_sys_admin(void **state)
{
	struct watch *w = *state;
	uint32_t most = EVERING_RIGHTS_ALL & ~EVERING_RIGHT_ADMIN;
	int weak = ev_try_invite(w->seg, most, 0, 0);
	struct ev_peer peer = ev_attach(w->seg);
	struct attempt a = {
		.fd = weak, .slot = peer.slot, .incarnation = peer.incarnation, .wanted = -EACCES
	};

	EV_CHECK(weak >= 0);
	watch_settle(w);
	expect_attempt(a);
	a.fd = peer.fd;
	a.wanted = -ENOTTY;
	expect_attempt(a);
	watch_expect_alive(w, &peer);
	/* The fd is the right: its holder need not be the creator. */
	a.fd = w->seg;
	a.wanted = 0;
	expect_attempt(a);
	watch_expect_death(w, &peer, EVERING_EXIT_REVOKE, 0);
	close(peer.fd);
	EV_EQ(ev_reaped(w->peer.fd, peer.slot, peer.incarnation), 0);
	peer = ev_attach(w->seg);
	watch_settle(w);
	a = (struct attempt){
		.fd = weak, .slot = peer.slot, .root = true, .incarnation = peer.incarnation
	};
	expect_attempt(a);
	watch_expect_death(w, &peer, EVERING_EXIT_REVOKE, 0);
	close(peer.fd);
	close(weak);
}

static void revoke_of_nobody_is_refused(void **state)
{
	struct watch *w = *state;
	struct ev_peer peer = ev_attach(w->seg);

	watch_settle(w);
	EV_EQ(ev_revoke(w->seg, peer.slot, peer.incarnation + 1), -ESTALE);
	EV_EQ(ev_revoke(w->seg, peer.slot, peer.incarnation - 1), -ESTALE);
	EV_EQ(ev_revoke(w->seg, 3, 1), -ESTALE);
	EV_EQ(ev_revoke(w->seg, 4, 1), -EINVAL);
	EV_EQ(ev_revoke(w->seg, EVERING_SLOT_ANY, 1), -EINVAL);
	watch_expect_alive(w, &peer);
	close(peer.fd);
}

/* --- under load ------------------------------------------------------------------------- */

static __thread sigjmp_buf bus_back;

static void on_bus(int sig)
{
	siglongjmp(bus_back, sig);
}

struct load {
	pthread_t thread;
	int fd;
	char *memory;
	uint32_t slot;
	uint64_t incarnation;
	uint64_t done;
	int end; /* how it noticed: SIGBUS or -errno */
};

static void *write_until_bus(void *arg)
{
	struct load *l = arg;

	l->end = sigsetjmp(bus_back, 1);
	while (l->end == 0) {
		memset(l->memory, (int)l->done, EV_BLOCK);
		l->done++;
	}
	return NULL;
}

static void *ring_until_dead(void *arg)
{
	struct load *l = arg;

	do
		l->end = ev_ring(l->fd, l->slot, l->incarnation, 1);
	while (l->end == 0 && ++l->done);
	return NULL;
}

static void *map_until_dead(void *arg)
{
	struct load *l = arg;

	do
		l->end = ev_map_errno(l->fd, 0, EV_PAGE, PROT_READ, MAP_SHARED | MAP_POPULATE);
	while (l->end == 0 && ++l->done);
	return NULL;
}

static void load_until_revoked(struct ev_link *link, struct role *role)
{
	static void *(*const body[])(void *) = { write_until_bus, write_until_bus, ring_until_dead,
						 map_until_dead };
	struct sigaction act = { .sa_handler = on_bus, .sa_flags = SA_NODEFER };
	struct load l[4];
	int i;

	sigaction(SIGBUS, &act, NULL);
	for (i = 0; i < 4; i++) {
		l[i] = (struct load){ .fd = role->peer.fd,
				      .memory = role->memory,
				      .slot = role->peer.slot,
				      .incarnation = role->peer.incarnation };
		EV_EQ(pthread_create(&l[i].thread, NULL, body[i], &l[i]), 0);
	}
	for (i = 0; i < 4; i++)
		EV_EQ(pthread_join(l[i].thread, NULL), 0);
	EV_EQ(l[0].end, SIGBUS);
	EV_EQ(l[1].end, SIGBUS);
	EV_EQ(l[2].end, -EOWNERDEAD);
	EV_EQ(l[3].end, -EOWNERDEAD);
	EV_EQ(smaps_bytes(role->memory, EV_BLOCK, "Rss"), 0);
	ev_say(link, l[0].done + l[2].done + l[3].done);
	_exit(0);
}

static void revoke_under_load_is_noticed_by_all(void **state)
{
	struct watch *w = *state;
	struct role role = { .seg = w->seg, .act = load_until_revoked };
	struct victim v;
	int round;

	for (round = 0; round < 10; round++) {
		victim_start(&v, &role);
		watch_settle(w);
		usleep(1000 + (useconds_t)round * 5000);
		EV_EQ(ev_revoke(w->seg, v.peer.slot, v.peer.incarnation), 0);
		watch_expect_death(w, &v.peer, EVERING_EXIT_REVOKE, 0);
		ev_hear(&v.link);
		victim_expect_end(&v, 0);
		victim_bury(&v);
		watch_expect_quiet(w);
		EV_EQ(ev_reaped(w->peer.fd, v.peer.slot, v.peer.incarnation), 0);
	}
}

/* --- the race of revoke and fault --------------------------------------------------------- */

struct toucher {
	pthread_t thread;
	char *memory;
	size_t sz;
	unsigned int seed;
	const bool *revoked;
};

static void *drop_and_touch(void *arg)
{
	struct toucher *t = arg;

	if (sigsetjmp(bus_back, 1))
		return NULL;
	while (!__atomic_load_n(t->revoked, __ATOMIC_ACQUIRE)) {
		volatile char *p = t->memory + rand_r(&t->seed) % t->sz;

		madvise(t->memory, t->sz, MADV_DONTNEED);
		*p = 1;
	}
	return NULL;
}

static size_t live_after_race(int seg, unsigned int round)
{
	struct ev_peer peer = ev_attach(seg);
	uint64_t sz = ev_segment_info(seg).peer_size;
	char *memory = ev_map(peer.fd, ev_region(seg, peer.slot), sz, PROT_READ | PROT_WRITE);
	struct toucher t[2];
	bool revoked = false;
	size_t live;
	int i;

	for (i = 0; i < 2; i++) {
		t[i] = (struct toucher){ .memory = memory,
					 .sz = sz,
					 .revoked = &revoked,
					 .seed = round * 2 + (unsigned int)i };
		EV_EQ(pthread_create(&t[i].thread, NULL, drop_and_touch, &t[i]), 0);
	}
	usleep(500 + round * 37 % 1500);
	EV_EQ(ev_revoke(seg, peer.slot, peer.incarnation), 0);
	__atomic_store_n(&revoked, true, __ATOMIC_RELEASE);
	for (i = 0; i < 2; i++)
		EV_EQ(pthread_join(t[i].thread, NULL), 0);
	live = smaps_bytes(memory, sz, "Rss");
	munmap(memory, sz);
	close(peer.fd);
	return live;
}

static void revoke_racing_faults_leaves_no_mapping(void **state)
{
	struct ev_shape shape = { .peer_size = 2 * EV_BLOCK, .peers_max = 1 };
	struct sigaction act = { .sa_handler = on_bus, .sa_flags = SA_NODEFER }, old;
	unsigned int round, lost = 0;
	int seg = ev_create(&shape);

	(void)state;
	sigaction(SIGBUS, &act, &old);
	for (round = 0; round < RACE_ROUNDS; round++)
		lost += live_after_race(seg, round) != 0;
	sigaction(SIGBUS, &old, NULL);
	print_message("# live mappings after revoke: %u of %u rounds\n", lost, RACE_ROUNDS);
	EV_EQ(lost, 0);
	close(seg);
}

/* --- pins: what revoke does not reach --------------------------------------------------- */

static void revoke_leaves_pages_in_a_pipe(void **state)
{
	struct watch *w = *state;
	struct ev_peer peer = ev_attach(w->seg);
	char *memory =
		ev_map(peer.fd, ev_region(w->seg, peer.slot), EV_BLOCK, PROT_READ | PROT_WRITE);
	struct iovec iov = { memory, EV_PAGE };
	char seen[EV_PAGE];
	int ends[2];

	memset(memory, 0x42, EV_PAGE);
	EV_EQ(pipe(ends), 0);
	EV_EQ(vmsplice(ends[1], &iov, 1, 0), EV_PAGE);
	EV_EQ(ev_revoke(w->seg, peer.slot, peer.incarnation), 0);
	EV_EQ(ev_touch_read(memory), SIGBUS);
	EV_EQ(read(ends[0], seen, EV_PAGE), EV_PAGE);
	EV_EQ(seen[0], 0x42);
	EV_EQ(seen[EV_PAGE - 1], 0x42);
	close(ends[0]);
	close(ends[1]);
	munmap(memory, EV_BLOCK);
	close(peer.fd);
}

static int make_file(const char *path, int byte)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char text[EV_PAGE];

	EV_CHECK(fd >= 0);
	memset(text, byte, sizeof(text));
	EV_EQ(write(fd, text, sizeof(text)), sizeof(text));
	unlink(path);
	return fd;
}

/* Documented: a buffer registered before goes on taking I/O, and others see it. */
static void revoke_leaves_registered_buffers(void **state)
{
	struct watch *w = *state;
	struct ev_peer peer = ev_attach(w->seg);
	uint64_t at = ev_region(w->seg, peer.slot);
	char *memory = ev_map(peer.fd, at, EV_BLOCK, PROT_READ | PROT_WRITE);
	char *others = ev_map(w->peer.fd, at, EV_BLOCK, PROT_READ);
	struct iovec iov = { memory, EV_BLOCK };
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	int fd;

	if (!ev_on_shmem() && !ev_has(EVERING_FEAT_FIXED_BUFFERS)) {
		close(peer.fd);
		skip();
	}
	fd = make_file("/tmp/revoke-pin", 0x5e);
	EV_CHECK(uring_start(&ring, &uring_kinds[0]));
	EV_EQ(io_uring_register_buffers(&ring, &iov, 1), 0);
	EV_EQ(ev_revoke(w->seg, peer.slot, peer.incarnation), 0);
	EV_EQ(ev_touch_read(memory), SIGBUS);
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_read_fixed(sqe, fd, memory, EV_PAGE, 0, 0);
	io_uring_sqe_set_data64(sqe, 3);
	EV_EQ(uring_result(&ring, 3), EV_PAGE);
	EV_EQ(others[0], 0x5e);
	/* A new buffer is refused. */
	EV_EQ(io_uring_unregister_buffers(&ring), 0);
	EV_EQ(io_uring_register_buffers(&ring, &iov, 1), -EFAULT);
	io_uring_queue_exit(&ring);
	close(fd);
	munmap(memory, EV_BLOCK);
	munmap(others, EV_BLOCK);
	close(peer.fd);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, watch_setup_plain, watch_teardown)
	const struct CMUnitTest tests[] = {
		CASE(revoke_takes_mappings_and_fd_away),
		CASE(revoke_of_observer_frees_its_slot),
		CASE(revoke_of_self),
		CASE(revoke_ends_every_kind_of_wait),
		CASE(revoke_is_for_admin_fd_or_cap_sys_admin),
		CASE(revoke_of_nobody_is_refused),
		CASE(revoke_under_load_is_noticed_by_all),
		cmocka_unit_test(revoke_racing_faults_leaves_no_mapping),
		CASE(revoke_leaves_pages_in_a_pipe),
		CASE(revoke_leaves_registered_buffers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
