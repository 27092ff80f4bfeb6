/* SPDX-License-Identifier: MIT */
/* What fuzz targets share: bytes as decisions, and checks that end the process. */
#ifndef EVERING_TESTS_FUZZ_H
#define EVERING_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <evering/error.h>

#define FUZZ_CHECK(cond)                                                                      \
	do {                                                                                  \
		if (!(cond)) {                                                                \
			fprintf(stderr, "%s:%d: %s is false (%s)\n", __FILE__, __LINE__, #cond, \
				evr_error_detail());                                          \
			abort();                                                              \
		}                                                                             \
	} while (0)

struct fuzz_input {
	const uint8_t *at;
	size_t left;
};

/* @sz bytes, little endian; what is missing is 0. */
static inline uint64_t fuzz_take(struct fuzz_input *in, size_t sz)
{
	uint64_t value = 0;
	size_t nr = in->left < sz ? in->left : sz;

	memcpy(&value, in->at, nr);
	in->at += nr;
	in->left -= nr;
	return value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

#endif
