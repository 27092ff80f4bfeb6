/* SPDX-License-Identifier: MIT */
/* What a receiver that also waits for other things needs of its inbox. */
#ifndef EVERING_LIB_INBOX_H
#define EVERING_LIB_INBOX_H

#include <evering/inbox.h>

/* For evr_waiter_wait(). @needs: room for one more than the segment has slots. Return: how many. */
uint32_t evr_inbox_needs(const struct evr_inbox *box, struct evr_need **needs);

/*
 * Is there a message, or a lane that was not among the needs, and would not wake us?
 * @changes: box->changes before evr_inbox_needs()
 */
bool evr_inbox_is_ready(struct evr_inbox *box, uint32_t changes);

#endif
