// SPDX-License-Identifier: MIT
/* The command line of a subcommand, read and explained from one table. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "message.h"

#define OPTIONS_MAX 32

static bool help_wanted;

const struct option_row options_always[] = {
	{ "help", 'h', OPTION_FLAG, &help_wanted, NULL, "show this text", 0, 0, NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

/* The @index-th option of @command, its own first. */
static const struct option_row *option_at(const struct command *command, int index)
{
	int own_nr = 0;

	while (command->options && command->options[own_nr].name) {
		if (own_nr == index)
			return &command->options[index];
		own_nr++;
	}
	if (!options_always[index - own_nr].name)
		return NULL;
	return &options_always[index - own_nr];
}

static int wrong_value(const struct option_row *row, const char *text, const char *wanted)
{
	message_usage("--%s: '%s' is not %s", row->name, text, wanted);
	return OPTIONS_WRONG;
}

static int check_range(const struct option_row *row, const char *text, uint64_t value)
{
	char min[FORMAT_SZ], max[FORMAT_SZ];

	if (value >= row->min && (!row->max || value <= row->max))
		return 0;
	if (row->kind == OPTION_SIZE) {
		format_size(min, row->min);
		format_size(max, row->max);
	} else {
		snprintf(min, sizeof(min), "%" PRIu64, row->min);
		snprintf(max, sizeof(max), "%" PRIu64, row->max);
	}
	if (row->max)
		message_usage("--%s: %s is outside %s to %s", row->name, text, min, max);
	else
		message_usage("--%s: %s is below %s", row->name, text, min);
	return OPTIONS_WRONG;
}

static int read_seconds(const struct option_row *row, const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds > 0) || seconds > 86400)
		return wrong_value(row, text, "a time in seconds, more than 0 and at most a day");
	*(double *)row->value = seconds;
	return 0;
}

static int read_mode(const struct option_row *row, const char *text)
{
	char *end;
	unsigned long mode = strtoul(text, &end, 8);

	if (*text < '0' || *text > '7' || *end || mode > 0777 || mode & 0111)
		return wrong_value(row, text, "an octal mode of read and write bits, as 0660");
	*(uint64_t *)row->value = mode;
	return 0;
}

static int read_value(const struct option_row *row, const char *text)
{
	uint64_t number;

	switch (row->kind) {
	case OPTION_FLAG:
		*(bool *)row->value = true;
		return 0;
	case OPTION_TEXT:
		*(const char **)row->value = text;
		return 0;
	case OPTION_SECONDS:
		return read_seconds(row, text);
	case OPTION_MODE:
		return read_mode(row, text);
	case OPTION_SIZE:
		if (format_parse_size(text, &number))
			return wrong_value(row, text, "a size, as 4096, 64K, 2M or 1.5G");
		break;
	case OPTION_NUMBER:
		if (format_parse_number(text, &number))
			return wrong_value(row, text, "a number");
		break;
	}
	if (check_range(row, text, number))
		return OPTIONS_WRONG;
	*(uint64_t *)row->value = number;
	return 0;
}

/* Tables for getopt_long(); an option is known by its index + 256. */
static void make_tables(const struct command *command, struct option *longs, char *shorts)
{
	const struct option_row *row;
	int nr;

	*shorts++ = ':'; /* a missing value is told apart from an unknown option */
	for (nr = 0; nr < OPTIONS_MAX && (row = option_at(command, nr)); nr++) {
		longs[nr] = (struct option){ .name = row->name,
					     .has_arg = row->kind == OPTION_FLAG ?
								no_argument :
								required_argument,
					     .val = 256 + nr };
		if (!row->letter)
			continue;
		*shorts++ = row->letter;
		if (row->kind != OPTION_FLAG)
			*shorts++ = ':';
	}
	longs[nr] = (struct option){ 0 };
	*shorts = '\0';
}

static const struct option_row *option_found(const struct command *command, int found)
{
	const struct option_row *row;

	if (found >= 256)
		return option_at(command, found - 256);
	for (int i = 0; (row = option_at(command, i)); i++) {
		if (row->letter == found)
			return row;
	}
	return NULL;
}

static int check_operands(const struct command *command, int argc, char **argv, int first)
{
	int nr = argc - first;

	if (nr < command->operands_min)
		message_usage("%s is missing", command->operands);
	else if (nr > command->operands_max)
		message_usage("'%s' is one operand too many", argv[first + command->operands_max]);
	else
		return first;
	return OPTIONS_WRONG;
}

int options_parse(const struct command *command, int argc, char **argv)
{
	struct option longs[OPTIONS_MAX + 1];
	char shorts[2 * OPTIONS_MAX + 3];
	int found;

	make_tables(command, longs, shorts);
	opterr = 0;
	optind = 1;
	while ((found = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		const struct option_row *row;

		if (found == ':') {
			message_usage("%s needs a value", argv[optind - 1]);
			return OPTIONS_WRONG;
		}
		if (found == '?') {
			if (optopt && optopt < 256)
				message_usage("unknown option -%c", optopt);
			else
				message_usage("unknown option, or one that takes no value: %s",
					      argv[optind - 1]);
			return OPTIONS_WRONG;
		}
		row = option_found(command, found);
		if (read_value(row, optarg))
			return OPTIONS_WRONG;
		if (row->given)
			*row->given = true;
	}
	if (help_wanted) {
		options_help(command);
		return OPTIONS_DONE;
	}
	return check_operands(command, argc, argv, optind);
}

void options_help(const struct command *command)
{
	const struct option_row *row;

	printf("Usage: evering %s [options]%s%s\n\n%s.\n", command->name,
	       *command->operands ? " " : "", command->operands, command->summary);
	if (command->details)
		printf("\n%s", command->details);
	printf("\nOptions:\n");
	for (int i = 0; (row = option_at(command, i)); i++) {
		char left[64];

		snprintf(left, sizeof(left), "%s%c%s --%s%s%s", row->letter ? "-" : " ",
			 row->letter ? row->letter : ' ', row->letter ? "," : " ", row->name,
			 row->metavar ? " " : "", row->metavar ? row->metavar : "");
		printf("  %-26s %s\n", left, row->help);
	}
}
