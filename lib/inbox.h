/* SPDX-License-Identifier: MIT */
/* What the two ends of an inbox share, and what a receiver that also waits for other things needs. */
#ifndef EVERING_LIB_INBOX_H
#define EVERING_LIB_INBOX_H

#include <evering/inbox.h>

struct evr_lane_geometry;

#define INBOX_DATA_SZ (EVR_INBOX_WORDS * sizeof(struct evr_inbox_ready))

/* What an end takes messages for; 0 is anything. */
struct evr_inbox_type {
	uint64_t tag;
	uint32_t elem_sz;
};

/* Is that geometry one of an inbox, and of this type? 0, -EBADMSG or -EINVAL, with the detail text. */
int evr_inbox_check(const struct evr_lane_geometry *g, const char *name,
		    const struct evr_inbox_type *type);

/*
 * The name of the lane whose sender has that slot.
 * @out: EVR_OBJECT_NAME_SZ bytes
 * Return: 0, or -EINVAL for a name that is none or too long.
 */
int evr_inbox_lane_name(char *out, const char *name, uint32_t slot);

/* For evr_waiter_wait(). @needs: room for one more than the segment has slots. Return: how many. */
uint32_t evr_inbox_needs(const struct evr_inbox *box, struct evr_need **needs);

/*
 * Is there a message, or a lane that was not among the needs, and would not wake us?
 * @changes: box->changes before evr_inbox_needs()
 */
bool evr_inbox_is_ready(struct evr_inbox *box, uint32_t changes);

#endif
