/* SPDX-License-Identifier: MIT */
/*
 * Channels between peers of an isolated segment of whom one lies, scribbles in its own
 * region, or is killed at each step: the other answers with the error that stands in
 * channel.h, loses nothing of its own, and goes on with somebody else.
 */
#include "turns.h"

#include "far.h"

#include "dir_table.h"
#include "heap_own.h"

static int open_hostile(void **state)
{
	return open_log() || open_far(state) ? -1 : 0;
}

static int close_hostile(void **state)
{
	steps_to_live = 0;
	act = NULL;
	return close_far(state) || close_log() ? -1 : 0;
}

/* The survivor gets rid of the liar, has all its memory, and meets another. */
static void assert_goes_on(void)
{
	struct evr_channel cc;
	struct evr_heap hc;
	struct evr_peer *c;

	assert_int_equal(evr_channel_forget(&ca), 0);
	assert_int_equal(blocks_of(&ha), 0);
	assert_int_equal(evr_peer_attach(&c, pair->segment, NULL), 0);
	make_end(c, &cc, &hc, EVR_CHANNEL_B);
	meet(&ca, &cc);
	assert_int_equal(evr_channel_other(&ca).slot, evr_peer_self(c).slot);
	assert_int_equal(send_block(&ca, 1), 0);
	assert_int_equal(recv_value(&cc), 1);
	assert_int_equal(send_block(&cc, 2), 0);
	assert_int_equal(recv_value(&ca), 2);
	evr_channel_close(&cc);
	evr_heap_close(&hc);
	assert_int_equal(evr_channel_forget(&ca), 0);
	assert_int_equal(blocks_of(&ha), 0);
	evr_peer_detach(c);
}

/* What the liar's last frame, not received yet, holds: its header, message header, body. */
static uint64_t *last_frame(uint64_t sz)
{
	struct evr_lane *l = &cb.tx[CHANNEL_NORMAL].lane;

	return (uint64_t *)(l->data + ((l->pos - 16 - (sz + 15) / 16 * 16) & (l->span - 1)));
}

static void hostile_position_is_refused(void **state)
{
	make_both();
	cb.tx[0].lane.mine->pos.v = cb.tx[0].lane.span + 16;
	assert_int_equal(recv_value(&ca), -EBADMSG);
	assert_int_equal(evr_channel_state(&ca), EVR_RING_CORRUPT);
	assert_int_equal(send_value(&ca, 1), -EBADMSG);
	assert_goes_on();
}

static void hostile_receiver_position_is_refused(void **state)
{
	struct evr_message m = { .data = (uint8_t[64]){ 0 }, .sz = 64 };
	int err;

	make_both();
	cb.rx[0].lane.mine->pos.v = 1ULL << 40;
	do {
		err = evr_channel_send_message(&ca, &m);
	} while (!err);
	assert_int_equal(err, -EBADMSG);
	assert_goes_on();
}

static void hostile_length_is_refused(void **state)
{
	make_both();
	assert_int_equal(send_value(&cb, 1), 0);
	last_frame(24)[0] += 1ULL << 20;
	assert_int_equal(recv_value(&ca), -EBADMSG);
	assert_goes_on();
}

static void hostile_handle_is_refused(void **state)
{
	static const uint64_t off[] = { 1, 1ULL << 36, ~0ULL >> 28, 1ULL << 63 };
	size_t i;

	for (i = 0; i < 4; i++) {
		if (!i)
			make_both();
		assert_int_equal(send_block(&cb, 1), 0);
		last_frame(32)[4] ^= off[i];
		assert_int_equal(recv_value(&ca), -EBADMSG);
		assert_int_equal(evr_channel_forget(&ca), 0);
		evr_channel_close(&cb);
		assert_int_equal(evr_channel_open(&cb, b, "c", EVR_CHANNEL_B, 0), 0);
		assert_int_equal(evr_channel_bind(&cb, &hb, NULL), 0);
		meet(&ca, &cb);
	}
	/* The survivor's own block is none of the liar's either. */
	assert_int_equal(send_block(&ca, 2), 0);
	assert_int_equal(send_block(&cb, 1), 0);
	last_frame(32)[4] = ca.far->lent[0];
	assert_int_equal(recv_value(&ca), -EBADMSG);
	assert_goes_on();
}

static void hostile_block_size_is_refused(void **state)
{
	make_both();
	assert_int_equal(send_block(&cb, 1), 0);
	last_frame(32)[5] = 513;
	assert_int_equal(recv_value(&ca), -EBADMSG);
	assert_goes_on();
}

static void hostile_block_beyond_the_loans_is_refused(void **state)
{
	struct evr_message m;
	int i;

	make_both();
	for (i = 0; i < EVR_CHANNEL_LENT; i++) {
		assert_int_equal(send_block(&cb, 1), 0);
		assert_int_equal(evr_channel_recv(&ca, &m), 0);
	}
	memset(cb.far->lent, 0, sizeof(cb.far->lent));
	assert_int_equal(send_block(&cb, 1), 0);
	assert_int_equal(evr_channel_recv(&ca, &m), -EBADMSG);
	assert_goes_on();
}

static void hostile_return_is_refused(void **state)
{
	static const uint64_t counts[] = { 0, EVR_CHANNEL_LENT + 1, UINT64_MAX, 1ULL << 63 };
	struct evr_message m;
	size_t i;

	for (i = 0; i < 4; i++) {
		if (!i)
			make_both();
		assert_int_equal(send_block(&ca, 1), 0);
		assert_int_equal(evr_channel_recv(&cb, &m), 0);
		if (counts[i]) {
			cb.mine->returned.v = counts[i];
		} else {
			/* One that it had given back before, and one that it never had. */
			evr_channel_release(&cb, &m);
			cb.far->loans->returned[1].v = cb.far->loans->returned[0].v;
			cb.mine->returned.v = 2;
		}
		assert_int_equal(evr_channel_collect(&ca), -EBADMSG);
		assert_int_equal(send_value(&ca, 1), -EBADMSG);
		assert_int_equal(evr_channel_forget(&ca), 0);
		assert_int_equal(blocks_of(&ha), 0);
		evr_channel_close(&cb);
		assert_int_equal(evr_channel_open(&cb, b, "c", EVR_CHANNEL_B, 0), 0);
		assert_int_equal(evr_channel_bind(&cb, &hb, NULL), 0);
		meet(&ca, &cb);
	}
	evr_channel_close(&cb);
	assert_goes_on();
}

static void hostile_link_or_owner_ends_the_session_only(void **state)
{
	make_both();
	assert_int_equal(recv_value(&ca), -EAGAIN);
	assert_true(evr_channel_vouch(&ca));
	cb.mine->link.v ^= 1ULL << 40;
	assert_false(evr_channel_vouch(&ca));
	assert_int_equal(recv_value(&ca), -EPIPE);
	assert_int_equal(send_value(&ca, 1), -EPIPE);
	assert_int_equal(evr_channel_forget(&ca), 0);
	evr_channel_close(&cb);
	assert_int_equal(evr_channel_open(&cb, b, "c", EVR_CHANNEL_B, 0), 0);
	meet(&ca, &cb);
	/* An owner word that names the survivor, or anybody. */
	((struct evr_a64 *)cb.rx[0].lane.owner)->v = ca.rx[0].lane.held;
	assert_int_equal(recv_value(&ca), -EPIPE);
	assert_goes_on();
}

/* A peer that does not let go does not keep the other from its own half for ever. */
static void hostile_end_that_does_not_let_go_is_left(void **state)
{
	struct evr_object half;

	make_both();
	evr_channel_close(&ca);
	assert_int_equal(evr_channel_open(&ca, a, "c", EVR_CHANNEL_A, 0), -EBUSY);
	assert_true(evr_dir_find_in(a, evr_peer_self(a), "c", &half));
	assert_int_equal(evr_dir_remove(a, &half), 0);
	assert_int_equal(evr_channel_create(a, "c", &small_channel), 0);
	assert_int_equal(evr_channel_open(&ca, a, "c", EVR_CHANNEL_A, 0), 0);
	assert_int_equal(evr_channel_bind(&ca, &ha, NULL), 0);
	assert_int_equal(evr_channel_state(&cb), EVR_RING_CLOSED);
	assert_int_equal(evr_channel_state(&ca), EVR_RING_NO_PEER);
	evr_channel_expect(&ca, evr_peer_self(a));
	assert_int_equal(evr_channel_forget(&ca), 0);
}

/* Of the same shape as a request, an answer or nothing, without an end. */
static void flood(void)
{
	struct evr_message m = { .flags = EVR_MESSAGE_ANSWER, .id = 77 };

	steps_to_live = 0;
	evr_channel_send_message(&cb, &m);
	m.flags = EVR_MESSAGE_CANCEL;
	evr_channel_send_message(&cb, &m);
	steps_to_live = steps + 1;
}

static void hostile_flood_does_not_hold_a_caller_or_server(void **state)
{
	struct evr_call_completion done;
	struct evr_call_server server;
	struct evr_message request;
	struct evr_call call;

	make_both();
	assert_int_equal(evr_call_init(&call, &ca, 4), 0);
	assert_int_equal(evr_call_server_init(&server, &ca, 4), 0);
	act = flood;
	steps_to_live = steps + 1;
	assert_int_equal(evr_call_complete(&call, &done), -EAGAIN);
	assert_int_equal(evr_call_complete_wait(&call, &wa, &done, evr_now_ns() + 1), -ETIMEDOUT);
	assert_int_equal(evr_call_take(&server, &request), -EAGAIN);
	assert_int_equal(evr_call_take_wait(&server, &wa, &request, evr_now_ns() + 1), -ETIMEDOUT);
	/* Nor one that leaves. */
	evr_channel_close(&ca);
	steps_to_live = 0;
	act = NULL;
	evr_call_server_fini(&server);
	evr_call_fini(&call);
}

/* One word at a time is nonsense, in all of the liar's region that the survivor may read. */

static const uint64_t nonsense[] = {
	0, 1, 16, 4097, 1ULL << 31, 1ULL << 32, 1ULL << 63, UINT64_MAX
};
#define NONSENSE_NR (sizeof(nonsense) / sizeof(nonsense[0]))

static void read_all(const struct evr_message *m)
{
	static uint8_t copy[FAR_PEER_SZ];

	assert_true(is_in_region_of(a, b, m->data, m->sz));
	memcpy(copy, m->data, m->sz);
}

/* All that an end can do; a message's data lie in the other's region, or there is none. */
static void do_everything(struct evr_channel *ch)
{
	static const int known[] = { -EAGAIN,  -ENOTCONN,   -EPIPE,    -EOWNERDEAD, -EBADMSG,
				     -ENOBUFS, -EOPNOTSUPP, -ESTALE,   -EMSGSIZE,   -ENOMEM,
				     -EINVAL,  -EBUSY,	    -ETIMEDOUT };
	struct evr_message m;
	int err[6], i;
	size_t k;

	for (i = 0; i < 6 && !evr_channel_recv(ch, &m); i++) {
		read_all(&m);
		if (i % 2 || evr_channel_keep(ch, &m))
			evr_channel_release(ch, &m);
		else
			evr_channel_give_back(ch, m.handle);
	}
	err[0] = evr_channel_recv(ch, &m);
	err[1] = send_value(ch, 3);
	err[2] = send_block(ch, 4);
	err[3] = evr_channel_collect(ch);
	err[4] = evr_channel_send(ch, (uint8_t[600]){ 0 }, 600, 5);
	err[5] = evr_channel_drain_wait(ch, &wa, 1);
	for (i = 0; i < 6; i++) {
		for (k = 0; err[i] < 0 && k < sizeof(known) / sizeof(known[0]); k++)
			if (err[i] == known[k])
				break;
		assert_true(k < sizeof(known) / sizeof(known[0]));
	}
	evr_channel_vouch(ch);
	evr_channel_state(ch);
	evr_channel_forget(ch);
	evr_channel_recv(ch, &m);
	send_value(ch, 6);
}

static void open_ends(int role)
{
	struct evr_message m;

	assert_int_equal(evr_channel_open(&ca, a, "c", role, 0), 0);
	assert_int_equal(evr_channel_open(&cb, b, "c", !role, 0), 0);
	assert_int_equal(evr_channel_bind(&ca, &ha, NULL), 0);
	assert_int_equal(evr_channel_bind(&cb, &hb, NULL), 0);
	meet(&ca, &cb);
	meet(&ca, &cb);
	assert_int_equal(send_block(&ca, 1), 0);
	assert_int_equal(send_block(&ca, 1), 0);
	assert_int_equal(evr_channel_recv(&cb, &m), 0);
	evr_channel_release(&cb, &m);
	assert_int_equal(send_block(&cb, 1), 0);
	assert_int_equal(send_value(&cb, 2), 0);
	assert_int_equal(send_block(&cb, 3), 0);
}

static void scribble_at(uint64_t *region, uint64_t *word, int role)
{
	static uint64_t saved[FAR_PEER_SZ / 8];
	size_t i;

	for (i = 0; i < NONSENSE_NR; i++) {
		open_ends(role);
		memcpy(saved, region, FAR_PEER_SZ);
		*word = nonsense[i];
		do_everything(&ca);
		memcpy(region, saved, FAR_PEER_SZ);
		evr_channel_close(&cb);
		evr_channel_close(&ca);
	}
}

/* Every word of a range, with the survivor in each role. */
static void scribble_range(uint64_t *region, const void *from, const void *to)
{
	uint64_t *word;
	int role;

	for (role = 0; role < 2; role++)
		for (word = region + ((const uint64_t *)from - region); word < (const uint64_t *)to;
		     word++)
			scribble_at(region, word, role);
}

static void hostile_word_harms_nobody_else(void **state)
{
	uint32_t k;
	const struct heap_arena *arena;
	struct evr_object fence;
	uint64_t *region;
	uint8_t *guard, *half;
	struct evr_channel_far far;

	assert_int_equal(evr_dir_create(a, "guard", EVR_KIND_USER, 4096, &fence), 0);
	guard = evr_peer_at(a, fence.off, fence.sz);
	memset(guard, 0x5a, fence.sz);
	make_both();
	region = evr_peer_at(b, evr_layout_region(&pair->segment->layout, evr_peer_self(b).slot),
			     FAR_PEER_SZ);
	half = evr_peer_at(b, cb.rx[0].lane.object.off, cb.rx[0].lane.object.sz);
	far = *cb.far;
	evr_channel_close(&cb);
	evr_channel_close(&ca);
	/* The directory with the entries of the half and the heap. */
	scribble_range(region, region,
		       (uint8_t *)region + sizeof(struct dir_header) +
			       3 * sizeof(struct dir_entry));
	/* The half: each lane and its first frames, the tail, the loans. */
	for (k = 0; k < 2 * CHANNEL_STREAMS; k++)
		scribble_range(region, half + far.lane_off[k],
			       half + far.lane_off[k] + sizeof(struct evr_lane_object) + 128);
	scribble_range(region, half + far.tail_off, half + far.sz);
	/* The heap's header, what it says of its granules, and the first blocks' words. */
	arena = &hb.own->map.arenas[0];
	scribble_range(region, hb.own->map.header, arena->data);
	scribble_range(region, arena->data, arena->data + 512);
	for (k = 0; k < fence.sz; k++)
		assert_int_equal(guard[k], 0x5a);
	assert_int_equal(evr_channel_open(&ca, a, "c", EVR_CHANNEL_A, 0), 0);
	assert_int_equal(evr_channel_bind(&ca, &ha, NULL), 0);
	assert_goes_on();
}

/* The two ends killed at each step. */

static void child_end(struct evr_peer *peer, struct evr_channel *ch, struct evr_heap *heap)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options), .sz = 48 << 10 };

	CHECK(!evr_heap_create(peer, "h", &options) && !evr_heap_open(heap, peer, "h"));
	CHECK(!evr_channel_open(ch, peer, "c", EVR_CHANNEL_B, 0));
	CHECK(!evr_channel_bind(ch, heap, NULL));
	child_turn(); /* A proposes, */
	CHECK(evr_channel_state(ch) == EVR_RING_OK); /* and we accept. */
	child_turn();
}

/* In the parent: false when it has died before. */
static bool parent_meets(void)
{
	if (!parent_turn())
		return false;
	assert_int_equal(evr_channel_state(&ca), EVR_RING_NO_PEER);
	parent_done();
	if (!parent_turn())
		return false;
	assert_int_equal(evr_channel_state(&ca), EVR_RING_OK);
	return true;
}

static void send_and_die(struct evr_peer *peer)
{
	struct evr_message m = { .data = (uint64_t[40]){ 2 }, .sz = 320, .tag = 2 };
	struct evr_channel ch;
	struct evr_heap heap;
	uint64_t tag = 1;

	child_end(peer, &ch, &heap);
	CHECK(!evr_channel_send(&ch, &tag, 8, tag));
	log_->sent = 1;
	CHECK(!evr_channel_send_message(&ch, &m));
	log_->sent = 2;
	tag = 3;
	CHECK(!evr_channel_send(&ch, &tag, 8, tag));
	log_->sent = 3;
	evr_channel_close(&ch);
	evr_heap_close(&heap);
}

/* Death at each step takes a thousand processes; without EVERING_TEST_LONG it is at one in six. */
static uint64_t next_step(uint64_t n)
{
	return n + (getenv("EVERING_TEST_LONG") ? 1 : 5 + n % 3);
}

static void hostile_sender_killed_at_each_step_delivers_what_it_sent(void **state)
{
	bool died = true, seen[4] = { false };
	struct evr_channel_counts c;
	uint64_t n, got, sum = 0;
	int64_t err;
	pid_t pid;

	make_end(a, &ca, &ha, EVR_CHANNEL_A);
	for (n = 1; died; n = next_step(n)) {
		assert_true(n < STEPS_MAX);
		pid = start_at(pair, n, send_and_die);
		if (parent_meets())
			parent_done();
		died = finish(pair, pid);
		for (got = 0; (err = recv_value(&ca)) > 0; got++)
			assert_int_equal(err, got + 1);
		assert_true(got == log_->sent || (died && got == log_->sent + 1));
		assert_true(err == -EPIPE || (died && (err == -EOWNERDEAD || err == -ENOTCONN)));
		seen[got] = true;
		sum += got;
		assert_int_equal(evr_channel_forget(&ca), 0);
		evr_channel_counts(&ca, &c);
		assert_int_equal(c.ends[EVR_CHANNEL_A].received, sum);
	}
	assert_true(seen[0] && seen[3]);
	assert_goes_on();
	printf("# died before some or each of %llu accesses\n", (unsigned long long)n);
}

static void receive_and_die(struct evr_peer *peer)
{
	struct evr_message m, kept;
	struct evr_channel ch;
	struct evr_heap heap;

	child_end(peer, &ch, &heap);
	CHECK(!evr_channel_recv(&ch, &kept) && kept.tag == 1);
	CHECK(!evr_channel_keep(&ch, &kept));
	log_->received = 1;
	CHECK(!evr_channel_recv(&ch, &m) && m.tag == 2);
	evr_channel_release(&ch, &m);
	log_->received = 2;
	CHECK(!evr_channel_recv(&ch, &m) && m.tag == 3);
	evr_channel_release(&ch, &m);
	log_->received = 3;
	CHECK(!evr_channel_give_back(&ch, kept.handle));
	evr_channel_close(&ch);
	evr_heap_close(&heap);
}

static void hostile_receiver_killed_at_each_step_gives_all_back(void **state)
{
	struct evr_channel_counts c, before;
	bool died = true, met;
	uint64_t n, undone;
	pid_t pid;

	make_end(a, &ca, &ha, EVR_CHANNEL_A);
	for (n = 1; died; n = next_step(n)) {
		assert_true(n < STEPS_MAX);
		evr_channel_counts(&ca, &before);
		pid = start_at(pair, n, receive_and_die);
		met = parent_meets();
		if (met) {
			assert_int_equal(send_block(&ca, 1), 0);
			assert_int_equal(send_block(&ca, 2), 0);
			assert_int_equal(send_value(&ca, 3), 0);
			assert_int_equal(send_block(&ca, 4), 0);
			parent_done();
		}
		died = finish(pair, pid);
		if (met)
			assert_true(send_value(&ca, 5) == -EPIPE ||
				    (died && send_value(&ca, 5) == -EOWNERDEAD));
		assert_int_equal(evr_channel_forget(&ca), 0);
		assert_int_equal(blocks_of(&ha), 0);
		evr_channel_counts(&ca, &c);
		undone = c.ends[0].recovered + c.ends[0].lost - before.ends[0].recovered -
			 before.ends[0].lost;
		/* What it said to have done with did not come back; what it did not, has. */
		assert_true(!met || (undone <= 4 && 4 - undone >= log_->received));
		assert_true(!met || died || undone <= 1);
	}
	assert_goes_on();
	printf("# died before some or each of %llu accesses\n", (unsigned long long)n);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_hostile, close_hostile)
	const struct CMUnitTest tests[] = {
		CASE(hostile_position_is_refused),
		CASE(hostile_receiver_position_is_refused),
		CASE(hostile_length_is_refused),
		CASE(hostile_handle_is_refused),
		CASE(hostile_block_size_is_refused),
		CASE(hostile_block_beyond_the_loans_is_refused),
		CASE(hostile_return_is_refused),
		CASE(hostile_link_or_owner_ends_the_session_only),
		CASE(hostile_end_that_does_not_let_go_is_left),
		CASE(hostile_flood_does_not_hold_a_caller_or_server),
		CASE(hostile_word_harms_nobody_else),
		CASE(hostile_sender_killed_at_each_step_delivers_what_it_sent),
		CASE(hostile_receiver_killed_at_each_step_gives_all_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
