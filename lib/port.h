/* SPDX-License-Identifier: MIT */
/* What the files of ports share, and a channel of two halves asks of them. */
#ifndef EVERING_LIB_PORT_H
#define EVERING_LIB_PORT_H

#include <stdbool.h>

#include <evering/port.h>

#define PORT_LAYOUT 0x3130545250525645ULL /* "EVRPRT01" */

/* What the bytes of a port are. */
struct port_bytes {
	uint64_t layout;
	uint64_t segment_id;
	uint64_t nonce[2];
};

/* Shared: the port's object, written once before it is published. */
struct port_object {
	uint64_t layout;
	uint32_t idx, gen; /* of the channel; in an isolated segment of its maker's half */
	uint64_t role;
	char name[EVR_OBJECT_NAME_SZ];
	uint64_t proof; /* isolated: that its maker has the nonce; else 0 */
};

/* port.c: publish it under this name in the directory that the peer creates in. */
int evr_port_publish(struct evr_peer *peer, const char *name, const struct port_object *port,
		     struct evr_object *object);
/* port.c: what it says. 0; -EBADMSG; -ESTALE */
int evr_port_read(struct evr_peer *peer, const struct evr_object *object, struct port_object *out);
/* port.c: -ESTALE, with why. */
int evr_port_stale(const char *why);

/* port_far.c: the same calls in an isolated segment. @bytes were checked. */
int evr_port_far_make(struct evr_peer *peer, const char *name, enum evr_channel_role role,
		      const struct port_bytes *bytes);
int evr_port_far_open(struct evr_channel *ch, struct evr_peer *peer, const struct port_bytes *bytes,
		      uint64_t type_tag);
int evr_port_far_revoke(struct evr_peer *peer, const struct port_bytes *bytes);

/* What an endpoint shows whose owner word, HELD, is @turn. */
uint64_t evr_port_pass(const uint64_t *nonce, uint64_t turn);

/*
 * May this peer's endpoint of the channel meet the turn that shows this pass? When there
 * never was a port for the other endpoint: whoever comes.
 * @use: and nobody else by the same port, from now on.
 */
bool evr_port_admits(struct evr_peer *peer, const struct evr_object *channel,
		     enum evr_channel_role other, uint64_t turn, uint64_t u_pass, bool use);

/* It was met, and knows it: the object of its port goes, by which others see that they will not be. */
void evr_port_used(struct evr_peer *peer, const struct evr_object *channel,
		   enum evr_channel_role other);

/* At the detach. */
void evr_port_forget_all(struct evr_peer *peer);

#endif
