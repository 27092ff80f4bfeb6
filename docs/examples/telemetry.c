/* SPDX-License-Identifier: MIT */
/*
 * A sensor and those who follow it, five processes in one segment. The sensor broadcasts its
 * samples and waits for nobody but the recorder, which has a seat: it must have them all.
 * Of the three observers, which may only read the segment, one keeps up as well as it can,
 * one is slow and learns exactly how many samples it has missed, and one is killed in the
 * middle of it, which nobody else notices.
 *
 * cc telemetry.c $(pkg-config --cflags --libs evering) && ./a.out [URI]
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <evering/evering.h>

#define SAMPLES 20000
#define CAPACITY 256
#define BURST 16

enum { RECORDER, PROMPT, SLOW, VICTIM, SENSOR, PROCESSES };

struct sample {
	uint64_t number;
	int64_t value;
};

EVR_BCAST_DEFINE(samples, struct sample)

/* What went wrong and why: the library has a text for it. */
static void check(int err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "%s: %s (%s)\n", what, evr_strerror(err), evr_error_detail());
	_exit(1);
}

/* Each process is a peer of its own; with EVR_PEER_OBSERVER it maps all memory read-only. */
static struct evr_peer *join(struct evr_segment *segment, uint32_t flags)
{
	struct evr_peer_options options = { .struct_sz = sizeof(options), .flags = flags };
	struct evr_peer *peer;

	check(evr_peer_attach(&peer, segment, &options), "attach");
	return peer;
}

static int64_t measure(uint64_t number)
{
	return (int64_t)(number % 1000) - 500;
}

static int sensor(struct evr_segment *segment)
{
	struct evr_peer *peer = join(segment, 0);
	struct evr_waiter waiter;
	struct samples out;
	uint64_t number = 0;

	check(evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE), "waiter");
	check(samples_open(&out, peer, "volts", EVR_PRODUCER), "volts");
	/* A recorder that hangs for ten minutes is let go; one that dies is, at once. */
	evr_bcast_patience(&out.b, 600ULL * 1000000000);
	while (number < SAMPLES) {
		struct sample burst[BURST];

		for (int i = 0; i < BURST; i++, number++)
			burst[i] = (struct sample){ number, measure(number) };
		check(samples_push_wait(&out, &waiter, burst, BURST, EVR_NO_DEADLINE), "push");
	}
	samples_close(&out);
	evr_waiter_fini(&waiter);
	evr_peer_detach(peer);
	return 0;
}

static void dawdle(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

/* Reads to the end. Return: is each sample what was measured, and each missing one known? */
static bool follow(struct samples *in, struct evr_waiter *waiter, int who)
{
	struct evr_bcast_tally tally;
	struct sample got[BURST];
	uint64_t seen = 0, missed = 0, next = 0;
	int nr;

	while ((nr = samples_pop_wait(in, waiter, got, BURST, EVR_NO_DEADLINE)) > 0) {
		for (int i = 0; i < nr; i++) {
			if (got[i].number < next || got[i].value != measure(got[i].number))
				return false;
			missed += got[i].number - next;
			next = got[i].number + 1;
		}
		seen += (uint64_t)nr;
		if (who == VICTIM)
			raise(SIGKILL);
		if (who == SLOW)
			dawdle();
	}
	/* The sensor has closed, and all that it has sent is read or lost. */
	if (nr != -EPIPE)
		check(nr, "pop");
	evr_bcast_tally(&in->b, &tally);
	printf("%s: %llu samples, %llu missed\n",
	       who == RECORDER ? "recorder" :
	       who == SLOW     ? "slow observer" :
				 "prompt observer",
	       (unsigned long long)tally.delivered, (unsigned long long)tally.lost);
	return seen == tally.delivered && missed == tally.lost && seen + missed == SAMPLES;
}

/* @ready: written to once nothing can be missed any more. */
static int reader(struct evr_segment *segment, int who, int ready)
{
	struct evr_peer *peer = join(segment, who == RECORDER ? 0 : EVR_PEER_OBSERVER);
	struct evr_waiter waiter;
	struct samples in;
	bool is_right;

	check(evr_waiter_init(&waiter, peer, EVR_WAIT_ADAPTIVE), "waiter");
	if (who == RECORDER)
		check(samples_open(&in, peer, "volts", EVR_CONSUMER), "volts");
	else
		check(samples_observe(&in, peer, "volts", NULL), "volts");
	check(write(ready, "", 1) == 1 ? 0 : -errno, "ready");
	is_right = follow(&in, &waiter, who);
	if (who == RECORDER && evr_bcast_lost(&in.b))
		is_right = false;
	samples_close(&in);
	evr_waiter_fini(&waiter);
	evr_peer_detach(peer);
	return is_right ? 0 : 1;
}

static pid_t start(struct evr_segment *segment, int who, int ready)
{
	pid_t pid;
	int status;

	fflush(NULL);
	pid = fork();
	check(pid < 0 ? -errno : 0, "fork");
	if (pid)
		return pid;
	status = who == SENSOR ? sensor(segment) : reader(segment, who, ready);
	fflush(NULL);
	_exit(status);
}

int main(int argc, char **argv)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = 2 << 20,
					       .peers_max = PROCESSES + 1 };
	struct evr_segment *segment;
	struct evr_peer *peer;
	int status, ready[2], failed = 0;
	pid_t pids[PROCESSES];
	char byte;

	check(evr_segment_create(&segment, argc > 1 ? argv[1] : "local:", &options), "segment");
	peer = join(segment, 0);
	check(samples_create(peer, "volts", CAPACITY, 1), "volts");
	check(pipe(ready) ? -errno : 0, "pipe");
	for (int i = 0; i < PROCESSES; i++) {
		pids[i] = start(segment, i, ready[1]);
		/* Each reader is there before the first sample. */
		if (i != SENSOR)
			check(read(ready[0], &byte, 1) == 1 ? 0 : -errno, "reader");
	}
	for (int i = 0; i < PROCESSES; i++) {
		waitpid(pids[i], &status, 0);
		failed |= i == VICTIM ? !WIFSIGNALED(status) : status;
	}
	evr_peer_detach(peer);
	evr_segment_close(segment);
	printf("%s\n",
	       failed ? "failed" : "each sample was recorded, and each missing one counted");
	return failed ? 1 : 0;
}
