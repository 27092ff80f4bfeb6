// SPDX-License-Identifier: MIT
/* evering top: rates, fill and peers of a segment, drawn again and again. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <evering/evering.h>

#include "command.h"
#include "rates.h"
#include "signals.h"
#include "terminal.h"

static double interval = 1;
static bool once, json;

static const struct option_row options[] = {
	{ "interval", 'i', OPTION_SECONDS, &interval, "S", "seconds between two looks (1)", 0, 0,
	  NULL },
	{ "once", '1', OPTION_FLAG, &once, NULL, "one look, and end", 0, 0, NULL },
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write a JSON object a line", 0, 0, NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

enum order { BY_NAME, BY_RATE, BY_FILL, ORDERS };

static const char *const order_names[] = { "name", "rate", "fill" };
static enum order order;

struct screen {
	bool is_live; /* a terminal that is drawn over; else frames follow each other */
	bool has_keys;
	struct termios before;
};

static double fill_of(const struct flow_rate *rate)
{
	const struct evr_flow *flow = &rate->view->stat.flows[rate->flow];
	uint64_t fill = flow_fill(flow);

	return fill == UINT64_MAX || !flow->capacity ? -1 : (double)fill / (double)flow->capacity;
}

static int compare_flows(const void *left, const void *right)
{
	const struct flow_rate *a = left, *b = right;
	double first = order == BY_RATE ? a->in + a->out : fill_of(a);
	double second = order == BY_RATE ? b->in + b->out : fill_of(b);

	if (order != BY_NAME && first != second)
		return first < second ? 1 : -1;
	if (strcmp(a->view->object.name, b->view->object.name))
		return strcmp(a->view->object.name, b->view->object.name);
	return (int)a->flow - (int)b->flow;
}

static void write_frame(FILE *to, const struct observer *observer, const struct rates *rates,
			bool has_keys)
{
	struct table flows, peers;

	fprintf(to, "%s  by %s  %u peers  %u objects  every %g s%s\n\n", observer->name,
		order_names[order], rates->snapshot->peers_nr, rates->snapshot->objects_nr,
		interval, has_keys ? "  (q quits, s sorts)" : "");
	rates_flow_table(&flows, rates);
	rates_peer_table(&peers, rates);
	table_print(&flows, to, "");
	fprintf(to, "\n");
	table_print(&peers, to, "");
	table_fini(&flows);
	table_fini(&peers);
}

/* As much of the frame as the window has room for, over what was there. */
static void draw(const char *frame)
{
	struct winsize window = { 0 };
	int rows, columns;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) || !window.ws_row || !window.ws_col)
		window = (struct winsize){ .ws_row = 24, .ws_col = 80 };
	rows = window.ws_row;
	columns = window.ws_col;
	fputs("\033[H", stdout);
	while (*frame && rows--) {
		int length = (int)strcspn(frame, "\n");

		/* No newline behind the last row: it would scroll. */
		printf("%.*s\033[K%s", length < columns ? length : columns, frame,
		       rows ? "\n" : "");
		frame += length;
		frame += *frame == '\n';
	}
	fputs("\033[J", stdout);
	fflush(stdout);
}

static int show(const struct observer *observer, const struct screen *screen, struct rates *rates)
{
	char *text = NULL;
	size_t sz = 0;
	FILE *frame;

	qsort(rates->flows, rates->flows_nr, sizeof(*rates->flows), compare_flows);
	if (json) {
		json_write(stdout, rates_to_json(rates), false);
		return 0;
	}
	frame = open_memstream(&text, &sz);
	if (!frame)
		return -ENOMEM;
	write_frame(frame, observer, rates, screen->has_keys);
	if (fclose(frame)) {
		free(text);
		return -ENOMEM;
	}
	if (screen->is_live)
		draw(text);
	else
		printf("%s\n", text);
	fflush(stdout);
	free(text);
	return 0;
}

static void note_resize(int number)
{
	(void)number;
}

static void screen_open(struct screen *screen)
{
	struct sigaction resized = { .sa_handler = note_resize };
	struct termios raw;

	*screen = (struct screen){ 0 };
	screen->is_live = !json && !once && terminal_is_rich(stdout);
	if (!screen->is_live)
		return;
	if (isatty(STDIN_FILENO) && !tcgetattr(STDIN_FILENO, &screen->before)) {
		raw = screen->before;
		raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		raw.c_cc[VMIN] = 0;
		raw.c_cc[VTIME] = 0;
		screen->has_keys = !tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	}
	sigaction(SIGWINCH, &resized, NULL);
	/* Another page of the terminal, without a cursor: what was there comes back. */
	fputs("\033[?1049h\033[?25l", stdout);
	fflush(stdout);
}

static void screen_close(const struct screen *screen)
{
	if (!screen->is_live)
		return;
	fputs("\033[?25h\033[?1049l", stdout);
	fflush(stdout);
	if (screen->has_keys)
		tcsetattr(STDIN_FILENO, TCSANOW, &screen->before);
}

enum wish { WISH_NONE, WISH_DRAW, WISH_QUIT };

static enum wish take_keys(void)
{
	enum wish wish = WISH_NONE;
	char keys[16];
	ssize_t got = read(STDIN_FILENO, keys, sizeof(keys));

	/* A terminal that has gone says nothing any more. */
	if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN))
		return WISH_QUIT;
	for (ssize_t i = 0; i < got; i++) {
		if (keys[i] == 'q')
			return WISH_QUIT;
		if (keys[i] != 's')
			continue;
		order = (order + 1) % ORDERS;
		wish = WISH_DRAW;
	}
	return wish;
}

/* Until the next look; a key or another size of the window is answered at once. */
static enum wish wait_for_look(const struct observer *observer, const struct screen *screen,
			       struct rates *rates)
{
	uint64_t end = evr_now_ns() + (uint64_t)(interval * 1e9), now;
	enum wish wish = WISH_NONE;

	while (!signals_came() && wish != WISH_QUIT && (now = evr_now_ns()) < end) {
		bool has_input = signals_wait_input(screen->has_keys ? STDIN_FILENO : -1,
						    (double)(end - now) / 1e9);

		wish = has_input ? take_keys() : WISH_NONE;
		if (screen->is_live && rates->snapshot && wish != WISH_QUIT && evr_now_ns() < end)
			show(observer, screen, rates);
	}
	return signals_came() ? WISH_QUIT : wish;
}

static int follow(const struct observer *observer, const struct screen *screen)
{
	struct snapshot before, after = { 0 };
	struct rates rates = { 0 };
	int err = snapshot_take(observer, &before);

	while (!err && wait_for_look(observer, screen, &rates) != WISH_QUIT) {
		rates_free(&rates);
		if (after.taken_ns) {
			snapshot_free(&before);
			before = after;
		}
		err = snapshot_take(observer, &after);
		if (!err)
			err = rates_take(&rates, &before, &after);
		if (!err)
			err = show(observer, screen, &rates);
		if (once)
			break;
	}
	rates_free(&rates);
	snapshot_free(&before);
	snapshot_free(&after);
	return err;
}

static int follow_on_screen(const struct observer *observer, void *arg)
{
	struct screen screen;
	int err;

	(void)arg;
	signals_catch();
	screen_open(&screen);
	err = follow(observer, &screen);
	screen_close(&screen);
	return err;
}

static int run(int operands_nr, char **operands)
{
	(void)operands_nr;
	return observer_run(operands[0], follow_on_screen, NULL);
}

const struct command top_command = {
	.name = "top",
	.operands = "NAME",
	.summary = "Show rates, rings and peers, live",
	.details = "q quits, s sorts by name, rate or fill. Into a pipe it writes one look after the\n"
		   "other. Looks from outside, and disturbs nothing.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run,
};
