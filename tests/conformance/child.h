/* SPDX-License-Identifier: MIT */
/*
 * Other processes for tests: forked, joined by a socket, dead with their parent.
 * A check that fails in one ends it with CHILD_FAILED; cmocka's own asserts would
 * run the rest of the suite a second time there.
 */
#ifndef EVERING_TESTS_CHILD_H
#define EVERING_TESTS_CHILD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#define CHILD_FAILED 99
#define HANG_MS 60000 /* only against hangs */

/* In any process: true, or the test fails here. */
#define CHECK(cond)                                                             \
	do {                                                                    \
		if (!(cond))                                                    \
			check_failed(__FILE__, __LINE__, "%s is false", #cond); \
	} while (0)

/* Equal as signed numbers: sizes, counts, fds, negative errnos. */
#define EQ(is, wanted) check_equal(__FILE__, __LINE__, #is, (long long)(is), (long long)(wanted))

/* The call returned 0 or more, and this is it; the detail text is shown when not. */
#define OK(call) check_ok(__FILE__, __LINE__, #call, (long long)(call))

/* This text stands in the detail of the last failure. */
#define DETAIL(text) check_detail(__FILE__, __LINE__, text)

void check_failed(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), noreturn));
void check_equal(const char *file, int line, const char *what, long long is, long long wanted);
long long check_ok(const char *file, int line, const char *what, long long result);
void check_detail(const char *file, int line, const char *text);

/* One end of a socket between parent and child. */
struct child {
	pid_t pid; /* 0 in the child */
	int sock;
};

/* body() returning is exit 0. */
void child_start(struct child *child, void (*body)(struct child *child, void *arg), void *arg);
void child_say(struct child *child, uint64_t value);
uint64_t child_hear(struct child *child);
void child_pass(struct child *child, int fd);
int child_take(struct child *child);
/* exit 0 is wanted, or death by this signal. */
void child_join(struct child *child);
void child_expect_signal(struct child *child, int sig);
/* SIGKILL, and wait for the end. */
void child_kill(struct child *child);

/* Write one byte: 0, or the signal that it raised. */
int touch_write(volatile unsigned char *at);
/* Try again until true; fails the test after HANG_MS. */
void await(bool (*is_there)(void *arg), void *arg);

#endif
