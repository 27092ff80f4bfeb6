// SPDX-License-Identifier: GPL-2.0
/*
 * Slots: who may take which, incarnations, what the status page says, wear.
 *
 * Seen to fail: tests/module/controls/kunit-slot-*: slots that never wear out; a reap of any
 * incarnation; a takeover while a writer lives.
 */
#include <kunit/test.h>

#include "../slot.c"

#define SLOTS_NR 3

struct table {
	struct evering_status_header header;
	struct evering_status_entry entries[SLOTS_NR];
};

static const u32 writer = EVERING_RIGHT_OBSERVE | EVERING_RIGHT_WRITE;

static struct evering_slots *make_table(struct kunit *test)
{
	struct table *table = kunit_kzalloc(test, sizeof(*table), GFP_KERNEL);
	struct evering_slots *slots;
	u32 i;

	KUNIT_ASSERT_NOT_NULL(test, table);
	slots = kunit_kzalloc(test, struct_size(slots, slot, SLOTS_NR), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, slots);
	slots->header = &table->header;
	slots->nr = SLOTS_NR;
	slots->incarnation_max = U64_MAX;
	for (i = 0; i < SLOTS_NR; i++)
		slots->slot[i].entry = &table->entries[i];
	return slots;
}

static int find_any(const struct evering_slots *slots, u32 rights)
{
	return evering_slots_find(slots, EVERING_SLOT_ANY, EVERING_SLOT_ANY, rights);
}

static void attach(struct evering_slots *slots, u32 index, u32 rights)
{
	struct evering_tenant tenant = {
		.pid = get_pid(task_tgid(current)),
		.uid = GLOBAL_ROOT_UID,
		.rights = rights,
		.cookie = 0xc0 + index,
	};

	evering_slot_take(slots, index);
	put_pid(evering_slot_live(slots, index, &tenant));
}

static void end(struct evering_slots *slots, u32 index)
{
	evering_slot_dying(slots, index);
	evering_slot_dead(slots, index, EVERING_EXIT_EXIT, 9);
}

static void put_pids(struct evering_slots *slots)
{
	u32 i;

	for (i = 0; i < slots->nr; i++)
		put_pid(slots->slot[i].pid);
}

static void slot_attach_shows_in_status(struct kunit *test)
{
	struct evering_slots *slots = make_table(test);
	const struct evering_status_entry *entry = slots->slot[1].entry;
	u64 generation;

	attach(slots, 1, writer);
	KUNIT_EXPECT_EQ(test, entry->state, EVERING_PEER_LIVE);
	KUNIT_EXPECT_EQ(test, entry->incarnation, 1);
	KUNIT_EXPECT_EQ(test, entry->rights, writer);
	KUNIT_EXPECT_EQ(test, entry->cookie, 0xc1);
	KUNIT_EXPECT_EQ(test, entry->tgid, task_tgid_nr(current));
	KUNIT_EXPECT_EQ(test, slots->live, 1);
	KUNIT_EXPECT_EQ(test, slots->writers, 1);

	generation = slots->header->generation;
	evering_slot_dying(slots, 1);
	KUNIT_EXPECT_EQ(test, entry->state, EVERING_PEER_DYING);
	KUNIT_EXPECT_EQ(test, slots->header->generation, generation + 1);
	evering_slot_dead(slots, 1, EVERING_EXIT_EXIT, 9);
	KUNIT_EXPECT_EQ(test, entry->state, EVERING_PEER_DEAD);
	KUNIT_EXPECT_EQ(test, entry->exit_reason, EVERING_EXIT_EXIT);
	KUNIT_EXPECT_EQ(test, entry->exit_status, 9);
	KUNIT_EXPECT_EQ(test, entry->incarnation, 1);
	KUNIT_EXPECT_EQ(test, slots->header->generation, generation + 2);
	KUNIT_EXPECT_EQ(test, slots->live, 0);
	KUNIT_EXPECT_EQ(test, slots->writers, 0);
	put_pids(slots);
}

static void slot_reap_frees_once(struct kunit *test)
{
	struct evering_slots *slots = make_table(test);

	attach(slots, 0, writer);
	KUNIT_EXPECT_EQ(test, evering_slot_reap(slots, 0, 1), -EBUSY);
	evering_slot_dying(slots, 0);
	KUNIT_EXPECT_EQ(test, evering_slot_reap(slots, 0, 1), -EBUSY);
	evering_slot_dead(slots, 0, EVERING_EXIT_CLOSE, 0);
	KUNIT_EXPECT_EQ(test, evering_slot_reap(slots, 0, 0), -ESTALE);
	KUNIT_EXPECT_EQ(test, evering_slot_reap(slots, 0, 2), -ESTALE);
	KUNIT_EXPECT_EQ(test, evering_slot_reap(slots, SLOTS_NR, 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, evering_slot_reap(slots, 0, 1), 0);
	KUNIT_EXPECT_EQ(test, slots->slot[0].state, EVERING_PEER_FREE);
	KUNIT_EXPECT_EQ(test, evering_slot_reap(slots, 0, 1), -ESTALE);
	attach(slots, 0, writer);
	KUNIT_EXPECT_EQ(test, slots->slot[0].incarnation, 2);
	put_pids(slots);
}

static void slot_of_observer_is_free_at_once(struct kunit *test)
{
	struct evering_slots *slots = make_table(test);

	attach(slots, 0, EVERING_RIGHT_OBSERVE);
	KUNIT_EXPECT_EQ(test, slots->live, 1);
	KUNIT_EXPECT_EQ(test, slots->writers, 0);
	end(slots, 0);
	KUNIT_EXPECT_EQ(test, slots->slot[0].state, EVERING_PEER_FREE);
	KUNIT_EXPECT_EQ(test, slots->slot[0].entry->state, EVERING_PEER_FREE);
	put_pids(slots);
}

static void slot_find_follows_wishes_and_reservations(struct kunit *test)
{
	struct evering_slots *slots = make_table(test);

	KUNIT_EXPECT_EQ(test, find_any(slots, writer), 0);
	KUNIT_EXPECT_EQ(test, evering_slots_find(slots, 2, EVERING_SLOT_ANY, writer), 2);
	KUNIT_EXPECT_EQ(test, evering_slots_find(slots, 3, EVERING_SLOT_ANY, writer), -EINVAL);
	evering_slot_reserve(slots, 0);
	KUNIT_EXPECT_EQ(test, slots->slot[0].entry->state, EVERING_PEER_RESERVED);
	KUNIT_EXPECT_EQ(test, find_any(slots, writer), 1);
	KUNIT_EXPECT_EQ(test, evering_slots_find(slots, 0, EVERING_SLOT_ANY, writer), -EBUSY);
	KUNIT_EXPECT_EQ(test, evering_slots_find(slots, 0, 0, writer), 0);
	KUNIT_EXPECT_EQ(test, evering_slots_find(slots, EVERING_SLOT_ANY, 0, writer), 0);
	evering_slot_unreserve(slots, 0);
	KUNIT_EXPECT_EQ(test, find_any(slots, writer), 0);
}

static void slot_takeover_needs_all_writers_gone(struct kunit *test)
{
	struct evering_slots *slots = make_table(test);

	attach(slots, 0, writer);
	attach(slots, 1, writer);
	attach(slots, 2, writer);
	KUNIT_EXPECT_EQ(test, find_any(slots, writer), -EUSERS);
	end(slots, 0);
	KUNIT_EXPECT_EQ(test, find_any(slots, writer), -EUSERS);
	end(slots, 1);
	end(slots, 2);
	KUNIT_EXPECT_EQ(test, find_any(slots, EVERING_RIGHT_OBSERVE), -EUSERS);
	KUNIT_EXPECT_EQ(test, find_any(slots, writer), 0);
	attach(slots, 0, writer);
	KUNIT_EXPECT_EQ(test, slots->slot[0].incarnation, 2);
	KUNIT_EXPECT_EQ(test, find_any(slots, writer), -EUSERS);
	put_pids(slots);
}

static void slot_cancelled_attach_leaves_no_trace(struct kunit *test)
{
	struct evering_slots *slots = make_table(test);
	u64 generation = slots->header->generation;

	evering_slot_take(slots, 0);
	KUNIT_EXPECT_EQ(test, find_any(slots, writer), 1);
	evering_slot_cancel(slots, 0);
	KUNIT_EXPECT_EQ(test, slots->slot[0].incarnation, 0);
	KUNIT_EXPECT_EQ(test, slots->slot[0].state, EVERING_PEER_FREE);
	KUNIT_EXPECT_EQ(test, slots->slot[0].entry->state, EVERING_PEER_FREE);
	KUNIT_EXPECT_EQ(test, slots->header->generation, generation);
	KUNIT_EXPECT_EQ(test, find_any(slots, writer), 0);
}

static void slot_worn_out_retires(struct kunit *test)
{
	struct evering_slots *slots = make_table(test);

	slots->incarnation_max = 2;
	attach(slots, 0, writer);
	end(slots, 0);
	KUNIT_EXPECT_EQ(test, evering_slot_reap(slots, 0, 1), 0);
	KUNIT_EXPECT_EQ(test, slots->slot[0].state, EVERING_PEER_FREE);
	attach(slots, 0, writer);
	end(slots, 0);
	KUNIT_EXPECT_EQ(test, evering_slot_reap(slots, 0, 2), 0);
	KUNIT_EXPECT_EQ(test, slots->slot[0].entry->state, EVERING_PEER_RETIRED);
	KUNIT_EXPECT_EQ(test, find_any(slots, writer), 1);
	KUNIT_EXPECT_EQ(test, evering_slots_find(slots, 0, EVERING_SLOT_ANY, writer), -EBUSY);
	put_pids(slots);
}

static struct kunit_case slot_cases[] = {
	KUNIT_CASE(slot_attach_shows_in_status),
	KUNIT_CASE(slot_reap_frees_once),
	KUNIT_CASE(slot_of_observer_is_free_at_once),
	KUNIT_CASE(slot_find_follows_wishes_and_reservations),
	KUNIT_CASE(slot_takeover_needs_all_writers_gone),
	KUNIT_CASE(slot_cancelled_attach_leaves_no_trace),
	KUNIT_CASE(slot_worn_out_retires),
	{}
};

static struct kunit_suite slot_suite = {
	.name = "evering_slot",
	.test_cases = slot_cases,
};

kunit_test_suite(slot_suite);

MODULE_DESCRIPTION("KUnit suites of evering");
MODULE_LICENSE("GPL");
