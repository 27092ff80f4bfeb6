// SPDX-License-Identifier: MIT
/*
 * What becomes of a result, whichever way it came: an op is over when a completion
 * lacks MORE, goes on after an interruption, or is handed to its callback, to the
 * queue of those who take, or to the cleanup of what nobody wants.
 */
#include "driver.h"

#define TRIES_AGAIN 4
/* ERESTARTSYS and its like, which no program is to see: of a splice that is cancelled it does (6.18). */
#define RESTART_FIRST (-512)
#define RESTART_LAST (-516)

static bool exact_goes_on(struct extra *extra, int *res, bool cancelled)
{
	struct evr_op *op = &extra->op;

	if (*res > 0) {
		/* len + moved stays what was asked for; see wanted() of chain.c. */
		extra->moved += (uint32_t)*res;
		op->addr += (uint32_t)*res;
		op->len -= (uint32_t)*res;
		if (op->off != UINT64_MAX)
			op->off += (uint32_t)*res;
		if (op->len && !cancelled)
			return true;
	}
	/* An end or an error after some bytes: the bytes are the news. */
	if (extra->moved)
		*res = (int)extra->moved;
	return false;
}

/* Would it be the same file? A number that is looked up again may be another's by now. */
static bool can_start_again(const struct evr_driver *d, const struct extra *extra)
{
	if (extra->op.flags & EVR_OP_FIXED_FD)
		return evr_files_same(d, extra);
	return extra->held_fd >= 0 || extra->op.fd < 0;
}

/* Does an op that could be over start again? */
static bool op_goes_on(struct evr_driver *d, struct slot *s, struct extra *extra, int *res)
{
	const struct row *row = evr_rows[s->op];

	bool again = !(s->flags & S_LINKED) && can_start_again(d, extra);

	if (again && !(s->flags & S_CANCEL)) {
		if (*res == -EINTR && !(row->flags & ROW_ONCE))
			return true;
		if (*res == -EAGAIN && row->flags & ROW_RETRY && s->tries < TRIES_AGAIN) {
			s->tries++;
			return true;
		}
		/* This file system, not this kernel, lacks it. */
		if (*res == -EOPNOTSUPP && s->way == EVR_SUPPORT_NATIVE && row_has_pool(row) &&
		    /* To the pool the number of a slot would be that of some other file. */
		    !(extra->op.flags & (EVR_OP_FIXED_FD | EVR_OP_FIXED_RESULT | EVR_OP_BUFFER))) {
			s->way = EVR_SUPPORT_POOL;
			return true;
		}
	}
	if (!(extra->op.flags & EVR_OP_EXACT))
		return false;
	return exact_goes_on(extra, res, !again || s->flags & S_CANCEL);
}

/*
 * A signal that comes while the kernel makes a thread for an op has it end as if it had been
 * cancelled (6.1), and it has not begun. What we asked for, a chain that was broken, and
 * what a caller does with SQEs of its own, are cancelled in truth.
 */
static int canceled_or_interrupted(const struct slot *s)
{
	if (s->flags & (S_CANCEL | S_LINKED) || s->way != EVR_SUPPORT_NATIVE || s->op == EVR_OP_RAW)
		return -ECANCELED;
	return -EINTR;
}

void evr_event(struct evr_driver *d, struct slot *s, uint32_t index, int res, uint32_t cflags)
{
	const struct row *row = evr_rows[s->op];
	bool more = cflags & IORING_CQE_F_MORE;

	if (UNLIKELY(res <= RESTART_FIRST && res >= RESTART_LAST))
		res = -EINTR;
	else if (UNLIKELY(res == -ECANCELED))
		res = canceled_or_interrupted(s);
	if (!more) {
		d->in_flight--;
		if (s->flags & S_LISTED) {
			evr_list_remove(d, &d->cancels, index);
			s->flags &= (uint16_t)~S_LISTED;
		}
		if (s->flags & S_LINKED)
			evr_chain_turn(d, s, index);
	}
	if (s->flags & S_EXTRA) {
		if (row->done && row->done(d, s, index, &res, &cflags))
			return;
		more = cflags & IORING_CQE_F_MORE;
		if (!more && op_goes_on(d, s, extra_at(d, index), &res)) {
			d->stats.retries++;
			evr_op_restart(d, s, index);
			return;
		}
	}
	evr_deliver(d, s, index, res, cflags);
}

/* The result of an op that is in no queue any more; delivered by the next run. */
void evr_op_finish(struct evr_driver *d, struct slot *s, uint32_t index, int res, uint32_t cflags)
{
	/* An end after some bytes, as in exact_goes_on(). */
	if (res < 0 && s->flags & S_EXTRA && extra_at(d, index)->op.flags & EVR_OP_EXACT &&
	    extra_at(d, index)->moved)
		res = (int)extra_at(d, index)->moved;
	s->state = DONE;
	s->res = res;
	s->cflags = cflags;
	evr_list_push(d, &d->done, index);
}

static uint32_t done_flags(const struct slot *s, uint32_t cflags)
{
	uint32_t flags = 0;

	if (cflags & IORING_CQE_F_MORE)
		flags |= EVR_DONE_MORE;
	if (cflags & IORING_CQE_F_NOTIF)
		flags |= EVR_DONE_NOTIF;
	if (cflags & IORING_CQE_F_SOCK_NONEMPTY)
		flags |= EVR_DONE_NONEMPTY;
	if (s->flags & S_CANCEL)
		flags |= EVR_DONE_CANCELED;
	if (s->way != EVR_SUPPORT_NATIVE)
		flags |= EVR_DONE_EMULATED;
	return flags;
}

static void fill(struct evr_driver *d, const struct slot *s, uint32_t index, uint32_t cflags,
		 struct evr_completion *done)
{
	if (cflags & IORING_CQE_F_BUFFER && s->flags & S_EXTRA) {
		done->flags |= EVR_DONE_BUFFER;
		done->bgid = extra_at(d, index)->op.bgid;
		done->bid = (uint16_t)(cflags >> IORING_CQE_BUFFER_SHIFT);
		evr_group_take(d, done);
	}
	if (cflags & IORING_CQE_F_NOTIF) {
		if ((uint32_t)done->res & ABI_NOTIF_ZC_COPIED)
			done->flags |= EVR_DONE_COPIED;
		done->res = 0;
	}
}

/* Nobody is to hear of it: what it brings is given back. */
static void discard(struct evr_driver *d, const struct slot *s, uint32_t index,
		    const struct evr_completion *done, uint32_t cflags)
{
	const struct row *row = evr_rows[s->op];

	if (s->flags & S_BACKGROUND && done->res < 0)
		d->stats.background_errors++;
	if (done->flags & EVR_DONE_BUFFER)
		evr_group_give_back(d, done);
	if (row->cleanup && s->flags & S_EXTRA && done->res >= 0)
		row->cleanup(d, &extra_at(d, index)->op, done->res, cflags);
}

void evr_deliver(struct evr_driver *d, struct slot *s, uint32_t index, int res, uint32_t cflags)
{
	struct evr_completion done = { .id = id_of(s),
				       .arg = s->arg,
				       .res = res,
				       .flags = done_flags(s, cflags),
				       .value = s->flags & S_EXTRA ? extra_at(d, index)->value :
								     0 };
	evr_done_fn *fn = s->fn;
	bool quiet;

	/* What a cancel interrupts says so in either way; a close has closed. */
	if (res == -EINTR && s->flags & S_CANCEL && !(evr_rows[s->op]->flags & ROW_ONCE))
		done.res = -ECANCELED;
	if (done.res == -ECANCELED && s->flags & S_EXPIRED)
		done.res = -ETIME;
	fill(d, s, index, cflags, &done);
	quiet = s->flags & (S_ABANDONED | S_BACKGROUND) || (d->closing && !fn);
	if (quiet)
		discard(d, s, index, &done, cflags);
	d->delivered++;
	if (cflags & IORING_CQE_F_MORE) {
		d->stats.events++;
		if (s->flags & S_EXTRA)
			extra_at(d, index)->value = 0;
	} else {
		if (s->flags & S_SEQUENCE)
			evr_chain_next(d, s, index, res);
		evr_slot_put_back(d, index);
	}
	if (quiet)
		return;
	if (fn)
		fn(d, &done);
	else
		evr_take_push(d, &done);
}

/* What seemed to be the end is not: deliver it as one of many, and start again. */
void evr_go_on(struct evr_driver *d, struct slot *s, uint32_t index, int res, uint32_t cflags)
{
	/* A cancel in the callback finds nothing to end but this word. */
	s->state = HELD;
	evr_deliver(d, s, index, res, cflags | IORING_CQE_F_MORE);
	if (s->flags & S_CANCEL || d->closing)
		evr_op_finish(d, s, index, -ECANCELED, 0);
	else
		evr_op_restart(d, s, index);
}

void evr_done_flush(struct evr_driver *d)
{
	uint32_t nr = d->done.nr, index;
	struct slot *s;

	/* Those that callbacks add wait for the next round. */
	while (nr-- && d->done.nr && take_has_room(d)) {
		index = d->done.head;
		s = slot_at(d, index);
		evr_list_remove(d, &d->done, index);
		evr_deliver(d, s, index, s->res, s->cflags);
	}
}
