// SPDX-License-Identifier: MIT
/*
 * Memory by name: an object of a segment is found, or made and taken away, while others are
 * there; as a program without a segment does it, with files in /dev/shm.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define OTHERS 64
#define NAME_SZ 64

static void name_of(char *name, uint64_t nr)
{
	snprintf(name, NAME_SZ, "/evering-bench-%d-%d", (int)getpid(), (int)(nr % OTHERS));
}

static int prepare(struct stage *stage)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz =
						       (OTHERS + 16) * 2 * stage->size + (4 << 20),
					       .peers_max = 8 };

	return evr_segment_create(
		&stage->segment,
		stage->backend == EVR_BACKEND_DEVICE ? "device:" : "local:", &options);
}

/* One of the others is found, and its first word read; or one more is made. */
typedef uint64_t dir_turn(struct stage *stage, const char *name);

static void make_object(struct stage *stage, const char *name, struct evr_object *object)
{
	int err = evr_dir_create(stage->peer, name, EVR_KIND_USER, stage->size, object);

	if (!err)
		err = evr_dir_publish(stage->peer, object);
	if (err)
		stage_fail(stage, "create", err);
	evr_a64_store_relaxed(evr_peer_at(stage->peer, object->off, object->sz), 1);
}

static uint64_t find_object(struct stage *stage, const char *name)
{
	struct evr_object object;
	int err = evr_dir_find(stage->peer, name, &object);

	if (err)
		stage_fail(stage, "find", err);
	return evr_a64_load_relaxed(evr_peer_at(stage->peer, object.off, object.sz));
}

static uint64_t make_and_remove(struct stage *stage, const char *name)
{
	struct evr_object object;
	int err;

	(void)name;
	make_object(stage, "one more", &object);
	err = evr_dir_remove(stage->peer, &object);
	if (err)
		stage_fail(stage, "remove", err);
	return 1;
}

static uint64_t map_file(struct stage *stage, int fd)
{
	struct evr_a64 *word;
	uint64_t value;

	word = fd < 0 ? MAP_FAILED :
			mmap(NULL, stage->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (word == MAP_FAILED)
		stage_fail(stage, "/dev/shm", -errno);
	evr_a64_store_relaxed(word, 1);
	value = evr_a64_load_relaxed(word);
	munmap(word, stage->size);
	close(fd);
	return value;
}

static uint64_t open_file(struct stage *stage, const char *name)
{
	return map_file(stage, shm_open(name, O_RDWR | O_CLOEXEC, 0));
}

static int make_file(struct stage *stage, const char *name)
{
	int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd >= 0 && ftruncate(fd, (off_t)stage->size))
		stage_fail(stage, "ftruncate", -errno);
	return fd;
}

static uint64_t make_and_unlink(struct stage *stage, const char *name)
{
	uint64_t value;
	char more[NAME_SZ + 8];

	snprintf(more, sizeof(more), "%s-more", name);
	value = map_file(stage, make_file(stage, more));
	shm_unlink(more);
	return value;
}

static STAGE_INLINE void turns(struct stage *stage, dir_turn *turn)
{
	static char names[OTHERS][NAME_SZ];
	uint64_t sum = 0;

	for (uint64_t i = 0; i < OTHERS; i++)
		name_of(names[i], i);
	for (uint64_t i = 0; i < stage->warmup; i++)
		turn(stage, names[i % OTHERS]);
	stage_begin(stage);
	for (uint64_t i = 0; i < stage->count; i++)
		sum += turn(stage, names[i % OTHERS]);
	stage_end(stage);
	stage->shared->halves[STAGE_NEAR].check = sum;
}

static void make_objects(struct stage *stage)
{
	struct evr_object object;
	char name[NAME_SZ];

	stage_attach(stage);
	for (uint64_t i = 0; i < OTHERS; i++) {
		name_of(name, i);
		make_object(stage, name, &object);
	}
}

static void find_near(struct stage *stage)
{
	make_objects(stage);
	turns(stage, find_object);
	stage_detach(stage);
}

static void make_near(struct stage *stage)
{
	make_objects(stage);
	turns(stage, make_and_remove);
	stage_detach(stage);
}

/* With the files of this run alone; @turn ends with all of them gone. */
static void with_files(struct stage *stage, dir_turn *turn)
{
	char name[NAME_SZ];

	for (uint64_t i = 0; i < OTHERS; i++) {
		name_of(name, i);
		map_file(stage, make_file(stage, name));
	}
	turns(stage, turn);
	for (uint64_t i = 0; i < OTHERS; i++) {
		name_of(name, i);
		shm_unlink(name);
	}
}

static void open_near(struct stage *stage)
{
	with_files(stage, open_file);
}

static void unlink_near(struct stage *stage)
{
	with_files(stage, make_and_unlink);
}

static const struct rival finds = { "evering find", RIVAL_SPINS, prepare, find_near,
				    stage_look_on };
static const struct rival makes = { "evering create, remove", RIVAL_SPINS, prepare, make_near,
				    stage_look_on };
static const struct rival opens = { "shm_open, mmap", RIVAL_SPINS, stage_prepare_nothing, open_near,
				    stage_look_on };
static const struct rival unlinks = { "shm_open, mmap, shm_unlink", RIVAL_SPINS,
				      stage_prepare_nothing, unlink_near, stage_look_on };

const struct bench dir_bench = {
	.name = "dir",
	.summary = "memory by name, found, or made and taken away, among 64 others",
	.unit = BENCH_MESSAGES,
	.sizes = { 4096 },
	.batch = 1,
	.rivals = { &finds, &opens, &makes, &unlinks },
	.ratios = { { &finds, &opens }, { &makes, &unlinks } },
};
