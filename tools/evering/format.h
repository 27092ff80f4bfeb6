/* SPDX-License-Identifier: MIT */
/* Sizes, counts, rates and times as people write them, and back. */
#ifndef EVERING_FORMAT_H
#define EVERING_FORMAT_H

#include <stdint.h>

#define FORMAT_SZ 32 /* room for any of these texts */

/* Each writes into @text[FORMAT_SZ] and returns it. */
const char *format_size(char *text, uint64_t bytes); /* 64 MiB, 1.5 GiB, 17 B */
const char *format_rate(char *text, double bytes_per_second); /* 4.2 GB/s */
const char *format_count(char *text, double count); /* 12.3 M */
const char *format_time(char *text, double ns); /* 119 ns, 4.2 us, 1.3 s */
const char *format_age(char *text, uint64_t ns); /* 3s, 12m, 5h, 9d */
const char *format_clock(char *text, uint64_t seconds); /* 0:07, 1:02:33 */

/* "4096", "64K", "2MiB", "1.5G" (powers of 1024). 0, -EINVAL, -ERANGE. */
int format_parse_size(const char *text, uint64_t *bytes);

/* Decimal. 0, -EINVAL, -ERANGE. */
int format_parse_number(const char *text, uint64_t *number);

#endif
