// SPDX-License-Identifier: MIT
/*
 * The way through io_uring: setup, SQEs, one system call, CQEs.
 *
 * model      The driver's thread is the only user of both rings. The kernel is the
 *            other side: it reads what we publish at sq_tail, and writes cq_tail.
 * edges      SQE  SQEs, then sq_tail with release -> the kernel (SQPOLL; else the
 *                 system call orders it).
 *            CQE  the kernel's CQEs -> cq_tail with acquire; our reads, then
 *                 cq_head with release -> the kernel reuses them.
 * limits     A CQE is matched by index, kind and generation. What matches nothing is
 *            counted.
 *
 * liburing sets up and maps the rings; the queues are worked on here, since it
 * stores 13 words for each SQE and rewrites the index array at each submission.
 */
#include "driver.h"

#include <poll.h>
#include <unistd.h>

#define SETUP_COMMON (IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP)
#define SETUP_DEFER \
	(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG)
/* Linux 5.11. */
#define FEATURES_NEEDED                                                         \
	(IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_SUBMIT_STABLE | \
	 IORING_FEAT_FAST_POLL)
/* Each ends in one CQE; there is room for them beyond the credits, in any ring for one. */
#define CANCELS_OUT_MAX(d) ((d)->ring.cq_entries < 8 ? 1 : (d)->ring.cq_entries / 8)

static int ring_setup(struct evr_driver *d, uint32_t flags)
{
	struct io_uring_params p = { .flags = flags, .cq_entries = d->options.completions };
	int err;

	if (d->options.flags & EVR_DRIVER_SQPOLL) {
		p.flags |= IORING_SETUP_SQPOLL;
		p.sq_thread_idle = d->options.sqpoll_idle_ms;
	}
	if (d->options.flags & EVR_DRIVER_DETACHED)
		p.flags |= IORING_SETUP_R_DISABLED;
	err = io_uring_queue_init_params(d->options.entries, &d->ring.uring, &p);
	if (err)
		return err;
	if ((p.features & FEATURES_NEEDED) != FEATURES_NEEDED) {
		io_uring_queue_exit(&d->ring.uring);
		return -EOPNOTSUPP;
	}
	d->ring.setup_flags = p.flags;
	return 0;
}

/* From the best to what any kernel takes; only EINVAL says "not this one". */
static int ring_negotiate(struct evr_driver *d, enum evr_driver_mode mode)
{
	static const uint32_t ladder[] = {
		SETUP_COMMON | IORING_SETUP_SUBMIT_ALL | SETUP_DEFER,
		SETUP_COMMON | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN |
			IORING_SETUP_TASKRUN_FLAG,
		SETUP_COMMON | IORING_SETUP_SUBMIT_ALL,
		SETUP_COMMON,
	};
	uint32_t first = 0, last = 3, i;
	int err = -EINVAL;

	if (mode == EVR_DRIVER_DEFER)
		last = 0;
	/* With SQPOLL the task that submits is the kernel's: flags about ours are refused. */
	if (mode == EVR_DRIVER_PLAIN || d->options.flags & EVR_DRIVER_SQPOLL)
		first = 2;
	for (i = first; i <= last && err == -EINVAL; i++)
		err = ring_setup(d, ladder[i]);
	return err;
}

static void ring_look(struct evr_driver *d)
{
	struct io_uring *u = &d->ring.uring;
	struct ring *r = &d->ring;
	uint32_t i;

	r->sq_head = (struct evr_a32 *)u->sq.khead;
	r->sq_tail = (struct evr_a32 *)u->sq.ktail;
	r->sq_flags = (struct evr_a32 *)u->sq.kflags;
	r->cq_head = (struct evr_a32 *)u->cq.khead;
	r->cq_tail = (struct evr_a32 *)u->cq.ktail;
	r->sqes = u->sq.sqes;
	r->cqes = u->cq.cqes;
	r->sq_mask = *u->sq.kring_mask;
	r->sq_entries = r->sq_mask + 1;
	r->cq_mask = *u->cq.kring_mask;
	r->cq_entries = r->cq_mask + 1;
	for (i = 0; i < r->sq_entries; i++)
		u->sq.array[i] = i;
	r->enter_fd = u->ring_fd;
	r->exists = true;
}

/* Filters of system calls may know setup alone: then there is a ring, of no use. */
static int ring_try(struct evr_driver *d)
{
	struct io_uring *u = &d->ring.uring;
	int err;

	/* Nothing to submit: that a ring which is disabled says so is no refusal. */
	err = io_uring_enter((unsigned int)u->ring_fd, 0, 0, 0, NULL);
	if (err >= 0 || err == -EBADFD) {
		d->ring.probe = io_uring_get_probe_ring(u);
		if (d->ring.probe)
			return 0;
		err = io_uring_register((unsigned int)u->ring_fd, IORING_REGISTER_PROBE, NULL, 0);
	}
	io_uring_queue_exit(u);
	return err < 0 ? err : -EOPNOTSUPP;
}

int evr_ring_init(struct evr_driver *d, enum evr_driver_mode mode)
{
	int err = ring_negotiate(d, mode);

	if (!err)
		err = ring_try(d);
	if (err)
		return err;
	/* A child of fork must not find the rings of its parent. */
	io_uring_ring_dontfork(&d->ring.uring);
	ring_look(d);
	return 0;
}

void evr_ring_fini(struct evr_driver *d)
{
	if (!d->ring.exists)
		return;
	io_uring_queue_exit(&d->ring.uring);
	io_uring_free_probe(d->ring.probe);
	d->ring.exists = false;
}

/* Room for one, or NULL when the kernel takes no more now. */
struct io_uring_sqe *evr_ring_sqe(struct evr_driver *d)
{
	struct ring *r = &d->ring;

	d->quick = 0;
	if (UNLIKELY(r->tail - r->sent == r->sq_entries)) {
		evr_ring_enter(d, false, 0);
		if (r->tail - r->sent == r->sq_entries)
			return NULL;
	}
	return &r->sqes[r->tail++ & r->sq_mask];
}

static uint8_t sqe_flags(const struct slot *s, const struct evr_op *op)
{
	uint8_t flags = 0;

	/* Close has the slot elsewhere. */
	if (op->flags & EVR_OP_FIXED_FD && op->code != EVR_OP_CLOSE)
		flags |= IOSQE_FIXED_FILE;
	if (op->flags & EVR_OP_ASYNC)
		flags |= IOSQE_ASYNC;
	if (op->flags & EVR_OP_BUFFER)
		flags |= IOSQE_BUFFER_SELECT;
	if (s->flags & S_LINKED && s->link != NONE)
		flags |= IOSQE_IO_LINK;
	return flags;
}

/* A member of a chain never starts again, and one that is being held holds on. */
static int hold_fd(struct evr_driver *d, const struct slot *s, uint32_t index,
		   const struct evr_op *op)
{
	if (!(s->flags & S_EXTRA) || s->flags & S_LINKED || !op_holds_fd(evr_rows[s->op], op))
		return 0;
	return evr_hold_fd(extra_at(d, index));
}

int evr_ring_start(struct evr_driver *d, struct slot *s, uint32_t index, const struct evr_op *op)
{
	int err = hold_fd(d, s, index, op);
	const struct row *row = evr_rows[s->op];
	struct io_uring_sqe *sqe;

	if (UNLIKELY(err)) {
		evr_op_finish(d, s, index, err, 0);
		return 0;
	}
	sqe = evr_ring_sqe(d);
	if (UNLIKELY(!sqe))
		return -EAGAIN;
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = (uint8_t)row->opcode;
	sqe->user_data = id_of(s);
	if (row->prep) {
		sqe->fd = op->fd;
		if (s->flags & S_EXTRA && extra_at(d, index)->held_fd >= 0)
			sqe->fd = extra_at(d, index)->held_fd;
		row->prep(op, s->flags & S_EXTRA ? extra_at(d, index) : NULL, sqe);
		sqe->flags = sqe_flags(s, op);
		/* Into our own table: as an fd, and evr_file_done() does the rest. */
		if (UNLIKELY(op->flags & EVR_OP_FIXED_RESULT && !d->files_native))
			sqe->file_index = 0;
		if (op->flags & EVR_OP_BUFFER)
			sqe->buf_group = op->bgid;
	} else if (UNLIKELY(op->flags | (s->flags & S_LINKED))) {
		sqe->flags = sqe_flags(s, op);
	}
	s->state = ACTIVE;
	d->in_flight++;
	return 0;
}

/* Until when to sleep, as the kernel wants it: relative. */
static void relative(struct __kernel_timespec *ts, uint64_t until_ns)
{
	uint64_t now_ns = evr_now_ns();
	uint64_t ns = until_ns > now_ns ? until_ns - now_ns : 0;

	ts->tv_sec = (int64_t)(ns / 1000000000u);
	ts->tv_nsec = (long long)(ns % 1000000000u);
}

static uint32_t sq_publish(struct evr_driver *d, uint32_t *flags)
{
	struct ring *r = &d->ring;

	/* SQE */
	evr_a32_store_release(r->sq_tail, r->tail);
	if (LIKELY(!(r->setup_flags & IORING_SETUP_SQPOLL)))
		return r->tail - r->sent;
	/* The kernel's thread says that it sleeps, then looks at the tail; we the reverse. */
	evr_fence();
	if (evr_a32_load_relaxed(r->sq_flags) & IORING_SQ_NEED_WAKEUP)
		*flags |= IORING_ENTER_SQ_WAKEUP;
	r->sent = evr_a32_load_acquire(r->sq_head);
	return 0;
}

/*
 * The one system call: submit, run deferred work, and with @wait sleep until there is a
 * completion. 0; -EINTR; -ETIME; -EAGAIN, -EBUSY: reap first.
 */
int evr_ring_enter(struct evr_driver *d, bool wait, uint64_t until_ns)
{
	struct io_uring_getevents_arg arg;
	struct __kernel_timespec ts;
	struct ring *r = &d->ring;
	uint32_t flags = r->enter_flags, nr;
	size_t sz = _NSIG / 8;
	void *argp = NULL;
	int ret;

	nr = sq_publish(d, &flags);
	if (wait && until_ns != UINT64_MAX) {
		memset(&arg, 0, sizeof(arg));
		relative(&ts, until_ns);
		arg.ts = (uintptr_t)&ts;
		argp = &arg;
		sz = sizeof(arg);
		flags |= IORING_ENTER_EXT_ARG;
	}
	/* Deferred work runs inside of this call alone. */
	if (wait || r->setup_flags & (IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN))
		flags |= IORING_ENTER_GETEVENTS;
	else if (evr_a32_load_relaxed(r->sq_flags) & IORING_SQ_CQ_OVERFLOW)
		flags |= IORING_ENTER_GETEVENTS;
	if (r->setup_flags & IORING_SETUP_SQPOLL && !wait &&
	    !(flags & (IORING_ENTER_SQ_WAKEUP | IORING_ENTER_GETEVENTS)))
		return 0;
	d->stats.enters++;
	ret = io_uring_enter2((unsigned int)r->enter_fd, nr, wait, flags, argp, sz);
	if (ret < 0)
		return ret;
	if (!(r->setup_flags & IORING_SETUP_SQPOLL))
		r->sent += (uint32_t)ret;
	return 0;
}

/* What a cancel says of its op is a hint; the op's own completion tells. */
static void reap_cancel(struct evr_driver *d, uint64_t id, int res)
{
	uint64_t of = (id & ~((uint64_t)UINT8_MAX << INDEX_BITS)) | (uint64_t)KIND_OP << INDEX_BITS;
	uint32_t index;
	struct slot *s;

	d->cancels_out--;
	if (res != -ENOENT && res != -EALREADY)
		return;
	s = slot_of(d, of, &index);
	if (!s || s->state != ACTIVE)
		return;
	if (s->flags & S_LINKED && res == -ENOENT)
		evr_chain_not_found(d, s, index);
	else
		evr_cancel_later(d, s, index);
}

static void reap_internal(struct evr_driver *d, uint64_t id, int res, uint32_t cflags)
{
	/* Not a signal is what has ended the sleep. */
	d->due = true;
	switch ((uint32_t)id >> INDEX_BITS) {
	case KIND_CANCEL:
		if (d->cancels_out) {
			reap_cancel(d, id, res);
			return;
		}
		break;
	case KIND_WAKE:
		if (!(cflags & IORING_CQE_F_MORE))
			d->wake_armed = false;
		evr_injector_quiet(d);
		return;
	default:
		break;
	}
	d->stats.stale++;
}

/* slot_free() of a slot that is plain: it holds one credit. */
static inline void slot_free_plain(struct evr_driver *d, struct slot *s)
{
	d->credits++;
	d->in_flight--;
	d->slots_used--;
	s->op = 0;
	s->state = FREE;
	s->way = 0;
	s->plain = 0;
	s->gen++;
	s->free = d->free;
	d->free = s;
}

/* Nothing about this op is out of the ordinary: over, no buffer, no hook, no deadline. */
static inline void reap_plain(struct evr_driver *d, struct slot *s, uint64_t id, int res,
			      evr_done_fn *fn)
{
	struct evr_completion done = { .id = id, .arg = s->arg, .res = res };

	slot_free_plain(d, s);
	d->delivered++;
	fn(d, &done);
}

/* res and flags as one word: neither an error nor a flag? */
static inline uint64_t cqe_news(const struct io_uring_cqe *cqe)
{
	return (uint64_t)cqe->flags << 32 | (uint32_t)cqe->res;
}

static __attribute__((noinline)) void reap_other(struct evr_driver *d, uint64_t id, int res,
						 uint32_t cflags)
{
	uint32_t index;
	struct slot *s = slot_of(d, id, &index);

	if (s && s->plain == PLAIN_REGION && s->fn && res >= 0 && !cflags) {
		evr_region_hold(d, &extra_at(d, index)->op, -1);
		reap_plain(d, s, id, res, s->fn);
	} else if (!s || s->state != ACTIVE || s->way != EVR_SUPPORT_NATIVE) {
		reap_internal(d, id, res, cflags);
	} else {
		evr_event(d, s, index, res, cflags);
	}
}

static inline __attribute__((always_inline)) void reap(struct evr_driver *d)
{
	struct ring *r = &d->ring;
	/* Relaxed: ours alone. */
	uint32_t head = evr_a32_load_relaxed(r->cq_head), index;
	uint32_t tail = evr_a32_load_acquire(r->cq_tail); /* CQE */
	struct slot *s;

	while (head != tail) {
		const struct io_uring_cqe *cqe = &r->cqes[head & r->cq_mask];
		uint64_t id = cqe->user_data, news = cqe_news(cqe);
		evr_done_fn *fn = NULL;

		s = slot_of(d, id, &index);
		if (LIKELY(s && s->plain == PLAIN && !(news >> 31)))
			fn = s->fn;
		/* What may have to be taken stays with the kernel until there is room. */
		if (UNLIKELY(!fn && !take_has_room(d)))
			return;
		/* Before the callback, which may submit and so enter. */
		evr_a32_store_release(r->cq_head, ++head); /* CQE */
		if (LIKELY(fn != NULL))
			reap_plain(d, s, id, (int)news, fn);
		else
			reap_other(d, id, (int)(uint32_t)news, (uint32_t)(news >> 32));
	}
	if (UNLIKELY(evr_a32_load_relaxed(r->sq_flags) & IORING_SQ_CQ_OVERFLOW))
		d->stats.overflows++;
}

void evr_ring_reap(struct evr_driver *d)
{
	reap(d);
}

/*
 * The usual turn of evr_driver_run(): nothing is due and there is no deadline. One
 * system call, then what it fetched; if that is not all, the long way goes on.
 */
int evr_ring_turn(struct evr_driver *d, uint32_t min)
{
	struct ring *r = &d->ring;
	uint64_t start = d->delivered;
	int ret;

	evr_a32_store_release(r->sq_tail, r->tail); /* SQE */
	evr_a32_store_full(&d->injector->sleep, SLEEPING); /* INJECT-WAKE */
	if (UNLIKELY(injector_has_news(d))) {
		injector_awake(d);
		return evr_run_on(d, min, UINT64_MAX, start, 0);
	}
	ret = io_uring_enter2((unsigned int)r->enter_fd, r->tail - r->sent, 1,
			      r->enter_flags | IORING_ENTER_GETEVENTS, NULL, _NSIG / 8);
	injector_awake(d);
	d->stats.enters++;
	if (UNLIKELY(ret < 0))
		return evr_run_on(d, min, UINT64_MAX, start, ret);
	r->sent += (uint32_t)ret;
	d->running = true;
	reap(d);
	d->running = false;
	if (LIKELY(d->delivered - start >= min && r->tail == r->sent))
		return (int)(d->delivered - start);
	/* A call that has submitted says so, and not that a signal ended its sleep. */
	if (d->delivered == start && !d->due && take_has_room(d))
		ret = -EINTR;
	return evr_run_on(d, min, UINT64_MAX, start, ret < 0 ? ret : 0);
}

/* As many of those on the list as there is room for; the others stay. */
void evr_ring_cancel(struct evr_driver *d)
{
	struct io_uring_sqe *sqe;
	struct slot *s;
	uint32_t index;

	while (d->cancels.nr && d->cancels_out < CANCELS_OUT_MAX(d)) {
		sqe = evr_ring_sqe(d);
		if (!sqe)
			return;
		index = d->cancels.head;
		s = slot_at(d, index);
		evr_list_remove(d, &d->cancels, index);
		s->flags &= (uint16_t)~S_LISTED;
		memset(sqe, 0, sizeof(*sqe));
		if (evr_rows[s->op]->cancel)
			evr_rows[s->op]->cancel(extra_at(d, index), id_of(s), sqe);
		else
			io_uring_prep_cancel64(sqe, id_of(s), 0);
		sqe->user_data = (uint64_t)s->gen << 32 | KIND_CANCEL << INDEX_BITS | index;
		d->cancels_out++;
		d->stats.cancels++;
	}
}

void evr_ring_arm_wake(struct evr_driver *d)
{
	struct io_uring_sqe *sqe = evr_ring_sqe(d);

	if (!sqe)
		return;
	io_uring_prep_poll_multishot(sqe, evr_injector_fd(d), POLLIN);
	sqe->user_data = (uint64_t)KIND_WAKE << INDEX_BITS;
	d->wake_armed = true;
}
