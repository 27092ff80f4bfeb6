#!/bin/sh
# SPDX-License-Identifier: MIT
# send and recv when it goes wrong: each side learns what became of the other, and nothing hangs.
# Seen to fail: tests/unit/controls, tool-death-is-failure.
. "$(dirname "$0")/tap.sh"

NAME=$(uri a)
DATA=$WORK/data
GOT=$WORK/got
random "$DATA" 1000000

# What a case left in a pipe, and whoever still holds it open, is nothing to the next one.
fresh_fifo()
{
	rm -f "$WORK/$1"
	mkfifo "$WORK/$1"
}

# A sender whose input stays open: fd 9 writes to it. Without a timeout before it, to know its pid.
start_sender()
{
	fresh_fifo input
	"$EVERING_TOOL" send --json "$@" "$NAME" <"$WORK/input" 2>"$WORK/send.err" &
	sender=$!
	exec 9>"$WORK/input"
}

# A receiver whose output nobody reads: it blocks after a pipe of bytes. fd 8 reads from it.
start_receiver()
{
	fresh_fifo output
	exec 8<>"$WORK/output"
	"$EVERING_TOOL" recv --json "$@" "$NAME" >"$WORK/output" 2>"$WORK/recv.err" &
	receiver=$!
}

has_peer()
{
	timeout "$SECONDS_MAX" "$EVERING_TOOL" peers "$NAME" 2>/dev/null | grep -q live
}

has_two_peers()
{
	[ "$(timeout "$SECONDS_MAX" "$EVERING_TOOL" peers "$NAME" 2>/dev/null | grep -c live)" -ge 2 ]
}

is_gone()
{
	timeout "$SECONDS_MAX" "$EVERING_TOOL" info "$NAME" >/dev/null 2>&1 && bad "$NAME is still there"
}

it transfer_ends_sender_killed_is_reported
timeout "$SECONDS_MAX" "$EVERING_TOOL" recv --json "$NAME" >"$GOT" 2>"$ERR" &
receiver=$!
start_sender
cat "$DATA" >&9
until_true has_size "$GOT" 1000000
kill -KILL $sender
wait $receiver
status=$?
exec 9>&-
wait $sender 2>/dev/null
ends_with 3
err_has '^evering: recv: .*the sender died .*1000000 bytes delivered'
[ "$EVERING_BACKEND" = device ] && err_has 'killed by SIGKILL'
err_has '"end":"peer-died","bytes":1000000'
same "$DATA" "$GOT"
is_gone

it transfer_ends_receiver_killed_is_reported
start_receiver --buffer 64K
start_sender --buffer 64K
(cat "$DATA" >&9) 2>/dev/null &
feeder=$!
until_true has_two_peers
sleep 0.3
kill -KILL $receiver
wait $sender
status=$?
exec 9>&- 8>&-
wait $feeder 2>/dev/null
wait $receiver 2>/dev/null
cp "$WORK/send.err" "$ERR"
ends_with 3
err_has '^evering: send: .*the receiver died .*: [0-9]+ bytes delivered, [0-9]+ sent'
[ "$EVERING_BACKEND" = device ] && err_has 'killed by SIGKILL'
err_has '"end":"peer-died"'
is_gone

it transfer_ends_receiver_killed_while_input_is_idle_is_reported
start_receiver
start_sender
until_true has_two_peers
kill -KILL $receiver
wait $sender
status=$?
exec 9>&- 8>&-
wait $receiver 2>/dev/null
cp "$WORK/send.err" "$ERR"
ends_with 3
err_has 'the receiver died'
is_gone

it transfer_ends_stopped_receiver_is_not_dead
start_receiver --buffer 64K
timeout "$SECONDS_MAX" "$EVERING_TOOL" send --buffer 64K "$NAME" <"$DATA" 2>"$ERR" &
sender=$!
until_true has_two_peers
kill -STOP $receiver
sleep 1
kill -0 $sender 2>/dev/null || bad "send ended while its receiver was stopped"
kill -CONT $receiver
head -c 1000000 <&8 >"$GOT"
wait $sender
status=$?
ends_with 0
wait $receiver
is $? 0 "status of recv"
exec 8>&-
same "$DATA" "$GOT"
is_gone

it transfer_ends_stopped_sender_is_not_dead
timeout "$SECONDS_MAX" "$EVERING_TOOL" recv "$NAME" >"$GOT" 2>"$ERR" &
receiver=$!
start_sender
head -c 500000 "$DATA" >&9
until_true has_size "$GOT" 1
kill -STOP $sender
sleep 1
kill -0 $receiver 2>/dev/null || bad "recv ended while its sender was stopped"
kill -CONT $sender
tail -c +500001 "$DATA" >&9
exec 9>&-
wait $receiver
status=$?
ends_with 0
wait $sender
is $? 0 "status of send"
same "$DATA" "$GOT"

it transfer_ends_output_closed_early_is_told_to_both
timeout "$SECONDS_MAX" "$EVERING_TOOL" send --buffer 64K "$NAME" <"$DATA" 2>"$WORK/send.err" &
sender=$!
{
	timeout "$SECONDS_MAX" "$EVERING_TOOL" recv --buffer 64K "$NAME" 2>"$ERR"
	echo $? >"$WORK/status"
} | head -c 10 >"$GOT"
status=$(cat "$WORK/status")
ends_with 1
err_has '^evering: recv: standard output: Broken pipe'
wait $sender
is $? 1 "status of send"
cp "$WORK/send.err" "$ERR"
err_has '^evering: send: .*the receiver stopped after [0-9]+ bytes: Broken pipe'
is_gone

it transfer_ends_bad_input_is_told_to_both
timeout "$SECONDS_MAX" "$EVERING_TOOL" recv "$NAME" >"$GOT" 2>"$WORK/recv.err" &
receiver=$!
until_true has_peer
timeout "$SECONDS_MAX" "$EVERING_TOOL" send "$NAME" </ 2>"$ERR"
status=$?
ends_with 1
err_has '^evering: send: standard input: Is a directory'
wait $receiver
is $? 1 "status of recv"
cp "$WORK/recv.err" "$ERR"
err_has '^evering: recv: .*the sender stopped after 0 bytes: Is a directory'
is_gone

it transfer_ends_sender_ended_by_signal_is_no_clean_end
timeout "$SECONDS_MAX" "$EVERING_TOOL" recv "$NAME" >"$GOT" 2>"$WORK/recv.err" &
receiver=$!
start_sender
cat "$DATA" >&9
until_true has_size "$GOT" 1000000
kill -TERM $sender
wait $sender
is $? 143 "status of send"
exec 9>&-
wait $receiver
is $? 1 "status of recv"
cp "$WORK/recv.err" "$ERR"
err_has 'the sender stopped after 1000000 bytes'
is_gone

it transfer_ends_receiver_ended_by_signal_is_no_clean_end
start_receiver --buffer 64K
timeout "$SECONDS_MAX" "$EVERING_TOOL" send --buffer 64K "$NAME" <"$DATA" 2>"$ERR" &
sender=$!
until_true has_two_peers
sleep 0.2
kill -INT $receiver 2>/dev/null
kill -TERM $receiver
wait $sender
status=$?
ends_with 1
err_has 'the receiver stopped after'
wait $receiver 2>/dev/null
exec 8>&-
is_gone

it transfer_ends_waiting_sender_ended_by_signal_leaves_nothing
start_sender
until_true has_peer
kill -TERM $sender
wait $sender
is $? 143 "status of send"
exec 9>&-
is_gone

it transfer_ends_both_killed_do_not_disturb_the_next
start_receiver
start_sender
until_true has_two_peers
kill -KILL $sender $receiver
wait $sender $receiver 2>/dev/null
exec 9>&- 8>&-
timeout "$SECONDS_MAX" "$EVERING_TOOL" send "$NAME" <"$DATA" 2>"$ERR" &
sender=$!
timeout "$SECONDS_MAX" "$EVERING_TOOL" recv "$NAME" >"$GOT" 2>"$ERR"
status=$?
ends_with 0
wait $sender
is $? 0 "status of send"
same "$DATA" "$GOT"
is_gone

it transfer_ends_full_output_is_told
if [ -e /dev/full ]; then
	timeout "$SECONDS_MAX" "$EVERING_TOOL" send "$NAME" <"$DATA" 2>"$WORK/send.err" &
	sender=$!
	timeout "$SECONDS_MAX" "$EVERING_TOOL" recv "$NAME" >/dev/full 2>"$ERR"
	status=$?
	ends_with 1
	err_has 'standard output: No space left'
	wait $sender
	is $? 1 "status of send"
	is_gone
fi

finish
