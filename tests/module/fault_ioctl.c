// SPDX-License-Identifier: MIT
/*
 * fault_ioctl [CASE]: every allocation and every copy from or to user space of each
 * call fails once (/proc/thread-self/fail-nth), one at a time: the call answers with
 * an errno that says so, leaves nothing behind, and the kernel has no complaint.
 * Needs a kernel with FAULT_INJECTION; elsewhere it is a skip.
 *
 * And a growth that fails after it has its memory, while another peer is revoked: the
 * revocation passes through the blocks, and must not meet those that go again.
 *
 * Seen to fail: without the uncharge of a SEGMENT_GROW that found no memory;
 * controls/growth-walked (and with the lock taken, VM_BUG_ON in __free_one_page).
 */

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include "command.h"
#include "uring_cmd.h"
#include "watch.h"

#define FAIL_NTH "/proc/thread-self/fail-nth"
#define DEBUGFS "/sys/kernel/debug/"
/* A call is swept when this many counts in a row were not reached. */
#define QUIET_MAX 3
#define NTH_MAX 2000

struct fault_case {
	const char *name;
	const struct command *command; /* or */
	int (*call)(struct stage *stage);
	int extra; /* one more errno that is right, besides ENOMEM and EFAULT */
	uint64_t feature; /* needed, or 0 */
};

static int fail_nth;

/* --- the injector ------------------------------------------------------------------------ */

static void set_knob(const char *name, const char *text)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), DEBUGFS "%s", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		print_message("# %s: %s\n", path, strerror(errno));
	close(fd);
}

/* Also allocations that may sleep, and single pages; no stack dump for each. */
static void set_knobs(void)
{
	set_knob("failslab/ignore-gfp-wait", "N");
	set_knob("failslab/verbose", "0");
	set_knob("fail_page_alloc/ignore-gfp-wait", "N");
	set_knob("fail_page_alloc/ignore-gfp-highmem", "N");
	set_knob("fail_page_alloc/min-order", "0");
	set_knob("fail_page_alloc/verbose", "0");
	set_knob("fail_usercopy/verbose", "0");
	set_knob("fail_futex/verbose", "0");
}

static bool armed, was_hit;

static void arm(unsigned int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	EV_EQ(pwrite(fail_nth, text, (size_t)len, 0), len);
	armed = true;
}

/* Was the fault reached? The read may be what reaches it: then the call was not. */
static bool disarm(void)
{
	char text[16] = "";
	ssize_t len;

	if (!armed)
		return was_hit;
	armed = false;
	len = pread(fail_nth, text, sizeof(text) - 1, 0);
	was_hit = len > 0 && atoi(text) == 0;
	while (pwrite(fail_nth, "0", 1, 0) != 1)
		;
	return was_hit;
}

/* --- calls that are not in the table of commands -------------------------------------------- */

static int call_open(struct stage *stage)
{
	int fd = open(EVERING_DEVICE, O_RDWR | O_CLOEXEC);

	(void)stage;
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int create(uint32_t flags, uint32_t backing, uint64_t shared, int *seg)
{
	struct evering_segment_create arg;
	int ret, fd;

	ev_arg(&arg);
	arg.flags = flags;
	arg.backing = backing;
	arg.shared_size = shared;
	arg.peer_size = EV_PAGE;
	arg.peers_max = 2;
	arg.node = EVERING_NODE_ANY;
	fd = open(EVERING_DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = ev_ioctl(fd, EVERING_IOC_SEGMENT_CREATE, &arg);
	close(fd);
	*seg = ret == 0 ? arg.fd : -1;
	return ret;
}

static int call_create(uint32_t flags, uint32_t backing, uint64_t shared)
{
	int seg, ret = create(flags, backing, shared, &seg);

	if (ret == 0)
		close(seg);
	return ret;
}

static int call_create_large(struct stage *stage)
{
	(void)stage;
	return call_create(0, EVERING_BACKING_PAGES, 8 * EV_BLOCK);
}

static int call_create_contiguous(struct stage *stage)
{
	(void)stage;
	return call_create(EVERING_SEGMENT_F_CONTIGUOUS, EVERING_BACKING_PAGES, 4 * EV_BLOCK);
}

static int call_create_shmem(struct stage *stage)
{
	(void)stage;
	return call_create(0, EVERING_BACKING_SHMEM, 2 * EV_BLOCK);
}

static int call_attach_observer(struct stage *stage)
{
	struct ev_peer peer;
	int ret = ev_try_attach(stage->fd[ON_SEGMENT], EVERING_ATTACH_F_OBSERVER, EVERING_SLOT_ANY,
				&peer);

	if (ret == 0)
		close(peer.fd);
	return ret;
}

static int call_invite_reserve(struct stage *stage)
{
	int fd = ev_try_invite(stage->fd[ON_SEGMENT], EVERING_RIGHT_WRITE, EVERING_INVITE_F_RESERVE,
			       1);

	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

static int call_publish_keep(struct stage *stage)
{
	int seg = stage->fd[ON_SEGMENT];
	int ret = ev_publish(seg, "fault-kept", 0600, EVERING_PUBLISH_F_KEEP);

	if (ret == 0)
		while (ev_unpublish(seg) == -EFAULT)
			;
	return ret;
}

static int map_and_touch(int fd, uint64_t at, size_t sz, int flags)
{
	char *p = mmap(NULL, sz, PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, (off_t)at);
	size_t i;

	if (p == MAP_FAILED)
		return -errno;
	for (i = 0; i < sz; i += EV_PAGE)
		((volatile char *)p)[i] = 1;
	munmap(p, sz);
	return 0;
}

static int call_map_page(struct stage *stage)
{
	struct evering_segment_info info = { .size = sizeof(info) };
	int ret = ev_ioctl(stage->self.fd, EVERING_IOC_SEGMENT_INFO, &info);

	return ret ? ret : map_and_touch(stage->self.fd, info.shared_offset, EV_PAGE, 0);
}

static int call_map_populated(struct stage *stage)
{
	struct evering_segment_info info = { .size = sizeof(info) };
	int ret = ev_ioctl(stage->self.fd, EVERING_IOC_SEGMENT_INFO, &info);

	if (ret)
		return ret;
	return map_and_touch(stage->self.fd, info.shared_offset, EV_PAGE, MAP_POPULATE);
}

/* Its own inode at attach, a file for each mapping, and an end with both. */
static int call_shmem_peer(struct stage *stage)
{
	struct ev_peer peer;
	int seg, ret;

	(void)stage;
	ret = create(0, EVERING_BACKING_SHMEM, EV_BLOCK, &seg);
	if (ret)
		return ret;
	ret = ev_try_attach(seg, 0, EVERING_SLOT_ANY, &peer);
	if (ret == 0) {
		ret = map_and_touch(peer.fd, EV_BLOCK, EV_BLOCK, MAP_POPULATE);
		close(peer.fd);
	}
	close(seg);
	return ret;
}

static int call_read(struct stage *stage)
{
	struct evering_bells bells;
	int ret = ev_ring(stage->other.fd, stage->self.slot, stage->self.incarnation, 1);

	if (ret == 0 && read(stage->self.fd, &bells, sizeof(bells)) < 0)
		ret = -errno;
	return ret;
}

static int call_write(struct stage *stage)
{
	return ev_ring_by_write(stage->other.fd, stage->self.slot, stage->self.incarnation, 1);
}

static struct io_uring ring;

/* What fails is perhaps the submission: the command is then still to be submitted. */
static int uring_call(uint64_t user_data)
{
	io_uring_submit_and_wait(&ring, 1);
	disarm();
	return uring_result(&ring, user_data);
}

static int call_uring_ring(struct stage *stage)
{
	struct evering_bell bell = {
		.slot = stage->other.slot,
		.incarnation = stage->other.incarnation,
		.bits = 1,
	};
	int ret;

	uring_put_ring(&ring, stage->self.fd, &bell, 1, 1);
	ret = uring_call(1);
	return ret < 0 ? ret : 0;
}

/* Parked, then cancelled: what is refused at first leaves nothing parked. */
static int call_uring_wait(struct stage *stage)
{
	static struct evering_bell_wait wait;
	int ret;

	uring_put_wait(&ring, stage->self.fd, &wait, 1, 5);
	uring_put_cancel(&ring, stage->self.fd, 5, 6);
	io_uring_submit(&ring);
	disarm();
	uring_put_cancel(&ring, stage->self.fd, 5, 7);
	ret = uring_result(&ring, 5);
	uring_result(&ring, 6);
	uring_result(&ring, 7);
	return ret == -ECANCELED ? 0 : ret;
}

static const struct fault_case calls[] = {
	{ "open", NULL, call_open, -ENOMEM, 0 },
	{ "create_large", NULL, call_create_large, -ENOSPC, 0 },
	{ "create_contiguous", NULL, call_create_contiguous, -ENOSPC, 0 },
	{ "create_shmem", NULL, call_create_shmem, -ENOMEM, EVERING_FEAT_BACKING_SHMEM },
	{ "attach_observer", NULL, call_attach_observer, -ENOMEM, 0 },
	{ "invite_reserve", NULL, call_invite_reserve, -ENOMEM, 0 },
	{ "publish_keep", NULL, call_publish_keep, -ENOMEM, 0 },
	{ "map_page", NULL, call_map_page, -ENOMEM, 0 },
	{ "map_populated", NULL, call_map_populated, -ENOMEM, 0 },
	{ "shmem_peer", NULL, call_shmem_peer, -ENOMEM, EVERING_FEAT_BACKING_SHMEM },
	{ "read", NULL, call_read, -ENOMEM, 0 },
	{ "write", NULL, call_write, -EFAULT, 0 },
	{ "uring_ring", NULL, call_uring_ring, -ENOMEM, 0 },
	{ "uring_wait", NULL, call_uring_wait, -ENOMEM, EVERING_FEAT_URING_WAIT },
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

/* --- the sweep ----------------------------------------------------------------------------- */

static int run_command(const struct command *command, struct stage *stage, unsigned int nth,
		       bool *hit)
{
	uint64_t arg[ARGUMENT_MAX / 8];
	enum fd_kind kind = command_kind(command);
	int ret;

	command_fill(command, stage, arg);
	arm(nth);
	ret = ev_ioctl(stage->fd[kind], command->cmd, arg);
	*hit = disarm();
	if (ret >= 0)
		command_done(command, arg);
	return ret;
}

static int run_call(const struct fault_case *c, struct stage *stage, unsigned int nth, bool *hit)
{
	int ret;

	arm(nth);
	ret = c->call(stage);
	*hit = disarm();
	return ret;
}

static bool is_right(const struct fault_case *c, int ret)
{
	return ret >= 0 || ret == -ENOMEM || ret == -EFAULT || ret == c->extra;
}

/* How many faults were reached. */
static unsigned int sweep(const struct fault_case *c)
{
	struct evering_info before = ev_info();
	unsigned int nth, quiet = 0, hits = 0, failed = 0;
	struct stage stage;

	for (nth = 1; nth < NTH_MAX && quiet < QUIET_MAX; nth++) {
		bool hit;
		int ret;

		stage_init(&stage);
		ret = c->command ? run_command(c->command, &stage, nth, &hit) :
				   run_call(c, &stage, nth, &hit);
		stage_fini(&stage);
		if (!is_right(c, ret))
			ev_fail(__FILE__, __LINE__, "%s with fault %u: %s", c->name, nth,
				strerror(-ret));
		quiet = hit ? 0 : quiet + 1;
		hits += hit;
		failed += ret < 0;
		await_totals(&before);
	}
	EV_CHECK(nth < NTH_MAX);
	print_message("# %s: %u faults, %u of them made it fail\n", c->name, hits, failed);
	return hits;
}

static void fault_in_every_command_leaves_nothing(void **state)
{
	const char *only = *state;
	unsigned int i;

	for (i = 0; i < commands_nr; i++) {
		struct fault_case c = { .name = commands[i].name, .command = &commands[i] };

		if (only && strcmp(only, c.name))
			continue;
		c.extra = commands[i].cmd == EVERING_IOC_SEGMENT_CREATE ? -ENOSPC : -ENOMEM;
		/* Each command copies its argument in: that alone can fail. */
		EV_CHECK(sweep(&c) >= 1);
	}
}

static void fault_in_every_other_call_leaves_nothing(void **state)
{
	const char *only = *state;
	unsigned int i;

	EV_EQ(io_uring_queue_init(8, &ring, 0), 0);
	for (i = 0; i < CALLS; i++) {
		if (only && strcmp(only, calls[i].name))
			continue;
		if (calls[i].feature && !ev_has(calls[i].feature))
			print_message("# %s: not on this kernel\n", calls[i].name);
		else
			sweep(&calls[i]);
	}
	io_uring_queue_exit(&ring);
}

/* --- a growth that fails while another peer is revoked ---------------------------------------- */

#define BLOCKS_OF_A_NODE 64 /* of the tree that finds them: the next block needs another node */
#define GROWTHS 40

/* Open all the while: who is refused memory may not be able to open it. */
static int make_it_fail;

/* Every node of a tree that this thread asks for is refused; all else is not. */
static bool refuse_nodes(void)
{
	int cache = open("/sys/kernel/slab/radix_tree_node/failslab", O_WRONLY | O_CLOEXEC);
	bool can_filter = cache >= 0 && write(cache, "1", 1) == 1;

	close(cache);
	make_it_fail = open("/proc/thread-self/make-it-fail", O_WRONLY | O_CLOEXEC);
	if (!can_filter || make_it_fail < 0)
		return false;
	set_knob("failslab/cache-filter", "Y");
	set_knob("failslab/task-filter", "Y");
	set_knob("failslab/times", "-1");
	set_knob("failslab/probability", "100");
	return pwrite(make_it_fail, "1", 1, 0) == 1;
}

static void refuse_nothing(void)
{
	EV_EQ(pwrite(make_it_fail, "0", 1, 0), 1);
	set_knob("failslab/probability", "0");
	set_knob("failslab/task-filter", "N");
	set_knob("failslab/cache-filter", "N");
	close(make_it_fail);
}

struct revoker {
	pthread_t thread;
	int seg;
	bool stop;
	unsigned int revoked;
};

static void *revoke_again_and_again(void *arg)
{
	struct revoker *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		struct ev_peer peer = ev_attach_observer(r->seg);

		EV_EQ(ev_revoke(r->seg, peer.slot, peer.incarnation), 0);
		close(peer.fd);
		r->revoked++;
	}
	return NULL;
}

static void fault_in_growth_meets_no_revocation(void **state)
{
	struct ev_shape shape = { .shared_size = (BLOCKS_OF_A_NODE - 2) * EV_BLOCK,
				  .peers_max = 2 };
	const char *only = *state;
	struct revoker r = { .stop = false };
	struct evering_info before;
	uint64_t offset;
	int i;

	if (only && strcmp(only, "growth"))
		return;
	r.seg = ev_create(&shape);
	before = ev_info();
	if (!refuse_nodes()) {
		close(r.seg);
		print_message("# skip: no fault filter by cache here\n");
		skip();
	}
	EV_EQ(pthread_create(&r.thread, NULL, revoke_again_and_again, &r), 0);
	for (i = 0; i < GROWTHS; i++)
		EV_EQ(ev_grow(r.seg, 4 * EV_BLOCK, &offset), -ENOMEM);
	__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
	EV_EQ(pthread_join(r.thread, NULL), 0);
	refuse_nothing();
	print_message("# %d growths failed, %u peers were revoked\n", GROWTHS, r.revoked);
	EV_CHECK(r.revoked > 0);
	await_totals(&before);
	EV_EQ(ev_grow(r.seg, 4 * EV_BLOCK, &offset), 0);
	close(r.seg);
}

int main(int argc, char **argv)
{
	char *only = argc > 1 ? argv[1] : NULL;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(fault_in_every_command_leaves_nothing, only),
		cmocka_unit_test_prestate(fault_in_every_other_call_leaves_nothing, only),
		cmocka_unit_test_prestate(fault_in_growth_meets_no_revocation, only),
	};

	/* Open before anything is armed: its own open could fail. */
	fail_nth = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	if (fail_nth < 0) {
		printf("1..0 # SKIP no %s: this kernel has no fault injection\n", FAIL_NTH);
		return 77;
	}
	set_knobs();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
