/* SPDX-License-Identifier: MIT */
/*
 * Pools: exhaustion, spilling, waiting; and what a death at each access to shared
 * memory leaves of them.
 *
 * Mutants seen to fail here: no wake after a free (pool_waiters_*), a claim that names
 * nobody (pool_exhausted_* and others), a seat's owner looked at before its need word
 * (pool_next_in_a_seat_*), a batch that wakes nobody (pool_batch_*), one that leaves what it has
 * named with the dead (pool_batches_*), a successor taken for the dead (pool_settle_*).
 */
#include "die.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

/* For its words. */
#include "pool.c"

/* What parent and children tell each other, in memory that is not the segment's. */
static struct talk {
	struct evr_peer_id child;
	_Atomic uint32_t child_ready, parent_ready;
	_Atomic uint32_t done[8];
	uint64_t handles[4];
	_Atomic uint32_t sent;
} *talk;

static const struct evr_pool_options few = { .struct_sz = sizeof(few),
					     .classes = { { 64, 2 }, { 200, 1 }, { 4096, 1 } } };

static int open_pool(void **state)
{
	struct pair *pair;

	if (pair_open(state))
		return -1;
	pair = *state;
	talk = mmap(NULL, sizeof(*talk), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return evr_pool_create(pair->peer, "pool", &few);
}

static int close_pool(void **state)
{
	munmap(talk, sizeof(*talk));
	return pair_close(state);
}

static void assert_empty(struct evr_pool *pool, uint64_t n)
{
	struct evr_pool_usage usage;
	uint32_t i;

	evr_pool_usage(pool, &usage);
	for (i = 0; i < usage.classes; i++)
		if (usage.class_[i].used)
			fail_msg("death %llu: %u of %u blocks of %u bytes are used",
				 (unsigned long long)n, usage.class_[i].used, usage.class_[i].nr,
				 usage.class_[i].sz);
}

static void pool_exhausted_spills_and_is_told(void **state)
{
	struct evr_block blocks[4], none = { &none, 1 };
	struct pair *pair = *state;
	struct evr_pool_usage usage;
	struct evr_pool pool;
	uint64_t sz = 1;
	int i;

	assert_int_equal(evr_pool_open(&pool, pair->peer, "pool"), 0);
	for (i = 0; i < 4; i++) {
		assert_int_equal(evr_pool_alloc(&pool, 64, &blocks[i]), 0);
		assert_ptr_equal(evr_pool_resolve(&pool, blocks[i].handle, &sz), blocks[i].ptr);
		assert_int_equal(sz, i < 2 ? 64 : i < 3 ? 208 : 4096);
		memset(blocks[i].ptr, i, sz);
	}
	for (i = 0; i < 4; i++)
		assert_int_equal(((unsigned char *)blocks[i].ptr)[63], i);
	assert_int_equal(evr_pool_alloc(&pool, 64, &none), -ENOBUFS);
	assert_null(none.ptr);
	assert_int_equal(evr_pool_alloc(&pool, 4096, &none), -ENOBUFS);
	assert_int_equal(evr_pool_alloc(&pool, 4097, &none), -EMSGSIZE);
	evr_pool_usage(&pool, &usage);
	assert_int_equal(usage.classes, 3);
	assert_int_equal(usage.class_[0].used, 2);
	assert_int_equal(usage.class_[1].spilled, 1);
	assert_int_equal(usage.class_[2].spilled, 1);
	assert_int_equal(usage.class_[0].exhausted, 3);
	for (i = 0; i < 4; i++) {
		assert_int_equal(evr_pool_free(&pool, blocks[i].handle), 0);
		assert_int_equal(evr_pool_free(&pool, blocks[i].handle), -ESTALE);
		assert_null(evr_pool_resolve(&pool, blocks[i].handle, &sz));
		assert_int_equal(evr_pool_free(&pool, blocks[i].handle + 1), -ESTALE);
	}
	assert_int_equal(evr_pool_free(&pool, ~0ULL), -ESTALE);
	assert_int_equal(evr_pool_alloc(&pool, 65, &blocks[0]), 0);
	assert_non_null(evr_pool_resolve(&pool, blocks[0].handle, &sz));
	assert_int_equal(sz, 208);
	assert_int_equal(evr_pool_free(&pool, blocks[0].handle), 0);
	assert_empty(&pool, 0);
	evr_pool_close(&pool);
	evr_pool_close(&pool);
	assert_int_equal(evr_pool_alloc(&pool, 64, &none), -EINVAL);
}

static void pool_batches_take_what_there_is(void **state)
{
	struct pair *pair = *state;
	struct evr_peer_id self = evr_peer_self(pair->peer),
			   nobody = { .slot = 7, .incarnation = 1 };
	struct evr_block blocks[5];
	struct evr_pool pool;
	uint64_t handles[5];
	int i;

	assert_int_equal(evr_pool_open(&pool, pair->peer, "pool"), 0);
	assert_int_equal(evr_pool_alloc_many(&pool, 64, 0, NULL), 0);
	assert_int_equal(evr_pool_alloc_many(&pool, 64, 1, blocks), 1);
	assert_int_equal(evr_pool_alloc_many(&pool, 64, 5, blocks + 1), 3);
	assert_null(blocks[4].ptr);
	assert_int_equal(evr_pool_alloc_many(&pool, 64, 1, blocks + 4), -ENOBUFS);
	assert_int_equal(evr_pool_alloc_many(&pool, 4097, 1, blocks + 4), -EMSGSIZE);
	for (i = 0; i < 4; i++)
		handles[i] = blocks[i].handle;
	handles[4] = handles[0];
	assert_int_equal(evr_pool_transfer_many(&pool, handles, 0, self), 0);
	/* All of them stay ours. */
	assert_int_equal(evr_pool_transfer_many(&pool, handles, 4, nobody), -EOWNERDEAD);
	nobody.slot = EVR_PEERS_MAX;
	assert_int_equal(evr_pool_transfer_many(&pool, handles, 4, nobody), -EOWNERDEAD);
	/* It stops at the one that is on its way already. */
	assert_int_equal(evr_pool_transfer_many(&pool, handles, 5, self), 4);
	assert_int_equal(evr_pool_transfer_many(&pool, handles, 4, self), -ESTALE);
	for (i = 0; i < 4; i++)
		assert_int_equal(evr_pool_accept(&pool, handles[i]), 0);
	assert_int_equal(evr_pool_free_many(&pool, handles, 0), 0);
	/* The fifth is the first once more. */
	assert_int_equal(evr_pool_free_many(&pool, handles, 5), 4);
	assert_int_equal(evr_pool_free_many(&pool, handles, 5), 0);
	assert_empty(&pool, 0);
	evr_pool_close(&pool);
	assert_int_equal(evr_pool_alloc_many(&pool, 64, 1, blocks), -EINVAL);
	assert_int_equal(evr_pool_transfer_many(&pool, handles, 1, self), -EINVAL);
	assert_int_equal(evr_pool_free_many(&pool, handles, 1), 0);
}

/* As the heap's test of this name. */
static void pool_settle_spares_the_blocks_of_a_successor_with_the_same_stamp(void **state)
{
	struct evr_peer_options options = { .struct_sz = sizeof(options),
					    .slot = 5,
					    .slot_set = true };
	struct pair *pair = *state;
	struct evr_peer_id dead, self = evr_peer_self(pair->peer);
	struct evr_pool pool, sender;
	struct evr_block block;
	struct evr_peer *peer;

	assert_int_equal(evr_pool_open(&pool, pair->peer, "pool"), 0);
	assert_int_equal(evr_peer_attach(&peer, pair->segment, &options), 0);
	dead = evr_peer_self(peer);
	do {
		evr_peer_detach(peer);
		pair_settle(pair);
		assert_int_equal(evr_peer_attach(&peer, pair->segment, &options), 0);
	} while (evr_peer_self(peer).incarnation - dead.incarnation < 256);
	assert_int_equal(evr_pool_open(&sender, peer, "pool"), 0);
	assert_int_equal(evr_pool_alloc(&sender, 64, &block), 0);
	assert_int_equal(evr_pool_transfer(&sender, block.handle, self), 0);
	assert_int_equal(evr_pool_settle(&pool, evr_peer_self(peer)), -EBUSY);
	assert_int_equal(evr_pool_settle(&pool, dead), -EBUSY);
	assert_int_equal(evr_pool_accept(&pool, block.handle), 0);
	assert_int_equal(evr_pool_free(&pool, block.handle), 0);
	evr_pool_close(&sender);
	evr_peer_detach(peer);
	pair_settle(pair);
	dead.incarnation++;
	assert_int_equal(evr_pool_settle(&pool, dead), 0);
	evr_pool_close(&pool);
}

/* More handles than can wait: they do all but that. */
static void pool_handle_without_a_seat_is_told(void **state)
{
	struct evr_pool pools[EVR_POOL_SEATS_MAX + 1];
	struct pair *pair = *state;
	struct evr_block block, none;
	struct evr_waiter waiter;
	int i;

	for (i = 0; i <= EVR_POOL_SEATS_MAX; i++)
		assert_int_equal(evr_pool_open(&pools[i], pair->peer, "pool"), 0);
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	i = EVR_POOL_SEATS_MAX;
	assert_int_equal(evr_pool_alloc_wait(&pools[i], &waiter, 4096, &block, 0), 0);
	assert_int_equal(evr_pool_alloc_wait(&pools[i], &waiter, 4096, &none, 0), -EBUSY);
	assert_int_equal(evr_pool_alloc_wait(&pools[i - 1], &waiter, 4096, &none, 0), -ETIMEDOUT);
	/* A seat that was given back serves the next. */
	evr_pool_close(&pools[3]);
	assert_int_equal(evr_pool_open(&pools[3], pair->peer, "pool"), 0);
	assert_int_equal(evr_pool_alloc_wait(&pools[3], &waiter, 4096, &none, 0), -ETIMEDOUT);
	assert_int_equal(evr_pool_free(&pools[i], block.handle), 0);
	evr_waiter_fini(&waiter);
	for (i = 0; i <= EVR_POOL_SEATS_MAX; i++)
		evr_pool_close(&pools[i]);
}

static void pool_options_are_checked(void **state)
{
	struct evr_pool_options options = { .struct_sz = sizeof(options) };
	struct pair *pair = *state;
	struct evr_pool pool;

	assert_int_equal(evr_pool_create(pair->peer, "bad", &options), -EINVAL);
	options.classes[0] = (struct evr_pool_class){ 64, 0 };
	assert_int_equal(evr_pool_create(pair->peer, "bad", &options), -EINVAL);
	options.classes[0].nr = 1;
	options.classes[1] = (struct evr_pool_class){ 64, 1 };
	assert_int_equal(evr_pool_create(pair->peer, "bad", &options), -EINVAL);
	options.classes[1] = (struct evr_pool_class){ 128, 1U << 20 };
	assert_int_equal(evr_pool_create(pair->peer, "bad", &options), -EINVAL);
	options.classes[1].nr--;
	assert_int_equal(evr_pool_create(pair->peer, "bad", &options), -ENOSPC);
	options.classes[1].nr = 1;
	assert_int_equal(evr_pool_create(pair->peer, "good", &options), 0);
	assert_int_equal(evr_spsc_create(pair->peer, "ring", NULL), 0);
	assert_int_equal(evr_pool_open(&pool, pair->peer, "ring"), -EINVAL);
	assert_int_equal(evr_pool_open(&pool, pair->peer, "none"), -ENOENT);
}

static void pool_hostile_geometry_is_found(void **state)
{
	struct pair *pair = *state;
	struct pool_geometry *g;
	struct evr_object object;
	struct evr_pool pool;

	assert_int_equal(evr_dir_find(pair->peer, "pool", &object), 0);
	g = evr_peer_at(pair->peer, object.off, object.sz);
	g->classes[2].nr = 0xffff;
	assert_int_equal(evr_pool_open(&pool, pair->peer, "pool"), -EBADMSG);
	g->classes[2].nr = 1;
	g->classes_nr = 17;
	assert_int_equal(evr_pool_open(&pool, pair->peer, "pool"), -EBADMSG);
	g->classes_nr = 3;
	g->layout ^= 1ULL << 48;
	assert_int_equal(evr_pool_open(&pool, pair->peer, "pool"), -EPROTO);
	g->layout ^= 1;
	assert_int_equal(evr_pool_open(&pool, pair->peer, "pool"), -EBADMSG);
	assert_true(evr_reap_dead(pair->peer, NULL) >= 0);
}

static void pool_hostile_words_do_no_harm(void **state)
{
	struct pair *pair = *state;
	struct evr_object object;
	struct evr_block block;
	struct evr_pool pool;
	uint64_t seed = 3, *words, all, i, sz;

	assert_int_equal(evr_dir_find(pair->peer, "pool", &object), 0);
	assert_int_equal(evr_pool_open(&pool, pair->peer, "pool"), 0);
	words = evr_peer_at(pair->peer, object.off, object.sz);
	all = sizeof(struct pool_header) / 8 + 4;
	for (i = 0; i < 20000; i++) {
		words[pair_random(&seed) % all] = pair_random(&seed) % 3 ? pair_random(&seed) :
									   pair_random(&seed) % 64;
		if (!evr_pool_alloc(&pool, 1 + pair_random(&seed) % 300, &block)) {
			assert_true(evr_peer_off(pair->peer, block.ptr) >= (int64_t)object.off);
			assert_true(evr_peer_off(pair->peer, block.ptr) <
				    (int64_t)(object.off + object.sz));
			evr_pool_free(&pool, block.handle);
		}
		evr_pool_resolve(&pool, pair_random(&seed), &sz);
		if (i % 1000 == 0)
			assert_true(evr_reap_dead(pair->peer, NULL) >= 0);
	}
	evr_pool_close(&pool);
}

/* Each waits for the one large block, holds it a moment, and frees it. */
static void take_turns(struct evr_peer *peer, void *arg)
{
	struct evr_waiter waiter;
	struct evr_block block;
	struct evr_pool pool;
	int i;

	CHECK(!evr_pool_open(&pool, peer, "pool"));
	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_SLEEP));
	for (i = 0; i < 300; i++) {
		CHECK(!TIMELY(evr_pool_alloc_wait(&pool, &waiter, 4096, &block, until_ns)));
		*(volatile uint32_t *)block.ptr += 1;
		if (i % 16 == 0)
			sched_yield();
		CHECK(!evr_pool_free(&pool, block.handle));
	}
	evr_waiter_fini(&waiter);
	evr_pool_close(&pool);
}

static void pool_waiters_all_get_their_turn(void **state)
{
	struct pair *pair = *state;
	struct evr_block block;
	struct evr_pool pool;
	pid_t pids[3];
	int i;

	assert_int_equal(evr_pool_open(&pool, pair->peer, "pool"), 0);
	assert_int_equal(evr_pool_alloc(&pool, 4096, &block), 0);
	*(uint32_t *)block.ptr = 0;
	for (i = 0; i < 3; i++)
		pids[i] = pair_fork(pair, take_turns, NULL);
	pair_sleep_us(20000);
	assert_int_equal(evr_pool_free(&pool, block.handle), 0);
	for (i = 0; i < 3; i++)
		pair_join(pids[i]);
	assert_int_equal(evr_pool_alloc(&pool, 4096, &block), 0);
	/* One at a time had it, and what each wrote was seen by the next. */
	assert_int_equal(*(uint32_t *)block.ptr, 900);
	assert_int_equal(evr_pool_free(&pool, block.handle), 0);
	assert_empty(&pool, 0);
	evr_pool_close(&pool);
}

struct succession {
	struct pair *pair;
	struct evr_pool *before; /* sits where the next will sit */
	pid_t pid; /* 0: not yet */
};

static void wait_for_large(struct evr_peer *peer, void *arg)
{
	struct evr_waiter waiter;
	struct evr_block block;
	struct evr_pool pool;

	CHECK(!evr_pool_open(&pool, peer, "pool"));
	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_SLEEP));
	CHECK(!TIMELY(evr_pool_alloc_wait(&pool, &waiter, 4096, &block, until_ns)));
	CHECK(!evr_pool_free(&pool, block.handle));
	evr_waiter_fini(&waiter);
	evr_pool_close(&pool);
}

static void take_the_seat_and_sleep(void *arg)
{
	struct succession *s = arg;
	uint64_t until = pair_deadline();
	struct pool_seat *seat;

	seat = &s->before->own->map.header->seats[s->before->own->seat];
	evr_pool_close(s->before);
	s->pid = pair_fork(s->pair, wait_for_large, NULL);
	while ((evr_a64_load_acquire(&seat->need.word) & EVR_NEED_STATE) != EVR_NEED_ASLEEP) {
		assert_true(evr_now_ns() < until);
		pair_sleep_us(1000);
	}
	/* Its last look; if that comes late, it finds what it should be woken for. */
	pair_sleep_us(20000);
}

/* Nobody else frees, and nobody dies. */
static void pool_batch_wakes_who_waits(void **state)
{
	struct pair *pair = *state;
	struct evr_pool mine, before;
	struct succession s = { pair, &before, 0 };
	struct evr_block blocks[2];
	uint64_t handles[2];

	assert_int_equal(evr_pool_open(&mine, pair->peer, "pool"), 0);
	assert_int_equal(evr_pool_open(&before, pair->peer, "pool"), 0);
	assert_int_equal(evr_pool_alloc_many(&mine, 200, 2, blocks), 2);
	take_the_seat_and_sleep(&s);
	handles[0] = blocks[0].handle;
	handles[1] = blocks[1].handle;
	assert_int_equal(evr_pool_free_many(&mine, handles, 2), 2);
	pair_join(s.pid);
	evr_pool_close(&mine);
}

/* At each access of who frees another block: it must not be taken for woken already. */
static void pool_next_in_a_seat_is_woken_too(void **state)
{
	struct evr_block large, small;
	struct evr_pool mine, before;
	struct pair *pair = *state;
	struct succession s = { pair, &before, 0 };
	struct evr_peer *other;
	uint64_t n;

	assert_int_equal(evr_peer_attach(&other, pair->segment, NULL), 0);
	assert_int_equal(evr_pool_open(&mine, pair->peer, "pool"), 0);
	for (n = 1; s.pid || n == 1; n++) {
		assert_int_equal(evr_pool_alloc(&mine, 4096, &large), 0);
		assert_int_equal(evr_pool_alloc(&mine, 64, &small), 0);
		assert_int_equal(evr_pool_open(&before, other, "pool"), 0);
		/* As one that waits leaves it, or has died. */
		evr_a64_fetch_or(&mine.own->map.header->waiting, 1ULL << before.own->seat);
		s.pid = 0;
		steps_turn = take_the_seat_and_sleep;
		steps_arg = &s;
		steps = 0;
		steps_to_live = n;
		assert_int_equal(evr_pool_free(&mine, small.handle), 0);
		steps_to_live = 0;
		assert_int_equal(evr_pool_free(&mine, large.handle), 0);
		if (s.pid)
			pair_join(s.pid);
		else
			evr_pool_close(&before);
	}
	steps_turn = NULL;
	assert_true(n > 3);
	evr_pool_close(&mine);
	evr_peer_detach(other);
}

static void pool_wait_ends_at_its_deadline(void **state)
{
	struct pair *pair = *state;
	struct evr_block block, none;
	struct evr_pool_usage usage;
	struct evr_waiter waiter;
	struct evr_pool pool;

	assert_int_equal(evr_pool_open(&pool, pair->peer, "pool"), 0);
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	assert_int_equal(evr_pool_alloc_wait(&pool, &waiter, 4096, &block, 0), 0);
	assert_int_equal(evr_pool_alloc_wait(&pool, &waiter, 4096, &none, 0), -ETIMEDOUT);
	assert_int_equal(evr_pool_alloc_wait(&pool, &waiter, 4096, &none, evr_now_ns() + 1000000),
			 -ETIMEDOUT);
	assert_int_equal(evr_pool_alloc_wait(&pool, &waiter, 5000, &none, 0), -EMSGSIZE);
	evr_pool_usage(&pool, &usage);
	assert_int_equal(usage.waiting, 0);
	assert_int_equal(evr_pool_free(&pool, block.handle), 0);
	evr_waiter_fini(&waiter);
	evr_pool_close(&pool);
}

static void hold_for_ever(struct evr_peer *peer, void *arg)
{
	struct evr_block block;
	struct evr_pool pool;

	CHECK(!evr_pool_open(&pool, peer, "pool"));
	CHECK(!evr_pool_alloc(&pool, 4096, &block));
	talk->child_ready = 1;
	for (;;)
		pause();
}

static void *kill_late(void *arg)
{
	pair_sleep_us(50000);
	kill(*(pid_t *)arg, SIGKILL);
	return NULL;
}

static void pool_holder_killed_wakes_who_waits(void **state)
{
	struct pair *pair = *state;
	struct evr_waiter waiter;
	struct evr_block block;
	struct evr_pool pool;
	pthread_t killer;
	pid_t pid;

	pid = pair_fork(pair, hold_for_ever, NULL);
	while (!talk->child_ready)
		sched_yield();
	assert_int_equal(evr_pool_open(&pool, pair->peer, "pool"), 0);
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	assert_int_equal(pthread_create(&killer, NULL, kill_late, &pid), 0);
	assert_int_equal(evr_pool_alloc_wait(&pool, &waiter, 4096, &block, pair_deadline()), 0);
	assert_int_equal(pthread_join(killer, NULL), 0);
	pair_kill(pid);
	assert_int_equal(evr_pool_free(&pool, block.handle), 0);
	evr_waiter_fini(&waiter);
	evr_pool_close(&pool);
	pair_settle(pair);
}

/* Everything that a peer does with a pool, but sleeping. */
static void use_pool(struct evr_peer *peer, struct evr_peer_id parent)
{
	struct evr_waiter waiter;
	struct evr_block block;
	struct evr_pool pool;

	CHECK(!evr_pool_open(&pool, peer, "pool"));
	CHECK(!evr_pool_accept(&pool, talk->handles[2]));
	CHECK(!evr_pool_alloc(&pool, 64, &block));
	CHECK(!evr_pool_transfer(&pool, block.handle, parent));
	talk->handles[0] = block.handle;
	talk->sent = 1;
	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_BUSY));
	CHECK(!evr_pool_alloc_wait(&pool, &waiter, 200, &block, pair_deadline()));
	CHECK(evr_pool_alloc_wait(&pool, &waiter, 4096, &block, 0) == -ETIMEDOUT);
	CHECK(!evr_pool_transfer(&pool, talk->handles[2], parent));
	CHECK(!evr_pool_recall(&pool, talk->handles[2], parent));
	CHECK(evr_pool_transfer_many(&pool, &talk->handles[2], 1, parent) == 1);
	CHECK(!evr_pool_recall(&pool, talk->handles[2], parent));
	CHECK(evr_pool_free_many(&pool, &talk->handles[2], 1) == 1);
	CHECK(evr_pool_alloc_many(&pool, 64, 1, &block) == 1);
	evr_waiter_fini(&waiter);
	evr_pool_close(&pool);
}

static pid_t user_start(struct pair *pair, uint64_t n)
{
	struct evr_peer_id parent = evr_peer_self(pair->peer);
	struct evr_peer *peer;
	pid_t pid;

	memset(talk, 0, sizeof(*talk));
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid)
		return pid;
	alarm(60);
	CHECK(!evr_peer_attach(&peer, pair->segment, NULL));
	talk->child = evr_peer_self(peer);
	talk->child_ready = 1;
	while (!talk->parent_ready)
		sched_yield();
	steps = 0;
	steps_to_live = n;
	use_pool(peer, parent);
	_exit(0);
}

static void pool_user_killed_at_each_step_keeps_no_block(void **state)
{
	struct evr_block block, large;
	struct pair *pair = *state;
	struct evr_pool pool;
	int status = -1;
	uint64_t n;
	pid_t pid;

	assert_int_equal(evr_pool_open(&pool, pair->peer, "pool"), 0);
	for (n = 1; n < STEPS_MAX; n++) {
		pid = user_start(pair, n);
		while (!talk->child_ready)
			sched_yield();
		assert_int_equal(evr_pool_alloc(&pool, 64, &block), 0);
		assert_int_equal(evr_pool_alloc(&pool, 4096, &large), 0);
		assert_int_equal(evr_pool_transfer(&pool, block.handle, talk->child), 0);
		talk->handles[2] = block.handle;
		talk->parent_ready = 1;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		pair_settle(pair);
		if (talk->sent)
			assert_int_equal(evr_pool_free(&pool, talk->handles[0]), 0);
		assert_true(evr_pool_settle(&pool, talk->child) >= 0);
		assert_int_equal(evr_pool_free(&pool, large.handle), 0);
		assert_empty(&pool, n);
		if (WIFEXITED(status))
			break;
		assert_int_equal(WTERMSIG(status), SIGKILL);
	}
	assert_int_equal(status, 0);
	printf("# died before each of %llu accesses\n", (unsigned long long)n - 1);
	evr_pool_close(&pool);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_pool, close_pool)
	const struct CMUnitTest tests[] = {
		CASE(pool_exhausted_spills_and_is_told),
		CASE(pool_batches_take_what_there_is),
		CASE(pool_settle_spares_the_blocks_of_a_successor_with_the_same_stamp),
		CASE(pool_handle_without_a_seat_is_told),
		CASE(pool_options_are_checked),
		CASE(pool_hostile_geometry_is_found),
		CASE(pool_hostile_words_do_no_harm),
		CASE(pool_waiters_all_get_their_turn),
		CASE(pool_batch_wakes_who_waits),
		CASE(pool_next_in_a_seat_is_woken_too),
		CASE(pool_wait_ends_at_its_deadline),
		CASE(pool_holder_killed_wakes_who_waits),
		CASE(pool_user_killed_at_each_step_keeps_no_block),
	};

	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
