// SPDX-License-Identifier: MIT
/*
 * SEGMENT_GROW: where the new range is, who may map it how, that nothing that was
 * there changes, and that processes can go on while others grow.
 *
 * Seen to fail: without the new i_size on the peers' inodes, without the lock of
 * growth, and with isolated segments growing; controls/tag-forgotten.
 */

#include <sys/stat.h>

#include "device.h"
#include "smaps.h"

#define RW (PROT_READ | PROT_WRITE)

static const struct ev_shape shape = {
	.shared_size = EV_BLOCK,
	.peer_size = EV_BLOCK,
	.peers_max = 6,
};

static int seg;

static int begin(void **state)
{
	(void)state;
	seg = ev_create(&shape);
	return 0;
}

static int end(void **state)
{
	(void)state;
	close(seg);
	return 0;
}

static uint64_t grow(size_t sz)
{
	uint64_t offset = 0;

	EV_EQ(ev_grow(seg, sz, &offset), 0);
	return offset;
}

static void expect_bytes(const unsigned char *p, size_t sz, unsigned char wanted)
{
	size_t at;

	for (at = 0; at < sz; at++)
		if (p[at] != wanted)
			ev_fail(__FILE__, __LINE__, "byte %zu is %#x, wanted %#x", at, p[at],
				wanted);
}

static void grow_appends_blocks(void **state)
{
	const struct evering_segment_info before = ev_segment_info(seg);
	struct ev_peer peer = ev_attach(seg);
	const struct evering_status_header *status = ev_status(peer.fd);
	uint64_t expected = before.segment_size;
	struct evering_segment_info after;
	struct stat st;
	size_t blocks;

	(void)state;
	for (blocks = 1; blocks <= 3; blocks++) {
		EV_EQ(grow(blocks * EV_BLOCK), expected);
		expected += blocks * EV_BLOCK;
		after = ev_segment_info(peer.fd);
		EV_EQ(after.segment_size, expected);
		EV_EQ(after.grown_offset, before.segment_size);
		EV_EQ(after.bytes, before.bytes + expected - before.segment_size);
		EV_EQ(status->segment_size, expected);
		EV_EQ(status->grown_offset, before.segment_size);
		EV_EQ(fstat(seg, &st), 0);
		EV_EQ(st.st_size, expected);
		EV_EQ(fstat(peer.fd, &st), 0);
		EV_EQ(st.st_size, expected);
	}
	EV_EQ(after.shared_offset, before.shared_offset);
	EV_EQ(after.peers_offset, before.peers_offset);
	close(peer.fd);
}

static void grow_range_mapped_by_rights(void **state)
{
	struct ev_peer writer = ev_attach(seg), late;
	struct ev_peer observer = ev_attach_observer(seg);
	const uint64_t old_end = ev_segment_info(seg).segment_size;
	unsigned char *p, *seen;
	uint64_t at;

	(void)state;
	EV_EQ(ev_map_errno(writer.fd, old_end, EV_BLOCK, PROT_READ, MAP_SHARED), -EINVAL);
	at = grow(2 * EV_BLOCK);
	late = ev_attach(seg);
	p = ev_map(writer.fd, at, 2 * EV_BLOCK, RW);
	expect_bytes(p, 2 * EV_BLOCK, 0);
	EV_EQ(smaps_bytes(p, 2 * EV_BLOCK, "FilePmdMapped"), 2 * EV_BLOCK);
	memset(p, 0x42, 2 * EV_BLOCK);
	EV_EQ(ev_map_errno(observer.fd, at, EV_BLOCK, RW, MAP_SHARED), -EACCES);
	seen = ev_map(observer.fd, at, 2 * EV_BLOCK, PROT_READ);
	expect_bytes(seen, 2 * EV_BLOCK, 0x42);
	EV_EQ(smaps_bytes(seen, 2 * EV_BLOCK, "FilePmdMapped"), 2 * EV_BLOCK);
	munmap(seen, 2 * EV_BLOCK);
	seen = ev_map(late.fd, at, 2 * EV_BLOCK, RW);
	expect_bytes(seen, 2 * EV_BLOCK, 0x42);
	/* One byte more is beyond the end again. */
	EV_EQ(ev_map_errno(late.fd, at, 2 * EV_BLOCK + EV_PAGE, RW, MAP_SHARED), -EINVAL);
	/* Old data and new data in one read-only mapping. */
	EV_EQ(ev_map_errno(late.fd, EV_BLOCK, at + EV_BLOCK, PROT_READ, MAP_SHARED), 0);
	munmap(seen, 2 * EV_BLOCK);
	munmap(p, 2 * EV_BLOCK);
	close(late.fd);
	close(observer.fd);
	close(writer.fd);
}

static void grow_old_mapping_unchanged(void **state)
{
	struct ev_peer peer = ev_attach(seg);
	unsigned char *p = ev_map(peer.fd, EV_BLOCK, EV_BLOCK, RW);

	(void)state;
	memset(p, 0x21, EV_BLOCK);
	EV_EQ(smaps_bytes(p, EV_BLOCK, "FilePmdMapped"), EV_BLOCK);
	grow(EV_BLOCK);
	grow(4 * EV_BLOCK);
	EV_EQ(smaps_bytes(p, EV_BLOCK, "FilePmdMapped"), EV_BLOCK);
	EV_EQ(smaps_bytes(p, EV_BLOCK, "Rss"), EV_BLOCK);
	expect_bytes(p, EV_BLOCK, 0x21);
	memset(p, 0x22, EV_BLOCK);
	expect_bytes(p, EV_BLOCK, 0x22);
	munmap(p, EV_BLOCK);
	close(peer.fd);
}

static void grow_isolated_refused(void **state)
{
	struct ev_shape isolated = {
		.peer_size = EV_BLOCK,
		.peers_max = 2,
		.flags = EVERING_SEGMENT_F_ISOLATED,
	};
	int own = ev_create(&isolated);
	uint64_t offset = 0x5a5a;

	(void)state;
	EV_EQ(ev_grow(own, EV_BLOCK, &offset), -EOPNOTSUPP);
	EV_EQ(offset, 0x5a5a);
	close(own);
}

/* From first on, up to nr of them. */
static uint32_t get_growths(int fd, uint32_t first, uint32_t nr, struct evering_growth *to)
{
	struct evering_segment_growths arg;

	ev_arg(&arg);
	arg.first = first;
	arg.nr = nr;
	arg.entries = (uintptr_t)to;
	poison(to, nr * sizeof(*to));
	EV_EQ(ev_ioctl(fd, EVERING_IOC_SEGMENT_GROWTHS, &arg), 0);
	EV_CHECK(arg.nr <= nr);
	EV_CHECK(is_poisoned(to + arg.nr, (nr - arg.nr) * sizeof(*to)));
	EV_EQ(arg.nr, arg.total > first ? (arg.total - first < nr ? arg.total - first : nr) : 0);
	return arg.total;
}

static uint64_t grow_tagged(int fd, uint64_t sz, uint64_t tag)
{
	struct evering_segment_grow arg;

	ev_arg(&arg);
	arg.flags = EVERING_GROW_F_TAG;
	arg.bytes = sz;
	arg.offset = tag;
	EV_EQ(ev_ioctl(fd, EVERING_IOC_SEGMENT_GROW, &arg), 0);
	EV_EQ(arg.segment_size, arg.offset + sz);
	return arg.offset;
}

/* More than what the kernel copies at once, and than what it first had room for. */
#define GROWTHS 70

static size_t growth_sz(uint32_t i)
{
	return i == 1 ? 2 * EV_BLOCK : EV_BLOCK;
}

static void grow_tags_are_told(void **state)
{
	struct ev_peer writer = ev_attach(seg), observer = ev_attach_observer(seg);
	const int fds[] = { seg, writer.fd, observer.fd };
	struct evering_growth growths[GROWTHS + 1];
	uint64_t at = ev_segment_info(seg).segment_size;
	uint32_t i, k;

	(void)state;
	EV_EQ(get_growths(seg, 0, GROWTHS, growths), 0);
	for (i = 0; i < GROWTHS; at += growth_sz(i++))
		if (i % 3)
			EV_EQ(grow_tagged(seg, growth_sz(i), ~(uint64_t)i), at);
		else
			EV_EQ(grow(growth_sz(i)), at);
	for (k = 0; k < 3; k++) {
		EV_EQ(get_growths(fds[k], 0, GROWTHS + 1, growths), GROWTHS);
		at = ev_segment_info(seg).grown_offset;
		for (i = 0; i < GROWTHS; at += growths[i++].length) {
			EV_EQ(growths[i].offset, at);
			EV_EQ(growths[i].length, growth_sz(i));
			EV_EQ(growths[i].tag, i % 3 ? ~(uint64_t)i : 0);
		}
		EV_EQ(at, ev_segment_info(seg).segment_size);
		EV_EQ(get_growths(fds[k], 65, 3, growths), GROWTHS);
		EV_EQ(growths[0].tag, ~65ULL);
		EV_EQ(growths[2].tag, ~67ULL);
		get_growths(fds[k], GROWTHS - 1, 2, growths);
		get_growths(fds[k], GROWTHS, 1, growths);
		get_growths(fds[k], UINT32_MAX, 1, growths);
	}
	close(observer.fd);
	close(writer.fd);
}

/* What has failed is not told. */
static void grow_failed_leaves_no_entry(void **state)
{
	struct evering_growth growths[2];
	struct evering_segment_grow arg;

	(void)state;
	ev_arg(&arg);
	arg.flags = EVERING_GROW_F_TAG;
	arg.bytes = 1ULL << 62;
	arg.offset = 7;
	EV_EQ(ev_ioctl(seg, EVERING_IOC_SEGMENT_GROW, &arg), -EFBIG);
	EV_EQ(arg.offset, 7);
	EV_EQ(get_growths(seg, 0, 2, growths), 0);
	grow_tagged(seg, EV_BLOCK, 8);
	EV_EQ(get_growths(seg, 0, 2, growths), 1);
	EV_EQ(growths[0].tag, 8);
}

/* Less than a block at first: the grown range still starts at a whole block. */
static void grow_small_segment(void **state)
{
	struct ev_shape small = { .shared_size = EV_PAGE, .peers_max = 2 };
	int own = ev_create(&small);
	struct ev_peer peer = ev_attach(own);
	unsigned char *p = ev_map(peer.fd, EV_BLOCK, EV_PAGE, RW), *q;
	uint64_t offset = 0;

	(void)state;
	memset(p, 0x77, EV_PAGE);
	EV_EQ(ev_grow(own, EV_BLOCK, &offset), 0);
	EV_EQ(offset % EV_BLOCK, 0);
	EV_EQ(ev_segment_info(own).segment_size, offset + EV_BLOCK);
	EV_EQ(ev_segment_info(own).grown_offset, offset);
	q = ev_map(peer.fd, offset, EV_BLOCK, RW);
	memset(q, 0x78, EV_BLOCK);
	EV_EQ(smaps_bytes(q, EV_BLOCK, "FilePmdMapped"), EV_BLOCK);
	expect_bytes(p, EV_PAGE, 0x77);
	/* Between the old end and the new start there is nothing. */
	if (offset > EV_BLOCK + EV_PAGE)
		EV_EQ(ev_map_errno(peer.fd, offset - EV_PAGE, EV_PAGE, PROT_READ, MAP_SHARED),
		      -EINVAL);
	munmap(q, EV_BLOCK);
	munmap(p, EV_PAGE);
	close(peer.fd);
	close(own);
}

#define USERS 3
#define ROUNDS 20

/* Follow the size in the status page and write a word into each new block. */
static void use_while_growing(struct ev_link *link, void *arg)
{
	struct ev_peer peer = ev_attach(seg);
	const struct evering_status_header *status = ev_status(peer.fd);
	const uint64_t grown = status->grown_offset;
	const uint64_t last = grown + ROUNDS * EV_BLOCK;
	uint64_t done = grown, now;
	volatile uint64_t *shared = ev_map(peer.fd, EV_BLOCK, EV_BLOCK, RW);

	(void)arg;
	ev_say(link, 1);
	while (done < last) {
		now = __atomic_load_n(&status->segment_size, __ATOMIC_ACQUIRE);
		EV_EQ(now % EV_BLOCK, 0);
		EV_CHECK(now >= done && now <= last);
		for (; done < now; done += EV_BLOCK) {
			uint64_t *p = ev_map(peer.fd, done, EV_BLOCK, RW);

			__atomic_fetch_add(p, 1 + done, __ATOMIC_SEQ_CST);
			munmap(p, EV_BLOCK);
		}
		shared[512 * (peer.slot + 1)]++;
	}
	close(peer.fd);
}

static void grow_one(struct ev_link *link, void *arg)
{
	int i;

	(void)link;
	(void)arg;
	for (i = 0; i < ROUNDS / 2; i++) {
		grow(EV_BLOCK);
		usleep(1000);
	}
}

static void grow_under_use(void **state)
{
	struct ev_peer peer = ev_attach(seg);
	struct ev_link users[USERS], growers[2];
	uint64_t at = ev_segment_info(seg).segment_size;
	int i;

	(void)state;
	for (i = 0; i < USERS; i++) {
		ev_child_start(&users[i], use_while_growing, NULL);
		ev_hear(&users[i]);
	}
	/* Two at once: ranges of their own, no size lost. */
	for (i = 0; i < 2; i++)
		ev_child_start(&growers[i], grow_one, NULL);
	for (i = 0; i < 2; i++)
		ev_child_join(&growers[i]);
	for (i = 0; i < USERS; i++)
		ev_child_join(&users[i]);
	EV_EQ(ev_segment_info(seg).segment_size, at + ROUNDS * EV_BLOCK);
	for (i = 0; i < ROUNDS; i++, at += EV_BLOCK) {
		uint64_t *p = ev_map(peer.fd, at, EV_BLOCK, PROT_READ);

		EV_EQ(*p, USERS * (1 + at));
		munmap(p, EV_BLOCK);
	}
	close(peer.fd);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		CASE(grow_appends_blocks),	  CASE(grow_range_mapped_by_rights),
		CASE(grow_old_mapping_unchanged), CASE(grow_isolated_refused),
		CASE(grow_small_segment),	  CASE(grow_under_use),
		CASE(grow_tags_are_told),	  CASE(grow_failed_leaves_no_entry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
