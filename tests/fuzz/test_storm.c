/* SPDX-License-Identifier: MIT */
/*
 * Peers are killed and started again while they use all that a segment has, whoever
 * reaps among them too; one is stopped in the middle of something from beginning to end, and is no
 * dead one. Afterwards nothing is left: no block, no role, no claim, no entry.
 *
 * On both backends; what is killed where is up to the machine, so a run proves only
 * that this one went well. test_*_killed_at_each_step are the sweeps. EVERING_TEST_LONG
 * makes hundreds of times as many; EVERING_STORM_KILLS=N makes N.
 */
#include "pair.h"

#include <sys/mman.h>
#include <sys/prctl.h>

#include "tour.h"
#include "world.h"

#define WORKERS 4
#define KILLS 50
#define KILLS_LONG 10000
#define DELAY_US_MAX 15000

/* Not in the segment. */
struct talk {
	_Atomic uint32_t is_over;
	struct evr_peer_id stopped;
	_Atomic uint32_t is_named;
	/* What those say who live on; who dies in a tour takes with it what it has not said. */
	_Atomic uint64_t tours, peers, objects, sides, claims, blocks;
};

struct storm {
	struct pair *pair;
	struct talk *talk;
	uint64_t seed;
	bool is_named; /* of a worker: it says who it is */
};

static int storm_open(void **state)
{
	struct storm *s = calloc(1, sizeof(*s));
	void *pair;

	if (!s || pair_open_sized(&pair, WORLD_SHARED_SZ))
		return -1;
	s->pair = pair;
	s->seed = 4711;
	s->talk = mmap(NULL, sizeof(*s->talk), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		       0);
	*state = s;
	return world_make(s->pair->peer);
}

static int storm_close(void **state)
{
	struct storm *s = *state;
	void *pair = s->pair;

	munmap(s->talk, sizeof(*s->talk));
	free(s);
	return pair_close(&pair);
}

static void tell(struct talk *talk, struct evr_reap_report *report)
{
	talk->peers += report->peers;
	talk->objects += report->objects;
	talk->sides += report->sides;
	talk->claims += report->claims;
	talk->blocks += report->blocks;
	*report = (struct evr_reap_report){ 0 };
}

static void work(struct evr_peer *peer, void *arg)
{
	struct evr_reap_report report = { 0 };
	struct storm *s = arg;
	struct tour tour = { .peer = peer, .seed = s->seed, .report = &report };

	if (s->is_named) {
		s->talk->stopped = evr_peer_self(peer);
		s->talk->is_named = 1;
		/* It is stopped for as long as it takes, and gone with its parent all the same. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(0);
	}
	CHECK(!evr_waiter_init(&tour.waiter, peer, EVR_WAIT_SLEEP));
	while (!s->talk->is_over) {
		if (!s->is_named)
			pair_alive();
		tour_all(&tour);
		s->talk->tours++;
		tell(s->talk, &report);
	}
	CHECK(evr_peer_is_live(peer, evr_peer_self(peer)));
	evr_waiter_fini(&tour.waiter);
}

static pid_t start(struct storm *s)
{
	tour_random(&s->seed);
	return pair_fork(s->pair, work, s);
}

static void stop(pid_t pid)
{
	int status;

	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
}

static int remove_one(const struct evr_object *object, void *arg)
{
	struct evr_peer *peer = arg;
	int err;

	if (object->kind == EVR_KIND_INBOX)
		err = evr_inbox_remove(peer, object->name);
	else
		err = evr_dir_remove(peer, object);
	if (err)
		fail_msg("'%s' is held by nobody, and not removed: %s", object->name,
			 evr_error_detail());
	/* The walk ends: what comes next is another directory. */
	return 1;
}

/* Blocks are freed with their owners, whoever that was. */
static void assert_memory_is_free(struct evr_peer *peer)
{
	struct evr_heap_usage *usage = calloc(1, sizeof(*usage));
	struct evr_pool_usage pool_usage;
	struct evr_heap heap;
	struct evr_pool pool;
	uint32_t i;

	assert_non_null(usage);
	assert_int_equal(evr_heap_open(&heap, peer, "heap"), 0);
	evr_heap_trim(&heap);
	evr_heap_usage(&heap, usage);
	assert_int_equal(usage->blocks, 0);
	assert_int_equal(usage->cached, 0);
	assert_int_equal(usage->corrupt, 0);
	assert_true(usage->bytes_free == usage->bytes_max);
	evr_heap_close(&heap);
	assert_int_equal(evr_pool_open(&pool, peer, "pool"), 0);
	evr_pool_usage(&pool, &pool_usage);
	for (i = 0; i < pool_usage.classes; i++)
		assert_int_equal(pool_usage.class_[i].used, 0);
	evr_pool_close(&pool);
	free(usage);
}

/* What went in came out, or is counted. */
static void assert_queues_add_up(struct evr_peer *peer)
{
	struct evr_mpmc_counts mpmc_counts;
	struct evr_log_counts log_counts;
	unsigned char data[512];
	struct evr_mpmc mpmc;
	struct evr_log log;
	uint64_t elem;

	assert_int_equal(evr_mpmc_open(&mpmc, peer, "mpmc", 0), 0);
	while (evr_mpmc_pop(&mpmc, &elem, 1))
		;
	assert_int_equal(evr_mpmc_state(&mpmc), EVR_RING_OK);
	evr_mpmc_counts(&mpmc, &mpmc_counts);
	assert_int_equal(mpmc_counts.in, mpmc_counts.out);
	assert_int_equal(mpmc_counts.corrupt, 0);
	printf("# mpmc: %llu in, as many out; %llu holes, %llu lost with who had taken them\n",
	       (unsigned long long)mpmc_counts.in, (unsigned long long)mpmc_counts.holes,
	       (unsigned long long)mpmc_counts.lost);
	evr_mpmc_close(&mpmc);
	assert_int_equal(evr_log_open(&log, peer, "log", EVR_CONSUMER), 0);
	while (evr_log_read(&log, data, sizeof(data)) >= 0)
		;
	evr_log_counts(&log, &log_counts);
	assert_int_equal(log_counts.in, log_counts.out);
	printf("# log: %llu units in, as many out; %llu records, %llu holes\n",
	       (unsigned long long)log_counts.in, (unsigned long long)log_counts.records,
	       (unsigned long long)log_counts.holes);
	evr_log_close(&log);
}

static void assert_nothing_is_left(struct evr_peer *peer)
{
	struct evr_dir_info info;

	assert_memory_is_free(peer);
	assert_queues_add_up(peer);
	while (evr_dir_walk(peer, remove_one, peer))
		;
	assert_int_equal(evr_dir_info(peer, &info), 0);
	assert_int_equal(info.entries, 0);
	assert_int_equal(info.claimed, 0);
	assert_int_equal(info.bytes, 0);
	printf("# left: 0 blocks, 0 bytes, 0 entries, 0 claimed\n");
}

static uint32_t kills_nr(void)
{
	const char *given = getenv("EVERING_STORM_KILLS");

	if (given)
		return (uint32_t)strtoul(given, NULL, 10);
	return getenv("EVERING_TEST_LONG") ? KILLS_LONG : KILLS;
}

static void print_accounts(const struct talk *talk, uint32_t kills)
{
	printf("# %u killed, every fourth of them while stopped; %llu tours ended\n", kills,
	       (unsigned long long)talk->tours);
	printf("# settled, but by who attached: %llu peers, %llu objects, %llu roles, %llu claims, %llu blocks\n",
	       (unsigned long long)talk->peers, (unsigned long long)talk->objects,
	       (unsigned long long)talk->sides, (unsigned long long)talk->claims,
	       (unsigned long long)talk->blocks);
}

static void storm_leaves_nothing(void **state)
{
	struct evr_reap_report report = { 0 };
	uint32_t i, kills = kills_nr();
	struct storm *s = *state;
	pid_t pids[WORKERS], stopped;
	uint32_t victim;
	int status;

	s->is_named = true;
	stopped = start(s);
	s->is_named = false;
	while (!s->talk->is_named)
		pair_sleep_us(100);
	pair_sleep_us(2000);
	stop(stopped);
	for (i = 0; i < WORKERS; i++)
		pids[i] = start(s);
	for (i = 0; i < kills; i++) {
		pair_sleep_us((unsigned int)(tour_random(&s->seed) % DELAY_US_MAX));
		victim = (uint32_t)(tour_random(&s->seed) >> 8) % WORKERS;
		if (i % 4 == 0)
			stop(pids[victim]);
		pair_kill(pids[victim]);
		pids[victim] = start(s);
		evr_peer_check(s->pair->peer);
		assert_true(evr_reap_dead(s->pair->peer, &report) >= 0);
		tell(s->talk, &report);
		assert_true(evr_peer_is_live(s->pair->peer, s->talk->stopped));
	}
	for (i = 0; i < WORKERS; i++)
		pair_kill(pids[i]);
	assert_true(evr_peer_is_live(s->pair->peer, s->talk->stopped));
	s->talk->is_over = 1;
	kill(stopped, SIGCONT);
	assert_int_equal(waitpid(stopped, &status, 0), stopped);
	assert_int_equal(status, 0);
	pair_settle(s->pair);
	print_accounts(s->talk, kills);
	assert_nothing_is_left(s->pair->peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(storm_leaves_nothing, storm_open, storm_close),
	};

	return cmocka_run_group_tests_name("storm", tests, NULL, NULL);
}
