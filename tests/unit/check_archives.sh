#!/bin/sh
# SPDX-License-Identifier: MIT
# check_archives.sh LIBRARY LIBRARY: a program may link both static libraries, so no name
# is defined in both. Seen to fail: evr_pool_reap was.
set -u
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

defined() # library
{
	nm -g --defined-only "$1" | awk 'NF == 3 { print $3 }' | sort -u
}

defined "$1" >"$dir/first"
defined "$2" >"$dir/second"
echo 1..1
if [ ! -s "$dir/first" ] || [ ! -s "$dir/second" ]; then
	echo "# a library without names: $1 or $2"
	echo "not ok 1 - archives_define_no_name_twice"
	exit 1
fi
comm -12 "$dir/first" "$dir/second" >"$dir/twice"
if [ -s "$dir/twice" ]; then
	sed 's/^/# defined in both: /' "$dir/twice"
	echo "not ok 1 - archives_define_no_name_twice"
	exit 1
fi
echo "ok 1 - archives_define_no_name_twice"
