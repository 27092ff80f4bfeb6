// SPDX-License-Identifier: GPL-2.0
/*
 * Bell masks: what is rung, coalesced, taken, given back, dropped.
 *
 * Seen to fail: tests/module/controls/kunit-doorbell-*: a take that clears all of pending; a
 * ring that is not counted; one that reaches an ended peer.
 */
#include <kunit/test.h>

#include "../doorbell.c"

struct pair {
	struct evering_status_entry entry;
	struct evering_peer from;
	struct evering_peer to;
};

static void init_peer(struct evering_peer *peer, u32 slot, struct evering_status_entry *entry)
{
	spin_lock_init(&peer->lock);
	INIT_LIST_HEAD(&peer->parked);
	INIT_LIST_HEAD(&peer->waits);
	init_waitqueue_head(&peer->wq);
	peer->slot = slot;
	peer->entry = entry;
}

static struct pair *make_pair(struct kunit *test)
{
	struct pair *pair = kunit_kzalloc(test, sizeof(*pair), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, pair);
	init_peer(&pair->from, 200, NULL);
	init_peer(&pair->to, 1, &pair->entry);
	return pair;
}

static void doorbell_rings_coalesce(struct kunit *test)
{
	struct pair *pair = make_pair(test);
	struct evering_bells bells;

	KUNIT_EXPECT_EQ(test, push(&pair->to, 0x5, &pair->from), 0);
	KUNIT_EXPECT_EQ(test, push(&pair->to, 0x4, &pair->from), 0);
	KUNIT_EXPECT_EQ(test, push(&pair->to, 0xc, &pair->from), 0);
	KUNIT_EXPECT_EQ(test, pair->entry.rung, 3);
	KUNIT_EXPECT_EQ(test, pair->entry.suppressed, 1);
	KUNIT_EXPECT_EQ(test, evering_bells_take(&pair->to, ~0ULL, &bells, EVERING_RANG_WORDS), 1);
	KUNIT_EXPECT_EQ(test, bells.bits, 0xd);
	KUNIT_EXPECT_EQ(test, bells.rang[0], 0);
	KUNIT_EXPECT_EQ(test, bells.rang[200 / 64], BIT_ULL(200 % 64));
	KUNIT_EXPECT_EQ(test, evering_bells_take(&pair->to, ~0ULL, &bells, EVERING_RANG_WORDS), 0);
}

static void doorbell_take_leaves_other_bells(struct kunit *test)
{
	struct pair *pair = make_pair(test);
	struct evering_bells bells;

	push(&pair->to, 0xf0, &pair->from);
	KUNIT_EXPECT_EQ(test, evering_bells_take(&pair->to, 0x0f, &bells, 0), 0);
	KUNIT_EXPECT_EQ(test, evering_bells_take(&pair->to, 0x30, &bells, 0), 1);
	KUNIT_EXPECT_EQ(test, bells.bits, 0x30);
	KUNIT_EXPECT_EQ(test, pair->to.pending, 0xc0);
	/* Who rang has not been asked for, so it has not been taken. */
	KUNIT_EXPECT_EQ(test, pair->to.rang[200 / 64], BIT_ULL(200 % 64));
}

static void doorbell_given_back_is_pending_again(struct kunit *test)
{
	struct pair *pair = make_pair(test);
	struct evering_bells bells;

	push(&pair->to, 0x3, &pair->from);
	evering_bells_take(&pair->to, 0x1, &bells, EVERING_RANG_WORDS);
	evering_bells_give_back(&pair->to, &bells);
	KUNIT_EXPECT_EQ(test, pair->to.pending, 0x3);
	KUNIT_EXPECT_EQ(test, pair->to.rang[200 / 64], BIT_ULL(200 % 64));
}

static void doorbell_of_the_ended_is_not_rung(struct kunit *test)
{
	struct pair *pair = make_pair(test);
	struct evering_bells bells;

	push(&pair->to, 0x3, &pair->from);
	evering_bells_end(&pair->to);
	KUNIT_EXPECT_EQ(test, pair->to.pending, 0);
	KUNIT_EXPECT_EQ(test, push(&pair->to, 0x1, &pair->from), -ESTALE);
	KUNIT_EXPECT_EQ(test, push(&pair->to, PEER_EVENT, NULL), -ESTALE);
	KUNIT_EXPECT_EQ(test, evering_bells_take(&pair->to, ~0ULL, &bells, 0), -EOWNERDEAD);
	evering_bells_give_back(&pair->to, &bells);
	KUNIT_EXPECT_EQ(test, pair->to.pending, 0);
	KUNIT_EXPECT_EQ(test, pair->entry.rung, 1);
}

static void doorbell_events_follow_the_bits(struct kunit *test)
{
	KUNIT_EXPECT_TRUE(test, bells_events(0) == 0);
	KUNIT_EXPECT_TRUE(test, bells_events(1) == (EPOLLIN | EPOLLRDNORM));
	KUNIT_EXPECT_TRUE(test,
			  bells_events(PEER_EVENT) == (EPOLLIN | EPOLLRDNORM | EPOLLPRI));
}

static struct kunit_case doorbell_cases[] = {
	KUNIT_CASE(doorbell_rings_coalesce),
	KUNIT_CASE(doorbell_take_leaves_other_bells),
	KUNIT_CASE(doorbell_given_back_is_pending_again),
	KUNIT_CASE(doorbell_of_the_ended_is_not_rung),
	KUNIT_CASE(doorbell_events_follow_the_bits),
	{}
};

static struct kunit_suite doorbell_suite = {
	.name = "evering_doorbell",
	.test_cases = doorbell_cases,
};

kunit_test_suite(doorbell_suite);
