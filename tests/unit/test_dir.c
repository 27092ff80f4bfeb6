/* SPDX-License-Identifier: MIT */
/*
 * The directory: names, memory, crowds that create and remove, and words scribbled
 * over. That a creator may die at any step is in test_reap.c, that another may come
 * between any two in test_lane.c.
 *
 * Mutants seen to fail here: a removal that keeps the generation
 * (dir_removed_object_*), an extent that is not checked (dir_hostile_entry_*).
 */
#include "pair.h"

#include <evering/atomic.h>

#include "backend.h"

static void create(struct pair *pair, const char *name, uint64_t sz, struct evr_object *out)
{
	assert_int_equal(evr_dir_create(pair->peer, name, EVR_KIND_USER, sz, out), 0);
	assert_int_equal(evr_dir_publish(pair->peer, out), 0);
}

static void dir_found_only_once_published(void **state)
{
	struct pair *pair = *state;
	struct evr_object a, b;
	uint8_t *memory;

	memset(&b, 0xee, sizeof(b));
	assert_int_equal(evr_dir_find(pair->peer, "a", &b), -ENOENT);
	assert_int_equal(b.gen, 0);
	assert_int_equal(evr_dir_create(pair->peer, "a", 0x1234, 1000, &a), 0);
	assert_int_equal(evr_dir_find(pair->peer, "a", &b), -ENOENT);
	assert_false(evr_dir_is_current(pair->peer, &a));
	assert_int_equal(evr_dir_create(pair->peer, "a", 0x1234, 1000, &b), -EEXIST);
	memory = evr_peer_at(pair->peer, a.off, a.sz);
	assert_non_null(memory);
	assert_int_equal((uintptr_t)memory % 128, 0);
	memset(memory, 7, a.sz);
	assert_int_equal(evr_dir_publish(pair->peer, &a), 0);
	assert_int_equal(evr_dir_publish(pair->peer, &a), -ESTALE);
	assert_int_equal(evr_dir_find(pair->peer, "a", &b), 0);
	assert_int_equal(b.kind, 0x1234);
	assert_int_equal(b.sz, 1024);
	assert_true(b.off == a.off && b.gen == a.gen && b.idx == a.idx);
	assert_string_equal(b.name, "a");
	assert_int_equal(b.creator.slot, evr_peer_self(pair->peer).slot);
	assert_true(b.creator.incarnation == evr_peer_self(pair->peer).incarnation);
	assert_true(evr_dir_is_current(pair->peer, &b));
}

static void dir_name_of_wrong_length_refused(void **state)
{
	char longest[EVR_OBJECT_NAME_SZ + 1];
	struct pair *pair = *state;
	struct evr_object a;

	memset(longest, 'x', sizeof(longest));
	longest[EVR_OBJECT_NAME_SZ] = '\0';
	assert_int_equal(evr_dir_create(pair->peer, longest, 1, 1, &a), -EINVAL);
	assert_int_equal(evr_dir_find(pair->peer, longest, &a), -EINVAL);
	longest[EVR_OBJECT_NAME_SZ - 1] = '\0';
	create(pair, longest, 1, &a);
	assert_string_equal(a.name, longest);
	longest[EVR_OBJECT_NAME_SZ - 2] = '\0';
	create(pair, longest, 1, &a);
	assert_int_equal(evr_dir_create(pair->peer, "", 1, 1, &a), -EINVAL);
	assert_int_equal(evr_dir_create(pair->peer, NULL, 1, 1, &a), -EINVAL);
	assert_int_equal(evr_dir_create(pair->peer, "b", 1, 0, &a), -EINVAL);
}

static void dir_removed_object_is_stale(void **state)
{
	struct pair *pair = *state;
	struct evr_object a, b, c;

	create(pair, "a", 4096, &a);
	assert_int_equal(evr_dir_remove(pair->peer, &a), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &a), -ESTALE);
	assert_int_equal(evr_dir_find(pair->peer, "a", &b), -ENOENT);
	/* The memory serves again what needs at least half of it. */
	create(pair, "b", 2048, &b);
	assert_int_equal(b.idx, a.idx);
	assert_true(b.off == a.off && b.gen != a.gen);
	assert_false(evr_dir_is_current(pair->peer, &a));
	assert_int_equal(evr_dir_remove(pair->peer, &a), -ESTALE);
	assert_int_equal(evr_dir_publish(pair->peer, &a), -ESTALE);
	assert_int_equal(evr_dir_remove(pair->peer, &b), 0);
	create(pair, "c", 1024, &c);
	assert_true(c.off != a.off);
	/* Never published: its creator takes it back. */
	assert_int_equal(evr_dir_create(pair->peer, "d", 1, 4096, &a), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &a), 0);
	assert_int_equal(evr_dir_publish(pair->peer, &a), -ESTALE);
	a.idx = UINT32_MAX;
	assert_int_equal(evr_dir_remove(pair->peer, &a), -EINVAL);
	a.slot = 3;
	assert_int_equal(evr_dir_remove(pair->peer, &a), -EINVAL);
}

static void dir_full_says_what_there_is(void **state)
{
	struct pair *pair = *state;
	struct evr_object a, b;
	struct evr_dir_info info;
	char name[16];
	uint32_t i;

	assert_int_equal(evr_dir_info(pair->peer, &info), 0);
	assert_int_equal(info.entries, 0);
	assert_int_equal(info.bytes, 0);
	assert_int_equal(evr_dir_create(pair->peer, "a", 1, info.bytes_max + 1, &a), -ENOSPC);
	assert_non_null(strstr(evr_error_detail(), "bytes wanted"));
	assert_int_equal(evr_dir_create(pair->peer, "a", 1, UINT64_MAX, &a), -ENOSPC);
	create(pair, "a", info.bytes_max, &a);
	assert_int_equal(evr_dir_create(pair->peer, "b", 1, 1, &b), -ENOSPC);
	assert_int_equal(evr_dir_remove(pair->peer, &a), 0);
	/* Better a large piece wasted than none. */
	create(pair, "b", 1, &b);
	assert_true(b.sz == a.sz);
	assert_int_equal(evr_dir_remove(pair->peer, &b), 0);
	assert_int_equal(evr_dir_info(pair->peer, &info), 0);
	assert_true(info.bytes == 0 && info.bytes_kept == info.bytes_max && info.claimed == 0);
	for (i = 0; i < info.entries_max; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		if (evr_dir_create(pair->peer, name, 1, 128, &a))
			break;
		assert_int_equal(evr_dir_publish(pair->peer, &a), 0);
	}
	assert_int_equal(evr_dir_info(pair->peer, &info), 0);
	assert_int_equal(info.entries, i);
}

static void dir_table_full_takes_no_more(void **state)
{
	struct pair *pair = *state;
	struct evr_dir_info info;
	struct evr_object a;
	char name[16];
	uint32_t i;

	assert_int_equal(evr_dir_info(pair->peer, &info), 0);
	for (i = 0; i < info.entries_max; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		create(pair, name, 128, &a);
	}
	assert_int_equal(evr_dir_create(pair->peer, "more", 1, 128, &a), -ENOSPC);
	assert_int_equal(evr_dir_find(pair->peer, "n0", &a), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &a), 0);
	create(pair, "more", 128, &a);
}

struct listing {
	struct evr_object objects[512];
	uint32_t nr;
};

static int list(const struct evr_object *object, void *arg)
{
	struct listing *listing = arg;

	listing->objects[listing->nr++] = *object;
	return listing->nr == 512;
}

/* Names are unique, and no two objects share a byte. */
static void assert_consistent(struct pair *pair, struct listing *l)
{
	uint32_t i, k;

	l->nr = 0;
	assert_int_equal(evr_dir_walk(pair->peer, list, l), 0);
	for (i = 0; i < l->nr; i++) {
		for (k = 0; k < i; k++) {
			assert_string_not_equal(l->objects[i].name, l->objects[k].name);
			assert_true(l->objects[i].off >= l->objects[k].off + l->objects[k].sz ||
				    l->objects[k].off >= l->objects[i].off + l->objects[i].sz);
		}
	}
}

/* Create and remove under few names; mark the memory, and see that it stays marked. */
static void crowd(struct evr_peer *peer, void *arg)
{
	uint64_t seed = 77 + *(uint64_t *)arg * 1001, i;
	struct evr_object object;
	uint8_t *memory;
	char name[4];
	int err;

	for (i = 0; i < 4000; i++) {
		snprintf(name, sizeof(name), "%d", (int)(pair_random(&seed) % 6));
		if (seed & 1 << 16) {
			err = evr_dir_find(peer, name, &object);
			if (!err)
				err = evr_dir_remove(peer, &object);
			CHECK(!err || err == -ENOENT || err == -ESTALE || err == -EBUSY);
			continue;
		}
		err = evr_dir_create(peer, name, EVR_KIND_USER, 1 + seed % 3000, &object);
		CHECK(!err || err == -EEXIST);
		if (err)
			continue;
		memory = evr_peer_at(peer, object.off, object.sz);
		memset(memory, (int)seed, object.sz);
		CHECK(evr_dir_create(peer, name, EVR_KIND_USER, 1, &object) == -EEXIST);
		CHECK(evr_dir_find(peer, name, &object) == -ENOENT);
		CHECK(memory[0] == (uint8_t)seed);
		CHECK(memory[seed % 3000] == (uint8_t)seed);
		object = (struct evr_object){ 0 };
	}
}

/* The same with publication, and a killer. */
static void crowd_publishing(struct evr_peer *peer, void *arg)
{
	uint64_t seed = 99 + *(uint64_t *)arg * 7919;
	struct evr_object object;
	uint8_t *memory;
	char name[4];
	int err;

	for (;;) {
		snprintf(name, sizeof(name), "%d", (int)(pair_random(&seed) % 6));
		if (seed & 1 << 16) {
			err = evr_dir_find(peer, name, &object);
			if (!err)
				err = evr_dir_remove(peer, &object);
			CHECK(!err || err == -ENOENT || err == -ESTALE || err == -EBUSY);
			continue;
		}
		err = evr_dir_create(peer, name, EVR_KIND_USER, 1 + seed % 3000, &object);
		CHECK(!err || err == -EEXIST || err == -ENOSPC);
		if (err)
			continue;
		memory = evr_peer_at(peer, object.off, object.sz);
		memset(memory, (int)seed, object.sz);
		CHECK(memory[seed % object.sz] == (uint8_t)seed);
		CHECK(!evr_dir_publish(peer, &object));
	}
}

static void dir_crowd_under_few_names_stays_consistent(void **state)
{
	static struct listing listing;
	struct pair *pair = *state;
	struct evr_dir_info info;
	uint64_t ids[3];
	pid_t pids[3];
	uint32_t i;

	/* Each keeps what it created: names fill up until nobody can create. */
	for (i = 0; i < 3; i++) {
		ids[i] = i;
		pids[i] = pair_fork(pair, crowd, &ids[i]);
	}
	for (i = 0; i < 3; i++)
		pair_join(pids[i]);
	pair_settle(pair);
	assert_consistent(pair, &listing);
	assert_int_equal(evr_dir_info(pair->peer, &info), 0);
	assert_int_equal(info.entries, 0);
	assert_int_equal(info.claimed, 0);
	assert_int_equal(info.bytes, 0);
}

static void dir_crowd_killed_leaves_nothing_behind(void **state)
{
	static struct listing listing;
	uint64_t ids[3], seed = 8, rounds = 25;
	struct pair *pair = *state;
	struct evr_dir_info info;
	pid_t pids[3];
	uint32_t i;

	for (i = 0; i < 3; i++) {
		ids[i] = i;
		pids[i] = pair_fork(pair, crowd_publishing, &ids[i]);
	}
	while (rounds--) {
		pair_sleep_us((unsigned int)(pair_random(&seed) % 5000));
		i = (uint32_t)(seed % 3);
		pair_kill(pids[i]);
		ids[i] += 3;
		pids[i] = pair_fork(pair, crowd_publishing, &ids[i]);
		assert_true(evr_reap_dead(pair->peer, NULL) >= 0);
	}
	for (i = 0; i < 3; i++)
		pair_kill(pids[i]);
	pair_settle(pair);
	assert_consistent(pair, &listing);
	assert_int_equal(evr_dir_info(pair->peer, &info), 0);
	assert_int_equal(info.claimed, 0);
	assert_int_equal(info.entries, listing.nr);
	for (i = 0; i < listing.nr; i++)
		assert_int_equal(evr_dir_remove(pair->peer, &listing.objects[i]), 0);
	assert_int_equal(evr_dir_info(pair->peer, &info), 0);
	assert_true(info.entries == 0 && info.bytes == 0);
}

static uint64_t shared_off(struct pair *pair, uint64_t *sz)
{
	struct evr_segment_info info;

	assert_int_equal(evr_segment_info(pair->segment, &info), 0);
	*sz = info.shared_sz;
	return info.shared_off;
}

static void dir_other_header_refused(void **state)
{
	struct pair *pair = *state;
	struct evr_object a;
	uint64_t sz, *header = evr_peer_at(pair->peer, shared_off(pair, &sz), 4096);
	uint64_t magic;

	create(pair, "a", 1, &a);
	magic = header[0];
	header[0] = magic + (1ULL << 48);
	assert_int_equal(evr_dir_find(pair->peer, "a", &a), -EPROTO);
	assert_non_null(strstr(evr_error_detail(), "magic"));
	header[0] = 12345;
	assert_int_equal(evr_dir_find(pair->peer, "a", &a), -EBADMSG);
	header[0] = magic;
	header[1] = 4096;
	assert_int_equal(evr_dir_find(pair->peer, "a", &a), -EBADMSG);
	assert_non_null(strstr(evr_error_detail(), "region_sz"));
	header[1] = sz;
	assert_int_equal(evr_dir_find(pair->peer, "a", &a), 0);
}

/* Each word of the table, one after the other: calls answer, and stay in the segment. */
static void dir_hostile_entry_gives_no_memory_outside(void **state)
{
	static const uint64_t nonsense[] = { 0,		 1,	     127,	 1ULL << 20,
					     1ULL << 32, 1ULL << 63, UINT64_MAX, UINT64_MAX - 127 };
	static struct listing listing;
	struct pair *pair = *state;
	struct evr_object a, b;
	struct evr_dir_info info;
	uint64_t sz, off = shared_off(pair, &sz);
	uint64_t *words = evr_peer_at(pair->peer, off, sz);
	uint64_t before[64];
	size_t i, k, w;

	create(pair, "a", 1000, &a);
	create(pair, "b", 1000, &b);
	memcpy(before, words, sizeof(before));
	for (w = 0; w < 64; w++) {
		for (i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
			words[w] = nonsense[i];
			listing.nr = 0;
			evr_dir_walk(pair->peer, list, &listing);
			if (!evr_dir_find(pair->peer, "a", &a))
				listing.objects[listing.nr++] = a;
			if (!evr_dir_create(pair->peer, "c", 1, 500, &b))
				listing.objects[listing.nr++] = b;
			for (k = 0; k < listing.nr; k++) {
				const struct evr_object *o = &listing.objects[k];

				assert_true(o->off >= off + 512 && o->off <= off + sz);
				assert_true(o->sz && o->sz <= off + sz - o->off);
				assert_true(memchr(o->name, 0, sizeof(o->name)) != NULL);
			}
			evr_dir_remove(pair->peer, &a);
			evr_dir_info(pair->peer, &info);
			evr_reap_dead(pair->peer, NULL);
			memcpy(words, before, sizeof(before));
			memset(words + 64, 0, 4096);
		}
	}
}

static void dir_observer_reads_and_writes_nothing(void **state)
{
	struct evr_peer_options options = { .struct_sz = sizeof(options),
					    .flags = EVR_PEER_OBSERVER };
	struct pair *pair = *state;
	struct evr_peer *observer;
	struct evr_object a, b;

	assert_int_equal(evr_peer_attach(&observer, pair->segment, &options), 0);
	assert_int_equal(evr_dir_find(observer, "a", &a), -ENOENT);
	create(pair, "a", 1, &a);
	assert_int_equal(evr_dir_find(observer, "a", &b), 0);
	assert_int_equal(evr_dir_create(observer, "b", 1, 1, &b), -EROFS);
	assert_int_equal(evr_dir_remove(observer, &a), -EROFS);
	assert_int_equal(evr_reap_dead(observer, NULL), -EROFS);
	evr_peer_detach(observer);
}

static int open_isolated(void **state)
{
	return pair_open_isolated(state, 64 << 10, 4);
}

/* Finds what the parent made, makes something of its own, and dies of it. */
static void visit(struct evr_peer *peer, void *arg)
{
	struct evr_object object;
	const char *memory;
	int *ready = arg;

	CHECK(!evr_dir_find(peer, "a", &object));
	CHECK(object.slot != evr_peer_self(peer).slot);
	memory = evr_peer_at(peer, object.off, object.sz);
	CHECK(memory && !strcmp(memory, "of the parent"));
	CHECK(evr_dir_remove(peer, &object) == -EROFS);
	CHECK(evr_dir_create(peer, "a", EVR_KIND_USER, 1, &object) == -EEXIST);
	CHECK(!evr_dir_create(peer, "b", EVR_KIND_USER, 1000, &object));
	CHECK(object.slot == evr_peer_self(peer).slot);
	CHECK(evr_peer_is_writable(peer, object.off, object.sz));
	CHECK(!evr_dir_publish(peer, &object));
	CHECK(write(ready[1], "", 1) == 1);
	raise(SIGKILL);
}

static void dir_isolated_ends_with_its_peer(void **state)
{
	struct pair *pair = *state;
	struct evr_object a, b;
	int ready[2], round;
	char byte;
	pid_t pid;

	create(pair, "a", 100, &a);
	strcpy(evr_peer_at(pair->peer, a.off, a.sz), "of the parent");
	assert_int_equal(pipe(ready), 0);
	/* The same slot, again and again: nothing of a predecessor is in the way. */
	for (round = 0; round < 3; round++) {
		pid = pair_fork(pair, visit, ready);
		assert_int_equal(read(ready[0], &byte, 1), 1);
		assert_true(waitpid(pid, NULL, 0) == pid);
		pair_settle(pair);
		assert_int_equal(evr_dir_find(pair->peer, "b", &b), -ENOENT);
		assert_int_equal(evr_dir_find(pair->peer, "a", &b), 0);
	}
	close(ready[0]);
	close(ready[1]);
}

/* Whoever has a slot next can use its directory, and has none of what the last one left. */
static void dir_isolated_slot_is_spoiled_by_no_last_peer(void **state)
{
	struct evr_peer *us = ((struct pair *)*state)->peer, *liar, *next;
	struct evr_object object;
	uint64_t off, word;
	uint64_t *header;
	uint32_t slot;

	for (word = 0; word < 2 * EVR_LINE_SZ / 8; word++) {
		assert_int_equal(evr_peer_attach(&liar, evr_peer_segment(us), NULL), 0);
		slot = evr_peer_self(liar).slot;
		assert_int_equal(evr_dir_create(liar, "x", EVR_KIND_USER, 100, &object), 0);
		assert_int_equal(evr_dir_publish(liar, &object), 0);
		off = evr_layout_region(&evr_peer_segment(us)->layout, slot);
		header = evr_peer_at(liar, off, 2 * EVR_LINE_SZ);
		/* The third says whose it is: the next one's, it says. */
		header[2] = evr_peer_self(liar).incarnation + 1;
		header[word] = word == 2 ? header[2] : UINT64_MAX;
		evr_peer_detach(liar);
		pair_settle_dead(us);
		assert_int_equal(evr_peer_attach(&next, evr_peer_segment(us), NULL), 0);
		assert_int_equal(evr_peer_self(next).slot, slot);
		assert_int_equal(evr_dir_find(us, "x", &object), -ENOENT);
		assert_int_equal(evr_dir_create(next, "y", EVR_KIND_USER, 100, &object), 0);
		assert_int_equal(evr_dir_publish(next, &object), 0);
		assert_int_equal(evr_dir_find(us, "y", &object), 0);
		assert_int_equal(object.slot, slot);
		evr_peer_detach(next);
		pair_settle_dead(us);
	}
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, pair_open, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(dir_found_only_once_published),
		CASE(dir_name_of_wrong_length_refused),
		CASE(dir_removed_object_is_stale),
		CASE(dir_full_says_what_there_is),
		CASE(dir_table_full_takes_no_more),
		CASE(dir_crowd_under_few_names_stays_consistent),
		CASE(dir_crowd_killed_leaves_nothing_behind),
		CASE(dir_other_header_refused),
		CASE(dir_hostile_entry_gives_no_memory_outside),
		CASE(dir_observer_reads_and_writes_nothing),
		cmocka_unit_test_setup_teardown(dir_isolated_slot_is_spoiled_by_no_last_peer,
						open_isolated, pair_close),
		cmocka_unit_test_setup_teardown(dir_isolated_ends_with_its_peer, open_isolated,
						pair_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
