#!/bin/sh
# SPDX-License-Identifier: MIT
# rings, slots, tap, hz, top and gc: what they tell of an application whose processes are stopped, to the
# number; and that they leave no trace in it. hung_app.c says what there is to be seen.
# Seen to fail: tests/unit/controls, tool-rings-swapped, tool-slots-of-all, tool-gc-writes, tool-tap-marks-no-gap,
# tool-hz-per-look, tool-top-too-wide.
. "$(dirname "$0")/tap.sh"

NAME=$(uri hung)
FILE=/dev/shm/evering.$PREFIX-hung

ESC=$(printf '\033')

# A line of the output by its first fields, without the padding.
row()
{
	tr -s ' ' <"$OUT" | sed 's/^ //; s/ $//' | grep -E -e "^$1( |\$)"
}

rows()
{
	row "$1" | wc -l | tr -d ' '
}

# The bytes of the segment, where they can be seen: nothing that looks may change them.
note_bytes()
{
	[ "$EVERING_BACKEND" = device ] || cp "$FILE" "$WORK/bytes"
}

same_bytes()
{
	[ "$EVERING_BACKEND" = device ] || same "$WORK/bytes" "$FILE"
}

# Two processes that have stopped: $a and $b.
start_app()
{
	run create --size 2M --peers 4 "$NAME"
	[ $status = 0 ] || { show "$ERR"; echo "Bail out! no segment"; exit 99; }
	"$EVERING_HUNG_APP" "$NAME" >"$WORK/app" 2>&1 &
	until_true grep -qs '^A ' "$WORK/app" || { show "$WORK/app"; echo "Bail out! no application"; exit 99; }
	until_true is_stopped "$(awk '/^A/ { print $2 }' "$WORK/app")"
	a=$(awk '/^A/ { print $2 }' "$WORK/app")
	b=$(awk '/^B/ { print $2 }' "$WORK/app")
	trap 'kill -KILL $a $b 2>/dev/null; clean_up' EXIT
}

is_stopped()
{
	grep -q '^State:.T' "/proc/$1/status"
}

# Rates times seconds, of all reports: what one ring took in; what peer 0 sent.
moved()
{
	sed 's/.*"seconds":\([^,]*\),.*"name":"'"$2"'"[^}]*"in_per_second":\([^,]*\),.*/\1 \2/' "$1" |
		awk '{ n += $1 * $2 } END { printf "%.0f\n", n }'
}

sent()
{
	sed 's/.*"seconds":\([^,]*\),.*"slot":0,[^}]*"sends_per_second":\([^,]*\),.*/\1 \2/' "$1" |
		awk '{ n += $1 * $2 } END { printf "%.0f\n", n }'
}

has_lines()
{
	[ -e "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]
}

is_dead_slot()
{
	timeout "$SECONDS_MAX" "$EVERING_TOOL" slots --held-by "$1" "$NAME" | grep -q ' dead '
}

start_app
note_bytes

it observe_rings_of_a_hung_application_are_exact
run rings "$NAME"
ends_with 0
err_is_empty
is "$(row numbers)" "numbers spsc 3 8 5 2 0/0 0 stopped 1 stopped" numbers
is "$(row ping)" "ping slots 3 64 3 0 0/0 0 stopped 1 stopped" ping
is "$(row frames)" "frames bytes 96 4096 4 1 0/0 0 stopped 1 stopped" frames
is "$(row 'chan a>b')" "chan a>b channel 96 65536 3 1 0/0 0 stopped 1 stopped" chan
is "$(row 'chan b>a')" "chan b>a channel 96 65536 2 0 0/0 1 stopped 0 stopped" chan
is "$(row jobs)" "jobs mpmc 3 16 5 2 0/0 many many" jobs
is "$(row log)" "log log 4 64 5 1 0/0 many 1 stopped" log
is "$(row heap)" "heap heap 6 KiB 244 KiB 6 blocks, 2 peers" heap
is "$(row pool)" "pool pool 768 B 1 KiB 3 blocks, 2 peers" pool
is "$(row news)" "news bcast 4 4 5 1 0/0 0 stopped many" news
is "$(wc -l <"$OUT" | tr -d ' ')" 11 lines

it observe_rings_json_has_the_same
run rings --json "$NAME"
ends_with 0
json "$OUT"
json_is "$OUT" '.[] | select(.name == "numbers") | .flows[0] | "\(.fill) \(.producer.messages) \(.consumer.messages)"' "3 5 2"
json_is "$OUT" '.[] | select(.name == "heap") | "\(.blocks) \(.members)"' "6 2"
json_is "$OUT" '[.[].flows[]] | length' 8

it observe_slots_tell_all_that_each_holds
run slots "$NAME"
ends_with 0
err_is_empty
is "$(rows 0)" 13 "rows of peer 0"
is "$(rows 1)" 17 "rows of peer 1"
is "$(row '1 stopped jobs')" "1 stopped jobs mpmc has it open
1 stopped jobs mpmc reads 1+1 24" "jobs of peer 1"
is "$(row '0 stopped jobs mpmc writes')" "0 stopped jobs mpmc writes 4+1 24" "jobs of peer 0"
is "$(row '1 stopped log log writes')" "1 stopped log log writes 3+2 128" "log of peer 1"
is "$(rows '1 stopped heap heap live')" 3 "blocks of peer 1"
is "$(rows '0 stopped heap heap live')" 2 "blocks of peer 0"
is "$(rows '1 stopped heap heap in flight from 0')" 1 "blocks on their way to peer 1"
is "$(rows '1 stopped pool pool live')" 2 "pool blocks of peer 1"

it observe_slots_held_by_one_are_its_own
run slots --held-by 1 --json "$NAME"
ends_with 0
json "$OUT"
is "$(grep -c '"slot": 1' "$OUT")" 17 "of peer 1"
is "$(grep -c '"slot": 0' "$OUT")" 0 "of peer 0"
run slots --held-by 1:99 "$NAME"
ends_with 0
is "$(size_of "$OUT")" 0 "bytes on what a peer holds that never was"
run slots --held-by x "$NAME"
ends_with 2
err_has SLOT

it observe_tap_shows_what_is_in_each_ring
run tap --seconds 0.01 "$NAME" numbers
ends_with 0
is "$(cat "$OUT")" "2  8  0200000000000000
3  8  0300000000000000
4  8  0400000000000000" numbers
run tap --count 3 "$NAME" ping
is "$(cat "$OUT")" "0  8  0000000000000000
1  8  0100000000000000
2  8  0200000000000000" ping
run tap --count 2 --max 5 "$NAME" frames
is "$(cat "$OUT")" '32  7  "frame"...
64  7  "frame"...' frames
run tap --raw --seconds 0.01 "$NAME" frames
is "$(cat "$OUT")" "frame 1frame 2frame 3" "bytes of frames"
# Nobody reads it: what was overwritten is not there any more.
run tap --seconds 0.01 "$NAME" news
ends_with 0
is "$(cut -c 1-8 "$OUT" | tr '\n' ' ')" "1  8  01 2  8  02 3  8  03 4  8  04 " news
run tap --json --count 1 "$NAME" news
json_is "$OUT" '"\(.position) \(.size) \(.skipped) \(.released) \(.hex)"' "1 8 0 false 0100000000000000"
# Behind them lies one that is still being written.
run tap --json --seconds 0.01 "$NAME" log
json "$OUT"
is "$(wc -l <"$OUT" | tr -d ' ')" 2 "records"
out_has '"position":1,"size":8,"skipped":0,"kind":0,"released":false,"text":"record 1"'
out_has '"text":"record 2"'
run tap --new --seconds 0.01 "$NAME" frames
ends_with 0
is "$(size_of "$OUT")" 0 "bytes of what is new"

it observe_tap_of_what_cannot_be_tapped_fails
for object in heap chan; do
	run tap "$NAME" $object
	ends_with 1
	err_is_message tap
	err_has 'cannot be tapped'
done
run tap "$NAME" nothing
ends_with 1
err_has "no object 'nothing'"
run tap --raw --json "$NAME" frames
ends_with 2
run tap "$NAME"
ends_with 2

it observe_hz_and_top_of_what_is_stopped_are_zero
run hz --interval 0.02 --count 2 --json "$NAME"
ends_with 0
json "$OUT"
is "$(wc -l <"$OUT" | tr -d ' ')" 2 "reports"
is "$(grep -o '_per_second":[^,}]*' "$OUT" | sort -u)" '_per_second":0.0' "rates"
is "$(grep -o '"name":"numbers"[^}]*' "$OUT" | sort -u | cut -d, -f5-8)" '"in":5,"out":2,"fill":3,"capacity":8' "numbers"
run hz --interval 0.02 --count 1 "$NAME"
is "$(row numbers)" "numbers spsc 0 0 3 8 0 stopped 1 stopped" numbers
run top --once --interval 0.02 "$NAME"
ends_with 0
err_is_empty
out_lacks "$ESC"
is "$(row numbers)" "numbers spsc 0 0 3 8 0 stopped 1 stopped" numbers
out_has ' 2 peers  9 objects '
run top --once --json --interval 0.02 "$NAME"
json "$OUT"
is "$(wc -l <"$OUT" | tr -d ' ')" 1 "looks"
same_bytes

# A window of so many rows and columns; @screen is what it was sent, s and q are pressed in it.
in_window()
{
	rm -f "$WORK/keys" "$WORK/screen"
	mkfifo "$WORK/keys"
	timeout "$SECONDS_MAX" script -qec \
		"stty rows $1 cols $2; TERM=xterm '$EVERING_TOOL' top --interval 0.1 '$NAME'" \
		/dev/null <"$WORK/keys" >"$WORK/screen" 2>"$ERR" &
	window=$!
	exec 3>"$WORK/keys"
	until_true grep -q 'by name' "$WORK/screen"
	printf s >&3
	until_true grep -q 'by rate' "$WORK/screen"
	printf q >&3
	wait $window
	status=$?
	exec 3>&-
}

# Of the frames its longest line, and most lines of one.
frames() { tr -d '\r' <"$WORK/screen" | sed "s/$ESC\[H/\\
FRAME\\
/g"; }
widest() { frames | sed "s/$ESC\[[?0-9]*[a-zA-Z]//g" | awk '{ if (length > n) n = length } END { print n }'; }
tallest() { frames | awk '/^FRAME/ { n = 0; next } { if (++n > m) m = n } END { print m }'; }

if command -v script >/dev/null 2>&1; then
	it observe_top_fits_the_window_and_obeys_keys
	in_window 6 40
	ends_with 0
	is "$(widest)" 40 "columns of 40"
	is "$(tallest)" 6 "rows of 6"
	tr '\033' '^' <"$WORK/screen" >"$OUT"
	out_has '^.*\^\[\?1049h'
	out_has '\^\[\?1049l'
	in_window 40 120
	ends_with 0
	tr '\033' '^' <"$WORK/screen" >"$OUT"
	out_has 'by name .*\(q quits, s sorts\)'
	out_has 'by rate '
	[ "$(tallest)" -gt 6 ] && [ "$(tallest)" -le 40 ] || bad "rows of 40: $(tallest)"
	same_bytes
else
	skip observe_top_fits_the_window_and_obeys_keys "needs script(1)"
fi

# It goes on for three numbers, a frame and a record, and stops again.
it observe_hz_and_tap_see_exactly_what_passes
"$EVERING_TOOL" hz --interval 0.05 --json "$NAME" >"$WORK/hz" &
watcher=$!
"$EVERING_TOOL" tap --count 4 "$NAME" frames >"$WORK/tap" &
tapper=$!
until_true has_lines "$WORK/hz" 1
until_true has_lines "$WORK/tap" 3
kill -CONT "$a"
until_true grep -q more "$WORK/app"
until_true is_stopped "$a"
wait $tapper
is $? 0 "status of the tap"
is "$(tail -n 1 "$WORK/tap")" '128  7  "frame 4"' "what is new"
until_true grep -q '"in":8,' "$WORK/hz"
kill -TERM $watcher
wait $watcher
is $? 0 "status of hz after a signal"
is "$(moved "$WORK/hz" numbers)" 3 "numbers that went in"
is "$(moved "$WORK/hz" frames)" 1 "frames that went in"
is "$(moved "$WORK/hz" ping)" 0 "messages that went into ping"
is "$(sent "$WORK/hz")" 4 "messages that peer 0 sent: a log has no one sender"

note_bytes

it observe_gc_has_nothing_to_do_while_all_are_stopped
run gc --dry-run "$NAME"
ends_with 0
is "$(row peers) $(row blocks)" "peers 0 blocks 0, 0 B" "of the stopped"
same_bytes

it observe_gc_dry_run_tells_what_a_death_has_left
kill -KILL "$b"
until_true is_dead_slot 1
# Who lists segments looks for deaths too, and another test may: here it has been.
run ls
note_bytes
run gc --dry-run "$NAME"
ends_with 0
row 'would settle' >/dev/null || bad "it does not say that it would"
is "$(row peers)" "peers 1" peers
is "$(row objects)" "objects 1 begun and not finished, 4 KiB" objects
is "$(row roles)" "roles 5" roles
is "$(row claims)" "claims 3 elements of queues" claims
is "$(row blocks)" "blocks 6, 4.5 KiB" blocks
run gc --dry-run "$NAME"
is "$(row blocks)" "blocks 6, 4.5 KiB" "blocks once more"
run rings "$NAME"
is "$(row numbers)" "numbers spsc 6 8 8 2 0/0 0 stopped 1 dead" "numbers after the death"
same_bytes

it observe_gc_does_just_that
run gc --json "$NAME"
ends_with 0
json "$OUT"
out_has '"peers": ?1,'
out_has '"roles": ?5,'
out_has '"claims": ?3,'
out_has '"blocks": ?6,'
out_has '"objects": ?1,'
run gc "$NAME"
is "$(row objects) $(row roles) $(row claims) $(row blocks)" \
	"objects 0 begun and not finished, 0 B roles 0 claims 0 elements of queues blocks 0, 0 B" "a second time"
run slots --held-by 1 "$NAME"
is "$(size_of "$OUT")" 0 "bytes on what the dead holds"
run rings "$NAME"
is "$(row heap)" "heap heap 2 KiB 244 KiB 2 blocks, 1 peers" heap

it observe_tap_goes_on_behind_the_record_of_the_dead
run tap --count 3 "$NAME" log
is "$(tail -n 2 "$OUT")" '... 2 units missed
5  8  "record 3"' "the record behind it"

it observe_lets_the_application_go_on
kill -CONT "$a"
wait
run peers "$NAME"
out_lacks live
run rm "$NAME"
ends_with 0

for sub in rings slots hz top gc 'gc --dry-run'; do
	it "observe_${sub}_of_unknown_segment_fails"
	run $sub "$NAME"
	ends_with 1
	err_is_message "${sub%% *}"
done

it observe_empty_segment_has_nothing
run create --size 1M "$NAME"
for sub in rings slots; do
	run $sub "$NAME"
	ends_with 0
	is "$(size_of "$OUT")" 0 "bytes of $sub"
	run $sub --json "$NAME"
	ends_with 0
	json "$OUT"
done
run rm "$NAME"

it observe_isolated_halves_are_one_lane
run create --isolated --peers 4 "$NAME"
mkfifo "$WORK/pipe"
"$EVERING_TOOL" send "$NAME" <"$WORK/pipe" >/dev/null 2>&1 &
sender=$!
exec 4>"$WORK/pipe"
# On the device who looks has a slot for a moment: not before the ends have theirs.
live_are() { timeout "$SECONDS_MAX" "$EVERING_TOOL" peers "$NAME" >"$OUT" && [ "$(grep -c live "$OUT")" = "$1" ]; }
until_true live_are 1
shows_data() { timeout "$SECONDS_MAX" "$EVERING_TOOL" rings "$NAME" >"$OUT" && row transfer.data >/dev/null; }
until_true shows_data
row transfer.data | grep -qE '^transfer.data bytes .* 0( asleep)? -$' || bad "a lane without a consumer: $(row transfer.data)"
"$EVERING_TOOL" recv "$NAME" >"$WORK/received" 2>/dev/null 4>&- &
receiver=$!
until_true live_are 2
both_ends() { shows_data && row transfer.data | grep -qE '0( asleep)? 1( asleep)?$'; }
until_true both_ends
is "$(rows transfer.data)" 1 "rows of a lane in two halves"
printf x >&4
until_true has_size "$WORK/received" 1
exec 4>&-
wait $sender
is $? 0 "status of the sender"
wait $receiver
is $? 0 "status of the receiver"
run rm --force "$NAME"

finish
