// SPDX-License-Identifier: MIT
/* See device.h. */

#include <grp.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "device.h"

static bool in_child;

void ev_fail(const char *file, int line, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (in_child) {
		dprintf(STDERR_FILENO, "# child %d: %s:%d: %s\n", getpid(), file, line, text);
		_exit(EV_CHILD_FAILED);
	}
	print_error("%s\n", text);
	_fail(file, line);
	abort();
}

void ev_eq(const char *file, int line, const char *what, long long is, long long wanted)
{
	if (is != wanted)
		ev_fail(file, line, "%s is %lld (%s), not %lld (%s)", what, is,
			is < 0 && is > -4096 ? strerror((int)-is) : "-", wanted,
			wanted < 0 && wanted > -4096 ? strerror((int)-wanted) : "-");
}

int ev_ioctl(int fd, unsigned long cmd, void *arg)
{
	int ret = ioctl(fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

void ev_expect_ioctl(const char *file, int line, int fd, unsigned long cmd, void *arg, size_t sz,
		     int err)
{
	void *before = malloc(sz ? sz : 1);
	bool same;

	memcpy(before, arg, sz);
	ev_eq(file, line, "ioctl", ev_ioctl(fd, cmd, arg), err);
	same = memcmp(before, arg, sz) == 0;
	free(before);
	if (!same)
		ev_fail(file, line, "ioctl %#lx failed and changed its argument", cmd);
}

void poison(void *p, size_t sz)
{
	memset(p, EV_POISON, sz);
}

bool is_poisoned(const void *p, size_t sz)
{
	const unsigned char *byte = p;

	while (sz && byte[sz - 1] == EV_POISON)
		sz--;
	return sz == 0;
}

int ev_control(void)
{
	int fd = open(EVERING_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		ev_fail(__FILE__, __LINE__, "open %s: %s", EVERING_DEVICE, strerror(errno));
	return fd;
}

struct evering_info ev_info(void)
{
	struct evering_info info;
	int fd = ev_control();

	ev_arg(&info);
	EV_EQ(ev_ioctl(fd, EVERING_IOC_INFO, &info), 0);
	close(fd);
	return info;
}

bool ev_has(uint64_t feature)
{
	return (ev_info().features & feature) == feature;
}

struct evering_segment_info ev_segment_info(int fd)
{
	struct evering_segment_info info;

	ev_arg(&info);
	EV_EQ(ev_ioctl(fd, EVERING_IOC_SEGMENT_INFO, &info), 0);
	return info;
}

bool ev_on_shmem(void)
{
	const char *name = getenv("EVERING_BACKING");

	return name && !strcmp(name, "shmem");
}

int ev_try_create(const struct ev_shape *shape)
{
	struct evering_segment_create arg;
	int fd = ev_control();
	int ret;

	ev_arg(&arg);
	arg.flags = shape->flags;
	arg.shared_size = shape->shared_size;
	arg.peer_size = shape->peer_size;
	arg.peers_max = shape->peers_max ? shape->peers_max : 1;
	arg.node = EVERING_NODE_ANY;
	arg.backing = ev_on_shmem() ? EVERING_BACKING_SHMEM : shape->backing;
	arg.fd = -1;
	ret = ev_ioctl(fd, EVERING_IOC_SEGMENT_CREATE, &arg);
	close(fd);
	return ret < 0 ? ret : arg.fd;
}

int ev_create(const struct ev_shape *shape)
{
	int fd = ev_try_create(shape);

	if (fd < 0)
		ev_fail(__FILE__, __LINE__, "SEGMENT_CREATE: %s", strerror(-fd));
	return fd;
}

int ev_create_plain(void)
{
	struct ev_shape shape = {
		.shared_size = EV_BLOCK,
		.peer_size = EV_BLOCK,
		.peers_max = 4,
	};

	return ev_create(&shape);
}

int ev_try_attach(int seg, uint32_t flags, uint32_t slot, struct ev_peer *peer)
{
	struct evering_peer_attach arg;
	int ret;

	ev_arg(&arg);
	arg.flags = flags;
	arg.slot = slot;
	arg.fd = -1;
	ret = ev_ioctl(seg, EVERING_IOC_PEER_ATTACH, &arg);
	if (ret < 0)
		return ret;
	peer->fd = arg.fd;
	peer->slot = arg.slot;
	peer->rights = arg.rights;
	peer->incarnation = arg.incarnation;
	return 0;
}

struct ev_peer ev_attach(int seg)
{
	struct ev_peer peer;

	EV_EQ(ev_try_attach(seg, 0, EVERING_SLOT_ANY, &peer), 0);
	return peer;
}

struct ev_peer ev_attach_observer(int seg)
{
	struct ev_peer peer;

	EV_EQ(ev_try_attach(seg, EVERING_ATTACH_F_OBSERVER, EVERING_SLOT_ANY, &peer), 0);
	return peer;
}

int ev_try_invite(int seg, uint32_t rights, uint32_t flags, uint32_t attaches_max)
{
	struct evering_peer_invite arg;
	int ret;

	ev_arg(&arg);
	arg.flags = flags;
	arg.rights = rights;
	arg.attaches_max = attaches_max;
	ret = ev_ioctl(seg, EVERING_IOC_PEER_INVITE, &arg);
	return ret < 0 ? ret : arg.fd;
}

int ev_detach(int peer_fd)
{
	struct evering_peer_detach arg;

	ev_arg(&arg);
	return ev_ioctl(peer_fd, EVERING_IOC_PEER_DETACH, &arg);
}

int ev_revoke(int seg, uint32_t slot, uint64_t incarnation)
{
	struct evering_peer_revoke arg;

	ev_arg(&arg);
	arg.slot = slot;
	arg.incarnation = incarnation;
	return ev_ioctl(seg, EVERING_IOC_PEER_REVOKE, &arg);
}

int ev_reaped(int peer_fd, uint32_t slot, uint64_t incarnation)
{
	struct evering_peer_reaped arg;

	ev_arg(&arg);
	arg.slot = slot;
	arg.incarnation = incarnation;
	return ev_ioctl(peer_fd, EVERING_IOC_PEER_REAPED, &arg);
}

int ev_grow(int seg, uint64_t bytes, uint64_t *offset)
{
	struct evering_segment_grow arg;
	int ret;

	ev_arg(&arg);
	arg.bytes = bytes;
	ret = ev_ioctl(seg, EVERING_IOC_SEGMENT_GROW, &arg);
	if (ret == 0 && offset)
		*offset = arg.offset;
	return ret;
}

int ev_publish(int seg, const char *name, uint32_t mode, uint32_t flags)
{
	struct evering_segment_publish arg;

	ev_arg(&arg);
	arg.flags = flags;
	arg.mode = mode;
	arg.uid = ~0U;
	arg.gid = ~0U;
	snprintf(arg.name, sizeof(arg.name), "%s", name);
	return ev_ioctl(seg, EVERING_IOC_SEGMENT_PUBLISH, &arg);
}

int ev_unpublish(int seg)
{
	struct evering_segment_unpublish arg;

	ev_arg(&arg);
	return ev_ioctl(seg, EVERING_IOC_SEGMENT_UNPUBLISH, &arg);
}

int ev_open_name(const char *name, uint32_t rights)
{
	struct evering_segment_open arg;
	int fd = ev_control();
	int ret;

	ev_arg(&arg);
	arg.rights = rights;
	snprintf(arg.name, sizeof(arg.name), "%s", name);
	ret = ev_ioctl(fd, EVERING_IOC_SEGMENT_OPEN, &arg);
	close(fd);
	return ret < 0 ? ret : arg.fd;
}

static mode_t device_mode;

int ev_device_for_all(void **state)
{
	struct stat st;

	(void)state;
	EV_EQ(stat(EVERING_DEVICE, &st), 0);
	device_mode = st.st_mode & 0777;
	EV_EQ(chmod(EVERING_DEVICE, 0666), 0);
	return 0;
}

int ev_device_as_before(void **state)
{
	(void)state;
	EV_EQ(chmod(EVERING_DEVICE, device_mode), 0);
	return 0;
}

uint64_t ev_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

int ev_ring(int peer_fd, uint32_t slot, uint64_t incarnation, uint64_t bits)
{
	struct evering_bell bell = {
		.slot = slot,
		.incarnation = incarnation,
		.bits = bits,
	};
	struct evering_bell_ring arg;
	int ret;

	poison(&bell.result, sizeof(bell.result));
	ev_arg(&arg);
	arg.nr = 1;
	arg.bells = (uintptr_t)&bell;
	ret = ev_ioctl(peer_fd, EVERING_IOC_BELL_RING, &arg);
	if (ret < 0)
		return ret;
	EV_EQ(ret, bell.result == 0);
	return bell.result;
}

int ev_ring_by_write(int peer_fd, uint32_t slot, uint64_t incarnation, uint64_t bits)
{
	struct evering_bell bell = { .slot = slot, .incarnation = incarnation, .bits = bits };

	return write(peer_fd, &bell, sizeof(bell)) < 0 ? -errno : 0;
}

void *ev_map(int fd, uint64_t offset, size_t sz, int prot)
{
	void *p = mmap(NULL, sz, prot, MAP_SHARED, fd, (off_t)offset);

	if (p == MAP_FAILED)
		ev_fail(__FILE__, __LINE__, "mmap fd %d offset %#" PRIx64 " size %#zx prot %d: %s",
			fd, offset, sz, prot, strerror(errno));
	return p;
}

int ev_map_errno(int fd, uint64_t offset, size_t sz, int prot, int flags)
{
	void *p = mmap(NULL, sz, prot, flags, fd, (off_t)offset);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, sz);
	return 0;
}

uint64_t ev_region(int fd, uint32_t slot)
{
	struct evering_segment_info info = ev_segment_info(fd);

	return info.peers_offset + slot * info.peer_size;
}

static sigjmp_buf touch_back;

static void touch_signal(int sig)
{
	siglongjmp(touch_back, sig);
}

static int touch(volatile unsigned char *p, bool write)
{
	struct sigaction act = { .sa_handler = touch_signal }, old[2];
	int sig;

	sigaction(SIGSEGV, &act, &old[0]);
	sigaction(SIGBUS, &act, &old[1]);
	sig = sigsetjmp(touch_back, 1);
	if (sig == 0) {
		unsigned char byte = *p;

		if (write)
			*p = byte;
	}
	sigaction(SIGSEGV, &old[0], NULL);
	sigaction(SIGBUS, &old[1], NULL);
	return sig;
}

int ev_touch_read(const volatile void *p)
{
	return touch((volatile unsigned char *)(uintptr_t)p, false);
}

int ev_touch_write(volatile void *p)
{
	return touch(p, true);
}

const struct evering_status_header *ev_status(int peer_fd)
{
	struct evering_segment_info info = ev_segment_info(peer_fd);
	const struct evering_status_header *status =
		ev_map(peer_fd, 0, info.status_size, PROT_READ);

	EV_CHECK(status->magic == EVERING_STATUS_MAGIC);
	return status;
}

const volatile struct evering_status_entry *
ev_status_entry(const struct evering_status_header *status, uint32_t slot)
{
	EV_CHECK(slot < status->peers_max);
	return (const void *)((const char *)status + status->entries_offset +
			      (size_t)slot * status->entry_size);
}

uint32_t ev_state(const struct evering_status_header *status, uint32_t slot)
{
	return __atomic_load_n(&ev_status_entry(status, slot)->state, __ATOMIC_ACQUIRE);
}

void ev_await_state(const struct evering_status_header *status, uint32_t slot, uint32_t state)
{
	int ms;

	for (ms = 0; ms < EV_HANG_MS; ms++) {
		if (ev_state(status, slot) == state)
			return;
		usleep(1000);
	}
	ev_fail(__FILE__, __LINE__, "slot %u hangs in state %u, not %u", slot,
		ev_state(status, slot), state);
}

void ev_child_start(struct ev_link *link, void (*body)(struct ev_link *, void *), void *arg)
{
	int sock[2];

	EV_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock), 0);
	fflush(NULL);
	link->pid = fork();
	EV_CHECK(link->pid >= 0);
	if (link->pid) {
		close(sock[1]);
		link->sock = sock[0];
		return;
	}
	in_child = true;
	/* cmocka's handlers would report the child's signals as failed tests. */
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(sock[0]);
	link->sock = sock[1];
	body(link, arg);
	_exit(0);
}

bool ev_debug_kernel(void)
{
	const char *kernel = getenv("EVERING_VM");

	return kernel && strncmp(kernel, "stock", 5) != 0;
}

static void await_readable(struct ev_link *link)
{
	struct pollfd pfd = { .fd = link->sock, .events = POLLIN };
	int ret;

	do
		ret = poll(&pfd, 1, EV_HANG_MS);
	while (ret < 0 && errno == EINTR);
	EV_EQ(ret, 1);
}

void ev_say(struct ev_link *link, uint64_t value)
{
	EV_EQ(send(link->sock, &value, sizeof(value), MSG_NOSIGNAL), sizeof(value));
}

uint64_t ev_hear(struct ev_link *link)
{
	uint64_t value = 0;

	await_readable(link);
	EV_EQ(recv(link->sock, &value, sizeof(value), 0), sizeof(value));
	return value;
}

void ev_pass(struct ev_link *link, int fd)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .head = {
			      .cmsg_len = CMSG_LEN(sizeof(int)),
			      .cmsg_level = SOL_SOCKET,
			      .cmsg_type = SCM_RIGHTS,
		      } };
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	EV_EQ(sendmsg(link->sock, &msg, MSG_NOSIGNAL), 1);
}

int ev_take(struct ev_link *link)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int fd;

	await_readable(link);
	EV_EQ(recvmsg(link->sock, &msg, MSG_CMSG_CLOEXEC), 1);
	EV_CHECK(msg.msg_controllen >= CMSG_LEN(sizeof(int)));
	memcpy(&fd, CMSG_DATA(&control.head), sizeof(fd));
	return fd;
}

int ev_child_wait(struct ev_link *link)
{
	int status, ms;

	for (ms = 0; ms < EV_HANG_MS; ms++) {
		pid_t pid = waitpid(link->pid, &status, WNOHANG);

		EV_CHECK(pid >= 0);
		if (pid == link->pid) {
			close(link->sock);
			return status;
		}
		usleep(1000);
	}
	kill(link->pid, SIGKILL);
	ev_fail(__FILE__, __LINE__, "child %d hangs", link->pid);
}

void ev_child_join(struct ev_link *link)
{
	EV_EQ(ev_child_wait(link), 0);
}

void ev_child_expect_signal(struct ev_link *link, int sig)
{
	int status = ev_child_wait(link);

	EV_CHECK(WIFSIGNALED(status));
	EV_EQ(WTERMSIG(status), sig);
}

void ev_child_kill(struct ev_link *link)
{
	kill(link->pid, SIGKILL);
	ev_child_expect_signal(link, SIGKILL);
}

void ev_become(uid_t uid, gid_t gid)
{
	EV_EQ(setgroups(0, NULL), 0);
	EV_EQ(setresgid(gid, gid, gid), 0);
	EV_EQ(setresuid(uid, uid, uid), 0);
	/* setresuid clears the death signal. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

#define PARAMETERS "/sys/module/evering/parameters/"

int64_t ev_parameter(const char *name)
{
	char path[128], text[32] = "";
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	return len < 0 ? -errno : strtoll(text, NULL, 0);
}

int ev_set_parameter(const char *name, uint64_t value)
{
	char path[128], text[32];
	ssize_t done;
	int fd, len;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = snprintf(text, sizeof(text), "%" PRIu64 "\n", value);
	done = write(fd, text, (size_t)len);
	len = done < 0 ? -errno : 0;
	close(fd);
	return len;
}
