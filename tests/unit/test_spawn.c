/* SPDX-License-Identifier: MIT */
/*
 * Children: what they get, what they do not get, and that each end is told exactly. The
 * child is this program again, with a word that says what to do.
 *
 * Mutants seen to fail here: no closefrom; copies not above the targets (the fds arrive
 * mixed up); a wait without WEXITED; no kill in close; an invitation that stays in the
 * environment.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include "pair.h"

static const char self[] = "/proc/self/exe";

/* Numbers of the open fds as a mask, without that of the look itself. */
static uint64_t fds_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	uint64_t mask = 0;
	struct dirent *e;
	int fd;

	if (!dir)
		return UINT64_MAX;
	while ((e = readdir(dir))) {
		fd = atoi(e->d_name);
		if (e->d_name[0] != '.' && fd != dirfd(dir) && fd < 64)
			mask |= 1ULL << fd;
	}
	closedir(dir);
	return mask;
}

/* What the child says of its fds. */
struct told {
	uint64_t mask;
	uint64_t inodes[4]; /* of fds 3 to 6, 0: none */
};

static int child_tell(int to)
{
	struct told told = { .mask = fds_open() };
	struct stat st;
	int i;

	for (i = 0; i < 4; i++)
		told.inodes[i] = fstat(3 + i, &st) ? 0 : st.st_ino;
	return write(to, &told, sizeof(told)) == sizeof(told) ? 0 : 1;
}

/* The rights that the invitation gives: the exit status. */
static int child_rights(void)
{
	struct evr_segment *segment, *again;
	struct evr_peer *peer;
	struct evr_peer_options options = { .struct_sz = sizeof(options) };
	struct evr_segment_info info;

	CHECK(!evr_spawn_adopt(&segment));
	CHECK(evr_spawn_adopt(&again) == -ENOENT);
	CHECK(fcntl(evr_segment_fd(segment), F_GETFD) == FD_CLOEXEC);
	CHECK(!getenv(EVR_SPAWN_VARIABLE));
	CHECK(!evr_segment_info(segment, &info));
	CHECK(info.rights & EVR_RIGHT_WRITE || evr_peer_attach(&peer, segment, NULL) == -EACCES);
	options.flags = info.rights & EVR_RIGHT_WRITE ? 0 : EVR_PEER_OBSERVER;
	CHECK(!evr_peer_attach(&peer, segment, &options));
	evr_peer_detach(peer);
	evr_segment_close(segment);
	return (int)info.rights;
}

static int child_main(char **argv)
{
	alarm(60);
	if (!strcmp(argv[1], "exit"))
		return atoi(argv[2]);
	if (!strcmp(argv[1], "signal"))
		raise(atoi(argv[2]));
	if (!strcmp(argv[1], "tell"))
		return child_tell(atoi(argv[2]));
	if (!strcmp(argv[1], "rights"))
		return child_rights();
	for (;;)
		pause();
}

static int spawn_with(struct evr_child *child, struct evr_spawn_options *o, const char *what,
		      const char *arg)
{
	char name[] = "test_spawn",
	     *argv[] = { name, (char *)(uintptr_t)what, (char *)(uintptr_t)arg, NULL };

	o->struct_sz = sizeof(*o);
	o->argv = argv;
	return evr_spawn(child, self, o);
}

static int spawn_plain(struct evr_child *child, const char *what, const char *arg)
{
	struct evr_spawn_options o = { 0 };

	return spawn_with(child, &o, what, arg);
}

static void assert_no_child(void)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static struct evr_child_exit end_of(struct evr_child *child)
{
	struct evr_child_exit out = { .end = 99, .value = 99 };

	assert_int_equal(evr_child_wait(child, pair_deadline(), &out), 0);
	return out;
}

static void spawn_ends_are_told_exactly(void **state)
{
	static const struct {
		const char *what, *arg;
		struct evr_child_exit wanted;
	} rows[] = {
		{ "exit", "0", { EVR_CHILD_CLEAN, 0, false } },
		{ "exit", "1", { EVR_CHILD_STATUS, 1, false } },
		{ "exit", "255", { EVR_CHILD_STATUS, 255, false } },
		{ "signal", "9", { EVR_CHILD_SIGNAL, SIGKILL, false } },
		{ "signal", "15", { EVR_CHILD_SIGNAL, SIGTERM, false } },
	};
	uint64_t before = fds_open();
	struct evr_child_exit out;
	struct evr_child child;
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(spawn_plain(&child, rows[i].what, rows[i].arg), 0);
		out = end_of(&child);
		assert_int_equal(out.end, rows[i].wanted.end);
		assert_int_equal(out.value, rows[i].wanted.value);
		assert_int_equal(out.dumped, rows[i].wanted.dumped);
		/* And again, without a zombie to ask. */
		assert_no_child();
		assert_int_equal(end_of(&child).value, rows[i].wanted.value);
		assert_int_equal(evr_child_kill(&child, SIGKILL), -ESRCH);
		evr_child_close(&child);
		evr_child_close(&child);
		assert_int_equal(evr_child_fd(&child), -1);
	}
	assert_int_equal(fds_open(), before);
}

static void spawn_failure_leaves_nothing(void **state)
{
	struct pair *pair = *state;
	struct evr_spawn_options o = { .struct_sz = sizeof(o), .segment = pair->segment };
	uint64_t before = fds_open();
	struct evr_child child = { .pid = 99, .pidfd = 99 };

	assert_int_equal(evr_spawn(&child, "/nonexistent/program", &o), -ENOENT);
	assert_non_null(strstr(evr_error_detail(), "/nonexistent/program"));
	assert_int_equal(child.pid, 0);
	assert_int_equal(child.pidfd, -1);
	assert_int_equal(evr_spawn(&child, "/proc/self/status", &o), -EACCES);
	assert_int_equal(evr_child_wait(&child, 0, NULL), -EINVAL);
	assert_int_equal(evr_child_kill(&child, SIGKILL), -EINVAL);
	assert_no_child();
	assert_int_equal(fds_open(), before);
}

static void spawn_checks_its_options(void **state)
{
	struct pair *pair = *state;
	int many[EVR_SPAWN_FDS_MAX + 1] = { 0 }, closed = dup(0);
	struct evr_spawn_options o = { .fds = many, .fds_nr = EVR_SPAWN_FDS_MAX };
	uint64_t before;
	struct evr_child child;

	close(closed);
	before = fds_open();
	assert_int_equal(spawn_with(&child, &o, "exit", "0"), 0);
	assert_int_equal(end_of(&child).end, EVR_CHILD_CLEAN);
	evr_child_close(&child);
	o.fds_nr++;
	assert_int_equal(spawn_with(&child, &o, "exit", "0"), -E2BIG);
	o = (struct evr_spawn_options){ .fds_nr = 1 };
	assert_int_equal(spawn_with(&child, &o, "exit", "0"), -EINVAL);
	o.fds = &closed;
	assert_int_equal(spawn_with(&child, &o, "exit", "0"), -EBADF);
	o = (struct evr_spawn_options){ .rights = EVR_RIGHT_OBSERVE };
	assert_int_equal(spawn_with(&child, &o, "exit", "0"), -EINVAL);
	o = (struct evr_spawn_options){ .segment = pair->segment, .rights = 1U << 31 };
	assert_int_equal(spawn_with(&child, &o, "exit", "0"), -EINVAL);
	o.struct_sz = 1;
	assert_int_equal(evr_spawn(&child, self, &o), -EINVAL);
	assert_no_child();
	assert_int_equal(fds_open(), before);
}

static void told_by(struct evr_spawn_options *o, const char *to, int from, struct told *told)
{
	struct evr_child child;

	memset(told, 0xee, sizeof(*told));
	assert_int_equal(spawn_with(&child, o, "tell", to), 0);
	assert_int_equal(end_of(&child).end, EVR_CHILD_CLEAN);
	assert_int_equal(read(from, told, sizeof(*told)), sizeof(*told));
	evr_child_close(&child);
}

static uint64_t inode(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

/* Our own fds 3 and on are there, may be inherited, and are given away in another order. */
static void spawn_child_has_what_it_was_given_and_no_more(void **state)
{
	struct pair *pair = *state;
	int pipes[6][2], given[3], i;
	struct evr_spawn_options o = { .fds = given, .fds_nr = 3 };
	struct told told;

	for (i = 0; i < 6; i++)
		assert_int_equal(pipe(pipes[i]), 0); /* without CLOEXEC */
	for (i = 0; i < 3; i++)
		given[i] = pipes[2 - i][1];
	told_by(&o, "5", pipes[0][0], &told);
	assert_int_equal(told.mask, 0x3f); /* 0 to 5 */
	for (i = 0; i < 3; i++)
		assert_int_equal(told.inodes[i], inode(given[i]));
	o.segment = pair->segment;
	told_by(&o, "6", pipes[0][0], &told);
	assert_int_equal(told.mask, 0x7f);
	for (i = 0; i < 3; i++)
		assert_int_equal(told.inodes[i + 1], inode(given[i]));
	for (i = 0; i < 6; i++) {
		close(pipes[i][0]);
		close(pipes[i][1]);
	}
}

/* Fds that a program without standard input gives away have low numbers. */
static void spawn_without_standard_input_gives_the_same(void **state)
{
	int pipes[2][2], given[2], input, three = fcntl(3, F_DUPFD_CLOEXEC, 40), i;
	struct evr_spawn_options o = { .fds = given, .fds_nr = 2 };
	struct told told;

	close(3);
	for (i = 0; i < 2; i++)
		assert_int_equal(pipe2(pipes[i], O_CLOEXEC), 0);
	assert_int_equal(pipes[0][0], 3);
	input = fcntl(0, F_DUPFD_CLOEXEC, 40);
	given[0] = pipes[1][0];
	given[1] = pipes[1][1];
	close(0);
	close(3);
	/* Numbers 0 and 3 are free now. */
	told_by(&o, "4", pipes[1][0], &told);
	assert_int_equal(dup2(input, 0), 0);
	assert_int_equal(told.mask, 0x1e);
	assert_int_equal(told.inodes[0], inode(given[0]));
	assert_int_equal(told.inodes[1], inode(given[1]));
	close(input);
	if (three >= 0) {
		dup2(three, 3);
		close(three);
	}
	close(pipes[0][1]);
	close(pipes[1][0]);
	close(pipes[1][1]);
}

static uint32_t rights_of(struct evr_spawn_options *o)
{
	struct evr_child_exit out;
	struct evr_child child;

	assert_int_equal(spawn_with(&child, o, "rights", NULL), 0);
	out = end_of(&child);
	assert_in_range(out.end, EVR_CHILD_CLEAN, EVR_CHILD_STATUS);
	evr_child_close(&child);
	return (uint32_t)out.value;
}

static void spawn_child_has_the_rights_it_was_given(void **state)
{
	struct pair *pair = *state;
	bool is_device = !strcmp(pair_uri(), "device:");
	struct evr_spawn_options o = { .segment = pair->segment, .rights = EVR_RIGHT_OBSERVE };
	uint32_t plain = EVR_RIGHT_OBSERVE | EVR_RIGHT_WRITE;
	struct evr_child child;

	assert_int_equal(rights_of(&o), EVR_RIGHT_OBSERVE);
	o.rights = 0;
	assert_int_equal(rights_of(&o), is_device ? plain : EVR_RIGHTS_ALL);
	/* An invitation of ours is not handed on. */
	setenv(EVR_SPAWN_VARIABLE, "77", 1);
	assert_int_equal(rights_of(&o), is_device ? plain : EVR_RIGHTS_ALL);
	unsetenv(EVR_SPAWN_VARIABLE);
	o.rights = plain;
	if (is_device)
		assert_int_equal(rights_of(&o), plain);
	else
		assert_int_equal(spawn_with(&child, &o, "rights", NULL), -EOPNOTSUPP);
	o.rights = EVR_RIGHTS_ALL;
	assert_int_equal(rights_of(&o), EVR_RIGHTS_ALL);
}

static void spawn_adopt_takes_only_a_segment(void **state)
{
	struct evr_segment *segment = (void *)1;

	unsetenv(EVR_SPAWN_VARIABLE);
	assert_int_equal(evr_spawn_adopt(&segment), -ENOENT);
	assert_null(segment);
	setenv(EVR_SPAWN_VARIABLE, "", 1);
	assert_int_equal(evr_spawn_adopt(&segment), -EINVAL);
	setenv(EVR_SPAWN_VARIABLE, "3x", 1);
	assert_int_equal(evr_spawn_adopt(&segment), -EINVAL);
	setenv(EVR_SPAWN_VARIABLE, "-1", 1);
	assert_int_equal(evr_spawn_adopt(&segment), -EINVAL);
	setenv(EVR_SPAWN_VARIABLE, "99999999999999999999", 1);
	assert_int_equal(evr_spawn_adopt(&segment), -EINVAL);
	setenv(EVR_SPAWN_VARIABLE, "1000000", 1);
	assert_int_equal(evr_spawn_adopt(&segment), -EBADF);
	setenv(EVR_SPAWN_VARIABLE, "0", 1);
	assert_true(evr_spawn_adopt(&segment) < 0);
	/* What was not taken stays to be looked at. */
	assert_non_null(getenv(EVR_SPAWN_VARIABLE));
	assert_int_equal(fcntl(0, F_GETFD), 0);
	unsetenv(EVR_SPAWN_VARIABLE);
}

static void spawn_wait_and_kill(void **state)
{
	struct evr_child_exit out = { .end = EVR_CHILD_CLEAN };
	struct pollfd ended = { .events = POLLIN };
	struct evr_child child;

	assert_int_equal(spawn_plain(&child, "pause", NULL), 0);
	assert_int_equal(evr_child_wait(&child, 0, &out), -ETIMEDOUT);
	assert_int_equal(out.end, EVR_CHILD_RUNS);
	assert_int_equal(evr_child_wait(&child, evr_now_ns() + 1000000, NULL), -ETIMEDOUT);
	ended.fd = evr_child_fd(&child);
	assert_int_equal(poll(&ended, 1, 0), 0);
	assert_int_equal(evr_child_kill(&child, SIGKILL), 0);
	assert_int_equal(poll(&ended, 1, 40000), 1);
	assert_int_equal(evr_child_wait(&child, EVR_NO_DEADLINE, &out), 0);
	assert_int_equal(out.end, EVR_CHILD_SIGNAL);
	evr_child_close(&child);
	assert_no_child();
}

static void spawn_close_kills_and_leaves_no_zombie(void **state)
{
	uint64_t before = fds_open();
	struct evr_child child;
	int pid;

	assert_int_equal(spawn_plain(&child, "pause", NULL), 0);
	pid = child.pid;
	evr_child_close(&child);
	assert_no_child();
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(fds_open(), before);
}

static void spawn_end_that_another_took_is_an_error(void **state)
{
	struct evr_child child;

	assert_int_equal(spawn_plain(&child, "exit", "0"), 0);
	assert_int_equal(waitpid(child.pid, NULL, 0), child.pid);
	assert_int_equal(evr_child_wait(&child, pair_deadline(), NULL), -ECHILD);
	evr_child_close(&child);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spawn_ends_are_told_exactly),
		cmocka_unit_test_setup_teardown(spawn_failure_leaves_nothing, pair_open,
						pair_close),
		cmocka_unit_test_setup_teardown(spawn_checks_its_options, pair_open, pair_close),
		cmocka_unit_test_setup_teardown(spawn_child_has_what_it_was_given_and_no_more,
						pair_open, pair_close),
		cmocka_unit_test(spawn_without_standard_input_gives_the_same),
		cmocka_unit_test_setup_teardown(spawn_child_has_the_rights_it_was_given, pair_open,
						pair_close),
		cmocka_unit_test(spawn_adopt_takes_only_a_segment),
		cmocka_unit_test(spawn_wait_and_kill),
		cmocka_unit_test(spawn_close_kills_and_leaves_no_zombie),
		cmocka_unit_test(spawn_end_that_another_took_is_an_error),
	};

	if (argc > 1)
		return child_main(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
