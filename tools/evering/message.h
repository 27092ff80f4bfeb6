/* SPDX-License-Identifier: MIT */
/* Messages on stderr, all of the form "evering: <sub>: <what>: <why>; <what to do>". */
#ifndef EVERING_MESSAGE_H
#define EVERING_MESSAGE_H

/* The subcommand that stands in every message from now on. */
void message_from(const char *subcommand);

/* A line of the tool's own words. */
void message(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * A call of the library on @what has answered @err (negative errno): its detail
 * text, or else what the error means and what to do about it. Returns
 * EXIT_FAILED, so that a command can end with it.
 */
int message_failed(const char *what, int err);

/* The same for a system call. */
int message_system(const char *what, int err);

/* Wrong command line: the line and where the help is. Returns EXIT_USAGE. */
int message_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
