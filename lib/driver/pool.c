// SPDX-License-Identifier: MIT
/*
 * The pool: threads that make system calls which may block, for what io_uring cannot
 * do here. Made when there is work and none is idle, up to a limit; ended by close.
 *
 * model      The driver's thread queues extras and takes finished ones; a thread of
 *            the pool reads the extra's op and writes its result, nothing else.
 * calls      All under pool.lock, but the call itself.
 * edges      The lock; that there is something to take is news, see inject.c.
 * progress   The queue is bounded by the slots. A thread may block for ever in its
 *            call; then close says -EBUSY, and the extra stays.
 */
#include "driver.h"

#include <signal.h>

void evr_workers_init(struct evr_driver *d)
{
	struct pool *p = &d->pool;

	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	p->queue_end = &p->queue;
	p->done_end = &p->done;
	p->threads_max = d->options.pool_threads;
}

static void enqueue(struct extra ***end, struct extra *extra)
{
	extra->next = NULL;
	**end = extra;
	*end = &extra->next;
}

static struct extra *dequeue(struct extra **queue, struct extra ***end)
{
	struct extra *extra = *queue;

	*queue = extra->next;
	if (!*queue)
		*end = queue;
	return extra;
}

static void *pool_thread(void *arg)
{
	struct evr_driver *d = arg;
	struct pool *p = &d->pool;
	struct extra *extra;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (!p->queue && !p->stop) {
			p->idle++;
			pthread_cond_wait(&p->work, &p->lock);
			p->idle--;
		}
		if (!p->queue)
			break;
		extra = dequeue(&p->queue, &p->queue_end);
		p->queued--;
		extra->running = true;
		pthread_mutex_unlock(&p->lock);
		extra->result = evr_rows[extra->op.code]->call(
			d, extra, extra->held_fd >= 0 ? extra->held_fd : extra->op.fd);
		pthread_mutex_lock(&p->lock);
		extra->running = false;
		enqueue(&p->done_end, extra);
		evr_injector_wake(d->injector);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* One more, if that helps and may be. Without any there is nobody to do the work. */
static int pool_spawn(struct pool *p, struct evr_driver *d)
{
	sigset_t all, old;
	pthread_t *threads;
	int err;

	/* One that is idle has been woken for each job that is queued. */
	if (p->idle > p->queued || p->threads_nr == p->threads_max)
		return 0;
	threads = realloc(p->threads, (p->threads_nr + 1) * sizeof(*threads));
	if (!threads)
		return p->threads_nr ? 0 : -ENOMEM;
	p->threads = threads;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&threads[p->threads_nr], NULL, pool_thread, d);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return p->threads_nr ? 0 : -EAGAIN;
	p->threads_nr++;
	return 0;
}

/* Never refused: an op that no thread can be had for ends with that error. */
void evr_workers_start(struct evr_driver *d, uint32_t index)
{
	struct extra *extra = extra_at(d, index);
	struct slot *s = slot_at(d, index);
	struct pool *p = &d->pool;
	int err;

	extra->waits = false;
	err = evr_hold_fd(extra);
	if (err && err != -EAGAIN) {
		evr_op_finish(d, s, index, err, 0);
		return;
	}
	d->wake_wanted = true;
	d->due = true;
	pthread_mutex_lock(&p->lock);
	err = pool_spawn(p, d);
	if (!err) {
		enqueue(&p->queue_end, extra);
		p->queued++;
		pthread_cond_signal(&p->work);
		s->state = ACTIVE;
		d->in_flight++;
	}
	pthread_mutex_unlock(&p->lock);
	if (err)
		evr_op_finish(d, s, index, err, 0);
}

/* Was it still in the queue? Then it is out of it. */
bool evr_workers_unqueue(struct evr_driver *d, uint32_t index)
{
	struct extra *extra = extra_at(d, index), **at;
	struct pool *p = &d->pool;
	bool found = false;

	pthread_mutex_lock(&p->lock);
	for (at = &p->queue; *at && *at != extra; at = &(*at)->next)
		;
	if (*at) {
		*at = extra->next;
		if (p->queue_end == &extra->next)
			p->queue_end = at;
		p->queued--;
		found = true;
	}
	pthread_mutex_unlock(&p->lock);
	/* Relaxed: the thread looks again. */
	evr_a32_store_relaxed(&extra->cancelled, 1);
	return found;
}

void evr_workers_reap(struct evr_driver *d)
{
	struct pool *p = &d->pool;
	struct extra *extra;

	pthread_mutex_lock(&p->lock);
	while (p->done && take_has_room(d)) {
		extra = dequeue(&p->done, &p->done_end);
		pthread_mutex_unlock(&p->lock);
		evr_event(d, slot_at(d, extra->index), extra->index, extra->result, 0);
		pthread_mutex_lock(&p->lock);
	}
	if (p->done)
		evr_a32_store_relaxed(&d->injector->news, 1);
	pthread_mutex_unlock(&p->lock);
}

/* Nothing is queued or running any more. */
void evr_workers_fini(struct evr_driver *d)
{
	struct pool *p = &d->pool;
	uint32_t i;

	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (i = 0; i < p->threads_nr; i++)
		pthread_join(p->threads[i], NULL);
	free(p->threads);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
}
