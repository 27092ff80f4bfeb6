// SPDX-License-Identifier: MIT
/* An end by a signal, for subcommands that go on until there is one. */
#include "signals.h"

#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>

static volatile sig_atomic_t came;

static void take_signal(int number)
{
	came = number;
}

void signals_catch(void)
{
	struct sigaction action = { .sa_handler = take_signal };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

bool signals_came(void)
{
	return came;
}

void signals_sleep(double seconds)
{
	signals_wait_input(-1, seconds);
}

bool signals_wait_input(int fd, double seconds)
{
	struct timespec time = { .tv_sec = (time_t)seconds };
	struct pollfd input = { .fd = fd, .events = POLLIN };
	sigset_t ours, before;
	int ready = 0;

	time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
	/* Blocked but for the wait itself, so that none comes between the look and the wait. */
	sigemptyset(&ours);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGHUP);
	sigaddset(&ours, SIGWINCH);
	sigprocmask(SIG_BLOCK, &ours, &before);
	if (!came)
		ready = ppoll(&input, 1, &time, &before);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return ready > 0;
}
