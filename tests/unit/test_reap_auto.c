/* SPDX-License-Identifier: MIT */
/*
 * Nobody has to ask for a recovery: whoever learns of a death settles it, wherever it
 * learns of it; and nobody does for an application that wants to do it itself.
 *
 * Mutants seen to fail here: no automatic reap at all, and in each of the places one by
 * one; one that happens although it was turned off.
 */
#include "pair.h"

#define HEAP_SZ (256U << 10)

/* What this process holds when the other one dies, and how it learns of that. */
struct ends {
	struct pair *pair;
	struct evr_waiter waiter;
	struct evr_spsc spsc;
	struct evr_bytes bytes;
	struct evr_slots slots;
	struct evr_mpmc mpmc;
	struct evr_bcast bcast;
	struct evr_channel channel;
	struct evr_call call;
	struct evr_heap heap;
	struct evr_peer *second; /* of this process */
};

struct place {
	const char *name;
	void (*hold)(struct ends *ends); /* before the other one comes */
	void (*hold_and_die)(struct evr_peer *peer);
	/* @is_auto: it has been settled by the end. */
	void (*learn)(struct ends *ends, bool is_auto);
	void (*meet)(struct ends *ends); /* NULL, or while the other one lives */
};

static void hold_nothing(struct ends *ends)
{
	(void)ends;
}

static void die_with_a_role(struct evr_peer *peer)
{
	struct evr_spsc ring;

	CHECK(!evr_spsc_open(&ring, peer, "spsc", EVR_PRODUCER, 0));
}

static void attach(struct ends *ends, bool is_auto)
{
	struct evr_peer_options options = { .struct_sz = sizeof(options),
					    .flags = is_auto ? 0 : EVR_PEER_REAP_MANUAL };

	assert_int_equal(evr_peer_attach(&ends->second, ends->pair->segment, &options), 0);
}

static void take_its_role(struct ends *ends, bool is_auto)
{
	struct evr_spsc ring;

	assert_int_equal(evr_spsc_open(&ring, ends->pair->peer, "spsc", EVR_PRODUCER, 0),
			 is_auto ? 0 : -EBUSY);
	if (is_auto)
		evr_spsc_close(&ring);
}

static void hold_the_other_role(struct ends *ends)
{
	assert_int_equal(evr_spsc_open(&ends->spsc, ends->pair->peer, "spsc", EVR_CONSUMER, 0), 0);
}

static void wait_for_it(struct ends *ends, bool is_auto)
{
	uint64_t elem;

	(void)is_auto;
	assert_int_equal(TIMELY(evr_spsc_pop_wait(&ends->spsc, &ends->waiter, &elem, 1, until_ns)),
			 -EOWNERDEAD);
	evr_spsc_close(&ends->spsc);
}

static void hold_a_stream(struct ends *ends)
{
	assert_int_equal(evr_bytes_open(&ends->bytes, ends->pair->peer, "bytes", EVR_CONSUMER), 0);
}

static void die_with_a_stream(struct evr_peer *peer)
{
	struct evr_bytes bytes;

	CHECK(!evr_bytes_open(&bytes, peer, "bytes", EVR_PRODUCER));
}

static void wait_for_a_frame(struct ends *ends, bool is_auto)
{
	char frame[8];

	(void)is_auto;
	assert_int_equal(
		TIMELY(evr_bytes_read_wait(&ends->bytes, &ends->waiter, frame, 8, until_ns)),
		-EOWNERDEAD);
	evr_bytes_close(&ends->bytes);
}

static void hold_slots(struct ends *ends)
{
	assert_int_equal(evr_slots_open(&ends->slots, ends->pair->peer, "slots", EVR_PRODUCER, 0),
			 0);
}

static void die_with_slots(struct evr_peer *peer)
{
	struct evr_slots slots;

	CHECK(!evr_slots_open(&slots, peer, "slots", EVR_CONSUMER, 0));
}

/* Room is there all the time, but nobody who takes anything. */
static void wait_for_room(struct ends *ends, bool is_auto)
{
	uint64_t message = 1;
	int err;

	(void)is_auto;
	do {
		err = TIMELY(
			evr_slots_push_wait(&ends->slots, &ends->waiter, &message, 8, until_ns));
	} while (!err);
	assert_int_equal(err, -EOWNERDEAD);
	evr_slots_close(&ends->slots);
}

static void hold_a_queue(struct ends *ends)
{
	assert_int_equal(evr_mpmc_open(&ends->mpmc, ends->pair->peer, "mpmc", 0), 0);
}

static void die_with_a_claim(struct evr_peer *peer)
{
	struct evr_mpmc queue;

	CHECK(!evr_mpmc_open(&queue, peer, "mpmc", 0));
	CHECK(evr_mpmc_reserve(&queue));
}

/* Of all who wait, for whatever it is: the event wakes them. */
static void wait_for_anybody(struct ends *ends, bool is_auto)
{
	uint64_t elem;

	(void)is_auto;
	assert_int_equal(evr_mpmc_pop_wait(&ends->mpmc, &ends->waiter, &elem, 1,
					   evr_now_ns() + 100000000),
			 -ETIMEDOUT);
	evr_mpmc_close(&ends->mpmc);
}

static void hold_a_seat(struct ends *ends)
{
	assert_int_equal(evr_bcast_open(&ends->bcast, ends->pair->peer, "bcast", EVR_CONSUMER, 0),
			 0);
}

static void die_as_the_writer(struct evr_peer *peer)
{
	struct evr_bcast b;

	CHECK(!evr_bcast_open(&b, peer, "bcast", EVR_PRODUCER, 0));
}

static void wait_for_the_writer(struct ends *ends, bool is_auto)
{
	uint64_t elem;

	(void)is_auto;
	assert_int_equal(
		TIMELY(evr_bcast_pop_wait(&ends->bcast, &ends->waiter, &elem, 1, until_ns)),
		-EOWNERDEAD);
	evr_bcast_close(&ends->bcast);
}

static void hold_an_endpoint(struct ends *ends)
{
	assert_int_equal(
		evr_channel_open(&ends->channel, ends->pair->peer, "channel", EVR_CHANNEL_A, 0), 0);
}

static void die_with_an_endpoint(struct evr_peer *peer)
{
	struct evr_channel ch;

	CHECK(!evr_channel_open(&ch, peer, "channel", EVR_CHANNEL_B, 0));
	CHECK(evr_channel_state(&ch) == EVR_RING_OK);
}

static void wait_for_a_message(struct ends *ends, bool is_auto)
{
	struct evr_message m;

	(void)is_auto;
	assert_int_equal(TIMELY(evr_channel_recv_wait(&ends->channel, &ends->waiter, &m, until_ns)),
			 -EOWNERDEAD);
	evr_channel_close(&ends->channel);
}

static void wait_for_a_value(struct ends *ends, bool is_auto)
{
	uint64_t value;

	(void)is_auto;
	assert_int_equal(TIMELY(evr_channel_recv_sized_wait(&ends->channel, &ends->waiter, &value,
							    sizeof(value), NULL, until_ns)),
			 -EOWNERDEAD);
	evr_channel_close(&ends->channel);
}

static void wait_to_send(struct ends *ends, bool is_auto)
{
	struct evr_message m = { .data = ends, .sz = 1 };

	(void)is_auto;
	assert_int_equal(TIMELY(evr_channel_send_wait(&ends->channel, &ends->waiter, &m, until_ns)),
			 -EOWNERDEAD);
	evr_channel_close(&ends->channel);
}

/* One asks, and is waited for: the request is taken, and not answered. */
static void die_when_asked(struct evr_peer *peer)
{
	struct evr_waiter waiter;
	struct evr_message m;
	struct evr_channel ch;

	CHECK(!evr_waiter_init(&waiter, peer, EVR_WAIT_SLEEP));
	CHECK(!evr_channel_open(&ch, peer, "channel", EVR_CHANNEL_B, 0));
	CHECK(!evr_channel_recv_wait(&ch, &waiter, &m, pair_deadline()));
}

static void ask(struct ends *ends)
{
	struct evr_call_request request = { .message = { .data = ends, .sz = 1 } };
	uint64_t id;

	assert_int_equal(evr_call_init(&ends->call, &ends->channel, 4), 0);
	assert_int_equal(
		TIMELY(evr_call_submit_wait(&ends->call, &ends->waiter, &request, &id, until_ns)),
		0);
}

static void wait_for_an_answer(struct ends *ends, bool is_auto)
{
	struct evr_call_completion done;

	(void)is_auto;
	assert_int_equal(
		TIMELY(evr_call_complete_wait(&ends->call, &ends->waiter, &done, until_ns)), 0);
	assert_int_equal(done.result, -EOWNERDEAD);
	evr_call_fini(&ends->call);
	evr_channel_close(&ends->channel);
}

static void wait_for_a_request(struct ends *ends, bool is_auto)
{
	struct evr_call_server server;
	struct evr_message m;

	(void)is_auto;
	assert_int_equal(evr_call_server_init(&server, &ends->channel, 4), 0);
	assert_int_equal(TIMELY(evr_call_take_wait(&server, &ends->waiter, &m, until_ns)),
			 -EOWNERDEAD);
	evr_call_server_fini(&server);
	evr_channel_close(&ends->channel);
}

static void hold_a_heap(struct ends *ends)
{
	assert_int_equal(evr_heap_open(&ends->heap, ends->pair->peer, "heap"), 0);
}

static void die_with_all_memory(struct evr_peer *peer)
{
	struct evr_heap heap;

	CHECK(!evr_heap_open(&heap, peer, "heap"));
	while (evr_heap_alloc(&heap, 16 << 10).ptr)
		;
}

static void want_memory(struct ends *ends, bool is_auto)
{
	struct evr_block block = evr_heap_alloc(&ends->heap, 16 << 10);

	assert_true(!block.ptr == !is_auto);
	if (block.ptr)
		assert_int_equal(evr_heap_free(&ends->heap, block.handle), 0);
	evr_heap_close(&ends->heap);
}

static const struct place places[] = {
	{ "attach", hold_nothing, die_with_a_role, attach },
	{ "a role that it held", hold_nothing, die_with_a_role, take_its_role },
	{ "a wait for it", hold_the_other_role, die_with_a_role, wait_for_it },
	{ "a reader's wait for a frame", hold_a_stream, die_with_a_stream, wait_for_a_frame },
	{ "a writer's wait for a slot", hold_slots, die_with_slots, wait_for_room },
	{ "a wait for anybody", hold_a_queue, die_with_a_claim, wait_for_anybody },
	{ "a reader's wait", hold_a_seat, die_as_the_writer, wait_for_the_writer },
	{ "an endpoint's wait", hold_an_endpoint, die_with_an_endpoint, wait_for_a_message },
	{ "a wait for a value", hold_an_endpoint, die_with_an_endpoint, wait_for_a_value },
	{ "a sender's wait", hold_an_endpoint, die_with_an_endpoint, wait_to_send },
	{ "a caller's wait", hold_an_endpoint, die_when_asked, wait_for_an_answer, ask },
	{ "a server's wait", hold_an_endpoint, die_with_an_endpoint, wait_for_a_request },
	{ "a heap that is full", hold_a_heap, die_with_all_memory, want_memory },
};

static void make_all(struct pair *pair)
{
	struct evr_bcast_options bcast = { .struct_sz = sizeof(bcast), .capacity = 8, .seats = 2 };
	struct evr_heap_options heap = { .struct_sz = sizeof(heap), .sz = HEAP_SZ };

	assert_int_equal(evr_spsc_create(pair->peer, "spsc", NULL), 0);
	assert_int_equal(evr_bytes_create(pair->peer, "bytes", NULL), 0);
	assert_int_equal(evr_slots_create(pair->peer, "slots", NULL), 0);
	assert_int_equal(evr_mpmc_create(pair->peer, "mpmc", NULL), 0);
	assert_int_equal(evr_bcast_create(pair->peer, "bcast", &bcast), 0);
	assert_int_equal(evr_channel_create(pair->peer, "channel", NULL), 0);
	assert_int_equal(evr_heap_create(pair->peer, "heap", &heap), 0);
}

static uint32_t dead_ones(struct evr_peer *peer)
{
	struct evr_peer_info infos[16];
	int i, nr = evr_peer_list(peer, infos, 16);
	uint32_t dead = 0;

	assert_true(nr > 0 && nr <= 16);
	for (i = 0; i < nr; i++)
		dead += infos[i].state == EVR_PEER_DEAD;
	return dead;
}

static void die(struct evr_peer *peer, void *arg)
{
	const struct place *place = arg;

	place->hold_and_die(peer);
	raise(SIGKILL);
}

static void learn_in(struct pair *pair, const struct place *place, bool is_auto)
{
	struct ends ends = { .pair = pair };
	int status = -1;
	pid_t pid;

	assert_int_equal(evr_waiter_init(&ends.waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	place->hold(&ends);
	pid = pair_fork(pair, die, (void *)(uintptr_t)place);
	if (place->meet)
		place->meet(&ends);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	evr_peer_check(pair->peer);
	assert_int_equal(dead_ones(pair->peer), 1);
	evr_reap_auto(pair->peer, is_auto);
	place->learn(&ends, is_auto);
	if (dead_ones(pair->peer) != !is_auto)
		fail_msg("%s: %u are left dead", place->name, dead_ones(pair->peer));
	assert_int_equal(evr_reap_dead(pair->peer, NULL), !is_auto);
	evr_peer_detach(ends.second);
	assert_int_equal(evr_reap_dead(pair->peer, NULL), !!ends.second);
	evr_waiter_fini(&ends.waiter);
}

static void reap_of_each_death_is_by_who_learns_of_it(void **state)
{
	struct pair *pair = *state;
	size_t i;

	make_all(pair);
	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		learn_in(pair, &places[i], true);
}

static void reap_turned_off_is_left_to_the_application(void **state)
{
	struct pair *pair = *state;
	size_t i;

	make_all(pair);
	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		learn_in(pair, &places[i], false);
}

/* It is on unless somebody turns it off. */
static void reap_is_automatic_by_default(void **state)
{
	struct pair *pair = *state;
	int status = -1;
	uint64_t elem;
	struct ends ends = { .pair = pair };
	pid_t pid;

	make_all(pair);
	assert_int_equal(evr_waiter_init(&ends.waiter, pair->peer, EVR_WAIT_SLEEP), 0);
	hold_the_other_role(&ends);
	pid = pair_fork(pair, die, (void *)(uintptr_t)&places[2]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(TIMELY(evr_spsc_pop_wait(&ends.spsc, &ends.waiter, &elem, 1, until_ns)),
			 -EOWNERDEAD);
	assert_int_equal(dead_ones(pair->peer), 0);
	evr_spsc_close(&ends.spsc);
	evr_waiter_fini(&ends.waiter);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, pair_open, pair_close)
	const struct CMUnitTest tests[] = {
		CASE(reap_of_each_death_is_by_who_learns_of_it),
		CASE(reap_turned_off_is_left_to_the_application),
		CASE(reap_is_automatic_by_default),
	};

	return cmocka_run_group_tests_name("reap_auto", tests, NULL, NULL);
}
