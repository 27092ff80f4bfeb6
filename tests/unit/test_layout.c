/* SPDX-License-Identifier: MIT */
/*
 * Headers of segments: a good one is taken, each field that is wrong is named.
 *
 * Seen to fail: tests/unit/controls, layout-overlap.
 */
#include "child.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <evering/error.h>
#include <evering/uapi.h>

#include "layout.h"

#define BLOCK ((uint64_t)EVERING_BLOCK_SIZE)
#define PAGE 4096u
#define ENTRIES_OFF 256
#define ENTRY_SZ 64

static const struct evr_layout_rule rule = {
	.magic = EVERING_STATUS_MAGIC,
	.version = 1,
	.entry_sz = ENTRY_SZ,
	.file_sz = 5 * BLOCK,
};

/* One shared block, a page for each of 4 peers, grown once. */
static struct evering_status_header good_header(void)
{
	return (struct evering_status_header){
		.magic = EVERING_STATUS_MAGIC,
		.abi_version = 1,
		.segment_id = 77,
		.segment_size = 4 * BLOCK,
		.shared_offset = BLOCK,
		.shared_size = BLOCK,
		.peers_offset = 2 * BLOCK,
		.peer_size = PAGE,
		.grown_offset = 3 * BLOCK,
		.peers_max = 4,
		.entries_offset = ENTRIES_OFF,
		.entry_size = ENTRY_SZ,
	};
}

static void layout_of_a_good_header_is_copied(void **state)
{
	struct evering_status_header header = good_header();
	struct evr_layout layout;

	memset(&layout, 0x5a, sizeof(layout));
	OK(evr_layout_read(&layout, &header, &rule));
	EQ(layout.segment_id, 77);
	EQ(layout.segment_sz, 4 * BLOCK);
	EQ(layout.status_sz, PAGE);
	EQ(layout.shared_off, BLOCK);
	EQ(layout.shared_sz, BLOCK);
	EQ(layout.peers_off, 2 * BLOCK);
	EQ(layout.peer_sz, PAGE);
	EQ(layout.grown_off, 3 * BLOCK);
	EQ(layout.flags, 0);
	EQ(layout.peers_max, 4);
	EQ(layout.entries_off, ENTRIES_OFF);
	EQ(layout.entry_sz, ENTRY_SZ);
	EQ(evr_layout_region(&layout, 3), 2 * BLOCK + 3 * PAGE);
}

/* One field with one value: which error, and what the detail says. */
struct wrong {
	const char *field;
	size_t offset;
	size_t sz;
	uint64_t value;
	int err;
};

#define WRONG(name, bad, error)                                                           \
	{                                                                                 \
#name, offsetof(struct evering_status_header, name),                      \
			sizeof(((struct evering_status_header *)0)->name), (bad), (error) \
	}

static void check_wrong(const struct wrong *wrong)
{
	struct evering_status_header header = good_header();
	struct evr_layout layout;
	char text[64];

	memcpy((char *)&header + wrong->offset, &wrong->value, wrong->sz);
	EQ(evr_layout_read(&layout, &header, &rule), wrong->err);
	snprintf(text, sizeof(text), "segment header: %s is ", wrong->field);
	DETAIL(text);
}

static void layout_with_one_wrong_field_names_it(void **state)
{
	static const struct wrong wrongs[] = {
		WRONG(magic, 0, -EBADMSG),
		WRONG(magic, EVERING_STATUS_MAGIC + 1, -EBADMSG),
		WRONG(abi_version, 0, -EPROTO),
		WRONG(abi_version, 2, -EPROTO),
		WRONG(flags, EVERING_SEGMENT_F_ALL + 1, -EBADMSG),
		WRONG(segment_id, 0, -EBADMSG),
		WRONG(segment_size, 3 * BLOCK - PAGE, -EBADMSG),
		WRONG(segment_size, 4 * BLOCK + 1, -EBADMSG),
		WRONG(segment_size, 5 * BLOCK + PAGE, -EBADMSG),
		WRONG(segment_size, ~0ull, -EBADMSG),
		WRONG(segment_size, ~0ull << 12, -EBADMSG),
		WRONG(shared_offset, 0, -EBADMSG),
		WRONG(shared_offset, BLOCK + 1, -EBADMSG),
		WRONG(shared_offset, ~0ull << 12, -EBADMSG),
		WRONG(shared_size, BLOCK - 1, -EBADMSG),
		WRONG(shared_size, ~0ull << 12, -EBADMSG),
		WRONG(peers_offset, 2 * BLOCK - PAGE, -EBADMSG),
		WRONG(peers_offset, 2 * BLOCK + 1, -EBADMSG),
		WRONG(peers_offset, ~0ull << 12, -EBADMSG),
		WRONG(peer_size, PAGE + 1, -EBADMSG),
		WRONG(peer_size, 1ull << 49, -EBADMSG),
		WRONG(peer_size, ~0ull << 12, -EBADMSG),
		WRONG(grown_offset, 2 * BLOCK, -EBADMSG),
		WRONG(grown_offset, 3 * BLOCK + 1, -EBADMSG),
		WRONG(grown_offset, ~0ull << 12, -EBADMSG),
		WRONG(peers_max, 0, -EBADMSG),
		WRONG(peers_max, 257, -EBADMSG),
		WRONG(peers_max, ~0u, -EBADMSG),
		WRONG(entries_offset, 0, -EBADMSG),
		WRONG(entries_offset, sizeof(struct evering_status_header) - 64, -EBADMSG),
		WRONG(entries_offset, ENTRIES_OFF + 1, -EBADMSG),
		WRONG(entry_size, 0, -EBADMSG),
		WRONG(entry_size, ENTRY_SZ - 1, -EBADMSG),
		WRONG(entry_size, ENTRY_SZ + 1, -EBADMSG),
	};
	size_t i;

	for (i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++)
		check_wrong(&wrongs[i]);
}

/* Fields that are right one by one and impossible together. */
static void layout_whose_parts_overlap_names_the_second(void **state)
{
	struct evering_status_header header = good_header();
	struct evr_layout layout;

	header.entries_offset = (uint32_t)BLOCK;
	EQ(evr_layout_read(&layout, &header, &rule), -EBADMSG);
	DETAIL("shared_offset is");
	header = good_header();
	header.entry_size = ~0u - 63;
	EQ(evr_layout_read(&layout, &header, &rule), -EBADMSG);
	DETAIL("shared_offset is");
	header = good_header();
	header.shared_size = 2 * BLOCK;
	EQ(evr_layout_read(&layout, &header, &rule), -EBADMSG);
	DETAIL("peers_offset is");
	header = good_header();
	header.peer_size = BLOCK / 4 + PAGE;
	EQ(evr_layout_read(&layout, &header, &rule), -EBADMSG);
	DETAIL("grown_offset is");
	header = good_header();
	header.flags = EVERING_SEGMENT_F_ISOLATED;
	EQ(evr_layout_read(&layout, &header, &rule), -EBADMSG);
	DETAIL("shared_size is");
}

static void layout_limits_are_taken(void **state)
{
	struct evering_status_header header = good_header();
	struct evr_layout layout;

	header.segment_size = 5 * BLOCK;
	OK(evr_layout_read(&layout, &header, &rule));
	header.segment_size = 3 * BLOCK;
	OK(evr_layout_read(&layout, &header, &rule));
	header.peers_max = 256;
	OK(evr_layout_read(&layout, &header, &rule));
	EQ(layout.status_sz, 5 * PAGE);
	header.peers_max = 1;
	header.peer_size = 0;
	OK(evr_layout_read(&layout, &header, &rule));
	header.flags = EVERING_SEGMENT_F_ISOLATED;
	header.shared_size = 0;
	OK(evr_layout_read(&layout, &header, &rule));
	header.entry_size = ENTRY_SZ * 2;
	OK(evr_layout_read(&layout, &header, &rule));
	EQ(layout.entry_sz, ENTRY_SZ * 2);
}

/* A small segment that has not grown ends before a block does. */
static void layout_grown_offset_is_where_growth_will_start(void **state)
{
	struct evering_status_header header = good_header();
	struct evr_layout layout;

	header.grown_offset = header.segment_size = 2 * BLOCK + 4 * PAGE;
	OK(evr_layout_read(&layout, &header, &rule));
	EQ(layout.grown_off, 3 * BLOCK);
	EQ(layout.segment_sz, 2 * BLOCK + 4 * PAGE);
}

static void layout_that_changed_since_it_was_read_is_told(void **state)
{
	struct evering_status_header header = good_header();
	struct evr_layout before, now;

	OK(evr_layout_read(&before, &header, &rule));
	now = before;
	OK(evr_layout_same(&before, &now));
	now.segment_sz += BLOCK;
	OK(evr_layout_same(&before, &now));
	now.segment_sz = before.segment_sz - PAGE;
	EQ(evr_layout_same(&before, &now), -EBADMSG);
	DETAIL("segment_size");
#define CHANGED(member, name)                                 \
	do {                                                  \
		now = before;                                 \
		now.member++;                                 \
		EQ(evr_layout_same(&before, &now), -EBADMSG); \
		DETAIL(name);                                 \
	} while (0)
	CHANGED(flags, "flags");
	CHANGED(segment_id, "segment_id");
	CHANGED(shared_off, "shared_offset");
	CHANGED(shared_sz, "shared_size");
	CHANGED(peers_off, "peers_offset");
	CHANGED(peer_sz, "peer_size");
	CHANGED(grown_off, "grown_offset");
	CHANGED(peers_max, "peers_max");
	CHANGED(entries_off, "entries_offset");
	CHANGED(entry_sz, "entry_size");
#undef CHANGED
}

static void layout_planned_is_one_that_is_read(void **state)
{
	static const uint64_t shared[] = { 0, PAGE, BLOCK - PAGE, BLOCK, BLOCK + PAGE };
	struct evr_layout plan = { .segment_id = 1 }, layout;
	struct evr_layout_rule no_limit = rule;
	uint32_t peers, i;

	no_limit.file_sz = UINT64_MAX;
	for (i = 0; i < 5; i++)
		for (peers = 1; peers <= 256; peers += 51) {
			struct evering_status_header header = good_header();

			plan.shared_sz = shared[i];
			plan.peer_sz = (i + 1) * PAGE;
			plan.peers_max = peers;
			evr_layout_plan(&plan, 512, 384);
			header.segment_id = plan.segment_id;
			header.segment_size = plan.segment_sz;
			header.shared_offset = plan.shared_off;
			header.shared_size = plan.shared_sz;
			header.peers_offset = plan.peers_off;
			header.peer_size = plan.peer_sz;
			header.grown_offset = plan.grown_off;
			header.peers_max = plan.peers_max;
			header.entries_offset = plan.entries_off;
			header.entry_size = plan.entry_sz;
			OK(evr_layout_read(&layout, &header, &no_limit));
			assert_memory_equal(&layout, &plan, sizeof(plan));
		}
}

int main(void)
{
	static const struct CMUnitTest layout_tests[] = {
		cmocka_unit_test(layout_of_a_good_header_is_copied),
		cmocka_unit_test(layout_with_one_wrong_field_names_it),
		cmocka_unit_test(layout_whose_parts_overlap_names_the_second),
		cmocka_unit_test(layout_limits_are_taken),
		cmocka_unit_test(layout_grown_offset_is_where_growth_will_start),
		cmocka_unit_test(layout_that_changed_since_it_was_read_is_told),
		cmocka_unit_test(layout_planned_is_one_that_is_read),
	};

	return cmocka_run_group_tests(layout_tests, NULL, NULL);
}
