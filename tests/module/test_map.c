// SPDX-License-Identifier: MIT
/*
 * How a segment is mapped: 2 MiB entries, congruent addresses, what the VMA says,
 * small segments, sizes, the same bytes for every peer, and hostile madvise calls.
 *
 * Seen to fail: without i_size on the peer's inode, VM_DONTDUMP, VM_DONTEXPAND or
 * thp_get_unmapped_area, with the hole behind the status pages or a page beyond the end
 * mappable, and with MAP_PRIVATE let through.
 */

#include <sys/stat.h>
#include <sys/syscall.h>

#include "device.h"
#include "smaps.h"

#define SHARED (4 * EV_BLOCK)
#define RW (PROT_READ | PROT_WRITE)

static const struct ev_shape shape = {
	.shared_size = SHARED,
	.peer_size = EV_BLOCK,
	.peers_max = 3,
};

static void touch_blocks(volatile char *p, size_t sz)
{
	size_t at;

	for (at = 0; at < sz; at += EV_BLOCK)
		EV_EQ(ev_touch_read(p + at), 0);
}

static void expect_pmd(const void *p, size_t sz)
{
	EV_EQ(smaps_bytes(p, sz, "FilePmdMapped"), sz);
	EV_EQ(smaps_bytes(p, sz, "Rss"), sz);
}

static void expect_bytes(const volatile unsigned char *p, size_t sz, unsigned char wanted)
{
	size_t at;

	for (at = 0; at < sz; at++)
		if (p[at] != wanted)
			ev_fail(__FILE__, __LINE__, "byte %zu is %#x, wanted %#x", at, p[at],
				wanted);
}

/* The layout that every other case relies on. */
static void map_geometry_as_designed(void **state)
{
	int seg = ev_create(&shape);
	struct evering_segment_info info = ev_segment_info(seg);
	struct ev_peer peer = ev_attach(seg);
	const struct evering_status_header *status = ev_status(peer.fd);

	(void)state;
	EV_EQ(info.shared_offset, EV_BLOCK);
	EV_EQ(info.shared_size, SHARED);
	EV_EQ(info.peer_size, EV_BLOCK);
	EV_EQ(info.peers_offset, EV_BLOCK + SHARED);
	EV_EQ(info.segment_size, EV_BLOCK + SHARED + 3 * EV_BLOCK);
	EV_EQ(info.grown_offset, info.segment_size);
	EV_EQ(info.bytes, SHARED + 3 * EV_BLOCK);
	EV_CHECK(info.status_size >= 256 + 3 * 64);
	EV_EQ(info.status_size % EV_PAGE, 0);
	EV_EQ(status->segment_id, info.segment_id);
	EV_EQ(status->segment_size, info.segment_size);
	EV_EQ(status->shared_offset, info.shared_offset);
	EV_EQ(status->peers_offset, info.peers_offset);
	EV_EQ(status->peer_size, info.peer_size);
	EV_EQ(status->grown_offset, info.grown_offset);
	EV_EQ(status->peers_max, 3);
	EV_EQ(status->abi_version, EVERING_ABI_VERSION);
	EV_EQ(status->entries_offset, EVERING_STATUS_ENTRIES_OFFSET);
	EV_EQ(status->entry_size, sizeof(struct evering_status_entry));
	munmap((void *)(uintptr_t)status, info.status_size);
	close(peer.fd);
	close(seg);
}

static void map_fresh_memory_zero(void **state)
{
	int seg = ev_create(&shape);
	struct ev_peer peer = ev_attach(seg);
	uint64_t *p = ev_map(peer.fd, EV_BLOCK, SHARED, PROT_READ);
	size_t i;

	(void)state;
	for (i = 0; i < SHARED / 8; i++)
		if (p[i])
			ev_fail(__FILE__, __LINE__, "word %zu is %#llx", i,
				(unsigned long long)p[i]);
	munmap(p, SHARED);
	close(peer.fd);
	close(seg);
}

/* One entry for each 2 MiB, for each kind of peer, by touch and by MAP_POPULATE. */
static void map_blocks_huge(void **state)
{
	int seg = ev_create(&shape);
	struct ev_peer peers[3] = { ev_attach(seg), ev_attach(seg), ev_attach_observer(seg) };
	int i;

	(void)state;
	EV_CHECK(ev_has(EVERING_FEAT_HUGE_MAPPING));
	for (i = 0; i < 3; i++) {
		int prot = i < 2 ? RW : PROT_READ;
		char *p = ev_map(peers[i].fd, EV_BLOCK, SHARED, prot);

		touch_blocks(p, SHARED);
		expect_pmd(p, SHARED);
		munmap(p, SHARED);
		p = mmap(NULL, SHARED, prot, MAP_SHARED | MAP_POPULATE, peers[i].fd, EV_BLOCK);
		EV_CHECK(p != MAP_FAILED);
		expect_pmd(p, SHARED);
		munmap(p, SHARED);
		/* Its own region, and another's to read. */
		p = ev_map(peers[i].fd, ev_region(seg, 0), 2 * EV_BLOCK, PROT_READ);
		touch_blocks(p, 2 * EV_BLOCK);
		expect_pmd(p, 2 * EV_BLOCK);
		munmap(p, 2 * EV_BLOCK);
	}
	for (i = 0; i < 3; i++)
		close(peers[i].fd);
	close(seg);
}

static void map_whole_segment_huge(void **state)
{
	int seg = ev_create(&shape);
	struct ev_peer peer = ev_attach(seg);
	const size_t sz = ev_segment_info(seg).segment_size - EV_BLOCK;
	char *p = ev_map(peer.fd, EV_BLOCK, sz, PROT_READ);

	(void)state;
	touch_blocks(p, sz);
	expect_pmd(p, sz);
	munmap(p, sz);
	close(peer.fd);
	close(seg);
}

static void map_addresses_congruent(void **state)
{
	static const size_t extra[] = { 0, EV_PAGE, EV_BLOCK - EV_PAGE };
	int seg = ev_create(&shape);
	struct ev_peer peer = ev_attach(seg);
	int i, again;

	(void)state;
	for (i = 0; i < 3; i++) {
		for (again = 0; again < 8; again++) {
			const size_t sz = 3 * EV_BLOCK - EV_PAGE;
			char *p = ev_map(peer.fd, EV_BLOCK + extra[i], sz, RW);

			EV_EQ((uintptr_t)p % EV_BLOCK, extra[i]);
			/* The blocks wholly inside have entries of their own. */
			touch_blocks(p, sz);
			EV_EQ(smaps_bytes(p, sz, "FilePmdMapped"), 2 * EV_BLOCK);
			munmap(p, sz);
		}
	}
	close(peer.fd);
	close(seg);
}

static void map_elsewhere_small_entries(void **state)
{
	int seg = ev_create(&shape);
	struct ev_peer peer = ev_attach(seg);
	char *good = ev_map(peer.fd, EV_BLOCK, EV_BLOCK, RW);
	char *room = mmap(NULL, 4 * EV_BLOCK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *at = (char *)(((uintptr_t)room & ~(EV_BLOCK - 1)) + EV_BLOCK + EV_PAGE);
	size_t i;

	(void)state;
	EV_CHECK(mmap(at, EV_BLOCK, RW, MAP_SHARED | MAP_FIXED, peer.fd, EV_BLOCK) == at);
	for (i = 0; i < EV_BLOCK; i += EV_PAGE)
		good[i + i / EV_PAGE] = (char)(i / EV_PAGE + 1);
	for (i = 0; i < EV_BLOCK; i += EV_PAGE)
		EV_EQ(at[i + i / EV_PAGE], (char)(i / EV_PAGE + 1));
	EV_EQ(smaps_bytes(at, EV_BLOCK, "FilePmdMapped"), 0);
	EV_EQ(smaps_bytes(at, EV_BLOCK, "Rss"), EV_BLOCK);
	munmap(room, 4 * EV_BLOCK);
	munmap(good, EV_BLOCK);
	close(peer.fd);
	close(seg);
}

/* Not copied, expanded or dumped; no PFN map, no I/O memory, no mixed map, no exec. */
static void map_vma_flags(void **state)
{
	static const char *const set[] = { "rd", "wr", "sh", "mr", "mw", "ms", "dc", "de", "dd" };
	static const char *const clear[] = { "ex", "me", "pf", "io", "mm" };
	int seg = ev_create(&shape);
	struct ev_peer peer = ev_attach(seg);
	char *p = ev_map(peer.fd, EV_BLOCK, EV_BLOCK, RW);
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(set) / sizeof(set[0]); i++)
		if (!smaps_flag(p, set[i]))
			ev_fail(__FILE__, __LINE__, "VmFlags without %s", set[i]);
	for (i = 0; i < sizeof(clear) / sizeof(clear[0]); i++)
		if (smaps_flag(p, clear[i]))
			ev_fail(__FILE__, __LINE__, "VmFlags with %s", clear[i]);
	munmap(p, EV_BLOCK);
	close(peer.fd);
	close(seg);
}

static void map_range_limits(void **state)
{
	int seg = ev_create(&shape);
	struct ev_peer peer = ev_attach(seg);
	const struct evering_segment_info info = ev_segment_info(seg);
	const uint64_t end = info.segment_size;
	const struct {
		uint64_t offset;
		size_t sz;
		int err;
	} cases[] = {
		{ 0, info.status_size, 0 },
		{ 0, EV_PAGE, 0 },
		{ 0, info.status_size + EV_PAGE, -EINVAL },
		{ 0, EV_BLOCK, -EINVAL },
		{ 0, EV_BLOCK + EV_PAGE, -EINVAL },
		{ 0, end, -EINVAL },
		{ info.status_size, EV_PAGE, -EINVAL },
		{ EV_BLOCK - EV_PAGE, EV_PAGE, -EINVAL },
		{ EV_BLOCK - EV_PAGE, 2 * EV_PAGE, -EINVAL },
		{ EV_BLOCK, EV_PAGE, 0 },
		{ EV_BLOCK, 1, 0 },
		{ EV_BLOCK, end - EV_BLOCK, 0 },
		{ EV_BLOCK, end - EV_BLOCK + 1, -EINVAL },
		{ EV_BLOCK, end - EV_BLOCK + EV_PAGE, -EINVAL },
		{ end - EV_PAGE, EV_PAGE, 0 },
		{ end - EV_PAGE, 2 * EV_PAGE, -EINVAL },
		{ end, EV_PAGE, -EINVAL },
		{ end + EV_BLOCK, EV_PAGE, -EINVAL },
		{ 1ULL << 62, EV_PAGE, -EINVAL },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int ret =
			ev_map_errno(peer.fd, cases[i].offset, cases[i].sz, PROT_READ, MAP_SHARED);

		if (ret != cases[i].err)
			ev_fail(__FILE__, __LINE__, "offset %#llx size %#zx: %d",
				(unsigned long long)cases[i].offset, cases[i].sz, ret);
	}
	/* The file's end for mmap(2) itself. */
	EV_CHECK(ev_map_errno(peer.fd, 0x7ffffffffffff000ULL, 2 * EV_PAGE, PROT_READ, MAP_SHARED) <
		 0);
	close(peer.fd);
	close(seg);
}

static void map_wrong_kind_refused(void **state)
{
	int seg = ev_create(&shape), control = ev_control();
	struct ev_peer peer = ev_attach(seg);

	(void)state;
	EV_EQ(ev_map_errno(peer.fd, EV_BLOCK, EV_PAGE, RW, MAP_PRIVATE), -EINVAL);
	EV_EQ(ev_map_errno(peer.fd, EV_BLOCK, EV_PAGE, PROT_READ, MAP_PRIVATE), -EINVAL);
	EV_EQ(ev_map_errno(peer.fd, EV_BLOCK, EV_PAGE, PROT_READ | PROT_EXEC, MAP_SHARED), -EPERM);
	EV_EQ(ev_map_errno(seg, EV_BLOCK, EV_PAGE, PROT_READ, MAP_SHARED), -ENODEV);
	EV_EQ(ev_map_errno(control, EV_BLOCK, EV_PAGE, PROT_READ, MAP_SHARED), -ENODEV);
	EV_EQ(ev_detach(peer.fd), 0);
	EV_EQ(ev_map_errno(peer.fd, EV_BLOCK, EV_PAGE, PROT_READ, MAP_SHARED), -EOWNERDEAD);
	close(peer.fd);
	close(control);
	close(seg);
}

static void map_stat_size(void **state)
{
	int seg = ev_create(&shape);
	struct ev_peer peer = ev_attach(seg);
	const uint64_t sz = ev_segment_info(seg).segment_size;
	struct stat st;

	(void)state;
	EV_EQ(fstat(seg, &st), 0);
	EV_EQ(st.st_size, sz);
	EV_EQ(fstat(peer.fd, &st), 0);
	EV_EQ(st.st_size, sz);
	close(peer.fd);
	close(seg);
}

static void write_and_hear(struct ev_link *link, void *arg)
{
	int seg = *(int *)arg;
	struct ev_peer peer = ev_attach(seg);
	volatile uint64_t *p = ev_map(peer.fd, EV_BLOCK, SHARED, RW);
	size_t i;

	for (i = 0; i < SHARED / 8; i += EV_PAGE / 8)
		p[i] = ~i;
	ev_say(link, 1);
	ev_hear(link);
	for (i = 0; i < SHARED / 8; i += EV_PAGE / 8)
		EV_EQ(p[i], i * 3);
	close(peer.fd);
}

static void map_same_bytes_for_all(void **state)
{
	int seg = ev_create(&shape);
	struct ev_peer peer = ev_attach(seg);
	volatile uint64_t *p = ev_map(peer.fd, EV_BLOCK, SHARED, RW);
	struct ev_link child;
	size_t i;

	(void)state;
	ev_child_start(&child, write_and_hear, &seg);
	ev_hear(&child);
	for (i = 0; i < SHARED / 8; i += EV_PAGE / 8) {
		EV_EQ(p[i], ~i);
		p[i] = i * 3;
	}
	ev_say(&child, 1);
	ev_child_join(&child);
	munmap((void *)(uintptr_t)p, SHARED);
	close(peer.fd);
	close(seg);
}

/* Memory comes as one run of 2^n pages, or in whole blocks. */
static size_t rounded(size_t sz)
{
	size_t run = EV_PAGE;

	if (sz >= EV_BLOCK)
		return (sz + EV_BLOCK - 1) & ~(EV_BLOCK - 1);
	while (run < sz)
		run *= 2;
	return run;
}

/* Less than a block: every page is there, is shared, and ends where it should. */
static void small_segment(size_t shared, size_t peer_size)
{
	struct ev_shape small = {
		.shared_size = shared,
		.peer_size = peer_size,
		.peers_max = 2,
	};
	int seg = ev_create(&small);
	struct ev_peer a = ev_attach(seg), b = ev_attach(seg);
	const struct evering_segment_info info = ev_segment_info(seg);
	const size_t data = shared + 2 * peer_size;
	const size_t sz = rounded(data);
	unsigned char *all, *own;
	size_t at;

	EV_EQ(info.shared_size, shared);
	EV_EQ(info.peer_size, peer_size);
	EV_EQ(info.peers_offset, EV_BLOCK + shared);
	EV_EQ(info.segment_size, EV_BLOCK + sz);
	EV_EQ(info.bytes, sz);
	all = ev_map(b.fd, EV_BLOCK, sz, PROT_READ);
	expect_bytes(all, data, 0);
	own = ev_map(a.fd, info.peers_offset + a.slot * peer_size, peer_size, RW);
	for (at = 0; at < peer_size; at += EV_PAGE)
		memset(own + at, (int)(at / EV_PAGE % 255 + 1), EV_PAGE);
	for (at = 0; at < peer_size; at += EV_PAGE)
		expect_bytes(all + shared + a.slot * peer_size + at, EV_PAGE,
			     (unsigned char)(at / EV_PAGE % 255 + 1));
	expect_bytes(all, shared, 0);
	expect_bytes(all + shared + b.slot * peer_size, peer_size, 0);
	/* What is there by rounding alone is nobody's. */
	expect_bytes(all + data, sz - data, 0);
	if (sz > data)
		EV_EQ(ev_map_errno(a.fd, EV_BLOCK + data, EV_PAGE, RW, MAP_SHARED), -EACCES);
	EV_EQ(ev_map_errno(a.fd, EV_BLOCK, sz + EV_PAGE, PROT_READ, MAP_SHARED), -EINVAL);
	munmap(own, peer_size);
	munmap(all, sz);
	close(a.fd);
	close(b.fd);
	close(seg);
}

static void map_small_sizes(void **state)
{
	static const size_t sizes[] = { EV_PAGE, 2 * EV_PAGE, 3 * EV_PAGE, 0x10000,
					0x11000, 0x80000,     0x100000 };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		small_segment(sizes[i], EV_PAGE);
		small_segment(0, sizes[i]);
		small_segment(EV_PAGE, sizes[i]);
	}
	/* Over one block with regions that are not whole blocks. */
	small_segment(EV_BLOCK - EV_PAGE, EV_PAGE);
	small_segment(EV_BLOCK, EV_PAGE);
	small_segment(EV_BLOCK + EV_PAGE, 3 * EV_PAGE);
}

/* What a caller can do to a mapping of his own must not change a byte of it. */
static void map_hostile_calls_harmless(void **state)
{
	static const int advices[] = {
		MADV_NORMAL,
		MADV_RANDOM,
		MADV_SEQUENTIAL,
		MADV_WILLNEED,
		MADV_DONTNEED,
		MADV_FREE,
		MADV_REMOVE,
		MADV_MERGEABLE,
		MADV_UNMERGEABLE,
		MADV_HUGEPAGE,
		MADV_NOHUGEPAGE,
		MADV_DONTDUMP,
		MADV_DODUMP,
		MADV_WIPEONFORK,
		MADV_KEEPONFORK,
		MADV_COLD,
		MADV_PAGEOUT,
		22 /* POPULATE_READ */,
		23 /* POPULATE_WRITE */,
		24 /* DONTNEED_LOCKED */,
		25 /* COLLAPSE */,
	};
	int seg = ev_create(&shape);
	struct ev_peer a = ev_attach(seg), b = ev_attach(seg);
	unsigned char *p = ev_map(a.fd, EV_BLOCK, SHARED, RW);
	unsigned char *other = ev_map(b.fd, EV_BLOCK, SHARED, PROT_READ);
	size_t i;

	(void)state;
	memset(p, 0x3c, SHARED);
	for (i = 0; i < sizeof(advices) / sizeof(advices[0]); i++) {
		(void)!madvise(p, SHARED, advices[i]);
		(void)!madvise(p + 5 * EV_PAGE, 7 * EV_PAGE, advices[i]);
		expect_bytes(p, 2 * EV_BLOCK, 0x3c);
		EV_EQ(other[i * EV_PAGE], 0x3c);
	}
	EV_EQ(madvise(p, SHARED, MADV_REMOVE) < 0, 1);
	(void)!mlock(p, SHARED);
	(void)!munlock(p, SHARED);
	(void)!syscall(SYS_mbind, p, SHARED, 2, &(unsigned long){ 1 }, 64UL, 3);
	(void)!msync(p, SHARED, MS_SYNC | MS_INVALIDATE);
	munmap(p + 3 * EV_PAGE, EV_PAGE);
	EV_EQ(ev_touch_read(p + 3 * EV_PAGE), SIGSEGV);
	expect_bytes(p, 3 * EV_PAGE, 0x3c);
	expect_bytes(p + 4 * EV_PAGE, SHARED - 4 * EV_PAGE, 0x3c);
	expect_bytes(other, SHARED, 0x3c);
	munmap(other, SHARED);
	munmap(p, SHARED);
	close(a.fd);
	close(b.fd);
	close(seg);
}

static void map_remap_moves_not_grows(void **state)
{
	int seg = ev_create(&shape);
	struct ev_peer peer = ev_attach(seg);
	char *p = ev_map(peer.fd, EV_BLOCK, EV_BLOCK, RW), *to;

	(void)state;
	memset(p, 0x5a, EV_BLOCK);
	EV_CHECK(mremap(p, EV_BLOCK, 2 * EV_BLOCK, MREMAP_MAYMOVE) == MAP_FAILED);
	EV_EQ(errno, EFAULT);
	EV_CHECK(mremap(p, 0, EV_BLOCK, MREMAP_MAYMOVE) == MAP_FAILED);
	to = mmap(NULL, EV_BLOCK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EV_CHECK(mremap(p, EV_BLOCK, EV_BLOCK, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	expect_bytes((unsigned char *)to, EV_BLOCK, 0x5a);
	EV_EQ(ev_touch_read(p), SIGSEGV);
	munmap(to, EV_BLOCK);
	/* Still mapped elsewhere would be seen as a peer that does not end. */
	EV_EQ(ev_detach(peer.fd), 0);
	close(peer.fd);
	close(seg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(map_geometry_as_designed),
		cmocka_unit_test(map_fresh_memory_zero),
		cmocka_unit_test(map_blocks_huge),
		cmocka_unit_test(map_whole_segment_huge),
		cmocka_unit_test(map_addresses_congruent),
		cmocka_unit_test(map_elsewhere_small_entries),
		cmocka_unit_test(map_vma_flags),
		cmocka_unit_test(map_range_limits),
		cmocka_unit_test(map_wrong_kind_refused),
		cmocka_unit_test(map_stat_size),
		cmocka_unit_test(map_same_bytes_for_all),
		cmocka_unit_test(map_small_sizes),
		cmocka_unit_test(map_hostile_calls_harmless),
		cmocka_unit_test(map_remap_moves_not_grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
