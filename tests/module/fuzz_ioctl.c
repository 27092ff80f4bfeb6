// SPDX-License-Identifier: MIT
/*
 * fuzz_ioctl SECONDS [SEED]: random calls from WORKERS processes on shared segments,
 * while the workers are killed at random and started again. Then everything is let
 * go, and what the module holds must be what it held before. The kernel's log is
 * looked at by who runs this; it makes most sense on the KASAN and KCSAN kernels.
 *
 * A worker's calls follow from its seed (printed with the run's); what the others do
 * meanwhile does not.
 *
 * Seen to fail: without the iput of PEER_REVOKE.
 */

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>

#include "command.h"
#include "uring_cmd.h"
#include "watch.h"

#define WORKERS 4
#define SHARED_SEGMENTS 3
#define SEGS 6
#define PEERS 8
#define MAPS 8

struct worker {
	uint64_t random;
	int control, eventfd, ep;
	int seg[SEGS];
	int peer[PEERS];
	struct {
		char *p;
		size_t sz;
	} map[MAPS];
	struct io_uring ring;
	bool has_ring;
	struct evering_bell_wait wait[4];
	uint64_t calls;
};

static int shared_segment[SHARED_SEGMENTS];
/* Of all workers. */
static struct {
	uint64_t calls;
	uint64_t faults;
} * shared;

/* --- randomness ---------------------------------------------------------------------- */

static uint64_t next(struct worker *w)
{
	/* xorshift64*: small and good enough to choose calls. */
	w->random ^= w->random >> 12;
	w->random ^= w->random << 25;
	w->random ^= w->random >> 27;
	return w->random * 0x2545f4914f6cdd1dULL;
}

static uint32_t below(struct worker *w, uint32_t n)
{
	return (uint32_t)(next(w) >> 33) % n;
}

static bool one_in(struct worker *w, uint32_t n)
{
	return below(w, n) == 0;
}

static int any_seg(struct worker *w)
{
	return one_in(w, 2) ? w->seg[below(w, SEGS)] : shared_segment[below(w, SHARED_SEGMENTS)];
}

static int any_peer(struct worker *w)
{
	return w->peer[below(w, PEERS)];
}

static int any_fd(struct worker *w)
{
	switch (below(w, 5)) {
	case 0:
		return w->control;
	case 1:
		return w->eventfd;
	case 2:
		return any_seg(w);
	default:
		return any_peer(w);
	}
}

struct target {
	uint32_t slot;
	uint64_t incarnation;
};

/* A peer of the segment behind fd, mostly one that exists. */
static struct target any_target(struct worker *w, int fd)
{
	struct target t = { .slot = below(w, 9), .incarnation = below(w, 5) };
	struct evering_peer_entry entry[8];
	struct evering_peer_list list;

	ev_arg(&list);
	list.first = below(w, 4);
	list.nr = 8;
	list.entries = (uintptr_t)entry;
	if (ev_ioctl(fd, EVERING_IOC_PEER_LIST, &list) || list.nr == 0 || one_in(w, 16))
		return t;
	t.slot = entry[below(w, list.nr)].slot;
	t.incarnation = entry[below(w, list.nr)].incarnation;
	return t;
}

/* --- calls ------------------------------------------------------------------------------ */

static void replace(int *place, int fd)
{
	if (fd < 0)
		return;
	if (*place >= 0)
		close(*place);
	*place = fd;
}

static void do_create(struct worker *w)
{
	struct ev_shape shape = {
		.shared_size = below(w, 4) * EV_PAGE,
		.peer_size = (1 + below(w, 3)) * EV_PAGE,
		.peers_max = 1 + below(w, 8),
		.backing = one_in(w, 4),
	};

	if (one_in(w, 8))
		shape.shared_size = 2 * EV_BLOCK;
	if (one_in(w, 4)) {
		shape.flags = below(w, 4);
		shape.shared_size = shape.flags & 1 ? 0 : shape.shared_size;
	}
	replace(&w->seg[below(w, SEGS)], ev_try_create(&shape));
}

static void do_names(struct worker *w)
{
	char name[16];

	snprintf(name, sizeof(name), "fuzz-%u", below(w, 4));
	switch (below(w, 4)) {
	case 0:
		ev_publish(any_seg(w), name, below(w, 0777) & 0666, below(w, 2));
		break;
	case 1:
		ev_unpublish(any_seg(w));
		break;
	default:
		replace(&w->seg[below(w, SEGS)],
			ev_open_name(name, one_in(w, 3) ? below(w, 32) : 0));
	}
}

static void do_attach(struct worker *w)
{
	uint32_t slot = one_in(w, 2) ? EVERING_SLOT_ANY : below(w, 8);
	struct ev_peer peer;

	if (ev_try_attach(any_seg(w), one_in(w, 4), slot, &peer) == 0)
		replace(&w->peer[below(w, PEERS)], peer.fd);
}

static void do_invite(struct worker *w)
{
	uint32_t reserve = one_in(w, 3);

	replace(&w->seg[below(w, SEGS)],
		ev_try_invite(any_seg(w), below(w, 32), reserve, reserve ? 1 : below(w, 3)));
}

static void do_end(struct worker *w)
{
	int seg = any_seg(w), peer = any_peer(w);
	struct target t;

	switch (below(w, 6)) {
	case 0:
		ev_detach(peer);
		break;
	case 1:
		t = any_target(w, seg);
		ev_revoke(seg, t.slot, t.incarnation);
		break;
	case 2:
		replace(&w->seg[below(w, SEGS)], dup(seg));
		break;
	case 3:
		replace(&w->peer[below(w, PEERS)], dup(peer));
		break;
	default:
		t = any_target(w, peer);
		ev_reaped(peer, t.slot, t.incarnation);
	}
}

static void do_ring(struct worker *w)
{
	struct evering_bell bell[8];
	struct evering_bell_ring arg;
	int fd = any_peer(w);
	uint32_t i;

	ev_arg(&arg);
	arg.nr = below(w, 9);
	arg.bells = (uintptr_t)bell;
	for (i = 0; i < arg.nr; i++) {
		struct target t = any_target(w, fd);

		bell[i] = (struct evering_bell){
			.slot = t.slot,
			.incarnation = t.incarnation,
			.bits = next(w) & next(w) & EVERING_BELLS_USER,
		};
	}
	if (next(w) % 2)
		ev_ioctl(fd, EVERING_IOC_BELL_RING, &arg);
	else if (write(fd, bell, arg.nr * sizeof(*bell)) < 0)
		return;
}

static uint64_t soon(struct worker *w)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec + below(w, 3000000);
}

static void do_wait(struct worker *w)
{
	struct pollfd pfd = { .fd = any_peer(w), .events = (short)below(w, 64) };
	struct evering_bell_wait wait;
	struct evering_bells bells;
	struct evering_bell_bind bind;
	struct epoll_event event = { .events = EPOLLIN | (one_in(w, 2) ? EPOLLET : 0) };
	int fd = any_peer(w);

	ev_arg(&wait);
	wait.mask = next(w);
	wait.deadline_ns = soon(w);
	ev_arg(&bind);
	bind.eventfd = one_in(w, 3) ? -1 : w->eventfd;
	switch (below(w, 6)) {
	case 0:
		ev_ioctl(fd, EVERING_IOC_BELL_WAIT, &wait);
		break;
	case 1:
		fcntl(fd, F_SETFL, O_NONBLOCK);
		if (read(fd, &bells, below(w, 64)) < 0)
			return;
		break;
	case 2:
		poll(&pfd, 1, (int)below(w, 3));
		break;
	case 3:
		ev_ioctl(fd, EVERING_IOC_BELL_BIND, &bind);
		break;
	case 4:
		epoll_ctl(w->ep, one_in(w, 3) ? EPOLL_CTL_DEL : EPOLL_CTL_ADD, fd, &event);
		break;
	default:
		epoll_wait(w->ep, &event, 1, (int)below(w, 3));
	}
}

static void do_map(struct worker *w)
{
	uint32_t i = below(w, MAPS);
	int prot = one_in(w, 3) ? PROT_READ : PROT_READ | PROT_WRITE;
	int flags = MAP_SHARED | (one_in(w, 3) ? MAP_POPULATE : 0);
	size_t sz = (1 + below(w, 3)) * EV_PAGE;
	void *p = mmap(NULL, sz, prot, flags, one_in(w, 16) ? any_fd(w) : any_peer(w),
		       (off_t)(below(w, 8) * EV_PAGE));

	if (p == MAP_FAILED)
		return;
	if (w->map[i].p)
		munmap(w->map[i].p, w->map[i].sz);
	w->map[i].p = p;
	w->map[i].sz = sz;
}

static void do_memory(struct worker *w)
{
	static const int advice[] = { MADV_DONTNEED, MADV_DOFORK,   MADV_DONTFORK, MADV_PAGEOUT,
				      MADV_COLD,     MADV_WILLNEED, MADV_HUGEPAGE, MADV_REMOVE };
	uint32_t i = below(w, MAPS);
	char *p = w->map[i].p;
	void *moved;

	if (!p)
		return;
	switch (below(w, 6)) {
	case 0:
		madvise(p, w->map[i].sz, advice[below(w, 8)]);
		break;
	case 1:
		mprotect(p, w->map[i].sz, (int)below(w, 4));
		break;
	case 2:
		moved = mremap(p, w->map[i].sz, w->map[i].sz + below(w, 2) * EV_PAGE,
			       MREMAP_MAYMOVE);
		if (moved != MAP_FAILED)
			w->map[i].p = moved;
		break;
	case 3:
		munmap(p, w->map[i].sz);
		w->map[i].p = NULL;
		break;
	case 4:
		ev_touch_read(p + below(w, (uint32_t)w->map[i].sz));
		break;
	default:
		ev_touch_write(p + below(w, (uint32_t)w->map[i].sz));
	}
}

static void do_uring(struct worker *w)
{
	struct iovec iov = { w->map[0].p, w->map[0].sz };
	struct io_uring_cqe *cqe;
	static struct evering_bell bell;
	struct target t;

	if (!w->has_ring) {
		w->has_ring = io_uring_queue_init(8, &w->ring, 0) == 0;
		return;
	}
	if (io_uring_sq_space_left(&w->ring) == 0) {
		io_uring_submit(&w->ring);
		return;
	}
	switch (below(w, 8)) {
	case 0:
		io_uring_queue_exit(&w->ring);
		w->has_ring = false;
		return;
	case 1:
		io_uring_register_buffers(&w->ring, &iov, 1);
		break;
	case 2:
		io_uring_unregister_buffers(&w->ring);
		break;
	case 3:
		t = any_target(w, any_peer(w));
		bell.slot = t.slot;
		bell.incarnation = t.incarnation;
		bell.bits = 1ULL << below(w, 63);
		uring_put_ring(&w->ring, any_peer(w), &bell, 1, 1);
		break;
	case 4:
		uring_put_cancel(&w->ring, any_peer(w), below(w, 4), 2);
		break;
	default:
		uring_put_wait(&w->ring, any_peer(w), &w->wait[below(w, 4)], next(w), below(w, 4));
	}
	io_uring_submit(&w->ring);
	while (io_uring_peek_cqe(&w->ring, &cqe) == 0)
		io_uring_cqe_seen(&w->ring, cqe);
}

/* A valid command on any fd, or one with any bytes in its argument. */
static void do_anything(struct worker *w)
{
	const struct command *command = &commands[below(w, commands_nr)];
	uint64_t arg[ARGUMENT_MAX / 8];
	uint32_t i;

	/* What it returns in an fd could not be closed if it were not known. */
	if (command->fd_offset)
		return;
	memset(arg, 0, sizeof(arg));
	for (i = 0; i < 1 + below(w, 8); i++)
		arg[below(w, (uint32_t)command->sz / 8)] = one_in(w, 2) ? next(w) : below(w, 4);
	memcpy(arg, &(uint32_t){ (uint32_t)command->sz + 4 * one_in(w, 8) }, 4);
	/* No endless sleep, and no segment that grows without end. */
	if (command->cmd == EVERING_IOC_BELL_WAIT)
		arg[offsetof(struct evering_bell_wait, deadline_ns) / 8] = 1;
	if (command->cmd == EVERING_IOC_SEGMENT_GROW)
		arg[offsetof(struct evering_segment_grow, bytes) / 8] %= 2 * EV_BLOCK;
	ev_ioctl(any_fd(w), command->cmd, one_in(w, 32) ? (void *)16 : arg);
}

static void do_close(struct worker *w)
{
	int *place = one_in(w, 2) ? &w->seg[below(w, SEGS)] : &w->peer[below(w, PEERS)];

	if (*place >= 0)
		close(*place);
	*place = -1;
}

static void do_fork(struct worker *w);

static void do_one(struct worker *w)
{
	static void (*const call[])(struct worker *) = {
		do_create, do_names,  do_attach, do_attach, do_invite,	 do_end,   do_end,
		do_ring,   do_ring,   do_wait,	 do_wait,   do_map,	 do_map,   do_memory,
		do_memory, do_memory, do_uring,	 do_uring,  do_anything, do_close,
	};

	w->calls++;
	__atomic_fetch_add(&shared->calls, 1, __ATOMIC_RELAXED);
	if (one_in(w, 300))
		do_fork(w);
	else
		call[below(w, sizeof(call) / sizeof(call[0]))](w);
}

/* In a child: most are not inherited, and their addresses are free for anything. */
static void forget_maps(struct worker *w)
{
	int i;

	for (i = 0; i < MAPS; i++) {
		if (!w->map[i].p)
			continue;
		ev_touch_write(w->map[i].p);
		munmap(w->map[i].p, w->map[i].sz);
		w->map[i].p = NULL;
	}
}

/* A child with its parent's fds and what MADV_DOFORK left it; the ring is not its own. */
static void do_fork(struct worker *w)
{
	pid_t pid = fork();
	uint32_t i, nr;

	if (pid < 0)
		return;
	if (pid > 0) {
		waitpid(pid, NULL, one_in(w, 2) ? WNOHANG : 0);
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	w->has_ring = false;
	w->random ^= 0x9e3779b97f4a7c15ULL;
	forget_maps(w);
	nr = below(w, 60);
	for (i = 0; i < nr; i++)
		do_one(w);
	_exit(0);
}

/* --- processes ------------------------------------------------------------------------------ */

/* Outside of a touch a fault is the fuzzer's bug, or memory that the module spoilt. */
static void on_fault(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;

	dprintf(STDOUT_FILENO, "not ok - worker %d: signal %d at %p, rip %#llx\n", getpid(), sig,
		info->si_addr, (unsigned long long)uc->uc_mcontext.gregs[REG_RIP]);
	__atomic_fetch_add(&shared->faults, 1, __ATOMIC_RELAXED);
	_exit(1);
}

static void run_worker(uint64_t seed)
{
	struct sigaction act = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	static struct worker w;
	int i;

	sigaction(SIGSEGV, &act, NULL);
	sigaction(SIGBUS, &act, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	w.random = seed | 1;
	w.control = ev_control();
	w.eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w.ep = epoll_create1(EPOLL_CLOEXEC);
	for (i = 0; i < SEGS; i++)
		w.seg[i] = -1;
	for (i = 0; i < PEERS; i++)
		w.peer[i] = -1;
	/* Each child leaves one that has exited: collect them now and then. */
	signal(SIGCHLD, SIG_IGN);
	for (;;)
		do_one(&w);
}

static pid_t start_worker(uint64_t seed)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		run_worker(seed);
	return pid;
}

/* Wait for a process of ours to be gone; false when it hangs. */
static bool await_gone(pid_t pid)
{
	int ms, status;

	for (ms = 0; ms < EV_HANG_MS; ms++) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got == pid || (got < 0 && errno == ECHILD))
			return true;
		usleep(1000);
	}
	return false;
}

static void forget_names(void)
{
	char name[16];
	int i, fd;

	for (i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "fuzz-%d", i);
		fd = ev_open_name(name, 0);
		if (fd < 0)
			continue;
		ev_unpublish(fd);
		close(fd);
	}
}

static bool run(unsigned int seconds, uint64_t seed)
{
	pid_t pid[WORKERS];
	uint64_t started = 0;
	time_t end = time(NULL) + seconds;
	unsigned int i, kills = 0;
	bool good = true;

	for (i = 0; i < WORKERS; i++)
		pid[i] = start_worker(seed + started++);
	srand((unsigned int)seed);
	while (time(NULL) < end && good) {
		usleep((useconds_t)rand() % 400000);
		i = (unsigned int)rand() % WORKERS;
		kill(pid[i], SIGKILL);
		good = await_gone(pid[i]);
		pid[i] = start_worker(seed + started++);
		kills++;
	}
	for (i = 0; i < WORKERS; i++) {
		kill(pid[i], SIGKILL);
		good = await_gone(pid[i]) && good;
	}
	printf("# seed %llu: %llu calls of %llu workers, %u kills in %u s\n",
	       (unsigned long long)seed, (unsigned long long)shared->calls,
	       (unsigned long long)started, kills, seconds);
	if (!good)
		printf("# a killed worker does not end\n");
	return good && !shared->faults;
}

static unsigned int fuzz_seconds = 20;
static uint64_t fuzz_seed;

static void fuzz_leaves_nothing(void **state)
{
	struct ev_shape shape = { .peer_size = EV_PAGE, .peers_max = 8 };
	struct evering_info before = ev_info();
	int i;

	(void)state;
	for (i = 0; i < SHARED_SEGMENTS; i++) {
		shape.shared_size = (size_t)i * EV_PAGE;
		shape.flags = i == 0 ? EVERING_SEGMENT_F_ISOLATED : 0;
		shared_segment[i] = ev_create(&shape);
	}
	EV_CHECK(run(fuzz_seconds, fuzz_seed));
	for (i = 0; i < SHARED_SEGMENTS; i++) {
		ev_unpublish(shared_segment[i]);
		close(shared_segment[i]);
	}
	forget_names();
	/* Killed workers' children and their rings end a little later. */
	await_totals(&before);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(fuzz_leaves_nothing) };
	struct rlimit files = { 512, 512 };

	if (argc > 1)
		fuzz_seconds = (unsigned int)strtoul(argv[1], NULL, 0);
	fuzz_seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
	if (fuzz_seconds == 0) {
		fprintf(stderr, "usage: fuzz_ioctl SECONDS [SEED]\n");
		return 2;
	}
	setrlimit(RLIMIT_NOFILE, &files);
	shared = mmap(NULL, EV_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	printf("# seed %llu, %u s\n", (unsigned long long)fuzz_seed, fuzz_seconds);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
