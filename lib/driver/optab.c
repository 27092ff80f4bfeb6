// SPDX-License-Identifier: MIT
/* The table of operations: one row for each, in op_<family>.c. */
#include "driver.h"

#define ROWS(row)                                                                                  \
	row(NOP, nop) row(READ, read) row(WRITE, write) row(READV, readv) row(WRITEV, writev) row( \
		FSYNC, fsync) row(SYNC_RANGE, sync_range) row(FALLOCATE, fallocate)                \
		row(FTRUNCATE, ftruncate) row(OPEN, open) row(CLOSE, close) row(STATX, statx) row( \
			UNLINK, unlink) row(RENAME, rename) row(MKDIR, mkdir) row(ACCEPT, accept)  \
			row(CONNECT, connect) row(SHUTDOWN, shutdown) row(SOCKET, socket) row(     \
				SEND, send) row(RECV, recv) row(SENDMSG, sendmsg) row(RECVMSG,     \
										      recvmsg)     \
				row(SEND_ZC, send_zc) row(SENDMSG_ZC, sendmsg_zc) row(POLL, poll)  \
					row(SPLICE, splice) row(TEE, tee) row(TIMER, timer) row(   \
						FUTEX_WAIT, futex_wait) row(FUTEX_WAKE,            \
									    futex_wake)            \
						row(MESSAGE, message) row(BELL_WAIT, bell_wait)    \
							row(BELL_RING, bell_ring) row(RAW, raw)    \
								row(BELL_PARK, bell_park)

#define DECLARE(code, name) extern const struct row evr_row_##name;
#define ENTRY(code, name) [EVR_OP_##code] = &evr_row_##name,

ROWS(DECLARE)

const struct row *const evr_rows[ROWS_NR] = { ROWS(ENTRY) };
