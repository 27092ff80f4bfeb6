/* SPDX-License-Identifier: MIT */
/*
 * Pidfds of the other peers' processes: they wake a poller when one dies, and tell
 * of a death when a forked child keeps the dead peer's lock.
 *
 * A pid alone proves nothing: it is used again, and means another process in another
 * pid namespace. It counts only between peers of the same pid and time namespaces,
 * and together with the process' start time; in all other cases the lock alone does.
 */
#include "local.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

/* Field 22 of /proc/PID/stat, counted behind the command, which may hold blanks. */
uint64_t local_start_time(int32_t pid)
{
	char path[40], text[1024], *p;
	unsigned long long start = 0;
	size_t len;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	len = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[len] = '\0';
	p = strrchr(text, ')');
	if (!p || sscanf(p + 1,
			 " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"
			 " %*s %*s %*s %llu",
			 &start) != 1)
		return 0;
	return start;
}

static uint64_t inode_of(const char *path)
{
	struct stat ns;

	return stat(path, &ns) ? 0 : (uint64_t)ns.st_ino;
}

uint64_t local_pid_ns(void)
{
	return inode_of("/proc/self/ns/pid");
}

/* Start times are counted from the boot that this namespace shows. */
uint64_t local_time_ns(void)
{
	return inode_of("/proc/self/ns/time");
}

/* Do pids and start times mean to us what they meant to who wrote them? */
static bool can_be_named(const struct local_entry *entry)
{
	uint64_t pid_ns = evr_a64_load_relaxed(&entry->pid_ns);

	return pid_ns && pid_ns == local_pid_ns() &&
	       evr_a64_load_relaxed(&entry->time_ns) == local_time_ns() &&
	       evr_a64_load_relaxed(&entry->start_time);
}

/*
 * A pidfd of exactly the process that attached as this life; -ESRCH: there is none
 * any more; another error: it cannot be told.
 */
static int open_pidfd(const struct local_entry *entry)
{
	int32_t pid = (int32_t)evr_a32_load_relaxed(&entry->pid);
	uint64_t start;
	int pidfd;

	if (pid <= 0 || !can_be_named(entry))
		return -EXDEV;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return -errno;
	/* Looked at after the open: the pidfd is of who has this start time now. */
	start = local_start_time(pid);
	if (start == evr_a64_load_relaxed(&entry->start_time))
		return pidfd;
	close(pidfd);
	return start ? -ESRCH : -EACCES;
}

/* As above, for who keeps no pidfds. */
bool local_process_is_gone(const struct local_entry *entry)
{
	struct pollfd ended = { .fd = open_pidfd(entry), .events = POLLIN };
	bool is_gone = ended.fd == -ESRCH;

	if (ended.fd >= 0) {
		is_gone = poll(&ended, 1, 0) == 1;
		close(ended.fd);
	}
	return is_gone;
}

static void unwatch(struct local_peer *own, uint32_t slot)
{
	struct local_watch *watch = &own->watches[slot];

	/* Closing alone leaves it in the set while a forked child has a copy: ready for ever. */
	if (watch->pidfd >= 0) {
		epoll_ctl(own->epoll_fd, EPOLL_CTL_DEL, watch->pidfd, NULL);
		close(watch->pidfd);
	}
	watch->pidfd = -1;
}

int local_peer_init(struct evr_peer *peer)
{
	struct local_peer *own = calloc(1, sizeof(*own));
	uint32_t slot;

	if (!own)
		return evr_fail(-ENOMEM, "no memory for a peer handle");
	peer->own = own;
	pthread_mutex_init(&own->lock, NULL);
	own->bell_sock = -1;
	own->timer_fd = -1;
	for (slot = 0; slot < EVERING_PEERS_MAX; slot++)
		own->watches[slot].pidfd = -1;
	own->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (own->epoll_fd < 0)
		return evr_fail(-errno, "cannot make an epoll fd: %s", strerror(errno));
	return 0;
}

void local_peer_fini(struct evr_peer *peer)
{
	struct local_peer *own = peer->own;
	uint32_t slot;

	if (!own)
		return;
	for (slot = 0; slot < EVERING_PEERS_MAX; slot++)
		unwatch(own, slot);
	if (own->bell_sock >= 0)
		close(own->bell_sock);
	if (own->timer_fd >= 0)
		close(own->timer_fd);
	if (own->epoll_fd >= 0)
		close(own->epoll_fd);
	pthread_mutex_destroy(&own->lock);
	free(own);
	peer->own = NULL;
}

/* Take note of a slot's life, and watch its process. False: it is gone already. */
bool local_watch_slot(struct evr_peer *peer, uint32_t slot, uint64_t life)
{
	struct local_peer *own = peer->own;
	struct local_watch *watch = &own->watches[slot];
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = slot };

	life &= ~LIFE_TOLD;
	if (watch->life == life)
		return true;
	unwatch(own, slot);
	watch->life = life;
	if (life_state(life) != EVR_PEER_LIVE || slot == peer->self.slot)
		return true;
	watch->pidfd = open_pidfd(local_entry(peer->segment, slot));
	if (watch->pidfd >= 0 && epoll_ctl(own->epoll_fd, EPOLL_CTL_ADD, watch->pidfd, &event))
		unwatch(own, slot);
	return watch->pidfd != -ESRCH;
}

/* A slot whose process has ended, with the life that ended; EVR_SLOT_ANY: no more. */
uint32_t local_watch_next_dead(struct evr_peer *peer, uint64_t *life)
{
	struct local_peer *own = peer->own;
	struct epoll_event events[8];
	int i, nr;

	nr = epoll_wait(own->epoll_fd, events, 8, 0);
	for (i = 0; i < nr; i++) {
		uint32_t slot = events[i].data.u32;

		if (slot >= EVERING_PEERS_MAX)
			continue;
		*life = own->watches[slot].life;
		unwatch(own, slot);
		return slot;
	}
	return EVR_SLOT_ANY;
}
