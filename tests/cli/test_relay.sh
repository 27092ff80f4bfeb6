#!/bin/sh
# SPDX-License-Identifier: MIT
# relay: sockets on one side, a segment on the other; every byte arrives, both ways, each side learns how
# the other ended, and who does not read holds up only its own.
# Seen to fail: tests/unit/controls, tool-relay-*.
. "$(dirname "$0")/tap.sh"
: "${EVERING_SOCK_END:?}"

NAME=$(uri a)
DATA=$WORK/data
BACK=$WORK/back
GOT=$WORK/got
ECHO=$WORK/echo.sock
DOOR=$WORK/door.sock

is_socket() { [ -S "$1" ]; }
is_gone() { timeout "$SECONDS_MAX" "$EVERING_TOOL" info "$1" >/dev/null 2>&1 && bad "$1 is still there"; }
has_host() { timeout "$SECONDS_MAX" "$EVERING_TOOL" rings "$NAME" 2>/dev/null | grep -q 'relay\.in'; }
peers_nr() { timeout "$SECONDS_MAX" "$EVERING_TOOL" peers "$NAME" 2>/dev/null | grep -c live; }
has_peers() { [ "$(peers_nr)" = "$1" ]; }
err_of() { cat "$WORK/$1.err" >"$ERR"; }

# guest [options]: stdin and stdout as a guest; its status is $status, its words are in $ERR.
guest()
{
	timeout "$SECONDS_MAX" "$EVERING_TOOL" relay "$@" "$NAME" --listen - 2>"$ERR"
	status=$?
}

# Two of them, each with what the other one sends.
pair()
{
	timeout "$SECONDS_MAX" "$EVERING_TOOL" relay --json "$NAME" --connect - <"$DATA" >"$BACK.got" 2>"$WORK/host.err" &
	host=$!
	until_true has_host
	guest --json <"$BACK" >"$GOT"
	ends_with 0
	wait $host
	is $? 0 "status of the host"
	same "$DATA" "$GOT"
	same "$BACK" "$BACK.got"
}

for size in 0 1 1024 1025 65535 65536 65537; do
	it "relay_of_${size}_bytes_is_exact"
	random "$DATA" $size
	random "$BACK" $((size * 3))
	pair
	is_gone "$NAME"
done

it relay_of_64_MiB_both_ways_is_exact
random "$DATA" 67108864
cp "$DATA" "$BACK"
pair
json "$ERR"
json_is "$ERR" .clean 1
json_is "$ERR" .bytes_in 67108864
json_is "$ERR" .bytes_out 67108864
json_is "$WORK/host.err" .clean 1
is_gone "$NAME"

it relay_without_io_uring_is_exact
random "$DATA" 3000000
random "$BACK" 100000
EVERING_DRIVER_MODE=none
export EVERING_DRIVER_MODE
pair
unset EVERING_DRIVER_MODE
json_is "$ERR" .driver none
json_is "$WORK/host.err" .driver none

it relay_progress_shows_size
random "$DATA" 12345
: >"$BACK"
timeout "$SECONDS_MAX" "$EVERING_TOOL" relay "$NAME" --connect - <"$BACK" >/dev/null 2>"$WORK/host.err" &
until_true has_host
guest --progress <"$DATA" >"$GOT"
ends_with 0
err_has '12\.1 KiB'
wait

it relay_through_a_made_segment_leaves_it
run create --size 64M "$NAME"
random "$DATA" 100000
pair
run info "$NAME"
ends_with 0
run rm "$NAME"
ends_with 0

it relay_through_a_segment_too_small_fails
run create --size 64K "$NAME"
run relay "$NAME" --connect -
ends_with 1
err_is_message relay
run rm "$NAME"

it relay_through_an_isolated_segment_fails
run create --isolated "$NAME"
run relay "$NAME" --connect -
ends_with 1
err_has 'isolated'
run rm "$NAME"

# A chain of all: socket, segment, socket.
start_chain()
{
	"$EVERING_SOCK_END" "$1" "$ECHO" >"$WORK/$1.out" 2>&1 &
	end=$!
	until_true is_socket "$ECHO"
	"$EVERING_TOOL" relay --json "$NAME" --connect "unix:$ECHO" 2>"$WORK/inner.err" &
	inner=$!
	until_true has_host
	"$EVERING_TOOL" relay --json "$NAME" --listen "$2" 2>"$WORK/outer.err" &
	outer=$!
	[ "$2" = "tcp:127.0.0.1:$PORT" ] || until_true is_socket "$DOOR"
}

# A client of ADDR whose input stays open as fd 9.
start_client()
{
	rm -f "$WORK/input"
	mkfifo "$WORK/input"
	"$EVERING_SOCK_END" connect "$1" <"$WORK/input" >"$GOT" 2>/dev/null &
	client=$!
	exec 9>"$WORK/input"
}

stop_chain()
{
	kill -TERM $outer $inner 2>/dev/null
	wait $outer
	is $? "${1:-0}" "status of the outer relay"
	wait $inner
	is $? "${2:-0}" "status of the inner relay"
	kill -KILL $end 2>/dev/null
	wait $end 2>/dev/null
	rm -f "$ECHO"
	is_gone "$NAME"
}

try_connect() { "$EVERING_SOCK_END" connect "$PORT" </dev/null >/dev/null 2>&1; }

it relay_of_a_unix_socket_echoes_with_both_ends
start_chain echo "unix:$DOOR"
random "$DATA" 1000000
timeout "$SECONDS_MAX" "$EVERING_SOCK_END" connect "$DOOR" <"$DATA" >"$GOT"
is $? 0 "status of the client"
same "$DATA" "$GOT"

it relay_serves_8_clients_at_once
clients=
for i in 1 2 3 4 5 6 7 8; do
	random "$DATA.$i" $((i * 1000003))
	(
		timeout "$SECONDS_MAX" "$EVERING_SOCK_END" connect "$DOOR" <"$DATA.$i" >"$GOT.$i"
		echo $? >"$WORK/status.$i"
	) &
	clients="$clients $!"
done
wait $clients
for i in 1 2 3 4 5 6 7 8; do
	is "$(cat "$WORK/status.$i")" 0 "status of client $i"
	same "$DATA.$i" "$GOT.$i"
done

it relay_client_killed_in_the_middle_stops_nobody_else
until_true has_peers 1
start_client "$DOOR"
until_true has_peers 2
cat "$DATA" >&9
until_true has_size "$GOT" 1000000
kill -KILL $client
exec 9>&-
wait $client 2>/dev/null
until_true has_peers 1
timeout "$SECONDS_MAX" "$EVERING_SOCK_END" connect "$DOOR" <"$DATA" >"$GOT"
is $? 0 "status of the next client"
same "$DATA" "$GOT"

it relay_ends_cleanly_by_signal_and_takes_its_socket_away
stop_chain
[ ! -e "$DOOR" ] || bad "$DOOR is still there"
json_is "$WORK/outer.err" .clean 11

it relay_of_tcp_echoes_with_both_ends
start_chain echo "tcp:127.0.0.1:$PORT"
until_true try_connect
timeout "$SECONDS_MAX" "$EVERING_SOCK_END" connect "$PORT" <"$DATA" >"$GOT"
is $? 0 "status of the client"
same "$DATA" "$GOT"

it relay_killed_in_the_middle_resets_the_client
start_client "$PORT"
cat "$DATA" >&9
until_true has_size "$GOT" 1000000
kill -KILL $inner
wait $inner 2>/dev/null
wait $client
is $? 4 "status of the client"
exec 9>&-
same "$DATA" "$GOT"
kill -TERM $outer
wait $outer
is $? 0 "status of the outer relay"
err_of outer
err_has '^evering: relay: client [0-9]+: the other side died \(pid [0-9]+, .*\): 1000000 bytes sent, 1000000 delivered'
[ "$EVERING_BACKEND" = device ] && err_has 'killed by SIGKILL'
kill -KILL $end
wait $end 2>/dev/null
rm -f "$ECHO"
timeout "$SECONDS_MAX" "$EVERING_TOOL" rm --force "$NAME" >/dev/null 2>&1

# An end of stdin and stdout, whose input stays open: the guest's as fd 9, the host's as fd 8.
start_guest()
{
	rm -f "$WORK/input"
	mkfifo "$WORK/input"
	"$EVERING_TOOL" relay "$NAME" --listen - <"$WORK/input" >"$GOT" 2>"$WORK/guest.err" &
	guest=$!
	exec 9>"$WORK/input"
}

start_host()
{
	rm -f "$WORK/host.in"
	mkfifo "$WORK/host.in"
	"$EVERING_TOOL" relay "$NAME" --connect - <"$WORK/host.in" >"$BACK.got" 2>"$WORK/host.err" &
	host=$!
	exec 8>"$WORK/host.in"
	until_true has_host
}

it relay_guest_killed_is_reported
start_host
start_guest
cat "$DATA" >&9
until_true has_size "$BACK.got" 1000000
kill -KILL $guest
wait $host
status=$?
exec 9>&- 8>&-
wait $guest 2>/dev/null
err_of host
ends_with 3
err_has '^evering: relay: client 1: the other side died \(pid [0-9]+, .*\): 0 bytes sent, 1000000 delivered'
same "$DATA" "$BACK.got"
is_gone "$NAME"

it relay_host_killed_is_reported
start_host
start_guest
cat "$DATA" >&9
until_true has_size "$BACK.got" 1000000
kill -KILL $host
wait $guest
status=$?
exec 9>&- 8>&-
wait $host 2>/dev/null
err_of guest
ends_with 3
err_has 'the other side died \(pid [0-9]+, .*\): 1000000 bytes sent, 0 delivered'
timeout "$SECONDS_MAX" "$EVERING_TOOL" rm --force "$NAME" >/dev/null 2>&1

# Both directions have said their end, and only what was written is not all.
it relay_host_killed_before_all_is_written_is_reported
rm -f "$WORK/output"
mkfifo "$WORK/output"
exec 8<>"$WORK/output"
"$EVERING_TOOL" relay "$NAME" --connect - </dev/null >"$WORK/output" 2>"$WORK/host.err" &
host=$!
until_true has_host
start_guest
# More than the pipe behind the host holds, less than may be under way.
head -c 100000 "$DATA" >&9
exec 9>&-
sleep 0.5
kill -KILL $host
wait $guest
status=$?
exec 8>&-
wait $host 2>/dev/null
err_of guest
ends_with 3
err_has 'the other side died \(pid [0-9]+, .*\): 100000 bytes sent, 0 delivered'
timeout "$SECONDS_MAX" "$EVERING_TOOL" rm --force "$NAME" >/dev/null 2>&1

it relay_ended_by_signal_is_no_clean_end
start_host
start_guest
cat "$DATA" >&9
until_true has_size "$BACK.got" 1000000
kill -TERM $guest
wait $guest
is $? 143 "status of the guest"
wait $host
status=$?
exec 9>&- 8>&-
err_of host
ends_with 1
err_has 'the other side stopped: Operation canceled: 0 bytes sent, 1000000 delivered'
is_gone "$NAME"

it relay_output_closed_early_is_told_to_both
start_host
{
	timeout "$SECONDS_MAX" "$EVERING_TOOL" relay "$NAME" --listen - <"$DATA" 2>"$WORK/guest.err"
	echo $? >"$WORK/status"
} | head -c 10 >"$GOT" &
cat "$DATA.8" >&8 2>/dev/null
exec 8>&-
wait $host
is $? 1 "status of the host"
wait
is "$(cat "$WORK/status")" 1 "status of the guest"
err_of guest
err_has 'client 1: -: Broken pipe'
err_of host
err_has 'the other side stopped: Broken pipe'

it relay_client_that_never_reads_holds_up_only_the_sender
"$EVERING_SOCK_END" sink "$ECHO" >"$WORK/sink.out" 2>&1 &
end=$!
until_true is_socket "$ECHO"
"$EVERING_TOOL" relay --clients 4 "$NAME" --connect "unix:$ECHO" 2>"$WORK/inner.err" &
inner=$!
until_true has_host
"$EVERING_TOOL" relay --progress "$NAME" --listen - </dev/zero >/dev/null 2>"$WORK/guest.err" &
guest=$!
in_use() { timeout "$SECONDS_MAX" "$EVERING_TOOL" rings --json "$NAME" | sed -n 's/.*"bytes": *\([0-9]*\),.*/\1/p' | head -n 1; }
# As many blocks as a client may have under way, and no more: 1.25 MiB at most.
has_filled() { [ "$(in_use)" -ge 524288 ]; }
until_true has_filled
sleep 1
[ "$(in_use)" -le 1310720 ] || bad "$(in_use) bytes of blocks are in use"
for pid in $inner $guest; do
	rss=$(sed -n 's/^RssAnon:[^0-9]*\([0-9]*\).*/\1/p' /proc/$pid/status)
	[ "${rss:-99999}" -lt 16384 ] || bad "process $pid has $rss KiB of its own"
	kill -0 $pid 2>/dev/null || bad "process $pid has ended"
done
kill -TERM $guest
wait $guest
is $? 143 "status of the guest"
kill -TERM $inner
wait $inner
is $? 0 "status of the inner relay"
kill -KILL $end
wait $end 2>/dev/null
rm -f "$ECHO"

it relay_without_a_listener_in_the_segment_is_told
run relay "$NAME" --listen -
ends_with 1
err_is_message relay
run create --size 1M "$NAME"
run relay "$NAME" --listen -
ends_with 1
err_has "nobody listens at 'relay'"
run rm "$NAME"

it relay_without_a_listener_at_the_socket_is_told_to_both
"$EVERING_TOOL" relay --count 1 "$NAME" --connect "unix:$ECHO" 2>"$WORK/inner.err" &
inner=$!
until_true has_host
guest <"$DATA" >"$GOT"
ends_with 1
err_has 'the other side stopped: No such file or directory'
wait $inner
is $? 1 "status of the inner relay"
err_of inner
err_has "unix:$ECHO: No such file or directory"

it relay_of_an_occupied_name_fails
start_host
run relay "$NAME" --connect -
ends_with 1
err_has "somebody listens at 'relay' already \(pid $host\)"
kill -TERM $host
wait $host
is $? 143 "status of the host"
exec 8>&-

it relay_at_an_occupied_address_fails
"$EVERING_SOCK_END" echo "$ECHO" &
end=$!
until_true is_socket "$ECHO"
run relay "$NAME" --listen "unix:$ECHO"
ends_with 1
err_has "unix:$ECHO: somebody listens there already"
kill -KILL $end
wait $end 2>/dev/null
# What a listener has left that was killed is in nobody's way.
"$EVERING_TOOL" relay "$NAME" --listen "unix:$ECHO" 2>"$WORK/outer.err" &
outer=$!
accepts() { "$EVERING_SOCK_END" connect "$ECHO" </dev/null >/dev/null 2>&1; [ $? = 0 ] || grep -q 'no .*segment' "$WORK/outer.err"; }
until_true accepts
kill -TERM $outer
wait $outer
is $? 0 "status of the relay"

finish
