/* SPDX-License-Identifier: MIT */
/*
 * Leases: memory outside of the segment, lent through a channel: a memfd, or a range of
 * another segment. For what is too large to be copied, or is there already.
 *
 * model      a lease is a block of the channel's heap that says where the memory is. It
 *            has one owner at a time, as any block, so whoever dies, its reaper ends the
 *            lease; and the lender sees that the block's life is over. Who takes a lease
 *            maps the memory when it wants to, and not before.
 * calls      a struct evr_lender and a struct evr_lease belong to one thread at a time,
 *            that of the channel's end that they are used with.
 * edges      those of heaps and channels; there is no word of the lease's own.
 * progress   to lend, map and release makes system calls; nothing waits for another process.
 * limits     to map a memfd, or a segment that has no name, the lender must live, and be of the
 *            same user and visible in /proc; for others, lend a segment that has a name.
 *
 *     given = returned + out; a lease that was returned is mapped by nobody
 *
 * In an isolated segment the block stays its lender's, whose evr_channel_collect() takes in what
 * came back, before evr_lender_collect() sees it; at most EVR_CHANNEL_LENT are out. A lease comes
 * back when its taker says so, dies, or the session ends; that a taker which lies has no mapping
 * any more nobody can say but the kernel, at its death. What it maps is checked as always: a
 * lender that lies lends nothing but sealed memory of its own user's processes.
 *
 * The fd is not sent: who maps opens /proc/PID/fd/FD of the lender. That needs no privilege
 * between processes of one user, whatever Yama says, and nobody who answers: pidfd_getfd(2)
 * asks for the right to trace, and a socket for a thread that serves it. It also makes
 * an open file of its own, so one that is opened for reading cannot be mapped to write.
 */
#ifndef EVERING_LEASE_H
#define EVERING_LEASE_H

#include <evering/channel.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
	EVR_LEASE_READ_ONLY = 1,
};

/* What is to be lent. */
struct evr_lease_options {
	size_t struct_sz; /* sizeof(struct evr_lease_options) */
	struct evr_segment *segment; /* a range of this one; NULL: of fd */
	int fd; /* a memfd that is sealed against shrinking, as of evr_lease_memfd() */
	uint32_t flags; /* EVR_LEASE_* */
	uint64_t off, sz; /* bytes; any alignment, sz at least 1 */
	uint64_t tag; /* of the message */
};

struct evr_lender_entry;

/* What a lender has lent, in its own memory. The counts may be read; the rest is not for callers. */
struct evr_lender {
	struct evr_heap *heap;
	struct evr_lender_entry *entries;
	uint32_t max;
	uint32_t out; /* lent now */
	uint64_t given, returned; /* ever */
};

#define EVR_LEASE_URI_SZ (EVR_NAME_SIZE + 8)

/* What a lease's block holds, and what its taker has copied. */
struct evr_lease_record {
	uint64_t layout; /* EVR_LEASE_LAYOUT */
	uint64_t off, sz;
	uint64_t dev, ino; /* of the fd's file */
	uint64_t segment_id; /* 0: a memfd */
	int32_t fd; /* the lender's; -1: none */
	uint32_t flags;
	char uri[EVR_LEASE_URI_SZ]; /* of the segment; "": it has no name */
};

#define EVR_LEASE_LAYOUT 0x31305341454c5645ULL /* "EVLEAS01" */

/* One lease that was taken, in the taker's own memory. The fields are not for callers. */
struct evr_lease {
	struct evr_lease_record record;
	struct evr_channel *ch; /* NULL: none, or released */
	struct evr_heap *heap;
	struct evr_message message;
	uint64_t other, turn; /* owner words of the channel: its session */
	struct evr_peer_id from;
	void *map;
	uint64_t map_sz;
	void *ptr;
	struct evr_peer *peer; /* own attachment to a lent segment */
};

/*
 * evr_lease_memfd() - memory that can be lent: a memfd of @sz bytes, sealed against shrinking.
 * Return: the fd, O_CLOEXEC, the caller's; -EINVAL; -EMFILE; -ENOMEM.
 */
EVR_API int evr_lease_memfd(uint64_t sz);

/*
 * evr_lender_init() - be able to lend.
 * @heap: the one that the channels send with (evr_channel_bind()); outlives the lender.
 */
EVR_API void evr_lender_init(struct evr_lender *lender, struct evr_heap *heap);

/* evr_lender_fini() - close what is lent: who has mapped it keeps it, nobody else can. */
EVR_API void evr_lender_fini(struct evr_lender *lender);

/**
 * evr_lease_send() - lend memory to the other end of a channel
 * @options: what. The lender keeps a copy of the fd as long as the lease is out; a segment
 *	with a name has to keep it until it is mapped.
 *
 * READ_ONLY is what the taker's mapping is. A taker that does not keep to it is stopped
 * only by F_SEAL_FUTURE_WRITE of the memfd, or by the segment's own rights.
 *
 * Return: 0; -EINVAL the range or flags, no memfd, or the channel sends with another heap;
 * -EPERM the memfd can shrink; -EBADF; -EOPNOTSUPP a segment of the device without a name;
 * -EMFILE; -ENOMEM; and as evr_channel_send_message(). Then nothing is lent.
 */
EVR_API int evr_lease_send(struct evr_lender *lender, struct evr_channel *ch,
			   const struct evr_lease_options *options);

/*
 * evr_lender_collect() - see what has come back: released, its taker dead, or never received.
 * The wakes of the channel announce a release. Return: how many leases.
 */
EVR_API uint32_t evr_lender_collect(struct evr_lender *lender);

/**
 * evr_lease_take() - take a lease out of a message with EVR_MESSAGE_LEASE
 * @lease: out; to be given to evr_lease_release() in the end. It counts as a message that
 *	is held, until then.
 * @ch: it was received here; outlives the lease, closed or not, and so does its heap
 * @m: as received; empty afterwards
 *
 * Return: 0; -EINVAL no such message; -EBADMSG it holds nonsense. The message is still the caller's to release then.
 */
EVR_API int evr_lease_take(struct evr_lease *lease, struct evr_channel *ch, struct evr_message *m);

/**
 * evr_lease_map() - the memory itself
 * @via: own attachment to a segment that is lent, which outlives the lease; NULL: it
 *	attaches by itself, as an observer when READ_ONLY
 * @ptr: out: where the range is, its size being evr_lease_sz(); valid until the release
 *
 * Again: the same.
 *
 * Return: 0; -EOWNERDEAD the lender has ended; -ESTALE it has closed its fd, or the name is
 * another segment's now; -EACCES it is another user's; -EPERM it could shrink; -EINVAL out
 * of its range, or no memory; -EXDEV @via is not of that segment, or READ_ONLY does not allow
 * for it; -EBADMSG; -EMFILE; -ENOMEM; and as evr_segment_open() and evr_peer_attach().
 */
EVR_API int evr_lease_map(struct evr_lease *lease, struct evr_peer *via, void **ptr);

/* evr_lease_sz() - bytes. */
static inline uint64_t evr_lease_sz(const struct evr_lease *lease)
{
	return lease->record.sz;
}

/* evr_lease_release() - unmap it, and give it back. Of none, or twice: nothing. */
EVR_API void evr_lease_release(struct evr_lease *lease);

#ifdef __cplusplus
}
#endif

#endif
