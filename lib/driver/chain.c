// SPDX-License-Identifier: MIT
/*
 * Chains. When io_uring can do every member, they are linked there, and enter the ring
 * together or not at all: a chain that is cut between two submissions is two
 * chains. Otherwise the driver starts each when the one before it has ended well, by
 * the kernel's rules of what that is.
 *
 * The first member stands for the chain in the backlog; the others are HELD.
 */
#include "driver.h"

static uint64_t wanted(const struct extra *extra)
{
	const struct evr_op *op = &extra->op;
	const struct iovec *iov = (const struct iovec *)(uintptr_t)op->addr;
	uint64_t sz = 0;
	uint32_t i;

	if (op->code != EVR_OP_READV && op->code != EVR_OP_WRITEV)
		return op->len + (op->flags & EVR_OP_EXACT ? extra->moved : 0);
	for (i = 0; i < op->len; i++)
		sz += iov[i].iov_len;
	return sz;
}

bool evr_chain_is_broken(const struct row *row, const struct extra *extra, int res)
{
	const struct evr_op *op = &extra->op;

	if (res < 0)
		return true;
	if (row->flags & ROW_FULL || op->opflags & MSG_WAITALL * (op->code == EVR_OP_RECV))
		return (uint64_t)res != wanted(extra);
	return false;
}

/* All behind this member end. */
void evr_chain_drop(struct evr_driver *d, uint32_t index)
{
	struct slot *s = slot_at(d, index);

	while (s->link != NONE) {
		index = s->link;
		s->link = NONE;
		s = slot_at(d, index);
		evr_op_finish(d, s, index, -ECANCELED, 0);
	}
}

/* Has the kernel begun this member, as far as we know? */
static bool has_its_turn(const struct evr_driver *d, const struct slot *s, uint32_t index)
{
	const struct slot *before;

	if (s->before == NONE)
		return true;
	before = slot_at(d, s->before);
	/* The slot may be another's by now; none but the one before names this one. */
	return before->state != ACTIVE || !(before->flags & S_LINKED) || before->link != index;
}

static void cancel_again(struct evr_driver *d, struct slot *s, uint32_t index)
{
	if (s->flags & S_LINKED && s->flags & S_CANCEL)
		evr_cancel_again(d, s, index);
}

/* The kernel finds no member that it has not begun. One whose turn has come is asked again. */
void evr_chain_not_found(struct evr_driver *d, struct slot *s, uint32_t index)
{
	if (has_its_turn(d, s, index))
		cancel_again(d, s, index);
}

/* A member of a chain that io_uring runs is over: the next one's turn has come. */
void evr_chain_turn(struct evr_driver *d, struct slot *s, uint32_t index)
{
	uint32_t next = s->link;

	if (next != NONE && slot_at(d, next)->before == index)
		cancel_again(d, slot_at(d, next), next);
}

/* A member of a chain that the driver runs has ended with this result. */
void evr_chain_next(struct evr_driver *d, struct slot *s, uint32_t index, int res)
{
	uint32_t next = s->link;
	struct slot *member;
	int err;

	if (next == NONE)
		return;
	member = slot_at(d, next);
	if (member->flags & S_CANCEL || d->closing ||
	    evr_chain_is_broken(evr_rows[s->op], extra_at(d, index), res)) {
		evr_chain_drop(d, index);
		return;
	}
	s->link = NONE;
	err = evr_op_start(d, member, next);
	if (err == -EAGAIN) {
		member->state = BACKLOG;
		evr_list_push_front(d, &d->backlog, next);
	} else if (err) {
		evr_op_finish(d, member, next, err, 0);
		evr_chain_drop(d, next);
	}
}

/* All members of a chain that io_uring runs, or -EAGAIN. */
static int chain_start(struct evr_driver *d, uint32_t index, uint32_t nr)
{
	struct slot *s;

	if (d->credits < nr)
		return -EAGAIN;
	if (!ring_has_room(d, nr))
		evr_ring_enter(d, false, 0);
	if (!ring_has_room(d, nr))
		return -EAGAIN;
	d->quick = 0;
	for (; index != NONE; index = s->link) {
		s = slot_at(d, index);
		s->credits = 1;
		d->credits--;
		/* Cannot fail: there is room. */
		evr_ring_start(d, s, index, &extra_at(d, index)->op);
	}
	return 0;
}

/* The chain at the head of the backlog. 0: it is there no more. */
int evr_chain_flush(struct evr_driver *d, uint32_t index)
{
	bool cancelled = false;
	uint32_t member, nr = 0;

	for (member = index; member != NONE; member = slot_at(d, member)->link) {
		cancelled |= slot_at(d, member)->flags & S_CANCEL;
		nr++;
	}
	if (!cancelled && chain_start(d, index, nr))
		return -EAGAIN;
	evr_list_remove(d, &d->backlog, index);
	if (cancelled) {
		evr_chain_drop(d, index);
		evr_op_finish(d, slot_at(d, index), index, -ECANCELED, 0);
	}
	return 0;
}

static int chain_take(struct evr_driver *d, const struct evr_op *ops, uint32_t nr, uint32_t *first)
{
	uint32_t i, index, last = NONE;
	int err = 0;

	*first = NONE;
	for (i = 0; i < nr; i++) {
		if (ops[i].flags & (EVR_OP_MULTISHOT | EVR_OP_EXACT) ||
		    (ops[i].code < EVR_OPS_NR && evr_rows[ops[i].code]->flags & ROW_UNCHAINED)) {
			err = evr_fail(-EINVAL, "chain: member %u (%s) may be none", i,
				       evr_op_name(ops[i].code));
			break;
		}
		err = evr_slot_take(d, &ops[i], &index);
		if (err)
			break;
		if (last == NONE)
			*first = index;
		else
			slot_at(d, last)->link = index;
		last = index;
		err = evr_slot_keep(d, index, &ops[i]);
		if (err)
			break;
	}
	return err;
}

static void chain_put_back(struct evr_driver *d, uint32_t index)
{
	uint32_t next;

	for (; index != NONE; index = next) {
		next = slot_at(d, index)->link;
		evr_slot_put_back(d, index);
	}
}

static int chain_begin(struct evr_driver *d, uint32_t first, uint32_t nr, bool native)
{
	struct slot *s = slot_at(d, first);
	int err = -EAGAIN;

	if (!d->backlog.nr)
		err = native ? chain_start(d, first, nr) : evr_op_start(d, s, first);
	if (err != -EAGAIN || d->backlog.nr >= d->options.backlog_max)
		return err;
	s->state = BACKLOG;
	evr_list_push(d, &d->backlog, first);
	d->stats.backlogged++;
	return 0;
}

int evr_driver_submit_chain(struct evr_driver *d, const struct evr_op *ops, uint32_t nr,
			    uint64_t *ids)
{
	uint32_t first, index, before = NONE, i;
	bool native = true;
	struct slot *s;
	int err;

	err = driver_check(d);
	if (err)
		return err;
	if (!nr || nr > d->options.entries || nr > d->credits_max)
		return evr_fail(-EINVAL, "chain: %u ops, of at most %u", nr, d->options.entries);
	err = chain_take(d, ops, nr, &first);
	for (index = first; index != NONE; index = slot_at(d, index)->link)
		native &= slot_at(d, index)->way == EVR_SUPPORT_NATIVE;
	for (index = first, i = 0; index != NONE; index = s->link, i++) {
		s = slot_at(d, index);
		s->before = before;
		before = index;
		s->flags |= native ? S_LINKED : S_SEQUENCE;
		if (ids && !err)
			ids[i] = id_of(s);
	}
	if (!err)
		err = chain_begin(d, first, nr, native);
	if (err) {
		chain_put_back(d, first);
		return evr_refuse(d, err, nr, nr);
	}
	d->stats.submitted += nr;
	return 0;
}
