/* SPDX-License-Identifier: MIT */
/*
 * A tap: an observer's own way through the messages of a ring, beside its consumer.
 *
 * model      any peer taps a ring at any time, as many as there are, an observer too.
 *            Nothing is written, so neither side notices; who taps is not waited for, and
 *            misses what was overwritten before it came: that is counted.
 * calls      a tap belongs to one thread at a time.
 * edges      LANE-DATA, SLOT-STAMP, MPMC-CELL, BCAST-WINDOW, as the consumer's. A copy counts only if what
 *            says that its memory was not given out again is read after it (the reader's
 *            half of a seqlock: Boehm, "Can seqlocks get along with programming language
 *            memory models?", 2012).
 * progress   wait-free: what changes too fast is skipped.
 * limits     spsc, slots, bytes, log and bcast. A message that its consumer has released is
 *            shown as long as its memory is known to be untouched: of a log and of slots
 *            until somebody claims it. The producer of an spsc or bytes ring does not say how
 *            much it has written and not published; there a released message counts
 *            until half of the ring has been published since. A producer that fills more
 *            than the other half before it publishes can spoil such a copy. The elements
 *            of a broadcast are shown until they are overwritten; released is one that
 *            all who have a seat have read.
 */
#ifndef EVERING_TAP_H
#define EVERING_TAP_H

#include <evering/dir.h>

#ifdef __cplusplus
extern "C" {
#endif

enum evr_tap_from {
	EVR_TAP_OLDEST, /* what the consumer has not released yet; of a broadcast all that is whole */
	EVR_TAP_NEW, /* what is published from now on */
};

struct evr_tap_own;

/* In the caller's own memory. The field is not for callers. */
struct evr_tap {
	struct evr_tap_own *own;
};

struct evr_tap_message {
	uint64_t pos; /* where it begins, in units of its ring */
	uint64_t sz; /* bytes of it; more than were copied when there was no room */
	uint64_t skipped; /* units before it that were missed, holes included */
	uint32_t kind; /* of a bytes ring: enum evr_frame_kind, or the application's */
	bool released; /* its consumer had released it already; see limits */
};

/**
 * evr_tap_open() - begin to follow a ring
 * @tap: filled in; to be closed before the detach
 * @peer: own attachment, also an observer's
 * @obj: from evr_dir_find() or evr_dir_walk(); in an isolated segment the producer's half
 *
 * Return: 0; -EOPNOTSUPP not a kind that can be tapped; -EINVAL no such @from; -EBADMSG
 * its words are nonsense, the detail names them; -ENOMEM.
 */
EVR_API int evr_tap_open(struct evr_tap *tap, struct evr_peer *peer, const struct evr_object *obj,
			 enum evr_tap_from from);

/* Of a tap that is zero or closed: nothing. */
EVR_API void evr_tap_close(struct evr_tap *tap);

/**
 * evr_tap_next() - copy the next message
 * @data: room for @max bytes; what does not fit is left out
 * @message: filled in when there is one
 *
 * Return: 1; 0 there is none now; -EBADMSG the ring is corrupt; -ENOENT it was removed;
 * -EINVAL the tap is closed.
 */
EVR_API int evr_tap_next(struct evr_tap *tap, void *data, uint64_t max,
			 struct evr_tap_message *message);

#ifdef __cplusplus
}
#endif

#endif
