# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# What the checks of cost share; sourced with program set. Instructions are counted by
# callgrind, as the slope between two lengths, so that neither start nor end counts. They
# are the same in every run; a clock is not looked at.
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
command -v valgrind >/dev/null || { echo "1..0 # SKIP no valgrind"; exit 0; }
nr=0 failed=0

counted() # arguments of the program
{
	valgrind --tool=callgrind --callgrind-out-file="$dir/out" "$program" "$@" \
		>"$dir/log" 2>&1 || { sed 's/^/# /' "$dir/log" >&2; return 1; }
	sed -n 's/^totals: //p' "$dir/out"
}

slope() # length, arguments before it: instructions for one, rounded
{
	length=$1
	shift
	few=$(counted "$@" "$length") && many=$(counted "$@" $((2 * length))) || return 1
	echo $(((many - few + length / 2) / length))
}

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
