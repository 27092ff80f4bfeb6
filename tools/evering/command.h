/* SPDX-License-Identifier: MIT */
/* What a subcommand is, what it may answer, and the list of them all. */
#ifndef EVERING_COMMAND_H
#define EVERING_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the tool exits with. */
enum {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_PEER_DIED = 3,
};

enum option_kind {
	OPTION_FLAG, /* bool */
	OPTION_SIZE, /* uint64_t, bytes: 4096, 64K, 2M, 1.5G */
	OPTION_NUMBER, /* uint64_t */
	OPTION_SECONDS, /* double */
	OPTION_MODE, /* uint64_t, octal */
	OPTION_TEXT, /* const char * */
};

/* One option: how it is written, where its value goes, what it may be. */
struct option_row {
	const char *name; /* NULL ends the table */
	char letter; /* 0 = only the long form */
	enum option_kind kind;
	void *value;
	const char *metavar;
	const char *help;
	uint64_t min; /* of OPTION_SIZE and OPTION_NUMBER */
	uint64_t max; /* 0 = no limit */
	bool *given; /* set when the option was there; may be NULL */
};

struct command {
	const char *name;
	const char *operands;
	const char *summary;
	const char *details; /* more for --help; may be NULL */
	const struct option_row *options;
	int operands_min;
	int operands_max;
	int (*run)(int operands_nr, char **operands);
	void (*print_words)(void); /* what its operand can be, one a line; may be NULL */
};

extern const struct command create_command;
extern const struct command rm_command;
extern const struct command ls_command;
extern const struct command info_command;
extern const struct command peers_command;
extern const struct command rings_command;
extern const struct command slots_command;
extern const struct command hz_command;
extern const struct command top_command;
extern const struct command tap_command;
extern const struct command events_command;
extern const struct command gc_command;
extern const struct command revoke_command;
extern const struct command doctor_command;
extern const struct command send_command;
extern const struct command recv_command;
#ifdef HAVE_DRIVER
extern const struct command relay_command;
extern const struct command serve_command;
extern const struct command fetch_command;
#endif
extern const struct command demo_command;
extern const struct command bench_command;

/* The commands in the order of the help, ended by NULL. */
extern const struct command *const commands[];

#endif
