// SPDX-License-Identifier: MIT
/*
 * Memory that an argument points to: the arrays of LIST, EXTENTS, PEER_LIST and RING, the
 * struct of io_uring's WAIT. Each ends exactly where the mapped memory does, one entry too
 * early, cannot be written, or wraps around; and no more is touched than what is given.
 *
 * Seen to fail: with one entry more written by PEER_LIST than asked for, with results of
 * RING that nobody misses, and without the size check of io_uring's WAIT.
 */

#include "command.h"
#include "uring_cmd.h"

#define ROOM (4 * EV_PAGE)
#define ALL 0xffffffffU

struct array_kind {
	unsigned long cmd;
	size_t pointer_offset, nr_offset, entry_sz;
	unsigned int there;
};

#define KIND(NOUN, type, pointer, entry, there)                                                    \
	{                                                                                          \
		EVERING_IOC_##NOUN, offsetof(struct evering_##type, pointer),                      \
			offsetof(struct evering_##type, nr), sizeof(struct evering_##entry), there \
	}

/* The stage has one name, one extent, and three slots that are not free. */
static const struct array_kind kinds[] = {
	KIND(SEGMENT_LIST, segment_list, entries, segment_entry, 1),
	KIND(SEGMENT_EXTENTS, segment_extents, entries, extent, 1),
	KIND(PEER_LIST, peer_list, entries, peer_entry, 3),
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static char *make_pages(void)
{
	char *pages = mmap(NULL, ROOM + EV_PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	EV_CHECK(pages != MAP_FAILED);
	/* Not unmapped: a ring would come to lie there. */
	EV_EQ(mprotect(pages + ROOM, EV_PAGE, PROT_NONE), 0);
	poison(pages, ROOM);
	return pages;
}

static const struct command *command_of(unsigned long cmd)
{
	unsigned int i;

	for (i = 0; i < commands_nr; i++)
		if (commands[i].cmd == cmd)
			return &commands[i];
	ev_fail(__FILE__, __LINE__, "no command %#lx", cmd);
}

/* One call with this array; what it says of nr is checked. */
static void call_with(const struct array_kind *kind, char *pages, const void *at, uint32_t nr,
		      int err, uint32_t given)
{
	const struct command *command = command_of(kind->cmd);
	char arg[ARGUMENT_MAX], before[ARGUMENT_MAX];
	struct stage stage;
	uint64_t pointer = (uintptr_t)at;
	uint32_t got;
	int ret;

	stage_init(&stage);
	command_fill(command, &stage, arg);
	memcpy(arg + kind->pointer_offset, &pointer, sizeof(pointer));
	memcpy(arg + kind->nr_offset, &nr, sizeof(nr));
	memcpy(before, arg, command->sz);
	if (pages)
		poison(pages, ROOM);
	ret = ev_ioctl(stage.fd[command_kind(command)], kind->cmd, arg);
	if (ret != err)
		ev_fail(__FILE__, __LINE__, "%s, room for %u: %d, not %d", command->name, nr, ret,
			err);
	memcpy(&got, arg + kind->nr_offset, sizeof(got));
	if (err)
		EV_CHECK(memcmp(arg, before, command->sz) == 0);
	else
		EV_EQ(got, given);
	stage_fini(&stage);
}

static void array_ends_where_memory_does(void **state)
{
	char *pages = make_pages();
	unsigned int i;

	(void)state;
	for (i = 0; i < KINDS; i++) {
		const struct array_kind *kind = &kinds[i];
		char *all = pages + ROOM - kind->there * kind->entry_sz;

		call_with(kind, pages, all, kind->there, 0, kind->there);
		EV_CHECK(is_poisoned(pages, (size_t)(all - pages)));
		EV_CHECK(!is_poisoned(all, kind->entry_sz));
		/* More room is said than there is: what is not given is not touched. */
		call_with(kind, pages, all, kind->there + 1, 0, kind->there);
		call_with(kind, pages, all, ALL, 0, kind->there);
		/* One entry short, or one byte. */
		call_with(kind, pages, all + kind->entry_sz, kind->there, -EFAULT, 0);
		call_with(kind, pages, all + 1, kind->there, -EFAULT, 0);
		/* Room for one less is one less. */
		call_with(kind, pages, all + kind->entry_sz, kind->there - 1, 0, kind->there - 1);
		call_with(kind, pages, pages, 1, 0, 1);
		EV_CHECK(is_poisoned(pages + kind->entry_sz, ROOM - kind->entry_sz));
	}
	munmap(pages, ROOM + EV_PAGE);
}

static void array_that_cannot_be_written_or_wraps_is_refused(void **state)
{
	char *pages = make_pages();
	unsigned int i;

	(void)state;
	EV_EQ(mprotect(pages, ROOM, PROT_READ), 0);
	for (i = 0; i < KINDS; i++) {
		call_with(&kinds[i], NULL, pages, 4, -EFAULT, 0);
		call_with(&kinds[i], NULL, (void *)-8L, 4, -EFAULT, 0);
		call_with(&kinds[i], NULL, (void *)-1L, 1, -EFAULT, 0);
		call_with(&kinds[i], NULL, (void *)0x00007ffffffff000UL, 1, -EFAULT, 0);
	}
	munmap(pages, ROOM + EV_PAGE);
}

/* --- bells ------------------------------------------------------------------------------ */

static struct evering_bell *bells_at_end(char *pages, const struct stage *s, unsigned int nr)
{
	struct evering_bell *bell = (struct evering_bell *)(pages + ROOM) - nr;
	unsigned int i;

	for (i = 0; i < nr; i++)
		bell[i] = (struct evering_bell){ .slot = s->other.slot,
						 .result = 77,
						 .incarnation = s->other.incarnation,
						 .bits = 1 };
	return bell;
}

static int ring_many(int fd, const void *bells, unsigned int nr)
{
	struct evering_bell_ring arg;

	ev_arg(&arg);
	arg.nr = nr;
	arg.bells = (uintptr_t)bells;
	return ev_ioctl(fd, EVERING_IOC_BELL_RING, &arg);
}

static uint64_t bits_of(int fd)
{
	struct evering_bells bells = { .bits = 0 };

	EV_EQ(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	if (read(fd, &bells, sizeof(bells)) < 0)
		EV_EQ(errno, EAGAIN);
	return bells.bits & EVERING_BELLS_USER;
}

/* Results up to the first that is still 77; all behind it are, too. */
static unsigned int results_of(const struct evering_bell *bell, unsigned int nr)
{
	unsigned int done = 0, i;

	while (done < nr && bell[done].result == 0)
		done++;
	for (i = done; i < nr; i++)
		EV_EQ(bell[i].result, 77);
	return done;
}

static void array_of_bells_ends_where_memory_does(void **state)
{
	static const unsigned int nrs[] = { 1, 2, 100, EVERING_RING_MAX - 1 };
	char *pages = make_pages();
	struct evering_bell *bell;
	struct stage s;
	unsigned int i;

	(void)state;
	stage_init(&s);
	for (i = 0; i < sizeof(nrs) / sizeof(nrs[0]); i++) {
		bell = bells_at_end(pages, &s, nrs[i]);
		EV_EQ(ring_many(s.self.fd, bell, nrs[i]), nrs[i]);
		EV_EQ(results_of(bell, nrs[i]), nrs[i]);
		EV_EQ(bits_of(s.other.fd), 1);
		bell = bells_at_end(pages, &s, nrs[i]);
		EV_EQ(ring_many(s.self.fd, bell, nrs[i] + 1), -EFAULT);
		/* Some may have been rung: then they say so, and the bell is there. */
		EV_EQ(results_of(bell, nrs[i]) > 0, bits_of(s.other.fd) == 1);
	}
	stage_fini(&s);
	munmap(pages, ROOM + EV_PAGE);
}

static void array_of_bells_whose_results_are_lost_is_refused(void **state)
{
	char *pages = make_pages();
	struct evering_bell *bell;
	struct stage s;

	(void)state;
	stage_init(&s);
	bell = bells_at_end(pages, &s, 2);
	EV_EQ(mprotect(pages, ROOM, PROT_READ), 0);
	EV_EQ(ring_many(s.self.fd, bell, 2), -EFAULT);
	EV_EQ(bits_of(s.other.fd), 1);
	EV_EQ(ring_many(s.self.fd, (void *)-8L, 2), -EFAULT);
	EV_EQ(ring_many(s.self.fd, (void *)-1L, 1), -EFAULT);
	EV_EQ(bits_of(s.other.fd), 0);
	stage_fini(&s);
	munmap(pages, ROOM + EV_PAGE);
}

/* --- io_uring ----------------------------------------------------------------------------- */

static void array_of_uring_ring_ends_where_memory_does(void **state)
{
	char *pages = make_pages();
	struct evering_bell *bell;
	struct io_uring ring;
	struct stage s;

	(void)state;
	stage_init(&s);
	EV_CHECK(uring_start(&ring, &uring_kinds[0]));
	bell = bells_at_end(pages, &s, 3);
	uring_put_ring(&ring, s.self.fd, bell, 3, 1);
	EV_EQ(uring_result(&ring, 1), 3);
	uring_put_ring(&ring, s.self.fd, bell, 4, 2);
	EV_EQ(uring_result(&ring, 2), -EFAULT);
	uring_put_ring(&ring, s.self.fd, (struct evering_bell *)-8L, 1, 3);
	EV_EQ(uring_result(&ring, 3), -EFAULT);
	io_uring_queue_exit(&ring);
	stage_fini(&s);
	munmap(pages, ROOM + EV_PAGE);
}

/* A wait that lies in sz bytes and says that it has size of them. */
static int wait_of(struct stage *s, char *pages, size_t sz, uint32_t size)
{
	struct evering_bell_wait wait = { .size = size,
					  .mask = 1,
					  .deadline_ns = EVERING_NO_DEADLINE };
	struct evering_uring_wait cmd = { .wait = (uintptr_t)(pages + ROOM - sz) };
	struct io_uring ring;
	int ret;

	memset(pages, 0, ROOM);
	memcpy(pages + ROOM - sz, &wait, sz < sizeof(wait) ? sz : sizeof(wait));
	EV_CHECK(uring_start(&ring, &uring_kinds[0]));
	EV_EQ(ev_ring(s->other.fd, s->self.slot, s->self.incarnation, 1), 0);
	uring_put(&ring, s->self.fd, EVERING_URING_BELL_WAIT, &cmd, 1);
	ret = uring_result(&ring, 1);
	io_uring_queue_exit(&ring);
	/* Taken when it was delivered, and only then. */
	EV_EQ(bits_of(s->self.fd), ret ? 1 : 0);
	return ret;
}

static void array_of_uring_wait_obeys_the_rules_of_sizes(void **state)
{
	const uint32_t sz = sizeof(struct evering_bell_wait);
	const struct {
		size_t mapped;
		uint32_t size;
		int err;
	} cases[] = {
		{ sz, sz, 0 },
		{ sz + 8, sz + 8, 0 },
		{ EV_PAGE, EV_PAGE, 0 },
		{ sz, 0, -EINVAL },
		{ sz, 4, -EINVAL },
		{ sz, sz - 1, -EINVAL },
		{ ROOM, EV_PAGE + 1, -E2BIG },
		{ sz, 0xffffffff, -E2BIG },
		{ sz - 1, sz, -EFAULT },
		{ 4, sz, -EFAULT },
		{ 3, sz, -EFAULT },
		{ sz, sz + 8, -EFAULT },
	};
	char *pages = make_pages();
	struct stage s;
	unsigned int i;

	(void)state;
	if (!ev_has(EVERING_FEAT_URING_WAIT))
		skip();
	stage_init(&s);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		EV_EQ(wait_of(&s, pages, cases[i].mapped, cases[i].size), cases[i].err);
	stage_fini(&s);
	munmap(pages, ROOM + EV_PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(array_ends_where_memory_does),
		cmocka_unit_test(array_that_cannot_be_written_or_wraps_is_refused),
		cmocka_unit_test(array_of_bells_ends_where_memory_does),
		cmocka_unit_test(array_of_bells_whose_results_are_lost_is_refused),
		cmocka_unit_test(array_of_uring_ring_ends_where_memory_does),
		cmocka_unit_test(array_of_uring_wait_obeys_the_rules_of_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
