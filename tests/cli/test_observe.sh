#!/bin/sh
# SPDX-License-Identifier: MIT
# rings, slots and gc: what they tell of an application whose processes are stopped, to the
# number; and that they leave no trace in it. hung_app.c says what there is to be seen.
# Seen to fail: tests/unit/controls, tool-rings-swapped, tool-slots-of-all, tool-gc-writes.
. "$(dirname "$0")/tap.sh"

NAME=$(uri hung)
FILE=/dev/shm/evering.$PREFIX-hung

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
is "$(wc -l <"$OUT" | tr -d ' ')" 10 lines

it observe_rings_json_has_the_same
run rings --json "$NAME"
ends_with 0
json "$OUT"
json_is "$OUT" '.[] | select(.name == "numbers") | .flows[0] | "\(.fill) \(.producer.messages) \(.consumer.messages)"' "3 5 2"
json_is "$OUT" '.[] | select(.name == "heap") | "\(.blocks) \(.members)"' "6 2"
json_is "$OUT" '[.[].flows[]] | length' 7

it observe_slots_tell_all_that_each_holds
run slots "$NAME"
ends_with 0
err_is_empty
is "$(rows 0)" 12 "rows of peer 0"
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

it observe_gc_has_nothing_to_do_while_all_are_stopped
run gc --dry-run "$NAME"
ends_with 0
is "$(row peers) $(row blocks)" "peers 0 blocks 0, 0 B" "of the stopped"
same_bytes

it observe_gc_dry_run_tells_what_a_death_has_left
kill -KILL "$b"
until_true is_dead_slot 1
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
is "$(row numbers)" "numbers spsc 3 8 5 2 0/0 0 stopped 1 dead" "numbers after the death"
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

it observe_lets_the_application_go_on
kill -CONT "$a"
wait
run peers "$NAME"
out_lacks live
run rm "$NAME"
ends_with 0

for sub in rings slots gc 'gc --dry-run'; do
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
"$EVERING_TOOL" send "$NAME" </dev/zero >/dev/null 2>&1 &
sender=$!
# It waits for somebody to read, so there is nothing in it yet.
shows_data() { timeout "$SECONDS_MAX" "$EVERING_TOOL" rings "$NAME" >"$OUT" && row transfer.data >/dev/null; }
until_true shows_data
row transfer.data | grep -qE '^transfer.data bytes .* 0( asleep)? -$' || bad "a lane without a consumer: $(row transfer.data)"
"$EVERING_TOOL" recv "$NAME" 2>/dev/null | { read -r line; } &
both_ends() { shows_data && row transfer.data | grep -qE '0( asleep)? 1( asleep)?$'; }
until_true both_ends
is "$(rows transfer.data)" 1 "rows of a lane in two halves"
kill -TERM $sender
wait
run rm --force "$NAME"

finish
