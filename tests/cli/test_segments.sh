#!/bin/sh
# SPDX-License-Identifier: MIT
# create, ls, info, peers, rm, revoke: what works, and what each bad input answers.
# Seen to fail: tests/unit/controls, tool-lists-both.
. "$(dirname "$0")/tap.sh"

NAME=$(uri a)

it segments_create_makes_what_was_asked
run create --size 2M --peers 4 --peer-size 8K --mode 0640 "$NAME"
ends_with 0
out_has "^$NAME: .*4 peers"
err_is_empty
run info --json "$NAME"
ends_with 0
json "$OUT"
json_is "$OUT" .name "$PREFIX-a"
json_is "$OUT" .backend "$EVERING_BACKEND"
json_is "$OUT" .shared_size 2097152
json_is "$OUT" .peers_max 4
json_is "$OUT" .mode 0640
json_is "$OUT" .keep true
json_is "$OUT" .isolated false

it segments_create_alone_has_what_help_says
run create --json "$(uri d)"
ends_with 0
json_is "$OUT" .shared_size 67108864
json_is "$OUT" .peers_max 16
json_is "$OUT" .peer_size 0
run rm "$(uri d)"
run create --json --isolated --peers 2 "$(uri d)"
ends_with 0
json_is "$OUT" .peer_size 4194304
run rm "$(uri d)"
run create --help
out_has '\(64M\)$'
out_has '\(16\)$'
out_has '\(none; 4M with --isolated\)$'

it segments_create_of_taken_name_fails
run create "$NAME"
ends_with 1
err_is_message create
err_has "the name '$PREFIX-a' is taken; use another one or remove it|$PREFIX-a: the name is taken; use another one or remove it"

it segments_ls_shows_it
run ls
ends_with 0
out_has '^NAME '
out_has "^$NAME .*0/4 .*0640"

it segments_ls_json_has_it
run ls --json
ends_with 0
json "$OUT"
json_is "$OUT" ".[] | select(.name == \"$PREFIX-a\") | .peers_max" 4

it segments_ls_of_other_backend_lacks_it
other=device
[ "$EVERING_BACKEND" = device ] && other=local
run ls --backend $other
out_lacks "$PREFIX-a"

it segments_info_tells_all
run info "$NAME"
ends_with 0
out_has "^$NAME"
out_has 'peers +0 of 4'
out_has "stays +until 'evering rm'"
out_has 'shared +offset 0x[0-9a-f]+ +2 MiB'

it segments_peers_of_empty_segment_is_empty
run peers "$NAME"
ends_with 0
is "$(size_of "$OUT")" 0 "bytes on stdout"

it segments_peers_json_of_empty_segment_is_empty_list
run peers --json "$NAME"
ends_with 0
json "$OUT"
out_has '^\[\]|^\[$'

it segments_revoke_of_empty_slot_fails
run revoke "$NAME" 1
ends_with 1
err_is_message revoke
err_has 'slot 1'

for peer in x 256 1:x -1; do
	it "segments_revoke_of_peer_'$peer'_fails"
	run revoke "$NAME" -- $peer
	ends_with 2
	err_has 'SLOT'
done

it segments_rm_removes_it
run rm "$NAME"
ends_with 0
run ls
out_lacks "$PREFIX-a"

for sub in info peers events rm; do
	it "segments_${sub}_of_unknown_segment_fails"
	run $sub "$NAME"
	ends_with 1
	err_is_message $sub
done

it segments_revoke_in_unknown_segment_fails
run revoke "$NAME" 0
ends_with 1
err_is_message revoke

it segments_rm_force_of_unknown_segment_is_fine
run rm --force "$NAME"
ends_with 0
err_is_empty

it segments_rm_of_several_removes_the_others
run create --size 1M "$(uri b)"
run create --size 1M "$(uri c)"
run rm --json "$(uri b)" "$NAME" "$(uri c)"
ends_with 1
err_is_message rm
json "$OUT"
run ls
out_lacks "$PREFIX-[bc]"

it segments_isolated_has_regions_only
run create --isolated --peer-size 64K --peers 3 --json "$NAME"
ends_with 0
json "$OUT"
json_is "$OUT" .isolated true
json_is "$OUT" .shared_size 0
json_is "$OUT" .peer_size 65536
run rm "$NAME"

it segments_hold_removes_it_at_a_signal
"$EVERING_TOOL" create --hold --size 1M "$NAME" >"$OUT" 2>"$ERR" &
holder=$!
until_true grep -q "$PREFIX-a" "$OUT"
timeout "$SECONDS_MAX" "$EVERING_TOOL" info "$NAME" >/dev/null || bad "not there while it is held"
kill -TERM $holder
wait $holder
is $? 0 "status of the holder"
run info "$NAME"
ends_with 1

it segments_create_too_large_fails
run create --size 1000T "$NAME"
ends_with 1
err_is_message create
run info "$NAME"
ends_with 1

if [ "$EVERING_BACKEND" = local ]; then
	it segments_contiguous_on_local_fails
	run create --contiguous --size 2M "$NAME"
	ends_with 1
	err_is_message create
	err_has 'contiguous'

	it segments_on_local_are_of_shmem
	run create --backing pages --size 2M --json "$NAME"
	ends_with 0
	json_is "$OUT" .backing shmem
	run rm "$NAME"

	it segments_revoke_on_local_fails
	run create --size 1M "$NAME"
	"$EVERING_TOOL" events --count 1 "$NAME" >/dev/null 2>&1 &
	watcher=$!
	has_peer() { timeout "$SECONDS_MAX" "$EVERING_TOOL" peers "$NAME" | grep -q live; }
	until_true has_peer
	slot=$(timeout "$SECONDS_MAX" "$EVERING_TOOL" peers "$NAME" | awk '/live/ { print $1 }')
	run peers --json "$NAME"
	ends_with 0
	json "$OUT"
	out_has '"state": ?"live"'
	run revoke "$NAME" "$slot"
	ends_with 1
	err_is_message revoke
	kill $watcher
	wait $watcher
	run rm "$NAME"
else
	it segments_contiguous_has_one_extent
	run create --contiguous --size 8M --json "$NAME"
	ends_with 0
	json_is "$OUT" .extents 1
	json_is "$OUT" .backing pages
	run rm "$NAME"

	it segments_mapped_by_shmem_say_so
	run create --backing shmem --size 8M "$NAME"
	ends_with 0
	out_has 'mapped by shmem'
	run info --json "$NAME"
	json_is "$OUT" .backing shmem
	run rm "$NAME"

	it segments_revoke_ends_the_peer
	run create --size 2M "$NAME"
	"$EVERING_TOOL" events --json "$NAME" >/dev/null 2>&1 &
	watcher=$!
	has_peer() { timeout "$SECONDS_MAX" "$EVERING_TOOL" peers "$NAME" | grep -q live; }
	until_true has_peer
	slot=$(timeout "$SECONDS_MAX" "$EVERING_TOOL" peers "$NAME" | awk '/live/ { print $1 }')
	run revoke --json "$NAME" "$slot"
	ends_with 0
	json "$OUT"
	out_has "\"slot\": ?$slot,"
	out_has '"incarnation": ?1$'
	wait $watcher
	is $? 1 "status of the revoked watcher"
	run rm "$NAME"
fi

# Runs the tool as a user without rights: with util-linux, or with busybox, which has su only.
# It is a copy: where the tool was built, that user may not look.
as_nobody()
{
	chmod 755 "$WORK"
	cp "$EVERING_TOOL" "$WORK/evering"
	chmod 755 "$WORK/evering"
	if [ -z "$EVERING_VM" ]; then
		setpriv --reuid 65534 --regid 65534 --clear-groups timeout "$SECONDS_MAX" "$WORK/evering" "$@"
	else
		su -s /bin/sh bob -c "timeout $SECONDS_MAX $WORK/evering $*"
	fi >"$OUT" 2>"$ERR"
	status=$?
}

if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null 2>&1; then
	it segments_without_rights_cannot_be_opened
	run create --size 1M --mode 0600 "$NAME"
	as_nobody info "$NAME"
	ends_with 1
	err_is_message info
	err_has '[Pp]ermission|denied|right'
	if [ "$EVERING_BACKEND" = local ]; then
		err_lacks '/dev/evering'
		as_nobody ls
		out_has "^$NAME .*0600 .*may not be opened"
	fi
	as_nobody rm "$NAME"
	ends_with 1
	err_is_message rm
	run rm "$NAME"
	ends_with 0
else
	skip segments_without_rights_cannot_be_opened "needs root and setpriv"
fi

if [ "$EVERING_BACKEND" = device ] && [ -n "$EVERING_VM" ]; then
	it segments_device_that_may_not_be_opened_is_told
	as_nobody create --size 1M "$NAME"
	ends_with 1
	err_has '/dev/evering: no permission; become a member of the device.s group \(evering\)'
	as_nobody create --size 1M "$PREFIX-plain"
	ends_with 0
	err_has "$PREFIX-plain is taken as local:$PREFIX-plain: /dev/evering may not be opened; become a member"
	as_nobody rm "local:$PREFIX-plain"
	ends_with 0
	err_is_empty
fi

if [ "$EVERING_BACKEND" = local ] && [ ! -e /dev/evering ]; then
	it segments_on_missing_device_say_what_to_do
	run create "device:$PREFIX-a"
	ends_with 1
	err_is_message create
	err_has 'evering'
	err_has 'modprobe|module|local:'
fi

finish
