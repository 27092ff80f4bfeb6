/* SPDX-License-Identifier: MIT */
/* An end by a signal, for subcommands that go on until there is one. */
#ifndef EVERING_TOOL_SIGNALS_H
#define EVERING_TOOL_SIGNALS_H

#include <stdbool.h>

/* From now on INT, TERM and HUP are only noted. */
void signals_catch(void);
bool signals_came(void);

/* Sleeps; a signal ends it, also one that came just before. */
void signals_sleep(double seconds);

/* The same, until there is something to read from @fd. Return: is there? */
bool signals_wait_input(int fd, double seconds);

#endif
