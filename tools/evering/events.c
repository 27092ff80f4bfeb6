// SPDX-License-Identifier: MIT
/* evering events: attachments, deaths and growth of a segment, as they happen. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <evering/evering.h>

#include "command.h"
#include "message.h"
#include "segment.h"
#include "signals.h"

static uint64_t count;
static double seconds;
static bool initial, json;

static const struct option_row options[] = {
	{ "count", 'n', OPTION_NUMBER, &count, "N", "end after N events (never)", 1, 0, NULL },
	{ "seconds", 't', OPTION_SECONDS, &seconds, "S", "end after S seconds (never)", 0, 0,
	  NULL },
	{ "initial", 'i', OPTION_FLAG, &initial, NULL, "begin with who is there already", 0, 0,
	  NULL },
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write a JSON object a line", 0, 0, NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

/* How long a signal may go unnoticed. */
#define LOOK_NS 200000000

/* What was last seen of the segment. */
struct watch {
	struct evr_peer *peer;
	struct evr_segment *segment;
	enum evr_backend backend;
	struct evr_peer_info seen[EVR_PEERS_MAX];
	uint64_t size;
	uint64_t events;
};

static bool is_over(const struct watch *watch)
{
	return signals_came() || (count && watch->events >= count);
}

static void print_stamp(struct json_object *object)
{
	struct timespec now;
	struct tm local;
	char text[32];

	clock_gettime(CLOCK_REALTIME, &now);
	if (object) {
		json_add_u64(object, "time_ns",
			     (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
		return;
	}
	localtime_r(&now.tv_sec, &local);
	strftime(text, sizeof(text), "%H:%M:%S", &local);
	printf("%s.%06ld  ", text, now.tv_nsec / 1000);
}

static void report_peer(struct watch *watch, const char *event, const struct evr_peer_info *info)
{
	char text[SEGMENT_TEXT_SZ];

	if (is_over(watch))
		return;
	watch->events++;
	if (json) {
		struct json_object *object = peer_to_json(info);

		json_add_text(object, "event", event);
		print_stamp(object);
		json_write(stdout, object, false);
		return;
	}
	print_stamp(NULL);
	printf("%-6s peer %u:%" PRIu64 "  pid %d  uid %u", event, info->id.slot,
	       info->id.incarnation, info->pid, info->uid);
	if (!strcmp(event, "death"))
		printf("  %s", peer_exit_text(text, info, watch->backend));
	printf("\n");
	fflush(stdout);
}

static void report_growth(struct watch *watch, uint64_t size)
{
	char from[FORMAT_SZ], to[FORMAT_SZ];

	if (is_over(watch))
		return;
	watch->events++;
	if (json) {
		struct json_object *object = json_object_new_object();

		json_add_text(object, "event", "growth");
		json_add_u64(object, "size_before", watch->size);
		json_add_u64(object, "size", size);
		print_stamp(object);
		json_write(stdout, object, false);
		return;
	}
	print_stamp(NULL);
	printf("growth from %s to %s\n", format_size(from, watch->size), format_size(to, size));
	fflush(stdout);
}

static bool has_ended(const struct evr_peer_info *info)
{
	return info->state == EVR_PEER_DYING || info->state == EVR_PEER_DEAD || info->exit_reason;
}

static bool is_same(const struct evr_peer_info *a, const struct evr_peer_info *b)
{
	return a->id.incarnation == b->id.incarnation;
}

/* One slot, from what was @seen there to what is there @now. */
static void compare_slot(struct watch *watch, const struct evr_peer_info *seen,
			 const struct evr_peer_info *now)
{
	bool was_there = seen->state == EVR_PEER_LIVE;
	bool is_there = now->state == EVR_PEER_LIVE || has_ended(now);

	if (was_there && !is_same(seen, now)) {
		/* It ended, was settled and followed by another before we looked. */
		struct evr_peer_info gone = *seen;

		gone.state = EVR_PEER_DEAD;
		report_peer(watch, "death", &gone);
		was_there = false;
	} else if (was_there && now->state != EVR_PEER_LIVE) {
		struct evr_peer_info gone = *seen;

		gone.state = now->state;
		gone.exit_reason = now->exit_reason;
		gone.exit_status = now->exit_status;
		report_peer(watch, "death", &gone);
		return;
	}
	if (was_there || !is_there || (is_same(seen, now) && seen->state != EVR_PEER_FREE))
		return;
	if (is_same(seen, now) && has_ended(seen))
		return;
	report_peer(watch, "attach", now);
	if (has_ended(now))
		report_peer(watch, "death", now);
}

/* Looks at everything once and tells what has changed since the last look. */
static int compare_all(struct watch *watch, bool silently)
{
	struct evr_peer_id self = evr_peer_self(watch->peer);
	struct evr_segment_info segment;
	int err = evr_segment_info(watch->segment, &segment);

	if (err)
		return err;
	for (uint32_t slot = 0; slot < segment.peers_max && slot < EVR_PEERS_MAX; slot++) {
		struct evr_peer_info now;

		err = evr_peer_info(watch->peer, slot, &now);
		if (err)
			return err;
		/* Half-dead is told when it is dead and its reason stands. */
		if (slot == self.slot || now.state == EVR_PEER_DYING)
			continue;
		/* At the first look: who is there, not who was in a slot that is free by now. */
		if (!silently && (watch->size || now.state != EVR_PEER_FREE))
			compare_slot(watch, &watch->seen[slot], &now);
		watch->seen[slot] = now;
	}
	/* What it was before the first look has not grown. */
	if (watch->size && segment.size != watch->size && !silently)
		report_growth(watch, segment.size);
	watch->size = segment.size;
	return 0;
}

static int follow(struct watch *watch)
{
	uint64_t end = seconds > 0 ? evr_now_ns() + (uint64_t)(seconds * 1e9) : EVR_NO_DEADLINE;
	int err = compare_all(watch, !initial);

	while (!err && !is_over(watch)) {
		struct evr_bells bells;
		uint64_t now = evr_now_ns();

		if (now >= end)
			return 0;
		/* A signal may come before the wait begins, and then does not interrupt it. */
		err = evr_bell_wait(watch->peer, 1ULL << EVR_BELL_PEER_EVENT,
				    end - now < LOOK_NS ? end : now + LOOK_NS, &bells);
		if (err == -EINTR || err == -ETIMEDOUT)
			err = 0;
		if (!err)
			err = compare_all(watch, false);
	}
	return err;
}

static int run(int operands_nr, char **operands)
{
	struct evr_peer_options attach = { .struct_sz = sizeof(attach),
					   .flags = EVR_PEER_OBSERVER };
	static struct watch watch;
	struct evr_uri uri;
	int err;

	(void)operands_nr;
	if (evr_uri_parse(operands[0], &uri))
		return message_usage("%s: %s", operands[0], evr_error_detail());
	err = evr_segment_open(&watch.segment, operands[0]);
	if (err)
		return message_failed(operands[0], err);
	watch.backend = uri.backend;
	signals_catch();
	err = evr_peer_attach(&watch.peer, watch.segment, &attach);
	if (!err)
		err = follow(&watch);
	if (err)
		err = message_failed(operands[0], err);
	evr_peer_detach(watch.peer);
	evr_segment_close(watch.segment);
	return err;
}

const struct command events_command = {
	.name = "events",
	.operands = "NAME",
	.summary = "Follow who attaches and who dies",
	.details =
		"Takes a slot of the segment as an observer. Ends with --count, --seconds or a signal.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run,
};
