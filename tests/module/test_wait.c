// SPDX-License-Identifier: MIT
/*
 * BELL_WAIT: masks, deadlines, signals, several threads that wait for different bells.
 *
 * Seen to fail: controls/mask-ignored.
 */

#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>

#include "scene.h"

#define HERD 4

static int wait_bell(int fd, uint64_t mask, uint64_t deadline_ns, struct evering_bells *bells)
{
	struct evering_bell_wait wait;
	int ret;

	ev_arg(&wait);
	wait.mask = mask;
	wait.deadline_ns = deadline_ns;
	poison(&wait.bells, sizeof(wait.bells));
	ret = ev_ioctl(fd, EVERING_IOC_BELL_WAIT, &wait);
	if (ret < 0)
		EV_CHECK(is_poisoned(&wait.bells, sizeof(wait.bells)));
	else if (bells)
		*bells = wait.bells;
	return ret;
}

static void wait_takes_its_mask_alone(void **state)
{
	struct scene *s = *state;
	int fd = s->peer[RUNG].fd;
	struct evering_bells bells;

	EV_EQ(scene_ring(s, 7), 0);
	EV_EQ(wait_bell(fd, 2, 0, &bells), 0);
	EV_EQ(bells.bits, 2);
	EV_EQ(wait_bell(fd, 2, 0, NULL), -ETIMEDOUT);
	EV_EQ(events_now(fd, POLLIN), POLLIN);
	EV_EQ(wait_bell(fd, ~0ULL, 0, &bells), 0);
	EV_EQ(bells.bits, 5);
	EV_EQ(wait_bell(fd, 0, 0, NULL), -EINVAL);
}

static void wait_deadlines_past_now_future(void **state)
{
	struct scene *s = *state;
	int fd = s->peer[RUNG].fd;
	struct evering_bells bells;
	uint64_t from = ev_now_ns();

	EV_EQ(wait_bell(fd, 1, 0, NULL), -ETIMEDOUT);
	EV_EQ(wait_bell(fd, 1, 1, NULL), -ETIMEDOUT);
	EV_EQ(wait_bell(fd, 1, from, NULL), -ETIMEDOUT);
	EV_EQ(wait_bell(fd, 1, from + 30000000, NULL), -ETIMEDOUT);
	EV_CHECK(ev_now_ns() >= from + 30000000);
	EV_EQ(scene_ring(s, 1), 0);
	/* A bell that is there is given whatever the deadline. */
	EV_EQ(wait_bell(fd, 1, 1, &bells), 0);
	EV_EQ(bells.bits, 1);
	EV_EQ(scene_ring(s, 1), 0);
	EV_EQ(wait_bell(fd, 1, EVERING_NO_DEADLINE - 1, &bells), 0);
	EV_EQ(scene_ring(s, 1), 0);
	EV_EQ(wait_bell(fd, 1, EVERING_NO_DEADLINE, &bells), 0);
}

struct mask_waiter {
	pthread_t thread;
	int fd;
	uint64_t mask;
	uint64_t got;
	int ret;
	pid_t tid;
};

static void *wait_mask(void *arg)
{
	struct mask_waiter *w = arg;
	struct evering_bell_wait wait;

	ev_arg(&wait);
	wait.mask = w->mask;
	wait.deadline_ns = EVERING_NO_DEADLINE;
	__atomic_store_n(&w->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	w->ret = ev_ioctl(w->fd, EVERING_IOC_BELL_WAIT, &wait);
	w->got = wait.bells.bits;
	return NULL;
}

static void waiter_start(struct mask_waiter *w, int fd, uint64_t mask)
{
	*w = (struct mask_waiter){ .fd = fd, .mask = mask, .ret = 1 };
	EV_EQ(pthread_create(&w->thread, NULL, wait_mask, w), 0);
	while (!__atomic_load_n(&w->tid, __ATOMIC_ACQUIRE))
		usleep(100);
	await_asleep(w->tid);
}

static void wait_of_threads_with_other_masks(void **state)
{
	struct scene *s = *state;
	struct mask_waiter w[HERD];
	int i;

	for (i = 0; i < HERD; i++)
		waiter_start(&w[i], s->peer[RUNG].fd, 1ULL << i);
	/* Last come, first rung: nobody may swallow a wake meant for another. */
	for (i = HERD - 1; i >= 0; i--) {
		EV_EQ(scene_ring(s, 1ULL << i), 0);
		EV_EQ(pthread_join(w[i].thread, NULL), 0);
		EV_EQ(w[i].ret, 0);
		EV_EQ(w[i].got, 1ULL << i);
	}
	EV_EQ(take_bells(s->peer[RUNG].fd).bits, 0);
}

static void wait_of_several_masks_ends_by_one_ring(void **state)
{
	struct scene *s = *state;
	struct mask_waiter w[HERD];
	uint64_t got = 0;
	int i;

	for (i = 0; i < HERD; i++)
		waiter_start(&w[i], s->peer[RUNG].fd, 1ULL << i);
	EV_EQ(scene_ring(s, (1 << HERD) - 1), 0);
	for (i = 0; i < HERD; i++) {
		EV_EQ(pthread_join(w[i].thread, NULL), 0);
		EV_EQ(w[i].ret, 0);
		got |= w[i].got;
	}
	EV_EQ(got, (1 << HERD) - 1);
}

static void on_signal(int sig)
{
	(void)sig;
}

static void wait_with_signals(struct scene *s, int flags)
{
	struct sigaction act = { .sa_handler = on_signal, .sa_flags = flags };
	struct mask_waiter w;
	int i;

	sigaction(SIGUSR1, &act, NULL);
	waiter_start(&w, s->peer[RUNG].fd, 1);
	for (i = 0; i < 3 && (flags || i < 1); i++) {
		EV_EQ(pthread_kill(w.thread, SIGUSR1), 0);
		usleep(20000);
	}
	if (flags)
		EV_EQ(scene_ring(s, 1), 0);
	EV_EQ(pthread_join(w.thread, NULL), 0);
	EV_EQ(w.ret, flags ? 0 : -EINTR);
}

static void wait_is_interrupted_or_restarted(void **state)
{
	wait_with_signals(*state, 0);
	wait_with_signals(*state, SA_RESTART);
}

static void wait_restarted_keeps_its_deadline(void **state)
{
	struct scene *s = *state;
	struct sigaction act = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct itimerspec every = { { 0, 5000000 }, { 0, 5000000 } };
	struct sigevent notify = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	uint64_t from = ev_now_ns();
	timer_t timer;

	sigaction(SIGUSR1, &act, NULL);
	EV_EQ(timer_create(CLOCK_MONOTONIC, &notify, &timer), 0);
	EV_EQ(timer_settime(timer, 0, &every, NULL), 0);
	/* Restarted by every signal, yet the absolute deadline holds. */
	EV_EQ(wait_bell(s->peer[RUNG].fd, 1, from + 60000000, NULL), -ETIMEDOUT);
	EV_CHECK(ev_now_ns() >= from + 60000000);
	timer_delete(timer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(wait_takes_its_mask_alone, scene_start, scene_stop),
		cmocka_unit_test_setup_teardown(wait_deadlines_past_now_future, scene_start,
						scene_stop),
		cmocka_unit_test_setup_teardown(wait_of_threads_with_other_masks, scene_start,
						scene_stop),
		cmocka_unit_test_setup_teardown(wait_of_several_masks_ends_by_one_ring, scene_start,
						scene_stop),
		cmocka_unit_test_setup_teardown(wait_is_interrupted_or_restarted, scene_start,
						scene_stop),
		cmocka_unit_test_setup_teardown(wait_restarted_keeps_its_deadline, scene_start,
						scene_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
