// SPDX-License-Identifier: MIT
/* How far a transfer has come: a line on stderr while it runs, a summary at its end. */
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <evering/evering.h>

#include "format.h"

#define TERMINAL_PERIOD_NS 200000000ULL
#define ETA_MAX 1e9 /* seconds: later is never */
#define LINE_PERIOD_NS 2000000000ULL

void progress_begin(struct progress *progress, bool shown, uint64_t total)
{
	*progress = (struct progress){ .shown = shown,
				       .total = total,
				       .is_terminal = isatty(STDERR_FILENO) };
}

double progress_seconds(const struct progress *progress)
{
	return progress->begin_ns ? (double)(evr_now_ns() - progress->begin_ns) / 1e9 : 0;
}

static double bytes_per_second(const struct progress *progress)
{
	double seconds = progress_seconds(progress);

	return seconds > 0 ? (double)progress->bytes / seconds : 0;
}

const char *progress_text(const struct progress *progress, char *text)
{
	char size[FORMAT_SZ], time[FORMAT_SZ], rate[FORMAT_SZ];

	snprintf(text, PROGRESS_TEXT_SZ, "%s in %s, %s", format_size(size, progress->bytes),
		 format_time(time, progress_seconds(progress) * 1e9),
		 format_rate(rate, bytes_per_second(progress)));
	return text;
}

static void draw(struct progress *progress)
{
	char size[FORMAT_SZ], total[FORMAT_SZ], rate[FORMAT_SZ], clock[FORMAT_SZ];
	double speed = bytes_per_second(progress);
	char line[160];
	int used;

	used = snprintf(line, sizeof(line), "%10s  %10s", format_size(size, progress->bytes),
			format_rate(rate, speed));
	if (progress->total && progress->bytes <= progress->total) {
		double left = (double)(progress->total - progress->bytes) / speed;

		used += snprintf(
			line + used, sizeof(line) - (size_t)used, "  %3u %% of %s",
			(unsigned int)((double)progress->bytes * 100 / (double)progress->total),
			format_size(total, progress->total));
		/* What somebody else says is the total may be any number. */
		if (speed > 0 && left < ETA_MAX)
			snprintf(line + used, sizeof(line) - (size_t)used, "  ETA %s",
				 format_clock(clock, (uint64_t)(left + 0.5)));
	}
	fprintf(stderr, progress->is_terminal ? "\r%-70s" : "%s\n", line);
	fflush(stderr);
	progress->has_line = true;
}

void progress_add(struct progress *progress, uint64_t bytes)
{
	uint64_t period = progress->is_terminal ? TERMINAL_PERIOD_NS : LINE_PERIOD_NS;
	uint64_t now;

	if (!progress->begin_ns)
		progress->begin_ns = progress->drawn_ns = evr_now_ns();
	progress->bytes += bytes;
	if (!progress->shown)
		return;
	now = evr_now_ns();
	if (now - progress->drawn_ns < period)
		return;
	progress->drawn_ns = now;
	draw(progress);
}

void progress_end(struct progress *progress)
{
	if (!progress->shown)
		return;
	draw(progress);
	if (progress->is_terminal)
		fputc('\n', stderr);
}
