#!/bin/sh
# SPDX-License-Identifier: MIT
# doctor: tells of both backends, of every guarantee, and what to do.
. "$(dirname "$0")/tap.sh"

it doctor_tells_of_backends_and_guarantees
run doctor
ends_with 0
out_has "^  $EVERING_BACKEND +works"
for what in 'contiguous memory' 'huge mappings' 'rights enforced' revocation 'death notice' identity 'fixed buffers' \
	io_uring '/dev/shm' memory; do
	out_has "^  $what"
done
out_has '^(To do:|Nothing is missing)'
err_is_empty

it doctor_json_has_the_same
run doctor --json
ends_with 0
json "$OUT"
json_is "$OUT" ".backends[] | select(.name == \"$EVERING_BACKEND\") | .works" true
json_is "$OUT" '.guarantees | has("death notice")' true
json_is "$OUT" '.driver | has("mode")' true

it doctor_tells_what_a_driver_comes_to
EVERING_DRIVER_MODE=none
export EVERING_DRIVER_MODE
run doctor --json
unset EVERING_DRIVER_MODE
ends_with 0
json_is "$OUT" .driver.mode none
json_is "$OUT" .driver.fixed_buffers false
json_is "$OUT" .driver.ops.statx thread
json_is "$OUT" .driver.ops.accept epoll
json_is "$OUT" .driver.ops.timer driver
if "$EVERING_TOOL" doctor | grep -qE '^ +io_uring +allowed'; then
	run doctor --json
	json_is "$OUT" .driver.ops.accept io_uring
	json_is "$OUT" .driver.ops.raw io_uring
	run doctor
	out_has '^  driver +mode (defer|plain), .*fixed files'
fi

if [ ! -e /dev/evering ]; then
	it doctor_says_how_to_get_the_device
	run doctor
	out_has '^  device +no'
	out_has 'modprobe evering'
fi

it doctor_is_plain_without_a_terminal
run doctor
out_lacks "$(printf '\033')"

finish
