/* SPDX-License-Identifier: MIT */
/*
 * The addresses of a peer: one reserved range, 2 MiB aligned, with the segment at
 * its start and room for growth behind, so that base + offset never changes.
 *
 * Each region is a mapping of its own: a page table entry of 2 MiB survives
 * neither mprotect of a part nor a mapping that does not start at its region.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include <evering/uapi.h>

#include "backend.h"
#include "internal.h"

static int map_run(struct evr_peer *peer, uint64_t off, uint64_t sz, bool is_writable,
		   bool populate)
{
	int prot = is_writable ? PROT_READ | PROT_WRITE : PROT_READ;
	int flags = MAP_SHARED | MAP_FIXED | (populate ? MAP_POPULATE : 0);
	void *at = peer->base + off;

	if (!sz)
		return 0;
	if (mmap(at, sz, prot, flags, peer->fd, (off_t)off) == MAP_FAILED)
		return evr_fail(-errno, "cannot map %" PRIu64 " bytes at offset %" PRIu64 " %s: %s",
				sz, off, is_writable ? "for writing" : "read-only",
				strerror(errno));
	/* A forked child is no peer. (The device sees to it itself.) */
	madvise(at, sz, MADV_DONTFORK);
	if (peer->segment->ops->backend == EVR_BACKEND_LOCAL)
		madvise(at, sz, MADV_HUGEPAGE);
	return 0;
}

static int map_regions(struct evr_peer *peer, bool populate)
{
	const struct evr_layout *layout = &peer->segment->layout;
	bool is_writer = peer->rights & EVR_RIGHT_WRITE;
	uint64_t own, peers_end;
	int err;

	err = map_run(peer, 0, layout->status_sz, false, populate);
	if (err)
		return err;
	err = map_run(peer, layout->shared_off, layout->shared_sz, is_writer, populate);
	if (err)
		return err;
	own = peers_end = evr_layout_region(layout, layout->peers_max);
	if (is_writer)
		own = evr_layout_region(layout, peer->self.slot);
	err = map_run(peer, layout->peers_off, own - layout->peers_off, false, populate);
	if (err || own == peers_end)
		return err;
	err = map_run(peer, own, layout->peer_sz, true, populate);
	if (err)
		return err;
	own += layout->peer_sz;
	return map_run(peer, own, peers_end - own, false, populate);
}

/* An address range of our own that nothing else will be put into. */
static int reserve(struct evr_peer *peer, uint64_t sz)
{
	uint64_t extra = EVERING_BLOCK_SIZE;
	unsigned char *start, *base;

	start = mmap(NULL, sz + extra, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		     0);
	if (start == MAP_FAILED)
		return evr_fail(-errno,
				"cannot reserve %" PRIu64 " bytes of addresses: %s; "
				"attach with a smaller reserve_sz or raise RLIMIT_AS",
				sz + extra, strerror(errno));
	base = (unsigned char *)EVR_ROUND_UP((uintptr_t)start, (uintptr_t)EVERING_BLOCK_SIZE);
	if (base > start)
		munmap(start, (size_t)(base - start));
	munmap(base + sz, (size_t)(start + extra - base));
	peer->base = base;
	peer->reserved_sz = sz;
	return 0;
}

int evr_mapping_init(struct evr_peer *peer, uint64_t reserve_sz, bool populate)
{
	const struct evr_layout *layout = &peer->segment->layout;
	uint64_t segment_sz, sz;
	int err;

	err = peer->ops->segment_sz(peer, &segment_sz);
	if (err)
		return err;
	sz = EVR_ROUND_UP(segment_sz, (uint64_t)EVERING_BLOCK_SIZE);
	if (reserve_sz > UINT64_MAX / 4)
		return evr_fail(-EINVAL, "reserve_sz is %" PRIu64 ", no address space is as large",
				reserve_sz);
	sz += EVR_ROUND_UP(reserve_sz, (uint64_t)EVERING_BLOCK_SIZE);
	err = reserve(peer, sz);
	if (err)
		return err;
	evr_a64_store_relaxed(&peer->mapped_sz, layout->grown_off);
	err = map_regions(peer, populate);
	if (!err)
		err = evr_mapping_grow(peer);
	if (err)
		evr_mapping_fini(peer);
	return err;
}

void evr_mapping_fini(struct evr_peer *peer)
{
	if (peer->base)
		munmap(peer->base, peer->reserved_sz);
	peer->base = NULL;
}

static int grow_locked(struct evr_peer *peer)
{
	uint64_t mapped, sz;
	int err;

	err = peer->ops->segment_sz(peer, &sz);
	if (err)
		return err;
	/* relaxed: only written under the lock, which is held. */
	mapped = evr_a64_load_relaxed(&peer->mapped_sz);
	if (sz <= mapped)
		return 0;
	if (sz > peer->reserved_sz)
		return evr_fail(-ERANGE,
				"the segment has grown to %" PRIu64 " bytes, this peer reserved "
				"addresses for %" PRIu64 "; attach with a larger reserve_sz",
				sz, peer->reserved_sz);
	err = map_run(peer, mapped, sz - mapped, peer->rights & EVR_RIGHT_WRITE, false);
	if (err)
		return err;
	/* MAPPED: pairs with evr_peer_at(); the mapping is there. */
	evr_a64_store_release(&peer->mapped_sz, sz);
	return 0;
}

int evr_mapping_grow(struct evr_peer *peer)
{
	int err;

	pthread_mutex_lock(&peer->grow_lock);
	err = grow_locked(peer);
	pthread_mutex_unlock(&peer->grow_lock);
	return err;
}
