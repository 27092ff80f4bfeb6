/* SPDX-License-Identifier: MIT */
/* Where a stream socket is: unix:PATH, tcp:HOST:PORT; "-" is standard input and output. */
#ifndef EVERING_TOOL_ADDRESS_H
#define EVERING_TOOL_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#define ADDRESS_PLACES 8

struct address {
	const char *text; /* as it was written; NULL: there is none */
	bool is_stdio;
	const char *path; /* of unix: */
	/* What the name stands for, to be tried in this order. */
	struct sockaddr_storage places[ADDRESS_PLACES];
	socklen_t sizes[ADDRESS_PLACES];
	int places_nr;
};

/* Reads @text and resolves it. Return: 0; EXIT_USAGE, EXIT_FAILED with the message written. */
int address_parse(struct address *address, const char *text);

/*
 * Listens. A socket file that nobody listens at any more is replaced.
 * Return: the fd; -1 with the message written.
 */
int address_listen(const struct address *address);

/* Takes the socket file away that address_listen() has made. */
void address_forget(const struct address *address);

/* A socket for places[@place], to be connected. Return: the fd, or -errno. */
int address_socket(const struct address *address, int place);

/*
 * Standard input and output as fds of our own; the process has /dev/null in their place,
 * so that to close them is to end them. Return: 0; -errno.
 */
int address_take_stdio(int *in, int *out);

/* What is closed after this tells the other side, where the protocol can, that it was cut off. */
void address_cut(int fd);

#endif
