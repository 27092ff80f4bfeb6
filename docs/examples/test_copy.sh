#!/bin/sh
# SPDX-License-Identifier: MIT
# What copy_through_peer copies is the same, of each length around its pieces.
set -eu

program=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for sz in 0 1 32767 32768 32769 3000000; do
	head -c "$sz" /dev/urandom >"$dir/from"
	"$program" "$dir/from" "$dir/to" >"$dir/said"
	cmp "$dir/from" "$dir/to"
	grep -qx "$sz bytes" "$dir/said"
done
! "$program" "$dir/missing" "$dir/to" 2>/dev/null
