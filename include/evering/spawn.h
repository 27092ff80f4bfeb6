/* SPDX-License-Identifier: MIT */
/*
 * Spawn: start a program as a child that can attach to a segment with no more rights
 * than it was given, and learn how it ended.
 *
 * model      the child gets standard input, output and error, the invitation as fd
 *            EVR_SPAWN_FD, and behind it the fds that were named; no other.
 * calls      a struct evr_child belongs to one thread at a time; those of several
 *            children run together. May be called in programs with threads.
 * edges      none: nothing here is in shared memory. That the child's peer has died
 *            is told by evr_peer_state(), maybe before or after its process' end.
 * progress   evr_spawn() returns when the program runs, or could not be started.
 * limits     EVR_SPAWN_FDS_MAX named fds. Who ignores SIGCHLD, or waits for any child
 *            by wait(2), takes the end of children away from here.
 *
 * The kernel's evidence alone (a pidfd) says that a child has ended, and of which child.
 */
#ifndef EVERING_SPAWN_H
#define EVERING_SPAWN_H

#include <evering/segment.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EVR_SPAWN_FD 3
#define EVR_SPAWN_FDS_MAX 16
/* In the child's environment: the number of the invitation's fd. */
#define EVR_SPAWN_VARIABLE "EVERING_SEGMENT_FD"

struct evr_spawn_options {
	size_t struct_sz; /* sizeof(struct evr_spawn_options) */
	char *const *argv; /* ended by NULL; NULL: the program's path alone */
	char *const *envp; /* ended by NULL; NULL: the caller's environment */
	struct evr_segment *segment; /* to be invited to; NULL: none */
	/*
	 * EVR_RIGHT_*, a part of the handle's. 0: OBSERVE and WRITE, or all that the
	 * handle has on the local backend, which cannot tell them apart.
	 */
	uint32_t rights;
	uint32_t invite_flags; /* EVR_INVITE_* */
	uint32_t fds_nr;
	const int *
		fds; /* the child's from EVR_SPAWN_FD + 1 on (without a segment: from EVR_SPAWN_FD on) */
};

enum evr_child_end {
	EVR_CHILD_RUNS, /* has not ended */
	EVR_CHILD_CLEAN, /* exit status 0 */
	EVR_CHILD_STATUS, /* another exit status */
	EVR_CHILD_SIGNAL, /* killed by a signal */
};

struct evr_child_exit {
	enum evr_child_end end;
	int value; /* the status, or the signal */
	bool dumped; /* a signal that left a core */
};

/* One child, in the caller's own memory. pid may be read; the rest is not for callers. */
struct evr_child {
	int pid; /* 0: none */
	int pidfd;
	struct evr_child_exit exit;
};

/**
 * evr_spawn() - start a program
 * @child: filled in; to be given to evr_child_close() in the end
 * @path: of the program; PATH is not searched
 * @options: NULL is all defaults
 *
 * Return: 0; -errno of the start, as from execve(2); -EINVAL; -E2BIG more fds than
 * EVR_SPAWN_FDS_MAX; -EBADF; -ENOMEM; -EMFILE; and as evr_segment_invite(). Then there is
 * no child.
 */
EVR_API int evr_spawn(struct evr_child *child, const char *path,
		      const struct evr_spawn_options *options);

/**
 * evr_spawn_adopt() - in the child: the segment that it was invited to
 * @segment: out, the caller's
 *
 * Once; its fd is not inherited by further programs, and the variable is gone: to be
 * called before there are other threads.
 *
 * Return: 0; -ENOENT this process was not started with one; -EINVAL the variable is no
 * number of an fd; and as evr_segment_adopt().
 */
EVR_API int evr_spawn_adopt(struct evr_segment **segment);

/**
 * evr_child_wait() - wait for a child's end
 * @deadline_ns: absolute CLOCK_MONOTONIC; 0 looks once; EVR_NO_DEADLINE
 * @out: unless NULL; the same at every further call
 *
 * It leaves no zombie.
 *
 * Return: 0; -ETIMEDOUT it runs; -EINTR; -ECHILD somebody else has taken its end;
 * -EINVAL there is no child.
 */
EVR_API int evr_child_wait(struct evr_child *child, uint64_t deadline_ns,
			   struct evr_child_exit *out);

/* evr_child_kill() - Return: 0, also when it has just ended; -ESRCH its end was told; -EINVAL. */
EVR_API int evr_child_kill(struct evr_child *child, int sig);

/* evr_child_fd() - for poll and epoll: readable once the child has ended. -1: no child. */
EVR_API int evr_child_fd(const struct evr_child *child);

/* evr_child_close() - kill it if it runs, and leave nothing of it. Of none, or twice: nothing. */
EVR_API void evr_child_close(struct evr_child *child);

#ifdef __cplusplus
}
#endif

#endif
