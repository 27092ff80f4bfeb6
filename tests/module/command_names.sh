#!/bin/sh
# SPDX-License-Identifier: MIT
# Write the ioctl commands of uapi.h as lines {"NAME", NAME}, for test_ioctl.
set -e
sed -n -e ':a' -e '/\\$/{N;s/\\\n//;ba' -e '}' -e 's/^#define \(EVERING_IOC_[A-Z_]*\)[[:space:]]*_IO.*/{ "\1", \1 },/p' "$1"
