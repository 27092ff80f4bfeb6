/* SPDX-License-Identifier: MIT */
/*
 * Without a system call while both sides are awake: each noun's calls, those that never
 * wait and those that need not, in a process that has given up all system calls but its
 * end. One more ends it with SIGSYS. Both backends, segments of both kinds.
 *
 * Mutants seen to fail here: a look at a lane's other end, or at a peer's state, that asks
 * the system; a heap that gives each freed run back to the system.
 */
#include "pair.h"

#include "refuse.h"

#define ROUNDS 300
#define BATCH 3
#define ACROSS 2000 /* elements between two processes */

/* Nothing can be said any more. */
#define MUST(cond)                \
	do {                      \
		if (!(cond))      \
			_exit(3); \
	} while (0)

struct both {
	struct evr_peer *a, *b;
	struct evr_waiter waiter; /* of @b, and never to sleep */
	uint64_t elems[BATCH];
};

/* From here on only exit_group(). */
static void be_quiet(void)
{
	struct sock_filter code[] = {
		REFUSE_LOAD(nr),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK(!syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

/* A round, twice to warm up, then often and quietly. */
static void rounds(struct both *s, void (*round)(struct both *s, void *arg), void *arg)
{
	uint32_t i;

	round(s, arg);
	round(s, arg);
	be_quiet();
	for (i = 0; i < ROUNDS; i++)
		round(s, arg);
}

struct spsc_ends {
	struct evr_spsc out, in;
};

static void spsc_round(struct both *s, void *arg)
{
	struct spsc_ends *ends = arg;
	uint32_t nr = 1;

	MUST(evr_spsc_push(&ends->out, s->elems, BATCH) == BATCH);
	MUST(evr_spsc_reserve(&ends->out, &nr) && nr == 1);
	evr_spsc_commit(&ends->out, 1);
	MUST(evr_spsc_state(&ends->in) == EVR_RING_OK);
	MUST(evr_spsc_peek(&ends->in, &nr) && nr == 1);
	evr_spsc_release(&ends->in, 1);
	MUST(evr_spsc_pop_wait(&ends->in, &s->waiter, s->elems, BATCH, EVR_NO_DEADLINE) == BATCH);
	MUST(evr_spsc_pop(&ends->in, s->elems, BATCH) == 0);
}

static void spsc(struct both *s)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options), .capacity = 8 };
	struct spsc_ends ends;

	CHECK(!evr_spsc_create(s->a, "o", &options));
	CHECK(!evr_spsc_open(&ends.out, s->a, "o", EVR_PRODUCER, 0));
	CHECK(!evr_spsc_open(&ends.in, s->b, "o", EVR_CONSUMER, 0));
	rounds(s, spsc_round, &ends);
}

struct bytes_ends {
	struct evr_bytes out, in;
};

static void bytes_round(struct both *s, void *arg)
{
	struct bytes_ends *ends = arg;
	uint64_t sz;

	MUST(!evr_bytes_write(&ends->out, s->elems, sizeof(s->elems)));
	MUST(evr_bytes_reserve(&ends->out, 100));
	MUST(!evr_bytes_commit(&ends->out, 50));
	MUST(evr_bytes_read(&ends->in, s->elems, sizeof(s->elems)) == sizeof(s->elems));
	MUST(evr_bytes_peek(&ends->in, &sz) && sz == 50);
	MUST(evr_bytes_release(&ends->in));
	MUST(evr_bytes_read(&ends->in, s->elems, sizeof(s->elems)) == -EAGAIN);
}

static void bytes(struct both *s)
{
	struct evr_bytes_options options = { .struct_sz = sizeof(options), .capacity = 1024 };
	struct bytes_ends ends;

	CHECK(!evr_bytes_create(s->a, "o", &options));
	CHECK(!evr_bytes_open(&ends.out, s->a, "o", EVR_PRODUCER));
	CHECK(!evr_bytes_open(&ends.in, s->b, "o", EVR_CONSUMER));
	rounds(s, bytes_round, &ends);
}

struct slots_ends {
	struct evr_slots out, in;
};

static void slots_round(struct both *s, void *arg)
{
	struct slots_ends *ends = arg;
	uint32_t sz;

	MUST(evr_slots_push(&ends->out, s->elems, 8));
	MUST(evr_slots_reserve(&ends->out));
	MUST(evr_slots_commit(&ends->out, 16));
	evr_slots_flush(&ends->out);
	MUST(evr_slots_pop(&ends->in, s->elems, sizeof(s->elems), &sz) && sz == 8);
	MUST(evr_slots_pop_wait(&ends->in, &s->waiter, s->elems, sizeof(s->elems),
				EVR_NO_DEADLINE) == 16);
	MUST(!evr_slots_peek(&ends->in, &sz));
}

static void slots(struct both *s)
{
	struct evr_slots_options options = { .struct_sz = sizeof(options), .capacity = 8 };
	struct slots_ends ends;

	CHECK(!evr_slots_create(s->a, "o", &options));
	CHECK(!evr_slots_open(&ends.out, s->a, "o", EVR_PRODUCER, 0));
	CHECK(!evr_slots_open(&ends.in, s->b, "o", EVR_CONSUMER, 0));
	rounds(s, slots_round, &ends);
}

struct inbox_ends {
	struct evr_inbox_sender out;
	struct evr_inbox in;
};

static void inbox_round(struct both *s, void *arg)
{
	struct inbox_ends *ends = arg;
	struct evr_peer_id from;
	int got, nr = 1;

	MUST(evr_inbox_push(&ends->out, s->elems, BATCH) == BATCH);
	MUST(evr_inbox_pop(&ends->in, s->elems, 1, &from) == 1);
	while (nr < BATCH) {
		got = evr_inbox_pop_wait(&ends->in, &s->waiter, s->elems, BATCH, &from,
					 EVR_NO_DEADLINE);
		MUST(got > 0);
		nr += got;
	}
	MUST(nr == BATCH);
	MUST(evr_inbox_pop(&ends->in, s->elems, 1, &from) == 0);
}

static void inbox(struct both *s)
{
	struct evr_inbox_options options = { .struct_sz = sizeof(options), .capacity = 8 };
	struct inbox_ends ends;

	CHECK(!evr_inbox_create(s->b, "o", &options));
	CHECK(!evr_inbox_open(&ends.in, s->b, "o", 0));
	CHECK(!evr_inbox_join(&ends.out, s->a, "o", 0));
	rounds(s, inbox_round, &ends);
}

struct mpmc_ends {
	struct evr_mpmc out, in;
};

static void mpmc_round(struct both *s, void *arg)
{
	struct mpmc_ends *ends = arg;

	MUST(evr_mpmc_push(&ends->out, s->elems, BATCH) == BATCH);
	MUST(evr_mpmc_reserve(&ends->out));
	evr_mpmc_commit(&ends->out);
	MUST(evr_mpmc_peek(&ends->in));
	evr_mpmc_release(&ends->in);
	MUST(evr_mpmc_pop_wait(&ends->in, &s->waiter, s->elems, BATCH, EVR_NO_DEADLINE) == BATCH);
	MUST(evr_mpmc_pop(&ends->in, s->elems, 1) == 0);
}

static void mpmc(struct both *s)
{
	struct evr_mpmc_options options = { .struct_sz = sizeof(options), .capacity = 8 };
	struct mpmc_ends ends;

	CHECK(!evr_mpmc_create(s->a, "o", &options));
	CHECK(!evr_mpmc_open(&ends.out, s->a, "o", 0));
	CHECK(!evr_mpmc_open(&ends.in, s->b, "o", 0));
	rounds(s, mpmc_round, &ends);
}

struct log_ends {
	struct evr_log out, in;
};

static void log_round(struct both *s, void *arg)
{
	struct log_ends *ends = arg;
	uint64_t sz;

	MUST(!evr_log_write(&ends->out, s->elems, 8));
	MUST(evr_log_reserve(&ends->out, 100));
	MUST(!evr_log_commit(&ends->out, 60));
	MUST(evr_log_read(&ends->in, s->elems, sizeof(s->elems)) == 8);
	MUST(evr_log_peek(&ends->in, &sz) && sz == 60);
	evr_log_release(&ends->in);
	MUST(!evr_log_peek(&ends->in, &sz));
}

static void log_records(struct both *s)
{
	struct evr_log_options options = { .struct_sz = sizeof(options),
					   .capacity = 1024,
					   .record_max = 200 };
	struct log_ends ends;

	CHECK(!evr_log_create(s->a, "o", &options));
	CHECK(!evr_log_open(&ends.out, s->a, "o", EVR_PRODUCER));
	CHECK(!evr_log_open(&ends.in, s->b, "o", EVR_CONSUMER));
	rounds(s, log_round, &ends);
}

struct bcast_ends {
	struct evr_bcast out, in, watch;
};

static void bcast_round(struct both *s, void *arg)
{
	struct bcast_ends *ends = arg;
	uint32_t nr = 1;

	MUST(evr_bcast_push(&ends->out, s->elems, BATCH) == BATCH);
	MUST(evr_bcast_reserve(&ends->out, &nr) && nr == 1);
	evr_bcast_commit(&ends->out, 1);
	MUST(evr_bcast_pop(&ends->in, s->elems, BATCH) == BATCH);
	MUST(evr_bcast_peek(&ends->in, &nr) && nr == 1);
	MUST(evr_bcast_release(&ends->in, 1) == 1);
	MUST(evr_bcast_pop(&ends->watch, s->elems, BATCH) == BATCH);
	MUST(evr_bcast_pop(&ends->watch, s->elems, BATCH) == 1);
	MUST(evr_bcast_pop(&ends->in, s->elems, BATCH) == 0);
}

static void bcast_of(struct both *s, uint32_t seats)
{
	struct evr_bcast_options options = { .struct_sz = sizeof(options),
					     .capacity = 8,
					     .seats = seats };
	struct bcast_ends ends;

	CHECK(!evr_bcast_create(s->a, "o", &options));
	CHECK(!evr_bcast_open(&ends.out, s->a, "o", EVR_PRODUCER, 0));
	CHECK(!evr_bcast_subscribe(&ends.in, s->b, "o", NULL, 0, 8));
	CHECK(!evr_bcast_observe(&ends.watch, s->b, "o", NULL, 0));
	rounds(s, bcast_round, &ends);
}

static void bcast_lossy(struct both *s)
{
	bcast_of(s, 0);
}

static void bcast_reliable(struct both *s)
{
	bcast_of(s, 4);
}

struct heaps {
	struct evr_heap a, b;
};

static void heap_round(struct both *s, void *arg)
{
	struct heaps *heaps = arg;
	struct evr_block own, sent, run;

	own = evr_heap_alloc(&heaps->a, 100);
	sent = evr_heap_alloc(&heaps->a, 500);
	run = evr_heap_alloc(&heaps->a, 1 << 20);
	MUST(own.ptr && sent.ptr && run.ptr);
	MUST(!evr_heap_realloc(&heaps->a, &own, 110));
	MUST(!evr_heap_free(&heaps->a, own.handle));
	MUST(!evr_heap_transfer(&heaps->a, sent.handle, evr_peer_self(s->b)));
	MUST(!evr_heap_accept(&heaps->b, sent.handle));
	MUST(evr_heap_resolve(&heaps->b, sent.handle, NULL));
	MUST(!evr_heap_free(&heaps->b, sent.handle));
	MUST(!evr_heap_free(&heaps->a, run.handle));
}

static void heap(struct both *s)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options), .sz = 3 << 20 };
	struct heaps heaps;

	CHECK(!evr_heap_create(s->a, "o", &options));
	CHECK(!evr_heap_open(&heaps.a, s->a, "o"));
	CHECK(!evr_heap_open(&heaps.b, s->b, "o"));
	rounds(s, heap_round, &heaps);
}

struct pools {
	struct evr_pool a, b;
};

static void pool_round(struct both *s, void *arg)
{
	struct pools *pools = arg;
	struct evr_block one, two;

	MUST(!evr_pool_alloc(&pools->a, 60, &one));
	MUST(!evr_pool_alloc_wait(&pools->b, &s->waiter, 60, &two, EVR_NO_DEADLINE));
	MUST(!evr_pool_transfer(&pools->a, one.handle, evr_peer_self(s->b)));
	MUST(!evr_pool_accept(&pools->b, one.handle));
	MUST(!evr_pool_free(&pools->b, one.handle));
	MUST(!evr_pool_free(&pools->b, two.handle));
}

static void pool(struct both *s)
{
	struct evr_pool_options options = { .struct_sz = sizeof(options),
					    .classes = { { 64, 4 } } };
	struct pools pools;

	CHECK(!evr_pool_create(s->a, "o", &options));
	CHECK(!evr_pool_open(&pools.a, s->a, "o"));
	CHECK(!evr_pool_open(&pools.b, s->b, "o"));
	rounds(s, pool_round, &pools);
}

struct channel_ends {
	struct evr_channel a, b;
	struct evr_heap heap_a, heap_b;
	struct evr_call call;
	struct evr_call_server server;
	bool has_heap;
};

static void receive(struct evr_channel *ch, uint64_t sz)
{
	struct evr_message m;

	MUST(!evr_channel_recv(ch, &m));
	MUST(m.sz == sz);
	evr_channel_release(ch, &m);
}

static void channel_round(struct both *s, void *arg)
{
	struct channel_ends *ends = arg;
	struct evr_message m;
	void *at;

	MUST(!evr_channel_send(&ends->a, s->elems, sizeof(s->elems), 1));
	MUST(!evr_channel_reserve(&ends->a, 40, &at));
	MUST(!evr_channel_commit(&ends->a, 30, 2));
	receive(&ends->b, sizeof(s->elems));
	receive(&ends->b, 30);
	MUST(!evr_channel_send(&ends->b, s->elems, 8, 1));
	receive(&ends->a, 8);
	MUST(evr_channel_recv(&ends->a, &m) == -EAGAIN);
	if (!ends->has_heap)
		return;
	MUST(!evr_channel_alloc(&ends->a, 2000, &m));
	MUST(!evr_channel_send_message(&ends->a, &m));
	receive(&ends->b, 2000);
}

static void channel_open(struct both *s, struct channel_ends *ends, const char *heap)
{
	struct evr_channel_options options = { .struct_sz = sizeof(options),
					       .capacity = 2048,
					       .urgent_capacity = 1024,
					       .inline_max = 64,
					       .heap = heap };

	CHECK(!evr_channel_create(s->a, "o", &options));
	CHECK(!evr_channel_open(&ends->a, s->a, "o", EVR_CHANNEL_A, 0));
	CHECK(!evr_channel_open(&ends->b, s->b, "o", EVR_CHANNEL_B, 0));
	/* Two halves meet once both have looked. */
	evr_channel_state(&ends->a);
	evr_channel_state(&ends->b);
	evr_channel_state(&ends->a);
}

static void channel(struct both *s)
{
	struct channel_ends ends = { .has_heap = false };

	channel_open(s, &ends, NULL);
	rounds(s, channel_round, &ends);
}

static void channel_blocks(struct both *s)
{
	struct evr_heap_options options = { .struct_sz = sizeof(options), .sz = 1 << 20 };
	struct channel_ends ends = { .has_heap = true };

	CHECK(!evr_heap_create(s->a, "heap", &options));
	CHECK(!evr_heap_open(&ends.heap_a, s->a, "heap"));
	CHECK(!evr_heap_open(&ends.heap_b, s->b, "heap"));
	channel_open(s, &ends, "heap");
	CHECK(!evr_channel_bind(&ends.a, &ends.heap_a, &ends.heap_a));
	CHECK(!evr_channel_bind(&ends.b, &ends.heap_b, &ends.heap_b));
	rounds(s, channel_round, &ends);
}

static void call_round(struct both *s, void *arg)
{
	struct channel_ends *ends = arg;
	struct evr_call_request request = { .message = { .data = s->elems, .sz = 8 } };
	struct evr_call_completion done;
	struct evr_message m;
	uint64_t id;

	MUST(!evr_call_submit(&ends->call, &request, &id));
	MUST(!evr_call_take(&ends->server, &m));
	MUST(!evr_call_answer(&ends->server, m.id, &request.message));
	MUST(!evr_call_complete(&ends->call, &done));
	MUST(done.id == id && !done.result);
	evr_channel_release(&ends->a, &done.message);
}

static void call(struct both *s)
{
	struct channel_ends ends;

	channel_open(s, &ends, NULL);
	CHECK(!evr_call_init(&ends.call, &ends.a, 4));
	CHECK(!evr_call_server_init(&ends.server, &ends.b, 4));
	rounds(s, call_round, &ends);
}

/* The rule must be able to fail. */
static void a_system_call(struct both *s)
{
	be_quiet();
	syscall(SYS_getppid);
	MUST(s->a);
}

/* Two peers of one segment in a child that runs @fn. Return: its status. */
static int run_quietly(struct pair *pair, void (*fn)(struct both *s))
{
	struct both s = { .elems = { 1, 2, 3 } };
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		pair_alive();
		CHECK(!evr_peer_attach(&s.a, pair->segment, NULL));
		CHECK(!evr_peer_attach(&s.b, pair->segment, NULL));
		CHECK(!evr_waiter_init(&s.waiter, s.b, EVR_WAIT_ADAPTIVE));
		fn(&s);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* One works with both ends of it. */
static void awake_makes_no_system_call(struct pair *pair, void (*fn)(struct both *s))
{
	int status = run_quietly(pair, fn);

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		fail_msg("a system call was made");
	assert_int_equal(status, 0);
}

#define AWAKE(noun)                                           \
	static void awake_##noun##_calls_nobody(void **state) \
	{                                                     \
		awake_makes_no_system_call(*state, noun);     \
	}
#define AWAKE_FAR(noun)                                           \
	static void awake_far_##noun##_calls_nobody(void **state) \
	{                                                         \
		awake_makes_no_system_call(*state, noun);         \
	}

AWAKE(spsc)
AWAKE(bytes)
AWAKE(slots)
AWAKE(inbox)
AWAKE(mpmc)
AWAKE(log_records)
AWAKE(bcast_lossy)
AWAKE(bcast_reliable)
AWAKE(heap)
AWAKE(pool)
AWAKE(channel)
AWAKE(channel_blocks)
AWAKE(call)
AWAKE_FAR(spsc)
AWAKE_FAR(bytes)
AWAKE_FAR(slots)
AWAKE_FAR(inbox)
AWAKE_FAR(bcast_reliable)
AWAKE_FAR(channel)
AWAKE_FAR(call)

static void awake_one_system_call_is_seen(void **state)
{
	int status = run_quietly(*state, a_system_call);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void push_quietly(struct evr_peer *peer, void *arg)
{
	struct evr_spsc ring;
	uint64_t i;

	(void)arg;
	CHECK(!evr_spsc_open(&ring, peer, "across", EVR_PRODUCER, 0));
	be_quiet();
	for (i = 0; i < ACROSS;) {
		i += evr_spsc_push(&ring, &i, 1);
		evr_pause();
	}
	while (evr_spsc_avail(&ring) != evr_spsc_capacity(&ring))
		evr_pause();
	_exit(0);
}

static void pop_quietly(struct evr_peer *peer, void *arg)
{
	struct evr_spsc ring;
	uint64_t i, elem;

	(void)arg;
	CHECK(!evr_spsc_open(&ring, peer, "across", EVR_CONSUMER, 0));
	be_quiet();
	for (i = 0; i < ACROSS;) {
		if (evr_spsc_pop(&ring, &elem, 1))
			MUST(elem == i++);
		evr_pause();
	}
	_exit(0);
}

static void awake_two_processes_call_nobody(void **state)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options), .capacity = 64 };
	struct pair *pair = *state;
	pid_t pids[2];

	assert_int_equal(evr_spsc_create(pair->peer, "across", &options), 0);
	pids[0] = pair_fork(pair, push_quietly, NULL);
	pids[1] = pair_fork(pair, pop_quietly, NULL);
	pair_join(pids[0]);
	pair_join(pids[1]);
}

static int open_isolated(void **state)
{
	return pair_open_isolated(state, 1 << 20, 4);
}

int main(void)
{
#define SHARED(noun) \
	cmocka_unit_test_setup_teardown(awake_##noun##_calls_nobody, pair_open, pair_close)
#define FAR(noun) \
	cmocka_unit_test_setup_teardown(awake_far_##noun##_calls_nobody, open_isolated, pair_close)
	const struct CMUnitTest tests[] = {
		SHARED(spsc),
		SHARED(bytes),
		SHARED(slots),
		SHARED(inbox),
		SHARED(mpmc),
		SHARED(log_records),
		SHARED(bcast_lossy),
		SHARED(bcast_reliable),
		SHARED(heap),
		SHARED(pool),
		SHARED(channel),
		SHARED(channel_blocks),
		SHARED(call),
		FAR(spsc),
		FAR(bytes),
		FAR(slots),
		FAR(inbox),
		FAR(bcast_reliable),
		FAR(channel),
		FAR(call),
		cmocka_unit_test_setup_teardown(awake_one_system_call_is_seen, pair_open,
						pair_close),
		cmocka_unit_test_setup_teardown(awake_two_processes_call_nobody, pair_open,
						pair_close),
	};

	return cmocka_run_group_tests_name("awake", tests, NULL, NULL);
}
