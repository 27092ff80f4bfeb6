/* SPDX-License-Identifier: MIT */
/* The command line of a subcommand, read and explained from one table. */
#ifndef EVERING_OPTIONS_H
#define EVERING_OPTIONS_H

#include "command.h"

#define OPTIONS_DONE (-1) /* --help was printed */
#define OPTIONS_WRONG (-2) /* the message is on stderr */

/* The options every subcommand has besides its own. */
extern const struct option_row options_always[];

/*
 * Reads @argv (argv[0] is the subcommand) into the values of @command's table.
 * Returns the index of the first operand, OPTIONS_DONE or OPTIONS_WRONG.
 */
int options_parse(const struct command *command, int argc, char **argv);

void options_help(const struct command *command);

#endif
