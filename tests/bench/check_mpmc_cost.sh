#!/bin/sh
# SPDX-License-Identifier: MIT
# check_mpmc_cost.sh PROGRAM: instructions for one element into a queue of many and out
# again, by a member alone. Fails beyond the bounds.
set -u
program=$1
. "$(dirname "$0")/slope.sh"

echo 1..3
verdict mpmc_push_and_pop_of_one_costs_at_most "$(slope 4000 evering)" 200
verdict mpmc_push_and_pop_by_32_costs_each_at_most "$(slope 32000 evering 32)" 60
# A bound on the queue that survives no death says that we count right.
verdict vyukov_push_and_pop_costs_at_most "$(slope 4000 vyukov)" 50
exit $failed
