/* SPDX-License-Identifier: MIT */
/*
 * Slots of the local backend, from inside: lives, locks, evidence.
 *
 * Seen to fail: tests/unit/controls, peer-never-worn.
 */
#include "scene.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>

#include "local.h"

#define EVENT (1ull << EVR_BELL_PEER_EVENT)

static struct local_entry *entry_of(struct evr_peer *peer)
{
	return local_entry(peer->segment, peer->self.slot);
}

static void peer_life_holds_its_parts(void **state)
{
	uint64_t life = life_make(LIFE_INCARNATION_MAX, EVR_EXIT_REVOKE, EVR_PEER_RETIRED);

	EQ(life_incarnation(life), LIFE_INCARNATION_MAX);
	EQ(life_reason(life), EVR_EXIT_REVOKE);
	EQ(life_state(life), EVR_PEER_RETIRED);
	EQ(life & LIFE_TOLD, 0);
	EQ(life_reason(life | LIFE_TOLD), EVR_EXIT_REVOKE);
	EQ(life_state(life | LIFE_TOLD), EVR_PEER_RETIRED);
	EQ(life_incarnation(life | LIFE_TOLD), LIFE_INCARNATION_MAX);
}

static void peer_slot_whose_incarnations_are_used_up_retires(void **state)
{
	struct pair pair = make_pair();
	struct local_entry *entry = local_entry(pair.segment, 2);
	struct evr_peer_options options = {
		.struct_sz = sizeof(options),
		.slot = 2,
		.slot_set = true,
	};
	struct evr_peer *last, *next;
	struct evr_peer_id id;

	evr_a64_store_relaxed(&entry->life, life_make(LIFE_INCARNATION_MAX - 2, 0, EVR_PEER_FREE));
	last = attach_slot(pair.segment, 2);
	id = evr_peer_self(last);
	EQ(id.incarnation, LIFE_INCARNATION_MAX - 1);
	evr_peer_detach(last);
	EQ(reaped(pair.a, id), 0);
	last = attach_slot(pair.segment, 2);
	id = evr_peer_self(last);
	EQ(id.incarnation, LIFE_INCARNATION_MAX);
	evr_peer_detach(last);
	EQ(reaped(pair.a, id), 0);
	EQ(life_state(evr_a64_load_relaxed(&entry->life)), EVR_PEER_RETIRED);
	EQ(evr_peer_attach(&next, pair.segment, &options), -EBUSY);
	EQ(evr_peer_state(pair.a, id), EVR_PEER_RETIRED);
	EQ(reaped(pair.a, id), -ESTALE);
	drop_pair(&pair);
}

/* Who settled a death died before it told anybody. */
static void peer_end_that_was_not_told_is_told_by_the_next_to_look(void **state)
{
	struct pair pair = make_pair();
	struct evr_a64 *life = &local_entry(pair.segment, 2)->life;
	uint64_t before = evr_peer_generation(pair.a);

	evr_a64_store_relaxed(life, life_make(1, EVR_EXIT_EXIT, EVR_PEER_DEAD));
	EQ(evr_bell_wait(pair.a, EVENT, evr_now_ns() + HANG_MS * 1000000ull, NULL), 0);
	EQ(evr_bell_wait(pair.b, EVENT, 0, NULL), 0);
	CHECK(evr_peer_generation(pair.a) > before);
	CHECK(evr_a64_load_relaxed(life) & LIFE_TOLD);
	/* Once. */
	before = evr_peer_generation(pair.a);
	local_check_now(pair.b);
	EQ(evr_peer_generation(pair.a), before);
	drop_pair(&pair);
}

static void peer_slot_whose_lock_is_held_is_not_taken(void **state)
{
	struct pair pair = make_pair();
	int fd = local_file_reopen(evr_segment_fd(pair.segment), O_RDWR);
	struct evr_peer *third;

	EQ(local_file_lock(fd, F_WRLCK, LOCAL_LOCK_SLOT + 2), 0);
	third = attach(pair.segment);
	EQ(evr_peer_self(third).slot, 3);
	close(fd);
	evr_peer_detach(third);
	drop_pair(&pair);
}

static void peer_without_its_lock_is_dead(void **state)
{
	struct pair pair = make_pair();

	EQ(local_file_is_locked(evr_segment_fd(pair.segment), LOCAL_LOCK_SLOT + 1), true);
	EQ(local_file_lock(pair.b->fd, F_UNLCK, LOCAL_LOCK_SLOT + 1), 0);
	EQ(evr_peer_is_live(pair.a, pair.b_id), true);
	local_check_now(pair.a);
	EQ(evr_peer_state(pair.a, pair.b_id), EVR_PEER_DEAD);
	drop_pair(&pair);
}

static void attach_and_wait(struct child *child, void *arg)
{
	attach(arg);
	child_say(child, 0);
	pause();
}

/* By the pidfd alone: the timer is made by evr_bell_fd() only. */
static void peer_death_makes_the_fd_readable_at_once(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment);
	struct local_peer *own = peer->own;
	struct pollfd ready = { .fd = own->epoll_fd, .events = POLLIN };
	struct child child;

	child_start(&child, attach_and_wait, segment);
	child_hear(&child);
	EQ(evr_bell_wait(peer, EVENT, evr_now_ns() + HANG_MS * 1000000ull, NULL), 0);
	CHECK(own->watches[1].pidfd >= 0);
	EQ(poll(&ready, 1, 0), 0);
	child_kill(&child);
	EQ(poll(&ready, 1, HANG_MS), 1);
	local_check_now(peer);
	EQ(evr_bell_read(peer, NULL), 0);
	/* It was told, and is not told again. */
	EQ(poll(&ready, 1, 0), 0);
	EQ(own->watches[1].pidfd, -1);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void forget_watches(struct evr_peer *peer)
{
	struct local_peer *own = peer->own;

	own->watches[1].life = 0;
}

static void peer_whose_pid_is_another_process_is_dead_in_the_same_namespaces_only(void **state)
{
	struct pair pair = make_pair();
	struct local_entry *entry = entry_of(pair.b);
	uint64_t start = evr_a64_load_relaxed(&entry->start_time);

	EQ(start, local_start_time(getpid()));
	CHECK(start);
	evr_a64_store_relaxed(&entry->start_time, start + 1);
	evr_a64_store_relaxed(&entry->pid_ns, local_pid_ns() + 1);
	forget_watches(pair.a);
	local_check_now(pair.a);
	EQ(evr_peer_is_live(pair.a, pair.b_id), true);
	evr_a64_store_relaxed(&entry->pid_ns, local_pid_ns());
	evr_a64_store_relaxed(&entry->time_ns, local_time_ns() + 1);
	forget_watches(pair.a);
	local_check_now(pair.a);
	EQ(evr_peer_is_live(pair.a, pair.b_id), true);
	evr_a64_store_relaxed(&entry->time_ns, local_time_ns());
	evr_a64_store_relaxed(&entry->start_time, 0);
	forget_watches(pair.a);
	local_check_now(pair.a);
	EQ(evr_peer_is_live(pair.a, pair.b_id), true);
	evr_a64_store_relaxed(&entry->start_time, start + 1);
	forget_watches(pair.a);
	local_check_now(pair.a);
	EQ(evr_peer_state(pair.a, pair.b_id), EVR_PEER_DEAD);
	drop_pair(&pair);
}

static void peer_start_time_is_read_behind_any_command_name(void **state)
{
	char name[16] = { 0 };
	uint64_t start = local_start_time(getpid());

	prctl(PR_GET_NAME, name);
	prctl(PR_SET_NAME, "a) S 1 2 (3) 4");
	EQ(local_start_time(getpid()), start);
	prctl(PR_SET_NAME, name);
	EQ(local_start_time(0x7fffffff), 0);
}

/* A late settler of the life before must not end the one that lives now. */
static void peer_evidence_of_an_earlier_life_ends_none(void **state)
{
	struct pair pair = make_pair();
	struct local_peer *own = pair.a->own;
	struct evr_peer *next;

	evr_peer_detach(pair.b);
	EQ(reaped(pair.a, pair.b_id), 0);
	next = attach(pair.segment);
	EQ(evr_peer_self(next).slot, 1);
	own->watches[1].life = life_make(pair.b_id.incarnation, 0, EVR_PEER_LIVE);
	local_check_now(pair.a);
	EQ(evr_peer_is_live(pair.a, evr_peer_self(next)), true);
	pair.b = next;
	drop_pair(&pair);
}

static void peer_handles_leak_no_fds(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer;
	int first = dup(0), i, last;

	close(first);
	for (i = 0; i < 100; i++) {
		peer = attach(segment);
		OK(evr_bell_fd(peer));
		evr_bell_ring(peer, evr_peer_self(peer), 1);
		evr_peer_detach(peer);
	}
	evr_segment_close(segment);
	last = dup(0);
	close(last);
	/* The segment's own fd came before. */
	CHECK(last <= first);
}

int main(void)
{
	static const struct CMUnitTest peer_tests[] = {
		cmocka_unit_test(peer_life_holds_its_parts),
		cmocka_unit_test(peer_slot_whose_incarnations_are_used_up_retires),
		cmocka_unit_test(peer_end_that_was_not_told_is_told_by_the_next_to_look),
		cmocka_unit_test(peer_slot_whose_lock_is_held_is_not_taken),
		cmocka_unit_test(peer_without_its_lock_is_dead),
		cmocka_unit_test(peer_death_makes_the_fd_readable_at_once),
		cmocka_unit_test(
			peer_whose_pid_is_another_process_is_dead_in_the_same_namespaces_only),
		cmocka_unit_test(peer_start_time_is_read_behind_any_command_name),
		cmocka_unit_test(peer_evidence_of_an_earlier_life_ends_none),
		cmocka_unit_test(peer_handles_leak_no_fds),
	};

	return cmocka_run_group_tests(peer_tests, NULL, NULL);
}
