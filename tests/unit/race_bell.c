/* SPDX-License-Identifier: MIT */
/*
 * race_bell MODE COUNT: two processes ring each other COUNT times, with a pause of
 * random length before each sleep, so that rings fall on every instruction of the
 * way to sleep. MODE is how they sleep: wait, poll, or mixed; or it is flood: one
 * rings in bursts, the other polls and takes with wait, so that rings also fall on
 * the way on which the fd becomes unreadable.
 *
 * A wake-up that is lost is one deadline passed: this program has the local backend
 * built without its periodic looks, which would find the bell after 50 ms.
 *
 * Seen to fail, in flood within 30000 bells: settle_fd() that does not signal itself
 * again; drain() that clears is_signaled before it empties the socket.
 */
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <evering/atomic.h>
#include <evering/bell.h>
#include <evering/error.h>

#define HANG_NS 20000000000ull /* more than any scheduler takes */

enum mode { BY_WAIT, BY_POLL, MIXED, FLOOD };

/* In the shared region. */
struct flood {
	struct evr_a64 rung; /* by the second */
	struct evr_a64 seen; /* by the first */
};

struct side {
	struct evr_peer *peer;
	struct evr_peer_id other;
	enum mode mode;
	uint64_t random;
	uint64_t mask;
};

static uint32_t next_random(struct side *side)
{
	side->random = side->random * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(side->random >> 33);
}

static int take_by_poll(struct side *side)
{
	struct pollfd ready = { .fd = evr_bell_fd(side->peer), .events = POLLIN };
	struct evr_bells bells;
	uint64_t got = 0;

	while (!(got & side->mask)) {
		if (poll(&ready, 1, HANG_NS / 1000000) != 1)
			return -1;
		if (!evr_bell_read(side->peer, &bells))
			got |= bells.bits;
	}
	return 0;
}

static int take(struct side *side)
{
	enum mode mode = side->mode;
	uint32_t spins = next_random(side) % 64;

	if (mode == MIXED)
		mode = next_random(side) % 2 ? BY_POLL : BY_WAIT;
	while (spins--)
		evr_pause();
	if (mode == BY_POLL)
		return take_by_poll(side);
	return evr_bell_wait(side->peer, side->mask, evr_now_ns() + HANG_NS, NULL);
}

static int play(struct side *side, bool starts, uint64_t count)
{
	uint64_t i;
	int err;

	for (i = 0; i < count; i++) {
		if (starts || i) {
			err = evr_bell_ring(side->peer, side->other, side->mask);
			if (err) {
				fprintf(stderr, "ring %llu: %s\n", (unsigned long long)i,
					evr_strerror(err));
				return 1;
			}
		}
		err = take(side);
		if (err) {
			fprintf(stderr, "%s: bell %llu was lost: %s\n", starts ? "first" : "second",
				(unsigned long long)i, evr_strerror(err));
			return 1;
		}
	}
	/* The first has rung as often as it took; the second owes one. */
	return !starts && evr_bell_ring(side->peer, side->other, side->mask);
}

static struct flood *flood_of(struct side *side)
{
	struct evr_segment_info info;

	evr_segment_info(evr_peer_segment(side->peer), &info);
	return evr_peer_at(side->peer, info.shared_off, sizeof(struct flood));
}

/*
 * Bursts of one to four; the next when the other side has seen all of the last. The last
 * is cut to what is left: the other side looks for no more than count.
 */
static int flood(struct side *side, uint64_t count)
{
	struct flood *flood = flood_of(side);
	uint64_t rung = 0, burst;
	uint32_t spins;

	while (rung < count) {
		for (burst = 1 + next_random(side) % 4; burst && rung < count; burst--) {
			spins = next_random(side) % 512;
			evr_a64_store_release(&flood->rung, ++rung);
			if (evr_bell_ring(side->peer, side->other, 1ull << next_random(side) % 2))
				return 1;
			while (spins--)
				evr_pause();
		}
		while (evr_a64_load_acquire(&flood->seen) < rung)
			sched_yield();
	}
	return 0;
}

static int see_flood(struct side *side, uint64_t count)
{
	struct pollfd ready = { .fd = evr_bell_fd(side->peer), .events = POLLIN };
	struct flood *flood = flood_of(side);
	uint64_t seen = 0;

	while (seen < count) {
		if (poll(&ready, 1, HANG_NS / 1000000) != 1) {
			fprintf(stderr, "the fd did not become readable after %llu bells\n",
				(unsigned long long)seen);
			return 1;
		}
		while (!evr_bell_wait(side->peer, 3, 0, NULL)) {
			seen = evr_a64_load_acquire(&flood->rung);
			evr_a64_store_release(&flood->seen, seen);
		}
		/* Somebody came: not ours to count, but readable until it is taken. */
		evr_bell_wait(side->peer, 1ull << EVR_BELL_PEER_EVENT, 0, NULL);
	}
	return 0;
}

static int attach(struct evr_segment *segment, struct side *side, uint32_t slot)
{
	struct evr_peer_options options = {
		.struct_sz = sizeof(options),
		.slot = slot,
		.slot_set = true,
	};

	if (evr_peer_attach(&side->peer, segment, &options)) {
		fprintf(stderr, "attach: %s\n", evr_error_detail());
		return 1;
	}
	side->other = (struct evr_peer_id){ .slot = !slot, .incarnation = 1 };
	side->random = slot + 1;
	if (side->mode != BY_WAIT && evr_bell_fd(side->peer) < 0) {
		fprintf(stderr, "fd: %s\n", evr_error_detail());
		return 1;
	}
	return 0;
}

static int run_child(struct evr_segment *segment, struct side *side, uint64_t count, int ready)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (attach(segment, side, 1) || write(ready, "", 1) != 1)
		return 1;
	return side->mode == FLOOD ? flood(side, count) : play(side, false, count);
}

static int run(struct side *side, uint64_t count)
{
	struct evr_segment_options options = {
		.struct_sz = sizeof(options),
		.shared_sz = 4096,
		.peers_max = 2,
	};
	struct evr_segment *segment;
	int ready[2], status = 0, failed;
	pid_t child;
	char byte;

	if (evr_segment_create(&segment, "local:", &options)) {
		fprintf(stderr, "create: %s\n", evr_error_detail());
		return 1;
	}
	/* The first is there before the second exists; of the second it hears, or of its end. */
	if (pipe(ready) || attach(segment, side, 0))
		return 1;
	child = fork();
	if (!child) {
		close(ready[0]);
		_exit(run_child(segment, side, count, ready[1]));
	}
	close(ready[1]);
	failed = child < 0 || read(ready[0], &byte, 1) != 1;
	close(ready[0]);
	if (!failed)
		failed = side->mode == FLOOD ? see_flood(side, count) : play(side, true, count);
	if (child > 0) {
		if (failed)
			kill(child, SIGKILL);
		waitpid(child, &status, 0);
	}
	evr_peer_detach(side->peer);
	evr_segment_close(segment);
	return failed || status;
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "wait", "poll", "mixed", "flood" };
	struct side side = { .mask = 1ull << 17 };
	uint64_t count, start = evr_now_ns();
	int failed;

	if (argc != 3)
		return 2;
	while (side.mode <= FLOOD && strcmp(argv[1], names[side.mode]))
		side.mode++;
	count = strtoull(argv[2], NULL, 0);
	if (side.mode > FLOOD || !count)
		return 2;
	printf("1..1\n");
	failed = run(&side, count);
	printf("%s 1 - race_bell_%s_no_bell_is_lost (%llu rounds, %.2f us each)\n",
	       failed ? "not ok" : "ok", argv[1], (unsigned long long)count,
	       (double)(evr_now_ns() - start) / 1000.0 / (double)count);
	return failed;
}
