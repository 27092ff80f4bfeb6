/* SPDX-License-Identifier: MIT */
/* Coroutines: a stack each, and a switch that costs a few ns. */
#ifndef EVERING_MODEL_COROUTINE_H
#define EVERING_MODEL_COROUTINE_H

#include <stddef.h>

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#endif

struct coroutine {
#if defined(__x86_64__) || defined(__aarch64__)
	void *sp;
#else
	ucontext_t context;
#endif
};

/* The next switch to it calls entry(), which must not return. */
void coroutine_init(struct coroutine *co, void *stack, size_t sz, void (*entry)(void));
void coroutine_switch(struct coroutine *from, struct coroutine *to);

#endif
