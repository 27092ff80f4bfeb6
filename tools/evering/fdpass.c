// SPDX-License-Identifier: MIT
/* File descriptors through the stage's socket pair (SCM_RIGHTS). */
#include "fdpass.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
	struct cmsghdr head;
	char room[CMSG_SPACE(sizeof(int))];
};

void fdpass_send(struct stage *stage, int fd)
{
	char place = 0;
	struct iovec byte = { &place, 1 };
	union control control = { .head = { .cmsg_len = CMSG_LEN(sizeof(fd)),
					    .cmsg_level = SOL_SOCKET,
					    .cmsg_type = SCM_RIGHTS } };
	struct msghdr message = { .msg_iov = &byte,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	while (sendmsg(stage_write_fd(stage), &message, MSG_NOSIGNAL) != 1)
		if (errno != EINTR)
			stage_fail(stage, "sendmsg", -errno);
}

int fdpass_receive(struct stage *stage)
{
	char place;
	struct iovec byte = { &place, 1 };
	union control control;
	struct msghdr message = { .msg_iov = &byte,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	ssize_t got;
	int fd;

	do {
		got = recvmsg(stage_read_fd(stage), &message, MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got != 1 || !CMSG_FIRSTHDR(&message))
		stage_fail(stage, "recvmsg", got < 0 ? -errno : -EPIPE);
	memcpy(&fd, CMSG_DATA(&control.head), sizeof(fd));
	return fd;
}

void fdpass_write(struct stage *stage, int fd, const void *data, uint64_t size)
{
	ssize_t put;

	do {
		put = send(fd, data, size, MSG_NOSIGNAL);
	} while (put < 0 && errno == EINTR);
	if (put != (ssize_t)size)
		stage_fail(stage, "send", put < 0 ? -errno : -EIO);
}

void fdpass_read(struct stage *stage, int fd, void *data, uint64_t size)
{
	ssize_t got;

	do {
		got = recv(fd, data, size, MSG_WAITALL);
	} while (got < 0 && errno == EINTR);
	if (got != (ssize_t)size)
		stage_fail(stage, "receive", got < 0 ? -errno : -EPIPE);
}
