// SPDX-License-Identifier: MIT
/* A side's end of the channel that several benches send over, with the heap of its blocks. */
#include "channel_end.h"

#include <errno.h>
#include <stdlib.h>

/* For the channel itself. */
#define SLACK_SZ (8ULL << 20)
#define HEAP_MIN (8ULL << 20)

/* So many blocks fit, of which a side may be ahead by a quarter. */
static uint64_t heap_sz(const struct stage *stage)
{
	uint64_t sz = CHANNEL_BLOCKS * stage->size;

	return sz > HEAP_MIN ? sz : HEAP_MIN;
}

int channel_prepare(struct stage *stage)
{
	struct evr_segment_options options = { .struct_sz = sizeof(options),
					       .shared_sz = heap_sz(stage) + SLACK_SZ,
					       .peers_max = 8 };

	return evr_segment_create(
		&stage->segment,
		stage->backend == EVR_BACKEND_DEVICE ? "device:" : "local:", &options);
}

static void make_channel(struct stage *stage)
{
	struct evr_heap_options heap = { .struct_sz = sizeof(heap), .sz = heap_sz(stage) };
	struct evr_channel_options channel = { .struct_sz = sizeof(channel),
					       .inline_max = CHANNEL_INLINE_MAX,
					       .window_bytes = heap_sz(stage) / 4,
					       .heap = "blocks" };
	int err = evr_heap_create(stage->peer, "blocks", &heap);

	if (!err)
		err = evr_channel_create(stage->peer, "both ways", &channel);
	if (err)
		stage_fail(stage, "channel", err);
}

static uint8_t *make_buffer(struct stage *stage)
{
	uint8_t *buffer = malloc(stage->size);

	if (!buffer)
		stage_fail(stage, "buffer", -ENOMEM);
	return buffer;
}

void channel_end_open(struct stage *stage, struct channel_end *end)
{
	bool is_near = stage->side == STAGE_NEAR;
	int err;

	stage_attach(stage);
	end->buffer = make_buffer(stage);
	if (is_near)
		make_channel(stage);
	stage_meet(stage);
	err = evr_heap_open(&end->heap, stage->peer, "blocks");
	if (!err)
		err = evr_channel_open(&end->ch, stage->peer, "both ways",
				       is_near ? EVR_CHANNEL_A : EVR_CHANNEL_B, 0);
	if (!err)
		err = evr_channel_bind(&end->ch, &end->heap, &end->heap);
	if (err)
		stage_fail(stage, "channel", err);
	stage_meet(stage);
}

void channel_end_close(struct stage *stage, struct channel_end *end)
{
	stage_meet(stage);
	evr_channel_close(&end->ch);
	evr_heap_close(&end->heap);
	free(end->buffer);
	stage_detach(stage);
}
