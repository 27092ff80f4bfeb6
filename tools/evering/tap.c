// SPDX-License-Identifier: MIT
/* evering tap: the messages that pass through a ring, seen beside its consumer. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <evering/evering.h>

#include "command.h"
#include "message.h"
#include "signals.h"
#include "snapshot.h"

static uint64_t count, shown_max = 256;
static double seconds;
static bool only_new, raw, json;

static const struct option_row options[] = {
	{ "count", 'n', OPTION_NUMBER, &count, "N", "end after N messages (never)", 1, 0, NULL },
	{ "seconds", 't', OPTION_SECONDS, &seconds, "S", "end after S seconds more (never)", 0, 0,
	  NULL },
	{ "new", 'N', OPTION_FLAG, &only_new, NULL, "leave out what is there already", 0, 0, NULL },
	{ "max", 'm', OPTION_SIZE, &shown_max, "SIZE", "show at most SIZE of each (256)", 1,
	  1ULL << 30, NULL },
	{ "raw", 'r', OPTION_FLAG, &raw, NULL, "write only the messages' bytes", 0, 0, NULL },
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write a JSON object a line", 0, 0, NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

/* How often a ring without anything new is looked at: nobody rings for who only looks. */
#define LOOK_SECONDS 0.001

static bool is_text(const uint8_t *data, uint64_t sz)
{
	for (uint64_t i = 0; i < sz; i++) {
		if (data[i] >= 0x80 || (!isprint(data[i]) && data[i] != '\n' && data[i] != '\t'))
			return false;
	}
	return sz > 0;
}

/* As text with the usual escapes, or in hexadecimal: 2 bytes of @text and one more for each of @data. */
static void write_text(char *text, const uint8_t *data, uint64_t sz)
{
	for (uint64_t i = 0; i < sz; i++) {
		if (data[i] == '\n' || data[i] == '\t' || data[i] == '\\' || data[i] == '"')
			text += sprintf(text, "\\%c", data[i] == '\n' ? 'n' :
						      data[i] == '\t' ? 't' : (char)data[i]);
		else
			*text++ = (char)data[i];
	}
	*text = '\0';
}

static void write_hex(char *text, const uint8_t *data, uint64_t sz)
{
	*text = '\0';
	for (uint64_t i = 0; i < sz; i++)
		sprintf(text + 2 * i, "%02x", data[i]);
}

static void print_json(const struct evr_tap_message *m, const uint8_t *data, uint64_t sz, char *text)
{
	struct json_object *object = json_object_new_object();

	json_add_u64(object, "position", m->pos);
	json_add_u64(object, "size", m->sz);
	json_add_u64(object, "skipped", m->skipped);
	json_add_u64(object, "kind", m->kind);
	json_add_bool(object, "released", m->released);
	if (is_text(data, sz)) {
		json_object_object_add(object, "text",
				       json_object_new_string_len((const char *)data, (int)sz));
	} else {
		write_hex(text, data, sz);
		json_add_text(object, "hex", text);
	}
	json_write(stdout, object, false);
}

static void print_message(const struct evr_tap_message *m, const uint8_t *data, char *text)
{
	uint64_t sz = m->sz < shown_max ? m->sz : shown_max;

	if (raw) {
		fwrite(data, 1, sz, stdout);
	} else if (json) {
		print_json(m, data, sz, text);
	} else {
		bool plain = is_text(data, sz);

		(plain ? write_text : write_hex)(text, data, sz);
		if (m->skipped)
			printf("... %" PRIu64 " units missed\n", m->skipped);
		printf("%" PRIu64 "  %" PRIu64 "  %s%s%s%s\n", m->pos, m->sz, plain ? "\"" : "", text,
		       plain ? "\"" : "", sz < m->sz ? "..." : "");
	}
	fflush(stdout);
}

/* The clock of --seconds runs from when all is shown that was there: a ringful at most. */
struct clock {
	uint64_t capacity; /* of the ring, in units */
	uint64_t first; /* position; counts when has_first */
	uint64_t end;
	bool has_first, runs;
};

static bool is_over(struct clock *clock, const struct evr_tap_message *m, bool got)
{
	if (got && !clock->has_first)
		clock->first = m->pos;
	clock->has_first |= got;
	if (!clock->runs && (!got || m->pos - clock->first >= clock->capacity)) {
		clock->runs = true;
		clock->end = seconds > 0 ? evr_now_ns() + (uint64_t)(seconds * 1e9) :
					   EVR_NO_DEADLINE;
	}
	return clock->runs && evr_now_ns() >= clock->end;
}

static int follow(struct evr_tap *tap, uint64_t capacity)
{
	struct clock clock = { .capacity = capacity };
	uint8_t *data = malloc(shown_max);
	char *text = malloc(2 * shown_max + 1);
	struct evr_tap_message message;
	uint64_t messages = 0;
	int ret = data && text ? 0 : -ENOMEM;

	while (ret >= 0 && !signals_came() && !(count && messages == count) && !ferror(stdout)) {
		ret = evr_tap_next(tap, data, shown_max, &message);
		if (ret < 0)
			break;
		if (ret)
			print_message(&message, data, text);
		messages += (uint64_t)ret;
		if (is_over(&clock, &message, ret))
			break;
		if (!ret)
			signals_sleep(LOOK_SECONDS);
	}
	free(data);
	free(text);
	return ret < 0 ? ret : 0;
}

struct search {
	const char *name;
	struct evr_object found;
	struct evr_object_stat stat;
	struct evr_peer *peer;
	bool is_found;
};

/* In an isolated segment the half of who produces is the one with the messages. */
static int match(const struct evr_object *object, void *arg)
{
	struct search *search = arg;

	if (strcmp(object->name, search->name))
		return 0;
	if (search->is_found &&
	    (evr_object_stat(search->peer, object, &search->stat) || !search->stat.flows_nr ||
	     search->stat.flows[0].ends[EVR_PRODUCER].state != EVR_END_HELD))
		return 0;
	search->found = *object;
	search->is_found = true;
	return 0;
}

static int tap_ring(const struct observer *observer, const char *name)
{
	struct search search = { .name = name, .peer = observer->peer };
	struct evr_tap tap = { 0 };
	int err = evr_dir_walk(observer->peer, match, &search);

	if (err && err != -ENOSPC)
		return message_failed(observer->name, err);
	if (!search.is_found) {
		message("%s: there is no object '%s'; 'evering rings %s' shows what there is",
			observer->name, name, observer->name);
		return EXIT_FAILED;
	}
	err = evr_tap_open(&tap, observer->peer, &search.found,
			   only_new ? EVR_TAP_NEW : EVR_TAP_OLDEST);
	if (!err)
		err = evr_object_stat(observer->peer, &search.found, &search.stat);
	if (!err)
		err = follow(&tap, search.stat.flows[0].capacity);
	evr_tap_close(&tap);
	return err ? message_failed(name, err) : EXIT_OK;
}

static int run(int operands_nr, char **operands)
{
	struct observer observer;
	int status;

	(void)operands_nr;
	if (raw && json)
		return message_usage("--raw and --json exclude each other");
	status = observer_open(&observer, operands[0]);
	if (status)
		return status;
	signals_catch();
	status = tap_ring(&observer, operands[1]);
	observer_close(&observer);
	return status;
}

const struct command tap_command = {
	.name = "tap",
	.operands = "NAME OBJECT",
	.summary = "Show the messages that pass through a ring",
	.details = "Beside its consumer, which notices nothing; begins with what that has not released.\n"
		   "A line each: position, bytes, data. What was overwritten before it was seen is\n"
		   "counted. Rings of kind spsc, slots, bytes, log and bcast.\n",
	.options = options,
	.operands_min = 2,
	.operands_max = 2,
	.run = run,
};
