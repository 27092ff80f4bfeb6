/* SPDX-License-Identifier: MIT */
/* Channels: the receiving half of an endpoint. channel.h has the protocol. */
#include <errno.h>
#include <string.h>

#include <evering/channel.h>

#include "channel.h"
#include "internal.h"

/* place: {number of the frame:63 | stream:1} + 1, so that 0 is none. */
static uint64_t place_of(uint64_t frame, int k)
{
	return (frame << 1 | (uint64_t)k) + 1;
}

/* The data of a frame that stands for a block. 0; -ESTALE; -EBADMSG. */
static int rx_resolve(struct evr_channel *ch, const void *data, uint64_t sz, struct evr_message *m)
{
	struct channel_block block;
	uint64_t block_sz;

	if (!channel_block_read(data, sz, &block))
		return -EBADMSG;
	m->handle = block.handle;
	m->sz = block.sz;
	if (ch->far) {
		m->data = evr_channel_loan_resolve(ch, block.handle, &block_sz);
		return m->data && block.sz <= block_sz ? 0 : -EBADMSG;
	}
	m->data = ch->recv_heap ? evr_heap_resolve(ch->recv_heap, block.handle, &block_sz) : NULL;
	return m->data && block.sz <= block_sz ? 0 : -ESTALE;
}

/* The frame that was peeked at, as a message. 0; -ESTALE the block is none; -EBADMSG. */
static int rx_decode(struct evr_channel *ch, int k, const void *data, uint64_t sz,
		     struct evr_message *m)
{
	struct evr_bytes *stream = &ch->rx[k];
	struct channel_header header;
	int err = 0;

	memset(m, 0, sizeof(*m));
	m->kind = evr_bytes_kind(stream) & CHANNEL_KIND_MASK;
	m->flags = evr_bytes_kind(stream) >> CHANNEL_FLAGS_SHIFT & CHANNEL_FLAGS;
	if (sz < sizeof(header))
		err = -EBADMSG;
	else if (m->kind == EVR_FRAME_BLOCK && k == CHANNEL_NORMAL)
		err = rx_resolve(ch, data, sz, m);
	else if (m->kind != EVR_FRAME_INLINE || sz - sizeof(header) > ch->geometry.inline_max)
		err = -EBADMSG;
	if (err == -EBADMSG) {
		/* Nonsense of another than the sender is not its fault: see rx_end(). */
		if (!evr_lane_vouch(&stream->lane))
			return -EAGAIN;
		evr_lane_corrupt(&stream->lane, "a message's size, or its block's", sz);
		return evr_channel_error(evr_channel_look(ch, ch->rx));
	}
	evr_copy_out(&header, data, sizeof(header));
	m->tag = header.tag;
	m->id = header.id;
	if (m->kind == EVR_FRAME_INLINE) {
		m->data = (uint8_t *)(uintptr_t)data + sizeof(header);
		m->sz = sz - sizeof(header);
	}
	m->flags |= k == CHANNEL_URGENT ? EVR_MESSAGE_URGENT : 0;
	return err;
}

/* Tell the sender of the frames that are released up to the oldest that is not. */
static void rx_give_back(struct evr_channel *ch, int k)
{
	struct evr_channel_held *held = &ch->held[k];
	struct evr_bytes *stream = &ch->rx[k];
	uint64_t end = stream->published, first = held->first;

	while (held->first != held->next && held->released >> held->first % EVR_CHANNEL_HELD & 1)
		end = held->ends[held->first++ % EVR_CHANNEL_HELD];
	evr_bytes_flush_to(stream, end, stream->frames - (held->next - held->first));
	channel_count(&ch->mine->counts.received, held->first - first);
}

/* Go on behind the frame that was peeked at; it is held until it is released. */
static int rx_pass(struct evr_channel *ch, int k, uint64_t *frame)
{
	struct evr_channel_held *held = &ch->held[k];

	*frame = held->next;
	if (*frame - held->first == EVR_CHANNEL_HELD)
		return evr_fail(-EBUSY, "channel '%s': %d messages are held; release one",
				ch->rx[k].lane.object.name, EVR_CHANNEL_HELD);
	if (!evr_bytes_release_more(&ch->rx[k]))
		return evr_channel_error(evr_channel_look(ch, ch->rx));
	held->ends[*frame % EVR_CHANNEL_HELD] = ch->rx[k].lane.pos;
	held->released &= ~(1ULL << *frame % EVR_CHANNEL_HELD);
	held->next++;
	return 0;
}

/* A frame that nobody needs any more, in its turn. */
static void rx_unhold(struct evr_channel *ch, int k, uint64_t frame)
{
	ch->held[k].released |= 1ULL << frame % EVR_CHANNEL_HELD;
	rx_give_back(ch, k);
}

/* What the other end may send is what is released and the window. */
static void rx_grant(struct evr_channel *ch, bool tell)
{
	uint64_t messages = UINT64_MAX, bytes = UINT64_MAX;

	if (ch->window_messages != UINT64_MAX)
		messages = ch->released_messages + ch->window_messages;
	if (ch->window_bytes != UINT64_MAX)
		bytes = ch->released_bytes + ch->window_bytes;
	evr_a64_store_relaxed(&ch->mine->credit_bytes, bytes);
	evr_a64_store_release(&ch->mine->credit_messages, messages); /* CHAN-CREDIT */
	evr_a64_store_release(&ch->mine->released, ch->released_messages); /* CHAN-CREDIT */
	if (tell)
		evr_lane_ring(&ch->rx[CHANNEL_NORMAL].lane);
}

/* The application, or nobody, has done with a message of the normal stream. */
static void rx_credit(struct evr_channel *ch, const struct evr_message *m)
{
	ch->released_messages++;
	ch->released_bytes += m->sz;
	rx_grant(ch, m->kind == EVR_FRAME_BLOCK || ch->window_messages != UINT64_MAX ||
			     ch->window_bytes != UINT64_MAX);
}

/* A handle of no block that is on its way here. 0; as rx_pass(). */
static int rx_skip_stale(struct evr_channel *ch, int k, const struct evr_message *m)
{
	uint64_t frame;
	int err = rx_pass(ch, k, &frame);

	if (err)
		return err;
	channel_count(&ch->mine->counts.stale, 1);
	rx_unhold(ch, k, frame);
	rx_credit(ch, m);
	return 0;
}

/* The oldest message of one stream, where it is. 0; -EAGAIN; -EBADMSG; -EBUSY. */
static int rx_peek(struct evr_channel *ch, int k, struct evr_message *m)
{
	const void *data;
	uint64_t sz;
	int err;

	for (;;) {
		data = evr_bytes_peek(&ch->rx[k], &sz);
		if (!data)
			break;
		err = rx_decode(ch, k, data, sz, m);
		if (err != -ESTALE)
			return err;
		err = rx_skip_stale(ch, k, m);
		if (err)
			return err;
	}
	if (ch->rx[k].lane.corrupt)
		return evr_channel_error(evr_channel_look(ch, ch->rx));
	return -EAGAIN;
}

/* Is there nothing new, at first sight? False also when that takes a closer look. */
static bool rx_is_still(const struct evr_bytes *stream)
{
	const struct evr_lane *l = &stream->lane;

	/* Relaxed: who sees another position looks again. */
	return !stream->granted && !l->far && !l->corrupt && l->limit == l->pos &&
	       evr_a64_load_relaxed(&l->other->pos) == l->pos;
}

/* Of both streams, without a look at how things stand. */
static int rx_first(struct evr_channel *ch, struct evr_message *m, int *k)
{
	int err = -EAGAIN;

	/* Hardly ever is there one of these, and each look is before one for the others. */
	if (!rx_is_still(&ch->rx[CHANNEL_URGENT]))
		err = rx_peek(ch, CHANNEL_URGENT, m);
	*k = CHANNEL_URGENT;
	if (err != -EAGAIN)
		return err;
	*k = CHANNEL_NORMAL;
	return rx_peek(ch, CHANNEL_NORMAL, m);
}

/* Why nothing more will come, or 0. */
static int rx_end(struct evr_channel *ch)
{
	enum evr_ring_state state = evr_channel_look(ch, ch->rx);

	if (state != EVR_RING_OK)
		return evr_channel_error(state);
	/* CHAN-SHUT */
	return evr_a64_load_acquire(&channel_other_end(ch)->shut) & EVR_SHUT_SEND ? -EPIPE : 0;
}

/* Whatever has been sent is found once we know of the other end. */
static void rx_meet(struct evr_channel *ch)
{
	if (ch->far && !ch->rx[0].lane.met)
		evr_channel_look(ch, ch->rx);
	else if (!ch->far && !evr_a64_load_relaxed(&ch->partner))
		evr_channel_meet(ch);
}

/* The next message and its stream; or the reason why there is none. */
static int rx_find(struct evr_channel *ch, struct evr_message *m, int *k)
{
	int err, end;

	if (!ch->mine || ch->shut_recv)
		return -EPIPE;
	rx_meet(ch);
	err = rx_first(ch, m, k);
	if (err != -EAGAIN)
		return err;
	end = rx_end(ch);
	if (!end)
		return -EAGAIN;
	/* What was sent before the end comes before it. */
	err = rx_first(ch, m, k);
	return err == -EAGAIN ? end : err;
}

/* A block of another peer's is noted, and not touched. */
static int rx_borrow(struct evr_channel *ch, int k, struct evr_message *m)
{
	uint64_t frame;
	int err, loan;

	err = rx_pass(ch, k, &frame);
	if (err)
		return err;
	loan = evr_channel_borrow(ch, m->handle);
	if (loan < 0) {
		evr_lane_corrupt(&ch->rx[k].lane, "another block on loan, of", EVR_CHANNEL_LENT);
		return evr_channel_error(evr_channel_look(ch, ch->rx));
	}
	m->place = place_of((uint64_t)loan, k);
	rx_unhold(ch, k, frame);
	return 0;
}

/* -ESTALE: the block was none, and the message is skipped. */
static int rx_take(struct evr_channel *ch, int k, struct evr_message *m)
{
	uint64_t frame;
	int err;

	if (ch->far && m->kind == EVR_FRAME_BLOCK)
		return rx_borrow(ch, k, m);
	if (ch->held[k].next - ch->held[k].first < EVR_CHANNEL_HELD && m->kind == EVR_FRAME_BLOCK &&
	    evr_heap_accept(ch->recv_heap, m->handle)) {
		err = rx_skip_stale(ch, k, m);
		return err ? err : -ESTALE;
	}
	err = rx_pass(ch, k, &frame);
	if (err)
		return err;
	m->place = place_of(frame, k);
	/* A block is not in the stream. */
	if (m->kind == EVR_FRAME_BLOCK)
		rx_unhold(ch, k, frame);
	return 0;
}

/* The place of a message that is held. */
static bool rx_is_held(const struct evr_channel *ch, const struct evr_message *m, int *k,
		       uint64_t *frame)
{
	const struct evr_channel_held *held;

	*frame = (m->place - 1) >> 1;
	*k = (int)((m->place - 1) & 1);
	held = &ch->held[*k];
	if (m->place && ch->mine && ch->far && m->kind == EVR_FRAME_BLOCK)
		return evr_channel_has_borrowed(ch, *frame, m->handle);
	return m->place && ch->mine &&
	       (m->kind == EVR_FRAME_BLOCK || (*frame - held->first < held->next - held->first &&
					       !(held->released >> *frame % EVR_CHANNEL_HELD & 1)));
}

static void rx_done(struct evr_channel *ch, int k, struct evr_message *m)
{
	m->place = 0;
	channel_count(&ch->mine->counts.received_bytes, m->sz);
	if (k == CHANNEL_NORMAL)
		rx_credit(ch, m);
}

void evr_channel_release(struct evr_channel *ch, struct evr_message *m)
{
	uint64_t frame;
	int k;

	if (!rx_is_held(ch, m, &k, &frame))
		return;
	if (m->kind != EVR_FRAME_BLOCK)
		rx_unhold(ch, k, frame);
	else if (ch->far)
		evr_channel_return(ch, frame);
	else if (evr_heap_free(ch->recv_heap, m->handle))
		return; /* released before, by another copy of the struct */
	rx_done(ch, k, m);
}

int evr_channel_keep(struct evr_channel *ch, struct evr_message *m)
{
	uint64_t frame;
	int k;

	if (m->kind != EVR_FRAME_BLOCK || !rx_is_held(ch, m, &k, &frame))
		return evr_fail(-EINVAL, "not a block that was received and is held");
	rx_done(ch, k, m);
	return 0;
}

void evr_channel_grant(struct evr_channel *ch, uint64_t messages, uint64_t bytes)
{
	if (!ch->mine)
		return;
	ch->window_messages = messages ? messages : UINT64_MAX;
	ch->window_bytes = bytes ? bytes : UINT64_MAX;
	rx_grant(ch, true);
}

int evr_channel_peek(struct evr_channel *ch, struct evr_message *m)
{
	int k;

	return rx_find(ch, m, &k);
}

int evr_channel_take(struct evr_channel *ch, struct evr_message *m)
{
	int k = m->flags & EVR_MESSAGE_URGENT ? CHANNEL_URGENT : CHANNEL_NORMAL;
	int err = rx_take(ch, k, m);

	return err == -ESTALE ? evr_channel_recv(ch, m) : err;
}

int evr_channel_recv(struct evr_channel *ch, struct evr_message *m)
{
	int k, err;

	do {
		err = rx_find(ch, m, &k);
		if (!err)
			err = rx_take(ch, k, m);
	} while (err == -ESTALE);
	return err;
}

int evr_channel_recv_many(struct evr_channel *ch, struct evr_message *ms, uint32_t nr)
{
	uint32_t done = 0;
	int k, err = 0;

	if (nr > INT32_MAX)
		nr = INT32_MAX;
	while ((!err || err == -ESTALE) && done < nr) {
		err = done ? rx_first(ch, &ms[done], &k) : rx_find(ch, &ms[done], &k);
		if (!err)
			err = rx_take(ch, k, &ms[done]);
		done += !err;
	}
	return done ? (int)done : err;
}

struct rx_wait {
	struct evr_channel *const *chs;
	uint32_t nr, at;
};

bool evr_channel_is_ready(struct evr_channel *ch)
{
	int err;

	if (!ch->mine || ch->shut_recv)
		return true;
	rx_meet(ch);
	if (evr_lane_avail(&ch->rx[0].lane) || evr_lane_avail(&ch->rx[1].lane) ||
	    evr_lane_refresh(&ch->rx[0].lane) || evr_lane_refresh(&ch->rx[1].lane))
		return true;
	err = rx_end(ch);
	return err && err != -ENOTCONN;
}

static bool rx_ready(void *arg)
{
	struct rx_wait *wait = arg;
	uint32_t i;

	for (i = 0; i < wait->nr; i++, wait->at = (wait->at + 1) % wait->nr)
		if (evr_channel_is_ready(wait->chs[wait->at]))
			return true;
	return false;
}

int evr_channel_wait_any(struct evr_channel *const *chs, uint32_t nr, uint32_t last,
			 struct evr_waiter *waiter, uint64_t deadline_ns)
{
	struct evr_need *needs[2 * EVR_CHANNEL_ANY_MAX];
	struct rx_wait wait = { .chs = chs, .nr = nr };
	uint32_t i, nr_needs = 0;
	int err, k;

	if (!nr || nr > EVR_CHANNEL_ANY_MAX)
		return evr_fail(-EINVAL, "wait for any of %u channels, not of 1 to %d", nr,
				EVR_CHANNEL_ANY_MAX);
	wait.at = (last % nr + 1) % nr;
	for (i = 0; i < nr; i++)
		for (k = 0; chs[i]->mine && k < CHANNEL_STREAMS; k++)
			needs[nr_needs++] = &chs[i]->rx[k].lane.mine->need;
	err = evr_waiter_wait(waiter, needs, nr_needs, rx_ready, &wait, deadline_ns);
	err = evr_channel_waited(chs[wait.at], err);
	return err ? err : (int)wait.at;
}

/* An attempt has said @err: was it "not now", and should there be another one? Else what to return. */
static bool recv_again(struct evr_channel *ch, struct evr_waiter *waiter, uint64_t deadline_ns,
		       int *err)
{
	if (*err == -EOWNERDEAD)
		evr_channel_learned(ch);
	if (*err != -EAGAIN && *err != -ENOTCONN)
		return false;
	*err = evr_channel_wait_any(&ch, 1, 0, waiter, deadline_ns);
	return *err >= 0;
}

int evr_channel_recv_wait(struct evr_channel *ch, struct evr_waiter *waiter, struct evr_message *m,
			  uint64_t deadline_ns)
{
	int err;

	do {
		err = evr_channel_recv(ch, m);
	} while (recv_again(ch, waiter, deadline_ns, &err));
	return err;
}

int evr_channel_recv_sized(struct evr_channel *ch, void *to, uint64_t sz, uint64_t *tag)
{
	struct evr_message m;
	int err = evr_channel_recv(ch, &m);

	if (err)
		return err;
	if (tag)
		*tag = m.tag;
	if (m.sz != sz)
		err = evr_fail(-EMSGSIZE, "channel '%s': a message of %llu bytes, not %llu",
			       ch->rx[0].lane.object.name, (unsigned long long)m.sz,
			       (unsigned long long)sz);
	else if (sz)
		evr_copy_out(to, m.data, sz);
	/* Of whom it was is known after it was read. */
	if (!err && !evr_channel_vouch(ch)) {
		err = evr_channel_error(evr_channel_look(ch, ch->rx));
		err = err ? err : -EBADMSG;
	}
	evr_channel_release(ch, &m);
	return err;
}

int evr_channel_recv_sized_wait(struct evr_channel *ch, struct evr_waiter *waiter, void *to,
				uint64_t sz, uint64_t *tag, uint64_t deadline_ns)
{
	int err;

	do {
		err = evr_channel_recv_sized(ch, to, sz, tag);
	} while (recv_again(ch, waiter, deadline_ns, &err));
	return err;
}

int evr_channel_shutdown(struct evr_channel *ch, uint32_t how)
{
	if (!how || how & ~(uint32_t)(EVR_SHUT_SEND | EVR_SHUT_RECV))
		return evr_fail(-EINVAL, "channel: shutdown of %#x", how);
	if (!ch->mine)
		return evr_fail(-EPIPE, "this end of the channel is closed");
	if (how & EVR_SHUT_SEND)
		ch->shut_send = true;
	if (how & EVR_SHUT_RECV)
		ch->shut_recv = true;
	evr_a64_fetch_or(&ch->mine->shut, how); /* CHAN-SHUT */
	evr_channel_wake(ch);
	return 0;
}

/* A block that was on its way here, or none. */
static void rx_free(struct evr_channel *ch, uint64_t handle)
{
	if (ch->recv_heap && !evr_heap_accept(ch->recv_heap, handle))
		evr_heap_free(ch->recv_heap, handle);
}

void evr_channel_drop(struct evr_channel *ch)
{
	struct evr_message m;
	uint64_t held, nr, end;
	int k;

	for (k = 0; k < CHANNEL_STREAMS; k++) {
		/* What is held was received, and is not read any more either. */
		held = ch->held[k].next - ch->held[k].first;
		ch->held[k].first = ch->held[k].next;
		/* More than the stream holds is there only of who lies. */
		end = ch->rx[k].lane.pos + ch->rx[k].lane.span;
		for (nr = 0; ch->rx[k].lane.pos != end && !rx_peek(ch, k, &m); nr++) {
			if (m.kind == EVR_FRAME_BLOCK)
				rx_free(ch, m.handle);
			if (!evr_bytes_release_more(&ch->rx[k]))
				break;
		}
		evr_bytes_flush(&ch->rx[k]);
		channel_count(&ch->mine->counts.received, held + nr);
		channel_count(&ch->mine->counts.dropped, nr);
	}
}

void evr_channel_drop_staged(struct evr_channel *ch)
{
	struct evr_bytes *stream = &ch->rx[CHANNEL_NORMAL];
	struct evr_frame_view view;
	struct channel_block block;
	uint64_t done;

	if (stream->lane.corrupt)
		return;
	for (done = 0; done < stream->lane.span; done += view.span) {
		/* What is no frame of this very position was not written since. */
		if (!evr_bytes_look(stream, stream->lane.pos + done, stream->lane.span - done,
				    &view))
			return;
		if ((view.kind & CHANNEL_KIND_MASK) == EVR_FRAME_BLOCK &&
		    channel_block_read(view.data, view.sz, &block))
			rx_free(ch, block.handle);
	}
}
