/* SPDX-License-Identifier: MIT */
/*
 * Leases between peers that do not trust each other: in an isolated segment, and with
 * records and files that are not what was lent.
 *
 * Mutants seen to fail here: a file that is not compared with what was lent; no look at the
 * seals.
 */
#include "leases.h"

#include <fcntl.h>
#include <sys/stat.h>

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

/* A word of the record @r, which has come in @m, is another: an error, or what was lent. */
static void take_changed(struct evr_channel *ch, struct evr_message *m, struct evr_lease_record *r)
{
	struct evr_lease lease;
	void *data = m->data, *ptr;
	int err = evr_lease_take(&lease, ch, m);

	if (err) {
		assert_int_equal(err, -EBADMSG);
		assert_ptr_equal(m->data, data);
		evr_channel_release(ch, m);
		return;
	}
	assert_true(lease.record.layout == EVR_LEASE_LAYOUT);
	assert_true(lease.record.sz && lease.record.sz <= INT64_MAX &&
		    lease.record.off <= INT64_MAX);
	assert_false(lease.record.flags & ~(uint32_t)EVR_LEASE_READ_ONLY);
	assert_false(lease.record.uri[sizeof(lease.record.uri) - 1]);
	/* Changed after it was copied: that changes nothing. */
	memset(r, 0xff, sizeof(*r));
	err = evr_lease_map(&lease, NULL, &ptr);
	if (!err)
		assert_true(lease.record.ino && *(uint8_t *)ptr < 251);
	evr_lease_release(&lease);
}

/* A lender of whom the region is all that it can write: whatever the record says. */
static void lease_hostile_record_in_an_isolated_segment_maps_nothing(void **state)
{
	static const uint64_t values[] = { 0, 1, UINT64_MAX, INT64_MAX, 1ULL << 62, 0x30 };
	struct evr_lease_record *r;
	struct evr_message m;
	struct far_two two;
	uint8_t *map;
	size_t i, v;
	int fd, before;

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
			take_changed(&two.b, &m, r);
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
	struct evr_message m;
	struct two two;
	uint64_t *at;
	uint8_t *map;
	size_t i, v;
	int fd, before;

	two_open(&two, *state);
	fd = memfd_filled(&map);
	before = fds_open();
	for (i = 0; i < words; i++)
		for (v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
			assert_int_equal(lend(&two.a, fd, OFF, SZ, 0), 0);
			assert_int_equal(evr_channel_recv(&two.b.ch, &m), 0);
			at = (uint64_t *)m.data + i;
			*at = values[v];
			take_changed(&two.b.ch, &m, m.data);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_small, pair_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(lease_in_an_isolated_segment_comes_back),
		TEST(lease_hostile_record_in_an_isolated_segment_maps_nothing),
		TEST(lease_hostile_record_maps_nothing),
		TEST(lease_of_another_file_is_stale),
	};

	return cmocka_run_group_tests_name("lease_hostile", tests, NULL, NULL);
}
