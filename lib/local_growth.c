/* SPDX-License-Identifier: MIT */
/*
 * Growth of a local segment. Each growth is one word of a log in the status area, which
 * goes from 0 to {blocks | tag} by CAS, once: that CAS is the commit. The first begins at
 * grown_offset, each other where the one before it ends, and its memory is in the file before
 * it is in the log. segment_size follows, by whoever comes next: the committer may have
 * died in between. So a growth and what it was for become known in one step.
 *
 * limits     A log that is full leaves growth to segment_size alone: what comes then has no
 *            tag that anybody could find.
 */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "internal.h"

/* A tag has something in its lower bits; a word without a tag has nothing there. */
#define LOWER_BITS 13
#define TAG_BITS 45
#define LOWER_MASK ((UINT64_C(1) << LOWER_BITS) - 1)
#define TAG_MASK ((UINT64_C(1) << TAG_BITS) - 1)
#define BLOCK ((uint64_t)EVERING_BLOCK_SIZE)

static uint64_t word_make(uint64_t tag, uint64_t blocks)
{
	return tag ? blocks << TAG_BITS | tag : blocks << LOWER_BITS;
}

static uint64_t word_tag(uint64_t word)
{
	return word & LOWER_MASK ? word & TAG_MASK : 0;
}

static uint64_t word_blocks(uint64_t word)
{
	return word >> (word & LOWER_MASK ? TAG_BITS : LOWER_BITS);
}

static struct evr_a64 *log_word(const struct evr_segment *segment, uint32_t i)
{
	return local_header_word(segment, LOCAL_GROWTHS_OFF) + i;
}

static struct evr_a64 *segment_size(const struct evr_segment *segment)
{
	return local_header_word(segment, offsetof(struct evering_status_header, segment_size));
}

/*
 * What an entry says of a growth whose off is known; it is published, if its committer has
 * not done so. 0; -EBADMSG.
 */
static int entry_settle(const struct evr_segment *segment, uint64_t u_word,
			struct evr_growth *growth)
{
	uint64_t blocks = word_blocks(u_word), u_sz = evr_a64_load_acquire(segment_size(segment));

	if (!blocks || blocks > ((uint64_t)INT64_MAX - growth->off) / BLOCK)
		return evr_fail(-EBADMSG,
				"log of growths: %#" PRIx64 " at offset %" PRIu64
				" is none; it was overwritten",
				u_word, growth->off);
	growth->sz = blocks * BLOCK;
	/* GROW: the file is as large now; pairs with evr_layout_read(). */
	if (u_sz == growth->off)
		evr_a64_cas(segment_size(segment), &u_sz, growth->off + growth->sz);
	return 0;
}

/* Memory at the end that the log gives, or that segment_size has when there is no log. */
static int file_extend(const struct evr_segment *segment, const struct evr_growth *growth)
{
	if (growth->sz > (uint64_t)INT64_MAX - growth->off)
		return evr_fail(-EINVAL, "a segment cannot have %" PRIu64 " bytes more",
				growth->sz);
	if (!fallocate(segment->fd, 0, (off_t)growth->off, (off_t)growth->sz))
		return 0;
	return evr_fail(-errno, "cannot get %" PRIu64 " bytes more: %s", growth->sz,
			strerror(errno));
}

static int grow_unlogged(const struct evr_segment *segment, struct evr_growth *growth)
{
	uint64_t sz = evr_a64_load_acquire(segment_size(segment));
	int err;

	do {
		growth->off = sz;
		err = file_extend(segment, growth);
		if (err)
			return err;
		/* GROW */
	} while (!evr_a64_cas(segment_size(segment), &sz, sz + growth->sz));
	return 0;
}

static int grow_logged(const struct evr_segment *segment, uint64_t tag, struct evr_growth *growth)
{
	struct evr_growth other = { .off = segment->layout.grown_off };
	uint64_t word = word_make(tag, growth->sz / BLOCK), u_word;
	uint32_t i;
	int err;

	for (i = 0; i < LOCAL_GROWTHS_MAX; i++, other.off += other.sz) {
		u_word = evr_a64_load_acquire(log_word(segment, i)); /* GROW-LOG */
		growth->off = other.off;
		err = u_word ? 0 : file_extend(segment, growth);
		/* Who loses the race has extended the file for the next round. */
		if (!err && !u_word &&
		    evr_a64_cas(log_word(segment, i), &u_word, word)) /* GROW-LOG */
			return entry_settle(segment, word, growth);
		if (!err)
			err = entry_settle(segment, u_word, &other);
		if (err)
			return err;
	}
	return grow_unlogged(segment, growth);
}

int local_grow(struct evr_segment *segment, uint64_t tag, struct evr_growth *growth)
{
	uint64_t sz;
	int err;

	if (segment->layout.flags & EVERING_SEGMENT_F_ISOLATED)
		return evr_fail(-EOPNOTSUPP, "an isolated segment has no memory for all to write, "
					     "so it cannot grow");
	if (tag &&
	    (tag & ~TAG_MASK || !(tag & LOWER_MASK) || growth->sz / BLOCK > UINT64_MAX >> TAG_BITS))
		return evr_fail(-EINVAL,
				"%" PRIu64 " bytes with the tag %#" PRIx64 " cannot be logged",
				growth->sz, tag);
	err = local_file_check(segment, &sz);
	if (!err)
		err = local_file_check_memory(growth->sz);
	return err ? err : grow_logged(segment, tag, growth);
}

int local_growths(struct evr_peer *peer, uint64_t tag, evr_growth_fn *each, void *arg)
{
	const struct evr_segment *segment = peer->segment;
	struct evr_growth growth = { .off = segment->layout.grown_off };
	uint64_t u_word;
	uint32_t i;
	int ret = 0;

	if (local_of(segment)->is_readonly)
		return 0;
	for (i = 0; i < LOCAL_GROWTHS_MAX && !ret; i++, growth.off += growth.sz) {
		u_word = evr_a64_load_acquire(log_word(segment, i)); /* GROW-LOG */
		if (!u_word)
			break;
		ret = entry_settle(segment, u_word, &growth);
		if (!ret && word_tag(u_word) == tag)
			ret = each(&growth, arg);
	}
	return ret;
}
