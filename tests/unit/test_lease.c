/* SPDX-License-Identifier: MIT */
/*
 * Leases: memory lent and given back by those who mean well: of this process, of another,
 * of another segment. What is hostile is in test_lease_hostile.c, who dies in
 * test_lease_death.c.
 *
 * Mutants seen to fail here: no end of the block at the release; a lender that keeps its
 * fds; a mapping to write of what is lent read-only; credit given back to another session.
 */
#include "leases.h"

#include <fcntl.h>

static void taker(struct evr_peer *peer, void *arg)
{
	struct end end;
	struct evr_lease lease;
	struct evr_waiter waiter;
	struct evr_message m;
	void *ptr, *again;
	uint8_t *bytes;
	int before;

	CHECK(!end_open(&end, peer, EVR_CHANNEL_B));
	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_SLEEP));
	CHECK(!TIMELY(evr_channel_recv_wait(&end.ch, &waiter, &m, until_ns)));
	CHECK(m.flags == EVR_MESSAGE_LEASE && m.tag == 5);
	before = fds_open();
	CHECK(!evr_lease_take(&lease, &end.ch, &m));
	CHECK(!m.data && evr_lease_sz(&lease) == SZ);
	CHECK(!lease.map);
	CHECK(!evr_lease_map(&lease, NULL, &ptr));
	CHECK(!evr_lease_map(&lease, NULL, &again) && ptr == again);
	CHECK(fds_open() == before);
	bytes = ptr;
	CHECK(bytes[0] == OFF % 251 && bytes[SZ - 1] == (OFF + SZ - 1) % 251);
	bytes[SZ - 1] = 99;
	evr_lease_release(&lease);
	evr_lease_release(&lease);
	CHECK(evr_lease_map(&lease, NULL, &ptr) == -EINVAL);
	evr_waiter_fini(&waiter);
	end_close(&end);
}

static void lease_memory_is_shared_and_comes_back(void **state)
{
	struct pair *pair = *state;
	int before = fds_open(), fd;
	struct end end;
	uint8_t *map;
	pid_t pid;

	make_channel(pair);
	assert_int_equal(end_open(&end, pair->peer, EVR_CHANNEL_A), 0);
	fd = memfd_filled(&map);
	pid = pair_fork(pair, taker, NULL);
	while (lend(&end, fd, OFF, SZ, 0) != 0)
		pair_sleep_us(200);
	/* The lender has a copy: this one is not needed any more. */
	close(fd);
	assert_int_equal(end.lender.out, 1);
	pair_join(pid);
	assert_int_equal(evr_lender_collect(&end.lender), 1);
	assert_int_equal(evr_lender_collect(&end.lender), 0);
	assert_true(end.lender.given == 1 && end.lender.returned == 1 && end.lender.out == 0);
	assert_int_equal(map[OFF + SZ - 1], 99);
	assert_int_equal(blocks(&end.heap), 0);
	munmap(map, OFF + SZ);
	end_close(&end);
	pair_settle(pair);
	assert_int_equal(fds_open() - before, 0);
}

static void lease_read_only_cannot_be_written(void **state)
{
	struct evr_lease lease;
	struct two two;
	uint8_t *map;
	void *ptr;
	int fd;

	two_open(&two, *state);
	fd = memfd_filled(&map);
	assert_int_equal(lend(&two.a, fd, OFF, SZ, EVR_LEASE_READ_ONLY), 0);
	assert_int_equal(take(&lease, &two.b), 0);
	assert_int_equal(evr_lease_map(&lease, NULL, &ptr), 0);
	assert_int_equal(*(uint8_t *)ptr, OFF % 251);
	/* The kernel's word for it: this mapping can never be written to. */
	assert_int_equal(mprotect(lease.map, lease.map_sz, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
	evr_lease_release(&lease);
	/* And one that is not lent so can. */
	assert_int_equal(lend(&two.a, fd, 0, OFF + SZ, 0), 0);
	assert_int_equal(take(&lease, &two.b), 0);
	assert_int_equal(evr_lease_map(&lease, NULL, &ptr), 0);
	*(uint8_t *)ptr = 7;
	assert_int_equal(map[0], 7);
	evr_lease_release(&lease);
	memfd_end(fd, map);
	two_close(&two);
}

static void lease_holds_credit_until_its_release(void **state)
{
	struct evr_lease leases[4];
	struct two two;
	uint8_t *map;
	int fd, i;

	two_open(&two, *state);
	fd = memfd_filled(&map);
	for (i = 0; i < 4; i++) {
		assert_int_equal(lend(&two.a, fd, 0, 1, 0), 0);
		assert_int_equal(take(&leases[i], &two.b), 0);
	}
	/* The window of four; what is refused is not lent, and leaves nothing. */
	assert_int_equal(lend(&two.a, fd, 0, 1, 0), -ENOBUFS);
	assert_true(two.a.lender.out == 4 && two.a.lender.given == 4);
	assert_int_equal(blocks(&two.a.heap), 4);
	assert_int_equal(evr_lender_collect(&two.a.lender), 0);
	evr_lease_release(&leases[2]);
	assert_int_equal(evr_lender_collect(&two.a.lender), 1);
	assert_int_equal(lend(&two.a, fd, 0, 1, 0), 0);
	assert_int_equal(lend(&two.a, fd, 0, 1, 0), -ENOBUFS);
	assert_int_equal(take(&leases[2], &two.b), 0);
	/* Another session's credit is not of theirs. */
	evr_channel_close(&two.b.ch);
	assert_int_equal(evr_channel_forget(&two.a.ch), 0);
	assert_int_equal(evr_channel_open(&two.b.ch, two.peer, "c", EVR_CHANNEL_B, 0), 0);
	assert_int_equal(evr_channel_bind(&two.b.ch, &two.b.heap, &two.b.heap), 0);
	assert_int_equal(evr_channel_state(&two.a.ch), EVR_RING_OK);
	assert_int_equal(evr_channel_state(&two.b.ch), EVR_RING_OK);
	for (i = 0; i < 4; i++)
		evr_lease_release(&leases[i]);
	assert_int_equal(evr_lender_collect(&two.a.lender), 4);
	for (i = 0; i < 4; i++)
		assert_int_equal(lend(&two.a, fd, 0, 1, 0), 0);
	assert_int_equal(lend(&two.a, fd, 0, 1, 0), -ENOBUFS);
	for (i = 0; i < 4; i++) {
		assert_int_equal(take(&leases[i], &two.b), 0);
		evr_lease_release(&leases[i]);
	}
	memfd_end(fd, map);
	two_close(&two);
}

static void lease_never_received_comes_back(void **state)
{
	struct two two;
	uint8_t *map;
	int fd;

	two_open(&two, *state);
	fd = memfd_filled(&map);
	assert_int_equal(lend(&two.a, fd, 0, 1, 0), 0);
	evr_channel_close(&two.b.ch);
	assert_int_equal(evr_channel_forget(&two.a.ch), 0);
	assert_int_equal(evr_lender_collect(&two.a.lender), 1);
	assert_int_equal(lend(&two.a, fd, 0, 1, 0), -ENOTCONN);
	memfd_end(fd, map);
	two_close(&two);
}

static void lease_limits_are_checked(void **state)
{
	/* A regular file that is no memory, wherever the test's own lies. */
	int before, fd, plain, pipes[2], disk = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	struct evr_lease_options o = { .struct_sz = 1 };
	struct evr_lender other;
	struct evr_message m;
	struct evr_lease lease;
	struct two two;
	uint8_t *map;

	two_open(&two, *state);
	fd = memfd_filled(&map);
	plain = memfd_create("plain", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(plain, 4096), 0);
	assert_int_equal(pipe(pipes), 0);
	before = fds_open();
	assert_int_equal(evr_lease_memfd(0), -EINVAL);
	assert_int_equal(evr_lease_memfd(UINT64_MAX), -EINVAL);
	assert_int_equal(lend(&two.a, fd, 0, 0, 0), -EINVAL);
	assert_int_equal(lend(&two.a, fd, 0, OFF + SZ + 1, 0), -EINVAL);
	assert_int_equal(lend(&two.a, fd, OFF + SZ, 1, 0), -EINVAL);
	assert_int_equal(lend(&two.a, fd, UINT64_MAX, 2, 0), -EINVAL);
	assert_int_equal(lend(&two.a, fd, 2, UINT64_MAX, 0), -EINVAL);
	assert_int_equal(lend(&two.a, fd, 0, 1, 2), -EINVAL);
	assert_int_equal(lend(&two.a, plain, 0, 1, 0), -EPERM);
	assert_int_equal(lend(&two.a, pipes[0], 0, 1, 0), -EINVAL);
	assert_int_equal(lend(&two.a, disk, 0, 1, 0), -EINVAL);
	assert_int_equal(lend(&two.a, 1000, 0, 1, 0), -EBADF);
	assert_int_equal(evr_lease_send(&two.a.lender, &two.a.ch, &o), -EINVAL);
	evr_lender_init(&other, &two.b.heap);
	o = (struct evr_lease_options){ .struct_sz = sizeof(o), .fd = fd, .sz = 1 };
	assert_int_equal(evr_lease_send(&other, &two.a.ch, &o), -EINVAL);
	assert_int_equal(two.a.lender.given, 0);
	assert_int_equal(blocks(&two.a.heap), 0);
	assert_int_equal(fds_open(), before);
	/* The last byte and all bytes can be lent. */
	assert_int_equal(lend(&two.a, fd, OFF + SZ - 1, 1, 0), 0);
	assert_int_equal(take(&lease, &two.b), 0);
	evr_lease_release(&lease);
	/* No lease: another message, and one that is not received. */
	assert_int_equal(evr_channel_send(&two.a.ch, "x", 1, 0), 0);
	assert_int_equal(evr_channel_recv(&two.b.ch, &m), 0);
	assert_int_equal(evr_lease_take(&lease, &two.b.ch, &m), -EINVAL);
	assert_int_equal(m.sz, 1);
	evr_channel_release(&two.b.ch, &m);
	m = (struct evr_message){ .data = map, .sz = 1, .flags = EVR_MESSAGE_LEASE };
	assert_int_equal(evr_channel_send_message(&two.a.ch, &m), -EINVAL);
	close(pipes[0]);
	close(pipes[1]);
	close(disk);
	close(plain);
	memfd_end(fd, map);
	two_close(&two);
}

static struct evr_segment *another_segment(const char *uri)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = 256 << 10,
					       .peers_max = 4 };
	struct evr_segment *segment;

	assert_int_equal(evr_segment_create(&segment, uri, &options), 0);
	return segment;
}

static int lend_segment(struct two *two, struct evr_segment *segment, uint64_t off, uint64_t sz,
			uint32_t flags)
{
	struct evr_lease_options o = {
		.struct_sz = sizeof(o), .segment = segment, .off = off, .sz = sz, .flags = flags
	};

	return evr_lease_send(&two->a.lender, &two->a.ch, &o);
}

/* A range of another segment: by its name, or without one; attached here, or by the lease. */
static void lease_segment(struct two *two, struct evr_segment *segment)
{
	struct evr_segment_info info;
	struct evr_peer_info infos[4];
	struct evr_lease lease;
	struct evr_peer *own;
	uint64_t off;
	void *ptr;

	assert_int_equal(evr_segment_info(segment, &info), 0);
	off = info.shared_off + 4096 + 24;
	assert_int_equal(evr_peer_attach(&own, segment, NULL), 0);
	strcpy(evr_peer_at(own, off, 16), "lent");
	assert_int_equal(lend_segment(two, segment, info.size, 1, 0), -EINVAL);
	assert_int_equal(lend_segment(two, segment, off, info.size, 0), -EINVAL);
	assert_int_equal(lend_segment(two, segment, off, 16, 0), 0);
	assert_int_equal(take(&lease, &two->b), 0);
	assert_int_equal(evr_segment_peers(segment, infos, 4), 1);
	assert_int_equal(evr_lease_map(&lease, NULL, &ptr), 0);
	assert_int_equal(evr_segment_peers(segment, infos, 4), 2);
	assert_string_equal(ptr, "lent");
	strcpy(ptr, "back");
	evr_lease_release(&lease);
	assert_string_equal(evr_peer_at(own, off, 16), "back");
	assert_int_equal(lend_segment(two, segment, off, 16, 0), 0);
	assert_int_equal(take(&lease, &two->b), 0);
	assert_int_equal(evr_lease_map(&lease, two->peer, &ptr), -EXDEV);
	assert_int_equal(evr_lease_map(&lease, own, &ptr), 0);
	assert_ptr_equal(ptr, evr_peer_at(own, off, 16));
	evr_lease_release(&lease);
	/* What may be read is mapped so, and not by an attachment that writes. */
	assert_int_equal(lend_segment(two, segment, off, 16, EVR_LEASE_READ_ONLY), 0);
	assert_int_equal(take(&lease, &two->b), 0);
	assert_int_equal(evr_lease_map(&lease, own, &ptr), -EXDEV);
	assert_int_equal(evr_lease_map(&lease, NULL, &ptr), 0);
	assert_string_equal(ptr, "back");
	assert_false(evr_peer_rights(lease.peer) & EVR_RIGHT_WRITE);
	evr_lease_release(&lease);
	evr_reap_dead(own, NULL);
	evr_peer_detach(own);
	assert_int_equal(evr_lender_collect(&two->a.lender), 3);
}

static void lease_of_a_segment_is_a_range_of_it(void **state)
{
	bool is_device = !strcmp(pair_uri(), "device:");
	struct evr_segment *segment, *again;
	struct evr_lease lease;
	struct two two;
	char uri[48];
	void *ptr;

	two_open(&two, *state);
	snprintf(uri, sizeof(uri), "%slease-%d", pair_uri(), getpid());
	segment = another_segment(uri);
	lease_segment(&two, segment);
	/* The name is another segment's by the time that it is mapped, then nobody's. */
	assert_int_equal(lend_segment(&two, segment, 2 << 20, 16, 0), 0);
	assert_int_equal(take(&lease, &two.b), 0);
	assert_int_equal(evr_segment_remove(uri), 0);
	again = another_segment(uri);
	assert_int_equal(evr_lease_map(&lease, NULL, &ptr), -ESTALE);
	assert_int_equal(evr_segment_remove(uri), 0);
	assert_int_equal(evr_lease_map(&lease, NULL, &ptr), -ENOENT);
	evr_lease_release(&lease);
	assert_int_equal(evr_lender_collect(&two.a.lender), 1);
	evr_segment_close(again);
	evr_segment_close(segment);
	segment = another_segment(pair_uri());
	if (is_device)
		assert_int_equal(lend_segment(&two, segment, 2 << 20, 16, 0), -EOPNOTSUPP);
	else
		lease_segment(&two, segment);
	evr_segment_close(segment);
	two_close(&two);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_small, pair_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(lease_memory_is_shared_and_comes_back),
		TEST(lease_read_only_cannot_be_written),
		TEST(lease_holds_credit_until_its_release),
		TEST(lease_never_received_comes_back),
		TEST(lease_limits_are_checked),
		TEST(lease_of_a_segment_is_a_range_of_it),
	};

	return cmocka_run_group_tests_name("lease", tests, NULL, NULL);
}
