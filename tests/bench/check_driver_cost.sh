#!/bin/sh
# SPDX-License-Identifier: MIT
# check_driver_cost.sh PROGRAM: instructions for each no-op of the driver, by callgrind:
# the slope between two lengths, so that neither start nor end counts. They are the same
# in every run; a clock is not looked at. Fails beyond the bounds.
set -u
program=$1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
command -v valgrind >/dev/null || { echo "1..0 # SKIP no valgrind"; exit 0; }
"$program" driver 1 1000 >/dev/null || { echo "1..0 # SKIP no io_uring here (status $?)"; exit 0; }

counted() # what, batch, number
{
	valgrind --tool=callgrind --callgrind-out-file="$dir/out" "$program" "$1" "$2" "$3" \
		>"$dir/log" 2>&1 || { sed 's/^/# /' "$dir/log" >&2; return 1; }
	sed -n 's/^totals: //p' "$dir/out"
}

slope() # what, batch: instructions for one, rounded
{
	few=$(counted "$1" "$2" 12800) && many=$(counted "$1" "$2" 25600) || return 1
	echo $(((many - few + 6400) / 12800))
}

echo 1..6
nr=0 failed=0
verdict() # name, figure, bound
{
	nr=$((nr + 1))
	echo "# $1: $2 instructions, at most $3"
	if [ -n "$2" ] && [ "$2" -le "$3" ]; then
		echo "ok $nr - $1"
	else
		echo "not ok $nr - $1"
		failed=1
	fi
}
verdict driver_nop_in_batches_of_32_costs_at_most "$(slope driver 32)" 120
verdict driver_nop_alone_costs_at_most "$(slope driver 1)" 215
verdict driver_nop_in_batches_of_128_costs_at_most "$(slope driver 128)" 118
# What the machine's liburing takes for the same: a bound here says that we measure it right.
verdict raw_nop_in_batches_of_32_costs_at_most "$(slope raw 32)" 80
verdict raw_nop_alone_costs_at_most "$(slope raw 1)" 160
nr=$((nr + 1))
if "$program" driver 32 100000 >"$dir/log"; then
	echo "ok $nr - driver_nop_allocates_nothing"
else
	sed 's/^/# /' "$dir/log"
	echo "not ok $nr - driver_nop_allocates_nothing"
	failed=1
fi
exit $failed
