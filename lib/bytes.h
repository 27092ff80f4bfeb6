/* SPDX-License-Identifier: MIT */
/* Streams of frames as parts of a larger object: what a channel needs of them. */
#ifndef EVERING_LIB_BYTES_H
#define EVERING_LIB_BYTES_H

#include <evering/bytes.h>

/* A frame's header, checked, and where its data are. */
struct evr_frame_view {
	uint64_t sz; /* bytes of data */
	uint64_t span; /* positions it takes */
	uint32_t kind;
	const void *data;
};

/* What a stream with these options is. -EINVAL */
int evr_bytes_geometry(const char *name, uint64_t capacity, uint64_t frame_max,
		       struct evr_lane_geometry *g);

/* Check the properties of a lane, so that frames can be looked at. -EBADMSG */
int evr_bytes_view(struct evr_bytes *bytes);

/* After the lane was opened: check its properties and go on where the last holder stopped. -EBADMSG */
int evr_bytes_begin(struct evr_bytes *bytes);

/*
 * Read the header at a position, once. Says nothing of who wrote it: false when it is
 * none, or its frame is longer than @avail positions.
 */
bool evr_bytes_look(const struct evr_bytes *bytes, uint64_t pos, uint64_t avail,
		    struct evr_frame_view *view);

/* Tell the other side of a position before our own, and of how many frames that makes. */
void evr_bytes_flush_to(struct evr_bytes *bytes, uint64_t pos, uint64_t frames);

/* Where the room that is reserved lies, or the frame that was peeked at. */
void *evr_bytes_granted(const struct evr_bytes *bytes);

/* Take the last commit back that was not flushed: no frame is there, also for evr_bytes_look(). */
void evr_bytes_uncommit(struct evr_bytes *bytes, uint64_t used_sz);

#endif
