// SPDX-License-Identifier: MIT
/* Nothing at all, to measure with; and the row of evr_driver_sqe(), which only names it. */
#include "driver.h"

static int nop_call(struct evr_driver *d, struct extra *extra, int fd)
{
	return 0;
}

const struct row evr_row_nop = {
	.name = "nop",
	.opcode = IORING_OP_NOP,
	.flags = ROW_BARE | ROW_INLINE,
	.allowed = EVR_OP_ASYNC | EVR_OP_BACKGROUND,
	.call = nop_call,
};

const struct row evr_row_raw = {
	.name = "raw",
	.flags = ROW_BARE | ROW_NO_RING,
};
