/* SPDX-License-Identifier: MIT */
/*
 * What the driver's files call of the system, by another name: see meson.build. One eventfd,
 * a poll of it, and the futex. A call is one step and a barrier, as the kernel's are; a
 * sleep with a deadline there is not.
 */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "world.h"

#define EVENT_FD 100

int system_eventfd(unsigned int count, int flags);
int system_close(int fd);
ssize_t system_read(int fd, void *to, size_t sz);
ssize_t system_write(int fd, const void *from, size_t sz);
int system_ppoll(struct pollfd *fds, nfds_t nr, const struct timespec *timeout,
		 const void *signals);
int system_epoll_wait(int fd, struct epoll_event *events, int max, int timeout);
long system_syscall(long number, ...);
int system_sched_yield(void);

static void enter(void)
{
	step(NULL, 0, false);
	if (!engine.quiet)
		memory_sync(world.current);
}

int system_eventfd(unsigned int count, int flags)
{
	world.eventfd = count;
	return EVENT_FD;
}

int system_close(int fd)
{
	return 0;
}

ssize_t system_read(int fd, void *to, size_t sz)
{
	enter();
	if (!world.eventfd) {
		errno = EAGAIN;
		return -1;
	}
	TRACE(NULL, "reads the eventfd");
	memcpy(to, &world.eventfd, sizeof(world.eventfd));
	world.eventfd = 0;
	return sizeof(world.eventfd);
}

ssize_t system_write(int fd, const void *from, size_t sz)
{
	enter();
	TRACE(NULL, "writes the eventfd");
	world.eventfd++;
	return (ssize_t)sz;
}

static bool is_readable(void *arg)
{
	return world.eventfd;
}

int system_ppoll(struct pollfd *fds, nfds_t nr, const struct timespec *timeout, const void *signals)
{
	enter();
	if (timeout)
		model_fail("a poll with a deadline");
	TRACE(NULL, "polls the eventfd, %llu", (unsigned long long)world.eventfd);
	if (!world.eventfd)
		model_until(is_readable, NULL);
	return 1;
}

/* What is readable is the injector's: its data are 0. */
int system_epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
	enter();
	events[0] = (struct epoll_event){ .events = EPOLLIN };
	return world.eventfd > 0;
}

static bool is_woken(void *arg)
{
	return !((struct proc *)arg)->futex;
}

static long futex_wait(const uint32_t *word, uint32_t expected)
{
	struct proc *p = &procs[world.current];

	if (*(const volatile uint32_t *)word != expected) {
		errno = EAGAIN;
		return -1;
	}
	TRACE(word, "waits on the futex");
	p->futex = word;
	model_until(is_woken, p);
	return 0;
}

static long futex_wake(const uint32_t *word)
{
	uint32_t i;

	TRACE(word, "wakes the futex");
	for (i = 0; i < engine.procs_nr; i++)
		if (procs[i].futex == word)
			procs[i].futex = NULL;
	return 0;
}

long system_syscall(long number, ...)
{
	const uint32_t *word;
	uint32_t value;
	va_list args;
	int op;

	va_start(args, number);
	word = va_arg(args, const uint32_t *);
	op = va_arg(args, int);
	value = va_arg(args, uint32_t);
	va_end(args);
	if (number != SYS_futex)
		model_fail("system call %ld", number);
	enter();
	return op == FUTEX_WAKE_PRIVATE ? futex_wake(word) : futex_wait(word, value);
}

int system_sched_yield(void)
{
	evr_pause();
	return 0;
}
