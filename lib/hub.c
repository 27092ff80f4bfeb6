/* SPDX-License-Identifier: MIT */
/*
 * Hubs; include/evering/hub.h has the model.
 *
 * Three kinds of objects: "NAME" says what its channels are like, "NAME.in" is the inbox (in an
 * isolated segment "NAME.inSLOT", of the listener), "NAME.SLOT.NUMBER" the channel of one connection from a slot.
 *
 * A request names the client's turn in role A, all 64 bits of its owner word. Whether it
 * still stands is what the owner word says now; so a request of who has gone, or that
 * comes twice, is known for that. The listener takes role B before it releases the
 * request: if it dies in between, its successor finds the request, and either the client
 * has not met the dead one, and is accepted, or it has, and learns of the death.
 *
 * In an isolated segment the hub and its inbox are the listener's, in its own region, and
 * gone with it. Each end has a half of each channel, which it makes itself, as its own hub,
 * or the one that it connects to, says; a half of other properties is replaced. The request
 * also names the listener that it is for, and counts only for the peer in whose region it
 * lies. The listener's endpoint may then meet that turn of that peer, and nothing else; the
 * client's that listener. Neither is there for the other yet when accept returns.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <evering/hub.h>

#include "backend.h"
#include "channel.h"
#include "dir.h"
#include "inbox.h"
#include "internal.h"

#define HUB_LAYOUT 0x31304255485645ULL /* "EVHUB01" */
#define REQUEST_TAG 0x3230515242554845ULL /* "EHUBRQ02" */
/* Requests of one client that wait: those it has given up count too. */
#define REQUESTS_MAX (2 * EVR_HUB_EACH)
/* Accept gives up for now, so that who floods it keeps nobody busy for ever. */
#define STALE_MAX 256

/* Shared: written once before it is published. */
struct hub_object {
	uint64_t layout;
	uint64_t capacity, urgent_capacity, inline_max;
	uint64_t window_messages, window_bytes;
	uint64_t type_tag;
	uint64_t resv;
	char heap[EVR_OBJECT_NAME_SZ]; /* "": there are no blocks */
};

struct hub_request {
	uint64_t turn; /* the client's owner word in role A */
	uint64_t listener; /* isolated: {incarnation:56 | slot:8}; else 0 */
	uint32_t slot, number;
};

EVR_STATIC_ASSERT(sizeof(struct hub_request) == 24, "part of the shared layout");

static uint64_t listener_word(struct evr_peer_id id)
{
	return id.incarnation << 8 | (id.slot & 0xff);
}

static int name_check(const char *name)
{
	if (name && *name && strnlen(name, EVR_HUB_NAME_MAX + 1) <= EVR_HUB_NAME_MAX)
		return 0;
	return evr_fail(-EINVAL, "hub name '%.50s': it must have 1 to %d bytes",
			name ? name : "(null)", EVR_HUB_NAME_MAX);
}

/* Isolated: of a name for each listener's slot, so that each has its own lanes, and takes no other's requests. */
static void inbox_name(struct evr_peer *peer, const char *name, uint32_t listener, char *out)
{
	if (evr_dir_is_isolated(peer))
		snprintf(out, EVR_OBJECT_NAME_SZ, "%.*s.in%u", EVR_HUB_NAME_MAX, name,
			 listener & 0xff);
	else
		snprintf(out, EVR_OBJECT_NAME_SZ, "%.*s.in", EVR_HUB_NAME_MAX, name);
}

static void channel_name(const char *name, uint32_t slot, uint32_t number, char *out)
{
	snprintf(out, EVR_OBJECT_NAME_SZ, "%.*s.%u.%u", EVR_HUB_NAME_MAX, name, slot & 0xff,
		 number & 0xff);
}

/*
 * Find the hub; in an isolated segment @listener's, or for slot EVR_SLOT_ANY the first that
 * there is, and fill in whose it is.
 */
static int hub_find(struct evr_peer *peer, const char *name, struct evr_peer_id *listener,
		    struct evr_object *object)
{
	int err = name_check(name);

	if (err)
		return err;
	if (!evr_dir_is_isolated(peer) || listener->slot == EVR_SLOT_ANY)
		err = evr_dir_find(peer, name, object);
	else if (!evr_peer_is_live(peer, *listener) ||
		 !evr_dir_find_in(peer, *listener, name, object))
		err = evr_fail(-ENOENT, "hub '%s': peer %u.%llu has none of this name", name,
			       listener->slot, (unsigned long long)listener->incarnation);
	if (!err && object->kind != EVR_KIND_HUB)
		err = evr_fail(-EINVAL, "'%s' is an object of kind %u, no hub", name, object->kind);
	if (err || !evr_dir_is_isolated(peer) || listener->slot != EVR_SLOT_ANY)
		return err;
	listener->slot = object->slot;
	peer->ops->state(peer, listener->slot, &listener->incarnation);
	return 0;
}

/* The hub that this peer may listen to, or remove. */
static int hub_find_own(struct evr_peer *peer, const char *name, struct evr_object *object)
{
	struct evr_peer_id self = evr_peer_self(peer);

	return hub_find(peer, name, &self, object);
}

static int hub_publish(struct evr_peer *peer, const char *name, const struct hub_object *hub)
{
	struct evr_object object;
	void *at;
	int err;

	err = evr_dir_create_own(peer, name, EVR_KIND_HUB, sizeof(*hub), &object);
	if (err)
		return err;
	at = evr_peer_at(peer, object.off, sizeof(*hub));
	if (!at) {
		evr_dir_remove(peer, &object);
		return evr_fail(-EBADMSG, "hub '%s': its object at %llu is not mapped", name,
				(unsigned long long)object.off);
	}
	evr_copy_in(at, hub, sizeof(*hub));
	return evr_dir_publish(peer, &object);
}

/* Who has died in a creation has left parts of it, which serve the next. */
static int made(int err)
{
	return err == -EEXIST ? 0 : err;
}

int evr_hub_create(struct evr_peer *peer, const char *name,
		   const struct evr_channel_options *options)
{
	struct evr_inbox_options inbox = { .struct_sz = sizeof(inbox),
					   .capacity = REQUESTS_MAX,
					   .elem_sz = sizeof(struct hub_request),
					   .type_tag = REQUEST_TAG };
	struct hub_object hub = { .layout = HUB_LAYOUT };
	char part[EVR_OBJECT_NAME_SZ];
	struct evr_channel_options o;
	struct evr_object object;
	int err;

	err = name_check(name);
	if (!err)
		err = evr_options_read(&o, sizeof(o), options, "evr_channel_options");
	if (err)
		return err;
	if (evr_dir_is_isolated(peer) ? evr_dir_find_in(peer, evr_peer_self(peer), name, &object) :
					!evr_dir_find(peer, name, &object))
		return evr_fail(-EEXIST, "there is an object '%s'", name);
	o.struct_sz = sizeof(o);
	/* The first channel also says whether the options are possible. */
	channel_name(name, 0, 0, part);
	err = made(evr_channel_create(peer, part, &o));
	inbox_name(peer, name, evr_peer_self(peer).slot, part);
	if (!err)
		err = made(evr_inbox_create(peer, part, &inbox));
	if (err)
		return err;
	hub.capacity = o.capacity;
	hub.urgent_capacity = o.urgent_capacity;
	hub.inline_max = o.inline_max;
	hub.window_messages = o.window_messages;
	hub.window_bytes = o.window_bytes;
	hub.type_tag = o.type_tag;
	if (o.heap) /* its length was checked by the channel */
		memcpy(hub.heap, o.heap, strlen(o.heap) + 1);
	return hub_publish(peer, name, &hub);
}

struct removal {
	struct evr_peer *peer;
	const char *name;
};

/* A channel of the hub: "NAME.SLOT.NUMBER"; one that is held stays. */
static int remove_channel(const struct evr_object *object, void *arg)
{
	const struct removal *r = arg;
	size_t len = strlen(r->name);
	unsigned int slot, number;
	char end;

	if (object->kind == EVR_KIND_CHANNEL && !strncmp(object->name, r->name, len) &&
	    sscanf(object->name + len, ".%u.%u%c", &slot, &number, &end) == 2)
		evr_dir_remove(r->peer, object);
	return 0;
}

int evr_hub_remove(struct evr_peer *peer, const char *name)
{
	struct removal removal = { .peer = peer, .name = name };
	char part[EVR_OBJECT_NAME_SZ];
	struct evr_object object;
	int err;

	err = hub_find_own(peer, name, &object);
	if (err)
		return err;
	inbox_name(peer, name, evr_peer_self(peer).slot, part);
	err = evr_inbox_remove(peer, part);
	if (err && err != -ENOENT)
		return err;
	err = evr_dir_remove(peer, &object);
	if (!err)
		evr_dir_walk(peer, remove_channel, &removal);
	return err;
}

int evr_hub_listen(struct evr_hub *hub, struct evr_peer *peer, const char *name, uint64_t type_tag)
{
	char part[EVR_OBJECT_NAME_SZ];
	struct evr_object object;
	int err;

	memset(hub, 0, sizeof(*hub));
	err = hub_find_own(peer, name, &object);
	if (err)
		return err;
	inbox_name(peer, name, evr_peer_self(peer).slot, part);
	strcpy(hub->name, name);
	hub->type_tag = type_tag;
	/* The inbox may say anything of its messages. */
	return evr_inbox_open_sized(&hub->box, peer, part, REQUEST_TAG, sizeof(struct hub_request));
}

void evr_hub_close(struct evr_hub *hub)
{
	evr_inbox_close(&hub->box);
}

/* What a hub says of its channels; in an isolated segment @listener's, as hub_find(). */
static int hub_read(struct evr_peer *peer, const char *name, struct evr_peer_id *listener,
		    struct hub_object *hub)
{
	struct evr_object object;
	const void *at;
	int err;

	err = hub_find(peer, name, listener, &object);
	if (err)
		return err;
	at = object.sz < sizeof(*hub) ? NULL : evr_peer_at(peer, object.off, sizeof(*hub));
	if (!at)
		return evr_fail(-EBADMSG, "hub '%s': its %llu bytes at %llu are not mapped", name,
				(unsigned long long)object.sz, (unsigned long long)object.off);
	evr_copy_out(hub, at, sizeof(*hub));
	if (hub->layout != HUB_LAYOUT)
		return evr_fail(-EBADMSG, "hub '%s': layout is %#llx, not %#llx", name,
				(unsigned long long)hub->layout, HUB_LAYOUT);
	if (hub->heap[sizeof(hub->heap) - 1])
		return evr_fail(-EBADMSG, "hub '%s': the name of its heap has no end", name);
	return 0;
}

static struct evr_channel_options hub_options(const struct hub_object *hub)
{
	return (struct evr_channel_options){ .struct_sz = sizeof(struct evr_channel_options),
					     .capacity = hub->capacity,
					     .urgent_capacity = hub->urgent_capacity,
					     .inline_max = hub->inline_max,
					     .window_messages = hub->window_messages,
					     .window_bytes = hub->window_bytes,
					     .type_tag = hub->type_tag,
					     .heap = *hub->heap ? hub->heap : NULL };
}

/* A request as it was read, and whose it is. */
struct asked {
	struct hub_request r;
	struct evr_peer_id from;
	char name[EVR_OBJECT_NAME_SZ]; /* of the channel */
};

/*
 * The channel that a request is of. In an isolated segment it lies with who has asked, and
 * who that is says the lane of the request, not the request.
 */
static bool request_find(struct evr_peer *peer, const struct asked *asked,
			 struct evr_object *object)
{
	struct evr_peer_id id = owner_id(asked->r.turn);

	if (!evr_dir_is_isolated(peer))
		return !evr_dir_find(peer, asked->name, object);
	return id.slot == asked->from.slot && id.incarnation == asked->from.incarnation &&
	       asked->r.listener == listener_word(evr_peer_self(peer)) &&
	       evr_dir_find_in(peer, id, asked->name, object) && object->kind == EVR_KIND_CHANNEL;
}

/* The owner words of a request's channel; NULL: the request does not stand any more. */
static const struct evr_a64 *request_owners(struct evr_peer *peer, const struct asked *asked)
{
	const struct hub_request *r = &asked->r;
	const struct evr_a64 *owners;
	struct evr_object object;

	if (owner_state(r->turn) != OWNER_HELD || owner_id(r->turn).slot != r->slot ||
	    r->number >= EVR_HUB_EACH || !request_find(peer, asked, &object))
		return NULL;
	owners = evr_dir_owners(peer, &object);
	if (!owners || evr_a64_load_acquire(&owners[EVR_PRODUCER]) != r->turn || /* LANE-ROLE */
	    owner_is_dead(peer, r->turn))
		return NULL;
	return owners;
}

/* Of a channel of two halves. 0, and whom it is of may be met, and nobody else; -ESTALE; -ENOSPC */
static int request_take_half(struct evr_hub *hub, const struct asked *asked, struct evr_channel *ch)
{
	const struct channel_terms terms = { .role = EVR_CHANNEL_B,
					     .type_tag = hub->type_tag,
					     .other = asked->from,
					     .once = true,
					     .turn = asked->r.turn };
	struct evr_peer *peer = hub->box.control.peer;
	struct evr_peer_id self = evr_peer_self(peer);
	struct evr_channel_options o;
	struct hub_object shared;
	enum evr_ring_state state;
	int err;

	err = hub_read(peer, hub->name, &self, &shared);
	if (err)
		return -ESTALE;
	o = hub_options(&shared);
	err = evr_channel_have_half(peer, asked->name, &o, true);
	if (err)
		return err == -ENOSPC ? err : -ESTALE;
	if (evr_channel_open_on(ch, peer, asked->name, &terms))
		return -ESTALE;
	state = evr_channel_state(ch);
	if (state == EVR_RING_OK || state == EVR_RING_NO_PEER)
		return 0;
	evr_channel_close(ch);
	return -ESTALE;
}

/* Hold the other end. 0; -ESTALE; -EBUSY it is a dead peer's that was not reaped; -ENOSPC */
static int request_take(struct evr_hub *hub, const struct asked *asked, struct evr_channel *ch)
{
	struct evr_peer *peer = hub->box.control.peer;
	const struct evr_a64 *owners = request_owners(peer, asked);
	uint64_t u_owner;
	int err;

	if (!owners)
		return -ESTALE;
	if (evr_dir_is_isolated(peer))
		return request_take_half(hub, asked, ch);
	err = evr_channel_open(ch, peer, asked->name, EVR_CHANNEL_B, hub->type_tag);
	u_owner = evr_a64_load_acquire(&owners[EVR_CONSUMER]); /* LANE-ROLE */
	if (err == -EBUSY && owner_state(u_owner) == OWNER_HELD && owner_is_dead(peer, u_owner))
		return err;
	if (err)
		return -ESTALE;
	/* Whoever it is by now has taken role A of this hub's channel, and wants to be served. */
	if (evr_channel_state(ch) == EVR_RING_OK)
		return 0;
	evr_channel_close(ch);
	return -ESTALE;
}

/* The next request. A lane that has ended in this look may have a successor, so we look again. */
static const void *hub_peek(struct evr_hub *hub, struct evr_peer_id *from)
{
	uint32_t nr, tries, changes;
	const void *at = NULL;

	for (tries = 0; !at && tries < STALE_MAX; tries++) {
		nr = 1;
		changes = hub->box.changes;
		at = evr_inbox_peek(&hub->box, &nr, from);
		if (hub->box.changes == changes)
			break;
	}
	return at;
}

int evr_hub_accept(struct evr_hub *hub, struct evr_channel *ch, struct evr_peer_id *from)
{
	struct asked asked;
	const void *at;
	uint32_t tries;
	int err;

	memset(ch, 0, sizeof(*ch));
	if (from)
		*from = (struct evr_peer_id){ .slot = EVR_SLOT_ANY };
	if (!hub->box.lanes)
		return evr_fail(-EPIPE, "the hub is closed");
	for (tries = 0; tries < STALE_MAX; tries++) {
		at = hub_peek(hub, &asked.from);
		if (!at)
			break;
		evr_copy_out(&asked.r, at, sizeof(asked.r));
		channel_name(hub->name, asked.r.slot, asked.r.number, asked.name);
		err = request_take(hub, &asked, ch);
		if (err == -EBUSY)
			return err;
		evr_inbox_release(&hub->box, 1);
		if (!err) {
			hub->accepted++;
			if (from)
				*from = ch->far ? asked.from : evr_channel_other(ch);
			return 0;
		}
		hub->stale++;
		if (err == -ENOSPC)
			return err;
	}
	return -EAGAIN;
}

struct hub_wait {
	struct evr_hub *hub;
	struct evr_channel *const *chs;
	uint32_t nr, at;
	uint32_t changes; /* of the inbox when the list of need words was made */
};

/* The hub itself is the last of the round. */
static bool hub_ready(void *arg)
{
	struct hub_wait *wait = arg;
	struct evr_peer *peer = wait->hub->box.control.peer;
	uint32_t i;

	for (i = 0; i <= wait->nr; i++, wait->at = (wait->at + 1) % (wait->nr + 1))
		if (wait->at == wait->nr ? evr_inbox_is_ready(&wait->hub->box, wait->changes) :
					   evr_channel_is_ready(wait->chs[wait->at]))
			return true;
	return !evr_peer_is_live(peer, evr_peer_self(peer));
}

static uint32_t hub_needs(const struct hub_wait *wait, struct evr_need **needs)
{
	uint32_t i, k, nr = evr_inbox_needs(&wait->hub->box, needs);

	for (i = 0; i < wait->nr; i++)
		for (k = 0; wait->chs[i]->mine && k < CHANNEL_STREAMS; k++)
			needs[nr++] = &wait->chs[i]->rx[k].lane.mine->need;
	return nr;
}

int evr_hub_wait(struct evr_hub *hub, struct evr_channel *const *chs, uint32_t nr, uint32_t last,
		 struct evr_waiter *waiter, uint64_t deadline_ns)
{
	struct evr_need *needs[EVR_PEERS_MAX + 1 + CHANNEL_STREAMS * EVR_CHANNEL_ANY_MAX];
	struct hub_wait wait = { .hub = hub, .chs = chs, .nr = nr };
	int err;

	if (!hub->box.lanes)
		return evr_fail(-EPIPE, "the hub is closed");
	if (nr > EVR_CHANNEL_ANY_MAX)
		return evr_fail(-EINVAL, "wait for any of %u channels, at most %d", nr,
				EVR_CHANNEL_ANY_MAX);
	wait.at = (last % (nr + 1) + 1) % (nr + 1);
	do {
		wait.changes = hub->box.changes;
		err = evr_waiter_wait(waiter, needs, hub_needs(&wait, needs), hub_ready, &wait,
				      deadline_ns);
		if (!err && wait.at < nr)
			err = evr_channel_waited(chs[wait.at], err);
		if (err == -EOWNERDEAD ||
		    (!err && !evr_peer_is_live(waiter->peer, evr_peer_self(waiter->peer))))
			err = -ESHUTDOWN;
		/* A lane more, with nothing in it: a longer list. */
	} while (!err && wait.at == nr && !hub_peek(hub, NULL));
	return err ? err : (int)wait.at;
}

uint32_t evr_hub_needs(const struct evr_hub *hub, struct evr_need **needs)
{
	return hub->box.lanes ? evr_inbox_needs(&hub->box, needs) : 0;
}

/* Endpoint A of this slot's channel with that number. -EBUSY */
static int hub_channel(struct evr_channel *ch, struct evr_peer *peer, const char *name,
		       const struct hub_object *hub, const struct channel_terms *terms)
{
	struct evr_channel_options o = hub_options(hub);
	int err;

	if (evr_dir_is_isolated(peer)) {
		err = evr_channel_have_half(peer, name, &o, true);
		return err ? err : evr_channel_open_on(ch, peer, name, terms);
	}
	err = evr_channel_open_on(ch, peer, name, terms);
	if (err != -ENOENT)
		return err;
	err = made(evr_channel_create(peer, name, &o));
	return err ? err : evr_channel_open_on(ch, peer, name, terms);
}

/* Isolated: an own lane to the inbox that is as we say, whatever the inbox in another's region says. */
static int hub_lane(struct evr_peer *peer, const char *inbox)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options),
					    .capacity = REQUESTS_MAX,
					    .elem_sz = sizeof(struct hub_request),
					    .type_tag = REQUEST_TAG };
	char lane[EVR_OBJECT_NAME_SZ + 4];

	snprintf(lane, sizeof(lane), "%s.%u", inbox, evr_peer_self(peer).slot & 0xff);
	return made(evr_spsc_create(peer, lane, &options));
}

/* Does somebody wait for the answer to a request of this peer's own? */
static bool request_stands(struct evr_peer *peer, const char *name, const struct hub_request *r)
{
	struct evr_peer_id listener = { .slot = r->listener & 0xff,
					.incarnation = r->listener >> 8 };
	const struct evr_a64 *owners;
	char part[EVR_OBJECT_NAME_SZ];
	struct evr_object object;

	channel_name(name, r->slot, r->number, part);
	if (!evr_peer_is_live(peer, listener) ||
	    !evr_dir_find_in(peer, evr_peer_self(peer), part, &object))
		return false;
	owners = evr_dir_owners(peer, &object);
	return owners && evr_a64_load_acquire(&owners[EVR_PRODUCER]) == r->turn;
}

/* What a lane of two halves holds that was not taken, and stands. Return: how many. */
static uint32_t lane_rest(const struct evr_inbox_sender *sender, const char *name,
			  struct hub_request *rest)
{
	const struct evr_lane *l = &sender->ring.lane;
	uint64_t pos;
	uint32_t nr = 0;

	for (pos = l->limit - l->span; pos != l->pos && nr < REQUESTS_MAX; pos++) {
		evr_copy_out(&rest[nr], l->data + (pos & sender->ring.mask) * sizeof(*rest),
			     sizeof(*rest));
		nr += request_stands(l->peer, name, &rest[nr]);
	}
	return nr;
}

static int hub_join(struct evr_inbox_sender *sender, struct evr_peer *peer, const char *name,
		    const struct evr_peer_id *listener)
{
	char part[EVR_OBJECT_NAME_SZ];
	int err;

	inbox_name(peer, name, listener->slot, part);
	/* The inbox may say anything of its messages; the own lane there is as we have made it. */
	if (!evr_dir_is_isolated(peer))
		return evr_inbox_join_sized(sender, peer, part, REQUEST_TAG,
					    sizeof(struct hub_request));
	err = hub_lane(peer, part);
	return err ? err : evr_inbox_join_to(sender, peer, part, REQUEST_TAG, listener);
}

/*
 * The own lane is full of what the listener has not taken, or the last one in its slot. It is
 * made anew with what stands, and there is room for more: each connection has one request.
 */
static int lane_renew(struct evr_inbox_sender *sender, struct evr_peer *peer, const char *name,
		      const struct evr_peer_id *listener)
{
	struct hub_request rest[REQUESTS_MAX];
	uint32_t nr = lane_rest(sender, name, rest);
	struct evr_object lane = sender->ring.lane.object;
	int err;

	if (nr == REQUESTS_MAX)
		return -EAGAIN;
	evr_inbox_leave(sender);
	err = evr_dir_remove(peer, &lane);
	if (!err)
		err = hub_join(sender, peer, name, listener);
	if (!err && evr_inbox_push(sender, rest, nr) != nr)
		err = -EAGAIN;
	return err;
}

static int hub_ask(struct evr_peer *peer, const char *name, const struct evr_peer_id *listener,
		   const struct hub_request *request)
{
	struct evr_inbox_sender sender;
	int err = hub_join(&sender, peer, name, listener);

	if (err)
		return err;
	if (sender.ring.lane.far && !evr_lane_avail(&sender.ring.lane))
		err = lane_renew(&sender, peer, name, listener);
	if (!err && !evr_inbox_push(&sender, request, 1))
		err = evr_ring_state_error(evr_spsc_state(&sender.ring)) == -EBADMSG ? -EBADMSG :
										       -EAGAIN;
	evr_inbox_leave(&sender);
	return err;
}

int evr_hub_connect_to(struct evr_channel *ch, struct evr_peer *peer, const char *name,
		       uint64_t type_tag, const struct evr_peer_id *listener)
{
	struct hub_request request = { .slot = evr_peer_self(peer).slot };
	struct channel_terms terms = { .role = EVR_CHANNEL_A,
				       .type_tag = type_tag,
				       .other = { .slot = EVR_SLOT_ANY } };
	char part[EVR_OBJECT_NAME_SZ];
	struct hub_object hub;
	int err;

	memset(ch, 0, sizeof(*ch));
	if (listener)
		terms.other = *listener;
	err = hub_read(peer, name, &terms.other, &hub);
	if (err)
		return err;
	terms.once = evr_dir_is_isolated(peer);
	for (; request.number < EVR_HUB_EACH; request.number++) {
		channel_name(name, request.slot, request.number, part);
		err = hub_channel(ch, peer, part, &hub, &terms);
		if (err != -EBUSY)
			break;
	}
	if (err)
		return err;
	request.turn = ch->rx[CHANNEL_NORMAL].lane.held;
	request.listener = terms.once ? listener_word(terms.other) : 0;
	err = hub_ask(peer, name, &terms.other, &request);
	if (err)
		evr_channel_close(ch);
	return err;
}

int evr_hub_connect(struct evr_channel *ch, struct evr_peer *peer, const char *name,
		    uint64_t type_tag)
{
	return evr_hub_connect_to(ch, peer, name, type_tag, NULL);
}

static bool is_met(void *arg)
{
	return evr_channel_state(arg) != EVR_RING_NO_PEER;
}

int evr_hub_await(struct evr_channel *ch, struct evr_waiter *waiter, uint64_t deadline_ns)
{
	struct evr_need *needs[EVR_CHANNEL_NEEDS];
	enum evr_ring_state state;
	int err;

	if (!ch->mine)
		return evr_fail(-EPIPE, "this end of the channel is closed");
	err = evr_waiter_wait(waiter, needs, evr_channel_needs(ch, needs), is_met, ch, deadline_ns);
	err = evr_channel_waited(ch, err);
	/* Of two halves a listener that has ended before it was met is known by its state alone. */
	if (!err && ch->far && !evr_a64_load_acquire(&ch->partner)) {
		state = evr_channel_state(ch);
		err = state == EVR_RING_OK ? 0 : evr_channel_error(state);
	}
	if (err)
		evr_channel_close(ch);
	return err;
}

int evr_hub_connect_wait(struct evr_channel *ch, struct evr_peer *peer, const char *name,
			 uint64_t type_tag, struct evr_waiter *waiter, uint64_t deadline_ns)
{
	int err = evr_hub_connect(ch, peer, name, type_tag);

	return err ? err : evr_hub_await(ch, waiter, deadline_ns);
}
