/* SPDX-License-Identifier: MIT */
/*
 * Any system that carries messages by copying them: how one side of it sends and
 * receives. A rival is made of a carrier (struct rival, with) and one of the patterns
 * below, which stands for both sides.
 */
#ifndef EVERING_CARRIER_H
#define EVERING_CARRIER_H

#include "stage.h"

#ifdef __cplusplus
extern "C" {
#endif

struct carrier {
	void (*open)(struct stage *stage); /* NULL: prepared is ready */
	void (*close)(struct stage *stage);
	void (*send)(struct stage *stage, const void *data, uint64_t size);
	void (*receive)(struct stage *stage, void *data, uint64_t size);
	uint64_t ahead_max; /* bytes that one side may send before it receives; 0 = any */
	bool has_no_bounds; /* a stream: several messages may go with one call */
};

/* A message there and one back, one at a time. */
void carrier_trips(struct stage *stage);

/* One way, in the stage's batches. */
void carrier_stream(struct stage *stage);

/* The same, but only the first bytes of a message are written and read by the two. */
void carrier_stream_untouched(struct stage *stage);

/* Requests with answers of the same size, CARRIER_WINDOW outstanding. */
#define CARRIER_WINDOW 8
void carrier_calls(struct stage *stage);

/* What every Unix has: pipes, sockets; of stage_prepare_pipes() and stage_prepare_sockets(). */
extern const struct carrier carrier_file, carrier_file_polled;

#ifdef __cplusplus
}
#endif

#endif
