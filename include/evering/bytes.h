/* SPDX-License-Identifier: MIT */
/*
 * A stream of frames of any length: one producer, one consumer. A frame lies in
 * one piece, so it is written and read in place.
 *
 * model      see lane.h; a frame is a header of 16 bytes and its data.
 * calls      a handle belongs to one thread at a time; both ends run together.
 * edges      LANE-DATA
 * progress   all calls but the _wait forms are wait-free and make no system call,
 *            save one bell for a sleeper.
 * limits     capacity: a power of two, 1 KiB to 2^46 bytes, headers counted. A
 *            frame may take all of it: capacity - 16 bytes of data.
 *
 * The memory is the capacity and, behind it, room for the part of the largest
 * frame that would stick out: a frame that starts near the end goes on there, not
 * at the start. So any frame fits wherever the stream has got to, nothing is
 * skipped, and neither side waits for the other to turn round.
 *
 * An uncommitted grant is private: with its owner's death it never existed. What
 * a dead consumer has not released is delivered again to the next one.
 */
#ifndef EVERING_BYTES_H
#define EVERING_BYTES_H

#include <evering/lane.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a frame's data are. */
enum evr_frame_kind {
	EVR_FRAME_INLINE, /* the message itself */
	EVR_FRAME_BLOCK, /* a handle of a block of the segment, that holds it */
	EVR_FRAME_EXTERNAL, /* a handle of other memory, that holds it */
};

#define EVR_FRAME_HEADER_SZ 16

/* Shared: written by the producer before its position says that it is there. */
struct evr_frame {
	struct evr_a64 len_kind; /* {len:56 | kind:8}, bytes of data */
	struct evr_a64 stamp; /* the position of this header: stale bytes do not look like one */
};

EVR_STATIC_ASSERT(sizeof(struct evr_frame) == EVR_FRAME_HEADER_SZ, "part of the shared layout");

struct evr_bytes_options {
	size_t struct_sz; /* sizeof(struct evr_bytes_options) */
	uint64_t capacity; /* bytes, a power of two; 0 = 256 KiB */
	uint64_t frame_max; /* bytes of data of the largest frame; 0 = all the capacity */
};

/* One end, in the caller's own memory. The fields are not for callers. */
struct evr_bytes {
	struct evr_lane lane;
	uint64_t mask;
	uint64_t frame_max;
	uint64_t grant_sz; /* bytes reserved, or of the frame peeked at; valid when granted */
	uint64_t published; /* the position that the other side was told of */
	uint64_t frames; /* committed or released by this end */
	uint32_t grant_kind;
	bool granted;
};

/*
 * evr_bytes_create() - make a stream in the directory; nobody holds a role of it yet.
 * Return: 0; -EINVAL; and as evr_dir_create().
 */
EVR_API int evr_bytes_create(struct evr_peer *peer, const char *name,
			     const struct evr_bytes_options *options);

/* evr_bytes_open() - take a role; as evr_spsc_open(). */
EVR_API int evr_bytes_open(struct evr_bytes *bytes, struct evr_peer *peer, const char *name,
			   enum evr_role role);

/*
 * evr_bytes_close() - give the role back: for a producer the end of the stream, that
 * the consumer meets once it has read all; frames committed are published before.
 */
EVR_API void evr_bytes_close(struct evr_bytes *bytes);

/*
 * evr_bytes_reserve() - room for a frame of @sz bytes, to be written in place.
 * Replaces a grant that was not committed.
 * Return: @sz bytes, aligned to 16; NULL when there is no room: evr_bytes_state(), OK
 * being full; and when @sz is more than evr_bytes_frame_max().
 */
EVR_API void *evr_bytes_reserve(struct evr_bytes *bytes, uint64_t sz);

/*
 * evr_bytes_reserve_wait() - the same, waiting for room.
 * Return: 0; -EMSGSIZE; -EPIPE the consumer closed; -EOWNERDEAD it died; -EBADMSG;
 * -ESHUTDOWN this peer has ended; -ETIMEDOUT; -EINTR.
 */
EVR_API int evr_bytes_reserve_wait(struct evr_bytes *bytes, struct evr_waiter *waiter, uint64_t sz,
				   uint64_t deadline_ns, void **out);

/*
 * evr_bytes_commit() - make the grant a frame and publish it.
 * @used_sz: bytes of data, at most what was reserved.
 * Return: 0; -EINVAL nothing is reserved, or less than that.
 */
EVR_API int evr_bytes_commit(struct evr_bytes *bytes, uint64_t used_sz);

/*
 * evr_bytes_commit_more() - make the grant a frame, and leave the publishing to the
 * next evr_bytes_flush(), evr_bytes_commit() or close: many small frames cost less
 * together. Unpublished frames die with the process.
 * @kind: enum evr_frame_kind, for the consumer's evr_bytes_kind().
 */
EVR_API int evr_bytes_commit_more(struct evr_bytes *bytes, uint64_t used_sz, uint32_t kind);
EVR_API void evr_bytes_flush(struct evr_bytes *bytes);

/*
 * evr_bytes_peek() - the oldest frame, in place; the same one until it is released.
 * @sz: out: its bytes, may be 0.
 * Return: its data, aligned to 16; NULL when there is none: evr_bytes_state(), OK
 * being empty. The producer of a shared segment can still change them: copy what is
 * to be checked before it is used.
 */
EVR_API const void *evr_bytes_peek(struct evr_bytes *bytes, uint64_t *sz);

/*
 * evr_bytes_peek_wait() - the same, waiting for a frame.
 * Return: 0; -EPIPE the end of the stream; -EOWNERDEAD the producer died, and all it
 * had published has been read; -EBADMSG; -ESHUTDOWN; -ETIMEDOUT; -EINTR.
 */
EVR_API int evr_bytes_peek_wait(struct evr_bytes *bytes, struct evr_waiter *waiter,
				uint64_t deadline_ns, const void **out, uint64_t *sz);

/*
 * evr_bytes_release() - give the frame peeked at back to the producer.
 * Return: false when there was none, or the other side was found corrupt since, or it
 * died and, in an isolated segment, its memory serves another peer by now: then what
 * was read there may be anything.
 */
EVR_API bool evr_bytes_release(struct evr_bytes *bytes);

/*
 * evr_bytes_release_more() - be done with the frame peeked at, and leave it to the
 * next evr_bytes_flush() or evr_bytes_release() to tell the producer.
 */
EVR_API bool evr_bytes_release_more(struct evr_bytes *bytes);

/* evr_bytes_write() - one frame from @data. Return: 0; -EAGAIN full; or as the _wait form. */
EVR_API int evr_bytes_write(struct evr_bytes *bytes, const void *data, uint64_t sz);

/*
 * evr_bytes_read() - one frame into @data.
 * Return: its size; -EAGAIN empty; -EMSGSIZE it has more than @max bytes, and stays;
 * or as the _wait form.
 */
EVR_API int64_t evr_bytes_read(struct evr_bytes *bytes, void *data, uint64_t max);

/* evr_bytes_write_wait() - the same as evr_bytes_write(), waiting for room. Return: as evr_bytes_reserve_wait(). */
EVR_API int evr_bytes_write_wait(struct evr_bytes *bytes, struct evr_waiter *waiter,
				 const void *data, uint64_t sz, uint64_t deadline_ns);
/*
 * evr_bytes_read_wait() - one frame into @data, waiting for it.
 * Return: its size; -EMSGSIZE it has more than @max bytes, and stays; or as
 * evr_bytes_peek_wait().
 */
EVR_API int64_t evr_bytes_read_wait(struct evr_bytes *bytes, struct evr_waiter *waiter, void *data,
				    uint64_t max, uint64_t deadline_ns);

/* evr_bytes_kind() - enum evr_frame_kind of the frame peeked at. */
static inline uint32_t evr_bytes_kind(const struct evr_bytes *bytes)
{
	return bytes->grant_kind;
}

/* evr_bytes_capacity() - bytes, of frames with their headers and padding. */
static inline uint64_t evr_bytes_capacity(const struct evr_bytes *bytes)
{
	return bytes->lane.span;
}

/* evr_bytes_frame_max() - bytes of data of the largest frame. */
static inline uint64_t evr_bytes_frame_max(const struct evr_bytes *bytes)
{
	return bytes->frame_max;
}

/* evr_bytes_state() - why there is no frame, or no room. */
static inline enum evr_ring_state evr_bytes_state(struct evr_bytes *bytes)
{
	return evr_lane_state(&bytes->lane);
}

/* evr_bytes_other() - who holds the other role; slot EVR_SLOT_ANY when nobody does. */
static inline struct evr_peer_id evr_bytes_other(const struct evr_bytes *bytes)
{
	return evr_lane_other(&bytes->lane);
}

/*
 * evr_bytes_forget() - after -EPIPE or -EOWNERDEAD be ready for the next holder of the
 * other role: until there is one the state is NO_PEER, and the _wait forms wait.
 */
static inline void evr_bytes_forget(struct evr_bytes *bytes)
{
	evr_lane_forget(&bytes->lane);
	if (bytes->lane.far && !bytes->lane.met)
		bytes->granted = false;
}

/* evr_bytes_expect() - as evr_spsc_expect(). */
static inline void evr_bytes_expect(struct evr_bytes *bytes, struct evr_peer_id other)
{
	evr_lane_expect(&bytes->lane, other);
}

/* evr_bytes_need() - for evr_waiter_wait(): the other side's publications wake it. */
static inline struct evr_need *evr_bytes_need(struct evr_bytes *bytes)
{
	return &bytes->lane.mine->need;
}

/* evr_bytes_counts() - of one role, by any holder of a handle. */
static inline void evr_bytes_counts(const struct evr_bytes *bytes, enum evr_role role,
				    struct evr_ring_counts *out)
{
	evr_lane_counts(&bytes->lane, role, out);
}

#ifdef __cplusplus
}
#endif

#endif
