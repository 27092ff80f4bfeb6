/* SPDX-License-Identifier: MIT */
/*
 * A ring of elements of one fixed size: one producer, one consumer.
 *
 * model      see lane.h; an element is copied in and out, or written and read in
 *            place by reserve/commit and peek/release.
 * calls      a handle belongs to one thread at a time; both ends run together.
 * edges      LANE-DATA
 * progress   all calls but the _wait forms are wait-free and make no system call,
 *            save one bell for a sleeper.
 * limits     capacity: a power of two up to 2^31 elements of 1 byte to 1 GiB.
 *
 * One batch is one publication: an element costs least when many go together.
 * What a producer has not published when it dies never existed; what a consumer
 * has not released when it dies is delivered again to the next one.
 */
#ifndef EVERING_SPSC_H
#define EVERING_SPSC_H

#include <evering/lane.h>

#ifdef __cplusplus
extern "C" {
#endif

struct evr_spsc_options {
	size_t struct_sz; /* sizeof(struct evr_spsc_options) */
	uint32_t capacity; /* elements, a power of two; 0 = 1024 */
	uint32_t elem_sz; /* bytes; 0 = 8 */
	uint64_t type_tag; /* what an element is, checked at open; 0 = anything */
};

/* One end, in the caller's own memory. The fields are not for callers. */
struct evr_spsc {
	struct evr_lane lane;
	uint64_t mask;
	uint32_t elem_sz;
	uint32_t grant_nr; /* elements reserved or peeked at */
};

/*
 * evr_spsc_create() - make a ring in the directory; nobody holds a role of it yet.
 * Return: 0; -EINVAL; and as evr_dir_create().
 */
EVR_API int evr_spsc_create(struct evr_peer *peer, const char *name,
			    const struct evr_spsc_options *options);

/*
 * evr_spsc_open() - take a role of a ring.
 * @ring: filled in; valid until evr_spsc_close() or the detach.
 * @type_tag: must be the ring's own, unless one of the two is 0.
 * A peer that died in the role must have been reaped; its successor goes on where
 * it stopped.
 * Return: 0; -ENOENT; -EBUSY a peer has the role; -EINVAL another kind or type;
 * -EBADMSG the detail names the field; -EROFS an observer.
 */
EVR_API int evr_spsc_open(struct evr_spsc *ring, struct evr_peer *peer, const char *name,
			  enum evr_role role, uint64_t type_tag);

/*
 * evr_spsc_close() - give the role back. The other side learns it once it has
 * taken all that was published. Of a handle that is zero or closed: nothing.
 */
EVR_API void evr_spsc_close(struct evr_spsc *ring);

/*
 * evr_spsc_push_wait() - put elements in, waiting for room.
 * Return: how many went in, @nr unless the wait ended early; when none did:
 * -EPIPE the consumer closed; -EOWNERDEAD it died; -EBADMSG its words are corrupt;
 * -ESHUTDOWN this peer has ended; -ETIMEDOUT; -EINTR.
 */
EVR_API int evr_spsc_push_wait(struct evr_spsc *ring, struct evr_waiter *waiter, const void *elems,
			       uint32_t nr, uint64_t deadline_ns);

/*
 * evr_spsc_pop_wait() - take elements out, waiting for the first.
 * Return: how many, 1 .. @nr; as evr_spsc_push_wait(), once all that was published
 * has been taken.
 */
EVR_API int evr_spsc_pop_wait(struct evr_spsc *ring, struct evr_waiter *waiter, void *elems,
			      uint32_t nr, uint64_t deadline_ns);

/* evr_spsc_state() - why there is nothing to pop, or no room to push. */
static inline enum evr_ring_state evr_spsc_state(struct evr_spsc *ring)
{
	return evr_lane_state(&ring->lane);
}

/* evr_spsc_other() - who holds the other role; slot EVR_SLOT_ANY when nobody does. */
static inline struct evr_peer_id evr_spsc_other(const struct evr_spsc *ring)
{
	return evr_lane_other(&ring->lane);
}

/*
 * evr_spsc_forget() - after -EPIPE or -EOWNERDEAD be ready for the next holder of the
 * other role: until there is one the state is NO_PEER, and the _wait forms wait.
 */
static inline void evr_spsc_forget(struct evr_spsc *ring)
{
	evr_lane_forget(&ring->lane);
	if (ring->lane.far && !ring->lane.met)
		ring->grant_nr = 0;
}

/*
 * evr_spsc_expect() - in an isolated segment, right after the open: take only this peer
 * as the other side. There anybody can have a ring of this name.
 */
static inline void evr_spsc_expect(struct evr_spsc *ring, struct evr_peer_id other)
{
	evr_lane_expect(&ring->lane, other);
}

/* evr_spsc_need() - for evr_waiter_wait(): the other side's publications wake it. */
static inline struct evr_need *evr_spsc_need(struct evr_spsc *ring)
{
	return &ring->lane.mine->need;
}

/* evr_spsc_capacity() - in elements. */
static inline uint32_t evr_spsc_capacity(const struct evr_spsc *ring)
{
	return (uint32_t)ring->lane.span;
}

/* evr_spsc_avail() - elements that can be popped, or pushed, now; looks anew. */
static inline uint32_t evr_spsc_avail(struct evr_spsc *ring)
{
	return (uint32_t)evr_lane_refresh(&ring->lane);
}

/* evr_spsc_counts() - of one role, by any holder of a handle. */
static inline void evr_spsc_counts(const struct evr_spsc *ring, enum evr_role role,
				   struct evr_ring_counts *out)
{
	evr_lane_counts(&ring->lane, role, out);
}

/* Not for callers: where the element of a position lies. */
static inline void *evr_spsc_slot(const struct evr_spsc *ring, uint64_t pos, uint32_t elem_sz)
{
	return ring->lane.data + (pos & ring->mask) * elem_sz;
}

/* How many of @nr there is room for, or which are there; looks anew only when it must. */
static inline uint32_t evr_spsc_clip(struct evr_spsc *ring, uint32_t nr)
{
	uint64_t avail = evr_lane_avail(&ring->lane);

	if (__builtin_expect(avail < nr, 0)) {
		avail = evr_lane_refresh(&ring->lane);
		if (avail < nr)
			return (uint32_t)avail;
	}
	return nr;
}

/* With the size a constant at compile time a copy is a few moves. */
static inline uint32_t evr_spsc_push_sized(struct evr_spsc *ring, const void *elems, uint32_t nr,
					   uint32_t elem_sz)
{
	uint64_t pos = ring->lane.pos;
	uint64_t first;

	nr = evr_spsc_clip(ring, nr);
	if (__builtin_expect(!nr, 0))
		return 0;
	first = ring->mask + 1 - (pos & ring->mask);
	if (__builtin_expect(first >= nr, 1)) {
		evr_copy_in(evr_spsc_slot(ring, pos, elem_sz), elems, (size_t)nr * elem_sz);
	} else {
		evr_copy_in(evr_spsc_slot(ring, pos, elem_sz), elems, first * elem_sz);
		evr_copy_in(ring->lane.data, (const uint8_t *)elems + first * elem_sz,
			    (nr - first) * elem_sz);
	}
	ring->lane.pos = pos + nr;
	evr_lane_publish(&ring->lane);
	return nr;
}

/* evr_spsc_pop() with the size of an element as a constant: a copy without a call. */
static inline uint32_t evr_spsc_pop_sized(struct evr_spsc *ring, void *elems, uint32_t nr,
					  uint32_t elem_sz)
{
	uint64_t pos, first;

	nr = evr_spsc_clip(ring, nr);
	if (__builtin_expect(!nr, 0))
		return 0;
	pos = ring->lane.pos; /* the look may have met the producer, and moved it */
	first = ring->mask + 1 - (pos & ring->mask);
	if (__builtin_expect(first >= nr, 1)) {
		evr_copy_out(elems, evr_spsc_slot(ring, pos, elem_sz), (size_t)nr * elem_sz);
	} else {
		evr_copy_out(elems, evr_spsc_slot(ring, pos, elem_sz), first * elem_sz);
		evr_copy_out((uint8_t *)elems + first * elem_sz, ring->lane.data,
			     (nr - first) * elem_sz);
	}
	if (__builtin_expect(ring->lane.far, 0) && !evr_lane_vouch(&ring->lane))
		return 0;
	ring->lane.pos = pos + nr;
	evr_lane_publish(&ring->lane);
	return nr;
}

/*
 * evr_spsc_push() - copy elements in and publish them.
 * Return: how many fitted, 0 .. @nr; why not more: evr_spsc_state(), OK being full.
 */
static inline uint32_t evr_spsc_push(struct evr_spsc *ring, const void *elems, uint32_t nr)
{
	if (ring->elem_sz == 8) {
		if (nr == 1)
			return evr_spsc_push_sized(ring, elems, 1, 8);
		return evr_spsc_push_sized(ring, elems, nr, 8);
	}
	return evr_spsc_push_sized(ring, elems, nr, ring->elem_sz);
}

/*
 * evr_spsc_pop() - copy elements out and free their slots.
 * Return: how many there were, 0 .. @nr; why not more: evr_spsc_state(), OK being empty.
 */
static inline uint32_t evr_spsc_pop(struct evr_spsc *ring, void *elems, uint32_t nr)
{
	if (ring->elem_sz == 8) {
		if (nr == 1)
			return evr_spsc_pop_sized(ring, elems, 1, 8);
		return evr_spsc_pop_sized(ring, elems, nr, 8);
	}
	return evr_spsc_pop_sized(ring, elems, nr, ring->elem_sz);
}

/* A grant: up to @nr elements, as far as they lie side by side. */
static inline void *evr_spsc_grant(struct evr_spsc *ring, uint32_t *nr)
{
	uint32_t granted = evr_spsc_clip(ring, *nr);
	uint64_t pos = ring->lane.pos; /* the look may have met the producer, and moved it */
	uint64_t first = ring->mask + 1 - (pos & ring->mask);

	ring->grant_nr = granted < first ? granted : (uint32_t)first;
	*nr = ring->grant_nr;
	return ring->grant_nr ? evr_spsc_slot(ring, pos, ring->elem_sz) : NULL;
}

/* Publish, or release, so many of what was granted. Return: how many it were. */
static inline uint32_t evr_spsc_settle(struct evr_spsc *ring, uint32_t nr)
{
	uint64_t avail = evr_lane_avail(&ring->lane);

	if (nr > ring->grant_nr)
		nr = ring->grant_nr;
	/* Less than was granted only when the other side was found corrupt or gone since. */
	if (nr > avail)
		nr = (uint32_t)avail;
	ring->grant_nr = 0;
	if (!nr || (ring->lane.far && !evr_lane_vouch(&ring->lane)))
		return 0;
	ring->lane.pos += nr;
	evr_lane_publish(&ring->lane);
	return nr;
}

/*
 * evr_spsc_reserve() - room for elements, to be written in place.
 * @nr: in: wanted; out: granted, fewer at the end of the memory or when nearly full.
 * Return: where; NULL when there is no room. A grant that is never committed, also
 * by death, never existed. A new reserve replaces it; a push must not come between.
 */
static inline void *evr_spsc_reserve(struct evr_spsc *ring, uint32_t *nr)
{
	return evr_spsc_grant(ring, nr);
}

/* evr_spsc_commit() - publish the first @nr elements of the grant; what exceeds it is ignored. */
static inline void evr_spsc_commit(struct evr_spsc *ring, uint32_t nr)
{
	evr_spsc_settle(ring, nr);
}

/*
 * evr_spsc_peek() - the oldest elements, in place.
 * @nr: in: wanted; out: how many lie there.
 * Return: where; NULL when empty. The producer of a shared segment can still change
 * them: copy what is to be checked before it is used.
 */
static inline const void *evr_spsc_peek(struct evr_spsc *ring, uint32_t *nr)
{
	return evr_spsc_grant(ring, nr);
}

/*
 * evr_spsc_release() - give the first @nr of the elements peeked at back to the producer.
 * Return: how many; fewer when the other side was found corrupt since, or died and, in
 * an isolated segment, its memory serves another peer by now: then what was read there
 * may be anything.
 */
static inline uint32_t evr_spsc_release(struct evr_spsc *ring, uint32_t nr)
{
	return evr_spsc_settle(ring, nr);
}

/*
 * EVR_SPSC_DEFINE_TAGGED() - a ring of one type. An element may hold no pointer: it means
 * nothing in another process.
 * @name: prefix of the functions and the struct, NAME_push() and so on.
 * @type: complete, trivially copyable, aligned to at most 128.
 * @tag: uint64_t constant, not 0, that stands for this type and its version.
 */
#define EVR_SPSC_DEFINE_TAGGED(name, type, tag)                                                    \
	EVR_STATIC_ASSERT(sizeof(type) <= 1U << 30, "element too large for a ring");               \
	EVR_STATIC_ASSERT(EVR_SPSC_ALIGNOF(type) <= EVR_LINE_SZ,                                   \
			  "element aligned to more than 128");                                     \
	EVR_STATIC_ASSERT(EVR_LINE_SZ % EVR_SPSC_ALIGNOF(type) == 0, "element alignment");         \
	EVR_STATIC_ASSERT((tag) != 0, "tag 0 stands for any type");                                \
	struct name {                                                                              \
		struct evr_spsc ring;                                                              \
	};                                                                                         \
	__attribute__((unused)) static inline int name##_create(                                   \
		struct evr_peer *peer, const char *object, uint32_t capacity)                      \
	{                                                                                          \
		struct evr_spsc_options options;                                                   \
		options.struct_sz = sizeof(options);                                               \
		options.capacity = capacity;                                                       \
		options.elem_sz = (uint32_t)sizeof(type);                                          \
		options.type_tag = (tag);                                                          \
		return evr_spsc_create(peer, object, &options);                                    \
	}                                                                                          \
	__attribute__((unused)) static inline int name##_open(                                     \
		struct name *r, struct evr_peer *peer, const char *object, enum evr_role role)     \
	{                                                                                          \
		return evr_spsc_open_sized(&r->ring, peer, object, role, (tag),                    \
					   (uint32_t)sizeof(type));                                \
	}                                                                                          \
	__attribute__((unused)) static inline void name##_close(struct name *r)                    \
	{                                                                                          \
		evr_spsc_close(&r->ring);                                                          \
	}                                                                                          \
	__attribute__((unused)) static inline uint32_t name##_push(struct name *r, const type *v,  \
								   uint32_t nr)                    \
	{                                                                                          \
		return evr_spsc_push_sized(&r->ring, v, nr, (uint32_t)sizeof(type));               \
	}                                                                                          \
	__attribute__((unused)) static inline uint32_t name##_pop(struct name *r, type *v,         \
								  uint32_t nr)                     \
	{                                                                                          \
		return evr_spsc_pop_sized(&r->ring, v, nr, (uint32_t)sizeof(type));                \
	}                                                                                          \
	__attribute__((unused)) static inline type *name##_reserve(struct name *r, uint32_t *nr)   \
	{                                                                                          \
		return (type *)evr_spsc_reserve(&r->ring, nr);                                     \
	}                                                                                          \
	__attribute__((unused)) static inline void name##_commit(struct name *r, uint32_t nr)      \
	{                                                                                          \
		evr_spsc_commit(&r->ring, nr);                                                     \
	}                                                                                          \
	__attribute__((unused)) static inline const type *name##_peek(struct name *r,              \
								      uint32_t *nr)                \
	{                                                                                          \
		return (const type *)evr_spsc_peek(&r->ring, nr);                                  \
	}                                                                                          \
	__attribute__((unused)) static inline uint32_t name##_release(struct name *r, uint32_t nr) \
	{                                                                                          \
		return evr_spsc_release(&r->ring, nr);                                             \
	}                                                                                          \
	__attribute__((unused)) static inline int name##_push_wait(                                \
		struct name *r, struct evr_waiter *w, const type *v, uint32_t nr, uint64_t until)  \
	{                                                                                          \
		return evr_spsc_push_wait(&r->ring, w, v, nr, until);                              \
	}                                                                                          \
	__attribute__((unused)) static inline int name##_pop_wait(                                 \
		struct name *r, struct evr_waiter *w, type *v, uint32_t nr, uint64_t until)        \
	{                                                                                          \
		return evr_spsc_pop_wait(&r->ring, w, v, nr, until);                               \
	}

/* EVR_SPSC_DEFINE() - the same with a tag that tells types apart by size and alignment only. */
#define EVR_SPSC_DEFINE(name, type)        \
	EVR_SPSC_DEFINE_TAGGED(name, type, \
			       1ULL << 63 | (uint64_t)EVR_SPSC_ALIGNOF(type) << 32 | sizeof(type))

#ifdef __cplusplus
#define EVR_SPSC_ALIGNOF(type) alignof(type)
#else
#define EVR_SPSC_ALIGNOF(type) _Alignof(type)
#endif

/* evr_spsc_open(), and -EINVAL when elements are not of @elem_sz bytes; 0 = any. */
EVR_API int evr_spsc_open_sized(struct evr_spsc *ring, struct evr_peer *peer, const char *name,
				enum evr_role role, uint64_t type_tag, uint32_t elem_sz);

#ifdef __cplusplus
}
#endif

#endif
