/* SPDX-License-Identifier: MIT */
/* What only the device can do, and what it refuses, through the library. */
#include "scene.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "internal.h"

#define OUTSIDER 1001 /* not in the device's group */
#define MEMBER 1000
#define EVENT (1ull << EVR_BELL_PEER_EVENT)
#define SOON (evr_now_ns() + HANG_MS * 1000000ull)

/* The group of the device: what a udev rule made it. */
static gid_t device_group(void)
{
	struct group *group = getgrnam("evering");

	return group ? group->gr_gid : 0;
}

static void become(uid_t uid, gid_t gid)
{
	EQ(setgroups(0, NULL), 0);
	EQ(setresgid(gid, gid, gid), 0);
	EQ(setresuid(uid, uid, uid), 0);
}

static void use_as_outsider(struct child *child, void *arg)
{
	struct evr_segment *segment = (void *)0x5a;

	become(OUTSIDER, OUTSIDER);
	EQ(evr_segment_create(&segment, "device:", NULL), -EACCES);
	CHECK(!segment);
	DETAIL("group (evering)");
	EQ(evr_backend_available(EVR_BACKEND_DEVICE), false);
	/* A plain name then is a local one. */
	OK(evr_segment_create(&segment, NULL, NULL));
	EQ(info_of(segment).backend, EVR_BACKEND_LOCAL);
	evr_segment_close(segment);
}

static void device_without_permission_says_which_group(void **state)
{
	struct child child;

	child_start(&child, use_as_outsider, NULL);
	child_join(&child);
}

static void exceed_quota(struct child *child, void *arg)
{
	struct rlimit limit = { .rlim_cur = 4 * BLOCK, .rlim_max = 4 * BLOCK };
	struct evr_segment_options options = plain_options();
	struct evr_segment *segment;
	uint64_t off;

	EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	become(MEMBER, device_group());
	options.peer_sz = 0;
	options.shared_sz = 5 * BLOCK;
	EQ(evr_segment_create(&segment, "device:", &options), -EDQUOT);
	DETAIL("quota");
	options.shared_sz = 4 * BLOCK;
	OK(evr_segment_create(&segment, "device:", &options));
	EQ(evr_segment_grow(segment, BLOCK, &off), -EDQUOT);
	DETAIL("quota");
	evr_segment_close(segment);
}

static void device_over_the_quota_says_so(void **state)
{
	struct child child;

	child_start(&child, exceed_quota, NULL);
	child_join(&child);
}

static void device_segment_larger_than_the_limit_says_which(void **state)
{
	struct evr_segment_options options = plain_options();
	struct evr_system_info info;
	struct evr_segment *segment;

	OK(evr_system_info(EVR_BACKEND_DEVICE, &info));
	options.shared_sz = EVR_ROUND_UP(info.segment_bytes_max, BLOCK) + BLOCK;
	EQ(evr_segment_create(&segment, "device:", &options), -EFBIG);
	DETAIL("segment_bytes_max");
}

static void device_contiguous_segment_is_one_extent(void **state)
{
	struct evr_segment_options options = plain_options();
	struct evr_segment *segment;
	struct evr_extent extent;

	options.flags = EVR_SEGMENT_CONTIGUOUS;
	options.peer_sz = 0;
	segment = segment_of(&options);
	EQ(info_of(segment).flags, EVR_SEGMENT_CONTIGUOUS);
	EQ(evr_segment_extents(segment, &extent, 1), 1);
	EQ(extent.off, BLOCK);
	EQ(extent.sz, BLOCK);
	CHECK(extent.phys);
	evr_segment_close(segment);
}

/* Contiguous, revoked and growing as any other; only how it is mapped differs. */
static void device_segment_of_shmem_is_as_any_other(void **state)
{
	struct evr_segment_options options = plain_options();
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer, *other;
	uint64_t off;
	unsigned char *p;

	EQ(info_of(segment).backing, EVR_BACKING_PAGES);
	evr_segment_close(segment);
	options.backing = EVR_BACKING_SHMEM;
	options.flags = EVR_SEGMENT_CONTIGUOUS;
	segment = segment_of(&options);
	EQ(info_of(segment).backing, EVR_BACKING_SHMEM);
	peer = attach(segment);
	other = attach(segment);
	OK(evr_segment_grow(segment, BLOCK, &off));
	p = evr_peer_at(peer, off, BLOCK);
	CHECK(p);
	memset(p, 0x3c, BLOCK);
	EQ(((char *)evr_peer_at(other, off, BLOCK))[BLOCK - 1], 0x3c);
	OK(evr_segment_revoke(segment, evr_peer_self(peer)));
	EQ(touch_write(p), SIGBUS);
	EQ(touch_write(evr_peer_at(other, off, 1)), 0);
	evr_peer_detach(peer);
	evr_peer_detach(other);
	evr_segment_close(segment);
}

/* A run of many blocks is there or not; a promise is not broken in either case. */
static void device_contiguous_segment_that_is_not_to_be_had_names_the_best_run(void **state)
{
	struct evr_segment_options options = plain_options();
	struct evr_segment *segment;
	struct evr_extent extent;
	int err;

	options.flags = EVR_SEGMENT_CONTIGUOUS;
	options.peer_sz = 0;
	for (options.shared_sz = 8 * BLOCK;; options.shared_sz *= 2) {
		err = evr_segment_create(&segment, "device:", &options);
		if (err)
			break;
		EQ(evr_segment_extents(segment, &extent, 1), 1);
		EQ(extent.sz, options.shared_sz);
		evr_segment_close(segment);
	}
	CHECK(err == -ENOSPC || err == -EFBIG || err == -ENOMEM);
	DETAIL(err == -ENOSPC ? "longest contiguous run" : "create: ");
}

static void device_peer_fd_is_no_segment(void **state)
{
	struct evr_segment *segment = plain_segment(), *adopted = (void *)0x5a;
	struct evr_peer *peer = attach(segment);

	EQ(evr_segment_adopt(&adopted, evr_bell_fd(peer)), -EINVAL);
	CHECK(!adopted);
	DETAIL("is a peer's");
	EQ(evr_peer_is_live(peer, evr_peer_self(peer)), true);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void device_invited_fd_has_the_rights_that_were_given(void **state)
{
	struct evr_segment *segment = plain_segment(), *invited;
	struct evr_peer *peer;
	uint64_t off;
	int fd;

	OK(evr_segment_invite(segment, EVR_RIGHT_OBSERVE | EVR_RIGHT_WRITE, 0, &fd));
	OK(evr_segment_adopt(&invited, fd));
	EQ(info_of(invited).rights, EVR_RIGHT_OBSERVE | EVR_RIGHT_WRITE);
	peer = attach(invited);
	EQ(touch_write(evr_peer_at(peer, BLOCK, 1)), 0);
	EQ(evr_segment_grow(invited, BLOCK, &off), -EACCES);
	EQ(evr_segment_invite(invited, EVR_RIGHT_OBSERVE, 0, &fd), -EACCES);
	evr_peer_detach(peer);
	evr_segment_close(invited);
	evr_segment_close(segment);
}

static void device_reserved_slot_is_held_for_the_invited(void **state)
{
	struct evr_segment *segment = plain_segment(), *invited;
	struct evr_peer *others[3], *peer;
	struct evr_peer_info infos[4];
	int fd, none, i;

	OK(evr_segment_invite(segment, EVR_RIGHT_OBSERVE | EVR_RIGHT_WRITE, EVR_INVITE_RESERVE,
			      &fd));
	for (i = 0; i < 3; i++)
		others[i] = attach(segment);
	EQ(evr_peer_attach(&peer, segment, NULL), -EUSERS);
	EQ(evr_segment_invite(segment, EVR_RIGHT_OBSERVE, EVR_INVITE_RESERVE, &none), -EUSERS);
	EQ(none, -1);
	EQ(evr_segment_peers(segment, infos, 4), 4);
	OK(evr_segment_adopt(&invited, fd));
	peer = attach(invited);
	EQ(evr_peer_is_live(others[0], evr_peer_self(peer)), true);
	evr_peer_detach(peer);
	for (i = 0; i < 3; i++)
		evr_peer_detach(others[i]);
	evr_segment_close(invited);
	evr_segment_close(segment);
}

static void use_until_revoked(struct child *child, void *arg)
{
	struct evr_peer *peer = attach(arg);
	unsigned char *at = evr_peer_at(peer, BLOCK, 1);

	*at = 1;
	child_say(child, evr_peer_self(peer).slot);
	while (!evr_bell_wait(peer, EVENT | 1, EVR_NO_DEADLINE, NULL))
		;
	EQ(evr_bell_wait(peer, 1, 0, NULL), -EOWNERDEAD);
	EQ(evr_bell_read(peer, NULL), -EOWNERDEAD);
	EQ(evr_bell_ring(peer, evr_peer_self(peer), 1), -EOWNERDEAD);
	/* Waits end before the mappings do; both have when the call has returned. */
	child_hear(child);
	EQ(touch_write(at), SIGBUS);
	evr_peer_detach(peer);
}

static void device_revoked_peer_has_nothing_left(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment);
	struct evr_peer_id victim = { .incarnation = 1 };
	struct evr_peer_info info;
	struct child child;

	child_start(&child, use_until_revoked, segment);
	victim.slot = (uint32_t)child_hear(&child);
	OK(evr_segment_revoke(segment, victim));
	child_say(&child, 0);
	await_dead(peer, victim);
	EQ(evr_segment_revoke(segment, victim), -ESTALE);
	DETAIL("ended already");
	OK(evr_peer_info(peer, victim.slot, &info));
	EQ(info.exit_reason, EVR_EXIT_REVOKE);
	EQ(evr_bell_ring(peer, victim, 1), -ESTALE);
	child_join(&child);
	EQ(reaped(peer, victim), 0);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void device_exit_status_is_told(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment);
	struct evr_peer_info info;
	uint64_t until = SOON;
	int status;
	pid_t pid = fork();

	if (!pid) {
		attach(segment);
		_exit(7);
	}
	EQ(waitpid(pid, &status, 0), pid);
	do {
		CHECK(evr_now_ns() < until);
		OK(evr_peer_info(peer, 1, &info));
	} while (info.state != EVR_PEER_DEAD);
	EQ(info.exit_reason, EVR_EXIT_EXIT);
	EQ(info.exit_status, status);
	EQ(info.exit_status, 7 << 8);
	EQ(info.pid == pid || info.pid == 0, true);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

int main(void)
{
	static const struct CMUnitTest device_tests[] = {
		cmocka_unit_test(device_without_permission_says_which_group),
		cmocka_unit_test(device_over_the_quota_says_so),
		cmocka_unit_test(device_segment_larger_than_the_limit_says_which),
		cmocka_unit_test(device_contiguous_segment_is_one_extent),
		cmocka_unit_test(device_segment_of_shmem_is_as_any_other),
		cmocka_unit_test(
			device_contiguous_segment_that_is_not_to_be_had_names_the_best_run),
		cmocka_unit_test(device_peer_fd_is_no_segment),
		cmocka_unit_test(device_invited_fd_has_the_rights_that_were_given),
		cmocka_unit_test(device_reserved_slot_is_held_for_the_invited),
		cmocka_unit_test(device_revoked_peer_has_nothing_left),
		cmocka_unit_test(device_exit_status_is_told),
	};

	if (!on_device()) {
		printf("1..0 # SKIP only the device does this; EVERING_BACKEND is not device\n");
		return 0;
	}
	return run_suite(device_tests);
}
