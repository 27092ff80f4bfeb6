/* SPDX-License-Identifier: MIT */
/*
 * What the files of channels share.
 *
 * The object: four lanes (stream k is urgent when k > 1, and A sends on the even ones),
 * and the tail. All go by the two owner words of the object's entry; the word A holds
 * is the producer's of lane 0.
 *
 * A session, and why nothing of one is mistaken for the next:
 *
 *   An endpoint is there once its link has its own turn's session number; before, it
 *   has put its receiving positions to where nothing is left of former sessions.
 *   An endpoint sends only when its link names the other's turn.
 *   A role is not taken as long as the living holder of the other one has a link to
 *   its last holder, or was linked by that and has not said that it is past.
 *
 * In an isolated segment each end has such an object in its own region: see channel_far.c.
 *
 * edges
 *   CHAN-MEET    who takes a role writes the owner word and then looks at the other's
 *                link; who links writes its link and then looks at the owner word. With
 *                a full barrier between the two steps on each side, one sees the other.
 *                A link also publishes that its owner's credit and positions are set.
 *   CHAN-SHUT    who shuts has published all that it sent.
 *   CHAN-CREDIT  who grants has done with what it gives back.
 *   CHAN-CLOSE   of two that close at once one sees the other: see channel_reap.c.
 */
#ifndef EVERING_LIB_CHANNEL_H
#define EVERING_LIB_CHANNEL_H

#include <evering/channel.h>
#include <evering/reap.h>

#include "bytes.h"
#include "owner.h"

enum { CHANNEL_NORMAL, CHANNEL_URGENT, CHANNEL_STREAMS };

/* Calls: a look for an answer, or a request, passes over so many other messages: who sends more could hold us. */
#define CALL_STRANGE_MAX 64

/* The data of a frame begin with it. */
struct channel_header {
	uint64_t tag;
	uint64_t id;
};

EVR_STATIC_ASSERT(sizeof(struct channel_header) == 16, "part of the shared layout");

/* What follows the header of a frame that stands for a block. */
struct channel_block {
	uint64_t handle;
	uint64_t sz;
};

/* A frame's kind is {flags but EVR_MESSAGE_URGENT:4 | enum evr_frame_kind:4}. */
#define CHANNEL_KIND_MASK 0xfU
#define CHANNEL_FLAGS_SHIFT 3
#define CHANNEL_FLAGS \
	(EVR_MESSAGE_REQUEST | EVR_MESSAGE_ANSWER | EVR_MESSAGE_CANCEL | EVR_MESSAGE_LEASE)

/* Isolated: an end of which nothing is known yet; it grants nothing. */
extern const struct evr_channel_end evr_channel_nobody;

/* What the other endpoint writes. */
static inline const struct evr_channel_end *channel_other_end(const struct evr_channel *ch)
{
	/* Of two halves it is known from the meeting on, that the other thread may have made. */
	return !ch->far || evr_a64_load_acquire(&ch->partner) ? ch->other : &evr_channel_nobody;
}

/* {turn:56 | own session:8}; of owner word 0: to nobody. */
static inline uint64_t channel_link(uint64_t owner, uint64_t self)
{
	return (owner & ~OWNER_STATE) | (self >> OWNER_SESSION_SHIFT & 0xff);
}

/* Was it written by the turn that this owner word stands for? */
static inline bool channel_link_is_of(uint64_t u_link, uint64_t owner)
{
	return (u_link & 0xff) == (owner >> OWNER_SESSION_SHIFT & 0xff);
}

static inline bool channel_link_is_free(uint64_t u_link)
{
	return !(u_link >> OWNER_SLOT_SHIFT);
}

/* This endpoint's own turn. */
static inline uint64_t channel_self(const struct evr_channel *ch)
{
	return ch->rx[CHANNEL_NORMAL].lane.held;
}

/* Lane k of the object, as this role has it. */
static inline struct evr_bytes *channel_stream(struct evr_channel *ch, int role, int k)
{
	return k % 2 == role ? &ch->tx[k / 2] : &ch->rx[k / 2];
}

/* Relaxed, and no RMW: one thread writes each, and nothing is decided by it. */
static inline void channel_count(struct evr_a64 *counter, uint64_t nr)
{
	evr_a64_store_relaxed(counter, evr_a64_load_relaxed(counter) + nr);
}

/* How things stand, for the thread that uses these two streams. */
enum evr_ring_state evr_channel_look(struct evr_channel *ch, struct evr_bytes *streams);

/*
 * channel_reap.c: all four lanes to be looked at, and the properties in the tail.
 * Return: the tail; NULL: nonsense.
 */
const struct evr_channel_tail *evr_channel_view(struct evr_peer *peer, const struct evr_object *obj,
						struct evr_bytes *streams,
						struct evr_channel_geometry *u_g);

/* Enter the session with who is there now. Return: its owner word, HELD; 0 for nobody. */
uint64_t evr_channel_meet(struct evr_channel *ch);

/* The error of a state, with nobody there an error too. */
int evr_channel_error(enum evr_ring_state state);

/* Wake whatever thread sleeps at the other end. */
void evr_channel_wake(struct evr_channel *ch);

/* The other end can move no position any more: count what it has left of ours. */
void evr_channel_recover(struct evr_channel *ch);

/* Take and release all that has arrived. */
void evr_channel_drop(struct evr_channel *ch);

/*
 * The other end can send nothing any more, and all that it had was received: free what it
 * was about to send when it died. Its frames are written before a block is transferred.
 */
void evr_channel_drop_staged(struct evr_channel *ch);

/* channel_reap.c: one direction, whose last sender and receiver are past. */
struct channel_burial {
	struct evr_peer *peer;
	const char *heap; /* "": there is none */
	const struct evr_a64 *sender; /* its owner word; NULL: nobody can begin to send meanwhile */
	uint64_t turn; /* what that says until somebody does */
	uint64_t u_link; /* the sender's: to whom it sent */
	uint64_t receiver; /* owner word of the receiving role */
};

/* Free the block of a frame that was not received. Is it freed now? */
bool evr_channel_bury(const struct channel_burial *b, const struct evr_frame_view *view);

/* We hold the role, and our link is still our predecessor's: what that has sent and nobody will receive. */
void evr_channel_bury_past(struct evr_channel *ch);

/*
 * We have closed. When the other end has closed too, or died, since we looked, what is
 * under way either way is nobody's any more. @link: our own, as it was.
 */
void evr_channel_bury_closed(struct evr_channel *ch, uint64_t link);

/* For kinds.c. */
void evr_channel_reap(struct evr_peer *peer, const struct evr_object *obj,
		      struct evr_reap_report *report);

/* The handle and size in a frame that stands for a block. False: it is too short. */
static inline bool channel_block_read(const void *data, uint64_t sz, struct channel_block *block)
{
	if (sz < sizeof(struct channel_header) + sizeof(*block))
		return false;
	evr_copy_out(block, (const struct channel_header *)data + 1, sizeof(*block));
	return true;
}

/* How an endpoint is opened, and in an isolated segment whom it may meet. */
struct channel_terms {
	enum evr_channel_role role;
	uint64_t type_tag;
	struct evr_peer_id other; /* slot EVR_SLOT_ANY: whoever comes */
	bool once; /* of that one we want to know when it cannot come any more */
	uint64_t turn; /* its owner word, HELD; 0: any turn of it */
	/* of a port, port_far.c */
	const uint64_t *nonce; /* NULL: none */
	const struct evr_a64 *ticket; /* control word of its object: while it lasts, we may be met */
	uint32_t ticket_gen;
};

/* channel.c: as evr_channel_open(), on terms that hold before anybody can be met. */
int evr_channel_open_on(struct evr_channel *ch, struct evr_peer *peer, const char *name,
			const struct channel_terms *terms);

/*
 * channel.c. In an isolated segment: have an own half of exactly these properties; one of
 * others is replaced if @replace, unless it is held (-EBUSY), else refused (-EINVAL).
 * Otherwise 0; -EEXIST it is no channel; as evr_channel_create()
 */
int evr_channel_have_half(struct evr_peer *peer, const char *name,
			  const struct evr_channel_options *options, bool replace);

/*
 * channel_far.c. Before the open: see that there is an own half, as another's is.
 * 0; -ENOENT; as evr_channel_create()
 */
int evr_channel_far_prepare(struct evr_peer *peer, const char *name);

/* After the open: the private part. @tail_off: bytes in the object. 0; -ENOMEM; -EBADMSG; -EBUSY */
int evr_channel_far_begin(struct evr_channel *ch, uint64_t tail_off);
void evr_channel_far_fini(struct evr_channel *ch);

/*
 * Have an own half like that of this peer, which others may have too: one that is there must
 * fit. 0; -EINVAL; -ESTALE it has none; as evr_channel_create()
 */
int evr_channel_far_like(struct evr_peer *peer, struct evr_peer_id id, const char *name);

/* Between begin and reset: whom it may meet. */
void evr_channel_far_terms(struct evr_channel *ch, const struct channel_terms *terms);

/* Before the close: the one turn that we were for is told that we are not any more. */
void evr_channel_far_refuse(struct evr_channel *ch);

/* How things stand with the other half; looks for one, and joins the lanes of @streams. */
enum evr_ring_state evr_channel_far_state(struct evr_channel *ch, struct evr_bytes *streams);

/* Nobody is known, all positions are 0, and nothing is on loan: before the link says so. */
void evr_channel_far_reset(struct evr_channel *ch);

/* The link says so: tell those who look for us, and look ourselves. */
void evr_channel_far_announce(struct evr_channel *ch);

/* Bytes behind the tail of a half. */
uint64_t evr_channel_far_sz(void);
/* They are the memory of nobody yet. */
void evr_channel_far_format(uint8_t *at);

/* channel_loan.c. Sender: may another block be lent: 0; -ENOBUFS; -EBADMSG. */
int evr_channel_may_lend(struct evr_channel *ch);
void evr_channel_lend(struct evr_channel *ch, uint64_t handle);
/* Take a block back that was not received, or not given back. 0; -ESTALE */
int evr_channel_unlend(struct evr_channel *ch, uint64_t handle);
/* The session is over: take all back. */
void evr_channel_unlend_all(struct evr_channel *ch);
/* Free what the holder before us has lent, and is over. */
void evr_channel_unlend_past(struct evr_channel *ch);

/* Receiver: where the other end's block lies; NULL: there is none that is lent to us. */
void *evr_channel_loan_resolve(struct evr_channel *ch, uint64_t handle, uint64_t *sz);
/* Note it. Return: the number of the loan, or -1: there are too many. */
int evr_channel_borrow(struct evr_channel *ch, uint64_t handle);
bool evr_channel_has_borrowed(const struct evr_channel *ch, uint64_t loan, uint64_t handle);
void evr_channel_return(struct evr_channel *ch, uint64_t loan);

/*
 * channel_recv.c: receive what evr_channel_peek() has found just now; when its block has become
 * stale, what comes next. @m: as it was filled in. Return: as evr_channel_recv()
 */
int evr_channel_take(struct evr_channel *ch, struct evr_message *m);

/* Would evr_channel_recv() say something else than "not now"? Looks anew. */
bool evr_channel_is_ready(struct evr_channel *ch);

/* A wait is going to tell that the other end has died, if it has: see evr_reap_learned(). */
void evr_channel_learned(struct evr_channel *ch);

/* A wait has ended with this: as evr_waiter_wait() says it, in terms of rings. */
int evr_channel_waited(struct evr_channel *ch, int err);

#endif
