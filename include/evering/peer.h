/* SPDX-License-Identifier: MIT */
/*
 * Peers: one attachment of one process to a segment, the memory it sees through
 * it, and what it can learn about the others.
 *
 * model      a peer handle belongs to the process that attached; a forked child
 *            has neither its mappings nor its identity and attaches by itself.
 * calls      all may run together on one handle from any thread, except
 *            evr_peer_detach(), which must be the last.
 * progress   evr_peer_at() of memory that is mapped, evr_peer_off(),
 *            evr_peer_state(), evr_peer_is_live(), evr_peer_generation() make no
 *            system call and wait for nobody.
 * limits     EVR_PEERS_MAX slots; an incarnation is never used twice.
 */
#ifndef EVERING_PEER_H
#define EVERING_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <evering/segment.h>

#ifdef __cplusplus
extern "C" {
#endif

struct evr_peer;

#define EVR_SLOT_ANY UINT32_MAX

/* Names one attachment for ever: a slot is used again with another incarnation. */
struct evr_peer_id {
	uint32_t slot;
	uint64_t incarnation;
};

enum evr_peer_state {
	EVR_PEER_FREE = 0,
	EVR_PEER_RESERVED = 1,
	EVR_PEER_LIVE = 2,
	EVR_PEER_DYING = 3,
	EVR_PEER_DEAD = 4, /* waits to be reaped */
	EVR_PEER_RETIRED = 5, /* its incarnations are used up */
};

/* Why a peer ended. */
enum evr_exit_reason {
	EVR_EXIT_NONE = 0,
	EVR_EXIT_DETACH = 1, /* evr_peer_detach() */
	EVR_EXIT_EXIT = 2, /* its process ended, or did execve on the local backend */
	EVR_EXIT_EXEC = 3, /* its process called execve */
	EVR_EXIT_CLOSE = 4, /* the last reference to its fd went away */
	EVR_EXIT_REVOKE = 5, /* evr_segment_revoke() */
};

enum {
	EVR_PEER_OBSERVER = 1, /* map everything read-only */
	EVR_PEER_REAP_MANUAL =
		2, /* evr_reap_auto() is off from the start: attaching settles nothing */
};

struct evr_peer_options {
	size_t struct_sz; /* sizeof(struct evr_peer_options) */
	uint32_t flags; /* EVR_PEER_* */
	uint32_t slot; /* wanted, used when slot_set; else any */
	uint64_t cookie; /* a label of the peer's own, shown to all */
	bool slot_set;
	bool populate; /* fault all memory in now */
	uint64_t reserve_sz; /* address space kept for growth; 0 = the segment's */
};

/*
 * evr_peer_attach() - become a peer. Maps the whole segment at one address with
 * this peer's rights: base + offset is valid until evr_peer_detach().
 * The segment handle may be closed afterwards.
 * An observer of a local segment that may only be read gets no slot: its id is
 * {EVR_SLOT_ANY, 0}, nobody can ring it, and nobody sees it.
 * Return: 0; -EACCES; -EUSERS no slot is free; -EBUSY the wanted slot is not free;
 * -EINVAL; -EBADMSG, -EPROTO a header that is not one; -ENOMEM no address space.
 */
EVR_API int evr_peer_attach(struct evr_peer **out, struct evr_segment *segment,
			    const struct evr_peer_options *options);

/* evr_peer_detach() - a clean end: unmaps, wakes the others, frees the handle. NULL is fine. */
EVR_API void evr_peer_detach(struct evr_peer *peer);

/* evr_peer_self() - who this attachment is; of an observer without a slot {EVR_SLOT_ANY, 0}. */
EVR_API struct evr_peer_id evr_peer_self(const struct evr_peer *peer);
/* evr_peer_segment() - valid until evr_peer_detach(), also when the handle was closed. */
EVR_API struct evr_segment *evr_peer_segment(const struct evr_peer *peer);
/* evr_peer_rights() - EVR_RIGHT_* of this attachment; without WRITE it is an observer. */
EVR_API uint32_t evr_peer_rights(const struct evr_peer *peer);

/*
 * evr_peer_at() - the memory at an offset; maps grown memory at its first use.
 * @sz: bytes that must lie in the segment; 0 is taken as 1.
 * Return: the address, valid until evr_peer_detach(); NULL when the range is not
 * in the segment (or beyond reserve_sz; see the detail).
 */
EVR_API void *evr_peer_at(struct evr_peer *peer, uint64_t off, uint64_t sz);

/* evr_peer_off() - the offset of an address, or -1 when it is not in the segment. */
EVR_API int64_t evr_peer_off(const struct evr_peer *peer, const void *ptr);

/*
 * evr_peer_is_writable() - may this peer write to all of these bytes? (Shared and
 * grown memory and its own region; nothing for an observer.)
 */
EVR_API bool evr_peer_is_writable(const struct evr_peer *peer, uint64_t off, uint64_t sz);

/*
 * evr_peer_state() - state of an attachment, without a system call; EVR_PEER_DEAD
 * when the slot has gone on to another incarnation or was freed.
 *
 * On the local backend a death becomes a state when some peer looks for evidence:
 * who sleeps in the library does so every 50 ms, who only spins calls
 * evr_peer_check().
 */
EVR_API uint32_t evr_peer_state(struct evr_peer *peer, struct evr_peer_id id);
/* evr_peer_is_live() - is exactly this incarnation LIVE? */
EVR_API bool evr_peer_is_live(struct evr_peer *peer, struct evr_peer_id id);

/*
 * evr_peer_check() - look for evidence that other peers have died, and settle their
 * state. At most every 50 ms it makes system calls, otherwise one load and a look
 * at the clock. The device needs none of it: there the kernel does it.
 * For loops that wait for others without sleeping in the library.
 */
EVR_API void evr_peer_check(struct evr_peer *peer);

struct evr_peer_info {
	struct evr_peer_id id;
	uint32_t state; /* EVR_PEER_* */
	uint32_t rights; /* EVR_RIGHT_* */
	uint32_t exit_reason; /* EVR_EXIT_* */
	uint32_t exit_status; /* as from wait(2); 0 on the local backend */
	int32_t pid; /* 0 = not visible from here */
	uint32_t uid;
	uint64_t cookie;
	uint64_t rung; /* bells rung to it */
	uint64_t suppressed; /* of these, found already pending */
	uint64_t attached_ns; /* CLOCK_BOOTTIME */
};

/* evr_peer_info() - one slot, also a free one. Return: 0; -EINVAL no such slot. */
EVR_API int evr_peer_info(struct evr_peer *peer, uint32_t slot, struct evr_peer_info *info);

/*
 * evr_peer_list() - the slots that are not free, in ascending order.
 * @infos: room for @nr; what does not fit is left out.
 * Return: how many slots are not free.
 */
EVR_API int evr_peer_list(struct evr_peer *peer, struct evr_peer_info *infos, uint32_t nr);

/* evr_peer_generation() - changes with each change of any peer's state; one load. */
EVR_API uint64_t evr_peer_generation(struct evr_peer *peer);

#ifdef __cplusplus
}
#endif

#endif
