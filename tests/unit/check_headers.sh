#!/bin/sh
# SPDX-License-Identifier: MIT
# check_headers.sh INCLUDE_DIR CC CXX: each public header compiles alone, as C11 and
# as C++17, without a warning. (-Wshadow is for C: C++ takes struct and function of one
# name, as in stat(2), for a shadow.)
set -u
include=$1 cc=$2 cxx=$3
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

nr=0
for header in "$include"/evering/*.h; do
	nr=$((nr + 2))
done
echo "1..$nr"
nr=0 failed=0

compile() # name of the case, compiler...
{
	name=$1
	shift
	nr=$((nr + 1))
	if "$@" -Wall -Wextra -Werror -I"$include" -fsyntax-only >"$dir/log" 2>&1; then
		echo "ok $nr - $name"
	else
		sed 's/^/# /' "$dir/log"
		echo "not ok $nr - $name"
		failed=1
	fi
}

for header in "$include"/evering/*.h; do
	noun=$(basename "$header" .h)
	printf '#include <evering/%s.h>\n#include <evering/%s.h>\nint x;\n' "$noun" "$noun" >"$dir/alone.c"
	cp "$dir/alone.c" "$dir/alone.cc"
	compile "header_${noun}_compiles_alone_as_c11" "$cc" -std=c11 -Wshadow -pedantic "$dir/alone.c"
	compile "header_${noun}_compiles_alone_as_cxx17" "$cxx" -std=c++17 "$dir/alone.cc"
done
exit $failed
