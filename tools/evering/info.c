// SPDX-License-Identifier: MIT
/* evering info: one segment in full. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <evering/evering.h>

#include "command.h"
#include "format.h"
#include "message.h"
#include "segment.h"

static bool json;

static const struct option_row options[] = {
	{ "json", 'j', OPTION_FLAG, &json, NULL, "write JSON", 0, 0, NULL },
	{ NULL, 0, OPTION_FLAG, NULL, NULL, NULL, 0, 0, NULL },
};

/* The contiguous runs, where the backend knows them: how many, and in @extents, which the caller frees. */
static int get_extents(const struct evr_segment *segment, struct evr_extent **extents)
{
	int nr = evr_segment_extents(segment, NULL, 0);

	*extents = NULL;
	if (nr <= 0)
		return nr;
	*extents = calloc((size_t)nr, sizeof(**extents));
	if (!*extents)
		return -ENOMEM;
	return evr_segment_extents(segment, *extents, (uint32_t)nr);
}

static void print_extents(const struct evr_extent *extents, int nr)
{
	for (int i = 0; i < nr; i++) {
		char size[FORMAT_SZ];

		printf("  extent %-4d  offset 0x%09" PRIx64 "  %10s  node %d", i, extents[i].off,
		       format_size(size, extents[i].sz), extents[i].node);
		if (extents[i].phys)
			printf("  physical 0x%" PRIx64, extents[i].phys);
		printf("\n");
	}
}

static struct json_object *extents_to_json(const struct evr_extent *extents, int nr)
{
	struct json_object *list = json_object_new_array();

	for (int i = 0; i < nr; i++) {
		struct json_object *object = json_object_new_object();

		json_add_u64(object, "offset", extents[i].off);
		json_add_u64(object, "size", extents[i].sz);
		json_add_int(object, "node", extents[i].node);
		if (extents[i].phys)
			json_add_u64(object, "physical", extents[i].phys);
		json_object_array_add(list, object);
	}
	return list;
}

static void print_region(const char *name, uint64_t off, uint64_t sz)
{
	char size[FORMAT_SZ];

	printf("  %-11s  offset 0x%09" PRIx64 "  %10s\n", name, off, format_size(size, sz));
}

static void print_info(const struct evr_segment_info *info)
{
	char text[SEGMENT_TEXT_SZ], bytes[FORMAT_SZ], age[FORMAT_SZ];

	printf("%s\n", segment_uri_text(text, info));
	printf("  id           %" PRIu64 "\n", info->segment_id);
	printf("  memory       %s, %s\n", format_size(bytes, info->bytes),
	       segment_kind_text(text, info));
	printf("  peers        %u of %u\n", info->peers, info->peers_max);
	printf("  owner        uid %u, gid %u, mode %04o; made by uid %u\n", info->owner_uid,
	       info->owner_gid, info->mode, info->uid);
	printf("  your rights  %s\n", segment_rights_text(text, info->rights));
	printf("  stays        %s\n",
	       info->keep ? "until 'evering rm'" : "as long as somebody uses it");
	if (info->created_ns)
		printf("  age          %s\n", format_age(age, segment_age_ns(info->created_ns)));
	if (info->shared_sz)
		print_region("shared", info->shared_off, info->shared_sz);
	if (info->peer_sz)
		print_region("peer region", info->peers_off, info->peer_sz);
	if (info->grown_off < info->size)
		print_region("grown", info->grown_off, info->size - info->grown_off);
}

static int show(const char *name, const struct evr_segment *segment)
{
	struct evr_segment_info info;
	struct evr_extent *extents;
	int err, nr;

	err = evr_segment_info(segment, &info);
	if (err)
		return message_failed(name, err);
	nr = get_extents(segment, &extents);
	if (nr < 0 && nr != -EOPNOTSUPP)
		return message_failed(name, nr);
	if (json) {
		struct json_object *object = segment_to_json(&info);

		if (nr >= 0)
			json_object_object_add(object, "extent_list", extents_to_json(extents, nr));
		json_write(stdout, object, true);
	} else {
		print_info(&info);
		print_extents(extents, nr);
	}
	free(extents);
	return EXIT_OK;
}

static int run(int operands_nr, char **operands)
{
	struct evr_segment *segment;
	struct evr_uri uri;
	int status, err;

	(void)operands_nr;
	if (evr_uri_parse(operands[0], &uri))
		return message_usage("%s: %s", operands[0], evr_error_detail());
	err = evr_segment_open(&segment, operands[0]);
	if (err)
		return message_failed(operands[0], err);
	status = show(operands[0], segment);
	evr_segment_close(segment);
	return status;
}

const struct command info_command = {
	.name = "info",
	.operands = "NAME",
	.summary = "Show a segment in full",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = run,
};
