// SPDX-License-Identifier: MIT
/* Somebody's malloc() and free(), measured in one process. */
#include "allocator.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "machine.h"
#include "pieces.h"

#define RING_CAPACITY 8192

/* The two functions, found by their names. */
struct calls {
	void *(*alloc)(size_t sz);
	void (*free)(void *ptr);
};

static struct evr_block call_make(void *from, uint64_t size)
{
	struct calls *calls = from;
	void *ptr = calls->alloc(size);

	return (struct evr_block){ ptr, (uint64_t)(uintptr_t)ptr };
}

static void call_drop(void *from, struct evr_block block)
{
	struct calls *calls = from;

	calls->free(block.ptr);
}

static uint64_t call_see(void *from, uint64_t handle)
{
	struct calls *calls = from;
	uint64_t *ptr = (uint64_t *)(uintptr_t)handle;
	uint64_t value = *ptr;

	calls->free(ptr);
	return value;
}

/* A library that is not installed is no rival here. */
int allocator_prepare(struct stage *stage)
{
	const struct allocator *allocator = stage->rival->with;

	if (!allocator->library)
		return 0;
	return dlopen(allocator->library, RTLD_NOW | RTLD_LOCAL) ? 0 : -EOPNOTSUPP;
}

int allocator_prepare_remote(struct stage *stage)
{
	int err = allocator_prepare(stage);

	return err ? err : stage_prepare_segment(stage);
}

static struct calls find_calls(struct stage *stage)
{
	const struct allocator *allocator = stage->rival->with;
	void *library = allocator->library ? dlopen(allocator->library, RTLD_NOW | RTLD_LOCAL) :
					     RTLD_DEFAULT;
	struct calls calls;

	/* POSIX has a pointer to data hold that of a function. */
	*(void **)&calls.alloc = dlsym(library, allocator->alloc);
	*(void **)&calls.free = dlsym(library, allocator->free);
	if (!calls.alloc || !calls.free)
		stage_fail(stage, allocator->alloc, -ENOENT);
	return calls;
}

void allocator_pairs(struct stage *stage)
{
	struct calls calls = find_calls(stage);

	pieces_run(stage, &calls, pieces_pairs, call_make, call_drop);
}

void allocator_many(struct stage *stage)
{
	struct calls calls = find_calls(stage);

	pieces_run(stage, &calls, pieces_many, call_make, call_drop);
}

void allocator_random(struct stage *stage)
{
	struct calls calls = find_calls(stage);

	pieces_run(stage, &calls, pieces_random, call_make, call_drop);
}

/* What the other thread frees. */
struct freeing {
	struct stage *stage;
	struct calls calls;
	struct evr_spsc ring;
};

static void *free_all(void *arg)
{
	struct freeing *freeing = arg;
	struct stage *stage = freeing->stage;

	machine_pin(stage->cpus[STAGE_FAR]);
	stage->shared->halves[1].check = pieces_in(stage, &freeing->ring,
						   stage->warmup + stage->count, &freeing->calls,
						   call_see);
	return NULL;
}

static void open_ring(struct stage *stage, struct evr_spsc *out, struct evr_spsc *in)
{
	struct evr_spsc_options options = { .struct_sz = sizeof(options),
					    .capacity = RING_CAPACITY };
	int err;

	stage_attach(stage);
	err = evr_spsc_create(stage->peer, "freed", &options);
	if (!err)
		err = evr_spsc_open(out, stage->peer, "freed", EVR_PRODUCER, 0);
	if (!err)
		err = evr_spsc_open(in, stage->peer, "freed", EVR_CONSUMER, 0);
	if (err)
		stage_fail(stage, "ring", err);
}

/* Through the same ring as evering's own blocks go, between two threads. */
void allocator_remote(struct stage *stage)
{
	struct freeing freeing = { .stage = stage, .calls = find_calls(stage) };
	struct piece_source source = { &freeing.calls, call_make, NULL };
	struct evr_spsc out;
	pthread_t thread;

	open_ring(stage, &out, &freeing.ring);
	if (pthread_create(&thread, NULL, free_all, &freeing))
		stage_fail(stage, "thread", -EAGAIN);
	pieces_out(stage, &out, stage->warmup, source);
	stage_begin(stage);
	pieces_out(stage, &out, stage->count, source);
	pthread_join(thread, NULL);
	stage_end(stage);
	evr_spsc_close(&out);
	evr_spsc_close(&freeing.ring);
	stage_detach(stage);
}
