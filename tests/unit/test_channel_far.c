/* SPDX-License-Identifier: MIT */
/*
 * Channels and calls between peers of an isolated segment: messages and blocks both ways,
 * meeting and parting in any order, blocks that come back, the end of either side.
 */
#include "steps.h"

#include <stdint.h>

static uint64_t steps, step_to_act;
static void (*act)(void);

void step(void)
{
	if (++steps == step_to_act)
		act();
}

#include "pair.h"

#include "far.h"
#include "hide.h"

#include <evering/bell.h>

#define STEPS_MAX 100000
/* The sweep's last turn takes as long; the others wait so long only for a lost wake-up. */
#define PATIENCE_NS 1000000000ULL

/* Until no dead peer has a slot. */
static void settle(struct evr_peer *peer)
{
	uint64_t deadline = pair_deadline();
	struct evr_peer_info infos[FAR_PEERS];
	int i, nr, dead;

	do {
		assert_true(evr_now_ns() < deadline);
		evr_peer_check(peer);
		assert_true(evr_reap_dead(peer, NULL) >= 0);
		nr = evr_peer_list(peer, infos, FAR_PEERS);
		for (i = 0, dead = 0; i < nr && i < FAR_PEERS; i++)
			dead += infos[i].state != EVR_PEER_LIVE;
		if (dead)
			pair_sleep_us(1000);
	} while (dead);
}

static void far_ends_lie_where_their_owners_write(void **state)
{
	struct evr_message m, urgent = {
		.data = &(uint64_t){ 7 }, .sz = 8, .tag = 7, .flags = EVR_MESSAGE_URGENT
	};
	struct evr_channel_counts counts;
	uint64_t n;
	void *to;

	make_both();
	assert_true(is_in_region_of(a, a, ca.mine, sizeof(*ca.mine)));
	assert_true(is_in_region_of(b, b, cb.mine, sizeof(*cb.mine)));
	assert_false(evr_peer_is_writable(b, (uint64_t)evr_peer_off(b, cb.other), 8));
	for (n = 1; n < 1000; n++) {
		assert_int_equal(send_value(&ca, n), 0);
		assert_int_equal(recv_value(&cb), n);
		assert_int_equal(send_value(&cb, n + 1), 0);
		assert_int_equal(recv_value(&ca), n + 1);
	}
	assert_int_equal(evr_channel_reserve(&cb, 64, &to), 0);
	assert_true(is_in_region_of(b, b, to, 64));
	memcpy(to, &(uint64_t){ 5 }, 8);
	assert_int_equal(evr_channel_commit(&cb, 8, 5), 0);
	assert_int_equal(evr_channel_send_message(&cb, &urgent), 0);
	assert_int_equal(recv_value(&ca), 7);
	assert_int_equal(evr_channel_peek(&ca, &m), 0);
	assert_true(is_in_region_of(a, b, m.data, m.sz));
	assert_int_equal(recv_value(&ca), 5);
	assert_int_equal(recv_value(&ca), -EAGAIN);
	assert_int_equal(evr_channel_other(&ca).slot, evr_peer_self(b).slot);
	evr_channel_counts(&ca, &counts);
	assert_true(counts.ends[EVR_CHANNEL_B].sent == 1001 && counts.ends[0].received == 1001);
	assert_true(counts.ends[EVR_CHANNEL_A].sent == 999 && counts.ends[1].received == 999);
}

static void far_ends_meet_in_any_order_once_both_have_looked(void **state)
{
	assert_int_equal(evr_peer_attach(&b, pair->segment, NULL), 0);
	assert_int_equal(evr_channel_open(&ca, a, "c", EVR_CHANNEL_A, 0), -ENOENT);
	/* B first; its half is copied by A. */
	make_end(b, &cb, &hb, EVR_CHANNEL_B);
	assert_int_equal(send_value(&cb, 1), -ENOTCONN);
	assert_int_equal(recv_value(&cb), -ENOTCONN);
	assert_int_equal(evr_channel_open(&ca, a, "c", EVR_CHANNEL_A, 0), 0);
	assert_int_equal(send_value(&ca, 1), -ENOTCONN);
	assert_int_equal(send_value(&cb, 2), 0);
	assert_int_equal(recv_value(&ca), 2);
	assert_int_equal(send_value(&ca, 1), 0);
	assert_int_equal(recv_value(&cb), 1);
	/* A close is told after all that was sent, and the next session begins afresh. */
	assert_int_equal(send_value(&ca, 3), 0);
	evr_channel_close(&ca);
	assert_int_equal(evr_channel_open(&ca, a, "c", EVR_CHANNEL_A, 0), -EBUSY);
	assert_int_equal(recv_value(&cb), 3);
	assert_int_equal(recv_value(&cb), -EPIPE);
	assert_int_equal(send_value(&cb, 4), -EPIPE);
	assert_int_equal(evr_channel_forget(&cb), 0);
	assert_int_equal(recv_value(&cb), -ENOTCONN);
	assert_int_equal(evr_channel_open(&ca, a, "c", EVR_CHANNEL_A, 0), 0);
	meet(&ca, &cb);
	assert_int_equal(evr_channel_forget(&cb), -EBUSY);
	assert_int_equal(send_value(&cb, 5), 0);
	assert_int_equal(recv_value(&ca), 5);
	assert_int_equal(recv_value(&ca), -EAGAIN);
	/* What is not received comes back. */
	assert_int_equal(send_value(&cb, 6), 0);
	evr_channel_close(&ca);
	assert_int_equal(evr_channel_state(&cb), EVR_RING_CLOSED);
	assert_int_equal(evr_channel_forget(&cb), 0);
}

static void far_direction_is_shut_alone_and_credit_bounds_it(void **state)
{
	struct evr_message m = { .data = &(uint64_t){ 1 }, .sz = 8, .tag = 1 };
	struct evr_waiter wb;

	make_both();
	assert_int_equal(evr_waiter_init(&wb, b, EVR_WAIT_SLEEP), 0);
	evr_channel_grant(&cb, 2, 0);
	assert_int_equal(send_value(&ca, 1), 0);
	assert_int_equal(send_value(&ca, 1), 0);
	assert_int_equal(send_value(&ca, 1), -ENOBUFS);
	assert_int_equal(evr_channel_send_wait(&ca, &wa, &m, evr_now_ns() + 1), -ETIMEDOUT);
	assert_int_equal(evr_channel_drain_wait(&ca, &wa, evr_now_ns() + 1), -ETIMEDOUT);
	assert_int_equal(recv_value(&cb), 1);
	assert_int_equal(evr_channel_send_wait(&ca, &wa, &m, pair_deadline()), 0);
	assert_int_equal(recv_value(&cb), 1);
	assert_int_equal(recv_value(&cb), 1);
	assert_int_equal(evr_channel_drain_wait(&ca, &wa, pair_deadline()), 0);
	assert_int_equal(evr_channel_recv_wait(&cb, &wb, &m, evr_now_ns() + 1), -ETIMEDOUT);
	assert_int_equal(send_value(&ca, 4), 0);
	assert_int_equal(evr_channel_shutdown(&ca, EVR_SHUT_SEND), 0);
	assert_int_equal(evr_channel_drain_wait(&ca, &wa, evr_now_ns() + 1), -ETIMEDOUT);
	assert_int_equal(recv_value(&cb), 4);
	assert_int_equal(send_value(&ca, 1), -EPIPE);
	assert_int_equal(recv_value(&cb), -EPIPE);
	assert_int_equal(send_value(&cb, 2), 0);
	assert_int_equal(recv_value(&ca), 2);
	assert_int_equal(send_value(&cb, 2), 0);
	assert_int_equal(evr_channel_shutdown(&ca, EVR_SHUT_RECV), 0);
	assert_int_equal(evr_channel_drain_wait(&cb, &wb, pair_deadline()), -EPIPE);
	assert_int_equal(send_value(&cb, 3), -EPIPE);
	evr_waiter_fini(&wb);
}

static void far_block_is_read_in_place_and_comes_back(void **state)
{
	struct evr_message m, copy, sent;
	uint8_t large[3000];
	int i;

	make_both();
	assert_int_equal(evr_channel_alloc(&ca, 500, &sent), 0);
	memset(sent.data, 0x31, 500);
	sent.tag = 9;
	assert_int_equal(evr_channel_send_message(&ca, &sent), 0);
	assert_int_equal(evr_channel_send_message(&ca, &sent), -ESTALE);
	assert_int_equal(evr_channel_recv(&cb, &m), 0);
	assert_int_equal(m.kind, EVR_FRAME_BLOCK);
	assert_int_equal(evr_peer_off(b, m.data), evr_peer_off(a, sent.data));
	assert_false(evr_peer_is_writable(b, (uint64_t)evr_peer_off(b, m.data), m.sz));
	for (i = 0; i < 500; i++)
		assert_int_equal(((uint8_t *)m.data)[i], 0x31);
	assert_int_equal(evr_channel_collect(&ca), 0);
	assert_int_equal(blocks_of(&ha), 1);
	copy = m;
	evr_channel_release(&cb, &m);
	evr_channel_release(&cb, &copy);
	assert_int_equal(evr_channel_collect(&ca), 1);
	assert_int_equal(evr_channel_collect(&ca), 0);
	assert_int_equal(blocks_of(&ha), 0);
	/* A copy of what does not fit a frame; kept, and given back later. */
	memset(large, 0x32, sizeof(large));
	assert_int_equal(evr_channel_send(&cb, large, sizeof(large), 1), 0);
	assert_int_equal(evr_channel_recv(&ca, &m), 0);
	assert_true(is_in_region_of(a, b, m.data, m.sz) && m.sz == sizeof(large));
	assert_int_equal(evr_channel_keep(&ca, &m), 0);
	assert_int_equal(evr_channel_collect(&cb), 0);
	assert_memory_equal(m.data, large, sizeof(large));
	assert_int_equal(evr_channel_give_back(&ca, m.handle + 1), -ESTALE);
	assert_int_equal(evr_channel_give_back(&ca, m.handle), 0);
	assert_int_equal(evr_channel_give_back(&ca, m.handle), -ESTALE);
	assert_int_equal(evr_channel_collect(&cb), 1);
	assert_int_equal(blocks_of(&hb), 0);
}

static void far_loans_are_bounded_and_waited_for(void **state)
{
	struct evr_message ms[EVR_CHANNEL_LENT], m = { .data = (uint8_t[100]){ 0 }, .sz = 100 };
	int i, round;

	make_both();
	for (round = 0; round < 3; round++) {
		for (i = 0; i < EVR_CHANNEL_LENT; i++) {
			assert_int_equal(send_block(&ca, 1), 0);
			assert_int_equal(evr_channel_recv(&cb, &ms[i]), 0);
		}
		assert_int_equal(send_block(&ca, 1), -ENOBUFS);
		assert_int_equal(evr_channel_send_wait(&ca, &wa, &m, evr_now_ns() + 1), -ETIMEDOUT);
		/* In any order. */
		for (i = EVR_CHANNEL_LENT; i--;)
			evr_channel_release(&cb, &ms[i]);
		assert_int_equal(evr_channel_send_wait(&ca, &wa, &m, pair_deadline()), 0);
		assert_int_equal(blocks_of(&ha), 1);
		assert_int_equal(evr_channel_recv(&cb, &ms[0]), 0);
		evr_channel_release(&cb, &ms[0]);
		assert_int_equal(evr_channel_collect(&ca), 1);
	}
	assert_int_equal(blocks_of(&ha), 0);
}

static void far_end_of_a_session_takes_all_loans_back(void **state)
{
	struct evr_channel_counts counts;
	struct evr_message m;

	make_both();
	assert_int_equal(send_block(&ca, 1), 0);
	assert_int_equal(send_block(&ca, 2), 0);
	assert_int_equal(send_block(&ca, 3), 0);
	assert_int_equal(evr_channel_recv(&cb, &m), 0);
	assert_int_equal(evr_channel_keep(&cb, &m), 0);
	assert_int_equal(recv_value(&cb), 2);
	/* The receiver closes. */
	evr_channel_close(&cb);
	assert_int_equal(evr_channel_forget(&ca), 0);
	assert_int_equal(blocks_of(&ha), 0);
	evr_channel_counts(&ca, &counts);
	assert_int_equal(counts.ends[EVR_CHANNEL_A].sent, 3);
	assert_int_equal(counts.ends[EVR_CHANNEL_A].recovered + counts.ends[0].lost, 0);
	/* The sender closes; what is out comes back when it binds again. */
	assert_int_equal(evr_channel_open(&cb, b, "c", EVR_CHANNEL_B, 0), 0);
	meet(&ca, &cb);
	assert_int_equal(send_block(&ca, 4), 0);
	evr_channel_close(&ca);
	assert_int_equal(recv_value(&cb), 4);
	assert_int_equal(recv_value(&cb), -EPIPE);
	assert_int_equal(blocks_of(&ha), 1);
	evr_channel_close(&cb);
	assert_int_equal(evr_channel_open(&ca, a, "c", EVR_CHANNEL_A, 0), 0);
	assert_int_equal(evr_channel_bind(&ca, &ha, NULL), 0);
	assert_int_equal(blocks_of(&ha), 0);
}

static void far_one_of_two_is_chosen_and_the_other_waits(void **state)
{
	struct evr_channel cc;
	struct evr_heap hc;
	struct evr_peer *c;

	assert_int_equal(evr_peer_attach(&b, pair->segment, NULL), 0);
	assert_int_equal(evr_peer_attach(&c, pair->segment, NULL), 0);
	make_end(a, &ca, &ha, EVR_CHANNEL_A);
	make_end(c, &cc, &hc, EVR_CHANNEL_A);
	make_end(b, &cb, &hb, EVR_CHANNEL_B);
	evr_channel_expect(&cb, evr_peer_self(c));
	assert_int_equal(evr_channel_state(&ca), EVR_RING_NO_PEER);
	assert_int_equal(evr_channel_state(&cb), EVR_RING_NO_PEER);
	meet(&cc, &cb);
	assert_int_equal(evr_channel_other(&cb).slot, evr_peer_self(c).slot);
	assert_int_equal(send_value(&cc, 8), 0);
	assert_int_equal(recv_value(&cb), 8);
	assert_int_equal(send_value(&ca, 1), -ENOTCONN);
	evr_channel_close(&cc);
	assert_int_equal(recv_value(&cb), -EPIPE);
	assert_int_equal(evr_channel_forget(&cb), 0);
	evr_channel_expect(&cb, evr_peer_self(a));
	meet(&ca, &cb);
	assert_int_equal(send_value(&ca, 9), 0);
	assert_int_equal(recv_value(&cb), 9);
	evr_heap_close(&hc);
	evr_peer_detach(c);
}

/* Who may write the turns of its own region takes nobody out of the sum. */
static void far_turns_of_a_liar_hide_no_end(void **state)
{
	struct evr_peer *liar;
	uint64_t before;

	assert_int_equal(evr_peer_attach(&liar, pair->segment, NULL), 0);
	assert_int_equal(evr_peer_attach(&b, pair->segment, NULL), 0);
	make_end(a, &ca, &ha, EVR_CHANNEL_A);
	assert_int_equal(evr_channel_state(&ca), EVR_RING_NO_PEER);
	assert_int_equal(evr_channel_state(&ca), EVR_RING_NO_PEER);
	before = hide_sum(liar, EVR_SLOT_ANY);
	make_end(b, &cb, &hb, EVR_CHANNEL_B);
	assert_true(hide_sum(liar, EVR_SLOT_ANY) != before);
	hide(liar, EVR_SLOT_ANY, before);
	assert_true(hide_sum(liar, EVR_SLOT_ANY) == before);
	meet(&ca, &cb);
	evr_peer_detach(liar);
}

static void far_other_properties_are_another_channel(void **state)
{
	struct evr_channel_options other = small_channel;

	other.inline_max = 48;
	assert_int_equal(evr_peer_attach(&b, pair->segment, NULL), 0);
	make_end(a, &ca, &ha, EVR_CHANNEL_A);
	assert_int_equal(evr_channel_create(b, "c", &other), 0);
	assert_int_equal(evr_channel_open(&cb, b, "c", EVR_CHANNEL_B, 0), 0);
	evr_channel_state(&ca);
	evr_channel_state(&cb);
	assert_int_equal(evr_channel_state(&ca), EVR_RING_NO_PEER);
	assert_int_equal(evr_channel_state(&cb), EVR_RING_NO_PEER);
}

static void far_dead_sender_is_read_until_its_slot_has_another(void **state)
{
	struct evr_message m;
	struct evr_peer *c;

	make_both();
	assert_int_equal(send_block(&cb, 1), 0);
	assert_int_equal(send_value(&cb, 2), 0);
	assert_int_equal(send_value(&cb, 3), 0);
	assert_int_equal(evr_channel_recv(&ca, &m), 0);
	/* As if it had died: nothing is closed. */
	evr_heap_close(&hb);
	evr_peer_detach(b);
	b = NULL;
	evr_channel_far_fini(&cb);
	memset(&cb, 0, sizeof(cb));
	settle(a);
	assert_true(!memcmp(m.data, &m.tag, 8) && evr_channel_vouch(&ca));
	assert_int_equal(recv_value(&ca), 2);
	assert_int_equal(evr_channel_state(&ca), EVR_RING_PEER_DEAD);
	assert_int_equal(evr_peer_attach(&c, pair->segment, NULL), 0);
	assert_false(evr_channel_vouch(&ca));
	assert_int_equal(recv_value(&ca), -EOWNERDEAD);
	evr_channel_release(&ca, &m);
	assert_int_equal(send_value(&ca, 1), -EOWNERDEAD);
	assert_int_equal(evr_channel_forget(&ca), 0);
	assert_int_equal(recv_value(&ca), -ENOTCONN);
	evr_peer_detach(c);
}

/* Real processes. Blocks and frames in both directions; each value comes back + 1. */
#define ROUNDS 3000

static void echo(struct evr_peer *peer, void *arg)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options), .sz = 48 << 10 };
	struct evr_message m, answer;
	struct evr_waiter waiter;
	struct evr_channel ch;
	struct evr_heap heap;
	uint64_t values[40];
	int err;

	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE));
	CHECK(!evr_heap_create(peer, "h", &options) && !evr_heap_open(&heap, peer, "h"));
	CHECK(!evr_channel_open(&ch, peer, "c", EVR_CHANNEL_B, 0));
	CHECK(!evr_channel_bind(&ch, &heap, NULL));
	for (;;) {
		err = TIMELY(evr_channel_recv_wait(&ch, &waiter, &m, until_ns));
		if (err == -EPIPE)
			break;
		CHECK(!err && m.sz <= sizeof(values));
		memcpy(values, m.data, m.sz);
		answer = (struct evr_message){ .data = values, .sz = m.sz, .tag = m.tag + 1 };
		evr_channel_release(&ch, &m);
		values[0]++;
		CHECK(!TIMELY(evr_channel_send_wait(&ch, &waiter, &answer, until_ns)));
	}
	evr_channel_close(&ch);
	evr_heap_close(&heap);
	evr_waiter_fini(&waiter);
}

static void far_two_processes_exchange_blocks_and_frames(void **state)
{
	uint64_t sent = 0, got = 0, values[40] = { 0 };
	struct evr_message m;
	pid_t pid;

	make_end(a, &ca, &ha, EVR_CHANNEL_A);
	pid = pair_fork(pair, echo, NULL);
	while (got < ROUNDS) {
		while (sent < ROUNDS && sent - got < 20) {
			values[0] = sent;
			m = (struct evr_message){ .data = values,
						  .sz = sent % 3 ? 8 : sizeof(values),
						  .tag = sent };
			assert_int_equal(TIMELY(evr_channel_send_wait(&ca, &wa, &m, until_ns)), 0);
			sent++;
		}
		assert_int_equal(TIMELY(evr_channel_recv_wait(&ca, &wa, &m, until_ns)), 0);
		assert_true(m.tag == got + 1 && m.sz == (got % 3 ? 8 : sizeof(values)));
		assert_true(!memcmp(m.data, &m.tag, 8));
		evr_channel_release(&ca, &m);
		got++;
	}
	evr_channel_close(&ca);
	pair_join(pid);
	assert_int_equal(evr_channel_open(&ca, a, "c", EVR_CHANNEL_A, 0), 0);
	assert_int_equal(evr_channel_bind(&ca, &ha, NULL), 0);
	assert_int_equal(blocks_of(&ha), 0);
}

/* Requests of every size, answered in another order than taken. */
#define CALLS 600
#define BATCH 5

static void serve(struct evr_peer *peer, void *arg)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options), .sz = 48 << 10 };
	struct evr_message request[BATCH], answer;
	struct evr_call_server server;
	struct evr_waiter waiter;
	struct evr_channel ch;
	struct evr_heap heap;
	uint8_t data[300];
	int i, k, n;

	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE));
	CHECK(!evr_heap_create(peer, "h", &options) && !evr_heap_open(&heap, peer, "h"));
	CHECK(!evr_channel_open(&ch, peer, "c", EVR_CHANNEL_B, 0));
	CHECK(!evr_channel_bind(&ch, &heap, NULL));
	CHECK(!evr_call_server_init(&server, &ch, BATCH));
	for (n = 0; n < CALLS; n += BATCH) {
		for (i = 0; i < BATCH; i++)
			CHECK(!TIMELY(evr_call_take_wait(&server, &waiter, &request[i], until_ns)));
		for (i = BATCH; i--;) {
			answer = (struct evr_message){ .data = data, .sz = request[i].sz };
			for (k = 0; k < (int)answer.sz; k++)
				data[k] = (uint8_t) ~((uint8_t *)request[i].data)[k];
			CHECK(!TIMELY(evr_call_answer_wait(&server, &waiter, request[i].id, &answer,
							   until_ns)));
		}
	}
	/* The answers lie here until the caller has read them. */
	CHECK(TIMELY(evr_channel_recv_wait(&ch, &waiter, &answer, until_ns)) == -EPIPE);
	evr_call_server_fini(&server);
	evr_channel_close(&ch);
	evr_heap_close(&heap);
	evr_waiter_fini(&waiter);
}

static void far_calls_are_answered(void **state)
{
	struct evr_call_completion done;
	struct evr_call_request request;
	struct evr_call_counts counts;
	struct evr_call call;
	uint8_t data[300];
	uint64_t id, n = 0;
	pid_t pid;
	int got, i;

	make_end(a, &ca, &ha, EVR_CHANNEL_A);
	assert_int_equal(evr_call_init(&call, &ca, 2 * BATCH), 0);
	pid = pair_fork(pair, serve, NULL);
	for (got = 0; got < CALLS;) {
		while (n < CALLS && evr_call_outstanding(&call) < 2 * BATCH) {
			memset(data, (int)n, sizeof(data));
			request = (struct evr_call_request){
				.message = { .data = data, .sz = n % 2 ? 20 : sizeof(data) },
				.user = n
			};
			n++;
			assert_int_equal(
				TIMELY(evr_call_submit_wait(&call, &wa, &request, &id, until_ns)),
				0);
		}
		assert_int_equal(TIMELY(evr_call_complete_wait(&call, &wa, &done, until_ns)), 0);
		assert_int_equal(done.result, 0);
		assert_int_equal(done.message.sz, done.user % 2 ? 20 : sizeof(data));
		for (i = 0; i < (int)done.message.sz; i++)
			assert_int_equal(((uint8_t *)done.message.data)[i], (uint8_t)~done.user);
		evr_channel_release(&ca, &done.message);
		got++;
	}
	evr_call_counts(&call, &counts);
	assert_int_equal(counts.answered, CALLS);
	assert_int_equal(counts.late + counts.strange, 0);
	evr_call_fini(&call);
	evr_channel_close(&ca);
	pair_join(pid);
}

static void far_call_ends_with_its_server(void **state)
{
	struct evr_call_request request = { .message = { .data = (char[1]){ '?' }, .sz = 1 },
					    .user = 3 };
	struct evr_call_completion done;
	struct evr_call call;
	uint64_t id;

	make_both();
	assert_int_equal(evr_call_init(&call, &ca, 4), 0);
	assert_int_equal(evr_call_submit(&call, &request, &id), 0);
	evr_heap_close(&hb);
	evr_peer_detach(b);
	b = NULL;
	evr_channel_far_fini(&cb);
	memset(&cb, 0, sizeof(cb));
	assert_int_equal(evr_call_complete_wait(&call, &wa, &done, pair_deadline()), 0);
	assert_int_equal(done.result, -EOWNERDEAD);
	assert_int_equal(done.user, 3);
	evr_call_fini(&call);
}

static void far_heap_is_each_peers_own(void **state)
{
	struct evr_heap other;
	struct evr_block block;

	make_both();
	block = evr_heap_alloc(&hb, 64);
	assert_true(is_in_region_of(b, b, block.ptr, 64));
	assert_null(evr_heap_resolve(&ha, block.handle, NULL));
	assert_int_equal(evr_heap_open_of(&other, a, evr_peer_self(b), "h"), 0);
	assert_true(is_in_region_of(a, b, evr_heap_resolve(&other, block.handle, NULL), 64));
	assert_int_equal(evr_heap_free(&other, block.handle), -EROFS);
	assert_int_equal(evr_channel_bind(&ca, &other, NULL), -EINVAL);
	evr_heap_close(&other);
	assert_int_equal(evr_heap_open_of(&other, a, (struct evr_peer_id){ 3, 9 }, "h"), -ENOENT);
	assert_int_equal(evr_heap_free(&hb, block.handle), 0);
}

/* The other end comes before each step of an open, and of a wait. */
static uint64_t act_ns;

static void come(void)
{
	step_to_act = 0;
	act_ns = evr_now_ns();
	assert_int_equal(evr_channel_open(&ca, a, "c", EVR_CHANNEL_A, 0), 0);
	/* Our other end runs on only when this returns: nothing is accepted yet. */
	assert_int_equal(send_value(&ca, 5), -ENOTCONN);
}

static void arrange(uint64_t n)
{
	steps = 0;
	act = come;
	step_to_act = n;
}

static void make_halves(void)
{
	assert_int_equal(evr_peer_attach(&b, pair->segment, NULL), 0);
	assert_int_equal(evr_channel_create(a, "c", &small_channel), 0);
	assert_int_equal(evr_channel_create(b, "c", &small_channel), 0);
}

static void far_ends_that_come_together_meet(void **state)
{
	uint64_t n;

	make_halves();
	for (n = 1;; n++) {
		assert_true(n < STEPS_MAX);
		arrange(n);
		assert_int_equal(evr_channel_open(&cb, b, "c", EVR_CHANNEL_B, 0), 0);
		if (step_to_act)
			break;
		meet(&ca, &cb);
		assert_int_equal(send_value(&ca, 6), 0);
		assert_int_equal(recv_value(&cb), 6);
		evr_channel_close(&ca);
		evr_channel_close(&cb);
	}
	step_to_act = 0;
	assert_true(n > 50);
	printf("# came before each of %llu steps\n", (unsigned long long)n - 1);
}

static void far_end_that_waits_is_woken_by_one_that_comes(void **state)
{
	struct evr_message m = { .data = &(uint64_t){ 6 }, .sz = 8, .tag = 6 };
	uint64_t patience = PATIENCE_NS, n, until;
	struct evr_waiter wb;
	int err;

	make_halves();
	assert_int_equal(evr_waiter_init(&wb, b, EVR_WAIT_SLEEP), 0);
	for (n = 1;; n++) {
		assert_true(n < STEPS_MAX);
		assert_int_equal(evr_channel_open(&cb, b, "c", EVR_CHANNEL_B, 0), 0);
		arrange(n);
		until = evr_now_ns() + patience;
		err = evr_channel_send_wait(&cb, &wb, &m, until);
		if (step_to_act || act_ns >= until)
			break;
		pair_again_if_late(until, PATIENCE_NS, &patience, &n);
		assert_int_equal(err, 0);
		assert_int_equal(recv_value(&ca), 6);
		evr_channel_close(&ca);
		evr_channel_close(&cb);
	}
	step_to_act = 0;
	assert_true(n > 20);
	printf("# came before each of %llu steps\n", (unsigned long long)n - 1);
	evr_waiter_fini(&wb);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_far, close_far)
	const struct CMUnitTest tests[] = {
		CASE(far_ends_lie_where_their_owners_write),
		CASE(far_ends_meet_in_any_order_once_both_have_looked),
		CASE(far_direction_is_shut_alone_and_credit_bounds_it),
		CASE(far_block_is_read_in_place_and_comes_back),
		CASE(far_loans_are_bounded_and_waited_for),
		CASE(far_end_of_a_session_takes_all_loans_back),
		CASE(far_one_of_two_is_chosen_and_the_other_waits),
		CASE(far_turns_of_a_liar_hide_no_end),
		CASE(far_other_properties_are_another_channel),
		CASE(far_dead_sender_is_read_until_its_slot_has_another),
		CASE(far_two_processes_exchange_blocks_and_frames),
		CASE(far_calls_are_answered),
		CASE(far_call_ends_with_its_server),
		CASE(far_heap_is_each_peers_own),
		CASE(far_ends_that_come_together_meet),
		CASE(far_end_that_waits_is_woken_by_one_that_comes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
