// SPDX-License-Identifier: MIT
/* ZeroMQ: a PAIR over ipc, which is a UNIX socket and a thread of its own on each side. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zmq.h>

#include "carrier.h"
#include "rivals.h"

struct pair {
	void *context, *socket;
};

static void check(struct stage *stage, bool is_good, const char *what)
{
	if (!is_good)
		stage_fail(stage, what, -errno);
}

/* One side binds before the other connects; the name is abstract and leaves nothing behind. */
static void pair_open(struct stage *stage)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	char name[64];

	snprintf(name, sizeof(name), "ipc://@evering-bench-%d", (int)getppid());
	check(stage, pair, "pair");
	stage->own = pair;
	pair->context = zmq_ctx_new();
	pair->socket = zmq_socket(pair->context, ZMQ_PAIR);
	check(stage, pair->socket, "socket");
	if (stage->side == STAGE_NEAR)
		check(stage, !zmq_bind(pair->socket, name), "bind");
	stage_meet(stage);
	if (stage->side == STAGE_FAR)
		check(stage, !zmq_connect(pair->socket, name), "connect");
}

static void pair_close(struct stage *stage)
{
	struct pair *pair = stage->own;
	int linger = 0;

	zmq_setsockopt(pair->socket, ZMQ_LINGER, &linger, sizeof(linger));
	zmq_close(pair->socket);
	zmq_ctx_term(pair->context);
	free(pair);
}

static void pair_send(struct stage *stage, const void *data, uint64_t size)
{
	struct pair *pair = stage->own;

	check(stage, zmq_send(pair->socket, data, size, 0) == (int)size, "send");
}

static void pair_receive(struct stage *stage, void *data, uint64_t size)
{
	struct pair *pair = stage->own;

	check(stage, zmq_recv(pair->socket, data, size, 0) == (int)size, "receive");
}

static const struct carrier carrier = { pair_open, pair_close, pair_send, pair_receive };

const struct rival zmq_trips = { "ZeroMQ ipc",  RIVAL_SLEEPS,  stage_prepare_nothing,
				 carrier_trips, carrier_trips, &carrier };
const struct rival zmq_stream = { "ZeroMQ ipc",	  RIVAL_SLEEPS,	  stage_prepare_nothing,
				  carrier_stream, carrier_stream, &carrier };
const struct rival zmq_calls = { "ZeroMQ ipc",  RIVAL_SLEEPS,  stage_prepare_nothing,
				 carrier_calls, carrier_calls, &carrier };
