/* SPDX-License-Identifier: MIT */
/*
 * The door to shared memory (evering/atomic.h) over a model of memory: what
 * EVR_ATOMIC_MODEL names. The orders go along, and memory.c makes of them what the
 * mode says.
 */
#ifndef EVERING_MODEL_DOOR_H
#define EVERING_MODEL_DOOR_H

enum model_rmw { MODEL_XCHG, MODEL_CAS, MODEL_ADD, MODEL_OR, MODEL_AND };

uint64_t model_load(const void *p, uint32_t sz, bool acquire);
void model_store(void *p, uint32_t sz, uint64_t v, bool release);
/* Return: what was there. @expected: for CAS. */
uint64_t model_rmw(void *p, uint32_t sz, enum model_rmw op, uint64_t v, uint64_t expected);
void model_copy_in(void *shared, const void *from, size_t sz);
void model_copy_out(void *to, const void *shared, size_t sz);
void evr_pause(void);
void evr_fence(void);
void evr_fence_acquire(void);
void evr_fence_release(void);

static inline void evr_compiler_fence(void)
{
	__asm__ __volatile__("" ::: "memory");
}

#define EVR_ATOMIC_DEFINE(name, word, type)                                           \
	static inline type name##_load_relaxed(const struct word *p)                  \
	{                                                                             \
		return (type)model_load(p, sizeof(type), false);                      \
	}                                                                             \
	static inline type name##_load_acquire(const struct word *p)                  \
	{                                                                             \
		return (type)model_load(p, sizeof(type), true);                       \
	}                                                                             \
	static inline void name##_store_relaxed(struct word *p, type v)               \
	{                                                                             \
		model_store(p, sizeof(type), v, false);                               \
	}                                                                             \
	static inline void name##_store_release(struct word *p, type v)               \
	{                                                                             \
		model_store(p, sizeof(type), v, true);                                \
	}                                                                             \
	static inline type name##_xchg(struct word *p, type v)                        \
	{                                                                             \
		return (type)model_rmw(p, sizeof(type), MODEL_XCHG, v, 0);            \
	}                                                                             \
	static inline bool name##_cas(struct word *p, type *expected, type v)         \
	{                                                                             \
		type was = (type)model_rmw(p, sizeof(type), MODEL_CAS, v, *expected); \
		bool won = was == *expected;                                          \
		*expected = was;                                                      \
		return won;                                                           \
	}                                                                             \
	static inline type name##_fetch_add(struct word *p, type v)                   \
	{                                                                             \
		return (type)model_rmw(p, sizeof(type), MODEL_ADD, v, 0);             \
	}                                                                             \
	static inline type name##_fetch_or(struct word *p, type v)                    \
	{                                                                             \
		return (type)model_rmw(p, sizeof(type), MODEL_OR, v, 0);              \
	}                                                                             \
	static inline type name##_fetch_and(struct word *p, type v)                   \
	{                                                                             \
		return (type)model_rmw(p, sizeof(type), MODEL_AND, v, 0);             \
	}                                                                             \
	static inline void name##_store_full(struct word *p, type v)                  \
	{                                                                             \
		model_store(p, sizeof(type), v, true);                                \
		evr_fence();                                                          \
	}

EVR_ATOMIC_DEFINE(evr_a32, evr_a32, uint32_t)
EVR_ATOMIC_DEFINE(evr_a64, evr_a64, uint64_t)

static inline void evr_copy_in(void *shared, const void *from, size_t sz)
{
	model_copy_in(shared, from, sz);
}

static inline void evr_copy_out(void *to, const void *shared, size_t sz)
{
	model_copy_out(to, shared, sz);
}

#endif
