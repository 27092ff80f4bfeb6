// SPDX-License-Identifier: MIT
/* What the terminal can show: weight, colour, blocks; none of it when it is no terminal. */
#include "terminal.h"

#include <langinfo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool terminal_is_rich(FILE *to)
{
	const char *term = getenv("TERM");
	const char *no_color = getenv("NO_COLOR");

	return isatty(fileno(to)) && term && strcmp(term, "dumb") && !(no_color && *no_color);
}

const char *terminal_style(FILE *to, enum terminal_style style)
{
	static const char *const codes[] = {
		[TERMINAL_PLAIN] = "\033[0m", [TERMINAL_BOLD] = "\033[1m",
		[TERMINAL_DIM] = "\033[2m",   [TERMINAL_GOOD] = "\033[32m",
		[TERMINAL_BAD] = "\033[31m",
	};

	return terminal_is_rich(to) ? codes[style] : "";
}

void terminal_bar(FILE *to, double fraction, int columns)
{
	static const char *const eighths[] = { "", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };
	bool has_blocks = terminal_is_rich(to) && !strcmp(nl_langinfo(CODESET), "UTF-8");
	int length = (int)lround(fmin(fmax(fraction, 0), 1) * columns * 8);
	int column = 0;

	if (!has_blocks)
		length = (length + 7) / 8 * 8;
	for (; column < length / 8; column++)
		fputs(has_blocks ? "█" : "#", to);
	if (length % 8) {
		fputs(eighths[length % 8], to);
		column++;
	}
	fprintf(to, "%*s", columns - column, "");
}
