/* SPDX-License-Identifier: MIT */
/*
 * Members: an object that somebody uses is not removed, whoever died meanwhile.
 *
 * Mutants seen to fail here: no bit set by join; a bit counted whose peer is dead; a
 * leave that clears the bit of the other join; no reset at attach; no look at the entry
 * after the join.
 */
#include "pair.h"

#include "dir.h"
#include "dir_table.h"

static struct evr_object make(struct pair *pair)
{
	struct evr_object obj;

	assert_int_equal(evr_dir_create(pair->peer, "shared", EVR_KIND_USER, 128, &obj), 0);
	assert_int_equal(evr_dir_publish(pair->peer, &obj), 0);
	return obj;
}

static void members_joined_object_is_not_removed(void **state)
{
	struct pair *pair = *state;
	struct evr_object obj = make(pair);

	assert_int_equal(evr_dir_join(pair->peer, &obj), 0);
	assert_int_equal(evr_dir_join(pair->peer, &obj), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &obj), -EBUSY);
	assert_non_null(strstr(evr_error_detail(), "peer 0"));
	evr_dir_leave(pair->peer, &obj);
	assert_int_equal(evr_dir_remove(pair->peer, &obj), -EBUSY);
	evr_dir_leave(pair->peer, &obj);
	assert_int_equal(evr_dir_remove(pair->peer, &obj), 0);
}

static void members_join_of_removed_object_fails(void **state)
{
	struct pair *pair = *state;
	struct evr_object obj = make(pair), again;

	assert_int_equal(evr_dir_remove(pair->peer, &obj), 0);
	assert_int_equal(evr_dir_join(pair->peer, &obj), -ENOENT);
	again = make(pair);
	assert_int_equal(again.idx, obj.idx);
	/* A leave too many, and the join that failed, have left nothing. */
	evr_dir_leave(pair->peer, &again);
	assert_int_equal(evr_dir_remove(pair->peer, &again), 0);
}

static void join_and_wait(struct evr_peer *peer, void *arg)
{
	CHECK(!evr_dir_join(peer, arg));
	CHECK(!evr_bell_ring(peer, (struct evr_peer_id){ 0, 1 }, 1));
	for (;;)
		pause();
}

static void members_dead_member_does_not_count(void **state)
{
	struct pair *pair = *state;
	struct evr_object obj = make(pair);
	struct evr_peer *next;
	pid_t pid;

	pid = pair_fork(pair, join_and_wait, &obj);
	assert_int_equal(evr_bell_wait(pair->peer, 1, pair_deadline(), NULL), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &obj), -EBUSY);
	pair_kill(pid);
	pair_settle(pair);
	/* Whoever has the slot next has joined nothing. */
	assert_int_equal(evr_peer_attach(&next, pair->segment, NULL), 0);
	assert_int_equal(evr_peer_self(next).slot, 1);
	assert_int_equal(evr_dir_remove(pair->peer, &obj), 0);
	evr_peer_detach(next);
}

static void members_forgotten_leave_ends_with_the_peer(void **state)
{
	struct pair *pair = *state;
	struct evr_object obj = make(pair);
	struct evr_peer *other;

	assert_int_equal(evr_peer_attach(&other, pair->segment, NULL), 0);
	assert_int_equal(evr_dir_join(other, &obj), 0);
	assert_int_equal(evr_dir_remove(pair->peer, &obj), -EBUSY);
	evr_peer_detach(other);
	assert_int_equal(evr_dir_remove(pair->peer, &obj), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(members_joined_object_is_not_removed, pair_open,
						pair_close),
		cmocka_unit_test_setup_teardown(members_join_of_removed_object_fails, pair_open,
						pair_close),
		cmocka_unit_test_setup_teardown(members_dead_member_does_not_count, pair_open,
						pair_close),
		cmocka_unit_test_setup_teardown(members_forgotten_leave_ends_with_the_peer,
						pair_open, pair_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
