/* SPDX-License-Identifier: MIT */
/* Options structs of callers that were built with another version of the headers. */
#include "internal.h"

#include <errno.h>
#include <string.h>

/* No options struct will ever be as large; a struct_sz beyond it is garbage. */
#define OPTIONS_SZ_MAX 4096

int evr_options_read(void *to, size_t to_sz, const void *from, const char *name)
{
	const unsigned char *bytes = from;
	size_t sz, i;

	memset(to, 0, to_sz);
	if (!from)
		return 0;
	memcpy(&sz, from, sizeof(sz));
	if (sz < sizeof(sz) || sz > OPTIONS_SZ_MAX)
		return evr_fail(-EINVAL,
				"%s: struct_sz is %zu, set it to the sizeof of the struct (%zu)",
				name, sz, to_sz);
	for (i = to_sz; i < sz; i++)
		if (bytes[i])
			return evr_fail(-E2BIG,
					"%s: byte %zu is not 0, this library knows only %zu bytes",
					name, i, to_sz);
	memcpy(to, from, sz < to_sz ? sz : to_sz);
	return 0;
}
