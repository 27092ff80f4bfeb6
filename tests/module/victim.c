// SPDX-License-Identifier: MIT
/* See victim.h. */

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "victim.h"

static void take_memory(struct role *role)
{
	struct evering_segment_info info = ev_segment_info(role->peer.fd);
	bool writes = !(role->flags & EVERING_ATTACH_F_OBSERVER);

	ev_status(role->peer.fd);
	if (info.peer_size == 0)
		return;
	role->memory = ev_map(role->peer.fd, ev_region(role->peer.fd, role->peer.slot),
			      info.peer_size, writes ? PROT_READ | PROT_WRITE : PROT_READ);
	if (writes)
		memset(role->memory, 0x77, info.peer_size);
}

static void play(struct ev_link *link, void *arg)
{
	struct role *role = arg;

	close(role->test_end);
	EV_EQ(ev_try_attach(role->seg, role->flags, EVERING_SLOT_ANY, &role->peer), 0);
	if (!role->unmapped)
		take_memory(role);
	if (role->prepare)
		role->prepare(link, role);
	ev_say(link, role->peer.slot);
	ev_say(link, role->peer.incarnation);
	ev_say(link, (uint64_t)role->orphan);
	if (role->act) {
		role->act(link, role);
		return;
	}
	for (;;)
		pause();
}

void victim_start(struct victim *v, const struct role *role)
{
	struct role part = *role;
	int ends[2];

	/* Orphans come to the test when their parent dies: see victim_bury(). */
	EV_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	EV_EQ(pipe(ends), 0);
	fcntl(ends[1], F_SETFD, FD_CLOEXEC);
	part.leash = ends[0];
	part.test_end = ends[1];
	ev_child_start(&v->link, play, &part);
	close(ends[0]);
	v->leash = ends[1];
	v->peer.fd = -1;
	v->peer.slot = (uint32_t)ev_hear(&v->link);
	v->peer.incarnation = ev_hear(&v->link);
	v->orphan = (pid_t)ev_hear(&v->link);
}

void victim_kill(struct victim *v)
{
	ev_child_kill(&v->link);
}

void victim_expect_end(struct victim *v, int wait_status)
{
	EV_EQ(ev_child_wait(&v->link), wait_status);
}

void victim_bury(struct victim *v)
{
	struct ev_link orphan = { .pid = v->orphan, .sock = -1 };

	close(v->leash);
	if (v->orphan)
		ev_child_join(&orphan);
}

void leash_wait(int leash)
{
	char byte;

	while (read(leash, &byte, 1) < 0 && errno == EINTR)
		;
}

void role_fork_orphan(struct role *role, void (*body)(struct role *))
{
	role->orphan = fork();
	EV_CHECK(role->orphan >= 0);
	if (role->orphan)
		return;
	if (body)
		body(role);
	leash_wait(role->leash);
	_exit(0);
}
