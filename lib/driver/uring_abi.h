/* SPDX-License-Identifier: MIT */
/* What the kernel's ABI has and the headers of liburing 2.3 lack; by value, since an enum cannot be asked for. */
#ifndef EVERING_DRIVER_URING_ABI_H
#define EVERING_DRIVER_URING_ABI_H

#define ABI_OP_FUTEX_WAIT 51 /* Linux 6.7 */
#define ABI_OP_FUTEX_WAKE 52
#define ABI_OP_FTRUNCATE 55 /* 6.9 */

#define ABI_FUTEX2_SIZE_U32 2

#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

/* Of the result in a NOTIF (6.2). */
#define ABI_NOTIF_ZC_COPIED (1U << 31)
#define ABI_SEND_ZC_REPORT_USAGE (1U << 3)

#endif
