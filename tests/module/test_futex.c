// SPDX-License-Identifier: MIT
/*
 * Process-shared futexes in a segment: two processes, each with a peer fd, an
 * address and a mapping window of its own, meet on the same word.
 *
 * Seen to fail: with folio->mapping unset.
 */

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

#include "device.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

#define RW (PROT_READ | PROT_WRITE)

/* In the second block, so that the windows of the two processes can differ. */
struct meeting {
	_Atomic uint32_t word, second;
	pthread_mutex_t mutex;
	uint64_t guarded;
};

static int seg;

static int begin(void **state)
{
	static const struct ev_shape shape = {
		.shared_size = 2 * EV_BLOCK,
		.peer_size = EV_PAGE,
		.peers_max = 3,
	};

	(void)state;
	seg = ev_create(&shape);
	return 0;
}

static int end(void **state)
{
	(void)state;
	close(seg);
	return 0;
}

/* window: bytes of the first block that are mapped before the meeting place. */
static struct meeting *meet(struct ev_peer *peer, size_t window)
{
	char *p;

	*peer = ev_attach(seg);
	p = ev_map(peer->fd, 2 * EV_BLOCK - window, EV_BLOCK + window, RW);
	return (void *)(p + window);
}

static long futex(_Atomic uint32_t *word, int op, uint32_t value, const struct timespec *timeout)
{
	long ret = syscall(SYS_futex, word, op, value, timeout, NULL, 0);

	return ret < 0 ? -errno : ret;
}

static void wait_for_word(struct ev_link *link, void *arg)
{
	struct ev_peer peer;
	struct meeting *m = meet(&peer, EV_PAGE);
	const struct timespec hang = { EV_HANG_MS / 1000, 0 };
	long ret;

	(void)arg;
	ev_say(link, 1);
	ret = futex(&m->word, FUTEX_WAIT, 0, &hang);
	EV_CHECK(ret == 0 || ret == -EAGAIN);
	EV_EQ(m->word, 7);
	ev_say(link, ret == 0);
	close(peer.fd);
}

/* Wake until somebody slept there; the waiter must then have been woken by us. */
static void wake_one(_Atomic uint32_t *word)
{
	int ms;

	for (ms = 0; ms < EV_HANG_MS; ms++) {
		if (futex(word, FUTEX_WAKE, 1, NULL) == 1)
			return;
		usleep(1000);
	}
	ev_fail(__FILE__, __LINE__, "nobody was found on the futex");
}

static void futex_wake_crosses_processes(void **state)
{
	struct ev_peer peer;
	struct meeting *m = meet(&peer, 0);
	struct ev_link child;
	int ms;

	(void)state;
	ev_child_start(&child, wait_for_word, NULL);
	ev_hear(&child);
	/* Requeue to the same word finds a sleeper without waking him. */
	for (ms = 0; ms < EV_HANG_MS; ms++) {
		long found = syscall(SYS_futex, &m->word, FUTEX_REQUEUE, 0, 1L, &m->second, 0);

		EV_CHECK(found >= 0);
		if (found == 1)
			break;
		usleep(1000);
	}
	atomic_store(&m->word, 7);
	EV_EQ(futex(&m->word, FUTEX_WAKE, 1, NULL), 0);
	EV_EQ(futex(&m->second, FUTEX_WAKE, 1, NULL), 1);
	EV_EQ(ev_hear(&child), 1);
	ev_child_join(&child);
	munmap(m, EV_BLOCK);
	close(peer.fd);
}

static void wait_for_two(struct ev_link *link, void *arg)
{
	struct ev_peer peer;
	struct meeting *m = meet(&peer, 3 * EV_PAGE);
	struct futex_waitv wait[2] = {
		{ .uaddr = (uintptr_t)&m->word, .flags = FUTEX_32 },
		{ .uaddr = (uintptr_t)&m->second, .flags = FUTEX_32 },
	};
	struct timespec until;

	(void)arg;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += EV_HANG_MS / 1000;
	ev_say(link, 1);
	EV_EQ(syscall(SYS_futex_waitv, wait, 2, 0, &until, CLOCK_MONOTONIC), 1);
	close(peer.fd);
}

static void futex_waitv_crosses_processes(void **state)
{
	struct ev_peer peer;
	struct meeting *m = meet(&peer, 0);
	struct ev_link child;

	(void)state;
	ev_child_start(&child, wait_for_two, NULL);
	ev_hear(&child);
	wake_one(&m->second);
	ev_child_join(&child);
	munmap(m, EV_BLOCK);
	close(peer.fd);
}

static void lock_and_die(struct ev_link *link, void *arg)
{
	struct ev_peer peer;
	struct meeting *m = meet(&peer, 2 * EV_PAGE);

	(void)arg;
	EV_EQ(pthread_mutex_lock(&m->mutex), 0);
	m->guarded = 41;
	ev_say(link, 1);
	for (;;)
		pause();
}

static void *lock_wanted(void *arg)
{
	struct meeting *m = arg;

	return (void *)(intptr_t)pthread_mutex_lock(&m->mutex);
}

static void robust_mutex(int protocol)
{
	pthread_mutexattr_t attr;
	struct ev_peer peer;
	struct meeting *m = meet(&peer, 0);
	struct ev_link child;
	pthread_t waiter;
	void *got;

	pthread_mutexattr_init(&attr);
	EV_EQ(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
	EV_EQ(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST), 0);
	EV_EQ(pthread_mutexattr_setprotocol(&attr, protocol), 0);
	EV_EQ(pthread_mutex_init(&m->mutex, &attr), 0);
	ev_child_start(&child, lock_and_die, NULL);
	ev_hear(&child);
	EV_EQ(pthread_mutex_trylock(&m->mutex), EBUSY);
	EV_EQ(pthread_create(&waiter, NULL, lock_wanted, m), 0);
	usleep(20000); /* most times it sleeps by then; right either way */
	ev_child_kill(&child);
	EV_EQ(pthread_join(waiter, &got), 0);
	EV_EQ((intptr_t)got, EOWNERDEAD);
	EV_EQ(m->guarded, 41);
	munmap(m, EV_BLOCK);
	close(peer.fd);
}

static void futex_robust_owner_killed(void **state)
{
	(void)state;
	robust_mutex(PTHREAD_PRIO_NONE);
}

static void futex_robust_inheriting_owner_killed(void **state)
{
	(void)state;
	robust_mutex(PTHREAD_PRIO_INHERIT);
}

/* A word of the status page: waiting is allowed, to read it is enough. */
static void futex_wait_on_readonly(void **state)
{
	struct timespec soon = { 0, 1000000 };
	struct ev_peer peer = ev_attach(seg);
	const struct evering_status_header *status = ev_status(peer.fd);
	uint32_t *word = (uint32_t *)(uintptr_t)&status->generation;

	(void)state;
	EV_EQ(futex((_Atomic uint32_t *)word, FUTEX_WAIT, *word, &soon), -ETIMEDOUT);
	EV_EQ(futex((_Atomic uint32_t *)word, FUTEX_WAIT, *word + 1, &soon), -EAGAIN);
	close(peer.fd);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		CASE(futex_wake_crosses_processes), CASE(futex_waitv_crosses_processes),
		CASE(futex_robust_owner_killed),    CASE(futex_robust_inheriting_owner_killed),
		CASE(futex_wait_on_readonly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
