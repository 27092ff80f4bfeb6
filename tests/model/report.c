/* SPDX-License-Identifier: MIT */
/* What a failure looks like: the choices to replay it, and every step with its place in the source. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "world.h"

#define PLACES_MAX 512
#define PLACE_SZ 96

extern const char __executable_start[];

/* Return addresses and what addr2line says of them. */
static struct {
	const void *site;
	char text[PLACE_SZ];
} places[PLACES_MAX];
static uint32_t places_nr;
static uint32_t line;

const char *mode_name(enum model_mode mode)
{
	static const char *const names[] = { "sc", "tso", "pso", "weak" };

	return names[mode];
}

/* file.c:12 function, of the call before a return address; the door itself is passed over. */
static void place_find(const void *site, char *text)
{
	char command[256], function[128] = "", where[512] = "";
	const char *file;
	FILE *out;

	snprintf(command, sizeof(command), "exec addr2line -i -f -e /proc/%d/exe %#lx 2>/dev/null",
		 (int)getpid(), (unsigned long)((const char *)site - 1 - __executable_start));
	out = popen(command, "r");
	if (!out)
		return;
	while (fscanf(out, "%127s %511[^\n]", function, where) == 2) {
		file = strrchr(where, '/') ? strrchr(where, '/') + 1 : where;
		snprintf(text, PLACE_SZ, "%.*s %s", (int)strcspn(file, " "), file, function);
		if (strncmp(file, "door.h", 6) != 0)
			break;
	}
	pclose(out);
}

static const char *place_of(const void *site)
{
	uint32_t i;

	for (i = 0; i < places_nr; i++)
		if (places[i].site == site)
			return places[i].text;
	if (places_nr == PLACES_MAX)
		return "";
	places[places_nr].site = site;
	place_find(site, places[places_nr].text);
	return places[places_nr++].text;
}

static void print_address(const void *at)
{
	uint32_t off = (uint32_t)((uintptr_t)at - (uintptr_t)world.segment), i;

	if (!at || !in_segment(at))
		return;
	for (i = 0; i < engine.names_nr; i++) {
		if (off < engine.names[i].off || off >= engine.names[i].off + engine.names[i].sz)
			continue;
		printf("  %s", engine.names[i].name);
		if (off != engine.names[i].off)
			printf("+%u", off - engine.names[i].off);
		return;
	}
	printf("  segment+%#x", off);
}

static void print_head(void)
{
	printf("# %4u %-10s ", ++line,
	       world.current < engine.procs_nr ? engine.scenario->procs[world.current].name : "-");
}

void trace(const void *site, const void *at, const char *fmt, ...)
{
	va_list args;

	if (engine.quiet)
		return;
	print_head();
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	print_address(at);
	printf("\t\t[%s]\n", place_of(site));
}

void model_note(const char *fmt, ...)
{
	va_list args;

	if (!engine.tracing)
		return;
	print_head();
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
}

#define LIST_SZ (16 * CHOICES_MAX)

void report_failure(void)
{
	static char failure[sizeof(engine.failure)], list[LIST_SZ];
	char *at = list;
	uint32_t i;

	memcpy(failure, engine.failure, sizeof(failure));
	for (i = 0; i < engine.choices_nr; i++)
		if (engine.choices[i])
			at += sprintf(at, "%s%u:%u", at == list ? "" : ",", engine.ticks[i],
				      engine.choices[i]);
	if (at == list)
		strcpy(list, "0:0");
	printf("# %s: %s\n", engine.scenario->name, failure);
	printf("# after %llu executions; to see it again:\n",
	       (unsigned long long)engine.executions);
	printf("# explore --scenario %s --mode %s --preemptions %u --crashes %u --delays %u --replay %s\n",
	       engine.scenario->name, mode_name(engine.bounds.mode), engine.bounds.preemptions,
	       engine.bounds.crashes, engine.bounds.delays, list);
	line = 0;
	model_replay(list);
	if (strcmp(failure, engine.failure))
		printf("# the replay differs: %s\n", engine.failed ? engine.failure : "it passes");
	engine.failed = true;
}

void model_name(const void *at, size_t sz, const char *name)
{
	if (engine.names_nr == NAMES_MAX || !in_segment(at))
		return;
	engine.names[engine.names_nr].off = (uint32_t)((uintptr_t)at - (uintptr_t)world.segment);
	engine.names[engine.names_nr].sz = (uint32_t)sz;
	engine.names[engine.names_nr++].name = name;
}

void model_name_lane(const struct evr_lane *lane)
{
	static const char *const names[2][2][3] = {
		{ { "producer.pos", "producer.need", "producer.counts" },
		  { "consumer.pos", "consumer.need", "consumer.counts" } },
		{ { "consumer.pos", "consumer.need", "consumer.counts" },
		  { "producer.pos", "producer.need", "producer.counts" } },
	};
	const struct evr_lane_side *sides[2] = { lane->mine, lane->other };
	int i;

	for (i = 0; i < 2; i++) {
		model_name(&sides[i]->pos, EVR_LINE_SZ, names[lane->role][i][0]);
		model_name(&sides[i]->need, EVR_LINE_SZ, names[lane->role][i][1]);
		model_name(&sides[i]->counts, EVR_LINE_SZ, names[lane->role][i][2]);
	}
	model_name(lane->data, lane->geometry.data_sz, "data");
	model_name(lane->owner, 8, lane->role ? "consumer.owner" : "producer.owner");
	model_name(lane->other_owner, 8, lane->role ? "producer.owner" : "consumer.owner");
}

void model_guard(const void *at, size_t sz)
{
	if (engine.guards_nr == sizeof(engine.guards) / sizeof(engine.guards[0]))
		model_fail("too many guards");
	engine.guards[engine.guards_nr].off = (uint32_t)((uintptr_t)at - (uintptr_t)world.segment);
	engine.guards[engine.guards_nr++].sz = (uint32_t)sz;
}
