/* SPDX-License-Identifier: MIT */
/*
 * Reaping; include/evering/reap.h has the model.
 *
 * All that a peer can hold in a segment is named by words in the directory: entries
 * being created or removed, and the roles of rings. Each is settled by one CAS from
 * exactly what was found, so it does not matter how many do it, how often, or where
 * one of them dies. Only a peer itself writes its name into such a word, with one
 * exception: who helps admit writes that of another. Its CAS expects the claim of
 * that very life of the entry, which settling ends; so a late helper writes nothing,
 * and one pass after the evidence of death sees everything.
 */
#include "reap.h"

#include <errno.h>

#include <evering/reap.h>

#include "backend.h"
#include "dir.h"
#include "internal.h"

void evr_reap_auto(struct evr_peer *peer, bool on)
{
	evr_a32_store_relaxed(&peer->reap_manual, !on);
}

bool evr_reap_is_auto(struct evr_peer *peer)
{
	return !evr_a32_load_relaxed(&peer->reap_manual);
}

/* A directory that is not there, or no directory, holds nothing of anybody. */
static int reap_settle(struct evr_peer *peer, struct evr_reap_report *report)
{
	int err = evr_dir_settle(peer, report);

	return err == -ENOSPC ? 0 : err;
}

int evr_reap(struct evr_peer *peer, struct evr_peer_id dead, struct evr_reap_report *report)
{
	struct evr_reap_report found = { 0 };
	uint32_t state;
	int err;

	if (!(evr_peer_rights(peer) & EVR_RIGHT_WRITE))
		return evr_fail(-EROFS, "reap: an observer cannot settle anything");
	state = evr_peer_state(peer, dead);
	if (state != EVR_PEER_DEAD && state != EVR_PEER_RETIRED)
		return evr_fail(-EBUSY, "reap: peer %u.%llu has not ended", dead.slot,
				(unsigned long long)dead.incarnation);
	err = reap_settle(peer, &found);
	if (err)
		return err;
	err = evr_peer_reaped(peer, dead);
	found.peers = !err;
	if (report) {
		report->peers += found.peers;
		report->objects += found.objects;
		report->sides += found.sides;
		report->bytes += found.bytes;
	}
	return err;
}

int evr_reap_dead(struct evr_peer *peer, struct evr_reap_report *report)
{
	uint32_t slot, nr = peer->segment->layout.peers_max;
	struct evr_peer_id id;
	int settled = 0;
	int err;

	if (!(evr_peer_rights(peer) & EVR_RIGHT_WRITE))
		return evr_fail(-EROFS, "reap: an observer cannot settle anything");
	for (slot = 0; slot < nr; slot++) {
		id.slot = slot;
		if (peer->ops->state(peer, slot, &id.incarnation) != EVR_PEER_DEAD)
			continue;
		err = evr_reap(peer, id, report);
		if (err && err != -ESTALE && err != -EBUSY)
			return err;
		settled += !err;
	}
	return settled;
}
