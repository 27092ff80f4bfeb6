/* SPDX-License-Identifier: MIT */
/*
 * Bells: 63 doorbell bits of each peer that others ring, and bit 63, which says
 * that some peer's state has changed.
 *
 * model      any peer with WRITE rings any other; bits coalesce and none is lost;
 *            who rings may die at any instruction.
 * calls      all may run together from any thread. Waiters of one peer with
 *            masks that do not overlap do not take each other's bells.
 * edges      BELL  what was written before evr_bell_ring() is seen after
 *            evr_bell_wait() or evr_bell_read() has returned that bit.
 * progress   evr_bell_ring() waits for nobody. Only evr_bell_wait() sleeps.
 */
#ifndef EVERING_BELL_H
#define EVERING_BELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <evering/peer.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EVR_BELL_PEER_EVENT 63
#define EVR_BELLS_USER 0x7fffffffffffffffULL /* bits that peers may ring */
#define EVR_BELLS_CLAIM 62 /* evr_bell_claim() gives 0..61 */

/* evr_now_ns() - CLOCK_MONOTONIC, what deadlines are measured on. */
EVR_API uint64_t evr_now_ns(void);

/*
 * evr_bell_ring() - set bits at a peer, and wake it when it sleeps for one of them.
 * @bits: within EVR_BELLS_USER, not 0.
 * Return: 0; -ESTALE that incarnation does not live; -EINVAL; -EACCES an observer;
 * -EOWNERDEAD the caller itself was revoked.
 */
EVR_API int evr_bell_ring(struct evr_peer *peer, struct evr_peer_id to, uint64_t bits);

struct evr_bell {
	struct evr_peer_id to;
	uint64_t bits;
	int result; /* out: 0 or as evr_bell_ring() returns */
};

/*
 * evr_bell_ring_many() - ring many peers, one system call per 256 on the device.
 * A bell that cannot be rung does not stop the others.
 * Return: how many have result 0; -EACCES, -EOWNERDEAD as evr_bell_ring().
 */
EVR_API int evr_bell_ring_many(struct evr_peer *peer, struct evr_bell *bells, uint32_t nr);

struct evr_bells {
	uint64_t bits; /* bells that were pending */
	uint64_t rang[EVR_PEERS_MAX / 64]; /* slots that rang since the last wait or read */
};

/*
 * evr_bell_wait() - sleep until a bell of the mask is pending, and take these.
 * @deadline_ns: absolute CLOCK_MONOTONIC, EVR_NO_DEADLINE, or 0: do not sleep.
 * @bells: out; may be NULL.
 * Return: 0; -ETIMEDOUT; -EINTR a signal was handled; -EINVAL mask is 0;
 * -EOWNERDEAD the peer was revoked.
 */
EVR_API int evr_bell_wait(struct evr_peer *peer, uint64_t mask, uint64_t deadline_ns,
			  struct evr_bells *bells);

/*
 * evr_bell_read() - take all bells that are pending.
 * Return: 0; -EAGAIN none is; -EOWNERDEAD.
 */
EVR_API int evr_bell_read(struct evr_peer *peer, struct evr_bells *bells);

/*
 * evr_bell_fd() - an fd for poll, epoll and io_uring: readable while a bell is
 * pending. POLLPRI says peer event on the device; the local backend reports POLLIN
 * alone, also when evr_bell_read() will find nothing. Owned by the peer.
 * Return: the fd; -errno of making it.
 */
EVR_API int evr_bell_fd(struct evr_peer *peer);

/*
 * evr_bell_bind() - also signal this eventfd for each bell that was not pending.
 * @eventfd: -1 unbinds.
 * Return: 0; -EBADF, -EINVAL; -EOPNOTSUPP on the local backend: use evr_bell_fd().
 */
EVR_API int evr_bell_bind(struct evr_peer *peer, int eventfd);

/* evr_bell_claim() - a bell number that no other waiter of this peer has; or -ENOSPC. */
EVR_API int evr_bell_claim(struct evr_peer *peer);
EVR_API void evr_bell_unclaim(struct evr_peer *peer, int bell);

/*
 * evr_bell_listen() - who polls evr_bell_fd() hears of a peer event also when a thread of this process that
 * sleeps in the library was first: while @on, whoever takes bell 63 or @bell rings @bell again. What it was is
 * told by evr_peer_generation(). To read without ringing for oneself: off, evr_bell_read(), on, then
 * compare the generation.
 * @bell: claimed by the caller.
 */
EVR_API void evr_bell_listen(struct evr_peer *peer, int bell, bool on);

#ifdef __cplusplus
}
#endif

#endif
