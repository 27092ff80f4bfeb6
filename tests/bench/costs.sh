#!/bin/sh
# SPDX-License-Identifier: MIT
# costs.sh DIRECTORY: instructions of one operation, by callgrind, for run.py: lines of
# "what|ours|whose|theirs|aim", the last three of which may be empty. DIRECTORY has the programs.
set -u
directory=$1
. "$(dirname "$0")/slope.sh"

told() # what, ours, whose, theirs, aim
{
	[ -z "$2" ] || echo "$1|$2|$3|$4|${5-}"
}

program=$directory/driver_nop
if [ -x "$program" ] && "$program" driver 1 1000 >/dev/null; then
	for batch in 1 8 32 128; do
		aim=
		[ $batch != 1 ] || aim=215
		[ $batch != 32 ] || aim=120
		told "driver: no-op, batches of $batch" "$(slope 12800 driver $batch)" liburing \
			"$(slope 12800 raw $batch)" "$aim"
	done
	program=$directory/driver_parts
	told "driver: a slot taken and freed" "$(slope 12800 slot)" "" "" ""
	told "driver: an injection, nobody asleep" "$(slope 12800 inject)" "" "" 80
	program=$directory/driver_read
	for kind in plain fixed; do
		told "driver: a read, $kind" "$(slope 12800 driver $kind)" liburing "$(slope 12800 raw $kind)" ""
	done
fi
program=$directory/mpmc_pair
told "mpmc: one in and out, alone" "$(slope 4000 evering)" "Vyukov, no repair" \
	"$(slope 4000 vyukov)" 200
told "mpmc: in and out by 32, alone" "$(slope 32000 evering 32)" "" "" 60
program=$directory/inbox_pair
told "inbox: one in and out, among 64 senders" "$(slope 2000 64 one)" "" "" 420
told "inbox: a look at 64 senders, nothing there" "$(slope 500 64 none)" "" "" 1900
program=$directory/call_pair
told "call: a byte and its answer, both ends" "$(slope 4000 1)" "" "" 2450
told "call: 1 KiB and its answer, both ends" "$(slope 4000 1024)" "" "" 2700
