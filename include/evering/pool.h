/* SPDX-License-Identifier: MIT */
/*
 * A pool: so many blocks of each of a few sizes, never more and never fewer, and who
 * finds none can wait for one.
 *
 * model      blocks have owners, generations and control words as those of a heap
 *            (heap.h); any peer may die at any step, and what it owned is freed when
 *            it is reaped, which also wakes who waits.
 * calls      a struct evr_pool belongs to one thread at a time; all of them, in all
 *            processes, work together.
 * edges      HEAP-BLOCK, REAP, PARK
 * progress   alloc and free are lock-free and wait for nobody: a claim is one CAS that
 *            names the owner. Only evr_pool_alloc_wait() sleeps.
 * limits     1 to 16 sizes, 2^20 blocks in all; EVR_POOL_SEATS_MAX handles can wait.
 *
 * A heap serves who does not know what will be needed, a pool who must not need more.
 */
#ifndef EVERING_POOL_H
#define EVERING_POOL_H

#include <evering/heap.h>
#include <evering/park.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EVR_POOL_CLASSES_MAX 16
#define EVR_POOL_SEATS_MAX 64

struct evr_pool_class {
	uint32_t sz; /* bytes of a block; rounded up to 16 */
	uint32_t nr; /* blocks */
};

struct evr_pool_options {
	size_t struct_sz; /* sizeof(struct evr_pool_options) */
	struct evr_pool_class classes[EVR_POOL_CLASSES_MAX]; /* ascending sizes; ended by sz 0 */
};

struct evr_pool_own;

/* One thread's view of a pool, in the caller's own memory. The field is not for callers. */
struct evr_pool {
	struct evr_pool_own *own;
};

/**
 * evr_pool_create() - make a pool in the directory
 * @options: at least one class
 *
 * Return: 0; -EINVAL; and as evr_dir_create().
 */
EVR_API int evr_pool_create(struct evr_peer *peer, const char *name,
			    const struct evr_pool_options *options);

/*
 * evr_pool_open() - get a handle of a pool by its name, valid until evr_pool_close().
 * Return: 0; -ENOENT; -EINVAL another kind of object; -EBADMSG; -EPROTO; -ENOMEM.
 */
EVR_API int evr_pool_open(struct evr_pool *pool, struct evr_peer *peer, const char *name);

/* evr_pool_close() - blocks stay with the peer. Of a handle that is zero or closed: nothing. */
EVR_API void evr_pool_close(struct evr_pool *pool);

/**
 * evr_pool_alloc() - take a block of at least so many bytes
 *
 * Of the smallest size that serves; when all of these are taken, of the next one.
 *
 * Return: 0, and *@block; -ENOBUFS all that would serve are taken now; -EMSGSIZE no
 * size serves; -EROFS; -EINVAL a closed handle.
 */
EVR_API int evr_pool_alloc(struct evr_pool *pool, uint64_t sz, struct evr_block *block);

/*
 * evr_pool_alloc_many() - up to @nr blocks, each as by evr_pool_alloc().
 * Return: how many, the first of @blocks; when there is none, as evr_pool_alloc().
 */
EVR_API int evr_pool_alloc_many(struct evr_pool *pool, uint64_t sz, uint32_t nr,
				struct evr_block *blocks);

/**
 * evr_pool_alloc_wait() - the same, waiting until one is free
 * @waiter: the calling thread's
 * @deadline_ns: absolute CLOCK_MONOTONIC; 0 looks once; EVR_NO_DEADLINE
 *
 * Whoever frees a block wakes all who wait, and the fastest has it.
 *
 * Return: as evr_pool_alloc(); also -ETIMEDOUT; -EINTR; -EOWNERDEAD the own peer has
 * ended; -EBUSY EVR_POOL_SEATS_MAX handles that can wait are open.
 */
EVR_API int evr_pool_alloc_wait(struct evr_pool *pool, struct evr_waiter *waiter, uint64_t sz,
				struct evr_block *block, uint64_t deadline_ns);

/* evr_pool_free() - Return: 0; -ESTALE not alive, or not this peer's; -EROFS. */
EVR_API int evr_pool_free(struct evr_pool *pool, uint64_t handle);

/*
 * evr_pool_free_many() - free several blocks, with one look for who waits.
 * Return: how many; those that were none of this peer's are skipped.
 */
EVR_API uint32_t evr_pool_free_many(struct evr_pool *pool, const uint64_t *handles, uint32_t nr);

/* evr_pool_resolve() - as evr_heap_resolve(). */
EVR_API void *evr_pool_resolve(struct evr_pool *pool, uint64_t handle, uint64_t *sz);

/* evr_pool_transfer() - before its handle is published; as evr_heap_transfer(). */
EVR_API int evr_pool_transfer(struct evr_pool *pool, uint64_t handle, struct evr_peer_id to);
/* evr_pool_transfer_many() - with one look at the receiver; as evr_heap_transfer_many(). */
EVR_API int evr_pool_transfer_many(struct evr_pool *pool, const uint64_t *handles, uint32_t nr,
				   struct evr_peer_id to);
/* evr_pool_recall() - as evr_heap_recall(). */
EVR_API int evr_pool_recall(struct evr_pool *pool, uint64_t handle, struct evr_peer_id to);
/* evr_pool_accept() - as evr_heap_accept(). */
EVR_API int evr_pool_accept(struct evr_pool *pool, uint64_t handle);
/* evr_pool_settle() - as evr_heap_settle(). */
EVR_API int evr_pool_settle(struct evr_pool *pool, struct evr_peer_id from);

struct evr_pool_usage {
	uint32_t classes; /* the rest is unused */
	uint32_t waiting; /* handles that wait now, or died waiting */
	struct {
		uint32_t sz; /* bytes of a block */
		uint32_t nr, used;
		uint64_t spilled; /* taken for want of a smaller one, ever */
		uint64_t exhausted; /* found with none left, ever */
	} class_[EVR_POOL_CLASSES_MAX];
};

/* evr_pool_usage() - also for observers; a walk over all control words. */
EVR_API void evr_pool_usage(struct evr_pool *pool, struct evr_pool_usage *out);

/*
 * EVR_POOL_DEFINE() - blocks of one type, as EVR_HEAP_DEFINE(): aligned to at most 16.
 * NAME_alloc() returns as evr_pool_alloc(), -EMSGSIZE also for 0 of them; *@at is NULL then.
 */
#define EVR_POOL_DEFINE(name, type)                                                                \
	EVR_STATIC_ASSERT(EVR_HEAP_ALIGNOF(type) <= EVR_HEAP_UNIT, "aligned to more than 16");     \
	__attribute__((unused)) static inline int name##_alloc(struct evr_pool *pool, uint64_t nr, \
							       type **at, uint64_t *handle)        \
	{                                                                                          \
		struct evr_block block;                                                            \
		int err = evr_pool_alloc(                                                          \
			pool,                                                                      \
			nr && nr <= UINT64_MAX / sizeof(type) ? nr * sizeof(type) : UINT64_MAX,    \
			&block);                                                                   \
		*at = (type *)block.ptr;                                                           \
		*handle = block.handle;                                                            \
		return err;                                                                        \
	}                                                                                          \
	__attribute__((unused)) static inline type *name##_resolve(struct evr_pool *pool,          \
								   uint64_t handle, uint64_t *nr)  \
	{                                                                                          \
		uint64_t sz;                                                                       \
		void *at = evr_pool_resolve(pool, handle, &sz);                                    \
		*nr = at ? sz / sizeof(type) : 0;                                                  \
		return *nr ? (type *)at : NULL;                                                    \
	}

#ifdef __cplusplus
}
#endif

#endif
