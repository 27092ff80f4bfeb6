// SPDX-License-Identifier: MIT
/* Messages on stderr, all of the form "evering: <sub>: <what>: <why>; <what to do>". */
#include "message.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <evering/evering.h>

#include "command.h"

static const char *sender;

void message_from(const char *subcommand)
{
	sender = subcommand;
}

/* What names and other processes' texts hold goes to a terminal: no control characters. */
static void clean(char *line)
{
	for (; *line; line++) {
		if ((unsigned char)*line < ' ' || *line == 0x7f)
			*line = '?';
	}
}

static void write_message(const char *fmt, va_list args)
{
	char line[1024];
	size_t used = 0;

	/* One write: lines of two processes on one terminal stay whole. */
	if (sender)
		used = (size_t)snprintf(line, sizeof(line), "evering: %s: ", sender);
	else
		used = (size_t)snprintf(line, sizeof(line), "evering: ");
	vsnprintf(line + used, sizeof(line) - used - 1, fmt, args);
	clean(line);
	strcat(line, "\n");
	fflush(stdout);
	fputs(line, stderr);
	fflush(stderr);
}

void message(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	write_message(fmt, args);
	va_end(args);
}

int message_usage(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	write_message(fmt, args);
	va_end(args);
	if (sender)
		fprintf(stderr, "Try 'evering %s --help'.\n", sender);
	else
		fprintf(stderr, "Try 'evering --help'.\n");
	return EXIT_USAGE;
}

static const char *advice_for(int err)
{
	switch (-err) {
	case ENOENT:
		return "'evering ls' shows the segments there are";
	case EEXIST:
		return "take another name, or remove it with 'evering rm'";
	case EACCES:
	case EPERM:
		return "ask its owner for the rights ('evering create --mode, --uid, --gid')";
	case ENODEV:
	case ENXIO:
		return "load the module (modprobe evering), or write local:NAME";
	case EDQUOT:
		return "free some with 'evering rm'; 'evering doctor' shows the quota";
	case ENOMEM:
		return "ask for less, or free memory";
	case ENOSPC:
		return "ask for less, or leave --contiguous out";
	case EUSERS:
		return "wait until a peer leaves, or create the segment with more --peers";
	case EOPNOTSUPP:
		return "'evering doctor' shows what this machine can do";
	case EPROTO:
		return "use the evering of the version that made the segment";
	}
	return NULL;
}

static int report(const char *what, const char *why, const char *advice)
{
	if (advice)
		message("%s: %s; %s", what, why, advice);
	else
		message("%s: %s", what, why);
	return EXIT_FAILED;
}

int message_failed(const char *what, int err)
{
	const char *detail = evr_error_detail();

	if (detail && *detail)
		return report(what, detail, strchr(detail, ';') ? NULL : advice_for(err));
	return report(what, evr_strerror(err), advice_for(err));
}

int message_system(const char *what, int err)
{
	return report(what, strerror(err < 0 ? -err : err), NULL);
}
