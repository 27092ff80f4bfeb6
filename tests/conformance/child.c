/* SPDX-License-Identifier: MIT */
/* Processes, sockets and checks for tests that need more than one process. */
#include "child.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <evering/bell.h>
#include <evering/error.h>

static bool in_child;

void check_failed(const char *file, int line, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (in_child) {
		fprintf(stderr, "# child: %s:%d: %s\n", file, line, text);
		_exit(CHILD_FAILED);
	}
	print_error("%s\n", text);
	_fail(file, line);
	abort();
}

void check_equal(const char *file, int line, const char *what, long long is, long long wanted)
{
	if (is != wanted)
		check_failed(file, line, "%s is %lld, wanted %lld (detail: %s)", what, is, wanted,
			     evr_error_detail());
}

long long check_ok(const char *file, int line, const char *what, long long result)
{
	if (result < 0)
		check_failed(file, line, "%s: %lld, %s: %s", what, result,
			     evr_strerror((int)result), evr_error_detail());
	return result;
}

void check_detail(const char *file, int line, const char *text)
{
	if (!strstr(evr_error_detail(), text))
		check_failed(file, line, "the detail is '%s', wanted '%s' in it",
			     evr_error_detail(), text);
}

void child_start(struct child *child, void (*body)(struct child *child, void *arg), void *arg)
{
	int ends[2];

	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
	fflush(NULL);
	child->pid = fork();
	CHECK(child->pid >= 0);
	if (child->pid) {
		child->sock = ends[0];
		close(ends[1]);
		return;
	}
	in_child = true;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(ends[0]);
	child->sock = ends[1];
	body(child, arg);
	_exit(0);
}

static void await_message(struct child *child)
{
	struct pollfd ready = { .fd = child->sock, .events = POLLIN };
	int nr;

	do {
		nr = poll(&ready, 1, HANG_MS);
	} while (nr < 0 && errno == EINTR);
	CHECK(nr == 1);
}

void child_say(struct child *child, uint64_t value)
{
	EQ(send(child->sock, &value, sizeof(value), MSG_NOSIGNAL), sizeof(value));
}

uint64_t child_hear(struct child *child)
{
	uint64_t value = 0;

	await_message(child);
	EQ(recv(child->sock, &value, sizeof(value), 0), sizeof(value));
	return value;
}

void child_pass(struct child *child, int fd)
{
	char byte = 0, room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec data = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = room,
		.msg_controllen = sizeof(room),
	};
	struct cmsghdr *control = CMSG_FIRSTHDR(&message);

	control->cmsg_level = SOL_SOCKET;
	control->cmsg_type = SCM_RIGHTS;
	control->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(control), &fd, sizeof(int));
	EQ(sendmsg(child->sock, &message, MSG_NOSIGNAL), 1);
}

int child_take(struct child *child)
{
	char byte, room[CMSG_SPACE(sizeof(int))];
	struct iovec data = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = room,
		.msg_controllen = sizeof(room),
	};
	int fd;

	await_message(child);
	EQ(recvmsg(child->sock, &message, MSG_CMSG_CLOEXEC), 1);
	CHECK(CMSG_FIRSTHDR(&message));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return fd;
}

static int wait_status(struct child *child)
{
	uint64_t until = evr_now_ns() + HANG_MS * 1000000ull;
	int status;
	pid_t pid;

	while ((pid = waitpid(child->pid, &status, WNOHANG)) == 0 && evr_now_ns() < until)
		usleep(500);
	if (!pid) {
		kill(child->pid, SIGKILL);
		waitpid(child->pid, &status, 0);
		check_failed(__FILE__, __LINE__, "the child did not end in %d ms", HANG_MS);
	}
	close(child->sock);
	return status;
}

void child_join(struct child *child)
{
	EQ(wait_status(child), 0);
}

void child_expect_signal(struct child *child, int sig)
{
	int status = wait_status(child);

	CHECK(WIFSIGNALED(status));
	EQ(WTERMSIG(status), sig);
}

void child_kill(struct child *child)
{
	kill(child->pid, SIGKILL);
	child_expect_signal(child, SIGKILL);
}

/* Not in another process: a forked one has no mapping of a peer. */
static sigjmp_buf touch_env;

static void touch_caught(int sig)
{
	siglongjmp(touch_env, sig);
}

int touch_write(volatile unsigned char *at)
{
	struct sigaction action = { .sa_handler = touch_caught }, segv, bus;
	int sig;

	sigaction(SIGSEGV, &action, &segv);
	sigaction(SIGBUS, &action, &bus);
	sig = sigsetjmp(touch_env, 1);
	if (!sig)
		*at = 1;
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return sig;
}

void await(bool (*is_there)(void *arg), void *arg)
{
	uint64_t until = evr_now_ns() + HANG_MS * 1000000ull;

	while (!is_there(arg)) {
		CHECK(evr_now_ns() < until);
		usleep(500);
	}
}
