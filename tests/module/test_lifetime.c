// SPDX-License-Identifier: MIT
/*
 * A segment lives while an fd, a mapping or a pin does, and not longer: every order in
 * which the last four holds can be released, in a living process, at its exit and at
 * its kill, with pins that outlive every fd. The module stays while anything is open.
 *
 * Seen to fail: controls/quota-escaped.
 */

#include <poll.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "uring_cmd.h"
#include "watch.h"

#define MODULE_FILE "/lib/evering.ko"
#define GROUP_EVERING 900
#define PEER_BYTES (2 * EV_BLOCK)

/* --- the four holds and their orders -------------------------------------------------- */

enum hold { HOLD_MAPPING, HOLD_SEGMENT, HOLD_PEER, HOLD_PINS, HOLDS };

struct holder {
	int seg;
	struct ev_peer peer;
	char *memory;
	int pipe[2];
	bool fixed;
	struct io_uring ring;
	int file;
};

static int make_file(void)
{
	int fd = open("/tmp/lifetime-file", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char text[EV_PAGE];

	EV_CHECK(fd >= 0);
	memset(text, 0x5e, sizeof(text));
	EV_EQ(write(fd, text, sizeof(text)), sizeof(text));
	unlink("/tmp/lifetime-file");
	return fd;
}

/* pins: a page of the segment in a pipe; a registered buffer where there is such a thing. */
static void take_holds(struct holder *h)
{
	struct ev_shape shape = { .peer_size = PEER_BYTES, .peers_max = 2 };
	struct iovec iov, all;

	h->seg = ev_create(&shape);
	h->peer = ev_attach(h->seg);
	h->memory = ev_map(h->peer.fd, ev_region(h->seg, h->peer.slot), PEER_BYTES,
			   PROT_READ | PROT_WRITE);
	memset(h->memory, 0x42, PEER_BYTES);
	iov = (struct iovec){ h->memory + EV_BLOCK - EV_PAGE, 2 * EV_PAGE };
	EV_EQ(pipe(h->pipe), 0);
	EV_EQ(vmsplice(h->pipe[1], &iov, 1, 0), 2 * EV_PAGE);
	h->fixed = ev_has(EVERING_FEAT_FIXED_BUFFERS);
	if (!h->fixed)
		return;
	all = (struct iovec){ h->memory, PEER_BYTES };
	EV_CHECK(uring_start(&h->ring, &uring_kinds[0]));
	EV_EQ(io_uring_register_buffers(&h->ring, &all, 1), 0);
	h->file = make_file();
}

static void expect_pinned_page(int fd)
{
	char text[2 * EV_PAGE];

	EV_EQ(read(fd, text, sizeof(text)), sizeof(text));
	EV_EQ(text[0], 0x42);
	EV_EQ(text[sizeof(text) - 1], 0x42);
}

static void drop_pins(struct holder *h)
{
	struct io_uring_sqe *sqe;

	expect_pinned_page(h->pipe[0]);
	close(h->pipe[0]);
	close(h->pipe[1]);
	if (!h->fixed)
		return;
	/* As late as can be: by now perhaps nothing but this buffer is left. */
	sqe = io_uring_get_sqe(&h->ring);
	io_uring_prep_read_fixed(sqe, h->file, h->memory, EV_PAGE, 0, 0);
	io_uring_sqe_set_data64(sqe, 1);
	EV_EQ(uring_result(&h->ring, 1), EV_PAGE);
	io_uring_queue_exit(&h->ring);
	close(h->file);
}

static void release(struct holder *h, enum hold hold)
{
	switch (hold) {
	case HOLD_MAPPING:
		munmap(h->memory, PEER_BYTES);
		break;
	case HOLD_SEGMENT:
		close(h->seg);
		break;
	case HOLD_PEER:
		close(h->peer.fd);
		break;
	default:
		drop_pins(h);
	}
}

/* The n-th of the 24 orders of four. */
static void order_of(unsigned int n, enum hold *order)
{
	enum hold left[HOLDS] = { HOLD_MAPPING, HOLD_SEGMENT, HOLD_PEER, HOLD_PINS };
	unsigned int i, j;

	for (i = 0; i < HOLDS; i++) {
		unsigned int pick = n % (HOLDS - i);

		n /= HOLDS - i;
		order[i] = left[pick];
		for (j = pick; j + 1 < HOLDS - i; j++)
			left[j] = left[j + 1];
	}
}

#define ORDERS 24

enum end { END_NONE, END_EXIT, END_KILL };

struct run {
	unsigned int order;
	unsigned int steps; /* of the order, before the end */
	enum end end;
};

static void run_order(struct ev_link *link, void *arg)
{
	struct run *run = arg;
	enum hold order[HOLDS];
	struct holder h;
	unsigned int i;

	take_holds(&h);
	order_of(run->order, order);
	for (i = 0; i < run->steps; i++)
		release(&h, order[i]);
	ev_say(link, 1);
	if (run->end == END_EXIT)
		_exit(0);
	if (run->end == END_KILL)
		pause();
	/* In the living process everything is gone already. */
	ev_hear(link);
	_exit(0);
}

static void expect_nothing_left(const struct evering_info *before, struct run run)
{
	struct ev_link link;

	ev_child_start(&link, run_order, &run);
	EV_EQ(ev_hear(&link), 1);
	if (run.end == END_KILL) {
		ev_child_kill(&link);
	} else if (run.end == END_EXIT) {
		ev_child_join(&link);
	} else {
		await_totals(before);
		ev_say(&link, 1);
		ev_child_join(&link);
	}
	await_totals(before);
}

static void lifetime_ends_in_every_order_of_a_living_process(void **state)
{
	struct evering_info before = ev_info();
	unsigned int n;

	(void)state;
	for (n = 0; n < ORDERS; n++)
		expect_nothing_left(&before, (struct run){ n, HOLDS, END_NONE });
}

static void lifetime_ends_in_every_order_at_exit(void **state)
{
	struct evering_info before = ev_info();
	unsigned int n;

	(void)state;
	for (n = 0; n < ORDERS; n++)
		expect_nothing_left(&before, (struct run){ n, n % HOLDS, END_EXIT });
}

static void lifetime_ends_in_every_order_at_kill(void **state)
{
	struct evering_info before = ev_info();
	unsigned int n;

	(void)state;
	for (n = 0; n < ORDERS; n++)
		expect_nothing_left(&before, (struct run){ n, n % HOLDS, END_KILL });
}

/* --- pins that outlive the process -------------------------------------------------------- */

static void pin_and_die(struct ev_link *link, void *arg)
{
	struct holder h;

	(void)arg;
	take_holds(&h);
	ev_pass(link, h.pipe[0]);
	ev_hear(link);
}

/* The page stays itself, and stays charged: a quota is not escaped by pins. */
static void lifetime_of_pinned_page_is_that_of_its_pin(void **state)
{
	struct evering_info before = ev_info(), now;
	struct ev_link link;
	int fd, ms;

	(void)state;
	ev_child_start(&link, pin_and_die, NULL);
	fd = ev_take(&link);
	ev_child_kill(&link);
	for (ms = 0; ms < EV_HANG_MS && ev_info().segments != before.segments; ms++)
		usleep(1000);
	now = ev_info();
	EV_EQ(now.segments, before.segments);
	EV_CHECK(now.total_bytes > before.total_bytes);
	EV_CHECK(now.uid_bytes > before.uid_bytes);
	EV_CHECK(now.total_bytes <= before.total_bytes + 2 * PEER_BYTES);
	expect_pinned_page(fd);
	close(fd);
	await_totals(&before);
}

/* --- a peer holds its segment -------------------------------------------------------------- */

static void lifetime_of_segment_reaches_to_the_last_peer(void **state)
{
	struct evering_info before = ev_info();
	int seg = ev_create_plain();
	uint64_t id = ev_segment_info(seg).segment_id;
	struct ev_peer peer = ev_attach(seg);
	char *p;

	(void)state;
	close(seg);
	EV_EQ(ev_info().segments, before.segments + 1);
	EV_EQ(ev_segment_info(peer.fd).segment_id, id);
	p = ev_map(peer.fd, 0, EV_PAGE, PROT_READ);
	close(peer.fd);
	EV_EQ(ev_info().segments, before.segments + 1);
	EV_EQ(ev_touch_read(p), 0);
	munmap(p, EV_PAGE);
	await_totals(&before);
}

static void lifetime_of_kept_segment_ends_by_unpublish(void **state)
{
	struct evering_info before = ev_info();
	int seg = ev_create_plain();

	(void)state;
	EV_EQ(ev_publish(seg, "lifetime", 0600, EVERING_PUBLISH_F_KEEP), 0);
	close(seg);
	usleep(50000);
	EV_EQ(ev_info().segments, before.segments + 1);
	seg = ev_open_name("lifetime", 0);
	EV_CHECK(seg >= 0);
	EV_EQ(ev_unpublish(seg), 0);
	EV_EQ(ev_info().segments, before.segments + 1);
	close(seg);
	await_totals(&before);
}

/* --- the module ----------------------------------------------------------------------------- */

static int delete_module(void)
{
	return syscall(SYS_delete_module, "evering", O_NONBLOCK) < 0 ? -errno : 0;
}

/* References may drop late, from a kworker: up to EV_HANG_MS. */
static int delete_module_soon(void)
{
	int ms, ret;

	for (ms = 0; ms < EV_HANG_MS; ms += 50) {
		ret = delete_module();
		if (ret != -EAGAIN && ret != -EBUSY)
			return ret;
		usleep(50000);
	}
	return ret;
}

static void insert_module(const char *parameters)
{
	int fd = open(MODULE_FILE, O_RDONLY | O_CLOEXEC);

	EV_CHECK(fd >= 0);
	EV_EQ(syscall(SYS_finit_module, fd, parameters, 0), 0);
	close(fd);
	EV_EQ(chown(EVERING_DEVICE, 0, GROUP_EVERING), 0);
	EV_EQ(chmod(EVERING_DEVICE, 0660), 0);
}

static void expect_busy(const char *what)
{
	int ret = delete_module();

	if (ret != -EAGAIN && ret != -EBUSY)
		ev_fail(__FILE__, __LINE__, "rmmod with %s: %s", what,
			ret ? strerror(-ret) : "done");
}

static void lifetime_of_module_covers_everything_open(void **state)
{
	int control = ev_control(), seg = ev_create_plain();
	struct ev_peer peer;
	char *p;

	(void)state;
	if (access(MODULE_FILE, R_OK))
		skip();
	expect_busy("everything open");
	close(control);
	expect_busy("a segment fd");
	peer = ev_attach(seg);
	close(seg);
	expect_busy("a peer fd");
	p = ev_map(peer.fd, 0, EV_PAGE, PROT_READ);
	close(peer.fd);
	expect_busy("a mapping");
	EV_EQ(ev_touch_read(p), 0);
	munmap(p, EV_PAGE);
	control = ev_control();
	expect_busy("a control fd");
	close(control);
	seg = ev_create_plain();
	EV_EQ(ev_publish(seg, "kept", 0600, EVERING_PUBLISH_F_KEEP), 0);
	close(seg);
	usleep(50000);
	expect_busy("a kept segment");
	seg = ev_open_name("kept", 0);
	EV_CHECK(seg >= 0);
	EV_EQ(ev_unpublish(seg), 0);
	close(seg);
	EV_EQ(delete_module_soon(), 0);
	EV_EQ(access(EVERING_DEVICE, F_OK), -1);
	insert_module("");
	EV_EQ(ev_info().segments, 0);
}

/* Pins alone have no hold on the module; they keep their pages without it. */
static void lifetime_of_pinned_page_outlives_the_module(void **state)
{
	struct ev_link link;
	int fd;

	(void)state;
	if (access(MODULE_FILE, R_OK))
		skip();
	ev_child_start(&link, pin_and_die, NULL);
	fd = ev_take(&link);
	ev_child_kill(&link);
	EV_EQ(delete_module_soon(), 0);
	expect_pinned_page(fd);
	close(fd);
	insert_module("");
	EV_EQ(ev_info().total_bytes, 0);
}

/* Incarnations never wrap: a slot that has had its last one is nobody's any more. */
static void lifetime_of_slot_ends_with_its_incarnations(void **state)
{
	struct ev_shape shape = { .peer_size = EV_PAGE, .peers_max = 3 };
	const struct evering_status_header *status;
	struct ev_peer keeper, peer;
	uint64_t i;
	int seg;

	(void)state;
	if (access(MODULE_FILE, R_OK))
		skip();
	EV_EQ(delete_module_soon(), 0);
	insert_module("incarnation_max=2");
	EV_EQ(ev_parameter("incarnation_max"), 2);
	seg = ev_create(&shape);
	EV_EQ(ev_try_attach(seg, 0, 2, &keeper), 0);
	status = ev_status(keeper.fd);
	for (i = 1; i <= 2; i++) {
		EV_EQ(ev_try_attach(seg, 0, 0, &peer), 0);
		EV_EQ(peer.incarnation, i);
		close(peer.fd);
		EV_EQ(ev_try_attach(seg, 0, 0, &peer), -EBUSY);
		EV_EQ(ev_reaped(keeper.fd, 0, i), 0);
		EV_EQ(ev_state(status, 0), i == 1 ? EVERING_PEER_FREE : EVERING_PEER_RETIRED);
		/* An observer's slot has nothing to wait for. */
		EV_EQ(ev_try_attach(seg, EVERING_ATTACH_F_OBSERVER, 1, &peer), 0);
		close(peer.fd);
		EV_EQ(ev_state(status, 1), i == 1 ? EVERING_PEER_FREE : EVERING_PEER_RETIRED);
	}
	EV_EQ(peer_entry(seg, 0).state, EVERING_PEER_RETIRED);
	EV_EQ(peer_entry(seg, 0).incarnation, 2);
	EV_EQ(ev_try_attach(seg, 0, 0, &peer), -EBUSY);
	EV_EQ(ev_try_attach(seg, 0, EVERING_SLOT_ANY, &peer), -EUSERS);
	EV_EQ(ev_ring(keeper.fd, 0, 2, 1), -ESTALE);
	EV_EQ(ev_reaped(keeper.fd, 0, 2), -ESTALE);
	munmap((void *)(uintptr_t)status, ev_segment_info(seg).status_size);
	close(keeper.fd);
	close(seg);
	EV_EQ(delete_module_soon(), 0);
	insert_module("");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lifetime_ends_in_every_order_of_a_living_process),
		cmocka_unit_test(lifetime_ends_in_every_order_at_exit),
		cmocka_unit_test(lifetime_ends_in_every_order_at_kill),
		cmocka_unit_test(lifetime_of_pinned_page_is_that_of_its_pin),
		cmocka_unit_test(lifetime_of_segment_reaches_to_the_last_peer),
		cmocka_unit_test(lifetime_of_kept_segment_ends_by_unpublish),
		cmocka_unit_test(lifetime_of_module_covers_everything_open),
		cmocka_unit_test(lifetime_of_pinned_page_outlives_the_module),
		cmocka_unit_test(lifetime_of_slot_ends_with_its_incarnations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
