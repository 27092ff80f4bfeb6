/* SPDX-License-Identifier: MIT */
/*
 * Segments of the local backend: files, modes, users, damage. What both backends do
 * is in tests/conformance.
 *
 * Seen to fail: tests/unit/controls, layout-changed.
 */
#include "scene.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <evering/uapi.h>

#include "local.h"
#include "refuse.h"

#define NOBODY 65534

static const char *path_of(const char *uri)
{
	static char path[160];

	snprintf(path, sizeof(path), LOCAL_PREFIX "%s", strchr(uri, ':') + 1);
	return path;
}

static struct evr_segment *make_named(const char *name, uint32_t mode, uint32_t flags)
{
	struct evr_segment_options options = plain_options();
	struct evr_segment *segment;

	options.mode = mode;
	options.mode_set = 1;
	options.flags = flags;
	OK(evr_segment_create(&segment, named_uri(name), &options));
	return segment;
}

static void become_nobody(void)
{
	EQ(setresgid(NOBODY, NOBODY, NOBODY), 0);
	EQ(setresuid(NOBODY, NOBODY, NOBODY), 0);
}

static void open_as_nobody(struct child *child, void *arg)
{
	struct evr_segment *segment;
	struct evr_peer *peer;
	uint64_t rights;
	int fd;

	become_nobody();
	while ((rights = child_hear(child)) != ~0ull) {
		if (!rights) {
			EQ(evr_segment_open(&segment, arg), -EACCES);
		} else {
			OK(evr_segment_open(&segment, arg));
			EQ(info_of(segment).rights, rights);
			EQ(evr_peer_attach(&peer, segment, NULL),
			   rights & EVR_RIGHT_WRITE ? 0 : -EACCES);
			evr_peer_detach(peer);
			EQ(evr_segment_invite(segment, EVR_RIGHTS_ALL, 0, &fd), -EACCES);
			evr_segment_close(segment);
		}
		EQ(evr_segment_remove(arg), -EACCES);
		child_say(child, 0);
	}
}

static void segment_mode_decides_what_another_user_may(void **state)
{
	static const uint32_t writer = EVR_RIGHT_OBSERVE | EVR_RIGHT_WRITE | EVR_RIGHT_INVITE |
				       EVR_RIGHT_GROW;
	static const uint32_t modes[][2] = {
		{ 0600, 0 }, { 0640, 0 }, { 0604, EVR_RIGHT_OBSERVE }, { 0606, writer }
	};
	char uri[128];
	struct evr_segment *segment;
	struct child child;
	int i;

	if (geteuid()) {
		print_message("needs root to become another user\n");
		skip();
	}
	strcpy(uri, named_uri("mode"));
	child_start(&child, open_as_nobody, uri);
	for (i = 0; i < 4; i++) {
		segment = make_named("mode", modes[i][0], 0);
		EQ(info_of(segment).mode, modes[i][0]);
		child_say(&child, modes[i][1]);
		child_hear(&child);
		evr_segment_close(segment);
	}
	child_say(&child, ~0ull);
	child_join(&child);
}

static void observe_as_nobody(struct child *child, void *arg)
{
	struct evr_segment *segment;
	struct evr_peer *peer;
	struct evr_peer_info infos[2];
	struct evr_bells bells;

	become_nobody();
	OK(evr_segment_open(&segment, arg));
	peer = attach_observer(segment);
	EQ(evr_peer_self(peer).slot, EVR_SLOT_ANY);
	EQ(touch_write(evr_peer_at(peer, BLOCK, 1)), SIGSEGV);
	while (!evr_bell_wait(peer, 1ull << 63, evr_now_ns(), &bells))
		;
	EQ(evr_peer_list(peer, infos, 2), 2);
	EQ(infos[1].state, EVR_PEER_LIVE);
	child_say(child, *(uint64_t *)evr_peer_at(peer, BLOCK, 8));
	EQ(evr_bell_wait(peer, 1, evr_now_ns() + 1000000, &bells), -ETIMEDOUT);
	EQ(evr_bell_wait(peer, 1ull << 63, evr_now_ns() + HANG_MS * 1000000ull, &bells), 0);
	EQ(bells.bits, 1ull << 63);
	EQ(evr_peer_list(peer, infos, 2), 2);
	EQ(infos[1].state, EVR_PEER_DEAD);
	EQ(evr_bell_read(peer, &bells), -EAGAIN);
	CHECK(evr_bell_fd(peer) >= 0);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void segment_that_may_only_be_read_is_watched_without_a_slot(void **state)
{
	char uri[128];
	struct evr_segment *segment;
	struct evr_peer *peer, *other;
	struct child child;

	if (geteuid()) {
		print_message("needs root to become another user\n");
		skip();
	}
	strcpy(uri, named_uri("watched"));
	segment = make_named("watched", 0644, 0);
	peer = attach(segment);
	other = attach(segment);
	*(uint64_t *)evr_peer_at(peer, BLOCK, 8) = 4711;
	child_start(&child, observe_as_nobody, uri);
	EQ(child_hear(&child), 4711);
	EQ(info_of(segment).peers, 2);
	evr_peer_detach(other);
	child_join(&child);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static int is_named(const struct evr_segment_info *info, void *arg)
{
	if (strcmp(info->name, strchr((const char *)arg, ':') + 1))
		return 0;
	EQ(info->mode, 0600);
	EQ(info->owner_uid, 0);
	EQ(info->published, true);
	return 1;
}

static void list_as_nobody(struct child *child, void *arg)
{
	become_nobody();
	EQ(evr_segment_list(EVR_BACKEND_LOCAL, is_named, arg), 1);
}

static void segment_list_shows_what_cannot_be_opened(void **state)
{
	struct evr_segment *segment;
	struct child child;
	char uri[128];

	if (geteuid()) {
		print_message("needs root to become another user\n");
		skip();
	}
	strcpy(uri, named_uri("closed"));
	segment = make_named("closed", 0600, 0);
	child_start(&child, list_as_nobody, uri);
	child_join(&child);
	evr_segment_close(segment);
}

static void segment_owner_can_be_given(void **state)
{
	struct evr_segment_options options = plain_options();
	struct evr_segment *segment;

	if (geteuid()) {
		print_message("needs root to give a file away\n");
		skip();
	}
	options.owner_set = 1;
	options.uid = NOBODY;
	options.gid = 7;
	OK(evr_segment_create(&segment, named_uri("owner"), &options));
	EQ(info_of(segment).owner_uid, NOBODY);
	EQ(info_of(segment).owner_gid, 7);
	EQ(info_of(segment).uid, 0);
	evr_segment_close(segment);
}

/* One word of the file's header with a wrong value: opening says which. */
static void damage(const char *uri, size_t offset, size_t sz, uint64_t value)
{
	int fd = open(path_of(uri), O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0);
	EQ(pwrite(fd, &value, sz, (off_t)offset), sz);
	close(fd);
}

static void segment_with_a_damaged_header_is_refused_by_field(void **state)
{
#define FIELD(name, bad)                                                         \
	{                                                                        \
#name, offsetof(struct evering_status_header, name),             \
			sizeof(((struct evering_status_header *)0)->name), (bad) \
	}
	static const struct {
		const char *name;
		size_t offset, sz;
		uint64_t bad;
	} fields[] = {
		FIELD(magic, EVERING_STATUS_MAGIC),
		FIELD(abi_version, 99),
		FIELD(flags, 64),
		FIELD(segment_id, 0),
		FIELD(segment_size, 1ull << 40),
		FIELD(shared_offset, 12),
		FIELD(shared_size, ~0ull),
		FIELD(peers_offset, 4096),
		FIELD(peer_size, 1ull << 55),
		FIELD(grown_offset, 0),
		FIELD(peers_max, 0),
		FIELD(entries_offset, 3),
		FIELD(entry_size, 64),
	};
#undef FIELD
	struct evr_segment *segment, *second;
	struct evr_peer *peer, *late;
	char uri[128], text[64];
	struct evering_status_header good;
	size_t i;

	strcpy(uri, named_uri("damaged"));
	segment = make_named("damaged", 0600, EVR_SEGMENT_KEEP);
	peer = attach(segment);
	EQ(pread(evr_segment_fd(segment), &good, sizeof(good), 0), sizeof(good));
	for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		int err = strcmp(fields[i].name, "abi_version") ? -EBADMSG : -EPROTO;

		damage(uri, fields[i].offset, fields[i].sz, fields[i].bad);
		snprintf(text, sizeof(text), "segment header: %s is ", fields[i].name);
		EQ(evr_segment_open(&second, uri), err);
		DETAIL(text);
		EQ(evr_peer_attach(&late, segment, NULL), err);
		DETAIL(text);
		/* Who was there before has its own copy. */
		EQ(evr_bell_ring(peer, evr_peer_self(peer), 1), 0);
		CHECK(evr_peer_at(peer, BLOCK, BLOCK));
		EQ(pwrite(evr_segment_fd(segment), &good, sizeof(good), 0), sizeof(good));
	}
	OK(evr_segment_open(&second, uri));
	evr_segment_close(second);
	OK(evr_segment_remove(uri));
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void segment_with_another_good_header_than_at_open_is_refused(void **state)
{
	struct evr_segment *segment = make_named("changed", 0600, 0);
	struct evr_peer *peer;

	damage(named_uri("changed"), offsetof(struct evering_status_header, peers_max), 4, 3);
	EQ(evr_peer_attach(&peer, segment, NULL), -EBADMSG);
	DETAIL("peers_max is 3");
	evr_segment_close(segment);
}

static void segment_cut_short_is_refused(void **state)
{
	struct evr_segment *segment = make_named("cut", 0600, 0), *second;
	struct evr_peer *peer;

	EQ(ftruncate(evr_segment_fd(segment), 3 * BLOCK - PAGE), 0);
	EQ(evr_segment_open(&second, named_uri("cut")), -EBADMSG);
	DETAIL("segment_size is");
	EQ(evr_peer_attach(&peer, segment, NULL), -EBADMSG);
	DETAIL("segment_size is");
	EQ(ftruncate(evr_segment_fd(segment), 3 * BLOCK), 0);
	OK(evr_segment_open(&second, named_uri("cut")));
	evr_segment_close(second);
	evr_segment_close(segment);
}

static int fail_when_listed(const struct evr_segment_info *info, void *arg)
{
	return !strcmp(info->name, arg);
}

static void segment_name_of_a_foreign_file_is_refused_and_not_listed(void **state)
{
	const char *uri = named_uri("foreign");
	char name[64];
	struct evr_segment *segment;
	int fd = open(path_of(uri), O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	strcpy(name, strchr(uri, ':') + 1);
	CHECK(fd >= 0);
	EQ(evr_segment_open(&segment, uri), -EINVAL);
	DETAIL("of 0 bytes");
	EQ(ftruncate(fd, 4096), 0);
	EQ(evr_segment_open(&segment, uri), -EBADMSG);
	DETAIL("magic");
	EQ(evr_segment_list(EVR_BACKEND_LOCAL, fail_when_listed, name), 0);
	EQ(evr_segment_create(&segment, uri, NULL), -EEXIST);
	EQ(unlink(path_of(uri)), 0);
	close(fd);
	EQ(symlink("/dev/null", path_of(uri)), 0);
	EQ(evr_segment_open(&segment, uri), -ELOOP);
	EQ(evr_segment_list(EVR_BACKEND_LOCAL, fail_when_listed, name), 0);
	EQ(unlink(path_of(uri)), 0);
}

static void segment_that_is_made_leaves_nothing_when_it_fails(void **state)
{
	struct evr_segment_options options = plain_options();
	struct evr_segment *segment;

	options.shared_sz = (uint64_t)1 << 46;
	EQ(evr_segment_create(&segment, named_uri("large"), &options), -ENOMEM);
	DETAIL("bytes are needed");
	EQ(access(path_of(named_uri("large")), F_OK), -1);
	EQ(evr_segment_create(&segment, "local:", &options), -ENOMEM);
	options = plain_options();
	options.flags = EVR_SEGMENT_CONTIGUOUS;
	EQ(evr_segment_create(&segment, "local:", &options), -EOPNOTSUPP);
	DETAIL("contiguous");
}

/* Here both kinds are shmem's; a third is none. */
static void segment_backing_is_checked_and_reported(void **state)
{
	struct evr_segment_options options = plain_options();
	struct evr_segment_info info;
	struct evr_segment *segment;

	for (options.backing = 0; options.backing <= EVR_BACKING_SHMEM; options.backing++) {
		OK(evr_segment_create(&segment, "local:", &options));
		OK(evr_segment_info(segment, &info));
		EQ(info.backing, EVR_BACKING_SHMEM);
		evr_segment_close(segment);
	}
	EQ(evr_segment_create(&segment, "local:", &options), -EINVAL);
	DETAIL("backing is 2");
	EQ(strcmp(evr_backing_name(EVR_BACKING_PAGES), "pages"), 0);
	EQ(strcmp(evr_backing_name(EVR_BACKING_SHMEM), "shmem"), 0);
	EQ(strcmp(evr_backing_name(2), "unknown"), 0);
}

static void segment_invite_gives_all_rights_or_a_reader(void **state)
{
	struct evr_segment *segment = make_named("invite", 0600, 0);
	int fd;

	EQ(evr_segment_invite(segment, EVR_RIGHT_OBSERVE, EVR_INVITE_RESERVE, &fd), -EOPNOTSUPP);
	EQ(evr_segment_invite(segment, EVR_RIGHT_OBSERVE | EVR_RIGHT_WRITE, 0, &fd), -EOPNOTSUPP);
	DETAIL("rights 0x3");
	OK(evr_segment_invite(segment, EVR_RIGHT_OBSERVE, 0, &fd));
	EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	close(fd);
	evr_segment_close(segment);
	segment = make_named("invite", 0666, 0);
	EQ(evr_segment_invite(segment, EVR_RIGHT_OBSERVE, 0, &fd), -EOPNOTSUPP);
	DETAIL("0666");
	evr_segment_close(segment);
}

static void segment_without_keep_leaves_no_file(void **state)
{
	struct evr_segment *segment = make_named("trace", 0600, 0), *second;

	OK(evr_segment_open(&second, named_uri("trace")));
	evr_segment_close(segment);
	EQ(access(path_of(named_uri("trace")), F_OK), 0);
	evr_segment_close(second);
	EQ(access(path_of(named_uri("trace")), F_OK), -1);
}

/* What happens just before the library's next unlink(2). */
static void (*before_unlink)(void);

int unlink(const char *path)
{
	void (*fn)(void) = before_unlink;

	before_unlink = NULL;
	if (fn)
		fn();
	return unlinkat(AT_FDCWD, path, 0);
}

static struct evr_segment *made;
static int removed, created;

/* Another process takes the name away, and makes a segment of its own. */
static void make_anew(void)
{
	struct evr_segment_options options = plain_options();

	removed = evr_segment_remove(named_uri("trace"));
	created = evr_segment_create(&made, named_uri("trace"), &options);
}

static void is_whose_name_leads_to_it(void)
{
	struct evr_segment *found;

	EQ(evr_segment_open(&found, named_uri("trace")), 0);
	CHECK(info_of(found).segment_id == info_of(made).segment_id);
	evr_segment_close(found);
	evr_segment_close(made);
	EQ(access(path_of(named_uri("trace")), F_OK), -1);
}

/* The last handle finds itself alone, and the name is another's when it takes that away. */
static void segment_made_in_the_middle_of_a_close_keeps_its_name(void **state)
{
	struct evr_segment *segment = make_named("trace", 0600, 0);
	struct evr_segment_options options = plain_options();

	(void)state;
	before_unlink = make_anew;
	evr_segment_close(segment);
	CHECK(!before_unlink);
	if (!created)
		is_whose_name_leads_to_it();
	EQ(removed, -EBUSY);
	EQ(created, -EEXIST);
	EQ(access(path_of(named_uri("trace")), F_OK), -1);
	OK(evr_segment_create(&made, named_uri("trace"), &options));
	is_whose_name_leads_to_it();
}

static struct evr_segment *closing;

static void close_and_make_anew(void)
{
	struct evr_segment_options options = plain_options();

	evr_segment_close(closing);
	created = evr_segment_create(&made, named_uri("trace"), &options);
}

/* The same when it is taken away by its name. */
static void segment_made_in_the_middle_of_a_remove_keeps_its_name(void **state)
{
	struct evr_segment_options options = plain_options();

	(void)state;
	closing = make_named("trace", 0600, 0);
	before_unlink = close_and_make_anew;
	EQ(evr_segment_remove(named_uri("trace")), 0);
	CHECK(!before_unlink);
	if (!created)
		is_whose_name_leads_to_it();
	EQ(created, -EEXIST);
	closing = make_named("trace", 0600, 0);
	before_unlink = make_anew;
	EQ(evr_segment_remove(named_uri("trace")), 0);
	EQ(removed, -EBUSY);
	EQ(created, -EEXIST);
	evr_segment_close(closing);
	OK(evr_segment_create(&made, named_uri("trace"), &options));
	is_whose_name_leads_to_it();
}

static void remove_unwritable(struct child *child, void *arg)
{
	struct evr_segment *segment;

	(void)child;
	(void)arg;
	if (!geteuid())
		become_nobody();
	segment = make_named("trace", 0600, EVR_SEGMENT_KEEP);
	EQ(chmod(path_of(named_uri("trace")), 0), 0);
	EQ(open(path_of(named_uri("trace")), O_RDWR), -1);
	EQ(evr_segment_remove(named_uri("trace")), 0);
	EQ(evr_segment_remove(named_uri("trace")), -ENOENT);
	evr_segment_close(segment);
}

/* Its owner may take away what he may not write. */
static void segment_that_cannot_be_written_is_removed(void **state)
{
	struct child child;

	(void)state;
	child_start(&child, remove_unwritable, &child);
	child_join(&child);
}

static void segment_unnamed_cannot_be_cut_short(void **state)
{
	struct evr_segment *segment = plain_segment();

	EQ(ftruncate(evr_segment_fd(segment), 4096), -1);
	evr_segment_close(segment);
}

static void segment_cannot_be_revoked_from(void **state)
{
	struct evr_segment *segment = plain_segment();
	struct evr_peer *peer = attach(segment);

	EQ(evr_segment_revoke(segment, evr_peer_self(peer)), -EOPNOTSUPP);
	evr_peer_detach(peer);
	evr_segment_close(segment);
}

static void create_without_random(struct child *child, void *arg)
{
	const struct refusal list[] = { { SYS_getrandom, EPERM, -1 } };
	struct evr_segment_options options = plain_options();
	struct evr_segment *segment = arg;

	(void)child;
	alarm(20);
	EQ(refuse(list, 1), 0);
	EQ(evr_segment_create(&segment, "local:", &options), -EPERM);
	DETAIL("no random bits");
	CHECK(!segment);
}

static void segment_without_random_bits_is_refused(void **state)
{
	struct child child;

	(void)state;
	child_start(&child, create_without_random, &child);
	child_join(&child);
}

static void segment_on_a_device_that_is_not_there_says_what_to_do(void **state)
{
	struct evr_system_info info;
	struct evr_segment *segment = (void *)0x5a;

	if (evr_backend_available(EVR_BACKEND_DEVICE)) {
		print_message("the device is there\n");
		skip();
	}
	EQ(evr_segment_create(&segment, "device:", NULL), -ENODEV);
	CHECK(!segment);
	DETAIL("modprobe evering");
	EQ(evr_segment_open(&segment, "device:a"), -ENODEV);
	EQ(evr_segment_remove("device:a"), -ENODEV);
	EQ(evr_segment_list(EVR_BACKEND_DEVICE, fail_when_listed, NULL), -ENODEV);
	EQ(evr_system_info(EVR_BACKEND_DEVICE, &info), -ENODEV);
}

int main(void)
{
	static const struct CMUnitTest segment_tests[] = {
		cmocka_unit_test(segment_mode_decides_what_another_user_may),
		cmocka_unit_test(segment_that_may_only_be_read_is_watched_without_a_slot),
		cmocka_unit_test(segment_list_shows_what_cannot_be_opened),
		cmocka_unit_test(segment_owner_can_be_given),
		cmocka_unit_test(segment_with_a_damaged_header_is_refused_by_field),
		cmocka_unit_test(segment_with_another_good_header_than_at_open_is_refused),
		cmocka_unit_test(segment_cut_short_is_refused),
		cmocka_unit_test(segment_name_of_a_foreign_file_is_refused_and_not_listed),
		cmocka_unit_test(segment_that_is_made_leaves_nothing_when_it_fails),
		cmocka_unit_test(segment_invite_gives_all_rights_or_a_reader),
		cmocka_unit_test(segment_without_keep_leaves_no_file),
		cmocka_unit_test(segment_made_in_the_middle_of_a_close_keeps_its_name),
		cmocka_unit_test(segment_made_in_the_middle_of_a_remove_keeps_its_name),
		cmocka_unit_test(segment_that_cannot_be_written_is_removed),
		cmocka_unit_test(segment_unnamed_cannot_be_cut_short),
		cmocka_unit_test(segment_cannot_be_revoked_from),
		cmocka_unit_test(segment_backing_is_checked_and_reported),
		cmocka_unit_test(segment_without_random_bits_is_refused),
		cmocka_unit_test(segment_on_a_device_that_is_not_there_says_what_to_do),
	};

	return cmocka_run_group_tests(segment_tests, NULL, NULL);
}
