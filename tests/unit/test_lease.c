/* SPDX-License-Identifier: MIT */
/*
 * Leases: memory lent and given back, by real processes, and each side killed before its
 * n-th access to shared memory, for each n: what was given has come back, the heap is
 * empty, and no fd is left.
 *
 * Mutants seen to fail here: no end of the block at the release; a lender that keeps its
 * fds; a file that is not compared with what was lent; no look at the seals; a mapping
 * to write of what is lent read-only; credit given back to another session.
 */
#include "die.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define SZ 20000
#define OFF 5000

static int open_small(void **state)
{
	return pair_open_sized(state, 512 << 10);
}

/* Both ends of a channel, each with a handle of its heap. */
struct end {
	struct evr_channel ch;
	struct evr_heap heap;
	struct evr_lender lender;
};

static void make_channel(struct pair *pair)
{
	struct evr_heap_options heap = { .struct_sz = sizeof(heap), .sz = 128 << 10 };
	struct evr_channel_options options = { .struct_sz = sizeof(options),
					       .capacity = 2048,
					       .urgent_capacity = 1024,
					       .inline_max = 64,
					       .window_messages = 4,
					       .heap = "heap" };

	assert_int_equal(evr_heap_create(pair->peer, "heap", &heap), 0);
	assert_int_equal(evr_channel_create(pair->peer, "c", &options), 0);
}

static int end_open(struct end *end, struct evr_peer *peer, enum evr_channel_role role)
{
	int err = evr_heap_open(&end->heap, peer, "heap");

	if (!err)
		err = evr_channel_open(&end->ch, peer, "c", role, 0);
	if (!err)
		err = evr_channel_bind(&end->ch, &end->heap, &end->heap);
	evr_lender_init(&end->lender, &end->heap);
	return err;
}

static void end_close(struct end *end)
{
	evr_channel_close(&end->ch);
	evr_lender_fini(&end->lender);
	evr_heap_close(&end->heap);
}

static int fds_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int nr = 0;

	while (dir && readdir(dir))
		nr++;
	closedir(dir);
	return nr;
}

/* Blocks of the heap that are anybody's. */
static uint64_t blocks(struct evr_heap *heap)
{
	struct evr_heap_usage usage;

	evr_heap_usage(heap, &usage);
	return usage.blocks;
}

static int lend(struct end *end, int fd, uint64_t off, uint64_t sz, uint32_t flags)
{
	struct evr_lease_options o = {
		.struct_sz = sizeof(o), .fd = fd, .off = off, .sz = sz, .flags = flags, .tag = 5
	};

	return evr_lease_send(&end->lender, &end->ch, &o);
}

/* 0 or why there is no lease. */
static int take(struct evr_lease *lease, struct end *end)
{
	struct evr_message m;
	int err = evr_channel_recv(&end->ch, &m);

	return err ? err : evr_lease_take(lease, &end->ch, &m);
}

/* A memfd whose bytes tell their place. */
static int memfd_filled(uint8_t **map)
{
	int fd = evr_lease_memfd(OFF + SZ), i;

	assert_true(fd >= 0);
	*map = mmap(NULL, OFF + SZ, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(*map != MAP_FAILED);
	for (i = 0; i < OFF + SZ; i++)
		(*map)[i] = (uint8_t)(i % 251);
	return fd;
}

static void memfd_end(int fd, uint8_t *map)
{
	munmap(map, OFF + SZ);
	close(fd);
}

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

/* Two peers in this process. */
struct two {
	struct pair *pair;
	struct evr_peer *peer;
	struct end a, b;
};

static void two_open(struct two *two, struct pair *pair)
{
	two->pair = pair;
	make_channel(pair);
	assert_int_equal(evr_peer_attach(&two->peer, pair->segment, NULL), 0);
	assert_int_equal(end_open(&two->a, pair->peer, EVR_CHANNEL_A), 0);
	assert_int_equal(end_open(&two->b, two->peer, EVR_CHANNEL_B), 0);
}

/* All is back: given = returned, and the heap is empty. */
static void two_close(struct two *two)
{
	evr_lender_collect(&two->a.lender);
	assert_int_equal(two->a.lender.out, 0);
	assert_true(two->a.lender.given == two->a.lender.returned);
	assert_int_equal(blocks(&two->a.heap), 0);
	end_close(&two->b);
	end_close(&two->a);
	evr_peer_detach(two->peer);
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

/* Two peers that do not trust each other: each its heap, and the block stays the lender's. */
struct far_two {
	struct evr_segment *segment;
	struct evr_peer *peers[2];
	struct end a;
	struct evr_channel b;
};

static void far_open(struct far_two *two)
{
	struct evr_segment_options isolated = { .struct_sz = sizeof(isolated),
						.flags = EVR_SEGMENT_ISOLATED,
						.peer_sz = 1 << 20,
						.peers_max = 3 };
	struct evr_heap_options heap = { .struct_sz = sizeof(heap), .sz = 128 << 10 };
	struct evr_channel_options options = { .struct_sz = sizeof(options), .heap = "heap" };

	assert_int_equal(evr_segment_create(&two->segment, pair_uri(), &isolated), 0);
	assert_int_equal(evr_peer_attach(&two->peers[0], two->segment, NULL), 0);
	assert_int_equal(evr_peer_attach(&two->peers[1], two->segment, NULL), 0);
	assert_int_equal(evr_heap_create(two->peers[0], "heap", &heap), 0);
	assert_int_equal(evr_channel_create(two->peers[0], "c", &options), 0);
	assert_int_equal(evr_heap_open(&two->a.heap, two->peers[0], "heap"), 0);
	assert_int_equal(evr_channel_open(&two->a.ch, two->peers[0], "c", EVR_CHANNEL_A, 0), 0);
	assert_int_equal(evr_channel_open(&two->b, two->peers[1], "c", EVR_CHANNEL_B, 0), 0);
	assert_int_equal(evr_channel_bind(&two->a.ch, &two->a.heap, NULL), 0);
	evr_lender_init(&two->a.lender, &two->a.heap);
	/* Each has to see that the other has seen it. */
	evr_channel_state(&two->a.ch);
	evr_channel_state(&two->b);
	assert_int_equal(evr_channel_state(&two->a.ch), EVR_RING_OK);
	assert_int_equal(evr_channel_state(&two->b), EVR_RING_OK);
}

static void far_close(struct far_two *two)
{
	evr_channel_close(&two->b);
	end_close(&two->a);
	evr_peer_detach(two->peers[0]);
	if (two->peers[1])
		evr_peer_detach(two->peers[1]);
	evr_segment_close(two->segment);
}

static void far_take(struct far_two *two, struct evr_lease *lease)
{
	struct evr_message m;

	assert_int_equal(evr_channel_recv(&two->b, &m), 0);
	assert_int_equal(evr_lease_take(lease, &two->b, &m), 0);
}

static void lease_in_an_isolated_segment_comes_back(void **state)
{
	struct evr_lease lease, left;
	struct far_two two;
	uint8_t *map, *ptr;
	void *at;
	int fd, i;

	(void)state;
	far_open(&two);
	fd = memfd_filled(&map);
	for (i = 0; i < 2 * EVR_CHANNEL_LENT; i++) {
		assert_int_equal(lend(&two.a, fd, OFF, SZ, i % 2 ? EVR_LEASE_READ_ONLY : 0), 0);
		far_take(&two, &lease);
		assert_int_equal(evr_lease_map(&lease, NULL, &at), 0);
		ptr = at;
		assert_int_equal(ptr[7], (OFF + 7) % 251);
		assert_int_equal(evr_channel_collect(&two.a.ch), 0);
		assert_int_equal(evr_lender_collect(&two.a.lender), 0);
		evr_lease_release(&lease);
		evr_lease_release(&lease);
		assert_int_equal(evr_channel_collect(&two.a.ch), 1);
		assert_int_equal(evr_lender_collect(&two.a.lender), 1);
	}
	assert_int_equal(blocks(&two.a.heap), 0);
	/* No more than can be on loan. */
	for (i = 0; i < EVR_CHANNEL_LENT; i++)
		assert_int_equal(lend(&two.a, fd, 0, 1, 0), 0);
	assert_int_equal(lend(&two.a, fd, 0, 1, 0), -ENOBUFS);
	assert_int_equal(two.a.lender.out, EVR_CHANNEL_LENT);
	/* The session ends with one that is mapped, and with those that were not received. */
	far_take(&two, &left);
	assert_int_equal(evr_lease_map(&left, NULL, &at), 0);
	evr_channel_close(&two.b);
	assert_int_equal(evr_channel_forget(&two.a.ch), 0);
	assert_int_equal(evr_lender_collect(&two.a.lender), EVR_CHANNEL_LENT);
	assert_int_equal(blocks(&two.a.heap), 0);
	assert_int_equal(*(uint8_t *)at, 0);
	evr_lease_release(&left);
	memfd_end(fd, map);
	far_close(&two);
}

/* A lender of whom the region is all that it can write: whatever the record says. */
static void lease_hostile_record_in_an_isolated_segment_maps_nothing(void **state)
{
	static const uint64_t values[] = { 0, 1, UINT64_MAX, INT64_MAX, 1ULL << 62, 0x30 };
	struct evr_lease_record *r;
	struct evr_lease lease;
	struct evr_message m;
	struct far_two two;
	uint8_t *map;
	size_t i, v;
	void *ptr;
	int fd, err, before;

	(void)state;
	far_open(&two);
	fd = memfd_filled(&map);
	before = fds_open();
	for (i = 0; i < sizeof(*r) / 8; i++)
		for (v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
			assert_int_equal(lend(&two.a, fd, OFF, SZ, 0), 0);
			assert_int_equal(evr_channel_recv(&two.b, &m), 0);
			r = evr_heap_resolve(&two.a.heap, m.handle, NULL);
			assert_non_null(r);
			((uint64_t *)r)[i] = values[v];
			err = evr_lease_take(&lease, &two.b, &m);
			if (err) {
				assert_int_equal(err, -EBADMSG);
				evr_channel_release(&two.b, &m);
			} else {
				/* Changed after it was copied: that changes nothing. */
				memset(r, 0xff, sizeof(*r));
				err = evr_lease_map(&lease, NULL, &ptr);
				if (!err)
					assert_true(lease.record.ino && *(uint8_t *)ptr < 251);
				evr_lease_release(&lease);
			}
			assert_int_equal(evr_channel_collect(&two.a.ch), 1);
			assert_int_equal(evr_lender_collect(&two.a.lender), 1);
			assert_int_equal(fds_open(), before);
		}
	memfd_end(fd, map);
	far_close(&two);
}

/* Whatever a record says: an error, and no access to anything but what was lent. */
static void lease_hostile_record_maps_nothing(void **state)
{
	const size_t words = sizeof(struct evr_lease_record) / 8;
	static const uint64_t values[] = { 0, 1, UINT64_MAX, INT64_MAX, 1ULL << 62, 0x30 };
	struct evr_lease_record *r;
	struct evr_lease lease;
	struct evr_message m;
	struct two two;
	uint64_t *at;
	uint8_t *map;
	size_t i, v;
	void *ptr;
	int fd, err, before;

	two_open(&two, *state);
	fd = memfd_filled(&map);
	before = fds_open();
	for (i = 0; i < words; i++)
		for (v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
			assert_int_equal(lend(&two.a, fd, OFF, SZ, 0), 0);
			assert_int_equal(evr_channel_recv(&two.b.ch, &m), 0);
			at = (uint64_t *)m.data + i;
			*at = values[v];
			r = m.data;
			err = evr_lease_take(&lease, &two.b.ch, &m);
			if (err) {
				assert_int_equal(err, -EBADMSG);
				assert_ptr_equal(m.data, r);
				evr_channel_release(&two.b.ch, &m);
			} else {
				/* Changed after it was copied: that changes nothing. */
				memset(r, 0xff, sizeof(*r));
				err = evr_lease_map(&lease, NULL, &ptr);
				if (!err)
					assert_true(lease.record.ino && *(uint8_t *)ptr < 251);
				evr_lease_release(&lease);
			}
			assert_int_equal(evr_lender_collect(&two.a.lender), 1);
			assert_int_equal(fds_open(), before);
		}
	memfd_end(fd, map);
	two_close(&two);
}

static void lease_of_another_file_is_stale(void **state)
{
	struct evr_lease lease;
	int fd, other, sealed;
	struct two two;
	uint8_t *map;
	void *ptr;

	two_open(&two, *state);
	fd = memfd_filled(&map);
	other = evr_lease_memfd(OFF + SZ);
	assert_int_equal(lend(&two.a, fd, OFF, SZ, 0), 0);
	assert_int_equal(take(&lease, &two.b), 0);
	/* The number is another file's, then nobody's. */
	assert_int_equal(dup2(other, lease.record.fd), lease.record.fd);
	assert_int_equal(evr_lease_map(&lease, NULL, &ptr), -ESTALE);
	assert_null(ptr);
	close(lease.record.fd);
	assert_int_equal(evr_lease_map(&lease, NULL, &ptr), -ESTALE);
	evr_lease_release(&lease);
	/* A file that can be cut off, which a lender of its own could have lent. */
	sealed = memfd_create("plain", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(sealed, OFF + SZ), 0);
	assert_int_equal(lend(&two.a, fd, OFF, SZ, 0), 0);
	assert_int_equal(take(&lease, &two.b), 0);
	{
		struct stat st;

		assert_int_equal(fstat(sealed, &st), 0);
		assert_int_equal(dup2(sealed, lease.record.fd), lease.record.fd);
		lease.record.ino = st.st_ino;
	}
	assert_int_equal(evr_lease_map(&lease, NULL, &ptr), -EPERM);
	evr_lease_release(&lease);
	close(sealed);
	close(other);
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

struct sweep {
	int fd, told[2];
};

static uint64_t sweep_at;

/* From here on steps count: how many an opening takes depends on how the last one died. */
static void sweep_begin(void)
{
	steps = 0;
	steps_to_live = sweep_at;
}

static void take_and_release(struct evr_peer *peer, void *arg)
{
	struct sweep *s = arg;
	struct evr_lease lease;
	struct end end;
	void *ptr;
	char c;

	CHECK(!end_open(&end, peer, EVR_CHANNEL_B));
	CHECK(evr_channel_state(&end.ch) == EVR_RING_OK);
	CHECK(write(s->told[1], "r", 1) == 1);
	CHECK(read(s->told[1], &c, 1) == 1);
	sweep_begin();
	CHECK(!take(&lease, &end));
	CHECK(!evr_lease_map(&lease, NULL, &ptr));
	CHECK(*(uint8_t *)ptr == OFF % 251);
	evr_lease_release(&lease);
	CHECK(!take(&lease, &end));
	evr_lease_release(&lease);
	end_close(&end);
}

static pid_t sweep_start(struct pair *pair, struct sweep *s, uint64_t n,
			 void (*fn)(struct evr_peer *, void *))
{
	struct evr_peer *peer;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s->told), 0);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid) {
		close(s->told[1]);
		return pid;
	}
	alarm(60);
	close(s->told[0]);
	CHECK(!evr_peer_attach(&peer, pair->segment, NULL));
	steps_to_live = 0;
	sweep_at = n;
	fn(peer, s);
	steps_to_live = 0;
	evr_peer_detach(peer);
	_exit(0);
}

static bool sweep_end(struct pair *pair, struct sweep *s, pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(s->told[0]);
	assert_true(!status || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
	pair_settle(pair);
	return status;
}

static void lease_taker_killed_at_each_step_gives_all_back(void **state)
{
	struct pair *pair = *state;
	bool died = true, lent = false;
	struct sweep s;
	struct end end;
	uint8_t *map;
	uint64_t n;
	int before;
	pid_t pid;
	char c;

	make_channel(pair);
	s.fd = memfd_filled(&map);
	assert_int_equal(end_open(&end, pair->peer, EVR_CHANNEL_A), 0);
	before = fds_open();
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		pid = sweep_start(pair, &s, n, take_and_release);
		lent = read(s.told[0], &c, 1) == 1;
		if (lent) {
			assert_int_equal(lend(&end, s.fd, OFF, SZ, 0), 0);
			assert_int_equal(lend(&end, s.fd, OFF, SZ, EVR_LEASE_READ_ONLY), 0);
			assert_int_equal(write(s.told[0], "g", 1), 1);
		}
		died = sweep_end(pair, &s, pid);
		evr_channel_state(&end.ch); /* it may have met us, and we not it */
		assert_int_equal(evr_channel_forget(&end.ch), 0);
		assert_true(lent);
		assert_int_equal(evr_lender_collect(&end.lender), 2);
		assert_int_equal(end.lender.out, 0);
		assert_true(end.lender.given == end.lender.returned);
		assert_int_equal(blocks(&end.heap), 0);
		/* Of the local backend's own a peer's pidfd can be left until it is looked at. */
		assert_in_range(fds_open(), before - 1, before + 1);
	}
	printf("# died before each of %llu accesses\n", (unsigned long long)n - 1);
	memfd_end(s.fd, map);
	end_close(&end);
}

static void lend_two(struct evr_peer *peer, void *arg)
{
	struct sweep *s = arg;
	struct end end;
	char c;

	CHECK(!end_open(&end, peer, EVR_CHANNEL_A));
	/* Nor of what the heap does to find room: that has its own sweep. */
	CHECK(!evr_heap_free(&end.heap,
			     evr_heap_alloc(&end.heap, sizeof(struct evr_lease_record)).handle));
	sweep_begin();
	CHECK(!lend(&end, s->fd, OFF, SZ, 0));
	CHECK(!lend(&end, s->fd, OFF, SZ, 0));
	CHECK(write(s->told[1], "r", 1) == 1);
	CHECK(read(s->told[1], &c, 1) == 1);
	evr_lender_collect(&end.lender);
	end_close(&end);
}

/* What has arrived can be released, mapped or not; nothing of it is left. */
static void lease_lender_killed_at_each_step_leaves_nothing(void **state)
{
	struct pair *pair = *state;
	bool died = true, seen[3] = { false };
	struct evr_lease leases[2];
	struct sweep s;
	struct end end;
	uint8_t *map;
	uint64_t n;
	void *ptr;
	pid_t pid;
	char c;
	int nr;

	make_channel(pair);
	s.fd = memfd_filled(&map);
	assert_int_equal(end_open(&end, pair->peer, EVR_CHANNEL_B), 0);
	for (n = 1; died; n++) {
		assert_true(n < STEPS_MAX);
		pid = sweep_start(pair, &s, n, lend_two);
		nr = 0;
		if (read(s.told[0], &c, 1) == 1) {
			/* Both are here, and its lender lives: one is mapped. */
			assert_int_equal(take(&leases[nr++], &end), 0);
			assert_int_equal(evr_lease_map(&leases[0], NULL, &ptr), 0);
			assert_int_equal(write(s.told[0], "g", 1), 1);
		}
		died = sweep_end(pair, &s, pid);
		while (nr < 2 && !take(&leases[nr], &end))
			nr++;
		seen[nr] = true;
		/* It is there whatever has become of its lender; the other cannot be had. */
		if (nr && leases[0].ptr)
			assert_int_equal(*(uint8_t *)ptr, OFF % 251);
		if (nr == 2)
			assert_int_equal(evr_lease_map(&leases[1], NULL, &ptr), -EOWNERDEAD);
		evr_channel_state(&end.ch);
		assert_int_equal(evr_channel_forget(&end.ch), 0);
		while (nr)
			evr_lease_release(&leases[--nr]);
		assert_int_equal(blocks(&end.heap), 0);
	}
	assert_true(seen[0] && seen[2] && seen[1]);
	printf("# died before each of %llu accesses\n", (unsigned long long)n - 1);
	memfd_end(s.fd, map);
	end_close(&end);
}

/* A user without privilege, as after an exec: root is left, and not missed. */
static void become(uint32_t uid)
{
	if (getuid())
		return;
	CHECK(!setresgid(uid, uid, uid) && !setresuid(uid, uid, uid));
	CHECK(!prctl(PR_SET_DUMPABLE, 1));
}

static void taker_of(struct evr_peer *peer, void *arg)
{
	struct sweep *s = arg;
	struct evr_lease lease;
	struct end end;
	uint8_t *bytes;
	void *ptr;
	char c;
	int err;

	CHECK(!end_open(&end, peer, EVR_CHANNEL_B));
	CHECK(evr_channel_state(&end.ch) == EVR_RING_OK);
	CHECK(write(s->told[1], "r", 1) == 1);
	CHECK(read(s->told[1], &c, 1) == 1);
	CHECK(!take(&lease, &end));
	err = evr_lease_map(&lease, NULL, &ptr);
	bytes = ptr;
	CHECK(c == 'y' ? !err && bytes[0] == OFF % 251 : err == -EACCES);
	evr_lease_release(&lease);
	end_close(&end);
}

struct users {
	struct pair *pair;
	uint32_t lender, taker;
};

/* Lender and taker in processes of their own, which stay without privilege. */
static void lend_between(struct evr_peer *peer, void *arg)
{
	struct users *users = arg;
	uint8_t *map = NULL;
	struct evr_peer *own;
	struct sweep s;
	struct end end;
	int status;
	pid_t pid;
	char c;

	CHECK(!end_open(&end, peer, EVR_CHANNEL_A));
	s.fd = memfd_filled(&map);
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, s.told));
	pid = fork();
	if (!pid) {
		alarm(60);
		CHECK(!evr_peer_attach(&own, users->pair->segment, NULL));
		become(users->taker);
		taker_of(own, &s);
		evr_peer_detach(own);
		_exit(0);
	}
	become(users->lender);
	CHECK(read(s.told[0], &c, 1) == 1);
	CHECK(!lend(&end, s.fd, OFF, SZ, 0));
	CHECK(write(s.told[0], users->lender == users->taker ? "y" : "n", 1) == 1);
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	CHECK(evr_lender_collect(&end.lender) == 1);
	CHECK(!blocks(&end.heap));
	end_close(&end);
}

/*
 * A death that nobody has looked for yet is seen before the lender's pid is used, which may
 * be another's by then.
 */
static void lease_of_one_that_died_just_now_is_its_death(void **state)
{
	struct pair *pair = *state;
	struct evr_lease lease;
	struct sweep s;
	struct end end;
	uint8_t *map;
	void *ptr;
	pid_t pid;
	char c;

	make_channel(pair);
	s.fd = memfd_filled(&map);
	assert_int_equal(end_open(&end, pair->peer, EVR_CHANNEL_B), 0);
	evr_reap_auto(pair->peer, false);
	pid = sweep_start(pair, &s, 0, lend_two);
	assert_int_equal(read(s.told[0], &c, 1), 1);
	assert_int_equal(take(&lease, &end), 0);
	pair_kill(pid);
	ptr = &lease;
	assert_int_equal(evr_lease_map(&lease, NULL, &ptr), -EOWNERDEAD);
	assert_null(ptr);
	evr_lease_release(&lease);
	close(s.told[0]);
	memfd_end(s.fd, map);
	end_close(&end);
}

static void lease_needs_no_privilege_but_the_same_user(void **state)
{
	struct users users = { .pair = *state, .lender = 65534, .taker = 65534 };

	make_channel(users.pair);
	pair_join(pair_fork(users.pair, lend_between, &users));
	pair_settle(users.pair);
	users.taker = 65533;
	if (getuid())
		printf("# not root: no other user to be\n");
	else
		pair_join(pair_fork(users.pair, lend_between, &users));
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
		TEST(lease_in_an_isolated_segment_comes_back),
		TEST(lease_hostile_record_in_an_isolated_segment_maps_nothing),
		TEST(lease_hostile_record_maps_nothing),
		TEST(lease_of_another_file_is_stale),
		TEST(lease_of_a_segment_is_a_range_of_it),
		TEST(lease_taker_killed_at_each_step_gives_all_back),
		TEST(lease_lender_killed_at_each_step_leaves_nothing),
		TEST(lease_of_one_that_died_just_now_is_its_death),
		TEST(lease_needs_no_privilege_but_the_same_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
