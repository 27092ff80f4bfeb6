/* SPDX-License-Identifier: MIT */
/*
 * A broadcast: elements of one size from one writer to any number of readers, each of
 * which gets them all. Who is slow either loses the oldest, and knows exactly how many,
 * or holds the writer up: that depends on the reader.
 *
 * model      One writer (a role, as of a lane). Three ways to read:
 *            observer    reads and writes nothing at all, so it works over a mapping
 *                        that may only be read, also of another's region in an isolated
 *                        segment; it polls. Nobody knows of it.
 *            listener    EVR_CONSUMER of a lossy broadcast (no seats): the same, but it
 *                        sleeps, and keeps the object from being removed.
 *            subscriber  EVR_CONSUMER of a reliable broadcast: it has one of its seats,
 *                        and the writer waits for it, as long as it lives and is not
 *                        expelled. Expelled it is a listener that may lose.
 *            Any may die at any step. What a writer had not published never existed;
 *            its successor goes on behind what was published.
 * calls      one thread at a time on one struct evr_bcast; all handles together.
 * edges      LANE-DATA: positions after data. BCAST-WINDOW: the writer says what it will
 *            overwrite before it does, and a reader asks after it has copied: a seqlock
 *            for the whole ring. BCAST-SEAT: who takes a seat, against a writer that
 *            looks how far it may go. LANE-ROLE, PARK, Crowds, DIR-REMOVE.
 * progress   writer of a lossy broadcast: wait-free, but for the system call that wakes
 *            sleepers. Readers: wait-free; who is overtaken again and again while it
 *            copies gives up for now (EVR_RING_BUSY). A seat is taken wait-free.
 * limits     positions are 64 bits and run freely; up to 255 seats.
 *
 * With [base, pos) what can be read now: 0 <= pos - base <= capacity, and neither ever
 * goes back. Of each reader: next - first = delivered + lost. So, exact at any time:
 * accepted = delivered + lost + not read yet. A subscriber that is not expelled loses
 * nothing.
 *
 * In an isolated segment each writes its own region alone. A subscriber's position and need word
 * lie in its own (NAME.SLOT); the writer finds it there, believes of its position only what is
 * possible (never ahead of the writer, never behind what it was), and expels who says anything
 * else. In the writer's region it says by a word for each slot whom it waits for. So a peer that
 * is frozen or hostile holds the writer up no longer than its patience (evr_bcast_patience()), and takes
 * nothing from another subscriber; a hostile writer can lie to its readers alone.
 *
 * The ring with two positions, one ahead of the writing, is that of Aeron's broadcast
 * buffers; seats are like a Disruptor's gating sequences, held by owner words.
 */
#ifndef EVERING_BCAST_H
#define EVERING_BCAST_H

#include <evering/lane.h>

#ifdef __cplusplus
extern "C" {
#endif

struct evr_bcast_options {
	size_t struct_sz; /* sizeof(struct evr_bcast_options) */
	uint32_t capacity; /* elements, a power of two up to 2^31; 0 = 1024 */
	uint32_t elem_sz; /* bytes, up to 2^30; 0 = 8 */
	uint32_t seats; /* 0: lossy; else reliable for up to so many subscribers, at most 255 */
	uint64_t type_tag; /* what an element is; 0 = anything */
};

struct evr_crowd;
struct evr_bcast_seat;
struct evr_bcast_far;

/* One end, in the caller's own memory. The fields are not for callers. */
struct evr_bcast {
	struct evr_lane lane; /* the writer's role, or its side to be looked at */
	struct evr_crowd *readers; /* who sleeps for elements; NULL: nobody can, or may not */
	struct evr_crowd_waker waker;
	struct evr_bcast_seat *seats; /* all of them; NULL for an observer */
	struct evr_bcast_seat *seat; /* a subscriber's own */
	struct evr_a64 *
		verdicts; /* isolated and reliable: by slot, what the writer says of a subscriber */
	struct evr_bcast_far *far; /* its writer: whom it waits for; the library's memory */
	const struct evr_a64 *ctl; /* an observer: the object's, to see it removed, */
	struct evr_peer_id home; /* and, isolated, whose region it is in */
	uint64_t mask;
	uint64_t base; /* writer: the shared one, never read back */
	uint64_t patience_ns; /* writer: for a subscriber that does not move */
	uint64_t first, lost, lapses; /* reader; the position is the lane's */
	uint32_t elem_sz, seats_nr;
	uint32_t grant_nr;
	bool is_observer, is_member, is_seated, gone, busy;
};

/* What one handle has read; all of it private to it. */
struct evr_bcast_tally {
	uint64_t first, next; /* positions: where it began, and what comes next */
	uint64_t delivered, lost; /* next - first in all */
	uint64_t lapses; /* times that something was lost */
};

struct evr_bcast_counts {
	uint64_t pos; /* elements published in all */
	uint64_t base; /* position of the oldest one that is still whole */
	uint64_t spoiled; /* elements that gave way to a grant which has not been published (yet) */
	uint64_t opens; /* times there was a writer */
	uint64_t blocked, parks; /* its waits for subscribers, and of these with a sleep */
	uint64_t rings; /* sleeping readers that it has rung for */
	uint64_t expelled; /* subscribers that it has, also for */
	uint64_t corrupt; /* positions that were nonsense */
	uint64_t lag; /* elements that the slowest subscriber has not read yet */
	uint32_t seats, seated; /* there are, and are taken */
	struct evr_peer_id writer; /* slot EVR_SLOT_ANY when there is none */
	struct evr_peer_id slowest; /* the same */
};

/*
 * evr_bcast_create() - make one in the directory.
 * Return: 0; -EINVAL; and as evr_dir_create().
 */
EVR_API int evr_bcast_create(struct evr_peer *peer, const char *name,
			     const struct evr_bcast_options *options);

/* isolated: how long a subscriber may stand still in the way of one wait, ns; evr_bcast_patience() */
#define EVR_BCAST_PATIENCE_NS 1000000000ULL

/*
 * evr_bcast_open() - become the writer (EVR_PRODUCER), or a listener or subscriber
 * (EVR_CONSUMER), whichever the broadcast has.
 * @b: filled in; valid until evr_bcast_close() or the detach.
 * @type_tag: must be the broadcast's own, unless one of the two is 0.
 * A writer that died must have been reaped. A reader begins with what is published from
 * now on; see evr_bcast_rewind(). In an isolated segment a writer opens the broadcast in
 * its own region, and makes it there, after another's, when there is none.
 * Return: 0; -ENOENT; -EBUSY it has a writer; -EUSERS no seat is free; -EINVAL another
 * kind, role, type; -EBADMSG the detail names the field; -EROFS an observer: see
 * evr_bcast_observe(); -EOPNOTSUPP a consumer of a lossy one in an isolated segment: the same;
 * -EOVERFLOW; -ENOMEM; and as evr_bcast_subscribe().
 */
EVR_API int evr_bcast_open(struct evr_bcast *b, struct evr_peer *peer, const char *name,
			   enum evr_role role, uint64_t type_tag);

/* evr_bcast_open(), and -EINVAL when elements are not of @elem_sz bytes; 0 = any. */
EVR_API int evr_bcast_open_sized(struct evr_bcast *b, struct evr_peer *peer, const char *name,
				 enum evr_role role, uint64_t type_tag, uint32_t elem_sz);

/**
 * evr_bcast_subscribe() - evr_bcast_open_sized() as EVR_CONSUMER; in an isolated segment
 *	of this writer's broadcast
 * @writer: NULL: the first that is found. In a shared segment not looked at.
 * @type_tag, @elem_sz: as there
 *
 * In an isolated segment a peer has one subscription of each writer's broadcast, and its own
 * part of it is an object NAME.SLOT (of the writer's slot) in its region, made at the first
 * time and used again. The writer seats who comes at its next look; who finds no seat free then
 * is expelled. Until it has been seated a subscriber loses nothing either, and its waits look
 * again by themselves, as an observer's.
 *
 * Return: as evr_bcast_open(); -EBUSY isolated: another handle of this peer has the
 * subscription; -EINVAL an own object NAME.SLOT is something else; -ENOSPC the own region.
 */
EVR_API int evr_bcast_subscribe(struct evr_bcast *b, struct evr_peer *peer, const char *name,
				const struct evr_peer_id *writer, uint64_t type_tag,
				uint32_t elem_sz);

/*
 * evr_bcast_observe() - read without writing anything to the segment, whatever the rights.
 * @writer: isolated: whose; NULL: that of the first living peer, by slot, that has one of
 *	this name: anybody can. In a shared segment not looked at.
 * The object may be removed, or its region go to another peer, while one observes: then the
 * handle delivers no more, see evr_bcast_state().
 * Return: 0; -ENOENT; -EINVAL; -EBADMSG.
 */
EVR_API int evr_bcast_observe(struct evr_bcast *b, struct evr_peer *peer, const char *name,
			      const struct evr_peer_id *writer, uint64_t type_tag);

/* evr_bcast_observe(), and -EINVAL when elements are not of @elem_sz bytes; 0 = any. */
EVR_API int evr_bcast_observe_sized(struct evr_bcast *b, struct evr_peer *peer, const char *name,
				    const struct evr_peer_id *writer, uint64_t type_tag,
				    uint32_t elem_sz);

/* evr_bcast_close() - done with it. Readers learn of a writer's once they have read all. */
EVR_API void evr_bcast_close(struct evr_bcast *b);

/*
 * evr_bcast_push() - copy elements in and publish them. One check for sleepers a call.
 * Return: how many: @nr of a lossy broadcast; of a reliable one as many as the slowest
 * subscriber leaves room for, 0 .. @nr, and evr_bcast_state() is OK then.
 */
EVR_API uint32_t evr_bcast_push(struct evr_bcast *b, const void *elems, uint32_t nr);

/*
 * evr_bcast_push_wait() - put elements in, waiting for subscribers to make room.
 * Return: how many went in, @nr unless the wait ended early; when none did: -EPIPE the
 * handle is closed, or a reader's; -ESHUTDOWN this peer has ended; -ETIMEDOUT; -EINTR.
 */
EVR_API int evr_bcast_push_wait(struct evr_bcast *b, struct evr_waiter *waiter, const void *elems,
				uint32_t nr, uint64_t deadline_ns);

/*
 * evr_bcast_reserve() - room for elements, to be written in place.
 * @nr: in: wanted; out: granted, fewer at the end of the memory or of the room, which is
 *	a quarter of the capacity in a lossy broadcast.
 * Return: where; NULL when there is no room. The elements that were there are lost from
 * here on to who has not read them (counted in spoiled), whether or not new ones are
 * committed. A new reserve replaces a grant; a push must not come between.
 */
EVR_API void *evr_bcast_reserve(struct evr_bcast *b, uint32_t *nr);

/* evr_bcast_commit() - publish the first @nr elements of the grant; what exceeds it is ignored. */
EVR_API void evr_bcast_commit(struct evr_bcast *b, uint32_t nr);

/*
 * evr_bcast_patience() - policy for subscribers that live, but do not read.
 * @ns: one that was in the way of one evr_bcast_push_wait() for so long, and has read
 *	nothing, is expelled; EVR_NO_DEADLINE (so it is at first): never. Death needs none of
 *	this: the dead are not waited for. In an isolated segment it is EVR_BCAST_PATIENCE_NS at
 *	first, and a peer that was in the way only at the end of that time is remembered: it has
 *	one such time more, whatever subscriptions it has in turn, until it reads something.
 */
EVR_API void evr_bcast_patience(struct evr_bcast *b, uint64_t ns);

/*
 * evr_bcast_expel() - the writer waits for this peer's subscriptions no more.
 * Return: how many it had, 0 if none.
 */
EVR_API int evr_bcast_expel(struct evr_bcast *b, struct evr_peer_id subscriber);

/*
 * evr_bcast_pop() - copy elements out, in order.
 * Return: how many, 0 .. @nr. Those that were overwritten first are skipped and counted:
 * evr_bcast_tally(). 0: evr_bcast_state() says why, OK being that there is none.
 */
EVR_API uint32_t evr_bcast_pop(struct evr_bcast *b, void *elems, uint32_t nr);

/*
 * evr_bcast_pop_wait() - copy elements out, waiting for the first. An observer cannot ask
 * to be woken: it looks again every 50 us at first, every millisecond when it lasts.
 * Return: how many, 1 .. @nr; once all is read: -EPIPE the writer closed, or the broadcast
 * was removed; -EOWNERDEAD it died; -ENOBUFS expelled; -EBADMSG its words are corrupt;
 * -ESHUTDOWN this peer has ended; -ETIMEDOUT; -EINTR.
 */
EVR_API int evr_bcast_pop_wait(struct evr_bcast *b, struct evr_waiter *waiter, void *elems,
			       uint32_t nr, uint64_t deadline_ns);

/*
 * evr_bcast_peek() - the next elements, in place.
 * @nr: in: wanted; out: how many lie there side by side.
 * Return: where; NULL when there is none. What is read there is worth something only after
 * evr_bcast_release() has said so; a subscriber's are safe until then.
 */
EVR_API const void *evr_bcast_peek(struct evr_bcast *b, uint32_t *nr);

/*
 * evr_bcast_release() - be done with the first @nr of the elements peeked at.
 * Return: how many of them, the last ones, were whole all the time. Those before, if any,
 * were overwritten meanwhile: what was read of them may be anything, and they are lost.
 */
EVR_API uint32_t evr_bcast_release(struct evr_bcast *b, uint32_t nr);

/*
 * evr_bcast_rewind() - go back to the oldest element that is still there: for who came
 * late. Call it before the first element is taken.
 * Return: how many elements back; -EINVAL for a writer, a subscriber, or one that has begun.
 */
EVR_API int64_t evr_bcast_rewind(struct evr_bcast *b);

/*
 * evr_bcast_state() - why there is no element, or no room.
 * A writer: OK, REVOKED, CORRUPT, CLOSED. A reader: OK; NO_PEER there is no writer; CLOSED
 * it is done, or the broadcast was removed; PEER_DEAD; EXPELLED; REVOKED; CORRUPT; BUSY it
 * overwrote what was being copied, again and again.
 */
EVR_API enum evr_ring_state evr_bcast_state(struct evr_bcast *b);

/*
 * evr_bcast_forget() - a reader, after -EPIPE, -EOWNERDEAD or -ENOBUFS: wait for the next
 * writer; go on without the seat, as a listener.
 */
EVR_API void evr_bcast_forget(struct evr_bcast *b);

/* evr_bcast_tally() - what this handle has read, and missed. */
EVR_API void evr_bcast_tally(const struct evr_bcast *b, struct evr_bcast_tally *out);

/* evr_bcast_counts() - by any holder of a handle. */
EVR_API void evr_bcast_counts(const struct evr_bcast *b, struct evr_bcast_counts *out);

/* evr_bcast_stat() - the same by name, for observers too. 0; -ENOENT; -EINVAL; -EBADMSG. */
EVR_API int evr_bcast_stat(struct evr_peer *peer, const char *name, struct evr_bcast_counts *out);

/* evr_bcast_capacity() - elements: how far a reader may be behind and miss nothing. */
static inline uint32_t evr_bcast_capacity(const struct evr_bcast *b)
{
	return (uint32_t)b->lane.span;
}

/* evr_bcast_lost() - elements that this reader has missed so far. */
static inline uint64_t evr_bcast_lost(const struct evr_bcast *b)
{
	return b->lost;
}

/*
 * EVR_BCAST_DEFINE_TAGGED() - a broadcast of one type. An element may hold no pointer.
 * @name: prefix of the functions and the struct, NAME_push() and so on.
 * @type: complete, trivially copyable, aligned to at most 128.
 * @tag: uint64_t constant, not 0, that stands for this type and its version.
 */
#define EVR_BCAST_DEFINE_TAGGED(name, type, tag)                                                   \
	EVR_STATIC_ASSERT(sizeof(type) <= 1U << 30, "element too large for a broadcast");          \
	EVR_STATIC_ASSERT(EVR_LINE_SZ % EVR_BCAST_ALIGNOF(type) == 0, "element alignment");        \
	EVR_STATIC_ASSERT((tag) != 0, "tag 0 stands for any type");                                \
	struct name {                                                                              \
		struct evr_bcast b;                                                                \
	};                                                                                         \
	__attribute__((unused)) static inline int name##_create(                                   \
		struct evr_peer *peer, const char *object, uint32_t capacity, uint32_t seats)      \
	{                                                                                          \
		struct evr_bcast_options options;                                                  \
		options.struct_sz = sizeof(options);                                               \
		options.capacity = capacity;                                                       \
		options.elem_sz = (uint32_t)sizeof(type);                                          \
		options.seats = seats;                                                             \
		options.type_tag = (tag);                                                          \
		return evr_bcast_create(peer, object, &options);                                   \
	}                                                                                          \
	__attribute__((unused)) static inline int name##_open(                                     \
		struct name *b, struct evr_peer *peer, const char *object, enum evr_role role)     \
	{                                                                                          \
		return evr_bcast_open_sized(&b->b, peer, object, role, (tag),                      \
					    (uint32_t)sizeof(type));                               \
	}                                                                                          \
	__attribute__((unused)) static inline int name##_subscribe(                                \
		struct name *b, struct evr_peer *peer, const char *object,                         \
		const struct evr_peer_id *writer)                                                  \
	{                                                                                          \
		return evr_bcast_subscribe(&b->b, peer, object, writer, (tag),                     \
					   (uint32_t)sizeof(type));                                \
	}                                                                                          \
	__attribute__((unused)) static inline int name##_observe(struct name *b,                   \
								 struct evr_peer *peer,            \
								 const char *object,               \
								 const struct evr_peer_id *writer) \
	{                                                                                          \
		return evr_bcast_observe_sized(&b->b, peer, object, writer, (tag),                 \
					       (uint32_t)sizeof(type));                            \
	}                                                                                          \
	__attribute__((unused)) static inline void name##_close(struct name *b)                    \
	{                                                                                          \
		evr_bcast_close(&b->b);                                                            \
	}                                                                                          \
	__attribute__((unused)) static inline uint32_t name##_push(struct name *b, const type *v,  \
								   uint32_t nr)                    \
	{                                                                                          \
		return evr_bcast_push(&b->b, v, nr);                                               \
	}                                                                                          \
	__attribute__((unused)) static inline int name##_push_wait(                                \
		struct name *b, struct evr_waiter *w, const type *v, uint32_t nr, uint64_t until)  \
	{                                                                                          \
		return evr_bcast_push_wait(&b->b, w, v, nr, until);                                \
	}                                                                                          \
	__attribute__((unused)) static inline type *name##_reserve(struct name *b, uint32_t *nr)   \
	{                                                                                          \
		return (type *)evr_bcast_reserve(&b->b, nr);                                       \
	}                                                                                          \
	__attribute__((unused)) static inline void name##_commit(struct name *b, uint32_t nr)      \
	{                                                                                          \
		evr_bcast_commit(&b->b, nr);                                                       \
	}                                                                                          \
	__attribute__((unused)) static inline uint32_t name##_pop(struct name *b, type *v,         \
								  uint32_t nr)                     \
	{                                                                                          \
		return evr_bcast_pop(&b->b, v, nr);                                                \
	}                                                                                          \
	__attribute__((unused)) static inline int name##_pop_wait(                                 \
		struct name *b, struct evr_waiter *w, type *v, uint32_t nr, uint64_t until)        \
	{                                                                                          \
		return evr_bcast_pop_wait(&b->b, w, v, nr, until);                                 \
	}                                                                                          \
	__attribute__((unused)) static inline const type *name##_peek(struct name *b,              \
								      uint32_t *nr)                \
	{                                                                                          \
		return (const type *)evr_bcast_peek(&b->b, nr);                                    \
	}                                                                                          \
	__attribute__((unused)) static inline uint32_t name##_release(struct name *b, uint32_t nr) \
	{                                                                                          \
		return evr_bcast_release(&b->b, nr);                                               \
	}

/* EVR_BCAST_DEFINE() - the same with a tag that tells types apart by size and alignment only. */
#define EVR_BCAST_DEFINE(name, type) \
	EVR_BCAST_DEFINE_TAGGED(     \
		name, type, 1ULL << 63 | (uint64_t)EVR_BCAST_ALIGNOF(type) << 32 | sizeof(type))

#ifdef __cplusplus
#define EVR_BCAST_ALIGNOF(type) alignof(type)
#else
#define EVR_BCAST_ALIGNOF(type) _Alignof(type)
#endif

#ifdef __cplusplus
}
#endif

#endif
