/* SPDX-License-Identifier: MIT */
/* What things take in bytes; counted, not timed, so no struct bench. */
#ifndef EVERING_BENCH_MEMORY_H
#define EVERING_BENCH_MEMORY_H

#include <evering/evering.h>

#include "json.h"

/* One thing, and the part of it that is the caller's own data. */
struct memory_row {
	const char *what;
	double bytes;
	double data;
};

/* Adds to @list, or prints when it is NULL. An exit status. */
int bench_memory(enum evr_backend backend, struct json_object *list);

/* Of malloc(3)'s memory, by this process. */
double bytes_used(void);

/* Of the driver; where there is io_uring or not. Returns how many rows, or a negative errno. */
int memory_of_driver(struct memory_row *rows);

#endif
