#!/bin/sh
# SPDX-License-Identifier: MIT
# check_heap_cost.sh PROGRAM: instructions for a block got and freed. Fails beyond the bounds.
set -u
program=$1
. "$(dirname "$0")/slope.sh"

echo 1..4
verdict heap_block_of_64_bytes_costs_at_most "$(slope 32000 64)" 130
verdict heap_block_of_1_KiB_costs_at_most "$(slope 32000 1024)" 130
verdict heap_block_of_random_size_costs_at_most "$(slope 32000 random)" 160
verdict heap_block_handed_over_by_32_costs_at_most "$(slope 32000 remote)" 900
exit $failed
