/* SPDX-License-Identifier: MIT */
/*
 * The socket's side of 'evering relay', for its tests: a program that is no part of the tool.
 *
 *   sock_end connect ADDR    stdin to the socket, then its half is closed; the socket to stdout.
 *                            0 at the end of both, 4 when the connection was reset
 *   sock_end echo ADDR       listens; each client gets back what it sends, and an end at its end
 *   sock_end sink ADDR       listens; reads nothing of what its first client sends
 *
 * ADDR is a path, or a port of 127.0.0.1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define RESET 4

static void fail(const char *what)
{
	int status = errno == ECONNRESET || errno == EPIPE ? RESET : 1;

	perror(what);
	exit(status);
}

static int address(const char *text, struct sockaddr_storage *out, socklen_t *sz)
{
	struct sockaddr_in *in = (struct sockaddr_in *)out;
	struct sockaddr_un *un = (struct sockaddr_un *)out;
	int on = 1, fd;

	memset(out, 0, sizeof(*out));
	if (strchr(text, '/')) {
		un->sun_family = AF_UNIX;
		snprintf(un->sun_path, sizeof(un->sun_path), "%s", text);
		*sz = sizeof(*un);
	} else {
		in->sin_family = AF_INET;
		in->sin_port = htons((unsigned short)atoi(text));
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		*sz = sizeof(*in);
	}
	fd = socket(out->ss_family, SOCK_STREAM, 0);
	if (fd < 0)
		fail("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	return fd;
}

static void write_all(int fd, const char *at, ssize_t sz)
{
	while (sz > 0) {
		ssize_t put = write(fd, at, (size_t)sz);

		if (put < 0)
			fail("write");
		at += put;
		sz -= put;
	}
}

/* One piece from @from to @to. False at the end. */
static int pass(int from, int to)
{
	static char piece[65536];
	ssize_t got = read(from, piece, sizeof(piece));

	if (got < 0)
		fail("read");
	write_all(to, piece, got);
	return got > 0;
}

/* In two processes: neither direction waits for the other. */
static int join(int fd)
{
	pid_t writer = fork();
	int status;

	if (!writer) {
		/* Who kills one of us kills the client. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (pass(STDIN_FILENO, fd))
			;
		shutdown(fd, SHUT_WR);
		_exit(0);
	}
	while (pass(fd, STDOUT_FILENO))
		;
	waitpid(writer, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void echo(int listener)
{
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			fail("accept");
		if (!fork()) {
			while (pass(fd, fd))
				;
			_exit(0);
		}
		close(fd);
	}
}

int main(int argc, char **argv)
{
	const char *what = argc == 3 ? argv[1] : "";
	struct sockaddr_storage at;
	socklen_t sz;
	int fd;

	if (argc != 3)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	fd = address(argv[2], &at, &sz);
	if (!strcmp(what, "connect")) {
		if (connect(fd, (struct sockaddr *)&at, sz))
			fail("connect");
		return join(fd);
	}
	signal(SIGCHLD, SIG_IGN);
	if (bind(fd, (struct sockaddr *)&at, sz) || listen(fd, 64))
		fail("listen");
	if (!strcmp(what, "echo"))
		echo(fd);
	if (accept(fd, NULL, NULL) < 0)
		fail("accept");
	for (;;)
		pause();
}
