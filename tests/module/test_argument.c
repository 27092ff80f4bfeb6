// SPDX-License-Identifier: MIT
/*
 * What the fields of each command's argument may hold: one line a case, limits at
 * -1, 0 and +1. Everything else of the argument is valid.
 *
 * Seen to fail: with mode bits x let through in PUBLISH, GROW taking whole pages, RING
 * refusing 256 entries, blanks allowed in names, and bells not given back by a read
 * that could not deliver them.
 */

#include "command.h"

/* Up to two fields are set; an empty second one is of 0 bytes. */
struct field {
	uint16_t offset, sz;
	uint64_t value;
};

struct value_case {
	unsigned int line;
	unsigned long cmd;
	struct field field[2];
	int err;
};

#define FIELD_OF(type, name, to)                                                                   \
	{                                                                                          \
		offsetof(struct evering_##type, name), sizeof(((struct evering_##type *)0)->name), \
			(uint64_t)(to)                                                             \
	}
#define V(NOUN, type, name, to, err)                                            \
	{                                                                       \
		__LINE__, EVERING_IOC_##NOUN, { FIELD_OF(type, name, to) }, err \
	}
#define V2(NOUN, type, name, to, other, other_to, err)                                     \
	{                                                                                  \
		__LINE__, EVERING_IOC_##NOUN,                                              \
			{ FIELD_OF(type, name, to), FIELD_OF(type, other, other_to) }, err \
	}

#define ISOLATED EVERING_SEGMENT_F_ISOLATED
#define CONTIGUOUS EVERING_SEGMENT_F_CONTIGUOUS
#define RESERVE EVERING_INVITE_F_RESERVE
#define HUGE_PAGES (~(EV_PAGE - 1))

static const struct value_case values[] = {
	V(SEGMENT_CREATE, segment_create, peers_max, 0, -EINVAL),
	V(SEGMENT_CREATE, segment_create, peers_max, 1, 0),
	V(SEGMENT_CREATE, segment_create, peers_max, 255, 0),
	V(SEGMENT_CREATE, segment_create, peers_max, 256, 0),
	V(SEGMENT_CREATE, segment_create, peers_max, 257, -EINVAL),
	V(SEGMENT_CREATE, segment_create, peers_max, 0xffffffff, -EINVAL),
	V(SEGMENT_CREATE, segment_create, shared_size, 0, 0),
	V(SEGMENT_CREATE, segment_create, shared_size, 1, -EINVAL),
	V(SEGMENT_CREATE, segment_create, shared_size, EV_PAGE - 1, -EINVAL),
	V(SEGMENT_CREATE, segment_create, shared_size, EV_PAGE + 1, -EINVAL),
	V(SEGMENT_CREATE, segment_create, shared_size, EV_PAGE + 512, -EINVAL),
	V(SEGMENT_CREATE, segment_create, shared_size, EV_BLOCK, 0),
	V(SEGMENT_CREATE, segment_create, shared_size, ~0ULL, -EINVAL),
	V(SEGMENT_CREATE, segment_create, shared_size, HUGE_PAGES, -EFBIG),
	V(SEGMENT_CREATE, segment_create, peer_size, 0, 0),
	V(SEGMENT_CREATE, segment_create, peer_size, 1, -EINVAL),
	V(SEGMENT_CREATE, segment_create, peer_size, EV_PAGE - 1, -EINVAL),
	V(SEGMENT_CREATE, segment_create, peer_size, EV_PAGE + 1, -EINVAL),
	V(SEGMENT_CREATE, segment_create, peer_size, ~0ULL, -EINVAL),
	V(SEGMENT_CREATE, segment_create, peer_size, HUGE_PAGES, -EFBIG),
	V2(SEGMENT_CREATE, segment_create, shared_size, 0, peer_size, 0, -EINVAL),
	V(SEGMENT_CREATE, segment_create, node, -2, -EINVAL),
	V(SEGMENT_CREATE, segment_create, node, 0, 0),
	V(SEGMENT_CREATE, segment_create, node, 1023, -EINVAL),
	V(SEGMENT_CREATE, segment_create, node, 1 << 20, -EINVAL),
	V(SEGMENT_CREATE, segment_create, node, 0x7fffffff, -EINVAL),
	V(SEGMENT_CREATE, segment_create, node, -0x7fffffff - 1, -EINVAL),
	V(SEGMENT_CREATE, segment_create, backing, 2, -EINVAL),
	V(SEGMENT_CREATE, segment_create, backing, 0xffffffff, -EINVAL),
	V(SEGMENT_CREATE, segment_create, flags, ISOLATED, -EINVAL),
	V2(SEGMENT_CREATE, segment_create, flags, ISOLATED, shared_size, 0, 0),
	V(SEGMENT_CREATE, segment_create, flags, CONTIGUOUS, 0),
	V2(SEGMENT_CREATE, segment_create, flags, CONTIGUOUS, shared_size, 4 * EV_BLOCK, 0),
	V2(SEGMENT_CREATE, segment_create, flags, ISOLATED | CONTIGUOUS, shared_size, 0, 0),

	V(SEGMENT_OPEN, segment_open, rights, EVERING_RIGHT_OBSERVE, 0),
	V(SEGMENT_OPEN, segment_open, rights, EVERING_RIGHTS_ALL, 0),
	V(SEGMENT_OPEN, segment_open, rights, EVERING_RIGHTS_ALL + 1, -EINVAL),
	V(SEGMENT_OPEN, segment_open, rights, 0x80000000, -EINVAL),
	V(SEGMENT_OPEN, segment_open, rights, 0xffffffff, -EINVAL),

	V(SEGMENT_LIST, segment_list, nr, 0, 0),
	V(SEGMENT_LIST, segment_list, nr, 1, 0),
	V(SEGMENT_LIST, segment_list, cursor, ~0ULL, 0),
	V(SEGMENT_LIST, segment_list, entries, 0, -EFAULT),
	V(SEGMENT_LIST, segment_list, entries, 8, -EFAULT),
	V(SEGMENT_LIST, segment_list, entries, 1ULL << 63, -EFAULT),
	V2(SEGMENT_LIST, segment_list, entries, 0, nr, 0, 0),

	V(SEGMENT_EXTENTS, segment_extents, nr, 0, 0),
	V(SEGMENT_EXTENTS, segment_extents, first, 1, 0),
	V(SEGMENT_EXTENTS, segment_extents, first, 0xffffffff, 0),
	V(SEGMENT_EXTENTS, segment_extents, entries, 0, -EFAULT),
	V(SEGMENT_EXTENTS, segment_extents, entries, 1ULL << 63, -EFAULT),
	V2(SEGMENT_EXTENTS, segment_extents, entries, 0, nr, 0, 0),

	V(SEGMENT_PUBLISH, segment_publish, mode, 0, 0),
	V(SEGMENT_PUBLISH, segment_publish, mode, 0666, 0),
	V(SEGMENT_PUBLISH, segment_publish, mode, 0100, -EINVAL),
	V(SEGMENT_PUBLISH, segment_publish, mode, 0010, -EINVAL),
	V(SEGMENT_PUBLISH, segment_publish, mode, 0001, -EINVAL),
	V(SEGMENT_PUBLISH, segment_publish, mode, 0777, -EINVAL),
	V(SEGMENT_PUBLISH, segment_publish, mode, 01000, -EINVAL),
	V(SEGMENT_PUBLISH, segment_publish, mode, 01600, -EINVAL),
	V(SEGMENT_PUBLISH, segment_publish, mode, 0x80000000, -EINVAL),
	V(SEGMENT_PUBLISH, segment_publish, uid, 0, 0),
	V(SEGMENT_PUBLISH, segment_publish, uid, 1000, 0),
	V(SEGMENT_PUBLISH, segment_publish, gid, 1000, 0),
	V(SEGMENT_PUBLISH, segment_publish, flags, EVERING_PUBLISH_F_KEEP, 0),

	V(SEGMENT_GROW, segment_grow, bytes, 0, -EINVAL),
	V(SEGMENT_GROW, segment_grow, bytes, EV_PAGE, -EINVAL),
	V(SEGMENT_GROW, segment_grow, bytes, EV_BLOCK - 1, -EINVAL),
	V(SEGMENT_GROW, segment_grow, bytes, EV_BLOCK + 1, -EINVAL),
	V(SEGMENT_GROW, segment_grow, bytes, EV_BLOCK + EV_PAGE, -EINVAL),
	V(SEGMENT_GROW, segment_grow, bytes, 2 * EV_BLOCK, 0),
	V(SEGMENT_GROW, segment_grow, bytes, 1ULL << 62, -EFBIG),
	V(SEGMENT_GROW, segment_grow, bytes, ~0ULL, -EINVAL),
	V(SEGMENT_GROW, segment_grow, bytes, ~(EV_BLOCK - 1), -EFBIG),
	V2(SEGMENT_GROW, segment_grow, flags, 0, offset, 0, 0),
	V2(SEGMENT_GROW, segment_grow, flags, EVERING_GROW_F_TAG, offset, 0, -EINVAL),
	V2(SEGMENT_GROW, segment_grow, flags, EVERING_GROW_F_TAG, offset, 1, 0),
	V2(SEGMENT_GROW, segment_grow, flags, EVERING_GROW_F_TAG, offset, ~0ULL, 0),
	V(SEGMENT_GROW, segment_grow, flags, EVERING_GROW_F_ALL + 1, -EINVAL),

	V(SEGMENT_GROWTHS, segment_growths, nr, 0, 0),
	V(SEGMENT_GROWTHS, segment_growths, first, 1, 0),
	V(SEGMENT_GROWTHS, segment_growths, first, 0xffffffff, 0),
	V(SEGMENT_GROWTHS, segment_growths, entries, 0, -EFAULT),
	V(SEGMENT_GROWTHS, segment_growths, entries, 1ULL << 63, -EFAULT),
	V2(SEGMENT_GROWTHS, segment_growths, entries, 0, nr, 0, 0),

	/* Slots 0 and 1 are taken, 2 is dead, 3 is free, there is no 4. */
	V(PEER_ATTACH, peer_attach, slot, 0, -EBUSY),
	V(PEER_ATTACH, peer_attach, slot, 1, -EBUSY),
	V(PEER_ATTACH, peer_attach, slot, 2, -EBUSY),
	V(PEER_ATTACH, peer_attach, slot, 3, 0),
	V(PEER_ATTACH, peer_attach, slot, 4, -EINVAL),
	V(PEER_ATTACH, peer_attach, slot, 256, -EINVAL),
	V(PEER_ATTACH, peer_attach, slot, 0xfffffffe, -EINVAL),
	V(PEER_ATTACH, peer_attach, flags, EVERING_ATTACH_F_OBSERVER, 0),
	V(PEER_ATTACH, peer_attach, cookie, ~0ULL, 0),

	V(PEER_INVITE, peer_invite, rights, 0, -EINVAL),
	V(PEER_INVITE, peer_invite, rights, EVERING_RIGHTS_ALL, 0),
	V(PEER_INVITE, peer_invite, rights, EVERING_RIGHTS_ALL + 1, -EINVAL),
	V(PEER_INVITE, peer_invite, rights, 0x80000001, -EINVAL),
	V(PEER_INVITE, peer_invite, attaches_max, 1, 0),
	V(PEER_INVITE, peer_invite, attaches_max, 0xffffffff, 0),
	V2(PEER_INVITE, peer_invite, flags, RESERVE, attaches_max, 0, -EINVAL),
	V2(PEER_INVITE, peer_invite, flags, RESERVE, attaches_max, 1, 0),
	V2(PEER_INVITE, peer_invite, flags, RESERVE, attaches_max, 2, -EINVAL),

	V(PEER_REVOKE, peer_revoke, slot, 3, -ESTALE),
	V(PEER_REVOKE, peer_revoke, slot, 4, -EINVAL),
	V(PEER_REVOKE, peer_revoke, slot, EVERING_SLOT_ANY, -EINVAL),
	V(PEER_REVOKE, peer_revoke, incarnation, 0, -ESTALE),
	V(PEER_REVOKE, peer_revoke, incarnation, 2, -ESTALE),
	V(PEER_REVOKE, peer_revoke, incarnation, ~0ULL, -ESTALE),

	/* The valid one is of the dead slot 2. */
	V(PEER_REAPED, peer_reaped, slot, 3, -ESTALE),
	V(PEER_REAPED, peer_reaped, slot, 4, -EINVAL),
	V(PEER_REAPED, peer_reaped, slot, EVERING_SLOT_ANY, -EINVAL),
	V(PEER_REAPED, peer_reaped, slot, 0, -EBUSY),
	V(PEER_REAPED, peer_reaped, slot, 1, -EBUSY),
	V(PEER_REAPED, peer_reaped, incarnation, 0, -ESTALE),
	V(PEER_REAPED, peer_reaped, incarnation, 2, -ESTALE),
	V(PEER_REAPED, peer_reaped, incarnation, ~0ULL, -ESTALE),

	V(PEER_LIST, peer_list, nr, 0, 0),
	V(PEER_LIST, peer_list, first, 3, 0),
	V(PEER_LIST, peer_list, first, 4, 0),
	V(PEER_LIST, peer_list, first, EVERING_SLOT_ANY, 0),
	V(PEER_LIST, peer_list, entries, 0, -EFAULT),
	V(PEER_LIST, peer_list, entries, 1ULL << 63, -EFAULT),
	V2(PEER_LIST, peer_list, entries, 0, nr, 0, 0),

	V(BELL_RING, bell_ring, nr, 0, 0),
	V(BELL_RING, bell_ring, nr, EVERING_RING_MAX + 1, -EINVAL),
	V(BELL_RING, bell_ring, nr, 0xffffffff, -EINVAL),
	V(BELL_RING, bell_ring, bells, 0, -EFAULT),
	V(BELL_RING, bell_ring, bells, 1ULL << 63, -EFAULT),
	V2(BELL_RING, bell_ring, bells, 0, nr, 0, 0),

	V(BELL_WAIT, bell_wait, mask, 0, -EINVAL),
	V(BELL_WAIT, bell_wait, mask, 2, -ETIMEDOUT),
	V(BELL_WAIT, bell_wait, mask, ~0ULL, 0),
	V(BELL_WAIT, bell_wait, deadline_ns, 1, 0),
	V(BELL_WAIT, bell_wait, deadline_ns, EVERING_NO_DEADLINE, 0),

	V(BELL_BIND, bell_bind, eventfd, -1, 0),
	V(BELL_BIND, bell_bind, eventfd, -2, -EINVAL),
	V(BELL_BIND, bell_bind, eventfd, 9999, -EBADF),
	V(BELL_BIND, bell_bind, eventfd, 0x7fffffff, -EBADF),
	V(BELL_BIND, bell_bind, eventfd, STDIN_FILENO, -EINVAL),
};

static const struct command *command_of(unsigned long cmd)
{
	unsigned int i;

	for (i = 0; i < commands_nr; i++)
		if (commands[i].cmd == cmd)
			return &commands[i];
	ev_fail(__FILE__, __LINE__, "no command %#lx", cmd);
}

static void argument_values(void **state)
{
	unsigned int wrong = 0;
	size_t i, k;

	(void)state;
	for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		const struct value_case *v = &values[i];
		const struct command *command = command_of(v->cmd);
		char arg[ARGUMENT_MAX], before[ARGUMENT_MAX];
		struct stage stage, stage_before;
		int ret;

		stage_init(&stage);
		command_fill(command, &stage, arg);
		for (k = 0; k < 2; k++)
			memcpy(arg + v->field[k].offset, &v->field[k].value, v->field[k].sz);
		memcpy(before, arg, command->sz);
		memcpy(&stage_before, &stage, sizeof(stage));
		ret = ev_ioctl(stage.fd[command_kind(command)], v->cmd, arg);
		if (v->err ? ret != v->err : ret < 0) {
			wrong++;
			print_message("# line %u, %s: %d (%s), wanted %d\n", v->line, command->name,
				      ret, strerror(ret < 0 ? -ret : 0), v->err);
		}
		if (ret < 0 && (memcmp(before, arg, command->sz) ||
				memcmp(&stage_before, &stage, sizeof(stage)))) {
			wrong++;
			print_message("# line %u, %s: failed and changed memory\n", v->line,
				      command->name);
		}
		if (ret >= 0)
			command_done(command, arg);
		if (ret >= 0 && v->cmd == EVERING_IOC_SEGMENT_PUBLISH)
			EV_EQ(ev_unpublish(stage.fd[ON_SEGMENT]), 0);
		stage_fini(&stage);
	}
	EV_EQ(wrong, 0);
	EV_EQ(ev_info().segments, 0);
}

/* Memory of shmem's is there when INFO says so. */
static void argument_backing_as_info_says(void **state)
{
	struct ev_shape shape = {
		.shared_size = EV_BLOCK,
		.peers_max = 1,
		.backing = EVERING_BACKING_SHMEM,
	};
	int fd = ev_try_create(&shape);

	(void)state;
	if (!ev_has(EVERING_FEAT_BACKING_SHMEM)) {
		EV_EQ(fd, -EOPNOTSUPP);
		return;
	}
	EV_CHECK(fd >= 0);
	EV_EQ(ev_segment_info(fd).backing, EVERING_BACKING_SHMEM);
	close(fd);
}

/* Name fields of PUBLISH and OPEN: the bytes, and what becomes of them. */
static const struct {
	const char bytes[EVERING_NAME_SIZE];
	int publish, open;
} names[] = {
	{ "a", 0, -ENOENT },
	{ "Name-of.a_segment-42", 0, -ENOENT },
	{ "_", 0, -ENOENT },
	{ "a.", 0, -ENOENT },
	{ ".a", -EINVAL, -EINVAL },
	{ "-a", -EINVAL, -EINVAL },
	{ "..", -EINVAL, -EINVAL },
	{ "a b", -EINVAL, -EINVAL },
	{ "a+b", -EINVAL, -EINVAL },
	{ "a:b", -EINVAL, -EINVAL },
	{ "\xc3\xa4", -EINVAL, -EINVAL },
	{ "", -EINVAL, -EINVAL },
	{ "a/b", -EINVAL, -EINVAL },
	{ "/", -EINVAL, -EINVAL },
	{ "a\nb", -EINVAL, -EINVAL },
	{ "a\x7f", -EINVAL, -EINVAL },
	{ "\x01", -EINVAL, -EINVAL },
	{ "012345678901234567890123456789012345678901234567890123456789012", 0, -ENOENT },
	{ "0123456789012345678901234567890123456789012345678901234567890123", -EINVAL, -EINVAL },
};

static void argument_names(void **state)
{
	struct evering_segment_publish publish;
	struct evering_segment_open open_arg;
	int seg = ev_create_plain(), control = ev_control();
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		ev_arg(&open_arg);
		memcpy(open_arg.name, names[i].bytes, EVERING_NAME_SIZE);
		expect_ioctl_errno(control, EVERING_IOC_SEGMENT_OPEN, &open_arg, sizeof(open_arg),
				   names[i].open);
		ev_arg(&publish);
		publish.mode = 0600;
		publish.uid = publish.gid = ~0U;
		memcpy(publish.name, names[i].bytes, EVERING_NAME_SIZE);
		EV_EQ(ev_ioctl(seg, EVERING_IOC_SEGMENT_PUBLISH, &publish), names[i].publish);
		if (names[i].publish == 0)
			EV_EQ(ev_unpublish(seg), 0);
	}
	close(seg);
	close(control);
}

/* Entries of RING are judged one by one, and a bad one does not stop the others. */
static void argument_bells(void **state)
{
	struct stage s;
	struct evering_bell bell[8];
	struct evering_bell_ring arg;
	static const int results[8] = { 0, -ESTALE, -ESTALE, -ESTALE, -EINVAL, -EINVAL, -EINVAL, 0 };
	unsigned int i;

	(void)state;
	stage_init(&s);
	for (i = 0; i < 8; i++) {
		bell[i].slot = s.other.slot;
		bell[i].incarnation = s.other.incarnation;
		bell[i].bits = 1ULL << i;
		poison(&bell[i].result, sizeof(bell[i].result));
	}
	bell[1].incarnation++;
	bell[2].slot = s.dead.slot;
	bell[2].incarnation = s.dead.incarnation;
	bell[3].slot = 3;
	bell[4].slot = 4;
	bell[5].bits = 0;
	bell[6].bits = 1ULL << EVERING_BELL_PEER_EVENT | 1;
	ev_arg(&arg);
	arg.nr = 8;
	arg.bells = (uintptr_t)bell;
	EV_EQ(ev_ioctl(s.self.fd, EVERING_IOC_BELL_RING, &arg), 2);
	for (i = 0; i < 8; i++)
		EV_EQ(bell[i].result, results[i]);
	stage_fini(&s);
}

static void argument_bells_most(void **state)
{
	static struct evering_bell bell[EVERING_RING_MAX + 1];
	struct evering_bell_ring arg;
	struct stage s;
	unsigned int i, nr;

	(void)state;
	stage_init(&s);
	for (nr = EVERING_RING_MAX - 1; nr <= EVERING_RING_MAX + 1; nr++) {
		for (i = 0; i <= EVERING_RING_MAX; i++) {
			bell[i].slot = s.other.slot;
			bell[i].incarnation = s.other.incarnation;
			bell[i].bits = 4;
			poison(&bell[i].result, sizeof(bell[i].result));
		}
		ev_arg(&arg);
		arg.nr = nr;
		arg.bells = (uintptr_t)bell;
		EV_EQ(ev_ioctl(s.self.fd, EVERING_IOC_BELL_RING, &arg),
		      nr <= EVERING_RING_MAX ? (int)nr : -EINVAL);
		for (i = 0; i <= EVERING_RING_MAX; i++)
			EV_EQ(is_poisoned(&bell[i].result, sizeof(bell[i].result)),
			      nr > EVERING_RING_MAX || i >= nr);
	}
	stage_fini(&s);
}

/* A wait whose result cannot be delivered has taken no bell. */
static void argument_wait_undeliverable_keeps_bells(void **state)
{
	struct evering_bell_wait *arg =
		mmap(NULL, EV_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct evering_bells bells;
	struct stage s;

	(void)state;
	stage_init(&s);
	EV_EQ(ev_ring(s.other.fd, s.self.slot, s.self.incarnation, 5), 0);
	ev_arg(arg);
	arg->mask = ~0ULL;
	EV_EQ(mprotect(arg, EV_PAGE, PROT_READ), 0);
	EV_EQ(ev_ioctl(s.self.fd, EVERING_IOC_BELL_WAIT, arg), -EFAULT);
	EV_EQ(read(s.self.fd, arg, sizeof(bells)) < 0 ? errno : 0, EFAULT);
	EV_EQ(fcntl(s.self.fd, F_SETFL, O_NONBLOCK), 0);
	EV_EQ(read(s.self.fd, &bells, sizeof(bells)), sizeof(bells));
	EV_EQ(bells.bits & EVERING_BELLS_USER, 5);
	EV_EQ(bells.rang[0], 1ULL << s.other.slot);
	munmap(arg, EV_PAGE);
	stage_fini(&s);
}

static void argument_read_sizes(void **state)
{
	static const struct {
		size_t asked;
		ssize_t given;
	} cases[] = {
		{ 0, -EINVAL }, { 1, -EINVAL }, { 7, -EINVAL }, { 8, 8 },   { 9, 8 },	  { 15, 8 },
		{ 16, 16 },	{ 39, 32 },	{ 40, 40 },	{ 41, 40 }, { 4096, 40 },
	};
	char buffer[4096];
	struct stage s;
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const ssize_t given = cases[i].given;
		ssize_t ret;

		stage_init(&s);
		EV_EQ(ev_ring(s.other.fd, s.self.slot, s.self.incarnation, 1), 0);
		poison(buffer, sizeof(buffer));
		ret = read(s.self.fd, buffer, cases[i].asked);
		EV_EQ(ret < 0 ? -errno : ret, given);
		EV_CHECK(is_poisoned(buffer + (ret < 0 ? 0 : ret),
				     sizeof(buffer) - (size_t)(ret < 0 ? 0 : ret)));
		stage_fini(&s);
	}
}

static void argument_no_slot_left(void **state)
{
	struct ev_shape shape = { .peer_size = EV_PAGE, .peers_max = 2 };
	int seg = ev_create(&shape);
	struct ev_peer a = ev_attach(seg), b = ev_attach_observer(seg);
	struct evering_peer_attach arg;

	(void)state;
	ev_arg(&arg);
	arg.slot = EVERING_SLOT_ANY;
	expect_ioctl_errno(seg, EVERING_IOC_PEER_ATTACH, &arg, sizeof(arg), -EUSERS);
	/* An observer's slot is free at once. */
	close(b.fd);
	b = ev_attach(seg);
	close(a.fd);
	/* A writer's waits for PEER_REAPED. */
	expect_ioctl_errno(seg, EVERING_IOC_PEER_ATTACH, &arg, sizeof(arg), -EUSERS);
	EV_EQ(ev_reaped(b.fd, a.slot, a.incarnation), 0);
	EV_EQ(ev_reaped(b.fd, a.slot, a.incarnation), -ESTALE);
	a = ev_attach(seg);
	close(a.fd);
	close(b.fd);
	close(seg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(argument_values),
		cmocka_unit_test(argument_backing_as_info_says),
		cmocka_unit_test(argument_names),
		cmocka_unit_test(argument_bells),
		cmocka_unit_test(argument_bells_most),
		cmocka_unit_test(argument_wait_undeliverable_keeps_bells),
		cmocka_unit_test(argument_read_sizes),
		cmocka_unit_test(argument_no_slot_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
