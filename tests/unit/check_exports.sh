#!/bin/sh
# SPDX-License-Identifier: MIT
# check_exports.sh LIBRARY HEADER...: the shared library exports the functions that its
# headers declare with EVR_API, and nothing else.
set -u
# shellcheck source=tests/unit/checks.sh
. "$(dirname "$0")/checks.sh"
library=$1
shift
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

declared "$@" >"$dir/declared"
nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
	sort >"$dir/exported"

echo 1..3
[ "$(wc -l <"$dir/declared")" -ge 30 ] || echo "too few declarations found" >"$dir/few"
touch "$dir/few"
comm -23 "$dir/declared" "$dir/exported" >"$dir/missing"
comm -13 "$dir/declared" "$dir/exported" >"$dir/extra"
result 1 exports_declarations_are_found "$dir/few"
result 2 exports_of_all_that_is_declared "$dir/missing"
result 3 exports_of_nothing_else "$dir/extra"
exit $failed
