#!/bin/sh
# SPDX-License-Identifier: MIT
# What the tool is started with and runs on: standard streams that are closed, full or may not
# grow, names that are no text, /dev/shm as it should not be, a kernel that is too old.
# Seen to fail: tests/unit/controls, tool-streams-not-held, tool-death-of-a-full-file,
# tool-doctor-any-shm; without clean(), and before doctor looked whether /dev/shm may be written.
. "$(dirname "$0")/tap.sh"

NAME=$(uri a)
DATA=$WORK/data
GOT=$WORK/got
random "$DATA" 300000

has_peer()
{
	timeout "$SECONDS_MAX" "$EVERING_TOOL" peers "$NAME" 2>/dev/null | grep -q live
}

is_gone()
{
	timeout "$SECONDS_MAX" "$EVERING_TOOL" info "$NAME" >/dev/null 2>&1 && bad "$NAME is still there"
}

# The segment's descriptor must not come to be the stream: its memory would be sent, or written to.
it streams_closed_input_is_told_to_both
: >"$GOT"
timeout "$SECONDS_MAX" "$EVERING_TOOL" recv "$NAME" >"$GOT" 2>"$WORK/recv.err" &
receiver=$!
until_true has_peer
timeout "$SECONDS_MAX" "$EVERING_TOOL" send "$NAME" 2>"$ERR" <&-
status=$?
ends_with 1
err_has '^evering: send: standard input: Bad file descriptor'
wait $receiver
is $? 1 "status of recv"
cp "$WORK/recv.err" "$ERR"
err_has 'the sender stopped after 0 bytes: Bad file descriptor'
is "$(size_of "$GOT")" 0 "bytes received"
is_gone

it streams_closed_output_is_told_to_both
timeout "$SECONDS_MAX" "$EVERING_TOOL" send "$NAME" <"$DATA" 2>"$WORK/send.err" &
sender=$!
until_true has_peer
timeout "$SECONDS_MAX" "$EVERING_TOOL" recv "$NAME" 2>"$ERR" >&-
status=$?
ends_with 1
err_has '^evering: recv: standard output: Bad file descriptor'
wait $sender
is $? 1 "status of send"
cp "$WORK/send.err" "$ERR"
err_has 'the receiver stopped after 0 bytes: Bad file descriptor'
is_gone

it streams_all_closed_change_no_segment
timeout "$SECONDS_MAX" "$EVERING_TOOL" create --size 1M "$NAME" <&- >&- 2>&-
is $? 1 "status of create"
run info "$NAME"
ends_with 0
run rm "$NAME"
ends_with 0

it streams_full_output_fails
if [ -e /dev/full ]; then
	run create --size 1M "$NAME"
	for words in --help --version 'create --help' ls 'ls --json' doctor; do
		# shellcheck disable=SC2086
		timeout "$SECONDS_MAX" "$EVERING_TOOL" $words >/dev/full 2>"$ERR"
		is $? 1 "status of $words"
		err_has 'standard output: could not be written'
	done
	run rm "$NAME"
fi

it streams_file_that_may_not_grow_is_told_to_both
timeout "$SECONDS_MAX" "$EVERING_TOOL" send "$NAME" <"$DATA" 2>"$WORK/send.err" &
sender=$!
until_true has_peer
# Blocks of 512 or of 1024 bytes.
(ulimit -f 8 && exec timeout "$SECONDS_MAX" "$EVERING_TOOL" recv "$NAME" >"$GOT" 2>"$ERR")
status=$?
ends_with 1
err_has '^evering: recv: standard output: File too large'
wait $sender
is $? 1 "status of send"
cp "$WORK/send.err" "$ERR"
err_has 'the receiver stopped after [0-9]+ bytes: File too large'
is_gone

it streams_names_that_are_no_text_are_told_as_such
run create "$EVERING_BACKEND:$(printf 'a\303\244')"
ends_with 2
err_has 'byte 1 of the name is \\xc3; allowed are'
run create "$EVERING_BACKEND:$(printf 'a\033[31mb')"
ends_with 2
err_has 'byte 1 of the name is \\x1b'
is "$(tr -cd '\033' <"$ERR" | wc -c | tr -d ' ')" 0 "control characters on the terminal"

# on_shm WHAT ARGS...: with another /dev/shm, made by mount WHAT, that nobody else sees.
on_shm()
{
	shm=$1
	shift
	# shellcheck disable=SC2016
	timeout "$SECONDS_MAX" unshare -m sh -c 'mount -t tmpfs $0 none /dev/shm && exec "$@"' \
		"$shm" "$EVERING_TOOL" "$@" >"$OUT" 2>"$ERR" </dev/null
	status=$?
}

if [ "$EVERING_BACKEND" = local ] && unshare -m mount -t tmpfs none /dev/shm 2>/dev/null; then
	it streams_shm_that_may_not_be_written_is_told
	on_shm '-o ro' create "$NAME"
	ends_with 1
	err_has 'cannot make a file in /dev/shm: Read-only file system; '
	on_shm '-o ro' doctor
	ends_with 0
	out_has '^  \* /dev/shm may not be written'

	it streams_shm_that_is_too_small_is_told
	on_shm '-o size=1m' create "$NAME"
	ends_with 1
	err_has 'cannot get [0-9]+ bytes of shared memory: No space left on device; see the size of /dev/shm'
	on_shm '-o size=1m' doctor
	out_has '^  \* /dev/shm is nearly full'

	it streams_device_that_is_something_else_is_told
	timeout "$SECONDS_MAX" unshare -m sh -c 'mount -t tmpfs none /dev && : >/dev/evering && exec "$@"' - \
		"$EVERING_TOOL" info "$PREFIX-a" >"$OUT" 2>"$ERR" </dev/null
	status=$?
	ends_with 1
	err_has "/dev/evering: this is something else than the module's device; remove it"
else
	skip streams_shm_that_may_not_be_written_is_told "local backend, and the right to mount"
	skip streams_shm_that_is_too_small_is_told "local backend, and the right to mount"
	skip streams_device_that_is_something_else_is_told "local backend, and the right to mount"
fi

# Of a kernel that says it is 2.6.
if [ ! -e /dev/evering ] && setarch "$(uname -m)" --uname-2.6 true 2>/dev/null; then
	it streams_kernel_that_is_too_old_is_told
	timeout "$SECONDS_MAX" setarch "$(uname -m)" --uname-2.6 "$EVERING_TOOL" create "device:$PREFIX-a" 2>"$ERR"
	status=$?
	ends_with 1
	err_is_message create
	err_has 'Linux 2\.6[^ ]* is too old for its module; boot 6\.1 or later, or use the local backend'
	timeout "$SECONDS_MAX" setarch "$(uname -m)" --uname-2.6 "$EVERING_TOOL" doctor >"$OUT" 2>"$ERR"
	status=$?
	ends_with 0
	out_has '^  \* no device: this kernel is too old for the module'
else
	skip streams_kernel_that_is_too_old_is_told "a machine without the device, and setarch"
fi

if [ ! -e /dev/evering ]; then
	it streams_missing_device_is_told_once
	run info "device:$PREFIX-a"
	ends_with 1
	is "$(grep -o 'modprobe' "$ERR" | wc -l | tr -d ' ')" 1 "advices to load the module"
fi

finish
