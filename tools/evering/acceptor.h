/* SPDX-License-Identifier: MIT */
/* Clients that come to a listening socket, on a loop: one after the other, when they are wanted. */
#ifndef EVERING_TOOL_ACCEPTOR_H
#define EVERING_TOOL_ACCEPTOR_H

#include "address.h"
#include "loop.h"

struct acceptor {
	struct loop *loop;
	const struct address *address;
	void (*welcome)(int fd); /* the client's from here on */
	int fd; /* -1: there is none */
	bool is_accepting;
	uint64_t again_ns; /* not before, after there was no fd or memory left */
	bool failed; /* with the message written; the loop stops */
};

/* loop, address and welcome are set. Return: 0; EXIT_FAILED with the message written. */
int acceptor_open(struct acceptor *acceptor);

/* Wants the next client, unless it does already. Returns whether that is new. */
bool acceptor_turn(struct acceptor *acceptor);

/* After its loop was closed. */
void acceptor_close(struct acceptor *acceptor);

#endif
