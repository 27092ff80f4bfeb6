#!/bin/sh
# SPDX-License-Identifier: MIT
# serve and fetch: files out of a segment and by HTTP; what is not there, or not below the directory, is
# refused, and each side learns how the other ended.
# Seen to fail: tests/unit/controls, tool-serve-*.
. "$(dirname "$0")/tap.sh"

NAME=$(uri a)
DIR=$WORK/dir
GOT=$WORK/got

mkdir -p "$DIR/sub"
: >"$DIR/empty"
random "$DIR/one" 1
random "$DIR/piece" 65536
random "$DIR/more" 65537
random "$DIR/odd" 300001
random "$DIR/many" 8388608
random "$DIR/big" 67108864
echo hello >"$DIR/sub/small"
echo secret >"$WORK/secret"
ln -s sub/small "$DIR/inside"
ln -s ../secret "$DIR/outside"
ln -s /etc/passwd "$DIR/absolute"
ln -s loop "$DIR/loop"
mkfifo "$DIR/fifo"

is_gone() { timeout "$SECONDS_MAX" "$EVERING_TOOL" info "$1" >/dev/null 2>&1 && bad "$1 is still there"; }
has_server() { timeout "$SECONDS_MAX" "$EVERING_TOOL" rings "$NAME" 2>/dev/null | grep -q 'files\.in'; }

# start_server [OPTION...]: $server, and its words in $WORK/serve.err
start_server()
{
	"$EVERING_TOOL" serve --json "$@" "$NAME" "$DIR" 2>"$WORK/serve.err" &
	server=$!
	until_true has_server
}

stop_server()
{
	kill -TERM $server
	wait $server
	is $? 0 "status of serve"
	json "$WORK/serve.err"
	is_gone "$NAME"
}

fetch()
{
	timeout "$SECONDS_MAX" "$EVERING_TOOL" fetch "$@" >"$GOT" 2>"$ERR"
	status=$?
}

start_server
for file in empty one piece more odd big sub/small; do
	it "serve_file_${file}_is_exact"
	fetch "$NAME" $file
	ends_with 0
	err_is_empty
	same "$DIR/$file" "$GOT"
done

it serve_link_below_the_directory_is_followed
fetch "$NAME" inside
ends_with 0
same "$DIR/sub/small" "$GOT"

# path|what is said of it
while IFS='|' read -r path words; do
	it "serve_of_'$path'_is_refused"
	fetch "$NAME" "$path"
	ends_with 1
	err_has "^evering: fetch: $path: $words"
	is "$(size_of "$GOT")" 0 "bytes on stdout"
done <<END
missing|there is no such file
one/two|there is no such file
outside|it lies outside of the directory
absolute|it lies outside of the directory
../secret|it lies outside of the directory
sub/../../secret|it lies outside of the directory
/etc/passwd|it lies outside of the directory
sub|it is a directory
.|it is a directory
fifo|it is no regular file
loop|too many links lead to it
END

it serve_of_a_name_too_long_is_refused
fetch "$NAME" "$(head -c 9000 /dev/zero | tr '\0' x)"
ends_with 1
err_has 'x: its name is too long'
fetch "$NAME" "$(head -c 300 /dev/zero | tr '\0' x)"
ends_with 1
err_has 'x: its name is too long'

if [ "$(id -u)" != 0 ]; then
	it serve_of_what_it_may_not_read_is_refused
	: >"$DIR/closed"
	chmod 0 "$DIR/closed"
	fetch "$NAME" closed
	ends_with 1
	err_has 'the server may not read it'
fi

it serve_8_clients_at_once
clients=
for i in 1 2 3 4 5 6 7 8; do
	(
		timeout "$SECONDS_MAX" "$EVERING_TOOL" fetch "$NAME" many >"$GOT.$i"
		echo $? >"$WORK/status.$i"
	) &
	clients="$clients $!"
done
wait $clients
for i in 1 2 3 4 5 6 7 8; do
	is "$(cat "$WORK/status.$i")" 0 "status of client $i"
	same "$DIR/many" "$GOT.$i"
	rm -f "$GOT.$i"
done

it serve_json_and_progress_of_fetch
fetch --json --progress "$NAME" odd
ends_with 0
err_has '100 % of 293 KiB'
tail -n 1 "$ERR" >"$WORK/json"
json "$WORK/json"
json_is "$WORK/json" .bytes 300001
json_is "$WORK/json" .end clean

it serve_behind_a_relay_answers_a_line
printf 'sub/small\n' | timeout "$SECONDS_MAX" "$EVERING_TOOL" relay "$NAME" --hub files --listen - >"$GOT"
is $? 0 "status of relay"
same "$DIR/sub/small" "$GOT"

it serve_of_an_occupied_name_fails
run serve "$NAME" "$DIR"
ends_with 1
err_has "somebody listens at 'files' already \(pid $server\)"

it serve_ends_by_signal_with_its_books
stop_server
json_is "$WORK/serve.err" .sent 18
json_is "$WORK/serve.err" .refused 13
json_is "$WORK/serve.err" '."peer-died"' 0
json_is "$WORK/serve.err" .stopped 0

it serve_without_a_server_is_told
fetch "$NAME" one
ends_with 1
err_is_message fetch
run create --size 1M "$NAME"
fetch "$NAME" one
ends_with 1
err_has "nobody listens at 'files'"
run rm "$NAME"

it serve_of_no_directory_fails
run serve "$NAME" "$DIR/missing"
ends_with 1
err_has "^evering: serve: $DIR/missing: No such file or directory"
run serve "$NAME" "$DIR/one"
ends_with 1
err_has 'Not a directory'

it serve_without_io_uring_is_exact
EVERING_DRIVER_MODE=none
export EVERING_DRIVER_MODE
start_server
unset EVERING_DRIVER_MODE
fetch "$NAME" big
ends_with 0
same "$DIR/big" "$GOT"
fetch "$NAME" outside
ends_with 1
err_has 'outside'
stop_server
json_is "$WORK/serve.err" .driver none

# A client that does not read its output: it has begun, and is somewhere in the middle.
start_slow_fetch()
{
	rm -f "$WORK/output"
	mkfifo "$WORK/output"
	exec 8<>"$WORK/output"
	"$EVERING_TOOL" fetch "$NAME" big >"$WORK/output" 2>"$WORK/fetch.err" &
	client=$!
	head -c 100000 <&8 >"$GOT"
}

it serve_client_that_never_reads_holds_up_nobody_else
start_server --clients 4
start_slow_fetch
rss=$(sed -n 's/^RssAnon:[^0-9]*\([0-9]*\).*/\1/p' /proc/$server/status)
[ "${rss:-99999}" -lt 16384 ] || bad "the server has $rss KiB of its own"
fetch "$NAME" big
ends_with 0
same "$DIR/big" "$GOT"

it serve_client_killed_in_the_middle_is_counted
kill -KILL $client
wait $client 2>/dev/null
exec 8>&-
fetch "$NAME" odd
ends_with 0
same "$DIR/odd" "$GOT"
peers_nr() { timeout "$SECONDS_MAX" "$EVERING_TOOL" peers "$NAME" 2>/dev/null | grep -cv 'SLOT\|slot'; }
has_one_peer() { [ "$(peers_nr)" = 1 ]; }
until_true has_one_peer
stop_server
json_is "$WORK/serve.err" '."peer-died"' 1
json_is "$WORK/serve.err" .sent 2

it serve_killed_in_the_middle_is_reported
start_server
start_slow_fetch
kill -KILL $server
wait $server 2>/dev/null
cat <&8 >/dev/null &
reader=$!
wait $client
status=$?
kill -KILL $reader
wait $reader 2>/dev/null
exec 8>&-
cat "$WORK/fetch.err" >"$ERR"
ends_with 3
err_has '^evering: fetch: .*: the server died \(pid [0-9]+, .*\): [0-9]+ bytes delivered, the rest never came'
[ "$EVERING_BACKEND" = device ] && err_has 'killed by SIGKILL'

it serve_after_one_that_was_killed_goes_on
start_server
fetch "$NAME" big
ends_with 0
same "$DIR/big" "$GOT"

it serve_ended_by_signal_tells_its_client
start_slow_fetch
kill -TERM $server
cat <&8 >/dev/null &
reader=$!
wait $client
status=$?
kill -KILL $reader
wait $reader 2>/dev/null
exec 8>&-
cat "$WORK/fetch.err" >"$ERR"
ends_with 1
err_has 'the server stopped after [0-9]+ bytes'
wait $server
is $? 0 "status of serve"

it serve_file_that_shrinks_is_no_whole_file
cp "$DIR/big" "$DIR/shrinks"
start_server
rm -f "$WORK/output"
mkfifo "$WORK/output"
exec 8<>"$WORK/output"
"$EVERING_TOOL" fetch "$NAME" shrinks >"$WORK/output" 2>"$WORK/fetch.err" &
client=$!
head -c 100000 <&8 >"$GOT"
: >"$DIR/shrinks"
cat <&8 >/dev/null &
reader=$!
wait $client
status=$?
kill -KILL $reader
wait $reader 2>/dev/null
exec 8>&-
cat "$WORK/fetch.err" >"$ERR"
ends_with 1
err_has 'the server stopped after [0-9]+ bytes: Input/output error'
stop_server

# http PATH: $OUT is the body, status as wget has it
if command -v wget >/dev/null 2>&1; then
	http()
	{
		rm -f "$GOT"
		timeout "$SECONDS_MAX" wget -q -O "$GOT" "http://127.0.0.1:$PORT/$1" 2>"$ERR"
		status=$?
	}

	it serve_http_files_are_exact
	start_server --listen "tcp:127.0.0.1:$PORT"
	answers() { wget -q -O /dev/null "http://127.0.0.1:$PORT/one" 2>/dev/null; }
	until_true answers
	for file in empty one piece more odd big sub/small sub%2fsmall 'inside?x=y'; do
		http $file
		is $status 0 "status of wget for $file"
		case $file in
		sub%2fsmall | inside*) same "$DIR/sub/small" "$GOT" ;;
		*) same "$DIR/$file" "$GOT" ;;
		esac
	done

	it serve_http_8_clients_at_once_and_8_of_the_segment
	clients=
	for i in 1 2 3 4 5 6 7 8; do
		(
			timeout "$SECONDS_MAX" wget -q -O "$GOT.$i" "http://127.0.0.1:$PORT/many"
			echo $? >"$WORK/status.$i"
		) &
		clients="$clients $!"
		(
			timeout "$SECONDS_MAX" "$EVERING_TOOL" fetch "$NAME" odd >"$GOT.odd.$i"
			echo $? >"$WORK/status.odd.$i"
		) &
		clients="$clients $!"
	done
	wait $clients
	for i in 1 2 3 4 5 6 7 8; do
		is "$(cat "$WORK/status.$i")" 0 "status of client $i"
		is "$(cat "$WORK/status.odd.$i")" 0 "status of fetch $i"
		same "$DIR/many" "$GOT.$i"
		same "$DIR/odd" "$GOT.odd.$i"
		rm -f "$GOT.$i"
	done

	# said REQUEST: what is answered to these bytes
	said()
	{
		printf "$1" | timeout "$SECONDS_MAX" "$EVERING_SOCK_END" connect "$PORT" >"$OUT" 2>/dev/null
	}

	it serve_http_errors_have_their_status
	while IFS='|' read -r request wanted; do
		said "$request"
		head -n 1 "$OUT" | grep -q "^HTTP/1.0 $wanted" || bad "$request: $(head -n 1 "$OUT"), wanted $wanted"
	done <<'END'
GET /one HTTP/1.0\r\n\r\n|200 OK
GET /one HTTP/1.1\nHost: x\n\n|200 OK
GET /missing HTTP/1.0\r\n\r\n|404 Not Found
GET /../secret HTTP/1.0\r\n\r\n|403 Forbidden
GET /%%2e%%2e/secret HTTP/1.0\r\n\r\n|403 Forbidden
GET //etc/passwd HTTP/1.0\r\n\r\n|403 Forbidden
GET /outside HTTP/1.0\r\n\r\n|403 Forbidden
GET / HTTP/1.0\r\n\r\n|403 Forbidden
GET /sub HTTP/1.0\r\n\r\n|403 Forbidden
GET /%%zz HTTP/1.0\r\n\r\n|400 Bad Request
GET /one%%00 HTTP/1.0\r\n\r\n|400 Bad Request
GET one HTTP/1.0\r\n\r\n|400 Bad Request
GET /one\r\n\r\n|400 Bad Request
nonsense\r\n\r\n|400 Bad Request
POST /one HTTP/1.0\r\n\r\n|405 Method Not Allowed
END

	it serve_http_head_has_the_length_and_no_body
	said 'HEAD /odd HTTP/1.0\r\n\r\n'
	grep -q '^Content-Length: 300001' "$OUT" || bad "no length: $(cat "$OUT")"
	[ "$(size_of "$OUT")" -lt 200 ] || bad "there is a body"

	it serve_http_client_killed_in_the_middle_stops_nobody
	rm -f "$WORK/output"
	mkfifo "$WORK/output"
	exec 8<>"$WORK/output"
	printf 'GET /big HTTP/1.0\r\n\r\n' | "$EVERING_SOCK_END" connect "$PORT" >"$WORK/output" 2>/dev/null &
	client=$!
	head -c 100000 <&8 >/dev/null
	kill -KILL $client
	wait $client 2>/dev/null
	exec 8>&-
	http big
	is $status 0 "status of wget"
	same "$DIR/big" "$GOT"
	stop_server
	json_is "$WORK/serve.err" .stopped 1
else
	skip serve_http_files_are_exact "there is no wget"
fi

finish
