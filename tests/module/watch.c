// SPDX-License-Identifier: MIT
/* See watch.h. */

#include <inttypes.h>
#include <poll.h>
#include <time.h>

#include "watch.h"

void watch_start(struct watch *w, int seg)
{
	w->seg = seg;
	w->peer = ev_attach(seg);
	w->status = ev_status(w->peer.fd);
	watch_settle(w);
}

void watch_stop(struct watch *w)
{
	munmap((void *)(uintptr_t)w->status, ev_segment_info(w->peer.fd).status_size);
	close(w->peer.fd);
}

int watch_setup(void **state, int seg)
{
	struct watch *w = malloc(sizeof(*w));

	EV_CHECK(w);
	watch_start(w, seg);
	*state = w;
	return 0;
}

int watch_setup_plain(void **state)
{
	return watch_setup(state, ev_create_plain());
}

int watch_teardown(void **state)
{
	struct watch *w = *state;

	watch_stop(w);
	close(w->seg);
	free(w);
	return 0;
}

uint64_t watch_generation(const struct watch *w)
{
	return __atomic_load_n(&w->status->generation, __ATOMIC_ACQUIRE);
}

void watch_settle(struct watch *w)
{
	take_bells(w->peer.fd);
	w->generation = watch_generation(w);
}

struct evering_bells take_bells(int peer_fd)
{
	struct evering_bell_wait wait;
	int ret;

	ev_arg(&wait);
	wait.mask = ~0ULL;
	wait.deadline_ns = 0;
	ret = ev_ioctl(peer_fd, EVERING_IOC_BELL_WAIT, &wait);
	if (ret == -ETIMEDOUT)
		memset(&wait.bells, 0, sizeof(wait.bells));
	else
		EV_EQ(ret, 0);
	return wait.bells;
}

short events_now(int fd, short events)
{
	struct pollfd pfd = { .fd = fd, .events = events };

	EV_CHECK(poll(&pfd, 1, 0) >= 0);
	return pfd.revents;
}

short await_events(int fd, short events)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	int ret;

	do
		ret = poll(&pfd, 1, EV_HANG_MS);
	while (ret < 0 && errno == EINTR);
	if (ret == 0)
		ev_fail(__FILE__, __LINE__, "no event of %#x in %d s", events, EV_HANG_MS / 1000);
	EV_EQ(ret, 1);
	return pfd.revents;
}

struct evering_peer_entry peer_entry(int fd, uint32_t slot)
{
	struct evering_peer_entry entry;
	struct evering_peer_list list;

	poison(&entry, sizeof(entry));
	ev_arg(&list);
	list.first = slot;
	list.nr = 1;
	list.entries = (uintptr_t)&entry;
	EV_EQ(ev_ioctl(fd, EVERING_IOC_PEER_LIST, &list), 0);
	if (list.nr == 0 || entry.slot != slot) {
		memset(&entry, 0, sizeof(entry));
		entry.slot = slot;
	}
	return entry;
}

static void expect_entry(struct watch *w, const struct ev_peer *victim, uint32_t reason,
			 int exit_status)
{
	const volatile struct evering_status_entry *e = ev_status_entry(w->status, victim->slot);
	struct evering_peer_entry listed = peer_entry(w->seg, victim->slot);

	EV_EQ(e->state, EVERING_PEER_DEAD);
	EV_EQ(e->incarnation, victim->incarnation);
	EV_EQ(e->exit_reason, reason);
	EV_EQ(e->exit_status, exit_status);
	EV_EQ(listed.state, EVERING_PEER_DEAD);
	EV_EQ(listed.incarnation, victim->incarnation);
	EV_EQ(listed.exit_reason, reason);
	EV_EQ(listed.exit_status, exit_status);
}

void watch_expect_death(struct watch *w, const struct ev_peer *victim, uint32_t reason,
			int exit_status)
{
	EV_CHECK(await_events(w->peer.fd, POLLPRI) & POLLPRI);
	/* Not awaited: the bell must not ring before the state is there. */
	EV_EQ(ev_state(w->status, victim->slot), EVERING_PEER_DEAD);
	expect_entry(w, victim, reason, exit_status);
	EV_EQ(watch_generation(w) - w->generation, WATCH_DEATH_CHANGES);
	w->generation += WATCH_DEATH_CHANGES;
	EV_EQ(take_bells(w->peer.fd).bits, 1ULL << EVERING_BELL_PEER_EVENT);
	EV_EQ(events_now(w->peer.fd, POLLPRI | POLLIN), 0);
	EV_EQ(ev_ring(w->peer.fd, victim->slot, victim->incarnation, 1), -ESTALE);
}

void watch_expect_quiet(struct watch *w)
{
	EV_EQ(watch_generation(w) - w->generation, 0);
	EV_EQ(events_now(w->peer.fd, POLLPRI), 0);
}

void watch_expect_alive(struct watch *w, const struct ev_peer *peer)
{
	EV_EQ(ev_state(w->status, peer->slot), EVERING_PEER_LIVE);
	EV_EQ(ev_status_entry(w->status, peer->slot)->incarnation, peer->incarnation);
	EV_EQ(ev_status_entry(w->status, peer->slot)->exit_reason, EVERING_EXIT_NONE);
	watch_expect_quiet(w);
}

void watch_reap(struct watch *w, const struct ev_peer *victim)
{
	struct ev_peer next;

	EV_EQ(ev_try_attach(w->seg, 0, victim->slot, &next), -EBUSY);
	EV_EQ(ev_reaped(w->peer.fd, victim->slot, victim->incarnation), 0);
	EV_EQ(ev_state(w->status, victim->slot), EVERING_PEER_FREE);
	EV_EQ(ev_try_attach(w->seg, 0, victim->slot, &next), 0);
	EV_EQ(next.slot, victim->slot);
	EV_EQ(next.incarnation, victim->incarnation + 1);
	watch_settle(w);
	close(next.fd);
	watch_expect_death(w, &next, EVERING_EXIT_CLOSE, 0);
	EV_EQ(ev_reaped(w->peer.fd, next.slot, next.incarnation), 0);
	watch_settle(w);
}

void await_totals(const struct evering_info *before)
{
	time_t end = time(NULL) + EV_HANG_MS / 1000;
	struct evering_info now;

	do {
		now = ev_info();
		if (now.segments == before->segments && now.total_bytes == before->total_bytes &&
		    now.uid_bytes == before->uid_bytes)
			return;
		usleep(10000);
	} while (time(NULL) < end);
	ev_fail(__FILE__, __LINE__,
		"leak: segments %u, was %u; bytes %" PRIu64 ", was %" PRIu64
		"; of this uid %" PRIu64 ", was %" PRIu64,
		now.segments, before->segments, (uint64_t)now.total_bytes,
		(uint64_t)before->total_bytes, (uint64_t)now.uid_bytes,
		(uint64_t)before->uid_bytes);
}

void await_asleep(pid_t pid)
{
	char path[64], line[512], state = '?';
	int ms;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	for (ms = 0; ms < EV_HANG_MS; ms++) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t len = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
		char *end;

		close(fd);
		EV_CHECK(len > 0);
		line[len] = '\0';
		end = strrchr(line, ')');
		EV_CHECK(end && end[1] == ' ');
		state = end[2];
		if (state == 'S')
			return;
		if (state == 'Z' || state == 'X')
			break;
		usleep(1000);
	}
	ev_fail(__FILE__, __LINE__, "process %d is in state %c, not asleep", pid, state);
}
