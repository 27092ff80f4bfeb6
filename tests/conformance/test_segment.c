/* SPDX-License-Identifier: MIT */
/*
 * Segments on either backend: made, found, handed over, grown, taken away.
 *
 * Seen to fail: tests/unit/controls, peers-257.
 */
#include "scene.h"

#include <fcntl.h>

static void segment_unnamed_has_the_layout_that_was_asked_for(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_segment_info info = info_of(segment);

	EQ(info.backend, on_device() ? EVR_BACKEND_DEVICE : EVR_BACKEND_LOCAL);
	EQ(info.flags, 0);
	EQ(info.shared_off, BLOCK);
	EQ(info.shared_sz, BLOCK);
	EQ(info.peers_off, 2 * BLOCK);
	EQ(info.peer_sz, PAGE);
	EQ(info.peers_max, 4);
	EQ(info.peers, 0);
	EQ(info.rights, EVR_RIGHTS_ALL);
	EQ(info.uid, geteuid());
	EQ(info.published, false);
	EQ(info.keep, false);
	CHECK(info.segment_id);
	CHECK(info.created_ns);
	CHECK(info.bytes >= BLOCK + 4 * PAGE);
	CHECK(info.size >= info.peers_off + 4 * PAGE);
	EQ(info.grown_off, info.size);
	EQ(strlen(info.name), 0);
	evr_segment_close(segment);
}

static void segment_isolated_has_regions_and_nothing_shared(void **state)
{
	struct evr_segment *segment = isolated_segment();
	struct evr_segment_info info = info_of(segment);

	EQ(info.flags, EVR_SEGMENT_ISOLATED);
	EQ(info.shared_sz, 0);
	EQ(info.peers_off, BLOCK);
	EQ(info.peer_sz, BLOCK);
	EQ(info.size, 5 * BLOCK);
	evr_segment_close(segment);
}

static void segment_sizes_are_rounded_up_to_pages(void **state)
{
	static const uint64_t sizes[][2] = {
		{ 1, PAGE }, { PAGE - 1, PAGE }, { PAGE, PAGE }, { PAGE + 1, 2 * PAGE }
	};
	struct evr_segment_options options = plain_options();
	struct evr_segment *segment;
	size_t i;

	for (i = 0; i < 4; i++) {
		options.shared_sz = options.peer_sz = sizes[i][0];
		segment = segment_of(&options);
		EQ(info_of(segment).shared_sz, sizes[i][1]);
		EQ(info_of(segment).peer_sz, sizes[i][1]);
		evr_segment_close(segment);
	}
}

static void refused(const struct evr_segment_options *options, int err, const char *detail)
{
	struct evr_segment *segment = (void *)0x5a;

	EQ(evr_segment_create(&segment, unnamed_uri(), options), err);
	CHECK(!segment);
	DETAIL(detail);
}

static void segment_options_out_of_range_are_refused(void **state)
{
	struct evr_segment_options options = plain_options();

	options.peers_max = 257;
	refused(&options, -EINVAL, "peers_max is 257");
	options = plain_options();
	options.flags = 8;
	refused(&options, -EINVAL, "flags 0x8");
	options = plain_options();
	options.flags = EVR_SEGMENT_ISOLATED;
	refused(&options, -EINVAL, "shared_sz is 2097152");
	options = plain_options();
	options.flags = EVR_SEGMENT_KEEP;
	refused(&options, -EINVAL, "KEEP needs a name");
	options = plain_options();
	options.mode_set = 1;
	options.mode = 0700;
	refused(&options, -EINVAL, "mode is 0700");
	options = plain_options();
	options.shared_sz = ((uint64_t)1 << 47) + 1;
	refused(&options, -EINVAL, "shared_sz is");
	options = plain_options();
	options.peer_sz = ((uint64_t)1 << 39) + 1;
	refused(&options, -EINVAL, "peer_sz is");
	options = plain_options();
	options.node_set = 1;
	options.node = 1000;
	refused(&options, -EINVAL, "NUMA node");
}

static void segment_peers_max_takes_1_and_256(void **state)
{
	static const uint32_t limits[] = { 1, 2, 255, 256 };
	struct evr_segment_options options = plain_options();
	struct evr_segment *segment;
	size_t i;

	for (i = 0; i < 4; i++) {
		options.peers_max = limits[i];
		segment = segment_of(&options);
		EQ(info_of(segment).peers_max, limits[i]);
		evr_segment_close(segment);
	}
}

static void segment_options_of_other_versions_are_read(void **state)
{
	struct {
		struct evr_segment_options options;
		uint64_t future;
	} longer = { .options = plain_options(), .future = 0 };
	struct evr_segment_options shorter = { .struct_sz =
						       offsetof(struct evr_segment_options, flags),
					       .shared_sz = PAGE,
					       .peers_max = 3,
					       .flags = ~0u };

	longer.options.struct_sz = sizeof(longer);
	evr_segment_close(segment_of(&longer.options));
	longer.future = 1;
	refused(&longer.options, -E2BIG, "struct evr_segment_options");
	evr_segment_close(segment_of(&shorter));
	shorter.struct_sz = 0;
	refused(&shorter, -EINVAL, "struct_sz is 0");
}

static void segment_named_is_found_by_all_and_holds_the_same_memory(void **state)
{
	struct evr_segment_options options = plain_options();
	struct evr_segment *made, *found;
	struct evr_peer *a, *b;

	OK(evr_segment_create(&made, named_uri("same"), &options));
	OK(evr_segment_open(&found, named_uri("same")));
	EQ(info_of(made).segment_id, info_of(found).segment_id);
	EQ(info_of(found).published, true);
	EQ(info_of(found).rights, EVR_RIGHTS_ALL);
	EQ(info_of(found).mode, 0600);
	EQ(info_of(found).owner_uid, geteuid());
	a = attach(made);
	b = attach(found);
	strcpy(evr_peer_at(a, BLOCK, 8), "hello");
	EQ(strcmp(evr_peer_at(b, BLOCK, 8), "hello"), 0);
	evr_peer_detach(a);
	evr_peer_detach(b);
	evr_segment_close(found);
	evr_segment_close(made);
}

static void segment_name_that_is_taken_is_refused(void **state)
{
	struct evr_segment_options options = plain_options();
	struct evr_segment *segment, *second = (void *)0x5a;

	OK(evr_segment_create(&segment, named_uri("taken"), &options));
	EQ(evr_segment_create(&second, named_uri("taken"), &options), -EEXIST);
	CHECK(!second);
	DETAIL("taken");
	evr_segment_close(segment);
}

static void segment_name_that_is_not_there_is_told(void **state)
{
	struct evr_segment *segment = (void *)0x5a;

	EQ(evr_segment_open(&segment, named_uri("missing")), -ENOENT);
	CHECK(!segment);
	DETAIL("missing");
	EQ(evr_segment_remove(named_uri("missing")), -ENOENT);
}

static void segment_without_keep_goes_with_its_last_handle(void **state)
{
	struct evr_segment_options options = plain_options();
	struct evr_segment *segment, *second;
	struct evr_peer *peer;

	OK(evr_segment_create(&segment, named_uri("gone"), &options));
	peer = attach(segment);
	evr_segment_close(segment);
	/* The peer holds it. */
	OK(evr_segment_open(&second, named_uri("gone")));
	evr_segment_close(second);
	evr_peer_detach(peer);
	EQ(evr_segment_open(&second, named_uri("gone")), -ENOENT);
	/* And the name is free. */
	OK(evr_segment_create(&segment, named_uri("gone"), &options));
	evr_segment_close(segment);
}

static void hold_named(struct child *child, void *arg)
{
	struct evr_segment *segment;

	OK(evr_segment_open(&segment, arg));
	child_say(child, 1);
	pause();
}

static void segment_without_keep_goes_when_its_holders_are_killed(void **state)
{
	struct evr_segment_options options = plain_options();
	char uri[128];
	struct evr_segment *segment;
	struct child child;

	strcpy(uri, named_uri("killed"));
	OK(evr_segment_create(&segment, uri, &options));
	child_start(&child, hold_named, uri);
	child_hear(&child);
	evr_segment_close(segment);
	OK(evr_segment_open(&segment, uri));
	evr_segment_close(segment);
	child_kill(&child);
	EQ(evr_segment_open(&segment, uri), -ENOENT);
	OK(evr_segment_create(&segment, uri, &options));
	evr_segment_close(segment);
}

static void segment_kept_stays_until_it_is_removed(void **state)
{
	struct evr_segment_options options = plain_options();
	struct evr_segment *segment;
	struct evr_peer *peer;
	uint64_t id;

	options.flags = EVR_SEGMENT_KEEP;
	OK(evr_segment_create(&segment, named_uri("kept"), &options));
	id = info_of(segment).segment_id;
	evr_segment_close(segment);
	OK(evr_segment_open(&segment, named_uri("kept")));
	EQ(info_of(segment).segment_id, id);
	EQ(info_of(segment).keep, true);
	peer = attach(segment);
	OK(evr_segment_remove(named_uri("kept")));
	/* Who is attached stays so. */
	EQ(info_of(segment).published, false);
	EQ(touch_write(evr_peer_at(peer, BLOCK, 1)), 0);
	evr_segment_close(segment);
	EQ(evr_segment_open(&segment, named_uri("kept")), -ENOENT);
	evr_peer_detach(peer);
}

struct search {
	char name[EVR_NAME_SIZE];
	uint32_t found;
	struct evr_segment_info info;
};

static int count_name(const struct evr_segment_info *info, void *arg)
{
	struct search *search = arg;

	if (strcmp(info->name, search->name))
		return 0;
	search->found++;
	search->info = *info;
	return 0;
}

static int stop_at_once(const struct evr_segment_info *info, void *arg)
{
	(*(uint32_t *)arg)++;
	return 17;
}

static void segment_list_shows_names_once_and_stops_when_told(void **state)
{
	enum evr_backend backend = on_device() ? EVR_BACKEND_DEVICE : EVR_BACKEND_LOCAL;
	struct evr_segment_options options = plain_options();
	struct evr_segment *segment, *unnamed = plain_segment();
	struct search search = { .found = 0 };
	uint32_t calls = 0;

	OK(evr_segment_create(&segment, named_uri("listed"), &options));
	strcpy(search.name, info_of(segment).name);
	OK(evr_segment_list(backend, count_name, &search));
	EQ(search.found, 1);
	EQ(search.info.segment_id, info_of(segment).segment_id);
	EQ(search.info.peers_max, 4);
	EQ(search.info.rights, 0);
	EQ(evr_segment_list(backend, stop_at_once, &calls), 17);
	EQ(calls, 1);
	evr_segment_close(segment);
	search.found = 0;
	OK(evr_segment_list(backend, count_name, &search));
	EQ(search.found, 0);
	evr_segment_close(unnamed);
}

static void segment_adopted_is_the_same_segment(void **state)
{
	struct evr_segment *segment = plain_segment(), *adopted;
	int fd = fcntl(evr_segment_fd(segment), F_DUPFD_CLOEXEC, 0);

	OK(evr_segment_adopt(&adopted, fd));
	EQ(evr_segment_fd(adopted), fd);
	EQ(info_of(adopted).segment_id, info_of(segment).segment_id);
	EQ(info_of(adopted).rights, EVR_RIGHTS_ALL);
	evr_segment_close(adopted);
	/* It took the fd. */
	EQ(fcntl(fd, F_GETFD), -1);
	EQ(fcntl(evr_segment_fd(segment), F_GETFD), FD_CLOEXEC);
	evr_segment_close(segment);
}

static void segment_adopt_of_what_is_none_leaves_the_fd_alone(void **state)
{
	struct evr_segment *segment = (void *)0x5a;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), ends[2];
	int file = open("/tmp", O_TMPFILE | O_RDWR, 0600);

	EQ(evr_segment_adopt(&segment, 12345), -EBADF);
	CHECK(!segment);
	EQ(evr_segment_adopt(&segment, -1), -EBADF);
	EQ(evr_segment_adopt(&segment, null), -EINVAL);
	EQ(pipe(ends), 0);
	EQ(evr_segment_adopt(&segment, ends[0]), -EINVAL);
	EQ(evr_segment_adopt(&segment, file), -EINVAL);
	EQ(ftruncate(file, 1 << 20), 0);
	EQ(evr_segment_adopt(&segment, file), -EBADMSG);
	DETAIL("magic is 0");
	EQ(fcntl(null, F_GETFD), FD_CLOEXEC);
	CHECK(fcntl(ends[0], F_GETFD) >= 0);
	CHECK(fcntl(file, F_GETFD) >= 0);
	close(null);
	close(file);
	close(ends[0]);
	close(ends[1]);
}

static void segment_invited_observer_may_only_observe(void **state)
{
	struct evr_segment *segment = plain_segment(), *invited;
	struct evr_peer *peer = (void *)0x5a;
	uint64_t off;
	int fd;

	OK(evr_segment_invite(segment, EVR_RIGHT_OBSERVE, 0, &fd));
	EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	OK(evr_segment_adopt(&invited, fd));
	EQ(info_of(invited).rights, EVR_RIGHT_OBSERVE);
	EQ(evr_peer_attach(&peer, invited, NULL), -EACCES);
	CHECK(!peer);
	DETAIL("right to write");
	EQ(evr_segment_grow(invited, BLOCK, &off), -EACCES);
	EQ(evr_segment_invite(invited, EVR_RIGHT_OBSERVE, 0, &fd), -EACCES);
	EQ(fd, -1);
	peer = attach_observer(invited);
	EQ(touch_write(evr_peer_at(peer, BLOCK, 1)), SIGSEGV);
	evr_peer_detach(peer);
	evr_segment_close(invited);
	evr_segment_close(segment);
}

static void segment_invite_refuses_what_is_not_a_right(void **state)
{
	struct evr_segment *segment = plain_segment();
	int fd = 7;

	EQ(evr_segment_invite(segment, 0, 0, &fd), -EINVAL);
	EQ(fd, -1);
	EQ(evr_segment_invite(segment, 32, 0, &fd), -EINVAL);
	EQ(evr_segment_invite(segment, EVR_RIGHT_OBSERVE, 2, &fd), -EINVAL);
	OK(evr_segment_invite(segment, EVR_RIGHTS_ALL, 0, &fd));
	close(fd);
	evr_segment_close(segment);
}

static void segment_grown_twice_is_appended_without_gap(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment), *other = attach(segment), *late;
	struct evr_segment_info before = info_of(segment), info;
	uint64_t first, second;
	unsigned char *at;

	OK(evr_segment_grow(segment, 1, &first));
	OK(evr_segment_grow(segment, BLOCK + 1, &second));
	CHECK(first >= before.size);
	EQ(first % BLOCK, 0);
	EQ(second, first + BLOCK);
	info = info_of(segment);
	EQ(info.grown_off, first);
	EQ(info.size, second + 2 * BLOCK);
	at = evr_peer_at(peer, first, 3 * BLOCK);
	CHECK(at);
	EQ(at - (unsigned char *)evr_peer_at(peer, 0, 1), first);
	at[0] = 1;
	at[3 * BLOCK - 1] = 2;
	late = attach(segment);
	EQ(*(unsigned char *)evr_peer_at(other, first, 1), 1);
	EQ(*(unsigned char *)evr_peer_at(late, second + 2 * BLOCK - 1, 1), 2);
	CHECK(!evr_peer_at(late, second + 2 * BLOCK - 1, 2));
	EQ(evr_peer_off(other, evr_peer_at(other, second, 1)), second);
	evr_peer_detach(late);
	evr_peer_detach(other);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void segment_grown_beyond_the_reserve_is_refused_at_use(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer_options options = {
		.struct_sz = sizeof(options),
		.reserve_sz = BLOCK,
	};
	struct evr_peer *peer;
	uint64_t off;

	OK(evr_peer_attach(&peer, segment, &options));
	OK(evr_segment_grow(segment, BLOCK, &off));
	EQ(touch_write(evr_peer_at(peer, off, BLOCK)), 0);
	OK(evr_segment_grow(segment, BLOCK, &off));
	CHECK(!evr_peer_at(peer, off, BLOCK));
	DETAIL("reserve_sz");
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void segment_isolated_cannot_grow(void **state)
{
	struct evr_segment *segment = isolated_segment();
	uint64_t off = 5;

	EQ(evr_segment_grow(segment, BLOCK, &off), -EOPNOTSUPP);
	EQ(off, 0);
	EQ(evr_segment_grow(segment, 0, &off), -EINVAL);
	evr_segment_close(segment);
}

static void segment_extents_cover_it_or_are_not_known(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_extent extents[64];
	uint64_t covered = 0;
	int i, nr;

	nr = evr_segment_extents(segment, extents, 64);
	if (!on_device()) {
		EQ(nr, -EOPNOTSUPP);
		evr_segment_close(segment);
		return;
	}
	OK(nr);
	EQ(evr_segment_extents(segment, NULL, 0), nr);
	EQ(info_of(segment).extents, nr);
	for (i = 0; i < nr; i++)
		covered += extents[i].sz;
	EQ(covered, info_of(segment).bytes);
	evr_segment_close(segment);
}

static void segment_system_info_has_limits(void **state)
{
	enum evr_backend backend = on_device() ? EVR_BACKEND_DEVICE : EVR_BACKEND_LOCAL;
	struct evr_system_info info;

	OK(evr_system_info(backend, &info));
	EQ(info.backend, backend);
	CHECK(info.peers_max >= 1 && info.peers_max <= EVR_PEERS_MAX);
	EQ(info.page_size, sysconf(_SC_PAGESIZE));
	EQ(info.block_size, BLOCK);
	CHECK(info.segment_bytes_max);
	EQ(evr_system_info((enum evr_backend)9, &info), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest segment_tests[] = {
		cmocka_unit_test(segment_unnamed_has_the_layout_that_was_asked_for),
		cmocka_unit_test(segment_isolated_has_regions_and_nothing_shared),
		cmocka_unit_test(segment_sizes_are_rounded_up_to_pages),
		cmocka_unit_test(segment_options_out_of_range_are_refused),
		cmocka_unit_test(segment_peers_max_takes_1_and_256),
		cmocka_unit_test(segment_options_of_other_versions_are_read),
		cmocka_unit_test(segment_named_is_found_by_all_and_holds_the_same_memory),
		cmocka_unit_test(segment_name_that_is_taken_is_refused),
		cmocka_unit_test(segment_name_that_is_not_there_is_told),
		cmocka_unit_test(segment_without_keep_goes_with_its_last_handle),
		cmocka_unit_test(segment_without_keep_goes_when_its_holders_are_killed),
		cmocka_unit_test(segment_kept_stays_until_it_is_removed),
		cmocka_unit_test(segment_list_shows_names_once_and_stops_when_told),
		cmocka_unit_test(segment_adopted_is_the_same_segment),
		cmocka_unit_test(segment_adopt_of_what_is_none_leaves_the_fd_alone),
		cmocka_unit_test(segment_invited_observer_may_only_observe),
		cmocka_unit_test(segment_invite_refuses_what_is_not_a_right),
		cmocka_unit_test(segment_grown_twice_is_appended_without_gap),
		cmocka_unit_test(segment_grown_beyond_the_reserve_is_refused_at_use),
		cmocka_unit_test(segment_isolated_cannot_grow),
		cmocka_unit_test(segment_extents_cover_it_or_are_not_known),
		cmocka_unit_test(segment_system_info_has_limits),
	};

	return run_suite(segment_tests);
}
