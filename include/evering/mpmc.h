/* SPDX-License-Identifier: MIT */
/*
 * A queue of elements of one fixed size, from many producers to many consumers.
 *
 * model      any member pushes and pops, and may die at any step. What it had claimed
 *            and not published never existed (a hole); what it had claimed and not
 *            released is lost, and counted: it is never delivered twice. Whoever comes
 *            upon such a claim settles it.
 * calls      a handle belongs to one thread at a time; all handles run together.
 * edges      MPMC-CELL: who leaves a cell writes its element, or has read it, then its
 *            word with release; who comes to it loads the word with acquire.
 * progress   elements of up to 4 bytes: lock-free. Larger ones: a consumer that comes
 *            upon an element which a living producer is writing finds nothing,
 *            EVR_RING_BUSY, as does a producer upon one that is being read. No call waits
 *            for another process, but for the _wait forms.
 * limits     capacity: a power of two, 2 to 2^24 elements of 1 byte to 1 MiB, aligned to
 *            16 bytes if their size is a multiple of that, else 8. A lap counter of 29
 *            bits: a thread that is stopped between two instructions until the queue has
 *            gone round exactly a multiple of 2^29 times may put an element out of order.
 *
 * There is no head and no tail to fight for: the cells themselves say how far the queue
 * has got, each handle remembers where it was last, and looks it up, by halves, when
 * it has fallen far behind. A claim is one CAS that takes up to 255 cells side by side
 * and names its owner.
 *
 * Conservation, exact at any time: with in and out the positions of the two ends,
 * accepted = in - holes; when the queue is empty, in = out, and
 * accepted = delivered + lost.
 */
#ifndef EVERING_MPMC_H
#define EVERING_MPMC_H

#include <evering/lane.h>

#ifdef __cplusplus
extern "C" {
#endif

struct evr_mpmc_options {
	size_t struct_sz; /* sizeof(struct evr_mpmc_options) */
	uint32_t capacity; /* elements, a power of two; 0 = 1024 */
	uint32_t elem_sz; /* bytes; 0 = 8 */
	uint64_t type_tag; /* what an element is, checked at open; 0 = anything */
};

/* Written once before the object is published; read once at open. */
struct evr_mpmc_geometry {
	uint64_t layout; /* EVR_MPMC_LAYOUT */
	uint64_t capacity;
	uint64_t elem_sz;
	uint64_t cells_off, cells_sz; /* bytes, in the object */
	uint64_t type_tag;
	uint64_t resv[10];
};

#define EVR_MPMC_LAYOUT 0x31304d4d525645ULL /* "EVRMM01" */

/* Relaxed, for observers: nothing is decided by them. */
struct evr_mpmc_tallies {
	struct evr_a64 opens; /* handles opened */
	struct evr_a64 blocked[2]; /* waits for room, for elements */
	struct evr_a64 parks[2]; /* of these, with a sleep */
	struct evr_a64 rings[2]; /* sleepers rung, by producers, by consumers */
	struct evr_a64 corrupt; /* handles that found a cell corrupt */
	struct evr_a64 resv[8];
};

/* A queue's object in the directory; two crowds and the cells follow. */
struct evr_mpmc_object {
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_mpmc_geometry geometry;
	/* who settles a claim of the dead; holes, and losses */
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 ledgers[2];
	uint8_t resv[EVR_LINE_SZ - 2 * sizeof(struct evr_a64)];
	/* anybody, now and then */
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_mpmc_tallies tallies;
};

EVR_STATIC_ASSERT(sizeof(struct evr_mpmc_object) == 3 * EVR_LINE_SZ, "part of the shared layout");

struct evr_crowd;

/* One end of a handle. */
struct evr_mpmc_end {
	uint64_t pos; /* all cells below it are claimed for this end */
	uint64_t grant; /* position of what is reserved or peeked at */
	struct evr_crowd *waiting; /* who wants this end's cells */
	struct evr_crowd_waker waker; /* of these */
	bool granted;
};

/* A member's handle, in the caller's own memory. The fields are not for callers. */
struct evr_mpmc {
	struct evr_mpmc_end ends[2]; /* by enum evr_role */
	uint8_t *cells;
	uint64_t mask;
	uint64_t stamp; /* who we are, in a claim */
	uint32_t shift; /* capacity = 1 << shift */
	uint32_t stride, data_off; /* bytes from cell to cell, and to its element; 0: in the word */
	uint32_t elem_sz;
	uint8_t why; /* enum evr_ring_state of the last call that moved less than wanted */
	struct evr_mpmc_object *shared; /* NULL: closed */
	struct evr_peer *peer;
	struct evr_object object;
};

/* A copy of the counts. Positions count modulo capacity * 2^29, holes and lost modulo 2^23. */
struct evr_mpmc_counts {
	uint64_t in, out; /* elements claimed for writing, and for reading, in all */
	uint64_t holes; /* of in: dropped, for their producer died, or gave them up */
	uint64_t lost; /* of out: their consumer died in them, or gave them up */
	uint64_t opens, blocked[2], parks[2], rings[2], corrupt; /* see struct evr_mpmc_tallies */
};

/*
 * evr_mpmc_create() - make a queue in the directory.
 * Return: 0; -EINVAL; and as evr_dir_create().
 */
EVR_API int evr_mpmc_create(struct evr_peer *peer, const char *name,
			    const struct evr_mpmc_options *options);

/*
 * evr_mpmc_open() - become able to push and pop. A peer may have many handles, one for
 * each thread; while it has one, nobody removes the queue.
 * @queue: filled in; valid until evr_mpmc_close() or the detach.
 * @type_tag: must be the queue's own, unless one of the two is 0.
 * Return: 0; -ENOENT; -EINVAL another kind or type; -EBADMSG the detail names the field;
 * -EROFS an observer; -EOPNOTSUPP a queue in another peer's region; -ENOMEM.
 */
EVR_API int evr_mpmc_open(struct evr_mpmc *queue, struct evr_peer *peer, const char *name,
			  uint64_t type_tag);

/* evr_mpmc_open(), and -EINVAL when elements are not of @elem_sz bytes; 0 = any. */
EVR_API int evr_mpmc_open_sized(struct evr_mpmc *queue, struct evr_peer *peer, const char *name,
				uint64_t type_tag, uint32_t elem_sz);

/*
 * evr_mpmc_close() - done with it. What is reserved becomes a hole, what is peeked at is
 * lost. Of a handle that is zero or closed: nothing.
 */
EVR_API void evr_mpmc_close(struct evr_mpmc *queue);

/*
 * evr_mpmc_push() - copy elements in.
 * Return: how many fitted, 0 .. @nr; why not more: evr_mpmc_state(), OK being full.
 * Those of one call stand in order; up to 255 at a time also side by side.
 */
EVR_API uint32_t evr_mpmc_push(struct evr_mpmc *queue, const void *elems, uint32_t nr);

/*
 * evr_mpmc_pop() - copy elements out.
 * Return: how many there were, 0 .. @nr; why not more: evr_mpmc_state(), OK being empty.
 */
EVR_API uint32_t evr_mpmc_pop(struct evr_mpmc *queue, void *elems, uint32_t nr);

/*
 * evr_mpmc_push_wait() - put elements in, waiting for room.
 * Return: how many went in, @nr unless the wait ended early; when none did: -EBADMSG;
 * -EPIPE the handle is closed; -ESHUTDOWN this peer has ended; -ETIMEDOUT; -EINTR.
 */
EVR_API int evr_mpmc_push_wait(struct evr_mpmc *queue, struct evr_waiter *waiter, const void *elems,
			       uint32_t nr, uint64_t deadline_ns);

/*
 * evr_mpmc_pop_wait() - take elements out, waiting for the first.
 * Return: how many, 1 .. @nr; errors as evr_mpmc_push_wait().
 *
 * One publication wakes as many sleepers as it has elements. One that is stopped
 * (SIGSTOP) after that leaves its element to whoever pops or is woken next.
 */
EVR_API int evr_mpmc_pop_wait(struct evr_mpmc *queue, struct evr_waiter *waiter, void *elems,
			      uint32_t nr, uint64_t deadline_ns);

/*
 * evr_mpmc_reserve() - an element to be written in place, until evr_mpmc_commit(); the
 * same one until then. Consumers find nothing beyond it meanwhile.
 * Return: where; NULL when full, see evr_mpmc_state(), and for elements of up to 4 bytes.
 */
EVR_API void *evr_mpmc_reserve(struct evr_mpmc *queue);
EVR_API void evr_mpmc_commit(struct evr_mpmc *queue);
/* Instead of evr_mpmc_commit(): it becomes a hole. */
EVR_API void evr_mpmc_cancel(struct evr_mpmc *queue);

/*
 * evr_mpmc_peek() - claim the oldest element and see it in place; it is this handle's
 * alone, and the same one until evr_mpmc_release(). If the caller dies meanwhile it is lost.
 * Return: where; NULL when empty, see evr_mpmc_state(), and for elements of up to 4 bytes.
 */
EVR_API const void *evr_mpmc_peek(struct evr_mpmc *queue);
EVR_API void evr_mpmc_release(struct evr_mpmc *queue);

/*
 * evr_mpmc_state() - why the last call moved less than wanted: OK full, or empty; BUSY
 * another member is at work on the cell that would be next; CORRUPT this handle is of no
 * use, close it; CLOSED it is; REVOKED.
 */
EVR_API enum evr_ring_state evr_mpmc_state(const struct evr_mpmc *queue);

/* evr_mpmc_capacity() - in elements. */
static inline uint32_t evr_mpmc_capacity(const struct evr_mpmc *queue)
{
	return 1U << queue->shift;
}

/* evr_mpmc_counts() - by any holder of a handle; some 40 loads. */
EVR_API void evr_mpmc_counts(const struct evr_mpmc *queue, struct evr_mpmc_counts *out);

/*
 * evr_mpmc_stat() - the same by name, for observers too.
 * Return: 0; -ENOENT; -EINVAL another kind; -EBADMSG.
 */
EVR_API int evr_mpmc_stat(struct evr_peer *peer, const char *name, struct evr_mpmc_counts *out);

/*
 * EVR_MPMC_DEFINE_TAGGED() - a queue of one type. An element may hold no pointer: it means
 * nothing in another process.
 * @name: prefix of the functions and the struct, NAME_push() and so on.
 * @type: complete, trivially copyable, aligned to at most 16.
 * @tag: uint64_t constant, not 0, that stands for this type and its version.
 */
#define EVR_MPMC_DEFINE_TAGGED(name, type, tag)                                                   \
	EVR_STATIC_ASSERT(sizeof(type) <= 1U << 20, "element too large for a queue");             \
	EVR_STATIC_ASSERT(EVR_MPMC_ALIGNOF(type) <= 16, "element aligned to more than 16");       \
	EVR_STATIC_ASSERT((tag) != 0, "tag 0 stands for any type");                               \
	struct name {                                                                             \
		struct evr_mpmc queue;                                                            \
	};                                                                                        \
	__attribute__((unused)) static inline int name##_create(                                  \
		struct evr_peer *peer, const char *object, uint32_t capacity)                     \
	{                                                                                         \
		struct evr_mpmc_options options;                                                  \
		options.struct_sz = sizeof(options);                                              \
		options.capacity = capacity;                                                      \
		options.elem_sz = (uint32_t)sizeof(type);                                         \
		options.type_tag = (tag);                                                         \
		return evr_mpmc_create(peer, object, &options);                                   \
	}                                                                                         \
	__attribute__((unused)) static inline int name##_open(                                    \
		struct name *q, struct evr_peer *peer, const char *object)                        \
	{                                                                                         \
		return evr_mpmc_open_sized(&q->queue, peer, object, (tag),                        \
					   (uint32_t)sizeof(type));                               \
	}                                                                                         \
	__attribute__((unused)) static inline void name##_close(struct name *q)                   \
	{                                                                                         \
		evr_mpmc_close(&q->queue);                                                        \
	}                                                                                         \
	__attribute__((unused)) static inline uint32_t name##_push(struct name *q, const type *v, \
								   uint32_t nr)                   \
	{                                                                                         \
		return evr_mpmc_push(&q->queue, v, nr);                                           \
	}                                                                                         \
	__attribute__((unused)) static inline uint32_t name##_pop(struct name *q, type *v,        \
								  uint32_t nr)                    \
	{                                                                                         \
		return evr_mpmc_pop(&q->queue, v, nr);                                            \
	}                                                                                         \
	__attribute__((unused)) static inline int name##_push_wait(                               \
		struct name *q, struct evr_waiter *w, const type *v, uint32_t nr, uint64_t until) \
	{                                                                                         \
		return evr_mpmc_push_wait(&q->queue, w, v, nr, until);                            \
	}                                                                                         \
	__attribute__((unused)) static inline int name##_pop_wait(                                \
		struct name *q, struct evr_waiter *w, type *v, uint32_t nr, uint64_t until)       \
	{                                                                                         \
		return evr_mpmc_pop_wait(&q->queue, w, v, nr, until);                             \
	}                                                                                         \
	__attribute__((unused)) static inline type *name##_reserve(struct name *q)                \
	{                                                                                         \
		return (type *)evr_mpmc_reserve(&q->queue);                                       \
	}                                                                                         \
	__attribute__((unused)) static inline void name##_commit(struct name *q)                  \
	{                                                                                         \
		evr_mpmc_commit(&q->queue);                                                       \
	}                                                                                         \
	__attribute__((unused)) static inline const type *name##_peek(struct name *q)             \
	{                                                                                         \
		return (const type *)evr_mpmc_peek(&q->queue);                                    \
	}                                                                                         \
	__attribute__((unused)) static inline void name##_release(struct name *q)                 \
	{                                                                                         \
		evr_mpmc_release(&q->queue);                                                      \
	}

/* EVR_MPMC_DEFINE() - the same with a tag that tells types apart by size and alignment only. */
#define EVR_MPMC_DEFINE(name, type)        \
	EVR_MPMC_DEFINE_TAGGED(name, type, \
			       1ULL << 63 | (uint64_t)EVR_MPMC_ALIGNOF(type) << 32 | sizeof(type))

#ifdef __cplusplus
#define EVR_MPMC_ALIGNOF(type) alignof(type)
#else
#define EVR_MPMC_ALIGNOF(type) _Alignof(type)
#endif

#ifdef __cplusplus
}
#endif

#endif
