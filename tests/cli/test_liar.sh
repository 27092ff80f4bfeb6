#!/bin/sh
# SPDX-License-Identifier: MIT
# relay, serve and fetch, and a peer that lies to them: it ends alone, with words that say so, nothing that
# it says passes for a whole file or a clean end, and whoever else is there is served.
# Seen to fail: tests/unit/controls, tool-liar-*.
. "$(dirname "$0")/tap.sh"
: "${EVERING_LIAR:?}"
: "${EVERING_SOCK_END:?}"

NAME=$(uri a)
DIR=$WORK/dir
GOT=$WORK/got

mkdir -p "$DIR"
random "$DIR/odd" 300001
has_host() { timeout "$SECONDS_MAX" "$EVERING_TOOL" rings "$NAME" 2>/dev/null | grep -q "$1\.in"; }

guest_says()
{
	timeout "$SECONDS_MAX" "$EVERING_LIAR" guest "$NAME" "$@" >"$OUT" 2>"$ERR"
	status=$?
}

# host_says HUB SAYS...: in a segment of its own
host_says()
{
	run create --size 16M "$NAME"
	: >"$WORK/liar.out"
	timeout "$SECONDS_MAX" "$EVERING_LIAR" host "$NAME" "$@" >"$WORK/liar.out" 2>"$WORK/liar.err" &
	liar=$!
	until_true grep -q listening "$WORK/liar.out"
}

host_ends()
{
	wait $liar
	is $? 0 "status of the liar"
	run rm --force "$NAME"
}

# --- fetch, and a server that lies: words of it|what is said of them
while IFS='|' read -r says words; do
	it "liar_serves_'$says'_and_is_found_out"
	# shellcheck disable=SC2086
	host_says files take take $says drain
	timeout "$SECONDS_MAX" "$EVERING_TOOL" fetch --progress "$NAME" odd >"$GOT" 2>"$ERR"
	status=$?
	ends_with 1
	err_has "^evering: fetch: .*: $words"
	[ "$(size_of "$GOT")" -le 4096 ] || bad "$(size_of "$GOT") bytes on stdout"
	host_ends
done <<'END'
end:0|Bad message
end:2|there is no such file
size:10 end:0|the server stopped after 0 bytes: Bad message
size:10 data:9 end:0|the server stopped after 9 bytes: Bad message
size:10 data:11 data:10 end:0|the server stopped after 0 bytes: Bad message
size:10 data:10 data:1 end:0|the server stopped after 10 bytes: Bad message
data:10 size:10 end:0|Bad message
data:300000 end:0|Bad message
size:10 size:20 data:20 end:0|the server stopped after 0 bytes: Bad message
size:18446744073709551615 data:10 end:0|Bad message
size:9223372036854775807 data:10 end:0|the server stopped after 10 bytes: Bad message
tag:3:4 data:10 end:0|Bad message
tag:3:9 end:0|Bad message
size:10 data:10 tag:1:3|the server stopped after 10 bytes: Bad message
size:10 data:10 tag:1:8|the server stopped after 10 bytes: Bad message
size:10 data:10 tag:1:4|the server stopped after 10 bytes: Bad message
size:10 data:10 end:4096|the server stopped after 10 bytes: Bad message
size:10 data:10 end:-2147483648|the server stopped after 10 bytes: Bad message
size:4096 data:4096 end:5|the server stopped after 4096 bytes: Input/output error
END

it liar_serves_words_that_nobody_knows_and_then_all
host_says files take take tag:4:100 done tag:18446744073709551615:70000 size:10 data:0 data:10 end:0 drain
timeout "$SECONDS_MAX" "$EVERING_TOOL" fetch "$NAME" odd >"$GOT" 2>"$ERR"
status=$?
ends_with 0
is "$(cat "$GOT")" xxxxxxxxxx "the file"
host_ends

# --- serve, and guests that lie: each ends by itself, and the next is served
"$EVERING_TOOL" serve --json --clients 2 "$NAME" "$DIR" 2>"$WORK/serve.err" &
server=$!
until_true has_host files

while IFS= read -r says; do
	it "liar_asks_'$says'_and_the_next_is_served"
	# shellcheck disable=SC2086
	guest_says files $says
	ends_with 0
	timeout "$SECONDS_MAX" "$EVERING_TOOL" fetch "$NAME" odd >"$GOT" 2>"$ERR"
	status=$?
	ends_with 0
	same "$DIR/odd" "$GOT"
done <<'END'
end:0 take drain
end:5
tag:1:3
tag:1:0 take
done done done
text:odd
text:odd end:0 done take
text:odd end:0 end:0 end:0 take take
text:odd end:0 data:70000 data:70000 take take
data:8191 end:0 take
data:8192 end:0 take
data:4000 data:4000 data:4000 take
data:1000000
size:7 tag:4:1000 tag:18446744073709551615:70000 text:odd end:0 take
END

it liar_that_asked_is_in_the_books
kill -TERM $server
wait $server
is $? 0 "status of serve"
json "$WORK/serve.err"
json_is "$WORK/serve.err" .requests 28
json_is "$WORK/serve.err" .sent 14
json_is "$WORK/serve.err" '."peer-died"' 0

# --- relay as the guest of a host that lies
while IFS='|' read -r says words; do
	it "liar_hosts_'$says'_and_is_found_out"
	# shellcheck disable=SC2086
	host_says relay $says drain
	timeout "$SECONDS_MAX" "$EVERING_TOOL" relay "$NAME" --listen - </dev/null >"$GOT" 2>"$ERR"
	status=$?
	ends_with 1
	err_has "the other side stopped: $words"
	host_ends
done <<'END'
data:10 end:0 data:10|Bad message
tag:1:3|Bad message
tag:1:4|Bad message
end:4096|Bad message
data:10 end:0 end:5|Input/output error
end:32|Broken pipe
END

it liar_hosts_words_that_nobody_knows_and_ends_well
host_says relay tag:4:100 size:3 done tag:18446744073709551615:70000 data:0 data:10 end:0 take done drain
timeout "$SECONDS_MAX" "$EVERING_TOOL" relay "$NAME" --listen - </dev/null >"$GOT" 2>"$ERR"
status=$?
ends_with 0
is "$(cat "$GOT")" xxxxxxxxxx "what came"
host_ends

# --- relay as the host of guests that lie
is_socket() { [ -S "$1" ]; }
"$EVERING_SOCK_END" echo "$WORK/echo.sock" >/dev/null 2>&1 &
echo_end=$!
until_true is_socket "$WORK/echo.sock"
"$EVERING_TOOL" relay --json "$NAME" --connect "unix:$WORK/echo.sock" 2>"$WORK/relay.err" &
host=$!
until_true has_host relay
while IFS= read -r says; do
	it "liar_is_a_guest_with_'$says'_and_the_next_is_served"
	# shellcheck disable=SC2086
	guest_says relay $says
	ends_with 0
	timeout "$SECONDS_MAX" "$EVERING_TOOL" relay "$NAME" --listen - <"$DIR/odd" >"$GOT" 2>"$ERR"
	status=$?
	ends_with 0
	same "$DIR/odd" "$GOT"
done <<'END'
tag:1:3 drain
end:4096 drain
data:10 end:0 data:10 drain
done
done done done data:100000
size:1 tag:9:9 tag:18446744073709551615:70000 data:1000000
END

it liar_that_was_a_guest_is_in_the_books
has_one_peer() { [ "$(timeout "$SECONDS_MAX" "$EVERING_TOOL" peers "$NAME" | grep -c live)" = 1 ]; }
until_true has_one_peer
kill -TERM $host
wait $host
is $? 0 "status of relay"
kill -KILL $echo_end
wait $echo_end 2>/dev/null
tail -n 1 "$WORK/relay.err" >"$WORK/json"
json "$WORK/json"
json_is "$WORK/json" .clients 12
json_is "$WORK/json" .clean 6

# --- the hub itself: made before by somebody else, for channels without blocks
has_blocks() { timeout "$SECONDS_MAX" "$EVERING_TOOL" rings "$NAME" 2>/dev/null | grep -q "$1\.blocks"; }
it liar_that_made_the_hub_is_refused_by_relay
run create --size 16M "$NAME"
"$EVERING_LIAR" hub "$NAME" relay
timeout "$SECONDS_MAX" "$EVERING_TOOL" relay --count 1 --clients 2 "$NAME" --connect "unix:$WORK/none" 2>"$WORK/relay.err" &
host=$!
until_true has_blocks relay
guest_says relay drain
ends_with 0
wait $host
is $? 1 "status of relay"
cp "$WORK/relay.err" "$ERR"
err_has "client 1: unix:$WORK/none: Invalid argument"
run rm --force "$NAME"

it liar_that_made_the_hub_is_refused_by_serve
run create --size 16M "$NAME"
"$EVERING_LIAR" hub "$NAME" files
timeout "$SECONDS_MAX" "$EVERING_TOOL" serve --json --count 1 --clients 2 "$NAME" "$DIR" 2>"$WORK/serve.err" &
server=$!
until_true has_blocks files
guest_says files drain
ends_with 0
wait $server
is $? 0 "status of serve"
json_is "$WORK/serve.err" .stopped 1
run rm --force "$NAME"

# --- words of the segment that become others, while all of them are at work
it liar_that_scribbles_ends_nobody_by_a_signal
for seed in 1 2 3 4; do
	"$EVERING_TOOL" serve "$NAME" "$DIR" 2>"$WORK/serve.err" &
	server=$!
	until_true has_host files
	timeout "$SECONDS_MAX" "$EVERING_LIAR" scribble "$NAME" $seed 2000 2>/dev/null &
	liar=$!
	for i in 1 2 3; do
		timeout -s KILL 5 "$EVERING_TOOL" fetch "$NAME" odd >/dev/null 2>"$ERR"
		case $? in
		0 | 1 | 3) ;;
		137) ;; # what its server says is lost: it waits
		*) bad "seed $seed: fetch ended with $?" ;;
		esac
	done
	wait $liar
	kill -TERM $server
	wait $server
	case $? in
	0 | 1) ;;
	*) bad "seed $seed: serve ended with a signal" ;;
	esac
	run rm --force "$NAME"
done

finish
