/* SPDX-License-Identifier: MIT */
/*
 * Ports in an isolated segment, where all can read all: who has not the bytes is met by
 * nobody, whatever it copies from the segment; who has them, once.
 *
 * Mutants seen to fail here: a pass that is not looked at, or not of a turn; a door that is
 * gone when its port is spent; a port that is not spent; a maker that is not proved.
 */
#include "die.h"

#include "far.h"

#include "port.h"
#include "prf.h"

static struct evr_peer *c;

static int open_three(void **state)
{
	steps_to_live = 0;
	steps_turn = NULL;
	return open_far(state) || evr_peer_attach(&b, pair->segment, NULL) ||
			       evr_peer_attach(&c, pair->segment, NULL) ?
		       -1 :
		       0;
}

static int close_three(void **state)
{
	evr_channel_close(&ca);
	evr_channel_close(&cb);
	if (c)
		evr_peer_detach(c);
	c = NULL;
	return close_far(state);
}

/* The maker's end, and a port for the other. */
static struct evr_port make_port(enum evr_channel_role role)
{
	struct evr_port port;

	assert_int_equal(evr_port_make(&port, a, "c", role), 0);
	return port;
}

static void make_maker(enum evr_channel_role role)
{
	assert_int_equal(evr_channel_create(a, "c", &small_channel), 0);
	assert_int_equal(evr_channel_open(&ca, a, "c", role, 0), 0);
}

/* As often as it takes, both look; neither finds the other. */
static void assert_never_meet(struct evr_channel *x, struct evr_channel *y)
{
	int i;

	for (i = 0; i < 4; i++) {
		assert_int_not_equal(evr_channel_state(x), EVR_RING_OK);
		assert_int_not_equal(evr_channel_state(y), EVR_RING_OK);
	}
}

static void talk(struct evr_channel *x, struct evr_channel *y)
{
	assert_int_equal(send_value(x, 1), 0);
	assert_int_equal(recv_value(y), 1);
	assert_int_equal(send_value(y, 2), 0);
	assert_int_equal(recv_value(x), 2);
}

static void remove_half(struct evr_peer *peer)
{
	struct evr_object half;

	if (evr_dir_find_in(peer, evr_peer_self(peer), "c", &half))
		assert_int_equal(evr_dir_remove(peer, &half), 0);
}

static uint64_t prf_of(uint32_t nr)
{
	static const uint64_t key[] = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 };
	static const uint64_t words[] = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 };

	return evr_prf(key, words, nr);
}

/* The first, ninth and seventeenth of the published vectors of SipHash-2-4. */
static void port_far_function_is_siphash(void **state)
{
	(void)state;
	assert_true(prf_of(0) == 0x726fdb47dd0e0e31);
	assert_true(prf_of(1) == 0x93f5f5799a932462);
	assert_true(prf_of(2) == 0x3f2acc7f57c29bdb);
}

static void port_far_hands_an_endpoint_over_once(void **state)
{
	struct evr_channel again;
	struct evr_port port;
	int role;

	(void)state;
	for (role = 0; role < 2; role++) {
		make_maker(role);
		port = make_port(!role);
		assert_int_equal(evr_port_open(&cb, b, &port, 0), 0);
		meet(&ca, &cb);
		assert_int_equal(evr_channel_other(&ca).slot, evr_peer_self(b).slot);
		talk(&ca, &cb);
		assert_int_equal(evr_port_open(&again, c, &port, 0), -ESTALE);
		assert_int_equal(evr_port_revoke(a, &port), -ESTALE);
		evr_channel_close(&cb);
		assert_int_equal(recv_value(&ca), -EPIPE);
		assert_int_equal(evr_channel_forget(&ca), 0);
		assert_int_equal(evr_port_open(&again, b, &port, 0), -ESTALE);
		/* The door stays, for who comes without, and opens for the next port. */
		assert_int_equal(evr_channel_open(&cb, b, "c", !role, 0), 0);
		assert_never_meet(&ca, &cb);
		evr_channel_close(&cb);
		port = make_port(!role);
		assert_int_equal(evr_port_open(&cb, c, &port, 0), 0);
		meet(&ca, &cb);
		talk(&ca, &cb);
		evr_channel_close(&cb);
		evr_channel_close(&ca);
		remove_half(a);
		remove_half(b);
		remove_half(c);
	}
}

static void port_far_who_has_none_is_not_met(void **state)
{
	struct evr_channel cc;
	struct evr_port port;

	(void)state;
	make_maker(EVR_CHANNEL_A);
	/* Without any port whoever comes is met. */
	assert_int_equal(evr_channel_open(&cc, c, "c", EVR_CHANNEL_B, 0), 0);
	meet(&ca, &cc);
	evr_channel_close(&cc);
	assert_int_equal(evr_channel_forget(&ca), 0);
	port = make_port(EVR_CHANNEL_B);
	assert_int_equal(evr_channel_open(&cc, c, "c", EVR_CHANNEL_B, 0), 0);
	assert_never_meet(&ca, &cc);
	/* All that can be seen in the segment of one that opens it, it has too. */
	assert_int_equal(evr_port_open(&cb, b, &port, 0), 0);
	assert_int_not_equal(cb.mine->pass.v, 0);
	cc.mine->pass.v = cb.mine->pass.v;
	evr_dir_turn(c);
	assert_int_equal(evr_channel_state(&ca), EVR_RING_NO_PEER);
	assert_int_equal(evr_channel_state(&cc), EVR_RING_NO_PEER);
	meet(&ca, &cb);
	assert_int_equal(evr_channel_other(&ca).slot, evr_peer_self(b).slot);
	talk(&ca, &cb);
	evr_channel_close(&cc);
}

/* A copy of all that there is of a port in the segment, in the region of another: nobody goes there. */
static void port_far_copy_of_its_object_deceives_nobody(void **state)
{
	char name[EVR_OBJECT_NAME_SZ];
	struct port_object said;
	struct evr_object object, copy, half;
	struct evr_channel liar;
	struct evr_port port;
	uint64_t nonce[2];

	(void)state;
	/* The liar has the lower slot. */
	assert_int_equal(evr_channel_create(c, "c", &small_channel), 0);
	assert_int_equal(evr_channel_open(&ca, c, "c", EVR_CHANNEL_A, 0), 0);
	assert_int_equal(evr_port_make(&port, c, "c", EVR_CHANNEL_B), 0);
	assert_int_equal(evr_channel_create(a, "c", &small_channel), 0);
	assert_int_equal(evr_channel_open(&liar, a, "c", EVR_CHANNEL_A, 0), 0);
	memcpy(nonce, port.bytes + 16, 16);
	snprintf(name, sizeof(name), "port.%016llx%016llx",
		 (unsigned long long)evr_prf(nonce, &(uint64_t){ 1 }, 1),
		 (unsigned long long)evr_prf(nonce, &(uint64_t){ 2 }, 1));
	assert_int_equal(evr_dir_find(a, name, &object), 0);
	assert_int_equal(object.slot, evr_peer_self(c).slot);
	assert_null(strstr(name, "0000000000000000"));
	memcpy(&said, evr_peer_at(a, object.off, sizeof(said)), sizeof(said));
	assert_true(evr_dir_find_in(a, evr_peer_self(a), "c", &half));
	said.idx = half.idx;
	said.gen = half.gen;
	assert_int_equal(evr_port_publish(a, name, &said, &copy), 0);
	assert_int_equal(evr_port_open(&cb, b, &port, 0), 0);
	evr_channel_state(&liar);
	meet(&ca, &cb);
	assert_int_equal(evr_channel_other(&cb).slot, evr_peer_self(c).slot);
	assert_int_equal(evr_channel_state(&liar), EVR_RING_NO_PEER);
	evr_channel_close(&liar);
}

static void port_far_of_two_that_open_it_one_is_met(void **state)
{
	struct evr_channel cc;
	struct evr_port port;
	int role;

	(void)state;
	for (role = 0; role < 2; role++) {
		if (role)
			evr_channel_close(&ca);
		else
			assert_int_equal(evr_channel_create(a, "c", &small_channel), 0);
		assert_int_equal(evr_channel_open(&ca, a, "c", role, 0), 0);
		port = make_port(!role);
		assert_int_equal(evr_port_open(&cb, b, &port, 0), 0);
		assert_int_equal(evr_port_open(&cc, c, &port, 0), 0);
		evr_channel_state(&ca);
		evr_channel_state(&cb);
		evr_channel_state(&cc);
		meet(&ca, &cb);
		assert_int_equal(recv_value(&cc), -EPIPE);
		assert_int_equal(send_value(&cc, 1), -EPIPE);
		talk(&ca, &cb);
		evr_channel_close(&cc);
		evr_channel_close(&cb);
	}
}

static void port_far_revoked_is_void(void **state)
{
	struct evr_port port;
	struct evr_channel cc;

	(void)state;
	make_maker(EVR_CHANNEL_A);
	port = make_port(EVR_CHANNEL_B);
	assert_int_equal(evr_port_open(&cb, b, &port, 0), 0);
	assert_int_equal(evr_port_revoke(b, &port), -EROFS);
	assert_int_equal(evr_port_revoke(a, &port), 0);
	assert_int_equal(evr_port_revoke(a, &port), -ESTALE);
	assert_int_equal(evr_port_open(&cc, c, &port, 0), -ESTALE);
	assert_never_meet(&ca, &cb);
	assert_int_equal(recv_value(&cb), -EPIPE);
	/* Also one to whom it was proposed already. */
	evr_channel_close(&cb);
	port = make_port(EVR_CHANNEL_B);
	assert_int_equal(evr_port_open(&cb, b, &port, 0), 0);
	evr_channel_state(&ca);
	assert_int_equal(evr_port_revoke(a, &port), 0);
	evr_channel_state(&cb);
	assert_int_equal(evr_channel_state(&ca), EVR_RING_NO_PEER);
	assert_int_equal(recv_value(&cb), -EPIPE);
}

static void port_far_forged_or_misplaced_is_refused(void **state)
{
	struct evr_port port, forged, zeros = { { 0 } };
	int err, bit, seen[3] = { 0 };
	struct evr_channel ch;
	struct evr_object object;

	(void)state;
	memset(&port, 0xee, sizeof(port));
	assert_int_equal(evr_port_make(&port, a, "c", EVR_CHANNEL_A), -ENOENT);
	assert_memory_equal(&port, &zeros, sizeof(port));
	make_maker(EVR_CHANNEL_A);
	/* Another's half is not its to give away. */
	assert_int_equal(evr_port_make(&port, b, "c", EVR_CHANNEL_B), -ENOENT);
	assert_int_equal(evr_inbox_create(a, "i", NULL), 0);
	assert_int_equal(evr_port_make(&port, a, "i", EVR_CHANNEL_B), -EINVAL);
	assert_int_equal(evr_port_make(&port, a, "c", 2), -EINVAL);
	port = make_port(EVR_CHANNEL_B);
	for (bit = 0; bit < 8 * (int)sizeof(port); bit++) {
		forged = port;
		forged.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		err = evr_port_open(&ch, b, &forged, 0);
		seen[0] += err == -EINVAL;
		seen[1] += err == -EXDEV;
		seen[2] += err == -ESTALE;
	}
	assert_true(seen[0] == 64 && seen[1] == 64 && seen[2] == 128);
	/* What the opener has under that name is not touched. */
	assert_int_equal(evr_dir_create(b, "c", EVR_KIND_USER, 64, &object), -EEXIST);
	assert_int_equal(evr_heap_create(b, "h",
					 &(struct evr_heap_options){
						 .struct_sz = sizeof(struct evr_heap_options),
						 .sz = 16 << 10 }),
			 0);
	assert_int_equal(evr_channel_create(b, "c", NULL), -ENOSPC);
	assert_int_equal(evr_channel_create(b, "c",
					    &(struct evr_channel_options){
						    .struct_sz = sizeof(struct evr_channel_options),
						    .capacity = 2048,
						    .urgent_capacity = 1024,
						    .inline_max = 64 }),
			 0);
	assert_int_equal(evr_port_open(&ch, b, &port, 0), -EINVAL);
	assert_int_equal(evr_port_open(&cb, c, &port, 0), 0);
	meet(&ca, &cb);
}

static void wait_for_one(struct evr_peer *peer, void *arg)
{
	const int *fds = arg;
	struct evr_waiter waiter;
	struct evr_channel ch;
	struct evr_message m;
	struct evr_port port;

	CHECK(read(fds[0], &port, sizeof(port)) == sizeof(port));
	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_SLEEP));
	CHECK(!evr_port_open(&ch, peer, &port, 0));
	CHECK(!TIMELY(evr_channel_recv_wait(&ch, &waiter, &m, until_ns)) && m.tag == 7);
	evr_channel_release(&ch, &m);
	CHECK(!send_value(&ch, 8));
	CHECK(TIMELY(evr_channel_recv_wait(&ch, &waiter, &m, until_ns)) == -EPIPE);
	evr_channel_close(&ch);
	evr_waiter_fini(&waiter);
}

/* All who live have a slot each; the next child needs that of the last. */
static void await_free_slot(void)
{
	uint64_t deadline = pair_deadline();
	struct evr_peer_info infos[4];

	for (;;) {
		evr_peer_check(a);
		assert_true(evr_reap_dead(a, NULL) >= 0);
		if (evr_peer_list(a, infos, 4) < 4)
			return;
		assert_true(evr_now_ns() < deadline);
		pair_sleep_us(1000);
	}
}

/* Through a pipe, to a process that sleeps until it is met, in either role. */
static void port_far_goes_through_a_pipe(void **state)
{
	struct evr_message m;
	struct evr_port port;
	int fds[2], role;
	pid_t pid;

	(void)state;
	assert_int_equal(evr_channel_create(a, "c", &small_channel), 0);
	for (role = 0; role < 2; role++) {
		assert_int_equal(pipe(fds), 0);
		assert_int_equal(evr_channel_open(&ca, a, "c", role, 0), 0);
		port = make_port(!role);
		pid = pair_fork(pair, wait_for_one, fds);
		assert_int_equal(write(fds[1], &port, sizeof(port)), sizeof(port));
		assert_int_equal(evr_channel_send_wait(
					 &ca, &wa,
					 &(struct evr_message){
						 .data = (uint64_t[]){ 7 }, .sz = 8, .tag = 7 },
					 pair_deadline()),
				 0);
		assert_int_equal(evr_channel_recv_wait(&ca, &wa, &m, pair_deadline()), 0);
		assert_int_equal(m.tag, 8);
		evr_channel_release(&ca, &m);
		evr_channel_close(&ca);
		pair_join(pid);
		await_free_slot();
		close(fds[0]);
		close(fds[1]);
	}
}

static void port_far_of_a_dead_maker_is_void(void **state)
{
	struct evr_channel ch;
	struct evr_port port;

	(void)state;
	assert_int_equal(evr_channel_create(c, "c", &small_channel), 0);
	assert_int_equal(evr_port_make(&port, c, "c", EVR_CHANNEL_A), 0);
	assert_int_equal(evr_port_open(&cb, b, &port, 0), 0);
	evr_peer_detach(c);
	c = NULL;
	assert_int_equal(evr_port_open(&ch, a, &port, 0), -ESTALE);
	assert_int_equal(recv_value(&cb), -EOWNERDEAD);
}

/* Whatever the opener writes for its pass, in each role: not met, and no harm. */
static void port_far_hostile_pass_is_refused(void **state)
{
	static const uint64_t values[] = { 0, 1, UINT64_MAX, 1ULL << 63 };
	struct evr_port port;
	int role;
	size_t i;

	(void)state;
	assert_int_equal(evr_channel_create(a, "c", &small_channel), 0);
	for (role = 0; role < 2; role++) {
		assert_int_equal(evr_channel_open(&ca, a, "c", role, 0), 0);
		port = make_port(!role);
		for (i = 0; i < 4; i++) {
			assert_int_equal(evr_port_open(&cb, b, &port, 0), 0);
			cb.mine->pass.v = values[i];
			assert_never_meet(&ca, &cb);
			/* A pass is of one turn. */
			cb.mine->pass.v = evr_port_pass((const uint64_t *)port.bytes + 2,
							cb.rx[0].lane.held - (1 << 16));
			evr_dir_turn(b);
			assert_never_meet(&ca, &cb);
			evr_channel_close(&cb);
		}
		assert_int_equal(evr_port_open(&cb, b, &port, 0), 0);
		meet(&ca, &cb);
		evr_channel_close(&cb);
		evr_channel_close(&ca);
	}
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_three, close_three)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(port_far_function_is_siphash),
		CASE(port_far_hands_an_endpoint_over_once),
		CASE(port_far_who_has_none_is_not_met),
		CASE(port_far_copy_of_its_object_deceives_nobody),
		CASE(port_far_of_two_that_open_it_one_is_met),
		CASE(port_far_revoked_is_void),
		CASE(port_far_forged_or_misplaced_is_refused),
		CASE(port_far_goes_through_a_pipe),
		CASE(port_far_of_a_dead_maker_is_void),
		CASE(port_far_hostile_pass_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
