/* SPDX-License-Identifier: MIT */
/*
 * What a death leaves in a heap: a real process is killed before its n-th access to
 * shared memory, for each n, in each thing that it can do with a heap; then it is
 * reaped, by a process that may be killed as well, and every granule must be free again.
 *
 * Mutants seen to fail here: claims, slabs, stores or blocks on their way that are not
 * reaped (most), a chunk whose bit is not set before a claim or a transfer, a run that is
 * released by halves, bits emptied before their chunks were settled (reap_reaper_*), bits of
 * dead holders that stay (reap_holder_*), the head of one claim freed as a part of another
 * (reap_two_threads_*), generations that are kept only after the claim (reap_granules_*).
 */
#include "die.h"

#include <sched.h>
#include <sys/mman.h>

#define HEAP_SZ (192U << 10)

/* What parent and child tell each other, in memory that is not the segment's. */
/* Atomic: who sees a flag sees what was written before it. */
struct talk {
	struct evr_peer_id child, parent;
	_Atomic uint32_t child_ready, parent_ready;
	uint64_t handles[8];
	_Atomic uint32_t sent; /* of handles: published by the child */
	_Atomic uint32_t lives; /* of handles: over */
};

struct scene {
	struct pair *pair;
	struct evr_heap heap; /* the parent's */
	struct talk *talk;
};

static int open_scene(void **state)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options), .sz = HEAP_SZ };
	struct scene *scene = calloc(1, sizeof(*scene));
	void *pair;

	if (!scene || pair_open_sized(&pair, 512 << 10))
		return -1;
	scene->pair = pair;
	scene->talk = mmap(NULL, sizeof(*scene->talk), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	*state = scene;
	return evr_heap_create(scene->pair->peer, "heap", &options) ||
	       evr_heap_open(&scene->heap, scene->pair->peer, "heap");
}

static int close_scene(void **state)
{
	struct scene *scene = *state;
	void *pair = scene->pair;

	evr_heap_close(&scene->heap);
	munmap(scene->talk, sizeof(*scene->talk));
	free(scene);
	return pair_close(&pair);
}

static void assert_empty(struct evr_heap *heap, uint64_t n)
{
	struct evr_heap_usage usage;

	evr_heap_trim(heap);
	evr_heap_usage(heap, &usage);
	if (usage.blocks || usage.cached || usage.bytes_free != usage.bytes_max || usage.corrupt)
		fail_msg("death %llu: %llu blocks, %llu cached, %llu slabs, %llu runs, %llu of %llu "
			 "bytes free, %llu corrupt",
			 (unsigned long long)n, (unsigned long long)usage.blocks,
			 (unsigned long long)usage.cached, (unsigned long long)usage.slabs,
			 (unsigned long long)usage.runs, (unsigned long long)usage.bytes_free,
			 (unsigned long long)usage.bytes_max, (unsigned long long)usage.corrupt);
}

typedef void scene_fn(struct evr_peer *peer, struct evr_heap *heap, struct talk *talk);

static pid_t child_start(struct scene *scene, uint64_t n, scene_fn *fn)
{
	struct talk *talk = scene->talk;
	struct evr_peer *peer;
	struct evr_heap heap;
	pid_t pid;

	memset(talk, 0, sizeof(*talk));
	talk->parent = evr_peer_self(scene->pair->peer);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid)
		return pid;
	alarm(60);
	CHECK(!evr_peer_attach(&peer, scene->pair->segment, NULL));
	talk->child = evr_peer_self(peer);
	talk->child_ready = 1;
	while (!talk->parent_ready)
		sched_yield();
	steps = 0;
	steps_to_live = n;
	CHECK(!evr_heap_open(&heap, peer, "heap"));
	fn(peer, &heap, talk);
	evr_heap_close(&heap);
	_exit(0);
}

/* False when it came to the end alive. */
static bool child_end(pid_t pid)
{
	int status = -1;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status))
		assert_int_equal(status, 0);
	else
		assert_int_equal(WTERMSIG(status), SIGKILL);
	return WIFSIGNALED(status);
}

/* A fork with the address sanitizer's memory takes 5 ms: under it one in three, all with EVERING_TEST_LONG. */
static uint64_t stride(void)
{
#ifdef __SANITIZE_ADDRESS__
	return getenv("EVERING_TEST_LONG") ? 1 : 3;
#else
	return 1;
#endif
}

static void tell_of_sweep(uint64_t n)
{
	printf("# died before %llu accesses, one in %llu\n", (unsigned long long)((n - 1) / stride() - 1),
	       (unsigned long long)stride());
	assert_true(n < STEPS_MAX);
}

/* Let the child die before each of its accesses; then receive what it sent, and settle the rest. */
static void sweep(struct scene *scene, scene_fn *fn, void (*before)(struct scene *scene))
{
	struct talk *talk = scene->talk;
	uint64_t n;
	uint32_t i;
	bool died;
	pid_t pid;

	for (n = 1, died = true; died && n < STEPS_MAX; n += stride()) {
		pid = child_start(scene, n, fn);
		while (!talk->child_ready)
			sched_yield();
		if (before)
			before(scene);
		talk->parent_ready = 1;
		died = child_end(pid);
		pair_settle(scene->pair);
		for (i = 0; i < talk->sent; i++)
			assert_int_equal(evr_heap_free(&scene->heap, talk->handles[i]), 0);
		assert_true(evr_heap_settle(&scene->heap, talk->child) >= 0);
		assert_empty(&scene->heap, n);
	}
	tell_of_sweep(n);
}

/* Some of each: a small slab, one of several granules, a run. */
static void use_sizes(struct evr_peer *peer, struct evr_heap *heap, struct talk *talk)
{
	static const uint64_t sizes[] = { 480, 480, 1100, 9000 };
	struct evr_block blocks[4];
	int i;

	for (i = 0; i < 4; i++)
		CHECK((blocks[i] = evr_heap_alloc(heap, sizes[i])).ptr);
	CHECK(evr_heap_realloc(heap, &blocks[3], 20000) >= 0);
	CHECK(evr_heap_realloc(heap, &blocks[3], 6000) >= 0);
	for (i = 0; i < 4; i++)
		CHECK(!evr_heap_free(heap, blocks[i].handle));
	CHECK(evr_heap_alloc(heap, 480).ptr);
	CHECK(evr_heap_alloc(heap, 5000).ptr);
}

static void reap_user_killed_at_each_step_leaves_nothing(void **state)
{
	sweep(*state, use_sizes, NULL);
}

static struct evr_heap *second;
static struct talk *second_talk;
static uint64_t first_to_live, second_to_live;

/* The turn of another thread, that comes so far; then both are dead. */
static void claim_in_between(void *arg)
{
	steps_turn = NULL;
	steps = 0;
	steps_to_live = second_to_live;
	evr_heap_alloc(second, 3 * 4096);
	second_talk->child_ready = 2;
	raise(SIGKILL);
}

static void use_two_threads(struct evr_peer *peer, struct evr_heap *heap, struct talk *talk)
{
	struct evr_heap other;

	CHECK(!evr_heap_open(&other, peer, "heap"));
	second = &other;
	second_talk = talk;
	steps_turn = claim_in_between;
	steps_to_live = steps + first_to_live;
	CHECK(evr_heap_alloc(heap, 4 * 4096).ptr);
	_exit(0);
}

static void reap_two_threads_killed_in_their_claims_leave_nothing(void **state)
{
	struct scene *scene = *state;
	bool first = true;
	uint64_t n, k;
	pid_t pid;

	for (n = 1; first; n += stride()) {
		for (k = 1; first; k += stride()) {
			assert_true(n < STEPS_MAX && k < STEPS_MAX);
			first_to_live = n;
			second_to_live = k;
			pid = child_start(scene, 0, use_two_threads);
			scene->talk->parent_ready = 1;
			first = child_end(pid);
			pair_settle(scene->pair);
			assert_empty(&scene->heap, n);
			if (scene->talk->child_ready == 2)
				break;
		}
	}
	tell_of_sweep(n);
}

/* Slabs fill up, the store overflows, another handle of the same peer frees and adopts. */
static void use_slabs(struct evr_peer *peer, struct evr_heap *heap, struct talk *talk)
{
	struct evr_block blocks[20];
	struct evr_heap other;
	int i;

	CHECK(!evr_heap_open(&other, peer, "heap"));
	for (i = 0; i < 20; i++)
		CHECK((blocks[i] = evr_heap_alloc(&other, 480)).ptr);
	for (i = 0; i < 10; i++)
		CHECK(!evr_heap_free(heap, blocks[i].handle));
	evr_heap_close(&other);
	CHECK(evr_heap_alloc(heap, 480).ptr);
	for (; i < 20; i++)
		CHECK(!evr_heap_free(heap, blocks[i].handle));
	evr_heap_trim(heap);
}

/* Lives of blocks of several sizes, over again; their slabs are given back. */
static void use_lives(struct evr_peer *peer, struct evr_heap *heap, struct talk *talk)
{
	static const uint64_t sizes[] = { 480, 1100 };
	struct evr_block block;
	int i;

	for (i = 0; i < 8; i++) {
		CHECK((block = evr_heap_alloc(heap, sizes[i % 2])).ptr);
		talk->handles[i] = block.handle;
		CHECK(!evr_heap_free(heap, block.handle));
	}
	talk->lives = 8;
	evr_heap_trim(heap);
}

/* Of whatever lies there now, none has a life of before. */
static void assert_lives_are_over(struct scene *scene)
{
	static const uint64_t sizes[] = { 480, 1100, 4000, 5000 };
	struct evr_block blocks[48];
	uint32_t i, j;

	for (i = 0; i < 4; i++) {
		for (j = 0; j < 48; j++) {
			blocks[j] = evr_heap_alloc(&scene->heap, sizes[i]);
			if (!blocks[j].ptr)
				break;
		}
		assert_true(j > 0);
		for (uint32_t k = 0; k < scene->talk->lives; k++)
			assert_null(evr_heap_resolve(&scene->heap, scene->talk->handles[k], NULL));
		while (j--)
			assert_int_equal(evr_heap_free(&scene->heap, blocks[j].handle), 0);
		evr_heap_trim(&scene->heap);
	}
}

static void reap_granules_killed_at_each_step_repeat_no_handle(void **state)
{
	struct scene *scene = *state;
	bool died = true;
	uint64_t n;
	pid_t pid;

	for (n = 1; died && n < STEPS_MAX; n += stride()) {
		pid = child_start(scene, n, use_lives);
		scene->talk->parent_ready = 1;
		died = child_end(pid);
		pair_settle(scene->pair);
		assert_lives_are_over(scene);
		assert_empty(&scene->heap, n);
	}
	tell_of_sweep(n);
}

static void reap_slabs_killed_at_each_step_leave_nothing(void **state)
{
	sweep(*state, use_slabs, NULL);
}

/* Transfers to the parent, which receives what was published. */
static void use_transfers(struct evr_peer *peer, struct evr_heap *heap, struct talk *talk)
{
	static const uint64_t sizes[] = { 480, 1100, 9000, 480 };
	struct evr_block block;
	int i;

	for (i = 0; i < 4; i++) {
		CHECK((block = evr_heap_alloc(heap, sizes[i])).ptr);
		CHECK(!evr_heap_transfer(heap, block.handle, talk->parent));
		if (i == 3) {
			CHECK(!evr_heap_recall(heap, block.handle, talk->parent));
			break;
		}
		talk->handles[i] = block.handle;
		talk->sent = (uint32_t)i + 1; /* published */
	}
}

static void reap_sender_killed_at_each_step_loses_no_block(void **state)
{
	sweep(*state, use_transfers, NULL);
}

/* Before the child goes on: blocks on their way to it. */
static void send_some(struct scene *scene)
{
	static const uint64_t sizes[] = { 480, 1100, 9000, 480, 9000 };
	struct evr_block block;
	int i;

	for (i = 0; i < 5; i++) {
		block = evr_heap_alloc(&scene->heap, sizes[i]);
		assert_non_null(block.ptr);
		assert_int_equal(evr_heap_transfer(&scene->heap, block.handle, scene->talk->child),
				 0);
		scene->talk->handles[i] = block.handle;
	}
}

static void use_received(struct evr_peer *peer, struct evr_heap *heap, struct talk *talk)
{
	CHECK(!evr_heap_accept(heap, talk->handles[0]));
	CHECK(!evr_heap_free(heap, talk->handles[1]));
	CHECK(!evr_heap_accept(heap, talk->handles[2]));
	CHECK(!evr_heap_free(heap, talk->handles[2]));
	CHECK(!evr_heap_free(heap, talk->handles[0]));
	CHECK(!evr_heap_free(heap, talk->handles[4]));
	/* handles[3] it never takes. */
}

static void reap_receiver_killed_at_each_step_keeps_no_block(void **state)
{
	sweep(*state, use_received, send_some);
}

static void use_forwarded(struct evr_peer *peer, struct evr_heap *heap, struct talk *talk)
{
	int i;

	for (i = 0; i < 3; i++) {
		CHECK(!evr_heap_accept(heap, talk->handles[i]));
		CHECK(!evr_heap_transfer(heap, talk->handles[i], talk->parent));
		talk->sent = (uint32_t)i + 1;
	}
}

static void reap_forwarder_killed_at_each_step_loses_no_block(void **state)
{
	sweep(*state, use_forwarded, send_some);
}

/* The child shares with the parent and itself; what the parent shared it holds and drops. */
static void use_shares(struct evr_peer *peer, struct evr_heap *heap, struct talk *talk)
{
	struct evr_peer_id both[2] = { talk->parent, evr_peer_self(peer) };
	struct evr_block block;

	CHECK((block = evr_heap_alloc_shared(heap, 400)).ptr);
	CHECK(evr_heap_share(heap, block.handle, both, 2) == 2);
	/* Shared, and not published yet. */
	CHECK(evr_heap_resolve(heap, block.handle, NULL));
	talk->handles[0] = block.handle;
	talk->sent = 1;
	CHECK(!evr_heap_hold(heap, block.handle));
	CHECK((block = evr_heap_alloc_shared(heap, 5000)).ptr);
	CHECK(evr_heap_share(heap, block.handle, both + 1, 1) == 1);
	CHECK(!evr_heap_drop(heap, block.handle));
	CHECK(!evr_heap_hold(heap, talk->handles[4]));
	CHECK(!evr_heap_drop(heap, talk->handles[5]));
	CHECK(!evr_heap_drop(heap, talk->handles[4]));
}

static void share_some(struct scene *scene)
{
	struct evr_peer_id both[2] = { scene->talk->parent, scene->talk->child };
	struct evr_block block;
	int i;

	for (i = 4; i < 6; i++) {
		block = evr_heap_alloc_shared(&scene->heap, i == 4 ? 400 : 5000);
		assert_non_null(block.ptr);
		assert_int_equal(evr_heap_share(&scene->heap, block.handle, both, 2), 2);
		scene->talk->handles[i] = block.handle;
		assert_int_equal(evr_heap_drop(&scene->heap, block.handle), 0);
	}
}

static void reap_holder_killed_at_each_step_holds_nothing(void **state)
{
	sweep(*state, use_shares, share_some);
}

/* Dies with some of everything. */
static void leave_all(struct evr_peer *peer, struct evr_heap *heap, struct talk *talk)
{
	struct evr_peer_id self = evr_peer_self(peer);
	struct evr_block block;

	CHECK(evr_heap_alloc(heap, 480).ptr);
	CHECK(evr_heap_alloc(heap, 1100).ptr);
	CHECK(evr_heap_alloc(heap, 9000).ptr);
	CHECK((block = evr_heap_alloc(heap, 9000)).ptr);
	CHECK(!evr_heap_transfer(heap, block.handle, self));
	CHECK((block = evr_heap_alloc_shared(heap, 400)).ptr);
	CHECK(evr_heap_share(heap, block.handle, &self, 1) == 1);
	CHECK(!evr_heap_accept(heap, talk->handles[0]));
	raise(SIGKILL);
}

/* Attaching reaps. */
static void reaper_start(struct scene *scene, uint64_t n)
{
	struct evr_peer *peer;

	alarm(60);
	steps = 0;
	steps_to_live = n;
	CHECK(!evr_peer_attach(&peer, scene->pair->segment, NULL));
	CHECK(evr_reap_dead(peer, NULL) >= 0);
	_exit(0);
}

static void reap_reaper_killed_at_each_step_is_followed_by_another(void **state)
{
	struct scene *scene = *state;
	uint64_t n;
	bool died;
	pid_t pid;

	evr_reap_auto(scene->pair->peer, false);
	for (n = 1, died = true; died && n < STEPS_MAX; n += stride()) {
		pid = child_start(scene, 0, leave_all);
		while (!scene->talk->child_ready)
			sched_yield();
		send_some(scene);
		scene->talk->parent_ready = 1;
		assert_true(child_end(pid));
		fflush(NULL);
		pid = fork();
		assert_true(pid >= 0);
		if (!pid)
			reaper_start(scene, n);
		died = child_end(pid);
		pair_settle(scene->pair);
		assert_empty(&scene->heap, n);
	}
	tell_of_sweep(n);
}

static void reap_report_counts_blocks(void **state)
{
	struct evr_reap_report report = { 0 };
	struct evr_heap_usage usage;
	uint64_t cached;
	struct scene *scene = *state;
	pid_t pid;

	evr_reap_auto(scene->pair->peer, false);
	pid = child_start(scene, 0, leave_all);
	while (!scene->talk->child_ready)
		sched_yield();
	send_some(scene);
	evr_heap_usage(&scene->heap, &usage);
	cached = usage.cached;
	assert_true(cached > 0);
	scene->talk->parent_ready = 1;
	assert_true(child_end(pid));
	while (!report.peers) {
		evr_peer_check(scene->pair->peer);
		assert_true(evr_reap_dead(scene->pair->peer, &report) >= 0);
	}
	/* What the living have in store is theirs. */
	evr_heap_usage(&scene->heap, &usage);
	assert_int_equal(usage.cached, cached);
	/* Five of its own, one accepted, four on their way to it. */
	assert_int_equal(report.blocks, 10);
	assert_true(report.block_bytes >= 480 * 4 + 1100 * 2 + 9000 * 4);
	assert_empty(&scene->heap, 0);
}

/* A dead one's block that a third, living peer has sent on is not the dead one's. */
static void reap_forwarded_by_the_living_stays(void **state)
{
	struct evr_block_info info;
	struct scene *scene = *state;
	struct talk *talk = scene->talk;
	uint64_t handle;
	pid_t pid;

	pid = child_start(scene, 0, use_transfers);
	talk->parent_ready = 1;
	assert_false(child_end(pid));
	assert_int_equal(talk->sent, 3);
	handle = talk->handles[0];
	assert_int_equal(evr_heap_accept(&scene->heap, handle), 0);
	assert_int_equal(evr_heap_transfer(&scene->heap, handle, talk->parent), 0);
	pair_settle(scene->pair);
	/* The other two it had sent, and we have not received them: taken for unpublished. */
	assert_int_equal(evr_heap_settle(&scene->heap, talk->child), 2);
	assert_int_equal(evr_heap_info(&scene->heap, handle, &info), 0);
	assert_int_equal(info.state, EVR_BLOCK_INFLIGHT);
	assert_int_equal(evr_heap_settle(&scene->heap, talk->parent), -EBUSY);
	assert_int_equal(evr_heap_free(&scene->heap, handle), 0);
	assert_empty(&scene->heap, 0);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_scene, close_scene)
	const struct CMUnitTest tests[] = {
		CASE(reap_user_killed_at_each_step_leaves_nothing),
		CASE(reap_two_threads_killed_in_their_claims_leave_nothing),
		CASE(reap_slabs_killed_at_each_step_leave_nothing),
		CASE(reap_granules_killed_at_each_step_repeat_no_handle),
		CASE(reap_sender_killed_at_each_step_loses_no_block),
		CASE(reap_receiver_killed_at_each_step_keeps_no_block),
		CASE(reap_forwarder_killed_at_each_step_loses_no_block),
		CASE(reap_holder_killed_at_each_step_holds_nothing),
		CASE(reap_reaper_killed_at_each_step_is_followed_by_another),
		CASE(reap_report_counts_blocks),
		CASE(reap_forwarded_by_the_living_stays),
	};

	return cmocka_run_group_tests_name("heap_reap", tests, NULL, NULL);
}
