// SPDX-License-Identifier: MIT
/*
 * What a ring does and how it is taken: many entries of one call, by ioctl and by write,
 * bits that coalesce, who rang, poll, epoll, read and eventfd. BELL_WAIT is in test_wait.c, the io_uring
 * commands in test_uring.c, the races in race_bell.c.
 *
 * Seen to fail: controls/ringer-unnamed; eventfd bound with bells pending: the
 * module's first version.
 */

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "scene.h"

/* --- ring ---------------------------------------------------------------------------- */

static void bell_rung_is_taken_once_by_read(void **state)
{
	struct scene *s = *state;
	struct evering_bells bells;
	int fd = s->peer[RUNG].fd;

	EV_EQ(scene_ring(s, 5), 0);
	poison(&bells, sizeof(bells));
	EV_EQ(read(fd, &bells, sizeof(bells)), sizeof(bells));
	EV_EQ(bells.bits, 5);
	EV_EQ(bells.rang[0], 1ULL << s->peer[RINGS].slot);
	EV_EQ(bells.rang[1] | bells.rang[2] | bells.rang[3], 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	poison(&bells, sizeof(bells));
	EV_EQ(read(fd, &bells, sizeof(bells)), -1);
	EV_EQ(errno, EAGAIN);
	EV_CHECK(is_poisoned(&bells, sizeof(bells)));
}

static void bell_bits_coalesce_and_none_is_lost(void **state)
{
	struct scene *s = *state;
	struct evering_peer_entry e;
	uint64_t rung = peer_entry(s->seg, s->peer[RUNG].slot).rung;
	uint64_t suppressed = peer_entry(s->seg, s->peer[RUNG].slot).suppressed;
	struct evering_bells bells;
	int bit;

	for (bit = 0; bit < 63; bit++)
		EV_EQ(scene_ring(s, 1ULL << bit), 0);
	EV_EQ(scene_ring(s, 1), 0);
	EV_EQ(scene_ring(s, EVERING_BELLS_USER), 0);
	bells = take_bells(s->peer[RUNG].fd);
	EV_EQ(bells.bits, EVERING_BELLS_USER);
	EV_EQ(take_bells(s->peer[RUNG].fd).bits, 0);
	e = peer_entry(s->seg, s->peer[RUNG].slot);
	EV_EQ(e.rung - rung, 65);
	EV_EQ(e.suppressed - suppressed, 2);
}

static void bell_of_several_ringers_names_them_all(void **state)
{
	struct scene *s = *state;
	struct evering_bells bells;
	uint64_t both = 1ULL << s->peer[RINGS].slot | 1ULL << s->peer[THIRD].slot;

	EV_EQ(scene_ring(s, 1), 0);
	EV_EQ(scene_ring_from(s, THIRD, RUNG, 2), 0);
	bells = take_bells(s->peer[RUNG].fd);
	EV_EQ(bells.bits, 3);
	EV_EQ(bells.rang[0], both);
	EV_EQ(scene_ring_from(s, RUNG, RUNG, 4), 0);
	bells = take_bells(s->peer[RUNG].fd);
	EV_EQ(bells.bits, 4);
	EV_EQ(bells.rang[0], 1ULL << s->peer[RUNG].slot);
}

static void bell_of_high_slot_is_in_its_word(void **state)
{
	struct ev_shape shape = { .peer_size = EV_PAGE, .peers_max = EVERING_PEERS_MAX };
	static const uint32_t slots[] = { 0, 63, 64, 127, 128, 191, 192, 255 };
	struct evering_bells bells;
	struct ev_peer rung, from;
	unsigned int i;
	int seg;

	(void)state;
	if (ev_info().peers_max < EVERING_PEERS_MAX)
		skip();
	seg = ev_create(&shape);
	EV_EQ(ev_try_attach(seg, 0, 1, &rung), 0);
	for (i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
		EV_EQ(ev_try_attach(seg, 0, slots[i], &from), 0);
		take_bells(rung.fd);
		EV_EQ(ev_ring(from.fd, rung.slot, rung.incarnation, 1ULL << i), 0);
		bells = take_bells(rung.fd);
		EV_EQ(bells.bits, 1ULL << i);
		EV_EQ(bells.rang[slots[i] / 64], 1ULL << slots[i] % 64);
		bells.rang[slots[i] / 64] = 0;
		EV_EQ(bells.rang[0] | bells.rang[1] | bells.rang[2] | bells.rang[3], 0);
		close(from.fd);
	}
	close(rung.fd);
	close(seg);
}

static void bell_entries_fail_alone(void **state)
{
	struct scene *s = *state;
	struct ev_peer *to = &s->peer[RUNG];
	struct evering_bell bell[] = {
		{ .slot = to->slot, .incarnation = to->incarnation, .bits = 1 },
		{ .slot = to->slot, .incarnation = to->incarnation + 1, .bits = 2 },
		{ .slot = to->slot, .incarnation = to->incarnation - 1, .bits = 2 },
		{ .slot = 3, .incarnation = 1, .bits = 1 },
		{ .slot = 4, .incarnation = 1, .bits = 1 },
		{ .slot = 256, .incarnation = 1, .bits = 1 },
		{ .slot = EVERING_SLOT_ANY, .incarnation = 1, .bits = 1 },
		{ .slot = to->slot, .incarnation = to->incarnation, .bits = 0 },
		{ .slot = to->slot, .incarnation = to->incarnation, .bits = 1ULL << 63 },
		{ .slot = to->slot, .incarnation = to->incarnation, .bits = 1ULL << 63 | 4 },
		{ .slot = to->slot, .incarnation = to->incarnation, .bits = 1ULL << 62 },
	};
	static const int wanted[] = {
		0,	 -ESTALE, -ESTALE, -ESTALE, -EINVAL, -EINVAL,
		-EINVAL, -EINVAL, -EINVAL, -EINVAL, 0,
	};
	struct evering_bell_ring arg;
	unsigned int i;

	ev_arg(&arg);
	arg.nr = sizeof(bell) / sizeof(bell[0]);
	arg.bells = (uintptr_t)bell;
	for (i = 0; i < arg.nr; i++)
		poison(&bell[i].result, sizeof(bell[i].result));
	EV_EQ(ev_ioctl(s->peer[RINGS].fd, EVERING_IOC_BELL_RING, &arg), 2);
	for (i = 0; i < arg.nr; i++)
		EV_EQ(bell[i].result, wanted[i]);
	EV_EQ(take_bells(to->fd).bits, 1ULL << 62 | 1);
}

static void bell_ring_count_has_a_limit(void **state)
{
	struct scene *s = *state;
	static struct evering_bell bell[EVERING_RING_MAX + 1];
	struct evering_bell_ring arg;
	unsigned int i;

	for (i = 0; i <= EVERING_RING_MAX; i++)
		bell[i] = (struct evering_bell){
			.slot = s->peer[RUNG].slot,
			.incarnation = s->peer[RUNG].incarnation,
			.bits = 1ULL << i % 63,
		};
	ev_arg(&arg);
	arg.bells = (uintptr_t)bell;
	arg.nr = 0;
	EV_EQ(ev_ioctl(s->peer[RINGS].fd, EVERING_IOC_BELL_RING, &arg), 0);
	EV_EQ(take_bells(s->peer[RUNG].fd).bits, 0);
	arg.nr = EVERING_RING_MAX + 1;
	EV_EQ(ev_ioctl(s->peer[RINGS].fd, EVERING_IOC_BELL_RING, &arg), -EINVAL);
	EV_EQ(take_bells(s->peer[RUNG].fd).bits, 0);
	for (i = EVERING_RING_MAX - 1; i <= EVERING_RING_MAX; i++) {
		arg.nr = i;
		EV_EQ(ev_ioctl(s->peer[RINGS].fd, EVERING_IOC_BELL_RING, &arg), i);
		EV_EQ(take_bells(s->peer[RUNG].fd).bits, EVERING_BELLS_USER);
	}
}

/* --- write --------------------------------------------------------------------------- */

static void fails_to_write(int fd, const void *bells, size_t sz, int errno_wanted)
{
	EV_EQ(write(fd, bells, sz), -1);
	EV_EQ(errno, errno_wanted);
}

static struct evering_bell bell_for(const struct scene *s, uint64_t bits)
{
	return (struct evering_bell){ .slot = s->peer[RUNG].slot,
				      .incarnation = s->peer[RUNG].incarnation,
				      .bits = bits };
}

static void bell_written_is_rung(void **state)
{
	struct scene *s = *state;
	uint64_t rung = peer_entry(s->seg, s->peer[RUNG].slot).rung;
	struct evering_bell bell[2] = { bell_for(s, 4), bell_for(s, 1ULL << 62) };
	struct evering_bells bells;

	EV_EQ(write(s->peer[RINGS].fd, bell, sizeof(bell)), sizeof(bell));
	bells = take_bells(s->peer[RUNG].fd);
	EV_EQ(bells.bits, 1ULL << 62 | 4);
	EV_EQ(bells.rang[0], 1ULL << s->peer[RINGS].slot);
	EV_EQ(peer_entry(s->seg, s->peer[RUNG].slot).rung - rung, 2);
	EV_EQ(write(s->peer[RINGS].fd, bell, 0), 0);
	EV_EQ(write(s->peer[RINGS].fd, NULL, 0), 0);
	EV_EQ(take_bells(s->peer[RUNG].fd).bits, 0);
}

static void bell_written_must_be_whole_and_right(void **state)
{
	struct scene *s = *state;
	struct evering_bell wrong[] = {
		bell_for(s, 1), bell_for(s, 1), bell_for(s, 0), bell_for(s, 1ULL << 63 | 4),
		bell_for(s, 1), bell_for(s, 1),
	};
	static const int wanted[] = { EINVAL, EINVAL, EINVAL, EINVAL, ESTALE, ESTALE };
	int fd = s->peer[RINGS].fd;
	unsigned int i;
	size_t sz;

	wrong[0].result = 1;
	wrong[1].slot = EVERING_PEERS_MAX;
	wrong[4].incarnation = 0;
	wrong[5].incarnation++;
	for (i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
		fails_to_write(fd, &wrong[i], sizeof(*wrong), wanted[i]);
	for (sz = 1; sz < 2 * sizeof(*wrong); sz++)
		if (sz != sizeof(*wrong))
			fails_to_write(fd, wrong, sz, EINVAL);
	EV_EQ(syscall(SYS_write, fd, NULL, sizeof(*wrong)), -1);
	EV_EQ(errno, EFAULT);
	EV_EQ(take_bells(s->peer[RUNG].fd).bits, 0);
}

/* Those before it are rung, those behind it are not. */
static void bell_written_ends_at_the_first_wrong_one(void **state)
{
	struct scene *s = *state;
	struct evering_bell bell[] = { bell_for(s, 1), bell_for(s, 2), bell_for(s, 4) };
	long page = sysconf(_SC_PAGESIZE);
	char *edge = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	EV_CHECK(edge != MAP_FAILED);
	bell[1].incarnation++;
	EV_EQ(write(s->peer[RINGS].fd, bell, sizeof(bell)), sizeof(*bell));
	EV_EQ(take_bells(s->peer[RUNG].fd).bits, 1);
	munmap(edge + page, page);
	memcpy(edge + page - sizeof(*bell), bell, sizeof(*bell));
	EV_EQ(syscall(SYS_write, s->peer[RINGS].fd, edge + page - sizeof(*bell), sizeof(bell)),
	      sizeof(*bell));
	EV_EQ(take_bells(s->peer[RUNG].fd).bits, 1);
	munmap(edge, page);
}

static void bell_write_count_has_a_limit(void **state)
{
	struct scene *s = *state;
	static struct evering_bell bell[EVERING_RING_MAX + 1];
	unsigned int i;

	for (i = 0; i <= EVERING_RING_MAX; i++)
		bell[i] = bell_for(s, i < EVERING_RING_MAX ? 1 : 2);
	EV_EQ(write(s->peer[RINGS].fd, bell, sizeof(bell)), EVERING_RING_MAX * sizeof(*bell));
	EV_EQ(take_bells(s->peer[RUNG].fd).bits, 1);
}

static void bell_write_needs_a_living_writer(void **state)
{
	struct scene *s = *state;
	struct evering_bell bell = bell_for(s, 1);
	struct ev_peer observer = ev_attach_observer(s->seg);

	fails_to_write(observer.fd, &bell, sizeof(bell), EBADF);
	close(observer.fd);
	EV_EQ(ev_revoke(s->seg, s->peer[RINGS].slot, s->peer[RINGS].incarnation), 0);
	fails_to_write(s->peer[RINGS].fd, &bell, sizeof(bell), EOWNERDEAD);
	EV_EQ(take_bells(s->peer[RUNG].fd).bits & EVERING_BELLS_USER, 0);
}

/* --- read and poll ------------------------------------------------------------------- */

static void bell_read_sizes(void **state)
{
	struct scene *s = *state;
	int fd = s->peer[RUNG].fd;
	union {
		struct evering_bells bells;
		unsigned char byte[64];
	} u;
	size_t sz;

	EV_EQ(scene_ring(s, 1), 0);
	for (sz = 0; sz < 8; sz++) {
		EV_EQ(read(fd, &u, sz), -1);
		EV_EQ(errno, EINVAL);
	}
	EV_EQ(syscall(SYS_read, fd, NULL, sizeof(u)), -1);
	EV_EQ(errno, EFAULT);
	/* What could not be handed over is still pending, with who rang. */
	poison(&u, sizeof(u));
	EV_EQ(read(fd, &u, sizeof(u)), sizeof(struct evering_bells));
	EV_EQ(u.bells.bits, 1);
	EV_EQ(u.bells.rang[0], 1ULL << s->peer[RINGS].slot);
	EV_CHECK(is_poisoned(u.byte + sizeof(u.bells), sizeof(u) - sizeof(u.bells)));
	for (sz = 8; sz <= sizeof(u.bells); sz += 8) {
		EV_EQ(scene_ring(s, 1ULL << sz / 8), 0);
		poison(&u, sizeof(u));
		EV_EQ(read(fd, &u, sz), sz);
		EV_EQ(u.bells.bits, 1ULL << sz / 8);
		EV_CHECK(is_poisoned(u.byte + sz, sizeof(u) - sz));
	}
}

static void bell_poll_tells_bells_from_peer_events(void **state)
{
	struct scene *s = *state;
	int fd = s->peer[RUNG].fd;
	short all = POLLIN | POLLPRI | POLLOUT | POLLRDNORM;
	struct ev_peer other;

	EV_EQ(events_now(fd, all) & ~(POLLOUT), 0);
	EV_EQ(scene_ring(s, 1), 0);
	EV_EQ(events_now(fd, POLLIN | POLLPRI), POLLIN);
	EV_EQ(take_bells(fd).bits, 1);
	EV_EQ(events_now(fd, POLLIN | POLLPRI), 0);
	other = ev_attach(s->seg);
	EV_CHECK(events_now(fd, POLLIN | POLLPRI) & POLLPRI);
	EV_EQ(take_bells(fd).bits, 1ULL << EVERING_BELL_PEER_EVENT);
	EV_EQ(events_now(fd, POLLIN | POLLPRI), 0);
	close(other.fd);
	EV_CHECK(events_now(fd, POLLIN | POLLPRI) & POLLPRI);
	EV_EQ(take_bells(fd).bits, 1ULL << EVERING_BELL_PEER_EVENT);
	/* A peer's own end leaves it nothing to wait for. */
	EV_EQ(ev_detach(fd), 0);
	EV_CHECK(events_now(fd, 0) & POLLHUP);
	EV_CHECK(events_now(fd, 0) & POLLERR);
}

static void bell_epoll_edge_comes_with_each_new_bell(void **state)
{
	struct scene *s = *state;
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int ep = epoll_create1(EPOLL_CLOEXEC);

	EV_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, s->peer[RUNG].fd, &event), 0);
	EV_EQ(epoll_wait(ep, &event, 1, 0), 0);
	EV_EQ(scene_ring(s, 1), 0);
	EV_EQ(epoll_wait(ep, &event, 1, EV_HANG_MS), 1);
	EV_EQ(epoll_wait(ep, &event, 1, 0), 0);
	EV_EQ(scene_ring(s, 2), 0);
	EV_EQ(epoll_wait(ep, &event, 1, EV_HANG_MS), 1);
	EV_EQ(take_bells(s->peer[RUNG].fd).bits, 3);
	EV_EQ(epoll_wait(ep, &event, 1, 0), 0);
	EV_EQ(scene_ring(s, 1), 0);
	EV_EQ(epoll_wait(ep, &event, 1, EV_HANG_MS), 1);
	close(ep);
}

struct epoll_waiter {
	pthread_t thread;
	int ep;
	int events;
};

static void *wait_epoll(void *arg)
{
	struct epoll_waiter *w = arg;
	struct epoll_event event;

	w->events = epoll_wait(w->ep, &event, 1, EV_HANG_MS);
	return NULL;
}

#define HERD 4

/* Each ring wakes somebody; a later one finds the others still waiting. */
static void bell_epoll_exclusive_wakes_all_in_turn(void **state)
{
	struct scene *s = *state;
	struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE };
	struct epoll_waiter w[HERD];
	int i;

	for (i = 0; i < HERD; i++) {
		w[i].ep = epoll_create1(EPOLL_CLOEXEC);
		w[i].events = -1;
		EV_EQ(epoll_ctl(w[i].ep, EPOLL_CTL_ADD, s->peer[RUNG].fd, &event), 0);
		EV_EQ(pthread_create(&w[i].thread, NULL, wait_epoll, &w[i]), 0);
	}
	usleep(20000);
	/* The bell stays pending, so each waiter sees it once it looks. */
	for (i = 0; i < HERD; i++) {
		EV_EQ(scene_ring(s, 1ULL << i), 0);
		usleep(10000);
	}
	for (i = 0; i < HERD; i++) {
		EV_EQ(pthread_join(w[i].thread, NULL), 0);
		EV_EQ(w[i].events, 1);
		close(w[i].ep);
	}
	EV_EQ(take_bells(s->peer[RUNG].fd).bits, (1 << HERD) - 1);
}

/* --- eventfd -------------------------------------------------------------------------- */

static int bind_eventfd(int fd, int efd)
{
	struct evering_bell_bind arg;

	ev_arg(&arg);
	arg.eventfd = efd;
	return ev_ioctl(fd, EVERING_IOC_BELL_BIND, &arg);
}

static uint64_t eventfd_count(int efd)
{
	uint64_t count = 0;

	if (read(efd, &count, sizeof(count)) < 0)
		EV_EQ(errno, EAGAIN);
	return count;
}

static void bell_eventfd_is_signalled_by_new_bells_only(void **state)
{
	struct scene *s = *state;
	int efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int fd = s->peer[RUNG].fd;

	EV_EQ(bind_eventfd(fd, efd), 0);
	EV_EQ(eventfd_count(efd), 0);
	EV_EQ(scene_ring(s, 1), 0);
	EV_EQ(scene_ring(s, 1), 0);
	EV_EQ(eventfd_count(efd), 1);
	EV_EQ(scene_ring(s, 3), 0);
	EV_EQ(eventfd_count(efd), 1);
	EV_EQ(take_bells(fd).bits, 3);
	EV_EQ(scene_ring(s, 1), 0);
	EV_EQ(eventfd_count(efd), 1);
	EV_EQ(bind_eventfd(fd, -1), 0);
	EV_EQ(scene_ring(s, 4), 0);
	EV_EQ(eventfd_count(efd), 0);
	close(efd);
}

static void bell_eventfd_bound_with_bells_pending_is_signalled(void **state)
{
	struct scene *s = *state;
	int efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	EV_EQ(scene_ring(s, 1), 0);
	EV_EQ(bind_eventfd(s->peer[RUNG].fd, efd), 0);
	EV_EQ(eventfd_count(efd), 1);
	close(efd);
}

static void bell_eventfd_may_be_closed_and_replaced(void **state)
{
	struct scene *s = *state;
	int first = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int second = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int fd = s->peer[RUNG].fd;

	EV_EQ(bind_eventfd(fd, first), 0);
	EV_EQ(bind_eventfd(fd, second), 0);
	EV_EQ(scene_ring(s, 1), 0);
	EV_EQ(eventfd_count(first), 0);
	EV_EQ(eventfd_count(second), 1);
	close(second);
	EV_EQ(scene_ring(s, 2), 0);
	EV_EQ(bind_eventfd(fd, second), -EBADF);
	EV_EQ(bind_eventfd(fd, s->seg), -EINVAL);
	EV_EQ(bind_eventfd(fd, -2), -EINVAL);
	EV_EQ(take_bells(fd).bits, 3);
	close(first);
}

static void bell_eventfd_hears_of_peer_events_and_the_end(void **state)
{
	struct scene *s = *state;
	int efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int fd = s->peer[RUNG].fd;

	EV_EQ(bind_eventfd(fd, efd), 0);
	close(s->peer[THIRD].fd);
	s->peer[THIRD].fd = -1;
	EV_EQ(eventfd_count(efd), 1);
	EV_EQ(take_bells(fd).bits, 1ULL << EVERING_BELL_PEER_EVENT);
	EV_EQ(ev_detach(fd), 0);
	EV_EQ(eventfd_count(efd), 1);
	close(efd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bell_rung_is_taken_once_by_read, scene_start,
						scene_stop),
		cmocka_unit_test_setup_teardown(bell_bits_coalesce_and_none_is_lost, scene_start,
						scene_stop),
		cmocka_unit_test_setup_teardown(bell_of_several_ringers_names_them_all, scene_start,
						scene_stop),
		cmocka_unit_test(bell_of_high_slot_is_in_its_word),
		cmocka_unit_test_setup_teardown(bell_entries_fail_alone, scene_start, scene_stop),
		cmocka_unit_test_setup_teardown(bell_ring_count_has_a_limit, scene_start,
						scene_stop),
		cmocka_unit_test_setup_teardown(bell_written_is_rung, scene_start, scene_stop),
		cmocka_unit_test_setup_teardown(bell_written_must_be_whole_and_right, scene_start,
						scene_stop),
		cmocka_unit_test_setup_teardown(bell_written_ends_at_the_first_wrong_one,
						scene_start, scene_stop),
		cmocka_unit_test_setup_teardown(bell_write_count_has_a_limit, scene_start,
						scene_stop),
		cmocka_unit_test_setup_teardown(bell_write_needs_a_living_writer, scene_start,
						scene_stop),
		cmocka_unit_test_setup_teardown(bell_read_sizes, scene_start, scene_stop),
		cmocka_unit_test_setup_teardown(bell_poll_tells_bells_from_peer_events, scene_start,
						scene_stop),
		cmocka_unit_test_setup_teardown(bell_epoll_edge_comes_with_each_new_bell,
						scene_start, scene_stop),
		cmocka_unit_test_setup_teardown(bell_epoll_exclusive_wakes_all_in_turn, scene_start,
						scene_stop),
		cmocka_unit_test_setup_teardown(bell_eventfd_is_signalled_by_new_bells_only,
						scene_start, scene_stop),
		cmocka_unit_test_setup_teardown(bell_eventfd_bound_with_bells_pending_is_signalled,
						scene_start, scene_stop),
		cmocka_unit_test_setup_teardown(bell_eventfd_may_be_closed_and_replaced,
						scene_start, scene_stop),
		cmocka_unit_test_setup_teardown(bell_eventfd_hears_of_peer_events_and_the_end,
						scene_start, scene_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
