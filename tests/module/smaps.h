/* SPDX-License-Identifier: MIT */
/* How a range is mapped, by /proc/self/smaps. */
#ifndef EVERING_TESTS_SMAPS_H
#define EVERING_TESTS_SMAPS_H

#include <stdbool.h>
#include <stddef.h>

/* Sum of one field ("FilePmdMapped", "Rss") over the VMAs within the range, bytes. */
size_t smaps_bytes(const void *start, size_t sz, const char *field);

/* Has the VMA at this address the two-letter flag ("dc", "mw") ? */
bool smaps_flag(const void *start, const char *flag);

#endif
