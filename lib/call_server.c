/* SPDX-License-Identifier: MIT */
/* Calls: the server. Its threads share two locks, and no lock is held asleep but the one for answers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <evering/bell.h>
#include <evering/call.h>

#include "channel.h"
#include "internal.h"

int evr_call_server_init(struct evr_call_server *server, struct evr_channel *ch, uint32_t ops)
{
	memset(server, 0, sizeof(*server));
	if (!ops || ops > EVR_CALL_OPS_MAX)
		return evr_fail(-EINVAL, "server: %u requests taken, not 1 to %d", ops,
				EVR_CALL_OPS_MAX);
	server->taken = calloc(ops, sizeof(*server->taken));
	if (!server->taken)
		return evr_fail(-ENOMEM, "server: no memory for %u requests", ops);
	pthread_mutex_init(&server->send_lock, NULL);
	pthread_mutex_init(&server->recv_lock, NULL);
	server->ch = ch;
	server->nr = ops;
	return 0;
}

void evr_call_server_fini(struct evr_call_server *server)
{
	uint32_t i;

	if (!server->taken)
		return;
	for (i = 0; i < server->nr; i++)
		if (server->taken[i].id)
			evr_channel_release(server->ch, &server->taken[i].message);
	pthread_mutex_destroy(&server->send_lock);
	pthread_mutex_destroy(&server->recv_lock);
	free(server->taken);
	memset(server, 0, sizeof(*server));
}

/* Under recv_lock. @id 0: a place that is free. NULL: there is none. */
static struct evr_call_taken *taken_find(struct evr_call_server *server, uint64_t id)
{
	uint32_t i;

	for (i = 0; i < server->nr; i++)
		if (server->taken[i].id == id)
			return &server->taken[i];
	return NULL;
}

/* Under recv_lock: not a request to be taken, but perhaps the end of one. */
static void server_note(struct evr_call_server *server, const struct evr_message *m)
{
	struct evr_call_taken *t;

	t = m->id && m->flags & EVR_MESSAGE_CANCEL ? taken_find(server, m->id) : NULL;
	if (t)
		t->cancelled = true;
	else if (!(m->flags & EVR_MESSAGE_CANCEL))
		server->counts.strange++;
}

int evr_call_take(struct evr_call_server *server, struct evr_message *request)
{
	struct evr_call_taken *t;
	struct evr_message m;
	int err = -EAGAIN, strange;

	pthread_mutex_lock(&server->recv_lock);
	for (strange = 0; strange < CALL_STRANGE_MAX; strange++) {
		/* What is no request needs no place. */
		err = evr_channel_peek(server->ch, &m);
		t = taken_find(server, 0);
		if (!err && !t && m.flags & EVR_MESSAGE_REQUEST)
			err = evr_fail(-EBUSY, "server: all of %u requests are taken", server->nr);
		if (!err)
			err = evr_channel_take(server->ch, &m);
		if (err)
			break;
		/* Another than was peeked at only when that one was stale. */
		if (t && m.id && m.flags & EVR_MESSAGE_REQUEST && !taken_find(server, m.id)) {
			*t = (struct evr_call_taken){ .id = m.id, .message = m };
			server->counts.taken++;
			*request = m;
			break;
		}
		server_note(server, &m);
		evr_channel_release(server->ch, &m);
		err = -EAGAIN;
	}
	pthread_mutex_unlock(&server->recv_lock);
	return err;
}

int evr_call_take_wait(struct evr_call_server *server, struct evr_waiter *waiter,
		       struct evr_message *request, uint64_t deadline_ns)
{
	int err, rounds = 0;

	for (;;) {
		err = evr_call_take(server, request);
		if (err == -EOWNERDEAD)
			evr_channel_learned(server->ch);
		if (err != -EAGAIN && err != -ENOTCONN)
			return err;
		/* Something may be there at once, again and again. */
		if (rounds++ && evr_now_ns() >= deadline_ns)
			return -ETIMEDOUT;
		err = evr_channel_wait_any(&server->ch, 1, 0, waiter, deadline_ns);
		if (err < 0)
			return err;
	}
}

/* The request is over. Under send_lock. */
static void server_drop(struct evr_call_server *server, struct evr_call_taken *t, bool answered)
{
	pthread_mutex_lock(&server->recv_lock);
	server->counts.answered += answered;
	server->counts.cancelled += t->cancelled;
	evr_channel_release(server->ch, &t->message);
	t->id = 0;
	pthread_mutex_unlock(&server->recv_lock);
}

/* 0; -ENOENT; -ECANCELED. @found: what is its place as long as send_lock is held; or NULL */
static int server_look(struct evr_call_server *server, uint64_t id, struct evr_call_taken **found)
{
	int err = 0;

	pthread_mutex_lock(&server->recv_lock);
	*found = id ? taken_find(server, id) : NULL;
	if (!*found)
		err = evr_fail(-ENOENT, "server: request %#llx is not taken",
			       (unsigned long long)id);
	else if ((*found)->cancelled)
		err = -ECANCELED;
	pthread_mutex_unlock(&server->recv_lock);
	return err;
}

/* Can it be answered later? */
static bool server_may_retry(int err)
{
	return err == -EAGAIN || err == -ENOBUFS || err == -ENOMEM || err == -ENOTCONN ||
	       err == -EOPNOTSUPP || err == -ETIMEDOUT || err == -EINTR || err == -EINVAL ||
	       err == -EMSGSIZE || err == -ESTALE;
}

/* @w: NULL does not wait. */
static int server_answer(struct evr_call_server *server, struct evr_waiter *w, uint64_t id,
			 const struct evr_message *answer, uint64_t until_ns)
{
	struct evr_message m = *answer;
	struct evr_call_taken *t;
	int err;

	if (m.flags & ~(uint32_t)EVR_MESSAGE_URGENT)
		return evr_fail(-EINVAL, "server: an answer with flags %#x", m.flags);
	m.id = id;
	m.flags |= EVR_MESSAGE_ANSWER;
	/* Held over all of it: nobody answers the same request meanwhile. */
	pthread_mutex_lock(&server->send_lock);
	err = server_look(server, id, &t);
	if (!err)
		err = w ? evr_channel_send_wait(server->ch, w, &m, until_ns) :
			  evr_channel_send_message(server->ch, &m);
	if (t && !server_may_retry(err))
		server_drop(server, t, !err);
	pthread_mutex_unlock(&server->send_lock);
	return err;
}

int evr_call_answer(struct evr_call_server *server, uint64_t id, const struct evr_message *answer)
{
	return server_answer(server, NULL, id, answer, 0);
}

int evr_call_answer_wait(struct evr_call_server *server, struct evr_waiter *waiter, uint64_t id,
			 const struct evr_message *answer, uint64_t deadline_ns)
{
	return server_answer(server, waiter, id, answer, deadline_ns);
}

bool evr_call_is_cancelled(struct evr_call_server *server, uint64_t id)
{
	struct evr_call_taken *t;

	return server_look(server, id, &t) == -ECANCELED;
}

void evr_call_server_counts(struct evr_call_server *server, struct evr_call_server_counts *out)
{
	pthread_mutex_lock(&server->recv_lock);
	*out = server->counts;
	pthread_mutex_unlock(&server->recv_lock);
}
