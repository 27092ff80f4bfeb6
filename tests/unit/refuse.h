/* SPDX-License-Identifier: MIT */
/*
 * System calls refused by a filter, as containers and hardened services do. The filter is
 * for ever, of the calling thread and what it starts: so each case is a child.
 */
#ifndef EVERING_TEST_REFUSE_H
#define EVERING_TEST_REFUSE_H

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

struct refusal {
	uint32_t nr; /* SYS_* */
	int err; /* positive */
	int64_t arg; /* only with this first argument; -1: with any */
};

#define REFUSALS_MAX 8
#define REFUSE_LOAD(field) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))

/* Return: 0, or -errno where the kernel has no filters. */
static inline int refuse(const struct refusal *list, int nr)
{
	struct sock_filter code[5 * REFUSALS_MAX + 1];
	struct sock_fprog program = { .filter = code };
	unsigned short at = 0;
	int i;

	for (i = 0; i < nr; i++) {
		bool any = list[i].arg < 0;

		code[at++] = (struct sock_filter)REFUSE_LOAD(nr);
		code[at++] =
			(struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, list[i].nr, 0, 3);
		code[at++] = (struct sock_filter)REFUSE_LOAD(args[0]);
		code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
							  (uint32_t)list[i].arg, 0, !any);
		/* Reached by falling through both ways, when any will do. */
		code[at++] = (struct sock_filter)BPF_STMT(
			BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)list[i].err);
	}
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	program.len = at;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
		return -errno;
	return 0;
}

/* io_uring as a whole. */
static inline int refuse_uring(int err)
{
	const struct refusal list[] = { { SYS_io_uring_setup, err, -1 } };

	return refuse(list, 1);
}

#endif
