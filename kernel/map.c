// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings of a peer: rights by range, faults, and taking mappings away.
 *
 * Each peer has an inode of its own, so that its mappings alone can be zapped. The
 * folios belong to the segment's inode.
 *
 * A fault and the end of the peer may run together. No entry is left behind:
 *
 *	fault                          end
 *	folio_lock                     ended = true
 *	ended? SIGBUS                  for each folio: lock, unlock
 *	return VM_FAULT_LOCKED         unmap_mapping_range
 *	(entry installed, unlock)
 *
 * A fault that saw ended == false holds its folio's lock until its entry is there;
 * the end passes that lock before it unmaps.
 *
 * With EVERING_BACKING_SHMEM this is so for the status pages only: shmem.c.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "compat.h"
#include "evering.h"

static u64 inside(u64 pos, u64 start, u64 length)
{
	return pos >= start && pos - start < length ? start + length : 0;
}

/* The end of the range around pos that this writer may write, or 0. */
static u64 writable_until(const struct evering_geometry *geometry, u32 slot, u64 pos)
{
	u64 end = inside(pos, geometry->shared_offset, geometry->shared_size);

	if (!end)
		end = inside(pos, geometry->peers_offset + slot * geometry->peer_size,
			     geometry->peer_size);
	if (!end && geometry->size > geometry->grown_offset)
		end = inside(pos, geometry->grown_offset,
			     geometry->size - geometry->grown_offset);
	return end;
}

/**
 * evering_range_access() - what a peer may do with a range of the segment.
 * @geometry: of the segment
 * @slot: of the peer
 * @rights: of the peer
 * @offset: in the segment, bytes
 * @length: bytes, not 0
 *
 * Return: 1 (read and write), 0 (read) or -EINVAL (not all of it is there).
 */
int evering_range_access(const struct evering_geometry *geometry, u32 slot, u32 rights,
			 u64 offset, u64 length)
{
	u64 end = offset + length, pos;

	if (end <= offset || end > geometry->size)
		return -EINVAL;
	if (end <= geometry->status_size)
		return 0;
	if (offset < EVERING_DATA_OFFSET)
		return -EINVAL;
	if (end > geometry->data_end && offset < geometry->grown_offset &&
	    geometry->data_end != geometry->grown_offset)
		return -EINVAL;
	if (!(rights & EVERING_RIGHT_WRITE))
		return 0;
	for (pos = offset; pos && pos < end;)
		pos = writable_until(geometry, slot, pos);
	return pos ? 1 : 0;
}

/* The page at this index of the segment, or NULL; not counted. */
static struct page *segment_page(struct evering_segment *segment, pgoff_t index)
{
	u64 offset = (u64)index << PAGE_SHIFT;
	struct folio *folio;

	if (offset < segment->geometry.status_size)
		return segment->status_page[index];
	folio = evering_memory_folio(segment->memory, offset);
	index %= EVERING_BLOCK_PAGES;
	return folio && index < folio_nr_pages(folio) ? folio_page(folio, index) : NULL;
}

static vm_fault_t peer_fault(struct vm_fault *vmf)
{
	struct evering_peer *peer = evering_file_peer(vmf->vma->vm_file);
	struct folio *folio;
	struct page *page;

	/* A child that undid VM_DONTCOPY is another process: not this peer. */
	if (vmf->vma->vm_mm != peer->mm)
		return VM_FAULT_SIGBUS;
	page = segment_page(peer->segment, vmf->pgoff);
	if (!page)
		return VM_FAULT_SIGBUS;
	folio = page_folio(page);
	folio_lock(folio);
	if (READ_ONCE(peer->ended)) {
		folio_unlock(folio);
		return VM_FAULT_SIGBUS;
	}
	folio_get(folio);
	vmf->page = page;
	return VM_FAULT_LOCKED;
}

/*
 * A mapping goes away. That is a death only if all of the peer's own mm does, by exit
 * or by execve; a living process may unmap what it likes.
 */
void evering_mapping_gone(struct evering_peer *peer)
{
	bool last = atomic_dec_and_test(&peer->mappings);

	if (!atomic_read(&peer->mm->mm_users))
		evering_peer_lost(peer, true);
	else if (last)
		evering_death_unmapped(peer);
}

static void peer_close(struct vm_area_struct *vma)
{
	struct evering_peer *peer = evering_file_peer(vma->vm_file);

	if (vma->vm_mm == peer->mm)
		evering_mapping_gone(peer);
}

/* A mapping was split or moved; or copied to a child in spite of VM_DONTCOPY. */
static void peer_open(struct vm_area_struct *vma)
{
	struct evering_peer *peer = evering_file_peer(vma->vm_file);

	if (vma->vm_mm == peer->mm)
		atomic_inc(&peer->mappings);
}

static const struct vm_operations_struct peer_vm_ops = {
	.fault = peer_fault,
	.open = peer_open,
	.close = peer_close,
};

/**
 * evering_vma_check() - may a peer have this mapping? Takes away what it must not become.
 * @peer: who
 * @vma: the new mapping
 *
 * Return: 0, -EINVAL (private, or not a range of the segment), -EPERM (not the
 * process that attached, or PROT_EXEC), -EACCES (no right to write all of it) or
 * -EOWNERDEAD.
 */
int evering_vma_check(struct evering_peer *peer, struct vm_area_struct *vma)
{
	struct evering_segment *segment = peer->segment;
	struct evering_geometry geometry;
	unsigned long clear = VM_MAYEXEC;
	int access;

	/* For a file opened read-only VM_SHARED is clear even with MAP_SHARED. */
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (READ_ONCE(peer->ended))
		return -EOWNERDEAD;
	if (vma->vm_mm != peer->mm || vma->vm_flags & VM_EXEC)
		return -EPERM;
	spin_lock(&segment->lock);
	geometry = segment->geometry;
	spin_unlock(&segment->lock);
	access = evering_range_access(&geometry, peer->slot, peer->rights,
				      (u64)vma->vm_pgoff << PAGE_SHIFT,
				      vma->vm_end - vma->vm_start);
	if (access < 0)
		return access;
	if (!access) {
		if (vma->vm_flags & VM_WRITE)
			return -EACCES;
		clear |= VM_MAYWRITE;
	}
	evering_vma_flags(vma, VM_DONTEXPAND | VM_DONTCOPY | VM_DONTDUMP, clear);
	return 0;
}

/* mmap(2) of a peer fd. Return: as evering_vma_check(), -ENOMEM or -ENFILE. */
int evering_peer_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct evering_peer *peer = evering_file_peer(file);
	int rc;

	rc = evering_vma_check(peer, vma);
	if (rc)
		return rc;
	if (peer->alias && vma->vm_pgoff >= EVERING_DATA_OFFSET >> PAGE_SHIFT)
		return evering_alias_map(file, vma);
	vma->vm_ops = &peer_vm_ops;
	atomic_inc(&peer->mappings);
	return 0;
}

static void pass_lock(struct folio *folio)
{
	folio_lock(folio);
	folio_unlock(folio);
}

/**
 * evering_peer_unmap() - take all mappings of a peer away, for good.
 * @peer: its ended is true
 * @wait: see evering_alias_cut()
 *
 * What I/O has pinned stays reachable for that I/O.
 *
 * Context: may sleep; without mmap_lock.
 * Return: 0; with an alias also -EAGAIN or -EINTR, and it is to be called again.
 */
int evering_peer_unmap(struct evering_peer *peer, bool wait)
{
	struct evering_segment *segment = peer->segment;
	struct folio *folio;
	unsigned long index, last;
	u32 i;

	/*
	 * Not the blocks of a growth in progress: it may still fail and free them. What is
	 * published after this lock was held can be mapped only by who sees ended.
	 */
	spin_lock(&segment->lock);
	last = (segment->geometry.size - EVERING_DATA_OFFSET - 1) / EVERING_BLOCK_SIZE;
	spin_unlock(&segment->lock);
	for (i = 0; i < ARRAY_SIZE(segment->status_page) && segment->status_page[i]; i++)
		pass_lock(page_folio(segment->status_page[i]));
	if (!peer->alias)
		xa_for_each_range(&segment->memory->blocks, index, folio, 0, last)
			pass_lock(folio);
	unmap_mapping_range(peer->node.inode->i_mapping, 0, 0, 1);
	return peer->alias ? evering_alias_cut(peer, wait) : 0;
}
