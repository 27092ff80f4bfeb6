/* SPDX-License-Identifier: MIT */
/* How far a transfer has come: a line on stderr while it runs, a summary at its end. */
#ifndef EVERING_PROGRESS_H
#define EVERING_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool shown;
	uint64_t total; /* bytes, 0 = not known */
	uint64_t bytes;
	uint64_t begin_ns; /* when the first byte came */
	uint64_t drawn_ns;
	bool is_terminal;
	bool has_line;
};

void progress_begin(struct progress *progress, bool shown, uint64_t total);

/* @bytes more have come; draws when it is time to. */
void progress_add(struct progress *progress, uint64_t bytes);

/* Draws for the last time and ends the line. */
void progress_end(struct progress *progress);

/* Seconds from the first byte until now. */
double progress_seconds(const struct progress *progress);

/* "1.2 GiB in 0.4 s, 3.1 GB/s"; text[PROGRESS_TEXT_SZ]. */
#define PROGRESS_TEXT_SZ 128
const char *progress_text(const struct progress *progress, char *text);

#endif
