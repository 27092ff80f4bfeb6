/* SPDX-License-Identifier: MIT */
/* A side's end of the channel that several benches send over, with the heap of its blocks. */
#ifndef EVERING_CHANNEL_END_H
#define EVERING_CHANNEL_END_H

#include "stage.h"

/* Bytes of the largest message in a frame; what is larger is a block. */
#define CHANNEL_INLINE_MAX 1024

struct channel_end {
	struct evr_channel ch;
	struct evr_heap heap;
	uint8_t *buffer; /* of the stage's size */
};

/* A segment with room for the channel and CHANNEL_BLOCKS blocks of the stage's size. */
#define CHANNEL_BLOCKS 32
int channel_prepare(struct stage *stage);

/* Attaches, makes the channel on the near side, and opens the side's end; both together. */
void channel_end_open(struct stage *stage, struct channel_end *end);

/* Both together, when nothing is under way; detaches. */
void channel_end_close(struct stage *stage, struct channel_end *end);

#endif
