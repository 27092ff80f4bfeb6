// SPDX-License-Identifier: GPL-2.0
/* The files that the suites do not include but need: evering_kunit.ko stands alone. */
#include "../inode.c"
#include "../grow.c"
#include "../shmem.c"
#include "../peer.c"
#include "../death.c"
#include "../uring.c"
/* Last: it makes each later inclusion of trace.h define the tracepoints. */
#include "../seen.c"
