/* SPDX-License-Identifier: MIT */
/*
 * Ports; include/evering/port.h has the model.
 *
 *   published -> removed     who opens it, once it holds the endpoint; who revokes it;
 *                            who reaps its maker (kinds.c)
 *
 * The endpoint comes first: who dies in between leaves a port that is good and an
 * endpoint that is free once it was reaped. Who finds the port gone with the endpoint
 * in its hands was not the one, and lets go of it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include <evering/port.h>

#include "backend.h"
#include "dir.h"
#include "internal.h"

#define PORT_LAYOUT 0x3130545250525645ULL /* "EVRPRT01" */

/* What the bytes of a port are. */
struct port_bytes {
	uint64_t layout;
	uint64_t segment_id;
	uint64_t nonce[2];
};

EVR_STATIC_ASSERT(sizeof(struct port_bytes) == sizeof(struct evr_port), "part of the format");
EVR_STATIC_ASSERT(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

/* Shared: the port's object, written once before it is published. */
struct port_object {
	uint64_t layout;
	uint32_t idx, gen; /* of the channel */
	uint64_t role;
	char name[EVR_OBJECT_NAME_SZ];
};

/* The name of a port's object. */
static void port_name(const struct port_bytes *bytes, char *name)
{
	snprintf(name, EVR_OBJECT_NAME_SZ, "port.%016llx%016llx",
		 (unsigned long long)bytes->nonce[0], (unsigned long long)bytes->nonce[1]);
}

static int port_publish(struct evr_peer *peer, const struct port_bytes *bytes,
			const struct port_object *port)
{
	char name[EVR_OBJECT_NAME_SZ];
	struct evr_object object;
	void *at;
	int err;

	port_name(bytes, name);
	err = evr_dir_create(peer, name, EVR_KIND_PORT, sizeof(*port), &object);
	if (err)
		return err;
	at = evr_peer_at(peer, object.off, sizeof(*port));
	if (!at) {
		evr_dir_remove(peer, &object);
		return evr_fail(-EBADMSG, "port: its object at %llu is not mapped",
				(unsigned long long)object.off);
	}
	evr_copy_in(at, port, sizeof(*port));
	return evr_dir_publish(peer, &object);
}

int evr_port_make(struct evr_port *port, struct evr_peer *peer, const char *name,
		  enum evr_channel_role role)
{
	struct port_bytes bytes = { .layout = PORT_LAYOUT };
	struct port_object shared = { .layout = PORT_LAYOUT, .role = role };
	struct evr_object channel;
	int err;

	memset(port, 0, sizeof(*port));
	if (role != EVR_CHANNEL_A && role != EVR_CHANNEL_B)
		return evr_fail(-EINVAL, "port of channel '%s': role %d is none", name, (int)role);
	if (evr_dir_is_isolated(peer))
		return evr_fail(-EOPNOTSUPP, "port of channel '%s': in an isolated segment", name);
	err = evr_dir_find(peer, name, &channel);
	if (err)
		return err;
	if (channel.kind != EVR_KIND_CHANNEL)
		return evr_fail(-EINVAL, "port: '%s' is an object of kind %u, no channel", name,
				channel.kind);
	if (getrandom(bytes.nonce, sizeof(bytes.nonce), 0) != sizeof(bytes.nonce))
		return evr_fail(-errno, "port: no random bits: %s", strerror(errno));
	bytes.segment_id = peer->segment->layout.segment_id;
	shared.idx = channel.idx;
	shared.gen = channel.gen;
	memcpy(shared.name, channel.name, sizeof(shared.name));
	err = port_publish(peer, &bytes, &shared);
	if (!err)
		memcpy(port->bytes, &bytes, sizeof(bytes));
	return err;
}

static int port_stale(const char *why)
{
	return evr_fail(-ESTALE, "port: %s", why);
}

/* The object that these bytes stand for. */
static int port_find(struct evr_peer *peer, const struct evr_port *port, struct evr_object *object)
{
	char name[EVR_OBJECT_NAME_SZ];
	struct port_bytes bytes;
	int err;

	memcpy(&bytes, port->bytes, sizeof(bytes));
	if (bytes.layout != PORT_LAYOUT)
		return evr_fail(-EINVAL, "port: its bytes begin with %#llx, not %#llx",
				(unsigned long long)bytes.layout, PORT_LAYOUT);
	if (bytes.segment_id != peer->segment->layout.segment_id)
		return evr_fail(-EXDEV, "port: of segment %#llx, and this is %#llx",
				(unsigned long long)bytes.segment_id,
				(unsigned long long)peer->segment->layout.segment_id);
	port_name(&bytes, name);
	err = evr_dir_find(peer, name, object);
	if (err == -ENOENT || (!err && object->kind != EVR_KIND_PORT))
		return port_stale("it was used or revoked, or nobody has made it");
	if (!err && !evr_peer_is_live(peer, object->creator))
		return port_stale("the peer that has made it has ended");
	return err;
}

/* What it says, which others can write. */
static int port_read(struct evr_peer *peer, const struct evr_object *object,
		     struct port_object *out)
{
	const void *at = object->sz < sizeof(*out) ? NULL :
						     evr_peer_at(peer, object->off, sizeof(*out));

	if (!at)
		return evr_fail(-EBADMSG, "port: its object of %llu bytes at %llu is not mapped",
				(unsigned long long)object->sz, (unsigned long long)object->off);
	evr_copy_out(out, at, sizeof(*out));
	/* Read before the look whether it was still the port's. */
	evr_fence();
	if (!evr_dir_is_current(peer, object))
		return port_stale("it is used or revoked just now");
	if (out->layout != PORT_LAYOUT || out->name[sizeof(out->name) - 1] || out->role > 1)
		return evr_fail(-EBADMSG, "port: layout %#llx, role %llu of its object",
				(unsigned long long)out->layout, (unsigned long long)out->role);
	return 0;
}

/* Is this object the channel that the port was made for? */
static int port_check(const struct port_object *said, const struct evr_object *channel)
{
	if (channel->kind == EVR_KIND_CHANNEL && channel->idx == said->idx &&
	    channel->gen == said->gen)
		return 0;
	return port_stale("its channel is gone");
}

static int port_use(struct evr_peer *peer, const struct evr_object *object)
{
	return evr_dir_remove(peer, object) ? port_stale("it was used or revoked just now") : 0;
}

int evr_port_open(struct evr_channel *ch, struct evr_peer *peer, const struct evr_port *port,
		  uint64_t type_tag)
{
	struct evr_object object, channel;
	struct port_object said;
	int err;

	memset(ch, 0, sizeof(*ch));
	if (!(evr_peer_rights(peer) & EVR_RIGHT_WRITE))
		return evr_fail(-EROFS, "port: an observer cannot use it");
	err = port_find(peer, port, &object);
	if (!err && evr_dir_is_isolated(peer))
		err = port_stale("nobody can have made it in an isolated segment");
	if (!err)
		err = port_read(peer, &object, &said);
	if (err)
		return err;
	err = evr_dir_find(peer, said.name, &channel);
	if (err == -ENOENT)
		return port_stale("its channel is gone");
	if (!err)
		err = port_check(&said, &channel);
	if (!err)
		err = evr_channel_open(ch, peer, said.name, (enum evr_channel_role)said.role,
				       type_tag);
	if (err)
		return err;
	err = port_check(&said, &ch->rx[0].lane.object);
	if (!err)
		err = port_use(peer, &object);
	if (err)
		evr_channel_close(ch);
	return err;
}

int evr_port_revoke(struct evr_peer *peer, const struct evr_port *port)
{
	struct evr_object object;
	int err;

	if (!(evr_peer_rights(peer) & EVR_RIGHT_WRITE))
		return evr_fail(-EROFS, "port: an observer cannot revoke it");
	err = port_find(peer, port, &object);
	return err ? err : port_use(peer, &object);
}
