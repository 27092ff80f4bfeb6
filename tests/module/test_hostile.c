// SPDX-License-Identifier: MIT
/*
 * System calls that take a mapping's pages for their own: advice, moving, splitting,
 * collapsing, compaction, remapping. Each has its answer, the data stays what it was
 * in this process and in another peer's, and the kernel has nothing to say.
 *
 * Seen to fail: controls/mapping-grows, controls/mixedmap, controls/policy-outlives.
 */

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "watch.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

#define BYTES (4 * EV_BLOCK)

struct land {
	int seg;
	struct ev_peer peer, other;
	unsigned char *mine; /* written here */
	const unsigned char *theirs; /* the same range through the other peer */
	uint64_t at;
};

static unsigned char pattern(size_t i)
{
	return (unsigned char)(i * 31 + (i >> 12) * 7 + 5);
}

static int start(void **state)
{
	struct ev_shape shape = { .shared_size = BYTES, .peer_size = EV_PAGE, .peers_max = 4 };
	struct land *l = malloc(sizeof(*l));
	size_t i;

	l->seg = ev_create(&shape);
	l->peer = ev_attach(l->seg);
	l->other = ev_attach(l->seg);
	l->at = ev_segment_info(l->seg).shared_offset;
	l->mine = ev_map(l->peer.fd, l->at, BYTES, PROT_READ | PROT_WRITE);
	l->theirs = ev_map(l->other.fd, l->at, BYTES, PROT_READ);
	for (i = 0; i < BYTES; i++)
		l->mine[i] = pattern(i);
	*state = l;
	return 0;
}

static void expect_data(const unsigned char *p, size_t from, size_t sz)
{
	size_t i;

	for (i = 0; i < sz; i++)
		if (p[i] != pattern(from + i))
			ev_fail(__FILE__, __LINE__, "byte %#zx is %#x, not %#x", from + i, p[i],
				pattern(from + i));
}

static void expect_intact(struct land *l)
{
	expect_data(l->mine, 0, BYTES);
	expect_data(l->theirs, 0, BYTES);
}

static int stop(void **state)
{
	struct land *l = *state;

	expect_data(l->theirs, 0, BYTES);
	munmap(l->mine, BYTES);
	munmap((void *)(uintptr_t)l->theirs, BYTES);
	close(l->peer.fd);
	close(l->other.fd);
	close(l->seg);
	free(l);
	return 0;
}

static int advise(void *p, size_t sz, int advice)
{
	return madvise(p, sz, advice) < 0 ? -errno : 0;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0) {
		print_message("# no %s here\n", path);
		return;
	}
	if (write(fd, text, strlen(text)) < 0)
		print_message("# %s: %s\n", path, strerror(errno));
	close(fd);
}

/* --- advice --------------------------------------------------------------------------- */

struct advice {
	int advice;
	int wanted;
	const char *name;
};

#define ADVICE(a, w)     \
	{                \
		a, w, #a \
	}

static void hostile_advice_is_refused_or_harmless(void **state)
{
	static const struct advice list[] = {
		ADVICE(MADV_COLD, 0),	       ADVICE(MADV_PAGEOUT, 0),
		ADVICE(MADV_DONTNEED, 0),      ADVICE(MADV_NOHUGEPAGE, 0),
		ADVICE(MADV_HUGEPAGE, 0),      ADVICE(MADV_WILLNEED, 0),
		ADVICE(MADV_RANDOM, 0),	       ADVICE(MADV_SEQUENTIAL, 0),
		ADVICE(MADV_POPULATE_READ, 0), ADVICE(MADV_POPULATE_WRITE, 0),
		ADVICE(MADV_FREE, -EINVAL),    ADVICE(MADV_WIPEONFORK, -EINVAL),
		ADVICE(MADV_DODUMP, -EINVAL),  ADVICE(MADV_DONTDUMP, 0),
	};
	struct land *l = *state;
	unsigned int i;

	for (i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		int whole = advise(l->mine, BYTES, list[i].advice);
		int part = advise(l->mine + EV_BLOCK - EV_PAGE, 2 * EV_PAGE, list[i].advice);

		if (whole != list[i].wanted || part != list[i].wanted)
			ev_fail(__FILE__, __LINE__, "%s: %d and %d, not %d", list[i].name, whole,
				part, list[i].wanted);
		expect_intact(l);
	}
}

static void hostile_advice_to_remove_or_collapse_fails(void **state)
{
	struct land *l = *state;
	int ret;

	ret = advise(l->mine, BYTES, MADV_REMOVE);
	EV_EQ(ret, ev_on_shmem() ? -EPERM : -ENODEV);
	EV_CHECK(advise(l->mine, BYTES, MADV_COLLAPSE) == -EINVAL);
	ret = advise(l->mine, BYTES, MADV_MERGEABLE);
	EV_CHECK(ret == 0 || ret == -EINVAL);
	expect_intact(l);
}

/* 511 more references: the count that lets the split test pass. */
static void hostile_pageout_of_a_referenced_block_splits_nothing(void **state)
{
	struct land *l = *state;
	struct iovec iov = { l->mine, EV_PAGE };
	int ends[2], i;

	EV_EQ(pipe(ends), 0);
	EV_CHECK(fcntl(ends[1], F_SETPIPE_SZ, 1024 * 4096) > 0);
	for (i = 0; i < 511; i++)
		EV_EQ(vmsplice(ends[1], &iov, 1, SPLICE_F_NONBLOCK), EV_PAGE);
	EV_EQ(advise(l->mine, EV_BLOCK, MADV_PAGEOUT), 0);
	EV_EQ(advise(l->mine, EV_BLOCK, MADV_COLD), 0);
	EV_EQ(advise(l->mine + EV_PAGE, EV_PAGE, MADV_PAGEOUT), 0);
	expect_intact(l);
	close(ends[0]);
	close(ends[1]);
}

static void hostile_poison_of_a_page_leaves_no_complaint(void **state)
{
	struct land *l = *state;
	int ret = advise(l->mine, EV_PAGE, MADV_SOFT_OFFLINE);

	/* Without memory failure handling the advice is unknown. */
	EV_CHECK(ret == -EINVAL || ret == -EIO || ret == -EBUSY || ret == -EOPNOTSUPP);
	expect_intact(l);
}

/* --- moving pages ------------------------------------------------------------------------ */

static void hostile_mbind_and_move_pages_move_nothing(void **state)
{
	struct land *l = *state;
	unsigned long nodes = 1;
	void *pages[4] = { l->mine, l->mine + EV_PAGE, l->mine + EV_BLOCK,
			   l->mine + BYTES - EV_PAGE };
	int to[4] = { 0 }, status[4];
	long ret;

	ret = syscall(SYS_mbind, l->mine, BYTES, MPOL_BIND, &nodes, 8,
		      MPOL_MF_MOVE_ALL | MPOL_MF_STRICT);
	EV_CHECK(ret == 0 || errno == ENOSYS || errno == EIO);
	expect_intact(l);
	ret = syscall(SYS_move_pages, 0, 4, pages, to, status, MPOL_MF_MOVE_ALL);
	EV_CHECK(ret >= 0 || errno == ENOSYS);
	expect_intact(l);
	ret = syscall(SYS_migrate_pages, 0, 8, &nodes, &nodes);
	EV_CHECK(ret >= 0 || errno == ENOSYS);
	expect_intact(l);
}

/*
 * What get_mempolicy(2) finds here is the process' own, the default: a policy that was
 * the module's could be held by its caller until after rmmod.
 */
static void hostile_get_mempolicy_finds_none_of_the_module(void **state)
{
	struct land *l = *state;
	int mode = -1;

	if (syscall(SYS_get_mempolicy, &mode, NULL, 0, l->mine, MPOL_F_ADDR) && errno == ENOSYS)
		skip();
	EV_EQ(mode, MPOL_DEFAULT);
	expect_intact(l);
}

static void hostile_compaction_and_splitting_change_nothing(void **state)
{
	struct land *l = *state;
	char text[128];

	write_file("/proc/sys/vm/compact_memory", "1");
	expect_intact(l);
	write_file("/proc/sys/vm/drop_caches", "3");
	expect_intact(l);
	write_file("/sys/kernel/debug/split_huge_pages", "1");
	expect_intact(l);
	snprintf(text, sizeof(text), "%d,%#lx,%#lx", getpid(), (unsigned long)l->mine,
		 (unsigned long)l->mine + BYTES);
	write_file("/sys/kernel/debug/split_huge_pages", text);
	expect_intact(l);
}

/* --- changing the mapping ------------------------------------------------------------------ */

static int remap(void *old, size_t old_sz, size_t sz, int flags, void *to)
{
	return mremap(old, old_sz, sz, flags, to) == MAP_FAILED ? -errno : 0;
}

static void hostile_mremap_moves_but_never_grows(void **state)
{
	struct land *l = *state;
	char *room = mmap(NULL, 2 * BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int way = MREMAP_MAYMOVE | MREMAP_FIXED;

	EV_CHECK(room != MAP_FAILED);
	EV_EQ(remap(l->mine, BYTES, BYTES + EV_PAGE, MREMAP_MAYMOVE, NULL), -EFAULT);
	EV_EQ(remap(l->mine, 0, BYTES, MREMAP_MAYMOVE, NULL), -EFAULT);
	EV_EQ(remap(l->mine, BYTES, BYTES, MREMAP_MAYMOVE | 4, NULL), -EINVAL);
	expect_intact(l);
	/* To where 2 MiB pages do not fit. */
	EV_EQ(remap(l->mine, BYTES, BYTES, way, room + EV_PAGE), 0);
	l->mine = (unsigned char *)room + EV_PAGE;
	expect_intact(l);
	EV_EQ(remap(l->mine + EV_BLOCK, EV_BLOCK, EV_BLOCK, way, room + BYTES + EV_BLOCK), 0);
	expect_data((unsigned char *)room + BYTES + EV_BLOCK, EV_BLOCK, EV_BLOCK);
	EV_EQ(remap(room + BYTES + EV_BLOCK, EV_BLOCK, EV_BLOCK, way, l->mine + EV_BLOCK), 0);
	expect_intact(l);
}

static void hostile_remap_file_pages_keeps_the_rights(void **state)
{
	struct land *l = *state;
	uint64_t theirs = ev_region(l->seg, l->other.slot);
	long ret;

	ret = syscall(SYS_remap_file_pages, l->mine, EV_PAGE, 0, l->at / EV_PAGE + 1, 0);
	if (ret == 0)
		expect_data(l->mine, EV_PAGE, EV_PAGE);
	else
		EV_EQ(errno, EINVAL);
	/* The status page and another's region are not writable this way either. */
	EV_EQ(syscall(SYS_remap_file_pages, l->mine, EV_PAGE, 0, 0, 0), -1);
	EV_EQ(syscall(SYS_remap_file_pages, l->mine, EV_PAGE, 0, theirs / EV_PAGE, 0), -1);
	/* A refusal may have left a hole. */
	EV_CHECK(mmap(l->mine, EV_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, l->peer.fd,
		      (off_t)l->at) == l->mine);
	expect_intact(l);
}

static void hostile_partial_unmap_and_protect_keep_the_rest(void **state)
{
	struct land *l = *state;
	unsigned char *hole = l->mine + EV_BLOCK + 3 * EV_PAGE;

	EV_EQ(mprotect(l->mine + 5 * EV_PAGE, EV_PAGE, PROT_READ), 0);
	EV_EQ(ev_touch_write(l->mine + 5 * EV_PAGE), SIGSEGV);
	EV_EQ(mprotect(l->mine + 5 * EV_PAGE, EV_PAGE, PROT_READ | PROT_WRITE), 0);
	expect_intact(l);
	EV_EQ(munmap(hole, EV_PAGE), 0);
	expect_data(l->mine, 0, EV_BLOCK + 3 * EV_PAGE);
	expect_data(hole + EV_PAGE, EV_BLOCK + 4 * EV_PAGE, 2 * EV_BLOCK);
	EV_CHECK(mmap(hole, EV_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, l->peer.fd,
		      (off_t)(l->at + EV_BLOCK + 3 * EV_PAGE)) == hole);
	expect_intact(l);
}

static void hostile_mlock_and_munlock_are_harmless(void **state)
{
	struct land *l = *state;

	EV_EQ(mlock(l->mine, BYTES), 0);
	EV_EQ(mlock2(l->mine + EV_PAGE, EV_PAGE, MLOCK_ONFAULT), 0);
	/* The lock is not taken (DONTEXPAND), so this is no error. */
	EV_EQ(advise(l->mine, BYTES, MADV_DONTNEED), 0);
	EV_EQ(munlock(l->mine, BYTES), 0);
	EV_EQ(advise(l->mine, BYTES, MADV_DONTNEED), 0);
	EV_EQ(msync(l->mine, BYTES, MS_SYNC), 0);
	expect_intact(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(hostile_advice_is_refused_or_harmless, start, stop),
		cmocka_unit_test_setup_teardown(hostile_advice_to_remove_or_collapse_fails, start,
						stop),
		cmocka_unit_test_setup_teardown(
			hostile_pageout_of_a_referenced_block_splits_nothing, start, stop),
		cmocka_unit_test_setup_teardown(hostile_poison_of_a_page_leaves_no_complaint, start,
						stop),
		cmocka_unit_test_setup_teardown(hostile_mbind_and_move_pages_move_nothing, start,
						stop),
		cmocka_unit_test_setup_teardown(hostile_get_mempolicy_finds_none_of_the_module,
						start, stop),
		cmocka_unit_test_setup_teardown(hostile_compaction_and_splitting_change_nothing,
						start, stop),
		cmocka_unit_test_setup_teardown(hostile_mremap_moves_but_never_grows, start, stop),
		cmocka_unit_test_setup_teardown(hostile_remap_file_pages_keeps_the_rights, start,
						stop),
		cmocka_unit_test_setup_teardown(hostile_partial_unmap_and_protect_keep_the_rest,
						start, stop),
		cmocka_unit_test_setup_teardown(hostile_mlock_and_munlock_are_harmless, start,
						stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
