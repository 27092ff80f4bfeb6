// SPDX-License-Identifier: MIT
/*
 * How much memory who may hold: the quota of a uid (RLIMIT_MEMLOCK), that pinned
 * pages do not escape it, the memory cgroup, and the module's own totals.
 *
 * Seen to fail: with pinned blocks uncharged at once, growth uncharged, no quota at
 * all, one account for all users, and blocks that no memory cgroup pays for.
 */

#include <liburing.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "device.h"

#define ALICE 1000
#define BOB 1001
#define BLOCKS 4U /* the quota of the children, blocks */
#define RW (PROT_READ | PROT_WRITE)

/* A user with a quota of this many bytes, for good. */
static void become_user(uid_t uid, rlim_t quota)
{
	struct rlimit limit = { quota, quota };

	EV_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	ev_become(uid, uid);
}

static int try_blocks(unsigned int blocks)
{
	struct ev_shape shape = { .shared_size = blocks * EV_BLOCK, .peers_max = 2 };

	return ev_try_create(&shape);
}

static int take_blocks(unsigned int blocks)
{
	int fd = try_blocks(blocks);

	EV_CHECK(fd >= 0);
	return fd;
}

struct errand {
	uid_t uid;
	rlim_t quota;
	void (*body)(void);
};

static void do_errand(struct ev_link *link, void *arg)
{
	struct errand *errand = arg;

	(void)link;
	become_user(errand->uid, errand->quota);
	errand->body();
}

static void run_as(uid_t uid, rlim_t quota, void (*body)(void))
{
	struct errand errand = { uid, quota, body };
	struct ev_link child;

	ev_child_start(&child, do_errand, &errand);
	ev_child_join(&child);
}

static void fill_to_limit(void)
{
	struct evering_info info = ev_info();
	int all, most, last;

	EV_EQ(info.uid_bytes_max, BLOCKS * EV_BLOCK);
	EV_EQ(info.uid_bytes, 0);
	EV_EQ(try_blocks(BLOCKS + 1), -EDQUOT);
	all = take_blocks(BLOCKS);
	EV_EQ(ev_info().uid_bytes, BLOCKS * EV_BLOCK);
	EV_EQ(try_blocks(1), -EDQUOT);
	close(all);
	EV_EQ(ev_info().uid_bytes, 0);
	most = take_blocks(BLOCKS - 1);
	EV_EQ(try_blocks(2), -EDQUOT);
	last = take_blocks(1);
	EV_EQ(try_blocks(1), -EDQUOT);
	close(most);
	EV_EQ(ev_info().uid_bytes, EV_BLOCK);
	most = take_blocks(BLOCKS - 1);
	close(most);
	close(last);
	EV_EQ(ev_info().uid_bytes, 0);
}

static void quota_uid_limit(void **state)
{
	(void)state;
	run_as(ALICE, BLOCKS * EV_BLOCK, fill_to_limit);
}

/* The limit need not be whole blocks. */
static void one_byte_less(void)
{
	EV_EQ(try_blocks(BLOCKS), -EDQUOT);
	close(take_blocks(BLOCKS - 1));
}

static void quota_uid_limit_minus_byte(void **state)
{
	(void)state;
	run_as(ALICE, BLOCKS * EV_BLOCK - 1, one_byte_less);
}

static void small_pieces(void)
{
	struct ev_shape page = { .shared_size = EV_PAGE, .peers_max = 2 };
	uint64_t each;
	int fds[64], nr = 0, fd;

	fds[nr++] = ev_create(&page);
	each = ev_info().uid_bytes;
	EV_EQ(each, ev_segment_info(fds[0]).bytes);
	EV_CHECK(each >= EV_PAGE && each <= 4 * EV_PAGE);
	while (nr < 64 && (fd = ev_try_create(&page)) >= 0)
		fds[nr++] = fd;
	EV_EQ(nr, 16 * EV_PAGE / each);
	EV_EQ(ev_try_create(&page), -EDQUOT);
	while (nr)
		close(fds[--nr]);
	EV_EQ(ev_info().uid_bytes, 0);
}

static void quota_small_segments_counted(void **state)
{
	(void)state;
	run_as(ALICE, 16 * EV_PAGE, small_pieces);
}

static void grow_to_limit(void)
{
	int seg = take_blocks(BLOCKS - 1);
	uint64_t size = ev_segment_info(seg).segment_size, offset = 0x1234;

	EV_EQ(ev_grow(seg, 2 * EV_BLOCK, &offset), -EDQUOT);
	EV_EQ(offset, 0x1234);
	EV_EQ(ev_segment_info(seg).segment_size, size);
	EV_EQ(ev_info().uid_bytes, (BLOCKS - 1) * EV_BLOCK);
	EV_EQ(ev_grow(seg, EV_BLOCK, &offset), 0);
	EV_EQ(ev_info().uid_bytes, BLOCKS * EV_BLOCK);
	EV_EQ(ev_grow(seg, EV_BLOCK, &offset), -EDQUOT);
	close(seg);
	EV_EQ(ev_info().uid_bytes, 0);
}

static void quota_growth_counted(void **state)
{
	(void)state;
	run_as(ALICE, BLOCKS * EV_BLOCK, grow_to_limit);
}

static void hold_and_share(struct ev_link *link, void *arg)
{
	int seg;

	(void)arg;
	become_user(ALICE, BLOCKS * EV_BLOCK);
	seg = take_blocks(BLOCKS);
	ev_pass(link, seg);
	ev_hear(link);
}

static void nothing_left(void)
{
	EV_EQ(ev_info().uid_bytes, BLOCKS * EV_BLOCK);
	EV_EQ(try_blocks(1), -EDQUOT);
}

static void all_left(void)
{
	EV_EQ(ev_info().uid_bytes, 0);
	close(take_blocks(BLOCKS));
}

/* Of the uid, not the process; and its creator's for as long as anybody holds it. */
static void quota_belongs_to_creator(void **state)
{
	struct ev_link child;
	struct ev_peer peer;
	char *map;
	int seg;

	(void)state;
	ev_child_start(&child, hold_and_share, NULL);
	seg = ev_take(&child);
	run_as(ALICE, BLOCKS * EV_BLOCK, nothing_left);
	run_as(BOB, BLOCKS * EV_BLOCK, all_left);
	EV_EQ(ev_info().uid_bytes, 0); /* root's */
	ev_say(&child, 1);
	ev_child_join(&child);
	run_as(ALICE, BLOCKS * EV_BLOCK, nothing_left);
	peer = ev_attach(seg);
	map = ev_map(peer.fd, EV_BLOCK, EV_BLOCK, RW);
	close(seg);
	close(peer.fd);
	/* A mapping alone holds it. */
	run_as(ALICE, BLOCKS * EV_BLOCK, nothing_left);
	munmap(map, EV_BLOCK);
	run_as(ALICE, BLOCKS * EV_BLOCK, all_left);
}

static void quota_privileged_unlimited(void **state)
{
	struct rlimit old, none = { 0, 0 };
	int seg;

	(void)state;
	EV_EQ(ev_info().uid_bytes_max, ~0ULL);
	EV_EQ(getrlimit(RLIMIT_MEMLOCK, &old), 0);
	none.rlim_max = old.rlim_max;
	EV_EQ(setrlimit(RLIMIT_MEMLOCK, &none), 0);
	seg = take_blocks(2);
	EV_EQ(setrlimit(RLIMIT_MEMLOCK, &old), 0);
	close(seg);
}

/* Wait for what was pinned to come back: the last unpin may be a worker's. */
static void await_uid_bytes(uint64_t wanted)
{
	int ms;

	for (ms = 0; ms < EV_HANG_MS; ms++) {
		if (ev_info().uid_bytes == wanted)
			return;
		usleep(1000);
	}
	EV_EQ(ev_info().uid_bytes, wanted);
}

static char *map_blocks(unsigned int blocks, int *seg, struct ev_peer *peer)
{
	*seg = take_blocks(blocks);
	*peer = ev_attach(*seg);
	return ev_map(peer->fd, EV_BLOCK, blocks * EV_BLOCK, RW);
}

static void pin_in_pipe(void)
{
	struct ev_peer peer;
	struct iovec iov;
	int pipes[2], seg, more;
	char *map = map_blocks(BLOCKS, &seg, &peer);

	/* A page of the first block and one of the third. */
	EV_EQ(pipe2(pipes, O_CLOEXEC), 0);
	iov.iov_len = EV_PAGE;
	iov.iov_base = map;
	EV_EQ(vmsplice(pipes[1], &iov, 1, 0), EV_PAGE);
	iov.iov_base = map + 2 * EV_BLOCK + EV_PAGE;
	EV_EQ(vmsplice(pipes[1], &iov, 1, 0), EV_PAGE);
	munmap(map, BLOCKS * EV_BLOCK);
	close(peer.fd);
	close(seg);
	await_uid_bytes(2 * EV_BLOCK);
	EV_EQ(try_blocks(BLOCKS - 1), -EDQUOT);
	more = take_blocks(BLOCKS - 2);
	close(more);
	close(pipes[0]);
	close(pipes[1]);
	await_uid_bytes(0);
	close(take_blocks(BLOCKS));
}

static void quota_not_escaped_by_pipe(void **state)
{
	(void)state;
	run_as(ALICE, BLOCKS * EV_BLOCK, pin_in_pipe);
}

static void pin_in_ring(void)
{
	struct io_uring ring;
	struct ev_peer peer;
	struct iovec iov;
	int seg;
	char *map;

	/* Registered buffers are counted against the same limit by the kernel. */
	map = map_blocks(2, &seg, &peer);
	EV_EQ(io_uring_queue_init(4, &ring, 0), 0);
	iov.iov_base = map;
	iov.iov_len = EV_BLOCK;
	EV_EQ(io_uring_register_buffers(&ring, &iov, 1), 0);
	munmap(map, 2 * EV_BLOCK);
	close(peer.fd);
	close(seg);
	await_uid_bytes(EV_BLOCK);
	EV_EQ(try_blocks(BLOCKS), -EDQUOT);
	io_uring_queue_exit(&ring);
	await_uid_bytes(0);
	close(take_blocks(BLOCKS));
}

static void quota_not_escaped_by_registered_buffer(void **state)
{
	(void)state;
	if (!ev_has(EVERING_FEAT_FIXED_BUFFERS)) {
		print_message("# skip: this kernel registers no device memory\n");
		skip();
	}
	run_as(ALICE, BLOCKS * EV_BLOCK, pin_in_ring);
}

#define CGROUP "/tmp/cgroup"

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text));
	ret = ret < 0 ? -errno : 0;
	close(fd);
	return (int)ret;
}

static long read_number(const char *path, const char *key)
{
	char text[512] = "", *at;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	EV_CHECK(fd >= 0);
	EV_CHECK(read(fd, text, sizeof(text) - 1) >= 0);
	close(fd);
	at = strstr(text, key);
	EV_CHECK(at);
	return atol(at + strlen(key));
}

static void fill_cgroup(struct ev_link *link, void *arg)
{
	int seg;

	(void)link;
	(void)arg;
	EV_EQ(write_file(CGROUP "/small/cgroup.procs", "0"), 0);
	EV_EQ(try_blocks(32), -ENOMEM);
	EV_EQ(ev_info().total_bytes, 0);
	seg = take_blocks(4);
	EV_CHECK(read_number(CGROUP "/small/memory.current", "") >= 8L << 20);
	EV_EQ(ev_grow(seg, 32 * EV_BLOCK, NULL), -ENOMEM);
	EV_EQ(ev_segment_info(seg).bytes, 4 * EV_BLOCK);
	close(seg);
	EV_CHECK(read_number(CGROUP "/small/memory.current", "") < 8L << 20);
}

static void quota_memory_cgroup(void **state)
{
	struct ev_link child;

	(void)state;
	mkdir(CGROUP, 0755);
	if (mount("none", CGROUP, "cgroup2", 0, NULL) ||
	    write_file(CGROUP "/cgroup.subtree_control", "+memory")) {
		print_message("# skip: this kernel has no memory cgroup\n");
		umount(CGROUP);
		skip();
	}
	EV_EQ(mkdir(CGROUP "/small", 0755), 0);
	EV_EQ(write_file(CGROUP "/small/memory.max", "33554432"), 0);
	ev_child_start(&child, fill_cgroup, NULL);
	ev_child_join(&child);
	EV_EQ(read_number(CGROUP "/small/memory.events", "oom_kill "), 0);
	EV_EQ(rmdir(CGROUP "/small"), 0);
	EV_EQ(umount(CGROUP), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quota_uid_limit),
		cmocka_unit_test(quota_uid_limit_minus_byte),
		cmocka_unit_test(quota_small_segments_counted),
		cmocka_unit_test(quota_growth_counted),
		cmocka_unit_test(quota_belongs_to_creator),
		cmocka_unit_test(quota_privileged_unlimited),
		cmocka_unit_test(quota_not_escaped_by_pipe),
		cmocka_unit_test(quota_not_escaped_by_registered_buffer),
		cmocka_unit_test(quota_memory_cgroup),
	};

	return cmocka_run_group_tests(tests, ev_device_for_all, ev_device_as_before);
}
