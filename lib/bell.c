/* SPDX-License-Identifier: MIT */
/*
 * Bells: arguments checked here, rung and waited for by the backend. The claimed
 * bells are private to the process: one word, taken and given back by CAS.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include <evering/bell.h>

#include "backend.h"
#include "internal.h"

uint64_t evr_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int evr_bell_ring_many(struct evr_peer *peer, struct evr_bell *bells, uint32_t nr)
{
	if (!(peer->rights & EVR_RIGHT_WRITE))
		return -EACCES;
	return peer->ops->ring(peer, bells, nr);
}

int evr_bell_ring(struct evr_peer *peer, struct evr_peer_id to, uint64_t bits)
{
	struct evr_bell bell = { .to = to, .bits = bits, .result = 0 };
	int rung = evr_bell_ring_many(peer, &bell, 1);

	return rung < 0 ? rung : bell.result;
}

void evr_bell_pass_on(struct evr_peer *peer, uint64_t taken, uint64_t own)
{
	uint64_t asleep = evr_a64_load_acquire(&peer->asleep);
	uint64_t bits = taken >> EVR_BELL_PEER_EVENT ? asleep : asleep & taken;

	if (bits & ~own)
		evr_bell_ring(peer, peer->self, bits & ~own);
}

int evr_bell_wait(struct evr_peer *peer, uint64_t mask, uint64_t deadline_ns,
		  struct evr_bells *bells)
{
	struct evr_bells unused;
	int err;

	if (!mask)
		return -EINVAL;
	if (!bells)
		bells = &unused;
	err = peer->ops->wait(peer, mask, deadline_ns, bells);
	if (!err)
		evr_bell_pass_on(peer, bells->bits, 0);
	return err;
}

int evr_bell_read(struct evr_peer *peer, struct evr_bells *bells)
{
	struct evr_bells unused;
	int err;

	if (!bells)
		bells = &unused;
	err = peer->ops->read(peer, bells);
	if (!err)
		evr_bell_pass_on(peer, bells->bits, 0);
	return err;
}

int evr_bell_fd(struct evr_peer *peer)
{
	return peer->ops->bell_fd(peer);
}

int evr_bell_bind(struct evr_peer *peer, int eventfd)
{
	if (eventfd < -1)
		return -EBADF;
	return peer->ops->bind(peer, eventfd);
}

int evr_bell_claim(struct evr_peer *peer)
{
	uint64_t all = ((uint64_t)1 << EVR_BELLS_CLAIM) - 1;
	uint64_t taken = evr_a64_load_relaxed(&peer->claimed);
	int bell;

	do {
		if (taken == all)
			return evr_fail(-ENOSPC,
					"all %d bells of this peer are claimed; use fewer waiters",
					EVR_BELLS_CLAIM);
		bell = __builtin_ctzll(~taken);
	} while (!evr_a64_cas(&peer->claimed, &taken, taken | (uint64_t)1 << bell));
	return bell;
}

void evr_bell_unclaim(struct evr_peer *peer, int bell)
{
	if (bell >= 0 && bell < EVR_BELLS_CLAIM)
		evr_a64_fetch_and(&peer->claimed, ~((uint64_t)1 << bell));
}

void evr_bell_listen(struct evr_peer *peer, int bell, bool on)
{
	if (bell < 0 || bell >= EVR_BELLS_CLAIM)
		return;
	if (!on) {
		evr_a64_fetch_and(&peer->asleep, ~((uint64_t)1 << bell));
		return;
	}
	evr_a64_fetch_or(&peer->asleep, (uint64_t)1 << bell);
	/* Who has taken bell 63 and not seen us, has taken it before the caller looks at the generation. */
	evr_fence();
}
