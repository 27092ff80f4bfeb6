/* SPDX-License-Identifier: MIT */
/*
 * A ring for low latency: one producer, one consumer, messages that lie in the slot
 * with the word that says that they are there.
 *
 * model      see lane.h; a slot is a multiple of 64 bytes, a message of up to 8 bytes less
 *            and a stamp.
 * calls      a handle belongs to one thread at a time; both ends run together.
 * edges      SLOT-STAMP: the producer writes a message, then its slot's stamp with
 *            release; the consumer loads the stamp of its next slot with acquire, then
 *            the message. LANE-DATA: in the other direction, as in every lane.
 * progress   all calls but the _wait forms are wait-free and make no system call,
 *            save one bell for a sleeper.
 * limits     capacity: a power of two up to 2^31; messages of 0 to 1 MiB less 8 bytes.
 *
 * How it differs from evr_spsc: there the consumer looks at the producer's position and
 * then at the data, two lines for each look; here only at the stamp, so that for one
 * message one line moves. The producer's position tells its successor alone how far it
 * may have come. The consumer tells how far it is every quarter of the ring, when it
 * finds nothing, or by evr_slots_flush(). Use it for requests and answers, evr_spsc for
 * throughput.
 *
 * What a producer has not stamped when it dies never existed. What a consumer has taken
 * and not told of when it dies is delivered again to the next one.
 */
#ifndef EVERING_SLOTS_H
#define EVERING_SLOTS_H

#include <evering/lane.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EVR_SLOTS_LINE 64
#define EVR_SLOTS_STAMP_SZ 8

struct evr_slots_options {
	size_t struct_sz; /* sizeof(struct evr_slots_options) */
	uint32_t capacity; /* messages, a power of two; 0 = 64 */
	uint32_t msg_max; /* bytes of the largest message; 0 = 56 */
	uint64_t type_tag; /* what a message is, checked at open; 0 = anything */
};

/* One end, in the caller's own memory. The fields are not for callers. */
struct evr_slots {
	struct evr_lane lane;
	uint64_t mask;
	uint64_t told; /* consumer: the position that the producer knows */
	uint32_t tell_nr; /* consumer: positions after which it is told */
	uint32_t slot_sz;
	uint32_t msg_max;
	uint32_t peeked_sz; /* of the message peeked at; valid when granted */
	bool granted; /* reserved, or peeked at */
};

/*
 * evr_slots_create() - make a ring in the directory; nobody holds a role of it yet.
 * Return: 0; -EINVAL; and as evr_dir_create().
 */
EVR_API int evr_slots_create(struct evr_peer *peer, const char *name,
			     const struct evr_slots_options *options);

/*
 * evr_slots_open() - take a role; as evr_spsc_open().
 * @type_tag: must be the ring's own, unless one of the two is 0.
 */
EVR_API int evr_slots_open(struct evr_slots *slots, struct evr_peer *peer, const char *name,
			   enum evr_role role, uint64_t type_tag);

/* evr_slots_open_sized(): and -EINVAL when messages of @msg_sz bytes do not fit. */
EVR_API int evr_slots_open_sized(struct evr_slots *slots, struct evr_peer *peer, const char *name,
				 enum evr_role role, uint64_t type_tag, uint32_t msg_sz);

/* evr_slots_close() - give the role back; as evr_spsc_close(). */
EVR_API void evr_slots_close(struct evr_slots *slots);

/*
 * evr_slots_push_wait() - one message, waiting for room.
 * Return: 0; -EMSGSIZE; -EPIPE the consumer closed; -EOWNERDEAD it died; -EBADMSG its
 * words are corrupt; -ESHUTDOWN this peer has ended; -ETIMEDOUT; -EINTR.
 */
EVR_API int evr_slots_push_wait(struct evr_slots *slots, struct evr_waiter *waiter, const void *msg,
				uint32_t sz, uint64_t deadline_ns);

/*
 * evr_slots_peek_wait() - the oldest message, in place, waiting for it.
 * @sz: out: its bytes.
 * Return: 0; as evr_slots_push_wait(), once all that was published has been taken.
 */
EVR_API int evr_slots_peek_wait(struct evr_slots *slots, struct evr_waiter *waiter,
				uint64_t deadline_ns, const void **out, uint32_t *sz);

/*
 * evr_slots_pop_wait() - copy a message out, waiting for it.
 * Return: its size; -EMSGSIZE it has more than @max bytes, and stays; or as
 * evr_slots_peek_wait().
 */
EVR_API int evr_slots_pop_wait(struct evr_slots *slots, struct evr_waiter *waiter, void *msg,
			       uint32_t max, uint64_t deadline_ns);

/* Not for callers: what is rare of evr_slots_peek(). */
EVR_API bool evr_lane_slots_look(struct evr_slots *slots);
EVR_API bool evr_lane_slots_accept(struct evr_slots *slots, uint64_t u_stamp);

/* Not for callers: the stamp of the slot of a position, in its last 8 bytes. */
static inline struct evr_a64 *evr_slots_stamp(const struct evr_slots *slots, uint64_t pos)
{
	return (struct evr_a64 *)(slots->lane.data + ((pos & slots->mask) + 1) * slots->slot_sz -
				  EVR_SLOTS_STAMP_SZ);
}

/* Not for callers: where the message of a position lies. */
static inline void *evr_slots_at(const struct evr_slots *slots, uint64_t pos)
{
	return slots->lane.data + (pos & slots->mask) * slots->slot_sz;
}

/* {size:32 | position + 1, its low half}: a slot's last stamp was a capacity less. */
static inline uint64_t evr_slots_stamp_of(uint64_t pos, uint32_t sz)
{
	return (uint64_t)sz << 32 | (uint32_t)(pos + 1);
}

/* evr_slots_capacity() - messages that fit. */
static inline uint32_t evr_slots_capacity(const struct evr_slots *slots)
{
	return (uint32_t)slots->lane.span;
}

/* evr_slots_msg_max() - bytes of the largest message. */
static inline uint32_t evr_slots_msg_max(const struct evr_slots *slots)
{
	return slots->msg_max;
}

/* evr_slots_state() - why there is no message, or no room; OK being empty, or full. */
static inline enum evr_ring_state evr_slots_state(struct evr_slots *slots)
{
	return evr_lane_state(&slots->lane);
}

/* evr_slots_other() - who holds the other role; slot EVR_SLOT_ANY when nobody does. */
static inline struct evr_peer_id evr_slots_other(const struct evr_slots *slots)
{
	return evr_lane_other(&slots->lane);
}

/* evr_slots_forget() - as evr_spsc_forget(). */
static inline void evr_slots_forget(struct evr_slots *slots)
{
	evr_lane_forget(&slots->lane);
	if (slots->lane.far && !slots->lane.met)
		slots->granted = false;
}

/* evr_slots_expect() - as evr_spsc_expect(). */
static inline void evr_slots_expect(struct evr_slots *slots, struct evr_peer_id other)
{
	evr_lane_expect(&slots->lane, other);
}

/* evr_slots_need() - for evr_waiter_wait(): the other side's publications wake it. */
static inline struct evr_need *evr_slots_need(struct evr_slots *slots)
{
	return &slots->lane.mine->need;
}

/* evr_slots_counts() - of one role, by any holder of a handle. */
static inline void evr_slots_counts(const struct evr_slots *slots, enum evr_role role,
				    struct evr_ring_counts *out)
{
	evr_lane_counts(&slots->lane, role, out);
}

/* Room for @nr messages, with a look at the consumer only when it must. */
static inline bool evr_slots_has_room(struct evr_slots *slots, uint64_t nr)
{
	return __builtin_expect(evr_lane_avail(&slots->lane) >= nr, 1) ||
	       evr_lane_refresh(&slots->lane) >= nr;
}

/* Of a producer: the next messages begin; who takes over looks how far the stamps go. */
static inline void evr_slots_begin(struct evr_slots *slots, uint64_t nr)
{
	/* Relaxed: before the stamps in the order of the program, and so after a crash. */
	evr_a64_store_relaxed(&slots->lane.mine->pos, slots->lane.pos + nr);
}

/* Of a producer: the next message is there, with its size; then it is the consumer's. */
static inline void evr_slots_stamp_next(struct evr_slots *slots, uint32_t sz)
{
	uint64_t pos = slots->lane.pos++;

	evr_a64_store_release(evr_slots_stamp(slots, pos), /* SLOT-STAMP */
			      evr_slots_stamp_of(pos, sz));
}

/*
 * evr_slots_reserve() - a slot, to be written in place: evr_slots_msg_max() bytes.
 * Return: where, aligned to 64; NULL when there is no room. Replaces a grant that was
 * not committed.
 */
static inline void *evr_slots_reserve(struct evr_slots *slots)
{
	slots->granted = evr_slots_has_room(slots, 1);
	return slots->granted ? evr_slots_at(slots, slots->lane.pos) : NULL;
}

/* evr_slots_commit() - publish the first @sz bytes of the slot. False: none is reserved, or it is smaller. */
static inline bool evr_slots_commit(struct evr_slots *slots, uint32_t sz)
{
	/* Without room only when the other side was found corrupt since. */
	if (!slots->granted || sz > slots->msg_max || !evr_lane_avail(&slots->lane))
		return false;
	slots->granted = false;
	evr_slots_begin(slots, 1);
	evr_slots_stamp_next(slots, sz);
	evr_lane_ring(&slots->lane);
	return true;
}

/*
 * evr_slots_push_batch() - copy messages of @sz bytes in, side by side at @msgs.
 * Return: how many fitted, 0 .. @nr. Each is there as soon as it is written.
 */
static inline uint32_t evr_slots_push_batch(struct evr_slots *slots, const void *msgs, uint32_t sz,
					    uint32_t nr)
{
	uint32_t i;

	if (sz > slots->msg_max)
		return 0;
	if (!evr_slots_has_room(slots, nr) && nr > evr_lane_avail(&slots->lane))
		nr = (uint32_t)evr_lane_avail(&slots->lane);
	if (!nr)
		return 0;
	slots->granted = false;
	evr_slots_begin(slots, nr);
	for (i = 0; i < nr; i++) {
		evr_copy_in(evr_slots_at(slots, slots->lane.pos),
			    (const uint8_t *)msgs + (size_t)i * sz, sz);
		evr_slots_stamp_next(slots, sz);
	}
	evr_lane_ring(&slots->lane);
	return nr;
}

/* evr_slots_push() - one message. False: no room, evr_slots_state(); or more than evr_slots_msg_max(). */
static inline bool evr_slots_push(struct evr_slots *slots, const void *msg, uint32_t sz)
{
	return evr_slots_push_batch(slots, msg, sz, 1);
}

/* evr_slots_flush() - tell the producer of all that was taken, now. */
static inline void evr_slots_flush(struct evr_slots *slots)
{
	if (slots->told == slots->lane.pos || !slots->lane.mine)
		return;
	slots->told = slots->lane.pos;
	evr_lane_publish(&slots->lane);
	/* The only look at the producer's position that a consumer takes; see evr_lane_calm(). */
	if (slots->lane.pos - slots->lane.calm_pos >= slots->lane.calm_step)
		evr_lane_refresh(&slots->lane);
}

/*
 * evr_slots_peek() - the oldest message, in place; the same one until it is released.
 * @sz: out: its bytes, may be 0.
 * Return: where, aligned to 64; NULL when there is none. The producer of a shared segment
 * can still change it: copy what is to be checked before it is used.
 */
static inline const void *evr_slots_peek(struct evr_slots *slots, uint32_t *sz)
{
	uint64_t u_stamp;

	if (!slots->granted) {
		/* A lane of two halves may know of none yet; a corrupt one gives nothing. */
		if (__builtin_expect(slots->lane.far || slots->lane.corrupt || !slots->lane.mine,
				     0) &&
		    !evr_lane_slots_look(slots))
			return NULL;
		u_stamp = evr_a64_load_acquire(/* SLOT-STAMP */
					       evr_slots_stamp(slots, slots->lane.pos));
		if ((uint32_t)u_stamp != (uint32_t)(slots->lane.pos + 1)) {
			evr_slots_flush(slots);
			return NULL;
		}
		if (__builtin_expect(u_stamp >> 32 > slots->msg_max || slots->lane.far, 0) &&
		    !evr_lane_slots_accept(slots, u_stamp))
			return NULL;
		slots->granted = true;
		slots->peeked_sz = (uint32_t)(u_stamp >> 32);
	}
	*sz = slots->peeked_sz;
	return evr_slots_at(slots, slots->lane.pos);
}

/* evr_slots_release() - be done with the message peeked at. False: as evr_bytes_release(). */
static inline bool evr_slots_release(struct evr_slots *slots)
{
	if (!slots->granted)
		return false;
	slots->granted = false;
	if (__builtin_expect(slots->lane.far, 0) && !evr_lane_vouch(&slots->lane))
		return false;
	slots->lane.pos++;
	if (slots->lane.pos - slots->told >= slots->tell_nr)
		evr_slots_flush(slots);
	return true;
}

/*
 * evr_slots_pop() - copy a message out.
 * @sz: out: its bytes; when that is more than @max the message stays.
 * Return: false when there is none, evr_slots_state(), then *@sz is 0; or it is too large.
 */
static inline bool evr_slots_pop(struct evr_slots *slots, void *msg, uint32_t max, uint32_t *sz)
{
	const void *from;

	*sz = 0;
	from = evr_slots_peek(slots, sz);
	if (!from || *sz > max)
		return false;
	evr_copy_out(msg, from, *sz);
	return evr_slots_release(slots);
}

/*
 * evr_slots_pop_batch() - copy messages of @sz bytes out, to lie side by side at @msgs.
 * Return: how many there were, 0 .. @nr; it ends before one of another size.
 */
static inline uint32_t evr_slots_pop_batch(struct evr_slots *slots, void *msgs, uint32_t sz,
					   uint32_t nr)
{
	uint32_t i, got;

	for (i = 0; i < nr; i++) {
		const void *from = evr_slots_peek(slots, &got);

		if (!from || got != sz)
			break;
		evr_copy_out((uint8_t *)msgs + (size_t)i * sz, from, sz);
		if (!evr_slots_release(slots))
			break;
	}
	return i;
}

/*
 * EVR_SLOTS_DEFINE_TAGGED() - a ring of messages of one type, as EVR_SPSC_DEFINE_TAGGED():
 * NAME_create(), _open(), _close(), _push(), _pop(), _push_wait(), _pop_wait().
 */
#define EVR_SLOTS_DEFINE_TAGGED(name, type, tag)                                                  \
	EVR_STATIC_ASSERT(sizeof(type) <= (1U << 20) - EVR_SLOTS_STAMP_SZ, "message too large");  \
	EVR_STATIC_ASSERT((tag) != 0, "tag 0 stands for any type");                               \
	struct name {                                                                             \
		struct evr_slots slots;                                                           \
	};                                                                                        \
	__attribute__((unused)) static inline int name##_create(                                  \
		struct evr_peer *peer, const char *object, uint32_t capacity)                     \
	{                                                                                         \
		struct evr_slots_options options;                                                 \
		options.struct_sz = sizeof(options);                                              \
		options.capacity = capacity;                                                      \
		options.msg_max = (uint32_t)sizeof(type);                                         \
		options.type_tag = (tag);                                                         \
		return evr_slots_create(peer, object, &options);                                  \
	}                                                                                         \
	__attribute__((unused)) static inline int name##_open(                                    \
		struct name *r, struct evr_peer *peer, const char *object, enum evr_role role)    \
	{                                                                                         \
		return evr_slots_open_sized(&r->slots, peer, object, role, (tag),                 \
					    (uint32_t)sizeof(type));                              \
	}                                                                                         \
	__attribute__((unused)) static inline void name##_close(struct name *r)                   \
	{                                                                                         \
		evr_slots_close(&r->slots);                                                       \
	}                                                                                         \
	__attribute__((unused)) static inline uint32_t name##_push(struct name *r, const type *v, \
								   uint32_t nr)                   \
	{                                                                                         \
		return evr_slots_push_batch(&r->slots, v, (uint32_t)sizeof(type), nr);            \
	}                                                                                         \
	__attribute__((unused)) static inline uint32_t name##_pop(struct name *r, type *v,        \
								  uint32_t nr)                    \
	{                                                                                         \
		return evr_slots_pop_batch(&r->slots, v, (uint32_t)sizeof(type), nr);             \
	}                                                                                         \
	__attribute__((unused)) static inline int name##_push_wait(                               \
		struct name *r, struct evr_waiter *w, const type *v, uint64_t until)              \
	{                                                                                         \
		return evr_slots_push_wait(&r->slots, w, v, (uint32_t)sizeof(type), until);       \
	}                                                                                         \
	__attribute__((unused)) static inline int name##_pop_wait(                                \
		struct name *r, struct evr_waiter *w, type *v, uint64_t until)                    \
	{                                                                                         \
		return evr_slots_pop_wait(&r->slots, w, v, (uint32_t)sizeof(type), until);        \
	}

/* EVR_SLOTS_DEFINE() - the same with a tag that tells types apart by their size only. */
#define EVR_SLOTS_DEFINE(name, type) EVR_SLOTS_DEFINE_TAGGED(name, type, 1ULL << 62 | sizeof(type))

#ifdef __cplusplus
}
#endif

#endif
