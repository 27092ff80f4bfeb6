/* SPDX-License-Identifier: MIT */
/*
 * Calls: requests with answers over a channel, many outstanding at once.
 *
 * model      a caller (struct evr_call) at one end of a channel, a server (struct
 *            evr_call_server) at the other. A request has an id {generation:32 |
 *            index:32} in a table that is private to the caller. It is completed
 *            exactly once: by its answer, its deadline, its cancellation, or the end of
 *            the server, whichever is first; an answer that comes later is dropped.
 * calls      caller: one thread submits and cancels while one completes. Server: any
 *            thread may take and answer, also an answer to what another has taken.
 *            The rest runs alone. The channel is used by nothing else meanwhile.
 * edges      those of the channel; CALL-OP and CALL-DUE in the caller's own table.
 * progress   as the channel; the server's threads share two locks of their process.
 * limits     up to EVR_CALL_OPS_MAX requests outstanding, or taken and not answered.
 */
#ifndef EVERING_CALL_H
#define EVERING_CALL_H

#include <pthread.h>

#include <evering/channel.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EVR_CALL_OPS_MAX 65536

/* A request to be submitted. */
struct evr_call_request {
	struct evr_message message; /* as for evr_channel_send_message(); id is filled in */
	uint64_t user; /* the application's, comes back with the completion */
	uint64_t deadline_ns; /* absolute CLOCK_MONOTONIC, for the answer; EVR_NO_DEADLINE; 0 is taken as that */
};

struct evr_call_completion {
	uint64_t id;
	uint64_t user;
	/* 0 answered; -ETIMEDOUT; -EOWNERDEAD, -EPIPE, -EBADMSG, -ESHUTDOWN the channel ended */
	int result;
	struct evr_message message; /* the answer, to be released; when result is 0 */
};

struct evr_call_counts {
	uint64_t submitted;
	uint64_t answered, expired, cancelled, ended; /* how they were completed */
	uint64_t late; /* answers to what was completed before, or answered twice */
	uint64_t strange; /* messages that are no answers */
};

/* One request of the caller's. Private to the process, shared by its two threads. */
struct evr_call_op {
	struct evr_a64 word; /* {generation:32 | is it pending:32} */
	struct evr_a64 user, deadline_ns;
};

/* The caller. The fields are not for callers of the library. */
struct evr_call {
	struct evr_channel *ch;
	struct evr_call_op *ops;
	struct evr_a64 *free; /* bitmap of the ops that are not outstanding */
	uint32_t nr;
	struct evr_a64 next_ns; /* no deadline is earlier; UINT64_MAX: there is none */
	struct evr_a64 submitted, cancelled;
	uint64_t woken; /* park of the completing thread that the submitting one has rung for */
	struct evr_call_counts counts; /* of the completing thread */
};

/* evr_call_init() - @ch: an open channel, longer valid than this. @ops: outstanding at most. -EINVAL, -ENOMEM */
EVR_API int evr_call_init(struct evr_call *call, struct evr_channel *ch, uint32_t ops);
/* evr_call_fini() - what is outstanding is forgotten; the channel stays open. */
EVR_API void evr_call_fini(struct evr_call *call);

/**
 * evr_call_submit() - send a request
 * @id: out; for evr_call_cancel()
 *
 * Return: 0; -EBUSY as many as there can be are outstanding; -EINVAL; and as
 * evr_channel_send_message(), then nothing is outstanding.
 */
EVR_API int evr_call_submit(struct evr_call *call, const struct evr_call_request *request,
			    uint64_t *id);

/* evr_call_submit_wait() - the same, waiting for room and credit. */
EVR_API int evr_call_submit_wait(struct evr_call *call, struct evr_waiter *waiter,
				 const struct evr_call_request *request, uint64_t *id,
				 uint64_t deadline_ns);

/*
 * evr_call_cancel() - complete a request here and now; it will not be seen by
 * evr_call_complete(). The server is told, by an urgent message if there is room.
 * Return: 0; -ENOENT it was completed before.
 */
EVR_API int evr_call_cancel(struct evr_call *call, uint64_t id);

/**
 * evr_call_complete() - the next completion
 * @done: out
 *
 * When the channel has ended, all that is outstanding is completed with its error.
 *
 * Return: 0; -EAGAIN none now; when nothing is outstanding any more, the error of the
 * channel.
 */
EVR_API int evr_call_complete(struct evr_call *call, struct evr_call_completion *done);

/* evr_call_complete_wait() - wait for one. Return: also -ETIMEDOUT; -EINTR. */
EVR_API int evr_call_complete_wait(struct evr_call *call, struct evr_waiter *waiter,
				   struct evr_call_completion *done, uint64_t deadline_ns);

/*
 * evr_call_sync() - submit and wait for the completion; the request's deadline is for
 * both. For a caller with nothing else outstanding.
 * Return: the completion's result; -EBUSY something is outstanding; as
 * evr_call_submit_wait(); -EINTR, and then it is cancelled.
 */
EVR_API int evr_call_sync(struct evr_call *call, struct evr_waiter *waiter,
			  const struct evr_call_request *request, struct evr_call_completion *done);

/* evr_call_outstanding() - how many requests wait for their completion. */
EVR_API uint32_t evr_call_outstanding(const struct evr_call *call);

/* evr_call_counts() - @out: what this handle has done. Context: the completing thread. */
EVR_API void evr_call_counts(const struct evr_call *call, struct evr_call_counts *out);

/* A request that was taken. */
struct evr_call_taken {
	uint64_t id; /* 0: none */
	bool cancelled;
	struct evr_message message;
};

struct evr_call_server_counts {
	uint64_t taken, answered, cancelled;
	uint64_t strange; /* no request, or one whose id is taken already */
};

/* The server. The fields are not for callers of the library. */
struct evr_call_server {
	struct evr_channel *ch;
	pthread_mutex_t send_lock, recv_lock; /* in this order */
	struct evr_call_taken *taken;
	uint32_t nr;
	struct evr_call_server_counts counts;
};

/*
 * evr_call_server_init() - @ch: an open channel, longer valid than this. @ops: taken at once at
 * most, 1 .. EVR_CALL_OPS_MAX. Return: 0; -EINVAL; -ENOMEM.
 */
EVR_API int evr_call_server_init(struct evr_call_server *server, struct evr_channel *ch,
				 uint32_t ops);
/* evr_call_server_fini() - what was taken and not answered is released. */
EVR_API void evr_call_server_fini(struct evr_call_server *server);

/*
 * evr_call_take() - the next request. Its message is valid until it is answered.
 * Return: 0; -EAGAIN; -EBUSY as many as there can be are taken; and as evr_channel_recv().
 */
EVR_API int evr_call_take(struct evr_call_server *server, struct evr_message *request);

/* evr_call_take_wait() - wait for one; for one thread at a time. Return: also -ETIMEDOUT; -EINTR. */
EVR_API int evr_call_take_wait(struct evr_call_server *server, struct evr_waiter *waiter,
			       struct evr_message *request, uint64_t deadline_ns);

/**
 * evr_call_answer() - answer a request that was taken, in any order
 * @id: its message's
 * @answer: as for evr_channel_send_message(); id is filled in
 *
 * Return: 0, the request's message is released; -ENOENT it is not taken, or was answered;
 * -ECANCELED its caller does not want it any more (released too); and as
 * evr_channel_send_message(): after "not now" it is still taken, else released.
 */
EVR_API int evr_call_answer(struct evr_call_server *server, uint64_t id,
			    const struct evr_message *answer);

/* evr_call_answer_wait() - the same, waiting for room and credit; the server's other answers wait too. */
EVR_API int evr_call_answer_wait(struct evr_call_server *server, struct evr_waiter *waiter,
				 uint64_t id, const struct evr_message *answer,
				 uint64_t deadline_ns);

/* evr_call_is_cancelled() - as far as evr_call_take() has heard. */
EVR_API bool evr_call_is_cancelled(struct evr_call_server *server, uint64_t id);

/* evr_call_server_counts() - @out: what this server has done. Context: any thread. */
EVR_API void evr_call_server_counts(struct evr_call_server *server,
				    struct evr_call_server_counts *out);

#ifdef __cplusplus
}
#endif

#endif
