/* SPDX-License-Identifier: MIT */
/*
 * A segment with this process as a peer, and child processes that are peers too.
 * What a child does is checked by CHECK(), which ends it; what the parent does by
 * cmocka's asserts.
 */
#ifndef EVERING_TEST_PAIR_H
#define EVERING_TEST_PAIR_H

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <evering/evering.h>

/* Against hangs only: no test passes or fails by how fast it is. */
#define PAIR_PATIENCE_NS 40000000000ULL

/* A bell that no waiter of a peer claims: one that comes late for a sleep is not taken for it. */
#define PAIR_BELL (1ULL << EVR_BELLS_CLAIM)

#define CHECK(cond)                                                                      \
	do {                                                                             \
		if (!(cond)) {                                                           \
			fprintf(stderr, "# %s:%d: %s (%s)\n", __FILE__, __LINE__, #cond, \
				evr_error_detail());                                     \
			_exit(2);                                                        \
		}                                                                        \
	} while (0)

/*
 * A wait with a deadline that only a lost wake-up can reach: at the deadline it looks
 * once more, so by its result alone it would only seem slow. @call uses until_ns.
 */
#define TIMELY(call)                                                 \
	({                                                           \
		uint64_t until_ns = evr_now_ns() + PAIR_PATIENCE_NS; \
		__typeof__(call) ret_ = (call);                      \
		CHECK(evr_now_ns() < until_ns);                      \
		ret_;                                                \
	})

/*
 * In a sweep whose last turn has to wait out its deadline, a short one: whoever comes
 * late has lost a wake-up, or the machine is slow. That turn comes again, with patience.
 */
static inline void pair_again_if_late(uint64_t until_ns, uint64_t short_ns, uint64_t *patience_ns,
				      uint64_t *n)
{
	bool late = evr_now_ns() >= until_ns;

	assert_true(!late || *patience_ns == short_ns);
	*patience_ns = late ? PAIR_PATIENCE_NS : short_ns;
	*n -= late;
}

struct pair {
	struct evr_segment *segment;
	struct evr_peer *peer;
};

static inline uint64_t pair_deadline(void)
{
	return evr_now_ns() + PAIR_PATIENCE_NS;
}

/* The suites of rings run on both backends: EVERING_BACKEND=device in a virtual machine. */
static inline const char *pair_uri(void)
{
	const char *backend = getenv("EVERING_BACKEND");

	return backend && !strcmp(backend, "device") ? "device:" : "local:";
}

static inline int pair_open_as(void **state, const struct evr_segment_options *options)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	if (!pair || evr_segment_create(&pair->segment, pair_uri(), options) ||
	    evr_peer_attach(&pair->peer, pair->segment, NULL)) {
		fprintf(stderr, "# %s\n", evr_error_detail());
		return -1;
	}
	*state = pair;
	return 0;
}

static inline int pair_open_sized(void **state, uint64_t shared_sz)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = shared_sz,
					       .peers_max = 16 };

	return pair_open_as(state, &options);
}

/* Each peer in a region of its own, which no other can write. */
static inline int pair_open_isolated(void **state, uint64_t peer_sz, uint32_t peers_max)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .flags = EVR_SEGMENT_ISOLATED,
					       .peer_sz = peer_sz,
					       .peers_max = peers_max };

	return pair_open_as(state, &options);
}

static inline int pair_open(void **state)
{
	return pair_open_sized(state, 4 << 20);
}

static inline int pair_close(void **state)
{
	struct pair *pair = *state;

	evr_peer_detach(pair->peer);
	evr_segment_close(pair->segment);
	free(pair);
	return 0;
}

/* A child ends after so long without a sign of life: to be called now and then by one that takes long. */
static inline void pair_alive(void)
{
	alarm(120);
}

/* Run fn as another peer in another process. */
static inline pid_t pair_fork(struct pair *pair, void (*fn)(struct evr_peer *peer, void *arg),
			      void *arg)
{
	struct evr_peer *peer;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid)
		return pid;
	pair_alive();
	CHECK(!evr_peer_attach(&peer, pair->segment, NULL));
	fn(peer, arg);
	evr_peer_detach(peer);
	_exit(0);
}

static inline void pair_join(pid_t pid)
{
	int status = -1;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static inline void pair_kill(pid_t pid)
{
	int status = -1;

	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

static inline void pair_sleep_us(unsigned int us)
{
	struct timespec ts = { .tv_nsec = (long)us * 1000 };

	nanosleep(&ts, NULL);
}

/* Peers end, and are reaped, by us or by one of themselves: wait until they have no slot. */
static inline void pair_await_others(struct evr_peer *peer, bool count_live)
{
	uint64_t deadline = pair_deadline();
	struct evr_peer_info infos[16];
	int i, nr, others;

	do {
		assert_true(evr_now_ns() < deadline);
		evr_peer_check(peer);
		assert_true(evr_reap_dead(peer, NULL) >= 0);
		nr = evr_peer_list(peer, infos, 16);
		for (i = 0, others = 0; i < nr && i < 16; i++)
			others += infos[i].id.slot != evr_peer_self(peer).slot &&
				  (count_live || infos[i].state != EVR_PEER_LIVE);
		if (others)
			pair_sleep_us(1000);
	} while (others);
}

/* Until nobody else has a slot. */
static inline void pair_settle(struct pair *pair)
{
	pair_await_others(pair->peer, true);
}

/* Until nobody who is dead has a slot. */
static inline void pair_settle_dead(struct evr_peer *peer)
{
	pair_await_others(peer, false);
}

/* xorshift: the same numbers for the same seed. */
static inline uint64_t pair_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

#endif
