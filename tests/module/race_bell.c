// SPDX-License-Identifier: MIT
/*
 * race_bell ROUNDS [WAY [SECONDS]]: no wake is lost between a ring and a sleep.
 *
 * Model: two ringers, one by ioctl and one by write, each with a bell of its own, and one or two waiters on one peer
 * fd. A ringer rings, then waits until a waiter has taken this ring, then rings again;
 * so a ring that is lost, or one whose sleeper is not woken, stops it for ever. Random
 * pauses move ring and sleep over each other. Both ringers ring into the same mask, so
 * a bit taken together with another's, or dropped by its taker, is noticed as well.
 *
 * Every way to wait is run for ROUNDS rings of each ringer (or only WAY). A stopped
 * ringer is reported after a minute (or SECONDS) with the way, the round and what is
 * pending.
 *
 * Seen to fail: controls/wake-dropped, bell-dropped, uring-recheck-dropped.
 */

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>

#include "uring_cmd.h"
#include "watch.h"

#define RINGERS 2
#define BITS ((1ULL << RINGERS) - 1)
#define STOP (1ULL << RINGERS)

static uint64_t stuck_ms;

struct race {
	const struct way *way;
	uint64_t rounds;
	int seg;
	struct ev_peer from, to;
	int efd;
	/* Rings of each ringer that a waiter has taken. */
	uint64_t taken[RINGERS] __attribute__((aligned(128)));
	bool stopped;
};

struct waiter {
	pthread_t thread;
	struct race *race;
	uint64_t mask;
	unsigned int seed;
	uint64_t waits;
	int ep;
	struct io_uring ring;
	struct evering_bell_wait wait;
};

struct ringer {
	pthread_t thread;
	struct race *race;
	int bit;
	unsigned int seed;
	uint64_t at; /* round */
	bool stuck;
};

struct way {
	const char *name;
	uint64_t feature; /* needed, or 0 */
	unsigned int waiters;
	bool split; /* waiters have masks of their own */
	bool (*init)(struct waiter *); /* false: not here */
	uint64_t (*wait)(struct waiter *); /* sleeps; the bells taken */
	void (*fini)(struct waiter *);
};

/* --- ways to wait ------------------------------------------------------------------------ */

static void die(const char *what, long ret)
{
	printf("not ok - %s: %ld (%s)\n", what, ret, strerror((int)(ret < 0 ? -ret : errno)));
	fflush(stdout);
	_exit(1);
}

static uint64_t read_now(int fd)
{
	struct evering_bells bells = { .bits = 0 };

	if (read(fd, &bells, sizeof(bells)) < 0 && errno != EAGAIN)
		die("read", -errno);
	return bells.bits;
}

static uint64_t way_ioctl(struct waiter *w)
{
	struct evering_bell_wait wait;
	int ret;

	ev_arg(&wait);
	wait.mask = w->mask;
	wait.deadline_ns = EVERING_NO_DEADLINE;
	ret = ev_ioctl(w->race->to.fd, EVERING_IOC_BELL_WAIT, &wait);
	if (ret)
		die("BELL_WAIT", ret);
	return wait.bells.bits;
}

static uint64_t way_read(struct waiter *w)
{
	return read_now(w->race->to.fd);
}

static bool init_nonblock(struct waiter *w)
{
	return fcntl(w->race->to.fd, F_SETFL, O_NONBLOCK) == 0;
}

static uint64_t way_poll(struct waiter *w)
{
	struct pollfd pfd = { .fd = w->race->to.fd, .events = POLLIN };

	if (poll(&pfd, 1, -1) != 1)
		die("poll", -errno);
	return read_now(w->race->to.fd);
}

static bool init_epoll(struct waiter *w, uint32_t events)
{
	struct epoll_event event = { .events = events };

	w->ep = epoll_create1(EPOLL_CLOEXEC);
	return init_nonblock(w) && epoll_ctl(w->ep, EPOLL_CTL_ADD, w->race->to.fd, &event) == 0;
}

static bool init_level(struct waiter *w)
{
	return init_epoll(w, EPOLLIN);
}

static bool init_edge(struct waiter *w)
{
	return init_epoll(w, EPOLLIN | EPOLLET);
}

static bool init_exclusive(struct waiter *w)
{
	return init_epoll(w, EPOLLIN | EPOLLEXCLUSIVE);
}

static uint64_t way_epoll(struct waiter *w)
{
	struct epoll_event event;

	if (epoll_wait(w->ep, &event, 1, -1) != 1)
		die("epoll_wait", -errno);
	return read_now(w->race->to.fd);
}

static void fini_epoll(struct waiter *w)
{
	close(w->ep);
}

static bool init_eventfd(struct waiter *w)
{
	struct evering_bell_bind arg;

	w->race->efd = eventfd(0, EFD_CLOEXEC);
	ev_arg(&arg);
	arg.eventfd = w->race->efd;
	return init_nonblock(w) && ev_ioctl(w->race->to.fd, EVERING_IOC_BELL_BIND, &arg) == 0;
}

static uint64_t way_eventfd(struct waiter *w)
{
	uint64_t count;

	if (read(w->race->efd, &count, sizeof(count)) != sizeof(count))
		die("read of the eventfd", -errno);
	return read_now(w->race->to.fd);
}

static void fini_eventfd(struct waiter *w)
{
	close(w->race->efd);
}

static bool init_ring(struct waiter *w)
{
	return init_nonblock(w) && io_uring_queue_init(8, &w->ring, 0) == 0;
}

static void fini_ring(struct waiter *w)
{
	io_uring_queue_exit(&w->ring);
}

static int ring_complete(struct waiter *w)
{
	struct io_uring_cqe *cqe;
	int ret;

	do
		ret = io_uring_submit_and_wait(&w->ring, 1);
	while (ret == -EINTR);
	ret = io_uring_wait_cqe(&w->ring, &cqe);
	if (ret)
		die("io_uring_wait_cqe", ret);
	ret = cqe->res;
	io_uring_cqe_seen(&w->ring, cqe);
	return ret;
}

static uint64_t way_uring_wait(struct waiter *w)
{
	int ret;

	uring_put_wait(&w->ring, w->race->to.fd, &w->wait, w->mask, 1);
	ret = ring_complete(w);
	if (ret)
		die("uring BELL_WAIT", ret);
	return w->wait.bells.bits;
}

static uint64_t way_uring_poll(struct waiter *w)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);
	int ret;

	io_uring_prep_poll_add(sqe, w->race->to.fd, POLLIN);
	ret = ring_complete(w);
	if (ret < 0)
		die("uring POLL_ADD", ret);
	return read_now(w->race->to.fd);
}

static const struct way ways[] = {
	{ "wait", 0, 1, false, NULL, way_ioctl, NULL },
	{ "wait-own-masks", 0, 2, true, NULL, way_ioctl, NULL },
	{ "wait-same-mask", 0, 2, false, NULL, way_ioctl, NULL },
	{ "read", 0, 1, false, NULL, way_read, NULL },
	{ "read-twice", 0, 2, false, NULL, way_read, NULL },
	{ "poll", 0, 1, false, init_nonblock, way_poll, NULL },
	{ "epoll", 0, 1, false, init_level, way_epoll, fini_epoll },
	{ "epoll-edge", 0, 1, false, init_edge, way_epoll, fini_epoll },
	{ "epoll-exclusive", 0, 2, false, init_exclusive, way_epoll, fini_epoll },
	{ "eventfd", 0, 1, false, init_eventfd, way_eventfd, fini_eventfd },
	{ "uring-wait", EVERING_FEAT_URING_WAIT, 1, false, init_ring, way_uring_wait, fini_ring },
	{ "uring-wait-own-masks", EVERING_FEAT_URING_WAIT, 2, true, init_ring, way_uring_wait,
	  fini_ring },
	{ "uring-poll", 0, 1, false, init_ring, way_uring_poll, fini_ring },
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* --- the race ------------------------------------------------------------------------------ */

/* From nothing to some thousand turns: about as long as a call takes. */
static void pause_a_while(unsigned int *seed)
{
	unsigned int turns = (unsigned int)rand_r(seed) >> 8 & 4095;
	volatile unsigned int i;

	if (turns > 2048)
		return;
	for (i = 0; i < turns; i++)
		;
}

static uint64_t now_ms(void)
{
	return ev_now_ns() / 1000000;
}

static void *run_waiter(void *arg)
{
	struct waiter *w = arg;
	uint64_t bits;
	int bit;

	do {
		pause_a_while(&w->seed);
		bits = w->race->way->wait(w);
		w->waits++;
		for (bit = 0; bit < RINGERS; bit++)
			if (bits & 1ULL << bit)
				__atomic_fetch_add(&w->race->taken[bit], 1, __ATOMIC_RELEASE);
	} while (!(bits & STOP) && !__atomic_load_n(&w->race->stopped, __ATOMIC_ACQUIRE));
	return NULL;
}

/* False when it has not been taken for stuck_ms. */
static bool await_taken(struct ringer *r)
{
	uint64_t from = 0;
	unsigned int turn;

	for (turn = 0;; turn++) {
		if (__atomic_load_n(&r->race->taken[r->bit], __ATOMIC_ACQUIRE) == r->at)
			return true;
		if (turn < 200)
			continue;
		sched_yield();
		if (turn % 1024)
			continue;
		if (!from)
			from = now_ms();
		else if (now_ms() - from > stuck_ms)
			return false;
	}
}

/* One ringer calls ioctl, the other write. */
static int ring_once(const struct race *race, int bit)
{
	int (*ring)(int fd, uint32_t slot, uint64_t incarnation, uint64_t bits) =
		bit ? ev_ring_by_write : ev_ring;

	return ring(race->from.fd, race->to.slot, race->to.incarnation, 1ULL << bit);
}

static void *run_ringer(void *arg)
{
	struct ringer *r = arg;
	struct race *race = r->race;

	for (r->at = 1; r->at <= race->rounds; r->at++) {
		pause_a_while(&r->seed);
		if (ring_once(race, r->bit))
			die("ring", -EINVAL);
		r->stuck = !await_taken(r);
		if (r->stuck)
			break;
	}
	return NULL;
}

static void explain(const struct race *race, const struct ringer *r)
{
	struct evering_peer_entry e = peer_entry(race->seg, race->to.slot);
	struct evering_bells pending = take_bells(race->to.fd);

	printf("# way %s: ring %llu of bell %d was not taken in %llu s (taken so far: %llu); "
	       "pending now %#llx, rung %llu, of these suppressed %llu\n",
	       race->way->name, (unsigned long long)r->at, r->bit,
	       (unsigned long long)stuck_ms / 1000, (unsigned long long)race->taken[r->bit],
	       (unsigned long long)pending.bits, (unsigned long long)e.rung,
	       (unsigned long long)e.suppressed);
	if (race->taken[r->bit] > r->at)
		printf("# the bell was taken twice\n");
	else if (pending.bits & 1ULL << r->bit)
		printf("# the bell is pending: its sleeper was not woken\n");
	else
		printf("# the bell is gone: it was lost between ring and taker\n");
}

/* Release every waiter: bells until each has left. */
static void stop_waiters(struct race *race, struct waiter *w)
{
	unsigned int i;

	__atomic_store_n(&race->stopped, true, __ATOMIC_RELEASE);
	for (i = 0; i < race->way->waiters; i++) {
		while (pthread_tryjoin_np(w[i].thread, NULL)) {
			ev_ring(race->from.fd, race->to.slot, race->to.incarnation, BITS | STOP);
			usleep(1000);
		}
		if (race->way->fini)
			race->way->fini(&w[i]);
	}
}

static bool run_ringers(struct race *race, unsigned int seed)
{
	struct ringer r[RINGERS];
	bool good = true;
	int i;

	for (i = 0; i < RINGERS; i++) {
		r[i] = (struct ringer){ .race = race, .bit = i, .seed = seed + (unsigned int)i };
		if (pthread_create(&r[i].thread, NULL, run_ringer, &r[i]))
			die("pthread_create", -EAGAIN);
	}
	for (i = 0; i < RINGERS; i++) {
		pthread_join(r[i].thread, NULL);
		if (r[i].stuck)
			explain(race, &r[i]);
		good = good && !r[i].stuck;
	}
	return good;
}

/* 1: passed, 0: failed, -1: not here */
static int run_way(const struct way *way, uint64_t rounds)
{
	struct race race = { .way = way, .rounds = rounds };
	struct waiter w[2];
	bool good = true;
	unsigned int i;

	if (way->feature && !ev_has(way->feature))
		return -1;
	race.seg = ev_create_plain();
	race.to = ev_attach(race.seg);
	race.from = ev_attach(race.seg);
	take_bells(race.to.fd);
	for (i = 0; i < way->waiters; i++) {
		memset(&w[i], 0, sizeof(w[i]));
		w[i].race = &race;
		w[i].seed = 77 + i;
		w[i].mask = way->split ? STOP | 1ULL << i : BITS | STOP;
		if (way->init && !way->init(&w[i]))
			die(way->name, -errno);
		if (pthread_create(&w[i].thread, NULL, run_waiter, &w[i]))
			die("pthread_create", -EAGAIN);
	}
	good = run_ringers(&race, (unsigned int)rounds);
	if (!good) /* the sleepers may be beyond help */
		return 0;
	stop_waiters(&race, w);
	printf("# %s: %llu rings in %llu waits\n", way->name,
	       (unsigned long long)(race.taken[0] + race.taken[1]),
	       (unsigned long long)(w[0].waits + (way->waiters > 1 ? w[1].waits : 0)));
	close(race.from.fd);
	close(race.to.fd);
	close(race.seg);
	return 1;
}

int main(int argc, char **argv)
{
	uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 0) : 10000;
	const char *only = argc > 2 ? argv[2] : NULL;
	unsigned int i, failed = 0, nr = 0;

	stuck_ms = argc > 3 ? strtoull(argv[3], NULL, 0) * 1000 : (uint64_t)EV_HANG_MS;
	if (rounds == 0 || stuck_ms == 0) {
		fprintf(stderr, "usage: race_bell ROUNDS [WAY [SECONDS]]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 0; i < WAYS; i++) {
		int good;

		if (only && strcmp(only, "all") && strcmp(only, ways[i].name))
			continue;
		good = run_way(&ways[i], rounds);
		printf("%s %u - race_bell_%s%s\n", good ? "ok" : "not ok", ++nr, ways[i].name,
		       good < 0 ? " # SKIP not on this kernel" : "");
		failed += good == 0;
	}
	printf("1..%u\n", nr);
	fflush(stdout);
	/* Not return: stuck threads hold the fds. */
	_exit(failed || nr == 0);
}
