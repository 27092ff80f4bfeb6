#!/bin/sh
# SPDX-License-Identifier: MIT
# check_driver_cost.sh NOP PARTS READ: instructions for each no-op of the driver, for parts of
# it, and for a read. Fails beyond the bounds.
set -u
program=$1 parts=$2 read=$3
. "$(dirname "$0")/slope.sh"
"$program" driver 1 1000 >/dev/null || { echo "1..0 # SKIP no io_uring here (status $?)"; exit 0; }

holds() # name, program, arguments: it ends with 0
{
	name=$1
	shift
	nr=$((nr + 1))
	if "$@" >"$dir/log"; then
		echo "ok $nr - $name"
	else
		sed 's/^/# /' "$dir/log"
		echo "not ok $nr - $name"
		failed=1
	fi
}

tests=16
"$read" driver fixed 3200 || tests=12
echo 1..$tests
verdict driver_nop_in_batches_of_32_costs_at_most "$(slope 12800 driver 32)" 120
verdict driver_nop_alone_costs_at_most "$(slope 12800 driver 1)" 215
verdict driver_nop_in_batches_of_8_costs_at_most "$(slope 12800 driver 8)" 130
verdict driver_nop_in_batches_of_128_costs_at_most "$(slope 12800 driver 128)" 118
# What the machine's liburing takes for the same: a bound here says that we measure it right.
verdict raw_nop_in_batches_of_32_costs_at_most "$(slope 12800 raw 32)" 80
verdict raw_nop_in_batches_of_8_costs_at_most "$(slope 12800 raw 8)" 90
verdict raw_nop_alone_costs_at_most "$(slope 12800 raw 1)" 160
holds driver_nop_allocates_nothing "$program" driver 32 100000
holds driver_enters_the_kernel_once_a_batch "$parts" enters 32000

program=$parts
# With all that is written into it: the list of free slots alone is a part of that.
verdict driver_slot_taken_and_freed_costs_at_most "$(slope 12800 slot)" 90
verdict driver_injection_while_awake_costs_at_most "$(slope 12800 inject)" 80
holds driver_injection_while_awake_wakes_nobody "$parts" inject 32000

program=$read
[ $tests = 16 ] || { echo "# no reads: here no memory may be registered"; exit $failed; }
verdict driver_read_costs_at_most "$(slope 12800 driver plain)" 265
verdict driver_read_of_a_fixed_file_into_a_region_costs_at_most "$(slope 12800 driver fixed)" 480
verdict raw_read_costs_at_most "$(slope 12800 raw plain)" 90
verdict raw_read_fixed_costs_at_most "$(slope 12800 raw fixed)" 90
exit $failed
