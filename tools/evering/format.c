// SPDX-License-Identifier: MIT
/* Sizes, counts, rates and times as people write them, and back. */
#include "format.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Three digits that matter, no zeros after the point that say nothing. */
static const char *write_scaled(char *text, double value, const char *unit)
{
	int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
	char number[FORMAT_SZ / 2];

	snprintf(number, sizeof(number), "%.*f", decimals, value);
	if (decimals) {
		size_t end = strlen(number);

		while (number[end - 1] == '0')
			number[--end] = '\0';
		if (number[end - 1] == '.')
			number[--end] = '\0';
	}
	snprintf(text, FORMAT_SZ, "%s%s%s", number, *unit ? " " : "", unit);
	return text;
}

const char *format_size(char *text, uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	unsigned int unit = 0;

	while (value >= 1024 && unit < 6) {
		value /= 1024;
		unit++;
	}
	return write_scaled(text, value, units[unit]);
}

static const char *write_decimal(char *text, double value, const char *const *units,
				 unsigned int nr)
{
	unsigned int unit = 0;

	while (value >= 999.5 && unit + 1 < nr) {
		value /= 1000;
		unit++;
	}
	return write_scaled(text, value, units[unit]);
}

const char *format_rate(char *text, double bytes_per_second)
{
	static const char *const units[] = { "B/s", "kB/s", "MB/s", "GB/s", "TB/s" };

	return write_decimal(text, bytes_per_second, units, 5);
}

const char *format_count(char *text, double count)
{
	static const char *const units[] = { "", "k", "M", "G", "T" };

	return write_decimal(text, count, units, 5);
}

const char *format_time(char *text, double ns)
{
	static const char *const units[] = { "ns", "us", "ms", "s" };

	return write_decimal(text, ns, units, 4);
}

const char *format_age(char *text, uint64_t ns)
{
	uint64_t seconds = ns / 1000000000;

	if (seconds < 120)
		snprintf(text, FORMAT_SZ, "%us", (unsigned int)seconds);
	else if (seconds < 120 * 60)
		snprintf(text, FORMAT_SZ, "%um", (unsigned int)(seconds / 60));
	else if (seconds < 48 * 3600)
		snprintf(text, FORMAT_SZ, "%uh", (unsigned int)(seconds / 3600));
	else
		snprintf(text, FORMAT_SZ, "%ud", (unsigned int)(seconds / 86400));
	return text;
}

const char *format_clock(char *text, uint64_t seconds)
{
	unsigned int minutes = (unsigned int)(seconds / 60 % 60);
	unsigned int rest = (unsigned int)(seconds % 60);

	if (seconds >= 3600)
		snprintf(text, FORMAT_SZ, "%u:%02u:%02u", (unsigned int)(seconds / 3600), minutes,
			 rest);
	else
		snprintf(text, FORMAT_SZ, "%u:%02u", minutes, rest);
	return text;
}

/* How many powers of 1024 the suffix @text stands for, or -1. */
static int parse_unit(const char *text)
{
	static const char letters[] = "KMGTPE";
	const char *letter;

	if (!*text || !strcasecmp(text, "B"))
		return 0;
	letter = strchr(letters, toupper((unsigned char)*text));
	if (!letter)
		return -1;
	text++;
	if (*text && strcasecmp(text, "B") && strcasecmp(text, "iB"))
		return -1;
	return (int)(letter - letters) + 1;
}

int format_parse_size(const char *text, uint64_t *bytes)
{
	double value;
	char *end;
	int unit;

	if (!isdigit((unsigned char)*text) || !strncasecmp(text, "0x", 2))
		return -EINVAL;
	value = strtod(text, &end);
	unit = parse_unit(end);
	if (unit < 0)
		return -EINVAL;
	value = ldexp(value, 10 * unit);
	if (!(value < 18446744073709551616.0))
		return -ERANGE;
	/* A whole number without a unit is taken digit by digit: a double would round it. */
	if (!unit && !memchr(text, '.', (size_t)(end - text)) &&
	    !memchr(text, 'e', (size_t)(end - text))) {
		errno = 0;
		*bytes = strtoull(text, NULL, 10);
		return errno ? -ERANGE : 0;
	}
	if (value != floor(value))
		return -EINVAL;
	*bytes = (uint64_t)value;
	return 0;
}

int format_parse_number(const char *text, uint64_t *number)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	*number = strtoull(text, &end, 10);
	if (*end)
		return -EINVAL;
	return errno ? -ERANGE : 0;
}
