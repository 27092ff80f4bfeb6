/* SPDX-License-Identifier: MIT */
/*
 * Reading a segment header: every word is loaded once, checked against the others
 * and copied; what a peer changes afterwards is never looked at again.
 */
#include "layout.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <evering/atomic.h>
#include <evering/uapi.h>

#include "internal.h"

#define HEADER_SZ ((uint64_t)sizeof(struct evering_status_header))

/* No segment reaches it, and sums of a few of such numbers do not wrap. */
#define SEGMENT_SZ_MAX ((uint64_t)1 << 56)

#define WORD32(header, field)                                     \
	evr_a32_load_relaxed(                                     \
		(const struct evr_a32 *)((const char *)(header) + \
					 offsetof(struct evering_status_header, field)))
#define WORD64(header, field)                                     \
	evr_a64_load_relaxed(                                     \
		(const struct evr_a64 *)((const char *)(header) + \
					 offsetof(struct evering_status_header, field)))

uint64_t evr_layout_page_size(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

static int wrong(const char *field, uint64_t value, const char *expected, uint64_t limit)
{
	return evr_fail(-EBADMSG,
			"segment header: %s is %" PRIu64 " (%#" PRIx64 "), expected %s %" PRIu64
			" (%#" PRIx64 "); it was overwritten or is no segment",
			field, value, value, expected, limit, limit);
}

static int check_aligned(const char *field, uint64_t value)
{
	uint64_t page = evr_layout_page_size();

	if (value % page)
		return wrong(field, value, "a multiple of", page);
	if (value > SEGMENT_SZ_MAX)
		return wrong(field, value, "at most", SEGMENT_SZ_MAX);
	return 0;
}

static int check_identity(const void *header, const struct evr_layout_rule *rule,
			  struct evr_layout *out)
{
	uint64_t magic = WORD64(header, magic);
	uint32_t version = WORD32(header, abi_version);

	if (magic != rule->magic)
		return evr_fail(-EBADMSG,
				"segment header: magic is %#" PRIx64 ", expected %#" PRIx64
				"; this is no evering segment",
				magic, rule->magic);
	if (version != rule->version)
		return evr_fail(-EPROTO,
				"segment header: abi_version is %u, this library knows %u; "
				"use a library of the same version as the segment's maker",
				version, rule->version);
	out->flags = WORD32(header, flags);
	if (out->flags & ~EVERING_SEGMENT_F_ALL)
		return wrong("flags", out->flags, "bits within", EVERING_SEGMENT_F_ALL);
	out->segment_id = WORD64(header, segment_id);
	if (!out->segment_id)
		return wrong("segment_id", 0, "at least", 1);
	return 0;
}

/* The table of slots: where, how many, how large; gives the size of the status area. */
static int check_entries(const void *header, const struct evr_layout_rule *rule,
			 struct evr_layout *out)
{
	uint64_t page = evr_layout_page_size();

	out->peers_max = WORD32(header, peers_max);
	out->entries_off = WORD32(header, entries_offset);
	out->entry_sz = WORD32(header, entry_size);
	if (out->peers_max < 1)
		return wrong("peers_max", out->peers_max, "at least", 1);
	if (out->peers_max > EVERING_PEERS_MAX)
		return wrong("peers_max", out->peers_max, "at most", EVERING_PEERS_MAX);
	if (out->entries_off < HEADER_SZ)
		return wrong("entries_offset", out->entries_off, "at least", HEADER_SZ);
	if (out->entries_off % 64)
		return wrong("entries_offset", out->entries_off, "a multiple of", 64);
	if (out->entry_sz < rule->entry_sz)
		return wrong("entry_size", out->entry_sz, "at least", rule->entry_sz);
	if (out->entry_sz % 64)
		return wrong("entry_size", out->entry_sz, "a multiple of", 64);
	out->status_sz = EVR_ROUND_UP(
		(uint64_t)out->entries_off + (uint64_t)out->peers_max * out->entry_sz, page);
	return 0;
}

static int check_regions(const void *header, const struct evr_layout_rule *rule,
			 struct evr_layout *out)
{
	uint64_t end;
	int err;

	out->shared_off = WORD64(header, shared_offset);
	out->shared_sz = WORD64(header, shared_size);
	out->peers_off = WORD64(header, peers_offset);
	out->peer_sz = WORD64(header, peer_size);
	out->grown_off = WORD64(header, grown_offset);
	if ((err = check_aligned("shared_offset", out->shared_off)) ||
	    (err = check_aligned("shared_size", out->shared_sz)) ||
	    (err = check_aligned("peers_offset", out->peers_off)) ||
	    (err = check_aligned("peer_size", out->peer_sz)) ||
	    (err = check_aligned("grown_offset", out->grown_off)))
		return err;
	if (out->shared_off < out->status_sz)
		return wrong("shared_offset", out->shared_off, "at least", out->status_sz);
	if ((out->flags & EVERING_SEGMENT_F_ISOLATED) && out->shared_sz)
		return wrong("shared_size", out->shared_sz, "for an isolated segment", 0);
	end = out->shared_off + out->shared_sz;
	if (out->peers_off < end)
		return wrong("peers_offset", out->peers_off, "at least", end);
	if (out->peer_sz > SEGMENT_SZ_MAX / EVERING_PEERS_MAX)
		return wrong("peer_size", out->peer_sz, "at most",
			     SEGMENT_SZ_MAX / EVERING_PEERS_MAX);
	end = evr_layout_region(out, out->peers_max);
	if (out->grown_off < end)
		return wrong("grown_offset", out->grown_off, "at least", end);
	/* GROW: pairs with whoever appends; what lies below the size is there. */
	out->segment_sz = evr_a64_load_acquire(
		(const struct evr_a64 *)((const char *)header +
					 offsetof(struct evering_status_header, segment_size)));
	if ((err = check_aligned("segment_size", out->segment_sz)))
		return err;
	if (out->segment_sz < out->grown_off)
		return wrong("segment_size", out->segment_sz, "at least", out->grown_off);
	/* Before the first growth it is the end of the data; growth starts at a block. */
	out->grown_off = EVR_ROUND_UP(out->grown_off, (uint64_t)EVERING_BLOCK_SIZE);
	if (out->segment_sz > rule->file_sz)
		return wrong("segment_size", out->segment_sz, "at most the file's", rule->file_sz);
	return 0;
}

int evr_layout_read(struct evr_layout *out, const void *header, const struct evr_layout_rule *rule)
{
	int err;

	if ((err = check_identity(header, rule, out)) || (err = check_entries(header, rule, out)) ||
	    (err = check_regions(header, rule, out)))
		return err;
	return 0;
}

int evr_layout_same(const struct evr_layout *before, const struct evr_layout *now)
{
	const struct {
		const char *field;
		uint64_t was, is;
	} words[] = {
		{ "flags", before->flags, now->flags },
		{ "segment_id", before->segment_id, now->segment_id },
		{ "shared_offset", before->shared_off, now->shared_off },
		{ "shared_size", before->shared_sz, now->shared_sz },
		{ "peers_offset", before->peers_off, now->peers_off },
		{ "peer_size", before->peer_sz, now->peer_sz },
		{ "grown_offset", before->grown_off, now->grown_off },
		{ "peers_max", before->peers_max, now->peers_max },
		{ "entries_offset", before->entries_off, now->entries_off },
		{ "entry_size", before->entry_sz, now->entry_sz },
	};
	size_t i;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (words[i].was != words[i].is)
			return wrong(words[i].field, words[i].is, "as when it was opened",
				     words[i].was);
	if (now->segment_sz < before->segment_sz)
		return wrong("segment_size", now->segment_sz, "at least", before->segment_sz);
	return 0;
}

void evr_layout_plan(struct evr_layout *out, uint32_t entries_off, uint32_t entry_sz)
{
	uint64_t page = evr_layout_page_size();

	out->entries_off = entries_off;
	out->entry_sz = entry_sz;
	out->status_sz =
		EVR_ROUND_UP((uint64_t)entries_off + (uint64_t)out->peers_max * entry_sz, page);
	out->shared_off = EVERING_BLOCK_SIZE;
	out->peers_off = out->shared_off + out->shared_sz;
	out->grown_off = EVR_ROUND_UP(evr_layout_region(out, out->peers_max), EVERING_BLOCK_SIZE);
	out->segment_sz = out->grown_off;
}
