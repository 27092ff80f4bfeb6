// SPDX-License-Identifier: MIT
/*
 * Completions that are taken: a ring between the driver's thread and one other.
 *
 * model      One producer (the driver's thread), one consumer (any one thread).
 * edges      TAKE  entries, then tail with release -> acquire, entries;
 *                  entries read, then head with release -> acquire, entries reused.
 *            TAKE-SLEEP  the consumer counts itself as a sleeper, bars, notes the
 *                  number of the news, looks, and sleeps on that number; the producer
 *                  publishes, counts the news up, bars, looks at the sleepers. One of
 *                  them sees the other.
 * progress   A full ring stops the driver's reaping, not its thread: what has not
 *            been reaped stays with the kernel.
 */
#include "driver.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

int evr_take_init(struct evr_driver *d, uint32_t nr)
{
	uint32_t sz = 4 * TAKE_MARGIN;

	while (sz < nr)
		sz *= 2;
	d->take.entries = calloc(sz, sizeof(*d->take.entries));
	d->take.mask = sz - 1;
	return d->take.entries ? 0 : -ENOMEM;
}

static void tell(struct take *t)
{
	/* Relaxed: only we write it. TAKE-SLEEP */
	evr_a32_store_full(&t->news, evr_a32_load_relaxed(&t->news) + 1);
	if (UNLIKELY(evr_a32_load_relaxed(&t->sleepers)))
		syscall(SYS_futex, &t->news.v, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void evr_take_push(struct evr_driver *d, const struct evr_completion *done)
{
	struct take *t = &d->take;
	uint32_t tail = evr_a32_load_relaxed(&t->tail);

	t->entries[tail & t->mask] = *done;
	evr_a32_store_release(&t->tail, tail + 1); /* TAKE */
	tell(t);
}

int evr_driver_take_stop(struct evr_driver *d)
{
	int err = driver_check(d);

	if (err)
		return err;
	evr_a32_store_release(&d->take.closed, 1);
	tell(&d->take);
	return 0;
}

uint32_t evr_driver_take(struct evr_driver *d, struct evr_completion *done, uint32_t nr)
{
	struct take *t = &d->take;
	/* Relaxed: the head is ours. TAKE */
	uint32_t head = evr_a32_load_relaxed(&t->head);
	uint32_t ready = evr_a32_load_acquire(&t->tail) - head, i;

	if (nr > ready)
		nr = ready;
	for (i = 0; i < nr; i++)
		done[i] = t->entries[(head + i) & t->mask];
	evr_a32_store_release(&t->head, head + nr); /* TAKE */
	return nr;
}

int evr_driver_take_wait(struct evr_driver *d, struct evr_completion *done, uint32_t nr,
			 uint64_t deadline_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(deadline_ns / 1000000000u),
			       .tv_nsec = (long)(deadline_ns % 1000000000u) };
	struct take *t = &d->take;
	uint32_t got, news, closed;
	int err = 0;

	if (!nr)
		return -EINVAL;
	evr_a32_fetch_add(&t->sleepers, 1);
	for (;;) {
		evr_fence(); /* TAKE-SLEEP */
		news = evr_a32_load_acquire(&t->news);
		/* Before the look: what was pushed before the stop is there. */
		closed = evr_a32_load_acquire(&t->closed);
		got = evr_driver_take(d, done, nr);
		if (got || err)
			break;
		if (closed) {
			err = -ESHUTDOWN;
			break;
		}
		if (syscall(SYS_futex, &t->news.v, FUTEX_WAIT_BITSET_PRIVATE, news,
			    deadline_ns == EVR_DRIVER_NO_DEADLINE ? NULL : &ts, NULL,
			    FUTEX_BITSET_MATCH_ANY) < 0 &&
		    errno != EAGAIN)
			err = -errno;
	}
	evr_a32_fetch_add(&t->sleepers, (uint32_t)-1);
	return got ? (int)got : err;
}
