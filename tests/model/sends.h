/* SPDX-License-Identifier: MIT */
/* What scenarios of channels with blocks share. */
#ifndef EVERING_MODEL_SENDS_H
#define EVERING_MODEL_SENDS_H

#include "explore.h"

/* Send messages[*sent ..], then wait until all was received; *sent counts. 0, or why it came to an end. */
static inline int send_rest(struct evr_channel *ch, struct evr_waiter *waiter,
			    struct evr_message *messages, uint32_t nr, uint32_t *sent)
{
	int err;

	while (*sent < nr) {
		err = evr_channel_send_wait(ch, waiter, &messages[*sent], EVR_NO_DEADLINE);
		if (err)
			return err;
		++*sent;
	}
	return evr_channel_drain_wait(ch, waiter, EVR_NO_DEADLINE);
}

#endif
