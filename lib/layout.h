/* SPDX-License-Identifier: MIT */
/* Where things are in a segment: a private copy of what its header says, checked. */
#ifndef EVERING_LAYOUT_H
#define EVERING_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * status_sz <= shared_off, shared_off + shared_sz <= peers_off,
 * peers_off + peers_max * peer_sz <= grown_off, which is a multiple of 2 MiB; what
 * lies between grown_off and segment_sz, if anything, was appended;
 * entries_off + peers_max * entry_sz <= status_sz; all offsets and sizes of regions
 * are multiples of the page size.
 */
struct evr_layout {
	uint64_t segment_id;
	uint64_t segment_sz; /* when it was read; it only grows */
	uint64_t status_sz; /* what of the status area is used, in pages */
	uint64_t shared_off;
	uint64_t shared_sz;
	uint64_t peers_off;
	uint64_t peer_sz;
	uint64_t grown_off;
	uint32_t flags; /* EVERING_SEGMENT_F_* */
	uint32_t peers_max;
	uint32_t entries_off;
	uint32_t entry_sz;
};

/* What a header must be to be taken. */
struct evr_layout_rule {
	uint64_t magic;
	uint32_t version;
	uint32_t entry_sz; /* at least, bytes */
	uint64_t file_sz; /* segment_size is at most this; UINT64_MAX = not known */
};

/*
 * Load each word of the header once, check all, copy. 0; -EPROTO; -EBADMSG with the
 * field in the detail, *out is then undefined.
 */
int evr_layout_read(struct evr_layout *out, const void *header, const struct evr_layout_rule *rule);

/* Is it still the geometry that was read before? 0; -EBADMSG with the field. */
int evr_layout_same(const struct evr_layout *before, const struct evr_layout *now);

/* What evr_layout_read() takes, for a new segment: fills all but segment_id. */
void evr_layout_plan(struct evr_layout *out, uint32_t entries_off, uint32_t entry_sz);

uint64_t evr_layout_page_size(void);

static inline uint64_t evr_layout_region(const struct evr_layout *layout, uint32_t slot)
{
	return layout->peers_off + (uint64_t)slot * layout->peer_sz;
}

#endif
