// SPDX-License-Identifier: MIT
/*
 * Layout of the ABI against literals, and a 32-bit caller. The layout cases run
 * anywhere; the 32-bit one needs /dev/evering and a kernel that runs such programs.
 *
 * Seen to fail: with two fields of uapi.h swapped, compat_ioctl missing, and a
 * wrong abi_version.
 */

#include <sys/wait.h>

#include "abi32.h"
#include "device.h"

/* The 32-bit program is carried along, so that one file is copied to the machine. */
__asm__(".section .rodata\n"
	".global abi32_start, abi32_end\n"
	"abi32_start: .incbin \"" ABI32_PROGRAM "\"\n"
	"abi32_end:\n"
	".previous");
extern const char abi32_start[], abi32_end[];

struct vector {
	const char *name;
	unsigned long long is, wanted;
};

struct layout {
	const char *type, *field;
	size_t offset, offset_wanted, sz, sz_wanted;
};

#define STRUCT(type, bytes) { #type, sizeof(struct type), bytes },
#define FIELD(type, field, offset, bytes)
#define NUMBER(name, value)
static const struct vector structs[] = {
#include "abi_vectors.h"
};
#undef STRUCT
#undef FIELD
#undef NUMBER

#define STRUCT(type, bytes)
#define FIELD(type, field, offset, bytes)                                                         \
	{ #type, #field, offsetof(struct type, field), offset, sizeof(((struct type *)0)->field), \
	  bytes },
#define NUMBER(name, value)
static const struct layout fields[] = {
#include "abi_vectors.h"
};
#undef STRUCT
#undef FIELD
#undef NUMBER

#define STRUCT(type, bytes)
#define FIELD(type, field, offset, bytes)
#define NUMBER(name, value) { #name, (unsigned long long)(name), (unsigned long long)(value) },
static const struct vector numbers[] = {
#include "abi_vectors.h"
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void abi_struct_sizes_literal(void **state)
{
	size_t i;

	(void)state;
	EV_EQ(sizeof(long), 8);
	for (i = 0; i < COUNT(structs); i++)
		if (structs[i].is != structs[i].wanted)
			ev_fail(__FILE__, __LINE__, "struct %s: %llu bytes, not %llu",
				structs[i].name, structs[i].is, structs[i].wanted);
}

static void abi_field_offsets_literal(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(fields); i++) {
		const struct layout *f = &fields[i];

		if (f->offset != f->offset_wanted || f->sz != f->sz_wanted)
			ev_fail(__FILE__, __LINE__, "%s.%s: %zu bytes at %zu, not %zu at %zu",
				f->type, f->field, f->sz, f->offset, f->sz_wanted,
				f->offset_wanted);
	}
}

/* No hole that a compiler could fill in another way, or leave kernel memory in. */
static void abi_fields_tile_structs(void **state)
{
	size_t i, k, end;

	(void)state;
	for (i = 0; i < COUNT(structs); i++) {
		end = 0;
		for (k = 0; k < COUNT(fields); k++) {
			if (strcmp(fields[k].type, structs[i].name))
				continue;
			if (fields[k].offset != end)
				ev_fail(__FILE__, __LINE__, "hole before %s.%s", fields[k].type,
					fields[k].field);
			end += fields[k].sz;
		}
		if (end != structs[i].is)
			ev_fail(__FILE__, __LINE__, "hole at the end of %s", structs[i].name);
	}
}

static void abi_numbers_literal(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(numbers); i++)
		if (numbers[i].is != numbers[i].wanted)
			ev_fail(__FILE__, __LINE__, "%s is %#llx, not %#llx", numbers[i].name,
				numbers[i].is, numbers[i].wanted);
}

/* Start abi32 from a memfd with its report in out: its wait status, or -errno. */
static int run_abi32(struct abi32_report *out)
{
	const size_t sz = (size_t)(abi32_end - abi32_start);
	char *const argv[] = { (char *)"abi32", NULL };
	int program = memfd_create("abi32", MFD_CLOEXEC);
	int pipes[2], status;
	pid_t pid;

	EV_CHECK(program >= 0);
	EV_EQ(write(program, abi32_start, sz), sz);
	EV_EQ(pipe2(pipes, O_CLOEXEC), 0);
	pid = fork();
	EV_CHECK(pid >= 0);
	if (pid == 0) {
		dup2(pipes[1], STDOUT_FILENO);
		alarm(60);
		fexecve(program, argv, argv + 1);
		_exit(errno == ENOEXEC ? 100 : 101);
	}
	close(pipes[1]);
	memset(out, 0, sizeof(*out));
	EV_CHECK(read(pipes[0], out, sizeof(*out)) >= 0);
	EV_EQ(waitpid(pid, &status, 0), pid);
	close(pipes[0]);
	close(program);
	return status;
}

static void abi_compat_caller_served(void **state)
{
	struct abi32_report report;
	struct evering_info info;
	int status;

	(void)state;
	if (access(EVERING_DEVICE, F_OK)) {
		print_message("# skip: no %s on this machine\n", EVERING_DEVICE);
		skip();
	}
	status = run_abi32(&report);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 100) {
		print_message("# skip: this kernel runs no 32-bit programs\n");
		skip();
	}
	EV_EQ(status, 0);
	EV_EQ(report.magic, ABI32_MAGIC);
	EV_CHECK(report.open >= 0);
	EV_EQ(report.info_ret, 0);
	EV_EQ(report.create_ret, 0);
	EV_EQ(report.attach_ret, 0);
	EV_EQ(report.ring_ret, 1);
	EV_EQ(report.wait_ret, 0);
	EV_EQ(report.list_ret, 0);
	EV_EQ(report.read_ret, -EINVAL);

	info = ev_info();
	EV_EQ(report.info.abi_version, EVERING_ABI_VERSION);
	EV_EQ(report.info.features, info.features);
	EV_EQ(report.info.segment_bytes_max, info.segment_bytes_max);
	EV_EQ(report.info.peers_max, info.peers_max);
	EV_EQ(report.info.block_size, EVERING_BLOCK_SIZE);
	EV_EQ(report.attach.cookie, ABI32_COOKIE);
	EV_EQ(report.wait.bells.bits, ABI32_BITS);
	EV_EQ(report.wait.bells.rang[0], 1ULL << report.attach.slot);
	EV_EQ(report.list.nr, 1);
	EV_EQ(report.peer.slot, report.attach.slot);
	EV_EQ(report.peer.incarnation, report.attach.incarnation);
	EV_EQ(report.peer.cookie, ABI32_COOKIE);
	EV_EQ(report.peer.state, EVERING_PEER_LIVE);
	EV_EQ(report.peer.rung, 1);
}

/* What is compiled in matches the module that is loaded. */
static void abi_module_agrees(void **state)
{
	struct evering_info info;

	(void)state;
	if (access(EVERING_DEVICE, F_OK)) {
		print_message("# skip: no %s on this machine\n", EVERING_DEVICE);
		skip();
	}
	info = ev_info();
	EV_EQ(info.abi_version, EVERING_ABI_VERSION);
	EV_EQ(info.block_size, EVERING_BLOCK_SIZE);
	EV_EQ(info.page_size, sysconf(_SC_PAGESIZE));
	EV_CHECK(info.peers_max >= 1 && info.peers_max <= EVERING_PEERS_MAX);
	EV_EQ(info.size, sizeof(info));
	EV_EQ(info.__resv, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(abi_struct_sizes_literal),
		cmocka_unit_test(abi_field_offsets_literal),
		cmocka_unit_test(abi_fields_tile_structs),
		cmocka_unit_test(abi_numbers_literal),
		cmocka_unit_test(abi_module_agrees),
		cmocka_unit_test(abi_compat_caller_served),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
