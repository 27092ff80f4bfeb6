// SPDX-License-Identifier: MIT
/*
 * EVERING_BACKING_SHMEM: what it is for (registered buffers, also before 6.5), and what
 * is different about it: mappings that shmem serves, a file for each of them, a child
 * that shares its parent's mapping until the end, and an end that has to wait for faults
 * under way. What is the same is tested by the other programs, which manifest runs on
 * this backing too.
 *
 * Seen to fail: controls/shmem-faults-not-awaited, controls/shmem-cut-starts-over,
 * controls/shmem-stat-follows.
 */

#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "smaps.h"
#include "uring_cmd.h"
#include "victim.h"
#include "watch.h"

#define RW (PROT_READ | PROT_WRITE)
#define PEER_BYTES (2 * EV_BLOCK)
#define RACE_ROUNDS 160
#define CHILD_ROUNDS 20
#define CROWD 8

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static const struct ev_shape shape = {
	.shared_size = 2 * EV_BLOCK,
	.peer_size = PEER_BYTES,
	.peers_max = 4,
	.backing = EVERING_BACKING_SHMEM,
};

static int watch_setup_shmem(void **state)
{
	return watch_setup(state, ev_create(&shape));
}

static char *map_own(const struct watch *w, const struct ev_peer *peer)
{
	return ev_map(peer->fd, ev_region(w->seg, peer->slot), PEER_BYTES, RW);
}

/* --- what it is --------------------------------------------------------------------- */

static void shmem_is_reported(void **state)
{
	struct watch *w = *state;
	struct evering_segment_info info = ev_segment_info(w->seg);

	EV_CHECK(ev_has(EVERING_FEAT_BACKING_SHMEM));
	EV_EQ(info.backing, EVERING_BACKING_SHMEM);
	EV_EQ(info.bytes, shape.shared_size + shape.peers_max * shape.peer_size);
	EV_CHECK(info.extents >= 1 && info.extents <= info.bytes / EV_BLOCK);
}

static void shmem_contiguous_is_one_extent(void **state)
{
	/* Two blocks: a longer run may not be there after the programs before. */
	struct ev_shape one = { .peer_size = 2 * EV_BLOCK,
				.peers_max = 1,
				.backing = EVERING_BACKING_SHMEM,
				.flags = EVERING_SEGMENT_F_CONTIGUOUS };
	int seg;

	(void)state;
	seg = ev_create(&one);
	EV_EQ(ev_segment_info(seg).extents, 1);
	close(seg);
}

/* A mapping of blocks is shmem's by vm_ops, but of FilePmdMapped pages, as without it. */
static void shmem_blocks_are_mapped_huge(void **state)
{
	struct watch *w = *state;
	char *p = map_own(w, &w->peer);

	memset(p, 1, PEER_BYTES);
	EV_EQ(smaps_bytes(p, PEER_BYTES, "FilePmdMapped") +
		      smaps_bytes(p, PEER_BYTES, "ShmemPmdMapped"),
	      PEER_BYTES);
	munmap(p, PEER_BYTES);
}

/* --- registered buffers -------------------------------------------------------------- */

static void look_at_shared(struct ev_link *link, void *arg)
{
	struct watch *w = arg;
	struct ev_peer other = ev_attach_observer(w->seg);
	/* Begins elsewhere, so the address is another one. */
	char *p = ev_map(other.fd, EV_BLOCK + EV_PAGE, EV_BLOCK, PROT_READ);
	size_t i;

	(void)link;
	for (i = 0; i < EV_BLOCK; i++)
		if (p[EV_BLOCK - EV_PAGE + i % EV_PAGE] != 0x5c)
			ev_fail(__FILE__, __LINE__, "byte %zu is %#x", i, p[i]);
}

/* On every kernel: this is what the backing is for. */
static void shmem_registered_buffer_takes_data(void **state)
{
	struct watch *w = *state;
	char *shared = ev_map(w->peer.fd, EV_BLOCK, 2 * EV_BLOCK, RW);
	struct iovec iov = { shared, 2 * EV_BLOCK };
	int file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	struct io_uring ring;
	struct io_uring_sqe *sqe;
	struct ev_link child;

	EV_CHECK(file >= 0);
	EV_EQ(io_uring_queue_init(4, &ring, 0), 0);
	EV_EQ(io_uring_register_buffers(&ring, &iov, 1), 0);
	memset(shared, 0x5c, EV_BLOCK);
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_write_fixed(sqe, file, shared, EV_BLOCK, 0, 0);
	EV_EQ(uring_one(&ring), EV_BLOCK);
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_read_fixed(sqe, file, shared + EV_BLOCK, EV_BLOCK, 0, 0);
	EV_EQ(uring_one(&ring), EV_BLOCK);
	EV_EQ(memcmp(shared, shared + EV_BLOCK, EV_BLOCK), 0);
	ev_child_start(&child, look_at_shared, w);
	ev_child_join(&child);
	io_uring_queue_exit(&ring);
	close(file);
	munmap(shared, 2 * EV_BLOCK);
}

static bool kernel_takes_any_file(void)
{
	unsigned int major, minor;
	struct utsname uts;

	uname(&uts);
	EV_EQ(sscanf(uts.release, "%u.%u", &major, &minor), 2);
	return major > 6 || (major == 6 && minor >= 5);
}

/* Documented: before 6.5 a buffer lies within one mapping, since each has its own file. */
static void shmem_registered_buffer_over_two_mappings(void **state)
{
	struct watch *w = *state;
	char *p = mmap(NULL, 2 * EV_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec iov = { p, 2 * EV_PAGE };
	struct io_uring ring;
	int i;

	for (i = 0; i < 2; i++)
		EV_CHECK(mmap(p + i * EV_PAGE, EV_PAGE, RW, MAP_SHARED | MAP_FIXED, w->peer.fd,
			      (off_t)(EV_BLOCK + (unsigned int)i * EV_PAGE)) != MAP_FAILED);
	EV_EQ(io_uring_queue_init(4, &ring, 0), 0);
	EV_EQ(io_uring_register_buffers(&ring, &iov, 1), kernel_takes_any_file() ? 0 : -EINVAL);
	iov.iov_len = EV_PAGE;
	io_uring_unregister_buffers(&ring);
	EV_EQ(io_uring_register_buffers(&ring, &iov, 1), 0);
	io_uring_queue_exit(&ring);
	munmap(p, 2 * EV_PAGE);
}

/* --- the file behind a mapping -------------------------------------------------------- */

static void map_files_path(char *path, size_t sz, const char *p)
{
	snprintf(path, sz, "/proc/self/map_files/%lx-%lx", (unsigned long)p,
		 (unsigned long)p + PEER_BYTES);
}

static void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	EV_CHECK(fd >= 0);
	EV_EQ(write(fd, "3", 1), 1);
	close(fd);
}

/* root may look at it by a path, which may outlive all else; it gives no access. */
static void shmem_file_by_path_gives_nothing(void **state)
{
	struct watch *w = *state;
	struct ev_peer peer = ev_attach(w->seg);
	char *p = map_own(w, &peer), path[80];
	struct statx stx;
	struct stat st;
	int fd;

	memset(p, 0x44, PEER_BYTES);
	map_files_path(path, sizeof(path), p);
	EV_EQ(open(path, O_RDONLY | O_CLOEXEC) < 0 ? errno : 0, ENXIO);
	EV_EQ(open(path, O_RDWR | O_CLOEXEC) < 0 ? errno : 0, EPERM);
	EV_EQ(truncate(path, 0) < 0 ? errno : 0, EPERM);
	EV_EQ(chmod(path, 0777) < 0 ? errno : 0, EPERM);
	fd = open(path, O_PATH | O_CLOEXEC);
	EV_CHECK(fd >= 0);
	drop_caches();
	EV_EQ(p[0], 0x44);
	EV_EQ(p[PEER_BYTES - 1], 0x44);
	/* Not by shmem's code, which knows a time of birth: it follows what is only lent. */
	EV_EQ(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &stx), 0);
	EV_EQ(stx.stx_mask & STATX_BTIME, 0);
	munmap(p, PEER_BYTES);
	close(peer.fd);
	EV_EQ(ev_reaped(w->peer.fd, peer.slot, peer.incarnation), 0);
	drop_caches();
	EV_EQ(fstat(fd, &st), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	EV_EQ(open(path, O_RDONLY | O_CLOEXEC) < 0 ? errno : 0, ENXIO);
	EV_EQ(truncate(path, EV_BLOCK) < 0 ? errno : 0, EPERM);
	close(fd);
}

static void shmem_mappings_come_and_go(void **state)
{
	struct watch *w = *state;
	struct ev_peer peer = ev_attach(w->seg);
	char *p;
	int i;

	watch_settle(w);
	for (i = 0; i < 1000; i++) {
		p = map_own(w, &peer);
		p[(unsigned int)i * EV_PAGE % PEER_BYTES] = 1;
		munmap(p + EV_PAGE, EV_PAGE);
		munmap(p, PEER_BYTES);
	}
	watch_expect_alive(w, &peer);
	p = map_own(w, &peer);
	close(peer.fd);
	watch_expect_alive(w, &peer);
	munmap(p, PEER_BYTES);
	watch_expect_death(w, &peer, EVERING_EXIT_CLOSE, 0);
	watch_reap(w, &peer);
}

/* --- userfaultfd, which shmem allows on 6.1 ---------------------------------------------------- */

static int uffd_open(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0) {
		print_message("# no userfaultfd for this here: %s\n", strerror(errno));
		skip();
	}
	return fd;
}

/* Or skip: newer kernels do not take the mapping. */
static void uffd_register(int fd, void *p, uint64_t mode)
{
	struct uffdio_register arg = { .range = { (uintptr_t)p, EV_BLOCK }, .mode = mode };

	if (ioctl(fd, UFFDIO_REGISTER, &arg) == 0)
		return;
	EV_EQ(errno, EINVAL);
	print_message("# userfaultfd takes no such mapping here\n");
	munmap(p, PEER_BYTES);
	close(fd);
	skip();
}

/* No page is missing, so none can be put in place of another. */
static void shmem_userfault_cannot_replace_a_page(void **state)
{
	struct watch *w = *state;
	char *p = map_own(w, &w->peer), page[EV_PAGE];
	int fd = uffd_open(0);
	struct uffdio_copy copy = { .src = (uintptr_t)page, .dst = (uintptr_t)p, .len = EV_PAGE };
	struct uffdio_zeropage zero = { .range = { (uintptr_t)p, EV_PAGE } };

	memset(page, 0x66, sizeof(page));
	memset(p, 0x55, PEER_BYTES);
	uffd_register(fd, p, UFFDIO_REGISTER_MODE_MISSING);
	EV_EQ(madvise(p, EV_BLOCK, MADV_DONTNEED), 0);
	EV_EQ(ioctl(fd, UFFDIO_COPY, &copy) < 0 ? errno : 0, EEXIST);
	EV_EQ(ioctl(fd, UFFDIO_ZEROPAGE, &zero) < 0 ? errno : 0, EEXIST);
	EV_EQ(p[0], 0x55);
	EV_EQ(p[EV_BLOCK - 1], 0x55);
	close(fd);
	munmap(p, PEER_BYTES);
}

#ifdef UFFD_FEATURE_MINOR_SHMEM
static void shmem_userfault_cannot_continue_after_revoke(void **state)
{
	struct watch *w = *state;
	int fd = uffd_open(UFFD_FEATURE_MINOR_SHMEM);
	struct ev_peer peer = ev_attach(w->seg);
	char *p = map_own(w, &peer);
	struct uffdio_continue go = { .range = { (uintptr_t)p, EV_PAGE } };

	memset(p, 0x55, PEER_BYTES);
	uffd_register(fd, p, UFFDIO_REGISTER_MODE_MINOR);
	EV_EQ(madvise(p, EV_BLOCK, MADV_DONTNEED), 0);
	EV_EQ(ioctl(fd, UFFDIO_CONTINUE, &go), 0);
	EV_EQ(p[0], 0x55);
	EV_EQ(ev_revoke(w->seg, peer.slot, peer.incarnation), 0);
	EV_CHECK(ioctl(fd, UFFDIO_CONTINUE, &go) < 0);
	EV_EQ(ev_touch_read(p), SIGBUS);
	EV_EQ(smaps_bytes(p, PEER_BYTES, "Rss"), 0);
	close(fd);
	munmap(p, PEER_BYTES);
	close(peer.fd);
}
#endif

/* --- a child that shares its parent's mapping ---------------------------------------------- */

static void touch_until_told(struct role *role)
{
	EV_EQ(ev_touch_write(role->memory), 0);
	leash_wait(role->leash);
	EV_EQ(ev_touch_write(role->memory), SIGBUS);
	EV_EQ(smaps_bytes(role->memory, PEER_BYTES, "Rss"), 0);
}

static void leave_sharing_child(struct ev_link *link, struct role *role)
{
	(void)link;
	EV_EQ(madvise(role->memory, PEER_BYTES, MADV_DOFORK), 0);
	role_fork_orphan(role, touch_until_told);
	await_asleep(role->orphan);
}

static void shmem_child_loses_the_mapping_by_revoke(void **state)
{
	struct watch *w = *state;
	struct role role = { .seg = w->seg, .prepare = leave_sharing_child };
	struct victim v;

	victim_start(&v, &role);
	watch_settle(w);
	EV_EQ(ev_revoke(w->seg, v.peer.slot, v.peer.incarnation), 0);
	watch_expect_death(w, &v.peer, EVERING_EXIT_REVOKE, 0);
	victim_kill(&v);
	victim_bury(&v);
	watch_reap(w, &v.peer);
}

/* The file of the mapping lives on in the child: who executes is noticed all the same. */
static void exec_true(struct ev_link *link, struct role *role)
{
	struct evering_segment_info info = ev_segment_info(role->peer.fd);

	/* Nothing of the status pages is mapped that could tell. */
	munmap((void *)(uintptr_t)ev_status(role->peer.fd), info.status_size);
	ev_hear(link);
	execl("/bin/true", "true", NULL);
	execl("/bin/busybox", "true", NULL);
	_exit(98);
}

static void shmem_execve_of_a_sharing_parent_is_seen(void **state)
{
	struct watch *w = *state;
	struct role role = { .seg = w->seg, .prepare = leave_sharing_child, .act = exec_true };
	struct victim v;

	victim_start(&v, &role);
	watch_settle(w);
	ev_say(&v.link, 0);
	ev_await_state(w->status, v.peer.slot, EVERING_PEER_DEAD);
	victim_expect_end(&v, 0);
	victim_bury(&v);
	EV_EQ(ev_reaped(w->peer.fd, v.peer.slot, v.peer.incarnation), 0);
}

/* --- faults under way at the end ------------------------------------------------------------ */

static __thread sigjmp_buf bus_back;

static void on_bus(int sig)
{
	siglongjmp(bus_back, sig);
}

struct toucher {
	pthread_t thread;
	char *memory;
	unsigned int seed;
	bool *stop;
};

static void *drop_and_touch(void *arg)
{
	struct toucher *t = arg;

	if (sigsetjmp(bus_back, 1))
		return NULL;
	while (!__atomic_load_n(t->stop, __ATOMIC_ACQUIRE)) {
		volatile char *p = t->memory + (unsigned int)rand_r(&t->seed) % PEER_BYTES;

		madvise(t->memory, PEER_BYTES, MADV_DONTNEED);
		*p = 1;
	}
	return NULL;
}

/* Two threads fault until they are told, or cannot; neither drops what it touched last. */
static void touchers_start(struct toucher t[2], char *memory, bool *stop)
{
	struct sigaction act = { .sa_handler = on_bus, .sa_flags = SA_NODEFER };
	unsigned int i;

	*stop = false;
	sigaction(SIGBUS, &act, NULL);
	for (i = 0; i < 2; i++) {
		t[i] = (struct toucher){ .memory = memory, .stop = stop, .seed = i };
		EV_EQ(pthread_create(&t[i].thread, NULL, drop_and_touch, &t[i]), 0);
	}
}

static void touchers_join(struct toucher t[2])
{
	EV_EQ(pthread_join(t[0].thread, NULL), 0);
	EV_EQ(pthread_join(t[1].thread, NULL), 0);
}

static bool lost_race(struct watch *w, unsigned int round)
{
	struct ev_peer peer = ev_attach(w->seg);
	char *memory = map_own(w, &peer);
	struct toucher t[2];
	size_t live;
	bool stop;

	touchers_start(t, memory, &stop);
	usleep(500 + round * 37 % 1500);
	EV_EQ(ev_revoke(w->seg, peer.slot, peer.incarnation), 0);
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	EV_EQ(ev_state(w->status, peer.slot), EVERING_PEER_DEAD);
	touchers_join(t);
	live = smaps_bytes(memory, PEER_BYTES, "Rss");
	munmap(memory, PEER_BYTES);
	close(peer.fd);
	EV_EQ(ev_reaped(w->peer.fd, peer.slot, peer.incarnation), 0);
	return live;
}

static void shmem_revoke_racing_faults_leaves_no_mapping(void **state)
{
	struct watch *w = *state;
	unsigned int round, lost = 0;
	struct sigaction old;

	EV_EQ(sigaction(SIGBUS, NULL, &old), 0);
	for (round = 0; round < RACE_ROUNDS; round++)
		lost += lost_race(w, round);
	sigaction(SIGBUS, &old, NULL);
	print_message("# live mappings after revoke: %u of %u rounds\n", lost, RACE_ROUNDS);
	EV_EQ(lost, 0);
}

static void fault_as_child(struct role *role)
{
	struct toucher t[2];
	bool stop;

	touchers_start(t, role->memory, &stop);
	touchers_join(t);
	/* The end is known by now. */
	leash_wait(role->leash);
	EV_EQ(smaps_bytes(role->memory, PEER_BYTES, "Rss"), 0);
}

static void leave_faulting_child(struct ev_link *link, struct role *role)
{
	(void)link;
	EV_EQ(madvise(role->memory, PEER_BYTES, MADV_DOFORK), 0);
	role_fork_orphan(role, fault_as_child);
}

/* The lock that the end needs is hardly ever free: it is DYING until it is, not for ever. */
static void shmem_death_cuts_a_faulting_child_off(void **state)
{
	struct watch *w = *state;
	struct role role = { .seg = w->seg, .prepare = leave_faulting_child };
	struct victim v;
	int round;

	for (round = 0; round < CHILD_ROUNDS; round++) {
		victim_start(&v, &role);
		watch_settle(w);
		usleep((useconds_t)round * 300);
		victim_kill(&v);
		watch_expect_death(w, &v.peer, EVERING_EXIT_EXIT, SIGKILL);
		victim_bury(&v);
		EV_EQ(ev_reaped(w->peer.fd, v.peer.slot, v.peer.incarnation), 0);
	}
}

/* Its mmap lock is taken most of the time, but not always; as long on a debug kernel as on others. */
static void hold_lock_mostly(struct role *role)
{
	struct pollfd leash = { .fd = role->leash };
	int ready = (int)role->arg;
	const size_t sz = (ev_debug_kernel() ? 1UL : 12UL) << 20;
	char *heap = mmap(NULL, sz, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	EV_CHECK(heap != MAP_FAILED);
	EV_EQ(write(ready, "", 1), 1);
	while (poll(&leash, 1, 0) == 0) {
		EV_EQ(madvise(heap, sz, MADV_POPULATE_WRITE), 0);
		EV_EQ(madvise(heap, sz, MADV_DONTNEED), 0);
		usleep(1000);
	}
}

static void be_a_crowd(struct role *role)
{
	pid_t others[CROWD - 1];
	int i, status;

	for (i = 0; i < CROWD - 1; i++) {
		others[i] = fork();
		EV_CHECK(others[i] >= 0);
		if (others[i] == 0) {
			hold_lock_mostly(role);
			_exit(0);
		}
	}
	hold_lock_mostly(role);
	for (i = 0; i < CROWD - 1; i++) {
		EV_EQ(waitpid(others[i], &status, 0), others[i]);
		EV_EQ(status, 0);
	}
	EV_EQ(ev_touch_write(role->memory), SIGBUS);
}

static void leave_crowd(struct ev_link *link, struct role *role)
{
	int ready[2], i;
	char byte;

	(void)link;
	EV_EQ(pipe(ready), 0);
	role->arg = (uint64_t)ready[1];
	EV_EQ(madvise(role->memory, PEER_BYTES, MADV_DOFORK), 0);
	role_fork_orphan(role, be_a_crowd);
	for (i = 0; i < CROWD; i++)
		EV_EQ(read(ready[0], &byte, 1), 1);
}

/* Each lock is free now and then, all of them together never: the end comes all the same. */
static void shmem_death_passes_a_crowd_one_by_one(void **state)
{
	struct watch *w = *state;
	struct role role = { .seg = w->seg, .prepare = leave_crowd };
	struct victim v;

	victim_start(&v, &role);
	watch_settle(w);
	victim_kill(&v);
	watch_expect_death(w, &v.peer, EVERING_EXIT_EXIT, SIGKILL);
	victim_bury(&v);
	watch_reap(w, &v.peer);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, watch_setup_shmem, watch_teardown)
	const struct CMUnitTest tests[] = {
		CASE(shmem_is_reported),
		CASE(shmem_contiguous_is_one_extent),
		CASE(shmem_blocks_are_mapped_huge),
		CASE(shmem_registered_buffer_takes_data),
		CASE(shmem_registered_buffer_over_two_mappings),
		CASE(shmem_file_by_path_gives_nothing),
		CASE(shmem_mappings_come_and_go),
		CASE(shmem_userfault_cannot_replace_a_page),
#ifdef UFFD_FEATURE_MINOR_SHMEM
		CASE(shmem_userfault_cannot_continue_after_revoke),
#endif
		CASE(shmem_child_loses_the_mapping_by_revoke),
		CASE(shmem_execve_of_a_sharing_parent_is_seen),
		CASE(shmem_revoke_racing_faults_leaves_no_mapping),
		CASE(shmem_death_cuts_a_faulting_child_off),
		CASE(shmem_death_passes_a_crowd_one_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
