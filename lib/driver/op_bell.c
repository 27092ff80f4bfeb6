// SPDX-License-Identifier: MIT
/*
 * Bells of segments on the loop. All waits on one peer share a hub: one multishot poll
 * of the peer's bell fd, and the bells that were taken and nobody has waited for yet.
 *
 * A poll, and not the device's own io_uring command: it works on both backends and on
 * every kernel, can be cancelled like all else, and costs one read for each wake-up.
 */
#include "driver.h"

#include <poll.h>

#define PEER_EVENT (1ULL << EVR_BELL_PEER_EVENT)

struct hub {
	struct hub *next;
	struct evr_driver *driver;
	struct evr_peer
		*peer; /* attached for as long as somebody waits; NULL: another has its place */
	struct evr_peer_id self; /* who that is: addresses are used again */
	uint64_t segment_id;
	struct extra *waits; /* by extra->next */
	uint64_t pending; /* taken from the peer, waited for by nobody so far */
	uint64_t poll_id; /* 0: none in flight */
	int dead; /* -errno of the peer's own end */
	bool busy; /* being walked, with callbacks: it must not go */
};

static void hub_poll(struct hub *hub);
static void hub_rest(struct hub *hub);

static struct hub *hub_find(struct evr_driver *d, const struct evr_peer *peer)
{
	struct hub *hub;

	for (hub = d->hubs; hub && hub->peer != peer; hub = hub->next)
		;
	return hub;
}

/* Of a peer that is attached. What an earlier one at its address left is not for it. */
static struct hub *hub_of(struct evr_driver *d, struct evr_peer *peer)
{
	struct hub *hub = hub_find(d, peer);
	struct evr_segment_info info;
	struct evr_peer_id self = evr_peer_self(peer);

	if (evr_segment_info(evr_peer_segment(peer), &info))
		info.segment_id = 0;
	if (hub && hub->segment_id == info.segment_id && hub->self.slot == self.slot &&
	    hub->self.incarnation == self.incarnation)
		return hub;
	if (hub) {
		hub->peer = NULL;
		hub->pending = 0;
		hub_rest(hub);
	}
	hub = calloc(1, sizeof(*hub));
	if (!hub)
		return NULL;
	hub->driver = d;
	hub->peer = peer;
	hub->self = self;
	hub->segment_id = info.segment_id;
	hub->next = d->hubs;
	d->hubs = hub;
	return hub;
}

/* Take what is there. Bells of threads that sleep in the library are passed on to them. */
static void hub_collect(struct hub *hub)
{
	struct evr_bells bells;
	int err;

	err = evr_bell_read(hub->peer, &bells);
	if (!err)
		hub->pending |= bells.bits;
	else if (err == -EOWNERDEAD)
		hub->dead = err;
}

static void wait_unlink(struct hub *hub, struct extra *extra)
{
	struct extra **at;

	for (at = &hub->waits; *at && *at != extra; at = &(*at)->next)
		;
	if (*at)
		*at = extra->next;
}

/* Nobody waits: what polls for us ends, and the hub goes when it has. */
static void hub_rest(struct hub *hub)
{
	struct hub **at;

	if (hub->waits || hub->busy)
		return;
	if (hub->poll_id) {
		evr_driver_cancel(hub->driver, hub->poll_id);
		return;
	}
	/* Bells in store are worth keeping for the next wait. */
	if (hub->pending && !hub->driver->closing)
		return;
	for (at = &hub->driver->hubs; *at != hub; at = &(*at)->next)
		;
	*at = hub->next;
	free(hub);
}

/* To each who waits what it waits for: a bell to one of them, a peer event to all. */
static void hub_deal(struct hub *hub)
{
	struct extra *extra, *next;
	struct evr_driver *d = hub->driver;
	uint64_t events = hub->pending & PEER_EVENT;
	bool told = false;
	struct slot *s;

	for (extra = hub->waits; extra; extra = next) {
		next = extra->next;
		s = slot_at(d, extra->index);
		if (hub->dead) {
			wait_unlink(hub, extra);
			evr_op_finish(d, s, extra->index, hub->dead, 0);
			continue;
		}
		if (!(hub->pending & extra->op.off))
			continue;
		extra->value |= hub->pending & extra->op.off;
		hub->pending &= ~(extra->op.off & ~PEER_EVENT);
		if (extra->op.off & events)
			told = true;
		if (s->flags & S_MULTI)
			continue;
		wait_unlink(hub, extra);
		evr_op_finish(d, s, extra->index, 0, 0);
	}
	if (told)
		hub->pending &= ~PEER_EVENT;
}

/* Multishot waits are told here, where callbacks may run; each may end any other. */
static void hub_tell(struct hub *hub)
{
	struct evr_driver *d = hub->driver;
	struct extra *extra;
	hub->busy = true;
	for (;;) {
		for (extra = hub->waits; extra; extra = extra->next)
			if (extra->value)
				break;
		if (!extra)
			break;
		evr_deliver(d, slot_at(d, extra->index), extra->index, 0, IORING_CQE_F_MORE);
	}
	hub->busy = false;
}

void evr_hubs_tell(struct evr_driver *d)
{
	struct hub *hub, *next;

	d->bells_due = false;
	for (hub = d->hubs; hub; hub = next) {
		hub_tell(hub);
		next = hub->next;
		hub_rest(hub);
	}
}

static void hub_event(struct evr_driver *d, const struct evr_completion *done)
{
	struct hub *hub = done->arg;

	if (!(done->flags & EVR_DONE_MORE))
		hub->poll_id = 0;
	/* Without anybody who waits the peer may be gone. */
	if (hub->waits) {
		hub_collect(hub);
		hub_deal(hub);
		hub_tell(hub);
	}
	if (hub->waits && !hub->poll_id && !d->closing)
		hub_poll(hub);
	hub_rest(hub);
}

static void hub_poll(struct hub *hub)
{
	int fd = evr_bell_fd(hub->peer);
	struct evr_op op = evr_op_then(evr_op_poll(fd, POLLIN), hub_event, hub);
	int err = fd;

	op = evr_op_flagged(op, EVR_OP_MULTISHOT);
	if (fd >= 0)
		err = evr_driver_submit(hub->driver, &op, &hub->poll_id);
	if (err >= 0)
		return;
	hub->poll_id = 0;
	hub->dead = err;
	hub_deal(hub);
	hub->dead = 0;
}

static int bell_wait_call(struct evr_driver *d, struct extra *extra, int fd)
{
	struct evr_peer *peer = (struct evr_peer *)(uintptr_t)extra->op.addr;
	struct slot *s = slot_at(d, extra->index);
	struct hub *hub = hub_of(d, peer);

	if (!hub)
		return -ENOMEM;
	extra->next = hub->waits;
	hub->waits = extra;
	/* What is there already. What comes from now on a new poll finds when it begins. */
	hub_collect(hub);
	hub_deal(hub);
	if (hub->waits && !hub->poll_id)
		hub_poll(hub);
	if (extra->value && s->state == ACTIVE)
		d->bells_due = d->due = true;
	hub_rest(hub);
	return -EINPROGRESS;
}

/* A cancel, or a deadline, has ended this wait. */
void evr_hub_leave(struct evr_driver *d, struct extra *extra)
{
	struct hub *hub = hub_find(d, (struct evr_peer *)(uintptr_t)extra->op.addr);

	if (!hub)
		return;
	wait_unlink(hub, extra);
	/* What it was given and not told is there for others. */
	hub->pending |= extra->value;
	extra->value = 0;
	hub_rest(hub);
}

void evr_hubs_fini(struct evr_driver *d)
{
	struct hub *hub;

	while (d->hubs) {
		hub = d->hubs;
		d->hubs = hub->next;
		free(hub);
	}
}

static int bell_wait_keep(struct evr_driver *d, struct extra *extra)
{
	if (extra->op.off && extra->op.addr)
		return 0;
	return evr_fail(-EINVAL, "op bell_wait: no peer, or a mask of 0");
}

static int bell_ring_call(struct evr_driver *d, struct extra *extra, int fd)
{
	struct evr_peer_id to = { .slot = extra->op.len, .incarnation = extra->op.x[0] };

	return evr_bell_ring((struct evr_peer *)(uintptr_t)extra->op.addr, to, extra->op.off);
}

const struct row evr_row_bell_wait = {
	.name = "bell_wait",
	.flags = ROW_INLINE | ROW_NO_RING,
	.allowed = EVR_OP_MULTISHOT,
	.keep = bell_wait_keep,
	.call = bell_wait_call,
};

const struct row evr_row_bell_ring = {
	.name = "bell_ring",
	.flags = ROW_INLINE | ROW_NO_RING,
	.allowed = EVR_OP_BACKGROUND,
	.call = bell_ring_call,
};
