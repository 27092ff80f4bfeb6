// SPDX-License-Identifier: MIT
/* A driver's life: made from options and from what the machine has, and its end. */
#include "driver.h"

#include <stdio.h>
#include <unistd.h>

#define ENTRIES_MAX 32768u
#define INJECT_MAX (1u << 20)

static const char *const mode_names[] = { "auto", "defer", "plain", "none" };

/* Those that close could not end: a checker for leaks finds them here. */
static pthread_mutex_t leaked_lock = PTHREAD_MUTEX_INITIALIZER;
static struct evr_driver *leaked;

const char *evr_driver_mode_name(enum evr_driver_mode mode)
{
	return (unsigned int)mode < 4 ? mode_names[mode] : "unknown";
}

const char *evr_op_name(unsigned int code)
{
	return code < EVR_OPS_NR ? evr_rows[code]->name : "unknown";
}

static int default_to(uint32_t *value, uint32_t normal, uint32_t max, const char *name)
{
	if (!*value)
		*value = normal;
	if (*value > max)
		return evr_fail(-EINVAL, "evr_driver_options: %s is %u, at most %u", name, *value,
				max);
	return 0;
}

static int options_default(struct evr_driver_options *o)
{
	int err;

	err = default_to(&o->entries, 256, ENTRIES_MAX, "entries");
	if (!err)
		err = default_to(&o->completions, 4 * o->entries, 2 * ENTRIES_MAX, "completions");
	if (!err)
		err = default_to(&o->ops_max, 65536, INDEX_MASK, "ops_max");
	if (!err)
		err = default_to(&o->backlog_max, o->entries, INDEX_MASK, "backlog_max");
	if (!err)
		err = default_to(&o->inject_max, 1024, INJECT_MAX, "inject_max");
	if (!err)
		err = default_to(&o->pool_threads, 4, 512, "pool_threads");
	if (!err)
		err = default_to(&o->files_max, 64, ENTRIES_MAX, "files_max");
	if (!err)
		err = default_to(&o->regions_max, 64, 16384, "regions_max");
	if (!err)
		err = default_to(&o->sqpoll_idle_ms, 1000, UINT32_MAX, "sqpoll_idle_ms");
	if (o->completions < o->entries)
		o->completions = o->entries;
	if (o->flags & EVR_DRIVER_FAIL_FAST)
		o->backlog_max = 0;
	return err;
}

/* What a test, or a user whose policy forbids io_uring, asks for from outside. */
static int mode_of_environment(enum evr_driver_mode *mode)
{
	const char *name = secure_getenv("EVERING_DRIVER_MODE");
	unsigned int i;

	if (!name || !*name)
		return 0;
	for (i = 0; i < 4; i++) {
		if (strcmp(name, mode_names[i]))
			continue;
		*mode = (enum evr_driver_mode)i;
		return 0;
	}
	return evr_fail(-EINVAL, "EVERING_DRIVER_MODE is '%s', none of auto, defer, plain, none",
			name);
}

static int options_check(struct evr_driver_options *o)
{
	uint32_t known = EVR_DRIVER_REQUIRE_URING | EVR_DRIVER_FAIL_FAST | EVR_DRIVER_SQPOLL |
			 EVR_DRIVER_DETACHED | EVR_DRIVER_BELL_COMMAND;

	if (o->flags & ~known)
		return evr_fail(-EINVAL, "evr_driver_options: flags %#x, known are %#x", o->flags,
				known);
	if ((unsigned int)o->mode > EVR_DRIVER_NONE)
		return evr_fail(-EINVAL, "evr_driver_options: mode %d is none of evr_driver_mode",
				o->mode);
	if (o->mode == EVR_DRIVER_NONE && o->flags & (EVR_DRIVER_REQUIRE_URING | EVR_DRIVER_SQPOLL))
		return evr_fail(-EINVAL, "evr_driver_options: mode NONE has no io_uring");
	if (o->mode == EVR_DRIVER_DEFER && o->flags & EVR_DRIVER_SQPOLL)
		return evr_fail(-EINVAL, "evr_driver_options: the kernel has DEFER or SQPOLL");
	if (o->mode == EVR_DRIVER_AUTO &&
	    !(o->flags & (EVR_DRIVER_REQUIRE_URING | EVR_DRIVER_SQPOLL)))
		return mode_of_environment(&o->mode);
	return 0;
}

static int ring_or_not(struct evr_driver *d)
{
	struct evr_driver_options *o = &d->options;
	int err;

	if (o->mode == EVR_DRIVER_NONE)
		return 0;
	err = evr_ring_init(d, o->mode);
	if (!err) {
		o->mode = d->ring.setup_flags & IORING_SETUP_DEFER_TASKRUN ? EVR_DRIVER_DEFER :
									     EVR_DRIVER_PLAIN;
		return 0;
	}
	d->uring_error = err;
	if (o->mode == EVR_DRIVER_AUTO &&
	    !(o->flags & (EVR_DRIVER_REQUIRE_URING | EVR_DRIVER_SQPOLL))) {
		o->mode = EVR_DRIVER_NONE;
		return 0;
	}
	evr_fail(err, "driver: io_uring_setup() in mode %s%s says: %s",
		 evr_driver_mode_name(o->mode), o->flags & EVR_DRIVER_SQPOLL ? " with SQPOLL" : "",
		 strerror(-err));
	return err == -ENOMEM || err == -EMFILE || err == -ENFILE ? err : -EOPNOTSUPP;
}

static void ways_choose(struct evr_driver *d)
{
	const struct io_uring_probe *probe = d->ring.probe;
	const struct row *row;
	uint32_t code;

	for (code = 0; code < ROWS_NR; code++) {
		row = evr_rows[code];
		if (probe && !(row->flags & ROW_NO_RING) &&
		    io_uring_opcode_supported(probe, row->opcode))
			d->way[code] = EVR_SUPPORT_NATIVE;
		else if (!row->call)
			d->way[code] = EVR_SUPPORT_NONE;
		else if (row->flags & ROW_INLINE)
			d->way[code] = EVR_SUPPORT_INLINE;
		else if (!row->events)
			d->way[code] = EVR_SUPPORT_POOL;
		else
			d->way[code] = d->ring.exists ? EVR_SUPPORT_NONE : EVR_SUPPORT_READY;
		if (d->way[code] == EVR_SUPPORT_NATIVE && !row->done &&
		    (!row->keep || row->flags & ROW_KEEP_FLAGGED) && !(row->flags & ROW_NOTIFIES) &&
		    !(row->flags & ROW_FD && row_has_pool(row)))
			d->plain[code] = true;
	}
}

static int driver_make(struct evr_driver *d)
{
	uint32_t completions;
	int err;

	err = evr_slots_init(d);
	if (!err)
		err = evr_injector_make(d, d->options.inject_max);
	if (!err)
		err = ring_or_not(d);
	if (err)
		return err;
	completions = d->ring.exists ? d->ring.cq_entries : d->options.completions;
	d->credits_max = completions - (completions < 8 ? completions > 1 : completions / 8);
	if (d->credits_max > 16)
		d->credits_max -= 8;
	d->credits = d->credits_max;
	err = evr_take_init(d, 2 * completions);
	if (!err && !d->ring.exists)
		err = evr_ready_init(d);
	if (err)
		return err;
	ways_choose(d);
	evr_hubs_init(d);
	d->unusual = !d->ring.exists || d->ring.setup_flags & IORING_SETUP_SQPOLL;
	return evr_files_init(d);
}

/* The calling thread's from now on. */
static int driver_bind(struct evr_driver *d)
{
	struct ring *r = &d->ring;
	int err;

	if (r->setup_flags & IORING_SETUP_R_DISABLED) {
		/* liburing 2.3 declares a call for it, and does not export it. */
		err = io_uring_register((unsigned int)r->uring.ring_fd,
					IORING_REGISTER_ENABLE_RINGS, NULL, 0);
		if (err)
			return evr_fail(err, "driver: the ring cannot be enabled: %s",
					strerror(-err));
	}
	/* Kernels before 6.1 hang at exit with it now and then. */
	if (r->setup_flags & IORING_SETUP_DEFER_TASKRUN &&
	    io_uring_register_ring_fd(&r->uring) == 1) {
		r->enter_fd = r->uring.enter_ring_fd;
		r->enter_flags = IORING_ENTER_REGISTERED_RING;
	}
	evr_life_bind(d);
	return 0;
}

int evr_driver_create(struct evr_driver **out, const struct evr_driver_options *options)
{
	struct evr_driver *d;
	int err;

	*out = NULL;
	d = aligned_alloc(EVR_LINE_SZ, EVR_ROUND_UP(sizeof(*d), EVR_LINE_SZ));
	if (!d)
		return -ENOMEM;
	memset(d, 0, sizeof(*d));
	d->epoll_fd = -1;
	err = evr_options_read(&d->options, sizeof(d->options), options, "evr_driver_options");
	if (!err)
		err = options_check(&d->options);
	if (!err)
		err = options_default(&d->options);
	if (err) {
		free(d);
		return err;
	}
	evr_workers_init(d);
	err = driver_make(d);
	if (!err && !(d->options.flags & EVR_DRIVER_DETACHED))
		err = driver_bind(d);
	if (err) {
		evr_driver_scrap(d);
		return err;
	}
	*out = d;
	return 0;
}

int evr_driver_attach(struct evr_driver *d)
{
	if (!d->life->made)
		return evr_life_bad(d);
	if (evr_life_is_bound(d))
		return evr_fail(-EBUSY, "driver: it is attached to a thread");
	return driver_bind(d);
}

/* Give everything back; nothing of it is in use. */
void evr_driver_scrap(struct evr_driver *d)
{
	evr_workers_fini(d);
	evr_hubs_fini(d);
	evr_regions_fini(d);
	evr_groups_fini(d);
	evr_files_fini(d);
	evr_ring_fini(d);
	if (d->epoll_fd >= 0)
		close(d->epoll_fd);
	evr_injector_put(d->injector);
	free(d->take.entries);
	evr_slots_fini(d);
	free(d);
}

/* In a child of fork: the fds are copies, and keep alive what the parent closes. */
static int close_copies(struct evr_driver *d)
{
	if (d->ring.exists)
		close(d->ring.uring.ring_fd);
	d->ring.exists = false;
	if (d->epoll_fd >= 0)
		close(d->epoll_fd);
	d->epoll_fd = -1;
	if (d->injector)
		close(evr_injector_fd(d));
	d->injector = NULL;
	return evr_fail(-ECHILD, "driver: it belongs to the parent of this process");
}

int evr_driver_close(struct evr_driver *d, uint64_t deadline_ns)
{
	int err;

	if (!d->life->made)
		return close_copies(d);
	err = evr_life_is_bound(d) ? driver_check(d) : 0;
	if (err)
		return err;
	if (d->running)
		return evr_fail(-EBUSY, "driver: closed from within a callback");
	if (!d->closing) {
		d->running = true;
		d->closing = true;
		d->quick = 0;
		evr_injector_close(d);
		evr_cancel_all(d);
		d->running = false;
	}
	err = evr_driver_drain(d, deadline_ns);
	if (err)
		return evr_fail(err, "driver: %u ops are still in flight, of %u slots in use",
				d->in_flight, d->slots_used);
	evr_driver_scrap(d);
	return 0;
}

void evr_driver_leak(struct evr_driver *d)
{
	pthread_mutex_lock(&leaked_lock);
	d->leaked = leaked;
	leaked = d;
	pthread_mutex_unlock(&leaked_lock);
}

int evr_driver_supports(const struct evr_driver *d, unsigned int code)
{
	return code < EVR_OPS_NR && code != EVR_OP_RAW ? d->way[code] : EVR_SUPPORT_NONE;
}

void evr_driver_caps(const struct evr_driver *d, struct evr_driver_caps *caps)
{
	memset(caps, 0, sizeof(*caps));
	caps->mode = d->options.mode;
	caps->uring_error = d->uring_error;
	caps->buffers_error = d->buffers_error;
	caps->fixed_files = d->files_native;
	caps->fixed_buffers = d->ring.exists && !d->buffers_refused;
	caps->bell_command = d->bell_command;
	caps->buffer_rings = d->ring.exists && !d->groups_refused;
	caps->entries = d->options.entries;
	caps->completions = d->options.completions;
	if (d->ring.exists) {
		caps->setup_flags = d->ring.setup_flags;
		caps->features = d->ring.uring.features;
		caps->entries = d->ring.sq_entries;
		caps->completions = d->ring.cq_entries;
		caps->ring_fd = d->ring.enter_flags & IORING_ENTER_REGISTERED_RING;
	}
	memcpy(caps->support, d->way, sizeof(caps->support));
	if (d->ring.exists)
		caps->support[EVR_OP_RAW] = EVR_SUPPORT_NATIVE;
}

int evr_driver_stats(const struct evr_driver *d, struct evr_driver_stats *stats)
{
	int err = driver_check(d);

	if (err)
		return err;
	*stats = d->stats;
	stats->completed = d->delivered - d->stats.events;
	stats->wakes = evr_injector_wakes(d);
	stats->in_flight = d->in_flight;
	stats->slots_used = d->slots_used;
	stats->slots = d->slots_nr;
	stats->backlog = d->backlog.nr;
	stats->timers = d->heap_nr;
	stats->pool_threads = d->pool.threads_nr;
	return 0;
}
