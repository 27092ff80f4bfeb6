// SPDX-License-Identifier: GPL-2.0
/*
 * The second backing: the same blocks, but mapped by shmem, since io_uring before 6.5
 * registers no other file's memory (it looks for shmem's vm_ops).
 *
 * The blocks are in the page cache of a shmem file that nobody has (evering_memory's
 * shmem), so that shmem's fault handler finds them. All of them are there before they
 * can be reached, hold a reference of ours and are unevictable: shmem never allocates,
 * swaps or frees one.
 *
 * shmem's vm_ops know nothing of peers. What makes a mapping a peer's is its file:
 * each peer has a shmem inode of its own, the alias, whose i_mapping is the page cache
 * above, but whose i_data, with nothing in it, is what its files map:
 *
 *	vma -> alias file -> alias inode -> i_mapping -> blocks	shmem's fault
 *	                                 -> i_size		where faults end
 *	                                 -> i_data -> i_mmap	this peer's mappings
 *	                  -> the peer's file			kept while mapped
 *
 * So i_size = 0 refuses all faults of one peer, and unmapping i_data zaps its mappings
 * only. Fault-around looks into i_data and finds nothing: each fault passes i_size.
 *
 * Each mmap has an alias file of its own; its release is the end of that mapping, and
 * takes the place of vm_ops->close.
 *
 * A fault that has passed i_size may install its entry after the zap, and shmem does
 * not look again under the folio's lock. So the end of a peer passes the mmap lock of
 * each process that has such a mapping, which a fault holds, and zaps a second time.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/rbtree.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>

#include "compat.h"
#include "evering.h"

/* The charge fails rather than call the OOM killer. */
#define ADD_GFP (GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

/* What shmem gave is used by parts: its inode, its mount and its mmap. */
static struct file *new_file(void)
{
	struct file *file = shmem_file_setup("evering", 0, VM_NORESERVE);

	/* What shmem says when it has no memory for an inode. */
	if (file == ERR_PTR(-ENOSPC))
		return ERR_PTR(-ENOMEM);
	if (!IS_ERR(file) && !file->f_op->mmap) {
		fput(file);
		return ERR_PTR(-EOPNOTSUPP);
	}
	return file;
}

/* ---- the blocks' side ---- */

/* A page cache for blocks, or an ERR_PTR. fput() frees it, when it is empty again. */
struct file *evering_shmem_create(void)
{
	struct file *file = new_file();

	if (IS_ERR(file))
		return file;
	mapping_set_unevictable(file->f_mapping);
	mapping_set_large_folios(file->f_mapping);
	return file;
}

/**
 * evering_shmem_add() - put a block into the page cache.
 * @shmem: of evering_shmem_create()
 * @folio: zeroed, not accounted to a memory cgroup; the caller keeps its reference
 * @index: of its first page
 *
 * Return: 0 or -ENOMEM.
 */
int evering_shmem_add(struct file *shmem, struct folio *folio, pgoff_t index)
{
	int rc = filemap_add_folio(shmem->f_mapping, folio, index, ADD_GFP);

	if (rc)
		return rc;
	folio_mark_uptodate(folio);
	/* As shmem does: never clean, so never dropped for its memory. */
	folio_mark_dirty(folio);
	folio_unlock(folio);
	return 0;
}

/* Others may still hold it; no mapping does. */
void evering_shmem_remove(struct file *shmem, struct folio *folio)
{
	loff_t start = folio_pos(folio);

	truncate_inode_pages_range(shmem->f_mapping, start, start + folio_size(folio) - 1);
}

/* ---- the peers' side ---- */

/**
 * evering_alias_create() - what a new peer maps blocks through.
 * @peer: its inode is there; nobody else knows it
 *
 * Return: 0 (also if the segment has no need of it), -ENOMEM or -ENFILE.
 */
int evering_alias_create(struct evering_peer *peer)
{
	struct file *shmem = peer->segment->memory->shmem, *file;
	struct inode *inode;

	if (!shmem)
		return 0;
	file = new_file();
	if (IS_ERR(file))
		return PTR_ERR(file);
	inode = file_inode(file);
	/*
	 * Through /proc/PID/map_files: cannot be opened, truncated or changed. Nor looked at
	 * by shmem's stat, which would look at i_mapping while it is taken back. What our
	 * own inodes have to begin with is the kernel's, and outlives the module.
	 */
	inode->i_fop = peer->node.inode->i_fop;
	inode->i_op = d_inode(peer->node.inode->i_sb->s_root)->i_op;
	inode->i_flags |= S_PRIVATE | S_IMMUTABLE | S_NOATIME | S_NOCMTIME;
	/* Who walks the superblock (drop_caches) must not get at i_mapping: it is lent. */
	spin_lock(&inode->i_sb->s_inode_list_lock);
	list_del_init(&inode->i_sb_list);
	spin_unlock(&inode->i_sb->s_inode_list_lock);
	inode->i_mapping = shmem->f_mapping;
	peer->alias = file;
	return 0;
}

/* Context: the peer's inode is evicted, so there is no alias file and no mapping. */
void evering_alias_destroy(struct evering_peer *peer)
{
	struct inode *inode;

	if (!peer->alias)
		return;
	inode = file_inode(peer->alias);
	/* A path may be held for longer than this. */
	inode->i_mapping = &inode->i_data;
	fput(peer->alias);
}

/* Context: under segment->lock. The peer may fault below this offset. */
void evering_alias_resize(struct evering_peer *peer, u64 size)
{
	lockdep_assert_held(&peer->segment->lock);
	if (peer->alias)
		i_size_write(file_inode(peer->alias), size);
}

/* remap_file_pages(2) of an alias' mapping comes here, and has its checks to pass. */
static int alias_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct evering_peer *peer = evering_file_peer(file->private_data);
	int rc = evering_vma_check(peer, vma);

	if (rc)
		return rc;
	if (vma->vm_pgoff < EVERING_DATA_OFFSET >> PAGE_SHIFT)
		return -EINVAL;
	return peer->alias->f_op->mmap(file, vma);
}

static int alias_release(struct inode *inode, struct file *file)
{
	struct file *peer_file = file->private_data;

	evering_mapping_gone(evering_file_peer(peer_file));
	fput(peer_file);
	return 0;
}

static const struct file_operations alias_fops = {
	.owner = THIS_MODULE,
	.mmap = alias_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
	.fsync = noop_fsync,
	.release = alias_release,
};

static struct file *alias_file(struct file *peer_file)
{
	struct evering_peer *peer = evering_file_peer(peer_file);
	struct inode *inode = file_inode(peer->alias);
	int flags = peer->rights & EVERING_RIGHT_WRITE ? O_RDWR : O_RDONLY;
	struct file *file;

	ihold(inode);
	__module_get(THIS_MODULE);
	file = alloc_file_pseudo(inode, peer->alias->f_path.mnt, "evering", flags, &alias_fops);
	if (IS_ERR(file)) {
		module_put(THIS_MODULE);
		iput(inode);
		return file;
	}
	file->f_mapping = &inode->i_data;
	file->private_data = get_file(peer_file);
	atomic_inc(&peer->mappings);
	return file;
}

/**
 * evering_alias_map() - make a new mapping of blocks shmem's.
 * @peer_file: of a peer that has an alias
 * @vma: has passed evering_vma_check()
 *
 * Return: 0, -ENOMEM or -ENFILE.
 */
int evering_alias_map(struct file *peer_file, struct vm_area_struct *vma)
{
	struct file *file = alias_file(peer_file);

	if (IS_ERR(file))
		return PTR_ERR(file);
	vma_set_file(vma, file);
	/* The mapping has a reference of its own, and drops it should the rest fail. */
	fput(file);
	return evering_file_peer(peer_file)->alias->f_op->mmap(file, vma);
}

/*
 * The mm that maps i_data with the next higher address, counted, or NULL. Whoever
 * maps after the cut cannot fault, so none is missed. An mm without users has no
 * thread that could be in a fault.
 */
static struct mm_struct *next_mm(struct address_space *mapping, const struct mm_struct *after)
{
	struct mm_struct *mm, *best;
	struct rb_node *node;

	i_mmap_lock_read(mapping);
	do {
		best = NULL;
		for (node = rb_first_cached(&mapping->i_mmap); node; node = rb_next(node)) {
			mm = rb_entry(node, struct vm_area_struct, shared.rb)->vm_mm;
			if (mm > after && (!best || mm < best))
				best = mm;
		}
		after = best;
	} while (best && !mmget_not_zero(best));
	i_mmap_unlock_read(mapping);
	return best;
}

/* Context: this mm is locked for writing. */
static void pass_faults(struct mm_struct *mm, struct address_space *mapping)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;

	for_each_vma(vmi, vma)
		if (vma->vm_file && vma->vm_file->f_mapping == mapping)
			evering_vma_pass_lock(vma);
}

/* All faults of this mm in mappings of i_data that have begun are over. */
static int pass_mm(struct mm_struct *mm, struct address_space *mapping, bool wait)
{
	if (wait) {
		if (mmap_write_lock_killable(mm))
			return -EINTR;
		pass_faults(mm, mapping);
		mmap_write_unlock(mm);
		return 0;
	}
	/*
	 * The kernel has no call for a try. What is left out, its count of changes, makes
	 * these mappings fault under the mmap lock for a while; but they fault no more.
	 */
	if (!down_write_trylock(&mm->mmap_lock))
		return -EAGAIN;
	pass_faults(mm, mapping);
	up_write(&mm->mmap_lock);
	return 0;
}

/**
 * evering_alias_cut() - take a peer's mappings of blocks away, for good.
 * @peer: its ended is true
 * @wait: for the mmap locks, but not longer than until a fatal signal
 *
 * What has been passed stays so: of many processes each needs to leave its lock once,
 * not all at the same time. A process can keep its own for as long as it can make a fault
 * last (FUSE), or two threads of it fault without a gap. What it can gain is that the
 * cut is not known to be complete.
 *
 * Context: may sleep; without mmap_lock.
 * Return: 0, -EAGAIN (a lock is taken; not with @wait) or -EINTR.
 */
int evering_alias_cut(struct evering_peer *peer, bool wait)
{
	struct address_space *mapping = &file_inode(peer->alias)->i_data;
	struct mm_struct *mm;
	int rc = 0;

	spin_lock(&peer->segment->lock);
	evering_alias_resize(peer, 0);
	spin_unlock(&peer->segment->lock);
	unmap_mapping_range(mapping, 0, 0, 1);
	while (!rc && (mm = next_mm(mapping, peer->passed))) {
		rc = pass_mm(mm, mapping, wait);
		if (!rc)
			peer->passed = mm;
		/* The last one tears the mm down, and waits for its aio: that is not ours to do. */
		mmput_async(mm);
		cond_resched();
	}
	if (!rc)
		unmap_mapping_range(mapping, 0, 0, 1);
	return rc;
}
