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
#include "port.h"

EVR_STATIC_ASSERT(sizeof(struct port_bytes) == sizeof(struct evr_port), "part of the format");
EVR_STATIC_ASSERT(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

/* The name of a port's object. */
static void port_name(const struct port_bytes *bytes, char *name)
{
	snprintf(name, EVR_OBJECT_NAME_SZ, "port.%016llx%016llx",
		 (unsigned long long)bytes->nonce[0], (unsigned long long)bytes->nonce[1]);
}

int evr_port_publish(struct evr_peer *peer, const char *name, const struct port_object *port,
		     struct evr_object *object)
{
	void *at;
	int err;

	err = evr_dir_create_own(peer, name, EVR_KIND_PORT, sizeof(*port), object);
	if (err)
		return err;
	at = evr_peer_at(peer, object->off, sizeof(*port));
	if (!at) {
		evr_dir_remove(peer, object);
		return evr_fail(-EBADMSG, "port: its object at %llu is not mapped",
				(unsigned long long)object->off);
	}
	evr_copy_in(at, port, sizeof(*port));
	return evr_dir_publish(peer, object);
}

/* Of a channel that everybody can write. */
static int port_make(struct evr_peer *peer, const char *name, enum evr_channel_role role,
		     const struct port_bytes *bytes)
{
	struct port_object shared = { .layout = PORT_LAYOUT, .role = role };
	char object_name[EVR_OBJECT_NAME_SZ];
	struct evr_object channel, object;
	int err;

	err = evr_dir_find(peer, name, &channel);
	if (err)
		return err;
	if (channel.kind != EVR_KIND_CHANNEL)
		return evr_fail(-EINVAL, "port: '%s' is an object of kind %u, no channel", name,
				channel.kind);
	shared.idx = channel.idx;
	shared.gen = channel.gen;
	memcpy(shared.name, channel.name, sizeof(shared.name));
	port_name(bytes, object_name);
	return evr_port_publish(peer, object_name, &shared, &object);
}

int evr_port_make(struct evr_port *port, struct evr_peer *peer, const char *name,
		  enum evr_channel_role role)
{
	struct port_bytes bytes = { .layout = PORT_LAYOUT };
	int err;

	memset(port, 0, sizeof(*port));
	if (role != EVR_CHANNEL_A && role != EVR_CHANNEL_B)
		return evr_fail(-EINVAL, "port of channel '%s': role %d is none", name, (int)role);
	if (getrandom(bytes.nonce, sizeof(bytes.nonce), 0) != sizeof(bytes.nonce))
		return evr_fail(-errno, "port: no random bits: %s", strerror(errno));
	bytes.segment_id = peer->segment->layout.segment_id;
	err = evr_dir_is_isolated(peer) ? evr_port_far_make(peer, name, role, &bytes) :
					  port_make(peer, name, role, &bytes);
	if (!err)
		memcpy(port->bytes, &bytes, sizeof(bytes));
	return err;
}

int evr_port_stale(const char *why)
{
	return evr_fail(-ESTALE, "port: %s", why);
}

static int port_check_bytes(struct evr_peer *peer, const struct evr_port *port,
			    struct port_bytes *bytes)
{
	memcpy(bytes, port->bytes, sizeof(*bytes));
	if (bytes->layout != PORT_LAYOUT)
		return evr_fail(-EINVAL, "port: its bytes begin with %#llx, not %#llx",
				(unsigned long long)bytes->layout, PORT_LAYOUT);
	if (bytes->segment_id != peer->segment->layout.segment_id)
		return evr_fail(-EXDEV, "port: of segment %#llx, and this is %#llx",
				(unsigned long long)bytes->segment_id,
				(unsigned long long)peer->segment->layout.segment_id);
	return 0;
}

/* The object that these bytes stand for. */
static int port_find(struct evr_peer *peer, const struct port_bytes *bytes,
		     struct evr_object *object)
{
	char name[EVR_OBJECT_NAME_SZ];
	int err;

	port_name(bytes, name);
	err = evr_dir_find(peer, name, object);
	if (err == -ENOENT || (!err && object->kind != EVR_KIND_PORT))
		return evr_port_stale("it was used or revoked, or nobody has made it");
	if (!err && !evr_peer_is_live(peer, object->creator))
		return evr_port_stale("the peer that has made it has ended");
	return err;
}

/* What it says, which others can write. */
int evr_port_read(struct evr_peer *peer, const struct evr_object *object, struct port_object *out)
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
		return evr_port_stale("it is used or revoked just now");
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
	return evr_port_stale("its channel is gone");
}

static int port_use(struct evr_peer *peer, const struct evr_object *object)
{
	return evr_dir_remove(peer, object) ? evr_port_stale("it was used or revoked just now") : 0;
}

/* Of a channel that everybody can write. */
static int port_open(struct evr_channel *ch, struct evr_peer *peer, const struct port_bytes *bytes,
		     uint64_t type_tag)
{
	struct evr_object object, channel;
	struct port_object said;
	int err;

	err = port_find(peer, bytes, &object);
	if (!err)
		err = evr_port_read(peer, &object, &said);
	if (err)
		return err;
	err = evr_dir_find(peer, said.name, &channel);
	if (err == -ENOENT)
		return evr_port_stale("its channel is gone");
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

int evr_port_open(struct evr_channel *ch, struct evr_peer *peer, const struct evr_port *port,
		  uint64_t type_tag)
{
	struct port_bytes bytes;
	int err;

	memset(ch, 0, sizeof(*ch));
	if (!(evr_peer_rights(peer) & EVR_RIGHT_WRITE))
		return evr_fail(-EROFS, "port: an observer cannot use it");
	err = port_check_bytes(peer, port, &bytes);
	if (err)
		return err;
	return evr_dir_is_isolated(peer) ? evr_port_far_open(ch, peer, &bytes, type_tag) :
					   port_open(ch, peer, &bytes, type_tag);
}

int evr_port_revoke(struct evr_peer *peer, const struct evr_port *port)
{
	struct evr_object object;
	struct port_bytes bytes;
	int err;

	if (!(evr_peer_rights(peer) & EVR_RIGHT_WRITE))
		return evr_fail(-EROFS, "port: an observer cannot revoke it");
	err = port_check_bytes(peer, port, &bytes);
	if (!err && evr_dir_is_isolated(peer))
		return evr_port_far_revoke(peer, &bytes);
	if (!err)
		err = port_find(peer, &bytes, &object);
	return err ? err : port_use(peer, &object);
}
