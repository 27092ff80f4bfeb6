/* SPDX-License-Identifier: MIT */
/* How much contiguous memory there is to be had; no race of two processes, so no struct bench. */
#ifndef EVERING_BENCH_CONTIGUOUS_H
#define EVERING_BENCH_CONTIGUOUS_H

#include <evering/evering.h>

#include "json.h"

/* Adds to @list, or prints when it is NULL. An exit status. */
int bench_contiguous(enum evr_backend backend, struct json_object *list);

#endif
