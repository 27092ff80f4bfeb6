// SPDX-License-Identifier: MIT
/* See command.h. */

#include <sys/eventfd.h>

#include "command.h"

#define STAGE_NAME "stage"

void stage_init(struct stage *stage)
{
	static const struct ev_shape shape = {
		.shared_size = EV_PAGE,
		.peer_size = EV_PAGE,
		.peers_max = 4,
	};

	poison(&stage->entries, sizeof(stage->entries));
	stage->fd[ON_CONTROL] = ev_control();
	stage->fd[ON_SEGMENT] = ev_create(&shape);
	stage->self = ev_attach(stage->fd[ON_SEGMENT]);
	stage->other = ev_attach(stage->fd[ON_SEGMENT]);
	stage->dead = ev_attach(stage->fd[ON_SEGMENT]);
	EV_EQ(ev_detach(stage->dead.fd), 0);
	close(stage->dead.fd);
	stage->fd[ON_PEER] = stage->self.fd;
	stage->eventfd = eventfd(0, EFD_CLOEXEC);
	EV_CHECK(stage->eventfd >= 0);
}

void stage_fini(struct stage *stage)
{
	close(stage->eventfd);
	close(stage->other.fd);
	close(stage->self.fd);
	close(stage->fd[ON_SEGMENT]);
	close(stage->fd[ON_CONTROL]);
}

static void fill_none(struct stage *stage, void *arg)
{
	(void)stage;
	(void)arg;
}

static void fill_create(struct stage *stage, void *p)
{
	struct evering_segment_create *arg = p;

	(void)stage;
	arg->flags = 0;
	arg->shared_size = EV_PAGE;
	arg->peer_size = EV_PAGE;
	arg->peers_max = 2;
	arg->node = EVERING_NODE_ANY;
	arg->backing = EVERING_BACKING_PAGES;
}

static void fill_open(struct stage *stage, void *p)
{
	struct evering_segment_open *arg = p;

	EV_EQ(ev_publish(stage->fd[ON_SEGMENT], STAGE_NAME, 0600, 0), 0);
	arg->rights = 0;
	memset(arg->name, 0, sizeof(arg->name));
	strcpy(arg->name, STAGE_NAME);
}

static void fill_list(struct stage *stage, void *p)
{
	struct evering_segment_list *arg = p;

	EV_EQ(ev_publish(stage->fd[ON_SEGMENT], STAGE_NAME, 0600, 0), 0);
	arg->nr = 4;
	arg->cursor = 0;
	arg->entries = (uintptr_t)stage->entries.segment;
}

static void fill_extents(struct stage *stage, void *p)
{
	struct evering_segment_extents *arg = p;

	arg->first = 0;
	arg->nr = 4;
	arg->entries = (uintptr_t)stage->entries.extent;
}

static void fill_publish(struct stage *stage, void *p)
{
	struct evering_segment_publish *arg = p;

	(void)stage;
	arg->flags = 0;
	arg->mode = 0600;
	arg->uid = ~0U;
	arg->gid = ~0U;
	memset(arg->name, 0, sizeof(arg->name));
	strcpy(arg->name, STAGE_NAME);
}

static void fill_unpublish(struct stage *stage, void *p)
{
	struct evering_segment_unpublish *arg = p;

	EV_EQ(ev_publish(stage->fd[ON_SEGMENT], STAGE_NAME, 0600, 0), 0);
	arg->flags = 0;
}

static void fill_grow(struct stage *stage, void *p)
{
	struct evering_segment_grow *arg = p;

	(void)stage;
	arg->flags = 0;
	arg->bytes = EV_BLOCK;
}

static void fill_growths(struct stage *stage, void *p)
{
	struct evering_segment_growths *arg = p;

	EV_EQ(ev_grow(stage->fd[ON_SEGMENT], EV_BLOCK, NULL), 0);
	arg->first = 0;
	arg->nr = 4;
	arg->entries = (uintptr_t)stage->entries.growth;
}

static void fill_attach(struct stage *stage, void *p)
{
	struct evering_peer_attach *arg = p;

	(void)stage;
	arg->flags = 0;
	arg->cookie = 0x1234;
	arg->slot = EVERING_SLOT_ANY;
}

static void fill_invite(struct stage *stage, void *p)
{
	struct evering_peer_invite *arg = p;

	(void)stage;
	arg->flags = 0;
	arg->rights = EVERING_RIGHT_OBSERVE;
	arg->attaches_max = 0;
}

static void fill_detach(struct stage *stage, void *p)
{
	struct evering_peer_detach *arg = p;

	(void)stage;
	arg->flags = 0;
}

static void fill_revoke(struct stage *stage, void *p)
{
	struct evering_peer_revoke *arg = p;

	arg->slot = stage->other.slot;
	arg->incarnation = stage->other.incarnation;
}

static void fill_reaped(struct stage *stage, void *p)
{
	struct evering_peer_reaped *arg = p;

	arg->slot = stage->dead.slot;
	arg->incarnation = stage->dead.incarnation;
}

static void fill_peers(struct stage *stage, void *p)
{
	struct evering_peer_list *arg = p;

	arg->first = 0;
	arg->nr = 4;
	arg->entries = (uintptr_t)stage->entries.peer;
}

static void fill_ring(struct stage *stage, void *p)
{
	struct evering_bell_ring *arg = p;

	stage->bell.slot = stage->other.slot;
	stage->bell.incarnation = stage->other.incarnation;
	stage->bell.bits = 1;
	poison(&stage->bell.result, sizeof(stage->bell.result));
	arg->nr = 1;
	arg->bells = (uintptr_t)&stage->bell;
}

static void fill_wait(struct stage *stage, void *p)
{
	struct evering_bell_wait *arg = p;

	EV_EQ(ev_ring(stage->other.fd, stage->self.slot, stage->self.incarnation, 1), 0);
	arg->flags = 0;
	arg->mask = 1;
	arg->deadline_ns = 0;
}

static void fill_bind(struct stage *stage, void *p)
{
	struct evering_bell_bind *arg = p;

	arg->eventfd = stage->eventfd;
}

#define COMMAND(NOUN, type, on, filler)                          \
	.name = "EVERING_IOC_" #NOUN, .cmd = EVERING_IOC_##NOUN, \
	.sz = sizeof(struct evering_##type), .kinds = (on), .fill = (filler)
#define SPAN(type, field)                                           \
	{                                                           \
		offsetof(struct evering_##type, field),             \
			sizeof(((struct evering_##type *)0)->field) \
	}
#define FLAGS(type, known) \
	.flags_offset = offsetof(struct evering_##type, flags), .flags_known = (known)
#define OUT_FD(type) .fd_offset = offsetof(struct evering_##type, fd)

const struct command commands[] = {
	{ COMMAND(INFO, info, CONTROL | SEGMENT | PEER, fill_none),
	  .reserved = { SPAN(info, __resv) } },
	{ COMMAND(SEGMENT_CREATE, segment_create, CONTROL, fill_create),
	  .reserved = { SPAN(segment_create, __resv) },
	  FLAGS(segment_create, EVERING_SEGMENT_F_ALL), OUT_FD(segment_create) },
	{ COMMAND(SEGMENT_OPEN, segment_open, CONTROL, fill_open),
	  .reserved = { SPAN(segment_open, __resv) }, OUT_FD(segment_open) },
	{ COMMAND(SEGMENT_LIST, segment_list, CONTROL, fill_list) },
	{ COMMAND(SEGMENT_INFO, segment_info, SEGMENT | PEER, fill_none),
	  .reserved = { SPAN(segment_info, __resv) } },
	{ COMMAND(SEGMENT_EXTENTS, segment_extents, SEGMENT | PEER, fill_extents) },
	{ COMMAND(SEGMENT_PUBLISH, segment_publish, SEGMENT, fill_publish),
	  .reserved = { SPAN(segment_publish, __resv) },
	  FLAGS(segment_publish, EVERING_PUBLISH_F_KEEP), .right = EVERING_RIGHT_ADMIN },
	{ COMMAND(SEGMENT_UNPUBLISH, segment_unpublish, SEGMENT, fill_unpublish),
	  FLAGS(segment_unpublish, 0), .right = EVERING_RIGHT_ADMIN },
	{ COMMAND(SEGMENT_GROW, segment_grow, SEGMENT, fill_grow),
	  FLAGS(segment_grow, EVERING_GROW_F_ALL), .right = EVERING_RIGHT_GROW },
	{ COMMAND(SEGMENT_GROWTHS, segment_growths, SEGMENT | PEER, fill_growths) },
	{ COMMAND(PEER_ATTACH, peer_attach, SEGMENT, fill_attach),
	  .reserved = { SPAN(peer_attach, __resv) }, FLAGS(peer_attach, EVERING_ATTACH_F_OBSERVER),
	  OUT_FD(peer_attach), .right = EVERING_RIGHT_WRITE },
	{ COMMAND(PEER_INVITE, peer_invite, SEGMENT, fill_invite),
	  FLAGS(peer_invite, EVERING_INVITE_F_RESERVE), OUT_FD(peer_invite),
	  .right = EVERING_RIGHT_INVITE },
	{ COMMAND(PEER_DETACH, peer_detach, PEER, fill_detach), FLAGS(peer_detach, 0) },
	{ COMMAND(PEER_LIST, peer_list, SEGMENT | PEER, fill_peers),
	  .reserved = { SPAN(peer_list, __resv) } },
	{ COMMAND(PEER_REVOKE, peer_revoke, SEGMENT, fill_revoke) },
	{ COMMAND(PEER_REAPED, peer_reaped, PEER, fill_reaped), .right = EVERING_RIGHT_WRITE },
	{ COMMAND(BELL_RING, bell_ring, PEER, fill_ring), .right = EVERING_RIGHT_WRITE },
	{ COMMAND(BELL_WAIT, bell_wait, PEER, fill_wait), FLAGS(bell_wait, 0) },
	{ COMMAND(BELL_BIND, bell_bind, PEER, fill_bind) },
};

const unsigned int commands_nr = sizeof(commands) / sizeof(commands[0]);

void command_fill(const struct command *command, struct stage *stage, void *arg)
{
	uint32_t size = (uint32_t)command->sz;
	unsigned int i;

	EV_CHECK(command->sz <= ARGUMENT_MAX);
	poison(arg, command->sz);
	memcpy(arg, &size, sizeof(size));
	for (i = 0; i < 2; i++)
		memset((char *)arg + command->reserved[i].offset, 0, command->reserved[i].sz);
	command->fill(stage, arg);
}

void command_done(const struct command *command, const void *arg)
{
	int fd;

	if (!command->fd_offset)
		return;
	memcpy(&fd, (const char *)arg + command->fd_offset, sizeof(fd));
	EV_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
}

enum fd_kind command_kind(const struct command *command)
{
	return (enum fd_kind)__builtin_ctz(command->kinds);
}
