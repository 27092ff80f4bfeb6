// SPDX-License-Identifier: MIT
/*
 * Submission: check, take a slot, copy, then start or wait in the backlog. One policy
 * for every way: an op in flight holds credits, so that completions fit into the
 * completion ring; what finds none waits in the backlog, in order; a full backlog is
 * -EAGAIN, and on_writable() follows.
 */
#include "driver.h"

#define MULTI_CREDITS 8

/* Never more than there are: an op that can have none would wait for ever. */
static uint8_t credits_of(const struct evr_driver *d, const struct row *row,
			  const struct evr_op *op)
{
	uint32_t need = row->flags & ROW_NOTIFIES ? 2 : 1;

	if (op->flags & EVR_OP_MULTISHOT)
		need = MULTI_CREDITS;
	return (uint8_t)(need < d->credits_max ? need : d->credits_max);
}

/* Refused, for want of so much; tell_writable() of run.c says when it is there. */
int evr_refuse(struct evr_driver *d, int err, uint32_t credits, uint32_t slots)
{
	if (err != -EAGAIN)
		return err;
	d->starved = true;
	d->due = true;
	d->stats.again++;
	if (d->starved_credits < credits)
		d->starved_credits = credits;
	if (d->starved_slots < slots)
		d->starved_slots = slots;
	return err;
}

static int refuse(struct evr_driver *d, int err, const struct evr_op *op)
{
	return evr_refuse(d, err, err == -EAGAIN ? credits_of(d, evr_rows[op->code], op) : 0, 1);
}

static void extra_reset(struct extra *extra, const struct evr_op *op, uint32_t index)
{
	extra->op = *op;
	extra->mem = NULL;
	extra->moved = 0;
	extra->value = 0;
	extra->held_fd = -1;
	extra->held_in = -1;
	extra->turn = 0;
	extra->index = index;
	extra->waits = false;
	evr_a32_store_relaxed(&extra->cancelled, 0);
}

/* What the op points to becomes ours. */
static int slot_keep(struct evr_driver *d, struct slot *s, uint32_t index, const struct row *row,
		     const struct evr_op *op)
{
	struct extra *extra;
	int err = 0;

	if (!d->pages[index / PAGE_SLOTS]->extras && evr_extras_make(d, index / PAGE_SLOTS))
		return -ENOMEM;
	extra = extra_at(d, index);
	extra_reset(extra, op, index);
	s->flags |= S_EXTRA;
	if (op->flags & EVR_OP_FIXED_FD) {
		err = evr_files_translate(d, s, extra);
		if (err)
			return err;
	}
	if (op->flags & EVR_OP_FIXED_RESULT) {
		err = evr_files_reserve(d, &extra->op);
		if (err)
			return err;
	}
	if (op->flags & EVR_OP_REGION) {
		err = evr_region_translate(d, &extra->op);
		if (err)
			return err;
		evr_region_hold(d, op, 1);
		s->flags |= S_REGION;
	}
	if (op->flags & EVR_OP_BUFFER) {
		evr_group_hold(d, op->bgid, 1);
		s->flags |= S_GROUP;
	}
	return row->keep ? row->keep(d, extra) : 0;
}

void evr_slot_put_back(struct evr_driver *d, uint32_t index)
{
	struct slot *s = slot_at(d, index);

	if (s->flags & S_EXTRA) {
		free(extra_at(d, index)->mem);
		evr_release_fd(extra_at(d, index));
		if (extra_at(d, index)->op.flags & EVR_OP_FIXED_RESULT)
			evr_files_unreserve(d, &extra_at(d, index)->op);
		if (s->op == EVR_OP_CLOSE)
			evr_files_keep(d, extra_at(d, index));
	}
	if (s->flags & S_REGION)
		evr_region_hold(d, &extra_at(d, index)->op, -1);
	if (s->flags & S_GROUP)
		evr_group_hold(d, extra_at(d, index)->op.bgid, -1);
	if (s->heap)
		evr_heap_remove(d, s);
	slot_free(d, s);
}

static int op_is_unknown(const struct evr_op *op)
{
	return evr_fail(-EOPNOTSUPP, "op %s (%u): not here; evr_driver_supports() tells",
			evr_op_name(op->code), op->code);
}

static int op_is_bad(struct evr_driver *d, const struct evr_op *op)
{
	const struct row *row;

	if (op->code >= ROWS_NR || op->code == EVR_OP_RAW || !d->way[op->code])
		return op_is_unknown(op);
	row = evr_rows[op->code];
	if (op->flags & ~(unsigned int)row->allowed)
		return evr_fail(-EINVAL, "op %s: flags %#x, of which it takes only %#x", row->name,
				op->flags, row->allowed);
	if (op->flags & EVR_OP_MULTISHOT && op->flags & EVR_OP_FIXED_RESULT)
		return evr_fail(-EINVAL, "op %s: MULTISHOT has no FIXED_RESULT", row->name);
	if (op->flags & EVR_OP_BACKGROUND && op->fn)
		return evr_fail(-EINVAL, "op %s: BACKGROUND has no callback", row->name);
	if (op->flags & EVR_OP_BUFFER && !evr_group_exists(d, op->bgid))
		return evr_fail(-ENOENT, "op %s: no group of buffers %u", row->name, op->bgid);
	if (op->flags & EVR_OP_FIXED_FD && (op->fd < 0 || (uint32_t)op->fd >= d->files_nr))
		return evr_fail(-EBADF, "op %s: slot %d of %u fixed files", row->name, op->fd,
				d->files_nr);
	return 0;
}

/* The out-of-the-ordinary half of taking a slot. */
static int slot_dress(struct evr_driver *d, struct slot *s, uint32_t index, const struct row *row,
		      const struct evr_op *op)
{
	int err;

	if (op->flags & EVR_OP_MULTISHOT)
		s->flags |= S_MULTI;
	if (op->flags & EVR_OP_BACKGROUND)
		s->flags |= S_BACKGROUND;
	err = slot_keep(d, s, index, row, op);
	if (err) {
		evr_slot_put_back(d, index);
		return err;
	}
	if (op->deadline_ns)
		evr_heap_add(d, index, op->deadline_ns);
	return 0;
}

static inline int slot_take(struct evr_driver *d, const struct evr_op *op, uint32_t *out)
{
	const struct row *row;
	uint32_t index;
	struct slot *s;
	int err;

	if (UNLIKELY(d->closing))
		return evr_fail(-ESHUTDOWN, "driver: it is being closed");
	if (UNLIKELY(op->code != EVR_OP_NOP || op->flags)) {
		err = op_is_bad(d, op);
		if (err)
			return err;
	}
	if (UNLIKELY(!d->free)) {
		err = evr_slots_grow(d);
		if (err)
			return err;
	}
	row = evr_rows[op->code];
	s = d->free;
	d->free = s->free;
	index = index_of(s);
	d->quick = 0;
	d->slots_used++;
	s->op = op->code;
	s->state = HELD;
	s->flags = 0;
	s->plain = 0;
	s->fn = op->fn;
	s->arg = op->arg;
	/* A slot of the table is no fd that a cancel could mean. */
	s->fd = op->flags & EVR_OP_FIXED_FD ? -1 : op->fd;
	s->heap = 0;
	s->link = NONE;
	s->credits = 0;
	s->tries = 0;
	s->way = d->way[op->code];
	*out = index;
	if (LIKELY(row->flags & ROW_BARE && !(op->flags | op->deadline_ns)))
		return 0;
	return slot_dress(d, s, index, row, op);
}

int evr_slot_take(struct evr_driver *d, const struct evr_op *op, uint32_t *index)
{
	return op->code < EVR_OPS_NR ? slot_take(d, op, index) : op_is_unknown(op);
}

/* A bare op keeps nothing, unless it has to wait. */
int evr_slot_keep(struct evr_driver *d, uint32_t index, const struct evr_op *op)
{
	struct slot *s = slot_at(d, index);

	return s->flags & S_EXTRA ? 0 : slot_keep(d, s, index, evr_rows[s->op], op);
}

static int backlog_add(struct evr_driver *d, struct slot *s, uint32_t index,
		       const struct evr_op *op)
{
	int err;

	if (d->backlog.nr >= d->options.backlog_max)
		return -EAGAIN;
	err = evr_slot_keep(d, index, op);
	if (err)
		return err;
	s->state = BACKLOG;
	evr_list_push(d, &d->backlog, index);
	d->stats.backlogged++;
	return 0;
}

static int start_inline(struct evr_driver *d, struct slot *s, uint32_t index)
{
	struct extra *extra = s->flags & S_EXTRA ? extra_at(d, index) : NULL;
	const struct row *row = evr_rows[s->op];
	uint32_t cflags = 0;
	int res;

	s->state = ACTIVE;
	res = row->call(d, extra, extra ? extra->op.fd : s->fd);
	if (res == -EINPROGRESS)
		return 0;
	if (row->done)
		row->done(d, s, index, &res, &cflags);
	evr_op_finish(d, s, index, res, cflags);
	return 0;
}

static inline int op_start(struct evr_driver *d, struct slot *s, uint32_t index,
			   const struct evr_op *op)
{
	if (LIKELY(s->way == EVR_SUPPORT_NATIVE))
		return evr_ring_start(d, s, index, op);
	if (s->way == EVR_SUPPORT_POOL) {
		evr_workers_start(d, index);
		return 0;
	}
	if (s->way == EVR_SUPPORT_READY)
		return evr_ready_start(d, s, index);
	return start_inline(d, s, index);
}

/* Again, or the next of a chain; it has its credits. Never fails: it may wait in front. */
int evr_op_restart(struct evr_driver *d, struct slot *s, uint32_t index)
{
	int err = op_start(d, s, index, &extra_at(d, index)->op);

	/* Not a signal is what has ended a sleep that delivers nothing. */
	d->due = true;
	if (err == -EAGAIN) {
		s->state = BACKLOG;
		evr_list_push_front(d, &d->backlog, index);
	} else if (err) {
		evr_op_finish(d, s, index, err, 0);
	}
	return 0;
}

int evr_op_start(struct evr_driver *d, struct slot *s, uint32_t index)
{
	const struct evr_op *op = &extra_at(d, index)->op;
	uint8_t need = credits_of(d, evr_rows[s->op], op);

	if (s->credits)
		need = 0;
	if (d->credits < need)
		return -EAGAIN;
	s->credits += need;
	d->credits -= need;
	d->quick = 0;
	return op_start(d, s, index, op);
}

static int start_or_wait(struct evr_driver *d, struct slot *s, uint32_t index,
			 const struct evr_op *op)
{
	uint8_t need = credits_of(d, evr_rows[s->op], op);
	int err;

	/* A timer takes no place in any ring. */
	if (s->op == EVR_OP_TIMER)
		return start_inline(d, s, index);
	if (UNLIKELY(d->backlog.nr || d->credits < need))
		return backlog_add(d, s, index, op);
	s->credits = need;
	d->credits -= need;
	err = op_start(d, s, index, op);
	if (LIKELY(!err))
		return 0;
	return err == -EAGAIN ? backlog_add(d, s, index, op) : err;
}

static __attribute__((noinline)) int submit_any(struct evr_driver *d, const struct evr_op *op,
						uint64_t *id)
{
	uint32_t index;
	struct slot *s;
	int err;

	err = slot_take(d, op, &index);
	if (err)
		return refuse(d, err, op);
	s = slot_at(d, index);
	if (id)
		*id = id_of(s);
	if (s->flags & S_EXTRA)
		op = &extra_at(d, index)->op;
	err = start_or_wait(d, s, index, op);
	if (err) {
		err = refuse(d, err, op);
		evr_slot_put_back(d, index);
		return err;
	}
	d->stats.submitted++;
	return 0;
}

/* Also an op of the driver itself. */
int evr_op_submit(struct evr_driver *d, const struct evr_op *op, uint64_t *id)
{
	return submit_any(d, op, id);
}

/*
 * The short way, of an op for io_uring that asks for nothing special and finds room
 * everywhere: the same steps, without their questions.
 */
static inline struct slot *plain_take(struct evr_driver *d, const struct evr_op *op, uint8_t code)
{
	struct slot *s = d->free;

	d->free = s->free;
	d->quick--;
	d->slots_used++;
	d->in_flight++;
	d->credits--;
	d->stats.submitted++;
	s->op = code;
	s->state = ACTIVE;
	s->way = EVR_SUPPORT_NATIVE;
	s->plain = PLAIN;
	s->fn = op->fn;
	s->arg = op->arg;
	s->fd = op->fd;
	s->heap = 0;
	s->link = NONE;
	s->flags = 0;
	s->credits = 1;
	s->tries = 0;
	return s;
}

static inline struct io_uring_sqe *plain_sqe(struct evr_driver *d, const struct slot *s,
					     uint64_t *id)
{
	struct io_uring_sqe *sqe = &d->ring.sqes[d->ring.tail++ & d->ring.sq_mask];

	memset(sqe, 0, sizeof(*sqe));
	sqe->user_data = id_of(s);
	if (id)
		*id = sqe->user_data;
	return sqe;
}

/* How many plain ops find a credit, a slot and an SQE. */
static uint32_t quick_room(const struct evr_driver *d)
{
	const struct ring *r = &d->ring;
	uint32_t nr = d->credits;

	if (!d->plain[EVR_OP_NOP] || d->backlog.nr || d->closing)
		return 0;
	if (nr > d->slots_nr - d->slots_used)
		nr = d->slots_nr - d->slots_used;
	if (nr > r->sq_entries - (r->tail - r->sent))
		nr = r->sq_entries - (r->tail - r->sent);
	return nr;
}

/* Plain, but something of it has to be kept. */
static void submit_kept(struct evr_driver *d, const struct evr_op *op, uint64_t *id)
{
	struct slot *s = plain_take(d, op, op->code);
	struct io_uring_sqe *sqe = plain_sqe(d, s, id);
	struct extra *extra = extra_at(d, index_of(s));
	const struct row *row = evr_rows[op->code];

	s->flags = S_EXTRA;
	extra_reset(extra, op, index_of(s));
	sqe->opcode = (uint8_t)row->opcode;
	sqe->fd = op->fd;
	row->prep(op, extra, sqe);
}

/*
 * The same on a registered file, or with registered memory. What there is to complain of is found here,
 * and said by the long way.
 */
static __attribute__((noinline)) int submit_fixed(struct evr_driver *d, const struct evr_op *op,
						  uint64_t *id)
{
	struct slot *s = d->free;
	struct extra *extra = extra_at(d, index_of(s));
	const struct row *row = evr_rows[op->code];
	struct io_uring_sqe *sqe;
	int err = op->flags & ~(unsigned int)row->allowed ? -EINVAL : 0;

	extra_reset(extra, op, index_of(s));
	s->way = EVR_SUPPORT_NATIVE;
	if (!err && op->flags & EVR_OP_FIXED_FD)
		err = (uint32_t)op->fd < d->files_nr ? evr_files_translate(d, s, extra) : -EBADF;
	if (!err && op->flags & EVR_OP_REGION)
		err = evr_region_translate(d, &extra->op);
	if (UNLIKELY(err))
		return submit_any(d, op, id);
	plain_take(d, op, op->code);
	sqe = plain_sqe(d, s, id);
	s->flags = S_EXTRA;
	if (op->flags & EVR_OP_FIXED_FD)
		s->fd = -1;
	if (op->flags & EVR_OP_REGION) {
		evr_region_hold(d, op, 1);
		s->flags = S_EXTRA | S_REGION;
		s->plain = PLAIN_REGION;
	}
	sqe->opcode = (uint8_t)row->opcode;
	sqe->fd = extra->op.fd;
	if (extra->op.flags & EVR_OP_FIXED_FD)
		sqe->flags = IOSQE_FIXED_FILE;
	row->prep(&extra->op, extra, sqe);
	return 0;
}

static __attribute__((noinline)) int submit_other(struct evr_driver *d, const struct evr_op *op,
						  uint64_t *id)
{
	if (op->code >= EVR_OPS_NR)
		return op_is_unknown(op);
	if (!d->quick)
		d->quick = quick_room(d);
	if (!d->quick || !d->plain[op->code] || op->deadline_ns ||
	    op->flags & ~(EVR_OP_FIXED_FD | EVR_OP_REGION))
		return submit_any(d, op, id);
	if (op->code == EVR_OP_NOP && !op->flags) {
		plain_sqe(d, plain_take(d, op, EVR_OP_NOP), id);
		return 0;
	}
	if (!d->pages[index_of(d->free) / PAGE_SLOTS]->extras)
		return submit_any(d, op, id);
	if (op->flags)
		return submit_fixed(d, op, id);
	submit_kept(d, op, id);
	return 0;
}

static inline bool is_bare(const struct evr_op *op)
{
	uint32_t head;

	memcpy(&head, op, sizeof(head));
	return !head && !op->deadline_ns;
}

EVR_STATIC_ASSERT(EVR_OP_NOP == 0, "is_bare() takes it for the op without a bit set");
EVR_STATIC_ASSERT(offsetof(struct evr_op, fd) == 4, "is_bare() looks at code and flags");

int evr_driver_submit(struct evr_driver *d, const struct evr_op *op, uint64_t *id)
{
	if (UNLIKELY(d->life->owner != &evr_thread_token))
		return evr_life_bad(d);
	if (UNLIKELY(!d->quick || !is_bare(op)))
		return submit_other(d, op, id);
	plain_sqe(d, plain_take(d, op, EVR_OP_NOP), id);
	return 0;
}

/* Those that now find room, in order. A chain goes as a whole; see chain.c. */
void evr_backlog_flush(struct evr_driver *d)
{
	struct slot *s;
	uint32_t index;
	int err;

	while (d->backlog.nr) {
		index = d->backlog.head;
		s = slot_at(d, index);
		if (s->flags & S_LINKED && s->link != NONE) {
			if (evr_chain_flush(d, index))
				return;
			continue;
		}
		evr_list_remove(d, &d->backlog, index);
		err = evr_op_start(d, s, index);
		if (err == -EAGAIN) {
			s->state = BACKLOG;
			evr_list_push_front(d, &d->backlog, index);
			return;
		}
		if (err)
			evr_op_finish(d, s, index, err, 0);
	}
}

struct io_uring_sqe *evr_driver_sqe(struct evr_driver *d, evr_done_fn *fn, void *arg,
				    uint32_t completions_nr, uint64_t *id)
{
	struct evr_op op = { .code = EVR_OP_RAW, .fd = -1, .fn = fn, .arg = arg };
	struct io_uring_sqe *sqe;
	struct slot *s;
	uint32_t index;

	if (driver_check(d) || !d->ring.exists || !completions_nr || completions_nr > 64)
		return NULL;
	/* Before slot_take(), which refuses this code to evr_driver_submit(). */
	if (d->closing || d->backlog.nr || d->credits < completions_nr) {
		evr_refuse(d, -EAGAIN, completions_nr, 1);
		return NULL;
	}
	sqe = evr_ring_sqe(d);
	if (!sqe)
		return NULL;
	op.code = EVR_OP_NOP;
	if (slot_take(d, &op, &index)) {
		d->ring.tail--;
		return NULL;
	}
	s = slot_at(d, index);
	s->op = EVR_OP_RAW;
	s->way = EVR_SUPPORT_NATIVE;
	s->state = ACTIVE;
	s->credits = (uint8_t)completions_nr;
	d->credits -= completions_nr;
	d->in_flight++;
	d->stats.submitted++;
	memset(sqe, 0, sizeof(*sqe));
	sqe->user_data = id_of(s);
	if (id)
		*id = sqe->user_data;
	return sqe;
}
