/* SPDX-License-Identifier: MIT */
/*
 * Calls: the caller.
 *
 * An op's word is {generation, 0} when it is nobody's and {generation, 1} when it waits
 * for its completion; whoever changes the second into the first by CAS completes it.
 *
 * edges      CALL-OP  the submitting thread writes an op's fields, then its word with
 *            release, then sends; the completing one loads the word with acquire, reads
 *            the fields, and wins the word by CAS.
 *            CALL-DUE  the submitting thread writes an op's word, bars, and looks whether
 *            next_ns is early enough; who looks for what has expired takes next_ns away,
 *            bars, and looks at the words. One of the two sees the other, so that no
 *            deadline is forgotten.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <evering/bell.h>
#include <evering/call.h>
#include <evering/segment.h>

#include "channel.h"
#include "internal.h"

#define PENDING 1ULL
#define GEN_SHIFT 32

static uint64_t op_id(uint64_t word, uint32_t idx)
{
	return word >> GEN_SHIFT << GEN_SHIFT | idx;
}

/* The op that an id stands for and the word that it would have; NULL for nonsense. */
static struct evr_call_op *op_find(const struct evr_call *call, uint64_t u_id, uint64_t *word)
{
	uint32_t idx = (uint32_t)u_id;

	*word = u_id >> GEN_SHIFT << GEN_SHIFT | PENDING;
	return idx < call->nr ? &call->ops[idx] : NULL;
}

int evr_call_init(struct evr_call *call, struct evr_channel *ch, uint32_t ops)
{
	uint32_t i;

	memset(call, 0, sizeof(*call));
	if (!ops || ops > EVR_CALL_OPS_MAX)
		return evr_fail(-EINVAL, "call: %u requests outstanding, not 1 to %d", ops,
				EVR_CALL_OPS_MAX);
	call->ops = calloc(ops, sizeof(*call->ops));
	call->free = calloc((ops + 63) / 64, sizeof(*call->free));
	if (!call->ops || !call->free) {
		evr_call_fini(call);
		return evr_fail(-ENOMEM, "call: no memory for %u requests", ops);
	}
	call->ch = ch;
	call->nr = ops;
	for (i = 0; i < ops; i++)
		evr_a64_fetch_or(&call->free[i / 64], 1ULL << i % 64);
	evr_a64_store_relaxed(&call->next_ns, UINT64_MAX);
	return 0;
}

void evr_call_fini(struct evr_call *call)
{
	free(call->ops);
	free(call->free);
	memset(call, 0, sizeof(*call));
}

/* Only the submitting thread takes ops. -EBUSY */
static int op_take(struct evr_call *call, uint32_t *idx)
{
	uint64_t word;
	uint32_t i;

	for (i = 0; i < (call->nr + 63) / 64; i++) {
		word = evr_a64_load_acquire(&call->free[i]); /* CALL-OP */
		if (!word)
			continue;
		*idx = i * 64 + (uint32_t)__builtin_ctzll(word);
		evr_a64_fetch_and(&call->free[i], ~(1ULL << *idx % 64));
		return 0;
	}
	return evr_fail(-EBUSY, "call: all of %u requests are outstanding", call->nr);
}

/* True for the one who completes it. Its user value is read before it can be taken again. */
static bool op_end(struct evr_call *call, uint32_t idx, uint64_t word, uint64_t *user)
{
	struct evr_call_op *op = &call->ops[idx];

	if (!evr_a64_cas(&op->word, &word, word & ~PENDING)) /* CALL-OP */
		return false;
	*user = evr_a64_load_relaxed(&op->user);
	evr_a64_fetch_or(&call->free[idx / 64], 1ULL << idx % 64); /* CALL-OP */
	return true;
}

/* True when it is earlier than all others. */
static bool deadline_add(struct evr_call *call, uint64_t deadline_ns)
{
	uint64_t next_ns = evr_a64_load_relaxed(&call->next_ns);

	while (deadline_ns < next_ns)
		if (evr_a64_cas(&call->next_ns, &next_ns, deadline_ns))
			return true;
	return false;
}

static uint64_t request_deadline(const struct evr_call_request *r)
{
	return r->deadline_ns && r->deadline_ns != EVR_NO_DEADLINE ? r->deadline_ns : UINT64_MAX;
}

/* @w: NULL does not wait. */
static int call_submit(struct evr_call *call, struct evr_waiter *w,
		       const struct evr_call_request *request, uint64_t *id, uint64_t until_ns)
{
	struct evr_message m = request->message;
	uint64_t word, user;
	struct evr_call_op *op;
	uint32_t idx = 0;
	int err;

	*id = 0;
	if (m.flags & ~(uint32_t)EVR_MESSAGE_URGENT)
		return evr_fail(-EINVAL, "call: a request with flags %#x", m.flags);
	err = op_take(call, &idx);
	if (err)
		return err;
	op = &call->ops[idx];
	word = ((evr_a64_load_relaxed(&op->word) >> GEN_SHIFT) + 1) << GEN_SHIFT;
	if (!word)
		word = 1ULL << GEN_SHIFT;
	evr_a64_store_relaxed(&op->user, request->user);
	evr_a64_store_relaxed(&op->deadline_ns, request_deadline(request));
	evr_a64_store_release(&op->word, word | PENDING); /* CALL-OP */
	m.id = op_id(word, idx);
	m.flags |= EVR_MESSAGE_REQUEST;
	err = w ? evr_channel_send_wait(call->ch, w, &m, until_ns) :
		  evr_channel_send_message(call->ch, &m);
	if (err) {
		/* Unless the completing thread has met the same end, and told of it. */
		if (op_end(call, idx, word | PENDING, &user))
			return err;
		*id = m.id;
		return 0;
	}
	*id = m.id;
	evr_a64_store_relaxed(&call->submitted, evr_a64_load_relaxed(&call->submitted) + 1);
	/* A sweep that has not seen the op is behind us: it has taken next_ns away before. */
	if (request_deadline(request) != UINT64_MAX)
		evr_fence(); /* CALL-DUE */
	/* The completing thread may be asleep until a later one. */
	if (deadline_add(call, request_deadline(request)))
		evr_wake(call->ch->peer, &call->ch->rx[0].lane.mine->need,
			 evr_peer_self(call->ch->peer), &call->woken);
	return 0;
}

int evr_call_submit(struct evr_call *call, const struct evr_call_request *request, uint64_t *id)
{
	return call_submit(call, NULL, request, id, 0);
}

int evr_call_submit_wait(struct evr_call *call, struct evr_waiter *waiter,
			 const struct evr_call_request *request, uint64_t *id, uint64_t deadline_ns)
{
	return call_submit(call, waiter, request, id, deadline_ns);
}

int evr_call_cancel(struct evr_call *call, uint64_t id)
{
	struct evr_message m = { .id = id, .flags = EVR_MESSAGE_URGENT | EVR_MESSAGE_CANCEL };
	uint64_t word, user;

	if (!op_find(call, id, &word) || !op_end(call, (uint32_t)id, word, &user))
		return evr_fail(-ENOENT, "call: request %#llx is not outstanding",
				(unsigned long long)id);
	evr_a64_store_relaxed(&call->cancelled, evr_a64_load_relaxed(&call->cancelled) + 1);
	/* The answer is dropped, whether the server hears of it or not. */
	evr_channel_send_message(call->ch, &m);
	return 0;
}

/* Complete one with this error: any, or one whose deadline has passed. */
static bool call_sweep(struct evr_call *call, int result, uint64_t now_ns,
		       struct evr_call_completion *done)
{
	uint64_t word, deadline_ns, next_ns = UINT64_MAX;
	uint32_t i;

	for (i = 0; i < call->nr; i++) {
		word = evr_a64_load_acquire(&call->ops[i].word); /* CALL-OP */
		if (!(word & PENDING))
			continue;
		deadline_ns = evr_a64_load_relaxed(&call->ops[i].deadline_ns);
		if (result == -ETIMEDOUT && deadline_ns > now_ns) {
			if (deadline_ns < next_ns)
				next_ns = deadline_ns;
			continue;
		}
		if (!op_end(call, i, word, &done->user))
			continue;
		done->id = op_id(word, i);
		done->result = result;
		return true;
	}
	if (result == -ETIMEDOUT && next_ns != UINT64_MAX)
		deadline_add(call, next_ns);
	return false;
}

/* 0; -EAGAIN. As long as one has expired there may be more, and next_ns stays. */
static int call_expire(struct evr_call *call, struct evr_call_completion *done)
{
	uint64_t next_ns = evr_a64_load_relaxed(&call->next_ns);
	uint64_t now_ns;

	if (next_ns == UINT64_MAX)
		return -EAGAIN;
	now_ns = evr_now_ns();
	if (now_ns < next_ns)
		return -EAGAIN;
	/* Before the sweep: what is submitted from here on lowers it again. */
	evr_a64_xchg(&call->next_ns, UINT64_MAX);
	evr_fence(); /* CALL-DUE */
	if (!call_sweep(call, -ETIMEDOUT, now_ns, done))
		return -EAGAIN;
	deadline_add(call, next_ns);
	call->counts.expired++;
	return 0;
}

/* Is it the answer to something that waits for it? */
static bool call_match(struct evr_call *call, struct evr_call_completion *done)
{
	struct evr_message *m = &done->message;
	uint64_t word;

	if (!(m->flags & EVR_MESSAGE_ANSWER)) {
		call->counts.strange++;
		return false;
	}
	if (!op_find(call, m->id, &word) || !op_end(call, (uint32_t)m->id, word, &done->user)) {
		call->counts.late++;
		return false;
	}
	call->counts.answered++;
	done->id = m->id;
	done->result = 0;
	return true;
}

int evr_call_complete(struct evr_call *call, struct evr_call_completion *done)
{
	int err = -EAGAIN, expired, strange;

	memset(done, 0, sizeof(*done));
	for (strange = 0; strange < CALL_STRANGE_MAX; strange++) {
		err = evr_channel_recv(call->ch, &done->message);
		if (err)
			break;
		if (call_match(call, done))
			return 0;
		evr_channel_release(call->ch, &done->message);
		err = -EAGAIN;
	}
	memset(&done->message, 0, sizeof(done->message));
	if (err == -EAGAIN || err == -ENOTCONN || err == -EBUSY) {
		expired = call_expire(call, done);
		return expired == -EAGAIN ? err : expired;
	}
	if (!call_sweep(call, err, 0, done))
		return err;
	call->counts.ended++;
	return 0;
}

struct call_wait {
	struct evr_call *call;
	uint64_t next_ns;
};

static bool call_ready(void *arg)
{
	struct call_wait *wait = arg;

	return evr_channel_is_ready(wait->call->ch) ||
	       evr_a64_load_relaxed(&wait->call->next_ns) != wait->next_ns;
}

int evr_call_complete_wait(struct evr_call *call, struct evr_waiter *waiter,
			   struct evr_call_completion *done, uint64_t deadline_ns)
{
	struct call_wait wait = { .call = call };
	struct evr_need *needs[2];
	uint64_t until_ns;
	int err, rounds = 0;

	for (;;) {
		wait.next_ns = evr_a64_load_relaxed(&call->next_ns);
		err = evr_call_complete(call, done);
		if (!err && done->result == -EOWNERDEAD)
			evr_channel_learned(call->ch);
		if (err != -EAGAIN && err != -ENOTCONN)
			return err;
		/* Something may be there at once, again and again. */
		if (rounds++ && evr_now_ns() >= deadline_ns)
			return -ETIMEDOUT;
		needs[0] = &call->ch->rx[0].lane.mine->need;
		needs[1] = &call->ch->rx[1].lane.mine->need;
		until_ns = wait.next_ns < deadline_ns ? wait.next_ns : deadline_ns;
		err = evr_waiter_wait(waiter, needs, 2, call_ready, &wait, until_ns);
		err = evr_channel_waited(call->ch, err);
		/* -ESHUTDOWN: what is outstanding has ended with this peer. */
		if (err && err != -ESHUTDOWN && !(err == -ETIMEDOUT && until_ns < deadline_ns))
			return err;
	}
}

int evr_call_sync(struct evr_call *call, struct evr_waiter *waiter,
		  const struct evr_call_request *request, struct evr_call_completion *done)
{
	uint64_t until_ns = request_deadline(request);
	uint64_t id;
	int err;

	memset(done, 0, sizeof(*done));
	if (evr_call_outstanding(call))
		return evr_fail(-EBUSY, "call: %u requests are outstanding",
				evr_call_outstanding(call));
	err = evr_call_submit_wait(call, waiter, request, &id, until_ns);
	if (err)
		return err;
	err = evr_call_complete_wait(call, waiter, done, EVR_NO_DEADLINE);
	if (!err)
		return done->result;
	evr_call_cancel(call, id);
	return err;
}

uint32_t evr_call_outstanding(const struct evr_call *call)
{
	uint32_t nr = call->nr, i;

	/* Of a call that is over there is none. */
	for (i = 0; i < (call->nr + 63) / 64; i++)
		nr -= (uint32_t)__builtin_popcountll(evr_a64_load_relaxed(&call->free[i]));
	return nr;
}

void evr_call_counts(const struct evr_call *call, struct evr_call_counts *out)
{
	*out = call->counts;
	out->submitted = evr_a64_load_relaxed(&call->submitted);
	out->cancelled = evr_a64_load_relaxed(&call->cancelled);
}
