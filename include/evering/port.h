/* SPDX-License-Identifier: MIT */
/*
 * Ports: an endpoint of a channel as 32 bytes, to be handed to another peer in a message,
 * through a pipe, or on a command line.
 *
 * model      whoever may write to the segment makes a port of an endpoint; whoever has its
 *            bytes, and is a peer of the same segment, opens it. Used once: of any number
 *            that try, at any time, one has it. It is void once its maker has ended. Any
 *            of them may die at any step.
 * calls      all together with all.
 * edges      DIR-PUBLISH, DIR-REMOVE: a port is an object of the directory, whose name is
 *            128 random bits; to use it is to remove it.
 * progress   lock-free, no system call but for the random bits.
 * limits     one entry of the directory for each port that is neither used nor revoked nor
 *            void.
 *
 * Who has not seen the bytes cannot make them up. The peers of a shared segment are not
 * hostile to each other, and could look into the directory.
 *
 * In an isolated segment they are, and all that lies there is of no use to who has not the
 * bytes (port_far.c). There a port's maker is the peer at the other endpoint: from its first
 * port on, its endpoint of that channel meets nobody who has not opened one, and by each port
 * one peer for one session, until it removes its half of the channel. Who opens a port holds an
 * endpoint in its own region, is met when both have looked, and is told (-EPIPE) when another
 * was met by it or it was revoked, and (-EOWNERDEAD) when its maker has died.
 */
#ifndef EVERING_PORT_H
#define EVERING_PORT_H

#include <evering/channel.h>

#ifdef __cplusplus
extern "C" {
#endif

/* To be copied and stored as it is: the same bytes in every process, little-endian. */
struct evr_port {
	uint8_t bytes[32];
};

/**
 * evr_port_make() - make a port of an endpoint
 * @port: out
 * @peer: own attachment, read-write; the port is void when it ends
 * @name: of the channel
 * @role: the endpoint. It may be held now, and must be free when the port is opened.
 *
 * An endpoint can have several ports, each for one use.
 *
 * In an isolated segment the caller has a half of the channel, and is, or will be, at the other
 * endpoint.
 *
 * Return: 0; -ENOENT also when there is no own half; -EINVAL no channel, no role; -EROFS an
 * observer; -ENOMEM; -ENOSPC as evr_dir_create().
 */
EVR_API int evr_port_make(struct evr_port *port, struct evr_peer *peer, const char *name,
			  enum evr_channel_role role);

/**
 * evr_port_open() - hold the endpoint that a port stands for
 * @ch: filled in, as by evr_channel_open()
 * @port: from anywhere
 * @type_tag: as for evr_channel_open()
 *
 * Return: 0, and the port is used up; -EINVAL these are not the bytes of a port; -EXDEV of
 * another segment; -ESTALE it was used or revoked, is void, or nobody made it, or its
 * channel is gone; -EBUSY the endpoint is not free now: the port stays good;
 * -EINVAL the channel has another type, or in an isolated segment the caller an own half of
 * that name and other properties: the port stays good; -EEXIST there: an own object that is
 * no channel; -ENOSPC; -EBADMSG; -EROFS an observer.
 */
EVR_API int evr_port_open(struct evr_channel *ch, struct evr_peer *peer,
			  const struct evr_port *port, uint64_t type_tag);

/*
 * evr_port_revoke() - nobody can open it any more, nor be met by it. In an isolated segment
 * only for its maker (-EROFS). Return: 0; otherwise as evr_port_open().
 */
EVR_API int evr_port_revoke(struct evr_peer *peer, const struct evr_port *port);

#ifdef __cplusplus
}
#endif

#endif
