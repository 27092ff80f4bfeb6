#!/bin/sh
# SPDX-License-Identifier: MIT
# Each limit of the device that a user can meet has its own message, which says what to do.
# Seen to fail: with the advice of explain_create() left out.
. "$(dirname "$0")/tap.sh"

if [ "$EVERING_BACKEND" != device ] || [ "$(id -u)" != 0 ]; then
	echo "1..0 # SKIP limits of the device, set by root"
	exit 77
fi

PARAMETERS=/sys/module/evering/parameters
NAME=$(uri a)

# with PARAMETER VALUE COMMAND...: the parameter is as before afterwards.
with()
{
	parameter=$PARAMETERS/$1
	before=$(cat "$parameter")
	echo "$2" >"$parameter" || bad "$1 cannot be $2"
	shift 2
	"$@"
	echo "$before" >"$parameter"
}

mem_free_mib()
{
	awk '/^MemFree:/ { print int($2 / 1024) }' /proc/meminfo
}

it limits_of_one_segment_are_told
with segment_bytes_max 4194304 run create --size 8M "$NAME"
ends_with 1
err_is_message create
err_has '8388608 bytes are more than .* one segment, 4194304 \(parameter segment_bytes_max\)'

it limits_of_all_segments_are_told
run create --size 2M "$(uri b)"
ends_with 0
with segments_max 1 run create --size 2M "$NAME"
ends_with 1
err_is_message create
err_has '1 of 1 segments are in use .*segments_max'
with total_bytes_max 4194304 run create --size 4M "$NAME"
ends_with 1
err_is_message create
err_has '2097152 of 4194304 bytes .*total_bytes_max'
run rm "$(uri b)"
ends_with 0

it limits_of_the_user_are_told
chmod 755 "$WORK"
cp "$EVERING_TOOL" "$WORK/evering"
chmod 755 "$WORK/evering"
mode=$(stat -c %a /dev/evering)
chmod 666 /dev/evering
su -s /bin/sh bob -c "ulimit -l 4096; timeout $SECONDS_MAX $WORK/evering create --size 8M $NAME" \
	>"$OUT" 2>"$ERR"
status=$?
chmod "$mode" /dev/evering
ends_with 1
err_is_message create
err_has 'quota of this user: 0 of 4194304 bytes are in use, and 8388608 more .*RLIMIT_MEMLOCK'
err_has 'evering doctor'

# Free memory has holes: from all of it downwards, a size comes whose blocks can be had, but in no run.
if [ -n "$EVERING_LONG" ]; then
	it limits_of_contiguity_are_told
	limit=$PARAMETERS/total_bytes_max
	before=$(cat "$limit")
	echo 1099511627776 >"$limit"
	size=$(mem_free_mib)
	while [ "$size" -gt 64 ]; do
		run create --contiguous --size "${size}M" "$NAME"
		grep -q 'memory for it is not there' "$ERR" || break
		size=$((size - 64))
	done
	echo "$before" >"$limit"
	ends_with 1
	err_is_message create
	err_has 'longest contiguous run that could be had is [0-9]+ bytes'
else
	skip limits_of_contiguity_are_told "looks through all memory: in check-long"
fi

it limits_leave_nothing
run info "$NAME"
ends_with 1

finish
