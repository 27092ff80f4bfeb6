// SPDX-License-Identifier: MIT
/*
 * How large a segment of one physical run may be, and how long it takes to make: as the
 * machine is, with memory in pieces, and when it is whole again. The pieces are this
 * process' pages: nearly all that is available, every second one given back.
 */
#include "bench_contiguous.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <evering/evering.h>

#include "command.h"
#include "format.h"
#include "machine.h"
#include "message.h"
#include "table.h"

#define BLOCK_SZ (2ULL << 20)
#define SPARE_SZ (96ULL << 20) /* left to the rest of the machine */

struct attempt {
	const char *when;
	uint64_t available; /* bytes, by /proc/meminfo */
	uint64_t most; /* bytes that were to be had in one run; 0 = none */
	uint64_t create_ns; /* to make that */
};

static uint64_t meminfo(const char *key)
{
	FILE *file = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, key, strlen(key)))
			kib = strtoull(line + strlen(key), NULL, 10);
	if (file)
		fclose(file);
	return kib << 10;
}

static int try_size(uint64_t blocks, uint64_t *took_ns)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = blocks * BLOCK_SZ,
					       .peers_max = 1,
					       .flags = EVR_SEGMENT_CONTIGUOUS };
	struct evr_segment *segment;
	uint64_t before = evr_now_ns();
	int err = evr_segment_create(&segment, "device:", &options);

	if (err)
		return err;
	*took_ns = evr_now_ns() - before;
	evr_segment_close(segment);
	return 0;
}

static bool is_refusal(int err)
{
	return err == -ENOSPC || err == -ENOMEM || err == -EFBIG || err == -ENFILE ||
	       err == -EDQUOT;
}

/* Twice as much until it is refused, then between: to an eighth of what there is. */
static int find_most(struct attempt *attempt)
{
	uint64_t given = 0, refused = 0, blocks = 1;

	attempt->available = meminfo("MemAvailable:");
	while (!refused || (refused - given) * 8 > refused) {
		uint64_t took_ns = 0;
		int err = try_size(blocks, &took_ns);

		if (err && !is_refusal(err))
			return err;
		if (err) {
			refused = blocks;
		} else {
			given = blocks;
			attempt->create_ns = took_ns;
		}
		if (refused == given + 1)
			break;
		blocks = refused ? given + (refused - given) / 2 : 2 * given;
	}
	attempt->most = given * BLOCK_SZ;
	return 0;
}

/* NULL: there is too little memory for that. */
static char *make_pieces(uint64_t *sz)
{
	uint64_t available = meminfo("MemAvailable:"), at;
	char *pieces;

	if (available < 2 * SPARE_SZ)
		return NULL;
	*sz = (available - SPARE_SZ) / BLOCK_SZ * BLOCK_SZ;
	pieces = mmap(NULL, *sz, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pieces == MAP_FAILED)
		return NULL;
	madvise(pieces, *sz, MADV_NOHUGEPAGE);
	for (at = 0; at < *sz; at += 4096)
		pieces[at] = 1;
	for (at = 0; at < *sz; at += 2 * 4096)
		madvise(pieces + at, 4096, MADV_DONTNEED);
	return pieces;
}

static void print_attempts(const struct attempt *attempts, int nr)
{
	static const char *const heads[] = { "MEMORY", "AVAILABLE", "ONE RUN", "MADE IN", NULL };
	struct machine machine;
	struct table table;
	char text[256];

	machine_read(&machine);
	printf("contiguous: the largest segment of one physical run\n%s\n\n",
	       machine_text(&machine, text, sizeof(text)));
	table_init(&table, "lrrr", heads);
	for (int i = 0; i < nr; i++) {
		char available[FORMAT_SZ], most[FORMAT_SZ], took[FORMAT_SZ];
		const char *cells[] = { attempts[i].when, available, most, took };

		format_size(available, attempts[i].available / BLOCK_SZ * BLOCK_SZ);
		format_size(most, attempts[i].most);
		format_time(took, (double)attempts[i].create_ns);
		table_add(&table, cells);
	}
	table_print(&table, stdout, "  ");
	table_fini(&table);
}

static struct json_object *attempts_to_json(const struct attempt *attempts, int nr)
{
	struct json_object *object = json_object_new_object();
	struct json_object *list = json_object_new_array();
	struct machine machine;

	machine_read(&machine);
	json_add_text(object, "bench", "contiguous");
	json_add_text(object, "kernel", machine.kernel);
	for (int i = 0; i < nr; i++) {
		struct json_object *entry = json_object_new_object();

		json_add_text(entry, "memory", attempts[i].when);
		json_add_u64(entry, "available_bytes", attempts[i].available);
		json_add_u64(entry, "one_run_bytes", attempts[i].most);
		json_add_u64(entry, "create_ns", attempts[i].create_ns);
		json_object_array_add(list, entry);
	}
	json_object_object_add(object, "results", list);
	return object;
}

int bench_contiguous(enum evr_backend backend, struct json_object *list)
{
	struct attempt attempts[3] = { { .when = "as it is" },
				       { .when = "in pieces" },
				       { .when = "given back" } };
	uint64_t pieces_sz = 0;
	char *pieces;
	int err;

	if (backend != EVR_BACKEND_DEVICE)
		return message_failed("contiguous memory", -EOPNOTSUPP);
	err = find_most(&attempts[0]);
	pieces = err ? NULL : make_pieces(&pieces_sz);
	if (!err && !pieces)
		err = -ENOMEM;
	if (!err)
		err = find_most(&attempts[1]);
	if (pieces)
		munmap(pieces, pieces_sz);
	if (!err)
		err = find_most(&attempts[2]);
	if (err)
		return message_failed("contiguous memory", err);
	if (list)
		json_object_array_add(list, attempts_to_json(attempts, 3));
	else
		print_attempts(attempts, 3);
	return EXIT_OK;
}
