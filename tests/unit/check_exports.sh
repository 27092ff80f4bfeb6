#!/bin/sh
# SPDX-License-Identifier: MIT
# check_exports.sh LIBRARY HEADER...: the shared library exports the functions that its
# headers declare with EVR_API, and nothing else.
set -u
library=$1
shift
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

# The name is the last word before the first parenthesis of a declaration.
cat "$@" | grep -v "^#" | tr '\n' ' ' | tr ';{}' '\n\n\n' |
	sed -n 's/.*EVR_API \([^(]*\)(.*/\1/p' | sed 's/[^a-z0-9_]/ /g; s/ *$//; s/.* //' |
	sort >"$dir/declared"
nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
	sort >"$dir/exported"

echo 1..3
failed=0
result() # number, name, file of what is wrong
{
	if [ -s "$3" ]; then
		sed 's/^/# /' "$3"
		echo "not ok $1 - $2"
		failed=1
	else
		echo "ok $1 - $2"
	fi
}
[ "$(wc -l <"$dir/declared")" -ge 30 ] || echo "too few declarations found" >"$dir/few"
touch "$dir/few"
comm -23 "$dir/declared" "$dir/exported" >"$dir/missing"
comm -13 "$dir/declared" "$dir/exported" >"$dir/extra"
result 1 exports_declarations_are_found "$dir/few"
result 2 exports_of_all_that_is_declared "$dir/missing"
result 3 exports_of_nothing_else "$dir/extra"
exit $failed
