#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_abi.sh [TOP]: uapi.h, docs/abi.md and the literals of abi_vectors.h name the
# same things. Every command, struct and constant of the header stands in the
# document in backquotes, every field under the heading or table of its struct;
# nothing called evering_* or EVERING_* stands there that the header does not know.
# The table of a struct has its fields in their order and with their types; the table
# of numbers has those of abi_vectors.h, which test_abi.c compares with the header.
# Prints what differs; exit 1 then.
set -u
top=${1:-$(dirname "$0")/../..}
header=$top/include/evering/uapi.h
doc=$top/docs/abi.md
vectors=$top/tests/module/abi_vectors.h
bad=0

complain()
{
	echo "check_abi: $*" >&2
	bad=1
}

# "struct field" lines of the header; a struct alone has an empty field.
header_fields()
{
	sed 's|/\*.*\*/||' "$header" | awk '
	/^struct [a-z_]+ \{/ { s = $2; print s; next }
	/^};/ { s = ""; next }
	s != "" && /;/ {
		f = $0
		sub(/;.*/, "", f)
		sub(/\[.*/, "", f)
		sub(/.*[ \t]/, "", f)
		print s, f
	}'
}

header_constants()
{
	sed -n 's/^#define \(EVERING_[A-Z0-9_]*\)[[:space:]].*/\1/p' "$header"
}

known_in_vectors()
{
	header_fields | while read -r s f; do
		if [ -z "$f" ]; then
			grep -q "^STRUCT($s, " "$vectors" || echo "struct $s"
		else
			grep -q "^FIELD($s, $f, " "$vectors" || echo "field $s.$f"
		fi
	done
	header_constants | grep -v -e '^EVERING_DEVICE$' -e '^EVERING_IOC_MAGIC$' |
	while read -r c; do
		grep -q "^NUMBER($c, " "$vectors" || echo "constant $c"
	done
}

# The names in backquotes between the heading or first mention of a struct and the next.
doc_fields()
{
	awk '
	{
		rest = $0
		while (match(rest, /struct evering_[a-z_]+/)) {
			s = substr(rest, RSTART + 7, RLENGTH - 7)
			rest = substr(rest, RSTART + RLENGTH)
		}
		rest = $0
		while (match(rest, /`[^`]+`/)) {
			word = substr(rest, RSTART + 1, RLENGTH - 2)
			rest = substr(rest, RSTART + RLENGTH)
			print s, word
		}
	}' "$doc"
}

known_in_doc()
{
	doc_fields >"$work/doc"
	header_fields | while read -r s f; do
		if [ -z "$f" ]; then
			grep -q "struct $s\b" "$doc" || echo "struct $s"
			continue
		fi
		case $f in __*) continue ;; esac
		grep -q -E "^$s (\.?$f|$f\[.*)\$" "$work/doc" || echo "field $s.$f"
	done
	header_constants | while read -r c; do
		grep -q "\b$c\b" "$doc" || echo "constant $c"
	done
}

unknown_in_doc()
{
	grep -o -E '\bEVERING_[A-Z0-9_]+\b' "$doc" | sort -u | while read -r c; do
		grep -q -E "\b$c" "$header" || echo "constant $c"
	done
	grep -o -E 'struct evering_[a-z_]+' "$doc" | sort -u | while read -r _ s; do
		grep -q "^struct $s {" "$header" || echo "struct $s"
	done
}

# "struct field[...] type" of the header and of the tables, in their order.
header_types()
{
	sed 's|/\*.*\*/||' "$header" | awk '
	/^struct [a-z_]+ \{/ { s = $2; next }
	/^};/ { s = "" }
	s != "" && /;/ {
		sub(/;.*/, "")
		type = $1
		sub(/^[ \t]*[a-z_0-9]+[ \t]+/, "")
		if (type == "struct") {
			sub(/^[a-z_]+[ \t]+/, "")
			type = "struct"
		}
		sub(/^__(aligned_)?/, "", type)
		print s, $0, type
	}'
}

# A struct in a struct is told by its bytes, as abi_vectors.h has them.
doc_types()
{
	awk -F ' *[|] *' '
	/^\| field of `struct / { split($2, w, "[ `]+"); s = w[4]; next }
	!/^\|/ { s = "" }
	s != "" && $2 ~ /^`/ {
		gsub(/`/, "", $2)
		print s, $2, ($3 ~ /^[0-9]+ bytes$/ ? "struct" : $3)
	}' "$doc"
}

numbers_of_vectors()
{
	sed -n 's/^NUMBER(\([A-Z0-9_]*\), \(.*\))$/\1 \2/p' "$vectors"
}

numbers_of_doc()
{
	sed -n '/^## Numbers$/,$ s/^| `\([A-Z0-9_]*\)` | \(.*\) |$/\1 \2/p' "$doc"
}

# The lines of two files that are not the same, or not in the same place. The order of the
# structs themselves is the document's own: they are sorted, stably.
differ()	# what, file, file
{
	diff "$2" "$3" | sed -n "s/^</$1: uapi.h has/p; s/^>/$1: docs\/abi.md has/p"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
known_in_vectors >"$work/missing"
while read -r line; do
	complain "not in abi_vectors.h: $line"
done <"$work/missing"
if [ ! -e "$doc" ]; then
	complain "no $doc"
	exit 1
fi
known_in_doc >"$work/missing"
while read -r line; do
	complain "not in docs/abi.md: $line"
done <"$work/missing"
unknown_in_doc >"$work/unknown"
while read -r line; do
	complain "in docs/abi.md, not in uapi.h: $line"
done <"$work/unknown"
header_types | sort -s -k 1,1 >"$work/header_types"
doc_types | sort -s -k 1,1 >"$work/doc_types"
numbers_of_vectors >"$work/numbers"
numbers_of_doc >"$work/doc_numbers"
{
	differ field "$work/header_types" "$work/doc_types"
	differ number "$work/numbers" "$work/doc_numbers"
} >"$work/differs"
while read -r line; do
	complain "$line"
done <"$work/differs"
exit $bad
