/* SPDX-License-Identifier: MIT */
/* What the files of leases share. */
#ifndef EVERING_LIB_LEASE_H
#define EVERING_LIB_LEASE_H

#include <sys/stat.h>

#include <evering/lease.h>

/* Can this range of an fd be lent? 0, and *st; -EINVAL, -EPERM, -EBADF. */
int evr_lease_check_fd(int fd, uint64_t off, uint64_t sz, struct stat *st);

#endif
