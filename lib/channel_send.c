/* SPDX-License-Identifier: MIT */
/* Channels: the sending half of an endpoint. channel.h has the protocol. */
#include <errno.h>
#include <string.h>

#include <evering/channel.h>

#include "channel.h"
#include "internal.h"

#define FLAGS_KNOWN (EVR_MESSAGE_URGENT | CHANNEL_FLAGS)

/* Does the other end take no more? */
static bool tx_is_refused(const struct evr_channel *ch)
{
	return evr_a64_load_acquire(&channel_other_end(ch)->shut) & EVR_SHUT_RECV; /* CHAN-SHUT */
}

/* May anything be sent at all: 0, or why not. A few loads; a death is noticed by who waits. */
static int tx_check(struct evr_channel *ch)
{
	uint64_t partner = evr_a64_load_relaxed(&ch->partner);
	enum evr_ring_state state;

	if (!ch->mine)
		return -EPIPE;
	if (!partner || evr_a64_load_acquire(ch->tx[0].lane.other_owner) != partner ||
	    evr_a32_load_relaxed(&ch->corrupt) ||
	    /* Nobody can say in its region that it has died. */
	    (ch->far && !evr_peer_is_live(ch->peer, owner_id(partner)))) {
		state = evr_channel_look(ch, ch->tx);
		if (state != EVR_RING_OK)
			return evr_channel_error(state);
	}
	if (ch->shut_send || tx_is_refused(ch))
		return -EPIPE;
	return 0;
}

static bool tx_is_granted(const struct evr_channel *ch, uint64_t sz)
{
	return ch->sent_messages < ch->credit_messages && ch->sent_bytes <= ch->credit_bytes &&
	       sz <= ch->credit_bytes - ch->sent_bytes;
}

/*
 * Has the other end granted another message of so many bytes? 0; -ENOBUFS. It writes these words
 * with every release: what was seen of them holds for some messages.
 */
static int tx_credit(struct evr_channel *ch, uint64_t sz)
{
	const struct evr_channel_end *other;

	if (ch->sent_messages < ch->credit_until && tx_is_granted(ch, sz))
		return 0;
	other = channel_other_end(ch);
	ch->credit_messages = evr_a64_load_acquire(&other->credit_messages); /* CHAN-CREDIT */
	ch->credit_bytes = evr_a64_load_relaxed(&other->credit_bytes);
	ch->credit_until = ch->sent_messages + EVR_CHANNEL_CREDIT_LOOK;
	return tx_is_granted(ch, sz) ? 0 : -ENOBUFS;
}

static int tx_too_long(const struct evr_channel *ch, uint64_t sz)
{
	return evr_fail(-EMSGSIZE, "channel '%s': a message of %llu bytes, at most %llu fit",
			ch->rx[0].lane.object.name, (unsigned long long)sz,
			(unsigned long long)ch->geometry.inline_max);
}

static void tx_refused(struct evr_channel *ch, int err)
{
	if (err == -ENOBUFS)
		channel_count(&ch->mine->counts.no_credit, 1);
	else if (err == -EAGAIN)
		channel_count(&ch->mine->counts.full, 1);
	else if (err == -ENOMEM)
		channel_count(&ch->mine->counts.no_memory, 1);
}

/* Room for a frame of @sz bytes behind its header. */
static int tx_reserve(struct evr_channel *ch, int k, uint64_t sz, struct channel_header **to)
{
	struct evr_bytes *stream = &ch->tx[k];

	*to = evr_bytes_reserve(stream, sizeof(**to) + sz);
	if (*to)
		return 0;
	return stream->lane.corrupt ? evr_channel_error(evr_channel_look(ch, ch->tx)) : -EAGAIN;
}

static void tx_account(struct evr_channel *ch, int k, uint64_t sz)
{
	struct evr_channel_end_counts *c = &ch->mine->counts;

	channel_count(&c->sent, 1);
	channel_count(&c->sent_bytes, sz);
	if (k == CHANNEL_URGENT) {
		channel_count(&c->urgent, 1);
		return;
	}
	ch->sent_messages++;
	ch->sent_bytes += sz;
}

/* What the header of a message's frame says that it is. */
static uint32_t frame_kind(const struct evr_message *m, uint32_t kind)
{
	return (m->flags & CHANNEL_FLAGS) << CHANNEL_FLAGS_SHIFT | kind;
}

static int tx_inline(struct evr_channel *ch, int k, const struct evr_message *m)
{
	struct channel_header header = { .tag = m->tag, .id = m->id };
	struct channel_header *to;
	int err;

	err = tx_reserve(ch, k, m->sz, &to);
	if (err)
		return err;
	evr_copy_in(to, &header, sizeof(header));
	if (m->sz)
		evr_copy_in(to + 1, m->data, m->sz);
	return evr_bytes_commit_more(&ch->tx[k], sizeof(header) + m->sz,
				     frame_kind(m, EVR_FRAME_INLINE));
}

/* May this be sent as a block: 0, -EINVAL, -EMSGSIZE, -EOPNOTSUPP, -ESTALE. */
static int tx_block_check(struct evr_channel *ch, const struct evr_message *m)
{
	const char *name = ch->rx[0].lane.object.name;
	uint64_t sz = 0;
	int err;

	if (m->kind == EVR_FRAME_INLINE && (!ch->send_heap || m->flags & EVR_MESSAGE_URGENT))
		return tx_too_long(ch, m->sz);
	if (!ch->send_heap || m->flags & EVR_MESSAGE_URGENT)
		return evr_fail(-EINVAL, "channel '%s': a block cannot be urgent, and needs a heap",
				name);
	if (!(evr_a64_load_relaxed(&channel_other_end(ch)->shut) & EVR_CHANNEL_BLOCKS))
		return evr_fail(-EOPNOTSUPP, "channel '%s': the other end takes no blocks", name);
	if (ch->far) {
		err = evr_channel_may_lend(ch);
		if (err)
			return err;
	}
	if (m->kind == EVR_FRAME_INLINE)
		return 0;
	if (!evr_heap_resolve(ch->send_heap, m->handle, &sz))
		return -ESTALE;
	if (m->sz > sz)
		return evr_fail(-EINVAL, "channel '%s': %llu bytes of a block of %llu", name,
				(unsigned long long)m->sz, (unsigned long long)sz);
	return 0;
}

/*
 * The frame first: when we die after the transfer, the receiver finds in it what is to be
 * freed. Nobody else reads it before it is published.
 */
static int tx_block(struct evr_channel *ch, const struct evr_message *m)
{
	uint64_t partner = evr_a64_load_relaxed(&ch->partner);
	struct channel_block body = { .handle = m->handle, .sz = m->sz };
	struct channel_header header = { .tag = m->tag, .id = m->id };
	struct channel_header *to;
	struct evr_block copy = { 0 };
	int err;

	err = tx_reserve(ch, CHANNEL_NORMAL, sizeof(body), &to);
	if (err)
		return err;
	if (m->kind == EVR_FRAME_INLINE) {
		copy = evr_heap_alloc(ch->send_heap, m->sz);
		if (!copy.ptr)
			return evr_heap_error(ch->send_heap);
		evr_copy_in(copy.ptr, m->data, m->sz);
		body.handle = copy.handle;
	}
	evr_copy_in(to, &header, sizeof(header));
	evr_copy_in(to + 1, &body, sizeof(body));
	evr_bytes_commit_more(&ch->tx[CHANNEL_NORMAL], sizeof(header) + sizeof(body),
			      frame_kind(m, EVR_FRAME_BLOCK));
	err = evr_heap_transfer(ch->send_heap, body.handle, owner_id(partner));
	if (!err) {
		channel_count(&ch->mine->counts.blocks, 1);
		if (ch->far)
			evr_channel_lend(ch, body.handle);
		return 0;
	}
	evr_bytes_uncommit(&ch->tx[CHANNEL_NORMAL], sizeof(header) + sizeof(body));
	if (!copy.ptr)
		return err;
	evr_heap_free(ch->send_heap, copy.handle);
	/* The receiver has died, and the copy was freed by who reaped it. */
	return err == -ESTALE ? -EOWNERDEAD : err;
}

/* One message, not published yet. */
static int tx_put(struct evr_channel *ch, const struct evr_message *m)
{
	int k = m->flags & EVR_MESSAGE_URGENT ? CHANNEL_URGENT : CHANNEL_NORMAL;
	bool is_block = m->kind == EVR_FRAME_BLOCK || m->sz > ch->geometry.inline_max;
	int err = 0;

	if (m->flags & ~(uint32_t)FLAGS_KNOWN ||
	    (m->kind != EVR_FRAME_INLINE && m->kind != EVR_FRAME_BLOCK) ||
	    (m->flags & EVR_MESSAGE_LEASE && m->kind != EVR_FRAME_BLOCK))
		return evr_fail(-EINVAL, "channel '%s': a message of kind %u, flags %#x",
				ch->rx[0].lane.object.name, m->kind, m->flags);
	if (is_block)
		err = tx_block_check(ch, m);
	if (!err && k == CHANNEL_NORMAL)
		err = tx_credit(ch, m->sz);
	if (!err)
		err = is_block ? tx_block(ch, m) : tx_inline(ch, k, m);
	if (err)
		tx_refused(ch, err);
	else
		tx_account(ch, k, m->sz);
	return err;
}

int evr_channel_alloc(struct evr_channel *ch, uint64_t sz, struct evr_message *m)
{
	struct evr_block block;

	memset(m, 0, sizeof(*m));
	if (!ch->mine || !ch->send_heap)
		return evr_fail(-EINVAL, "this end of the channel has no heap to send with");
	if (ch->far)
		evr_channel_collect(ch);
	block = evr_heap_alloc(ch->send_heap, sz);
	if (!block.ptr) {
		channel_count(&ch->mine->counts.no_memory, 1);
		return evr_heap_error(ch->send_heap);
	}
	m->data = block.ptr;
	m->handle = block.handle;
	m->sz = sz;
	m->kind = EVR_FRAME_BLOCK;
	return 0;
}

static void tx_flush(struct evr_channel *ch)
{
	evr_bytes_flush(&ch->tx[CHANNEL_URGENT]);
	evr_bytes_flush(&ch->tx[CHANNEL_NORMAL]);
}

int evr_channel_send_message(struct evr_channel *ch, const struct evr_message *m)
{
	int err = tx_check(ch);

	if (!err)
		err = tx_put(ch, m);
	if (!err)
		tx_flush(ch);
	return err;
}

int evr_channel_send(struct evr_channel *ch, const void *data, uint64_t sz, uint64_t tag)
{
	/* It is only read. */
	struct evr_message m = { .data = (void *)(uintptr_t)data, .sz = sz, .tag = tag };

	return evr_channel_send_message(ch, &m);
}

int evr_channel_send_many(struct evr_channel *ch, const struct evr_message *ms, uint32_t nr)
{
	uint32_t done = 0;
	int err = tx_check(ch);

	if (nr > INT32_MAX)
		nr = INT32_MAX;
	while (!err && done < nr) {
		err = tx_put(ch, &ms[done]);
		done += !err;
	}
	if (done)
		tx_flush(ch);
	return done ? (int)done : err;
}

struct tx_wait {
	struct evr_channel *ch;
	int k;
	uint64_t span; /* positions wanted in the stream; 0: all that it holds, drained */
	uint64_t sz; /* credit wanted */
	uint64_t released; /* memory wanted: what the other end had released before */
	bool is_memory, is_blocks; /* only that */
	bool is_lent; /* a block */
};

static bool tx_ready(void *arg)
{
	struct tx_wait *wait = arg;
	struct evr_channel *ch = wait->ch;
	struct evr_lane *l = &ch->tx[wait->k].lane;
	/* It joins the lanes to the other half, if there is one. */
	enum evr_ring_state state = evr_channel_look(ch, ch->tx);
	uint64_t avail = evr_lane_refresh(l);

	if (state != EVR_RING_OK)
		return state != EVR_RING_NO_PEER;
	/* A drain goes on when nothing can be sent any more, but not when nothing is taken. */
	if (!wait->span)
		return avail == l->span || tx_is_refused(ch);
	if (tx_check(ch))
		return true;
	if (wait->is_blocks)
		return evr_a64_load_relaxed(&channel_other_end(ch)->shut) & EVR_CHANNEL_BLOCKS;
	if (wait->is_memory)
		return evr_a64_load_acquire(&channel_other_end(ch)->released) !=
		       wait->released; /* CHAN-CREDIT */
	if (wait->is_lent && ch->far && evr_channel_may_lend(ch) == -ENOBUFS)
		return false;
	return avail >= wait->span && (wait->k == CHANNEL_URGENT || !tx_credit(ch, wait->sz));
}

static int tx_sleep(struct tx_wait *wait, struct evr_waiter *w, uint64_t deadline_ns)
{
	struct evr_channel *ch = wait->ch;
	struct evr_need *need = &ch->tx[wait->k].lane.mine->need;
	enum evr_ring_state state;
	int err;

	err = evr_waiter_wait(w, &need, 1, tx_ready, wait, deadline_ns);
	err = evr_channel_waited(ch, err);
	if (err)
		return err;
	state = evr_channel_look(ch, ch->tx);
	return state == EVR_RING_NO_PEER ? 0 : evr_ring_state_error(state);
}

static bool is_not_now(int err)
{
	return err == -EAGAIN || err == -ENOBUFS || err == -ENOTCONN || err == -ENOMEM ||
	       err == -EOPNOTSUPP;
}

int evr_channel_send_wait(struct evr_channel *ch, struct evr_waiter *waiter,
			  const struct evr_message *m, uint64_t deadline_ns)
{
	bool is_block = m->kind == EVR_FRAME_BLOCK || m->sz > ch->geometry.inline_max;
	struct tx_wait wait = { .ch = ch, .sz = m->sz, .is_lent = is_block };
	int err;

	wait.k = m->flags & EVR_MESSAGE_URGENT ? CHANNEL_URGENT : CHANNEL_NORMAL;
	wait.span = EVR_FRAME_HEADER_SZ + sizeof(struct channel_header) +
		    (is_block ? sizeof(struct channel_block) :
				EVR_ROUND_UP(m->sz, EVR_FRAME_HEADER_SZ));
	for (;;) {
		/* Before the attempt: what is given back from here on ends a wait for memory. */
		if (is_block && ch->mine)
			wait.released = evr_a64_load_acquire(&channel_other_end(ch)->released);
		err = evr_channel_send_message(ch, m);
		if (err == -EOWNERDEAD)
			evr_channel_learned(ch);
		if (!is_not_now(err))
			return err;
		wait.is_memory = err == -ENOMEM;
		wait.is_blocks = err == -EOPNOTSUPP;
		/* Nothing of ours is there that could be freed. */
		if (wait.is_memory && wait.released == ch->sent_messages)
			return err;
		err = tx_sleep(&wait, waiter, deadline_ns);
		if (err)
			return err;
	}
}

/* Of two halves that have not met, nothing was sent. */
static bool lane_is_drained(struct evr_lane *l)
{
	return (l->led && !l->met) || evr_lane_refresh(l) == l->span;
}

/* Is all released? If not, wait->k is a stream that holds something. */
static bool tx_is_drained(struct tx_wait *wait)
{
	for (wait->k = 0; wait->k < CHANNEL_STREAMS; wait->k++)
		if (!lane_is_drained(&wait->ch->tx[wait->k].lane))
			return false;
	return true;
}

int evr_channel_drain_wait(struct evr_channel *ch, struct evr_waiter *waiter, uint64_t deadline_ns)
{
	struct tx_wait wait = { .ch = ch };
	int err;

	if (!ch->mine)
		return evr_fail(-EPIPE, "this end of the channel is closed");
	while (!tx_is_drained(&wait)) {
		err = tx_is_refused(ch) ? -EPIPE : tx_sleep(&wait, waiter, deadline_ns);
		/* What was released before the end, or the refusal, comes before it. */
		if (err)
			return (err == -EPIPE || err == -EOWNERDEAD) && tx_is_drained(&wait) ? 0 :
											       err;
	}
	return 0;
}

int evr_channel_reserve(struct evr_channel *ch, uint64_t sz, void **out)
{
	struct channel_header *to = NULL;
	int err = tx_check(ch);

	*out = NULL;
	if (!err && sz > ch->geometry.inline_max)
		err = tx_too_long(ch, sz);
	if (!err)
		err = tx_credit(ch, sz);
	if (!err)
		err = tx_reserve(ch, CHANNEL_NORMAL, sz, &to);
	if (err) {
		if (ch->mine)
			tx_refused(ch, err);
		return err;
	}
	ch->reserved_sz = sz;
	*out = to + 1;
	return 0;
}

int evr_channel_commit(struct evr_channel *ch, uint64_t used_sz, uint64_t tag)
{
	struct evr_bytes *stream = &ch->tx[CHANNEL_NORMAL];
	struct channel_header header = { .tag = tag };
	int err = tx_check(ch);

	if (!err && (!stream->granted || used_sz > ch->reserved_sz))
		err = evr_fail(-EINVAL, "channel '%s': commit of %llu bytes, reserved %llu",
			       ch->rx[0].lane.object.name, (unsigned long long)used_sz,
			       stream->granted ? (unsigned long long)ch->reserved_sz : 0);
	if (!err)
		err = tx_credit(ch, used_sz);
	if (err)
		return err;
	evr_copy_in(evr_bytes_granted(stream), &header, sizeof(header));
	err = evr_bytes_commit_more(stream, sizeof(header) + used_sz, EVR_FRAME_INLINE);
	if (err)
		return err;
	tx_account(ch, CHANNEL_NORMAL, used_sz);
	tx_flush(ch);
	return 0;
}

void evr_channel_cancel(struct evr_channel *ch)
{
	ch->tx[CHANNEL_NORMAL].granted = false;
}

static int tx_recall(struct evr_heap *heap, uint64_t handle, struct evr_peer_id to)
{
	int err = evr_heap_recall(heap, handle, to);

	return err ? err : evr_heap_free(heap, handle);
}

/* A frame of ours that was not received. */
static void tx_recover(struct evr_channel *ch, const struct evr_frame_view *view)
{
	struct evr_peer_id to = owner_id(evr_a64_load_relaxed(&ch->partner));
	struct channel_block block;

	if ((view->kind & CHANNEL_KIND_MASK) != EVR_FRAME_BLOCK) {
		channel_count(&ch->mine->counts.recovered, 1);
		return;
	}
	/* -ESTALE: it was accepted, or freed by who reaped the receiver. */
	if (ch->send_heap && channel_block_read(view->data, view->sz, &block) &&
	    !(ch->far ? evr_channel_unlend(ch, block.handle) :
			tx_recall(ch->send_heap, block.handle, to)))
		channel_count(&ch->mine->counts.recovered, 1);
	else
		channel_count(&ch->mine->counts.lost, 1);
}

void evr_channel_recover(struct evr_channel *ch)
{
	struct evr_frame_view view;
	struct evr_lane *l;
	uint64_t from, pos;
	int k;

	for (k = 0; k < CHANNEL_STREAMS; k++) {
		l = &ch->tx[k].lane;
		ch->tx[k].granted = false;
		evr_lane_refresh(l);
		if (l->corrupt || (l->led && !l->met))
			continue;
		from = l->limit - l->span; /* where it stopped */
		if (from % EVR_FRAME_HEADER_SZ) {
			evr_lane_corrupt(l, "the receiver's position", from);
			continue;
		}
		for (pos = from; pos != l->pos; pos += view.span) {
			if (!evr_bytes_look(&ch->tx[k], pos, l->pos - pos, &view))
				break; /* somebody has written over ours */
			tx_recover(ch, &view);
		}
		/* Nobody else can be there yet, and who comes finds nothing of it. */
		l->pos = from;
		evr_bytes_flush(&ch->tx[k]);
	}
}
