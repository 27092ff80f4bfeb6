// SPDX-License-Identifier: MIT
/*
 * The module's parameters: how many segments and slots, how many bytes in one
 * segment, in all, and for a uid. Each at the limit, one below and one above, and
 * INFO tells the limit and the sum.
 *
 * Seen to fail: with sums refused one byte early, one segment too many, and an
 * unchecked multiplication.
 */

#include <sys/stat.h>

#include "device.h"

#define ALICE 1000

static const char *const names[] = { "segments_max", "peers_max", "total_bytes_max",
				     "segment_bytes_max", "uid_bytes_max" };
#define NAMES (sizeof(names) / sizeof(names[0]))

static int64_t before[NAMES];

static int begin(void **state)
{
	size_t i;

	for (i = 0; i < NAMES; i++) {
		before[i] = ev_parameter(names[i]);
		EV_CHECK(before[i] >= 0);
	}
	return ev_device_for_all(state);
}

static int end(void **state)
{
	size_t i;

	for (i = 0; i < NAMES; i++)
		EV_EQ(ev_set_parameter(names[i], (uint64_t)before[i]), 0);
	ev_device_as_before(state);
	EV_EQ(ev_info().segments, 0);
	EV_EQ(ev_info().total_bytes, 0);
	return 0;
}

static int try_blocks(uint64_t blocks)
{
	struct ev_shape shape = { .shared_size = blocks * EV_BLOCK, .peers_max = 2 };

	return ev_try_create(&shape);
}

static int take_blocks(uint64_t blocks)
{
	int fd = try_blocks(blocks);

	if (fd < 0)
		ev_fail(__FILE__, __LINE__, "%llu blocks: %s", (unsigned long long)blocks,
			strerror(-fd));
	return fd;
}

static void limits_segments(void **state)
{
	int fds[3], i;

	(void)state;
	EV_EQ(ev_set_parameter("segments_max", 3), 0);
	EV_EQ(ev_info().segments_max, 3);
	for (i = 0; i < 3; i++) {
		EV_EQ(ev_info().segments, i);
		fds[i] = take_blocks(1);
	}
	EV_EQ(ev_info().segments, 3);
	EV_EQ(try_blocks(1), -ENFILE);
	EV_EQ(ev_info().segments, 3);
	EV_EQ(ev_info().total_bytes, 3 * EV_BLOCK);
	close(fds[1]);
	EV_EQ(ev_info().segments, 2);
	fds[1] = take_blocks(1);
	/* A limit below what is there takes nothing away. */
	EV_EQ(ev_set_parameter("segments_max", 1), 0);
	EV_EQ(ev_segment_info(fds[2]).peers_max, 2);
	close(fds[0]);
	close(fds[1]);
	EV_EQ(try_blocks(1), -ENFILE);
	close(fds[2]);
	close(take_blocks(1));
	EV_EQ(ev_set_parameter("segments_max", 0), -EINVAL);
}

static void limits_peers(void **state)
{
	struct ev_shape shape = { .peer_size = EV_PAGE };
	static const uint64_t wrong[] = { 0, EVERING_PEERS_MAX + 1, 0xffffffff };
	unsigned int i;
	int fd;

	(void)state;
	EV_EQ(ev_set_parameter("peers_max", 3), 0);
	EV_EQ(ev_info().peers_max, 3);
	for (shape.peers_max = 2; shape.peers_max <= 3; shape.peers_max++) {
		fd = ev_create(&shape);
		EV_EQ(ev_segment_info(fd).peers_max, shape.peers_max);
		close(fd);
	}
	EV_EQ(ev_try_create(&shape), -EINVAL);
	for (i = 0; i < 3; i++)
		EV_EQ(ev_set_parameter("peers_max", wrong[i]), -EINVAL);
	EV_EQ(ev_parameter("peers_max"), 3);
}

static void limits_segment_bytes(void **state)
{
	uint64_t offset = 0x77;
	int fd;

	(void)state;
	EV_EQ(ev_set_parameter("segment_bytes_max", 4 * EV_BLOCK), 0);
	EV_EQ(ev_info().segment_bytes_max, 4 * EV_BLOCK);
	close(take_blocks(3));
	close(take_blocks(4));
	EV_EQ(try_blocks(5), -EFBIG);
	/* One page more is one block more. */
	EV_EQ(ev_try_create(&(struct ev_shape){ .shared_size = 4 * EV_BLOCK + EV_PAGE }), -EFBIG);
	fd = take_blocks(3);
	EV_EQ(ev_grow(fd, 2 * EV_BLOCK, &offset), -EFBIG);
	EV_EQ(offset, 0x77);
	EV_EQ(ev_grow(fd, EV_BLOCK, &offset), 0);
	EV_EQ(ev_grow(fd, EV_BLOCK, &offset), -EFBIG);
	close(fd);
	EV_EQ(ev_set_parameter("segment_bytes_max", 4 * EV_BLOCK - 1), 0);
	EV_EQ(try_blocks(4), -EFBIG);
	close(take_blocks(3));
}

static void limits_total_bytes(void **state)
{
	int first, second;

	(void)state;
	EV_EQ(ev_set_parameter("total_bytes_max", 4 * EV_BLOCK), 0);
	EV_EQ(ev_info().total_bytes_max, 4 * EV_BLOCK);
	first = take_blocks(2);
	EV_EQ(try_blocks(3), -ENFILE);
	EV_EQ(ev_info().total_bytes, 2 * EV_BLOCK);
	second = take_blocks(1);
	EV_EQ(ev_grow(first, 2 * EV_BLOCK, NULL), -ENFILE);
	EV_EQ(ev_grow(first, EV_BLOCK, NULL), 0);
	EV_EQ(ev_info().total_bytes, 4 * EV_BLOCK);
	EV_EQ(try_blocks(1), -ENFILE);
	EV_EQ(ev_try_create(&(struct ev_shape){ .shared_size = EV_PAGE }), -ENFILE);
	close(second);
	EV_EQ(ev_info().total_bytes, 3 * EV_BLOCK);
	second = take_blocks(1);
	close(first);
	close(second);
}

static void use_uid_quota(struct ev_link *link, void *arg)
{
	int fd;

	(void)link;
	(void)arg;
	ev_become(ALICE, ALICE);
	EV_EQ(ev_info().uid_bytes_max, 3 * EV_BLOCK);
	EV_EQ(try_blocks(4), -EDQUOT);
	fd = take_blocks(2);
	EV_EQ(try_blocks(2), -EDQUOT);
	EV_EQ(ev_info().uid_bytes, 2 * EV_BLOCK);
	close(take_blocks(1));
	close(fd);
}

/* Stands above RLIMIT_MEMLOCK, which is 8 MiB at most for a fresh process. */
static void limits_uid_bytes(void **state)
{
	struct ev_link child;

	(void)state;
	EV_EQ(ev_set_parameter("uid_bytes_max", 3 * EV_BLOCK), 0);
	EV_EQ(ev_info().uid_bytes_max, ~0ULL); /* root's: CAP_IPC_LOCK */
	ev_child_start(&child, use_uid_quota, NULL);
	ev_child_join(&child);
}

/* Sizes whose sum does not fit 64 bits are too large, not small. */
static void limits_overflow_refused(void **state)
{
	static const struct {
		uint64_t shared_size, peer_size;
		uint32_t peers_max;
	} cases[] = {
		{ 1ULL << 63, 0, 1 },
		{ ~(EV_PAGE - 1), 0, 1 },
		{ EV_PAGE, 1ULL << 63, 2 },
		{ EV_PAGE, 1ULL << 56, 256 },
		{ 1ULL << 63, 1ULL << 62, 2 },
		{ ~(EV_PAGE - 1), EV_PAGE, 1 },
		{ ~(EV_BLOCK - 1), EV_BLOCK, 1 },
		{ 0, ~(EV_PAGE - 1), 1 },
		{ 0, 0xffffffffff000, 256 },
	};
	static const uint64_t growths[] = { 1ULL << 63, 1ULL << 62, ~(EV_BLOCK - 1),
					    ~(EV_BLOCK - 1) - 2 * EV_BLOCK };
	unsigned int i;
	int fd;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ev_shape shape = {
			.shared_size = cases[i].shared_size,
			.peer_size = cases[i].peer_size,
			.peers_max = cases[i].peers_max,
		};

		if (ev_try_create(&shape) != -EFBIG)
			ev_fail(__FILE__, __LINE__, "case %u is not -EFBIG", i);
	}
	fd = take_blocks(1);
	for (i = 0; i < 4; i++)
		EV_EQ(ev_grow(fd, growths[i], NULL), -EFBIG);
	EV_EQ(ev_segment_info(fd).bytes, EV_BLOCK);
	close(fd);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		CASE(limits_segments),	  CASE(limits_peers),	  CASE(limits_segment_bytes),
		CASE(limits_total_bytes), CASE(limits_uid_bytes), CASE(limits_overflow_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
