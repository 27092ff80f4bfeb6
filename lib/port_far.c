/* SPDX-License-Identifier: MIT */
/*
 * Ports in an isolated segment, where all can read all, nobody can keep another from writing
 * its own region, and none trusts another.
 *
 * model      a port's maker is who has the other endpoint. Its nonce is in the maker's private
 *            memory and in the port's bytes, and nowhere in the segment: what lies there are
 *            values of a keyed function of it, which nobody can make up for himself.
 *
 *              name of the object   f(nonce, NAME)          public; in the maker's directory
 *              its proof            f(nonce, MAKE, maker)   who has the bytes sees whose it is
 *              pass                 f(nonce, PASS, turn)    in the half of who opens it, its
 *                                                           owner word's turn
 *
 *            The maker's endpoint meets only a turn whose pass is right, and each port once.
 *            From the first port on that is so for good: the door stays when it is spent, until
 *            the maker's half is removed.
 * trust      a pass is seen by all, and is of no use to another: it is of that turn of that
 *            peer, and who that is says the status page.
 * edges      CHAN-MEET: a pass is written before the link, and read after it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "channel.h"
#include "dir.h"
#include "internal.h"
#include "port.h"
#include "prf.h"

enum { PORT_NAME = 1, PORT_NAME_REST, PORT_MAKE, PORT_PASS };

/* Private: that there is, or was, a port for the other endpoint of an own half. */
struct evr_port_door {
	struct evr_port_door *next;
	struct evr_object channel, object;
	uint64_t nonce[2];
	uint8_t role; /* of the other endpoint */
	bool spent; /* nobody comes by it any more */
	bool shown; /* its object is still there */
};

uint64_t evr_port_pass(const uint64_t *nonce, uint64_t turn)
{
	const uint64_t words[] = { PORT_PASS, turn };

	return evr_prf(nonce, words, 2);
}

static uint64_t maker_proof(const uint64_t *nonce, struct evr_peer_id id)
{
	const uint64_t words[] = { PORT_MAKE, id.slot, id.incarnation };

	return evr_prf(nonce, words, 3);
}

static void port_name(const uint64_t *nonce, char *name)
{
	const uint64_t words[] = { PORT_NAME, PORT_NAME_REST };

	snprintf(name, EVR_OBJECT_NAME_SZ, "port.%016llx%016llx",
		 (unsigned long long)evr_prf(nonce, words, 1),
		 (unsigned long long)evr_prf(nonce, words + 1, 1));
}

static bool door_is_of(const struct evr_port_door *d, const struct evr_object *channel,
		       enum evr_channel_role other)
{
	return d->channel.idx == channel->idx && d->channel.gen == channel->gen &&
	       d->role == (uint8_t)other;
}

/* Under the lock: nobody comes by this port any more. */
static void door_spend(struct evr_port_door *d)
{
	d->spent = true;
	explicit_bzero(d->nonce, sizeof(d->nonce));
}

static int door_hide(struct evr_peer *peer, struct evr_port_door *d)
{
	d->shown = false;
	return evr_dir_remove(peer, &d->object);
}

void evr_port_used(struct evr_peer *peer, const struct evr_object *channel,
		   enum evr_channel_role other)
{
	struct evr_port_door *d;

	pthread_mutex_lock(&peer->members_lock);
	for (d = peer->doors; d; d = d->next)
		if (d->spent && d->shown && door_is_of(d, channel, other))
			door_hide(peer, d);
	pthread_mutex_unlock(&peer->members_lock);
}

bool evr_port_admits(struct evr_peer *peer, const struct evr_object *channel,
		     enum evr_channel_role other, uint64_t turn, uint64_t u_pass, bool use)
{
	struct evr_port_door *d;
	bool admits = true;

	pthread_mutex_lock(&peer->members_lock);
	for (d = peer->doors; d; d = d->next) {
		if (!door_is_of(d, channel, other))
			continue;
		admits = !d->spent && evr_port_pass(d->nonce, turn) == u_pass;
		if (!admits)
			continue;
		if (use)
			door_spend(d);
		break;
	}
	pthread_mutex_unlock(&peer->members_lock);
	return admits;
}

void evr_port_forget_all(struct evr_peer *peer)
{
	struct evr_port_door *d;

	while (peer->doors) {
		d = peer->doors;
		peer->doors = d->next;
		explicit_bzero(d->nonce, sizeof(d->nonce));
		free(d);
	}
}

/* Under the lock: a place for one more; a spent one of this half, or of none, serves again. */
static struct evr_port_door *door_make(struct evr_peer *peer, const struct evr_object *channel,
				       enum evr_channel_role other)
{
	struct evr_port_door *d;

	for (d = peer->doors; d; d = d->next)
		if (d->spent && !d->shown &&
		    (door_is_of(d, channel, other) || !evr_dir_is_current(peer, &d->channel)))
			return d;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->next = peer->doors;
	peer->doors = d;
	return d;
}

int evr_port_far_make(struct evr_peer *peer, const char *name, enum evr_channel_role role,
		      const struct port_bytes *bytes)
{
	struct port_object shared = { .layout = PORT_LAYOUT, .role = role };
	struct evr_peer_id self = evr_peer_self(peer);
	char object_name[EVR_OBJECT_NAME_SZ];
	struct evr_object channel, object;
	struct evr_port_door *d;
	int err;

	if (!(evr_peer_rights(peer) & EVR_RIGHT_WRITE))
		return evr_fail(-EROFS, "port: an observer cannot make one");
	if (!name || !evr_dir_find_in(peer, self, name, &channel))
		return evr_fail(-ENOENT, "port: this peer has no half of a channel '%s'",
				name ? name : "(null)");
	if (channel.kind != EVR_KIND_CHANNEL)
		return evr_fail(-EINVAL, "port: '%s' is an object of kind %u, no channel", name,
				channel.kind);
	shared.idx = channel.idx;
	shared.gen = channel.gen;
	memcpy(shared.name, channel.name, sizeof(shared.name));
	shared.proof = maker_proof(bytes->nonce, self);
	port_name(bytes->nonce, object_name);
	/* Whoever finds it is let in. */
	pthread_mutex_lock(&peer->members_lock);
	d = door_make(peer, &channel, role);
	err = d ? evr_port_publish(peer, object_name, &shared, &object) :
		  evr_fail(-ENOMEM, "port: no private memory");
	if (d)
		*d = (struct evr_port_door){ .next = d->next,
					     .channel = channel,
					     .object = object,
					     .role = (uint8_t)role,
					     .spent = err,
					     .shown = !err };
	if (!err)
		memcpy(d->nonce, bytes->nonce, sizeof(d->nonce));
	pthread_mutex_unlock(&peer->members_lock);
	return err;
}

/* A name and a proof can be copied, but the proof is of one peer. */
static int port_find(struct evr_peer *peer, const struct port_bytes *bytes,
		     struct evr_peer_id *maker, struct evr_object *object, struct port_object *said)
{
	char name[EVR_OBJECT_NAME_SZ];
	uint32_t slot;

	port_name(bytes->nonce, name);
	for (slot = 0; slot < peer->segment->layout.peers_max; slot++) {
		maker->slot = slot;
		if (peer->ops->state(peer, slot, &maker->incarnation) != EVR_PEER_LIVE ||
		    !evr_dir_find_in(peer, *maker, name, object) || object->kind != EVR_KIND_PORT ||
		    object->sz < sizeof(*said) || evr_port_read(peer, object, said))
			continue;
		if (said->proof == maker_proof(bytes->nonce, *maker))
			return 0;
	}
	return evr_port_stale("it was used or revoked, its maker has ended, or nobody has made it");
}

int evr_port_far_open(struct evr_channel *ch, struct evr_peer *peer, const struct port_bytes *bytes,
		      uint64_t type_tag)
{
	struct channel_terms terms = { .type_tag = type_tag, .once = true, .nonce = bytes->nonce };
	struct evr_object object, channel;
	struct port_object said;
	int err;

	err = port_find(peer, bytes, &terms.other, &object, &said);
	if (err)
		return err;
	if (!evr_dir_find_in(peer, terms.other, said.name, &channel) || channel.idx != said.idx ||
	    channel.gen != said.gen)
		return evr_port_stale("its channel is gone");
	terms.role = (enum evr_channel_role)said.role;
	terms.ticket = evr_dir_ctl(peer, &object);
	terms.ticket_gen = object.gen;
	err = evr_channel_far_like(peer, terms.other, said.name);
	if (!err)
		err = evr_channel_open_on(ch, peer, said.name, &terms);
	if (err || (terms.ticket && evr_channel_state(ch) != EVR_RING_CLOSED))
		return err;
	evr_channel_close(ch);
	return evr_port_stale("it was used or revoked just now");
}

int evr_port_far_revoke(struct evr_peer *peer, const struct port_bytes *bytes)
{
	struct port_object said;
	struct evr_object object;
	struct evr_port_door *d;
	struct evr_peer_id maker;
	int err = -ENOENT;

	pthread_mutex_lock(&peer->members_lock);
	for (d = peer->doors; d && err == -ENOENT; d = d->next)
		if (!d->spent && !memcmp(d->nonce, bytes->nonce, sizeof(d->nonce))) {
			door_spend(d);
			err = door_hide(peer, d);
		}
	pthread_mutex_unlock(&peer->members_lock);
	if (err != -ENOENT)
		return err;
	err = port_find(peer, bytes, &maker, &object, &said);
	return err ? err : evr_fail(-EROFS, "port: it is peer %u's to revoke", maker.slot);
}
