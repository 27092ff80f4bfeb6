/* SPDX-License-Identifier: MIT */
/*
 * Hubs; include/evering/hub.h has the model.
 *
 * Three kinds of objects: "NAME" says what its channels are like, "NAME.in" is the inbox,
 * "NAME.SLOT.NUMBER" the channel of one connection from a slot.
 *
 * A request names the client's turn in role A, all 64 bits of its owner word. Whether it
 * still stands is what the owner word says now; so a request of who has gone, or that
 * comes twice, is known for that. The listener takes role B before it releases the
 * request: if it dies in between, its successor finds the request, and either the client
 * has not met the dead one, and is accepted, or it has, and learns of the death.
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
#define REQUEST_TAG 0x3130515242554845ULL /* "EHUBRQ01" */
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
	uint32_t slot, number;
};

EVR_STATIC_ASSERT(sizeof(struct hub_request) == 16, "part of the shared layout");

static int name_check(const char *name)
{
	if (name && *name && strnlen(name, EVR_HUB_NAME_MAX + 1) <= EVR_HUB_NAME_MAX)
		return 0;
	return evr_fail(-EINVAL, "hub name '%.50s': it must have 1 to %d bytes",
			name ? name : "(null)", EVR_HUB_NAME_MAX);
}

static void inbox_name(const char *name, char *out)
{
	snprintf(out, EVR_OBJECT_NAME_SZ, "%.*s.in", EVR_HUB_NAME_MAX, name);
}

static void channel_name(const char *name, uint32_t slot, uint32_t number, char *out)
{
	snprintf(out, EVR_OBJECT_NAME_SZ, "%.*s.%u.%u", EVR_HUB_NAME_MAX, name, slot & 0xff,
		 number & 0xff);
}

static int hub_find(struct evr_peer *peer, const char *name, struct evr_object *object)
{
	int err = name_check(name);

	if (!err && evr_dir_is_isolated(peer))
		err = evr_fail(-EOPNOTSUPP, "hub '%s': in an isolated segment", name);
	if (!err)
		err = evr_dir_find(peer, name, object);
	if (!err && object->kind != EVR_KIND_HUB)
		err = evr_fail(-EINVAL, "'%s' is an object of kind %u, no hub", name, object->kind);
	return err;
}

static int hub_publish(struct evr_peer *peer, const char *name, const struct hub_object *hub)
{
	struct evr_object object;
	void *at;
	int err;

	err = evr_dir_create(peer, name, EVR_KIND_HUB, sizeof(*hub), &object);
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
	if (!err && evr_dir_is_isolated(peer))
		err = evr_fail(-EOPNOTSUPP, "hub '%s': in an isolated segment", name);
	if (err)
		return err;
	if (!evr_dir_find(peer, name, &object))
		return evr_fail(-EEXIST, "there is an object '%s'", name);
	o.struct_sz = sizeof(o);
	/* The first channel also says whether the options are possible. */
	channel_name(name, 0, 0, part);
	err = made(evr_channel_create(peer, part, &o));
	inbox_name(name, part);
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

	err = hub_find(peer, name, &object);
	if (err)
		return err;
	inbox_name(name, part);
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
	err = hub_find(peer, name, &object);
	if (err)
		return err;
	inbox_name(name, part);
	strcpy(hub->name, name);
	hub->type_tag = type_tag;
	return evr_inbox_open(&hub->box, peer, part, REQUEST_TAG);
}

void evr_hub_close(struct evr_hub *hub)
{
	evr_inbox_close(&hub->box);
}

/* The owner words of a request's channel; NULL: the request does not stand any more. */
static const struct evr_a64 *request_owners(struct evr_peer *peer, const struct hub_request *r,
					    const char *name)
{
	const struct evr_a64 *owners;
	struct evr_object object;

	if (owner_state(r->turn) != OWNER_HELD || owner_id(r->turn).slot != r->slot ||
	    r->number >= EVR_HUB_EACH || evr_dir_find(peer, name, &object))
		return NULL;
	owners = evr_dir_owners(peer, &object);
	if (!owners || evr_a64_load_acquire(&owners[EVR_PRODUCER]) != r->turn || /* LANE-ROLE */
	    owner_is_dead(peer, r->turn))
		return NULL;
	return owners;
}

/* Hold the other end. 0; -ESTALE; -EBUSY it is a dead peer's that was not reaped. */
static int request_take(struct evr_hub *hub, const struct hub_request *r, struct evr_channel *ch)
{
	struct evr_peer *peer = hub->box.control.peer;
	char name[EVR_OBJECT_NAME_SZ];
	const struct evr_a64 *owners;
	uint64_t u_owner;
	int err;

	channel_name(hub->name, r->slot, r->number, name);
	owners = request_owners(peer, r, name);
	if (!owners)
		return -ESTALE;
	err = evr_channel_open(ch, peer, name, EVR_CHANNEL_B, hub->type_tag);
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

int evr_hub_accept(struct evr_hub *hub, struct evr_channel *ch, struct evr_peer_id *from)
{
	struct hub_request request;
	const void *at;
	uint32_t nr, tries;
	int err;

	memset(ch, 0, sizeof(*ch));
	if (from)
		*from = (struct evr_peer_id){ .slot = EVR_SLOT_ANY };
	if (!hub->box.lanes)
		return evr_fail(-EPIPE, "the hub is closed");
	for (tries = 0; tries < STALE_MAX; tries++) {
		nr = 1;
		at = evr_inbox_peek(&hub->box, &nr, NULL);
		if (!at)
			break;
		evr_copy_out(&request, at, sizeof(request));
		err = request_take(hub, &request, ch);
		if (err == -EBUSY)
			return err;
		evr_inbox_release(&hub->box, 1);
		if (!err) {
			hub->accepted++;
			if (from)
				*from = evr_channel_other(ch);
			return 0;
		}
		hub->stale++;
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
	} while (!err && wait.at == nr && !evr_inbox_is_ready(&hub->box, hub->box.changes));
	return err ? err : (int)wait.at;
}

static int hub_read(struct evr_peer *peer, const char *name, struct hub_object *hub)
{
	struct evr_object object;
	const void *at;
	int err;

	err = hub_find(peer, name, &object);
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

/* Endpoint A of this slot's channel with that number. -EBUSY */
static int hub_channel(struct evr_channel *ch, struct evr_peer *peer, const char *name,
		       const struct hub_object *hub, uint64_t type_tag)
{
	struct evr_channel_options o = { .struct_sz = sizeof(o),
					 .capacity = hub->capacity,
					 .urgent_capacity = hub->urgent_capacity,
					 .inline_max = hub->inline_max,
					 .window_messages = hub->window_messages,
					 .window_bytes = hub->window_bytes,
					 .type_tag = hub->type_tag,
					 .heap = *hub->heap ? hub->heap : NULL };
	int err = evr_channel_open(ch, peer, name, EVR_CHANNEL_A, type_tag);

	if (err != -ENOENT)
		return err;
	err = made(evr_channel_create(peer, name, &o));
	return err ? err : evr_channel_open(ch, peer, name, EVR_CHANNEL_A, type_tag);
}

static int hub_ask(struct evr_peer *peer, const char *name, const struct hub_request *request)
{
	struct evr_inbox_sender sender;
	char part[EVR_OBJECT_NAME_SZ];
	int err;

	inbox_name(name, part);
	err = evr_inbox_join(&sender, peer, part, REQUEST_TAG);
	if (err)
		return err;
	if (!evr_inbox_push(&sender, request, 1))
		err = evr_ring_state_error(evr_spsc_state(&sender.ring)) == -EBADMSG ? -EBADMSG :
										       -EAGAIN;
	evr_inbox_leave(&sender);
	return err;
}

int evr_hub_connect(struct evr_channel *ch, struct evr_peer *peer, const char *name,
		    uint64_t type_tag)
{
	struct hub_request request = { .slot = evr_peer_self(peer).slot };
	char part[EVR_OBJECT_NAME_SZ];
	struct hub_object hub;
	int err;

	memset(ch, 0, sizeof(*ch));
	err = hub_read(peer, name, &hub);
	if (err)
		return err;
	for (; request.number < EVR_HUB_EACH; request.number++) {
		channel_name(name, request.slot, request.number, part);
		err = hub_channel(ch, peer, part, &hub, type_tag);
		if (err != -EBUSY)
			break;
	}
	if (err)
		return err;
	request.turn = ch->rx[CHANNEL_NORMAL].lane.held;
	err = hub_ask(peer, name, &request);
	if (err)
		evr_channel_close(ch);
	return err;
}

static bool is_met(void *arg)
{
	return evr_channel_state(arg) != EVR_RING_NO_PEER;
}

int evr_hub_connect_wait(struct evr_channel *ch, struct evr_peer *peer, const char *name,
			 uint64_t type_tag, struct evr_waiter *waiter, uint64_t deadline_ns)
{
	struct evr_need *needs[EVR_CHANNEL_NEEDS];
	int err = evr_hub_connect(ch, peer, name, type_tag);

	if (err)
		return err;
	err = evr_waiter_wait(waiter, needs, evr_channel_needs(ch, needs), is_met, ch, deadline_ns);
	err = evr_channel_waited(ch, err);
	if (err)
		evr_channel_close(ch);
	return err;
}
