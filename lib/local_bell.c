/* SPDX-License-Identifier: MIT */
/*
 * Bells of a local segment: a mask of pending bits, a futex to sleep on, and for
 * those who poll a datagram socket that exists once they have asked for an fd.
 *
 * model      any peer rings, the peer's own threads take and sleep; all may die at
 *            any instruction.
 * calls      all may run together.
 * edges      BELL   ring: RMW pending -> take: RMW pending   [all before the ring]
 *            SLEEP  both sides store, then fence, then look:
 *                     waiter               ringer
 *                     sleepers += 1        pending |= bits
 *                     fence                fence
 *                     pending & mask ?     sleepers ?  -> futex += 1, wake
 *                   cannot happen: both find nothing. The futex word is loaded
 *                   before pending is looked at, so a wake in between is not slept
 *                   over.
 *            SIGNAL the same with is_signaled and the socket: who polls clears
 *                   is_signaled, then takes; who rings sets bits, then is_signaled.
 * progress   ring is wait-free and makes no system call unless the peer sleeps or
 *            polls. Only wait sleeps.
 * limits     a ringer that dies between its bits and its wake leaves a sleeper to
 *            its next look (50 ms) and a poller to the timer in its fd (500 ms).
 */
#include "local.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

/* What epoll says of an fd that is not a pidfd of a slot. */
#define EVENT_SOCK (EVERING_PEERS_MAX + 1)
#define EVENT_TIMER (EVERING_PEERS_MAX + 2)

static long futex(struct evr_a32 *word, int op, uint32_t value, const struct timespec *until,
		  uint32_t bits)
{
	return syscall(SYS_futex, &word->v, op, value, until, NULL, bits);
}

/* 64 bells onto 32 futex bits; a waiter may be woken for nothing, never not. */
static uint32_t folded(uint64_t bells)
{
	return (uint32_t)bells | (uint32_t)(bells >> 32);
}

static socklen_t address_of(const struct evr_segment *segment, struct evr_peer_id id,
			    struct sockaddr_un *address)
{
	int len;

	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	len = snprintf(address->sun_path + 1, sizeof(address->sun_path) - 1,
		       "evering-%016" PRIx64 "-%u-%" PRIu64, segment->layout.segment_id, id.slot,
		       id.incarnation);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
}

/* One socket to send from for each handle, made when first needed. */
static int send_socket(struct local_segment *local)
{
	uint32_t none = 0;
	int sock;

	/* relaxed: the fd's number is all there is to it. */
	sock = (int)evr_a32_load_relaxed(&local->send_fd) - 1;
	if (sock >= 0)
		return sock;
	sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock < 0)
		return -1;
	if (evr_a32_cas(&local->send_fd, &none, (uint32_t)sock + 1))
		return sock;
	close(sock);
	return (int)none - 1;
}

/* A full queue is as good as one more datagram: the socket is readable. */
static void signal_socket(const struct evr_segment *segment, uint32_t slot)
{
	uint64_t life = evr_a64_load_acquire(&local_entry(segment, slot)->life);
	struct evr_peer_id id = { .slot = slot, .incarnation = life_incarnation(life) };
	struct sockaddr_un address;
	socklen_t len = address_of(segment, id, &address);
	int sock = send_socket(local_of(segment));

	if (sock >= 0)
		sendto(sock, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&address, len);
}

void local_ring_slot(const struct evr_segment *segment, uint32_t from, uint32_t to, uint64_t bits)
{
	struct local_entry *entry = local_entry(segment, to);
	uint64_t old;

	if (from < EVERING_PEERS_MAX)
		evr_a64_fetch_or(&entry->rang[from / 64], (uint64_t)1 << from % 64);
	/* BELL: pairs with take(). */
	old = evr_a64_fetch_or(&entry->pending, bits);
	evr_a64_fetch_add(&entry->rung, 1);
	if (!(bits & ~old)) {
		evr_a64_fetch_add(&entry->suppressed, 1);
		return;
	}
	/* SLEEP: pairs with sleep_once(). */
	evr_fence();
	if (evr_a32_load_relaxed(&entry->sleepers)) {
		evr_a32_fetch_add(&entry->futex, 1);
		futex(&entry->futex, FUTEX_WAKE_BITSET, INT32_MAX, NULL, folded(bits & ~old));
	}
	/* SIGNAL: pairs with drain(). */
	if (evr_a32_load_relaxed(&entry->is_listening) && !evr_a32_xchg(&entry->is_signaled, 1))
		signal_socket(segment, to);
}

int local_ring(struct evr_peer *peer, struct evr_bell *bells, uint32_t nr)
{
	uint32_t i, rung = 0;
	uint64_t incarnation;

	for (i = 0; i < nr; i++) {
		if (!bells[i].bits || bells[i].bits & ~EVR_BELLS_USER ||
		    bells[i].to.slot >= peer->segment->layout.peers_max) {
			bells[i].result = -EINVAL;
			continue;
		}
		bells[i].result = -ESTALE;
		if (local_state(peer, bells[i].to.slot, &incarnation) != EVR_PEER_LIVE ||
		    incarnation != bells[i].to.incarnation)
			continue;
		local_ring_slot(peer->segment, peer->self.slot, bells[i].to.slot, bells[i].bits);
		bells[i].result = 0;
		rung++;
	}
	return (int)rung;
}

/* --- the peer's own side --- */

static uint64_t take(struct evr_peer *peer, uint64_t mask, struct evr_bells *bells)
{
	struct local_entry *entry = local_entry(peer->segment, peer->self.slot);
	uint64_t got;
	int i;

	/* relaxed: only a hint, the RMW below decides and orders. */
	if (!(evr_a64_load_relaxed(&entry->pending) & mask))
		return 0;
	/* BELL: pairs with local_ring_slot(). */
	got = evr_a64_fetch_and(&entry->pending, ~mask) & mask;
	if (!got)
		return 0;
	bells->bits = got;
	for (i = 0; i < EVERING_PEERS_MAX / 64; i++)
		bells->rang[i] = evr_a64_load_relaxed(&entry->rang[i]) ?
					 evr_a64_xchg(&entry->rang[i], 0) :
					 0;
	return got;
}

/* An observer without a slot: nobody can ring it, but it sees that lives change. */
static uint64_t take_generation(struct evr_peer *peer, uint64_t mask, struct evr_bells *bells)
{
	struct local_peer *own = peer->own;
	uint64_t now = evr_a64_load_acquire(local_generation(peer->segment));

	if (!(mask >> EVR_BELL_PEER_EVENT) || evr_a64_load_relaxed(&own->seen_generation) == now)
		return 0;
	evr_a64_store_relaxed(&own->seen_generation, now);
	memset(bells, 0, sizeof(*bells));
	bells->bits = (uint64_t)1 << EVR_BELL_PEER_EVENT;
	return bells->bits;
}

/* Empty the socket; afterwards a bell that was not taken yet signals again. */
static void drain(struct evr_peer *peer)
{
	struct local_entry *entry = local_entry(peer->segment, peer->self.slot);
	struct local_peer *own = peer->own;
	char byte;

	while (recv(own->bell_sock, &byte, 1, MSG_DONTWAIT) >= 0)
		;
	/* SIGNAL: pairs with local_ring_slot(). */
	evr_a32_store_full(&entry->is_signaled, 0);
}

static void signal_self(struct evr_peer *peer)
{
	struct local_entry *entry = local_entry(peer->segment, peer->self.slot);

	if (evr_a64_load_acquire(&entry->pending) && !evr_a32_xchg(&entry->is_signaled, 1))
		signal_socket(peer->segment, peer->self.slot);
}

/* After bells were taken without a read: the fd is to be readable only when some are left. */
static void settle_fd(struct evr_peer *peer)
{
	struct local_entry *entry = local_entry(peer->segment, peer->self.slot);
	struct local_peer *own = peer->own;

	if (!evr_a32_load_relaxed(&own->is_listening) || evr_a64_load_relaxed(&entry->pending))
		return;
	drain(peer);
	signal_self(peer);
}

static bool try_take(struct evr_peer *peer, uint64_t mask, struct evr_bells *bells)
{
	if (peer->self.slot == EVR_SLOT_ANY)
		return take_generation(peer, mask, bells);
	if (!take(peer, mask, bells))
		return false;
	settle_fd(peer);
	/* Somebody came or went: know it at once, so that its end wakes our fd. */
	if (bells->bits >> EVR_BELL_PEER_EVENT)
		local_check_now(peer);
	return true;
}

/* 0 look again; -EINTR. Sleeps at most until then, CLOCK_MONOTONIC. */
static int sleep_once(struct evr_peer *peer, uint64_t mask, uint64_t until_ns)
{
	struct timespec until = {
		.tv_sec = (time_t)(until_ns / 1000000000u),
		.tv_nsec = (long)(until_ns % 1000000000u),
	};
	struct local_entry *entry;
	uint32_t value;
	long err = 0;

	if (peer->self.slot == EVR_SLOT_ANY)
		return -clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	entry = local_entry(peer->segment, peer->self.slot);
	evr_a32_fetch_add(&entry->sleepers, 1);
	value = evr_a32_load_acquire(&entry->futex);
	/* SLEEP: pairs with local_ring_slot(). */
	evr_fence();
	if (!(evr_a64_load_relaxed(&entry->pending) & mask))
		err = futex(&entry->futex, FUTEX_WAIT_BITSET, value, &until, folded(mask)) ? errno :
											     0;
	evr_a32_fetch_add(&entry->sleepers, UINT32_MAX);
	return err == EINTR ? -EINTR : 0;
}

/* The fd may be readable for a bell that was taken before its datagram came. */
static int give_up(struct evr_peer *peer, uint64_t mask, struct evr_bells *bells)
{
	if (try_take(peer, mask, bells))
		return 0;
	if (peer->self.slot != EVR_SLOT_ANY)
		settle_fd(peer);
	return -ETIMEDOUT;
}

int local_wait(struct evr_peer *peer, uint64_t mask, uint64_t deadline_ns, struct evr_bells *bells)
{
	uint64_t now, until;
	int err;

	while (!try_take(peer, mask, bells)) {
		local_check(peer);
		now = deadline_ns ? evr_now_ns() : 0;
		if (now >= deadline_ns)
			return give_up(peer, mask, bells);
		until = now + LOCAL_CHECK_NS;
		err = sleep_once(peer, mask, until < deadline_ns ? until : deadline_ns);
		if (err)
			return try_take(peer, mask, bells) ? 0 : err;
	}
	return 0;
}

int local_read(struct evr_peer *peer, struct evr_bells *bells)
{
	struct local_peer *own = peer->own;
	uint64_t ticks;

	if (evr_a32_load_acquire(&own->is_listening)) {
		if (own->timer_fd >= 0 && read(own->timer_fd, &ticks, sizeof(ticks)) < 0)
			ticks = 0;
		if (own->bell_sock >= 0)
			drain(peer);
		local_check_now(peer);
	} else {
		local_check(peer);
	}
	return try_take(peer, UINT64_MAX, bells) ? 0 : -EAGAIN;
}

/* --- the pollable fd --- */

static int watch_fd(struct local_peer *own, int fd, uint32_t what)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = what };

	return epoll_ctl(own->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int open_timer(struct local_peer *own)
{
	struct itimerspec each = {
		.it_interval.tv_sec = LOCAL_TIMER_NS / 1000000000u,
		.it_interval.tv_nsec = LOCAL_TIMER_NS % 1000000000u,
		.it_value.tv_sec = LOCAL_TIMER_NS / 1000000000u,
		.it_value.tv_nsec = LOCAL_TIMER_NS % 1000000000u,
	};

	own->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (own->timer_fd < 0 || timerfd_settime(own->timer_fd, 0, &each, NULL))
		return -errno;
	return watch_fd(own, own->timer_fd, EVENT_TIMER);
}

static int open_bell_socket(struct evr_peer *peer)
{
	struct local_peer *own = peer->own;
	struct sockaddr_un address;
	socklen_t len = address_of(peer->segment, peer->self, &address);

	own->bell_sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (own->bell_sock < 0 || bind(own->bell_sock, (struct sockaddr *)&address, len))
		return -errno;
	return watch_fd(own, own->bell_sock, EVENT_SOCK);
}

static void close_fds(struct local_peer *own)
{
	if (own->bell_sock >= 0)
		close(own->bell_sock);
	if (own->timer_fd >= 0)
		close(own->timer_fd);
	own->bell_sock = -1;
	own->timer_fd = -1;
}

static int listen_locked(struct evr_peer *peer)
{
	struct local_peer *own = peer->own;
	int err;

	if (evr_a32_load_relaxed(&own->is_listening))
		return 0;
	err = open_timer(own);
	if (!err && peer->self.slot != EVR_SLOT_ANY)
		err = open_bell_socket(peer);
	if (err) {
		close_fds(own);
		return evr_fail(err, "cannot make the doorbell of slot %u: %s", peer->self.slot,
				strerror(-err));
	}
	evr_a32_store_release(&own->is_listening, 1);
	if (peer->self.slot == EVR_SLOT_ANY)
		return 0;
	evr_a32_store_full(&local_entry(peer->segment, peer->self.slot)->is_listening, 1);
	signal_self(peer);
	return 0;
}

int local_bell_fd(struct evr_peer *peer)
{
	struct local_peer *own = peer->own;
	int err;

	pthread_mutex_lock(&own->lock);
	err = listen_locked(peer);
	pthread_mutex_unlock(&own->lock);
	return err ? err : own->epoll_fd;
}
