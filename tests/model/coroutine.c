/* SPDX-License-Identifier: MIT */
/* Coroutines. What a call must preserve goes to the stack; the rest is dead at a call anyway. */
#include "coroutine.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)

void coroutine_swap(void **save, void *load);
__asm__(".text\n"
	".globl coroutine_swap\n"
	".type coroutine_swap, @function\n"
	"coroutine_swap:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".size coroutine_swap, . - coroutine_swap\n");

void coroutine_init(struct coroutine *co, void *stack, size_t sz, void (*entry)(void))
{
	uintptr_t top = ((uintptr_t)stack + sz) & ~(uintptr_t)15;
	uintptr_t *sp = (uintptr_t *)top - 8;

	memset(sp, 0, 8 * sizeof(*sp));
	sp[6] = (uintptr_t)entry; /* above it 0, as if entry() had been called */
	co->sp = sp;
}

#elif defined(__aarch64__)

void coroutine_swap(void **save, void *load);
__asm__(".text\n"
	".globl coroutine_swap\n"
	".type coroutine_swap, %function\n"
	"coroutine_swap:\n"
	"	sub sp, sp, #160\n"
	"	stp x19, x20, [sp, #0]\n"
	"	stp x21, x22, [sp, #16]\n"
	"	stp x23, x24, [sp, #32]\n"
	"	stp x25, x26, [sp, #48]\n"
	"	stp x27, x28, [sp, #64]\n"
	"	stp x29, x30, [sp, #80]\n"
	"	stp d8, d9, [sp, #96]\n"
	"	stp d10, d11, [sp, #112]\n"
	"	stp d12, d13, [sp, #128]\n"
	"	stp d14, d15, [sp, #144]\n"
	"	mov x9, sp\n"
	"	str x9, [x0]\n"
	"	mov sp, x1\n"
	"	ldp x19, x20, [sp, #0]\n"
	"	ldp x21, x22, [sp, #16]\n"
	"	ldp x23, x24, [sp, #32]\n"
	"	ldp x25, x26, [sp, #48]\n"
	"	ldp x27, x28, [sp, #64]\n"
	"	ldp x29, x30, [sp, #80]\n"
	"	ldp d8, d9, [sp, #96]\n"
	"	ldp d10, d11, [sp, #112]\n"
	"	ldp d12, d13, [sp, #128]\n"
	"	ldp d14, d15, [sp, #144]\n"
	"	add sp, sp, #160\n"
	"	ret\n"
	".size coroutine_swap, . - coroutine_swap\n");

void coroutine_init(struct coroutine *co, void *stack, size_t sz, void (*entry)(void))
{
	uintptr_t top = ((uintptr_t)stack + sz) & ~(uintptr_t)15;
	uintptr_t *sp = (uintptr_t *)top - 20;

	memset(sp, 0, 20 * sizeof(*sp));
	sp[11] = (uintptr_t)entry; /* x30 */
	co->sp = sp;
}

#else

void coroutine_init(struct coroutine *co, void *stack, size_t sz, void (*entry)(void))
{
	getcontext(&co->context);
	co->context.uc_stack.ss_sp = stack;
	co->context.uc_stack.ss_size = sz;
	co->context.uc_link = NULL;
	makecontext(&co->context, entry, 0);
}

#endif

void coroutine_switch(struct coroutine *from, struct coroutine *to)
{
#if defined(__x86_64__) || defined(__aarch64__)
	coroutine_swap(&from->sp, to->sp);
#else
	swapcontext(&from->context, &to->context);
#endif
}
