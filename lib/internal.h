/* SPDX-License-Identifier: MIT */
/* What the files of the library share and nobody else sees. */
#ifndef EVERING_INTERNAL_H
#define EVERING_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include <evering/error.h>
#include <evering/version.h>

/* error.c: the detail text of this thread. */
void evr_error_set(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* evr_fail() sets it and returns err, so that a check is one statement. */
void evr_error_clear(void);

/*
 * options.c: copy a caller's options struct of another version into ours: what it
 * lacks is 0, what it has beyond ours must be 0. NULL is all zeros.
 * -EINVAL, -E2BIG.
 */
int evr_options_read(void *to, size_t to_sz, const void *from, const char *name);

#define EVR_ROUND_UP(value, unit) (((value) + (unit)-1) / (unit) * (unit))

#endif
