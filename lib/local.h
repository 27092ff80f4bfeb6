/* SPDX-License-Identifier: MIT */
/*
 * The local backend: a segment in a memfd or a tmpfs file, whose status area is
 * written by the peers themselves. Shared by its five files and nobody else.
 *
 * A peer that is hostile can do here what it likes to the others' memory: rights
 * are those of the file. A peer that dies at any instruction harms nobody: what
 * decides is either one compare-and-swap or a lock that the kernel releases.
 */
#ifndef EVERING_LOCAL_H
#define EVERING_LOCAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <evering/atomic.h>
#include <evering/uapi.h>

#include "backend.h"

#define LOCAL_MAGIC 0x31304c474e525645ULL /* "EVRNGL01" */
#define LOCAL_VERSION 2
/* The log of growths, between the headers and the entries. */
#define LOCAL_GROWTHS_OFF 512
#ifndef LOCAL_GROWTHS_MAX
#define LOCAL_GROWTHS_MAX 8128
#endif
#define LOCAL_ENTRIES_OFF (LOCAL_GROWTHS_OFF + LOCAL_GROWTHS_MAX * 8)
#define LOCAL_PREFIX "/dev/shm/evering."

/* Locks are on bytes that no file reaches. */
#define LOCAL_LOCK_SLOT ((uint64_t)1 << 61) /* + slot: write lock of the peer that lives there */
#define LOCAL_LOCK_USE (LOCAL_LOCK_SLOT + 0x1000) /* read lock of each handle, unless KEEP */
#define LOCAL_LOCK_NAME (LOCAL_LOCK_SLOT + 0x1001) /* write lock of who takes its name away */

/*
 * How often sleepers look for evidence of deaths, and how often pollers are woken to.
 * A test of lost wake-ups builds with longer ones: these would hide them.
 */
#ifndef LOCAL_CHECK_NS
#define LOCAL_CHECK_NS 50000000ULL
#define LOCAL_TIMER_NS 500000000ULL
#endif

/* Behind struct evering_status_header; written by the creator before anybody sees it. */
struct local_header {
	struct evr_a64 created_ns; /* CLOCK_BOOTTIME */
	struct evr_a32 uid; /* of the creator */
	struct evr_a32 is_kept;
};

#define LOCAL_HEADER_OFF sizeof(struct evering_status_header)

EVR_STATIC_ASSERT(LOCAL_HEADER_OFF + sizeof(struct local_header) <= LOCAL_GROWTHS_OFF,
		  "in front of the log");

/*
 * life = { incarnation:48 | exit reason:7 | told:1 | state:8 }, changed by CAS only:
 * FREE -> LIVE (incarnation + 1) by who holds the slot's lock,
 * LIVE -> DEAD by the peer itself or by whoever has evidence,
 * DEAD -> FREE, or RETIRED, by who has reaped, or when nobody lives.
 * Each change clears told; it is set when all others have been rung. Whoever
 * finds it clear tells them: the changer may have died in between.
 */
struct local_entry {
	struct evr_a64 life;
	/* Written by the attacher, under the slot's lock, while the slot is FREE. */
	struct evr_a64 cookie;
	struct evr_a64 attached_ns;
	struct evr_a64 start_time; /* of the process, as in /proc/PID/stat */
	struct evr_a64 pid_ns; /* inode of its pid namespace */
	struct evr_a64 time_ns; /* inode of its time namespace */
	struct evr_a32 pid;
	struct evr_a32 uid;
	struct evr_a32 rights;
	struct evr_a32 __resv0;
	uint64_t __resv1[7];

	/* Written by all who ring; taken by the peer. */
	EVR_ALIGNAS(128) struct evr_a64 pending;
	struct evr_a64 rang[EVERING_PEERS_MAX / 64];
	struct evr_a64 rung;
	struct evr_a64 suppressed;
	struct evr_a32 futex; /* +1 for each wake */
	struct evr_a32 is_signaled; /* a datagram is on its way or in the socket */
	uint64_t __resv2[8];

	/* Written by the peer; read by all who ring. */
	EVR_ALIGNAS(128) struct evr_a32 sleepers; /* threads in futex wait */
	struct evr_a32 is_listening; /* has a doorbell socket */
	uint64_t __resv3[15];
};

EVR_STATIC_ASSERT(sizeof(struct local_entry) == 384, "three pairs of lines");
EVR_STATIC_ASSERT(LOCAL_ENTRIES_OFF % EVR_LINE_SZ == 0, "entries are aligned");
EVR_STATIC_ASSERT(offsetof(struct local_entry, pending) == 128, "a line of its own");
EVR_STATIC_ASSERT(offsetof(struct local_entry, sleepers) == 256, "a line of its own");

#define LIFE_TOLD ((uint64_t)1 << 8)
#define LIFE_INCARNATION_MAX (((uint64_t)1 << 48) - 1)

static inline uint64_t life_make(uint64_t incarnation, uint32_t reason, uint32_t state)
{
	return incarnation << 16 | (uint64_t)reason << 9 | state;
}

static inline uint32_t life_state(uint64_t life)
{
	return life & 0xff;
}

static inline uint32_t life_reason(uint64_t life)
{
	return life >> 9 & 0x7f;
}

static inline uint64_t life_incarnation(uint64_t life)
{
	return life >> 16;
}

/* segment->own */
struct local_segment {
	unsigned char *status; /* whole status area; writable unless is_readonly */
	uint64_t status_sz;
	bool is_readonly;
	bool holds_use; /* has the read lock of LOCAL_LOCK_USE */
	struct evr_a32 send_fd; /* socket for doorbells + 1; 0 = none yet */
};

/* What a peer knows of a slot; protected by local_peer.lock. */
struct local_watch {
	uint64_t life; /* when it was last looked at, without LIFE_TOLD */
	int pidfd; /* < 0: none */
};

/* peer->own */
struct local_peer {
	pthread_mutex_t lock;
	struct evr_a64 next_check_ns;
	struct evr_a64 seen_generation; /* of an observer without a slot */
	int epoll_fd; /* pidfds; the bell socket and the timer once asked for */
	int bell_sock;
	int timer_fd;
	struct evr_a32 is_listening; /* bell_fd() was called */
	struct local_watch watches[EVERING_PEERS_MAX];
};

static inline struct local_segment *local_of(const struct evr_segment *segment)
{
	return segment->own;
}

static inline struct local_entry *local_entry(const struct evr_segment *segment, uint32_t slot)
{
	return (struct local_entry *)(local_of(segment)->status + segment->layout.entries_off +
				      (uint64_t)slot * segment->layout.entry_sz);
}

static inline struct evr_a64 *local_header_word(const struct evr_segment *segment, size_t off)
{
	return (struct evr_a64 *)(local_of(segment)->status + off);
}

static inline struct evr_a64 *local_generation(const struct evr_segment *segment)
{
	return local_header_word(segment, offsetof(struct evering_status_header, generation));
}

/* local_file.c: the file and what is at its start. */
int local_file_create(struct evr_segment *segment, const struct evr_segment_options *options);
int local_file_open(struct evr_segment *segment);
int local_file_adopt(struct evr_segment *segment);
void local_file_close(struct evr_segment *segment);
int local_file_remove(const char *name);
/* A file description of our own for the same file: O_RDWR or O_RDONLY. fd or -errno. */
int local_file_reopen(int fd, int flags);
/* Set or test a lock; type F_RDLCK, F_WRLCK, F_UNLCK. -EAGAIN: held by another. */
int local_file_lock(int fd, int type, uint64_t byte);
bool local_file_is_locked(int fd, uint64_t byte);
/* -ENOMEM when the system has not as much left. */
int local_file_check_memory(uint64_t sz);
/* 0 when the header is still what it was at open; *sz is the segment's end now. */
int local_file_check(const struct evr_segment *segment, uint64_t *sz);

/* local_growth.c: what is appended, and who it was for. */
int local_grow(struct evr_segment *segment, uint64_t tag, struct evr_growth *growth);
int local_growths(struct evr_peer *peer, uint64_t tag, evr_growth_fn *each, void *arg);

/* local_peers.c: slots, life and death. */
int local_attach(struct evr_peer *peer, const struct evr_peer_options *options);
void local_detach(struct evr_peer *peer);
uint32_t local_state(const struct evr_peer *peer, uint32_t slot, uint64_t *incarnation);
int local_reaped(struct evr_peer *peer, struct evr_peer_id dead);
/* Look for deaths among all but self; slow, with pids, when self is EVR_SLOT_ANY. */
void local_sweep(const struct evr_segment *segment, uint32_t self);
/* The same for a peer, with the pidfds that it keeps; check() at most every LOCAL_CHECK_NS, check_now() at once. */
void local_check(struct evr_peer *peer);
void local_check_now(struct evr_peer *peer);
/* Snapshot of a slot: its life; the rest is of that life. */
uint64_t local_snapshot(const struct evr_segment *segment, uint32_t slot,
			struct evr_peer_info *info);

/* local_bell.c: ring, sleep, poll. */
void local_ring_slot(const struct evr_segment *segment, uint32_t from, uint32_t to, uint64_t bits);
int local_ring(struct evr_peer *peer, struct evr_bell *bells, uint32_t nr);
int local_wait(struct evr_peer *peer, uint64_t mask, uint64_t deadline_ns, struct evr_bells *bells);
int local_read(struct evr_peer *peer, struct evr_bells *bells);
int local_bell_fd(struct evr_peer *peer);

/* local_watch.c: a peer's own fds, and the pidfds of the others. */
int local_peer_init(struct evr_peer *peer);
void local_peer_fini(struct evr_peer *peer);
bool local_watch_slot(struct evr_peer *peer, uint32_t slot, uint64_t life);
uint32_t local_watch_next_dead(struct evr_peer *peer, uint64_t *life);
bool local_process_is_gone(const struct local_entry *entry);
uint64_t local_start_time(int32_t pid);
uint64_t local_pid_ns(void);
uint64_t local_time_ns(void);

#endif
