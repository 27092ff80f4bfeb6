/* SPDX-License-Identifier: MIT */
/*
 * A channel: messages both ways between two endpoints, A and B, of one object.
 *
 * model      each direction is two streams of frames, one for urgent messages, which
 *            overtake. An endpoint is held by one peer at a time; two holders that
 *            have met are a session, and what one sends is for the other of that
 *            session alone. Either may die at any step.
 * calls      one thread sends on a handle (send, reserve, commit, shutdown of sending,
 *            drain) while one receives (recv, peek, release, keep, grant); open,
 *            forget and close run alone. The two ends together.
 * edges      LANE-DATA, LANE-ROLE; CHAN-MEET, CHAN-SHUT, CHAN-CREDIT: see lib/channel.h.
 * progress   all calls but the _wait forms are wait-free and make no system call,
 *            save one bell for a sleeper.
 * limits     a message in a frame has at most inline_max bytes, and
 *            urgent ones are always in a frame; larger ones are blocks of the channel's
 *            heap. At most EVR_CHANNEL_HELD received messages of each stream that lie in
 *            frames are held before their release; in an isolated segment at most
 *            EVR_CHANNEL_LENT blocks are on loan each way.
 *
 * In an isolated segment the two ends need not trust each other: each writes only its own
 * half, an object of the same name in its own region, and what it reads in the other's is
 * checked. A block stays its sender's: it is lent, read where it is, and given back by a
 * word in the receiver's half; the sender's heap is never written by others. Whoever
 * opens the name can be met there: see evr_channel_expect(). What differs:
 *
 *   each end has a heap of the channel's heap name in its own region, to send with, and
 *   takes blocks without a bind; the session begins once both ends have looked (any
 *   call), and until then nothing can be sent (-ENOTCONN); what a received message holds
 *   may change for as long as its sender lives; when that has died it is readable until
 *   its slot goes to another peer, see evr_channel_vouch(); a handle or a size that is
 *   no block's is -EBADMSG, as a wrong position is, and both end with the session.
 *
 * What was sent is delivered, in order, before the end is told, however the sender
 * ended. What the other end had not taken when it ended comes back to the sender
 * (evr_channel_forget()), and each is counted:
 *
 *     sent = received by the other end + recovered + lost + still on its way
 */
#ifndef EVERING_CHANNEL_H
#define EVERING_CHANNEL_H

#include <evering/bytes.h>
#include <evering/heap.h>

#ifdef __cplusplus
extern "C" {
#endif

enum evr_channel_role { EVR_CHANNEL_A, EVR_CHANNEL_B };

enum {
	EVR_MESSAGE_URGENT = 1, /* overtakes; takes no credit, and has to fit in a frame */
	/* of evr_call; the others are for it too */
	EVR_MESSAGE_REQUEST = 2,
	EVR_MESSAGE_ANSWER = 4,
	EVR_MESSAGE_CANCEL = 8,
	EVR_MESSAGE_LEASE = 16, /* of evr_lease: the block says where other memory is */
};

enum {
	EVR_SHUT_SEND = 1,
	EVR_SHUT_RECV = 2,
};

#define EVR_CHANNEL_BLOCKS 0x100
#define EVR_CHANNEL_HELD 64
/* A sender looks at the other end's credit at least every so many messages. */
#define EVR_CHANNEL_CREDIT_LOOK 16
#define EVR_CHANNEL_LENT 64
#define EVR_CHANNEL_NEEDS 4

/* One message, to be sent or received. */
struct evr_message {
	void *data; /* only read when it is to be sent */
	uint64_t sz; /* bytes */
	uint64_t tag; /* the application's */
	uint64_t id; /* of evr_call; 0 for others */
	uint64_t handle; /* of the block, when kind is EVR_FRAME_BLOCK */
	uint32_t kind; /* enum evr_frame_kind: where the data are */
	uint32_t flags; /* EVR_MESSAGE_* */
	uint64_t place; /* received: not for callers */
};

struct evr_channel_options {
	size_t struct_sz; /* sizeof(struct evr_channel_options) */
	uint64_t capacity; /* bytes of each direction's stream, a power of two; 0 = 64 KiB */
	uint64_t urgent_capacity; /* of its urgent stream; 0 = 4 KiB */
	uint64_t inline_max; /* bytes of the largest message in a frame; 0 = 1 KiB */
	uint64_t window_messages; /* a receiver's first grant; 0 = no limit */
	uint64_t window_bytes;
	uint64_t type_tag; /* what its messages are, checked at open; 0 = anything */
	const char *heap; /* name of the heap that blocks come from; NULL = there are none */
};

/* Relaxed, for observers: nothing is decided by them. One thread writes each. */
struct evr_channel_end_counts {
	/* the sending thread */
	struct evr_a64 sent, sent_bytes, urgent;
	struct evr_a64 full, no_credit, no_memory; /* times a message was refused for it */
	struct evr_a64 blocks; /* of those sent */
	struct evr_a64 recovered, lost; /* of those sent, at the other end's end */
	/* the receiving thread */
	struct evr_a64 received, received_bytes;
	struct evr_a64 dropped; /* of these, unseen by the application: at close */
	struct evr_a64 stale; /* of these, a handle of no block that is on its way here */
	struct evr_a64 resv[3];
};

/* What one endpoint writes, besides its sides of the lanes. */
struct evr_channel_end {
	/* when it comes and goes, and meets the other: {turn:56 | own session:8} */
	EVR_ALIGNAS(EVR_LINE_SZ)
	struct evr_a64 link; /* with whom it is in session; turn 0: nobody */
	struct evr_a64 past; /* whose session it has ended last */
	struct evr_a64 shut; /* EVR_SHUT_*; EVR_CHANNEL_BLOCKS: it has a heap to receive with */
	struct evr_a64 pass; /* isolated: that it has opened a port, or 0; written before link */
	uint8_t resv[EVR_LINE_SZ - 4 * sizeof(struct evr_a64)];
	/* the receiving thread: how much of this session the other may have sent */
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_a64 credit_messages;
	struct evr_a64 credit_bytes;
	struct evr_a64 released; /* of this session's messages */
	struct evr_a64 returned; /* isolated: of its blocks; see struct channel_loans */
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_channel_end_counts counts;
};

EVR_STATIC_ASSERT(sizeof(struct evr_channel_end) == 3 * EVR_LINE_SZ, "part of the shared layout");

/* Written once before the object is published; read once at open. */
struct evr_channel_geometry {
	uint64_t layout; /* EVR_CHANNEL_LAYOUT */
	uint64_t inline_max;
	uint64_t window_messages, window_bytes; /* UINT64_MAX: no limit */
	uint64_t type_tag;
	char heap[EVR_OBJECT_NAME_SZ]; /* "": there are no blocks */
	uint64_t resv[6];
};

#define EVR_CHANNEL_LAYOUT 0x31304843525645ULL /* "EVRCH01" */

/* What stands behind the four lanes. */
struct evr_channel_tail {
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_channel_geometry geometry;
	struct evr_channel_end ends[2]; /* by enum evr_channel_role */
};

EVR_STATIC_ASSERT(sizeof(struct evr_channel_tail) == 7 * EVR_LINE_SZ, "part of the shared layout");

/* What was taken from a stream and not released yet, oldest first. */
struct evr_channel_held {
	uint64_t first, next; /* numbers of frames */
	uint64_t released; /* bit n % 64: frame n, in any order */
	uint64_t ends[EVR_CHANNEL_HELD]; /* position behind frame n */
};

/* One endpoint, in the caller's own memory. The fields are not for callers. */
struct evr_channel {
	/* the sending thread */
	struct evr_bytes tx[2]; /* normal, urgent */
	uint64_t sent_messages, sent_bytes; /* this session */
	uint64_t credit_messages, credit_bytes; /* as last seen */
	uint64_t credit_until; /* sent so many, it is looked at again */
	uint64_t reserved_sz;
	struct evr_heap *send_heap;
	bool shut_send;
	/* the receiving thread */
	EVR_ALIGNAS(EVR_LINE_SZ) struct evr_bytes rx[2];
	struct evr_channel_held held[2];
	uint64_t released_messages, released_bytes; /* this session */
	uint64_t window_messages, window_bytes;
	struct evr_heap *recv_heap;
	bool shut_recv;
	/* both */
	EVR_ALIGNAS(EVR_LINE_SZ)
	struct evr_a64 partner; /* owner word of the other, HELD; 0: nobody */
	struct evr_a32 corrupt;
	struct evr_peer *peer;
	struct evr_channel_end *mine; /* NULL: closed */
	const struct evr_channel_end *other;
	struct evr_channel_far *far; /* in an isolated segment, else NULL */
	uint8_t role;
	uint64_t past; /* owner word of the session that ended last */
	struct evr_channel_geometry geometry;
};

/* A copy of both ends' counts, by role. */
struct evr_channel_counts {
	struct {
		uint64_t sent, sent_bytes, urgent, blocks, full, no_credit, no_memory;
		uint64_t recovered, lost;
		uint64_t received, received_bytes, dropped, stale;
	} ends[2];
};

/**
 * evr_channel_create() - make a channel in the directory; nobody holds an endpoint yet
 * @peer: own attachment, read-write
 * @name: as for evr_dir_create()
 * @options: NULL is all defaults
 *
 * In an isolated segment it makes the caller's own half, with room for either endpoint.
 *
 * Return: 0; -EINVAL; and as evr_dir_create().
 */
EVR_API int evr_channel_create(struct evr_peer *peer, const char *name,
			       const struct evr_channel_options *options);

/**
 * evr_channel_open() - hold an endpoint
 * @ch: filled in; valid until evr_channel_close() or the detach
 * @peer: own attachment, read-write
 * @name: of the channel
 * @role: which endpoint
 * @type_tag: must be the channel's own, unless one of the two is 0
 *
 * It begins with nothing to receive. Messages can be sent once the other endpoint is
 * held too. In an isolated segment, of a peer without a half it makes one, as somebody
 * else's is: who does not trust that makes its own first. Only ends of equal properties
 * meet. A living other end that does not let go of the last holder is got rid of by
 * removing the own half (evr_dir_remove()).
 *
 * Return: 0; -ENOENT; -EBUSY a peer holds it, or the other endpoint has not let go of
 * its last holder (evr_channel_forget()); -EINVAL another kind, role or type; -EBADMSG
 * the detail names the field; -EROFS an observer.
 */
EVR_API int evr_channel_open(struct evr_channel *ch, struct evr_peer *peer, const char *name,
			     enum evr_channel_role role, uint64_t type_tag);

/**
 * evr_channel_bind() - use blocks of the channel's heap
 * @send: the sending thread's handle of it, or NULL
 * @recv: the receiving thread's; the same when one thread does both
 *
 * Right after the open. Both are valid until evr_channel_close(). With @recv the other
 * end may send blocks; with @send messages of more than inline_max bytes are copied
 * into blocks. In an isolated segment @send is the own heap, and blocks are taken without
 * @recv, which is not used. What a former holder of this end has lent is freed here.
 *
 * Return: 0; -EINVAL a handle of another heap, or the channel has none; -EPIPE.
 */
EVR_API int evr_channel_bind(struct evr_channel *ch, struct evr_heap *send, struct evr_heap *recv);

/**
 * evr_channel_close() - give the endpoint back
 *
 * What was sent is delivered; what was not received yet is dropped and counted, here
 * what had arrived, at the other end what comes later. Of a handle that is zero or
 * closed: nothing.
 */
EVR_API void evr_channel_close(struct evr_channel *ch);

/**
 * evr_channel_forget() - end the session with an other end that is closed or dead
 *
 * What it had sent and was not received is dropped; what it had not received is
 * recovered; a block that died with it is lost. All blocks of these are freed. Then
 * another peer can take its endpoint. In an isolated segment also with one that was found
 * corrupt; all blocks on loan are back with their owners, also those that were kept here.
 *
 * Return: 0; -EBUSY it lives, also when it has come just now; -EPIPE this endpoint is closed.
 */
EVR_API int evr_channel_forget(struct evr_channel *ch);

/*
 * evr_channel_state() - how things stand with the other endpoint. What it has sent may
 * still be there. Enters the session when it is there now.
 */
EVR_API enum evr_ring_state evr_channel_state(struct evr_channel *ch);

/**
 * evr_channel_expect() - in an isolated segment: meet this peer and no other
 * @other: slot EVR_SLOT_ANY: whoever comes first
 *
 * A name can be used by everybody there. Right after the open; in a shared segment, where
 * one peer holds the other endpoint, it does nothing.
 */
EVR_API void evr_channel_expect(struct evr_channel *ch, struct evr_peer_id other);

/*
 * evr_channel_vouch() - is what was read from received messages by now their sender's own?
 * In an isolated segment its memory may serve another peer once it has died, or its next
 * session once it has closed. In a shared one always true. By the receiving thread.
 */
EVR_API bool evr_channel_vouch(struct evr_channel *ch);

/* evr_channel_other() - who is at the other end; slot EVR_SLOT_ANY when nobody is. */
EVR_API struct evr_peer_id evr_channel_other(const struct evr_channel *ch);

/**
 * evr_channel_send() - send a copy of @sz bytes
 *
 * Return: 0; -EMSGSIZE more than can ever be sent; not now: -EAGAIN the stream is full,
 * -ENOBUFS the receiver grants no more, or has as many blocks on loan as it can,
 * -ENOMEM the heap is full, -ENOTCONN nobody is at
 * the other end (yet), -EOPNOTSUPP it takes no blocks;
 * never any more: -EPIPE the other end closed, or either has shut this direction,
 * -EOWNERDEAD it died, -EBADMSG its words are corrupt, -ESHUTDOWN this peer has ended.
 */
EVR_API int evr_channel_send(struct evr_channel *ch, const void *data, uint64_t sz, uint64_t tag);

/*
 * evr_channel_alloc() - a block to be filled and sent without a copy: its data, handle,
 * kind and sz are set in @m. Until it is sent it is the caller's, to evr_heap_free().
 * Return: 0; -ENOMEM; -EINVAL no heap to send with.
 */
EVR_API int evr_channel_alloc(struct evr_channel *ch, uint64_t sz, struct evr_message *m);

/*
 * evr_channel_send_message() - the same with all that a message can have; place is ignored.
 * With kind EVR_FRAME_BLOCK the block itself is sent: any live one of the caller's out of
 * the channel's heap. It is the receiver's from then on; after a failure still the caller's.
 * Return: as evr_channel_send(); -EINVAL flags, kind, size; -ESTALE no block of the caller,
 * or (the receiver being dead) freed just now by who reaped it.
 */
EVR_API int evr_channel_send_message(struct evr_channel *ch, const struct evr_message *m);

/*
 * evr_channel_send_many() - several messages, published together.
 * Return: how many, the first of them; when none: as evr_channel_send_message().
 */
EVR_API int evr_channel_send_many(struct evr_channel *ch, const struct evr_message *ms,
				  uint32_t nr);

/*
 * evr_channel_send_wait() - wait while it is "not now". A wait that ends early has sent
 * nothing. Return: also -ETIMEDOUT; -EINTR.
 */
EVR_API int evr_channel_send_wait(struct evr_channel *ch, struct evr_waiter *waiter,
				  const struct evr_message *m, uint64_t deadline_ns);

/*
 * evr_channel_reserve() - room in the stream, to be written in place; credit is taken
 * by the commit. Replaces a reservation that was not committed; a send cancels it.
 * @out: NULL on failure. Return: as evr_channel_send().
 */
EVR_API int evr_channel_reserve(struct evr_channel *ch, uint64_t sz, void **out);

/*
 * evr_channel_commit() - send the first @used_sz bytes of it.
 * Return: 0; -EINVAL nothing is reserved, or less; and as evr_channel_send(): then it
 * stays reserved.
 */
EVR_API int evr_channel_commit(struct evr_channel *ch, uint64_t used_sz, uint64_t tag);

/* evr_channel_cancel() - give a reservation back. */
EVR_API void evr_channel_cancel(struct evr_channel *ch);

/**
 * evr_channel_recv() - take the next message, urgent ones first
 * @m: out; m->data lies in the segment until evr_channel_release(), and the sender of
 *	a shared segment can still change it: copy what is to be checked before its use
 *
 * Return: 0; not now: -EAGAIN, -ENOTCONN nobody has come yet, -EBUSY too many are held;
 * once all was received: -EPIPE, -EOWNERDEAD; -EBADMSG; -ESHUTDOWN.
 */
EVR_API int evr_channel_recv(struct evr_channel *ch, struct evr_message *m);

/* evr_channel_recv_many() - up to @nr messages. Return: how many; when none: as evr_channel_recv(). */
EVR_API int evr_channel_recv_many(struct evr_channel *ch, struct evr_message *ms, uint32_t nr);

/* evr_channel_recv_wait() - wait for one. Return: also -ETIMEDOUT; -EINTR. */
EVR_API int evr_channel_recv_wait(struct evr_channel *ch, struct evr_waiter *waiter,
				  struct evr_message *m, uint64_t deadline_ns);

/**
 * evr_channel_recv_sized() - take the next message, copy it out and release it
 * @to: room for @sz bytes; written to only on success
 * @tag: out, unless NULL; set when a message was taken
 *
 * Return: 0; as evr_channel_recv(); -EMSGSIZE it has not @sz bytes, and is released all the same.
 * In an isolated segment what was copied is the sender's own: evr_channel_vouch() has said so;
 * else the message is gone, and it returns why (-EPIPE, -EOWNERDEAD, -EBADMSG).
 */
EVR_API int evr_channel_recv_sized(struct evr_channel *ch, void *to, uint64_t sz, uint64_t *tag);

/* evr_channel_recv_sized_wait() - wait for one. Return: also -ETIMEDOUT; -EINTR. */
EVR_API int evr_channel_recv_sized_wait(struct evr_channel *ch, struct evr_waiter *waiter, void *to,
					uint64_t sz, uint64_t *tag, uint64_t deadline_ns);

/*
 * evr_channel_peek() - see the message that evr_channel_recv() would take, and leave it;
 * it needs no release. Return: as evr_channel_recv().
 */
EVR_API int evr_channel_peek(struct evr_channel *ch, struct evr_message *m);

/*
 * evr_channel_release() - be done with a received message: room and credit go back to
 * the sender. In any order; a second time, or of what was not received: nothing.
 */
EVR_API void evr_channel_release(struct evr_channel *ch, struct evr_message *m);

/*
 * evr_channel_keep() - be done with a received block as a message, and keep it: it is
 * the caller's, as one that it has allocated; in an isolated segment it is lent until
 * evr_channel_give_back(). Return: 0; -EINVAL it is none.
 */
EVR_API int evr_channel_keep(struct evr_channel *ch, struct evr_message *m);

/*
 * evr_channel_give_back() - be done with a block that was kept: it is freed, in an isolated
 * segment by its owner. By the receiving thread. Return: 0; -ESTALE it is not held here; -EINVAL
 * no heap; -EPIPE closed.
 */
EVR_API int evr_channel_give_back(struct evr_channel *ch, uint64_t handle);

/*
 * evr_channel_collect() - in an isolated segment: free the blocks that the other end has
 * given back. By the sending thread; sending a block, evr_channel_alloc(), a wait for room,
 * and the end of the session do it too. Return: how many; -EBADMSG it gave back what it
 * had not; -EPIPE closed.
 */
EVR_API int evr_channel_collect(struct evr_channel *ch);

/*
 * evr_channel_grant() - how much the other end may have sent that is not released
 * here; 0 is no limit. Less than is already granted takes effect as messages are released, and
 * no later than when the other end has sent EVR_CHANNEL_CREDIT_LOOK more.
 */
EVR_API void evr_channel_grant(struct evr_channel *ch, uint64_t messages, uint64_t bytes);

/**
 * evr_channel_shutdown() - end one direction
 * @how: EVR_SHUT_SEND: the other end meets -EPIPE once it has received all;
 *	EVR_SHUT_RECV: it cannot send any more
 * For this session and this handle. Return: 0; -EINVAL; -EPIPE closed.
 */
EVR_API int evr_channel_shutdown(struct evr_channel *ch, uint32_t how);

/*
 * evr_channel_drain_wait() - wait until the other end has released all that was sent, or
 * dropped it when it closed. Return: 0, however it ended afterwards; -EPIPE it takes no more,
 * -EOWNERDEAD it died, before it had; -EBADMSG; -ESHUTDOWN; -ETIMEDOUT; -EINTR.
 */
EVR_API int evr_channel_drain_wait(struct evr_channel *ch, struct evr_waiter *waiter,
				   uint64_t deadline_ns);

/*
 * evr_channel_needs() - for evr_waiter_wait(): whatever the other end does wakes it.
 * @needs: room for EVR_CHANNEL_NEEDS. Return: how many; 0 when closed.
 */
EVR_API uint32_t evr_channel_needs(struct evr_channel *ch, struct evr_need **needs);

/**
 * evr_channel_wait_any() - wait until one of several can be received from
 * @chs: @nr channels of one peer, 1 .. EVR_CHANNEL_ANY_MAX
 *
 * Return: the index of one, after which evr_channel_recv() says something else than "not
 * now"; it looks from the one after @last on, so none is left out. -EINVAL; -ESHUTDOWN;
 * -ETIMEDOUT; -EINTR.
 */
EVR_API int evr_channel_wait_any(struct evr_channel *const *chs, uint32_t nr, uint32_t last,
				 struct evr_waiter *waiter, uint64_t deadline_ns);

#define EVR_CHANNEL_ANY_MAX 256

/*
 * evr_channel_counts() - @out: of both ends, by the holder of either; zeros when it is closed. The other
 * end writes what is said of it, so nothing should be decided by that.
 */
EVR_API void evr_channel_counts(const struct evr_channel *ch, struct evr_channel_counts *out);

/* evr_channel_inline_max() - bytes of the largest message in a frame. */
static inline uint64_t evr_channel_inline_max(const struct evr_channel *ch)
{
	return ch->geometry.inline_max;
}

/*
 * EVR_CHANNEL_DEFINE_TAGGED() - a channel whose messages are of one type each way: NAME_create(),
 * _open(), _close(), _send(), _send_wait(), _reserve(), _commit(), _recv(), _recv_wait(). All else
 * is evr_channel_*() of the member ch.
 * @name: prefix of the functions and the struct.
 * @type: complete, trivially copyable, aligned to at most 16. It may hold no pointer.
 * @tag: uint64_t constant, not 0, that stands for this type and its version.
 *
 * NAME_create() takes options as evr_channel_create() does, with the tag set, and inline_max so
 * that a message fits in a frame. NAME_recv() refuses a message of another size: -EMSGSIZE.
 */
#define EVR_CHANNEL_DEFINE_TAGGED(name, type, tag)                                                \
	EVR_STATIC_ASSERT(sizeof(type) <= 1U << 30, "message too large for a channel");           \
	EVR_STATIC_ASSERT(EVR_CHANNEL_ALIGNOF(type) <= EVR_FRAME_HEADER_SZ, "message alignment"); \
	EVR_STATIC_ASSERT((tag) != 0, "tag 0 stands for any type");                               \
	struct name {                                                                             \
		struct evr_channel ch;                                                            \
	};                                                                                        \
	__attribute__((unused)) static inline int name##_create(                                  \
		struct evr_peer *peer, const char *object,                                        \
		const struct evr_channel_options *options)                                        \
	{                                                                                         \
		struct evr_channel_options o = { sizeof(o), 0, 0, 0, 0, 0, 0, NULL };             \
		if (options)                                                                      \
			o = *options;                                                             \
		o.type_tag = (tag);                                                               \
		if (o.inline_max < sizeof(type) && (o.inline_max || sizeof(type) > 1024))         \
			o.inline_max = sizeof(type);                                              \
		return evr_channel_create(peer, object, &o);                                      \
	}                                                                                         \
	__attribute__((unused)) static inline int name##_open(struct name *c,                     \
							      struct evr_peer *peer,              \
							      const char *object,                 \
							      enum evr_channel_role role)         \
	{                                                                                         \
		return evr_channel_open(&c->ch, peer, object, role, (tag));                       \
	}                                                                                         \
	__attribute__((unused)) static inline void name##_close(struct name *c)                   \
	{                                                                                         \
		evr_channel_close(&c->ch);                                                        \
	}                                                                                         \
	__attribute__((unused)) static inline int name##_send(struct name *c, const type *v,      \
							      uint64_t msg_tag)                   \
	{                                                                                         \
		return evr_channel_send(&c->ch, v, sizeof(type), msg_tag);                        \
	}                                                                                         \
	__attribute__((unused)) static inline int name##_send_wait(                               \
		struct name *c, struct evr_waiter *w, const type *v, uint64_t msg_tag,            \
		uint64_t until)                                                                   \
	{                                                                                         \
		struct evr_message m = {                                                          \
			(void *)(uintptr_t)v, sizeof(type), msg_tag, 0, 0, 0, 0, 0                \
		};                                                                                \
		return evr_channel_send_wait(&c->ch, w, &m, until);                               \
	}                                                                                         \
	__attribute__((unused)) static inline int name##_reserve(struct name *c, type **out)      \
	{                                                                                         \
		void *at;                                                                         \
		int err = evr_channel_reserve(&c->ch, sizeof(type), &at);                         \
		*out = (type *)at;                                                                \
		return err;                                                                       \
	}                                                                                         \
	__attribute__((unused)) static inline int name##_commit(struct name *c, uint64_t msg_tag) \
	{                                                                                         \
		return evr_channel_commit(&c->ch, sizeof(type), msg_tag);                         \
	}                                                                                         \
	__attribute__((unused)) static inline int name##_recv(struct name *c, type *v,            \
							      uint64_t *msg_tag)                  \
	{                                                                                         \
		return evr_channel_recv_sized(&c->ch, v, sizeof(type), msg_tag);                  \
	}                                                                                         \
	__attribute__((unused)) static inline int name##_recv_wait(                               \
		struct name *c, struct evr_waiter *w, type *v, uint64_t *msg_tag, uint64_t until) \
	{                                                                                         \
		return evr_channel_recv_sized_wait(&c->ch, w, v, sizeof(type), msg_tag, until);   \
	}

/* EVR_CHANNEL_DEFINE() - the same with a tag that tells types apart by size and alignment only. */
#define EVR_CHANNEL_DEFINE(name, type) \
	EVR_CHANNEL_DEFINE_TAGGED(     \
		name, type, 1ULL << 60 | (uint64_t)EVR_CHANNEL_ALIGNOF(type) << 32 | sizeof(type))

#ifdef __cplusplus
#define EVR_CHANNEL_ALIGNOF(type) alignof(type)
#else
#define EVR_CHANNEL_ALIGNOF(type) _Alignof(type)
#endif

#ifdef __cplusplus
}
#endif

#endif
