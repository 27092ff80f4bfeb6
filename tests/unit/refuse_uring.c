/* SPDX-License-Identifier: MIT */
/* refuse_uring ERRNO PROGRAM ARGS...: run a program for which there is no io_uring. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "refuse.h"

int main(int argc, char **argv)
{
	const char *name = argc > 2 ? argv[1] : "";
	int err = !strcmp(name, "ENOSYS") ? ENOSYS : !strcmp(name, "EPERM") ? EPERM : 0;

	if (!err) {
		fprintf(stderr, "usage: refuse_uring ENOSYS|EPERM PROGRAM [ARG...]\n");
		return 2;
	}
	err = refuse_uring(err);
	if (err) {
		printf("1..0 # SKIP no system call filters here: %s\n", strerror(-err));
		return 77;
	}
	execv(argv[2], argv + 2);
	perror(argv[2]);
	return 1;
}
