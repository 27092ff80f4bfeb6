/* SPDX-License-Identifier: MIT */
/*
 * Peers on either backend: slots, addresses, rights, states, hand-over.
 *
 * Seen to fail: tests/unit/controls, peer-off-by-one.
 */
#include "scene.h"

#include <fcntl.h>

static int try_attach(struct evr_segment *segment, const struct evr_peer_options *options)
{
	struct evr_peer *peer = (void *)0x5a;
	int err = evr_peer_attach(&peer, segment, options);

	CHECK(err < 0 && !peer);
	return err;
}

static void peer_slots_are_taken_in_order_and_run_out(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer_options options = { .struct_sz = sizeof(options), .slot_set = true };
	struct evr_peer *peers[4];
	uint32_t i;

	for (i = 0; i < 4; i++) {
		peers[i] = attach(segment);
		EQ(evr_peer_self(peers[i]).slot, i);
		CHECK(evr_peer_self(peers[i]).incarnation >= 1);
		EQ(evr_peer_rights(peers[i]) & EVR_RIGHT_WRITE, EVR_RIGHT_WRITE);
	}
	EQ(info_of(segment).peers, 4);
	EQ(try_attach(segment, NULL), -EUSERS);
	CHECK(strlen(evr_error_detail()));
	options.slot = 3;
	EQ(try_attach(segment, &options), -EBUSY);
	options.slot = 4;
	EQ(try_attach(segment, &options), -EINVAL);
	DETAIL("slot is 4");
	for (i = 0; i < 4; i++)
		evr_peer_detach(peers[i]);
	EQ(info_of(segment).peers, 0);
	evr_segment_close(segment);
}

static void peer_wanted_slot_is_given(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *last = attach_slot(segment, 3), *first = attach(segment);

	EQ(evr_peer_self(last).slot, 3);
	EQ(evr_peer_self(first).slot, 0);
	evr_peer_detach(first);
	evr_peer_detach(last);
	evr_segment_close(segment);
}

static void peer_unknown_flag_is_refused(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer_options options = { .struct_sz = sizeof(options), .flags = 4 };

	EQ(try_attach(segment, &options), -EINVAL);
	DETAIL("flags 0x4");
	options.flags = 0;
	options.struct_sz = 4;
	EQ(try_attach(segment, &options), -EINVAL);
	DETAIL("struct_sz is 4");
	evr_segment_close(segment);
}

static void peer_at_is_bounded_by_the_regions(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment);
	uint64_t peers_end = 2 * BLOCK + 4 * PAGE;

	CHECK(evr_peer_at(peer, 0, 64));
	CHECK(evr_peer_at(peer, BLOCK, BLOCK));
	CHECK(!evr_peer_at(peer, BLOCK - 1, 1));
	CHECK(!evr_peer_at(peer, BLOCK - 1, 2));
	CHECK(evr_peer_at(peer, 2 * BLOCK - 1, 1));
	CHECK(!evr_peer_at(peer, 2 * BLOCK - 1, 2));
	CHECK(evr_peer_at(peer, 2 * BLOCK, 4 * PAGE));
	CHECK(!evr_peer_at(peer, 2 * BLOCK, 4 * PAGE + 1));
	CHECK(evr_peer_at(peer, peers_end - 1, 1));
	CHECK(!evr_peer_at(peer, peers_end, 1));
	CHECK(!evr_peer_at(peer, peers_end, 0));
	CHECK(!evr_peer_at(peer, BLOCK, UINT64_MAX));
	CHECK(!evr_peer_at(peer, UINT64_MAX, 1));
	CHECK(!evr_peer_at(peer, UINT64_MAX, UINT64_MAX));
	DETAIL("not in a region");
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void peer_off_is_the_reverse_of_at(void **state)
{
	static const uint64_t offs[] = { 0, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK + PAGE };
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment);
	unsigned char *base = evr_peer_at(peer, 0, 1);
	size_t i;

	for (i = 0; i < sizeof(offs) / sizeof(offs[0]); i++) {
		EQ((unsigned char *)evr_peer_at(peer, offs[i], 1) - base, offs[i]);
		EQ(evr_peer_off(peer, base + offs[i]), offs[i]);
	}
	EQ(evr_peer_off(peer, base - 1), -1);
	EQ(evr_peer_off(peer, base + BLOCK - 1), -1);
	EQ(evr_peer_off(peer, &i), -1);
	EQ(evr_peer_off(peer, NULL), -1);
	EQ((uintptr_t)base % BLOCK, 0);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void peer_writes_shared_and_its_own_region_only(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *a = attach(segment), *b = attach(segment);
	const struct {
		uint64_t off;
		bool by_a, by_b;
	} rules[] = {
		{ 0, false, false },
		{ BLOCK, true, true },
		{ 2 * BLOCK - 1, true, true },
		{ 2 * BLOCK, true, false },
		{ 2 * BLOCK + PAGE - 1, true, false },
		{ 2 * BLOCK + PAGE, false, true },
		{ 2 * BLOCK + 2 * PAGE, false, false },
		{ 2 * BLOCK + 4 * PAGE - 1, false, false },
	};
	size_t i;

	for (i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		EQ(evr_peer_is_writable(a, rules[i].off, 1), rules[i].by_a);
		EQ(evr_peer_is_writable(b, rules[i].off, 1), rules[i].by_b);
		EQ(touch_write(evr_peer_at(a, rules[i].off, 1)), rules[i].by_a ? 0 : SIGSEGV);
		EQ(touch_write(evr_peer_at(b, rules[i].off, 1)), rules[i].by_b ? 0 : SIGSEGV);
	}
	EQ(evr_peer_is_writable(a, 2 * BLOCK, PAGE), true);
	EQ(evr_peer_is_writable(a, 2 * BLOCK, PAGE + 1), false);
	EQ(*(unsigned char *)evr_peer_at(b, 2 * BLOCK, 1), 1);
	evr_peer_detach(a);
	evr_peer_detach(b);
	evr_segment_close(segment);
}

static void peer_observer_reads_all_and_writes_nothing(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *writer = attach(segment), *observer = attach_observer(segment);
	struct evr_peer_info info;

	EQ(evr_peer_rights(observer) & EVR_RIGHT_WRITE, 0);
	*(unsigned char *)evr_peer_at(writer, BLOCK, 1) = 42;
	EQ(*(unsigned char *)evr_peer_at(observer, BLOCK, 1), 42);
	EQ(touch_write(evr_peer_at(observer, BLOCK, 1)), SIGSEGV);
	EQ(touch_write(evr_peer_at(observer, 2 * BLOCK + PAGE, 1)), SIGSEGV);
	EQ(touch_write(evr_peer_at(observer, 0, 1)), SIGSEGV);
	EQ(evr_peer_is_writable(observer, BLOCK, 1), false);
	EQ(evr_bell_ring(observer, evr_peer_self(writer), 1), -EACCES);
	EQ(reaped(observer, evr_peer_self(writer)), -EACCES);
	OK(evr_peer_info(writer, evr_peer_self(observer).slot, &info));
	EQ(info.rights & EVR_RIGHT_WRITE, 0);
	/* Rung it can be. */
	EQ(evr_bell_ring(writer, evr_peer_self(observer), 1), 0);
	EQ(evr_bell_wait(observer, 1, evr_now_ns() + HANG_MS * 1000000ull, NULL), 0);
	evr_peer_detach(observer);
	evr_peer_detach(writer);
	evr_segment_close(segment);
}

static void peer_life_goes_from_live_to_dead_to_free(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *a = attach(segment), *b = attach(segment), *next;
	struct evr_peer_id id = evr_peer_self(b), wrong = id;
	struct evr_peer_info info;

	EQ(evr_peer_state(a, id), EVR_PEER_LIVE);
	EQ(evr_peer_is_live(a, id), true);
	EQ(reaped(a, id), -EBUSY);
	evr_peer_detach(b);
	EQ(evr_peer_state(a, id), EVR_PEER_DEAD);
	EQ(evr_peer_is_live(a, id), false);
	OK(evr_peer_info(a, id.slot, &info));
	EQ(info.state, EVR_PEER_DEAD);
	EQ(info.exit_reason, EVR_EXIT_DETACH);
	EQ(info.id.incarnation, id.incarnation);
	wrong.incarnation++;
	EQ(reaped(a, wrong), -ESTALE);
	wrong.slot = 4;
	EQ(reaped(a, wrong), -EINVAL);
	EQ(reaped(a, id), 0);
	EQ(reaped(a, id), -ESTALE);
	EQ(evr_peer_state(a, id), EVR_PEER_DEAD);
	OK(evr_peer_info(a, id.slot, &info));
	EQ(info.state, EVR_PEER_FREE);
	next = attach(segment);
	EQ(evr_peer_self(next).slot, id.slot);
	EQ(evr_peer_self(next).incarnation, id.incarnation + 1);
	EQ(evr_peer_state(a, id), EVR_PEER_DEAD);
	EQ(evr_peer_is_live(a, evr_peer_self(next)), true);
	EQ(reaped(a, id), -ESTALE);
	evr_peer_detach(next);
	evr_peer_detach(a);
	evr_segment_close(segment);
}

static void peer_slot_is_not_reused_before_it_is_reaped(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peers[4];
	struct evr_peer_id dead;
	int i;

	for (i = 0; i < 4; i++)
		peers[i] = attach(segment);
	dead = evr_peer_self(peers[2]);
	evr_peer_detach(peers[2]);
	EQ(try_attach(segment, NULL), -EUSERS);
	EQ(reaped(peers[0], dead), 0);
	peers[2] = attach(segment);
	EQ(evr_peer_self(peers[2]).slot, 2);
	for (i = 0; i < 4; i++)
		evr_peer_detach(peers[i]);
	evr_segment_close(segment);
}

static void peer_last_to_leave_makes_room_for_all(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peers[4];
	struct evr_peer_info infos[4];
	int i, round;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < 4; i++)
			peers[i] = attach(segment);
		EQ(evr_segment_peers(segment, infos, 4), 4);
		EQ(infos[3].id.incarnation, evr_peer_self(peers[3]).incarnation);
		for (i = 0; i < 4; i++)
			evr_peer_detach(peers[i]);
		EQ(info_of(segment).peers, 0);
	}
	evr_segment_close(segment);
}

static void peer_info_tells_who_it_is(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer_options options = {
		.struct_sz = sizeof(options),
		.cookie = 0x123456789abcdefull,
	};
	struct evr_peer *peer, *other;
	struct evr_peer_info infos[2], info;

	OK(evr_peer_attach(&peer, segment, &options));
	other = attach_slot(segment, 2);
	memset(infos, 0x5a, sizeof(infos));
	EQ(evr_peer_list(other, infos, 2), 2);
	EQ(infos[0].id.slot, 0);
	EQ(infos[0].cookie, options.cookie);
	EQ(infos[0].pid, getpid());
	EQ(infos[0].uid, geteuid());
	EQ(infos[0].state, EVR_PEER_LIVE);
	EQ(infos[0].exit_reason, EVR_EXIT_NONE);
	CHECK(infos[0].attached_ns >= info_of(segment).created_ns);
	EQ(infos[1].id.slot, 2);
	EQ(infos[1].cookie, 0);
	memset(infos, 0x5a, sizeof(infos));
	EQ(evr_segment_peers(segment, infos, 1), 2);
	EQ(infos[0].cookie, options.cookie);
	EQ(infos[1].cookie, 0x5a5a5a5a5a5a5a5all);
	EQ(evr_peer_list(other, NULL, 0), 2);
	OK(evr_peer_info(other, 3, &info));
	EQ(info.state, EVR_PEER_FREE);
	EQ(evr_peer_info(other, 4, &info), -EINVAL);
	evr_peer_detach(other);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void peer_state_of_no_such_slot_is_dead(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment);
	static const uint32_t slots[] = { 4, 255, 256, EVR_SLOT_ANY };
	size_t i;

	for (i = 0; i < 4; i++)
		EQ(evr_peer_state(peer, (struct evr_peer_id){ slots[i], 1 }), EVR_PEER_DEAD);
	/* Never lived, lives later. */
	EQ(evr_peer_state(peer, (struct evr_peer_id){ 1, 1 }), EVR_PEER_DEAD);
	EQ(evr_peer_state(peer, (struct evr_peer_id){ 0, 99 }), EVR_PEER_DEAD);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void peer_generation_changes_with_each_event(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *a = attach(segment), *b;
	struct evr_peer_id id;
	uint64_t before = evr_peer_generation(a);

	EQ(evr_peer_generation(a), before);
	b = attach(segment);
	id = evr_peer_self(b);
	CHECK(evr_peer_generation(a) != before);
	before = evr_peer_generation(a);
	evr_peer_detach(b);
	CHECK(evr_peer_generation(a) != before);
	before = evr_peer_generation(a);
	EQ(reaped(a, id), 0);
	CHECK(evr_peer_generation(a) != before);
	evr_peer_detach(a);
	evr_segment_close(segment);
}

static void peer_outlives_the_segment_handle(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment), *second;

	evr_segment_close(segment);
	EQ(touch_write(evr_peer_at(peer, BLOCK, 1)), 0);
	second = attach(evr_peer_segment(peer));
	EQ(evr_peer_is_live(peer, evr_peer_self(second)), true);
	evr_peer_detach(second);
	evr_peer_detach(peer);
}

static void use_as_forked(struct child *child, void *arg)
{
	struct evr_peer *inherited = arg, *own;
	struct evr_segment *segment = evr_peer_segment(inherited);

	EQ(touch_write(evr_peer_at(inherited, BLOCK, 1)), SIGSEGV);
	/* Must not end the parent's peer. */
	own = attach(segment);
	EQ(evr_peer_self(own).slot, 1);
	EQ(touch_write(evr_peer_at(own, BLOCK, 1)), 0);
	evr_peer_detach(inherited);
	evr_peer_detach(own);
}

static void peer_forked_child_is_no_peer_and_may_become_one(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment);
	struct child child;

	child_start(&child, use_as_forked, peer);
	child_join(&child);
	EQ(evr_peer_state(peer, evr_peer_self(peer)), EVR_PEER_LIVE);
	EQ(*(unsigned char *)evr_peer_at(peer, BLOCK, 1), 1);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void do_nothing(struct child *child, void *arg)
{
	child_say(child, 0);
	pause();
}

static void peer_slot_that_was_left_is_not_held_by_a_forked_child(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment), *other = attach(segment);
	struct evr_peer_id id = evr_peer_self(other);
	struct child child;

	child_start(&child, do_nothing, NULL);
	child_hear(&child);
	evr_peer_detach(other);
	EQ(reaped(peer, id), 0);
	other = attach_slot(segment, id.slot);
	EQ(evr_peer_self(other).incarnation, id.incarnation + 1);
	child_kill(&child);
	EQ(evr_peer_is_live(peer, evr_peer_self(other)), true);
	evr_peer_detach(other);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void adopt_sent(struct child *child, void *arg)
{
	struct evr_segment *segment;
	struct evr_peer *peer;

	OK(evr_segment_adopt(&segment, child_take(child)));
	peer = attach(segment);
	strcpy(evr_peer_at(peer, BLOCK, 16), "by socket");
	child_say(child, evr_peer_self(peer).slot);
	child_hear(child);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void peer_attaches_by_an_fd_that_was_sent(void **state)
{
	struct evr_segment *segment;
	struct evr_peer *peer;
	struct child child;

	child_start(&child, adopt_sent, NULL);
	segment = plain_segment();
	peer = attach(segment);
	child_pass(&child, evr_segment_fd(segment));
	EQ(child_hear(&child), 1);
	EQ(strcmp(evr_peer_at(peer, BLOCK, 16), "by socket"), 0);
	child_say(&child, 0);
	child_join(&child);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

/* What this program does when it was executed with an fd of a segment. */
static int attach_inherited(int fd)
{
	struct evr_segment *segment;
	struct evr_peer *peer;

	if (evr_segment_adopt(&segment, fd) || evr_peer_attach(&peer, segment, NULL))
		return 1;
	strcpy(evr_peer_at(peer, BLOCK, 16), "by inheritance");
	evr_peer_detach(peer);
	evr_segment_close(segment);
	return 0;
}

static void execute_self(struct child *child, void *arg)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", *(int *)arg);
	fcntl(*(int *)arg, F_SETFD, 0);
	execl("/proc/self/exe", "attach-inherited", number, NULL);
	CHECK(!"execl");
}

static void peer_attaches_by_an_fd_that_was_inherited(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment);
	int fd = evr_segment_fd(segment);
	struct child child;

	child_start(&child, execute_self, &fd);
	child_join(&child);
	EQ(strcmp(evr_peer_at(peer, BLOCK, 16), "by inheritance"), 0);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void peer_populate_gives_the_same_memory(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer_options options = { .struct_sz = sizeof(options), .populate = true };
	struct evr_peer *peer, *other = attach(segment);

	OK(evr_peer_attach(&peer, segment, &options));
	*(unsigned char *)evr_peer_at(other, 2 * BLOCK - 1, 1) = 9;
	EQ(*(unsigned char *)evr_peer_at(peer, 2 * BLOCK - 1, 1), 9);
	evr_peer_detach(other);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void peer_all_256_slots_can_live(void **state)
{
	struct evr_segment_options options = plain_options();
	struct evr_segment *segment;
	struct evr_peer *first;
	struct evr_peer *peers[16];
	int i, round;

	options.peers_max = 256;
	options.reserve_sz = BLOCK;
	segment = segment_of(&options);
	first = attach_slot(segment, 255);
	/* A few at a time: each has fds and addresses of its own. */
	for (round = 0; round < 15; round++) {
		for (i = 0; i < 16; i++) {
			peers[i] = attach_slot(segment, (uint32_t)(round * 16 + i));
			EQ(touch_write(evr_peer_at(
				   peers[i], 2 * BLOCK + (uint64_t)(round * 16 + i) * PAGE, 1)),
			   0);
		}
		for (i = 0; i < 16; i++)
			evr_peer_detach(peers[i]);
	}
	EQ(info_of(segment).peers, 1);
	evr_peer_detach(first);
	evr_segment_close(segment);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest peer_tests[] = {
		cmocka_unit_test(peer_slots_are_taken_in_order_and_run_out),
		cmocka_unit_test(peer_wanted_slot_is_given),
		cmocka_unit_test(peer_unknown_flag_is_refused),
		cmocka_unit_test(peer_at_is_bounded_by_the_regions),
		cmocka_unit_test(peer_off_is_the_reverse_of_at),
		cmocka_unit_test(peer_writes_shared_and_its_own_region_only),
		cmocka_unit_test(peer_observer_reads_all_and_writes_nothing),
		cmocka_unit_test(peer_life_goes_from_live_to_dead_to_free),
		cmocka_unit_test(peer_slot_is_not_reused_before_it_is_reaped),
		cmocka_unit_test(peer_last_to_leave_makes_room_for_all),
		cmocka_unit_test(peer_info_tells_who_it_is),
		cmocka_unit_test(peer_state_of_no_such_slot_is_dead),
		cmocka_unit_test(peer_generation_changes_with_each_event),
		cmocka_unit_test(peer_outlives_the_segment_handle),
		cmocka_unit_test(peer_forked_child_is_no_peer_and_may_become_one),
		cmocka_unit_test(peer_slot_that_was_left_is_not_held_by_a_forked_child),
		cmocka_unit_test(peer_attaches_by_an_fd_that_was_sent),
		cmocka_unit_test(peer_attaches_by_an_fd_that_was_inherited),
		cmocka_unit_test(peer_populate_gives_the_same_memory),
		cmocka_unit_test(peer_all_256_slots_can_live),
	};

	if (!strcmp(argv[0], "attach-inherited") && argc == 2)
		return attach_inherited(atoi(argv[1]));
	return run_suite(peer_tests);
}
