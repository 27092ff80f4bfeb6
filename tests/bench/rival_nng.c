// SPDX-License-Identifier: MIT
/* nng: a pair over ipc, which is a UNIX socket and threads of its own on each side. */
#include <errno.h>
#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "carrier.h"
#include "rivals.h"

static void check(struct stage *stage, int err, const char *what)
{
	if (err) {
		fprintf(stderr, "nng: %s: %s\n", what, nng_strerror(err));
		stage_fail(stage, what, -EIO);
	}
}

static void pair_open(struct stage *stage)
{
	nng_socket *pair = malloc(sizeof(*pair));
	char name[64];

	snprintf(name, sizeof(name), "abstract://evering-bench-%d", (int)getppid());
	check(stage, pair ? 0 : NNG_ENOMEM, "pair");
	stage->own = pair;
	check(stage, nng_pair0_open(pair), "open");
	/* As much on the way as the window of calls, and more. */
	check(stage, nng_socket_set_int(*pair, NNG_OPT_SENDBUF, 64), "buffer");
	check(stage, nng_socket_set_int(*pair, NNG_OPT_RECVBUF, 64), "buffer");
	if (stage->side == STAGE_NEAR)
		check(stage, nng_listen(*pair, name, NULL, 0), "listen");
	stage_meet(stage);
	if (stage->side == STAGE_FAR)
		check(stage, nng_dial(*pair, name, NULL, 0), "dial");
}

static void pair_close(struct stage *stage)
{
	nng_socket *pair = stage->own;

	nng_close(*pair);
	free(pair);
}

static void pair_send(struct stage *stage, const void *data, uint64_t size)
{
	nng_socket *pair = stage->own;

	/* It copies, and does not write. */
	check(stage, nng_send(*pair, (void *)(uintptr_t)data, size, 0), "send");
}

static void pair_receive(struct stage *stage, void *data, uint64_t size)
{
	nng_socket *pair = stage->own;
	size_t got = size;

	check(stage, nng_recv(*pair, data, &got, 0), "receive");
	check(stage, got == size ? 0 : NNG_EMSGSIZE, "receive");
}

static const struct carrier carrier = { pair_open, pair_close, pair_send, pair_receive };

const struct rival nng_pair_trips = { "nng ipc",     RIVAL_SLEEPS,  stage_prepare_nothing,
				 carrier_trips, carrier_trips, &carrier };
const struct rival nng_pair_stream = { "nng ipc",	  RIVAL_SLEEPS,	  stage_prepare_nothing,
				  carrier_stream, carrier_stream, &carrier };
const struct rival nng_pair_calls = { "nng ipc",     RIVAL_SLEEPS,  stage_prepare_nothing,
				 carrier_calls, carrier_calls, &carrier };
