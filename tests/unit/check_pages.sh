#!/bin/sh
# SPDX-License-Identifier: MIT
# check_pages.sh INCLUDE_DIR MAN_DIR: every function that is declared with EVR_API
# stands in a man page, every function of a page is in a header, and every page of
# section 3 says what is returned and which errors there are. (evr_lane_* is what rings
# are made of; its header describes it.) In the headers a comment stands above each
# function, or above the first of several that stand together.
set -u
# shellcheck source=tests/unit/checks.sh
. "$(dirname "$0")/checks.sh"
include=$1 man=$2
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

declared "$include"/evering/*.h | grep -v '^evr_lane_' >"$dir/declared"
# Written as *name*() in a text, as *type name(...) in a synopsis; *name*(3) is a page.
grep -ho 'evr_[a-z_]*\**([^37]' "$man"/*.scd | tr -d '*(' | sed 's/.$//' | sort -u >"$dir/described"
grep -hEo 'evr_[a-z0-9_]+\(' "$include"/evering/*.h | tr -d '(' | sort -u >"$dir/known"

# Functions without one, of the header on stdin.
uncommented()
{
	awk '/^$/ { said = 0 }
	/^(\/\*| \*)/ { said = 1 }
	/^(EVR_API|static inline) / && !said { sub(/\(.*/, ""); sub(/.*[ *]/, ""); print }'
}
for header in "$include"/evering/*.h; do
	uncommented <"$header"
done >"$dir/uncommented"
cat >"$dir/control.h" <<'EOF'
/* Said. */
EVR_API int evr_said(void);
EVR_API int evr_said_together(void);

EVR_API struct evr_peer *evr_unsaid(void);

/* Of something else. */
struct evr_peer;

static inline void evr_unsaid_inline(int a,
				     int b)
{
	/* Not above. */
}
EOF
[ "$(uncommented <"$dir/control.h" | tr '\n' ' ')" = "evr_unsaid evr_unsaid_inline " ] ||
	echo "a function without a comment is not found" >"$dir/blind"
touch "$dir/blind"

comm -23 "$dir/declared" "$dir/described" >"$dir/missing"
comm -23 "$dir/described" "$dir/known" >"$dir/unknown"
for page in "$man"/*.3.scd; do
	grep -q '^# RETURN VALUE' "$page" && grep -q '^# ERRORS' "$page" || echo "$page"
done >"$dir/incomplete"

# The page to begin with names all others.
for page in "$man"/*.3.scd; do
	name=${page##*/}
	grep -qF "*${name%.3.scd}*(3)" "$man/evering.7.scd" || echo "$name"
done >"$dir/unlisted"

echo 1..6
result 1 pages_describe_all_functions "$dir/missing"
result 2 pages_describe_no_unknown_function "$dir/unknown"
result 3 pages_have_return_values_and_errors "$dir/incomplete"
result 4 headers_have_a_comment_for_each_function "$dir/uncommented"
result 5 headers_without_a_comment_are_found "$dir/blind"
result 6 pages_are_all_listed_in_evering_7 "$dir/unlisted"
exit $failed
