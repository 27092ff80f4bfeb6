/* SPDX-License-Identifier: MIT */
/*
 * Reaping: settle all that a dead peer held in the segment, then let its slot be
 * used again.
 *
 * model      any living read-write peer may reap, several may at once, and each
 *            may die at any step; another then does it again.
 * calls      all together with all.
 * edges      evidence of death is the kernel's alone (evr_peer_state() is DEAD);
 *            it comes after all the dead peer's stores.
 * progress   one pass over the directory; lock-free.
 */
#ifndef EVERING_REAP_H
#define EVERING_REAP_H

#include <evering/peer.h>

#ifdef __cplusplus
extern "C" {
#endif

struct evr_reap_report {
	uint32_t peers; /* settled */
	uint32_t objects; /* directory entries it had claimed and not published, or not removed to the end; its ports */
	uint32_t sides; /* roles it held */
	uint32_t claims; /* elements of queues that it was writing or reading */
	uint64_t bytes; /* of these objects */
	uint64_t blocks; /* of heaps and pools, freed because it owned them */
	uint64_t block_bytes; /* of these */
};

/**
 * evr_reap() - settle a dead peer
 * @peer: own attachment, read-write
 * @dead: whom
 * @report: what was found is added to it; NULL is fine
 *
 * What it published stays and is delivered; what it had claimed and not
 * published never existed; who waits for it learns that it died.
 *
 * Return: 0; -EBUSY when it lives, also when it is only dying; -ESTALE when it was settled
 * before; -EROFS for an observer.
 */
EVR_API int evr_reap(struct evr_peer *peer, struct evr_peer_id dead,
		     struct evr_reap_report *report);

/* All dead peers of the segment. Return: how many were settled, or -errno. */
EVR_API int evr_reap_dead(struct evr_peer *peer, struct evr_reap_report *report);

/**
 * evr_reap_preview() - what evr_reap_dead() would find now
 * @peer: any attachment; an observer's is enough, and with one of
 *	evr_segment_open_observer() nothing at all is written
 * @report: filled in
 *
 * It is the reap itself, over a copy of the segment that is private to this call: what
 * it touches is copied on the local backend, all that is not zero on the device. Of an
 * application that runs meanwhile the numbers may be of no one moment.
 *
 * Return: how many peers would be settled; -ENOMEM; -EBADMSG; as evr_dir_find().
 */
EVR_API int evr_reap_preview(struct evr_peer *peer, struct evr_reap_report *report);

/* Shall waits and attach settle the deaths that they learn of? Default: yes; see EVR_PEER_REAP_MANUAL. */
EVR_API void evr_reap_auto(struct evr_peer *peer, bool on);

#ifdef __cplusplus
}
#endif

#endif
