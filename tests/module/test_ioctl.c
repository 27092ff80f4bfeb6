// SPDX-License-Identifier: MIT
/*
 * Every command of /dev/evering against every wrong form of its argument: sizes,
 * reserved fields, flags, kinds of fd, rights, pointers, numbers. What the fields
 * may hold is in test_argument.c. A wrong answer is printed and counted, and the
 * table is run to its end, so that one run shows all that is wrong.
 *
 * Seen to fail: without the limit of PAGE_SIZE, with the tail not read, numbers compared
 * with their size, __resv or flags of a command not looked at, a command without its
 * right, a command in the wrong table, no check for an ended peer, and with the file or
 * the slot kept when the argument cannot be written back.
 */

#include <sys/syscall.h>

#include "command.h"

#define ROOM (2 * EV_PAGE)

static const struct {
	const char *name;
	unsigned long cmd;
} names[] = {
#include "command_names.h"
};

/* One command on a stage of its own; the argument ends at an unmapped page. */
struct trial {
	const struct command *command;
	struct stage stage;
	char *pages;
	char *arg;
	bool array_written; /* the array is filled before the argument, which fails */
};

static unsigned int wrong, calls;

static void trial_begin(struct trial *t, const struct command *command)
{
	t->command = command;
	t->array_written = false;
	stage_init(&t->stage);
	t->pages = mmap(NULL, ROOM + EV_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);
	EV_CHECK(t->pages != MAP_FAILED);
	EV_EQ(munmap(t->pages + ROOM, EV_PAGE), 0);
	t->arg = t->pages;
	command_fill(command, &t->stage, t->arg);
}

static void trial_end(struct trial *t)
{
	munmap(t->pages, ROOM);
	stage_fini(&t->stage);
}

static void set_size(struct trial *t, uint32_t size)
{
	memcpy(t->arg, &size, sizeof(size));
}

/* Move the argument so that it ends where the mapped memory ends, but for cut bytes. */
static void move_to_end(struct trial *t, size_t cut)
{
	char *to = t->pages + ROOM - t->command->sz + cut;

	memmove(to, t->arg, t->command->sz - cut);
	t->arg = to;
}

static int fd_next(void)
{
	int fd = fcntl(STDERR_FILENO, F_DUPFD, 3);

	close(fd);
	return fd;
}

static void report(const struct trial *t, const char *what, long long detail, int is, int wanted)
{
	wrong++;
	print_message("# %s, %s %lld: %d (%s), wanted %d (%s)\n", t->command->name, what, detail,
		      is, is < 0 ? strerror(-is) : "success", wanted,
		      wanted ? strerror(-wanted) : "success");
}

/* Call with the argument at p; err 0 is any success. */
static void call(struct trial *t, int fd, void *p, const char *what, long long detail, int err)
{
	static char before[ROOM];
	static struct stage stage;
	int next = fd_next();
	int ret;

	calls++;
	memcpy(before, t->pages, ROOM);
	memcpy(&stage, &t->stage, sizeof(stage));
	ret = ev_ioctl(fd, t->command->cmd, p);
	if (err ? ret != err : ret < 0)
		report(t, what, detail, ret, err);
	if (ret >= 0) {
		if (p == t->arg)
			command_done(t->command, t->arg);
		return;
	}
	if (memcmp(before, t->pages, ROOM) ||
	    (!t->array_written && memcmp(&stage, &t->stage, sizeof(stage))))
		report(t, "argument changed by an error,", detail, ret, err);
	if (fd_next() != next)
		report(t, "fd left open by an error,", detail, ret, err);
}

static void call_ok(struct trial *t, const char *what, long long detail)
{
	call(t, t->stage.fd[command_kind(t->command)], t->arg, what, detail, 0);
}

static void call_bad(struct trial *t, const char *what, long long detail, int err)
{
	call(t, t->stage.fd[command_kind(t->command)], t->arg, what, detail, err);
}

static void verdict(void)
{
	print_message("# %u calls\n", calls);
	EV_EQ(wrong, 0);
}

static int begin(void **state)
{
	static uint32_t segments;

	wrong = 0;
	calls = 0;
	segments = ev_info().segments;
	*state = &segments;
	return 0;
}

static int end(void **state)
{
	EV_EQ(ev_info().segments, *(uint32_t *)*state);
	return 0;
}

/* A command of uapi.h that is not in the table, or the other way round. */
static void ioctl_table_complete(void **state)
{
	const size_t names_nr = sizeof(names) / sizeof(names[0]);
	size_t i, k;

	(void)state;
	EV_EQ(names_nr, commands_nr);
	for (i = 0; i < names_nr; i++) {
		for (k = 0; k < commands_nr; k++)
			if (strcmp(names[i].name, commands[k].name) == 0)
				break;
		if (k == commands_nr)
			ev_fail(__FILE__, __LINE__, "no table line for %s", names[i].name);
		EV_EQ(commands[k].cmd, names[i].cmd);
		EV_EQ(commands[k].sz, _IOC_SIZE(names[i].cmd));
	}
}

static void ioctl_valid_accepted(void **state)
{
	unsigned int i;
	int kind;

	(void)state;
	for (i = 0; i < commands_nr; i++) {
		for (kind = 0; kind < FD_KINDS; kind++) {
			struct trial t;

			if (!(commands[i].kinds & 1U << kind))
				continue;
			trial_begin(&t, &commands[i]);
			call(&t, t.stage.fd[kind], t.arg, "valid on kind", kind, 0);
			trial_end(&t);
		}
	}
	verdict();
}

/* Every byte of the struct is at most what the caller says it is, and no more. */
static void ioctl_size_limits(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < commands_nr; i++) {
		const struct command *command = &commands[i];
		const uint32_t sz = (uint32_t)command->sz;
		const struct {
			uint32_t size;
			int err;
		} cases[] = {
			{ 0, -EINVAL },		{ 1, -EINVAL },		 { 4, -EINVAL },
			{ sz - 8, -EINVAL },	{ sz - 1, -EINVAL },	 { sz, 0 },
			{ sz + 1, 0 },		{ sz + 8, 0 },		 { EV_PAGE - 1, 0 },
			{ EV_PAGE, 0 },		{ EV_PAGE + 1, -E2BIG }, { 0x7fffffff, -E2BIG },
			{ 0x80000000, -E2BIG }, { 0xffffffff, -E2BIG },
		};
		size_t k;

		for (k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
			struct trial t;

			trial_begin(&t, command);
			set_size(&t, cases[k].size);
			call_bad(&t, "size", cases[k].size, cases[k].err);
			trial_end(&t);
		}
	}
	verdict();
}

static void ioctl_unknown_tail_refused(void **state)
{
	unsigned int i;
	size_t at;

	(void)state;
	for (i = 0; i < commands_nr; i++) {
		const size_t sz = commands[i].sz;
		const size_t bytes[] = { sz, sz + 7, sz + 8, EV_PAGE - 1 };

		for (at = 0; at < 4; at++) {
			struct trial t;

			trial_begin(&t, &commands[i]);
			set_size(&t, EV_PAGE);
			t.arg[bytes[at]] = 1;
			call_bad(&t, "tail byte", (long long)bytes[at], -E2BIG);
			/* Beyond the size that was told nobody looks. */
			set_size(&t, (uint32_t)bytes[at]);
			call_ok(&t, "byte after the end", (long long)bytes[at]);
			trial_end(&t);
		}
	}
	verdict();
}

/* A caller with newer headers has a longer struct, so another ioctl number. */
static void ioctl_newer_number_accepted(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < commands_nr; i++) {
		struct command newer = commands[i];
		struct trial t;

		newer.cmd = _IOC(_IOC_DIR(newer.cmd), EVERING_IOC_MAGIC, _IOC_NR(newer.cmd),
				 newer.sz + 8);
		trial_begin(&t, &newer);
		set_size(&t, (uint32_t)newer.sz + 8);
		call_ok(&t, "number of a struct longer by", 8);
		trial_end(&t);
	}
	verdict();
}

static void ioctl_reserved_refused(void **state)
{
	unsigned int i, k, bit;

	(void)state;
	for (i = 0; i < commands_nr; i++) {
		for (k = 0; k < 2; k++) {
			const struct span *span = &commands[i].reserved[k];

			for (bit = 0; bit < span->sz * 8U; bit++) {
				struct trial t;

				trial_begin(&t, &commands[i]);
				t.arg[span->offset + bit / 8] = (char)(1 << bit % 8);
				call_bad(&t, "reserved bit", bit, -EINVAL);
				trial_end(&t);
			}
		}
	}
	verdict();
}

static void ioctl_unknown_flag_refused(void **state)
{
	unsigned int i, bit;

	(void)state;
	for (i = 0; i < commands_nr; i++) {
		if (!commands[i].flags_offset)
			continue;
		for (bit = 0; bit < 32; bit++) {
			uint32_t flags = 1U << bit;
			struct trial t;

			if (commands[i].flags_known & flags)
				continue;
			trial_begin(&t, &commands[i]);
			memcpy(t.arg + commands[i].flags_offset, &flags, sizeof(flags));
			call_bad(&t, "flag bit", bit, -EINVAL);
			flags |= commands[i].flags_known;
			memcpy(t.arg + commands[i].flags_offset, &flags, sizeof(flags));
			call_bad(&t, "flag bit beside known ones", bit, -EINVAL);
			trial_end(&t);
		}
	}
	verdict();
}

static void ioctl_wrong_fd_refused(void **state)
{
	int pipes[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
	unsigned int i;
	int kind;

	(void)state;
	EV_EQ(pipe(pipes), 0);
	for (i = 0; i < commands_nr; i++) {
		struct trial t;

		trial_begin(&t, &commands[i]);
		for (kind = 0; kind < FD_KINDS; kind++)
			if (!(commands[i].kinds & 1U << kind))
				call(&t, t.stage.fd[kind], t.arg, "fd kind", kind, -ENOTTY);
		call(&t, null, t.arg, "fd of /dev/null", 0, -ENOTTY);
		call(&t, pipes[0], t.arg, "fd of a pipe", 0, -ENOTTY);
		trial_end(&t);
	}
	close(null);
	close(pipes[0]);
	close(pipes[1]);
	verdict();
}

/* Everything but the right that the command needs; the call has no effect. */
static void ioctl_right_missing_refused(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < commands_nr; i++) {
		const uint32_t right = commands[i].right;
		struct ev_peer observer;
		struct trial t;
		int fd;

		if (!right)
			continue;
		trial_begin(&t, &commands[i]);
		fd = ev_try_invite(t.stage.fd[ON_SEGMENT], EVERING_RIGHTS_ALL & ~right, 0, 0);
		EV_CHECK(fd >= 0);
		if (commands[i].kinds & PEER) {
			observer = ev_attach_observer(fd);
			close(fd);
			fd = observer.fd;
		}
		/* As root but without its privileges: REVOKE would be allowed by them. */
		EV_EQ(seteuid(1000), 0);
		call(&t, fd, t.arg, "without right", right, -EACCES);
		EV_EQ(seteuid(0), 0);
		close(fd);
		trial_end(&t);
	}
	verdict();
}

/* CAP_SYS_ADMIN may end a peer of any segment that it has an fd of. */
static void ioctl_revoke_by_privilege(void **state)
{
	struct stage s;
	int guest;

	(void)state;
	stage_init(&s);
	guest = ev_try_invite(s.fd[ON_SEGMENT], EVERING_RIGHT_OBSERVE, 0, 0);
	EV_CHECK(guest >= 0);
	EV_EQ(seteuid(1000), 0);
	EV_EQ(ev_revoke(guest, s.other.slot, s.other.incarnation), -EACCES);
	EV_EQ(seteuid(0), 0);
	EV_EQ(ev_revoke(guest, s.other.slot, s.other.incarnation), 0);
	EV_EQ(ev_revoke(guest, s.other.slot, s.other.incarnation), -ESTALE);
	close(guest);
	stage_fini(&s);
}

static void ioctl_pointer_refused(void **state)
{
	char *const kernel = (char *)0xffff888000000000UL;
	char *const hole = (char *)0x00007ffffffff000UL;
	unsigned int i;

	(void)state;
	for (i = 0; i < commands_nr; i++) {
		const enum fd_kind kind = command_kind(&commands[i]);
		struct trial t;

		trial_begin(&t, &commands[i]);
		call(&t, t.stage.fd[kind], NULL, "NULL", 0, -EFAULT);
		call(&t, t.stage.fd[kind], kernel, "kernel address", 0, -EFAULT);
		call(&t, t.stage.fd[kind], hole, "last page", 0, -EFAULT);
		call(&t, t.stage.fd[kind], t.pages + ROOM, "unmapped page", 0, -EFAULT);
		trial_end(&t);
	}
	verdict();
}

/* The size says more than is mapped. */
static void ioctl_truncated_refused(void **state)
{
	unsigned int i;
	size_t k;

	(void)state;
	for (i = 0; i < commands_nr; i++) {
		const size_t cuts[] = { 1, 4, commands[i].sz - 4, commands[i].sz - 1 };
		struct trial t;

		for (k = 0; k < 4; k++) {
			trial_begin(&t, &commands[i]);
			move_to_end(&t, cuts[k]);
			call_bad(&t, "bytes cut off", (long long)cuts[k], -EFAULT);
			trial_end(&t);
		}
		trial_begin(&t, &commands[i]);
		move_to_end(&t, 0);
		call_ok(&t, "just before an unmapped page,", 0);
		trial_end(&t);
		/* The tail of a longer struct is looked at, so it must be there. */
		trial_begin(&t, &commands[i]);
		move_to_end(&t, 0);
		set_size(&t, (uint32_t)commands[i].sz + 8);
		call_bad(&t, "unmapped tail bytes", 8, -EFAULT);
		trial_end(&t);
	}
	verdict();
}

/*
 * What can be read but not written: commands without results do not mind. The
 * others fail, and what they had made by then is gone: no fd (call() looks), no
 * peer, no segment (end() looks).
 */
static void ioctl_readonly_argument_undone(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < commands_nr; i++) {
		const bool gives = _IOC_DIR(commands[i].cmd) & _IOC_READ;
		const uint32_t segments = ev_info().segments;
		uint32_t peers;
		struct trial t;

		/* RING's argument has no out field: its results are in the array. */
		if (commands[i].cmd == EVERING_IOC_BELL_RING)
			continue;
		trial_begin(&t, &commands[i]);
		t.array_written = true;
		peers = ev_segment_info(t.stage.fd[ON_SEGMENT]).peers;
		EV_EQ(mprotect(t.pages, ROOM, PROT_READ), 0);
		call_bad(&t, "argument in a read-only page,", 0, gives ? -EFAULT : 0);
		EV_EQ(mprotect(t.pages, ROOM, PROT_READ | PROT_WRITE), 0);
		if (gives) {
			struct ev_peer last;

			EV_EQ(ev_segment_info(t.stage.fd[ON_SEGMENT]).peers, peers);
			/* The one free slot still is. */
			EV_EQ(ev_try_attach(t.stage.fd[ON_SEGMENT], 0, 3, &last), 0);
			close(last.fd);
		}
		trial_end(&t);
		EV_EQ(ev_info().segments, segments);
	}
	verdict();
}

static bool is_command(unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < commands_nr; i++)
		if (_IOC_NR(commands[i].cmd) == nr)
			return true;
	return false;
}

static void ioctl_unknown_number_refused(void **state)
{
	static const unsigned int directions[] = { _IOC_NONE, _IOC_READ, _IOC_WRITE,
						   _IOC_READ | _IOC_WRITE };
	struct command unknown = commands[0];
	struct trial t;
	unsigned int nr, dir;
	int kind;

	(void)state;
	trial_begin(&t, &unknown);
	for (nr = 0; nr < 256; nr++) {
		if (is_command(nr))
			continue;
		for (dir = 0; dir < 4; dir++) {
			unknown.cmd = _IOC(directions[dir], EVERING_IOC_MAGIC, nr, unknown.sz);
			for (kind = 0; kind < FD_KINDS; kind++)
				call(&t, t.stage.fd[kind], t.arg, "number", nr, -ENOTTY);
		}
	}
	/* The right number of another magic; 0x54 is the terminals'. */
	for (kind = 0; kind < FD_KINDS; kind++) {
		unknown.cmd = _IOC(_IOC_READ | _IOC_WRITE, 0xEA, 0, unknown.sz);
		call(&t, t.stage.fd[kind], t.arg, "magic", 0xEA, -ENOTTY);
		unknown.cmd = 0x5401;
		call(&t, t.stage.fd[kind], t.arg, "TCGETS", 0, -ENOTTY);
	}
	trial_end(&t);
	verdict();
}

/* After its end a peer's fd answers nothing but that. */
static void ioctl_ended_peer_refused(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < commands_nr; i++) {
		struct trial t;

		if (!(commands[i].kinds & PEER) || commands[i].kinds & CONTROL)
			continue;
		trial_begin(&t, &commands[i]);
		EV_EQ(ev_detach(t.stage.self.fd), 0);
		call(&t, t.stage.self.fd, t.arg, "on an ended peer's fd", 0, -EOWNERDEAD);
		trial_end(&t);
	}
	verdict();
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ioctl_table_complete),
		CASE(ioctl_valid_accepted),
		CASE(ioctl_size_limits),
		CASE(ioctl_unknown_tail_refused),
		CASE(ioctl_newer_number_accepted),
		CASE(ioctl_reserved_refused),
		CASE(ioctl_unknown_flag_refused),
		CASE(ioctl_wrong_fd_refused),
		CASE(ioctl_right_missing_refused),
		CASE(ioctl_revoke_by_privilege),
		CASE(ioctl_pointer_refused),
		CASE(ioctl_truncated_refused),
		CASE(ioctl_readonly_argument_undone),
		CASE(ioctl_unknown_number_refused),
		CASE(ioctl_ended_peer_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
