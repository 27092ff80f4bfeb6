/* SPDX-License-Identifier: MIT */
/* A target without a fuzzer, for compilers that have none: each file of the arguments once. */
#include "fuzz.h"

#define INPUT_MAX (1U << 16)

static int replay(const char *path)
{
	static uint8_t data[INPUT_MAX];
	FILE *file = fopen(path, "rb");
	size_t sz;

	if (!file) {
		perror(path);
		return 1;
	}
	sz = fread(data, 1, sizeof(data), file);
	fclose(file);
	LLVMFuzzerTestOneInput(data, sz);
	return 0;
}

int main(int argc, char **argv)
{
	int i, failed = 0;

	printf("1..%d\n", argc - 1);
	for (i = 1; i < argc; i++) {
		failed |= replay(argv[i]);
		printf("ok %d - %s\n", i, strrchr(argv[i], '/') ? strrchr(argv[i], '/') + 1 : argv[i]);
		fflush(stdout);
	}
	return failed || argc < 2;
}
