// SPDX-License-Identifier: MIT
/*
 * What is seen from outside, by who has no part in it: fdinfo of segment and peer fds,
 * the totals in sysfs, debugfs, the tracepoints; and that nothing a caller can do fills
 * the kernel's log.
 *
 * Seen to fail: controls/death-untraced, controls/fdinfo-pending-lost; with limbo_bytes
 * that are not swept, segments not listed in debugfs, and a line for each refused command.
 */

#include <sys/stat.h>
#include <sys/uio.h>

#include "scene.h"

#define SYSFS "/sys/class/misc/evering/"
#define DEBUGFS "/sys/kernel/debug/evering/"
#define TRACING "/sys/kernel/tracing/"
#define TEXT_MAX 65536
#define WRONG_CALLS 500

static char text[TEXT_MAX];

/* The whole file in text; false when it is not there. */
static bool read_text(const char *path)
{
	size_t len = 0;
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	while (len < TEXT_MAX - 1 && (got = read(fd, text + len, TEXT_MAX - 1 - len)) > 0)
		len += (size_t)got;
	text[len] = '\0';
	close(fd);
	return true;
}

static void expect_line(const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (!strstr(text, line))
		ev_fail(__FILE__, __LINE__, "'%s' is not in\n%s", line, text);
}

static void expect_no(const char *word)
{
	if (strstr(text, word))
		ev_fail(__FILE__, __LINE__, "'%s' is in\n%s", word, text);
}

/* --- fdinfo --------------------------------------------------------------------------- */

static void read_fdinfo(int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	EV_CHECK(read_text(path));
}

static void seen_segment_fd_tells_what_it_is(void **state)
{
	struct scene *s = *state;
	struct evering_segment_info info = ev_segment_info(s->seg);

	read_fdinfo(s->seg);
	expect_line("evering-segment:\t%llu\n", (unsigned long long)info.segment_id);
	expect_line("evering-size:\t%llu\n", (unsigned long long)info.segment_size);
	expect_line("evering-rights:\t%#x\n", EVERING_RIGHTS_ALL);
	expect_line("evering-peers:\t%d\n", SCENE_PEERS);
	expect_no("evering-attaches-left");
	expect_no("evering-reserved");
}

static void seen_invitation_tells_what_is_left_of_it(void **state)
{
	struct scene *s = *state;
	int guest = ev_try_invite(s->seg, EVERING_RIGHT_WRITE, EVERING_INVITE_F_RESERVE, 1);
	struct ev_peer peer;

	EV_CHECK(guest >= 0);
	read_fdinfo(guest);
	expect_line("evering-rights:\t%#x\n", EVERING_RIGHT_WRITE);
	expect_line("evering-attaches-left:\t1\n");
	expect_line("evering-reserved:\t%d\n", SCENE_PEERS);
	peer = ev_attach(guest);
	EV_EQ(peer.slot, SCENE_PEERS);
	read_fdinfo(guest);
	expect_line("evering-attaches-left:\t0\n");
	expect_line("evering-peers:\t%d\n", SCENE_PEERS + 1);
	expect_no("evering-reserved");
	close(peer.fd);
	close(guest);
}

static void seen_peer_fd_tells_who_it_is(void **state)
{
	struct scene *s = *state;
	struct ev_peer *peer = &s->peer[RUNG];
	struct evering_peer_attach arg;

	EV_EQ(scene_ring(s, 5), 0);
	read_fdinfo(peer->fd);
	expect_line("evering-segment:\t%llu\n",
		    (unsigned long long)ev_segment_info(s->seg).segment_id);
	expect_line("evering-peer:\t%u.%llu\n", peer->slot, (unsigned long long)peer->incarnation);
	expect_line("evering-rights:\t%#x\n", peer->rights);
	expect_line("evering-pid:\t%d\n", getpid());
	expect_line("evering-ended:\t0\n");
	expect_line("evering-pending:\t0x5\n");
	EV_EQ(ev_detach(peer->fd), 0);
	read_fdinfo(peer->fd);
	expect_line("evering-ended:\t1\n");

	ev_arg(&arg);
	arg.slot = EVERING_SLOT_ANY;
	arg.cookie = 0xfedcba9876543210;
	EV_EQ(ev_ioctl(s->seg, EVERING_IOC_PEER_ATTACH, &arg), 0);
	read_fdinfo(arg.fd);
	expect_line("evering-cookie:\t0xfedcba9876543210\n");
	close(arg.fd);
}

/* --- sysfs and debugfs ------------------------------------------------------------------ */

static uint64_t total(const char *name)
{
	char path[128], *end;
	uint64_t value;

	snprintf(path, sizeof(path), SYSFS "%s", name);
	EV_CHECK(read_text(path));
	value = strtoull(text, &end, 10);
	EV_CHECK(end != text && *end == '\n');
	return value;
}

static void await_total(const char *name, uint64_t wanted)
{
	int ms;

	for (ms = 0; ms < EV_HANG_MS && total(name) != wanted; ms++)
		usleep(1000);
	EV_EQ(total(name), wanted);
}

static void seen_totals_are_those_of_info(void **state)
{
	struct evering_info before = ev_info();
	int seg;

	(void)state;
	EV_EQ(total("segments"), before.segments);
	EV_EQ(total("total_bytes"), before.total_bytes);
	seg = ev_create_plain();
	EV_EQ(total("segments"), before.segments + 1);
	EV_EQ(total("total_bytes"), before.total_bytes + 5 * EV_BLOCK);
	EV_EQ(total("total_bytes"), ev_info().total_bytes);
	close(seg);
	await_total("segments", before.segments);
	await_total("total_bytes", before.total_bytes);
}

/* A block of which I/O has pinned a page, after the segment's end. */
static void seen_memory_that_is_only_pinned_is_in_limbo(void **state)
{
	struct ev_shape shape = { .shared_size = 2 * EV_BLOCK, .peers_max = 1 };
	int seg = ev_create(&shape), ends[2];
	struct ev_peer peer = ev_attach(seg);
	struct iovec iov = { ev_map(peer.fd, EV_BLOCK, 2 * EV_BLOCK, PROT_READ | PROT_WRITE),
			     EV_PAGE };

	(void)state;
	EV_EQ(total("limbo_bytes"), 0);
	EV_EQ(pipe(ends), 0);
	EV_EQ(vmsplice(ends[1], &iov, 1, 0), EV_PAGE);
	munmap(iov.iov_base, 2 * EV_BLOCK);
	close(peer.fd);
	close(seg);
	await_total("limbo_bytes", EV_BLOCK);
	close(ends[0]);
	close(ends[1]);
	await_total("limbo_bytes", 0);
}

static void seen_segments_are_listed_for_root(void **state)
{
	struct scene *s = *state;
	struct evering_segment_info info = ev_segment_info(s->seg);
	struct stat file;
	char line[128];

	if (stat(DEBUGFS "segments", &file)) {
		print_message("# skip: no debugfs here\n");
		skip();
	}
	EV_EQ(file.st_mode & 07777, 0400);
	EV_EQ(file.st_uid, 0);
	EV_CHECK(read_text(DEBUGFS "segments"));
	snprintf(line, sizeof(line), "\n%llu %llu %d/4 0x0 %d\n",
		 (unsigned long long)info.segment_id, (unsigned long long)info.segment_size,
		 SCENE_PEERS, getuid());
	expect_line("%s", line);
}

/* --- tracepoints -------------------------------------------------------------------------- */

static bool set_knob(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);

	close(fd);
	return good;
}

static void wait_with_mask(int fd, uint64_t mask, int result)
{
	struct evering_bell_wait wait;

	ev_arg(&wait);
	wait.mask = mask;
	EV_EQ(ev_ioctl(fd, EVERING_IOC_BELL_WAIT, &wait), result);
}

/* Everything that has a tracepoint, once; returns the id of the segment. */
static unsigned long long do_everything(struct ev_peer *a, struct ev_peer *b)
{
	int seg = ev_create_plain();
	unsigned long long id = ev_segment_info(seg).segment_id;
	struct ev_peer c;

	*a = ev_attach(seg);
	*b = ev_attach(seg);
	take_bells(b->fd);
	EV_EQ(ev_ring(a->fd, b->slot, b->incarnation, 6), 0);
	EV_EQ(ev_ring(a->fd, b->slot, b->incarnation + 9, 6), -ESTALE);
	wait_with_mask(b->fd, 2, 0);
	wait_with_mask(b->fd, 8, -ETIMEDOUT);
	EV_EQ(ev_grow(seg, EV_BLOCK, NULL), 0);
	c = ev_attach_observer(seg);
	EV_EQ(ev_revoke(seg, c.slot, c.incarnation), 0);
	EV_EQ(ev_detach(b->fd), 0);
	close(c.fd);
	close(b->fd);
	close(a->fd);
	close(seg);
	return id;
}

static void seen_every_event_is_traced(void **state)
{
	struct ev_peer a, b;
	unsigned long long id;

	(void)state;
	if (!set_knob(TRACING "events/evering/enable", "1")) {
		print_message("# skip: no tracing here\n");
		skip();
	}
	set_knob(TRACING "trace", "");
	id = do_everything(&a, &b);
	EV_CHECK(set_knob(TRACING "events/evering/enable", "0"));
	EV_CHECK(read_text(TRACING "trace"));
	expect_line("evering_alloc: segment=%llu bytes=%llu best_run=", id,
		    (unsigned long long)(5 * EV_BLOCK));
	expect_line("evering_attach: segment=%llu slot=%u incarnation=%llu rights=%#x\n", id,
		    a.slot, (unsigned long long)a.incarnation, a.rights);
	expect_line(
		"evering_ring: segment=%llu from=%u slot=%u incarnation=%llu bits=0x6 result=0\n",
		id, a.slot, b.slot, (unsigned long long)b.incarnation);
	expect_line(
		"evering_ring: segment=%llu from=%u slot=%u incarnation=%llu bits=0x6 result=%d\n",
		id, a.slot, b.slot, (unsigned long long)b.incarnation + 9, -ESTALE);
	expect_line("evering_wait: segment=%llu slot=%u mask=0x2 bits=0x2 result=0\n", id, b.slot);
	expect_line("evering_wait: segment=%llu slot=%u mask=0x8 bits=0x0 result=%d\n", id, b.slot,
		    -ETIMEDOUT);
	expect_line("evering_grow: segment=%llu bytes=%llu\n", id, (unsigned long long)EV_BLOCK);
	expect_line("evering_revoke: segment=%llu slot=2 incarnation=1 ", id);
	expect_line("evering_death: segment=%llu slot=2 incarnation=1 reason=%d status=0x0\n", id,
		    EVERING_EXIT_REVOKE);
	expect_line("evering_detach: segment=%llu slot=%u ", id, b.slot);
	expect_line("evering_death: segment=%llu slot=%u incarnation=%llu reason=%d status=0x0\n",
		    id, b.slot, (unsigned long long)b.incarnation, EVERING_EXIT_DETACH);
	expect_line("evering_death: segment=%llu slot=%u incarnation=%llu reason=%d status=0x0\n",
		    id, a.slot, (unsigned long long)a.incarnation, EVERING_EXIT_CLOSE);
}

/* --- the log ------------------------------------------------------------------------------ */

/* The module's lines since the last call. */
static int new_lines(int kmsg)
{
	char line[2048];
	ssize_t len;
	int nr = 0;

	/* EPIPE: lines were overwritten before they were read. */
	while ((len = read(kmsg, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		line[len > 0 ? len : 0] = '\0';
		if (len < 0 || strstr(line, ";evering: "))
			nr++;
	}
	return nr;
}

/* What any caller can get wrong, and any peer can do, over and over. */
static void do_wrong(struct scene *s)
{
	struct ev_shape huge = { .shared_size = 1ULL << 50, .peers_max = 1 };
	struct evering_bell_ring ring;
	struct ev_peer peer;

	EV_EQ(ev_try_create(&huge), -EFBIG);
	EV_EQ(ev_ioctl(s->seg, _IO(EVERING_IOC_MAGIC, 0xff), NULL), -ENOTTY);
	EV_EQ(ev_ioctl(s->seg, EVERING_IOC_SEGMENT_INFO, NULL), -EFAULT);
	EV_EQ(ev_revoke(s->seg, 99, 1), -EINVAL);
	EV_EQ(ev_grow(s->seg, 1ULL << 50, NULL), -EFBIG);
	EV_EQ(ev_map_errno(s->peer[RUNG].fd, ev_region(s->seg, s->peer[RINGS].slot), EV_PAGE,
			   PROT_READ | PROT_WRITE, MAP_SHARED),
	      -EACCES);
	ev_arg(&ring);
	ring.nr = EVERING_RING_MAX + 1;
	EV_EQ(ev_ioctl(s->peer[RINGS].fd, EVERING_IOC_BELL_RING, &ring), -EINVAL);
	peer = ev_attach_observer(s->seg);
	EV_EQ(ev_revoke(s->seg, peer.slot, peer.incarnation), 0);
	EV_EQ(ev_ioctl(peer.fd, EVERING_IOC_PEER_DETACH, NULL), -EFAULT);
	close(peer.fd);
}

static void seen_log_is_not_filled_by_callers(void **state)
{
	int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC), i;

	EV_CHECK(kmsg >= 0);
	EV_CHECK(lseek(kmsg, 0, SEEK_END) >= 0);
	EV_EQ(new_lines(kmsg), 0);
	for (i = 0; i < WRONG_CALLS; i++)
		do_wrong(*state);
	EV_EQ(new_lines(kmsg), 0);
	close(kmsg);
}

int main(void)
{
#define ON_SCENE(name) cmocka_unit_test_setup_teardown(name, scene_start, scene_stop)
	const struct CMUnitTest tests[] = {
		ON_SCENE(seen_segment_fd_tells_what_it_is),
		ON_SCENE(seen_invitation_tells_what_is_left_of_it),
		ON_SCENE(seen_peer_fd_tells_who_it_is),
		cmocka_unit_test(seen_totals_are_those_of_info),
		cmocka_unit_test(seen_memory_that_is_only_pinned_is_in_limbo),
		ON_SCENE(seen_segments_are_listed_for_root),
		cmocka_unit_test(seen_every_event_is_traced),
		ON_SCENE(seen_log_is_not_filled_by_callers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
