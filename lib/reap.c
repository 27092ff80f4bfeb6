/* SPDX-License-Identifier: MIT */
/*
 * Reaping; include/evering/reap.h has the model.
 *
 * All that a peer can hold in a segment is named by words: of the directory (entries
 * being created or removed, the roles of rings) and of objects (kinds.h). Each is
 * settled by one CAS from exactly what was found, so it does not matter how many do it,
 * how often, or where one of them dies. Mostly a peer itself alone writes its name into
 * such a word. Who helps admit writes that of another, but its CAS expects the claim of
 * that very life of the entry, which settling ends: a late helper writes nothing. Who
 * hands something to a peer looks at its state afterwards, and reap_bar() makes sure
 * that this look or the walk is late enough; who dies before the look has named itself in
 * the same place before, and its own reap finds it. So one walk after the evidence of death
 * sees everything (tests/model/spin/transfer.pml). The slot is given free last: a reaper
 * that dies before leaves it to the next.
 */
#include "reap.h"

#include <errno.h>
#include <time.h>

#include <evering/reap.h>

#include "backend.h"
#include "dir.h"
#include "internal.h"
#include "park.h"

#define UNBARRED_NS 1000000

void evr_reap_auto(struct evr_peer *peer, bool on)
{
	evr_a32_store_relaxed(&peer->reap_manual, !on);
}

bool evr_reap_is_auto(struct evr_peer *peer)
{
	return !evr_a32_load_relaxed(&peer->reap_manual);
}

/*
 * Every store of a dead peer's name that was made by who had not seen it dead is
 * visible to the walk that follows; see struct evr_kind. It takes the place of a grace
 * period, and nobody waits for anybody.
 */
static void reap_bar(void)
{
	const struct timespec settled = { .tv_nsec = UNBARRED_NS };

	if (evr_fence_all()) /* REAP */
		return;
	/* Forbidden to us. No processor holds a store back for as long as this. */
	evr_fence();
	nanosleep(&settled, NULL);
}

/* A directory for which there is no room holds nothing of anybody. */
static int reap_settle(struct evr_peer *peer, struct evr_reap_report *found)
{
	int err;

	reap_bar();
	err = evr_dir_settle(peer, found);
	return err == -ENOSPC ? 0 : err;
}

static void report_add(struct evr_reap_report *report, const struct evr_reap_report *found)
{
	if (!report)
		return;
	report->peers += found->peers;
	report->objects += found->objects;
	report->sides += found->sides;
	report->claims += found->claims;
	report->bytes += found->bytes;
	report->blocks += found->blocks;
	report->block_bytes += found->block_bytes;
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
	report_add(report, &found);
	return err;
}

/* Who is dead now and unsettled. @dead has room for EVR_PEERS_MAX. */
static uint32_t dead_find(struct evr_peer *peer, struct evr_peer_id *dead)
{
	uint32_t slot, nr = 0;

	for (slot = 0; slot < peer->segment->layout.peers_max; slot++) {
		dead[nr].slot = slot;
		if (peer->ops->state(peer, slot, &dead[nr].incarnation) == EVR_PEER_DEAD)
			nr++;
	}
	return nr;
}

void evr_reap_learned(struct evr_peer *peer, struct evr_peer_id dead)
{
	uint64_t incarnation;

	if (dead.slot >= peer->segment->layout.peers_max || !evr_reap_is_auto(peer) ||
	    !(peer->rights & EVR_RIGHT_WRITE))
		return;
	if (peer->ops->state(peer, dead.slot, &incarnation) == EVR_PEER_DEAD &&
	    incarnation == dead.incarnation)
		evr_reap(peer, dead, NULL);
}

void evr_reap_event(struct evr_peer *peer)
{
	struct evr_peer_id dead[EVR_PEERS_MAX];

	if (peer->rights & EVR_RIGHT_WRITE && dead_find(peer, dead))
		evr_reap_dead(peer, NULL);
}

int evr_reap_dead(struct evr_peer *peer, struct evr_reap_report *report)
{
	struct evr_peer_id dead[EVR_PEERS_MAX];
	struct evr_reap_report found = { 0 };
	uint32_t nr;
	int err;

	if (!(evr_peer_rights(peer) & EVR_RIGHT_WRITE))
		return evr_fail(-EROFS, "reap: an observer cannot settle anything");
	/* The evidence first: what is settled afterwards is all that they had. */
	nr = dead_find(peer, dead);
	/* Also when nobody is: those who died when no other was left went unreaped. */
	err = reap_settle(peer, &found);
	if (err)
		return err;
	while (nr--)
		found.peers += !evr_peer_reaped(peer, dead[nr]);
	report_add(report, &found);
	return (int)found.peers;
}
