#!/bin/sh
# SPDX-License-Identifier: MIT
# A tree of 1 GiB through send and recv, checksums compared; EVERING_BYTES asks for less.
# MD5: nobody forges here, and in a machine without KVM SHA-256 takes longer than the transfer.
. "$(dirname "$0")/tap.sh"
SECONDS_MAX=550

NAME=$(uri a)
BYTES=${EVERING_BYTES:-1073741824}

it transfer_long_tree_is_exact
mkdir -p "$WORK/tree" "$WORK/copy"
for part in 1 2 3 4; do
	head -c $((BYTES / 4)) /dev/urandom >"$WORK/tree/$part"
done
(cd "$WORK/tree" && tar c .) | timeout "$SECONDS_MAX" "$EVERING_TOOL" send "$NAME" 2>"$ERR" &
sender=$!
timeout "$SECONDS_MAX" "$EVERING_TOOL" recv --json "$NAME" 2>"$WORK/recv.err" | (cd "$WORK/copy" && tar x)
wait $sender
is $? 0 "status of send"
(cd "$WORK/tree" && md5sum 1 2 3 4) >"$WORK/sent"
(cd "$WORK/copy" && md5sum 1 2 3 4) >"$WORK/got"
same "$WORK/sent" "$WORK/got"
show "$WORK/recv.err"

finish
