// SPDX-License-Identifier: MIT
/* See smaps.h. */

#include "device.h"
#include "smaps.h"

struct vma {
	uintptr_t from, to;
};

/* Go to the next line that starts with the key; *vma follows on the way. */
static bool next_line(FILE *smaps, struct vma *vma, const char *key, char *line, size_t sz)
{
	while (fgets(line, (int)sz, smaps)) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
			vma->from = from;
			vma->to = to;
		} else if (strncmp(line, key, strlen(key)) == 0) {
			return true;
		}
	}
	return false;
}

size_t smaps_bytes(const void *start, size_t sz, const char *field)
{
	const uintptr_t from = (uintptr_t)start;
	FILE *smaps = fopen("/proc/self/smaps", "re");
	struct vma vma = { 0, 0 };
	char line[512], key[64];
	size_t sum = 0, kb;

	EV_CHECK(smaps);
	snprintf(key, sizeof(key), "%s:", field);
	while (next_line(smaps, &vma, key, line, sizeof(line)))
		if (vma.from >= from && vma.to <= from + sz &&
		    sscanf(line + strlen(key), "%zu", &kb) == 1)
			sum += kb * 1024;
	fclose(smaps);
	return sum;
}

bool smaps_flag(const void *start, const char *flag)
{
	const uintptr_t at = (uintptr_t)start;
	FILE *smaps = fopen("/proc/self/smaps", "re");
	struct vma vma = { 0, 0 };
	char line[512], word[8];
	bool found = false;

	EV_CHECK(smaps);
	snprintf(word, sizeof(word), " %s", flag);
	while (next_line(smaps, &vma, "VmFlags:", line, sizeof(line)))
		if (at >= vma.from && at < vma.to)
			found = strstr(line, word);
	fclose(smaps);
	return found;
}
