/* SPDX-License-Identifier: MIT */
/*
 * What a reap would find: the reap itself, run by a peer that does not exist over memory
 * that is nobody else's. Its stores stay in private pages, its peers are those that
 * there were when it began, and its bells ring nobody. So a preview and a reap cannot
 * disagree on what there is to settle, and each kind settles in one place only.
 *
 * The reap is made for memory that others change under it, so it is for a copy whose pages
 * are of different moments.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <evering/reap.h>

#include "backend.h"
#include "internal.h"

#define PAGE 4096

/* The peers as they are now, by slot. */
struct preview {
	uint64_t incarnations[EVR_PEERS_MAX];
	uint32_t states[EVR_PEERS_MAX];
};

static uint32_t preview_state(const struct evr_peer *peer, uint32_t slot, uint64_t *incarnation)
{
	const struct preview *preview = peer->own;

	*incarnation = preview->incarnations[slot];
	return preview->states[slot];
}

static uint64_t preview_generation(const struct evr_peer *peer)
{
	(void)peer;
	return 0;
}

static int preview_reaped(struct evr_peer *peer, struct evr_peer_id dead)
{
	struct preview *preview = peer->own;

	preview->states[dead.slot] = EVR_PEER_FREE;
	return 0;
}

static int preview_segment_sz(struct evr_peer *peer, uint64_t *sz)
{
	*sz = evr_a64_load_relaxed(&peer->mapped_sz);
	return 0;
}

/* A growth that no heap has yet holds nothing of anybody. */
static int preview_growths(struct evr_peer *peer, uint64_t tag, evr_growth_fn *each, void *arg)
{
	(void)peer;
	(void)tag;
	(void)each;
	(void)arg;
	return 0;
}

static int preview_ring(struct evr_peer *peer, struct evr_bell *bells, uint32_t nr)
{
	(void)peer;
	(void)bells;
	(void)nr;
	return 0;
}

static const struct evr_backend_ops preview_ops = {
	.state = preview_state,
	.generation = preview_generation,
	.reaped = preview_reaped,
	.segment_sz = preview_segment_sz,
	.growths = preview_growths,
	.ring = preview_ring,
};

static int peers_look(struct preview *preview, struct evr_peer *from)
{
	struct evr_peer_info info;
	uint32_t slot;
	int err;

	for (slot = 0; slot < from->segment->layout.peers_max; slot++) {
		err = evr_peer_info(from, slot, &info);
		if (err)
			return err;
		preview->incarnations[slot] = info.id.incarnation;
		preview->states[slot] = info.state;
	}
	return 0;
}

/* A slot that is nobody's, in its next life; there has to be one for who reaps, too. */
static struct evr_peer_id self_choose(const struct preview *preview, uint32_t slots)
{
	struct evr_peer_id id = { 0 };
	uint32_t slot;

	for (slot = 0; slot < slots; slot++)
		if (preview->states[slot] == EVR_PEER_FREE)
			id.slot = slot;
	id.incarnation = preview->incarnations[id.slot] + 1;
	return id;
}

/* What is zero stays without memory. */
static void copy_range(unsigned char *to, const unsigned char *from, uint64_t off, uint64_t end)
{
	static const unsigned char zeros[PAGE];
	unsigned char page[PAGE];

	for (; off < end; off += PAGE) {
		evr_copy_out(page, from + off, PAGE);
		if (memcmp(page, zeros, PAGE))
			memcpy(to + off, page, PAGE);
	}
}

/* The device shares its memory with peers alone, and only as it is. */
static void copy_all(unsigned char *to, const struct evr_peer *from, uint64_t sz)
{
	const struct evr_layout *layout = &from->segment->layout;

	copy_range(to, from->base, layout->shared_off, layout->shared_off + layout->shared_sz);
	copy_range(to, from->base, layout->peers_off, evr_layout_region(layout, layout->peers_max));
	copy_range(to, from->base, layout->grown_off, sz);
}

static int memory_map(struct evr_peer *peer, const struct evr_peer *from)
{
	bool is_local = from->segment->ops->backend == EVR_BACKEND_LOCAL;
	uint64_t sz = evr_a64_load_acquire(&from->mapped_sz); /* MAPPED */
	int flags = MAP_PRIVATE | MAP_NORESERVE | (is_local ? 0 : MAP_ANONYMOUS);
	void *base;

	base = mmap(NULL, sz, PROT_READ | PROT_WRITE, flags, is_local ? from->fd : -1, 0);
	if (base == MAP_FAILED)
		return evr_fail(-errno, "cannot map a private copy of %llu bytes: %s",
				(unsigned long long)sz, strerror(errno));
	peer->base = base;
	peer->reserved_sz = sz;
	evr_a64_store_relaxed(&peer->mapped_sz, sz);
	if (!is_local)
		copy_all(base, from, sz);
	return 0;
}

static int preview_run(struct evr_peer *peer, struct evr_peer *from, struct evr_reap_report *report)
{
	struct preview *preview = peer->own;
	int err;

	err = peers_look(preview, from);
	if (!err)
		err = memory_map(peer, from);
	if (err)
		return err;
	peer->self = self_choose(preview, from->segment->layout.peers_max);
	err = evr_reap_dead(peer, report);
	munmap(peer->base, peer->reserved_sz);
	return err;
}

int evr_reap_preview(struct evr_peer *from, struct evr_reap_report *report)
{
	struct evr_peer peer = { .ops = &preview_ops,
				 .segment = from->segment,
				 .rights = EVR_RIGHT_OBSERVE | EVR_RIGHT_WRITE,
				 .pid = from->pid,
				 .fd = -1 };
	int ret = -ENOMEM;

	memset(report, 0, sizeof(*report));
	evr_error_clear();
	peer.own = calloc(1, sizeof(struct preview));
	pthread_mutex_init(&peer.grow_lock, NULL);
	pthread_mutex_init(&peer.members_lock, NULL);
	if (peer.own)
		ret = preview_run(&peer, from, report);
	pthread_mutex_destroy(&peer.members_lock);
	pthread_mutex_destroy(&peer.grow_lock);
	free(peer.uses);
	free(peer.own);
	return ret;
}
