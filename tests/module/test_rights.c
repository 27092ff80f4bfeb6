// SPDX-License-Identifier: MIT
/*
 * Who may write what. Every way to a byte that we know of is tried on ranges that
 * a peer may not write: mmap, mprotect, remap_file_pages, mremap, reopening the fd,
 * /proc/self/mem, process_vm_writev, ptrace's way, children; and fds that were
 * given away with fewer rights cannot get them back.
 *
 * Seen to fail: without clearing VM_MAYWRITE, VM_DONTCOPY, the test of the mm in
 * mmap or in the fault, with setattr allowed, and with all regions writable.
 */

#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "device.h"
#include "smaps.h"

#define RW (PROT_READ | PROT_WRITE)

static const struct ev_shape shared_shape = {
	.shared_size = 2 * EV_BLOCK,
	.peer_size = EV_BLOCK,
	.peers_max = 4,
};

static const struct ev_shape isolated_shape = {
	.peer_size = EV_BLOCK,
	.peers_max = 4,
	.flags = EVERING_SEGMENT_F_ISOLATED,
};

/* Two writers and an observer of a segment. */
struct cast {
	int seg;
	struct ev_peer a, b, observer;
};

static struct cast cast_of(const struct ev_shape *shape)
{
	struct cast c;

	c.seg = ev_create(shape);
	c.a = ev_attach(c.seg);
	c.b = ev_attach(c.seg);
	c.observer = ev_attach_observer(c.seg);
	return c;
}

static void cast_close(struct cast *c)
{
	close(c->a.fd);
	close(c->b.fd);
	close(c->observer.fd);
	close(c->seg);
}

static uint64_t region(const struct cast *c, const struct ev_peer *peer)
{
	return ev_region(c->seg, peer->slot);
}

static int map_rw(int fd, uint64_t offset, size_t sz)
{
	return ev_map_errno(fd, offset, sz, RW, MAP_SHARED);
}

static void rights_shared_segment(void **state)
{
	struct cast c = cast_of(&shared_shape);
	const uint64_t shared = EV_BLOCK, end = shared + 2 * EV_BLOCK;

	(void)state;
	EV_EQ(map_rw(c.a.fd, shared, 2 * EV_BLOCK), 0);
	EV_EQ(map_rw(c.a.fd, region(&c, &c.a), EV_BLOCK), 0);
	EV_EQ(map_rw(c.a.fd, region(&c, &c.b), EV_BLOCK), -EACCES);
	EV_EQ(map_rw(c.a.fd, region(&c, &c.b) + EV_PAGE, EV_PAGE), -EACCES);
	EV_EQ(map_rw(c.a.fd, 0, EV_PAGE), -EACCES);
	/* Slot 0's own region follows the shared one; slot 1's follows that. */
	EV_EQ(c.a.slot, 0);
	EV_EQ(c.b.slot, 1);
	EV_EQ(map_rw(c.a.fd, end - EV_PAGE, 2 * EV_PAGE), 0);
	EV_EQ(map_rw(c.a.fd, end, EV_BLOCK + EV_PAGE), -EACCES);
	EV_EQ(map_rw(c.b.fd, end - EV_PAGE, 2 * EV_PAGE), -EACCES);
	EV_EQ(map_rw(c.b.fd, shared, 4 * EV_BLOCK), -EACCES);
	EV_EQ(map_rw(c.observer.fd, shared, EV_PAGE), -EACCES);
	EV_EQ(map_rw(c.observer.fd, region(&c, &c.observer), EV_PAGE), -EACCES);
	EV_EQ(ev_map_errno(c.observer.fd, shared, 6 * EV_BLOCK, PROT_READ, MAP_SHARED), 0);
	EV_EQ(ev_map_errno(c.a.fd, shared, EV_PAGE, PROT_WRITE, MAP_SHARED), 0);
	EV_EQ(ev_map_errno(c.a.fd, region(&c, &c.b), EV_PAGE, PROT_WRITE, MAP_SHARED), -EACCES);
	cast_close(&c);
}

static void rights_isolated_segment(void **state)
{
	struct cast c = cast_of(&isolated_shape);
	unsigned char *own, *seen;

	(void)state;
	EV_EQ(map_rw(c.a.fd, region(&c, &c.a), EV_BLOCK), 0);
	EV_EQ(map_rw(c.a.fd, region(&c, &c.b), EV_BLOCK), -EACCES);
	EV_EQ(map_rw(c.b.fd, region(&c, &c.a), EV_BLOCK), -EACCES);
	EV_EQ(map_rw(c.a.fd, region(&c, &c.a), 2 * EV_BLOCK), -EACCES);
	EV_EQ(map_rw(c.observer.fd, region(&c, &c.a), EV_BLOCK), -EACCES);
	own = ev_map(c.a.fd, region(&c, &c.a), EV_BLOCK, RW);
	seen = ev_map(c.b.fd, region(&c, &c.a), EV_BLOCK, PROT_READ);
	memset(own, 0x19, EV_BLOCK);
	EV_EQ(seen[0], 0x19);
	EV_EQ(seen[EV_BLOCK - 1], 0x19);
	munmap(own, EV_BLOCK);
	munmap(seen, EV_BLOCK);
	cast_close(&c);
}

static int write_by_proc_mem(void *p)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	char byte = 0x66;
	ssize_t ret;

	EV_CHECK(fd >= 0);
	ret = pwrite(fd, &byte, 1, (off_t)(uintptr_t)p);
	ret = ret < 0 ? -errno : ret;
	close(fd);
	return (int)ret;
}

static int write_by_vm_writev(void *p)
{
	char byte = 0x66;
	struct iovec from = { &byte, 1 }, to = { p, 1 };
	ssize_t ret = process_vm_writev(getpid(), &from, 1, &to, 1, 0);

	return ret < 0 ? -errno : (int)ret;
}

static int read_file_into(void *p)
{
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t ret = read(fd, p, 1);

	ret = ret < 0 ? -errno : ret;
	close(fd);
	return (int)ret;
}

/* Everything that makes a read-only range writable, or writes to it all the same. */
static void expect_never_written(struct ev_peer *peer, uint64_t offset)
{
	unsigned char *p = ev_map(peer->fd, offset, EV_PAGE, PROT_READ);
	const unsigned char before = p[0];
	void *to;

	EV_CHECK(!smaps_flag(p, "mw"));
	EV_CHECK(!smaps_flag(p, "me"));
	EV_EQ(mprotect(p, EV_PAGE, RW) < 0 ? errno : 0, EACCES);
	EV_EQ(mprotect(p, EV_PAGE, PROT_WRITE) < 0 ? errno : 0, EACCES);
	EV_EQ(mprotect(p, EV_PAGE, PROT_READ | PROT_EXEC) < 0 ? errno : 0, EACCES);
	EV_EQ(ev_touch_write(p), SIGSEGV);
	EV_EQ(write_by_proc_mem(p), -EIO);
	EV_EQ(write_by_vm_writev(p), -EFAULT);
	EV_EQ(read_file_into(p), -EFAULT);
	EV_CHECK(madvise(p, EV_PAGE, 23 /* MADV_POPULATE_WRITE */) < 0);
	to = mmap(NULL, EV_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EV_CHECK(to != MAP_FAILED);
	p = mremap(p, EV_PAGE, EV_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	EV_CHECK(p == to);
	EV_EQ(mprotect(p, EV_PAGE, RW) < 0 ? errno : 0, EACCES);
	EV_EQ(ev_touch_write(p), SIGSEGV);
	EV_EQ(p[0], before);
	munmap(p, EV_PAGE);
}

static void rights_readonly_range_never_written(void **state)
{
	struct cast c = cast_of(&shared_shape);

	(void)state;
	expect_never_written(&c.a, 0);
	expect_never_written(&c.a, region(&c, &c.b));
	expect_never_written(&c.observer, 0);
	expect_never_written(&c.observer, EV_BLOCK);
	expect_never_written(&c.observer, region(&c, &c.observer));
	cast_close(&c);
}

/* A read-only mapping of what may be written is the caller's choice, not a limit. */
static void rights_own_range_upgradable(void **state)
{
	struct cast c = cast_of(&shared_shape);
	unsigned char *p = ev_map(c.a.fd, EV_BLOCK, EV_BLOCK, PROT_READ);

	(void)state;
	EV_EQ(mprotect(p, EV_BLOCK, RW), 0);
	p[0] = 1;
	EV_EQ(mprotect(p, EV_BLOCK, RW | PROT_EXEC) < 0 ? errno : 0, EACCES);
	munmap(p, EV_BLOCK);
	cast_close(&c);
}

/* remap_file_pages maps again through our mmap: the new offset has its own rules. */
static void rights_remap_file_pages_checked(void **state)
{
	struct cast c = cast_of(&shared_shape);
	unsigned char *p = ev_map(c.a.fd, EV_BLOCK, EV_BLOCK, RW);
	const uint64_t other = region(&c, &c.b);

	(void)state;
	p[0] = 0x31;
	(void)!syscall(SYS_remap_file_pages, p, EV_PAGE, 0, other / EV_PAGE, 0);
	(void)!syscall(SYS_remap_file_pages, p + EV_PAGE, EV_PAGE, 0, 0, 0);
	/* Whatever is there now: what can be written is not the other's region. */
	ev_touch_write(p);
	ev_touch_write(p + EV_PAGE);
	if (ev_touch_read(p) == 0 && ev_touch_write(p) == 0)
		EV_EQ(p[0], 0x31);
	munmap(p, EV_BLOCK);
	p = ev_map(c.b.fd, other, EV_PAGE, PROT_READ);
	EV_EQ(p[0], 0);
	munmap(p, EV_PAGE);
	cast_close(&c);
}

static int reopen(int fd, int flags)
{
	char path[64];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, flags | O_CLOEXEC);
	if (again < 0)
		return -errno;
	close(again);
	return 0;
}

static void rights_reopen_refused(void **state)
{
	static const int flags[] = { O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_TRUNC };
	struct cast c = cast_of(&shared_shape);
	unsigned int i;

	(void)state;
	for (i = 0; i < 4; i++) {
		EV_EQ(reopen(c.seg, flags[i]), -ENXIO);
		EV_EQ(reopen(c.a.fd, flags[i]), -ENXIO);
		EV_EQ(reopen(c.observer.fd, flags[i]), -ENXIO);
	}
	cast_close(&c);
}

static void rights_file_calls_refused(void **state)
{
	struct cast c = cast_of(&shared_shape);
	const int fds[] = { c.seg, c.a.fd, c.observer.fd };
	struct stat before, after;
	char bytes[64];
	unsigned int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		EV_EQ(fstat(fds[i], &before), 0);
		EV_CHECK(ftruncate(fds[i], 0) < 0);
		EV_CHECK(ftruncate(fds[i], 1 << 30) < 0);
		EV_CHECK(fallocate(fds[i], 0, 0, 1 << 30) < 0);
		EV_CHECK(fallocate(fds[i], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, EV_BLOCK,
				   EV_BLOCK) < 0);
		EV_CHECK(write(fds[i], bytes, sizeof(bytes)) < 0);
		EV_CHECK(pwrite(fds[i], bytes, sizeof(bytes), EV_BLOCK) < 0);
		EV_EQ(fchmod(fds[i], 0777) < 0 ? errno : 0, EPERM);
		EV_EQ(fchown(fds[i], 1000, 1000) < 0 ? errno : 0, EPERM);
		EV_EQ(fstat(fds[i], &after), 0);
		EV_EQ(before.st_size, after.st_size);
		EV_EQ(before.st_mode, after.st_mode);
		EV_EQ(before.st_uid, after.st_uid);
	}
	EV_EQ(read(c.seg, bytes, sizeof(bytes)) < 0 ? errno : 0, EINVAL);
	cast_close(&c);
}

/* What a forked child finds of its parent's peer. */
struct family {
	struct cast c;
	unsigned char *map;
};

static void child_touches(struct ev_link *link, void *arg)
{
	struct family *f = arg;

	(void)link;
	f->map[0]++;
}

static void rights_forked_child_has_no_mapping(void **state)
{
	struct family f = { .c = cast_of(&shared_shape) };
	struct ev_link child;

	(void)state;
	f.map = ev_map(f.c.a.fd, EV_BLOCK, EV_BLOCK, RW);
	f.map[0] = 1;
	ev_child_start(&child, child_touches, &f);
	ev_child_expect_signal(&child, SIGSEGV);
	/*
	 * Told to copy it: the mapping is there, but a peer belongs to one mm. shmem does
	 * not know that: there the child shares it (and its end, see test_shmem).
	 */
	EV_EQ(madvise(f.map, EV_BLOCK, MADV_DOFORK), 0);
	ev_child_start(&child, child_touches, &f);
	if (ev_on_shmem())
		ev_child_join(&child);
	else
		ev_child_expect_signal(&child, SIGBUS);
	EV_EQ(f.map[0], ev_on_shmem() ? 2 : 1);
	munmap(f.map, EV_BLOCK);
	cast_close(&f.c);
}

static void child_maps(struct ev_link *link, void *arg)
{
	struct family *f = arg;

	(void)link;
	EV_EQ(ev_map_errno(f->c.a.fd, EV_BLOCK, EV_PAGE, PROT_READ, MAP_SHARED), -EPERM);
	EV_EQ(ev_map_errno(f->c.b.fd, EV_BLOCK, EV_PAGE, RW, MAP_SHARED), -EPERM);
	/* It may become a peer of its own. */
	close(ev_attach(f->c.seg).fd);
}

static void rights_child_cannot_map_parents_peer(void **state)
{
	struct family f = { .c = cast_of(&shared_shape) };
	struct ev_link child;

	(void)state;
	f.map = ev_map(f.c.a.fd, EV_BLOCK, EV_BLOCK, RW); /* b is not mapped */
	ev_child_start(&child, child_maps, &f);
	ev_child_join(&child);
	munmap(f.map, EV_BLOCK);
	cast_close(&f.c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rights_shared_segment),
		cmocka_unit_test(rights_isolated_segment),
		cmocka_unit_test(rights_readonly_range_never_written),
		cmocka_unit_test(rights_own_range_upgradable),
		cmocka_unit_test(rights_remap_file_pages_checked),
		cmocka_unit_test(rights_reopen_refused),
		cmocka_unit_test(rights_file_calls_refused),
		cmocka_unit_test(rights_forked_child_has_no_mapping),
		cmocka_unit_test(rights_child_cannot_map_parents_peer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
