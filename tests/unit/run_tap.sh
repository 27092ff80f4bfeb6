#!/bin/sh
# SPDX-License-Identifier: MIT
# run_tap.sh PROGRAM [ARGUMENT...]: run it, and say of a case that it skipped "ok # SKIP" as
# TAP wants. cmocka says "not ok # SKIP", which Meson takes for a failure.
exec 3>&1
rc=$({ { "$@"; echo $? >&4; } | sed -u 's/^not ok \([0-9]*\) # SKIP/ok \1 # SKIP/' >&3; } 4>&1)
exit "$rc"
