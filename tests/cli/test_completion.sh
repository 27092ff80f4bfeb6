#!/bin/sh
# SPDX-License-Identifier: MIT
# The completion of bash: subcommands, options, segments and objects, and names that others made.
# Seen to fail: names through compgen -W, which runs what stands in them.
. "$(dirname "$0")/tap.sh"

SCRIPT=$(dirname "$0")/../../tools/evering/completion/evering
if ! command -v bash >/dev/null 2>&1 || [ ! -e "$SCRIPT" ]; then
	skip completion_completes "needs bash and the sources"
	finish
fi

# What the shell would offer behind this line, one a line.
offered()
{
	bash -c '. "$1"; tool=$2; line=$3
		COMP_LINE="evering $line" COMP_POINT=$((8 + ${#line}))
		read -ra COMP_WORDS <<<"$COMP_LINE"
		COMP_WORDS[0]=$tool COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
		_evering
		[ ${#COMPREPLY[@]} = 0 ] || printf "%s\n" "${COMPREPLY[@]}"' \
		- "$SCRIPT" "${2:-$EVERING_TOOL}" "$1" | sort
}

NAME=$(uri completed)
run create --size 1M --mode 0600 "$NAME"
"$EVERING_TOOL" send --buffer 4096 "$NAME" </dev/zero >/dev/null 2>&1 &
sender=$!
has_rings() { timeout "$SECONDS_MAX" "$EVERING_TOOL" rings "$NAME" | grep -q transfer.end; }
until_true has_rings

it completion_offers_subcommands_and_options
is "$(offered 're' | grep -v relay)" "recv
revoke" "behind re"
is "$(offered 'tap --s')" "--seconds" "options of tap"
is "$(offered 'ls --backend d')" "device" "backends"
is "$(offered "bench mp")" "mpmc" "benches"

it completion_offers_segments_behind_their_colon
is "$(offered "info $NAME")" "${NAME#*:}" "a whole name"
is "$(offered "rings ${NAME%pleted}")" "${NAME#*:}" "a part of a name"
is "$(offered "fetch ${NAME%pleted}")" "${NAME#*:}" "a part of a name"

it completion_offers_the_objects_of_a_segment
is "$(offered "tap $NAME transfer.")" "transfer.data
transfer.end" "objects"
is "$(offered "tap --raw $NAME transfer.d")" "transfer.data" "objects behind an option"
is "$(offered "tap $PREFIX-nothing x")" "" "objects of what is not there"

it completion_runs_nothing_that_stands_in_a_name
cat >"$WORK/tool" <<END
#!/bin/sh
echo 'x\$(touch $WORK/ran)'
END
chmod +x "$WORK/tool"
is "$(offered "tap $NAME x" "$WORK/tool")" "x\\\$\\(touch\\ $WORK/ran\\)" "a name that is a command"
[ ! -e "$WORK/ran" ] || bad "it was run"

kill -TERM $sender
wait
run rm --force "$NAME"
finish
