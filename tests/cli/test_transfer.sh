#!/bin/sh
# SPDX-License-Identifier: MIT
# send and recv: every byte arrives, whichever comes first, and nothing stays behind.
# Seen to fail: tests/unit/controls, tool-frame-shifted.
. "$(dirname "$0")/tap.sh"

NAME=$(uri a)
DATA=$WORK/data
GOT=$WORK/got

# What is left of it afterwards.
is_gone()
{
	timeout "$SECONDS_MAX" "$EVERING_TOOL" info "$1" >/dev/null 2>&1 && bad "$1 is still there"
}

# transfer [options of both]: $DATA to $GOT, statuses in $sent and $received.
transfer()
{
	timeout "$SECONDS_MAX" "$EVERING_TOOL" send "$@" "$NAME" <"$DATA" 2>"$WORK/send.err" &
	sender=$!
	timeout "$SECONDS_MAX" "$EVERING_TOOL" recv "$@" "$NAME" >"$GOT" 2>"$ERR"
	received=$?
	wait $sender
	sent=$?
	is $received 0 "status of recv"
	is $sent 0 "status of send"
	[ $received = 0 ] || show "$ERR"
	[ $sent = 0 ] || show "$WORK/send.err"
}

for size in 0 1 65535 65536 65537 1000000; do
	it "transfer_of_${size}_bytes_is_exact"
	random "$DATA" $size
	transfer --buffer 64K
	same "$DATA" "$GOT"
	err_is_empty
	is_gone "$NAME"
done

it transfer_of_64_MiB_is_exact
random "$DATA" 67108864
transfer
same "$DATA" "$GOT"
is_gone "$NAME"

it transfer_through_isolated_segment_is_exact
ISOLATED=$(uri isolated)
random "$DATA" 10000000
timeout "$SECONDS_MAX" "$EVERING_TOOL" create --isolated "$ISOLATED" >/dev/null
for first in send recv; do
	if [ $first = send ]; then
		timeout "$SECONDS_MAX" "$EVERING_TOOL" send "$ISOLATED" <"$DATA" &
		timeout "$SECONDS_MAX" "$EVERING_TOOL" recv "$ISOLATED" >"$GOT"
	else
		timeout "$SECONDS_MAX" "$EVERING_TOOL" recv "$ISOLATED" >"$GOT" &
		timeout "$SECONDS_MAX" "$EVERING_TOOL" send "$ISOLATED" <"$DATA"
	fi
	is $? 0 "status of the second"
	wait $!
	is $? 0 "status of $first, the first"
	same "$DATA" "$GOT"
done

it transfer_through_isolated_segment_tells_a_death
: >"$GOT"
"$EVERING_TOOL" send "$ISOLATED" </dev/zero 2>/dev/null &
sender=$!
timeout "$SECONDS_MAX" "$EVERING_TOOL" recv "$ISOLATED" 2>"$ERR" >"$GOT" &
receiver=$!
has_got() { [ -s "$GOT" ]; }
until_true has_got
kill -KILL $sender
wait $receiver
is $? 3 "status of recv"
timeout "$SECONDS_MAX" "$EVERING_TOOL" rm "$ISOLATED" >/dev/null

it transfer_through_smallest_buffer_is_exact
random "$DATA" 300001
transfer --buffer 4096
same "$DATA" "$GOT"

it transfer_receiver_first_waits
random "$DATA" 100000
timeout "$SECONDS_MAX" "$EVERING_TOOL" recv "$NAME" >"$GOT" 2>"$ERR" &
receiver=$!
is_there() { timeout "$SECONDS_MAX" "$EVERING_TOOL" info "$NAME" >/dev/null 2>&1; }
until_true is_there
timeout "$SECONDS_MAX" "$EVERING_TOOL" send "$NAME" <"$DATA"
is $? 0 "status of send"
wait $receiver
is $? 0 "status of recv"
same "$DATA" "$GOT"
is_gone "$NAME"

it transfer_sender_first_waits
timeout "$SECONDS_MAX" "$EVERING_TOOL" send "$NAME" <"$DATA" 2>"$ERR" &
sender=$!
until_true is_there
sleep 0.2
timeout "$SECONDS_MAX" "$EVERING_TOOL" recv "$NAME" >"$GOT"
is $? 0 "status of recv"
wait $sender
is $? 0 "status of send"
same "$DATA" "$GOT"
is_gone "$NAME"

it transfer_again_and_again_never_mixes
round=0
while [ $round -lt 20 ]; do
	echo "round $round" >"$DATA"
	transfer
	same "$DATA" "$GOT"
	round=$((round + 1))
done
is_gone "$NAME"

it transfer_of_pipe_input_is_exact
random "$DATA" 3000000
(for i in 1 2 3; do
	head -c 1000000 "$WORK/part" 2>/dev/null
	sleep 0.1
done) >/dev/null
{
	head -c 1000000 "$DATA"
	sleep 0.3
	tail -c +1000001 "$DATA"
} | timeout "$SECONDS_MAX" "$EVERING_TOOL" send "$NAME" &
sender=$!
timeout "$SECONDS_MAX" "$EVERING_TOOL" recv "$NAME" | cat >"$GOT"
wait $sender
is $? 0 "status of send"
same "$DATA" "$GOT"

it transfer_of_a_tree_is_exact
mkdir -p "$WORK/tree/sub"
random "$WORK/tree/one" 500000
random "$WORK/tree/sub/two" 123
mkdir "$WORK/copy"
(cd "$WORK" && tar c tree) | timeout "$SECONDS_MAX" "$EVERING_TOOL" send "$NAME" &
sender=$!
timeout "$SECONDS_MAX" "$EVERING_TOOL" recv "$NAME" | (cd "$WORK/copy" && tar x)
wait $sender
is $? 0 "status of send"
same "$WORK/tree/one" "$WORK/copy/tree/one"
same "$WORK/tree/sub/two" "$WORK/copy/tree/sub/two"

it transfer_json_summary_counts_the_bytes
random "$DATA" 12345
transfer --json
json "$ERR"
json "$WORK/send.err"
json_is "$ERR" .bytes 12345
json_is "$ERR" .end clean
json_is "$WORK/send.err" .delivered 12345
json_is "$WORK/send.err" .backend "$EVERING_BACKEND"

it transfer_progress_shows_size
transfer --progress
err_has '12\.1 KiB +[0-9.]+ [kMG]?B/s'
grep -qE '12.1 KiB +[0-9.]+ [kMG]?B/s  100 % of 12.1 KiB  ETA 0:00' "$WORK/send.err" || bad "send knows no size: $(cat "$WORK/send.err")"

it transfer_keep_leaves_the_segment
transfer --keep
run info "$NAME"
ends_with 0
transfer
same "$DATA" "$GOT"
run rm "$NAME"
ends_with 0

it transfer_through_a_made_segment_leaves_it
run create --size 8M "$NAME"
ends_with 0
transfer
same "$DATA" "$GOT"
run rm "$NAME"
ends_with 0

it transfer_through_a_segment_too_small_fails
run create --size 64K "$NAME"
run send "$NAME"
ends_with 1
err_is_message send
run rm "$NAME"

it transfer_through_an_isolated_segment_fails
run create --isolated --peer-size 64K "$NAME"
run send "$NAME"
ends_with 1
err_is_message send
run rm "$NAME"

it transfer_second_receiver_is_told
timeout "$SECONDS_MAX" "$EVERING_TOOL" recv "$NAME" >"$GOT" 2>"$WORK/first.err" &
receiver=$!
has_peer() { timeout "$SECONDS_MAX" "$EVERING_TOOL" peers "$NAME" 2>/dev/null | grep -q live; }
until_true has_peer
run recv "$NAME"
ends_with 1
err_is_message recv
err_has 'receiver already \(pid [0-9]+\)'
timeout "$SECONDS_MAX" "$EVERING_TOOL" send "$NAME" <"$DATA"
is $? 0 "status of send"
wait $receiver
is $? 0 "status of the first receiver"
same "$DATA" "$GOT"

it transfer_second_sender_is_told
timeout "$SECONDS_MAX" "$EVERING_TOOL" send "$NAME" <"$DATA" 2>"$WORK/first.err" &
sender=$!
until_true has_peer
run send "$NAME"
ends_with 1
err_has 'sender already \(pid [0-9]+\)'
timeout "$SECONDS_MAX" "$EVERING_TOOL" recv "$NAME" >"$GOT"
is $? 0 "status of recv"
wait $sender
is $? 0 "status of the first sender"
same "$DATA" "$GOT"
is_gone "$NAME"

finish
