/* SPDX-License-Identifier: MIT */
/*
 * An inbox: many senders, one receiver, messages of one size.
 *
 * model      each sender has a lane of its own to the receiver, an evr_spsc ring named
 *            after the inbox and the sender's slot; so a sender that dies, floods or lies
 *            affects its lane only. Sender and receiver may die at any step, and others
 *            may take over from them.
 * calls      a handle belongs to one thread at a time; all run together. One sender
 *            handle for each peer.
 * edges      LANE-DATA of each lane. The ready words order nothing: see below.
 * progress   all calls but the _wait forms, join and open are wait-free and make no
 *            system call, save one bell for a sleeper.
 * limits     as many senders as the segment has slots; names of 1 to 35 bytes.
 *
 * Messages of one sender keep their order; between senders there is none. The receiver
 * goes round, and takes at most a quota from each before it goes on to the next.
 *
 * In a shared segment a sender says in a bit that its lane has something, so that a busy
 * receiver goes to those alone. The bit is a hint: it may come late or not at all, when its
 * sender was stopped or died, and therefore a receiver that finds none looks at each lane
 * before it says that there is nothing, and now and then when it is never without. In an
 * isolated segment no word can be written by both, and it looks at all after each quota.
 */
#ifndef EVERING_INBOX_H
#define EVERING_INBOX_H

#include <evering/spsc.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EVR_INBOX_WORDS (EVR_PEERS_MAX / 64)

struct evr_inbox_options {
	size_t struct_sz; /* sizeof(struct evr_inbox_options) */
	uint32_t capacity; /* messages of each lane, a power of two; 0 = 64 */
	uint32_t elem_sz; /* bytes of a message; 0 = 8 */
	uint64_t type_tag; /* what a message is, checked at open and join; 0 = anything */
};

/* The data of the inbox' object: bits of slots whose lane has something, each word alone. */
struct evr_inbox_ready {
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 word;
	uint8_t resv[EVR_LINE_SZ - sizeof(struct evr_a64)];
};

struct evr_inbox_lane;

/* The receiver's end, in its own memory. The fields are not for callers. */
struct evr_inbox {
	struct evr_lane control; /* the role of receiver, and the need word for who joins */
	struct evr_inbox_ready *ready; /* NULL in an isolated segment */
	struct evr_inbox_lane *lanes; /* by slot; the library's memory */
	struct evr_need **needs;
	uint64_t open[EVR_INBOX_WORDS]; /* lanes that we hold */
	uint64_t pending[EVR_INBOX_WORDS]; /* of these, to be looked at before the others */
	uint64_t generation, turns; /* when we last looked for senders */
	uint32_t slots;
	uint32_t current; /* lane of the messages peeked at, and where the round is */
	uint32_t quota;
	uint32_t taken; /* from the current lane in this turn */
	uint32_t visited; /* lanes before it were looked at closely, also without a message */
	uint32_t changes; /* lanes opened and dropped */
	uint32_t looks;
	bool granted;
};

/* A sender's end, in its own memory. */
struct evr_inbox_sender {
	struct evr_spsc ring;
	struct evr_object object; /* the inbox */
	struct evr_a64 *ready; /* NULL in an isolated segment */
	uint64_t bit;
};

/*
 * evr_inbox_create() - make an inbox in the directory; in an isolated segment its receiver
 * must do it.
 * Return: 0; -EINVAL; and as evr_dir_create().
 */
EVR_API int evr_inbox_create(struct evr_peer *peer, const char *name,
			     const struct evr_inbox_options *options);

/*
 * evr_inbox_remove() - take an inbox and its lanes away.
 * Return: 0; -EBUSY somebody receives or sends; -ENOENT; as evr_dir_remove().
 */
EVR_API int evr_inbox_remove(struct evr_peer *peer, const char *name);

/*
 * evr_inbox_open() - become the receiver. What a former one has not released is delivered
 * again.
 * Return: 0; -ENOMEM; as evr_spsc_open().
 */
EVR_API int evr_inbox_open(struct evr_inbox *box, struct evr_peer *peer, const char *name,
			   uint64_t type_tag);
/*
 * evr_inbox_open_sized(): and -EINVAL when messages are not of @elem_sz bytes; 0 = any. For
 * who pops into memory of its own: how large a message is, the inbox' maker has said.
 */
EVR_API int evr_inbox_open_sized(struct evr_inbox *box, struct evr_peer *peer, const char *name,
				 uint64_t type_tag, uint32_t elem_sz);
EVR_API void evr_inbox_close(struct evr_inbox *box);

/* evr_inbox_quota() - messages that one sender may have taken in a row; 0 = a capacity (default). */
EVR_API void evr_inbox_quota(struct evr_inbox *box, uint32_t nr);

/*
 * evr_inbox_peek() - the oldest messages of the sender whose turn it is, in place.
 * @nr: in: wanted; out: how many lie there.
 * @from: out, unless NULL: who sent them; incarnation 0: one that had the slot before
 *	its present holder, and that this receiver has not met, or cannot tell from one that it has.
 * Return: where; NULL when no lane has any. Copy what is to be checked before it is used.
 */
EVR_API const void *evr_inbox_peek(struct evr_inbox *box, uint32_t *nr, struct evr_peer_id *from);

/* evr_inbox_release() - give the first @nr of these back. Return: as evr_spsc_release(). */
EVR_API uint32_t evr_inbox_release(struct evr_inbox *box, uint32_t nr);

/*
 * evr_inbox_pop() - copy messages of one sender out.
 * Return: how many, 0 .. @nr; 0: no lane has any.
 */
EVR_API uint32_t evr_inbox_pop(struct evr_inbox *box, void *elems, uint32_t nr,
			       struct evr_peer_id *from);

/*
 * evr_inbox_pop_wait() - the same, waiting for any sender; one sleep for all.
 * Return: how many, 1 .. @nr; -ESHUTDOWN this peer has ended; -ETIMEDOUT; -EINTR;
 * -EPIPE the handle is closed. A sender's end is no reason to end.
 */
EVR_API int evr_inbox_pop_wait(struct evr_inbox *box, struct evr_waiter *waiter, void *elems,
			       uint32_t nr, struct evr_peer_id *from, uint64_t deadline_ns);

/* evr_inbox_senders() - living peers that hold a lane now. */
EVR_API uint32_t evr_inbox_senders(struct evr_inbox *box);

/* evr_inbox_state() - of the lane of one slot; NO_PEER when there is none. CORRUPT: it is no longer looked at. */
EVR_API enum evr_ring_state evr_inbox_state(struct evr_inbox *box, uint32_t slot);

/* evr_inbox_counts() - of one slot's lane; zeros when there is none. */
EVR_API void evr_inbox_counts(struct evr_inbox *box, uint32_t slot, enum evr_role role,
			      struct evr_ring_counts *out);

/*
 * evr_inbox_join() - become a sender.
 * Return: 0; -ENOENT no such inbox; -EBUSY this peer is a sender of it; as
 * evr_spsc_create() and evr_spsc_open().
 */
EVR_API int evr_inbox_join(struct evr_inbox_sender *sender, struct evr_peer *peer, const char *name,
			   uint64_t type_tag);
/*
 * evr_inbox_join_to() - the same, of the inbox of this receiver alone: in an isolated
 * segment any peer can have one of that name. NULL: the first that is found.
 */
EVR_API int evr_inbox_join_to(struct evr_inbox_sender *sender, struct evr_peer *peer,
			      const char *name, uint64_t type_tag,
			      const struct evr_peer_id *receiver);
/* evr_inbox_join_sized(): and -EINVAL when messages are not of @elem_sz bytes; 0 = any. */
EVR_API int evr_inbox_join_sized(struct evr_inbox_sender *sender, struct evr_peer *peer,
				 const char *name, uint64_t type_tag, uint32_t elem_sz);
/* evr_inbox_leave() - what was sent is still delivered (in an isolated segment until the detach). */
EVR_API void evr_inbox_leave(struct evr_inbox_sender *sender);

/* Not for callers: say that the lane has something. */
static inline void evr_inbox_hint(struct evr_inbox_sender *sender)
{
	/* Relaxed: a hint; who finds none looks at the lane. */
	if (sender->ready && !(evr_a64_load_relaxed(sender->ready) & sender->bit))
		evr_a64_fetch_or(sender->ready, sender->bit);
}

/* evr_inbox_push() - as evr_spsc_push(). */
static inline uint32_t evr_inbox_push(struct evr_inbox_sender *sender, const void *elems,
				      uint32_t nr)
{
	nr = evr_spsc_push(&sender->ring, elems, nr);
	if (nr)
		evr_inbox_hint(sender);
	return nr;
}

/* evr_inbox_reserve() - as evr_spsc_reserve(). */
static inline void *evr_inbox_reserve(struct evr_inbox_sender *sender, uint32_t *nr)
{
	return evr_spsc_reserve(&sender->ring, nr);
}

/* evr_inbox_commit() - as evr_spsc_commit(). */
static inline void evr_inbox_commit(struct evr_inbox_sender *sender, uint32_t nr)
{
	evr_spsc_commit(&sender->ring, nr);
	evr_inbox_hint(sender);
}

/* evr_inbox_push_wait() - as evr_spsc_push_wait(). */
EVR_API int evr_inbox_push_wait(struct evr_inbox_sender *sender, struct evr_waiter *waiter,
				const void *elems, uint32_t nr, uint64_t deadline_ns);

/*
 * EVR_INBOX_DEFINE_TAGGED() - an inbox of one type: NAME_create(), _open(), _pop(),
 * _pop_wait() for the receiver, NAME_join(), _push(), _push_wait() for senders; the
 * structs are struct evr_inbox and struct evr_inbox_sender.
 */
#define EVR_INBOX_DEFINE_TAGGED(name, type, tag)                                                   \
	EVR_STATIC_ASSERT(sizeof(type) <= 1U << 30, "message too large for an inbox");             \
	EVR_STATIC_ASSERT((tag) != 0, "tag 0 stands for any type");                                \
	__attribute__((unused)) static inline int name##_create(                                   \
		struct evr_peer *peer, const char *object, uint32_t capacity)                      \
	{                                                                                          \
		struct evr_inbox_options options;                                                  \
		options.struct_sz = sizeof(options);                                               \
		options.capacity = capacity;                                                       \
		options.elem_sz = (uint32_t)sizeof(type);                                          \
		options.type_tag = (tag);                                                          \
		return evr_inbox_create(peer, object, &options);                                   \
	}                                                                                          \
	__attribute__((unused)) static inline int name##_open(                                     \
		struct evr_inbox *box, struct evr_peer *peer, const char *object)                  \
	{                                                                                          \
		return evr_inbox_open_sized(box, peer, object, (tag), (uint32_t)sizeof(type));     \
	}                                                                                          \
	__attribute__((unused)) static inline uint32_t name##_pop(                                 \
		struct evr_inbox *box, type *v, uint32_t nr, struct evr_peer_id *from)             \
	{                                                                                          \
		return evr_inbox_pop(box, v, nr, from);                                            \
	}                                                                                          \
	__attribute__((unused)) static inline int name##_join(                                     \
		struct evr_inbox_sender *sender, struct evr_peer *peer, const char *object)        \
	{                                                                                          \
		return evr_inbox_join_sized(sender, peer, object, (tag), (uint32_t)sizeof(type));  \
	}                                                                                          \
	__attribute__((unused)) static inline uint32_t name##_push(                                \
		struct evr_inbox_sender *sender, const type *v, uint32_t nr)                       \
	{                                                                                          \
		return evr_inbox_push(sender, v, nr);                                              \
	}                                                                                          \
	__attribute__((unused)) static inline int name##_pop_wait(                                 \
		struct evr_inbox *box, struct evr_waiter *w, type *v, uint32_t nr,                 \
		struct evr_peer_id *from, uint64_t until)                                          \
	{                                                                                          \
		return evr_inbox_pop_wait(box, w, v, nr, from, until);                             \
	}                                                                                          \
	__attribute__((unused)) static inline int name##_push_wait(                                \
		struct evr_inbox_sender *sender, struct evr_waiter *w, const type *v, uint32_t nr, \
		uint64_t until)                                                                    \
	{                                                                                          \
		return evr_inbox_push_wait(sender, w, v, nr, until);                               \
	}

/* EVR_INBOX_DEFINE() - the same with a tag that tells types apart by their size only. */
#define EVR_INBOX_DEFINE(name, type) EVR_INBOX_DEFINE_TAGGED(name, type, 1ULL << 61 | sizeof(type))

#ifdef __cplusplus
}
#endif

#endif
