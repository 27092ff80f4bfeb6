// SPDX-License-Identifier: MIT
/* evering: the command line. A table of subcommands, one file for each. */
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <evering/evering.h>
#include <evering/uapi.h>

#include "command.h"
#include "message.h"
#include "names.h"
#include "options.h"
#include "segment.h"

const struct command *const commands[] = {
	&create_command,
	&rm_command,
	&ls_command,
	&info_command,
	&peers_command,
	&rings_command,
	&slots_command,
	&hz_command,
	&top_command,
	&tap_command,
	&events_command,
	&gc_command,
	&revoke_command,
	&doctor_command,
	&send_command,
	&recv_command,
#ifdef HAVE_DRIVER
	&relay_command,
	&serve_command,
	&fetch_command,
#endif
	&demo_command,
	&bench_command,
	NULL,
};

static void print_help(FILE *to)
{
	fprintf(to, "Usage: evering SUBCOMMAND [options] [operands]\n\n"
		    "Shared segments between the processes of one machine.\n\n");
	for (int i = 0; commands[i]; i++)
		fprintf(to, "  %-8s %-24s %s\n", commands[i]->name, commands[i]->operands,
			commands[i]->summary);
	fprintf(to,
		"\nA segment is device:NAME, local:NAME, or NAME: the device when it is there.\n"
		"'evering SUBCOMMAND --help' tells more; evering(1) tells all.\n");
}

static const struct command *find_command(const char *name)
{
	for (int i = 0; commands[i]; i++) {
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	}
	return NULL;
}

/* What can stand after the words so far, one a line: for the shell's completion. */
static int print_words(const char *name)
{
	const struct command *command = name ? find_command(name) : NULL;

	for (int i = 0; !command && commands[i]; i++)
		printf("%s\n", commands[i]->name);
	if (!command)
		return EXIT_OK;
	for (const struct option_row *row = command->options; row && row->name; row++)
		printf("--%s\n", row->name);
	for (const struct option_row *row = options_always; row->name; row++)
		printf("--%s\n", row->name);
	if (command->print_words)
		command->print_words();
	return EXIT_OK;
}

static int run_command(const struct command *command, int argc, char **argv)
{
	int first;

	message_from(command->name);
	first = options_parse(command, argc, argv);
	if (first == OPTIONS_WRONG)
		return EXIT_USAGE;
	if (first == OPTIONS_DONE)
		return EXIT_OK;
	/* That of bench names no segment. */
	if (first < argc && !strncmp(command->operands, "NAME", 4) && command != &bench_command)
		segment_tell_fallback(argv[first]);
	return command->run(argc - first, argv + first);
}

static int run(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;
	const struct command *command;

	if (!name) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
		command = argc > 2 ? find_command(argv[2]) : NULL;
		if (command)
			options_help(command);
		else
			print_help(stdout);
		return EXIT_OK;
	}
	if (!strcmp(name, "--version")) {
		printf("evering %s, kernel ABI %d\n", EVR_VERSION_STRING, EVERING_ABI_VERSION);
		return EXIT_OK;
	}
	if (!strcmp(name, "--words"))
		return print_words(argc > 2 ? argv[2] : NULL);
	if (!strcmp(name, "--names")) {
		names_print(argc > 2 ? argv[2] : NULL);
		return EXIT_OK;
	}
	command = find_command(name);
	if (!command)
		return message_usage("there is no subcommand '%s'", name);
	return run_command(command, argc - 1, argv + 1);
}

/*
 * A standard stream that the caller has closed stays closed, but its number is taken: else
 * the next file opened, a segment perhaps, would be read as the input or written to.
 */
static bool hold_standard_fds(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		/* O_PATH: reads and writes of it answer EBADF. */
		if (fcntl(fd, F_GETFD) < 0 && open("/", O_PATH | O_CLOEXEC) != fd)
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	int status;

	if (!hold_standard_fds())
		return EXIT_FAILED;
	/* A file that may not grow further is EFBIG, and a message, no death. */
	signal(SIGXFSZ, SIG_IGN);
	setlocale(LC_CTYPE, "");
	status = run(argc, argv);
	if (fflush(stdout) || ferror(stdout)) {
		message("standard output: could not be written");
		return status ? status : EXIT_FAILED;
	}
	return status;
}
