// SPDX-License-Identifier: MIT
/* evering create: a new segment with a name. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <evering/evering.h>

#include "command.h"
#include "format.h"
#include "message.h"
#include "segment.h"

#define SHARED_SZ_DEFAULT (64ULL << 20)
#define PEER_SZ_DEFAULT (4ULL << 20)
#define PEERS_DEFAULT 16

static uint64_t size = SHARED_SZ_DEFAULT, peer_size, peers = PEERS_DEFAULT, mode, node;
static bool size_given, peer_size_given, mode_given, node_given;
static bool isolated, contiguous, keep, hold, json;
static const char *uid_text, *gid_text, *backing_text;

static const struct option_row options[] = {
	{ "size", 's', OPTION_SIZE, &size, "SIZE", "memory that all may write (64M)", 1, 0,
	  &size_given },
	{ "peers", 'p', OPTION_NUMBER, &peers, "N", "slots for peers (16)", 1, EVR_PEERS_MAX,
	  NULL },
	{ "peer-size", 'P', OPTION_SIZE, &peer_size, "SIZE",
	  "a region for each peer that it alone writes (none; 4M with --isolated)", 1, 0, &peer_size_given },
	{ "isolated", 'i', OPTION_FLAG, &isolated, NULL,
	  "for hostile peers: no shared memory, regions only", 0, 0, NULL },
	{ "contiguous", 'c', OPTION_FLAG, &contiguous, NULL,
	  "one physically contiguous run, or fail", 0, 0, NULL },
	{ "backing", 'B', OPTION_TEXT, &backing_text, "KIND",
	  "pages, or shmem: for io_uring fixed buffers before Linux 6.5 (pages)", 0, 0, NULL },
	{ "mode", 'm', OPTION_MODE, &mode, "OCTAL", "who may open it: r observes, w writes (0600)",
	  0, 0, &mode_given },
	{ "uid", 'u', OPTION_TEXT, &uid_text, "USER", "owner, a name or a number (you)", 0, 0,
	  NULL },
	{ "gid", 'g', OPTION_TEXT, &gid_text, "GROUP", "group, a name or a number (yours)", 0, 0,
	  NULL },
	{ "node", 'n', OPTION_NUMBER, &node, "N", "NUMA node (any)", 0, 1023, &node_given },
	{ "keep", 'k', OPTION_FLAG, &keep, NULL, "stay until 'evering rm' (what it does anyway)", 0,
	  0, NULL },
	{ "hold", 'H', OPTION_FLAG, &hold, NULL, "stay only as long as this command runs", 0, 0,
	  NULL },
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write JSON", 0, 0, NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

static int find_user(uint32_t *uid)
{
	struct passwd *user;
	uint64_t number;

	*uid = geteuid();
	if (!uid_text)
		return 0;
	if (!format_parse_number(uid_text, &number) && number < ~0U) {
		*uid = (uint32_t)number;
		return 0;
	}
	user = getpwnam(uid_text);
	if (!user)
		return message_usage("--uid: there is no user '%s'", uid_text);
	*uid = user->pw_uid;
	return 0;
}

static int find_group(uint32_t *gid)
{
	struct group *group;
	uint64_t number;

	*gid = getegid();
	if (!gid_text)
		return 0;
	if (!format_parse_number(gid_text, &number) && number < ~0U) {
		*gid = (uint32_t)number;
		return 0;
	}
	group = getgrnam(gid_text);
	if (!group)
		return message_usage("--gid: there is no group '%s'", gid_text);
	*gid = group->gr_gid;
	return 0;
}

static int find_backing(uint32_t *backing)
{
	*backing = EVR_BACKING_PAGES;
	if (!backing_text)
		return 0;
	for (; *backing <= EVR_BACKING_SHMEM; ++*backing)
		if (!strcmp(backing_text, evr_backing_name(*backing)))
			return 0;
	return message_usage("--backing: '%s' is neither pages nor shmem", backing_text);
}

static int fill_options(struct evr_segment_options *wanted)
{
	if (isolated && size_given)
		return message_usage(
			"--isolated: an isolated segment has no shared memory; leave --size out");
	if (hold && keep)
		return message_usage("--hold and --keep exclude each other");
	*wanted = (struct evr_segment_options){
		.struct_sz = sizeof(*wanted),
		.shared_sz = isolated ? 0 : size,
		.peer_sz = isolated && !peer_size_given ? PEER_SZ_DEFAULT : peer_size,
		.peers_max = (uint32_t)peers,
		.node = (int32_t)node,
		.node_set = node_given,
		.mode = (uint32_t)mode,
		.mode_set = mode_given,
		.owner_set = uid_text || gid_text,
	};
	wanted->flags = (isolated ? EVR_SEGMENT_ISOLATED : 0) |
			(contiguous ? EVR_SEGMENT_CONTIGUOUS : 0) | (hold ? 0 : EVR_SEGMENT_KEEP);
	if (find_user(&wanted->uid) || find_group(&wanted->gid) || find_backing(&wanted->backing))
		return EXIT_USAGE;
	return 0;
}

static void print_created(const struct evr_segment_info *info)
{
	char uri[SEGMENT_TEXT_SZ], kind[SEGMENT_TEXT_SZ], bytes[FORMAT_SZ];

	if (json) {
		json_write(stdout, segment_to_json(info), true);
		return;
	}
	printf("%s: %s, %s, %u peers, ", segment_uri_text(uri, info),
	       format_size(bytes, info->bytes), segment_kind_text(kind, info), info->peers_max);
	if (info->extents)
		printf("%u extent%s\n", info->extents, info->extents == 1 ? "" : "s");
	else
		printf("not contiguous\n");
	fflush(stdout);
}

/* The signals that end the command, taken one at a time in hold_until_signal(). */
static void block_signals(sigset_t *ends)
{
	sigemptyset(ends);
	sigaddset(ends, SIGINT);
	sigaddset(ends, SIGTERM);
	sigaddset(ends, SIGHUP);
	sigprocmask(SIG_BLOCK, ends, NULL);
}

static int hold_until_signal(const char *name, const sigset_t *ends)
{
	int err, number;

	sigwait(ends, &number);
	err = evr_segment_remove(name);
	return err && err != -ENOENT ? message_failed(name, err) : EXIT_OK;
}

static int run(int operands_nr, char **operands)
{
	struct evr_segment_options wanted;
	struct evr_segment_info info;
	struct evr_segment *segment;
	const char *name = operands[0];
	struct evr_uri uri;
	sigset_t ends;
	int err;

	(void)operands_nr;
	if (evr_uri_parse(name, &uri))
		return message_usage("%s: %s", name, evr_error_detail());
	if (!uri.name[0])
		return message_usage("%s: the name is missing after the colon", name);
	if (fill_options(&wanted))
		return EXIT_USAGE;
	if (hold)
		block_signals(&ends);
	err = evr_segment_create(&segment, name, &wanted);
	if (err)
		return message_failed(name, err);
	err = evr_segment_info(segment, &info);
	if (err)
		err = message_failed(name, err);
	else
		print_created(&info);
	if (!err && hold)
		err = hold_until_signal(name, &ends);
	evr_segment_close(segment);
	return err;
}

const struct command create_command = {
	.name = "create",
	.operands = "NAME",
	.summary = "Create a segment",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run,
};
