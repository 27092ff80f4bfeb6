// SPDX-License-Identifier: MIT
/*
 * The injector: a bounded queue of calls into the driver's thread.
 *
 * model      many producers, one consumer (the driver's thread), all of one process, so
 *            that none dies without the others.
 * edges      INJECT       entry, then its turn with release -> acquire, entry; and back,
 *                         for the entry to be used again.
 *            INJECT-WAKE  the driver says SLEEPING, bars, looks for news, sleeps; a
 *                         producer publishes, says news, bars, looks for SLEEPING. One of
 *                         the two sees the other. The driver takes news away, bars, and
 *                         then looks at the queue. The first producer to see it takes the
 *                         word to AWAKE by CAS, and writes the eventfd; so there is one
 *                         system call for a sleep.
 *            INJECT-CLOSE the closing bit is set in the word that producers claim with:
 *                         a claim comes before it, and is drained, or fails.
 * progress   inject is lock-free. The driver waits for a producer that has claimed and
 *            not yet published only in close.
 *
 * An eventfd and not MSG_RING: measured, both take as long to end a sleep, and this
 * works in every mode and from threads without a ring. What counts is not to wake.
 */
#include "driver.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CLOSED (1ULL << 63)
/* Of one run, so that completions get their turn. */
#define DRAIN_MAX 1024

int evr_injector_make(struct evr_driver *d, uint32_t nr)
{
	struct evr_injector *i = aligned_alloc(EVR_LINE_SZ, sizeof(*i));
	uint64_t sz = 2, pos;

	if (!i)
		return -ENOMEM;
	memset(i, 0, sizeof(*i));
	while (sz < nr)
		sz *= 2;
	i->mask = sz - 1;
	i->entries = calloc(sz, sizeof(*i->entries));
	i->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!i->entries || i->fd < 0) {
		int err = i->entries ? -errno : -ENOMEM;

		free(i->entries);
		free(i);
		return err;
	}
	for (pos = 0; pos < sz; pos++)
		evr_a64_store_relaxed(&i->entries[pos].turn, pos);
	evr_a32_store_relaxed(&i->refs, 1);
	d->injector = i;
	return 0;
}

struct evr_injector *evr_injector_get(struct evr_injector *i)
{
	evr_a32_fetch_add(&i->refs, 1);
	return i;
}

void evr_injector_put(struct evr_injector *i)
{
	if (!i || evr_a32_fetch_add(&i->refs, (uint32_t)-1) != 1)
		return;
	close(i->fd);
	free(i->entries);
	free(i);
}

struct evr_injector *evr_driver_injector(struct evr_driver *d)
{
	d->wake_wanted = true;
	d->due = true;
	return evr_injector_get(d->injector);
}

int evr_injector_fd(const struct evr_driver *d)
{
	return d->injector->fd;
}

void evr_injector_quiet(struct evr_driver *d)
{
	uint64_t count;

	if (read(d->injector->fd, &count, sizeof(count)) < 0)
		return;
}

/* The first to come ends the sleep. */
static __attribute__((noinline)) void end_sleep(struct evr_injector *i)
{
	uint32_t state = SLEEPING;
	uint64_t one = 1;

	if (!evr_a32_cas(&i->sleep, &state, AWAKE))
		return;
	evr_a32_fetch_add(&i->wakes, 1);
	if (write(i->fd, &one, sizeof(one)) < 0)
		return; /* the count is full: it is readable */
}

static inline void wake(struct evr_injector *i)
{
	evr_a32_store_full(&i->news, 1); /* INJECT-WAKE */
	if (UNLIKELY(evr_a32_load_relaxed(&i->sleep) == SLEEPING))
		end_sleep(i);
}

void evr_injector_wake(struct evr_injector *i)
{
	wake(i);
}

/* Make the driver's fd readable: a foreign loop is to run it. */
void evr_injector_signal(struct evr_driver *d)
{
	uint64_t one = 1;

	if (write(d->injector->fd, &one, sizeof(one)) < 0)
		return;
}

/* A place in the queue, and its position; -EAGAIN, -ESHUTDOWN. */
static inline int claim(struct evr_injector *i, struct inject_entry **entry, uint64_t *at)
{
	uint64_t pos = evr_a64_load_relaxed(&i->tail), turn;

	for (;;) {
		if (UNLIKELY(pos & CLOSED))
			return -ESHUTDOWN;
		*entry = &i->entries[pos & i->mask];
		turn = evr_a64_load_acquire(&(*entry)->turn); /* INJECT */
		if (UNLIKELY((int64_t)(turn - pos) < 0))
			return -EAGAIN;
		*at = pos;
		if (turn == pos && evr_a64_cas(&i->tail, &pos, pos + 1)) /* INJECT-CLOSE */
			return 0;
		pos = evr_a64_load_relaxed(&i->tail);
	}
}

static inline int inject(struct evr_injector *i, evr_inject_fn *fn, uint64_t data, uint32_t kind)
{
	struct inject_entry *entry;
	uint64_t pos;
	int err;

	err = claim(i, &entry, &pos);
	if (UNLIKELY(err))
		return err;
	entry->fn = fn;
	entry->data = data;
	entry->kind = kind;
	evr_a64_store_release(&entry->turn, pos + 1); /* INJECT */
	wake(i);
	return 0;
}

int evr_inject(struct evr_injector *i, evr_inject_fn *fn, void *arg)
{
	if (UNLIKELY(!fn))
		return -EINVAL;
	return inject(i, fn, (uintptr_t)arg, 0);
}

int evr_inject_message(struct evr_injector *i, uint64_t data, uint32_t kind)
{
	return inject(i, NULL, data, kind);
}

int evr_inject_wake(struct evr_injector *i)
{
	if (evr_a64_load_relaxed(&i->tail) & CLOSED)
		return -ESHUTDOWN;
	evr_injector_wake(i);
	return 0;
}

/* Say that we sleep. False: there is news. */
bool evr_injector_sleep(struct evr_driver *d)
{
	evr_a32_store_full(&d->injector->sleep, SLEEPING); /* INJECT-WAKE */
	if (!injector_has_news(d))
		return true;
	injector_awake(d);
	return false;
}

uint64_t evr_injector_wakes(const struct evr_driver *d)
{
	return evr_a32_load_relaxed(&d->injector->wakes);
}

static void tell_message(struct evr_driver *d, uint64_t data, uint32_t kind)
{
	if (d->options.on_message)
		d->options.on_message(d, d->options.user, data, kind);
}

/* The entry at the head, if it is full; it is free before it is called, so that the call may inject. */
static inline bool serve(struct evr_driver *d, struct evr_injector *i, struct inject_entry *entries,
			 uint64_t mask, uint64_t head)
{
	struct inject_entry *entry = &entries[head & mask];
	evr_inject_fn *fn;
	uint64_t data;
	uint32_t kind;

	if (evr_a64_load_acquire(&entry->turn) != head + 1) /* INJECT */
		return false;
	fn = entry->fn;
	data = entry->data;
	kind = entry->kind;
	evr_a64_store_release(&entry->turn, head + mask + 1); /* INJECT */
	i->head = head + 1;
	d->stats.injected++;
	if (LIKELY(fn))
		fn(d, (void *)(uintptr_t)data);
	else
		tell_message(d, data, kind);
	return true;
}

void evr_injector_drain(struct evr_driver *d)
{
	struct evr_injector *i = d->injector;
	struct inject_entry *entries = i->entries;
	uint64_t mask = i->mask, head = i->head, last = head + DRAIN_MAX;

	/* First: who brings something from now on says so again. INJECT-WAKE */
	evr_a32_store_full(&i->news, 0);
	/* No call drains: a run or a close within one is refused. */
	while (head != last && serve(d, i, entries, mask, head))
		head++;
	if (head == last)
		evr_a32_store_relaxed(&i->news, 1);
}

/* Nobody gets in any more; whoever got in is served. */
void evr_injector_close(struct evr_driver *d)
{
	struct evr_injector *i = d->injector;
	uint64_t last = evr_a64_fetch_or(&i->tail, CLOSED) & ~CLOSED; /* INJECT-CLOSE */

	while (i->head != last) {
		if (!serve(d, i, i->entries, i->mask, i->head))
			sched_yield();
	}
}

static int message_call(struct evr_driver *d, struct extra *extra, int fd)
{
	struct evr_injector *to = (struct evr_injector *)(uintptr_t)extra->op.addr;

	return evr_inject_message(to, extra->op.off, extra->op.len);
}

const struct row evr_row_message = {
	.name = "message",
	.flags = ROW_INLINE | ROW_NO_RING,
	.allowed = EVR_OP_BACKGROUND,
	.call = message_call,
};
