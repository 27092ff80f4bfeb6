/* SPDX-License-Identifier: MIT */
/*
 * A hostile peer: it writes whatever it likes wherever it may, at any moment, while
 * others use what lies there. They may get errors, never crash, never loop, never
 * reach beyond the objects that they were told of. Also under ASan and UBSan.
 *
 * All is one process and one thread: the liar's turns come before accesses to shared
 * memory of the library itself (steps.h), so that a word changes between two loads of it
 * too, and a seed says all. A call that does not end is found by counting accesses.
 *
 * Mutants seen to fail here: a shared block's masks not compared with its size (heap).
 */
#include "steps.h"

#include "liar.h"

#include "pair.h"

#include "world.h"

#define GUARD 0xa5

struct chaos {
	struct pair *pair;
	struct tour tour;
	unsigned char *shared, *before; /* the shared region, and what was in it */
};

static int chaos_open(void **state)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = WORLD_SHARED_SZ,
					       .peers_max = WORLD_PEERS };
	struct chaos *c = calloc(1, sizeof(*c));
	struct pair *pair = calloc(1, sizeof(*pair));
	struct evr_segment_info info;

	if (!c || !pair || evr_segment_create(&pair->segment, pair_uri(), &options) ||
	    evr_peer_attach(&pair->peer, pair->segment, NULL) || world_make(pair->peer) ||
	    evr_segment_info(pair->segment, &info) ||
	    evr_waiter_init(&c->tour.waiter, pair->peer, EVR_WAIT_SLEEP)) {
		fprintf(stderr, "# %s\n", evr_error_detail());
		return -1;
	}
	c->pair = pair;
	c->tour.peer = pair->peer;
	c->shared = evr_peer_at(pair->peer, info.shared_off, WORLD_SHARED_SZ);
	c->before = malloc(WORLD_SHARED_SZ);
	memcpy(c->before, c->shared, WORLD_SHARED_SZ);
	liar = (struct liar){ 0 };
	alarm(600);
	*state = c;
	return 0;
}

static int chaos_close(void **state)
{
	struct chaos *c = *state;
	void *pair = c->pair;

	memcpy(c->shared, c->before, WORLD_SHARED_SZ);
	evr_waiter_fini(&c->tour.waiter);
	free(c->before);
	free(c);
	return pair_close(&pair);
}

static void begin(struct chaos *c, uint64_t seed)
{
	memcpy(c->shared, c->before, WORLD_SHARED_SZ);
	liar.seed = c->tour.seed = seed * 0x9e3779b97f4a7c15ULL + 1;
	liar.steps = 0;
}

static int check_guard(const struct evr_object *object, void *arg)
{
	const unsigned char *bytes = evr_peer_at(arg, object->off, object->sz);
	uint64_t i;

	if (object->kind != EVR_KIND_USER)
		return 0;
	for (i = 0; i < object->sz; i++)
		if (bytes[i] != GUARD)
			return 1;
	return 0;
}

/* What a tour of one object was told by lies in that object alone. */
static void tour_one(struct chaos *c, const struct evr_object *object)
{
	tour_object(&c->tour, object);
	liar.every = 0;
	if (evr_dir_walk(c->pair->peer, check_guard, c->pair->peer))
		fail_msg("'%s': a tour has written to what is nobody's, seed %llu", object->name,
			 (unsigned long long)c->tour.seed);
}

static void find(struct chaos *c, const char *name, struct evr_object *object)
{
	liar.every = 0;
	memcpy(c->shared, c->before, WORLD_SHARED_SZ);
	assert_int_equal(evr_dir_find(c->pair->peer, name, object), 0);
	liar.words = evr_peer_at(c->pair->peer, object->off, object->sz);
	liar.nr = (uint32_t)(object->sz / 8);
}

/* Each word of @named in turn says something else, from before the object is opened. */
static void each_word(struct chaos *c, const char *name, const char *named, uint64_t nr)
{
	struct evr_object object, words_of;
	uint64_t i, seed, words;

	find(c, name, &object);
	find(c, named, &words_of);
	words = liar.nr < 1024 ? liar.nr : 1024;
	for (i = 0; i < words; i++)
		for (seed = 1; seed <= rounds(nr); seed++) {
			begin(c, i * 1000 + seed);
			liar.words[i] = lie(liar.words[i], liar.words, liar.nr, &liar.seed);
			tour_one(c, &object);
		}
}

/* At any access some word of @named is another; rarely, and all the time. */
static void any_time(struct chaos *c, const char *name, const char *named, uint64_t nr)
{
	static const uint32_t paces[] = { 300, 40, 5, 1 };
	struct evr_object object, words_of;
	uint64_t seed;

	find(c, name, &object);
	find(c, named, &words_of);
	for (seed = 1; seed <= rounds(nr); seed++) {
		begin(c, seed);
		liar.every = paces[seed % 4];
		tour_one(c, &object);
	}
}

#define CHAOS_WITH(test, kind, named, words_nr, any_nr)      \
	static void chaos_##test##_each_word(void **state)   \
	{                                                    \
		each_word(*state, #kind, named, words_nr);   \
	}                                                    \
	static void chaos_##test##_at_any_time(void **state) \
	{                                                    \
		any_time(*state, #kind, named, any_nr);      \
	}
#define CHAOS_OF(kind, words_nr, any_nr) CHAOS_WITH(kind, kind, #kind, words_nr, any_nr)

CHAOS_OF(spsc, 3, 800)
CHAOS_OF(bytes, 3, 800)
CHAOS_OF(slots, 3, 800)
CHAOS_OF(inbox, 1, 400)
CHAOS_OF(mpmc, 2, 800)
CHAOS_OF(log, 2, 800)
CHAOS_OF(heap, 1, 400)
CHAOS_OF(pool, 2, 600)
CHAOS_OF(channel, 1, 400)
CHAOS_OF(bcast, 2, 800)
CHAOS_OF(kept, 2, 800)
CHAOS_OF(hub, 2, 200)
CHAOS_WITH(hub_inbox, hub, "hub.in", 1, 200)

/* The directory's own words too, and all that it names. */
static void chaos_directory_at_any_time(void **state)
{
	static const uint32_t paces[] = { 3000, 400, 50, 5 };
	struct chaos *c = *state;
	uint64_t seed;

	for (seed = 1; seed <= rounds(150); seed++) {
		begin(c, seed);
		liar.words = (uint64_t *)c->shared;
		liar.nr = seed % 2 ? 2048 / 8 : WORLD_SHARED_SZ / 8;
		liar.every = paces[seed / 2 % 4];
		tour_all(&c->tour);
		liar.every = 0;
	}
	assert_true(evr_peer_is_live(c->pair->peer, evr_peer_self(c->pair->peer)));
}

/* A real process that holds what it can and writes until it is stopped; then it is killed. */
static void scribble(struct evr_peer *peer, void *arg)
{
	struct chaos *c = arg;
	struct evr_segment_info info;
	uint64_t i, seed = 99;
	uint64_t *words;

	liar.every = 0;
	CHECK(!evr_segment_info(c->pair->segment, &info));
	words = evr_peer_at(peer, info.shared_off, WORLD_SHARED_SZ);
	for (i = 0;; i++)
		((volatile uint64_t *)words)[(tour_random(&seed) >> 20) % (WORLD_SHARED_SZ / 8)] =
			lie(words[i % 1024], words, WORLD_SHARED_SZ / 8, &seed);
}

static void chaos_process_is_outlived(void **state)
{
	struct chaos *c = *state;
	int status;
	uint64_t round, i;
	pid_t pid;

	for (round = 1; round <= rounds(3); round++) {
		begin(c, round);
		pid = pair_fork(c->pair, scribble, c);
		for (i = 0; i < 10; i++, liar.steps = 0)
			tour_all(&c->tour);
		kill(pid, SIGSTOP);
		assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
		assert_true(WIFSTOPPED(status));
		for (i = 0; i < 10; i++, liar.steps = 0)
			tour_all(&c->tour);
		pair_kill(pid);
		for (i = 0; i < 10; i++, liar.steps = 0)
			tour_all(&c->tour);
		/* From here on the segment is as it was, and the slot is to be had again. */
		begin(c, round);
		pair_settle(c->pair);
	}
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, chaos_open, chaos_close)
#define BOTH(kind) CASE(chaos_##kind##_each_word), CASE(chaos_##kind##_at_any_time)
	const struct CMUnitTest tests[] = {
		BOTH(spsc), BOTH(bytes), BOTH(slots), BOTH(inbox), BOTH(mpmc),
		BOTH(log), BOTH(heap), BOTH(pool), BOTH(channel), BOTH(bcast), BOTH(kept),
		BOTH(hub), BOTH(hub_inbox),
		CASE(chaos_directory_at_any_time),
		CASE(chaos_process_is_outlived),
	};

	return cmocka_run_group_tests_name("chaos", tests, NULL, NULL);
}
