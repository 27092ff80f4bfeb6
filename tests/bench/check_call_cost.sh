#!/bin/sh
# SPDX-License-Identifier: MIT
# check_call_cost.sh PROGRAM: instructions for a request with its answer, both ends together.
# Fails beyond the bounds.
set -u
program=$1
. "$(dirname "$0")/slope.sh"

echo 1..2
verdict call_of_one_byte_costs_at_most "$(slope 4000 1)" 2450
verdict call_of_1_KiB_costs_at_most "$(slope 4000 1024)" 2700
exit $failed
