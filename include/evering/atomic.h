/* SPDX-License-Identifier: MIT */
/*
 * The one door to shared memory: every access to a word that another process
 * may read or write goes through here, so that the orders can be found, argued
 * about, and replaced by a model.
 *
 * model      words of 32 and 64 bits, naturally aligned, in memory mapped by
 *            several processes; any of them may die between any two calls.
 * calls      all may run together with all.
 * edges      _relaxed orders nothing. _acquire pairs with _release. Each RMW is
 *            acquire and release. evr_fence() orders all before it with all
 *            after it, also a store with a later load; store_full() is
 *            store_release() and evr_fence() in the cheapest form there is.
 *            evr_fence_acquire() and evr_fence_release() order loads with later
 *            loads, and stores with later stores: for copies, which have no order.
 *            Each release/acquire carries a label at both ends; the labels are
 *            in docs/memory-model.md.
 * progress   wait-free, where the machine's own instructions are.
 *
 * Two switches, for tests only:
 * EVR_ATOMIC_MODEL  a header to include in place of the functions below; it
 *                   defines all of them, over a model of memory.
 * EVR_ATOMIC_STEP   a macro called with the address before each access; the
 *                   place to yield to a scheduler, or to die.
 */
#ifndef EVERING_ATOMIC_H
#define EVERING_ATOMIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
#define EVR_ALIGNAS(n) alignas(n)
#define EVR_STATIC_ASSERT static_assert
#else
#define EVR_ALIGNAS(n) _Alignas(n)
#define EVR_STATIC_ASSERT _Static_assert
#endif

/*
 * Words of different writers are this far apart: two lines, because the
 * adjacent-line prefetcher of x86 moves lines by pairs.
 */
#define EVR_LINE_SZ 128

/*
 * One struct for each width, so that a plain access does not compile by
 * accident. Aligned by itself: uint64_t is aligned to 4 on 32-bit x86.
 */
struct evr_a32 {
	EVR_ALIGNAS(4) uint32_t v;
};

struct evr_a64 {
	EVR_ALIGNAS(8) uint64_t v;
};

EVR_STATIC_ASSERT(sizeof(struct evr_a32) == 4, "evr_a32 is part of the shared layout");
EVR_STATIC_ASSERT(sizeof(struct evr_a64) == 8, "evr_a64 is part of the shared layout");

#ifdef EVR_ATOMIC_MODEL
#include EVR_ATOMIC_MODEL
#else

#ifndef EVR_ATOMIC_STEP
#define EVR_ATOMIC_STEP(addr) ((void)(addr))
#endif

/* Tell the processor that this is a spin loop; about 40 cycles, or none at all. */
static inline void evr_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("isb" ::: "memory");
#else
	__asm__ __volatile__("" ::: "memory");
#endif
}

/* Order for the compiler alone: between this thread and its own signal handlers. */
static inline void evr_compiler_fence(void)
{
	__asm__ __volatile__("" ::: "memory");
}

/* A full barrier: also a store before it comes before a load after it. */
static inline void evr_fence(void)
{
#if defined(__x86_64__)
	/* mfence, which clang picks, costs twice as much; -8 is below the red zone's use of (%rsp). */
	__asm__ __volatile__("lock; addl $0,-8(%%rsp)" ::: "memory", "cc");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/*
 * Around copies that another process may overtake (seqlocks): loads before it come before
 * loads after it, and stores before it before stores after it. On x86 no instruction.
 */
static inline void evr_fence_acquire(void)
{
#if defined(__x86_64__) || defined(__i386__)
	evr_compiler_fence();
#else
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
#endif
}

/* The other side of evr_fence_acquire(): loads and stores before it come before stores after it. */
static inline void evr_fence_release(void)
{
#if defined(__x86_64__) || defined(__i386__)
	evr_compiler_fence();
#else
	__atomic_thread_fence(__ATOMIC_RELEASE);
#endif
}

#define EVR_ATOMIC_DEFINE(name, word, type)                                                        \
	static inline type name##_load_relaxed(const struct word *p)                               \
	{                                                                                          \
		EVR_ATOMIC_STEP(p);                                                                \
		return __atomic_load_n(&p->v, __ATOMIC_RELAXED);                                   \
	}                                                                                          \
	static inline type name##_load_acquire(const struct word *p)                               \
	{                                                                                          \
		EVR_ATOMIC_STEP(p);                                                                \
		return __atomic_load_n(&p->v, __ATOMIC_ACQUIRE);                                   \
	}                                                                                          \
	static inline void name##_store_relaxed(struct word *p, type v)                            \
	{                                                                                          \
		EVR_ATOMIC_STEP(p);                                                                \
		__atomic_store_n(&p->v, v, __ATOMIC_RELAXED);                                      \
	}                                                                                          \
	static inline void name##_store_release(struct word *p, type v)                            \
	{                                                                                          \
		EVR_ATOMIC_STEP(p);                                                                \
		__atomic_store_n(&p->v, v, __ATOMIC_RELEASE);                                      \
	}                                                                                          \
	static inline type name##_xchg(struct word *p, type v)                                     \
	{                                                                                          \
		EVR_ATOMIC_STEP(p);                                                                \
		return __atomic_exchange_n(&p->v, v, __ATOMIC_ACQ_REL);                            \
	}                                                                                          \
	/* On failure *expected is what was found, loaded with acquire. Never fails spuriously. */ \
	static inline bool name##_cas(struct word *p, type *expected, type v)                      \
	{                                                                                          \
		EVR_ATOMIC_STEP(p);                                                                \
		return __atomic_compare_exchange_n(&p->v, expected, v, false, __ATOMIC_ACQ_REL,    \
						   __ATOMIC_ACQUIRE);                              \
	}                                                                                          \
	static inline type name##_fetch_add(struct word *p, type v)                                \
	{                                                                                          \
		EVR_ATOMIC_STEP(p);                                                                \
		return __atomic_fetch_add(&p->v, v, __ATOMIC_ACQ_REL);                             \
	}                                                                                          \
	static inline type name##_fetch_or(struct word *p, type v)                                 \
	{                                                                                          \
		EVR_ATOMIC_STEP(p);                                                                \
		return __atomic_fetch_or(&p->v, v, __ATOMIC_ACQ_REL);                              \
	}                                                                                          \
	static inline type name##_fetch_and(struct word *p, type v)                                \
	{                                                                                          \
		EVR_ATOMIC_STEP(p);                                                                \
		return __atomic_fetch_and(&p->v, v, __ATOMIC_ACQ_REL);                             \
	}                                                                                          \
	static inline void name##_store_full(struct word *p, type v)                               \
	{                                                                                          \
		EVR_ATOMIC_STEP(p);                                                                \
		evr_atomic_store_full(&p->v, v);                                                   \
	}

/*
 * On x86 an xchg is a store and a full barrier in one, 7.5 ns for 9.5. Elsewhere
 * an RMW, even a seq_cst one, does not order itself with a later relaxed load.
 */
#if defined(__x86_64__) || defined(__i386__)
#define evr_atomic_store_full(p, v) ((void)__atomic_exchange_n(p, v, __ATOMIC_SEQ_CST))
#else
#define evr_atomic_store_full(p, v)                       \
	do {                                              \
		__atomic_store_n(p, v, __ATOMIC_RELEASE); \
		evr_fence();                              \
	} while (0)
#endif

EVR_ATOMIC_DEFINE(evr_a32, evr_a32, uint32_t)
EVR_ATOMIC_DEFINE(evr_a64, evr_a64, uint64_t)

/*
 * Payload: copied once, into or out of memory that others map. The bytes may
 * change while they are copied if the other side breaks the protocol; what was
 * copied is then nonsense, and nothing else.
 */
static inline void evr_copy_in(void *shared, const void *from, size_t sz)
{
	EVR_ATOMIC_STEP(shared);
	memcpy(shared, from, sz);
}

/* The other way; what is to be checked is copied first, and then the copy is checked. */
static inline void evr_copy_out(void *to, const void *shared, size_t sz)
{
	EVR_ATOMIC_STEP(shared);
	memcpy(to, shared, sz);
}

#endif /* EVR_ATOMIC_MODEL */

#endif
