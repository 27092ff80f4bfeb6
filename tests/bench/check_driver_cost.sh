#!/bin/sh
# SPDX-License-Identifier: MIT
# check_driver_cost.sh PROGRAM: instructions for each no-op of the driver. Fails beyond the
# bounds.
set -u
program=$1
. "$(dirname "$0")/slope.sh"
"$program" driver 1 1000 >/dev/null || { echo "1..0 # SKIP no io_uring here (status $?)"; exit 0; }

echo 1..6
verdict driver_nop_in_batches_of_32_costs_at_most "$(slope 12800 driver 32)" 120
verdict driver_nop_alone_costs_at_most "$(slope 12800 driver 1)" 215
verdict driver_nop_in_batches_of_128_costs_at_most "$(slope 12800 driver 128)" 118
# What the machine's liburing takes for the same: a bound here says that we measure it right.
verdict raw_nop_in_batches_of_32_costs_at_most "$(slope 12800 raw 32)" 80
verdict raw_nop_alone_costs_at_most "$(slope 12800 raw 1)" 160
nr=$((nr + 1))
if "$program" driver 32 100000 >"$dir/log"; then
	echo "ok $nr - driver_nop_allocates_nothing"
else
	sed 's/^/# /' "$dir/log"
	echo "not ok $nr - driver_nop_allocates_nothing"
	failed=1
fi
exit $failed
