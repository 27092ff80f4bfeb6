/* SPDX-License-Identifier: MIT */
/*
 * A real process that is killed before its n-th access to shared memory, while its
 * parent takes part: they take turns through pipes, and the child notes what it has done
 * outside of the segment.
 */
#ifndef EVERING_TEST_TURNS_H
#define EVERING_TEST_TURNS_H

#include "steps.h"

#include <signal.h>
#include <stdint.h>

/* 0: count only. */
static uint64_t steps, steps_to_live;
/* What happens then instead of a death: another's whole call, made by this process. */
static void (*act)(void);

void step(void)
{
	if (++steps != steps_to_live)
		return;
	if (act)
		act();
	else
		raise(SIGKILL);
}

#include <sys/mman.h>

#include "pair.h"

/* More would mean that a call does not end. */
#define STEPS_MAX 100000

/* What a child has done, for its parent to see after its death; outside of the segment. */
struct log {
	volatile uint64_t sent, received;
	int to_child[2], to_parent[2];
};

static struct log *log_;

static int open_log(void)
{
	log_ = mmap(NULL, sizeof(*log_), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return log_ == MAP_FAILED ? -1 : 0;
}

static int close_log(void)
{
	return munmap(log_, sizeof(*log_));
}

static pid_t start_at(struct pair *pair, uint64_t n, void (*fn)(struct evr_peer *))
{
	struct evr_peer *peer;
	pid_t pid;

	log_->sent = 0;
	log_->received = 0;
	assert_int_equal(pipe(log_->to_child), 0);
	assert_int_equal(pipe(log_->to_parent), 0);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid) {
		close(log_->to_child[0]);
		close(log_->to_parent[1]);
		return pid;
	}
	alarm(60);
	close(log_->to_child[1]);
	close(log_->to_parent[0]);
	CHECK(!evr_peer_attach(&peer, pair->segment, NULL));
	steps = 0;
	steps_to_live = n;
	fn(peer);
	steps_to_live = 0;
	evr_peer_detach(peer);
	_exit(0);
}

/* In the child: let the parent go on, and wait for it. */
static void child_turn(void)
{
	char c = 0;

	CHECK(write(log_->to_parent[1], &c, 1) == 1);
	CHECK(read(log_->to_child[0], &c, 1) == 1);
}

/* In the parent: false when the child has died instead. */
static bool parent_turn(void)
{
	char c;

	return read(log_->to_parent[0], &c, 1) == 1;
}

static void parent_done(void)
{
	char c = 0;

	assert_int_equal(write(log_->to_child[1], &c, 1), 1);
}

/* False when it came to the end alive. */
static bool finish(struct pair *pair, pid_t pid)
{
	int status = -1;
	bool died;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(log_->to_child[1]);
	close(log_->to_parent[0]);
	died = WIFSIGNALED(status);
	if (died)
		assert_int_equal(WTERMSIG(status), SIGKILL);
	else
		assert_int_equal(status, 0);
	pair_settle(pair);
	return died;
}

#endif
