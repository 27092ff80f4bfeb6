# SPDX-License-Identifier: MIT
# What every test of the command line begins with: cases, checks, TAP. POSIX sh, and busybox is enough.
#
#   it NAME            begins a case
#   run ARGS...        runs the tool: $status, $OUT and $ERR (files)
#   ... checks ...     each that fails makes the case fail and says why
#   finish             ends the last case and the program
#
# EVERING_TOOL is the tool, EVERING_BACKEND is device or local.

: "${EVERING_TOOL:=evering}"
: "${EVERING_BACKEND:=local}"
SECONDS_MAX=60
[ -n "$EVERING_VM" ] && SECONDS_MAX=300

WORK=$(mktemp -d "${TMPDIR:-/tmp}/evering-cli.XXXXXX") || exit 99
OUT=$WORK/out
ERR=$WORK/err
# No other test, nor another run of this one, has these names.
PREFIX=cli-$$
# To listen at; below those that the kernel gives to whoever connects (ip_local_port_range).
PORT=$((12000 + $$ % 20000))

case_nr=0
case_name=
case_bad=
any_bad=0
status=

clean_up()
{
	rm -rf "$WORK"
}
trap clean_up EXIT

# The URI of a segment of this test.
uri()
{
	echo "$EVERING_BACKEND:$PREFIX-$1"
}

end_case()
{
	[ -z "$case_name" ] && return
	case_nr=$((case_nr + 1))
	if [ -n "$case_bad" ]; then
		echo "not ok $case_nr - $case_name"
		any_bad=1
	else
		echo "ok $case_nr - $case_name"
	fi
	case_name=
	case_bad=
}

it()
{
	end_case
	case_name=$1
}

# skip NAME WHY
skip()
{
	end_case
	case_nr=$((case_nr + 1))
	echo "ok $case_nr - $1 # SKIP $2"
}

bad()
{
	case_bad=1
	echo "# $case_name: $*"
}

show()
{
	sed 's/^/#   | /' "$1" | head -20
}

run()
{
	timeout "$SECONDS_MAX" "$EVERING_TOOL" "$@" >"$OUT" 2>"$ERR" </dev/null
	status=$?
}

ends_with()
{
	[ "$status" = "$1" ] && return
	bad "ended with $status, wanted $1"
	show "$ERR"
}

is()
{
	[ "$1" = "$2" ] || bad "$3: '$1', wanted '$2'"
}

# An extended regular expression in stdout, or in stderr.
out_has()
{
	grep -Eq -e "$1" "$OUT" && return
	bad "stdout has no '$1'"
	show "$OUT"
}

out_lacks()
{
	grep -Eq -e "$1" "$OUT" && bad "stdout has '$1'"
}

err_has()
{
	grep -Eq -e "$1" "$ERR" && return
	bad "stderr has no '$1'"
	show "$ERR"
}

err_lacks()
{
	grep -Eq -e "$1" "$ERR" && bad "stderr has '$1'"
}

err_is_empty()
{
	[ -s "$ERR" ] || return
	bad "stderr is not empty"
	show "$ERR"
}

# Every failure names the subcommand, the thing, the reason, and what to do.
err_is_message()
{
	err_has "^evering: $1: .+: .+"
}

# json FILE: every line or the whole is JSON, as far as there is something to judge it by.
json()
{
	if command -v jq >/dev/null 2>&1; then
		jq -e . "$1" >/dev/null 2>&1 && return
	elif command -v python3 >/dev/null 2>&1; then
		python3 -m json.tool --json-lines "$1" >/dev/null 2>&1 && return
		python3 -m json.tool "$1" >/dev/null 2>&1 && return
	else
		head -c 1 "$1" | grep -q '[[{]' && return
	fi
	bad "not JSON:"
	show "$1"
}

# json_is FILE FILTER VALUE, where there is jq.
json_is()
{
	command -v jq >/dev/null 2>&1 || return
	is "$(jq -r "$2" "$1")" "$3" "$2"
}

# until_true COMMAND...: up to SECONDS_MAX, against hangs only.
until_true()
{
	tries=$((SECONDS_MAX * 20))
	while [ $tries -gt 0 ]; do
		"$@" && return 0
		tries=$((tries - 1))
		sleep 0.05
	done
	bad "never came true: $*"
	return 1
}

size_of()
{
	wc -c <"$1" | tr -d ' '
}

has_size()
{
	[ "$(size_of "$1")" -ge "$2" ]
}

# random FILE BYTES
random()
{
	head -c "$2" /dev/urandom >"$1"
}

same()
{
	cmp -s "$1" "$2" && return
	bad "$1 ($(size_of "$1") bytes) and $2 ($(size_of "$2") bytes) differ; where, octal:"
	cmp -l "$1" "$2" 2>/dev/null | head -n 8 | sed 's/^/#   | /'
}

finish()
{
	end_case
	echo "1..$case_nr"
	exit $any_bad
}
