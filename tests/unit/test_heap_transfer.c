/* SPDX-License-Identifier: MIT */
/*
 * What passes from peer to peer: blocks handed over and shared, to the living, the dead and
 * their successors; who may only look; two processes that exchange blocks.
 *
 * Mutant seen to fail here: the look after a transfer left out (heap_transfer_to_the_dead_*).
 */
#include <sched.h>
#include <sys/mman.h>

#include "heaps.h"

static void heap_transfer_to_self_is_accepted_once(void **state)
{
	struct pair *pair = *state;
	struct evr_peer_id self = evr_peer_self(pair->peer);
	struct evr_block_info info;
	struct evr_block block;
	struct evr_heap heap;

	get_heap(pair, &heap);
	block = evr_heap_alloc(&heap, 64);
	assert_int_equal(evr_heap_accept(&heap, block.handle), -ESTALE);
	assert_int_equal(evr_heap_transfer(&heap, block.handle, self), 0);
	assert_int_equal(evr_heap_transfer(&heap, block.handle, self), -ESTALE);
	assert_int_equal(evr_heap_info(&heap, block.handle, &info), 0);
	assert_int_equal(info.state, EVR_BLOCK_INFLIGHT);
	assert_int_equal(info.source, self.slot);
	assert_int_equal(evr_heap_accept(&heap, block.handle), 0);
	assert_int_equal(evr_heap_accept(&heap, block.handle), -ESTALE);
	assert_int_equal(evr_heap_transfer(&heap, block.handle, self), 0);
	assert_int_equal(evr_heap_recall(&heap, block.handle, self), 0);
	assert_int_equal(evr_heap_recall(&heap, block.handle, self), -ESTALE);
	assert_int_equal(evr_heap_transfer(&heap, block.handle, self), 0);
	/* Read and freed at once needs no accept. */
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	block = evr_heap_alloc(&heap, 64);
	assert_int_equal(evr_heap_transfer(&heap, block.handle, self), 0);
	assert_int_equal(evr_heap_take_back(&heap, block.handle, self), 0);
	assert_int_equal(evr_heap_take_back(&heap, block.handle, self), -ESTALE);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

static void end_at_once(struct evr_peer *peer, void *arg)
{
	*(struct evr_peer_id *)arg = evr_peer_self(peer);
}

static void heap_transfer_to_the_dead_stays_ours(void **state)
{
	struct evr_peer_id nobody = { .slot = 9, .incarnation = 12345 };
	struct evr_block block, run;
	struct pair *pair = *state;
	struct evr_heap heap;
	uint64_t handles[2];
	pid_t pid;

	get_heap(pair, &heap);
	pid = pair_fork(pair, end_at_once, &nobody);
	pair_join(pid);
	pair_settle(pair);
	nobody.slot = 1;
	nobody.incarnation = 1;
	block = evr_heap_alloc(&heap, 64);
	run = evr_heap_alloc(&heap, 100000);
	assert_int_equal(evr_heap_transfer(&heap, block.handle, nobody), -EOWNERDEAD);
	handles[0] = block.handle;
	handles[1] = run.handle;
	assert_int_equal(evr_heap_transfer_many(&heap, handles, 2, nobody), -EOWNERDEAD);
	nobody.slot = 300;
	assert_int_equal(evr_heap_transfer(&heap, block.handle, nobody), -EOWNERDEAD);
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	assert_int_equal(evr_heap_free(&heap, run.handle), 0);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

static void heap_shared_is_freed_by_the_last_holder(void **state)
{
	struct pair *pair = *state;
	struct evr_peer_id self = evr_peer_self(pair->peer);
	struct evr_peer_id nobody = { .slot = 3, .incarnation = 99 };
	struct evr_block block;
	struct evr_heap heap;
	uint64_t sz = 0;

	get_heap(pair, &heap);
	block = evr_heap_alloc(&heap, 64);
	assert_int_equal(evr_heap_share(&heap, block.handle, &self, 1), -ESTALE);
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	block = evr_heap_alloc_shared(&heap, 64);
	assert_non_null(evr_heap_resolve(&heap, block.handle, &sz));
	assert_true(sz >= 64);
	memset(block.ptr, 0xff, sz);
	assert_int_equal(evr_heap_share(&heap, block.handle, &self, 0), -EINVAL);
	assert_int_equal(evr_heap_share(&heap, block.handle, &self, 1), 1);
	assert_int_equal(evr_heap_hold(&heap, block.handle), 0);
	assert_int_equal(evr_heap_hold(&heap, block.handle), -ESTALE);
	assert_non_null(evr_heap_resolve(&heap, block.handle, NULL));
	assert_int_equal(evr_heap_drop(&heap, block.handle), 0);
	assert_int_equal(evr_heap_drop(&heap, block.handle), -ESTALE);
	block = evr_heap_alloc_shared(&heap, 50000);
	assert_int_equal(evr_heap_share(&heap, block.handle, &self, 1), 1);
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	block = evr_heap_alloc_shared(&heap, 64);
	assert_int_equal(evr_heap_share(&heap, block.handle, &nobody, 1), -EOWNERDEAD);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

/* One and the same slot, two peers: the first of them is dead. */
static void heap_shared_with_the_dead_and_its_successor_has_one_holder(void **state)
{
	struct pair *pair = *state;
	struct evr_peer_options options = { .struct_sz = sizeof(options), .slot = 5, .slot_set = true };
	struct evr_peer_id to[2];
	struct evr_peer *peer;
	struct evr_block block;
	struct evr_heap heap, holder;
	int order;

	get_heap(pair, &heap);
	for (order = 0; order < 2; order++) {
		assert_int_equal(evr_peer_attach(&peer, pair->segment, &options), 0);
		to[order] = evr_peer_self(peer);
		evr_peer_detach(peer);
		pair_settle(pair);
		assert_int_equal(evr_peer_attach(&peer, pair->segment, &options), 0);
		to[!order] = evr_peer_self(peer);
		assert_int_equal(evr_heap_open(&holder, peer, "heap"), 0);
		block = evr_heap_alloc_shared(&heap, 64);
		assert_int_equal(evr_heap_share(&heap, block.handle, to, 2), 1);
		assert_int_equal(evr_heap_hold(&holder, block.handle), 0);
		assert_int_equal(evr_heap_drop(&holder, block.handle), 0);
		evr_heap_close(&holder);
		evr_peer_detach(peer);
		pair_settle(pair);
	}
	assert_empty(&heap);
	evr_heap_close(&heap);
}

/* Stamps have eight bits of an incarnation: the slot's 256th next peer has the same. */
static void heap_settle_spares_the_blocks_of_a_successor_with_the_same_stamp(void **state)
{
	struct pair *pair = *state;
	struct evr_peer_options options = { .struct_sz = sizeof(options), .slot = 5, .slot_set = true };
	struct evr_peer_id dead, self = evr_peer_self(pair->peer);
	struct evr_block block;
	struct evr_heap heap, sender;
	struct evr_peer *peer;

	get_heap(pair, &heap);
	assert_int_equal(evr_peer_attach(&peer, pair->segment, &options), 0);
	dead = evr_peer_self(peer);
	do {
		evr_peer_detach(peer);
		pair_settle(pair);
		assert_int_equal(evr_peer_attach(&peer, pair->segment, &options), 0);
	} while (evr_peer_self(peer).incarnation - dead.incarnation < 256);
	assert_int_equal(evr_peer_self(peer).incarnation - dead.incarnation, 256);
	assert_int_equal(evr_heap_open(&sender, peer, "heap"), 0);
	block = evr_heap_alloc(&sender, 64);
	assert_int_equal(evr_heap_transfer(&sender, block.handle, self), 0);
	assert_int_equal(evr_heap_settle(&heap, dead), -EBUSY);
	assert_non_null(evr_heap_resolve(&heap, block.handle, NULL));
	dead.incarnation++;
	assert_int_equal(evr_heap_settle(&heap, dead), 0);
	assert_int_equal(evr_heap_accept(&heap, block.handle), 0);
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	evr_heap_close(&sender);
	evr_peer_detach(peer);
	pair_settle(pair);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

static void heap_observer_reads_and_changes_nothing(void **state)
{
	struct evr_peer_options options = { .struct_sz = sizeof(options),
					    .flags = EVR_PEER_OBSERVER };
	struct pair *pair = *state;
	struct evr_peer *observer;
	struct evr_heap heap, seen;
	struct evr_block block;

	get_heap(pair, &heap);
	block = evr_heap_alloc(&heap, 64);
	strcpy(block.ptr, "hello");
	assert_int_equal(evr_peer_attach(&observer, pair->segment, &options), 0);
	assert_int_equal(evr_heap_open(&seen, observer, "heap"), 0);
	assert_string_equal(evr_heap_resolve(&seen, block.handle, NULL), "hello");
	assert_int_equal(evr_heap_free(&seen, block.handle), -EROFS);
	assert_null(evr_heap_alloc(&seen, 64).ptr);
	assert_int_equal(evr_heap_error(&seen), -EROFS);
	evr_heap_close(&seen);
	evr_peer_detach(observer);
	assert_int_equal(evr_heap_free(&heap, block.handle), 0);
	evr_heap_close(&heap);
}

struct foreign {
	struct evr_peer_id id;
	_Atomic uint64_t handle;
	_Atomic uint32_t is_named, is_done;
};

/* In an isolated segment, a peer that the heap does not belong to. */
static void read_foreign(struct evr_peer *peer, void *arg)
{
	struct foreign *f = arg;
	struct evr_heap heap;
	uint64_t sz;
	char *at;

	f->id = evr_peer_self(peer);
	f->is_named = 1;
	while (!f->handle)
		sched_yield();
	CHECK(!evr_heap_open(&heap, peer, "heap"));
	at = evr_heap_resolve(&heap, f->handle, &sz);
	CHECK(at && !strcmp(at, "hello"));
	CHECK(!evr_peer_is_writable(peer, (uint64_t)evr_peer_off(peer, at), 1));
	CHECK(!evr_heap_resolve(&heap, f->handle + EVR_CTL_GEN_ONE, NULL));
	CHECK(evr_heap_accept(&heap, f->handle) == -EROFS);
	CHECK(evr_heap_free(&heap, f->handle) == -EROFS);
	CHECK(!evr_heap_alloc(&heap, 64).ptr);
	evr_heap_close(&heap);
	f->is_done = 1;
	for (;;)
		pause();
}

static void heap_isolated_is_read_by_others_and_freed_by_its_peer(void **state)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .flags = EVR_SEGMENT_ISOLATED };
	struct evr_heap_options heap_options = { .struct_sz = sizeof(heap_options),
						 .sz = 512 << 10 };
	struct evr_peer_id nobody = { .slot = 7, .incarnation = 1 };
	struct evr_reap_report report = { 0 };
	struct evr_block blocks[3];
	struct pair pair;
	struct foreign *f;
	struct evr_heap heap;
	pid_t pid;
	int i;

	f = mmap(NULL, sizeof(*f), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(evr_segment_create(&pair.segment, pair_uri(), &options), 0);
	assert_int_equal(evr_peer_attach(&pair.peer, pair.segment, NULL), 0);
	assert_int_equal(evr_heap_create(pair.peer, "heap", &heap_options), 0);
	get_heap(&pair, &heap);
	pid = pair_fork(&pair, read_foreign, f);
	while (!f->is_named)
		sched_yield();
	for (i = 0; i < 3; i++) {
		blocks[i] = evr_heap_alloc(&heap, 100);
		strcpy(blocks[i].ptr, "hello");
		assert_int_equal(evr_heap_transfer(&heap, blocks[i].handle, f->id), 0);
	}
	f->handle = blocks[0].handle;
	while (!f->is_done)
		sched_yield();
	/* What it says comes back is looked at. */
	assert_int_equal(evr_heap_take_back(&heap, blocks[0].handle, nobody), -ESTALE);
	assert_int_equal(evr_heap_take_back(&heap, blocks[0].handle + 1, f->id), -ESTALE);
	assert_int_equal(evr_heap_take_back(&heap, blocks[0].handle, f->id), 0);
	assert_int_equal(evr_heap_take_back(&heap, blocks[0].handle, f->id), -ESTALE);
	/* What it never gives back is ours again when it has died. */
	evr_reap_auto(pair.peer, false);
	pair_kill(pid);
	while (!report.peers) {
		evr_peer_check(pair.peer);
		assert_true(evr_reap_dead(pair.peer, &report) >= 0);
	}
	assert_int_equal(report.blocks, 2);
	assert_empty(&heap);
	evr_heap_close(&heap);
	evr_peer_detach(pair.peer);
	evr_segment_close(pair.segment);
	munmap(f, sizeof(*f));
}

struct traffic {
	uint64_t seed;
	uint32_t nr;
};

/* The other half of heap_two_processes_*: takes blocks, checks, frees or sends them back. */
static void echo(struct evr_peer *peer, void *arg)
{
	struct traffic *traffic = arg;
	struct evr_waiter waiter;
	struct evr_spsc in, out;
	struct evr_heap heap;
	uint64_t handle, sz;
	unsigned char *at;
	uint32_t i;

	CHECK(!evr_spsc_open(&in, peer, "there", EVR_CONSUMER, 0));
	CHECK(!evr_spsc_open(&out, peer, "back", EVR_PRODUCER, 0));
	CHECK(!evr_heap_open(&heap, peer, "heap"));
	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE));
	for (i = 0; i < traffic->nr; i++) {
		CHECK(evr_spsc_pop_wait(&in, &waiter, &handle, 1, pair_deadline()) == 1);
		at = evr_heap_resolve(&heap, handle, &sz);
		CHECK(at);
		CHECK(at[0] == (unsigned char)i && at[sz - 1] == (unsigned char)i);
		if (i % 3) {
			CHECK(!evr_heap_free(&heap, handle));
			continue;
		}
		if (i % 2) {
			CHECK(!evr_heap_accept(&heap, handle));
			CHECK(!evr_heap_transfer(&heap, handle, evr_spsc_other(&out)));
		} else {
			CHECK(!evr_heap_free(&heap, handle));
			handle = evr_heap_alloc(&heap, 1 + i % 3000).handle;
			CHECK(handle);
			CHECK(!evr_heap_transfer(&heap, handle, evr_spsc_other(&out)));
		}
		CHECK(evr_spsc_push_wait(&out, &waiter, &handle, 1, pair_deadline()) == 1);
	}
	evr_waiter_fini(&waiter);
	evr_heap_close(&heap);
	evr_spsc_close(&in);
	evr_spsc_close(&out);
}

static void heap_two_processes_exchange_blocks_without_loss(void **state)
{
	struct traffic traffic = { .seed = 5, .nr = 60000 };
	struct pair *pair = *state;
	struct evr_spsc_options options = { .struct_sz = sizeof(options), .capacity = 64 };
	struct evr_waiter waiter;
	struct evr_spsc out, in;
	struct evr_heap heap;
	struct evr_block block;
	uint64_t handle, sz;
	uint32_t i;
	pid_t pid;

	assert_int_equal(evr_spsc_create(pair->peer, "there", &options), 0);
	assert_int_equal(evr_spsc_create(pair->peer, "back", &options), 0);
	assert_int_equal(evr_spsc_open(&out, pair->peer, "there", EVR_PRODUCER, 0), 0);
	assert_int_equal(evr_spsc_open(&in, pair->peer, "back", EVR_CONSUMER, 0), 0);
	get_heap(pair, &heap);
	pid = pair_fork(pair, echo, &traffic);
	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_ADAPTIVE), 0);
	while (evr_spsc_other(&out).slot == EVR_SLOT_ANY || evr_spsc_other(&in).slot == EVR_SLOT_ANY)
		pair_sleep_us(100);
	for (i = 0; i < traffic.nr; i++) {
		sz = 1 + pair_random(&traffic.seed) % (i % 50 ? 1500 : 40000);
		block = evr_heap_alloc(&heap, sz);
		assert_non_null(block.ptr);
		evr_heap_resolve(&heap, block.handle, &sz);
		memset(block.ptr, (int)(i & 0xff), sz);
		assert_int_equal(evr_heap_transfer(&heap, block.handle, evr_spsc_other(&out)), 0);
		assert_int_equal(evr_spsc_push_wait(&out, &waiter, &block.handle, 1, pair_deadline()), 1);
		while (evr_spsc_pop(&in, &handle, 1))
			assert_int_equal(evr_heap_free(&heap, handle), 0);
	}
	while (evr_spsc_pop_wait(&in, &waiter, &handle, 1, pair_deadline()) == 1)
		assert_int_equal(evr_heap_free(&heap, handle), 0);
	pair_join(pid);
	pair_settle(pair);
	evr_waiter_fini(&waiter);
	evr_spsc_close(&in);
	evr_spsc_close(&out);
	assert_empty(&heap);
	evr_heap_close(&heap);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_heap, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(heap_transfer_to_self_is_accepted_once),
		CASE(heap_transfer_to_the_dead_stays_ours),
		CASE(heap_shared_is_freed_by_the_last_holder),
		CASE(heap_shared_with_the_dead_and_its_successor_has_one_holder),
		CASE(heap_settle_spares_the_blocks_of_a_successor_with_the_same_stamp),
		CASE(heap_observer_reads_and_changes_nothing),
		CASE(heap_isolated_is_read_by_others_and_freed_by_its_peer),
		CASE(heap_two_processes_exchange_blocks_without_loss),
	};

	return cmocka_run_group_tests_name("heap_transfer", tests, NULL, NULL);
}
