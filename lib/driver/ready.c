// SPDX-License-Identifier: MIT
/*
 * The way without io_uring of what waits for a file to be ready: epoll, then a call
 * that does not block, in the loop's own thread.
 *
 * Each op holds a duplicate of its fd: it keeps the file, as io_uring does, whatever
 * the caller does with the number, and gives each op an entry in epoll of its own.
 *
 * Ready is not for us alone: another op, or another process, may be first. So no call
 * blocks: by MSG_DONTWAIT or RWF_NOWAIT; a pipe that lacks that (before 6.4) through a file of its
 * own, O_NONBLOCK; else (accept, connect, terminals, inotify) by that flag of the shared file,
 * for the one call. Limit: two processes that both do so to one file may take the flag away
 * from each other; the call of one then waits for the next event of that file.
 */
#include "driver.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_MAX 64
/* Multishot: completions at one readiness, so that one busy socket starves nobody. */
#define SHOTS_MAX 16

#define WAKE_DATA 0 /* no id is 0 */

/* One call at a time, of all drivers of the process, to a file whose flag is changed for it. */
static pthread_mutex_t unblocked = PTHREAD_MUTEX_INITIALIZER;

int evr_ready_init(struct evr_driver *d)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = WAKE_DATA };

	d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (d->epoll_fd < 0)
		return -errno;
	if (epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, evr_injector_fd(d), &event))
		return -errno;
	return 0;
}

static int hold(int32_t *held, int fd)
{
	if (*held < 0)
		*held = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return *held < 0 ? -errno : 0;
}

/* References to its files of our own, until the op is over. -EAGAIN: it has none. */
int evr_hold_fd(struct extra *extra)
{
	uint16_t flags = evr_rows[extra->op.code]->flags;
	int err;

	if (!(flags & ROW_FD))
		return -EAGAIN;
	err = hold(&extra->held_fd, extra->op.fd);
	if (!err && flags & ROW_IN)
		err = hold(&extra->held_in, (int)extra->op.x[1]);
	return err;
}

static void release(int32_t *held)
{
	if (*held >= 0)
		close(*held);
	*held = -1;
}

void evr_release_fd(struct extra *extra)
{
	release(&extra->held_fd);
	release(&extra->held_in);
}

/*
 * Some calls have no flag to not block: the file has, for a moment, in which no other driver
 * of the process relies on it. True: it had it not.
 */
bool evr_unblock(int fd)
{
	int flags;

	pthread_mutex_lock(&unblocked);
	flags = fcntl(fd, F_GETFL);
	return flags >= 0 && !(flags & O_NONBLOCK) && !fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

/* Always after evr_unblock(), which has said whether it @changed anything. */
void evr_reblock(int fd, bool changed)
{
	if (changed)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	pthread_mutex_unlock(&unblocked);
}

/* Does the call before the wait settle it? */
static bool begin(struct evr_driver *d, struct slot *s, uint32_t index)
{
	struct extra *extra = extra_at(d, index);
	int res = evr_rows[s->op]->call(d, extra, extra->held_fd);

	if (res == -EINPROGRESS)
		return false;
	if (res == -EAGAIN) {
		/* It would have to block. */
		s->way = EVR_SUPPORT_POOL;
		evr_workers_start(d, index);
		return true;
	}
	evr_ready_stop(d, index);
	evr_op_finish(d, s, index, res, 0);
	return true;
}

int evr_ready_start(struct evr_driver *d, struct slot *s, uint32_t index)
{
	struct extra *extra = extra_at(d, index);
	const struct row *row = evr_rows[s->op];
	struct epoll_event event = { .data.u64 = id_of(s) };
	bool edge = row->flags & ROW_EDGE && s->flags & S_MULTI;
	int err;

	err = evr_hold_fd(extra);
	if (err) {
		evr_op_finish(d, s, index, err == -EAGAIN ? -EBADF : err, 0);
		return 0;
	}
	extra->waits = true;
	if (row->flags & ROW_BEGINS && begin(d, s, index))
		return 0;
	event.events = row->events(extra) | (edge ? EPOLLET : EPOLLONESHOT);
	if (epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, extra->held_fd, &event)) {
		err = -errno;
		/* A file without poll is always ready, and its calls may block. */
		if (err == -EPERM && !(extra->op.flags & EVR_OP_BUFFER)) {
			s->way = EVR_SUPPORT_POOL;
			evr_workers_start(d, index);
			return 0;
		}
		/* What receives into a group is for sockets, and the group is the loop's alone. */
		evr_op_finish(d, s, index, err == -EPERM ? -ENOTSOCK : err, 0);
		return 0;
	}
	s->state = ACTIVE;
	d->in_flight++;
	return 0;
}

/* Out of epoll. The duplicate stays: the op may start again. */
void evr_ready_stop(struct evr_driver *d, uint32_t index)
{
	struct extra *extra = extra_at(d, index);

	if (extra->held_fd >= 0)
		epoll_ctl(d->epoll_fd, EPOLL_CTL_DEL, extra->held_fd, NULL);
}

static void rearm(struct evr_driver *d, struct slot *s, uint32_t index)
{
	struct extra *extra = extra_at(d, index);
	struct epoll_event event = { .data.u64 = id_of(s) };

	event.events = evr_rows[s->op]->events(extra) | EPOLLONESHOT;
	epoll_ctl(d->epoll_fd, EPOLL_CTL_MOD, extra->held_fd, &event);
}

/* call() says in the extra what a CQE would say in its flags. */
static uint32_t emulated_cflags(const struct extra *extra, int res)
{
	if (res > 0 && extra->op.flags & EVR_OP_BUFFER)
		return IORING_CQE_F_BUFFER | (uint32_t)extra->bid << IORING_CQE_BUFFER_SHIFT;
	return 0;
}

/* The end of the stream, or an error, ends a multishot; poll and accept have no end. */
static bool shot_is_last(const struct slot *s, const struct extra *extra, int res)
{
	if (s->op == EVR_OP_RECVMSG)
		return evr_recvmsg_is_over(extra, res);
	return res < 0 || (res == 0 && s->op == EVR_OP_RECV);
}

static void shoot(struct evr_driver *d, struct slot *s, uint32_t index)
{
	bool edge = evr_rows[s->op]->flags & ROW_EDGE;
	struct extra *extra = extra_at(d, index);
	uint64_t id = id_of(s);
	uint32_t gone;
	int shot, res;

	for (shot = 0; shot < SHOTS_MAX && (!shot || take_has_room(d)); shot++) {
		res = evr_rows[s->op]->call(d, extra, extra->held_fd);
		if (res == -EINTR)
			continue;
		if (res == -EAGAIN)
			break;
		if (shot_is_last(s, extra, res)) {
			evr_ready_stop(d, index);
			evr_event(d, s, index, res, emulated_cflags(extra, res));
			return;
		}
		evr_event(d, s, index, res, emulated_cflags(extra, res) | IORING_CQE_F_MORE);
		/* The callback may have cancelled it. */
		if (slot_of(d, id, &gone) != s || s->state != ACTIVE)
			return;
		/* What call() says of an edge, it says once. */
		if (edge)
			return;
	}
	if (!edge)
		rearm(d, s, index);
}

static void ready(struct evr_driver *d, uint64_t id)
{
	struct extra *extra;
	struct slot *s;
	uint32_t index;
	int res;

	s = slot_of(d, id, &index);
	if (!s || s->state != ACTIVE || s->way != EVR_SUPPORT_READY)
		return;
	extra = extra_at(d, index);
	if (s->flags & S_MULTI) {
		shoot(d, s, index);
		return;
	}
	res = evr_rows[s->op]->call(d, extra, extra->held_fd);
	if (res == -EAGAIN || res == -EINTR) {
		rearm(d, s, index);
		return;
	}
	evr_ready_stop(d, index);
	evr_event(d, s, index, res, emulated_cflags(extra, res));
}

/*
 * epoll_wait() ends also when a ring that this thread once had is taken down, with -EINTR
 * though no handler has run. poll() goes on then.
 */
static int sleep_until(struct evr_driver *d, uint64_t until_ns)
{
	struct pollfd p = { .fd = d->epoll_fd, .events = POLLIN };
	struct timespec ts = { 0 };
	uint64_t now_ns;

	if (until_ns != UINT64_MAX) {
		now_ns = evr_now_ns();
		until_ns = until_ns > now_ns ? until_ns - now_ns : 0;
		ts.tv_sec = (time_t)(until_ns / 1000000000u);
		ts.tv_nsec = (long)(until_ns % 1000000000u);
	}
	d->stats.enters++;
	return ppoll(&p, 1, until_ns == UINT64_MAX ? NULL : &ts, NULL) < 0 ? -errno : 0;
}

/* Sleep until something is ready, a wake, or the time. 0; -EINTR; -ETIME. */
int evr_ready_wait(struct evr_driver *d, uint64_t until_ns)
{
	struct epoll_event events[EVENTS_MAX]; /* fewer than take_has_room() keeps free */
	int err = until_ns ? sleep_until(d, until_ns) : 0;
	int i, nr;

	if (err)
		return err;
	d->stats.enters++;
	nr = epoll_wait(d->epoll_fd, events, EVENTS_MAX, 0);
	/* It did not sleep: no handler's doing. */
	if (nr < 0)
		return errno == EINTR ? 0 : -errno;
	for (i = 0; i < nr; i++) {
		if (events[i].data.u64 == WAKE_DATA)
			evr_injector_quiet(d);
		else
			ready(d, events[i].data.u64);
	}
	return nr ? 0 : -ETIME;
}
