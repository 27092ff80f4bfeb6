/* SPDX-License-Identifier: MIT */
/*
 * Files, paths, pipes and futexes: each op against what the system call does, in each
 * mode; short transfers, and errors as the call gives them.
 *
 * Mutants seen to fail here: an emulated op that does not hold its file (pipe_read_waits_*); files
 * that exec inherits; resolve of openat2 that is lost; a length that is one more.
 */
#include "loop.h"

#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/uio.h>

static char dir[] = "/tmp/evering-driver-XXXXXX";
static int dirfd_;

static int make_dir(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	dirfd_ = open(dir, O_DIRECTORY | O_CLOEXEC);
	return dirfd_ < 0;
}

static int remove_dir(void **state)
{
	close(dirfd_);
	return rmdir(dir);
}

static int temporary(void)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void file_written_is_read_back(void **state)
{
	struct loop *loop = *state;
	static char out[70000], in[70000];
	struct iovec iov[6];
	int fd = temporary(), i;

	for (i = 0; i < (int)sizeof(out); i++)
		out[i] = (char)(i * 7);
	assert_int_equal(loop_do(loop, evr_op_write(fd, out, sizeof(out), 0)), sizeof(out));
	assert_int_equal(loop_do(loop, evr_op_read(fd, in, sizeof(in), 0)), sizeof(in));
	assert_memory_equal(in, out, sizeof(in));
	/* Past the end. */
	assert_int_equal(loop_do(loop, evr_op_read(fd, in, 100, sizeof(out) - 10)), 10);
	assert_int_equal(loop_do(loop, evr_op_read(fd, in, 100, sizeof(out))), 0);
	/* More buffers than fit into the op; the array goes away. */
	memset(in, 0, sizeof(in));
	for (i = 0; i < 6; i++)
		iov[i] = (struct iovec){ in + 1000 * i, 1000 };
	{
		struct seen seen;

		loop_submit(loop, evr_op_readv(fd, iov, 6, 0), &seen);
		memset(iov, 0x55, sizeof(iov));
		assert_int_equal(loop_finish(loop, &seen), 6000);
	}
	assert_memory_equal(in, out, 6000);
	for (i = 0; i < 3; i++)
		iov[i] = (struct iovec){ out + 6000, 10 };
	assert_int_equal(loop_do(loop, evr_op_writev(fd, iov, 3, 100000)), 30);
	/* The file's own position moves. */
	assert_int_equal(lseek(fd, 5, SEEK_SET), 5);
	assert_int_equal(loop_do(loop, evr_op_read(fd, in, 5, EVR_OFF_CURRENT)), 5);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 10);
	assert_memory_equal(in, out + 5, 5);
	close(fd);
}

static void file_errors_are_the_calls(void **state)
{
	struct loop *loop = *state;
	struct iovec iov = { NULL, 1 };
	struct evr_op op;
	char byte;
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	assert_int_equal(loop_do(loop, evr_op_read(1 << 20, &byte, 1, 0)), -EBADF);
	assert_int_equal(loop_do(loop, evr_op_read(fd, &byte, 1, 0)), -EBADF);
	close(fd);
	fd = temporary();
	assert_int_equal(write(fd, "abc", 3), 3);
	assert_int_equal(loop_do(loop, evr_op_read(fd, (void *)1, 1, 0)), -EFAULT);
	op = evr_op_readv(fd, &iov, 0, 0);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EINVAL);
	op = evr_op_readv(fd, &iov, 1025, 0);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EINVAL);
	op = evr_op_fsync(fd);
	op.opflags = 2;
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EINVAL);
	close(fd);
}

static void file_size_and_sync_ops_do_what_they_say(void **state)
{
	struct loop *loop = *state;
	struct stat st;
	int fd = temporary();

	assert_int_equal(loop_do(loop, evr_op_fallocate(fd, 0, 0, 8192)), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 8192);
	assert_int_equal(loop_do(loop, evr_op_ftruncate(fd, 100)), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 100);
	assert_int_equal(loop_do(loop, evr_op_fsync(fd)), 0);
	assert_int_equal(loop_do(loop, evr_op_fdatasync(fd)), 0);
	assert_int_equal(loop_do(loop, evr_op_sync_range(fd, 0, 100, SYNC_FILE_RANGE_WRITE)), 0);
	close(fd);
	/* An fd of a directory open for reading cannot be truncated. */
	assert_int_equal(loop_do(loop, evr_op_ftruncate(dirfd_, 0)), -EINVAL);
}

static void path_ops_do_what_they_say(void **state)
{
	struct loop *loop = *state;
	struct statx stx;
	struct stat st;
	struct seen seen;
	char name[32];
	int fd;

	/* The path is ours to change as soon as it is submitted. */
	strcpy(name, "one");
	loop_submit(loop, evr_op_open(dirfd_, name, O_CREAT | O_EXCL | O_RDWR, 0640, 0), &seen);
	memset(name, 'x', sizeof(name));
	fd = loop_finish(loop, &seen);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(write(fd, "12345", 5), 5);
	assert_int_equal(loop_do(loop, evr_op_statx(dirfd_, "one", 0, STATX_SIZE, &stx)), 0);
	assert_int_equal(stx.stx_size, 5);
	assert_int_equal(loop_do(loop, evr_op_close(fd)), 0);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(loop_do(loop, evr_op_rename(dirfd_, "one", dirfd_, "two", 0)), 0);
	assert_int_equal(fstatat(dirfd_, "one", &st, 0), -1);
	assert_int_equal(fstatat(dirfd_, "two", &st, 0), 0);
	assert_int_equal(loop_do(loop, evr_op_mkdir(dirfd_, "sub", 0700)), 0);
	assert_int_equal(loop_do(loop, evr_op_mkdir(dirfd_, "sub", 0700)), -EEXIST);
	assert_int_equal(loop_do(loop, evr_op_unlink(dirfd_, "sub", AT_REMOVEDIR)), 0);
	assert_int_equal(loop_do(loop, evr_op_unlink(dirfd_, "two", 0)), 0);
	assert_int_equal(loop_do(loop, evr_op_unlink(dirfd_, "two", 0)), -ENOENT);
	assert_int_equal(loop_do(loop, evr_op_open(dirfd_, "../etc", O_RDONLY, 0, RESOLVE_BENEATH)),
			 -EXDEV);
}

static void path_that_is_none_refused(void **state)
{
	struct loop *loop = *state;
	static char longest[4097];
	struct evr_op op = evr_op_open(AT_FDCWD, NULL, O_RDONLY, 0, 0);

	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EFAULT);
	memset(longest, 'a', 4096);
	op = evr_op_open(AT_FDCWD, longest, O_RDONLY, 0, 0);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -ENAMETOOLONG);
	/* The kernel's own limit is of a part of it. */
	longest[4095] = 0;
	assert_int_equal(loop_do(loop, evr_op_open(AT_FDCWD, longest, O_RDONLY, 0, 0)),
			 -ENAMETOOLONG);
}

static void pipe_read_waits_and_is_short(void **state)
{
	struct loop *loop = *state;
	struct seen seen;
	char in[100] = { 0 };
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	loop_submit(loop, evr_op_read(fds[0], in, sizeof(in), 0), &seen);
	loop_rounds(loop, 3);
	assert_int_equal(seen.all, 0);
	assert_int_equal(write(fds[1], "hello", 5), 5);
	assert_int_equal(loop_finish(loop, &seen), 5);
	assert_string_equal(in, "hello");
	/* Its file stays although the number is closed. */
	loop_submit(loop, evr_op_read(fds[0], in, sizeof(in), 0), &seen);
	loop_rounds(loop, 1);
	close(fds[0]);
	assert_int_equal(write(fds[1], "late", 4), 4);
	assert_int_equal(loop_finish(loop, &seen), 4);
	close(fds[1]);
}

static uint64_t retries(struct loop *loop)
{
	struct evr_driver_stats stats;

	assert_int_equal(evr_driver_stats(loop->d, &stats), 0);
	return stats.retries;
}

static void pipe_exact_goes_on_until_all_or_the_end(void **state)
{
	struct loop *loop = *state;
	uint64_t deadline = pair_deadline();
	struct seen seen;
	char in[12];
	int fds[2], i;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	loop_submit(loop, evr_op_flagged(evr_op_read(fds[0], in, 12, 0), EVR_OP_EXACT), &seen);
	for (i = 0; i < 4; i++) {
		assert_int_equal(seen.all, 0);
		assert_int_equal(write(fds[1], "abc", 3), 3);
		/* Until it has these and waits for more: on a slow machine it takes a while. */
		while (i < 3 && retries(loop) <= (uint64_t)i) {
			loop_rounds(loop, 1);
			assert_true(evr_now_ns() < deadline);
		}
	}
	assert_int_equal(loop_finish(loop, &seen), 12);
	assert_memory_equal(in, "abcabcabcabc", 12);
	assert_true(retries(loop) >= 3);
	loop_submit(loop, evr_op_flagged(evr_op_read(fds[0], in, 12, 0), EVR_OP_EXACT), &seen);
	assert_int_equal(write(fds[1], "abcde", 5), 5);
	loop_rounds(loop, 2);
	close(fds[1]);
	assert_int_equal(loop_finish(loop, &seen), 5);
	close(fds[0]);
}

static void pipe_splice_and_tee_move_bytes(void **state)
{
	struct loop *loop = *state;
	struct seen seen;
	int a[2], b[2], fd = temporary();
	char in[8] = { 0 };

	assert_int_equal(pipe2(a, O_CLOEXEC), 0);
	assert_int_equal(pipe2(b, O_CLOEXEC), 0);
	loop_submit(loop, evr_op_tee(a[0], b[1], 5, 0), &seen);
	loop_rounds(loop, 2);
	assert_int_equal(write(a[1], "bytes", 5), 5);
	assert_int_equal(loop_finish(loop, &seen), 5);
	assert_int_equal(read(b[0], in, 8), 5);
	assert_string_equal(in, "bytes");
	assert_int_equal(loop_do(loop, evr_op_splice(a[0], EVR_OFF_CURRENT, fd, 3, 5, 0)), 5);
	memset(in, 0, sizeof(in));
	assert_int_equal(pread(fd, in, 5, 3), 5);
	assert_string_equal(in, "bytes");
	assert_int_equal(loop_do(loop, evr_op_splice(fd, 4, b[1], EVR_OFF_CURRENT, 2, 0)), 2);
	assert_int_equal(read(b[0], in, 8), 2);
	assert_memory_equal(in, "yt", 2);
	close(fd);
	close(a[0]);
	close(a[1]);
	close(b[0]);
	close(b[1]);
}

/* From a socket through a pipe to another socket: what a relay would do. */
static void pipe_splice_between_sockets(void **state)
{
	struct loop *loop = *state;
	int from[2], to[2], pipe_fds[2];
	char in[8] = { 0 };
	struct seen seen;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, from), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, to), 0);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	loop_submit(loop,
		    evr_op_splice(from[0], EVR_OFF_CURRENT, pipe_fds[1], EVR_OFF_CURRENT, 64, 0),
		    &seen);
	loop_rounds(loop, 2);
	assert_int_equal(seen.all, 0);
	assert_int_equal(write(from[1], "spliced", 7), 7);
	assert_int_equal(loop_finish(loop, &seen), 7);
	assert_int_equal(loop_do(loop, evr_op_splice(pipe_fds[0], EVR_OFF_CURRENT, to[0],
						     EVR_OFF_CURRENT, 7, 0)),
			 7);
	assert_int_equal(read(to[1], in, sizeof(in)), 7);
	assert_string_equal(in, "spliced");
	close(from[1]);
	assert_int_equal(loop_do(loop, evr_op_splice(from[0], EVR_OFF_CURRENT, pipe_fds[1],
						     EVR_OFF_CURRENT, 64, 0)),
			 0);
	close(from[0]);
	close(to[0]);
	close(to[1]);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void poll_says_what_is_there(void **state)
{
	struct loop *loop = *state;
	struct seen seen, many;
	char in[8];
	uint64_t id;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_true(loop_do(loop, evr_op_poll(fds[1], POLLOUT)) & POLLOUT);
	loop_submit(loop, evr_op_poll(fds[0], POLLIN), &seen);
	id = loop_submit(loop, evr_op_flagged(evr_op_poll(fds[0], POLLIN), EVR_OP_MULTISHOT),
			 &many);
	loop_rounds(loop, 2);
	assert_int_equal(seen.all + many.all, 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_true(loop_finish(loop, &seen) & POLLIN);
	LOOP_UNTIL(loop, many.all == 1);
	assert_true(many.res & POLLIN);
	/* An edge, not a level: silent until something new comes. */
	loop_rounds(loop, 3);
	assert_int_equal(many.all, 1);
	assert_int_equal(read(fds[0], in, 8), 1);
	assert_int_equal(write(fds[1], "x", 1), 1);
	LOOP_UNTIL(loop, many.all == 2);
	evr_driver_cancel(loop->d, id);
	assert_int_equal(loop_finish(loop, &many), -ECANCELED);
	assert_int_equal(many.all, 3);
	close(fds[0]);
	close(fds[1]);
}

static void futex_word_changes_and_wakes(void **state)
{
	struct loop *loop = *state;
	struct evr_a32 *word =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct seen seen;
	struct evr_op op;
	pid_t pid;

	assert_int_equal(loop_do(loop, evr_op_futex_wait(word, 1)), -EAGAIN);
	loop_submit(loop, evr_op_futex_wait(word, 0), &seen);
	loop_rounds(loop, 5);
	assert_int_equal(seen.all, 0);
	pid = fork();
	if (!pid) {
		struct loop own;
		struct evr_driver *d;

		CHECK(!evr_driver_create(&d, NULL));
		own.d = d;
		evr_a32_xchg(word, 1);
		/* The other side may not have begun to wait yet. */
		while (loop_do(&own, evr_op_futex_wake(word, 1)) == 0)
			pair_sleep_us(1000);
		CHECK(!evr_driver_close(d, pair_deadline()));
		_exit(0);
	}
	assert_int_equal(loop_finish(loop, &seen), 0);
	/* Emulated it may have seen the value: nobody is left to be woken. */
	if (evr_driver_supports(loop->d, EVR_OP_FUTEX_WAIT) != EVR_SUPPORT_NATIVE) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	} else {
		pair_join(pid);
	}
	op = evr_op_futex_wait((struct evr_a32 *)((char *)word + 1), 0);
	assert_int_equal(evr_driver_submit(loop->d, &op, NULL), -EINVAL);
	munmap(word, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_MODE_TEST(file_written_is_read_back),
		EACH_MODE_TEST(file_errors_are_the_calls),
		EACH_MODE_TEST(file_size_and_sync_ops_do_what_they_say),
		EACH_MODE_TEST(path_ops_do_what_they_say),
		EACH_MODE_TEST(path_that_is_none_refused),
		EACH_MODE_TEST(pipe_read_waits_and_is_short),
		EACH_MODE_TEST(pipe_exact_goes_on_until_all_or_the_end),
		EACH_MODE_TEST(pipe_splice_and_tee_move_bytes),
		EACH_MODE_TEST(pipe_splice_between_sockets),
		EACH_MODE_TEST(poll_says_what_is_there),
		EACH_MODE_TEST(futex_word_changes_and_wakes),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
