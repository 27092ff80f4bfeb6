/* SPDX-License-Identifier: MIT */
/*
 * A hub: one peer listens under a name, all others can connect to it, and each connection
 * is a channel of its own. A segment has as many hubs as it has names for, so any peer
 * can talk to any other.
 *
 * model      a client takes endpoint A of a channel that is its slot's, and says so in the
 *            hub's inbox; the listener takes endpoint B, and only then lets go of what the
 *            inbox said. Either may die at any step; another may listen in its place.
 * calls      a struct evr_hub belongs to one thread at a time, and so does each channel. One
 *            thread of each peer connects to a hub at a time. All together with all.
 * edges      those of inboxes and channels; there is no word of the hub's own.
 * progress   connect and accept are lock-free; the _wait forms sleep.
 * limits     255 clients, as many as a segment has slots; EVR_HUB_EACH connections of each.
 *            Names of 1 to 24 bytes.
 *
 * A request is delivered until somebody holds the other end of its connection. What a
 * connection leaves behind, the channel's object, is used by the next one from the same slot.
 *
 * In an isolated segment, where nobody trusts another, a hub is its maker's: it alone listens,
 * and the hub ends with it. Each peer can have one of the same name; evr_hub_connect_to() says
 * whose is meant. Each connection is a channel of two halves, one in the region of each of the
 * two peers, who they are says the kernel, and nobody else can be at either end. Both have to
 * look once, by any call of the channel, before the first message can be sent. A listener
 * needs room in its region for an inbox lane's half for each client and a channel's for each
 * connection. A client that lies costs it one such half for each of its connections, and no
 * other client anything.
 */
#ifndef EVERING_HUB_H
#define EVERING_HUB_H

#include <evering/channel.h>
#include <evering/inbox.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EVR_HUB_NAME_MAX 24 /* bytes, without the NUL */
#define EVR_HUB_EACH 8

/* The listener's end, in its own memory. The fields are not for callers, but for the counts. */
struct evr_hub {
	struct evr_inbox box;
	uint64_t type_tag;
	uint64_t accepted; /* counts: connections */
	uint64_t stale; /* requests whose client has given up or died, or was served already */
	char name[EVR_HUB_NAME_MAX + 1];
};

/**
 * evr_hub_create() - make a hub in the directory; nobody listens yet
 * @peer: own attachment, read-write
 * @name: 1 to EVR_HUB_NAME_MAX bytes
 * @options: of the channels that its connections are; NULL is all defaults
 *
 * In an isolated segment in the own region, whoever else has one of this name.
 *
 * Return: 0; -EINVAL; -EEXIST; and as evr_dir_create().
 */
EVR_API int evr_hub_create(struct evr_peer *peer, const char *name,
			   const struct evr_channel_options *options);

/*
 * evr_hub_remove() - take a hub away, with the channels that nobody holds. Connections
 * stay as they are.
 * Return: 0; -ENOENT; -EBUSY somebody listens or connects; -EINVAL no hub; -EROFS.
 */
EVR_API int evr_hub_remove(struct evr_peer *peer, const char *name);

/*
 * evr_hub_listen() - become the listener. Who has asked a former one and was not accepted
 * is accepted by this one. In an isolated segment only to the own hub (-ENOENT).
 * @type_tag: of the channels, as for evr_channel_open().
 * Return: 0; -ENOENT; -EBUSY somebody listens; -EINVAL; -ENOMEM; as evr_inbox_open().
 */
EVR_API int evr_hub_listen(struct evr_hub *hub, struct evr_peer *peer, const char *name,
			   uint64_t type_tag);

/* evr_hub_close() - listen no more. Connections stay. Of a handle that is zero or closed: nothing. */
EVR_API void evr_hub_close(struct evr_hub *hub);

/**
 * evr_hub_accept() - take the next connection
 * @ch: filled in: endpoint B, to be given to evr_channel_close()
 * @from: out, unless NULL: who is at the other end
 *
 * In an isolated segment the other end may not have looked yet: then the channel's calls say
 * -ENOTCONN and their _wait forms wait, until it is there, has gone (-EPIPE) or died
 * (-EOWNERDEAD).
 *
 * Return: 0; -EAGAIN nobody asks; -EBUSY a former listener has died and was not reaped;
 * -ENOSPC an isolated segment: the own region has no room for another connection, and this
 * request, which is counted as stale, is not served; -EPIPE the hub is closed.
 */
EVR_API int evr_hub_accept(struct evr_hub *hub, struct evr_channel *ch, struct evr_peer_id *from);

/**
 * evr_hub_wait() - wait until somebody connects, or one of several channels can be
 *	received from
 * @chs: @nr channels of the same peer, 0 .. EVR_CHANNEL_ANY_MAX
 * @last: what the last call has returned, 0 at first: it looks from the next one on
 *
 * Return: the index of a channel, as evr_channel_wait_any(); @nr: evr_hub_accept() has
 * something; -EINVAL; -EPIPE the hub is closed; -ESHUTDOWN; -ETIMEDOUT; -EINTR.
 */
EVR_API int evr_hub_wait(struct evr_hub *hub, struct evr_channel *const *chs, uint32_t nr,
			 uint32_t last, struct evr_waiter *waiter, uint64_t deadline_ns);

#define EVR_HUB_NEEDS (EVR_PEERS_MAX + 1)

/*
 * evr_hub_needs() - for evr_waiter_wait() and evr_waiter_arm(): who connects wakes it.
 * @needs: room for EVR_HUB_NEEDS. They are others once a client has come or gone: ask again
 * after evr_hub_accept(), and do not sleep if it is not the same.
 * Return: how many; 0 when closed.
 */
EVR_API uint32_t evr_hub_needs(const struct evr_hub *hub, struct evr_need **needs);

/**
 * evr_hub_connect() - ask for a connection, and do not wait for the answer
 * @ch: filled in: endpoint A, to be given to evr_channel_close(), also to give up
 * @type_tag: as for evr_channel_open()
 *
 * Until the listener, or the next one, accepts, the channel's calls say -ENOTCONN and their
 * _wait forms wait. Refused is who finds the channel closed at once. In an isolated segment
 * no other listener can follow: once it has died they say -EOWNERDEAD.
 *
 * Return: 0; -ENOENT no such hub; -EBUSY EVR_HUB_EACH connections of this peer are there,
 * or the listener has not let go of their former ones, or another thread connects; -EAGAIN
 * too many requests of this peer wait; -EINVAL; -EROFS an observer; -ENOSPC; -EBADMSG.
 */
EVR_API int evr_hub_connect(struct evr_channel *ch, struct evr_peer *peer, const char *name,
			    uint64_t type_tag);

/*
 * evr_hub_connect_to() - the same, in an isolated segment to the hub of this peer.
 * @listener: NULL: the first one's that there is. In a shared segment it means nothing.
 * Return: also -ENOENT it has no such hub.
 */
EVR_API int evr_hub_connect_to(struct evr_channel *ch, struct evr_peer *peer, const char *name,
			       uint64_t type_tag, const struct evr_peer_id *listener);

/*
 * evr_hub_await() - wait until a connection that was asked for is accepted.
 * Return: 0; -ETIMEDOUT, -EINTR, -ESHUTDOWN, and in an isolated segment -EOWNERDEAD the listener
 * has died, -EPIPE it has refused: the channel is closed then. -EPIPE it was closed before.
 */
EVR_API int evr_hub_await(struct evr_channel *ch, struct evr_waiter *waiter, uint64_t deadline_ns);

/*
 * evr_hub_connect_wait() - evr_hub_connect() and evr_hub_await().
 * Return: as both; there is no connection then.
 */
EVR_API int evr_hub_connect_wait(struct evr_channel *ch, struct evr_peer *peer, const char *name,
				 uint64_t type_tag, struct evr_waiter *waiter,
				 uint64_t deadline_ns);

#ifdef __cplusplus
}
#endif

#endif
