// SPDX-License-Identifier: MIT
/*
 * Bells of segments on the loop. All waits on one peer share a hub: one multishot poll
 * of the peer's bell fd, and the bells that were taken and nobody has waited for yet.
 *
 * A poll works on both backends and on every kernel, and costs one read for each wake-up.
 * Where it is asked for, and the kernel can take it back (6.7), a hub listens by the device's
 * own command instead: it brings the bells with its completion. It takes those bells alone
 * that are waited for, and is begun anew when there are more of them. The peer event is for
 * every thread of the process that sleeps, so whoever waits for that has a poll.
 *
 * A thread that sleeps in the library may be the first to take the peer event, and then there is
 * nothing to read any more. So a hub that waits for it listens with a bell of its own, which that
 * thread rings, and goes by the generation of the peers' states.
 */
#include "driver.h"

#include <poll.h>

#define PEER_EVENT (1ULL << EVR_BELL_PEER_EVENT)
/* Hubs that are kept for what they have told alone. */
#define RESTING_MAX 32

struct hub {
	struct hub *next;
	struct evr_driver *driver;
	struct evr_peer
		*peer; /* attached for as long as somebody waits; NULL: another has its place */
	struct evr_peer_id self; /* who that is: addresses are used again */
	uint64_t segment_id;
	struct extra *waits; /* by extra->next */
	uint64_t pending; /* taken from the peer, waited for by nobody so far */
	uint64_t poll_id; /* of the poll or the command; 0: none in flight */
	uint64_t parked; /* the bells that the command is for; 0: it is a poll */
	bool on_device;
	int bell; /* that others ring when they took the peer event; -1: nobody waits for that, or none is free */
	bool asked; /* for the peer event, at some time */
	uint64_t generation; /* of the peers' states, as told */
	int dead; /* -errno of the peer's own end */
	bool busy; /* being walked, with callbacks: it must not go */
};

static void hub_listen(struct hub *hub);
static void hub_rest(struct hub *hub);

static struct hub *hub_find(struct evr_driver *d, const struct evr_peer *peer)
{
	struct hub *hub;

	for (hub = d->hubs; hub && hub->peer != peer; hub = hub->next)
		;
	return hub;
}

/* Of peers that nobody waits for, and that may be gone, so many are remembered. */
static void hubs_forget(struct evr_driver *d)
{
	struct hub **at, **oldest = NULL, *hub;
	uint32_t nr = 0;

	for (at = &d->hubs; *at; at = &(*at)->next) {
		hub = *at;
		if (hub->waits || hub->busy || hub->poll_id || hub->pending)
			continue;
		oldest = at;
		nr++;
	}
	if (nr < RESTING_MAX)
		return;
	hub = *oldest;
	*oldest = hub->next;
	free(hub);
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
	hubs_forget(d);
	hub = calloc(1, sizeof(*hub));
	if (!hub)
		return NULL;
	hub->driver = d;
	hub->peer = peer;
	hub->bell = -1;
	hub->self = self;
	hub->segment_id = info.segment_id;
	hub->on_device = info.segment_id && info.backend == EVR_BACKEND_DEVICE;
	hub->next = d->hubs;
	d->hubs = hub;
	return hub;
}

/* Take what is there. Bells of threads that sleep in the library are passed on to them. */
static void hub_collect(struct hub *hub)
{
	struct evr_bells bells;
	uint64_t generation;
	int err;

	evr_bell_listen(hub->peer, hub->bell, false);
	err = evr_bell_read(hub->peer, &bells);
	evr_bell_listen(hub->peer, hub->bell, hub->bell >= 0);
	if (!err)
		hub->pending |= bells.bits;
	else if (err == -EOWNERDEAD)
		hub->dead = err;
	if (!hub->asked)
		return;
	generation = evr_peer_generation(hub->peer);
	if (generation != hub->generation)
		hub->pending |= PEER_EVENT;
	hub->generation = generation;
}

static uint64_t hub_wanted(const struct hub *hub)
{
	const struct extra *extra;
	uint64_t bells = 0;

	for (extra = hub->waits; extra; extra = extra->next)
		bells |= extra->op.off;
	return bells;
}

/* Others have come or gone among those who wait, and the peer is still there. */
static void hub_waits_changed(struct hub *hub)
{
	bool wanted = hub_wanted(hub) & PEER_EVENT;

	if (wanted && !hub->asked) {
		hub->asked = true;
		hub->generation = evr_peer_generation(hub->peer);
	}
	if (wanted && hub->bell < 0) {
		hub->bell = evr_bell_claim(hub->peer);
		evr_bell_listen(hub->peer, hub->bell, true);
	} else if (!wanted && hub->bell >= 0) {
		evr_bell_listen(hub->peer, hub->bell, false);
		evr_bell_unclaim(hub->peer, hub->bell);
		hub->bell = -1;
	}
}

static void wait_unlink(struct hub *hub, struct extra *extra)
{
	struct extra **at;

	for (at = &hub->waits; *at && *at != extra; at = &(*at)->next)
		;
	if (!*at)
		return;
	*at = extra->next;
	hub_waits_changed(hub);
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
	/* Bells in store are worth keeping for the next wait, and so is what it has been told. */
	if (hub->peer && (hub->pending || hub->asked) && !hub->driver->closing)
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

/* To all who wait: it will not ring for them. */
static void hub_fail(struct hub *hub, int err)
{
	hub->dead = err;
	hub_deal(hub);
	hub->dead = 0;
}

static void hub_event(struct evr_driver *d, const struct evr_completion *done)
{
	struct hub *hub = done->arg;

	if (!(done->flags & EVR_DONE_MORE)) {
		hub->poll_id = 0;
		/* It would only fail again. */
		if (done->res < 0 && done->res != -ECANCELED)
			hub_fail(hub, done->res);
	}
	/* Without anybody who waits the peer may be gone. */
	if (hub->waits) {
		hub_collect(hub);
		hub_deal(hub);
		hub_tell(hub);
	}
	if (hub->waits && !hub->poll_id && !d->closing)
		hub_listen(hub);
	hub_rest(hub);
}

/* The command is over: it brings its bells along, or has been taken back. */
static void hub_heard(struct evr_driver *d, const struct evr_completion *done)
{
	struct hub *hub = done->arg;

	hub->poll_id = 0;
	hub->parked = 0;
	/* For a peer that has gone nobody will ask. */
	if (!done->res)
		hub->pending |= hub->peer ? done->value : 0;
	else if (done->res == -EOWNERDEAD)
		hub_fail(hub, done->res);
	else if (done->res != -ECANCELED)
		hub->on_device = false; /* it does without: too many wait there, for example */
	hub_deal(hub);
	hub_tell(hub);
	if (hub->waits && !hub->poll_id && !d->closing)
		hub_listen(hub);
	hub_rest(hub);
}

/* Poll, or park the command, for what is waited for now. */
static void hub_listen(struct hub *hub)
{
	uint64_t wanted = hub_wanted(hub);
	int fd = evr_bell_fd(hub->peer);
	struct evr_op op;
	int err = fd;

	hub->parked = 0;
	if (hub->driver->bell_command && hub->on_device && !(wanted & PEER_EVENT))
		hub->parked = wanted;
	if (hub->parked)
		op = evr_op_then(evr_op_make(EVR_OP_BELL_PARK, fd, NULL, 0, wanted), hub_heard,
				 hub);
	else
		op = evr_op_then(evr_op_flagged(evr_op_poll(fd, POLLIN), EVR_OP_MULTISHOT),
				 hub_event, hub);
	if (fd >= 0)
		err = evr_op_submit(hub->driver, &op, &hub->poll_id);
	if (err >= 0)
		return;
	hub->poll_id = 0;
	hub->parked = 0;
	hub_fail(hub, err);
}

/* One more waits. What listens already may not listen for this. */
static void hub_listen_more(struct hub *hub, uint64_t bells)
{
	if (!hub->waits)
		return;
	if (!hub->poll_id)
		hub_listen(hub);
	else if (hub->parked && bells & ~hub->parked)
		evr_driver_cancel(hub->driver, hub->poll_id);
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
	hub_waits_changed(hub);
	/* What is there already. What comes from now on a new poll finds when it begins. */
	if (!d->bell_command || !hub->on_device || extra->op.off & PEER_EVENT)
		hub_collect(hub);
	hub_deal(hub);
	hub_listen_more(hub, extra->op.off);
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

void evr_hubs_init(struct evr_driver *d)
{
	struct evr_system_info info;

	d->bell_command = d->options.flags & EVR_DRIVER_BELL_COMMAND &&
			  d->way[EVR_OP_BELL_PARK] == EVR_SUPPORT_NATIVE &&
			  !evr_system_info(EVR_BACKEND_DEVICE, &info) &&
			  info.features & EVERING_FEAT_URING_WAIT;
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

/* --- the device's command --- */

static void command_prep(struct io_uring_sqe *sqe, int fd, uint32_t command, const void *arg)
{
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fd;
	sqe->cmd_op = command;
	/* Not sqe->cmd: an array of no size to the compiler's bounds checks. */
	memcpy((char *)sqe + offsetof(struct io_uring_sqe, cmd), arg, 16);
}

static int bell_park_keep(struct evr_driver *d, struct extra *extra)
{
	extra->bell = (struct evering_bell_wait){ .size = sizeof(extra->bell),
						  .mask = extra->op.off,
						  .deadline_ns = EVERING_NO_DEADLINE };
	return 0;
}

static void bell_park_prep(const struct evr_op *op, struct extra *extra, struct io_uring_sqe *sqe)
{
	struct evering_uring_wait arg = { .wait = (uintptr_t)&extra->bell,
					  .cookie = sqe->user_data };

	command_prep(sqe, sqe->fd, EVERING_URING_BELL_WAIT, &arg);
}

/* io_uring's own cancel does not reach a command. */
static void bell_park_cancel(struct extra *extra, uint64_t id, struct io_uring_sqe *sqe)
{
	struct evering_uring_cancel arg = { .cookie = id };

	command_prep(sqe, extra->held_fd, EVERING_URING_CANCEL, &arg);
}

static bool bell_park_done(struct evr_driver *d, struct slot *s, uint32_t index, int *res,
			   uint32_t *cflags)
{
	struct extra *extra = extra_at(d, index);

	extra->value = *res ? 0 : extra->bell.bells.bits;
	return false;
}

EVR_STATIC_ASSERT(sizeof(struct evering_uring_wait) == 16, "what an SQE has room for");
EVR_STATIC_ASSERT(sizeof(struct evering_uring_cancel) == 16, "what an SQE has room for");

const struct row evr_row_bell_park = {
	.name = "bell_park",
	.opcode = IORING_OP_URING_CMD,
	.flags = ROW_FD | ROW_HOLDS,
	.keep = bell_park_keep,
	.prep = bell_park_prep,
	.done = bell_park_done,
	.cancel = bell_park_cancel,
};

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
