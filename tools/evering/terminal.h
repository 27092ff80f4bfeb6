/* SPDX-License-Identifier: MIT */
/* What the terminal can show: weight, colour, blocks; none of it when it is no terminal. */
#ifndef EVERING_TERMINAL_H
#define EVERING_TERMINAL_H

#include <stdbool.h>
#include <stdio.h>

enum terminal_style {
	TERMINAL_PLAIN,
	TERMINAL_BOLD,
	TERMINAL_DIM,
	TERMINAL_GOOD,
	TERMINAL_BAD,
};

/* True for a terminal, unless TERM is dumb or NO_COLOR is set. */
bool terminal_is_rich(FILE *to);

/* Starts a style, and TERMINAL_PLAIN ends it; "" where there are none. */
const char *terminal_style(FILE *to, enum terminal_style style);

/* A bar of @fraction of @columns characters, padded with blanks to @columns. */
void terminal_bar(FILE *to, double fraction, int columns);

#endif
