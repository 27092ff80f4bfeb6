/* SPDX-License-Identifier: MIT */
/*
 * Channels: sizes at their limits, both directions, would-block reasons, credit, the
 * ends of directions and sessions. Who waits is in test_channel_wait.c.
 *
 * Mutants seen to fail here: an endpoint given out while the other end is in session with
 * its last holder, or was never asked whether it is (channel_session_*, channel_sender_that_*);
 * nothing recovered, or nothing dropped, at the end of a session (channel_session_*).
 */
#include "channels.h"

static int send_urgent(struct evr_channel *ch, uint64_t value)
{
	struct evr_message m = {
		.data = &value, .sz = sizeof(value), .tag = value, .flags = EVR_MESSAGE_URGENT
	};

	return evr_channel_send_message(ch, &m);
}

static void channel_wrong_options_refused(void **state)
{
	struct evr_channel_options o = { .struct_sz = sizeof(o) };
	struct pair *pair = *state;
	struct evr_spsc_options ring = { .struct_sz = sizeof(ring) };
	struct evr_channel ch;

	o.capacity = 1000;
	assert_int_equal(evr_channel_create(pair->peer, "c", &o), -EINVAL);
	o.capacity = 1024;
	o.inline_max = 1024 - 16 - 16 + 1;
	assert_int_equal(evr_channel_create(pair->peer, "c", &o), -EINVAL);
	o.inline_max = UINT64_MAX;
	assert_int_equal(evr_channel_create(pair->peer, "c", &o), -EINVAL);
	o.capacity = 0;
	o.urgent_capacity = 1024;
	o.inline_max = 1024 - 16 - 16 + 1;
	assert_int_equal(evr_channel_create(pair->peer, "c", &o), -EINVAL);
	o.inline_max = 1024 - 16 - 16;
	o.type_tag = 5;
	assert_int_equal(evr_channel_create(pair->peer, "c", &o), 0);
	assert_int_equal(evr_channel_create(pair->peer, "c", &o), -EEXIST);

	assert_int_equal(evr_channel_open(&ch, pair->peer, "c", 2, 0), -EINVAL);
	assert_int_equal(evr_channel_open(&ch, pair->peer, "d", EVR_CHANNEL_A, 0), -ENOENT);
	assert_int_equal(evr_channel_open(&ch, pair->peer, "c", EVR_CHANNEL_A, 6), -EINVAL);
	assert_int_equal(evr_spsc_create(pair->peer, "ring", &ring), 0);
	assert_int_equal(evr_channel_open(&ch, pair->peer, "ring", EVR_CHANNEL_A, 0), -EINVAL);
	assert_int_equal(evr_channel_open(&ch, pair->peer, "c", EVR_CHANNEL_A, 5), 0);
	assert_int_equal(evr_channel_open(&ch + 0, pair->peer, "c", EVR_CHANNEL_A, 0), -EBUSY);
}

static void channel_message_of_each_size_arrives_both_ways(void **state)
{
	uint8_t data[INLINE_MAX + 1];
	struct pair *pair = *state;
	struct evr_channel a, b, *from, *to;
	struct evr_message m;
	uint64_t sz;

	make_channel(pair, 0, 0);
	open_both(pair, &a, &b);
	assert_true(evr_channel_inline_max(&a) == INLINE_MAX);
	for (sz = 0; sz <= 2 * INLINE_MAX + 1; sz++) {
		from = sz % 2 ? &a : &b;
		to = sz % 2 ? &b : &a;
		memset(data, (int)sz, sizeof(data));
		assert_int_equal(evr_channel_recv(to, &m), -EAGAIN);
		assert_int_equal(evr_channel_send(from, data, sz / 2, sz << 40), 0);
		assert_int_equal(evr_channel_recv(to, &m), 0);
		assert_true(m.sz == sz / 2 && m.tag == sz << 40 && m.id == 0);
		assert_true(m.kind == EVR_FRAME_INLINE && m.flags == 0);
		assert_int_equal((uintptr_t)m.data % 16, 0);
		assert_memory_equal(m.data, data, sz / 2);
		evr_channel_release(to, &m);
	}
	assert_int_equal(evr_channel_send(&a, data, INLINE_MAX + 1, 0), -EMSGSIZE);
	assert_int_equal(evr_channel_send(&a, data, UINT64_MAX, 0), -EMSGSIZE);
	m = (struct evr_message){ .flags = 0x80 };
	assert_int_equal(evr_channel_send_message(&a, &m), -EINVAL);
	m = (struct evr_message){ .kind = 7 };
	assert_int_equal(evr_channel_send_message(&a, &m), -EINVAL);
	close_both(&a, &b);
}

static void channel_says_who_is_there(void **state)
{
	struct pair *pair = *state;
	struct evr_channel a, b;

	make_channel(pair, 0, 0);
	open_end(pair, &a, EVR_CHANNEL_A);
	assert_int_equal(evr_channel_state(&a), EVR_RING_NO_PEER);
	assert_int_equal(evr_channel_other(&a).slot, EVR_SLOT_ANY);
	assert_int_equal(send_value(&a, 1), -ENOTCONN);
	assert_int_equal(recv_value(&a), -ENOTCONN);
	open_end(pair, &b, EVR_CHANNEL_B);
	assert_int_equal(evr_channel_open(&(struct evr_channel){ 0 }, pair->peer, "c",
					  EVR_CHANNEL_B, 0),
			 -EBUSY);
	assert_int_equal(evr_channel_state(&a), EVR_RING_OK);
	assert_int_equal(evr_channel_other(&a).slot, evr_peer_self(pair->peer).slot);
	assert_int_equal(send_value(&b, 1), 0);
	assert_int_equal(send_value(&b, 2), 0);
	evr_channel_close(&b);
	assert_int_equal(evr_channel_state(&b), EVR_RING_CLOSED);
	assert_int_equal(send_value(&b, 3), -EPIPE);
	assert_int_equal(recv_value(&b), -EPIPE);
	assert_int_equal(send_value(&a, 3), -EPIPE);
	/* All that was sent comes before the end. */
	assert_int_equal(recv_value(&a), 1);
	assert_int_equal(recv_value(&a), 2);
	assert_int_equal(recv_value(&a), -EPIPE);
	assert_int_equal(evr_channel_state(&a), EVR_RING_CLOSED);
	evr_channel_close(&a);
	evr_channel_close(&a);
}

static void channel_urgent_message_overtakes(void **state)
{
	uint8_t data[INLINE_MAX] = { 0 };
	struct evr_message m = { .data = data, .flags = EVR_MESSAGE_URGENT };
	struct pair *pair = *state;
	struct evr_channel a, b;
	uint64_t i;

	make_channel(pair, 3, 0);
	open_both(pair, &a, &b);
	for (i = 1; i <= 3; i++)
		assert_int_equal(send_value(&a, i), 0);
	assert_int_equal(send_value(&a, 4), -ENOBUFS);
	/* It takes no credit. */
	assert_int_equal(send_urgent(&a, 10), 0);
	assert_int_equal(send_urgent(&a, 11), 0);
	assert_int_equal(recv_value(&b), 10);
	assert_int_equal(recv_value(&b), 11);
	assert_int_equal(recv_value(&b), 1);
	assert_int_equal(send_urgent(&a, 12), 0);
	assert_int_equal(recv_value(&b), 12);
	assert_int_equal(recv_value(&b), 2);
	assert_int_equal(recv_value(&b), 3);
	assert_int_equal(recv_value(&b), -EAGAIN);
	m.sz = INLINE_MAX;
	for (i = 0; !evr_channel_send_message(&a, &m); i++)
		assert_true(i < 100);
	assert_int_equal(evr_channel_send_message(&a, &m), -EAGAIN);
	assert_int_equal(send_value(&a, 5), 0);
	close_both(&a, &b);
}

static void channel_full_says_so(void **state)
{
	uint8_t data[INLINE_MAX] = { 0 };
	struct evr_channel_counts counts;
	struct pair *pair = *state;
	struct evr_channel a, b;
	struct evr_message m;
	uint64_t nr = 0;

	make_channel(pair, 0, 0);
	open_both(pair, &a, &b);
	while (!evr_channel_send(&a, data, sizeof(data), nr))
		nr++;
	/* A frame has 16 + 16 + 208 bytes. */
	assert_true(nr == 4096 / 240);
	assert_int_equal(evr_channel_send(&a, data, sizeof(data), nr), -EAGAIN);
	assert_int_equal(evr_channel_recv(&b, &m), 0);
	assert_int_equal(evr_channel_send(&a, data, sizeof(data), nr), -EAGAIN);
	evr_channel_release(&b, &m);
	assert_int_equal(evr_channel_send(&a, data, sizeof(data), nr), 0);
	evr_channel_counts(&a, &counts);
	assert_true(counts.ends[EVR_CHANNEL_A].sent == nr + 1);
	assert_true(counts.ends[EVR_CHANNEL_A].full == 3);
	assert_true(counts.ends[EVR_CHANNEL_B].received == 1);
	close_both(&a, &b);
}

static void channel_messages_are_held_and_released_in_any_order(void **state)
{
	static const int order[] = { 2, 0, 3, 1, 1, 4 };
	static const uint64_t released[] = { 0, 1, 1, 4, 4, 5 };
	struct pair *pair = *state;
	struct evr_message ms[EVR_CHANNEL_HELD + 1], copy;
	struct evr_channel a, b;
	struct evr_ring_counts counts;
	int i;

	make_channel(pair, 0, 0);
	open_both(pair, &a, &b);
	for (i = 0; i < EVR_CHANNEL_HELD + 1; i++)
		assert_int_equal(send_value(&a, (uint64_t)i), 0);
	for (i = 0; i < EVR_CHANNEL_HELD; i++) {
		assert_int_equal(evr_channel_peek(&b, &copy), 0);
		assert_int_equal(evr_channel_recv(&b, &ms[i]), 0);
		assert_true(ms[i].tag == (uint64_t)i && copy.data == ms[i].data);
	}
	assert_int_equal(evr_channel_recv(&b, &ms[i]), -EBUSY);
	copy = ms[2];
	for (i = 0; i < 6; i++) {
		evr_channel_release(&b, &ms[order[i]]);
		evr_lane_counts(&b.rx[0].lane, EVR_CONSUMER, &counts);
		/* As far as there is no gap; a second release does nothing. */
		assert_true(counts.messages == released[i]);
		evr_channel_release(&b, &copy);
		copy = ms[order[i]];
	}
	close_both(&a, &b);
}

static void channel_batch_is_published_at_once(void **state)
{
	uint64_t values[40];
	struct evr_message ms[40] = { 0 }, got[50], one;
	struct pair *pair = *state;
	struct evr_channel a, b;
	int i;

	make_channel(pair, 30, 0);
	open_both(pair, &a, &b);
	for (i = 0; i < 40; i++) {
		values[i] = (uint64_t)i;
		ms[i].data = &values[i];
		ms[i].sz = 8;
		ms[i].tag = (uint64_t)i;
	}
	assert_int_equal(evr_channel_send_many(&a, ms, 0), 0);
	assert_int_equal(evr_channel_send_many(&a, ms, 40), 30);
	assert_int_equal(evr_channel_send_many(&a, ms, 40), -ENOBUFS);
	assert_int_equal(evr_channel_recv_many(&b, got, 50), 30);
	for (i = 0; i < 30; i++) {
		assert_true(got[i].tag == (uint64_t)i);
		assert_memory_equal(got[i].data, &values[i], 8);
		evr_channel_release(&b, &got[i]);
	}
	assert_int_equal(evr_channel_recv_many(&b, got, 50), -EAGAIN);
	assert_int_equal(evr_channel_send_many(&a, &ms[30], 10), 10);
	assert_int_equal(evr_channel_recv(&b, &one), 0);
	assert_true(one.tag == 30);
	close_both(&a, &b);
}

static void channel_reservation_is_written_in_place(void **state)
{
	struct pair *pair = *state;
	struct evr_channel a, b;
	struct evr_message m;
	void *to = &m;

	make_channel(pair, 0, 0);
	open_both(pair, &a, &b);
	assert_int_equal(evr_channel_commit(&a, 0, 0), -EINVAL);
	assert_int_equal(evr_channel_reserve(&a, INLINE_MAX + 1, &to), -EMSGSIZE);
	assert_null(to);
	assert_int_equal(evr_channel_reserve(&a, INLINE_MAX, &to), 0);
	memcpy(to, "in place", 8);
	assert_int_equal(evr_channel_recv(&b, &m), -EAGAIN);
	assert_int_equal(evr_channel_commit(&a, INLINE_MAX + 1, 5), -EINVAL);
	assert_int_equal(evr_channel_commit(&a, 8, 5), 0);
	assert_int_equal(evr_channel_commit(&a, 8, 5), -EINVAL);
	assert_int_equal(evr_channel_recv(&b, &m), 0);
	assert_true(m.sz == 8 && m.tag == 5 && m.data == to && !memcmp(to, "in place", 8));
	evr_channel_release(&b, &m);
	assert_int_equal(evr_channel_reserve(&a, 1, &to), 0);
	evr_channel_cancel(&a);
	assert_int_equal(evr_channel_commit(&a, 1, 5), -EINVAL);
	assert_int_equal(evr_channel_recv(&b, &m), -EAGAIN);
	close_both(&a, &b);
}

static void channel_credit_bounds_what_is_unreleased(void **state)
{
	struct evr_channel_counts counts;
	struct pair *pair = *state;
	struct evr_channel a, b;
	struct evr_message m, second;
	uint8_t data[100];

	make_channel(pair, 2, 100);
	open_both(pair, &a, &b);
	assert_int_equal(evr_channel_send(&a, data, 50, 1), 0);
	assert_int_equal(evr_channel_send(&a, data, 51, 2), -ENOBUFS);
	assert_int_equal(evr_channel_send(&a, data, 50, 2), 0);
	assert_int_equal(evr_channel_send(&a, data, 0, 3), -ENOBUFS);
	assert_int_equal(evr_channel_recv(&b, &m), 0);
	assert_int_equal(evr_channel_recv(&b, &second), 0);
	assert_int_equal(evr_channel_send(&a, data, 0, 3), -ENOBUFS);
	/* Credit comes back in any order, room in the stream does not. */
	evr_channel_release(&b, &second);
	assert_int_equal(evr_channel_send(&a, data, 50, 3), 0);
	assert_int_equal(evr_channel_send(&a, data, 0, 4), -ENOBUFS);
	evr_channel_grant(&b, 3, 100);
	assert_int_equal(evr_channel_send(&a, data, 1, 4), -ENOBUFS);
	assert_int_equal(evr_channel_send(&a, data, 0, 4), 0);
	evr_channel_grant(&b, 0, 0);
	assert_int_equal(evr_channel_send(&a, data, 100, 5), 0);
	evr_channel_counts(&b, &counts);
	assert_true(counts.ends[EVR_CHANNEL_A].no_credit == 5);
	assert_true(counts.ends[EVR_CHANNEL_A].sent_bytes == 250);
	/* The other direction has a window of its own. */
	assert_int_equal(evr_channel_send(&b, data, 100, 1), 0);
	assert_int_equal(evr_channel_send(&b, data, 1, 1), -ENOBUFS);
	evr_channel_release(&b, &m);
	close_both(&a, &b);
}

/* Of a sender that had no limit, and is never without credit. */
static void channel_less_credit_is_seen_after_some_messages(void **state)
{
	struct pair *pair = *state;
	struct evr_channel a, b;
	struct evr_message m;
	int sent, err = 0;

	make_channel(pair, 0, 0);
	open_both(pair, &a, &b);
	assert_int_equal(evr_channel_send(&a, "1", 1, 1), 0);
	evr_channel_grant(&b, 1, 0);
	for (sent = 0; sent <= EVR_CHANNEL_CREDIT_LOOK && !err; sent++)
		err = evr_channel_send(&a, "2", 1, 2);
	assert_int_equal(err, -ENOBUFS);
	/* Until all but that one is released. */
	while (!evr_channel_recv(&b, &m)) {
		assert_int_equal(evr_channel_send(&a, "3", 1, 3), -ENOBUFS);
		evr_channel_release(&b, &m);
	}
	assert_int_equal(evr_channel_send(&a, "3", 1, 3), 0);
	assert_int_equal(evr_channel_send(&a, "4", 1, 4), -ENOBUFS);
	close_both(&a, &b);
}

static void channel_half_close_leaves_the_other_half(void **state)
{
	struct pair *pair = *state;
	struct evr_channel a, b;
	struct evr_waiter w;

	make_channel(pair, 0, 0);
	open_both(pair, &a, &b);
	assert_int_equal(evr_waiter_init(&w, pair->peer, EVR_WAIT_SLEEP), 0);
	assert_int_equal(evr_channel_shutdown(&a, 0), -EINVAL);
	assert_int_equal(evr_channel_shutdown(&a, 4), -EINVAL);
	assert_int_equal(send_value(&a, 1), 0);
	assert_int_equal(evr_channel_drain_wait(&a, &w, 0), -ETIMEDOUT);
	assert_int_equal(evr_channel_shutdown(&a, EVR_SHUT_SEND), 0);
	assert_int_equal(send_value(&a, 2), -EPIPE);
	assert_int_equal(recv_value(&b), 1);
	assert_int_equal(recv_value(&b), -EPIPE);
	assert_int_equal(evr_channel_drain_wait(&a, &w, 0), 0);
	assert_int_equal(evr_channel_state(&b), EVR_RING_OK);
	assert_int_equal(send_value(&b, 3), 0);
	assert_int_equal(recv_value(&a), 3);
	assert_int_equal(send_value(&b, 4), 0);
	assert_int_equal(evr_channel_shutdown(&a, EVR_SHUT_RECV), 0);
	assert_int_equal(send_value(&b, 5), -EPIPE);
	assert_int_equal(recv_value(&a), -EPIPE);
	close_both(&a, &b);
	assert_int_equal(evr_channel_shutdown(&a, EVR_SHUT_SEND), -EPIPE);
	/* Of that session only. */
	open_both(pair, &a, &b);
	assert_int_equal(send_value(&a, 6), 0);
	assert_int_equal(recv_value(&b), 6);
	close_both(&a, &b);
	evr_waiter_fini(&w);
}

struct reading {
	uint64_t at_ns;
	double volts[20];
};

EVR_CHANNEL_DEFINE(readings, struct reading)
EVR_CHANNEL_DEFINE_TAGGED(readings_2, struct reading, 2)

static void channel_of_one_type_takes_no_other(void **state)
{
	struct evr_channel_options options = { .struct_sz = sizeof(options), .inline_max = 40 };
	struct reading in = { .at_ns = 7, .volts = { 1, 2, 3 } }, out, *at;
	struct pair *pair = *state;
	struct readings_2 other;
	struct evr_waiter waiter;
	struct readings a, b;
	uint64_t tag = 99;

	assert_int_equal(evr_waiter_init(&waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	assert_int_equal(readings_create(pair->peer, "r", &options), 0);
	assert_int_equal(readings_2_open(&other, pair->peer, "r", EVR_CHANNEL_A), -EINVAL);
	assert_int_equal(readings_open(&a, pair->peer, "r", EVR_CHANNEL_A), 0);
	assert_int_equal(readings_open(&b, pair->peer, "r", EVR_CHANNEL_B), 0);
	assert_true(evr_channel_inline_max(&a.ch) == sizeof(in));
	memset(&out, 0x5a, sizeof(out));
	assert_int_equal(readings_recv(&b, &out, &tag), -EAGAIN);
	assert_true(tag == 99);
	assert_int_equal(readings_send(&a, &in, 5), 0);
	in.at_ns = 8;
	assert_int_equal(readings_send_wait(&a, &waiter, &in, 6, pair_deadline()), 0);
	assert_int_equal(readings_reserve(&a, &at), 0);
	assert_true((uintptr_t)at % _Alignof(struct reading) == 0);
	in.at_ns = 9;
	*at = in;
	assert_int_equal(readings_commit(&a, 7), 0);
	for (in.at_ns = 7; in.at_ns <= 9; in.at_ns++) {
		memset(&out, 0x5a, sizeof(out));
		assert_int_equal(in.at_ns == 8 ? readings_recv_wait(&b, &waiter, &out, &tag,
								    pair_deadline()) :
						 readings_recv(&b, &out, &tag),
				 0);
		assert_memory_equal(&out, &in, sizeof(in));
		assert_true(tag == in.at_ns - 2);
	}
	/* Of another size: one less, one more; gone, and nothing is written. */
	memset(&out, 0x5a, sizeof(out));
	assert_int_equal(evr_channel_send(&a.ch, &in, sizeof(in) - 1, 1), 0);
	assert_int_equal(readings_recv(&b, &out, &tag), -EMSGSIZE);
	assert_true(tag == 1 && ((unsigned char *)&out)[0] == 0x5a);
	assert_int_equal(evr_channel_send(&a.ch, &in, 0, 2), 0);
	assert_int_equal(readings_recv(&b, &out, NULL), -EMSGSIZE);
	assert_int_equal(readings_send(&a, &in, 3), 0);
	assert_int_equal(readings_recv(&b, &out, NULL), 0);
	assert_int_equal(readings_recv_wait(&b, &waiter, &out, NULL, 1), -ETIMEDOUT);
	readings_close(&a);
	assert_int_equal(readings_recv_wait(&b, &waiter, &out, NULL, pair_deadline()), -EPIPE);
	readings_close(&b);
	assert_int_equal(readings_recv(&b, &out, NULL), -EPIPE);
	evr_waiter_fini(&waiter);
}

static void channel_session_has_nothing_of_the_last_one(void **state)
{
	struct pair *pair = *state;
	struct evr_channel a, b, next;
	uint64_t i;

	make_channel(pair, 5, 0);
	open_both(pair, &a, &b);
	for (i = 1; i <= 3; i++)
		assert_int_equal(send_value(&a, i), 0);
	assert_int_equal(recv_value(&b), 1);
	evr_channel_close(&b); /* drops two */
	assert_int_equal(evr_channel_state(&a), EVR_RING_CLOSED);
	/* As long as A has not let go of it nobody can take its place. */
	assert_int_equal(evr_channel_open(&next, pair->peer, "c", EVR_CHANNEL_B, 0), -EBUSY);
	assert_int_equal(send_value(&a, 4), -EPIPE);
	assert_int_equal(evr_channel_forget(&a), 0);
	assert_int_equal(evr_channel_forget(&a), 0);
	assert_int_equal(evr_channel_state(&a), EVR_RING_NO_PEER);
	assert_int_equal(evr_channel_open(&b, pair->peer, "c", EVR_CHANNEL_B, 0), 0);
	assert_int_equal(evr_channel_state(&a), EVR_RING_OK);
	assert_int_equal(evr_channel_forget(&a), -EBUSY);
	assert_int_equal(recv_value(&b), -EAGAIN);
	/* And all of the window is there again. */
	for (i = 5; i < 10; i++)
		assert_int_equal(send_value(&a, i), 0);
	assert_int_equal(send_value(&a, 10), -ENOBUFS);
	assert_int_equal(recv_value(&b), 5);
	assert_conserved(&a, 8, 4, 0);
	/* A has gone; what it had sent is delivered, and what comes for it comes back. */
	assert_int_equal(send_value(&b, 1), 0);
	evr_channel_close(&a);
	assert_int_equal(recv_value(&b), 6);
	evr_channel_close(&b);
	open_end(pair, &a, EVR_CHANNEL_A);
	assert_conserved(&a, 8, 8, 0);
	evr_channel_close(&a);
}

static void channel_sender_that_came_and_went_is_heard(void **state)
{
	struct pair *pair = *state;
	struct evr_channel a, b, next;

	make_channel(pair, 0, 0);
	open_end(pair, &b, EVR_CHANNEL_B);
	open_end(pair, &a, EVR_CHANNEL_A);
	assert_int_equal(send_value(&a, 1), 0);
	evr_channel_close(&a);
	/* B has not looked yet: the next has to wait for it. */
	assert_int_equal(evr_channel_open(&next, pair->peer, "c", EVR_CHANNEL_A, 0), -EBUSY);
	assert_int_equal(recv_value(&b), 1);
	assert_int_equal(recv_value(&b), -EPIPE);
	assert_int_equal(evr_channel_forget(&b), 0);
	open_end(pair, &a, EVR_CHANNEL_A);
	assert_int_equal(send_value(&a, 2), 0);
	assert_int_equal(recv_value(&b), 2);
	/* One that never met anybody leaves no trace. */
	close_both(&a, &b);
	open_end(pair, &a, EVR_CHANNEL_A);
	evr_channel_close(&a);
	open_both(pair, &a, &b);
	assert_int_equal(send_value(&a, 3), 0);
	assert_int_equal(recv_value(&b), 3);
	close_both(&a, &b);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, pair_open, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(channel_wrong_options_refused),
		CASE(channel_message_of_each_size_arrives_both_ways),
		CASE(channel_says_who_is_there),
		CASE(channel_urgent_message_overtakes),
		CASE(channel_full_says_so),
		CASE(channel_messages_are_held_and_released_in_any_order),
		CASE(channel_batch_is_published_at_once),
		CASE(channel_reservation_is_written_in_place),
		CASE(channel_credit_bounds_what_is_unreleased),
		CASE(channel_less_credit_is_seen_after_some_messages),
		CASE(channel_half_close_leaves_the_other_half),
		CASE(channel_of_one_type_takes_no_other),
		CASE(channel_session_has_nothing_of_the_last_one),
		CASE(channel_sender_that_came_and_went_is_heard),
	};

	return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
