#!/bin/sh
# SPDX-License-Identifier: MIT
# events: attachments and deaths, as lines and as JSON.
# Seen to fail: tests/unit/controls, tool-initial-ignored.
. "$(dirname "$0")/tap.sh"

NAME=$(uri a)
run create --size 4M --peers 8 "$NAME"
[ $status = 0 ] || { show "$ERR"; echo "Bail out! no segment"; exit 99; }

has_peers()
{
	[ "$(timeout "$SECONDS_MAX" "$EVERING_TOOL" peers "$NAME" | grep -c live)" -ge "$1" ]
}

# A peer that does nothing but be there.
start_peer()
{
	"$EVERING_TOOL" events "$NAME" >/dev/null 2>&1 &
	peer=$!
}

it events_attach_and_kill_are_told
timeout "$SECONDS_MAX" "$EVERING_TOOL" events --count 2 "$NAME" >"$OUT" 2>"$ERR" &
watcher=$!
until_true has_peers 1
start_peer
until_true has_peers 2
kill -KILL $peer
wait $watcher
status=$?
ends_with 0
wait $peer 2>/dev/null
is "$(wc -l <"$OUT" | tr -d ' ')" 2 "lines"
out_has "attach .*pid $peer"
out_has "death .*pid $peer"
[ "$EVERING_BACKEND" = device ] && out_has 'killed by SIGKILL'

it events_json_has_a_line_each
timeout "$SECONDS_MAX" "$EVERING_TOOL" events --json --count 2 "$NAME" >"$OUT" 2>"$ERR" &
watcher=$!
until_true has_peers 1
start_peer
until_true has_peers 2
kill -TERM $peer
wait $watcher
status=$?
ends_with 0
wait $peer
is $? 0 "status of a watcher that a signal ends"
json "$OUT"
is "$(wc -l <"$OUT" | tr -d ' ')" 2 "lines"
out_has "^\{.*\"event\":\"attach\""
out_has "^\{.*\"event\":\"death\""
out_has "\"exit_reason\":\"detach\""

it events_seconds_end_it
run events --seconds 0.2 "$NAME"
ends_with 0
is "$(size_of "$OUT")" 0 "bytes on stdout"

it events_initial_of_nobody_is_nothing
run events --initial --seconds 0.2 "$NAME"
ends_with 0
is "$(size_of "$OUT")" 0 "bytes on stdout"

it events_initial_tells_who_is_there
start_peer
until_true has_peers 1
run events --initial --count 1 "$NAME"
ends_with 0
out_has "attach .*pid $peer"
kill -TERM $peer
wait $peer

it events_peer_that_is_stopped_is_not_dead
start_peer
until_true has_peers 1
kill -STOP $peer
run events --seconds 0.5 "$NAME"
ends_with 0
is "$(size_of "$OUT")" 0 "bytes on stdout"
kill -CONT $peer
kill -TERM $peer
wait $peer

run rm "$NAME"
finish
