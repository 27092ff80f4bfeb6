/* SPDX-License-Identifier: MIT */
/*
 * What every module test needs of /dev/evering: raw ioctls (no libevering, so that
 * the ABI itself is under test), checks that also work in a child process, children
 * with an mm of their own, poisoned arguments, and a look at the status page.
 */
#ifndef EVERING_TESTS_DEVICE_H
#define EVERING_TESTS_DEVICE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include <cmocka.h>

#include <evering/uapi.h>

#define EV_PAGE 4096UL
#define EV_BLOCK ((size_t)EVERING_BLOCK_SIZE)
#define EV_POISON 0xa5 /* every byte of an out-param before a call */
/* Only against hangs: no test passes or fails by a clock. Longer on a debug kernel. */
#define EV_HANG_MS (ev_debug_kernel() ? 240000 : 60000)
bool ev_debug_kernel(void);

/*
 * Checks. cmocka's own asserts longjmp into the runner, which in a forked child
 * would run the rest of the suite a second time; these end the child instead.
 */
#define EV_CHECK(cond)                                                     \
	do {                                                               \
		if (!(cond))                                               \
			ev_fail(__FILE__, __LINE__, "%s is false", #cond); \
	} while (0)

/* Equal as signed 64-bit numbers: sizes, counts, fds, negative errnos. */
#define EV_EQ(is, wanted) ev_eq(__FILE__, __LINE__, #is, (long long)(is), (long long)(wanted))

void ev_fail(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), noreturn));
void ev_eq(const char *file, int line, const char *what, long long is, long long wanted);

/* ioctl(2) as the kernel answers it: the result, or -errno. */
int ev_ioctl(int fd, unsigned long cmd, void *arg);

/* The call fails with exactly this errno and leaves all sz bytes of arg alone. */
#define expect_ioctl_errno(fd, cmd, arg, sz, err) \
	ev_expect_ioctl(__FILE__, __LINE__, fd, cmd, arg, sz, err)
void ev_expect_ioctl(const char *file, int line, int fd, unsigned long cmd, void *arg, size_t sz,
		     int err);

/* Fill an out-param with EV_POISON; say whether all of it still is. */
void poison(void *p, size_t sz);
bool is_poisoned(const void *p, size_t sz);

/* Zero the struct and put its size in the first field. */
#define ev_arg(p)                             \
	do {                                  \
		memset((p), 0, sizeof(*(p))); \
		(p)->size = sizeof(*(p));     \
	} while (0)

/* Control fd of the device. */
int ev_control(void);
/* INFO through a control fd of its own. */
struct evering_info ev_info(void);
bool ev_has(uint64_t feature);
/* Are all segments of this run EVERING_BACKING_SHMEM (EVERING_BACKING=shmem in manifest)? */
bool ev_on_shmem(void);
struct evering_segment_info ev_segment_info(int fd);

/* What is asked of SEGMENT_CREATE; zeros are: no such region, one peer; any node. */
struct ev_shape {
	uint64_t shared_size;
	uint64_t peer_size;
	uint32_t peers_max; /* 0 is taken as 1 */
	uint32_t flags;
	uint32_t backing;
};

/* A new segment: segment fd, or -errno. ev_create() fails the test instead. */
int ev_try_create(const struct ev_shape *shape);
int ev_create(const struct ev_shape *shape);
/* The shape that most tests want: one shared block, one block for each of 4 peers. */
int ev_create_plain(void);

struct ev_peer {
	int fd;
	uint32_t slot;
	uint32_t rights;
	uint64_t incarnation;
};

/* Attach to any free slot; flags EVERING_ATTACH_F_*. 0 or -errno. */
int ev_try_attach(int seg, uint32_t flags, uint32_t slot, struct ev_peer *peer);
struct ev_peer ev_attach(int seg);
struct ev_peer ev_attach_observer(int seg);

/* A segment fd with these rights made by INVITE, or -errno. */
int ev_try_invite(int seg, uint32_t rights, uint32_t flags, uint32_t attaches_max);

int ev_detach(int peer_fd);
int ev_revoke(int seg, uint32_t slot, uint64_t incarnation);
int ev_reaped(int peer_fd, uint32_t slot, uint64_t incarnation);
int ev_grow(int seg, uint64_t bytes, uint64_t *offset);
int ev_publish(int seg, const char *name, uint32_t mode, uint32_t flags);
int ev_unpublish(int seg);
/* Segment fd by name with these rights (0 = all that are allowed), or -errno. */
int ev_open_name(const char *name, uint32_t rights);
/* For a group's setup and teardown: the device for every user meanwhile, and as it was. */
int ev_device_for_all(void **state);
int ev_device_as_before(void **state);
/* CLOCK_MONOTONIC. */
uint64_t ev_now_ns(void);
/* Ring one peer; the entry's result when the call itself worked, else its -errno. */
int ev_ring(int peer_fd, uint32_t slot, uint64_t incarnation, uint64_t bits);
/* The same by write(2). */
int ev_ring_by_write(int peer_fd, uint32_t slot, uint64_t incarnation, uint64_t bits);

/* MAP_SHARED at an offset; the first form fails the test, the second gives -errno. */
void *ev_map(int fd, uint64_t offset, size_t sz, int prot);
int ev_map_errno(int fd, uint64_t offset, size_t sz, int prot, int flags);
/* Offset of the region of a slot. */
uint64_t ev_region(int fd, uint32_t slot);

/* Read or write one byte: 0, or the signal that it raised. Not in two threads at once. */
int ev_touch_read(const volatile void *p);
int ev_touch_write(volatile void *p);

/* The status page, mapped read-only through a peer fd; stays until munmap or exit. */
const struct evering_status_header *ev_status(int peer_fd);
const volatile struct evering_status_entry *
ev_status_entry(const struct evering_status_header *status, uint32_t slot);
uint32_t ev_state(const struct evering_status_header *status, uint32_t slot);
/* Wait until the slot is in this state, at most EV_HANG_MS; fails the test then. */
void ev_await_state(const struct evering_status_header *status, uint32_t slot, uint32_t state);

/*
 * A child process with an mm of its own. Both sides hold one end of a socket:
 * say() and hear() carry a number, pass() and take() an fd. The child dies with
 * its parent and ends by ev_child_done() or by returning from its body (exit 0);
 * a failed check in it is exit EV_CHILD_FAILED, its text on stderr.
 */
#define EV_CHILD_FAILED 99

struct ev_link {
	pid_t pid; /* of the child; 0 in the child */
	int sock;
};

void ev_child_start(struct ev_link *link, void (*body)(struct ev_link *, void *), void *arg);
void ev_say(struct ev_link *link, uint64_t value);
uint64_t ev_hear(struct ev_link *link);
void ev_pass(struct ev_link *link, int fd);
int ev_take(struct ev_link *link);
/* The wait(2) status; kills the child and fails the test when it hangs. */
int ev_child_wait(struct ev_link *link);
void ev_child_join(struct ev_link *link); /* exit 0 wanted */
void ev_child_expect_signal(struct ev_link *link, int sig); /* died of it */
void ev_child_kill(struct ev_link *link); /* SIGKILL and wait */

/* Become this uid and gid for good, without supplementary groups or capabilities. */
void ev_become(uid_t uid, gid_t gid);

/* A parameter of the module as a number; -ENOENT when there is none of this name. */
int64_t ev_parameter(const char *name);
int ev_set_parameter(const char *name, uint64_t value);

#endif
