#!/bin/sh
# SPDX-License-Identifier: MIT
# check_mpmc_cost.sh PROGRAM: instructions for one element into a queue of many and out
# again, by callgrind: the slope between two lengths. The same in every run; no clock.
set -u
program=$1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
command -v valgrind >/dev/null || { echo "1..0 # SKIP no valgrind"; exit 0; }

counted() # what, number
{
	valgrind --tool=callgrind --callgrind-out-file="$dir/out" "$program" "$1" "$2" \
		>"$dir/log" 2>&1 || { sed 's/^/# /' "$dir/log" >&2; return 1; }
	sed -n 's/^totals: //p' "$dir/out"
}

slope() # what: instructions for one pair, rounded
{
	few=$(counted "$1" 4000) && many=$(counted "$1" 8000) || return 1
	echo $(((many - few + 2000) / 4000))
}

echo 1..2
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
verdict mpmc_push_and_pop_of_one_costs_at_most "$(slope evering)" 200
# A bound on the queue that survives no death says that we count right.
verdict vyukov_push_and_pop_costs_at_most "$(slope vyukov)" 50
exit $failed
