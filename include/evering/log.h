/* SPDX-License-Identifier: MIT */
/*
 * A log: records of bytes of any length, from any number of members to one consumer.
 * A record lies in one piece, so it is written and read in place.
 *
 * model      the cells of mpmc.h, one for each unit of memory: a record is a run of them,
 *            claimed wholly by one CAS that names its owner. A member may die at any
 *            step: what it had not committed never existed, and is passed over. The
 *            consumer holds a role (lane.h): what it has not released when it dies is
 *            delivered again to its successor.
 * calls      a handle belongs to one thread at a time; all handles run together.
 * edges      MPMC-CELL; LANE-ROLE for the consumer's position.
 * progress   as with mpmc.h: lock-free, but that the consumer gets no further than a
 *            record which a living member is still writing (EVR_RING_BUSY).
 * limits     a record takes whole units, up to 255 of them: 64 bytes each, more where
 *            record_max asks for it. Up to 2^24 units.
 *
 * A record that starts near the end goes on behind it, where there is room for one: no
 * padding, and any record fits wherever the log has got to, up to all of it.
 *
 * Conservation, exact at any time, in units: accepted = in - holes, and of an empty log
 * in = out: delivered = out - holes.
 */
#ifndef EVERING_LOG_H
#define EVERING_LOG_H

#include <evering/mpmc.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EVR_RECORD_HEADER_SZ 16

struct evr_log_options {
	size_t struct_sz; /* sizeof(struct evr_log_options) */
	uint64_t capacity; /* bytes, headers counted; rounded up to a power of two of units; 0 = 256 KiB */
	uint64_t record_max; /* bytes of data of the largest record; 0 = 4080 */
};

/* A log's object in the directory; two crowds, the words and the data follow. */
struct evr_log_object {
	struct evr_lane_object lane; /* of its sides the consumer's alone is used */
	struct evr_mpmc_object cells; /* elem_sz is that of a unit; cells_off counts from here */
};

/* One end, in the caller's own memory. The fields are not for callers. */
struct evr_log {
	struct evr_mpmc cells;
	struct evr_lane lane; /* the consumer's role */
	uint8_t *data;
	uint64_t record_max;
	uint64_t grant; /* position of what is reserved */
	uint64_t grant_sz; /* bytes reserved, or of the record peeked at */
	uint32_t grant_run; /* 0: nothing is */
	uint32_t unit_sz;
	uint8_t role;
};

struct evr_log_counts {
	uint64_t in, out; /* units claimed, and taken, in all */
	uint64_t holes; /* of in: dropped, for their member died, or gave them up */
	uint64_t records; /* released by consumers */
	uint64_t opens; /* handles opened */
	uint64_t blocked[2], parks[2], rings[2], corrupt; /* see struct evr_mpmc_tallies */
	struct evr_peer_id consumer; /* slot EVR_SLOT_ANY when there is none */
};

/*
 * evr_log_create() - make a log in the directory.
 * Return: 0; -EINVAL; and as evr_dir_create().
 */
EVR_API int evr_log_create(struct evr_peer *peer, const char *name,
			   const struct evr_log_options *options);

/*
 * evr_log_open() - become one of its producers, or its consumer.
 * @log: filled in; valid until evr_log_close() or the detach.
 * A consumer that died must have been reaped; its successor goes on where it stopped.
 * Return: 0; -ENOENT; -EBUSY it has a consumer; -EINVAL another kind, no role; -EBADMSG
 * the detail names the field; -EROFS an observer; -EOPNOTSUPP an isolated segment; -ENOMEM.
 */
EVR_API int evr_log_open(struct evr_log *log, struct evr_peer *peer, const char *name,
			 enum evr_role role);

/* evr_log_close() - done with it; what is reserved becomes a hole, what is peeked at stays. */
EVR_API void evr_log_close(struct evr_log *log);

/*
 * evr_log_reserve() - room for a record of @sz bytes, to be written in place. What was
 * reserved before and not committed is given up.
 * Return: @sz bytes, aligned to 16; NULL when there is no room: evr_log_state(), OK being
 * full; and when @sz is more than evr_log_record_max().
 */
EVR_API void *evr_log_reserve(struct evr_log *log, uint64_t sz);

/*
 * evr_log_commit() - publish it.
 * @used_sz: bytes of data, at most what was reserved.
 * Return: 0; -EINVAL nothing is reserved, or less than that.
 */
EVR_API int evr_log_commit(struct evr_log *log, uint64_t used_sz);
/* Instead of evr_log_commit(): it becomes a hole. */
EVR_API void evr_log_cancel(struct evr_log *log);

/*
 * evr_log_peek() - the oldest record, in place; the same one until it is released.
 * @sz: out: its bytes, may be 0.
 * Return: its data, aligned to 16; NULL when there is none: evr_log_state(), OK being
 * empty. Other members can still change them: copy what is to be checked before it is used.
 */
EVR_API const void *evr_log_peek(struct evr_log *log, uint64_t *sz);
EVR_API void evr_log_release(struct evr_log *log);

/* evr_log_write() - one record. 0; -EAGAIN full or busy; -EMSGSIZE; and evr_log_state()'s error. */
EVR_API int evr_log_write(struct evr_log *log, const void *data, uint64_t sz);

/* evr_log_read() - one record. Its bytes; -EAGAIN none; -EMSGSIZE more than @max, it stays; errors. */
EVR_API int64_t evr_log_read(struct evr_log *log, void *data, uint64_t max);

/*
 * The same, waiting for room, or for a record.
 * Return: 0, of evr_log_read_wait() its bytes; -EMSGSIZE; -EBADMSG; -EPIPE the handle is
 * closed; -ESHUTDOWN this peer has ended; -ETIMEDOUT; -EINTR.
 */
EVR_API int evr_log_reserve_wait(struct evr_log *log, struct evr_waiter *waiter, uint64_t sz,
				 uint64_t deadline_ns, void **out);
EVR_API int evr_log_peek_wait(struct evr_log *log, struct evr_waiter *waiter, uint64_t deadline_ns,
			      const void **out, uint64_t *sz);
EVR_API int evr_log_write_wait(struct evr_log *log, struct evr_waiter *waiter, const void *data,
			       uint64_t sz, uint64_t deadline_ns);
EVR_API int64_t evr_log_read_wait(struct evr_log *log, struct evr_waiter *waiter, void *data,
				  uint64_t max, uint64_t deadline_ns);

/* evr_log_state() - why there is no record, or no room; as evr_mpmc_state(). */
static inline enum evr_ring_state evr_log_state(const struct evr_log *log)
{
	return evr_mpmc_state(&log->cells);
}

/* evr_log_record_max() - bytes of the largest record. */
static inline uint64_t evr_log_record_max(const struct evr_log *log)
{
	return log->record_max;
}

/* evr_log_capacity() - bytes, headers counted. */
static inline uint64_t evr_log_capacity(const struct evr_log *log)
{
	return (log->cells.mask + 1) * log->unit_sz;
}

/* evr_log_counts() - by any holder of a handle. */
EVR_API void evr_log_counts(const struct evr_log *log, struct evr_log_counts *out);

/* evr_log_stat() - the same by name, for observers too. 0; -ENOENT; -EINVAL; -EBADMSG. */
EVR_API int evr_log_stat(struct evr_peer *peer, const char *name, struct evr_log_counts *out);

#ifdef __cplusplus
}
#endif

#endif
