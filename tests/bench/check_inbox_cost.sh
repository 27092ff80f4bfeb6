#!/bin/sh
# SPDX-License-Identifier: MIT
# check_inbox_cost.sh PROGRAM: instructions for a message into an inbox and out again, and for a
# look that finds nothing, by how many senders there are. Fails beyond the bounds.
set -u
program=$1
. "$(dirname "$0")/slope.sh"

echo 1..4
verdict inbox_message_of_one_sender_costs_at_most "$(slope 2000 1 one)" 400
verdict inbox_message_among_64_senders_costs_at_most "$(slope 2000 64 one)" 420
verdict inbox_look_at_one_sender_costs_at_most "$(slope 500 1 none)" 850
verdict inbox_look_at_64_senders_costs_at_most "$(slope 500 64 none)" 1900
exit $failed
